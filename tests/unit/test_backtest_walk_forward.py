"""Walk-forward: windows, the choice on each, the judgement on the next, all judged windows as one run."""

from typing import Any

import numpy as np
import pytest

from backtest.grid import grid_of
from backtest.legs import legs_table
from backtest.result import Result
from backtest.stats import statistics_of
from backtest.sweep import Markets, plan_of
from backtest.sweep_figures import FIGURES
from backtest.sweep_group import Figured, Group, Window, each_by_itself
from backtest.sweep_words import walk_words
from backtest.walk_forward import Step, better, durations_of, joined, steps_of, walk
from core.errors import MisconfiguredError
from core.settings import Settings
from core.settings_load import from_texts
from tests.backtest_results import DAY, HOUR, MINUTE, SECOND, T0, Account
from tests.unit.test_backtest_sweep import BASE, RECORDS_OF_ONE, by_columns

GOOD = {
    "days": ("30d:7d", 30 * DAY, 7 * DAY),
    "mixed units": ("36h:90m", 36 * HOUR, 90 * MINUTE),
    "seconds": ("120s:60s", 2 * MINUTE, MINUTE),
}


@pytest.mark.parametrize(("text", "fit_ns", "judge_ns"), GOOD.values(), ids=GOOD)
def test_durations_are_read(text: str, fit_ns: int, judge_ns: int) -> None:
    assert durations_of(text) == (fit_ns, judge_ns)


@pytest.mark.parametrize(
    "text", ["", "30d", "30d:", "30:7", "30d:7d:1d", "-3d:7d", "30w:7d", "3٣d:7d", "30d:59s", "0d:7d"]
)
def test_durations_that_are_none_are_named(text: str) -> None:
    with pytest.raises(MisconfiguredError, match="write TRAIN:TEST, as 30d:7d"):
        durations_of(text)


def test_steps_roll_by_the_judged_time_and_the_last_may_be_shorter() -> None:
    steps = steps_of(Window(T0 + 7 * SECOND, T0 + 5 * HOUR + 1), 2 * HOUR, HOUR + 30 * MINUTE)
    at = [[(ns - T0) / HOUR for window in step for ns in window] for step in steps]
    assert at[0] == [0, 2, 2, 3.5]
    assert at[1][:3] == [1.5, 3.5, 3.5] and steps[1].judge.end_ns == T0 + 5 * HOUR
    assert steps[2].judge == Window(T0 + 5 * HOUR, T0 + 5 * HOUR + 1) and len(steps) == 3


def test_a_market_that_is_too_short_or_windows_that_are_too_many_are_told() -> None:
    with pytest.raises(MisconfiguredError, match=r"lasts 0\.0417 days, to choose takes 30 of them"):
        steps_of(Window(T0, T0 + HOUR), 30 * DAY, DAY)
    with pytest.raises(MisconfiguredError, match="5,759 windows, at most 1,000 are run"):
        steps_of(Window(T0, T0 + 4 * DAY), MINUTE, MINUTE)


MADE = {30.0: (5, 6, -4, 2), 40.0: (3, 8, 1, -7)}  # by RSI_BUY: profit in hours 0, 1, 2, 3


