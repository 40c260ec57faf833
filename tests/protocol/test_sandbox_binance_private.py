"""The Binance face over real sockets, signed side: orders, own trades, the account, keys and limits."""

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from core.sandbox_keys import API_KEY, SECRET_KEY
from sandbox.exchange.profiles import Trading
from tests.protocol.binance_served import LIMIT, MARKET, NOW_MS, Trader

PAIR = "B-BTC_USDT"


@pytest.fixture
def trader() -> Iterator[Trader]:
    one = Trader()
    yield one
    one.served.close()


# --- orders ----------------------------------------------------------------------------------------------------------


def test_a_market_order_is_filled_at_once_and_paid_in_what_it_receives(trader: Trader) -> None:
    before = trader.balances()["USDT"][0]
    order = trader.ok("POST order", **MARKET, newClientOrderId="mine-1")
    assert (order["status"], order["executedQty"], order["origQty"]) == ("FILLED", "0.01000000", "0.01000000")
    assert (order["clientOrderId"], order["price"], order["timeInForce"]) == ("mine-1", "0.00000000", "GTC")
    fills = order["fills"]
    assert sum(Decimal(fill["qty"]) for fill in fills) == Decimal("0.01")
    cost = sum(Decimal(fill["qty"]) * Decimal(fill["price"]) for fill in fills)
    assert abs(Decimal(order["cummulativeQuoteQty"]) - cost) < Decimal("0.000001")
    fee = sum(Decimal(fill["commission"]) for fill in fills)
    assert {fill["commissionAsset"] for fill in fills} == {"BTC"} and fee == Decimal("0.01") * 5 / 10_000
    held = trader.balances()
    assert held["BTC"] == (Decimal("0.01") - fee, 0)
    assert before - held["USDT"][0] == Decimal(order["cummulativeQuoteQty"])
    sold = trader.ok("POST order", **MARKET | {"side": "SELL", "quantity": "0.00999"})
    assert {fill["commissionAsset"] for fill in sold["fills"]} == {"USDT"}
    mine = trader.ok("GET myTrades", symbol="BTCUSDT")
    assert [row["id"] for row in mine] == [fill["tradeId"] for fill in fills + sold["fills"]]
    assert [row["isBuyer"] for row in mine] == [True] * len(fills) + [False] * len(sold["fills"])


def test_a_market_order_over_an_amount_of_quote(trader: Trader) -> None:
    order = trader.ok("POST order", symbol="BTCUSDT", side="BUY", type="MARKET", quoteOrderQty="100")
    assert order["status"] == "FILLED" and order["origQuoteOrderQty"] == "100.00000000"
    assert Decimal("99") < Decimal(order["cummulativeQuoteQty"]) <= 100
    assert order["origQty"] == order["executedQty"] and Decimal(order["executedQty"]) % Decimal("0.00001") == 0


def test_a_limit_order_rests_is_found_and_canceled(trader: Trader) -> None:
    price = trader.price("0.9")
    order = trader.ok("POST order", **LIMIT, price=price, newClientOrderId="rest")
    assert (order["status"], order["fills"], order["executedQty"]) == ("NEW", [], "0.00000000")
    assert trader.balances()["USDT"][1] == Decimal(price) * Decimal("0.001")
    by_id = trader.ok("GET order", symbol="BTCUSDT", orderId=order["orderId"])
    by_name = trader.ok("GET order", symbol="BTCUSDT", origClientOrderId="rest")
    assert by_id == by_name == trader.ok("GET openOrders", symbol="BTCUSDT")[0] == trader.ok("GET openOrders")[0]
    assert (by_id["price"], by_id["isWorking"], by_id["status"]) == (f"{price}000000", True, "NEW")
    gone = trader.ok("DELETE order", symbol="BTCUSDT", origClientOrderId="rest", newClientOrderId="stop-it")
    assert (gone["status"], gone["origClientOrderId"], gone["clientOrderId"]) == ("CANCELED", "rest", "stop-it")
    assert trader.ok("GET order", symbol="BTCUSDT", origClientOrderId="rest")["status"] == "CANCELED"
    assert trader.refused("DELETE order", symbol="BTCUSDT", origClientOrderId="rest") == (-2011, "Unknown order sent.")
    assert trader.ok("GET openOrders") == [] and trader.balances()["USDT"][1] == 0


def test_a_resting_order_fills_as_the_maker_when_the_market_comes(trader: Trader) -> None:
    trader.ok("POST order", **LIMIT, price=trader.price("0.9999"), newClientOrderId="near")
    trader.advance(600_000)
    order = trader.ok("GET order", symbol="BTCUSDT", origClientOrderId="near")
    assert order["status"] == "FILLED" and order["updateTime"] > order["time"] == NOW_MS
    fills = trader.ok("GET myTrades", symbol="BTCUSDT", orderId=order["orderId"])
    assert {fill["isMaker"] for fill in fills} == {True} and {fill["price"] for fill in fills} == {order["price"]}
    assert sum(Decimal(fill["qty"]) for fill in fills) == Decimal("0.001")


