"""The guardian's rules, one test each, over a venue of dictionaries."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from core.clock import NS_PER_S
from core.lease import Lease, Sale
from guardian import decide, messages
from guardian.messages import AskFree, AskPrice, LookUp, Send
from tests.guardian_world import IDS, LEASE_NS, LIVES_NS, PAIR, SEEN_NS, T0, TERMS, World, held, order, rejected
from venues.account import FILLED, IOC, LIMIT, MARKET, OPEN, STOP


def falling(**more: Any) -> World:
    """The trader is dead and the price under the stop."""
    world = World(**more)
    world.turn()
    world.price = 98.9
    world.dead()
    return world


def test_a_fresh_lease_nothing_is_sent_whatever_the_price() -> None:
    world = World()
    world.price = 1.0
    world.turn(120)
    assert world.sent == []
    assert world.claims == {}
    assert set(world.asked) == {"AskPrice"}
    assert len(world.asked) == 4  # twice a minute
    assert world.guard.holder() == "trader"


def test_without_a_position_nothing_is_asked() -> None:
    world = World()
    world.position = None
    world.turn(60)
    world.dead(60)
    assert world.asked == []
    assert world.guard.holder() == ""


def test_a_stale_lease_the_position_is_sold_once_by_the_traders_id_at_the_market() -> None:
    world = falling()
    world.turn(30)
    assert [(one.order_id, one.kind, one.quantity, one.price) for one in world.sent] == [
        (IDS[0], MARKET, Decimal("0.5"), None)
    ]
    assert world.claims == {}


def test_it_is_sold_within_a_poll_of_the_fall() -> None:
    world = World()
    world.turn()
    world.dead()
    assert world.guard.holder() == "guardian"
    world.turn(5)
    assert world.sent == []
    world.price = 99.0  # at the stop is through it
    world.turn(1.2)
    assert len(world.sent) == 1


def test_before_anything_is_sent_the_id_is_looked_up_and_what_is_there_already_is_followed() -> None:
    world = World()
    world.fill(IDS[0], Decimal("0.5"))
    world.turn()
    world.price = 98.9
    world.dead()
    world.turn(5)
    assert world.sent == []
    assert world.claims == {}
    assert "LookUp" in world.asked


def test_an_order_that_still_works_is_followed_to_its_end() -> None:
    world = World()
    world.fill(IDS[0], Decimal("0.5"), live=True, filled=Decimal("0.2"))
    world.turn()
    world.price = 98.9
    world.dead(6)
    assert world.sent == []
    assert PAIR in world.claims
    world.orders[IDS[0]] = order(IDS[0], Decimal("0.5"), Decimal("0.2"), "cancelled")
    world.turn()
    assert [(one.order_id, one.quantity) for one in world.sent] == [(IDS[1], Decimal("0.3"))]


@pytest.mark.parametrize(
    ("quantity", "free", "sold"),
    [
        ("0.5", "0.5", "0.5"),
        ("0.5", "7", "0.5"),  # never more than the position, whatever else the account holds
        ("0.5", "0.4999", "0.499"),  # what is free, in whole steps
        ("0.5", "0.3", "0.3"),
    ],
)
def test_its_quantity_is_the_smaller_of_position_and_free_balance(quantity: str, free: str, sold: str) -> None:
    world = falling(quantity=quantity, free=free)
    assert [one.quantity for one in world.sent] == [Decimal(sold)]


def test_the_highest_goes_on_climbing_from_the_leases() -> None:
    world = World()
    world.turn()
    world.dead()
    world.price = 110.0
    world.turn(1.2)
    world.price = 108.95  # 110 x 0.99 = 108.9
    world.turn(2)
    assert world.sent == []
    world.price = 108.8
    world.turn(1.2)
    assert len(world.sent) == 1


def test_every_trade_counts_and_those_that_the_trader_saw_do_not() -> None:
    world = World()
    world.turn()
    world.answer = lambda action: (
        messages.Priced(PAIR, ((SEEN_NS - 1, 500.0), (SEEN_NS, 1.0))) if isinstance(action, AskPrice) else None
    )
    world.dead(8)
    assert "LookUp" not in world.asked
    world.answer = lambda action: (
        messages.Priced(PAIR, ((SEEN_NS + 1, 98.0), (SEEN_NS + 2, 100.0))) if isinstance(action, AskPrice) else None
    )
    world.turn(2)
    assert world.asked[-1] == "LookUp"


def test_a_silent_source_is_told_and_nothing_is_sold_on_a_price_that_was_not_seen() -> None:
    world = World()
    world.turn()
    world.answer = lambda action: messages.Failed(PAIR, "price", "no answer")
    world.dead(20)
    assert world.guard.holder() == "nobody"
    assert len(world.levels("error")) == 1
    assert world.sent == []
    world.answer = world.usual
    world.turn(2)
    assert world.guard.holder() == "guardian"


def test_an_exit_that_the_trader_had_decided_on_is_sold_without_a_price() -> None:
    world = World()
    world.position = held(exiting=True)
    world.turn()
    world.dead()
    assert len(world.sent) == 1


def no_answer_to_orders(world: World) -> None:
    """What is sent has no answer, and is nowhere to be found."""

    def lost(action: Any) -> messages.Event | None:
        if isinstance(action, Send):
            world.sent.append(action)
            return messages.Lost(PAIR, action.order_id, "no answer")
        return world.usual(action)

    world.answer = lost


def test_an_outcome_that_is_not_known_is_looked_up_and_absent_only_after_a_request_may_no_longer_live() -> None:
    world = World()
    no_answer_to_orders(world)
    world.turn()
    world.price = 98.9
    world.dead()
    assert len(world.sent) == 1
    world.turn(LIVES_NS / NS_PER_S - 0.4)
    assert len(world.sent) == 1
    world.turn(6)
    assert [one.order_id for one in world.sent] == [IDS[0], IDS[0]]


def test_an_outcome_that_is_not_known_is_not_absent_sooner_where_the_lease_was_renewed_meanwhile() -> None:
    world = World()
    no_answer_to_orders(world)
    world.turn()
    world.price = 98.9
    world.dead()
    sent_ns = world.claims[PAIR].since_ns
    world.turn(3)  # two looks
    world.fresh = True
    world.turn()
    world.dead()  # taken over anew: it is looked at a third time
    assert world.now_ns < sent_ns + LIVES_NS - NS_PER_S
    world.turn((sent_ns + LIVES_NS - NS_PER_S - world.now_ns) / NS_PER_S)
    assert world.asked.count("LookUp") > 1 + 3  # one of them before it was sent
    assert len(world.sent) == 1
    world.turn(8)
    assert [one.order_id for one in world.sent] == [IDS[0], IDS[0]]


def test_an_outcome_that_is_not_known_and_turns_out_taken_is_not_sent_again() -> None:
    world = World()

    def lost(action: Any) -> messages.Event | None:
        if isinstance(action, Send):
            world.usual(action)
            return messages.Lost(PAIR, action.order_id, "no answer")
        return world.usual(action)

    world.answer = lost
    world.turn()
    world.price = 98.9
    world.dead(60)
    assert len(world.sent) == 1
    assert world.claims == {}


def test_an_exit_that_the_trader_had_on_its_way_is_waited_for() -> None:
    world = World()
    world.position = held(working=IDS[0], past=1, exiting=True)
    world.turn()
    world.dead(9)
    assert world.sent == []
    world.turn(4)
    assert [one.order_id for one in world.sent] == [IDS[1]]


def test_what_it_sold_and_the_trader_does_not_know_yet_is_not_sold_again() -> None:
    world = falling(free="9")
    world.position = held(exit_ids=IDS, past=1)  # the trader dropped an order of that id, and may not act yet
    world.turn(30)
    assert len(world.sent) == 1
    assert world.claims == {}


def test_a_past_exit_that_never_was_leaves_its_id_unused() -> None:
    world = World()
    world.position = held(exit_ids=IDS, past=2)
    world.turn()
    world.price = 98.9
    world.dead(5)
    assert [one.order_id for one in world.sent] == [IDS[2]]


def test_what_the_trader_had_booked_of_its_exit_is_not_counted_twice() -> None:
    world = World()
    world.fill(IDS[0], Decimal("0.7"), filled=Decimal("0.3"))
    world.position = held("0.5", working=IDS[0], past=1, counted={IDS[0]: "0.2"}, exiting=True)
    world.turn()
    world.free = Decimal(9)
    world.dead(5)
    assert [(one.order_id, one.quantity) for one in world.sent] == [(IDS[1], Decimal("0.4"))]


def test_refused_for_its_id_the_order_is_there_and_none_is_sent_again() -> None:
    world = World()
    there = False

    def refused(action: Any) -> messages.Event | None:
        nonlocal there
        if isinstance(action, Send):
            world.sent.append(action)
            there = True
            world.fill(IDS[0], Decimal("0.5"))
            return messages.Refused(PAIR, action.order_id, "duplicate id")
        if isinstance(action, LookUp):
            return messages.Found(PAIR, action.order_id, world.orders.get(action.order_id) if there else None)
        return world.usual(action)

    world.answer = refused
    world.turn()
    world.price = 98.9
    world.dead(20)
    assert len(world.sent) == 1
    assert world.claims == {}


@pytest.mark.parametrize(("ioc", "kind"), [(True, IOC), (False, LIMIT)])
def test_refused_otherwise_the_next_id_is_used_for_a_limit_under_the_price(ioc: bool, kind: str) -> None:
    world = World()
    world.guard = decide.Guard(TERMS._replace(ioc=ioc), T0 - LEASE_NS)

    def refused(action: Any) -> messages.Event | None:
        if isinstance(action, Send) and action.kind == MARKET:
            world.sent.append(action)
            return messages.Refused(PAIR, action.order_id, "no market orders here")
        return world.usual(action)

    world.answer = refused
    world.turn()
    world.price = 98.9
    world.dead(6)
    assert [(one.order_id, one.kind) for one in world.sent] == [(IDS[0], MARKET), (IDS[1], kind)]
    assert world.sent[1].price == Decimal("97.9")


def test_rejected_late_counts_as_refused_and_after_the_last_id_a_person_is_told() -> None:
    world = World()

    def late(action: Any) -> messages.Event | None:
        if isinstance(action, Send):
            world.sent.append(action)
            world.orders[action.order_id] = rejected(action.order_id)
            return messages.Found(PAIR, action.order_id, rejected(action.order_id))
        return world.usual(action)

    world.answer = late
    world.turn()
    world.price = 98.9
    world.dead(60)
    assert [one.order_id for one in world.sent] == list(IDS[:4])
    assert any("by hand" in text for text in world.levels("error"))
    assert world.claims == {}


def test_where_nothing_is_free_it_is_told_once_looked_again_and_nothing_is_claimed_meanwhile() -> None:
    world = falling(free="0")
    world.turn(12)
    assert world.sent == []
    assert world.claims == {}
    assert len(world.levels("error")) == 1
    world.free = Decimal("0.5")
    world.turn(6)
    assert [one.quantity for one in world.sent] == [Decimal("0.5")]


def test_too_little_to_be_sold_is_done() -> None:
    world = falling(quantity="0.01", free="0.01")  # 0.98 of quote, the least is 5
    world.turn(30)
    assert world.sent == []
    assert world.asked.count("AskFree") == 1
    assert world.claims == {}


def test_the_lease_is_fresh_again_before_it_was_sent_and_nothing_is() -> None:
    world = World()
    world.turn()
    world.price = 98.9
    held_back: list[Any] = []
    world.answer = lambda action: held_back.append(action) if isinstance(action, AskFree) else world.usual(action)
    world.dead(4)
    assert len(held_back) == 1
    world.fresh = True
    world.turn()
    world.give(messages.Free(PAIR, Decimal("0.5"), _rules()))
    world.turn(30)
    assert world.sent == []
    assert world.claims == {}
    assert world.guard.holder() == "trader"


def test_the_lease_is_fresh_again_between_claim_and_order_and_the_claim_is_given_back() -> None:
    world = World()
    world.turn()
    world.price = 98.9
    act = world.act

    def renewed(action: messages.Action) -> list[messages.Event] | None:
        if isinstance(action, messages.WriteClaim):
            world.renewed_ns, world.fresh = world.now_ns, True
        return act(action)

    world.act = renewed  # type: ignore[method-assign]
    world.dead(4)
    world.turn(10)
    assert world.sent == []
    assert world.claims == {}


def test_the_lease_is_fresh_again_while_an_order_is_under_way_and_it_is_followed_to_its_end() -> None:
    world = World()

    def resting(action: Any) -> messages.Event | None:
        if isinstance(action, Send):
            world.sent.append(action)
            return messages.Found(
                PAIR, action.order_id, world.fill(IDS[0], Decimal("0.5"), live=True, filled=Decimal(0))
            )
        return world.usual(action)

    world.answer = resting
    world.turn()
    world.price = 98.9
    world.dead(4)
    world.fresh = True
    world.turn(3)
    assert PAIR in world.claims
    world.orders[IDS[0]] = order(IDS[0], Decimal("0.5"), Decimal("0.1"), "cancelled")
    world.turn(5)
    assert world.claims == {}
    assert len(world.sent) == 1


def test_a_guardian_that_has_just_begun_lets_the_trader_have_its_time() -> None:
    world = World()
    world.guard = decide.Guard(TERMS, T0)
    world.fresh, world.renewed_ns, world.price = False, 0, 98.9
    world.turn(2.8)
    assert "LookUp" not in world.asked
    world.turn(2)
    assert len(world.sent) == 1


def test_what_a_life_before_had_in_hand_is_looked_up_first_and_waited_for() -> None:
    world = World(left={PAIR: Sale(IDS[0], T0)})
    world.fresh, world.price = False, 98.9
    world.renewed_ns = T0 - LEASE_NS
    world.turn(9)
    assert world.sent == []
    assert world.asked[0] == "LookUp"
    world.turn(3)
    assert [one.order_id for one in world.sent] == [IDS[0]]


def test_what_a_life_before_had_sold_is_not_sold_again() -> None:
    world = World(left={PAIR: Sale(IDS[0], T0)})
    world.fill(IDS[0], Decimal("0.5"))
    world.free = Decimal(9)
    world.fresh, world.price = False, 98.9
    world.renewed_ns = T0 - LEASE_NS
    world.turn(60)
    assert world.sent == []
    assert world.claims == {}


def test_a_lease_that_was_never_renewed_in_this_boot_has_run_out() -> None:
    guard = decide.Guard(TERMS, T0 - LEASE_NS)
    actions = guard.handle(messages.Looked(Lease("book", "boot-0", 1, 1, 5, (held(),)), None), T0)
    assert any(isinstance(action, AskPrice) for action in actions)
    assert guard.holder() == "guardian"


def test_pairs_are_sold_beside_each_other() -> None:
    guard = decide.Guard(TERMS, T0 - LEASE_NS)
    pairs = ("B-A_USDT", "B-B_USDT", "B-C_USDT")
    lease = Lease("book", "boot", 1, 1, T0 - LEASE_NS, tuple(held(pair=pair, exiting=True) for pair in pairs))
    actions = guard.handle(messages.Looked(lease, LEASE_NS), T0)
    assert [action.pair for action in actions if isinstance(action, messages.WriteClaim)] == list(pairs)


def test_an_order_that_the_venue_forgot_is_told_and_holds_nobody_up() -> None:
    world = World()

    def gone(action: Any) -> messages.Event | None:
        if isinstance(action, Send):
            world.sent.append(action)
            return messages.Found(PAIR, action.order_id, order(IDS[0], Decimal("0.5"), Decimal("0.5"), "open"))
        return world.usual(action)

    world.answer = gone
    world.turn()
    world.price = 98.9
    world.dead(30)
    assert len(world.sent) == 1
    assert any("no longer knows" in text for text in world.levels("error"))
    assert world.claims == {}


def _rules() -> Any:
    from tests.guardian_world import RULES

    return RULES


def test_the_filled_order_is_told_to_people() -> None:
    world = falling()
    assert world.levels("exit") == [f"order {IDS[0]} is {FILLED}: 0.5 sold"]


def resting(**changes: Any) -> World:
    """A stop of the trader rests at the venue, under the price at which the guardian would sell."""
    world = World(free="0")
    world.position = held(exit_ids=IDS, resting=True, **changes)
    stop = order(IDS[0], Decimal("0.5"), Decimal(0), OPEN)
    world.orders[IDS[0]] = msgspec.structs.replace(stop, kind=STOP)
    world.turn()
    world.price = 98.9
    world.dead(8)
    return world


@pytest.mark.parametrize("on_its_way", [False, True])
def test_a_stop_that_rests_at_the_venue_has_the_coins_and_nothing_is_claimed_meanwhile(on_its_way: bool) -> None:
    world = resting(working=IDS[0] if on_its_way else "")
    assert world.sent == [] and world.levels("error") == []
    assert len(world.levels("info")) == 1
    world.turn(0.4)
    claimed = [world.turn() or PAIR in world.claims for _ in range(20)]
    assert not all(claimed)  # a trader that is back need not wait
    world.fill(IDS[0], Decimal("0.5"))
    world.turn(3)
    assert world.sent == [] and world.claims == {}


def test_a_stop_that_has_begun_to_fill_is_followed_and_what_it_leaves_is_sold() -> None:
    world = World()
    stop = world.fill(IDS[0], Decimal("0.5"), live=True, filled=Decimal("0.2"))
    world.orders[IDS[0]] = msgspec.structs.replace(stop, kind=STOP)
    world.turn()
    world.price = 98.9
    world.dead(6)
    assert world.sent == []
    assert PAIR in world.claims
    world.orders[IDS[0]] = msgspec.structs.replace(world.orders[IDS[0]], status="cancelled")
    world.turn()
    assert [(one.order_id, one.quantity) for one in world.sent] == [(IDS[1], Decimal("0.3"))]


def test_a_stop_that_was_cancelled_at_the_venue_leaves_its_coins_to_the_guardian() -> None:
    world = resting()
    world.orders[IDS[0]] = order(IDS[0], Decimal("0.5"), Decimal("0.1"), "cancelled")
    world.free = Decimal("0.4")
    world.turn(3)
    assert [(one.order_id, one.quantity) for one in world.sent] == [(IDS[1], Decimal("0.4"))]


def test_a_guardian_without_prices_leaves_the_stop_to_the_venue_where_one_rests() -> None:
    for rests, holder in ((True, "venue"), (False, "nobody")):
        world = World()
        world.position = held(exit_ids=IDS, resting=rests)
        world.answer = lambda action: None
        world.turn()
        assert world.guard.holder() == "trader"
        world.dead(3.2)
        assert world.guard.holder() == "guardian"
        world.turn(12)
        assert world.guard.holder() == holder


def test_stops_that_were_moved_before_are_not_orders_that_were_refused() -> None:
    world = World()
    world.position = held(exit_ids=IDS, past=2)
    for name in IDS[:2]:
        world.orders[name] = order(name, Decimal("0.5"), Decimal(0), "cancelled")
    world.turn()
    world.price = 98.9
    world.dead(5)
    assert [(one.order_id, one.kind) for one in world.sent] == [(IDS[2], MARKET)]
