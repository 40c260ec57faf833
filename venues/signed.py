"""Calls that are stamped with the venue's time and signed: the offset is measured, and measured anew when it is wrong.

* The offset is measured before the first call and again when it is `max_age_s` old; an exit does not wait for the
  second. Where a renewed measurement fails, the old one serves on: the call itself tells what is wrong with the venue.
* A call that is refused for its stamp was certainly not carried out: the offset is measured alone, without what was
  known before, and the call is built, signed and sent once more. A second refusal is the caller's.
* A change whose stamp was STALE_S old when it was refused is not sent once more: our process stood still meanwhile, and
  whoever asked for it has to decide anew.
* A call that had to wait for room in the limits is stamped and signed anew as it goes out.
* With `by_date`, the Date of every answer narrows the offset: for a venue that has no clock to ask.
"""

import threading
from collections.abc import Callable
from typing import Protocol

from core.clock import NS_PER_MS, NS_PER_S, Clock
from venues.call import Call, Reply
from venues.errors import RateLimited, Retry, Skewed
from venues.offset import Offset, Stamp

MAX_AGE_S = 300.0
AGAIN_S = 30.0  # after a measurement that failed
STALE_S = 4.0  # less than any venue's window for a stamp


class Sender(Protocol):
    """What sends: `venues.rest.RestClient`."""

    def send_blocking(self, call: Call, again: Callable[[], Call] | None = None) -> Reply: ...


class Signed:
    """Sends signed calls; safe to use from several threads.

    `measure` asks the venue for its time (and raises as any call); None for a venue that looks at no time.
    """

    def __init__(
        self,
        rest: Sender,
        clock: Clock,
        offset: Offset,
        measure: Callable[[], Stamp] | None = None,
        *,
        max_age_s: float = MAX_AGE_S,
        by_date: bool = False,
    ) -> None:
        self._rest = rest
        self._clock = clock
        self._offset = offset
        self._measure = measure
        self._max_age_ns = int(max_age_s * NS_PER_S)
        self._by_date = by_date
        self._due_ns: int | None = None  # monotonic; None: never measured
        self._lock = threading.Lock()  # guards the offset

    def send(self, build: Callable[[int], Call]) -> Reply:
        """`build` makes and signs the call for a time of the venue in ms; it may be called several times.

        Raises what `send_blocking` raises; Skewed after the second refusal.
        """
        self._keep_measured(build)
        built_ns, changes = 0, False

        def stamped(time_ms: int) -> Call:
            nonlocal built_ns, changes
            call = build(time_ms)
            built_ns, changes = self._clock.monotonic_ns(), call.changes
            return call

        try:
            return self._send(stamped)
        except Skewed:
            stale = changes and self._clock.monotonic_ns() - built_ns >= STALE_S * NS_PER_S
            self.measure_now(alone=True)
            if stale:
                raise
        return self._send(build)

    def time_ms(self) -> int:
        """The venue's clock now, as far as it is known."""
        with self._lock:
            return (self._clock.wall_ns() + self._offset.ns) // NS_PER_MS

    def measure_now(self, *, alone: bool = False) -> None:
        """Measures the offset; `alone`: what was known before is forgotten once there is an answer."""
        if self._measure is None:
            return
        stamp = self._measure()
        with self._lock:
            if alone:
                self._offset.forget()
            self._offset.measured(stamp)
            self._due_ns = self._clock.monotonic_ns() + self._max_age_ns

    def _send(self, build: Callable[[int], Call]) -> Reply:
        reply = self._rest.send_blocking(build(self.time_ms()), lambda: build(self.time_ms()))
        if self._by_date and reply.date_s is not None:
            with self._lock:
                self._offset.add(reply.sent_ns, reply.received_ns, reply.date_s)
        return reply

    def _keep_measured(self, build: Callable[[int], Call]) -> None:
        if self._measure is None:
            return
        now_ns = self._clock.monotonic_ns()
        if self._due_ns is None:
            self.measure_now()
        elif now_ns >= self._due_ns and not build(self.time_ms()).urgent:
            self._due_ns = now_ns + int(AGAIN_S * NS_PER_S)
            try:
                self.measure_now()
            except RateLimited:
                raise  # the call would not go out either
            except Retry:
                return  # the old offset serves on
