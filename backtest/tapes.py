"""Tapes as market data, mapped from their files: a segment, the folder of an epoch, or a book's folder `tape/`.

* What is read is what was there on opening: the bot that writes the tape may go on, or prune it, meanwhile.
* A folder of epochs stands for its newest one. Tapes are read in the order in which they are named.
* Records keep their numbers. A tape of another epoch than the one before it goes on counting where that ended.
* Half a record, or zeros that a power cut left, end the last segment of a tape; anywhere else a damaged record is an
  error.
* A START record gives no record: the chunk behind it has a new Start.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from backtest.bad_data import BadFile
from backtest.chunks import Chunk
from backtest.result import Array
from bus.layouts import HOLE, RECORD_SIZE, START, TRADE
from bus.messages import Start
from bus.records import RECORD
from bus.segment import (
    MAGIC,
    SegmentDamaged,
    SegmentHeader,
    check_layout,
    read_header,
    segment_number,
    segments_of,
)
from bus.tape_reader import epochs
from core.clock import NS_PER_MS, iso_utc

PIECE = 16_384  # records in a chunk: 1 MB, which stay in the processor's cache while they are looked at twice

# The book in the Start of a tape that was made of a file of trades: it counts as connected throughout.
FILE_BOOK = "file"


class Segment(NamedTuple):
    """One file of a tape, mapped."""

    path: Path
    header: SegmentHeader
    records: Array
    number: int  # of the first record, as it is counted here
    last: bool  # of its tape


class TapeSource:
    """The records of tapes in order; see the module. Raises BadFile on opening and while reading."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._found: list[str] = []
        self._segments = _in_order([_mapped(path, self._found) for path in paths], self._found)
        self.start: Start = self._segments[0].header.start()
        self.connected = self.start.book == FILE_BOOK
        self.total: int | None = sum(len(segment.records) for segment in self._segments)
        if not self.total:
            raise BadFile(f"{', '.join(map(str, paths))} holds no records yet.")
        self.done = 0
        self.notes = list(self._found)

    def chunks(self) -> Iterator[Chunk]:
        """All records from the first on; may be asked for again."""
        self.done = 0
        self.notes[:] = self._found
        body, start = self._segments[0].header.body, self.start
        begun = False  # the Start of the first chunk is `self.start`
        for segment in self._segments:
            if segment.header.body != body:
                body, start = segment.header.body, segment.header.start()
            for first in range(0, len(segment.records), PIECE):
                piece = segment.records[first : first + PIECE]
                kinds = piece["kind"].copy()
                if kinds.min() < START or kinds.max() > HOLE:
                    piece = self._whole(segment, first, kinds)
                    kinds = kinds[: len(piece)]
                begin = 0
                for place in np.flatnonzero(kinds == START).tolist():
                    if place > begin:
                        begun = True
                        yield Chunk(segment.number + first + begin, piece[begin:place], start)
                    begin, start = place + 1, segment.header.start() if begun else start
                self.done += len(kinds)
                if begin < len(piece):
                    begun = True
                    yield Chunk(segment.number + first + begin, piece[begin:], start)
                if len(piece) < min(PIECE, len(segment.records) - first):
                    return  # what follows is no record

    def _whole(self, segment: Segment, first: int, kinds: Array) -> Array:
        """The records of a piece before the zeros that a power cut left. Raises BadFile where it is other damage."""
        place = int(np.flatnonzero((kinds < START) | (kinds > HOLE))[0])
        rest = segment.records[first + place :].view(np.uint8)
        if not segment.last or any(rest[at : at + (1 << 22)].any() for at in range(0, len(rest), 1 << 22)):
            raise BadFile(
                f"{segment.path}: record {segment.header.first + first + place} is damaged, of kind {kinds[place]}."
                " Restore the file, or read the tape's other segments."
            )
        self.notes.append(
            f"{segment.path.name} ends in {len(rest) // RECORD_SIZE} empty records: read up to record"
            f" {segment.header.first + first + place - 1}"
        )
        return segment.records[first : first + place]


