"""Market data written anew: as a tape of one segment, as trades, or as candles.

* A tape begins with its START record; a START in between stays one. Numbers are those of the source, but go on without
  a gap; the market and the fees must be the same throughout.
* A file of trades has `ts_ns,price,qty,side,trade_id`, a row a trade: prices and quantities are written so that reading
  them gives the same bits. LATE trades, candles and holes are left out; who converts is told how many.
* A file of candles has `open_time_ms,open,high,low,close,volume`, a row a bucket from the first trade to the last;
  a bucket without trades is flat at the close before it. Volumes are sums of lots.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from backtest.bad_data import BadFile
from backtest.chunks import Chunk, Source
from backtest.result import Array
from bus.layouts import BACKFILL, CANDLE, HOLE, LATE, SIDE_BUY, SIDE_SELL, START, TRADE
from bus.messages import Market, Start
from bus.records import RECORD
from bus.segment import SegmentHeader, pack_header
from bus.tape import same_start
from core.clock import NS_PER_MS
from core.money import plain

TRADES_HEADER = "ts_ns,price,qty,side,trade_id\n"
CANDLES_HEADER = "open_time_ms,open,high,low,close,volume\n"
SIDES = {SIDE_BUY: "buy", SIDE_SELL: "sell"}
LOW_BITS = 30  # lots are summed in two halves: a sum of one does not overflow

Write = Callable[[bytes], Any]


@dataclass
class Written:
    """What was written, and what was not."""

    rows: int = 0
    first_ns: int = 0
    last_ns: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, what: str, which: Array) -> None:
        """Count what has no place in the format: the records where `which` is true."""
        count = int(np.count_nonzero(which))
        if count:
            self.left_out[what] = self.left_out.get(what, 0) + count

    def taken(self, times: Array) -> None:
        """Count rows by their times."""
        if len(times):
            self.first_ns = self.first_ns if self.rows else int(times[0])
            self.last_ns = int(times[-1])
            self.rows += len(times)


def write_tape(source: Source, write: Write, created_ns: int) -> Written:
    """The source as a tape; its epoch is the time of its making in ms. Raises BadFile where one tape cannot hold it."""
    written = Written()
    number = -1
    start = source.start
    for chunk in source.chunks():
        if number < 0:
            number = max(0, chunk.first - 1)
            header = SegmentHeader.new(created_ns // NS_PER_MS, number, created_ns, "", chunk.start)
            write(pack_header(header))
            number += _write_start(write, chunk.start)
        elif chunk.start is not start:
            if not same_start(chunk.start, start):
                raise BadFile(
                    f"market or fees change at record {chunk.first}, a tape has one for all: convert each segment."
                )
            number += _write_start(write, chunk.start)
        start = chunk.start
        if chunk.first > number and not written.notes:
            written.notes.append(f"records are missing before {chunk.first}: the numbers behind them are lower here")
        write(chunk.records.tobytes())
        number += len(chunk.records)
        trades = chunk.records["exchange_ns"][chunk.records["kind"] == TRADE]
        written.taken(trades)
    return written


def _write_start(write: Write, start: Start) -> int:
    record = np.zeros(1, RECORD)
    record["kind"] = START
    record["exchange_ns"] = record["received_ns"] = start.time_ns
    write(record.tobytes())
    return 1


def write_trades(source: Source, write: Write, pair: str = "") -> Written:
    """The trades of the source's only pair, or of `pair`. Raises BadFile where it has no such pair."""
    written = Written()
    write(TRADES_HEADER.encode())
    backwards = last_ns = 0
    for market, trades in _trades_of(source, pair, written):
        times = trades["exchange_ns"].tolist()
        steps = zip(
            *(times, _texts(trades["ticks"], trades["price"], market.tick)),
            *(_texts(trades["lots"], trades["quantity"], market.step), trades["side"].tolist()),
            trades["trade_id"].tolist(),
            strict=True,
        )
        lines = [
            f"{ns},{price},{quantity},{SIDES.get(side, '')},{trade_id or ''}\n"
            for ns, price, quantity, side, trade_id in steps
        ]
        write("".join(lines).encode())
        written.taken(trades["exchange_ns"])
        backwards += int(np.count_nonzero(np.diff(trades["exchange_ns"], prepend=last_ns) < 0))
        last_ns = times[-1] if times else last_ns
    if backwards:
        written.notes.append(f"{backwards} trades stand behind a later one, as on the tape: read with --skip-bad")
    return written


