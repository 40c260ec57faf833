"""Kraken's private REST: what its answers mean, and that broken ones are one error with their text."""

import contextlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kraken_data import RULES, USD, answer, order
from venues import account
from venues.account import Balance, Fill, KeyRights
from venues.errors import Rejected
from venues.kraken import wire_answers as answers
from venues.kraken.frames import WireError

ROW = {
    "refid": None,
    "userref": 0,
    "status": "closed",
    "reason": None,
    "opentm": 1688592012.2317,
    "closetm": 1688592012.2335,
    "starttm": 0,
    "expiretm": 0,
    "descr": {"pair": "XBTUSDT", "type": "sell", "ordertype": "limit", "price": "30010.5", "price2": "0"},
    "vol": "0.25000000",
    "vol_exec": "0.25000000",
    "cost": "7500.0",
    "fee": "7.5",
    "price": "30011.0",
    "misc": "",
    "oflags": "fciq",
    "cl_ord_id": "scalp1",
    "trades": ["TJUW2K-FLX2N-AR2FLU"],
}


def read_order(**changes):
    descr = ROW["descr"] | changes.pop("descr", {})
    body = answer({"OMMDB2-FSB6Z-7W3HPO": ROW | changes | {"descr": descr}})
    return answers.parse_orders_by_id(body)[0]


def test_an_order_as_it_is_read():
    assert read_order() == account.Order(
        client_order_id="scalp1",
        venue_order_id="OMMDB2-FSB6Z-7W3HPO",
        symbol="XBTUSDT",
        side="sell",
        kind="limit",
        quantity=Decimal("0.25"),
        filled=Decimal("0.25"),
        status="filled",
        price=Decimal("30010.5"),
        average_price=Decimal(30011),
        created_ms=1688592012231,
        updated_ms=1688592012233,
    )


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        pytest.param({"status": "pending", "vol_exec": "0"}, "status", "pending", id="pending"),
        pytest.param({"status": "open", "vol_exec": "0.00000000"}, "status", "open", id="open"),
        pytest.param({"status": "open", "vol_exec": "0.1"}, "status", "partially_filled", id="partial"),
        pytest.param({"status": "canceled", "vol_exec": "0.1"}, "status", "cancelled", id="IOC rest"),
        pytest.param({"status": "expired", "vol_exec": "0"}, "status", "expired", id="expired"),
        pytest.param({"status": "closed", "vol_exec": "0.1"}, "status", "cancelled", id="over, not whole"),
        pytest.param({"reason": "User requested"}, "reason", "User requested", id="reason"),
        pytest.param({"cl_ord_id": None}, "client_order_id", "", id="not ours"),
        pytest.param({"descr": {"ordertype": "market", "price": "0"}}, "kind", "market", id="market"),
        pytest.param({"descr": {"ordertype": "market", "price": "0"}}, "price", None, id="no limit price"),
        pytest.param({"descr": {"ordertype": "stop-loss", "price": "29000"}}, "kind", "stop", id="stop"),
        pytest.param({"descr": {"ordertype": "trailing-stop"}}, "kind", "", id="none of ours"),
        pytest.param({"oflags": "fciq,post"}, "kind", "post_only", id="post only"),
        pytest.param({"timeinforce": "IOC"}, "kind", "ioc", id="ioc"),
        pytest.param({"vol_exec": "0", "price": "0.00000"}, "average_price", None, id="no average"),
        pytest.param({"vol": 0.25, "vol_exec": 0.25}, "filled", Decimal("0.25"), id="numbers"),
        pytest.param({"closetm": None}, "updated_ms", 1688592012231, id="open still"),
    ],
)
def test_orders_in_all_their_states(changes, field, value):
    assert getattr(read_order(**changes), field) == value


def test_open_and_closed_orders_are_the_same_rows():
    rows = {"A": ROW, "B": ROW | {"opentm": 1688592099, "cl_ord_id": "scalp1"}}
    assert [o.venue_order_id for o in answers.parse_open_orders(answer({"open": rows}))] == ["A", "B"]
    closed = answers.parse_closed_orders(answer({"closed": rows, "count": 2}))
    assert answers.newest(closed).venue_order_id == "B"  # a client id may come again once its order is over
    assert answers.newest([]) is None
    assert answers.parse_open_orders(answer({"open": {}})) == []


