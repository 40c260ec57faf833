"""CoinDCX's public wire: addresses and frames to send, and what the answers mean. Pure.

CoinDCX calls the asset whose quantity is traded "target" and the one the price is in "base":
`base_currency_precision` gives the tick. Answers come newest first; `m` says that the buyer was the maker, hence that
the taker sold. Stream events hold their data as JSON inside JSON; documents print it as an object, older ones as the
bare payload: all three are read.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from core.clock import NS_PER_MS
from core.money import common_step
from venues.call import Failure
from venues.engineio import UNREADABLE, event_frame, shorten
from venues.errors import Retry
from venues.venue import SIDE_BUY, SIDE_SELL, Bar, Rules, Trade

TRADES_MAX = 500
CANDLES_MAX = 1000
INTERVALS = {60_000: "1m", 900_000: "15m", 3_600_000: "1h", 86_400_000: "1d"}
RATE_PAUSE_S = 60.0  # no Retry-After was ever seen: the window of their limits
REQUESTS = "requests"  # name of the limit
TRADE_EVENT = "new-trade"


class WireError(ValueError):
    """A stream frame that cannot be read; the stream goes on without it."""


class MarketRow(msgspec.Struct):
    """One row of markets_details; only what is needed."""

    coindcx_name: str
    pair: str
    base_currency_short_name: str
    target_currency_short_name: str
    base_currency_precision: int
    target_currency_precision: int
    step: Decimal
    min_quantity: Decimal
    min_notional: Decimal = Decimal(0)
    max_quantity_market: Decimal | None = None
    status: str = "active"
    ecode: str = ""


class MarketName(msgspec.Struct):
    """What a row is about, where nothing else of it can be read."""

    pair: str = ""
    coindcx_name: str = ""


class TradeRow(msgspec.Struct):
    """A trade on REST or on the stream: numbers or numbers as text, `m` 0, 1, true or false."""

    p: float
    q: float
    T: float
    m: bool
    s: str = ""


class CandleRow(msgspec.Struct):
    """One candle; `time` is its start in ms."""

    time: float
    open: float
    high: float
    low: float
    close: float
    volume: float


class Envelope(msgspec.Struct):
    """What stands round the payload of a stream event."""

    data: msgspec.Raw = msgspec.Raw(b"")


class UsualEnvelope(msgspec.Struct):
    """The same with JSON inside JSON, as seen live."""

    data: str


class ErrorBody(msgspec.Struct):
    """The venue's own error."""

    message: str = ""
    code: int | str = ""
    errorCode: str = ""


class Parsed(NamedTuple):
    """Rows read, and how many could not be, with the first reason and, of markets, their names."""

    rows: list[Any]
    bad: int
    problem: str
    unread: tuple[str, ...] = ()


_REMAINING = re.compile(r"\bremaining=(\d{1,9})\b")

_rows = msgspec.json.Decoder(list[msgspec.Raw])
_market = msgspec.json.Decoder(MarketRow, strict=False)
_name = msgspec.json.Decoder(MarketName)
_trade = msgspec.json.Decoder(TradeRow, strict=False)
_candle = msgspec.json.Decoder(CandleRow, strict=False)
_envelope = msgspec.json.Decoder(Envelope)
_usual = msgspec.json.Decoder(UsualEnvelope)
_text = msgspec.json.Decoder(str)
_error = msgspec.json.Decoder(ErrorBody, strict=False)


# --- what to ask -----------------------------------------------------------------------------------


def markets_path() -> str:
    """Under the api host."""
    return "/exchange/v1/markets_details"


def trades_request(pair: str, limit: int = TRADES_MAX) -> tuple[str, dict[str, str]]:
    """Path (under the public host) and query of the recent trades."""
    return "/market_data/trade_history", {"pair": pair, "limit": str(min(limit, TRADES_MAX))}


def candles_request(pair: str, interval_ms: int, start_ms: int, end_ms: int) -> tuple[str, dict[str, str]]:
    """Path (under the public host) and query of the candles with start <= open <= end; both ends must be sent."""
    query = {
        "pair": pair,
        "interval": INTERVALS[interval_ms],
        "startTime": str(start_ms),
        "endTime": str(end_ms),
        "limit": str(CANDLES_MAX),
    }
    return "/market_data/candles", query


def stream_path(version: int) -> str:
    """Path and query of the socket.io endpoint; websocket only."""
    return f"/socket.io/?EIO={version}&transport=websocket"


