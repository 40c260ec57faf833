"""Every figure of a run on a case worked by hand; the numbers are worked in the comments."""

import json
import math
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest

from backtest.legs import LEG, legs_table
from backtest.result import CONFIRMED, CRASH_CATCH, GHOST, GHOST_UNKNOWN, TRAILING_STOP
from backtest.stats import statistics_of
from backtest.stats_equity import (
    Curve,
    daily_returns,
    drawdown,
    equity_curve,
    hold_curve,
    returns_of,
    sharpe,
    sortino,
)
from backtest.stats_legs import covered_ns, histogram, longest_run, return_histogram, round_width
from core.money import UNIT
from tests.backtest_results import DAY, HOUR, MINUTE, SECOND, T0, Account, a_market

T0_MS = T0 // 1_000_000


def four_legs(**more: Any) -> Account:
    """Won 10, lost 5, lost 4, won 3: each one lot, no costs."""
    account = Account(**more)
    for at, (bought, sold) in enumerate([(100, 110), (100, 95), (80, 76), (60, 63)]):
        account.leg(at * HOUR, bought, sold, held_ns=(at + 1) * MINUTE)
    return account


def test_what_the_legs_made() -> None:
    made = statistics_of(four_legs().result()).trading
    assert (made.legs, made.wins, made.losses, made.even) == (4, 2, 2, 0)
    assert made.win_rate == 0.5
    assert (made.won, made.lost) == (Decimal(13), Decimal(-9))
    assert (made.average_win, made.average_loss) == (6.5, -4.5)
    assert (made.median_win, made.median_loss) == (6.5, -4.5)
    assert (made.best, made.worst) == (Decimal(10), Decimal(-5))
    assert made.profit_factor == 13 / 9
    assert made.payoff_ratio == 6.5 / 4.5
    assert made.expectancy == 1.0  # (10 - 5 - 4 + 3) / 4
    # Returns 10/100, -5/100, -4/80, 3/60: 0.1, -0.05, -0.05, 0.05; their mean is 0.0125. All together 4 of 340.
    assert made.mean_return == pytest.approx(0.0125, rel=1e-15)
    assert made.expectancy_return == 4 / 340
    assert (made.best_return, made.worst_return) == (0.1, -0.05)
    assert (made.longest_losing_streak, made.longest_winning_streak) == (2, 1)
    # From the first trade to the last: 3 h and 4 min.
    assert made.legs_a_day == pytest.approx(4 / (184 / 1440))


def test_expectancy_is_win_rate_times_win_less_loss_rate_times_loss() -> None:
    made = statistics_of(four_legs(fee_bps="10").result()).trading
    assert made.win_rate and made.average_win and made.average_loss
    expected = made.win_rate * made.average_win + (1 - made.win_rate) * made.average_loss
    assert made.expectancy == pytest.approx(expected, rel=1e-12)


def test_an_even_leg_neither_wins_nor_loses_and_ends_a_streak() -> None:
    account = Account().leg(0, 100, 99).leg(HOUR, 100, 100).leg(2 * HOUR, 100, 98).leg(3 * HOUR, 100, 99)
    made = statistics_of(account.result()).trading
    assert (made.legs, made.wins, made.losses, made.even) == (4, 0, 3, 1)
    assert made.longest_losing_streak == 2
    assert made.win_rate == 0.0
    assert made.payoff_ratio is None and made.average_win is None and made.median_win is None
    assert made.profit_factor == 0.0


def test_without_a_losing_leg_there_is_no_profit_factor() -> None:
    made = statistics_of(Account().leg(0, 100, 110).result()).trading
    assert made.profit_factor is None and made.payoff_ratio is None and made.average_loss is None


