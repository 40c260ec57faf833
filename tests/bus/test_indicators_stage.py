"""The stage on real sockets: a tape before it, updates, candles and views behind it, killed and started again."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from backtest.retold import Retold, Tape
from bus.frames import CANDLE, EVENT, GAP, TRADE, UPDATE, VIEW, Frame
from bus.layouts import layout_hash
from bus.messages import Candle, Event, Start, View
from bus.notices import FIRST, LATEST, GapFound, Joined, Notice
from bus.publisher import Publisher
from bus.records import UPDATE as UPDATE_DTYPE
from bus.subscriber import Subscriber
from bus.tape import TapeReader, TapeWriter, tape_replay
from core.clock import LiveClock
from core.loop import PollLoop
from core.paths import ROOT
from core.settings import indicator_hash, shared_hash
from core.settings_load import load
from core.stage import Context
from indicators import app, jit
from indicators.engine import parameters_of
from indicators.kept import Kept, read_all
from tests.indicator_tools import (
    MINUTE,
    SECOND,
    T0,
    candle,
    closed_rows,
    compiled,
    fold_all,
    hole,
    kernels,
    market,
    trade,
    walk,
)

START = Start("sandbox", "sim-sandbox", [market()], "5", "5", False, T0)
HISTORY = np.concatenate([candle(T0 - (60 - i) * MINUTE, 60_000.0 + i % 7) for i in range(60)])


class World:
    """A feeder with its tape, the indicators and someone who listens to them, on the loop of the test."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        self.clock = LiveClock()
        self.loop = PollLoop(self.clock)
        self.environ = {"VAR_DIR": str(folder), **environ}
        self.settings = load(self.environ, folder / "no.env")
        self.stage: app.Stage | None = None
        self.context = self._context()
        self.feeder: Publisher | None = None
        self.notices: list[Notice] = []
        self.records: list[np.ndarray] = []  # as on the tape, the START as an empty place
        self.new_tape("boot")
        self.listener: Subscriber | None = None

    def _context(self) -> Context:
        context = Context("indicators", self.settings, self.clock, logging.getLogger("indicators"))
        context.loop = self.loop
        context.started_ms += 1000 if self.stage else 0
        return context

    def new_tape(self, boot: str, start: Start = START) -> None:
        """The feeder starts: on the tape that there is, or after another boot on a new one."""
        if self.feeder is not None:
            self.feeder.close()
        self.writer = TapeWriter(self.folder / "tape", self.clock, boot)
        epoch, number = self.writer.open()
        self.feeder = Publisher(
            "feeder",
            self.context.run_dir,
            self.clock,
            layout_hash=layout_hash(),
            settings_hash=shared_hash(self.settings),
            started_ms=self.clock.wall_ms(),
        )
        self.epoch = epoch
        reader = TapeReader(self.folder / "tape", epoch)
        self.feeder.topic(
            TRADE, epoch, number - 1, replay=tape_replay(reader), snapshot=lambda: msgspec.msgpack.encode(start)
        )
        first = self.writer.start(start)
        record = reader.read(first)[0]
        self.feeder.send_records(TRADE, first, record, msgspec.msgpack.encode(start))
        self.feeder.attach(self.loop)

    def write(self, records: np.ndarray, cut: int = 50) -> None:
        """The feeder tapes and publishes records."""
        for at in range(0, len(records), cut):
            part = records[at : at + cut]
            assert self.feeder is not None
            self.feeder.send_records(TRADE, self.writer.append(part), part)

    def start(self) -> None:
        self.context = self._context()
        self.stage = app.start(self.context)

    def kill(self) -> None:
        """The stage dies without a word: nothing is saved that was not saved."""
        assert self.stage is not None
        self.stage.save = lambda: None  # type: ignore[method-assign]
        self.context._on_stop = [callback for callback in self.context._on_stop if callback.__name__ != "save"]
        self.stop()

    def stop(self) -> None:
        self.context.close()
        for _, _, timer in self.loop._timers + self.loop._patient:  # the loop is the test's and lives on
            if getattr(timer.callback, "__self__", None) is self.stage:
                timer.cancel()

    def listen(self) -> None:
        topics = {UPDATE: FIRST, CANDLE: None, VIEW: LATEST, EVENT: FIRST, GAP: FIRST}
        self.listener = Subscriber(
            "indicators",
            topics,
            self.context.run_dir,
            self.clock,
            layout_hash=layout_hash(),
            settings_hash=shared_hash(self.settings),
        )
        self.listener.attach(self.loop, self.notices.extend)

    def caught_up(self) -> bool:
        assert self.stage is not None
        return self.stage.epoch == self.epoch and self.stage.number == self.writer.next_number - 1

    def run_until(self, condition) -> None:
        self.loop.stopped = False
        failed: list[bool] = []
        checking = self.loop.every(0.002, lambda: condition() and self.loop.stop())
        limit = self.loop.call_later(30.0, lambda: (failed.append(True), self.loop.stop()))
        self.loop.run()
        checking.cancel()
        limit.cancel()
        assert not failed, "waited in vain"

    def frames(self, topic: str) -> list[Frame]:
        return [notice for notice in self.notices if isinstance(notice, Frame) and notice.topic == topic]

    def updates(self) -> np.ndarray:
        parts = [np.frombuffer(frame.payload, UPDATE_DTYPE) for frame in self.frames(UPDATE)]
        return np.concatenate([np.zeros(0, UPDATE_DTYPE), *parts])

    def texts(self) -> list[str]:
        decoder = msgspec.msgpack.Decoder(list[Event])
        return [event.text for frame in self.frames(EVENT) for event in decoder.decode(frame.payload)]

    def candles(self) -> dict[int, Candle]:
        """What a reader of snapshot and messages has of candles, by time."""
        decoder = msgspec.msgpack.Decoder(list[Candle])
        known: dict[int, Candle] = {}
        for notice in self.notices:
            if isinstance(notice, Joined) and notice.topic == CANDLE:
                assert notice.snapshot is not None
                known.update((candle.time, candle) for candle in decoder.decode(notice.snapshot))
            elif isinstance(notice, Frame) and notice.topic == CANDLE:
                known.update((candle.time, candle) for candle in decoder.decode(notice.payload))
        return known

    def views(self) -> list[View]:
        decoder = msgspec.msgpack.Decoder(list[View])
        return [view for frame in self.frames(VIEW) for view in decoder.decode(frame.payload)]

    def expected(self, records: np.ndarray, first: int = 1):
        """What the kernel alone makes of the records."""
        indicators = compiled(parameters_of(self.settings, indicator_hash(self.settings)))
        indicators.start(START.markets, False)
        return fold_all(indicators, records, first=first), closed_rows(indicators), indicators

    def kept(self) -> list[Kept]:
        return list(read_all(self.context.book_dir))

    def told_again(self) -> bytes:
        """The indicators' state, come to once more by the tape and what was kept of the stage's lives."""
        retold = Retold(Tape(self.folder / "tape"), self.kept(), kernels().machine, jit.sources_hash())
        assert self.stage is not None
        retold.seek(self.stage.epoch, self.stage.number)
        return retold.state.tobytes()

    def close(self) -> None:
        if self.listener is not None:
            self.listener.close()
        self.context.close()
        assert self.feeder is not None
        self.feeder.close()
        self.loop.close()


