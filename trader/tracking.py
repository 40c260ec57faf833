"""One order's life at the venue as a pure machine: what became known comes in, what to tell and what to ask come out.

`due` names the calls that an order waits for, at most one that changes something (send, cancel) and one that asks;
`begin` says that one goes out, `handle` takes what came of it. Times are monotonic nanoseconds. The rules, each with a
test of its name:

* intent_first: nothing is sent before its intent is on the disk; an exit or a cancel whose intent the disk does not
  take within INTENT_S goes out all the same, and that is told.
* sent_once: a request to create that may have been taken is never sent again.
* certainly_not_sent: an exit is tried again with a back-off, an entry too, and is given up when it is older than its
  time-out; after TRIES_MAX the exit is refused (it is decided anew then).
* unknown: looked up by its id at once and again; absent only once a request that was lost can no longer be taken (and
  LAG_S more), it was asked for at least LOOKS_MIN times, and is neither among the open orders nor behind any fill.
  Of an adopted one that counts from the first start that took it up (`trader.unanswered`).
* found: it is accepted, with its fills. An order that the venue has told of is not absent where a query does not find
  it: after FORGOTTEN_S of that it is refused, and told as an error.
* fills_add_up: an order is told as over when the venue calls it over and the fills add up to what it says was filled.
* late_fill: an order that was over with a rest is looked at once more, and at a nudge; what it filled is still told.
* stray: an order that was called absent and comes all the same is cancelled, and what it filled is told.
* late_rejection: accepted and rejected later, without a fill, is refused.
* cancel_race: a cancel that is refused, or whose answer is lost, decides nothing: the order is looked up, and the
  cancel asked again until the venue tells that it is over.
* cancel_unsent: what was not sent yet is dropped, and told as cancelled.
* rest_ends: what a limit order did not fill in its time is cancelled: an entry's by ENTRY_TIMEOUT_MS.
* cut_to_free: an exit that the venue refuses is sent again at once, under the same id, with the free balance where
  that is less than the order and still one; never with more. Where too little is free it is refused with both figures.
  It is asked for after a refusal alone: a balance known from before may be older than the cancel that freed the coin.
* new_rules: refused by the venue's words, its rules are read anew; where they make another quantity or price of the
  order, that one is sent under the same id.
* asked_once: balance and rules are asked for once each in an order's life; a refusal after that ends it.
* clock_wrong: refused for its stamp, after the clock was measured anew: refused, and told as an error.
* paused: what may not be sent is dropped, and never sent later.
* stop_rests: a stop goes out behind exits and only once its intent is on the disk; it is looked at soon after it was
  accepted or had news, then every REST_LOOK_S, and is cancelled only when the fold asks for it.
* nudged: news on the stream makes the next look due at once, and so does a stream that is there again.
* urgent: what an exit or a position's protection waits for is asked before routine: an order that sells, one that is
  being cancelled, an entry that cannot rest, an entry or a stop of which there is news, one taken up at a start, fills
  that are told and not here yet.
"""

from collections.abc import Sequence
from decimal import Decimal

from core.money import plain, price_on_tick
from trader.broker import BrokerEvent
from trader.executed import Before, Executed
from trader.looking import LAST_LOOK_S, Looking
from trader.orders import OrderNews, OrderState
from trader.sending import Sending
from trader.steps import (
    UNSENT,
    CancelAsked,
    Cancelled,
    Created,
    Dropped,
    Due,
    Event,
    Failed,
    Filled,
    Found,
    FreeRead,
    Listed,
    Nudged,
    OnDisk,
    Out,
    Phase,
    RulesRead,
    Say,
    Step,
    Task,
    Urgency,
    Woke,
)
from trader.telling import Telling
from trader.terms import NS_PER_S
from venues.account import FILLED, LIMIT, REJECTED, Fill, NewOrder, Order
from venues.errors import Misconfigured, RateLimited, Rejected, Retry, Skewed, VenueError
from venues.venue import Rules

