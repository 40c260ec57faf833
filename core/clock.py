"""The only place that asks the machine for the time.

Everything that needs the time is handed a clock: the live one, or in tests and replays one that moves only when told.
Wall time is nanoseconds or milliseconds since 1970 UTC; monotonic time only makes sense as a difference.
"""

import time
from pathlib import Path
from typing import Protocol

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Clock(Protocol):
    """What a clock can be asked."""

    def wall_ns(self) -> int: ...

    def wall_ms(self) -> int: ...

    def monotonic_ns(self) -> int: ...


class LiveClock:
    """The machine's clock."""

    __slots__ = ()

    # The library's own functions: each trade asks a dozen times.
    wall_ns = staticmethod(time.time_ns)
    monotonic_ns = staticmethod(time.monotonic_ns)

    def wall_ms(self) -> int:
        return time.time_ns() // NS_PER_MS


class ManualClock:
    """A clock that stands still until `advance` moves it."""

    __slots__ = ("_monotonic_ns", "_wall_ns")

    def __init__(self, wall_ns: int = 1_700_000_000 * NS_PER_S, monotonic_ns: int = NS_PER_S) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns

    def wall_ns(self) -> int:
        return self._wall_ns

    def wall_ms(self) -> int:
        return self._wall_ns // NS_PER_MS

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def advance(self, ns: int) -> None:
        """Moves both times on by `ns` nanoseconds."""
        if ns < 0:
            raise ValueError(f"a clock does not go back: advance({ns})")
        self._wall_ns += ns
        self._monotonic_ns += ns

    def set_wall_ns(self, wall_ns: int) -> None:
        """Sets wall time alone, as a step of the machine's clock would."""
        self._wall_ns = wall_ns


def standing_ns(clock: Clock) -> int:
    """Wall time less monotonic time: it moves where the wall clock is set."""
    return clock.wall_ns() - clock.monotonic_ns()


def sleep(seconds: float) -> None:
    """Blocks this thread; stages with a loop use its timers instead."""
    time.sleep(seconds)


def boot_id() -> str:
    """Which run of this machine it is, as monotonic times are of one; empty where the system does not say."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def iso_utc(ms: int) -> str:
    """Milliseconds since 1970 as `2026-11-22T13:38:40.123Z`."""
    seconds, rest = divmod(ms, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:03d}Z"


def stamp_utc(ms: int) -> str:
    """Milliseconds since 1970 as `20261122T133840Z`, for the names of files."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(ms // 1000))