def is_tape(path: Path) -> bool:
    """Whether a file or folder is read as a tape. Raises OSError."""
    if path.is_dir():
        return True
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _files(path: Path, found: list[str]) -> list[Path]:
    """The segment files that a path stands for. Raises BadFile where there are none."""
    if not path.is_dir():
        return [path]
    if (path / "tape").is_dir():
        path = path / "tape"
    known = [epoch for epoch in epochs(path) if segments_of(path / str(epoch))]
    if known:
        if len(known) > 1:
            found.append(
                f"{path} holds {len(known)} epochs, the newest is read: name the folders of others to read them too"
            )
        path = path / str(known[-1])
    files = segments_of(path)
    if not files:
        raise BadFile(f"{path} holds no tape: name a file, an epoch's folder, or a book's folder tape/.")
    return files


def _mapped(path: Path, found: list[str]) -> list[Segment]:
    """The segments of one tape, checked against each other. Raises BadFile."""
    files = _files(path, found)
    segments: list[Segment] = []
    for file in files:
        segment = _segment(file, found, last=file is files[-1])
        if path.is_dir() and segment_number(file) != segment.header.first:
            raise BadFile(f"{file} begins with record {segment.header.first}: its name says another number.")
        segments.append(segment)
    return segments


def _segment(path: Path, found: list[str], *, last: bool) -> Segment:
    try:
        header = read_header(path)
        check_layout(header, path)
        count, rest = divmod(path.stat().st_size - header.size, RECORD_SIZE)
        header.start()
        records: Array = np.zeros(0, RECORD)
        if count:
            records = np.memmap(path, RECORD, "r", header.size, (count,)).view(np.ndarray)
    except SegmentDamaged as error:
        raise BadFile(f"{error}. Give a tape that is whole, or leave this file out.") from error
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}.") from error
    if rest:
        found.append(f"{path.name} ends in half a record ({rest} bytes): read up to record {header.first + count - 1}")
    return Segment(path, header, records, header.first, last)


def _in_order(tapes: Sequence[Sequence[Segment]], found: list[str]) -> list[Segment]:
    """All segments, numbered on from tape to tape. Raises BadFile where one does not follow the one before."""
    ordered: list[Segment] = []
    for tape in tapes:
        for segment in tape:
            if not ordered:
                ordered.append(segment)
                continue
            before = ordered[-1]
            end = before.header.first + len(before.records)
            if (segment.header.epoch, segment.header.boot_id) == (before.header.epoch, before.header.boot_id):
                if segment.header.first < end:
                    raise BadFile(
                        f"{segment.path} begins with record {segment.header.first}, {before.path} ends with"
                        f" {end - 1}: name tapes in order, each once."
                    )
                if segment.header.first > end:
                    found.append(f"the records {end} to {segment.header.first - 1} are missing on the tape")
                number = before.number + segment.header.first - before.header.first
            else:
                _check_times(before, segment)
                number = before.number + len(before.records)
                found.append(f"{segment.path} is of another epoch: its records are counted on from {number}")
            ordered.append(segment._replace(number=number))
    return ordered


def _check_times(before: Segment, segment: Segment) -> None:
    """Raises BadFile where a tape begins before the one before it ends."""
    ended, begins = _trade_ns(before.records, -1), _trade_ns(segment.records, 0)
    if ended is not None and begins is not None and begins < ended:
        raise BadFile(
            f"{segment.path} begins at {iso_utc(begins // NS_PER_MS)}, before {before.path} ends at"
            f" {iso_utc(ended // NS_PER_MS)}: name tapes in the order of time."
        )


def _trade_ns(records: Array, which: int) -> int | None:
    """Time of the first (0) or last (-1) trade within PIECE records of that end."""
    piece: Any = records[-PIECE:] if which else records[:PIECE]
    places = np.flatnonzero(piece["kind"] == TRADE)
    return int(piece["exchange_ns"][places[which]]) if len(places) else None