INTENT_S = 2.0
FORGOTTEN_S = 60.0  # the same of one that the venue has told of before
LAG_S = 2.0  # how long an order that was taken may be unknown to queries
CANCEL_AGAIN_S = 1.0
UNSETTLED_S = 60.0  # after which fills that do not add up are an error that a person hears of
LINGER_S = 60.0  # how long an order that was over with a rest is kept for a late fill
LATE_LOOK_S, LATE_ROUND_S = 2.0, 15.0  # looks at an order that is over: the first, and between those that found none
EXIT_REST_S = 2.0  # how long an exit with a limit may rest, where the venue refuses market orders
SUSPECTS_MAX = 5  # orders behind fills that are asked whether they are the one that is looked for
SINCE_MARGIN_MS = 60_000  # by which fills are asked for before the decision


class Tracking:
    """One order. Made new it waits for its intent; `adopted` ones are looked up and never sent."""

    def __init__(self, task: Task, now_ns: int, rules: Rules | None = None, before: Before | None = None) -> None:
        self.task = task
        self.rules = rules
        self.venue_order_id = ""
        self.phase = Phase.INTENT
        self._before = before
        self.executed = Executed(task.order_id, task.side, task.base, task.quote, task.step, before)
        self._told = Telling(task.order_id)
        self._sent = Sending(task, now_ns)
        self._since_ns = now_ns
        self._sending = self._cancelling = False  # under way
        self._sent_ns = 0
        self._seen: Order | None = None  # as the venue last told it
        self._over_ns: int | None = None
        self._look = Looking(now_ns)
        self._rest_until: int | None = None
        self._cancel_at: int | None = None
        self._cancel_s = CANCEL_AGAIN_S
        self._cancel_on_disk = False
        self._linger_until = self._late_at = 0

    @classmethod
    def adopted(
        cls,
        task: Task,
        state: OrderState,
        venue_order_id: str,
        before: Before,
        now_ns: int,
        since_ns: int | None = None,
    ) -> tuple["Tracking", list[Out]]:
        """An order of the journal that is not over, after a start; it was not sent later than `since_ns`, else now."""
        made = cls(task, now_ns, before=before)
        made.venue_order_id = venue_order_id
        made._told = Telling(task.order_id, state)
        made._sent_ns = now_ns
        out: list[Out] = []
        if state == OrderState.SUBMITTING:
            out += made._tell(OrderNews.NO_ANSWER, "looked up after a start")
        made.phase = Phase.WORKING if venue_order_id or state == OrderState.WORKING else Phase.UNKNOWN
        if made.phase == Phase.UNKNOWN:
            made._look.lose(now_ns, since_ns)
        if made.phase == Phase.WORKING:
            made._rests(now_ns)
            made._look.news = True  # until it is answered nothing is agreed, and no exit goes out
        if state == OrderState.CANCELLING:
            made._cancel_at, made._cancel_on_disk = now_ns, True
        return made, out

    # --- what is to be done ---------------------------------------------------------------------------

    @property
    def since_ms(self) -> int:
        """From when on its fills are asked for, by the venue's clock."""
        return max(0, self.task.decided_ms - SINCE_MARGIN_MS)

    @property
    def working(self) -> bool:
        """Whether it is unsent, under way, unknown or at the venue."""
        return self.phase != Phase.ENDED or (self._cancel_at is not None and self._over_ns is None)

    @property
    def rules_wanted_anew(self) -> bool:
        """Whether RULES must not be answered from memory."""
        return self.phase == Phase.REFUSED

    def done(self, now_ns: int) -> bool:
        """Whether it may be forgotten."""
        idle = not (self._sending or self._cancelling or self._look.under_way)
        return self.phase == Phase.ENDED and idle and now_ns >= self._linger_until

    def query(self) -> tuple[str, str]:
        """(client id, venue id) to look for."""
        if self._look.suspects:
            return "", self._look.suspects[0]
        return self.task.order_id, self.venue_order_id

    def new_order(self) -> NewOrder:
        """What SEND sends."""
        assert self.rules is not None
        task = self.task
        stop = None if task.stop is None else price_on_tick(task.stop, self.rules.tick, up=False)
        return NewOrder(
            self.rules,
            task.order_id,
            task.side,
            task.kind,
            self._sent.quantity,
            self._sent.price,
            stop,
            urgent=not task.entry,
        )

    def due(self) -> list[Due]:
        """What it waits for: at most one step that changes something and one that asks."""
        found = (self._due_change(), self._due_ask())
        return [due for due in found if due is not None]

    def _due_change(self) -> Due | None:
        entry = self.task.entry
        urgency = self._urgency
        gives_up = self._since_ns + self.task.timeout_ns
        if self.phase in UNSENT:
            at_ns = self._sent.at_ns if self.phase == Phase.READY else self._since_ns + int(INTENT_S * NS_PER_S)
            if entry and (self.phase == Phase.INTENT or self.rules is None or at_ns >= gives_up):
                return Due(urgency, gives_up, Step.WAKE)
            if self.task.stop is not None and self.phase == Phase.INTENT:
                return None
            return None if self.rules is None else Due(urgency, at_ns, Step.SEND)
        there = self.phase in (Phase.WORKING, Phase.ENDED) and self._over_ns is None
        if not there or self._cancelling or self.rules is None:
            return None
        if self._cancel_at is not None:
            return Due(Urgency.CANCEL, self._cancel_at, Step.CANCEL)
        return None if self._rest_until is None else Due(Urgency.CANCEL, self._rest_until, Step.WAKE)

    @property
    def _urgency(self) -> Urgency:
        if self.task.entry:
            return Urgency.ENTRY
        return Urgency.EXIT if self.task.stop is None else Urgency.STOP

    @property
    def _protects(self) -> bool:
        """Whether an exit or a position's protection waits for the next look."""
        if self._look.step == Step.FILLS:
            return True
        if self.phase != Phase.WORKING:
            return False
        if self._cancel_at is not None or self._over_ns is not None or self._look.news:
            return True
        return self.task.kind != LIMIT if self.task.entry else self.task.stop is None

    def _due_ask(self) -> Due | None:
        at_ns = self._look.at_ns
        if self._look.under_way or at_ns is None or self.phase == Phase.SENDING:
            return None
        if self.phase == Phase.REFUSED:
            return Due(self._urgency, at_ns, self._sent.asks[0])
        if self.phase in UNSENT:
            return Due(self._urgency, at_ns, Step.RULES) if self.rules is None else None
        urgency = Urgency.PROTECTS if self._protects else Urgency.WORKING
        urgency = Urgency.UNKNOWN if self._look.missing else urgency
        return Due(urgency, at_ns, Step.RULES if self.rules is None else self._look.step)

    def begin(self, step: Step, now_ns: int) -> tuple[bool, list[Out]]:
        """A step is taken now: whether its call goes out, and what is to be told."""
        out: list[Out] = []
        if step == Step.WAKE:
            return False, self.handle(Woke(), now_ns)
        if step == Step.SEND:
            if self.task.entry and now_ns >= self._since_ns + self.task.timeout_ns:
                return False, self.handle(Woke(), now_ns)
            if self.phase == Phase.INTENT:
                out.append(Say("warn", f"exit {self.task.order_id} goes out before its intent is on the disk"))
            self.phase, self._sending, self._sent_ns = Phase.SENDING, True, now_ns
        elif step == Step.CANCEL:
            if not self._cancel_on_disk:
                out.append(Say("warn", f"the cancel of {self.task.order_id} goes out before it is on the disk"))
            self._cancelling = True
        else:
            self._look.begin(step, now_ns, self._grace_ns)
        return True, out

    # --- what became known ------------------------------------------------------------------------------

    def handle(self, event: Event, now_ns: int) -> list[Out]:
        """Takes what became known; gives what is to be told, in order."""
        match event:
            case OnDisk():
                return self._on_disk(event.cancel, now_ns)
            case CancelAsked():
                return self._cancel_asked(now_ns)
            case Nudged():
                self._nudged(now_ns, event.surely or self.task.entry)
                return []
            case Woke():
                return self._woke(now_ns)
            case Dropped():
                return self._dropped(event.why)
            case RulesRead():
                self._look.under_way = False
                return self._rules_read(event.rules, now_ns)
            case FreeRead():
                self._look.under_way = False
                return self._resize(self.rules, event.amount, now_ns)
            case Created():
                self._sending = False
                return self._see(event.order, now_ns)
            case Cancelled():
                self._cancelling = False
                self._cancel_later(now_ns, 0.0)
                return []
            case Found():
                self._look.under_way = False
                out = self._found(event.order, now_ns)
            case Listed():
                self._look.under_way = False
                mine = next((item for item in event.orders if self._is_it(item)), None)
                out = self._see(mine, now_ns) if mine else self._ask(Step.FILLS, now_ns)
            case Filled():
                self._look.under_way = False
                out = self._filled(event.fills, now_ns)
            case Failed():
                return self._failed(event.step, event.error, now_ns)
        self._look.answered(now_ns)
        return out

    def _on_disk(self, cancel: bool, now_ns: int) -> list[Out]:
        if cancel:
            self._cancel_on_disk = True
            if self._cancel_at is not None:
                self._cancel_at = min(self._cancel_at, now_ns)
        elif self.phase == Phase.INTENT:
            self.phase, self._sent.at_ns = Phase.READY, now_ns
        return []

    def _cancel_asked(self, now_ns: int) -> list[Out]:
        self._told.follow(OrderNews.CANCEL_SENT)
        if self.phase in UNSENT:
            return self._end(None, OrderNews.CANCEL_DONE, "cancelled before it was sent")
        if self.phase != Phase.ENDED and self._cancel_at is None:
            self._cancel_at = now_ns + int(INTENT_S * NS_PER_S)
            self._sent.no_more = self._sent.no_more or "it was cancelled meanwhile"
        return []

    def _dropped(self, why: str) -> list[Out]:
        if self.phase in UNSENT:
            return self._refuse(f"not sent: {why}", unsent=True)
        if self.phase in (Phase.SENDING, Phase.REFUSED):
            self._sent.no_more = why
        return []

    def _nudged(self, now_ns: int, news: bool = True) -> None:
        if self.phase in UNSENT or self.phase in (Phase.SENDING, Phase.REFUSED):
            return
        if self.phase == Phase.ENDED and now_ns >= self._linger_until:
            return
        self._look.nudge(now_ns, news)

    def _woke(self, now_ns: int) -> list[Out]:
        if self.phase in UNSENT and self.task.entry and now_ns >= self._since_ns + self.task.timeout_ns:
            why = (
                "its intent is not on the disk"
                if self.phase == Phase.INTENT
                else self._sent.why_unsent or "it took too long"
            )
            return self._refuse(f"not sent: {why}", unsent=True)
        resting = self.phase == Phase.WORKING and self._cancel_at is None and self._over_ns is None
        if resting and self._rest_until is not None and now_ns >= self._rest_until:
            self._cancel_at, self._cancel_on_disk = now_ns, True
            return self._tell(OrderNews.CANCEL_SENT, "entry_timeout" if self.task.entry else "exit_timeout")
        return []

    # --- sending ----------------------------------------------------------------------------------------

    def _rules_read(self, rules: Rules | None, now_ns: int) -> list[Out]:
        before, self.rules = self.rules, rules or self.rules
        self._look.at_ns = now_ns
        if rules is not None and not self.task.step:
            self._measured(rules)
        if self.phase == Phase.REFUSED:
            return self._resize(rules, None, now_ns)
        if rules is None and self.phase in UNSENT:
            return self._refuse(f"not sent: the venue does not list {self.task.pair}", unsent=True)
        if rules is None and before is None:
            self._look.later(now_ns)
            return self._told.once("error", f"the venue lists {self.task.pair} no more")
        return []

    def _measured(self, rules: Rules) -> None:
        """An adopted order whose market was not known: its lots are those of the venue's rules of now."""
        self.task = task = self.task._replace(base=rules.base, quote=rules.quote, step=rules.step)
        self._sent.quantity = task.lots * task.step
        self.executed = Executed(task.order_id, task.side, task.base, task.quote, task.step, self._before)

    def _resize(self, rules: Rules | None, free: Decimal | None, now_ns: int) -> list[Out]:
        """Refused by the venue's words, and asked why: once more, if that makes another order of it."""
        if not self._sent.resize(rules, free, now_ns):
            self._look.at_ns = now_ns
            return [] if self._sent.asks else self._refuse(self._sent.refusal)
        self.phase = Phase.READY
        return self._told.once("warn", f"refused ({self._sent.refusal}), and sent with {self._sent.note}")

    def _send_failed(self, error: VenueError, now_ns: int) -> list[Out]:
        self._sending = False
        if isinstance(error, Skewed):
            text = f"our clock or nonce is wrong: {error.text}"
            return [*self._told.once("error", text), *self._refuse(text)]
        if isinstance(error, Misconfigured):
            return [*self._told.once("error", str(error)), *self._refuse(error.text)]
        if isinstance(error, Rejected):
            if not self._sent.refused(error.text):
                return self._refuse(error.text)
            self.phase, self._look.at_ns = Phase.REFUSED, now_ns
            return []
        if isinstance(error, Retry):  # raised by `create` only where it was certainly not taken
            words = self._sent.again(error, now_ns)
            self.phase = Phase.READY
            return self._refuse(words, unsent=True) if words else []
        self.phase = Phase.UNKNOWN
        self._look.lose(now_ns)
        return self._tell(OrderNews.NO_ANSWER, error.text)

    def _refuse(self, note: str, *, unsent: bool = False) -> list[Out]:
        self._over(None)
        event = BrokerEvent(self.task.order_id, OrderNews.REFUSED, note=note, lacks=self._sent.lacks, unsent=unsent)
        return self._tell_all([event])

    # --- at the venue -----------------------------------------------------------------------------------

    def _rests(self, accepted_ns: int) -> None:
        task = self.task
        if task.entry:
            self._rest_until = accepted_ns + task.timeout_ns
        elif task.kind == LIMIT:
            self._rest_until = accepted_ns + int(EXIT_REST_S * NS_PER_S)

    def _see(self, order: Order, now_ns: int) -> list[Out]:
        """The venue tells the order."""
        out: list[Out] = []
        self.venue_order_id = order.venue_order_id or self.venue_order_id
        self._look.find()
        if self.phase in (Phase.SENDING, Phase.UNKNOWN):
            self._rests(now_ns if self.phase == Phase.SENDING else self._sent_ns)
            found = "found at the venue" if self.phase == Phase.UNKNOWN else ""
            self.phase = Phase.WORKING
            self._look.soon()
            out += self._tell(OrderNews.ACCEPTED, self._sent.note or found)
        stale = self._seen is not None and self._over_ns is not None and order.filled <= self._seen.filled
        if not stale:
            self._seen = order
            if not order.live and self._over_ns is None:
                self._over_ns = now_ns
                if self.phase == Phase.ENDED:
                    self._linger(now_ns)
            if order.live and self.phase == Phase.ENDED:
                out += self._stray(now_ns)
        return out + self._settle(self.executed.take(order.fills), now_ns)

    def _found(self, order: Order | None, now_ns: int) -> list[Out]:
        if self._look.suspects:
            if order is not None and order.client_order_id == self.task.order_id:
                return self._see(order, now_ns)
            self._look.suspects.pop(0)
            return self._ask(Step.LOOK, now_ns) if self._look.suspects else self._absent(now_ns)
        if order is not None:
            return self._see(order, now_ns)
        if self.phase == Phase.ENDED:
            again_ns = now_ns + int(LATE_ROUND_S * NS_PER_S)
            self._look.at_ns = self._late_at if self._late_at > now_ns else again_ns
            return []
        self._look.miss(now_ns, self._grace_ns)
        return []

    def _filled(self, fills: Sequence[Fill], now_ns: int) -> list[Out]:
        told = self.executed.take(fill for fill in fills if self._is_mine(fill))
        if not self._look.missing:
            out = self._settle(told, now_ns)
            self._look.step = Step.LOOK
            return out
        if not self.executed.empty:  # its fills are there and the order is not: it is over
            if self._complete:
                return self._finish(told, now_ns)
            words = "the venue tells of its fills and of no order"
            said = self._told.once("error", words)
            return [*said, *self._tell_all(told), *self._end(now_ns, OrderNews.CANCEL_DONE, words)]
        others = [fill.venue_order_id for fill in fills if not fill.client_order_id and fill.side == self.task.side]
        self._look.suspects = list(dict.fromkeys(reversed(others)))[:SUSPECTS_MAX] if not self.venue_order_id else []
        return self._ask(Step.LOOK, now_ns) if self._look.suspects else self._absent(now_ns)

    @property
    def _grace_ns(self) -> int:
        return int(FORGOTTEN_S * NS_PER_S) if self._known else self.task.lives_ns + int(LAG_S * NS_PER_S)

    @property
    def _known(self) -> bool:
        """Whether the venue is known to have it, or to have had it."""
        return self._seen is not None or bool(self.venue_order_id)

    def _is_it(self, order: Order) -> bool:
        if order.client_order_id:
            return order.client_order_id == self.task.order_id
        return bool(self.venue_order_id) and order.venue_order_id == self.venue_order_id

    def _is_mine(self, fill: Fill) -> bool:
        by_venue = bool(self.venue_order_id) and fill.venue_order_id == self.venue_order_id
        return by_venue or fill.client_order_id == self.task.order_id

    @property
    def _complete(self) -> bool:
        return self.executed.quantity >= self.task.lots * self.task.step

    def _settle(self, fills: list[BrokerEvent], now_ns: int) -> list[Out]:
        """Tells fills, and the end where the venue calls it over and they add up; else when to look again."""
        seen = self._seen
        lacking = seen is not None and self.executed.quantity < seen.filled
        if self.phase == Phase.ENDED:
            if self._complete and fills:
                fills[-1] = fills[-1]._replace(news=OrderNews.ALL_FILLED)
                self._linger_until = self._late_at = 0
            self._look.at_ns = self._late_at if self._late_at > now_ns else None
            if lacking:
                self._ask_fills(now_ns)
            elif self.working:
                self._look.later(now_ns)
            return self._tell_all(fills)
        if self._over_ns is not None and not lacking:
            short = seen is not None and seen.status == FILLED and self.executed.quantity < self._sent.quantity
            if not short or now_ns - self._over_ns >= LATE_LOOK_S * NS_PER_S:
                return self._finish(fills, now_ns)
        if fills:
            self._look.soon()
        if lacking:
            self._ask_fills(now_ns)
        elif self.task.stop is not None and self._cancel_at is None and self._over_ns is None and self.executed.empty:
            self._look.rest(now_ns)
        else:
            self._look.later(now_ns)
        out = self._tell_all(fills)
        if self._over_ns is not None and now_ns - self._over_ns >= UNSETTLED_S * NS_PER_S and seen is not None:
            told = f"{plain(seen.filled)} was filled by the venue's order, {plain(self.executed.quantity)} by its fills"
            out += self._told.once("error", f"{told}; asked again until they agree")
        return out

    def _ask_fills(self, now_ns: int) -> None:
        """At once after a look; where they were asked for just now, later."""
        self._look.later(now_ns)
        if self._look.step == Step.LOOK:
            self._look.ask(Step.FILLS, now_ns)

    def _finish(self, fills: list[BrokerEvent], now_ns: int) -> list[Out]:
        """The order is over and all its fills are here."""
        if self._complete:
            fills = fills or [BrokerEvent(self.task.order_id, OrderNews.ALL_FILLED)]
            fills[-1] = fills[-1]._replace(news=OrderNews.ALL_FILLED)
            self._over(None)
            return self._tell_all(fills)
        seen = self._seen
        rejected = seen is not None and seen.status == REJECTED and self.executed.empty
        reason = ", ".join(word for word in (self._sent.note, "" if seen is None else seen.reason) if word)
        news = OrderNews.REFUSED if rejected else OrderNews.CANCEL_DONE
        return [*self._tell_all(fills), *self._end(None if rejected else now_ns, news, reason)]

    def _absent(self, now_ns: int) -> list[Out]:
        """Looked for everywhere: the venue does not have it."""
        if not self._known and self._told.may(OrderNews.ABSENT):
            return self._end(now_ns, OrderNews.ABSENT, "the venue never had it")
        words = "the venue does not know it any more"
        said = self._told.once("error", words)
        return [*said, *self._end(now_ns, OrderNews.REFUSED, words)]

    def _stray(self, now_ns: int) -> list[Out]:
        """It was over for us and is at the venue: a request that took longer than any is known to take."""
        self._cancel_at = now_ns if self._cancel_at is None else self._cancel_at
        self._cancel_on_disk = True
        self._linger_until = now_ns + int(LINGER_S * NS_PER_S)
        return self._told.once("error", "it came after it was given up: it is cancelled")

    def _failed(self, step: Step, error: VenueError, now_ns: int) -> list[Out]:
        if step == Step.SEND:
            return self._send_failed(error, now_ns)
        wait_s = error.retry_after_s if isinstance(error, RateLimited) else 0.0
        told = self._told.once("error", str(error)) if isinstance(error, Misconfigured) else []
        if step == Step.CANCEL:
            self._cancelling = False
            self._cancel_later(now_ns, wait_s)
            return told
        self._look.under_way = False
        if self.phase == Phase.REFUSED:
            return told + self._resize(None, None, now_ns)
        self._look.failed(now_ns, wait_s)
        if self.phase in UNSENT:
            self._sent.why_unsent = error.text
        return told

    def _cancel_later(self, now_ns: int, wait_s: float) -> None:
        """After an answer to the cancel, or none: the order is looked up, and the cancel asked again if it lives."""
        if not self.working:
            return
        self._cancel_at = now_ns + int(max(self._cancel_s, wait_s) * NS_PER_S)
        self._cancel_s = min(self._cancel_s * 2, LAST_LOOK_S)
        self._nudged(now_ns)

    # --- telling ----------------------------------------------------------------------------------------

    def _ask(self, step: Step, now_ns: int) -> list[Out]:
        self._look.ask(step, now_ns)
        return []

    def _over(self, linger_from_ns: int | None) -> None:
        """It is over; kept for a late fill where it had a rest."""
        self.phase = Phase.ENDED
        self._cancel_at = self._rest_until = None
        self._look.end(None)
        if linger_from_ns is not None:
            self._linger(linger_from_ns)

    def _linger(self, from_ns: int) -> None:
        self._linger_until = from_ns + int(LINGER_S * NS_PER_S)
        self._late_at = from_ns + int(LATE_LOOK_S * NS_PER_S)
        self._look.end(self._late_at)

    def _end(self, linger_from_ns: int | None, news: OrderNews, note: str) -> list[Out]:
        self._over(linger_from_ns)
        return self._tell(news, note)

    def _tell(self, news: OrderNews, note: str) -> list[Out]:
        return self._tell_all([BrokerEvent(self.task.order_id, news, note=note)])

    def _tell_all(self, events: list[BrokerEvent]) -> list[Out]:
        return self._told.tell(events, self.venue_order_id)
