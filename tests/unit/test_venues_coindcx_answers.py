"""CoinDCX's private wire: what documented and captured answers and account events mean."""

import json
from decimal import Decimal

import pytest

from tests.coindcx_data import BALANCE, CAPTURED, FILL, ORDER, RULES, UPDATE, as_json
from venues.account import (
    CANCELLED,
    FILLED,
    MARKET,
    OPEN,
    PARTIALLY_FILLED,
    PENDING,
    REJECTED,
    Balance,
    BalanceNews,
    OrderNews,
)
from venues.coindcx import wire_private as wire
from venues.coindcx.wire_public import WireError

# --- orders ----------------------------------------------------------------------------------------


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
