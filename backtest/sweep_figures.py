"""The figures of one combination of a sweep: one row of plain numbers, out of a whole run or of a window of it.

Each is the figure of the same name in `backtest.stats`, where it is defined. Money is in units (1e-8 of the quote
currency), rates are parts of one; what cannot be said is nan.
"""

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np

from backtest.legs import legs_table
from backtest.result import Array, Result
from backtest.stats_equity import (
    DAYS_A_YEAR,
    LEAST_DAYS,
    closing_units,
    drawdown,
    equity_curve,
    first_and_last_ns,
    opening_units,
    returns_of,
)
from backtest.stats_legs import NS_PER_DAY, amount, leg_returns, trading
from core.money import to_units
from trader.state import HALTED
from trader.terms import NS_PER_MINUTE

FIGURES = np.dtype(
    [
        ("net_profit", "<i8"),
        ("return_fraction", "<f8"),
        ("realized", "<i8"),
        ("legs", "<i8"),
        ("wins", "<i8"),
        ("losses", "<i8"),
        ("win_rate", "<f8"),
        ("profit_factor", "<f8"),
        ("expectancy", "<f8"),
        ("sharpe", "<f8"),
        ("sortino", "<f8"),
        ("sharpe_leg", "<f8"),
        ("drawdown", "<i8"),
        ("drawdown_fraction", "<f8"),
        ("fees", "<i8"),
        ("taxes", "<i8"),
        ("open_positions", "<i8"),
        ("halted", "<i8"),  # 1 where a limit halted it
    ]
)
NAMES: tuple[str, ...] = FIGURES.names or ()
MONEY = ("net_profit", "realized", "drawdown", "fees", "taxes")  # in units
# How each is written, as in `backtest.figures.FORMATS`.
KINDS = {
    **dict.fromkeys(("net_profit", "realized", "expectancy"), "signed_money"),
    **dict.fromkeys(("drawdown", "fees", "taxes"), "money"),
    **dict.fromkeys(("legs", "wins", "losses", "open_positions", "halted"), "count"),
    **dict.fromkeys(("win_rate", "drawdown_fraction"), "percent"),
    "return_fraction": "signed_percent",
    **dict.fromkeys(("profit_factor", "sharpe", "sortino", "sharpe_leg"), "number"),
}
# By which a combination can be the best: more is better.
JUDGED_BY = ("net_profit", "sharpe", "sortino", "sharpe_leg", "profit_factor", "expectancy", "win_rate")


def figures_of(result: Result, legs: Array | None = None) -> Array:
    """The figures of a run, an array of one FIGURES; `legs` is its legs_table where that is at hand."""
    legs = legs_table(result) if legs is None else legs
    first, last = first_and_last_ns(result)
    told = trading(legs, (last - first) / NS_PER_DAY)
    curve = equity_curve(result)
    fallen = drawdown(curve)
    ratios = returns_of(curve, leg_returns(legs), day_offset_ns(result), fallen.fraction)
    opening = opening_units(result)
    profit = closing_units(result) - opening
    row = np.zeros(1, FIGURES)
    found: dict[str, Any] = {
        "net_profit": profit,
        "return_fraction": profit / opening if opening else None,
        "realized": result.realized,
        "legs": told.legs,
        "wins": told.wins,
        "losses": told.losses,
        "win_rate": told.win_rate,
        "profit_factor": told.profit_factor,
        "expectancy": told.expectancy,
        "sharpe": ratios.sharpe,
        "sortino": ratios.sortino,
        "sharpe_leg": ratios.sharpe_leg,
        "drawdown": to_units(fallen.amount, "drawdown"),
        "drawdown_fraction": fallen.fraction,
        "fees": int(result.fills["fee"].sum()),
        "taxes": int(result.fills["tax"].sum()),
        "open_positions": sum(held.lots > 0 for held in result.held),
        "halted": result.trading == HALTED,
    }
    for name, value in found.items():
        row[name] = np.nan if value is None else value
    return row


def day_offset_ns(result: Result) -> int:
    """How far the days of a run are from those of UTC."""
    return int(result.settings["DAY_OFFSET_MINUTES"]) * NS_PER_MINUTE


