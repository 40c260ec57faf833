"""What the routes work on: the state, its history and its listeners, with the clock that joins them."""

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

import msgspec

from core.clock import Clock
from core.loop import Loop
from core.pairs import canonical
from dashboard import health, payloads
from dashboard.health import Check
from dashboard.history import History, HistoryError
from dashboard.payloads import Totals
from dashboard.state import PageState
from dashboard.stream import Broadcaster
from dashboard.why import Desk, Question, minute_of

PLAYED_MS = 600_000
GHOSTS_EVERY = 6  # rounds of the totals: a verdict comes with a candle's end at the earliest


class UnknownPair(Exception):
    """A pair that nobody follows; `known` are those that are."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"unknown pair {name[:60]!r}; known are: {', '.join(known)}")
        self.known = known


class Pace:
    """When to show: at once after a quiet moment, at most every `gap_s` in a busy one, and now and then anyway.

    `looked_at()`: whether there is anybody to show it to; else only now and then.
    """

    def __init__(
        self,
        loop: Loop,
        clock: Clock,
        show: Callable[[], None],
        gap_s: float,
        idle_s: float,
        looked_at: Callable[[], object] = lambda: True,
    ) -> None:
        self._loop, self._clock, self._show, self._gap_s = loop, clock, show, gap_s
        self._looked_at = looked_at
        self._last_ns = clock.monotonic_ns()
        self._due = False
        loop.every(idle_s, self._anyway)

    def changed(self) -> None:
        """Something new is there."""
        if self._looked_at():
            self._soon()

    def _anyway(self) -> None:
        if not self._due:
            self._now()

    def _soon(self) -> None:
        if self._due:
            return
        self._due = True
        since_s = (self._clock.monotonic_ns() - self._last_ns) / 1e9
        self._loop.call_later(max(0.0, self._gap_s - since_s), self._now)

    def _now(self) -> None:
        self._due = False
        self._last_ns = self._clock.monotonic_ns()
        self._show()


class Page:
    """One per process."""

    def __init__(self, state: PageState, history: History, clock: Clock, desk: Desk) -> None:
        self.state = state
        self.history = history
        self.clock = clock
        self.desk = desk
        self.broadcaster = Broadcaster(clock.wall_ms())
        self._health_at = 0

    def pair(self, name: str | None) -> str:
        """The followed pair that `name` means, in the venue's or in BASE/QUOTE spelling; the first one for None."""
        known = self.state.pair_names()
        if not name:
            return known[0]
        if name in known:
            return name
        for candidate in known:
            if _same(candidate, name):
                return candidate
        raise UnknownPair(name, known)

    def totals(self) -> Totals:
        """Sums over the book's trades, up to the last one heard."""
        return payloads.add_live(self.history.known_totals, self.state.trades)

    def stats(self, pair: str) -> dict[str, Any]:
        """The answer of /api/stats."""
        found = payloads.stats(self.state, pair, self.totals(), self.clock.monotonic_ns())
        return found | {"ghosts": self._ghosts()}

    def _ghosts(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.to_builtins(self.history.known_ghosts)
        return found

    async def ghosts(self, limit: int) -> dict[str, Any]:
        """Share and results of ghost entries, and the entries, oldest first."""
        rows = await self.history.ghosts(limit)
        await self.history.refresh_ghosts()
        return self._ghosts() | {"entries": rows}

    def recovery(self) -> dict[str, Any]:
        """The answer of /api/recovery: the last start's report, and what was found since."""
        return {"live": self.state.config.live, **self.state.recovery.told()}

    def checks(self) -> list[Check]:
        """The checks of /healthz."""
        return health.checks(self.state, self.clock.monotonic_ns())

    async def candles(self, pair: str, limit: int) -> list[dict[str, Any]]:
        """Stored candles and the forming one, oldest first."""
        stored = await self.history.candles(pair, limit)
        return payloads.merge_candles(stored, self.state.forming(pair), limit)

    async def trades(self, limit: int) -> list[dict[str, Any]]:
        """Completed entries and exits, oldest first."""
        stored = await self.history.trades(limit)
        return payloads.merge_trades(stored, self.state.trades, limit)

    async def why(self, pair: str, at: str | None, offset: int) -> dict[str, Any]:
        """The answer of /api/why. Raises BadMinute, Busy, and BotError where tape or database cannot be read."""
        now_ms = self._market_ms()
        from_ms = minute_of(at, now_ms, offset)
        return await self.desk.ask(Question(pair, from_ms, now_ms, self.state.config.timeframe_ms, offset))

    def _market_ms(self) -> int:
        """Market time now: ours, unless the newest trade is of another day of a market that is played."""
        wall_ms = self.clock.wall_ms()
        newest = max((pair.view.time_ms for pair in self.state.pairs.values() if pair.view is not None), default=0)
        return newest if newest and abs(newest - wall_ms) > PLAYED_MS else wall_ms

    def show(self, record_latency: Callable[[float], None]) -> None:
        """Encode what changed since the last call and wake the listeners; nothing is done when nobody looks."""
        cast, state = self.broadcaster, self.state
        state.forget_arrivals(cast.watched)
        if not cast.clients:
            return
        now_ns, totals = self.clock.monotonic_ns(), self.totals()
        moved = False
        for name in cast.watched:
            version = state.pairs[name].version
            build = _later(payloads.tick, state, name, totals, now_ns)
            if cast.publish(f"tick:{name}", "tick", version, now_ns, build):
                moved = True
                arrived = state.take_arrival(name)
                if arrived is not None:
                    record_latency((self.clock.monotonic_ns() - arrived) / 1000)
        found = health.checks(state, now_ns)
        failing = sum(1 << i for i, check in enumerate(found) if not check.ok)
        # Heartbeats come every second; of them alone the page needs no news between two of its own seconds.
        if cast.publish("health", "health", failing, now_ns, lambda: self._health(totals, found, now_ns)):
            moved = True
        logs = _later(payloads.log_rows, state)
        if cast.publish("logs", "logs", state.logs_version, now_ns, logs, again=False):
            moved = True
        if moved:
            cast.wake()

    def _health(self, totals: Totals, found: list[Check], now_ns: int) -> dict[str, Any]:
        return payloads.health(self.state, totals, found, now_ns) | {"ghosts": self._ghosts()}

    async def keep_totals_fresh(self, every_s: float, on_error: Callable[[HistoryError], None]) -> None:
        """Ask storage for sums and gaps again and again; what it has not written yet is added from the bus."""
        for turn in count():
            try:
                await self.history.refresh_totals()
                if turn % GHOSTS_EVERY == 0:
                    await self.history.refresh_ghosts()
            except HistoryError as error:
                on_error(error)
            await asyncio.sleep(every_s)


def _same(known: str, asked: str) -> bool:
    try:
        return canonical(known) == canonical(asked)
    except ValueError:
        return False


def _later(build: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    return lambda: build(*arguments)
