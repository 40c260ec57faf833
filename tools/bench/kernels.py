"""What the indicator kernel costs: `python -m tools.bench.kernels`.

Full update of the forming candle in a frame of 1,000 trades, for one pair and for many, and a frame of one trade from
bytes to verdict; beside a bare numba loop over the same frames that only reads the trades and writes as many bytes.
Rounds alternate. By itself it shows the best round: what the code costs when nobody else has the core; as a part of
`python -m tools.bench` the median, as everything there.
"""

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
from numba import njit

from bus.layouts import CANDLE, MAX_BATCH, TRADE
from bus.records import CANDLE_RECORD, RECORD
from core import paths
from core.settings_load import var_dir_only
from indicators import jit
from indicators.engine import Indicators
from indicators.layout import Parameters
from indicators.machine import Machine
from tools.bench.figure import Figure, Options, figure

MINUTE_NS = 60_000_000_000
T0 = 1_700_000_040 * 1_000_000_000
WARM_UP = 60
BARE_BATCH = "in a frame of 1,000, bare numba loop: a trade"
BATCH = "in a frame of 1,000, one pair: a trade"
BARE_ONE = "frame of one trade, bare numba loop"
ONE = "frame of one trade, bytes to verdict"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=400)
    arguments.add_argument("--json", action="store_true", help="print JSON instead of a table")
    chosen = arguments.parse_args()
    machine, _ = jit.load(paths.cache_dir(var_dir_only()))
    best = {name: min(rounds) for name, rounds in measure(machine, chosen.rounds).items()}
    if chosen.json:
        print(json.dumps(best))
        return 0
    for name, value in best.items():
        print(f"{name:58} {value:8.2f} ns")
    return 0


def figures(options: Options) -> list[Figure]:
    """The kernel beside the bare loop over the same frames."""
    machine, _ = jit.load(paths.cache_dir(var_dir_only()))
    rounds = measure(machine, options.rounds or (3 if options.quick else 5_000))
    floors = {1: rounds.pop(BARE_ONE), MAX_BATCH: rounds.pop(BARE_BATCH)}
    most = {ONE: 1_300.0, BATCH: 6.5}
    return [
        figure(
            "kernels",
            name,
            "ns",
            values,
            floor=floors[1 if name == ONE else MAX_BATCH],
            floor_of="bare numba loop",
            most=most.get(name),
        )
        for name, values in rounds.items()
    ]


def measure(machine: Machine, rounds: int) -> dict[str, list[float]]:
    """Each figure by name: ns, one value a round."""
    one_trade, batch = trades(1, 1), trades(MAX_BATCH, 1)
    single = warmed(machine, 1)
    out = np.zeros(MAX_BATCH * 16, np.int64)
    copy = njit(read_and_write)
    cases: dict[str, tuple[Callable[[], object], int]] = {
        ONE: (lambda: single.fold(one_trade, WARM_UP), 1),
        BARE_ONE: (lambda: copy(one_trade, out), 1),
        BATCH: (lambda: single.fold(batch, WARM_UP), MAX_BATCH),
        BARE_BATCH: (lambda: copy(batch, out), MAX_BATCH),
    }
    for pairs in (10, 1_500):
        many, mixed = warmed(machine, pairs), trades(MAX_BATCH, pairs)
        cases[f"in a frame of 1,000, {pairs:,} pairs at random: a trade"] = (
            lambda many=many, mixed=mixed: many.fold(mixed, WARM_UP),  # type: ignore[misc]
            MAX_BATCH,
        )
    found: dict[str, list[float]] = {name: [] for name in cases}
    for case, _ in cases.values():
        case()
    for _ in range(rounds):
        for name, (case, count) in cases.items():
            calls = 300 if count == 1 else 10
            before = time.perf_counter_ns()
            for _ in range(calls):
                case()
            found[name].append((time.perf_counter_ns() - before) / calls / count)
    return found


def read_and_write(frame, out):  # type: ignore[no-untyped-def]
    """The least that has to be done: read each word of the trades, write as many words as an UPDATE has."""
    trades = np.frombuffer(frame, dtype=np.int64).reshape(-1, 8)
    updates = out.reshape(-1, 16)
    for i in range(len(trades)):
        for k in range(8):
            updates[i, k] = trades[i, k]
        for k in range(8, 16):
            updates[i, k] = i
    return len(trades)


def warmed(machine: Machine, pairs: int) -> Indicators:
    """Indicators of so many pairs, with history and the first trade of the running minute."""
    indicators = Indicators(Parameters(60_000), machine, pairs)
    for minute in range(WARM_UP):
        for at in range(0, pairs, MAX_BATCH):
            records = np.zeros(min(MAX_BATCH, pairs - at), CANDLE_RECORD)
            records["kind"], records["pair"] = CANDLE, at + np.arange(len(records))
            records["open_ns"] = T0 - (WARM_UP - minute) * MINUTE_NS
            for name in ("open", "high", "low", "close"):
                records[name] = 60_000.0 + minute % 7
            indicators.fold(records.tobytes(), 0)
    first = np.zeros(1, RECORD)
    first["kind"], first["exchange_ns"], first["price"] = TRADE, T0, 60_000.0
    for pair in range(pairs):
        first["pair"] = pair
        indicators.fold(first.tobytes(), WARM_UP)
    indicators.take_closed()
    return indicators


def trades(count: int, pairs: int) -> bytes:
    """A frame of trades inside the running minute, of pairs at random."""
    rng = np.random.default_rng(1)
    records = np.zeros(count, RECORD)
    records["kind"], records["pair"] = TRADE, rng.integers(0, pairs, count)
    records["exchange_ns"] = T0 + 1 + np.arange(count)
    records["price"] = np.round(60_000 + np.cumsum(rng.normal(0, 1, count)), 2)
    records["quantity"] = 0.01
    return records.tobytes()


if __name__ == "__main__":
    raise SystemExit(main())
