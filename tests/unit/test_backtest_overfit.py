"""Deflated Sharpe ratio and permutation test on cases worked by hand and on chance itself."""

from math import sqrt
from statistics import NormalDist

import numpy as np
import pytest

from backtest.overfit import deflated, expected_maximum, permutation_test, probabilistic_sharpe, sharpe


def test_sharpe_is_mean_over_sample_deviation() -> None:
    # mean 2, deviations -1 0 1, sample variance 1
    assert sharpe(np.array([1.0, 2.0, 3.0])) == 2.0


@pytest.mark.parametrize("returns", [[], [1.0], [3.0, 3.0, 3.0]], ids=["none", "one", "no spread"])
def test_no_sharpe_where_it_is_not_defined(returns: list[float]) -> None:
    assert sharpe(np.array(returns)) is None


def test_expected_maximum_of_ten_trials() -> None:
    # Z(0.9) = 1.281552, Z(1 - 1/(10 e)) = Z(0.963212) = 1.789189; 0.422784 * 1.281552 + 0.577216 * 1.789189 = 1.574566
    assert expected_maximum(10, 1.0) == pytest.approx(1.5746, abs=2e-4)
    assert expected_maximum(10, 0.25) == pytest.approx(1.5746 / 2, abs=1e-4)


def test_expected_maximum_is_near_the_true_one_of_normal_trials() -> None:
    generator = np.random.default_rng(1)
    true = float(np.mean(generator.standard_normal((20_000, 100)).max(axis=1)))
    assert expected_maximum(100, 1.0) == pytest.approx(true, rel=0.02)


def test_a_single_trial_expects_nothing() -> None:
    assert expected_maximum(1, 1.0) == 0.0
    assert expected_maximum(10, 0.0) == 0.0


def test_probabilistic_sharpe_of_symmetric_returns() -> None:
    # Half 0.5, half -0.3 around the mean 0.1: skew 0, kurtosis 1, so the doubt is 1 and only the length counts.
    returns = np.array([0.5, -0.3] * 10)
    observed = 0.1 / np.std(returns, ddof=1)
    assert probabilistic_sharpe(returns, 0.0) == pytest.approx(NormalDist().cdf(observed * sqrt(19)))
    assert probabilistic_sharpe(returns, observed) == pytest.approx(0.5)


def test_too_few_returns_say_nothing() -> None:
    assert probabilistic_sharpe(np.array([0.5, -0.3, 0.2]), 0.0) is None
    assert deflated(np.array([0.5, -0.3, 0.2]), np.array([0.1, 0.2]), 2) is None


def test_the_best_of_many_without_skill_is_not_believed() -> None:
    generator = np.random.default_rng(2)
    tried = generator.standard_normal((200, 250))
    ratios = tried.mean(axis=1) / tried.std(axis=1, ddof=1)
    found = deflated(tried[int(ratios.argmax())], ratios, 200)
    assert found is not None
    assert found.probability < 0.9


def test_real_skill_is_believed() -> None:
    generator = np.random.default_rng(3)
    tried = generator.standard_normal((200, 250))
    tried[7] += 0.5
    ratios = tried.mean(axis=1) / tried.std(axis=1, ddof=1)
    found = deflated(tried[7], ratios, 200)
    assert found is not None
    assert found.probability > 0.99


def test_permutation_tells_skill_from_luck() -> None:
    generator = np.random.default_rng(4)
    luck = generator.standard_normal((50, 100))
    skill = luck.copy()
    skill[3] += 1.0
    by_luck = permutation_test(luck, 500, seed=5)
    by_skill = permutation_test(skill, 500, seed=5)
    assert by_luck is not None and by_skill is not None
    assert by_luck.p_value > 0.02
    assert by_skill.p_value == pytest.approx(1 / 501)
    assert by_skill.best > by_skill.by_chance_95


def test_permutation_counts_only_blocks_with_trades_and_repeats_with_its_seed() -> None:
    profits = np.zeros((2, 40))
    profits[0, :12] = [1.0, -1.0] * 6
    found = permutation_test(profits, 200, seed=1)
    assert found is not None
    assert found.blocks == 12
    assert found == permutation_test(profits, 200, seed=1)
    assert permutation_test(profits[:, :9], 200, seed=1) is None
