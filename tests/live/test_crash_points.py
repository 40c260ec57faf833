"""Numbered crash points of an entry and of an exit: each hit with SIGKILL, and recovered, against the real sandbox.

Afterwards every order is at the exchange once and every fill in the journal once, the money is the exchange's to the
last digit, every intent has its end, the report names it, and another start adds nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from core.money import plain
from sandbox import faults as kinds
from tests.live import crash
from tests.live.crash import SIDES
from tests.live.crashing import POINTS
from tests.live.world import LiveWorld


class After(NamedTuple):
    """What a point leaves behind, and what comes of it."""

    left: str  # the latest status of the order in the journal of the dead; '' where its intent is not there
    sent: int  # orders of that side at the exchange by then
    resolved: str  # the status that the report gives its intent; '' where it finds none


AFTER = {
    "1": After("", 0, ""),
    "2": After("submitting", 0, "rejected"),
    "3": After("submitting", 1, "filled"),
    "4": After("submitting", 1, "filled"),
    "5": After("working", 1, "filled"),
    "6": After("filled", 1, ""),
}
# The protocol changes from one to the next: the points are the trader's, not the venue's.
PROTOCOLS = {
    "entry": {"1": "coindcx", "2": "binance", "3": "kraken", "4": "coindcx", "5": "binance", "6": "kraken"},
    "exit": {"1": "kraken", "2": "coindcx", "3": "binance", "4": "kraken", "5": "coindcx", "6": "binance"},
}


@pytest.mark.parametrize("purpose", PROTOCOLS)
@pytest.mark.parametrize("point", POINTS, ids=[f"{point} {what}" for point, what in POINTS.items()])
def test_a_trader_killed_there_is_recovered_whole(
    make_world: Callable[..., LiveWorld], point: str, purpose: str
) -> None:
    after, side = AFTER[point], SIDES[purpose]
    world = make_world(PROTOCOLS[purpose][point])
    left = crash.killed_at(world, point, purpose)
    assert left.fills == (after.left == "filled")
    # what was told before the fill need not be on the disk yet
    assert left.status == after.left or (point == "5" and left.status == "submitting")
    world.until(lambda: len(world.at_exchange(side)) >= after.sent)  # what the dead wrote is read by now
    assert len(world.at_exchange(side)) == after.sent
    held = world.held()

    crash.recovered(world)
    report = world.reports()[-1].report
    assert report[0].removeprefix("held before: ") == (f"{plain(held)} of {world.rules.pair}" if held else "nothing")
    told = [line for line in report if left.order_id and left.order_id in line]
    begun = f"{purpose} {left.order_id} of {world.rules.pair}: {left.status} before, {after.resolved} now, "
    assert len(told) == bool(after.resolved) and all(line.startswith(begun) for line in told)
    if left.order_id:
        assert world.became(left.order_id) == (after.resolved or "filled")
    never = point in ("1", "2")  # that order never reached the exchange; an exit that was journalled is tried again
    assert bool(world.held()) is (point == "1" if purpose == "exit" else not never)
    crash.adds_nothing(world)
    crash.sold_at_last(world)
    assert len(world.at_exchange("buy")) == len(world.at_exchange("sell")) == (purpose == "exit" or not never)


# By point: whether the stop is at the exchange when the trader is dead, and what the report says of its intent.
STOPS = {"1": (False, ""), "2": (False, "rejected"), "3": (True, "working"), "4": (True, "working")}


@pytest.mark.parametrize("protocol", ["binance", "kraken"])
@pytest.mark.parametrize("point", STOPS, ids=[f"{point} {POINTS[point]}" for point in STOPS])
def test_a_trader_killed_while_it_places_a_stop_has_one_and_no_more(
    make_world: Callable[..., LiveWorld], point: str, protocol: str
) -> None:
    there, resolved = STOPS[point]
    world = make_world(protocol, native_stop="true")
    left = crash.killed_at(world, point, "stop")
    world.until(lambda: len(world.at_exchange("sell")) >= there)
    assert (left.status, len(world.at_exchange("sell"))) == ("submitting" if resolved else "", there)

    world.start(ready=False)
    world.until(lambda: world.reports()[-1].agreed and world.stop_rests())
    told = [line for line in world.reports()[-1].report if left.order_id and left.order_id in line]
    assert len(told) == bool(resolved) and all(f"submitting before, {resolved} now" in line for line in told)
    (stop,) = world.at_exchange("sell")
    assert stop.waiting and stop.quantity == world.held()
    assert (stop.client_id == left.order_id) is there
    world.stop()
    world.start(ready=False)
    world.until(lambda: world.reports()[-1].agreed)
    assert len(world.at_exchange("sell")) == 1, "another start sends nothing"
    world.sells("90.00", "warm")
    world.judge()


# By point of the cancel of a resting stop, which an exit for another reason asks for: the stop's status in the journal
# of the dead, and whether the exchange has ended it.
CANCELS = {
    "1": ("working", False),
    "2": ("cancelling", False),
    "3": ("cancelling", True),
    "4": ("cancelling", True),
    "5": ("cancelling", True),
    "6": ("submitting", True),  # of the market order that follows at once: it is journalled with the stop's end
}


@pytest.mark.parametrize("point", CANCELS, ids=[f"{point} {POINTS[point]}" for point in CANCELS])
def test_a_trader_killed_while_it_cancels_a_stop_sells_what_is_held_once(
    make_world: Callable[..., LiveWorld], point: str
) -> None:
    status, ended = CANCELS[point]
    world = make_world("binance" if int(point) % 2 else "kraken", native_stop="true")
    left = crash.killed_at(world, point, "cancel")
    world.until(lambda: not ended or not world.at_exchange("sell")[0].waiting)
    (stop,) = world.at_exchange("sell")
    assert (left.status, stop.waiting, left.order_id == stop.client_id) == (status, not ended, point != "6")
    held = world.held() // world.rules.step * world.rules.step

    if point == "1":  # nothing was journalled of it: the stop goes on
        world.start(ready=False)
        world.until(lambda: world.reports()[-1].agreed and world.stop_rests())
        world.sells("101.00")
    else:
        crash.recovered(world)
    world.until(lambda: not world.pair().lots and world.pair().order is None)
    assert [order.filled for order in world.at_exchange("sell")] == [0, held]
    crash.adds_nothing(world)
    world.judge()


@pytest.mark.parametrize("protocol", ["binance", "kraken"])
@pytest.mark.parametrize("partly", [False, True], ids=["whole", "in part"])
def test_a_stop_that_sells_before_its_cancel_goes_out_is_booked_once(
    make_world: Callable[..., LiveWorld], partly: bool, protocol: str
) -> None:
    world = make_world(protocol, native_stop="true")
    crash.killed_at(world, "2", "cancel")
    held = world.held() // world.rules.step * world.rules.step
    if partly:
        world.served.fault(kinds.PARTIAL_FILLS, share=0.0001)
    for _ in range(2):  # a stop wakes at one print, and fills from the next
        world.served.price("97.00")
    (stop,) = world.at_exchange("sell")
    assert 0 < stop.filled < held if partly else stop.filled == held
    world.served.no_faults()

    crash.recovered(world)
    world.until(lambda: not world.pair().lots and world.pair().order is None)
    sold = [order.filled for order in world.at_exchange("sell")]
    assert sum(sold) == held and len(sold) == 1 + (sold[0] < held)
    crash.adds_nothing(world)
    world.judge()
