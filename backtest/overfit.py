"""How much of the best result of many is luck: the deflated Sharpe ratio and a permutation test.

Sharpe ratios here are per observation (mean over standard deviation of the returns given, not annualised): the formulas
want them so. Sources: Bailey and López de Prado, "The Sharpe Ratio Efficient Frontier" (2012) for the probabilistic
Sharpe ratio, "The Deflated Sharpe Ratio" (2014) for the expected maximum of many trials.
"""

from math import e, isfinite, sqrt
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

EULER_MASCHERONI = 0.5772156649015329
FEWEST = 10  # returns below which nothing can be said of their shape
_NORMAL = NormalDist()


class Deflated(NamedTuple):
    """What the best of `trials` Sharpe ratios is worth."""

    trials: int
    observations: int  # returns of the best combination
    sharpe: float  # of the best combination, per return
    by_chance: float  # the best to be expected of so many trials without any skill
    probability: float  # that the true Sharpe ratio is above `by_chance`: the deflated Sharpe ratio


def sharpe(returns: Array) -> float | None:
    """Mean over sample standard deviation; None below two returns or without spread."""
    if len(returns) < 2:
        return None
    spread = float(np.std(returns, ddof=1))
    found = float(np.mean(returns)) / spread if spread > 0.0 else None
    return found if found is not None and isfinite(found) else None


def expected_maximum(trials: int, variance: float) -> float:
    """The best Sharpe ratio to be expected of `trials` independent ones without skill, their variance given.

    sqrt(variance) * ((1 - g) * Z(1 - 1/N) + g * Z(1 - 1/(N e))), g the Euler-Mascheroni constant, Z the normal
    quantile; 0 for a single trial.
    """
    if trials < 2 or variance <= 0.0:
        return 0.0
    high = _NORMAL.inv_cdf(1.0 - 1.0 / trials)
    higher = _NORMAL.inv_cdf(1.0 - 1.0 / (trials * e))
    return sqrt(variance) * ((1.0 - EULER_MASCHERONI) * high + EULER_MASCHERONI * higher)


def probabilistic_sharpe(returns: Array, benchmark: float) -> float | None:
    """The probability that the true Sharpe ratio is above `benchmark`, by length, skew and kurtosis of the returns.

    Phi((SR - benchmark) * sqrt(n - 1) / sqrt(1 - skew * SR + (kurtosis - 1) / 4 * SR^2)); None below FEWEST returns.
    """
    observed = sharpe(returns)
    if observed is None or len(returns) < FEWEST:
        return None
    centred = returns - np.mean(returns)
    second = float(np.mean(centred * centred))
    skew = float(np.mean(centred**3)) / second**1.5
    kurtosis = float(np.mean(centred**4)) / (second * second)
    doubt = 1.0 - skew * observed + (kurtosis - 1.0) / 4.0 * observed * observed
    if doubt <= 0.0:
        return None
    return _NORMAL.cdf((observed - benchmark) * sqrt(len(returns) - 1) / sqrt(doubt))


def deflated(best_returns: Array, sharpes: Array, trials: int) -> Deflated | None:
    """The deflated Sharpe ratio of the best of `trials` combinations.

    best_returns: per leg (or per day) of the best one. sharpes: those of all combinations for which there is one.
    Combinations that resemble each other count as if they were independent, which is against us. None where there are
    too few returns or ratios to say anything.
    """
    known = sharpes[np.isfinite(sharpes)]
    observed = sharpe(best_returns)
    if observed is None or len(known) < 2:
        return None
    by_chance = expected_maximum(trials, float(np.var(known, ddof=1)))
    probability = probabilistic_sharpe(best_returns, by_chance)
    if probability is None:
        return None
    return Deflated(trials, len(best_returns), observed, by_chance, probability)


class Permuted(NamedTuple):
    """The best total of many combinations, held against the best that chance makes of the same profits."""

    rounds: int
    blocks: int  # stretches of market time in which somebody traded
    best: float
    by_chance_median: float  # of the best total over the rounds
    by_chance_95: float  # its 95th percentile
    p_value: float  # share of rounds whose best was at least ours, the run itself counted in


def permutation_test(profits: Array, rounds: int, seed: int) -> Permuted | None:
    """Sign-flip test of the best total profit: without skill a stretch of time is as often lost as won.

    profits: shape (combinations, blocks), profit by block of market time. Each round flips a fair coin a block, the
    same for all combinations (they trade one market, so their luck is shared), turns the signs and takes the best
    total. None below FEWEST blocks in which anybody traded.
    """
    traded = profits[:, np.any(profits != 0.0, axis=0)] if profits.size else profits
    blocks = traded.shape[1] if traded.ndim == 2 else 0
    if blocks < FEWEST or not len(traded):
        return None
    best = float(traded.sum(axis=1).max())
    generator = np.random.default_rng(seed)
    found = np.empty(rounds)
    for at in range(rounds):
        found[at] = (traded @ generator.choice((-1.0, 1.0), blocks)).max()
    p_value = (1.0 + float((found >= best).sum())) / (rounds + 1.0)
    return Permuted(rounds, blocks, best, float(np.median(found)), float(np.quantile(found, 0.95)), p_value)
