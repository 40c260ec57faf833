"""Kraken's real markets and candles: orders rounded by `core.money` pass every pair's own rules, and candles built from
its recorded trades, along the bot's own path, equal its own.

The rules of a pair are read here anew from the recorded row: the judge shares nothing with the parser.
"""

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.messages import Market
from core import money
from feeder.desk import market as as_market
from feeder.guard import Counts, Guard
from feeder.packing import pack
from indicators.layout import Parameters
from tests import kraken_data
from tests.indicator_tools import MINUTE, compiled
from tests.kraken_data import RULES
from venues.account import BUY, IOC, LIMIT, MARKET, POST_ONLY, SELL, STOP, NewOrder
from venues.kraken import wire_private, wire_public
from venues.kraken.frames import rfc3339
from venues.venue import SIDE_BUY, Rules, Trade

PLAIN = re.compile(r"\d+(\.\d+)?")


@cache
def listings(later: bool) -> list[tuple[Rules, dict[str, Any]]]:
    """Our rules of every recorded pair with its row; `later`: with the fields that were added since, made up."""
    rows = kraken_data.listed()
    if later:
        rows = {
            key: row | {"tick_size": f"{5 * Decimal(1).scaleb(-row['pair_decimals']):f}", "costmin": "0.5"}
            for key, row in rows.items()
        }
    parsed = wire_public.parse_markets(kraken_data.answer(rows))
    by_altname = {row["altname"]: row for row in rows.values()}
    assert len(parsed.rows) == len(rows) and parsed.bad == 0
    return [(rules, by_altname[rules.symbol]) for rules in parsed.rows]


def refusals(row: dict[str, Any], fields: dict[str, str], price: Decimal) -> list[str]:
    """What the pair's own row says against an order as it is sent; `price` is what it is expected to trade at."""
    found = []
    for name, most in (("volume", row["lot_decimals"]), ("price", row["pair_decimals"])):
        text = fields.get(name, "1")
        if not PLAIN.fullmatch(text) or len(text.partition(".")[2]) > most:
            found.append(f"{name}={text}")
    tick = Decimal(row.get("tick_size", Decimal(1).scaleb(-row["pair_decimals"])))
    if Decimal(fields.get("price", tick)) % tick:
        found.append("EOrder:Tick size check failed")
    volume = Decimal(fields["volume"])
    if volume < Decimal(row["ordermin"]):
        found.append("EOrder:Order minimum not met")
    if volume * price < Decimal(row.get("costmin", 0)):
        found.append("EOrder:Cost minimum not met")
    return found


def prices(row: dict[str, Any], place: float) -> Decimal:
    """A price of 1 tick to a hundred million of them (by its logarithm), on no grid."""
    return Decimal(repr(10 ** (8 * place))) * Decimal(1).scaleb(-row["pair_decimals"])


@pytest.mark.parametrize("later", [False, True], ids=["2021", "with tick_size and costmin"])
@settings(max_examples=30, deadline=None)
@given(
    place=st.floats(0, 1),
    capital=st.floats(-6, 6),
    kind=st.sampled_from([MARKET, LIMIT, IOC, POST_ONLY, STOP]),
    up=st.booleans(),
)
def test_a_rounded_order_passes_the_rules_of_every_pair(
    later: bool, place: float, capital: float, kind: str, up: bool
) -> None:
    passed = 0
    for rules, row in listings(later):
        wish = prices(row, place)
        price = money.price_on_tick(wish, rules.tick, up=up)
        wanted = Decimal(repr(10.0**capital)) * max(rules.min_notional, rules.min_quantity * price) / price
        minimums = {"min_quantity": rules.min_quantity, "min_notional": rules.min_notional}
        quantity = money.order_quantity(wanted, price, rules.step, **minimums)
        if quantity == 0:
            fitting = wanted - wanted % rules.step
            assert fitting < rules.min_quantity or fitting * price < rules.min_notional
            continue
        assert 0 <= wanted - quantity < rules.step
        order = NewOrder(rules, "scalp-1", BUY if up else SELL, kind, quantity, price, stop_price=price)
        fields = dict(wire_private.build_order("kraken", order, 0).fields)
        assert refusals(row, fields, price) == [], (rules.symbol, fields)
        passed += 1
    assert capital < 0.5 or passed, "no order was judged"


