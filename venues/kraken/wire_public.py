"""Kraken's public wire: addresses and frames to send, and what the answers mean. Pure.

REST answers with HTTP 200 even where it refuses (`judge` reads that), keyed by the pair key, which is seldom the name
that was asked for: the one key that is not `last` is taken. Trades on REST have times in float seconds, `since` and
`last` are nanoseconds, candles have whole seconds; the newest candle is always the forming one. Frames of trades hold
several trades with prices and quantities as JSON numbers, which become the nearest float; `trade_id` counts up by one
within a market, the same ids on both ways.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, NamedTuple

import msgspec

from core.clock import NS_PER_S
from venues.engineio import UNREADABLE, shorten
from venues.kraken import naming
from venues.kraken.frames import EPOCH, LATEST_NS, SYMBOLS_A_REQUEST, Moment, WireError, subscribe
from venues.venue import SIDE_BUY, SIDE_SELL, SIDE_UNKNOWN, Bar, Rules, Trade

TRADES_MAX = 1000
CANDLES_MAX = 720
INTERVALS = {minutes * 60_000: str(minutes) for minutes in (1, 5, 15, 30, 60, 240, 1440, 10080)}
TRADE_CHANNEL = "trade"
TRADE_FRAME = '{"channel":"trade",'  # how a frame of trades begins

TradeId = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
_SIDES = {"buy": SIDE_BUY, "sell": SIDE_SELL, "b": SIDE_BUY, "s": SIDE_SELL}


class Envelope(msgspec.Struct):
    """Round every answer of REST; entries that begin with W are warnings."""

    error: list[str] = []
    result: msgspec.Raw = msgspec.Raw(b"")


class MarketRow(msgspec.Struct):
    """One market of AssetPairs; only what is needed. Dark pools have no wsname and no stream."""

    altname: str
    base: str
    quote: str
    pair_decimals: int
    lot_decimals: int
    wsname: str = ""
    ordermin: Decimal = Decimal(0)
    costmin: Decimal = Decimal(0)
    tick_size: Decimal | None = None
    status: str = "online"


class RestTrade(msgspec.Struct, array_like=True):
    """["30243.40000","0.34507674",1688669597.8277369,"b","m","",61044952]; the time is exact as a decimal only."""

    price: float
    quantity: float
    time_s: Decimal
    side: str
    order_type: str
    misc: str
    trade_id: TradeId


class RestCandle(msgspec.Struct, array_like=True):
    """[1688671200,"30306.1","30306.2","30305.7","30305.7","30306.1","3.39243896",23]"""

    open_s: int
    open: float
    high: float
    low: float
    close: float
    vwap: float
    volume: float
    trades: int


class StreamTrade(msgspec.Struct, gc=False):
    """One trade of a frame."""

    symbol: str
    price: float
    qty: float
    trade_id: TradeId
    timestamp: Moment
    side: str = ""


class TradeFrame(msgspec.Struct, gc=False):
    """A frame of trades; `type` is snapshot for the latest ones, update for new ones."""

    channel: str
    data: list[StreamTrade]
    type: str = "update"


class ServerTime(msgspec.Struct):
    """The venue's clock, in whole seconds."""

    unixtime: int


class Parsed(NamedTuple):
    """Rows read, and how many could not be, with the first reason and, of markets, their names."""

    rows: list[Any]
    bad: int
    problem: str
    unread: tuple[str, ...] = ()


class TradesPage(NamedTuple):
    """One answer of Trades: rows by ascending id, how many it held in all, and where the next one begins."""

    rows: list[Trade]
    bad: int
    size: int
    last_ns: int


_envelope = msgspec.json.Decoder(Envelope)
_table = msgspec.json.Decoder(dict[str, msgspec.Raw])
_rows = msgspec.json.Decoder(list[msgspec.Raw])
_market = msgspec.json.Decoder(MarketRow, strict=False)
_rest_trade = msgspec.json.Decoder(RestTrade, strict=False)
_candle = msgspec.json.Decoder(RestCandle, strict=False)
_last = msgspec.json.Decoder(int, strict=False)
_time = msgspec.json.Decoder(ServerTime)
_stream_trade = msgspec.json.Decoder(StreamTrade)
_trade_frame = msgspec.json.Decoder(TradeFrame)


# --- what to ask -----------------------------------------------------------------------------------


def time_path() -> str:
    return "/0/public/Time"


def markets_path() -> str:
    return "/0/public/AssetPairs"


def trades_request(name: str, since_ns: int | None = None) -> tuple[str, dict[str, str]]:
    """Path and query of trades after a time, the oldest first; without it of the newest."""
    query = {"pair": name, "count": str(TRADES_MAX)}
    if since_ns is not None:
        query["since"] = str(max(0, since_ns))
    return "/0/public/Trades", query


