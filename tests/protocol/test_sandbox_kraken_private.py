"""The sandbox's Kraken face over real sockets, the private side: signatures, nonces, orders, fills, money, streams."""

import base64
import contextlib
import hashlib
import hmac
import itertools
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.sync.client import ClientConnection

from core.clock import ManualClock, iso_utc
from core.sandbox_keys import API_KEY, SECRET_KEY
from sandbox.exchange.orders import InForce, Kind, NewOrder, Side
from sandbox.listings import KRAKEN_LISTINGS
from sandbox.market import Synthetic
from tests.protocol.kraken_served import BORN_MS, NOW_MS, Served, synthetic

USDT, USD = "B-BTC_USDT", "B-BTC_USD"
TXID = re.compile("O[A-Z2-7]{5}-[A-Z2-7]{5}-[A-Z2-7]{6}")
_nonces = itertools.count(1_000)


@pytest.fixture
def served() -> Iterator[Served]:
    """An account with 10,500 of each quote currency in a market whose time stands until the test moves it."""
    one = synthetic(ManualClock(NOW_MS * 1_000_000))
    yield one
    one.close()


@pytest.fixture(scope="module")
def untouched() -> Iterator[Served]:
    """The same, for tests that leave nothing behind."""
    one = synthetic(ManualClock(NOW_MS * 1_000_000))
    yield one
    one.close()


def world() -> Synthetic:
    return Synthetic(1, BORN_MS, KRAKEN_LISTINGS)


def sign(path: str, nonce: str, body: str, secret: str = SECRET_KEY) -> str:
    digest = hashlib.sha256((nonce + body).encode()).digest()
    return base64.b64encode(
        hmac.new(base64.b64decode(secret), path.encode() + digest, hashlib.sha512).digest()
    ).decode()


def raw(
    served: Served,
    name: str,
    fields: Mapping[str, Any],
    nonce: int | None = None,
    as_json: bool = False,
    method: str = "POST",
    **headers: str,
) -> Any:
    """The body of an answer to a signed request."""
    nonce = next(_nonces) if nonce is None else nonce
    values = {"nonce": str(nonce), **fields}
    body = json.dumps(values) if as_json else urlencode(values)
    path = f"/0/private/{name}"
    sent = {
        "API-Key": API_KEY,
        "API-Sign": sign(path, str(nonce), body),
        "Content-Type": "application/json" if as_json else "application/x-www-form-urlencoded",
    }
    status, _, answer = served.call(
        method, path, body.encode(), sent | {key.replace("_", "-"): v for key, v in headers.items()}
    )
    assert status == 200
    return json.loads(answer)


def call(served: Served, name: str, **fields: Any) -> Any:
    """The result of a private method."""
    served.let_limits_pass()
    body = raw(served, name, fields)
    assert body["error"] == [], body
    return body["result"]


def error(served: Served, name: str, **fields: Any) -> str:
    served.let_limits_pass()
    body = raw(served, name, fields)
    assert set(body) == {"error"} and len(body["error"]) == 1, body
    return str(body["error"][0])


def order(served: Served, side: str, kind: str, volume: str, **more: Any) -> str:
    """The txid of a new order on BTC/USDT."""
    fields = {"pair": "XBTUSDT", "type": side, "ordertype": kind, "volume": volume} | more
    return str(call(served, "AddOrder", **fields)["txid"][0])


def asked(served: Served, txid: str) -> Any:
    return call(served, "QueryOrders", txid=txid, trades="true")[txid]


def pass_time(served: Served, ms: int) -> None:
    assert isinstance(served.clock, ManualClock)
    served.clock.advance(ms * 1_000_000)


def wait_for(attempt: Callable[[], Any], seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := attempt()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)
    return answer


def last_price() -> Decimal:
    return Decimal(int(world().last(USDT, NOW_MS, 1).ticks[-1])).scaleb(-2)


def share_of_last(share: str) -> str:
    return f"{last_price() * Decimal(share):.2f}"


# --- who may ask -----------------------------------------------------------------------------------------------------


