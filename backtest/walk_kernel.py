"""`walk.walk` as compiled code takes it: addresses of what a run has laid out (`fused.Run`). Imports numba."""

import numpy as np
from numba import carray
from numba.extending import overload

from backtest import book, kernels, views, walk, wallet
from bus.records import CANDLE_RECORD, RECORD, UPDATE
from core import money
from indicators.kernels import pointer
from indicators.layout import COLUMNS_WORDS, HEAD, PARAMS, ROW, TRADE_WORDS, WORK
from trader import fills

kernels.plain(money, fills, wallet, book)
kernels.plain(walk, without=("fetch",))


@overload(walk.fetch, inline="always")
def fetch(trades, index):  # type: ignore[no-untyped-def]
    """What compiled code does for `walk.fetch`."""
    return lambda trades, index: kernels.prefetch(trades, index)


def walk_chunk(table_at, records_at, count, first, start):  # type: ignore[no-untyped-def]
    """`walk.walk` over `count` records at an address; the table is a `walk.TABLE`."""
    if count == 0:
        return 0
    t = carray(pointer(table_at), (1,), walk.TABLE)[0]
    pairs = t["pairs"]
    seen = walk.Views(
        carray(pointer(records_at), (count,), TRADE_WORDS),
        carray(pointer(records_at), (count,), RECORD),
        carray(pointer(records_at), (count,), CANDLE_RECORD),
        carray(pointer(t["walk"]), (1,), walk.WALK)[0],
        carray(pointer(t["seen"]), (pairs,), walk.SEEN),
        carray(pointer(t["params"]), (1,), PARAMS)[0],
        carray(pointer(t["heads"]), (pairs,), HEAD),
        carray(pointer(t["closes"]), (t["closes_length"],), np.float64),
        carray(pointer(t["work"]), (1,), WORK)[0],
        carray(pointer(t["columns"]), (COLUMNS_WORDS,), np.int64),
        carray(pointer(t["columns"]), (COLUMNS_WORDS,), np.float64),
        carray(pointer(t["dirty"]), (2 * pairs,), np.int64),
        carray(pointer(t["rows"]), (t["rows_length"],), ROW),
        carray(pointer(t["update"]), (1,), UPDATE),
        views.book_at(t, pairs),
    )
    return walk.walk(seen, first, start)
