"""A hand-written CoinDCX for tests: one pair's trades over REST and socket.io, with every fault a test asks for.

It shares no code with the adapter or the sandbox. The trades are a list that the test grows; the peer serves its
last 500 newest first, candles made of it, and sends each new one to the clients that joined.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from core.clock import NS_PER_S, LiveClock

PAIR = "B-BTC_USDT"
DETAILS = {
    "coindcx_name": "BTCUSDT",
    "base_currency_short_name": "USDT",
    "target_currency_short_name": "BTC",
    "base_currency_precision": 2,
    "target_currency_precision": 5,
    "min_quantity": 1e-05,
    "max_quantity_market": 9.5,
    "min_notional": 5,
    "step": 1e-05,
    "order_types": ["limit_order", "market_order"],
    "symbol": "BTCUSDT",
    "ecode": "B",
    "pair": PAIR,
    "status": "active",
}
Answer = tuple[int, str, bytes, dict[str, str]]


def json_answer(value: object, status: int = 200, **headers: str) -> Answer:
    return status, "application/json; charset=utf-8", json.dumps(value).encode(), headers


HTML = (403, "text/html", b"<!doctype html><html><title>Just a moment...</title></html>", {})
HALF_JSON = (200, "application/json", b'[{"p":81000.5,"q":0.1,"s":"BTCUSDT","T":17', {})
EMPTY_LIST = json_answer([])
TOO_MANY = json_answer({"code": 429, "message": "Too Many Requests", "status": "error"}, 429, **{"Retry-After": "1"})
BROKEN = (503, "application/json", b'{"message":"unavailable"}', {})
NOTHING = (0, "", b"", {})  # closes without an answer
LATE = (-1, "", b"", {})  # the true answer, LATE_S later, or when the test lets it go
LATE_S = 1.0
WRONG_SHAPE = json_answer({"status": "ok"})


class Peer:
    """The venue. `faults[path]` are answers given once each before the true one; `version` is the Engine.IO version."""

    def __init__(self, version: int = 4) -> None:
        self.trades: list[tuple[int, float, float, bool]] = []  # T ms, p, q, m
        self.older: list[dict[str, float]] = []  # candles before the first trade, oldest first
        self.faults: dict[str, list[Answer]] = {}
        self.details: list[dict[str, object]] = [DETAILS]
        self.asked: list[str] = []
        self.version = version
        self.deaf = False  # answers pings, sends no data
        self.refuse_stream = False
        self.hold: asyncio.Event | None = None  # until which an answer that is late waits
        self.only_version = False  # another Engine.IO version is answered with 400
        self.ahead_s = 0.0  # of this machine's clock
        self.connections = 0
        self.joined: dict[ServerConnection, set[str]] = {}
        self.frames: list[str] = []  # received
        self.encode: Callable[[int, float, float, bool], str] = frame_of
        self._servers: list[object] = []
        self.rest_url = self.stream_url = ""

    async def __aenter__(self) -> "Peer":
        http = await asyncio.start_server(self._http, "127.0.0.1", 0)
        stream = await serve(self._stream, "127.0.0.1", 0, compression=None, process_request=self._refuse)
        self._servers = [http, stream]
        self.rest_url = f"http://127.0.0.1:{http.sockets[0].getsockname()[1]}"
        self.stream_url = f"ws://127.0.0.1:{next(iter(stream.sockets)).getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        http, stream = self._servers
        stream.close()
        http.close()
        await stream.wait_closed()
        await asyncio.sleep(0)

    # --- what a test does ---

    def now_s(self) -> float:
        """By the venue's clock."""
        return LiveClock().wall_ns() / NS_PER_S + self.ahead_s

    async def trade(self, at_ms: int, price: float, quantity: float = 0.01, maker_bought: bool = False) -> None:
        """One trade happens; whoever joined hears of it."""
        self.trades.append((at_ms, price, quantity, maker_bought))
        if not self.deaf:
            await self.send(self.encode(at_ms, price, quantity, maker_bought))

    async def send(self, frame: str) -> None:
        for connection, channels in list(self.joined.items()):
            if f"{PAIR}@trades" in channels:
                with contextlib.suppress(ConnectionClosed):
                    await connection.send(frame)

    async def cut(self) -> None:
        """Every stream connection breaks off."""
        for connection in list(self.joined):
            connection.transport.abort()
        self.joined.clear()

    # --- REST ---

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                while (await reader.readline()).strip():
                    pass
                target = line.split()[1].decode()
                path = target.partition("?")[0]
                self.asked.append(target)
                fault = self.faults[path].pop(0) if self.faults.get(path) else None
                if fault == LATE:
                    await (asyncio.sleep(LATE_S) if self.hold is None else self.hold.wait())
                status, kind, body, headers = self._answer(target) if fault in (None, LATE) else fault
                if status == 0:
                    break
                head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                head += f"Date: {formatdate(self.now_s(), usegmt=True)}\r\n"
                writer.write((head + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n").encode() + body)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _answer(self, target: str) -> Answer:
        path, _, query = target.partition("?")
        arguments = dict(item.split("=") for item in query.split("&") if item)
        if path == "/exchange/v1/markets_details":
            return json_answer(self.details)
        if path == "/market_data/trade_history":
            rows = [{"p": p, "q": q, "s": "BTCUSDT", "T": t, "m": m} for t, p, q, m in self.trades[-500:]]
            return json_answer(rows[::-1][: int(arguments["limit"])])
        if path == "/market_data/candles":
            start, end = int(arguments["startTime"]), int(arguments["endTime"])
            rows = [row for row in self.candles() if start <= row["time"] <= end]
            return json_answer(rows[::-1][: int(arguments["limit"])])
        return json_answer({"code": 404, "message": "not_found", "status": "error"}, 404)

    def candles(self) -> list[dict[str, float]]:
        """One-minute candles of all trades, the forming one included, oldest first."""
        rows = {int(row["time"]): dict(row) for row in self.older}
        for at_ms, price, quantity, _ in self.trades:
            start = at_ms - at_ms % 60_000
            row = rows.get(start)
            if row is None:
                prices = dict.fromkeys(("open", "high", "low", "close"), price)
                rows[start] = {"time": start, **prices, "volume": quantity}
            else:
                row["high"], row["low"], row["close"] = max(row["high"], price), min(row["low"], price), price
                row["volume"] += quantity
        return [rows[start] for start in sorted(rows)]

    # --- stream ---

    def _refuse(self, connection: ServerConnection, request: Any) -> object:
        if f"EIO={self.version}" not in request.path and self.only_version:
            return connection.respond(400, "unsupported protocol version\n")
        return connection.respond(503, "no stream today\n") if self.refuse_stream else None

    async def _stream(self, connection: ServerConnection) -> None:
        self.connections += 1
        self.joined[connection] = set()
        opening = {"sid": "x", "upgrades": [], "pingInterval": 25000, "pingTimeout": 20000}
        with contextlib.suppress(ConnectionClosed):
            await connection.send("0" + json.dumps(opening))
            if self.version == 3:
                await connection.send("40")
            async for frame in connection:
                self.frames.append(str(frame))
                if frame == "40" and self.version == 4:
                    await connection.send('40{"sid":"y"}')
                elif frame == "2":
                    await connection.send("3")
                elif str(frame).startswith("42"):
                    name, argument = json.loads(str(frame)[2:])
                    if name == "join":
                        self.joined[connection].add(argument["channelName"])
        self.joined.pop(connection, None)


def frame_of(at_ms: int, price: float, quantity: float, maker_bought: bool) -> str:
    """A new-trade event as seen live: JSON inside JSON, numbers as text."""
    data = {"T": at_ms, "p": f"{price:.8f}", "q": f"{quantity:.8f}", "m": int(maker_bought), "s": PAIR, "pr": "spot"}
    return "42" + json.dumps(["new-trade", {"event": "new-trade", "data": json.dumps(data)}])