def test_forms_and_json_are_both_taken(untouched: Served) -> None:
    assert raw(untouched, "Balance", {})["result"] == raw(untouched, "Balance", {}, as_json=True)["result"]


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"API_Key": "stranger"}, "EAPI:Invalid key"),
        ({"API_Key": ""}, "EAPI:Invalid key"),
        ({"API_Sign": "bm90aGluZw=="}, "EAPI:Invalid signature"),
        ({"API_Sign": ""}, "EAPI:Invalid signature"),
    ],
)
def test_a_wrong_key_or_signature_is_refused(untouched: Served, headers: dict[str, str], said: str) -> None:
    assert raw(untouched, "Balance", {}, **headers) == {"error": [said]}


def test_the_nonce_of_a_key_only_rises(served: Served) -> None:
    first = next(_nonces)
    assert raw(served, "Balance", {}, first)["error"] == []
    for nonce in (first, first - 1, 1 << 64):
        assert raw(served, "Balance", {}, nonce) == {"error": ["EAPI:Invalid nonce"]}
    assert raw(served, "Balance", {})["error"] == []
    # A refused signature does not use its nonce up.
    later = next(_nonces)
    assert raw(served, "Balance", {}, later, API_Sign="bm90aGluZw==")["error"] == ["EAPI:Invalid signature"]
    assert raw(served, "Balance", {}, later)["error"] == []


@pytest.mark.parametrize("body", ["", "nonce=", "nonce=12a", "nonce=-5", "nonce=1.5"])
def test_without_a_nonce_nothing_is_answered(untouched: Served, body: str) -> None:
    path = "/0/private/Balance"
    nonce = body.removeprefix("nonce=") if body else ""
    _, _, answer = untouched.call(
        "POST", path, body.encode(), {"API-Key": API_KEY, "API-Sign": sign(path, nonce, body)}
    )
    assert json.loads(answer) == {"error": ["EAPI:Invalid nonce"]}


def test_only_posts_and_known_methods(untouched: Served) -> None:
    assert raw(untouched, "Balance", {}, method="GET") == {"error": ["EGeneral:Unknown method"]}
    assert raw(untouched, "Nothing", {}) == {"error": ["EGeneral:Unknown method"]}


def test_the_counter_of_the_key_falls_with_time_and_orders_do_not_count(served: Served) -> None:
    assert [raw(served, "Balance", {})["error"] for _ in range(15)] == 15 * [[]]
    assert raw(served, "Balance", {}) == {"error": ["EAPI:Rate limit exceeded"]}
    fields = {"pair": "XBTUSDT", "type": "buy", "ordertype": "market", "volume": "0.001"}
    assert raw(served, "AddOrder", fields)["error"] == []
    served.let_limits_pass(7)  # 7 x 0.33 is room for one call that counts two
    assert raw(served, "TradesHistory", {})["error"] == []
    assert raw(served, "Balance", {})["error"] == ["EAPI:Rate limit exceeded"]


# --- orders ----------------------------------------------------------------------------------------------------------


def test_a_market_order_fills_and_its_money_adds_up(served: Served) -> None:
    told = call(served, "AddOrder", pair="BTC/USDT", type="buy", ordertype="market", volume="0.1", oflags="fciq")
    assert told["descr"] == {"order": "buy 0.10000000 XBTUSDT @ market"} and TXID.fullmatch(told["txid"][0])
    pass_time(served, 60_000)  # what the book did not hold is filled from the next prints
    row = wait_for(lambda: (one := asked(served, told["txid"][0])) and one["status"] == "closed" and one)
    assert (row["vol"], row["vol_exec"], row["oflags"], row["misc"]) == ("0.10000000", "0.10000000", "fciq", "")
    assert row["descr"]["pair"] == "XBTUSDT" and row["descr"]["ordertype"] == "market" and row["descr"]["price"] == "0"
    assert row["reason"] is None and row["closetm"] >= row["opentm"] == NOW_MS / 1000
    cost, fee = Decimal(row["cost"]), Decimal(row["fee"])
    assert abs(Decimal(row["price"]) * Decimal("0.1") - cost) < Decimal("0.00001")
    assert fee == (cost * Decimal("0.0005")).quantize(Decimal("1E-8"), "ROUND_UP")
    assert Decimal(call(served, "Balance")["USDT"]) == 10_500 - cost - fee
    assert Decimal(call(served, "BalanceEx")["XXBT"]["balance"]) == Decimal("0.1")
    trades = call(served, "TradesHistory", consolidate_taker="false")["trades"]
    assert list(trades) == list(reversed(row["trades"])) and len(trades) > 1
    assert sum(Decimal(one["vol"]) for one in trades.values()) == Decimal("0.1")
    assert sum(Decimal(one["cost"]) for one in trades.values()) == cost
    assert sum(Decimal(one["fee"]) for one in trades.values()) == fee
    one = next(iter(trades.values()))
    assert (one["ordertxid"], one["pair"], one["type"], one["ordertype"]) == (
        told["txid"][0],
        "XBTUSDT",
        "buy",
        "market",
    )
    assert one["maker"] is False and isinstance(one["trade_id"], int)


