"""A CoinDCX feeder's source on a peer written by hand, with the records that would be taped, and a clock to set."""

import asyncio
import contextlib
from collections.abc import Callable

import pytest

from bus.records import TRADE
from core.clock import NS_PER_MS, NS_PER_S
from core.settings_load import from_texts
from feeder.guard import Counts
from feeder.pair import PairFeed
from feeder.source import Source
from tests.protocol.coindcx_peer import Peer
from tests.protocol.set_clock import SetClock
from venues.choose import market_data

TRADES_PATH = "/market_data/trade_history"
MINUTE_MS = 60_000


class Bench:
    """Peer, adapter and source, with the records that would be on the tape."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.clock = SetClock()
        self.records: list[tuple] = []
        self.said: list[tuple[str, str, str]] = []
        self.venue = None
        self.pair = None
        self.source = None
        self._task = None
        self.poll_s = 0.3
        self.silence_s = 30.0
        self.give_up_s = 10.0
        self.deaf_retry_s = 600.0
        self.stream = True

    async def start(self) -> None:
        texts = {"VENUE": "coindcx", "VENUE_REST_URL": self.peer.rest_url, "VENUE_STREAM_URL": self.peer.stream_url}
        self.venue = market_data(from_texts(texts), self.clock)
        rules = self.venue.resolve(["BTC/USDT"], await self.venue.markets())[0]
        self.counts = Counts()
        self.pair = PairFeed(0, rules, 60 * NS_PER_S, 30 * NS_PER_S, False, self.counts)
        self.source = Source(
            self.venue,
            [self.pair],
            self.clock,
            self.counts,
            stream=self.stream,
            poll_s=self.poll_s,
            silence_s=self.silence_s,
            give_up_s=self.give_up_s,
            deaf_retry_s=self.deaf_retry_s,
            random=lambda: 0.0,
            write=lambda records, received_ns: self.records.extend(records),
            say=lambda level, text, pair: self.said.append((level, text, pair)),
        )
        self._task = asyncio.create_task(self.source.run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self.venue is not None:
            self.venue.close()

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        for _ in range(2000):
            if condition():
                return
            if self._task is not None and self._task.done():
                self._task.result()
            await asyncio.sleep(0.01)
        raise AssertionError(f"never came about: {what or condition}; said {self.said}; {self.kinds()}")

    def of(self, kind: int) -> list[tuple]:
        return [record for record in self.records if record[0] == kind]

    def kinds(self) -> list[tuple[int, int]]:
        """Runs of (kind, flags), for messages."""
        runs: list[tuple[int, int]] = []
        for record in self.records:
            if not runs or runs[-1] != (record[0], record[2]):
                runs.append((record[0], record[2]))
        return runs

    def taped(self) -> list[tuple[int, float, float]]:
        return [(record[4] // NS_PER_MS, record[6], record[7]) for record in self.of(TRADE)]

    def truth(self, since: int = 0) -> list[tuple[int, float, float]]:
        return [(t, p, q) for t, p, q, _ in self.peer.trades[since:]]

    def now_ms(self) -> int:
        """By the venue's clock."""
        return int(self.peer.now_s() * 1000)

    def amid_a_minute(self) -> int:
        """Sets the venue's clock and ours: 20 s of the minute are over, and it is not over soon; the time in ms."""
        self.peer.ahead_s = 20.0 - self.now_ms() % MINUTE_MS / 1000
        self.clock.step_ns = int(self.peer.ahead_s * NS_PER_S)
        return self.now_ms()

    async def trades(self, count: int, price: float = 81_000.0) -> None:
        """Several happen now, half of them alike to the millisecond."""
        at_ms = self.now_ms()
        for n in range(count):
            await self.peer.trade(at_ms, price + (n // 2 % 3) * 0.5)

    async def under_way(self) -> None:
        """Starts, and has taken the stream's first two trades."""
        await self.start()
        await self.live()
        await self.trades(2)
        await self.until(lambda: len(self.taped()) == 2)

    async def live(self) -> None:
        await self.until(lambda: self.pair.live, "live")


@pytest.fixture(autouse=True)
def brisk(monkeypatch):
    """The peer answers within milliseconds: what takes a venue seconds at worst, takes it tenths."""
    monkeypatch.setattr("feeder.backfill.BACKOFF_FIRST_S", 0.05)
    monkeypatch.setattr("feeder.backfill.SETTLE_NS", NS_PER_S // 10)
    monkeypatch.setattr("feeder.source.BACKOFF_MAX_S", 0.5)  # between two looks at streams that were given up
    monkeypatch.setattr("feeder.source.STREAM_LAG_S", 0.3)


@pytest.fixture
def scene():
    """Runs a coroutine function against a fresh peer and bench."""

    def run(play, **peer_options):
        async def main() -> None:
            async with Peer(**peer_options) as peer:
                bench = Bench(peer)
                try:
                    await play(peer, bench)
                finally:
                    await bench.stop()

        asyncio.run(main())

    return run


def old_candles(now_ms: int, count: int) -> list[dict[str, float]]:
    start = now_ms - now_ms % MINUTE_MS
    return [
        {"time": start - n * MINUTE_MS, "open": 80_000, "high": 80_010, "low": 79_990, "close": 80_005, "volume": 1.5}
        for n in range(count, 1, -1)
    ]
