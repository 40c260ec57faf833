"""Trades merged as a venue does that tells a taker's order once: neighbours of one ms, price and side are one.

Which trades are merged depends on them alone, and none of two milliseconds: so aggregates have ids as trades have.
"""

from typing import NamedTuple

import numpy as np

from sandbox.trade_ids import TradeIds
from sandbox.trades import Ints, Market, Trades


class Merged(NamedTuple):
    """Aggregates, oldest first, and how many trades each is made of."""

    trades: Trades
    sizes: Ints


def merged(trades: Trades) -> Merged:
    """The aggregates of trades, which must begin and end with whole milliseconds."""
    if not len(trades):
        return Merged(trades, np.empty(0, np.int64))
    ts_ms, ticks, _, sell = trades
    new = (ts_ms[1:] != ts_ms[:-1]) | (ticks[1:] != ticks[:-1]) | (sell[1:] != sell[:-1])
    first = np.flatnonzero(np.concatenate(([True], new)))
    sizes = np.diff(np.concatenate((first, [len(trades)])))
    units = np.add.reduceat(trades.units, first)
    return Merged(Trades(ts_ms[first], ticks[first], units, sell[first]), sizes)


class Answer(NamedTuple):
    """Aggregates in a row: the ids of the first one and of its first trade."""

    merged: Merged
    first_id: int
    first_trade_id: int


class Aggregates:
    """The aggregates of one market source by id and time; `ids` are those of its trades. Safe in several threads."""

    def __init__(self, market: Market, ids: TradeIds) -> None:
        self._market = market
        self._trade_ids = ids
        self._ids = TradeIds(_Source(market))

    def at(self, pair: str, ms: int) -> int:
        """The id of the first aggregate with time >= ms."""
        return self._ids.at(pair, ms)

    def since(self, pair: str, first_id: int, until_ms: int, limit: int) -> Answer:
        """At most `limit` from an id on, or from the oldest there is, with time <= until_ms."""
        first_id, found = self._ids.since(pair, first_id, until_ms, limit)
        if not len(found):
            return Answer(merged(found), first_id, 0)
        start_ms = int(found.ts_ms[0])
        whole = merged(self._market.span(pair, start_ms, int(found.ts_ms[-1]) + 1))
        skipped = first_id - self._ids.at(pair, start_ms)
        chosen = Merged(whole.trades.slice(skipped, skipped + len(found)), whole.sizes[skipped : skipped + len(found)])
        before = int(whole.sizes[:skipped].sum())
        return Answer(chosen, first_id, self._trade_ids.at(pair, start_ms) + before)

    def last(self, pair: str, until_ms: int, limit: int) -> Answer:
        """The newest `limit` with time <= until_ms."""
        return self.since(pair, self._ids.at(pair, until_ms + 1) - limit, until_ms, limit)


class _Source:
    """A market's aggregates for `TradeIds`."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self.oldest_ms = market.oldest_ms
        self.origin_ms = market.origin_ms

    def span(self, pair: str, from_ms: int, to_ms: int) -> Trades:
        return merged(self._market.span(pair, from_ms, to_ms)).trades

    def counts(self, pair: str, first_minute: int, stop_minute: int) -> Ints:
        edges = np.arange(first_minute, stop_minute + 1) * 60_000
        found = self.span(pair, first_minute * 60_000, stop_minute * 60_000)
        counts: Ints = np.diff(np.searchsorted(found.ts_ms, edges)).astype(np.int64)
        return counts
