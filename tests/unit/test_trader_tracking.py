"""One order's life at the venue, rule by rule; interleavings are in `properties/test_tracking`."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest

from core.clock import NS_PER_S
from trader.broker import BrokerEvent
from trader.executed import Before
from trader.looking import FAILURES_MAX, LOOKS_MIN
from trader.orders import OrderNews, OrderState
from trader.sending import TRIES_MAX
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
    Out,
    Phase,
    RulesRead,
    Say,
    Step,
    Task,
    Urgency,
)
from trader.tracking import (
    EXIT_REST_S,
    INTENT_S,
    LAG_S,
    LATE_LOOK_S,
    LINGER_S,
    UNSETTLED_S,
    Tracking,
)
from venues import account
from venues.account import Fill, Order
from venues.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected, Retry, Skewed
from venues.venue import Rules

STEP = Decimal("0.001")
RULES = Rules("P", "S", "BTC", "USDT", Decimal("0.1"), STEP, STEP, Decimal("0.1"))
LIVES_S, TIMEOUT_S = 6.0, 5.0
UNKNOWN = OutcomeUnknown("venue", "the connection was closed without an answer")
ACCEPTED, PART, ALL = OrderNews.ACCEPTED, OrderNews.PART_FILLED, OrderNews.ALL_FILLED
DONE, REFUSED, NO_ANSWER, ABSENT = OrderNews.CANCEL_DONE, OrderNews.REFUSED, OrderNews.NO_ANSWER, OrderNews.ABSENT


def task(
    entry: bool = False, kind: str = account.MARKET, lots: int = 10, price: str = "", step: Decimal = STEP
) -> Task:
    lives_ns, timeout_ns = int(LIVES_S * NS_PER_S), int(TIMEOUT_S * NS_PER_S)
    limit = Decimal(price) if price else None
    return Task("o1", "P", "BTC", "USDT", entry, kind, lots, step, limit, Decimal(100), 200_000, timeout_ns, lives_ns)


def told(
    status: str = account.OPEN, filled: str = "0", client_id: str = "o1", venue_id: str = "v1", **more: Any
) -> Order:
    return Order(client_id, venue_id, "S", "sell", "market", Decimal("0.010"), Decimal(filled), status, **more)


def fill(
    id_: str = "f1", quantity: str = "0.010", fee: str = "0", currency: str = "USDT", venue_id: str = "v1"
) -> Fill:
    return Fill(id_, venue_id, "", "S", "sell", Decimal(100), Decimal(quantity), Decimal(fee), currency, 200_000)


class Life:
    """An order, a clock, and all that was told."""

    def __init__(self, order: Tracking, out: Sequence[Out] = ()) -> None:
        self.order = order
        self.now_ns = 0
        self.events: list[BrokerEvent] = []
        self.said: list[Say] = []
        self._take(out)

    def _take(self, out: Sequence[Out]) -> None:
        self.events += [item for item in out if isinstance(item, BrokerEvent)]
        self.said += [item for item in out if isinstance(item, Say)]

    @property
    def now_s(self) -> float:
        return self.now_ns / NS_PER_S

    @property
    def news(self) -> list[OrderNews]:
        return [event.news for event in self.events]

    def has(self, event: Event) -> "Life":
        self._take(self.order.handle(event, self.now_ns))
        return self

    def steps(self) -> list[Step]:
        """What is due now."""
        return [due.step for due in sorted(self.order.due()) if due.at_ns <= self.now_ns]

    def at(self, now_s: float) -> "Life":
        self.now_ns = round(now_s * NS_PER_S)
        return self

    def begins(self, step: Step) -> bool:
        assert step in self.steps(), self.order.due()
        goes, out = self.order.begin(step, self.now_ns)
        self._take(out)
        return goes

    def takes(self, step: Step, event: Event) -> "Life":
        """The step is taken and answered."""
        assert self.begins(step)
        return self.has(event)

    def waits(self, step: Step) -> "Life":
        """Until the step is due."""
        (due,) = [due for due in self.order.due() if due.step == step]
        self.now_ns = max(self.now_ns, due.at_ns)
        return self


def fresh(*, on_disk: bool = True, rules: Rules | None = RULES, **fields: Any) -> Life:
    life = Life(Tracking(task(**fields), 0, rules))
    return life.has(OnDisk()) if on_disk else life


def working(**fields: Any) -> Life:
    return fresh(**fields).takes(Step.SEND, Created(told()))


def unknown(**fields: Any) -> Life:
    return fresh(**fields).takes(Step.SEND, Failed(Step.SEND, UNKNOWN))


def lost(life: Life) -> Life:
    """Looked up in vain until its absence can be decided."""
    for _ in range(20):
        life.waits(Step.LOOK).takes(Step.LOOK, Found(None))
        if Step.OPEN in life.steps():
            return life
    raise AssertionError(f"never decided: {life.order.due()}")


# --- urgent ---


def asks(life: Life) -> Urgency:
    """How urgent the next question is."""
    (due,) = [due for due in life.order.due() if due.step in (Step.LOOK, Step.FILLS)]
    return due.urgency


LIMITED: dict[str, Any] = {"entry": True, "kind": account.LIMIT, "price": "100"}
ASKED: dict[str, tuple[Callable[[], Life], Urgency]] = {
    "an exit": (working, Urgency.PROTECTS),
    "an entry that cannot rest": (lambda: working(entry=True, kind=account.IOC, price="100"), Urgency.PROTECTS),
    "an entry that rests": (lambda: working(**LIMITED), Urgency.WORKING),
    "an entry that rests and has news": (lambda: working(**LIMITED).has(Nudged()), Urgency.PROTECTS),
    "an entry that is to be cancelled": (lambda: working(**LIMITED).has(CancelAsked()), Urgency.PROTECTS),
    "news that was answered": (
        lambda: working(**LIMITED).has(Nudged()).takes(Step.LOOK, Found(told())),
        Urgency.WORKING,
    ),
    "fills that are told and not here": (
        lambda: working(**LIMITED).waits(Step.LOOK).takes(Step.LOOK, Found(told(filled="0.002"))),
        Urgency.PROTECTS,
    ),
    "an order that nobody knows": (unknown, Urgency.UNKNOWN),
}


@pytest.mark.parametrize(("made", "expected"), ASKED.values(), ids=ASKED)
def test_urgent(made: Callable[[], Life], expected: Urgency) -> None:
    assert asks(made()) == expected


# --- intent_first ---


@pytest.mark.parametrize("entry", [True, False])
def test_intent_first(entry: bool) -> None:
    life = fresh(on_disk=False, entry=entry)
    assert life.steps() == [] and life.at(INTENT_S - 0.01).steps() == []
    assert life.has(OnDisk()).steps() == [Step.SEND] and not life.said


def test_intent_first_an_exit_does_not_wait_for_the_disk_for_ever() -> None:
    life = fresh(on_disk=False).at(INTENT_S)
    assert life.begins(Step.SEND)
    assert "before its intent is on the disk" in life.said[0].text
    assert life.has(OnDisk()).has(Created(told())).news == [ACCEPTED]


def test_intent_first_an_entry_waits_and_is_given_up() -> None:
    life = fresh(on_disk=False, entry=True).at(TIMEOUT_S)
    assert not life.begins(Step.WAKE)
    assert life.news == [REFUSED] and "not on the disk" in life.events[0].note
    assert life.has(OnDisk()).steps() == []


def test_intent_first_a_cancel_waits_for_the_disk_too_but_not_for_ever() -> None:
    life = working(entry=True, kind="limit", price="100").has(CancelAsked())
    assert Step.CANCEL not in life.steps()
    assert Step.CANCEL in life.has(OnDisk(cancel=True)).steps()
    late = working(entry=True, kind="limit", price="100").has(CancelAsked()).at(INTENT_S)
    assert late.begins(Step.CANCEL) and "before it is on the disk" in late.said[0].text


# --- sent_once, certainly_not_sent ---


@pytest.mark.parametrize("entry", [True, False])
def test_sent_once(entry: bool) -> None:
    life = unknown(entry=entry)
    assert life.news == [NO_ANSWER]
    for second in range(100):
        assert Step.SEND not in life.at(second).steps()
    lost(life).takes(Step.OPEN, Listed([])).takes(Step.FILLS, Filled([]))
    assert life.news == [NO_ANSWER, ABSENT] and life.at(life.now_s + LATE_LOOK_S).steps() == [Step.LOOK]


@pytest.mark.parametrize("error", [Retry("v", "connection refused"), RateLimited("v", "not sent", 0.1)])
def test_certainly_not_sent_an_exit_is_tried_again(error: Retry) -> None:
    life = fresh().takes(Step.SEND, Failed(Step.SEND, error))
    assert life.steps() == [] and life.news == []
    pauses = []
    for _ in range(8):
        before_s = life.now_s
        life.waits(Step.SEND).takes(Step.SEND, Failed(Step.SEND, error))
        pauses.append(round(life.now_s - before_s, 3))
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert life.waits(Step.SEND).takes(Step.SEND, Created(told())).news == [ACCEPTED]


def test_certainly_not_sent_a_ban_is_waited_for() -> None:
    life = fresh().takes(Step.SEND, Failed(Step.SEND, RateLimited("v", "banned", 1800.0)))
    assert life.at(1799.9).steps() == [] and life.at(1800).steps() == [Step.SEND]


def test_certainly_not_sent_an_entry_is_given_up_when_it_is_old() -> None:
    life = fresh(entry=True).takes(Step.SEND, Failed(Step.SEND, Retry("v", "connection refused")))
    assert life.at(1).begins(Step.SEND)
    life.has(Failed(Step.SEND, RateLimited("v", "banned", 1800.0)))
    assert life.at(TIMEOUT_S - 0.01).steps() == []
    assert not life.at(TIMEOUT_S).begins(Step.WAKE)
    assert life.news == [REFUSED] and life.events[0].unsent and life.events[0].note == "not sent: banned"


def test_certainly_not_sent_an_entry_that_waited_too_long_for_its_turn_does_not_go() -> None:
    life = fresh(entry=True).at(TIMEOUT_S + 1)
    assert not life.begins(Step.SEND) and life.news == [REFUSED]


def test_certainly_not_sent_an_exit_is_refused_in_the_end() -> None:
    life = fresh()
    for _ in range(TRIES_MAX):
        life.waits(Step.SEND).takes(Step.SEND, Failed(Step.SEND, Retry("v", "no route")))
    assert (
        life.news == [REFUSED]
        and life.events[0].unsent
        and life.events[0].note == f"not sent in {TRIES_MAX} tries: no route"
    )


# --- unknown, found ---


def test_unknown() -> None:
    life = unknown()
    assert life.steps() == [Step.LOOK]
    times = []
    while Step.OPEN not in life.steps():
        life.waits(Step.LOOK).takes(Step.LOOK, Found(None))
        times.append(life.now_s)
    assert len(times) >= LOOKS_MIN and times[0] == 0 and times[-1] >= LIVES_S + LAG_S
    life.takes(Step.OPEN, Listed([told(client_id="other", venue_id="v9")]))
    assert ABSENT not in life.news
    life.takes(Step.FILLS, Filled([]))
    assert life.news == [NO_ANSWER, ABSENT]


def test_unknown_a_question_without_an_answer_does_not_count() -> None:
    life = unknown()
    for _ in range(20):
        life.waits(Step.LOOK).takes(Step.LOOK, Failed(Step.LOOK, Retry("v", "no answer")))
    assert life.now_s > LIVES_S + LAG_S
    for _ in range(LOOKS_MIN):
        assert life.steps() != [Step.OPEN]
        life.waits(Step.LOOK).takes(Step.LOOK, Found(None))
    for _ in range(FAILURES_MAX - 1):
        life.waits(Step.OPEN).takes(Step.OPEN, Failed(Step.OPEN, Retry("v", "no answer")))
    life.waits(Step.OPEN).takes(Step.OPEN, Failed(Step.OPEN, Retry("v", "no answer")))
    assert life.waits(Step.LOOK).steps() == [Step.LOOK], "in the end the deciding round begins anew"


def test_unknown_it_is_looked_for_behind_fills_that_name_no_order_of_ours() -> None:
    life = lost(unknown()).takes(Step.OPEN, Listed([]))
    life.takes(Step.FILLS, Filled([fill("f1", venue_id="v1"), fill("f2", venue_id="v2")]))
    assert life.order.query() == ("", "v2"), "the newest first"
    life.takes(Step.LOOK, Found(told(client_id="by hand", venue_id="v2")))
    assert life.order.query() == ("", "v1")
    life.takes(Step.LOOK, Found(told(account.FILLED, "0.010")))
    life.takes(Step.FILLS, Filled([fill(venue_id="v1")]))
    assert life.news == [NO_ANSWER, ACCEPTED, ALL] and life.events[-1].venue_fill_id == "f1"


def test_unknown_absent_where_no_fill_leads_to_it() -> None:
    life = lost(unknown()).takes(Step.OPEN, Listed([])).takes(Step.FILLS, Filled([fill(venue_id="v9")]))
    life.takes(Step.LOOK, Found(told(client_id="by hand", venue_id="v9")))
    assert life.news == [NO_ANSWER, ABSENT]


def test_found() -> None:
    life = unknown().takes(Step.LOOK, Found(told(account.FILLED, "0.010")))
    life.takes(Step.FILLS, Filled([fill("f2", "0.004"), fill("f1", "0.006")]))
    assert life.news == [NO_ANSWER, ACCEPTED, PART, ALL]
    assert [event.venue_order_id for event in life.events[1:]] == ["v1", "v1", "v1"]


def test_found_among_the_open_orders() -> None:
    life = lost(unknown()).takes(Step.OPEN, Listed([told()]))
    assert life.news == [NO_ANSWER, ACCEPTED] and life.order.phase == Phase.WORKING


# --- fills_add_up, late_fill, late_rejection ---


def test_fills_add_up() -> None:
    life = working().waits(Step.LOOK).takes(Step.LOOK, Found(told(account.FILLED, "0.010")))
    life.takes(Step.FILLS, Filled([fill("f1", "0.004")]))
    assert life.news == [ACCEPTED, PART]
    life.waits(Step.LOOK).takes(Step.LOOK, Found(told(account.FILLED, "0.010")))
    life.takes(Step.FILLS, Filled([fill("f1", "0.004")]))
    assert life.news == [ACCEPTED, PART], "each fill once"
    life.waits(Step.LOOK).takes(Step.LOOK, Found(told(account.FILLED, "0.010")))
    life.takes(Step.FILLS, Filled([fill("f1", "0.004"), fill("f2", "0.006")]))
    assert life.news == [ACCEPTED, PART, ALL] and life.order.done(life.now_ns)
    assert [event.lots for event in life.events] == [0, 4, 6]


def test_fills_add_up_else_a_person_hears_of_it() -> None:
    life = working()
    while not life.said:
        life.waits(Step.LOOK).takes(Step.LOOK, Found(told(account.FILLED, "0.010")))
        life.takes(Step.FILLS, Filled([]))
        assert life.now_s < UNSETTLED_S + 20
    assert life.now_s >= UNSETTLED_S and "asked again until they agree" in life.said[0].text
    assert life.news == [ACCEPTED]


def test_fills_of_the_answer_to_the_create_count() -> None:
    answer = told(account.FILLED, "0.010", fills=(fill("f1", "0.003"), fill("f2", "0.007")))
    life = fresh().takes(Step.SEND, Created(answer))
    assert life.news == [ACCEPTED, PART, ALL]


def test_fills_of_other_orders_do_not_count() -> None:
    life = working().waits(Step.LOOK).takes(Step.LOOK, Found(told(account.PARTIALLY_FILLED, "0.004")))
    life.takes(Step.FILLS, Filled([fill("f0", venue_id="v0"), fill("f1", "0.004")]))
    assert [event.venue_fill_id for event in life.events[1:]] == ["f1"]


def cancelled(filled: str = "0", fills: Sequence[Fill] = ()) -> Life:
    life = working(entry=True, kind="ioc", price="100").waits(Step.LOOK)
    life.takes(Step.LOOK, Found(told(account.CANCELLED, filled)))
    return life.takes(Step.FILLS, Filled(fills)) if fills else life


def test_late_fill_of_one_that_was_over_as_the_clock_began() -> None:
    life = fresh().takes(Step.SEND, Created(told(account.CANCELLED)))
    assert life.now_ns == 0 and life.news[-1] == OrderNews.CANCEL_DONE
    assert [due.step for due in life.order.due()] == [Step.LOOK] and not life.order.done(0)


def test_late_fill() -> None:
    life = cancelled("0.004", [fill("f1", "0.004")])
    assert life.news == [ACCEPTED, PART, DONE]
    ended_s = life.now_s
    life.waits(Step.LOOK)
    assert life.now_s == pytest.approx(ended_s + LATE_LOOK_S)
    life.takes(Step.LOOK, Found(told(account.CANCELLED, "0.007")))
    life.takes(Step.FILLS, Filled([fill("f1", "0.004"), fill("f2", "0.003")]))
    assert life.news == [ACCEPTED, PART, DONE, PART] and life.events[-1].venue_fill_id == "f2"
    assert life.at(ended_s + LINGER_S - 1).steps() == []
    life.has(Nudged()).takes(Step.LOOK, Found(told(account.FILLED, "0.010")))
    life.takes(Step.FILLS, Filled([fill("f3", "0.003")]))
    assert life.news[-1] == ALL and life.order.done(life.now_ns)


def test_late_fill_a_nudge_does_not_use_up_the_late_look() -> None:
    life = cancelled().has(Nudged()).takes(Step.LOOK, Found(told(account.CANCELLED)))
    assert life.waits(Step.LOOK).steps() == [Step.LOOK]


def test_late_fill_the_order_is_forgotten_in_the_end() -> None:
    life = cancelled()
    life.waits(Step.LOOK).takes(Step.LOOK, Found(told(account.CANCELLED)))
    ended_ns = int((life.now_s + LINGER_S) * NS_PER_S)
    assert life.steps() == [] and life.order.done(ended_ns) and not life.order.done(life.now_ns)


def test_stray() -> None:
    life = lost(unknown()).takes(Step.OPEN, Listed([])).takes(Step.FILLS, Filled([]))
    assert life.news == [NO_ANSWER, ABSENT] and not life.order.working
    life.waits(Step.LOOK).takes(Step.LOOK, Found(None))
    life.waits(Step.LOOK).takes(Step.LOOK, Found(told(account.PARTIALLY_FILLED, "0.004")))
    assert "it is cancelled" in life.said[0].text and life.order.working
    life.takes(Step.FILLS, Filled([fill("f1", "0.004")])).takes(Step.CANCEL, Cancelled())
    life.takes(Step.LOOK, Found(told(account.CANCELLED, "0.004")))
    assert life.news == [NO_ANSWER, ABSENT, PART] and life.steps() == [] and not life.order.working
    life.waits(Step.LOOK).takes(Step.LOOK, Found(told(account.CANCELLED, "0.006")))
    life.takes(Step.FILLS, Filled([fill("f2", "0.002")]))
    assert life.news == [NO_ANSWER, ABSENT, PART, PART] and life.steps() == []
    assert life.order.done(life.now_ns + int(LINGER_S * NS_PER_S))


@pytest.mark.parametrize("status", [account.REJECTED, account.CANCELLED])
def test_late_rejection(status: str) -> None:
    life = working().waits(Step.LOOK).takes(Step.LOOK, Found(told(status, reason="below the minimum")))
    assert life.news == [ACCEPTED, REFUSED if status == account.REJECTED else DONE]
    assert life.events[-1].note == "below the minimum"


def test_an_order_that_the_venue_forgot_after_it_had_taken_it_is_refused_and_told() -> None:
    life = lost(working().waits(Step.LOOK)).takes(Step.OPEN, Listed([])).takes(Step.FILLS, Filled([]))
    assert life.news == [ACCEPTED, REFUSED] and "does not know it any more" in life.said[0].text


def test_an_order_of_which_only_fills_are_told_ends_with_them() -> None:
    life = lost(working().waits(Step.LOOK)).takes(Step.OPEN, Listed([]))
    life.takes(Step.FILLS, Filled([fill("f1", "0.004")]))
    assert life.news == [ACCEPTED, PART, DONE] and "of no order" in life.said[0].text


# --- cancels ---

CANCEL_ANSWERS: dict[str, Event] = {
    "taken": Cancelled(),
    "refused": Failed(Step.CANCEL, Rejected("v", "nothing to cancel")),
    "lost": Failed(Step.CANCEL, Retry("v", "no answer")),
}


def cancelling() -> Life:
    return working(entry=True, kind="limit", price="100").has(CancelAsked()).has(OnDisk(cancel=True))


@pytest.mark.parametrize("answer", CANCEL_ANSWERS.values(), ids=CANCEL_ANSWERS)
def test_cancel_race(answer: Event) -> None:
    life = cancelling().takes(Step.CANCEL, answer)
    assert life.news == [ACCEPTED] and life.steps() == [Step.LOOK], "the look-up decides"
    life.takes(Step.LOOK, Found(told(account.FILLED, "0.010"))).takes(Step.FILLS, Filled([fill()]))
    assert life.news == [ACCEPTED, ALL]


@pytest.mark.parametrize("answer", CANCEL_ANSWERS.values(), ids=CANCEL_ANSWERS)
def test_cancel_race_asked_again_until_it_is_over(answer: Event) -> None:
    life = cancelling()
    for _ in range(3):
        life.waits(Step.CANCEL).takes(Step.CANCEL, answer).takes(Step.LOOK, Found(told()))
    assert life.news == [ACCEPTED]
    life.waits(Step.CANCEL).takes(Step.CANCEL, answer).takes(Step.LOOK, Found(told(account.CANCELLED)))
    assert life.news == [ACCEPTED, DONE] and life.steps() == []


def test_cancel_race_a_ban_is_waited_for() -> None:
    life = cancelling().takes(Step.CANCEL, Failed(Step.CANCEL, RateLimited("v", "banned", 90.0)))
    assert Step.CANCEL not in life.at(89).steps() and Step.CANCEL in life.at(90).steps()


def test_a_cancel_does_not_wait_for_a_look_that_is_under_way() -> None:
    life = working(entry=True, kind="limit", price="100").waits(Step.LOOK)
    life.begins(Step.LOOK)
    life.has(CancelAsked()).has(OnDisk(cancel=True)).takes(Step.CANCEL, Cancelled())
    life.has(Found(told())).takes(Step.LOOK, Found(told(account.CANCELLED)))
    assert life.news == [ACCEPTED, DONE], "the older answer decides nothing, and it is looked again"


@pytest.mark.parametrize("on_disk", [True, False])
def test_cancel_unsent(on_disk: bool) -> None:
    life = fresh(on_disk=on_disk).has(CancelAsked())
    assert life.news == [DONE] and life.at(100).steps() == []


def test_cancel_of_an_unknown_order_follows_when_it_is_found() -> None:
    life = unknown(entry=True).has(CancelAsked()).has(OnDisk(cancel=True))
    assert life.steps() == [Step.LOOK]
    assert life.takes(Step.LOOK, Found(told())).steps() == [Step.CANCEL]


RESTS = {
    "an entry's limit": ({"entry": True, "kind": "limit", "price": "100"}, TIMEOUT_S, "entry_timeout"),
    "an entry of any kind": ({"entry": True, "kind": "ioc", "price": "100"}, TIMEOUT_S, "entry_timeout"),
    "an exit's limit": ({"kind": "limit", "price": "100"}, EXIT_REST_S, "exit_timeout"),
}


@pytest.mark.parametrize(("fields", "rest_s", "note"), RESTS.values(), ids=RESTS)
def test_rest_ends(fields: dict[str, Any], rest_s: float, note: str) -> None:
    life = working(**fields)
    assert Step.WAKE not in life.at(rest_s - 0.01).steps()
    assert not life.at(rest_s).begins(Step.WAKE)
    assert life.news == [ACCEPTED, OrderNews.CANCEL_SENT] and life.events[-1].note == note
    assert Step.CANCEL in life.steps() and not life.said


def test_rest_ends_for_an_entry_that_was_found_late_at_once() -> None:
    life = unknown(entry=True, kind="limit", price="100").at(TIMEOUT_S + 1).takes(Step.LOOK, Found(told()))
    assert life.steps() == [Step.WAKE]


def test_rest_ends_not_for_a_market_exit() -> None:
    assert [due.step for due in working().order.due()] == [Step.LOOK]


# --- cut_to_free, new_rules, asked_once ---

COARSE = Rules("P", "S", "BTC", "USDT", Decimal("0.1"), Decimal("0.004"), STEP, Decimal("0.1"))
REFUSAL = Failed(Step.SEND, Rejected("v", "LOT_SIZE"))
NO_COIN = Failed(Step.SEND, Rejected("v", "insufficient balance"))
ENOUGH = FreeRead(Decimal(5))


def test_cut_to_free() -> None:
    life = fresh().takes(Step.SEND, NO_COIN)
    assert [(due.step, due.urgency, due.at_ns) for due in life.order.due()] == [(Step.BALANCE, Urgency.EXIT, 0)]
    life.takes(Step.BALANCE, FreeRead(Decimal("0.0069")))
    assert life.steps() == [Step.SEND] and life.news == []
    assert "insufficient balance" in life.said[0].text
    assert "0.006 in place of 0.01, as 0.0069 BTC are free" in life.said[0].text
    new = life.order.new_order()
    assert (new.client_order_id, new.quantity, new.urgent) == ("o1", Decimal("0.006"), True)
    life.takes(Step.SEND, Created(told(account.FILLED, "0.006", fills=(fill("f1", "0.006"),))))
    assert life.news == [ACCEPTED, PART, DONE], "what was cut off is not filled"


ENOUGH_FREE = {"as much": "0.010", "a little more": "0.0101", "all the coin of the account": "1000"}


@pytest.mark.parametrize("free", ENOUGH_FREE.values(), ids=ENOUGH_FREE)
def test_cut_to_free_never_more_than_the_order(free: str) -> None:
    life = fresh().takes(Step.SEND, NO_COIN).takes(Step.BALANCE, FreeRead(Decimal(free)))
    assert life.steps() == [Step.RULES], "it was refused for another reason"
    life.takes(Step.RULES, RulesRead(RULES))
    assert life.news == [REFUSED] and life.events[0].note == "insufficient balance" and not life.events[0].lacks


TOO_LITTLE = {"nothing": "0", "less than a step": "0.0009", "less than is worth an order": "0.0029"}


@pytest.mark.parametrize("free", TOO_LITTLE.values(), ids=TOO_LITTLE)
def test_cut_to_free_too_little_is_refused_with_both_figures(free: str) -> None:
    rules = Rules("P", "S", "BTC", "USDT", Decimal("0.1"), STEP, STEP, Decimal("0.3"))
    life = fresh(rules=rules).takes(Step.SEND, NO_COIN).takes(Step.BALANCE, FreeRead(Decimal(free)))
    assert life.news == [REFUSED] and life.at(100).steps() == []
    assert life.events[0].note == f"insufficient balance; {free} BTC are free of 0.01: too little for an order"
    assert life.events[0].lacks


def test_cut_to_free_not_an_entry() -> None:
    assert fresh(entry=True).takes(Step.SEND, NO_COIN).steps() == [Step.RULES]


def test_cut_to_free_the_next_question_follows_where_the_balance_cannot_be_had() -> None:
    life = fresh().takes(Step.SEND, REFUSAL).takes(Step.BALANCE, Failed(Step.BALANCE, Retry("v", "no answer")))
    assert life.takes(Step.RULES, RulesRead(COARSE)).order.new_order().quantity == Decimal("0.008")


def test_new_rules() -> None:
    life = fresh().takes(Step.SEND, REFUSAL).takes(Step.BALANCE, ENOUGH)
    assert life.steps() == [Step.RULES] and life.order.rules_wanted_anew and life.news == []
    life.takes(Step.RULES, RulesRead(COARSE))
    assert life.steps() == [Step.SEND] and "0.008 in place of 0.01" in life.said[0].text
    new = life.order.new_order()
    assert (new.client_order_id, new.quantity, new.rules) == ("o1", Decimal("0.008"), COARSE)
    life.takes(Step.SEND, Created(told(account.FILLED, "0.008", fills=(fill("f1", "0.008"),))))
    assert life.news == [ACCEPTED, PART, DONE], "a rest of the order is not filled"
    assert "0.008 in place of 0.01" in life.events[0].note


def test_new_rules_of_the_price() -> None:
    life = fresh(entry=True, kind="limit", price="100.7").takes(Step.SEND, REFUSAL)
    life.takes(Step.RULES, RulesRead(Rules("P", "S", "BTC", "USDT", Decimal("0.5"), STEP, STEP, Decimal(1))))
    assert life.order.new_order().price == Decimal("100.5")


def test_asked_once() -> None:
    life = fresh().takes(Step.SEND, NO_COIN).takes(Step.BALANCE, FreeRead(Decimal("0.009")))
    life.takes(Step.SEND, REFUSAL).takes(Step.RULES, RulesRead(COARSE)).takes(Step.SEND, REFUSAL)
    assert life.news == [REFUSED] and life.events[0].note == "LOT_SIZE" and life.at(100).steps() == []
    assert not life.events[0].unsent


def test_asked_once_an_entry_for_the_rules_alone() -> None:
    life = fresh(entry=True).takes(Step.SEND, REFUSAL).takes(Step.RULES, RulesRead(COARSE)).takes(Step.SEND, REFUSAL)
    assert life.news == [REFUSED] and life.events[0].note == "LOT_SIZE" and life.at(100).steps() == []
    assert not life.events[0].unsent


THE_SAME: dict[str, Event] = {
    "the same rules": RulesRead(RULES),
    "none": RulesRead(None),
    "no answer": Failed(Step.RULES, Retry("v", "no answer")),
    "too small": RulesRead(Rules("P", "S", "BTC", "USDT", STEP, Decimal("0.02"), Decimal("0.02"), Decimal(1))),
}


@pytest.mark.parametrize("answer", THE_SAME.values(), ids=THE_SAME)
def test_new_rules_that_change_nothing_refuse_it_by_the_venues_words(answer: Event) -> None:
    life = fresh().takes(Step.SEND, REFUSAL).takes(Step.BALANCE, ENOUGH).takes(Step.RULES, answer)
    assert life.news == [REFUSED] and life.events[0].note.startswith("LOT_SIZE") and life.at(100).steps() == []


def test_rules_are_read_before_the_first_order() -> None:
    life = fresh(rules=None)
    assert life.steps() == [Step.RULES] and not life.order.rules_wanted_anew
    assert life.takes(Step.RULES, RulesRead(RULES)).steps() == [Step.SEND]
    gone = fresh(rules=None).takes(Step.RULES, RulesRead(None))
    assert gone.news == [REFUSED] and "does not list P" in gone.events[0].note


# --- clock_wrong, paused, nudged ---

FOR_A_PERSON = {
    "clock_wrong": (Skewed("v", "timestamp outside the window"), "our clock or nonce is wrong"),
    "keys": (Misconfigured("v", "invalid key"), "invalid key"),
}


@pytest.mark.parametrize(("error", "words"), FOR_A_PERSON.values(), ids=FOR_A_PERSON)
def test_clock_wrong(error: Any, words: str) -> None:
    life = fresh().takes(Step.SEND, Failed(Step.SEND, error))
    assert life.news == [REFUSED] and words in life.events[0].note
    assert life.said[0].level == "error" and words in life.said[0].text


def tried(life: Life) -> Life:
    return life.takes(Step.SEND, Failed(Step.SEND, Retry("v", "connection refused")))


UNSENT_ONES: dict[str, Callable[[], Life]] = {
    "before its intent is on the disk": lambda: fresh(on_disk=False),
    "before it is sent": fresh,
    "before it is tried again": lambda: tried(fresh()),
}


@pytest.mark.parametrize("made", UNSENT_ONES.values(), ids=UNSENT_ONES)
def test_paused(made: Callable[[], Life]) -> None:
    life = made().has(Dropped("the machine was asleep"))
    assert (
        life.news == [REFUSED] and life.events[0].unsent and life.events[0].note == "not sent: the machine was asleep"
    )
    assert life.has(OnDisk()).at(1_000).steps() == []


NO_MORE: dict[str, Event] = {"dropped": Dropped("the machine was asleep"), "cancelled": CancelAsked()}


@pytest.mark.parametrize("event", NO_MORE.values(), ids=NO_MORE)
@pytest.mark.parametrize("error", [Retry("v", "no route"), Rejected("v", "LOT_SIZE")])
def test_paused_or_cancelled_while_it_was_under_way_it_is_not_sent_again(event: Event, error: Any) -> None:
    life = fresh()
    life.begins(Step.SEND)
    life.has(event).has(Failed(Step.SEND, error))
    if isinstance(error, Rejected):
        life.takes(Step.BALANCE, FreeRead(Decimal("0.005")))
    assert life.news == [REFUSED] and life.at(1_000).steps() == []


@pytest.mark.parametrize("made", [working, unknown])
def test_paused_what_was_sent_is_not_dropped(made: Callable[[], Life]) -> None:
    life = made()
    news = life.news
    assert life.has(Dropped("asleep")).news == news and life.order.working


def test_nudged() -> None:
    life = working()
    for _ in range(6):
        life.waits(Step.LOOK).takes(Step.LOOK, Found(told()))
    life.now_ns += 1_000_000
    assert life.steps() == [] and life.has(Nudged()).steps() == [Step.LOOK]
    life.begins(Step.LOOK)
    assert life.has(Nudged()).has(Found(told())).steps() == [Step.LOOK], "what was under way is older than the news"


def test_looks_at_a_working_order_become_rarer() -> None:
    life, times = working(), []
    for _ in range(8):
        before_s = life.now_s
        life.waits(Step.LOOK).takes(Step.LOOK, Found(told()))
        times.append(round(life.now_s - before_s, 3))
    assert times == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]


# --- after a start ---

STATES = {
    OrderState.SUBMITTING: ("", [NO_ANSWER], Phase.UNKNOWN),
    OrderState.UNKNOWN: ("", [], Phase.UNKNOWN),
    OrderState.WORKING: ("v1", [], Phase.WORKING),
    OrderState.CANCELLING: ("v1", [], Phase.WORKING),
}


def adopted(state: OrderState, venue_id: str = "v1", before: Before | None = None, **fields: Any) -> Life:
    order, out = Tracking.adopted(task(**fields), state, venue_id, before or Before(), 0)
    return Life(order, out).takes(Step.RULES, RulesRead(RULES))


@pytest.mark.parametrize(("state", "expected"), STATES.items(), ids=STATES)
def test_adopted_orders_are_looked_up_and_never_sent(
    state: OrderState, expected: tuple[str, list[OrderNews], Phase]
) -> None:
    venue_id, news, phase = expected
    life = adopted(state, venue_id)
    assert (life.news, life.order.phase) == (news, phase)
    assert life.steps() == ([Step.CANCEL, Step.LOOK] if state == OrderState.CANCELLING else [Step.LOOK])
    lost(life).takes(Step.OPEN, Listed([])).takes(Step.FILLS, Filled([]))
    assert life.news[-1] in (ABSENT, REFUSED) and life.at(1_000).steps() == [Step.LOOK]


def test_adopted_by_several_starts_it_is_absent_after_the_looks_of_the_last_one() -> None:
    now_ns = 100 * NS_PER_S
    order, out = Tracking.adopted(task(), OrderState.UNKNOWN, "", Before(), now_ns, since_ns=now_ns // 2)
    life = Life(order, out).at(100).takes(Step.RULES, RulesRead(RULES))
    looks = 0
    while Step.OPEN not in life.steps():
        life.waits(Step.LOOK).takes(Step.LOOK, Found(None))
        looks += 1
    assert looks == LOOKS_MIN and life.now_s < 101
    life.takes(Step.OPEN, Listed([])).takes(Step.FILLS, Filled([]))
    assert life.news == [ABSENT]


@pytest.mark.parametrize("ids", [frozenset({"f1"}), None], ids=["by id", "by totals"])
def test_fills_of_the_journal_are_not_told_again(ids: frozenset[str] | None) -> None:
    cash = int(Decimal("0.004") * 100 * 10**8)
    life = adopted(OrderState.WORKING, before=Before(4, cash, ids))
    life.takes(Step.LOOK, Found(told(account.FILLED, "0.010")))
    life.takes(Step.FILLS, Filled([fill("f2", "0.006"), fill("f1", "0.004")]))
    assert [(event.news, event.venue_fill_id, event.lots) for event in life.events] == [(ALL, "f2", 6)]
    assert life.events[0].cash == int(Decimal("0.006") * 100 * 10**8)


def test_an_adopted_order_of_a_market_not_yet_known_counts_in_the_venues_lots() -> None:
    life = adopted(OrderState.WORKING, step=Decimal(0))
    life.takes(Step.LOOK, Found(told(account.FILLED, "0.010"))).takes(Step.FILLS, Filled([fill()]))
    assert [(event.news, event.lots) for event in life.events] == [(ALL, 10)]
