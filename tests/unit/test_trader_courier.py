"""The threads that carry orders: what goes first, what is dropped, what a crash does. The account is a scripted one."""

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from core.clock import NS_PER_S, LiveClock, ManualClock
from core.errors import BotError
from core.money import scale_of
from trader.broker import BrokerEvent, Tick
from trader.courier import MOST_TRACKED, Hand
from trader.live import LiveBroker
from trader.orders import OrderNews, OrderState
from trader.risk import Approved
from trader.state import ENTRY, EXIT, Order
from trader.terms import MarketTerms
from venues import account
from venues.account import AccountCapabilities, Balance, Fill, NewOrder
from venues.account import Order as Told
from venues.errors import OutcomeUnknown, Rejected, Retry
from venues.venue import Rules

RULES = Rules("P", "S", "BTC", "USDT", Decimal("0.1"), Decimal("0.001"), Decimal("0.001"), Decimal("0.1"))
MARKET = MarketTerms("P", "BTC", "USDT", scale_of("0.1", "0.001", "P"), 1, 0, 10**9, True)
TICK = Tick(0, 0, 1_000, 100.0, 1_000, 5, 1, 0.0, 0.0, 1, 0, 0)


class Script:
    """An account: by default it takes every order and fills it at once."""

    name = "script"
    capabilities = AccountCapabilities(False, False, False, False, account.UNIQUE_UNKNOWN, 36, True, None, True, 6.0)

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.urgent: list[tuple[str, str]] = []  # questions among them
        self.answers: dict[str, Any] = {}  # by "create o1": an error, or what to do first
        self.orders: dict[str, NewOrder] = {}
        self.free = Decimal(5)  # of the coin

    def _called(self, what: str, order_id: str) -> Any:
        self.calls.append((what, order_id))
        answer = self.answers.get(f"{what} {order_id}")
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer

    def _asked(self, what: str, order_id: str, urgent: bool) -> Any:
        if urgent:
            self.urgent.append((what, order_id))
        return self._called(what, order_id)

    def create(self, order: NewOrder) -> Told:
        answer = self._called("create", order.client_order_id)
        self.orders[order.client_order_id] = order
        return answer or self._told(order.client_order_id)

    def _told(self, order_id: str) -> Told:
        order = self.orders[order_id]
        fill = Fill(
            "f" + order_id, "v" + order_id, "", "S", order.side, Decimal(100), order.quantity, Decimal(0), "USDT", 5
        )
        return Told(
            order_id,
            "v" + order_id,
            "S",
            order.side,
            order.kind,
            order.quantity,
            order.quantity,
            "filled",
            fills=(fill,),
        )

    def order(
        self, rules: Rules, client_order_id: str, venue_order_id: str = "", *, urgent: bool = False
    ) -> Told | None:
        answer = self._asked("order", client_order_id, urgent)
        return answer or (self._told(client_order_id) if client_order_id in self.orders else None)

    def cancel(self, rules: Rules, client_order_id: str, venue_order_id: str = "") -> None:
        self._called("cancel", client_order_id)

    def balances(self, *, urgent: bool = False) -> list[Balance]:
        self.calls.append(("balances", "urgently" if urgent else ""))
        return [Balance("BTC", self.free, Decimal(7)), Balance("USDT", Decimal(9), Decimal(0))]

    def open_orders(self, rules: Rules, *, urgent: bool = False) -> list[Told]:
        self._asked("open", "", urgent)
        return []

    def fills(self, rules: Rules, since_ms: int, *, urgent: bool = False) -> list[Fill]:
        self._asked("fills", "", urgent)
        return []


def working(order_id: str) -> Told:
    return Told(order_id, "v" + order_id, "S", "buy", "limit", Decimal("0.01"), Decimal(0), "open")


class World:
    """A broker whose turns the test takes itself."""

    def __init__(self, **more: Any) -> None:
        self.venue = Script()
        self.clock = ManualClock()
        self.told: list[BrokerEvent] = []
        self.said: list[tuple[str, str]] = []
        self.pause = ""
        self.markets = lambda: [RULES]
        self.broker = LiveBroker(
            self.venue,  # type: ignore[arg-type]
            lambda: self.markets(),
            self.clock,
            self.told.extend,
            lambda: self.pause,
            5_000,
            lambda level, text: self.said.append((level, text)),
            start=False,
            **more,
        )
        self.number = 0

    def submit(self, order_id: str, purpose: str = EXIT, *, commit: bool = True, **fields: Any) -> None:
        self.broker.submit(Approved(order_of(order_id, purpose, **fields)), TICK, MARKET, 0)
        if commit:
            self.commit()

    def commit(self) -> None:
        self.number += 1
        self.broker.mark(self.number)
        self.broker.committed(self.number)

    def turns(self, hand: Hand = Hand.ALL) -> None:
        while self.broker.courier.turn(hand):
            pass

    def passes(self, seconds: float) -> None:
        self.clock.advance(int(seconds * NS_PER_S))

    @property
    def news(self) -> list[tuple[str, OrderNews]]:
        return [(event.order_id, event.news) for event in self.told]


