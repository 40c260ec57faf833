"""How long a frame took through a stage, told by the stamps that it carries.

A frame is timed by its first record, which has waited longest, and only where that is a trade that came by the live
way: what is told again (a replay has no publication time, BACKFILL no arrival) or is no trade (START, candles) says
nothing about speed. What is older than a minute was not slow: it was waited for, and the wait is told as an event. A
wall clock that was set back between two stamps makes a latency of 0.
"""

import struct

from bus.frames import Frame
from bus.layouts import BACKFILL, RECORD_FIELDS, TRADE
from core.clock import NS_PER_S, Clock
from core.histogram import FRESH_MAX
from core.spans import Spans

OLDEST_NS = 60 * NS_PER_S

# kind, flags and received_ns: RECORD and UPDATE begin with the same fields
_HEAD = struct.Struct("<BxH12xq")
assert [name for name, _ in RECORD_FIELDS[:6]] == ["kind", "side", "flags", "pair", "exchange_ns", "received_ns"]


def published_ns(frame: Frame, clock: Clock) -> int:
    """When the frame was published, in monotonic ns; now, where it is told again or the wall clock was set since."""
    now_ns = clock.monotonic_ns()
    waited_ns = clock.wall_ns() - frame.publish_ns
    return now_ns - waited_ns if frame.publish_ns and 0 <= waited_ns <= OLDEST_NS else now_ns


def live_since(frame: Frame) -> int:
    """When the frame's first trade arrived at the feeder's socket (wall ns); 0 where it begins with no live trade."""
    if not frame.publish_ns or frame.body is not None or len(frame.payload) < _HEAD.size:
        return 0
    kind, flags, received_ns = _HEAD.unpack_from(frame.payload)
    return received_ns if kind == TRADE and not flags & BACKFILL else 0


class Passage:
    """Records three spans of a stage for each frame: the way to it, its own work, and all since the trade's arrival."""

    __slots__ = ("_clock", "_histograms", "_way", "_whole", "_work")

    def __init__(self, clock: Clock, spans: Spans, way: str, work: str, whole: str) -> None:
        self._clock = clock
        self._histograms = spans.of(way), spans.of(work), spans.of(whole)
        self._way, self._work, self._whole = [histogram.fresh.append for histogram in self._histograms]

    def done(self, frame: Frame, arrived_ns: int) -> None:
        """The stage is through with a frame that it took in at `arrived_ns` (monotonic)."""
        received_ns = live_since(frame)
        if not received_ns:
            return
        wall_ns = self._clock.wall_ns()
        if wall_ns - received_ns > OLDEST_NS:
            return
        worked_ns = self._clock.monotonic_ns() - arrived_ns
        self._way((wall_ns - worked_ns - frame.publish_ns) / 1000)
        self._work(worked_ns / 1000)
        self._whole((wall_ns - received_ns) / 1000)
        if len(self._histograms[0].fresh) >= FRESH_MAX:
            for histogram in self._histograms:
                histogram.sort_in()
