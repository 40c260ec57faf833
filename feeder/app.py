"""The feeder: the venue's trades onto the tape and to everybody, in order, each exactly once."""

import asyncio
import random
from collections.abc import Sequence

import msgspec

from bus.frames import TRADE
from bus.messages import Start, encode
from bus.publisher import Facts, open_publisher
from bus.records import HOLE_TAIL_LOST, layout_hash
from bus.tape import NO_TAPE, TapeReader, TapeWriter, boot_id
from core import disk
from core.clock import NS_PER_MS, NS_PER_S
from core.errors import MisconfiguredError
from core.settings import Settings
from core.stage import Context
from feeder import tail
from feeder.backfill import BACKOFF_MAX_S, TELL_AT_MOST, backoff_s
from feeder.desk import Desk, known_rules, pair_table, plain
from feeder.guard import Counts
from feeder.numbered import NumberedPair
from feeder.packing import hole
from feeder.pair import PairFeed
from feeder.source import Source
from venues.choose import market_data
from venues.errors import Misconfigured, RateLimited, VenueError
from venues.venue import MarketData, Rules

RULES_EVERY_S = 300.0
PRUNE_EVERY_S = 60.0
LOOK_EVERY_S = 1.0  # at the free disk
SILENCE_MAX_S = 10.0
TRIES_BEFORE_TAPE = 3
FAREWELL_S = 0.3  # for the last event to reach who listens
MB = 1024 * 1024


