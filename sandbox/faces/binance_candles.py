"""Which candles Binance answers for an interval and a time: every bucket in order, flat where there was no trade.

* Asked from a time on, the oldest come first; else the latest up to the end that was asked for.
* Times select by the start of a candle. The last row is the one that is not over yet, where its time is asked for.
* Weeks start on Monday, months by the calendar, all in UTC.
"""

from datetime import UTC, datetime

import numpy as np

from sandbox.faces.binance_wire import INTERVALS_MS, MONDAY_MS, MONTH, with_flat_bars
from sandbox.trades import Bars, Market, bars_of, grouped_bars

DAY_MS = 86_400_000
MINUTE_MS = 60_000


def known(interval: str) -> bool:
    return interval == MONTH or interval in INTERVALS_MS


def start_of(interval: str, ms: int) -> int:
    """The start of the bucket that holds a time."""
    if interval == MONTH:
        day = datetime.fromtimestamp(ms // 1000, UTC)
        return int(datetime(day.year, day.month, 1, tzinfo=UTC).timestamp()) * 1000
    length = INTERVALS_MS[interval]
    shift = MONDAY_MS if interval == "1w" else 0
    return (ms - shift) // length * length + shift


def after(interval: str, start_ms: int) -> int:
    """The start of the bucket after the one that starts there."""
    if interval == MONTH:
        return start_of(interval, start_ms + 32 * DAY_MS)
    return start_ms + INTERVALS_MS[interval]


def starts(interval: str, span: tuple[int | None, int | None], limit: int, oldest_ms: int, now_ms: int) -> list[int]:
    """The starts of the candles to answer with; span: startTime and endTime as asked for."""
    start_ms, end_ms = span
    newest = start_of(interval, now_ms if end_ms is None else min(end_ms, now_ms))
    oldest = start_of(interval, oldest_ms)
    found: list[int] = []
    if start_ms is not None and start_ms > now_ms:
        return found
    if start_ms is not None:
        at = max(start_of(interval, start_ms), oldest)
        if at < start_ms:
            at = after(interval, at)
        while at <= newest and len(found) < limit:
            found.append(at)
            at = after(interval, at)
        return found
    at = newest
    while at >= oldest and len(found) < limit:
        found.append(at)
        at = start_of(interval, at - 1)
    return found[::-1]


def candles(market: Market, pair: str, interval: str, buckets: list[int], now_ms: int) -> list[tuple[int, ...]]:
    """The candles (fields of `Bars`) that start at `buckets`, made of the trades up to now."""
    if not buckets:
        return []
    first_ms, until_ms = buckets[0], min(now_ms, after(interval, buckets[-1]) - 1)
    bars = _bars(market, pair, interval, first_ms, until_ms)
    before = market.last(pair, first_ms - 1, 1) if not len(bars) or bars.open_ms[0] > first_ms else None
    return with_flat_bars(bars, buckets, int(before.ticks[-1]) if before is not None and len(before) else None)


def _bars(market: Market, pair: str, interval: str, first_ms: int, until_ms: int) -> Bars:
    length = INTERVALS_MS.get(interval)
    if length is not None and length < MINUTE_MS:
        return bars_of(market.span(pair, first_ms, until_ms + 1), length)
    if length is not None and length <= DAY_MS:
        return market.bars(pair, length, first_ms, until_ms, (until_ms - first_ms) // length + 1)
    days = market.bars(pair, DAY_MS, first_ms, until_ms, (until_ms - first_ms) // DAY_MS + 1)
    return grouped_bars(days, np.array([start_of(interval, day) for day in days.open_ms.tolist()], np.int64))
