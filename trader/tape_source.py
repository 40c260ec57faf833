"""The tape as `follow` wants it: stretches of records by number, read while the feeder appends."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from bus.frames import Frame
from bus.messages import Start
from bus.records import RECORD
from bus.tape import TapeError, TapeReader
from core.errors import BotError
from trader.follow import Stretch

READ_AT_ONCE = 10_000

_start_decoder = msgspec.msgpack.Decoder(Start)

Beyond = Callable[[int, int], list[Frame]]  # (epoch, first number): what the feeder has in memory from there on


class TapeSource:
    """One epoch of the tape. `warn` is told what cannot be read; what can be is given all the same.

    What was published and is not on the tape (the disk is full) is asked of the feeder; `beyond` waits for its answer.
    """

    def __init__(self, reader: TapeReader, warn: Callable[[str], object], beyond: Beyond) -> None:
        self._reader = reader
        self._warn = warn
        self._beyond = beyond

    @property
    def first(self) -> int:
        """The first record that still exists."""
        taped = self._reader.following(0)
        if taped is not None:
            return taped
        frames = self._untaped(0)
        return frames[0].first if frames else 0

    def reaches(self, told: int) -> int:
        """The last record on the disk; -1 where there is none or it cannot be seen (who reads it is told why)."""
        try:
            seen = self._reader.last_seen
            return seen if seen >= told else self._reader.last
        except (TapeError, OSError):
            return -1

    def stretches(self, first: int, last: int) -> Iterator[Stretch]:
        """Records first..last, as far as they exist; a START stands alone with its body."""
        number = first
        try:
            while number <= last:
                records, body = self._reader.read(number, min(READ_AT_ONCE, last - number + 1))
                if not len(records):
                    following = self._reader.following(number)
                    if following is None:
                        break
                    number = following
                    continue
                yield Stretch(number, records, None if body is None else _start_decoder.decode(body))
                number += len(records)
        except (TapeError, OSError) as error:
            self._warn(f"records {number} to {last} of the tape cannot be read: {error}")
        while number <= last:
            frames = [frame for frame in self._untaped(number) if frame.first <= last]
            if not frames:
                return
            for frame in frames:
                records = np.frombuffer(frame.payload, RECORD)[: last - frame.first + 1]
                yield Stretch(frame.first, records, None if frame.body is None else _start_decoder.decode(frame.body))
                number = frame.last + 1

    def start_before(self, number: int) -> tuple[int, Start] | None:
        """The pair table in force at record `number`, with the number it stands since."""
        found: tuple[int, Start] | None = None
        taped = -1
        try:
            for first, body in self._reader.bodies():
                if first > number and found is not None:
                    return found
                found = (first, body)
            taped = self._reader.last
        except (TapeError, OSError) as error:
            self._warn(f"the tape's segments cannot be read: {error}")
        at = taped + 1
        while at <= number and (frames := self._untaped(at)):
            for frame in frames:
                if frame.body is not None and (frame.first <= number or found is None):
                    found = (frame.first, _start_decoder.decode(frame.body))
            at = frames[-1].last + 1
        return found

    def _untaped(self, first: int) -> list[Frame]:
        epoch = self._reader.epoch
        try:
            frames = [] if epoch is None else self._beyond(epoch, first)
            return [frame for frame in frames if frame.epoch == epoch and frame.first >= first]
        except BotError as error:
            self._warn(f"records from {first} on are not on the tape, and the feeder cannot be asked for them: {error}")
            return []


def tape_sources(
    folder: Path, warn: Callable[[str], object], beyond: Beyond = lambda epoch, first: []
) -> Callable[[int], TapeSource | None]:
    """`source(epoch)` over the book's tape folder and what the feeder has beyond it; the readers stay open."""
    readers: dict[int, TapeReader] = {}

    def source(epoch: int) -> TapeSource | None:
        reader = readers.get(epoch)
        if reader is None:
            reader = TapeReader(folder, epoch)
            # Of an epoch that has no folder yet, the feeder may have all in memory.
            if not (folder / str(epoch)).is_dir() and not TapeSource(reader, warn, beyond).start_before(0):
                return None
            for old in readers.values():
                old.close()
            readers.clear()
            readers[epoch] = reader
        return TapeSource(reader, warn, beyond)

    return source
