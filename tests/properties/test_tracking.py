"""Whatever a venue answers, loses, tells twice or late: at most one order, every order ends, its fills are told.

The venue here is a model with a script of faults; answers of calls under way come back in any order.
"""

from decimal import Decimal
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from core.clock import NS_PER_S
from core.money import steps_down, steps_up
from trader.broker import BrokerEvent
from trader.orders import TERMINAL, OrderNews, OrderState, advance
from trader.steps import (
    CancelAsked,
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
    OnDisk,
    Phase,
    RulesRead,
    Step,
    Task,
)
from trader.tracking import Tracking
from venues import account
from venues.account import Fill, Order
from venues.errors import OutcomeUnknown, RateLimited, Rejected, Retry, Skewed, VenueError
from venues.venue import Rules

STEP = Decimal("0.001")
RULES = Rules("P", "S", "BTC", "USDT", Decimal("0.1"), STEP, STEP, Decimal(1))
COARSE = Rules("P", "S", "BTC", "USDT", Decimal("0.1"), Decimal("0.004"), STEP, Decimal(1))
LIVES_S = 6
TIMEOUT_S = 5
CALM_S = 120  # from here on nothing goes wrong
END_S = 600


class Script(NamedTuple):
    """What happens, in seconds since the order was submitted."""

    entry: bool
    lots: int
    on_disk_s: float | None
    creates: tuple[str, ...]  # outcomes of the first tries; after that: ok
    late_s: float  # when a request that was lost on its way arrives after all
    lag_s: float  # how long an order is unknown to queries
    fills: tuple[tuple[float, int, str], ...]  # after acceptance: seconds, share of what is left in percent, fee in
    end_s: float  # after acceptance the venue ends it
    end_as: str
    fills_lag_s: float
    filled_lag_s: float  # how far the filled quantity of the order is behind its state
    cancel_s: float | None
    cancels: tuple[str, ...]
    asks: tuple[bool, ...]  # whether the first questions are answered
    nudges: tuple[float, ...]
    back: tuple[int, ...]  # which answer of those under way comes first, and how slow it is
    anew: bool  # the rules are others when they are read anew
    free: int  # lots of the coin that are free
    drop_s: float | None


seconds = st.floats(0, 20, allow_nan=False).map(lambda value: round(value, 3))
scripts = st.builds(
    Script,
    entry=st.booleans(),
    lots=st.integers(1, 40),
    on_disk_s=st.none() | st.floats(0, 8),
    creates=st.lists(
        st.sampled_from(["ok", "fills", "taken", "late", "never", "retry", "limited", "rejected", "skewed"]), max_size=4
    ).map(tuple),
    late_s=st.floats(0, LIVES_S - 0.01) | st.floats(0, 40),
    lag_s=st.floats(0, 1.9),
    fills=st.lists(st.tuples(seconds, st.integers(1, 100), st.sampled_from(["USDT", "BTC", "BNB"])), max_size=6).map(
        tuple
    ),
    end_s=st.floats(0, 60),
    end_as=st.sampled_from([account.CANCELLED, account.EXPIRED, account.REJECTED]),
    fills_lag_s=st.floats(0, 3),
    filled_lag_s=st.just(0.0) | st.floats(0, 1.9),
    cancel_s=st.none() | seconds,
    cancels=st.lists(st.sampled_from(["ok", "lost", "lost_done", "slow"]), max_size=4).map(tuple),
    asks=st.lists(st.booleans(), max_size=12).map(tuple),
    nudges=st.lists(seconds, max_size=5).map(tuple),
    back=st.lists(st.integers(0, 5), max_size=30).map(tuple),
    anew=st.booleans(),
    free=st.integers(0, 50),
    drop_s=st.none() | seconds,
)


