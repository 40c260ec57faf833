"""`python -m backtest convert IN [IN …] OUT`: between tapes, files of trades and files of candles."""

import argparse
import contextlib
import gzip
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from backtest.bad_data import BadFile
from backtest.chunks import Source
from backtest.cli import add_files, add_settings, settings_of
from backtest.convert import Write, Written, write_candles, write_tape, write_trades
from backtest.progress import Progress, Watched
from backtest.sources import open_source
from core.clock import NS_PER_MS, LiveClock, iso_utc
from core.settings import Settings

ENDINGS = (".tape", ".csv", ".csv.gz")
COMPRESSION = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of convert."""
    parser.add_argument("files", nargs="+", type=Path, metavar="IN", help="tapes, trades or candles, in order of time")
    parser.add_argument("out", type=Path, metavar="OUT", help=f"a name that ends in {', '.join(ENDINGS)}")
    parser.add_argument("--candles", action="store_true", help="write candles of TIMEFRAME, not trades (into .csv)")
    parser.add_argument("--pair", default="", help="the pair to write into .csv, where there are several")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT where it is there already")
    add_files(parser)
    add_settings(parser)


def main(args: argparse.Namespace) -> int:
    """Converts, and says what was written and what was not."""
    _check(args)
    settings = settings_of(args)
    source = open_source(args.files, settings, qty_unit=args.qty_unit, skip_bad=args.skip_bad)
    clock = LiveClock()
    with aside(args.out) as write, Progress("converts", source.total, clock, sys.stderr) as progress:
        written = _write(args, settings, Watched(source, progress), write, clock.wall_ns())
        if not written.rows:
            raise BadFile(f"there is no trade to write into {args.out}.")
    what = f"trades as candles of {settings.timeframe}" if args.candles else "trades"
    first, last = (iso_utc(ns // NS_PER_MS) for ns in (written.first_ns, written.last_ns))
    print(f"{args.out}: {written.rows} {what}, {first} to {last}, {args.out.stat().st_size} bytes")
    if written.left_out:
        print(f"left out: {', '.join(f'{count} {what}' for what, count in written.left_out.items())}")
    for note in [*source.notes, *written.notes]:
        print(f"note: {note}")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raises BadFile where OUT is none."""
    out: Path = args.out
    if not out.name.lower().endswith(ENDINGS):
        raise BadFile(f"{out} must end in {', '.join(ENDINGS)}: the ending says what is written.")
    if out.suffix == ".tape" and (args.candles or args.pair):
        raise BadFile(f"{out}: a tape takes all trades, --candles and --pair are for .csv.")
    if any(out.resolve() == path.resolve() for path in args.files):
        raise BadFile(f"{out} is read and cannot be written at the same time: give it another name.")
    if out.exists() and not (args.overwrite and out.is_file()):
        raise BadFile(f"{out} is there already: give another name, or --overwrite.")
    if not out.parent.is_dir():
        raise BadFile(f"there is no folder {out.parent} for {out.name}.")


def _write(args: argparse.Namespace, settings: Settings, source: Source, write: Write, now_ns: int) -> Written:
    if args.out.suffix == ".tape":
        return write_tape(source, write, now_ns)
    if args.candles:
        return write_candles(source, write, settings.timeframe_ms, args.pair)
    return write_trades(source, write, args.pair)


@contextlib.contextmanager
def aside(out: Path) -> Iterator[Write]:
    """Writes a file beside `out`, gzipped where its name says so, and gives it its name when all is there.

    Raises BadFile where the disk does not take it.
    """
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        try:
            with part.open("wb") as file:
                if out.suffix == ".gz":
                    # No name and no time in it: the same trades give the same bytes.
                    with gzip.GzipFile("", "wb", COMPRESSION, file, 0) as packed:
                        yield packed.write
                else:
                    yield file.write
            part.replace(out)
        except OSError as error:
            raise BadFile(f"{out} cannot be written: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)
