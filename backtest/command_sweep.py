"""`python -m backtest sweep`: many settings over the same trades: the best, all of them, and how much is chance."""

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from backtest import fused
from backtest.cli import add_settings, add_trades, settings_of
from backtest.functions import Functions
from backtest.grid import grid_of
from backtest.progress import Progress, Watched
from backtest.result import Result
from backtest.sources import Source, open_source
from backtest.sweep import Markets, Plan, Sweep, Swept, plan_of
from backtest.sweep_figures import JUDGED_BY
from backtest.sweep_luck import Luck, luck_of
from backtest.sweep_market import Market, market_of
from backtest.sweep_words import (
    csv_rows,
    estimate_words,
    forbidden_words,
    form_words,
    json_of,
    luck_words,
    table,
    walk_words,
    window_rows,
)
from backtest.walk_forward import Step, Walked, durations_of, steps_of, walk
from core.clock import NS_PER_S, Clock, LiveClock
from core.errors import MisconfiguredError
from core.paths import cache_dir, var_dir
from core.settings import Settings

MEASURED = 4  # combinations a thread that are run at least before it says how long all take
MEASURED_SECONDS = 0.1  # that they last
ASK_COMBINATIONS = 10_000  # above either of these a person must agree
ASK_SECONDS = 600.0