def join_frame(pair: str) -> str:
    """Asks for the trades of one pair; never answered, and an unknown name is silent for ever."""
    return event_frame("join", {"channelName": f"{pair}@trades"})


# --- what the answers mean -------------------------------------------------------------------------


def parse_error(body: bytes) -> tuple[str, str]:
    """(code, message) of a refusal; empty where the body is none of theirs."""
    try:
        error = _error.decode(body)
    except UNREADABLE:
        return "", ""
    return error.errorCode or str(error.code), error.message


def left_of(headers: Mapping[str, str]) -> dict[str, float]:
    """What is left of the limit of public requests, where the answer says."""
    found = _REMAINING.search(headers.get("ratelimit", ""))
    return {REQUESTS: float(found.group(1))} if found else {}


def judge(status: int, headers: Mapping[str, str], body: bytes, changes: bool) -> Failure | None:
    """What a refusal calls for; of public and private calls.

    401 says "Invalid credentials" for a wrong key and perhaps for a wrong clock: nothing was carried out. After 429,
    5xx, and what is none of their refusals (403 and 409 of the edge, no text of theirs), a change may have been carried
    out all the same. No other refusal is known to have had an effect.
    """
    if status < 400:
        return None
    code, message = parse_error(body)
    bare = not message
    request = headers.get("x-request-id", "")  # what their support asks for
    message += f" (request {request[:64]})" if request else ""
    if status == 401:
        return Failure("skewed", code, message)
    if status in (418, 429):
        return Failure("unknown" if changes else "rate_limited", code, message)
    if status >= 500 or status in (403, 408, 409) or (changes and bare):
        return Failure("unknown" if changes else "retry", code, message)
    return Failure("rejected", code, message)


def parse_markets(body: bytes) -> Parsed:
    """Rules of every market whose row can be read."""
    rows, bad, problem = _read_rows(body, _market, "markets_details", "a list of markets")
    rules = []
    for row in rows:
        try:
            rules.append(_rules(row))
        except ValueError as error:
            bad += 1
            problem = problem or f"{row.pair}: {error}"
    if not rules:
        raise Retry(
            "coindcx", f"markets_details has no market that can be read ({problem or 'an empty list'}): {_begun(body)}"
        )
    return Parsed(rules, bad, problem, _unread(body, rules) if bad else ())


def _unread(body: bytes, rules: Sequence[Rules]) -> tuple[str, ...]:
    """Both names of every market whose row could not be read, as far as these can."""
    read = {item.pair for item in rules}
    found: list[str] = []
    for raw in _rows.decode(body):
        try:
            name = _name.decode(raw)
        except UNREADABLE:
            continue
        if name.pair not in read:
            found += [text for text in (name.pair, name.coindcx_name) if text]
    return tuple(found)


def _rules(row: MarketRow) -> Rules:
    if not (0 <= row.base_currency_precision <= 18 and 0 <= row.target_currency_precision <= 18):
        raise ValueError("a precision outside 0 to 18")
    most = row.max_quantity_market or Decimal(0)
    for value in (row.step, row.min_quantity, row.min_notional, most):
        if not value.is_finite():  # a nan cannot even be compared
            raise ValueError(f"{value} is no number")
    finest = Decimal(1).scaleb(-row.target_currency_precision)
    if abs(row.step.adjusted()) > 18 or len(row.step.as_tuple().digits) > 18:
        raise ValueError(f"{row.step!s:.40} is no step")
    # Some markets have a step finer than the decimals that an order may have there (OMS-VF-0006).
    step = common_step(max(row.step, Decimal(0)), finest)
    return Rules(
        pair=row.pair,
        symbol=row.coindcx_name,
        base=row.target_currency_short_name,
        quote=row.base_currency_short_name,
        tick=Decimal(1).scaleb(-row.base_currency_precision),
        step=step,
        min_quantity=max(row.min_quantity, step),
        min_notional=max(row.min_notional, Decimal(0)),
        max_quantity=most if most > 0 else None,
        active=row.status == "active",
    )


def parse_trades(body: bytes, pair: str, received_ns: int) -> Parsed:
    """Trades of one pair, oldest first, in the venue's order."""
    rows, bad, problem = _read_rows(body, _trade, "trade_history", "a list of trades")
    if not rows and bad:
        raise Retry("coindcx", f"trade_history of {pair}: none of {bad} rows can be read ({problem}): {_begun(body)}")
    trades = [_as_trade(row, pair, received_ns) for row in rows]
    if trades and trades[0].time_ns >= trades[-1].time_ns:  # newest first, as documented; turned round otherwise
        trades.reverse()
    return Parsed(trades, bad, problem)