def test_fills_of_a_taker_are_told_as_one_unless_asked_otherwise(served: Served) -> None:
    txid = order(served, "buy", "market", "0.1")
    pass_time(served, 30_000)
    row = wait_for(lambda: (one := asked(served, txid)) and one["status"] == "closed" and one)
    told = call(served, "TradesHistory")
    assert told["count"] == len(told["trades"]) == 1
    (key, one), *_ = told["trades"].items()
    assert key == row["trades"][0] and one["vol"] == "0.10000000" and one["cost"] == row["cost"]
    assert abs(Decimal(one["price"]) - Decimal(row["price"])) < Decimal("0.00001")
    single = call(served, "QueryTrades", txid=",".join(row["trades"]))
    assert list(single) == row["trades"]
    assert error(served, "QueryTrades", txid="TAAAAA-AAAAA-AAAAAA") == "EQuery:Unknown transaction"


def test_a_resting_order_is_found_held_for_and_cancelled_by_either_id(served: Served) -> None:
    price = share_of_last("0.9")
    for by in ("txid", "cl_ord_id"):
        txid = order(served, "buy", "limit", "0.001", price=price, cl_ord_id="sb-20261126-000001", oflags="fciq,post")
        row = call(served, "OpenOrders", cl_ord_id="sb-20261126-000001")["open"][txid]
        assert (row["status"], row["cl_ord_id"], row["oflags"]) == ("open", "sb-20261126-000001", "post,fciq")
        assert row["descr"]["order"] == f"buy 0.00100000 XBTUSDT @ limit {price}" and row["descr"]["price"] == price
        assert call(served, "OpenOrders", cl_ord_id="another")["open"] == {}
        held = Decimal(call(served, "BalanceEx")["USDT"]["hold_trade"])
        assert held == (Decimal(price) * Decimal("0.001") * Decimal("1.0005")).quantize(Decimal("1E-8"), "ROUND_UP")
        fields = {"txid": txid} if by == "txid" else {"cl_ord_id": "sb-20261126-000001"}
        assert call(served, "CancelOrder", **fields) == {"count": 1}
        assert error(served, "CancelOrder", **fields) == "EOrder:Unknown order"
        assert asked(served, txid)["status"] == "canceled" and asked(served, txid)["reason"] == "User requested"
        assert Decimal(call(served, "BalanceEx")["USDT"]["hold_trade"]) == 0
    closed = call(served, "ClosedOrders", cl_ord_id="sb-20261126-000001")
    assert closed["count"] == 2 and next(iter(closed["closed"])) == txid  # the newest first


def test_a_client_id_is_unique_among_open_orders_alone(served: Served) -> None:
    price = share_of_last("0.9")
    order(served, "buy", "limit", "0.001", price=price, cl_ord_id="one")
    again = {"pair": "XBTUSDT", "type": "buy", "ordertype": "limit", "volume": "0.001", "price": price}
    assert error(served, "AddOrder", **again, cl_ord_id="one") == "EOrder:Duplicate cl_ord_id"
    call(served, "CancelOrder", cl_ord_id="one")
    assert call(served, "AddOrder", **again, cl_ord_id="one")["txid"]


@pytest.mark.parametrize(
    ("client_id", "good"),
    [
        ("sb-20261126-000001", True),
        ("two words", True),
        ("6d1b345e-2821-40e2-ad83-4ecb18a06876", True),
        ("6d1b345e282140e2ad834ecb18a06876", True),
        ("sb-20261126-0000001", False),
        ("6d1b345e-2821-40e2-ad83-4ecb18a0687", False),
        ("schön", False),
    ],
)
def test_client_ids_are_uuids_or_at_most_18_characters(served: Served, client_id: str, good: bool) -> None:
    fields = {"pair": "XBTUSDT", "type": "buy", "ordertype": "limit", "volume": "0.001", "price": share_of_last("0.9")}
    body = raw(served, "AddOrder", fields | {"cl_ord_id": client_id})
    assert body["error"] == ([] if good else ["EGeneral:Invalid arguments:cl_ord_id"])


