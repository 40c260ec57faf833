"""The stage on real sockets: what the others publish is in the tables once, whoever starts, stops or stumbles."""

import sqlite3
from contextlib import closing

import msgspec
import pytest

from bus import sockets
from bus.frames import CANDLE, EVENT, GAP, TRADER, Frame
from bus.layouts import layout_hash
from bus.messages import Entry, StartedEvent
from bus.subscriber import SELDOM_SECONDS, Subscriber
from core.errors import BotError
from core.settings import shared_hash
from storage.room import FLOWS, SLOW, Limits
from storage.schema import writer_engine
from tests.bus.storage_world import JOURNAL, trade_ids
from tests.unit import storage_samples as samples


def test_candles_journal_events_and_gaps_find_their_tables(others):
    indicators = others.publisher("indicators")
    held = [samples.candle(0), samples.candle(1)]
    indicators.topic(CANDLE, 7, last=5, ring=100, snapshot=lambda: msgspec.msgpack.encode(held))
    indicators.attach(others.loop)
    others.trader()
    others.say(samples.order(1, "scalp-1"), samples.fill(2, 1), samples.trade(3, 1))
    feeder = others.publisher("feeder")
    feeder.attach(others.loop)
    feeder.event("info", "connected")
    feeder.gap("trade/0/", 3, 10, 12)
    others.start_storage()
    others.run_until(lambda: len(trade_ids(others)) == 1 and len(others.history.candles(samples.PAIR)) == 2)
    indicators.send(CANDLE, samples.candle(1, close=200.0))
    indicators.send(CANDLE, samples.candle(2))
    others.say(samples.trade(4, 2, "1.5"))
    others.run_until(lambda: others.history.realized() == 1.5 and len(others.history.candles(samples.PAIR)) == 3)
    assert others.history.candles(samples.PAIR)[1]["close"] == 200.0
    others.run_until(lambda: bool(others.history.gaps()))
    gap = others.history.gaps()[0]
    assert (gap["topic"], gap["epoch"], gap["first"], gap["last"]) == ("trade/0/", 3, 10, 12)
    others.run_until(lambda: len(others.history.events()) >= 2)
    told = {(row["stage"], row["level"]) for row in others.history.events()}
    assert {("feeder", "info"), ("storage", "start")} <= told
    facts = others.storage._recorder.facts()
    assert facts["cursor"] == 4 and facts["rows"] > 5 and facts["db_mb"] > 0 and facts["waiting"] == 0


def test_after_another_timeframe_the_candles_are_those_of_the_one_in_force_alone(others):
    indicators = others.publisher("indicators")
    held = [samples.candle(0), samples.candle(1)]
    indicators.topic(CANDLE, 7, last=5, ring=100, snapshot=lambda: msgspec.msgpack.encode(held))
    indicators.attach(others.loop)
    others.trader()
    others.say(StartedEvent(samples.at(1), "j", "sim", {"TIMEFRAME": "15s"}, "new", ""))
    others.start_storage()
    others.run_until(lambda: others.storage._entry() == 2 and len(others.history.candles(samples.PAIR)) == 2)
    others.stop_storage()
    held[:] = [samples.candle(5)]
    others.start_storage()
    others.run_until(lambda: [row["time"] for row in others.history.candles(samples.PAIR)] == [held[0].time])


def test_what_the_watchdog_tells_is_kept(others):
    watchdog = others.publisher("watchdog")
    watchdog.attach(others.loop)
    watchdog.event("error", "feeder (process 7) runs but was not heard for 5.2 s: killed, to be started again")
    others.start_storage()
    others.run_until(lambda: any(row["stage"] == "watchdog" for row in others.history.events()))
    others.stop_storage()
    watchdog.event("info", "feeder no longer fails")
    others.start_storage()
    others.run_until(lambda: any("no longer" in row["message"] for row in others.history.events()))
    kept = [row["level"] for row in others.history.events() if row["stage"] == "watchdog"]
    assert kept == ["error", "info"]


