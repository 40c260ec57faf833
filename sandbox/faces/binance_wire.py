"""Binance's words, written from the fact sheet: rows of trades, candles, books, tickers and market rules as JSON.

Numbers are text with eight decimals or more, times are milliseconds; `m` and `isBuyerMaker` say that the taker sold.
Pure: everything comes in as an argument.
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from sandbox.aggregates import Answer
from sandbox.exchange import matching
from sandbox.exchange.orders import ATOM_DIGITS, Side
from sandbox.exchange.profiles import PARTS, Trading, TradingRules
from sandbox.trades import Bars, Rules, Trades, text_of

DECIMALS = 8  # of every price and quantity, at least
ASSET_PRECISION = 8
PRICE_TICKS_MOST = 10_000_000_000  # further than the band ever allows
NOTIONAL_MOST = 9_000_000
AVERAGE_MINUTES = 5  # of /avgPrice
ORDER_TYPES = (
    "LIMIT",
    "LIMIT_MAKER",
    "MARKET",
    "STOP_LOSS",
    "STOP_LOSS_LIMIT",
    "TAKE_PROFIT",
    "TAKE_PROFIT_LIMIT",
)
WEIGHT_A_MINUTE = 6000
ORDERS_IN_10_S, ORDERS_A_DAY = 100, 200_000

INTERVALS_MS = {
    "1s": 1_000,
    "1m": 60_000,
    "3m": 180_000,
    "5m": 300_000,
    "15m": 900_000,
    "30m": 1_800_000,
    "1h": 3_600_000,
    "2h": 7_200_000,
    "4h": 14_400_000,
    "6h": 21_600_000,
    "8h": 28_800_000,
    "12h": 43_200_000,
    "1d": 86_400_000,
    "3d": 259_200_000,
    "1w": 604_800_000,
}
MONTH = "1M"  # as long as the calendar says
MONDAY_MS = 4 * 86_400_000  # the first one after 1970 began; weeks start with them

RATE_LIMITS: list[dict[str, Any]] = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": WEIGHT_A_MINUTE},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": ORDERS_IN_10_S},
    {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": ORDERS_A_DAY},
    {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300_000},
]


class Refused(Exception):
    """What the venue answers in place of data: HTTP status, its code and its text, and for how long."""

    def __init__(self, code: int, message: str, status: int = 400, retry_s: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.retry_s = retry_s

    @property
    def body(self) -> str:
        return json.dumps({"code": self.code, "msg": self.message}, separators=(",", ":"))


def price_text(rules: Rules, ticks: int) -> str:
    return text_of(ticks, rules.price_digits, DECIMALS)


def quantity_text(rules: Rules, units: int) -> str:
    return text_of(units, rules.quantity_digits, DECIMALS)


def worth_text(rules: Rules, worth: int) -> str:
    """Ticks x units as an amount of the quote currency."""
    return text_of(worth, rules.price_digits + rules.quantity_digits, DECIMALS)


def boolean(value: object) -> str:
    return "true" if value else "false"


# --- trades ----------------------------------------------------------------------------------------------------------

_TRADE_ROW = '{"id":%d,"price":"%s","qty":"%s","quoteQty":"%s","time":%d,"isBuyerMaker":%s,"isBestMatch":true}'
_AGGREGATE_ROW = '{"a":%d,"p":"%s","q":"%s","f":%d,"l":%d,"T":%d,"m":%s,"M":true}'
_TRADE = '{"e":"trade","E":%d,"s":"%s","t":%d,"p":"%s","q":"%s","T":%d,"m":%s,"M":true}'
_AGGREGATE = '{"e":"aggTrade","E":%d,"s":"%s","a":%d,"p":"%s","q":"%s","f":%d,"l":%d,"T":%d,"m":%s,"M":true}'


def _columns(trades: Trades) -> tuple[list[int], list[int], list[int], list[bool]]:
    return trades.ts_ms.tolist(), trades.ticks.tolist(), trades.units.tolist(), trades.sell.tolist()


def trade_rows(rules: Rules, trades: Trades, first_id: int) -> str:
    """Trades as `/trades` tells them, oldest first."""
    rows = [
        _TRADE_ROW
        % (
            number,
            price_text(rules, ticks),
            quantity_text(rules, units),
            worth_text(rules, ticks * units),
            ts_ms,
            boolean(sell),
        )
        for number, (ts_ms, ticks, units, sell) in enumerate(zip(*_columns(trades), strict=True), first_id)
    ]
    return f"[{','.join(rows)}]"


def aggregate_rows(rules: Rules, answer: Answer) -> str:
    """Aggregates as `/aggTrades` tells them, oldest first."""
    rows = [
        _AGGREGATE_ROW
        % (number, price_text(rules, ticks), quantity_text(rules, units), first, last, ts_ms, boolean(sell))
        for number, first, last, (ts_ms, ticks, units, sell) in _numbered(answer)
    ]
    return f"[{','.join(rows)}]"


def _numbered(answer: Answer) -> Iterator[tuple[int, int, int, tuple[int, int, int, bool]]]:
    """(id, id of the first trade, of the last one, the aggregate) of each."""
    first = answer.first_trade_id
    rows = zip(answer.merged.sizes.tolist(), zip(*_columns(answer.merged.trades), strict=True), strict=True)
    for number, (size, row) in enumerate(rows, answer.first_id):
        yield number, first, first + size - 1, row
        first += size


def trade_frames(rules: Rules, trades: Trades, first_id: int) -> list[str]:
    """Trades as the stream `@trade` tells them."""
    symbol, p_digits, q_digits = rules.market, rules.price_digits, rules.quantity_digits
    return [
        _TRADE
        % (
            ts_ms,
            symbol,
            number,
            text_of(ticks, p_digits, DECIMALS),
            text_of(units, q_digits, DECIMALS),
            ts_ms,
            "true" if sell else "false",
        )
        for number, (ts_ms, ticks, units, sell) in enumerate(zip(*_columns(trades), strict=True), first_id)
    ]


def aggregate_frames(rules: Rules, answer: Answer) -> list[str]:
    """Aggregates as the stream `@aggTrade` tells them."""
    symbol = rules.market
    return [
        _AGGREGATE
        % (
            ts_ms,
            symbol,
            number,
            price_text(rules, ticks),
            quantity_text(rules, units),
            first,
            last,
            ts_ms,
            boolean(sell),
        )
        for number, first, last, (ts_ms, ticks, units, sell) in _numbered(answer)
    ]


# --- candles ---------------------------------------------------------------------------------------------------------

_KLINE_ROW = '[%d,"%s","%s","%s","%s","%s",%d,"%s",%d,"%s","%s","0"]'


def kline_row(rules: Rules, bar: tuple[int, ...], close_ms: int) -> str:
    """One candle as `/klines` tells it; bar: the fields of `Bars`, close_ms: the last ms of its time."""
    open_ms, opened, high, low, close, volume, trades, worth, bought, bought_worth = bar
    return _KLINE_ROW % (
        open_ms,
        price_text(rules, opened),
        price_text(rules, high),
        price_text(rules, low),
        price_text(rules, close),
        quantity_text(rules, volume),
        close_ms,
        worth_text(rules, worth),
        trades,
        quantity_text(rules, bought),
        worth_text(rules, bought_worth),
    )


def flat_bar(open_ms: int, ticks: int) -> tuple[int, ...]:
    """The candle of a time without trades: at the close before it."""
    return (open_ms, ticks, ticks, ticks, ticks, 0, 0, 0, 0, 0)


def with_flat_bars(bars: Bars, starts: list[int], before_ticks: int | None) -> list[tuple[int, ...]]:
    """A candle for every start (ms), flat where there was no trade; none before the first price that is known."""
    there = dict(zip(bars.open_ms.tolist(), zip(*(column.tolist() for column in bars), strict=True), strict=True))
    rows: list[tuple[int, ...]] = []
    close = before_ticks
    for start in starts:
        bar = there.get(start)
        if bar is not None:
            rows.append(bar)
            close = int(bar[4])
        elif close is not None:
            rows.append(flat_bar(start, close))
    return rows


# --- book and tickers ------------------------------------------------------------------------------------------------

Level = tuple[int, int]  # ticks, units


def book_of(rules: Rules, last: Trades, depth: int) -> tuple[list[Level], list[Level]]:
    """(bids, asks), best first, as the exchange fills from them; last: the newest trades, of which each is a level."""
    last = last.slice(max(0, len(last) - depth), len(last))
    step = max(rules.step_units, 1)
    bids, asks = (matching.levels(last, side, step, PARTS, 0) for side in (Side.SELL, Side.BUY))
    return bids, asks


def levels_text(rules: Rules, levels: list[Level]) -> str:
    return ",".join(f'["{price_text(rules, ticks)}","{quantity_text(rules, units)}"]' for ticks, units in levels)


def book_ticker_row(rules: Rules, bid: Level, ask: Level) -> str:
    return (
        f'{{"symbol":"{rules.market}",'
        f'"bidPrice":"{price_text(rules, bid[0])}","bidQty":"{quantity_text(rules, bid[1])}",'
        f'"askPrice":"{price_text(rules, ask[0])}","askQty":"{quantity_text(rules, ask[1])}"}}'
    )


def book_ticker_frame(rules: Rules, bid: Level, ask: Level, update: int) -> str:
    """`@bookTicker` has no event time; u rises."""
    return (
        f'{{"u":{update},"s":"{rules.market}",'
        f'"b":"{price_text(rules, bid[0])}","B":"{quantity_text(rules, bid[1])}",'
        f'"a":"{price_text(rules, ask[0])}","A":"{quantity_text(rules, ask[1])}"}}'
    )


# --- market rules ----------------------------------------------------------------------------------------------------


def filters_of(rules: Rules, trading: TradingRules) -> list[dict[str, Any]]:
    """The rules that an order has to keep, as they are in force."""
    low, high = trading.band or (Decimal(0), Decimal(0))
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": price_text(rules, trading.tick),
            "maxPrice": price_text(rules, PRICE_TICKS_MOST),
            "tickSize": price_text(rules, trading.tick),
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": quantity_text(rules, trading.min_units),
            "maxQty": quantity_text(rules, trading.max_units),
            "stepSize": quantity_text(rules, trading.step_units),
        },
        {"filterType": "ICEBERG_PARTS", "limit": 10},
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": text_of(0, DECIMALS),
            "maxQty": quantity_text(rules, trading.max_market_units),
            "stepSize": text_of(0, DECIMALS),
        },
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": f"{high}",
            "bidMultiplierDown": f"{low}",
            "askMultiplierUp": f"{high}",
            "askMultiplierDown": f"{low}",
            "avgPriceMins": 0,  # around the last price
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": text_of(trading.min_notional, ATOM_DIGITS),
            "applyMinToMarket": True,
            "maxNotional": f"{NOTIONAL_MOST}.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 0,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": trading.max_open_orders},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": trading.max_stops},
    ]


STATUSES = {Trading.ON: "TRADING", Trading.HALTED: "HALT", Trading.CANCEL_ONLY: "CANCEL_ONLY"}


def symbol_row(rules: Rules, trading: TradingRules, permission_sets: bool = True) -> dict[str, Any]:
    """One market as `/exchangeInfo` lists it."""
    return {
        "symbol": rules.market,
        "status": STATUSES[trading.trading],
        "baseAsset": rules.base,
        "baseAssetPrecision": ASSET_PRECISION,
        "quoteAsset": rules.quote,
        "quotePrecision": ASSET_PRECISION,
        "quoteAssetPrecision": ASSET_PRECISION,
        "baseCommissionPrecision": ASSET_PRECISION,
        "quoteCommissionPrecision": ASSET_PRECISION,
        "orderTypes": list(ORDER_TYPES),
        "icebergAllowed": False,
        "ocoAllowed": False,
        "otoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": False,
        "amendAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": filters_of(rules, trading),
        "permissions": [],
        "permissionSets": [["SPOT"]] if permission_sets else [],
        "defaultSelfTradePreventionMode": "NONE",
        "allowedSelfTradePreventionModes": ["NONE"],
    }
