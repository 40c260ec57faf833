"""The fields of the fixed-size records as plain lists: numpy's form, without numpy.

Stages that only relay or count records, or take none, learn the layout hash here and spare the memory of numpy.
`bus.records` makes the dtypes and explains the fields.
"""

import hashlib

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
