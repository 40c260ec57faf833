"""Skipping the boring records: which ones the fold must look at one by one, found with numpy for a whole frame.

A record is interesting where its pair has a working order, where it carries a reason code that matters for what the
pair holds, where the trailing stop may fire, where a candle closes under a position or a refusal, and where a minute of
market time begins. What lies between changes only the last price, `highest` and the market's time.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bus.records import BACKFILL, ENTER_CRASH_CATCH, ENTER_MEAN_REVERSION, EXIT_TAKE_PROFIT, TRADE
from trader.broker import Tick
from trader.terms import NS_PER_MINUTE, NS_PER_MS

LOOK = 0x8000  # set in every record's codes, so that a pair can ask for all of its records
WATCH_ALL = LOOK
WATCH_ENTRIES = ENTER_CRASH_CATCH | ENTER_MEAN_REVERSION
WATCH_EXITS = EXIT_TAKE_PROFIT
WATCH_NOTHING = 0
FEW = 16  # records up to which looking at each one is cheaper than numpy over all

Fields = tuple[int, int, int, float, int, int, int, float, float, int, int, int]  # of a Tick

# The fields of a Tick out of a record of the bus; of a raw one `kind` comes before them.
_UPDATE = struct.Struct("<2xHIq8xd8xqq8xQdd16xIH10xQ")
_RECORD = struct.Struct("<BxHIq8xd8xqq8x")


class Tracked(NamedTuple):
    """A pair whose records must be followed: its stop (highest is None where none can fire) and its candles."""

    number: int
    highest: float | None
    closed: int  # candle count so far; -1: candles are not followed


class Columns:
    """The columns of a frame's trades, each contiguous."""

    def __init__(self, records: np.ndarray, numbers: np.ndarray, updates: bool) -> None:
        count = len(records)
        self.updates = updates
        self.count = count
        self.number = numbers
        self.pair = np.ascontiguousarray(records["pair"])
        self.flags = np.ascontiguousarray(records["flags"])
        self.ns = np.ascontiguousarray(records["exchange_ns"])
        self.price = np.ascontiguousarray(records["price"])
        self.ticks = np.ascontiguousarray(records["ticks"])
        self.records = records
        if updates:
            self.codes = records["codes"] | np.uint16(LOOK)
            self.closed = np.ascontiguousarray(records["closed"])
        else:
            self.codes = np.full(count, LOOK, np.uint16)
            self.closed = np.zeros(count, np.uint32)

    def before(self, part: slice, ms: int) -> np.ndarray:
        """Marks the BACKFILL trades of a stretch that are older than a time: told once more, not new."""
        told_again: np.ndarray = ((self.flags[part] & BACKFILL) != 0) & (self.ns[part] // NS_PER_MS < ms)
        return told_again

    def minutes(self, market_ns: int, minute: int) -> np.ndarray:
        """Marks the records at which market time enters a later minute than all before."""
        if self.count and int(self.ns.max()) // NS_PER_MINUTE <= minute:
            return np.zeros(self.count, bool)
        reached = np.maximum.accumulate(np.maximum(self.ns, market_ns)) // NS_PER_MINUTE
        before = np.empty(self.count, np.int64)
        before[:1] = minute
        before[1:] = np.maximum(reached[:-1], minute)
        return reached > before

    def tick(self, index: int) -> Tick:
        """One record as plain Python values."""
        record = self.records[index]
        if self.updates:
            return Tick(
                number=int(self.number[index]),
                pair=int(self.pair[index]),
                flags=int(self.flags[index]),
                ns=int(self.ns[index]),
                price=float(self.price[index]),
                ticks=int(self.ticks[index]),
                lots=int(record["lots"]),
                rsi=float(record["rsi"]),
                bb_lower=float(record["bb_lower"]),
                codes=int(record["codes"]),
                closed=int(self.closed[index]),
                settings_hash=int(record["settings_hash"]),
            )
        return Tick(
            number=int(self.number[index]),
            pair=int(self.pair[index]),
            flags=int(self.flags[index]),
            ns=int(self.ns[index]),
            price=float(self.price[index]),
            ticks=int(self.ticks[index]),
            lots=int(record["lots"]),
            rsi=float("nan"),
            bb_lower=float("nan"),
            codes=0,
            closed=-1,
            settings_hash=0,
        )


def few_updates(records: bytes) -> Iterator[Fields]:
    """UPDATE records as plain Python values, cheaper than by numpy for a few of them."""
    return _UPDATE.iter_unpack(records)


def few_raws(records: np.ndarray, first: int) -> Iterator[Fields]:
    """The trades among raw tape records, numbered from `first`, as plain Python values."""
    nan = float("nan")
    for at, (kind, *fields) in enumerate(_RECORD.iter_unpack(records.tobytes())):
        if kind == TRADE:
            yield (*fields, first + at, nan, nan, -1, 0, 0)


def told_again(flags: int, ns: int, ms: int) -> bool:
    """Whether it is a BACKFILL trade from before a time: told once more, not new."""
    return bool(flags & BACKFILL) and ns // NS_PER_MS < ms


def interesting(
    columns: Columns, first: int, watch: np.ndarray, tracked: list[Tracked], keep: float, minutes: np.ndarray
) -> np.ndarray:
    """Indices, from `first` on, of the records to look at one by one.

    watch: uint16 per pair number, the codes it waits for. keep: 1 - TRAILING_STOP_PCT. minutes: as Columns.minutes.
    """
    pair = columns.pair[first:]
    mask = (columns.codes[first:] & watch[pair]) != 0
    mask |= minutes[first:]
    for one in tracked:
        mine = np.flatnonzero(pair == one.number)
        if not len(mine):
            continue
        if one.highest is not None:
            price = columns.price[first:][mine]
            highest = np.maximum.accumulate(np.maximum(price, one.highest))
            mask[mine] |= price <= highest * keep
        if columns.updates and one.closed >= 0:
            closed = columns.closed[first:][mine].astype(np.int64)
            before = np.empty(len(mine), np.int64)
            before[0] = one.closed
            before[1:] = closed[:-1]
            mask[mine] |= closed != before
    return np.flatnonzero(mask) + first
