"""What a run's events come to: ghosts, refusals, notes, sales that still work, spans."""

import numpy as np
import pytest

from backtest import events, result
from backtest.result import Result, legs_of
from bus.messages import Market
from bus.records import LATE, RECORD
from core.paths import ROOT
from core.settings import Settings
from core.settings_load import from_texts
from tests.backtest_world import InMemory
from tests.indicator_tools import MINUTE, SECOND, T0, candle, hole, trade
from tests.trader_world import start

TICK = 10_000  # in a price of 1


def settings(**changed: object) -> Settings:
    """Three candles and their bands, mean reversion alone; nothing sells but what a test asks for."""
    texts = {
        "WARMUP_CANDLES": 3,
        "RSI_PERIOD": 2,
        "BB_PERIOD": 3,
        "BB_STDDEV": 1,
        "RSI_BUY": 50,
        "RSI_CRASH": 0,
        "RSI_SELL": 100,
        "TRAILING_STOP_PCT": 0.9,
        "PAPER_FILL": "instant",
        "TRADE_CAPITAL": 1000,
        "PAPER_BALANCE": 10_000,
        "VAR_DIR": ROOT / "var",
    }
    return from_texts({name: str(value) for name, value in (texts | changed).items()})


def market(name: str = "B-BTC_USDT", **rules: str) -> Market:
    texts = {"tick": "0.01", "step": "0.001", "min_quantity": "0.001", "min_notional": "5"} | rules
    return Market(name, "BTC", "USDT", **texts)


def at(minute: int, second: int, price: float, quantity: float = 100.0, **more: int) -> np.ndarray:
    record = trade(T0 + minute * MINUTE + second * SECOND, price, quantity, **more)
    record["ticks"], record["lots"] = round(price * 100), round(quantity * 1000)
    return record


HISTORY = [candle(T0 - back * MINUTE, 100.0 + back % 2) for back in (4, 3, 2, 1)]


def run(*records: np.ndarray, fee: str = "0", markets: tuple[Market, ...] = (), **changed: object) -> Result:
    data = np.concatenate([np.zeros(0, RECORD), *HISTORY, *records])
    source = InMemory([(start(*(markets or (market(),)), fee=fee), data)])
    return events.run(source, settings(**changed), bars=True)


