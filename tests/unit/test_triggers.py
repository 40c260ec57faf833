"""Trigger prices: at every grid price, near and far, they say what the rule says of a trade there."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.records import ENTER_CRASH_CATCH, ENTER_MEAN_REVERSION, EXIT_TAKE_PROFIT
from indicators import rules, triggers
from indicators.engine import price_grid
from indicators.layout import HEAD, PARAMS, Parameters, params_of
from tests.indicator_tools import MINUTE, T0, compiled, fold_all, market, trade

RULES = (ENTER_MEAN_REVERSION, ENTER_CRASH_CATCH, EXIT_TAKE_PROFIT)


@pytest.mark.parametrize(
    ("tick", "expected"),
    [
        ("0.01", (1, 100)),
        ("0.05", (5, 100)),
        ("0.10", (1, 10)),
        ("1", (1, 1)),
        ("5", (5, 1)),
        ("10", (10, 1)),
        ("0.00000001", (1, 10**8)),
        ("1E-8", (1, 10**8)),
        ("0.25", (25, 100)),
        ("0", (0, 0)),
        ("NaN", (0, 0)),
    ],
)
def test_price_grid(tick: str, expected: tuple[int, int]) -> None:
    assert price_grid(tick) == expected


@given(st.integers(1, 10**9), st.sampled_from(["0.01", "0.05", "0.00000001", "0.5", "1"]))
def test_grid_prices_are_the_venues_decimal_text(ticks: int, tick: str) -> None:
    from decimal import Decimal

    head = np.zeros(1, HEAD)[0]
    head["tick_units"], head["tick_scale"] = price_grid(tick)
    assert triggers.price_at(head, ticks) == float(str(ticks * Decimal(tick)))


def after_history(closes: list[float], parameters: Parameters, tick: str = "0.01"):
    """Indicators after these closed candles, and the HEAD of their pair."""
    indicators = compiled(parameters)
    indicators.start([market(tick=tick)], False)
    records = [trade(T0 + i * MINUTE, close) for i, close in enumerate([*closes, closes[-1]])]
    fold_all(indicators, np.concatenate(records))
    return indicators, indicators.heads[0]


def codes_at(indicators, head: np.void, prices: list[float]) -> list[int]:
    """What the kernel itself says of a trade at each of these prices."""
    probe = compiled(indicators.parameters)
    probe.load(indicators.state.copy())
    records = np.concatenate([trade(int(head["open_ns"]) + 1, price) for price in prices])
    return probe.fold(records.tobytes(), 0)["codes"].tolist()


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[float], Parameters, str]:
    tick = draw(st.sampled_from(["0.01", "0.05", "1", "0.5"]))
    units, scale = price_grid(tick)
    rsi_period, bb_period = draw(st.integers(1, 20)), draw(st.integers(4, 24))
    limit = math.sqrt(bb_period - 1)
    parameters = Parameters(
        60_000,
        warmup_candles=draw(st.integers(1, 30)),
        rsi_period=rsi_period,
        rsi_smoothing=draw(st.sampled_from(["wilder", "ema"])),
        rsi_buy=draw(st.sampled_from([30.0, 45.0, 60.0])),
        rsi_sell=draw(st.sampled_from([70.0, 55.0, 40.0, 99.0])),
        rsi_crash=draw(st.sampled_from([20.0, 0.0, 35.0])),
        bb_period=bb_period,
        bb_stddev=draw(st.floats(0.1, limit * 0.97)),
    )
    middle = draw(st.sampled_from([200, 6_000_000, 40_000]))
    spread = draw(st.sampled_from([0, 1, 3, 60]))
    moves = draw(st.lists(st.integers(-spread, spread), min_size=parameters.needed, max_size=parameters.needed + 40))
    levels = np.maximum(np.cumsum(np.array([middle, *moves])), 1)
    return [int(level) * units / scale for level in levels], parameters, tick


@settings(max_examples=150, deadline=None)
@given(histories(), st.data())
def test_a_trigger_says_what_the_rule_says_at_every_grid_price(
    history: tuple[list[float], Parameters, str], data: st.DataObject
) -> None:
    closes, parameters, tick = history
    indicators, head = after_history(closes, parameters, tick)
    params = params_of(indicators.state)
    last = triggers.last_close_ticks(head)
    for rule in RULES:
        at = triggers.trigger_ticks(params, head, rule)
        around = at if at > 0 else last
        far = data.draw(st.lists(st.integers(1, last * 3), max_size=12))
        wanted = {*range(max(1, around - 12), around + 13), *range(max(1, last - 3), last + 4), 1, last * 900, *far}
        for ticks in sorted(wanted):
            holds = triggers.rule_holds(params, head, triggers.price_at(head, ticks), rule)
            if rule == EXIT_TAKE_PROFIT:
                assert holds == (0 < at <= ticks), (rule, at, ticks)
            else:
                assert holds == (ticks <= at), (rule, at, ticks)


@settings(max_examples=60, deadline=None)
@given(histories(), st.integers(0, 2**32 - 1))
def test_the_kernels_codes_agree_with_the_prices_of_the_view(
    history: tuple[list[float], Parameters, str], seed: int
) -> None:
    closes, parameters, tick = history
    indicators, head = after_history(closes, parameters, tick)
    (row,) = indicators.describe([0])
    last = triggers.last_close_ticks(head)
    spread = np.random.default_rng(seed).integers(-400, 400, 60)
    prices = [triggers.price_at(head, max(1, last + int(ticks))) for ticks in spread]
    for price, codes in zip(prices, codes_at(indicators, head, prices), strict=True):
        enters = codes & (ENTER_MEAN_REVERSION | ENTER_CRASH_CATCH) != 0
        assert enters == (price <= row["buy_below"])  # nan: never
        assert (codes & EXIT_TAKE_PROFIT != 0) == (price >= row["sell_above"])


def test_before_the_warm_up_is_over_there_are_no_triggers() -> None:
    indicators, head = after_history([100.0] * 5, Parameters(60_000, warmup_candles=50))
    (row,) = indicators.describe([0])
    assert math.isnan(row["buy_below"]) and math.isnan(row["sell_above"])
    assert triggers.buy_below_ticks(params_of(indicators.state), head) == triggers.NO_TICKS


def test_without_a_price_grid_there_are_no_triggers() -> None:
    parameters = Parameters(60_000, warmup_candles=5, rsi_period=3, bb_period=4)
    indicators, _ = after_history([100.0, 101.0, 99.0, 100.0, 102.0, 101.0], parameters, tick="0")
    (row,) = indicators.describe([0])
    assert math.isnan(row["buy_below"]) and math.isnan(row["sell_above"])


def test_the_rules_are_asked_and_not_copied() -> None:
    """The band's rule in the trigger is rules.entry_reason itself: price at the band is not under it."""
    params, head = np.zeros(1, PARAMS)[0], np.zeros(1, HEAD)[0]
    params["weight"], params["inverse"], params["stddev"] = 1.0, 0.25, 1.0
    params["rsi_buy"], params["rsi_crash"], params["rsi_sell"] = 101.0, 0.0, 70.0
    head["last_close"], head["carry_gain"], head["carry_loss"] = 10.0, 1.0, 1.0
    assert not triggers.rule_holds(params, head, 10.0, ENTER_MEAN_REVERSION)
    assert triggers.rule_holds(params, head, 9.0, ENTER_MEAN_REVERSION)
    assert rules.entry_reason(50.0, 10.0, 10.0, 101.0, 0.0) == 0
