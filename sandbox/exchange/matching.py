"""How orders fill against the market's own trades ("prints"): pure functions of prints and orders.

* What was printed last is what stands in the book: level i of either side is i + 1 gaps away from the last price and
  holds as much as the print i places back. A gap is half a spread: a hundred-thousandth of the price, at least a tick.
* A market order takes these levels when it is accepted, and the next prints for what is left, each at its price
  worsened by a gap; a limit order takes the levels within its limit and rests with what is left.
* What was taken from the levels comes back with the next print.
* A resting order fills when a print reaches or crosses its limit, at its limit, as the maker.
* No fill is larger than the print it comes from, and all orders together take no more than the print has; first those
  that take, then those with the better price, then the older ones.
* A stop wakes at a print at or beyond its price and works from the next print on.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from sandbox.exchange.orders import Kind, Order, Side, Trigger
from sandbox.exchange.profiles import PARTS
from sandbox.trades import Bools, Ints, Trades

LEVELS = 20
GAPS = 100_000  # in the price


def gap(ticks: int) -> int:
    """Half a spread, in ticks."""
    return max(1, ticks // GAPS)


def worsened(ticks: int, side: Side) -> int:
    """A print's price for one who takes."""
    return ticks + gap(ticks) if side is Side.BUY else max(1, ticks - gap(ticks))


def levels(last: Trades, side: Side, step: int, share_parts: int, taken: int) -> list[tuple[int, int]]:
    """(ticks, units) that an order of `side` can take now, the best first; `last`: the newest prints, oldest first."""
    if not len(last):
        return []
    price = int(last.ticks[-1])
    away = gap(price)
    found = []
    for place, printed in enumerate(reversed(last.units.tolist())):
        units = printed * share_parts // PARTS // step * step
        gone = min(units, taken)
        taken -= gone
        ticks = price + away * (place + 1) if side is Side.BUY else price - away * (place + 1)
        if units > gone and ticks > 0:
            found.append((ticks, units - gone))
    return found


def within(order: Order, ticks: int) -> bool:
    """Whether the order's limit allows a price."""
    if order.kind is Kind.MARKET:
        return True
    return ticks <= order.ticks if order.side is Side.BUY else ticks >= order.ticks


def wakes(order: Order, ticks: int) -> bool:
    """Whether a print at `ticks` triggers a waiting order."""
    upwards = (order.side is Side.BUY) == (order.trigger is Trigger.STOP)
    return ticks >= order.stop_ticks if upwards else ticks <= order.stop_ticks


def fill_ticks(order: Order, ticks: int) -> int | None:
    """The price at which a working order fills from a print; None where the print does not reach it."""
    if not order.taking:
        return order.ticks if within(order, ticks) else None
    price = worsened(ticks, order.side)
    if within(order, price):
        return price
    return order.ticks if within(order, ticks) else None


def in_turn(orders: Iterable[Order]) -> list[Order]:
    """Orders as they may take from one print."""

    def key(order: Order) -> tuple[bool, int, int]:
        better = -order.ticks if order.side is Side.BUY else order.ticks
        return not order.taking, 0 if order.taking else better, order.number

    return sorted(orders, key=key)


def concerned(orders: Sequence[Order], prints: Trades) -> Ints:
    """The places of the prints that fill, wake or move on at least one of the orders."""
    marked: Bools = np.zeros(len(prints), np.bool_)
    for order in orders:
        if order.waiting:
            upwards = (order.side is Side.BUY) == (order.trigger is Trigger.STOP)
            marked |= prints.ticks >= order.stop_ticks if upwards else prints.ticks <= order.stop_ticks
        elif order.taking:
            marked[:] = True
        else:
            marked |= prints.ticks <= order.ticks if order.side is Side.BUY else prints.ticks >= order.ticks
    return np.flatnonzero(marked)