def test_costs_against_profit_before_them() -> None:
    # Bought at 100 and sold at 110, 10 bps fee and 5 + 20 bps tax: notional 210; fees 0.1 + 0.11, taxes 0.05 + 0.22.
    account = Account(fee_bps="10", tax_buy_bps="5", tax_sell_bps="20").leg(0, 100, 110)
    cost = statistics_of(account.result()).costs
    assert cost.before_costs == Decimal(10)
    assert (cost.fees, cost.taxes) == (Decimal("0.21"), Decimal("0.27"))
    assert cost.net == Decimal("9.52")
    assert cost.cost_share == pytest.approx(0.048, rel=1e-15)  # 0.48 of 10
    assert cost.turnover == Decimal(210)
    assert cost.paid_bps == pytest.approx(0.48 / 210 * 10_000, rel=1e-15)
    assert cost.break_even_bps == pytest.approx(10 / 210 * 10_000, rel=1e-15)
    assert (cost.fees_paid, cost.taxes_paid) == (cost.fees, cost.taxes)


def test_at_the_break_even_cost_the_run_makes_nothing() -> None:
    # 100 -> 102 breaks even at 2 / 202 of the turnover: 99.0099 bps; the fee's step is 0.01 bps, 202 x that is 0.0002.
    assert statistics_of(Account().leg(0, 100, 102).result()).costs.break_even_bps == pytest.approx(99.0099, abs=1e-4)
    account = Account(fee_bps="99.01").leg(0, 100, 102)
    assert abs(statistics_of(account.result()).costs.net) < Decimal("0.0003")


def test_fees_of_an_open_position_are_paid_but_not_of_the_legs() -> None:
    cost = statistics_of(Account(fee_bps="10").leg(0, 100, 110).buy(HOUR, 100).result()).costs
    assert cost.fees == Decimal("0.21") and cost.fees_paid == Decimal("0.31")


def test_a_loss_before_costs_has_no_cost_share_and_a_break_even_below_zero() -> None:
    cost = statistics_of(Account(fee_bps="10").leg(0, 100, 90).result()).costs
    assert cost.cost_share is None
    assert cost.break_even_bps == pytest.approx(-10 / 190 * 10_000)


def test_holding_times_and_exposure() -> None:
    held = statistics_of(four_legs().result()).holding  # 1, 2, 3, 4 minutes of 184
    assert (held.mean_seconds, held.median_seconds) == (150.0, 150.0)
    assert (held.shortest_seconds, held.longest_seconds) == (60.0, 240.0)
    assert held.exposure == 10 / 184
    assert held.exposure_by_pair == {"B-BTC_USDT": 10 / 184}


def test_exposure_counts_time_of_two_pairs_once_and_open_positions_to_the_end() -> None:
    account = Account(markets=(a_market("A"), a_market("B")))
    account.buy(0, 100, pair=0).buy(10 * MINUTE, 50, pair=1).sell(20 * MINUTE, 101, pair=0)
    account.sell(30 * MINUTE, 51, pair=1).buy(50 * MINUTE, 100, pair=0).quote(60 * MINUTE, 100, pair=1)
    held = statistics_of(account.result()).holding
    assert held.exposure == 40 / 60  # 0 to 30 and 50 to 60
    assert held.exposure_by_pair == {"A": 30 / 60, "B": 20 / 60}


@pytest.mark.parametrize(
    ("intervals", "length"),
    [
        pytest.param([], 0, id="none"),
        pytest.param([(3, 5)], 2, id="one"),
        pytest.param([(0, 2), (5, 9)], 6, id="apart"),
        pytest.param([(0, 9), (2, 3), (8, 12)], 12, id="one inside, one over the end"),
        pytest.param([(5, 9), (0, 5)], 9, id="touching, in another order"),
    ],
)
def test_length_of_a_union(intervals: list[tuple[int, int]], length: int) -> None:
    starts, ends = (np.array([item[at] for item in intervals], np.int64) for at in (0, 1))
    assert covered_ns(starts, ends) == length


