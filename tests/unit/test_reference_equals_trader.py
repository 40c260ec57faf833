"""Kernels and trader decide, fill and pay what the slow plain reading of design §4 does."""

import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.settings import SETTINGS
from tests.indicator_tools import kernels
from tests.reference import slow_strategy as slow
from tests.reference.pipeline_side import Answer, answer, cash_of
from tests.shared_data import FOLDER, shared_data

PAIR = "BTC/USDT"
FEE_BPS = "5"
FILES = (
    "binance_spot_btcusdt_20240808T2354Z",
    "binance_spot_xrpeth_20191011",
    "btcperp_20220101-15.minutecloses",
    "bybit_inverse_btcusd_20191001",
    "coinbase_btcusd_20161007.secondbars",
    "kraken_bcheur_20230101",
    "kraken_xbtusdt_20251110",
    "mtgox_btcusd_20131211",
)


def texts_of(**changed: Any) -> dict[str, str]:
    """All settings as text: the defaults, with some changed."""
    return {name: setting.default for name, setting in SETTINGS.items()} | {
        name: str(value) for name, value in changed.items()
    }


def assert_equal(reference: slow.Result, ours: Answer) -> None:
    """Decisions, fills, wallet and positions are the same; indicators to a billionth, all else exactly."""
    for place, (theirs, mine) in enumerate(zip(reference.decisions, ours.decisions, strict=False)):
        expected = (theirs.ts_ns, theirs.action, theirs.reason, theirs.price, theirs.pair)
        assert (*mine[:4], mine[6]) == expected, f"decision {place}"
        # In a degraded span the trader decides without indicators.
        for value, wanted in zip(mine[4:6], (theirs.rsi, theirs.bb_lower), strict=True):
            assert math.isnan(value) or value == pytest.approx(wanted, rel=1e-9), f"decision {place}"
    assert len(ours.decisions) == len(reference.decisions)
    for place, (fill, mine) in enumerate(zip(reference.fills, ours.fills, strict=False)):
        wanted = (fill.ts_ns // 1_000_000, fill.pair, fill.side, fill.price, fill.quantity, fill.cash)
        found = (mine.time, mine.pair, mine.side, Decimal(mine.price), Decimal(mine.quantity), cash_of(mine))
        assert found == wanted, f"fill {place}"
    assert len(ours.fills) == len(reference.fills)
    assert Decimal(ours.state.wallet).scaleb(-8) == reference.wallet
    for pair, state in ours.state.pairs.items():
        assert state.lots * state.step == reference.held[pair]
        assert state.dust_lots * state.step == reference.dust[pair]
        assert state.highest == reference.highest[pair]


def assert_same_candles(reference: slow.Result, ours: Answer, pairs: list[str]) -> None:
    """Closed candles are the same, prices exactly, volumes to a billionth (they are summed as floats)."""
    for number, pair in enumerate(pairs):
        rows = ours.rows[ours.rows["pair"] == number]
        assert len(rows) == len(reference.closed_candles[pair])
        for row, candle in zip(rows, reference.closed_candles[pair], strict=True):
            names = ("open_ns", "open", "high", "low", "close", "trades")
            assert [row[name] for name in names] == [candle[0], *(float(value) for value in candle[1:5]), candle[6]]
            assert row["volume"] == pytest.approx(float(candle[5]), rel=1e-9)


@pytest.mark.parametrize("smoothing", ["wilder", "ema"])
@pytest.mark.parametrize("paper_fill", ["tape", "instant"])
@pytest.mark.parametrize("name", FILES)
def test_recorded_markets(name: str, paper_fill: str, smoothing: str):
    trades = slow.read_ticks(shared_data(f"ticks/{name}.ticks.csv.gz"), PAIR)
    texts = texts_of(PAPER_FILL=paper_fill, RSI_SMOOTHING=smoothing)
    markets = {PAIR: slow.Market()}
    reference = slow.Strategy(texts, markets, taker_fee_bps=Decimal(FEE_BPS)).run(trades)
    ours = answer(trades, texts, markets, FEE_BPS, fold=kernels().fold)
    assert_equal(reference, ours)
    assert_same_candles(reference, ours, [PAIR])
    enough = name != "binance_spot_btcusdt_20240808T2354Z"  # eleven minutes never warm up
    assert bool(reference.decisions) == enough


def test_every_recorded_file_is_compared():
    found = {path.name.removesuffix(".ticks.csv.gz") for path in Path(FOLDER, "ticks").glob("*.ticks.csv.gz")}
    assert found <= set(FILES)
