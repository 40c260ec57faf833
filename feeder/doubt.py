"""An impossible time: is the trade wrong, or our clock? The venue is asked for its time, and trades wait meanwhile.

* A trade dropped for its time holds back what the stream brings behind it, of all pairs: it can only be put back as
  long as nothing behind it is on the tape.
* Our clock was wrong (the venue's time is another one than was believed, or the clock was set since): the stream is
  opened anew, and all of it comes over REST, in order.
* It was right: what waited is taken.
* The connection ends: what waited comes again over REST.
* No answer within HOLD_S, or none at all: what waited is taken, as stops need prices.
* A venue that tells impossible times again and again holds nothing up: it is asked no more often than each RECLOCK_NS,
  and between two questions such trades are dropped and nothing waits.

Times are monotonic nanoseconds unless they say otherwise.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from core.clock import NS_PER_S, Clock, standing_ns
from feeder.backfill import Say
from feeder.pair import PairFeed
from venues.errors import RateLimited, VenueError
from venues.venue import Notice, Trade

RECLOCK_NS = 5 * NS_PER_S  # the venue's time is not asked for more often
HOLD_S = 2.0
HELD_MOST = 20_000  # trades
MOVED_NS = NS_PER_S // 2
WRONG_CLOCK = "trades were dropped by a clock that was wrong"


class Doubt:
    """Whether the clock is in doubt, and what waits meanwhile. `ask(pair)` has the venue tell its time, too.

    `take(trades)` gets what waited; `anew(reason)` opens the stream anew, where there is one; `failed(pair, error)` is
    told of a question that was not answered.
    """

    def __init__(
        self,
        clock: Clock,
        offset_ns: Callable[[], int],
        ask: Callable[[PairFeed], Awaitable[object]],
        take: Callable[[Sequence[Trade | Notice]], object],
        anew: Callable[[str], None],
        failed: Callable[[PairFeed, VenueError], None],
        say: Say,
    ) -> None:
        self._clock = clock
        self._offset_ns = offset_ns
        self._ask = ask
        self._take = take
        self._anew = anew
        self._failed = failed
        self._say = say
        self._asked_ns = -RECLOCK_NS
        self._asking = False  # a question is on its way, or will be when it may
        self._asked = False  # the first of a row is, and not for longer than HOLD_S
        self._drops = 0
        self._connection = 0
        self._waiting: list[Trade] | None = None  # None: what comes to `hold` is not wanted, it comes over REST
        self.believed_ns: int | None = None  # what was believed of the venue's time when a trade was dropped
        self._stood_ns = 0  # our clock less the monotonic one, then
        self.holds = True  # are trades to be given to `hold`?

    @property
    def full(self) -> bool:
        """Do as many wait as may?"""
        return self._waiting is not None and len(self._waiting) >= HELD_MOST

    def joined(self) -> None:
        """A connection begins."""
        self._waiting = []
        self.holds = False

    def parted(self) -> None:
        """It is over."""
        self._connection += 1
        self._asking = self._asked = False
        self._drop_all()

    def dropped(self) -> bool:
        """A trade was. Returns whether `resolve` is to be run; what follows waits, unless we asked just now."""
        self._drops += 1
        if self.believed_ns is None:
            self._believe()
        if self._asking:
            self.holds = self.holds or self._asked
            return False
        self.holds = self.holds or not self._pause_s()
        self._asking = True
        return True

    def late(self) -> bool:
        """Trades are old: did this machine sleep? Returns whether `resolve` is to be run."""
        if self._asking or self._pause_s():
            return False
        self._asking = True
        return True

    def look(self) -> None:
        """Before trades are taken: does what was believed when one was dropped still hold?"""
        if self.believed_ns is not None and self._waiting is not None:
            stands_ns = standing_ns(self._clock)
            # What waits came by a clock that was set since, even if all is as it was believed.
            moves = (stands_ns + self._offset_ns() - self.believed_ns, stands_ns - self._stood_ns)
            moved_ns = max(moves, key=abs)
            if abs(moved_ns) >= MOVED_NS:
                self._drop_all()
                self._tell(moved_ns)
                self._anew(WRONG_CLOCK)

    def hold(self, trade: Trade) -> None:
        """It waits."""
        if self._waiting is not None:
            self._waiting.append(trade)

    def release(self) -> None:
        """What waited is taken."""
        if self._waiting is not None:
            waiting, self._waiting, self.holds = self._waiting, [], False
            if waiting:
                self._take(waiting)

    def overflow(self) -> None:
        """As many wait as may: they are taken, and nothing waits any more until the next question."""
        self._asked = False
        self.release()

    def resolve(self, pair: PairFeed) -> Coroutine[Any, Any, None]:
        """Asks the venue for its time until nothing is in doubt or the connection ends, and acts on it."""
        return self._resolve(pair, self._connection)

    async def _resolve(self, pair: PairFeed, connection: int) -> None:
        first = True
        try:
            while True:
                await asyncio.sleep(self._pause_s())
                if connection != self._connection:
                    return
                self._asked_ns = self._clock.monotonic_ns()
                drops, before_ns = self._drops, self._offset_ns()
                try:
                    await self._answer(pair, connection, first)
                except VenueError as error:
                    self._failed(pair, error)
                    await asyncio.sleep(error.retry_after_s if isinstance(error, RateLimited) else 0.0)
                else:
                    if connection == self._connection:
                        self._judge(drops, self._offset_ns() - before_ns)
                first = False
                if self.believed_ns is None:
                    return
        finally:
            if connection == self._connection:
                self._asking = False

    def _judge(self, drops: int, moved_ns: int) -> None:
        """The venue has told its time: what is known of it moved by so much. `drops` there were when it was asked."""
        if self.believed_ns is None and abs(moved_ns) >= MOVED_NS:
            self._tell(moved_ns)
        self.look()
        if self._drops == drops:
            self.believed_ns = None
        elif self.believed_ns is not None:
            self._believe()
        self.release()

    async def _answer(self, pair: PairFeed, connection: int, first: bool) -> None:
        """Asks; what waits does so for HOLD_S, or until there is no answer (VenueError)."""
        asking = asyncio.ensure_future(self._ask(pair))
        self._asked = first
        try:
            await asyncio.wait({asking}, timeout=HOLD_S)
            if connection == self._connection:
                self._asked = False
                if not asking.done() or asking.exception() is not None:
                    self.release()
            await asking
        finally:
            asking.cancel()

    def _pause_s(self) -> float:
        """Until the venue may be asked again."""
        return max(0, self._asked_ns + RECLOCK_NS - self._clock.monotonic_ns()) / NS_PER_S

    def _believe(self) -> None:
        """Keeps what is believed now of the venue's clock, less the monotonic one."""
        self._stood_ns = standing_ns(self._clock)
        self.believed_ns = self._stood_ns + self._offset_ns()

    def _drop_all(self) -> None:
        self._waiting, self.believed_ns, self.holds = None, None, True

    def _tell(self, moved_ns: int) -> None:
        text = f"our clock and the venue's moved apart by {moved_ns / NS_PER_S:+.1f} s; the venue's counts"
        self._say("warn", text, "")
