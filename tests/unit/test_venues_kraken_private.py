"""Kraken's private REST: the published signatures, orders as they are sent, refusals as they are judged."""

import base64
import json
from decimal import Decimal
from urllib.parse import parse_qs, parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kraken_data import RULES, order
from venues import account
from venues.errors import Misconfigured, Rejected
from venues.kraken import wire_private as wire
from venues.kraken.judge import COUNTER, ORDERS, is_lockout, judge

NOW_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z

# --- signatures ---

SECRET = base64.b64decode("kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg==")
VECTORS = {
    "published": (
        "AddOrder",
        "1616492376594",
        "nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25",
        "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ==",
    ),
    "balance": (
        "Balance",
        "1767225600000",
        "nonce=1767225600000",
        "56C3owYeGGLlXx6jqDnkQVNf46u+pBpkugCNHZm4+LMOD2zuYyRXvoilKhqzfYyw4fl9ECFnAkcYqE/wCDQ1XQ==",
    ),
    "token": (
        "GetWebSocketsToken",
        "1767225600002",
        "nonce=1767225600002",
        "XIItQKah1RUUwOvjnYmstIFsoLyfz5DfhR30PlAtC6zr7zonEdTCYfzg+W6jrSUELiQ+hWW4jqojyQGTglZZcw==",
    ),
    "order": (
        "AddOrder",
        "1767225600001",
        "nonce=1767225600001&ordertype=limit&type=buy&volume=0.00050000&pair=XBTUSDT&price=60000.5&timeinforce=IOC"
        "&cl_ord_id=sb-20260101-000001",
        "B/ioX0eopA8K7NHFUdFigR6YSib0CYicFE5gzo9W5PyWaF2W0DHU5M9HBpPHNYQRFJi+hsGrMHKVUjkO+eQtfg==",
    ),
    "JSON": (
        "AddOrder",
        "1767225600003",
        '{"nonce":"1767225600003","ordertype":"limit","type":"buy","volume":"0.00050000","pair":"XBTUSDT",'
        '"price":"60000.5","oflags":"post","cl_ord_id":"sb-20260101-000001"}',
        "D135Y8Pb/0BBWuR/sWme1w8fyhVieG+QFKU3dx4z+woDpyV8yviuR17x1PAcgeMMXee9HByIalP87kU7j6e5Jw==",
    ),
}


@pytest.mark.parametrize(("method", "nonce", "body", "signature"), VECTORS.values(), ids=VECTORS)
def test_signature_vectors(method, nonce, body, signature):
    assert wire.sign(SECRET, f"/0/private/{method}", nonce, body.encode()) == signature


def test_a_call_is_signed_as_it_is_sent_and_shows_no_secret():
    key = wire.key_of("kraken", "the-key", base64.b64encode(SECRET).decode())
    call = wire.build_call("https://api.kraken.com", key, wire.Ask("Balance"), 1767225600000)
    assert (call.method, call.url, call.body) == (
        "POST",
        "https://api.kraken.com/0/private/Balance",
        b"nonce=1767225600000",
    )
    assert call.headers["API-Key"] == "the-key" and call.headers["API-Sign"] == VECTORS["balance"][3]
    assert call.headers["Content-Type"] == "application/x-www-form-urlencoded"
    for shown in (repr(call), repr(key), call.what):
        assert "the-key" not in shown and call.headers["API-Sign"] not in shown and "nonce" not in shown


@pytest.mark.parametrize(
    ("api_key", "secret", "words"),
    [("", "c2VjcmV0", "missing"), ("key", "", "missing"), ("key", "no base64!", "no base64"), ("key", "abc", "base64")],
)
def test_keys_that_are_none(api_key, secret, words):
    with pytest.raises(Misconfigured, match=words) as told:
        wire.key_of("kraken", api_key, secret)
    assert "no base64!" not in str(told.value).replace("is no base64", "")


# --- what is sent ---


