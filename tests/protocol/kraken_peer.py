"""A hand-written Kraken for tests: REST, public and private, and WebSocket v2, with the faults that a test asks for.

It shares no code with the adapter or the sandbox. The trades of one market are a list that the test grows; the account
is a few dictionaries that the test fills. REST answers are keyed by the pair key, as the venue does.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

KEY = "XXBTZUSD"
ROW = {
    "altname": "XBTUSD",
    "wsname": "XBT/USD",
    "base": "XXBT",
    "quote": "ZUSD",
    "pair_decimals": 1,
    "lot_decimals": 8,
    "ordermin": "0.00005",
    "costmin": "0.5",
    "tick_size": "0.1",
    "status": "online",
}
NAMES = ("XXBTZUSD", "XBTUSD", "XBT/USD", "BTC/USD")
API_KEY = "peer-key"
SECRET = base64.b64encode(b"peer-secret-peer-secret").decode()
Answer = tuple[int, str, bytes]


def good(result: object) -> Answer:
    return 200, "application/json; charset=utf-8", json.dumps({"error": [], "result": result}).encode()


def bad(*errors: str) -> Answer:
    return 200, "application/json; charset=utf-8", json.dumps({"error": list(errors)}).encode()


HTML = (520, "text/html", b"<!doctype html><html><title>kraken.com | 520: unknown error</title></html>")
NOTHING = (0, "", b"")  # closes without an answer
HALF = (200, "application/json", b'{"error":[],"result":{"XXB')
EMPTY = (200, "application/json", b"{}")


class Peer:
    """The venue. `faults[method]` are answers given once each in place of the true one."""

    def __init__(self) -> None:
        self.trades: list[tuple[float, str, str, str, int]] = []  # time s, price, volume, side, id
        self.rows: dict[str, dict[str, Any]] = {KEY: ROW}
        self.faults: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []  # method and fields of every request
        self.nonces: list[int] = []
        self.page = 1000
        self.ahead_s = 0.0  # its clock before ours
        self.results: dict[str, Callable[[dict[str, str]], object]] = {}  # private methods
        self.lose: set[str] = set()  # private methods that are done, and the answer lost
        self.held: set[str] = set()  # methods that are done, and the answer waits until they are taken out
        self.beats = True
        self.refused: dict[str, str] = {}  # symbols, with the venue's words
        self.mute = False  # acknowledges nothing
        self.early: list[object] = []  # frames sent before the acknowledgements
        self.system = "online"
        self.paths: list[str] = []
        self.joined: dict[ServerConnection, set[str]] = {}  # symbols and channels
        self.requests: list[dict[str, Any]] = []  # frames that came
        self._servers: list[Any] = []
        self._tasks: set[asyncio.Task[None]] = set()

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
        for task in self._tasks:
            task.cancel()
        await stream.wait_closed()
        await asyncio.sleep(0)

    # --- what a test does ---

    def now_s(self) -> float:
        return time.time() + self.ahead_s

    def happened(self, *numbers: int, at_s: float = 1_700_000_000.0, apart_s: float = 1.0) -> None:
        """Trades of these ids, without telling anybody."""
        for number in numbers:
            self.trades.append((at_s + number * apart_s, f"{30_000 + number % 100}.1", "0.01000000", "b", number))

    def stamped(self, count: int, price: float = 30_000.0) -> list[tuple[float, str, str, str, int]]:
        """So many trades happen now, as REST has them; half of them alike in everything but their ids."""
        first = self.trades[-1][4] + 1 if self.trades else 1_000
        now_s = round(self.now_s(), 7)
        new = [
            (now_s, f"{price + number // 2 % 3 * 0.5:.5f}", "0.01000000", "bs"[number % 2], first + number)
            for number in range(count)
        ]
        self.trades += new
        return new

    async def trade(self, count: int, price: float = 30_000.0) -> None:
        """So many trades happen now, in one frame, with their time cut off at the microsecond."""
        await self.send(streamed(self.stamped(count, price)))

    async def send(self, value: object, to: str = "BTC/USD") -> None:
        """A frame to every connection that joined a symbol or a channel."""
        text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        for connection, names in list(self.joined.items()):
            if to in names:
                with contextlib.suppress(ConnectionClosed):
                    await connection.send(text)

    async def cut(self) -> None:
        for connection in list(self.joined):
            connection.transport.abort()
        self.joined.clear()

    # --- REST ---

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                headers: dict[str, str] = {}
                while text := (await reader.readline()).decode().strip():
                    name, _, value = text.partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                verb, target, _ = line.decode().split()
                path, _, query = target.partition("?")
                status, kind, answer = self._answer(verb, path, query, headers, body)
                while path.rpartition("/")[2] in self.held:  # noqa: ASYNC110 - another thread lets it go
                    await asyncio.sleep(0.005)
                if status == 0:
                    break
                head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(answer)}\r\n"
                writer.write((head + f"Date: {formatdate(self.now_s(), usegmt=True)}\r\n\r\n").encode() + answer)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _answer(self, verb: str, path: str, query: str, headers: dict[str, str], body: bytes) -> Answer:
        _, version, side, method = path.split("/")
        assert version == "0" and side in ("public", "private")
        fields = dict(parse_qsl(query if side == "public" else body.decode()))
        self.asked.append((method, fields))
        refusal = self._stranger(path, headers, body, fields) if side == "private" else None
        fault = self.faults[method].pop(0) if self.faults.get(method) else None
        if refusal or fault:
            return refusal or fault or NOTHING
        if side == "private":
            assert verb == "POST"
            result = good(self.results[method](fields))
            if method in self.lose:
                self.lose.discard(method)
                return NOTHING
            return result
        assert verb == "GET"
        return getattr(self, f"_public_{method.lower()}")(fields)

    def _stranger(self, path: str, headers: dict[str, str], body: bytes, fields: dict[str, str]) -> Answer | None:
        """The venue's refusal of a key, signature or nonce."""
        digest = hashlib.sha256(fields["nonce"].encode() + body).digest()
        signed = hmac.new(base64.b64decode(SECRET), path.encode() + digest, hashlib.sha512).digest()
        if headers.get("api-key") != API_KEY:
            return bad("EAPI:Invalid key")
        if headers.get("api-sign") != base64.b64encode(signed).decode():
            return bad("EAPI:Invalid signature")
        if self.nonces and int(fields["nonce"]) <= self.nonces[-1]:
            return bad("EAPI:Invalid nonce")
        self.nonces.append(int(fields["nonce"]))
        return None

    def _public_time(self, fields: dict[str, str]) -> Answer:
        return good({"unixtime": int(self.now_s()), "rfc1123": "Thu, 06 Jul 23 18:50:48 +0000"})

    def _public_assetpairs(self, fields: dict[str, str]) -> Answer:
        return good(self.rows)

    def _public_trades(self, fields: dict[str, str]) -> Answer:
        if fields["pair"] not in NAMES:
            return bad("EQuery:Unknown asset pair")
        rows = self.trades
        if "since" in fields:
            rows = [row for row in rows if int(row[0] * 10**9) > int(fields["since"])]
            rows = rows[: self.page]
        else:
            rows = rows[-self.page :]
        last = int(rows[-1][0] * 10**9) if rows else 0
        told = [[price, volume, at_s, side, "l", "", number] for at_s, price, volume, side, number in rows]
        return good({KEY: told, "last": str(last)})

    def _public_ohlc(self, fields: dict[str, str]) -> Answer:
        rows = [row for row in self.candles() if row[0] > int(fields["since"])][-720:]
        return good({KEY: rows, "last": rows[-2][0] if len(rows) > 1 else 0})

    def candles(self) -> list[list[Any]]:
        """One-minute rows of all trades, the forming one last; a quiet minute is a flat row."""
        rows: list[list[Any]] = []
        for at_s, price, volume, _, _ in sorted(self.trades, key=lambda trade: trade[4]):
            start = int(at_s) // 60 * 60
            while rows and rows[-1][0] < start - 60:
                close = rows[-1][4]
                rows.append([rows[-1][0] + 60, close, close, close, close, "0.0", "0.00000000", 0])
            if not rows or rows[-1][0] < start:
                rows.append([start, price, price, price, price, price, "0.0", 0])
            row = rows[-1]
            row[2], row[3] = max(row[2], price, key=float), min(row[3], price, key=float)
            row[4], row[6], row[7] = price, f"{float(row[6]) + float(volume):.8f}", row[7] + 1
        return rows

    # --- stream ---

    async def _stream(self, connection: ServerConnection) -> None:
        self.paths.append(connection.request.path if connection.request else "")
        self.joined[connection] = set()
        status = {"api_version": "v2", "connection_id": 1, "system": self.system, "version": "2.0.0"}
        with contextlib.suppress(ConnectionClosed):
            await connection.send(json.dumps({"channel": "status", "type": "update", "data": [status]}))
            async for frame in connection:
                request = json.loads(frame)
                self.requests.append(request)
                if request["method"] == "ping":
                    await connection.send(json.dumps({"method": "pong", "req_id": request["req_id"]}))
                elif not self.mute:
                    await self._subscribe(connection, request)
        self.joined.pop(connection, None)

    async def _subscribe(self, connection: ServerConnection, request: dict[str, Any]) -> None:
        params = request["params"]
        channel = params["channel"]
        for frame in self.early:
            await connection.send(json.dumps(frame))
        if channel == "trade" and not self.joined[connection]:
            task = asyncio.create_task(self._beat(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        for symbol in params.get("symbol", [""]):
            about = {"symbol": symbol} if symbol else {}
            common = {"method": "subscribe", "req_id": request["req_id"], "time_in": "x", "time_out": "y"}
            if symbol in self.refused:
                refusal = {"success": False, "error": self.refused[symbol], **about}
                await connection.send(json.dumps(common | refusal))
                continue
            self.joined[connection].add(symbol or channel)
            result = {"channel": channel, "snapshot": params.get("snapshot", True), **about}
            await connection.send(json.dumps(common | {"result": result, "success": True}))

    async def _beat(self, connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(0.2)
                if self.beats:
                    await connection.send('{"channel":"heartbeat"}')


def trade_frame(*numbers: int, kind: str = "update", symbol: str = "BTC/USD", **changes: Any) -> dict[str, Any]:
    """A frame with trades of these ids."""
    rows = [
        {
            "symbol": symbol,
            "side": "buy",
            "price": 30000.1,
            "qty": 0.01,
            "ord_type": "limit",
            "trade_id": number,
            "timestamp": "2023-11-14T22:13:20.000000Z",
        }
        | changes
        for number in numbers
    ]
    return {"channel": "trade", "type": kind, "data": rows}


def streamed(trades: list[tuple[float, str, str, str, int]], kind: str = "update") -> str:
    """A frame with these trades, numbers as JSON numbers."""
    rows = []
    for at_s, price, volume, side, number in trades:
        second, fraction = f"{at_s:.7f}".split(".")
        stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(int(second)))}.{fraction[:6]}Z"
        word = "buy" if side == "b" else "sell"
        rows.append(
            f'{{"symbol":"BTC/USD","side":"{word}","price":{price},"qty":{volume},"ord_type":"limit",'
            f'"trade_id":{number},"timestamp":"{stamp}"}}'
        )
    return f'{{"channel":"trade","type":"{kind}","data":[{",".join(rows)}]}}'
