"""CoinDCX's private wire: the golden vectors, what is asked, and what documented and captured answers mean."""

import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.account import (
    CANCELLED,
    FILLED,
    IOC,
    LIMIT,
    MARKET,
    OPEN,
    PARTIALLY_FILLED,
    PENDING,
    POST_ONLY,
    REJECTED,
    STOP,
    Balance,
    BalanceNews,
    NewOrder,
    OrderNews,
)
from venues.coindcx import wire_private as wire
from venues.coindcx.wire_public import WireError, judge
from venues.venue import Rules

RULES = Rules(
    pair="B-BTC_USDT",
    symbol="BTCUSDT",
    base="BTC",
    quote="USDT",
    tick=Decimal("0.01"),
    step=Decimal("0.00001"),
    min_quantity=Decimal("0.00001"),
    min_notional=Decimal(5),
)
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


def new_order(kind=LIMIT, **changes):
    fields = {
        "rules": RULES,
        "client_order_id": "sb-20260101-000001",
        "side": "buy",
        "kind": kind,
        "quantity": Decimal("0.00050"),
        "price": Decimal("60000.50"),
    }
    return NewOrder(**fields | changes)


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


# --- orders ----------------------------------------------------------------------------------------

CAPTURED = {
    "id": "fcaae278-2a73-11ef-a2d5-5374ccb4f829",
    "client_order_id": None,
    "order_type": "market_order",
    "side": "buy",
    "status": "open",
    "fee_amount": 0.0,
    "fee": 0.0,
    "maker_fee": 0.0,
    "taker_fee": 0.0,
    "total_quantity": 0.0001,
    "remaining_quantity": 0.0001,
    "source": "web",
    "avg_price": 0.0,
    "price_per_unit": 65483.14,
    "stop_price": 0.0,
    "market": "BTCUSDT",
    "time_in_force": "good_till_cancel",
    "base_currency_name": None,
    "target_currency_name": None,
    "created_at": 1718386312000,
    "updated_at": 1718386312000,
    "trades": None,
}


def as_json(value):
    return json.dumps(value).encode()


def test_the_captured_answer_to_create():
    order = wire.parse_created(as_json({"orders": [CAPTURED]}), "sb-1").order
    assert (order.client_order_id, order.venue_order_id) == ("sb-1", "fcaae278-2a73-11ef-a2d5-5374ccb4f829")
    assert (order.symbol, order.side, order.kind, order.status) == ("BTCUSDT", "buy", MARKET, OPEN)
    assert (order.quantity, order.filled, order.price, order.average_price) == (Decimal("0.0001"), 0, None, None)
    assert order.created_ms == order.updated_ms == 1718386312000 and order.live


@pytest.mark.parametrize("wrap", [lambda row: row, lambda row: [row], lambda row: {"orders": [row]}])
def test_status_bare_in_a_list_or_wrapped(wrap):
    row = {**CAPTURED, "status": "filled", "remaining_quantity": 0.0, "avg_price": 65483.14, "client_order_id": "sb-1"}
    order = wire.parse_status(as_json(wrap(row)), "sb-1").order
    assert (order.status, order.filled, order.average_price) == (FILLED, Decimal("0.0001"), Decimal("65483.14"))
    assert not order.live


# changes to an order of 1, status, filled
STATES = {
    "init": ({"status": "init"}, PENDING, "0"),
    "open": ({"status": "open"}, OPEN, "0"),
    "open with fills": ({"status": "open", "remaining_quantity": "0.4"}, PARTIALLY_FILLED, "0.6"),
    "partially filled": ({"status": "partially_filled", "remaining_quantity": 0.25}, PARTIALLY_FILLED, "0.75"),
    "filled": ({"status": "filled", "remaining_quantity": "0.0"}, FILLED, "1"),
    "cancelled, the rest remaining": ({"status": "cancelled", "remaining_quantity": "0.9"}, CANCELLED, "0.1"),
    "cancelled, the rest moved": (
        {"status": "partially_cancelled", "remaining_quantity": 0, "cancelled_quantity": "0.9"},
        CANCELLED,
        "0.1",
    ),
    "cancelled, both told": (
        {"status": "cancelled", "remaining_quantity": "0.9", "cancelled_quantity": "0.9"},
        CANCELLED,
        "0.1",
    ),
    "cancelled after most of it, both told": (
        {"status": "cancelled", "remaining_quantity": "0.4", "cancelled_quantity": "0.4"},
        CANCELLED,
        "0.6",
    ),
    "cancelled, part remaining and part moved": (
        {"status": "cancelled", "remaining_quantity": "0.3", "cancelled_quantity": "0.2"},
        CANCELLED,
        "0.5",
    ),
    "rejected": ({"status": "rejected"}, REJECTED, "0"),
    "rejected with fills": ({"status": "rejected", "remaining_quantity": "0.5"}, CANCELLED, "0.5"),
}


