"""One look at a venue: what is asked, in which order, what a failure leaves, and when the next look is due."""

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from core.clock import NS_PER_S, ManualClock
from tests.reconcile_world import (
    ENTRY_ID,
    EXIT_ID,
    OTHER_ID,
    PAIR,
    PREFIX,
    T0,
    absent,
    fill,
    journal,
    known,
    order,
    rules,
)
from trader.look_schedule import AGAIN_TIMES, Schedule
from trader.look_thread import VenueLook
from trader.orders import OrderNews, OrderState
from trader.reconcile import Reconciliation
from trader.venue_look import FAILURES_MOST, LOOKUPS_MOST, look, pairs_to_ask
from trader.views import MARGIN_MS, SKEW_MS, Held, JournalView, VenueView, since_ms
from venues.account import Balance, Fill, Order
from venues.binance.account import BinanceAccount
from venues.errors import Misconfigured, Rejected, Retry
from venues.venue import Rules

S, N, D = OrderState, OrderNews, Decimal
CAPABILITIES = msgspec.structs.replace(BinanceAccount.capabilities, fills_reach_ms=None, request_lives_s=10.0)
ETH = "B-ETH_USDT"


class Desk:
    """An account by hand: it answers what it was given, and keeps what it was asked."""

    def __init__(self, *orders: Order, fills: tuple[Fill, ...] = (), base: str = "0", **capabilities: Any) -> None:
        self.capabilities = msgspec.structs.replace(CAPABILITIES, **capabilities)
        self.there = list(orders)
        self.made = list(fills)
        self.base = D(base)
        self.asked: list[tuple[Any, ...]] = []
        self.urgent: dict[str, bool] = {}  # of the last question of a kind
        self.fails: dict[str, Exception] = {}
        self.before: Callable[[str], object] = lambda name: None

    def _take(self, *what: Any) -> None:
        self.before(what[0])
        self.asked.append(what)
        if what[0] in self.fails:
            raise self.fails[what[0]]

    def open_orders(self, market: Rules, *, urgent: bool = False) -> list[Order]:
        self.urgent["open orders"] = urgent
        self._take("open orders", market.pair)
        return [one for one in self.there if one.live and one.symbol == market.symbol]

    def balances(self, *, urgent: bool = False) -> list[Balance]:
        self.urgent["balances"] = urgent
        self._take("balances")
        return [Balance("BTC", self.base, D(0))]

    def fills(self, market: Rules, since: int, *, urgent: bool = False) -> list[Fill]:
        self.urgent["fills"] = urgent
        self._take("fills", market.pair, since)
        return [one for one in self.made if one.symbol == market.symbol and one.time_ms >= since]

    def order(self, market: Rules, client_id: str, venue_id: str = "", *, urgent: bool = False) -> Order | None:
        self._take("order", client_id or venue_id)
        return next(
            (one for one in self.there if client_id == one.client_order_id or venue_id == one.venue_order_id), None
        )

    def server_time_ms(self) -> int:
        self._take("time")
        return T0 + 5

    def cancel(self, market: Rules, client_id: str, venue_id: str = "") -> None:
        self._take("cancel", client_id)

    def names(self) -> list[str]:
        asked, self.asked = self.asked, []
        return [what[0] for what in asked]


def looked(desk: Any, book: JournalView, before: VenueView | None = None, **more: Any) -> VenueView:
    markets = more.pop("markets", [rules()])
    return look(desk, markets, book, since_ms(book), more.pop("clock", ManualClock()), before, **more)


# --- what is asked ---------------------------------------------------------------------------------------


def test_a_quiet_look_asks_open_orders_then_balances_then_fills() -> None:
    desk, book = Desk(base="1"), journal(held="1")
    view = looked(desk, book)
    assert desk.asked == [("open orders", PAIR), ("balances",), ("fills", PAIR, T0 - MARGIN_MS)]
    assert view.balances[0].of("BTC") == 1 and not view.failures


URGENT: dict[str, tuple[JournalView, bool, bool]] = {  # the journal, at a start, whether its questions are urgent
    "a start with a position": (journal(held="1"), True, True),
    "a start with an order": (journal(known()), True, True),
    "a start with neither": (journal(), True, False),
    "later": (journal(known(), held="1"), False, False),
}


