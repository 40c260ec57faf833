"""How much of the best of a sweep is luck: the two tests of `backtest.overfit` on what it found."""

from typing import NamedTuple

import numpy as np

from backtest.legs import legs_table
from backtest.overfit import Deflated, Permuted, deflated, permutation_test
from backtest.result import Result
from backtest.stats_legs import leg_returns
from backtest.sweep import BLOCKS, SEED, Swept
from backtest.sweep_figures import block_profits
from backtest.sweep_group import Window

ROUNDS = 1_000
UNIT = 1e8


class Luck(NamedTuple):
    """What is to be said against the best of a sweep."""

    tried: int  # combinations that were run
    sampled: int  # of them in the permutation test
    deflated: Deflated | None  # on the returns of the best one's legs; None where there are too few
    permuted: Permuted | None  # on profits by block of market time, in quote currency; None likewise


def luck_of(swept: Swept, best: int, result: Result, span: Window) -> Luck:
    """The two tests. best: place of the best combination, result: its whole run, span: of the market."""
    legs = legs_table(result)
    ran = swept.rows[swept.ran]
    inside = swept.ran[swept.sampled]
    profits = swept.profits[inside]
    if best not in swept.sampled:
        own = block_profits(legs, span.first_ns, span.end_ns - 1, BLOCKS)
        profits = np.concatenate([profits, own[None, :]])
    return Luck(
        tried=len(ran),
        sampled=len(profits),
        deflated=deflated(leg_returns(legs), ran["sharpe_leg"], len(ran)),
        permuted=permutation_test(profits / UNIT, ROUNDS, SEED),
    )