@pytest.mark.parametrize(("changes", "status", "filled"), STATES.values(), ids=STATES)
def test_states_of_an_order(changes, status, filled):
    row = {**CAPTURED, "total_quantity": "1.00000000000000", "remaining_quantity": "1", **changes}
    order = wire.parse_orders(as_json(row))[0].order
    assert (order.status, order.filled) == (status, Decimal(filled))
    assert bool(order.reason) == (status in (CANCELLED, REJECTED))


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (1718386312255.3608, 1718386312255),
        ("1718386312255", 1718386312255),
        ("2024-06-14T17:31:52.255Z", 1718386312255),
        ("2024-06-14T17:31:52.255+00:00", 1718386312255),
        ("2024-06-14T17:31:52.255", 1718386312255),
        ("", 0),
        ("soon", 0),
        (None, 0),
        (-5, 0),
        (1e300, 0),
    ],
)
def test_times_in_every_form(value, ms):
    assert wire.parse_orders(as_json({**CAPTURED, "created_at": value}))[0].order.created_ms == ms


def test_rates_in_percent_are_told_where_they_are_not_0():
    assert wire.parse_orders(as_json(CAPTURED))[0].taker_pct is None
    told = wire.parse_orders(as_json({**CAPTURED, "taker_fee": 0.59, "maker_fee": "0.5"}))[0]
    assert (told.taker_pct, told.maker_pct) == (Decimal("0.59"), Decimal("0.5"))


WRONG = {
    "no order": {},
    "another state": {**CAPTURED, "status": "sleeping"},
    "another side": {**CAPTURED, "side": "long"},
    "no quantity": {name: value for name, value in CAPTURED.items() if name != "total_quantity"},
    "not a number": {**CAPTURED, "total_quantity": "NaN"},
    "endless": {**CAPTURED, "total_quantity": "Infinity"},
    "negative": {**CAPTURED, "remaining_quantity": -1},
    "beyond reckoning": {**CAPTURED, "total_quantity": "1e999999999"},
    "too fine to be true": {**CAPTURED, "total_quantity": "1e-999999999"},
    "two orders": [CAPTURED, CAPTURED],
    "none": [],
    "another order": {**CAPTURED, "client_order_id": "sb-2"},
    "success without an order": {"message": "success", "code": 200},
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_an_answer_that_cannot_be_this_order_keeps_its_raw_text(body):
    with pytest.raises(WireError) as caught:
        wire.parse_status(as_json(body), "sb-1")
    assert as_json(body).decode()[:100] in str(caught.value) and len(str(caught.value)) < 600


def test_an_order_that_was_not_taken_says_why():
    with pytest.raises(wire.NotTaken, match="Insufficient funds"):
        wire.parse_created(as_json({"orders": [{"error_message": "Insufficient funds"}]}), "sb-1")


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"orders": rows}])
def test_open_orders_wrapped_or_bare(wrap):
    rows = [
        {**CAPTURED, "id": 1, "client_order_id": "a"},
        {**CAPTURED, "id": "2", "created_at": "2026-01-01T00:00:00Z"},
    ]
    orders = [told.order for told in wire.parse_orders(as_json(wrap(rows)))]
    assert [order.venue_order_id for order in orders] == ["1", "2"]
    assert wire.parse_orders(as_json(wrap([]))) == []


@pytest.mark.parametrize(
    "body",
    [{"message": "success", "status": "success", "code": 200}, {"message": "success", "status": 200}],
)
def test_a_cancel_that_was_accepted(body):
    wire.parse_cancelled(as_json(body))


@pytest.mark.parametrize("body", [{}, {"message": "error"}, [], {"status": 200}])
def test_a_cancel_without_a_word_of_success(body):
    with pytest.raises(WireError):
        wire.parse_cancelled(as_json(body))


# --- fills and balances ----------------------------------------------------------------------------

FILL = {
    "id": 252949810,
    "order_id": "284195365",
    "side": "buy",
    "fee_amount": 2.9469615,
    "ecode": "I",
    "quantity": 4.97,
    "price": 100.5,
    "symbol": "BTCUSDT",
    "timestamp": 1780415747836,
}


