"""The same face as `core.loop.PollLoop` over asyncio, so that the bus works with both.

An exception in a callback ends the stage: it is kept in `failed`, and `wait_stopped` raises it.
"""

import asyncio
from collections.abc import Callable

from core.loop import RUSH_TURNS, Reader


class _Periodic:
    """A timer that comes again until cancelled; those of one period come together and wake the process once."""

    __slots__ = ("_callback", "_cancelled", "_handle", "_loop", "_seconds")

    def __init__(self, loop: "AsyncLoop", seconds: float, callback: Callable[[], object]) -> None:
        self._loop = loop
        self._seconds = seconds
        self._callback = callback
        self._cancelled = False
        self._handle = loop.inner.call_at(loop.inner.time() + seconds, self._run)

    def _run(self) -> None:
        self._loop.guarded(self._callback)
        if self._cancelled:
            return
        following = (self._loop.inner.time() // self._seconds + 1) * self._seconds
        self._handle = self._loop.inner.call_at(following, self._run)

    def cancel(self) -> None:
        self._cancelled = True
        self._handle.cancel()


class AsyncLoop:
    """Wraps the running asyncio loop; make it inside a coroutine."""

    def __init__(self) -> None:
        self.inner = asyncio.get_running_loop()
        self.failed: Exception | None = None
        self.rush: Callable[[], object] = lambda: None
        self._behind = 0  # calls of readers in a row after which more was waiting
        self.waited_for = False  # someone stops in order when told, so he is given the time
        self._stopped = asyncio.Event()
        self._readers: dict[int, Reader] = {}

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    def add_reader(self, fd: int, callback: Reader) -> None:
        """Calls `callback` when `fd` has something to read, and once at the start: it may have had it before."""
        self._readers[fd] = callback
        self.inner.add_reader(fd, self._read, fd, callback)
        self.inner.call_soon(self._read, fd, callback)

    def remove_reader(self, fd: int) -> None:
        if self._readers.pop(fd, None) is not None:
            self.inner.remove_reader(fd)

    def every(self, seconds: float, callback: Callable[[], object]) -> _Periodic:
        """Calls `callback` every `seconds`; what was missed while busy is not made up for."""
        return _Periodic(self, seconds, callback)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Calls `callback` once, after `seconds`."""
        return self.inner.call_later(seconds, self.guarded, callback)

    def aside(self, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Calls `callback` once, after what has come meanwhile."""
        return self.call_later(0, callback)

    def call_threadsafe(self, callback: Callable[[], object]) -> None:
        """Has the loop call `callback` soon; the only method that other threads may use."""
        self.inner.call_soon_threadsafe(self.guarded, callback)

    def stop(self) -> None:
        """Has the stage end; `core.stage` then cancels its main coroutine unless that waits for this itself."""
        self._stopped.set()

    async def wait_stopped(self) -> None:
        """Waits for `stop`; a main coroutine that awaits this ends in its own order and is not cancelled."""
        self.waited_for = True
        await self.until_stopped()

    async def until_stopped(self) -> None:
        """Waits for `stop`; raises what a callback raised."""
        await self._stopped.wait()
        if self.failed is not None:
            raise self.failed

    def guarded(self, callback: Callable[[], object]) -> object:
        """Calls `callback`; what it raises stops the stage in place of vanishing in asyncio's own handler."""
        try:
            return callback()
        except Exception as error:  # noqa: BLE001 - it is raised again by until_stopped
            if self.failed is None:
                self.failed = error
            self.stop()
            return None

    def _read(self, fd: int, callback: Reader) -> None:
        if self._stopped.is_set() or self._readers.get(fd) is not callback:
            return
        if not self.guarded(callback):
            self._behind = 0
            return
        self.inner.call_soon(self._read, fd, callback)
        self._behind += 1
        if self._behind == RUSH_TURNS:
            self.guarded(self.rush)
