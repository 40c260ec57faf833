"""`backtest.gather` as compiled code takes it: addresses of columns (`backtest.functions`). Imports numba."""

import numpy as np
from numba import carray

from backtest import gather, kernels
from indicators.kernels import pointer
from indicators.layout import HEAD, PARAMS, ROW, TRADE_WORDS, WORK

kernels.plain(gather, inline=True)


def gather_columns(records_at, count, pair, seen_at, ns_at, price_at, ticks_at, lots_at, length):  # type: ignore[no-untyped-def]
    """`gather.gather`; length: of the columns."""
    if count == 0:
        return 0
    return gather.gather(
        carray(pointer(records_at), (count,), TRADE_WORDS),
        pair,
        carray(pointer(seen_at), (1,), gather.GATHERED)[0],
        carray(pointer(ns_at), (length,), np.int64),
        carray(pointer(price_at), (length,), np.float64),
        carray(pointer(ticks_at), (length,), np.int64),
        carray(pointer(lots_at), (length,), np.int64),
    )


def find_minutes(ns_at, count, ordered, firsts_at, length):  # type: ignore[no-untyped-def]
    """`gather.find_minutes`."""
    if count == 0:
        return 0
    return gather.find_minutes(
        carray(pointer(ns_at), (count,), np.int64), ordered != 0, carray(pointer(firsts_at), (length,), np.int64)
    )


def find_candles(table_at):  # type: ignore[no-untyped-def]
    """`gather.find_candles`; the table is a `gather.TABLE`."""
    if table_at == 0:
        return 0
    t = carray(pointer(table_at), (1,), gather.TABLE)[0]
    return gather.find_candles(
        carray(pointer(t["params"]), (1,), PARAMS)[0],
        carray(pointer(t["head"]), (1,), HEAD)[0],
        carray(pointer(t["closes"]), (t["closes_length"],), np.float64),
        carray(pointer(t["rows"]), (t["rows_length"],), ROW),
        carray(pointer(t["work"]), (1,), WORK)[0],
        carray(pointer(t["ns"]), (t["ns_length"],), np.int64),
        carray(pointer(t["price"]), (t["price_length"],), np.float64),
        carray(pointer(t["minutes"]), (t["minutes_length"],), np.int64),
        t["ordered"] != 0,
        carray(pointer(t["table"]), (t["table_length"],), gather.CANDLE_ROW),
    )
