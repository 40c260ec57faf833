"""`python -m backtest run`: files in, one run, its figures out: on the terminal, as JSON, as CSV, as a report."""

import argparse
import csv
import sys
from collections.abc import Mapping
from pathlib import Path

from backtest import compiled
from backtest.cli import add_settings, add_trades, settings_of
from backtest.decisions import decision_rows
from backtest.progress import Progress, Watched
from backtest.result import Result
from backtest.sources import open_source
from backtest.stats import statistics_of
from core import paths
from core.clock import NS_PER_S, Clock, LiveClock
from core.errors import MisconfiguredError
from core.settings import Settings, as_texts
from core.settings_load import from_texts

FUSED, EVENTS = "fused", "events"
SEED = 1  # of the bootstrap: the same run says the same
DECISION_COLUMNS = ("ts_ns", "action", "reason", "price", "rsi", "bb_lower", "pair")
NOT_OURS = ("HOST", "ALLOWED_HOSTS", "SIMULATION_MODE", "LIVE_CONFIRM")  # checked against secrets, of no use here


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run`."""
    add_trades(parser)
    add_settings(parser)
    parser.add_argument(
        "--engine",
        choices=(FUSED, EVENTS),
        default=FUSED,
        help="fused: one compiled loop (default); events: the running bot's own engine, slower, with the same result",
    )
    parser.add_argument("--json", action="store_true", help="all figures as one JSON object instead of the summary")
    parser.add_argument("--decisions", type=Path, metavar="OUT.csv", help="write a row for each approved order")
    parser.add_argument("--report", type=Path, metavar="OUT.html", help="write a page with charts; it needs no network")


def main(args: argparse.Namespace) -> int:
    """One backtest. Raises MisconfiguredError for what a person must mend, before the first trade where it can."""
    clock = LiveClock()
    settings = settings_of(args)
    for path in (args.decisions, args.report):
        check_place(path)
    prepare(settings)
    begun_ns = clock.monotonic_ns()
    result = run_files(args, settings, clock, bars=args.report is not None)
    seconds = (clock.monotonic_ns() - begun_ns) / NS_PER_S
    if args.decisions is not None:
        write_decisions(args.decisions, result)
    tell(args, settings, clock, result, seconds)
    for path in (args.decisions, args.report):
        if path is not None:
            print(f"written: {path}", file=sys.stderr)
    return 0


def tell(args: argparse.Namespace, settings: Settings, clock: Clock, result: Result, seconds: float) -> None:
    """The figures of a run, where they were asked for."""
    from backtest.bootstrap import intervals_of  # a small run starts at once: each loads what it needs
    from backtest.summary import json_object, summary

    statistics = statistics_of(result)
    intervals = intervals_of(result, SEED)
    sensitivity = []
    about = about_line(args, seconds, result)
    if args.report is not None:
        from backtest.report import write
        from backtest.sensitivity import sensitivity as vary

        def again(overrides: Mapping[str, str]) -> Result:
            return run_files(args, overridden(settings, overrides), clock)

        sensitivity = vary(again, result)
        write(args.report, result, statistics, intervals=intervals, sensitivity=sensitivity, about=about)
    if args.json:
        run = {"engine": args.engine, "files": [str(path) for path in args.trades], "seconds": seconds}
        print(json_object(result, statistics, intervals=intervals, sensitivity=sensitivity, about=run).decode())
        return
    colour = sys.stdout.isatty()
    print(summary(result, statistics, intervals=intervals, sensitivity=sensitivity, about=about, colour=colour))


def run_files(args: argparse.Namespace, settings: Settings, clock: Clock, *, bars: bool = False) -> Result:
    """One run over the files of the command line."""
    source = open_source(args.trades, settings, qty_unit=args.qty_unit, skip_bad=args.skip_bad)
    with Progress("backtest", source.total, clock, sys.stderr) as progress:
        watched = Watched(source, progress)
        if args.engine == EVENTS:
            from backtest import events

            return events.run(watched, settings, bars=bars)
        from backtest import fused

        return fused.run(watched, settings, bars=bars)


def prepare(settings: Settings) -> None:
    """Compiles what is not compiled yet, and says so: the first run on a machine waits for it."""
    cache = paths.cache_dir(paths.var_dir(settings))
    complaint = compiled.warm(cache, lambda: print(f"backtest: {compiled.COMPILES}", file=sys.stderr, flush=True))
    if complaint:
        print(f"backtest: {complaint}", file=sys.stderr)


def overridden(settings: Settings, overrides: Mapping[str, str]) -> Settings:
    """The settings with these texts over them; secrets and page are left out."""
    texts = {name: text for name, text in as_texts(settings).items() if name not in NOT_OURS}
    return from_texts({**texts, **overrides})


def check_place(path: Path | None) -> None:
    """Raises MisconfiguredError where a file could not be written there."""
    if path is None:
        return
    folder = path.absolute().parent
    if not folder.is_dir():
        raise MisconfiguredError(f"cannot write {path}: there is no folder {folder}")
    if path.is_dir():
        raise MisconfiguredError(f"cannot write {path}: it is a folder")


def write_decisions(path: Path, result: Result) -> None:
    """decisions.csv: one row per approved order; a float is the shortest text that reads back to the same bits."""
    aside = path.with_name(f".{path.name}.part")
    try:
        with aside.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(DECISION_COLUMNS)
            writer.writerows(decision_rows(result))
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise MisconfiguredError(f"cannot write {path}: {error.strerror}") from error


def about_line(args: argparse.Namespace, seconds: float, result: Result) -> str:
    """How it was run, for a person."""
    names = [path.name for path in args.trades]
    files = names[0] if len(names) == 1 else f"{len(names)} files, {names[0]} to {names[-1]}"
    rate = f", {result.trades / seconds / 1e6:,.1f} million trades/s" if seconds >= 0.1 else ""
    return f"{files}; engine {args.engine}; {seconds:.2f} s{rate}"
