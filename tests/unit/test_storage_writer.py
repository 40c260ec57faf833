"""Batches become rows, each exactly once, with the cursor in the same transaction."""

import sqlite3
from pathlib import Path

import pytest

from bus.messages import Gap
from storage.batch import TRADER, Batch
from storage.migrations import keep_copy, migrate
from storage.pruner import prune
from storage.queries import History
from storage.writer import Writer
from tests.unit import storage_samples as samples

JOURNAL = 12345


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "bot_data.db"


@pytest.fixture
def writer(database):
    writer = opened(database)
    yield writer
    writer.close()


def opened(database: Path) -> Writer:
    writer = Writer(database)
    migrate(writer.engine, database, 1)
    return writer


def batch_of(*events, first: int = 1, journal: int = JOURNAL) -> Batch:
    batch = Batch()
    for number, event in enumerate(events, start=first):
        batch.add_entry(journal, number, event)
    return batch


def test_each_message_finds_its_table(writer, database):
    batch = batch_of(
        samples.order(1, "scalp-1"),
        samples.fill(2, 1),
        samples.order(3, "scalp-1", "filled", "0.00120"),
        samples.trade(4, 1),
        samples.position(5),
        samples.signal(6, "scalp-1"),
        samples.equity(7),
    )
    batch.add_candle(samples.candle(0, closed=False))
    batch.add_candle(samples.candle(0, close=102.0))
    batch.add_event("feeder", 9, 0, samples.event("connected"))
    batch.add_gap(Gap("storage", "candle/0/", 3, 5, 8, 1234))
    written = writer.write(batch)
    assert (written.rows, written.trades, written.repeated) == (13, 1, 0)
    history = History(database)
    assert [row["close"] for row in history.candles(samples.PAIR)] == [102.0]
    [order] = history.orders()
    assert (order["status"], order["filled"], order["price"]) == ("filled", 0.0012, None)
    [fill] = history.fills()
    assert (fill["price"], fill["price_text"], fill["quantity_text"]) == (64000.1, "64000.10", "0.00120")
    assert fill["fee_text"] == "0.0384000600"
    [trade] = history.trades()
    assert trade["profit"] is None and trade["id"] == 1
    [signal] = history.signals()
    assert (signal["id"], signal["number"], signal["time"]) == (6, 6, samples.START + 6000)
    assert history.equity()[0]["balance"] == 10500.5
    assert history.events()[0]["message"] == "connected"
    assert history.gaps() == [{"topic": "candle/0/", "epoch": 3, "first": 5, "last": 8, "time": 1234}]
    assert writer.cursors() == {TRADER: (JOURNAL, 7), "event/0/ feeder": (9, 0)}
    assert history.cursor() == (JOURNAL, 7)


def test_real_orders_stand_beside_the_same_on_paper(writer, database):
    writer.write(batch_of(samples.shadow(1, "scalp-1"), samples.shadow(2, "scalp-2", None)))
    unfilled, filled = History(database).shadow()
    assert filled == {
        "client_order_id": "scalp-1", "pair": samples.PAIR, "action": "buy", "live_price": 64000.1,
        "paper_price": 64000.0, "live_quantity": 0.0012, "paper_quantity": 0.0012, "difference_bps": 0.02,
        "time": samples.START + 1, "lost": 0.00012, "live_profit": None, "paper_profit": None,
    }  # fmt: skip
    assert (unfilled["paper_price"], unfilled["paper_quantity"], unfilled["difference_bps"]) == (None, 0.0, None)
    writer.write(batch_of(samples.trade(1, 1), journal=777))
    assert History(database).shadow() == [], "another journal has another shadow"


def test_what_is_behind_the_cursor_is_dropped(writer, database):
    writer.write(batch_of(samples.equity(1), samples.equity(2)))
    again = writer.write(batch_of(samples.equity(1), samples.equity(2), samples.equity(3)))
    assert (again.rows, again.repeated) == (1, 2)
    assert len(History(database).equity()) == 3


