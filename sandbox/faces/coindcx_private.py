"""CoinDCX's private REST face, written from the fact sheet.

Every call is a POST whose raw body is signed. A market order is never reported filled by the answer to its creation;
there is no order history; an edit is refused as some of the venue's upstreams do.
"""

import hashlib
import hmac
import itertools
import json
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from email.utils import formatdate
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response

from core.clock import NS_PER_S
from sandbox.exchange.floor import FOREVER_MS
from sandbox.exchange.orders import Kind, NewOrder, Order, Refusal, Side, Status, decimal_of
from sandbox.faces import coindcx_words as words
from sandbox.faces.coindcx_public import Refused, invalid_request
from sandbox.faces.limits import Allowance
from sandbox.place import Place
from sandbox.trades import Rules

CALLS_A_MINUTE = 2000
FEWER = {"orders/cancel_all": 30, "orders/cancel_by_ids": 300, "orders/active_orders": 300}
MANY = 10  # ids in one call
FILLS_MOST = 500
OPEN_MOST = 200
SKEW_MOST_MS = 60_000  # the venue says nothing of one; whoever is further off is not believed
BODY_MOST = 100_000
KINDS = {"limit_order": Kind.LIMIT, "market_order": Kind.MARKET}

Values = dict[str, Any]
Handler = Callable[[str, Values], Any]


class PrivateFace:
    """The private endpoints over one exchange."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._exchange = place.exchange
        self._markets = {rules.market: rules for rules in place.market.rules.values()}
        self._allowances: dict[str, Allowance] = {}
        self._answers = itertools.count(1)

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes; `coindcx_public` has the venue's way to say no."""
        handlers: dict[str, Handler] = {
            "orders/create": self._create,
            "orders/status": self._status,
            "orders/status_multiple": self._status_multiple,
            "orders/active_orders": self._active_orders,
            "orders/active_orders_count": self._active_orders_count,
            "orders/trade_history": self._trade_history,
            "orders/cancel": self._cancel,
            "orders/cancel_by_ids": self._cancel_by_ids,
            "orders/cancel_all": self._cancel_all,
            "orders/edit": self._edit,
            "users/balances": self._balances,
        }
        for name, handler in handlers.items():
            self._allowances[name] = Allowance(FEWER.get(name, CALLS_A_MINUTE))
            app.add_api_route(f"/exchange/v1/{name}", self._endpoint(name, handler), methods=["POST"])

    def _endpoint(self, name: str, handler: Handler) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            status = 200
            try:
                answer = self._handled(request, await request.body(), name, handler)
            except Refused as error:
                status, answer = error.status, error.body
            headers = {
                "date": formatdate(self._place.clock.now_ms() / 1000.0, usegmt=True),
                "x-request-id": f"sandbox-private-{next(self._answers)}",
            }
            return Response(msgspec.json.encode(answer), status, headers, "application/json; charset=utf-8")

        return endpoint

    def _handled(self, request: Request, body: bytes, name: str, handler: Handler) -> Any:
        account = self._account(request, body, name)
        left, _ = self._allowances[name].take(account, self._place.wall.monotonic_ns() // NS_PER_S)
        if left < 0:
            raise Refused(429, "Too Many Requests")
        values = _values(body)
        self._on_time(values)
        self._exchange.advance(self._place.clock.now_ms())
        return handler(account, values)

    def _account(self, request: Request, body: bytes, name: str) -> str:
        """Whose call it is. Raises Refused where the key or the signature of the raw body is wrong."""
        key, signature = request.headers.get("x-auth-apikey", ""), request.headers.get("x-auth-signature", "")
        code = "BFF-AUTH-001" if name == "orders/create" else ""
        if not key or not signature:
            raise Refused(401, "You are not logged in", code)
        secret = self._exchange.secret(key)
        if secret is None or len(body) > BODY_MOST or not signed(secret, body, signature):
            raise Refused(401, "Invalid credentials", code)
        return key

    def _on_time(self, values: Values) -> None:
        """Refuses a call of another time, as a wrong signature. Recorded time that is hurried fits nobody's clock."""
        timestamp = values.get("timestamp")
        if type(timestamp) is not int:
            raise invalid_request()
        place = self._place
        clocks = (place.server_ms(), place.wall.wall_ms() + place.faults.skew_ms)
        if place.clock.speed == 1.0 and all(abs(timestamp - now_ms) > SKEW_MOST_MS for now_ms in clocks):
            raise Refused(401, "Invalid credentials")

    # --- orders ---

    def _create(self, account: str, values: Values) -> Any:
        rules = self._market(values)
        order_type, side = values.get("order_type"), _side(values)
        kind = KINDS.get(order_type) if isinstance(order_type, str) else None
        client_id = values.get("client_order_id")
        if kind is None or side is None or not isinstance(client_id, str | None):
            raise invalid_request()
        new = NewOrder(
            pair=rules.pair,
            side=side,
            kind=kind,
            quantity=_amount(values, "total_quantity"),
            price=_amount(values, "price_per_unit") if kind is Kind.LIMIT else None,
            client_id=client_id or "",
        )
        now_ms = self._place.clock.now_ms()
        answer = self._exchange.create(account, new, now_ms)
        if isinstance(answer, Refusal):
            raise words.refused(answer.reason, rules, self._exchange.trading(rules.pair))
        # As it stood when it was accepted: what filled at once is told later.
        fresh = msgspec.structs.replace(
            answer, status=Status.OPEN, filled_units=0, cost_raw=0, fee=0, updated_ms=answer.created_ms
        )
        return {"orders": [self._row(fresh)]}

    def _status(self, account: str, values: Values) -> Any:
        return self._row(self._known(account, values))

    def _status_multiple(self, account: str, values: Values) -> Any:
        found = [self._find(account, one) for one in _many(values)]
        return [self._row(order) for order in found if order is not None]

    def _active_orders(self, account: str, values: Values) -> Any:
        size, page = _whole(values, "size", OPEN_MOST), _whole(values, "page", 1)
        if not 1 <= size <= OPEN_MOST or page < 1:
            raise invalid_request()
        rows = [self._row(order, iso=True) for order in self._open(account, values)]
        return {"orders": rows[(page - 1) * size : page * size]}

    def _active_orders_count(self, account: str, values: Values) -> Any:
        return {"count": len(self._open(account, values)), "status": 200}

    def _cancel(self, account: str, values: Values) -> Any:
        order = self._known(account, values)
        answer = self._exchange.cancel(account, self._place.clock.now_ms(), number=order.number)
        if isinstance(answer, Refusal):
            raise invalid_request()  # it is finished
        return {"message": "success", "status": "success", "code": 200}

    def _cancel_by_ids(self, account: str, values: Values) -> Any:
        for one in _many(values):
            order = self._find(account, one)
            if order is not None:
                self._exchange.cancel(account, self._place.clock.now_ms(), number=order.number)
        return {"message": "success", "status": "success", "code": 200}

    def _cancel_all(self, account: str, values: Values) -> Any:
        for order in self._open(account, values):
            self._exchange.cancel(account, self._place.clock.now_ms(), number=order.number)
        return {"message": "success", "status": "success", "code": 200}

    def _edit(self, account: str, values: Values) -> Any:
        self._known(account, values)
        raise Refused(422, words.NO_EDIT)

    # --- fills and balances ---

    def _trade_history(self, account: str, values: Values) -> Any:
        """Oldest first unless `sort` says otherwise; without from_timestamp and from_id the newest of them."""
        limit, sort = _whole(values, "limit", FILLS_MOST), values.get("sort", "asc")
        if not 1 <= limit <= FILLS_MOST or sort not in ("asc", "desc"):
            raise invalid_request()
        symbol = values.get("symbol")
        if symbol is not None and not (isinstance(symbol, str) and symbol in self._markets):
            raise Refused(422, "Currency pair is not valid")
        since_ms, from_id = _whole(values, "from_timestamp", 0), _whole(values, "from_id", 0)
        found = self._exchange.fills(
            account,
            self._markets[symbol].pair if symbol is not None else None,
            from_number=max(0, from_id - words.FILL_IDS),
            since_ms=since_ms,
            until_ms=_whole(values, "to_timestamp", FOREVER_MS),
            limit=limit,
            newest=sort == "desc" or not (since_ms or from_id),
        )
        rows = [words.fill_row(fill, self._place.market.rules[fill.pair]) for fill in found]
        return rows if sort == "asc" else rows[::-1]

    def _balances(self, account: str, values: Values) -> Any:
        return words.balance_rows(self._exchange.balances(account))

    # --- what they share ---

    def _row(self, order: Order, *, iso: bool = False) -> Values:
        return words.order_row(order, self._place.market.rules[order.pair], price_told(self._place, order), iso=iso)

    def _market(self, values: Values) -> Rules:
        market = values.get("market")
        if not isinstance(market, str) or market not in self._markets:
            raise Refused(422, "Currency pair is not valid")
        return self._markets[market]

    def _open(self, account: str, values: Values) -> list[Order]:
        rules = self._market(values)
        side = _side(values) if "side" in values else None
        if "side" in values and side is None:
            raise invalid_request()
        return [o for o in self._exchange.open_orders(account, rules.pair) if side is None or o.side is side]

    def _known(self, account: str, values: Values) -> Order:
        order = self._find(account, values)
        if order is None:
            raise Refused(404, "Order not found")
        return order

    def _find(self, account: str, values: Values) -> Order | None:
        """The order of an `id`, which must be a JSON integer, or of a client id."""
        identifier, client_id = values.get("id"), values.get("client_order_id")
        if type(identifier) is int:
            return self._exchange.order(account, number=words.number_of(identifier))
        if identifier is None and isinstance(client_id, str) and client_id:
            return self._exchange.order(account, client_id=client_id)
        raise invalid_request()


def signed(secret: str, body: bytes, signature: str) -> bool:
    """Whether a signature is the lower-case hex HMAC-SHA256 of exactly these bytes."""
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), signature.encode(errors="replace"))