IN_FORCE = {
    "an IOC order within reach": ("1.02", "IOC", "0.001", "FILLED", None),
    "an IOC order away from the market": ("0.9", "IOC", "0.001", "EXPIRED", "UNFILLED_IOC_QUANTITY_EXPIRED"),
    "a FOK order within reach": ("1.02", "FOK", "0.001", "FILLED", None),
    "a FOK order away from the market": ("0.9", "FOK", "0.001", "EXPIRED", "UNFILLED_FOK_ORDER_EXPIRED"),
}


@pytest.mark.parametrize("name", IN_FORCE)
def test_orders_that_do_not_rest(trader: Trader, name: str) -> None:
    factor, in_force, quantity, status, reason = IN_FORCE[name]
    more = {"price": trader.price(factor), "timeInForce": in_force, "quantity": quantity}
    order = trader.ok("POST order", **LIMIT | more)
    assert (order["status"], order.get("expiryReason"), order["timeInForce"]) == (status, reason, in_force)
    assert trader.ok("GET openOrders") == [] and trader.balances()["USDT"][1] == 0


def test_post_only(trader: Trader) -> None:
    maker = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT_MAKER", "quantity": "0.001"}
    answer = trader.ok("POST order", **maker, price=trader.price("0.9"))
    assert set(answer) == {"symbol", "orderId", "orderListId", "clientOrderId", "transactTime"}  # ACK by default
    assert trader.ok("GET order", symbol="BTCUSDT", orderId=answer["orderId"])["type"] == "LIMIT_MAKER"
    said = trader.refused("POST order", **maker, price=trader.price("1.02"))
    assert said == (-2010, "Order would immediately match and take.")


def test_a_stop_waits_wakes_and_sells(trader: Trader) -> None:
    trader.ok("POST order", **MARKET)
    stop = {"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_LOSS", "quantity": "0.00999"}
    said = trader.refused("POST order", **stop, stopPrice=trader.price("1.01"))
    assert said == (-2010, "Order would trigger immediately.")
    order = trader.ok("POST order", **stop, stopPrice=trader.price("0.9999"), newOrderRespType="RESULT")
    assert order["status"] == "NEW" and "workingTime" not in order and "fills" not in order
    assert trader.ok("GET openOrders")[0]["isWorking"] is False
    trader.advance(600_000)
    assert trader.ok("GET order", symbol="BTCUSDT", orderId=order["orderId"])["status"] == "FILLED"


def test_client_ids_are_taken_while_their_order_is_open_and_free_afterwards(trader: Trader) -> None:
    more = LIMIT | {"price": trader.price("0.9"), "newClientOrderId": "twice"}
    first = trader.ok("POST order", **more)
    assert trader.refused("POST order", **more) == (-2010, "Duplicate order sent.")
    trader.ok("DELETE order", symbol="BTCUSDT", orderId=first["orderId"])
    second = trader.ok("POST order", **more)
    assert second["orderId"] > first["orderId"]
    assert trader.ok("GET order", symbol="BTCUSDT", origClientOrderId="twice")["orderId"] == second["orderId"]
    made = trader.ok("POST order", **MARKET)["clientOrderId"]
    assert re.fullmatch("[a-zA-Z0-9]{22}", made)
    for name in ("x" * 37, "with space", "ü"):
        assert trader.refused("POST order", **MARKET, newClientOrderId=name)[0] == -1100