def test_orders_of_a_userref_are_found_and_cancelled_together(served: Served) -> None:
    price = share_of_last("0.9")
    first, second = (order(served, "buy", "limit", "0.001", price=price, userref="7") for _ in range(2))
    other = order(served, "buy", "limit", "0.001", price=price, userref="-8")
    assert list(call(served, "OpenOrders", userref="7")["open"]) == [second, first]
    assert asked(served, other)["userref"] == -8
    assert call(served, "CancelOrder", txid="7") == {"count": 2}
    for unknown in ("7", "OAAAAA-AAAAA-AAAAAA", "nonsense"):
        assert error(served, "CancelOrder", txid=unknown) == "EOrder:Unknown order"
    assert error(served, "CancelOrder") == "EGeneral:Invalid arguments:txid"
    assert call(served, "CancelAll") == {"count": 1} and call(served, "CancelAll") == {"count": 0}


REFUSALS = {
    "pair": ({"pair": "NOPE"}, "EQuery:Unknown asset pair"),
    "side": ({"type": "hold"}, "EGeneral:Invalid arguments:type"),
    "order type": ({"ordertype": "iceberg"}, "EGeneral:Invalid arguments:ordertype"),
    "volume of words": ({"volume": "much"}, "EGeneral:Invalid arguments:volume"),
    "volume that is no number": ({"volume": "NaN"}, "EGeneral:Invalid arguments:volume"),
    "no volume": ({"volume": ""}, "EGeneral:Invalid arguments:volume"),
    "volume finer than a lot": ({"volume": "0.000501"}, "EGeneral:Invalid arguments:volume"),
    "volume below the minimum": ({"volume": "0.00004"}, "EOrder:Order minimum not met"),
    "volume of zero": ({"volume": "0"}, "EOrder:Order minimum not met"),
    "cost below the minimum": ({"volume": "0.00005", "price": "1000"}, "EOrder:Cost minimum not met"),
    "no price": ({"price": ""}, "EGeneral:Invalid arguments:price"),
    "price finer than a tick": (
        {"price": "60000.123"},
        "EOrder:Invalid price:XBTUSDT price can only be specified up to 2 decimals.",
    ),
    "price below zero": ({"price": "-5"}, "EOrder:Invalid price"),
    "more than there is": ({"volume": "5"}, "EOrder:Insufficient funds"),
    "selling what is not there": ({"type": "sell"}, "EOrder:Insufficient funds"),
    "unknown flag": ({"oflags": "fast"}, "EGeneral:Invalid arguments:oflags"),
    "two fee flags": ({"oflags": "fciq,fcib"}, "EGeneral:Invalid arguments:oflags"),
    "volume in quote of a limit order": ({"oflags": "viqc"}, "EGeneral:Invalid arguments:oflags"),
    "market order post-only": ({"ordertype": "market", "oflags": "post"}, "EGeneral:Invalid arguments:oflags"),
    "post-only at once": ({"oflags": "post", "timeinforce": "IOC"}, "EGeneral:Invalid arguments:timeinforce"),
    "fill or kill": ({"timeinforce": "FOK"}, "EGeneral:Invalid arguments:timeinforce"),
    "good till no time": ({"timeinforce": "GTD"}, "EGeneral:Invalid arguments:expiretm"),
    "both ids": ({"cl_ord_id": "a", "userref": "5"}, "EGeneral:Invalid arguments:cl_ord_id"),
    "userref of words": ({"userref": "five"}, "EGeneral:Invalid arguments:userref"),
    "deadline that is no time": ({"deadline": "soon"}, "EGeneral:Invalid arguments:deadline"),
    "deadline too far": ({"deadline": iso_utc(NOW_MS + 61_000)}, "EGeneral:Invalid arguments:deadline"),
    "deadline over": ({"deadline": iso_utc(NOW_MS - 1)}, "EService:Deadline elapsed"),
    "leverage": ({"leverage": "2:1"}, "EGeneral:Invalid arguments:leverage"),
    "would take": ({"price": "90000", "oflags": "post", "volume": "0.001"}, "EOrder:Post only order"),
    "stop on the wrong side": (
        {"ordertype": "stop-loss", "type": "buy", "price": "1000"},
        "EOrder:Invalid price",
    ),
}


