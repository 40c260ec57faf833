"""What a run made of its market: every figure of the report, from a Result alone.

Definitions stand with their fields, here and in `stats_legs` (round trips) and `stats_equity` (equity). Amounts are
exact, in quote currency; rates, returns and shares are parts of one (0.01 is one per cent); times are ms of market time
or seconds. A figure that cannot be said is None, never nan or infinite; `backtest.figures` says what it needs.
"""

from decimal import Decimal

import msgspec
import numpy as np

from backtest.legs import legs_table, open_entries
from backtest.result import CANCELLED, ENTER, FILLED, NOTES, WORKING, Array, Result
from backtest.stats_equity import (
    BuyAndHold,
    Drawdown,
    Returns,
    buy_and_hold,
    closing_units,
    drawdown,
    equity_curve,
    first_and_last_ns,
    held_value,
    opening_units,
    returns_of,
)
from backtest.stats_legs import (
    NS_PER_DAY,
    Costs,
    Ghosts,
    Group,
    Histogram,
    Holding,
    Trading,
    amount,
    by_hour,
    by_reason,
    by_weekday,
    costs,
    ghosts,
    grouped,
    holding,
    holding_histogram,
    leg_returns,
    ratio,
    return_histogram,
    trading,
)
from core.money import to_parts
from trader.fills import sell_proceeds
from trader.terms import NS_PER_MINUTE, market_terms


class Period(msgspec.Struct, frozen=True):
    """The market of the run: first and last trade that counted; None where there was none."""

    first_ms: int | None
    last_ms: int | None
    days: float  # of 24 hours


class Money(msgspec.Struct, frozen=True):
    """The account before and after.

    * opening: PAPER_BALANCE; closing: wallet and positions at the last prices, without dust
    * net_profit: closing - opening, all costs paid so far included; return_fraction: of the opening balance
    * realized: profit of all ended exits, as the ledger's
    * unrealized: what selling the open positions at the last prices would bring, less what they cost; with what exits
      that are still working have made
    * dust_cost: what the remains below the market's minimum had cost; they count as lost
    """

    quote: str
    opening: Decimal
    closing: Decimal
    net_profit: Decimal
    return_fraction: float | None
    realized: Decimal
    unrealized: Decimal
    dust_cost: Decimal


class OpenPosition(msgspec.Struct, frozen=True):
    """What a pair still holds at the end."""

    pair: str
    quantity: Decimal
    cost: Decimal
    value: Decimal  # at the last price, before the fee of selling
    since_ms: int | None


class Dust(msgspec.Struct, frozen=True):
    """What a pair could not sell: remains below the market's minimum."""

    pair: str
    quantity: Decimal
    cost: Decimal


class Counts(msgspec.Struct, frozen=True):
    """How many there were: of the market's records, of decisions, of orders by their end, of orders by their notes."""

    trades: int
    late: int
    unknown: int
    entries: int  # decided and approved
    exits: int
    filled: int
    cancelled: int
    working: int
    fills: int
    notes: dict[str, int]


class Groups(msgspec.Struct, frozen=True):
    """The legs by what they have in common; hour and weekday are of the entry, UTC plus DAY_OFFSET_MINUTES."""

    by_pair: list[Group]
    by_entry_reason: list[Group]
    by_exit_reason: list[Group]
    by_hour: list[Group]
    by_weekday: list[Group]


class Distributions(msgspec.Struct, frozen=True):
    """How the legs' returns and holding times fell."""

    returns: Histogram
    holding_seconds: Histogram


class Statistics(msgspec.Struct, frozen=True):
    """Every figure of a run; the keys are the keys of `--json`."""

    period: Period
    money: Money
    trading: Trading
    costs: Costs
    holding: Holding
    drawdown: Drawdown
    returns: Returns
    buy_and_hold: BuyAndHold
    ghosts: Ghosts
    groups: Groups
    distributions: Distributions
    open_positions: list[OpenPosition]
    dust: list[Dust]
    refusals: dict[str, int]  # entries not taken, by reason
    counts: Counts


