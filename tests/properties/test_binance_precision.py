"""Orders rounded by `core.money` pass every filter of every market that Binance ever listed in our recordings.

The filters are read here anew, straight from the recorded text: the judge shares nothing with the parser.
"""

import gzip
import json
import re
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import money
from core.clock import LiveClock
from core.settings_load import from_texts
from tests.shared_data import shared_data
from venues.account import IOC, LIMIT, MARKET, POST_ONLY, NewOrder
from venues.binance import wire_private, wire_public
from venues.choose import market_data
from venues.venue import Rules

OLD = "raw/binance_spot_exchangeInfo_20211012.http-capture.txt.gz"
NEW = "raw/binance_spot_exchangeInfo_25symbols.rest.json.gz"
PLAIN = re.compile(r"\d+(\.\d+)?")

Listing = tuple[Rules, dict[str, Any]]


@cache
def listings(name: str) -> list[Listing]:
    """Our rules of every market of a recording, with the venue's own row."""
    body = gzip.decompress(shared_data(name).read_bytes())
    if name == OLD:
        body = body.split(b"\n")[0].split(b": ", 1)[1]
    rows = {row["symbol"]: row for row in json.loads(body)["symbols"]}
    found = [(rules, rows[rules.symbol]) for rules in wire_public.parse_markets(body).rows]
    assert len(found) == len(rows)
    return found


def refusals(row: dict[str, Any], given: dict[str, str], average: Decimal) -> list[str]:
    """Which filters of the row an order fails, by its text as it is sent."""
    found = []
    quantity = Decimal(given["quantity"])
    price = Decimal(given.get("price", average))
    market = given["type"] == "MARKET"
    for item in row["filters"]:
        value = {name: Decimal(text) for name, text in item.items() if isinstance(text, str) and name != "filterType"}
        match item["filterType"]:
            case "PRICE_FILTER":
                bad = not market and not (
                    value["minPrice"] <= price <= value["maxPrice"] and price % value["tickSize"] == 0
                )
            case "LOT_SIZE":
                bad = not _lot(quantity, value)
            case "MARKET_LOT_SIZE":
                bad = market and not _lot(quantity, value)
            case "MIN_NOTIONAL":
                bad = price * quantity < value["minNotional"]
            case "NOTIONAL":
                bad = price * quantity < value["minNotional"] or price * quantity > value["maxNotional"]
            case "PERCENT_PRICE":
                bad = not average * value["multiplierDown"] <= price <= average * value["multiplierUp"]
            case "PERCENT_PRICE_BY_SIDE":
                side = "bid" if given["side"] == "BUY" else "ask"
                bad = not average * value[f"{side}MultiplierDown"] <= price <= average * value[f"{side}MultiplierUp"]
            case _:
                bad = False
        found += [item["filterType"]] if bad else []
    for name, most in (("quantity", row["baseAssetPrecision"]), ("price", row.get("quoteAssetPrecision", 8))):
        text = given.get(name, "1")
        if not PLAIN.fullmatch(text) or len(text.partition(".")[2]) > most:
            found.append(f"{name}={text}")
    return found


def _lot(quantity: Decimal, value: dict[str, Decimal]) -> bool:
    within = value["minQty"] <= quantity and (value["maxQty"] == 0 or quantity <= value["maxQty"])
    return within and (value["stepSize"] == 0 or quantity % value["stepSize"] == 0)


def price_at(row: dict[str, Any], place: float) -> Decimal:
    """A price somewhere in the market's range (by its logarithm), on no grid."""
    item = next(item for item in row["filters"] if item["filterType"] == "PRICE_FILTER")
    low, high = float(item["minPrice"]), float(item["maxPrice"]) - float(item["tickSize"])
    return max(Decimal(item["minPrice"]), Decimal(repr(low * (high / low) ** place)))


@pytest.mark.parametrize("name", [NEW, OLD], ids=["2025", "2021"])
@settings(max_examples=40, deadline=None)
@given(
    place=st.floats(0, 1),
    capital=st.floats(-6, 6),
    kind=st.sampled_from([MARKET, LIMIT, IOC, POST_ONLY]),
    up=st.booleans(),
)
def test_a_rounded_order_passes_every_filter_of_every_market(
    name: str, place: float, capital: float, kind: str, up: bool
) -> None:
    passed = 0
    for rules, row in listings(name):
        average = price_at(row, place)
        price = money.price_on_tick(average, rules.tick, up=up)
        judged = average if kind == MARKET else price
        wanted = Decimal(repr(10.0**capital)) * max(rules.min_notional, rules.min_quantity * judged) / judged
        minimums = {"min_quantity": rules.min_quantity, "min_notional": rules.min_notional}
        quantity = money.order_quantity(wanted, judged, rules.step, max_quantity=rules.max_quantity, **minimums)
        if quantity * judged > 9_000_000:
            continue  # more than any TRADE_CAPITAL; the most that the venue lets through
        most = min(wanted, rules.max_quantity or wanted)
        if quantity == 0:
            fitting = most - most % rules.step
            assert fitting < rules.min_quantity or fitting * judged < rules.min_notional or fitting == 0
            continue
        assert 0 <= most - quantity < rules.step
        order = NewOrder(rules, "sb-1", "buy" if up else "sell", kind, quantity, None if kind == MARKET else price)
        coarse = average < 20 * rules.tick  # one tick may then be more than the band round the average allows
        assert refusals(row, wire_private.order_parameters(order), judged if coarse else average) == []
        passed += 1
    assert capital < 0.5 or passed, "no order was judged"


@pytest.mark.parametrize("name", [NEW, OLD], ids=["2025", "2021"])
@settings(max_examples=15, deadline=None)
@given(place=st.floats(0, 1))
def test_the_least_order_passes_and_one_step_less_does_not(name: str, place: float) -> None:
    for rules, row in listings(name):
        price = money.price_on_tick(price_at(row, place), rules.tick, up=False)
        least = money.least_quantity(
            price, rules.step, min_quantity=rules.min_quantity, min_notional=rules.min_notional
        )
        if rules.max_quantity is not None and least > rules.max_quantity:
            continue  # at such a price nothing passes
        order = NewOrder(rules, "sb-1", "buy", LIMIT, least, price)
        parameters = wire_private.order_parameters(order)
        assert refusals(row, parameters, price) == []
        less = money.plain(least - rules.step)
        assert less == "0" or refusals(row, {**parameters, "quantity": less}, price)


def test_every_market_is_meant_by_its_base_and_quote_in_pairs_and_by_its_own_name() -> None:
    """Also of the rare quote currencies; and the name in the settings is the one that all stages know it by."""
    rows = [rules for rules, _ in listings(OLD)]
    venue = market_data(from_texts({"VENUE": "binance"}), LiveClock())
    try:
        for rules in rows:
            for name in (f"{rules.base}/{rules.quote}", rules.symbol, rules.symbol.lower()):
                wanted = from_texts({"VENUE": "binance", "PAIRS": name}).pairs
                assert venue.resolve(wanted, rows) == [rules] and wanted == (rules.pair,)
    finally:
        venue.close()