def test_a_cursor_that_another_connection_moved_is_seen(writer, database):
    writer.write(batch_of(samples.fill(1, 1)))
    other = opened(database)
    other.write(batch_of(samples.fill(2, 2), first=2))
    assert writer.write(batch_of(samples.fill(1, 1), samples.fill(2, 2), samples.fill(3, 3))).repeated == 2
    assert other.write(batch_of(samples.fill(3, 3), first=3)).repeated == 1
    other.close()
    assert [fill["id"] for fill in History(database).fills()] == [3, 2, 1]


class Breaking:
    """A driver's connection, and its cursor, whose COMMIT takes effect and fails all the same."""

    def __init__(self, inner) -> None:
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def cursor(self):
        return Breaking(self.inner.cursor())

    def execute(self, statement, *values):
        found = self.inner.execute(statement, *values)
        if statement == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        return found


def test_a_commit_that_failed_and_took_effect_is_not_written_twice(writer, database):
    writer.write(batch_of(samples.equity(1)))
    whole = writer._driver
    writer._driver = Breaking(whole)
    writer._cursor = writer._driver.cursor()
    with pytest.raises(sqlite3.OperationalError):
        writer.write(batch_of(samples.equity(2), first=2))
    writer._driver, writer._cursor = whole, whole.cursor()
    assert writer.write(batch_of(samples.equity(2), samples.equity(3), first=2)).repeated == 1
    assert len(History(database).equity()) == 3


def test_a_file_that_was_opened_anew_is_read_anew(writer, database):
    writer.write(batch_of(samples.equity(1)))
    writer.reopen()
    other = opened(database)
    other.write(batch_of(samples.equity(2), first=2))
    other.close()
    assert writer.write(batch_of(samples.equity(2), samples.equity(3), first=2)).repeated == 1


def refused(*_: object) -> None:
    raise sqlite3.OperationalError("disk I/O error")


def test_where_no_other_connection_can_be_had_the_one_in_use_goes_on(writer, database, monkeypatch):
    writer.write(batch_of(samples.equity(1)))
    used = writer._driver
    with monkeypatch.context() as patch:
        patch.setattr(writer.engine, "raw_connection", refused)
        writer.reopen()
        assert writer._driver is used
        assert writer.write(batch_of(samples.equity(2), first=2)).rows == 1
    writer.reopen()
    assert writer._driver is not used
    assert writer.write(batch_of(samples.equity(3), first=3)).rows == 1
    assert len(History(database).equity()) == 3


def test_a_connection_that_cannot_leave_its_transaction_is_closed_at_any_rate(writer, database, monkeypatch):
    writer.write(batch_of(samples.equity(1)))
    writer._driver.execute("BEGIN IMMEDIATE")
    with monkeypatch.context() as patch:
        patch.setattr(writer.engine, "raw_connection", refused)
        writer.reopen()
    assert writer.write(batch_of(samples.equity(2), first=2)).rows == 1
    assert len(History(database).equity()) == 2


def test_events_are_counted_per_stage_and_start(writer, database):
    def events(epoch, *numbers, stage="feeder"):
        batch = Batch()
        for number in numbers:
            batch.add_event(stage, epoch, number, samples.event(f"{epoch}-{number}", stage))
        return batch

    for batch in (events(1, 0, 1), events(1, 0, 1, 2), events(1, 0, stage="trader"), events(2, 0, 1), events(2, 1)):
        writer.write(batch)
    texts = [row["message"] for row in History(database).events()]
    assert texts == ["1-0", "1-1", "1-2", "1-0", "2-0", "2-1"]


def test_the_pair_is_named_once_in_an_event(writer, database):
    batch = Batch()
    batch.add_event("feeder", 1, 0, samples.event("bought", pair="B-BTC_USDT"))
    batch.add_event("feeder", 1, 1, samples.event("sold B-BTC_USDT", pair="B-BTC_USDT"))
    writer.write(batch)
    assert [row["message"] for row in History(database).events()] == ["B-BTC_USDT: bought", "sold B-BTC_USDT"]


