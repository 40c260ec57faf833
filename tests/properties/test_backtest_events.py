"""The event engine over generated markets: it is the trader's replay, however the records are cut into frames."""

from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backtest import events
from backtest.result import ENTER, EXIT, Result
from bus.messages import EquityEvent, FillEvent, TradeEvent
from core.money import UNIT, units_text
from core.paths import ROOT
from core.settings import Settings
from core.settings_load import from_texts
from tests.backtest_world import InMemory, assert_same
from tests.properties.test_reference_equals_trader import MARKETS, PAIRS, SECOND, STEPS, TEXTS, Maker
from tests.reference import slow_strategy as slow
from tests.reference.pipeline_side import answer, records_of, start_of
from tests.trader_world import of

HISTORY = st.sampled_from([0, 3, 12])
FEES = st.sampled_from(["0", "5", "11.8"])
WORLDS = {
    "changed": TEXTS,
    "markets": st.lists(MARKETS, min_size=1, max_size=2),
    "steps": STEPS,
    "history": HISTORY,
    "fee": FEES,
    "live": st.booleans(),
}


def settings_of(changed: dict[str, Any]) -> Settings:
    texts = {name: str(value) for name, value in changed.items()}
    return from_texts(texts | {"PAIRS": ",".join(PAIRS), "VAR_DIR": str(ROOT / "var")})


def world(changed: dict[str, Any], markets: list[slow.Market], steps: list[Any], history: int) -> Maker:
    by_pair = dict(zip(PAIRS, markets, strict=False))
    maker = Maker(slow.TIMEFRAMES[changed["TIMEFRAME"]] * SECOND, by_pair, history)
    for step in steps:
        maker.step(*step)
    return maker


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
@given(**WORLDS, batch=st.integers(2, 60), chunk=st.integers(1, 120))
def test_cutting_changes_nothing(changed, markets, steps, history, fee, live, batch, chunk):
    maker = world(changed, markets, steps, history)
    chosen = settings_of(changed)
    stretch = start_of(maker.markets, fee), records_of(maker.records, maker.markets)

    def found(batch: int, chunk: int) -> Result:
        source = InMemory([stretch], connected=not live, chunk=chunk)
        return events.run(source, chosen, bars=True, batch=batch)

    whole = found(1000, 10_000)
    assert_same(whole, found(1, 10_000))
    assert_same(whole, found(batch, chunk))


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
@given(**WORLDS)
def test_it_is_the_traders_replay(changed, markets, steps, history, fee, live):
    maker = world(changed, markets, steps, history)
    chosen = settings_of(changed)
    start = start_of(maker.markets, fee)
    records = records_of(maker.records, maker.markets)
    found = events.run(InMemory([(start, records)], connected=not live, first=-1), chosen, bars=True)
    texts = {name: str(value) for name, value in changed.items()} | {"PAIRS": ",".join(PAIRS)}
    theirs = answer(maker.records, texts, maker.markets, fee, connected_throughout=not live)

    names = [(row["ns"], row["price"]) for row in found.decisions]
    assert names == [(row[0], row[3]) for row in theirs.decisions]
    assert len(found.bars) == len(theirs.rows)
    for name in ("open_ns", "close", "volume", "pair", "trades"):
        assert found.bars[name].tolist() == theirs.rows[name].tolist()
    assert_figures(found, theirs.events)
    assert (found.wallet, found.realized) == (theirs.state.wallet, theirs.state.realized)
    assert found.trades == sum(isinstance(record, slow.Trade) for record in maker.records)


def assert_figures(found: Result, told: list[Any]) -> None:
    """Fills, equity and results are what the events say in their own texts."""
    fills = of(told, FillEvent)
    pairs = [int(found.orders[fill["order"]]["pair"]) for fill in found.fills]
    assert [(f.time, f.pair, Decimal(f.price), Decimal(f.quantity)) for f in fills] == [
        (
            int(row["ns"]) // 1_000_000,
            found.start.markets[pair].pair,
            found.price(pair, int(row["ticks"])),
            found.quantity(pair, int(row["lots"])),
        )
        for row, pair in zip(found.fills, pairs, strict=True)
    ]
    names = ("balance", "position_value", "unrealized", "realized")
    assert [(e.time, *(getattr(e, name) for name in names)) for e in of(told, EquityEvent)] == [
        (int(row["ns"]) // 1_000_000, *(units_text(int(row[name])) for name in names)) for row in found.equity
    ]
    ended = [order for order in found.orders if order["filled"] and order["state"]]
    profits = [units_text(int(o["cash"] - o["share"])) for o in ended if o["purpose"] == EXIT]
    assert sorted(profits) == sorted(trade.profit for trade in of(told, TradeEvent) if trade.profit is not None)
    assert sum(int(o["cash"] - o["share"]) for o in ended if o["purpose"] == EXIT) == found.realized
    cash = sum(int(o["cash"]) * (-1 if o["purpose"] == ENTER else 1) for o in found.orders)
    assert found.wallet == Decimal(found.settings["PAPER_BALANCE"]) * UNIT + cash
