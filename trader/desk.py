"""What the trader stage has besides where orders are real.

The broker at the venue, the comparison of journal and venue, the account's stream as a nudge, exits tried again:

* recovering: after a start nothing is sent until journal and venue agree; after a pause of this process that was longer
  than half of LEASE_SECONDS what was not sent is dropped, and all is looked up and compared as after a start.
* overdue: an order that a comparison finds no longer open at the venue is looked up by the broker at once.
* the lease: renewed in each turn and with each journal entry, while exits may be sent. It is over with recovering only
  where the guardian has nothing in hand, and had nothing since that comparison began (see `core.lease`).
* reconciling: while the latest comparison did not agree there are no entries; exits go on.
* again: an exit that is wanted and not working is tried again after 0.2 s, then twice as late each time, up to 5 s; the
  venue is compared with at once where one was refused.
* compared_first: where too little coin is free for an exit, the next one waits for that comparison, at most 5 s: each
  try in vain takes room in the venue's limits, which the comparison needs.
* guards: the stop at the venue is placed and moved (`trader.protection`, `trader.guards`); that the venue refuses it is
  told once.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial

from core.clock import NS_PER_S, boot_id
from core.lease import LeaseWriter
from core.money import steps_up
from core.stage import Context
from trader import inputs, protection
from trader.broker import BrokerEvent
from trader.engine import Engine
from trader.guards import Guards
from trader.leased import positions
from trader.live import LiveBroker
from trader.look_thread import VenueLook
from trader.nudges import Nudges
from trader.orders import OrderNews
from trader.reconcile import overdue
from trader.state import ENTRY, STOP
from trader.terms import IOC, LIMIT, Terms
from trader.unanswered import taken_up
from trader.venue_news import RECONCILING, RECOVERING, exits_wanted, may_send
from trader.venue_side import journal_view, working
from trader.views import VenueView
from venues.choose import account, market_data
from venues.errors import VenueError
from venues.venue import Rules

FIRST_AGAIN_S, LAST_AGAIN_S = 0.2, 5.0
MARKETS_AGE_S = 3_600.0
CLOSE_S = 2.0
FEES_MOST = 5  # pairs whose fee is asked for
PART = Decimal("0.01")  # basis points
STOOD_STILL = "this process stood still for more than half of LEASE_SECONDS"

Give = Callable[[inputs.Input], object]


class Desk:
    """Belongs to the stage's thread; what the venue's threads say comes through its loop, each an input of the fold."""

    def __init__(self, context: Context, give: Give) -> None:
        """Raises Misconfigured where the venue's keys are missing."""
        settings = context.settings
        self._context = context
        self._clock = context.clock
        self._give = give
        self._engine: Engine | None = None
        self._account = account(settings, context.clock, run_dir=context.run_dir)
        self._markets = Markets(context)
        self._fees_asked = False
        self._recovering = True  # read on other threads
        now_ns = context.clock.monotonic_ns()
        book = context.book_dir.name
        self._lease = LeaseWriter(context.run_dir, book, settings.lease_seconds, now_ns, boot_id())
        self._claim_seen = self._lease.claim()
        self._again: dict[str, tuple[int, float]] = {}  # by pair: due (monotonic ns), the wait after that in seconds
        self._lacking: set[str] = set()  # pairs whose next exit waits for a comparison
        self._guards = Guards()
        self._native_stop = settings.native_stop and self._account.capabilities.native_stop
        self.broker = LiveBroker(
            self._account,
            self._markets.anew,
            self._clock,
            self._deliver,
            self._may_send,
            settings.entry_timeout_ms,
            self._say,
        )
        self._look = VenueLook(
            self._account, self._looked_at, settings.reconcile_seconds, self._clock, self._looked, self._say
        )
        self._nudges = Nudges(self._account, self._traded, self._nudged, self._say)

    def terms(self, terms: Terms) -> Terms:
        """With what the venue can do: an order that buys at its limit or not at all, a stop that rests there."""
        kind = IOC if self._account.capabilities.ioc else LIMIT
        return terms._replace(entry_kind=kind, native_stop=self._native_stop)

    def begin(self, engine: Engine) -> None:
        """The journal was taken up: its orders are looked up, and nothing is sent before it was compared."""
        self._engine = engine
        self._give(inputs.Block(RECOVERING, True))
        self._look.found(journal_view(engine))
        orders = working(engine.state)
        fills = {order.id: order.fill_ids for order in orders}
        ids, now_ns = [order.id for order in orders], self._clock.monotonic_ns()
        since_ns = taken_up(self._context.run_dir, ids, boot_id(), now_ns)
        self.broker.adopt(orders, engine.ledger.markets, fills, since_ns)
        self._nudges.start()

    def marked(self, number: int) -> None:
        """What was sent since the last mark is in the journal up to entry `number`."""
        self._renew()
        self.broker.mark(number)

    def awake(self) -> None:
        """Before each input: after a pause nothing is decided by what was known before it."""
        if self._engine is not None and self._lease.paused(self._clock.monotonic_ns()):
            self.broker.drop(STOOD_STILL)  # first: from the renewal on the broker's threads may send again
            self._lease.renew(self._clock.monotonic_ns(), positions(self._engine), acts=False)
            self._recovering = True
            self._give(inputs.Block(RECOVERING, True))
            self.broker.nudge()
            self._look.ask(at_start=True)

    def committed(self, number: int) -> None:
        """The journal is on the disk up to entry `number`."""
        self.broker.committed(number)

    def turn(self) -> None:
        """Some times a second: pauses are noticed, exits tried again, the venue looked at."""
        now_ns = self._clock.monotonic_ns()
        self.awake()
        self._renew()
        self._try_again(now_ns)
        self._protect(now_ns)
        if self._look.wants():
            self._claim_seen = self._lease.claim()
            self._look.begin(journal_view(self._running))

    def close(self) -> None:
        """Ends the threads; what was not sent stays unsent, and the next start finds out what became of the rest."""
        self._nudges.close(CLOSE_S)
        self.broker.close(CLOSE_S)
        self._look.close(CLOSE_S)
        self._account.close()
        self._lease.close()

    @property
    def _running(self) -> Engine:
        assert self._engine is not None, "begin comes first"
        return self._engine

    def _try_again(self, now_ns: int) -> None:
        wanted = exits_wanted(self._running)
        self._again = {pair: self._again.get(pair, (now_ns, FIRST_AGAIN_S)) for pair in wanted}
        for pair in wanted:
            due_ns, wait_s = self._again[pair]
            if now_ns >= due_ns:
                self._again[pair] = now_ns + int(wait_s * NS_PER_S), min(2 * wait_s, LAST_AGAIN_S)
                self._give(inputs.Again(pair))

    def _protect(self, now_ns: int) -> None:
        engine = self._running
        held = [pair.pair for pair in engine.state.pairs.values() if pair.lots]
        for pair in self._guards.due(protection.wanted(engine), held, now_ns):
            self._give(inputs.Protect(pair))

    # --- from other threads -----------------------------------------------------------------------------

    def _may_send(self) -> str:
        """'' or why nothing may be sent; called on threads of the broker."""
        return STOOD_STILL if self._lease.paused(self._clock.monotonic_ns()) else ""

    def _deliver(self, events: list[BrokerEvent]) -> None:
        self._context.loop.call_threadsafe(partial(self._told, events))

    def _told(self, events: list[BrokerEvent]) -> None:
        for event in events:
            self._give(inputs.Told(event))
            if event.news in (OrderNews.REFUSED, OrderNews.ABSENT):
                self._refused(event)

    def _refused(self, event: BrokerEvent) -> None:
        order = self._running.ledger.ended_order(event.order_id)
        if order is None or order.kind != STOP:
            unsent = order is not None and order.purpose == ENTRY and event.unsent
            if event.news == OrderNews.REFUSED and not unsent:  # a look would use up the room that it waited for
                self._look.ask()
            if event.lacks and order is not None:
                self._lacking.add(order.pair)
                due_ns = self._clock.monotonic_ns() + int(LAST_AGAIN_S * NS_PER_S)
                self._again[order.pair] = due_ns, LAST_AGAIN_S
        elif self._guards.refused(order.pair):
            text = f"no stop rests at the venue, the trader watches the price itself; tried again ({event.note})"
            self._context.event("warn", text, order.pair)

    def _looked(self, view: VenueView) -> None:
        self._context.loop.call_threadsafe(partial(self._judge, view))

    def _judge(self, view: VenueView) -> None:
        engine = self._running
        journal = journal_view(engine)
        for order_id in overdue(journal, view):
            self.broker.nudge(order_id)
        found = self._look.judge(journal, view)
        self._give(inputs.Checked(found, view.journal.market_ms, self._clock.wall_ms()))
        self._give(inputs.Block(RECONCILING, not found.agreed))
        for pair in self._lacking:
            self._again[pair] = self._clock.monotonic_ns(), FIRST_AGAIN_S
        self._lacking.clear()
        if found.agreed and RECOVERING in engine.state.blocks:
            self._recovered(engine)

    def _recovered(self, engine: Engine) -> None:
        """Takes the stops back, unless the guardian has something in hand: the lease first, its claim after."""
        now_ns = self._clock.monotonic_ns()
        self._lease.renew(now_ns, positions(engine), acts=True)
        if self._lease.claim_over(self._claim_seen, now_ns):
            self._recovering = False
            self._give(inputs.Block(RECOVERING, False))
        else:
            self._look.ask(at_start=True)

    def _renew(self) -> None:
        engine, now_ns = self._engine, self._clock.monotonic_ns()
        if engine is not None and not self._lease.paused(now_ns):  # a pause since `awake` is for the next one to find
            self._lease.renew(now_ns, positions(engine), acts=may_send(engine))

    def _nudged(self, order_id: str) -> None:
        self._context.loop.call_threadsafe(partial(self.broker.nudge, order_id, surely=bool(order_id)))

    def _say(self, level: str, text: str) -> None:
        self._context.loop.call_threadsafe(partial(self._context.event, "warn" if level == "warning" else level, text))

    def _traded(self) -> Sequence[Rules]:
        """The rules of the markets that are traded, or that something is held of."""
        found = self._known_traded()
        self._ask_fees(found)
        return found

    def _looked_at(self) -> Sequence[Rules]:
        """The same, for a look: at a start exits wait for it, and fees are no matter then."""
        return self._known_traded() if self._recovering else self._traded()

    def _known_traded(self) -> Sequence[Rules]:
        names = self._names
        return [rules for rules in self._markets.known() if rules.pair in names]

    def _ask_fees(self, traded: Sequence[Rules]) -> None:
        """Once a start: the taker fee of the dearest pair; the listed one serves where the venue does not tell."""
        if self._fees_asked or not traded:
            return
        try:
            told = [fees for fees in map(self._account.fees_bps, traded[:FEES_MOST]) if fees is not None]
        except VenueError as error:
            self._say("info", f"the account's fees could not be asked for, the listed ones count: {error}")
            return
        self._fees_asked = True
        if told:
            self._context.loop.call_threadsafe(partial(self._give, inputs.Fee(dearest(told))))

    @property
    def _names(self) -> frozenset[str]:
        engine = self._engine
        named = frozenset(self._context.settings.pairs)
        return named if engine is None else named | frozenset(engine.state.pairs)


def dearest(told: Sequence[tuple[Decimal, Decimal]]) -> int:
    """The highest taker fee of (taker, maker) in basis points, in parts; what is finer rounds against us."""
    return steps_up(max(taker for taker, _ in told), PART)


class Markets:
    """The venue's markets, asked for on whatever thread wants them; those known serve for an hour."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._found: list[Rules] = []
        self._due_ns = 0

    def anew(self) -> list[Rules]:
        """Asks the venue. Raises the errors of `venues.errors`."""
        venue = market_data(self._context.settings, self._context.clock)
        try:
            found = asyncio.run(venue.markets())
        finally:
            venue.close()
        with self._lock:
            self._found = found
            self._due_ns = self._context.clock.monotonic_ns() + int(MARKETS_AGE_S * NS_PER_S)
        return found

    def known(self) -> list[Rules]:
        """As `anew`, from memory where that is not older than an hour; an older one serves where asking fails."""
        with self._lock:
            found, due_ns = self._found, self._due_ns
        if found and self._context.clock.monotonic_ns() < due_ns:
            return found
        try:
            return self.anew()
        except VenueError:
            if not found:
                raise
            return found
