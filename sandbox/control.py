"""The sandbox's own endpoint under /sandbox/: faults on demand, and money for tests. No venue has it.

    POST   /sandbox/faults       one fault or a list of them as JSON; answers {"ids": [...]}
    GET    /sandbox/faults       what is set: [{"id", "fault", "seen", "struck", "active"}]
    DELETE /sandbox/faults[/ID]  all, or one
    POST   /sandbox/deposits     {"asset": "BTC", "amount": "1.5"}; a negative amount takes away; "account" if not ours

Only loopback is served, and no web page: a request with an Origin is refused.
"""

from decimal import Decimal

import msgspec
from fastapi import FastAPI, Request, Response

from core.sandbox_keys import API_KEY
from sandbox.clock import MarketClock
from sandbox.exchange.exchange import Exchange
from sandbox.faults import Faults, decoded
from sandbox.standing import Standing

BODY_MOST = 1_000_000


class Deposit(msgspec.Struct, forbid_unknown_fields=True):
    asset: str
    amount: Decimal
    account: str = API_KEY


class Control:
    """The endpoint's routes."""

    def __init__(self, faults: Faults, standing: Standing, exchange: Exchange, clock: MarketClock) -> None:
        self._faults = faults
        self._standing = standing
        self._exchange = exchange
        self._clock = clock

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes."""
        app.add_api_route("/sandbox/faults", self.add, methods=["POST"])
        app.add_api_route("/sandbox/faults", self.told, methods=["GET"])
        app.add_api_route("/sandbox/faults", self.clear, methods=["DELETE"])
        app.add_api_route("/sandbox/faults/{number}", self.remove, methods=["DELETE"])
        app.add_api_route("/sandbox/deposits", self.deposit, methods=["POST"])
        app.add_exception_handler(ValueError, self._refused)

    async def add(self, request: Request) -> Response:
        found = decoded(await self._body(request))
        now_s = self._standing.seconds()
        ids = [self._faults.add(fault, now_s) for fault in found]
        self._standing.settle()
        return _json({"ids": ids})

    async def told(self, request: Request) -> Response:
        self._allowed(request)
        return _json(self._faults.told(self._standing.seconds()))

    async def clear(self, request: Request) -> Response:
        self._allowed(request)
        self._faults.remove()
        self._standing.settle()
        return _json({})

    async def remove(self, request: Request, number: str) -> Response:
        self._allowed(request)
        if not number.isdigit() or not self._faults.remove(int(number)):
            return _json({"error": f"no fault {number[:20]} is set"}, 404)
        self._standing.settle()
        return _json({})

    async def deposit(self, request: Request) -> Response:
        try:
            wanted = msgspec.json.decode(await self._body(request), type=Deposit)
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from error
        if self._exchange.secret(wanted.account) is None:
            raise ValueError(f"there is no account {wanted.account[:60]!r}")
        if not wanted.amount.is_finite() or wanted.amount.adjusted() > 12:
            raise ValueError(f"{str(wanted.amount)[:40]!r} is no amount")
        try:
            self._exchange.deposit(wanted.account, wanted.asset, wanted.amount, self._clock.now_ms())
        except ArithmeticError as error:
            raise ValueError(str(error)) from error
        return _json({})

    async def _body(self, request: Request) -> bytes:
        self._allowed(request)
        body = await request.body()
        if len(body) > BODY_MOST:
            raise ValueError(f"more than {BODY_MOST} bytes")
        return body

    @staticmethod
    def _allowed(request: Request) -> None:
        """Programs of this machine, no web pages."""
        client = request.client.host if request.client else ""
        if client not in ("127.0.0.1", "::1") or "origin" in request.headers:
            raise ValueError("only programs of this machine may do this")

    async def _refused(self, request: Request, error: Exception) -> Response:
        return _json({"error": str(error)}, 400)


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
