"""`trigger_walk.walk` as compiled code takes it: addresses of what a run has laid out. Imports numba."""

from numba import carray

from backtest import book, gather, kernels, trigger_prices, trigger_walk, views, wallet
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
    params = carray(pointer(t["params"]), (1,), PARAMS)[0]
    cursor = carray(pointer(t["cursor"]), (1,), trigger_walk.CURSOR)[0]
    if trigger_walk.walk(views.book_at(t, 1), params, views.market_at(t), cursor):
        return 1
    return 0
