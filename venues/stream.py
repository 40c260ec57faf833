"""Text over a websocket, the only user of the websockets client. Reconnecting is the caller's decision.

No compression (small frames, and the time counts), no keep-alive pings of its own (the protocols on top have theirs),
no proxy from the environment; frames and the queue of unread ones are bounded, so that a venue that floods us is
slowed down by TCP.

Nearly every frame of a venue is one whole text message: those are cut out of what arrived right here. Anything else
(handshake, pings, fragments, farewells, whatever breaks the rules) goes through the library, which answers it.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN, Event

from venues.answers import bounded, retry_after_s
from venues.call import AGENT
from venues.errors import Misconfigured, RateLimited, Retry

OPEN_S = 6.0
CLOSE_S = 1.0
MAX_FRAME = 2 * 1024 * 1024
MAX_QUEUE = 256  # unread messages from which on nothing more is taken off the network
MAX_FRAGMENTS = 1024  # of one message
MAX_HEAD = 64 * 1024  # of the answer to the handshake
RATE_PAUSE_S = 60.0  # after "asked too often" where the venue names no time

# A wake-up costs more than a frame. From so many frames a second on they are taken off the network every REST_S,
# many at a time; below that each one at once.
BUSY_PER_S = 2000
REST_S = 0.002
WINDOW_S = 0.02

WHOLE_TEXT = 0x81  # the final frame of a message, which is text; masked where the next byte is above 127
DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)

Handle = Callable[[list[str | None]], bool]  # gets the messages that arrived; False: no more of them for now


class Connection(ClientConnection):
    """The library's connection, with messages handed over many at a time (None for a binary one)."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._messages: list[str | None] = []
        self._waiter: asyncio.Future[bool] | None = None  # of who waits; told whether its `handle` wants no more
        self._handle: Handle | None = None  # gets messages in the moment they arrive
        self._begun = b""  # what has arrived of the next frame, or of the handshake's answer
        self._shaking = True  # hands
        self._cutting = False  # frames are cut out here; else the library reads everything
        self._parts: list[bytes] = []  # of a message in fragments
        self._of_text = False
        self.heard_s = self.loop.time()  # when a message was taken or a ping came, by the loop's clock
        self._left = False  # nobody reads any more
        self._full = self._resting = False  # why nothing is taken off the network now
        self._window_s = 0.0
        self._in_window = 0
        self._busy = False

    async def take(self) -> list[str | None]:
        """All messages that arrived, at least one. Raises ConnectionClosed once all were taken."""
        while not self._messages:
            if self.connection_lost_waiter.done():
                raise self.close_exc
            self._waiter = self.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._taken()

    async def deliver(self, handle: Handle) -> None:
        """Has `handle` called with messages in the moment they arrive, until it says that it wants no more.

        A reader that waits for them gets its turn a round of the loop later, and each round runs cold. Raises
        ConnectionClosed once all were handed over, and what `handle` raises.
        """
        while handle(await self.take()):
            self._handle, self._waiter = handle, self.loop.create_future()
            try:
                if await self._waiter:
                    return
            finally:
                self._handle = self._waiter = None

    def leave(self) -> None:
        """Nobody reads any more: what still comes is dropped, so that the farewell gets through."""
        self._left = True
        self._messages = []
        self._full = self._resting = False
        self._go_on()

    def _taken(self) -> list[str | None]:
        taken, self._messages = self._messages, []
        self.heard_s = self.loop.time()
        self._full = False
        self._go_on()
        return taken

    # --- called by asyncio and by the library --------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._begun:
            data = self._begun + data
            self._begun = b""
        before = len(self._messages)
        if self._cutting:
            self._cut(data)
        elif self._shaking:
            self._shake_hands(data)
        else:
            super().data_received(data)
        if self._left:
            self._messages = []
        elif len(self._messages) > before:
            self._wake()
            self._hold_on(len(self._messages) - before)

    def process_event(self, event: Event) -> None:
        if isinstance(event, Frame) and event.opcode in DATA:
            self._fragment(event)
            return
        if isinstance(event, Frame) and event.opcode is Opcode.PING:
            self.heard_s = self.loop.time()
        super().process_event(event)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._wake()

    # --- reading -------------------------------------------------------------------------------------

    def _shake_hands(self, data: bytes) -> None:
        """Hands the library the answer to the handshake, and not a byte more."""
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            if len(data) < MAX_HEAD:
                self._begun = data
                return
            end = len(data)
        self._shaking = False
        super().data_received(data[:end])
        self._cutting = self.protocol.state is OPEN
        rest = data[end:]
        if rest and self._cutting:
            self._cut(rest)
        elif rest:
            super().data_received(rest)

    def _cut(self, data: bytes) -> None:
        """Takes the frames out of the data; the beginning of one that is not whole yet is kept."""
        at, size = 0, len(data)
        usual = size > 4 and data[0] == WHOLE_TEXT and data[1] == 126 and size - 4 == data[2] << 8 | data[3]
        if usual and not self._parts:  # one whole frame, as nearly always where little comes
            self._put(data[4:], True)
            return
        while size - at >= 2:
            second = data[at + 1]
            begin = at + 2
            end = begin + second
            if second > 125:
                begin, end = _bounds(data, at)
                if end - begin > MAX_FRAME:
                    break  # refused by the library
            if end > size:
                self._begun = data[at:]
                return
            if data[at] == WHOLE_TEXT and second < 128 and not self._parts:
                if not self._put(data[begin:end], True):
                    return
            else:
                super().data_received(data[at:end])
                if self.protocol.state is not OPEN:
                    at = end
                    break
            at = end
        else:
            self._begun = data[at:]
            return
        self._cutting = False
        if at < size:
            super().data_received(data[at:])
        self._end_in_time()

    def _fragment(self, frame: Frame) -> None:
        """A frame that the library read."""
        if frame.opcode is not Opcode.CONT:
            self._of_text = frame.opcode is Opcode.TEXT
        self._parts.append(bytes(frame.data))
        if frame.fin:
            message, self._parts = b"".join(self._parts), []
            self._put(message, self._of_text)
        elif len(self._parts) >= MAX_FRAGMENTS:
            self._fail(CloseCode.MESSAGE_TOO_BIG, f"a message in more than {MAX_FRAGMENTS} fragments")

    def _put(self, message: bytes, text: bool) -> bool:
        try:
            self._messages.append(message.decode() if text else None)
        except UnicodeDecodeError:
            self._fail(CloseCode.INVALID_DATA, "text that is not UTF-8")
            return False
        return True

    def _fail(self, code: CloseCode, reason: str) -> None:
        """Ends the connection for what came on it."""
        self._cutting = False
        self.protocol.fail(code, reason)
        self.send_data()
        self._end_in_time()

    def _end_in_time(self) -> None:
        """The other side has a while to close; the library leaves waiting for it to whoever calls next."""
        self.loop.call_later(CLOSE_S, self.transport.abort)

    # --- the pace ------------------------------------------------------------------------------------

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._handle is not None and self._messages:
            try:
                if not self._handle(self._taken()):
                    waiter.set_result(True)
            except Exception as error:  # noqa: BLE001 - it is the reader's, who waits for it
                waiter.set_exception(error)
        else:
            waiter.set_result(False)

    def _hold_on(self, count: int) -> None:
        """Stops reading where the reader is slow, and for a moment where much comes."""
        now_s = self.loop.time()
        self._in_window += count
        past_s = now_s - self._window_s
        if past_s >= WINDOW_S:
            self._busy = self._in_window >= BUSY_PER_S * past_s
            self._window_s, self._in_window = now_s, 0
        if self._busy and not self._resting:
            self._resting = True
            self.loop.call_later(REST_S, self._rested)
        self._full = len(self._messages) >= MAX_QUEUE
        if self._full or self._resting:
            self.transport.pause_reading()

    def _rested(self) -> None:
        self._resting = False
        self._go_on()

    def _go_on(self) -> None:
        if not (self._full or self._resting):
            self.transport.resume_reading()


