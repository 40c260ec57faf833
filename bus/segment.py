"""The header of a tape segment, and segment files in a folder.

Fixed part, little-endian, 96 bytes: magic `SCLPTAPE`, version u32, header size u32 (a multiple of 64), layout hash u64,
epoch i64, first number i64, created_ns i64 (wall), boot id (36 bytes ASCII), body length u32, crc32 u32 of the rest.
Then the body, a msgpack `Start`: venue, pair table with the markets' rules, fees. Then zeros up to the header size.
"""

import struct
import zlib
from pathlib import Path

import msgspec

from bus.frames import UNREADABLE
from bus.layouts import RECORD_SIZE, layout_hash
from bus.messages import Start
from bus.messages import encode as pack
from core.errors import BotError

MAGIC = b"SCLPTAPE"
VERSION = 1
ENDING = ".tape"
_FIXED = struct.Struct("<8sIIQqqq36sII")
_BIGGEST_HEADER = 16 * 1024 * 1024


class SegmentDamaged(BotError):
    """A file that is no whole segment of ours."""


class SegmentHeader(msgspec.Struct, frozen=True):
    """What stands at the head of a segment; `size` is in bytes."""

    size: int
    layout: int
    epoch: int
    first: int
    created_ns: int
    boot_id: str
    body: bytes

    @staticmethod
    def new(epoch: int, first: int, created_ns: int, boot_id: str, start: Start) -> "SegmentHeader":
        """A header for a new segment of our version."""
        body = pack(start)
        size = -(-(_FIXED.size + len(body)) // RECORD_SIZE) * RECORD_SIZE
        return SegmentHeader(size, layout_hash(), epoch, first, created_ns, boot_id, body)

    def start(self) -> Start:
        """What the records are about."""
        try:
            return _start_decoder.decode(self.body)
        except UNREADABLE as error:
            raise SegmentDamaged(f"the header of segment {self.first} cannot be read: {error}") from error


_start_decoder = msgspec.msgpack.Decoder(Start)


def pack_header(header: SegmentHeader) -> bytes:
    """The bytes of a header, padded."""

    def fixed(crc: int) -> bytes:
        boot = header.boot_id.encode()[:36]
        return _FIXED.pack(
            MAGIC,
            VERSION,
            header.size,
            header.layout,
            header.epoch,
            header.first,
            header.created_ns,
            boot,
            len(header.body),
            crc,
        )

    crc = zlib.crc32(header.body, zlib.crc32(fixed(0)))
    return (fixed(crc) + header.body).ljust(header.size, b"\0")


def read_header(path: Path) -> SegmentHeader:
    """The header of a segment file.

    Raises SegmentDamaged where it is not whole or not ours; OSError where the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_FIXED.size)
        if len(head) < _FIXED.size or head[:8] != MAGIC:
            raise SegmentDamaged(f"{path} is no tape of ours")
        _, version, size, layout, epoch, first, created_ns, boot, length, crc = _FIXED.unpack(head)
        if version != VERSION:
            raise SegmentDamaged(f"{path} is a tape of version {version}, we read version {VERSION}")
        if not _FIXED.size + length <= size <= _BIGGEST_HEADER or size % RECORD_SIZE:
            raise SegmentDamaged(f"the header of {path} is damaged")
        body = file.read(length)
    if len(body) < length or zlib.crc32(body, zlib.crc32(head[:-4] + bytes(4))) != crc:
        raise SegmentDamaged(f"the header of {path} is damaged")
    if path.stat().st_size < size:
        raise SegmentDamaged(f"{path} ends within its header")
    return SegmentHeader(size, layout, epoch, first, created_ns, boot.rstrip(b"\0").decode("ascii", "replace"), body)


def check_layout(header: SegmentHeader, path: Path) -> None:
    """Raises SegmentDamaged where the records have another layout than ours."""
    if header.layout != layout_hash():
        raise SegmentDamaged(f"the records of {path} have another layout than this version's")


def record_count(path: Path) -> int:
    """Whole records in a segment file."""
    return max(0, path.stat().st_size - read_header(path).size) // RECORD_SIZE


def segment_name(first: int) -> str:
    return f"{first:020d}{ENDING}"


def segment_number(path: Path) -> int:
    return int(path.stem)


def segments_of(folder: Path) -> list[Path]:
    """The segment files of one epoch, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix == ENDING and path.stem.isdigit())