def candles_request(name: str, interval_ms: int, start_ms: int) -> tuple[str, dict[str, str]]:
    """Path and query of the candles from a start on; the newest 720 are all there is."""
    since_s = max(0, start_ms // 1000 - 1)  # candles after it
    return "/0/public/OHLC", {"pair": name, "interval": INTERVALS[interval_ms], "since": str(since_s)}


def subscriptions(pairs: Sequence[str]) -> dict[int, tuple[str, Sequence[str]]]:
    """Frames that ask for the trades of these pairs, with their pairs, by number of the request.

    Without a snapshot: what came before the subscription is asked for over REST, and decides nothing.
    """
    found: dict[int, tuple[str, Sequence[str]]] = {}
    for place in range(0, len(pairs), SYMBOLS_A_REQUEST):
        part = list(pairs[place : place + SYMBOLS_A_REQUEST])
        req_id = len(found) + 1
        found[req_id] = (subscribe(req_id, TRADE_CHANNEL, symbol=part, snapshot=False), part)
    return found


# --- what the answers mean -------------------------------------------------------------------------


def result_of(body: bytes, what: str) -> msgspec.Raw:
    """The result in an answer. Raises WireError where there is none."""
    try:
        envelope = _envelope.decode(body)
    except UNREADABLE as error:
        raise WireError(f"{what}: no answer of this venue ({error})", body) from error
    errors = [text for text in envelope.error if not text.startswith("W")]
    if errors:
        raise WireError(f"{what}: {', '.join(errors)}", body)
    if not bytes(envelope.result):
        raise WireError(f"{what}: no result", body)
    return envelope.result


def parse_time_s(body: bytes) -> int:
    """Seconds since 1970 of the venue's clock."""
    try:
        return _time.decode(result_of(body, "Time")).unixtime
    except UNREADABLE as error:
        raise _as_wire_error(error, "Time", body) from error


def parse_markets(body: bytes) -> Parsed:
    """Rules of every market whose row can be read; dark pools are left out."""
    result = result_of(body, "AssetPairs")
    rules: list[Rules] = []
    unread: list[str] = []
    problem = ""
    for key, raw in _decoded(_table, result, "AssetPairs", body).items():
        try:
            row = _market.decode(raw)
            if row.wsname:
                rules.append(_rules(row))
        except UNREADABLE as error:
            unread.append(key)
            problem = problem or f"{key}: {error}"
    if not rules:
        raise WireError(f"AssetPairs has no market that can be read ({problem or 'an empty list'})", body)
    return Parsed(rules, len(unread), problem, tuple(unread))


def _rules(row: MarketRow) -> Rules:
    base, slash, quote = row.wsname.partition("/")
    if not (base and slash and quote):
        raise ValueError(f"{row.wsname} is no name of a market")
    if not (0 <= row.pair_decimals <= 18 and 0 <= row.lot_decimals <= 18):
        raise ValueError("decimals outside 0 to 18")
    tick = row.tick_size if row.tick_size is not None else Decimal(1).scaleb(-row.pair_decimals)
    step = Decimal(1).scaleb(-row.lot_decimals)
    for value in (tick, row.ordermin, row.costmin):
        if not value.is_finite() or abs(value.adjusted()) > 30 or value < 0:
            raise ValueError(f"{value} is no usual number")
    if tick == 0:
        raise ValueError("a tick of 0")
    base, quote = naming.asset(base), naming.asset(quote)
    return Rules(
        pair=f"{base}/{quote}",
        symbol=row.altname,
        base=base,
        quote=quote,
        tick=tick,
        step=step,
        min_quantity=max(row.ordermin, step),
        min_notional=row.costmin,
        active=row.status == "online",
    )


def parse_trades(body: bytes, pair: str, received_ns: int) -> TradesPage:
    """Trades of one pair by ascending id, each once. Raises WireError."""
    what = f"Trades of {pair}"
    raws, last = _keyed(body, what)
    trades: dict[int, Trade] = {}
    bad, problem = 0, ""
    for raw in raws:
        try:
            row = _rest_trade.decode(raw)
        except UNREADABLE as error:
            bad += 1
            problem = problem or str(error)
            continue
        side = _SIDES.get(row.side, SIDE_UNKNOWN)
        trades[row.trade_id] = Trade(
            pair, _seconds_ns(row.time_s), row.price, row.quantity, side, row.trade_id, received_ns
        )
    if bad and not trades:
        raise WireError(f"{what}: none of {bad} rows can be read ({problem})", body)
    last_ns = _decoded(_last, last, what, body) if bytes(last) else 0
    return TradesPage([trades[number] for number in sorted(trades)], bad, len(raws), last_ns)


def _seconds_ns(seconds: Decimal) -> int:
    """Nanoseconds of decimal seconds, cut off below; 0, which nobody accepts, where it is no time."""
    if not seconds.is_finite() or not 0 < seconds < 9_000_000_000:
        return 0
    return int(seconds * NS_PER_S)


def parse_candles(body: bytes, pair: str) -> Parsed:
    """Candles, oldest first, each start once, the forming one last; quiet minutes are flat rows. Raises WireError."""
    what = f"OHLC of {pair}"
    raws, _ = _keyed(body, what)
    bars: dict[int, Bar] = {}
    bad, problem = 0, ""
    for raw in raws:
        try:
            row = _candle.decode(raw)
        except UNREADABLE as error:
            bad += 1
            problem = problem or str(error)
            continue
        if not _is_bar(row):
            bad += 1
            problem = problem or f"impossible candle at {row.open_s}"
            continue
        start_ns = row.open_s * NS_PER_S
        bars[start_ns] = Bar(start_ns, row.open, row.high, row.low, row.close, row.volume, row.trades)
    if bad and not bars:
        raise WireError(f"{what}: none of {bad} rows can be read ({problem})", body)
    return Parsed([bars[start] for start in sorted(bars)], bad, problem)


def _is_bar(row: RestCandle) -> bool:
    """False for nan (every comparison fails), infinities, and prices that contradict each other."""
    return (
        0 < row.open_s < 9_000_000_000
        and 0 < row.low <= row.open <= row.high < 1e300
        and row.low <= row.close <= row.high
        and 0 <= row.volume < 1e300
        and 0 <= row.trades < 2**31
    )


def _keyed(body: bytes, what: str) -> tuple[list[msgspec.Raw], msgspec.Raw]:
    """The rows of the one market in an answer, whatever its name there, and `last`."""
    table = _decoded(_table, result_of(body, what), what, body)
    last = table.pop("last", msgspec.Raw(b""))
    if len(table) != 1:
        raise WireError(f"{what}: {len(table)} markets in the answer in place of 1", body)
    return _decoded(_rows, next(iter(table.values())), what, body), last


def _decoded(decoder: "msgspec.json.Decoder[Any]", raw: msgspec.Raw, what: str, body: bytes) -> Any:
    try:
        return decoder.decode(raw)
    except UNREADABLE as error:
        raise _as_wire_error(error, what, body) from error


def _as_wire_error(error: Exception, what: str, body: bytes) -> WireError:
    if isinstance(error, WireError):
        return error
    return WireError(f"{what}: an answer of an unknown shape ({error})", body)


# --- trades on the stream --------------------------------------------------------------------------


def parse_trade_frame(text: str, received_ns: int, pairs: Mapping[str, str]) -> tuple[list[Trade], str]:
    """The new trades in a frame of the channel, in the venue's order, and what is wrong with others.

    `pairs` maps the symbols that were joined to the names that trades shall have. A snapshot has nothing new. Raises
    WireError for a frame of which nothing can be read.
    """
    try:
        frame = _trade_frame.decode(text)
    except UNREADABLE as error:
        return _row_by_row(text, received_ns, pairs, error)
    return ([], "") if frame.type == "snapshot" else _trades(frame.data, received_ns, pairs)


def _trades(rows: Sequence[StreamTrade], received_ns: int, pairs: Mapping[str, str]) -> tuple[list[Trade], str]:
    """The measured path: most of it is the making of objects, so a Trade is made without the call that names fields."""
    trades: list[Trade] = []
    problem = ""
    side_of, new = _SIDES.get, tuple.__new__
    for row in rows:
        since = row.timestamp - EPOCH
        at_ns = (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000
        pair = pairs.get(row.symbol)
        if pair is None:
            problem = problem or f"a trade of {row.symbol}, which was not joined"
        elif not 0 < at_ns < LATEST_NS:
            problem = problem or f"a trade of {row.symbol} at {row.timestamp}, which is no time"
        else:
            side = side_of(row.side, SIDE_UNKNOWN)
            trades.append(new(Trade, (pair, at_ns, row.price, row.qty, side, row.trade_id, received_ns)))
    return trades, problem


class _LooseFrame(msgspec.Struct):
    data: list[msgspec.Raw]


_loose_frame = msgspec.json.Decoder(_LooseFrame)


def _row_by_row(text: str, received_ns: int, pairs: Mapping[str, str], why: Exception) -> tuple[list[Trade], str]:
    """What can be read of a frame of which something cannot."""
    try:
        raws = _loose_frame.decode(text).data
    except UNREADABLE as error:
        raise WireError(f"unreadable frame of trades ({why})", text) from error
    rows: list[StreamTrade] = []
    problem = ""
    for raw in raws:
        try:
            rows.append(_stream_trade.decode(raw))
        except UNREADABLE as error:
            problem = problem or f"{error}: {shorten(bytes(raw).decode(errors='replace'))}"
    if problem and not rows:
        raise WireError(f"unreadable frame of trades ({problem})", text)
    trades, other = _trades(rows, received_ns, pairs)
    return trades, problem or other
