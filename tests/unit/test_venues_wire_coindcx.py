"""CoinDCX's public wire: what is asked, and what documented, live and broken answers mean."""

import json
from decimal import Decimal

import pytest

from tests.shared_data import shared_data
from venues.coindcx import wire_public as wire
from venues.errors import Retry
from venues.venue import SIDE_BUY, SIDE_SELL

ROW = {
    "coindcx_name": "DOTINR",
    "base_currency_short_name": "INR",
    "target_currency_short_name": "DOT",
    "base_currency_precision": 3,
    "target_currency_precision": 4,
    "min_quantity": 0.01,
    "max_quantity_market": 252.41052,
    "min_notional": 100,
    "step": 0.0001,
    "ecode": "I",
    "pair": "I-DOT_INR",
    "status": "active",
}


def rules(**changes):
    return wire.parse_markets(json.dumps([{**ROW, **changes}]).encode()).rows[0]


def test_rules_of_a_live_row():
    market = rules()
    assert (market.pair, market.symbol, market.base, market.quote) == ("I-DOT_INR", "DOTINR", "DOT", "INR")
    assert (market.tick, market.step, market.min_quantity) == (Decimal("0.001"), Decimal("0.0001"), Decimal("0.01"))
    assert (market.min_notional, market.max_quantity, market.active) == (Decimal(100), Decimal("252.41052"), True)


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        pytest.param({"min_quantity": 0, "step": 0.5}, "min_quantity", Decimal("0.5"), id="step counts"),
        pytest.param({"min_quantity": 0, "step": 1e-08}, "min_quantity", Decimal("0.0001"), id="precision counts"),
        pytest.param({"min_quantity": "2"}, "min_quantity", Decimal(2), id="text"),
        pytest.param({"step": 1e-8, "target_currency_precision": 8}, "step", Decimal("1E-8"), id="exponent"),
        pytest.param({"step": 1e-8}, "step", Decimal("0.0001"), id="finer than the decimals allowed"),
        pytest.param({"step": 5}, "step", Decimal(5), id="coarser than the decimals allowed"),
        pytest.param({"step": 0}, "step", Decimal("0.0001"), id="no step"),
        pytest.param({"base_currency_precision": 0}, "tick", Decimal(1), id="whole prices"),
        pytest.param({"base_currency_precision": "8"}, "tick", Decimal("1E-8"), id="precision as text"),
        pytest.param({"status": "inactive"}, "active", False, id="inactive"),
        pytest.param({"max_quantity_market": None}, "max_quantity", None, id="no most"),
        pytest.param({"new_field": [1, {}]}, "active", True, id="extra field"),
    ],
)
def test_rules_of_odd_rows(changes, field, value):
    assert getattr(rules(**changes), field) == value


def test_a_row_that_cannot_be_read_is_counted_and_the_others_stand():
    missing = {name: value for name, value in ROW.items() if name != "step"}
    absurd = {**ROW, "base_currency_precision": 400}
    nan = {**ROW, "min_notional": "nan"}
    endless = {**ROW, "step": "1e999999"}
    parsed = wire.parse_markets(json.dumps([missing, ROW, absurd, nan, endless, 5]).encode())
    assert len(parsed.rows) == 1 and parsed.bad == 5 and "step" in parsed.problem
    assert parsed.unread == ()  # its other row could be read


@pytest.mark.parametrize("name", ["step", "min_quantity", "min_notional", "max_quantity_market"])
@pytest.mark.parametrize("value", ["NaN", "sNaN", "-sNaN", "Infinity"])
def test_a_market_with_an_amount_that_is_no_number_is_left_out(name, value):
    parsed = wire.parse_markets(json.dumps([{**ROW, name: value}, {**ROW, "pair": "B-ETH_USDT"}]).encode())
    assert [rules.pair for rules in parsed.rows] == ["B-ETH_USDT"]
    assert parsed.bad == 1 and "is no number" in parsed.problem


def test_a_market_whose_row_cannot_be_read_is_named():
    broken = {**ROW, "pair": 7}
    half = {"pair": "B-Y_USDT", "coindcx_name": "YUSDT"}
    parsed = wire.parse_markets(json.dumps([broken, ROW, half, [], None]).encode())
    assert parsed.unread == ("B-Y_USDT", "YUSDT")


TRADE = {"p": 11603.88, "q": 0.023519, "s": "BTCUSDT", "T": 1565163305770, "m": False}


