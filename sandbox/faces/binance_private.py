"""Binance's signed REST side over the exchange: orders, own trades, the account.

* A client id is taken while its order is open and free again afterwards; queries by it give the newest order.
* A cancel of what is unknown or over is -2011, a query of what is unknown -2013; an order of another market is unknown.
* Times select within 24 hours at most; without an id or a time the newest rows come, always in ascending order.
Everything runs in the loop's thread, as the exchange demands.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from sandbox.exchange import checks
from sandbox.exchange.floor import FOREVER_MS
from sandbox.exchange.orders import Order, OrderNews, Refusal
from sandbox.exchange.profiles import PARTS
from sandbox.faces.binance_door import Door, Endpoint
from sandbox.faces.binance_limits import OrderCounts
from sandbox.faces.binance_orders import (
    CREATE_TAKES,
    amount_of,
    canceled_row,
    created_row,
    fill_row,
    new_client_id,
    new_order,
    order_row,
    refused,
    symbol_of,
)
from sandbox.faces.binance_params import Params
from sandbox.faces.binance_public import limit_of
from sandbox.faces.binance_wire import RATE_LIMITS, Refused
from sandbox.place import Place

DAY_MS = 86_400_000
UID = 1
TRADES_BY: tuple[set[str], ...] = (  # what /myTrades can be asked for, beside the market
    set(),
    {"orderId"},
    {"startTime"},
    {"endTime"},
    {"fromId"},
    {"startTime", "endTime"},
    {"orderId", "fromId"},
)

Work = Callable[[Params, str], Awaitable[str]]


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


class PrivateFace:
    """The signed endpoints."""

    def __init__(self, place: Place, orders: OrderCounts) -> None:
        self._place = place
        self._exchange = place.exchange
        self._orders = orders
        self._pairs = {rules.market: pair for pair, rules in place.market.rules.items()}
        self._cancel_ids: dict[int, str] = {}  # of the cancel under way, by order
        for account in place.exchange.keys:
            place.exchange.listen(account, self._heard)

    def add_to(self, door: Door) -> None:
        def add(
            name: str, work: Work, weight: int | Callable[[Params], int], takes: str = "", needs: str = "symbol"
        ) -> None:
            method, path = name.split()
            orders = (path == "/api/v3/order" and method != "GET") or (method, path) == ("DELETE", "/api/v3/openOrders")
            endpoint = Endpoint(work, weight, tuple(takes.split()), tuple(needs.split()), signed=True, orders=orders)
            door.add(method, path, endpoint)

        create = " ".join(CREATE_TAKES)
        add("POST /api/v3/order", self.create, 1, create, "symbol side type")
        add("POST /api/v3/order/test", self.test, _test_weight, f"{create} computeCommissionRates", "symbol side type")
        add("GET /api/v3/order", self.order, 4, "orderId origClientOrderId")
        add("DELETE /api/v3/order", self.cancel, 1, "orderId origClientOrderId newClientOrderId cancelRestrictions")
        add("GET /api/v3/openOrders", self.open_orders, lambda params: 6 if "symbol" in params else 80, "symbol", "")
        add("DELETE /api/v3/openOrders", self.cancel_all, 1)
        add("GET /api/v3/allOrders", self.all_orders, 20, "orderId startTime endTime limit")
        fills_weight: Callable[[Params], int] = lambda params: 5 if "orderId" in params else 20  # noqa: E731
        add("GET /api/v3/myTrades", self.fills, fills_weight, "orderId startTime endTime fromId limit")
        add("GET /api/v3/account", self.account, 20, "omitZeroBalances", "")
        add("GET /api/v3/account/commission", self.commission, 20)
        add("GET /api/v3/rateLimit/order", self.order_counts, 40, "", "")
        # The wallet's host, which a client library that is pointed here asks too: nothing can be borrowed here.
        add("GET /sapi/v1/capital/config/getall", self.coins, 10, "", "")
        add("GET /sapi/v1/account/apiRestrictions", self.key_rights, 1, "", "")
        add("GET /sapi/v1/margin/allPairs", self.no_margin, 1, "symbol", "")
        add("GET /sapi/v1/margin/isolated/allPairs", self.no_margin, 1, "symbol", "")

    def cancel_id(self, order: int) -> str:
        """The client id of the cancel of an order, while its news are told; empty where nobody asked for it."""
        return self._cancel_ids.get(order, "")

    async def create(self, params: Params, account: str) -> str:
        now_ms = self._now()
        too_many = self._orders.check(now_ms)
        if too_many is not None:
            raise Refused(-1015, too_many[0], 429, too_many[1])
        new = new_order(params, self._pair(params))
        order = self._exchange.create(account, new, now_ms)
        if isinstance(order, Refusal):
            raise refused(order, new)
        if not order.filled_units:
            self._orders.placed(order.number, now_ms)
        fills = self._exchange.fills(account, order.pair, order=order.number, limit=1000)
        plain = params["type"] in ("MARKET", "LIMIT")
        return created_row(order, fills, params.get("newOrderRespType", "FULL" if plain else "ACK"))

    async def test(self, params: Params, account: str) -> str:
        pair = self._pair(params)
        new = new_order(params, pair)
        rules, trading = self._place.market.rules[pair], self._exchange.trading(pair)
        last = self._exchange.last_ticks(pair, self._now())
        found = checks.sized(new, rules, trading, self._exchange.profile, last)
        if isinstance(found, Refusal):
            raise refused(found, new)
        if params.get("computeCommissionRates") != "true":
            return "{}"
        rates, nothing = self._rates(), {"maker": amount_of(0), "taker": amount_of(0)}
        names = ("standardCommissionForOrder", "specialCommissionForOrder", "taxCommissionForOrder")
        return compact({**dict(zip(names, (rates, nothing, nothing), strict=True)), "discount": _no_discount()})

    async def order(self, params: Params, account: str) -> str:
        self._exchange.advance(self._now())
        order = self._named(params, account)
        if order is None:
            raise Refused(-2013, "Order does not exist.")
        return compact(order_row(order))

    async def cancel(self, params: Params, account: str) -> str:
        only = params.get("cancelRestrictions", "ONLY_NEW")
        if only not in ("ONLY_NEW", "ONLY_PARTIALLY_FILLED"):
            raise Refused(-1145, "Invalid cancelRestrictions")
        order = self._named(params, account)
        if order is None:
            raise Refused(-2011, "Unknown order sent.")
        if "cancelRestrictions" in params and (only == "ONLY_NEW") != (not order.filled_units):
            raise Refused(-2011, "Order was not canceled due to cancel restrictions.")
        return compact(self._canceled(order, account, params.get("newClientOrderId")))

    async def cancel_all(self, params: Params, account: str) -> str:
        self._exchange.advance(self._now())
        orders = self._exchange.open_orders(account, self._pair(params))
        if not orders:
            raise Refused(-2011, "Unknown order sent.")
        return compact([self._canceled(order, account, None) for order in orders])

    def _canceled(self, order: Order, account: str, cancel_id: str | None) -> dict[str, Any]:
        cancel_id = cancel_id or new_client_id()
        self._cancel_ids[order.number] = cancel_id
        try:
            canceled = self._exchange.cancel(account, self._now(), number=order.number)
        finally:
            del self._cancel_ids[order.number]
        if isinstance(canceled, Refusal):
            raise Refused(-2011, "Unknown order sent.")
        return canceled_row(canceled, cancel_id)

    async def open_orders(self, params: Params, account: str) -> str:
        self._exchange.advance(self._now())
        pair = self._pair(params) if "symbol" in params else None
        return compact([order_row(order) for order in self._exchange.open_orders(account, pair)])

    async def all_orders(self, params: Params, account: str) -> str:
        self._exchange.advance(self._now())
        since_ms, until_ms = _span(params)
        orders = self._exchange.orders(
            account,
            self._pair(params),
            from_number=int(params.get("orderId", 0)),
            since_ms=since_ms,
            until_ms=until_ms,
            limit=limit_of(params),
            newest="orderId" not in params and "startTime" not in params,
        )
        return compact([order_row(order) for order in orders])

    async def fills(self, params: Params, account: str) -> str:
        self._exchange.advance(self._now())
        by = {name for name in params if name not in ("symbol", "limit")}
        if by not in TRADES_BY:
            raise Refused(-1128, "Combination of optional parameters invalid.")
        since_ms, until_ms = _span(params)
        fills = self._exchange.fills(
            account,
            self._pair(params),
            order=int(params["orderId"]) if "orderId" in params else None,
            from_number=int(params.get("fromId", 0)),
            since_ms=since_ms,
            until_ms=until_ms,
            limit=limit_of(params),
            newest="fromId" not in params and "startTime" not in params,
        )
        return compact([fill_row(fill, params["symbol"]) for fill in fills])

    async def account(self, params: Params, account: str) -> str:
        self._exchange.advance(self._now())
        held = self._exchange.balances(account)
        names = dict.fromkeys(
            name for rules in self._place.market.rules.values() for name in (rules.base, rules.quote)
        ) | dict.fromkeys(held)
        balances = [
            {"asset": name, "free": amount_of(held[name].free), "locked": amount_of(held[name].locked)}
            if name in held
            else {"asset": name, "free": amount_of(0), "locked": amount_of(0)}
            for name in names
        ]
        if params.get("omitZeroBalances") == "true":
            balances = [row for row in balances if held.get(row["asset"]) and any(held[row["asset"]])]
        profile = self._exchange.profile
        return compact(
            {
                "makerCommission": profile.maker_parts * 10_000 // PARTS,
                "takerCommission": profile.taker_parts * 10_000 // PARTS,
                "buyerCommission": 0,
                "sellerCommission": 0,
                "commissionRates": self._rates() | {"buyer": amount_of(0), "seller": amount_of(0)},
                "canTrade": True,
                "canWithdraw": False,
                "canDeposit": False,
                "brokered": False,
                "requireSelfTradePrevention": False,
                "preventSor": False,
                "updateTime": self._now(),
                "accountType": "SPOT",
                "balances": balances,
                "permissions": ["SPOT"],
                "uid": UID,
            }
        )

    async def commission(self, params: Params, account: str) -> str:
        self._pair(params)
        nothing = dict.fromkeys(("maker", "taker", "buyer", "seller"), amount_of(0))
        return compact(
            {
                "symbol": params["symbol"],
                "standardCommission": nothing | self._rates(),
                "specialCommission": nothing,
                "taxCommission": nothing,
                "discount": _no_discount(),
            }
        )

    async def order_counts(self, params: Params, account: str) -> str:
        return compact(self.order_limits())

    def order_limits(self) -> list[dict[str, Any]]:
        """The limits of unfilled orders with what is used of them."""
        counts = self._orders.counts(self._now())
        limits = [limit for limit in RATE_LIMITS if limit["rateLimitType"] == "ORDERS"]
        return [{**limit, "count": count} for limit, count in zip(limits, counts, strict=True)]

    async def coins(self, params: Params, account: str) -> str:
        held = self._exchange.balances(account)
        rows = []
        for name in dict.fromkeys(name for one in self._place.market.rules.values() for name in (one.base, one.quote)):
            balance = held.get(name)
            rows.append(
                {
                    "coin": name,
                    "name": name,
                    "depositAllEnable": False,
                    "withdrawAllEnable": False,
                    "free": amount_of(balance.free if balance else 0),
                    "locked": amount_of(balance.locked if balance else 0),
                    "freeze": "0",
                    "withdrawing": "0",
                    "ipoing": "0",
                    "ipoable": "0",
                    "storage": "0",
                    "isLegalMoney": name in ("INR", "EUR", "USD"),
                    "trading": True,
                    "networkList": [],
                }
            )
        return compact(rows)

    async def key_rights(self, params: Params, account: str) -> str:
        """The one key may read and trade, from anywhere."""
        may = {"enableReading": True, "enableSpotAndMarginTrading": True}
        may_not = ("ipRestrict", "enableWithdrawals", "enableInternalTransfer", "enableMargin", "enableFutures")
        more = ("permitsUniversalTransfer", "enableVanillaOptions", "enableFixApiTrade", "enablePortfolioMarginTrading")
        return compact({"createTime": 0, **may, **dict.fromkeys((*may_not, *more), False)})

    async def no_margin(self, params: Params, account: str) -> str:
        return "[]"

    def _heard(self, news: object) -> None:
        if isinstance(news, OrderNews) and news.fill is not None:
            self._orders.filled(news.order.number)

    def _now(self) -> int:
        return self._place.clock.now_ms()

    def _pair(self, params: Params) -> str:
        pair = self._pairs.get(params["symbol"])
        if pair is None:
            raise Refused(-1121, "Invalid symbol.")
        return pair

    def _named(self, params: Params, account: str) -> Order | None:
        """The order that the parameters name, None where there is none such on their market."""
        self._pair(params)
        if "orderId" in params:
            order = self._exchange.order(account, number=int(params["orderId"]))
        elif "origClientOrderId" in params:
            order = self._exchange.order(account, client_id=params["origClientOrderId"])
        else:
            raise Refused(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
        if order is None or symbol_of(order) != params["symbol"]:
            return None
        if order.client_id != params.get("origClientOrderId", order.client_id):
            raise Refused(-2039, "Client order ID is not correct for this order ID.")
        return order

    def _rates(self) -> dict[str, str]:
        profile = self._exchange.profile
        return {
            "maker": amount_of(profile.maker_parts * 10**8 // PARTS),
            "taker": amount_of(profile.taker_parts * 10**8 // PARTS),
        }


def _test_weight(params: Params) -> int:
    return 20 if params.get("computeCommissionRates") == "true" else 1


def _no_discount() -> dict[str, Any]:
    return {"enabledForAccount": False, "enabledForSymbol": False, "discountAsset": "BNB", "discount": amount_of(0)}


def _span(params: Params) -> tuple[int, int]:
    """(from, until) in ms; a start alone reaches 24 hours.

    Raises Refused where they are further apart.
    """
    if "startTime" not in params:
        return 0, int(params.get("endTime", FOREVER_MS))
    start_ms = min(int(params["startTime"]), FOREVER_MS)
    end_ms = int(params.get("endTime", start_ms + DAY_MS))
    if end_ms - start_ms > DAY_MS:
        raise Refused(-1127, "More than 24 hours between startTime and endTime.")
    return start_ms, end_ms
