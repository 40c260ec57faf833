"""Latencies over the last minute and the last hour at the price of one append a record.

Values are microseconds. There are 32 buckets for each doubling, so that a percentile is off by at most 1.1 % (and the
fiftieth part of a microsecond); only buckets that hold something are kept. Each window is six slices of time, the
oldest forgotten whole: the minute is the last 50 to 60 seconds, the hour the last 50 to 60 minutes up to the minute's
newest whole slice. What was recorded is sorted in when somebody asks, as the heartbeat does each second.
"""

import sys
from array import array
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Mapping
from itertools import accumulate
from math import log2
from typing import NamedTuple

from core.clock import NS_PER_S, Clock, LiveClock

SUB = 32
SLICES = 6
MINUTE_SLICE_NS = 10 * NS_PER_S
HOUR_SLICE_NS = 600 * NS_PER_S
FRESH_MAX = 4_000  # records not yet sorted in: more than come between two heartbeats, else a trade waits for it
NUMPY_FROM = 64  # records


def bucket_of(us: float) -> int:
    """The bucket of a number of microseconds; a negative one (a clock step) counts as 0."""
    return int(SUB * log2(us + 1.0)) if us > 0 else 0


def bucket_middle(index: int) -> float:
    """A value in the middle of the bucket, in microseconds."""
    return float(2.0 ** ((index + 0.5) / SUB)) - 1.0


class Window(NamedTuple):
    """What a window holds: how many, and in microseconds what half and 99 % do not exceed, and the longest."""

    samples: int
    p50: float
    p99: float
    max: float


EMPTY = Window(0, 0.0, 0.0, 0.0)


class _Slices:
    """Counts by bucket over the last SLICES slices of time; the newest is still filling."""

    __slots__ = ("_slice_ns", "_slices", "_turned_ns", "counts")

    def __init__(self, slice_ns: int, now_ns: int) -> None:
        self.counts: dict[int, int] = {}  # of all slices together
        self._slice_ns = slice_ns
        self._slices: deque[dict[int, int]] = deque([{}])
        self._turned_ns = now_ns

    @property
    def newest(self) -> dict[int, int]:
        return self._slices[-1]

    def add(self, found: Mapping[int, int]) -> None:
        for counts in (self.newest, self.counts):
            for index, count in found.items():
                counts[index] = counts.get(index, 0) + count

    def turn(self, now_ns: int) -> bool:
        """Begins a new slice where the newest one's time is over; whether it did."""
        passed = (now_ns - self._turned_ns) // self._slice_ns
        if passed <= 0:
            return False
        self._turned_ns += passed * self._slice_ns
        for _ in range(min(passed, SLICES)):
            self._slices.append({})
            if len(self._slices) > SLICES:
                self._forget(self._slices.popleft())
        return True

    def _forget(self, oldest: Mapping[int, int]) -> None:
        counts = self.counts
        for index, count in oldest.items():
            left = counts[index] - count
            if left:
                counts[index] = left
            else:
                del counts[index]


class Histogram:
    """Counts latencies; tells of the last minute and the last hour."""

    __slots__ = ("_clock", "_hour", "_hour_told", "_minute", "_minute_told", "fresh")

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or LiveClock()
        self.fresh = array("d")  # not yet sorted in
        now_ns = self._clock.monotonic_ns()
        self._minute = _Slices(MINUTE_SLICE_NS, now_ns)
        self._hour = _Slices(HOUR_SLICE_NS, now_ns)
        self._minute_told: Window | None = EMPTY  # None: to be worked out anew
        self._hour_told: Window | None = EMPTY

    def record(self, us: float) -> None:
        """Counts one latency; a negative one (a clock step) counts as 0."""
        fresh = self.fresh
        fresh.append(us)
        if len(fresh) >= FRESH_MAX:
            self.sort_in()

    def minute(self) -> Window:
        """The last minute."""
        self._settle()
        if self._minute_told is None:
            self._minute_told = _told(self._minute.counts)
        return self._minute_told

    def hour(self) -> Window:
        """The last hour; a latency is counted in it up to 10 s after it was recorded."""
        self._settle()
        if self._hour_told is None:
            self._hour_told = _told(self._hour.counts)
        return self._hour_told

    def sort_in(self) -> None:
        """Sorts in what is fresh: at FRESH_MAX by who appends to it himself, which spares a call for each latency."""
        self._minute.add(_counted(self.fresh))
        del self.fresh[:]
        self._minute_told = None

    def _settle(self) -> None:
        now_ns = self._clock.monotonic_ns()
        closing = self._minute.newest
        if self._minute.turn(now_ns):
            self._hour.add(closing)
            self._hour.turn(now_ns)
            self._minute_told = self._hour_told = None
        if self.fresh:
            self.sort_in()


def _counted(values: "array[float]") -> Mapping[int, int]:
    """How many values each bucket gets; by numpy, at a tenth of the cost, in a process that has loaded it anyway."""
    numpy = sys.modules.get("numpy")
    if numpy is None or len(values) < NUMPY_FROM:
        return Counter(map(bucket_of, values))
    buckets = SUB * numpy.log2(numpy.maximum(numpy.frombuffer(values), 0.0) + 1.0)
    counts = numpy.bincount(buckets.astype(numpy.int64))
    indices = counts.nonzero()[0]
    return dict(zip(indices.tolist(), counts[indices].tolist(), strict=True))


def _told(counts: Mapping[int, int]) -> Window:
    if not counts:
        return EMPTY
    indices = sorted(counts)
    upto = list(accumulate(map(counts.__getitem__, indices)))
    total = upto[-1]
    half, most = (indices[bisect_left(upto, _rank(p, total))] for p in (50, 99))
    return Window(total, bucket_middle(half), bucket_middle(most), bucket_middle(indices[-1]))


def _rank(p: int, total: int) -> int:
    """Nearest rank: which of `total` sorted values is the p-th percentile, counted from 1."""
    return max(1, -(-p * total // 100))
