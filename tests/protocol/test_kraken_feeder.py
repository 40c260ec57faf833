"""The feeder's source against a hand-written Kraken: every trade on the tape exactly once, whatever breaks."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from bus.records import BACKFILL, CANDLE, HOLE, TRADE
from core.clock import NS_PER_S
from core.settings_load import from_texts
from feeder.guard import Counts
from feeder.numbered import NumberedPair
from feeder.source import Source
from tests.protocol.kraken_peer import HALF, HTML, NOTHING, Peer, bad, streamed
from tests.protocol.set_clock import SetClock
from venues.kraken.adapter import Kraken
from venues.kraken.connection import Pace
from venues.limits import Limit


class Bench:
    """Peer, adapter and source, with the records that would be on the tape."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.records: list[tuple[Any, ...]] = []
        self.said: list[tuple[str, str, str]] = []
        self.silence_s = 30.0
        self.pace = Pace(silent_s=5.0, tick_s=0.1)
        self.clock = SetClock()
        peer.ahead_s = 20.0 - peer.now_s() % 60.0  # 20 s of the minute are over, and it is not over soon
        self.clock.step_ns = int(peer.ahead_s * NS_PER_S)

    async def start(self) -> None:
        texts = {"VENUE": "kraken", "VENUE_REST_URL": self.peer.rest_url, "VENUE_STREAM_URL": self.peer.stream_url}
        self.venue = Kraken(from_texts(texts), self.clock, pace=self.pace, a_market=Limit(1000.0, 1000.0))
        rules = self.venue.resolve(["BTC/USD"], await self.venue.markets())[0]
        self.counts = Counts()
        self.pair = NumberedPair(0, rules, 60 * NS_PER_S, 30 * NS_PER_S, False, self.counts)
        self.source = Source(
            self.venue,
            [self.pair],
            self.clock,
            self.counts,
            stream=True,
            poll_s=0.3,
            silence_s=self.silence_s,
            random=lambda: 0.0,
            write=lambda records, received_ns: self.records.extend(records),
            say=lambda level, text, pair: self.said.append((level, text, pair)),
        )
        self._task = asyncio.create_task(self.source.run())
        await self.until(lambda: self.pair.live, "live")

    async def stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self.venue.close()

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        for _ in range(2000):
            if condition():
                return
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0.01)
        raise AssertionError(f"never came about: {what}; said {self.said}; taped {self.ids()[-20:]}")

    def of(self, kind: int) -> list[tuple[Any, ...]]:
        return [record for record in self.records if record[0] == kind]

    def ids(self) -> list[int]:
        return [record[10] for record in self.of(TRADE)]

    def truth(self) -> list[int]:
        return [trade[4] for trade in self.peer.trades]

    async def all_taped(self) -> None:
        """Every trade that happened is on the tape, once and in order."""
        await self.until(lambda: self.ids()[-1:] == self.truth()[-1:], "all taped")
        assert self.ids() == self.truth()
        told = {trade[4]: (float(trade[1]), float(trade[2])) for trade in self.peer.trades}
        assert all(record[6:8] == told[record[10]] for record in self.of(TRADE))
        assert not self.of(HOLE)


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer answers within milliseconds: what takes a venue seconds at worst, takes it tenths."""
    monkeypatch.setattr("feeder.backfill.BACKOFF_FIRST_S", 0.05)
    monkeypatch.setattr("feeder.backfill.SETTLE_NS", NS_PER_S // 10)


@pytest.fixture
def scene() -> Callable[..., None]:
    """Runs a coroutine function against a fresh peer and bench, three trades having happened before."""

    def run(play: Callable[[Peer, Bench], Any]) -> None:
        async def main() -> None:
            async with Peer() as peer:
                bench = Bench(peer)
                peer.stamped(3)
                try:
                    await play(peer, bench)
                finally:
                    await bench.stop()

        asyncio.run(main())

    return run


def test_the_minute_so_far_and_then_the_stream(scene: Any) -> None:
    async def play(peer: Peer, bench: Bench) -> None:
        await bench.start()
        await peer.trade(1)
        await peer.trade(5)
        await bench.all_taped()
        assert [record[2] & BACKFILL for record in bench.of(TRADE)] == [BACKFILL] * 3 + [0] * 6
        assert not bench.of(CANDLE) or len(bench.of(CANDLE)) <= 2

    scene(play)


def test_what_a_broken_stream_missed_is_refilled_exactly_once(scene: Any) -> None:
    async def play(peer: Peer, bench: Bench) -> None:
        await bench.start()
        await peer.trade(4)
        await bench.all_taped()
        await peer.cut()
        for _ in range(3):  # more than one answer holds
            peer.stamped(500)
            await asyncio.sleep(0.002)
        await bench.until(lambda: bench.source.reconnects == 2 and bench.pair.live, "again")
        await peer.trade(2)
        await bench.all_taped()
        flags = [record[2] & BACKFILL for record in bench.of(TRADE)]
        assert flags == [BACKFILL] * 3 + [0] * 4 + [BACKFILL] * 1500 + [0] * 2

    scene(play)


def test_a_frame_that_is_lost_is_noticed_by_its_ids_and_refilled(scene: Any) -> None:
    async def play(peer: Peer, bench: Bench) -> None:
        await bench.start()
        await peer.trade(2)
        peer.stamped(3)  # never sent
        await peer.trade(2)
        await bench.all_taped()
        assert bench.counts.gaps == 1 and bench.source.reconnects == 1

    scene(play)


def test_trades_that_come_twice_or_out_of_order_are_taped_once_in_order(scene: Any) -> None:
    async def play(peer: Peer, bench: Bench) -> None:
        await bench.start()
        first, second = peer.stamped(3), peer.stamped(3)
        await peer.send(streamed(second))
        await peer.send(streamed(first))
        await peer.send(streamed(second))
        await peer.send(streamed(first[::-1]))
        await peer.trade(1)
        await bench.all_taped()
        assert bench.counts.repeats >= 6

    scene(play)


def test_a_snapshot_is_no_news(scene: Any) -> None:
    async def play(peer: Peer, bench: Bench) -> None:
        await bench.start()
        await peer.send(streamed(peer.trades[::-1], kind="snapshot"))
        await peer.trade(1)
        await bench.all_taped()
        assert bench.counts.repeats == 0

    scene(play)


def test_a_silent_connection_is_replaced(scene: Any) -> None:
    async def play(peer: Peer, bench: Bench) -> None:
        bench.pace = Pace(silent_s=1.0, tick_s=0.1)
        await bench.start()
        await peer.trade(2)
        await bench.all_taped()
        peer.beats = False
        peer.stamped(4)  # of which the stream says nothing
        await bench.until(lambda: bench.source.reconnects == 2, "another connection")
        peer.beats = True
        await bench.until(lambda: bench.pair.live, "live again")
        await peer.trade(1)
        await bench.all_taped()
        assert any("silent" in text for _, text, _ in bench.said)

    scene(play)


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param("{half", id="half"),
        pytest.param('{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD"}]}', id="no trade"),
        pytest.param('{"channel":"trade","data":7}', id="no list"),
        pytest.param("\ufffd\u0000", id="no JSON"),
        pytest.param("[" * 1000, id="nested"),
        pytest.param(json.dumps({"channel": "status", "data": [{"system": "maintenance"}]}), id="maintenance"),
    ],
)
def test_garbage_between_trades_loses_none(scene: Any, garbage: str) -> None:
    async def play(peer: Peer, bench: Bench) -> None:
        await bench.start()
        await peer.trade(2)
        await peer.send(garbage)
        await peer.trade(2)
        await bench.all_taped()
        assert sum(bench.source.notices.counts.values()) == 1 and bench.source.reconnects == 1

    scene(play)


def test_a_frame_of_which_one_trade_cannot_be_read_loses_none(scene: Any) -> None:
    async def play(peer: Peer, bench: Bench) -> None:
        await bench.start()
        await peer.send(streamed(peer.stamped(3)).replace('"price":30000.50000', '"price":null', 1))
        await peer.trade(1)
        await bench.all_taped()

    scene(play)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(bad("EService:Unavailable"), id="unavailable"),
        pytest.param(bad("EService: Throttled: 99"), id="throttled"),
        pytest.param(HTML, id="HTML"),
        pytest.param(HALF, id="half"),
        pytest.param(NOTHING, id="nothing"),
    ],
)
def test_rest_that_fails_at_the_seam_is_asked_again(scene: Any, fault: Any) -> None:
    async def play(peer: Peer, bench: Bench) -> None:
        await bench.start()
        await peer.trade(2)
        await bench.all_taped()
        await peer.cut()
        peer.faults["Trades"] = [fault]
        peer.stamped(5)
        await bench.until(lambda: bench.source.reconnects == 2 and bench.pair.live, "again")
        await peer.trade(1)
        await bench.all_taped()
        assert not peer.faults["Trades"]

    scene(play)


def test_cut_again_and_again_amid_trades(scene: Any) -> None:
    async def play(peer: Peer, bench: Bench) -> None:
        await bench.start()
        for number in range(60):
            await peer.trade(1 + number % 4)
            if number % 12 == 11:
                await peer.cut()
            await asyncio.sleep(0.02)
        await bench.until(lambda: bench.pair.live, "live at last")
        await peer.trade(1)
        await bench.all_taped()
        assert bench.source.reconnects >= 3

    scene(play)
