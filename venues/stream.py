"""Text over a websocket, the only user of the websockets client. Reconnecting is the caller's decision.

No compression (small frames, and the time counts), no keep-alive pings of its own (the protocols on top have theirs),
no proxy from the environment; frames and the queue of unread ones are bounded, so that a venue that floods us is
slowed down by TCP.
"""

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException

from venues.errors import Misconfigured, RateLimited, Retry

OPEN_S = 6.0
CLOSE_S = 1.0
MAX_FRAME = 2 * 1024 * 1024
MAX_QUEUE = 256


class Socket:
    """One open websocket."""

    def __init__(self, venue: str, connection: ClientConnection) -> None:
        self._venue = venue
        self._connection = connection

    async def receive(self) -> str | None:
        """The next text frame; None for a binary one. Raises Retry when the connection is over."""
        try:
            frame = await self._connection.recv()
        except ConnectionClosed as error:
            raise Retry(self._venue, f"the stream was cut ({_closing(error)})") from error
        return frame if isinstance(frame, str) else None

    async def send(self, text: str) -> None:
        """Sends one text frame. Raises Retry when the connection is over."""
        try:
            await self._connection.send(text)
        except ConnectionClosed as error:
            raise Retry(self._venue, f"the stream was cut ({_closing(error)})") from error

    async def close(self) -> None:
        """Closes within CLOSE_S, politely where the other side takes part."""
        await self._connection.close()


async def open_socket(venue: str, url: str) -> Socket:
    """Connects. Raises Retry, RateLimited, or Misconfigured for an address that is none."""
    try:
        connection = await connect(
            url,
            compression=None,
            open_timeout=OPEN_S,
            close_timeout=CLOSE_S,
            ping_interval=None,
            max_size=MAX_FRAME,
            max_queue=MAX_QUEUE,
            proxy=None,
            user_agent_header=None,
        )
    except InvalidURI as error:
        raise Misconfigured(venue, f"{url} is no stream address", "check VENUE_STREAM_URL (ws:// or wss://)") from error
    except InvalidStatus as error:
        status = error.response.status_code
        if status in (418, 429):
            raise RateLimited(venue, f"stream {url}: asked too often (HTTP {status})", 60.0, str(status)) from error
        raise Retry(venue, f"stream {url}: HTTP {status} in place of a stream", code=str(status)) from error
    except (InvalidHandshake, WebSocketException) as error:
        raise Retry(venue, f"stream {url}: no websocket there ({error})") from error
    except TimeoutError as error:
        raise Retry(venue, f"stream {url}: no connection within {OPEN_S:.0f} s") from error
    except OSError as error:
        raise Retry(venue, f"stream {url}: {error.strerror or error}") from error
    return Socket(venue, connection)


def _closing(error: ConnectionClosed) -> str:
    for side, frame in (("the venue said", error.rcvd), ("we said", error.sent)):
        if frame is not None:
            return f"{side} {frame.code}" + (f" {frame.reason[:80]}" if frame.reason else "")
    return "no farewell"
