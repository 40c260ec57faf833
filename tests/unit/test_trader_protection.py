"""The stop that rests at the venue: each rule of `trader.protection` and `trader.guards` under its name."""

from decimal import Decimal
from typing import Any

import pytest

from bus.messages import OrderEvent, PositionEvent, SignalEvent, TradeEvent
from tests import trader_world as world
from tests.live_world import Venue, world_agrees
from tests.trader_world import of
from trader import inputs, protection, venue_news
from trader.guards import Guards
from trader.leased import positions
from trader.orders import OrderNews, OrderState
from trader.protection import CLIMB, PLACE, REMOVE, RESIZE
from trader.recovery import CLEAN, report
from trader.state import Order, pack, unpack
from trader.status import status_of
from trader.venue_side import journal_view
from trader.words import words

UNIT = 10**8
S = 1_000_000_000


def venue_with_stops(tape: world.Tape | None = None, *, has: bool = True, **changed: Any) -> Venue:
    """Bought at 100,000; the venue has stops, and none is placed yet. The trailing stop is 0.5 per cent."""
    venue = Venue(tape, trailing_stop_pct="0.005", **changed)
    venue.engine.terms = venue.engine.terms._replace(native_stop=has)
    venue.tape.trade(100_000.0, "mr")
    venue.feed()
    venue.tell(OrderNews.ACCEPTED, venue_order_id="v1")
    return venue


def held(**changed: Any) -> Venue:
    """10 lots (0.010) and no stop yet."""
    venue = venue_with_stops(**changed)
    venue.fill(10, "100000")
    return venue


def protect(venue: Venue) -> None:
    venue.give(inputs.Protect(venue.pair.pair))


def guarded(**changed: Any) -> Venue:
    """10 lots with a stop that rests at the venue."""
    venue = held(**changed)
    protect(venue)
    venue.tell(OrderNews.ACCEPTED, venue_order_id="v2")
    return venue


def price(venue: Venue, *prices: float, codes: str = "warm") -> None:
    venue.tape.trades(prices, codes)
    venue.feed()


def step(venue: Venue) -> str:
    return protection.wanted(venue.engine).get(venue.pair.pair, "")


def exits(venue: Venue) -> list[Order]:
    return [order for order in venue.broker.sent if order.purpose == "exit"]


# --- placed, waits ---------------------------------------------------------------------------------


def test_placed_for_the_whole_position_at_the_trailing_stop_with_the_next_exits_id() -> None:
    venue = held()
    price(venue, 100_010.03)
    next_id = venue.engine.exit_id(venue.pair)
    assert step(venue) == PLACE
    protect(venue)
    order = venue.last
    assert (order.kind, order.lots, order.id, order.attempt) == ("stop", 10, next_id, 1)
    assert order.stop_ticks == 9_950_997  # 100,010.03 less 0.5 %: 99,509.97985
    event = of(venue.events, OrderEvent)[-1]
    assert (event.type, event.price, event.status) == ("stop", "99509.97", "submitting")
    assert step(venue) == ""
    assert [e.action for e in of(venue.events, SignalEvent)] == ["enter"]  # nothing is decided
    before = len(venue.broker.sent)
    protect(venue)  # asked again: nothing
    assert len(venue.broker.sent) == before


def test_placed_for_what_one_order_may_where_the_position_is_larger() -> None:
    venue = held(tape=world.Tape(world.start(world.market(max_quantity="0.004"))))
    venue.pair.lots = 10
    protect(venue)
    venue.tell(OrderNews.ACCEPTED)
    assert (venue.last.lots, step(venue)) == (4, "")


@pytest.mark.parametrize(
    "case", ["recovering", "blind", "entry", "exiting", "flatten", "closed", "at_the_stop", "dust"]
)
def test_waits(case: str) -> None:
    if case == "entry":
        venue = venue_with_stops()
        venue.fill(4, "100000", whole=False)
    elif case == "closed":
        venue = held()
        venue.give(inputs.NewStart(1, 1, world.start(world.market(active=False))))
    else:
        venue = held()
    if case == "recovering":
        venue.give(inputs.Block(venue_news.RECOVERING, True))
    if case == "blind":
        venue.give(inputs.SpanBegin("blind", 1, venue.engine.state.record + 1, -1, "test"))
    if case == "exiting":
        price(venue, 99_400.0)
        venue.tell(OrderNews.REFUSED)
    if case == "flatten":
        venue.give(inputs.Command("flatten", "c1"))
    if case == "at_the_stop":
        venue.give(inputs.SpanBegin("blind", 1, venue.engine.state.record + 1, -1, "test"))
        venue.tape.trade(99_400.0)
        venue.raw()
        venue.give(inputs.SpanEnd())
    if case == "dust":
        venue.pair.lots = 0
    sent = len(venue.broker.sent)
    assert step(venue) == ""
    protect(venue)
    assert len(venue.broker.sent) == sent


