"""The door of Binance's calls: every call's weight, key and signature, and how it says no.

Beyond it stand plain functions of parameters. A call is counted before it is looked at; a refusal is a JSON body with
the venue's code and text, except for paths that do not exist. The WebSocket API goes through the same door.
"""

import json
import re
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import NamedTuple

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from sandbox.faces.binance_limits import OrderCounts, Verdict, Weights
from sandbox.faces.binance_params import SIGNING, Params, check_params, check_signed, params_of, signed_text
from sandbox.faces.binance_wire import WEIGHT_A_MINUTE, Refused
from sandbox.place import Place

NOT_FOUND = "<html><head><title>404 Not Found</title></head><body><h1>404 Not Found</h1></body></html>"


class Endpoint(NamedTuple):
    """One method of one path: what it does with its parameters for which account, and which ones it takes and needs."""

    work: Callable[[Params, str], Awaitable[str]]
    weight: int | Callable[[Params], int]
    takes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    signed: bool = False
    orders: bool = False  # an order or a cancel: no weight where it succeeds, and the headers count orders


class Door:
    """All endpoints behind one catch-all route."""

    def __init__(self, place: Place, orders: OrderCounts, weight_a_minute: int = WEIGHT_A_MINUTE) -> None:
        self._place = place
        self._orders = orders
        self._weights = Weights(weight_a_minute)
        self._endpoints: dict[tuple[str, str], Endpoint] = {}

    def add(self, method: str, path: str, endpoint: Endpoint) -> None:
        self._endpoints[method, path] = endpoint

    def endpoint(self, method: str, path: str) -> Endpoint:
        return self._endpoints[method, path]

    def add_to(self, app: FastAPI) -> None:
        app.add_api_route("/{path:path}", self.serve, methods=["GET", "POST", "PUT", "DELETE"])
        app.add_exception_handler(HTTPException, self._not_found)
        app.add_exception_handler(Exception, self._failed)

    def take(self, address: str, weight: int) -> tuple[Verdict, Refused | None]:
        """Counts a call of an address; the refusal where it is one too many."""
        wall_ms = self._place.wall.wall_ms()
        verdict = self._weights.take(address, weight, wall_ms // 1000)
        if verdict.status == 418:
            until = f"IP banned until {wall_ms + verdict.retry_s * 1000}"
            text = f"Way too much request weight used; {until}. Please use WebSocket Streams for live updates"
            return verdict, Refused(-1003, f"{text} to avoid bans.", 418, verdict.retry_s)
        if verdict.status == 429:
            limit = f"current limit is {self._weights.most} request weight per 1 MINUTE"
            text = f"Too much request weight used; {limit}. Please use WebSocket Streams for live updates"
            return verdict, Refused(-1003, f"{text} to avoid polling the API.", 429, verdict.retry_s)
        return verdict, None

    def give_back(self, address: str, weight: int) -> int:
        """Takes a call's weight off again; what is used in the minute."""
        return self._weights.give_back(address, weight)

    def account_of(self, key: str | None, params: Params, signed: str) -> str:
        """The account of a signed call.

        Raises Refused where key, time or signature are none.
        """
        if key is None or not re.fullmatch("[A-Za-z0-9]{1,128}", key):
            raise Refused(-2014, "API-key format invalid.", 401)
        secret = self._place.exchange.secret(key)
        if secret is None:
            raise Refused(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        check_signed(params, secret, signed, self._place.server_ms())
        return key

    async def answer(self, endpoint: Endpoint, params: Params, account: str) -> str:
        """What an endpoint has to say to checked or unchecked parameters; Refused where it says no."""
        takes = frozenset(endpoint.takes) | frozenset(endpoint.needs)
        check_params(params, takes | SIGNING if endpoint.signed else takes, endpoint.needs)
        return await endpoint.work({name: params[name] for name in params if name not in SIGNING}, account)

    async def serve(self, request: Request) -> Response:
        endpoint = self._endpoints.get((request.method, request.url.path))
        if endpoint is None:
            return Response(NOT_FOUND, 404, media_type="text/html")
        address = request.client.host if request.client else ""
        query, body = request.url.query, (await request.body()).decode("utf-8", "replace")
        params, refusal = _read(query, body)
        weight = endpoint.weight if isinstance(endpoint.weight, int) else endpoint.weight(params)
        verdict, too_much = self.take(address, weight)
        used, status = verdict.used, 200
        headers: dict[str, str] = {}
        try:
            if too_much is not None:
                raise too_much
            if refusal is not None:
                raise refusal
            account = ""
            if endpoint.signed:
                account = self.account_of(request.headers.get("x-mbx-apikey"), params, signed_text(query, body))
            text = await self.answer(endpoint, params, account)
            if endpoint.orders:
                used = self.give_back(address, weight)
        except Refused as error:
            text, status = error.body, error.status
            if error.retry_s:
                headers["retry-after"] = str(error.retry_s)
        headers |= {"x-mbx-used-weight": str(used), "x-mbx-used-weight-1m": str(used)}
        if endpoint.orders:
            in_10_s, in_a_day = self._orders.counts(self._place.clock.now_ms())
            headers |= {"x-mbx-order-count-10s": str(in_10_s), "x-mbx-order-count-1d": str(in_a_day)}
        return self._response(text, status, headers)

    def _response(self, text: str, status: int, headers: dict[str, str]) -> Response:
        headers["date"] = formatdate(self._place.clock.now_ms() / 1000.0, usegmt=True)
        return Response(text, status, headers, "application/json;charset=UTF-8")

    async def _not_found(self, request: Request, error: Exception) -> Response:
        return Response(NOT_FOUND, 404, media_type="text/html")

    async def _failed(self, request: Request, error: Exception) -> Response:
        """A fault of ours: starlette has it logged; the client gets the venue's kind of 500."""
        body = {"code": -1000, "msg": "An unknown error occurred while processing the request."}
        return self._response(json.dumps(body), 500, {})


def _read(query: str, body: str) -> tuple[dict[str, str], Refused | None]:
    try:
        return params_of(query, body), None
    except Refused as error:
        return {}, error
