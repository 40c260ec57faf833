"""Records into plain columns, and columns into the table of candles: plain functions, compiled by `backtest.compiled`.

The candles are opened and closed by `indicators.candles` itself, flat ones and new segments included, so the state
before each candle is the live one to the bit.
"""

import numpy as np

from bus.layouts import LATE, TRADE
from indicators.candles import TOO_HIGH, open_bucket
from indicators.layout import Array, Record

NS_PER_MINUTE = 60_000_000_000
SIDE_MASK = ~0xFF00  # of a record's first word everything but the side of the trade
LATE_WORD = LATE << 16
BLOCK = 64  # trades looked at together

# What `gather` has seen, over all its calls.
GATHERED = np.dtype(
    [
        ("taken", "<i8"),
        ("late", "<i8"),
        ("newest_ns", "<i8"),
        ("ordered", "<i8"),  # 1 while no time was before an earlier one
    ]
)

# One candle with trades: its first trade, and the state of `indicators.layout.HEAD` while it forms.
CANDLE_ROW = np.dtype(
    [
        ("first", "<i8"),
        ("last_close", "<f8"),
        ("carry_gain", "<f8"),
        ("carry_loss", "<f8"),
        ("sum1", "<f8"),
        ("sum2", "<f8"),
        ("closed", "<i8"),
    ]
)

# Where compiled code finds the arrays of `find_candles`: addresses and lengths.
TABLE_ARRAYS = ("params", "head", "closes", "rows", "work", "ns", "price", "minutes", "table")
TABLE = np.dtype(
    [("ordered", "<i8")]
    + [(name, "<i8") for name in TABLE_ARRAYS]
    + [(f"{name}_length", "<i8") for name in TABLE_ARRAYS]
)


def gather(trades: Array, pair: int, seen: Record, ns: Array, price: Array, ticks: Array, lots: Array) -> int:
    """Append the trades of one pair to four columns, from `seen.taken` on; late ones are counted and left out.

    trades: `indicators.layout.TRADE_WORDS`. Returns how many records were read: fewer than there are where one is not
    a plain trade of this pair at a possible price.
    """
    expected = pair << 32 | TRADE
    at, newest_ns, ordered = seen["taken"], seen["newest_ns"], seen["ordered"]
    count = trades.size
    read = count
    for k in range(count):
        trade = trades[k]
        head = trade["head"] & SIDE_MASK
        if head != expected:
            if head == expected | LATE_WORD:
                seen["late"] += 1
                continue
            read = k
            break
        value, time_ns = trade["price"], trade["exchange_ns"]
        if not 0.0 < value < TOO_HIGH:
            read = k
            break
        if time_ns < newest_ns:
            ordered = 0
        else:
            newest_ns = time_ns
        ns[at] = time_ns
        price[at] = value
        ticks[at] = trade["ticks"]
        lots[at] = trade["lots"]
        at += 1
    seen["taken"], seen["newest_ns"], seen["ordered"] = at, newest_ns, ordered
    return int(read)


def border(ns: Array, at: int, time_ns: int, ordered: bool) -> int:
    """The first trade from `at` on that is not before a time; the number of trades where there is none."""
    count = int(ns.size)
    if not ordered:
        while at < count:
            end = min(at + BLOCK, count)
            newest = ns[at]
            for k in range(at, end):
                newest = max(newest, ns[k])
            if newest >= time_ns:
                break
            at = end
        while at < count and ns[at] < time_ns:
            at += 1
        return at
    step = 1
    low = at  # everything before it is before the time
    while low + step <= count and ns[low + step - 1] < time_ns:
        low += step
        step *= 2
    high = min(low + step, count)
    while low < high:
        middle = (low + high) // 2
        if ns[middle] < time_ns:
            low = middle + 1
        else:
            high = middle
    return low


def find_minutes(ns: Array, ordered: bool, firsts: Array) -> int:
    """Write the trades at which market time enters a minute later than all before; returns how many."""
    at = found = 0
    while at < ns.size:
        firsts[found] = at
        found += 1
        at = border(ns, at + 1, (ns[at] // NS_PER_MINUTE + 1) * NS_PER_MINUTE, ordered)
    return found


def find_candles(
    params: Record,
    head: Record,
    closes: Array,
    rows: Array,
    work: Record,
    ns: Array,
    price: Array,
    minutes: Array,
    ordered: bool,
    table: Array,
) -> int:
    """Write a CANDLE_ROW for each bucket that has trades; returns how many.

    params, head, closes, rows, work: of a fresh state of one pair (`indicators.layout`). minutes: of `find_minutes`.
    -1 - i where trade i is before its forming bucket and no one marked it as late.
    """
    at = found = minute = 0
    count = int(ns.size)
    whole_minutes = params["timeframe_ns"] % NS_PER_MINUTE == 0  # then a candle begins where a minute does
    while at < count:
        # What closes on the way is told by nobody: the rows are room to work in.
        while not open_bucket(params, head, closes, 0, ns[at], price[at], rows, work, at):
            work["rows"] = 0
        work["rows"] = 0
        row = table[found]
        row["first"] = at
        row["last_close"] = head["last_close"]
        row["carry_gain"] = head["carry_gain"]
        row["carry_loss"] = head["carry_loss"]
        row["sum1"] = head["sum1"]
        row["sum2"] = head["sum2"]
        row["closed"] = head["closed"]
        found += 1
        if whole_minutes:
            while minute < minutes.size and ns[minutes[minute]] < head["end_ns"]:
                minute += 1
            after = int(minutes[minute]) if minute < minutes.size else count
        else:
            after = border(ns, at + 1, head["end_ns"], ordered)
        if not ordered:
            for k in range(at, after):
                if ns[k] < head["open_ns"]:
                    return -1 - k
        head["close"] = price[after - 1]
        at = after
    return found
