"""Compiled functions called with arrays: what they are handed lives as long as the call."""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest import functions, trigger_walk
from backtest.layout import new_book
from core.settings_load import from_texts
from indicators import layout
from indicators.engine import parameters_of
from tests.column_tools import start_of
from trader.terms import market_terms, terms_of


class Entry:
    """Stands where a compiled function does: what lies at its address once others have used freed memory."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        self.seen: Any = None

    def __call__(self, *arguments: int) -> int:
        others = [np.full(self.dtype.itemsize, 0xAA, np.uint8) for _ in range(64)]
        self.seen = np.frombuffer(ctypes.string_at(arguments[0], self.dtype.itemsize), self.dtype)[0]
        return len(others) and 1


def test_the_table_of_a_call_is_there_until_the_call_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry(trigger_walk.TABLE)
    monkeypatch.setattr("backtest.compiled.load", lambda name, cache_root: (entry, ""))
    settings = from_texts({})
    book = new_book(terms_of(settings, 0), [market_terms(start_of().markets[0])], 0, 8)
    params = layout.params_of(layout.new_state(parameters_of(settings, 0), 1))
    empty = np.zeros(7, np.int64)
    market = trigger_walk.Market(empty, empty.view(np.float64), empty, empty, True, empty, empty)
    assert functions.Functions(Path("nowhere")).walk(book, params, market, trigger_walk.new_cursor()[0])
    assert (entry.seen["ns_length"], entry.seen["ordered"]) == (7, 1)
    assert entry.seen["ns"] == empty.ctypes.data