ORDER_CASES = {
    "market": (order(account.MARKET), {"ordertype": "market", "oflags": "fciq"}),
    "limit": (order(account.LIMIT), {"ordertype": "limit", "price": "60000.5", "oflags": "fciq"}),
    "ioc": (order(), {"ordertype": "limit", "price": "60000.5", "timeinforce": "IOC", "oflags": "fciq"}),
    "post only": (order(account.POST_ONLY), {"ordertype": "limit", "price": "60000.5", "oflags": "post,fciq"}),
    "stop": (order(account.STOP, side="sell"), {"ordertype": "stop-loss", "price": "59000", "oflags": "fciq"}),
    "without exponents": (
        order(account.LIMIT, quantity=Decimal("1E-8"), price=Decimal("1E+5")),
        {"ordertype": "limit", "volume": "0.00000001", "price": "100000", "oflags": "fciq"},
    ),
}


@pytest.mark.parametrize(("sent", "expected"), ORDER_CASES.values(), ids=ORDER_CASES)
def test_an_order_as_it_is_sent(sent, expected):
    ask = wire.build_order("kraken", sent, NOW_MS)
    always = {
        "type": sent.side,
        "volume": "0.0005",
        "pair": "XBTUSDT",
        "cl_ord_id": "scalpabcdefghijk",
        "deadline": "2026-01-01T00:00:05.000Z",
    }
    assert dict(ask.fields) == always | expected
    assert ask.method == "AddOrder" and ask.changes and ask.costs == {ORDERS: 1.0}


def test_a_venue_whose_clock_runs_faster_gets_no_deadline() -> None:
    assert "deadline" not in wire.build_order("sandbox", order(), None).fields


NO_AMOUNTS = ("0", "-0.1", "NaN", "sNaN", "Infinity", "-Infinity")


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        pytest.param(order(client_order_id="x" * 19), "1 to 18", id="long id"),
        pytest.param(order(client_order_id=""), "1 to 18", id="no id"),
        pytest.param(order(client_order_id="straße"), "ASCII", id="no ASCII"),
        pytest.param(order(client_order_id="a\nb"), "ASCII", id="a line break"),
        pytest.param(order("trailing"), "none that can be sent", id="unknown kind"),
        pytest.param(order(side="hold"), "none that can be sent", id="unknown side"),
        pytest.param(order(price=None), "needs a price", id="no price"),
        pytest.param(order(account.STOP, stop_price=None), "needs a price", id="no stop price"),
        *(pytest.param(order(quantity=Decimal(text)), f"quantity {text} has", id=f"of {text}") for text in NO_AMOUNTS),
        *(pytest.param(order(price=Decimal(text)), f"price {text} has", id=f"at {text}") for text in NO_AMOUNTS),
        pytest.param(order(account.STOP, stop_price=Decimal(-1)), "price -1 has", id="a stop at -1"),
    ],
)
def test_an_order_that_cannot_be_sent_is_refused_before(bad, words):
    with pytest.raises(Rejected, match=words):
        wire.build_order("kraken", bad, NOW_MS)


def test_what_is_asked_and_what_it_costs():
    asks = {
        "cancel": (wire.build_cancel("id1"), "CancelOrder", {"cl_ord_id": "id1"}, {}),
        "cancel by txid": (wire.build_cancel("", "OABC"), "CancelOrder", {"txid": "OABC"}, {}),
        "open": (wire.build_open_orders(), "OpenOrders", {}, {COUNTER: 1.0}),
        "one open": (wire.build_open_orders("id1"), "OpenOrders", {"cl_ord_id": "id1"}, {COUNTER: 1.0}),
        "by id": (wire.build_orders_by_id("OABC"), "QueryOrders", {"txid": "OABC"}, {COUNTER: 1.0}),
        "balances": (wire.build_balances(), "BalanceEx", {}, {COUNTER: 1.0}),
        "fees": (wire.build_fees(RULES), "TradeVolume", {"pair": "XBTUSDT"}, {COUNTER: 1.0}),
        "token": (wire.build_token(), "GetWebSocketsToken", {}, {COUNTER: 1.0}),
        "key": (wire.build_key_rights(), "GetApiKeyInfo", {}, {COUNTER: 1.0}),
        "over": (
            wire.build_closed_orders("id1"),
            "ClosedOrders",
            {"cl_ord_id": "id1", "closetime": "both", "without_count": "true"},
            {COUNTER: 2.0},
        ),
        "fills": (
            wire.build_fills(NOW_MS, 50),
            "TradesHistory",
            {"start": "1767225599", "ofs": "50", "consolidate_taker": "false"},
            {COUNTER: 2.0},
        ),
    }
    for name, (ask, method, fields, costs) in asks.items():
        assert (ask.method, dict(ask.fields), ask.costs, ask.changes) == (method, fields, costs, False), name