class Socket:
    """One open websocket."""

    def __init__(self, venue: str, connection: Connection) -> None:
        self._venue = venue
        self._connection = connection
        self._left: list[str | None] = []  # taken off the connection for `receive`

    async def receive_many(self) -> list[str | None]:
        """All text frames that arrived, at least one, oldest first; None for a binary one.

        Raises Retry when the connection is over and all was handed over.
        """
        if self._left:
            left, self._left = self._left, []
            return left[::-1]
        try:
            return await self._connection.take()
        except ConnectionClosed as error:
            raise Retry(self._venue, f"the stream was cut ({_closing(error)})") from error

    async def deliver(self, handle: Handle) -> None:
        """Has `handle` called with what `receive_many` would give, in the moment it arrives, until it returns False.

        Raises Retry when the connection is over and all was handed over, and what `handle` raises.
        """
        if self._left and not handle(await self.receive_many()):
            return
        try:
            await self._connection.deliver(handle)
        except ConnectionClosed as error:
            raise Retry(self._venue, f"the stream was cut ({_closing(error)})") from error

    async def receive(self) -> str | None:
        """The next text frame; None for a binary one. Raises Retry when the connection is over."""
        if not self._left:
            self._left = (await self.receive_many())[::-1]
        return self._left.pop()

    async def send(self, text: str) -> None:
        """Sends one text frame. Raises Retry when the connection is over."""
        try:
            await self._connection.send(text)
        except ConnectionClosed as error:
            raise Retry(self._venue, f"the stream was cut ({_closing(error)})") from error

    def silent_s(self) -> float:
        """For how long nothing was heard, not even a ping."""
        return self._connection.loop.time() - self._connection.heard_s

    async def close(self) -> None:
        """Closes within CLOSE_S, politely where the other side takes part."""
        self._connection.leave()
        await self._connection.close()


