"""Which records the fold gets, from where: updates while they come, the tape and raw trades where they do not.

    joining    the journal is taken up, the market is not yet joined
    live       updates come; how far the tape has come is only watched, by the feeder's beats and by the tape itself
    degraded   updates are 2 s behind the tape, because they are silent or because they come too slowly: the fold
               goes on from raw trades, and only the trailing stop decides, until updates have reached the fold's place

Time is handed in (monotonic ns); the tape is behind `Source`. Nothing here knows a socket.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import msgspec
import numpy as np

from bus.frames import Frame
from bus.messages import Start
from bus.records import RECORD
from trader import inputs
from trader.recovery import missed
from trader.state import BLIND, DEGRADED, State

SILENT_NS = 2_000_000_000
CATCH_UP_NS = 2_000_000_000  # how long raw trades are held back for updates that are nearly there
NEARLY = 2_000  # records
BUFFER_FRAMES = 4_096  # of raw trades; older ones are read from the tape
BUFFER_BYTES = 8 * 1024 * 1024
STRETCH = 1_000

JOINING, LIVE, LAGGING = "joining", "live", "degraded"

_start_decoder = msgspec.msgpack.Decoder(Start)


class Stretch(NamedTuple):
    """Consecutive tape records; a START stands alone with its body."""

    first: int
    records: np.ndarray
    body: Start | None


class Source(Protocol):
    """A tape that can be read while it grows."""

    @property
    def first(self) -> int:
        """The first record that still exists."""

    def reaches(self, told: int) -> int:
        """The last record on the disk; -1 where there is none or it cannot be seen. It was told to reach `told`: files
        that are not known yet are only looked for where the known ones end before that."""

    def stretches(self, first: int, last: int) -> Iterator[Stretch]:
        """Records first..last, as far as they exist."""

    def start_before(self, number: int) -> tuple[int, Start] | None:
        """The latest START at or before record `number`: its number and body."""


class Follow:
    """Feeds one fold. `give` takes an input; `source(epoch)` is the tape of that epoch, None where there is none.

    `breathe()` is called now and then while the fold catches up.
    """

    def __init__(
        self,
        state: State,
        give: Callable[[inputs.Input], object],
        source: Callable[[int], Source | None],
        breathe: Callable[[], object] = lambda: None,
    ) -> None:
        self.mode = JOINING
        self.dropped = 0  # updates that were not newer than the fold
        self._state = state
        self._give = give
        self._source = source
        self._breathe = breathe
        self._raw: deque[Frame] = deque()
        self._raw_bytes = 0
        self._raw_epoch = 0
        self._raw_last = -1
        self._mark = 0  # the raw record that the fold must have reached within 2 s
        self._marked_ns: int | None = None  # since when; None where it has reached them all
        self._hold_until = 0

    @property
    def ahead(self) -> int:
        """Raw records that the fold has not seen yet."""
        if self._raw_epoch != self._state.epoch:
            return 0 if self._raw_last < 0 else self._raw_last + 1
        return max(0, self._raw_last - self._state.record)

    # --- updates ------------------------------------------------------------------------------------

    def updates_joined(self, epoch: int, next_number: int, now_ns: int) -> None:
        """Updates go on at `next_number` of tape `epoch`: what was missed before that is taken from the tape."""
        state = self._state
        if state.start is None:
            self._begin_book(epoch, next_number)
        elif self.mode == LAGGING and epoch == state.epoch:
            self.updates_lost(epoch, next_number - 1, now_ns)
            return
        else:
            self._bridge(epoch, next_number)
        if state.start is not None and state.epoch == epoch:
            self.mode = LIVE
            self._progress(now_ns)

    def updates_lost(self, epoch: int, last: int, now_ns: int) -> None:
        """Updates up to `last` will not come (indicators sent them while we were not connected): the tape has them."""
        state = self._state
        if self.mode == JOINING or epoch != state.epoch:
            return
        self._hole(last)
        if self.mode == LAGGING:
            self._caught_up(last, now_ns)
        else:
            self._progress(now_ns)

    def update_frame(self, frame: Frame, now_ns: int) -> None:
        """A frame of update/0/: what is not newer than the fold is dropped."""
        state = self._state
        if frame.epoch != state.epoch or self.mode == JOINING or state.start is None:
            if frame.body is not None and state.start is None:
                self._give(inputs.NewStart(frame.epoch, frame.first - 1, _start_decoder.decode(frame.body)))
            self.updates_joined(frame.epoch, frame.first, now_ns)
            if frame.epoch != state.epoch or state.start is None:
                return
        if frame.first > state.record + 1:
            self._hole(frame.first - 1)
        if self.mode == LAGGING and not self._caught_up(frame.last, now_ns):
            self.dropped += 1
            return
        if frame.last <= state.record:
            self.dropped += 1
            return
        if frame.body is not None:
            self._give(inputs.NewStart(frame.epoch, frame.first, _start_decoder.decode(frame.body)))
        else:
            self._give(inputs.Updates(frame.epoch, frame.last, frame.payload))
        self._progress(now_ns)

    def _begin_book(self, epoch: int, next_number: int) -> None:
        """A book without a past: the market as it is now, nothing before it."""
        source = self._source(epoch)
        found = None if source is None else source.start_before(next_number - 1)
        if found is not None:
            self._give(inputs.NewStart(epoch, next_number - 1, found[1]))

    def _bridge(self, epoch: int, next_number: int) -> None:
        """Takes blind what lies between the fold's place and the first live update.

        A tape that is not the fold's own and cannot be read is not joined: nobody would know whose its pairs are.
        """
        source = self._source(epoch)
        if source is None and epoch != self._state.epoch:
            return
        span = missed(self._state, epoch, next_number, 0 if source is None else source.first)
        if span is None:
            if self._state.span:
                self._give(inputs.SpanEnd())
            return
        self._give(inputs.SpanBegin(BLIND, span.epoch, span.first, span.last, span.why))
        if source is not None:
            if span.first:
                found = source.start_before(span.first)
                if found is not None and found[0] < span.first:
                    self._give(inputs.NewStart(epoch, found[0], found[1]))
            self._from_tape(source, span.first, span.last)
        self._give(inputs.SpanEnd())

    def _hole(self, last: int) -> None:
        """Updates skip records though we were there all the time: the trailing stop still looks at them."""
        state = self._state
        if last <= state.record:
            return
        if self.mode == LAGGING:
            self._raw_until(last)
            return
        self._give(inputs.SpanBegin(DEGRADED, state.epoch, state.record + 1, -1, "updates skipped records"))
        self._raw_until(last)
        self._give(inputs.SpanEnd())

    def _caught_up(self, last: int, now_ns: int) -> bool:
        """Whether updates have reached the fold's place: then the degraded span ends."""
        state = self._state
        if last >= state.record:
            self._give(inputs.SpanEnd())
            self.mode = LIVE
            self._progress(now_ns)
            return True
        if last >= state.record - NEARLY and not self._hold_until:
            self._hold_until = now_ns + CATCH_UP_NS
        return False

    def _progress(self, now_ns: int) -> None:
        self._hold_until = 0
        if not self.ahead:
            self._marked_ns = None
        elif self._raw_epoch != self._state.epoch or self._state.record >= self._mark:
            self._mark, self._marked_ns = self._raw_last, now_ns
        self._drop_taken()

    def _drop_taken(self) -> None:
        """Lets go of raw trades that the fold has."""
        while self._raw and self._raw[0].epoch == self._state.epoch and self._raw[0].last <= self._state.record:
            self._raw_bytes -= len(self._raw.popleft().payload)

    # --- raw trades ---------------------------------------------------------------------------------

    def raw_reached(self, epoch: int, last: int, now_ns: int) -> None:
        """The feeder has published up to record `last` of tape `epoch` (it may know only where its tape begins)."""
        self._reached(epoch, last)
        self._watch(now_ns)

    def raw_frame(self, frame: Frame, now_ns: int) -> None:
        """A frame of trade/0/: kept; in a degraded span the fold takes it at once."""
        self._reached(frame.epoch, frame.last)
        if frame.epoch != self._state.epoch or frame.last > self._state.record:
            self._raw.append(frame)
            self._raw_bytes += len(frame.payload)
        while self._raw_bytes > BUFFER_BYTES or len(self._raw) > BUFFER_FRAMES:
            self._raw_bytes -= len(self._raw.popleft().payload)
        self._watch(now_ns)

    def check(self, now_ns: int) -> None:
        """To be called some times a second: how far has the tape come, have updates fallen behind?"""
        epoch = self._state.epoch
        if self._state.start is not None and self._raw_epoch == epoch:  # else the feeder is at another tape by now
            source = self._source(epoch)
            if source is not None:
                self._reached(epoch, source.reaches(self._raw_last))
        self._watch(now_ns)

    def _reached(self, epoch: int, last: int) -> None:
        if epoch != self._raw_epoch:
            self._raw.clear()
            self._raw_bytes = 0
            self._raw_epoch, self._raw_last = epoch, -1
        self._raw_last = max(self._raw_last, last)

    def _watch(self, now_ns: int) -> None:
        state = self._state
        if state.start is None or not self.ahead:
            self._marked_ns = None
            return
        if self.mode == LAGGING:
            if now_ns >= self._hold_until:
                self._hold_until = 0
                self._raw_until(self._raw_last)
            return
        if self._marked_ns is None:
            self._mark, self._marked_ns = self._raw_last, now_ns
        if now_ns - self._marked_ns > SILENT_NS:
            self._degrade()

    def _degrade(self) -> None:
        """Updates do not keep up: go on from raw trades. What was missed before this process lived stays blind."""
        state = self._state
        if self.mode == JOINING or self._raw_epoch != state.epoch:
            self._bridge(self._raw_epoch, self._raw_last + 1)
            if self._raw_epoch != state.epoch:
                return
        why = "updates are 2 s behind the trades"
        self.mode = LAGGING
        self._give(inputs.SpanBegin(DEGRADED, state.epoch, state.record + 1, -1, why))
        self._hold_until = 0
        self._raw_until(self._raw_last)
        self._marked_ns = None

    def _raw_until(self, last: int) -> None:
        """Gives the fold raw records up to `last`: from memory where they follow on, else from the tape."""
        state = self._state
        if last <= state.record:
            return
        wanted = [f for f in self._raw if f.epoch == state.epoch and f.last > state.record and f.first <= last]
        if not wanted or wanted[0].first > state.record + 1 or wanted[-1].last < last:
            source = self._source(state.epoch)
            upto = wanted[0].first - 1 if wanted and wanted[-1].last >= last else last
            if source is not None:
                self._from_tape(source, state.record + 1, upto)
        for frame in wanted:
            self._breathe()
            if frame.last > state.record:
                self._raw_one(frame, last)
        self._drop_taken()

    def _raw_one(self, frame: Frame, last: int) -> None:
        if frame.body is not None:
            self._give(inputs.NewStart(frame.epoch, frame.first, _start_decoder.decode(frame.body)))
            return
        records = np.frombuffer(frame.payload, RECORD)[: last - frame.first + 1]
        self._give(inputs.Raws(frame.epoch, frame.first, records))

    def _from_tape(self, source: Source, first: int, last: int) -> None:
        for stretch in source.stretches(first, last):
            self._breathe()
            if stretch.body is not None:
                self._give(inputs.NewStart(self._state.epoch, stretch.first, stretch.body))
            else:
                self._give(inputs.Raws(self._state.epoch, stretch.first, stretch.records))
