"""Whether an order may be accepted, and its numbers in whole ticks and units: pure, no account in sight."""

from decimal import Decimal
from typing import NamedTuple

from sandbox.exchange.orders import (
    ATOM_DIGITS,
    ATOMS,
    InForce,
    Kind,
    NewOrder,
    Reason,
    Refusal,
    Side,
    Trigger,
    steps_of,
)
from sandbox.exchange.profiles import Profile, Trading, TradingRules
from sandbox.trades import Rules


class Sized(NamedTuple):
    """An order's numbers: what it does not have is 0."""

    ticks: int
    units: int
    quote_atoms: int
    stop_ticks: int


def sized(new: NewOrder, rules: Rules, trading: TradingRules, profile: Profile, last_ticks: int) -> Sized | Refusal:
    """The numbers of an order that the market's rules allow; `last_ticks` is the last price."""
    refusal = _market_refusal(trading) or _shape_refusal(new, profile)
    if refusal is not None:
        return refusal
    ticks, stop_ticks = 0, 0
    if new.kind is Kind.LIMIT:
        found = _price(new.price, rules, trading, last_ticks)
        if isinstance(found, Refusal):
            return found
        ticks = found
    if new.trigger is not None:
        found = _price(new.stop_price, rules, trading, last_ticks)
        if isinstance(found, Refusal):
            return found
        stop_ticks = found
        upwards = (new.side is Side.BUY) == (new.trigger is Trigger.STOP)
        if last_ticks >= stop_ticks if upwards else last_ticks <= stop_ticks:
            return Refusal(Reason.WOULD_TRIGGER, f"{new.stop_price} at a last price of {last_ticks} ticks")
    if new.quote_quantity is not None:
        return _quote_sized(new.quote_quantity, ticks, stop_ticks, trading)
    return _unit_sized(new, ticks, stop_ticks, rules, trading, ticks or stop_ticks or last_ticks)


def _market_refusal(trading: TradingRules) -> Refusal | None:
    if trading.trading is Trading.HALTED:
        return Refusal(Reason.MARKET_HALTED)
    if trading.trading is Trading.CANCEL_ONLY:
        return Refusal(Reason.CANCEL_ONLY)
    return None


def _shape_refusal(new: NewOrder, profile: Profile) -> Refusal | None:
    """Combinations that cannot be, and a client id that the venue does not take."""
    market = new.kind is Kind.MARKET
    if market and (new.post_only or new.price is not None or new.in_force is InForce.FOK):
        return Refusal(Reason.KIND_NOT_ALLOWED, "a market order has no limit")
    if not market and new.quote_quantity is not None:
        return Refusal(Reason.KIND_NOT_ALLOWED, "a quote quantity is for market orders")
    if new.post_only and new.in_force is not InForce.GTC:
        return Refusal(Reason.KIND_NOT_ALLOWED, "post-only rests")
    if (new.trigger is None) != (new.stop_price is None):
        return Refusal(Reason.PRICE_MISSING, "a trigger and its price go together")
    if (new.quantity is None) == (new.quote_quantity is None):
        return Refusal(Reason.QUANTITY_MISSING, "one quantity is needed")
    if new.client_id and not profile.client_id.fullmatch(new.client_id):
        return Refusal(Reason.BAD_CLIENT_ID, new.client_id[:60])
    return None


def _price(price: Decimal | None, rules: Rules, trading: TradingRules, last_ticks: int) -> int | Refusal:
    if price is None:
        return Refusal(Reason.PRICE_MISSING)
    if not price.is_finite() or price <= 0 or price.adjusted() > 20:
        return Refusal(Reason.PRICE_BAND, str(price)[:40])
    ticks = steps_of(price, rules.price_digits)
    if ticks is None or ticks % trading.tick:
        return Refusal(Reason.PRICE_TICK, str(price)[:40])
    if trading.band is not None and not trading.band[0] * last_ticks <= ticks <= trading.band[1] * last_ticks:
        return Refusal(Reason.PRICE_BAND, f"{price} at a last price of {last_ticks} ticks")
    return ticks


def _quote_sized(amount: Decimal, ticks: int, stop_ticks: int, trading: TradingRules) -> Sized | Refusal:
    if not amount.is_finite() or amount <= 0:
        return Refusal(Reason.QUANTITY_TOO_SMALL, str(amount)[:40])
    atoms = steps_of(amount, ATOM_DIGITS)
    if atoms is None:
        return Refusal(Reason.QUANTITY_STEP, str(amount)[:40])
    if atoms < trading.min_notional:
        return Refusal(Reason.NOTIONAL_TOO_SMALL, str(amount)[:40])
    return Sized(ticks, 0, atoms, stop_ticks)


def _unit_sized(
    new: NewOrder, ticks: int, stop_ticks: int, rules: Rules, trading: TradingRules, at_ticks: int
) -> Sized | Refusal:
    quantity = new.quantity
    assert quantity is not None
    if not quantity.is_finite() or quantity <= 0:
        return Refusal(Reason.QUANTITY_TOO_SMALL, str(quantity)[:40])
    if quantity.adjusted() > 20:
        return Refusal(Reason.QUANTITY_TOO_LARGE, str(quantity)[:40])
    units = steps_of(quantity, rules.quantity_digits)
    if units is None or units % trading.step_units:
        return Refusal(Reason.QUANTITY_STEP, str(quantity)[:40])
    if units < trading.min_units:
        return Refusal(Reason.QUANTITY_TOO_SMALL, str(quantity)[:40])
    if units > (trading.max_units if new.kind is Kind.LIMIT else trading.max_market_units):
        return Refusal(Reason.QUANTITY_TOO_LARGE, str(quantity)[:40])
    if units * at_ticks * ATOMS < trading.min_notional * 10 ** (rules.price_digits + rules.quantity_digits):
        return Refusal(Reason.NOTIONAL_TOO_SMALL, f"{quantity} at {at_ticks} ticks")
    return Sized(ticks, units, 0, stop_ticks)
