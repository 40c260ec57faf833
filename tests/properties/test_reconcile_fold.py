"""The fold, a live broker that tells late or twice, and comparisons with a venue: the book ends as the venue's.

The venue is a model: its orders, fills and balances are the truth; the fold hears of them through the broker's results,
which may be held back and repeated, and through comparisons at any time.
"""

import random
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests import trader_world as world
from tests.live_world import Venue
from tests.reconcile_world import PAIR, SYMBOL, found, rules, twice
from trader import base, inputs
from trader.broker import BrokerEvent
from trader.executed import Executed
from trader.orders import OrderNews
from trader.reconcile import judge, strays
from trader.venue_side import journal_view
from trader.views import VenueView, since_ms
from venues.account import Fill, Order

D = Decimal
STEP = D("0.001")
OPS = ["dip", "dip", "fall", "quiet", "tell", "tell", "check", "check", "guardian", "hand", "again"]


class Model:
    """The venue, and the broker between it and the fold."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.fold = Venue(wallet="10000", trade_capital="1000")
        self.orders: dict[str, Order] = {}
        self.fills: list[Fill] = []
        self.base = D(0)
        self.cash = 10_000 * 10**8
        self.told: list[BrokerEvent] = []  # what the broker still has to say
        self.said: list[BrokerEvent] = []
        self.taken = 0  # orders sent that the venue has seen
        self.fold.give(inputs.Checked(judge(*self.views()), world.T0_MS))

    # --- the market and the venue -------------------------------------------------------------------

    def trade(self, price: float, codes: str) -> None:
        self.fold.tape.trade(price, codes, after_ms=4_000)
        self.fold.feed()
        while self.taken < len(self.fold.broker.sent):
            sent = self.fold.broker.sent[self.taken]
            self.taken += 1
            self.fill(sent.id, "buy" if sent.purpose == "entry" else "sell", sent.lots, D(str(price)), tell=True)

    def fill(self, name: str, side: str, lots: int, price: Decimal, *, tell: bool) -> None:
        """An order at the venue that is over at once: filled whole, in part, not at all, or never there."""
        if name in self.orders:
            return
        if side == "sell":
            lots = min(lots, int(self.base / STEP))
        kind = self.chance.choice(["whole", "whole", "part", "none", "absent"])
        events: list[BrokerEvent] = []
        if kind == "absent" or not lots:
            events = [BrokerEvent(name, OrderNews.NO_ANSWER), BrokerEvent(name, OrderNews.ABSENT)]
        else:
            filled = {"whole": lots, "part": self.chance.randint(1, lots), "none": 0}[kind]
            events = self.execute(name, side, lots, filled, price)
        if tell:
            self.told += events

    def execute(self, name: str, side: str, lots: int, filled: int, price: Decimal) -> list[BrokerEvent]:
        now_ms = self.fold.tape.ms
        number, left, fills = len(self.orders), filled, []
        while left:
            part = self.chance.randint(1, left)
            left -= part
            coin = self.chance.choice(["USDT", "BTC"])
            quantity = part * STEP
            fee = quantity * D("0.001") if coin == "BTC" else quantity * price * D("0.001")
            if side == "sell":
                coin, fee = "USDT", quantity * price * D("0.001")
            place = len(self.fills) + len(fills)
            fills.append(Fill(f"{place}", f"v{number}", "", SYMBOL, side, price, quantity, fee, coin, now_ms))
        status = "filled" if filled == lots else "cancelled"
        self.orders[name] = Order(
            name, f"v{number}", SYMBOL, side, "ioc", lots * STEP, filled * STEP, status, created_ms=now_ms
        )
        self.fills += fills
        events = Executed(name, side, "BTC", "USDT", STEP).take(fills)
        for event in events:
            self.base += event.base if side == "buy" else -event.base  # type: ignore[operator]
            self.cash += -event.cash if side == "buy" else event.cash
        end = OrderNews.ALL_FILLED if status == "filled" else OrderNews.CANCEL_DONE
        return [BrokerEvent(name, OrderNews.ACCEPTED, venue_order_id=f"v{number}"), *events, BrokerEvent(name, end)]

    # --- what the fold hears ------------------------------------------------------------------------

    def say(self, most: int) -> None:
        for event in self.told[:most]:
            self.said.append(event)
            self.fold.give(inputs.Told(event))
            if event.venue_fill_id and self.chance.random() < 0.3:
                self.fold.give(inputs.Told(event))
        del self.told[:most]
        self.trade_sent()

    def trade_sent(self) -> None:
        """Orders that a result brought about (an exit that goes on) reach the venue too."""
        while self.taken < len(self.fold.broker.sent):
            sent = self.fold.broker.sent[self.taken]
            self.taken += 1
            side = "buy" if sent.purpose == "entry" else "sell"
            self.fill(sent.id, side, sent.lots, D(str(self.fold.pair.price)), tell=True)

    def views(self) -> tuple[Any, VenueView]:
        book = journal_view(self.fold.engine)
        view = VenueView(
            journal=book,
            rules=(rules(),),
            open_orders={PAIR: ()},
            fills={PAIR: tuple(one for one in self.fills if one.time_ms >= since_ms(book))},
            fills_from_ms=since_ms(book),
            balances=twice(str(self.base), str(D(self.cash) / 10**8)),
            by_venue_id={one.venue_order_id: found(one) for one in self.orders.values()},
        )
        return book, view

    def check(self) -> None:
        book, view = self.views()
        result = judge(book, view)
        assert not strays(book, view)
        self.fold.give(inputs.Checked(result, book.market_ms))
        self.trade_sent()

    def held(self) -> Decimal:
        pair = self.fold.pair
        return base.held(pair) + base.dust(pair)

    # --- steps ----------------------------------------------------------------------------------------

    def step(self, what: str) -> None:
        pair = self.fold.pair if self.fold.engine.state.pairs else None
        match what:
            case "dip":
                self.trade(100.0, "mr")
            case "fall":
                self.trade(90.0, "warm")
            case "quiet":
                self.trade(100.0, "warm")
            case "tell":
                self.say(self.chance.randint(1, 3))
            case "check":
                self.check()
            case "guardian" if pair is not None and pair.lots and pair.order is None and not self.told:
                name = self.fold.engine.exit_id(pair)
                if name not in self.orders:
                    self.execute(name, "sell", pair.lots, pair.lots, D("95"))
                    self.check()
            case "hand" if self.base > 0 and not self.told:
                lost = self.base * D(self.chance.choice(["0.3", "1"]))
                self.base -= lost
                self.cash += int(lost * 100 * 10**8)
                self.check()
            case "again":
                self.fold.give(inputs.Again(PAIR))
                self.trade_sent()


@settings(max_examples=150)
@given(st.lists(st.sampled_from(OPS), max_size=30), st.randoms(use_true_random=False))
def test_the_book_ends_as_the_venue_whatever_the_broker_tells_late_or_twice_and_whenever_they_are_compared(
    steps: list[str], chance: random.Random
) -> None:
    model = Model(chance)
    model.trade(100.0, "warm")
    for what in steps:
        model.step(what)
    for _ in range(10):
        model.say(len(model.told))
        model.check()
    assert model.fold.pair.order is None
    assert model.held() == model.base
    assert model.fold.engine.state.wallet == model.cash
    again = judge(*model.views())
    assert again.agreed and not again.told and not again.orphans and not again.external
