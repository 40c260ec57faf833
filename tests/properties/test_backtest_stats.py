"""What holds of the statistics of any run: sums agree with the wallet, rates are rates, nothing is nan or infinite."""

import math
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backtest.legs import legs_table
from backtest.result import CONFIRMED, CRASH_CATCH, GHOST, GHOST_UNKNOWN, MEAN_REVERSION, Result, legs_of
from backtest.stats import statistics_of
from backtest.stats_equity import drawdown, equity_curve
from core.money import UNIT
from tests.backtest_results import SECOND, Account, a_market

MARKETS = (a_market("A", "0.01", "0.001"), a_market("B", "0.1", "0.01"))
STEP = st.tuples(
    st.sampled_from(("buy", "sell", "sell a part", "sell, rest is dust", "quote")),
    st.integers(0, 1),  # pair
    st.integers(1, 20_000),  # ticks
    st.integers(1, 500),  # lots
    st.integers(0, 3 * 3600),  # seconds later
    st.sampled_from((GHOST_UNKNOWN, CONFIRMED, GHOST)),
    st.sampled_from((MEAN_REVERSION, CRASH_CATCH)),
)


@st.composite
def runs(draw: st.DrawFn) -> Result:
    """A run of two pairs in which positions are bought whole and sold in up to many parts."""
    account = Account(
        opening=draw(st.integers(1_000_000, 2_000_000)),
        fee_bps=str(draw(st.sampled_from((0, 5, 25, -1)))),
        tax_buy_bps=str(draw(st.sampled_from((0, 3)))),
        tax_sell_bps=str(draw(st.sampled_from((0, 100)))),
        markets=MARKETS,
    )
    at = 0
    for what, pair, ticks, lots, later, ghost, reason in draw(st.lists(STEP, max_size=40)):
        at += later * SECOND
        held = account.pairs[pair].lots
        if what == "buy" and not held:
            account.buy(at, ticks, lots, pair, ghost=ghost, reason=reason)
        elif what == "sell" and held:
            account.sell(at, ticks, pair=pair)
        elif what == "sell a part" and held > 1:
            account.sell(at, ticks, max(1, held // 2), pair)
        elif what == "sell, rest is dust" and held > 1:
            account.sell(at, ticks, held - 1, pair, dust=True)
        else:
            account.quote(at, ticks, pair)
    return account.result()


@given(runs())
def test_profit_of_the_legs_and_what_is_left_explain_the_equity(result: Result) -> None:
    told = statistics_of(result)
    legs = legs_table(result)
    assert sum(int(leg["profit"]) for leg in legs) == told.costs.net * UNIT
    open_pairs = {held.pair for held in result.held if held.lots}
    sold_of_open = result.realized - sum(int(leg["profit"]) for leg in legs)
    assert open_pairs or sold_of_open == 0
    value = sum((position.value for position in told.open_positions), Decimal(0))
    cost = sum((position.cost for position in told.open_positions), Decimal(0))
    dust = told.money.dust_cost
    assert told.money.closing == told.money.opening + told.money.realized + value - cost - dust
    assert told.money.net_profit == told.money.closing - told.money.opening


@given(runs())
def test_the_table_is_the_legs_one_by_one(result: Result) -> None:
    table = sorted(legs_table(result), key=lambda leg: int(leg["entry"]))
    one_by_one = sorted(legs_of(result), key=lambda leg: leg.entry)
    assert len(table) == len(one_by_one)
    for row, leg in zip(table, one_by_one, strict=True):
        assert (row["pair"], row["entry"], row["exit"]) == (leg.pair, leg.entry, leg.exits[-1])
        assert (row["entry_ns"], row["exit_ns"], row["lots"]) == (leg.entry_ns, leg.exit_ns, leg.lots)
        assert (row["profit"], row["fees"], row["taxes"]) == (leg.profit, leg.fees, leg.taxes)
        assert (row["ghost"], row["exits"]) == (leg.ghost, len(leg.exits))
        assert math.isclose(row["entry_price"], leg.entry_price, rel_tol=1e-12)
        assert math.isclose(row["exit_price"], leg.exit_price, rel_tol=1e-12)
        assert row["cost"] == sum(int(result.orders[at]["share"]) for at in leg.exits)
        own = np.isin(result.fills["order"], [leg.entry, *leg.exits])
        bare = [
            int(fill["cash"]) + (int(fill["fee"]) + int(fill["tax"])) * (-1 if fill["order"] == leg.entry else 1)
            for fill in result.fills[own]
        ]
        assert row["turnover"] == sum(bare)


@given(runs())
def test_rates_are_rates_and_sums_are_sums(result: Result) -> None:
    told = statistics_of(result)
    made, groups = told.trading, told.groups
    assert made.wins + made.losses + made.even == made.legs
    assert made.won + made.lost == told.costs.net == told.costs.before_costs - told.costs.fees - told.costs.taxes
    for rows in (groups.by_pair, groups.by_entry_reason, groups.by_exit_reason, groups.by_hour, groups.by_weekday):
        assert sum(row.legs for row in rows) == made.legs
        assert sum((row.profit for row in rows), Decimal(0)) == told.costs.net
    parts = (told.ghosts.ghost, told.ghosts.confirmed, told.ghosts.unknown)
    assert sum(row.legs for row in parts) == made.legs
    for bins in (told.distributions.returns, told.distributions.holding_seconds):
        assert sum(bins.counts) + bins.below + bins.above == made.legs
    rates = (made.win_rate, told.holding.exposure, told.ghosts.share, *told.holding.exposure_by_pair.values())
    assert all(rate is None or 0 <= rate <= 1 for rate in rates)
    assert made.longest_losing_streak <= made.losses and made.longest_winning_streak <= made.wins


@given(runs())
def test_nothing_is_nan_or_infinite_in_json(result: Result) -> None:
    def walk(value: Any) -> None:
        if isinstance(value, dict):
            assert all(isinstance(key, str) for key in value)
            [walk(item) for item in value.values()]
        elif isinstance(value, list):
            [walk(item) for item in value]
        elif isinstance(value, float):
            assert math.isfinite(value)

    told = statistics_of(result)
    walk(msgspec.to_builtins(told, builtin_types=(Decimal,)))
    encoded = msgspec.json.Encoder(decimal_format="number").encode(told)
    assert msgspec.json.decode(encoded)["money"]["quote"] == "USDT"


@given(runs())
def test_the_deepest_fall_is_the_deepest_by_plain_search(result: Result) -> None:
    curve = equity_curve(result)
    peak, deepest, amount = 0, 0.0, 0
    for units in curve.units.tolist():
        peak = max(peak, units)
        deepest = max(deepest, (peak - units) / peak)
        amount = max(amount, peak - units)
    told = drawdown(curve)
    assert math.isclose(told.fraction, deepest, abs_tol=1e-15)
    assert told.amount * UNIT == amount
    assert told.longest_seconds * SECOND <= curve.ns[-1] - curve.ns[0]