def test_what_is_urgent():
    asks = {
        "exit": wire.build_order("kraken", order(urgent=True), NOW_MS),
        "entry": wire.build_order("kraken", order(), NOW_MS),
        "cancel": wire.build_cancel("id1"),
        "lookup": wire.build_open_orders("id1", urgent=True),
        "lookup among those over": wire.build_closed_orders("id1", urgent=True),
        "open": wire.build_open_orders(),
        "by id": wire.build_orders_by_id("OABC"),
        "fills": wire.build_fills(NOW_MS, 0),
    }
    urgent = {"exit", "cancel", "lookup", "lookup among those over"}
    assert {name for name, ask in asks.items() if ask.urgent} == urgent
    key = wire.Key("k", SECRET)
    assert {name for name, ask in asks.items() if wire.build_call("h", key, ask, 7).urgent} == urgent


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=18))
def test_any_client_id_arrives_as_it_was(client_id):
    key = wire.Key("k", SECRET)
    call = wire.build_call("h", key, wire.build_order("kraken", order(client_order_id=client_id), NOW_MS), 7)
    assert parse_qs(call.body.decode())["cl_ord_id"] == [client_id]
    assert parse_qsl(call.body.decode())[0] == ("nonce", "7")


# --- refusals: section 6 of the fact sheet ---

ERRORS = [
    ("EAPI:Invalid key", "misconfigured", "misconfigured"),
    ("EAPI:Invalid signature", "misconfigured", "misconfigured"),
    ("EGeneral:Permission denied", "misconfigured", "misconfigured"),
    ("EAccount:Invalid permissions", "misconfigured", "misconfigured"),
    ("EAccount:Invalid permissions:XBTUSDT trading restricted for IN.", "misconfigured", "misconfigured"),
    ("ETrade:User Locked", "misconfigured", "misconfigured"),
    ("EAuth:Account temporary disabled", "misconfigured", "misconfigured"),
    ("EAPI:Invalid nonce", "skewed", "skewed"),
    ("EAPI:Rate limit exceeded", "rate_limited", "rate_limited"),
    ("EGeneral:Too many requests", "rate_limited", "rate_limited"),
    ("EService:Throttled", "rate_limited", "rate_limited"),
    ("EService: Throttled: 1767225607", "rate_limited", "rate_limited"),
    ("EGeneral:Temporary lockout", "rate_limited", "rate_limited"),
    ("EOrder:Rate limit exceeded", "rate_limited", "rate_limited"),
    ("EOrder:Domain rate limit exceeded", "rate_limited", "rate_limited"),
    ("EOrder:Orders limit exceeded", "rejected", "rejected"),
    ("EOrder:Insufficient funds", "rejected", "rejected"),
    ("EOrder:Order minimum not met", "rejected", "rejected"),
    ("EOrder:Cost minimum not met", "rejected", "rejected"),
    ("EOrder:Tick size check failed", "rejected", "rejected"),
    ("EOrder:Invalid price", "rejected", "rejected"),
    ("EGeneral:Invalid arguments", "rejected", "rejected"),
    ("EGeneral:Invalid arguments:volume", "rejected", "rejected"),
    ("EQuery:Unknown asset pair", "rejected", "rejected"),
    ("EQuery:Invalid asset pair", "rejected", "rejected"),
    ("EQuery:Unknown asset", "rejected", "rejected"),
    ("EOrder:Unknown order", "rejected", "rejected"),
    ("EOrder:Post only order", "rejected", "rejected"),
    ("EService:Market in cancel_only mode", "rejected", "rejected"),
    ("EService:Market in post_only mode", "rejected", "rejected"),
    ("EService:Market in limit_only mode", "rejected", "rejected"),
    ("EService:Deadline elapsed", "unknown", "retry"),
    ("EService:Unavailable", "unknown", "retry"),
    ("EService:Busy", "unknown", "retry"),
    ("EService:Timeout", "unknown", "retry"),
    ("EGeneral:Internal error", "unknown", "retry"),
    ("EGeneral:never seen before", "unknown", "retry"),
    ("EGeneral:Unknown method", "rejected", "rejected"),
    ("EDatabase:Internal error", "unknown", "retry"),
    ("ENew:never seen before", "unknown", "retry"),
]


