"""A token bucket: how long to wait so that no more than so many requests go out in a stretch of time. Pure."""


class Bucket:
    """`rate` requests a second on average, `burst` at once. Times are monotonic nanoseconds."""

    __slots__ = ("_at_ns", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at_ns = 0

    def take(self, now_ns: int) -> float:
        """Books one request and answers the seconds to wait before it is sent (0 where it may go at once)."""
        if self._at_ns:
            self._tokens = min(self._burst, self._tokens + (now_ns - self._at_ns) * self._rate / 1e9)
        self._at_ns = now_ns
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate)
