"""The fused loop on recorded markets beside the slow reference and the event engine; its own cases by name."""

import math
from typing import Any

import numpy as np
import pytest

from backtest import events, fused
from backtest.result import ACTIONS, REASONS, Result
from backtest.sources import open_source
from bus.records import RECORD
from core.errors import MisconfiguredError
from core.paths import ROOT
from core.settings import Settings
from core.settings_load import from_texts
from tests.backtest_world import InMemory, assert_same
from tests.indicator_tools import MINUTE, T0, hole, trade, walk
from tests.properties.test_backtest_fused import compiled_loop, walked
from tests.reference import slow_strategy as slow
from tests.shared_data import shared_data
from tests.trader_world import market, start
from tests.unit.test_reference_equals_trader import FILES, PAIR, texts_of

QUOTE = ("bybit_inverse_btcusd_20191001", "btcperp_20220101-15.minutecloses")  # their quantity is in quote currency
STRATEGIES: dict[str, dict[str, Any]] = {
    "default": {},
    "ema": {"RSI_SMOOTHING": "ema"},
    "loosened": {
        "RSI_BUY": 45,
        "RSI_SELL": 55,
        "RSI_CRASH": 25,
        "BB_STDDEV": 1,
        "TRAILING_STOP_PCT": 0.002,
        "WARMUP_CANDLES": 20,
    },
}
FRICTIONLESS = {"PAPER_FILL": "instant", "TAKER_FEE_BPS": 0, "PAPER_BALANCE": 1_000_000_000}


def settings_of(**changed: Any) -> Settings:
    texts = {name: str(value) for name, value in changed.items()}
    return from_texts({"PAIRS": PAIR, "VAR_DIR": str(ROOT / "var")} | texts)


def of_file(engine: Any, name: str, settings: Settings) -> Result:
    path = shared_data(f"ticks/{name}.ticks.csv.gz")
    source = open_source([path], settings, qty_unit="quote" if name in QUOTE else "base")
    return engine.run(source, settings, bars=True)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", FILES)
def test_recorded_markets_as_the_reference_decides(name: str, strategy: str) -> None:
    chosen = STRATEGIES[strategy] | FRICTIONLESS
    found = of_file(fused, name, settings_of(**chosen))
    trades = slow.read_ticks(shared_data(f"ticks/{name}.ticks.csv.gz"), PAIR)
    theirs = slow.Strategy(texts_of(**chosen), {PAIR: slow.Market()}).run(trades)
    mine = [
        (int(row["ns"]), ACTIONS[row["action"]], REASONS[row["reason"]], float(row["price"])) for row in found.decisions
    ]
    assert mine == [(row.ts_ns, row.action, row.reason, row.price) for row in theirs.decisions]
    for row, wanted in zip(found.decisions, theirs.decisions, strict=True):
        for value, expected in ((row["rsi"], wanted.rsi), (row["bb_lower"], wanted.bb_lower)):
            assert math.isclose(value, expected, rel_tol=1e-9)
    assert len(found.bars) == len(theirs.closed_candles[PAIR])
    assert bool(mine) == (name != "binance_spot_btcusdt_20240808T2354Z" or (strategy == "loosened" and bool(mine)))


@pytest.mark.parametrize("paper_fill", ["tape", "instant"])
@pytest.mark.parametrize("strategy", ["default", "loosened"])
@pytest.mark.parametrize("name", FILES)
def test_recorded_markets_as_the_event_engine(name: str, strategy: str, paper_fill: str) -> None:
    settings = settings_of(**STRATEGIES[strategy], PAPER_FILL=paper_fill, TAKER_FEE_BPS=5, SLIPPAGE_BPS=1)
    assert_same(of_file(fused, name, settings), of_file(events, name, settings))


# --- cases by name ---------------------------------------------------------------------------------------

LOOSE = settings_of(
    RSI_BUY=49, RSI_SELL=51, BB_STDDEV=0.1, WARMUP_CANDLES=3, RSI_PERIOD=3, BB_PERIOD=3, TRAILING_STOP_PCT=0.0004
)
ONE = start(market(PAIR, "0.01", "0.001", min_quantity="0.001", min_notional="5"), fee="10")


def of_walk(seed: int, count: int = 3_000, pair: int = 0, **more: Any) -> np.ndarray:
    """A random walk with whole ticks and lots."""
    records = walk(seed, count, **more)
    records["pair"] = pair
    records["ticks"] = np.rint(records["price"] * 100)
    records["lots"] = np.rint(records["quantity"] * 1000)
    return records


def both(settings: Settings, *stretches: tuple[Any, np.ndarray], connected: bool = True, **more: Any) -> Result:
    """The fused result, after it was found equal to that of the event engine; so is the plain Python's."""
    theirs = events.run(InMemory(stretches, connected=connected), settings, bars=True)
    for function in (compiled_loop(), None):
        assert_same(walked(InMemory(stretches, connected=connected, **more), settings, function), theirs)
    return theirs


def test_one_dense_minute_after_another() -> None:
    found = both(LOOSE, (ONE, of_walk(1, step_ns=50_000_000, spread=3.0)))
    assert len(found.decisions) > 10


