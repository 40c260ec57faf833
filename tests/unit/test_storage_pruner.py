"""Market rows go with age in market time, notes with number; the file shrinks; the ledger stays."""

import msgspec
import pytest

from bus.messages import Gap, StartedEvent, StateEvent
from storage.batch import Batch
from storage.migrations import migrate
from storage.pruner import drop_candles_of_another, prune, retention_ms
from storage.queries import History
from storage.writer import Writer
from tests.unit import storage_samples as samples
from tests.unit.storage_samples import MINUTE, START


@pytest.fixture
def writer(tmp_path):
    writer = Writer(tmp_path / "bot_data.db")
    migrate(writer.engine, writer.database, 1)
    yield writer
    writer.close()


@pytest.mark.parametrize("retention, warmup, timeframe, minutes", [(60, 50, MINUTE, 60), (60, 50, 5 * MINUTE, 250)])
def test_the_longer_of_retention_and_warm_up_counts(retention, warmup, timeframe, minutes):
    assert retention_ms(retention, warmup, timeframe) == minutes * MINUTE


def test_candles_go_by_the_newest_market_time_of_all_pairs(writer):
    batch = Batch()
    for minute in range(200):
        batch.add_candle(samples.candle(minute))
    batch.add_candle(samples.candle(10, pair="QUIET"))
    batch.add_candle(samples.candle(150, pair="QUIET"))
    writer.write(batch)
    assert prune(writer.engine, 60 * MINUTE).candles == 140
    history = History(writer.database)
    times = [row["time"] for row in history.candles(samples.PAIR)]
    assert (times[0], times[-1], len(times)) == (START + 139 * MINUTE, START + 199 * MINUTE, 61)
    assert [row["time"] for row in history.candles("QUIET")] == [START + 150 * MINUTE]


@pytest.mark.parametrize(("now", "kept"), [("1m", 3), ("15s", 0)])
def test_candles_of_another_timeframe_go_as_they_would_be_no_series_together(writer, now, kept):
    assert drop_candles_of_another(writer.engine, now) == 0, "no trader has started yet"
    batch = Batch()
    for number, timeframe in enumerate(("15s", "1m"), 1):
        at = samples.at(number)
        batch.add_entry(1, number, StartedEvent(at, "j", "sim", {"TIMEFRAME": timeframe}, "clean", ""))
    for minute in range(3):
        batch.add_candle(samples.candle(minute))
    writer.write(batch)
    assert drop_candles_of_another(writer.engine, now) == 3 - kept
    assert len(History(writer.database).candles(samples.PAIR)) == kept


def test_old_signals_go_unless_they_made_an_order(writer):
    batch = Batch()
    for number in range(1, 11):
        batch.add_entry(1, number, samples.signal(number, f"scalp-{number}" if number % 2 else ""))
    batch.add_candle(samples.candle(100))
    writer.write(batch)
    assert prune(writer.engine, 60 * MINUTE).signals == 5
    assert {row["id"] for row in History(writer.database).signals()} == {1, 3, 5, 7, 9}


def test_notes_are_capped_by_number(writer):
    batch = Batch()
    for number in range(1, 51):
        batch.add_entry(1, number, samples.equity(number))
        batch.add_event("feeder", 1, number, samples.event(str(number)))
        batch.add_gap(Gap("s", "candle/0/", 1, number, number, 5))
    writer.write(batch)
    assert prune(writer.engine, MINUTE, rows_kept=20).notes == 90
    history = History(writer.database)
    assert [row["message"] for row in history.events(100)] == [str(number) for number in range(31, 51)]
    assert len(history.equity()) == len(history.gaps()) == 20
    assert prune(writer.engine, MINUTE, rows_kept=20).notes == 0


def test_comparisons_are_capped_by_their_own_number(writer):
    batch = Batch()
    for number in range(1, 61):
        batch.add_entry(1, 100 * number, samples.checked(100 * number))
    writer.write(batch)
    assert prune(writer.engine, MINUTE, rows_kept=20).notes == 40
    assert [row["id"] for row in History(writer.database).checks(100)] == [100 * number for number in range(41, 61)]
    assert prune(writer.engine, MINUTE, rows_kept=20).notes == 0


def test_an_empty_database_is_pruned_to_itself(writer):
    pruned = prune(writer.engine, MINUTE)
    assert (pruned.candles, pruned.signals, pruned.notes) == (0, 0, 0)


def test_the_file_is_bounded_and_shrinks_when_less_is_kept(writer):
    sizes = []
    for start in range(0, 60_000, 3_000):
        batch = Batch()
        for minute in range(start, start + 3_000):
            batch.add_candle(samples.candle(minute))
        writer.write(batch)
        prune(writer.engine, 3_000 * MINUTE)
        writer.checkpoint()
        sizes.append(writer.total_bytes())
    assert max(sizes[10:]) <= 1.1 * max(sizes[:10])  # some pages of the index are less full at times
    prune(writer.engine, 10 * MINUTE)
    writer.checkpoint()
    assert writer.total_bytes() < sizes[-1] / 3


def test_where_the_trader_stood_is_kept_of_the_last_journal_entries_and_states_ten_times_as_long(writer):
    batch = Batch()
    for number in range(1, 301):
        event = samples.position(number)
        if number in (40, 290):
            event = StateEvent(samples.at(number), "paused", "operator", "pause", f"c{number}")
        elif number in (41, 291):
            event = samples.signal(number, "", "refused:paused")
        batch.add_entry(1, number, event)
    writer.write(batch)
    prune(writer.engine, MINUTE, rows_kept=20)
    found = History(writer.database).standing(samples.PAIR, 0, START * 2)
    assert [row["id"] for row in found["positions"]] == [*range(281, 290), *range(292, 301)]
    assert [(row["id"], row["kind"]) for row in found["reasons"]] == [(290, "state"), (291, "refusal")]
    batch = Batch()
    batch.add_entry(1, 301, samples.signal(301, "", "refused:paused"))
    writer.write(batch)
    with writer.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE reasons SET id = 105 WHERE id = 290")
    prune(writer.engine, MINUTE, rows_kept=20)
    kept = History(writer.database).standing(samples.PAIR, 0, START * 2)["reasons"]
    assert [row["id"] for row in kept] == [105, 291, 301]


def test_ends_of_candles_go_with_their_candles(writer):
    batch = Batch()
    for minute in range(200):
        told = samples.candle(minute)
        batch.add_candle(msgspec.structs.replace(told, epoch=7, segment=1, number=minute))
    writer.write(batch)
    prune(writer.engine, 60 * MINUTE)
    with writer.engine.connect() as connection:
        times = [row[0] for row in connection.exec_driver_sql("SELECT time FROM candle_ends ORDER BY time")]
    assert times == [row["time"] for row in History(writer.database).candles(samples.PAIR)]
