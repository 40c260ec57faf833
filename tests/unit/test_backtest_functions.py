"""Compiled functions called with arrays: what they are given stays where it is until they return."""

import ctypes
from typing import Any

import numpy as np
import pytest

from backtest import gather, grid_candles, grid_loop, grid_sums, trigger_walk
from backtest.functions import Functions
from backtest.layout import new_book
from core.settings_load import from_texts
from indicators import layout
from indicators.layout import PARAMS, Parameters
from tests.column_tools import start_of
from trader.terms import market_terms, terms_of


class Peek:
    """Stands for a compiled function: looks at the table it is given, after others have asked for as much memory."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.same = False

    def __call__(self, table_at: int, *_: int) -> int:
        before = ctypes.string_at(table_at, self.dtype.itemsize)
        taken = [np.full(self.dtype.itemsize // 8, -1, np.int64) for _ in range(20)]
        self.same = ctypes.string_at(table_at, self.dtype.itemsize) == before and before.count(b"\xff" * 8) == 0
        del taken
        return 0


@pytest.mark.parametrize("name", ["find_candles", "walk", "read_candles", "runner"])
def test_the_table_of_addresses_outlives_the_call(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    functions = Functions.__new__(Functions)
    dtype = {"find_candles": gather.TABLE, "walk": trigger_walk.TABLE}.get(name, grid_loop.TABLE)
    peek = Peek(dtype)
    for attribute in ("_candles", "_walk", "_read", "_run"):
        monkeypatch.setattr(functions, attribute, peek, raising=False)
    numbers, prices = np.zeros(1, np.int64), np.zeros(1)
    table = np.zeros(1, gather.CANDLE_ROW)
    market = trigger_walk.Market(numbers, prices, numbers, numbers, True, numbers, table)
    params, cursor = np.zeros(1, PARAMS), trigger_walk.new_cursor()
    book = new_book(terms_of(from_texts({}), 0), [market_terms(start_of().markets[0])], 0)
    if name == "find_candles":
        heads = layout.heads_of(layout.new_state(Parameters(60_000), 1))
        work = np.zeros(1, layout.WORK)
        functions.find_candles(params[0], heads[0], prices, numbers, work[0], numbers, prices, numbers, True, table)
    elif name == "walk":
        functions.walk(book, params[0], market, cursor[0])
    elif name == "read_candles":
        functions.read_candles(params[0], market, prices, prices, prices)
    else:
        arrays = (np.zeros(1, grid_loop.COMBINATION), np.zeros(1, grid_sums.SUMMARY), prices, numbers)
        candles = grid_candles.Candles(prices, prices, prices, *grid_candles.new_scratch(1))
        own = (params, cursor, book.terms.base, book)
        run_some = functions.runner(grid_loop.Grid(*arrays, market, candles, *own))
        run_some(0, 1)
        with pytest.raises(IndexError, match="there are 1"):
            run_some(0, 2)
    assert peek.same
