"""When the guardian sells and how, one machine a pair. Pure: the time comes in with each event, actions go out.

What comes in and goes out stands in `guardian.messages`.

* A fresh lease: nothing is sent, ever; now and then a price is asked for, so that who could not have any says so early.
* A lease that was not renewed for LEASE_SECONDS, with a position: the price is followed. The highest goes on climbing
  from the lease's, over the trades after the last one that the trader saw.
* A price at or under highest x keep, or an exit that the trader had decided on: it is sold once. Nothing is sold on a
  price that was not seen.
* Before anything is sent the claim is written, the lease read again, and the order's id looked up: an order that is
  there already is followed, and none is sent.
* What the trader's exits of before sold and the lease does not know is asked for, too: it has dropped an order whose id
  was then used here, or has died before it took down a fill.
* The order has the id that the trader would give it. Its quantity is the position's, or what is free of the coin where
  that is less, in whole steps; never more.
* An outcome that is not known is looked up, never sent again blindly: the order is absent once it was asked for three
  times over as long as a request may live. So is an exit that the trader had on its way, and what a life before had.
* Filled whole, or too little left to be sold: done with this position.
* Refused: looked up; where it is not there the next attempt's id is used, for a limit a little under the price. What is
  free is asked for anew before each order, and where nothing is, a few seconds later again. Who waits claims nothing.
* A stop that rests at the venue has the coins: nothing is claimed while it does, it is looked at again, and what it did
  not sell is sold when it is over.
* The lease is fresh again: an order that is on its way is followed to its end, nothing is cancelled or sent any more.
* A guardian that has just begun lets the trader have LEASE_SECONDS, unless a life before left something in hand.
"""

from decimal import Decimal
from typing import NamedTuple

from core.clock import NS_PER_S
from core.lease import Position, Sale
from core.money import order_quantity, plain, price_on_tick, steps_down
from guardian.messages import (
    Action,
    AskFree,
    AskPrice,
    Claimed,
    Event,
    Failed,
    Found,
    Free,
    Looked,
    LookUp,
    Lost,
    Priced,
    Refused,
    Release,
    Say,
    Send,
    WriteClaim,
)
from venues.account import IOC, LIMIT, MARKET, STOP, Order

POLL_NS = NS_PER_S  # between two prices of a pair whose lease has run out, and half of it for each pair there is
PROBE_NS = 30 * NS_PER_S  # while the lease is fresh
BLIND_NS = 10 * NS_PER_S  # without a price: told
FOLLOW_NS = NS_PER_S // 4
AGAIN_NS, LAST_AGAIN_NS = NS_PER_S // 2, 5 * NS_PER_S  # after a question that failed
LOOK_AGAIN_NS = 5 * NS_PER_S // 2  # for an order that was not found
NOTHING_FREE_NS = 5 * NS_PER_S
RESTS_NS = NS_PER_S  # between two looks at a stop that rests at the venue
ABSENT_LOOKS = 3
FORGOTTEN_LOOKS = 6  # of an order that was there
NOTHING = Decimal(0)
UNDER = Decimal("0.99")  # limit of an order after one that was refused, of the price

TRADER, OURS, VENUE, NOBODY, NONE = "trader", "guardian", "venue", "nobody", ""


class Terms(NamedTuple):
    """What the settings and the venue say."""

    lease_ns: int
    lives_ns: int  # how long a request may be under way
    ioc: bool


# --- one order ---------------------------------------------------------------------------------------

MAYBE, LIVE, OVER, ABSENT, REFUSED = "maybe", "live", "over", "absent", "refused"


class _Known:
    """What is known of an order by its id."""

    __slots__ = ("filled", "looks", "since_ns", "status", "told", "venue_id", "was_refused")

    def __init__(self, status: str, since_ns: int = 0, *, was_refused: bool = False) -> None:
        self.status = status
        self.since_ns = since_ns
        self.was_refused = was_refused
        self.looks = 0
        self.filled = Decimal(0)
        self.venue_id = ""
        self.told = False

    @property
    def open(self) -> bool:
        return self.status in (MAYBE, LIVE)


