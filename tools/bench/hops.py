"""Two hops: from just before the feeder's append and send to the trader's decision, beside bare relays.

Trades come at a steady pace, one a frame. Ours and bare take turns, each in fresh processes that are alone meanwhile.
The floor is pyzmq's PUB, SUB to PUB, and SUB, with the same sizes and the same write to a file. As the trader does, its
sink takes updates alone; relays whose sink takes the raw trades as well are told, too. Of ours the sender is where the
feeder would be, on the processor of the other two (`core.placement`); what is bare is left to the kernel, and what it
takes on one processor is told, too.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from core.placement import processors
from tools.bench import market
from tools.bench.bare import BareLine
from tools.bench.figure import Figure, Options, figure
from tools.bench.folders import scratch
from tools.bench.line import Line
from tools.bench.pace import latencies_us, paced
from tools.bench.stamps import LAST

PER_SECOND = 1_000
STEP_NS = 1_000_000_000 // PER_SECOND
SKIP = PER_SECOND // 2  # frames of warm-up
ROUNDS = 13  # a hiccup of the machine spoils the p99 of a round: the median needs more of them than that of a rate
OTHERS_EACH = 3  # rounds: no bar is held against other ways to be bare
MOST_RATIO = {"p50": 1.3, "p99": 1.3}
FLOOR = "bare pyzmq relays"
VARIANTS = {"flat": False, "with a position": True}
OTHERS = {  # eager, together
    "bare relays whose sink takes raw trades, too": (True, False),
    "bare relays on one processor": (False, True),
}


def figures(options: Options) -> list[Figure]:
    """p50, p99 and longest of ours beside those of the bare relays, flat and with a position."""
    seconds = options.seconds_or(4.0, 0.5)
    ours: dict[str, list[np.ndarray]] = {name: [] for name in VARIANTS}
    bare: list[np.ndarray] = []
    others: dict[str, list[np.ndarray]] = {name: [] for name in OTHERS}
    for place in range(options.rounds_or(ROUNDS)):
        bare.append(one_bare(seconds))
        if place % OTHERS_EACH == 0:
            for name, (eager, together) in OTHERS.items():
                others[name].append(one_bare(seconds, eager=eager, together=together))
        for name, held in VARIANTS.items():
            ours[name].append(one_of_ours(seconds, held))
    found = []
    for name, rounds in ours.items():
        for label, value in told():
            found.append(
                figure(
                    "hops",
                    f"trade to decision, {PER_SECOND:,}/s, {name}: {label}",
                    "µs",
                    [value(times) for times in rounds],
                    floor=[value(times) for times in bare],
                    floor_of=FLOOR,
                    most_ratio=MOST_RATIO.get(label),
                )
            )
    for name, rounds in others.items():
        for label, value in told():
            found.append(figure("hops", f"{name}, {PER_SECOND:,}/s: {label}", "µs", [value(times) for times in rounds]))
    return found


def told() -> list[tuple[str, Callable[[np.ndarray], float]]]:
    """What is told of one round, by name."""
    return [
        ("p50", lambda times: float(np.percentile(times, 50))),
        ("p99", lambda times: float(np.percentile(times, 99))),
        ("longest", lambda times: float(times.max())),
    ]


def one_of_ours(seconds: float, held: bool) -> np.ndarray:
    """Microseconds, one a trade, through the real stages."""
    with scratch() as folder, Line(folder, held=held) as line:
        before = line.last
        sent = paced(line, frames(line.market_ns, seconds), STEP_NS).after(SKIP)
        line.wait(line.decided, "the trader decides on the last trade")
        spans = line.spans(before)
        if spans:
            raise RuntimeError(f"not all of it was live: {spans}, {line.troubles}")
        return latencies_us(sent.numbers, sent.sent_ns, line.stamps.pairs())


def one_bare(seconds: float, *, eager: bool = False, together: bool = False) -> np.ndarray:
    """Microseconds, one a trade, through the bare relays; `together`: all three are on one processor."""
    with scratch() as folder, kept(together), BareLine(folder, eager=eager) as line:
        sent = paced(line, frames(time.time_ns(), seconds), STEP_NS).after(SKIP)
        deadline = time.monotonic() + 10
        while line.stamps.words[LAST] < line.next_number - 1 and time.monotonic() < deadline:
            time.sleep(0.001)
        return latencies_us(sent.numbers, sent.sent_ns, line.stamps.pairs())


@contextmanager
def kept(together: bool) -> Iterator[None]:
    """Whatever is started inside keeps to the processor that the stages on a trade's way have, where there are two."""
    given = os.sched_getaffinity(0)
    os.sched_setaffinity(0, (together and processors(frozenset(given), together=True)) or given)
    try:
        yield
    finally:
        os.sched_setaffinity(0, given)


def frames(market_ns: int, seconds: float) -> list[bytes]:
    """One trade a frame, warm-up included."""
    step = np.arange(1, int(PER_SECOND * seconds) + SKIP + 1)
    return [record.tobytes() for record in market.trades(market_ns + STEP_NS * step)]
