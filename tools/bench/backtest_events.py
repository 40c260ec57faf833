"""How fast the event engine of the backtest replays: trades a second, flat and with a position held.

The market is a random walk of 1,000 trades a minute with its candles, fees and tape fills; beside it the compiled
indicators alone over the same frames, which is what any engine must do at least. Rounds alternate.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from backtest.events import Run
from bus.layouts import MAX_BATCH, TRADE
from bus.messages import Market, Start
from bus.records import RECORD
from core import paths
from core.settings import Settings, indicator_hash
from core.settings_load import from_texts, var_dir_only
from indicators import jit
from indicators.engine import Indicators, parameters_of
from indicators.machine import Machine
from tools.bench.figure import Figure, Options, figure

T0 = 1_700_000_040 * 1_000_000_000
A_MINUTE = 1_000  # trades
MARKET = Market("B-BTC_USDT", "BTC", "USDT", "0.01", "0.00001", "0.00001", "5")
START = Start("sandbox", "sim", [MARKET], "5", "5", False, T0)
FLAT = {"RSI_BUY": "1", "RSI_CRASH": "0"}  # nothing is ever bought
HELD = {"TRAILING_STOP_PCT": "0.9", "RSI_SELL": "99.9"}  # what was bought is never sold
BEGIN = 100_000  # trades in which the indicators warm up and the position is bought
FLOOR = "the indicators alone"


def figures(options: Options) -> list[Figure]:
    """Trades a second of each case beside the bare indicators over the same frames."""
    machine, _ = jit.load(paths.cache_dir(var_dir_only()))
    count = options.records_or(1_000_000, 2_000)
    records = market(BEGIN + count)
    cases = (
        ("flat, in batches of 1,000", FLAT, MAX_BATCH, 2_000_000),
        ("with a position held, in batches of 1,000", HELD, MAX_BATCH, 1_000_000),
        ("flat, one record at a time", FLAT, 1, 300_000),
        ("with a position held, one record at a time", HELD, 1, None),
    )
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name, *_ in cases}
    for _ in range(options.rounds_or(5)):
        for name, texts, batch, _ in cases:
            part = records if batch > 1 else records[: BEGIN + count // 10]
            ours, floor = found[name]
            ours.append(rate(engine(machine, from_texts(texts), part, batch), len(part) - BEGIN))
            floor.append(rate(bare(machine, from_texts(texts), part, batch), len(part) - BEGIN))
    return [
        figure(
            "backtest_events",
            name,
            "trades/s",
            found[name][0],
            floor=found[name][1],
            floor_of=FLOOR,
            more_is_better=True,
            least=least,
        )
        for name, _, _, least in cases
    ]


def market(count: int) -> np.ndarray[Any, Any]:
    """Trades of a random walk."""
    rng = np.random.default_rng(1)
    records = np.zeros(count, RECORD)
    records["kind"], records["side"] = TRADE, 1
    gap_ns = 60_000_000_000 // A_MINUTE
    records["exchange_ns"] = records["received_ns"] = T0 + np.cumsum(rng.integers(1, 2 * gap_ns, count))
    records["ticks"] = 6_000_000 + np.cumsum(rng.integers(-100, 101, count))
    records["price"] = records["ticks"] / 100
    records["lots"] = rng.integers(1, 100_000, count)
    records["quantity"] = records["lots"] / 100_000
    return records


def engine(machine: Machine, settings: Settings, records: np.ndarray[Any, Any], batch: int) -> Callable[[], object]:
    """The event engine, warmed up."""
    run = Run(settings, machine, connected=True)
    run.start(-1, START)
    run.chunk(0, records[:BEGIN], MAX_BATCH)
    return lambda: run.chunk(BEGIN, records[BEGIN:], batch)


def bare(machine: Machine, settings: Settings, records: np.ndarray[Any, Any], batch: int) -> Callable[[], object]:
    """The indicators alone, warmed up."""
    indicators = Indicators(parameters_of(settings, indicator_hash(settings)), machine)
    indicators.start(START.markets, START.tape_clock)

    def fold(first: int, part: np.ndarray[Any, Any], size: int) -> None:
        data = part.tobytes()
        for at in range(0, len(part), size):
            indicators.fold(data[64 * at : 64 * (at + size)], first + at)
        indicators.take_closed()

    fold(0, records[:BEGIN], MAX_BATCH)
    return lambda: fold(BEGIN, records[BEGIN:], batch)


def rate(run: Callable[[], object], trades: int) -> float:
    """Trades a second of one run."""
    before = time.perf_counter_ns()
    run()
    return trades * 1e9 / (time.perf_counter_ns() - before)
