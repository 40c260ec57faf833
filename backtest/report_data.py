"""What the report's page shows, as one object of plain values: texts ready to read, numbers for charts and sorting."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from backtest.bootstrap import Interval, Intervals
from backtest.figures import GROUPS, moment, money_digits, number, shown, signed, value_of
from backtest.legs import open_entries
from backtest.report_sections import Section, table_section
from backtest.report_series import (
    MOST_BARS,
    MOST_BARS_OF_ALL,
    MOST_LEGS,
    NS,
    Line,
    decimals_of,
    drawdowns_on_grid,
    grid_of,
    merged_bars,
    on_grid,
)
from backtest.result import CONFIRMED, GHOST, REASONS, Array, Result
from backtest.sensitivity import SHORT_NAMES, Row
from backtest.stats import Statistics
from backtest.stats_equity import equity_curve, hold_curve
from backtest.stats_legs import Group, Histogram, leg_returns
from backtest.summary import interval_text
from core.settings_table import SETTINGS, TIMEFRAMES_MS

_GHOSTS = {CONFIRMED: "", GHOST: "ghost"}

# What the page says first: label, figure, kind, and the figure below it with its words.
_TILES = (
    ("Net profit", "money.net_profit", "signed_money", "money.return_fraction", "signed_percent", "of the balance"),
    (
        "Buy and hold",
        "buy_and_hold.profit",
        "signed_money",
        "buy_and_hold.return_fraction",
        "signed_percent",
        "by holding",
    ),
    ("Max drawdown", "drawdown.fraction", "percent", "drawdown.longest_seconds", "duration", "below a peak"),
    ("Legs", "trading.legs", "count", "trading.win_rate", "percent", "won"),
    ("Expectancy", "trading.expectancy", "signed_money", "trading.expectancy_return", "signed_bps", "of the stake"),
    ("Profit factor", "trading.profit_factor", "number", "returns.sharpe", "number", "Sharpe, yearly"),
    ("Break-even a side", "costs.break_even_bps", "bps", "costs.paid_bps", "bps", "paid"),
    ("Exposure", "holding.exposure", "percent", "holding.median_seconds", "duration", "held, median"),
)


def run_data(
    result: Result,
    statistics: Statistics,
    legs: Array,
    *,
    intervals: Intervals | None,
    sensitivity: Sequence[Row],
    about: str,
) -> dict[str, Any]:
    """Everything that the page shows of a run."""
    digits = money_digits(statistics.money.opening)
    period = statistics.period
    when = ""
    if period.first_ms is not None and period.last_ms is not None:
        when = f"{moment(period.first_ms)} to {moment(period.last_ms)} UTC, {number(period.days, 2)} days"
    return {
        "title": ", ".join(market.pair for market in result.start.markets) or "no pair",
        "venue": result.start.venue,
        "when": when,
        "about": about,
        "quote": statistics.money.quote,
        "opening": float(statistics.money.opening),
        "digits": digits,
        "notices": notices(result),
        "tiles": tiles(statistics, digits),
        "curves": curves(result),
        "pairs": pairs(result),
        "legs": legs_data(result, legs),
        "legs_total": len(legs),
        "open": open_data(result),
        "hours": bars_of(statistics.groups.by_hour, digits),
        "weekdays": bars_of(statistics.groups.by_weekday, digits),
        "day_offset": int(result.settings["DAY_OFFSET_MINUTES"]),
        "returns": histogram(statistics.distributions.returns),
        "holding": histogram(statistics.distributions.holding_seconds),
        "costs": costs(statistics, digits),
        "exposure": exposure(statistics),
        "figures": figures(statistics, digits),
        "intervals": intervals_data(intervals, digits),
        "tables": tables(statistics, sensitivity, digits),
        "settings": settings_rows(result),
    }


def notices(result: Result) -> list[str]:
    """What a reader must know before the figures."""
    found = list(result.notes)
    if result.trading != "active":
        found.insert(0, f"Trading was {result.trading} at the end: {result.trading_reason}")
    return found


def tiles(statistics: Statistics, digits: int) -> list[dict[str, str]]:
    """The main figures, each with a second one below."""
    found = []
    for label, path, kind, below, below_kind, words in _TILES:
        value = value_of(statistics, path)
        coloured = kind.startswith("signed") and value is not None and value != 0
        found.append(
            {
                "label": label,
                "value": shown(value, kind, digits),
                "below": f"{shown(value_of(statistics, below), below_kind, digits)} {words}",
                "side": ("up" if value > 0 else "down") if coloured else "",
            }
        )
    return found


def curves(result: Result) -> dict[str, Any] | None:
    """Equity, its falls, and holding the pairs, on one even grid; None where there was no market."""
    if not result.spans:
        return None
    curve = equity_curve(result)
    grid, width = grid_of(curve)
    held = hold_curve(result)
    return {
        "step": width,
        "equity": _line(on_grid(curve, grid, width)),
        "drawdown": _line(drawdowns_on_grid(curve, grid, width)),
        "hold": None if held is None else _line(on_grid(held, grid, width)),
    }


def pairs(result: Result) -> list[dict[str, Any]]:
    """The candles of each pair, merged where there are too many."""
    timeframe = TIMEFRAMES_MS[result.settings["TIMEFRAME"]] // 1000
    most = min(MOST_BARS, MOST_BARS_OF_ALL // max(1, len(result.start.markets)))
    found = []
    for at, market in enumerate(result.start.markets):
        own = result.bars[result.bars["pair"] == at]
        bars, width = merged_bars(own, timeframe, most)
        digits = decimals_of(bars["close"])
        begin = int(bars["open_ns"][0]) // NS if len(bars) else 0
        found.append(
            {
                "pair": market.pair,
                "base": market.base,
                "digits": digits,
                "width": width,
                "merged": len(bars) < len(own),
                "begin": begin,
                "at": ((bars["open_ns"] // NS - begin) // width).tolist(),
                **{name: _rounded(bars[name], digits) for name in ("open", "high", "low", "close")},
                "volume": [float(f"{value:.4g}") for value in bars["volume"].tolist()],
            }
        )
    return found


def legs_data(result: Result, legs: Array) -> list[list[Any]]:
    """The newest legs as rows; see LEG_COLUMNS."""
    shown_legs = legs[-MOST_LEGS:]
    returns = leg_returns(shown_legs).tolist()
    first = len(legs) - len(shown_legs) + 1
    return [
        [
            first + at,
            int(leg["pair"]),
            int(leg["entry_ns"]) // 1_000_000,
            int(leg["exit_ns"]) // 1_000_000,
            float(f"{leg['entry_price']:.10g}"),
            float(f"{leg['exit_price']:.10g}"),
            float(result.quantity(int(leg["pair"]), int(leg["lots"]))),
            int(leg["profit"]) / 1e8,
            round(returns[at], 8),
            (int(leg["fees"]) + int(leg["taxes"])) / 1e8,
            REASONS[leg["entry_reason"]],
            REASONS[leg["exit_reason"]],
            _GHOSTS.get(int(leg["ghost"]), "unknown"),
        ]
        for at, leg in enumerate(shown_legs)
    ]


def open_data(result: Result) -> list[dict[str, Any]]:
    """The entries of what is still held, for the chart."""
    return [
        {"pair": pair, "entry_ms": entry.ns // 1_000_000, "reason": REASONS[result.decisions["reason"][entry.order]]}
        for pair, entry in open_entries(result).items()
    ]


LEG_COLUMNS = (
    *("number", "pair", "entry_ms", "exit_ms", "entry_price", "exit_price", "quantity"),
    *("profit", "return", "costs", "entry_reason", "exit_reason", "ghost"),
)


def bars_of(rows: list[Group], digits: int) -> list[dict[str, Any]]:
    """Profit by hour or weekday: value for the bar, words for whoever points at it."""
    return [
        {
            "name": row.name,
            "value": float(row.profit),
            "legs": row.legs,
            "text": f"{row.name}: {signed(row.profit, digits)}, {row.legs:,} legs won {shown(row.win_rate, 'percent')}",
        }
        for row in rows
    ]


def histogram(bins: Histogram) -> dict[str, Any]:
    """Bins as they are."""
    return {"edges": bins.edges, "counts": bins.counts, "below": bins.below, "above": bins.above}


def costs(statistics: Statistics, digits: int) -> list[dict[str, Any]]:
    """From the profit before costs to what was left of it."""
    told = statistics.costs
    steps = (
        ("before costs", told.before_costs),
        ("fees", -told.fees),
        ("taxes", -told.taxes),
        ("after costs", told.net),
    )
    return [{"name": name, "value": float(value), "text": signed(value, digits)} for name, value in steps]


def exposure(statistics: Statistics) -> list[dict[str, Any]]:
    """Share of the time in a position: of any pair, and of each where there are several."""
    by_pair = statistics.holding.exposure_by_pair
    rows = [("any pair" if len(by_pair) > 1 else "in a position", statistics.holding.exposure)]
    rows += list(by_pair.items()) if len(by_pair) > 1 else []
    return [{"name": name, "value": share or 0.0, "text": shown(share, "percent")} for name, share in rows]


def figures(statistics: Statistics, digits: int) -> list[dict[str, Any]]:
    """All figures in their groups: label, text, explanation, side."""
    found = []
    for group in GROUPS:
        rows = []
        for figure in group.figures:
            value = value_of(statistics, figure.path)
            meaning = figure.meaning if value is not None else f"{figure.meaning}; needs {figure.needs}"
            side = "" if not figure.kind.startswith("signed") or not value else "up" if value > 0 else "down"
            rows.append([figure.label, shown(value, figure.kind, digits), meaning, side])
        found.append({"title": group.title, "rows": rows})
    return found


def intervals_data(intervals: Intervals | None, digits: int) -> dict[str, Any] | None:
    """The intervals as rows: label, estimate, range, numbers for a picture of it, and where 0 profit lies."""
    if intervals is None:
        return None
    rows: tuple[tuple[str, Interval, str, float], ...] = (
        ("Expectancy", intervals.expectancy, "signed_money", 0.0),
        ("Expectancy of the stake", intervals.expectancy_return, "signed_bps", 0.0),
        ("Win rate", intervals.win_rate, "percent", 0.5),
        ("Profit factor", intervals.profit_factor, "number", 1.0),
        ("Profit of all legs", intervals.total_profit, "signed_money", 0.0),
        ("Sharpe ratio, yearly", intervals.sharpe, "number", 0.0),
    )
    drawn = f"{intervals.legs:,} legs" if intervals.blocks == intervals.legs else f"{intervals.blocks:,} blocks of legs"
    return {
        "level": f"{intervals.level * 100:g} %",
        "how": f"{intervals.resamples:,} drawings of {drawn} with replacement, seed {intervals.seed}; BCa bounds. "
        f"Sharpe: stationary block bootstrap of {intervals.days:,} days.",
        "chance": shown(intervals.chance_of_profit, "percent"),
        "rows": [
            {
                "label": label,
                "estimate": shown(interval.estimate, kind, digits),
                "range": interval_text(interval, kind, digits),
                "numbers": [interval.low, interval.estimate, interval.high],
                "neutral": neutral,
            }
            for label, interval, kind, neutral in rows
        ],
    }


def tables(statistics: Statistics, sensitivity: Sequence[Row], digits: int) -> dict[str, Section]:
    """The small tables of the page."""
    groups, ghosts = statistics.groups, statistics.ghosts
    counts = statistics.counts
    noted = [(f"orders: {name.replace('_', ' ')}", count) for name, count in counts.notes.items() if count]
    counted = [(name.replace("_", " "), getattr(counts, name)) for name in counts.__struct_fields__ if name != "notes"]
    refused = [(reason.replace("_", " "), count) for reason, count in statistics.refusals.items()]
    left = [
        *((item.pair, "held", str(item.quantity), item.cost, item.value) for item in statistics.open_positions),
        *((item.pair, "dust", str(item.quantity), item.cost, None) for item in statistics.dust),
    ]
    found = {
        "entries": _group_table("Entries by reason", groups.by_entry_reason, digits),
        "exits": _group_table("Exits by reason", groups.by_exit_reason, digits),
        "pairs": _group_table("Pairs", groups.by_pair if len(groups.by_pair) > 1 else [], digits),
        "ghosts": _group_table("Ghost entries", [ghosts.confirmed, ghosts.ghost, ghosts.unknown], digits),
        "refusals": table_section("Entries refused", (("reason", "text"), ("times", "count")), refused),
        "counts": table_section("Counts", (("of", "text"), ("number", "count")), [*counted, *noted]),
        "left": table_section(
            "Left at the end",
            (("pair", "text"), ("as", "text"), ("quantity", "text"), ("cost", "money"), ("worth", "money")),
            left,
            digits=digits,
        ),
    }
    if sensitivity:
        found["sensitivity"] = _sensitivity_table(sensitivity, digits)
    return found


def settings_rows(result: Result) -> list[list[str]]:
    """The settings in force with their meaning; the fee is told in numbers where it is the venue's."""
    rows = []
    for name, value in result.settings.items():
        meaning = SETTINGS[name].meaning if name in SETTINGS else ""
        if name == "TAKER_FEE_BPS" and not value:
            value = f"{result.fee / 100:g} (the venue's)"
        rows.append([name, value, meaning])
    return rows


