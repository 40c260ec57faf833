"""A tape of one file that grows while it is fetched, and is read by others meanwhile.

* It begins whole: header and START stand in it before it has its name.
* Records are appended with plain writes; half of one, or zeros that a power cut left, are cut off on opening.
* Who writes it holds a lock of the kernel's, which dies with its holder.
* What it was begun with stands in its header: venue, market, and as the time of its Start where it begins.
"""

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import numpy as np

from backtest.bad_data import BadFile
from backtest.result import Array
from backtest.tapes import is_tape
from bus.layouts import CANDLE, HOLE, RECORD_SIZE, START, TRADE
from bus.messages import Start
from bus.records import CANDLE_RECORD, HOLE_RECORD, RECORD
from bus.segment import SegmentDamaged, SegmentHeader, check_layout, pack_header, read_header
from core.clock import NS_PER_MS
from core.errors import BotError

ENDING = ".tape"
PIECE = 65_536  # records looked at together
_DTYPES = {TRADE: RECORD, CANDLE: CANDLE_RECORD, HOLE: HOLE_RECORD}


class Contents:
    """What stands on a tape: how many of each kind, from when to when, and its holes (ns), of which a few are kept."""

    SHOWN = 5

    def __init__(self) -> None:
        self.trades = self.candles = self.holes = 0
        self.first_ns = self.last_ns = 0
        self.shown: list[tuple[int, int]] = []

    def add(self, records: Array) -> None:
        """Counts the next records."""
        trades = records["exchange_ns"][records["kind"] == TRADE]
        if len(trades):
            self.first_ns = self.first_ns or int(trades[0])
            self.last_ns = int(trades[-1])
            self.trades += len(trades)
        self.candles += int(np.count_nonzero(records["kind"] == CANDLE))
        holes = records.view(HOLE_RECORD)[records["kind"] == HOLE]
        self.holes += len(holes)
        for row in holes[: self.SHOWN - len(self.shown)]:
            self.shown.append((int(row["from_ns"]), int(row["to_ns"])))


def begun_with(path: Path) -> Start | None:
    """What a tape is about; None where there is none yet. Raises BadFile where a fetch cannot go there."""
    if path.suffix != ENDING:
        raise BadFile(f"{path} must end in {ENDING}: what is fetched is written as a tape.")
    if not path.exists():
        if not path.absolute().parent.is_dir():
            raise BadFile(f"there is no folder {path.absolute().parent} for {path.name}.")
        return None
    return _header(path).start()


def begin(path: Path, start: Start, now_ns: int) -> None:
    """Writes a tape with nothing but its START. Raises BotError where the disk does not take it."""
    record = np.zeros(1, RECORD)
    record["kind"] = START
    record["exchange_ns"] = record["received_ns"] = start.time_ns
    header = pack_header(SegmentHeader.new(now_ns // NS_PER_MS, 0, now_ns, "", start))
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(header + record.tobytes())
        if path.exists():
            raise BadFile(f"another fetch has just begun {path}: wait for it, or fetch into another file.")
        part.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        part.unlink(missing_ok=True)


class GrowingTape:
    """A tape that is there already, open for more; use it in a `with`."""

    def __init__(self, path: Path) -> None:
        """Raises BadFile where it is no tape, or another fetch writes it; BotError where the disk refuses."""
        self.path = path
        self.cut_bytes = 0  # what stood at its end and was no record
        self._header_size = _header(path).size
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._size = self._whole_size()
        except BlockingIOError as error:
            os.close(self._fd)
            raise BadFile(f"another fetch is writing {path}: wait for it, or fetch into another file.") from error
        except OSError as error:
            os.close(self._fd)
            raise _unwritable(path, error) from error

    def __enter__(self) -> "GrowingTape":
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._fd)

    def __len__(self) -> int:
        """Records."""
        return (self._size - self._header_size) // RECORD_SIZE

    def append(self, data: bytes) -> None:
        """Adds whole records. Raises BotError where the disk does not take them: then none of them is on the tape."""
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._fd, data[written:], self._size + written)
        except OSError as error:
            os.ftruncate(self._fd, self._size)
            raise _unwritable(self.path, error) from error
        self._size += len(data)

    def drop_last_holes(self) -> None:
        """Takes HOLEs at the tape's end off it: where they end stands in an answer that was not written down."""
        while self.records(len(self) - 1, len(self))["kind"] == HOLE:
            self._size -= RECORD_SIZE
        os.ftruncate(self._fd, self._size)

    def end_hole(self, place: int, to_ns: int) -> None:
        """Writes another end into the HOLE at a place."""
        at = self._header_size + place * RECORD_SIZE + HOLE_RECORD.fields["to_ns"][1]  # type: ignore[index]
        try:
            os.pwrite(self._fd, to_ns.to_bytes(8, "little", signed=True), at)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def records(self, first: int, last: int) -> Array:
        """Those there are from one place to another, that excluded."""
        first, last = max(0, first), min(last, len(self))
        data = os.pread(self._fd, (last - first) * RECORD_SIZE, self._header_size + first * RECORD_SIZE)
        return np.frombuffer(data, RECORD)

    def tuples(self, first: int, last: int) -> list[Any]:
        """The same as tuples of the fields of their kind, START aside."""
        found = self.records(first, last)
        places = np.flatnonzero(found["kind"] != START).tolist()
        return [found[at : at + 1].view(_DTYPES[int(found[at]["kind"])])[0].item() for at in places]

    def open_hole(self) -> int | None:
        """The place of the HOLE behind which no trade stands; None where there is no such."""
        for last in range(len(self), 0, -PIECE):
            first = max(0, last - PIECE)
            kinds = self.records(first, last)["kind"]
            places = np.flatnonzero((kinds == TRADE) | (kinds == HOLE))
            if len(places):
                place = int(places[-1])
                return first + place if kinds[place] == HOLE else None
        return None

    def contents(self) -> Contents:
        """All of it, counted."""
        found = Contents()
        for first in range(0, len(self), PIECE):
            found.add(self.records(first, min(first + PIECE, len(self))))
        return found

    def _whole_size(self) -> int:
        """Bytes up to the last whole record; what follows is cut off. Raises OSError."""
        size = os.fstat(self._fd).st_size
        self._size = size - (size - self._header_size) % RECORD_SIZE
        while len(self):
            kinds = self.records(len(self) - PIECE, len(self))["kind"]
            places = np.flatnonzero(kinds)
            empty = len(kinds) - (int(places[-1]) + 1 if len(places) else 0)
            self._size -= empty * RECORD_SIZE
            if empty < len(kinds):
                break
        self.cut_bytes = size - self._size
        if self.cut_bytes:
            os.ftruncate(self._fd, self._size)
        return self._size


def _header(path: Path) -> SegmentHeader:
    try:
        if not path.is_file() or not is_tape(path):
            raise BadFile(f"{path} is there already and is no tape: fetch into another file.")
        header = read_header(path)
        check_layout(header, path)
        header.start()
    except SegmentDamaged as error:
        raise BadFile(f"{error}. Fetch into another file.") from error
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}.") from error
    return header


def _unwritable(path: Path, error: OSError) -> BotError:
    reason = error.strerror or str(error)
    if error.errno in (errno.EACCES, errno.EPERM):
        return BadFile(f"{path} cannot be written: {reason}.")
    return BotError(f"{path} cannot be written: {reason}. Make room for it.")
