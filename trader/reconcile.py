"""Journal against venue: what each has that the other lacks, and how it is resolved. Pure; `venue_look` gathers.

Orders of the journal:
* an intent without an answer is looked up by its id: found, it is adopted with its fills
* it is absent once it was asked for at least three times over as long as a request may live, without order or fill
* what is not yet sure is not agreed, and is asked for again
* an order that the venue still has working is accepted, and left to the broker
* an order is over when the venue calls it over and its fills add up to what it filled
* an order the venue had and no longer knows is over, with the fills there are
* a fill that nobody recorded is told, once by its id, for an order that is over too
* an order that the live broker has in hand is left to it, but for fills that it has not told within ten seconds
* at a start it is not agreed before the broker has told what became of each
* one that it has as working and that is not open any more is overdue: the broker is to look at once
* an order that the journal sent after the look began is not judged
* one of a market that is not traded any more is not agreed; coin of such a market is only named

Orders that the journal does not know:
* one of our own ids is adopted whole, once it is over and all its fills are there
* one that still works is cancelled first (`strays`), as is one that the journal has as over
* one that filled nothing is nothing to adopt
* one of another prefix, or none, is never adopted
* a fill whose order could not be told is not agreed

Balances:
* they count only from a look that no fill came into, with every order of ours in it accounted for
* coin that is missing twice in a row, three seconds and more apart, is external, as far as the journal holds it
* more than the journal holds is somebody's own and nothing is adopted
* pairs of one coin share its balance
* quote is told where nothing of ours works or is unknown, every pair was asked for, and a change was seen twice
* a stop of ours that rests at the venue moves no quote

Agreement:
* a question that failed is no answer: not agreed, for its reason, and what else was found stays found
* the same views give the same findings; once they are applied, they give none
* the report of a start says of each intent that it found how it was resolved, by whomever
"""

from decimal import Decimal

import msgspec

from core.clock import NS_PER_MS
from core.money import plain, steps_down
from trader import reconcile_base
from trader.broker import BrokerEvent
from trader.executed import Before, Executed
from trader.findings import Findings, named
from trader.ids import is_ours
from trader.orders import OrderNews, OrderState
from trader.views import SKEW_MS, JournalView, Known, VenueView
from venues.account import FILLED, REJECTED, Fill, Order
from venues.venue import Rules

IN_HAND_MS = 10_000  # how long the live broker has to tell a fill of an order that it follows
THERE = frozenset({OrderState.WORKING, OrderState.CANCELLING})
UNDER_WAY_MS = 30_000  # from the decision to the venue's own time of an order, at most


class Orphan(msgspec.Struct, frozen=True):
    """An order of ours (by its id) that is over and that the journal does not know: the guardian's exit, for one."""

    pair: str
    client_order_id: str
    venue_order_id: str
    side: str  # buy, sell
    quantity: Decimal
    fills: tuple[BrokerEvent, ...]  # the last one says ALL_FILLED, or a CANCEL_DONE follows
    created_ms: int = 0


class Reconciliation(msgspec.Struct, frozen=True):
    """One comparison. Nothing in it depends on a clock: the same views give the same findings."""

    at_start: bool
    agreed: bool  # trading may go on
    told: tuple[BrokerEvent, ...] = ()  # for orders of the journal: fills that nobody recorded, ends, absences
    orphans: tuple[Orphan, ...] = ()
    external: tuple[tuple[str, Decimal], ...] = ()  # pair, base coin that is gone
    quote: int | None = None  # units of quote at the venue, where nothing of ours works or is unknown
    report: tuple[str, ...] = ()


class Stray(msgspec.Struct, frozen=True):
    """An order of ours that works at the venue and not in the journal: to be cancelled."""

    pair: str
    client_order_id: str
    venue_order_id: str


