"""The one rounding: whole-number arithmetic against exact decimals, and what it refuses."""

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import money
from core.errors import MisconfiguredError
from indicators.kernels import jit_rule

AMOUNT = st.integers(0, 1 << 60)
SCALE = st.integers(1, money.MAX_SCALE)


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 52), SCALE)
def test_mul_div_rounds_as_exact_fractions_do(a: int, b: int, d: int) -> None:
    assert money.mul_div_floor(a, b, d) == a * b // d
    assert money.mul_div_ceil(a, b, d) == -((-a * b) // d)


@given(st.integers(1 << 21, 1 << 42), st.integers(-(10**6), 10**6), st.sampled_from([money.PARTS, 10**9]))
def test_compiled_too_where_the_product_no_longer_fits_64_bits(a: int, beyond: int, d: int) -> None:
    b = (1 << 63) // a + beyond
    assert jit_rule(money.mul_div_floor)(a, b, d) == a * b // d
    assert jit_rule(money.mul_div_ceil)(a, b, d) == -((-a * b) // d)


@given(AMOUNT, st.integers(1, 1 << 60), st.data())
def test_share_ceil_is_exact(amount: int, whole: int, data: st.DataObject) -> None:
    part = data.draw(st.integers(0, whole))
    assert money.share_ceil(amount, part, whole) == -((-amount * part) // whole)


@given(st.integers(1, 10**9), st.integers(1, 10**12), st.sampled_from(["0.01", "0.5", "1e-8", "5", "0.00025"]))
def test_notional_brackets_price_times_quantity(ticks: int, lots: int, tick: str) -> None:
    scale = money.scale_of(tick, "0.00001", "X")
    exact = Fraction(scale.tick * ticks) * Fraction(scale.step * lots) * money.UNIT
    low = money.notional_floor(ticks, lots, scale.num, scale.den)
    high = money.notional_ceil(ticks, lots, scale.num, scale.den)
    assert low <= exact <= high
    assert high - low <= 1


def test_notional_fits_64_bits_on_the_finest_grid() -> None:
    """Tick and step of 1e-8, ten thousand of an expensive quote currency: the products stay within int64."""
    scale = money.scale_of("0.00000001", "0.00000001", "X")
    ticks, lots = 141_342, 10_000 * 10**16 // 141_342
    qa, ra = divmod(ticks * scale.num, scale.den)
    qb, rb = divmod(lots, scale.den)
    for product in (qa * lots, ra * qb, ra * rb, ticks * scale.num):
        assert product < 1 << 63
    assert money.notional_floor(ticks, lots, scale.num, scale.den) == ticks * lots // 10**8


@pytest.mark.parametrize(
    ("ticks", "slippage", "buying", "expected"),
    [(10_000, 0, True, 10_000), (10_000, 100, True, 10_001), (10_001, 100, True, 10_003), (10_001, 100, False, 9_999)],
)
def test_worsened_is_rounded_against_us(ticks: int, slippage: int, buying: bool, expected: int) -> None:
    assert money.worsened(ticks, slippage, buying) == expected


@given(AMOUNT, st.integers(-money.PARTS, money.PARTS))
def test_fees_are_rounded_up_and_rebates_down(amount: int, parts: int) -> None:
    exact = Fraction(amount * parts, money.PARTS)
    fee = money.parts_ceil(amount, parts)
    assert exact <= fee < exact + 1


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: money.to_units("99999999999999", "TRADE_CAPITAL"), "TRADE_CAPITAL is 99999999999999"),
        (lambda: money.to_units("-1", "PAPER_BALANCE"), "PAPER_BALANCE is -1"),
        (lambda: money.to_parts("0.001", "SLIPPAGE_BPS"), "SLIPPAGE_BPS is 0.001"),
        (lambda: money.scale_of("1e-12", "1e-12", "B-X_Y"), "B-X_Y"),
        (lambda: money.scale_of("0", "1", "B-X_Y"), "B-X_Y"),
        (lambda: money.decimal_of("abc", "tick of X"), "tick of X is 'abc'"),
        (lambda: money.decimal_of("NaN", "tick of X"), "tick of X"),
        (lambda: money.fraction_to_parts("1.5", "PAPER_PARTICIPATION"), "PAPER_PARTICIPATION is 1.5"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_numbers(call: Callable[[], object], names: str) -> None:
    with pytest.raises(MisconfiguredError) as refused:
        call()
    assert names in str(refused.value)


@given(st.integers(-(1 << 60), 1 << 60))
def test_unit_text_is_exact(units: int) -> None:
    text = money.units_text(units)
    assert Decimal(text) * money.UNIT == units
    assert "E" not in text.upper()


@given(st.integers(0, 10**15), st.sampled_from(["0.001", "1", "100", "0.00000001", "0.25"]))
def test_steps_there_and_back(count: int, step: str) -> None:
    value = money.steps_text(count, Decimal(step))
    assert money.steps_down(value, Decimal(step)) == count
    assert money.steps_up(value, Decimal(step)) == count
    assert money.steps_nearest(value, Decimal(step)) == count


@given(st.decimals(0, 10**6, places=6), st.sampled_from(["0.001", "0.5", "7"]))
def test_steps_round_down_and_up(value: Decimal, step: str) -> None:
    exact = value / Decimal(step)
    assert money.steps_down(value, Decimal(step)) == int(exact.to_integral_value(ROUND_FLOOR))
    assert money.steps_up(value, Decimal(step)) == int(exact.to_integral_value(ROUND_CEILING))


STEPS = st.sampled_from(["0", "0.1", "0.25", "0.4", "0.6", "1", "7", "1E+2", "0.00000001"]).map(Decimal)


@settings(deadline=None)
@given(st.lists(STEPS, max_size=3))
def test_a_common_step_is_a_multiple_of_every_step_and_the_smallest(steps: list[Decimal]) -> None:
    common = money.common_step(*steps)
    given_steps = [step for step in steps if step]
    assert all(common % step == 0 for step in given_steps) and (common > 0) == bool(given_steps)
    for divisor in (2, 3, 5, 7):
        smaller = common / divisor
        assert not given_steps or any(smaller % step for step in given_steps)


@pytest.mark.parametrize(
    ("price", "up", "text"), [("81000.129", False, "81000.1"), ("81000.11", True, "81000.2"), ("0.01", False, "0.1")]
)
def test_a_price_is_rounded_to_the_tick_and_never_to_nothing(price: str, up: bool, text: str) -> None:
    assert money.plain(money.price_on_tick(Decimal(price), Decimal("0.1"), up=up)) == text


QUANTITIES = {
    "rounded down": ("1.2399", {}, "1.23"),
    "at most": ("5", {"max_quantity": Decimal("2.345")}, "2.34"),
    "below the least": ("0.09", {"min_quantity": Decimal("0.1")}, "0"),
    "below the least notional": ("0.99", {"min_notional": Decimal("10")}, "0"),
    "just the least notional": ("1.009", {"min_notional": Decimal("10")}, "1"),
    "less than a step": ("0.009", {}, "0"),
}


@pytest.mark.parametrize(("wanted", "rules", "text"), QUANTITIES.values(), ids=QUANTITIES)
def test_an_order_is_the_most_that_the_rules_let_pass(wanted: str, rules: dict[str, Decimal], text: str) -> None:
    assert money.plain(money.order_quantity(Decimal(wanted), Decimal(10), Decimal("0.01"), **rules)) == text


@settings(deadline=None)
@given(st.decimals("0.0001", 10**6, places=4), st.decimals(0, 10**4, places=3), st.sampled_from(["0.001", "0.3", "7"]))
def test_the_least_order_passes_and_one_step_less_does_not(price: Decimal, notional: Decimal, step: str) -> None:
    lot = Decimal(step)
    least = money.least_quantity(price, lot, min_quantity=Decimal("0.01"), min_notional=notional)
    assert least % lot == 0 and least >= Decimal("0.01") and least * price >= notional
    less = least - lot
    assert less <= 0 or less < Decimal("0.01") or less * price < notional
