"""Long series made short enough for a page: candles merged, equity on an even grid, legs cut to the newest."""

from typing import NamedTuple

import numpy as np

from backtest.result import Array
from backtest.stats_equity import Curve

MOST_BARS = 20_000  # of one pair
MOST_BARS_OF_ALL = 60_000
MOST_POINTS = 1_500  # of a line
MOST_LEGS = 10_000
NS = 1_000_000_000

# Lengths in s that a person reads without counting.
WIDTHS = (
    *(1, 2, 5, 10, 15, 30),
    *(60, 120, 180, 300, 600, 900, 1800),
    *(3600, 7200, 10_800, 14_400, 21_600, 43_200),
    *(86_400, 172_800, 604_800),
)


class Line(NamedTuple):
    """A line on an even grid: the time of each point in s, and its value in quote currency or as a part of one."""

    seconds: list[int]
    values: list[float]


def width_for(span_seconds: float, most: int, unit: int = 1) -> int:
    """The shortest round length, a multiple of `unit` s, of which `most` cover the span."""
    for width in WIDTHS:
        if width % unit == 0 and span_seconds / width <= most:
            return width
    last = max(WIDTHS[-1], unit)
    return last * int(-(-span_seconds // (last * most)))


def merged_bars(bars: Array, timeframe_seconds: int, most: int = MOST_BARS) -> tuple[Array, int]:
    """The candles of one pair, in order of time, with as many put together as needed; and their length in s.

    Merged candles open with the first, close with the last, and reach over all; volume and trades add up.
    """
    if not len(bars):
        return bars, timeframe_seconds
    bars = bars[np.argsort(bars["open_ns"], kind="stable")]
    span = (int(bars["open_ns"][-1]) - int(bars["open_ns"][0])) / NS + timeframe_seconds
    width = timeframe_seconds if len(bars) <= most else width_for(span, most - 1, timeframe_seconds)
    buckets = bars["open_ns"] // (width * NS)
    firsts = np.flatnonzero(np.append(True, buckets[1:] != buckets[:-1]))
    merged = bars[firsts].copy()
    merged["open_ns"] = buckets[firsts] * (width * NS)
    merged["high"] = np.maximum.reduceat(bars["high"], firsts)
    merged["low"] = np.minimum.reduceat(bars["low"], firsts)
    merged["close"] = bars["close"][np.append(firsts[1:], len(bars)) - 1]
    merged["volume"] = np.add.reduceat(bars["volume"], firsts)
    merged["trades"] = np.add.reduceat(bars["trades"], firsts)
    return merged, width


def grid_of(curve: Curve, most: int = MOST_POINTS) -> tuple[Array, int]:
    """Even points over a curve: the begin of each step in s, and the length of a step."""
    first, last = int(curve.ns[0]) // NS, int(curve.ns[-1]) // NS
    width = width_for(last - first + 1, most - 1)
    return np.arange(first // width, last // width + 1) * width, width


def on_grid(curve: Curve, grid: Array, width: int) -> Line:
    """The last value of each step in quote currency; a step without rows keeps the one before."""
    at = np.searchsorted(curve.ns, (grid + width) * NS, side="left") - 1
    values = curve.units[np.maximum(at, 0)] / 1e8
    return Line(grid.tolist(), [float(f"{value:.10g}") for value in values.tolist()])


def drawdowns_on_grid(curve: Curve, grid: Array, width: int) -> Line:
    """The deepest fall within each step, as a part of the peak before it, at or below 0."""
    peaks = np.maximum.accumulate(curve.units)
    falls = (curve.units - peaks) / np.maximum(peaks, 1)
    step = curve.ns // NS // width - grid[0] // width
    firsts = np.flatnonzero(np.append(True, step[1:] != step[:-1]))
    lowest = np.full(len(grid), np.nan)
    lowest[step[firsts]] = np.minimum.reduceat(falls, firsts)
    lasts = np.searchsorted(curve.ns, (grid + width) * NS, side="left") - 1
    values = np.where(np.isnan(lowest), falls[np.maximum(lasts, 0)], lowest)
    return Line(grid.tolist(), [round(value, 6) for value in values.tolist()])


def decimals_of(values: Array, most: int = 8) -> int:
    """How many decimals the values have at most, judged by up to 200 of them."""
    digits = 0
    for value in values[-200:].tolist():
        text = f"{value:.{most}f}".rstrip("0")
        digits = max(digits, len(text) - text.index(".") - 1)
    return digits