class Venue:
    """One order at most, and what it tells of it."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.sent = 0
        self.taken: list[tuple[float, Decimal]] = []  # when, how much
        self.uncertain = False  # a create may have been taken
        self.ended_s: float | None = None
        self._creates = list(script.creates)
        self._cancels = list(script.cancels)
        self._asks = list(script.asks)

    # --- what is true at a time ---

    def fills(self, now_s: float) -> list[Fill]:
        found: list[Fill] = []
        if not self.taken or self.taken[0][0] > now_s:
            return found
        at_s, quantity = self.taken[0]
        left = steps_down(quantity, STEP)
        for number, (after_s, share, fee_in) in enumerate(sorted(self.script.fills)):
            time_s = at_s + after_s
            over_s = at_s + self.script.end_s if self.ended_s is None else self.ended_s
            if time_s > min(now_s, over_s) or left == 0:
                continue
            lots = max(1, left * share // 100)
            left -= lots
            fee = Decimal(lots) * STEP / 1000 if fee_in == "BTC" else Decimal("0.0123456")
            quantity_of = lots * STEP
            found.append(
                Fill(
                    f"{number}",
                    "v1",
                    "",
                    "S",
                    "buy" if self.script.entry else "sell",
                    Decimal("101.7"),
                    quantity_of,
                    fee,
                    fee_in,
                    int(time_s * 1000) + 100_000,
                )
            )
        return found

    def order(self, now_s: float, id_: str = "o1") -> Order | None:
        if not self.taken or self.taken[0][0] > now_s:
            return None
        at_s, quantity = self.taken[0]
        truly = sum((fill.quantity for fill in self.fills(now_s)), Decimal(0))
        filled = sum((fill.quantity for fill in self.fills(now_s - self.script.filled_lag_s)), Decimal(0))
        over_s = at_s + self.script.end_s if self.ended_s is None else min(self.ended_s, at_s + self.script.end_s)
        status = account.OPEN if not filled else account.PARTIALLY_FILLED
        if truly == quantity:
            status = account.FILLED
        elif now_s >= over_s:
            status = self.script.end_as
            if status == account.REJECTED and truly:
                status = account.CANCELLED
        return Order(id_, "v1", "S", "buy", "limit", quantity, filled, status)

    # --- calls: what they do happens as they go out ---

    def call(self, order: Tracking, step: Step, now_s: float) -> Event:
        try:
            return self._call(order, step, now_s)
        except VenueError as error:
            return Failed(step, error)

    def _call(self, order: Tracking, step: Step, now_s: float) -> Event:
        if step == Step.SEND:
            return self._create(order, now_s)
        if step == Step.CANCEL:
            return self._cancel(now_s)
        if step == Step.BALANCE:
            return FreeRead(self.script.free * STEP)
        if step == Step.RULES:
            return RulesRead(COARSE if self.script.anew and order.rules_wanted_anew else RULES)
        if now_s < CALM_S and self._asks and not self._asks.pop(0):
            raise Retry("venue", "no answer")
        known = bool(self.taken) and now_s >= self.taken[0][0] + self.script.lag_s
        if step == Step.LOOK:
            return Found(self.order(now_s) if known else None)
        if step == Step.OPEN:
            found = self.order(now_s) if known else None
            return Listed([found] if found is not None and found.live else [])
        lag_s = self.script.fills_lag_s if now_s < CALM_S else 0.0
        return Filled(self.fills(now_s - lag_s))

    def _create(self, order: Tracking, now_s: float) -> Event:
        self.sent += 1
        assert not self.uncertain, "a create that may have been taken was sent again"
        outcome = self._creates.pop(0) if self._creates else "ok"
        match outcome:
            case "retry":
                raise Retry("venue", "connection refused")
            case "limited":
                raise RateLimited("venue", "not sent", 2.0)
            case "rejected":
                raise Rejected("venue", "filter failure")
            case "skewed":
                raise Skewed("venue", "timestamp")
        self.uncertain = True
        if outcome == "never":
            raise OutcomeUnknown("venue", "cut")
        assert order.new_order().quantity <= self.script.lots * STEP, "more than the position"
        self.taken.append((now_s + (self.script.late_s if outcome == "late" else 0.0), order.new_order().quantity))
        if outcome in ("taken", "late"):
            raise OutcomeUnknown("venue", "cut")
        made = self.order(now_s)
        assert made is not None
        if outcome == "fills":
            return Created(
                Order(**{**{f: getattr(made, f) for f in made.__struct_fields__}, "fills": tuple(self.fills(now_s))})
            )
        return Created(made)

    def _cancel(self, now_s: float) -> Event:
        outcome = self._cancels.pop(0) if self._cancels and now_s < CALM_S else "ok"
        if outcome == "lost":
            raise Retry("venue", "cut")
        found = self.order(now_s)
        if found is None or not found.live:
            raise Rejected("venue", "nothing to cancel")
        self.ended_s = now_s + (1.5 if outcome == "slow" else 0.0)
        if outcome == "lost_done":
            raise Retry("venue", "cut")
        return Cancelled()


class Fold:
    """What the engine makes of it: the table of states, lots, base and cash."""

    def __init__(self) -> None:
        self.state = OrderState.SUBMITTING
        self.fills: list[BrokerEvent] = []
        self.ends = 0

    def take(self, events: list[object]) -> None:
        for event in events:
            if not isinstance(event, BrokerEvent):
                continue
            before = self.state
            self.state = advance(self.state, event.news)
            self.ends += before not in TERMINAL and self.state in TERMINAL
            if event.quantity:
                self.fills.append(event)


def run(script: Script) -> tuple[Venue, Fold, Tracking]:
    venue, fold = Venue(script), Fold()
    timeout_ns = TIMEOUT_S * NS_PER_S
    task = Task(
        "o1",
        "P",
        "BTC",
        "USDT",
        script.entry,
        "market",
        script.lots,
        STEP,
        None,
        Decimal("101.7"),
        100_000,
        timeout_ns,
        LIVES_S * NS_PER_S,
    )
    order = Tracking(task, 0, RULES)
    events: list[tuple[float, int, Event]] = [(at_s, 0, Nudged()) for at_s in script.nudges]
    if script.on_disk_s is not None:
        events.append((script.on_disk_s, 0, OnDisk()))
    if script.cancel_s is not None:
        events += [(script.cancel_s, 0, CancelAsked()), (script.cancel_s + 0.5, 0, OnDisk(cancel=True))]
    if script.drop_s is not None:
        events.append((script.drop_s, 0, Dropped("paused")))
    slow = list(script.back)
    now_s, number, rounds = 0.0, 1, 0
    while now_s < END_S:
        rounds += 1
        assert rounds < 5_000, f"it goes on and on: {order.phase} {order.due()} {now_s}"
        due = [one for one in order.due() if one.at_ns <= now_s * NS_PER_S]
        if due:
            step = min(due).step
            goes, out = order.begin(step, int(now_s * NS_PER_S))
            fold.take(out)
            if goes:
                number += 1
                delay_s = (slow.pop(0) if slow else 0) * 0.3
                events.append((now_s + delay_s, number, venue.call(order, step, now_s)))
            continue
        times = [at_s for at_s, _, _ in events] + [one.at_ns / NS_PER_S for one in order.due()]
        if not times:
            break
        now_s = max(now_s, min(times))
        ripe = sorted((item for item in events if item[0] <= now_s), key=lambda item: item[:2])
        if ripe:
            events.remove(ripe[0])
            if isinstance(ripe[0][2], CancelAsked) and fold.state not in TERMINAL:
                fold.state = advance(fold.state, OrderNews.CANCEL_SENT)
            elif isinstance(ripe[0][2], CancelAsked):
                continue
            fold.take(order.handle(ripe[0][2], int(now_s * NS_PER_S)))
        else:
            now_s += 1e-6  # a float short of its nanosecond
    return venue, fold, order


@settings(max_examples=500, deadline=None)
@given(scripts)
def test_one_order_at_most_every_order_ends_and_its_fills_are_told(script: Script) -> None:
    venue, fold, order = run(script)
    assert len(venue.taken) <= 1
    assert order.phase == Phase.ENDED and fold.state in TERMINAL and fold.ends == 1
    fills = venue.fills(END_S)
    assert sorted(event.venue_fill_id for event in fold.fills) == sorted(fill.venue_fill_id for fill in fills)
    total = sum((fill.quantity for fill in fills), Decimal(0))
    assert sum(event.lots for event in fold.fills) == steps_down(total, STEP)
    sign = 1 if script.entry else -1
    money = sum((f.price * f.quantity + sign * (f.fee if f.fee_currency == "USDT" else 0) for f in fills), Decimal(0))
    rounded = (steps_up if script.entry else steps_down)(money, Decimal("1e-8"))
    assert sum(event.cash for event in fold.fills) == rounded
    in_base = sum((f.fee for f in fills if f.fee_currency == "BTC"), Decimal(0))
    assert sum((event.base or 0 for event in fold.fills), Decimal(0)) == total - sign * in_base
    if total == script.lots * STEP:
        assert fold.state == OrderState.FILLED
    if not venue.taken:
        assert not fold.fills and fold.state in (OrderState.REJECTED, OrderState.CANCELLED)
