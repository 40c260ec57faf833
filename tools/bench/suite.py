"""The whole bench: runs what is asked for, prints one table, writes it as JSON, compares it with another run's.

Exit codes: 0 all was measured (whatever speed and size came to), 1 a bench could not be run to its end or what must
never happen did (something was lost, doubled, untold: a bar of at most 0), 2 a wrong call, 130 stopped.
"""

import argparse
import importlib
import os
import platform
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

import msgspec

from core.clock import LiveClock, iso_utc
from core.errors import BotError
from core.paths import ROOT
from tools.bench.figure import Figure, Options, number

# Name: what it measures. Each is a module of this folder with `figures(options) -> list[Figure]`.
BENCHES = {
    "hops": "latency from trade to decision, beside bare relays",
    "orders": "tick to order on the wire, real orders at the sandbox, beside a bare commit and a bare POST",
    "burst": "20 million records in full frames, every one counted",
    "kernels": "the fused kernel, beside a bare numba loop",
    "rows": "rows into SQLite, beside raw executemany",
    "scale": "1,500 pairs, 50,000 trades/s for 60 s",
    "cpu": "CPU of a whole bot at 1 and 50 trades/s",
    "memory": "PSS of each stage over its bare imports",
    "writes": "what a bot writes to its disk, a day",
    "feeder_load": "the feeder at 20,000 trades/s of 300 pairs, also of the sandbox, and at recorded frames",
    "backtest_fused": "the fused loop over ten million trades, beside a bare numba loop of the same closed form",
    "backtest_columns": "plain columns and the trigger-price form, beside bare loops",
    "backtest_grid": "a sweep of 1,000 combinations over 44,000 candles, beside a bare prange loop",
    "backtest_events": "the trader's own engine over recorded trades, beside the bare kernel",
    "feeder_cuts": "the feeder whose venue cuts it off every ten seconds, five minutes of each",
    "soak": "PSS and files over time at 20x market speed",
}
ONLY_BY_NAME = ("soak", "feeder_cuts")  # an hour, and twenty minutes
OK, MISSED = "ok", "missed"
BEFORE, NOW = "only before", "only now"
INTERRUPTED = 130
QUIET_LOAD = 0.5

Measure = Callable[[Options], list[Figure]]


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was measured; load is that of the last minute before the start."""

    cores: int
    cpu: str
    memory_mb: int
    load: float
    system: str
    python: str


class Report(msgspec.Struct, kw_only=True):
    """One run: what was measured, and of which benches it could not be."""

    commit: str
    time: str
    quick: bool
    machine: Machine
    figures: list[Figure] = []
    seconds: dict[str, float] = {}  # each bench took
    failed: dict[str, str] = {}


def machine() -> Machine:
    """This machine, now."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in info if line.startswith(("model name", "Model"))), "")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        cpu=model or platform.machine(),
        memory_mb=pages // 1024 // 1024,
        load=round(os.getloadavg()[0], 2),
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_version()} of {sys.base_prefix}",
    )