def judge(journal: JournalView, venue: VenueView) -> Reconciliation:
    """Compares. `journal` is taken after the look: what the venue tells can only be older."""
    found = Findings(venue.at_start)
    rules = {one.pair: one for one in venue.rules}
    fills = _by_order(journal, venue, rules, found)
    for known in sorted(journal.orders, key=lambda one: (one.created_ms, one.client_order_id)):
        mine = fills.pop(known.client_order_id, [])
        if known.pair in rules:
            _judge_order(known, venue, rules[known.pair], mine, found)
        elif not known.over:
            found.refuse(f"{named(known)}: its market is not traded any more: put it into PAIRS again")
    for held in journal.held:
        if held.base and held.pair not in rules and venue.at_start:
            text = "its market is not among PAIRS, so it is not compared"
            found.lines.append(f"{plain(held.base)} of {held.pair}: {text}")
    orphans = _orphans(journal, venue, rules, fills, found)
    for stray in strays(journal, venue):
        found.refuse(
            f"{stray.client_order_id} of {stray.pair} works at the venue and not here: it is being cancelled",
            stray.pair,
        )
    for failure in venue.failures:
        found.refuse(failure)
    external = reconcile_base.missing(journal, venue, found)
    quote = reconcile_base.quote(journal, venue, found)
    if venue.reach_ms is not None:
        found.lines.append("older fills can no longer be had: compare with the venue's list by hand")
    return Reconciliation(
        at_start=venue.at_start,
        agreed=not found.reasons,
        told=tuple(found.told),
        orphans=tuple(orphans),
        external=tuple(external),
        quote=quote,
        report=found.report(journal, venue.start, external),
    )


def strays(journal: JournalView, venue: VenueView) -> tuple[Stray, ...]:
    """Orders of ours that work at the venue, and that the journal does not know or had as over before the look."""
    found = []
    for pair, orders in sorted(venue.open_orders.items()):
        for order in orders:
            if order.client_order_id in journal.adopted or not is_ours(journal.prefix, order.client_order_id):
                continue
            known, before = journal.order(order.client_order_id), venue.journal.order(order.client_order_id)
            if known is None or (known.over and before is not None and before.over):
                found.append(Stray(pair, order.client_order_id, order.venue_order_id))
    return tuple(sorted(set(found), key=lambda stray: (stray.pair, stray.client_order_id, stray.venue_order_id)))


def overdue(journal: JournalView, venue: VenueView) -> tuple[str, ...]:
    """Orders that the broker has in hand as working, and that are not open at the venue: it is to look at once."""
    found = []
    for known in journal.orders:
        before = venue.journal.order(known.client_order_id)
        there = known.in_hand and known.state in THERE and before is not None and before.state in THERE
        if there and known.pair in venue.open_orders:
            order = venue.order(known.client_order_id, known.venue_order_id)
            if order is None or not order.live:
                found.append(known.client_order_id)
    return tuple(found)


# --- whose fills they are -----------------------------------------------------------------------------


def owners(journal: JournalView, venue: VenueView) -> dict[str, str]:
    """The client id ("" for none) of each order whose venue id is known; fills mostly tell only that."""
    found = {known.venue_order_id: known.client_order_id for known in journal.orders}
    found |= {o.venue_order_id: o.client_order_id for orders in venue.open_orders.values() for o in orders}
    for venue_id, looked in venue.by_venue_id.items():
        if looked.order is not None:
            found[venue_id] = looked.order.client_order_id
        elif looked.certainly_absent(venue.grace_ns):
            found[venue_id] = ""
    found |= {one.order.venue_order_id: name for name, one in venue.orders.items() if one.order is not None}
    found.pop("", None)
    return found


def _by_order(
    journal: JournalView, venue: VenueView, rules: dict[str, Rules], found: Findings
) -> dict[str, list[Fill]]:
    """Fills of our ids, by client id. Those whose order is not known yet are refused."""
    names = owners(journal, venue)
    mine: dict[str, list[Fill]] = {}
    for pair in rules:
        unknown = set()
        for fill in venue.fills.get(pair, ()):
            name = fill.client_order_id or names.get(fill.venue_order_id)
            if name is None:
                unknown.add(fill.venue_order_id)
            elif is_ours(journal.prefix, name) or journal.order(name) is not None:
                mine.setdefault(name, []).append(fill)
        if unknown:
            found.refuse(f"{pair}: whose {len(unknown)} filled orders are is not known yet: asked again", pair)
    return mine


