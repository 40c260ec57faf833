"""What the Binance face decides: parameters, signatures, limits, which candles, what the candle stream says."""

import hashlib
import hmac
import json
import re
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.exchange.orders import InForce, Kind, Reason, Refusal, Trigger
from sandbox.faces import binance_candles
from sandbox.faces.binance_feeds import AggregatePrints, BookTickers, Klines, Prints, parsed
from sandbox.faces.binance_limits import BAN_MOST_S, PATIENCE, OrderCounts, Weights
from sandbox.faces.binance_orders import new_order, refused
from sandbox.faces.binance_params import check_params, check_signed, params_of, signed_text, signed_words
from sandbox.faces.binance_wire import Refused, flat_bar, with_flat_bars
from sandbox.trades import Rules, Trades, bars_of

SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
RULES = Rules("BTC", "USDT", "B", 2, 5, 1, 5.0)
DAY_MS = 86_400_000
NOW_MS = 1_499_827_319_559


def refusal(call: Any, *arguments: Any, **named: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        call(*arguments, **named)
    return caught.value


# --- parameters and signatures ---------------------------------------------------------------------------------------

ORDER = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC"
TAIL = "quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
WIDE = "symbol=%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96&side=BUY&type=LIMIT&timeInForce=GTC"
VECTORS = {
    "a body": ("", f"{ORDER}&{TAIL}", "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
    "a query": (f"{ORDER}&{TAIL}", "", "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
    "beyond ASCII": ("", f"{WIDE}&{TAIL}", "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3"),
    "a query and a body": (ORDER, TAIL, "0fd168b8ddb4876a0358a8d14d0c9f3da0e9b20c5d52b2a00fcf7d1c602f9a77"),
}


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("name", VECTORS)
def test_published_signatures_pass(name: str, upper: bool) -> None:
    query, body, signature = VECTORS[name]
    signed = f"&signature={signature.upper() if upper else signature}"
    query, body = (query, body + signed) if body else (query + signed, "")
    check_signed(params_of(query, body), SECRET, signed_text(query, body), NOW_MS)


def test_the_published_signature_of_the_websocket_api_passes() -> None:
    params = {
        "symbol": "BTCUSDT",
        "side": "SELL",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.01000000",
        "price": "52000.00",
        "recvWindow": "100",
        "timestamp": "1645423376532",
        "apiKey": KEY,
        "signature": "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24",
    }
    check_signed(params, SECRET, signed_words(params), 1_645_423_376_600)
    stream = {"apiKey": KEY, "timestamp": "1767225600000"}
    stream["signature"] = "f45cc23a035650d226232d7e0635fd79429b4e58d185ffe02d57b15c45eb6071"
    check_signed(stream, SECRET, signed_words(stream), 1_767_225_600_000)


TIMES = {
    "just": (0, None, 0),
    "999 ms ahead": (999, None, 0),
    "1000 ms ahead": (1000, None, -1021),
    "5000 ms old": (-5000, None, 0),
    "5001 ms old": (-5001, None, -1021),
    "old within a larger window": (-59_000, "60000", 0),
    "a window with decimals": (-6000, "6000.346", 0),
    "a window too large": (0, "60001", -1102),
    "a window that is none": (0, "x", -1100),
}


@pytest.mark.parametrize("name", TIMES)
def test_times_of_signed_calls(name: str) -> None:
    off_ms, window, code = TIMES[name]
    params = {"timestamp": str(NOW_MS + off_ms)} | ({"recvWindow": window} if window else {})
    signed = signed_words(params)
    params["signature"] = hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).hexdigest()
    if code:
        assert refusal(check_signed, params, SECRET, signed, NOW_MS).code == code
    else:
        check_signed(params, SECRET, signed, NOW_MS)
        assert refusal(check_signed, params, SECRET + "x", signed, NOW_MS).code == -1022


@pytest.mark.parametrize(
    ("query", "body", "code"),
    [
        ("a=1&a=2", "", -1101),
        ("a=", "", -1105),
        ("", "symbol=btcusdt", -1100),
        ("symbol=BTCUSDT&limit=1e3", "", -1100),
        ("symbol=BTCUSDT&limit=-1", "", -1100),
        ("symbol=BTCUSDT&more=1", "", -1104),
        ("limit=1", "", -1102),
    ],
)
def test_parameters_that_are_refused(query: str, body: str, code: int) -> None:
    def read() -> None:
        check_params(
            params_of(query, body), frozenset({"symbol", "limit", "a"}), ("symbol",) if "a=" not in query else ()
        )

    assert refusal(read).code == code


def test_the_query_counts_where_both_have_a_parameter() -> None:
    assert params_of("a=1&b=2", "b=3&c=4") == {"a": "1", "b": "2", "c": "4"}


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_is_parameters_or_refused(query: str, body: str) -> None:
    try:
        params_of(query, body)
    except Refused as error:
        assert json.loads(error.body)["code"] == error.code


# --- limits ----------------------------------------------------------------------------------------------------------


def test_beyond_the_minutes_weight_is_429_until_the_minute_ends() -> None:
    weights = Weights(100)
    assert [weights.take("a", 50, 600 + second)[:2] for second in (0, 1, 2)] == [(200, 50), (200, 100), (429, 100)]
    assert weights.take("a", 1, 619) == (429, 100, 41)
    assert weights.take("b", 50, 619).status == 200  # another address
    assert weights.take("a", 50, 660) == (200, 50, 0)
    assert weights.give_back("a", 50) == 0


def test_who_goes_on_is_banned_each_time_longer() -> None:
    weights = Weights(1)
    now_s, bans = 0, []
    for _ in range(14):
        weights.take("a", 1, now_s)
        statuses = [weights.take("a", 1, now_s).status for _ in range(PATIENCE)]
        assert set(statuses) == {429}
        ban = weights.take("a", 1, now_s)
        assert ban.status == 418
        assert weights.take("a", 1, now_s + ban.retry_s - 1)[::2] == (418, 1)
        bans.append(ban.retry_s)
        now_s += (ban.retry_s // 60 + 1) * 60
    assert bans[:3] == [120, 240, 480] and bans[-1] == BAN_MOST_S == 3 * 86_400
    assert weights.take("a", 1, now_s).status == 200


def test_a_ban_is_no_longer_for_calls_during_it() -> None:
    weights = Weights(0)
    for _ in range(PATIENCE):
        weights.take("a", 1, 0)
    assert [weights.take("a", 1, second).retry_s for second in (0, 30, 119)] == [120, 90, 1]


def test_unfilled_orders_count_in_clock_windows_and_fills_take_them_off() -> None:
    counts = OrderCounts(3, 5)
    for number, at_ms in enumerate((DAY_MS + 1_000, DAY_MS + 9_999, DAY_MS + 10_000)):
        assert not counts.check(at_ms)
        counts.placed(number, at_ms)
    assert counts.counts(DAY_MS + 10_000) == (1, 3)
    counts.filled(2)
    counts.filled(77)
    assert counts.counts(DAY_MS + 10_000) == (0, 2)
    for number in (3, 4, 5):
        counts.placed(number, DAY_MS + 11_000)
    words = "Too many new orders; current limit is"
    assert counts.check(DAY_MS + 11_000) == (f"{words} 3 orders per 10 SECOND.", 9)
    assert counts.check(DAY_MS + 20_000) == (f"{words} 5 orders per 1 DAY.", 86_380)
    assert counts.counts(2 * DAY_MS) == (0, 0)


# --- candles ---------------------------------------------------------------------------------------------------------

MONDAY_MS = 1_795_392_000_000  # 2026-11-23


@pytest.mark.parametrize(
    ("interval", "ms", "start", "following"),
    [
        ("1s", MONDAY_MS + 1_999, MONDAY_MS + 1_000, MONDAY_MS + 2_000),
        ("1h", MONDAY_MS + 3_599_999, MONDAY_MS, MONDAY_MS + 3_600_000),
        ("1w", MONDAY_MS + 7 * DAY_MS - 1, MONDAY_MS, MONDAY_MS + 7 * DAY_MS),
        ("1w", MONDAY_MS - 1, MONDAY_MS - 7 * DAY_MS, MONDAY_MS),
        ("1M", MONDAY_MS, 1_793_491_200_000, 1_796_083_200_000),  # November
        ("1M", 1_798_761_599_999, 1_796_083_200_000, 1_798_761_600_000),  # December, into the next year
    ],
)
def test_where_buckets_begin(interval: str, ms: int, start: int, following: int) -> None:
    assert binance_candles.start_of(interval, ms) == start
    assert binance_candles.after(interval, start) == following


SPANS = {
    "the newest": ((None, None), 3, [7, 8, 9]),
    "from a start on the oldest first": ((2 * 60_000, None), 3, [2, 3, 4]),
    "from a start between two": ((2 * 60_000 + 1, None), 3, [3, 4, 5]),
    "the latest up to an end": ((None, 5 * 60_000), 3, [3, 4, 5]),
    "an end between two": ((None, 5 * 60_000 + 59_999), 2, [4, 5]),
    "within": ((4 * 60_000, 5 * 60_000), 500, [4, 5]),
    "before there was a market": ((0, None), 3, [1, 2, 3]),
    "nothing in the future": ((10 * 60_000, None), 3, []),
    "an end in the future": ((8 * 60_000, 99 * 60_000), 3, [8, 9]),
    "all there is": ((None, None), 500, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
}


@pytest.mark.parametrize("name", SPANS)
def test_which_candles_are_answered(name: str) -> None:
    span, limit, minutes = SPANS[name]
    found = binance_candles.starts("1m", span, limit, 60_000, 9 * 60_000 + 30_000)
    assert [start // 60_000 for start in found] == minutes


def trades(*rows: tuple[int, int, int, bool]) -> Trades:
    columns = list(zip(*rows, strict=True))
    return Trades(*(np.array(column, np.int64) for column in columns[:3]), np.array(columns[3], np.bool_))


def test_minutes_without_trades_are_flat_at_the_close_before() -> None:
    bars = bars_of(trades((60_000, 100, 1, True), (61_000, 110, 2, False), (240_000, 90, 1, True)), 60_000)
    rows = with_flat_bars(bars, [0, 60_000, 120_000, 180_000, 240_000], None)
    assert [row[:5] for row in rows] == [
        (60_000, 100, 110, 100, 110),
        (120_000, 110, 110, 110, 110),
        (180_000, 110, 110, 110, 110),
        (240_000, 90, 90, 90, 90),
    ]
    assert rows[1][5:] == (0, 0, 0, 0, 0)
    assert with_flat_bars(bars, [0], 95) == [flat_bar(0, 95)]


# --- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("btcusdt@trade", True),
        ("btcusdt@aggTrade", True),
        ("btcusdt@kline_1m", True),
        ("btcusdt@kline_1M", True),
        ("btcusdt@bookTicker", True),
        ("BTCUSDT@trade", False),
        ("btcusdt@Trade", False),
        ("btcusdt@aggtrade", False),
        ("btcusdt@kline_7m", False),
        ("nope@trade", False),
        ("btcusdt", False),
        ("@trade", False),
        ("btcusdt@depth@100ms", False),
    ],
)
def test_names_of_streams(name: str, known: bool) -> None:
    assert (parsed(name, {"btcusdt": "B-BTC_USDT"}) is not None) is known


def test_trades_are_numbered_on() -> None:
    feed = Prints(RULES, 77)
    frames = feed.trades(trades((5, 100, 1, True), (5, 101, 2, False))) + feed.trades(trades((6, 100, 3, True)))
    assert [json.loads(frame)["t"] for frame in frames] == [77, 78, 79]
    assert json.loads(frames[1]) == {
        "e": "trade",
        "E": 5,
        "s": "BTCUSDT",
        "t": 78,
        "p": "1.01000000",
        "q": "0.00002000",
        "T": 5,
        "m": False,
        "M": True,
    }


def test_aggregates_are_numbered_on_and_name_their_trades() -> None:
    feed = AggregatePrints(RULES, 70, 77)
    rows = ((5, 100, 1, True), (5, 100, 2, True), (5, 100, 2, False), (6, 100, 3, False))
    frames = feed.trades(trades(*rows)) + feed.trades(trades((7, 100, 3, True)))
    told = [json.loads(frame) for frame in frames]
    assert [(one["a"], one["f"], one["l"], one["q"], one["m"]) for one in told] == [
        (70, 77, 78, "0.00003000", True),
        (71, 79, 79, "0.00002000", False),
        (72, 80, 80, "0.00003000", False),
        (73, 81, 81, "0.00003000", True),
    ]


def klines(frames: list[str]) -> list[tuple[int, bool, str, str, int, int, int]]:
    found = [json.loads(frame)["k"] for frame in frames]
    return [(k["t"] // 60_000, k["x"], k["o"], k["c"], k["n"], k["f"], k["L"]) for k in found]


def test_a_candle_is_told_every_two_seconds_while_it_changes_and_closed_once() -> None:
    feed = Klines(RULES, "1m", None, 500)
    assert klines(feed.trades(trades((61_000, 100, 1, True)))) == [(1, False, "1.00000000", "1.00000000", 1, 500, 500)]
    assert not feed.trades(trades((62_000, 120, 1, False)))
    assert klines(feed.pulse(63_000)) == [(1, False, "1.00000000", "1.20000000", 2, 500, 501)]
    assert not feed.pulse(119_998)
    assert klines(feed.pulse(119_999)) == [(1, True, "1.00000000", "1.20000000", 2, 500, 501)]
    assert not feed.pulse(125_000)  # a flat one changes nothing
    told = feed.trades(trades((130_000, 90, 1, True)))
    assert klines(told) == [(2, False, "0.90000000", "0.90000000", 1, 502, 502)]


def test_candles_are_closed_before_the_trade_that_begins_the_next_one() -> None:
    feed = Klines(RULES, "1m", flat_bar(60_000, 100), 500)
    told = klines(feed.trades(trades((240_000, 110, 1, False), (240_001, 120, 1, False))))
    assert [(minute, closed, close) for minute, closed, _, close, *_ in told] == [
        (1, True, "1.00000000"),
        (2, True, "1.00000000"),
        (3, True, "1.00000000"),
        (4, False, "1.20000000"),
    ]
    assert told[0][4:] == (0, -1, -1)


def test_a_book_ticker_pulses_without_trades_and_its_update_rises() -> None:
    feed = BookTickers(RULES, trades((1_000, 10_000, 3, True)), 1_000)
    frames = [json.loads(frame) for frame in feed.pulse(2_000) + feed.trades(trades((2_000, 10_001, 2, False)))]
    assert not feed.pulse(2_500)
    assert [frame["u"] for frame in frames] == [2_000, 2_001]
    assert (frames[0]["b"], frames[0]["a"], frames[0]["B"]) == ("99.99000000", "100.01000000", "0.00003000")
    assert set(frames[0]) == {"u", "s", "b", "B", "a", "A"}


# --- orders ----------------------------------------------------------------------------------------------------------


def order(**more: str) -> dict[str, str]:
    return {"symbol": "BTCUSDT", "side": "BUY", **more}


GOOD = {
    "limit": (order(type="LIMIT", timeInForce="GTC", quantity="1", price="5"), (Kind.LIMIT, InForce.GTC, False, None)),
    "ioc": (order(type="LIMIT", timeInForce="IOC", quantity="1", price="5"), (Kind.LIMIT, InForce.IOC, False, None)),
    "fok": (order(type="LIMIT", timeInForce="FOK", quantity="1", price="5"), (Kind.LIMIT, InForce.FOK, False, None)),
    "post only": (order(type="LIMIT_MAKER", quantity="1", price="5"), (Kind.LIMIT, InForce.GTC, True, None)),
    "market": (order(type="MARKET", quantity="1"), (Kind.MARKET, InForce.IOC, False, None)),
    "market over quote": (order(type="MARKET", quoteOrderQty="10"), (Kind.MARKET, InForce.IOC, False, None)),
    "stop loss": (
        order(type="STOP_LOSS", quantity="1", stopPrice="4"),
        (Kind.MARKET, InForce.GTC, False, Trigger.STOP),
    ),
    "take profit limit": (
        order(type="TAKE_PROFIT_LIMIT", timeInForce="GTC", quantity="1", price="5", stopPrice="6"),
        (Kind.LIMIT, InForce.GTC, False, Trigger.TAKE_PROFIT),
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_orders_as_they_are_meant(name: str) -> None:
    params, meant = GOOD[name]
    new = new_order(params, "B-BTC_USDT")
    assert (new.kind, new.in_force, new.post_only, new.trigger) == meant
    assert re.fullmatch("[0-9a-f]{22}", new.client_id)
    assert new_order(params | {"newClientOrderId": "mine"}, "B-BTC_USDT").client_id == "mine"


BAD = {
    "no side": (order(type="MARKET", quantity="1") | {"side": "LONG"}, -1117),
    "no type": (order(type="LIMITED", quantity="1"), -1116),
    "limit without a time in force": (order(type="LIMIT", quantity="1", price="5"), -1102),
    "limit without a price": (order(type="LIMIT", timeInForce="GTC", quantity="1"), -1102),
    "an unknown time in force": (order(type="LIMIT", timeInForce="GTX", quantity="1", price="5"), -1115),
    "post only with a time in force": (order(type="LIMIT_MAKER", timeInForce="GTC", quantity="1", price="5"), -1106),
    "market with a price": (order(type="MARKET", quantity="1", price="5"), -1106),
    "market with nothing": (order(type="MARKET"), -1102),
    "market with both quantities": (order(type="MARKET", quantity="1", quoteOrderQty="1"), -1128),
    "nine decimals": (order(type="MARKET", quantity="0.123456789"), -1111),
    "nothing of it": (order(type="MARKET", quantity="0.00000000"), -1013),
    "another answer": (order(type="MARKET", quantity="1", newOrderRespType="ALL"), -1130),
}


@pytest.mark.parametrize("name", BAD)
def test_orders_that_cannot_be(name: str) -> None:
    params, code = BAD[name]
    assert refusal(new_order, params, "B-BTC_USDT").code == code


def test_trailing_zeros_are_no_precision() -> None:
    assert new_order(order(type="MARKET", quantity="1.5000000000"), "B-BTC_USDT").quantity == Decimal("1.5")


@pytest.mark.parametrize("reason", list(Reason))
def test_every_refusal_of_the_exchange_has_its_words(reason: Reason) -> None:
    new = new_order(GOOD["limit"][0], "B-BTC_USDT")
    said = refused(Refusal(reason), new)
    assert said.status == 400 and said.code in (-1013, -1100, -1102, -1121, -2010) and said.message
