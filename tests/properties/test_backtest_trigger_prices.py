"""Trigger prices in closed form: a comparison outside the guard says what the rule itself says, whatever the market."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from backtest.gather import CANDLE_ROW, find_candles
from backtest.trigger_prices import ALWAYS, NEVER, entry_edges, exit_edges, reading
from indicators import layout, rules
from indicators.layout import Parameters
from tests.indicator_tools import MINUTE, T0

PRICES = st.one_of(
    st.integers(1, 10**7).map(lambda ticks: ticks / 100),
    st.floats(1e-8, 1e9),
    st.sampled_from([1e-8, 0.01, 1.0, 99.99, 100.0, 100.01, 60_000.0]),
)


@st.composite
def markets(draw: st.DrawFn) -> tuple[list[float], Parameters]:
    """Closes of a segment and settings: calm and violent, equal prices, bands near the widest that can be reached."""
    bb_period = draw(st.sampled_from([2, 3, 5, 20, 60]))
    widest = math.sqrt(bb_period - 1)
    rsi_sell = draw(st.one_of(st.floats(0.5, 100.0), st.sampled_from([50.0, 55.0, 70.0, 99.999, 100.0])))
    below = st.one_of(st.sampled_from([0.0, 20.0, 30.0, 50.0]), st.floats(0.0, 100.0))
    parameters = Parameters(
        60_000,
        warmup_candles=1,
        rsi_period=draw(st.sampled_from([2, 3, 14, 60])),
        rsi_smoothing=draw(st.sampled_from(["wilder", "ema"])),
        rsi_buy=min(draw(below), rsi_sell),
        rsi_crash=min(draw(below), rsi_sell),
        rsi_sell=rsi_sell,
        bb_period=bb_period,
        bb_stddev=draw(
            st.one_of(st.floats(1e-3, 0.99), st.sampled_from([1 - 1e-3, 1 - 1e-7, 1 - 1e-12])).map(lambda f: f * widest)
        ),
    )
    count = parameters.needed + draw(st.integers(1, 8))
    kind = draw(st.sampled_from(["any", "walk", "equal", "fall"]))
    if kind == "any":
        return draw(st.lists(PRICES, min_size=count, max_size=count)), parameters
    first = draw(PRICES)
    if kind == "equal":
        return [first] * count, parameters
    steps = draw(st.lists(st.integers(-30, 30), min_size=count, max_size=count))
    factor = 1e-4 if kind == "walk" else -0.1
    moved = np.cumsum(np.abs(steps) if kind == "fall" else steps) * factor
    return (first * np.exp(np.clip(moved, -25, 25))).tolist(), parameters


def last_row(closes: list[float], parameters: Parameters) -> tuple[np.void, np.void]:
    """Settings, and the state of the candle after these closes."""
    state = layout.new_state(parameters, 1)
    scratch = layout.new_scratch(1, 4)
    table = np.zeros(len(closes) + 1, CANDLE_ROW)
    ns = T0 + np.arange(len(closes) + 1) * MINUTE
    found = find_candles(
        layout.params_of(state),
        layout.heads_of(state)[0],
        layout.closes_of(state).ravel(),
        scratch[layout.WORK_WORDS + 2 :].view(layout.ROW),
        scratch[: layout.COLUMNS_AT].view(layout.WORK)[0],
        ns,
        np.array([*closes, closes[-1]]),
        np.arange(len(closes) + 1),
        True,
        table,
    )
    assert found == len(closes) + 1
    return layout.params_of(state), table[-1]


def around(edge: float) -> list[float]:
    """Prices just outside an edge of the guard, and it itself."""
    if not 1e-12 < edge < 1e17:
        return []
    return [edge, math.nextafter(edge, math.inf), math.nextafter(edge, 0.0), edge * (1 - 1e-12), edge * (1 + 1e-12)]


@settings(max_examples=300, deadline=None)
@given(markets(), st.lists(PRICES, max_size=10), st.lists(st.floats(-1e-3, 1e-3), max_size=6))
def test_outside_the_guard_a_comparison_says_what_the_rule_says(
    market: tuple[list[float], Parameters], far: list[float], near: list[float]
) -> None:
    params, row = last_row(*market)
    buy_low, buy_high = entry_edges(row, params)
    sell_low, sell_high = exit_edges(row, params)
    last = float(row["last_close"])
    event(f"entry edge: {'none' if buy_high < 0 else 'any' if buy_high >= ALWAYS else 'a price'}")
    edges = [buy_low, buy_high, sell_low, sell_high]
    prices = [p for edge in edges for p in around(edge)] + around(last) + far
    prices += [base * (1 + offset) for base in (last, *edges) if 1e-12 < base < 1e17 for offset in near]
    prices += [last * 1e-3, last * 1e-6, last * 3, last * 1e4]
    for price in prices:
        rsi, lower = reading(row, params, price)
        enters = rules.entry_reason(rsi, price, lower, params["rsi_buy"], params["rsi_crash"]) != 0
        sells = rules.take_profit(rsi, params["rsi_sell"])
        if price > buy_high:
            assert not enters, (price, buy_high, rsi, lower)
        if price < buy_low:
            assert enters, (price, buy_low, rsi, lower)
        if price < sell_low:
            assert not sells, (price, sell_low, rsi)
        if price > sell_high:
            assert sells, (price, sell_high, rsi)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["wilder", "ema"]), st.sampled_from([14, 60]))
def test_the_guard_of_a_usual_market_is_no_wider_than_it_must(seed: int, smoothing: str, period: int) -> None:
    rng = np.random.default_rng(seed)
    closes = 60_000 + np.cumsum(rng.normal(0, 20, period + 60))
    params, row = last_row(closes.tolist(), Parameters(60_000, rsi_period=period, rsi_smoothing=smoothing))
    for low, high in (entry_edges(row, params), exit_edges(row, params)):
        assert 0 < low < high < low * (1 + 4.1e-9)


def test_thresholds_of_0_are_never_met_and_100_is_left_to_the_rule() -> None:
    params, row = last_row([100.0, 101.0] * 30, Parameters(60_000, rsi_buy=0.0, rsi_crash=0.0, rsi_sell=100.0))
    assert entry_edges(row, params) == (NEVER, NEVER)
    assert exit_edges(row, params) == (-ALWAYS, ALWAYS)


@pytest.mark.parametrize("smoothing", ["wilder", "ema"])
def test_an_edge_is_where_the_live_trigger_is(smoothing: str) -> None:
    """Against `indicators.triggers`, which gallops over the grid and asks the rule."""
    from indicators import triggers

    closes = (60_000 + np.round(np.cumsum(np.random.default_rng(5).normal(0, 20, 80)), 2)).tolist()
    params, row = last_row(closes, Parameters(60_000, rsi_smoothing=smoothing))
    head: Any = np.zeros(1, layout.HEAD)[0]
    for name in ("last_close", "carry_gain", "carry_loss", "sum1", "sum2", "closed"):
        head[name] = row[name]
    head["tick_units"], head["tick_scale"] = 1, 100
    buy, sell = triggers.buy_below_ticks(params, head), triggers.trigger_ticks(params, head, 8)
    low, high = entry_edges(row, params)
    assert buy / 100 <= high and (buy + 1) / 100 >= low
    low, high = exit_edges(row, params)
    assert sell / 100 >= low and (sell - 1) / 100 <= high