@pytest.mark.parametrize(("book", "at_start", "urgent"), URGENT.values(), ids=URGENT)
def test_what_exits_wait_for_is_urgent(book: JournalView, at_start: bool, urgent: bool) -> None:
    desk = Desk(base="1")
    looked(desk, book, at_start=at_start)
    assert desk.urgent == {"open orders": urgent, "balances": urgent, "fills": urgent}


def test_where_a_fill_came_balances_and_fills_are_asked_once_more() -> None:
    desk, book = Desk(order(status="filled", filled="1"), fills=(fill(1, "1"),)), journal(known())
    first = looked(desk, book)
    assert desk.names() == ["open orders", "order", "balances", "fills", "balances", "fills"]
    assert len(first.balances) == 1
    second = looked(desk, book, first)
    assert desk.names() == ["open orders", "balances", "fills"] and len(second.balances) == 2


def test_fills_that_keep_coming_leave_no_balance() -> None:
    desk, book = Desk(), journal(held="1")

    def fills_on(name: str) -> None:
        if name == "fills":
            desk.made.append(fill(len(desk.made), "0.1", told=True))

    desk.before = fills_on
    assert looked(desk, book).balances == ()


def test_a_fill_that_the_look_before_did_not_have_makes_its_balance_worthless() -> None:
    desk, book = Desk(base="1"), journal(held="1")
    first = looked(desk, book)
    desk.made.append(fill(1, "1", told=True))
    second = looked(desk, book, first)
    assert len(second.balances) == 1
    assert len(looked(desk, book, second).balances) == 2


def test_an_order_that_is_not_over_and_not_open_is_asked_for_and_one_that_is_over_not_again() -> None:
    desk = Desk(order(ENTRY_ID, "cancelled"), order(EXIT_ID))
    book = journal(known(), known(EXIT_ID), known(OTHER_ID, S.UNKNOWN), known(PREFIX + "c" * 11, S.CANCELLED))
    clock = ManualClock()
    first = looked(desk, book, clock=clock)
    assert [what[1] for what in desk.asked if what[0] == "order"] == [ENTRY_ID, OTHER_ID]
    desk.names()
    clock.advance(4 * NS_PER_S)
    second = looked(desk, book, first, clock=clock)
    assert [what[1] for what in desk.asked if what[0] == "order"] == [OTHER_ID]
    assert second.orders[ENTRY_ID] == first.orders[ENTRY_ID]
    absent_now = second.orders[OTHER_ID]
    assert (absent_now.order, absent_now.asked, absent_now.last_ns - absent_now.first_ns) == (None, 2, 4 * NS_PER_S)


def test_an_order_that_the_live_broker_has_in_hand_is_not_asked_for() -> None:
    desk = Desk()
    looked(desk, journal(known(state=S.SUBMITTING, in_hand=True)))
    assert "order" not in desk.names()


def test_a_fill_whose_order_nothing_tells_has_its_order_asked_for_by_the_venues_id_once() -> None:
    hand = order("by-hand", "filled", "1", venue_order_id="x")
    desk = Desk(hand, fills=(msgspec.structs.replace(fill(1, "1"), venue_order_id="x"),))
    first = looked(desk, journal())
    assert ("order", "x") in desk.asked and first.by_venue_id["x"].order == hand
    desk.asked.clear()
    assert looked(desk, journal(), first).by_venue_id == first.by_venue_id
    assert ("order", "x") not in desk.asked


def test_there_is_a_bound_to_the_orders_asked_for_in_one_look() -> None:
    made = tuple(fill(number, "1", f"hand-{number}") for number in range(LOOKUPS_MOST + 5))
    desk = Desk(*(order(f"hand-{number}", "filled", "1") for number in range(len(made))), fills=made)
    view = looked(desk, journal())
    assert len(view.by_venue_id) == desk.names().count("order") == LOOKUPS_MOST
    assert len(looked(desk, journal(), view).by_venue_id) == len(made)


