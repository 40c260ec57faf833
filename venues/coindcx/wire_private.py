"""CoinDCX's private wire: signed calls to send, and what the answers and account events mean. Pure.

Every private call is a POST of JSON with the time in ms; the signature is the HMAC-SHA256 of exactly these bytes, so a
body is serialised once. Numbers go out in plain decimal notation and come back as numbers or as text. An answer is
taken whole or not at all: what cannot be read is a WireError with the raw text, never a row less.

CoinDCX publishes no vectors of its own; those that this is tested with were computed independently.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from core.money import plain
from venues.account import BUY, LIMIT, PARTIALLY_FILLED, SELL, Balance, BalanceNews, Fill, NewOrder, Order, OrderNews
from venues.call import Call
from venues.coindcx.rows import (
    KINDS,
    STATES,
    BalanceRow,
    CancelAnswer,
    ErrorRow,
    FillRow,
    OrderRow,
    Told,
    TradeRow,
    balance_of,
    fill_of,
    fill_time_ms,
    order_of,
)
from venues.coindcx.wire_public import REQUESTS, WireError, payload
from venues.engineio import UNREADABLE, event_frame, shorten
from venues.venue import Rules

CREATE = "/exchange/v1/orders/create"
STATUS = "/exchange/v1/orders/status"
CANCEL = "/exchange/v1/orders/cancel"
ACTIVE = "/exchange/v1/orders/active_orders"
TRADES = "/exchange/v1/orders/trade_history"
BALANCES = "/exchange/v1/users/balances"
MARKETS = "/exchange/v1/markets"

CHANNEL = "coindcx"
ORDER_EVENT, TRADE_EVENT, BALANCE_EVENT = "order-update", "trade-update", "balance-update"
FILLS_MAX = 500  # rows in one answer
OPEN_MAX = 200  # the venue allows 25 open orders a market
CLIENT_ID_MAX = 36
ACTIVE_ORDERS = "active_orders"  # name of a limit

_CLIENT_ID = re.compile(rf"[A-Za-z0-9._-]{{1,{CLIENT_ID_MAX}}}")


class Keys(NamedTuple):
    """What signs; never shown."""

    api: str
    secret: str

    def __repr__(self) -> str:
        return "Keys(***)"


# --- what to ask -----------------------------------------------------------------------------------


def signature(secret: str, body: bytes) -> str:
    """HMAC-SHA256 of the bytes that are sent, in lower-case hex."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def encode(fields: Mapping[str, object], numbers_as_text: bool = False) -> bytes:
    """The body, serialised once: compact, in the order given, decimals in plain notation (as JSON text if asked)."""
    return msgspec.json.encode({name: _json(value, numbers_as_text) for name, value in fields.items()})


def _json(value: object, numbers_as_text: bool) -> object:
    if not isinstance(value, Decimal):
        return value
    return plain(value) if numbers_as_text else msgspec.Raw(plain(value).encode())


def build(
    host: str, path: str, fields: Mapping[str, object], keys: Keys, time_ms: int, what: str, **options: Any
) -> Call:
    """A signed call; `options` are those of `Call`."""
    body = encode({**fields, "timestamp": time_ms})
    headers = {
        "Content-Type": "application/json",
        "X-AUTH-APIKEY": keys.api,
        "X-AUTH-SIGNATURE": signature(keys.secret, body),
    }
    costs = {REQUESTS: 1.0} | options.pop("costs", {})
    return Call("POST", host + path, body=body, headers=headers, what=f"POST {path} {what}", costs=costs, **options)


def build_create(host: str, order: NewOrder, keys: Keys, time_ms: int) -> Call:
    """A market or limit order. Raises ValueError for what is none, or not to the venue's taste."""
    if order.kind not in KINDS:
        raise ValueError(f"no order of the kind {order.kind}: market and limit only")
    if order.side not in (BUY, SELL):
        raise ValueError(f"no order of the side {order.side!r}: buy and sell only")
    if not _CLIENT_ID.fullmatch(order.client_order_id):
        raise ValueError(
            f"a client id of 1 to {CLIENT_ID_MAX} letters, digits, dots, dashes: {order.client_order_id!r}"
        )
    fields: dict[str, object] = {
        "market": order.rules.symbol,
        "side": order.side,
        "order_type": KINDS[order.kind],
    }
    if order.kind == LIMIT:
        if order.price is None:
            raise ValueError("a limit order without a price")
        fields["price_per_unit"] = _above_0("price", order.price)
    fields |= {"total_quantity": _above_0("quantity", order.quantity), "client_order_id": order.client_order_id}
    what = f"{order.rules.symbol} {order.side} {order.kind} {order.client_order_id}"
    return build(host, CREATE, fields, keys, time_ms, what, changes=True, urgent=order.urgent)


