"""Binance spot's private wire: signed requests, and what their answers mean. Pure.

* A request is signed by HMAC-SHA256 over the query exactly as it is sent, in hex, with `signature` last.
* Numbers go out as plain decimal text on the market's steps, and come in as Decimal from the venue's text.
* A client order id is unique among live orders only: once an order is over, the same id makes a second one.
* In the answer to a cancel `clientOrderId` names the cancel; the order is `origClientOrderId`.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec

from core import money
from core.errors import MisconfiguredError
from core.settings_parse import Secret
from venues import account as contract
from venues.account import BUY, SELL, Balance, Fill, NewOrder, Order
from venues.binance.wire_public import LATEST_MS, ORDERS, WEIGHT, broken
from venues.call import Call
from venues.engineio import UNREADABLE

RECV_WINDOW_MS = 5000
FILLS_MAX = 1000
FILLS_WINDOW_MS = 86_400_000
CLIENT_ID_MAX = 36
_CLIENT_ID = re.compile(r"[a-zA-Z0-9_-]{1,36}", re.ASCII)  # a longer one is refused as "illegal characters"

ORDER_WEIGHT, QUERY_WEIGHT, OPEN_WEIGHT, FILLS_WEIGHT, ACCOUNT_WEIGHT = 1, 4, 6, 20, 20

ORDER, OPEN_ORDERS, MY_TRADES = "/api/v3/order", "/api/v3/openOrders", "/api/v3/myTrades"
ACCOUNT, COMMISSION = "/api/v3/account", "/api/v3/account/commission"

STATES = {
    "NEW": contract.OPEN,
    "PENDING_NEW": contract.PENDING,
    "PARTIALLY_FILLED": contract.PARTIALLY_FILLED,
    "PENDING_CANCEL": contract.OPEN,
    "FILLED": contract.FILLED,
    "CANCELED": contract.CANCELLED,
    "REJECTED": contract.REJECTED,
    "EXPIRED": contract.EXPIRED,
    "EXPIRED_IN_MATCH": contract.EXPIRED,  # against an order of our own
}
SIDES = {"BUY": BUY, "SELL": SELL}
KINDS = {"MARKET": contract.MARKET, "LIMIT_MAKER": contract.POST_ONLY, "STOP_LOSS": contract.STOP}
LIMITS_BY_TIME_IN_FORCE = {"GTC": contract.LIMIT, "IOC": contract.IOC}


class Keys(NamedTuple):
    """An account's HMAC key pair."""

    key: Secret
    secret: Secret


class FillRow(msgspec.Struct):
    """A fill in the answer to a new order."""

    price: Decimal
    qty: Decimal
    commission: Decimal
    commissionAsset: str
    tradeId: int


class OrderBody(msgspec.Struct):
    """An order in any answer; which times it has depends on what was asked."""

    symbol: str
    orderId: int
    status: str
    type: str
    side: str
    origQty: Decimal
    executedQty: Decimal
    clientOrderId: str = ""
    origClientOrderId: str = ""
    price: Decimal = Decimal(0)
    cummulativeQuoteQty: Decimal = Decimal(-1)  # below 0: not known
    timeInForce: str = "GTC"
    time: int = 0
    transactTime: int = 0
    updateTime: int = 0
    expiryReason: str = ""
    fills: list[FillRow] = []


class TradeRow(msgspec.Struct):
    """An own fill of myTrades."""

    symbol: str
    id: int
    orderId: int
    price: Decimal
    qty: Decimal
    commission: Decimal
    commissionAsset: str
    time: int
    isBuyer: bool
    isMaker: bool


class BalanceRow(msgspec.Struct):
    """One currency of the account."""

    asset: str
    free: Decimal
    locked: Decimal


class AccountBody(msgspec.Struct):
    """The account; only what it holds."""

    balances: list[BalanceRow]


class Rates(msgspec.Struct):
    """One kind of commission, as fractions; buyer or seller come on top of maker or taker."""

    maker: Decimal
    taker: Decimal
    buyer: Decimal = Decimal(0)
    seller: Decimal = Decimal(0)


