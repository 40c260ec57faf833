"""The fused backtest: `python -m tools.bench.backtest_fused`.

Ten million trades in memory, as dense as a day of Binance's BTC/USDT (a million a day), full indicators on every trade;
beside a bare numba loop that computes the same closed form over a plain column of prices, in the same run. Times are of
one core. Memory is what a run over ten times as many trades keeps, files aside.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from backtest import compiled, fused
from backtest.compiled import Function
from backtest.convert import write_tape
from backtest.result import Array, Result
from backtest.sources import CHUNK, Chunk, open_source
from backtest.stats import statistics_of
from bus.messages import Market, Start
from bus.records import RECORD, TRADE
from core import paths
from core.errors import BotError
from core.paths import ROOT
from core.settings import Settings
from core.settings_load import from_texts, var_dir_only
from indicators import rules
from tools.bench.figure import Figure, Options, figure

RECORDS = 10_000_000
TRADES_A_MINUTE = 694
MINUTE_NS = 60_000_000_000
T0 = 1_700_000_040 * 1_000_000_000
MOVE_A_MINUTE = 0.0008  # standard deviation of the price's logarithm
TIMES = 10  # so often as many trades for the figure of memory
START = Start(
    "bench", "bench", [Market("B-BTC_USDT", "BTC", "USDT", "0.01", "0.00001", "0.00001", "5")], "5", "5", False, 0
)
CASES = {
    "instant fills, no fees": {"PAPER_FILL": "instant", "TAKER_FEE_BPS": "0"},
    "tape fills and fees": {"PAPER_FILL": "tape"},
}


def main() -> int:
    if sys.argv[1:2] == ["memory"]:
        print(json.dumps(memory_of(int(sys.argv[2]))))
        return 0
    for one in figures(Options(rounds=5)):
        floor = f"{one.floor:8.2f}" if one.floor is not None else " " * 8
        print(f"{one.name:70} {one.value:8.2f} {one.unit:10} floor {floor}  {one.bar}  {one.note}")
    return 0


def figures(options: Options) -> list[Figure]:
    """Trades a second and ns a trade beside the floor; memory of a long run."""
    count = options.records_or(RECORDS, 200_000)
    records = trades(count)
    function, _ = compiled.load("walk_chunk", paths.cache_dir(var_dir_only()))
    prices = records["price"].copy()
    from numba import njit  # not at the top: the process that measures memory has none, as a run

    from indicators.kernels import OPTIONS

    bare = njit(**OPTIONS)(closed_form)
    bare(prices[:100])
    rates: dict[str, list[float]] = {name: [] for name in CASES}
    floor: list[float] = []
    decided: dict[str, int] = {}
    for _ in range(options.rounds_or(7)):
        before = time.perf_counter_ns()
        bare(prices)
        floor.append((time.perf_counter_ns() - before) / count)
        for name, texts in CASES.items():
            seconds, found = one_run(records, function, settings_of(texts))
            rates[name].append(seconds * 1e9 / count)
            decided[name] = len(found.decisions)
    instant, tape = CASES
    loop = "bare numba loop of the same closed form over a price column"
    title = f"{count:,} trades in memory"
    per_second = [1e3 / ns for ns in rates[instant]]
    from_file, start_ups = of_a_tape(records, options.rounds_or(5))
    return [
        figure(
            "backtest_fused",
            f"{title}, {instant}",
            "million/s",
            per_second,
            floor=[1e3 / ns for ns in floor],
            floor_of=loop,
            more_is_better=True,
            least=120.0,
            note=f"{decided[instant]} decisions",
        ),
        figure(
            "backtest_fused",
            f"{title}, {tape}: a trade",
            "ns",
            rates[tape],
            floor=floor,
            floor_of=loop,
            most=9.0,
            note=f"{decided[tape]} decisions",
        ),
        figure(
            "backtest_fused",
            f"{count:,} trades from a tape on a warm page cache to the figures of the report",
            "million/s",
            [count / 1e6 / seconds for seconds in from_file],
            least=60.0,
        ),
        figure("backtest_fused", "a run's start: 1,000 trades, a process of its own", "s", start_ups, most=1.5),
        figure("backtest_fused", f"memory of a run over {TIMES * count:,} trades", "MB", [memory(count)], most=300.0),
    ]


class Kept:
    """The records as a source, to be written as a tape."""

    def __init__(self, records: Array) -> None:
        self.start = START
        self.connected = True
        self.notes: list[str] = []
        self.total: int | None = len(records)
        self.done = 0
        self._records = records

    def chunks(self) -> Iterator[Chunk]:
        for first, part in chunks(self._records, 1):
            yield Chunk(first, part, START)
            self.done += len(part)


def of_a_tape(records: Array, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds from a file to the report's figures; of a whole process over a small file."""
    settings = settings_of({})
    whole, small = [], []
    with tempfile.TemporaryDirectory(dir=paths.var_dir(settings)) as folder:
        long, short = Path(folder, "long.tape"), Path(folder, "short.tape")
        for path, part in ((long, records), (short, records[:1_000])):
            with path.open("wb") as file:
                write_tape(Kept(part), file.write, T0)
        command = [sys.executable, "-m", "backtest", "run", "--trades", str(short), "--json"]
        for _ in range(rounds):
            before = time.perf_counter()
            found = statistics_of(fused.run(open_source([long], settings), settings))
            whole.append(time.perf_counter() - before)
            if found.counts.trades != len(records):
                raise BotError(f"of {len(records)} trades {found.counts.trades} were judged")
            before = time.perf_counter()
            subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
            small.append(time.perf_counter() - before)
    return whole, small