def parse_candles(body: bytes, pair: str) -> Parsed:
    """Candles, oldest first, each start once (the venue's first word on it counts)."""
    rows, bad, problem = _read_rows(body, _candle, "candles", "a list of candles")
    if not rows and bad:
        raise Retry("coindcx", f"candles of {pair}: none of {bad} rows can be read ({problem}): {_begun(body)}")
    bars: dict[int, Bar] = {}
    for row in rows:
        if not _is_bar(row):
            bad += 1
            problem = problem or f"impossible candle at {row.time:.0f}"
            continue
        start = int(row.time) * NS_PER_MS
        bars.setdefault(start, Bar(start, row.open, row.high, row.low, row.close, row.volume))
    return Parsed([bars[start] for start in sorted(bars)], bad, problem)


def _is_bar(row: CandleRow) -> bool:
    """False for nan (every comparison fails), infinities, and prices that contradict each other."""
    return (
        0 < row.time < 1e14
        and 0 < row.low <= row.open <= row.high < 1e300
        and row.low <= row.close <= row.high
        and 0 <= row.volume < 1e300
    )


def parse_event(name: str, body: bytes, received_ns: int, pairs: dict[str, str], only: str) -> Trade | None:
    """The trade in a stream event, or None for an event that is of no interest.

    `pairs` maps both names of a market to its pair; `only` is the joined pair where there is just one, for frames
    that name none. Raises WireError for a trade that cannot be read.
    """
    if name != TRADE_EVENT:
        return None
    try:
        row = _usual_trade(body) or _trade.decode(payload(body))
    except UNREADABLE as error:
        raise WireError(f"{name}: {error}: {shorten(body.decode(errors='replace'))}") from error
    pair = pairs.get(row.s, "") if row.s else only
    if not pair:
        raise WireError(
            f"{name} of {row.s or 'no market'}, which was not joined: {shorten(body.decode(errors='replace'))}"
        )
    return _as_trade(row, pair, received_ns)


def _usual_trade(body: bytes) -> TradeRow | None:
    """As the venue sends nearly all of them, with half the work; None for another form."""
    try:
        return _trade.decode(_usual.decode(body).data)
    except UNREADABLE:
        return None


def payload(body: bytes) -> bytes | msgspec.Raw:
    """What is in `{"event":..., "data": "<JSON>"}`, the same with an object, JSON as a string, or the bare payload."""
    if body[:1] == b'"':
        return payload(_text.decode(body).encode())
    inner = bytes(_envelope.decode(body).data)
    if not inner:
        return body
    return _text.decode(inner).encode() if inner[:1] == b'"' else inner


def _as_trade(row: TradeRow, pair: str, received_ns: int) -> Trade:
    ms = row.T
    whole = int(ms) if 0 < ms < 9e12 else 0
    time_ns = whole * NS_PER_MS if whole == ms else _time_ns(ms)
    return Trade(pair, time_ns, row.p, row.q, SIDE_SELL if row.m else SIDE_BUY, 0, received_ns)


def _time_ns(ms: float) -> int:
    """Milliseconds, perhaps with a fraction (kept to the microsecond); 0, which nobody accepts, where it is no time."""
    if not 0 < ms < 9e12:
        return 0
    whole = int(ms)
    return whole * NS_PER_MS if whole == ms else round(ms * 1000) * 1000


def _begun(body: bytes) -> str:
    """The beginning of an answer as it came, for an error."""
    return repr(shorten(body.decode(errors="replace"), 80))


def _read_rows(body: bytes, decoder: "msgspec.json.Decoder[Any]", what: str, wanted: str) -> tuple[list[Any], int, str]:
    """Every row that can be read, the count of others and the first reason; Retry where it is no list at all."""
    try:
        raws: Sequence[msgspec.Raw] = _rows.decode(body)
    except msgspec.ValidationError as error:
        raise Retry("coindcx", f"{what}: expected {wanted}, got {_begun(body)}") from error
    except UNREADABLE as error:
        raise Retry("coindcx", f"{what}: broken JSON after {len(body)} bytes ({error}): {_begun(body)}") from error
    rows, bad, problem = [], 0, ""
    for raw in raws:
        try:
            rows.append(decoder.decode(raw))
        except UNREADABLE as error:
            bad += 1
            problem = problem or str(error)
    return rows, bad, problem
