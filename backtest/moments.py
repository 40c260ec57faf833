"""Mean and spread of values that come one at a time: the same bits in a report and in a sweep's compiled loop.

Source: B. P. Welford, Note on a Method for Calculating Corrected Sums of Squares and Products, Technometrics 4(3),
1962.
"""

from collections.abc import Iterable


def with_value(count: int, mean: float, spread: float, value: float) -> tuple[float, float]:
    """Mean and spread (sum of squared distances from the mean) with one more value, the `count`th."""
    away = value - mean
    mean = mean + away / count
    return mean, spread + away * (value - mean)


def moments_of(values: Iterable[float]) -> tuple[float, float]:
    """Mean and spread of values in their order; the spread is 0 where all are equal."""
    mean = spread = 0.0
    for count, value in enumerate(values, 1):
        mean, spread = with_value(count, mean, spread, value)
    return mean, spread
