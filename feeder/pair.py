"""One pair between venue and tape: what is on the tape, what the stream brings, what an answer adds. Acts on nothing
itself.

Life of a pair: `join` (the stream was asked for it; its trades are buffered) → `settle` with a REST answer (and
candles where a history is due) → live: `stream` hands out records at once. `part` when the stream is gone; `settle`
then serves polling too.

Here seams are found by the order of contents; `feeder.numbered` has the pair whose trades carry ids.
"""

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from bus.records import BACKFILL, FORMING, HOLE_NO_OVERLAP, HOLE_TOO_LONG, STALE
from core.clock import NS_PER_S
from feeder import history, merge
from feeder.guard import Counts, Guard, Print
from feeder.packing import Record, candle, hole
from feeder.sequence import Seam
from venues.venue import Bar, Rules, Trade, TradesAnswer

TAIL = 600  # trades remembered for finding the overlap: an answer of 500 and some
REPEATED = 200  # of these, how many a new stream may repeat
BUFFER_MAX = 5000  # trades held while REST does not answer


class Answer:
    """A REST answer in ticks and lots."""

    __slots__ = ("complete", "prints", "rows")

    def __init__(self, prints: list[Print], complete: bool) -> None:
        self.prints = prints
        self.rows = [item.row for item in prints]
        self.complete = complete