def test_where_coin_is_missing_the_positions_next_exit_id_is_asked_for() -> None:
    desk = Desk(order(EXIT_ID, "filled", "1", side="sell"), base="0.5")
    held = (Held(PAIR, D("1"), next_exit_id=EXIT_ID),)
    assert looked(desk, journal(holds=held)).orders[EXIT_ID].order is not None
    desk.base = D("1")
    assert looked(desk, journal(holds=held)).orders == {}


@pytest.mark.parametrize("mine", ["in the journal", "not in the journal"])
def test_where_an_order_began_before_the_fills_asked_for_they_are_asked_for_from_its_begin_on(mine: str) -> None:
    begun = T0 - MARGIN_MS - 50_000
    made = (fill(1, "0.4", time_ms=begun + 10), fill(2, "0.6"))
    desk = Desk(order(status="filled", filled="1", created_ms=begun), fills=made)
    book = journal(known(state=S.CANCELLED, created_ms=begun, venue_order_id=f"v-{ENTRY_ID}"))
    view = looked(desk, book if mine == "in the journal" else journal())
    assert view.fills[PAIR] == made and view.fills_from_ms == begun - SKEW_MS
    assert [what for what in desk.asked if what[0] == "fills"][:2] == [
        ("fills", PAIR, T0 - MARGIN_MS),
        ("fills", PAIR, begun - SKEW_MS),
    ]


def test_fills_beyond_the_venues_reach_are_not_asked_for_and_it_is_said() -> None:
    desk = Desk(fills_reach_ms=30_000)
    view = looked(desk, journal())
    assert view.reach_ms == view.fills_from_ms == T0 + 30_000
    assert looked(Desk(fills_reach_ms=10_000_000), journal()).reach_ms is None


def test_a_book_without_a_past_that_has_seen_no_price_asks_for_fills_from_the_venues_own_time_on() -> None:
    desk, book = Desk(), journal(since_ms=0, market_ms=0)
    assert looked(desk, book).fills_from_ms == T0 + 5 and desk.asked[-1] == ("fills", PAIR, T0 + 5)
    desk = Desk()
    desk.fails = {"time": Retry("kraken", "no answer")}
    view = looked(desk, book)
    assert view.fills == {} and view.failures and desk.names() == ["time", "open orders", "balances"]


def test_pairs_with_nothing_held_and_nothing_under_way_are_looked_at_in_turn_and_all_at_a_start() -> None:
    markets = [rules(), rules("I-BTC_USDT"), rules(ETH, "ETH"), rules("B-XRP_USDT", "XRP")]
    book = journal(known(pair="I-BTC_USDT", created_ms=T0))

    def asked(**more: Any) -> list[str]:
        return [one.pair for one in pairs_to_ask(markets, book, **more)]

    assert asked(everything=False, turn=0) == [PAIR, "I-BTC_USDT", ETH]
    assert asked(everything=False, turn=1) == [PAIR, "I-BTC_USDT", "B-XRP_USDT"]
    assert asked(everything=True, turn=0) == [one.pair for one in markets]
    desk = Desk()
    view = looked(desk, book, markets=markets, at_start=True)
    assert set(view.fills) == set(view.open_orders) == {one.pair for one in markets}


# --- failures ----------------------------------------------------------------------------------------------


def test_after_two_failures_in_a_row_the_rest_is_not_asked() -> None:
    desk = Desk()
    desk.fails = {"open orders": Retry("kraken", "no answer"), "balances": Retry("kraken", "no answer")}
    view = looked(desk, journal())
    assert desk.names() == ["open orders", "balances"] and len(view.failures) == FAILURES_MOST
    assert view.nothing and view.failures[-1].endswith("; the rest was not asked")


def test_a_failure_between_answers_leaves_the_others() -> None:
    desk = Desk(base="1")
    desk.fails = {"open orders": Rejected("kraken", "no", "ask somebody")}
    view = looked(desk, journal(held="1"))
    assert view.open_orders == {} and set(view.fills) == {PAIR} and view.balances
    assert view.failures == (f"{PAIR}: open orders could not be asked: kraken: no; ask somebody",)


def test_what_only_a_person_can_mend_is_told_with_its_next_step() -> None:
    desk = Desk()
    desk.fails = {"open orders": Misconfigured("kraken", "the key is wrong", "check KRAKEN_API_KEY")}
    assert "check KRAKEN_API_KEY" in looked(desk, journal()).failures[0]


