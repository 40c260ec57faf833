"""A long run: PSS of each stage and the size of each file, while a market goes on at 20 times its speed.

The whole bot under supervisord with a page open; its market falls every ten minutes of its own time, so that it buys
and sells all along. What is printed is the slope after the first ten minutes (of a shorter run: after a third of it),
by least squares over all samples. What a stage has written is told beside PSS, which other programs that share its
libraries move, too. Of files the largest size of the run is held against what the code keeps them below; of those that
grow with the market the slope, by the day of market time (`tools.bench.soak_files`). A bot that hardly trades shows
nothing: its trades have a bar as well.
"""

import time
from typing import NamedTuple

import numpy as np

from core.paths import book_dir, programs
from tools.bench import soak_files
from tools.bench.bot import Running, page, playing
from tools.bench.figure import Figure, Options, figure
from tools.bench.processes import pss_mb, written_mb

MINUTES = 60.0
SPEED = 20
RATE = 2  # trades a second of market time
FALLS_EVERY_S = 600
TRADES_A_FALL = 0.5  # at least: bought at one, sold at the next
SAMPLE_SECONDS = 5.0
SETTLE_MINUTES = 10.0
JUDGED_FROM_MINUTES = 30.0  # a shorter run's slope is mostly noise and is not held against the bar
FLAT_MB_PER_HOUR = 1.0
MARKET_DAY_HOURS = 24 / SPEED


def figures(options: Options) -> list[Figure]:
    """Slopes of memory and of files, and the largest size of each kind of file."""
    minutes = options.minutes or (0.1 if options.quick else MINUTES)
    settle_s = min(SETTLE_MINUTES, minutes / 3) * 60
    sample_s = min(SAMPLE_SECONDS, minutes * 60 / 12)
    samples: list[Sample] = []
    with playing(RATE, (minutes * 60 + 120) * SPEED, speed=SPEED, falls_every_s=FALLS_EVERY_S) as bot, page(bot):
        pids = {stage: bot.pid(stage) for stage in programs(bot.settings)}
        began = time.monotonic()
        while time.monotonic() - began < minutes * 60:
            time.sleep(sample_s)
            samples.append(sample(time.monotonic() - began, pids, bot))
        restarted = [stage for stage, pid in pids.items() if bot.pid(stage) != pid]
        bounds = soak_files.bounds(bot.settings, RATE)
    if restarted:
        raise RuntimeError(f"started again meanwhile: {', '.join(restarted)}")
    kept = [one for one in samples if one.seconds >= settle_s]
    hours = [one.seconds / 3600 for one in kept]
    what = f"{minutes:g} minutes at {SPEED}x"
    judged = minutes >= JUDGED_FROM_MINUTES
    found = []
    for stage in pids:
        pss, written = [one.pss[stage] for one in kept], [one.written[stage] for one in kept]
        most = FLAT_MB_PER_HOUR if judged and stage != "sandbox" else None
        note = f"{pss[0]:.1f} MB to {pss[-1]:.1f} MB; written memory {slope(hours, written):+.2f} MB/hour"
        found.append(figure("soak", f"{what}: PSS of {stage}", "MB/hour", [slope(hours, pss)], most=most, note=note))
    files = {name: seen([one.files[name] for one in samples], hours) for name in soak_files.KINDS}
    found += soak_files.told(what, files, bounds, judged=judged)
    found.append(traded(what, minutes, samples[-1].trades, judged=judged))
    return found


def traded(what: str, minutes: float, trades: float, *, judged: bool) -> Figure:
    """The trades of a run, held against how often its market fell."""
    least = minutes * 60 * SPEED / FALLS_EVERY_S * TRADES_A_FALL if judged else None
    return figure("soak", f"{what}: trades made", "trades", [trades], least=least)


class Sample(NamedTuple):
    """One look: MB of each stage and of each kind of file."""

    seconds: float
    pss: dict[str, float]
    written: dict[str, float]
    files: dict[str, float]
    trades: float


def sample(seconds: float, pids: dict[str, int], bot: Running) -> Sample:
    """Looks once."""
    book = book_dir(bot.settings)
    csv = book / "trades.csv"
    return Sample(
        seconds,
        {stage: pss_mb(pid) for stage, pid in pids.items()},
        {stage: written_mb(pid) for stage, pid in pids.items()},
        soak_files.file_mb(bot.var, book),
        max(0, len(csv.read_bytes().splitlines()) - 1) if csv.exists() else 0,
    )


def slope(hours: list[float], values: list[float]) -> float:
    """The straight line's slope through the samples; 0 of a single one."""
    return float(np.polyfit(hours, values, 1)[0]) if len(hours) > 1 else 0.0


def seen(sizes: list[float], hours: list[float]) -> soak_files.Seen:
    """One kind of file over a run; `hours` are of the samples from which on it is held to be settled."""
    return soak_files.Seen(max(sizes), sizes[-1], slope(hours, sizes[-len(hours) :]) * MARKET_DAY_HOURS)
