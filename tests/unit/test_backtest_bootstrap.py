"""Confidence intervals: they cover what they should, the same seed gives the same, and none says why."""

import math

import msgspec
import numpy as np
import pytest

from backtest import bootstrap
from backtest.bootstrap import Intervals, bca, blocks_of, features, intervals, intervals_of, resampled, stationary
from backtest.legs import LEG
from backtest.result import Array
from backtest.stats import statistics_of
from tests.backtest_results import HOUR, Account

NO_DAYS = np.zeros(0)


def legs_of_profits(profits: Array) -> Array:
    """Legs of a stake of 100 with these profits in quote currency."""
    legs = np.zeros(len(profits), LEG)
    legs["profit"] = np.round(np.asarray(profits) * 1e8)
    legs["cost"] = 100 * 10**8
    return legs


def of(profits: Array, seed: int = 1, resamples: int = 1_000) -> Intervals:
    return intervals(legs_of_profits(profits), NO_DAYS, seed, resamples=resamples)


def test_95_of_100_intervals_cover_the_truth() -> None:
    """Skewed profits, whose mean is 1 and of which 1 - exp(-1) - the share below 0 - is known."""
    rng = np.random.default_rng(11)
    trials, mean, rate, total = 300, 0, 0, 0
    for trial in range(trials):
        found = of(rng.exponential(2.0, 60) - 1.0, seed=trial, resamples=600)
        assert found.expectancy.low is not None and found.expectancy.high is not None
        assert found.win_rate.low is not None and found.win_rate.high is not None
        assert found.total_profit.low is not None and found.total_profit.high is not None
        mean += found.expectancy.low <= 1.0 <= found.expectancy.high
        rate += found.win_rate.low <= math.exp(-0.5) <= found.win_rate.high
        total += found.total_profit.low <= 60.0 <= found.total_profit.high
    assert 0.90 <= mean / trials <= 0.985
    assert 0.90 <= rate / trials <= 0.985
    assert total == mean


def test_profit_factor_of_a_known_distribution_is_covered() -> None:
    # Normal with mean 0: wins and losses are alike, the profit factor is 1.
    rng = np.random.default_rng(12)
    trials, covered = 200, 0
    for trial in range(trials):
        found = of(rng.normal(0.0, 1.0, 80), seed=trial, resamples=600).profit_factor
        assert found.low is not None and found.high is not None
        covered += found.low <= 1.0 <= found.high
    assert 0.90 <= covered / trials <= 0.985


def test_the_interval_of_normal_profits_is_that_of_the_textbook() -> None:
    # For a mean of n normal values the bounds are mean -+ 1.96 deviation / sqrt(n).
    profits = np.random.default_rng(5).normal(1.0, 3.0, 2_000)
    found = of(profits, resamples=4_000).expectancy
    half = 1.96 * profits.std(ddof=1) / math.sqrt(2_000)
    assert found.low == pytest.approx(profits.mean() - half, abs=0.012)
    assert found.high == pytest.approx(profits.mean() + half, abs=0.012)


def test_estimates_are_the_statistics() -> None:
    account = Account()
    for at in range(20):
        account.leg(at * HOUR, 100, 100 + (at * 7 % 11) - 4)
    result = account.result()
    found, told = intervals_of(result, 3), statistics_of(result).trading
    assert found.expectancy.estimate == pytest.approx(told.expectancy)
    assert found.expectancy_return.estimate == pytest.approx(told.expectancy_return)
    assert found.win_rate.estimate == pytest.approx(told.win_rate)
    assert found.profit_factor.estimate == pytest.approx(told.profit_factor)
    assert found.total_profit.estimate == pytest.approx(float(told.won + told.lost))
    assert found.chance_of_profit is not None and 0.5 < found.chance_of_profit <= 1
    assert (found.legs, found.blocks, found.resamples, found.level) == (20, 20, 10_000, 0.95)


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others() -> None:
    profits = np.random.default_rng(2).normal(0.1, 1.0, 50)
    assert of(profits, seed=7) == of(profits, seed=7)
    assert of(profits, seed=7).expectancy != of(profits, seed=8).expectancy


@pytest.mark.parametrize(("count", "expected"), [(0, None), (1, 2.0), (9, 2.0)])
def test_few_legs_have_no_interval_and_say_so(count: int, expected: float | None) -> None:
    found = of(np.full(count, 2.0))
    for interval in (found.expectancy, found.win_rate, found.profit_factor, found.total_profit):
        assert interval.low is None and interval.high is None
        assert interval.reason == f"{count} legs: at least 10 are needed"
    assert found.expectancy.estimate == expected
    assert found.chance_of_profit is None
    assert found.sharpe.reason == "0 days: at least 60 are needed"