@pytest.mark.parametrize(("changes", "said"), REFUSALS.values(), ids=REFUSALS)
def test_refused_orders(untouched: Served, changes: dict[str, str], said: str) -> None:
    good = {"pair": "XBTUSDT", "type": "buy", "ordertype": "limit", "volume": "0.0005", "price": "60000.5"}
    assert error(untouched, "AddOrder", **(good | changes)) == said
    assert call(untouched, "OpenOrders")["open"] == {}


def test_validate_checks_and_does_not_trade(served: Served) -> None:
    fields = {"pair": "XBTUSDT", "type": "buy", "ordertype": "limit", "volume": "0.0005", "price": "60000.5"}
    told = call(served, "AddOrder", **fields, validate="true")
    assert told == {"descr": {"order": "buy 0.00050000 XBTUSDT @ limit 60000.50"}}
    assert (
        error(served, "AddOrder", **(fields | {"volume": "0.00001"}), validate="true") == "EOrder:Order minimum not met"
    )
    assert call(served, "OpenOrders")["open"] == {} and call(served, "ClosedOrders")["count"] == 0


def test_a_deadline_ahead_is_no_hindrance(served: Served) -> None:
    deadline = iso_utc(NOW_MS + 5_000)
    assert order(served, "buy", "limit", "0.001", price=share_of_last("0.9"), deadline=deadline)


def test_ioc_takes_what_is_there_and_the_rest_is_cancelled(served: Served) -> None:
    vain = asked(served, order(served, "buy", "limit", "0.001", price=share_of_last("0.9"), timeinforce="IOC"))
    assert (vain["status"], vain["vol_exec"]) == ("canceled", "0.00000000") and vain["reason"]
    part = asked(served, order(served, "buy", "limit", "0.1", price=share_of_last("1.000015"), timeinforce="IOC"))
    assert part["status"] == "canceled" and 0 < Decimal(part["vol_exec"]) < Decimal("0.1")
    assert (
        asked(served, order(served, "buy", "limit", "0.001", price=share_of_last("1.01"), timeinforce="IOC"))["status"]
        == "closed"
    )


def test_an_order_with_an_end_expires(served: Served) -> None:
    txid = order(served, "buy", "limit", "0.001", price=share_of_last("0.9"), timeinforce="GTD", expiretm="+30")
    assert asked(served, txid)["expiretm"] == pytest.approx((NOW_MS + 30_000) / 1000)
    pass_time(served, 31_000)
    assert wait_for(lambda: asked(served, txid)["status"] == "expired")


def test_a_maker_is_filled_at_its_price_when_the_market_comes_to_it(served: Served) -> None:
    ahead = world().span(USDT, NOW_MS + 1, NOW_MS + 120_000)
    low = Decimal(int(ahead.ticks.min())).scaleb(-2)
    txid = order(served, "buy", "limit", "0.0001", price=f"{low:.2f}", oflags="fciq,post")
    pass_time(served, 120_000)
    row = wait_for(lambda: (one := asked(served, txid)) and one["status"] == "closed" and one)
    (one,) = call(served, "TradesHistory")["trades"].values()
    assert one["maker"] is True and Decimal(one["price"]) == low == Decimal(row["price"])
    assert one["time"] == row["closetm"]


def test_a_stop_loss_wakes_and_sells(served: Served) -> None:
    wait_for(lambda: asked(served, order(served, "buy", "market", "0.01"))["status"] == "closed")
    ahead = world().span(USDT, NOW_MS + 1, NOW_MS + 300_000)
    stop = Decimal(int(ahead.ticks.min())).scaleb(-2) + 1
    assert stop < last_price()
    txid = order(served, "sell", "stop-loss", "0.001", price=f"{stop:.2f}", oflags="fciq")
    row = asked(served, txid)
    assert row["descr"]["order"] == f"sell 0.00100000 XBTUSDT @ stop loss {stop:.2f}"
    assert (row["descr"]["ordertype"], row["descr"]["price"], row["status"]) == ("stop-loss", f"{stop:.2f}", "open")
    pass_time(served, 330_000)
    assert wait_for(lambda: asked(served, txid)["status"] == "closed")


