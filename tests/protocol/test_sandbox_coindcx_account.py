"""The sandbox's CoinDCX face, the account's stream over real sockets, under Engine.IO 3 and 4."""

import contextlib
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from core.clock import LiveClock
from core.sandbox_keys import API_KEY, SECRET_KEY
from tests.protocol.coindcx_trader import Trader
from tests.protocol.sandbox_served import Served, synthetic

SOCKET = "/socket.io/?EIO=%s&transport=websocket"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    clock = LiveClock()
    made = synthetic(clock, clock.wall_ms() - 3_600_000)
    yield made
    made.close()


@pytest.fixture
def trader(served: Served) -> Iterator[Trader]:
    made = Trader(served)
    made.number = served.__dict__.setdefault("used", 0)
    yield made
    made.clean()
    served.__dict__["used"] = made.number


@contextlib.contextmanager
def connected(served: Served, eio: str) -> Iterator[ClientConnection]:
    with served.socket(SOCKET % eio) as socket:
        assert str(socket.recv(10))[0] == "0"
        if eio == "4":
            socket.send("40")
        assert str(socket.recv(10))[:2] == "40"
        yield socket


def join(socket: ClientConnection, key: str = API_KEY, secret: str = SECRET_KEY) -> None:
    signature = hmac.new(secret.encode(), b'{"channel":"coindcx"}', hashlib.sha256).hexdigest()
    socket.send("42" + json.dumps(["join", {"channelName": "coindcx", "authSignature": signature, "apiKey": key}]))


def event(socket: ClientConnection) -> tuple[str, Any]:
    name, outer = json.loads(str(socket.recv(20))[2:])
    assert outer["event"] == name and isinstance(outer["data"], str)
    return name, json.loads(outer["data"])


@pytest.mark.parametrize("eio", ["3", "4"])
def test_the_account_is_told_of_orders_fills_and_balances(trader: Trader, eio: str) -> None:
    with connected(trader.served, eio) as socket:
        join(socket)
        join(socket)  # twice is as good as once
        name = f"stream-{eio}"
        wait_until_joined(trader, socket)
        trader.create(order_type="market_order", total_quantity=0.001, client_order_id=name)
        orders, fills = [], []
        while not orders or orders[-1]["status"] != "filled":
            kind, rows = event(socket)
            (row,) = rows if kind != "balance-update" else (None,)
            if kind == "order-update" and row["client_order_id"] == name:
                orders.append(row)
            elif kind == "trade-update" and row["c"] == name:
                fills.append(row)
        while event(socket)[0] != "trade-update":
            pass
    assert orders[0]["status"] == "open" and orders[0]["remaining_quantity"] == "0.001"
    assert orders[-1]["remaining_quantity"] == "0.0" == orders[-1]["cancelled_quantity"]
    assert all(isinstance(fill["T"], float) and fill["m"] is False and fill["s"] == "BTCUSDT" for fill in fills)
    rows = [row for row in trader.ok("orders/trade_history") if row["order_id"] == orders[0]["id"]]
    assert {fill["t"] for fill in fills} <= {str(row["id"]) for row in rows} and {fill["o"] for fill in fills} <= {
        orders[0]["id"]
    }


def wait_until_joined(trader: Trader, socket: ClientConnection) -> None:
    """A join has no answer: orders are made until one is told, and then everything told of them."""
    price, names = trader.far(), []
    while True:
        made = trader.create(order_type="limit_order", price_per_unit=price, total_quantity=0.001)
        trader.ok("orders/cancel", id=int(made["id"]))
        names.append(made["client_order_id"])
        try:
            first = json.loads(str(socket.recv(0.5))[2:])
        except TimeoutError:
            continue
        assert first[0] == "order-update" and json.loads(first[1]["data"])[0]["client_order_id"] in names
        seen: list[str] = []
        while seen != ["balance-update", "order-update", "balance-update"]:
            seen.append(event(socket)[0])
        return


def test_a_cancel_and_the_balances_it_frees_are_told(trader: Trader) -> None:
    with connected(trader.served, "4") as socket:
        join(socket)
        wait_until_joined(trader, socket)
        made = trader.create(order_type="limit_order", price_per_unit=trader.far(), total_quantity=0.002)
        assert event(socket)[1][0]["status"] == "open"
        kind, rows = event(socket)
        assert kind == "balance-update" and float(rows[0]["locked_balance"]) > 0
        assert rows[0]["currency_short_name"] == "USDT"
        trader.ok("orders/cancel", client_order_id=made["client_order_id"])
        row = event(socket)[1][0]
        assert (row["status"], row["cancelled_quantity"], row["remaining_quantity"]) == ("cancelled", "0.002", "0.0")
        assert event(socket)[1][0]["locked_balance"] == "0.0"
        socket.send('42["leave",{"channelName":"coindcx"}]')
        made = trader.create(order_type="limit_order", price_per_unit=trader.far(), total_quantity=0.002)
        with pytest.raises(TimeoutError):
            socket.recv(0.5)


@pytest.mark.parametrize(("key", "secret"), [("nobody", SECRET_KEY), (API_KEY, "wrong")])
def test_a_wrong_signature_is_answered_with_41_and_the_end(served: Served, key: str, secret: str) -> None:
    with connected(served, "4") as socket:
        join(socket, key, secret)
        assert socket.recv(10) == "41"
        with pytest.raises(ConnectionClosed):
            socket.recv(10)


@pytest.mark.parametrize("argument", ['{"channelName":"coindcx"}', '{"channelName":"coindcx","apiKey":"sandbox"}'])
def test_a_join_without_a_signature_is_met_with_silence(trader: Trader, argument: str) -> None:
    with connected(trader.served, "4") as socket:
        socket.send(f'42["join",{argument}]')
        trader.create(order_type="limit_order", price_per_unit=trader.far(), total_quantity=0.002)
        with pytest.raises(TimeoutError):
            socket.recv(0.5)
