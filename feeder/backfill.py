"""What REST adds to the tape: at start, after a cut, while there is no stream; asked until the pair is settled.

The order of work with a stream: joined first (its trades are buffered), then the answer, then both are put together.
Where trades have no ids joins are not acknowledged either, so an answer counts as reaching the stream only where the
stream's beginning stands in it, or where it was asked for a while after the join. With ids it is seen what is missing:
it is asked for until it is there, or time is up. Times are monotonic nanoseconds unless they say otherwise.
"""

import asyncio
from collections.abc import Callable, Sequence

from bus.records import BACKFILL
from core.clock import NS_PER_S, Clock, standing_ns
from feeder import history
from feeder.packing import Record
from feeder.pair import Answer, PairFeed
from feeder.sequence import Seam, Sequel
from venues.errors import RateLimited, Rejected, Retry, VenueError
from venues.venue import Bar, MarketData

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 30.0
SETTLE_NS = NS_PER_S  # an answer asked for this long after the join is sure to reach it
GIVE_UP_S = 10.0  # how long trades are held back for a REST answer
QUEUE_S = 30.0  # and, of a pair that may be held by somebody, for its turn to ask
LAGGING_TRIES = 4
REQUESTS_AT_ONCE = 4
SET_NS = NS_PER_S // 2
TELL_AT_MOST = 3  # failures at one time

Write = Callable[[Sequence[Record], int], None]
Say = Callable[[str, str, str], None]


def backoff_s(attempt: int, random: float) -> float:
    """Seconds before attempt number `attempt` (from 0): doubling, capped, and spread by `random` in [0, 1)."""
    return min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(attempt, 16)) * (0.5 + random / 2)


