"""What Kraken tells of a market, over REST and streams alike: trades, candles, the day behind the ticker, the book."""

from typing import Any, NamedTuple

from sandbox.exchange import matching
from sandbox.exchange.orders import Side
from sandbox.exchange.profiles import PARTS
from sandbox.faces.kraken_names import Pair, rfc3339, seconds_text
from sandbox.trades import Bars, Market, Trades, merged_bars, text_of

CANDLES_MOST = 720
MINUTE_MS = 60_000
DAY_MS = 86_400_000
VWAP_DIGITS = 5  # at least


def is_market_order(trade_id: int) -> bool:
    """Whether the taker's order was a market order; nobody knows, so it is every third."""
    return trade_id % 3 == 0


def trade_rows(pair: Pair, trades: Trades, first_id: int) -> list[str]:
    """The trades as REST's JSON rows, oldest first."""
    return [
        f'["{pair.long_price(ticks)}","{pair.quantity(units)}",{seconds_text(ts_ms)},"{"s" if sell else "b"}",'
        f'"{"m" if is_market_order(number) else "l"}","",{number}]'
        for number, (ts_ms, ticks, units, sell) in enumerate(
            zip(trades.ts_ms.tolist(), trades.ticks.tolist(), trades.units.tolist(), trades.sell.tolist(), strict=True),
            first_id,
        )
    ]


def trade_data(pair: Pair, trades: Trades, first_id: int) -> str:
    """The trades as the stream's JSON objects, oldest first, joined by commas; numbers are written exactly."""
    return ",".join(
        [
            f'{{"symbol":"{pair.symbol}","side":"{"sell" if sell else "buy"}","price":{pair.price(ticks)},'
            f'"qty":{pair.quantity(units)},"ord_type":"{"market" if is_market_order(number) else "limit"}",'
            f'"trade_id":{number},"timestamp":"{rfc3339(ts_ms)}"}}'
            for number, (ts_ms, ticks, units, sell) in enumerate(
                zip(
                    trades.ts_ms.tolist(),
                    trades.ticks.tolist(),
                    trades.units.tolist(),
                    trades.sell.tolist(),
                    strict=True,
                ),
                first_id,
            )
        ]
    )


