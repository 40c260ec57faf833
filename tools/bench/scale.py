"""Many pairs at once: 1,500 of them, 50,000 trades a second for a minute, all stages behind the tape.

A frame of 100 trades of random pairs every 2 ms. Latency counts from the moment a frame was due: a sender that comes
late because the machine is busy counts too. Storage and the page run beside the line and take what they always take.
The floor is bare relays of the same frames.
"""

import time

import numpy as np

from tools.bench import market
from tools.bench.bare import BareLine
from tools.bench.bot import free_port
from tools.bench.figure import Figure, Options, figure
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
MOST_P99_MS = 50.0
BESIDE = ("storage", "dashboard")
PERCENTILES = (50, 99, 99.9)


def figures(options: Options) -> list[Figure]:
    """Latency, what was lost, CPU and memory."""
    seconds = options.seconds_or(SECONDS, 1.0)
    pairs = 50 if options.quick else PAIRS
    bare = one_bare(min(seconds, BARE_SECONDS), pairs)
    rate = FRAME * 1_000_000_000 // STEP_NS
    what = f"{pairs:,} pairs, {rate:,}/s for {seconds:g} s"
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
        lost = len(frames) * FRAME - (line.stamps.words[UPDATES] - seen)
        not_live = sum(max(span.last, span.first) - span.first + 1 for span in line.spans(last))
        gaps = line.stamps.words[GAPS] - gaps
        times = latencies_us(sent.numbers, sent.due_ns, line.stamps.pairs()) / 1000.0
        weight = {name: pss_mb(pid) for name, pid in line.pids.items()}
        troubles = line.troubles[told:]
    note = "; ".join(troubles[:3])
    found = [
        figure("scale", f"{what}: updates lost", "records", [float(lost + gaps)], most=0.0, note=note),
        figure("scale", f"{what}: decided otherwise than live", "records", [float(not_live)], most=0.0),
    ]
    for q in PERCENTILES:
        value, floor = float(np.percentile(times, q)), float(np.percentile(bare, q))
        most = MOST_P99_MS if q == 99 else None
        name = f"{what}: trade to decision, p{q:g}"
        found.append(figure("scale", name, "ms", [value], floor=[floor], floor_of="bare pyzmq relays", most=most))
    found.append(figure("scale", f"{what}: trade to decision, longest", "ms", [float(times.max())]))
    found.append(figure("scale", "CPU of the sender in the feeder's place", "% of a core", [sender_cpu / took * 100]))
    for name, cpu in used.items():
        found.append(figure("scale", f"CPU of {name}", "% of a core", [cpu / took * 100]))
    found += [figure("scale", f"PSS of {name} at the end", "MB", [mb]) for name, mb in weight.items()]
    return found


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