def _group_table(title: str, rows: list[Group], digits: int) -> Section:
    columns = (
        ("", "text"),
        ("legs", "count"),
        ("won", "percent"),
        ("net profit", "signed_money"),
        ("of a leg", "signed_money"),
    )
    values = [
        (row.name if title == "Pairs" else row.name.replace("_", " "), row.legs, row.win_rate, row.profit, row.mean)
        for row in rows
    ]
    return table_section(title, columns, values, digits=digits)


def _sensitivity_table(rows: Sequence[Row], digits: int) -> Section:
    columns = (
        ("setting", "text"),
        ("value", "text"),
        ("legs", "count"),
        ("net profit", "signed_money"),
        ("change", "signed_money"),
        ("return", "signed_percent"),
        ("won", "percent"),
        ("profit factor", "number"),
        ("max drawdown", "percent"),
        ("decisions", "text"),
    )
    values = [
        (
            SHORT_NAMES.get(row.setting, row.setting),
            f"{row.label}{' (the run)' if row.in_force else ''}",
            row.legs,
            row.net_profit,
            row.net_change,
            row.return_fraction,
            row.win_rate,
            row.profit_factor,
            row.drawdown_fraction,
            "as the run" if row.same_decisions else f"{row.other_decisions:,} differ",
        )
        for row in rows
    ]
    note = (
        "Each row is the whole run again with that one setting. Decisions change where other costs change the wallet, "
    )
    note += "a limit or the trades at which an order fills."
    return table_section("Sensitivity to costs", columns, values, digits=digits, note=note)


def _line(line: Line) -> dict[str, Any]:
    return {"seconds": line.seconds, "values": line.values}


def _rounded(values: Array, digits: int) -> list[float]:
    found: list[float] = np.round(values, digits).tolist()
    return found