def test_each_entry_and_event_once_over_restarts_of_everybody(others):
    number = 0
    others.trader()
    feeder = others.publisher("feeder")
    feeder.attach(others.loop)
    told = []

    def more() -> None:
        nonlocal number
        for _ in range(7):
            number += 1
            others.say(samples.trade(number, number))
        told.append(f"event {number}")
        feeder.event("info", told[-1])

    def all_there() -> bool:
        messages = [row["message"] for row in others.history.events(1000) if row["stage"] == "feeder"]
        return trade_ids(others) == list(range(1, number + 1)) and messages == told

    more()
    others.start_storage()
    others.run_until(all_there)
    others.stop_storage()
    more()  # while it is down
    others.start_storage()
    more()  # while it joins
    others.run_until(all_there)
    others.trader()  # the trader is started again: the same journal
    more()
    others.run_until(all_there)
    feeder = others.publisher("feeder")  # a new process: its events are counted anew
    feeder.attach(others.loop)
    more()
    others.run_until(all_there)
    others.stop_storage()
    others.start_storage()
    others.run_until(lambda: others.storage._recorder.rows > 0 and all_there())
    assert others.history.gaps() == []
    lines = (others.context.book_dir / "trades.csv").read_text().splitlines()
    others.stop_storage()
    assert [int(line.partition(",")[0]) for line in lines[1:]] == list(range(1, number + 1))


def test_entries_that_nobody_has_any_more_are_a_gap(others):
    for number in range(1, 31):
        others.journal.append(Entry(number, samples.trade(number, number)))
    others.trader(keep=10)
    others.start_storage()
    others.run_until(lambda: len(trade_ids(others)) == 10)
    others.run_until(lambda: bool(others.history.gaps()))
    gap = others.history.gaps()[0]
    assert (gap["topic"], gap["epoch"], gap["first"], gap["last"]) == (TRADER, JOURNAL, 1, 20)


def test_candles_that_the_ring_has_lost_come_by_the_snapshot(others):
    indicators = others.publisher("indicators")
    held = [samples.candle(0)]
    indicators.topic(CANDLE, 7, ring=4, snapshot=lambda: msgspec.msgpack.encode(held))
    indicators.attach(others.loop)
    others.start_storage()
    others.run_until(lambda: len(others.history.candles(samples.PAIR)) == 1)
    out, indicators._out = indicators._out, sockets.data_out(others.context.run_dir, "nobody")  # a dead line
    for at in range(1, 21):
        held.append(samples.candle(at))
        indicators.send(CANDLE, held[-1])
    sockets.close(indicators._out)
    indicators._out = out
    indicators.beat()
    others.run_until(lambda: len(others.history.candles(samples.PAIR)) == 21)
    assert others.history.gaps() == []


def test_another_journal_is_taken_from_its_beginning(others):
    others.trader()
    others.say(samples.trade(1, 1, "5"), samples.trade(2, 2, "5"))
    others.start_storage()
    others.run_until(lambda: others.history.realized() == 10.0)
    others.journal.clear()
    others.trader(epoch=JOURNAL + 1)
    others.say(samples.trade(1, 1, "-1"))
    others.run_until(lambda: others.history.realized() == -1.0)
    others.run_until(lambda: (others.context.book_dir / "trades.csv").read_text().count("\n") == 2)
    assert (others.context.book_dir / "trades.before-1.csv").read_text().count("\n") == 3
    assert others.history.gaps() == []


def test_a_journal_that_was_put_back_to_an_older_state_is_taken_from_its_beginning(others):
    others.trader()
    others.say(samples.trade(1, 1), samples.trade(2, 2, "5"), samples.trade(3, 3), samples.trade(4, 4, "7"))
    others.start_storage()
    others.run_until(lambda: others.history.realized() == 12.0)
    del others.journal[2:]
    others.trader()
    others.run_until(lambda: trade_ids(others) == [1, 2])
    others.say(samples.trade(3, 3), samples.trade(4, 4, "-1"))
    others.run_until(lambda: others.history.realized() == 4.0)
    assert others.history.gaps() == []
    assert len(list(others.context.book_dir.glob("bot_data.before-journal-*.db"))) == 1


def test_a_locked_database_loses_nothing(others):
    others.trader()
    others.start_storage()
    others.run_until(lambda: others.history.cursor("event/0/ storage") is not None)
    engine = writer_engine(others.database)
    lock = engine.connect()
    lock.exec_driver_sql("DELETE FROM gaps")
    others.say(*(samples.trade(number, number) for number in range(1, 20)))
    others.run_until(lambda: "database" in others.storage._recorder._told)
    others.say(*(samples.trade(number, number) for number in range(20, 40)))
    assert trade_ids(others) == []
    lock.close()
    engine.dispose()
    others.run_until(lambda: trade_ids(others) == list(range(1, 40)))
    others.run_until(lambda: any("lost" in row["message"] for row in others.history.events()))
    complaint = next(row["message"] for row in others.history.events() if row["level"] == "error")
    assert "bot_data.db" in complaint and "locked" in complaint and "close it" in complaint


