"""What the backtest's column forms cost: `python -m tools.bench.backtest_columns`.

* columns out of records in memory, beside a bare numba loop that copies the same four fields
* the trigger-price form over columns in memory, its candles and triggers included, beside a bare numba loop that looks
  for a low price in the same column and never finds one

Rounds alternate. The market is a random walk of 10 million trades, about a thousand a minute, with the usual settings.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numba import njit

from backtest import triggers
from backtest.chunks import CHUNK, Chunk
from backtest.columns import columns_of
from backtest.functions import Functions
from bus.messages import Market, Start
from bus.records import RECORD, TRADE
from core import paths
from core.settings import Settings
from core.settings_load import from_texts, var_dir_only
from tools.bench.figure import Figure, Options, figure

T0 = 1_700_000_040 * 1_000_000_000
TRADES = 10_000_000
GAP_NS = 120_000_000  # between two trades, at most
BLOCK = 64
START = Start(
    "bench", "bench", [Market("B-BTC_USDT", "BTC", "USDT", "0.01", "0.00001", "0.00001", "0")], "5", "5", False, T0
)
MAKING, MAKING_BARE = "columns out of records", "columns out of records, bare numba loop"
RUN, RUN_BARE = "trigger-price form, instant fills", "search for a low price, bare numba loop"
RUN_TAPE = "trigger-price form, tape fills and fees"


class InMemory:
    """Records as a source."""

    def __init__(self, records: np.ndarray) -> None:
        self.start, self.connected = START, True
        self.notes: list[str] = []
        self.total: int | None = len(records)
        self.done = 0
        self._records = records

    def chunks(self) -> Iterator[Chunk]:
        for at in range(0, len(self._records), CHUNK):
            yield Chunk(at, self._records[at : at + CHUNK], START)


def random_walk(count: int) -> np.ndarray:
    """TRADE records."""
    rng = np.random.default_rng(1)
    records = np.zeros(count, RECORD)
    records["kind"] = TRADE
    records["exchange_ns"] = records["received_ns"] = T0 + np.cumsum(rng.integers(0, GAP_NS, count))
    records["ticks"] = np.maximum(np.round(6_000_000 + np.cumsum(rng.normal(0, 40, count))), 1_000)
    records["price"] = records["ticks"] / 100
    records["lots"] = rng.integers(1, 100_000, count)
    records["quantity"] = records["lots"] / 100_000
    return records


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=9)
    chosen = arguments.parse_args()
    for name, values in measure(TRADES, chosen.rounds).items():
        print(f"{name:45} {min(values):8.3f} ns a trade, {1_000 / min(values):8.0f} million trades/s")
    return 0


def figures(options: Options) -> list[Figure]:
    """Each form beside its bare loop."""
    rounds = measure(options.records_or(TRADES, 20_000), options.rounds_or(9))
    floors = {MAKING: rounds.pop(MAKING_BARE), RUN: rounds.pop(RUN_BARE)}
    floors[RUN_TAPE] = floors[RUN]
    return [
        figure(
            "backtest_columns",
            name,
            "million trades/s",
            [1_000 / value for value in values],
            floor=[1_000 / value for value in floors[name]],
            floor_of="bare numba loop",
            more_is_better=True,
            least=400.0 if name == RUN else None,
        )
        for name, values in rounds.items()
    ]


def measure(count: int, rounds: int) -> dict[str, list[float]]:
    """Each figure by name: ns a trade, one value a round."""
    functions = Functions(paths.cache_dir(var_dir_only()))
    records = random_walk(count)
    source = InMemory(records)
    instant, tape = from_texts({"PAPER_FILL": "instant"}), from_texts({})
    columns = columns_of(source, tape.timeframe_ms, functions)
    copied = [np.zeros(count, np.int64), np.zeros(count), np.zeros(count, np.int64), np.zeros(count, np.int64)]
    copy, search = njit(copy_fields), njit(search_low)

    def run(settings: Settings) -> Callable[[], Any]:
        return lambda: triggers.run(columns, settings, functions)

    cases: dict[str, Callable[[], Any]] = {
        MAKING: lambda: columns_of(source, tape.timeframe_ms, functions),
        MAKING_BARE: lambda: copy(records, *copied),
        RUN: run(instant),
        RUN_TAPE: run(tape),
        RUN_BARE: lambda: search(columns.price),
    }
    found: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case()
    for _ in range(rounds):
        for name, case in cases.items():
            before = time.perf_counter_ns()
            case()
            found[name].append((time.perf_counter_ns() - before) / count)
    return found


def copy_fields(records, ns, price, ticks, lots):  # type: ignore[no-untyped-def]
    """The least that making columns has to do."""
    for k in range(records.size):
        record = records[k]
        ns[k] = record["exchange_ns"]
        price[k] = record["price"]
        ticks[k] = record["ticks"]
        lots[k] = record["lots"]


def search_low(price):  # type: ignore[no-untyped-def]
    """The least that a run has to do: look at each price."""
    at = found = 0
    while at + BLOCK <= price.size:
        hits = 0
        for k in range(at, at + BLOCK):
            hits += price[k] <= 0.0
        found += hits
        at += BLOCK
    return found


if __name__ == "__main__":
    raise SystemExit(main())
