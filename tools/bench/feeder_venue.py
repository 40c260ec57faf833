"""A venue for benches of the feeder: many markets, so many trades a second, and nothing else.

`python -m tools.bench.feeder_venue PROTOCOL PAIR,… [FRAMES]` prints its port and obeys lines on its standard input:

    wait                         until a client has joined every pair and asked all that it wants to know
    trade RATE SECONDS [CUT_S [BURST]]   trades happen and go out; every CUT_S seconds all connections are cut, and
                                 with each cut BURST trades of each pair happen at once
    play                         sends the frames of the file FRAMES, one a line, as fast as they are taken
    closes                       the close of each minute by pair, [minute in ms, price] oldest first

Each is answered with one line of JSON, where nothing else is said the number of trades by pair, ids counting from 1.
REST and stream share the port. Trades are sent as frames of their own, those of one millisecond with one write.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs

from tools.bench.feeder_protocols import MINUTE_MS, PROTOCOLS, Bar, Kraken, Protocol, Trade, now_ms

KEPT = {"binance": 5_000, "kraken": 5_000, "coindcx": 500}  # trades of a market that REST still has
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TICK_S = 0.001
QUIET_S = 1.5
PLAYED_AT_ONCE = 100
UNSENT_MOST = 4 * 1024 * 1024  # bytes that may wait for a client while trades happen


def frame(text: bytes) -> bytes:
    """A text frame from a server."""
    size = len(text)
    if size < 126:
        return bytes((0x81, size)) + text
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + text
    return b"\x81\x7f" + size.to_bytes(8, "big") + text


class Market:
    """What happened so far, and who listens."""

    def __init__(self, protocol: Protocol, kept: int) -> None:
        self.protocol = protocol
        self.trades: dict[str, deque[Trade]] = {pair: deque(maxlen=kept) for pair in protocol.pairs}
        self.counts = dict.fromkeys(protocol.pairs, 0)
        self._bars: dict[str, dict[int, list[int]]] = {pair: {} for pair in protocol.pairs}
        self.joined: dict[asyncio.StreamWriter, set[str]] = {}
        self.whole = asyncio.Event()  # somebody has joined everything
        self._asked_s = 0.0  # when REST was asked last

    async def wait(self, quiet_s: float) -> None:
        """Until somebody has joined everything and REST was not asked for so long."""
        await self.whole.wait()
        self._asked_s = time.monotonic()
        while (left_s := self._asked_s + quiet_s - time.monotonic()) > 0:  # noqa: ASYNC110 - time is waited for
            await asyncio.sleep(left_s)

    async def trade(self, rate: float, seconds: float, cut_s: float = 0.0, burst: float = 0.0) -> None:
        """Trades of the pairs in turn, those that are due each millisecond."""
        pairs, size = self.protocol.pairs, len(self.protocol.pairs)
        began_s, done, cuts = time.monotonic(), 0, 1
        while (past_s := time.monotonic() - began_s) < seconds:
            due = int(past_s * rate)
            at_ms = now_ms()
            frames = [self._one(pairs[n % size], at_ms, n) for n in range(done, due)]
            done = due
            if frames:
                self.send(b"".join(frames))
            if cut_s and past_s >= cuts * cut_s and past_s < seconds - cut_s / 2:
                cuts += 1
                self.cut()
                for n in range(int(burst) * size):
                    self._one(pairs[n % size], at_ms, n)
            await asyncio.sleep(TICK_S)

    def _one(self, pair: str, at_ms: int, n: int) -> bytes:
        number = self.counts[pair] = self.counts[pair] + 1
        cents = 10_000 + n % 7
        trade = (number, at_ms, cents, n % 3 == 0)
        self.trades[pair].append(trade)
        bar = self._bars[pair].setdefault(at_ms - at_ms % MINUTE_MS, [cents, cents, cents, cents, 0, 0])
        bar[1:] = max(bar[1], cents), min(bar[2], cents), cents, bar[4] + number, bar[5] + 1
        return frame(self.protocol.event(pair, trade).encode())

    def bars(self, pair: str, from_ms: int, to_ms: int) -> list[Bar]:
        """Minutes, oldest first: start, the four prices, lots, trades."""
        found = self._bars[pair].items()
        return [(at, [c / 100 for c in bar[:4]], bar[4], bar[5]) for at, bar in found if from_ms <= at <= to_ms]

    def send(self, data: bytes) -> None:
        for writer, pairs in list(self.joined.items()):
            if len(pairs) == len(self.protocol.pairs) and not writer.transport.is_closing():
                if writer.transport.get_write_buffer_size() > UNSENT_MOST:
                    writer.transport.abort()  # as a venue does with who is too slow
                writer.write(data)

    def cut(self) -> None:
        for writer in self.joined:
            writer.transport.abort()

    async def play(self, texts: Sequence[bytes]) -> None:
        """Sends frames as fast as the client takes them."""
        (writer,) = self.joined
        for at in range(0, len(texts), PLAYED_AT_ONCE):
            writer.write(b"".join(map(frame, texts[at : at + PLAYED_AT_ONCE])))
            await writer.drain()

    # --- connections ---

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while line := await reader.readline():
                headers = {}
                while header := (await reader.readline()).strip():
                    name, _, value = header.partition(b":")
                    headers[name.strip().lower()] = value.strip()
                target = line.split()[1].decode()
                if headers.get(b"upgrade", b"").lower() == b"websocket":
                    await self._stream(reader, writer, headers[b"sec-websocket-key"])
                    break
                self._rest(writer, target)
        self.joined.pop(writer, None)
        writer.close()

    def _rest(self, writer: asyncio.StreamWriter, target: str) -> None:
        self._asked_s = time.monotonic()
        path, _, query = target.partition("?")
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        body = json.dumps(self.protocol.answer(path, asked, self)).encode()
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: {date}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: bytes) -> None:
        accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest()).decode()
        head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        writer.write(f"{head}Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())
        joined = self.joined[writer] = set()
        beat = asyncio.create_task(self._beat(writer)) if isinstance(self.protocol, Kraken) else None
        try:
            for text in self.protocol.hello():
                writer.write(frame(text.encode()))
            while True:
                opcode, payload = await read_frame(reader)
                if opcode == 0x8:
                    writer.write(bytes((0x88, len(payload))) + payload)
                    return
                if opcode == 0x1:
                    replies, pairs = self.protocol.reply(payload.decode())
                    joined |= pairs
                    for reply in replies:
                        writer.write(frame(reply.encode()))
                    if len(joined) == len(self.protocol.pairs):
                        self.whole.set()
        finally:
            if beat is not None:
                beat.cancel()

    async def _beat(self, writer: asyncio.StreamWriter) -> None:
        while not writer.transport.is_closing():
            writer.write(frame(b'{"channel":"heartbeat"}'))
            await asyncio.sleep(1)


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Opcode and payload of a client's frame."""
    first, second = await reader.readexactly(2)
    size = second & 127
    if size > 125:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    mask = await reader.readexactly(4) if second > 127 else b"\0\0\0\0"
    payload = await reader.readexactly(size)
    return first & 15, bytes(byte ^ mask[at & 3] for at, byte in enumerate(payload))


async def obey(market: Market, texts: Sequence[bytes]) -> None:
    """Carries out the lines of the standard input until it ends."""
    lines = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(0, "rb")
    )
    while words := (await lines.readline()).split():
        if words[0] == b"wait":
            await market.wait(QUIET_S)
        elif words[0] == b"closes":
            closes = {
                pair: [[at, prices[3]] for at, prices, _, _ in market.bars(pair, 0, 2**62)] for pair in market.counts
            }
            print(json.dumps(closes), flush=True)
            continue
        elif words[0] == b"play":
            await market.play(texts)
        else:
            await market.trade(*map(float, words[1:]))
        print(json.dumps(market.counts), flush=True)
    transport.close()


async def main(name: str, pairs: Sequence[str], texts: Sequence[bytes]) -> None:
    market = Market(PROTOCOLS[name](pairs), KEPT[name])
    server = await asyncio.start_server(market.serve, "127.0.0.1", 0)
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await obey(market, texts)


if __name__ == "__main__":
    played = Path(sys.argv[3]).read_bytes().splitlines() if len(sys.argv) > 3 else []
    asyncio.run(main(sys.argv[1], sys.argv[2].split(","), played))