class CommissionBody(msgspec.Struct):
    """What the account pays in a market."""

    standardCommission: Rates
    specialCommission: Rates | None = None
    taxCommission: Rates | None = None


_order = msgspec.json.Decoder(OrderBody)
_orders = msgspec.json.Decoder(list[OrderBody])
_fills = msgspec.json.Decoder(list[TradeRow])
_account = msgspec.json.Decoder(AccountBody)
_commission = msgspec.json.Decoder(CommissionBody)


# --- signing ---------------------------------------------------------------------------------------


def signature(text: str, secret: Secret) -> str:
    """HMAC-SHA256 of the text (query and body joined without a separator), in hex."""
    return hmac.new(secret.reveal().encode(), text.encode(), hashlib.sha256).hexdigest()


def encoded(parameters: Mapping[str, str]) -> str:
    """Parameters in their order, percent-encoded: the text that is signed and sent."""
    return urlencode(parameters, quote_via=quote, safe="")


def signed_query(parameters: Mapping[str, str], keys: Keys, time_ms: int) -> str:
    """The query of a signed request."""
    text = encoded({**parameters, "recvWindow": str(RECV_WINDOW_MS), "timestamp": str(time_ms)})
    return f"{text}&signature={signature(text, keys.secret)}"


def signed_socket_parameters(keys: Keys, time_ms: int) -> dict[str, str | int]:
    """Parameters of a request over the WebSocket API that needs no others; signed sorted by name."""
    text = f"apiKey={keys.key.reveal()}&timestamp={time_ms}"
    return {"apiKey": keys.key.reveal(), "timestamp": time_ms, "signature": signature(text, keys.secret)}


def _call(
    method: str,
    host: str,
    path: str,
    parameters: Mapping[str, str],
    keys: Keys,
    time_ms: int,
    costs: Mapping[str, float],
    *,
    changes: bool = False,
    urgent: bool = False,
) -> Call:
    about = f" {parameters['symbol']}" if "symbol" in parameters else ""
    return Call(
        method,
        host + path,
        query=signed_query(parameters, keys, time_ms),
        headers={"X-MBX-APIKEY": keys.key.reveal()},
        changes=changes,
        costs=costs,
        urgent=urgent,
        what=f"{method} {path}{about}",
    )


# --- what to ask -----------------------------------------------------------------------------------


def order_parameters(order: NewOrder) -> dict[str, str]:
    """Parameters of a new order. Raises ValueError where it lacks what its kind needs, or its id is not allowed."""
    if not _CLIENT_ID.fullmatch(order.client_order_id):
        raise ValueError(f"client order id {order.client_order_id!r}: 1 to 36 letters, digits, - and _ are allowed")
    if order.side not in (BUY, SELL) or order.quantity <= 0:
        raise ValueError(f"{order.side} {order.quantity} is no order ({order.client_order_id})")
    given = {"symbol": order.rules.symbol, "side": order.side.upper()}
    quantity = {"quantity": money.plain(order.quantity)}
    if order.kind == contract.MARKET:
        given |= {"type": "MARKET", **quantity}
    elif order.kind == contract.LIMIT:
        given |= {"type": "LIMIT", "timeInForce": "GTC", **quantity, "price": _price(order.price, order)}
    elif order.kind == contract.IOC:
        given |= {"type": "LIMIT", "timeInForce": "IOC", **quantity, "price": _price(order.price, order)}
    elif order.kind == contract.POST_ONLY:  # with a timeInForce it is refused
        given |= {"type": "LIMIT_MAKER", **quantity, "price": _price(order.price, order)}
    elif order.kind == contract.STOP:
        given |= {"type": "STOP_LOSS", **quantity, "stopPrice": _price(order.stop_price, order)}
    else:
        raise ValueError(f"{order.kind!r} is no kind of order")
    return given | {"newClientOrderId": order.client_order_id, "newOrderRespType": "FULL"}


def _price(value: Decimal | None, order: NewOrder) -> str:
    if value is None or value <= 0:
        raise ValueError(f"a {order.kind} order needs its price ({order.client_order_id})")
    return money.plain(value)


