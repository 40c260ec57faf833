"""The venue's clock against ours, from stamps on its answers: a Date header (whole seconds) or a server time. Pure.

A stamp of second S on an answer says: somewhere between our sending and receiving, the venue's clock stood between S
and S+1. Each answer so bounds the offset from both sides, and the bounds of several answers meet well inside a
second. A server time in milliseconds does the same with narrower bounds. Where they contradict each other a clock was
set, and the newest answer counts alone. Old bounds widen a little with time, for drift.
"""

from typing import NamedTuple

from core.clock import NS_PER_MS, NS_PER_S

DRIFT_PER_NS = 100e-6  # 100 ppm: a poor crystal
GIVE_NS = 50_000_000  # what a server may be late in stamping
GIVE_PRECISE_NS = 2 * NS_PER_MS  # the same of one that was asked for its time


class Stamp(NamedTuple):
    """A server's answer to the question what time it is: our wall times of sending and receiving, and its time.

    `resolution_ns`: its clock stood between `venue_ns` and `venue_ns + resolution_ns`.
    """

    sent_ns: int
    received_ns: int
    venue_ns: int
    resolution_ns: int = NS_PER_MS


class Offset:
    """Bounds of venue clock minus our clock, in nanoseconds."""

    __slots__ = ("_doubted", "_high", "_low", "_seen_ns", "resets")

    def __init__(self) -> None:
        self._low: float | None = None
        self._high = 0.0
        self._seen_ns = 0
        self._doubted = False
        self.resets = -1  # how often the bounds began anew after the first time

    def add(self, sent_ns: int, received_ns: int, stamp_s: int) -> None:
        """One answer: our wall times of sending and receiving, and the venue's Date in whole seconds."""
        self._narrow(sent_ns, received_ns, stamp_s * NS_PER_S, NS_PER_S, GIVE_NS)

    def measured(self, stamp: Stamp) -> None:
        """One answer to the question what time it is."""
        give_ns = GIVE_NS if stamp.resolution_ns >= NS_PER_S else GIVE_PRECISE_NS
        self._narrow(stamp.sent_ns, stamp.received_ns, stamp.venue_ns, stamp.resolution_ns, give_ns)

    def forget(self) -> None:
        """What is known is doubted: the next answer counts alone, and our clock is not taken for right any more."""
        self._low = None
        self._doubted = True

    def _narrow(self, sent_ns: int, received_ns: int, venue_ns: int, resolution_ns: int, give_ns: int) -> None:
        low = float(venue_ns - received_ns - give_ns)
        high = float(venue_ns + resolution_ns - sent_ns + give_ns)
        if self._low is not None:
            wider = max(0, received_ns - self._seen_ns) * DRIFT_PER_NS
            new_low, new_high = max(low, self._low - wider), min(high, self._high + wider)
            if new_low <= new_high:
                self._low, self._high, self._seen_ns = new_low, new_high, received_ns
                return
        self._low, self._high, self._seen_ns = low, high, received_ns
        self.resets += 1

    @property
    def known(self) -> bool:
        return self._low is not None

    @property
    def ns(self) -> int:
        """The middle of the bounds; 0 before the first answer, and where it lies within: most clocks are right.

        Not that of one who was refused for its time: over a slow line 0 lies within wide bounds all the same.
        """
        if self._low is None or (self._low <= 0 <= self._high and not self._doubted):
            return 0
        return int((self._low + self._high) / 2)