def test_the_account_before_and_after() -> None:
    # 1000 - (100 + 0.1) + (110 - 0.11) = 1009.79; then one bought at 100 for 100.1 and last seen at 104.
    account = Account(fee_bps="10").leg(0, 100, 110).buy(HOUR, 100).quote(2 * HOUR, 104)
    money = statistics_of(account.result()).money
    assert money.quote == "USDT"
    assert money.opening == Decimal(1000)
    assert money.closing == Decimal("1013.69")  # 909.69 in the wallet, 104 held
    assert money.net_profit == Decimal("13.69")
    assert money.return_fraction == pytest.approx(0.01369, rel=1e-12)
    assert money.realized == Decimal("9.79")
    assert money.unrealized == Decimal("3.796")  # 104 - 0.104 - 100.1
    assert money.dust_cost == 0
    (still,) = statistics_of(account.result()).open_positions
    assert (still.pair, still.quantity, still.cost, still.value) == ("B-BTC_USDT", 1, Decimal("100.1"), 104)
    assert still.since_ms == T0_MS + 3_600_000


def test_dust_counts_as_lost() -> None:
    # 4 bought for 400; 3 sold at 110 for 330, their share of the cost is 300; the fourth stays as dust.
    account = Account().buy(0, 100, 4).sell(HOUR, 110, 3, dust=True)
    told = statistics_of(account.result())
    assert told.money.closing == Decimal(930)
    assert (told.money.realized, told.money.dust_cost) == (Decimal(30), Decimal(100))
    assert told.money.net_profit == Decimal(-70)
    (left,) = told.dust
    assert (left.pair, left.quantity, left.cost) == ("B-BTC_USDT", 1, Decimal(100))
    assert told.trading.best_return == 0.1  # 30 of 300


def curve(*points: tuple[int, int]) -> Curve:
    """Equity by (ns after T0, quote currency)."""
    return Curve(np.array([T0 + at for at, _ in points]), np.array([value * UNIT for _, value in points]))


def test_drawdown_worked_by_hand() -> None:
    # 100 -> 120 -> 90 (down 30, 25 %) -> 130; 200 -> 155 (down 45, 22.5 %) -> 160 at the end.
    values = [100, 120, 100, 90, 130, 200, 155, 160]
    told = drawdown(curve(*((at * HOUR, value) for at, value in enumerate(values))))
    assert told.amount == Decimal(45)
    assert told.fraction == 0.25
    assert (told.peak_ms, told.valley_ms) == (T0_MS + 3_600_000, T0_MS + 3 * 3_600_000)
    assert told.recovered_ms == T0_MS + 4 * 3_600_000
    assert told.longest_seconds == 3 * 3600


@pytest.mark.parametrize(
    ("values", "fraction", "longest_hours"),
    [
        pytest.param([100, 101, 102], 0.0, 0, id="only up"),
        pytest.param([100, 100, 100], 0.0, 0, id="flat"),
        pytest.param([100, 80], 0.2, 1, id="down at the last row"),
        pytest.param([100, 80, 70, 60], 0.4, 3, id="never back"),
        pytest.param([100, 90, 100], 0.1, 2, id="back to the peak is recovered"),
        pytest.param([100], 0.0, 0, id="one point"),
    ],
)
def test_drawdowns(values: list[int], fraction: float, longest_hours: int) -> None:
    told = drawdown(curve(*((at * HOUR, value) for at, value in enumerate(values))))
    assert told.fraction == pytest.approx(fraction)
    assert told.longest_seconds == longest_hours * 3600
    assert (told.recovered_ms is None) == (values[-1] != 100 or not fraction)


def test_a_drawdown_begins_at_the_opening_balance() -> None:
    told = statistics_of(Account().leg(0, 100, 50).result()).drawdown
    assert (told.amount, told.fraction) == (Decimal(50), 0.05)


def test_equity_begins_with_the_opening_balance_and_ends_with_the_last_prices() -> None:
    result = Account().quote(0, 100, row=False).buy(HOUR, 100).quote(2 * HOUR, 90, row=False).result()
    found = equity_curve(result)
    assert found.ns.tolist() == [T0, T0 + HOUR, T0 + 2 * HOUR]
    assert found.units.tolist() == [1000 * UNIT, 1000 * UNIT, 990 * UNIT]


