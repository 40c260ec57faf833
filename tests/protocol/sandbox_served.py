"""The sandbox served from a thread of its own, with what a client of each face needs to talk to it."""

import asyncio
import contextlib
import http.client
import json
import logging
import threading
from typing import Any

from websockets.sync.client import ClientConnection, connect

from core.clock import Clock
from sandbox import app as sandbox_app
from sandbox.clock import RealClock
from sandbox.exchange.exchange import Exchange
from sandbox.faults import Faults
from sandbox.listings import listings_of
from sandbox.market import Synthetic


class Served:
    """One face over one world on a free port."""

    def __init__(
        self,
        world: sandbox_app.World,
        clock: Clock,
        protocol: str = "coindcx",
        exchange: Exchange | None = None,
        faults: Faults | None = None,
    ) -> None:
        self._listener = sandbox_app.listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._parts = (world, clock, protocol, exchange, faults)
        self._server: sandbox_app.Server | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(20)

    async def _serve(self) -> None:
        world, clock, protocol, exchange, faults = self._parts
        app, hub = sandbox_app.build_app(world, clock, logging.getLogger("sandbox"), None, protocol, exchange, faults)
        self._server = sandbox_app.Server(sandbox_app.config(app))
        self._ready.set()
        await self._server.serve(sockets=[self._listener])
        hub.close()
        app.close()

    def close(self) -> None:
        assert self._server is not None
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def call(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """One request on a connection of its own: status, headers, body. Raises what the connection's end raises."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, body or None, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def fault(self, kind: str, **fields: Any) -> int:
        """Sets a fault; its number."""
        status, _, body = self.call("POST", "/sandbox/faults", json.dumps({"kind": kind, **fields}).encode())
        assert status == 200, body
        return int(json.loads(body)["ids"][0])

    def no_faults(self) -> None:
        assert self.call("DELETE", "/sandbox/faults")[0] == 200

    def struck(self, number: int) -> int:
        """How often a fault has struck."""
        rows = json.loads(self.call("GET", "/sandbox/faults")[2])
        return next(int(row["struck"]) for row in rows if row["id"] == number)

    def deposit(self, asset: str, amount: str) -> None:
        status, _, body = self.call(
            "POST", "/sandbox/deposits", json.dumps({"asset": asset, "amount": amount}).encode()
        )
        assert status == 200, body

    def socket(self, path: str) -> ClientConnection:
        return connect(f"ws://127.0.0.1:{self.port}{path}", compression=None, max_queue=None, proxy=None)


def synthetic(clock: Clock, born_ms: int, protocol: str = "coindcx") -> Served:
    """The synthetic market of seed 1."""
    market = Synthetic(1, born_ms, listings_of(protocol))
    return Served(sandbox_app.World(market, RealClock(clock), None), clock, protocol)
