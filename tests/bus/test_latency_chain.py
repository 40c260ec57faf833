"""One trade through the feeder's desk, indicators and trader over real sockets: every step is timed, and adds up."""

import logging
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bus.frames import STATUS, TRADE, Frame, messages
from bus.layouts import layout_hash
from bus.messages import Beat, Status
from bus.notices import LATEST, BeatSeen
from bus.passage import OLDEST_NS
from bus.publisher import open_publisher
from bus.records import BACKFILL
from bus.records import TRADE as TRADE_KIND
from bus.subscriber import open_subscriber
from bus.tape import TapeReader, TapeWriter, tape_replay
from core.clock import NS_PER_S, LiveClock
from core.paths import ROOT
from core.settings_load import from_texts
from core.stage import Context
from feeder.desk import Desk
from feeder.guard import Counts
from feeder.packing import Record, candle
from indicators import app as indicators
from indicators import jit
from tests.bus.rig import Rig
from tests.indicator_tools import kernels
from tests.trader_world import start
from trader import app as trader
from venues.venue import Bar

MINUTE_NS = 60 * NS_PER_S
_statuses = msgspec.msgpack.Decoder(list[Status])


class Chain:
    """Three stages on one loop, and who listens to their heartbeats."""

    def __init__(self, rig: Rig, var: Path) -> None:
        self.rig = rig
        self.clock = LiveClock()
        self.settings = from_texts(
            {"VAR_DIR": str(var), "PAPER_FILL": "instant", "TRADE_CAPITAL": "1000", "PAPER_BALANCE": "10000"}
        )
        self.contexts: list[Context] = []
        self.beats: dict[str, Beat] = {}
        self.statuses: list[Status] = []
        self._feeder()
        indicators.start(self._context("indicators"))
        trader.build(self._context("trader"))
        listener = self._context("listener")
        for stage in ("feeder", "indicators", "trader"):
            topics = {STATUS: LATEST} if stage == "trader" else {}
            open_subscriber(listener, stage, topics, self._hear, layout_hash())

    def _context(self, name: str) -> Context:
        context = Context(name, self.settings, self.clock, logging.getLogger(name))
        context.run_dir = self.rig.run_dir
        context.loop = self.rig.loop
        context.book_dir.mkdir(parents=True, exist_ok=True)
        self.contexts.append(context)
        return context

    def _feeder(self) -> None:
        """Everything of the feeder but the venue."""
        context = self._context("feeder")
        (context.book_dir / "tape").mkdir()
        tape = TapeWriter(context.book_dir / "tape", self.clock, "boot")
        context.on_stop(tape.close)
        epoch, _ = tape.open()
        reader = TapeReader(tape.folder, epoch)
        context.on_stop(reader.close)
        publisher = open_publisher(context, layout_hash(), latency="arrival_to_publish")
        publisher.topic(TRADE, epoch, -1, replay=tape_replay(reader))
        self.desk = Desk(context, tape, reader, Counts())
        self.desk.begin(publisher)
        self.desk.start(start())
        now_ns = self.clock.wall_ns()
        running_ns = now_ns // MINUTE_NS * MINUTE_NS
        closes = [100.0 + i % 2 for i in range(60)]
        bars = [Bar(running_ns - (60 - i) * MINUTE_NS, c, c, c, c, 1.0) for i, c in enumerate(closes)]
        self.desk.write([candle(0, bar) for bar in bars])
        self.desk.write([self.row(100.0, flags=BACKFILL)])

    def _hear(self, notices: list) -> None:
        for notice in notices:
            if isinstance(notice, BeatSeen):
                self.beats[notice.beat.stage] = notice.beat
            elif isinstance(notice, Frame):
                self.statuses += messages(notice, _statuses)

    def row(self, price: float, *, flags: int = 0, age_ns: int = 0) -> Record:
        """A trade whose message arrived at the socket `age_ns` ago."""
        now_ns = self.clock.wall_ns()
        return (TRADE_KIND, 1, flags, 0, now_ns, now_ns - age_ns, price, 1e3, round(price * 100), 1_000_000, 0)

    def trade(self, price: float, *, age_ns: int = 0) -> None:
        row = self.row(price, age_ns=age_ns)
        self.desk.write([row], row[5])

    def joined(self) -> bool:
        return bool(self.statuses) and self.statuses[-1].feed == "normal" and len(self.beats) == 3

    def samples(self, stage: str) -> dict[str, int]:
        """How often each span of a stage was seen in the last minute."""
        return {name: minute.samples for name, (minute, _) in self.beats[stage].spans.items()}

    def all_samples(self) -> dict[str, int]:
        return {name: count for stage in self.beats for name, count in self.samples(stage).items()}

    def p50(self, stage: str, span: str) -> float:
        return self.beats[stage].spans[span][0].p50


