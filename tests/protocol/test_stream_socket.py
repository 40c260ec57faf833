"""The client's websocket against bytes as a server may send them: cut anywhere, mixed, broken, too many."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.uri import parse_uri
from websockets.utils import accept_key, apply_mask

from venues import stream
from venues.errors import RateLimited, Retry
from venues.stream import MAX_FRAME, MAX_QUEUE, Connection, open_socket

TEXT, BINARY, CONTINUED, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA
FIN = 0x80


def frame(payload: bytes, opcode: int = TEXT, fin: bool = True, masked: bool = False) -> bytes:
    """A frame as RFC 6455, section 5.2, has it."""
    size = len(payload)
    mask = 0x80 if masked else 0
    if size < 126:
        length = bytes([mask | size])
    elif size < 2**16:
        length = bytes([mask | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([mask | 127]) + size.to_bytes(8, "big")
    body = b"\1\2\3\4" + apply_mask(payload, b"\1\2\3\4") if masked else payload
    return bytes([(FIN if fin else 0) | opcode]) + length + body


class Wire(asyncio.Transport):
    """A transport that keeps what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.paused = self.aborted = False

    def write(self, data) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def set_write_buffer_limits(self, high=None, low=None) -> None:
        pass

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True

    def sent(self) -> list[tuple[int, bytes]]:
        """Opcode and payload of the short frames that were written."""
        found, at, data = [], 0, self.written
        while at < len(data):
            size = data[at + 1] & 127
            payload = apply_mask(data[at + 6 : at + 6 + size], data[at + 2 : at + 6])
            found.append((data[at] & 15, payload))
            at += 6 + size
        return found


def answer(request_key: str) -> bytes:
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return f"{head}Sec-WebSocket-Accept: {accept_key(request_key)}\r\n\r\n".encode()


def connected(chunks: list[bytes] | Callable[[bytes], list[bytes]]) -> tuple[Connection, Wire]:
    """A connection after the handshake; `chunks` are what arrives, or make that of the handshake's answer."""
    protocol = ClientProtocol(parse_uri("ws://venue/"), max_size=MAX_FRAME)
    connection, wire = Connection(protocol), Wire()
    connection.connection_made(wire)
    request = protocol.connect()
    protocol.send_request(request)
    connection.send_data()
    wire.written = b""
    head = answer(request.headers["Sec-WebSocket-Key"])
    for chunk in chunks(head) if callable(chunks) else [head, *chunks]:
        connection.data_received(chunk)
    return connection, wire


def play(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scene())


def messages_of(connection: Connection) -> list[str | None]:
    return list(connection._messages)


TEXTS = st.text(max_size=40) | st.integers(100, 140).map(lambda n: "x" * n) | st.just("é" * 40_000)


@given(
    data=st.data(),
    messages=st.lists(st.tuples(TEXTS, st.integers(1, 3), st.booleans(), st.booleans()), max_size=8),
)
@settings(max_examples=150, deadline=None)
def test_messages_cut_anywhere_arrive_whole_and_in_order(data, messages):
    stream_bytes, expected = b"", []
    for text, parts, binary, pinged in messages:
        payload = text.encode()
        cuts = sorted(data.draw(st.integers(0, len(payload))) for _ in range(parts - 1))
        pieces = [payload[a:b] for a, b in pairwise([0, *cuts, len(payload)])]
        for n, piece in enumerate(pieces):
            opcode = CONTINUED if n else BINARY if binary else TEXT
            stream_bytes += frame(piece, opcode, n == len(pieces) - 1)
            if pinged:
                stream_bytes += frame(b"are you there", PING)
        expected.append(None if binary else text)

    async def scene() -> None:
        def chunks(head: bytes) -> list[bytes]:
            whole = head + stream_bytes
            cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
            return [whole[a:b] for a, b in pairwise([0, *cuts, len(whole)])]

        connection, wire = connected(chunks)
        assert messages_of(connection) == expected
        pings = sum(parts for _, parts, _, pinged in messages if pinged)
        assert wire.sent() == [(PONG, b"are you there")] * pings

    play(scene)


BROKEN = {
    "masked": (frame(b"{}", masked=True), 1002),
    "long and masked": (frame(b"x" * 200, masked=True), 1002),
    "reserved bits": (b"\xc1\x02{}", 1002),
    "an unknown opcode": (frame(b"", 0x3), 1002),
    "text amid fragments": (frame(b"a", fin=False) + frame(b"b"), 1002),
    "an end without a beginning": (frame(b"a", CONTINUED), 1002),
    "a ping too long": (frame(b"x" * 126, PING), 1002),
    "text that is no UTF-8": (frame(b"\xff\xfe"), 1007),
    "fragments that are no UTF-8": (frame(b"\xff", fin=False) + frame(b"\xfe", CONTINUED), 1007),
    "too long": (frame(b"x" * (MAX_FRAME + 1))[:100], 1009),
    "too long in fragments": (frame(b"x" * MAX_FRAME, fin=False) + frame(b"xx", CONTINUED), 1009),
    "too many fragments": (frame(b"x", fin=False) + frame(b"x", CONTINUED, fin=False) * stream.MAX_FRAGMENTS, 1009),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_breaks_the_rules_ends_the_connection_with_its_code(case, monkeypatch):
    monkeypatch.setattr(stream, "CLOSE_S", 0.01)
    broken, code = BROKEN[case]

    async def scene() -> None:
        connection, wire = connected([frame(b"before"), broken, frame(b"behind")])
        assert messages_of(connection) == ["before"]
        opcode, payload = wire.sent()[-1]
        assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, code)
        while not wire.aborted:  # noqa: ASYNC110 - the other side never closes
            await asyncio.sleep(0.005)
        connection.connection_lost(None)
        assert await connection.take() == ["before"]
        with pytest.raises(ConnectionClosed):
            await connection.take()

    play(scene)