def vwap_text(pair: Pair, worth: int, units: int) -> str:
    """Volume-weighted average price, rounded down; `0.0` where nothing was traded."""
    if not units:
        return "0.0"
    digits = max(pair.rules.price_digits, VWAP_DIGITS)
    return text_of(worth * 10 ** (digits - pair.rules.price_digits) // units, digits)


class Candles:
    """Candles of any interval, made of one-minute ones."""

    def __init__(self, market: Market) -> None:
        self._market = market

    def bars(self, pair: Pair, interval_ms: int, from_ms: int, until_ms: int) -> Bars:
        """All candles of the trades with from_ms <= time <= until_ms; from_ms is the start of one."""
        limit = max(1, (until_ms - from_ms) // MINUTE_MS + 2)
        bars = self._market.bars(pair.pair, MINUTE_MS, from_ms, until_ms, limit)
        return merged_bars(bars, interval_ms) if interval_ms > MINUTE_MS else bars

    def rows(self, pair: Pair, interval_ms: int, since_s: int, now_ms: int) -> tuple[list[str], int]:
        """(OHLC's rows, `last`): the candles that start at `since_s` or later, at most 720, and always the forming one.

        Quiet candles are flat ones at the close before them; before the first trade there is nothing.
        """
        current_ms = now_ms // interval_ms * interval_ms
        oldest_ms = self._market.oldest_ms // interval_ms * interval_ms
        from_ms = max(current_ms - (CANDLES_MOST - 1) * interval_ms, oldest_ms)
        since_ms = -(-since_s * 1000 // interval_ms) * interval_ms
        from_ms = min(max(from_ms, since_ms), current_ms)
        before = self._market.last(pair.pair, from_ms - 1, 1)
        close = int(before.ticks[-1]) if len(before) else None
        bars = {bar[0]: bar for bar in rows_of(self.bars(pair, interval_ms, from_ms, now_ms))}
        rows = []
        for open_ms in range(from_ms, current_ms + 1, interval_ms):
            bar = bars.get(open_ms)
            if bar is not None:
                rows.append(_row(pair, bar))
                close = bar[4]
            elif close is not None:
                rows.append(_row(pair, (open_ms, close, close, close, close, 0, 0, 0)))
        return rows, (current_ms - interval_ms) // 1000


Bar = tuple[int, int, int, int, int, int, int, int]  # start, open, high, low, close, volume, trades, worth


def rows_of(bars: Bars) -> list[Bar]:
    """The columns that Kraken tells, candle by candle."""
    columns = bars.open_ms, bars.open, bars.high, bars.low, bars.close, bars.volume, bars.trades, bars.worth
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _row(pair: Pair, bar: Bar) -> str:
    open_ms, opened, high, low, close, volume, count, worth = bar
    price = pair.price
    return (
        f'[{open_ms // 1000},"{price(opened)}","{price(high)}","{price(low)}","{price(close)}",'
        f'"{vwap_text(pair, worth, volume)}","{pair.quantity(volume)}",{count}]'
    )


class Day(NamedTuple):
    """A market's last trade, best prices, and sums (units, worth, trades, low, high) of today and of 24 hours."""

    pair: Pair
    bid: tuple[int, int]  # ticks, units
    ask: tuple[int, int]
    last: tuple[int, int]
    today: tuple[int, int, int, int, int]
    rolling: tuple[int, int, int, int, int]
    opened: int  # today
    before: int  # the first price of the 24 hours

    def after(self, trades: Trades) -> "Day":
        """The day with these trades added to its sums."""
        units, worth, count, low, high = self.rolling
        ticks, more = int(trades.ticks[-1]), int(trades.units[-1])
        gap = matching.gap(ticks)
        rolling = (
            units + int(trades.units.sum()),
            worth + sum((trades.ticks.astype(object) * trades.units.astype(object)).tolist()),
            count + len(trades),
            min(low, int(trades.ticks.min())),
            max(high, int(trades.ticks.max())),
        )
        bid, ask = (max(1, ticks - gap), more), (ticks + gap, more)
        return self._replace(bid=bid, ask=ask, last=(ticks, more), rolling=rolling)

    def rest(self) -> dict[str, Any]:
        """As the Ticker endpoint has it; v, p, t, l and h are [today, 24 hours]."""
        pair, both = self.pair, (self.today, self.rolling)
        best = {
            name: [pair.long_price(ticks), str(whole), f"{whole}.000"]
            for name, (ticks, units) in (("a", self.ask), ("b", self.bid))
            for whole in [max(1, units // 10**pair.rules.quantity_digits)]
        }
        return {
            **best,
            "c": [pair.long_price(self.last[0]), pair.quantity(self.last[1])],
            "v": [pair.quantity(units) for units, *_ in both],
            "p": [vwap_text(pair, worth, units) for units, worth, *_ in both],
            "t": [count for _, _, count, _, _ in both],
            "l": [pair.long_price(low) for *_, low, _ in both],
            "h": [pair.long_price(high) for *_, high in both],
            "o": pair.long_price(self.opened),
        }

    def stream(self, now_ms: int) -> str:
        """As the ticker channel has it, the JSON object alone."""
        pair, last = self.pair, self.last[0]
        units, worth, _, low, high = self.rolling
        change = last - self.before
        sign = "-" if change < 0 else ""
        percent = text_of(abs(change) * 10_000 // max(1, self.before), 2)
        return (
            f'{{"symbol":"{pair.symbol}","bid":{pair.price(self.bid[0])},"bid_qty":{pair.quantity(self.bid[1])},'
            f'"ask":{pair.price(self.ask[0])},"ask_qty":{pair.quantity(self.ask[1])},"last":{pair.price(last)},'
            f'"volume":{pair.quantity(units)},"vwap":{vwap_text(pair, worth, units)},"low":{pair.price(low)},'
            f'"high":{pair.price(high)},"change":{sign}{pair.price(abs(change))},"change_pct":{sign}{percent},'
            f'"timestamp":"{rfc3339(now_ms)}"}}'
        )


def ticker_day(market: Market, candles: Candles, pair: Pair, now_ms: int) -> Day | None:
    """The day of a market up to now; None before its first trade."""
    last = market.last(pair.pair, now_ms, 1)
    if not len(last):
        return None
    from_ms = (now_ms - DAY_MS) // MINUTE_MS * MINUTE_MS
    bars = candles.bars(pair, MINUTE_MS, from_ms, now_ms)
    ticks, units = int(last.ticks[-1]), int(last.units[-1])
    quiet = (0, 0, 0, ticks, ticks)
    rolling, today = (
        _sums(bars.where(bars.open_ms >= since_ms)) or quiet for since_ms in (from_ms, now_ms // DAY_MS * DAY_MS)
    )
    opened = bars.where(bars.open_ms >= now_ms // DAY_MS * DAY_MS)
    gap = matching.gap(ticks)
    return Day(
        pair,
        (max(1, ticks - gap), units),
        (ticks + gap, units),
        (ticks, units),
        today,
        rolling,
        int(opened.open[0]) if len(opened) else ticks,
        int(bars.open[0]) if len(bars) else ticks,
    )


def _sums(bars: Bars) -> tuple[int, int, int, int, int] | None:
    if not len(bars):
        return None
    return (
        int(bars.volume.sum()),
        sum(bars.worth.tolist()),
        int(bars.trades.sum()),
        int(bars.low.min()),
        int(bars.high.max()),
    )


Level = list[str | int]


def book_levels(market: Market, pair: Pair, now_ms: int, step: int) -> tuple[list[tuple[int, int]], ...]:
    """(bids, asks) as (ticks, units), best first: what the sandbox's exchange matches with."""
    last = market.last(pair.pair, now_ms, matching.LEVELS)
    return tuple(matching.levels(last, side, step, PARTS, 0) for side in (Side.SELL, Side.BUY))


def depth_levels(levels: list[tuple[int, int]], pair: Pair, now_ms: int, count: int) -> list[Level]:
    """One side of Depth: `[price, quantity, s]`."""
    return [
        [pair.long_price(ticks), text_of(units, pair.rules.quantity_digits, 3), now_ms // 1000]
        for ticks, units in levels[:count]
    ]
