"""`python -m backtest fetch OUT --from TIME`: the past of one market from a venue over REST, onto a tape."""

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from backtest.cli import add_settings, settings_of
from backtest.fetching import Fetched, Fetching, Wanted
from backtest.progress import Progress
from core.clock import NS_PER_MS, NS_PER_S, LiveClock, iso_utc
from core.errors import BotError, MisconfiguredError
from venues.choose import market_data

STOPPED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of fetch."""
    parser.add_argument("out", type=Path, metavar="OUT", help="the tape, NAME.tape; one that is there goes on")
    parser.add_argument(
        "--from", required=True, dest="begin", metavar="TIME", help="2026-11-01, 2026-11-01T12:30 (UTC)"
    )
    parser.add_argument("--to", dest="end", metavar="TIME", help="where it ends, that excluded (default: now)")
    parser.add_argument("--venue", help="sandbox, coindcx, binance or kraken (default: VENUE)")
    parser.add_argument("--pair", help="the market, as in PAIRS (default: the first of PAIRS)")
    add_settings(parser)
    parser.epilog = (
        "Binance and Kraken serve every trade. CoinDCX serves its latest 500; what lies before them becomes a hole and"
        " candles of TIMEFRAME, which warm up the indicators and decide nothing. The same command goes on after Ctrl-C,"
        " kill -9 or an error; a later --to adds what has come since."
    )


def main(args: argparse.Namespace) -> int:
    """Fetches, and says what is there now."""
    begin_ns = time_ns("--from", args.begin)
    end_ns = None if args.end is None else time_ns("--to", args.end)
    if end_ns is not None and end_ns <= begin_ns:
        raise MisconfiguredError(f"--to {args.end} is not after --from {args.begin}.")
    args.set += [f"VENUE={args.venue}"] * (args.venue is not None) + [f"PAIRS={args.pair}"] * (args.pair is not None)
    settings = settings_of(args)
    clock = LiveClock()
    shown: list[Progress] = []

    def progress(total: int | None, begun: int) -> Progress:
        shown.append(Progress("fetches", total, clock, sys.stderr, begun))
        return shown[0]

    def say(text: str) -> None:
        if shown:
            shown[0].say(f"backtest: {text}")
        else:
            print(f"backtest: {text}", file=sys.stderr, flush=True)

    venue = market_data(settings, clock)
    try:
        done = asyncio.run(Fetching(venue, settings, clock, progress, say).run(Wanted(args.out, begin_ns, end_ns)))
    except KeyboardInterrupt:
        print(f"backtest: stopped{_kept(args.out)}", file=sys.stderr)
        return STOPPED
    except MisconfiguredError:
        raise
    except BotError as error:
        raise BotError(f"{error}{_kept(args.out)}") from error
    finally:
        venue.close()
    for text in closing(args.out, done):
        print(text)
    return 0


def closing(out: Path, done: Fetched) -> list[str]:
    """What is on the tape, line by line."""
    found = done.contents
    first, last = (iso_utc(ns // NS_PER_MS) for ns in (found.first_ns, found.last_ns))
    when = f", {first} to {last}" if found.trades else ""
    candles = f", {found.candles} candles" if found.candles else ""
    holes = "no holes" if not found.holes else "1 hole" if found.holes == 1 else f"{found.holes} holes"
    lines = [f"{out}: {found.trades} trades ({done.new} new){when}{candles}; {holes}"]
    for begins, ends in found.shown:
        begun, ended = iso_utc(begins // NS_PER_MS), iso_utc(ends // NS_PER_MS)
        lines.append(f"hole: {begun} to {ended}, the venue has no trades of that time any more")
    if found.holes > len(found.shown):
        lines.append(f"hole: and {found.holes - len(found.shown)} more")
    return lines + [f"note: {note}" for note in done.notes]


def time_ns(option: str, text: str) -> int:
    """A time in UTC as ns since 1970. Raises MisconfiguredError where it is none."""
    try:
        when = datetime.fromisoformat(text)
        ns = int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000) * NS_PER_MS
    except (ValueError, OverflowError) as error:
        raise MisconfiguredError(f"{option} {text} is no time: write 2026-11-01 or 2026-11-01T12:30 (UTC).") from error
    if ns <= 0 or ns > 9_000_000_000 * NS_PER_S:
        raise MisconfiguredError(f"{option} {text} is not after 1970 and before 2255.")
    return ns


def _kept(out: Path) -> str:
    return f"; what was fetched is kept in {out}, the same command goes on" if out.exists() else ""
