"""A hand-written Binance for tests: one market's trades over REST and streams, an account that answers as told.

It shares no code with the adapter or the sandbox. The trades are a list that the test grows, ids counting up; signed
requests are checked here and then answered with what the test laid ready.
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, unquote

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

SYMBOL = "BTCUSDT"
KEY, SECRET = "key-of-the-test", "secret-of-the-test"
ROW = {
    "symbol": SYMBOL,
    "status": "TRADING",
    "baseAsset": "BTC",
    "baseAssetPrecision": 8,
    "quoteAsset": "USDT",
    "quoteAssetPrecision": 8,
    "isSpotTradingAllowed": True,
    "filters": [
        {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00", "tickSize": "0.01000000"},
        {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.0", "stepSize": "0.00001000"},
        {"filterType": "NOTIONAL", "minNotional": "5.00000000"},
    ],
}
Answer = tuple[int, str, bytes, dict[str, str]]


def json_answer(value: object, status: int = 200, **headers: str) -> Answer:
    return status, "application/json;charset=UTF-8", json.dumps(value).encode(), headers


def refusal(code: int, text: str, status: int = 400, **headers: str) -> Answer:
    return json_answer({"code": code, "msg": text}, status, **headers)


HTML = (403, "text/html", b"<html><title>ERROR: The request could not be satisfied</title></html>", {})
HALF_JSON = (200, "application/json", b'[{"id":1,"price":"8100', {})
BROKEN = (502, "text/html", b"<html>bad gateway</html>", {})
NOTHING = (0, "", b"", {})  # closes without an answer


class Asked(dict[str, str]):
    """Parameters of a signed request, with its method and path."""

    def __init__(self, method: str, path: str, given: dict[str, str]) -> None:
        super().__init__(given)
        self.method, self.path = method, path


class Peer:
    """The venue. `faults[path]` are answers given once each before the true one; `answers[method path]` likewise for
    signed requests, where the last one laid ready goes on being given."""

    def __init__(self) -> None:
        self.trades: list[tuple[int, int, float, float, bool]] = []  # id, T ms, p, q, m
        self.rows: list[dict[str, Any]] = [ROW]
        self.limits: list[dict[str, Any]] = []  # of exchangeInfo
        self.faults: dict[str, list[Answer]] = {}
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[str] = []  # targets
        self.signed: list[Asked] = []
        self.reach = 1000  # trades that /trades serves, at most
        self.ahead_ms = 0  # of this peer's clock before ours
        self.acknowledge: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda request: {
            "result": None,
            "id": request["id"],
        }
        self.connections = 0
        self.requests: list[dict[str, Any]] = []  # on streams
        self.subscribed: dict[ServerConnection, set[str]] = {}
        self.listeners: list[ServerConnection] = []  # of the account
        self._servers: list[Any] = []
        self.rest_url = self.stream_url = ""

    async def __aenter__(self) -> "Peer":
        http = await asyncio.start_server(self._http, "127.0.0.1", 0)
        stream = await serve(self._stream, "127.0.0.1", 0, compression=None)
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

    def happened(self, at_ms: int, price: float, quantity: float = 0.01, maker_bought: bool = False) -> str:
        """One more trade; the frame that tells of it."""
        number = self.trades[-1][0] + 1 if self.trades else 1
        self.trades.append((number, at_ms, price, quantity, maker_bought))
        data = {"e": "trade", "E": at_ms, "s": SYMBOL, "t": number, "p": f"{price:.8f}", "q": f"{quantity:.8f}"}
        data |= {"T": at_ms, "m": maker_bought, "M": True}
        return json.dumps({"stream": "btcusdt@trade", "data": data})

    async def trade(self, at_ms: int, price: float) -> None:
        await self.send(self.happened(at_ms, price))

    async def send(self, frame: str) -> None:
        for connection, names in list(self.subscribed.items()):
            if "btcusdt@trade" in names:
                with contextlib.suppress(ConnectionClosed):
                    await connection.send(frame)

    async def tell(self, frame: dict[str, Any]) -> None:
        """To whoever listens to the account."""
        for connection in self.listeners:
            await connection.send(json.dumps(frame))

    async def cut(self) -> None:
        """Every stream connection breaks off."""
        for connection in [*self.subscribed, *self.listeners]:
            connection.transport.abort()
        self.subscribed.clear()
        self.listeners.clear()

    # --- REST ---

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                headers: dict[str, str] = {}
                while field := (await reader.readline()).decode().strip():
                    name, _, value = field.partition(":")
                    headers[name.lower()] = value.strip()
                method, target = line.decode().split()[:2]
                self.asked.append(target)
                status, kind, body, more = self._answer(method, target, headers)
                if status == 0:
                    break
                head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                head += f"Date: {formatdate(time.time() + self.ahead_ms / 1000, usegmt=True)}\r\n"
                writer.write((head + "".join(f"{k}: {v}\r\n" for k, v in more.items()) + "\r\n").encode() + body)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def now_ms(self) -> int:
        return int(time.time() * 1000) + self.ahead_ms

    def _answer(self, method: str, target: str, headers: dict[str, str]) -> Answer:
        path, _, query = target.partition("?")
        given = dict(parse_qsl(query))
        if self.faults.get(path):
            return self.faults[path].pop(0)
        match path:
            case "/api/v3/time":
                return json_answer({"serverTime": self.now_ms()})
            case "/api/v3/exchangeInfo":
                return json_answer({"symbols": self.rows, "rateLimits": self.limits})
            case "/api/v3/trades":
                return json_answer(self._rows(self.trades[-min(int(given["limit"]), self.reach) :]))
            case "/api/v3/historicalTrades":
                rows = [trade for trade in self.trades if trade[0] >= int(given["fromId"])]
                return json_answer(self._rows(rows[: int(given["limit"])]))
            case "/api/v3/aggTrades":
                first = next((n for n, at_ms, *_ in self.trades if at_ms >= int(given["startTime"])), None)
                return json_answer([{"a": 1, "f": first, "l": first}] if first is not None else [])
            case "/api/v3/klines":
                start, end = int(given["startTime"]), int(given["endTime"])
                rows = [row for row in self.candles() if start <= row[0] <= end]
                return json_answer(rows[: int(given["limit"])])
        return self._signed(method, path, query, given, headers)

    def _signed(self, method: str, path: str, query: str, given: dict[str, str], headers: dict[str, str]) -> Answer:
        text, _, signature = query.rpartition("&signature=")
        right = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
        if headers.get("x-mbx-apikey") != KEY:
            return refusal(-2014, "API-key format invalid.", 401)
        if signature != right:
            return refusal(-1022, "Signature for this request is not valid.")
        stamp = int(given["timestamp"])
        if not self.now_ms() - int(given["recvWindow"]) <= stamp < self.now_ms() + 1000:
            return refusal(-1021, "Timestamp for this request is outside of the recvWindow.")
        self.signed.append(Asked(method, path, given))
        ready = self.answers.get(f"{method} {path}", [])
        if not ready:
            return refusal(-1100, f"{method} {unquote(path)} has no answer in this test")
        return ready.pop(0) if len(ready) > 1 else ready[0]

    def _rows(self, trades: list[tuple[int, int, float, float, bool]]) -> list[dict[str, Any]]:
        return [
            {"id": n, "price": f"{p:.8f}", "qty": f"{q:.8f}", "quoteQty": "1", "time": t, "isBuyerMaker": m}
            for n, t, p, q, m in trades
        ]

    def candles(self) -> list[list[Any]]:
        """One-minute candles of all trades, the forming one included, oldest first."""
        rows: dict[int, list[float]] = {}
        for _, at_ms, price, quantity, _ in self.trades:
            row = rows.setdefault(at_ms - at_ms % 60_000, [price, price, price, price, 0.0, 0])
            row[1], row[2], row[3] = max(row[1], price), min(row[2], price), price
            row[4] += quantity
            row[5] += 1
        return [
            [start, *(f"{value:.8f}" for value in row[:5]), start + 59_999, "1", int(row[5]), "1", "1", "0"]
            for start, row in sorted(rows.items())
        ]

    # --- streams ---

    async def _stream(self, connection: ServerConnection) -> None:
        self.connections += 1
        assert connection.request is not None
        path = connection.request.path
        with contextlib.suppress(ConnectionClosed):
            async for frame in connection:
                request = json.loads(frame)
                self.requests.append(request)
                if path == "/stream":
                    names = self.subscribed.setdefault(connection, set())
                    names.update(name for name in request["params"] if name == name.lower())
                else:
                    self.listeners.append(connection)
                answer = self.acknowledge(request)
                if answer is not None:
                    await connection.send(json.dumps(answer))
        self.subscribed.pop(connection, None)