def test_waits_and_is_placed_once_a_start_was_compared() -> None:
    venue = held()
    venue.give(inputs.Block(venue_news.RECOVERING, True))
    protect(venue)
    venue.give(inputs.Block(venue_news.RECOVERING, False))
    protect(venue)
    assert [order.kind for order in exits(venue)] == ["stop"]


# --- climbs, resized, switched off -------------------------------------------------------------------


def test_climbs_by_a_new_stop_once_the_one_before_is_over() -> None:
    venue = guarded()
    first = venue.last
    price(venue, 100_050.0)
    assert step(venue) == ""  # 4.97 bps of the price
    price(venue, 100_051.0)
    assert step(venue) == CLIMB
    protect(venue)
    assert venue.broker.cancelled == [first.id] and venue.last is first
    assert step(venue) == ""
    venue.tell(OrderNews.CANCEL_DONE)
    assert venue.pair.order is None and step(venue) == PLACE
    protect(venue)
    assert venue.last.stop_ticks == 9_955_074 and venue.last.id != first.id and venue.last.attempt == 2
    assert venue.pair.lots == 10 and of(venue.events, TradeEvent)[1:] == []


def test_climbs_not_while_the_venue_has_not_taken_the_one_before() -> None:
    venue = held()
    protect(venue)
    price(venue, 101_000.0)
    assert step(venue) == ""
    venue.tell(OrderNews.NO_ANSWER)
    assert step(venue) == ""
    venue.tell(OrderNews.ACCEPTED)
    assert step(venue) == CLIMB


def test_climbs_and_the_trader_watches_meanwhile() -> None:
    venue = guarded()
    price(venue, 101_000.0)
    protect(venue)
    price(venue, 100_400.0)  # under the new stop, above the old one
    assert len(exits(venue)) == 1
    venue.tell(OrderNews.CANCEL_DONE)
    price(venue, 100_399.0)
    assert (venue.last.kind, venue.last.reason, venue.last.lots) == ("market", "trailing_stop", 10)


def test_resized_where_coin_is_gone() -> None:
    venue = guarded()
    first = venue.last.id
    venue.give(inputs.Checked(world_agrees(external=((venue.pair.pair, Decimal("0.004")),))))
    assert venue.broker.cancelled == [first]  # at once: it would sell more than there is
    venue.tell(OrderNews.CANCEL_DONE)
    protect(venue)
    assert (venue.last.kind, venue.last.lots) == ("stop", 6)


def test_resized_where_all_of_the_coin_is_gone_and_no_entry_before_it_is_over() -> None:
    venue = guarded()
    venue.give(inputs.Checked(world_agrees(external=((venue.pair.pair, Decimal("0.01")),))))
    assert venue.pair.lots == 0
    price(venue, 100_000.0, codes="mr")
    assert len(venue.broker.sent) == 2
    venue.tell(OrderNews.CANCEL_DONE)
    price(venue, 100_000.0, codes="mr")
    assert venue.last.purpose == "entry"


def test_resized_where_a_late_fill_makes_it_larger() -> None:
    venue = venue_with_stops()
    entry = venue.last.id
    venue.fill(4, "100000", whole=False)
    venue.tell(OrderNews.CANCEL_DONE)
    protect(venue)
    venue.tell(OrderNews.ACCEPTED)
    venue.fill(6, "100000", order_id=entry)
    assert (venue.pair.lots, step(venue)) == (10, RESIZE)
    stop = venue.last.id
    protect(venue)
    assert venue.broker.cancelled == [stop]
    venue.tell(OrderNews.CANCEL_DONE)
    protect(venue)
    assert (venue.last.kind, venue.last.lots) == ("stop", 10)


def test_switched_off_none_is_placed_and_one_that_rests_is_cancelled() -> None:
    assert step(held(has=False)) == ""
    venue = guarded()
    venue.engine.terms = venue.engine.terms._replace(native_stop=False)
    assert step(venue) == REMOVE
    protect(venue)
    assert venue.broker.cancelled == [venue.last.id]
    venue.tell(OrderNews.CANCEL_DONE)
    assert step(venue) == "" and venue.pair.lots == 10


