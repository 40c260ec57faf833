"""Sources of records in memory, and markets with everything that a fast path could trip over."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from backtest.chunks import Chunk
from backtest.functions import Functions
from bus.messages import Market, Start
from bus.records import RECORD, TRADE
from core.paths import ROOT
from tests.indicator_tools import SECOND, T0

TICK, STEP = "0.01", "0.00001"


def start_of(
    tick: str = TICK, step: str = STEP, least: str = "0.00001", notional: str = "0", fee: str = "5", pairs: int = 1
) -> Start:
    """A START of markets without a limit that is met by chance."""
    markets = [Market(f"B-C{place}_USDT", f"C{place}", "USDT", tick, step, least, notional) for place in range(pairs)]
    return Start("sandbox", "sim-test", markets, fee, fee, False, T0)


@cache
def functions() -> Functions:
    """The compiled functions, from the cache that set-up has warmed."""
    return Functions(ROOT / "var" / "cache")


class Records:
    """A source over an array: chunks cut at `cuts`, numbered from `first`."""

    def __init__(
        self,
        records: np.ndarray,
        start: Start | None = None,
        cuts: Sequence[int] = (),
        first: int = 0,
        connected: bool = True,
    ) -> None:
        self.start = start or start_of()
        self.connected = connected
        self.notes: list[str] = []
        self.total: int | None = len(records)
        self.done = 0
        self._records = records
        self._edges = sorted({0, len(records), *(cut for cut in cuts if cut < len(records))})
        self._first = first

    def chunks(self) -> Iterator[Chunk]:
        for begin, end in pairwise(self._edges):
            yield Chunk(self._first + begin, self._records[begin:end], self.start)


def trades_of(ns: Sequence[int], ticks: Sequence[int], lots: Sequence[int] | None = None) -> np.ndarray:
    """TRADE records on the grid of TICK and STEP."""
    records = np.zeros(len(ns), RECORD)
    records["kind"] = TRADE
    records["exchange_ns"] = records["received_ns"] = ns
    records["ticks"] = ticks
    records["price"] = np.array(ticks) / 100
    records["lots"] = 100_000 if lots is None else lots
    records["quantity"] = records["lots"] / 100_000
    return records


@st.composite
def markets(draw: st.DrawFn, most: int = 400) -> np.ndarray:
    """Trades of one pair: equal prices, equal times, empty minutes, long gaps, falls and rises, odd quantities."""
    count = draw(st.one_of(st.integers(most // 2, most), st.integers(most // 2, most), st.integers(0, most)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    step_s = draw(st.sampled_from([0.05, 2.0, 20.0, 20.0, 70.0, 70.0]))
    gaps = (rng.exponential(step_s, count) * SECOND).astype(np.int64)
    gaps[rng.random(count) < draw(st.sampled_from([0.0, 0.3]))] = 0
    gaps[rng.random(count) < draw(st.sampled_from([0.0, 0.02]))] += draw(st.sampled_from([120, 7_200])) * SECOND
    if draw(st.booleans()):
        gaps = gaps // SECOND * SECOND  # times of whole seconds: trades exactly at the border of a candle
    spread = draw(st.sampled_from([0.0, 1.0, 30.0, 600.0, 600.0, 5_000.0]))
    moves = rng.normal(0, spread, count)
    moves[rng.random(count) < draw(st.sampled_from([0.0, 0.5]))] = 0.0
    falls = rng.random(count) < draw(st.sampled_from([0.0, 0.02]))
    moves[falls] -= draw(st.sampled_from([300.0, 3_000.0]))
    level = draw(st.sampled_from([50_000, 6_000_000]))
    ticks = np.maximum(np.round(level + np.cumsum(moves) - np.cumsum(moves[falls].sum() / max(1, count))), 100)
    lots = rng.integers(1, draw(st.sampled_from([3, 200_000])), count)
    return trades_of((T0 + np.cumsum(gaps)).tolist(), ticks.astype(np.int64).tolist(), lots.tolist())


def disordered(records: np.ndarray, rng: np.random.Generator, timeframe_ms: int) -> np.ndarray:
    """The same trades shuffled a little inside their candles: times go back, yet none is before its candle."""
    bucket = records["exchange_ns"] // (timeframe_ms * 1_000_000)
    order = np.lexsort((rng.random(len(records)), bucket))
    return records[order]
