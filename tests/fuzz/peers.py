"""What lies under the parsers: the frames of a websocket, cut anywhere, and the header of a tape."""

import asyncio
import io
from types import SimpleNamespace
from typing import Any

import msgspec
from websockets.client import ClientProtocol
from websockets.uri import parse_uri
from websockets.utils import accept_key

from bus.messages import Start
from bus.segment import SegmentHeader, pack_header, read_header
from venues.stream import MAX_FRAME, Connection

LONG = b"x" * 200
FRAMES = [
    b"\x05" + b"\x81\x02{}" + b"\x89\x00" + b"\x01\x01a\x80\x01b" + b"\x81\x01c",
    b"\xff" + b"\x81\x7e\x00\xc8" + LONG + b"\x82\x01a" + b"\x88\x02\x03\xe8",
]
HEADER = SegmentHeader.new(1, 1, 2, "boot", Start("kraken", "b", [], "40", "25", False, 1))
TAPE = [pack_header(HEADER)]
TAPE_START = [HEADER.body]


class Wire(asyncio.Transport):
    """A transport that takes everything and gives nothing."""

    def write(self, data: Any) -> None:
        pass

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    close = abort = lambda self: None


def frames_cut(data: bytes) -> None:
    """What comes after the handshake; the first byte says how long the pieces are. They change no message."""
    size, data = (data[0] + 1, data[1:]) if data else (1, b"")
    size = max(size, len(data) // 20)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert asyncio.run(_messages(pieces)) == asyncio.run(_messages([data]))


async def _messages(pieces: list[bytes]) -> list[str | None]:
    protocol = ClientProtocol(parse_uri("ws://venue/"), max_size=MAX_FRAME)
    connection = Connection(protocol)
    connection.connection_made(Wire())
    request = protocol.connect()
    protocol.send_request(request)
    connection.send_data()
    accepted = accept_key(request.headers["Sec-WebSocket-Key"])
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    connection.data_received(f"{head}Sec-WebSocket-Accept: {accepted}\r\n\r\n".encode())
    for piece in pieces:
        connection.data_received(piece)
    return list(connection._messages)


class InMemory:
    """As much of a path as the reader of headers asks for."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def open(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)

    def stat(self) -> SimpleNamespace:
        return SimpleNamespace(st_size=len(self._data))


def tape_header(data: bytes) -> object:
    path: Any = InMemory(data)
    return read_header(path)


def tape_start(data: bytes) -> object:
    """What a header says whose checksum is right."""
    return msgspec.structs.replace(HEADER, body=data).start()
