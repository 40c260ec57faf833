"""CoinDCX's socket.io connection: what market data and account news share. The subclass says what an event means.

The venue's documents contradict themselves on the version of Engine.IO, and old servers refuse the new one or take it
in without a word. So the version that worked last is tried first, and where it is refused (HTTP 400), closed before
the session stood, or met with silence, the other one is tried at once.
"""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from core.clock import Clock
from venues import engineio
from venues.engineio import shorten
from venues.errors import RateLimited, Retry
from venues.venue import Notice

if TYPE_CHECKING:  # at run time only who opens a stream loads the library
    from venues.stream import Socket

MAX_BATCH = 1000  # items handed over at once
TICK_S = 1.0

Item = TypeVar("Item")
Opened = TypeVar("Opened", bound="EventStream[Any]")
Opener = Callable[[str, str], Awaitable["Socket"]]  # venue and address


class EventStream(ABC, Generic[Item]):
    """One connection. `read` hands over what `_event` makes of the venue's events, and notices."""

    def __init__(self, venue: str, socket: "Socket", clock: Clock, version: int) -> None:
        self._venue = venue
        self._socket = socket
        self._clock = clock
        self._session = engineio.Session(version, clock.monotonic_ns())
        self._items: list[Item | Notice] = []
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._lost = asyncio.Event()
        self._failure: BaseException | None = None
        self._connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks = [asyncio.create_task(self._receive()), asyncio.create_task(self._tick())]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    @abstractmethod
    def _event(self, name: str, body: bytes) -> Sequence[Item | Notice]:
        """What an event means."""

    @property
    def version(self) -> int:
        """The version that the server speaks, by what it has said so far."""
        return 3 if self._session.pings else 4

    async def connected(self) -> None:
        """Waits until channels can be joined; Retry where it does not come to that."""
        await self._connected

    async def send(self, frame: str) -> None:
        await self._socket.send(frame)

    async def lost_within(self, seconds: float) -> BaseException | None:
        """Why the connection was lost, if it was lost before so much time was over."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._lost.wait(), seconds)
        return self._failure

    async def read(self) -> Sequence[Item | Notice]:
        """All that arrived, at least one; Retry once the connection is lost and everything was handed over."""
        while not self._items:
            if self._failure is not None:
                raise self._failure
            self._arrived.clear()
            await self._arrived.wait()
        items, self._items = self._items, []
        self._taken.set()
        return items

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._connected.done():
            if not self._connected.cancelled():
                self._connected.exception()
        else:
            self._connected.cancel()
        await self._socket.close()

    async def _receive(self) -> None:
        while True:
            frames = await self._socket.receive_many()
            now_ns = self._clock.monotonic_ns()
            for frame in frames:
                if frame is None:
                    self._items.append(Notice("unknown frame", "a binary frame"))
                    continue
                for action in self._session.receive(frame, now_ns):
                    if type(action) is engineio.Arrived:
                        self._items.extend(self._event(action.name, action.body))
                    else:
                        await self._do(action)
            if self._items:
                self._arrived.set()
            if len(self._items) >= MAX_BATCH:
                self._taken.clear()
                await self._taken.wait()  # the reader is slow: unread frames wait at the venue's side

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for action in self._session.tick(self._clock.monotonic_ns()):
                await self._do(action)

    async def _do(self, action: engineio.Action) -> None:
        match action:
            case engineio.Arrived(name, body):
                self._items.extend(self._event(name, body))
            case engineio.Send(text):
                await self._socket.send(text)
            case engineio.Connected():
                if not self._connected.done():
                    self._connected.set_result(None)
            case engineio.Unknown(text):
                self._items.append(Notice("unknown frame", text))
            case engineio.Closed(reason, code):
                raise Retry(self._venue, f"the stream ended: {reason}", code=code)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """A task ends with its error, a lost connection or a mistake of ours: either reaches the reader."""
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if self._failure is None:
            self._failure = error
        self._arrived.set()
        self._lost.set()
        if not self._connected.done():
            self._connected.set_exception(error)


def unknown_event(name: str, body: bytes) -> Notice:
    return Notice("unknown event", f"{name}: {shorten(body.decode(errors='replace'))}")


class Versions:
    """Which version of Engine.IO is tried first: the one that worked last."""

    def __init__(self) -> None:
        self.preferred = 4

    def order(self) -> tuple[int, int]:
        return self.preferred, 7 - self.preferred


async def connect(
    venue: str,
    address: Callable[[int], str],
    versions: Versions,
    opener: Opener,
    make: Callable[["Socket", int], Opened],
) -> Opened:
    """A stream whose session stands. `address` and `make` (on an open socket) are told the version.

    Raises Retry where neither version gets that far, and any other failure of connecting at once.
    """
    failed: list[str] = []
    for version in versions.order():
        try:
            stream = await _attempt(venue, address(version), opener, make, version)
        except _WrongVersion as error:
            failed.append(f"{error} (Engine.IO {version})")
            continue
        versions.preferred = stream.version
        return stream
    raise Retry(venue, "; ".join(failed))


class _WrongVersion(Exception):
    """The server may speak the other one."""


async def _attempt(
    venue: str, url: str, opener: Opener, make: Callable[["Socket", int], Opened], version: int
) -> Opened:
    try:
        socket = await opener(venue, url)
    except RateLimited:
        raise
    except Retry as error:
        if error.code == "400":
            raise _WrongVersion(error.text) from error
        raise
    stream = make(socket, version)
    try:
        await stream.connected()
    except Retry as error:
        await stream.close()
        raise _WrongVersion(error.text) from error
    except BaseException:
        await stream.close()
        raise
    return stream
