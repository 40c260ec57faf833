"""What Binance's streams say: each a small thing that is handed the trades of its market and makes frames of them.

`trades` come once and in order; `pulse` is called several times a second with the time up to which trades were told,
for what moves without them too.
"""

from typing import NamedTuple, Protocol

from sandbox.aggregates import Aggregates, Answer, merged
from sandbox.faces import binance_candles
from sandbox.faces.binance_wire import (
    aggregate_frames,
    book_of,
    book_ticker_frame,
    boolean,
    flat_bar,
    price_text,
    quantity_text,
    trade_frames,
    worth_text,
)
from sandbox.trade_ids import TradeIds
from sandbox.trades import Market, Rules, Trades

PUSH_MS, PUSH_1S_MS = 2000, 1000  # how often a candle that changes is told
GAP_MOST = 1000  # candles without a trade that are told one by one
KINDS = ("trade", "aggTrade", "bookTicker")


class Feed(Protocol):
    """One stream of one market."""

    def trades(self, trades: Trades) -> list[str]: ...

    def pulse(self, told_ms: int) -> list[str]: ...


class StreamName(NamedTuple):
    """`btcusdt@kline_1m` in parts; `interval` of candles alone."""

    pair: str
    kind: str
    interval: str


def parsed(name: str, pairs: dict[str, str]) -> StreamName | None:
    """A stream's name, None where there is none such; pairs: by lower-case symbol."""
    symbol, _, kind = name.partition("@")
    pair = pairs.get(symbol)
    if pair is None:
        return None
    if kind in KINDS:
        return StreamName(pair, kind, "")
    word, _, interval = kind.partition("_")
    return StreamName(pair, word, interval) if word == "kline" and binance_candles.known(interval) else None


class Numbers(NamedTuple):
    """The ids of one market source's trades and aggregates."""

    trades: TradeIds
    aggregates: Aggregates


def feed_of(name: StreamName, market: Market, numbers: Numbers, now_ms: int) -> Feed:
    """The feed of a stream from now on."""
    rules = market.rules[name.pair]
    if name.kind == "bookTicker":
        return BookTickers(rules, market.last(name.pair, now_ms, 1), now_ms)
    next_id = numbers.trades.at(name.pair, now_ms + 1)
    if name.kind == "trade":
        return Prints(rules, next_id)
    if name.kind == "aggTrade":
        return AggregatePrints(rules, numbers.aggregates.at(name.pair, now_ms + 1), next_id)
    start_ms = binance_candles.start_of(name.interval, now_ms)
    bars = binance_candles.candles(market, name.pair, name.interval, [start_ms], now_ms)
    return Klines(rules, name.interval, bars[0] if bars else None, next_id)


class Prints:
    """`@trade`."""

    def __init__(self, rules: Rules, next_id: int) -> None:
        self._rules = rules
        self._next_id = next_id

    def trades(self, trades: Trades) -> list[str]:
        first_id, self._next_id = self._next_id, self._next_id + len(trades)
        return trade_frames(self._rules, trades, first_id)

    def pulse(self, told_ms: int) -> list[str]:
        return []


class AggregatePrints:
    """`@aggTrade`."""

    def __init__(self, rules: Rules, next_id: int, next_trade_id: int) -> None:
        self._rules = rules
        self._next_id = next_id
        self._next_trade_id = next_trade_id

    def trades(self, trades: Trades) -> list[str]:
        answer = Answer(merged(trades), self._next_id, self._next_trade_id)
        self._next_id += len(answer.merged.trades)
        self._next_trade_id += len(trades)
        return aggregate_frames(self._rules, answer)

    def pulse(self, told_ms: int) -> list[str]:
        return []


