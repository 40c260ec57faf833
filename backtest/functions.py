"""The compiled functions of columns and triggers, called with arrays instead of addresses.

They are called as the plain functions of `backtest.gather`, `trigger_walk`, `grid_candles` and `grid_loop` are: whoever
takes one takes the other. Calls free the GIL.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from backtest import compiled, gather, grid_loop, trigger_walk
from backtest.grid_loop import Grid
from backtest.layout import Book
from backtest.trigger_walk import Market
from indicators.layout import Array, Record

NAMES = (
    *("gather_columns", "find_minutes", "find_candles"),
    *("walk_triggers", "read_candles", "run_combinations"),
)


class Functions:
    """Loaded once a program; `complaint` says why compiled code could not be kept, or nothing."""

    def __init__(self, cache_root: Path) -> None:
        loaded = [compiled.load(name, cache_root) for name in NAMES]
        self.complaint = next((complaint for _, complaint in loaded if complaint), "")
        functions = (function for function, _ in loaded)
        self._gather, self._minutes, self._candles, self._walk, self._read, self._run = functions

    def gather(self, trades: Array, pair: int, seen: Record, *columns: Array) -> int:
        """As `gather.gather`."""
        addresses = [column.ctypes.data for column in columns]
        return self._gather(trades.ctypes.data, len(trades), pair, address(seen), *addresses, len(columns[0]))

    def find_minutes(self, ns: Array, ordered: bool, firsts: Array) -> int:
        """As `gather.find_minutes`."""
        return self._minutes(ns.ctypes.data, len(ns), ordered, firsts.ctypes.data, len(firsts))

    def find_candles(self, *arguments: Any) -> int:
        """As `gather.find_candles`."""
        *arrays, ordered, table = arguments
        named = dict(zip(gather.TABLE_ARRAYS, (*arrays, table), strict=True))
        addresses = table_of(gather.TABLE, named, ordered=ordered)
        return self._candles(addresses.ctypes.data)

    def walk(self, book: Book, params: Record, market: Market, cursor: Record) -> bool:
        """As `trigger_walk.walk`."""
        arrays = book._asdict() | market._asdict() | {"params": params, "cursor": cursor}
        ordered = arrays.pop("ordered")
        table = table_of(trigger_walk.TABLE, arrays, ordered=ordered)
        return self._walk(table.ctypes.data) != 0

    def read_candles(self, params: Record, market: Market, rsi: Array, middle: Array, deviation: Array) -> None:
        """As `grid_candles.read_candles`."""
        arrays = market._asdict() | {"params": params, "rsi": rsi, "middle": middle, "deviation": deviation}
        ordered = arrays.pop("ordered")
        table = table_of(grid_loop.TABLE, arrays, ordered=ordered)
        self._read(table.ctypes.data)

    def runner(self, grid: Grid) -> Callable[[int, int], int]:
        """As `grid_loop.runner`; the addresses are looked up once."""
        arrays = {**grid.book._asdict(), **grid.market._asdict(), **grid.candles._asdict(), **grid._asdict()}
        del arrays["book"], arrays["market"], arrays["candles"]
        ordered = arrays.pop("ordered")
        table = table_of(grid_loop.TABLE, arrays, ordered=ordered)

        def run_some(first: int, last: int) -> int:
            # `grid` is held here as well: what the table points at lives as long as this function.
            if last > len(grid.combinations):
                raise IndexError(f"combinations {first} to {last}: there are {len(grid.combinations)}")
            return self._run(table.ctypes.data, first, last)

        return run_some


def address(values: Any) -> int:
    """Where an array lies, or the only record of one."""
    array = values if isinstance(values, np.ndarray) else values.base
    return int(array.ctypes.data)


def table_of(dtype: np.dtype[Any], arrays: Mapping[str, Any], **numbers: int) -> Array:
    """A table of addresses and lengths, an array of one.

    It and the arrays must outlive the call that it is for: who calls gives the table a name first.
    """
    table = np.zeros(1, dtype)
    for name, values in arrays.items():
        table[name] = address(values)
        table[f"{name}_length"] = len(values) if isinstance(values, np.ndarray) else 1
    for name, value in numbers.items():
        table[name] = value
    return table
