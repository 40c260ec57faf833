"""Kraken's public channels as the hub plays them: `trade PAIR`, `ohlc MINUTES PAIR` and `ticker PAIR`.

Each is made anew when its first client joins, knows the market up to that moment, and makes frames of every trade after
it.
"""

from sandbox.faces.kraken_listing import Listing
from sandbox.faces.kraken_market import (
    DAY_MS,
    MINUTE_MS,
    Bar,
    Candles,
    Day,
    rows_of,
    ticker_day,
    trade_data,
    vwap_text,
)
from sandbox.faces.kraken_names import Pair, rfc3339, rfc3339_ns
from sandbox.hub import Encode, Open
from sandbox.trades import Market, Trades, bars_of

PUBLIC = ("trade", "ohlc", "ticker")
INTERVALS = (1, 5, 15, 30, 60, 240, 1440, 10080, 21600)  # minutes
SNAPSHOT_TRADES = 50
SNAPSHOT_CANDLES = 60  # how many the venue gives is not known


def opener(listing: Listing) -> Open:
    """How the hub makes a channel of its name."""
    market, candles, ids, names = listing.place.market, listing.candles, listing.ids, listing.names

    def open_channel(name: str, now_ms: int) -> tuple[str, Encode]:
        *kind, pair_name = name.split(" ")
        pair = names.pairs[pair_name]
        if kind[0] == "trade":
            return pair_name, TradeFrames(pair, ids.at(pair_name, now_ms + 1)).frames
        if kind[0] == "ohlc":
            return pair_name, CandleFrames(candles, pair, int(kind[1]), now_ms).frames
        return pair_name, TickerFrames(market, candles, pair).frames

    return open_channel


def snapshot(listing: Listing, name: str, pair: Pair, told_ms: int) -> list[str]:
    """The frame that a channel's client gets first: what was up to told_ms; none where nothing was."""
    market, candles, ids = listing.place.market, listing.candles, listing.ids
    kind, *rest = name.split(" ")
    if kind == "trade":
        trades = market.last(pair.pair, told_ms, SNAPSHOT_TRADES)
        data = trade_data(pair, trades, ids.at(pair.pair, told_ms + 1) - len(trades))
    elif kind == "ohlc":
        interval_ms = int(rest[0]) * MINUTE_MS
        from_ms = max(told_ms // interval_ms - SNAPSHOT_CANDLES + 1, 0) * interval_ms
        bars = rows_of(candles.bars(pair, interval_ms, from_ms, told_ms))
        data = ",".join(candle_data(pair, int(rest[0]), bar) for bar in bars)
    else:
        day = ticker_day(market, candles, pair, told_ms)
        data = day.stream(told_ms) if day else ""
    return [f'{{"channel":"{kind}","type":"snapshot","data":[{data}]}}'] if data else []


class TradeFrames:
    """Trades with their ids: what comes at one moment is one frame."""

    def __init__(self, pair: Pair, next_id: int) -> None:
        self._pair = pair
        self._next_id = next_id

    def frames(self, trades: Trades) -> list[str]:
        first = self._next_id
        self._next_id += len(trades)
        return [f'{{"channel":"trade","type":"update","data":[{trade_data(self._pair, trades, first)}]}}']


class CandleFrames:
    """The candles that the trades changed. There is no sign that one is closed, and none of quiet minutes."""

    def __init__(self, candles: Candles, pair: Pair, interval: int, now_ms: int) -> None:
        self._pair = pair
        self._interval = interval
        self._ms = interval * MINUTE_MS
        known = rows_of(candles.bars(pair, self._ms, now_ms // self._ms * self._ms, now_ms))
        self._forming: Bar | None = known[-1] if known else None

    def frames(self, trades: Trades) -> list[str]:
        changed = []
        for bar in rows_of(bars_of(trades, self._ms)):
            self._forming = _merged(self._forming, bar) if self._forming and self._forming[0] == bar[0] else bar
            changed.append(candle_data(self._pair, self._interval, self._forming))
        return [f'{{"channel":"ohlc","type":"update","data":[{",".join(changed)}]}}']


def _merged(bar: Bar, later: Bar) -> Bar:
    open_ms, opened, high, low, _, volume, count, worth = bar
    _, _, more_high, more_low, close, more_volume, more_count, more_worth = later
    return (
        open_ms,
        opened,
        max(high, more_high),
        min(low, more_low),
        close,
        volume + more_volume,
        count + more_count,
        worth + more_worth,
    )


def candle_data(pair: Pair, interval: int, bar: Bar) -> str:
    """One candle as the ohlc channel has it; `timestamp` is the end of its interval."""
    open_ms, opened, high, low, close, volume, count, worth = bar
    price = pair.price
    return (
        f'{{"symbol":"{pair.symbol}","open":{price(opened)},"high":{price(high)},"low":{price(low)},'
        f'"close":{price(close)},"trades":{count},"volume":{pair.quantity(volume)},'
        f'"vwap":{vwap_text(pair, worth, volume)},"interval_begin":"{rfc3339_ns(open_ms)}","interval":{interval},'
        f'"timestamp":"{rfc3339(open_ms + interval * MINUTE_MS)}"}}'
    )


class TickerFrames:
    """The day behind each trade; its sums are made anew every minute and in between only grow."""

    def __init__(self, market: Market, candles: Candles, pair: Pair) -> None:
        self._market = market
        self._candles = candles
        self._pair = pair
        self._day: Day | None = None
        self._made_ms = -DAY_MS

    def frames(self, trades: Trades) -> list[str]:
        now_ms = int(trades.ts_ms[-1])
        if self._day is None or now_ms - self._made_ms >= MINUTE_MS:
            self._day, self._made_ms = ticker_day(self._market, self._candles, self._pair, now_ms), now_ms
        else:
            self._day = self._day.after(trades)
        return [f'{{"channel":"ticker","type":"update","data":[{self._day.stream(now_ms)}]}}'] if self._day else []