class PairFeed:
    """State of one pair. Times are nanoseconds of the venue's clock unless they say monotonic."""

    by_id = False  # seams are found by ids

    def __init__(
        self, number: int, rules: Rules, timeframe_ns: int, stale_ns: int, tape_clock: bool, counts: Counts
    ) -> None:
        self.number = number
        self.rules = rules
        self.timeframe_ns = timeframe_ns
        self._stale_ns = stale_ns
        self.tape_clock = tape_clock
        self._counts = counts
        self.guard = Guard(number, rules, timeframe_ns, stale_ns, tape_clock, counts)
        self.tail: deque[merge.Row] = deque(maxlen=TAIL)
        self.on_tape = False  # candles or trades of it were taped before
        self._begun = False  # settled once: a market without any trade so far is known to be one
        self._forming_row = False  # the running candle came from the venue: its trades are not all known
        self.needs_history = False
        self.streaming = False  # asked for on the stream
        self.live = False  # settled: trades go out as they come
        self.buffer: list[Print] = []
        self._repeats: merge.Repeats | None = None
        self._resolution = merge.Resolution()
        self.last_id = 0  # by id: the highest one that was dealt with, taped or dropped; 0: none yet
        self.gap = False  # by id: it was live, and buffers what lies behind a gap
        self.anew = False  # by id: the stream brought younger trades with lower ids: does the venue count anew?
        self.from_newest = False  # by id: answers back to the tape's end do not reach the stream
        self.joins = 0  # how often the stream was asked for
        self.settled_ns = 0  # time of the last answer that was put in
        self.heard_ns = 0  # monotonic: last trade, or REST saying that there is none newer
        self.proven_ns = 0  # monotonic: last time that nothing was missing between tape and venue
        self.deaf = 0  # how often the stream brought nothing although there were trades

    # --- from the tape -------------------------------------------------------------------------------

    def restore(self, trades: Sequence[Any], last_candles: Sequence[Any]) -> None:
        """Takes up the tape's end: its last trades and candles as tuples of their fields, both oldest first."""
        self.on_tape = bool(trades or last_candles)
        for record in last_candles:
            forming = bool(record[2] & FORMING)
            self.guard.candle(int(record[4]), float(record[8]), forming)
            self._forming_row = forming
        for record in trades:
            row = (int(record[4]), int(record[8]), int(record[9]), int(record[1]), int(record[10]))
            self.tail.append(row)
            self.guard.seen(row[0], float(record[6]))
            (self._resolution.rest if record[2] & BACKFILL else self._resolution.stream).add([row])
        opens = [int(record[4]) for record in last_candles]
        steps = {b - a for a, b in pairwise(opens) if b > a}
        if steps and min(steps) != self.timeframe_ns:
            self.needs_history = True  # TIMEFRAME was changed: the tape's candles are of another size

    def change_rules(self, rules: Rules) -> None:
        """The market moves in other steps from now on; what is known is counted anew in these."""
        old, self.rules = self.rules, rules
        price, quantity = old.tick / rules.tick, old.step / rules.step
        rows = [(t, round(ticks * price), round(lots * quantity), side, n) for t, ticks, lots, side, n in self.tail]
        self.tail = deque(rows, maxlen=TAIL)
        self.guard = self.guard.with_rules(rules)

    @property
    def untimely(self) -> int:
        """How many trades, of all pairs, were dropped for their time so far."""
        return self._counts.untimely

    def last_trade(self) -> Trade | None:
        """The last trade on the tape, to ask back to; None where it has no id."""
        return None

    # --- from the stream -----------------------------------------------------------------------------

    def join(self) -> None:
        """The stream was asked for this pair: buffer what it brings until the seam is settled."""
        self._unbuffer()
        self.streaming = True
        self.joins += 1

    def part(self) -> None:
        """The stream is gone; what was buffered comes again over REST."""
        self._unbuffer()

    def _unbuffer(self) -> None:
        self.streaming = self.live = self.gap = self.anew = False
        self.buffer = []
        self._repeats = None

    def stream(self, trade: Trade, offset_ns: int) -> list[Record]:
        """A trade from the stream: records for the tape, none while it is buffered or where it is a repeat."""
        item = self.guard.convert(trade)
        if item is None:
            return []
        if not self.live:
            self.buffer.append(item)
            self._resolution.stream.add([item.row])
            return self._too_many(item, offset_ns)
        if self._repeats is None:
            if not 0 < self._resolution.stream.unit_ns < NS_PER_S:
                self._resolution.stream.add([item.row])
            return self._take(item, 0, offset_ns, True)
        records: list[Record] = []
        for new in self._repeats.feed([(item.row, item)]):
            records += self._take(new, 0, offset_ns, True, item.received_ns + offset_ns)
        if self._repeats.done:
            self._repeats = None
        return records

    def _too_many(self, item: Print, offset_ns: int) -> list[Record]:
        """Trades are held back no further than the buffer."""
        if len(self.buffer) < BUFFER_MAX:
            return []
        return self.abandon(offset_ns, None if self.tape_clock else item.received_ns + offset_ns)

    def open_gap(self) -> None:
        """By id: something is missing, and what the stream brings is buffered until it is filled."""
        raise NotImplementedError

    def abandon(self, offset_ns: int, venue_ns: int | None = None) -> list[Record]:
        """REST does not answer: what happened before the buffer stays unknown; a history follows when it can be had.

        `venue_ns`: the venue's clock now, None where it is not known or a player's.
        """
        records: list[Record] = []
        self.needs_history = True
        for run in self._runs():
            if self.on_tape:
                from_ns = self._end_ns()
                to_ns = run[0].row[0] if run else venue_ns or from_ns
                records.append(hole(self.number, HOLE_NO_OVERLAP, from_ns, max(from_ns, to_ns)))
                self.guard.forget()
            records += self._go_live(run, offset_ns, venue_ns)
        return records

    def _runs(self) -> list[list[Print]]:
        """The buffer, cut where trades are known to be missing; at least one run."""
        return [self.buffer]

    def _take(self, item: Print, flags: int, offset_ns: int, stream: bool, now_ns: int | None = None) -> list[Record]:
        before_ns, end_ns = self.guard.bucket_ns, self._end_ns()
        judged = self.guard.judge(item, flags, offset_ns, stream, now_ns)
        if judged is None:
            return []
        records: list[Record] = list(judged)
        self.tail.append(item.row)
        if records:
            self.on_tape = True
            if self._too_long(before_ns, self.guard.bucket_ns):
                self.needs_history = True
                records.insert(0, hole(self.number, HOLE_TOO_LONG, end_ns, item.row[0]))
        return records

    def _go_live(self, items: Sequence[Print], offset_ns: int, venue_ns: int | None) -> list[Record]:
        """Lets out what was buffered; what waited for long is as old as if it came now."""
        old_ns = 0 if venue_ns is None else venue_ns - self._stale_ns
        records: list[Record] = []
        self.live = self.streaming
        self.gap = self.anew = False
        self.buffer = []
        for item in items:
            records += self._take(item, STALE if item.row[0] < old_ns else 0, offset_ns, True, venue_ns)
        return records

    # --- from REST -----------------------------------------------------------------------------------

    def read(self, answer: TradesAnswer) -> Answer:
        """An answer in this market's steps; what is no trade is counted and left out."""
        prints = [item for item in map(self.guard.convert, answer.trades) if item is not None]
        found = Answer(prints, answer.complete)
        self._resolution.rest.add(found.rows)
        return found

    def plan(self, answer: Answer) -> Seam:
        """What the answer brings between tape and stream."""
        plan = self._seam(answer.rows, [item.row for item in self.buffer])
        if plan.kind != "fresh" or not (self.on_tape or self._begun):
            return plan
        # No trade on the tape, perhaps candles: what is new began with the running bucket.
        since_ns = self.guard.bucket_ns
        first = min(history.place_of(answer.prints, since_ns), plan.last)
        if first == plan.last:
            return plan._replace(kind="joined", first=plan.last)
        reaches = history.whole_bucket(answer.prints, answer.complete, self.timeframe_ns) <= since_ns
        return plan._replace(kind="joined" if reaches and not self._forming_row else "hole", first=first)

    def _seam(self, answer: Sequence[merge.Row], stream: Sequence[merge.Row]) -> Seam:
        return merge.plan(self.tail, answer, stream, self._resolution.unit_ns)

    def brings(self, answer: Answer) -> bool:
        """Has the answer trades that are not on the tape?"""
        plan = self.plan(answer)
        return plan.kind in ("hole", "restarted") or bool(plan.places)

    def missed_at_seam(self, answer: Answer) -> bool:
        """By id: is what it brings no younger than the last answer that was put in? REST was behind then."""
        return False

    def wants_history(self, answer: Answer, plan: Seam) -> bool:
        """Must candles be had before this answer can be settled?"""
        if self.needs_history or plan.kind in ("fresh", "hole", "restarted"):
            return True
        if plan.places:
            first_ns = history.bucket(answer.rows[plan.places[0]][0], self.timeframe_ns)
            return self._too_long(self.guard.bucket_ns, first_ns)
        return False

    def settle(
        self,
        answer: Answer,
        plan: Seam,
        bars: Sequence[Bar] | None,
        flags: int,
        venue_ns: int | None,
        offset_ns: int,
    ) -> list[Record]:
        """Records for the tape: what the answer adds, then the buffered stream; the pair is live afterwards.

        `bars`: the venue's candles where a history is due, else None; `flags` of trades that the answer adds;
        `venue_ns`: the venue's clock now, None for a player's.
        """
        records: list[Record] = []
        self._begun = True
        self.from_newest = False
        self.settled_ns = venue_ns or 0
        if bars is None:
            for place in plan.places:
                records += self._take(answer.prints[place], flags, offset_ns, False, venue_ns)
        else:
            records += self._history(answer, plan, bars, venue_ns, offset_ns)
        if self.live:  # a history put in beside the stream, which goes on by itself
            return records
        return records + self._go_on(plan, offset_ns, venue_ns)

    def _go_on(self, plan: Seam, offset_ns: int, venue_ns: int | None) -> list[Record]:
        """What was buffered; live from now on."""
        stream = self.buffer[plan.skip :]
        if self.streaming and not self.buffer:
            self._repeats = merge.Repeats(list(self.tail)[-REPEATED:], self._resolution)
        return self._go_live(stream, offset_ns, venue_ns)

    def _history(
        self, answer: Answer, plan: Seam, bars: Sequence[Bar], venue_ns: int | None, offset_ns: int
    ) -> list[Record]:
        records: list[Record] = []
        stream_ns = self.buffer[plan.skip].row[0] if len(self.buffer) > plan.skip else None
        goes_on = self.by_id and plan.kind in ("joined", "behind")  # what is taped is not taped again
        places: Sequence[int] = plan.places if goes_on else range(plan.last)
        trades = [answer.prints[place] for place in places if place not in plan.without] if not self.live else []
        complete = answer.complete and not self.live and not goes_on
        running_ns = history.running_bucket(self.timeframe_ns, stream_ns, trades, bars, venue_ns)
        if self.live:
            running_ns = max(running_ns, self.guard.bucket_ns)
        level = self.guard.level
        made = history.compose(self.timeframe_ns, running_ns, bars, trades, complete, self.buffer)
        if self.on_tape:
            reason = HOLE_TOO_LONG if self.needs_history or plan.kind == "joined" else HOLE_NO_OVERLAP
            to_ns = stream_ns or (trades[made.first].row[0] if made.first < len(trades) else running_ns)
            records.append(hole(self.number, reason, self._end_ns(), max(to_ns, self._end_ns())))
        self.guard.forget()
        for bar in made.closed:
            records.append(candle(self.number, bar))
            self.guard.candle(bar.open_ns, bar.close, forming=False)
        forming = made.forming
        if forming is None and self.live and level:
            forming = Bar(running_ns, level, level, level, level, 0.0)
        if forming is not None:
            records.append(candle(self.number, forming, forming=True))
            self.guard.candle(forming.open_ns, forming.close, forming=True)
        self._forming_row = forming is not None
        self.on_tape = self.on_tape or bool(records)
        self.needs_history = False
        if not self.live:
            if not goes_on:
                self.tail.clear()
            self.tail.extend(item.row for item in trades[: made.first])
        for item in trades[made.first :]:
            records += self._take(item, BACKFILL, offset_ns, False, venue_ns)
        return records

    def too_long(self, venue_ns: int | None) -> bool:
        """Lies the tape's end so far back that a history is due?"""
        return venue_ns is not None and self._too_long(self.guard.bucket_ns, venue_ns)

    def _too_long(self, from_ns: int, to_ns: int) -> bool:
        if self.tape_clock or not from_ns:
            return False
        return to_ns - from_ns > (history.CANDLES + 1) * self.timeframe_ns

    def _end_ns(self) -> int:
        """Time of the last trade known, else the start of the forming bucket."""
        return self.tail[-1][0] if self.tail else self.guard.bucket_ns