def test_a_reader_without_end_makes_us_write_less_often_until_it_is_closed(others):
    others.trader()
    others.start_storage(Limits(log_soft_bytes=20_000, slow_ns=10**15))
    others.run_until(lambda: others.history.cursor("event/0/ storage") is not None)
    held = others.history._engine.connect()
    held.exec_driver_sql("BEGIN")
    held.exec_driver_sql("SELECT count(*) FROM trades").fetchall()
    others.say(*(samples.trade(number, number) for number in range(1, 400)))
    recorder = others.storage._recorder
    others.run_until(lambda: recorder._room.log == SLOW)
    others.say(samples.trade(400, 400))
    others.run_until(lambda: len(recorder.batch.numbered) > 0)
    recorder.flush()
    assert len(recorder.batch.numbered) > 0 and len(trade_ids(others)) < 400
    held.close()
    recorder.tidy()
    assert recorder._room.log == FLOWS
    others.run_until(lambda: len(trade_ids(others)) == 400)
    messages = [row["message"] for row in others.history.events()]
    assert sum("close that program" in text for text in messages) == 1


def test_a_full_disk_loses_nothing(others):
    others.trader()
    others.start_storage()
    others.run_until(lambda: others.history.cursor("event/0/ storage") is not None)
    [(pages,)] = others.storage._writer._read("PRAGMA page_count")
    others.storage._writer._read(f"PRAGMA max_page_count={pages}")
    others.say(*(samples.trade(number, number) for number in range(1, 600)))
    others.run_until(lambda: "database" in others.storage._recorder._told)
    assert trade_ids(others) == []
    others.storage._writer._read("PRAGMA max_page_count=1000000")
    others.run_until(lambda: trade_ids(others) == list(range(1, 600)))
    others.run_until(lambda: any(row["level"] == "error" for row in others.history.events()))
    complaint = next(row["message"] for row in others.history.events() if row["level"] == "error")
    assert "the disk is full: free some space" in complaint and "rows wait" in complaint
    assert others.history.gaps() == []


def test_what_is_too_much_to_wait_is_asked_for_again(others):
    others.trader()
    others.start_storage(Limits(commit_rows=5, pending_rows=10))
    others.run_until(lambda: others.history.cursor("event/0/ storage") is not None)
    engine = writer_engine(others.database)
    lock = engine.connect()
    lock.exec_driver_sql("DELETE FROM gaps")
    for number in range(1, 100):
        others.say(samples.trade(number, number))
    others.run_until(lambda: others.storage._recorder.behind)
    lock.close()
    engine.dispose()
    others.run_until(lambda: trade_ids(others) == list(range(1, 100)))
    assert others.history.gaps() == []


def test_a_message_that_cannot_be_read_is_a_gap_of_one(others):
    trader = others.trader()
    others.start_storage()
    others.say(samples.trade(1, 1))
    trader._send(trader._topics[TRADER], 2, 1, msgspec.msgpack.encode([[2, "no event"]]), None)
    trader.send(TRADER, Entry(3, samples.trade(3, 2)))
    others.run_until(lambda: trade_ids(others) == [1, 2] and len(others.history.gaps()) == 1)
    others.storage._recorder.take("trader", [Frame(TRADER, JOURNAL, 4, 2, 0, b"\xc1 no msgpack")])
    others.run_until(lambda: len(others.history.gaps()) == 3)
    assert [(row["first"], row["last"]) for row in others.history.gaps()] == [(5, 5), (4, 4), (2, 2)]
    assert others.history.cursor() == (JOURNAL, 5)


def test_a_damaged_file_is_kept_and_the_ledger_comes_back_from_the_journal(others, caplog):
    others.trader()
    others.say(samples.trade(1, 1, "2"))
    others.database.write_bytes(b"this is no database" * 500)
    others.start_storage()
    others.run_until(lambda: others.history.realized() == 2.0)
    kept = list(others.context.book_dir.glob("bot_data.damaged-*.db"))
    assert len(kept) == 1 and kept[0].read_bytes().startswith(b"this is no database")
    assert "is damaged" in caplog.text


