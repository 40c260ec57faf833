"""Binance spot's public wire: what to ask, and what answers mean. Pure.

Names: `BTCUSDT` everywhere but in stream names, which are lower case. Base and quote are what exchangeInfo says, never
cut out of the name. Times are milliseconds; lists come oldest first. `isBuyerMaker` true: the taker sold. A row of
klines names its open time; the last one is the forming candle. Filters whose value is 0 are switched off.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, ParamSpec, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from core import money
from core.clock import NS_PER_MS
from core.errors import MisconfiguredError
from venues.binance.rate_limits import REQUESTS, WEIGHT, Windows, parse_windows
from venues.call import Call
from venues.engineio import UNREADABLE, shorten
from venues.errors import Retry
from venues.venue import SIDE_BUY, SIDE_SELL, Bar, Rules, Trade

P = ParamSpec("P")
T = TypeVar("T")

TRADES_MAX = 1000
CANDLES_MAX = 1000
# Sizes whose candles begin at multiples of them since 1970; 3d, 1w and 1M do not.
INTERVALS = {
    1_000: "1s",
    60_000: "1m",
    180_000: "3m",
    300_000: "5m",
    900_000: "15m",
    1_800_000: "30m",
    3_600_000: "1h",
    7_200_000: "2h",
    14_400_000: "4h",
    21_600_000: "6h",
    28_800_000: "8h",
    43_200_000: "12h",
    86_400_000: "1d",
}
LARGEST = 2**63 - 1  # what a record holds
LATEST_MS = 9_000_000_000_000  # the year 2255; in nanoseconds it still fits a record

TIME_WEIGHT, CANDLES_WEIGHT, AGGREGATES_WEIGHT, MARKETS_WEIGHT, TRADES_WEIGHT = 1, 2, 4, 20, 25

EDGE_PAUSE_S = 120.0  # after a page of the firewall's (403), which bursts bring about


class Filter(msgspec.Struct):
    """One of a market's rules; which fields it has depends on `filterType`."""

    filterType: str
    tickSize: Decimal = Decimal(0)
    stepSize: Decimal = Decimal(0)
    minQty: Decimal = Decimal(0)
    maxQty: Decimal = Decimal(0)
    minNotional: Decimal = Decimal(0)


class MarketRow(msgspec.Struct):
    """One row of exchangeInfo's `symbols`; only what is needed."""

    symbol: str
    baseAsset: str
    quoteAsset: str
    filters: list[Filter]
    status: str = "TRADING"
    baseAssetPrecision: int = 8
    quoteAssetPrecision: int = 8
    isSpotTradingAllowed: bool = True


class MarketName(msgspec.Struct):
    """What a row is about, where nothing else of it can be read."""

    symbol: str = ""


class MarketsBody(msgspec.Struct):
    """exchangeInfo; its rows are read one by one, so that a bad one costs only itself."""

    symbols: list[msgspec.Raw]
    rateLimits: msgspec.Raw = msgspec.Raw(b"[]")


class LimitsBody(msgspec.Struct):
    """exchangeInfo, of which only the limits are wanted."""

    rateLimits: msgspec.Raw = msgspec.Raw(b"[]")


class TimeBody(msgspec.Struct):
    """The venue's clock, ms."""

    serverTime: int


class TradeRow(msgspec.Struct):
    """A trade of /trades and /historicalTrades."""

    id: int
    price: float
    qty: float
    time: int
    isBuyerMaker: bool


class AggregateRow(msgspec.Struct):
    """An aggregate of /aggTrades, of which only the id of its first trade is wanted."""

    f: int


class CandleRow(msgspec.Struct, array_like=True):
    """A row of klines, by place; what follows is not needed."""

    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    close_ms: int
    quote_volume: float
    trades: int


class Markets(NamedTuple):
    """Markets read, the names of those that could not be with the first reason, and the venue's limits by name."""

    rows: list[Rules]
    unread: tuple[str, ...]
    problem: str
    windows: Windows


class Parsed(NamedTuple):
    """Rows read, and how many could not be, with the first reason."""

    rows: list[Any]
    bad: int
    problem: str


_rows = msgspec.json.Decoder(list[msgspec.Raw])
_markets = msgspec.json.Decoder(MarketsBody)
_limits = msgspec.json.Decoder(LimitsBody)
_market = msgspec.json.Decoder(MarketRow)
_name = msgspec.json.Decoder(MarketName)
_time = msgspec.json.Decoder(TimeBody)
_trade = msgspec.json.Decoder(TradeRow, strict=False)
_aggregate = msgspec.json.Decoder(AggregateRow)
_candle = msgspec.json.Decoder(CandleRow, strict=False)


