"""The fixed-size records of the hot path: one layout on the bus, on the tape and in the kernels.

A tape record is 64 bytes and has one of four readings, told apart by `kind`:

* TRADE: one public trade. `ticks` and `lots` are price and quantity as whole numbers of the market's tick and step.
* CANDLE: one candle from the venue's history; `open_ns` is the start of its bucket.
* HOLE: trades of `pair` between `from_ns` and `to_ns` are unknown and cannot be had.
* START: the feeder (re)started; its body (`bus.messages.Start`) stands in the header of the tape segment that
  holds the record, and travels as the third part of the bus frame, which then carries this record alone.

A record's number is its place on the tape, counted from 0 for the whole epoch; an UPDATE has the number of its TRADE.
Times are nanoseconds since 1970 UTC: `exchange_ns` by the venue's clock, `received_ns` by ours.
"""

import numpy as np

from bus.layouts import (
    BACKFILL,
    CANDLE,
    CANDLE_FIELDS,
    ENTER_CRASH_CATCH,
    ENTER_MEAN_REVERSION,
    EXIT_TAKE_PROFIT,
    FORMING,
    HOLE,
    HOLE_FIELDS,
    HOLE_NO_OVERLAP,
    HOLE_TAIL_LOST,
    HOLE_TOO_LONG,
    LATE,
    MAX_BATCH,
    PARTIAL,
    RECORD_FIELDS,
    RECORD_SIZE,
    SIDE_BUY,
    SIDE_SELL,
    SIDE_UNKNOWN,
    STALE,
    START,
    TRADE,
    UNTAPED,
    UPDATE_FIELDS,
    UPDATE_NUMBER_OFFSET,
    UPDATE_SIZE,
    WARM,
    layout_hash,
)

__all__ = [
    "BACKFILL",
    "CANDLE",
    "CANDLE_RECORD",
    "ENTER_CRASH_CATCH",
    "ENTER_MEAN_REVERSION",
    "EXIT_TAKE_PROFIT",
    "FORMING",
    "HOLE",
    "HOLE_NO_OVERLAP",
    "HOLE_RECORD",
    "HOLE_TAIL_LOST",
    "HOLE_TOO_LONG",
    "LATE",
    "MAX_BATCH",
    "PARTIAL",
    "RECORD",
    "SIDE_BUY",
    "SIDE_SELL",
    "SIDE_UNKNOWN",
    "STALE",
    "START",
    "TRADE",
    "UNTAPED",
    "UPDATE",
    "WARM",
    "layout_hash",
]

# The fields stand in `bus.layouts`.
RECORD = np.dtype(RECORD_FIELDS)
CANDLE_RECORD = np.dtype(CANDLE_FIELDS)
HOLE_RECORD = np.dtype(HOLE_FIELDS)
UPDATE = np.dtype(UPDATE_FIELDS)


if RECORD.itemsize != RECORD_SIZE or CANDLE_RECORD.itemsize != RECORD_SIZE or HOLE_RECORD.itemsize != RECORD_SIZE:
    raise ValueError("a tape record must have 64 bytes")
if UPDATE.itemsize != UPDATE_SIZE or UPDATE.fields is None or UPDATE.fields["number"][1] != UPDATE_NUMBER_OFFSET:
    raise ValueError("an UPDATE must have 128 bytes, its number at byte 64")
