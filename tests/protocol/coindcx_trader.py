"""A client of CoinDCX's private side, for tests of the sandbox's face."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from core.clock import LiveClock
from core.sandbox_keys import API_KEY, SECRET_KEY
from tests.protocol.sandbox_served import Served


class Trader:
    """A client of the private side."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.number = 0

    def send(self, path: str, body: bytes, key: str = API_KEY, secret: str = SECRET_KEY) -> tuple[int, Any]:
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {"X-AUTH-APIKEY": key, "X-AUTH-SIGNATURE": signature, "Content-Type": "application/json"}
        status, _, answer = self.served.call("POST", f"/exchange/v1/{path}", body, headers)
        return status, json.loads(answer)

    def call(self, path: str, **values: Any) -> tuple[int, Any]:
        values.setdefault("timestamp", LiveClock().wall_ms())
        return self.send(path, json.dumps(values, separators=(",", ":")).encode())

    def ok(self, path: str, **values: Any) -> Any:
        status, body = self.call(path, **values)
        assert status == 200, body
        return body

    def refused(self, path: str, **values: Any) -> tuple[int, str, str]:
        status, body = self.call(path, **values)
        assert status >= 400 and body["code"] == status and body["status"] == "error", body
        return status, body["message"], body.get("errorCode", "")

    def create(self, **values: Any) -> Any:
        self.number += 1
        values = {"market": "BTCUSDT", "side": "buy", "client_order_id": f"t-{self.number}"} | values
        (order,) = self.ok("orders/create", **values)["orders"]
        return order

    def price(self) -> Decimal:
        row = json.loads(self.served.call("GET", "/market_data/trade_history?pair=B-BTC_USDT&limit=1")[2])[0]
        return Decimal(str(row["p"]))

    def far(self) -> float:
        """A price that no trade reaches."""
        return float(round(self.price() * Decimal("0.5"), 2))

    def clean(self) -> None:
        """No open orders; not by cancel_all, which may be called so seldom."""
        for order in self.ok("orders/active_orders", market="BTCUSDT")["orders"]:
            self.ok("orders/cancel", id=int(order["id"]))

    def balances(self) -> dict[str, Any]:
        return {row["currency"]: row for row in self.ok("users/balances")}


def wait_for(found: Callable[[], Any], seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return answer