def test_trades_come_newest_first_and_leave_oldest_first():
    body = json.dumps([{**TRADE, "T": 3}, {**TRADE, "T": 2, "m": True}, {**TRADE, "T": 2}]).encode()
    trades = wire.parse_trades(body, "B-BTC_USDT", 9).rows
    assert [(t.time_ns, t.side) for t in trades] == [
        (2_000_000, SIDE_BUY),
        (2_000_000, SIDE_SELL),
        (3_000_000, SIDE_BUY),
    ]
    assert trades[0].pair == "B-BTC_USDT" and trades[0].received_ns == 9


def test_an_answer_that_is_oldest_first_is_left_so():
    body = json.dumps([{**TRADE, "T": 2}, {**TRADE, "T": 3}]).encode()
    assert [t.time_ns for t in wire.parse_trades(body, "P", 0).rows] == [2_000_000, 3_000_000]


def test_some_bad_rows_are_counted_all_bad_is_an_error():
    body = json.dumps([TRADE, {**TRADE, "p": None}, {"p": 1}]).encode()
    parsed = wire.parse_trades(body, "P", 0)
    assert len(parsed.rows) == 1 and parsed.bad == 2
    with pytest.raises(Retry, match="none of 1 rows"):
        wire.parse_trades(b'[{"p":1}]', "P", 0)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b'{"status":"ok"}', "expected a list of trades", id="object"),
        pytest.param(b'[{"p":1,', "broken JSON", id="half"),
        pytest.param(b"", "broken JSON", id="nothing"),
        pytest.param(b"<html>", "broken JSON", id="html"),
        pytest.param(b"[" * 100_000, "broken JSON", id="nested for ever"),
        pytest.param(b'["\xff\xfe"]', "none of 1 rows", id="no text"),
    ],
)
def test_an_answer_of_the_wrong_shape_is_one_clear_error(body, words):
    with pytest.raises(Retry, match=words):
        wire.parse_trades(body, "P", 0)


def test_an_empty_list_of_trades_is_an_answer():
    assert wire.parse_trades(b"[]", "P", 0).rows == []


def test_no_markets_at_all_are_none():
    with pytest.raises(Retry, match="empty list"):
        wire.parse_markets(b"[]")


def candle(time, **changes):
    return {"open": 2, "high": 3, "low": 1, "volume": 5, "close": 2.5, "time": time, **changes}


def test_candles_leave_oldest_first_each_start_once():
    rows = [candle(180_000), candle(120_000), candle(120_000, close=1.5), candle(60_000)]
    bars = wire.parse_candles(json.dumps(rows).encode(), "P").rows
    assert [bar.open_ns // 10**6 for bar in bars] == [60_000, 120_000, 180_000]
    assert bars[1].close == 2.5


@pytest.mark.parametrize(
    "changes",
    [
        {"high": 0.5},
        {"low": -1},
        {"close": "nan"},
        {"volume": -1},
        {"time": 0},
        {"open": 9},
        {"high": 1e308, "close": 1e308},
    ],
)
def test_impossible_candles_are_counted(changes):
    parsed = wire.parse_candles(json.dumps([candle(60_000), {**candle(120_000), **changes}]).encode(), "P")
    assert len(parsed.rows) == 1 and parsed.bad == 1


DATA = {"T": 1788457449084, "p": "81090.88000000", "q": "0.00009000", "m": 1, "s": "B-BTC_USDT", "pr": "spot"}
PAIRS = {"B-BTC_USDT": "B-BTC_USDT", "BTCUSDT": "B-BTC_USDT"}


def read(body, only=""):
    return wire.parse_event("new-trade", json.dumps(body).encode(), 7, PAIRS, only)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"event": "new-trade", "data": json.dumps(DATA)}, id="JSON inside JSON"),
        pytest.param({"event": "new-trade", "data": DATA}, id="object"),
        pytest.param(DATA, id="bare"),
        pytest.param(json.dumps(DATA), id="bare text"),
        pytest.param({"data": {**DATA, "m": True}}, id="m true"),
        pytest.param({"data": {**DATA, "m": "1"}}, id="m text"),
        pytest.param({"data": {**DATA, "T": "1788457449084"}}, id="T text"),
        pytest.param({"data": {**DATA, "T": 1788457449084.0}}, id="T float"),
        pytest.param({"data": {**DATA, "s": "BTCUSDT"}}, id="market name"),
        pytest.param({"data": {**DATA, "p": 81090.88, "q": 9e-05}}, id="numbers"),
        pytest.param({"data": {**DATA, "x": {"y": [1]}}}, id="extra"),
    ],
)
def test_every_known_form_of_a_trade_frame(body):
    trade = read(body)
    assert trade == ("B-BTC_USDT", 1788457449084_000_000, 81090.88, 9e-05, SIDE_SELL, 0, 7)


