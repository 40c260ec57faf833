"""Where the sandbox meets its clients: every request and every frame of every face passes here, and faults strike here.

An ASGI application around the face's own. Without faults nothing is touched. The control endpoint (`sandbox.control`)
is behind it and is never struck.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate, parsedate_to_datetime
from fnmatch import fnmatchcase
from typing import Any

from sandbox import faults as kinds
from sandbox.faults import Fault, Faults

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Receive, Send], Awaitable[None]]

CONTROL = "/sandbox/"
PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>%d Service Temporarily Unavailable</title></head>\n"
    b"<body><center><h1>%d</h1></center><hr><center>cloudflare</center></body></html>\n"
)
WORDS = {  # the venue's own kind of error body, where a fault gives none
    "coindcx": '{"code":%d,"message":"%s","status":"error"}',
    "binance": '{"code":%d,"msg":"%s"}',
    "kraken": '{"error":["%s"]}',
}
TEXTS = {429: "Too Many Requests", 418: "IP banned", 500: "Internal Server Error", 503: "Service Unavailable"}
BINANCE_CODES = {429: -1003, 418: -1003}  # any other: -1000
KRAKEN_TEXTS = {429: "EGeneral:Too many requests", 418: "EGeneral:Temporary lockout"}  # any other: unavailable


class Gate:
    """The application that uvicorn serves: `inner` is the face, `control` the endpoint under /sandbox/."""

    def __init__(
        self, inner: Application, control: Application, protocol: str, faults: Faults, seconds: Callable[[], float]
    ) -> None:
        self._inner = inner
        self._control = control
        self._protocol = protocol
        self._faults = faults
        self.seconds = seconds
        self._wires: set[_Wire] = set()
        self.on_close: list[Callable[[], None]] = []

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._inner(scope, receive, send)
        elif scope["path"].startswith(CONTROL):
            await self._control(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._http(scope, receive, send)

    def close(self) -> None:
        """Ends what runs beside the answers: timers, and the exchange's books."""
        for end in self.on_close:
            end()
        self.on_close.clear()

    def disconnect(self, path: str = "*") -> None:
        """Cuts every socket whose path fits."""
        for wire in list(self._wires):
            if fnmatchcase(wire.path, path):
                abort(wire.send_raw)

    # --- requests ---

    async def _http(self, scope: Any, receive: Receive, send: Send) -> None:
        raw = send
        if self._faults.skew_ms:
            send = _skewed(send, self._faults.skew_ms)
        if self._faults.maintenance:
            await _answer(send, 503, PAGE % (503, 503), "text/html", None)
            return
        now_s = self.seconds()
        struck = {fault.kind: fault for fault in self._faults.request(scope["method"], scope["path"], now_s)}
        if not struck:
            await self._inner(scope, receive, send)
            return
        if kinds.LATENCY in struck:
            await asyncio.sleep(struck[kinds.LATENCY].ms / 1000.0)
        if kinds.LOST_REQUEST in struck:
            await _cut(receive, raw)
            return
        instead = struck.get(kinds.STATUS) or struck.get(kinds.HTML)
        if instead is not None and not instead.acted:
            await self._instead(send, instead)
            return
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        await self._inner(scope, receive, keep)
        if kinds.SLOW_REPLY in struck:
            await asyncio.sleep(struck[kinds.SLOW_REPLY].ms / 1000.0)
        if kinds.DROPPED_REPLY in struck:
            await _cut(receive, raw)
        elif instead is not None:
            await self._instead(send, instead)
        elif kinds.CUT_REPLY in struck:
            await _half(answer, receive, send, raw)
        else:
            for message in answer:
                await send(message)

    async def _instead(self, send: Send, fault: Fault) -> None:
        """The answer that a fault gives in place of the face's."""
        if fault.kind == kinds.HTML:
            body = fault.body.encode() if fault.body is not None else PAGE % (fault.status, fault.status)
            await _answer(send, fault.status, body, "text/html", fault.retry_after_s)
            return
        body = fault.body.encode() if fault.body is not None else error_body(self._protocol, fault.status)
        await _answer(send, fault.status, body, "application/json", fault.retry_after_s)

    # --- streams ---

    async def _websocket(self, scope: Any, receive: Receive, send: Send) -> None:
        refused = self._faults.handshake(scope["path"], self.seconds())
        if refused is not None or self._faults.maintenance:
            status = refused.status if refused is not None else 503
            await receive()
            await send({"type": "websocket.http.response.start", "status": status, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b""})
            return
        wire = _Wire(scope["path"], send, self._faults, self.seconds)
        self._wires.add(wire)
        try:
            await self._inner(scope, receive, wire.send)
        finally:
            self._wires.discard(wire)


