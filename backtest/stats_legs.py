"""Statistics of the round trips: what they won, lost and cost, how long they lasted, when and why they were made.

A leg wins where its profit, net of both sides' fees and taxes, is above 0, loses where it is below 0, and is even at 0.
Money is summed in whole units and divided last. What cannot be said (a mean of nothing) is None.
"""

import math
from collections.abc import Iterable
from decimal import Decimal

import msgspec
import numpy as np

from backtest.result import CONFIRMED, GHOST, REASONS, Array
from core.money import units_text

NS_PER_SECOND = 1_000_000_000
NS_PER_HOUR = 3600 * NS_PER_SECOND
NS_PER_DAY = 24 * NS_PER_HOUR
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_THURSDAY = 3  # 1970-01-01 was one
HOLDING_EDGES_SECONDS = (0, 1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400, 604_800)
_WANTED_BINS = 24  # of the returns; the nice width beside it gives 12 to 60


class Trading(msgspec.Struct, frozen=True):
    """What the legs made. Amounts in quote currency; rates and returns are parts of one.

    * win_rate: wins / legs
    * won, lost: sums of the winning and of the losing legs (lost is 0 or below)
    * profit_factor: won / -lost (R. Pardo, The Evaluation and Optimization of Trading Strategies, 2nd ed., ch. 13)
    * payoff_ratio: average win / -average loss
    * expectancy: mean profit of a leg, which is win_rate * average_win + loss rate * average_loss
      (V. Tharp, Trade Your Way to Financial Freedom, ch. 7, in money in place of R)
    * expectancy_return: profit of all legs / what their lots had cost: what each unit of stake brought
    * mean_return: mean of the legs' returns; a leg's return is its profit / what its lots had cost, so that a leg that
      filled in part weighs as much as a whole one
    * longest_losing_streak: most losing legs in a row, in the order in which they ended; an even leg ends a streak, as
      in MAX_CONSECUTIVE_LOSSES
    """

    legs: int
    wins: int
    losses: int
    even: int
    win_rate: float | None
    won: Decimal
    lost: Decimal
    average_win: float | None
    average_loss: float | None
    median_win: float | None
    median_loss: float | None
    best: Decimal | None
    worst: Decimal | None
    best_return: float | None
    worst_return: float | None
    profit_factor: float | None
    payoff_ratio: float | None
    expectancy: float | None
    expectancy_return: float | None
    mean_return: float | None
    longest_losing_streak: int
    longest_winning_streak: int
    legs_a_day: float | None


class Costs(msgspec.Struct, frozen=True):
    """What the completed legs cost. Amounts in quote currency.

    * before_costs: profit of the legs with their fees and taxes given back (slippage is in the prices and stays)
    * net: the legs' profit = before_costs - fees - taxes
    * cost_share: (fees + taxes) / before_costs; None where there was nothing to take from
    * turnover: bought plus sold, before fees and taxes
    * paid_bps: fees and taxes a side, in basis points of the turnover
    * break_even_bps: the cost a side, in basis points, at which the same fills would have made nothing:
      before_costs / turnover. Below 0 the legs lose without any cost.
    * fees_paid, taxes_paid: of all fills, those of positions still open included
    """

    before_costs: Decimal
    fees: Decimal
    taxes: Decimal
    net: Decimal
    cost_share: float | None
    turnover: Decimal
    paid_bps: float | None
    break_even_bps: float | None
    fees_paid: Decimal
    taxes_paid: Decimal


class Holding(msgspec.Struct, frozen=True):
    """How long the completed legs lasted, first entry fill to last exit fill, and how much of the time was held.

    * exposure: time in which any pair held a position, the open ones until the end, / market time; None where the
      market lasted no time
    * exposure_by_pair: the same for each pair over the whole market time
    """

    mean_seconds: float | None
    median_seconds: float | None
    shortest_seconds: float | None
    longest_seconds: float | None
    exposure: float | None
    exposure_by_pair: dict[str, float | None]


class Group(msgspec.Struct, frozen=True):
    """The legs that have something in common."""

    name: str
    legs: int
    wins: int
    win_rate: float | None
    profit: Decimal
    mean: float | None  # profit of one