def write_candles(source: Source, write: Write, timeframe_ms: int, pair: str = "") -> Written:
    """The candles of the source's only pair, or of `pair`. Raises BadFile where it has no such pair."""
    written = Written()
    write(CANDLES_HEADER.encode())
    forming: Bucket | None = None
    tick = step = Decimal(0)
    for market, trades in _trades_of(source, pair, written):
        tick, step = Decimal(market.tick), Decimal(market.step)
        lines = []
        for bucket in _buckets(trades, timeframe_ms, written, forming.open_ms if forming else None):
            if forming is None or bucket.open_ms == forming.open_ms:
                forming = bucket if forming is None else forming.joined(bucket)
                continue
            lines.append(forming.row(tick, step))
            for open_ms in range(forming.open_ms + timeframe_ms, bucket.open_ms, timeframe_ms):
                lines.append(forming.flat(open_ms).row(tick, step))
            forming = bucket
        write("".join(lines).encode())
    if forming is not None:
        write(forming.row(tick, step).encode())
    return written


class Bucket(NamedTuple):
    """A candle in whole numbers: ticks and lots."""

    open_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int

    def joined(self, later: "Bucket") -> "Bucket":
        """This candle with later trades of its bucket."""
        high, low = max(self.high, later.high), min(self.low, later.low)
        return Bucket(self.open_ms, self.open, high, low, later.close, self.volume + later.volume)

    def flat(self, open_ms: int) -> "Bucket":
        """A candle without trades behind this one."""
        return Bucket(open_ms, self.close, self.close, self.close, self.close, 0)

    def row(self, tick: Decimal, step: Decimal) -> str:
        """Its line."""
        prices = ",".join(plain(ticks * tick) for ticks in (self.open, self.high, self.low, self.close))
        return f"{self.open_ms},{prices},{plain(self.volume * step)}\n"


def _trades_of(source: Source, pair: str, written: Written) -> Iterator[tuple[Market, Array]]:
    """The trades of one pair, chunk by chunk, with their market; what else there is is counted."""
    number, start = -1, None
    for chunk in source.chunks():
        if chunk.start is not start:
            start = chunk.start
            number = _pair_number(start, pair)
        yield start.markets[number], _select(chunk, number, written)


def _select(chunk: Chunk, number: int, written: Written) -> Array:
    records = chunk.records
    written.leave_out("candles of the venue", records["kind"] == CANDLE)
    written.leave_out("holes", records["kind"] == HOLE)
    trades: Array = records[records["kind"] == TRADE]
    written.leave_out("trades of other pairs", trades["pair"] != number)
    trades = trades[trades["pair"] == number]
    late = trades["flags"] & LATE != 0
    written.leave_out("late trades", late)
    trades = trades[~late]
    refilled = int(np.count_nonzero(trades["flags"] & BACKFILL))
    if refilled and not any("refilled" in note for note in written.notes):
        written.notes.append("some trades were refilled after a hole, and decided nothing: here they are like others")
    return trades


def _pair_number(start: Start, pair: str) -> int:
    names = [market.pair for market in start.markets]
    if pair in names:
        return names.index(pair)
    if pair or len(names) != 1:
        raise BadFile(f"the pairs are {', '.join(names)}: choose one with --pair{f', not {pair}' if pair else ''}.")
    return 0


def _texts(counts: Array, values: Array, step_text: str) -> list[str]:
    """Decimal texts that read back as `values`: of the counts of a step where they say it all, else the shortest."""
    step = Decimal(step_text)
    decimals = max(0, -int(step.as_tuple().exponent))
    unit, whole = int(step.scaleb(decimals)), 10**decimals
    texts = []
    for count, value in zip(counts.tolist(), values.tolist(), strict=True):
        before, behind = divmod(count * unit, whole)
        text = f"{before}.{behind:0{decimals}d}".rstrip("0").rstrip(".") if behind else str(before)
        texts.append(text if float(text) == value else plain(Decimal(repr(value))))
    return texts


def _buckets(trades: Array, timeframe_ms: int, written: Written, forming_ms: int | None) -> Iterator[Bucket]:
    """The candles that trades make, the first of which may go on with the forming one; late trades are left out."""
    if not len(trades):
        return
    buckets = trades["exchange_ns"] // (timeframe_ms * NS_PER_MS) * timeframe_ms
    floor = int(buckets[0]) if forming_ms is None else forming_ms
    on_time = buckets >= np.maximum(np.maximum.accumulate(buckets), floor)
    written.leave_out("late trades", ~on_time)
    trades, buckets = trades[on_time], buckets[on_time]
    if not len(trades):
        return
    written.taken(trades["exchange_ns"])
    begins = np.flatnonzero(np.diff(buckets, prepend=buckets[0] - 1))
    ticks, lots = trades["ticks"], trades["lots"]
    high, low = np.maximum.reduceat(ticks, begins).tolist(), np.minimum.reduceat(ticks, begins).tolist()
    upper = np.add.reduceat(lots >> LOW_BITS, begins).tolist()
    lower = np.add.reduceat(lots & ((1 << LOW_BITS) - 1), begins).tolist()
    closes = np.append(begins[1:], len(trades)) - 1
    for place, begin in enumerate(begins.tolist()):
        volume = (upper[place] << LOW_BITS) + lower[place]
        close = int(ticks[closes[place]])
        yield Bucket(int(buckets[begin]), int(ticks[begin]), high[place], low[place], close, volume)
