"""A market in the test's hands, and the sandbox that serves it: a print is there when the test makes it."""

import threading
from decimal import Decimal
from pathlib import Path

import numpy as np

from core.clock import LiveClock
from sandbox import app as sandbox_app
from sandbox.clock import RealClock
from sandbox.listings import listings_of
from sandbox.trades import Bars, Ints, Rules, Trades, bars_of, joined
from tests.protocol import account_house

MINUTE_MS = 60_000
PAIR = "B-BTC_USDT"
DEEP = Decimal(1000)  # coins of a print: more than any order of a test


class HandMarket:
    """One market of the synthetic exchange; a `sandbox.trades.Market`. Safe to use from several threads."""

    def __init__(self, protocol: str, price: str, now_ms: int) -> None:
        self._rules = next(one.rules for one in listings_of(protocol) if one.rules.pair == PAIR)
        self._lock = threading.Lock()
        self._born_ms = now_ms - MINUTE_MS
        self._trades = self._made(price, DEEP, self._born_ms)

    @property
    def rules(self) -> dict[str, Rules]:
        return {PAIR: self._rules}

    def add(self, price: str, quantity: Decimal, now_ms: int) -> int:
        """One more print, at the earliest a millisecond from now and after the one before; its time."""
        with self._lock:
            at_ms = max(now_ms, int(self._trades.ts_ms[-1])) + 1
            self._trades = joined([self._trades, self._made(price, quantity, at_ms)])
        return at_ms

    def _made(self, price: str, quantity: Decimal, at_ms: int) -> Trades:
        ticks, units = Decimal(price).scaleb(self._rules.price_digits), quantity.scaleb(self._rules.quantity_digits)
        one = (np.array([int(value)], np.int64) for value in (at_ms, ticks, units))
        return Trades(*one, np.array([False]))

    # --- as the exchange asks ---

    def span(self, pair: str, from_ms: int, to_ms: int) -> Trades:
        trades = self._trades
        start, stop = np.searchsorted(trades.ts_ms, (from_ms, to_ms))
        return trades.slice(int(start), max(int(start), int(stop)))

    def last(self, pair: str, until_ms: int, limit: int) -> Trades:
        found = self.span(pair, 0, until_ms + 1)
        return found.slice(max(0, len(found) - limit), len(found))

    def bars(self, pair: str, interval_ms: int, from_ms: int, until_ms: int, limit: int) -> Bars:
        bars = bars_of(self.span(pair, from_ms, until_ms + 1), interval_ms)
        return Bars(*(column[-limit:] for column in bars))

    def first_ticks(self, pair: str) -> int:
        return int(self._trades.ticks[0])

    def reach(self, pair: str, until_ms: int) -> tuple[int, int] | None:
        ticks = self._trades.ticks
        return int(ticks.min()), int(ticks.max())

    @property
    def oldest_ms(self) -> int:
        return self._born_ms

    @property
    def origin_ms(self) -> int:
        return self._born_ms // MINUTE_MS * MINUTE_MS

    def counts(self, pair: str, first_minute: int, stop_minute: int) -> Ints:
        edges = np.arange(first_minute, stop_minute + 1) * MINUTE_MS
        counts: Ints = np.diff(np.searchsorted(self._trades.ts_ms, edges)).astype(np.int64)
        return counts


class HandServed(account_house.Served):
    """The sandbox over a `HandMarket`, in real time, without limits of its own; its books are files in `folder`."""

    def __init__(self, protocol: str, folder: Path, price: str) -> None:
        clock = LiveClock()
        self.hand = HandMarket(protocol, price, clock.wall_ms())
        self.time = RealClock(clock)
        world = sandbox_app.World(self.hand, self.time, None)
        self.open(world, clock, protocol, sandbox_app.open_exchange(world, protocol, folder))
        self.exchange._floor._prints._ahead_ms = 0  # what a test prints is not there before it does

    def price(self, price: str, quantity: Decimal = DEEP) -> None:
        """A trade of the market, matched with the orders that work by the time this returns."""

        def happens() -> None:
            self.exchange.advance(self.hand.add(price, quantity, self.time.now_ms()))

        self.within(happens)