@pytest.mark.parametrize("later", [False, True], ids=["2021", "with tick_size and costmin"])
@settings(max_examples=30, deadline=None)
@given(place=st.floats(0, 1))
def test_the_least_order_passes_and_one_step_less_does_not(later: bool, place: float) -> None:
    for rules, row in listings(later):
        price = money.price_on_tick(prices(row, place), rules.tick, up=False)
        least = money.least_quantity(
            price, rules.step, min_quantity=rules.min_quantity, min_notional=rules.min_notional
        )
        order = NewOrder(rules, "scalp-1", BUY, LIMIT, least, price)
        fields = dict(wire_private.build_order("kraken", order, 0).fields)
        assert refusals(row, fields, price) == []
        less = money.plain(least - rules.step)
        assert less == "0" or refusals(row, fields | {"volume": less}, price)


def test_the_judge_of_these_tests_refuses_what_it_should() -> None:
    row = {"pair_decimals": 1, "lot_decimals": 8, "ordermin": "0.1", "costmin": "5", "tick_size": "0.5"}
    good = {"volume": "1", "price": "10.5"}
    assert refusals(row, good, Decimal(10)) == []
    for bad in ({"price": "10.55"}, {"price": "1E+1"}, {"price": "10.4"}, {"volume": "0.01"}, {"volume": "0.2"}):
        assert refusals(row, good | bad, Decimal(10)), bad


# --- candles ---


def over_rest() -> Sequence[Trade]:
    body = kraken_data.recorded("kraken_xbtusdt_20251110.rest-Trades.json.gz")
    return wire_public.parse_trades(body, RULES.pair, 0).rows


def over_the_stream() -> list[Trade]:
    """The same trades as the stream brings them: several in a frame, numbers as JSON numbers."""
    found: list[Trade] = []
    trades = over_rest()
    for place in range(0, len(trades), 7):
        rows = [
            {
                "symbol": RULES.pair,
                "side": "buy" if trade.side == SIDE_BUY else "sell",
                "price": trade.price,
                "qty": trade.quantity,
                "ord_type": "limit",
                "trade_id": trade.trade_id,
                "timestamp": rfc3339(trade.time_ns // 10**6),
            }
            for trade in trades[place : place + 7]
        ]
        text = json.dumps({"channel": "trade", "type": "update", "data": rows}, separators=(",", ":"))
        new, problem = wire_public.parse_trade_frame(text, 0, {RULES.pair: RULES.pair})
        assert problem == ""
        found += new
    return found


def built_live(trades: Sequence[Trade]) -> np.ndarray:
    """Candles along the bot's own path: the feeder's guard, records, the indicators; the forming one is the last."""
    guard = Guard(0, RULES, MINUTE, MINUTE, True, Counts())
    indicators = compiled(Parameters(60_000))
    table: list[Market] = [as_market(RULES)]
    indicators.start(table, tape_clock=True)
    for place, trade in enumerate(trades):
        item = guard.convert(trade)
        assert item is not None
        records = guard.judge(item, 0, 0, True)
        assert records
        indicators.fold(pack(records), place)
    assert guard.counts.off_grid == guard.counts.late == 0
    return np.concatenate([*indicators.take_closed(), indicators.describe([0])])


@pytest.mark.parametrize("trades", [over_rest, over_the_stream])
def test_candles_built_live_equal_krakens_own_for_every_whole_minute(trades: Any) -> None:
    """All 410 whole minutes of the recording, the quiet ones included; the one it begins in is not whole."""
    own = wire_public.parse_candles(kraken_data.recorded("kraken_xbtusdt_20251110.rest-OHLC-1m.json.gz"), RULES.pair)
    theirs = {bar.open_ns: bar for bar in own.rows}
    rows = built_live(trades())[1:]
    assert len(rows) == 410
    for row in rows:
        bar = theirs[int(row["open_ns"])]
        for name in ("open", "high", "low", "close", "trades"):
            assert row[name] == getattr(bar, name), (name, bar)
        assert float(row["volume"]) == pytest.approx(bar.volume, rel=1e-12, abs=1e-12)
    assert sum(1 for row in rows if row["trades"] == 0) == 137
