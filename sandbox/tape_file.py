"""Reads a tape of ours by its documented form, without a line of the bus's own code.

A segment begins with a header, little-endian: magic `SCLPTAPE`, version u32, header size u32, layout hash u64, epoch
i64, first number i64, created i64, boot id (36 bytes), length of the body u32, crc32 u32; then the body, a msgpack
array that begins with venue, book, markets (arrays that begin with the pair's name); then zeros up to the header size.
Then come records of 64 bytes: kind u1 (3 is a trade), side u1 (2 sold), flags u2 (1 is late), pair u4, exchange_ns i8,
received_ns i8, price f8, quantity f8, and 24 bytes that do not matter here. A tape is one segment or a folder of them.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.errors import MisconfiguredError

MAGIC = b"SCLPTAPE"
VERSION = 1
TRADE, SOLD, BOUGHT, LATE = 3, 2, 1, 1
_HEAD = struct.Struct("<8sIIQqqq36sII")
_RECORD = np.dtype(
    [
        ("kind", "<u1"),
        ("side", "<u1"),
        ("flags", "<u2"),
        ("pair", "<u4"),
        ("exchange_ns", "<i8"),
        ("received_ns", "<i8"),
        ("price", "<f8"),
        ("quantity", "<f8"),
        ("unused", "V24"),
    ]
)
Records = NDArray[Any]


def read_tape(path: Path, pair: str) -> tuple[list[int], list[str], list[str], list[str]]:
    """(times in ms, prices, quantities, sides) of the trades of `pair`, or of the only pair that the tape has.

    Raises MisconfiguredError where it is no tape, or has several pairs without this one; OSError from the disk.
    """
    parts = [_trades(segment, pair) for segment in _segments(path)]
    if not parts:
        raise MisconfiguredError(f"SANDBOX_TAPE={path} holds no tape: give a file NAME.tape or a folder of them")
    records = np.concatenate(parts)
    side = {SOLD: "sell", BOUGHT: "buy"}
    return (
        (records["exchange_ns"] // 1_000_000).tolist(),
        [repr(price) for price in records["price"].tolist()],
        [repr(quantity) for quantity in records["quantity"].tolist()],
        [side.get(value, "") for value in records["side"].tolist()],
    )


def _segments(path: Path) -> Iterator[Path]:
    """The segment files in order; of a folder with one folder an epoch, those of the newest."""
    if not path.is_dir():
        return iter([path])
    epochs = [entry for entry in path.iterdir() if entry.name.isdigit() and entry.is_dir()]
    folder = max(epochs, key=lambda entry: int(entry.name)) if epochs else path
    return iter(sorted(folder.glob("*.tape")))


def _trades(segment: Path, pair: str) -> Records:
    data = segment.read_bytes()
    if len(data) < _HEAD.size or not data.startswith(MAGIC):
        raise MisconfiguredError(f"SANDBOX_TAPE: {segment} is no tape of ours")
    _, version, size, *_, length, _ = _HEAD.unpack_from(data)
    if version != VERSION:
        raise MisconfiguredError(
            f"SANDBOX_TAPE: {segment} is a tape of version {version}, this release plays {VERSION}"
        )
    try:
        markets = [market[0] for market in msgspec.msgpack.decode(data[_HEAD.size : _HEAD.size + length])[2]]
    except (msgspec.DecodeError, IndexError, TypeError, KeyError) as error:
        raise MisconfiguredError(f"SANDBOX_TAPE: the header of {segment} is damaged: {error}") from error
    if pair not in markets and len(markets) != 1:
        raise MisconfiguredError(
            f"SANDBOX_TAPE: {segment} has {', '.join(map(str, markets))}: name one of them first in PAIRS, not {pair}"
        )
    number = markets.index(pair) if pair in markets else 0
    whole = max(0, (len(data) - size) // _RECORD.itemsize)  # half a record at the end was being written
    records = np.frombuffer(data, _RECORD, whole, size) if whole else np.empty(0, _RECORD)
    wanted: NDArray[np.bool_] = (
        (records["kind"] == TRADE) & (records["pair"] == number) & (records["flags"] & LATE == 0)
    )
    trades: Records = records[wanted]
    return trades