def test_a_failed_question_for_an_order_keeps_what_was_known_of_it() -> None:
    desk, book = Desk(), journal(known(state=S.UNKNOWN))
    first = looked(desk, book)
    desk.fails = {"order": Retry("kraken", "no answer")}
    second = looked(desk, book, first)
    assert second.orders == first.orders and second.failures
    assert looked(desk, book).orders == {}
    del desk.fails["order"]
    assert looked(desk, book, second).orders[ENTRY_ID].asked == 2
    assert absent().asked == 3


# --- when ----------------------------------------------------------------------------------------------------


def dues(schedule: Schedule, *looks: dict[str, bool]) -> list[float]:
    """Seconds after each look at which the next one is due."""
    now_ns, found = 0, []
    for fields in looks:
        schedule.begun()
        schedule.done(now_ns, **fields)
        wait_ns = next(ns for ns in range(0, 4_000 * NS_PER_S, NS_PER_S // 2) if schedule.due(now_ns + ns))
        found.append(wait_ns / NS_PER_S)
        now_ns += wait_ns
    return found


AGREED = {"agreed": True, "nothing": False}
NOT_AGREED = {"agreed": False, "nothing": False}
AWAY = {"agreed": False, "nothing": True}


def test_the_first_look_is_due_at_once_and_one_at_a_time() -> None:
    schedule = Schedule(30.0, 5)
    assert schedule.due(5)
    schedule.begun()
    assert not schedule.due(10**15)


def test_after_a_look_that_agreed_the_next_one_is_due_reconcile_seconds_later() -> None:
    assert dues(Schedule(30.0, 0), AGREED, AGREED) == [30.0, 30.0]
    assert dues(Schedule(7.5, 0), AGREED) == [7.5]


def test_after_one_that_did_not_agree_it_is_due_soon_then_later_and_never_later_than_reconcile_seconds() -> None:
    waits = dues(Schedule(30.0, 0), *[NOT_AGREED] * (AGAIN_TIMES + 6), AGREED, NOT_AGREED)
    assert waits == [3.0] * AGAIN_TIMES + [6.0, 12.0, 24.0, 30.0, 30.0, 30.0, 30.0, 3.0]


def test_while_nothing_can_be_asked_it_backs_off() -> None:
    assert dues(Schedule(30.0, 0), *[AWAY] * 8, NOT_AGREED, AWAY)[:8] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert dues(Schedule(30.0, 0), *[AWAY] * 40)[-1] == 30.0
    assert dues(Schedule(30.0, 0), AWAY, NOT_AGREED, AWAY) == [1.0, 3.0, 1.0]


def test_who_asks_for_a_look_gets_it_a_second_after_the_last_one_at_the_soonest() -> None:
    schedule = Schedule(30.0, 0)
    schedule.begun()
    schedule.done(0, **AGREED)
    schedule.ask(NS_PER_S // 2)
    assert not schedule.due(NS_PER_S // 2) and schedule.due(NS_PER_S)
    schedule.begun()
    schedule.ask(NS_PER_S)  # while one is under way: another one after it
    schedule.done(2 * NS_PER_S, **AGREED)
    assert not schedule.due(2 * NS_PER_S) and schedule.due(3 * NS_PER_S)
    schedule.begun()
    schedule.done(4 * NS_PER_S, **AGREED)
    schedule.ask(20 * NS_PER_S)
    assert schedule.due(20 * NS_PER_S)


# --- the thread ------------------------------------------------------------------------------------------------


class Rig:
    """A VenueLook over a desk; views come as they are delivered."""

    def __init__(self, desk: Desk, every_s: float = 30.0) -> None:
        self.clock = ManualClock()
        self.views: list[VenueView] = []
        self.said: list[str] = []
        self._came = threading.Semaphore(0)
        self.heard = threading.Semaphore(0)
        self.look = VenueLook(
            desk,  # type: ignore[arg-type]
            lambda: [rules()],
            every_s,
            self.clock,
            self._deliver,
            self._say,
        )

    def _say(self, level: str, text: str) -> None:
        self.said.append(f"{level}: {text}")
        self.heard.release()

    def _deliver(self, view: VenueView) -> None:
        self.views.append(view)
        self._came.release()

    def check(self, book: JournalView) -> Reconciliation:
        assert self.look.wants()
        self.look.begin(book)
        assert not self.look.wants()
        assert self._came.acquire(timeout=20)
        return self.look.judge(book, self.views[-1])


def test_looks_are_made_on_a_thread_of_their_own_at_reconcile_seconds() -> None:
    threads: list[str] = []
    desk = Desk(base="1")
    desk.before = lambda name: threads.append(threading.current_thread().name)
    rig = Rig(desk, every_s=7.0)
    book = journal(held="1")
    assert rig.check(book).agreed and set(threads) == {"venue-look"}
    rig.clock.advance(7 * NS_PER_S - 1)
    assert not rig.look.wants()
    rig.clock.advance(1)
    assert rig.check(book).agreed
    assert [view.at_start for view in rig.views] == [True, False]
    assert rig.look.close()


def test_it_stays_a_start_until_a_look_has_agreed_and_is_one_again_after_a_pause() -> None:
    desk, book = Desk(base="0"), journal(held="1")
    rig = Rig(desk)
    for agreed in (False, True):
        assert rig.check(book).agreed is agreed
        rig.clock.advance(30 * NS_PER_S)
    rig.check(journal(held="0"))
    rig.look.ask(at_start=True)
    rig.clock.advance(NS_PER_S)
    rig.check(journal(held="0"))
    assert [view.at_start for view in rig.views] == [True, True, False, True]
    assert [view.start for view in rig.views] == [book, book, None, journal(held="0")]
    assert rig.look.close()


def test_strays_are_cancelled_before_the_next_look_and_a_refused_cancel_is_told() -> None:
    desk, book = Desk(order(EXIT_ID, side="sell"), base="1"), journal(held="1")
    desk.fails = {"cancel": Rejected("kraken", "nothing to cancel")}
    rig = Rig(desk)
    assert not rig.check(book).agreed
    desk.names()
    rig.clock.advance(NS_PER_S)
    rig.check(book)
    assert desk.asked[0] == ("cancel", EXIT_ID) and desk.asked[1][0] == "open orders"
    assert rig.said == [f"warning: cancel of {EXIT_ID}: kraken: nothing to cancel"]
    assert rig.look.close()


def test_a_new_book_does_not_adopt_what_a_former_book_of_the_same_name_did_just_before() -> None:
    former = order(EXIT_ID, "filled", "1", side="sell", created_ms=T0 + 59_000)
    desk = Desk(former, fills=(fill(1, "1", EXIT_ID, side="sell", time_ms=T0 + 59_001),))
    rig = Rig(desk)
    assert rig.check(journal(since_ms=0)).agreed
    rig.clock.advance(30 * NS_PER_S)
    result = rig.check(journal(since_ms=T0 + 60_000, market_ms=T0 + 90_000))
    assert result.agreed and not result.orphans and rig.views[-1].fills_from_ms == T0 + 60_000
    assert rig.look.close()


def test_a_look_under_way_while_it_is_closed_delivers_nothing_and_ends() -> None:
    desk = Desk()
    asked, go_on = threading.Event(), threading.Event()

    def waits(name: str) -> None:
        asked.set()
        assert go_on.wait(20)

    desk.before = waits
    desk.fails = {"fills": ZeroDivisionError("the account is closed")}
    rig = Rig(desk)
    rig.look.begin(journal())
    assert asked.wait(20) and not rig.look.close(0.01)
    go_on.set()
    assert rig.look.close(20) and rig.views == [] and rig.said == []


def test_what_is_no_error_of_the_venue_is_raised_in_the_stages_thread() -> None:
    desk = Desk()
    desk.fails = {"balances": ZeroDivisionError("a mistake of ours")}
    rig = Rig(desk)
    rig.look.begin(journal())
    assert rig.heard.acquire(timeout=20) and rig.look.close()
    with pytest.raises(ZeroDivisionError):
        rig.look.wants()
    assert rig.said and "a mistake of ours" in rig.said[0]