@pytest.mark.parametrize(
    ("name", "rest", "ghost"),
    [
        ("the closed candle holds", [at(0, 30, 90.0), at(1, 0, 95.0)], result.CONFIRMED),
        ("the candle closes high", [at(0, 30, 120.0), at(1, 0, 120.0)], result.GHOST),
        ("the candle never closes", [at(0, 30, 120.0)], result.GHOST_UNKNOWN),
        ("the candle falls into a hole", [hole(T0, T0), at(1, 0, 120.0), at(2, 0, 120.0)], result.GHOST_UNKNOWN),
        ("the venue tells the candle anew", [candle(T0, 120.0), at(1, 0, 90.0)], result.GHOST),
        ("a later candle does not matter", [at(0, 30, 90.0), at(1, 0, 150.0), at(2, 0, 150.0)], result.CONFIRMED),
        (
            "told anew after a hole it is another",
            [hole(T0, T0), *HISTORY, candle(T0, 90.0), at(1, 0, 120.0)],
            result.GHOST_UNKNOWN,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_ghosts_are_judged_where_their_candle_closes(name: str, rest: list[np.ndarray], ghost: int) -> None:
    found = run(at(0, 1, 100.5), at(0, 2, 90.0), *rest)
    assert found.decisions["action"].tolist() == [result.ENTER]
    assert found.decisions["number"].tolist() == [6]
    assert found.decisions["ghost"].tolist() == [ghost]


def test_refusals_are_counted_ended_or_not() -> None:
    """Two stay below the minimum, a third is met at the end and has not ended."""
    records = [at(0, 1, 90.0), at(0, 2, 89.0), *(at(m, 0, 120.0) for m in (1, 2, 3)), at(4, 0, 80.0)]
    found = run(*records, TRADE_CAPITAL=4)
    assert found.refusals == {"below_minimum": 3}
    assert not len(found.decisions)


def test_a_sale_that_still_works_has_its_share() -> None:
    """Half of it is sold: profit so far is cash less half of the cost."""
    found = run(
        at(0, 1, 90.0),
        at(0, 2, 90.0),
        at(0, 3, 8.0, 1.0),  # the trailing stop
        at(0, 4, 8.0, 5.0),
        PAPER_FILL="tape",
        PAPER_LATENCY_MS=0,
        TRADE_CAPITAL=900,
    )
    entry, sale = found.orders
    assert (entry["lots"], entry["filled"], entry["state"]) == (10_000, 10_000, result.FILLED)
    assert (sale["lots"], sale["filled"], sale["state"]) == (10_000, 5_000, result.WORKING)
    assert (sale["cash"], sale["share"]) == (40 * 10**8, 450 * 10**8)
    assert (sale["end_number"], sale["end_ns"]) == (-1, 0)
    assert found.held[0].lots == 5_000
    assert legs_of(found) == []


def test_notes_say_what_became_of_an_order() -> None:
    found = run(
        at(0, 1, 90.0),
        at(0, 2, 90.0, 1.0),
        at(0, 30, 90.0),
        PAPER_FILL="tape",
        TRADE_CAPITAL=5000,
        PAPER_BALANCE=900,
    )
    assert found.orders["notes"].tolist() == [result.CAPPED_BY_WALLET | result.ENTRY_TIMEOUT]
    assert found.orders["state"].tolist() == [result.CANCELLED]
    assert found.orders["end_ns"].tolist() == [T0 + 30 * SECOND]


def test_fee_and_tax_of_a_fill_are_told_apart() -> None:
    found = run(at(0, 1, 90.0), fee="10", TAX_BUY_BPS=7, TRADE_CAPITAL=900)
    assert found.fills[["cash", "fee", "tax"]].tolist() == [(90_153_000_000, 90_000_000, 63_000_000)]
    assert found.fee == 1000


def test_spans_are_of_trades_that_count() -> None:
    markets = (market(), market("B-ETH_USDT"), market("B-XRP_USDT"))
    found = run(at(0, 1, 50.0, flags=LATE), at(0, 2, 100.5), at(0, 3, 100.0, pair=2), at(0, 4, 101.0), markets=markets)
    assert found.spans == [
        result.Span(0, T0 + 2 * SECOND, T0 + 4 * SECOND, 100.5, 101.0),
        result.Span(2, T0 + 3 * SECOND, T0 + 3 * SECOND, 100.0, 100.0),
    ]
    assert (found.trades, found.late, found.unknown) == (4, 1, 0)
    assert [held.pair for held in found.held] == [0, 1, 2]


def test_a_later_start_brings_pairs_and_another_fee() -> None:
    source = InMemory(
        [
            (start(market(), fee="0"), np.concatenate([*HISTORY, at(0, 1, 100.5)])),
            (start(market(), market("B-ETH_USDT"), fee="20"), np.concatenate([at(0, 2, 90.0), at(0, 3, 50.0, pair=1)])),
        ],
        first=10,
    )
    found = events.run(source, settings(TRADE_CAPITAL=900))
    assert found.decisions["number"].tolist() == [17]  # 10 is the first START, 16 the second
    assert found.fills["fee"].tolist() == [180_000_000]
    assert [span.pair for span in found.spans] == [0, 1]


def test_a_source_without_records_is_an_empty_run() -> None:
    found = events.run(InMemory([(start(market()), np.zeros(0, RECORD))]), settings())
    assert (found.trades, len(found.decisions), found.spans, found.wallet) == (0, 0, [], 10_000 * 10**8)
    assert found.quote == "USDT"
