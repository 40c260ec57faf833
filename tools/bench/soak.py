"""A long run: PSS of each stage and the size of each file, while a market goes on at 20 times its speed.

The whole bot under supervisord with a page open; its market falls every ten minutes of its own time, so that it buys
and sells all along. What is printed is the slope after the first ten minutes (of a shorter run: after a third of it),
by least squares over all samples. What a stage has written is told beside PSS, which other programs that share its
libraries move, too.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.paths import book_dir, programs
from tools.bench.bot import Running, page, playing
from tools.bench.figure import Figure, Options, figure
from tools.bench.processes import pss_mb, written_mb

MINUTES = 60.0
SPEED = 20
RATE = 2  # trades a second of market time
FALLS_EVERY_S = 600
SAMPLE_SECONDS = 5.0
SETTLE_MINUTES = 10.0
JUDGED_FROM_MINUTES = 30.0  # a shorter run's slope is mostly noise and is not held against the bar
FLAT_MB_PER_HOUR = 1.0
LOG_MB = 20.0  # of a stage: 5 MB and three older ones
MB = 1024 * 1024


def figures(options: Options) -> list[Figure]:
    """Slopes in MB an hour, and sizes at the end."""
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
        tape_most = float(bot.settings.tape_max_mb)
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
    most_of = {"tape": tape_most, "logs": LOG_MB * len(pids)}
    for name in kept[-1].files:
        sizes = [one.files[name] for one in kept]
        note = f"{slope(hours, sizes):+.2f} MB/hour"
        found.append(figure("soak", f"{what}: {name}", "MB", [sizes[-1]], most=most_of.get(name), note=note))
    found.append(figure("soak", f"{what}: trades made", "trades", [samples[-1].trades]))
    return found


class Sample(NamedTuple):
    """One look: MB of each stage and of each kind of file."""

    seconds: float
    pss: dict[str, float]
    written: dict[str, float]
    files: dict[str, float]
    trades: float


def sample(seconds: float, pids: dict[str, int], bot: Running) -> Sample:
    """Looks once."""
    csv = book_dir(bot.settings) / "trades.csv"
    return Sample(
        seconds,
        {stage: pss_mb(pid) for stage, pid in pids.items()},
        {stage: written_mb(pid) for stage, pid in pids.items()},
        file_mb(bot),
        max(0, len(csv.read_bytes().splitlines()) - 1) if csv.exists() else 0,
    )


def slope(hours: list[float], values: list[float]) -> float:
    """The straight line's slope through the samples; 0 of a single one."""
    return float(np.polyfit(hours, values, 1)[0]) if len(hours) > 1 else 0.0


def file_mb(bot: Running) -> dict[str, float]:
    """Sizes in MB of what the bot keeps, by name."""
    book = book_dir(bot.settings)
    groups: Mapping[str, list[Path]] = {
        "tape": list((book / "tape").glob("*/*")),
        "journal": list(book.glob("journal.db")),
        "journal's WAL": list(book.glob("journal.db-wal")),
        "database": list(book.glob("bot_data.db")),
        "database's WAL": list(book.glob("bot_data.db-wal")),
        "trades.csv": list(book.glob("trades.csv")),
        "indicators' state": list((bot.var / "cache").glob("indicators-*/*")),
        "logs": list((bot.var / "log").glob("*")),
    }
    return {name: sum(size(path) for path in paths) / MB for name, paths in groups.items()}


def size(path: Path) -> int:
    """Bytes of a file; 0 where it was removed meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
