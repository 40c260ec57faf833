"""What a run makes of other costs: the plan, the rows, and which of them decide otherwise."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from backtest.result import Result
from backtest.sensitivity import Variation, differing_decisions, plan_of, sensitivity
from core.errors import MisconfiguredError
from tests.backtest_results import HOUR, Account


def a_run(fee_bps: str = "10", legs: int = 3, **settings: str) -> Result:
    """So many legs from 100 to 110."""
    account = Account(fee_bps=fee_bps, settings=settings)
    for at in range(legs):
        account.leg(at * HOUR, 100, 110)
    return account.result()


def test_the_usual_plan() -> None:
    plan = [(item.setting, item.value) for item in plan_of(a_run())]
    assert plan == [
        *(("TAKER_FEE_BPS", value) for value in ("5", "10", "15", "20")),
        *(("PAPER_LATENCY_MS", value) for value in ("0", "100", "250", "500", "1000")),
        *(("SLIPPAGE_BPS", value) for value in ("0", "1", "2", "5")),
    ]
    assert plan_of(a_run())[0].label == "5 bps (0.5 x)"


def test_instant_fills_know_no_latency_and_no_fee_cannot_be_doubled() -> None:
    plan = plan_of(a_run("0", PAPER_FILL="instant"))
    assert {item.setting for item in plan} == {"SLIPPAGE_BPS"}


def test_rows_say_what_changes() -> None:
    asked = []

    def run(overrides: dict[str, str]) -> Result:
        asked.append(overrides)
        return a_run(overrides["TAKER_FEE_BPS"])

    plan = [Variation("TAKER_FEE_BPS", value) for value in ("0", "10", "20")]
    free, same, double = sensitivity(run, a_run(), plan)
    assert asked == [{"TAKER_FEE_BPS": "0"}, {"TAKER_FEE_BPS": "20"}]  # what is in force is not run again
    assert (same.in_force, same.net_profit, same.net_change) == (True, Decimal("29.37"), 0)  # 30 - 3 x 0.21
    assert (free.net_profit, free.net_change) == (Decimal(30), Decimal("0.63"))
    assert (double.net_profit, double.net_change) == (Decimal("28.74"), Decimal("-0.63"))
    assert free.same_decisions and double.same_decisions and free.legs == 3
    assert free.label == "0"


def test_a_row_that_decides_otherwise_is_marked() -> None:
    (row,) = sensitivity(lambda overrides: a_run(legs=2), a_run(), [Variation("PAPER_LATENCY_MS", "500")])
    assert not row.same_decisions and row.other_decisions == 2  # the entry and the exit of the third leg


@pytest.mark.parametrize("field", ["number", "pair", "action", "reason"])
def test_decisions_differ_by_trade_pair_action_and_reason(field: str) -> None:
    one = a_run()
    other = replace(one, decisions=one.decisions.copy())
    assert differing_decisions(one, other) == 0
    other.decisions[field][0] = 77
    assert differing_decisions(one, other) == 2


def test_lots_alone_are_no_other_decision() -> None:
    one = a_run()
    other = replace(one, decisions=one.decisions.copy())
    other.decisions["lots"] += 1
    other.decisions["rsi"] = np.nan
    assert differing_decisions(one, other) == 0


def test_too_many_variations_are_refused() -> None:
    plan = [Variation("SLIPPAGE_BPS", str(value)) for value in range(33)]
    with pytest.raises(MisconfiguredError, match=r"33 variations .* at most 32 .* use sweep"):
        sensitivity(lambda overrides: a_run(), a_run(), plan)


def test_a_fee_in_force_is_known_by_its_number() -> None:
    asked: list[dict[str, str]] = []

    def run(overrides: dict[str, str]) -> Result:
        asked.append(overrides)
        return a_run()

    rows = sensitivity(run, a_run(), [Variation("TAKER_FEE_BPS", "10.00"), Variation("SLIPPAGE_BPS", "0.0")])
    assert [row.in_force for row in rows] == [True, True] and not asked
