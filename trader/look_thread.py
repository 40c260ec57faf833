"""Looks at the venue on a thread of its own, so that no exit ever waits for a comparison.

The stage's thread asks `wants`, hands over what the journal says with `begin`, gets the venue's view through `deliver`
(called on the look's thread), and judges it with the journal as it is then: `judge`. Strays are cancelled before the
next look. What a look raises that is no error of the venue is raised in the stage's thread, by `wants`.
"""

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from core.clock import Clock
from trader.look_schedule import Schedule
from trader.reconcile import Reconciliation, Stray, judge, strays
from trader.venue_look import look
from trader.views import JournalView, VenueView, since_ms
from venues.account import Account
from venues.errors import VenueError
from venues.venue import Rules


class _Job(NamedTuple):
    journal: JournalView
    start: JournalView | None  # at a start: the journal as its first look found it
    strays: tuple[Stray, ...]


class VenueLook:
    """`markets`: the rules of all pairs traded; `say(level, text)` tells what a person should know."""

    def __init__(
        self,
        account: Account,
        markets: Callable[[], Sequence[Rules]],
        every_s: float,
        clock: Clock,
        deliver: Callable[[VenueView], object],
        say: Callable[[str, str], object] = lambda level, text: None,
    ) -> None:
        self._account = account
        self._markets = markets
        self._clock = clock
        self._deliver = deliver
        self._say = say
        self._schedule = Schedule(every_s, clock.monotonic_ns())
        self._at_start = True  # until a look has agreed
        self._start: JournalView | None = None
        self._strays: tuple[Stray, ...] = ()
        self._last: VenueView | None = None  # of the look's thread
        self._turn = 0
        self._born_ms = 0  # where the book has no past: what our name did before belongs to another book
        self._crash: Exception | None = None
        self._ready = threading.Condition()  # guards what follows
        self._job: _Job | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="venue-look", daemon=True)
        self._thread.start()

    # --- the stage's thread -------------------------------------------------------------------------

    def wants(self) -> bool:
        """Whether a look is due: then `begin` it."""
        if self._crash is not None:
            raise self._crash
        return self._schedule.due(self._clock.monotonic_ns())

    def ask(self, *, at_start: bool = False) -> None:
        """Wants one as soon as may be. `at_start`: everything is compared as at a start, after a pause of ours."""
        if at_start and not self._at_start:
            self._at_start, self._start = True, None
        self._schedule.ask(self._clock.monotonic_ns())

    def found(self, journal: JournalView) -> None:
        """What a start found, before anybody asked for it: the report says what became of each intent in it."""
        self._start = journal

    def begin(self, journal: JournalView) -> None:
        """Has the venue looked at; returns at once."""
        self._schedule.begun()
        if self._at_start:
            self._start = self._start or journal
        with self._ready:
            self._job = _Job(journal, self._start if self._at_start else None, self._strays)
            self._strays = ()
            self._ready.notify()

    def judge(self, journal: JournalView, venue: VenueView) -> Reconciliation:
        """What the look comes to, by the journal as it is now; sets when the next one is due."""
        found = judge(journal, venue) if venue.rules or not venue.failures else _nothing_asked(venue)
        self._strays = strays(journal, venue)
        if found.agreed and venue.at_start:
            self._at_start, self._start = False, None
        now_ns = self._clock.monotonic_ns()
        self._schedule.done(now_ns, agreed=found.agreed, nothing=venue.nothing)
        if self._strays:
            self._schedule.ask(now_ns)
        return found

    def close(self, timeout_s: float = 5.0) -> bool:
        """Ends the thread; False where a question still keeps it."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # --- the look's thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while True:
                with self._ready:
                    while self._job is None and not self._closing:
                        self._ready.wait()
                    job, self._job = self._job, None
                    if self._closing or job is None:
                        return
                view = self._look(job)
                if self._closing:
                    return
                self._deliver(view)
        except Exception as error:  # noqa: BLE001 (the stage's thread raises it)
            if self._closing:
                return  # the account was closed under the last look
            self._crash = error
            self._say("error", f"looking at the venue ended: {error!r}")

    def _look(self, job: _Job) -> VenueView:
        try:
            markets = list(self._markets())
        except VenueError as error:
            failure = f"the markets could not be asked for: {error}"
            now_ns = self._clock.monotonic_ns()
            at_start = job.start is not None
            return VenueView(job.journal, (), at_start=at_start, start=job.start, ended_ns=now_ns, failures=(failure,))
        for stray in job.strays:
            self._cancel(stray, markets)
        self._turn += 1
        journal = job.journal
        self._last = look(
            self._account,
            markets,
            journal,
            max(since_ms(journal), self._born_ms),
            self._clock,
            self._last,
            at_start=job.start is not None,
            start=job.start,
            turn=self._turn,
        )
        if not journal.since_ms and not journal.orders:
            self._born_ms = self._last.fills_from_ms
        return self._last

    def _cancel(self, stray: Stray, markets: Sequence[Rules]) -> None:
        for rules in markets:
            if rules.pair == stray.pair:
                try:
                    self._account.cancel(rules, stray.client_order_id, stray.venue_order_id)
                except VenueError as error:  # over already, or asked again: the look tells
                    self._say("warning", f"cancel of {stray.client_order_id}: {error}")


def _nothing_asked(venue: VenueView) -> Reconciliation:
    """Not agreed: without the markets no question could be put."""
    return Reconciliation(venue.at_start, False, report=tuple(f"not agreed: {why}" for why in venue.failures))
