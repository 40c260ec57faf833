"""Kraken's account before the hand-written venue, for tests: one to call from a thread, and clocks to hold."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from core.clock import NS_PER_S, Clock, LiveClock
from core.settings import Settings
from core.settings_load import from_texts
from tests.kraken_data import USD, order
from tests.protocol.kraken_peer import API_KEY, SECRET, Peer
from tests.unit.http_peer import until
from venues.kraken.account import KrakenAccount

ORDER = order(rules=USD, client_order_id="scalp1")
ADDED = {"descr": {"order": "buy"}, "txid": ["OABC"]}


class Held(LiveClock):
    """A clock whose monotonic time can be stopped: no room comes back into the limits then. Its wall can be set."""

    __slots__ = ("ahead_ns", "held_ns")

    def __init__(self) -> None:
        self.held_ns: int | None = None
        self.ahead_ns = 0

    def wall_ns(self) -> int:
        return super().wall_ns() + self.ahead_ns

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() if self.held_ns is None else self.held_ns

    def sleep(self, seconds: float) -> None:
        """Sleeps by this clock: over at once when the time is set on."""
        end_ns = self.monotonic_ns() + int(seconds * NS_PER_S)
        until(lambda: self.monotonic_ns() >= end_ns, 30.0)


def settings_for(peer: Peer, **changes: str) -> Settings:
    texts = {
        "VENUE": "kraken",
        "VENUE_REST_URL": peer.rest_url,
        "VENUE_STREAM_URL": peer.stream_url,
        "KRAKEN_API_KEY": API_KEY,
        "KRAKEN_SECRET_KEY": SECRET,
    }
    return from_texts(texts | changes)


@contextlib.asynccontextmanager
async def world(clock: Clock | None = None) -> AsyncIterator[tuple[Peer, KrakenAccount]]:
    async with Peer() as peer:
        peer.results["AddOrder"] = lambda fields: ADDED
        made = KrakenAccount(settings_for(peer), clock or LiveClock())
        try:
            yield peer, made
        finally:
            made.close()


def played(play: Callable[[Peer, KrakenAccount], Any], clock: Clock | None = None) -> Any:
    """Runs a blocking `play` beside the venue."""

    async def run() -> Any:
        async with world(clock) as (peer, made):
            return await asyncio.to_thread(play, peer, made)

    return asyncio.run(run())


def asked(peer: Peer, method: str) -> list[dict[str, str]]:
    return [fields for name, fields in peer.asked if name == method]
