"""Kraken's account stream: reports merged by order, each fill once, gaps noticed."""

import contextlib
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kraken_data import USD
from venues.account import BalanceNews, Fill, FillNews, OrderNews
from venues.kraken import frames, wire_news
from venues.kraken.frames import WireError

NEW = {
    "order_id": "OK4GJX",
    "cl_ord_id": "scalp1",
    "symbol": "BTC/USD",
    "side": "sell",
    "exec_type": "new",
    "order_status": "new",
    "order_qty": 0.01,
    "timestamp": "2023-09-22T10:33:05.1Z",
}
TRADE = {
    "order_id": "OK4GJX",
    "exec_id": "TGBB7L",
    "exec_type": "trade",
    "trade_id": 62887576,
    "symbol": "BTC/USD",
    "side": "sell",
    "last_qty": 0.005,
    "last_price": 26599.90,
    "liquidity_ind": "t",
    "cost": 132.9995,
    "order_status": "partially_filled",
    "fee_usd_equiv": 0.3458,
    "fees": [{"asset": "USD", "qty": 0.3458}],
    "timestamp": "2023-09-22T10:33:05.709993Z",
}
CANCELED = {"order_id": "OK4GJX", "exec_type": "canceled", "cum_qty": 0.005, "reason": "User requested"}
FILL = Fill(
    venue_fill_id="TGBB7L",
    venue_order_id="OK4GJX",
    client_order_id="scalp1",
    symbol="XBTUSD",
    side="sell",
    price=Decimal("26599.90"),
    quantity=Decimal("0.005"),
    fee=Decimal("0.3458"),
    fee_currency="USD",
    time_ms=1695378785709,
    maker=False,
)


def reports():
    return wire_news.Reports({USD.pair: USD.symbol})


def read(to, *rows, channel="executions", kind="update", sequence=None):
    value = {"channel": channel, "type": kind, "data": list(rows)}
    text = json.dumps(value if sequence is None else value | {"sequence": sequence})
    return to.read(frames.read(text), text)


def test_an_order_from_its_beginning_to_its_end():
    to = reports()
    assert read(to, NEW) == [OrderNews("scalp1", "OK4GJX", "XBTUSD", "open")]
    assert read(to, TRADE) == [FillNews(FILL), OrderNews("scalp1", "OK4GJX", "XBTUSD", "partially_filled")]
    assert read(to, CANCELED) == [OrderNews("scalp1", "OK4GJX", "XBTUSD", "cancelled")]


@pytest.mark.parametrize(
    ("exec_type", "order_status", "status"),
    [
        ("pending_new", "pending_new", "pending"),
        ("new", "new", "open"),
        ("trade", "partially_filled", "partially_filled"),
        ("filled", "filled", "filled"),
        ("filled", "", "filled"),
        ("expired", "expired", "expired"),
        ("amended", "partially_filled", "partially_filled"),
        ("restated", "", ""),
        ("status", "new", "open"),
        ("something", "new_to_us", ""),
    ],
)
def test_states(exec_type, order_status, status):
    row = NEW | {"exec_type": exec_type, "order_status": order_status}
    assert read(reports(), row)[-1].status == status


def test_a_fill_is_told_once_though_a_snapshot_repeats_it():
    to = reports()
    read(to, NEW)
    read(to, TRADE)
    assert read(to, TRADE, kind="snapshot") == [OrderNews("scalp1", "OK4GJX", "XBTUSD", "partially_filled")]


@pytest.mark.parametrize(
    ("fees", "fee", "currency"),
    [
        pytest.param([{"asset": "BTC", "qty": 0.1}, {"asset": "XXBT", "qty": 0.20}], "0.30", "BTC", id="two of one"),
        pytest.param([{"asset": "USD", "qty": 0}, {"asset": "KFEE", "qty": 5}], "5", "KFEE", id="a third currency"),
        pytest.param([{"asset": "USD", "qty": -0.01}], "-0.01", "USD", id="a rebate"),
        pytest.param([{"asset": "BTC", "qty": 0}, {"asset": "USD", "qty": 0.0}], "0", "USD", id="twice nothing"),
        pytest.param([], "0", "USD", id="none"),
    ],
)
def test_a_fee_in_one_currency_is_told_with_its_fill(fees, fee, currency):
    fill = read(reports(), TRADE | {"fees": fees, "liquidity_ind": "m"})[0].fill
    assert (fill.fee, fill.fee_currency, fill.maker) == (Decimal(fee), currency, True)
    assert read(reports(), TRADE | {"liquidity_ind": None})[0].fill.maker is None