def create_call(host: str, keys: Keys, order: NewOrder, time_ms: int) -> Call:
    """A new order; sent once."""
    costs = {WEIGHT: ORDER_WEIGHT, ORDERS: 1}
    given = order_parameters(order)
    return _call("POST", host, ORDER, given, keys, time_ms, costs, changes=True, urgent=order.urgent)


def query_call(host: str, keys: Keys, symbol: str, client_id: str, venue_id: str, time_ms: int) -> Call:
    """One order by its client id, else by the venue's."""
    given = {"symbol": symbol, **_which(client_id, venue_id)}
    return _call("GET", host, ORDER, given, keys, time_ms, {WEIGHT: QUERY_WEIGHT}, urgent=True)


def cancel_call(host: str, keys: Keys, symbol: str, client_id: str, venue_id: str, time_ms: int) -> Call:
    """Cancels one order. Doing it twice does no harm: the second one finds nothing to cancel."""
    given = {"symbol": symbol, **_which(client_id, venue_id)}
    return _call("DELETE", host, ORDER, given, keys, time_ms, {WEIGHT: ORDER_WEIGHT}, urgent=True)


def _which(client_id: str, venue_id: str) -> dict[str, str]:
    return {"origClientOrderId": client_id} if client_id else {"orderId": venue_id}


def open_orders_call(host: str, keys: Keys, symbol: str, time_ms: int) -> Call:
    """All live orders of a market."""
    return _call("GET", host, OPEN_ORDERS, {"symbol": symbol}, keys, time_ms, {WEIGHT: OPEN_WEIGHT})


def fills_call(host: str, keys: Keys, symbol: str, time_ms: int, *, since_ms: int = 0, from_id: int = -1) -> Call:
    """Own fills of a market: of the 24 hours from a time on, or from an id on; oldest first."""
    given = {"symbol": symbol}
    if from_id >= 0:
        given["fromId"] = str(from_id)
    else:
        given |= {"startTime": str(since_ms), "endTime": str(since_ms + FILLS_WINDOW_MS - 1)}
    given["limit"] = str(FILLS_MAX)
    return _call("GET", host, MY_TRADES, given, keys, time_ms, {WEIGHT: FILLS_WEIGHT})


def account_call(host: str, keys: Keys, time_ms: int) -> Call:
    """What the account holds."""
    return _call("GET", host, ACCOUNT, {"omitZeroBalances": "true"}, keys, time_ms, {WEIGHT: ACCOUNT_WEIGHT})


def commission_call(host: str, keys: Keys, symbol: str, time_ms: int) -> Call:
    """What the account pays in a market."""
    return _call("GET", host, COMMISSION, {"symbol": symbol}, keys, time_ms, {WEIGHT: ACCOUNT_WEIGHT})


# --- what the answers mean -------------------------------------------------------------------------


def parse_order(body: bytes, what: str = "order") -> Order:
    """An order from the answer to create, query or cancel. Raises Retry with the raw text."""
    return _as_order(_decoded(_order, body, what), body, what)


def parse_open_orders(body: bytes) -> list[Order]:
    """All live orders of a market."""
    return [_as_order(row, body, "openOrders") for row in _decoded(_orders, body, "openOrders")]


def _as_order(row: OrderBody, body: bytes, what: str) -> Order:
    status, side = STATES.get(row.status), SIDES.get(row.side)
    if status is None or side is None:
        raise broken(what, body, f"status {row.status!r}, side {row.side!r}")
    _check((row.origQty, row.executedQty, row.price), body, what, row.cummulativeQuoteQty)
    client_id = row.origClientOrderId or row.clientOrderId
    time_ms = row.updateTime or row.transactTime
    known = row.executedQty > 0 and row.cummulativeQuoteQty > 0
    return Order(
        client_order_id=client_id,
        venue_order_id=str(row.orderId),
        symbol=row.symbol,
        side=side,
        kind=kind_of(row.type, row.timeInForce),
        quantity=row.origQty,
        filled=row.executedQty,
        status=status,
        price=row.price or None,
        average_price=row.cummulativeQuoteQty / row.executedQty if known else None,
        created_ms=row.time or (row.transactTime if not row.origClientOrderId else 0),
        updated_ms=time_ms,
        reason=row.expiryReason or (row.status if row.status == "EXPIRED_IN_MATCH" else ""),
        fills=tuple(_fill_of(row, item, client_id, side, body, what) for item in row.fills),
    )