def order_of(order_id: str, purpose: str = EXIT, **fields: Any) -> Order:
    given = {"kind": "market", **fields}
    return Order(order_id, "P", purpose, "r", 10, 1_000, 1_000, 100_000, 100_000, OrderState.SUBMITTING, **given)


@pytest.fixture
def world() -> World:
    return World()


def test_nothing_goes_out_before_its_entry_is_committed(world: World) -> None:
    world.submit("o1", commit=False)
    world.turns()
    world.broker.mark(7)
    world.broker.committed(6)
    world.turns()
    assert world.venue.calls == [] and not world.broker.settled
    world.broker.committed(7)
    world.turns()
    assert world.news == [("o1", OrderNews.ACCEPTED), ("o1", OrderNews.ALL_FILLED)] and world.broker.settled


def test_an_exit_goes_out_without_its_commit_after_two_seconds(world: World) -> None:
    world.submit("o1", commit=False)
    world.submit("o2", ENTRY, commit=False)
    world.turns()
    world.passes(2.0)
    world.turns()
    assert [call for call in world.venue.calls if call[0] == "create"] == [("create", "o1")]
    assert world.said[0][0] == "warn" and "before its intent is on the disk" in world.said[0][1]


def test_exit_first(world: World) -> None:
    world.venue.answers["create u1"] = OutcomeUnknown("v", "cut")
    world.venue.answers["create w1"] = world.venue.answers["order w1"] = working("w1")
    for order_id in ("u1", "w1"):
        world.submit(order_id, ENTRY, kind="limit", limit_ticks=1_000)
        assert world.broker.courier.turn(Hand.ALL) and world.broker.courier.turn(Hand.ALL)
    world.passes(1.0)
    world.venue.calls.clear()
    world.submit("n1", ENTRY)
    world.broker.cancel("w1")
    world.submit("x1", EXIT)
    world.turns()
    firsts = list(dict.fromkeys(world.venue.calls))
    assert firsts[:5] == [
        ("create", "x1"),
        ("cancel", "w1"),
        ("order", "u1"),
        ("order", "w1"),
        ("create", "n1"),
    ]


def test_more_hands(world: World) -> None:
    world.venue.answers["create w1"] = world.venue.answers["order w1"] = working("w1")
    world.submit("w1", ENTRY, kind="limit", limit_ticks=1_000)
    world.turns()
    world.passes(1.0)
    world.submit("n1", ENTRY)
    world.venue.calls.clear()
    world.turns(Hand.PROTECTS)
    assert world.venue.calls == [], "neither an entry nor a look at a working order"
    world.broker.cancel("w1")
    world.submit("x1", EXIT)
    world.turns(Hand.PROTECTS)
    assert world.venue.calls == [("create", "x1"), ("cancel", "w1")]


def test_more_hands_a_third_one_asks_what_an_exit_or_protection_waits_for(world: World) -> None:
    world.venue.answers |= {"create w1": working("w1"), "order w1": working("w1"), "create i1": working("i1")}
    world.submit("w1", ENTRY, kind="limit", limit_ticks=1_000)
    world.submit("i1", ENTRY, kind="ioc", limit_ticks=1_000)
    world.turns()
    world.passes(1.0)
    world.submit("n1", ENTRY)
    world.submit("x1", EXIT)
    world.venue.calls.clear()
    world.turns(Hand.ASKS)
    assert world.venue.calls == [("order", "i1")], "no order, and no routine look"


def test_urgent(world: World) -> None:
    world.venue.answers |= {"create w1": working("w1"), "order w1": working("w1"), "create i1": working("i1")}
    world.submit("w1", ENTRY, kind="limit", limit_ticks=1_000)
    world.submit("i1", ENTRY, kind="ioc", limit_ticks=1_000)
    world.turns()
    world.passes(1.0)
    world.turns()
    assert ("order", "w1") in world.venue.calls and set(world.venue.urgent) == {("order", "i1")}
    world.broker.nudge("w1")
    world.turns()
    assert world.venue.urgent[-1] == ("order", "w1")