def test_an_order_that_was_taken():
    body = answer({"descr": {"order": "buy 0.0005 XBTUSDT @ limit 60000.5"}, "txid": ["OUF4EM-FRGI2-MQMWZD"]})
    taken = answers.parse_added(body, order())
    assert (taken.venue_order_id, taken.client_order_id, taken.status) == (
        "OUF4EM-FRGI2-MQMWZD",
        "scalpabcdefghijk",
        "pending",
    )
    assert (taken.quantity, taken.filled, taken.price, taken.live) == (Decimal("0.0005"), 0, Decimal("60000.5"), True)
    assert answers.parse_added(body, order(account.MARKET)).price is None
    with pytest.raises(WireError, match="no order id"):
        answers.parse_added(answer({"txid": []}), order())


@pytest.mark.parametrize(
    ("result", "count"), [({"count": 1}, 1), ({"count": 0}, 0), ({"count": 0, "pending": True}, 1), ({}, 0)], ids=str
)
def test_cancelled(result, count):
    assert answers.parse_cancelled(answer(result)) == count


FILL = {
    "ordertxid": "OQCLML-BW3P3-BUCMWZ",
    "postxid": "TKH2SE-M7IF5-CFI7LT",
    "pair": "XXBTZUSD",
    "time": 1688667796.8802,
    "type": "buy",
    "ordertype": "limit",
    "price": "30010.00000",
    "cost": "600.20000",
    "fee": "0.10000",
    "vol": "0.02000000",
    "margin": "0.00000",
    "misc": "",
    "trade_id": 40274859,
    "maker": True,
}


def test_fills_of_one_market_in_a_page_of_all():
    body = answer({"trades": {"T1": FILL, "T2": FILL | {"pair": "XETHZUSD"}}, "count": 2})
    page = answers.parse_fills(body, USD)
    assert page.size == 2
    assert page.fills == [
        Fill(
            venue_fill_id="T1",
            venue_order_id="OQCLML-BW3P3-BUCMWZ",
            client_order_id="",
            symbol="XBTUSD",
            side="buy",
            price=Decimal(30010),
            quantity=Decimal("0.02"),
            fee=Decimal("0.1"),
            fee_currency="USD",
            time_ms=1688667796880,
            maker=True,
        )
    ]


def test_balances_add_what_earns_and_leave_out_what_is_locked_away():
    body = answer(
        {
            "ZUSD": {"balance": "25435.21", "hold_trade": "8249.76"},
            "XXBT": {"balance": 1.2435, "hold_trade": 0.8423},
            "USDT": {"balance": "10", "hold_trade": "0"},
            "USDT.F": {"balance": "90.5", "hold_trade": "0"},
            "DOT.S": {"balance": "7", "hold_trade": "0"},
            "ZEUR": {"balance": "0.0000", "hold_trade": "0"},
            "XXDG": {"balance": "5", "credit": "2", "credit_used": "1", "hold_trade": "3"},
        }
    )
    assert answers.parse_balances(body) == [
        Balance("BTC", Decimal("0.4012"), Decimal("0.8423")),
        Balance("DOGE", Decimal(3), Decimal(3)),
        Balance("USD", Decimal("17185.45"), Decimal("8249.76")),
        Balance("USDT", Decimal("100.5"), Decimal(0)),
    ]


def test_own_fees_in_basis_points():
    fees = {"currency": "ZUSD", "volume": "0", "fees": {"XXBTZUSD": {"fee": "0.4000", "minfee": "0.1"}}}
    assert answers.parse_fees_bps(answer(fees | {"fees_maker": {"XXBTZUSD": {"fee": "0.25"}}}), USD) == (40, 25)
    assert answers.parse_fees_bps(answer(fees), USD) == (40, 40)
    assert answers.parse_fees_bps(answer(fees), RULES) is None
    assert answers.parse_fees_bps(answer({"currency": "ZUSD", "fees": None}), USD) is None


def test_a_token_is_read_and_shown_by_no_error():
    assert answers.parse_token(answer({"token": "1Dwc4lzSwNWOAwkM", "expires": 900})) == "1Dwc4lzSwNWOAwkM"
    for body in (
        answer({"tokens": "1Dwc4lzSwNWOAwkM"}),
        answer({"token": ["1Dwc4lzSwNWOAwkM"]}),
        answer({"token": ""}),
    ):
        with pytest.raises(WireError, match="no token in") as told:
            answers.parse_token(body)
        assert "1Dwc4" not in f"{told.value}{told.value.raw}"


def key_info(permissions, addresses=()):
    key = {"apiKeyName": "mine", "apiKey": "4/SDrDBcOOPnm3", "nonce": "1772627060997", "nonceWindow": 0}
    return answer({**key, "permissions": permissions, "ipAllowlist": list(addresses), "validUntil": "0"})


