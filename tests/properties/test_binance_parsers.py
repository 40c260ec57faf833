"""Whatever Binance's parsers are fed, they answer or raise our error with the beginning of the raw text in it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit import test_venues_binance_private as private
from tests.unit import test_venues_wire_binance as public
from venues.binance import wire_answers, wire_news, wire_public
from venues.binance.judge import judge
from venues.binance.wire_stream import Reader
from venues.call import Failure
from venues.errors import Retry

PARSERS: dict[str, tuple[Callable[[bytes], Any], Any]] = {
    "time": (wire_public.parse_time, {"serverTime": 1}),
    "markets": (wire_public.parse_markets, {"symbols": [public.ROW], "rateLimits": []}),
    "trades": (lambda body: wire_public.parse_trades(body, "P", 0), [{**public.TRADE, "isBuyerMaker": True}]),
    "candles": (lambda body: wire_public.parse_candles(body, "P"), [public.CANDLE]),
    "order": (wire_answers.parse_order, private.FULL),
    "orders": (wire_answers.parse_open_orders, [private.QUERY]),
    "fills": (wire_answers.parse_fills, [private.MINE]),
    "balances": (wire_answers.parse_balances, {"balances": [{"asset": "A", "free": "1", "locked": "0"}]}),
    "fees": (wire_answers.parse_fees_bps, {"standardCommission": {"maker": "0.1", "taker": "0.1"}}),
    "key": (lambda body: wire_answers.parse_key_rights(body, True), private.KEY_ROW),
    "may trade": (wire_answers.parse_can_trade, {"canTrade": True}),
}
FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["NaN", "sNaN", "-Infinity", "1E+999999", "1E-999999", "-1", "0", "BTCUSDT", "TRADE", "trade"])
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
)


def damaged(value: Any, draw: Callable[[Any], Any]) -> Any:
    """The value with some parts of it replaced by something else, left out, or doubled."""
    chance = draw(st.integers(0, 9))
    if chance == 0:
        return draw(JSON)
    if isinstance(value, dict):
        return {name: damaged(item, draw) for name, item in value.items() if draw(st.integers(0, 19))}
    if isinstance(value, list):
        kept = [damaged(item, draw) for item in value]
        return kept + kept if chance == 1 else kept
    return value


def told(parse: Callable[[bytes], Any], body: bytes) -> None:
    try:
        parse(body)
    except Retry as error:
        assert f"({len(body)} bytes)" in error.text
        assert repr(body[:1000].decode(errors="replace")[:200])[1:-1] in error.text


@pytest.mark.parametrize("name", PARSERS)
@FUZZ
@given(body=st.binary(max_size=200))
def test_arbitrary_bytes(name: str, body: bytes) -> None:
    told(PARSERS[name][0], body)


@pytest.mark.parametrize("name", PARSERS)
@FUZZ
@given(value=JSON)
def test_arbitrary_json(name: str, value: Any) -> None:
    told(PARSERS[name][0], json.dumps(value).encode())


@pytest.mark.parametrize("name", PARSERS)
@FUZZ
@given(data=st.data())
def test_damaged_answers(name: str, data: st.DataObject) -> None:
    parse, sample = PARSERS[name]
    told(parse, json.dumps(damaged(sample, data.draw)).encode())


@pytest.mark.parametrize("name", PARSERS)
def test_the_undamaged_answers_are_answers(name: str) -> None:
    parse, sample = PARSERS[name]
    parse(json.dumps(sample).encode())


FRAMES = [public.combined(), {"id": 1, "result": None}, {"code": 2, "msg": "x"}, {"e": "serverShutdown"}]
EVENTS = [
    {"subscriptionId": 0, "event": {**private.REPORT, "x": "TRADE", "t": 1, "l": "1", "L": "2"}},
    {"subscriptionId": 0, "event": {"e": "outboundAccountPosition", "B": [{"a": "E", "f": "1", "l": "0"}]}},
    {"id": "u1", "status": 400, "error": {"code": -1022, "msg": "x"}},
]
TEXT = st.text() | st.binary().map(lambda raw: raw.decode(errors="replace")) | JSON.map(json.dumps)


@FUZZ
@given(text=TEXT)
def test_arbitrary_frames_never_raise(text: str) -> None:
    assert Reader({"BTCUSDT": "BTCUSDT"}).read([text, None], 1)
    assert wire_news.parse_message(text)


@FUZZ
@given(data=st.data())
def test_damaged_frames_never_raise(data: st.DataObject) -> None:
    reader = Reader({"BTCUSDT": "BTCUSDT"})
    for item in reader.read([json.dumps(damaged(frame, data.draw)) for frame in FRAMES], 1):
        assert len(item) in (2, 7)
    for event in EVENTS:
        assert wire_news.parse_message(json.dumps(damaged(event, data.draw)))


@FUZZ
@given(
    status=st.integers(100, 599),
    headers=st.dictionaries(st.sampled_from(["retry-after", "date", "x"]), st.text(max_size=20)),
    body=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()),
    changes=st.booleans(),
)
def test_arbitrary_refusals_are_judged(status: int, headers: dict[str, str], body: bytes, changes: bool) -> None:
    failure = judge(status, headers, body, changes)
    assert (failure is None) == (status < 400)
    assert failure is None or (isinstance(failure, Failure) and failure.code)


@FUZZ
@given(date=st.text(max_size=30), until=st.integers(0, 10**13 - 1))
def test_arbitrary_ends_of_bans_are_judged(date: str, until: int) -> None:
    body = json.dumps({"code": -1003, "msg": f"banned until {until:013d}."}).encode()
    failure = judge(418, {"date": date}, body, False)
    assert failure is not None and failure.kind == "rate_limited"
