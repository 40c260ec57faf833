"""What a sweep costs: `python -m tools.bench.backtest_grid`.

10 x 10 x 10 combinations of RSI_BUY, RSI_SELL and BB_STDDEV over 44,000 one-minute candles in memory, each read as one
trade: candles, readings, exact money, fees, every figure of a combination and its profit by stretch of time. Beside it
a bare numba `prange` loop that is given the readings, takes the same decisions and adds up a float. Both on all cores,
rounds alternate. The bare loop must come to the same number of round trips, else nothing is measured. Memory is that of
`python -m backtest sweep` over a file of as many candles.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numba import njit, prange

from backtest.chunks import CHUNK, Chunk
from backtest.columns import candles_of, columns_of
from backtest.combinations import readings_of
from backtest.functions import Functions
from backtest.grid import Grid, grid_of
from backtest.sweep import Markets, Sweep, Swept, plan_of
from backtest.sweep_market import ColumnMarket
from backtest.triggers import parameters_for
from bus.messages import Market, Start
from bus.records import RECORD, TRADE
from core import paths
from core.paths import ROOT
from core.settings import Settings
from core.settings_load import from_texts, var_dir_only
from tools.bench.figure import Figure, Options, figure

MINUTE_NS = 60_000_000_000
T0 = 1_700_000_040 * 1_000_000_000
CANDLES = 44_000
FEE_BPS = "5"
SETTINGS = {"PAPER_FILL": "instant", "TAKER_FEE_BPS": FEE_BPS, "TRADE_CAPITAL": "1000"}
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
        self.records = np.zeros(count, RECORD)
        self.records["kind"] = TRADE
        self.records["exchange_ns"] = T0 + np.arange(1, count + 1) * MINUTE_NS - 1_000_000
        self.records["ticks"] = np.round(4_500_000 * np.exp(np.cumsum(rng.normal(0, 0.0008, count))))
        self.records["price"] = self.records["ticks"] / 100
        self.records["lots"] = 10**9

    def chunks(self):  # type: ignore[no-untyped-def]
        for at in range(0, len(self.records), CHUNK):
            yield Chunk(at, self.records[at : at + CHUNK], START)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=15)
    chosen = arguments.parse_args()
    rounds = measure(CANDLES, 10, chosen.rounds)
    for name, values in rounds.items():
        print(f"{name:40} {np.median(values):8.1f} ms, best {min(values):.1f}")
    print(f"median over median: {np.median(rounds[SWEEP]) / np.median(rounds[BARE]):.2f}")
    print(f"most memory of the whole command: {peak_mb(CANDLES, 10):.0f} MB")
    return 0


def figures(options: Options) -> list[Figure]:
    """A sweep beside the bare loop, and its memory."""
    count, values = options.records_or(CANDLES, 2_000), 2 if options.quick else 10
    rounds = measure(count, values, options.rounds_or(15))
    bare = "bare prange loop"
    return [
        figure("backtest_grid", SWEEP, "ms", rounds[SWEEP], floor=rounds[BARE], floor_of=bare, most_ratio=1.8),
        figure("backtest_grid", "most memory of such a sweep", "MB", [peak_mb(count, values)], most=250),
    ]


# Its own peak, told by itself: what wait4 tells of a child begins with what its parent had before the exec.
COMMAND = """
import sys
from backtest.cli import main
code = main(sys.argv[1:])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(code)
"""


def texts_of(values: int) -> list[str]:
    """The grid, as on the command line."""
    last = values - 1
    return [f"RSI_BUY=22:{22 + 2 * last}:2", f"RSI_SELL=55:{55 + 3 * last}:3", f"BB_STDDEV=1:{1 + 0.2 * last:.1f}:0.2"]


def peak_mb(count: int, values: int) -> float:
    """The most memory that the command takes for a file of as many candles."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trades.csv"
        with file.open("w", newline="") as out:
            rows = csv.writer(out)
            rows.writerow(("ts_ns", "price", "qty"))
            for record in InMemory(count).records:
                rows.writerow((record["exchange_ns"], f"{record['price']:.2f}", 10))
        sets = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
        command = [sys.executable, "-c", COMMAND, "sweep", "--trades", str(file), *sets]
        command += ["--grid", *texts_of(values), "--json"]
        done = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
        )
    if done.returncode:
        raise RuntimeError(f"the sweep ended with {done.returncode}: {done.stderr}")
    return int(done.stderr.split()[-1]) / 1024


def measure(count: int, values: int, rounds: int) -> dict[str, list[float]]:
    """Each figure by name: ms, one value a round; `values` of each of the three settings."""
    functions = Functions(paths.cache_dir(var_dir_only()))
    settings = from_texts(SETTINGS)
    columns = columns_of(InMemory(count), settings.timeframe_ms, functions)
    grid = grid_of(texts_of(values), settings)

    def sweep() -> Swept:
        plan = plan_of(grid, settings)
        swept = Sweep(plan, Markets(lambda _: ColumnMarket(columns, functions)), jobs=os.cpu_count() or 1)
        swept.take(swept.left)
        return swept.found

    table = candles_of(columns, parameters_for(columns, settings), functions)
    readings = readings_of(columns, table, settings, functions)
    bare, rules = njit(parallel=True)(bare_loop), rules_of(grid, settings)
    keep, fee = 1.0 - settings.trailing_stop_pct, float(FEE_BPS) / 10_000
    profits, trips = np.zeros(len(rules)), np.zeros(len(rules), np.int64)

    def loop() -> None:
        bare(columns.price, *readings, rules, keep, fee, profits, trips)

    loop()
    if (sweep().rows["legs"] != trips).any():
        raise RuntimeError("the bare loop takes other decisions than the sweep: there is nothing to compare")
    found: dict[str, list[float]] = {SWEEP: [], BARE: []}
    for _ in range(rounds):
        for name, case in ((SWEEP, sweep), (BARE, loop)):
            before = time.perf_counter_ns()
            case()
            found[name].append((time.perf_counter_ns() - before) / 1e6)
    return found


def rules_of(grid: Grid, settings: Settings) -> np.ndarray:
    """What the bare loop is told of each combination: RSI_BUY, RSI_SELL, RSI_CRASH, BB_STDDEV."""
    crash = settings.rsi_crash
    rows = [(float(c["RSI_BUY"]), float(c["RSI_SELL"]), crash, float(c["BB_STDDEV"])) for c in grid]
    return np.array(rows)


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
