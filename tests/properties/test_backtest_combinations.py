"""A combination's row of sums is what a whole run with its settings comes to, by candles and trade by trade."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from backtest import fused, grid_candles, grid_loop
from backtest.columns import candles_of, columns_of
from backtest.combinations import Axis, combinations_of, product_of, readings_of, summaries_of
from backtest.legs import legs_table
from backtest.result import Result
from backtest.stats import statistics_of
from backtest.stats_equity import closing_units, daily_returns, drawdown, equity_curve
from backtest.sweep_figures import figures_of, figures_of_sums
from backtest.triggers import parameters_for
from core.settings_load import from_texts
from tests.column_tools import Records, functions, markets, start_of, trades_of
from tests.indicator_tools import MINUTE, T0
from tests.properties.test_backtest_triggers import COSTS, LIMITS, RULES

PLAIN: Any = SimpleNamespace(read_candles=grid_candles.read_candles, runner=grid_loop.runner)
SETTINGS = st.tuples(RULES, COSTS, LIMITS).map(lambda parts: {**parts[0], **parts[1], **parts[2]})
NO_LIMITS = st.tuples(RULES, COSTS).map(lambda parts: {**parts[0], **parts[1]})


def expected(result: Result) -> dict[str, float]:
    """The sums, out of a whole run."""
    legs = legs_table(result)
    profit, returns = legs["profit"], legs["profit"] / np.maximum(legs["cost"], 1)
    curve = equity_curve(result)
    peaks = np.maximum.accumulate(curve.units)
    days = daily_returns(curve, int(result.settings["DAY_OFFSET_MINUTES"]) * MINUTE)
    return {
        "legs": len(legs),
        "wins": int((profit > 0).sum()),
        "losses": int((profit < 0).sum()),
        "won": int(profit[profit > 0].sum()),
        "lost": -int(profit[profit < 0].sum()),
        "leg_mean": mean_of(returns),
        "leg_spread": math.fsum((returns - mean_of(returns)) ** 2),
        "fees": int(result.fills["fee"].sum()),
        "taxes": int(result.fills["tax"].sum()),
        "realized": result.realized,
        "closing": closing_units(result),
        "open_lots": result.held[0].lots,
        "halted": int(result.trading == "halted"),
        "drawdown": int((peaks - curve.units).max()),
        "drawdown_fraction": drawdown(curve).fraction,
        "days": len(days),
        "day_mean": mean_of(days),
        "day_spread": math.fsum((days - mean_of(days)) ** 2),
        "day_downside": math.fsum(np.minimum(days, 0) ** 2),
    }


def mean_of(values: np.ndarray) -> float:
    return math.fsum(values) / len(values) if len(values) else 0.0


def check(records: np.ndarray, texts: dict[str, str], kernels: Any, **source: Any) -> tuple[np.void, Result]:
    chosen = from_texts(texts)
    columns = columns_of(Records(records, **source), chosen.timeframe_ms, functions())
    table = candles_of(columns, parameters_for(columns, chosen), functions())
    combinations = combinations_of(columns, [chosen] * 2)
    readings = readings_of(columns, table, chosen, kernels)
    rows = summaries_of(columns, table, readings, chosen, combinations, kernels)
    assert rows[0].tobytes() == rows[1].tobytes()  # nothing is left over of a combination
    result = fused.run(Records(records, **source), chosen)
    for name, value in expected(result).items():
        assert rows[0][name] == pytest.approx(value, rel=1e-9, abs=1e-12), name
    figures = figures_of_sums(rows, combinations["balance"])[0]
    assert figures.tobytes() == figures_of(result).tobytes(), (figures, figures_of(result))
    exposure = statistics_of(result).holding.exposure
    span_ns = int(columns.ns[-1] - columns.ns[0]) if len(columns) else 0
    if exposure is not None and span_ns:
        assert rows[0]["held_ns"] / span_ns == pytest.approx(exposure)
    event(f"legs {min(int(rows[0]['legs']), 5)}")
    return rows[0], result


def one_a_candle(records: np.ndarray, timeframe_ms: int) -> np.ndarray:
    """The last trade of each candle."""
    bucket = records["exchange_ns"] // (timeframe_ms * 1_000_000)
    return records[np.append(bucket[1:] != bucket[:-1], True)] if len(records) else records


@profile(max_examples=150, deadline=None)
@given(markets(500), SETTINGS, st.sampled_from(["0", "50"]))
def test_trade_by_trade(records: np.ndarray, texts: dict[str, str], notional: str) -> None:
    check(records, texts, functions(), start=start_of(notional=notional))


@profile(max_examples=150, deadline=None)
@given(markets(900), NO_LIMITS, st.sampled_from(["0", "50"]), st.sampled_from([1, 40]))
def test_one_trade_a_candle(records: np.ndarray, texts: dict[str, str], notional: str, slower: int) -> None:
    texts = {**texts, "PAPER_FILL": "instant", "TIMEFRAME": "1m"}
    records["exchange_ns"] = T0 + (records["exchange_ns"] - T0) * slower  # days go by
    check(one_a_candle(records, 60_000), texts, functions(), start=start_of(notional=notional))


@profile(max_examples=25, deadline=None)
@given(markets(200), NO_LIMITS, st.booleans())
def test_uncompiled_it_is_the_same(records: np.ndarray, texts: dict[str, str], by_candle: bool) -> None:
    if by_candle:
        texts = {**texts, "PAPER_FILL": "instant", "TIMEFRAME": "1m"}
        records = one_a_candle(records, 60_000)
    check(records, texts, PLAIN)


@profile(max_examples=60, deadline=None)
@given(markets(900), NO_LIMITS, st.integers(0, 2**32 - 1))
def test_what_combinations_share_is_each_ones_own(records: np.ndarray, texts: dict[str, str], seed: int) -> None:
    """Many at once, in any order, come to what each comes to alone."""
    chosen = from_texts({**texts, "PAPER_FILL": "instant", "TIMEFRAME": "1m", "RSI_BUY": "30", "RSI_SELL": "70"})
    columns = columns_of(Records(one_a_candle(records, 60_000)), chosen.timeframe_ms, functions())
    table = candles_of(columns, parameters_for(columns, chosen), functions())
    readings = readings_of(columns, table, chosen, functions())
    axes = [
        Axis("rsi_buy", [30.0, 49.0]),
        Axis("rsi_sell", [55.0, 70.0, 85.0, 100.0]),
        Axis("trailing_stop_pct", [0.0005, 0.005, 0.03]),
        Axis("bb_stddev", [0.2, 1.0]),
    ]
    combinations = np.random.default_rng(seed).permutation(product_of(columns, chosen, axes))
    together = summaries_of(columns, table, readings, chosen, combinations, functions(), jobs=2)
    for at in range(len(combinations)):
        alone = summaries_of(columns, table, readings, chosen, combinations[at : at + 1], functions())
        assert alone[0].tobytes() == together[at].tobytes()


def moving(count: int) -> np.ndarray:
    rng = np.random.default_rng(8)
    level = 6_000_000 + np.cumsum(rng.normal(0, 4_000, count)).astype(np.int64)
    return trades_of([T0 + at * MINUTE for at in range(count)], level.tolist(), [10**9] * count)


def test_a_product_of_axes_gives_each_combination_its_own_settings() -> None:
    base = from_texts({"PAPER_FILL": "instant"})
    columns = columns_of(Records(moving(3_000)), base.timeframe_ms, functions())
    table = candles_of(columns, parameters_for(columns, base), functions())
    axes = [
        Axis("rsi_buy", [20.0, 30.0, 45.0]),
        Axis("bb_stddev", [0.5, 2.0]),
        Axis("taker_fee_bps", [None, base.slippage_bps + 7]),
        Axis("paper_fill", ["instant", "tape"]),
        Axis("trailing_stop_pct", [0.001, 0.02]),
    ]
    records = product_of(columns, base, axes)
    each = [
        from_texts(
            {
                "PAPER_FILL": fill,
                "RSI_BUY": str(buy),
                "BB_STDDEV": str(width),
                "TAKER_FEE_BPS": "" if fee is None else str(fee),
                "TRAILING_STOP_PCT": str(stop),
            }
        )
        for buy in axes[0].values
        for width in axes[1].values
        for fee in axes[2].values
        for fill in axes[3].values
        for stop in axes[4].values
    ]
    assert records.tobytes() == combinations_of(columns, each).tobytes()
    done: list[int] = []
    readings = readings_of(columns, table, base, functions())
    rows = summaries_of(columns, table, readings, base, records, functions(), jobs=2, progress=done.append)
    assert sum(done) == len(each)
    for row, chosen in zip(rows, each, strict=True):
        assert row["closing"] == closing_units(fused.run(Records(moving(3_000)), chosen))
    assert rows["legs"].max() > 20


def test_a_product_over_the_cost_gate_shuts_it_where_all_costs_together_exceed_the_stop() -> None:
    base = from_texts({"PAPER_FILL": "instant", "COST_GATE": "refuse"})
    columns = columns_of(Records(moving(3_000)), base.timeframe_ms, functions())
    table = candles_of(columns, parameters_for(columns, base), functions())
    axes = [
        Axis("taker_fee_bps", [base.slippage_bps + 5, base.slippage_bps + 30]),
        Axis("trailing_stop_pct", [0.003, 0.02]),
        Axis("cost_gate", ["warn", "refuse"]),
    ]
    records = product_of(columns, base, axes)
    assert records["costly"].tolist() == [0, 0, 0, 0, 0, 1, 0, 0]
    rows = summaries_of(columns, table, readings_of(columns, table, base, functions()), base, records, functions())
    assert [bool(legs) for legs in rows["legs"]] == [True] * 5 + [False] + [True] * 2
    assert rows["legs"][4] > 0


def test_profits_fall_into_the_blocks_in_which_their_legs_ended() -> None:
    chosen = from_texts({"PAPER_FILL": "instant", "RSI_BUY": "45", "BB_STDDEV": "0.5"})
    columns = columns_of(Records(moving(3_000)), chosen.timeframe_ms, functions())
    table = candles_of(columns, parameters_for(columns, chosen), functions())
    borders = np.array([0, T0 + 700 * MINUTE, T0 + 701 * MINUTE, T0 + 2_500 * MINUTE])
    for fill in ("instant", "tape"):
        chosen = from_texts({"PAPER_FILL": fill, "ENTRY_TIMEOUT_MS": "600000", "RSI_BUY": "45", "BB_STDDEV": "0.5"})
        combinations = combinations_of(columns, [chosen] * 3)
        combinations["kept"] = [1, -1, 0]
        profits, readings = np.zeros((2, 4)), readings_of(columns, table, chosen, functions())
        summaries_of(columns, table, readings, chosen, combinations, functions(), borders=borders, profits=profits)
        legs = legs_table(fused.run(Records(moving(3_000)), chosen))
        wanted = np.zeros(4)
        np.add.at(wanted, np.searchsorted(borders, legs["exit_ns"], side="right") - 1, legs["profit"])
        assert profits.tolist() == [wanted.tolist()] * 2 and (wanted != 0).sum() >= 3


def test_combinations_of_different_limits_of_entries_are_not_run_together() -> None:
    base = from_texts({})
    columns = columns_of(Records(moving(10)), base.timeframe_ms, functions())
    table = candles_of(columns, parameters_for(columns, base), functions())
    combinations = combinations_of(columns, [base, from_texts({"MAX_ORDERS_PER_MINUTE": "2"})])
    with pytest.raises(ValueError, match="MAX_ORDERS_PER_MINUTE"):
        summaries_of(columns, table, readings_of(columns, table, base, functions()), base, combinations, functions())
