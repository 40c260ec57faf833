"""What a venue tells of its past, as records of a tape. Pure: answers in, records out.

* Every trade once, in the venue's order, judged by the feeder's guard: what is no trade or lies in the future is left
  out and counted, one before the forming bucket is LATE. A price far from the last one is taken at once: the venue's
  own history is the confirmation that the feeder waits for.
* Received when they happened: the same trades give the same bytes, in however many goes they are fetched.
* With ids, each answer is asked for from the last trade on. One that begins behind it leaves a HOLE; ids that are
  missing inside it were never given to a trade, as for the feeder, and are counted.
* Without ids the venue tells its latest trades only: they go on from the tape by the order of their contents. Where
  they do not reach back there is a HOLE, then candles of the whole buckets up to the first of them, without gaps.
* What is taken up is the tape's end alone: a fetch that was killed goes on as if nothing had been.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from backtest.bad_data import BadFile
from bus.layouts import CANDLE, HOLE, HOLE_NO_OVERLAP, TRADE
from core.clock import NS_PER_MS, NS_PER_S
from feeder import history, merge
from feeder.guard import AHEAD_NS, Counts, Guard, Print
from feeder.packing import Record, candle, hole
from venues.errors import Retry
from venues.venue import Bar, PastAnswer, Rules, Trade, TradesAnswer

TAIL = 1_000  # records at a tape's end that are looked at: more trades than an answer without ids has
ANOTHER_NS = NS_PER_S  # a venue tells the time of one trade closer than this
NO_END = 2**62


class Span(NamedTuple):
    """What is wanted: from <= time < to, ns of the venue's clock."""

    from_ns: int
    to_ns: int


class Judge:
    """The feeder's judgement of one market's past trades."""

    def __init__(self, rules: Rules, timeframe_ns: int) -> None:
        self.counts = Counts()
        self.timeframe_ns = timeframe_ns
        self.pair = rules.pair
        self._guard = Guard(0, rules, timeframe_ns, 0, True, self.counts)
        self._closed: tuple[int, float] | None = None  # start and close of the last candle behind the last HOLE

    def restore(self, records: Iterable[Any]) -> None:
        """Takes up a tape's end: records as tuples of the fields of their kind, oldest first."""
        for record in records:
            if record[0] == TRADE:
                self._guard.seen(int(record[4]), float(record[6]))
            elif record[0] == CANDLE:
                self._closed = (int(record[4]), float(record[8]))
                self._guard.candle(*self._closed, forming=False)
            elif record[0] == HOLE:
                self._closed = None
                self._guard.forget()

    def prints(self, trades: Iterable[Trade], venue_ns: int | None) -> list[Print]:
        """Those that are trades, in ticks and lots. `venue_ns`: the venue's clock now, None for a player's."""
        found = []
        for trade in trades:
            if venue_ns is not None and trade.time_ns > venue_ns + AHEAD_NS:
                self.counts.future += 1
                continue
            item = self._guard.convert(trade._replace(received_ns=trade.time_ns))
            if item is not None:
                found.append(item)
        return found

    def records(self, items: Iterable[Print]) -> list[Record]:
        """Records for the tape."""
        found: list[Record] = []
        for item in items:
            self._guard.level = 0.0  # no level, so none is held back
            found += self._guard.judge(item, 0, 0, False) or ()
        return found

    def hole(self, from_ns: int, to_ns: int) -> Record:
        """Nothing is known between the two times."""
        self._closed = None
        self._guard.forget()
        return hole(0, HOLE_NO_OVERLAP, from_ns, max(from_ns, to_ns))

    def candles(self, bars: Iterable[Bar], end_ns: int) -> list[Record]:
        """The venue's closed candles before a time, with a flat one in each bucket behind the first that has none."""
        records = []
        for bar in bars:
            records += self._flat(bar.open_ns)
            records.append(self._candle(bar))
        return records + self._flat(end_ns)

    def _flat(self, end_ns: int) -> list[Record]:
        if self._closed is None:
            return []
        open_ns, close = self._closed
        starts = range(open_ns + self.timeframe_ns, end_ns, self.timeframe_ns)
        return [self._candle(Bar(start, close, close, close, close, 0.0)) for start in starts]

    def _candle(self, bar: Bar) -> Record:
        self._closed = (bar.open_ns, bar.close)
        self._guard.candle(bar.open_ns, bar.close, forming=False)
        return candle(0, bar)

    def notes(self) -> list[str]:
        """What was left out, and what came late, as a person reads it."""
        counts = self.counts
        told = {
            "rows are no trades: left out": counts.unreadable,
            "trades lie in the future: left out": counts.future,
            "trades came after their candle was over: they are there, and count for nothing": counts.late,
        }
        return [f"{count} {what}" for what, count in told.items() if count]


