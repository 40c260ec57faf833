"""What is written with little room: always the ledger, the market where the disk has room, nothing to a full log."""

import sqlite3
from collections.abc import Callable

import pytest

from bus.frames import CANDLE, EVENT, TRADER, Frame
from bus.messages import Entry, Gap
from bus.messages import encode as pack
from core.clock import NS_PER_S, ManualClock
from storage.csvlog import TradesCsv
from storage.migrations import migrate
from storage.queries import History
from storage.recorder import CANDLES_WAIT_NS, PRUNE_NS, PRUNE_ROWS, Recorder
from storage.room import STOPPED, Limits, Room
from storage.writer import Writer
from tests.unit import storage_samples as samples

MB = 1_000_000
DISK_FAILS = sqlite3.OperationalError("disk I/O error")
JOURNAL = 9


class World:
    """A recorder on a real file, with a disk and a clock that the test moves."""

    def __init__(self, folder, limits: Limits) -> None:
        self.free = 1_000 * MB
        self.clock = ManualClock()
        self.told: list[tuple[str, str]] = []
        self.number = 0
        self.writer = Writer(folder / "bot_data.db")
        migrate(self.writer.engine, self.writer.database, 1)
        self.room = Room(self.writer, limits, lambda: self.free)
        csv = TradesCsv(folder / "trades.csv", self.writer.trades_from)
        keep_ms = 60 * samples.MINUTE
        self.recorder = Recorder(
            self.writer, csv, keep_ms, self.clock, lambda *told: self.told.append(told), limits, self.room
        )
        self.history = History(self.writer.database)

    def entries(self, *make: Callable) -> None:
        """Journal entries, made with their numbers."""
        entries = [Entry(self.number + place, one(self.number + place)) for place, one in enumerate(make, start=1)]
        frame = Frame(TRADER, JOURNAL, self.number + 1, len(entries), 0, pack(entries))
        self.number += len(entries)
        self.recorder.take("trader", [frame])

    def candles(self, *candles) -> None:
        self.recorder.take("indicators", [Frame(CANDLE, 1, 0, len(candles), 0, pack(candles))])

    def event(self, number: int) -> None:
        self.recorder.take("feeder", [Frame(EVENT, 1, number, 1, 0, pack([samples.event(f"said {number}")]))])

    def flush(self) -> None:
        self.clock.advance(NS_PER_S)
        self.recorder.flush()


@pytest.fixture
def make_world(tmp_path):
    worlds: list[World] = []

    def make(**limits) -> World:
        worlds.append(World(tmp_path, Limits(**limits)))
        return worlds[-1]

    yield make
    for world in worlds:
        world.writer.close()


def test_rows_wait_since_the_oldest_message_was_published(make_world):
    world = make_world()
    published_ns = world.clock.wall_ns() - 200_000_000
    payload = pack([samples.event("said")])
    world.recorder.take("feeder", [Frame(EVENT, 1, 0, 1, published_ns, payload)])
    world.clock.advance(100_000_000)
    world.recorder.take("feeder", [Frame(EVENT, 1, 1, 1, 0, payload)])
    world.recorder.flush()
    assert world.recorder.lag_ms == 300.0


def said(world: World, published_ns_ago: int = 0) -> None:
    published_ns = world.clock.wall_ns() - published_ns_ago if published_ns_ago else 0
    payload = pack([samples.event("said")])
    world.recorder.take("feeder", [Frame(EVENT, 1, world.number, 1, published_ns, payload)])
    world.number += 1


def test_rows_that_wait_long_are_told_of_once_and_so_is_the_end_of_it(make_world):
    world = make_world()
    for ago_s in (9, 11, 12, 6, 1, 1):
        said(world, ago_s * NS_PER_S)
        world.recorder.flush()
    (level, text), (end_level, end) = world.told
    assert level == "warn" and text.startswith("rows waited 11 s for") and "does not keep up" in text
    assert (end_level, end) == ("info", "rows no longer wait for the database")


def test_rows_that_waited_for_a_locked_database_are_told_of_as_that_alone(make_world, monkeypatch):
    world = make_world()
    said(world)
    with monkeypatch.context() as patch:
        patch.setattr(world.writer, "write", locked)
        world.flush()
    world.clock.advance(30 * NS_PER_S)
    world.flush()
    assert [level for level, _ in world.told] == ["error", "info"]
    assert "is locked" in world.told[0][1] and "takes rows again" in world.told[1][1]
    assert len(world.history.events()) == 1


