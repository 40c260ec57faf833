"""The tape's files as the reference reads them: from their description, with nothing of the project.

A segment is a header of 96 bytes (magic `SCLPTAPE`, version u32, header size u32, layout hash u64, epoch i64, first
number i64, created_ns i64, boot id 36 bytes, body length u32, crc32 u32), a msgpack body, zeros up to the header size,
then records of 64 bytes. The body is `[venue, book, markets, taker_fee_bps, maker_fee_bps, …]`, each of the markets
`[pair, base, quote, tick, step, min_quantity, min_notional, max_quantity or nil, …]`. A half record at the end is not
there.
"""

import struct
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from tests.reference.slow_strategy import Candle, Hole, Market, Trade

HEADER = struct.Struct("<8sIIQqqq36sII")
TRADE = struct.Struct(
    "<BBHIqqddqqq"
)  # kind, side, flags, pair, exchange_ns, received_ns, price, quantity, ticks, lots, id
CANDLE = struct.Struct("<BBHIqdddddq")  # kind, -, flags, pair, open_ns, open, high, low, close, volume, trades
HOLE = struct.Struct("<BBHIqq")  # kind, reason, flags, pair, from_ns, to_ns
KIND_CANDLE, KIND_TRADE, KIND_HOLE = 2, 3, 4


class Segment(NamedTuple):
    """One file: its records as bytes, the first one's number, and what its header says."""

    first: int
    records: list[bytes]
    pairs: list[str]
    markets: dict[str, Market]
    taker_fee_bps: Decimal


def read_segments(epoch: Path) -> Iterator[Segment]:
    """The segments of an epoch's folder in order."""
    for path in sorted(epoch.glob("*.tape")):
        data = path.read_bytes()
        magic, _, size, _, _, first, _, _, length, _ = HEADER.unpack_from(data)
        assert magic == b"SCLPTAPE"
        start = unpack(data[HEADER.size : HEADER.size + length])[0]
        pairs = [row[0] for row in start[2]]
        markets = {row[0]: Market(*(text and Decimal(text) for text in row[3:8])) for row in start[2]}
        records = [data[at : at + 64] for at in range(size, size + (len(data) - size) // 64 * 64, 64)]
        yield Segment(first, records, pairs, markets, Decimal(start[3]))


def read_tape(epoch: Path) -> tuple[list[Trade | Candle | Hole], dict[str, Market], Decimal]:
    """Records of an epoch's folder in order; the markets and the taker fee (bps) of its last segment."""
    records: list[Trade | Candle | Hole] = []
    markets: dict[str, Market] = {}
    fee = Decimal(0)
    for segment in read_segments(epoch):
        markets, fee = segment.markets, segment.taker_fee_bps
        for number, raw in enumerate(segment.records, segment.first):
            record = read_record(number, raw, segment.pairs, markets)
            if record is not None:
                records.append(record)
    return records, markets, fee


def read_record(number: int, raw: bytes, pairs: list[str], markets: dict[str, Market]) -> Trade | Candle | Hole | None:
    """One record; None for a START."""
    kind, _, flags, pair_number = struct.unpack_from("<BBHI", raw)
    if kind == KIND_TRADE:
        _, _, _, _, ts_ns, _, _, _, ticks, lots, _ = TRADE.unpack(raw)
        market = markets[pairs[pair_number]]
        return Trade(number, pairs[pair_number], ts_ns, ticks * market.tick, lots * market.step, flags)
    if kind == KIND_CANDLE:
        _, _, _, _, open_ns, opened, high, low, close, volume, trades = CANDLE.unpack(raw)
        return Candle(number, pairs[pair_number], open_ns, opened, high, low, close, volume, flags, trades)
    if kind == KIND_HOLE:
        return Hole(number, pairs[pair_number], *HOLE.unpack_from(raw)[4:])
    return None


def unpack(data: bytes, at: int = 0) -> tuple[Any, int]:
    """One msgpack value (nil, bool, whole number, text, array) and where the next begins."""
    sign = data[at]
    fixed = {0xC0: None, 0xC2: False, 0xC3: True}
    numbers = {0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
    lengths = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I", 0xDC: ">H", 0xDD: ">I"}
    if sign < 0x80:
        return sign, at + 1
    if sign >= 0xE0:
        return sign - 256, at + 1
    if sign in fixed:
        return fixed[sign], at + 1
    if sign in numbers:
        return struct.unpack_from(numbers[sign], data, at + 1)[0], at + 1 + struct.calcsize(numbers[sign])
    if sign in lengths:
        count = struct.unpack_from(lengths[sign], data, at + 1)[0]
        begin = at + 1 + struct.calcsize(lengths[sign])
    else:
        count, begin = (sign & 0x0F if sign < 0xA0 else sign & 0x1F), at + 1
        assert sign >= 0x90, f"msgpack sign {sign:#x}"
    if 0xA0 <= sign < 0xC0 or 0xD9 <= sign <= 0xDB:
        return data[begin : begin + count].decode(), begin + count
    values = []
    for _ in range(count):
        value, begin = unpack(data, begin)
        values.append(value)
    return values, begin