def test_daily_returns_take_the_last_row_of_each_day_and_0_for_empty_days() -> None:
    points = curve((HOUR, 100), (5 * HOUR, 104), (20 * HOUR, 110), (DAY, 121), (3 * DAY + HOUR, 60))
    assert daily_returns(points, 0) == pytest.approx([0.1, 0.1, 0.0, 60 / 121 - 1])
    # With days that begin at 22:00 UTC (120 minutes ahead) the row at 24 h is on the second day still, that of 20 h on
    # the first; the last row is on the fourth, at 01:00.
    assert len(daily_returns(points, 2 * HOUR)) == 4
    # Days that begin at 05:00 UTC: the first row is on the day before.
    shifted = daily_returns(points, -5 * HOUR)
    assert shifted == pytest.approx([0.0, 121 / 100 - 1, 0.0, 60 / 121 - 1])


def test_sharpe_and_sortino_worked_by_hand() -> None:
    # Returns 3 %, -1 %, 2 %, 0: mean 1 %; squared distances 4, 4, 1, 1 of 1e-4: sample variance 10/3 e-4.
    returns = np.array([0.03, -0.01, 0.02, 0.0])
    assert sharpe(returns) == pytest.approx(0.01 / math.sqrt(10 / 3 * 1e-4))
    # Downside: only -1 % of four: sqrt(1e-4 / 4) = 0.005.
    assert sortino(returns) == pytest.approx(2.0)


@pytest.mark.parametrize(
    "returns",
    [pytest.param([], id="none"), pytest.param([0.01], id="one"), pytest.param([0.01, 0.01], id="all equal")],
)
def test_no_ratio_where_nothing_varies(returns: list[float]) -> None:
    assert sharpe(np.array(returns)) is None
    assert sortino(np.array(returns)) is None


def test_yearly_ratios_need_30_days_and_growth_a_year() -> None:
    ups = [(at * DAY, 1000 + at * 10 + at % 3 * 25) for at in range(400)]
    leg_returns = np.array([0.1, -0.05])
    short = returns_of(curve(*ups[:29]), leg_returns, 0, 0.1)
    assert (short.days, short.sharpe, short.sortino, short.cagr, short.calmar) == (29, None, None, None, None)
    assert short.sharpe_leg == sharpe(leg_returns) and short.sortino_leg == sortino(leg_returns)
    month = returns_of(curve(*ups[:30]), leg_returns, 0, 0.1)
    daily = daily_returns(curve(*ups[:30]), 0)
    assert sharpe(daily) is not None
    assert month.sharpe == pytest.approx(sharpe(daily) * math.sqrt(365))  # type: ignore[operator]
    assert month.sortino == pytest.approx(sortino(daily) * math.sqrt(365))  # type: ignore[operator]
    assert month.cagr is None


def test_growth_a_year_worked_by_hand() -> None:
    # Two years of 365 days from 100 to 144: 20 % a year; over a deepest fall of 40 %: 0.5.
    told = returns_of(curve((0, 100), (730 * DAY, 144)), np.zeros(0), 0, 0.4)
    assert told.cagr == pytest.approx(0.2)
    assert told.calmar == pytest.approx(0.5)


def test_holding_the_pair_pays_one_entry_and_one_exit() -> None:
    # 1000 at 1 % fee buys 1000 / 1.01 / 100 = 9.90099; at 120 that is 1188.1188, less 1 %: 1176.2376.
    account = Account(fee_bps="100").quote(0, 100).quote(HOUR, 120)
    told = statistics_of(account.result()).buy_and_hold
    assert told.stake == Decimal(1000)
    assert float(told.profit) == pytest.approx(176.237623, abs=1e-6)
    assert told.return_fraction == pytest.approx(0.176237623, abs=1e-9)
    assert told.price_change == pytest.approx(0.2)
    assert told.drawdown_fraction is None  # no candles