def test_a_low_disk_is_told_of_as_that_alone_however_long_candles_wait(make_world):
    world = make_world()
    world.free = 149 * MB
    world.candles(samples.candle(0))
    world.flush()
    for _ in range(3):
        world.clock.advance(15 * NS_PER_S)
        said(world)
        world.recorder.flush()
        assert world.recorder.lag_ms == 0
    world.clock.advance(15 * NS_PER_S)
    world.free = 200 * MB
    world.recorder.flush()
    assert [level for level, _ in world.told] == ["error", "info"]
    assert len(world.history.candles(samples.PAIR)) == 1


def locked(*_: object, **__: object) -> None:
    raise sqlite3.OperationalError("database is locked")


def test_streams_that_could_not_be_joined_anew_are_joined_at_the_next_try(make_world):
    world = make_world()
    tries: list[int] = []

    def rejoin() -> None:
        tries.append(1)
        if len(tries) == 1:
            locked()

    world.recorder.rejoin = rejoin
    world.recorder.behind = True
    world.flush()
    assert world.recorder.behind
    world.clock.advance(NS_PER_S)
    world.flush()
    world.flush()
    assert len(tries) == 2 and not world.recorder.behind


@pytest.mark.parametrize(("error", "reopens"), [(PermissionError(13, "denied"), 0), (DISK_FAILS, 1)])
def test_what_is_wrong_with_trades_csv_alone_costs_the_database_nothing(make_world, monkeypatch, error, reopens: int):
    world = make_world()
    reopened: list[bool] = []
    monkeypatch.setattr(world.writer, "reopen", lambda: reopened.append(True))

    def refuse() -> int:
        raise error

    monkeypatch.setattr(world.recorder._csv, "sync", refuse)
    world.flush()
    assert len(reopened) == reopens and "trades.csv" in world.told[0][1]


def test_trades_csv_waits_for_rows_that_cannot_be_read(make_world, monkeypatch, tmp_path):
    world = make_world()
    world.flush()
    world.entries(lambda number: samples.trade(number, 1))
    with monkeypatch.context() as patch:
        patch.setattr(world.recorder._csv, "_rows_from", locked)
        world.flush()
    assert "trades.csv" in world.told[0][1] and "will be brought up to date" in world.told[0][1]
    world.flush()
    assert "is up to date again" in world.told[1][1]
    assert (tmp_path / "trades.csv").read_text().count("\n") == 2


def test_disk_low_the_ledger_goes_on_and_the_market_waits_or_is_counted(make_world, tmp_path):
    world = make_world()
    world.free = 149 * MB
    world.entries(
        lambda number: samples.order(number, "scalp-1"),
        lambda number: samples.fill(number, 1),
        lambda number: samples.trade(number, 1),
        lambda number: samples.signal(number, "scalp-1"),
        lambda number: samples.signal(number, "", "refused:stale"),
        samples.equity,
    )
    world.candles(samples.candle(0), samples.candle(1, closed=False))
    world.event(0)
    world.recorder.batch.add_gap(Gap("storage", "candle/0/", 3, 5, 8, 1234))
    world.flush()
    history = world.history
    assert len(history.orders()) == len(history.fills()) == len(history.trades()) == 1
    assert [row["client_order_id"] for row in history.signals()] == ["scalp-1"]
    assert history.equity() == history.events() == history.gaps() == history.candles(samples.PAIR) == []
    assert history.cursor() == (JOURNAL, 6)
    assert (tmp_path / "trades.csv").read_text().count("\n") == 2
    [(level, text)] = world.told
    assert level == "error" and "149 MB are free" in text and "less than 150" in text and "Free some space" in text
    world.candles(samples.candle(1, close=250.0), samples.candle(2))
    world.flush()
    world.flush()
    assert len(world.told) == 1 and world.recorder.facts()["left_out"] == 6
    world.free = 160 * MB
    world.flush()
    assert len(world.told) == 1 and history.candles(samples.PAIR) == []  # a tenth more than the limit is wanted
    world.free = 165 * MB
    world.flush()
    assert [row["close"] for row in history.candles(samples.PAIR)] == [100.5, 250.0, 100.5]
    level, text = world.told[-1]
    assert level == "info" and "6 were left out, candles are kept" in text
    world.entries(samples.equity)
    world.flush()
    assert len(history.equity()) == 1


