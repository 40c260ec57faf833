"""The sandbox killed between an order's acknowledgement and its fill: an outage, and no new world."""

import contextlib
import hashlib
import hmac
import http.client
import json
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from core.clock import LiveClock
from core.sandbox_keys import API_KEY, SECRET_KEY
from tests.protocol.sandbox_program import PAIR, Program

BASE_MS = 1_570_000_000_000
FALLS_S = 90  # market time from the tape's start until the price falls
SPEED = 10


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    rows = [(BASE_MS + 100 * number, 8000 if number < FALLS_S * 10 else 7990) for number in range(36_000)]
    (tmp_path / "day.csv").write_text("ts_ms,price,qty\n" + "".join(f"{at},{price}.00,0.00250\n" for at, price in rows))
    made = Program(tmp_path, SANDBOX_TAPE=str(tmp_path / "day.csv"), SANDBOX_SPEED=str(SPEED))
    yield made
    made.stop_if_running()


def call(program: Program, path: str, **values: Any) -> Any:
    body = json.dumps({"timestamp": LiveClock().wall_ms()} | values).encode()
    signature = hmac.new(SECRET_KEY.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-AUTH-APIKEY": API_KEY, "X-AUTH-SIGNATURE": signature}
    with closing(http.client.HTTPConnection("127.0.0.1", program.port, timeout=10)) as connection:
        connection.request("POST", f"/exchange/v1/{path}", body, headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return json.loads(text, parse_float=Decimal)


def begin(program: Program) -> None:
    """Starts the tape by joining, and leaves: nobody listens while the order waits."""
    with connect(f"ws://127.0.0.1:{program.port}/socket.io/?EIO=4&transport=websocket", proxy=None) as client:
        client.recv(10)
        client.send("40")
        client.recv(10)
        client.send(f'42["join",{{"channelName":"{PAIR}@trades"}}]')
        client.recv(10)


def balances(program: Program) -> dict[str, Any]:
    return {row["currency"]: row for row in call(program, "users/balances")}


def test_all_is_found_again_after_a_kill_between_acknowledgement_and_fill(program: Program, tmp_path: Path) -> None:
    program.start()
    program.up()
    begin(program)
    asked = {"market": "BTCUSDT", "side": "buy", "order_type": "limit_order", "price_per_unit": 7995}
    (order,) = call(program, "orders/create", **asked, total_quantity=0.01, client_order_id="kept")["orders"]
    held = balances(program)
    program.end(signal.SIGKILL)

    program.start()
    program.up()
    assert balances(program) == held and held["USDT"]["locked_balance"] == "79.989975"
    (found,) = call(program, "orders/active_orders", market="BTCUSDT")["orders"]
    assert (found["id"], found["client_order_id"], found["status"]) == (order["id"], "kept", "open")
    filled = program.wait_for(lambda: _filled(call(program, "orders/status", client_order_id="kept")))
    assert filled["remaining_quantity"] == 0 and filled["avg_price"] == 7995
    fills = call(program, "orders/trade_history", symbol="BTCUSDT")
    assert [fill["quantity"] for fill in fills] == [Decimal("0.0025")] * 4
    assert fills[0]["timestamp"] == BASE_MS + FALLS_S * 1000  # the first print of the lower price
    cost = sum(fill["quantity"] * fill["price"] + fill["fee_amount"] for fill in fills)
    kept = balances(program)
    assert Decimal(kept["USDT"]["balance"]) == 10_500 - cost and kept["USDT"]["locked_balance"] == "0.0"
    assert kept["BTC"]["balance"] == "0.01"

    program.end(signal.SIGKILL)
    (path,) = tmp_path.glob("v/books/*/exchange.db")
    with closing(sqlite3.connect(path)) as books:
        rows = books.execute("SELECT asset, free, locked FROM balances").fetchall()
    sums: dict[str, int] = {}
    for asset, free, locked in rows:
        sums[asset] = sums.get(asset, 0) + int(free) + int(locked)
    assert set(sums.values()) == {0}


def test_an_order_that_fills_while_the_sandbox_is_down_is_found_filled(program: Program) -> None:
    program.start()
    program.up()
    begin(program)
    asked = {"market": "BTCUSDT", "side": "buy", "order_type": "limit_order", "price_per_unit": 7995}
    call(program, "orders/create", **asked, total_quantity=0.01, client_order_id="missed")
    program.end(signal.SIGKILL)
    ends_ns = LiveClock().monotonic_ns() + (FALLS_S // SPEED + 2) * 1_000_000_000
    program.wait_for(lambda: LiveClock().monotonic_ns() > ends_ns)  # the market goes on by the wall clock

    program.start()
    program.up()
    order = call(program, "orders/status", client_order_id="missed")
    assert (order["status"], order["avg_price"]) == ("filled", 7995)
    assert call(program, "orders/trade_history")[0]["timestamp"] == BASE_MS + FALLS_S * 1000


def test_every_order_that_was_acknowledged_before_a_kill_is_there_after_it(program: Program) -> None:
    program.start()
    program.up()
    acknowledged: list[str] = []

    def send() -> None:
        asked = {"market": "BTCUSDT", "side": "buy", "order_type": "limit_order", "total_quantity": 0.001}
        with contextlib.suppress(OSError, http.client.HTTPException):
            while True:
                name = f"burst-{len(acknowledged)}"
                call(program, "orders/create", **asked, price_per_unit=7000, client_order_id=name)
                acknowledged.append(name)
                if len(acknowledged) % 20 == 0:
                    call(program, "orders/cancel_all", market="BTCUSDT")

    sender = threading.Thread(target=send)
    sender.start()
    program.wait_for(lambda: len(acknowledged) >= 50)
    program.end(signal.SIGKILL)
    sender.join(20)
    assert not sender.is_alive()

    program.start()
    program.up()
    states = [call(program, "orders/status", client_order_id=name)["status"] for name in acknowledged]
    held = Decimal(balances(program)["USDT"]["locked_balance"])
    working = call(program, "orders/active_orders_count", market="BTCUSDT")["count"]
    assert set(states) <= {"open", "cancelled"} and states.count("open") <= working <= states.count("open") + 1
    assert held == working * Decimal("7.0035")


def _filled(order: Any) -> Any:
    return order if order["status"] == "filled" else None
