"""How a run's outcome changes with what it cost: the same market again with other fees, latency and slippage.

Fees and slippage change the money of every fill; latency changes at which trades an order fills. Through the wallet, a
position that lasts longer or a limit that is reached, each of them can also change the decisions: each row says whether
it did.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec
import numpy as np

from backtest.legs import legs_table
from backtest.result import Array, Result
from backtest.stats import Statistics, statistics_of
from core.errors import MisconfiguredError
from core.money import plain

FEE_FACTORS = ("0.5", "1", "1.5", "2")
LATENCIES_MS = ("0", "100", "250", "500", "1000")
SLIPPAGES_BPS = ("0", "1", "2", "5")
MOST_RUNS = 32
SHORT_NAMES = {"TAKER_FEE_BPS": "fee", "PAPER_LATENCY_MS": "latency", "SLIPPAGE_BPS": "slippage"}
_MOST_FEE_BPS = Decimal(1000)

Run = Callable[[dict[str, str]], Result]


class Variation(msgspec.Struct, frozen=True):
    """One other setting to run with."""

    setting: str  # TAKER_FEE_BPS, PAPER_LATENCY_MS, SLIPPAGE_BPS or any other that an engine takes
    value: str
    label: str = ""  # for a person; the value where it is empty


class Row(msgspec.Struct, frozen=True):
    """What a variation made. Amounts in quote currency, the rest parts of one.

    * net_change: its net profit less that of the run
    * same_decisions: whether it decided the same actions for the same reasons at the same trades
    * other_decisions: how many of its decisions and of the run's the other does not have
    """

    setting: str
    value: str
    label: str
    in_force: bool  # the run itself has this value
    legs: int
    net_profit: Decimal
    return_fraction: float | None
    net_change: Decimal
    win_rate: float | None
    profit_factor: float | None
    drawdown_fraction: float
    same_decisions: bool
    other_decisions: int


def plan_of(result: Result) -> list[Variation]:
    """The usual variations around a run: its fee times 0.5 to 2, latencies of 0 to 1,000 ms, slippage of 0 to 5 bps.

    Latency is left out with PAPER_FILL=instant, which knows none, fees where there is none.
    """
    fee_bps = Decimal(result.fee) / 100
    plan = []
    for factor in FEE_FACTORS:
        value = (fee_bps * Decimal(factor)).quantize(Decimal("0.01"))
        if fee_bps > 0 and value <= _MOST_FEE_BPS:
            plan.append(Variation("TAKER_FEE_BPS", plain(value), f"{plain(value)} bps ({factor} x)"))
    if result.settings["PAPER_FILL"] == "tape":
        plan += [Variation("PAPER_LATENCY_MS", value, f"{value} ms") for value in LATENCIES_MS]
    plan += [Variation("SLIPPAGE_BPS", value, f"{value} bps") for value in SLIPPAGES_BPS]
    return plan


def sensitivity(run: Run, result: Result, plan: Sequence[Variation] | None = None) -> list[Row]:
    """A row for each variation, in the order of the plan; one that the run itself has is not run again.

    `run` makes the same run with some settings replaced, by name. Raises MisconfiguredError beyond 32 variations.
    """
    plan = plan_of(result) if plan is None else plan
    if len(plan) > MOST_RUNS:
        raise MisconfiguredError(
            f"{len(plan)} variations of a run are asked for: at most {MOST_RUNS} are made; use sweep for more"
        )
    base = statistics_of(result)
    rows = []
    for variation in plan:
        in_force = has(result, variation)
        other = result if in_force else run({variation.setting: variation.value})
        rows.append(row_of(variation, result, base, other, in_force))
    return rows


def has(result: Result, variation: Variation) -> bool:
    """Whether a run has this value in force; the fee may come from the venue."""
    if variation.setting == "TAKER_FEE_BPS":
        return Decimal(variation.value) * 100 == result.fee
    text = result.settings[variation.setting]
    try:
        return Decimal(text) == Decimal(variation.value)
    except ArithmeticError:
        return text == variation.value


def row_of(variation: Variation, result: Result, base: Statistics, other: Result, in_force: bool) -> Row:
    """What one variation made, beside the run."""
    told = base if in_force else statistics_of(other, legs_table(other))
    differing = 0 if in_force else differing_decisions(result, other)
    return Row(
        setting=variation.setting,
        value=variation.value,
        label=variation.label or variation.value,
        in_force=in_force,
        legs=told.trading.legs,
        net_profit=told.money.net_profit,
        return_fraction=told.money.return_fraction,
        net_change=told.money.net_profit - base.money.net_profit,
        win_rate=told.trading.win_rate,
        profit_factor=told.trading.profit_factor,
        drawdown_fraction=told.drawdown.fraction,
        same_decisions=differing == 0,
        other_decisions=differing,
    )


def differing_decisions(one: Result, other: Result) -> int:
    """Decisions that only one of two runs made; a decision is its trade, pair, action and reason."""
    first, second = (_keys(result.decisions) for result in (one, other))
    return len(np.setxor1d(first, second))


def _keys(decisions: Array) -> Array:
    """The trade's number with pair, action and reason, as bytes to compare."""
    keys = np.zeros(len(decisions), np.dtype([("number", ">i8"), ("pair", ">u4"), ("action", "u1"), ("reason", "u1")]))
    for name in keys.dtype.names or ():
        keys[name] = decisions[name]
    found: Array = keys.view(f"V{keys.dtype.itemsize}")
    return found
