"""Aggregates of trades: which are merged, and ids that are the same however they are asked for."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sandbox.aggregates import Aggregates, merged
from sandbox.market import Synthetic
from sandbox.trade_ids import FIRST, TradeIds
from sandbox.trades import Trades, no_trades

BORN_MS = 1_795_356_912_345
PAIR = "B-BTC_USDT"
ROW = st.tuples(st.integers(0, 9), st.integers(1, 3), st.integers(1, 9), st.booleans())


@given(st.lists(ROW, max_size=40))
def test_neighbours_of_one_ms_price_and_side_are_one(rows: list[tuple[int, int, int, bool]]) -> None:
    rows.sort(key=lambda row: row[0])
    columns = list(zip(*rows, strict=True)) if rows else [(), (), (), ()]
    trades = Trades(*(np.array(column, np.int64) for column in columns[:3]), np.array(columns[3], np.bool_))
    found = merged(trades)
    assert found.sizes.sum() == len(rows) and found.trades.units.sum() == sum(row[2] for row in rows)
    keys = list(
        zip(*(column.tolist() for column in (found.trades.ts_ms, found.trades.ticks, found.trades.sell)), strict=True)
    )
    assert all(one != other for one, other in itertools.pairwise(keys))
    spread = [key for key, size in zip(keys, found.sizes.tolist(), strict=True) for _ in range(size)]
    assert spread == [(row[0], row[1], row[3]) for row in rows]


def test_ids_are_gapless_and_the_same_from_any_side() -> None:
    market = Synthetic(1, BORN_MS)
    ids = TradeIds(market)
    aggregates = Aggregates(market, ids)
    now_ms = BORN_MS + 3_700_017
    newest = aggregates.last(PAIR, now_ms, 700)
    assert len(newest.merged.trades) == 700 and newest.merged.sizes.max() > 1
    assert newest.first_id + 700 == aggregates.at(PAIR, now_ms + 1) > FIRST
    assert newest.first_trade_id + int(newest.merged.sizes.sum()) == ids.at(PAIR, now_ms + 1)
    other = Aggregates(Synthetic(1, BORN_MS), TradeIds(Synthetic(1, BORN_MS)))
    for skipped in (0, 1, 350, 699):
        some = other.since(PAIR, newest.first_id + skipped, now_ms, 10)
        assert some.first_trade_id == newest.first_trade_id + int(newest.merged.sizes[:skipped].sum())
        assert some.merged.sizes.tolist() == newest.merged.sizes[skipped : skipped + 10].tolist()
        assert some.merged.trades.units.tolist() == newest.merged.trades.units[skipped : skipped + 10].tolist()
    assert not len(other.since(PAIR, newest.first_id + 700, now_ms, 10).merged.trades)
    oldest = aggregates.since(PAIR, 0, now_ms, 5)
    assert oldest.first_id < FIRST and oldest.first_trade_id == ids.at(PAIR, 0) and len(oldest.merged.trades) == 5


def test_of_nothing_comes_nothing() -> None:
    assert len(merged(no_trades()).trades) == len(merged(no_trades()).sizes) == 0
