"""What the beginning of a file of trades or candles tells: its columns, its pair, its first time, a candle's width."""

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from backtest import csv_rows as rows
from backtest import odd_rows
from backtest.archives import Layout, recognised
from backtest.bad_data import BadFile, Odd, shown
from backtest.csv_files import BOM, HEAD_BYTES, head_bytes
from core import pairs

MOST_ROWS = 2_000  # looked at for the width of a candle
SURE = 50  # distances between candles that tell their width for sure


class Head(NamedTuple):
    """The beginning of a file."""

    path: Path
    layout: Layout
    offset: int  # bytes of the text before the first row
    first_line: int  # number of the line of the first row
    pair: str  # as the first row names it; empty where no column does
    first_ns: int | None  # time of the first row that has one
    width_ns: int  # least distance of its candles; 0 for trades and a single one
    distances: int  # of which that is the least


def head_of(path: Path) -> Head:
    """What a file is. Raises BadFile naming what is wrong with it."""
    data = head_bytes(path)
    ended = len(data) < HEAD_BYTES
    at = len(BOM) if data.startswith(BOM) else 0
    line = 1
    while data[at : at + 1] in (b"\r", b"\n"):
        line += data[at] == rows.NEWLINE
        at += 1
    after = _line_end(data, at)
    layout = _layout(path, line, data[at:after])
    if layout.header:
        at, line = after, line + 1
    sample = data[at:] if ended else data[at : data.rfind(b"\n") + 1]
    lines = [row for row in sample.split(b"\n", MOST_ROWS)[:MOST_ROWS] if row.strip()]
    if not lines and ended:
        raise BadFile(f"{path} has a header and no rows.")
    pair, times = _looked_at(lines, layout)
    distances = [late - early for early, late in itertools.pairwise(times) if late > early]
    width = min(distances, default=0) if layout.candles else 0
    return Head(path, layout, at, line, pair, times[0] if times else None, width, len(distances))


def _line_end(data: bytes, at: int) -> int:
    """Where the line that holds `at` ends, behind its newline."""
    end = data.find(b"\n", at)
    return len(data) if end < 0 else end + 1


def _layout(path: Path, line: int, row: bytes) -> Layout:
    try:
        return recognised(next(csv.reader([row.decode("utf-8").rstrip("\r\n")], strict=True)))
    except UnicodeDecodeError:
        raise BadFile(f"{path} line {line} is no UTF-8 text: {shown(str(row[:40])[2:-1])}.") from None
    except csv.Error as error:
        raise BadFile(f"{path} line {line}: {error}.") from None
    except ValueError as error:
        raise BadFile(f"{path}: {error}.") from None


def _looked_at(lines: Sequence[bytes], layout: Layout) -> tuple[str, list[int]]:
    """The first row's pair, and the times of the rows that have one."""
    pair = ""
    times = []
    for place, line in enumerate(lines):
        try:
            cells = odd_rows.cells_of(line, layout)
            if place == 0 and layout.column(rows.PAIR) >= 0:
                pair = cells[layout.column(rows.PAIR)]
            times.append(odd_rows.time_of(cells[layout.column(rows.TIME)], layout))
        except Odd:  # told with its line when the rows are read
            continue
        if not layout.candles:
            break
    return pair, times


def pair_of(heads: Sequence[Head], default: str, protocol: str) -> tuple[str, list[str]]:
    """The pair that the files are about, and what is to be said of it. Raises BadFile where they are about several."""
    named = [head for head in heads if head.pair]
    for head in named[1:]:
        if not odd_rows.same_pair(head.pair, named[0].pair):
            raise BadFile(
                f"{head.path} is about {head.pair}, {named[0].path} about {named[0].pair}: one pair at a time."
            )
    if not named:
        return default, []
    try:
        return pairs.own_name(named[0].pair, protocol), []
    except ValueError:
        return default, [f"its pair {shown(named[0].pair)} is no name that is known here: taken as {default}"]


def width_of(heads: Sequence[Head], default_ns: int) -> int:
    """The width of the files' candles in ns, 0 where they hold trades; `default_ns` where each holds only one candle.

    Raises BadFile where they do not fit together.
    """
    candles = [head for head in heads if head.layout.candles]
    if not candles:
        return 0
    for head in heads:
        if not head.layout.candles:
            raise BadFile(f"{candles[0].path} holds candles and {head.path} trades: read them one by one.")
    known = [head for head in candles if head.width_ns]
    if not known:
        return default_ns
    least = min(known, key=lambda head: head.width_ns)
    for head in known:
        if head.width_ns % least.width_ns or (head.width_ns > least.width_ns and head.distances >= SURE):
            raise BadFile(
                f"the candles of {head.path} are {head.width_ns // rows.NS_OF_MS} ms wide, those of {least.path}"
                f" {least.width_ns // rows.NS_OF_MS} ms: read them one by one."
            )
    return least.width_ns