def test_fees_are_taken_in_the_currency_that_was_asked_for(served: Served) -> None:
    order(served, "buy", "market", "0.001", oflags="fcib")
    got = Decimal(call(served, "Balance")["XXBT"])
    assert got == Decimal("0.001") - Decimal("0.0000005")
    (one,) = call(served, "TradesHistory")["trades"].values()
    assert abs(Decimal(one["fee"]) - Decimal(one["cost"]) * Decimal("0.0005")) < Decimal("0.001")  # told in quote
    assert Decimal(call(served, "Balance")["USDT"]) == 10_500 - Decimal(one["cost"])
    # A sale's fee is in base where nothing else is asked for, and then what is held does not suffice to sell it all.
    fields = {"pair": "XBTUSDT", "type": "sell", "ordertype": "market", "volume": "0.00099"}
    assert call(served, "AddOrder", **(fields | {"volume": "0.0005"}), oflags="fciq")["txid"]
    assert asked(served, call(served, "AddOrder", **(fields | {"volume": "0.0001"}))["txid"][0])["oflags"] == "fcib"


def test_a_purchase_may_name_what_it_spends(served: Served) -> None:
    row = asked(served, order(served, "buy", "market", "50", oflags="viqc,fciq"))
    assert (row["vol"], row["oflags"], row["status"]) == ("50.00000000", "viqc,fciq", "closed")
    assert Decimal("49.5") < Decimal(row["cost"]) + Decimal(row["fee"]) <= 50


def test_young_cancels_exhaust_the_engines_counter(served: Served) -> None:
    price = share_of_last("0.9")
    fields = {"pair": "XBTUSDT", "type": "buy", "ordertype": "limit", "volume": "0.001", "price": price}
    refused = 0
    for number in range(8):  # each pair of order and cancel counts 9 of 60
        body = raw(served, "AddOrder", fields | {"cl_ord_id": f"n{number}"})
        refused += body["error"] == ["EOrder:Rate limit exceeded"]
        if not body["error"]:
            raw(served, "CancelOrder", {"cl_ord_id": f"n{number}"})
    assert refused == 1
    assert raw(served, "AddOrder", fields | {"pair": "ETHUSDT", "price": "1000", "volume": "0.01"})["error"] == []


def test_pages_of_fifty_newest_first(served: Served) -> None:
    def many() -> None:
        for _ in range(60):
            new = NewOrder(
                pair=USDT,
                side=Side.BUY,
                kind=Kind.LIMIT,
                quantity=Decimal("0.0001"),
                price=Decimal("150000"),
                in_force=InForce.IOC,
            )
            served.exchange.create(API_KEY, new, NOW_MS)

    served.within(many)
    pages = [call(served, "ClosedOrders", ofs=ofs) for ofs in (0, 50, 100)]
    assert [len(page["closed"]) for page in pages] == [50, 10, 0] and pages[0]["count"] == 60
    assert "count" not in call(served, "ClosedOrders", without_count="true")
    keys = [key for page in pages for key in page["closed"]]
    assert len(set(keys)) == 60
    history = [call(served, "TradesHistory", ofs=ofs, consolidate_taker="false") for ofs in (0, 50)]
    numbers = [one["trade_id"] for page in history for one in page["trades"].values()]
    assert numbers == sorted(numbers, reverse=True) and len(numbers) == history[0]["count"] >= 60
    assert call(served, "TradesHistory", start=NOW_MS / 1000)["count"] == 0  # start is exclusive
    assert call(served, "TradesHistory", start=NOW_MS / 1000 - 1, end=NOW_MS / 1000)["count"] == 60
    assert len(call(served, "QueryOrders", txid=",".join(keys[:20]))) == 20
    assert error(served, "QueryOrders", txid=",".join(keys[:21])) == "EGeneral:Invalid arguments:txid"
    assert error(served, "QueryOrders", txid="OAAAAA-AAAAA-AAAAAA") == "EOrder:Unknown order"


def test_own_fees(untouched: Served) -> None:
    told = call(untouched, "TradeVolume", pair="XBTUSD,XBTUSDT")
    assert set(told["fees"]) == set(told["fees_maker"]) == {"XXBTZUSD", "XBTUSDT"}
    assert told["fees"]["XXBTZUSD"]["fee"] == "0.0500" and told["currency"] == "ZUSD"
    assert error(untouched, "TradeVolume", pair="NOPE") == "EQuery:Unknown asset pair"