def test_candles_that_wait_are_bounded_by_what_is_kept(make_world):
    world = make_world(commit_rows=100)
    world.free = 0
    for minute in range(300):
        world.candles(samples.candle(minute))
        world.recorder.tidy()
    assert len(world.recorder.batch.candles) <= 101
    world.free = 1_000 * MB
    world.flush()
    assert world.history.candles(samples.PAIR)[-1]["time"] == samples.START + 299 * samples.MINUTE


def test_log_full_nothing_is_written_candles_coalesce_and_the_rest_is_let_go(make_world):
    world = make_world(log_soft_bytes=200_000, log_hard_bytes=400_000, commit_rows=50, pending_rows=150, slow_ns=0)
    rejoined = []
    world.recorder.rejoin = lambda: rejoined.append(world.history.cursor())
    held = world.history._engine.connect()
    held.exec_driver_sql("BEGIN")
    held.exec_driver_sql("SELECT count(*) FROM trades").fetchall()
    biggest = 0
    for number in range(1, 1_000):
        world.entries(lambda at: samples.trade(at, at))
        world.candles(samples.candle(number // 100, close=float(number)))
        if number % 10 == 0:
            world.flush()
        biggest = max(biggest, world.writer.wal_bytes())
        assert len(world.recorder.batch.numbered) <= 151
    assert world.room.log == STOPPED and world.recorder.behind
    assert 400_000 < biggest < 460_000  # the limit and one commit
    assert len(world.recorder.batch.candles) <= 10
    texts = [text for level, text in world.told if "close that program" in text]
    assert len(texts) == 2 and "written every 5 s" in texts[0] and "wait, the page goes on" in texts[1]
    world.recorder.tidy()
    assert world.writer.wal_bytes() == biggest  # nor does pruning write
    held.close()
    world.flush()
    assert not world.recorder.behind and rejoined == [world.history.cursor()]
    assert world.history.cursor()[1] < 1_000 and world.history.candles(samples.PAIR)[-1]["close"] == 999.0
    assert world.writer.wal_bytes() < 200_000
    assert [text for level, text in world.told if "small again" in text] == [
        "the database's log is small again: rows are written as they come"
    ]


def test_forming_candles_of_many_pairs_share_pages(make_world):
    """What an SD card notices most: each page that a commit touches is written to the log."""
    world = make_world()
    pairs = [f"B-C{number:02d}_USDT" for number in range(26)]
    page = 4_096
    for minute in range(90):
        world.candles(*(samples.candle(minute, pair=pair) for pair in pairs))
        world.flush()
        world.recorder.tidy()
        world.writer.checkpoint()
        assert world.writer.wal_bytes() == 0
        for state in range(5):
            world.candles(*(samples.candle(minute, 101.0 + state, pair, closed=False) for pair in pairs))
            world.flush()
        assert world.writer.wal_bytes() < 5 * 4 * page, f"minute {minute}"


def test_candles_alone_wait_a_moment_for_each_other(make_world):
    world = make_world()
    world.candles(samples.candle(0))
    world.recorder.flush()
    assert world.history.candles(samples.PAIR) == []
    world.entries(samples.equity)
    world.recorder.flush()
    assert len(world.history.candles(samples.PAIR)) == len(world.history.equity()) == 1
    world.candles(samples.candle(1))
    world.clock.advance(CANDLES_WAIT_NS)
    world.recorder.flush()
    assert len(world.history.candles(samples.PAIR)) == 2


def test_free_pages_go_back_each_time(make_world, monkeypatch):
    given: list[str] = []
    monkeypatch.setattr("storage.pruner.give_back", lambda engine: given.append("with what was pruned"))
    monkeypatch.setattr("storage.recorder.give_back", lambda engine: given.append("alone"))
    world = make_world()
    for _ in range(3):
        world.recorder.tidy()
    assert given == ["with what was pruned", "alone", "alone"]


@pytest.mark.parametrize("soon", ["after half a minute", "after many rows"])
def test_old_rows_go_now_and_then(make_world, soon: str):
    world = make_world()

    def kept() -> list[int]:
        world.recorder.tidy()
        return [(row["time"] - samples.START) // samples.MINUTE for row in world.history.candles(samples.PAIR)]

    world.candles(samples.candle(0))
    world.flush()
    assert kept() == [0]
    world.candles(samples.candle(61))
    world.flush()
    assert kept() == [0, 61], "it was looked for just now"
    if soon == "after many rows":
        world.entries(*[lambda at: samples.trade(at, at)] * PRUNE_ROWS)
        world.flush()
    else:
        world.clock.advance(PRUNE_NS)
    assert kept() == [61]
