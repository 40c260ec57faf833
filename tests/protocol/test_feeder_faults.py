"""The feeder's source on the sandbox's wire through every fault of streams: its trades are the market's, each once.

Binance and Kraken, whose trades have numbers. CoinDCX's have none: a frame twice cannot be told from two trades alike,
and what the feeder makes of that is in `test_coindcx_feeder*` and `test_coindcx_adapter`.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from bus.records import HOLE, TRADE
from core.clock import NS_PER_MS, NS_PER_S, LiveClock
from core.settings_load import from_texts
from feeder.guard import Counts
from feeder.numbered import NumberedPair
from feeder.source import Source
from sandbox import faults as kinds
from sandbox.listings import listings_of
from tests.protocol.account_house import PAIR, WAYS, Served
from venues.binance.adapter import Binance
from venues.kraken.adapter import Kraken
from venues.limits import Limit

AGE_MS = 20_000  # of the market: so much is to be had over REST at the start
RATE = 50.0  # trades a second

Play = Callable[[str, Callable[["Bench"], Any]], None]


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox answers within milliseconds: what takes a venue seconds at worst, takes it tenths."""
    monkeypatch.setattr("feeder.backfill.BACKOFF_FIRST_S", 0.02)
    monkeypatch.setattr("feeder.backfill.SETTLE_NS", NS_PER_S // 20)
    monkeypatch.setattr("feeder.source.BACKOFF_MAX_S", 0.2)
    monkeypatch.setattr("feeder.source.STREAM_LAG_S", 0.1)
    monkeypatch.setattr("feeder.relay.LATE_S", 0.1)


@pytest.fixture(scope="module")
def sandboxes() -> Iterator[Callable[[str], Served]]:
    """The sandbox of a protocol; one for all tests, because its history takes a second to make."""
    made: dict[str, Served] = {}

    def sandbox(protocol: str) -> Served:
        if protocol not in made:
            clock = LiveClock()
            busy = tuple(
                item._replace(rate=RATE) if (item.rules.base, item.rules.quote) == ("BTC", "USDT") else item
                for item in listings_of(protocol)
            )
            made[protocol] = Served(protocol, clock, clock.wall_ms() - AGE_MS, busy)
        return made[protocol]

    yield sandbox
    for served in made.values():
        served.close()


@pytest.fixture
def play(sandboxes: Callable[[str], Served]) -> Iterator[Play]:
    """Runs a scenario against a live bench; afterwards nothing breaks, and all is to be on the tape."""
    used: list[Served] = []

    def run(protocol: str, scenario: Callable[["Bench"], Any]) -> None:
        async def main() -> None:
            used.append(sandboxes(protocol))
            bench = Bench(protocol, used[-1])
            try:
                await bench.start()
                await scenario(bench)
                await asyncio.to_thread(bench.served.no_faults)
                await bench.all_taped()
            finally:
                await bench.stop()

        asyncio.run(main())

    yield run
    for served in used:
        served.no_faults()


class Bench:
    """Sandbox, adapter and source, with the records that would be on the tape."""

    def __init__(self, protocol: str, served: Served) -> None:
        self.ways = WAYS[protocol]
        self.served = served
        clock = LiveClock()
        settings = msgspec.structs.replace(from_texts({}), sandbox_protocol=protocol, sandbox_port=served.port)
        self.venue: Binance | Kraken = (
            Binance(settings, clock)
            if protocol == "binance"
            else Kraken(settings, clock, a_market=Limit(1000.0, 1000.0))
        )
        self.records: list[tuple[Any, ...]] = []
        self.said: list[tuple[str, str, str]] = []
        self.counts = Counts()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        rules = self.venue.resolve([PAIR], await self.venue.markets())[0]
        self.pair = NumberedPair(0, rules, 60 * NS_PER_S, 30 * NS_PER_S, False, self.counts)
        self.source = Source(
            self.venue,
            [self.pair],
            LiveClock(),
            self.counts,
            stream=True,
            poll_s=0.3,
            silence_s=0.4,
            random=lambda: 0.0,
            write=lambda records, received_ns: self.records.extend(records),
            say=lambda level, text, pair: self.said.append((level, text, pair)),
        )
        self._task = asyncio.create_task(self.source.run())
        await self.until(lambda: self.pair.live, "live")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self.venue.close()

    async def until(self, condition: Callable[[], object], what: str) -> None:
        for _ in range(2000):
            if condition():
                return
            if self._task is not None and self._task.done():
                self._task.result()
            await asyncio.sleep(0.01)
        raise AssertionError(f"never came about: {what}; {len(self.records)} records; said {self.said[-5:]}")

    async def struck(self, number: int, times: int) -> None:
        """Waits until a fault has struck so often."""
        for _ in range(400):
            if await asyncio.to_thread(self.served.struck, number) >= times:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"fault {number} has not struck {times} times")

    def taped(self) -> list[tuple[Any, ...]]:
        """(time in ms, price, quantity) of every trade."""
        return [(record[4] // NS_PER_MS, record[6], record[7]) for record in self.records if record[0] == TRADE]

    def happened(self, first_ms: int, last_ms: int) -> list[tuple[Any, ...]]:
        """The same of the market itself."""
        found = self.served.market.span(PAIR, first_ms, last_ms + 1)
        listing = self.served.listing
        price, quantity = 10**listing.price_digits, 10**listing.quantity_digits
        rows = zip(found.ts_ms.tolist(), found.ticks.tolist(), found.units.tolist(), strict=True)
        return [(ts_ms, ticks / price, units / quantity) for ts_ms, ticks, units in rows]

    async def all_taped(self) -> None:
        """From now on nothing breaks: what has happened so far is on the tape, once and in order."""
        now_ms = LiveClock().wall_ms()
        await self.until(lambda: self.pair.live and self.taped()[-1][0] > now_ms, "up to date")
        taped = self.taped()
        first_ms, last_ms = taped[0][0] + 1, taped[-1][0] - 1  # of the first and last moment not all may be there
        assert [row for row in taped if first_ms <= row[0] <= last_ms] == self.happened(first_ms, last_ms)
        ids = [record[10] for record in self.records if record[0] == TRADE]
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        assert not [record for record in self.records if record[0] == HOLE]


# the faults of a stream, and how often they are to strike
STREAM: dict[str, tuple[list[dict[str, Any]], int]] = {
    "frames twice": ([{"kind": kinds.DUPLICATE, "every": 3}], 8),
    "frames after the next": ([{"kind": kinds.REORDER, "every": 3}], 6),
    "frames lost": ([{"kind": kinds.MISSING, "every": 7}], 3),
    "half frames": ([{"kind": kinds.HALF_FRAME, "every": 7}], 3),
    "garbage before frames": ([{"kind": kinds.GARBAGE, "every": 3}], 8),
    "garbage in place of frames": ([{"kind": kinds.GARBAGE, "every": 7, "instead": True}], 3),
    "late frames": ([{"kind": kinds.DELAY, "every": 4, "ms": 60}], 5),
    "disconnects between messages": ([{"kind": kinds.DISCONNECT, "after": 5, "every": 12}], 3),
    "disconnects amid a message": ([{"kind": kinds.CUT_FRAME, "after": 5, "every": 12}], 3),
    "a socket that is silent and answers pings": ([{"kind": kinds.SILENT, "for_s": 1.2}], 8),
    "all of them": (
        [
            {"kind": kinds.DUPLICATE, "after": 1, "every": 11},
            {"kind": kinds.REORDER, "after": 3, "every": 13},
            {"kind": kinds.MISSING, "after": 6, "every": 17},
            {"kind": kinds.GARBAGE, "after": 8, "every": 7},
            {"kind": kinds.HALF_FRAME, "after": 11, "every": 19},
            {"kind": kinds.CUT_FRAME, "after": 14, "every": 23},
        ],
        2,
    ),
}
MATCH = {"binance": "@trade", "kraken": '"channel":"trade"'}


@pytest.mark.parametrize("name", STREAM)
@pytest.mark.parametrize("protocol", MATCH)
def test_whatever_the_stream_does_the_tape_has_every_trade_once(play: Play, protocol: str, name: str) -> None:
    faults, times = STREAM[name]

    async def scenario(bench: Bench) -> None:
        numbers = [
            await asyncio.to_thread(
                lambda fields=fields: bench.served.fault(path=bench.ways.market_stream, match=MATCH[protocol], **fields)
            )
            for fields in faults
        ]
        for number in numbers:
            await bench.struck(number, times)

    play(protocol, scenario)


# what goes wrong with the refill after a cut
REFILL: dict[str, dict[str, Any]] = {
    "503": {"kind": kinds.STATUS, "status": 503},
    "a page": {"kind": kinds.HTML, "status": 502},
    "asked too often": {"kind": kinds.STATUS, "status": 429, "retry_after_s": 1},
    "half an answer": {"kind": kinds.CUT_REPLY},
    "no answer": {"kind": kinds.DROPPED_REPLY},
    "no handshake": {"kind": kinds.REFUSED, "status": 503},
}


# After "asked too often" Kraken is left alone for 5 real seconds: `test_accounts_faults` has that under a set clock.
@pytest.mark.parametrize(
    ("protocol", "name"),
    [(protocol, name) for protocol in MATCH for name in REFILL if (protocol, name) != ("kraken", "asked too often")],
)
def test_a_refill_that_fails_at_first_is_made_up_for(play: Play, protocol: str, name: str) -> None:
    fields = REFILL[name]
    path = "*" if fields["kind"] == kinds.REFUSED else WAYS[protocol].trades

    async def scenario(bench: Bench) -> None:
        number = await asyncio.to_thread(lambda: bench.served.fault(path=path, times=1, **fields))
        await asyncio.to_thread(bench.served.fault, kinds.DISCONNECT, path=bench.ways.market_stream, times=1)
        await bench.struck(number, 1)
        await bench.until(lambda: bench.source.reconnects >= 2, "again")

    play(protocol, scenario)


@pytest.mark.parametrize("protocol", MATCH)
def test_a_silent_socket_is_noticed_over_rest_and_replaced(play: Play, protocol: str) -> None:
    async def scenario(bench: Bench) -> None:
        await asyncio.to_thread(bench.served.fault, kinds.SILENT, path=bench.ways.market_stream)
        await bench.until(lambda: bench.source.reconnects >= 2, "replaced")

    play(protocol, scenario)


@pytest.mark.parametrize("protocol", MATCH)
def test_maintenance_is_outlived(play: Play, protocol: str) -> None:
    async def scenario(bench: Bench) -> None:
        await asyncio.to_thread(bench.served.fault, kinds.MAINTENANCE)
        await bench.until(lambda: not bench.pair.live, "down")
        await asyncio.sleep(0.3)

    play(protocol, scenario)


@pytest.mark.parametrize("protocol", MATCH)
def test_a_skewed_clock_costs_no_trade(play: Play, protocol: str) -> None:
    """The venue's clock is ahead of its own trades: they are old by it, and trades all the same."""

    async def scenario(bench: Bench) -> None:
        await asyncio.to_thread(lambda: bench.served.fault(kinds.CLOCK_SKEW, ms=90_000))
        seen = len(bench.records)
        await bench.until(lambda: len(bench.records) > seen + 20, "more trades")

    play(protocol, scenario)