# --- orders of the journal -----------------------------------------------------------------------------


def _judge_order(known: Known, venue: VenueView, rules: Rules, fills: list[Fill], found: Findings) -> None:
    executed = Executed(
        known.client_order_id,
        known.side,
        rules.base,
        rules.quote,
        known.step,
        Before(known.lots, known.cash, known.fills),
    )
    events = executed.take(fills)
    covered = known.created_ms - SKEW_MS >= venue.fills_from_ms
    if events and not covered:
        found.refuse(f"{named(known)}: its first fills are not in view: asked again", known.pair)
        return
    if covered and venue.whole(known.pair) and steps_down(executed.quantity, known.step) < known.lots:
        before = venue.journal.order(known.client_order_id)
        if before is None or before.lots < known.lots:
            found.unresolved.add(known.pair)  # the journal is ahead of this look
        else:
            text = "the venue tells less of its fills than the journal has: compare with the venue's list of trades"
            found.refuse(f"{named(known)}: {text}", known.pair)
        return
    if known.in_hand:
        _in_hand(known, venue, events, executed.quantity, found)
    elif known.over:
        news = OrderNews.ALL_FILLED if known.state is OrderState.FILLED else OrderNews.PART_FILLED
        found.tell(known, [event._replace(news=news) for event in events])
    else:
        _judge_working(known, venue, events, executed.quantity, found)


def _in_hand(known: Known, venue: VenueView, events: list[BrokerEvent], filled: Decimal, found: Findings) -> None:
    until_ns = (venue.journal.market_ms - IN_HAND_MS) * NS_PER_MS
    late = [event for event in events if event.time_ns <= until_ns]
    found.tell(known, late)
    order = venue.order(known.client_order_id, known.venue_order_id)
    if len(late) < len(events) or (not known.over and (order is None or not order.live or order.filled != filled)):
        found.unresolved.add(known.pair)
    settled = known.over or (order is not None and order.live and known.state is not OrderState.SUBMITTING)
    if known.state is OrderState.UNKNOWN or (venue.at_start and not settled):
        found.refuse(f"{named(known)}: the broker is still asking for it", known.pair)


def _judge_working(known: Known, venue: VenueView, events: list[BrokerEvent], filled: Decimal, found: Findings) -> None:
    order = venue.order(known.client_order_id, known.venue_order_id)
    if order is None:
        _not_found(known, venue, events, filled, found)
        return
    if order.live:
        if known.state in (OrderState.SUBMITTING, OrderState.UNKNOWN) or not known.venue_order_id:
            accepted = BrokerEvent(
                known.client_order_id, OrderNews.ACCEPTED, venue_order_id=order.venue_order_id, note="recovered"
            )
            found.tell(known, [accepted], "is at the venue and works")
        found.tell(known, events)
        if filled < order.filled:
            found.refuse(_lacking(known, filled, order), known.pair)
        elif filled > order.filled:
            found.unresolved.add(known.pair)
    elif filled == order.filled:
        end = ended(known.client_order_id, order, events)
        found.tell(known, end, f"is over: {plain(filled)} of {plain(order.quantity)} filled")
    else:
        found.tell(known, events)
        found.refuse(_lacking(known, filled, order), known.pair)


def _not_found(known: Known, venue: VenueView, events: list[BrokerEvent], filled: Decimal, found: Findings) -> None:
    """Neither open nor known by its id."""
    if venue.journal.order(known.client_order_id) is None:
        found.unresolved.add(known.pair)  # sent after the look began
        return
    found.tell(known, events)
    looked = venue.orders.get(known.client_order_id)
    if looked is None or not venue.whole(known.pair):
        found.refuse(f"{named(known)}: it could not be asked for", known.pair)
    elif not looked.certainly_absent(venue.grace_ns):
        found.refuse(f"{named(known)}: not found yet, {looked.asked} times asked: asked again", known.pair)
    elif not filled and not known.venue_order_id and known.state is not OrderState.WORKING:
        absent = [BrokerEvent(known.client_order_id, OrderNews.ABSENT, note="absent")]
        if known.state is OrderState.SUBMITTING:
            absent.insert(0, BrokerEvent(known.client_order_id, OrderNews.NO_ANSWER))
        found.tell(known, absent, f"never reached the venue: {looked.asked} times asked, no order and no fill of it")
    else:
        complete = filled == known.quantity
        news = OrderNews.ALL_FILLED if complete else OrderNews.CANCEL_DONE
        over = BrokerEvent(known.client_order_id, news, note="no longer known to the venue")
        found.tell(known, [over], f"is no longer known to the venue: over, {plain(filled)} filled")


