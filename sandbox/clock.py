"""The sandbox's market clock: real time, or recorded time at a speed.

Market time is ms since 1970 UTC and never goes back. A real clock cannot be held; a recorded one can, and then the
whole market waits, so that no trade is lost to a client that is slow at 1000x.
"""

from typing import Protocol

from core.clock import Clock

NS_PER_MS = 1_000_000


class MarketClock(Protocol):
    """What the exchange asks for the time."""

    @property
    def speed(self) -> float: ...

    def now_ms(self) -> int: ...

    def join(self) -> bool:
        """A client joined a trade channel; True where that is what starts the market."""

    def hold(self) -> None:
        """Market time stands still until `release`, where that is possible."""

    def release(self) -> None: ...


class RealClock:
    """The machine's time; where that is set back, market time stands still until it is caught up."""

    speed = 1.0

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest_ms = 0

    def now_ms(self) -> int:
        self._latest_ms = max(self._latest_ms, self._clock.wall_ms())
        return self._latest_ms

    def join(self) -> bool:
        return False

    def hold(self) -> None:
        """Real time waits for nobody."""

    def release(self) -> None:
        """Nothing was held."""


class TapeClock:
    """Recorded time: stands at `at_ms` until the first join, runs at `speed` to `end_ms` and stands there for ever.

    `ran_ns` is how long (wall time) it has been running already, for a market that went on while the sandbox was down.
    """

    def __init__(self, clock: Clock, at_ms: int, end_ms: int, speed: float, ran_ns: int | None = None) -> None:
        self._clock = clock
        self._at_ms = at_ms
        self._end_ms = end_ms
        self.speed = speed
        self._held = False
        self._since_ns = None if ran_ns is None else clock.monotonic_ns() - ran_ns

    @property
    def started(self) -> bool:
        return self._since_ns is not None or self._held

    @property
    def ended(self) -> bool:
        return self.started and self.now_ms() >= self._end_ms

    def now_ms(self) -> int:
        if self._since_ns is None:
            return self._at_ms
        ran_ns = max(0, self._clock.monotonic_ns() - self._since_ns)
        return min(self._end_ms, self._at_ms + int(ran_ns * self.speed / NS_PER_MS))

    def join(self) -> bool:
        if self.started:
            return False
        self._since_ns = self._clock.monotonic_ns()
        return True

    def hold(self) -> None:
        if self._since_ns is not None:
            self._at_ms, self._since_ns, self._held = self.now_ms(), None, True

    def release(self) -> None:
        if self._held:
            self._since_ns, self._held = self._clock.monotonic_ns(), False