@pytest.fixture
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="ind") as folder:
        # The stage finds the kernels compiled, as after set-up.
        world = World(Path(folder))
        source = jit.code_file(ROOT / "var" / "cache")
        kernels()
        target = jit.code_file(world.folder / "cache")
        target.parent.mkdir(parents=True)
        target.write_bytes(source.read_bytes())
        yield world
        world.close()


def trades(seed: int, count: int) -> np.ndarray:
    return walk(seed, count, step_ns=4 * SECOND)


def test_from_the_tape_to_updates_candles_and_views(world: World) -> None:
    records = np.concatenate([HISTORY, trades(1, 900)])
    world.write(records[:500])
    world.start()
    world.run_until(world.caught_up)
    world.listen()
    assert world.listener is not None
    world.run_until(lambda: world.listener.live(UPDATE) and world.listener.live(CANDLE))
    for at in range(500, len(records), 40):
        world.write(records[at : at + 40], cut=7)
    world.run_until(world.caught_up)
    expected, rows, alone = world.expected(records)
    assert world.stage.indicators.state.tobytes() == alone.state.tobytes()
    world.run_until(lambda: len(world.updates()) and world.updates()["number"][-1] == expected["number"][-1])
    got = world.updates()
    assert got.tobytes() == expected[expected["number"] >= got["number"][0]].tobytes()
    assert len(got) >= len(records) - 500
    # candles: those retained, and the forming one
    world.run_until(lambda: world.views() and world.views()[-1].number == expected["number"][-1])
    world.run_until(lambda: max(world.candles()) == int(alone.heads[0]["open_ns"]) // 1_000_000)
    closed = {time: candle for time, candle in world.candles().items() if candle.closed}
    by_time = {int(row["open_ns"]) // 1_000_000: row for row in rows}
    assert set(closed) <= set(by_time) and list(by_time)[-1] in closed
    assert len(closed) >= 60
    for time, candle_ in closed.items():
        assert (candle_.close, candle_.volume) == (by_time[time]["close"], by_time[time]["volume"])
    view = world.views()[-1]
    assert (view.pair, view.price, view.warm, view.needed) == ("B-BTC_USDT", expected["price"][-1], True, 50)
    assert view.rsi == expected["rsi"][-1] and view.bb_lower == expected["bb_lower"][-1]
    assert view.buy_below is not None and view.sell_above is not None and view.buy_below < view.sell_above
    assert view.candle is not None and not view.candle.closed and view.candle.close == view.price


def test_killed_at_any_place_it_goes_on_as_if_nothing_had_happened(world: World) -> None:
    records = np.concatenate([HISTORY, trades(2, 1200)])
    expected, rows, alone = world.expected(records)
    world.write(records[:300])
    world.start()
    world.run_until(world.caught_up)
    world.stage.save()
    at = 300
    for more in (1, 90, 200, 400):
        world.write(records[at : at + more], cut=11)
        at += more
        world.run_until(world.caught_up)
        world.kill()
        world.write(records[at : at + 30])
        at += 30
        world.start()
        world.listen()
        world.run_until(world.caught_up)
        world.run_until(lambda: world.listener.live(UPDATE) and world.listener.live(CANDLE))
        world.listener.close()
    world.listen()
    world.write(records[at:], cut=13)
    world.run_until(world.caught_up)
    world.run_until(lambda: world.updates()["number"][-1] == expected["number"][-1])
    assert world.stage.indicators.state.tobytes() == alone.state.tobytes()
    by_number = {int(update["number"]): update.tobytes() for update in expected}
    got = world.updates()
    assert all(by_number[int(update["number"])] == update.tobytes() for update in got)
    assert set(got["number"].tolist()) >= set(range(400, len(records) + 1))
    world.run_until(lambda: max(world.candles()) == int(alone.heads[0]["open_ns"]) // 1_000_000)
    closed = [candle for candle in world.candles().values() if candle.closed]
    by_time = {int(row["open_ns"]) // 1_000_000: row for row in rows}
    assert all(candle.close == by_time[candle.time]["close"] for candle in closed)
    assert not world.frames(GAP)
    assert not any("warms up anew" in text for text in world.texts())


def test_stopped_in_order_it_folds_nothing_twice(world: World) -> None:
    records = np.concatenate([HISTORY, trades(3, 400)])
    world.write(records)
    world.start()
    world.run_until(world.caught_up)
    world.stop()
    before = world.stage
    world.start()
    assert world.stage.number == before.number
    assert world.stage.indicators.state.tobytes() == before.indicators.state.tobytes()
    world.listen()
    # The market is quiet: who waits for updates still learns where they stand.
    world.run_until(lambda: any(isinstance(n, Joined) and n.topic == UPDATE for n in world.notices))
    joined = next(n for n in world.notices if isinstance(n, Joined) and n.topic == UPDATE)
    assert joined.epoch == world.epoch


def test_another_tape_is_everything_anew(world: World) -> None:
    world.write(np.concatenate([HISTORY, trades(4, 300)]))
    world.start()
    world.run_until(world.caught_up)
    world.listen()
    world.new_tape("another boot")
    records = trades(5, 200)
    world.write(records)
    world.run_until(world.caught_up)
    expected, _, alone = world.expected(records)
    assert world.stage.indicators.state.tobytes() == alone.state.tobytes()
    world.run_until(lambda: len(world.updates()) and world.updates()["number"][-1] == 200)
    assert any("began tape" in text for text in world.texts())
    last = [frame for frame in world.frames(UPDATE) if frame.epoch == world.epoch]
    assert sum(len(frame.payload) for frame in last) == expected.nbytes
    first, second = [one for one in world.kept() if one.began]
    assert (first.saved.epoch < world.epoch, second.saved.epoch, second.after) == (True, world.epoch, -1)
    assert world.told_again() == alone.state.tobytes()


def test_records_lost_for_good_are_a_gap_and_a_new_segment(world: World) -> None:
    world.write(np.concatenate([HISTORY, trades(6, 100)]))
    world.start()
    world.run_until(world.caught_up)
    world.kill()
    world.stage.save = app.Stage.save.__get__(world.stage)
    world.stage.save()  # the state as of here
    # While it is away the tape grows and its beginning is pruned.
    world.writer._segment_bytes = 0
    world.write(trades(7, 120), cut=60)
    kept = world.writer.next_number
    world.write(trades(8, 60), cut=60)
    world.writer.prune(10**18, 64 * 60)
    world.start()
    world.listen()
    world.run_until(world.caught_up)
    world.run_until(lambda: world.frames(GAP) and any("lost" in text for text in world.texts()))
    world.run_until(lambda: any(isinstance(n, Joined | GapFound) and n.topic == UPDATE for n in world.notices))
    head = world.stage.indicators.heads[0]
    assert head["segment"] == 2 and head["number"] == world.writer.next_number - 1 >= kept
    lost = [one for one in world.kept() if one.began][-1]
    assert lost.after == lost.saved.number == kept - 1
    assert world.told_again() == world.stage.indicators.state.tobytes()


def test_holes_and_missing_candles_are_told(world: World) -> None:
    world.start()
    world.listen()
    world.write(HISTORY)
    world.run_until(lambda: any("B-BTC_USDT: 50 candles are there" in text for text in world.texts()))
    world.write(np.concatenate([trade(T0, 60_000.0), hole(T0, T0 + MINUTE)]))
    world.run_until(lambda: any("reach back" in text for text in world.texts()))
    world.write(np.concatenate([trade(T0 + MINUTE, 60_000.0), trade(T0 + 800 * MINUTE, 60_000.0)]))
    world.run_until(lambda: sum("warms up anew" in text for text in world.texts()) == 2)
    assert world.stage.facts()["segment"] == 3
    assert world.stage.facts()["closed"] == 0


def test_other_settings_fold_the_tape_anew(world: World) -> None:
    records = np.concatenate([HISTORY, trades(9, 200)])
    world.write(records)
    world.start()
    world.run_until(world.caught_up)
    world.stop()
    world.settings = load(world.environ | {"RSI_PERIOD": "7"}, world.folder / "no.env")
    world.start()
    world.run_until(world.caught_up)
    expected, _, alone = world.expected(records)
    assert world.stage.indicators.state.tobytes() == alone.state.tobytes()
    assert int(expected["settings_hash"][0]) == indicator_hash(world.settings)
    # The first life told all that is there; the second one tells what comes, though it began with the tape too.
    assert [(one.saved.number, one.after) for one in world.kept() if one.began] == [(-1, -1), (-1, 260)]
    assert world.told_again() == alone.state.tobytes()


def test_more_pairs_in_a_later_start(world: World) -> None:
    world.write(HISTORY)
    world.start()
    world.run_until(world.caught_up)
    more = msgspec.structs.replace(START, markets=[market(), market("B-ETH_USDT")])
    world.new_tape("boot", more)
    world.write(np.concatenate([trade(T0, 60_000.0), trade(T0, 3_000.0, pair=1)]))
    world.run_until(world.caught_up)
    assert world.stage.indicators.pairs == 2
    assert world.stage.indicators.heads["closed"].tolist() == [60, 0]


def test_a_damaged_state_is_told_and_done_without(world: World) -> None:
    world.write(np.concatenate([HISTORY, trades(10, 50)]))
    world.start()
    world.run_until(world.caught_up)
    world.stop()
    (state_file,) = Path(world.folder).glob("cache/indicators-*/state")
    state_file.write_bytes(state_file.read_bytes()[:-3])
    world.start()
    world.listen()
    world.run_until(world.caught_up)
    assert world.stage.indicators.heads[0]["closed"] >= 60
    world.run_until(lambda: any("damaged" in text for text in world.texts()))
