"""Faults on demand over real sockets: each kind does what it says, to what it was asked for, and as often."""

import hashlib
import hmac
import http.client
import json
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from core.clock import LiveClock
from core.errors import MisconfiguredError
from core.sandbox_keys import API_KEY, SECRET_KEY
from sandbox import faults as kinds
from sandbox.app import World
from sandbox.clock import RealClock
from sandbox.faults import Fault, Faults, decoded, is_data, scheduled
from sandbox.listings import LISTINGS
from sandbox.market import Synthetic
from tests.protocol.sandbox_served import Served

PAIR = "B-BTC_USDT"
MARKETS = "/exchange/v1/markets"
CREATE = "/exchange/v1/orders/create"
TRADES = "/socket.io/?EIO=4&transport=websocket"
CUT = (ConnectionResetError, http.client.RemoteDisconnected, http.client.IncompleteRead)


@pytest.fixture(scope="module")
def shared() -> Iterator[Served]:
    clock = LiveClock()
    busy = (LISTINGS[0]._replace(rate=60.0), LISTINGS[1])
    market = Synthetic(1, clock.wall_ms() - 3_600_000, busy)
    made = Served(World(market, RealClock(clock), None), clock)
    yield made
    made.close()


@pytest.fixture
def served(shared: Served) -> Iterator[Served]:
    yield shared
    shared.no_faults()


