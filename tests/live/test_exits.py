"""Exits that get out, whatever the venue does: refused, rejected late, away, not found yet, too little left.

Each exit is tried until the position is flat, never two at a time, never more than is held.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from bus.messages import OrderEvent, TradeEvent
from sandbox import faults as kinds
from tests.live import crash
from tests.live.hand_market import PAIR
from tests.live.world import LiveWorld

D = Decimal
Make = Callable[..., LiveWorld]

FAULTS: dict[str, tuple[str, list[dict[str, Any]], int]] = {  # protocol, faults, exits that come to nothing
    "the market stands, at CoinDCX": ("coindcx", [{"kind": kinds.HALT, "pair": PAIR}], 2),
    "the market stands, at Kraken": ("kraken", [{"kind": kinds.HALT, "pair": PAIR}], 2),
    "rejected late, at CoinDCX": ("coindcx", [{"kind": kinds.LATE_REJECTION, "ms": 100, "times": 2}], 2),
    "rejected late, at Binance": ("binance", [{"kind": kinds.LATE_REJECTION, "ms": 100, "times": 2}], 2),
    "rejected late, at Kraken": ("kraken", [{"kind": kinds.LATE_REJECTION, "ms": 100, "times": 2}], 2),
    "away for a while": ("binance", [{"kind": kinds.MAINTENANCE}], 1),
    "taken, and not found at first": (
        "coindcx",
        [
            {"kind": kinds.QUERY_LAG, "ms": 700},
            {"kind": kinds.DROPPED_REPLY, "path": "*/orders/create", "method": "POST", "times": 1},
        ],
        0,
    ),
}

NOT_OUT = ("rejected", "cancelled", "unknown")


def exits(world: LiveWorld) -> list[str]:
    """The latest status of each exit."""
    found = {event.client_order_id: event.status for event in world.events(OrderEvent) if event.side == "sell"}
    return list(found.values())


@pytest.mark.parametrize(("protocol", "faults", "failed"), FAULTS.values(), ids=FAULTS)
def test_an_exit_is_tried_until_it_is_out(
    make_world: Make, protocol: str, faults: list[dict[str, Any]], failed: int
) -> None:
    world = make_world(protocol)
    world.start()
    world.buys()
    for fields in faults:
        world.served.fault(**fields)
    world.trade("98.00")
    if failed:
        world.until(lambda: len([status for status in exits(world) if status in NOT_OUT]) >= failed)
        world.served.no_faults()
    world.until(lambda: not world.pair().lots and world.pair().order is None)
    *before, last = exits(world)
    assert len(before) >= failed and set(before) <= {"rejected", "cancelled"} and last == "filled"
    assert [order.filled > 0 for order in world.at_exchange("sell")].count(True) == 1 and world.coin() == 0
    world.judge()


@pytest.mark.parametrize("protocol", ["coindcx", "binance", "kraken"])
def test_a_stop_that_is_hit_right_after_a_sale_by_hand_sells_what_is_left(make_world: Make, protocol: str) -> None:
    world = make_world(protocol)
    world.start()
    world.buys()
    world.sell_by_hand(D(4))
    left = world.coin()
    creates = world.calls()
    world.sells("98.00", "warm")
    assert 2 <= creates() <= 4, "once with all, once with what is free, and for the rest hardly ever"
    rest = world.events(TradeEvent)[-1]
    assert (rest.reason, rest.quantity) == ("external", "4")
    by_hand, ours = (order for order in world.at_exchange("sell") if order.filled)
    assert (by_hand.filled, ours.filled) == (D(4), left) and world.coin() == 0
    first = next(event.client_order_id for event in world.events(OrderEvent) if event.side == "sell")
    assert ours.client_id == first, "not after a comparison: at once, as much of it as is free"
    world.until(lambda: world.state().wallet == world.quote() * crash.UNIT)


def test_killed_while_an_entry_fills_in_parts(make_world: Make) -> None:
    """What it filled while the trader was dead is there, and its rest ends as it would have."""
    world = make_world("coindcx", entry_timeout_ms="3000")
    process = world.spawn()
    world.until(world.may_trade)
    world.trade()
    world.until(lambda: world.status().blocked == [])
    world.shallow("0.1")
    world.tick("100.00", "mr")
    world.until(lambda: world.statuses("buy")[-1] == "working" and world.held() > 0)
    world.kill(process)
    before = world.coin()  # the journal may not have all of it
    assert before >= world.held() > 0
    world.served.price("99.90", D(2))
    assert world.coin() == before + 2
    crash.recovered(world)
    assert world.statuses("buy")[-1] == "cancelled" and world.held() == world.coin() == before + 2
    crash.adds_nothing(world)
    crash.sold_at_last(world)


def test_killed_while_an_exit_fills_in_parts(make_world: Make) -> None:
    """The rest is sold by the next trader, and no more than the rest."""
    world = make_world("binance")
    process = world.spawn()
    world.until(world.may_trade)
    world.trade()
    world.until(lambda: world.status().blocked == [])
    world.buys()
    world.served.fault(kinds.PARTIAL_FILLS, share=0.0001)
    world.trade("98.00")
    world.until(lambda: world.at_exchange("sell")[-1].filled > 0)
    world.kill(process)
    world.served.no_faults()
    world.served.price("97.00")
    crash.recovered(world)
    world.until(lambda: not world.pair().lots)
    assert world.coin() == 0
    crash.adds_nothing(world)
    world.judge()


@pytest.mark.parametrize("protocol", ["binance", "kraken"])
@pytest.mark.parametrize("alive", [True, False], ids=["trader alive", "trader dead"])
def test_a_gap_through_a_stop_that_rests_at_the_venue_sells_once(make_world: Make, protocol: str, alive: bool) -> None:
    world = make_world(protocol, native_stop="true")
    process = world.spawn()
    world.until(world.may_trade)
    world.trade()
    world.until(lambda: world.status().blocked == [])
    world.trade(codes="mr")
    world.until(world.stop_rests)
    held = world.held()
    if alive:
        world.trade("97.00")
    else:
        world.kill(process)
        for _ in range(2):  # a stop wakes at one print, and fills from the next
            world.served.price("97.00")
        assert world.coin() < world.rules.step
        crash.recovered(world)
    world.until(lambda: not world.pair().lots and world.pair().order is None)
    assert sum(order.filled for order in world.at_exchange("sell")) == held // world.rules.step * world.rules.step
    assert len([order for order in world.at_exchange("sell") if order.filled]) == 1
    (sale,) = [event for event in world.events(TradeEvent) if event.action == "sell"]
    assert (sale.reason, sale.price) == ("trailing_stop", "96.99")
    if not alive:
        crash.adds_nothing(world)
    world.judge()
