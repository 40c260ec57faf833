"""What both market sources hand to the faces: trades as integer arrays, a market's rules, candles made of trades."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Trades(NamedTuple):
    """Trades of one market, oldest first: ms, price in ticks, quantity in 10^-quantity_digits, who took."""

    ts_ms: Ints
    ticks: Ints
    units: Ints
    sell: Bools

    def __len__(self) -> int:  # of trades, not of fields
        return int(self.ts_ms.shape[0])

    def slice(self, start: int, stop: int) -> "Trades":
        return Trades(self.ts_ms[start:stop], self.ticks[start:stop], self.units[start:stop], self.sell[start:stop])


class Bars(NamedTuple):
    """Candles, oldest first, of buckets that had trades: start (ms), prices in ticks, volume in quantity units.

    `worth` is the sum of ticks x units; `bought` and `bought_worth` are of the trades whose taker bought.
    """

    open_ms: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    trades: Ints
    worth: Ints
    bought: Ints
    bought_worth: Ints

    def __len__(self) -> int:  # of candles, not of fields
        return int(self.open_ms.shape[0])

    def where(self, chosen: Bools) -> "Bars":
        return Bars(*(column[chosen] for column in self))


class Rules(NamedTuple):
    """One market as its venue lists it; tick = 10^-price_digits, `step_units` in units of 10^-quantity_digits."""

    base: str
    quote: str
    ecode: str
    price_digits: int
    quantity_digits: int
    step_units: int
    min_notional: float

    @property
    def pair(self) -> str:
        return f"{self.ecode}-{self.base}_{self.quote}"

    @property
    def market(self) -> str:
        return f"{self.base}{self.quote}"


class Market(Protocol):
    """A source of trades: everything is a function of market time (ms), nothing newer than asked for is told."""

    @property
    def rules(self) -> dict[str, Rules]:
        """By pair, the first the most important one."""

    def span(self, pair: str, from_ms: int, to_ms: int) -> Trades:
        """The trades with from_ms <= time < to_ms."""

    def last(self, pair: str, until_ms: int, limit: int) -> Trades:
        """The newest `limit` trades with time <= until_ms, oldest first."""

    def bars(self, pair: str, interval_ms: int, from_ms: int, until_ms: int, limit: int) -> Bars:
        """The newest `limit` candles that start at or after from_ms, made of the trades with time <= until_ms."""

    def first_ticks(self, pair: str) -> int:
        """A price for the time before the first trade."""

    def reach(self, pair: str, until_ms: int) -> tuple[int, int] | None:
        """(lowest, highest) price in ticks over the last day, for the ticker; None where there was no trade."""

    @property
    def oldest_ms(self) -> int:
        """Nothing is told of earlier times."""

    @property
    def origin_ms(self) -> int:
        """From where trades are counted; the start of a minute, never moved."""

    def counts(self, pair: str, first_minute: int, stop_minute: int) -> Ints:
        """How many trades each minute has, from the first one to the one before `stop`, in minutes since 1970."""


def no_trades() -> Trades:
    none = np.empty(0, np.int64)
    return Trades(none, none, none, np.empty(0, np.bool_))


def joined(parts: list[Trades]) -> Trades:
    """The parts, in the order given, as one."""
    if not parts:
        return no_trades()
    if len(parts) == 1:
        return parts[0]
    ts_ms, ticks, units, sell = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Trades(ts_ms, ticks, units, sell)


def no_bars() -> Bars:
    none = np.empty(0, np.int64)
    return Bars(*(none for _ in Bars._fields))


def bars_of(trades: Trades, interval_ms: int) -> Bars:
    """Candles of the trades; a bucket without trades has no candle."""
    if not len(trades):
        return no_bars()
    buckets = trades.ts_ms // interval_ms
    first = _firsts(buckets)
    last = np.concatenate((first[1:], [len(trades)])) - 1
    worth = _worth(trades)
    return Bars(
        buckets[first] * interval_ms,
        trades.ticks[first],
        np.maximum.reduceat(trades.ticks, first),
        np.minimum.reduceat(trades.ticks, first),
        trades.ticks[last],
        np.add.reduceat(trades.units, first),
        last - first + 1,
        np.add.reduceat(worth, first),
        np.add.reduceat(np.where(trades.sell, 0, trades.units), first),
        np.add.reduceat(np.where(trades.sell, 0, worth), first),
    )


def _worth(trades: Trades) -> Ints:
    """Ticks x units of each trade; as Python's integers where their sum would not fit into 63 bits."""
    if float(trades.ticks.max()) * float(trades.units.sum(dtype=np.float64)) < 2.0**62:
        return trades.ticks * trades.units
    worth: Ints = trades.ticks.astype(object) * trades.units.astype(object)
    return worth


def merged_bars(bars: Bars, interval_ms: int) -> Bars:
    """Candles of a longer interval made of shorter ones."""
    return grouped_bars(bars, bars.open_ms // interval_ms * interval_ms)


def grouped_bars(bars: Bars, open_ms: Ints) -> Bars:
    """Candles made of shorter ones, of which `open_ms` tells the start of the longer one that they are part of."""
    if not len(bars):
        return bars
    first = _firsts(open_ms)
    last = np.concatenate((first[1:], [len(bars)])) - 1
    added = (np.add.reduceat(column, first) for column in bars[5:])
    return Bars(
        open_ms[first],
        bars.open[first],
        np.maximum.reduceat(bars.high, first),
        np.minimum.reduceat(bars.low, first),
        bars.close[last],
        *added,
    )


def _firsts(buckets: Ints) -> Ints:
    """The places where a new bucket begins."""
    firsts: Ints = np.flatnonzero(np.concatenate(([True], buckets[1:] != buckets[:-1])))
    return firsts


def joined_bars(parts: list[Bars]) -> Bars:
    parts = [part for part in parts if len(part)]
    if not parts:
        return no_bars()
    if len(parts) == 1:
        return parts[0]
    return Bars(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def text_of(value: int, digits: int, least_digits: int = 0) -> str:
    """An integer of 10^-digits as exact decimal text, at least `least_digits` after the point."""
    if digits == 0:
        return str(value) if not least_digits else f"{value}.{'0' * least_digits}"
    whole, part = divmod(value, 10**digits)
    return f"{whole}.{part:0{digits}d}".ljust(len(str(whole)) + 1 + least_digits, "0")
