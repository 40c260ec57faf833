"""Many pairs at once: 1,500 of them, 50,000 trades a second for a minute, all stages behind the tape.

A frame of 100 trades of random pairs every 2 ms. Latency counts from the moment a frame was due: a sender that comes
late because the machine is busy counts too. Storage and the page run beside the line and take what they always take.
The floor is bare relays of the same frames, once before our minute and once after it: how far the two differ is how
far the ratio is to be trusted.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tools.bench import market
from tools.bench.bare import BareLine
from tools.bench.bot import free_port
from tools.bench.figure import Figure, Options, figure, number
from tools.bench.folders import scratch
from tools.bench.line import Line
from tools.bench.pace import latencies_us, paced
from tools.bench.processes import cpu_ns, pss_mb
from tools.bench.stamps import GAPS, LAST, UPDATES

PAIRS = 1_500
FRAME = 100
STEP_NS = 2_000_000
SECONDS = 60.0
BARE_SECONDS = 10.0
CATCH_UP_SECONDS = 60.0
COUNTED_SECONDS = 2.0  # the probe counts a frame only after it has said that it decided on it
MOST_P99_MS = 50.0
BESIDE = ("storage", "dashboard")
PERCENTILES = (50, 99, 99.9)


class Run(NamedTuple):
    """What one minute came to."""

    times_ms: np.ndarray  # from the moment a trade was due to its decision
    lost: int
    not_live: int  # records decided on otherwise than live
    sender_cpu: float  # of a core, as the stages'
    cpu: dict[str, float]
    pss: dict[str, float]  # MB
    troubles: list[str]


def figures(options: Options) -> list[Figure]:
    """Latency, what was lost, CPU and memory."""
    seconds = options.seconds_or(SECONDS, 1.0)
    pairs = 50 if options.quick else PAIRS
    bare_s = min(seconds, BARE_SECONDS)
    bare = [one_bare(bare_s, pairs)]
    ours = one_of_ours(seconds, pairs)
    bare.append(one_bare(bare_s, pairs))
    what = f"{pairs:,} pairs, {FRAME * 1_000_000_000 // STEP_NS:,}/s for {seconds:g} s"
    note = "; ".join(ours.troubles[:3])
    found = [
        figure("scale", f"{what}: updates lost or doubled", "records", [ours.lost], most=0, note=note),
        figure("scale", f"{what}: decided otherwise than live", "records", [ours.not_live], most=0),
    ]
    for q in PERCENTILES:
        value, floors = float(np.percentile(ours.times_ms, q)), [float(np.percentile(one, q)) for one in bare]
        found.append(
            figure(
                "scale",
                f"{what}: trade to decision, p{q:g}",
                "ms",
                [value],
                floor=floors,
                floor_of="bare pyzmq relays",
                most=MOST_P99_MS if q == 99 else None,
                note=told_of(value, floors),
            )
        )
    found.append(figure("scale", f"{what}: trade to decision, longest", "ms", [float(ours.times_ms.max())]))
    found.append(figure("scale", "CPU of the sender in the feeder's place", "% of a core", [ours.sender_cpu * 100]))
    found += [figure("scale", f"CPU of {name}", "% of a core", [cpu * 100]) for name, cpu in ours.cpu.items()]
    return found + [figure("scale", f"PSS of {name} at the end", "MB", [mb]) for name, mb in ours.pss.items()]


def one_of_ours(seconds: float, pairs: int) -> Run:
    """One minute through the real stages; raises TimeoutError where the last trade is never decided on."""
    with scratch() as folder, Line(folder, pairs=pairs, settings={"PORT": str(free_port())}, beside=BESIDE) as line:
        frames = made(time.time_ns(), seconds, pairs)
        last, seen, gaps = line.last, line.stamps.words[UPDATES], line.stamps.words[GAPS]
        told = len(line.troubles)
        before = {name: cpu_ns(pid) for name, pid in line.pids.items()}
        began, began_cpu = time.monotonic(), time.process_time()
        sent = paced(line, frames, STEP_NS)
        took, sender_cpu = time.monotonic() - began, time.process_time() - began_cpu
        used = {name: (cpu_ns(pid) - before[name]) / 1e9 for name, pid in line.pids.items()}
        line.wait(line.decided, "the trader decides on the last trade", CATCH_UP_SECONDS)
        wanted = len(frames) * FRAME
        counted_by = time.monotonic() + COUNTED_SECONDS
        while line.stamps.words[UPDATES] - seen < wanted and time.monotonic() < counted_by:
            line.service()
            time.sleep(0.001)
        return Run(
            latencies_us(sent.numbers, sent.due_ns, line.stamps.pairs()) / 1000.0,
            astray(wanted, line.stamps.words[UPDATES] - seen, line.stamps.words[GAPS] - gaps),
            sum(max(span.last, span.first) - span.first + 1 for span in line.spans(last)),
            sender_cpu / took,
            {name: cpu / took for name, cpu in used.items()},
            {name: pss_mb(pid) for name, pid in line.pids.items()},
            line.troubles[told:],
        )


def astray(sent: int, came: int, gaps: int) -> int:
    """Updates missing or too many, and gaps of the bus, also those that were filled: none makes up for another."""
    return abs(sent - came) + gaps


def told_of(value: float, floors: Sequence[float]) -> str:
    """The floor before and after, and what ratio each of them gives."""
    said = " and ".join(f"{number(floor)} ({value / floor:.2f}x)" for floor in floors)
    return f"floor before and after: {said}"


def one_bare(seconds: float, pairs: int) -> np.ndarray:
    """Milliseconds from the moment a trade was due, through bare relays."""
    with scratch() as folder, BareLine(folder) as line:
        sent = paced(line, made(time.time_ns(), seconds, pairs), STEP_NS)
        deadline = time.monotonic() + 10
        while line.stamps.words[LAST] < line.next_number - 1 and time.monotonic() < deadline:
            time.sleep(0.001)
        return latencies_us(sent.numbers, sent.due_ns, line.stamps.pairs()) / 1000.0


def made(now_ns: int, seconds: float, pairs: int) -> list[bytes]:
    """The frames, in the times at which they will be sent."""
    count = int(seconds * 1_000_000_000 / STEP_NS)
    times = now_ns + np.repeat(STEP_NS * np.arange(count), FRAME)
    data = market.trades(times, pairs).tobytes()
    size = len(data) // count
    return [data[at : at + size] for at in range(0, len(data), size)]