class Ghosts(msgspec.Struct, frozen=True):
    """Entries inside a forming candle that its close would not have confirmed, among the completed legs.

    * share: ghosts / legs of which it is known
    """

    legs: int
    share: float | None
    ghost: Group
    confirmed: Group
    unknown: Group


class Histogram(msgspec.Struct, frozen=True):
    """How often values fell into bins: counts[i] of those from edges[i] to below edges[i + 1].

    What lies outside is counted in `below` and `above`, so that one wild value does not flatten the rest.
    """

    edges: list[float]
    counts: list[int]
    below: int
    above: int


def amount(units: int) -> Decimal:
    """Units as an exact amount of the quote currency."""
    return Decimal(units_text(int(units)))


def total(units: Array) -> int:
    """Exact sum of units, beyond 64 bits too."""
    return sum(units.tolist())


def ratio(above: float, below: float) -> float | None:
    """above / below, None where that is no number."""
    return above / below if below else None


def trading(legs: Array, days: float | None) -> Trading:
    """What the legs made; `days` is the length of the market in days of 24 hours."""
    profit = legs["profit"]
    won, lost = profit[profit > 0], profit[profit < 0]
    won_units, lost_units, count = total(won), total(lost), len(legs)
    average_win, average_loss = ratio(won_units / 1e8, len(won)), ratio(lost_units / 1e8, len(lost))
    returns = leg_returns(legs)
    return Trading(
        legs=count,
        wins=len(won),
        losses=len(lost),
        even=count - len(won) - len(lost),
        win_rate=ratio(len(won), count),
        won=amount(won_units),
        lost=amount(lost_units),
        average_win=average_win,
        average_loss=average_loss,
        median_win=float(np.median(won)) / 1e8 if len(won) else None,
        median_loss=float(np.median(lost)) / 1e8 if len(lost) else None,
        best=amount(profit.max()) if count else None,
        worst=amount(profit.min()) if count else None,
        best_return=float(returns.max()) if count else None,
        worst_return=float(returns.min()) if count else None,
        profit_factor=ratio(won_units, -lost_units),
        payoff_ratio=average_win / -average_loss if average_win and average_loss else None,
        expectancy=ratio((won_units + lost_units) / 1e8, count),
        expectancy_return=ratio(won_units + lost_units, total(legs["cost"])),
        mean_return=math.fsum(returns.tolist()) / count if count else None,
        longest_losing_streak=longest_run(profit < 0),
        longest_winning_streak=longest_run(profit > 0),
        legs_a_day=ratio(count, days) if days else None,
    )


def leg_returns(legs: Array) -> Array:
    """Profit / cost of each leg."""
    returns: Array = legs["profit"] / np.maximum(legs["cost"], 1)
    return returns


def longest_run(which: Array) -> int:
    """The most True in a row."""
    breaks = np.flatnonzero(np.concatenate(([True], ~which, [True])))
    return int(np.diff(breaks).max()) - 1


def costs(legs: Array, fills: Array) -> Costs:
    """What the legs cost, and what all fills paid."""
    net, fees, taxes, turnover = (total(legs[name]) for name in ("profit", "fees", "taxes", "turnover"))
    before = net + fees + taxes
    return Costs(
        before_costs=amount(before),
        fees=amount(fees),
        taxes=amount(taxes),
        net=amount(net),
        cost_share=ratio(fees + taxes, before) if before > 0 else None,
        turnover=amount(turnover),
        paid_bps=ratio((fees + taxes) * 10_000, turnover),
        break_even_bps=ratio(before * 10_000, turnover),
        fees_paid=amount(total(fills["fee"])),
        taxes_paid=amount(total(fills["tax"])),
    )


def holding(legs: Array, open_since: dict[int, int], first_ns: int, last_ns: int, pairs: list[str]) -> Holding:
    """How long legs lasted; `open_since` is when positions began that are still open, by pair, in ns."""
    seconds = (legs["exit_ns"] - legs["entry_ns"]) / NS_PER_SECOND
    starts = np.concatenate((legs["entry_ns"], np.array(list(open_since.values()), np.int64)))
    ends = np.concatenate((legs["exit_ns"], np.full(len(open_since), last_ns, np.int64)))
    of_pair = np.concatenate((legs["pair"], np.array(list(open_since), np.uint32)))
    span = last_ns - first_ns
    return Holding(
        mean_seconds=float(seconds.mean()) if len(legs) else None,
        median_seconds=float(np.median(seconds)) if len(legs) else None,
        shortest_seconds=float(seconds.min()) if len(legs) else None,
        longest_seconds=float(seconds.max()) if len(legs) else None,
        exposure=ratio(covered_ns(starts, ends), span),
        exposure_by_pair={
            pair: ratio(covered_ns(starts[of_pair == at], ends[of_pair == at]), span) for at, pair in enumerate(pairs)
        },
    )