class Worked:
    """A market whose runs are known: what each setting makes in each hour, by legs of one lot bought at 100."""

    form, reason, trades = "worked by hand", "", 0
    notes: tuple[str, ...] = ()
    span = Window(T0, T0 + 4 * HOUR)

    def prepare(self, settings: Settings) -> None:
        pass

    def run(self, settings: Settings, window: Window | None = None) -> Result:
        window = window or self.span
        hours = range((window.first_ns - T0) // HOUR, -(-(window.end_ns - T0) // HOUR))
        account = Account()
        for hour in hours:
            account.number = hour * 10
            account.leg(hour * HOUR + MINUTE, 100, 100 + MADE[settings.rsi_buy][hour])
        return account.result()

    def run_all(self, group: Group, window: Window | None = None, **options: Any) -> Figured:
        return each_by_itself(self, group, window, **options)


def worked(by: str = "net_profit") -> Any:
    base = from_texts({})
    plan = plan_of(grid_of(["RSI_BUY=30,40"], base), base)
    steps = steps_of(Worked.span, HOUR, HOUR)
    market: Any = Worked()
    return plan, walk(plan, Markets(lambda settings: market), steps, by)


def test_the_best_of_a_window_is_judged_on_the_next() -> None:
    """Hour 0: 30 made 5 and 40 made 3; hour 1: 6 and 8; hour 2: -4 and 1.

    So 30 is judged on hour 1 (6), 40 on hour 2 (1) and 40 on hour 3 (-7): 0 out of sample, of 5 + 8 + 1 = 14 in sample.
    """
    plan, walked = worked()
    assert [step.place for step in walked.steps] == [0, 1, 1]
    assert [int(step.fit["net_profit"][0]) / 1e8 for step in walked.steps] == [5, 8, 1]
    assert [int(step.judged["net_profit"][0]) / 1e8 for step in walked.steps] == [6, 1, -7]
    assert walked.efficiency == 0
    told = statistics_of(walked.joined)
    assert told.money.opening == 1_000 and told.money.closing == 1_000 and told.money.realized == 0
    assert (told.trading.wins, told.trading.losses) == (2, 1)
    assert told.drawdown.amount == 7
    worth = walked.joined.equity["balance"] + walked.joined.equity["position_value"]
    assert (worth[1::2] / 1e8).tolist() == [1_006, 1_007, 1_000]
    words = "\n".join(walk_words(walked, plan, "net_profit"))
    assert "in sample +14.00 (windows overlap), out of sample 0.00 in 3 legs" in words
    assert "+5.00 then        +6.00 in 1 legs  RSI_BUY=30" in words


def test_a_window_whose_figure_is_not_known_is_not_judged() -> None:
    plan, walked = worked("sharpe_leg")  # one leg a window has none
    assert [step.place for step in walked.steps] == [None, None, None]
    assert walked.joined is None and walked.efficiency is None
    assert "No window could be judged" in walk_words(walked, plan, "sharpe_leg")[-1]


def test_of_equals_the_first_in_the_grid_is_chosen() -> None:
    row = np.zeros(1, FIGURES)
    row["net_profit"] = 5
    best = better(None, 7, row, "net_profit")
    best = better(best, 3, row, "net_profit")
    best = better(best, 9, row, "net_profit")
    unknown = np.zeros(1, FIGURES)
    unknown["sharpe_leg"] = np.nan
    assert best is not None and best[1] == 3
    assert better(best, 1, None, "net_profit") == best
    assert better(None, 1, unknown, "sharpe_leg") is None


def test_judged_windows_of_a_market_join_to_one_run() -> None:
    """Money, legs, fills and equity of the whole are those of the parts, one behind the other."""
    plan = plan_of(grid_of(["RSI_BUY=30,50", "BB_PERIOD=5,8", "PAPER_BALANCE=10500,20000"], BASE), BASE)
    span = Window(int(RECORDS_OF_ONE["exchange_ns"][0]), int(RECORDS_OF_ONE["exchange_ns"][-1]) + 1)
    steps = steps_of(span, HOUR, 30 * MINUTE)
    assert len(steps) > 5
    walked = walk(plan, Markets(by_columns), steps, "net_profit", jobs=2)
    again = walk(plan, Markets(by_columns), steps, "net_profit", jobs=1)
    assert [step.place for step in walked.steps] == [step.place for step in again.steps]
    assert walked.joined is not None
    told = statistics_of(walked.joined)
    made = sum(int(step.judged["net_profit"][0]) for step in walked.steps)
    assert int(told.money.net_profit * 10**8) == made
    assert told.trading.legs == sum(int(step.judged["legs"][0]) for step in walked.steps)
    assert told.period.first_ms is not None and told.period.first_ms >= steps[0].judge.first_ns // 10**6
    assert (np.diff(walked.joined.equity["ns"]) >= 0).all()
    assert (walked.joined.fills["order"] == np.sort(walked.joined.fills["order"])).all()
    assert walked.joined.settings["RSI_BUY"] == "by window"


def test_choosing_sees_nothing_of_what_it_is_judged_on() -> None:
    """What comes behind a window changes nothing of the choice on it: the market is cut there and walked again."""
    plan = plan_of(grid_of(["RSI_BUY=30,40,50", "BB_STDDEV=0.5,1,1.5"], BASE), BASE)
    span = Window(int(RECORDS_OF_ONE["exchange_ns"][0]), int(RECORDS_OF_ONE["exchange_ns"][-1]) + 1)
    steps = steps_of(span, HOUR, HOUR)
    whole = walk(plan, Markets(by_columns), steps, "net_profit")
    market: Any = by_columns(BASE)
    border = steps[1].fit.end_ns
    step = Step(steps[1].fit, Window(border, border))
    cut = walk(plan, Markets(lambda settings: market), [step], "net_profit")
    assert cut.steps[0].place == whole.steps[1].place
    assert cut.steps[0].fit.tobytes() == whole.steps[1].fit.tobytes()


def test_legs_of_a_joined_run_keep_their_orders() -> None:
    first, second = Account().leg(MINUTE, 100, 107), Account(opening=500)
    second.number = 50
    second.leg(HOUR, 50, 45)
    whole = joined([first.result(), second.result()], ["RSI_BUY"])
    assert legs_table(whole)["profit"].tolist() == [7 * 10**8, -5 * 10**8]
    assert (whole.wallet, whole.realized) == (1_002 * 10**8, 2 * 10**8)
