"""The sandbox's Kraken face served for its own tests: with its exchange at hand, and time for its limits to pass."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from core.clock import Clock, ManualClock
from sandbox import app as sandbox_app
from sandbox.clock import RealClock
from sandbox.faces.kraken import add_kraken
from sandbox.faces.kraken_limits import CONNECTS, PRIVATE, PUBLIC, Counter
from sandbox.listings import KRAKEN_LISTINGS
from sandbox.market import Synthetic
from tests.protocol import sandbox_served

BORN_MS = 1_795_356_912_345
NOW_MS = BORN_MS + 4_000_017
NO_LIMIT = Counter(1e9, 0.0)


class Served(sandbox_served.Served):
    """One face under these limits of REST."""

    def __init__(
        self,
        world: sandbox_app.World,
        clock: Clock,
        public: Counter = PUBLIC,
        private: Counter = PRIVATE,
        connects: int = CONNECTS,
    ) -> None:
        self.clock = clock
        self.exchange = sandbox_app.open_exchange(world, "kraken", None)
        self._face = partial(add_kraken, public=public, private=private, connects=connects)
        self._loop: asyncio.AbstractEventLoop | None = None
        super().__init__(world, clock, "kraken", self.exchange)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        world, clock, protocol, exchange, faults = self._parts
        before = sandbox_app.FACES["kraken"]
        sandbox_app.FACES["kraken"] = self._face
        try:
            app, hub = sandbox_app.build_app(
                world, clock, logging.getLogger("sandbox"), None, protocol, exchange, faults
            )
        finally:
            sandbox_app.FACES["kraken"] = before
        self._server = sandbox_app.Server(sandbox_app.config(app))
        self._ready.set()
        await self._server.serve(sockets=[self._listener])
        hub.close()

    def within(self, work: Callable[[], Any]) -> Any:
        """Does something in the loop's thread, where the exchange lives."""

        async def done() -> Any:
            return work()

        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(20)

    def let_limits_pass(self, seconds: int = 60) -> None:
        """Moves the time that limits count in, and the market's not, where the clock is in the test's hands."""
        if isinstance(self.clock, ManualClock):
            wall_ns = self.clock.wall_ns()
            self.clock.advance(seconds * 1_000_000_000)
            self.clock.set_wall_ns(wall_ns)


def synthetic(
    clock: Clock,
    born_ms: int = BORN_MS,
    public: Counter = PUBLIC,
    private: Counter = PRIVATE,
    connects: int = CONNECTS,
) -> Served:
    """The synthetic market of seed 1 as Kraken lists it."""
    world = sandbox_app.World(Synthetic(1, born_ms, KRAKEN_LISTINGS), RealClock(clock), None)
    return Served(world, clock, public, private, connects)