@pytest.mark.parametrize(
    "row",
    [
        pytest.param({"fees": [{"asset": "BTC", "qty": 0.1}, {"asset": "USD", "qty": 5}]}, id="fees in two currencies"),
        pytest.param({"fees": None}, id="no word of fees"),
        pytest.param({"side": None}, id="no side"),
        pytest.param({"symbol": None}, id="no market"),
        pytest.param({"timestamp": None}, id="no time"),
    ],
)
def test_a_fill_that_is_not_told_whole_is_news_of_its_order_alone(row):
    """Booked with half its fee it would not be booked from REST any more, which tells the whole."""
    news = read(reports(), TRADE | row)
    assert [type(item) for item in news] == [OrderNews] and news[0].venue_order_id == "OK4GJX"


def test_a_fill_whose_report_was_unreadable_is_told_when_it_comes_again():
    to = reports()
    with pytest.raises(WireError):
        read(to, TRADE | {"last_price": None})
    assert read(to, TRADE)[0].fill.price == Decimal("26599.90")


def test_a_market_that_was_not_asked_for_has_its_altname():
    assert read(reports(), NEW | {"symbol": "DOGE/BTC"})[0].symbol == "XDGXBT"


@pytest.mark.parametrize(
    ("assets", "told"),
    [(["BTC"], True), (["ZUSD", "DOT.S"], True), (["USDT.F"], True), (["DOT.S", "ETH2.B"], False), ([], False)],
)
def test_balances_are_totals_of_which_orders_may_hold_a_part_and_so_a_nudge(assets, told):
    rows = [{"asset": asset, "balance": 95.00, "amount": -5.0, "fee": 0, "type": "trade"} for asset in assets]
    for kind in ("snapshot", "update"):
        assert read(reports(), *rows, channel="balances", kind=kind) == ([BalanceNews(())] if told else [])


@pytest.mark.parametrize(
    ("steps", "lost"),
    [
        pytest.param([("executions", 1), ("balances", 1), ("executions", 2)], False, id="each channel by itself"),
        pytest.param([("executions", 1), ("executions", 3)], True, id="a jump"),
        pytest.param([("executions", 2), ("executions", 2)], True, id="the same again"),
        pytest.param([("executions", 7), ("executions", 8)], False, id="from anywhere"),
        pytest.param([("executions", 7), ("executions", None), ("executions", 8)], False, id="a frame without"),
    ],
)
def test_a_jump_in_the_numbers_is_a_loss(steps, lost):
    to = reports()
    with pytest.raises(wire_news.Lost, match="came after") if lost else contextlib.nullcontext():
        for channel, number in steps:
            read(to, channel=channel, sequence=number)


def test_a_new_subscription_begins_anew():
    to = reports()
    read(to, sequence=9)
    read(to, kind="snapshot", sequence=1)
    read(to, sequence=2)


def test_other_channels_are_not_read():
    text = '{"channel":"trade","data":[]}'
    assert reports().read(frames.read(text), text) is None


@pytest.mark.parametrize(
    "row",
    [
        pytest.param({}, id="no order"),
        pytest.param(TRADE | {"last_price": None}, id="no price"),
        pytest.param(TRADE | {"last_qty": "nan"}, id="no quantity"),
        pytest.param(TRADE | {"last_price": "1e9999"}, id="an absurd price"),
        pytest.param(TRADE | {"fees": [5]}, id="no fees"),
    ],
)
def test_what_cannot_be_read_is_an_error_with_its_text(row):
    with pytest.raises(WireError) as told:
        read(reports(), row)
    assert told.value.raw.startswith('{"channel": "executions"')


FIELDS = st.none() | st.integers(-5, 5) | st.floats() | st.sampled_from(["", "nan", "1e999", "x", "trade"])


@given(
    st.dictionaries(st.sampled_from([*NEW, *TRADE]), FIELDS, max_size=4), st.sampled_from(["executions", "balances"])
)
def test_a_report_with_any_fields_changed_is_read_or_refused(changes, channel):
    with contextlib.suppress(WireError):
        read(reports(), TRADE | {"asset": "X", "balance": 1} | changes, channel=channel)


def test_what_is_remembered_has_a_bound():
    to = reports()
    for number in range(wire_news.REMEMBERED + 10):
        read(to, TRADE | {"order_id": f"O{number}", "exec_id": f"T{number}"})
    assert len(to._orders) == len(to._fills) == wire_news.REMEMBERED


def test_subscriptions_carry_the_token_and_say_what_they_want():
    asked = wire_news.subscriptions("the-token")
    first, second = (json.loads(text)["params"] for text, _ in asked.values())
    assert first == {
        "channel": "executions",
        "token": "the-token",
        "snap_orders": True,
        "snap_trades": False,
        "order_status": True,
    }
    assert second == {"channel": "balances", "token": "the-token", "snapshot": True}
    assert [symbols for _, symbols in asked.values()] == [[""], [""]]