@pytest.fixture
def chain(rig: Rig, tmp_path: Path) -> Iterator[Chain]:
    kernels()  # the stage finds the kernels compiled, as after set-up
    target = jit.code_file(tmp_path / "cache")
    target.parent.mkdir(parents=True)
    target.write_bytes(jit.code_file(ROOT / "var" / "cache").read_bytes())
    chain = Chain(rig, tmp_path)
    yield chain
    for context in reversed(chain.contexts):
        context.close()


def test_an_order_is_timed_from_the_socket_to_the_fill(chain: Chain) -> None:
    chain.rig.run_until(chain.joined)
    assert set(chain.all_samples().values()) == {0}, "history and what is told again is no latency"
    chain.trade(90.0)
    chain.rig.run_until(lambda: chain.samples("trader").get("trade_to_fill"))
    chain.rig.run_until(lambda: chain.samples("indicators")["trade_to_update"])
    chain.rig.run_until(lambda: chain.samples("feeder")["arrival_to_publish"])
    # A heartbeat asks its spans one after the other: all of the next one are told after the trade.
    chain.rig.run_until(lambda: 0 not in chain.all_samples().values())
    assert set(chain.all_samples().values()) == {1}, "one trade: every span once"
    way = [
        chain.p50("feeder", "arrival_to_publish"),
        chain.p50("indicators", "trade_to_update"),
        chain.p50("trader", "trade_to_decision"),
        chain.p50("trader", "trade_to_order"),
        chain.p50("trader", "trade_to_fill"),
    ]
    assert way == sorted(way) and way[0] > 0, way
    assert chain.p50("trader", "decision_to_order") <= chain.p50("trader", "trade_to_order")
    parts = [("indicators", "publish_to_arrival"), ("indicators", "arrival_to_update")]
    assert all(chain.p50(*part) <= chain.p50("indicators", "trade_to_update") for part in parts)


def test_a_trade_that_waited_at_the_feeder_is_late_at_every_later_step(chain: Chain) -> None:
    """3 s lost before the publication: the feeder's share shows them, the shares of the others do not."""
    chain.rig.run_until(chain.joined)
    chain.trade(100.0, age_ns=3_000_000_000)
    chain.rig.run_until(lambda: chain.samples("trader")["trade_to_decision"])
    chain.rig.run_until(lambda: chain.samples("indicators")["trade_to_update"])
    chain.rig.run_until(lambda: chain.samples("feeder")["arrival_to_publish"])
    late = ("feeder", "arrival_to_publish"), ("indicators", "trade_to_update"), ("trader", "trade_to_decision")
    assert all(chain.p50(*span) > 2_960_000 for span in late)
    shares = ("publish_to_arrival", "arrival_to_update"), ("update_to_arrival", "arrival_to_decision")
    for stage, names in zip(("indicators", "trader"), shares, strict=True):
        assert all(chain.p50(stage, name) < chain.p50("feeder", "arrival_to_publish") for name in names)


def test_what_was_waited_for_longer_than_a_minute_is_not_timed(chain: Chain) -> None:
    chain.rig.run_until(chain.joined)
    before = chain.statuses[-1].record
    chain.trade(100.0, age_ns=OLDEST_NS + NS_PER_S)
    chain.rig.run_until(lambda: chain.statuses[-1].record > before)
    chain.trade(100.0)
    chain.rig.run_until(lambda: chain.samples("trader")["trade_to_decision"])
    assert chain.samples("trader")["trade_to_decision"] == 1