def test_the_operators_commands_are_found_among_all_that_was_told(writer, database):
    batch = Batch()
    texts = ["paused: no new entries (by the page: news)", "bought (mean_reversion)", "halted (max_drawdown_pct)",
             "trading goes on (by make)", "flattening (by a program)", "restart of feeder (by the page)"]  # fmt: skip
    for number, text in enumerate(texts):
        batch.add_event("trader", 1, number, samples.event(text, stage="trader"))
    writer.write(batch)
    history = History(database)
    assert [row["message"] for row in history.commands()] == [texts[0], *texts[3:]]
    assert [row["message"] for row in history.commands(2)] == texts[4:], "the latest"


def test_the_end_of_a_refusal_tells_how_often(writer, database):
    refused = "refused:stale"
    writer.write(batch_of(samples.signal(1, "", refused), samples.signal(2, "", f"{refused} ended", 17)))
    outcomes = [row["outcome"] for row in History(database).signals()]
    assert outcomes == ["refused:stale ended, 17 times", "refused:stale"]


def test_a_malformed_amount_is_told_when_it_is_added_and_changes_nothing(writer):
    batch = batch_of(samples.equity(1))
    broken = samples.FillEvent(samples.at(2), 1, "k", "", samples.PAIR, "buy", "12,5", "1", "0", "USDT", samples.START)
    with pytest.raises(ValueError):
        batch.add_entry(JOURNAL, 2, broken)
    assert batch.reached == {TRADER: (JOURNAL, 1)} and len(batch) == 1
    batch.skip_to(TRADER, JOURNAL, 2)
    writer.write(batch)
    assert writer.cursors()[TRADER] == (JOURNAL, 2)


def test_a_failing_batch_leaves_nothing(writer, database):
    writer.write(batch_of(samples.equity(1)))
    batch = batch_of(samples.equity(2), first=2)
    batch.add_row(TRADER, JOURNAL, 3, "events", (None, None, "s", "info", "time may not be null"))
    with pytest.raises(writer.driver_errors):
        writer.write(batch)
    assert writer.cursors() == {TRADER: (JOURNAL, 1)}
    assert len(History(database).equity()) == 1
    writer.write(batch_of(samples.equity(2), first=2))  # the connection is free for the next transaction
    assert len(History(database).equity()) == 2


def test_a_locked_database_is_told_and_the_batch_can_be_written_later(writer, database):
    other = opened(database)
    lock = other.engine.connect()
    lock.exec_driver_sql("DELETE FROM gaps")
    batch = batch_of(samples.trade(1, 1))
    with pytest.raises(writer.driver_errors, match="locked"):
        writer.write(batch)
    lock.close()
    other.close()
    assert writer.write(batch).trades == 1


def test_another_journal_is_applied_from_its_first_entry_and_the_old_ledger_is_kept_aside(writer, database):
    writer.write(batch_of(samples.order(1, "old"), samples.fill(2, 1, "old"), samples.trade(3, 1), samples.equity(4)))
    written = writer.write(batch_of(samples.trade(1, 1, "-2.5", "new"), journal=777))
    assert len(written.told) == 1 and f"bot_data.before-journal-{JOURNAL}.db" in written.told[0]
    history = History(database)
    assert [row["client_order_id"] for row in history.trades()] == ["new"]
    assert history.realized() == -2.5
    assert (history.orders(), history.fills(), history.equity()) == ([], [], [])
    assert writer.cursors()[TRADER] == (777, 1)
    kept = History(database.with_name(f"bot_data.before-journal-{JOURNAL}.db"))
    assert [row["client_order_id"] for row in kept.trades()] == ["scalp-1"] and len(kept.fills()) == 1
    with pytest.raises(writer.driver_errors, match="kept for ever"):
        writer._read("DELETE FROM trades")  # the triggers are back


def test_a_journal_that_lost_its_end_is_applied_from_its_first_entry(writer, database):
    writer.write(batch_of(samples.trade(1, 1), samples.trade(2, 2, "5"), samples.trade(3, 3)))
    batch = batch_of(samples.trade(4, 4, "100"), first=4)
    batch.begin_journal()  # what waits is of the lost end
    batch.add_entry(JOURNAL, 1, samples.trade(1, 1))
    written = writer.write(batch)
    assert "lost its end" in written.told[0]
    assert [row["id"] for row in History(database).trades()] == [1]
    assert writer.cursors()[TRADER] == (JOURNAL, 1)
    again = writer.write(batch_of(samples.trade(2, 2, "-5"), first=2))
    assert (again.rows, again.told) == (1, ())
    assert History(database).realized() == -5.0