def test_more_hands_an_exit_does_not_wait_for_an_answer_to_anything_else() -> None:
    venue, told = Script(), []
    asked, answered, done = threading.Event(), threading.Event(), threading.Event()

    def hangs() -> None:
        asked.set()
        assert answered.wait(20)

    def deliver(events: list[BrokerEvent]) -> None:
        told.extend(events)
        if any(event.news == OrderNews.ALL_FILLED for event in events):
            done.set()

    venue.answers["create n1"] = hangs
    broker = LiveBroker(venue, lambda: [RULES], LiveClock(), deliver)  # type: ignore[arg-type]
    try:
        broker.submit(Approved(order_of("n1", ENTRY)), TICK, MARKET, 0)
        broker.mark(1)
        broker.committed(1)
        assert asked.wait(20)
        broker.submit(Approved(order_of("x1", EXIT)), TICK, MARKET, 0)
        broker.mark(2)
        broker.committed(2)
        assert done.wait(20) and told[-1].order_id == "x1"
    finally:
        answered.set()
        broker.close(20)


def test_paused_what_is_unsent_is_dropped_and_never_sent_later(world: World) -> None:
    world.submit("o1", commit=False)
    world.submit("o2", ENTRY, commit=False)
    world.pause = "the trader was asleep"
    world.turns()
    world.pause = ""
    world.commit()
    world.passes(60)
    world.turns()
    assert sorted(world.news) == [("o1", OrderNews.REFUSED), ("o2", OrderNews.REFUSED)]
    assert world.told[0].note == "not sent: the trader was asleep" and world.venue.calls == []


def test_paused_the_stage_may_drop_them_itself(world: World) -> None:
    world.submit("o1", commit=False)
    world.broker.drop("asleep")
    world.commit()
    world.turns()
    assert world.news == [("o1", OrderNews.REFUSED)] and world.venue.calls == []


def test_no_order_is_sent_twice(world: World) -> None:
    world.submit("o1")
    world.turns()
    with pytest.raises(BotError, match="sent before"):
        world.submit("o1")
    world.turns()
    assert world.venue.calls.count(("create", "o1")) == 1


def test_only_what_the_gate_approved_is_taken(world: World) -> None:
    with pytest.raises(TypeError, match="approved"):
        world.broker.submit(order_of("o1"), TICK, MARKET, 0)  # type: ignore[arg-type]


def test_orders_are_bounded(world: World) -> None:
    for number in range(MOST_TRACKED):
        world.submit(f"o{number}", commit=False)
    with pytest.raises(BotError, match="not settled"):
        world.submit("one more")


@pytest.mark.parametrize("kind", ["limit", "ioc"])
def test_an_order_goes_out_as_the_fold_made_it(world: World, kind: str) -> None:
    world.submit("e1", ENTRY, kind=kind, limit_ticks=1_002)
    world.submit("x1", EXIT)
    world.turns()
    entry, sold = world.venue.orders["e1"], world.venue.orders["x1"]
    assert (entry.side, entry.kind, entry.quantity, entry.price, entry.urgent) == (
        "buy",
        kind,
        Decimal("0.010"),
        Decimal("100.2"),
        False,
    )
    assert (sold.side, sold.kind, sold.quantity, sold.price, sold.urgent) == (
        "sell",
        "market",
        Decimal("0.010"),
        None,
        True,
    )


def test_adopted_orders_are_looked_up_and_never_sent(world: World) -> None:
    world.venue.answers["order o1"] = working("o1")
    waiting, cancelling = order_of("o1"), order_of("o2")
    cancelling.state, cancelling.venue_order_id = OrderState.CANCELLING, "vo2"
    world.venue.answers["order o2"] = working("o2")
    world.broker.adopt([waiting, cancelling])
    world.turns()
    assert world.news == [("o1", OrderNews.NO_ANSWER), ("o1", OrderNews.ACCEPTED)]
    assert {what for what, _ in world.venue.calls} == {"order", "cancel"}
    with pytest.raises(BotError, match="sent before"):
        world.submit("o1")


@pytest.mark.parametrize("fills", [None, {}, {"o1": []}, {"o1": ["fo1"]}], ids=["none", "no order", "no ids", "ids"])
def test_what_the_journal_has_of_an_adopted_order_is_not_told_again(world: World, fills: Any) -> None:
    world.venue.create(NewOrder(RULES, "o1", "sell", "market", Decimal("0.010")))
    order = order_of("o1")
    order.state, order.filled, order.cash = OrderState.WORKING, 10, 10**8
    world.broker.adopt([order], {"P": MARKET}, fills)
    world.turns()
    assert [(event.news, event.quantity) for event in world.told] == [(OrderNews.ALL_FILLED, None)]