class _Wire:
    """One socket's way out."""

    def __init__(self, path: str, send: Send, faults: Faults, seconds: Callable[[], float]) -> None:
        self.path = path
        self.send_raw = send
        self._faults = faults
        self._seconds = seconds
        self._held: Message | None = None

    def send(self, message: Message) -> Awaitable[None]:
        if "texts" in message:  # our own: many text frames at once
            return self._many(message["texts"])
        if message["type"] != "websocket.send" or not (self._faults.on_frames or self._held):
            return self.send_raw(message)
        return self._struck(message)

    async def _many(self, texts: list[str]) -> None:
        """Sends frames in one piece; where a fault may strike one, each by itself."""
        if not (self._faults.on_frames or self._held):
            await write_frames(self.send_raw, texts)
            return
        for text in texts:
            await self._struck({"type": "websocket.send", "text": text})

    async def _struck(self, message: Message) -> None:
        """Sends a message as the faults leave it."""
        text = message.get("text")
        if text is None:
            await self.send_raw(message)
            return
        struck = {fault.kind: fault for fault in self._faults.frame(self.path, text, self._seconds())}
        held, self._held = self._held, None
        if kinds.DELAY in struck:
            await asyncio.sleep(struck[kinds.DELAY].ms / 1000.0)
        if kinds.DISCONNECT in struck:
            abort(self.send_raw)
        elif kinds.CUT_FRAME in struck:
            cut_frame(self.send_raw, text)
        elif kinds.REORDER in struck and held is None:
            self._held = message
        elif kinds.SILENT not in struck and kinds.MISSING not in struck:
            await self._send_all(text, struck)
        if held is not None:
            await self.send_raw(held)

    async def _send_all(self, text: str, struck: dict[str, Fault]) -> None:
        garbage = struck.get(kinds.GARBAGE)
        if garbage is not None:
            await self.send_raw({"type": "websocket.send", "text": garbage.text})
            if garbage.instead:
                return
        if kinds.HALF_FRAME in struck:
            text = text[: len(text) // 2]
        for _ in range(2 if kinds.DUPLICATE in struck else 1):
            await self.send_raw({"type": "websocket.send", "text": text})


def error_body(protocol: str, status: int) -> bytes:
    """A status in the venue's own words."""
    text = TEXTS.get(status, "Internal Server Error")
    if protocol == "kraken":
        return (WORDS[protocol] % KRAKEN_TEXTS.get(status, "EService:Unavailable")).encode()
    code = BINANCE_CODES.get(status, -1000) if protocol == "binance" else status
    return (WORDS[protocol] % (code, text)).encode()


async def _answer(send: Send, status: int, body: bytes, kind: str, retry_after_s: int | None) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    if retry_after_s is not None:
        headers.append((b"retry-after", str(retry_after_s).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _half(answer: list[Message], receive: Receive, send: Send, raw: Send) -> None:
    """The head of an answer with its true length, half its body, and no more."""
    body = b"".join(message.get("body", b"") for message in answer if message["type"] == "http.response.body")
    for message in answer:
        if message["type"] == "http.response.start":
            await send(message)
    await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
    transport_of(raw).close()
    await _gone(receive)


async def _cut(receive: Receive, send: Send) -> None:
    """Ends the connection without a word."""
    abort(send)
    await _gone(receive)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _skewed(send: Send, skew_ms: int) -> Send:
    """Moves the Date of an answer."""

    async def moved(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = message["headers"]
            message["headers"] = [
                (name, _date(value, skew_ms) if name == b"date" else value) for name, value in headers
            ]
        await send(message)

    return moved


def _date(value: bytes, skew_ms: int) -> bytes:
    at_s = parsedate_to_datetime(value.decode()).timestamp()
    return formatdate(at_s + skew_ms / 1000.0, usegmt=True).encode()


# uvicorn's `send` is a method of what holds the connection: the one way from an ASGI application to the connection
# itself, which is what a fault has to cut.


def transport_of(send: Send) -> asyncio.Transport:
    """The connection behind uvicorn's own `send`."""
    found: asyncio.Transport = send.__self__.transport  # type: ignore[attr-defined]
    return found


def abort(send: Send) -> None:
    """Resets the connection."""
    transport_of(send).abort()


async def write_frames(send: Send, texts: list[str]) -> None:
    """Sends text frames in one piece, waiting for a slow peer as uvicorn does; OSError where the connection is gone.

    uvicorn makes a system call a frame and builds each through an object: of 20,000 frames a second that is most.
    """
    await send.__self__.writable.wait()  # type: ignore[attr-defined]
    transport = transport_of(send)
    if transport.is_closing():
        raise ConnectionResetError("the client went away")
    transport.write(b"".join([frame_of(text) for text in texts]))


def frame_of(text: str) -> bytes:
    """A whole text frame of a server (RFC 6455, 5.2)."""
    payload = text.encode()
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def cut_frame(send: Send, text: str) -> None:
    """Sends the head of a websocket frame and half of what it announces, then closes the connection."""
    payload = text.encode()
    size = len(payload)
    head = bytes([0x81, size]) if size < 126 else bytes([0x81, 126]) + min(size, 65_535).to_bytes(2, "big")
    transport = transport_of(send)
    transport.write(head + payload[: min(size, 65_535) // 2])
    transport.close()
