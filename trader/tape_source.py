"""The tape as `follow` wants it: stretches of records by number, read while the feeder appends."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from bus.messages import Start
from bus.tape import TapeError, TapeReader
from trader.follow import Stretch

READ_AT_ONCE = 10_000

_start_decoder = msgspec.msgpack.Decoder(Start)


class TapeSource:
    """One epoch of the tape. `warn` is told what cannot be read; what can be is given all the same."""

    def __init__(self, reader: TapeReader, warn: Callable[[str], object]) -> None:
        self._reader = reader
        self._warn = warn

    @property
    def first(self) -> int:
        """The first record that still exists."""
        return self._reader.first

    def stretches(self, first: int, last: int) -> Iterator[Stretch]:
        """Records first..last, as far as they exist; a START stands alone with its body."""
        number = first
        try:
            while number <= last:
                records, body = self._reader.read(number, min(READ_AT_ONCE, last - number + 1))
                if not len(records):
                    following = self._reader.following(number)
                    if following is None:
                        return
                    number = following
                    continue
                yield Stretch(number, records, None if body is None else _start_decoder.decode(body))
                number += len(records)
        except (TapeError, OSError) as error:
            self._warn(f"records {number} to {last} of the tape cannot be read: {error}")

    def start_before(self, number: int) -> tuple[int, Start] | None:
        """The pair table in force at record `number`, with the number it stands since."""
        found: tuple[int, Start] | None = None
        try:
            for first, body in self._reader.bodies():
                if first > number and found is not None:
                    break
                found = (first, body)
        except (TapeError, OSError) as error:
            self._warn(f"the tape's segments cannot be read: {error}")
        return found


def tape_sources(folder: Path, warn: Callable[[str], object]) -> Callable[[int], TapeSource | None]:
    """`source(epoch)` over the book's tape folder; the readers stay open."""
    readers: dict[int, TapeReader] = {}

    def source(epoch: int) -> TapeSource | None:
        reader = readers.get(epoch)
        if reader is None:
            if not (folder / str(epoch)).is_dir():
                return None
            for old in readers.values():
                old.close()
            readers.clear()
            reader = readers[epoch] = TapeReader(folder, epoch)
        return TapeSource(reader, warn)

    return source
