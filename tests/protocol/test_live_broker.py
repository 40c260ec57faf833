"""The live broker against the sandbox's three protocols over real sockets, with faults: one order, every fill, no more.

The test takes the broker's turns itself and moves the clocks; the sandbox's own books are the judge.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from core.clock import NS_PER_MS, NS_PER_S
from core.money import scale_of, steps_down
from sandbox import faults as kinds
from tests.protocol.account_house import PAIR, WAYS, House, house_of
from trader.broker import BrokerEvent, Tick
from trader.courier import Hand
from trader.live import LiveBroker
from trader.nudges import Nudges
from trader.orders import TERMINAL, OrderNews, OrderState, advance
from trader.risk import Approved
from trader.state import ENTRY, EXIT, Order
from trader.terms import MarketTerms
from venues.account import IOC, LIMIT, MARKET, NewOrder
from venues.errors import RateLimited
from venues.venue import Rules

ACCEPTED, ALL, DONE = OrderNews.ACCEPTED, OrderNews.ALL_FILLED, OrderNews.CANCEL_DONE
NO_ANSWER, ABSENT, REFUSED = OrderNews.NO_ANSWER, OrderNews.ABSENT, OrderNews.REFUSED


class Desk:
    """A broker at one venue, and what a fold would make of what it tells."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.told: list[BrokerEvent] = []
        self.said: list[str] = []
        self.states: dict[str, OrderState] = {}
        self.number = 0
        rules = house.rules
        scale = scale_of(rules.tick, rules.step, rules.pair)
        self.market = MarketTerms(rules.pair, rules.base, rules.quote, scale, 1, 0, 10**12, True)
        self.broker = self.opened()
        self.before = house.balances_booked()

    def opened(self, *, start: bool = False) -> LiveBroker:
        house = self.house
        return LiveBroker(
            house.hasty,
            self.markets,
            house.clock,
            self.deliver,
            entry_timeout_ms=5_000,
            say=lambda level, text: self.said.append(text),
            start=start,
        )

    def markets(self) -> list[Rules]:
        return asyncio.run(self.house.market.markets())

    def deliver(self, events: list[BrokerEvent]) -> None:
        for event in events:
            self.told.append(event)
            self.states[event.order_id] = advance(self.states[event.order_id], event.news)

    def submit(
        self, order_id: str, purpose: str = EXIT, quantity: str = "0.02", kind: str = MARKET, price: str = "1"
    ) -> None:
        rules, scale = self.house.rules, self.market.scale
        last, limit = self.house.price("1"), self.house.price(price)
        now_ms = self.house.venue_clock.wall_ms()
        order = Order(
            order_id,
            rules.pair,
            purpose,
            "r",
            steps_down(quantity, rules.step),
            steps_down(last, scale.tick),
            now_ms * NS_PER_MS,
            now_ms,
            now_ms,
            OrderState.SUBMITTING,
            kind=kind,
            limit_ticks=0 if kind == MARKET else steps_down(limit, scale.tick),
        )
        self.states[order_id] = OrderState.SUBMITTING
        tick = Tick(0, 0, now_ms * NS_PER_MS, float(last), order.ticks, 1, 1, 0.0, 0.0, 1, 0, 0)
        self.broker.submit(Approved(order), tick, self.market, 0)
        self.commit()

    def commit(self) -> None:
        self.number += 1
        self.broker.mark(self.number)
        self.broker.committed(self.number)

    def turns(self) -> None:
        while self.broker.courier.turn(Hand.PROTECTS) or self.broker.courier.turn(Hand.ALL):
            pass

    def until(self, over: Callable[[], bool], step_ms: int = 250, steps: int = 2400) -> None:
        """Lets broker and market go on until something came about."""
        for _ in range(steps):
            self.turns()
            if over():
                return
            self.house.step(step_ms)
        raise AssertionError(
            f"it never came about: {self.news}, {[o.due() for o in self.broker.courier._orders.values()]}"
        )

    def ends(self) -> None:
        self.until(lambda: all(state in TERMINAL for state in self.states.values()))

    @property
    def news(self) -> list[OrderNews]:
        return [event.news for event in self.told]

    def agree(self) -> None:
        """What was told moves the account from what it had to what it has, to the last digit; each fill once."""
        fills = [event for event in self.told if event.quantity]
        ids = [event.venue_fill_id for event in fills]
        assert len(set(ids)) == len(ids) == len(self.house.fills_booked())
        after, sides = (
            self.house.balances_booked(),
            {order.client_id: order.side.value for order in self.house.all_booked()},
        )
        base = quote = Decimal(0)
        for event in fills:
            assert event.base is not None
            sign = 1 if sides[event.order_id] == "buy" else -1
            base += sign * event.base
            quote -= sign * Decimal(event.cash).scaleb(-8)
        assert sum(after["BTC"]) - sum(self.before["BTC"]) == base
        assert sum(after["USDT"]) - sum(self.before["USDT"]) == quote