def _above_0(name: str, value: Decimal) -> Decimal:
    if not value.is_finite() or value <= 0:
        raise ValueError(f"{name} {value} has to be a number above 0")
    return value


def which(client_order_id: str, venue_order_id: str = "") -> dict[str, object]:
    """Names an order: by our id, else by theirs, which is to be a JSON integer where it is all digits."""
    if client_order_id:
        return {"client_order_id": client_order_id}
    return {"id": int(venue_order_id) if venue_order_id.isdecimal() else venue_order_id}


def build_status(host: str, name: Mapping[str, object], keys: Keys, time_ms: int, *, urgent: bool = False) -> Call:
    return build(host, STATUS, name, keys, time_ms, _of(name), urgent=urgent)


def build_cancel(host: str, name: Mapping[str, object], keys: Keys, time_ms: int) -> Call:
    """Safe to repeat, and always urgent: it makes room and takes risk away."""
    return build(host, CANCEL, name, keys, time_ms, _of(name), urgent=True)


def build_open_orders(host: str, symbol: str, keys: Keys, time_ms: int, *, urgent: bool = False) -> Call:
    fields = {"market": symbol, "size": OPEN_MAX}
    return build(host, ACTIVE, fields, keys, time_ms, symbol, costs={ACTIVE_ORDERS: 1.0}, urgent=urgent)


def build_fills(
    host: str, symbol: str, from_ms: int, to_ms: int, keys: Keys, time_ms: int, *, urgent: bool = False
) -> Call:
    """Own trades of a market with from <= time <= to, oldest first."""
    fields = {
        "symbol": symbol,
        "from_timestamp": from_ms,
        "to_timestamp": to_ms,
        "limit": FILLS_MAX,
        "sort": "asc",
    }
    return build(host, TRADES, fields, keys, time_ms, symbol, urgent=urgent)


def build_balances(host: str, keys: Keys, time_ms: int, *, urgent: bool = False) -> Call:
    return build(host, BALANCES, {}, keys, time_ms, "", urgent=urgent)


def build_clock(host: str) -> Call:
    """The smallest public answer of the private host: its Date header is all the clock that there is."""
    return Call("GET", host + MARKETS, what=f"GET {MARKETS}", costs={REQUESTS: 1.0})


def join_frame(keys: Keys) -> str:
    """Joins the account's channel. The signature never changes, so the frame is a secret."""
    signed = signature(keys.secret, encode({"channel": CHANNEL}))
    return event_frame("join", {"channelName": CHANNEL, "authSignature": signed, "apiKey": keys.api})


def _of(name: Mapping[str, object]) -> str:
    return next(iter(f"{value}" for value in name.values()), "")


# --- what the answers mean -------------------------------------------------------------------------


class FillsPage(NamedTuple):
    """Fills of one answer; ids of all its rows, whatever their market, and their times in its order."""

    fills: list[Fill]
    ids: frozenset[str]
    times: list[int]


_orders = msgspec.json.Decoder(list[OrderRow], strict=False)
_order = msgspec.json.Decoder(OrderRow, strict=False)
_errors = msgspec.json.Decoder(list[ErrorRow])
_fills = msgspec.json.Decoder(list[FillRow], strict=False)
_balances = msgspec.json.Decoder(list[BalanceRow], strict=False)
_trades = msgspec.json.Decoder(list[TradeRow], strict=False)
_cancelled = msgspec.json.Decoder(CancelAnswer, strict=False)


class _Wrapped(msgspec.Struct):
    orders: msgspec.Raw


_wrapped = msgspec.json.Decoder(_Wrapped)


def parse_orders(body: bytes) -> list[Told]:
    """Orders, wrapped in {"orders": …}, bare in a list, or one by itself."""
    try:
        inner = bytes(_wrapped.decode(body).orders) if body.lstrip()[:1] == b"{" and b'"orders"' in body else body
        rows = _orders.decode(inner) if inner.lstrip()[:1] == b"[" else [_order.decode(inner)]
        return [order_of(row) for row in rows]
    except UNREADABLE as error:
        raise unreadable("orders", error, body) from error


def parse_created(body: bytes, client_order_id: str) -> Told:
    """The order in the answer to `create`; without an id of ours in it, it is ours all the same.

    Raises NotTaken where the answer says why it was not taken, WireError where it does not tell of this order.
    """
    refused = _refused(body)
    if refused:
        raise NotTaken(refused)
    orders = parse_orders(body)
    if len(orders) != 1:
        raise WireError(f"create: {len(orders)} orders in place of one: {shown(body)}")
    return _own(orders[0], client_order_id, body)