class Found(NamedTuple):
    """All that a sweep has to say."""

    swept: Swept
    best: int  # place of the best combination
    best_run: Result
    luck: Luck
    walked: Walked | None
    about: dict[str, object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of sweep."""
    add_trades(parser)
    parser.add_argument(
        "--grid",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=A,B,C",
        help="values of a setting, or a range NAME=FROM:TO:STEP; all combinations of all names are tried",
    )
    add_settings(parser)
    parser.add_argument("--by", choices=JUDGED_BY, default="net_profit", help="what the best is the best by")
    parser.add_argument("--top", type=int, default=10, metavar="N", help="how many of the best are shown (default: 10)")
    parser.add_argument("--out", type=Path, metavar="OUT.csv", help="a row for each combination: settings, figures")
    parser.add_argument("--report", type=Path, metavar="OUT.html", help="a page with heat maps that needs no network")
    parser.add_argument("--json", action="store_true", help="what is found as one JSON object instead of text")
    parser.add_argument(
        "--walk-forward",
        metavar="TRAIN:TEST",
        help="also choose on a window of time and judge on the next, as 30d:7d, and roll on by the second",
    )
    parser.add_argument("--jobs", type=int, default=0, metavar="N", help="threads (default: one a core)")
    parser.add_argument("--yes", action="store_true", help="do not ask before a long sweep")


def main(args: argparse.Namespace) -> int:
    """Runs a sweep; 0 where it was done. Raises BotError for what a person must mend."""
    settings = settings_of(args)
    for path in (args.out, args.report):
        if path is not None and not path.absolute().parent.is_dir():
            raise MisconfiguredError(f"cannot write {path}: there is no folder {path.absolute().parent}")
    if args.top < 1 or args.jobs < 0:
        raise MisconfiguredError(f"--top {args.top} --jobs {args.jobs}: whole numbers above 0 are needed")
    plan = plan_of(grid_of(args.grid, settings), settings)
    found = run(args, plan, LiveClock())
    if args.out is not None:
        write_csv(args.out, found.swept)
    if args.report is not None:
        report(args, found)
    if args.json:
        import msgspec

        told = json_of(found.swept, args.by, args.top, found.luck, found.walked, found.about)
        print(msgspec.json.Encoder(decimal_format="number").encode(told).decode())
    else:
        print("\n".join(told_lines(args, found)))
    return 0


def run(args: argparse.Namespace, plan: Plan, clock: Clock) -> Found:
    """The sweep itself, and the walk-forward where it is asked for."""
    began_ns = clock.monotonic_ns()
    jobs = args.jobs or len(os.sched_getaffinity(0))
    functions = Functions(cache_dir(var_dir(plan.base)))
    seen: list[Market] = []

    def opened(settings: Settings) -> Source:
        return open_source(args.trades, settings, qty_unit=args.qty_unit, skip_bad=args.skip_bad)

    def market_for(settings: Settings) -> Market:
        with Progress("reads the market", opened(settings).total, clock, sys.stderr) as progress:
            found = market_of(opened, settings, functions, lambda source: Watched(source, progress))
        seen.append(found)
        return found

    markets = Markets(market_for)
    market = markets.ready_for(plan.settings_at(int(plan.places[0])))
    steps: Sequence[Step] = []
    if args.walk_forward:
        steps = steps_of(market.span, *durations_of(args.walk_forward))
    sweep = Sweep(plan, markets, jobs=jobs)
    agree(args, plan, market, steps, measured_s(sweep, jobs, clock), jobs)
    with Progress("sweeps", len(plan.places), clock, sys.stderr) as progress:
        done = [len(plan.places) - sweep.left]

        def count(more: int) -> None:
            done[0] += more
            progress.update(done[0])

        while sweep.left:
            sweep.take(sweep.left, count)
    swept = sweep.found
    if not swept.ran.any():
        raise MisconfiguredError(f"no combination could be run: {plan.named[0].reason}")
    best = swept.best(args.by, 1)[0]
    settings = plan.settings_at(best)
    market = markets.ready_for(settings)
    # The same run by the fused loop, where its candles are to be shown.
    best_run = fused.run(opened(settings), settings, bars=True) if args.report is not None else market.run(settings)
    luck = luck_of(swept, best, best_run, market.span)
    walked = walk_with_progress(args, plan, markets, steps, jobs, clock) if steps else None
    forms = [(market.form, market.reason) for market in seen]
    about: dict[str, object] = {
        "files": [str(path) for path in args.trades],
        "trades": market.trades,
        "form": form_words(forms),
        "seconds": (clock.monotonic_ns() - began_ns) / NS_PER_S,
        "threads": jobs,
        "notes": [*([functions.complaint] if functions.complaint else []), *market.notes],
    }
    return Found(swept, best, best_run, luck, walked, about)


def measured_s(sweep: Sweep, jobs: int, clock: Clock) -> float:
    """Seconds that a combination takes: some are run, and more of them until that takes long enough to tell."""
    most = MEASURED * jobs
    while True:
        began_ns = clock.monotonic_ns()
        done = sweep.take(most)
        seconds = (clock.monotonic_ns() - began_ns) / NS_PER_S
        if seconds >= MEASURED_SECONDS or not sweep.left:
            return seconds / done
        most *= 4


def walk_with_progress(
    args: argparse.Namespace, plan: Plan, markets: Markets, steps: Sequence[Step], jobs: int, clock: Clock
) -> Walked:
    """The walk-forward under a progress bar."""
    with Progress("walks forward", len(steps) * (len(plan.places) + 1), clock, sys.stderr) as progress:
        done = [0]

        def count(more: int) -> None:
            done[0] += more
            progress.update(done[0])

        return walk(plan, markets, steps, args.by, jobs=jobs, progress=count)


def agree(
    args: argparse.Namespace, plan: Plan, market: Market, steps: Sequence[Step], each_s: float, jobs: int
) -> None:
    """Say how many and how long; above a bound go on only where a person agrees. Raises MisconfiguredError."""
    count = len(plan.places)
    span_ns = max(market.span.end_ns - market.span.first_ns, 1)
    parts = sum((step.fit.end_ns - step.fit.first_ns) / span_ns for step in steps)
    seconds = each_s * count * (1.0 + parts)
    text = estimate_words(count, count * (1 + len(steps)), market.trades, seconds, jobs)
    if args.yes or (count <= ASK_COMBINATIONS and seconds <= ASK_SECONDS):
        print(text, file=sys.stderr)
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise MisconfiguredError(f"{text}. Say --yes to run them, or try fewer.")
    print(f"{text}. Run them? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise MisconfiguredError("not run: try fewer combinations, or say --yes.")


def told_lines(args: argparse.Namespace, found: Found) -> list[str]:
    """What is printed."""
    plan = found.swept.plan
    lines = [f"The best {min(args.top, int(found.swept.ran.sum()))} of {int(found.swept.ran.sum()):,} by {args.by}:"]
    lines += table(found.swept, args.by, args.top)
    lines += ["", *forbidden_words(plan), *luck_words(found.luck, args.by)]
    if found.walked is not None:
        lines += ["", *walk_words(found.walked, plan, args.by)]
    lines += ["", f"{found.about['form']} {found.about['seconds']:.2f} s on {found.about['threads']} threads."]
    notes = found.about["notes"]
    lines += [f"Note: {note}" for note in (notes if isinstance(notes, list) else [])]
    return lines


def write_csv(path: Path, swept: Swept) -> None:
    """A row for each combination; the file is there whole or as it was before. Raises MisconfiguredError."""
    aside = path.with_name(f".{path.name}.part")
    try:
        with aside.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(csv_rows(swept))
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise MisconfiguredError(f"cannot write {path}: {error.strerror}") from error
    print(f"written: {path}", file=sys.stderr)


def report(args: argparse.Namespace, found: Found) -> None:
    """The page: the judged windows of the walk-forward as one run, else the best run; heat maps and tables below."""
    from backtest.heatmap import sections_of  # heavy imports are for who needs them
    from backtest.report import write
    from backtest.report_sections import walk_forward_section
    from backtest.stats import statistics_of

    swept, plan = found.swept, found.swept.plan
    warning = " ".join(luck_words(found.luck, args.by))
    sections = sections_of(swept, args.by, found.best, args.top)
    if found.walked is not None:
        words = walk_words(found.walked, plan, args.by)
        sections.insert(0, walk_forward_section(window_rows(found.walked, plan), note=" ".join(words[-2:])))
    shown = found.best_run
    which = "the best combination's run"
    if found.walked is not None and found.walked.joined is not None:
        shown, which = found.walked.joined, "the judged windows of the walk-forward as one run"
        if "TIMEFRAME" not in [axis.name for axis in plan.grid.axes]:
            shown = replace(shown, bars=found.best_run.bars)
    write(
        args.report,
        shown,
        statistics_of(shown),
        sections=sections,
        about=f"sweep of {int(swept.ran.sum()):,} combinations; shown is {which}. {warning}",
    )
    print(f"written: {args.report}", file=sys.stderr)