def test_the_key_may_ask_and_trade_and_nothing_else(untouched: Served) -> None:
    told = call(untouched, "GetApiKeyInfo")
    assert {"query-funds", "query-open-trades", "modify-trades"} <= set(told["permissions"])
    assert not [name for name in told["permissions"] if "withdraw" in name] and told["ipAllowlist"] == []


def test_the_dead_mans_switch(served: Served) -> None:
    order(served, "buy", "limit", "0.001", price=share_of_last("0.9"))
    told = call(served, "CancelAllOrdersAfter", timeout="60")
    assert told == {"currentTime": iso_utc(NOW_MS)[:19] + "Z", "triggerTime": iso_utc(NOW_MS + 60_000)[:19] + "Z"}
    call(served, "CancelAllOrdersAfter", timeout="1")
    assert wait_for(lambda: call(served, "OpenOrders")["open"] == {})
    assert call(served, "CancelAllOrdersAfter", timeout="0")["triggerTime"] == "0"


# --- private streams -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def stream(served: Served) -> Iterator[tuple[ClientConnection, str]]:
    """A socket, and a token for it."""
    told = call(served, "GetWebSocketsToken")
    assert told["expires"] == 900
    with served.socket("/v2") as socket:
        yield socket, told["token"]


def say(socket: ClientConnection, method: str, **params: Any) -> None:
    socket.send(json.dumps({"method": method, "params": params, "req_id": 9}))


