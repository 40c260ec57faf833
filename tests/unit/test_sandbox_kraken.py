"""The pure parts of the sandbox's Kraken face: signatures, ids, orders from whatever fields, counters, names."""

import json
from decimal import Decimal
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandbox.exchange.orders import Fill, Kind, Order, Reason, Side, Status
from sandbox.exchange.orders import InForce as Force
from sandbox.faces.kraken_account import state_of, trades_of
from sandbox.faces.kraken_door import fields_of, signature
from sandbox.faces.kraken_ids import ALPHABET, number_of_text, text_of_number
from sandbox.faces.kraken_limits import Counter, Counters, cancel_cost
from sandbox.faces.kraken_names import asset_code, pair_of, rfc3339, rfc3339_ns, seconds_text
from sandbox.faces.kraken_orders import ERRORS, ORDER_TYPES, Refused, wanted
from sandbox.trades import Rules

SECRET = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
PAIR = pair_of(Rules("BTC", "USDT", "B", 1, 8, 1, 5.0))
NOW_MS = 1_795_356_912_345

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
    "ioc order": (
        "AddOrder",
        "1767225600001",
        "nonce=1767225600001&ordertype=limit&type=buy&volume=0.00050000&pair=XBTUSDT&price=60000.5&timeinforce=IOC"
        "&cl_ord_id=sb-20260101-000001",
        "B/ioX0eopA8K7NHFUdFigR6YSib0CYicFE5gzo9W5PyWaF2W0DHU5M9HBpPHNYQRFJi+hsGrMHKVUjkO+eQtfg==",
    ),
    "json": (
        "AddOrder",
        "1767225600003",
        '{"nonce":"1767225600003","ordertype":"limit","type":"buy","volume":"0.00050000","pair":"XBTUSDT",'
        '"price":"60000.5","oflags":"post","cl_ord_id":"sb-20260101-000001"}',
        "D135Y8Pb/0BBWuR/sWme1w8fyhVieG+QFKU3dx4z+woDpyV8yviuR17x1PAcgeMMXee9HByIalP87kU7j6e5Jw==",
    ),
}


@pytest.mark.parametrize(("method", "nonce", "body", "signed"), VECTORS.values(), ids=VECTORS)
def test_signatures_are_those_of_the_fact_sheet(method: str, nonce: str, body: str, signed: str) -> None:
    assert signature(SECRET, f"/0/private/{method}", nonce, body.encode()) == signed
    assert fields_of(body.encode(), "")["nonce"] == nonce


def test_a_secret_that_is_no_base64_signs_nothing() -> None:
    assert signature("no base64!", "/0/private/Balance", "1", b"nonce=1") == ""


@given(st.integers(1, (1 << 40) - 1), st.sampled_from("OT"))
def test_ids_can_be_read_back(number: int, letter: str) -> None:
    text = text_of_number(letter, number)
    assert len(text) == 19 and text[0] == letter and text[6] == text[12] == "-"
    assert number_of_text(letter, text) == number
    assert number_of_text("OT".replace(letter, ""), text) is None


@given(st.text(alphabet=ALPHABET + "-O", max_size=24))
@example("OAAAAA-AAAAA-AAAAAA")
@example("")
def test_what_is_no_id_of_ours_is_none(text: str) -> None:
    assert number_of_text("O", text) is None


@given(st.binary(max_size=200), st.sampled_from(["application/json", "application/x-www-form-urlencoded", ""]))
@example(b"[1]", "application/json")
@example(b'{"a":' + b"[" * 5000, "application/json")
@example(b'{"a":[1,true,null],"b":0.10}', "application/json")
def test_any_body_is_fields_or_a_refusal(body: bytes, kind: str) -> None:
    try:
        fields = fields_of(body, kind)
    except Refused as refused:
        assert str(refused) == "EGeneral:Invalid arguments"
    else:
        assert all(isinstance(value, str) for value in fields.values())


def test_forms_and_json_say_the_same() -> None:
    values = {"nonce": "5", "pair": "XBT/USDT", "volume": "0.10", "validate": True, "txid": ["A", "B"]}
    form = urlencode(values | {"validate": "true", "txid": "A,B"})
    assert fields_of(form.encode(), "") == fields_of(json.dumps(values).encode(), "application/json")


FIELDS = (
    *("type", "ordertype", "volume", "price", "price2", "timeinforce", "expiretm", "oflags", "cl_ord_id", "userref"),
    *("deadline", "leverage", "stptype", "trigger", "starttm", "validate", "close[price]"),
)
_TEXTS = st.one_of(
    st.text(alphabet="0123456789.+-eEGTZ: ", max_size=12),
    st.sampled_from(["1", "0.5", "buy", "limit", "GTC", "post", "1e400", "1e-400", "sNaN"]),
)


@given(
    st.dictionaries(
        st.sampled_from(FIELDS),
        _TEXTS,
    )
)
def test_any_fields_are_an_order_or_a_refusal(fields: dict[str, str]) -> None:
    good = {"type": "buy", "ordertype": "limit", "volume": "1", "price": "2"}
    try:
        found = wanted(good | fields, PAIR, NOW_MS)
    except Refused as refused:
        assert str(refused).startswith("EGeneral:Invalid arguments")
    else:
        assert found.new.quantity is not None or found.new.quote_quantity is not None
        assert found.text.startswith(("buy ", "sell "))


