"""The worker that carries orders to the venue: what each tracked order waits for, one call at a time, exits first.

* exit_first: of all that is due, exits go first, then cancels, stops that are to rest at the venue, look-ups of orders
  whose outcome is unknown, questions that an exit or a position's protection waits for, entries, and routine looks.
* more_hands: a second thread takes only what protects (exits, cancels, stops), a third one only urgent questions, so
  that no exit waits for a question's room or answer, and no question of an exit for an entry.
* urgent: what is asked for the sake of an exit or of protection may use the share of the limits kept for exits.
* in_order: what is told of an order is told in the order in which it became known.
* paused: what may not be sent is dropped at once, and again just before it would go out.
* crashed: a thread that dies says so, the others stop, and the stage's next call raises it.

What to do next is decided in `trader.tracking`; nothing here decides.
"""

import threading
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from core.clock import NS_PER_S, Clock
from core.errors import BotError
from trader.broker import BrokerEvent
from trader.steps import (
    UNSENT,
    URGENT,
    Cancelled,
    Created,
    Dropped,
    Event,
    Failed,
    Filled,
    Found,
    FreeRead,
    Listed,
    Nudged,
    Out,
    RulesRead,
    Say,
    Step,
    Urgency,
)
from trader.tracking import Tracking
from venues.account import Account
from venues.errors import VenueError
from venues.venue import Rules

MOST_TRACKED = 1_000
MOST_REMEMBERED = 10_000  # ids that were sent
MOST_STAMPS = 1_000
LOOK_ROUND_S = 0.1  # how often it is asked whether sending is allowed, while something is unsent
IDLE_S = 60.0

Deliver = Callable[[list[BrokerEvent]], object]
Speak = Callable[[str, str], object]


class Hand(StrEnum):
    """The threads, by what they take."""

    ALL = "orders"
    PROTECTS = "exits"
    ASKS = "questions"


class Sent(NamedTuple):
    """When a request to create went out, in monotonic nanoseconds."""

    order_id: str
    began_ns: int  # the call
    written_ns: int  # its first byte; 0 where none left
    answered_ns: int