class Complaints:
    """Tells each failure once until it is over, and of many pairs only the first few: they mostly have one reason."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self._failing: dict[str, bool] = {}  # pairs (or "stream") that fail, and whether that was told

    def __bool__(self) -> bool:
        return bool(self._failing)

    def about(self, what: str) -> bool:
        """Does it fail now?"""
        return what in self._failing

    def tell(self, what: str, error: VenueError, then: str = "") -> None:
        """Something failed; who looks closely hears of it each time."""
        text = f"{error}; {then}" if then else str(error)
        few = what == "stream" or len(self._failing) < TELL_AT_MOST
        news = few and what not in self._failing
        self._failing.setdefault(what, news)
        self.say("warn" if news else "debug", text, "" if what == "stream" else what)

    def well(self, what: str, text: str = "") -> None:
        """A failure is over; said where it was told."""
        if self._failing.pop(what, False) and text:
            self.say("info", text, what)


class Backfill:
    """Asks one venue over REST for the pairs, a few at a time."""

    def __init__(
        self,
        venue: MarketData,
        clock: Clock,
        complaints: Complaints,
        *,
        poll_s: float,
        give_up_s: float,
        random: Callable[[], float],
        write: Write,
        dropped: Callable[[PairFeed], None],
    ) -> None:
        """`dropped(pair)` is told where trades were dropped for their time."""
        self._venue = venue
        self._clock = clock
        self._complaints = complaints
        self._dropped = dropped
        self._poll_s = poll_s
        self._give_up_ns = int(give_up_s * NS_PER_S)
        self._random = random
        self._write = write
        self._slots = asyncio.Semaphore(REQUESTS_AT_ONCE)
        self._refused: dict[int, Rejected] = {}  # why a pair has no candles
        self._partly: set[str] = set()  # pairs whose last answer had rows that are no trades
        self._jumps: dict[str, int] = {}  # how often a pair's ids went on after a break that was none
        self.proof_ns = 0  # last time that REST proved the market

    async def poll(self, pair: PairFeed) -> None:
        """Asks once for a pair that has no stream."""
        async with self._slots:
            if not pair.streaming:
                await self._settle(pair, None, 0)

    async def sew(self, pair: PairFeed, joined_ns: int | None, gap: bool = False) -> None:
        """Asks until the pair is settled; holds trades back no longer than `give_up_s` from its first turn on.

        `gap`: it is about one, and over when there is none any more.
        """
        attempt = failures = begun_ns = 0
        joins = pair.joins
        while True:
            delay_s = 0.3
            last_id = pair.last_id
            try:
                await self._turn(pair)
            except TimeoutError:
                if pair.joins != joins:
                    return
                if not pair.buffer:
                    continue  # nothing is held back
                self._give_up(pair, "too many pairs wait for REST")
                return
            try:
                if pair.joins != joins or (pair.live and not pair.needs_history):
                    return  # another connection has its own seam; or the stream went on where the tape ends
                begun_ns = begun_ns or self._clock.monotonic_ns()
                if await self._settle(pair, joined_ns, attempt):
                    return
                failures = 0
                if pair.last_id != last_id:  # a long way, and we are getting on
                    begun_ns, delay_s = self._clock.monotonic_ns(), 0.0
            except VenueError as error:
                delay_s = self._pause_s(error, failures)
                failures += 1
                again = "" if isinstance(error, RateLimited) else f"asked again in {delay_s:.1f} s"
                self._complaints.tell(pair.rules.pair, error, again)
            finally:
                self._slots.release()
            if pair.joins != joins or (gap and not pair.gap):
                return
            waited_ns = self._clock.monotonic_ns() - begun_ns + int(delay_s * NS_PER_S)
            if not pair.live and pair.streaming and waited_ns > self._give_up_ns:
                self._give_up(pair, "REST does not answer")
                return
            attempt += 1
            await asyncio.sleep(delay_s)

    async def _turn(self, pair: PairFeed) -> None:
        """Waits for a turn to ask. Raises TimeoutError where a pair's trades would be held back for too long.

        A pair that is new has nothing to lose: of three hundred most wait for minutes at a venue's limits.
        """
        held_back = pair.streaming and pair.on_tape and not pair.live
        async with asyncio.timeout(QUEUE_S if held_back else None):
            await self._slots.acquire()

    def _give_up(self, pair: PairFeed, why: str) -> None:
        """Goes on with the stream alone; the watch sees to the history."""
        if pair.live or not pair.streaming:
            return
        self._complaints.say("warn", f"{why}: going on with the stream, what came before is a hole", pair.rules.pair)
        untimely = pair.untimely
        self._write(pair.abandon(self._venue.clock_offset_ns(), self._venue_ns(pair)), 0)
        if pair.untimely > untimely:
            self._dropped(pair)

    def _pause_s(self, error: VenueError, attempt: int) -> float:
        """How long to wait after a failure."""
        if isinstance(error, RateLimited):
            return error.retry_after_s
        return backoff_s(attempt, self._random()) if isinstance(error, Retry) else BACKOFF_MAX_S

    async def _settle(self, pair: PairFeed, joined_ns: int | None, attempt: int) -> bool:
        """Asks once; False where it must be asked again. `joined_ns` is None where there is no stream."""
        streaming, joins, buffered = pair.streaming, pair.joins, bool(pair.buffer)
        asked_ns, stood_ns = self._clock.monotonic_ns(), standing_ns(self._clock)
        answer = await self.ask(pair)
        plan = pair.plan(answer)
        if isinstance(plan, Sequel) and streaming and not pair.live and not self._may_settle(pair, plan):
            return False
        bars = None
        if pair.wants_history(answer, plan):
            bars = await self._bars(pair, answer)
            plan = pair.plan(answer)  # the stream may have begun meanwhile
            bars = bars if pair.wants_history(answer, plan) else None
        if pair.streaming != streaming or pair.joins != joins:
            return True  # connected or cut while we asked: another answer decides
        if pair.live and bars is None:
            return True
        if isinstance(plan, Sequel):
            if streaming and not pair.live and not self._may_settle(pair, plan):
                return False
        elif joined_ns is not None and not pair.live and not plan.sealed and not pair.tape_clock:
            if asked_ns - joined_ns < SETTLE_NS:
                return False
            if buffered and attempt < LAGGING_TRIES:
                return False  # it lags behind the stream
        if abs(standing_ns(self._clock) - stood_ns) >= SET_NS:
            return False  # our clock was set meanwhile: what is known of the venue's is of before
        self._commit(pair, answer, plan, bars, asked_ns)
        return pair.live or not streaming

    def _may_settle(self, pair: PairFeed, plan: Sequel) -> bool:
        """May this answer be put in? It brings us on, or nothing is missing."""
        if pair.anew and plan.kind == "behind":
            return False  # older than what made us ask
        if plan.kind in ("joined", "behind"):
            return plan.sealed or bool(plan.places) or plan.ready > 0
        pair.from_newest = not plan.sealed  # what lies before is lost anyhow
        return plan.sealed

    def _commit(self, pair: PairFeed, answer: Answer, plan: Seam, bars: Sequence[Bar] | None, asked_ns: int) -> None:
        # Polling without a break is a feed like any other; what an interruption left to REST decides nothing.
        unbroken = (
            not pair.streaming and pair.proven_ns and asked_ns - pair.proven_ns < (2 * self._poll_s + 3) * NS_PER_S
        )
        flags = 0 if unbroken else BACKFILL
        if plan.kind == "hole" and pair.on_tape and not pair.live:
            self._complaints.say(
                "warn",
                "the venue's recent trades do not reach back to the tape's end: a hole, history anew",
                pair.rules.pair,
            )
        if plan.kind == "restarted":
            self._tell_anew(pair, answer)
        elif pair.anew:
            text = "the stream brought younger trades with lower ids, which REST does not know: dropped"
            self._complaints.say("warn", text, pair.rules.pair)
        if isinstance(plan, Sequel) and plan.jumps:
            self._tell_jump(pair, plan)
        if bars is not None and not bars and not pair.tape_clock:  # a recording has no past
            self._tell_no_bars(pair)
        offset_ns = self._venue.clock_offset_ns()
        untimely = pair.untimely
        records = pair.settle(answer, plan, bars, flags, self._venue_ns(pair), offset_ns)
        now_ns = self._clock.monotonic_ns()
        pair.heard_ns = pair.proven_ns = self.proof_ns = now_ns
        self._complaints.well(pair.rules.pair, "REST answers again")
        if records:
            self._write(records, 0)
        if pair.untimely > untimely:
            self._dropped(pair)

    def _tell_anew(self, pair: PairFeed, answer: Answer) -> None:
        newest, before = (answer.rows[-1][4] if answer.rows else 0), pair.last_id
        text = f"the venue counts its trades anew ({newest} after {before}): a hole, history anew"
        self._complaints.say("warn", text, pair.rules.pair)

    def _tell_jump(self, pair: PairFeed, plan: Sequel) -> None:
        """Tells the first of a pair, then ever more rarely."""
        count = self._jumps[pair.rules.pair] = self._jumps.get(pair.rules.pair, 0) + 1
        if str(count).rstrip("0") == "1":
            last, following = plan.jumps[0]
            text = f"trade ids go on at {following} after {last}, and the venue has nothing between them"
            self._complaints.say("warn", f"{text} ({count} such so far)", pair.rules.pair)

    async def ask(self, pair: PairFeed) -> Answer:
        """The recent trades; back to the tape's last one where the venue can, unless a history is due anyhow."""
        since = pair.last_trade()
        if pair.needs_history or pair.from_newest or pair.anew or pair.too_long(self._venue_ns(pair)):
            since = None
        found = await self._venue.recent_trades(pair.rules, since)
        if since is not None and not found.trades:  # a venue that counts anew does not know it
            found = await self._venue.recent_trades(pair.rules)
        answer = pair.read(found)
        self._note_bad_rows(pair.rules.pair, found.bad_rows + len(found.trades) - len(answer.prints))
        if not answer.rows and pair.tail:
            raise Retry(self._venue.name, f"{pair.rules.pair}: an empty list of trades, though there were some before")
        return answer

    def _note_bad_rows(self, name: str, count: int) -> None:
        """Told when it begins; the rest of the answer is used."""
        if count and name not in self._partly:
            self._complaints.say("warn", f"{count} rows of the venue's recent trades are no trades: left out", name)
        (self._partly.add if count else self._partly.discard)(name)

    async def _bars(self, pair: PairFeed, answer: Answer) -> list[Bar]:
        newest_ns = self._venue_ns(pair)
        if newest_ns is None:
            known = [item.row[0] for item in (*answer.prints[-1:], *pair.buffer[-1:])]
            newest_ns = max(known, default=0)
        if not newest_ns:
            return []
        try:
            return await history.fetch_bars(
                self._venue, pair.rules, pair.timeframe_ns, newest_ns, answer.prints, answer.complete
            )
        except Rejected as error:
            self._refused[pair.number] = error
            return []

    def _tell_no_bars(self, pair: PairFeed) -> None:
        refused = self._refused.pop(pair.number, None)
        level = "info" if refused is None else "warn"
        why = refused or f"{self._venue.name} has no candles of this market"
        self._complaints.say(level, f"{why}: the warm-up waits for candles of live trades", pair.rules.pair)

    def _venue_ns(self, pair: PairFeed) -> int | None:
        """The venue's clock now; None where it is a player's."""
        return None if pair.tape_clock else self._clock.wall_ns() + self._venue.clock_offset_ns()