def test_a_timeframe_longer_than_a_minute_has_rows_of_equity_inside_its_candles() -> None:
    settings = settings_of(TIMEFRAME="5m", WARMUP_CANDLES=3, BB_PERIOD=3, BB_STDDEV=0.5, RSI_PERIOD=3, RSI_BUY=49)
    found = both(settings, (ONE, of_walk(2)))
    assert len(found.equity) > len(found.fills) + 2 * len(found.bars) and len(found.decisions) > 2


def test_several_pairs_share_one_wallet() -> None:
    begin = start(*(market(name, "0.01", "0.001") for name in (PAIR, "ETH/USDT", "XRP/USDT")), fee="5")
    records = np.concatenate([of_walk(seed, pair=pair) for pair, seed in enumerate((3, 4, 5))])
    records = records[np.argsort(records["exchange_ns"], kind="stable")]
    found = both(LOOSE, (begin, records), chunk=700)
    assert {int(pair) for pair in found.decisions["pair"]} == {0, 1, 2}
    assert found.orders["notes"].any()


def test_a_hole_inside_a_position_and_prints_out_of_order() -> None:
    records = of_walk(6)
    swapped = records.copy()
    swapped[100:-1:7], swapped[101::7] = records[101::7], records[100:-1:7]
    pieces = [
        swapped[:1500],
        hole(int(swapped["exchange_ns"][1499]), int(swapped["exchange_ns"][1500])),
        swapped[1500:],
    ]
    found = both(LOOSE, (ONE, np.concatenate(pieces)))
    assert found.late and len(found.decisions) > 10


def test_a_record_of_no_known_pair_and_an_impossible_price_are_counted() -> None:
    records = of_walk(7, 500)
    records["pair"][10] = 9
    records["price"][20] = 0.0
    assert both(LOOSE, (ONE, records)).unknown == 2


def test_more_missing_candles_than_the_limit_begin_anew_on_a_tape_only() -> None:
    records = of_walk(8, 2_000)
    records["exchange_ns"][1_000:] += 502 * MINUTE
    assert len(both(LOOSE, (ONE, records)).bars) > len(both(LOOSE, (ONE, records), connected=False).bars) + 400


def test_a_start_between_records_brings_a_new_pair_another_fee_and_new_rules() -> None:
    fewer = start(market(PAIR, "0.01", "0.001", min_notional="5"), fee="10")
    more = start(
        market(PAIR, "0.01", "0.001", min_notional="90", active=False), market("ETH/USDT", "0.01", "0.001"), fee="2"
    )
    alone = of_walk(9, 1_500)
    later = np.concatenate([of_walk(13, 1_500), of_walk(10, 1_500, pair=1)])
    later["exchange_ns"] += alone["exchange_ns"][-1] - T0
    later = later[np.argsort(later["exchange_ns"], kind="stable")]
    found = both(LOOSE, (fewer, alone), (more, later))
    assert found.fee == 200 and found.refusals.get("market_inactive")
    assert {int(pair) for pair in found.decisions["pair"]} == {0, 1}


def test_a_coarser_step_leaves_whole_lots_of_it() -> None:
    records = of_walk(11, 1_000)
    found = both(LOOSE, (ONE, records))
    held = fused.Run(LOOSE, compiled_loop(), connected=True)
    held.start(ONE)
    held.chunk(1, records[: int(found.fills["number"][0])])
    before = held.result([]).held[0]
    held.start(start(market(PAIR, "0.1", "0.01", min_quantity="0.001", min_notional="5"), fee="10"))
    after = held.result([]).held[0]
    assert before.lots and (after.lots, after.ticks) == (before.lots // 10, before.ticks // 10)


def test_a_start_that_renames_a_pair_number_is_refused() -> None:
    run = fused.Run(LOOSE, None, connected=True)
    run.start(ONE)
    with pytest.raises(MisconfiguredError, match="ETH/USDT, before it were BTC/USDT"):
        run.start(start(market("ETH/USDT")))


def test_no_records_at_all_are_a_result_too() -> None:
    found = both(LOOSE, (ONE, np.zeros(0, RECORD)))
    assert (found.trades, len(found.equity), found.held[0].lots) == (0, 0, 0)


def test_bars_cost_nothing_where_they_are_not_wanted() -> None:
    source = InMemory([(ONE, of_walk(12, 300))])
    assert not len(fused.run(source, LOOSE).bars)


def test_a_price_on_the_tick_of_the_stop_sells() -> None:
    prices = [100.0] * 8 + [99.0, 99.0, 120.0, 119.0, 118.0]
    records = np.concatenate([trade(T0 + k * MINUTE, price) for k, price in enumerate(prices)])
    records["ticks"], records["lots"] = records["price"] * 100, 1_000_000
    settings = settings_of(
        PAPER_FILL="instant",
        WARMUP_CANDLES=3,
        RSI_PERIOD=3,
        BB_PERIOD=3,
        BB_STDDEV=0.5,
        RSI_BUY=49,
        TRAILING_STOP_PCT=0.0083,
        RSI_SELL=100,
    )
    found = both(settings, (ONE, records))
    assert [REASONS[row["reason"]] for row in found.decisions] == ["crash_catch", "trailing_stop"]