def statistics_of(result: Result, legs: Array | None = None) -> Statistics:
    """All figures of a run; `legs` is its legs_table where that is at hand."""
    legs = legs_table(result) if legs is None else legs
    first, last = first_and_last_ns(result)
    offset = int(result.settings["DAY_OFFSET_MINUTES"]) * NS_PER_MINUTE
    pairs = [market.pair for market in result.start.markets]
    days = (last - first) / NS_PER_DAY
    curve = equity_curve(result)
    fallen = drawdown(curve)
    returns = leg_returns(legs)
    return Statistics(
        period=Period(first // 1_000_000 or None, last // 1_000_000 or None, days),
        money=money(result),
        trading=trading(legs, days),
        costs=costs(legs, result.fills),
        holding=holding(legs, {pair: entry.ns for pair, entry in open_entries(result).items()}, first, last, pairs),
        drawdown=fallen,
        returns=returns_of(curve, returns, offset, fallen.fraction),
        buy_and_hold=buy_and_hold(result),
        ghosts=ghosts(legs),
        groups=Groups(
            by_pair=grouped(legs, legs["pair"], pairs),
            by_entry_reason=by_reason(legs, "entry_reason"),
            by_exit_reason=by_reason(legs, "exit_reason"),
            by_hour=by_hour(legs, offset),
            by_weekday=by_weekday(legs, offset),
        ),
        distributions=Distributions(return_histogram(returns), holding_histogram(legs)),
        open_positions=open_positions(result),
        dust=dust(result),
        refusals=dict(sorted(result.refusals.items(), key=lambda item: (-item[1], item[0]))),
        counts=counts(result),
    )


def money(result: Result) -> Money:
    """The account before and after."""
    opening, closing = opening_units(result), closing_units(result)
    return Money(
        quote=result.quote,
        opening=amount(opening),
        closing=amount(closing),
        net_profit=amount(closing - opening),
        return_fraction=ratio(closing - opening, opening),
        realized=amount(result.realized),
        unrealized=amount(unrealized_units(result)),
        dust_cost=amount(sum(held.dust_cost for held in result.held)),
    )


def unrealized_units(result: Result) -> int:
    """As in the rows of equity: proceeds of the positions less their cost, and the profit of exits still working."""
    tax = to_parts(result.settings["TAX_SELL_BPS"], "TAX_SELL_BPS")
    working = result.orders[(result.orders["purpose"] != ENTER) & (result.orders["state"] == WORKING)]
    units = int(working["cash"].sum() - working["share"].sum())
    for held in result.held:
        if held.lots:
            terms = market_terms(result.start.markets[held.pair])
            units += sell_proceeds(held.ticks, held.lots, terms.num, terms.den, result.fee, tax) - held.cost
    return units


def open_positions(result: Result) -> list[OpenPosition]:
    """What is still held."""
    values, since = held_value(result), open_entries(result)
    return [
        OpenPosition(
            pair=result.start.markets[held.pair].pair,
            quantity=result.quantity(held.pair, held.lots),
            cost=amount(held.cost),
            value=amount(values[held.pair]),
            since_ms=since[held.pair].ns // 1_000_000 if held.pair in since else None,
        )
        for held in result.held
        if held.lots
    ]


def dust(result: Result) -> list[Dust]:
    """What could not be sold."""
    return [
        Dust(
            pair=result.start.markets[held.pair].pair,
            quantity=result.quantity(held.pair, held.dust_lots),
            cost=amount(held.dust_cost),
        )
        for held in result.held
        if held.dust_lots
    ]


def counts(result: Result) -> Counts:
    """How many there were of everything."""
    actions, states, notes = result.decisions["action"], result.orders["state"], result.orders["notes"]
    return Counts(
        trades=result.trades,
        late=result.late,
        unknown=result.unknown,
        entries=int((actions == ENTER).sum()),
        exits=int((actions != ENTER).sum()),
        filled=int((states == FILLED).sum()),
        cancelled=int((states == CANCELLED).sum()),
        working=int((states == WORKING).sum()),
        fills=len(result.fills),
        notes={name: int(np.count_nonzero(notes & (1 << bit))) for bit, name in enumerate(NOTES)},
    )
