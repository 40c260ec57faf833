"""What a sweep's inner loop costs: `python -m tools.bench.backtest_grid`.

10 x 10 x 10 combinations of RSI_BUY, RSI_SELL and BB_STDDEV over 44,000 one-minute candles, each read as one trade,
with exact money, fees and the sums of `grid_loop.SUMMARY`; beside a bare numba `prange` loop that takes the same
decisions over the same indicators and adds up a float. Both on all cores, rounds alternate. The bare loop must come to
the same number of round trips, else nothing is measured.
"""

import argparse
import os
import resource
import time

import numpy as np
from numba import njit, prange

from backtest.chunks import CHUNK, Chunk
from backtest.columns import candles_of, columns_of
from backtest.combinations import Axis, product_of, readings_of, summaries_of
from backtest.functions import Functions
from backtest.sweep_figures import figures_of_sums
from backtest.triggers import parameters_for
from bus.messages import Market, Start
from bus.records import RECORD, TRADE
from core import paths
from core.settings_load import from_texts, var_dir_only
from tools.bench.figure import Figure, Options, figure

MINUTE_NS = 60_000_000_000
T0 = 1_700_000_040 * 1_000_000_000
CANDLES = 44_000
FEE_BPS = "5"
START = Start(
    "bench", "bench", [Market("B-BTC_USDT", "BTC", "USDT", "0.01", "0.00000001", "0", "0")], "5", "5", False, T0
)
SWEEP, BARE = "1,000 combinations over candles", "1,000 combinations, bare prange loop"


class InMemory:
    """Candles as a source: one trade each, 1 ms before the end of its minute."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(5)
        self.start, self.connected = START, True
        self.notes: list[str] = []
        self.total: int | None = count
        self.done = 0
        self._records = np.zeros(count, RECORD)
        self._records["kind"] = TRADE
        self._records["exchange_ns"] = T0 + np.arange(1, count + 1) * MINUTE_NS - 1_000_000
        self._records["ticks"] = np.round(4_500_000 * np.exp(np.cumsum(rng.normal(0, 0.0008, count))))
        self._records["price"] = self._records["ticks"] / 100
        self._records["lots"] = 10**9

    def chunks(self):  # type: ignore[no-untyped-def]
        for at in range(0, len(self._records), CHUNK):
            yield Chunk(at, self._records[at : at + CHUNK], START)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=15)
    chosen = arguments.parse_args()
    rounds = measure(CANDLES, 10, chosen.rounds)
    for name, values in rounds.items():
        print(f"{name:40} {np.median(values):8.1f} ms, best {min(values):.1f}")
    print(f"median over median: {np.median(rounds[SWEEP]) / np.median(rounds[BARE]):.2f}")
    print(f"most memory of this process, compiler included: {peak_mb():.0f} MB")
    return 0


def figures(options: Options) -> list[Figure]:
    """The sweep's loop beside the bare one."""
    rounds = measure(options.records_or(CANDLES, 2_000), 2 if options.quick else 10, options.rounds_or(15))
    return [
        figure(
            "backtest_grid", SWEEP, "ms", rounds[SWEEP], floor=rounds[BARE], floor_of="bare prange loop", most_ratio=1.8
        )
    ]


def peak_mb() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(count: int, values: int, rounds: int) -> dict[str, list[float]]:
    """Each figure by name: ms, one value a round; `values` of each of the three settings."""
    functions = Functions(paths.cache_dir(var_dir_only()))
    settings = from_texts({"PAPER_FILL": "instant", "TAKER_FEE_BPS": FEE_BPS, "TRADE_CAPITAL": "1000"})
    columns = columns_of(InMemory(count), settings.timeframe_ms, functions)
    parameters = parameters_for(columns, settings)
    axes = [
        Axis("rsi_buy", np.linspace(22, 40, values).tolist()),
        Axis("rsi_sell", np.linspace(55, 82, values).tolist()),
        Axis("bb_stddev", np.linspace(1.0, 2.8, values).tolist()),
    ]
    rsi, middle, deviation = readings_of(columns, candles_of(columns, parameters, functions), settings, functions)
    bare = njit(parallel=True)(bare_loop)
    jobs = os.cpu_count() or 1

    def sweep() -> np.ndarray:
        table = candles_of(columns, parameters, functions)
        readings = readings_of(columns, table, settings, functions)
        combinations = product_of(columns, settings, axes)
        rows = summaries_of(columns, table, readings, settings, combinations, functions, jobs=jobs)
        return figures_of_sums(rows, combinations["balance"])

    chosen = product_of(columns, settings, axes)
    rules = np.stack([chosen[name] for name in ("rsi_buy", "rsi_sell", "rsi_crash", "stddev")], axis=1)
    keep, fee = float(chosen["terms"]["keep"][0]), float(FEE_BPS) / 10_000
    profits, trips = np.zeros(len(rules)), np.zeros(len(rules), np.int64)

    def loop() -> None:
        bare(columns.price, rsi, middle, deviation, rules, keep, fee, profits, trips)

    loop()
    if (sweep()["legs"] != trips).any():
        raise SystemExit("the bare loop takes other decisions than the sweep: there is nothing to compare")
    found: dict[str, list[float]] = {SWEEP: [], BARE: []}
    for _ in range(rounds):
        for name, case in ((SWEEP, sweep), (BARE, loop)):
            before = time.perf_counter_ns()
            case()
            found[name].append((time.perf_counter_ns() - before) / 1e6)
    return found


def bare_loop(price, rsi, middle, deviation, rules, keep, fee, profits, trips):  # type: ignore[no-untyped-def]
    """The least that a sweep has to do: every decision of every combination, and a float profit."""
    for place in prange(len(rules)):
        buy, sell, crash, stddev = rules[place, 0], rules[place, 1], rules[place, 2], rules[place, 3]
        held, bought, highest, profit, count = False, 0.0, 0.0, 0.0, 0
        for at in range(price.size):
            value = price[at]
            if held:
                if value > highest:
                    highest = value
                if value <= highest * keep or rsi[at] > sell:
                    profit += value * (1.0 - fee) - bought * (1.0 + fee)
                    held = False
                    count += 1
            elif rsi[at] < crash or (rsi[at] < buy and value < middle[at] - deviation[at] * stddev):
                bought = highest = value
                held = True
        profits[place] = profit
        trips[place] = count


if __name__ == "__main__":
    raise SystemExit(main())