# --- what to ask -----------------------------------------------------------------------------------


def time_call(host: str, *, urgent: bool = False) -> Call:
    """The venue's clock; `urgent` where an exit may wait for it."""
    return _get(host, "/api/v3/time", {}, TIME_WEIGHT, urgent)


def markets_call(host: str) -> Call:
    """All markets, without the long lists of who may trade them."""
    return _get(host, "/api/v3/exchangeInfo", {"showPermissionSets": "false"}, MARKETS_WEIGHT)


def limits_call(host: str, symbol: str) -> Call:
    """The venue's limits, with the row of one market, which is the least it answers."""
    query = {"symbol": symbol, "showPermissionSets": "false"}
    return _get(host, "/api/v3/exchangeInfo", query, MARKETS_WEIGHT)


def trades_call(host: str, symbol: str) -> Call:
    """The newest trades of a market."""
    return _get(host, "/api/v3/trades", {"symbol": symbol, "limit": str(TRADES_MAX)}, TRADES_WEIGHT)


def older_trades_call(host: str, symbol: str, from_id: int) -> Call:
    """Trades from an id on."""
    query = {"symbol": symbol, "fromId": str(from_id), "limit": str(TRADES_MAX)}
    return _get(host, "/api/v3/historicalTrades", query, TRADES_WEIGHT)


def first_trade_call(host: str, symbol: str, from_ms: int) -> Call:
    """The first aggregate from a time on, which names its first trade."""
    query = {"symbol": symbol, "startTime": str(from_ms), "limit": "1"}
    return _get(host, "/api/v3/aggTrades", query, AGGREGATES_WEIGHT)


def candles_call(host: str, symbol: str, interval_ms: int, start_ms: int, end_ms: int) -> Call:
    """Candles with start <= open < end, the oldest ones where there are too many for one answer."""
    query = {
        "symbol": symbol,
        "interval": INTERVALS[interval_ms],
        "startTime": str(start_ms),
        "endTime": str(end_ms - 1),
        "limit": str(CANDLES_MAX),
    }
    return _get(host, "/api/v3/klines", query, CANDLES_WEIGHT)


def _get(host: str, path: str, query: dict[str, str], weight: float, urgent: bool = False) -> Call:
    about = f" {query['symbol']}" if "symbol" in query else ""
    encoded = urlencode(query, quote_via=quote, safe="")
    costs = {WEIGHT: weight, REQUESTS: 1}
    return Call("GET", host + path, query=encoded, costs=costs, urgent=urgent, what=f"GET {path}{about}")


# --- what the answers mean -------------------------------------------------------------------------


def parse_time(body: bytes) -> int:
    """The venue's clock in ms."""
    try:
        time_ms = _time.decode(body).serverTime
    except UNREADABLE as error:
        raise broken("time", body, error) from error
    if not 0 < time_ms < LATEST_MS:
        raise broken("time", body, "no time")
    return time_ms


def parse_markets(body: bytes) -> Markets:
    """Rules of every market whose row can be read."""
    try:
        info = _markets.decode(body)
    except UNREADABLE as error:
        raise broken("exchangeInfo", body, error) from error
    rules: list[Rules] = []
    unread: list[str] = []
    problem = ""
    for raw in info.symbols:
        try:
            rules.append(_rules(_market.decode(raw)))
        except (*UNREADABLE, MisconfiguredError) as error:
            unread.append(_name_of(raw))
            problem = problem or str(error)
    if not rules:
        raise broken("exchangeInfo", body, f"no market that can be read: {problem or 'an empty list'}")
    return Markets(rules, tuple(name for name in unread if name), problem, parse_windows(info.rateLimits))


def parse_limits(body: bytes) -> Windows:
    """The venue's limits by name."""
    try:
        return parse_windows(_limits.decode(body).rateLimits)
    except UNREADABLE as error:
        raise broken("exchangeInfo", body, error) from error


def _name_of(raw: msgspec.Raw) -> str:
    try:
        return _name.decode(raw).symbol
    except UNREADABLE:
        return ""


