"""The trigger-price form does what the trader's own engine does: decisions, fills, orders and equity, to the bit."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from backtest import events, fused, gather, trigger_walk, triggers
from backtest.columns import candles_of, columns_of
from backtest.result import Result
from backtest.trigger_prices import entry_edges, exit_edges
from bus.records import LATE
from core.settings_load import from_texts
from indicators import layout
from tests.backtest_world import assert_same
from tests.column_tools import Records, disordered, functions, markets, start_of, trades_of
from tests.indicator_tools import MINUTE, SECOND, T0, ticks

PLAIN: Any = SimpleNamespace(
    gather=gather.gather,
    find_minutes=gather.find_minutes,
    find_candles=gather.find_candles,
    walk=trigger_walk.walk,
)


RULES = st.fixed_dictionaries(
    {
        "TIMEFRAME": st.sampled_from(["1s", "15s", "15s", "1m", "1m", "1m", "5m"]),
        "WARMUP_CANDLES": st.sampled_from(["1", "3"]),
        "RSI_PERIOD": st.sampled_from(["2", "2", "3", "5"]),
        "RSI_SMOOTHING": st.sampled_from(["wilder", "ema"]),
        "RSI_BUY": st.sampled_from(["30", "49", "50", "50", "0"]),
        "RSI_CRASH": st.sampled_from(["20", "0", "45"]),
        "RSI_SELL": st.sampled_from(["55", "70", "100"]),
        "BB_PERIOD": st.sampled_from(["3", "3", "6", "20"]),
        "BB_STDDEV": st.sampled_from(["0.2", "0.2", "1", "1.4"]),
        "TRAILING_STOP_PCT": st.sampled_from(["0.005", "0.0001", "0.03"]),
    }
)
COSTS = st.fixed_dictionaries(
    {
        "PAPER_FILL": st.sampled_from(["tape", "instant"]),
        "PAPER_LATENCY_MS": st.sampled_from(["100", "0", "2500"]),
        "PAPER_PARTICIPATION": st.sampled_from(["1", "0.3", "0.001"]),
        "ENTRY_TIMEOUT_MS": st.sampled_from(["5000", "1", "600000"]),
        "TRADE_CAPITAL": st.sampled_from(["10000", "300", "20"]),
        "PAPER_BALANCE": st.sampled_from(["10500", "400"]),
        "TAKER_FEE_BPS": st.sampled_from(["", "0", "12.5", "-1"]),
        "SLIPPAGE_BPS": st.sampled_from(["0", "0", "3.5"]),
        "TAX_BUY_BPS": st.sampled_from(["0", "10"]),
        "TAX_SELL_BPS": st.sampled_from(["0", "100"]),
    }
)
LIMITS = st.fixed_dictionaries(
    {
        "MAX_DAILY_LOSS": st.sampled_from(["0", "0", "5"]),
        "MAX_DRAWDOWN_PCT": st.sampled_from(["0", "0", "0.002", "0.1"]),
        "MAX_CONSECUTIVE_LOSSES": st.sampled_from(["0", "0", "2"]),
        "COOLDOWN_SECONDS": st.sampled_from(["0", "0", "90"]),
        "MAX_ORDERS_PER_MINUTE": st.sampled_from(["30", "1", "0"]),
        "DAY_OFFSET_MINUTES": st.sampled_from(["0", "330"]),
    }
)
SETTINGS = st.tuples(RULES, COSTS, LIMITS).map(lambda parts: {**parts[0], **parts[1], **parts[2]})


def both(records: np.ndarray, chosen: Any, kernels: Any = None, **source: Any) -> tuple[Result, Result]:
    """The run by trigger prices, and by the trader's engine."""
    kernels = kernels or functions()
    columns = columns_of(Records(records, **source), chosen.timeframe_ms, kernels)
    return triggers.run(columns, chosen, kernels), events.run(Records(records, **source), chosen)


def describe(result: Result) -> None:
    event(f"fills {min(len(result.fills), 6)}")
    for reason in {*result.refusals, result.trading_reason}:
        event(reason)
    for reason in np.unique(result.decisions["reason"]).tolist():
        event(f"decided by {reason}")


@profile(max_examples=120, deadline=None)
@given(markets(), SETTINGS, st.booleans(), st.sampled_from(["0", "50"]))
def test_generated_markets(records: np.ndarray, texts: dict[str, str], connected: bool, notional: str) -> None:
    mine, theirs = both(records, from_texts(texts), connected=connected, start=start_of(notional=notional), first=7)
    assert_same(mine, theirs)
    describe(mine)


@profile(max_examples=25, deadline=None)
@given(markets(150), SETTINGS)
def test_uncompiled_it_is_the_same(records: np.ndarray, texts: dict[str, str]) -> None:
    assert_same(*both(records, from_texts(texts), PLAIN))