def signed(served: Served, path: str, **values: Any) -> tuple[int, Any]:
    body = json.dumps({"timestamp": LiveClock().wall_ms()} | values).encode()
    signature = hmac.new(SECRET_KEY.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-AUTH-APIKEY": API_KEY, "X-AUTH-SIGNATURE": signature}
    status, _, answer = served.call("POST", f"/exchange/v1/{path}", body, headers)
    return status, json.loads(answer)


ORDER = {"market": "BTCUSDT", "side": "buy", "order_type": "market_order", "total_quantity": 0.001}


def create(served: Served, client_id: str) -> tuple[int, Any]:
    return signed(served, "orders/create", **ORDER, client_order_id=client_id)


def there(served: Served, client_id: str) -> bool:
    return signed(served, "orders/status", client_order_id=client_id)[0] == 200


# --- requests --------------------------------------------------------------------------------------------------------


def test_a_dropped_reply_comes_after_the_order_was_accepted(served: Served) -> None:
    number = served.fault(kinds.DROPPED_REPLY, path=CREATE, times=1)
    with pytest.raises(CUT):
        create(served, "dropped")
    assert there(served, "dropped") and served.struck(number) == 1
    assert create(served, "dropped-2")[0] == 200  # once was asked for


def test_a_lost_request_did_nothing(served: Served) -> None:
    served.fault(kinds.LOST_REQUEST, path=CREATE, times=1)
    with pytest.raises(CUT):
        create(served, "lost")
    assert not there(served, "lost")


def test_a_cut_reply_has_its_head_and_half_its_body(served: Served) -> None:
    served.fault(kinds.CUT_REPLY, path=CREATE, times=1)
    with pytest.raises(http.client.IncompleteRead) as caught:
        create(served, "half")
    assert caught.value.partial.startswith(b'{"orders":[') and caught.value.expected
    assert there(served, "half")


def test_latency_and_a_slow_reply_take_their_time_on_either_side_of_the_deed(served: Served) -> None:
    clock = LiveClock()
    for kind, name in ((kinds.LATENCY, "late"), (kinds.SLOW_REPLY, "slow")):
        served.fault(kind, path=CREATE, ms=600, times=1)
        before_ms = clock.wall_ms()
        assert create(served, name)[0] == 200
        made_ms = clock.wall_ms()
        assert made_ms - before_ms >= 600
        fill = signed(served, "orders/trade_history", sort="desc", limit=1)[1][0]
        # The deed itself: at once before a slow reply, after the wait with latency.
        if kind == kinds.LATENCY:
            assert fill["timestamp"] - before_ms >= 600
        else:
            assert made_ms - fill["timestamp"] >= 600


@pytest.mark.parametrize("status", [429, 418, 500, 502, 503, 504])
def test_a_status_in_the_venues_words_in_place_of_the_deed(served: Served, status: int) -> None:
    served.fault(kinds.STATUS, path=CREATE, status=status, times=1, retry_after_s=7)
    answered, headers, body = served.call("POST", CREATE, b"{}")
    assert (answered, headers["retry-after"]) == (status, "7")
    assert json.loads(body)["code"] == status and headers["content-type"] == "application/json"
    served.fault(kinds.STATUS, path=CREATE, status=status, times=1)
    assert create(served, f"refused-{status}")[0] == status and not there(served, f"refused-{status}")


def test_a_status_after_the_deed_and_with_a_body_of_ones_own(served: Served) -> None:
    served.fault(kinds.STATUS, path=CREATE, status=503, acted=True, times=1, body='{"code":1}')
    assert create(served, "acted") == (503, {"code": 1}) and there(served, "acted")


def test_a_page_of_html(served: Served) -> None:
    served.fault(kinds.HTML, path=MARKETS, status=403, times=1)
    status, headers, body = served.call("GET", MARKETS)
    assert (status, headers["content-type"]) == (403, "text/html") and body.startswith(b"<!DOCTYPE html>")


def test_only_the_path_and_method_that_were_asked_for_are_struck(served: Served) -> None:
    served.fault(kinds.STATUS, path="/exchange/v1/orders/*", method="POST", status=500)
    assert served.call("GET", MARKETS)[0] == 200 and create(served, "p")[0] == 500
    assert signed(served, "users/balances")[0] == 200
    assert served.call("GET", CREATE)[0] == 404


def test_after_every_and_times(served: Served) -> None:
    served.fault(kinds.STATUS, path=MARKETS, status=500, after=2, every=3, times=2)
    assert [served.call("GET", MARKETS)[0] == 500 for _ in range(12)] == [
        False, False, True, False, False, True, False, False, False, False, False, False,
    ]  # fmt: skip


def test_the_clock_skew_is_in_the_date_and_in_what_is_believed(served: Served) -> None:
    served.fault(kinds.CLOCK_SKEW, ms=7_200_000)
    _, headers, _ = served.call("GET", MARKETS)
    ahead = parsedate_to_datetime(headers["date"]).timestamp() - LiveClock().wall_ms() / 1000
    assert 7_190 < ahead < 7_210
    assert signed(served, "users/balances")[0] == 401
    assert signed(served, "users/balances", timestamp=LiveClock().wall_ms() + 7_200_000)[0] == 200
    served.no_faults()
    assert signed(served, "users/balances")[0] == 200


# --- orders ----------------------------------------------------------------------------------------------------------


def test_a_late_rejection(served: Served) -> None:
    served.fault(kinds.LATE_REJECTION, ms=50, times=1)
    assert create(served, "late-no")[0] == 200
    until_ms = LiveClock().wall_ms() + 10_000
    while (found := signed(served, "orders/status", client_order_id="late-no")[1])["status"] == "open":
        assert LiveClock().wall_ms() < until_ms
    assert found["status"] == "rejected" and found["remaining_quantity"] == found["total_quantity"]


def test_partial_fills_fees_in_base_and_changed_lot_rules(served: Served) -> None:
    served.fault(kinds.PARTIAL_FILLS, share=0.001)
    assert signed(served, "orders/create", **(ORDER | {"total_quantity": 0.1}), client_order_id="bits")[0] == 200
    row = signed(served, "orders/status", client_order_id="bits")[1]
    assert row["status"] in ("open", "partially_filled") and row["remaining_quantity"] > 0.05
    assert signed(served, "orders/cancel", client_order_id="bits")[0] == 200
    served.no_faults()

    served.fault(kinds.FEE_IN_BASE)
    before = _base(served)
    create(served, "base-fee")
    until_ms = LiveClock().wall_ms() + 10_000
    while (row := signed(served, "orders/status", client_order_id="base-fee")[1])["status"] != "filled":
        assert LiveClock().wall_ms() < until_ms
    assert row["fee_amount"] == pytest.approx(0.001 * 0.0005) and _base(served) - before == pytest.approx(0.0009995)
    served.no_faults()

    served.fault(kinds.LOT_RULES, pair=PAIR, step="0.01", min_quantity="0.02")
    listed = json.loads(served.call("GET", "/exchange/v1/markets_details")[2])[0]
    assert (listed["step"], listed["min_quantity"]) == (0.01, 0.02)
    assert create(served, "old-lots")[1]["errorCode"] == "OMS-VF-0006"
    served.no_faults()
    assert create(served, "old-lots-again")[0] == 200


def _base(served: Served) -> float:
    return float(next((row["balance"] for row in signed(served, "users/balances")[1] if row["currency"] == "BTC"), 0))


def test_a_query_that_lags_behind_the_engine(served: Served) -> None:
    number = served.fault(kinds.QUERY_LAG, ms=60_000)
    assert create(served, "lagging")[0] == 200
    assert not there(served, "lagging")
    assert signed(served, "orders/cancel", client_order_id="lagging")[0] == 404
    assert create(served, "lagging")[1]["message"] == "Client order id already exists"  # the engine knows
    assert served.call("DELETE", f"/sandbox/faults/{number}")[0] == 200
    assert there(served, "lagging")


def test_a_halted_market_is_listed_so_and_takes_no_orders(served: Served) -> None:
    served.fault(kinds.HALT, pair=PAIR)
    listed = json.loads(served.call("GET", "/exchange/v1/markets_details")[2])
    assert [row["status"] for row in listed[:2]] == ["inactive", "active"]
    assert create(served, "halted") == (422, {"code": 422, "message": "Market is not active", "status": "error"})
    other = ORDER | {"market": "ETHUSDT", "total_quantity": 0.01}
    assert signed(served, "orders/create", **other, client_order_id="eth")[0] == 200


# --- the endpoint, the schedule, chance -----------------------------------------------------------------------------


def test_the_endpoint_tells_what_is_set_and_takes_it_away(served: Served) -> None:
    first = served.fault(kinds.STATUS, path=MARKETS, times=1)
    second = served.fault(kinds.SILENT, at_s=3_600)
    served.call("GET", MARKETS)
    rows = json.loads(served.call("GET", "/sandbox/faults")[2])
    assert [(row["id"], row["seen"], row["struck"], row["active"]) for row in rows] == [
        (first, 1, 1, True),
        (second, 0, 0, False),
    ]
    assert rows[0]["fault"]["kind"] == "status"
    assert served.call("DELETE", f"/sandbox/faults/{first}")[0] == 200
    assert served.call("DELETE", f"/sandbox/faults/{first}")[0] == 404
    assert served.call("DELETE", "/sandbox/faults")[0] == 200
    assert json.loads(served.call("GET", "/sandbox/faults")[2]) == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "truncated"),
        (b"[]x", "trailing"),
        (b'{"kind":"earthquake"}', "there are latency"),
        (b'{"kind":"status","statu":500}', "statu"),
        (b'{"kind":"status","status":99}', "200 to 599"),
        (b'{"kind":"latency","ms":-1}', "ms"),
        (b'{"kind":"latency","ms":"x"}', "ms"),
        (b'{"kind":"silent","every":0}', "every"),
        (b'{"kind":"silent","chance":2}', "chance"),
        (b'{"kind":"silent","for_s":0}', "for_s"),
        (b'{"kind":"silent","every_s":1}', "disconnect"),
        (b'{"kind":"lot_rules"}', "pair"),
        (b'{"kind":"lot_rules","pair":"B-BTC_USDT","step":"-1"}', "decimal text"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_with_its_reason(served: Served, body: bytes, said: str) -> None:
    status, _, answer = served.call("POST", "/sandbox/faults", body)
    assert status == 400 and said in json.loads(answer)["error"]


def test_a_web_page_may_not(served: Served) -> None:
    headers = {"Origin": "http://evil.example"}
    for method, path in (("POST", "faults"), ("GET", "faults"), ("DELETE", "faults"), ("POST", "deposits")):
        assert served.call(method, f"/sandbox/{path}", b"", headers)[0] == 400


def test_deposits(served: Served) -> None:
    before = _base(served)
    served.deposit("BTC", "1.5")
    assert _base(served) - before == pytest.approx(1.5)
    served.deposit("BTC", "-1.5")
    for body in (b"{}", b'{"asset":"BTC","amount":"-1000"}', b'{"asset":"BTC","amount":"1","account":"x"}'):
        assert served.call("POST", "/sandbox/deposits", body)[0] == 400


def test_a_schedule_is_read_from_the_books_folder_and_keeps_its_times(tmp_path: Path) -> None:
    assert scheduled(tmp_path) == []
    (tmp_path / "faults.json").write_text('[{"kind":"status","status":500,"at_s":10,"for_s":5},{"kind":"silent"}]')
    faults = Faults(1)
    for fault in scheduled(tmp_path):
        faults.add(fault, 100.0)
    assert [bool(faults.request("GET", "/", at)) for at in (100.0, 109.9, 110.0, 114.9, 115.0)] == [
        False, False, True, True, False,
    ]  # fmt: skip
    assert faults.turns(100.0) == [110.0, 115.0] and faults.turns(112.0) == [115.0]
    (tmp_path / "faults.json").write_text('[{"kind":"nothing"}]')
    with pytest.raises(MisconfiguredError, match=r"faults\.json"):
        scheduled(tmp_path)


def test_chance_comes_from_the_seed() -> None:
    def struck(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.add(Fault(kind=kinds.LATENCY), 0.0)  # another fault changes nothing
        faults.add(Fault(kind=kinds.STATUS, chance=0.3), 0.0)
        return [len(faults.request("GET", "/", 1.0)) == 2 for _ in range(400)]

    assert struck(1) == struck(1) != struck(2)
    assert 80 < sum(struck(1)) < 160


def test_what_is_data_and_what_is_the_protocols_own() -> None:
    assert all(map(is_data, ['42["new-trade",{}]', '{"stream":"x"}', '{"e":"trade"}', '{"channel":"trade"}']))
    own = ["2", "3", "40", '{"result":null,"id":1}', '{"method":"pong"}', '{"id":"u1","status":200}']
    assert not any(map(is_data, own))


def test_one_fault_or_a_list() -> None:
    assert [fault.kind for fault in decoded(b'{"kind":"silent"}')] == ["silent"]
    assert [fault.kind for fault in decoded(b'[{"kind":"silent"},{"kind":"halt"}]')] == ["silent", "halt"]
