"""The Binance face over real sockets, its WebSocket API: requests, and what the account is told of."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from websockets.sync.client import ClientConnection

from core.sandbox_keys import API_KEY
from tests.protocol.binance_served import LIMIT, MARKET, NOW_MS, Trader


@pytest.fixture
def trader() -> Iterator[Trader]:
    one = Trader()
    yield one
    one.served.close()


def events(socket: ClientConnection, count: int) -> list[Any]:
    """The next events; answers are passed over."""
    found: list[Any] = []
    while len(found) < count:
        frame = json.loads(socket.recv(20))
        if "event" in frame:
            assert frame["subscriptionId"] == 0
            found.append(frame["event"])
    return found


def test_orders_over_the_websocket_api(trader: Trader) -> None:
    with trader.served.socket("/ws-api/v3") as socket:
        assert trader.request(socket, "ping", signed=False)["result"] == {}
        assert trader.request(socket, "time", signed=False)["result"] == {"serverTime": NOW_MS}
        info = trader.request(socket, "exchangeInfo", signed=False, symbols=["BTCUSDT"])
        assert info["result"]["symbols"][0]["symbol"] == "BTCUSDT"
        placed = trader.request(socket, "order.place", **LIMIT, price=trader.price("0.9"), newClientOrderId="ws")
        assert placed["status"] == 200 and placed["result"]["status"] == "NEW"
        limits = {limit["rateLimitType"] + limit["interval"]: limit["count"] for limit in placed["rateLimits"]}
        assert limits["ORDERSSECOND"] == 1 and "REQUEST_WEIGHTMINUTE" in limits
        known = trader.request(socket, "v3/order.status", symbol="BTCUSDT", origClientOrderId="ws")["result"]
        assert known == trader.ok("GET order", symbol="BTCUSDT", origClientOrderId="ws")
        assert trader.request(socket, "openOrders.status", symbol="BTCUSDT")["result"] == [known]
        gone = trader.request(socket, "order.cancel", symbol="BTCUSDT", orderId=known["orderId"])
        assert gone["result"]["status"] == "CANCELED"
        assert trader.request(socket, "account.status")["result"]["canTrade"]
        quiet = trader.request(socket, "ping", signed=False, returnRateLimits=False)
        assert "rateLimits" not in quiet


def test_weight_is_one_for_rest_and_websocket() -> None:
    trader = Trader(weight=30)
    try:
        with trader.served.socket("/ws-api/v3") as socket:
            assert trader.request(socket, "account.status")["rateLimits"][-1]["count"] == 20
            assert trader.send("GET account")[1]["code"] == -1003
            said = trader.request(socket, "account.status")
            assert (said["status"], said["error"]["code"]) == (429, -1003)
            assert said["error"]["data"]["retryAfter"] - said["error"]["data"]["serverTime"] <= 60_000
    finally:
        trader.served.close()


def test_requests_that_are_refused(trader: Trader) -> None:
    with trader.served.socket("/ws-api/v3") as socket:
        wrong = trader.request(socket, "order.place", **LIMIT)
        assert (wrong["status"], wrong["error"]["code"]) == (400, -1102) and "rateLimits" in wrong
        far = trader.request(socket, "order.status", symbol="BTCUSDT", orderId=77)
        assert far["error"] == {"code": -2013, "msg": "Order does not exist."}
        assert trader.request(socket, "account.status", signed=False)["error"]["code"] == -2014
        late = trader.request(socket, "account.status", timestamp=trader.now_ms() - 60_000)
        assert late["error"]["code"] == -1021
        assert trader.request(socket, "session.logon")["error"]["code"] == -1020
        for text in ("hello", "[]", '{"id":1}', '{"id":1,"method":"ping","params":[1]}', '{"id":{},"method":"ping"}'):
            socket.send(text)
            answer = json.loads(socket.recv(20))
            assert (answer["id"], answer["status"], answer["error"]["code"]) == (None, 400, -1135), text
        socket.send('{"id":null,"method":"ping"}')
        assert json.loads(socket.recv(20))["status"] == 200


def test_the_account_is_told_of_its_orders_and_balances(trader: Trader) -> None:
    with trader.served.socket("/ws-api/v3") as socket:
        subscribed = trader.request(socket, "userDataStream.subscribe.signature")
        assert subscribed["result"] == {"subscriptionId": 0}
        again = trader.request(socket, "userDataStream.subscribe.signature")
        assert again["error"]["code"] == -2035
        assert trader.request(socket, "session.subscriptions", signed=False)["result"] == [{"subscriptionId": 0}]
        assert trader.request(socket, "session.status", signed=False)["result"]["userDataStream"] is True

        order = trader.ok("POST order", **LIMIT, price=trader.price("0.9"), newClientOrderId="told")
        new, position = events(socket, 2)
        assert (new["e"], new["x"], new["X"], new["c"], new["C"]) == ("executionReport", "NEW", "NEW", "told", "")
        assert (new["i"], new["s"], new["S"], new["o"], new["f"]) == (
            order["orderId"],
            "BTCUSDT",
            "BUY",
            "LIMIT",
            "GTC",
        )
        assert (new["t"], new["n"], new["N"], new["w"], new["r"]) == (-1, "0", None, True, "NONE")
        assert position["e"] == "outboundAccountPosition" and [row["a"] for row in position["B"]] == ["USDT"]
        assert Decimal(position["B"][0]["l"]) == Decimal(new["p"]) * Decimal(new["q"])

        trader.ok("DELETE order", symbol="BTCUSDT", orderId=order["orderId"], newClientOrderId="enough")
        gone, position = events(socket, 2)
        assert (gone["x"], gone["X"], gone["c"], gone["C"], gone["w"]) == (
            "CANCELED",
            "CANCELED",
            "enough",
            "told",
            False,
        )
        assert Decimal(position["B"][0]["l"]) == 0

        bought = trader.ok("POST order", **MARKET)
        reports = events(socket, 2 + len(bought["fills"]))
        assert [report.get("x") for report in reports] == ["NEW", *["TRADE"] * len(bought["fills"]), None]
        for report, fill in zip(reports[1:-1], bought["fills"], strict=True):
            told = (report["t"], report["L"], report["l"], report["n"], report["N"], report["m"])
            names = ("tradeId", "price", "qty", "commission", "commissionAsset")
            assert told == (*(fill[name] for name in names), False)
        last = reports[-2]
        assert (last["X"], last["z"], last["Z"]) == ("FILLED", bought["executedQty"], bought["cummulativeQuoteQty"])
        assert {row["a"] for row in reports[-1]["B"]} == {"BTC", "USDT"}

        trader.ok("POST order", **LIMIT | {"timeInForce": "IOC"}, price=trader.price("0.9"))
        ended = events(socket, 3)[1]
        assert (ended["x"], ended["X"], ended["eR"]) == ("EXPIRED", "EXPIRED", "UNFILLED_IOC_QUANTITY_EXPIRED")

        exchange = trader.served.exchange
        trader.served.within(lambda: exchange.deposit(API_KEY, "ETH", Decimal(2), trader.now_ms()))
        update, position = events(socket, 2)
        assert (update["e"], update["a"], update["d"]) == ("balanceUpdate", "ETH", "2.00000000")
        assert position["B"] == [{"a": "ETH", "f": "2.00000000", "l": "0.00000000"}]

        assert trader.request(socket, "userDataStream.unsubscribe", signed=False)["result"] == {}
        socket.send('{"id":1,"method":"ping"}')
        trader.ok("POST order", **MARKET)
        socket.send('{"id":2,"method":"ping"}')
        frames = []
        while not frames or frames[-1].get("id") != 2:
            frames.append(json.loads(socket.recv(20)))
        assert not [frame for frame in frames if frame.get("event", {}).get("e") == "executionReport"]
        assert trader.request(socket, "userDataStream.unsubscribe", signed=False)["error"]["code"] == -2036


def test_a_maker_fill_and_a_late_rejection_are_told(trader: Trader) -> None:
    with trader.served.socket("/ws-api/v3") as socket:
        trader.request(socket, "userDataStream.subscribe.signature")
        trader.ok("POST order", **LIMIT, price=trader.price("0.9999"))
        events(socket, 2)
        trader.advance(600_000)
        report = events(socket, 1)[0]
        assert (report["x"], report["m"]) == ("TRADE", True)
        trader.served.fault("late_rejection", ms=1_000, times=1)
        trader.ok("POST order", **LIMIT, price=trader.price("0.9"), newClientOrderId="late")
        trader.advance(1_000)
        while report["x"] != "REJECTED":
            report = next(
                event for event in iter(lambda: events(socket, 1)[0], None) if event["e"] == "executionReport"
            )
        assert (report["c"], report["X"]) == ("late", "REJECTED") and report["r"] != "NONE"
