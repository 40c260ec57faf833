"""Candles of the sandbox: what they add up to, made at once or of shorter ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.trades import Trades, bars_of, grouped_bars, joined_bars, merged_bars, no_bars, no_trades

ROW = st.tuples(st.integers(0, 20_000), st.integers(1, 50), st.integers(1, 9), st.booleans())


def trades_of(rows: list[tuple[int, int, int, bool]]) -> Trades:
    ordered = sorted(rows, key=lambda row: row[0])
    times, ticks, units, sell = zip(*ordered, strict=True) if ordered else ((), (), (), ())
    return Trades(
        np.array(times, np.int64), np.array(ticks, np.int64), np.array(units, np.int64), np.array(sell, np.bool_)
    )


@given(st.lists(ROW, max_size=60))
def test_a_candle_counts_and_adds_up_its_trades(rows: list[tuple[int, int, int, bool]]) -> None:
    bars = bars_of(trades_of(rows), 1000)
    for index, start in enumerate(bars.open_ms.tolist()):
        own = [row for row in rows if start <= row[0] < start + 1000]
        taken = [row for row in own if not row[3]]
        assert bars.trades[index] == len(own) > 0
        assert bars.volume[index] == sum(row[2] for row in own)
        assert bars.worth[index] == sum(row[1] * row[2] for row in own)
        assert bars.bought[index] == sum(row[2] for row in taken)
        assert bars.bought_worth[index] == sum(row[1] * row[2] for row in taken)
    assert len(bars) == len({row[0] // 1000 for row in rows})


@given(st.lists(ROW, min_size=1, max_size=60), st.integers(1, 7))
def test_candles_made_of_candles_are_those_made_of_trades(rows: list[tuple[int, int, int, bool]], times: int) -> None:
    trades = trades_of(rows)
    short, long = bars_of(trades, 1000), bars_of(trades, 1000 * times)
    for made in (
        merged_bars(short, 1000 * times),
        grouped_bars(short, short.open_ms // (1000 * times) * 1000 * times),
    ):
        assert all(np.array_equal(one, other) for one, other in zip(made, long, strict=True))


def test_without_trades_there_is_no_candle() -> None:
    assert len(bars_of(no_trades(), 1000)) == len(merged_bars(no_bars(), 1000)) == len(joined_bars([])) == 0


@pytest.mark.parametrize("digits", [1, 12])
def test_worth_is_exact_where_it_does_not_fit_into_63_bits(digits: int) -> None:
    ticks, units = 81_000 * 10**digits, 3 * 10**digits
    bars = bars_of(trades_of([(0, ticks, units, False), (1, ticks, units, True)]), 1000)
    assert bars.worth.tolist() == [2 * ticks * units] and bars.bought_worth.tolist() == [ticks * units]
    assert merged_bars(bars, 60_000).worth.tolist() == bars.worth.tolist()
