"""Two hops: from just before the feeder's append and send to the trader's decision, beside bare relays.

Trades come at a steady pace, one a frame. Ours and bare take turns, each in fresh processes that are alone meanwhile.
The floor is pyzmq's PUB, SUB to PUB, and SUB on both, with the same sizes and the same write to a file.
"""

import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from tools.bench import market
from tools.bench.bare import BareLine
from tools.bench.figure import Figure, Options, figure
from tools.bench.line import Line, scratch
from tools.bench.stamps import LAST, Stamps, latencies_us

PER_SECOND = 1_000
WARM_UP_SECONDS = 0.5
SERVICE_SECONDS = 0.1
FLOOR = "bare pyzmq relays"
VARIANTS = {"flat": False, "with a position": True}


class Sender(Protocol):
    """What can be measured: ours and the bare one."""

    stamps: Stamps

    def write(self, data: bytes) -> int: ...

    def service(self) -> None: ...


def figures(options: Options) -> list[Figure]:
    """p50 and p99 of ours beside those of the bare relays, flat and with a position."""
    seconds = options.seconds_or(4.0, 0.5)
    ours: dict[str, list[np.ndarray]] = {name: [] for name in VARIANTS}
    bare: list[np.ndarray] = []
    for _ in range(options.rounds_or(5)):
        bare.append(one_bare(seconds))
        for name, held in VARIANTS.items():
            ours[name].append(one_of_ours(seconds, held))
    found = []
    for name, rounds in ours.items():
        for label, value in percentiles():
            found.append(
                figure(
                    "hops",
                    f"trade to decision, {PER_SECOND:,}/s, {name}: {label}",
                    "µs",
                    [value(times) for times in rounds],
                    floor=[value(times) for times in bare],
                    floor_of=FLOOR,
                    most_ratio=1.3,
                )
            )
    return found


def percentiles() -> list[tuple[str, Callable[[np.ndarray], float]]]:
    """p50 and p99 of one round, by name."""
    return [(f"p{q}", lambda times, q=q: float(np.percentile(times, q))) for q in (50, 99)]  # type: ignore[misc]


def one_of_ours(seconds: float, held: bool) -> np.ndarray:
    """Microseconds, one a trade, through the real stages."""
    with scratch() as folder, Line(folder, held=held) as line:
        sent = paced(line, line.market_ns, seconds)
        line.wait(line.decided, "the trader decides on the last trade")
        if line.spans():
            raise RuntimeError(f"not all of it was live: {line.spans()}, {line.troubles}")
        return latencies_us(sent, line.stamps.pairs())


def one_bare(seconds: float) -> np.ndarray:
    """Microseconds, one a trade, through the bare relays."""
    with scratch() as folder, BareLine(folder) as line:
        sent = paced(line, time.time_ns(), seconds)
        deadline = time.monotonic() + 10
        while line.stamps.words[LAST] < line.next_number - 1 and time.monotonic() < deadline:
            time.sleep(0.001)
        return latencies_us(sent, line.stamps.pairs())


def paced(line: Sender, market_ns: int, seconds: float) -> np.ndarray:
    """Sends one trade a frame at PER_SECOND; (number, 1, ns before the send) each, the warm-up left out.

    Deadlines are absolute and kept by sleeping: a spinning sender would take one of two cores from the others.
    """
    count, skip = int(PER_SECOND * seconds), int(PER_SECOND * WARM_UP_SECONDS)
    step_ns = 1_000_000_000 // PER_SECOND
    frames = [record.tobytes() for record in market.trades(market_ns + step_ns * np.arange(1, count + skip + 1))]
    sent = np.zeros((count + skip, 3), np.int64)
    began_ns = serviced_ns = time.monotonic_ns()
    for place, frame in enumerate(frames):
        wait_ns = began_ns + place * step_ns - time.monotonic_ns()
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)
        now_ns = time.monotonic_ns()
        sent[place] = line.write(frame), 1, now_ns
        if now_ns - serviced_ns > SERVICE_SECONDS * 1e9:
            line.service()
            serviced_ns = now_ns
    return sent[skip:]