class BookTickers:
    """`@bookTicker`: after trades, and once a second without."""

    def __init__(self, rules: Rules, last: Trades, now_ms: int) -> None:
        self._rules = rules
        self._last = last
        self._update = now_ms

    def trades(self, trades: Trades) -> list[str]:
        self._last = trades.slice(len(trades) - 1, len(trades))
        return self._frame(int(self._last.ts_ms[0]))

    def pulse(self, told_ms: int) -> list[str]:
        return self._frame(told_ms) if told_ms - self._update >= 1000 else []

    def _frame(self, now_ms: int) -> list[str]:
        bids, asks = book_of(self._rules, self._last, 1)
        if not bids:
            return []
        self._update = max(self._update + 1, now_ms)
        return [book_ticker_frame(self._rules, bids[0], asks[0], self._update)]


class Klines:
    """`@kline_*`: the running candle while it changes, and once more, with `x` true, when its time is over."""

    def __init__(self, rules: Rules, interval: str, bar: tuple[int, ...] | None, next_id: int) -> None:
        self._rules = rules
        self._interval = interval
        self._bar = bar
        self._next_id = next_id
        self._every_ms = PUSH_1S_MS if interval == "1s" else PUSH_MS
        self._pushed_ms = 0
        self._changed = False

    def trades(self, trades: Trades) -> list[str]:
        frames: list[str] = []
        for ts_ms, ticks, units, sell in zip(*(column.tolist() for column in trades), strict=True):
            frames += self._closed(ts_ms - 1, ticks)
            if self._bar is None:
                self._bar = flat_bar(binance_candles.start_of(self._interval, ts_ms), ticks)
            self._bar = _with_trade(self._bar, ticks, units, sell)
            self._next_id += 1
            self._changed = True
        return frames + self._running(int(trades.ts_ms[-1]))

    def pulse(self, told_ms: int) -> list[str]:
        return self._closed(told_ms, None) + self._running(told_ms)

    def _closed(self, told_ms: int, next_ticks: int | None) -> list[str]:
        """Closes what is over when everything up to told_ms has been told."""
        frames: list[str] = []
        while self._bar is not None and told_ms >= self._end_ms() - 1:
            if len(frames) < GAP_MOST:
                frames.append(self._frame(self._end_ms(), closed=True))
                self._bar = flat_bar(self._end_ms(), self._bar[4])
            else:
                self._bar = flat_bar(binance_candles.start_of(self._interval, told_ms + 1), self._bar[4])
            self._changed = False
        return frames

    def _running(self, now_ms: int) -> list[str]:
        if self._bar is None or not self._changed or now_ms - self._pushed_ms < self._every_ms:
            return []
        self._pushed_ms, self._changed = now_ms, False
        return [self._frame(now_ms, closed=False)]

    def _end_ms(self) -> int:
        assert self._bar is not None
        return binance_candles.after(self._interval, self._bar[0])

    def _frame(self, event_ms: int, *, closed: bool) -> str:
        assert self._bar is not None
        rules = self._rules
        open_ms, opened, high, low, close, volume, trades, worth, bought, bought_worth = self._bar
        first, last = (self._next_id - trades, self._next_id - 1) if trades else (-1, -1)
        return (
            f'{{"e":"kline","E":{event_ms},"s":"{rules.market}","k":{{"t":{open_ms},"T":{self._end_ms() - 1},'
            f'"s":"{rules.market}","i":"{self._interval}","f":{first},"L":{last},"o":"{price_text(rules, opened)}",'
            f'"c":"{price_text(rules, close)}","h":"{price_text(rules, high)}","l":"{price_text(rules, low)}",'
            f'"v":"{quantity_text(rules, volume)}","n":{trades},"x":{boolean(closed)},'
            f'"q":"{worth_text(rules, worth)}","V":"{quantity_text(rules, bought)}",'
            f'"Q":"{worth_text(rules, bought_worth)}","B":"0"}}}}'
        )


def _with_trade(bar: tuple[int, ...], ticks: int, units: int, sell: bool) -> tuple[int, ...]:
    open_ms, opened, high, low, _, volume, trades, worth, bought, bought_worth = bar
    if not trades:
        opened = high = low = ticks
    return (
        open_ms,
        opened,
        max(high, ticks),
        min(low, ticks),
        ticks,
        volume + units,
        trades + 1,
        worth + ticks * units,
        bought + (0 if sell else units),
        bought_worth + (0 if sell else ticks * units),
    )
