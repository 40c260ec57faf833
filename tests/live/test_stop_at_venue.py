"""The stop that rests at the venue, with the real trader stage at the sandbox and prices in the test's hands."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from bus.messages import OrderEvent, TradeEvent
from tests.live.world import LiveWorld

D = Decimal
Make = Callable[..., LiveWorld]
PROTOCOLS = pytest.mark.parametrize("protocol", ["binance", "kraken"])


def resting(world: LiveWorld) -> bool:
    """Whether a stop rests at the exchange, and the trader knows."""
    orders = [order for order in world.at_exchange("sell") if order.waiting]
    return len(orders) == 1 and world.statuses("sell")[-1] == "working"


def sales(world: LiveWorld) -> list[tuple[str, str]]:
    """Of the trades: what sold, and why."""
    return [(trade.client_order_id, trade.reason) for trade in world.events(TradeEvent) if trade.action == "sell"]


@PROTOCOLS
def test_the_venue_sells_and_the_trader_hears_of_it(make_world: Make, protocol: str) -> None:
    world = make_world(protocol, native_stop="true")
    world.start()
    world.buys()
    world.until(lambda: resting(world))
    assert world.status().status == "in_position"
    (stop,) = world.at_exchange("sell")
    assert stop.stop_price == D("99.50") and stop.quantity == world.held() // world.rules.step * world.rules.step
    world.served.price("99.00")  # the trader sees no price
    world.served.price("98.90")
    world.until(lambda: not world.pair().lots and world.pair().order is None)
    assert sales(world) == [(stop.client_id, "trailing_stop")]
    assert len(world.at_exchange("sell")) == 1
    world.judge()


@PROTOCOLS
def test_every_other_exit_cancels_it_first_and_sells_exactly_what_is_held(make_world: Make, protocol: str) -> None:
    world = make_world(protocol, native_stop="true")
    world.start()
    world.buys()
    world.until(lambda: resting(world))
    held = world.held() // world.rules.step * world.rules.step
    world.sells("101.00")
    stop, sold = world.at_exchange("sell")
    assert (stop.filled, sold.filled) == (0, held)
    assert sales(world) == [(sold.client_id, "take_profit")]
    events = [(event.type, event.status) for event in world.events(OrderEvent) if event.side == "sell"]
    over, sent = events.index(("stop", "cancelled")), events.index(("market", "submitting"))
    assert over < sent, "at no time were there two"
    world.judge()


@PROTOCOLS
def test_it_sells_while_the_trader_is_dead_and_is_booked_once_by_the_next_start(
    make_world: Make, protocol: str
) -> None:
    world = make_world(protocol, native_stop="true")
    process = world.spawn()
    world.until(world.may_trade)
    world.trade()
    world.until(lambda: world.status().blocked == [])
    world.buys()
    world.until(lambda: resting(world))
    world.kill(process)
    world.served.price("99.00")
    world.served.price("98.90")
    (stop,) = world.at_exchange("sell")
    assert stop.filled == stop.quantity
    world.start()
    world.until(lambda: not world.pair().lots)
    assert sales(world) == [(stop.client_id, "trailing_stop")]
    world.judge()


@PROTOCOLS
def test_one_that_rests_over_a_stop_of_the_bot_is_kept_by_the_next_start(make_world: Make, protocol: str) -> None:
    world = make_world(protocol, native_stop="true")
    world.start()
    world.buys()
    world.until(lambda: resting(world))
    world.stop()
    (stop,) = world.at_exchange("sell")
    assert stop.waiting
    world.start()
    world.until(lambda: [report.agreed for report in world.reports()][-1:] == [True] and not world.state().blocks)
    assert resting(world)
    assert [order.client_id for order in world.at_exchange("sell")] == [stop.client_id]
    world.sells("101.00")
    world.judge()


@PROTOCOLS
def test_refused_it_is_told_once_and_placed_when_the_venue_takes_it(
    make_world: Make, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(protocol, native_stop="true")
    world.start()
    world.served.price("99.00")  # under the stop of who believes that it is at 100
    world.tick("100.00", "mr")
    world.until(
        lambda: [event.status for event in world.events(OrderEvent) if event.type == "stop"].count("rejected") > 1
    )
    assert world.pair().lots and world.at_exchange("sell") == []
    world.trade("100.00")
    world.until(lambda: resting(world), 90)
    assert sum("no stop rests at the venue" in record.getMessage() for record in caplog.records) == 1
    world.sells("101.00")
    world.judge()
