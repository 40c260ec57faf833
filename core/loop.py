"""The loop of a blocking stage: readers, timers and signals on one thread.

A reader's callback takes what is there without blocking and returns True when it stopped at its bound with more
waiting: then it is called again before the loop blocks. That is what zmq needs, whose descriptors tell of a change only
once. An exception in a callback ends `run` with it: a stage that cannot go on crashes and is started again. Where more
was waiting RUSH_TURNS times in a row, `rush` is called.

Work that can wait (`every`, `aside`) makes way for what comes in. At a steady pace the next thing is farthest away
right after the last; but then others still need the processor for it, which the kernel does not take from us at once:

* a piece that is due waits for a pause: PAUSE_S in which nothing comes
* one piece in a pause, so that pieces do not add up
* where there is no pause a period's piece runs a quarter of the period too late, at most LONGEST_PATIENCE_S, one that
  was put aside ASIDE_PATIENCE_S
* quiet: where nothing came for QUIET_NS pieces run one after the other until something comes, a period's also as much
  too early as they might be too late: a wake of its own costs more than most of them

A stage beside the hot path has nothing to make way for: it never wakes to see whether there is a pause.
"""

import contextlib
import heapq
import os
import select
import signal
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Protocol

from core.clock import NS_PER_S, Clock, LiveClock

Reader = Callable[[], bool | None]
PAUSE_S = 0.0002
LONGEST_PATIENCE_S = 0.02
ASIDE_PATIENCE_S = 0.005
QUIET_NS = 5_000_000
RUSH_TURNS = 16
NEVER = 1 << 62
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Timer:
    """A callback to come; `cancel()` takes it back."""

    __slots__ = ("callback", "cancelled", "due_ns", "every_ns", "patience_ns")

    def __init__(self, callback: Callable[[], object], due_ns: int, every_ns: int = 0, patience_ns: int = 0) -> None:
        self.callback = callback
        self.due_ns = due_ns
        self.every_ns = every_ns
        self.patience_ns = patience_ns
        self.cancelled = False

    @property
    def from_ns(self) -> int:
        """When it may run at the earliest."""
        return self.due_ns - self.patience_ns

    def cancel(self) -> None:
        self.cancelled = True


class Cancellable(Protocol):
    """What `every`, `aside` and `call_later` return, whichever loop it is."""

    def cancel(self) -> None: ...


class Loop(Protocol):
    """What both drivers offer: the blocking one here and the one over asyncio in `core.aloop`."""

    rush: Callable[[], object]

    def add_reader(self, fd: int, callback: Reader) -> None: ...

    def remove_reader(self, fd: int) -> None: ...

    def every(self, seconds: float, callback: Callable[[], object]) -> Cancellable: ...

    def aside(self, callback: Callable[[], object]) -> Cancellable: ...

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Cancellable: ...

    def call_threadsafe(self, callback: Callable[[], object]) -> None: ...

    def stop(self) -> None: ...