# --- other exits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["trailing_stop", "take_profit", "flatten"])
def test_cancelled_first_and_sold_when_it_is_over(reason: str) -> None:
    venue = guarded()
    stop = venue.last
    if reason == "flatten":
        venue.give(inputs.Command("flatten", "c1"))
        assert venue_news.exits_wanted(venue.engine) == [venue.pair.pair]
        venue.give(inputs.Again(venue.pair.pair))
    else:
        price(venue, 99_400.0 if reason == "trailing_stop" else 100_300.0, codes="warm" if "stop" in reason else "tp")
    assert venue.broker.cancelled == [stop.id] and venue.last is stop
    assert venue_news.exits_wanted(venue.engine) == []
    price(venue, 99_300.0)
    venue.tell(OrderNews.CANCEL_DONE)
    assert (venue.last.kind, venue.last.reason, venue.last.lots, venue.last.attempt) == ("market", reason, 10, 2)
    venue.fill(10, "99300")
    assert venue.pair.lots == 0 and venue.pair.order is None
    assert [e.reason for e in of(venue.events, TradeEvent)][1:] == [reason]


def test_cancelled_first_also_where_the_venue_has_not_answered_yet() -> None:
    venue = held()
    protect(venue)
    stop = venue.last.id
    price(venue, 99_400.0)
    assert venue.broker.cancelled == [stop]
    venue.tell(OrderNews.REFUSED, note="the price is below")
    assert (venue.last.kind, venue.last.lots) == ("market", 10)


def test_race_lost_it_was_the_exit_booked_once() -> None:
    venue = guarded()
    price(venue, 99_400.0)
    venue.fill(10, "99390")
    assert venue.pair.lots == 0 and venue.pair.order is None and len(exits(venue)) == 1
    trades = of(venue.events, TradeEvent)
    assert [(e.action, e.reason, e.profit) for e in trades][1:] == [("sell", "trailing_stop", "-6.1")]
    assert venue.engine.state.wallet == 9_993_90_000_000
    assert venue_news.exits_wanted(venue.engine) == [] and step(venue) == ""


def test_race_lost_in_part_sells_the_rest() -> None:
    venue = guarded()
    price(venue, 99_400.0)
    venue.fill(4, "99390", whole=False)
    assert len(exits(venue)) == 1
    venue.tell(OrderNews.CANCEL_DONE)
    assert (venue.last.kind, venue.last.lots) == ("market", 6)
    venue.fill(6, "99380")
    assert [e.quantity for e in of(venue.events, TradeEvent)[1:]] == ["0.004", "0.006"]


# --- the venue sells ---------------------------------------------------------------------------------


def test_venue_sells_and_one_row_of_trades_says_so() -> None:
    venue = guarded()
    venue.fill(3, "99500", whole=False)
    price(venue, 99_400.0)
    assert venue.broker.cancelled == []  # it sells already
    venue.fill(7, "99490")
    trade = of(venue.events, TradeEvent)[-1]
    assert (trade.quantity, trade.reason) == ("0.01", "trailing_stop")
    assert of(venue.events, PositionEvent)[-1].quantity == "0"
    assert step(venue) == "" and venue_news.exits_wanted(venue.engine) == []


def test_venue_sells_a_part_and_the_rest_is_sold_at_the_market() -> None:
    venue = guarded()
    venue.fill(3, "99500", whole=False)
    venue.tell(OrderNews.CANCEL_DONE)
    assert (venue.last.kind, venue.last.lots, venue.last.reason) == ("market", 7, "trailing_stop")


def test_venue_sells_while_the_start_is_compared() -> None:
    venue = guarded()
    venue.give(inputs.Block(venue_news.RECOVERING, True))
    venue.fill(10, "99500")
    assert venue.pair.lots == 0
    assert of(venue.events, TradeEvent)[-1].reason == "trailing_stop"


def test_venue_sells_in_a_blind_span() -> None:
    venue = guarded()
    venue.give(inputs.SpanBegin("blind", 1, venue.engine.state.record + 1, -1, "test"))
    venue.tape.trade(99_000.0)
    venue.raw()
    venue.fill(10, "99500")
    assert venue.pair.lots == 0 and len(exits(venue)) == 1


def test_dust_of_a_fallen_price_is_closed_when_the_stop_is_over() -> None:
    market = world.market(min_notional="996")
    venue = guarded(tape=world.Tape(world.start(market)))
    price(venue, 99_400.0)
    assert venue.pair.lots == 10  # the stop may still sell it
    venue.tell(OrderNews.CANCEL_DONE)
    assert (venue.pair.lots, venue.pair.dust_lots, venue.pair.order) == (0, 10, None)


# --- refused -----------------------------------------------------------------------------------------