def test_a_time_with_a_fraction_keeps_its_microseconds():
    assert read({"data": {**DATA, "T": 1545896665076.92}}).time_ns == 1545896665076_920_000


def test_a_frame_without_a_market_counts_for_the_only_one():
    body = {"data": {name: value for name, value in DATA.items() if name != "s"}}
    assert read(body, only="B-BTC_USDT").pair == "B-BTC_USDT"
    with pytest.raises(wire.WireError, match="no market"):
        read(body)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"data": {**DATA, "p": None}}, id="null"),
        pytest.param({"data": {**DATA, "m": 2}}, id="m 2"),
        pytest.param({"data": {"T": 1}}, id="missing"),
        pytest.param({"data": "{half"}, id="half"),
        pytest.param({"data": 5}, id="number"),
        pytest.param({"data": "\ud800"}, id="lone surrogate"),
        pytest.param([1], id="list"),
        pytest.param(None, id="none"),
        pytest.param({"data": {**DATA, "s": "B-XRP_USDT"}}, id="not joined"),
    ],
)
def test_a_frame_that_cannot_be_read_is_one_error(body):
    with pytest.raises(wire.WireError):
        read(body)


def test_absurd_nesting_is_an_error_like_any_other():
    with pytest.raises(wire.WireError):
        wire.parse_event("new-trade", b'{"data":' + b"[" * 100_000, 0, PAIRS, "")


def test_other_events_are_of_no_interest():
    assert wire.parse_event("depth-update", b"{}", 0, PAIRS, "") is None


def test_requests_send_both_ends_and_the_most_rows():
    path, query = wire.candles_request("B-BTC_USDT", 60_000, 1, 2)
    assert path == "/market_data/candles"
    assert query == {"pair": "B-BTC_USDT", "interval": "1m", "startTime": "1", "endTime": "2", "limit": "1000"}
    assert wire.trades_request("P", 9999)[1]["limit"] == "500"


def test_the_venues_error_body():
    body = b'{"code":422,"errorCode":"BFF-SO-004","message":"Invalid pair NOPE","status":"error"}'
    assert wire.parse_error(body) == ("BFF-SO-004", "Invalid pair NOPE")
    assert wire.parse_error(b"<html>") == ("", "")


def test_the_documented_samples():
    samples = json.loads(shared_data("raw/coindcx_documented_samples.json").read_text())
    for name, value in samples.items():
        body = json.dumps(value).encode()
        if "trade_history" in name:
            assert len(wire.parse_trades(body, "P", 0).rows) == 1
        elif "candles" in name:
            assert len(wire.parse_candles(body, "P").rows) == 1
        elif "markets_details" in name:
            assert wire.parse_markets(body).rows[0].tick == Decimal("1E-8")
        elif "new-trade" in name:
            trade = wire.parse_event("new-trade", body, 0, {"XRPBTC": "B-XRP_BTC"}, "")
            assert (trade.price, trade.side) == (9.634e-05, SIDE_SELL)


@pytest.mark.parametrize(
    ("header", "left"),
    [
        ("limit=5000, remaining=4998, reset=31", {"requests": 4998.0}),
        ("remaining=0", {"requests": 0.0}),
        ("limit=5000", {}),
        ("remaining=-1", {}),
        ("", {}),
    ],
)
def test_what_is_left_of_the_limit(header, left):
    assert wire.left_of({"ratelimit": header} if header else {}) == left


@pytest.mark.parametrize("body", [b'[{"p": 1', b"[{}]", b'"busy"'], ids=["broken", "no row", "no list"])
def test_an_answer_that_cannot_be_read_is_shown(body):
    for parse in (
        wire.parse_markets,
        lambda body: wire.parse_trades(body, "B-BTC_USDT", 1),
        lambda body: wire.parse_candles(body, "B-BTC_USDT"),
    ):
        with pytest.raises(Retry) as told:
            parse(body)
        assert repr(body.decode()) in str(told.value)
