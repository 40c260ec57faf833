"""A pair whose stop rests at the venue, under any interleaving of prices, commands, and what the venue says."""

from decimal import Decimal
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.live_world import Venue, world_agrees
from trader import inputs, protection, venue_news
from trader.orders import TERMINAL, OrderNews, OrderState
from trader.state import Order

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("price"), st.integers(-600, 600), st.sampled_from(["warm", "tp", "mr"])),
        st.tuples(st.just("protect")),
        st.tuples(st.just("again")),
        st.tuples(st.just("flatten")),
        st.tuples(st.just("resume")),
        st.tuples(st.just("gone"), st.integers(1, 12)),
        st.tuples(st.just("recovering"), st.booleans()),
        st.tuples(st.just("answer"), st.integers(0, 9), st.sampled_from(["accept", "refuse", "lost"])),
        st.tuples(st.just("works"), st.integers(0, 9), st.integers(1, 12)),
        st.tuples(st.just("ends"), st.integers(0, 9)),
    ),
    max_size=60,
)


class Market:
    """A venue that does with each order what it may: it never fills what is over, nor more than there is."""

    def __init__(self) -> None:
        self.venue = Venue(trailing_stop_pct="0.005", max_orders_per_minute="0")
        engine = self.venue.engine
        engine.terms = engine.terms._replace(native_stop=True)
        self.price = 100_000
        self.coins = 0  # lots at the venue
        self.live: dict[str, Order] = {}  # at the venue, or on their way
        self.left: dict[str, int] = {}
        self.fills = 0
        self.stop_ticks = 0  # the highest at which a stop of this position was sent
        self.trade("mr")

    def trade(self, codes: str) -> None:
        self.venue.tape.trade(float(self.price), codes)
        self.venue.feed()

    def do(self, step: tuple[Any, ...]) -> None:
        venue, name = self.venue, self.venue.pair.pair
        match step:
            case ("price", int(by), str(codes)):
                self.price = max(50_000, self.price + by)
                self.trade(codes)
            case ("protect",):
                venue.give(inputs.Protect(name))
            case ("again",):
                venue.give(inputs.Again(name))
            case ("flatten" | "resume",):
                venue.give(inputs.Command(step[0], f"c{len(venue.events)}"))
            case ("recovering", bool(on)):
                venue.give(inputs.Block(venue_news.RECOVERING, on))
            case ("gone", int(lots)):  # sold by hand, as far as it is free
                free = self.coins - sum(self.left[order.id] for order in self.live.values() if order.purpose == "exit")
                lots = min(lots, free)
                if lots > 0:
                    self.coins -= lots
                    venue.give(inputs.Checked(world_agrees(external=((name, lots * Decimal("0.001")),))))
            case ("answer", int(which), str(answer)):
                self.answer(which, answer)
            case ("works", int(which), int(lots)):
                self.works(which, lots)
            case ("ends", int(which)):
                self.ends(which)
        self.take()
        self.check()

    def take(self) -> None:
        """What was sent since: the venue has it, though it has not answered."""
        for order in self.venue.broker.sent:
            if order.id not in self.left:
                self.live[order.id], self.left[order.id] = order, order.lots
                if order.resting:
                    assert order.stop_ticks >= self.stop_ticks, "a stop never moves down"
                    self.stop_ticks = order.stop_ticks
        if not self.venue.pair.lots:
            self.stop_ticks = 0

    def pick(self, which: int, *states: OrderState) -> Order | None:
        there = [order for order in self.live.values() if order.state in states]
        return there[which % len(there)] if there else None

    def over(self, order: Order) -> None:
        del self.live[order.id]
        self.left[order.id] = 0

    def answer(self, which: int, answer: str) -> None:
        order = self.pick(which, OrderState.SUBMITTING, OrderState.UNKNOWN, OrderState.CANCELLING)
        if order is None:
            return
        if answer == "accept":
            self.venue.tell(OrderNews.ACCEPTED, order.id)
        elif answer == "refuse" and not order.filled:
            self.over(order)
            self.venue.tell(OrderNews.REFUSED, order.id)
        elif answer == "lost" and order.state != OrderState.CANCELLING:
            self.venue.tell(OrderNews.NO_ANSWER, order.id)

    def works(self, which: int, lots: int) -> None:
        order = self.pick(which, OrderState.SUBMITTING, OrderState.UNKNOWN, OrderState.WORKING, OrderState.CANCELLING)
        if order is None:
            return
        selling = order.purpose == "exit"
        lots = min(lots, self.left[order.id], self.coins if selling else lots)
        if lots <= 0:
            return
        self.left[order.id] -= lots
        self.coins += -lots if selling else lots
        whole = self.left[order.id] == 0
        if whole:
            self.over(order)
        self.fills += 1
        quantity = lots * Decimal("0.001")
        self.venue.tell(
            OrderNews.ALL_FILLED if whole else OrderNews.PART_FILLED,
            order.id,
            lots=lots,
            price=Decimal(self.price),
            cash=int(self.price * quantity * 10**8),
            quantity=quantity,
            base=quantity,
            venue_fill_id=f"f{self.fills}",
        )

    def ends(self, which: int) -> None:
        order = self.pick(which, OrderState.CANCELLING, OrderState.WORKING)
        if order is not None:
            self.over(order)
            self.venue.tell(OrderNews.CANCEL_DONE, order.id)

    def check(self) -> None:
        pair = self.venue.pair
        sells = [order for order in self.live.values() if order.purpose == "exit"]
        assert len(sells) <= 1
        assert sum(self.left[order.id] for order in sells) <= self.coins
        assert pair.lots + pair.dust_lots == self.coins
        working = [order for order in self.live.values() if order.state not in TERMINAL]
        assert working == ([] if pair.order is None else [pair.order])
        assert len({order.id for order in self.venue.broker.sent}) == len(self.venue.broker.sent)

    def settle(self) -> None:
        """Left alone it comes to rest: flat, or with a stop at the venue."""
        self.do(("recovering", False))
        for _ in range(8):
            for _ in range(len(self.live)):
                self.do(("answer", 0, "accept"))
            order = self.venue.pair.order
            if order is not None and order.state == OrderState.CANCELLING:
                self.do(("ends", 0))
            elif order is not None and not order.resting:
                self.do(("works", 0, 100))
            if venue_news.exits_wanted(self.venue.engine):
                self.do(("again",))
            if protection.wanted(self.venue.engine):
                self.do(("protect",))
        pair = self.venue.pair
        resting = pair.order is not None and pair.order.resting and pair.order.left == pair.lots
        assert resting or pair.lots == 0, pair


HELD: list[tuple[Any, ...]] = [("works", 0, 12), ("protect",)]


@settings(max_examples=300)
@given(STEPS)
@example([*HELD, ("answer", 0, "accept"), ("ends", 0), ("price", -300, "warm"), ("protect",)])  # the same stop again
@example([("works", 0, 1), ("price", -118, "warm"), ("flatten",), ("resume",), ("price", -382, "warm")])
def test_one_sell_at_most_works_and_what_is_held_is_what_the_venue_has(steps: list[tuple[Any, ...]]) -> None:
    market = Market()
    market.take()
    for step in steps:
        market.do(step)
    market.settle()