def test_holding_puts_in_what_the_strategy_could() -> None:
    # TRADE_CAPITAL 100 for each of two pairs, up 20 % and down 10 %: 20 - 10 = 10 of 1000.
    account = Account(markets=(a_market("A"), a_market("B")), settings={"TRADE_CAPITAL": "100"})
    account.quote(0, 100).quote(0, 50, 1).quote(HOUR, 120).quote(HOUR, 45, 1)
    told = statistics_of(account.result()).buy_and_hold
    assert (told.stake, told.profit, told.return_fraction) == (Decimal(200), Decimal(10), 0.01)
    assert told.price_change == pytest.approx(0.05)


def test_holding_over_time_follows_the_closes() -> None:
    account = Account().quote(30 * SECOND, 100).quote(4 * MINUTE, 130)
    account.bar(-MINUTE, (90, 90, 90, 90))  # history, before the first trade
    for at, close in enumerate([110, 88, 99]):
        account.bar(at * MINUTE, (close,) * 4)
    held = hold_curve(account.result())
    assert held is not None
    assert ((held.ns - T0) // SECOND).tolist() == [30, 60, 120, 180, 240]
    assert (held.units // UNIT).tolist() == [1000, 1100, 880, 990, 1300]
    assert statistics_of(account.result()).buy_and_hold.drawdown_fraction == pytest.approx(0.2)  # 1100 to 880


def test_legs_by_hour_weekday_pair_and_reason() -> None:
    account = Account(markets=(a_market("A"), a_market("B")))
    account.leg(23 * HOUR, 100, 110)  # Monday
    account.leg(DAY + HOUR, 100, 95, pair=1, reason=CRASH_CATCH)  # Tuesday
    account.buy(DAY + 2 * HOUR, 100, pair=1).sell(DAY + 3 * HOUR, 99, pair=1, reason=TRAILING_STOP)
    groups = statistics_of(account.result()).groups
    assert {row.name: (row.legs, row.wins, row.profit) for row in groups.by_hour if row.legs} == {
        "23": (1, 1, 10),
        "01": (1, 0, -5),
        "02": (1, 0, -1),
    }
    assert len(groups.by_hour) == 24 and len(groups.by_weekday) == 7
    assert [(row.name, row.profit) for row in groups.by_weekday[:3]] == [
        ("Monday", 10),
        ("Tuesday", -6),
        ("Wednesday", 0),
    ]
    assert [(row.name, row.legs, row.mean) for row in groups.by_pair] == [("A", 1, 10.0), ("B", 2, -3.0)]
    assert [(row.name, row.profit) for row in groups.by_entry_reason] == [("mean_reversion", 9), ("crash_catch", -5)]
    assert [(row.name, row.profit) for row in groups.by_exit_reason] == [("take_profit", 5), ("trailing_stop", -1)]


def test_hours_and_weekdays_are_those_of_day_offset_minutes() -> None:
    account = Account(settings={"DAY_OFFSET_MINUTES": "330"}).leg(23 * HOUR, 100, 110)
    groups = statistics_of(account.result()).groups
    assert [row.name for row in groups.by_hour if row.legs] == ["04"]  # Tuesday 04:30 in India
    assert [row.name for row in groups.by_weekday if row.legs] == ["Tuesday"]


def test_share_and_result_of_ghost_entries() -> None:
    account = Account().leg(0, 100, 110, ghost=CONFIRMED).leg(HOUR, 100, 97, ghost=GHOST)
    account.leg(2 * HOUR, 100, 99, ghost=GHOST).leg(3 * HOUR, 100, 105, ghost=GHOST_UNKNOWN)
    told = statistics_of(account.result()).ghosts
    assert told.legs == 2
    assert told.share == 2 / 3  # of those that are known
    assert (told.ghost.profit, told.confirmed.profit, told.unknown.profit) == (Decimal(-4), Decimal(10), Decimal(5))


def test_returns_in_bins_of_a_round_width_with_an_edge_at_0() -> None:
    told = return_histogram(np.array([-0.031, -0.001, 0.0, 0.001, 0.044]))
    width = told.edges[1] - told.edges[0]
    assert width == pytest.approx(0.005)  # 0.075 in 24 bins is 0.0031; the next round width is 0.005
    assert 0.0 in told.edges
    zero = told.edges.index(0.0)
    assert (sum(told.counts[:zero]), sum(told.counts[zero:])) == (2, 3)
    assert told.below == told.above == 0


def test_one_wild_value_does_not_flatten_the_rest() -> None:
    told = return_histogram(np.array([50.0] + [at / 10_000 for at in range(-500, 500)]))
    assert told.above >= 1 and told.edges[-1] < 0.06
    assert sum(told.counts) + told.below + told.above == 1001


@pytest.mark.parametrize("value", [0.0, -0.0, 0.02, -0.02, 1e-9, -1e-9])
def test_a_single_return_has_a_histogram(value: float) -> None:
    told = return_histogram(np.array([value] * 3))
    assert sum(told.counts) == 3 and 1 <= len(told.counts) <= 60


def test_bins_are_half_open() -> None:
    told = histogram(np.array([-1.0, 0.0, 0.5, 1.0, 2.0, 9.0]), [0.0, 1.0, 2.0])
    assert (told.counts, told.below, told.above) == ([2, 1], 1, 2)


@pytest.mark.parametrize(("least", "width"), [(0.0031, 0.005), (0.005, 0.005), (0.011, 0.02), (7.0, 10.0), (1.0, 1.0)])
def test_round_widths(least: float, width: float) -> None:
    assert round_width(least) == pytest.approx(width)


@pytest.mark.parametrize(
    ("text", "longest"), [("", 0), ("0", 0), ("1", 1), ("1101110", 3), ("0111", 3), ("10101", 1), ("1111", 4)]
)
def test_longest_run(text: str, longest: int) -> None:
    assert longest_run(np.array([sign == "1" for sign in text], dtype=bool)) == longest


def test_a_run_without_a_trade_says_none_and_breaks_nothing() -> None:
    told = statistics_of(Account().result())
    assert told.period.first_ms is None and told.period.days == 0.0
    assert (told.money.net_profit, told.money.return_fraction) == (0, 0.0)
    assert told.trading.win_rate is None and told.trading.expectancy is None and told.trading.best is None
    assert told.costs.break_even_bps is None and told.holding.exposure is None
    assert told.returns.sharpe is None and told.returns.days == 0
    assert told.buy_and_hold.price_change is None and told.ghosts.share is None
    assert told.distributions.returns.counts == []


def test_refusals_come_most_frequent_first_and_counts_are_told() -> None:
    result = four_legs().result(refusals={"cooldown": 3, "below_minimum": 7})
    result.orders["notes"][:2] = [1, 2 | 8]
    told = statistics_of(result)
    assert list(told.refusals.items()) == [("below_minimum", 7), ("cooldown", 3)]
    assert (told.counts.entries, told.counts.exits, told.counts.filled, told.counts.fills) == (4, 4, 8, 8)
    assert told.counts.notes["capped_by_wallet"] == told.counts.notes["trailing_stop"] == 1
    assert told.counts.notes["dust"] == 0


def test_amounts_are_exact_in_json() -> None:
    encode = msgspec.json.Encoder(decimal_format="number").encode
    account = Account(opening=1_000_000_000, fee_bps="0.01").leg(0, 123_456_789, 123_456_790)
    told = json.loads(encode(statistics_of(account.result())), parse_float=Decimal)
    # Buys for 123456789 + 123.456789, sells for 123456790 - 123.45679: loses 245.913579.
    assert told["money"]["net_profit"] == Decimal("-245.913579")
    assert told["costs"]["fees"] == Decimal("246.913579")


def test_an_exit_of_what_the_run_began_with_is_no_leg() -> None:
    result = Account().leg(0, 100, 110).leg(HOUR, 100, 120).result()
    later = replace(
        result,
        decisions=result.decisions[1:],
        orders=result.orders[1:],
        fills=result.fills[1:].copy(),
    )
    later.fills["order"] -= 1
    assert [leg["profit"] // UNIT for leg in legs_table(later)] == [20]
    assert legs_table(Account().result()).dtype == LEG
