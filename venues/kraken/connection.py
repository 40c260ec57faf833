"""One connection of Kraken's WebSocket v2: subscriptions acknowledged in time, silence noticed, all read in order.

* Joined means that every subscription was acknowledged within 6 s. One that the venue refuses is told with its words
  and the others go on; where it refuses all, or stays silent about one, the connection is of no use.
* A connection with a subscription brings a frame a second, at least a heartbeat: none for 5 s while we wait for one,
  and it is lost.
* A ping now and then keeps the venue's edge from closing a connection on which we never send anything.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from core.clock import NS_PER_S, Clock
from venues.errors import Retry
from venues.kraken import frames
from venues.kraken.frames import Ack, Joining, Status, WireError
from venues.venue import Notice

if TYPE_CHECKING:
    from venues.stream import Socket

PATH = "/v2"


class Pace(NamedTuple):
    """How long is waited for what, in seconds."""

    ack_s: float = 6.0
    silent_s: float = 5.0
    ping_s: float = 20.0
    tick_s: float = 1.0


PACE = Pace()

# Reads a frame with news into items; None: it is none of its channels. Raises WireError.
Reader = Callable[[str, int], Sequence[Any] | None]


class Connection:
    """An open socket and what is read from it. `reader` knows the channels that are asked for."""

    def __init__(self, venue: str, socket: "Socket", clock: Clock, reader: Reader, pace: Pace = PACE) -> None:
        self._venue = venue
        self._socket = socket
        self._clock = clock
        self._reader = reader
        self._pace = pace
        self._items: list[Any] = []
        self._system = "online"
        self._failure: Retry | None = None
        self._quiet_ns: int | None = None  # since when we wait in vain; None: nobody waits
        self._joining: Joining | None = None
        self._ticker: asyncio.Task[None] | None = None

    async def join(self, requests: Mapping[int, tuple[str, Sequence[str]]]) -> None:
        """Sends the requests (by number: the frame, and the symbols it asks for) and waits for every acknowledgement.

        What arrives meanwhile waits for `read`. Raises Retry.
        """
        joining = self._joining = Joining({req_id: symbols for req_id, (_, symbols) in requests.items()})
        try:
            async with asyncio.timeout(self._pace.ack_s):
                for text, _ in requests.values():
                    await self._socket.send(text)
                while not joining.done:
                    self._items += await self._receive()
        except TimeoutError as error:
            waiting = joining.waiting
            what = f"{len(waiting)} of {joining.asked} subscriptions not acknowledged within {self._pace.ack_s:g} s"
            raise Retry(self._venue, f"{what}: {', '.join(waiting[:5])}") from error
        if not joining.accepted:
            symbol, words = next(iter(joining.refused.items()), ("", "nothing was asked for"))
            raise Retry(self._venue, f"every subscription was refused: {symbol} {words}".rstrip())
        for symbol, words in joining.refused.items():
            self._items.append(Notice("subscription refused", f"{symbol}: {words}"))
        self._ticker = asyncio.create_task(self._tick())

    async def read(self) -> Sequence[Any]:
        """All that arrived, at least one item; Retry once the connection is lost."""
        while not self._items:
            self._items = await self._receive()
        items, self._items = self._items, []
        return items

    async def hand_over(self, take: Callable[[Sequence[Any]], object]) -> None:
        """Has `take` called with what `read` would give, in the moment it arrives; ends as `read` does, by `Retry`."""

        def handed(texts: list[str | None]) -> bool:
            self._quiet_ns = self._clock.monotonic_ns()
            items = self._read(texts)
            if items:
                take(items)
            return True

        take(await self.read())
        with self._waiting():
            await self._socket.deliver(handed)

    async def close(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        await self._socket.close()

    async def _receive(self) -> list[Any]:
        """The items of the frames that arrived, perhaps none."""
        with self._waiting():
            texts = await self._socket.receive_many()
        return self._read(texts)

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """Around a wait for frames: a silence counts only in here, and why we ended it ourselves is told."""
        self._quiet_ns = self._clock.monotonic_ns()
        try:
            yield
        except Retry as error:
            raise self._failure or error from None
        finally:
            self._quiet_ns = None

    def _read(self, texts: list[str | None]) -> list[Any]:
        now_ns = self._clock.wall_ns()
        items: list[Any] = []
        for text in texts:
            if text is None:
                items.append(Notice("unreadable frame", "a binary frame"))
                continue
            try:
                found = self._reader(text, now_ns)
                items += self._control(text) if found is None else found
            except WireError as error:
                items.append(Notice("unreadable frame", str(error)))
        return items

    def _control(self, text: str) -> Sequence[Notice]:
        if text == frames.HEARTBEAT:
            return ()
        match frames.control(frames.read(text), text):
            case Ack() as ack if self._joining is not None:
                self._joining.take(ack)
            case Status(system) if system != self._system:
                before, self._system = self._system, system
                return (Notice("venue status", f"the venue says {system or 'nothing'} (before: {before})"),)
        return ()

    async def _tick(self) -> None:
        before_ns = pinged_ns = self._clock.monotonic_ns()
        pings = 0
        while True:
            await asyncio.sleep(self._pace.tick_s)
            now_ns = self._clock.monotonic_ns()
            late = now_ns - before_ns > 3 * self._pace.tick_s * NS_PER_S
            before_ns = now_ns
            if self._quiet_ns is None:
                continue
            if late:  # it was us who slept: what came meanwhile is still to be read
                self._quiet_ns = now_ns
            silent_s = (now_ns - self._quiet_ns) / NS_PER_S
            if silent_s > self._pace.silent_s:
                text = f"the stream is silent: no frame for {silent_s:.0f} s, not even a heartbeat"
                self._failure = Retry(self._venue, text)
                await self._socket.close()
                return
            if now_ns - pinged_ns > self._pace.ping_s * NS_PER_S:
                pinged_ns = now_ns
                pings += 1
                with contextlib.suppress(Retry):  # the one who reads hears of it
                    await self._socket.send(frames.ping(1_000_000 + pings))