def test_legs_that_all_won_have_no_interval_of_rate_and_factor() -> None:
    found = of(np.arange(1.0, 31.0))
    assert (found.win_rate.estimate, found.win_rate.low, found.win_rate.reason) == (1.0, None, "every leg won")
    assert found.profit_factor.estimate is None
    assert found.profit_factor.reason == "30 wins and 0 losses: at least 5 of each are needed"
    assert found.expectancy.low is not None and found.expectancy.low > 0
    assert found.chance_of_profit == 1.0
    assert of(-np.arange(1.0, 31.0)).win_rate.reason == "no leg won"


def test_equal_legs_have_an_interval_of_one_point() -> None:
    found = of(np.full(20, 2.0)).expectancy
    assert found.low == found.high == found.estimate == 2.0


def test_a_drawing_without_losses_leaves_the_factor_open_above() -> None:
    drawn = np.array([1.0] * 50 + [np.inf] * 50)
    low, high = bca(1.0, drawn, np.array([1.0, 1.0]), 0.95)
    told = bootstrap.bounded(1.0, low, high)
    assert told.high is None and told.low == 1.0 and told.reason == "too few legs lost for a bound"


def test_bias_correction_moves_both_bounds() -> None:
    # Half of the drawings below the estimate is no bias: the percentile interval. A quarter below it moves the bounds
    # down: z0 = -0.6745, bounds at Phi(2 z0 -+ 1.96) = 0.05 % and 72.9 %.
    drawn = np.arange(10_000.0)
    even = bca(4_999.5, drawn, np.zeros(2), 0.95)
    assert even == pytest.approx((250, 9_750), abs=2)
    low, high = bca(2_499.5, drawn, np.zeros(2), 0.95)
    assert (low, high) == pytest.approx((5, 7_292), abs=3)


def test_many_legs_are_drawn_in_blocks_that_keep_every_leg() -> None:
    rows = features(legs_of_profits(np.random.default_rng(3).normal(0.0, 1.0, 12_345)))
    blocks = blocks_of(rows)
    assert len(blocks) <= bootstrap.MOST_BLOCKS
    assert blocks.sum(axis=0) == pytest.approx(rows.sum(axis=0))
    assert set(blocks[:-1, 0].tolist()) == {7.0}
    assert len(blocks_of(rows[:2_000])) == 2_000


def test_blocks_give_the_interval_of_the_legs() -> None:
    profits = np.random.default_rng(4).normal(0.5, 2.0, 10_000)
    found = of(profits, resamples=2_000)
    assert found.blocks == 2_000 and found.legs == 10_000
    half = 1.96 * profits.std() / 100
    assert found.expectancy.low == pytest.approx(profits.mean() - half, abs=0.005)
    assert found.expectancy.high == pytest.approx(profits.mean() + half, abs=0.005)


def test_a_drawing_takes_as_many_as_there_are() -> None:
    rows = features(legs_of_profits(np.arange(1.0, 30.0)))
    drawn = resampled(rows, 3_000, np.random.default_rng(1))
    assert (drawn[:, 0] == 29).all()
    assert drawn[:, 1].min() >= 29 and drawn[:, 1].max() <= 29 * 29
    assert drawn[:, 1].mean() == pytest.approx(29 * 15, rel=0.01)


def test_stretches_are_neighbours_and_wrap() -> None:
    drawn = stationary(1_000, 50, np.random.default_rng(6))
    assert drawn.min() >= 0 and drawn.max() < 1_000
    steps = (np.diff(drawn, axis=1) % 1_000) == 1
    # A stretch ends with probability 1/10 a step: nine of ten steps go to the neighbour.
    assert steps.mean() == pytest.approx(0.9, abs=0.01)
    assert np.bincount(drawn.ravel(), minlength=1_000).mean() == 50


def test_the_interval_of_sharpe_is_wider_where_days_hang_together() -> None:
    # Of independent days the deviation of the yearly ratio is about sqrt(365 / n); days that come in weeks alike have
    # fewer independent ones.
    rng = np.random.default_rng(8)
    alone = rng.normal(0.001, 0.01, 728)
    weeks = np.repeat(rng.normal(0.001, 0.01, 104), 7)
    one = intervals(legs_of_profits(NO_DAYS), alone, 1, resamples=1_000).sharpe
    other = intervals(legs_of_profits(NO_DAYS), weeks, 1, resamples=1_000).sharpe
    assert one.low is not None and one.high is not None and one.estimate is not None
    assert other.low is not None and other.high is not None
    assert one.low < one.estimate < one.high
    assert one.high - one.low == pytest.approx(2 * 1.96 * math.sqrt(365 / 728), rel=0.15)
    assert other.high - other.low > 1.5 * (one.high - one.low)


def test_equal_days_have_no_sharpe() -> None:
    found = intervals(legs_of_profits(NO_DAYS), np.full(100, 0.01), 1).sharpe
    assert found.estimate is None and found.reason == "all days returned the same"


def test_json_has_no_nan() -> None:
    for profits in (NO_DAYS, np.arange(1.0, 31.0), np.random.default_rng(1).normal(0, 1, 40)):
        assert b"NaN" not in msgspec.json.encode(of(profits, resamples=100))
