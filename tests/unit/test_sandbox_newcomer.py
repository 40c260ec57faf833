"""Whoever starts the bot in the synthetic market soon sees it trade, and it goes on trading.

A plain reading of the strategy with default settings (RSI 14 by Wilder, bands 20 x 2, stop 0.5 %), filled 100 ms after
the decision; it shares no code with the pipeline.
"""

import itertools
from typing import NamedTuple

import numpy as np
import pytest

from sandbox.market import Synthetic

PAIR = "B-BTC_USDT"
MINUTE = 60_000
LATENCY_MS = 100
FEE = 0.0005


class Fill(NamedTuple):
    ts_ms: int
    buys: bool
    price: float


class Averages:
    """Wilder's averages and the last 19 closes, as of the last closed candle."""

    def __init__(self, closes: list[float]) -> None:
        changes = [b - a for a, b in itertools.pairwise(closes)]
        self.gain = sum(max(change, 0.0) for change in changes[:14]) / 14
        self.loss = sum(max(-change, 0.0) for change in changes[:14]) / 14
        self.closes = closes[:15]
        for close in closes[15:]:
            self.close(close)

    def close(self, close: float) -> None:
        self.gain, self.loss = self.with_price(close)
        self.closes = [*self.closes, close][-19:]

    def with_price(self, price: float) -> tuple[float, float]:
        change = price - self.closes[-1]
        return (self.gain * 13 + max(change, 0.0)) / 14, (self.loss * 13 + max(-change, 0.0)) / 14

    def rsi(self, price: float) -> float:
        gain, loss = self.with_price(price)
        return 100.0 * gain / (gain + loss) if gain + loss else 50.0

    def lower_band(self, price: float) -> float:
        closes = [*self.closes, price]
        mean = sum(closes) / 20
        return mean - 2.0 * (sum((close - mean) ** 2 for close in closes) / 20) ** 0.5


def trade(market: Synthetic, from_ms: int, to_ms: int) -> list[Fill]:
    """The fills of a bot that is ready at `from_ms`."""
    digits = 10 ** market.rules[PAIR].price_digits
    bucket = from_ms // MINUTE
    history = market.bars(PAIR, MINUTE, 0, bucket * MINUTE - 1, 500)
    averages = Averages((history.close / digits).tolist())
    trades = market.span(PAIR, bucket * MINUTE, to_ms)
    fills: list[Fill] = []
    due_ms, long, highest, price = 0, False, 0.0, averages.closes[-1]
    for ts_ms, ticks in zip(trades.ts_ms.tolist(), trades.ticks.tolist(), strict=True):
        while bucket < ts_ms // MINUTE:
            averages.close(price)
            bucket += 1
        price = ticks / digits
        if ts_ms < from_ms:
            continue
        if due_ms:
            if ts_ms >= due_ms:
                due_ms, long, highest = 0, not long, price
                fills.append(Fill(ts_ms, long, price))
            continue
        if long:
            highest = max(highest, price)
            decided = price <= highest * 0.995 or averages.rsi(price) > 70
        else:
            rsi = averages.rsi(price)
            decided = rsi < 20 or (rsi < 30 and price < averages.lower_band(price))
        if decided:
            due_ms = ts_ms + LATENCY_MS
    return fills


def born_ms(seed: int) -> int:
    """Births spread over the seconds of the minute."""
    return 1_795_356_000_000 + seed * 3_600_000 + (seed * 3_137) % MINUTE


@pytest.mark.parametrize("seed", range(1, 21))
def test_a_newcomer_sees_an_entry_and_a_round_trip_at_once(seed: int) -> None:
    born = born_ms(seed)
    fills = trade(Synthetic(seed, born), born + 5_000, born + 150_000)
    assert fills[0].buys and fills[0].ts_ms < born + 100_000
    assert len(fills) >= 2 and fills[1].ts_ms < born + 150_000


@pytest.mark.parametrize("late_s", [20, 45, 60, 90])
@pytest.mark.parametrize("seed", [1, 2, 3, 11])
def test_so_does_one_whose_machine_is_slow(seed: int, late_s: int) -> None:
    born = born_ms(seed)
    ready = born + late_s * 1000
    fills = trade(Synthetic(seed, born), ready, ready + 180_000)
    assert len(fills) >= 2 and fills[1].ts_ms < ready + 150_000


@pytest.mark.parametrize("seed", [1, 4])
def test_it_still_trades_after_hours(seed: int) -> None:
    born, hours = born_ms(seed), 3
    fills = trade(Synthetic(seed, born), born + 5_000, born + hours * 3_600_000)
    entries = [fill.ts_ms for fill in fills if fill.buys]
    waits = np.diff([born, *entries, born + hours * 3_600_000])
    assert waits.max() < 15 * MINUTE
    assert len(fills) // 2 >= 8 * hours


def test_the_strategy_neither_gains_nor_loses_much() -> None:
    born = born_ms(3)
    market = Synthetic(3, born)
    fills = trade(market, born + 5_000, born + 3 * 3_600_000)
    pairs = zip(fills[::2], fills[1::2], strict=False)
    results = [exit_.price / entry.price * (1 - FEE) - 1 - FEE for entry, exit_ in pairs]
    assert abs(sum(results)) < 0.12
    assert any(result > 0 for result in results) and any(result < 0 for result in results)