@pytest.mark.parametrize(
    ("permissions", "addresses", "rights"),
    [
        (["query-funds", "query-open-trades", "modify-trades"], [], KeyRights(True, False, False)),
        (["query-funds", "modify-trades", "withdraw-funds"], ["1.2.3.4"], KeyRights(True, True, True)),
        (["query-funds", "withdraw"], [], KeyRights(False, True, False)),
        ([], [], KeyRights(False, False, False)),
    ],
)
def test_what_a_key_may_do(permissions, addresses, rights):
    assert answers.parse_key_rights(key_info(permissions, addresses)) == rights


def test_the_key_in_what_it_may_do_is_shown_by_no_error():
    for body in (key_info("all"), key_info([])[:-9], answer({"apiKey": "4/SDrDBcOOPnm3"})):
        with pytest.raises(WireError, match="GetApiKeyInfo") as told:
            answers.parse_key_rights(body)
        assert "4/SDr" not in f"{told.value}{told.value.raw}" and told.value.__suppress_context__


@pytest.mark.parametrize(
    ("code", "there"),
    [
        ("EOrder:Duplicate client order id", True),
        ("EOrder:cl_ord_id already in use", True),
        ("EOrder:Order scalp1 exists", True),
        ("EOrder:Client order ID already exists", True),
        ("EOrder:clOrdId in use", True),
        ("EOrder:Insufficient funds", False),
        ("EGeneral:Invalid arguments:cl_ord_id", False),
    ],
)
def test_refusals_that_may_mean_that_it_is_there_already(code, there):
    assert answers.already_there(Rejected("kraken", "refused", code=code), "scalp1") is there


# --- broken answers ---

PARSERS = {
    "added": lambda body: answers.parse_added(body, order()),
    "cancelled": answers.parse_cancelled,
    "open": answers.parse_open_orders,
    "closed": answers.parse_closed_orders,
    "by id": answers.parse_orders_by_id,
    "fills": lambda body: answers.parse_fills(body, USD),
    "balances": answers.parse_balances,
    "fees": lambda body: answers.parse_fees_bps(body, USD),
    "token": answers.parse_token,
    "key": answers.parse_key_rights,
}
WITHOUT_TEXT = (answers.parse_token, answers.parse_key_rights)  # it may be a secret


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"error":[]}',
        b'{"error":["EService:Busy"]}',
        b'{"error":[],"result":5}',
        b'{"error":[],"result":{"A":',
        b'{"error":[],"result":"\xff"}',
        b'{"error":[],"result":' + b"[" * 100_000,
    ],
    ids=lambda body: body[:30].decode(errors="replace"),
)
def test_an_answer_that_cannot_be_read_is_one_error_with_its_text(parse, body):
    with pytest.raises(WireError) as told:
        parse(body)
    assert told.value.raw[:10] == body[:10].decode(errors="replace") or parse in WITHOUT_TEXT


@pytest.mark.parametrize("amount", ["nan", "inf", "-inf", "sNaN", "1e999999999", "-1"])
@pytest.mark.parametrize("field", ["vol", "vol_exec", "price"])
def test_amounts_that_are_none(field, amount):
    with pytest.raises(WireError, match="is no amount"):
        read_order(**{field: amount})


def test_a_state_that_nobody_knows_is_an_error():
    with pytest.raises(WireError, match="unknown state 'frozen'"):
        read_order(status="frozen")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["nan", "1e999", "5"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["open", "closed", "trades", "fees", "txid", "count", "token", "XXBTZUSD", "vol", "fee"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@given(value=JSON)
def test_any_json_is_read_or_refused(parse, value):
    with contextlib.suppress(WireError):
        parse(answer(value))


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@given(body=st.binary(max_size=80))
def test_any_bytes_are_refused(parse, body):
    with pytest.raises(WireError):
        parse(body)


FIELDS = st.none() | st.integers(-5, 5) | st.floats() | st.sampled_from(["", "nan", "1e999", "-1", "0.5", "x"])


@given(st.dictionaries(st.sampled_from([*ROW, "timeinforce"]), FIELDS, max_size=4))
def test_an_order_with_any_fields_changed_is_read_or_refused(changes):
    with contextlib.suppress(WireError):
        answers.parse_open_orders(answer({"open": {"A": ROW | changes}}))


@given(st.dictionaries(st.sampled_from([*FILL]), FIELDS, max_size=4))
def test_a_fill_with_any_fields_changed_is_read_or_refused(changes):
    with contextlib.suppress(WireError):
        answers.parse_fills(answer({"trades": {"A": FILL | changes}}), USD)