@pytest.mark.parametrize("kind", ORDER_TYPES)
def test_each_order_type_has_its_prices(kind: str) -> None:
    prices = {"price": "100.5"} | ({"price2": "99.5"} if kind.endswith("-limit") else {})
    found = wanted({"type": "sell", "ordertype": kind, "volume": "1", **prices}, PAIR, NOW_MS).new
    assert found.kind is ORDER_TYPES[kind][0] and found.trigger is ORDER_TYPES[kind][1]
    limit = {"limit": "100.5", "stop-loss-limit": "99.5", "take-profit-limit": "99.5"}.get(kind)
    assert found.price == (Decimal(limit) if limit else None)
    assert found.stop_price == (Decimal("100.5") if found.trigger else None)


DESCRIPTIONS = {
    "market": ({"ordertype": "market", "volume": "0.12345678"}, "buy 0.12345678 XBTUSDT @ market"),
    "limit": ({"ordertype": "limit", "volume": "1.25", "price": "37500"}, "buy 1.25000000 XBTUSDT @ limit 37500.0"),
    "stop": ({"ordertype": "stop-loss", "volume": "1", "price": "5"}, "buy 1.00000000 XBTUSDT @ stop loss 5.0"),
    "stop limit": (
        {"ordertype": "stop-loss-limit", "volume": "1", "price": "2677", "price2": "2577"},
        "buy 1.00000000 XBTUSDT @ stop loss 2677.0 -> limit 2577.0",
    ),
}


@pytest.mark.parametrize(("fields", "text"), DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_orders_are_described_as_the_venue_does(fields: dict[str, str], text: str) -> None:
    assert wanted({"type": "buy"} | fields, PAIR, NOW_MS).text == text


def test_every_reason_has_its_error() -> None:
    assert set(ERRORS) == set(Reason)
    assert all(text.split(":")[0] in ("EQuery", "EOrder", "EGeneral", "EService") for text in ERRORS.values())


@pytest.mark.parametrize(
    ("age_s", "cost"), [(0, 8), (4.9, 8), (5, 6), (10, 5), (15, 4), (45, 2), (90, 1), (299, 1), (300, 0)]
)
def test_young_cancels_cost_most(age_s: float, cost: int) -> None:
    assert cancel_cost(int(age_s * 1000)) == cost


def test_counters_fall_and_refuse_what_would_lift_them_over_the_most() -> None:
    counters = Counters(Counter(3, 0.5))
    assert [counters.take("a", 1, 0.0) for _ in range(4)] == [True, True, True, False]
    assert counters.take("b", 3, 0.0)
    assert not counters.take("a", 1, 1.9) and counters.take("a", 1, 2.0)
    counters.add("a", 10, 2.0)
    assert not counters.take("a", 1, 10.0) and counters.take("a", 1, 24.0)


def made(status: Status, in_force: Force = Force.GTC, expires_ms: int | None = None, updated_ms: int = 50) -> Order:
    return Order(
        number=1,
        account="a",
        pair="B-BTC_USDT",
        base="BTC",
        quote="USDT",
        price_digits=1,
        quantity_digits=8,
        side=Side.BUY,
        kind=Kind.LIMIT,
        in_force=in_force,
        post_only=False,
        trigger=None,
        client_id="",
        fee_in=None,  # type: ignore[arg-type]
        tag="",
        ticks=1,
        stop_ticks=0,
        units=1,
        quote_atoms=0,
        maker_parts=500,
        taker_parts=500,
        created_ms=1,
        updated_ms=updated_ms,
        expires_ms=expires_ms,
        status=status,
    )


STATES = {
    "resting": (made(Status.OPEN), "open"),
    "partly filled": (made(Status.PARTIAL), "open"),
    "filled": (made(Status.FILLED), "closed"),
    "cancelled": (made(Status.CANCELED), "canceled"),
    "thrown out late": (made(Status.REJECTED), "canceled"),
    "the rest of an IOC order": (made(Status.EXPIRED, Force.IOC), "canceled"),
    "out of time": (made(Status.EXPIRED, expires_ms=50), "expired"),
    "out of money before its time": (made(Status.EXPIRED, expires_ms=90), "canceled"),
}


@pytest.mark.parametrize(("order", "state"), STATES.values(), ids=STATES)
def test_states(order: Order, state: str) -> None:
    assert state_of(order) == state


def filled(number: int, order: int, maker: bool) -> Fill:
    return Fill(
        number=number,
        order=order,
        account="a",
        client_id="",
        pair="B-BTC_USDT",
        side=Side.BUY,
        price_digits=1,
        quantity_digits=8,
        ticks=10,
        units=number,
        cost=number * 10,
        fee=number,
        fee_asset="USDT",
        maker=maker,
        time_ms=number,
    )


def test_consolidated_trades_lose_nothing() -> None:
    fills = [filled(1, 7, False), filled(2, 8, False), filled(3, 7, False), filled(4, 7, True), filled(5, 7, True)]
    assert [one.first for one in trades_of(fills, False)] == fills
    merged = trades_of(fills, True)
    assert [(one.first.number, one.units, one.cost, one.fee) for one in merged] == [
        (2, 2, 20, 2),
        (1, 4, 40, 4),
        (4, 4, 40, 4),
        (5, 5, 50, 5),
    ]


def test_times_and_assets_are_written_as_the_venue_does() -> None:
    assert rfc3339(1_696_613_755_440) == "2023-10-06T17:35:55.440000Z"
    assert rfc3339_ns(1_696_436_700_000) == "2023-10-04T16:25:00.000000000Z"
    assert seconds_text(1_688_669_597_827) == "1688669597.827"
    names = ("BTC", "DOGE", "USD", "USDT", "SOL")
    assert [asset_code(name) for name in names] == ["XXBT", "XXDG", "ZUSD", "USDT", "SOL"]