def _rules(row: MarketRow) -> Rules:
    """One step and one minimum for every kind of order: those of market orders count as well.

    Where the venue sets no step, its finest unit is one.
    """
    if not (0 <= row.baseAssetPrecision <= 18 and 0 <= row.quoteAssetPrecision <= 18):
        raise ValueError(f"{row.symbol}: a precision outside 0 to 18")
    filters = {item.filterType: item for item in row.filters}
    for item in row.filters:
        for value in (item.tickSize, item.stepSize, item.minQty, item.maxQty, item.minNotional):
            if not money.decimal_of(value, f"{item.filterType} of {row.symbol}") >= 0:
                raise ValueError(f"{row.symbol}: {item.filterType} has {value}")
    none = Filter("")
    price, lot, market = (filters.get(name, none) for name in ("PRICE_FILTER", "LOT_SIZE", "MARKET_LOT_SIZE"))
    step = money.common_step(lot.stepSize, market.stepSize) or Decimal(1).scaleb(-row.baseAssetPrecision)
    most = [value for value in (lot.maxQty, market.maxQty) if value > 0]
    return Rules(
        pair=row.symbol,
        symbol=row.symbol,
        base=row.baseAsset,
        quote=row.quoteAsset,
        tick=price.tickSize or Decimal(1).scaleb(-row.quoteAssetPrecision),
        step=step,
        min_quantity=max(step, lot.minQty, market.minQty),
        min_notional=max(filters.get(name, none).minNotional for name in ("NOTIONAL", "MIN_NOTIONAL")),
        max_quantity=min(most) if most else None,
        active=row.status == "TRADING" and row.isSpotTradingAllowed,
    )


def parse_trades(body: bytes, pair: str, received_ns: int) -> Parsed:
    """Trades of one pair, oldest first by id."""
    rows, bad, problem = _read_rows(body, _trade, f"trades of {pair}")
    trades = []
    for row in rows:
        if not (0 < row.id <= LARGEST and 0 < row.time < LATEST_MS):
            bad += 1
            problem = problem or f"impossible trade {row.id} at {row.time}"
            continue
        side = SIDE_SELL if row.isBuyerMaker else SIDE_BUY
        trades.append(Trade(pair, row.time * NS_PER_MS, row.price, row.qty, side, row.id, received_ns))
    if bad and not trades:
        raise broken(f"trades of {pair}", body, f"none of {bad} rows can be read: {problem}")
    trades.sort(key=_id_of)
    return Parsed(trades, bad, problem)


def parse_first_trade(body: bytes, pair: str) -> int | None:
    """The id of the first trade in an answer of aggregates; None where it has none."""
    rows, bad, problem = _read_rows(body, _aggregate, f"aggTrades of {pair}")
    if bad or (rows and not 0 <= rows[0].f <= LARGEST):
        raise broken(f"aggTrades of {pair}", body, problem or "no id of a trade")
    return rows[0].f if rows else None


def _id_of(trade: Trade) -> int:
    return trade.trade_id


def parse_candles(body: bytes, pair: str) -> Parsed:
    """Candles, oldest first, each start once."""
    rows, bad, problem = _read_rows(body, _candle, f"klines of {pair}")
    bars: dict[int, Bar] = {}
    for row in rows:
        if not _is_bar(row):
            bad += 1
            problem = problem or f"impossible candle at {row.open_ms}"
            continue
        start = row.open_ms * NS_PER_MS
        bars[start] = Bar(start, row.open, row.high, row.low, row.close, row.volume, row.trades)
    if bad and not bars:
        raise broken(f"klines of {pair}", body, f"none of {bad} rows can be read: {problem}")
    return Parsed([bars[start] for start in sorted(bars)], bad, problem)


def _is_bar(row: CandleRow) -> bool:
    """False for nan (every comparison fails), infinities, and prices that contradict each other."""
    return (
        0 < row.open_ms < LATEST_MS
        and 0 < row.low <= row.open <= row.high < 1e300
        and row.low <= row.close <= row.high
        and 0 <= row.volume < 1e300
        and 0 <= row.trades <= LARGEST
    )


def _read_rows(body: bytes, decoder: "msgspec.json.Decoder[Any]", what: str) -> tuple[list[Any], int, str]:
    """Every row that can be read, the count of others and the first reason; Retry where it is no list at all."""
    try:
        raws: Sequence[msgspec.Raw] = _rows.decode(body)
    except UNREADABLE as error:
        raise broken(what, body, error) from error
    rows, bad, problem = [], 0, ""
    for raw in raws:
        try:
            rows.append(decoder.decode(raw))
        except UNREADABLE as error:
            bad += 1
            problem = problem or str(error)
    return rows, bad, problem


def named(venue: str, parse: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T:
    """Parses; a wrong shape is told under the venue's name (the sandbox is not Binance)."""
    try:
        return parse(*arguments, **more)
    except Retry as error:
        raise Retry(venue, error.text, error.next_step, error.code) from error


def broken(what: str, body: bytes, why: object) -> Retry:
    """The error for an answer of the wrong shape; it keeps the beginning of the raw text."""
    return Retry("binance", f"{what}: {why}: {shorten(body[:1000].decode(errors='replace'))!r} ({len(body)} bytes)")
