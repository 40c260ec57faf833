"""An impossible time: is the trade wrong, or our clock? The venue is asked for its time, and trades wait meanwhile.

* A trade dropped for its time holds back what the stream brings behind it, of all pairs: it can only be put back as
  long as nothing behind it is on the tape.
* Our clock was wrong: the stream is opened anew, and all of it comes over REST, in order. The same where the clock was
  corrected by the way before we asked.
* It was right: what waited is taken. A venue that tells impossible times again and again holds nothing up: it is asked
  no more often than each RECLOCK_NS, and between two questions such trades are dropped and nothing waits.
* No answer within HOLD_S: what waited is taken, as stops need prices.

Times are monotonic nanoseconds.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from core.clock import NS_PER_S, Clock
from feeder.backfill import Say
from feeder.pair import PairFeed
from venues.errors import VenueError
from venues.venue import Notice, Trade

RECLOCK_NS = 5 * NS_PER_S  # the venue's time is not asked for more often
HOLD_S = 2.0
HELD_MOST = 20_000  # trades
MOVED_NS = NS_PER_S // 2
WRONG_CLOCK = "trades were dropped by a clock that was wrong"


class Doubt:
    """Whether the clock is in doubt, and what waits meanwhile. `ask(pair)` has the venue tell its time, too.

    `take(trades)` gets what waited; `anew(reason)` opens the stream anew, where there is one.
    """

    def __init__(
        self,
        clock: Clock,
        offset_ns: Callable[[], int],
        ask: Callable[[PairFeed], Awaitable[object]],
        take: Callable[[Sequence[Trade | Notice]], object],
        anew: Callable[[str], None],
        say: Say,
    ) -> None:
        self._clock = clock
        self._offset_ns = offset_ns
        self._ask = ask
        self._take = take
        self._anew = anew
        self._say = say
        self._asked_ns = -RECLOCK_NS
        self._connection = 0
        self.dropped_by_ns: int | None = None  # the offset by which a trade of this connection was dropped
        self._ends = False  # the connection: nothing of it is taken any more
        self._waiting: list[Trade] = []
        self.holds = False  # are trades to be given to `hold`?

    @property
    def full(self) -> bool:
        """Do as many wait as may?"""
        return len(self._waiting) >= HELD_MOST

    def due(self) -> bool:
        """Is it time to ask? Then `resolve` is to be run."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._asked_ns < RECLOCK_NS:
            return False
        self._asked_ns = now_ns
        return True

    def dropped(self, offset_ns: int) -> bool:
        """A trade was dropped, by this offset of the venue's clock. Returns `due()`; then what follows waits."""
        if self.dropped_by_ns is None:
            self.dropped_by_ns = offset_ns
        due = self.due()
        self.holds = self.holds or due
        return due

    def look(self, offset_ns: int) -> None:
        """Before trades are taken by this offset: was one dropped by another?"""
        if self.dropped_by_ns is not None and not self._ends and abs(offset_ns - self.dropped_by_ns) >= MOVED_NS:
            self._ends = self.holds = True
            self._waiting = []
            self._tell(offset_ns - self.dropped_by_ns)
            self._anew(WRONG_CLOCK)

    def hold(self, trade: Trade) -> None:
        """It waits; where the connection ends it comes again over REST."""
        if not self._ends:
            self._waiting.append(trade)

    def release(self) -> None:
        """What waited is taken."""
        waiting, self._waiting, self.holds = self._waiting, [], self._ends
        if waiting:
            self._take(waiting)

    def joined(self) -> None:
        """Another connection begins."""
        self._connection += 1
        self._waiting, self.dropped_by_ns = [], None
        self.holds = self._ends = False

    async def resolve(self, pair: PairFeed) -> None:
        """Asks the venue for its time, and acts on it."""
        connection, before_ns = self._connection, self._offset_ns()
        asking = asyncio.ensure_future(self._ask(pair))
        try:
            await asyncio.wait({asking}, timeout=HOLD_S)
            if not asking.done() and connection == self._connection:
                self.release()
            await asking
        except VenueError:
            if connection == self._connection:
                self.release()
            raise
        finally:
            asking.cancel()
        after_ns = self._offset_ns()
        if connection != self._connection or self.dropped_by_ns is None:
            if abs(after_ns - before_ns) >= MOVED_NS:
                self._tell(after_ns - before_ns)
            return
        self.look(after_ns)
        if not self._ends:
            self.dropped_by_ns = None
            self.release()

    def _tell(self, moved_ns: int) -> None:
        text = f"our clock and the venue's moved apart by {moved_ns / NS_PER_S:+.1f} s; the venue's counts"
        self._say("warn", text, "")
