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
    CANDLE_FIELDS,
    HOLE_FIELDS,
    MAX_BATCH,
    RECORD_FIELDS,
    RECORD_SIZE,
    UPDATE_FIELDS,
    UPDATE_NUMBER_OFFSET,
    UPDATE_SIZE,
    layout_hash,
)

__all__ = ["MAX_BATCH", "layout_hash"]

# Kinds of tape record.
START = 1
CANDLE = 2
TRADE = 3
HOLE = 4

# Sides of a trade: what the taker did.
SIDE_UNKNOWN = 0
SIDE_BUY = 1
SIDE_SELL = 2

# Flags of a TRADE record: the feeder judges, everyone obeys.
LATE = 1  # before the forming bucket: counted, otherwise no trade for anyone
BACKFILL = 2  # refilled over REST after a hole: moves candles, highest and paper fills, decides nothing
STALE = 4  # older than STALE_SECONDS when it arrived: blocks entries, never exits
UNTAPED = 8  # not on the tape (disk nearly full): blocks entries

# Flags of a CANDLE record.
PARTIAL = 16  # its open, high, low and volume come from the venue's own row, not from all of its trades
FORMING = 32  # the bucket still runs: later trades go on with it

# Why a HOLE is there (its `reason`).
HOLE_NO_OVERLAP = 1  # the venue's recent trades no longer reach back to the tape's end
HOLE_TOO_LONG = 2  # more than 500 buckets are missing
HOLE_TAIL_LOST = 3  # the end of the tape was lost (power cut, damaged file)

# Reason codes that indicators writes into an UPDATE, knowing no position.
WARM = 1  # enough closed candles for a decision
ENTER_MEAN_REVERSION = 2  # rsi < RSI_BUY and price < bb_lower
ENTER_CRASH_CATCH = 4  # rsi < RSI_CRASH
EXIT_TAKE_PROFIT = 8  # rsi > RSI_SELL

# The fields stand in `bus.layouts`.
RECORD = np.dtype(RECORD_FIELDS)
CANDLE_RECORD = np.dtype(CANDLE_FIELDS)
HOLE_RECORD = np.dtype(HOLE_FIELDS)
UPDATE = np.dtype(UPDATE_FIELDS)


if RECORD.itemsize != RECORD_SIZE or CANDLE_RECORD.itemsize != RECORD_SIZE or HOLE_RECORD.itemsize != RECORD_SIZE:
    raise ValueError("a tape record must have 64 bytes")
if UPDATE.itemsize != UPDATE_SIZE or UPDATE.fields is None or UPDATE.fields["number"][1] != UPDATE_NUMBER_OFFSET:
    raise ValueError("an UPDATE must have 128 bytes, its number at byte 64")
