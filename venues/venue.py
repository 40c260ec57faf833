"""What every venue's adapter offers to the feeder: one contract, plain data in and out.

An adapter is thin: it asks (`venues.rest`, `venues.stream`) and leaves building and parsing to its pure `wire_public`.
Times are nanoseconds since 1970 UTC by the venue's clock; rows are always handed over oldest first.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec

# Sides of a trade: what the taker did. The same numbers as in the records of the bus.
SIDE_UNKNOWN = 0
SIDE_BUY = 1
SIDE_SELL = 2


class Rules(msgspec.Struct, frozen=True):
    """One market: its names and the steps that prices and quantities move in."""

    pair: str  # the venue's own name for market data, as in PAIRS
    symbol: str  # the venue's own name for orders
    base: str  # what is bought and sold
    quote: str  # what it is priced in
    tick: Decimal
    step: Decimal
    min_quantity: Decimal
    min_notional: Decimal
    max_quantity: Decimal | None = None  # of a market order
    active: bool = True


class Trade(NamedTuple):
    """One public trade; `trade_id` is the venue's where it is a number, else 0."""

    pair: str
    time_ns: int
    price: float
    quantity: float
    side: int  # SIDE_*
    trade_id: int
    received_ns: int  # by our clock


class Bar(NamedTuple):
    """One candle of the venue; `trades` is 0 where the venue does not say."""

    open_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int = 0


# Kind of the notice with which a venue announces that it will end this connection, and code of the Retry with which a
# stream ends that was announced to: another connection is opened at once, before this one ends where it still lives.
SHUTDOWN = "shutdown"


class Notice(NamedTuple):
    """Something on the stream that is no trade and worth counting or telling: `kind` groups, `text` explains."""

    kind: str
    text: str


class TradesAnswer(NamedTuple):
    """Recent trades, oldest first; `complete`: the venue has no older ones."""

    trades: list[Trade]
    complete: bool
    bad_rows: int


class PastAnswer(NamedTuple):
    """Trades of the past from one answer, oldest first, and how many rows of it could not be read."""

    trades: list[Trade]
    bad_rows: int


class Capabilities(msgspec.Struct, frozen=True):
    """What a venue can do; the feeder asks this, never the venue's name."""

    recent_trades_max: int  # rows in one answer
    intervals_ms: tuple[int, ...]  # candle sizes it serves
    candles_max: int  # rows in one answer
    trade_ids: bool  # every trade has an id above 0, and they count up by one within a market
    stream_life_s: float | None = None  # the venue cuts a stream off after so long; None: not known to


class Stream(Protocol):
    """One connection that carries the trades of all joined pairs."""

    async def read(self) -> Sequence[Trade | Notice]:
        """Waits until something arrived and hands over all of it; `Retry` when the connection is lost.

        An announced end is a Notice of kind SHUTDOWN, or the code of the Retry.
        """
        ...

    async def hand_over(self, take: Callable[[Sequence[Trade | Notice]], object]) -> None:
        """Has `take` called with what `read` would give, in the moment it arrives; ends as `read` does, by `Retry`."""
        ...

    async def close(self) -> None: ...


class MarketData(Protocol):
    """The public side of a venue. Every method may raise the errors of `venues.errors`."""

    name: str
    capabilities: Capabilities
    tape_clock: bool  # the venue is a player with its own clock: ages against wall time mean nothing

    async def markets(self) -> list[Rules]: ...

    async def recent_trades(self, rules: Rules, since: Trade | None = None) -> TradesAnswer:
        """The newest trades; back to `since`, which is among them where the venue reaches that far, in as many
        requests as it takes. Where these are too many, those that follow `since` without a break."""
        ...

    async def candles(self, rules: Rules, interval_ms: int, start_ms: int, end_ms: int) -> list[Bar]:
        """All rows with start <= open < end, oldest first, the forming one included where the venue shows it."""
        ...

    async def open_stream(self, rules: Sequence[Rules]) -> Stream:
        """Connects and asks for the trades of every pair; returns when the requests are sent and, where the venue
        acknowledges them, all are acknowledged; `Retry` where they are not in time."""
        ...

    def resolve(self, wanted: Sequence[str], markets: Sequence[Rules]) -> list[Rules]:
        """The markets meant by PAIRS; `Misconfigured` names the unknown ones with the nearest names, `Retry` those
        that the last list of markets had in a form that cannot be read."""
        ...

    def fees_bps(self, quote: str) -> tuple[Decimal, Decimal]:
        """(taker, maker) in basis points where the settings do not say."""
        ...

    def clock_offset_ns(self) -> int:
        """What to add to our wall clock to get the venue's."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class PastTrades(Protocol):
    """What a venue offers besides that serves its trades from any time on, each with an id."""

    async def past_trades(self, rules: Rules, from_ns: int, last: Trade | None) -> PastAnswer:
        """The first trades from a time on; with `last` those that follow it instead, itself before them where the venue
        has it. One answer, each id once, in their order; without a younger one than `last` there is none yet."""
        ...
