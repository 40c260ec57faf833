"""The loop of a blocking stage: readers, timers and signals on one thread.

A reader's callback takes what is there without blocking and returns True when it stopped at its bound with more
waiting: then it is called again before the loop blocks. That is what zmq needs, whose descriptors tell of a change only
once. An exception in a callback ends `run` with it: a stage that cannot go on crashes and is started again.
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
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Timer:
    """A callback to come; `cancel()` takes it back."""

    __slots__ = ("callback", "cancelled", "due_ns", "every_ns")

    def __init__(self, callback: Callable[[], object], due_ns: int, every_ns: int) -> None:
        self.callback = callback
        self.due_ns = due_ns
        self.every_ns = every_ns
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Cancellable(Protocol):
    """What `every` and `call_later` return, whichever loop it is."""

    def cancel(self) -> None: ...


class Loop(Protocol):
    """What both drivers offer: the blocking one here and the one over asyncio in `core.aloop`."""

    def add_reader(self, fd: int, callback: Reader) -> None: ...

    def remove_reader(self, fd: int) -> None: ...

    def every(self, seconds: float, callback: Callable[[], object]) -> Cancellable: ...

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Cancellable: ...

    def call_threadsafe(self, callback: Callable[[], object]) -> None: ...

    def stop(self) -> None: ...


class PollLoop:
    """Polls readers and runs timers until `stop`."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or LiveClock()
        self._poll = select.poll()
        self._readers: dict[int, Reader] = {}
        self._again: dict[int, Reader] = {}  # readers that said that more is waiting
        self._timers: list[tuple[int, int, Timer]] = []
        self._order = count()
        self._from_threads: deque[Callable[[], object]] = deque()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll.register(self._wake_read, select.POLLIN)
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
        """Calls `callback` every `seconds`; what was missed while busy is not made up for."""
        period = int(seconds * NS_PER_S)
        return self._add(Timer(callback, self._clock.monotonic_ns() + period, period))

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Calls `callback` once, after `seconds`."""
        return self._add(Timer(callback, self._clock.monotonic_ns() + int(seconds * NS_PER_S), 0))

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

    def _add(self, timer: Timer) -> Timer:
        heapq.heappush(self._timers, (timer.due_ns, next(self._order), timer))
        return timer

    def _turn(self) -> None:
        """One round: wait, then every reader that has something, then every timer that is due."""
        if self._again:
            timeout_ms: float | None = 0
        elif self._timers:
            # Rounded up: a timer must not find itself called a moment early and the loop spinning until it is due.
            timeout_ms = max(0, -((self._clock.monotonic_ns() - self._timers[0][0]) // 1_000_000))
        else:
            timeout_ms = None
        ready, self._again = self._again, {}
        for fd, _ in self._poll.poll(timeout_ms):
            if fd == self._wake_read:
                self._woken()
            elif fd in self._readers:
                ready[fd] = self._readers[fd]
        for fd, callback in ready.items():
            if self.stopped:
                return
            if self._readers.get(fd) is callback and callback():
                self._again[fd] = callback
        self._run_timers()

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._wake_read, 4096)) == 4096:
                pass
        for _ in range(len(self._from_threads)):
            self._from_threads.popleft()()

    def _run_timers(self) -> None:
        now = self._clock.monotonic_ns()
        while self._timers and self._timers[0][0] <= now and not self.stopped:
            _, _, timer = heapq.heappop(self._timers)
            if timer.cancelled:
                continue
            timer.callback()
            if timer.every_ns and not timer.cancelled:
                following = timer.due_ns + timer.every_ns
                timer.due_ns = following if following > now else now + timer.every_ns
                self._add(timer)