def test_another_journal_over_an_empty_ledger_needs_no_copy(writer, database):
    writer.write(batch_of(samples.position(1)))
    assert writer.write(batch_of(samples.trade(1, 1), journal=777)).told == ()
    assert list(database.parent.glob("*.before-*")) == []


def test_a_long_statement_breathes(database):
    fill = (
        "INSERT INTO events WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) "
        "SELECT i, 0, 'feeder', 'info', hex(randomblob(20)) FROM n"
    )
    breaths = []
    writer = Writer(database, lambda: breaths.append(len(breaths)))
    migrate(writer.engine, database, 0)
    writer._read(fill)
    assert breaths
    breaths.clear()
    keep_copy(writer.engine, database, "test")  # VACUUM INTO, of a ledger that is made anew
    assert breaths
    breaths.clear()
    prune(writer.engine, 1000, rows_kept=10)
    assert breaths
    writer.close()


def test_totals_and_realized_are_sums_over_all_trades(writer, database):
    history = History(database)
    profits = [None, "1.5", None, "-0.25", None, "0"]
    writer.write(batch_of(*(samples.trade(n, n, profit) for n, profit in enumerate(profits, start=1))))
    assert history.realized() == 1.25
    totals = history.totals()
    assert totals.pop("fees") == pytest.approx(6 * 0.0384)
    assert totals == {"trades": 3, "wins": 1, "losses": 1, "realized": 1.25, "last_id": 6}
    assert history.last_ids() == {"trades": 6, "fills": 0, "events": 0}


def test_history_answers_before_there_is_a_file_and_makes_none(tmp_path):
    history = History(tmp_path / "books" / "bot_data.db")
    assert history.candles("P") == history.trades() == history.equity() == history.events() == history.gaps() == []
    assert (history.realized(), history.cursor(), history.totals()["trades"]) == (0.0, None, 0)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty.db").touch()
    assert History(tmp_path / "empty.db").trades() == []


def test_history_limits_and_orders_its_answers(writer, database):
    batch = Batch()
    for minute in range(5):
        batch.add_candle(samples.candle(minute))
        batch.add_candle(samples.candle(minute, pair="B-ETH_USDT"))
    writer.write(batch)
    writer.write(batch_of(*(samples.trade(n, n) for n in range(1, 6))))
    history = History(database)
    assert [row["time"] for row in history.candles(samples.PAIR, 2)] == [
        samples.START + 3 * samples.MINUTE,
        samples.START + 4 * samples.MINUTE,
    ]
    assert [row["id"] for row in history.trades(2)] == [5, 4]
    assert history.trades(2, "B-ETH_USDT") == []
    assert len(history.candles("B-ETH_USDT", 100)) == 5


def test_history_cannot_write(writer, database):
    with History(database)._engine.connect() as connection, pytest.raises(Exception, match="readonly"):
        connection.exec_driver_sql("DELETE FROM candles")


def test_a_reader_sees_whole_batches_while_the_writer_writes(writer, database):
    history = History(database)
    for number in range(1, 200, 2):
        writer.write(batch_of(samples.trade(number, number), samples.trade(number + 1, number + 1), first=number))
        assert history.totals()["last_id"] == number + 1


def test_a_held_reader_does_not_stop_the_writer_and_the_log_shrinks_after_it(writer, database):
    held = History(database)._engine.connect()
    held.exec_driver_sql("BEGIN")
    held.exec_driver_sql("SELECT count(*) FROM trades").fetchall()
    for number in range(1, 400):
        writer.write(batch_of(samples.trade(number, number), first=number))
    assert held.exec_driver_sql("SELECT count(*) FROM trades").scalar() == 0
    writer.checkpoint()
    assert writer.wal_bytes() > 0
    held.close()
    writer.checkpoint()
    assert writer.wal_bytes() == 0
    assert len(History(database).trades(1000)) == 399
