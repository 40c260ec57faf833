"""Asking a venue for its past, answer by answer, onto a tape; what may pass is waited for, what was fetched is kept.

* A ban or a full limit is waited out for as long as is told, and a person hears of it.
* What may pass by itself is asked again after 0.5, 1, 2 … 30 s, TRIES times in a row, and then ends the fetch.
* What lies before the latest trades of a venue that serves no others is a HOLE with candles of TIMEFRAME behind it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from backtest.bad_data import BadFile
from backtest.fetch import NO_END, TAIL, Judge, Numbered, Span, Unnumbered, pieces
from backtest.fetch_tape import Contents, GrowingTape, begin, begun_with
from backtest.progress import Progress
from backtest.tapes import FILE_BOOK
from bus.messages import Market, Start
from core.clock import NS_PER_MS, NS_PER_S, Clock, iso_utc
from core.money import plain
from core.settings import Settings
from feeder.history import aggregate, interval_for
from feeder.packing import pack
from venues.errors import RateLimited, Retry
from venues.venue import MarketData, PastTrades, Rules, TradesAnswer

T = TypeVar("T")
Pause = Callable[[float], Awaitable[None]]
Begin = Callable[[int | None, int], Progress]

FIRST_TRIES = 4  # before anything came
TRIES = 14  # after that: four minutes
BACKOFF_S, BACKOFF_MAX_S = 0.5, 30.0
LATE_BEGIN_NS = 60 * NS_PER_S  # a first trade so much behind --from is told


class Wanted(NamedTuple):
    """What is fetched where to; ns of the venue's clock."""

    out: Path
    from_ns: int
    to_ns: int | None  # None: up to now


class Fetched(NamedTuple):
    """What is on the tape, how many trades of it are new, and what else a person must know."""

    contents: Contents
    new: int
    notes: list[str]


