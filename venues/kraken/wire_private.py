"""Kraken's private REST: the calls to sign and send; `wire_answers` reads what comes back. Pure.

Every call is a POST whose body begins with a nonce that rises with every call of the key. It is signed as sent:
API-Sign = base64(HMAC-SHA512(base64-decoded secret, path + SHA256(nonce + body))). No time is checked, so an order goes
with a `deadline`, after which the engine refuses it: from then on its absence is definite. Fees are always asked for in
the quote currency (`fciq`).
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple
from urllib.parse import urlencode

from core.money import plain
from venues.account import BUY, IOC, LIMIT, MARKET, POST_ONLY, SELL, STOP, NewOrder
from venues.call import Call
from venues.errors import Misconfigured, Rejected
from venues.kraken import naming
from venues.kraken.frames import rfc3339
from venues.kraken.judge import COUNTER, ORDERS
from venues.venue import Rules

CLIENT_ID_MAX = 18  # of free text; longer ones have to be UUIDs
DEADLINE_MS = 5_000
FORM = "application/x-www-form-urlencoded"

# What cancelling an order younger than so many seconds adds to the engine's counter.
_CANCEL_COSTS = ((5, 8.0), (10, 6.0), (15, 5.0), (45, 4.0), (90, 2.0), (300, 1.0))

_KINDS = {MARKET: "market", LIMIT: "limit", IOC: "limit", POST_ONLY: "limit", STOP: "stop-loss"}


class Key(NamedTuple):
    """An API key; the secret is base64."""

    api_key: str
    secret: bytes

    def __repr__(self) -> str:
        return "Key(…)"


def key_of(venue: str, api_key: str, secret: str) -> Key:
    """Raises Misconfigured where they are missing or no key of this venue."""
    if not api_key or not secret:
        raise Misconfigured(venue, "the API key or its secret is missing", "set KRAKEN_API_KEY and KRAKEN_SECRET_KEY")
    try:
        return Key(api_key, base64.b64decode(secret, validate=True))
    except (binascii.Error, ValueError):
        raise Misconfigured(venue, "the secret is no base64", "copy KRAKEN_SECRET_KEY again, whole") from None


# --- what to send ------------------------------------------------------------------------------------


class Ask(NamedTuple):
    """A request before it gets its nonce: `fields` in the order they are sent, `cost` of the REST counter."""

    method: str
    fields: Mapping[str, str] = {}
    cost: float = 1.0
    orders: float = 0.0  # of the engine's own counter
    changes: bool = False
    urgent: bool = False
    waits: bool = True  # for room in the limits
    about: str = ""  # for messages

    @property
    def costs(self) -> dict[str, float]:
        return {name: cost for name, cost in ((COUNTER, self.cost), (ORDERS, self.orders)) if cost}


def build_call(host: str, key: Key, ask: Ask, nonce: int) -> Call:
    """The signed call. It costs nothing of the client's limits: room is taken before there is a nonce."""
    path = f"/0/private/{ask.method}"
    body = urlencode({"nonce": str(nonce), **ask.fields}).encode()
    headers = {"API-Key": key.api_key, "API-Sign": sign(key.secret, path, str(nonce), body), "Content-Type": FORM}
    what = f"POST {path} {ask.about}".rstrip()
    return Call("POST", host + path, body=body, headers=headers, changes=ask.changes, urgent=ask.urgent, what=what)


def sign(secret: bytes, path: str, nonce: str, body: bytes) -> str:
    """API-Sign of the exact bytes that are sent, form or JSON."""
    message = path.encode() + hashlib.sha256(nonce.encode() + body).digest()
    return base64.b64encode(hmac.digest(secret, message, "sha512")).decode()