class Feeder:
    """The stage: its parts and what runs beside the source."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.settings: Settings = context.settings
        self.counts = Counts()
        self.source: Source | None = None
        self.venue: MarketData = market_data(self.settings, context.clock)
        context.on_stop(self.venue.close)
        self.tape = TapeWriter(context.book_dir / "tape", context.clock, boot_id())
        context.on_stop(self.tape.close)
        epoch, _ = self.tape.open()
        self.reader = TapeReader(self.tape.folder, epoch)
        context.on_stop(self.reader.close)
        self.tape_mb = 0.0
        self._unpruned = ""  # why the tape could not be pruned, told once
        self.desk = Desk(context, self.tape, self.reader, self.counts)
        self.publisher = open_publisher(context, layout_hash(), self.facts, "arrival_to_publish")
        self.desk.begin(self.publisher)
        self._offer()
        self.prune()
        context.loop.every(LOOK_EVERY_S, self.desk.look)
        context.loop.every(PRUNE_EVERY_S, self.prune)

    async def run(self) -> None:
        """Until cancelled."""
        self._tell_tape()
        rules = await self._rules()
        self._warn_inactive(rules)
        self.desk.start(self._start_body(rules))
        self._offer()
        pairs = self._pairs(rules)
        settings = self.settings
        self.source = Source(
            self.venue,
            pairs,
            self.context.clock,
            self.counts,
            stream=settings.feed == "stream",
            poll_s=settings.poll_seconds,
            silence_s=min(SILENCE_MAX_S, settings.stale_seconds / 3),
            random=random.random,
            write=self.desk.write,
            say=self.say,
        )
        work = [asyncio.create_task(self.source.run()), asyncio.create_task(self._refresh_rules(pairs))]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    def say(self, level: str, text: str, pair: str = "") -> None:
        """Tells people; what is only for a close look goes to the log alone."""
        if level == "debug":
            self.context.log.debug("%s", f"{pair}: {text}" if pair else text)
        else:
            self.context.event(level, text, pair)

    def facts(self) -> Facts:
        """For the heartbeat."""
        source, counts = self.source, self.counts
        now_ns = self.context.clock.monotonic_ns()
        proof_ns = source.proof_ns if source is not None else 0
        return {
            "venue": self.settings.venue,
            "market_age_ms": (now_ns - proof_ns) // NS_PER_MS if proof_ns else None,
            "last_number": self.desk.next_number - 1,
            "tape_mb": round(self.tape_mb, 1),
            "disk_free_mb": self.desk.free // disk.MB,
            "untaped": self.desk.untaped,
            "feed": source.feed if source is not None else "down",
            "trades": counts.trades,
            "late": counts.late,
            "stale": counts.stale,
            "dropped": counts.dropped,
            "held": counts.held,
            "off_grid": counts.off_grid,
            "repeats": counts.repeats,
            "gaps": counts.gaps,
            "unknown_frames": source.notices.unknown_frames if source is not None else 0,
            "reconnects": max(0, source.reconnects - 1) if source is not None else 0,
            "lost": counts.lost,
        }

    def prune(self) -> None:
        """Drops what is older or more than the settings keep."""
        keep_ns = int(self.settings.tape_keep_hours * 3600 * NS_PER_S)
        try:
            freed = self.tape.prune(keep_ns, self.settings.tape_max_mb * MB)
            self.tape_mb = self.tape.size_bytes() / MB
        except OSError as error:
            text = f"the tape cannot be pruned: {error.strerror} ({error.filename})"
            self.say("debug" if text == self._unpruned else "warn", text)
            self._unpruned = text
            return
        self._unpruned = ""
        if freed:
            self.say("info", f"{freed / MB:.1f} MB of old tape removed")

    def _offer(self) -> None:
        """Offers the tape for replay; and, once it has begun, the Start in force to who joins where none is kept."""
        desk = self.desk
        self.publisher.topic(
            TRADE,
            self.tape.epoch,
            desk.next_number - 1,
            replay=desk.replay,
            snapshot=None if desk.body is None else lambda: encode(desk.body),
        )

    def _tell_tape(self) -> None:
        because, cut = self.tape.new_epoch_because, self.tape.cut_bytes
        if not because:
            self.say("start", f"goes on with the tape at record {self.tape.next_number}")
        elif because == NO_TAPE:
            self.say("start", "begins a tape")
        else:
            self.say("warn", f"begins a new tape: {because}")
        if cut:
            self.say("warn", f"half a record ({cut} bytes) was cut off the tape's end")

    async def _rules(self) -> list[Rules]:
        """The markets of PAIRS; those of the tape where the venue cannot be asked for now."""
        attempt = 0
        told: set[str] = set()  # one line a reason, however often it comes again
        while True:
            try:
                rules = self._resolved(await self.venue.markets())
                if told:
                    self.say("info", f"{self.venue.name} tells its markets again")
                return rules
            except Misconfigured:
                raise
            except VenueError as error:  # a refusal too: an address that is wrong now may be right tomorrow
                delay_s = error.retry_after_s if isinstance(error, RateLimited) else backoff_s(attempt, random.random())
                known = known_rules(self.desk.body, self.settings.pairs) if attempt >= TRIES_BEFORE_TAPE else []
                if known:
                    self.say("warn", f"{error}; going on with the market rules that the tape has")
                    return known
                # The sandbox may be starting beside us: that is no cause for alarm yet.
                expected = self.settings.venue == "sandbox" and attempt < TRIES_BEFORE_TAPE
                news = not expected and error.text not in told and len(told) < TELL_AT_MOST
                if news:
                    told.add(error.text)
                again = "" if isinstance(error, RateLimited) else f"; asked again, at least every {BACKOFF_MAX_S:.0f} s"
                self.say("warn" if news else "debug", f"{error}{again}")
                attempt += 1
                await asyncio.sleep(delay_s)

    def _resolved(self, markets: Sequence[Rules]) -> list[Rules]:
        """The markets of PAIRS; where the venue leaves out one that it had before, those of the tape."""
        try:
            return list(self.venue.resolve(self.settings.pairs, markets))
        except Misconfigured as error:
            known = known_rules(self.desk.body, self.settings.pairs)
            if not known:
                raise
            self.say("warn", f"{error}; going on with the market rules that the tape has")
            return known

    def _warn_inactive(self, rules: Sequence[Rules]) -> None:
        for item in rules:
            if not item.active:
                text = "the venue does not trade this market now: wait for it, or name another in PAIRS"
                self.say("warn", text, item.pair)

    def _start_body(self, rules: Sequence[Rules]) -> Start:
        settings = self.settings
        taker, maker = self.venue.fees_bps(rules[0].quote)
        before = self.desk.body.markets if self.desk.body is not None else []
        return Start(
            venue=settings.venue,
            book=self.context.book_dir.name,
            markets=pair_table(before, rules),
            taker_fee_bps=plain(taker if settings.taker_fee_bps is None else settings.taker_fee_bps),
            maker_fee_bps=plain(maker if settings.maker_fee_bps is None else settings.maker_fee_bps),
            tape_clock=self.venue.tape_clock,
            time_ns=self.context.clock.wall_ns() + self.venue.clock_offset_ns(),
        )

    def _pairs(self, rules: Sequence[Rules]) -> list[PairFeed]:
        settings = self.settings
        assert self.desk.body is not None
        numbers = {item.pair: place for place, item in enumerate(self.desk.body.markets)}
        stale_ns = int(settings.stale_seconds * NS_PER_S)
        timeframe_ns = settings.timeframe_ms * NS_PER_MS
        kind = NumberedPair if self.venue.capabilities.trade_ids else PairFeed
        pairs = [
            kind(numbers[item.pair], item, timeframe_ns, stale_ns, self.venue.tape_clock, self.counts) for item in rules
        ]
        if self.tape.new_epoch_because:
            if self.tape.new_epoch_because != NO_TAPE:
                now_ns = self.context.clock.wall_ns()
                self.desk.write([hole(pair.number, HOLE_TAIL_LOST, now_ns, now_ns) for pair in pairs])
        else:
            tail.restore(self.reader, pairs, self.publisher.breathe)
        return pairs

    async def _refresh_rules(self, pairs: Sequence[PairFeed]) -> None:
        """Asks for the market rules now and then; what changed goes out as a new START."""
        while True:
            await asyncio.sleep(RULES_EVERY_S)
            try:
                known = {item.pair: item for item in await self.venue.markets()}
            except VenueError as error:
                self.say("debug", str(error))
                continue
            changed = [pair for pair in pairs if known.get(pair.rules.pair, pair.rules) != pair.rules]
            for pair in changed:
                self._change(pair, known[pair.rules.pair])
            body = self._start_body([pair.rules for pair in pairs])
            if changed and self.desk.body is not None and body.markets != self.desk.body.markets:
                self.desk.start(body)

    def _change(self, pair: PairFeed, rules: Rules) -> None:
        """Takes up changed rules; the largest market order moves all the time and is no news."""
        before = pair.rules
        if rules.active != before.active:
            self.say("warn", f"the venue {'trades' if rules.active else 'does not trade'} this market now", rules.pair)
        elif msgspec.structs.replace(rules, max_quantity=before.max_quantity) != before:
            self.say("info", "the market's rules changed", rules.pair)
        pair.change_rules(rules)


async def main(context: Context) -> None:
    """The stage's main coroutine."""
    feeder = Feeder(context)
    try:
        await feeder.run()
    except MisconfiguredError as error:
        feeder.publisher.event("error", str(error))  # for the page; the log gets it at the end of the stage
        await asyncio.sleep(FAREWELL_S)
        raise