def settings_of(texts: dict[str, str]) -> Settings:
    return from_texts({"VAR_DIR": str(var_dir_only()), **texts})


def trades(count: int) -> Array:
    """A random walk of trades on a grid of cents, exponential gaps between them."""
    rng = np.random.default_rng(7)
    records = np.zeros(count, RECORD)
    records["kind"] = TRADE
    records["exchange_ns"] = T0 + np.cumsum(rng.exponential(MINUTE_NS / TRADES_A_MINUTE, count).astype(np.int64))
    moves = rng.normal(0, MOVE_A_MINUTE / TRADES_A_MINUTE**0.5, count)
    records["ticks"] = np.rint(6_000_000 * np.exp(np.cumsum(moves)))
    records["price"] = records["ticks"] / 100.0
    records["lots"] = rng.integers(1, 30_000, count)
    records["quantity"] = records["lots"] / 100_000.0
    return records


def chunks(records: Array, times: int) -> Iterator[tuple[int, Array]]:
    """The records in chunks, and again, each time later."""
    length_ns = int(records["exchange_ns"][-1]) - T0
    for turn in range(times):
        for at in range(0, len(records), CHUNK):
            part = records[at : at + CHUNK]
            if turn:
                part = part.copy()
                part["exchange_ns"] += turn * length_ns
            yield turn * len(records) + at, part


def one_run(records: Array, function: Function, settings: Settings, times: int = 1) -> tuple[float, Result]:
    """Seconds of a run over the records, and what came out."""
    run = fused.Run(settings, function, connected=True)
    run.start(START)
    spent = 0.0
    for first, part in chunks(records, times):
        before = time.perf_counter()
        run.chunk(first, part)
        spent += time.perf_counter() - before
    return spent, run.result([])


def closed_form(prices):  # type: ignore[no-untyped-def]
    """The least that has to be computed: RSI and bands of a candle that has just closed, at every price."""
    last_close, gains, losses, sum1, sum2, weight, inverse = prices[0], 9.0, 11.0, 1.0, 500.0, 1.0, 0.05
    found = 0
    for price in prices:
        change = price - last_close
        gain = rules.smoothed_total(gains, rules.gain_of(change), weight)
        loss = rules.smoothed_total(losses, rules.loss_of(change), weight)
        rsi = rules.rsi_value(gain, loss)
        mean = rules.band_offset(sum1, change, inverse)
        deviation = rules.band_deviation(sum2, change, mean, inverse)
        lower = rules.band_lower(last_close + mean, deviation, 2.0)
        found += rules.entry_reason(rsi, price, lower, 30.0, 20.0) | rules.exit_code(rsi, 70.0)
    return found


def memory(count: int) -> float:
    """MB that a process takes which runs over TIMES * `count` trades, the records aside."""
    command = [sys.executable, "-m", "tools.bench.backtest_fused", "memory", str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def memory_of(count: int) -> float:
    """As `memory`, of this process."""
    records = trades(count // TIMES)
    function, _ = compiled.load("walk_chunk", paths.cache_dir(var_dir_only()))
    _, found = one_run(records, function, settings_of({}), TIMES * TIMES)
    if found.trades != TIMES * TIMES * len(records):
        raise BotError(f"of {TIMES * TIMES * len(records)} trades {found.trades} were judged")
    return resident_mb() - records.nbytes / 1024 / 1024


def resident_mb() -> float:
    """Memory of this process that is no file's."""
    with open("/proc/self/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    raise SystemExit(main())
