"""A trader killed at a numbered point of an order's way, and what the next one makes of it."""

import signal
from decimal import Decimal
from typing import NamedTuple

from bus.messages import ExternalEvent, FillEvent, OrderEvent, PositionEvent, TradeEvent
from tests.live.world import LiveWorld
from trader.orders import TERMINAL

MONEY = (ExternalEvent, FillEvent, OrderEvent, PositionEvent, TradeEvent)
UNIT = 10**8  # of quote in a whole
SIDES = {"entry": "buy", "exit": "sell", "stop": "sell", "cancel": "sell"}


class Left(NamedTuple):
    """What the killed trader left: the id of the intent in its journal ('' where there is none), and its status."""

    order_id: str
    status: str
    fills: int


def killed_at(world: LiveWorld, point: str, purpose: str) -> Left:
    """Lets a trader buy (and sell), until it kills itself."""
    process = world.spawn(point, purpose)
    world.until(world.may_trade)
    world.trade()
    world.until(lambda: world.status().blocked == [])
    world.trade(codes="mr")
    if purpose == "exit":  # a stop follows by itself
        world.until(lambda: world.statuses("buy")[-1] == "filled")
        world.trade("103.00", "tp")
    if purpose == "cancel":  # of the stop, by an exit for another reason
        world.until(world.stop_rests)
        world.trade("103.00", "tp")
    world.until(lambda: process.poll() is not None)
    assert process.returncode == -signal.SIGKILL
    return left_by(world, purpose)


def left_by(world: LiveWorld, purpose: str) -> Left:
    orders = [event for event in world.events(OrderEvent) if event.side == SIDES[purpose]]
    if not orders:
        return Left("", "", 0)
    fills = [event for event in world.events(FillEvent) if event.client_order_id == orders[-1].client_order_id]
    return Left(orders[-1].client_order_id, orders[-1].status, len(fills))


def recovered(world: LiveWorld) -> None:
    """The next trader starts; journal and venue agree, and nothing of ours is open."""
    world.start(ready=False)
    world.until(lambda: world.reports()[-1].agreed and settled(world))


def settled(world: LiveWorld) -> bool:
    """Whether every intent has its end, and a position that is to be sold is sold."""
    last = {event.client_order_id: event.status for event in world.events(OrderEvent)}
    pair = world.pair()
    return all(status in TERMINAL for status in last.values()) and not (pair.live.exiting and pair.lots)


def adds_nothing(world: LiveWorld) -> None:
    """Another start agrees at once, books nothing, and sends nothing."""
    before, orders = money_of(world), len(world.at_exchange())
    world.stop()
    world.start(ready=False)
    world.until(lambda: world.reports()[-1].agreed)
    assert money_of(world) == before and len(world.at_exchange()) == orders


def money_of(world: LiveWorld) -> list[object]:
    return [entry.event for entry in world.entries if isinstance(entry.event, MONEY)]


def sold_at_last(world: LiveWorld) -> None:
    """What is still held is sold by its stop; then everything is judged."""
    if world.held():
        world.trade("90.00")
        world.until(lambda: world.held() == Decimal(0) and settled(world))
    world.judge()