def covered_ns(starts: Array, ends: Array) -> int:
    """Length of the union of intervals."""
    if not len(starts):
        return 0
    order = np.argsort(starts, kind="stable")
    starts, reach = starts[order], np.maximum.accumulate(ends[order])
    gaps = np.maximum(0, starts[1:] - reach[:-1])
    return int(reach[-1] - starts[0] - gaps.sum())


def group(name: str, legs: Array) -> Group:
    """Some legs in one row."""
    units = total(legs["profit"])
    wins = int((legs["profit"] > 0).sum())
    return Group(name, len(legs), wins, ratio(wins, len(legs)), amount(units), ratio(units / 1e8, len(legs)))


def grouped(legs: Array, keys: Array, names: Iterable[str], *, every: bool = False) -> list[Group]:
    """A row for each key 0, 1, …, named in that order; those without legs only where `every` is asked for."""
    rows = [group(name, legs[keys == key]) for key, name in enumerate(names)]
    return [row for row in rows if row.legs or every]


def by_reason(legs: Array, which: str) -> list[Group]:
    """Rows by `entry_reason` or by `exit_reason` (of the last exit)."""
    return grouped(legs, legs[which], REASONS)


def by_hour(legs: Array, offset_ns: int) -> list[Group]:
    """24 rows by the hour of the entry, UTC plus DAY_OFFSET_MINUTES."""
    hours = (legs["entry_ns"] + offset_ns) // NS_PER_HOUR % 24
    return grouped(legs, hours, [f"{hour:02d}" for hour in range(24)], every=True)


def by_weekday(legs: Array, offset_ns: int) -> list[Group]:
    """7 rows by the weekday of the entry, Monday first; days begin at UTC midnight less DAY_OFFSET_MINUTES."""
    days = ((legs["entry_ns"] + offset_ns) // NS_PER_DAY + _THURSDAY) % 7
    return grouped(legs, days, WEEKDAYS, every=True)


def ghosts(legs: Array) -> Ghosts:
    """How the ghost entries did beside the confirmed ones."""
    which = legs["ghost"]
    known = int(((which == GHOST) | (which == CONFIRMED)).sum())
    return Ghosts(
        legs=int((which == GHOST).sum()),
        share=ratio(int((which == GHOST).sum()), known),
        ghost=group("ghost", legs[which == GHOST]),
        confirmed=group("confirmed", legs[which == CONFIRMED]),
        unknown=group("unknown", legs[(which != GHOST) & (which != CONFIRMED)]),
    )


def return_histogram(returns: Array) -> Histogram:
    """The legs' returns in bins of a round width; 0 is an edge, so that wins and losses never share a bin.

    The bins reach from the 1st to the 99th percentile: of fewer than 100 legs over all.
    """
    if not len(returns):
        return Histogram([], [], 0, 0)
    low = min(0.0, float(np.percentile(returns, 1, method="lower")))
    high = max(0.0, float(np.percentile(returns, 99, method="higher")))
    width = round_width((high - low) / _WANTED_BINS or 1e-4)
    first, last = math.floor(low / width), math.floor(high / width) + 1
    return histogram(returns, [float(f"{at * width:.12g}") for at in range(first, last + 1)])


def round_width(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `least` > 0."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def holding_histogram(legs: Array) -> Histogram:
    """Holding times in seconds, in bins of HOLDING_EDGES_SECONDS."""
    seconds = (legs["exit_ns"] - legs["entry_ns"]) / NS_PER_SECOND
    return histogram(seconds, [float(edge) for edge in HOLDING_EDGES_SECONDS])


def histogram(values: Array, edges: list[float]) -> Histogram:
    """Counts of values in half-open bins."""
    at = np.searchsorted(np.array(edges), values, side="right")
    counts = np.bincount(at, minlength=len(edges) + 1).tolist()
    return Histogram(edges, counts[1:-1], counts[0], counts[-1])
