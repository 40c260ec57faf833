"""A venue whose trades have ids, without a wire: for tests of the feeder. Every fault is a knob.

And `Scene`: that venue, a source and the records that would be on the tape.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from decimal import Decimal

from bus.records import HOLE, TRADE
from core.clock import NS_PER_MS, NS_PER_S, LiveClock
from feeder.guard import Counts
from feeder.numbered import NumberedPair
from feeder.source import Source
from venues.errors import Retry, VenueError
from venues.venue import SHUTDOWN, Bar, Capabilities, Notice, Rules, Trade, TradesAnswer

MINUTE_NS = 60 * NS_PER_S
STEP = Decimal("0.00001")


def rules_of(name: str) -> Rules:
    return Rules(name, name, name[:3], name[3:], Decimal("0.01"), STEP, STEP, Decimal(5))


class Line:
    """One connection of the venue."""

    def __init__(self, venue: "NumberedVenue", names: set[str]) -> None:
        self.venue = venue
        self.names = names
        self.items: list[Trade | Notice] = []
        self.failure: VenueError | None = None
        self.closed = False
        self._arrived = asyncio.Event()

    def put(self, item: Trade | Notice) -> None:
        self.items.append(item)
        self._arrived.set()

    def cut(self, code: str = "") -> None:
        self.failure = Retry("test", "the stream was cut", code=code)
        self._arrived.set()
        self.venue.lines.remove(self)

    async def read(self) -> Sequence[Trade | Notice]:
        while not self.items:
            if self.failure is not None:
                raise self.failure
            self._arrived.clear()
            await self._arrived.wait()
        items, self.items = self.items, []
        return items

    async def hand_over(self, take: Callable[[Sequence[Trade | Notice]], object]) -> None:
        while True:
            take(await self.read())

    async def close(self) -> None:
        self.closed = True
        if self in self.venue.lines:
            self.venue.lines.remove(self)


class NumberedVenue:
    """`trades` by pair are the truth; `lines` the open connections."""

    name = "test"
    tape_clock = False

    def __init__(self, stream_life_s: float | None = None) -> None:
        self.capabilities = Capabilities(1000, (60_000,), 1000, True, stream_life_s)
        self.trades: dict[str, list[Trade]] = defaultdict(list)
        self.next_id: dict[str, int] = defaultdict(lambda: 1)
        self.lines: list[Line] = []
        self.opened = 0
        self.asked: list[Trade | None] = []
        self.reach = 10**9  # rows that an answer goes back
        self.page = 10**9  # rows that an answer has, the oldest ones
        self.lag = 0  # newest rows that REST does not know yet
        self.rest_fails: list[VenueError] = []  # once each
        self.rest_waits: dict[str, asyncio.Event] = {}  # pairs about which it is silent until then
        self.open_fails: list[VenueError] = []
        self.open_waits: asyncio.Event | None = None

    async def markets(self) -> list[Rules]:
        return [rules_of(name) for name in ("BTCUSD", "ETHUSD")]

    async def recent_trades(self, rules: Rules, since: Trade | None = None) -> TradesAnswer:
        self.asked.append(since)
        await asyncio.sleep(0.001)
        if rules.pair in self.rest_waits:
            await self.rest_waits[rules.pair].wait()
        if self.rest_fails:
            raise self.rest_fails.pop(0)
        known = self.trades[rules.pair]
        rows = known[: len(known) - self.lag][-self.reach :]
        if since is not None:
            rows = [trade for trade in rows if trade.trade_id >= since.trade_id]
        return TradesAnswer(rows[: self.page] if since else rows, False, 0)

    async def candles(self, rules: Rules, interval_ms: int, start_ms: int, end_ms: int) -> list[Bar]:
        bars: dict[int, Bar] = {}
        for trade in self.trades[rules.pair]:
            start = trade.time_ns - trade.time_ns % MINUTE_NS
            bar = bars.get(start) or Bar(start, trade.price, trade.price, trade.price, trade.price, 0.0)
            high, low = max(bar.high, trade.price), min(bar.low, trade.price)
            bars[start] = Bar(start, bar.open, high, low, trade.price, bar.volume + trade.quantity, bar.trades + 1)
        return [bars[start] for start in sorted(bars) if start_ms <= start // NS_PER_MS < end_ms]

    async def open_stream(self, rules: Sequence[Rules]) -> Line:
        if self.open_waits is not None:
            await self.open_waits.wait()
        if self.open_fails:
            raise self.open_fails.pop(0)
        self.opened += 1
        line = Line(self, {item.pair for item in rules})
        self.lines.append(line)
        return line

    def resolve(self, wanted: Sequence[str], markets: Sequence[Rules]) -> list[Rules]:
        return [item for item in markets if item.pair in wanted]

    def fees_bps(self, quote: str) -> tuple[Decimal, Decimal]:
        return Decimal(10), Decimal(10)

    def clock_offset_ns(self) -> int:
        return 0

    def close(self) -> None:
        pass

    # --- what a test does ---

    def trade(self, pair: str = "BTCUSD", *, lost: bool = False, times: int = 1, price: float = 100.0) -> Trade:
        """A trade happens; every connection hears of it, `times` times, unless it is lost on the way."""
        now_ns = LiveClock().wall_ns()
        made = Trade(pair, now_ns - now_ns % NS_PER_MS, price, 0.01, 1, self.next_id[pair], now_ns)
        self.next_id[pair] += 1
        self.trades[pair].append(made)
        for line in self.lines if not lost else ():
            for _ in range(times):
                line.put(made)
        return made

    def cut(self, code: str = "") -> None:
        for line in list(self.lines):
            line.cut(code)

    def announce(self) -> None:
        for line in self.lines:
            line.put(Notice(SHUTDOWN, "maintenance"))

    def set_back(self) -> None:
        """The venue begins anew: no trade that was is known, ids count from 1."""
        self.trades.clear()
        self.next_id.clear()


class Scene:
    """`run(play)` plays a coroutine function with the scene as argument; attributes are set before `start`."""

    def __init__(self, venue: NumberedVenue) -> None:
        self.venue = venue
        self.names = ["BTCUSD"]
        self.records: list[tuple] = []
        self.writes: list[list[tuple]] = []
        self.said: list[tuple[str, str, str]] = []
        self.options = {"poll_s": 0.2, "silence_s": 30.0, "give_up_s": 10.0}
        self.random = 0.0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        clock, self.counts = LiveClock(), Counts()
        rules = self.venue.resolve(self.names, await self.venue.markets())
        self.pairs = [
            NumberedPair(number, item, MINUTE_NS, 30 * NS_PER_S, False, self.counts)
            for number, item in enumerate(rules)
        ]
        self.pair = self.pairs[0]
        self.source = Source(
            self.venue,
            self.pairs,
            clock,
            self.counts,
            stream=True,
            random=lambda: self.random,
            write=self._write,
            say=lambda level, text, pair: self.said.append((level, text, pair)),
            **self.options,
        )
        self._task = asyncio.create_task(self.source.run())

    def _write(self, records: Sequence[tuple], received_ns: int) -> None:
        self.records += records
        self.writes.append(list(records))

    def ended(self) -> bool:
        return self._task is not None and self._task.done()

    async def stop(self) -> None:
        """Stops; raises what the source ended with by itself."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        for _ in range(4000):
            if condition():
                return
            if self._task is not None and self._task.done():
                self._task.result()
            await asyncio.sleep(0.005)
        raise AssertionError(f"never came about: {what or condition}; said {self.said}; taped {self.ids()[-20:]}")

    async def live(self) -> None:
        await self.start()
        await self.until(lambda: all(pair.live for pair in self.pairs), "live")

    async def whole(self, pair: int = 0) -> None:
        """Waits until the tape has every trade, from its first on; fails where it has one twice or out of order."""
        true = self.true(pair)
        await self.until(lambda: self.ids(pair)[-1:] == true[-1:], f"all up to {true[-1:]}")
        ids = self.ids(pair)
        assert ids == true[len(true) - len(ids) :]

    def true(self, pair: int = 0) -> list[int]:
        return [trade.trade_id for trade in self.venue.trades[self.names[pair]]]

    def taped(self, pair: int = 0) -> list[tuple]:
        return [record for record in self.records if record[0] == TRADE and record[3] == pair]

    def ids(self, pair: int = 0) -> list[int]:
        return [record[10] for record in self.taped(pair)]

    def holes(self) -> list[tuple]:
        return [record for record in self.records if record[0] == HOLE]

    def told(self, text: str) -> int:
        return sum(text in said for _, said, _ in self.said)