def test_refused_the_traders_own_stop_holds_and_it_is_tried_again() -> None:
    venue = held()
    protect(venue)
    venue.tell(OrderNews.REFUSED, note="stops are not available")
    assert step(venue) == PLACE and venue.pair.lots == 10
    event = of(venue.events, OrderEvent)[-1]
    assert event.status == "rejected" and words(event) is None  # the desk tells it, once
    price(venue, 99_400.0)
    assert (venue.last.kind, venue.last.reason) == ("market", "trailing_stop")


def test_one_the_venue_never_had_is_placed_again() -> None:
    venue = held()
    protect(venue)
    venue.tell(OrderNews.NO_ANSWER)
    venue.tell(OrderNews.ABSENT)
    assert step(venue) == PLACE


# --- what is shown, kept ------------------------------------------------------------------------------


def test_a_position_with_a_stop_at_the_venue_is_shown_as_one() -> None:
    venue = guarded()
    assert status_of(venue.engine, venue.pair, "normal").status == "in_position"
    assert protection.resting(venue.engine.state) == 1
    assert "stop of B-BTC_USDT is working, 0.01 left" in report(venue.engine.state, CLEAN, "book", {})
    state = unpack(pack(venue.engine.sync()))
    assert state == venue.engine.state and protection.resting(state) == 1
    price(venue, 99_400.0)
    assert status_of(venue.engine, venue.pair, "normal").status == "exiting"
    assert protection.resting(venue.engine.state) == 0


def test_the_lease_says_that_a_stop_rests_and_that_one_is_being_cancelled() -> None:
    venue = guarded()
    (position,) = positions(venue.engine)
    assert (position.resting, position.working) == (True, "")
    assert position.exit_ids[:2] == (venue.last.id, venue.engine.exit_id(venue.pair))
    price(venue, 99_400.0)
    (position,) = positions(venue.engine)
    assert (position.resting, position.working, position.exit_ids[0]) == (False, venue.last.id, venue.last.id)


def test_a_comparison_sees_the_stop_as_one_that_rests_until_it_is_cancelled() -> None:
    venue = guarded()
    assert [known.resting for known in journal_view(venue.engine).orders] == [False, True]  # the entry, the stop
    price(venue, 99_400.0)
    assert [known.resting for known in journal_view(venue.engine).orders] == [False, False]


def test_a_stop_keeps_its_price_in_a_markets_new_tick() -> None:
    venue = guarded()
    venue.give(inputs.NewStart(1, 1, world.start(world.market(tick="0.1"))))
    assert venue.pair.order is not None and venue.pair.order.stop_ticks == 995_000


def test_the_highest_climbs_through_long_frames_while_a_stop_rests() -> None:
    venue = guarded()
    price(venue, *[100_000.0 + n for n in range(1, 200)])
    assert venue.pair.highest == 100_199.0 and step(venue) == CLIMB
    price(venue, *[100_199.0] * 100, 99_600.0, *[99_600.0] * 100)
    assert venue.broker.cancelled == [venue.last.id] and venue.pair.order is not None
    assert venue.pair.order.state == OrderState.CANCELLING


# --- when: the desk's clock ---------------------------------------------------------------------------


def due(found: Guards, step: str, at_s: float, pair: str = "A") -> bool:
    return found.due({pair: step}, [pair], int(at_s * S)) == [pair]


def test_first_at_once_and_again_twice_as_late_each_time() -> None:
    found = Guards()
    placed = [tick / 10 for tick in range(2_500) if due(found, PLACE, tick / 10)]
    assert placed == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]


def test_moved_at_most_once_in_ten_seconds_and_the_next_one_follows_at_once() -> None:
    found = Guards()
    assert due(found, PLACE, 0)
    assert [at for at in range(30) if due(found, CLIMB, at)] == [10, 20]
    assert due(found, PLACE, 20.1) and not due(found, PLACE, 20.2)


def test_a_stop_that_has_lasted_begins_anew_and_so_does_a_new_position() -> None:
    found = Guards()
    assert [at for at in range(4) if due(found, PLACE, at)] == [0, 1, 3]
    assert due(found, PLACE, 100) and due(found, PLACE, 101)
    assert found.due({}, [], 102 * S) == []
    assert due(found, PLACE, 102)


def test_resized_at_once() -> None:
    found = Guards()
    assert due(found, PLACE, 0) and due(found, RESIZE, 0.1) and due(found, PLACE, 0.2)


def test_told_once_a_position() -> None:
    found = Guards()
    assert not found.refused("A")
    assert due(found, PLACE, 0)
    assert [found.refused("A") for _ in range(3)] == [True, False, False]
