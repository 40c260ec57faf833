"""Records as plain tuples in the order of their fields, and as bytes for tape and bus."""

import struct
from collections.abc import Sequence

from bus.records import CANDLE, FORMING, HOLE, PARTIAL, TRADE
from venues.venue import Bar

TradeRecord = tuple[int, int, int, int, int, int, float, float, int, int, int]
CandleRecord = tuple[int, int, int, int, int, float, float, float, float, float, int]
HoleRecord = tuple[int, int, int, int, int, int, bytes]
Record = TradeRecord | CandleRecord | HoleRecord

_PACK = {
    TRADE: struct.Struct("<BBHIqqddqqq").pack,
    CANDLE: struct.Struct("<BBHIqdddddq").pack,
    HOLE: struct.Struct("<BBHIqq40s").pack,
}


def pack(records: Sequence[Record]) -> bytes:
    """The records as they stand on the tape, 64 bytes each."""
    return b"".join([_PACK[record[0]](*record) for record in records])


def candle(pair: int, bar: Bar, forming: bool = False) -> CandleRecord:
    """A CANDLE of the venue's history; the forming one holds trades that we do not know one by one."""
    flags = FORMING | PARTIAL if forming else 0
    return (CANDLE, 0, flags, pair, bar.open_ns, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trades)


def hole(pair: int, reason: int, from_ns: int, to_ns: int) -> HoleRecord:
    """Trades between the two times are unknown and cannot be had."""
    return (HOLE, reason, 0, pair, from_ns, to_ns, b"")