@pytest.mark.parametrize("name", ["w1", "vw1", ""])
def test_a_nudge_looks_at_once(world: World, name: str) -> None:
    world.venue.answers["create w1"] = world.venue.answers["order w1"] = working("w1")
    world.submit("w1", ENTRY, kind="limit", limit_ticks=1_000)
    world.turns()
    world.venue.calls.clear()
    world.broker.nudge("of another order")
    world.turns()
    assert world.venue.calls == []
    world.broker.nudge(name)
    world.turns()
    assert world.venue.calls == [("order", "w1")]


def test_the_market_rules_are_asked_for_once_and_anew_after_a_refusal(world: World) -> None:
    asked = []

    def markets() -> list[Rules]:
        asked.append(1)
        return [RULES]

    world.markets = markets
    world.submit("o1")
    world.submit("o2")
    world.turns()
    assert len(asked) == 1
    world.venue.answers["create o3"] = Rejected("v", "LOT_SIZE")
    world.submit("o3")
    world.turns()
    assert len(asked) == 2 and world.news[-1] == ("o3", OrderNews.REFUSED)


@pytest.mark.parametrize("hands", [(Hand.ALL,), (Hand.PROTECTS, Hand.ASKS)], ids=["the first", "the others"])
def test_the_free_balance_is_asked_for_urgently_and_by_whichever_thread_is_free(
    world: World, hands: tuple[Hand, ...]
) -> None:
    world.broker.courier._read_ahead()
    world.venue.free = Decimal("0.001")
    world.venue.answers["create o1"] = Rejected("v", "insufficient balance")
    world.submit("o1")
    for hand in hands * 2:
        world.turns(hand)
    assert world.venue.calls[:2] == [("create", "o1"), ("balances", "urgently")]
    assert world.news[-1] == ("o1", OrderNews.REFUSED) and "0.001 BTC are free" in world.said[0][1]


def test_markets_that_cannot_be_had_are_asked_for_again(world: World) -> None:
    def fails() -> list[Rules]:
        raise Retry("v", "no answer")

    world.markets = fails
    world.submit("o1")
    world.turns()
    assert world.venue.calls == []
    world.markets = lambda: [RULES]
    world.passes(5)
    world.turns()
    assert world.news[-1] == ("o1", OrderNews.ALL_FILLED)


def test_stamps_of_what_was_sent(world: World) -> None:
    world.venue.answers["create o1"] = lambda: world.passes(0.5)
    world.submit("o1")
    world.turns()
    (sent,) = world.broker.sent()
    assert (sent.order_id, sent.answered_ns - sent.began_ns) == ("o1", NS_PER_S // 2)
    assert world.broker.sent() == []


@pytest.mark.parametrize("act", ["submit", "cancel", "mark", "committed"])
def test_crashed(act: str) -> None:
    venue, told = Script(), threading.Event()
    venue.answers["create o1"] = ZeroDivisionError("a mistake of ours")
    said: list[str] = []

    def say(level: str, text: str) -> None:
        said.append(text)
        told.set()

    broker = LiveBroker(venue, lambda: [RULES], LiveClock(), lambda events: None, say=say)  # type: ignore[arg-type]
    try:
        broker.submit(Approved(order_of("o1")), TICK, MARKET, 0)
        broker.mark(1)
        broker.committed(1)
        assert told.wait(20) and "a mistake of ours" in said[0]
        acts: dict[str, Callable[[], object]] = {
            "submit": lambda: broker.submit(Approved(order_of("o2")), TICK, MARKET, 0),
            "cancel": lambda: broker.cancel("o1"),
            "mark": lambda: broker.mark(2),
            "committed": lambda: broker.committed(2),
        }
        with pytest.raises(BotError, match="worker died"):
            acts[act]()
    finally:
        broker.close(20)
    assert [call for call in venue.calls if call[0] == "create"] == [("create", "o1")]


def test_in_order(world: World) -> None:
    """A refusal in the stage's thread and an answer in a worker's are told one after the other, each once."""
    world.submit("o1", commit=False)
    world.broker.cancel("o1")
    assert world.told == [], "the stage's own call tells nothing"
    world.submit("o2")
    world.turns()
    assert world.news == [
        ("o1", OrderNews.CANCEL_DONE),
        ("o2", OrderNews.ACCEPTED),
        ("o2", OrderNews.ALL_FILLED),
    ]


def test_closing_leaves_unsent_what_was_not_sent(world: World) -> None:
    world.submit("o1", commit=False)
    world.broker.close(1)
    world.commit()
    world.turns()
    assert world.venue.calls == [] and world.told == []
