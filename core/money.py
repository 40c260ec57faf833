"""Money in whole numbers, and the one place where it is rounded.

Amounts of the quote currency are integers of 1e-8 of it ("units"); prices are integers of the market's tick, quantities
integers of its step ("lots"); fees, taxes and slippage are integers of a millionth ("parts"; 100 of them are a basis
point). Decimal text comes in and goes out at the edges only.

The functions of the first half take and give plain integers and call only each other, so that the same source runs as
Python and compiled. Compiled they have 64 bits: `notional_*` and `parts_*` never form a product beyond that as long as
the scale and the amounts passed `scale_of` and `to_units`, which refuse what does not fit, with its numbers.
"""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import NamedTuple

from core.errors import MisconfiguredError

UNIT = 100_000_000  # units in 1 of the quote currency
PARTS = 1_000_000  # parts in the whole; 100 parts are a basis point
MAX_UNITS = 1 << 60  # 11.5 billion of the quote currency; leaves room for sums of a few such amounts
SAFE_PRODUCT = 9e18  # a product that floats put below this has 63 bits
MAX_SCALE = 1_000_000_000  # of the scale's parts: the product of two remainders stays below 1e18

_MAX_DIGITS = 30  # of decimal text from outside; longer text is not a price


# --- whole numbers only (compiled as they are) ----------------------------------------------------


def floor_div(a: int, b: int) -> int:
    """a / b rounded down; b > 0."""
    return a // b