def test_a_documented_fill():
    page = wire.parse_fills(as_json([FILL, {**FILL, "symbol": "ETHUSDT"}]), RULES)
    (fill,) = page.fills
    assert (len(page.ids), page.times) == (2, [FILL["timestamp"]] * 2)
    assert (fill.venue_fill_id, fill.venue_order_id, fill.side) == ("252949810", "284195365", "buy")
    assert (fill.price, fill.quantity, fill.fee) == (Decimal("100.5"), Decimal("4.97"), Decimal("2.9469615"))
    assert (fill.fee_currency, fill.time_ms, fill.symbol) == ("USDT", 1780415747836, "BTCUSDT")


def test_a_captured_fill_with_amounts_as_text_and_a_fraction_of_a_ms():
    row = {**FILL, "price": "248037.89000000000000", "quantity": "0.00100000000000", "timestamp": 1718386312255.3608}
    (fill,) = wire.parse_fills(as_json([row]), RULES).fills
    assert (fill.price, fill.quantity, fill.time_ms) == (Decimal("248037.89"), Decimal("0.001"), 1718386312255)


@pytest.mark.parametrize(
    "changes", [{"side": ""}, {"price": None}, {"timestamp": "never"}, {"fee_amount": "x"}, {"quantity": -1}]
)
def test_one_fill_that_cannot_be_read_spoils_the_answer(changes):
    with pytest.raises(WireError, match="trade_history"):
        wire.parse_fills(as_json([FILL, {**FILL, **changes}]), RULES)


def test_balances_as_numbers_and_as_text():
    rows = [
        {"currency": "BTC", "balance": 1.167, "locked_balance": 2.1},
        {"currency": "USDT", "balance": "80.0", "locked_balance": "0.0"},
        {"currency": "INR", "balance": 0, "locked_balance": "5"},
        {"currency": "DOGE", "balance": "0.0", "locked_balance": 0},
    ]
    assert wire.parse_balances(as_json(rows)) == [
        Balance("BTC", Decimal("1.167"), Decimal("2.1")),
        Balance("USDT", Decimal(80), Decimal(0)),
        Balance("INR", Decimal(0), Decimal(5)),
    ]


@pytest.mark.parametrize("row", [{}, {"currency": "BTC"}, {"balance": 1}, {"currency": "BTC", "balance": "NaN"}, 5])
def test_one_balance_that_cannot_be_read_spoils_the_answer(row):
    with pytest.raises(WireError, match="balances"):
        wire.parse_balances(as_json([{"currency": "USDT", "balance": 1, "locked_balance": 0}, row]))


# --- the account's channel -------------------------------------------------------------------------

UPDATE = {"T": 1739840633115.661, "c": None, "f": "1.46342355", "m": True, "o": "38780e28", "p": "248037.89"}
UPDATE |= {"q": "0.001", "s": "ETHINR", "t": "209292754", "x": "filled"}
ORDER = {**CAPTURED, "id": 7, "client_order_id": "sb-1", "status": "filled", "remaining_quantity": 0}
BALANCE = {"id": "x", "balance": "80.0", "locked_balance": "5", "currency_id": "y", "currency_short_name": "USDT"}


# event, rows, news
NEWS = {
    "trade": ("trade-update", UPDATE, OrderNews("", "38780e28", "ETHINR", FILLED)),
    "trade, documented without a status": (
        "trade-update",
        {"o": 5, "s": "ETHINR", "c": "sb-1", "p": "1", "q": "1", "t": 9, "T": 1},
        OrderNews("sb-1", "5", "ETHINR", PARTIALLY_FILLED),
    ),
    "order": ("order-update", ORDER, OrderNews("sb-1", "7", "BTCUSDT", FILLED)),
    "balance": ("balance-update", BALANCE, BalanceNews((Balance("USDT", Decimal(80), Decimal(5)),))),
}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda name, row: {"event": name, "data": json.dumps([row])},
        lambda name, row: {"event": name, "data": json.dumps(row)},
        lambda name, row: {"event": name, "data": [row]},
        lambda name, row: [row],
        lambda name, row: row,
    ],
    ids=["text", "text of one", "list", "bare list", "bare"],
)
@pytest.mark.parametrize(("name", "row", "news"), NEWS.values(), ids=NEWS)
def test_news_of_the_account(name, row, news, wrap):
    assert wire.parse_account_event(name, as_json(wrap(name, row))) == [news]


def test_other_events_are_no_news_and_broken_ones_are_named():
    assert wire.parse_account_event("new-trade", b"{}") is None
    for name in ("order-update", "trade-update", "balance-update"):
        with pytest.raises(WireError, match=name):
            wire.parse_account_event(name, b'{"data":"[{}]"}')


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
