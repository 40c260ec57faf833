"""The sandbox's Binance face served with manners of its own, and a client of its signed side, for their tests."""

import asyncio
import hashlib
import hmac
import itertools
import json
import logging
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI
from websockets.sync.client import ClientConnection

from core.clock import Clock, ManualClock
from core.sandbox_keys import API_KEY, SECRET_KEY
from sandbox import app as sandbox_app
from sandbox.clock import RealClock
from sandbox.exchange.exchange import Exchange
from sandbox.faces.binance import add_binance
from sandbox.faults import Faults
from sandbox.hub import Hub
from sandbox.market import Synthetic
from sandbox.place import Place
from tests.protocol import sandbox_served

BORN_MS = 1_795_356_912_345
NOW_MS = BORN_MS + 4_000_017
LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.001"}
MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}

Face = Callable[[FastAPI, Place], Hub]


class Served(sandbox_served.Served):
    """`face` stands in for the one of the table, `pings` for the times of its ping frames."""

    def __init__(
        self,
        world: sandbox_app.World,
        clock: Clock,
        face: Face | None = None,
        pings: tuple[float, float] | None = None,
    ) -> None:
        self.exchange: Exchange = sandbox_app.open_exchange(world, "binance", None)
        self._face = face or sandbox_app.FACES["binance"]
        self._pings = pings or sandbox_app.PINGS["binance"]
        self._loop: asyncio.AbstractEventLoop | None = None
        super().__init__(world, clock, "binance", self.exchange, Faults())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        world, clock, protocol, exchange, faults = self._parts
        log = logging.getLogger("sandbox")
        before = sandbox_app.FACES["binance"]
        sandbox_app.FACES["binance"] = self._face
        try:
            app, hub = sandbox_app.build_app(world, clock, log, None, protocol, exchange, faults)
        finally:
            sandbox_app.FACES["binance"] = before
        self._server = sandbox_app.Server(sandbox_app.config(app, self._pings))
        self._ready.set()
        await self._server.serve(sockets=[self._listener])
        hub.close()

    def within(self, work: Callable[[], Any]) -> Any:
        """Does something in the loop's thread, where the exchange lives."""

        async def done() -> Any:
            return work()

        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(20)

    def get(self, path: str) -> Any:
        status, _, body = self.call("GET", path)
        assert status == 200, body
        return json.loads(body)


def synthetic(clock: Clock, born_ms: int, face: Face | None = None, pings: tuple[float, float] | None = None) -> Served:
    """A synthetic market under a clock."""
    return Served(sandbox_app.World(Synthetic(1, born_ms), RealClock(clock), None), clock, face, pings)


class Trader:
    """A client of the signed side; the market's time stands still unless `advance` moves it."""

    def __init__(self, weight: int = 10**6, orders: tuple[int, int] = (100, 200_000)) -> None:
        self.clock = ManualClock(NOW_MS * 1_000_000)
        face = partial(add_binance, weight_a_minute=weight, orders=orders)
        self.served: Served = synthetic(self.clock, BORN_MS, face)
        self.headers: Any = None
        self._numbers = itertools.count(1)

    def now_ms(self) -> int:
        return self.clock.wall_ms()

    def advance(self, ms: int) -> None:
        self.clock.advance(ms * 1_000_000)

    def price(self, factor: str) -> str:
        """The last price times a factor, on the tick."""
        last = Decimal(self.served.get("/api/v3/ticker/price?symbol=BTCUSDT")["price"])
        return str((last * Decimal(factor)).quantize(Decimal("0.01")))

    def send(self, name: str, secret: str = SECRET_KEY, key: str | None = API_KEY, **params: Any) -> tuple[int, Any]:
        """(status, body) of a signed call; POST has its parameters in the body."""
        method, path = name.split()
        query = urlencode({**params, "timestamp": params.get("timestamp", self.now_ms())})
        query += "&signature=" + hmac.new(secret.encode(), query.encode(), hashlib.sha256).hexdigest()
        headers = {} if key is None else {"X-MBX-APIKEY": key}
        path = path if path.startswith("/") else f"/api/v3/{path}"
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            status, self.headers, body = self.served.call(method, path, query.encode(), headers)
        else:
            status, self.headers, body = self.served.call(method, f"{path}?{query}", b"", headers)
        return status, json.loads(body)

    def ok(self, name: str, **params: Any) -> Any:
        status, body = self.send(name, **params)
        assert status == 200, body
        return body

    def refused(self, name: str, **params: Any) -> tuple[int, str]:
        status, body = self.send(name, **params)
        assert status in (400, 401, 429) and set(body) == {"code", "msg"}, body
        return body["code"], body["msg"]

    def balances(self) -> dict[str, tuple[Decimal, Decimal]]:
        rows = self.ok("GET account", omitZeroBalances="true")["balances"]
        return {row["asset"]: (Decimal(row["free"]), Decimal(row["locked"])) for row in rows}

    def request(self, socket: ClientConnection, method: str, signed: bool = True, **params: Any) -> Any:
        """The answer to a request of the WebSocket API."""
        if signed:
            params = {"apiKey": API_KEY, "timestamp": self.now_ms()} | params
            text = "&".join(f"{name}={params[name]}" for name in sorted(params))
            params["signature"] = hmac.new(SECRET_KEY.encode(), text.encode(), hashlib.sha256).hexdigest()
        number = f"n{next(self._numbers)}"
        socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            frame = json.loads(socket.recv(20))
            if frame.get("id") == number:
                return frame
