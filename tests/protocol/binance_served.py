"""The sandbox's Binance face served with manners of its own, for the tests of that face."""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from core.clock import Clock
from sandbox import app as sandbox_app
from sandbox.clock import RealClock
from sandbox.exchange.exchange import Exchange
from sandbox.faults import Faults
from sandbox.hub import Hub
from sandbox.market import Synthetic
from sandbox.place import Place
from tests.protocol import sandbox_served

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