def parse_status(body: bytes, client_order_id: str) -> Told:
    """One order; asked for by our id, or by theirs (then `client_order_id` is what it should be, or "")."""
    orders = parse_orders(body)
    if len(orders) != 1:
        raise WireError(f"status: {len(orders)} orders in place of one: {shown(body)}")
    return _own(orders[0], client_order_id, body)


def parse_cancelled(body: bytes) -> None:
    """Raises WireError where it is no word of success."""
    try:
        answer = _cancelled.decode(body)
    except UNREADABLE as error:
        raise unreadable("cancel", error, body) from error
    if "success" not in (answer.message, answer.status):
        raise WireError(f"cancel: no word of success: {shown(body)}")


def parse_fills(body: bytes, rules: Rules) -> FillsPage:
    """Own trades of a market in the order of the answer; rows of other markets are left out."""
    try:
        rows = _fills.decode(body)
        return FillsPage(
            [fill_of(row, rules) for row in rows if row.symbol == rules.symbol],
            frozenset(f"{row.symbol} {row.id}" for row in rows),
            [fill_time_ms(row) for row in rows],
        )
    except UNREADABLE as error:
        raise unreadable("trade_history", error, body) from error


def parse_balances(body: bytes) -> list[Balance]:
    """Currencies of which there is something."""
    try:
        rows = [balance_of(row) for row in _balances.decode(body)]
    except UNREADABLE as error:
        raise unreadable("balances", error, body) from error
    return [row for row in rows if row.free or row.locked]


def parse_account_event(name: str, body: bytes) -> list[OrderNews | BalanceNews] | None:
    """News in an event of the account's channel; None for an event of another kind.

    A fill is told as news of its order alone: it comes without a side, perhaps without a fee, and whether its id is
    that of trade_history is not proven. Raises WireError for what cannot be read.
    """
    if name not in (ORDER_EVENT, TRADE_EVENT, BALANCE_EVENT):
        return None
    try:
        inner = body if body[:1] == b"[" else bytes(payload(body))
        if inner.lstrip()[:1] == b"{":
            inner = b"[" + inner + b"]"
        if name == BALANCE_EVENT:
            return [BalanceNews(tuple(balance_of(row) for row in _balances.decode(inner)))]
        if name == ORDER_EVENT:
            return [_news(order_of(row).order) for row in _orders.decode(inner)]
        return [
            OrderNews(row.c or "", str(row.o), row.s, STATES.get(row.x or "", PARTIALLY_FILLED))
            for row in _trades.decode(inner)
        ]
    except UNREADABLE as error:
        raise unreadable(name, error, body) from error


class NotTaken(WireError):
    """The venue says in so many words that it did not take an order."""


def knows_no_order(text: str) -> bool:
    """Whether a refusal says that there is no such order (a wrong path is a 404 as well)."""
    return "order not found" in text.lower()


def id_is_taken(text: str) -> bool:
    """Whether a refusal of a new order may say that its client id was used before.

    The venue's own words are not known, so it need not name the id: a lookup too many does no harm, an order taken for
    refused does.
    """
    letters = "".join(filter(str.isalpha, text.lower()))
    return any(word in letters for word in ("already", "duplicate", "unique")) or (
        "clientorderid" in letters and any(word in letters for word in ("exist", "used", "taken"))
    )


def unreadable(what: str, error: Exception, body: bytes) -> WireError:
    return WireError(f"{what}: {error}: {shown(body)}")


def shown(body: bytes) -> str:
    """The beginning of a raw answer, for an error."""
    return shorten(body.decode(errors="replace"))


def _refused(body: bytes) -> str:
    try:
        inner = bytes(_wrapped.decode(body).orders)
        return "; ".join(row.error_message for row in _errors.decode(inner)) or ""
    except UNREADABLE:
        return ""


def _own(told: Told, client_order_id: str, body: bytes) -> Told:
    theirs = told.order.client_order_id
    if theirs and client_order_id and theirs != client_order_id:
        raise WireError(f"another order ({theirs}) than {client_order_id}: {shown(body)}")
    if theirs == client_order_id:
        return told
    return told._replace(order=msgspec.structs.replace(told.order, client_order_id=theirs or client_order_id))


def _news(order: Order) -> OrderNews:
    return OrderNews(order.client_order_id, order.venue_order_id, order.symbol, order.status)
