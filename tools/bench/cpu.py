"""What a whole bot costs while little happens: CPU of each stage at 1 and at 50 trades a second.

The real bot under supervisord; its sandbox plays a file made for this, with exactly so many trades a second and an
hour of history before them, so that the indicators are warm. Measured with the page closed and with one open, which is
a client of its event stream. All stages are the five and the watchdog; the sandbox and supervisord are told apart.
The floor is as many bare processes that pass on, write and wake as often.
"""

import time

from bus.layouts import RECORD_SIZE
from core.paths import STAGES, WATCHDOG
from tools.bench import bare_bot
from tools.bench.bot import Running, page, playing
from tools.bench.figure import Figure, Options, figure
from tools.bench.processes import cpu_ns

RATES = (1, 50)
SECONDS, FLOOR_SECONDS = 30.0, 10.0
SETTLE_SECONDS = 8.0
MOST = {50: 6.0}  # per cent of a core
COUNTED = (*STAGES, WATCHDOG)
UNIT = "% of a core"


def figures(options: Options) -> list[Figure]:
    """Per cent of a core, all stages and each."""
    seconds = options.seconds_or(SECONDS, 1.0)
    settle = 1.0 if options.quick else SETTLE_SECONDS
    found = []
    for rate in RATES:
        with bare_bot.running(rate) as pids:
            time.sleep(min(settle, 2.0))
            floors = used(pids, min(seconds, FLOOR_SECONDS))
        with playing(rate, seconds * 3 + 120) as bot:
            pids = {stage: bot.pid(stage) for stage in COUNTED}
            others = {"sandbox": bot.pid("sandbox"), "supervisord": bot.supervisord}
            time.sleep(settle)
            measured = [("page closed", *with_trades(bot, pids | others, seconds))]
            with page(bot):
                measured.append(("one page open", *with_trades(bot, pids | others, seconds)))
        for label, cpu, trades in measured:
            what = f"{rate} trades/s, {label}"
            total = sum(cpu[stage] for stage in COUNTED)
            found.append(
                figure(
                    "cpu",
                    f"{what}: all stages",
                    UNIT,
                    [total],
                    floor=[sum(floors.values())],
                    floor_of="bare processes that wake as often",
                    most=MOST.get(rate),
                    note=f"{trades:.1f} records/s came onto the tape meanwhile",
                )
            )
            found += [
                figure("cpu", f"{what}: {name}", UNIT, [value], floor=[floors[name]] if name in floors else ())
                for name, value in cpu.items()
            ]
    return found


def used(pids: dict[str, int], seconds: float) -> dict[str, float]:
    """Per cent of a core that each process used over so many seconds."""
    before = {name: (cpu_ns(pid), time.monotonic_ns()) for name, pid in pids.items()}
    time.sleep(seconds)
    return {
        name: (cpu_ns(pids[name]) - cpu) / (time.monotonic_ns() - since) * 100 for name, (cpu, since) in before.items()
    }


def with_trades(bot: Running, pids: dict[str, int], seconds: float) -> tuple[dict[str, float], float]:
    """What `used` says, and how many records a second the tape grew by meanwhile."""
    before, began = bot.tape_bytes(), time.monotonic()
    cpu = used(pids, seconds)
    return cpu, (bot.tape_bytes() - before) / RECORD_SIZE / (time.monotonic() - began)
