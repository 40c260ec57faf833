"""Reading the tape by number, also while another process appends to it; and the replay that the feeder answers with.

Files are opened and counted by whole records: a record that is being written is not there yet.
"""

import os
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bus.frames import TRADE, Frame
from bus.layouts import MAX_BATCH, RECORD_SIZE
from bus.messages import Start
from bus.publisher import REPLAY_FRAMES
from bus.records import RECORD, START
from bus.segment import SegmentDamaged, check_layout, read_header, segment_name, segment_number, segments_of
from core.errors import BotError

Records = np.ndarray[Any, np.dtype[Any]]


class TapeError(BotError):
    """The tape cannot be written or read: the text names the file and the reason."""


def epochs(folder: Path) -> list[int]:
    """The epochs that have a folder, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit() and entry.is_dir())


class _Segment:
    """One open segment file."""

    __slots__ = ("fd", "header", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = read_header(path)
        check_layout(self.header, path)
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def count(self) -> int:
        """Whole records on disk now."""
        return max(0, os.fstat(self.fd).st_size - self.header.size) // RECORD_SIZE

    def replaced(self) -> bool:
        """Whether another file has this name now: a segment without records may be begun a second time."""
        return os.fstat(self.fd).st_nlink == 0 and self.path.exists()

    def close(self) -> None:
        os.close(self.fd)


class TapeReader:
    """Reads the tape by number: of one epoch, by default the newest there is at the first `refresh`."""

    def __init__(self, folder: Path, epoch: int | None = None) -> None:
        self.folder = folder
        self.epoch = epoch
        self._open: dict[int, _Segment] = {}  # by first number; few at a time
        self._firsts: list[int] = []
        self.refresh()

    @property
    def first(self) -> int:
        """The first number kept; `last` + 1 where there is none."""
        self.refresh()
        return self._firsts[0] if self._firsts else 0

    @property
    def last(self) -> int:
        """The last whole record's number; -1 before the first."""
        self.refresh()
        return self.last_seen if self._firsts else -1

    @property
    def last_seen(self) -> int:
        """As `last`, at the price of a look at one file: without segments that came since the last `refresh`."""
        if not self._firsts:
            return self.last
        segment = self._segment(self._firsts[-1])
        return segment.header.first + segment.count() - 1

    def refresh(self) -> None:
        """Notices segments that came or went since."""
        if self.epoch is None:
            known = epochs(self.folder)
            if not known:
                return
            self.epoch = known[-1]
        self._firsts = [segment_number(path) for path in segments_of(self.folder / str(self.epoch))]
        for first in [first for first in self._open if first not in self._firsts]:
            self._open.pop(first).close()

    def read(self, first: int, limit: int = MAX_BATCH) -> tuple[Records, bytes | None]:
        """Up to `limit` records from number `first` on, all of one segment; a START record comes alone, with its body.

        No records where `first` is not there yet, or not any more: `following` tells what is there.
        """
        at = _at_or_before(self._firsts, first)
        if at is None or (at == self._firsts[-1] and first >= at + self._segment(at).count()):
            self.refresh()
            at = _at_or_before(self._firsts, first)
        if at is None:
            return np.zeros(0, RECORD), None
        segment = self._segment(at)
        count = min(limit, at + segment.count() - first)
        if count <= 0:
            return np.zeros(0, RECORD), None
        data = os.pread(segment.fd, count * RECORD_SIZE, segment.header.size + (first - at) * RECORD_SIZE)
        records = np.frombuffer(data, RECORD, len(data) // RECORD_SIZE)
        starts = np.flatnonzero(records["kind"] == START)
        if len(starts) == 0:
            return records, None
        if starts[0] == 0:
            return records[:1], segment.header.body
        return records[: starts[0]], None

    def following(self, number: int) -> int | None:
        """The first number from `number` on that is there: behind what was pruned or lost; None where none is yet."""
        self.refresh()
        at = _at_or_before(self._firsts, number)
        if at is not None and number < at + self._segment(at).count():
            return number
        later = self._firsts[bisect_right(self._firsts, number) :]
        return next((first for first in later if self._segment(first).count()), None)

    def read_back(self, count: int) -> tuple[int, Records]:
        """What is there of the last `count` numbers, START records included, and the first of these numbers."""
        last = self.last
        first = max(self.first, last + 1 - count)
        parts: list[Records] = []
        number = self.following(first)
        while number is not None and number <= last:
            records, _ = self.read(number, last + 1 - number)
            parts.append(records)
            number = self.following(number + len(records))
        return first, np.concatenate(parts) if parts else np.zeros(0, RECORD)

    def bodies(self) -> Iterator[tuple[int, Start]]:
        """For each segment its first number and what its records are about."""
        self.refresh()
        for first in list(self._firsts):
            yield first, self._segment(first).header.start()

    def segments(self) -> Iterator[tuple[int, Start, Records]]:
        """Each segment's first number, what it is about and its whole records, mapped from the file without a copy."""
        self.refresh()
        for first in list(self._firsts):
            segment = self._segment(first)
            count = segment.count()
            shape = (count,)
            records: Records = (
                np.memmap(segment.path, RECORD, "r", segment.header.size, shape) if count else np.zeros(0, RECORD)
            )
            yield first, segment.header.start(), records

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def _segment(self, first: int) -> _Segment:
        segment = self._open.get(first)
        if segment is not None and segment.replaced():
            self._open.pop(first).close()
            segment = None
        if segment is None:
            path = self.folder / str(self.epoch) / segment_name(first)
            try:
                segment = _Segment(path)
            except (OSError, SegmentDamaged) as error:
                raise TapeError(f"cannot read the tape {path}: {error}") from error
            if len(self._open) >= 4:
                self._open.pop(next(iter(self._open))).close()
            self._open[first] = segment
        return segment


def tape_replay(reader: TapeReader, upto: Callable[[], int] | None = None) -> Callable[[int], list[Frame]]:
    """What a replay of `trade/` is answered with: frames from a number on, or the first kept.

    `upto()`: the number that the tape ends before, where its file may hold more (half of a write that was refused).
    The replay raises TapeError where the disk does not give what it has.
    """

    def replay(first: int) -> list[Frame]:
        frames: list[Frame] = []
        end = sys.maxsize if upto is None else upto()
        try:
            number = reader.following(first)
            while number is not None and number < end and len(frames) < REPLAY_FRAMES:
                records, body = reader.read(number, min(MAX_BATCH, end - number))
                if len(records):
                    frames.append(Frame(TRADE, reader.epoch or 0, number, len(records), 0, records.tobytes(), body))
                    number += len(records)
                else:
                    number = reader.following(number)
        except OSError as error:  # who asks is to ask again, and this stage to go on
            if not frames:
                raise TapeError(f"cannot read the tape {reader.folder}: {error.strerror or error}") from error
        return frames

    return replay


def _at_or_before(firsts: list[int], number: int) -> int | None:
    """The greatest of ascending `firsts` that does not exceed `number`."""
    at = bisect_right(firsts, number)
    return firsts[at - 1] if at else None
