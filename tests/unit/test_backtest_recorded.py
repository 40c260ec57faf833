"""On every recorded file of trades: both engines are one run to the bit, and decide what the reference does."""

from decimal import Decimal

import pytest

from backtest import events, fused
from backtest.result import ACTIONS, REASONS
from backtest.sources import open_source
from core.paths import ROOT
from core.settings_load import from_texts
from tests.backtest_world import assert_same
from tests.reference import slow_strategy as slow
from tests.shared_data import shared_data
from tests.unit.test_reference_equals_trader import FILES, PAIR, texts_of

IN_QUOTE = ("bybit_inverse_btcusd_20191001", "btcperp_20220101-15.minutecloses")
RICH = {"PAPER_FILL": "instant", "TAKER_FEE_BPS": "0", "PAPER_BALANCE": "1000000"}
RULES = {
    "default": {},
    "ema": {"RSI_SMOOTHING": "ema"},
    "loosened": {"RSI_BUY": "45", "RSI_SELL": "55", "RSI_CRASH": "30", "BB_STDDEV": "1", "TRAILING_STOP_PCT": "0.002"},
}


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("name", FILES)
def test_engines_and_reference_decide_the_same(name: str, rules: str) -> None:
    path = shared_data(f"ticks/{name}.ticks.csv.gz")
    changed = RICH | RULES[rules]
    settings = from_texts(changed | {"VAR_DIR": str(ROOT / "var")})

    def source():
        return open_source([path], settings, qty_unit="quote" if name in IN_QUOTE else "base")

    found = events.run(source(), settings, bars=True)
    assert_same(found, fused.run(source(), settings, bars=True))
    reference = slow.Strategy(texts_of(**changed), {PAIR: slow.Market()}, taker_fee_bps=Decimal(0))
    expected = reference.run(slow.read_ticks(path, PAIR)).decisions
    assert [
        (int(row["ns"]), ACTIONS[row["action"]], REASONS[row["reason"]], float(row["price"])) for row in found.decisions
    ] == [(decision.ts_ns, decision.action, decision.reason, decision.price) for decision in expected]
    assert bool(expected) == (name != "binance_spot_btcusdt_20240808T2354Z")  # eleven minutes never warm up