REFUSED = {
    "too fine a price": ({"price": "80000.001"}, -1013, "Filter failure: PRICE_FILTER"),
    "too fine a quantity": ({"quantity": "0.001001"}, -1013, "Filter failure: LOT_SIZE"),
    "too little": ({"quantity": "0.00001"}, -1013, "Filter failure: NOTIONAL"),
    "too much": ({"quantity": "9000"}, -1013, "Filter failure: LOT_SIZE"),
    "far below the market": ({"price": "1000.00"}, -1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
    "nine decimals": ({"quantity": "0.123456789"}, -1111, "Parameter 'quantity' has too much precision."),
    "scientific notation": ({"quantity": "1e-3"}, -1100, None),
    "a negative quantity": ({"quantity": "-1"}, -1100, None),
    "no money for it": (
        {"quantity": "5"},
        -2010,
        "Account has insufficient balance for requested action.",
    ),
    "an unknown market": ({"symbol": "NOPE"}, -1121, "Invalid symbol."),
    "an unknown side": ({"side": "HOLD"}, -1117, "Invalid side."),
    "an unknown type": ({"type": "OCO"}, -1116, "Invalid orderType."),
    "something the venue does not know": ({"reduceOnly": "true"}, -1104, None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_orders_that_are_refused(trader: Trader, name: str) -> None:
    more, code, text = REFUSED[name]
    params = LIMIT | {"price": trader.price("0.9")} | more
    said = trader.refused("POST order", **params)
    assert said[0] == code and (text is None or said[1] == text), said
    tested = trader.send("POST order/test", **params)
    assert tested == (200, {}) if name == "no money for it" else tested[1]["code"] == code
    assert trader.ok("GET allOrders", symbol="BTCUSDT") == []


def test_a_halted_market(trader: Trader) -> None:
    order = trader.ok("POST order", **LIMIT, price=trader.price("0.9"))
    trader.served.within(lambda: trader.served.exchange.change_rules(PAIR, trading=Trading.HALTED))
    assert trader.served.get("/api/v3/exchangeInfo?symbol=BTCUSDT")["symbols"][0]["status"] == "HALT"
    assert trader.refused("POST order", **MARKET) == (-2010, "Market is closed.")
    assert trader.ok("DELETE order", symbol="BTCUSDT", orderId=order["orderId"])["status"] == "CANCELED"


def test_a_dry_run_changes_nothing(trader: Trader) -> None:
    assert trader.ok("POST order/test", **MARKET) == {}
    rates = trader.ok("POST order/test", **MARKET, computeCommissionRates="true")
    assert rates["standardCommissionForOrder"] == {"maker": "0.00050000", "taker": "0.00050000"}
    assert trader.ok("GET allOrders", symbol="BTCUSDT") == [] and "BTC" not in trader.balances()


def test_orders_that_are_not_there(trader: Trader) -> None:
    order = trader.ok("POST order", **LIMIT, price=trader.price("0.9"), newClientOrderId="mine")
    where = {"symbol": "BTCUSDT"}
    assert trader.refused("GET order", **where, orderId=77) == (-2013, "Order does not exist.")
    assert trader.refused("GET order", **where, orderId=10**18) == (-2013, "Order does not exist.")
    assert trader.refused("GET order", **where, orderId=10**19) == (-1108, "Parameter 'orderId' overflowed.")
    assert trader.refused("GET order", symbol="ETHUSDT", origClientOrderId="mine")[0] == -2013
    assert trader.refused("DELETE order", **where, origClientOrderId="other") == (-2011, "Unknown order sent.")
    assert trader.refused("DELETE order", **where)[0] == -1102
    said = trader.refused("DELETE order", **where, orderId=order["orderId"], origClientOrderId="other")
    assert said == (-2039, "Client order ID is not correct for this order ID.")
    assert trader.refused("DELETE order", **where, orderId=order["orderId"], cancelRestrictions="NO")[0] == -1145
    said = trader.refused("DELETE order", **where, orderId=order["orderId"], cancelRestrictions="ONLY_PARTIALLY_FILLED")
    assert said == (-2011, "Order was not canceled due to cancel restrictions.")
    assert [row["orderId"] for row in trader.ok("DELETE openOrders", **where)] == [order["orderId"]]
    assert trader.refused("DELETE openOrders", **where) == (-2011, "Unknown order sent.")


def test_orders_and_own_trades_by_id_and_time(trader: Trader) -> None:
    numbers = []
    for _ in range(5):
        numbers.append(trader.ok("POST order", **MARKET | {"quantity": "0.001"})["orderId"])
        trader.advance(60_000)
    where = {"symbol": "BTCUSDT"}
    for name, key in (("GET allOrders", "orderId"), ("GET myTrades", "orderId")):
        start = NOW_MS + 60_000

        def orders(name: str = name, key: str = key, **more: Any) -> list[int]:
            return list(dict.fromkeys(row[key] for row in trader.ok(name, **where, **more)))

        assert orders() == numbers
        assert orders(startTime=start) == numbers[1:]
        assert orders(startTime=start, endTime=start + 60_000) == numbers[1:3]
        assert orders(endTime=start) == numbers[:2]
        assert trader.refused(name, **where, startTime=1, endTime=86_400_002)[0] == -1127
        assert trader.ok(name, symbol="ETHUSDT") == []
    assert [row["orderId"] for row in trader.ok("GET allOrders", **where, limit=2)] == numbers[-2:]
    assert [row["orderId"] for row in trader.ok("GET allOrders", **where, orderId=numbers[2])] == numbers[2:]
    fills = trader.ok("GET myTrades", **where)
    assert trader.ok("GET myTrades", **where, fromId=fills[2]["id"]) == fills[2:]
    assert {fill["orderId"] for fill in trader.ok("GET myTrades", **where, orderId=numbers[3])} == {numbers[3]}
    assert trader.refused("GET myTrades", **where, fromId=1, startTime=1)[0] == -1128


@pytest.mark.parametrize("name", ["orderId", "fromId", "startTime", "endTime", "limit"])
def test_numbers_at_the_edge_of_what_there_is(trader: Trader, name: str) -> None:
    for path in ("allOrders", "myTrades"):
        for value in (1, 2**62, 2**63 - 1):
            status, body = trader.send(f"GET {path}", symbol="BTCUSDT", **{name: value})
            assert status == 200 or body["code"] in (-1104, -1127), body


def test_the_key_may_read_and_trade_and_nothing_else(trader: Trader) -> None:
    told = trader.ok("GET /sapi/v1/account/apiRestrictions")
    assert told["enableReading"] and told["enableSpotAndMarginTrading"]
    assert not told["enableWithdrawals"] and not told["ipRestrict"]


def test_the_account(trader: Trader) -> None:
    account = trader.ok("GET account")
    assert account["canTrade"] and account["accountType"] == "SPOT" and account["makerCommission"] == 5
    assert {row["asset"]: row["free"] for row in account["balances"]}["USDT"] == "10500.00000000"
    assert len(account["balances"]) > 25
    rates = trader.ok("GET account/commission", symbol="BTCUSDT")
    assert rates["standardCommission"] == {
        "maker": "0.00050000",
        "taker": "0.00050000",
        "buyer": "0.00000000",
        "seller": "0.00000000",
    }
    assert rates["discount"]["enabledForAccount"] is False


# --- keys, signatures, limits ----------------------------------------------------------------------------------------


def test_strangers_and_clocks_are_refused(trader: Trader) -> None:
    assert trader.send("GET account", key=None) == (401, {"code": -2014, "msg": "API-key format invalid."})
    assert trader.send("GET account", key="no key!")[1]["code"] == -2014
    status, body = trader.send("GET account", key="stranger")
    assert (status, body["code"]) == (401, -2015)
    assert trader.refused("GET account", secret="wrong") == (-1022, "Signature for this request is not valid.")
    for off_ms, text in ((-5_001, "outside of the recvWindow"), (1_000, "1000ms ahead of the server's time")):
        code, said = trader.refused("GET account", timestamp=trader.now_ms() + off_ms)
        assert code == -1021 and text in said
    trader.ok("GET account", timestamp=trader.now_ms() - 50_000, recvWindow=60_000)
    for query, name in (("", "timestamp"), (f"timestamp={NOW_MS}", "signature")):
        _, _, body = trader.served.call("GET", f"/api/v3/account?{query}", headers={"X-MBX-APIKEY": API_KEY})
        assert json.loads(body)["code"] == -1102 and f"'{name}'" in json.loads(body)["msg"]


def test_query_and_body_are_signed_as_one(trader: Trader) -> None:
    query, body = "symbol=BTCUSDT&side=BUY&type=MARKET", f"quantity=0.001&timestamp={trader.now_ms()}"
    signature = hmac.new(SECRET_KEY.encode(), f"{query}{body}".encode(), hashlib.sha256).hexdigest()
    for at_query, at_body in ((f"{query}&signature={signature}", body), (query, f"{body}&signature={signature}")):
        headers = {"X-MBX-APIKEY": API_KEY, "Content-Type": "application/x-www-form-urlencoded"}
        status, _, answer = trader.served.call("POST", f"/api/v3/order?{at_query}", at_body.encode(), headers)
        assert status == 200, answer


def test_orders_count_until_they_fill_and_weigh_nothing() -> None:
    trader = Trader(orders=(2, 200_000))
    try:
        trader.ok("POST order", **MARKET)
        assert trader.headers["X-MBX-ORDER-COUNT-10S"] == "0" and trader.headers["X-MBX-USED-WEIGHT-1M"] == "0"
        for count in ("1", "2"):
            trader.ok("POST order", **LIMIT, price=trader.price("0.9"))
            assert trader.headers["X-MBX-ORDER-COUNT-10S"] == trader.headers["X-MBX-ORDER-COUNT-1D"] == count
        said = trader.refused("POST order", **LIMIT, price=trader.price("0.9"))
        assert said == (-1015, "Too many new orders; current limit is 2 orders per 10 SECOND.")
        assert 0 < int(trader.headers["Retry-After"]) <= 10
        limits = trader.ok("GET rateLimit/order")
        assert [(limit["interval"], limit["count"]) for limit in limits] == [("SECOND", 2), ("DAY", 2)]
        trader.advance(10_000)
        trader.ok("POST order", **LIMIT, price=trader.price("0.9"))
    finally:
        trader.served.close()
