"""`backtest.grid_loop` as compiled code takes it: addresses of what a sweep has laid out. Imports numba."""

import numpy as np
from numba import carray

from backtest import (
    book,
    gather,
    grid_candles,
    grid_loop,
    grid_sums,
    kernels,
    layout,
    moments,
    trigger_prices,
    trigger_walk,
    views,
    wallet,
)
from core import money
from indicators.kernels import pointer
from indicators.layout import PARAMS
from trader import fills

kernels.plain(money, fills, wallet, book)
kernels.plain(gather, moments, trigger_prices, trigger_walk, grid_sums, grid_candles, grid_loop, inline=True)


def read_candles(table_at):  # type: ignore[no-untyped-def]
    """`grid_candles.read_candles`; the table is a `grid_loop.TABLE`."""
    if table_at == 0:
        return 0
    t = carray(pointer(table_at), (1,), grid_loop.TABLE)[0]
    grid_candles.read_candles(
        carray(pointer(t["params"]), (1,), PARAMS)[0],
        views.market_at(t),
        carray(pointer(t["rsi"]), (t["rsi_length"],), np.float64),
        carray(pointer(t["middle"]), (t["middle_length"],), np.float64),
        carray(pointer(t["deviation"]), (t["deviation_length"],), np.float64),
    )
    return 0


def run_combinations(table_at, first, last):  # type: ignore[no-untyped-def]
    """`grid_loop.run_some`; the table is a `grid_loop.TABLE`."""
    if table_at == 0:
        return 0
    t = carray(pointer(table_at), (1,), grid_loop.TABLE)[0]
    grid = grid_loop.Grid(
        carray(pointer(t["combinations"]), (t["combinations_length"],), grid_loop.COMBINATION),
        carray(pointer(t["summaries"]), (t["summaries_length"],), grid_sums.SUMMARY),
        carray(pointer(t["profits"]), (t["profits_length"],), np.float64),
        carray(pointer(t["borders"]), (t["borders_length"],), np.int64),
        views.market_at(t),
        grid_candles.Candles(
            carray(pointer(t["rsi"]), (t["rsi_length"],), np.float64),
            carray(pointer(t["middle"]), (t["middle_length"],), np.float64),
            carray(pointer(t["deviation"]), (t["deviation_length"],), np.float64),
            carray(pointer(t["entries"]), (t["entries_length"],), np.int32),
            carray(pointer(t["stops"]), (t["stops_length"],), np.int32),
            carray(pointer(t["made"]), (1,), grid_candles.MADE),
        ),
        carray(pointer(t["params"]), (1,), PARAMS),
        carray(pointer(t["cursor"]), (1,), trigger_walk.CURSOR),
        carray(pointer(t["terms"]), (1,), layout.TERMS),
        views.book_at(t, 1),
    )
    return grid_loop.run_some(grid, first, last)