def kind_of(venue_type: str, time_in_force: str) -> str:
    """Our name of an order's kind; empty where it is none of ours."""
    if venue_type == "LIMIT":
        return LIMITS_BY_TIME_IN_FORCE.get(time_in_force, "")
    return KINDS.get(venue_type, "")


def _fill_of(row: OrderBody, item: FillRow, client_id: str, side: str, body: bytes, what: str) -> Fill:
    """A fill in the answer to a new order: it has no time of its own, and took what rested on the book."""
    _check((item.price, item.qty), body, what, item.commission)
    return Fill(
        venue_fill_id=str(item.tradeId),
        venue_order_id=str(row.orderId),
        client_order_id=client_id,
        symbol=row.symbol,
        side=side,
        price=item.price,
        quantity=item.qty,
        fee=item.commission,
        fee_currency=item.commissionAsset,
        time_ms=row.transactTime,
        maker=False,
    )


def archived_order(symbol: str, client_id: str, venue_id: str, text: str) -> Order:
    """What -2026 says of an order: over long ago and never filled; the rest of it is forgotten."""
    none = Decimal(0)
    return Order(client_id, venue_id, symbol, "", "", none, none, contract.CANCELLED, reason=text)


def parse_fills(body: bytes) -> list[Fill]:
    """Own fills, oldest first by the venue's id."""
    what = "myTrades"
    rows = sorted(_decoded(_fills, body, what), key=lambda row: row.id)
    for row in rows:
        _check((row.price, row.qty), body, what, row.commission)
        if not (row.id >= 0 and 0 < row.time < LATEST_MS):
            raise broken(what, body, f"impossible fill {row.id} at {row.time}")
    return [
        Fill(
            venue_fill_id=str(row.id),
            venue_order_id=str(row.orderId),
            client_order_id="",
            symbol=row.symbol,
            side=BUY if row.isBuyer else SELL,
            price=row.price,
            quantity=row.qty,
            fee=row.commission,
            fee_currency=row.commissionAsset,
            time_ms=row.time,
            maker=row.isMaker,
        )
        for row in rows
    ]


def parse_balances(body: bytes) -> list[Balance]:
    """Currencies of which there is something."""
    rows = _decoded(_account, body, "account").balances
    for row in rows:
        _check((row.free, row.locked), body, "account")
    return [Balance(row.asset, row.free, row.locked) for row in rows if row.free or row.locked]


def parse_fees_bps(body: bytes) -> tuple[Decimal, Decimal]:
    """(taker, maker) in basis points: all kinds of commission, of the dearer side.

    The rebate for paying in BNB is left out: it holds only as long as there is BNB, and fills tell what was paid.
    """
    found = _decoded(_commission, body, "account/commission")
    taker = maker = Decimal(0)
    for rates in (found.standardCommission, found.specialCommission, found.taxCommission):
        if rates is not None:
            _check((rates.buyer, rates.seller, rates.taker), body, "account/commission", rates.maker)
            side = max(rates.buyer, rates.seller)
            taker += rates.taker + side
            maker += rates.maker + side
    return taker * 10_000, maker * 10_000


def _decoded(decoder: "msgspec.json.Decoder[Any]", body: bytes, what: str) -> Any:
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        raise broken(what, body, error) from error


def _check(amounts: tuple[Decimal, ...], body: bytes, what: str, signed: Decimal = Decimal(0)) -> None:
    """Amounts are finite, of a usual size and not negative; `signed` may be below 0 (a rebate, or not known)."""
    try:
        money.decimal_of(signed, what)
        for value in amounts:
            if money.decimal_of(value, what) < 0:
                raise broken(what, body, f"an amount below 0: {value}")
    except MisconfiguredError as error:
        raise broken(what, body, error) from error
