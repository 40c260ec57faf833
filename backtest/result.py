"""What a backtest says: decisions, orders, fills, equity and candles as arrays, the same from every engine.

Two runs of the same market are the same run where these arrays are equal to the bit. Money is in units (1e-8 of the
quote currency), prices in ticks, quantities in lots of their market (`core.money`), times in ns of the venue's clock.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from bus.messages import Start

Array = np.ndarray[Any, Any]

ENTER, EXIT = 0, 1  # action of a decision, purpose of an order

# Reasons of a decision, by code.
MEAN_REVERSION, CRASH_CATCH, TAKE_PROFIT, TRAILING_STOP, FLATTEN = 1, 2, 3, 4, 5
REASONS = ("", "mean_reversion", "crash_catch", "take_profit", "trailing_stop", "flatten")
ACTIONS = ("enter", "exit")

# What became of an order beside its fills: bits of `notes`.
CAPPED_BY_WALLET = 1  # the wallet could not pay for all of TRADE_CAPITAL
ENTRY_TIMEOUT = 2  # the rest was cancelled by time
DUST = 4  # the rest was below the market's minimum
CANCELLED_BY_STOP = 8  # the trailing stop cancelled the rest
CANCELLED_BY_HALT = 16  # a limit that halts cancelled the rest
CANCELLED_BY_OPERATOR = 32  # flatten or halt did
NOTES = (
    "capped_by_wallet",
    "entry_timeout",
    "dust",
    "trailing_stop",
    "halt",
    "operator",
)

WORKING, FILLED, CANCELLED = 0, 1, 2  # state of an order at the end of the run

# Whether an entry inside a forming candle still stood when the candle had closed.
GHOST_UNKNOWN, CONFIRMED, GHOST = 0, 1, 2

# One approved order's decision.
DECISION = np.dtype(
    [
        ("ns", "<i8"),
        ("number", "<i8"),  # of the deciding record
        ("price", "<f8"),
        ("rsi", "<f8"),  # nan where not known
        ("bb_lower", "<f8"),
        ("lots", "<i8"),  # ordered
        ("pair", "<u4"),  # index in start.markets
        ("action", "<u1"),
        ("reason", "<u1"),
        ("ghost", "<u1"),  # of an entry: GHOST where its closed candle would not have confirmed any entry rule
        ("unused", "<u1"),
    ]
)

# One order: as many as decisions, in the same order.
ORDER = np.dtype(
    [
        ("end_ns", "<i8"),  # of the trade that ended it; 0 while it works
        ("end_number", "<i8"),  # -1 while it works
        ("ticks", "<i8"),  # price of the deciding trade
        ("lots", "<i8"),
        ("filled", "<i8"),
        ("cash", "<i8"),  # paid by a buy, got by a sell, fees and taxes included
        ("share", "<i8"),  # cost of what a sell sold: profit = cash - share
        ("pair", "<u4"),
        ("purpose", "<u1"),
        ("state", "<u1"),
        ("notes", "<u1"),
        ("unused", "<u1"),
    ]
)

FILL = np.dtype(
    [
        ("ns", "<i8"),
        ("number", "<i8"),
        ("order", "<i8"),  # index in orders
        ("ticks", "<i8"),  # after slippage
        ("lots", "<i8"),
        ("cash", "<i8"),  # moved in the wallet: out by a buy, in by a sell
        ("fee", "<i8"),  # in it
        ("tax", "<i8"),
    ]
)

# One row a minute of market time and one a fill, as in the table `equity`.
EQUITY = np.dtype(
    [
        ("ns", "<i8"),
        ("number", "<i8"),
        ("balance", "<i8"),  # the wallet
        ("position_value", "<i8"),
        ("unrealized", "<i8"),  # net of the exit fee
        ("realized", "<i8"),
    ]
)

# A closed candle, for the chart.
BAR = np.dtype(
    [
        ("open_ns", "<i8"),
        ("open", "<f8"),
        ("high", "<f8"),
        ("low", "<f8"),
        ("close", "<f8"),
        ("volume", "<f8"),
        ("pair", "<u4"),
        ("trades", "<u4"),
    ]
)


class Held(NamedTuple):
    """What a pair holds when the records are over."""

    pair: int
    lots: int
    cost: int
    dust_lots: int
    dust_cost: int
    highest: float | None
    ticks: int  # last price


class Span(NamedTuple):
    """First and last trade of a pair that counted: time in ns and price."""

    pair: int
    first_ns: int
    last_ns: int
    first_price: float
    last_price: float


@dataclass
class Result:
    """A whole run; see the dtypes of this module for the arrays."""

    start: Start
    settings: dict[str, str]  # those that decide, by name
    decisions: Array
    orders: Array
    fills: Array
    equity: Array
    bars: Array  # empty where they were not asked for
    trades: int  # TRADE records judged
    late: int  # of them, those before their forming bucket: no trades for anyone
    unknown: int  # records of unknown pairs or of impossible price
    wallet: int
    realized: int
    fee: int  # taker fee in force, in parts
    held: list[Held] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    refusals: dict[str, int] = field(default_factory=dict)  # entries not taken, by reason
    trading: str = "active"  # or halted
    trading_reason: str = ""
    notes: list[str] = field(default_factory=list)  # what a reader must know: skipped rows, truncated files, candles

    @property
    def quote(self) -> str:
        """The quote currency."""
        return self.start.markets[0].quote if self.start.markets else ""

    def price(self, pair: int, ticks: int) -> Decimal:
        """A price in ticks as the exact decimal."""
        return ticks * Decimal(self.start.markets[pair].tick)

    def quantity(self, pair: int, lots: int) -> Decimal:
        """A quantity in lots as the exact decimal."""
        return lots * Decimal(self.start.markets[pair].step)


class Leg(NamedTuple):
    """A round trip: one entry order and the exit orders that sold it (fees and taxes in units, all sides)."""

    pair: int
    entry: int  # index in decisions and orders
    exits: tuple[int, ...]
    entry_ns: int  # of the first entry fill
    exit_ns: int  # of the last exit fill
    lots: int  # bought
    entry_price: float  # average, after slippage
    exit_price: float
    profit: int
    fees: int
    taxes: int
    ghost: int


def legs_of(result: Result) -> list[Leg]:
    """The completed round trips in the order in which they ended; what is still held is in `result.held`.

    An entry that was dust as it was bought makes none: nothing of it was ever sold.
    """
    fills_of: dict[int, list[int]] = {}
    for index, order in enumerate(result.fills["order"].tolist()):
        fills_of.setdefault(order, []).append(index)
    entry_of: dict[int, int] = {}
    exits_of: dict[int, list[int]] = {}
    legs = []

    def end(pair: int) -> None:
        if exits_of.get(pair):
            legs.append(_leg(result, pair, entry_of[pair], exits_of[pair], fills_of))
        exits_of[pair] = []

    for index in np.argsort(result.decisions["number"], kind="stable").tolist():
        order = result.orders[index]
        pair = int(order["pair"])
        if not order["filled"]:
            continue
        if order["purpose"] == ENTER:
            end(pair)
            entry_of[pair] = index
        else:
            exits_of[pair].append(index)
    for held in result.held:
        if not held.lots:
            end(held.pair)
    return sorted(legs, key=lambda leg: leg.exit_ns)


def _leg(result: Result, pair: int, entry: int, exits: list[int], fills_of: dict[int, list[int]]) -> Leg:
    market = result.start.markets[pair]
    tick = Decimal(market.tick)
    bought = result.fills[fills_of[entry]]
    sold = result.fills[[at for order in exits for at in fills_of[order]]]
    return Leg(
        pair=pair,
        entry=entry,
        exits=tuple(exits),
        entry_ns=int(bought["ns"][0]),
        exit_ns=int(sold["ns"][-1]),
        lots=int(bought["lots"].sum()),
        entry_price=_average(bought, tick),
        exit_price=_average(sold, tick),
        profit=sum(int(result.orders[at]["cash"]) - int(result.orders[at]["share"]) for at in exits),
        fees=int(bought["fee"].sum() + sold["fee"].sum()),
        taxes=int(bought["tax"].sum() + sold["tax"].sum()),
        ghost=int(result.decisions[entry]["ghost"]),
    )


def _average(fills: Array, tick: Decimal) -> float:
    """Average price of fills, weighted by quantity."""
    ticks = sum(t * n for t, n in zip(fills["ticks"].tolist(), fills["lots"].tolist(), strict=True))
    return float(tick * ticks / int(fills["lots"].sum()))