def _lacking(known: Known, filled: Decimal, order: Order) -> str:
    return f"{named(known)}: the venue filled {plain(order.filled)}, its fills add up to {plain(filled)}: asked again"


def ended(order_id: str, order: Order, events: list[BrokerEvent]) -> list[BrokerEvent]:
    """`events` of an order's last fills, and how it ended."""
    if order.status == FILLED or (order.filled and order.filled >= order.quantity):
        if events:
            return [*events[:-1], events[-1]._replace(news=OrderNews.ALL_FILLED)]
        return [BrokerEvent(order_id, OrderNews.ALL_FILLED, venue_order_id=order.venue_order_id)]
    refused = order.status == REJECTED and not order.filled
    news = OrderNews.REFUSED if refused else OrderNews.CANCEL_DONE
    return [*events, BrokerEvent(order_id, news, venue_order_id=order.venue_order_id, note=order.status)]


# --- orders that the journal does not know --------------------------------------------------------------


def _orphans(
    journal: JournalView, venue: VenueView, rules: dict[str, Rules], fills: dict[str, list[Fill]], found: Findings
) -> list[Orphan]:
    asked = {name for name, looked in venue.orders.items() if looked.order is not None}
    asked |= {looked.order.client_order_id for looked in venue.by_venue_id.values() if looked.order is not None}
    names = {name for name in asked | fills.keys() if is_ours(journal.prefix, name)}
    symbols = {one.symbol: one for one in venue.rules}
    known_from_ms = journal.known_from_ms + UNDER_WAY_MS if journal.known_from_ms else 0
    expected = {one.next_exit_id for one in journal.held}  # the guardian's sale of a position that is held
    adopted = []
    for name in sorted(names):
        if name in journal.adopted or journal.order(name) is not None:
            continue
        mine = fills.get(name, [])
        order = venue.order(name, mine[0].venue_order_id if mine else "")
        begun_ms = order.created_ms if order is not None else 0
        young = (begun_ms or min((fill.time_ms for fill in mine), default=0)) < known_from_ms
        if young and name not in expected:
            continue  # of a time from which the journal no longer has every order
        market = symbols.get(mine[0].symbol if mine else order.symbol if order is not None else "")
        if market is None:
            continue  # of a market not traded here
        orphan = None if order is None else _orphan(name, order, market, mine)
        if order is None:
            found.refuse(f"{name}: an order of ours with fills that could not be asked for", market.pair)
        elif order.live:
            found.refuse(f"{name} of {market.pair} works at the venue and is not known to this book", market.pair)
        elif orphan is None and order.filled:
            text = f"the venue filled {plain(order.filled)}, and not all its fills are in view: asked again"
            found.refuse(f"{name}: {text}", market.pair)
        elif orphan is not None:
            adopted.append(orphan)
            found.move(orphan.pair, orphan.side, orphan.fills)
            text = f"{plain(order.filled)} of {plain(order.quantity)} filled, not known to this book: adopted"
            found.lines.append(f"{orphan.side} {name} of {market.pair}: {text}")
    return sorted(adopted, key=lambda one: (one.created_ms, one.client_order_id))


def _orphan(name: str, order: Order, rules: Rules, fills: list[Fill]) -> Orphan | None:
    """None where it filled nothing, or not all its fills are there."""
    executed = Executed(name, order.side, rules.base, rules.quote, rules.step)
    events = executed.take(fills)
    if order.live or not order.filled or executed.quantity != order.filled:
        return None
    told = tuple(ended(name, order, events))
    return Orphan(rules.pair, name, order.venue_order_id, order.side, order.quantity, told, order.created_ms)