class Courier:
    """Tracked orders and the threads that serve them; safe to use from several threads.

    `deliver` and `say(level, text)` are called on a worker's thread, `may_send` with the lock held: it must not block.
    `written_ns` tells when the calling thread's last request began to leave.
    """

    def __init__(
        self,
        account: Account,
        markets: Callable[[], list[Rules]],
        clock: Clock,
        deliver: Deliver,
        may_send: Callable[[], str],
        say: Speak,
        written_ns: Callable[[], int] = lambda: 0,
    ) -> None:
        self._account = account
        self._markets = markets
        self._clock = clock
        self._deliver = deliver
        self._may_send = may_send
        self._say = say
        self._written_ns = written_ns
        self._ready = threading.Condition()
        self._orders: dict[str, Tracking] = {}
        self._known: dict[str, None] = {}  # ids, the oldest first: none is taken twice
        self._rules: dict[str, Rules] = {}
        self._outbox: deque[Out] = deque()
        self._delivering = threading.Lock()
        self._closing = False
        self._crash: Exception | None = None
        self._threads: list[threading.Thread] = []
        self.sent: deque[Sent] = deque(maxlen=MOST_STAMPS)

    # --- the stage's side -------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises BotError where a worker died."""
        if self._crash is not None:
            raise BotError(f"the orders' worker died: {self._crash!r}") from self._crash

    def rules(self, pair: str) -> Rules | None:
        """A market's rules, as far as they were read."""
        return self._rules.get(pair)

    def now_ns(self) -> int:
        """The courier's clock."""
        return self._clock.monotonic_ns()

    def add(self, order: Tracking, out: list[Out]) -> None:
        """Takes an order and what is to be told of it already. Raises BotError for one that was taken before."""
        with self._ready:
            order_id = order.task.order_id
            if order_id in self._known:
                raise BotError(f"order {order_id} was sent before: no order is sent twice")
            self._forget(self.now_ns())
            if len(self._orders) >= MOST_TRACKED:
                raise BotError(f"{MOST_TRACKED} orders are not settled: look at the venue")
            self._orders[order_id] = order
            self._known[order_id] = None
            while len(self._known) > MOST_REMEMBERED:
                del self._known[next(iter(self._known))]
            self._outbox += out
            self._ready.notify_all()

    def handle(self, order_id: str, event: Event) -> None:
        """Something became known of an order; nothing where it is not tracked (any more)."""
        with self._ready:
            order = self._orders.get(order_id)
            if order is not None:
                self._outbox += order.handle(event, self.now_ns())
                self._ready.notify_all()

    def nudge(self, order_id: str = "", *, surely: bool = True) -> None:
        """Looks at an order, or at all of them, now; `surely`: there is news."""
        with self._ready:
            for order in self._orders.values():
                if order_id in ("", order.task.order_id, order.venue_order_id):
                    self._outbox += order.handle(Nudged(surely), self.now_ns())
            self._ready.notify_all()

    def drop(self, why: str) -> None:
        """Drops all that was not sent yet."""
        with self._ready:
            self._drop(why)
            self._ready.notify_all()

    @property
    def settled(self) -> bool:
        """Whether nothing is unsent, under way, unknown or working, and all is told."""
        with self._ready:
            return not self._outbox and not any(order.working for order in self._orders.values())

    def start(self) -> None:
        """Starts the threads."""
        for hand in Hand:
            thread = threading.Thread(target=self._serve, args=(hand,), name=f"courier-{hand}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self, timeout_s: float) -> None:
        """Lets the threads end; what is unsent stays unsent, what is under way is looked up after the next start."""
        with self._ready:
            self._closing = True
            self._ready.notify_all()
        for thread in self._threads:
            thread.join(timeout_s)

    # --- a worker's side --------------------------------------------------------------------------------

    def turn(self, hand: Hand) -> bool:
        """Takes one step that is due, and tells what came of it; False where none is."""
        with self._ready:
            picked = None if self._closing else self._begin(hand)
        self._flush()
        if picked is None:
            return False
        order, step, call = picked
        if call is None:
            return True
        began_ns = self.now_ns()
        event = _done(step, call)
        answered_ns = self.now_ns()
        if step == Step.SEND:
            written_ns = self._written_ns()
            written_ns = written_ns if written_ns >= began_ns else 0  # of an earlier request
            self.sent.append(Sent(order.task.order_id, began_ns, written_ns, answered_ns))
        with self._ready:
            self._outbox += order.handle(event, answered_ns)
            self._ready.notify_all()
        self._flush()
        return True

    def _begin(self, hand: Hand) -> tuple[Tracking, Step, Callable[[], Event] | None] | None:
        now_ns = self.now_ns()
        why = self._may_send()
        if why:
            self._drop(why)
        self._forget(now_ns)
        ready = [
            (due.urgency, due.at_ns, order_id, due.step)
            for order_id, order in self._orders.items()
            for due in order.due()
            if due.at_ns <= now_ns and _takes(hand, due.urgency, due.step)
        ]
        if not ready:
            return None
        urgency, _, order_id, step = min(ready)
        order = self._orders[order_id]
        goes, out = order.begin(step, now_ns)
        self._outbox += out
        return order, step, self._call(order, step, urgency in URGENT) if goes else None

    def _call(self, order: Tracking, step: Step, urgent: bool) -> Callable[[], Event]:
        """The call of a step, with what it needs to know as of now."""
        account, pair = self._account, order.task.pair
        if step == Step.RULES:
            anew = order.rules_wanted_anew
            return lambda: RulesRead(self._read_rules(pair, anew))
        rules = order.rules
        assert rules is not None
        if step == Step.BALANCE:
            return lambda: FreeRead(_free(account, rules.base))
        client_id, venue_id, since_ms = order.task.order_id, order.venue_order_id, order.since_ms
        if step == Step.SEND:
            new = order.new_order()
            return lambda: Created(account.create(new))
        if step == Step.CANCEL:
            return lambda: _cancelled(account, rules, client_id, venue_id)
        if step == Step.OPEN:
            return lambda: Listed(account.open_orders(rules, urgent=urgent))
        if step == Step.FILLS:
            return lambda: Filled(account.fills(rules, since_ms, urgent=urgent))
        query = order.query()
        return lambda: Found(account.order(rules, *query, urgent=urgent))

    def _read_rules(self, pair: str, anew: bool) -> Rules | None:
        found = None if anew else self._rules.get(pair)
        if found is None:
            rules = {item.pair: item for item in self._markets()}
            with self._ready:
                self._rules = rules
            found = rules.get(pair)
        return found

    def _drop(self, why: str) -> None:
        for order in self._orders.values():
            self._outbox += order.handle(Dropped(why), self.now_ns())

    def _forget(self, now_ns: int) -> None:
        for order_id in [order_id for order_id, order in self._orders.items() if order.done(now_ns)]:
            del self._orders[order_id]

    def _flush(self) -> None:
        """Hands over what is to be told; one thread at a time, so that the order stays."""
        with self._delivering:
            with self._ready:
                out = list(self._outbox)
                self._outbox.clear()
            events: list[BrokerEvent] = []
            for item in out:
                if isinstance(item, Say):
                    self._say(item.level, item.text)
                else:
                    events.append(item)
            if events:
                self._deliver(events)

    # --- the threads ------------------------------------------------------------------------------------

    def _serve(self, hand: Hand) -> None:
        try:
            if hand == Hand.ALL:
                self._read_ahead()
            while not self._closing:
                if not self.turn(hand):
                    self._wait(hand)
        except Exception as error:  # noqa: BLE001 (the stage's thread raises it)
            with self._ready:
                self._crash = error
                self._closing = True
                self._ready.notify_all()
            self._say("error", f"the orders' worker died: {error!r}")

    def _read_ahead(self) -> None:
        """The first order is not to wait for the list of markets."""
        try:
            self._read_rules("", False)
        except VenueError:
            return  # an order asks again, and tells

    def _wait(self, hand: Hand) -> None:
        with self._ready:
            if self._closing or self._outbox:
                return
            times = [
                due.at_ns
                for order in self._orders.values()
                for due in order.due()
                if _takes(hand, due.urgency, due.step)
            ]
            wait_s = (min(times) - self.now_ns()) / NS_PER_S if times else IDLE_S
            if any(order.phase in UNSENT for order in self._orders.values()):
                wait_s = min(wait_s, LOOK_ROUND_S)
            if wait_s > 0:
                self._ready.wait(min(wait_s, IDLE_S))


def _takes(hand: Hand, urgency: Urgency, step: Step) -> bool:
    """Whether a thread takes such a step."""
    changes = step in (Step.SEND, Step.CANCEL, Step.WAKE)
    return hand == Hand.ALL or (urgency in URGENT and changes == (hand == Hand.PROTECTS))


def _free(account: Account, coin: str) -> Decimal:
    return sum((one.free for one in account.balances(urgent=True) if one.currency == coin), Decimal(0))


def _cancelled(account: Account, rules: Rules, client_order_id: str, venue_order_id: str) -> Event:
    account.cancel(rules, client_order_id, venue_order_id)
    return Cancelled()


def _done(step: Step, call: Callable[[], Event]) -> Event:
    try:
        return call()
    except VenueError as error:
        return Failed(step, error)