def build_order(venue: str, order: NewOrder, venue_time_ms: int | None) -> Ask:
    """AddOrder, with a deadline 5 s from now by the venue's clock; None: its clock runs faster than time.

    Raises Rejected for what this venue could only misunderstand.
    """
    client_id = order.client_order_id
    if not (1 <= len(client_id) <= CLIENT_ID_MAX and client_id.isascii() and client_id.isprintable()):
        text = f"client order id {client_id!r} has to be 1 to {CLIENT_ID_MAX} ASCII characters"
        raise Rejected(venue, text, "shorten BOT_NAME")
    if order.kind not in _KINDS or order.side not in (BUY, SELL):
        raise Rejected(venue, f"an order {order.side} {order.kind} is none that can be sent")
    fields = {
        "ordertype": _KINDS[order.kind],
        "type": order.side,
        "volume": plain(_above_0(venue, "quantity", order.quantity)),
        "pair": naming.request_name(order.rules),
    }
    price = order.stop_price if order.kind == STOP else order.price
    if order.kind != MARKET:
        if price is None:
            raise Rejected(venue, f"an order of kind {order.kind} needs a price")
        fields["price"] = plain(_above_0(venue, "price", price))
    if order.kind == IOC:
        fields["timeinforce"] = "IOC"
    fields["oflags"] = "post,fciq" if order.kind == POST_ONLY else "fciq"
    fields["cl_ord_id"] = client_id
    if venue_time_ms is not None:
        fields["deadline"] = rfc3339(venue_time_ms + DEADLINE_MS)
    about = f"{fields['pair']} {client_id}"
    return Ask("AddOrder", fields, cost=0.0, orders=1.0, changes=True, urgent=order.urgent, about=about)


def _above_0(venue: str, name: str, value: Decimal) -> Decimal:
    if not value.is_finite() or value <= 0:
        raise Rejected(venue, f"not sent: {name} {value} has to be a number above 0")
    return value


def build_cancel(client_order_id: str, venue_order_id: str = "") -> Ask:
    """By client id where there is one. Safe to repeat, and never held up: what it costs is booked when it is over."""
    fields = {"cl_ord_id": client_order_id} if client_order_id else {"txid": venue_order_id}
    return Ask("CancelOrder", fields, cost=0.0, urgent=True, about=client_order_id or venue_order_id)


def cancel_cost(age_s: float) -> float:
    """What cancelling an order of this age takes out of the room for orders, once the venue has accepted it."""
    return next((cost for younger_s, cost in _CANCEL_COSTS if age_s < younger_s), 0.0)


def build_open_orders(client_order_id: str = "", *, urgent: bool = False) -> Ask:
    """All of them, or by client id."""
    fields = {"cl_ord_id": client_order_id} if client_order_id else {}
    return Ask("OpenOrders", fields, urgent=urgent, waits=urgent or not client_order_id, about=client_order_id)


def build_closed_orders(client_order_id: str, *, urgent: bool = False) -> Ask:
    fields = {"cl_ord_id": client_order_id, "closetime": "both", "without_count": "true"}
    return Ask("ClosedOrders", fields, cost=2.0, urgent=urgent, waits=urgent, about=client_order_id)


def build_orders_by_id(venue_order_id: str, *, urgent: bool = False) -> Ask:
    """A routine question about an order never waits: the next one about it may be urgent, and would wait for this."""
    return Ask("QueryOrders", {"txid": venue_order_id}, urgent=urgent, waits=urgent, about=venue_order_id)


def build_fills(since_ms: int, offset: int, *, urgent: bool = False) -> Ask:
    """One page of own fills, the newest first; a taker's partial fills are told one by one."""
    start_s = max(0, since_ms // 1000 - 1)  # the venue gives what is after it
    fields = {"start": str(start_s), "ofs": str(offset), "consolidate_taker": "false"}
    return Ask("TradesHistory", fields, cost=2.0, urgent=urgent, about=f"from {offset}")


def build_balances(*, urgent: bool = False) -> Ask:
    return Ask("BalanceEx", urgent=urgent)


def build_fees(rules: Rules) -> Ask:
    name = naming.request_name(rules)
    return Ask("TradeVolume", {"pair": name}, about=name)


def build_token() -> Ask:
    return Ask("GetWebSocketsToken")


def build_key_rights() -> Ask:
    return Ask("GetApiKeyInfo")
