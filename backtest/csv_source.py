"""Files of trades or candles as market data: their rows become TRADE records.

* Files are read in the order given and must not overlap; all are of one pair, and all trades or all candles.
* The first trade is number 1: number 0 is the START record that a tape of the same trades begins with.
* The market is settings.pairs[0] unless a column names another; tick and step are 1e-8, there is no minimum, the fees
  are those in force.
* Memory does not grow with the files.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from backtest import bad_data as bad
from backtest import compiled, odd_rows
from backtest import csv_rows as rows
from backtest.bad_data import BadFile, BadRow, Odd, Skipped
from backtest.chunks import FIRST_NUMBER, Chunk
from backtest.csv_files import Unpacked, unpacked
from backtest.csv_head import Head, head_of, pair_of, width_of
from backtest.result import Array
from backtest.tapes import FILE_BOOK
from bus.messages import Market, Start
from bus.records import RECORD
from core import pairs
from core.clock import NS_PER_MS, iso_utc
from core.money import plain, scale_of
from core.paths import cache_dir, var_dir
from core.settings import TIMEFRAMES_MS, Settings
from venues.fees import fees_bps

STEP = "0.00000001"  # tick and step
BLOCK = 4 << 20  # bytes read at once; a row must be shorter
SLACK = 4096  # bytes behind a block
PIECE = 65_536  # records in a chunk

ReadRows = Callable[[Array, int, Array, Array, Array, Array, Array, Array], int]  # `csv_rows.read_rows`


class TradesSource:
    """The trades of files in order; see the module. Raises BadFile on opening, BadFile and BadRow while reading."""

    connected = True

    def __init__(self, paths: Sequence[Path], settings: Settings, *, in_quote: bool, skip_bad: bool) -> None:
        self._skip_bad = skip_bad
        self._read_rows, complaint = reader(cache_dir(var_dir(settings)))
        self._heads = [head_of(path) for path in paths]
        self._in_quote = in_quote
        pair, notes = pair_of(self._heads, settings.pairs[0], settings.protocol)
        self._candle_ns = width_of(self._heads, settings.timeframe_ms * NS_PER_MS)
        if not skip_bad:
            _check_order(self._heads)
        self._found = [*([complaint] if complaint else []), *notes, *_notes(self._heads, self._candle_ns, settings)]
        self.notes = list(self._found)
        self.total: int | None = sum(path.stat().st_size for path in paths)
        self.done = 0
        self.start = _start(pair, settings, self._heads[0].first_ns or 0)

    def chunks(self) -> Iterator[Chunk]:
        """All records from the first on; may be asked for again."""
        self.done = 0
        self.notes[:] = self._found
        reading = Reading(self._candle_ns, self._in_quote, self._skip_bad, self._read_rows)
        number = FIRST_NUMBER
        before = 0
        for head in self._heads:
            with unpacked(head.path) as file:
                for records in reading.file(head, file):
                    self.done = before + file.position()
                    yield Chunk(number, records, self.start)
                    number += len(records)
            before += head.path.stat().st_size
            self.done = before
        records = reading.take()
        if len(records):
            yield Chunk(number, records, self.start)
        elif number == FIRST_NUMBER:
            raise BadFile(f"{', '.join(str(head.path) for head in self._heads)}: no row is a trade.")
        self.notes += reading.skipped.notes()


class Reading:
    """One pass over the files: what goes on from row to row."""

    def __init__(self, candle_ns: int, in_quote: bool, skip_bad: bool, read_rows: ReadRows) -> None:
        self.skipped = Skipped()
        self._candle_ns = candle_ns
        self._in_quote = in_quote
        self._skip_bad = skip_bad
        self._read_rows = read_rows
        self._buffer = bytearray(BLOCK + SLACK)
        self._bytes = np.frombuffer(self._buffer, np.uint8)
        self._state = np.zeros(rows.STATE_WORDS, np.int64)
        self._state[rows.LAST_NS] = -1
        self._fields = np.zeros(rows.FIELD_WORDS, np.int64)
        self._seen = np.zeros(rows.SEEN_WORDS, np.int64)
        self._records = np.empty(PIECE, RECORD)
        self._before: Head | None = None  # the file before this one
        self._given = 0  # records that were taken
        self._file_begins = 0  # how many there were before this file

    def take(self) -> Array:
        """The records read since, which are the caller's."""
        records = self._records[: int(self._state[rows.ROWS])]
        self._given += len(records)
        self._records = np.empty(PIECE, RECORD)
        self._state[rows.ROWS] = 0
        return records

    def file(self, head: Head, file: Unpacked) -> Iterator[Array]:
        """The records of a file, as often as PIECE of them are there; the rest comes with the next file or `take`."""
        terms = odd_rows.Terms(head.layout, self._candle_ns, self._in_quote, head.pair)
        plan = _plan(terms)
        pair = np.zeros(rows.PAIR_BYTES, np.uint8)
        pair[: plan[rows.SKIP_PAIR]] = list(head.pair.encode())[: rows.PAIR_BYTES]
        self._fields[:] = 0
        self._file_begins = self._given + int(self._state[rows.ROWS])
        self._state[rows.LINE] = head.first_line
        held, begin = 0, head.offset
        while True:
            size = held + file.read_into(memoryview(self._buffer)[held:BLOCK])
            ended = size < BLOCK
            if ended and size and self._buffer[size - 1] != rows.NEWLINE:
                self._buffer[size] = rows.NEWLINE
                size += 1
            end = self._buffer.rfind(b"\n", 0, size) + 1
            if not end and not ended:
                line = int(self._state[rows.LINE])
                raise BadFile(f"{head.path} line {line} has no end within {BLOCK >> 20} MB: it is no CSV.")
            self._state[rows.AT] = min(begin, end)
            yield from self._block(end, plan, pair, terms, head)
            held, begin = size - end, 0
            self._buffer[:held] = self._buffer[end:size]
            if ended:
                break
        self._before = head

    def _block(self, end: int, plan: Array, pair: Array, terms: odd_rows.Terms, head: Head) -> Iterator[Array]:
        """The records of whole lines, the bytes up to `end`."""
        while True:
            words = self._records.view(np.int64)
            why = self._read_rows(self._bytes, end, plan, pair, self._state, self._fields, self._seen, words)
            if why == rows.BLOCK_READ:
                return
            if why == rows.FULL:
                yield self.take()
            else:
                self._odd(end, plan, terms, head)

    def _odd(self, end: int, plan: Array, terms: odd_rows.Terms, head: Head) -> None:
        """Read the row at hand slowly; raise BadRow, or skip it, where it is none."""
        at = int(self._state[rows.AT])
        after = self._buffer.index(rows.NEWLINE, at, end) + 1
        line = int(self._state[rows.LINE])
        new = self._given + int(self._state[rows.ROWS]) == self._file_begins
        try:
            row = odd_rows.read_row(bytes(self._buffer[at:after]), terms)
            said = self._append(row, plan)
            if said == rows.OUT_OF_ORDER and new and self._before and not self._skip_bad:
                raise BadFile(_overlap(head.path, row.ns, self._before.path, int(self._state[rows.LAST_NS])))
            if said != rows.TAKEN:
                raise self._refused(said, row)
        except Odd as odd:
            bad_row = BadRow(head.path, line, odd.kind, odd.reason)
            if not self._skip_bad:
                raise bad_row from None
            self.skipped.add(bad_row)
        self._state[rows.AT] = after
        self._state[rows.LINE] += 1

    def _append(self, row: odd_rows.Row, plan: Array) -> int:
        words, floats = self._records.view(np.int64), self._records.view(np.float64)
        return rows.append(plan, self._state, self._seen, words, floats, *row)

    def _refused(self, said: int, row: odd_rows.Row) -> Odd:
        last = iso_ns(int(self._state[rows.LAST_NS]))
        if said == rows.OUT_OF_ORDER:
            return Odd(bad.ORDER, f"its time {iso_ns(row.ns)} is before that of the row before it, {last}")
        if said == rows.DUPLICATE:
            what = "its candle" if self._candle_ns else "a trade with its id, time, price and quantity"
            return Odd(bad.DUPLICATE, f"{what} was there before ({last})")
        width = self._candle_ns // NS_PER_MS
        return Odd(
            bad.CANDLE,
            f"its candle ends at {iso_ns(row.ns + NS_PER_MS)}, which is no multiple of {width} ms, the width of the"
            f" first ones, from the one before it ({last})",
        )


