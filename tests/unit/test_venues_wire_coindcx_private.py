"""CoinDCX's private wire: the golden vectors, what is asked, and what refusals call for."""

import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.coindcx_data import RULES, as_json, new_order
from venues.account import (
    IOC,
    MARKET,
    POST_ONLY,
    STOP,
)
from venues.coindcx import wire_private as wire
from venues.coindcx.wire_public import judge

KEYS = wire.Keys("the-key", "coindcx-test-secret")
HOST = "https://x"

# secret, raw body, signature
VECTORS = [
    ("YYYY", '{"timestamp":1756900000000}', "60574fbeb0b539c4c416354148c5ea2434511b51f8d9940c9786ff3435afa5eb"),
    (
        "YYYY",
        '{"side":"buy","order_type":"limit_order","market":"SNTBTC","price_per_unit":"0.03244","total_quantity":"400",'
        '"timestamp":1756900000000,"client_order_id":"tdx-01J000000000000000000000"}',
        "652d87925ff106ad5b2b1bc828d4bb688bcb53e8258f3179313057d5798cb424",
    ),
    ("YYYY", '{"channel":"coindcx"}', "c8f94ab0ff0372da5b20dfa616c8a1abd06341fa2c0ea19559decc4c8485b989"),
    (
        "coindcx-test-secret",
        '{"market":"BTCUSDT","side":"buy","order_type":"limit_order","price_per_unit":60000.5,"total_quantity":0.0005,'
        '"client_order_id":"sb-20260101-000001","timestamp":1767225600000}',
        "d62f9c78ac4a5de513ffb49b5b22d96f51ca9a2417353a3885c3670d1ca727a2",
    ),
    (
        "coindcx-test-secret",
        '{"client_order_id":"sb-20260101-000001","timestamp":1767225600000}',
        "6dfded845c1c6196852f2bc2eda1f777bef66d8f7105ddc961f0f15d90230429",
    ),
]


@pytest.mark.parametrize(("secret", "body", "signature"), VECTORS)
def test_the_golden_vectors(secret, body, signature):
    assert wire.signature(secret, body.encode()) == signature


def test_spaces_in_the_body_are_another_signature():
    secret, body, signature = VECTORS[4]
    spaced = json.dumps(json.loads(body))
    assert wire.signature(secret, spaced.encode()) == "3d580502da037d794d262008f45efacda9a7c8eb76cf5dedafebe86a72b09792"
    assert wire.signature(secret, spaced.encode()) != signature


def test_what_is_built_is_what_the_vectors_sign():
    call = wire.build_create(HOST, new_order(), KEYS, 1767225600000)
    assert call.body.decode() == VECTORS[3][1]
    assert call.headers["X-AUTH-SIGNATURE"] == VECTORS[3][2] and call.headers["X-AUTH-APIKEY"] == "the-key"
    assert call.headers["Content-Type"] == "application/json"
    assert (call.method, call.url, call.changes) == ("POST", "https://x/exchange/v1/orders/create", True)
    status = wire.build_status(HOST, wire.which("sb-20260101-000001"), KEYS, 1767225600000)
    assert status.body.decode() == VECTORS[4][1] and status.headers["X-AUTH-SIGNATURE"] == VECTORS[4][2]
    balances = wire.build_balances(HOST, wire.Keys("k", "YYYY"), 1756900000000)
    assert balances.body.decode() == VECTORS[0][1] and balances.headers["X-AUTH-SIGNATURE"] == VECTORS[0][2]


def test_the_join_of_the_accounts_channel():
    frame = wire.join_frame(wire.Keys("the-key", "YYYY"))
    assert frame == f'42["join",{{"channelName":"coindcx","authSignature":"{VECTORS[2][2]}","apiKey":"the-key"}}]'


def test_a_market_order_has_no_price():
    body = json.loads(wire.build_create(HOST, new_order(MARKET, side="sell"), KEYS, 1).body)
    assert body == {
        "market": "BTCUSDT",
        "side": "sell",
        "order_type": "market_order",
        "total_quantity": 0.0005,
        "client_order_id": "sb-20260101-000001",
        "timestamp": 1,
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [("1E-8", "0.00000001"), ("0.10", "0.1"), ("1E+3", "1000"), ("12345678.12345678", "12345678.12345678"), ("0", "0")],
)
def test_numbers_go_out_in_plain_notation(value, text):
    assert wire.encode({"n": Decimal(value)}) == f'{{"n":{text}}}'.encode()
    assert wire.encode({"n": Decimal(value)}, numbers_as_text=True) == f'{{"n":"{text}"}}'.encode()


@given(st.decimals(min_value=0, max_value=10**9, places=12))
def test_any_amount_goes_out_exactly_and_without_exponent(value):
    sent = wire.encode({"n": value}).decode()
    assert "e" not in sent.lower().replace('"n"', "") and json.loads(sent, parse_float=Decimal)["n"] == value


