"""Binance's limits: as exchangeInfo tells them, our shares of them, and what an answer says is left."""

import gzip
import json

import pytest

from tests.shared_data import shared_data
from venues.binance import rate_limits as rates
from venues.binance import wire_public
from venues.binance.account import PRIVATE_SHARES
from venues.binance.adapter import PUBLIC_SHARES
from venues.binance.rate_limits import FIXED, Window
from venues.errors import Retry
from venues.limits import Left, Limit

DATE = "Thu, 01 Jan 2026 00:00:13 GMT"  # 13 s into the minute, 3 s into the ten seconds


def row(kind, interval, number, limit):
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}


LISTED = [
    row("REQUEST_WEIGHT", "MINUTE", 1, 1200),
    row("ORDERS", "SECOND", 10, 100),
    row("ORDERS", "DAY", 1, 200_000),
    row("RAW_REQUESTS", "MINUTE", 5, 300_000),
]


def test_every_limit_is_read_by_its_name():
    assert rates.parse_windows(json.dumps(LISTED).encode()) == {
        "weight": Window(1200, 1, "MINUTE"),
        "orders": Window(100, 10, "SECOND"),
        "orders of a day": Window(200_000, 1, "DAY"),
        "requests": Window(300_000, 5, "MINUTE"),
    }


ODD = {
    "nothing": ([], {}),
    "no list": ({"x": 1}, {}),
    "one row that cannot be read": ([7, row("ORDERS", "SECOND", 10, 80)], {"orders": Window(80, 10, "SECOND")}),
    "0": ([row("ORDERS", "SECOND", 10, 0)], {}),
    "below 0": ([row("ORDERS", "SECOND", -10, 50)], {}),
    "unknown unit": ([row("ORDERS", "FORTNIGHT", 1, 50)], {}),
    "unknown kind": ([row("CONNECTIONS", "MINUTE", 5, 300)], {}),
    "of two the one that allows less": (
        [row("ORDERS", "SECOND", 10, 100), row("ORDERS", "MINUTE", 1, 300), row("ORDERS", "SECOND", 1, 50)],
        {"orders": Window(300, 1, "MINUTE")},
    ),
    "hours are as good as a day": ([row("ORDERS", "HOUR", 6, 9000)], {"orders of a day": Window(9000, 6, "HOUR")}),
}


@pytest.mark.parametrize(("rows", "found"), ODD.values(), ids=ODD)
def test_what_cannot_be_read_of_the_limits_stays_as_it_is_fixed(rows, found):
    assert rates.parse_windows(json.dumps(rows).encode()) == {**FIXED, **found}


def test_the_answer_about_one_market_tells_the_limits():
    assert wire_public.parse_limits(json.dumps({"symbols": [], "rateLimits": LISTED}).encode())["orders"].limit == 100
    assert wire_public.parse_limits(b"{}") == FIXED
    with pytest.raises(Retry, match="exchangeInfo"):
        wire_public.parse_limits(b"[1,")


def test_the_recorded_limits():
    body = gzip.decompress(shared_data("raw/binance_spot_exchangeInfo_25symbols.rest.json.gz").read_bytes())
    listed = {
        (r["rateLimitType"], r["intervalNum"] * rates.UNITS_S[r["interval"]]): r["limit"]
        for r in json.loads(body)["rateLimits"]
    }
    windows = wire_public.parse_markets(body).windows
    kinds = {"weight": "REQUEST_WEIGHT", "requests": "RAW_REQUESTS", "orders": "ORDERS", "orders of a day": "ORDERS"}
    assert listed == {(kinds[name], window.seconds): window.limit for name, window in windows.items()}


def test_before_the_first_answer_the_fixed_limits_hold():
    private, public = (rates.limits_of(FIXED, shares) for shares in (PRIVATE_SHARES, PUBLIC_SHARES))
    assert private["weight"] == Limit(pytest.approx(15.0), pytest.approx(300.0), 0.3)
    assert private["orders"] == Limit(pytest.approx(2.5), pytest.approx(20.0), 0.3)
    assert public["weight"] == Limit(pytest.approx(60.0), pytest.approx(1000.0))


@pytest.mark.parametrize("windows", [FIXED, rates.parse_windows(json.dumps(LISTED).encode())], ids=["fixed", "listed"])
def test_both_sides_together_stay_below_every_limit(windows):
    private, public = (rates.limits_of(windows, shares) for shares in (PRIVATE_SHARES, PUBLIC_SHARES))
    for name, window in windows.items():
        sides = [side[name] for side in (private, public) if name in side]
        assert 0 < sum(side.burst + side.rate_per_s * window.seconds for side in sides) <= window.limit


LEFT = {
    "weight": ({"x-mbx-used-weight-1m": "400"}, {"weight": (5600, 600, 47)}),
    "beyond the share of ordinary calls": ({"x-mbx-used-weight-1m": "5900"}, {"weight": (100, 600, 47)}),
    "all": ({"x-mbx-used-weight-1m": "6000"}, {"weight": (0, 600, 47)}),
    "more than there is by what we know": ({"x-mbx-used-weight-1m": "6001"}, {"weight": (600, 600, 47)}),
    "orders": (
        {"x-mbx-order-count-10s": "5", "x-mbx-order-count-1d": "60000"},
        {"orders": (45, 5, 7), "orders of a day": (100_000, 16_000, 86_387)},
    ),
    "of another window": ({"x-mbx-used-weight-5m": "400"}, {}),
    "no number": ({"x-mbx-used-weight-1m": "many"}, {}),
    "nothing": ({}, {}),
}


@pytest.mark.parametrize(("headers", "left"), LEFT.values(), ids=LEFT)
def test_what_is_left_of_the_running_windows(headers, left):
    told = rates.left_of({"date": DATE, **headers})
    assert told == {name: Left(*map(pytest.approx, values)) for name, values in left.items()}


def test_headers_are_those_of_the_windows_in_force():
    windows = {**FIXED, "orders": Window(300, 1, "MINUTE")}
    told = rates.left_of({"x-mbx-order-count-1m": "100", "x-mbx-order-count-10s": "40"}, windows)
    assert told == {"orders": Left(200, 30.0, 60)}, "without a Date the whole window"
