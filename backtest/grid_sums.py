"""What a combination of a sweep comes to: one row of sums, and how legs, days and falls of the equity go into it.

Plain functions, compiled by `backtest.compiled`.
"""

import numpy as np

from backtest.layout import Array, Record
from backtest.moments import with_value

NS_PER_DAY = 86_400_000_000_000

# What a combination came to. Money in units, times in ns. A leg is a round trip as in `backtest.result.legs_of`; its
# return is its profit over the cost of what it sold. Equity is wallet and positions at the last price, known once a
# minute and at each fill; a day's return is as in `backtest.stats_equity.daily_returns`. A spread is the sum of squared
# distances from the mean (`backtest.moments`).
SUMMARY = np.dtype(
    [
        ("legs", "<i8"),
        ("wins", "<i8"),
        ("losses", "<i8"),
        ("won", "<i8"),
        ("lost", "<i8"),  # as a positive number
        ("leg_mean", "<f8"),  # of the legs' returns
        ("leg_spread", "<f8"),
        ("held_ns", "<i8"),  # between first entry fill and last exit fill
        ("fees", "<i8"),  # of all fills
        ("taxes", "<i8"),
        ("realized", "<i8"),
        ("closing", "<i8"),  # equity at the end
        ("open_lots", "<i8"),
        ("halted", "<i8"),
        ("drawdown", "<i8"),  # deepest fall below the highest equity so far
        ("drawdown_fraction", "<f8"),  # deepest as a part of that highest
        ("days", "<i8"),
        ("day_mean", "<f8"),  # of the days' returns
        ("day_spread", "<f8"),
        ("day_downside", "<f8"),  # sum of squares of those below 0
        ("broke", "<i8"),  # 1 where a day began with nothing: days have no returns then
        ("peak", "<i8"),  # working fields
        ("day", "<i8"),
        ("day_begins", "<i8"),
        ("equity", "<i8"),
        ("leg_entry_ns", "<i8"),
        ("leg_exit_ns", "<i8"),
        ("leg_exits", "<i8"),
        ("leg_profit", "<i8"),
        ("leg_cost", "<i8"),
        ("block", "<i8"),  # of the last leg
        ("leg_resumed", "<i8"),  # 1: the first order of the book has filled before
    ]
)


def begin(summary: Record, balance: int, first_day: int) -> None:
    """A row before the first trade: zeros but for what the equity begins with."""
    summary["peak"] = balance
    summary["day_begins"] = balance
    summary["equity"] = balance
    summary["closing"] = balance
    summary["day"] = first_day


def take_fall(summary: Record, high: int, low: int) -> None:
    """The equity was `high`, then at the lowest `low`."""
    if high > summary["peak"]:
        summary["peak"] = high
    fall = summary["peak"] - low
    if fall > summary["drawdown"]:
        summary["drawdown"] = fall
    fraction = fall / max(summary["peak"], 1)
    if fraction > summary["drawdown_fraction"]:
        summary["drawdown_fraction"] = fraction


def take_equity(summary: Record, day: int, equity: int) -> None:
    """The equity is known anew."""
    reach_day(summary, day)
    summary["equity"] = equity
    take_fall(summary, equity, equity)


def reach_day(summary: Record, day: int) -> None:
    """Days are over, one after the other, until `day` is reached; it never goes back."""
    while summary["day"] < day:
        end_day(summary)
        summary["day"] += 1


def end_day(summary: Record) -> None:
    """A day is over: its return."""
    begins, equity = summary["day_begins"], summary["equity"]
    summary["day_begins"] = equity
    summary["days"] += 1
    if begins <= 0:
        summary["broke"] = 1
        return
    gain = equity / begins - 1.0
    mean, spread = with_value(summary["days"], summary["day_mean"], summary["day_spread"], gain)
    summary["day_mean"] = mean
    summary["day_spread"] = spread
    if gain < 0.0:
        summary["day_downside"] += gain * gain


def take_leg(summary: Record, profits: Array, borders: Array) -> None:
    """A round trip is complete: its sums, and its profit in the block of market time in which it ended."""
    profit = summary["leg_profit"]
    gain = profit / max(summary["leg_cost"], 1)
    summary["legs"] += 1
    mean, spread = with_value(summary["legs"], summary["leg_mean"], summary["leg_spread"], gain)
    summary["leg_mean"] = mean
    summary["leg_spread"] = spread
    summary["held_ns"] += summary["leg_exit_ns"] - summary["leg_entry_ns"]
    if profit > 0:
        summary["wins"] += 1
        summary["won"] += profit
    elif profit < 0:
        summary["losses"] += 1
        summary["lost"] -= profit
    if profits.size > 0:
        summary["block"] = block_of(borders, summary["leg_exit_ns"], summary["block"])
        profits[summary["block"]] += profit
    forget_leg(summary)


def forget_leg(summary: Record) -> None:
    """The next fill of an entry begins a leg."""
    summary["leg_entry_ns"] = 0
    summary["leg_exits"] = 0
    summary["leg_profit"] = 0
    summary["leg_cost"] = 0


def block_of(borders: Array, ns: int, near: int) -> int:
    """The block of a time: the last one whose border is not after it, looked for from a near one on."""
    while near + 1 < borders.size and borders[near + 1] <= ns:
        near += 1
    while near > 0 and borders[near] > ns:
        near -= 1
    return near


def day_of(ns: int, offset_ns: int) -> int:
    """The day of a time, counted from 1970."""
    return int((ns + offset_ns) // NS_PER_DAY)


def finish(summary: Record, last_day: int) -> None:
    """The market is over."""
    reach_day(summary, last_day)
    end_day(summary)
    summary["closing"] = summary["equity"]
