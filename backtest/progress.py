"""How far a long run is: one line on stderr.

* On a terminal the line is written over itself, at most five times a second, from SOON_S on.
* Elsewhere there is a line each EVERY_LINE_S, from LONG_S on: a log of a short run stays empty.
* Nothing is written of a total that is not known but how long it takes.
"""

from collections.abc import Iterator
from typing import TextIO

from backtest.chunks import Chunk, Source
from core.clock import NS_PER_S, Clock

SOON_S, EVERY_S = 0.5, 0.2
LONG_S, EVERY_LINE_S = 2.0, 10.0
WIDTH = 30  # letters of the bar
CLEAR = "\r\x1b[K"


class Progress:
    """The line of one run; use it in a `with`, which clears it at the end."""

    def __init__(self, what: str, total: int | None, clock: Clock, stream: TextIO, begun: int = 0) -> None:
        """`begun`: how much of the total was done before, which says nothing of how long the rest takes."""
        self._what = what
        self._total = total
        self._begun = begun
        self._clock = clock
        self._stream = stream
        self._terminal = stream.isatty()
        self._begun_ns = clock.monotonic_ns()
        self._due_s = SOON_S if self._terminal else LONG_S
        self._shown = False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        if self._shown and self._terminal:
            self._stream.write(CLEAR)
            self._stream.flush()

    def say(self, text: str) -> None:
        """Writes a line of its own."""
        self._stream.write(f"{CLEAR if self._shown and self._terminal else ''}{text}\n")
        self._stream.flush()

    def update(self, done: int, more: str = "") -> None:
        """Tell how much of the total is done, and what else there is to say; writes where it is due."""
        passed_s = (self._clock.monotonic_ns() - self._begun_ns) / NS_PER_S
        if passed_s < self._due_s:
            return
        self._due_s = passed_s + (EVERY_S if self._terminal else EVERY_LINE_S)
        text = line(self._what, done, self._total, passed_s, bar=self._terminal, begun=self._begun)
        text += f"; {more}" if more else ""
        self._stream.write(f"{CLEAR}{text}" if self._terminal else f"{text}\n")
        self._stream.flush()
        self._shown = True


def line(what: str, done: int, total: int | None, passed_s: float, *, bar: bool, begun: int = 0) -> str:
    """What is shown after `passed_s` seconds; the time left as if it went on as since `begun`."""
    if not total:
        return f"{what}: {duration(passed_s)}"
    share = min(max(done / total, 0.0), 1.0)
    full = int(WIDTH * share)
    drawn = f" [{'#' * full}{'.' * (WIDTH - full)}]" if bar else ""
    left = f", {duration(passed_s * max(0, total - done) / (done - begun))} left" if done > begun else ""
    return f"{what}:{drawn} {int(100 * share)} %{left}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 5 s, 2 min 05 s, 1 h 07 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Watched:
    """A source that tells its progress as it is read."""

    def __init__(self, source: Source, progress: Progress) -> None:
        self._source = source
        self._progress = progress
        self.start = source.start
        self.connected = source.connected
        self.notes = source.notes
        self.total = source.total

    @property
    def done(self) -> int:
        """How much of the total was read."""
        return self._source.done

    def chunks(self) -> Iterator[Chunk]:
        """The chunks of the source."""
        for chunk in self._source.chunks():
            self._progress.update(self._source.done)
            yield chunk
