"""The fields of the fixed-size records as plain lists, and their codes: what can be said of them without numpy.

Stages that only relay or count records, or take none, spare its memory. `bus.records` makes the dtypes of them.
"""

import hashlib

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

MAX_BATCH = 1000  # records or messages in one frame
RECORD_SIZE = 64
UPDATE_SIZE = 128
UPDATE_NUMBER_OFFSET = 64  # of the field `number`, <u8

RECORD_FIELDS = [
    ("kind", "<u1"),
    ("side", "<u1"),
    ("flags", "<u2"),
    ("pair", "<u4"),
    ("exchange_ns", "<i8"),
    ("received_ns", "<i8"),
    ("price", "<f8"),
    ("quantity", "<f8"),
    ("ticks", "<i8"),
    ("lots", "<i8"),
    ("trade_id", "<i8"),  # the venue's id where it is a number, else 0
]

CANDLE_FIELDS = [
    ("kind", "<u1"),
    ("side", "<u1"),
    ("flags", "<u2"),
    ("pair", "<u4"),
    ("open_ns", "<i8"),
    ("open", "<f8"),
    ("high", "<f8"),
    ("low", "<f8"),
    ("close", "<f8"),
    ("volume", "<f8"),
    ("trades", "<i8"),  # 0 where the venue does not say
]

HOLE_FIELDS = [
    ("kind", "<u1"),
    ("reason", "<u1"),
    ("flags", "<u2"),
    ("pair", "<u4"),
    ("from_ns", "<i8"),
    ("to_ns", "<i8"),
    ("unused", "V40"),
]

UPDATE_FIELDS = [
    *RECORD_FIELDS,
    ("number", "<u8"),  # the TRADE's number on the tape
    ("rsi", "<f8"),  # nan until there are RSI_PERIOD closed candles
    ("bb_lower", "<f8"),  # nan until there are BB_PERIOD - 1 closed candles
    ("bb_middle", "<f8"),
    ("bb_upper", "<f8"),
    ("closed", "<u4"),  # closed candles of this segment
    ("codes", "<u2"),
    ("unused", "<u2"),
    ("segment", "<u4"),  # which warm-up this is, counted from 1
    ("unused2", "<u4"),
    ("settings_hash", "<u8"),  # of the indicator settings in force
]


def layout_hash() -> int:
    """A 63-bit hash of all record layouts; peers with another one must not be read."""
    text = repr([RECORD_FIELDS, CANDLE_FIELDS, HOLE_FIELDS, UPDATE_FIELDS])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
