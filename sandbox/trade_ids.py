"""Trade ids for venues that have them: each market's trades in their order, one more from trade to trade, no gap.

An id is a function of the market alone: REST and stream say the same one, and so does the sandbox after a restart. The
first trade at or after the market's origin is number FIRST; history before it counts down from there.
"""

import threading
from bisect import bisect_right
from typing import Protocol

import numpy as np

from sandbox.trades import Ints, Trades

FIRST = 100_000_000
MINUTE_MS = 60_000
CHUNK = 60  # minutes counted at a time


class Counted(Protocol):
    """What is counted: see `sandbox.trades.Market`."""

    @property
    def oldest_ms(self) -> int: ...

    @property
    def origin_ms(self) -> int: ...

    def span(self, pair: str, from_ms: int, to_ms: int) -> Trades: ...

    def counts(self, pair: str, first_minute: int, stop_minute: int) -> Ints: ...


class TradeIds:
    """The ids of one market source; safe to call from several threads."""

    def __init__(self, market: Counted) -> None:
        self._market = market
        self._pairs: dict[str, _Minutes] = {}
        self._lock = threading.Lock()

    def at(self, pair: str, ms: int) -> int:
        """The id of the first trade with time >= ms: that of the next one where there is none yet."""
        ms = max(ms, self._market.oldest_ms)
        minutes = self._of(pair)
        minute = ms // MINUTE_MS
        start_ms = minute * MINUTE_MS
        within = len(self._market.span(pair, start_ms, ms)) if ms > start_ms else 0
        return minutes.before(minute) + within

    def since(self, pair: str, trade_id: int, until_ms: int, limit: int) -> tuple[int, Trades]:
        """(id of the first, trades): at most `limit` from `trade_id` on, or from the oldest one there is.

        Nothing with a time after until_ms is told.
        """
        oldest_ms = self._market.oldest_ms
        trade_id = max(trade_id, self.at(pair, oldest_ms))
        if until_ms < oldest_ms:
            return trade_id, self._market.span(pair, 0, 0)
        minute = self._of(pair).minute_of(trade_id, oldest_ms // MINUTE_MS, until_ms // MINUTE_MS)
        if minute is None:
            return trade_id, self._market.span(pair, 0, 0)
        from_ms = max(minute * MINUTE_MS, oldest_ms)
        skipped = trade_id - self.at(pair, from_ms)
        to_ms, trades = from_ms, self._market.span(pair, 0, 0)
        length_ms = MINUTE_MS
        while to_ms <= until_ms and len(trades) < skipped + limit:
            to_ms = min(from_ms + length_ms, until_ms + 1)
            trades = self._market.span(pair, from_ms, to_ms)
            if to_ms > until_ms:
                break
            length_ms *= 2
        return trade_id, trades.slice(min(skipped, len(trades)), skipped + limit)

    def _of(self, pair: str) -> "_Minutes":
        with self._lock:
            if pair not in self._pairs:
                self._pairs[pair] = _Minutes(self._market, pair)
            return self._pairs[pair]


class _Minutes:
    """One market's ids at the starts of minutes, counted in both directions from its origin as far as asked for."""

    def __init__(self, market: Counted, pair: str) -> None:
        self._market = market
        self._pair = pair
        self._origin = market.origin_ms // MINUTE_MS
        self._after = [FIRST]  # ids at the starts of the minutes origin, origin + 1, ...
        self._back = [FIRST]  # of origin, origin - 1, ...
        self._lock = threading.Lock()

    def before(self, minute: int) -> int:
        """The id of the first trade at or after the start of the minute."""
        place = minute - self._origin
        with self._lock:
            while place >= len(self._after):
                first = self._origin + len(self._after) - 1
                counts = self._market.counts(self._pair, first, first + CHUNK)
                self._after.extend((self._after[-1] + np.cumsum(counts)).tolist())
            while -place >= len(self._back):
                stop = self._origin - len(self._back) + 1
                counts = self._market.counts(self._pair, stop - CHUNK, stop)
                self._back.extend((self._back[-1] - np.cumsum(counts[::-1])).tolist())
            return self._after[place] if place >= 0 else self._back[-place]

    def minute_of(self, trade_id: int, first: int, last: int) -> int | None:
        """The minute within first to last that holds the trade; None where it is none of theirs."""
        if not self.before(first) <= trade_id < self.before(last + 1):
            return None
        found = bisect_right(range(first, last + 1), trade_id, key=self.before) - 1
        return first + found