@pytest.mark.parametrize("table", ["signals", "trades"])  # which only a write reads, and the start already
def test_a_damaged_page_costs_no_row_of_the_ledger(others, table: str):
    others.trader()
    others.say(*(samples.trade(number, number, "1") for number in range(1, 201)))
    others.say(*(samples.signal(number, f"scalp-{number}") for number in range(201, 601)))
    others.start_storage()
    others.run_until(lambda: others.history.cursor() == (JOURNAL, 600))
    others.stop_storage()
    with closing(sqlite3.connect(others.database)) as file:
        (page,) = file.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        (size,) = file.execute("PRAGMA page_size").fetchone()
    with others.database.open("r+b") as damaged:
        damaged.seek((page - 1) * size)
        damaged.write(b"\xee" * size)
    others.say(samples.signal(601, "scalp-601"))
    with pytest.raises(BotError, match=r"is damaged .*malformed.*a new one is filled from the journal: starting again"):
        others.start_storage()
        others.run_until(lambda: False)
    others.stop_storage()
    (kept,) = others.context.book_dir.glob("bot_data.damaged-*.db")
    assert kept.stat().st_size >= page * size
    others.start_storage()
    others.run_until(lambda: others.history.cursor() == (JOURNAL, 601))
    assert trade_ids(others) == list(range(1, 201)) and others.history.realized() == 200
    others.stop_storage()
    with closing(sqlite3.connect(others.database)) as file:
        assert file.execute("SELECT min(id), max(id), count(*) FROM signals").fetchone() == (201, 601, 401)
    lines = (others.context.book_dir / "trades.csv").read_text().splitlines()
    assert [int(line.partition(",")[0]) for line in lines[1:]] == list(range(1, 201))


def test_a_file_that_is_removed_under_it_is_noticed(others):
    others.start_storage()
    others.database.unlink()
    with pytest.raises(BotError, match="was removed"):
        others.storage._recorder.tidy()


def test_topics_of_every_stage_are_followed(others):
    others.start_storage()
    followed = {subscriber.peer: set(subscriber._questions) for subscriber in others.storage._subscribers}
    assert set(followed) == {"feeder", "indicators", "trader", "storage", "dashboard", "watchdog"}
    assert all(EVENT in topics and (GAP in topics or stage == "storage") for stage, topics in followed.items())
    assert CANDLE in followed["indicators"] and TRADER in followed["trader"]


def test_what_was_said_since_the_last_look_is_kept_when_storage_stops(others):
    feeder = others.publisher("feeder")
    feeder.attach(others.loop)
    others.start_storage()
    feeder.event("info", "first")
    others.run_until(lambda: any(row["message"] == "first" for row in others.history.events()))
    feeder._timer.cancel()  # with no heartbeat any more what waits is what was said
    two_looks: list[bool] = []
    others.loop.call_later(2 * SELDOM_SECONDS, lambda: two_looks.append(True))
    others.run_until(lambda: two_looks)
    feeder.event("info", "last words")
    (subscriber,) = [each for each in others.storage._subscribers if each.peer == "feeder"]
    assert sockets.wait_readable(subscriber._in, 20.0)
    others.stop_storage()
    assert [row["message"] for row in others.history.events() if row["stage"] == "feeder"] == ["first", "last words"]


def test_behind_what_could_not_be_taken_nothing_is_kept(others, monkeypatch):
    def fails(stage, notices):
        raise RuntimeError("a message that nobody foresaw")

    feeder = others.publisher("feeder")
    feeder.attach(others.loop)
    others.start_storage()
    feeder.event("info", "first")
    others.run_until(lambda: any(row["message"] == "first" for row in others.history.events()))
    feeder._timer.cancel()
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(others.storage._recorder, "take", fails)
        feeder.event("info", "not taken")
        others.run_until(lambda: False)
    feeder.event("info", "behind it")
    (subscriber,) = [each for each in others.storage._subscribers if each.peer == "feeder"]
    assert sockets.wait_readable(subscriber._in, 20.0)
    others.stop_storage()
    assert [row["message"] for row in others.history.events() if row["stage"] == "feeder"] == ["first"]
    others.start_storage()  # which asks for what follows the last that it has
    others.run_until(lambda: any(row["message"] == "behind it" for row in others.history.events()))
    told = [row["message"] for row in others.history.events() if row["stage"] == "feeder"]
    assert told == ["first", "not taken", "behind it"]


def test_the_heartbeat_times_events_until_their_rows_are_there(others):
    others.trader()
    others.start_storage()
    listener = Subscriber(
        "storage",
        {},
        others.context.run_dir,
        others.clock,
        layout_hash=layout_hash(),
        settings_hash=shared_hash(others.settings),
    )
    listener.attach(others.loop, lambda notices: None)
    others.say(samples.order(1, "scalp-1"))
    others.run_until(lambda: listener.beat is not None and listener.beat.spans["event_to_row"][0].samples > 0)
    assert 0 < listener.beat.spans["event_to_row"][0].p50 == listener.beat.latency_us[0]
    listener.close()