def price_told(place: Place, order: Order) -> Decimal:
    """What the venue gives as an order's price: its limit, of a market order the price it was accepted at."""
    if order.kind is Kind.LIMIT:
        return order.price
    return decimal_of(place.exchange.last_ticks(order.pair, order.created_ms), order.price_digits)


def _values(body: bytes) -> Values:
    """The body's JSON object, numbers exact. Raises Refused where it is none."""
    try:
        values = json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise Refused(400, "bad_request")
    return values


def _side(values: Values) -> Side | None:
    side = values.get("side")
    return Side(side) if side in ("buy", "sell") else None


def _amount(values: Values, name: str) -> Decimal | None:
    """A JSON number or decimal text; None where it is not there."""
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise invalid_request()
    try:
        return Decimal(value)
    except InvalidOperation:
        raise invalid_request() from None


def _whole(values: Values, name: str, default: int) -> int:
    value = values.get(name, default)
    if type(value) is not int or not 0 <= value <= FOREVER_MS:
        raise invalid_request()
    return value


def _many(values: Values) -> list[Values]:
    """One mapping for each of `ids` or `client_order_ids`."""
    for name, single in (("ids", "id"), ("client_order_ids", "client_order_id")):
        found = values.get(name)
        if isinstance(found, list) and 1 <= len(found) <= MANY:
            return [{single: one} for one in found]
    raise invalid_request()
