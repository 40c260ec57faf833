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

TICK_S = 1.0

Item = TypeVar("Item")
Opened = TypeVar("Opened", bound="EventStream[Any]")
Opener = Callable[[str, str], Awaitable["Socket"]]  # venue and address


class EventStream(ABC, Generic[Item]):
    """One connection. `read` hands over what `_event` makes of the venue's events, and notices.

    Whoever reads takes frames off the socket: nothing waits for another task's turn. The one that ticks in the
    background ends a silent connection by closing the socket under the reader.
    """

    def __init__(self, venue: str, socket: "Socket", clock: Clock, version: int) -> None:
        self._venue = venue
        self._socket = socket
        self._clock = clock
        self._session = engineio.Session(version, clock.monotonic_ns())
        self._items: list[Item | Notice] = []
        self._frames: list[str | None] = []  # taken off the socket and not handled yet, the newest first
        self._actions: list[engineio.Action] = []  # what the last one of them asked for and is not done yet
        self._failure: Exception | None = None
        self._ticking = asyncio.create_task(self._tick())

    @abstractmethod
    def _event(self, name: str, body: bytes) -> Sequence[Item | Notice]:
        """What an event means."""

    @property
    def version(self) -> int:
        """The version that the server speaks, by what it has said so far."""
        return 3 if self._session.pings else 4

    async def connected(self) -> None:
        """Waits until channels can be joined; Retry where it does not come to that."""
        while not self._session.connected:
            await self._handle()

    async def send(self, frame: str) -> None:
        await self._socket.send(frame)

    async def lost_within(self, seconds: float) -> Exception | None:
        """Why the connection was lost, if it was lost before so much time was over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._failure is None:
                    with contextlib.suppress(Retry):
                        await self._handle()
        return self._failure

    async def read(self) -> Sequence[Item | Notice]:
        """All that arrived, at least one; Retry once the connection is lost and everything was handed over."""
        while not self._items:
            try:
                await self._handle()
            except Retry:
                if not self._items:
                    raise
        items, self._items = self._items, []
        return items

    async def hand_over(self, take: Callable[[Sequence[Item | Notice]], object]) -> None:
        """Has `take` called with what `read` would give, in the moment it arrives; ends as `read` does, by `Retry`."""

        def handed(frames: list[str | None]) -> bool:
            self._frames = frames[::-1]
            action = self._sift()
            if self._items:
                items, self._items = self._items, []
                take(items)
            if action is not None:
                self._actions.insert(0, action)
            return action is None

        while True:
            take(await self.read())
            await self._or_failure(self._socket.deliver(handed))

    async def close(self) -> None:
        self._ticking.cancel()
        await asyncio.gather(self._ticking, return_exceptions=True)
        await self._socket.close()

    async def _handle(self) -> None:
        """Takes what arrived, waiting for it; Retry where nothing comes any more."""
        if self._failure is not None:
            raise self._failure
        await self._or_failure(self._handled())

    async def _handled(self) -> None:
        if not self._frames and not self._actions:
            self._frames = (await self._socket.receive_many())[::-1]
        while (action := self._sift()) is not None:
            await self._do(action)

    async def _or_failure(self, reading: Awaitable[None]) -> None:
        """Waits for it; where the connection is lost, raises why."""
        try:
            await reading
        except Retry as error:
            if self._failure is None:  # else the socket was closed under us
                self._failure = error
            raise self._failure from None

    def _sift(self) -> engineio.Action | None:
        """Makes items of what arrived, up to what asks for something to be done: that is returned."""
        now_ns = self._clock.monotonic_ns()
        while self._actions or self._frames:
            if not self._actions:
                frame = self._frames.pop()
                if frame is None:
                    self._items.append(Notice("unknown frame", "a binary frame"))
                    continue
                self._actions = self._session.receive(frame, now_ns)
            for place, action in enumerate(self._actions, 1):
                if type(action) is not engineio.Arrived:
                    self._actions = self._actions[place:]
                    return action
                self._items.extend(self._event(action.name, action.body))
            self._actions = []
        return None

    async def _do(self, action: engineio.Action) -> None:
        match action:
            case engineio.Send(text):
                await self._socket.send(text)
            case engineio.Unknown(text):
                self._items.append(Notice("unknown frame", text))
            case engineio.Closed(reason, code):
                raise Retry(self._venue, f"the stream ended: {reason}", code=code)

    async def _tick(self) -> None:
        try:
            while True:
                await asyncio.sleep(TICK_S)
                for action in self._session.tick(self._clock.monotonic_ns()):
                    await self._do(action)
        except Exception as error:  # noqa: BLE001 - it reaches the reader, who would wait for ever
            self._failure = error
            await self._socket.close()


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
