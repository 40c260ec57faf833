"""The tape: every record of the market in order, on disk, numbered from 0 for the whole epoch.

Folder: `tape/EPOCH/NNNNNNNNNNNNNNNNNNNN.tape`, one file a segment, named for the number of its first record. A segment
is a header (`bus.segment`) and then 64-byte records. The writer appends with plain writes: what it wrote is in the page
cache, so it survives the death of the process, not that of the machine.

* The epoch goes on only while the machine stays up and the last segment is whole; a half record at its end is cut off.
* Numbers that were published but never taped (`bus.untaped`) are given to nobody else: where they are lost the tape has
  a hole between two segments, where the marker tells of them at a start a new epoch begins.
* A tape that cannot be opened, or whose marker cannot be written (read-only disk), is none: a new epoch begins, and is
  on the disk as soon as that takes it.

Here is the writer; who reads finds `TapeReader` in `bus.tape_reader`, which is also had from here.
"""

import contextlib
import os
from itertools import pairwise
from pathlib import Path

import numpy as np

from bus.layouts import RECORD_SIZE
from bus.messages import Start
from bus.records import HOLE, RECORD, START
from bus.segment import (
    SegmentDamaged,
    SegmentHeader,
    check_layout,
    pack_header,
    read_header,
    record_count,
    segment_name,
    segment_number,
    segments_of,
)
from bus.tape_reader import Records, TapeError, TapeReader, epochs, tape_replay
from bus.untaped import Marker
from core.clock import NS_PER_S, Clock, boot_id

__all__ = [
    "NO_TAPE",
    "Records",
    "TapeError",
    "TapeReader",
    "TapeWriter",
    "boot_id",
    "epochs",
    "same_start",
    "tape_replay",
]

SEGMENT_BYTES = 64 * 1024 * 1024
SEGMENT_NS = 3600 * NS_PER_S  # so that TAPE_KEEP_HOURS has whole segments to drop in a quiet market
NO_TAPE = "there was no tape"


