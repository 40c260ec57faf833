"""Binance's WebSocket API: orders, queries and the user data stream over one socket, behind the same door as REST.

* A request is `{"id", "method", "params"}`; the answer has its id and a status as HTTP has.
* Signed is the text of all parameters sorted by name, the API key among them.
* `userDataStream.subscribe.signature` subscribes the socket to its account, once; events then come wrapped as
  `{"subscriptionId", "event"}`. Logging a session on needs a kind of key that the sandbox has not.
"""

import json
from collections.abc import Callable
from typing import Any

from starlette.websockets import WebSocket

from sandbox.exchange.orders import News
from sandbox.faces.binance_door import Door, Endpoint
from sandbox.faces.binance_events import Events
from sandbox.faces.binance_params import Params, signed_words
from sandbox.faces.binance_private import PrivateFace, compact
from sandbox.faces.binance_socket import Attempts, Link, Manners
from sandbox.faces.binance_wire import RATE_LIMITS, Refused
from sandbox.place import Place

MESSAGES_A_SECOND = 1000  # its limit is the weight
METHODS = {
    "ping": "GET /api/v3/ping",
    "time": "GET /api/v3/time",
    "exchangeInfo": "GET /api/v3/exchangeInfo",
    "depth": "GET /api/v3/depth",
    "trades.recent": "GET /api/v3/trades",
    "trades.historical": "GET /api/v3/historicalTrades",
    "trades.aggregate": "GET /api/v3/aggTrades",
    "klines": "GET /api/v3/klines",
    "avgPrice": "GET /api/v3/avgPrice",
    "ticker.24hr": "GET /api/v3/ticker/24hr",
    "ticker.price": "GET /api/v3/ticker/price",
    "ticker.book": "GET /api/v3/ticker/bookTicker",
    "order.place": "POST /api/v3/order",
    "order.test": "POST /api/v3/order/test",
    "order.status": "GET /api/v3/order",
    "order.cancel": "DELETE /api/v3/order",
    "openOrders.status": "GET /api/v3/openOrders",
    "openOrders.cancelAll": "DELETE /api/v3/openOrders",
    "allOrders": "GET /api/v3/allOrders",
    "myTrades": "GET /api/v3/myTrades",
    "account.status": "GET /api/v3/account",
    "account.commission": "GET /api/v3/account/commission",
    "account.rateLimits.orders": "GET /api/v3/rateLimit/order",
}
SUBSCRIBE = "userDataStream.subscribe.signature"


class UserApi:
    """All sockets of the WebSocket API."""

    def __init__(self, place: Place, door: Door, private: PrivateFace, manners: Manners) -> None:
        self.place = place
        self.door = door
        self.private = private
        self._manners = manners._replace(messages_per_s=MESSAGES_A_SECOND)
        self._attempts = Attempts(manners.attempts_most, place.wall)

    async def serve(self, websocket: WebSocket) -> None:
        """One socket, from its handshake to its end."""
        link = Link(websocket, self._manners, self.place.log)
        if not self._attempts.allowed(link.address):
            await websocket.close()
            return
        await websocket.accept()
        session = _Session(self, link, websocket.query_params.get("returnRateLimits") != "false")
        try:
            await link.run(session.hear, session.shutdown)
        finally:
            session.close()


