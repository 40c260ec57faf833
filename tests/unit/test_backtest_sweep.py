"""The sweep: each combination's row is that of a run of its own, by whichever form, on however many threads."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from backtest import fused, gather, grid_candles, grid_loop, trigger_walk
from backtest.columns import columns_of
from backtest.grid import grid_of, settings_of
from backtest.legs import legs_table
from backtest.stats import statistics_of
from backtest.sweep import BLOCKS, Markets, Sweep, combined, plan_of
from backtest.sweep_figures import FIGURES, block_profits, figures_of, ranked, values_of
from backtest.sweep_group import Window
from backtest.sweep_market import COLUMNS, RECORDS, ColumnMarket, Market, RecordMarket, market_of
from bus.records import HOLE
from core.errors import MisconfiguredError
from core.settings import Settings, as_texts
from core.settings_load import from_texts
from tests.column_tools import Records, functions, start_of, trades_of
from tests.indicator_tools import MINUTE, SECOND, T0

PLAIN: Any = SimpleNamespace(
    gather=gather.gather,
    find_minutes=gather.find_minutes,
    find_candles=gather.find_candles,
    walk=trigger_walk.walk,
    read_candles=grid_candles.read_candles,
    runner=grid_loop.runner,
)
BASE = from_texts({"WARMUP_CANDLES": "3", "RSI_PERIOD": "3", "BB_PERIOD": "5", "BB_STDDEV": "0.5"})


def market_records(count: int = 3_000, seed: int = 3, pairs: int = 1) -> np.ndarray:
    """Some hours of trades that rise and fall enough to be traded."""
    rng = np.random.default_rng(seed)
    ns = T0 + np.cumsum(rng.integers(1, 12, count)) * SECOND
    ticks = np.round(1_000_000 + np.cumsum(rng.normal(0, 500, count))).astype(np.int64)
    records = trades_of(ns.tolist(), ticks.tolist())
    records["pair"] = rng.integers(0, pairs, count)
    return records


RECORDS_OF_ONE = market_records()


def opened(records: np.ndarray = RECORDS_OF_ONE, pairs: int = 1) -> Any:
    return lambda settings: Records(records, start_of(pairs=pairs))


def by_columns(settings: Settings) -> Market:
    return market_of(opened(), settings, PLAIN)


def by_records(settings: Settings) -> Market:
    return RecordMarket(opened(), settings, "asked for")


def swept(texts: list[str], market_for: Any, base: Settings = BASE, jobs: int = 1) -> Sweep:
    sweep = Sweep(plan_of(grid_of(texts, base), base), Markets(market_for), jobs=jobs)
    while sweep.take(7):
        pass
    return sweep


GRID = ["RSI_BUY=30,50", "BB_PERIOD=5,8", "TAKER_FEE_BPS=0,5", "TRAILING_STOP_PCT=0.001:0.003:0.001"]


COSTS = [
    *("PAPER_FILL=tape,instant", "MAX_ORDERS_PER_MINUTE=0,1,2", "PAPER_BALANCE=10500,500", "TAX_SELL_BPS=0,100"),
    *("MAX_CONSECUTIVE_LOSSES=0,3", "RSI_BUY=50"),
]
CANDLES = RECORDS_OF_ONE[np.append(np.diff(RECORDS_OF_ONE["exchange_ns"] // MINUTE) != 0, True)]  # one trade in each


@pytest.mark.parametrize(("grid", "records"), [(GRID, RECORDS_OF_ONE), (COSTS, RECORDS_OF_ONE), (COSTS, CANDLES)])
def test_a_combinations_row_is_that_of_a_run_with_its_settings(grid: list[str], records: np.ndarray) -> None:
    def market_for(settings: Settings) -> Market:
        return market_of(opened(records), settings, functions())

    found = swept(grid, market_for, jobs=2).found
    assert found.ran.all() and len(found.rows) in (24, 48)
    assert (found.rows["legs"] > 0).sum() > 12
    for place in range(0, len(found.rows), 5):
        settings = settings_of(as_texts(BASE), found.plan.texts_at(place))
        result = fused.run(opened(records)(settings), settings)
        assert figures_of(result).tobytes() == found.rows[place].tobytes(), found.plan.texts_at(place)
        legs = legs_table(result)
        ns = records["exchange_ns"]
        assert found.profits[place].tolist() == block_profits(legs, int(ns[0]), int(ns[-1]), BLOCKS).tolist()
        assert found.profits[place].sum() == legs["profit"].sum()


def test_both_forms_and_any_number_of_threads_give_the_same_rows() -> None:
    one = swept(GRID, by_columns).found
    for market_for, jobs in ((by_records, 1), (by_records, 3), (by_columns, 2)):
        other = swept(GRID, market_for, jobs=jobs).found
        assert one.rows.tobytes() == other.rows.tobytes()
        assert one.profits.tobytes() == other.profits.tobytes()


def test_figures_are_those_of_the_statistics() -> None:
    result = fused.run(opened()(BASE), BASE)
    told, row = statistics_of(result), dict(values_of(figures_of(result)[0]))
    assert row["net_profit"] == told.money.net_profit
    assert row["return_fraction"] == told.money.return_fraction
    assert row["realized"] == told.money.realized
    for name in ("legs", "wins", "losses", "win_rate", "profit_factor", "expectancy"):
        assert row[name] == getattr(told.trading, name), name
    for name in ("sharpe", "sortino", "sharpe_leg"):
        assert row[name] == getattr(told.returns, name), name
    assert row["drawdown"] == told.drawdown.amount
    assert row["drawdown_fraction"] == told.drawdown.fraction
    assert row["fees"] == told.costs.fees_paid and row["taxes"] == told.costs.taxes_paid
    assert row["open_positions"] == len(told.open_positions)


def test_candles_are_made_once_for_each_candle_setting() -> None:
    markets: list[ColumnMarket] = []

    def market_for(settings: Settings) -> Market:
        found = ColumnMarket(columns_of(opened()(settings), settings.timeframe_ms, PLAIN), PLAIN)
        markets.append(found)
        return found

    grid = ["RSI_BUY=30,40", "BB_PERIOD=5,8", "TIMEFRAME=1m,5m", "RSI_SELL=60,70", "RSI_PERIOD=3,4,5"]
    assert swept(grid, market_for).found.ran.all()
    assert [market.tables_made for market in markets] == [6, 6], "columns once a TIMEFRAME, candles once a setting"


def test_what_settings_forbid_is_not_run_and_named() -> None:
    found = swept(["RSI_BUY=30,70,80", "BB_STDDEV=1,2", "RSI_SELL=60,75"], by_columns).found
    assert found.plan.forbidden == 3 * 2 * 2 - found.ran.sum()
    assert found.plan.named[0].reason.startswith("BB_STDDEV=2 can never be reached with BB_PERIOD=5")
    assert any(item.reason.startswith("RSI_BUY=80 must be below RSI_SELL=75") for item in found.plan.named)
    assert found.ran.sum() == 3
    with pytest.raises(MisconfiguredError, match="all 2 combinations are forbidden: RSI_BUY=90 must be below"):
        plan_of(grid_of(["RSI_BUY=90,95"], BASE), BASE)


def test_settings_of_a_combination_are_those_that_texts_make() -> None:
    for texts in ({"RSI_BUY": "25", "TAKER_FEE_BPS": "7.5"}, {"TIMEFRAME": "5m", "PAPER_FILL": "instant"}):
        assert combined(BASE, texts) == settings_of(as_texts(BASE), texts)


def test_a_grid_beyond_the_bound_says_how_many() -> None:
    grid = grid_of(["RSI_BUY=1:40:0.01", "RSI_CRASH=1:40:0.01"], BASE)
    with pytest.raises(MisconfiguredError, match=r"15,217,801 combinations \(3,901 RSI_BUY x 3,901 RSI_CRASH\)"):
        plan_of(grid, BASE)


def test_a_combination_that_cannot_be_run_is_named_and_the_others_go_on() -> None:
    found = swept(["MAX_DRAWDOWN_PCT=0,0.0000001"], by_columns).found
    assert found.ran.tolist() == [True, False]
    assert found.plan.forbidden == 1 and "MAX_DRAWDOWN_PCT is 1e-07" in found.plan.named[0].reason


def test_more_than_columns_hold_runs_by_records_and_says_why() -> None:
    assert market_of(opened(), BASE, PLAIN).form == COLUMNS
    two = market_of(opened(market_records(pairs=2), pairs=2), BASE, PLAIN)
    assert (two.form, two.reason) == (RECORDS, "2 pairs: columns hold one")
    holed = RECORDS_OF_ONE.copy()
    holed["kind"][500] = HOLE
    assert market_of(opened(holed), BASE, PLAIN).reason == "record 500 is a HOLE: columns hold trades"
    assert market_of(opened(), BASE, None).reason == "there is no compiled code for columns"


@pytest.mark.parametrize("minutes", [(0, 60), (95, 200), (30, 31)], ids=["from the start", "inside", "one minute"])
def test_a_window_is_the_same_run_by_columns_and_by_records(minutes: tuple[int, int]) -> None:
    settings = combined(BASE, {"RSI_BUY": "50", "PAPER_FILL": "instant"})
    window = Window(*(T0 + minute * MINUTE for minute in minutes))
    one, other = (market.run(settings, window) for market in (by_columns(settings), by_records(settings)))
    assert one.spans == other.spans and one.spans
    for name in ("decisions", "orders", "fills"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name
    assert (one.wallet, one.realized) == (other.wallet, other.realized)
    inside = (RECORDS_OF_ONE["exchange_ns"] >= window.first_ns) & (RECORDS_OF_ONE["exchange_ns"] < window.end_ns)
    assert one.trades == inside.sum()
    assert (one.decisions["ns"] >= window.first_ns).all() and (one.decisions["ns"] < window.end_ns).all()


def test_a_window_that_begins_flat_decides_what_the_whole_run_does() -> None:
    settings = combined(BASE, {"RSI_BUY": "50", "PAPER_FILL": "instant", "PAPER_BALANCE": "100000000"})
    market = by_columns(settings)
    whole = market.run(settings)
    legs = legs_table(whole)
    assert len(legs) > 20
    for at in (3, 10, 17):
        begins = int(legs["exit_ns"][at]) + 1
        window = Window(begins, int(legs["exit_ns"][at + 3]) + 1)
        part = market.run(settings, window)
        ns = whole.decisions["ns"]
        expected = whole.decisions[(ns >= window.first_ns) & (ns < window.end_ns)]
        assert part.decisions.tobytes() == expected.tobytes()


def test_an_empty_window_is_an_empty_run() -> None:
    far = Window(T0 + 10**15, T0 + 10**15 + MINUTE)
    for market in (by_columns(BASE), by_records(BASE)):
        row = figures_of(market.run(BASE, far))
        assert (int(row["legs"][0]), int(row["net_profit"][0])) == (0, 0)


def test_the_best_come_first_and_unknown_figures_last() -> None:
    rows = np.zeros(5, FIGURES)
    rows["sharpe_leg"] = [0.5, np.nan, 2.0, 0.5, -1.0]
    assert ranked(rows, "sharpe_leg").tolist() == [2, 0, 3, 4, 1]
    rows["net_profit"] = [1, 5, 5, -2, 0]
    assert ranked(rows, "net_profit").tolist() == [1, 2, 0, 4, 3]
