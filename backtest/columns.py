"""One pair's trades as plain columns, and per candle setting the table of its candles: what fast paths run over.

Columns hold less than records do. A source that needs more is refused with the reason (`NoColumns`), and the caller
runs the fused loop over the records:

* several pairs, or a pair that no START named
* CANDLE or HOLE records
* trades flagged BACKFILL, STALE or UNTAPED
* prices that are none
* market rules or fees that change on the way
* more than MOST_TRADES
* late trades that are not marked, or are marked for another TIMEFRAME
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from backtest.chunks import Chunk, Source
from backtest.gather import CANDLE_ROW, GATHERED, NS_PER_MINUTE
from bus.messages import Start
from bus.records import BACKFILL, HOLE, LATE, RECORD, STALE, TRADE, UNTAPED
from core.errors import BotError
from indicators import layout
from indicators.layout import Array, Parameters

MOST_TRADES = 60_000_000
BYTES_A_TRADE = 32
FLAGS = ((BACKFILL, "BACKFILL"), (STALE, "STALE"), (UNTAPED, "UNTAPED"))


class NoColumns(BotError):
    """The source does not fit the column form: the text says why. The fused loop takes it."""


class Kernels(Protocol):
    """The functions of `backtest.gather`, compiled (`backtest.functions`) or plain."""

    @property
    def gather(self) -> Callable[..., int]: ...

    @property
    def find_minutes(self) -> Callable[..., int]: ...

    @property
    def find_candles(self) -> Callable[..., int]: ...


@dataclass
class Columns:
    """The trades of one pair in tape order, late ones left out; arrays of one length but for the last three."""

    start: Start
    connected: bool
    timeframe_ms: int  # by which trades were judged late
    ns: Array  # int64
    price: Array  # float64
    ticks: Array  # int64
    lots: Array  # int64
    ordered: bool  # no time is before an earlier one
    span_ns: int  # from the oldest to the newest
    late: int
    jumps: Array  # trades at which the record number is not one more than before
    numbers: Array  # the record numbers there
    minutes: Array  # trades at which market time enters a later minute
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ns)

    def number(self, at: Array) -> Array:
        """Record numbers of trades by their place; -1 stays."""
        place = np.searchsorted(self.jumps, at, side="right") - 1
        return np.where(at < 0, -1, self.numbers[place] + at - self.jumps[place])


def columns_of(
    source: Source, timeframe_ms: int, kernels: Kernels, progress: Callable[[int], None] | None = None
) -> Columns:
    """The columns of a source that was opened with this TIMEFRAME. Raises NoColumns; `progress` gets records read."""
    if len(source.start.markets) != 1:
        raise NoColumns(f"{len(source.start.markets)} pairs: columns hold one")
    seen = np.zeros(1, GATHERED)
    seen["ordered"] = 1
    # Reserved, not used: memory is taken only where trades are written.
    room = tuple(np.empty(MOST_TRADES, dtype) for dtype in (np.int64, np.float64, np.int64, np.int64))
    jumps: list[Array] = [np.zeros(0, np.int64)]
    numbers: list[Array] = [np.zeros(0, np.int64)]
    expected = -1
    for chunk in source.chunks():
        if chunk.start != source.start:
            raise NoColumns("market rules or fees change on the way: columns know one START")
        before, late = int(seen[0]["taken"]), int(seen[0]["late"])
        if before + len(chunk.records) > MOST_TRADES:
            raise NoColumns(
                f"more than {MOST_TRADES:,} trades: columns would need {BYTES_A_TRADE} bytes of memory each"
            )
        read = kernels.gather(np.ascontiguousarray(chunk.records).view(layout.TRADE_WORDS), 0, seen[0], *room)
        if read < len(chunk.records):
            raise NoColumns(_why_not(chunk, read))
        if chunk.first != expected or int(seen[0]["late"]) > late:
            places, there = _jumps(chunk, before, expected)
            jumps.append(places)
            numbers.append(there)
        expected = chunk.first + len(chunk.records)
        if progress is not None:
            progress(len(chunk.records))
    taken, ordered = int(seen[0]["taken"]), bool(seen[0]["ordered"])
    ns, price, ticks, lots = (column[:taken] for column in room)
    span_ns = int(ns.max() - ns.min()) if taken else 0
    minutes = np.empty(min(taken, span_ns // NS_PER_MINUTE + 2), np.int64)
    found = kernels.find_minutes(ns, ordered, minutes)
    return Columns(
        start=source.start,
        connected=source.connected,
        timeframe_ms=timeframe_ms,
        ns=ns,
        price=price,
        ticks=ticks,
        lots=lots,
        ordered=ordered,
        span_ns=span_ns,
        late=int(seen[0]["late"]),
        jumps=np.concatenate(jumps),
        numbers=np.concatenate(numbers),
        minutes=minutes[:found].copy(),
        notes=list(source.notes),
    )


def candles_of(columns: Columns, parameters: Parameters, kernels: Kernels) -> Array:
    """The candles with trades as CANDLE_ROWs, the same for all settings but the periods. Raises NoColumns."""
    if columns.late and parameters.timeframe_ms != columns.timeframe_ms:
        raise NoColumns(
            f"{columns.late} trades are late for a TIMEFRAME of {columns.timeframe_ms} ms, which says nothing of one of"
            f" {parameters.timeframe_ms} ms"
        )
    state = layout.new_state(parameters, 1)
    params = layout.params_of(state)
    params["missing_limit"] = layout.NO_LIMIT if columns.connected else layout.MISSING_LIMIT
    scratch = layout.new_scratch(1, 16)
    most = columns.span_ns // (parameters.timeframe_ms * 1_000_000) + 2
    table = np.empty(min(len(columns), most), CANDLE_ROW)
    found = kernels.find_candles(
        params,
        layout.heads_of(state)[0],
        layout.closes_of(state).reshape(-1),
        scratch[layout.WORK_WORDS + 2 :].view(layout.ROW),
        scratch[: layout.COLUMNS_AT].view(layout.WORK)[0],
        columns.ns,
        columns.price,
        columns.minutes,
        columns.ordered,
        table,
    )
    if found < 0:
        raise NoColumns(f"record {columns.number(np.array([-1 - found]))[0]} is before its candle and not marked LATE")
    return table[:found].copy() if found < len(table) else table


def _jumps(chunk: Chunk, before: int, expected: int) -> tuple[Array, Array]:
    """Places (in the columns) and record numbers where the numbers do not go on by one, of a gathered chunk."""
    late = np.flatnonzero(chunk.records["flags"] & LATE)
    first = [] if chunk.first == expected else [0]
    # Behind each late record the next trade's number jumps.
    after = np.concatenate([np.array(first, np.int64), late + 1])
    skipped = np.arange(len(after)) - len(first) + 1
    return before + after - skipped, chunk.first + after


def _why_not(chunk: Chunk, at: int) -> str:
    """Why a record is none for columns."""
    record: Any = chunk.records[at]
    where = f"record {chunk.first + at}"
    if record["kind"] != TRADE:
        return f"{where} is a {'HOLE' if record['kind'] == HOLE else 'CANDLE'}: columns hold trades"
    if record["pair"] != 0:
        return f"{where} is of another pair: columns hold one"
    for flag, name in FLAGS:
        if record["flags"] & flag:
            return f"{where} is flagged {name}: columns hold no flags"
    return f"{where} has the price {record['price']}"


assert RECORD.itemsize == layout.TRADE_WORDS.itemsize
