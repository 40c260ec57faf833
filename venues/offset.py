"""How far the venue's clock is from ours, from stamps in whole seconds (HTTP Date). Pure.

A stamp of second S on an answer says: somewhere between our sending and receiving, the venue's clock stood between S
and S+1. Each answer so bounds the offset from both sides, and the bounds of several answers meet well inside a
second. Where they contradict each other a clock was set, and the newest answer counts alone. Old bounds widen a
little with time, for drift.
"""

from core.clock import NS_PER_S

DRIFT_PER_NS = 100e-6  # 100 ppm: a poor crystal
GIVE_NS = 50_000_000  # what a server may be late in stamping


class Offset:
    """Bounds of venue clock minus our clock, in nanoseconds."""

    __slots__ = ("_high", "_low", "_seen_ns", "resets")

    def __init__(self) -> None:
        self._low: float | None = None
        self._high = 0.0
        self._seen_ns = 0
        self.resets = -1  # how often the bounds began anew after the first time

    def add(self, sent_ns: int, received_ns: int, stamp_s: int) -> None:
        """One answer: our wall times of sending and receiving, and the venue's stamp."""
        low = float(stamp_s * NS_PER_S - received_ns - GIVE_NS)
        high = float((stamp_s + 1) * NS_PER_S - sent_ns + GIVE_NS)
        if self._low is not None:
            wider = max(0, received_ns - self._seen_ns) * DRIFT_PER_NS
            new_low, new_high = max(low, self._low - wider), min(high, self._high + wider)
            if new_low <= new_high:
                self._low, self._high, self._seen_ns = new_low, new_high, received_ns
                return
        self._low, self._high, self._seen_ns = low, high, received_ns
        self.resets += 1

    @property
    def ns(self) -> int:
        """The middle of the bounds; 0 before the first answer, and where it lies within: most clocks are right."""
        if self._low is None or self._low <= 0 <= self._high:
            return 0
        return int((self._low + self._high) / 2)
