"""Whatever CoinDCX sends, parsers answer or raise an error of ours that keeps the raw text; nothing else gets out."""

import contextlib
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.coindcx_data import BALANCE, CAPTURED, FILL, ORDER, RULES, UPDATE
from venues.coindcx import wire_private, wire_public
from venues.coindcx.wire_public import WireError
from venues.errors import Retry

MARKET_ROW = {
    "coindcx_name": "BTCUSDT",
    "base_currency_short_name": "USDT",
    "target_currency_short_name": "BTC",
    "base_currency_precision": 2,
    "target_currency_precision": 5,
    "min_quantity": 1e-05,
    "step": 1e-05,
    "pair": "B-BTC_USDT",
}
TRADE = {"p": "81090.88", "q": 0.1, "T": 1788457449084, "m": 1, "s": "B-BTC_USDT"}
CANDLE = {"open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 3, "time": 1717692120000}
SAMPLES = [
    CAPTURED,
    {"orders": [CAPTURED]},
    {"orders": [{"error_message": "x"}]},
    FILL,
    [FILL],
    [BALANCE, {"currency": "BTC", "balance": "1"}],
    ORDER,
    {"event": "x", "data": json.dumps([UPDATE])},
    [MARKET_ROW],
    [TRADE],
    [CANDLE],
    {"code": 422, "message": "Invalid pair NOPE", "status": "error"},
    {"message": "success", "status": "success", "code": 200},
]

EVENTS = ("order-update", "trade-update", "balance-update")
PARSERS = {
    "judge": lambda body: wire_public.judge(422, {}, body, True),
    "error": wire_public.parse_error,
    "markets": wire_public.parse_markets,
    "trades": lambda body: wire_public.parse_trades(body, "B-BTC_USDT", 1),
    "candles": lambda body: wire_public.parse_candles(body, "B-BTC_USDT"),
    "event": lambda body: wire_public.parse_event("new-trade", body, 1, {"B-BTC_USDT": "B-BTC_USDT"}, "B-BTC_USDT"),
    "orders": wire_private.parse_orders,
    "created": lambda body: wire_private.parse_created(body, "sb-1"),
    "status": lambda body: wire_private.parse_status(body, "sb-1"),
    "cancelled": wire_private.parse_cancelled,
    "fills": lambda body: wire_private.parse_fills(body, RULES),
    "balances": wire_private.parse_balances,
    **{name: lambda body, name=name: wire_private.parse_account_event(name, body) for name in EVENTS},
}

ODD = st.sampled_from(
    ["NaN", "-Infinity", "1e999999999", "1e-999999999", "-0", "", " ", "null", "9" * 60, "0." + "1" * 60, "\ud800", "é"]
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), ODD, st.decimals().map(str), st.just({})
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def nearly_right(draw):
    """A true answer with one value changed for anything, at any depth."""
    value = json.loads(json.dumps(draw(st.sampled_from(SAMPLES))))
    place, key = None, None
    inner = value
    while isinstance(inner, dict | list) and inner and draw(st.integers(0, 3)):
        place, key = inner, draw(st.sampled_from(list(inner) if isinstance(inner, dict) else range(len(inner))))
        inner = place[key]
    if place is None:
        return draw(JSON)
    if isinstance(place, dict) and draw(st.booleans()) and draw(st.booleans()):
        del place[key]
    else:
        place[key] = draw(JSON)
    return value


def cut(body: bytes, at: int) -> bytes:
    return body[: len(body) * at // 100]


BODIES = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda value: json.dumps(value).encode(errors="surrogatepass"), st.one_of(JSON, nearly_right())),
    st.builds(lambda value, at: cut(json.dumps(value).encode(), at), st.sampled_from(SAMPLES), st.integers(0, 99)),
    st.builds(lambda depth: b"[" * depth, st.integers(1, 5000)),
    st.builds(lambda depth: b'{"data":' * depth, st.integers(1, 3000)),
)


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@given(body=BODIES)
def test_any_answer_is_read_or_is_our_error_with_the_raw_text(parse, body):
    try:
        parse(body)
    except WireError as error:
        text = str(error)
        assert len(text) < 1000
        assert body.decode(errors="replace")[:80] in text
    except Retry as error:
        assert len(str(error)) < 1000


@given(body=BODIES)
def test_what_is_read_is_whole_and_finite(body):
    """Amounts that can be reckoned with, sides and states that we know."""
    orders, fills, balances = [], [], []
    with contextlib.suppress(WireError):
        orders = [told.order for told in wire_private.parse_orders(body)]
    with contextlib.suppress(WireError):
        fills = wire_private.parse_fills(body, RULES).fills
    with contextlib.suppress(WireError):
        balances = wire_private.parse_balances(body)
    amounts = [value for order in orders for value in (order.quantity, order.filled)]
    amounts += [value for fill in fills for value in (fill.price, fill.quantity, fill.fee)]
    amounts += [value for balance in balances for value in (balance.free, balance.locked)]
    for value in amounts:
        assert isinstance(value, Decimal) and 0 <= value < Decimal("1e18")
    for order in orders:
        assert order.filled <= order.quantity and order.side in ("buy", "sell")