class _Session:
    """One socket: its subscriptions, by id."""

    def __init__(self, api: UserApi, link: Link, tells_limits: bool) -> None:
        self._api = api
        self._link = link
        self._tells_limits = tells_limits
        self._connected_ms = api.place.clock.now_ms()
        self._subscriptions: dict[int, tuple[str, Callable[[], None]]] = {}
        self._next = 0

    def close(self) -> None:
        for _, unlisten in self._subscriptions.values():
            unlisten()
        self._subscriptions.clear()

    def shutdown(self) -> str:
        return compact({"event": {"e": "serverShutdown", "E": self._api.place.clock.now_ms()}})

    async def hear(self, text: str) -> None:
        number: object = None
        used, orders, tells = 0, False, self._tells_limits
        try:
            number, method, params = _request(text)
            tells = params.pop("returnRateLimits", "true" if tells else "false") == "true"
            endpoint = self._endpoint(method)
            weight = endpoint.weight if isinstance(endpoint.weight, int) else endpoint.weight(params)
            verdict, too_much = self._api.door.take(self._link.address, weight)
            used, orders = verdict.used, endpoint.orders
            if too_much is not None:
                raise too_much
            account = ""
            if endpoint.signed:
                account = self._api.door.account_of(params.get("apiKey"), params, signed_words(params))
            result = await self._api.door.answer(endpoint, params, account)
            if endpoint.orders:
                used = self._api.door.give_back(self._link.address, weight)
            body = f'"status":200,"result":{result}'
        except Refused as error:
            body = f'"status":{error.status},"error":{self._error(error)}'
        limits = f',"rateLimits":{compact(self._limits(used, orders))}' if tells else ""
        self._link.send(f'{{"id":{json.dumps(number)},{body}{limits}}}')

    def _error(self, error: Refused) -> str:
        if not error.retry_s:
            return error.body
        now_ms = self._api.place.server_ms()
        data = {"serverTime": now_ms, "retryAfter": now_ms + error.retry_s * 1000}
        return compact({"code": error.code, "msg": error.message, "data": data})

    def _endpoint(self, method: str) -> Endpoint:
        """What a method does.

        Raises Refused where there is none such.
        """
        own = {
            SUBSCRIBE: Endpoint(self._subscribe, 2, signed=True),
            "userDataStream.unsubscribe": Endpoint(self._unsubscribe, 2, ("subscriptionId",)),
            "session.subscriptions": Endpoint(self._list, 2),
            "session.status": Endpoint(self._status, 2),
        }
        method = method.removeprefix("v3/")
        if method in own:
            return own[method]
        if method not in METHODS:
            raise Refused(-1020, "This operation is not supported.")
        verb, path = METHODS[method].split()
        return self._api.door.endpoint(verb, path)

    async def _subscribe(self, params: Params, account: str) -> str:
        if any(account == other for other, _ in self._subscriptions.values()):
            raise Refused(-2035, "User Data Stream subscription already active.")
        place, number = self._api.place, self._next
        self._next += 1
        events = Events(place.exchange.balances(account), place.clock.now_ms, self._api.private.cancel_id)

        def heard(news: News) -> None:
            self._link.client.offer([f'{{"subscriptionId":{number},"event":{event}}}' for event in events.of(news)])

        self._subscriptions[number] = (account, place.exchange.listen(account, heard))
        return compact({"subscriptionId": number})

    async def _unsubscribe(self, params: Params, account: str) -> str:
        numbers = list(self._subscriptions)
        if "subscriptionId" in params:
            numbers = [number for number in numbers if str(number) == params["subscriptionId"]]
        if not numbers:
            raise Refused(-2036, "User Data Stream subscription not active.")
        for number in numbers:
            _, unlisten = self._subscriptions.pop(number)
            unlisten()
            event = {"e": "eventStreamTerminated", "E": self._api.place.clock.now_ms()}
            self._link.send(compact({"subscriptionId": number, "event": event}))
        return "{}"

    async def _list(self, params: Params, account: str) -> str:
        return compact([{"subscriptionId": number} for number in self._subscriptions])

    async def _status(self, params: Params, account: str) -> str:
        status = {
            "apiKey": None,
            "authorizedSince": None,
            "connectedSince": self._connected_ms,
            "returnRateLimits": self._tells_limits,
            "serverTime": self._api.place.clock.now_ms(),
            "userDataStream": bool(self._subscriptions),
        }
        return compact(status)

    def _limits(self, used: int, orders: bool) -> list[dict[str, Any]]:
        weight = {**RATE_LIMITS[0], "count": used}
        return [*(self._api.private.order_limits() if orders else []), weight]


def _request(text: str) -> tuple[object, str, dict[str, str]]:
    """(id, method, parameters as text) of a request; numbers keep the digits that they were sent with.

    Raises Refused where it is none.
    """
    try:
        request, words = json.loads(text), json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        raise Refused(-1135, "Invalid JSON Request") from None
    if not isinstance(request, dict) or not isinstance(request.get("method"), str):
        raise Refused(-1135, "Invalid JSON Request")
    params = words.get("params") or {}
    if not isinstance(params, dict) or isinstance(request.get("id"), dict | list | float | bool):
        raise Refused(-1135, "Invalid JSON Request")
    found: dict[str, str] = {}
    for name, value in params.items():
        if value is None or value == "":
            raise Refused(-1105, f"Parameter '{name}' was empty.")
        found[name] = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return request.get("id"), request["method"], found