class Numbered:
    """The way through the past of a venue whose trades have ids, answer by answer."""

    def __init__(self, judge: Judge, span: Span, records: Sequence[Any]) -> None:
        """`records`: the tape's end, as for `Judge.restore`, without a HOLE behind the last trade: it is made anew."""
        self._judge = judge
        self._span = span
        self.ended = False
        self.missing = 0  # ids that no trade has
        self.last: Trade | None = None  # to be asked on from; of a time that is none it has that of the one before
        self._told_ns = 0  # its time as the venue told it
        judge.restore(records)
        trades = [record for record in records if record[0] == TRADE]
        if trades:
            _, side, _, _, time_ns, _, price, quantity, _, _, trade_id = trades[-1]
            self._told_ns = int(time_ns)
            self.last = Trade(judge.pair, int(time_ns), float(price), float(quantity), int(side), int(trade_id), 0)

    def take(self, answer: PastAnswer, venue: str, venue_ns: int | None) -> list[Record]:
        """Records that an answer adds; `ended` where there is nothing more to ask for.

        `venue_ns`: the venue's clock now, None for a player's. Raises Retry where the venue does not have the trade
        that it was asked on from, BadFile where it has another of that id.
        """
        last = self.last
        known = [trade for trade in answer.trades if last is not None and trade.trade_id <= last.trade_id]
        new = answer.trades[len(known) :]
        if last is not None:
            self._check(last, known, new, venue)
        if not new:
            self.ended = True
            return []
        records: list[Record] = []
        before = new[0].trade_id - 1
        if known:
            assert last is not None
            before = last.trade_id
        elif last is not None and before > last.trade_id:
            records.append(self._judge.hole(last.time_ns, new[0].time_ns))
        self._judge.counts.unreadable += answer.bad_rows
        self.missing += max(0, new[-1].trade_id - before - len(new) - answer.bad_rows)
        self._told_ns = new[-1].time_ns
        known_ns = last.time_ns if last is not None else self._span.from_ns
        times = [trade.time_ns for trade in new if trade.time_ns > 0 and not _is_future(trade, venue_ns)]
        self.last = new[-1]._replace(time_ns=times[-1] if times else known_ns)
        return records + self._judge.records(self._judge.prints(self._within(new, venue_ns), venue_ns))

    def _within(self, trades: Sequence[Trade], venue_ns: int | None) -> list[Trade]:
        """Those of the span: up to the first one behind its end."""
        found = []
        for trade in trades:
            if trade.time_ns >= self._span.to_ns and not _is_future(trade, venue_ns):
                self.ended = True
                break
            if trade.time_ns >= self._span.from_ns or trade.time_ns <= 0:  # what is no time is counted
                found.append(trade)
        return found

    def _check(self, last: Trade, known: Sequence[Trade], new: Sequence[Trade], venue: str) -> None:
        what = f"{self._judge.pair} {last.trade_id}, the last one fetched"
        if not known and not new:
            raise Retry(venue, f"no trade {what}, is known any more", "fetch into another file where this stays")
        same = known[-1:] and known[-1].trade_id == last.trade_id
        if same and abs(known[-1].time_ns - self._told_ns) >= ANOTHER_NS:
            raise BadFile(
                f"{venue} has another trade {what}: the venue counts anew, or is another one. Fetch into another file."
            )


class Recent(NamedTuple):
    """What the latest trades of a venue without ids add to a tape: a hole, candles, trades, in this order."""

    hole: tuple[int, int] | None  # ns
    candles: tuple[int, int] | None  # first and end, ms, whole buckets
    trades: list[Print]