class PollLoop:
    """Polls readers and runs timers until `stop`; with `in_pauses`, what can wait makes way for what comes in."""

    def __init__(self, clock: Clock | None = None, *, in_pauses: bool = True) -> None:
        self._clock = clock or LiveClock()
        self._in_pauses = in_pauses
        self._poll = select.poll()
        self._readers: dict[int, Reader] = {}
        self._again: dict[int, Reader] = {}  # readers that said that more is waiting
        self._timers: list[tuple[int, int, Timer]] = []  # by when they run
        self._patient: list[tuple[int, int, Timer]] = []  # by when they run at the latest
        self._order = count()
        self._from_threads: deque[Callable[[], object]] = deque()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll.register(self._wake_read, select.POLLIN)
        # Periods come together from the second time on: those of all stages beside the hot path, and of one on it.
        self._grid_ns = self._clock.monotonic_ns() if in_pauses else 0
        self._came_ns = 0  # when something was last read
        self._behind = 0  # turns in a row that left something waiting
        self._soonest_ns = NEVER  # before it no timer may run while things come
        self._until_ns = NEVER  # how long nothing has to be done
        self.rush: Callable[[], object] = lambda: None
        self.stopped = False

    def add_reader(self, fd: int, callback: Reader) -> None:
        """Calls `callback` when `fd` has something to read, and once at the start: it may have had it before."""
        self._readers[fd] = callback
        self._again[fd] = callback
        self._poll.register(fd, select.POLLIN)

    def remove_reader(self, fd: int) -> None:
        if self._readers.pop(fd, None) is not None:
            self._again.pop(fd, None)
            self._poll.unregister(fd)

    def every(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Calls `callback` every `seconds`, in a pause; what was missed while busy is not made up for."""
        period = int(seconds * NS_PER_S)
        if not self._in_pauses:
            return self._add(self._timers, Timer(callback, self._clock.monotonic_ns() + period, period))
        patience = min(period // 4, int(LONGEST_PATIENCE_S * NS_PER_S))
        return self._add(self._patient, Timer(callback, self._clock.monotonic_ns() + period, period, patience))

    def aside(self, callback: Callable[[], object]) -> Timer:
        """Calls `callback` once, in the next pause."""
        if not self._in_pauses:
            return self._add(self._timers, Timer(callback, self._clock.monotonic_ns()))
        patience = int(ASIDE_PATIENCE_S * NS_PER_S)
        return self._add(self._patient, Timer(callback, self._clock.monotonic_ns(), 0, patience))

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Calls `callback` once, after `seconds`."""
        due_ns = self._clock.monotonic_ns() + int(seconds * NS_PER_S)
        return self._add(self._timers, Timer(callback, due_ns))

    def call_threadsafe(self, callback: Callable[[], object]) -> None:
        """Has the loop call `callback` soon; the only method that other threads may use."""
        self._from_threads.append(callback)
        self.wake()

    def wake(self) -> None:
        """Ends the loop's wait; for threads and signal handlers."""
        with contextlib.suppress(BlockingIOError, OSError):  # full: it wakes anyway; closed: it is over
            os.write(self._wake_write, b"\0")

    def stop(self) -> None:
        """Ends `run` after the callback that runs now."""
        self.stopped = True
        self.wake()

    def run(self) -> None:
        """Runs until `stop`; a signal handled by Python wakes it, so that a stop from there is seen at once."""
        previous = None
        with contextlib.suppress(ValueError):  # signals are the main thread's: elsewhere there are none to see
            previous = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        try:
            while not self.stopped:
                self._turn()
        finally:
            if previous is not None:
                signal.set_wakeup_fd(previous)

    def close(self) -> None:
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _add(self, timers: list[tuple[int, int, Timer]], timer: Timer) -> Timer:
        heapq.heappush(timers, (timer.due_ns + timer.patience_ns, next(self._order), timer))
        self._plan()
        return timer

    def _plan(self) -> None:
        """Notes when the timers are next to be looked at, so that a turn for what came need not."""
        self._soonest_ns = self._until_ns = self._timers[0][0] if self._timers else NEVER
        if self._patient:
            until_ns, _, timer = self._patient[0]
            self._soonest_ns = min(self._soonest_ns, timer.due_ns)
            # Where one was put aside now is when to see whether there is a pause.
            self._until_ns = min(self._until_ns, until_ns) if timer.every_ns else 0

    def _turn(self) -> None:
        """One round: wait, then every reader that has something, then the timers whose time has come.

        It runs on cold caches, where each step takes a microsecond: few of them where one reader has something.
        """
        again = self._again
        found = self._poll.poll(0 if again else self._timeout_ms())
        if again:
            self._again = {}
            found = [*((fd, 0) for fd in again), *(one for one in found if one[0] not in again)]
        came = False
        for fd, _ in found:
            if self.stopped:
                return
            reader = self._readers.get(fd)
            if reader is not None:
                came = True
                if reader():
                    self._again[fd] = reader
            elif fd == self._wake_read:
                self._woken()
        if self._again:
            self._behind += 1
            if self._behind == RUSH_TURNS:
                self.rush()
        else:
            self._behind = 0
        now_ns = self._clock.monotonic_ns()
        if came:
            self._came_ns = now_ns
            if now_ns < self._soonest_ns:
                return
        self._run_due(now_ns)

    def _timeout_ms(self) -> int | None:
        """How long nothing has to be done, in whole ms rounded up: no timer must find itself called too early."""
        until_ns = self._until_ns
        return None if until_ns == NEVER else max(0, -((self._clock.monotonic_ns() - until_ns) // 1_000_000))

    def _more_comes(self, wait_s: float) -> bool:
        """Waits for a moment; whether something came or waits already."""
        return bool(self._again or select.select([self._wake_read, *self._readers], (), (), wait_s)[0])

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._wake_read, 4096)) == 4096:
                pass
        for _ in range(len(self._from_threads)):
            self._from_threads.popleft()()

    def _run_due(self, now_ns: int) -> None:
        """What cannot wait any longer, in the order of its time; then of what can one piece in a pause, or all."""
        timers, patient = self._timers, self._patient
        waited = True
        while not self.stopped:
            if patient and patient[0][0] <= now_ns and (not timers or patient[0][0] <= timers[0][0]):
                self._run_first(patient, now_ns)
                waited = False
            elif timers and timers[0][0] <= now_ns:
                self._run_first(timers, now_ns)
            else:
                break
        if now_ns - self._came_ns >= QUIET_NS:
            while patient and patient[0][2].from_ns <= now_ns and not self.stopped and not self._more_comes(0.0):
                self._run_first(patient, now_ns)
        elif (
            waited and patient and patient[0][2].due_ns <= now_ns and not self.stopped and not self._more_comes(PAUSE_S)
        ):
            self._run_first(patient, now_ns)

    def _run_first(self, timers: list[tuple[int, int, Timer]], now_ns: int) -> None:
        _, _, timer = heapq.heappop(timers)
        if not timer.cancelled:
            timer.callback()
        if timer.every_ns and not timer.cancelled:
            over_ns = max(now_ns, timer.due_ns) - self._grid_ns
            timer.due_ns = self._grid_ns + over_ns - over_ns % timer.every_ns + timer.every_ns
            if timer.patience_ns and timer.due_ns - now_ns < timer.every_ns // 2:  # it would all but run twice
                timer.due_ns += timer.every_ns
            self._add(timers, timer)
        else:
            self._plan()
