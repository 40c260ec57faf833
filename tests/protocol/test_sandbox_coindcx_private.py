"""The sandbox's CoinDCX face, the private side over real sockets: as the fact sheet has it, quirks included."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from core.clock import LiveClock
from core.sandbox_keys import API_KEY, SECRET_KEY
from sandbox.exchange.orders import Reason
from sandbox.exchange.profiles import PROFILES, trading_rules
from sandbox.faces import coindcx_private, coindcx_words
from sandbox.listings import LISTINGS
from tests.protocol.coindcx_trader import Trader, wait_for
from tests.protocol.sandbox_served import Served, synthetic

SUCCESS = {"message": "success", "status": "success", "code": 200}


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


# --- who may ---


@pytest.mark.parametrize(
    ("key", "secret", "message"),
    [
        ("nobody", SECRET_KEY, "Invalid credentials"),
        (API_KEY, "wrong", "Invalid credentials"),
        ("", SECRET_KEY, "You are not logged in"),
    ],
)
def test_a_wrong_key_or_signature_is_401(trader: Trader, key: str, secret: str, message: str) -> None:
    body = json.dumps({"timestamp": LiveClock().wall_ms()}).encode()
    expected = {"code": 401, "message": message, "status": "error"}
    assert trader.send("users/balances", body, key, secret) == (401, expected)
    # The creation of an order adds a code.
    assert trader.send("orders/create", body, key, secret) == (401, expected | {"errorCode": "BFF-AUTH-001"})


def test_the_signature_is_of_the_raw_bytes(trader: Trader) -> None:
    spaced = json.dumps({"timestamp": LiveClock().wall_ms()}, separators=(", ", " : ")).encode()
    assert trader.send("users/balances", spaced)[0] == 200
    signature = hmac.new(SECRET_KEY.encode(), spaced.replace(b" ", b""), hashlib.sha256).hexdigest()
    headers = {"X-AUTH-APIKEY": API_KEY, "X-AUTH-SIGNATURE": signature}
    assert trader.served.call("POST", "/exchange/v1/users/balances", spaced, headers)[0] == 401


@pytest.mark.parametrize(
    ("secret", "body", "signature"),
    [
        (
            "YYYY",
            b'{"timestamp":1756900000000}',
            "60574fbeb0b539c4c416354148c5ea2434511b51f8d9940c9786ff3435afa5eb",
        ),
        ("YYYY", b'{"channel":"coindcx"}', "c8f94ab0ff0372da5b20dfa616c8a1abd06341fa2c0ea19559decc4c8485b989"),
        (
            "coindcx-test-secret",
            b'{"client_order_id":"sb-20260101-000001","timestamp":1767225600000}',
            "6dfded845c1c6196852f2bc2eda1f777bef66d8f7105ddc961f0f15d90230429",
        ),
    ],
)
def test_golden_signatures(secret: str, body: bytes, signature: str) -> None:
    assert coindcx_private.signed(secret, body, signature)
    assert not coindcx_private.signed(secret, body + b" ", signature)
    assert not coindcx_private.signed(secret, body, signature.upper())


def test_seconds_or_another_hour_are_401_and_no_timestamp_is_422(trader: Trader) -> None:
    now_ms = LiveClock().wall_ms()
    for timestamp in (now_ms // 1000, now_ms - 3_600_000, now_ms + 3_600_000):
        assert trader.refused("users/balances", timestamp=timestamp)[:2] == (401, "Invalid credentials")
    for wrong in (None, str(now_ms), float(now_ms) + 0.5, True):
        assert trader.refused("users/balances", timestamp=wrong)[0] == 422


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"\xff\xfe", b"[" * 50_000])
def test_a_body_that_is_no_object_is_400(trader: Trader, body: bytes) -> None:
    assert trader.send("users/balances", body) == (400, {"code": 400, "message": "bad_request", "status": "error"})


def test_get_on_a_private_path_is_404(served: Served) -> None:
    assert served.call("GET", "/exchange/v1/orders/create")[0] == 404
    assert served.call("POST", "/exchange/v1/orders/nothing", b"{}")[0] == 404


def test_private_answers_have_the_markets_date_and_no_allowance(trader: Trader) -> None:
    _, headers, _ = trader.served.call("POST", "/exchange/v1/users/balances", b"{}")
    assert abs(parsedate_to_datetime(headers["date"]).timestamp() - LiveClock().wall_ms() / 1000) < 30
    assert headers["x-request-id"] and "ratelimit" not in headers and "server" not in headers


# --- orders ---


def test_a_limit_order_from_its_creation_to_its_cancel(trader: Trader) -> None:
    price = trader.far()
    order = trader.create(order_type="limit_order", price_per_unit=price, total_quantity=0.01, client_order_id="life-1")
    assert (order["status"], order["total_quantity"], order["remaining_quantity"]) == ("open", 0.01, 0.01)
    assert (order["price_per_unit"], order["avg_price"], order["client_order_id"]) == (price, 0.0, "life-1")
    assert order["time_in_force"] == "good_till_cancel" and order["market"] == "BTCUSDT" and order["trades"] is None
    assert order["created_at"] % 1000 == 0 and order["id"].isdigit() and order["taker_fee"] == 0.05
    assert trader.ok("orders/status", client_order_id="life-1") == order
    assert trader.ok("orders/status", id=int(order["id"])) == order
    assert trader.refused("orders/status", id=order["id"])[0] == 422  # text, though it is digits
    (listed,) = trader.ok("orders/active_orders", market="BTCUSDT")["orders"]
    assert listed["id"] == order["id"] and isinstance(listed["created_at"], str) and listed["created_at"][-1] == "Z"
    assert trader.ok("orders/active_orders_count", market="BTCUSDT") == {"count": 1, "status": 200}
    assert trader.ok("orders/active_orders", market="BTCUSDT", side="sell")["orders"] == []
    held = trader.balances()["USDT"]
    assert Decimal(held["locked_balance"]) == Decimal(str(price)) * Decimal("0.01") * Decimal("1.0005")
    assert isinstance(held["balance"], str)
    assert trader.ok("orders/cancel", client_order_id="life-1") == SUCCESS
    assert trader.ok("orders/status", client_order_id="life-1")["status"] == "cancelled"
    assert trader.refused("orders/cancel", client_order_id="life-1")[:2] == (422, "Invalid Request")
    assert trader.balances()["USDT"]["locked_balance"] == "0.0"


def test_a_market_order_is_told_as_open_and_found_filled(trader: Trader) -> None:
    before = trader.balances()
    order = trader.create(order_type="market_order", total_quantity="0.001", client_order_id="market-1")
    assert order["status"] == "open" and order["avg_price"] == 0.0 and order["remaining_quantity"] == 0.001
    assert order["price_per_unit"] > 0
    done = wait_for(lambda: _filled(trader.ok("orders/status", client_order_id="market-1")))
    assert done["remaining_quantity"] == 0.0 and done["avg_price"] > 0 and done["fee_amount"] > 0
    fills = [row for row in trader.ok("orders/trade_history", symbol="BTCUSDT") if row["order_id"] == order["id"]]
    assert sum(Decimal(str(row["quantity"])) for row in fills) == Decimal("0.001")
    assert sum(Decimal(str(row["fee_amount"])) for row in fills) == Decimal(str(done["fee_amount"]))
    assert set(fills[0]) == {
        "id", "order_id", "side", "fee_amount", "ecode", "quantity", "price", "symbol", "timestamp",
    }  # fmt: skip
    after = trader.balances()
    spent = Decimal(before["USDT"]["balance"]) - Decimal(after["USDT"]["balance"])
    cost = sum(Decimal(str(row["quantity"])) * Decimal(str(row["price"])) for row in fills)
    assert spent == cost + Decimal(str(done["fee_amount"]))  # the fee is in the price currency


def _filled(order: Any) -> Any:
    return order if order["status"] == "filled" else None


def test_trade_history_by_time_id_order_and_limit(trader: Trader) -> None:
    since = LiveClock().wall_ms()
    for _ in range(3):
        trader.create(order_type="market_order", total_quantity=0.0001)
    rows = wait_for(lambda: _at_least(trader.ok("orders/trade_history", symbol="BTCUSDT", from_timestamp=since), 3))
    ids = [row["id"] for row in rows]
    assert ids == sorted(ids)
    assert [row["id"] for row in trader.ok("orders/trade_history", sort="desc", limit=2)] == ids[:-3:-1]
    assert [row["id"] for row in trader.ok("orders/trade_history", from_id=ids[1])] == ids[1:]
    assert [row["id"] for row in trader.ok("orders/trade_history", from_id=ids[0], limit=1)] == ids[:1]
    assert trader.ok("orders/trade_history", symbol="ETHUSDT") == []
    assert trader.ok("orders/trade_history", to_timestamp=1) == []
    for wrong in ({"limit": 501}, {"limit": "5"}, {"sort": "up"}, {"from_timestamp": -1}):
        assert trader.refused("orders/trade_history", **wrong)[:2] == (422, "Invalid Request")
    assert trader.refused("orders/trade_history", symbol="NOPE")[1] == "Currency pair is not valid"


def _at_least(rows: Any, count: int) -> Any:
    return rows if len(rows) >= count else None


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("an unknown market", {"market": "B-BTC_USDT"}, "Currency pair is not valid", ""),
    ("no side", {"side": None}, "Invalid Request", ""),
    ("an unknown type", {"order_type": "stop_limit"}, "Invalid Request", ""),
    ("no quantity", {"total_quantity": None}, "Invalid Request", ""),
    ("a quantity that is no number", {"total_quantity": "many"}, "Invalid Request", ""),
    ("no price", {"price_per_unit": None}, "Invalid Request", ""),
    ("a long client id", {"client_order_id": "x" * 37}, "Invalid Request", ""),
    ("a client id that is no text", {"client_order_id": 7}, "Invalid Request", ""),
    ("outside the band", {"price_per_unit": 1.5}, "Price should be within the permitted range", "OMS-VF-0001"),
    ("too little", {"total_quantity": 0}, "Quantity should be greater than 0.00001", "OMS-VF-0004"),
    ("too fine", {"total_quantity": 0.000001}, "Quantity precision should be 5", "OMS-VF-0006"),
    ("too cheap", {"total_quantity": 0.00002}, "Minimum order value should be 5.0 USDT", "OMS-VF-0041"),
    ("too dear", {"total_quantity": 90.0}, "Insufficient funds", "CA1013"),
]


@pytest.mark.parametrize(("values", "message", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_orders_that_are_refused(trader: Trader, values: dict[str, Any], message: str, code: str) -> None:
    order = {
        "market": "BTCUSDT",
        "side": "buy",
        "order_type": "limit_order",
        "price_per_unit": trader.far(),
        "total_quantity": 0.01,
    } | values
    assert trader.refused("orders/create", **order) == (422, message, code)


def test_too_fine_a_price_is_refused(trader: Trader) -> None:
    order = {"market": "BTCUSDT", "side": "buy", "order_type": "limit_order", "total_quantity": 0.01}
    said = trader.refused("orders/create", **order, price_per_unit=f"{trader.far():.2f}1")
    assert said == (422, "Price precision should be 2", "OMS-VF-0006")


def test_a_client_id_is_never_free_again(trader: Trader) -> None:
    order = {"order_type": "limit_order", "price_per_unit": trader.far(), "total_quantity": 0.01}
    trader.create(**order, client_order_id="once")
    again = order | {"market": "BTCUSDT", "side": "buy", "client_order_id": "once"}
    assert trader.refused("orders/create", **again)[:2] == (422, "Client order id already exists")
    trader.ok("orders/cancel", client_order_id="once")
    assert trader.refused("orders/create", **again)[:2] == (422, "Client order id already exists")


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.value)
def test_every_reason_has_the_venues_kind_of_answer(reason: Reason) -> None:
    rules = LISTINGS[0].rules
    answer = coindcx_words.refused(reason, rules, trading_rules(PROFILES["coindcx"], rules))
    assert answer.status == 422 and answer.body["message"]


ODD = [
    None,
    True,
    [],
    {},
    "",
    "x",
    "NaN",
    "-1",
    -1,
    0,
    10**40,
    float("nan"),
    float("inf"),
    1e300,
    1e-300,
    "1e9999",
    "\ud800",
]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("create", ["market", "side", "order_type", "total_quantity", "price_per_unit", "client_order_id"]),
        ("status", ["id", "client_order_id"]),
        ("status_multiple", ["ids", "client_order_ids"]),
        ("active_orders", ["market", "side", "page", "size"]),
        ("trade_history", ["symbol", "from_timestamp", "to_timestamp", "limit", "sort", "from_id"]),
    ],
)
def test_odd_values_are_refused_and_never_a_fault_of_ours(trader: Trader, path: str, names: list[str]) -> None:
    order = {"market": "BTCUSDT", "side": "buy", "order_type": "limit_order", "total_quantity": 0.001}
    whole = order | {"price_per_unit": trader.far()} if path == "create" else {}
    for name in names:
        for odd in ODD:
            status, body = trader.call(f"orders/{path}", **(whole | {name: odd}))
            assert status in (200, 400, 404, 422), (name, odd, body)


def test_unknown_orders(trader: Trader) -> None:
    for path in ("status", "cancel", "edit"):
        assert trader.refused(f"orders/{path}", client_order_id="no-such")[:2] == (404, "Order not found")
        assert trader.refused(f"orders/{path}", id=1)[:2] == (404, "Order not found")
        assert trader.refused(f"orders/{path}")[:2] == (422, "Invalid Request")


def test_many_at_a_time(trader: Trader) -> None:
    price = trader.far()
    made = [trader.create(order_type="limit_order", price_per_unit=price, total_quantity=0.001) for _ in range(3)]
    ids, names = [int(order["id"]) for order in made], [order["client_order_id"] for order in made]
    assert [row["id"] for row in trader.ok("orders/status_multiple", ids=ids)] == [row["id"] for row in made]
    assert len(trader.ok("orders/status_multiple", client_order_ids=[*names, "no-such"])) == 3
    assert trader.refused("orders/status_multiple", ids=list(range(11)))[0] == 422
    assert trader.refused("orders/edit", id=ids[0], price_per_unit=price)[1] == coindcx_words.NO_EDIT
    page = trader.ok("orders/active_orders", market="BTCUSDT", size=2, page=2)["orders"]
    assert [row["id"] for row in page] == [made[2]["id"]]
    trader.ok("orders/cancel_by_ids", ids=ids[:2])
    assert trader.ok("orders/active_orders_count", market="BTCUSDT")["count"] == 1
    trader.ok("orders/cancel_all", market="BTCUSDT", side="sell")
    assert trader.ok("orders/active_orders_count", market="BTCUSDT")["count"] == 1
    trader.ok("orders/cancel_all", market="BTCUSDT")
    assert trader.ok("orders/active_orders_count", market="BTCUSDT")["count"] == 0


def test_no_more_than_25_open_orders_on_a_market(trader: Trader) -> None:
    order = {"order_type": "limit_order", "price_per_unit": trader.far(), "total_quantity": 0.0002}
    for _ in range(25):
        trader.create(**order)
    said = trader.refused("orders/create", **order, market="BTCUSDT", side="buy")
    assert said[1] == "Maximum open orders limit reached for this market"


def test_too_many_calls_are_429() -> None:
    clock = LiveClock()
    served = synthetic(clock, clock.wall_ms() - 3_600_000)
    try:
        answers = [Trader(served).call("orders/cancel_all", market="BTCUSDT") for _ in range(31)]
        assert [status for status, _ in answers] == [200] * 30 + [429]
        assert answers[-1][1] == {"code": 429, "message": "Too Many Requests", "status": "error"}
        assert Trader(served).call("users/balances")[0] == 200  # every call has its own
    finally:
        served.close()