class Unnumbered:
    """The end of a tape of a venue whose trades have no ids.

    A HOLE is open until trades stand behind it: candles go on where they end, and its own end is that of the first one.
    """

    def __init__(
        self, judge: Judge, span: Span, ends: tuple[Sequence[Any], Sequence[Any]], open_hole: Any = None
    ) -> None:
        """`ends`: the tape's first and last records, as for `Judge.restore`; `open_hole`: the HOLE behind which no
        trade stands, if any. Raises BadFile where the tape's candles are of another size."""
        self._span = span
        self._timeframe_ns = judge.timeframe_ns
        for records in ends:
            _check_candles(records, judge.timeframe_ns)
        judge.restore(ends[1])
        self._hole = open_hole
        self._candles_ns = [int(record[4]) for record in ends[1] if record[0] == CANDLE]
        rows = [
            (int(record[4]), int(record[8]), int(record[9]), int(record[1]), int(record[10]))
            for record in ends[1]
            if record[0] == TRADE
        ]
        self._tail: deque[merge.Row] = deque(rows, maxlen=TAIL)

    @property
    def begun(self) -> bool:
        """Does the tape have trades?"""
        return bool(self._tail)

    def plan(self, answer: TradesAnswer, prints: Sequence[Print]) -> Recent:
        """`prints`: the answer's trades in ticks and lots."""
        from_ns, to_ns = self._span
        if self._tail and self._hole is None:
            rows = [item.row for item in prints]
            unit_ns = max(merge.finest(self._tail), merge.finest(rows))
            seam = merge.plan(list(self._tail), rows, [], unit_ns)
            if seam.kind != "hole":
                return Recent(None, None, self._within([prints[place] for place in seam.places]))
            from_ns = self._tail[-1][0]
        elif self._hole is not None:
            from_ns = int(self._hole[4])
        elif answer.complete or (prints and prints[0].row[0] < from_ns):
            return Recent(None, None, self._within(prints))
        trades = self._within([item for item in prints if item.row[0] >= from_ns])
        first_ns = trades[0].row[0] if trades else to_ns
        if first_ns <= from_ns:
            return Recent(None, None, trades)
        start_ns = -(-from_ns // self._timeframe_ns) * self._timeframe_ns
        if self._hole is not None and self._candles_ns:
            start_ns = max(start_ns, self._candles_ns[-1] + self._timeframe_ns)  # unless they stand before the HOLE
        end_ns = history.bucket(first_ns, self._timeframe_ns)
        candles = (start_ns // NS_PER_MS, end_ns // NS_PER_MS) if start_ns < end_ns else None
        return Recent((from_ns, first_ns), candles, trades)

    def _within(self, items: Sequence[Print]) -> list[Print]:
        return [item for item in items if self._span.from_ns <= item.row[0] < self._span.to_ns]


def pieces(wanted: tuple[int, int], interval_ms: int, timeframe_ms: int, most: int) -> list[tuple[int, int]]:
    """A span (ms) in parts of whole buckets, oldest first, each less than `most` candles of the venue's size long.

    With `most` of them an answer would lack the last: a venue counts both ends of what it is asked for.
    """
    first_ms, end_ms = wanted
    size_ms = max(timeframe_ms, (most - 1) * interval_ms // timeframe_ms * timeframe_ms)
    return [(start, min(start + size_ms, end_ms)) for start in range(first_ms, end_ms, size_ms)]


def _check_candles(records: Sequence[Any], timeframe_ns: int) -> None:
    """Raises BadFile where candles follow each other in other steps."""
    opens = [int(record[4]) for record in records if record[0] == CANDLE]
    steps = [after - before for before, after in pairwise(opens) if after > before]
    if steps and min(steps) != timeframe_ns:
        raise BadFile(
            f"the tape has candles of {min(steps) // NS_PER_S} s, TIMEFRAME asks for {timeframe_ns // NS_PER_S} s:"
            " fetch into another file."
        )


def _is_future(trade: Trade, venue_ns: int | None) -> bool:
    return venue_ns is not None and trade.time_ns > venue_ns + AHEAD_NS