class _Watch:
    """One pair."""

    def __init__(self, pair: str, terms: Terms) -> None:
        self.pair = pair
        self.terms = terms
        self.position: Position | None = None
        self.fresh = True
        self.busy = False  # an action is under way
        self.claimed = False
        self.orders: dict[str, _Known] = {}
        self.highest = 0.0
        self.price = 0.0
        self.hit = False
        self.done = False
        self.priced_ns = 0  # when prices last came, or began to be wanted
        self.blind = False
        self._poll_ns = 0
        self._due_ns = 0
        self._again_ns = AGAIN_NS
        self._free: Free | None = None
        self._venue_told = False  # that a stop rests there
        self._short = False  # told that less is free than is held
        self._say: list[Action] = []

    # --- what comes in ---------------------------------------------------------------------------------

    def look(self, position: Position | None, fresh: bool, renewed_ns: int, now_ns: int) -> None:
        """The lease as it is now."""
        before, was_fresh = self.position, self.fresh
        self.position, self.fresh = position, fresh
        changed = position is None or before is None or _identity(before) != _identity(position)
        if fresh or changed:
            self.hit = self.done = False
            self.orders = {name: known for name, known in self.orders.items() if known.open}
            self._free, self._short, self._venue_told = None, False, False
        if position is None:
            return
        if fresh or before is None or before.key != position.key:
            self.highest = position.highest
        self.highest = max(self.highest, position.highest)
        if fresh:
            return
        if was_fresh or before is None:
            self._taken_over(position, now_ns)
        if position.working and position.working not in self.orders:
            self.orders[position.working] = _Known(MAYBE, renewed_ns + self.terms.lease_ns // 2)
        self.hit = self.hit or position.exiting

    def _taken_over(self, position: Position, now_ns: int) -> None:
        self.priced_ns, self._poll_ns, self._due_ns = now_ns, now_ns, now_ns
        self.blind = False
        self._tell(
            "warn",
            f"the trader's lease has run out: the guardian holds the stop of {position.quantity} {position.base},"
            f" at {position.stop_price:.8g} now",
        )

    def prices(self, trades: tuple[tuple[int, float], ...], now_ns: int) -> None:
        """Trades of the venue; only those count that the trader has not seen."""
        self.busy = False
        self.priced_ns = now_ns
        if self.blind:
            self._tell("info", "the guardian has prices again")
        self.blind = False
        position = self.position
        if position is None or self.fresh:
            return
        for time_ns, price in trades:
            if time_ns > position.price_ns and price > 0:
                self.price = price
                self.highest = max(self.highest, price)
                if price <= self.highest * position.keep and not self.hit:
                    self.hit = True
                    self._tell("warn", f"the price fell to {price:.8g}, the stop was at {self._stop:.8g}: selling")

    @property
    def _stop(self) -> float:
        return 0.0 if self.position is None else self.highest * self.position.keep

    def found(self, order_id: str, order: Order | None, now_ns: int) -> None:
        """A look-up, or the answer to an order that was sent."""
        self.busy = False
        self._again_ns = AGAIN_NS
        if order is not None and order.live and order.kind == STOP and not order.filled:
            self._rests(order_id, now_ns)
            return
        known = self.orders.setdefault(order_id, _Known(ABSENT))
        if order is not None:
            known.looks = 0
            known.status = LIVE if order.live else OVER
            known.filled, known.venue_id = order.filled, order.venue_order_id
            self._due_ns = now_ns + (FOLLOW_NS if order.live else 0)
            if not order.live and not known.told:
                known.told = True
                at = "" if order.average_price is None else f" at {plain(order.average_price)}"
                self._tell("exit", f"order {order_id} is {order.status}: {plain(order.filled)} sold{at}")
            return
        known.looks += 1
        if known.status == MAYBE and known.was_refused:
            known.status = REFUSED
            self._due_ns = now_ns + AGAIN_NS
        elif known.status == LIVE and known.looks >= FORGOTTEN_LOOKS:
            known.status = OVER
            self._tell("error", f"the venue no longer knows order {order_id}: look there what became of it")
        elif known.status == LIVE or (known.status == MAYBE and not self._certainly_absent(known, now_ns)):
            left_ns = known.since_ns + self.terms.lives_ns - now_ns  # some venues allow few questions
            self._due_ns = now_ns + (max(AGAIN_NS, left_ns) if known.looks == 2 else LOOK_AGAIN_NS)
        else:
            known.status = ABSENT

    def _rests(self, order_id: str, now_ns: int) -> None:
        self.orders.pop(order_id, None)
        self._due_ns = now_ns + RESTS_NS
        if not self._venue_told:
            self._tell("info", f"the stop {order_id} rests at the venue and has the coins: it sells")
        self._venue_told = True

    def _certainly_absent(self, known: _Known, now_ns: int) -> bool:
        return known.looks >= ABSENT_LOOKS and now_ns - known.since_ns >= self.terms.lives_ns

    def refused(self, order_id: str, why: str, now_ns: int) -> None:
        """It may have been refused for its id: then it is there."""
        self.busy = False
        self.orders[order_id] = _Known(MAYBE, now_ns, was_refused=True)
        self._tell("warn", f"order {order_id} was refused: {why}")

    def lost(self, order_id: str, why: str, now_ns: int) -> None:
        self.busy = False
        self.orders[order_id] = _Known(MAYBE, now_ns)
        self._due_ns = now_ns + AGAIN_NS
        self._tell("warn", f"what became of order {order_id} is not known, it is looked up: {why}")

    def failed(self, action: str, why: str, now_ns: int) -> None:
        """Asked again, each time twice as late."""
        self.busy = False
        if action == "price":
            return
        self._tell("warn", f"{why}; tried again")
        self._free = None
        self._due_ns = now_ns + self._again_ns
        self._again_ns = min(2 * self._again_ns, LAST_AGAIN_NS)

    def free(self, event: Free) -> None:
        self.busy = False
        self._again_ns = AGAIN_NS
        self._free = event

    # --- what follows ------------------------------------------------------------------------------------

    def next(self, now_ns: int, poll_ns: int) -> list[Action]:
        """What to do now; at most one thing is under way."""
        action = None if self.busy else self._next(now_ns, poll_ns)
        self.busy = self.busy or (action is not None and not isinstance(action, Release))
        if not self.fresh and self.position and not self.blind and now_ns - self.priced_ns > BLIND_NS and not self.hit:
            self.blind = True
            self._tell("error", "the guardian holds the stop and gets no price from the venue: nobody watches it")
        said, self._say = self._say, []
        return said if action is None else [*said, action]

    def _next(self, now_ns: int, poll_ns: int) -> Action | None:
        position = self.position
        going = self.claimed and any(known.open for known in self.orders.values())
        if (self.fresh or position is None) and not going:
            if self.claimed:
                return self._release()
            return self._price(now_ns, PROBE_NS) if position is not None else None
        if self.done or now_ns < self._due_ns:
            return self._release() if self.claimed and not going else None  # the trader need not wait for our waiting
        if going:
            name, known = next((name, known) for name, known in self.orders.items() if known.open)
            return LookUp(self.pair, name, known.venue_id)
        assert position is not None
        if not self.hit:
            return self._price(now_ns, poll_ns)
        if not self.claimed:
            return WriteClaim(self.pair, Sale(position.exit_ids[0], now_ns))
        return self._sell(position, now_ns)

    def _price(self, now_ns: int, every_ns: int) -> Action | None:
        if now_ns < self._poll_ns:
            return None
        self._poll_ns = now_ns + every_ns
        return AskPrice(self.pair)

    def _sell(self, position: Position, now_ns: int) -> Action | None:
        """The next step of a sale that is claimed and of which nothing is open."""
        mine = {name: self.orders[name] for name in position.exit_ids if name in self.orders}
        wanted = Decimal(position.quantity)
        for name, known in mine.items():
            wanted -= max(Decimal(0), known.filled - Decimal(position.counted.get(name, 0)))
        if steps_down(wanted, Decimal(position.step)) <= 0:
            return self._over()
        next_ids = set(position.exit_ids[position.past :])  # a stop that was cancelled to be moved was not refused
        refused = any(
            known.status == REFUSED or (known.status == OVER and not known.filled)
            for name, known in mine.items()
            if name in next_ids
        )
        for place, name in enumerate(position.exit_ids):
            if name not in mine:
                return LookUp(self.pair, name, "")
            if mine[name].status == ABSENT and place >= position.past:
                if self._free is None:
                    return AskFree(self.pair, position.base)
                return self._order(position, name, wanted, refused, now_ns)
        self._tell("error", f"{len(position.exit_ids)} orders did not sell it: sell {plain(wanted)} by hand")
        return self._over()

    def _order(self, position: Position, name: str, wanted: Decimal, refused: bool, now_ns: int) -> Action | None:
        free, self._free = self._free, None
        assert free is not None
        rules, step = free.rules, Decimal(position.step)
        near = Decimal(str(self.price or position.stop_price))
        least = {"min_quantity": rules.min_quantity, "min_notional": rules.min_notional}
        quantity = order_quantity(min(wanted, free.amount), near, step, max_quantity=rules.max_quantity, **least)
        if quantity <= 0:
            if order_quantity(wanted, near, step, **least) <= 0:
                self._tell("info", f"the {plain(wanted)} {position.base} left are too little to be sold")
                return self._over()
            if not self._short:
                self._tell("error", f"only {plain(free.amount)} {position.base} are free: {plain(wanted)} stay unsold")
            self._short = True
            self._due_ns = now_ns + NOTHING_FREE_NS
            return self._release()
        kind, price = MARKET, None
        if refused:
            kind = IOC if self.terms.ioc else LIMIT
            price = price_on_tick(near * UNDER, rules.tick, up=False)
        self.orders[name] = _Known(ABSENT)
        return Send(self.pair, name, kind, quantity, price, rules)

    def _over(self) -> Action:
        self.done = True
        return self._release()

    def _release(self) -> Action:
        self.claimed = False
        return Release(self.pair)

    def _tell(self, level: str, text: str) -> None:
        self._say.append(Say(level, text, self.pair))


def _identity(position: Position) -> tuple[str, str, tuple[str, ...]]:
    """Two that differ in it are sold anew."""
    return position.key, position.quantity, position.exit_ids


class Guard:
    """All pairs. `left`: what a life before this one had in hand."""

    def __init__(self, terms: Terms, now_ns: int, left: dict[str, Sale] | None = None) -> None:
        self._terms = terms
        self._began_ns = now_ns
        self._watches: dict[str, _Watch] = {}
        self._age_ns: int | None = None
        self._fresh = True
        for pair, sale in (left or {}).items():
            watch = self._watches[pair] = _Watch(pair, terms)
            watch.claimed = True
            watch.orders[sale.order_id] = _Known(MAYBE, sale.since_ns)
        self._resumes = bool(left)

    def handle(self, event: Event, now_ns: int) -> list[Action]:
        """Applies one event and gives what is to be done."""
        if isinstance(event, Looked):
            self._look(event, now_ns)
        elif (watch := self._watches.get(event.pair)) is not None:
            self._apply(watch, event, now_ns)
        held = sum(watch.position is not None for watch in self._watches.values())
        poll_ns = max(POLL_NS, held * POLL_NS // 2)
        actions = [action for watch in self._watches.values() for action in watch.next(now_ns, poll_ns)]
        over = [w.pair for w in self._watches.values() if w.position is None and not w.busy and not w.claimed]
        for pair in over:
            del self._watches[pair]
        return actions

    def holder(self) -> str:
        """Who holds the stops now: trader, guardian, venue (a stop rests there) or nobody; '' where nothing is held."""
        held = [watch for watch in self._watches.values() if watch.position is not None]
        if not held:
            return NONE
        if self._fresh:
            return TRADER
        blind = [watch.position for watch in held if watch.blind]
        if all(position is not None and position.resting for position in blind):
            return VENUE if blind else OURS
        return NOBODY

    def _look(self, event: Looked, now_ns: int) -> None:
        lease_ns = self._terms.lease_ns
        begins = now_ns - self._began_ns < lease_ns and not self._resumes
        self._fresh = begins or (event.age_ns is not None and event.age_ns < lease_ns)
        positions = {one.pair: one for one in event.lease.positions} if event.lease is not None else {}
        renewed_ns = event.lease.renewed_ns if event.lease is not None else 0
        for pair in positions:
            if pair not in self._watches:
                self._watches[pair] = _Watch(pair, self._terms)
        for pair, watch in self._watches.items():
            watch.look(positions.get(pair), self._fresh, renewed_ns, now_ns)

    def _apply(self, watch: _Watch, event: Event, now_ns: int) -> None:
        match event:
            case Claimed():
                watch.busy, watch.claimed = False, True
            case Priced():
                watch.prices(event.trades, now_ns)
            case Found():
                watch.found(event.order_id, event.order, now_ns)
            case Free():
                watch.free(event)
            case Refused():
                watch.refused(event.order_id, event.why, now_ns)
            case Lost():
                watch.lost(event.order_id, event.why, now_ns)
            case Failed():
                watch.failed(event.action, event.why, now_ns)