class Fetching:
    """One fetch from one venue of the first of PAIRS."""

    def __init__(
        self,
        venue: MarketData,
        settings: Settings,
        clock: Clock,
        progress: Begin,
        say: Callable[[str], None],
        pause: Pause = asyncio.sleep,
    ) -> None:
        """`progress` begins one, of (the span in ms, None where it has no end; how much of it was there before);
        `say` tells a person at once, `pause` waits for seconds."""
        self._venue = venue
        self._settings = settings
        self._clock = clock
        self._progress = progress
        self._say = say
        self._pause = pause
        self._tries = FIRST_TRIES
        self._notes: list[str] = []

    async def run(self, wanted: Wanted) -> Fetched:
        """All of it. Raises MisconfiguredError for what a person must mend, BotError for what did not pass."""
        found = begun_with(wanted.out)
        if found is not None:
            _check(found, wanted, self._settings.venue)
        markets = await self._ask(self._venue.markets)
        rules = self._venue.resolve(self._settings.pairs[:1], markets)[0]
        span = self._span(wanted)
        if found is None:
            begin(wanted.out, self._start(rules, wanted.from_ns), self._clock.wall_ns())
        else:
            _check_market(found.markets[0], _market(rules), wanted.out)
        self._tries = TRIES
        with GrowingTape(wanted.out) as tape:
            if tape.cut_bytes:
                self._notes.append(f"{tape.cut_bytes} bytes at the end of {wanted.out.name} were no record: cut off")
            before = tape.contents()
            judge = Judge(rules, self._settings.timeframe_ms * NS_PER_MS)
            total_ms = None if span.to_ns == NO_END else (span.to_ns - span.from_ns) // NS_PER_MS
            with self._progress(total_ms, max(0, before.last_ns - span.from_ns) // NS_PER_MS) as progress:
                if isinstance(self._venue, PastTrades):
                    await self._all(self._venue, rules, judge, span, tape, progress)
                else:
                    await self._latest(rules, judge, span, tape, progress)
            after = tape.contents()
        self._notes += judge.notes()
        if not after.trades:
            self._notes.append(f"{self._venue.name} has no trade of that time")
        if after.trades and not after.holes and after.first_ns - span.from_ns > LATE_BEGIN_NS:
            self._notes.append(f"the venue's first trade since --from is of {iso_utc(after.first_ns // NS_PER_MS)}")
        return Fetched(after, after.trades - before.trades, self._notes)

    # --- a venue that serves every trade -------------------------------------------------------------

    async def _all(
        self, venue: PastTrades, rules: Rules, judge: Judge, span: Span, tape: GrowingTape, progress: Progress
    ) -> None:
        tape.drop_last_holes()
        way = Numbered(judge, span, tape.tuples(len(tape) - TAIL, len(tape)))
        begun_ns, first = self._clock.monotonic_ns(), len(tape)
        while not way.ended:
            await self._ask(partial(self._answer, venue, rules, way, span, tape))
            passed_s = max(1e-3, (self._clock.monotonic_ns() - begun_ns) / NS_PER_S)
            done_ns = min(way.last.time_ns, span.to_ns) if way.last is not None else span.from_ns
            count = len(tape) - first
            more = f"{count:,} trades, up to {iso_utc(done_ns // NS_PER_MS)}, {count / passed_s:,.0f}/s"
            progress.update(max(0, done_ns - span.from_ns) // NS_PER_MS, more)
        if way.missing:
            self._notes.append(f"{way.missing} ids between these trades belong to none: the venue skipped them")

    async def _answer(self, venue: PastTrades, rules: Rules, way: Numbered, span: Span, tape: GrowingTape) -> None:
        """One answer onto the tape."""
        answer = await venue.past_trades(rules, span.from_ns, way.last)
        tape.append(pack(way.take(answer, self._venue.name, self._venue_ns())))

    # --- a venue that serves its latest trades -------------------------------------------------------

    async def _latest(self, rules: Rules, judge: Judge, span: Span, tape: GrowingTape, progress: Progress) -> None:
        place = tape.open_hole()
        open_hole = None if place is None else tape.tuples(place, place + 1)[0]
        ends = tape.tuples(0, TAIL), tape.tuples(len(tape) - TAIL, len(tape))
        way = Unnumbered(judge, span, ends, open_hole)
        answer = await self._ask(partial(self._recent, rules, way))
        judge.counts.unreadable += answer.bad_rows
        plan = way.plan(answer, judge.prints(answer.trades, self._venue_ns()))
        if plan.hole is not None:
            if place is not None:
                tape.end_hole(place, plan.hole[1])
            else:
                tape.append(pack([judge.hole(*plan.hole)]))
            until = iso_utc(plan.hole[1] // NS_PER_MS)
            reach = self._venue.capabilities.recent_trades_max
            self._notes.append(
                f"{self._venue.name} serves its latest {reach} trades only: what lies before {until} is a hole"
            )
        if plan.candles is not None:
            await self._candles(rules, judge, plan.candles, span, tape, progress)
        tape.append(pack(judge.records(plan.trades)))

    async def _recent(self, rules: Rules, way: Unnumbered) -> TradesAnswer:
        """The latest trades. Raises Retry where there are none, though there were some before."""
        answer = await self._venue.recent_trades(rules)
        if way.begun and not answer.trades:
            raise Retry(self._venue.name, f"{rules.pair}: an empty list of trades, though there were some before")
        return answer

    async def _candles(
        self, rules: Rules, judge: Judge, wanted: tuple[int, int], span: Span, tape: GrowingTape, progress: Progress
    ) -> None:
        """Candles of the venue onto the tape."""
        able, timeframe_ms = self._venue.capabilities, self._settings.timeframe_ms
        interval_ms = interval_for(timeframe_ms, able.intervals_ms)
        if interval_ms is None:
            self._notes.append(f"the venue has no candles as small as TIMEFRAME={self._settings.timeframe}")
            return
        count, first_ns = 0, 0
        for start_ms, end_ms in pieces(wanted, interval_ms, timeframe_ms, able.candles_max):
            bars = await self._ask(partial(self._venue.candles, rules, interval_ms, start_ms, end_ms))
            whole = aggregate(bars, timeframe_ms * NS_PER_MS)
            records = judge.candles(whole, end_ms * NS_PER_MS)
            tape.append(pack(records))
            first_ns = first_ns or (whole[0].open_ns if whole else 0)
            count += len(records)
            done_ms = end_ms - span.from_ns // NS_PER_MS
            progress.update(max(0, done_ms), f"{count:,} candles, up to {iso_utc(end_ms)}")
        what = f"{count} new candles of {self._settings.timeframe} from {iso_utc(first_ns // NS_PER_MS)} on"
        self._notes.append(
            f"in its place: {what}; they warm up and decide nothing" if count else "and it has no candles"
        )

    # --- asking --------------------------------------------------------------------------------------

    async def _ask(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer; what may pass by itself is asked again. Raises what does not pass."""
        failures = 0
        while True:
            try:
                return await ask()
            except RateLimited as error:
                until = iso_utc(self._clock.wall_ms() + int(error.retry_after_s * 1000))
                self._say(f"{error}: waits until {until}")
                await self._pause(error.retry_after_s)
            except Retry as error:
                failures += 1
                if failures == self._tries:
                    raise
                pause_s = min(BACKOFF_MAX_S, BACKOFF_S * 2 ** (failures - 1))
                self._say(f"{error}; asked again in {pause_s:g} s ({failures} of {self._tries})")
                await self._pause(pause_s)

    def _venue_ns(self) -> int | None:
        """The venue's clock now; None of a player's."""
        return None if self._venue.tape_clock else self._clock.wall_ns() + self._venue.clock_offset_ns()

    def _span(self, wanted: Wanted) -> Span:
        now_ns = self._venue_ns() or NO_END
        if wanted.from_ns >= now_ns:
            raise BadFile(f"--from {iso_utc(wanted.from_ns // NS_PER_MS)} has not come yet at {self._venue.name}.")
        return Span(wanted.from_ns, min(now_ns, NO_END if wanted.to_ns is None else wanted.to_ns))

    def _start(self, rules: Rules, from_ns: int) -> Start:
        settings = self._settings
        taker, maker = self._venue.fees_bps(rules.quote)
        return Start(
            venue=settings.venue,
            book=FILE_BOOK,
            markets=[_market(rules)],
            taker_fee_bps=plain(taker if settings.taker_fee_bps is None else settings.taker_fee_bps),
            maker_fee_bps=plain(maker if settings.maker_fee_bps is None else settings.maker_fee_bps),
            tape_clock=True,
            time_ns=from_ns,
        )


def _market(rules: Rules) -> Market:
    return Market(
        pair=rules.pair,
        base=rules.base,
        quote=rules.quote,
        tick=plain(rules.tick),
        step=plain(rules.step),
        min_quantity=plain(rules.min_quantity),
        min_notional=plain(rules.min_notional),
        max_quantity=None if rules.max_quantity is None else plain(rules.max_quantity),
    )


def _check(start: Start, wanted: Wanted, venue: str) -> None:
    """Raises BadFile where a tape was begun for something else."""
    if start.book != FILE_BOOK or len(start.markets) != 1:
        raise BadFile(f"{wanted.out} is a tape that the bot recorded: fetch into another file.")
    if start.venue != venue:
        raise BadFile(f"{wanted.out} was begun with --venue {start.venue}, not {venue}: fetch into another file.")
    if start.time_ns != wanted.from_ns:
        begun, now = (iso_utc(ns // NS_PER_MS) for ns in (start.time_ns, wanted.from_ns))
        raise BadFile(f"{wanted.out} was begun with --from {begun}, not {now}: fetch into another file.")


def _check_market(begun: Market, now: Market, out: Path) -> None:
    """Raises BadFile where a tape is of another market, or its steps are others by now."""
    if begun.pair != now.pair:
        raise BadFile(f"{out} was begun with --pair {begun.pair}, not {now.pair}: fetch into another file.")
    if (begun.tick, begun.step) != (now.tick, now.step):
        raise BadFile(
            f"{out}: {begun.pair} moved by {begun.tick} in price and {begun.step} in quantity, and does by {now.tick}"
            f" and {now.step} now. Fetch the rest into another file; run takes both."
        )
