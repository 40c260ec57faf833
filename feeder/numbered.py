"""One pair whose trades carry ids that count up by one: seams are found by these alone.

* A trade from the stream that follows the last one goes out at once, also as the first one after a join; one that was
  dealt with is dropped and counted.
* Where one is missing the pair buffers what lies behind it until the stream brings it after all, or `settle` gets an
  answer that has it, or one that spans the gap with nothing in it.
* A stream that brings younger trades with lower ids may come from a venue that was set back: an answer decides.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from bus.records import BACKFILL
from feeder import sequence
from feeder.guard import Counts, Print
from feeder.merge import Row
from feeder.packing import Record
from feeder.pair import Answer, PairFeed
from feeder.sequence import Seam, Sequel
from venues.venue import Bar, Rules, Trade, TradesAnswer

ANEW_EVERY_NS = 60_000_000_000  # a stream is suspected no more often to count anew


class NumberedPair(PairFeed):
    """The same life as `PairFeed`; its buffer is ascending by id, each id once."""

    by_id = True

    def __init__(
        self, number: int, rules: Rules, timeframe_ns: int, stale_ns: int, tape_clock: bool, counts: Counts
    ) -> None:
        super().__init__(number, rules, timeframe_ns, stale_ns, tape_clock, counts)
        self._refilled: set[int] = set()  # ids in the buffer that came over REST
        self._suspected_ns = 0  # when the stream last brought younger trades with lower ids

    def restore(self, trades: Sequence[Any], last_candles: Sequence[Any]) -> None:
        super().restore(trades, last_candles)
        self._back_to_tail()

    def last_trade(self) -> Trade | None:
        if not self.tail or not self.tail[-1][4]:
            return None
        time_ns, ticks, lots, side, trade_id = self.tail[-1]
        price, quantity = ticks * float(self.rules.tick), lots * float(self.rules.step)
        return Trade(self.rules.pair, time_ns, price, quantity, side, trade_id, time_ns)

    def _back_to_tail(self) -> None:
        """What was dropped, perhaps by a wrong clock, may come again."""
        self.last_id = self.tail[-1][4] if self.tail else 0

    # --- from the stream -----------------------------------------------------------------------------

    def part(self) -> None:
        super().part()
        self._back_to_tail()

    def _unbuffer(self) -> None:
        super()._unbuffer()
        self._refilled.clear()

    def stream(self, trade: Trade, offset_ns: int) -> list[Record]:
        item = self._convert(trade)
        if item is None:
            return []
        trade_id = item.row[4]
        follows = trade_id == self.last_id + 1 or not self.last_id
        if self.live:
            if follows:
                return self._take(item, 0, offset_ns, True)
            if trade_id <= self.last_id:
                self._repeat(item)
                return []
            self.open_gap()
        elif trade_id <= self.last_id and not self.anew and (self.gap or not self._is_younger(item)):
            self._counts.repeats += 1
            return []
        elif follows and not self.anew and (self.gap or self._follows_on()):
            return self._close_gap(item, offset_ns)
        self._keep(item)
        return self._too_many(item, offset_ns)

    def _follows_on(self) -> bool:
        """May a join be settled by the stream alone? Whoever missed nothing need not wait for REST."""
        return bool(self.last_id) and self.on_tape and not self.needs_history

    def open_gap(self) -> None:
        self._counts.gaps += 1
        self.live, self.gap = False, True

    def _keep(self, item: Print) -> None:
        buffer, trade_id = self.buffer, item.row[4]
        if not buffer or buffer[-1].row[4] < trade_id:
            buffer.append(item)
            return
        place = bisect_left(buffer, trade_id, key=_id)
        if buffer[place].row[4] == trade_id:
            self._counts.repeats += 1
        else:
            buffer.insert(place, item)

    def _close_gap(self, item: Print, offset_ns: int) -> list[Record]:
        """The trade that was waited for came on the stream."""
        records = self._take(item, 0, offset_ns, True)
        ready = 0
        while ready < len(self.buffer) and self.buffer[ready].row[4] <= self.last_id + 1:
            records += self._take(self.buffer[ready], 0, offset_ns, True, item.received_ns + offset_ns)
            ready += 1
        del self.buffer[:ready]
        if not self.buffer:
            self.live, self.gap = True, False
        return records

    def _repeat(self, item: Print) -> None:
        """A live stream brings an id that was dealt with: again, or does the venue count anew?"""
        if self._is_younger(item) and abs(item.row[0] - self._suspected_ns) > ANEW_EVERY_NS:
            self._suspected_ns = item.row[0]
            self.live, self.gap, self.anew = False, True, True
            self._keep(item)
        else:
            self._counts.repeats += 1

    def _is_younger(self, item: Print) -> bool:
        return not self.tail or item.row[0] > self.tail[-1][0] + sequence.ANOTHER_NS

    def _convert(self, trade: Trade) -> Print | None:
        if trade.trade_id <= 0:
            self._counts.unreadable += 1
            return None
        return self.guard.convert(trade)

    def _runs(self) -> list[list[Print]]:
        runs: list[list[Print]] = [[]]
        for item in self.buffer:
            if runs[-1] and item.row[4] != runs[-1][-1].row[4] + 1:
                runs.append([])
            runs[-1].append(item)
        return runs

    def _take(self, item: Print, flags: int, offset_ns: int, stream: bool, now_ns: int | None = None) -> list[Record]:
        self.last_id = item.row[4]
        if self.last_id in self._refilled:
            flags |= BACKFILL
        return super()._take(item, flags, offset_ns, stream, now_ns)

    # --- from REST -----------------------------------------------------------------------------------

    def read(self, answer: TradesAnswer) -> Answer:
        prints = [item for item in map(self._convert, answer.trades) if item is not None]
        prints = list({item.row[4]: item for item in sorted(prints, key=_id)}.values())
        return Answer(prints, answer.complete)

    def missed_at_seam(self, answer: Answer) -> bool:
        return bool(answer.rows) and answer.rows[-1][0] <= self.settled_ns

    def _seam(self, answer: Sequence[Row], stream: Sequence[Row]) -> Seam:
        if self.tail and not self.tail[-1][4]:  # a tape from a time without ids
            return super()._seam(answer, stream)
        return sequence.sequel(self.tail[-1] if self.tail else None, self.last_id, answer, stream)

    def settle(
        self,
        answer: Answer,
        plan: Seam,
        bars: Sequence[Bar] | None,
        flags: int,
        venue_ns: int | None,
        offset_ns: int,
    ) -> list[Record]:
        """As there; where trades are missing behind what the answer adds, the pair is not live but waits for more."""
        if isinstance(plan, Sequel) and not self.live:
            plan = self._interleave(answer, plan)
        return super().settle(answer, plan, bars, flags, venue_ns, offset_ns)

    def _interleave(self, answer: Answer, plan: Sequel) -> Sequel:
        """Puts what the answer has between the stream's trades into the buffer, and drops what was dealt with."""
        if plan.kind == "restarted":
            end_ns = self._end_ns()
            self.buffer = [item for item in self.buffer if item.row[0] > end_ns]
            self.last_id = 0
        self._counts.repeats += plan.skip
        fill = [answer.prints[place] for place in plan.fill]
        self._refilled.update(item.row[4] for item in fill)
        self.buffer = sorted([*self.buffer[plan.skip :], *fill], key=_id)
        self.anew = False
        return plan._replace(skip=0)

    def _go_on(self, plan: Seam, offset_ns: int, venue_ns: int | None) -> list[Record]:
        ready = plan.ready if isinstance(plan, Sequel) else len(self.buffer)
        waiting = self.buffer[ready:]
        records = self._go_live(self.buffer[plan.skip : ready], offset_ns, venue_ns)
        if waiting:
            self.live, self.gap = False, True
            self.buffer = waiting
        self._refilled.intersection_update(map(_id, waiting))
        return records

    def _history(
        self, answer: Answer, plan: Seam, bars: Sequence[Bar], venue_ns: int | None, offset_ns: int
    ) -> list[Record]:
        records = super()._history(answer, plan, bars, venue_ns, offset_ns)
        if not self.live:
            self._back_to_tail()  # some are in the candles
        return records


def _id(item: Print) -> int:
    return item.row[4]