class TapeWriter:
    """Appends records; one writer at a time, which the feeder's lock sees to."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        boot_id: str,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        segment_ns: int = SEGMENT_NS,
    ) -> None:
        self.folder = folder
        self.epoch = 0
        self.next_number = 0
        self.start_body: Start | None = None  # of the current segment
        self.cut_bytes = 0  # of a half record that `open` cut off
        self.new_epoch_because = ""  # why `open` began anew; empty where it went on
        self.marker = Marker(folder.with_suffix(".marker"))
        self._clock = clock
        self._boot_id = boot_id
        self._segment_bytes = segment_bytes
        self._segment_ns = segment_ns
        self._fd = -1
        self._path = folder
        self._size = 0
        self._header_size = 0
        self._created_ns = 0
        self._torn = False  # part of what was refused may stand at the file's end

    def open(self) -> tuple[int, int]:
        """Goes on after the tape's tail, or begins a new epoch where the tail may be lost; (epoch, next number)."""
        known: list[int] = []
        try:
            known = epochs(self.folder)
            marked = self.marker.prepare()
            if marked >= max(known, default=0):
                known.append(marked)
                self.new_epoch_because = "trades were published that are not on the tape"
            else:
                self.new_epoch_because = self._continue(known[-1]) if known else NO_TAPE
        except SegmentDamaged as error:
            self.new_epoch_because = str(error)
        except OSError as error:
            self.new_epoch_because = f"the old one cannot be opened: {error.strerror} ({error.filename})"
        if self.new_epoch_because:
            self.close()
            # Never below an epoch that was: a clock that was set back must not give two tapes one name.
            self.epoch = max([self._clock.wall_ms(), *(epoch + 1 for epoch in known)])
            self.next_number = 0
            self.start_body = None
        return self.epoch, self.next_number

    def start(self, body: Start) -> int:
        """Appends the START record of a feeder that (re)started and returns its number."""
        self.go_on(self.next_number, body)
        return self.append(self.start_record(body))

    def start_record(self, body: Start) -> Records:
        """A START record for `body`, not on the tape."""
        record = np.zeros(1, RECORD)
        record["kind"] = START
        record["exchange_ns"] = body.time_ns
        record["received_ns"] = self._clock.wall_ns()
        return record

    def go_on(self, number: int, body: Start) -> None:
        """Makes ready for records from `number` on that are about `body`; the numbers before it are lost for good.

        A new segment begins after such a hole, and where what the records are about changed (markets, their rules,
        fees, venue). Raises TapeError where it cannot.
        """
        if number < self.next_number:
            raise ValueError(f"the tape goes on at {self.next_number}, not at {number}")
        here = self._fd >= 0 and number == self.next_number
        if not here or self.start_body is None or not same_start(self.start_body, body):
            self._begin_segment(number, body)

    def append(self, records: Records | bytes | bytearray) -> int:
        """Appends whole records, or their bytes, and returns the number of the first.

        Raises TapeError where the disk does not take them: then none of them is on the tape.
        """
        if self.start_body is None or self._fd < 0:
            raise TapeError("a tape begins with its START record")
        data = records.tobytes() if isinstance(records, np.ndarray) else records
        size = len(data)
        age_ns = self._clock.wall_ns() - self._created_ns
        used = self._size > self._header_size
        if used and (self._size + size > self._segment_bytes or age_ns > self._segment_ns):
            self._begin_segment(self.next_number, self.start_body)
        self._write(data)
        first = self.next_number
        self.next_number += size // RECORD_SIZE
        return first

    def prune(self, keep_ns: int, max_bytes: int) -> int:
        """Removes whole segments, oldest first, that are older than `keep_ns` or beyond `max_bytes`; bytes freed.

        The current segment always stays.
        """
        now_ns = self._clock.wall_ns()
        files = [(epoch, path) for epoch in epochs(self.folder) for path in segments_of(self._of(epoch))]
        sizes = {path: path.stat().st_size for _, path in files}
        total = sum(sizes.values())
        freed = 0
        for (epoch, path), (_, following) in pairwise(files):
            if path == self._path:
                break
            # A segment's records end where the next one begins.
            ended_ns = _created_ns(following)
            if total - freed <= max_bytes and now_ns - ended_ns <= keep_ns:
                break
            path.unlink()
            freed += sizes[path]
            with contextlib.suppress(OSError):  # not empty yet
                self._of(epoch).rmdir()
        return freed

    def size_bytes(self) -> int:
        """Bytes of all segments of all epochs."""
        return sum(path.stat().st_size for epoch in epochs(self.folder) for path in segments_of(self._of(epoch)))

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _of(self, epoch: int) -> Path:
        return self.folder / str(epoch)

    def _continue(self, epoch: int) -> str:
        """Takes up the tail of an epoch; returns why that cannot be, or nothing.

        Raises SegmentDamaged.
        """
        files = segments_of(self._of(epoch))
        if not files:
            return f"the tape of epoch {epoch} has no segment"
        expected = segment_number(files[0])
        for path in files[:-1]:
            if segment_number(path) < expected:
                return f"the segment before {path.name} runs into it"
            expected = segment_number(path) + record_count(path)
        # Numbers that are missing in between were lost, or removed by a person: they stay so, the tail is whole.
        last = files[-1]
        header = read_header(last)
        if segment_number(last) < expected or header.first != segment_number(last) or header.epoch != epoch:
            return f"{last.name} is not what follows the segment before it"
        check_layout(header, last)
        if header.boot_id != self._boot_id or not self._boot_id:
            return "the machine was restarted: what was written last may not have reached the disk"
        self._fd = os.open(last, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        size = os.fstat(self._fd).st_size
        whole = size - (size - header.size) % RECORD_SIZE
        if whole < size:
            os.ftruncate(self._fd, whole)
            self.cut_bytes = size - whole
        if whole > header.size:
            kind = os.pread(self._fd, 1, whole - RECORD_SIZE)[0]
            if not START <= kind <= HOLE:
                return f"the end of {last.name} is no record"
        self._take_segment(last, header, whole)
        self.epoch = epoch
        self.next_number = header.first + (whole - header.size) // RECORD_SIZE
        return ""

    def _begin_segment(self, number: int, body: Start) -> None:
        header = SegmentHeader.new(self.epoch, number, self._clock.wall_ns(), self._boot_id, body)
        packed = pack_header(header)
        path = self._of(self.epoch) / segment_name(number)
        aside = path.with_suffix(".new")
        try:
            self._mend()
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            aside.write_bytes(packed)
            # In one step: a reader, or we after a kill, find a whole header or no file.
            aside.replace(path)
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise TapeError(f"cannot begin {path}: {error.strerror}") from error
        self.close()
        self._fd = fd
        self.next_number = number
        self._take_segment(path, header, len(packed))

    def _take_segment(self, path: Path, header: SegmentHeader, size: int) -> None:
        self._path = path
        self._size = size
        self._header_size = header.size
        self._created_ns = header.created_ns
        self.start_body = header.start()

    def _mend(self) -> None:
        """Cuts off what was refused and still stands at the file's end. Raises OSError."""
        if self._torn:
            os.ftruncate(self._fd, self._size)
            self._torn = False

    def _write(self, data: bytes | bytearray) -> None:
        written = 0
        try:
            self._mend()
            while written < len(data):
                written += os.write(self._fd, data[written:] if written else data)
        except OSError as error:
            self._torn = True
            with contextlib.suppress(OSError):  # tried again before anything else is written
                self._mend()
            raise TapeError(f"cannot write the tape {self._path}: {error.strerror}") from error
        self._size += len(data)


def same_start(one: Start, other: Start) -> bool:
    """Whether two Starts say the same of the records; their times may differ."""
    return (one.venue, one.book, one.markets, one.taker_fee_bps, one.maker_fee_bps, one.tape_clock) == (
        other.venue,
        other.book,
        other.markets,
        other.taker_fee_bps,
        other.maker_fee_bps,
        other.tape_clock,
    )


def _created_ns(path: Path) -> int:
    try:
        return read_header(path).created_ns
    except SegmentDamaged:
        return path.stat().st_mtime_ns
