"""Records that were published but are not on the tape: kept here until the disk takes them. Pure but for the marker.

* Their numbers go on from the tape's end, and what is kept follows on without a hole: `next_number` is the next one's.
* What does not fit any more is the oldest; then the numbers from the tape's end to `first` are lost.
* The marker is a small file beside the tape that is there, and has its room, from the start on: it names the epoch that
  has such records. A feeder that starts and finds it begins a new epoch, so that no number is ever given twice.
"""

import os
from collections import deque
from pathlib import Path

from bus.frames import TRADE, Frame
from bus.layouts import MAX_BATCH, RECORD_SIZE
from bus.messages import Start
from bus.messages import encode as pack

KEEP = 200_000  # records, 13 MB: an hour of 50 trades/s
MARKER_BYTES = 32


class Block:
    """Records that follow on each other: up to MAX_BATCH, or one START alone; `start`: what they are about."""

    __slots__ = ("begins", "data", "first", "start")

    def __init__(self, first: int, data: bytes, start: Start, begins: bool) -> None:
        self.first = first
        self.data = bytearray(data)
        self.start = start
        self.begins = begins  # it is a START record

    @property
    def count(self) -> int:
        return len(self.data) // RECORD_SIZE

    @property
    def last(self) -> int:
        return self.first + self.count - 1


class Untaped:
    """The newest records of those that are not on the tape: at least `keep`, by whole blocks."""

    def __init__(self, keep: int = KEEP) -> None:
        self._keep = keep
        self._blocks: deque[Block] = deque()
        self._count = 0
        self.next_number = 0

    def __len__(self) -> int:
        """Records kept."""
        return self._count

    @property
    def first(self) -> int:
        """The first number kept; `next_number` where there is none."""
        return self._blocks[0].first if self._blocks else self.next_number

    def begin(self, number: int) -> None:
        """The tape stopped: the next record's number is `number`. Nothing may be kept at that moment."""
        if self._blocks:
            raise ValueError(f"records from {self.first} on are not taped yet: {number} cannot be the next")
        self.next_number = number

    def add(self, data: bytes, start: Start, *, begins: bool = False) -> int:
        """Takes up to MAX_BATCH packed records, or a START's one; returns the number of the first."""
        number, count = self.next_number, len(data) // RECORD_SIZE
        newest = self._blocks[-1] if self._blocks else None
        if newest is None or begins or newest.begins or newest.count + count > MAX_BATCH:
            self._blocks.append(Block(number, data, start, begins))
        else:
            newest.data += data
        self.next_number += count
        self._count += count
        while self._count - self._blocks[0].count >= self._keep:
            self.taped()
        return number

    def oldest(self) -> Block | None:
        """What must be taped next."""
        return self._blocks[0] if self._blocks else None

    def taped(self) -> None:
        """The oldest block is on the tape, or given up."""
        self._count -= self._blocks.popleft().count

    def frames(self, epoch: int, first: int, limit: int) -> list[Frame]:
        """Up to `limit` frames for a replay of `trade/` from number `first` on, or from the first kept."""
        found: list[Frame] = []
        for block in self._blocks:
            if len(found) == limit:
                break
            if block.last >= first:
                skip = max(0, first - block.first)
                body = pack(block.start) if block.begins else None
                data = bytes(block.data[skip * RECORD_SIZE :])
                found.append(Frame(TRADE, epoch, block.first + skip, block.count - skip, 0, data, body))
        return found


class Marker:
    """Says on the disk which epoch has numbers that were published and are not on the tape."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> int:
        """Takes the room for it and shows that it can be written; the epoch that it names, -1 where none.

        Raises OSError: then the feeder before may not have been able to write it either.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        epoch = self.epoch()
        self._write("" if epoch < 0 else str(epoch))
        return epoch

    def epoch(self) -> int:
        """The epoch it names; -1 where none. Raises OSError."""
        try:
            text = self.path.read_bytes().decode("ascii", "replace").strip()
        except FileNotFoundError:
            return -1
        return int(text) if text.isdecimal() else -1

    def set(self, epoch: int) -> None:
        """Raises OSError."""
        self._write(str(epoch))

    def clear(self) -> None:
        """Raises OSError."""
        if self.epoch() >= 0:
            self._write("")

    def _write(self, text: str) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(fd, text.ljust(MARKER_BYTES - 1).encode() + b"\n", 0)
        finally:
            os.close(fd)