async def open_socket(venue: str, url: str) -> Socket:
    """Connects. Raises Retry, RateLimited, or Misconfigured for an address that is none."""
    try:
        connection = await connect(
            url,
            create_connection=Connection,
            compression=None,
            open_timeout=OPEN_S,
            close_timeout=CLOSE_S,
            ping_interval=None,
            max_size=MAX_FRAME,
            proxy=None,
            user_agent_header=AGENT,  # Kraken's edge wants one of every request
        )
    except InvalidURI as error:
        raise Misconfigured(venue, f"{url} is no stream address", "check VENUE_STREAM_URL (ws:// or wss://)") from error
    except InvalidStatus as error:
        status = error.response.status_code
        if status in (418, 429):
            told_s = retry_after_s({name.lower(): value for name, value in error.response.headers.raw_items()})
            pause_s = bounded(RATE_PAUSE_S if told_s is None else told_s)
            raise RateLimited(venue, f"stream {url}: asked too often (HTTP {status})", pause_s, str(status)) from error
        raise Retry(venue, f"stream {url}: HTTP {status} in place of a stream", code=str(status)) from error
    except (InvalidHandshake, WebSocketException) as error:
        raise Retry(venue, f"stream {url}: no websocket there ({error})") from error
    except TimeoutError as error:
        raise Retry(venue, f"stream {url}: no connection within {OPEN_S:.0f} s") from error
    except OSError as error:
        raise Retry(venue, f"stream {url}: {error.strerror or error}") from error
    assert isinstance(connection, Connection)
    return Socket(venue, connection)


def _closing(error: ConnectionClosed) -> str:
    for side, frame in (("the venue said", error.rcvd), ("we said", error.sent)):
        if frame is not None:
            return f"{side} {frame.code}" + (f" {frame.reason[:80]}" if frame.reason else "")
    return "no farewell"


def _bounds(data: bytes, at: int) -> tuple[int, int]:
    """Where the payload of the frame at `at` begins and ends, for one of 126 bytes and more, or masked.

    Where its length has not arrived yet, the end lies behind what has.
    """
    length = data[at + 1] & 127
    extra = {126: 2, 127: 8}.get(length, 0)
    begin = at + 2 + extra
    if extra:
        if begin > len(data):
            return begin, begin
        length = int.from_bytes(data[at + 2 : begin], "big")
    begin += 4 if data[at + 1] > 127 else 0
    return begin, begin + length