def commit() -> str:
    """The commit in the project's folder, with a mark where files differ from it; empty where git knows none."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def load(name: str) -> Measure:
    """A bench by its name."""
    measure: Measure = importlib.import_module(f"tools.bench.{name}").figures
    return measure


def run(names: Sequence[str], options: Options, out: TextIO, find: Callable[[str], Measure] = load) -> Report:
    """Runs the benches in order and prints each one's figures as they come; one that fails does not keep the others."""
    report = Report(commit=commit(), time=iso_utc(LiveClock().wall_ms()), quick=options.quick, machine=machine())
    print(head(report), file=out, flush=True)
    for name in names:
        print(f"\n{name}: {BENCHES[name]}", file=out, flush=True)
        began = time.monotonic()
        try:
            found = find(name)(options)
        except (BotError, OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
            report.failed[name] = f"{type(error).__name__}: {error}"
            print(f"  could not be measured: {report.failed[name]}", file=out, flush=True)
            continue
        report.seconds[name] = round(time.monotonic() - began, 1)
        report.figures += found
        for line in table(found):
            print(line, file=out)
        print(f"  took {report.seconds[name]:.0f} s", file=out, flush=True)
    return report


def head(report: Report) -> str:
    """What was measured where."""
    m = report.machine
    remarks = []
    if m.load > QUIET_LOAD:
        remarks.append("others are at work on this machine: latencies and rates are only hints")
    if report.quick:
        remarks.append("quick: the smallest sizes, to see that everything runs; the numbers mean little")
    lines = [
        f"commit {report.commit or 'unknown'}, {report.time}",
        f"{m.cores} cores, {m.cpu}, {m.memory_mb:,} MB, load {m.load:g} at the start; {m.system}, Python {m.python}",
    ]
    return "\n".join(lines + remarks)


def table(figures: Sequence[Figure]) -> list[str]:
    """One line a figure: ratio to the floor, value with its spread, floor, bar and whether it was reached."""
    lines = [f"  {'ratio':>7} {'value':>19}  {'spread':<21} {'floor':>11}  {'bar':<28} {'':<6}  figure"]
    for item in figures:
        ratio = "" if item.ratio is None else f"{item.ratio:.2f}x"
        floor = "" if item.floor is None else number(item.floor)
        spread = f"{number(item.low)} – {number(item.high)}"
        value = f"{number(item.value)} {item.unit}"
        name = f"{item.name} (floor: {item.floor_of})" if item.floor_of else item.name
        lines.append(
            f"  {ratio:>7} {value:>19}  {spread:<21} {floor:>11}  {item.bar:<28} {verdict(item):<6}  {name}".rstrip()
        )
        if item.note:
            lines.append(f"  {'':>7} {item.note}")
    return lines


def verdict(item: Figure) -> str:
    """ok, missed, or nothing where there is no bar."""
    if item.reached is None:
        return ""
    return OK if item.reached else MISSED


def compared(before: Report, now: Report) -> list[str]:
    """One line a figure: before, now, and now as a part of before; what only one of the runs has is named.

    A bench that one of them did not measure at all is one line.
    """
    known, ours = ({named(item): item for item in report.figures} for report in (before, now))
    lines = [
        f"compared with commit {before.commit or 'unknown'} of {before.time}"
        + ("" if before.machine.cpu == now.machine.cpu else f", on another machine ({before.machine.cpu})"),
        f"  {'now/before':>11} {'before':>12} {'now':>12} {'floor before':>13} {'now':>11}  figure",
    ]
    benches = {bench for bench, *_ in known} & {bench for bench, *_ in ours}
    lines += [compared_line(known.get(name), item) for name, item in ours.items() if name[0] in benches]
    lines += [compared_line(item, None) for name, item in known.items() if name not in ours and name[0] in benches]
    for when, figures in ((NOW, ours), (BEFORE, known)):
        counts = Counter(bench for bench, *_ in figures if bench not in benches)
        lines += [f"  {when:>11} bench {bench}, figures: {count}" for bench, count in counts.items()]
    return lines


def named(item: Figure) -> tuple[str, str, str]:
    """What makes a figure the same in two runs; one that is told in another unit is another."""
    return item.bench, item.name, item.unit


def compared_line(old: Figure | None, new: Figure | None) -> str:
    """A figure of two runs, or of the one that has it. From 0, and where a sign changes, no part can be told."""
    item = new or old
    assert item is not None
    part = NOW if old is None else BEFORE
    if old is not None and new is not None:
        part = f"{new.value / old.value:.2f}x" if old.value and new.value / old.value >= 0 else ""
    values = ["" if one is None else number(one.value) for one in (old, new)]
    floors = ["" if one is None or one.floor is None else number(one.floor) for one in (old, new)]
    return (
        f"  {part:>11} {values[0]:>12} {values[1]:>12} {floors[0]:>13} {floors[1]:>11}"
        f"  {item.bench}: {item.name} ({item.unit})"
    )


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench",
        description="Measures the bot beside the bare parts it is made of.",
        epilog="\n".join(f"  {name:<11} {what}" for name, what in BENCHES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all but {', '.join(ONLY_BY_NAME)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="JSON of another run to compare with")
    parser.add_argument("--quick", action="store_true", help="the smallest sizes: does everything run?")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of a round")
    parser.add_argument("--records", type=int, help="of a burst")
    parser.add_argument("--minutes", type=float, help="of a soak")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in BENCHES]
    if unknown:
        parser.error(f"there is no bench {', '.join(unknown)}: {', '.join(BENCHES)}")
    try:
        before = None if given.compare is None else msgspec.json.decode(given.compare.read_bytes(), type=Report)
    except (OSError, msgspec.MsgspecError) as error:
        parser.error(f"{given.compare} cannot be compared with: {error}")
    for signum in (signal.SIGTERM, signal.SIGHUP):  # so that what was started is ended, whoever stops us
        signal.signal(signum, signal.default_int_handler)
    options = Options(
        quick=given.quick,
        rounds=given.rounds,
        seconds=given.seconds,
        records=given.records,
        minutes=given.minutes,
    )
    names = given.names or [name for name in BENCHES if name not in ONLY_BY_NAME]
    try:
        report = run(names, options, sys.stdout)
    except KeyboardInterrupt:
        print("\nstopped before its end: nothing is written", file=sys.stderr)
        return INTERRUPTED
    print("\n" + summary(report))
    if given.json is not None:
        given.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    if before is not None:
        print("\n" + "\n".join(compared(before, report)))
    return exit_code(report)


def exit_code(report: Report) -> int:
    """0 or 1, as the head of this file says."""
    return 1 if report.failed or any(item.never and not item.reached for item in report.figures) else 0


def summary(report: Report) -> str:
    """How many bars were reached, and which were not."""
    barred = [item for item in report.figures if item.reached is not None]
    missed = [item for item in barred if not item.reached]
    lines = [f"{len(barred) - len(missed)} of {len(barred)} bars reached"]
    lines += [f"  missed: {item.bench}: {item.name}" for item in missed if not item.never]
    lines += [
        f"  must never happen: {item.bench}: {item.name}: {number(item.value)} {item.unit}"
        for item in missed
        if item.never
    ]
    lines += [f"  not measured: {name}: {why}" for name, why in report.failed.items()]
    return "\n".join(lines)