def reader(cache_root: Path) -> tuple[ReadRows, str]:
    """`csv_rows.read_rows` compiled; also why it is compiled at each start, or nothing."""
    function, complaint = compiled.load("read_csv_rows", cache_root)

    def read_rows(data: Array, end: int, *arrays: Array) -> int:
        addresses = [array.ctypes.data for array in arrays]
        return function(data.ctypes.data, len(data), end, *addresses, len(arrays[-1]))

    return read_rows, complaint


def iso_ns(ns: int) -> str:
    """A time as people read it, with as many decimals as it needs."""
    text = iso_utc(ns // NS_PER_MS)
    return f"{text[:-1]}{ns % NS_PER_MS:06d}Z" if ns % NS_PER_MS else text


def _overlap(path: Path, begins_ns: int, before: Path, ended_ns: int) -> str:
    return (
        f"{path} begins at {iso_ns(begins_ns)}, before {before} ends at {iso_ns(ended_ns)}: name files in the order of"
        " time. They must not overlap; --skip-bad leaves out what was there before."
    )


def _check_order(heads: Sequence[Head]) -> None:
    """Raises BadFile where a file begins before the one before it begins: sooner than reading would find it."""
    for before, head in itertools.pairwise(head for head in heads if head.first_ns is not None):
        if (head.first_ns or 0) < (before.first_ns or 0):
            raise BadFile(
                f"{head.path} begins at {iso_ns(head.first_ns or 0)}, before {before.path} begins at"
                f" {iso_ns(before.first_ns or 0)}: name files in the order of time."
            )


def _plan(terms: odd_rows.Terms) -> Array:
    """What `csv_rows` must know of a file's rows."""
    layout = terms.layout
    plan = np.zeros(rows.PLAN_WORDS, np.int64)
    plan[rows.COLUMNS] = len(layout.roles)
    plan[rows.TIME_UNIT] = layout.time_unit
    plan[rows.CANDLE_NS] = terms.candle_ns
    plan[rows.IN_QUOTE] = terms.in_quote
    plan[rows.SKIP_PAIR] = min(len(terms.pair.encode()), rows.PAIR_BYTES)
    plan[rows.ROLES : rows.ROLES + len(layout.roles)] = layout.roles
    plan[rows.POWERS :] = [10**exponent for exponent in range(rows.PLAN_WORDS - rows.POWERS)]
    return plan


def _notes(heads: Sequence[Head], candle_ns: int, settings: Settings) -> list[str]:
    """What a reader must know before the first row is read."""
    notes = list(dict.fromkeys(f"{head.path.name}: {note}" for head in heads for note in head.layout.notes))
    if candle_ns:
        width_ms = candle_ns // NS_PER_MS
        notes.append(
            f"candles of {_width_text(width_ms)} are read as one trade each, at the close, 1 ms before the end: what"
            " happened inside them is not known"
        )
        if settings.timeframe_ms < width_ms:
            notes.append(f"TIMEFRAME={settings.timeframe} is finer than the candles of {_width_text(width_ms)}")
        if settings.paper_fill == "tape" and settings.paper_latency_ms + settings.entry_timeout_ms <= width_ms:
            notes.append(
                f"no entry can fill: it waits for the next candle, where ENTRY_TIMEOUT_MS={settings.entry_timeout_ms}"
                " ends it; --set PAPER_FILL=instant fills at the close that decided"
            )
    return notes


def _width_text(width_ms: int) -> str:
    known = {ms: name for name, ms in TIMEFRAMES_MS.items()}
    return known.get(width_ms) or (f"{width_ms // 60_000}m" if width_ms % 60_000 == 0 else f"{width_ms} ms")


def _start(pair: str, settings: Settings, time_ns: int) -> Start:
    """The Start of files that say nothing of their market."""
    base, quote = pairs.split(pair)
    scale_of(STEP, STEP, pair)  # raises where it does not fit
    taker, maker = fees_bps(settings.venue, quote)
    return Start(
        venue=settings.venue,
        book=FILE_BOOK,
        markets=[Market(pair, base, quote, STEP, STEP, "0", "0")],
        taker_fee_bps=plain(taker if settings.taker_fee_bps is None else settings.taker_fee_bps),
        maker_fee_bps=plain(maker if settings.maker_fee_bps is None else settings.maker_fee_bps),
        tape_clock=True,
        time_ns=time_ns,
    )
