"""On which processors a stage runs: those on a trade's way on one and the same, the others beside it.

A trade goes through three processes, and each of them wakes the next. Left to itself the kernel wakes it on another
processor where one is idle: that has to be woken too, and has nothing of the trade in its caches. On one processor a
trade is decided on in two thirds of the time, and also where others keep all processors busy; idle, the bot takes a
tenth less (`make bench BENCH="hops cpu"`). The processors are the ones that the process was given (taskset, cpuset).

* together: stages on a trade's way keep to the last processor once they had little to do in CALM_LOOKS looks
* beside: the others then keep to the rest
* rush: who gets behind with what the bus brings runs everywhere again, at once
* busy: who uses more than MUCH of a processor runs everywhere
* held_up: who waits for a processor for more than HELD_UP of the time runs everywhere, for HELD_UP_S at least
* helpers: threads that were started before (those that talk to the venue) stay where they are; all that were started
  meanwhile run everywhere again with the stage
* one_processor: nothing happens where there is one, or where the kernel does not tell how long was waited
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from core.clock import NS_PER_S, Clock
from core.loop import Loop

LOOK_S = 1.0
CALM_LOOKS = 2
LITTLE, MUCH = 0.15, 0.3
HELD_UP, HELD_UP_S = 0.5, 60.0
_TASKS = Path("/proc/self/task")
_SCHEDSTAT = Path("/proc/self/schedstat")
_IO_THREADS = "ZMQbg"


class Share(NamedTuple):
    """Of the time since the last look, the part that the main thread ran and the part that it waited to run."""

    used: float
    waited: float


class Placing:
    """Decides whether a stage is `kept` to its processors. Times are monotonic nanoseconds."""

    def __init__(self) -> None:
        self.kept = False
        self._calm = 0
        self._held_up_until_ns = 0

    def look(self, share: Share, now_ns: int) -> None:
        """Takes what the last second was like."""
        if self.kept and share.waited > HELD_UP:
            self._held_up_until_ns = now_ns + int(HELD_UP_S * NS_PER_S)
            self.rush()
        elif share.used > MUCH:
            self.rush()
        elif share.used > LITTLE:
            self._calm = 0
        else:
            self._calm += 1
            self.kept = self.kept or (self._calm >= CALM_LOOKS and now_ns >= self._held_up_until_ns)

    def rush(self) -> None:
        """There is more to do than there is time on one processor."""
        self.kept, self._calm = False, 0


def processors(given: frozenset[int], *, together: bool) -> frozenset[int]:
    """Where a stage is kept: the last of `given`, or the others; empty where there are no two."""
    if len(given) < 2:
        return frozenset()
    last = frozenset({max(given)})
    return last if together else given - last


def possible() -> bool:
    """Whether this machine has processors to choose from, and tells how long was waited for one."""
    if len(os.sched_getaffinity(0)) < 2 or not _SCHEDSTAT.exists():
        return False
    used, *_ = _SCHEDSTAT.read_text().split()
    return int(used) > 0  # a kernel that does not count says nought


def keep_placed(loop: Loop, clock: Clock, *, together: bool) -> Callable[[], object]:
    """Looks at the process once a second from now on, and places its threads.

    What it returns ends that: the threads run everywhere again.
    """
    if not possible():
        return lambda: None
    placement = _Placement(clock, together)
    timer = loop.every(LOOK_S, placement.look)
    loop.rush = placement.rush

    def end() -> None:
        timer.cancel()
        loop.rush = lambda: None
        placement.end()

    return end


class _Placement:
    def __init__(self, clock: Clock, together: bool) -> None:
        self._clock = clock
        self._given = frozenset(os.sched_getaffinity(0))
        self._own = processors(self._given, together=together)
        self._placing = Placing()
        self._kept = False
        self._file = os.open(_SCHEDSTAT, os.O_RDONLY | os.O_CLOEXEC)
        self._before = self._read()

    def look(self) -> None:
        before, now = self._before, self._read()
        self._before = now
        passed_ns = max(1, now[2] - before[2])
        share = Share((now[0] - before[0]) / passed_ns, (now[1] - before[1]) / passed_ns)
        self._placing.look(share, now[2])
        self._place()

    def rush(self) -> None:
        self._placing.rush()
        self._place()

    def end(self) -> None:
        self.rush()
        os.close(self._file)

    def _read(self) -> tuple[int, int, int]:
        """Nanoseconds that this thread ran, that it waited to run, and the time."""
        used, waited, *_ = os.pread(self._file, 100, 0).split()
        return int(used), int(waited), self._clock.monotonic_ns()

    def _place(self) -> None:
        if self._placing.kept != self._kept:
            self._kept = self._placing.kept
            for thread in threads(helpers=not self._kept):  # those begun meanwhile were kept, too
                run_on(thread, self._own if self._kept else self._given)


def threads(*, helpers: bool = False) -> list[int]:
    """This process's main thread and those of zmq; with `helpers` all others."""
    found = [os.getpid()]
    for task in _TASKS.iterdir():
        try:
            name = (task / "comm").read_text()
        except OSError:  # it ended
            continue
        if name.startswith(_IO_THREADS) or (helpers and int(task.name) != found[0]):
            found.append(int(task.name))
    return found


def run_on(thread: int, cpus: frozenset[int]) -> None:
    """Has a thread run on these processors; it stays where it is when it ended, or when they are gone."""
    with contextlib.suppress(OSError):
        os.sched_setaffinity(thread, cpus)