def refused(text, changes=True, **headers):
    body = json.dumps({"error": [text]}).encode()
    return judge(200, headers, body, changes)


@pytest.mark.parametrize(("text", "changing", "asking"), ERRORS, ids=[text for text, _, _ in ERRORS])
@pytest.mark.parametrize("colon", [":", ": ", " :  "], ids=["tight", "space", "wide"])
def test_what_a_refusal_calls_for(text, changing, asking, colon):
    head, _, rest = text.partition(":")
    spaced = head + colon + rest.strip()
    assert refused(spaced, changes=True).kind == changing
    assert refused(spaced, changes=False).kind == asking
    assert refused(spaced.upper(), changes=True).kind == changing
    assert refused(spaced).code.startswith(head + ":")
    assert is_lockout(refused(spaced.upper()).code) == (text == "EGeneral:Temporary lockout")


@pytest.mark.parametrize(
    ("text", "headers", "pause_s", "limit"),
    [
        ("EAPI:Rate limit exceeded", {}, 5.0, COUNTER),
        ("EOrder:Rate limit exceeded", {}, 5.0, ORDERS),
        ("EGeneral:Too many requests", {}, 5.0, ""),
        ("EGeneral:Temporary lockout", {}, 900.0, ""),
        ("EService: Throttled: 1767225607", {"date": "Thu, 01 Jan 2026 00:00:00 GMT"}, 7.0, ""),
        ("EService:Throttled:1767225607", {"date": "Thu, 01 Jan 2026 00:00:00 GMT"}, 7.0, ""),
        ("EService: Throttled: 1767225000", {"date": "Thu, 01 Jan 2026 00:00:00 GMT"}, 1.0, ""),
        ("EService: Throttled: 1767225607", {}, 5.0, ""),
        ("EService: Throttled: soon", {"date": "Thu, 01 Jan 2026 00:00:00 GMT"}, 5.0, ""),
        ("EOrder:Insufficient funds", {}, None, ""),
    ],
)
def test_how_long_nothing_is_sent(text, headers, pause_s, limit):
    failure = refused(text, **headers)
    assert (failure.pause_s, failure.limit) == (pause_s, limit)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"error":[],"result":{}}', id="an answer"),
        pytest.param(b'{"error":["WGeneral:Deprecated"],"result":{}}', id="a warning"),
        pytest.param(b'{"result":{}}', id="no list of errors"),
        pytest.param(b'{"error":"text"}', id="errors of another shape"),
        pytest.param(b"[1]", id="a list"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff", id="no text"),
    ],
)
def test_what_is_no_refusal(body):
    assert judge(200, {}, body, True) is None


def test_the_first_error_decides_and_all_are_told():
    failure = judge(200, {}, b'{"error":["WGeneral:x","EOrder:Insufficient funds","EQuery:Unknown asset pair"]}', True)
    assert (failure.kind, failure.code) == ("rejected", "EOrder:Insufficient funds")
    assert failure.message == "EQuery:Unknown asset pair"


def test_an_error_that_leaves_an_order_open_outweighs_the_others():
    body = b'{"error":["EOrder:Insufficient funds","EService:Unavailable"]}'
    failure = judge(200, {}, body, True)
    assert (failure.kind, failure.code, failure.message) == (
        "unknown",
        "EService:Unavailable",
        "EOrder:Insufficient funds",
    )
    assert judge(200, {}, body, False).kind == "rejected"
    assert judge(200, {}, b'{"error":["EOrder:Internal error"]}', True).kind == "unknown"


@given(st.binary(max_size=200), st.booleans())
def test_the_judge_never_raises(body, changes):
    judge(200, {"date": "x"}, body, changes)


@given(st.lists(st.text(max_size=40), max_size=3), st.booleans())
def test_the_judge_has_an_opinion_on_every_error(errors, changes):
    failure = judge(500, {}, json.dumps({"error": errors}).encode(), changes)
    serious = [text for text in errors if not text.strip().startswith("W")]
    assert (failure is None) == (not serious)