def ceil_div(a: int, b: int) -> int:
    """a / b rounded up; b > 0."""
    return -((-a) // b)


def mul_div_floor(a: int, b: int, d: int) -> int:
    """a * b / d rounded down, for a, b >= 0 and d > 0: only the result must fit, a * b is formed where it does too."""
    if a * 1.0 * b < SAFE_PRODUCT:
        return a * b // d
    qa = a // d
    ra = a - qa * d
    qb = b // d
    rb = b - qb * d
    return qa * b + ra * qb + (ra * rb) // d


def mul_div_ceil(a: int, b: int, d: int) -> int:
    """a * b / d rounded up, for a, b >= 0 and d > 0: only the result must fit, a * b is formed where it does too."""
    if a * 1.0 * b < SAFE_PRODUCT:
        return -(-(a * b) // d)
    qa = a // d
    ra = a - qa * d
    qb = b // d
    rb = b - qb * d
    return qa * b + ra * qb - ((-(ra * rb)) // d)


def notional_floor(ticks: int, lots: int, num: int, den: int) -> int:
    """Units that `lots` at `ticks` are worth, rounded down: what we get."""
    return mul_div_floor(ticks * num, lots, den)


def notional_ceil(ticks: int, lots: int, num: int, den: int) -> int:
    """Units that `lots` at `ticks` are worth, rounded up: what we pay."""
    return mul_div_ceil(ticks * num, lots, den)


def parts_floor(amount: int, parts: int) -> int:
    """`parts` millionths of amount, rounded down."""
    return mul_div_floor(amount, parts, PARTS)


def parts_ceil(amount: int, parts: int) -> int:
    """`parts` millionths of amount, rounded up: fees, taxes. Negative parts are a rebate, against us as well."""
    if parts < 0:
        return -mul_div_floor(amount, -parts, PARTS)
    return mul_div_ceil(amount, parts, PARTS)


def share_ceil(amount: int, part: int, whole: int) -> int:
    """amount * part / whole rounded up, for 0 <= part <= whole < 2**61, by long division: no product is formed."""
    if part == whole:
        return amount
    quotient_step = amount // whole
    rest_step = amount - quotient_step * whole
    quotient = 0
    rest = 0
    bit = 1
    while bit * 2 <= part:
        bit = bit * 2
    while bit > 0:
        quotient = quotient * 2
        rest = rest * 2
        if rest >= whole:
            rest = rest - whole
            quotient = quotient + 1
        if part // bit % 2 == 1:
            quotient = quotient + quotient_step
            rest = rest + rest_step
            if rest >= whole:
                rest = rest - whole
                quotient = quotient + 1
        bit = bit // 2
    if rest > 0:
        quotient = quotient + 1
    return quotient


def worsened(ticks: int, slippage: int, buying: bool) -> int:
    """The price in ticks after `slippage` parts against us, rounded against us to the tick."""
    if buying:
        return mul_div_ceil(ticks, PARTS + slippage, PARTS)
    return mul_div_floor(ticks, PARTS - slippage, PARTS)


# --- decimal text in and out ----------------------------------------------------------------------


class Scale(NamedTuple):
    """How ticks x lots of one market become units: `ticks * lots * num / den`, in lowest terms."""

    tick: Decimal
    step: Decimal
    num: int
    den: int


def decimal_of(text: str | int | float | Decimal, what: str) -> Decimal:
    """The finite number in `text`; a float is taken by its shortest text. Raises MisconfiguredError naming `what`."""
    try:
        value = text if isinstance(text, Decimal) else Decimal(str(text).strip())
    except InvalidOperation:
        raise MisconfiguredError(f"{what} is {text!r}: a decimal number is needed, such as 0.01") from None
    if not value.is_finite() or len(value.as_tuple().digits) > _MAX_DIGITS or abs(value.adjusted()) > _MAX_DIGITS:
        raise MisconfiguredError(f"{what} is {text!r}: a finite decimal number of usual size is needed")
    return value


def scale_of(tick: str | Decimal, step: str | Decimal, what: str) -> Scale:
    """The scale of a market from its tick and step. Raises MisconfiguredError where they do not fit 64-bit money."""
    tick_value = decimal_of(tick, f"tick of {what}")
    step_value = decimal_of(step, f"step of {what}")
    if tick_value <= 0 or step_value <= 0:
        raise MisconfiguredError(f"{what}: tick {tick} and step {step} must both be above 0")
    num, den = (tick_value * step_value * UNIT).as_integer_ratio()
    if num > MAX_SCALE or den > MAX_SCALE:
        raise MisconfiguredError(
            f"{what}: tick {tick} x step {step} needs the scale {num}/{den}, beyond {MAX_SCALE}: not tradable here"
        )
    return Scale(tick_value, step_value, num, den)


def to_units(amount: str | int | float | Decimal, what: str) -> int:
    """Units of a quote amount >= 0, rounded down. Raises MisconfiguredError where it is negative or beyond 64 bits."""
    value = decimal_of(amount, what)
    units = int((value * UNIT).to_integral_value(ROUND_FLOOR))
    if units < 0 or units > MAX_UNITS:
        raise MisconfiguredError(f"{what} is {amount}: allowed are 0 to {MAX_UNITS // UNIT}")
    return units


def to_parts(bps: str | int | float | Decimal, what: str) -> int:
    """Parts of a number of basis points, exact; a rebate is negative. Raises MisconfiguredError where it is finer."""
    parts = decimal_of(bps, what) * 100
    if parts != parts.to_integral_value() or not -PARTS < parts < PARTS:
        raise MisconfiguredError(f"{what} is {bps} basis points: allowed are -9999.99 to 9999.99 in steps of 0.01")
    return int(parts)


def fraction_to_parts(fraction: str | int | float | Decimal, what: str) -> int:
    """Parts of a fraction from 0 to 1, rounded down (0.005 is 5,000)."""
    value = decimal_of(fraction, what)
    if not 0 <= value <= 1:
        raise MisconfiguredError(f"{what} is {fraction}: allowed are 0 to 1")
    return int((value * PARTS).to_integral_value(ROUND_FLOOR))


def steps_nearest(value: str | float | Decimal, step: Decimal) -> int:
    """How many steps `value` is, rounded to the nearest (half to even): prices that are on the grid already."""
    return int((Decimal(str(value)) / step).to_integral_value(ROUND_HALF_EVEN))


def steps_down(value: str | float | Decimal, step: Decimal) -> int:
    """How many whole steps fit into `value`: quantities we may have."""
    return int((Decimal(str(value)) / step).to_integral_value(ROUND_FLOOR))


def steps_up(value: str | float | Decimal, step: Decimal) -> int:
    """The fewest steps that reach `value`: minimum quantities."""
    return int((Decimal(str(value)) / step).to_integral_value(ROUND_CEILING))


def common_step(*steps: Decimal) -> Decimal:
    """The smallest step whose multiples are multiples of all the given ones; those of 0 set none; 0 where all do."""
    found = Decimal(0)
    for step in steps:
        if step > 0 and found > 0:
            exponent = min(0, *(int(value.as_tuple().exponent) for value in (step, found)))
            unit = Decimal(1).scaleb(exponent)
            found = math.lcm(int(step / unit), int(found / unit)) * unit
        elif step > 0:
            found = step
    return found


def price_on_tick(price: Decimal, tick: Decimal, *, up: bool) -> Decimal:
    """The price rounded to a multiple of the tick, up or down, and never to 0."""
    ticks = steps_up(price, tick) if up else steps_down(price, tick)
    return max(1, ticks) * tick


def order_quantity(
    wanted: Decimal,
    price: Decimal,
    step: Decimal,
    *,
    min_quantity: Decimal = Decimal(0),
    min_notional: Decimal = Decimal(0),
    max_quantity: Decimal | None = None,
) -> Decimal:
    """The most that may be ordered of `wanted` at `price`, on the step; 0 where that is below a minimum."""
    if max_quantity is not None:
        wanted = min(wanted, max_quantity)
    quantity = steps_down(wanted, step) * step
    enough = quantity > 0 and quantity >= min_quantity and quantity * price >= min_notional
    return quantity if enough else Decimal(0)


def least_quantity(price: Decimal, step: Decimal, *, min_quantity: Decimal, min_notional: Decimal) -> Decimal:
    """The least on the step that both minimums let pass at `price` > 0."""
    lots = max(1, steps_up(min_quantity, step), steps_up(min_notional / price, step))
    if lots * step * price < min_notional:  # the division was rounded down in its last digit
        lots += 1
    return lots * step


def plain(value: Decimal) -> str:
    """Decimal text without exponent and without needless zeros."""
    if value == 0:
        return "0"
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text


def units_text(units: int) -> str:
    """Exact decimal text of an amount in units, negative ones too."""
    return plain(Decimal(units).scaleb(-8))


def steps_text(count: int, step: Decimal) -> str:
    """Exact decimal text of `count` ticks or lots."""
    return plain(count * step)