def test_a_farewell_comes_after_the_last_message():
    async def scene() -> None:
        farewell = (1001).to_bytes(2, "big") + b"see you"
        connection, wire = connected([frame(b"a") + frame(farewell, CLOSE) + frame(b"behind it")])
        connection.connection_lost(None)
        assert await connection.take() == ["a"]
        with pytest.raises(ConnectionClosed) as caught:
            await connection.take()
        assert caught.value.rcvd.code == 1001 and caught.value.rcvd.reason == "see you"
        assert wire.sent()[0][0] == CLOSE

    play(scene)


def test_a_slow_reader_stops_the_network_and_goes_on_when_it_took():
    async def scene() -> None:
        connection, wire = connected([frame(b"x") * (MAX_QUEUE - 1)])
        assert not wire.paused
        connection.data_received(frame(b"x"))
        assert wire.paused
        assert len(await connection.take()) == MAX_QUEUE
        assert not wire.paused

    play(scene)


def test_many_frames_a_second_are_taken_in_batches(monkeypatch):
    monkeypatch.setattr(stream, "MAX_QUEUE", 10**9)

    async def scene() -> None:
        connection, wire = connected([])
        while not wire.paused:
            connection.data_received(frame(b"x") * 10)
            await asyncio.sleep(0)
        await connection.take()
        assert wire.paused  # taken, and yet the network rests
        while wire.paused:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        await asyncio.sleep(2 * stream.WINDOW_S)
        connection.data_received(frame(b"x"))
        assert not wire.paused  # it was quiet again

    play(scene)


def test_a_ping_and_a_message_are_heard_and_an_answer_of_ours_is_not():
    async def scene() -> None:
        connection, _ = connected([])
        socket = stream.Socket("v", connection)
        for came, heard in ((frame(b"", PING), True), (frame(b"", PONG), False), (frame(b"{}"), True)):
            connection.heard_s -= 100
            connection.data_received(came)
            if connection._messages:
                await socket.receive_many()
            assert (socket.silent_s() < 50) is heard
            connection.heard_s = connection.loop.time()

    play(scene)


def test_who_waits_is_cancelled_and_may_come_again():
    async def scene() -> None:
        connection, _ = connected([])
        waiting = asyncio.create_task(connection.take())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        connection.data_received(frame(b"a"))
        assert await connection.take() == ["a"]

    play(scene)


@contextlib.asynccontextmanager
async def server(talk: Callable[[ServerConnection], Awaitable[None]]):
    async with serve(talk, "127.0.0.1", 0, compression=None) as serving:
        port = next(iter(serving.sockets)).getsockname()[1]
        yield await open_socket("venue", f"ws://127.0.0.1:{port}/x")


def test_frames_one_by_one_and_many_at_a_time_are_the_same_frames():
    async def scene() -> None:
        async def talk(connection: ServerConnection) -> None:
            for n in range(300):
                await connection.send(str(n))
            await connection.send(b"binary")
            await connection.close(1012, "restart")

        async with server(talk) as socket:
            found: list[str | None] = []
            with pytest.raises(Retry, match="1012 restart"):
                while True:
                    found.append(await socket.receive())
                    found += await socket.receive_many()
            assert found == [*(str(n) for n in range(300)), None]
            await socket.close()

    play(scene)


def test_a_flood_waits_at_the_other_side_and_a_farewell_gets_through_it():
    async def scene() -> None:
        sent = 0
        ended = asyncio.Event()

        async def talk(connection: ServerConnection) -> None:
            nonlocal sent
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await connection.send("x" * 10_000)
                    sent += 1
            assert connection.close_code == 1000
            ended.set()

        async with server(talk) as socket:
            before = -1
            while before != sent:  # until nothing moves any more: all buffers are full
                before = sent
                await asyncio.sleep(0.1)
            got = len(await socket.receive_many())
            assert 0 < got < 2 * MAX_QUEUE and got <= sent + 1
            await socket.close()
            await ended.wait()

    play(scene)


# --- the handshake ---


@contextlib.asynccontextmanager
async def answering(head: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers every handshake so; its address, and what it was asked."""
    asked: list[bytes] = []

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(head.encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    async with server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", asked


REFUSED = {
    "seconds": ("429 Too Many Requests", "Retry-After: 300", 300.0),
    "a ban of days": ("418 Banned", "Retry-After: 259200", 259_200.0),
    "a date": (
        "429 Too Many Requests",
        "Date: Sun, 22 Nov 2026 13:38:10 GMT\r\nRetry-After: Sun, 22 Nov 2026 13:48:10 GMT",
        600.0,
    ),
    "a date without a clock": ("429 Too Many Requests", "Retry-After: Sun, 22 Nov 2026 13:48:10 GMT", 60.0),
    "nothing": ("429 Too Many Requests", "X: y", 60.0),
}


@pytest.mark.parametrize(("status", "header", "pause_s"), REFUSED.values(), ids=REFUSED)
def test_a_handshake_refused_for_coming_too_often_waits_as_long_as_the_venue_says(status, header, pause_s):
    async def scene() -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n{header}\r\n\r\n"
        async with answering(head) as (url, asked):
            with pytest.raises(RateLimited) as caught:
                await open_socket("v", url)
            assert caught.value.retry_after_s == pause_s
            assert b"\r\nUser-Agent: scalp-bot\r\n" in asked[0]

    play(scene)
