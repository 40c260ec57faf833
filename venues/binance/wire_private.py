"""Binance spot's private wire: signed requests. Pure; what their answers mean stands in `wire_answers`.

* A request is signed by HMAC-SHA256 over the query exactly as it is sent, in hex, with `signature` last.
* Numbers go out as plain decimal text on the market's steps.
* A client order id is unique among live orders only: once an order is over, the same id makes a second one.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple
from urllib.parse import quote, urlencode

from core import money
from core.errors import MisconfiguredError
from core.settings_parse import Secret
from venues import account as contract
from venues.account import BUY, SELL, NewOrder
from venues.binance.rate_limits import DAILY_ORDERS, ORDERS, REQUESTS, WEIGHT
from venues.call import Call

RECV_WINDOW_MS = 5000
FILLS_MAX = 1000
FILLS_WINDOW_MS = 86_400_000
CLIENT_ID_MAX = 36
_CLIENT_ID = re.compile(r"[a-zA-Z0-9_-]{1,36}", re.ASCII)  # a longer one is refused as "illegal characters"

ORDER_WEIGHT, QUERY_WEIGHT, OPEN_WEIGHT, FILLS_WEIGHT, ACCOUNT_WEIGHT = 1, 4, 6, 20, 20

ORDER, OPEN_ORDERS, MY_TRADES = "/api/v3/order", "/api/v3/openOrders", "/api/v3/myTrades"
ACCOUNT, COMMISSION = "/api/v3/account", "/api/v3/account/commission"
KEY_RIGHTS = "/sapi/v1/account/apiRestrictions"  # of the wallet's documentation


class Keys(NamedTuple):
    """An account's HMAC key pair."""

    key: Secret
    secret: Secret


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
        costs={REQUESTS: 1, **costs},
        urgent=urgent,
        what=f"{method} {path}{about}",
    )


# --- what to ask -----------------------------------------------------------------------------------


def order_parameters(order: NewOrder) -> dict[str, str]:
    """Parameters of a new order. Raises ValueError, naming the value, where something of it cannot be sent."""
    if not _CLIENT_ID.fullmatch(order.client_order_id):
        raise ValueError(f"client order id {order.client_order_id!r}: 1 to 36 letters, digits, - and _ are allowed")
    if order.side not in (BUY, SELL):
        raise ValueError(f"{order.side!r} is no side ({order.client_order_id})")
    given = {"symbol": order.rules.symbol, "side": order.side.upper()}
    quantity = {"quantity": _amount(order.quantity, "quantity", order)}
    if order.kind == contract.MARKET:
        given |= {"type": "MARKET", **quantity}
    elif order.kind == contract.LIMIT:
        given |= {"type": "LIMIT", "timeInForce": "GTC", **quantity, "price": _amount(order.price, "price", order)}
    elif order.kind == contract.IOC:
        given |= {"type": "LIMIT", "timeInForce": "IOC", **quantity, "price": _amount(order.price, "price", order)}
    elif order.kind == contract.POST_ONLY:  # with a timeInForce it is refused
        given |= {"type": "LIMIT_MAKER", **quantity, "price": _amount(order.price, "price", order)}
    elif order.kind == contract.STOP:
        given |= {"type": "STOP_LOSS", **quantity, "stopPrice": _amount(order.stop_price, "stop price", order)}
    else:
        raise ValueError(f"{order.kind!r} is no kind of order")
    return given | {"newClientOrderId": order.client_order_id, "newOrderRespType": "FULL"}


def _amount(value: Decimal | None, what: str, order: NewOrder) -> str:
    """Plain text of a number above 0; nan, infinity and numbers of absurd size are none."""
    about = f"the {what} of a {order.kind} order ({order.client_order_id})"
    if value is None:
        raise ValueError(f"{about} is missing")
    try:
        above = money.decimal_of(value, about) > 0
    except MisconfiguredError as error:
        raise ValueError(str(error)) from error
    if not above:
        raise ValueError(f"{about} is {value}: it must be above 0")
    return money.plain(value)


def create_call(host: str, keys: Keys, order: NewOrder, time_ms: int) -> Call:
    """A new order; sent once."""
    costs = {WEIGHT: ORDER_WEIGHT, ORDERS: 1, DAILY_ORDERS: 1}
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


def open_orders_call(host: str, keys: Keys, symbol: str, time_ms: int, *, urgent: bool = False) -> Call:
    """All live orders of a market."""
    return _call("GET", host, OPEN_ORDERS, {"symbol": symbol}, keys, time_ms, {WEIGHT: OPEN_WEIGHT}, urgent=urgent)


def fills_call(
    host: str,
    keys: Keys,
    symbol: str,
    time_ms: int,
    *,
    since_ms: int = 0,
    until_ms: int = 0,
    from_id: int = -1,
    urgent: bool = False,
) -> Call:
    """Own fills of a market: of a time of 24 hours at most, ends included, or from an id on; oldest first."""
    given = {"symbol": symbol}
    if from_id >= 0:
        given["fromId"] = str(from_id)
    else:
        given |= {"startTime": str(since_ms), "endTime": str(until_ms)}
    given["limit"] = str(FILLS_MAX)
    return _call("GET", host, MY_TRADES, given, keys, time_ms, {WEIGHT: FILLS_WEIGHT}, urgent=urgent)


def account_call(host: str, keys: Keys, time_ms: int, *, urgent: bool = False) -> Call:
    """What the account holds."""
    given, costs = {"omitZeroBalances": "true"}, {WEIGHT: ACCOUNT_WEIGHT}
    return _call("GET", host, ACCOUNT, given, keys, time_ms, costs, urgent=urgent)


def commission_call(host: str, keys: Keys, symbol: str, time_ms: int) -> Call:
    """What the account pays in a market."""
    return _call("GET", host, COMMISSION, {"symbol": symbol}, keys, time_ms, {WEIGHT: ACCOUNT_WEIGHT})


def key_rights_call(host: str, keys: Keys, time_ms: int) -> Call:
    """What this key may do."""
    return _call("GET", host, KEY_RIGHTS, {}, keys, time_ms, {WEIGHT: 1})