NO_AMOUNTS = ("0", "-0.1", "NaN", "sNaN", "Infinity", "-Infinity")
REFUSED = {
    "ioc": ({"kind": IOC}, "market and limit only"),
    "post-only": ({"kind": POST_ONLY}, "market and limit only"),
    "stop": ({"kind": STOP}, "market and limit only"),
    "a long id": ({"client_order_id": "x" * 37}, "a client id of 1 to 36"),
    "no id": ({"client_order_id": ""}, "a client id"),
    "an id with a space": ({"client_order_id": "a b"}, "a client id"),
    "no price": ({"price": None}, "without a price"),
    "no side": ({"side": "hold"}, "no order of the side 'hold'"),
    **{f"of {text}": ({"quantity": Decimal(text)}, f"quantity {text} has to be") for text in NO_AMOUNTS},
    **{f"at {text}": ({"price": Decimal(text)}, f"price {text} has to be") for text in NO_AMOUNTS},
}


@pytest.mark.parametrize(("changes", "words"), REFUSED.values(), ids=REFUSED)
def test_what_the_venue_has_not_is_not_built(changes, words):
    with pytest.raises(ValueError, match=words):
        wire.build_create(HOST, new_order(**changes), KEYS, 1)


def test_what_a_market_order_may_hold_at_most_is_no_limit_to_a_limit_order():
    narrow = msgspec.structs.replace(RULES, max_quantity=Decimal("0.0001"))
    body = json.loads(wire.build_create(HOST, new_order(rules=narrow), KEYS, 1).body)
    assert body["total_quantity"] == 0.0005


def test_orders_are_named_by_our_id_and_else_by_theirs():
    assert wire.which("sb-1", "796071145") == {"client_order_id": "sb-1"}
    assert wire.which("", "796071145") == {"id": 796071145}
    assert wire.which("", "fcaae278-2a73-11ef-a2d5-5374ccb4f829") == {"id": "fcaae278-2a73-11ef-a2d5-5374ccb4f829"}


def test_only_create_changes_and_only_exits_cancels_and_lookups_are_urgent():
    name = wire.which("a")
    calls = {
        "create": wire.build_create(HOST, new_order(), KEYS, 1),
        "exit": wire.build_create(HOST, new_order(urgent=True), KEYS, 1),
        "status": wire.build_status(HOST, name, KEYS, 1),
        "lookup": wire.build_status(HOST, name, KEYS, 1, urgent=True),
        "cancel": wire.build_cancel(HOST, name, KEYS, 1),
        "active": wire.build_open_orders(HOST, "BTCUSDT", KEYS, 1),
        "fills": wire.build_fills(HOST, "BTCUSDT", 1, 2, KEYS, 1),
        "balances": wire.build_balances(HOST, KEYS, 1),
        "clock": wire.build_clock(HOST),
    }
    assert {name for name, call in calls.items() if call.changes} == {"create", "exit"}
    assert {name for name, call in calls.items() if call.urgent} == {"exit", "cancel", "lookup"}
    assert {name for name, call in calls.items() if "active_orders" in call.costs} == {"active"}
    for call in calls.values():
        assert call.costs["requests"] == 1 and "test-secret" not in f"{call!r}{call.what}"
    assert calls["create"].what == "POST /exchange/v1/orders/create BTCUSDT buy limit sb-20260101-000001"
    assert repr(KEYS) == "Keys(***)"


# --- refusals --------------------------------------------------------------------------------------

# status, message, changes, kind
REFUSALS = {
    "401": (401, "Invalid credentials", True, "skewed"),
    "401 without a session": (401, "You are not logged in", False, "skewed"),
    "400": (400, "bad_request", True, "rejected"),
    "404 path": (404, "not_found", True, "rejected"),
    "404 order": (404, "Order not found", False, "rejected"),
    "422": (422, "Invalid Request", True, "rejected"),
    "funds": (400, "Insufficient funds", True, "rejected"),
    "429 of a create": (429, "Too Many Requests", True, "unknown"),
    "429 of a question": (429, "Too Many Requests", False, "rate_limited"),
    "418 of a create": (418, "banned", True, "unknown"),
    "418 of a question": (418, "banned", False, "rate_limited"),
    "500 of a create": (500, "oops", True, "unknown"),
    "500 of a question": (500, "oops", False, "retry"),
    "503 of a create": (503, "oops", True, "unknown"),
    "408 of a create": (408, "oops", True, "unknown"),
    "403 of the edge": (403, "blocked", True, "unknown"),
    "409 of a create": (409, "conflict", True, "unknown"),
    "no text of theirs": (404, "", True, "unknown"),
}


@pytest.mark.parametrize(("status", "message", "changes", "kind"), REFUSALS.values(), ids=REFUSALS)
def test_what_a_refusal_calls_for(status, message, changes, kind):
    body = as_json({"code": status, "message": message, "status": "error", "errorCode": "BFF-X-1"})
    failure = judge(status, {}, body, changes)
    assert failure is not None and (failure.kind, failure.code, failure.message) == (kind, "BFF-X-1", message)
    assert failure.pause_s is None


def test_a_refusal_names_the_request_for_their_support():
    failure = judge(422, {"x-request-id": "ab-12"}, as_json({"code": 422, "message": "Invalid Request"}), True)
    assert failure is not None and failure.message == "Invalid Request (request ab-12)"


def test_an_answer_is_no_refusal():
    assert judge(200, {}, b"[]", True) is None


def test_a_wrong_path_is_no_unknown_order():
    assert wire.knows_no_order("POST x: refused (404 'Order not found')")
    assert not wire.knows_no_order("POST x: refused (404 'not_found')")