@pytest.fixture(params=WAYS)
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    with house_of(request.param) as made:
        made.deposit("BTC", "1")
        made.account.balances()  # the clock is measured before anything goes wrong
        yield made


@pytest.fixture(autouse=True)
def waits(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for room in limits takes no time of ours; the market goes on meanwhile."""

    def wait(seconds: float) -> None:
        house.step_clocks(int(seconds * 1000) + 1)

    monkeypatch.setattr("venues.rest.sleep", wait)
    monkeypatch.setattr("venues.kraken.account.sleep", wait)


@pytest.fixture
def desk(house: House) -> Desk:
    return Desk(house)


def entry_kind(house: House) -> str:
    return IOC if house.hasty.capabilities.ioc else LIMIT


def test_an_entry_and_an_exit(house: House, desk: Desk) -> None:
    desk.submit("e1", ENTRY, kind=entry_kind(house), price="1.002")
    desk.ends()
    assert desk.told[0].news == ACCEPTED and desk.states["e1"] == OrderState.FILLED
    desk.submit("x1", EXIT)
    desk.ends()
    assert desk.states["x1"] == OrderState.FILLED and desk.broker.settled
    assert [order.client_id for order in house.all_booked()].count("x1") == 1
    sent = desk.broker.sent()
    assert [item.order_id for item in sent] == ["e1", "x1"]
    assert all(item.began_ns <= item.written_ns <= item.answered_ns for item in sent)
    desk.agree()


def test_its_own_threads_carry_several_orders_at_once(house: House, desk: Desk) -> None:
    desk.broker = desk.opened(start=True)
    house.served.fault(kinds.DROPPED_REPLY, path=house.ways.create, method="POST", times=1)
    try:
        for number in range(3):
            desk.submit(f"x{number}", quantity="0.005")
        for _ in range(1_500):
            if all(state in TERMINAL for state in desk.states.values()):
                break
            house.step(250)
            desk.broker.nudge()
            threading.Event().wait(0.02)
    finally:
        desk.broker.close(20)
    assert set(desk.states.values()) == {OrderState.FILLED} and len(house.all_booked()) == 3
    desk.agree()


LOST: dict[str, tuple[dict[str, Any], bool]] = {
    "F1 the reply": ({"kind": kinds.DROPPED_REPLY}, True),
    "F1 half the reply": ({"kind": kinds.CUT_REPLY}, True),
    "F2 the request": ({"kind": kinds.LOST_REQUEST}, False),
    "F3 in 504 after it was taken": ({"kind": kinds.STATUS, "status": 504, "acted": True}, True),
    "F3 in a page after it was taken": ({"kind": kinds.HTML, "status": 502, "acted": True}, True),
    "F3 in a page": ({"kind": kinds.HTML, "status": 502}, False),
}


@pytest.mark.parametrize(("fields", "taken"), LOST.values(), ids=LOST)
def test_an_exit_whose_answer_is_lost_is_one_order_or_none(
    house: House, desk: Desk, fields: dict[str, Any], taken: bool
) -> None:
    went = house.calls()
    house.served.fault(path=house.ways.create, method="POST", times=1, **fields)
    began_ns = house.clock.monotonic_ns()
    desk.submit("x1")
    desk.ends()
    assert desk.news[0] == NO_ANSWER and went() == 1
    assert len(house.all_booked()) == taken
    assert desk.states["x1"] == (OrderState.FILLED if taken else OrderState.REJECTED)
    if not taken:
        lives_ns = int(house.hasty.capabilities.request_lives_s * NS_PER_S)
        assert desk.news == [NO_ANSWER, ABSENT] and house.clock.monotonic_ns() - began_ns >= lives_ns
    desk.agree()


def test_a_venue_that_does_not_find_the_order_yet_is_asked_again(house: House, desk: Desk) -> None:
    house.served.fault(kinds.QUERY_LAG, ms=2_000)
    house.served.fault(kinds.DROPPED_REPLY, path=house.ways.create, method="POST", times=1)
    desk.submit("x1")
    desk.ends()
    assert desk.states["x1"] == OrderState.FILLED and len(house.all_booked()) == 1
    desk.agree()


def test_an_order_that_is_rejected_late_is_over_without_a_trace_in_the_money(house: House, desk: Desk) -> None:
    house.served.fault(kinds.LATE_REJECTION, ms=300)
    desk.submit("x1")
    desk.ends()
    assert desk.news == [ACCEPTED, REFUSED if house.ways.rejected == "rejected" else DONE]
    desk.agree()


def test_f21_partly_filled_and_the_rest_cancelled(house: House, desk: Desk) -> None:
    house.served.fault(kinds.PARTIAL_FILLS, share=0.02)
    desk.submit("e1", ENTRY, "0.1", LIMIT, "1.001")
    desk.until(lambda: any(event.quantity for event in desk.told))
    desk.broker.cancel("e1")
    desk.states["e1"] = advance(desk.states["e1"], OrderNews.CANCEL_SENT)
    desk.commit()
    desk.ends()
    assert desk.news[-1] == DONE and desk.states["e1"] == OrderState.CANCELLED
    booked = house.booked("e1")
    assert booked is not None and sum(event.quantity or 0 for event in desk.told) == booked.filled > 0
    desk.agree()


def test_a_limit_entrys_rest_ends_by_itself(house: House, desk: Desk) -> None:
    desk.submit("e1", ENTRY, kind=LIMIT, price="0.9")
    began_ms = house.venue_clock.wall_ms()
    desk.ends()
    assert desk.news == [ACCEPTED, OrderNews.CANCEL_SENT, DONE]
    assert 5_000 <= house.venue_clock.wall_ms() - began_ms < 8_000
    desk.agree()


@pytest.mark.parametrize("fields", [{"kind": kinds.DROPPED_REPLY}, {"kind": kinds.LOST_REQUEST}, {"kind": kinds.HTML}])
def test_a_cancel_whose_answer_is_lost_is_asked_again(house: House, desk: Desk, fields: dict[str, Any]) -> None:
    method, path = house.ways.cancel
    house.served.fault(path=path, method=method, times=1, **fields)
    desk.submit("e1", ENTRY, kind=LIMIT, price="0.9")
    desk.ends()
    assert desk.news == [ACCEPTED, OrderNews.CANCEL_SENT, DONE]
    booked = house.booked("e1")
    assert booked is not None and not booked.status.working


@pytest.mark.parametrize("house", ["binance"], indirect=True)  # the others' fees are always in quote
def test_f22_a_fee_in_the_bought_coin(house: House, desk: Desk) -> None:
    house.served.fault(kinds.FEE_IN_BASE)
    desk.submit("e1", ENTRY, kind=entry_kind(house), price="1.002")
    desk.ends()
    fills = [event for event in desk.told if event.quantity]
    assert all(event.base < event.quantity and event.fee_currency == "BTC" for event in fills)  # type: ignore[operator]
    desk.agree()


def test_f18_429_then_418_no_call_while_banned_and_no_second_order(house: House, desk: Desk) -> None:
    house.served.fault(kinds.STATUS, path="*", status=429, retry_after_s=60, times=1)
    with pytest.raises(RateLimited):
        house.hasty.balances()
    desk.submit("x1")
    desk.turns()
    second = house.served.fault(kinds.STATUS, path="*", status=418, retry_after_s=1_800, times=1)
    went = house.calls("*", method="*")
    house.breathe(55 * NS_PER_S)
    desk.turns()
    assert went() == 0, "no call while banned"
    house.breathe(10 * NS_PER_S)
    desk.turns()
    assert house.served.struck(second) == 1
    calls = went()
    for _ in range(3):
        house.breathe(590 * NS_PER_S)
        desk.turns()
    assert went() == calls, "no call while banned"
    house.breathe(60 * NS_PER_S)
    desk.ends()
    if house.protocol == "coindcx":  # its 418 is no proof that nothing was done: looked up, and never sent anew
        assert desk.news == [NO_ANSWER, ABSENT] and house.all_booked() == []
    else:
        assert desk.states["x1"] == OrderState.FILLED and len(house.all_booked()) == 1
    desk.agree()


def test_f24_changed_lot_rules_are_read_and_the_order_sent_by_them_once(house: House, desk: Desk) -> None:
    went = house.calls()
    desk.broker.courier._read_ahead()
    house.served.fault(kinds.LOT_RULES, pair=PAIR, step="0.01", min_quantity="0.01")
    desk.submit("x1", quantity="0.025")
    desk.ends()
    (booked,) = house.all_booked()
    assert booked.quantity == booked.filled == Decimal("0.02") and went() == 2
    assert desk.states["x1"] == OrderState.CANCELLED and "0.02 in place of 0.025" in desk.told[0].note
    assert any("0.02 in place of 0.025" in text for text in desk.said)
    desk.agree()


def test_an_exit_of_more_than_is_free_is_sent_once_more_with_what_is_free(house: House, desk: Desk) -> None:
    """What a person's own order locks is not free, and nothing waits for a comparison with the venue."""
    rules = house.rules
    house.account.create(NewOrder(rules, "by-hand", "sell", LIMIT, Decimal("0.9"), house.price("1.5")))
    went = house.calls()
    desk.submit("x1", quantity="0.25")
    desk.ends()
    booked = house.booked("x1")
    assert booked is not None and booked.quantity == booked.filled == Decimal("0.1") and went() == 2
    assert desk.states["x1"] == OrderState.CANCELLED and "0.1 in place of 0.25" in desk.told[0].note
    desk.agree()
    desk.submit("x2", quantity="0.15")
    desk.ends()
    assert desk.states["x2"] == OrderState.REJECTED and went() == 3
    assert "0 BTC are free of 0.15: too little for an order" in desk.told[-1].note


def test_f24_what_is_refused_for_another_reason_keeps_the_venues_words(house: House, desk: Desk) -> None:
    went = house.calls()
    desk.submit("e1", ENTRY, "15", entry_kind(house), "1.002")
    desk.ends()
    assert desk.news == [REFUSED] and desk.told[0].note and went() == 1 and house.all_booked() == []


def test_f17_a_venues_clock_that_moved_costs_no_second_order(house: House, desk: Desk) -> None:
    went = house.calls()
    house.served.fault(kinds.CLOCK_SKEW, ms=-120_000)
    desk.submit("x1")
    desk.turns()
    assert went() == 2 and len(house.all_booked()) == 1, "one was refused for its stamp, the next one was taken"
    house.served.no_faults()
    desk.ends()
    assert desk.states["x1"] == OrderState.FILLED
    desk.agree()


def test_after_a_start_an_order_is_looked_up_and_what_it_filled_is_told(house: House, desk: Desk) -> None:
    house.served.fault(kinds.DROPPED_REPLY, path=house.ways.create, method="POST", times=1)
    desk.submit("x1")
    assert desk.broker.courier.turn(Hand.ALL) and desk.broker.courier.turn(Hand.ALL)
    went = house.calls()
    now_ms = house.venue_clock.wall_ms()
    order = Order(
        "x1",
        house.rules.pair,
        EXIT,
        "r",
        steps_down("0.02", house.rules.step),
        1,
        now_ms * NS_PER_MS,
        now_ms,
        now_ms,
        OrderState.SUBMITTING,
    )
    desk.told, desk.states = [], {"x1": OrderState.SUBMITTING}
    desk.broker = desk.opened()
    desk.broker.adopt([order], {house.rules.pair: desk.market}, {})
    desk.ends()
    assert desk.news[:2] == [NO_ANSWER, ACCEPTED] and desk.states["x1"] == OrderState.FILLED and went() == 0
    desk.agree()


BAD_DAY: tuple[dict[str, Any], ...] = (
    {"kind": kinds.DROPPED_REPLY, "chance": 0.06},
    {"kind": kinds.CUT_REPLY, "chance": 0.06},
    {"kind": kinds.LOST_REQUEST, "chance": 0.06},
    {"kind": kinds.STATUS, "status": 503, "chance": 0.04},
    {"kind": kinds.HTML, "status": 504, "acted": True, "chance": 0.06},
    {"kind": kinds.LATE_REJECTION, "ms": 300, "chance": 0.1},
    {"kind": kinds.QUERY_LAG, "ms": 1_500},
    {"kind": kinds.PARTIAL_FILLS, "share": 0.1},
)


@pytest.mark.parametrize("seed", [0, 13, 22])
def test_on_a_bad_day_no_order_is_doubled_and_no_fill_is_lost(house: House, desk: Desk, seed: int) -> None:
    for fields in BAD_DAY[seed % 2 :]:
        if "chance" in fields:
            fields = {**fields, "chance": fields["chance"] * (0.5 + seed / 12)}
        house.served.fault(**{"path": "*", **fields} if fields["kind"] in kinds.REQUESTS else fields)
    kinds_of = [MARKET, entry_kind(house), LIMIT]
    for number in range(12):
        purpose = ENTRY if number % 2 == 0 else EXIT
        kind = kinds_of[number % 3] if purpose == ENTRY else MARKET
        desk.submit(f"o{number}", purpose, "0.03", kind, ("1.002", "0.9998")[(number + seed) % 2])
        if number % 4 == 2:
            desk.turns()
            desk.broker.cancel(f"o{number}")
            if desk.states[f"o{number}"] not in TERMINAL:
                desk.states[f"o{number}"] = advance(desk.states[f"o{number}"], OrderNews.CANCEL_SENT)
            desk.commit()
        desk.ends()
    house.served.no_faults()
    for _ in range(20):  # what comes after its end
        house.step(1_000)
        desk.turns()
    booked = [order.client_id for order in house.all_booked()]
    assert len(set(booked)) == len(booked) and not any(order.status.working for order in house.all_booked())
    assert desk.broker.settled
    desk.agree()


# --- the stream ---


def test_the_stream_nudges_the_order_it_tells_of(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("venues.coindcx.account.REFUSED_S", 0.05)
    nudged: list[str] = []
    there, heard = threading.Event(), threading.Event()

    def nudge(name: str) -> None:
        nudged.append(name)
        (heard if name else there).set()

    nudges = Nudges(house.account, lambda: [house.rules], nudge, lambda level, text: None, first_s=0.05)
    nudges.start()
    try:
        assert there.wait(20) and nudges.connected
        house.account.create(house.order("n1", LIMIT, price=house.price("0.9")))
        assert heard.wait(20) and "n1" in nudged
        there.clear()
        house.served.fault(kinds.DISCONNECT, path=house.ways.stream, times=1)
        house.account.cancel(house.rules, "n1")
        assert there.wait(20), "a new connection nudges all"
    finally:
        nudges.close(20)


def test_a_stream_that_cannot_be_had_is_told_once_and_tried_again(house: House) -> None:
    house.served.fault(kinds.REFUSED, path="*", status=503)
    said: list[tuple[str, str]] = []
    tried, there = threading.Event(), threading.Event()

    def rules() -> list[Rules]:
        if said:
            tried.set()
        return [house.rules]

    def say(level: str, text: str) -> None:
        said.append((level, text))

    nudges = Nudges(house.account, rules, lambda name: there.set(), say, first_s=0.02)
    nudges.start()
    try:
        assert tried.wait(20)
        assert [level for level, _ in said] == ["warn"] and not nudges.connected
        house.served.no_faults()
        assert there.wait(20)
    finally:
        nudges.close(20)
