"""What an order pays, receives and has to hold: pure arithmetic in whole numbers.

Costs and fees are rounded over the whole order and not fill by fill: each fill pays the difference between two rounded
sums, so that many small fills cost what one large one does, and what is held for an order is always enough for it.
Purchases and fees are rounded up, proceeds down.
"""

from typing import NamedTuple

from sandbox.exchange.orders import ATOMS, FeeIn, Order, Side, tens
from sandbox.exchange.profiles import PARTS


class Charge(NamedTuple):
    """What one fill moves, in atoms, and the order's exact sums after it."""

    cost: int  # quote, without a quote fee
    fee: int  # of the order's fee asset
    cost_raw: int
    fee_raw: int


def up(value: int, divisor: int) -> int:
    return -(-value // divisor)


def base_atoms(order: Order, units: int) -> int:
    """Units as atoms of the base coin; exact, because steps are whole atoms."""
    return units * ATOMS // tens(order.quantity_digits)


def quote_atoms(order: Order, raw: int, *, rounded_up: bool) -> int:
    """Ticks x units as atoms of the quote coin."""
    divisor = tens(order.price_digits + order.quantity_digits)
    return up(raw * ATOMS, divisor) if rounded_up else raw * ATOMS // divisor


def charge(order: Order, ticks: int, units: int, parts: int) -> Charge:
    """The money of a fill of `units` at `ticks` with a fee of `parts`."""
    buying = order.side is Side.BUY
    cost_raw = order.cost_raw + ticks * units
    cost = quote_atoms(order, cost_raw, rounded_up=buying) - order.cost
    in_quote = order.fee_in is FeeIn.QUOTE
    fee_raw = order.fee_raw + parts * units * (ticks if in_quote else 1)
    digits = order.quantity_digits + (order.price_digits if in_quote else 0)
    fee = max(0, up(fee_raw * ATOMS, PARTS * tens(digits)) - order.fee)
    if in_quote and not buying:
        fee = min(fee, cost)  # the rest of an atom comes with the next fill
    return Charge(cost, fee, cost_raw, fee_raw)


def spends(order: Order, money: Charge, units: int) -> int:
    """What a fill takes out of what the order holds: quote of a purchase, base of a sale."""
    if order.side is Side.BUY:
        return money.cost + (money.fee if order.fee_in is FeeIn.QUOTE else 0)
    return base_atoms(order, units) + (money.fee if order.fee_in is FeeIn.BASE else 0)


def needed(order: Order, ticks: int) -> int:
    """What the order has to hold for all that is left of it at a price of `ticks`, at the dearer of its two rates."""
    parts = max(order.maker_parts, order.taker_parts)
    if order.quote_atoms:
        left = max(0, order.quote_atoms - order.cost)
        if order.side is Side.BUY:
            return left + (up(left * parts, PARTS) + 1 if order.fee_in is FeeIn.QUOTE else 0)
        base = up(left * tens(order.price_digits), max(ticks, 1))
        return base + (up(base * parts, PARTS) + 1 if order.fee_in is FeeIn.BASE else 0)
    units = order.remaining_units
    return spends(order, charge(order, ticks, units, parts), units) if units else 0


def room(order: Order, ticks: int, parts: int, step: int) -> int:
    """How many units, a whole number of steps, the order can take at a price: what is left of it and can be paid."""
    if order.quote_atoms:
        left = max(0, order.quote_atoms - order.cost)
        units = left * tens(order.price_digits + order.quantity_digits) // (ATOMS * ticks)
    else:
        units = order.remaining_units
    units = units // step * step
    if units <= 0 or spends(order, charge(order, ticks, units, parts), units) <= order.reserved:
        return units
    if order.side is Side.BUY:
        rate = parts if order.fee_in is FeeIn.QUOTE else 0
        most = order.reserved * tens(order.price_digits + order.quantity_digits) * PARTS
        paid = most // (ATOMS * ticks * (PARTS + rate))
    else:
        rate = parts if order.fee_in is FeeIn.BASE else 0
        paid = order.reserved * tens(order.quantity_digits) * PARTS // (ATOMS * (PARTS + rate))
    units = min(units, paid // step * step + step)
    while units > 0 and spends(order, charge(order, ticks, units, parts), units) > order.reserved:
        units -= step
    return units
