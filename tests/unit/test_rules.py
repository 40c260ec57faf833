"""The strategy's rules, by hand-worked values and at their edges; compiled, they give the same bits."""

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.records import ENTER_CRASH_CATCH, ENTER_MEAN_REVERSION, EXIT_TAKE_PROFIT
from indicators import rules
from tests.indicator_tools import kernels

ANY = st.floats(allow_nan=True, allow_infinity=True)
EXTREMES = st.one_of(ANY, st.sampled_from([0.0, -0.0, 5e-324, 1e308, math.inf, -math.inf, math.nan, 100.0, 30.0]))
NOT_NEGATIVE = st.one_of(st.floats(min_value=0.0), st.just(math.nan), st.sampled_from([0.0, 5e-324, 1e308, math.inf]))


@pytest.mark.parametrize(
    ("gain", "loss", "expected"),
    [
        pytest.param(1.0, 1.0, 50.0, id="even"),
        pytest.param(3.0, 1.0, 75.0, id="three to one"),
        pytest.param(0.0, 2.0, 0.0, id="no gains"),
        pytest.param(2.0, 0.0, 100.0, id="no losses"),
        pytest.param(0.1, 0.0, 100.0, id="no losses, a gain that does not divide evenly"),
        pytest.param(0.0, 0.0, 50.0, id="no movement"),
    ],
)
def test_rsi_value(gain: float, loss: float, expected: float) -> None:
    assert rules.rsi_value(gain, loss) == expected


def test_rsi_needs_only_the_ratio() -> None:
    assert rules.rsi_value(6.0, 2.0) == rules.rsi_value(3.0, 1.0) == rules.rsi_value(0.75, 0.25)


def test_smoothing_constants() -> None:
    assert (rules.smoothing_keep(14, False), rules.smoothing_weight(14, False)) == (13.0, 1.0)
    assert rules.smoothing_scale(14, False) == 14.0
    assert rules.smoothing_keep(3, True) == 0.5
    assert rules.smoothing_weight(3, True) == 0.5
    assert rules.smoothing_scale(3, True) == 1.0


def test_gains_and_losses() -> None:
    assert (rules.gain_of(2.5), rules.loss_of(2.5)) == (2.5, 0.0)
    assert (rules.gain_of(-2.5), rules.loss_of(-2.5)) == (0.0, 2.5)
    assert (rules.gain_of(0.0), rules.loss_of(0.0)) == (0.0, 0.0)


def test_bands_of_a_window_worked_by_hand() -> None:
    # Closes 10, 12, 11 and the forming price 13: mean 11.5, population deviation sqrt(1.25).
    last, price = 11.0, 13.0
    sum1, sum2 = (10 - last) + (12 - last), (10 - last) ** 2 + (12 - last) ** 2
    mean = rules.band_offset(sum1, price - last, 0.25)
    deviation = rules.band_deviation(sum2, price - last, mean, 0.25)
    assert last + mean == 11.5
    assert deviation == pytest.approx(math.sqrt(1.25), rel=1e-15)
    assert rules.band_lower(11.5, 1.0, 2.0) == 9.5
    assert rules.band_upper(11.5, 1.0, 2.0) == 13.5


def test_a_flat_window_has_no_deviation() -> None:
    assert rules.band_deviation(0.0, 0.0, rules.band_offset(0.0, 0.0, 1 / 20), 1 / 20) == 0.0


@pytest.mark.parametrize(
    ("rsi", "price", "lower", "expected"),
    [
        pytest.param(29.9, 99.0, 100.0, ENTER_MEAN_REVERSION, id="low and under the band"),
        pytest.param(30.0, 99.0, 100.0, 0, id="rsi at the limit"),
        pytest.param(29.9, 100.0, 100.0, 0, id="price at the band"),
        pytest.param(29.9, 101.0, 100.0, 0, id="over the band"),
        pytest.param(19.9, 101.0, 100.0, ENTER_CRASH_CATCH, id="crash over the band"),
        pytest.param(19.9, 99.0, 100.0, ENTER_CRASH_CATCH, id="both hold: crash wins"),
        pytest.param(20.0, 101.0, 100.0, 0, id="rsi at the crash limit"),
        pytest.param(math.nan, 99.0, 100.0, 0, id="no rsi yet"),
        pytest.param(29.9, 99.0, math.nan, 0, id="no band yet"),
    ],
)
def test_entry_reason(rsi: float, price: float, lower: float, expected: int) -> None:
    assert rules.entry_reason(rsi, price, lower, 30.0, 20.0) == expected


def test_take_profit() -> None:
    assert rules.take_profit(70.1, 70.0)
    assert not rules.take_profit(70.0, 70.0)
    assert not rules.take_profit(math.nan, 70.0)
    assert (rules.exit_code(70.1, 70.0), rules.exit_code(69.0, 70.0)) == (EXIT_TAKE_PROFIT, 0)


def test_trailing_stop() -> None:
    keep = rules.keep_factor(0.005)
    assert keep == 1.0 - 0.005
    assert rules.trailing_stop(99.5, 100.0, keep)
    assert not rules.trailing_stop(99.51, 100.0, keep)
    assert rules.trailing_stop(100.0 * keep, 100.0, keep)


@pytest.mark.parametrize(
    ("warmup", "bands", "rsi", "needed"),
    [(50, 20, 14, 50), (5, 20, 14, 19), (5, 5, 14, 14), (1, 2, 1, 1)],
)
def test_candles_needed(warmup: int, bands: int, rsi: int, needed: int) -> None:
    assert rules.candles_needed(warmup, bands, rsi) == needed


def bits(value: float | int | bool) -> bytes:
    """The value's bits, all nans alike: which nan it is differs between processors."""
    if isinstance(value, float) and math.isnan(value):
        return b"nan"
    return struct.pack("<d", value) if isinstance(value, float) else struct.pack("<q", int(value))


def same_bits(function: object, *arguments: float) -> None:
    plain = function(*arguments)  # type: ignore[operator]
    machine = kernels().jit_rule(function)(*arguments)
    assert bits(machine) == bits(plain), (function, arguments, plain, machine)


@settings(max_examples=300, deadline=None)
@given(NOT_NEGATIVE, NOT_NEGATIVE)
def test_rsi_has_the_same_bits_compiled(gain: float, loss: float) -> None:
    same_bits(rules.rsi_value, gain, loss)


@settings(max_examples=300, deadline=None)
@given(EXTREMES, EXTREMES, EXTREMES, EXTREMES, EXTREMES)
def test_all_other_rules_have_the_same_bits_compiled(a: float, b: float, c: float, d: float, e: float) -> None:
    same_bits(rules.gain_of, a)
    same_bits(rules.loss_of, a)
    same_bits(rules.smoothed_total, a, b, c)
    same_bits(rules.next_carry, a, b, c)
    same_bits(rules.band_offset, a, b, c)
    same_bits(rules.band_deviation, a, b, c, d)
    same_bits(rules.band_lower, a, b, c)
    same_bits(rules.band_upper, a, b, c)
    same_bits(rules.entry_reason, a, b, c, d, e)
    same_bits(rules.take_profit, a, b)
    same_bits(rules.exit_code, a, b)
    same_bits(rules.keep_factor, a)
    same_bits(rules.trailing_stop, a, b, c)


@settings(deadline=None)
@given(st.integers(1, 500), st.booleans())
def test_constants_have_the_same_bits_compiled(period: int, ema: bool) -> None:
    same_bits(rules.smoothing_keep, period, ema)
    same_bits(rules.smoothing_weight, period, ema)
    same_bits(rules.smoothing_scale, period, ema)
