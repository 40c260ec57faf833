"""The market's trades for matching, fetched ahead: making a synthetic span costs much more than looking at one."""

from sandbox.trades import Market, Trades, no_trades

AHEAD_MS = 8_000  # of market time at 1x
CHUNK_MS = 600_000  # at most so much at once, when there is much to catch up with


class Prints:
    """Spans of trades by pair, each asked for in growing times."""

    def __init__(self, market: Market, speed: float = 1.0) -> None:
        self._market = market
        self._ahead_ms = int(AHEAD_MS * max(1.0, speed))
        self._prepared: dict[str, tuple[int, int, Trades]] = {}

    def between(self, pair: str, after_ms: int, until_ms: int) -> Trades:
        """The trades with after_ms < time <= until_ms."""
        if until_ms <= after_ms:
            return no_trades()
        kept = self._prepared.get(pair)
        if kept is None or not kept[0] <= after_ms <= until_ms <= kept[1]:
            end_ms = max(until_ms, after_ms + self._ahead_ms)
            kept = (after_ms, end_ms, self._market.span(pair, after_ms + 1, end_ms + 1))
            self._prepared[pair] = kept
        start, stop = kept[2].ts_ms.searchsorted((after_ms + 1, until_ms + 1))
        return kept[2].slice(int(start), int(stop))

    def forget(self, pair: str) -> None:
        """Nobody waits for this pair's trades any longer."""
        self._prepared.pop(pair, None)