def figures_of_sums(rows: Array, opening: Array) -> Array:
    """The figures of combinations out of their sums, a FIGURES for each SUMMARY; opening: units in the wallet before.

    To the bit those that `figures_of` makes of whole runs, where market times never go back.
    """
    found = np.zeros(len(rows), FIGURES)
    for name in ("realized", "legs", "wins", "losses", "drawdown", "drawdown_fraction", "fees", "taxes", "halted"):
        found[name] = rows[name]
    found["net_profit"] = rows["closing"] - opening
    found["open_positions"] = rows["open_lots"] > 0
    found["return_fraction"] = ratios(found["net_profit"], opening)
    found["win_rate"] = ratios(rows["wins"], rows["legs"])
    found["profit_factor"] = ratios(rows["won"], rows["lost"])
    found["expectancy"] = quotients((rows["won"] - rows["lost"]) / 1e8, rows["legs"])
    found["sharpe_leg"] = quotients(rows["leg_mean"], deviations(rows["leg_spread"], rows["legs"]))
    days = np.where(rows["broke"] != 0, 0, rows["days"])
    days[days < LEAST_DAYS] = 0
    year = math.sqrt(DAYS_A_YEAR)
    found["sharpe"] = quotients(rows["day_mean"], deviations(rows["day_spread"], days)) * year
    downside = np.sqrt(quotients(rows["day_downside"], days))
    found["sortino"] = quotients(rows["day_mean"], downside) * year
    return found


def deviations(spread: Array, count: Array) -> Array:
    """Sample deviations of that many values with that spread; nan below two."""
    return np.sqrt(quotients(spread, np.where(count < 2, 0, count - 1)))


def quotients(above: Array, below: Array) -> Array:
    """above / below, nan where below is 0 or nan."""
    found = np.full(len(above), np.nan)
    np.divide(above, below, out=found, where=below != 0)
    return found


def ratios(above: Array, below: Array) -> Array:
    """Quotients of whole numbers, rounded once as Python does it, beyond what a float holds too."""
    found = quotients(above, below)
    for at in np.flatnonzero(np.maximum(np.abs(above), np.abs(below)) > 1 << 53).tolist():
        found[at] = int(above[at]) / int(below[at]) if below[at] else np.nan
    return found


def block_borders(first_ns: int, last_ns: int, blocks: int) -> Array:
    """Where the equal stretches of `block_profits` begin, in int64 ns; the first before everything."""
    span = last_ns - first_ns + 1
    borders = [-(1 << 62), *(first_ns - (-at * span // blocks) for at in range(1, blocks))]
    return np.array(borders, np.int64)


def block_profits(legs: Array, first_ns: int, last_ns: int, blocks: int) -> Array:
    """Profit of the legs by block of market time, in which they ended: float64 units, `blocks` equal stretches."""
    found = np.zeros(blocks)
    if len(legs):
        span = last_ns - first_ns + 1
        # Python's whole numbers: the product of two spans in ns is beyond 64 bits.
        at = [min(max((ns - first_ns) * blocks // span, 0), blocks - 1) for ns in legs["exit_ns"].tolist()]
        np.add.at(found, at, legs["profit"].astype(np.float64))
    return found


def values_of(row: Any) -> Iterator[tuple[str, int | float | Decimal | None]]:
    """Each figure by name as a person or JSON takes it: money exact in quote currency, None where it is not known."""
    for name in NAMES:
        yield name, value_of(row, name)


def value_of(row: Any, name: str) -> int | float | Decimal | None:
    """One figure of a FIGURES record, as in `values_of`."""
    value = row[name].item()
    if name in MONEY:
        return amount(value)
    return None if isinstance(value, float) and value != value else value


def ranked(rows: Array, by: str) -> Array:
    """Places of the rows from best to worst by a figure; unknown ones last, equal ones in their order."""
    worth = rows[by].astype(np.float64)
    order: Array = np.argsort(np.where(np.isnan(worth), np.inf, -worth), kind="stable")
    return order
