"""Views of what a run has laid out, by a table of addresses and lengths, for the entries of compiled code.

Imports numba. Their lines stand in the entries themselves: compiled code owns no memory, and a function of its own
could not hand out a view.
"""

from typing import Any

import numpy as np
from numba import carray
from numba.extending import overload

from backtest import gather, layout, result, trigger_walk
from indicators.kernels import pointer


def book_at(t: Any, pairs: int) -> Any:
    """The Book of a table with all its arrays, of that many pairs."""
    return layout.Book(
        carray(pointer(t["terms"]), (1,), layout.TERMS)[0],
        carray(pointer(t["account"]), (1,), layout.ACCOUNT)[0],
        carray(pointer(t["markets"]), (pairs,), layout.MARKET),
        carray(pointer(t["positions"]), (pairs,), layout.POSITION),
        carray(pointer(t["entries_ns"]), (t["entries_ns_length"],), np.int64),
        carray(pointer(t["refused"]), (t["refused_length"],), np.int64),
        carray(pointer(t["decisions"]), (t["decisions_length"],), result.DECISION),
        carray(pointer(t["orders"]), (t["orders_length"],), result.ORDER),
        carray(pointer(t["fills"]), (t["fills_length"],), result.FILL),
        carray(pointer(t["equity"]), (t["equity_length"],), result.EQUITY),
    )


def market_at(t: Any) -> Any:
    """The `trigger_walk.Market` of a table with all its arrays."""
    count = t["ns_length"]
    return trigger_walk.Market(
        carray(pointer(t["ns"]), (count,), np.int64),
        carray(pointer(t["price"]), (count,), np.float64),
        carray(pointer(t["ticks"]), (count,), np.int64),
        carray(pointer(t["lots"]), (count,), np.int64),
        t["ordered"] != 0,
        carray(pointer(t["minutes"]), (t["minutes_length"],), np.int64),
        carray(pointer(t["table"]), (t["table_length"],), gather.CANDLE_ROW),
    )


for function in (book_at, market_at):
    # Nobody calls them from C: a wrapper for that could not be made.
    overload(function, inline="always", strict=False, jit_options={"no_cfunc_wrapper": True})(
        lambda *_, found=function: found
    )