@profile(max_examples=150, deadline=None)
@given(markets(1_500), SETTINGS)
def test_the_fused_loop_says_the_same(records: np.ndarray, texts: dict[str, str]) -> None:
    chosen = from_texts(texts)
    columns = columns_of(Records(records), chosen.timeframe_ms, functions())
    assert_same(triggers.run(columns, chosen, functions()), fused.run(Records(records), chosen))


@profile(max_examples=60, deadline=None)
@given(markets(250), SETTINGS, st.integers(0, 2**32 - 1))
def test_late_trades_and_times_that_go_back(records: np.ndarray, texts: dict[str, str], seed: int) -> None:
    chosen = from_texts(texts)
    rng = np.random.default_rng(seed)
    records = disordered(records, rng, chosen.timeframe_ms)
    late = rng.random(len(records)) < 0.1
    records["flags"][late] = LATE
    records["exchange_ns"][late] -= 3_600 * SECOND
    assert_same(*both(records, chosen, cuts=[90, 91]))


def at_triggers(records: np.ndarray, chosen: Any, rng: np.random.Generator) -> np.ndarray:
    """The same market with trades at the very triggers of their candles, and a rounding to either side of them."""
    records = records.copy()
    parameters = triggers.parameters_for(columns_of(Records(records), chosen.timeframe_ms, functions()), chosen)
    params = layout.params_of(layout.new_state(parameters, 1))
    candle = 0
    while True:  # candle by candle: what is put into one moves the triggers of the next
        table = candles_of(columns_of(Records(records), chosen.timeframe_ms, functions()), parameters, functions())
        if candle >= min(len(table), 40):
            return records
        row = table[candle]
        end = table[candle + 1]["first"] if candle + 1 < len(table) else len(records)
        edges = [edge for edge in (*entry_edges(row, params), *exit_edges(row, params)) if 1e-3 < edge < 1e6]
        if row["closed"] >= params["needed"] and edges:
            for at in range(int(row["first"]), int(end)):
                if rng.random() < 0.4:
                    edge = edges[rng.integers(len(edges))] * (1 + rng.choice([0, 1e-9, -1e-9, 3e-10, 2e-9]))
                    records["price"][at] = np.nextafter(edge, edge * rng.choice([1, 2, 0.5]))
        candle += 1


@profile(max_examples=30, deadline=None)
@given(markets(120), SETTINGS, st.integers(0, 2**32 - 1))
def test_prices_exactly_at_the_triggers(records: np.ndarray, texts: dict[str, str], seed: int) -> None:
    chosen = from_texts(texts)
    mine, theirs = both(at_triggers(records, chosen, np.random.default_rng(seed)), chosen)
    assert_same(mine, theirs)
    describe(mine)


def test_a_market_without_trades() -> None:
    assert_same(*both(trades_of([], []), from_texts({})))


def test_no_decision_before_the_warm_up_is_over() -> None:
    falling = [100_000 - 500 * at for at in range(60)]
    records = trades_of([T0 + at * MINUTE for at in range(60)], falling)
    mine, theirs = both(records, from_texts({"PAPER_FILL": "instant", "WARMUP_CANDLES": "30"}))
    assert_same(mine, theirs)
    assert mine.decisions["number"][0] == 30


def test_the_arrays_of_a_long_run_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backtest.triggers.ROOM", 1)
    rng = np.random.default_rng(3)
    level = 6_000_000 + np.cumsum(rng.normal(0, 3_000, 400)).astype(np.int64)
    records = trades_of([T0 + at * 20 * SECOND for at in range(400)], level.tolist())
    texts = {"RSI_PERIOD": "2", "BB_PERIOD": "3", "BB_STDDEV": "0.5", "WARMUP_CANDLES": "1", "PAPER_FILL": "instant"}
    mine, theirs = both(records, from_texts(texts))
    assert_same(mine, theirs)
    assert len(mine.decisions) > 8


LOOSE = {"RSI_PERIOD": "5", "BB_PERIOD": "10", "BB_STDDEV": "1", "RSI_BUY": "40", "RSI_SELL": "60"}


@pytest.mark.parametrize("name", ["binance_spot_xrpeth_20191011", "mtgox_btcusd_20131211", "kraken_bcheur_20230101"])
@pytest.mark.parametrize("texts", [{}, {"RSI_SMOOTHING": "ema"}, LOOSE, {**LOOSE, "PAPER_FILL": "instant"}])
def test_recorded_ticks(name: str, texts: dict[str, str]) -> None:
    records = ticks(name).copy()
    records["ticks"] = np.round(records["price"] * 1e8)
    records["lots"] = np.round(records["quantity"] * 1e8)
    start = start_of(tick="0.00000001", step="0.00000001", least="0")
    assert_same(*both(records, from_texts(texts), start=start))
