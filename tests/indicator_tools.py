"""Records, ticks and kernels for the tests of indicators."""

import csv
import gzip
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from bus.messages import Market
from bus.records import CANDLE, CANDLE_RECORD, HOLE, HOLE_RECORD, RECORD, TRADE, UPDATE
from core.paths import ROOT
from indicators import describe, folding, jit, layout
from indicators.engine import Indicators
from indicators.layout import Parameters
from tests.shared_data import shared_data

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
T0 = 1_700_000_040 * SECOND  # the start of a minute


class Compiled:
    """The kernels as they run, and by themselves for a test that brings its own buffers."""

    def __init__(self) -> None:
        self.machine, complaint = jit.load(ROOT / "var" / "cache")
        assert not complaint, complaint

    def fold(
        self, frame: bytes, first: int, start: int, state: np.ndarray, out: np.ndarray, scratch: np.ndarray
    ) -> int:
        """Called as `folding.fold` is: everything goes into an arena and back."""
        arena = np.concatenate([np.zeros(layout.ARENA_WORDS, np.int64), out, state, scratch])
        state_at = layout.ARENA_WORDS + len(out)
        arena[[layout.END_AT, layout.STATE_AT, layout.SCRATCH_AT]] = len(arena), state_at, state_at + len(state)
        written = self.machine.fold(arena)(frame, first, start)
        for mine, theirs in zip((state, out, scratch), layout.parts_of(arena), strict=True):
            mine[:] = theirs
        return written

    def jit_rule(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """One rule, compiled by itself."""
        from indicators import kernels as module  # numba, which nothing else here needs

        return module.jit_rule(function)


class Plain:
    """The same functions without numba."""

    def fold(self, arena: np.ndarray) -> Callable[[bytes, int, int], int]:
        state, out, scratch = layout.parts_of(arena)
        return lambda frame, first, start: folding.fold(frame, first, start, state, out, scratch)

    def describe(self, arena: np.ndarray) -> Callable[[np.ndarray, int, np.ndarray], None]:
        state = layout.parts_of(arena)[0]
        return lambda wanted, count, rows: describe.describe(state, wanted, count, rows)


@cache
def kernels() -> Compiled:
    """The compiled kernels, from the cache that set-up has warmed."""
    return Compiled()


def compiled(parameters: Parameters, pairs: int = 1) -> Indicators:
    """The indicators as they run."""
    return Indicators(parameters, kernels().machine, pairs)


def plain(parameters: Parameters, pairs: int = 1) -> Indicators:
    """The indicators without numba."""
    return Indicators(parameters, Plain(), pairs)


def market(pair: str = "B-BTC_USDT", tick: str = "0.01") -> Market:
    return Market(pair, "BTC", "USDT", tick, "0.00001", "0.00001", "0")


def trade(time_ns: int, price: float, quantity: float = 1.0, flags: int = 0, pair: int = 0) -> np.ndarray:
    record = np.zeros(1, RECORD)
    record["kind"], record["flags"], record["pair"] = TRADE, flags, pair
    record["exchange_ns"] = record["received_ns"] = time_ns
    record["price"], record["quantity"] = price, quantity
    return record


def candle(
    open_ns: int,
    close: float,
    flags: int = 0,
    pair: int = 0,
    volume: float = 1.0,
    open_: float | None = None,
    high: float | None = None,
    low: float | None = None,
    trades: int = 0,
) -> np.ndarray:
    record = np.zeros(1, CANDLE_RECORD)
    record["kind"], record["flags"], record["pair"], record["open_ns"] = CANDLE, flags, pair, open_ns
    record["open"] = close if open_ is None else open_
    record["high"] = close if high is None else high
    record["low"] = close if low is None else low
    record["close"], record["volume"], record["trades"] = close, volume, trades
    return record.view(RECORD)


def hole(from_ns: int, to_ns: int, pair: int = 0, reason: int = 1) -> np.ndarray:
    record = np.zeros(1, HOLE_RECORD)
    record["kind"], record["reason"], record["pair"] = HOLE, reason, pair
    record["from_ns"], record["to_ns"] = from_ns, to_ns
    return record.view(RECORD)


def fold_all(indicators: Indicators, records: np.ndarray, cuts: list[int] | None = None, first: int = 0) -> np.ndarray:
    """Fold records cut at these places (default: every 1000) and return all UPDATEs."""
    if cuts is None:
        cuts = list(range(0, len(records), 1000))
    edges = sorted({0, len(records), *cuts})
    parts = [np.zeros(0, UPDATE)]
    for begin, end in pairwise(edges):
        parts.append(indicators.fold(records[begin:end].tobytes(), first + begin).copy())
    return np.concatenate(parts)


def closed_rows(indicators: Indicators) -> np.ndarray:
    """All candles closed since the last call, in one array."""
    rows = indicators.take_closed()
    return np.concatenate(rows) if rows else np.zeros(0)


@cache
def ticks(name: str) -> np.ndarray:
    """A recorded file of trades as RECORDs, or the test is skipped."""
    path = shared_data(f"ticks/{name}.ticks.csv.gz")
    with gzip.open(path, "rt") as file:
        rows = [(int(row["ts_ns"]), float(row["price"]), float(row["qty"])) for row in csv.DictReader(file)]
    records = np.zeros(len(rows), RECORD)
    records["kind"] = TRADE
    records["exchange_ns"] = records["received_ns"] = [row[0] for row in rows]
    records["price"] = [row[1] for row in rows]
    records["quantity"] = [row[2] for row in rows]
    return records


def walk(seed: int, count: int, step_ns: int = 3 * SECOND, price: float = 60_000.0, spread: float = 5.0) -> np.ndarray:
    """A random walk of trades on a grid of cents, with quiet stretches and flat ones."""
    rng = np.random.default_rng(seed)
    records = np.zeros(count, RECORD)
    records["kind"] = TRADE
    gaps = rng.exponential(step_ns, count).astype(np.int64)
    gaps[rng.random(count) < 0.01] += 7 * MINUTE
    moves = rng.normal(0, spread, count)
    moves[rng.random(count) < 0.4] = 0.0
    records["exchange_ns"] = records["received_ns"] = T0 + np.cumsum(gaps)
    records["price"] = np.round(np.maximum(price + np.cumsum(moves), price / 100), 2)
    records["quantity"] = np.round(rng.exponential(0.1, count) + 0.001, 3)
    return records
