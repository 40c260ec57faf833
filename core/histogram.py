"""Latency percentiles over the last minute at the price of one list increment a record.

Values are microseconds. Buckets are log-linear: exact below 128, then 64 buckets for each doubling, so that a
percentile is off by at most 1.6 %. Two halves of 30 s take turns; the older one is forgotten whole.
"""

from core.clock import NS_PER_S, Clock, LiveClock

SUB_BITS = 6
SUB = 1 << SUB_BITS
MAX_BITS = 36  # 2**36 us are 19 hours: everything above is counted there
BUCKETS = (MAX_BITS - SUB_BITS + 1) * SUB
HALF_WINDOW_NS = 30 * NS_PER_S


def bucket_of(us: int) -> int:
    """The bucket of a whole number of microseconds, 0 or more."""
    shift = us.bit_length() - SUB_BITS - 1
    if shift <= 0:
        return us
    return min((shift << SUB_BITS) + (us >> shift), BUCKETS - 1)


def bucket_middle(index: int) -> float:
    """A value in the middle of the bucket, in microseconds."""
    if index < 2 * SUB:
        return float(index)
    shift = (index >> SUB_BITS) - 1
    low = (index - (shift << SUB_BITS)) << shift
    return low + ((1 << shift) - 1) / 2.0


class Histogram:
    """Counts latencies and answers percentiles of the last 30 to 60 seconds."""

    __slots__ = ("_clock", "_current", "_previous", "_turned_ns")

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or LiveClock()
        self._current = [0] * BUCKETS
        self._previous = [0] * BUCKETS
        self._turned_ns = self._clock.monotonic_ns()

    def record(self, us: float) -> None:
        """Counts one latency; a negative one (a clock step) counts as 0."""
        self._current[bucket_of(int(us)) if us > 0 else 0] += 1

    def percentile(self, p: float) -> float:
        """The latency that `p` per cent (0 to 100) do not exceed; 0.0 where nothing was counted."""
        return self.percentiles((p,))[0]

    def percentiles(self, ps: tuple[float, ...]) -> tuple[float, ...]:
        """As `percentile`, for several in one pass; `ps` ascending."""
        self._turn()
        counts = [a + b for a, b in zip(self._current, self._previous, strict=True)]
        total = sum(counts)
        if total == 0:
            return tuple(0.0 for _ in ps)
        answers: list[float] = []
        seen = 0
        wanted = iter(ps)
        rank = _rank(next(wanted), total)
        for index, count in enumerate(counts):
            seen += count
            while count and seen >= rank:
                answers.append(bucket_middle(index))
                following = next(wanted, None)
                if following is None:
                    return tuple(answers)
                rank = _rank(following, total)
        raise ValueError(f"percentiles must ascend from 0 to 100: {ps}")

    def count(self) -> int:
        """How many latencies the window holds."""
        self._turn()
        return sum(self._current) + sum(self._previous)

    def _turn(self) -> None:
        """Forgets the older half when its time is over."""
        elapsed = self._clock.monotonic_ns() - self._turned_ns
        if elapsed < HALF_WINDOW_NS:
            return
        self._previous = self._current if elapsed < 2 * HALF_WINDOW_NS else [0] * BUCKETS
        self._current = [0] * BUCKETS
        self._turned_ns += elapsed


def _rank(p: float, total: int) -> int:
    """Nearest rank: which of `total` sorted values is the p-th percentile, counted from 1."""
    return max(1, -int(-p * total // 100))