def heard(socket: ClientConnection, **wanted: Any) -> dict[str, Any]:
    """The next message with these fields."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        message = dict(json.loads(str(socket.recv(10)), parse_float=Decimal))
        if all(message.get(name) == value for name, value in wanted.items()):
            return message
    raise AssertionError(wanted)


def executions(socket: ClientConnection, count: int) -> list[dict[str, Any]]:
    return [heard(socket, channel="executions", type="update") for _ in range(count)]


def test_the_life_of_an_order_on_the_stream(served: Served) -> None:
    with stream(served) as (socket, token):
        say(socket, "subscribe", channel="executions", token=token, snap_orders=True, snap_trades=True)
        answer = heard(socket, method="subscribe")
        assert answer["success"] and answer["result"]["channel"] == "executions"
        assert "token" not in json.dumps(answer)
        snapshot = heard(socket, channel="executions", type="snapshot")
        assert (snapshot["data"], snapshot["sequence"]) == ([], 1)

        txid = order(served, "buy", "limit", "0.001", price=share_of_last("0.9"), cl_ord_id="life")
        first, second = executions(socket, 2)
        (whole,), (new,) = first["data"], second["data"]
        assert (first["sequence"], second["sequence"]) == (2, 3)
        assert (whole["exec_type"], whole["symbol"], whole["side"]) == ("pending_new", "BTC/USDT", "buy")
        assert whole["order_qty"] == Decimal("0.001") and whole["limit_price"] == Decimal(share_of_last("0.9"))
        assert set(new) == {"order_id", "cl_ord_id", "exec_type", "order_status", "timestamp"}  # what changed alone
        call(served, "CancelOrder", txid=txid)
        (gone,) = executions(socket, 1)[0]["data"]
        assert (gone["order_id"], gone["exec_type"], gone["reason"]) == (txid, "canceled", "User requested")
        assert "symbol" not in gone and gone["cum_qty"] == 0

        bought = order(served, "buy", "market", "0.0001")
        events = [message["data"][0] for message in executions(socket, 4)]
        assert [one["exec_type"] for one in events] == ["pending_new", "new", "trade", "filled"]
        trade, filled = events[2:]
        assert (trade["order_status"], trade["liquidity_ind"]) == ("partially_filled", "t")
        assert trade["cost"] == trade["last_qty"] * trade["last_price"] and trade["fees"][0]["asset"] == "USDT"
        assert asked(served, bought)["trades"] == [trade["exec_id"]] and filled["cum_qty"] == Decimal("0.0001")
        assert "symbol" not in filled


def test_snapshots_hold_open_orders_and_the_last_fills(served: Served) -> None:
    resting = order(served, "buy", "limit", "0.001", price=share_of_last("0.9"), cl_ord_id="rest")
    bought = order(served, "buy", "market", "0.0001")
    with stream(served) as (socket, token):
        say(socket, "subscribe", channel="executions", token=token, snap_orders=True, snap_trades=True)
        data = heard(socket, channel="executions", type="snapshot")["data"]
        assert [(one["order_id"], one["exec_type"]) for one in data] == [(resting, "new"), (bought, "trade")]
        assert data[0]["cl_ord_id"] == "rest" and data[1]["exec_id"] in asked(served, bought)["trades"]
        say(socket, "subscribe", channel="executions", token=token)
        assert heard(socket, method="subscribe")["error"] == "Already subscribed"
    with stream(served) as (socket, token):
        say(socket, "subscribe", channel="executions", token=token, snap_orders=False, snap_trades=False)
        heard(socket, method="subscribe")
        say(socket, "unsubscribe", channel="executions", token=token)
        assert heard(socket, method="unsubscribe")["success"]
        order(served, "buy", "market", "0.0001")
        with pytest.raises(TimeoutError):
            socket.recv(1.0)


def test_balances_of_the_stream_end_where_rest_is(served: Served) -> None:
    with stream(served) as (socket, token):
        say(socket, "subscribe", channel="balances", token=token, snapshot=True)
        snapshot = heard(socket, channel="balances", type="snapshot")
        totals = {one["asset"]: one["balance"] for one in snapshot["data"]}
        assert totals["USDT"] == 10_500 and snapshot["data"][0]["wallets"][0]["type"] == "spot"
        order(served, "buy", "limit", "0.001", price=share_of_last("0.9"))  # only held: no entry
        order(served, "buy", "market", "0.0001")
        update = heard(socket, channel="balances", type="update")
        assert update["sequence"] == 2
        for entry in update["data"]:
            totals[entry["asset"]] = totals.get(entry["asset"], Decimal(0)) + entry["amount"] - entry["fee"]
            assert totals[entry["asset"]] == entry["balance"]
    rest = call(served, "Balance")
    assert (totals["USDT"], totals["BTC"]) == (Decimal(rest["USDT"]), Decimal(rest["XXBT"]))


def test_orders_over_the_socket(served: Served) -> None:
    with stream(served) as (socket, token):
        wanted = {
            "order_type": "limit",
            "side": "buy",
            "order_qty": 0.001,
            "symbol": "BTC/USDT",
            "limit_price": float(share_of_last("0.9")),
            "time_in_force": "gtc",
            "cl_ord_id": "sb-1",
            "post_only": True,
            "token": token,
        }
        say(socket, "add_order", **wanted)
        answer = heard(socket, method="add_order")
        assert answer["success"] and answer["req_id"] == 9 and answer["result"]["cl_ord_id"] == "sb-1"
        row = asked(served, answer["result"]["order_id"])
        assert row["status"] == "open" and row["oflags"] == "post,fciq"
        say(socket, "add_order", **(wanted | {"order_qty": 5, "cl_ord_id": "sb-2"}))
        assert heard(socket, method="add_order")["error"] == "EOrder:Insufficient funds"
        say(socket, "cancel_order", cl_ord_id=["sb-1"], token=token)
        assert heard(socket, method="cancel_order")["success"]
        say(socket, "cancel_order", order_id=[answer["result"]["order_id"]], token=token)
        assert heard(socket, method="cancel_order")["error"] == "EOrder:Unknown order"
        say(socket, "add_order", **(wanted | {"token": "stolen"}))
        assert heard(socket, method="add_order")["error"] == "ESession:Invalid session"


def test_a_token_is_good_for_15_minutes_and_while_a_stream_uses_it(served: Served) -> None:
    with stream(served) as (socket, token):
        say(socket, "subscribe", channel="balances", token="nonsense")
        assert heard(socket, method="subscribe")["error"] == "ESession:Invalid session"
        say(socket, "subscribe", channel="executions", token=token, snap_orders=False)
        assert heard(socket, method="subscribe")["success"]
        served.let_limits_pass(901)
        say(socket, "subscribe", channel="balances", token=token, snapshot=False)
        assert heard(socket, method="subscribe")["success"]
    told = call(served, "GetWebSocketsToken")
    served.let_limits_pass(901)
    with served.socket("/v2") as socket:
        say(socket, "subscribe", channel="balances", token=told["token"])
        assert heard(socket, method="subscribe")["error"] == "ESession:Invalid session"
