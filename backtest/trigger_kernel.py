"""`trigger_walk.walk` as compiled code takes it: addresses of what a run has laid out. Imports numba."""

import numpy as np
from numba import carray

from backtest import book, gather, kernels, layout, result, trigger_prices, trigger_walk, wallet
from core import money
from indicators.kernels import pointer
from indicators.layout import PARAMS
from trader import fills

kernels.plain(money, fills, wallet, book)
kernels.plain(gather, trigger_prices, trigger_walk, inline=True)


def walk_triggers(table_at):  # type: ignore[no-untyped-def]
    """`trigger_walk.walk`; the table is a `trigger_walk.TABLE`. Returns 1 when the trades are over, else 0."""
    if table_at == 0:
        return 0
    t = carray(pointer(table_at), (1,), trigger_walk.TABLE)[0]
    account = layout.Book(
        carray(pointer(t["terms"]), (1,), layout.TERMS)[0],
        carray(pointer(t["account"]), (1,), layout.ACCOUNT)[0],
        carray(pointer(t["markets"]), (1,), layout.MARKET),
        carray(pointer(t["positions"]), (1,), layout.POSITION),
        carray(pointer(t["entries_ns"]), (t["entries_ns_length"],), np.int64),
        carray(pointer(t["refused"]), (t["refused_length"],), np.int64),
        carray(pointer(t["decisions"]), (t["decisions_length"],), result.DECISION),
        carray(pointer(t["orders"]), (t["orders_length"],), result.ORDER),
        carray(pointer(t["fills"]), (t["fills_length"],), result.FILL),
        carray(pointer(t["equity"]), (t["equity_length"],), result.EQUITY),
    )
    count = t["ns_length"]
    market = trigger_walk.Market(
        carray(pointer(t["ns"]), (count,), np.int64),
        carray(pointer(t["price"]), (count,), np.float64),
        carray(pointer(t["ticks"]), (count,), np.int64),
        carray(pointer(t["lots"]), (count,), np.int64),
        t["ordered"] != 0,
        carray(pointer(t["minutes"]), (t["minutes_length"],), np.int64),
        carray(pointer(t["table"]), (t["table_length"],), gather.CANDLE_ROW),
    )
    params = carray(pointer(t["params"]), (1,), PARAMS)[0]
    cursor = carray(pointer(t["cursor"]), (1,), trigger_walk.CURSOR)[0]
    if trigger_walk.walk(account, params, market, cursor):
        return 1
    return 0
