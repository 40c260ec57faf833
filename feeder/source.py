"""Where trades come from: the stream, joined first and then sewn to the tape over REST; polling while there is none.

The connection is judged by data, not by pings: when a pair was silent for a while, REST says whether the market was
(then nothing happens, and that is a proof of the market) or the stream was deaf (then it is opened anew). Where trades
have ids, a gap on the stream is filled over REST, that pair's trades waiting meanwhile. Decisions
that are a matter of state are `feeder.pair`'s; here is only the order of work. Times are monotonic nanoseconds unless
they say otherwise.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from core.clock import NS_PER_S, Clock
from feeder.backfill import BACKOFF_MAX_S, GIVE_UP_S, REQUESTS_AT_ONCE, Backfill, Complaints, Say, Write, backoff_s
from feeder.doubt import Doubt
from feeder.guard import Counts
from feeder.notices import IMPOSSIBLE, Notices
from feeder.packing import Record
from feeder.pair import PairFeed
from feeder.relay import Relay
from venues.errors import RateLimited, Retry, VenueError
from venues.venue import SHUTDOWN, MarketData, Notice, Trade

STEADY_S = 5.0  # a connection that held this long begins the back-off anew
STREAM_LAG_S = 3.0  # the stream may bring a trade this much later than REST
DEAF_BEFORE_POLLING = 3
DEAF_RETRY_S = 600.0  # after which a stream that was given up gets another chance
HELD_NS = 5 * NS_PER_S  # a connection that held this long is one
WATCH_S = 1.0
GAP_S = 0.05  # what is missing may come on the stream after all, from the other connection where there are two
GAP_OF_TWO_S = 1.0


class Source:
    """Feeds pairs from one venue. `write(records, received_ns)` tapes and publishes; `say(level, text, pair)` tells."""

    def __init__(
        self,
        venue: MarketData,
        pairs: Sequence[PairFeed],
        clock: Clock,
        counts: Counts,
        *,
        stream: bool,
        poll_s: float,
        silence_s: float,
        give_up_s: float = GIVE_UP_S,
        deaf_retry_s: float = DEAF_RETRY_S,
        steady_s: float = STEADY_S,
        random: Callable[[], float],
        write: Write,
        say: Say,
    ) -> None:
        self._venue = venue
        self._pairs = list(pairs)
        self._by_name = {pair.rules.pair: pair for pair in pairs}
        self._clock = clock
        self._counts = counts
        self._with_stream = stream
        self._poll_s = poll_s
        self._silence_ns = int(silence_s * NS_PER_S)
        self._random = random
        self._write = write
        self._say = say
        self._reader: asyncio.Task[None] | None = None
        self._deaf_reason = ""
        self._deaf_ns: dict[int, int] = {}  # pairs whose stream was given up, and when
        self._deaf_retry_ns = int(deaf_retry_s * NS_PER_S)
        self._steady_ns = int(steady_s * NS_PER_S)
        self._polled_ns = 0
        self._side: set[asyncio.Task[None]] = set()
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # by a task beside
        self._busy: set[int] = set()  # pairs with a task of their own
        self._filling: set[int] = set()  # pairs whose gap is being filled
        self._relay: Relay | None = None
        self._complaints = Complaints(say)
        self._rest = Backfill(
            venue,
            clock,
            self._complaints,
            poll_s=poll_s,
            give_up_s=give_up_s,
            random=random,
            write=write,
            dropped=self._dropped,
        )
        self._heard_ns = 0
        self.notices = Notices(clock, say)
        self._doubt = Doubt(
            clock, venue.clock_offset_ns, self._rest.ask, self._take, self._open_anew, self._failed, say
        )
        self.reconnects = 0

    @property
    def proof_ns(self) -> int:
        """Last proof of the market: a trade, or REST saying that there is none newer; 0: none yet."""
        return max(self._heard_ns, self._rest.proof_ns)

    @property
    def feed(self) -> str:
        """Where trades come from now: stream, poll or down."""
        if self._reader is not None:
            return "stream"
        fresh = self._polled_ns and self._clock.monotonic_ns() - self._polled_ns < (2 * self._poll_s + 5) * NS_PER_S
        return "poll" if fresh else "down"

    async def run(self) -> None:
        """Runs until cancelled; raises what only a person can mend."""
        work: list[Coroutine[Any, Any, None]] = [self._poll_forever(), self._watch_forever()]
        if self._with_stream:
            work.append(self._stream_forever())
        tasks = [asyncio.create_task(item) for item in work]
        try:
            done, _ = await asyncio.wait([*tasks, self._broken], return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            tasks += self._side
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # --- the stream ----------------------------------------------------------------------------------

    async def _stream_forever(self) -> None:
        attempt = 0
        while True:
            begun_ns = self._clock.monotonic_ns()
            try:
                await self._connection()
            except Retry as error:
                wait_s = error.retry_after_s if isinstance(error, RateLimited) else 0.0
                if self._clock.monotonic_ns() - begun_ns > self._steady_ns:
                    attempt = 0
                announced = error.code == SHUTDOWN and attempt == 0
                delay_s = max(wait_s, 0.0 if announced else backoff_s(attempt, self._random()))
                self._complaints.tell("stream", error, f"polling meanwhile; next try in {delay_s:.1f} s")
                attempt += 1
                await asyncio.sleep(delay_s)

    async def _connection(self) -> None:
        """One connection from the first frame to the last; always ends with an error."""
        pairs = self._to_join()
        if not pairs:
            await asyncio.sleep(BACKOFF_MAX_S)
            raise Retry(self._venue.name, "every pair's stream is deaf")
        relay = Relay(
            self._venue, [pair.rules for pair in pairs], self._clock, self._random, self._take, self._complaints.say
        )
        seams: list[asyncio.Task[None]] = []
        try:
            await relay.open()
            joined_ns = self._clock.monotonic_ns()
            self._doubt.joined()
            for pair in pairs:
                pair.join()  # what arrived already waits in the stream
            self._deaf_reason = ""
            seams = [asyncio.create_task(self._rest.sew(pair, joined_ns)) for pair in pairs]
            self._reader, self._relay = asyncio.create_task(relay.run()), relay
            self.reconnects += 1
            seams.append(asyncio.create_task(self._tell_connected(len(pairs), joined_ns)))
            await self._until_broken(self._reader, seams)
        finally:
            self._reader = self._relay = None
            self._doubt.parted()
            for task in seams:
                task.cancel()
            await asyncio.gather(*seams, return_exceptions=True)
            for pair in pairs:
                pair.part()
            await relay.close()

    async def _until_broken(self, reader: "asyncio.Task[None]", seams: "list[asyncio.Task[None]]") -> None:
        try:
            waiting = {reader, *seams}
            while not reader.done():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {reader}:
                    task.result()  # a seam never fails silently
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        if reader.cancelled():
            raise Retry(self._venue.name, self._deaf_reason or "the stream was given up")
        reader.result()

    def _to_join(self) -> list[PairFeed]:
        """The pairs to ask the stream for; one that was deaf gets another chance now and then."""
        now_ns = self._clock.monotonic_ns()
        for pair in self._pairs:
            if pair.deaf >= DEAF_BEFORE_POLLING and now_ns - self._deaf_ns.get(pair.number, 0) > self._deaf_retry_ns:
                pair.deaf = DEAF_BEFORE_POLLING - 1
        return [pair for pair in self._pairs if pair.deaf < DEAF_BEFORE_POLLING]

    async def _tell_connected(self, count: int, joined_ns: int) -> None:
        """Tells of a connection; after a failure not before it has brought something or held for a while."""
        while self._complaints.about("stream") and self._heard_ns < joined_ns:
            if self._clock.monotonic_ns() - joined_ns > HELD_NS:
                break
            await asyncio.sleep(0.1)
        self._complaints.well("stream")
        again = "" if self.reconnects == 1 else f" (connection {self.reconnects})"
        self._say("info", f"connected to {self._venue.name}: stream of {count} pair{'s' * (count > 1)}{again}", "")

    def _take(self, items: Sequence[Trade | Notice]) -> bool:
        """Takes what came; does it announce the connection's end?"""
        ends = False
        now_ns = self._clock.monotonic_ns()
        offset_ns = self._venue.clock_offset_ns()
        records: list[Record] = []
        received_ns = 0
        pair: PairFeed | None = None
        counts, doubt = self._counts, self._doubt
        if doubt.believed_ns is not None:
            doubt.look()
        stale, untimely, impossible = counts.stale, counts.untimely, counts.impossible
        for item in items:
            if isinstance(item, Notice):
                ends = self.notices.take(item) or ends
                continue
            if doubt.holds:
                doubt.hold(item)
                continue
            known = self._by_name.get(item.pair)
            if known is None:
                continue
            pair = known
            level = pair.guard.level
            fresh = pair.stream(item, offset_ns)
            if len(fresh) == 1:
                records.append(fresh[0])
            else:
                records += fresh
                if pair.gap and pair.number not in self._filling:
                    self._spawn(self._filling, pair, self._fill(pair))
                if level and not level / 2 <= (pair.guard.level or level) <= level * 2:
                    text = f"the price went from {level:g} to {pair.guard.level:g}: three prints in a row agree on it"
                    self._say("warn", text, pair.rules.pair)
                if counts.impossible > impossible:  # nothing was heard of the market then
                    impossible = counts.impossible
                    self.notices.take(Notice(IMPOSSIBLE, f"{_shown(item, offset_ns)}; dropped"))
                    untimely = self._doubted(pair, untimely)
                    continue
            received_ns = received_ns or item.received_ns
            pair.heard_ns = now_ns
            pair.deaf = 0
            if self._deaf_ns and self._deaf_ns.pop(pair.number, 0):
                self._say("info", "the stream brings trades again", pair.rules.pair)
        if received_ns:
            self._heard_ns = now_ns
        if records:
            self._write(records, received_ns)
        if pair is not None:
            self._doubted(pair, untimely)
            if counts.stale > stale and doubt.late():
                self._spawn(set(), pair, doubt.resolve(pair))
        if doubt.full:
            doubt.overflow()
        return ends

    def _doubted(self, pair: PairFeed, untimely: int) -> int:
        """Trades may have been dropped for their time since there were `untimely` such; how many there are now."""
        if self._counts.untimely > untimely:
            self._dropped(pair)
        return self._counts.untimely

    def _dropped(self, pair: PairFeed) -> None:
        """Trades were dropped for their time: by a clock that is wrong? Without a stream REST has just told it."""
        if self._reader is not None and pair.streaming and self._doubt.dropped():
            self._spawn(set(), pair, self._doubt.resolve(pair))

    async def _fill(self, pair: PairFeed) -> None:
        """Trades are missing on the stream: REST has them, unless they come after all."""
        overlapping = self._relay is not None and self._relay.overlapping
        await asyncio.sleep(GAP_OF_TWO_S if overlapping and not pair.anew else GAP_S)
        while pair.gap:  # or another one, of another connection
            await self._rest.sew(pair, None, gap=True)
            await asyncio.sleep(GAP_S)

    def _open_anew(self, reason: str) -> None:
        """Ends the connection, so that another one begins."""
        self._deaf_reason = reason
        if self._reader is not None:
            self._reader.cancel()

    # --- polling -------------------------------------------------------------------------------------

    async def _poll_forever(self) -> None:
        while True:
            begun_ns = self._clock.monotonic_ns()
            pairs = [pair for pair in self._pairs if not pair.streaming]
            if pairs and not (self._with_stream and self.reconnects == 0 and not self._complaints):
                await asyncio.gather(*(self._poll(pair) for pair in pairs))
            spent_s = (self._clock.monotonic_ns() - begun_ns) / NS_PER_S
            await asyncio.sleep(max(0.1, self._poll_s - spent_s))

    async def _poll(self, pair: PairFeed) -> None:
        try:
            await self._rest.poll(pair)
            self._polled_ns = self._clock.monotonic_ns()
        except VenueError as error:
            self._failed(pair, error)

    def _failed(self, pair: PairFeed, error: VenueError) -> None:
        again = "" if isinstance(error, RateLimited) else f"asked again every {self._poll_s:g} s"
        self._complaints.tell(pair.rules.pair, error, again)

    # --- watching ------------------------------------------------------------------------------------

    async def _watch_forever(self) -> None:
        while True:
            await asyncio.sleep(min(WATCH_S, self._silence_ns / NS_PER_S / 2))
            now_ns = self._clock.monotonic_ns()
            live = [pair for pair in self._pairs if pair.live and pair.number not in self._busy]
            for pair in live:
                if pair.needs_history:
                    self._aside(pair, self._rest.sew(pair, None))
                elif pair.guard.held():
                    self._aside(pair, self._confirm(pair))
            silent = [
                pair for pair in live if now_ns - pair.heard_ns > self._silence_ns and pair.number not in self._busy
            ]
            silent.sort(key=lambda pair: pair.heard_ns)
            for pair in silent[: max(1, REQUESTS_AT_ONCE // 2)]:
                self._aside(pair, self._check(pair))

    def _aside(self, pair: PairFeed, work: Coroutine[Any, Any, None]) -> None:
        """Runs something for one pair beside everything else, one thing at a time."""
        self._spawn(self._busy, pair, work)

    def _spawn(self, busy: set[int], pair: PairFeed, work: Coroutine[Any, Any, None]) -> None:
        busy.add(pair.number)

        async def run() -> None:
            try:
                await work
            except VenueError as error:
                self._failed(pair, error)
                await asyncio.sleep(self._poll_s)
            finally:
                busy.discard(pair.number)

        task = asyncio.create_task(run())
        self._side.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._side.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._broken.done():
            self._broken.set_exception(error)

    async def _check(self, pair: PairFeed) -> None:
        """A silent pair: quiet market, or deaf stream?"""
        answer = await self._rest.ask(pair)
        if pair.live and pair.brings(answer):
            await asyncio.sleep(STREAM_LAG_S)  # the stream may just be a little later
        if not pair.live:
            return
        now_ns = self._clock.monotonic_ns()
        if not pair.brings(answer):
            pair.heard_ns = max(now_ns - self._silence_ns // 2, pair.heard_ns)
            self._heard_ns = now_ns
            pair.deaf = 0
            self._complaints.well(pair.rules.pair, "REST answers again")
            return
        if pair.missed_at_seam(answer):
            pair.open_gap()
            self._spawn(self._filling, pair, self._fill(pair))
            return
        pair.deaf += 1
        if pair.deaf >= DEAF_BEFORE_POLLING:
            if pair.number not in self._deaf_ns:
                minutes = self._deaf_retry_ns / NS_PER_S / 60
                text = f"the stream stays deaf for this pair: it is polled, and tried again each {minutes:.0f} minutes"
                self._say("error", text, pair.rules.pair)
            self._deaf_ns[pair.number] = now_ns
            pair.part()
        self._open_anew(f"{pair.rules.pair}: the stream is deaf, REST has trades that it did not bring")

    async def _confirm(self, pair: PairFeed) -> None:
        """Prints are held back as impossible: does REST go on at their level?"""
        answer = await self._rest.ask(pair)
        if pair.guard.confirmed_by(answer.prints):
            records = list(pair.guard.release())
            self._say(
                "warn", f"{len(records)} prints far from the last price were confirmed over REST", pair.rules.pair
            )
            self._write(records, 0)
        else:
            await asyncio.sleep(self._poll_s)


def _shown(trade: Trade, offset_ns: int) -> str:
    """A trade that cannot be, for people."""
    ahead_s = (trade.time_ns - trade.received_ns - offset_ns) / NS_PER_S
    when = f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the venue's clock"
    return (
        f"{trade.pair} price {trade.price:g} quantity {trade.quantity:g}, {when if trade.time_ns else 'without time'}"
    )
