"""What a whole bot costs while little happens: CPU of each stage at 1 and at 50 trades a second.

The real bot under supervisord; its sandbox plays a file made for this, with exactly so many trades a second and an
hour of history before them, so that the indicators are warm. Measured with the page closed and with one open, which is
a client of its event stream. All stages are the five and the watchdog; the sandbox and supervisord are told apart.
The floor is as many bare processes that pass on, write and wake as often. What such short work costs depends on who
else has the caches: so both are alone while they are looked at, the bare ones before the bot and after it. Closed and
open take turns.
"""

import statistics
import time
from typing import NamedTuple

from bus.layouts import RECORD_SIZE
from core.paths import STAGES, WATCHDOG
from tools.bench import bare_bot
from tools.bench.bot import Running, page, playing
from tools.bench.figure import Figure, Options, figure
from tools.bench.processes import cpu_ns

RATES = (1, 50)
SECONDS = 10.0
SETTLE_SECONDS = 8.0  # of the bare processes
LONGER_SECONDS = 24.0  # of the bot, which moves its memory 20 s after its start
MOST = {50: 6.0}  # per cent of a core
COUNTED = (*STAGES, WATCHDOG)
UNIT = "% of a core"


def figures(options: Options) -> list[Figure]:
    """Per cent of a core, all stages and each."""
    seconds = options.seconds_or(SECONDS, 1.0)
    rounds = options.rounds_or(3)
    found = []
    settle_s = 1.0 if options.quick else SETTLE_SECONDS
    for rate in RATES:
        looks: dict[str, list[Look]] = {"page closed": [], "one page open": []}
        bare = bare_alone(rate, (rounds + 1) // 2, seconds, settle_s)
        with playing(rate, rounds * seconds * 3 + 150) as bot:
            pids = {stage: bot.pid(stage) for stage in COUNTED}
            pids |= {"sandbox": bot.pid("sandbox"), "supervisord": bot.supervisord}
            time.sleep(settle_s if options.quick else settle_s + LONGER_SECONDS)
            for _ in range(rounds):
                looks["page closed"].append(look(bot, pids, seconds))
                with page(bot):
                    looks["one page open"].append(look(bot, pids, seconds))
        bare += bare_alone(rate, (rounds + 1) // 2, seconds, settle_s)
        for label, ones in looks.items():
            found += told(f"{rate} trades/s, {label}", ones, bare, MOST.get(rate))
    return found


def bare_alone(rate: float, rounds: int, seconds: float, settle_s: float) -> list[dict[str, float]]:
    """Per cent of a core by bare process, of each of so many looks."""
    with bare_bot.running(rate) as pids:
        time.sleep(settle_s)
        return [used(pids, seconds) for _ in range(rounds)]


class Look(NamedTuple):
    """Per cent of a core by process, and records a second onto the tape in the same seconds."""

    ours: dict[str, float]
    records: float


def look(bot: Running, pids: dict[str, int], seconds: float) -> Look:
    """Looks for so many seconds."""
    before, began = bot.tape_bytes(), time.monotonic()
    ours = used(pids, seconds)
    return Look(ours, (bot.tape_bytes() - before) / RECORD_SIZE / (time.monotonic() - began))


def told(what: str, looks: list[Look], bare: list[dict[str, float]], most: float | None) -> list[Figure]:
    """The sum over all stages, then each process."""
    records = statistics.median(one.records for one in looks)
    whole = figure(
        "cpu",
        f"{what}: all stages",
        UNIT,
        [sum(one.ours[stage] for stage in COUNTED) for one in looks],
        floor=[sum(one.values()) for one in bare],
        floor_of="bare processes that wake as often",
        most=most,
        note=f"{records:.1f} records/s came onto the tape meanwhile",
    )
    each = [
        figure(
            "cpu",
            f"{what}: {name}",
            UNIT,
            [one.ours[name] for one in looks],
            floor=[one[name] for one in bare if name in one],
        )
        for name in looks[0].ours
    ]
    return [whole, *each]


def used(pids: dict[str, int], seconds: float) -> dict[str, float]:
    """Per cent of a core that each process used over so many seconds."""
    before = {name: (cpu_ns(pid), time.monotonic_ns()) for name, pid in pids.items()}
    time.sleep(seconds)
    return {
        name: (cpu_ns(pids[name]) - cpu) / (time.monotonic_ns() - since) * 100 for name, (cpu, since) in before.items()
    }
