"""The sweep's inner loop: one combination of settings after the other over the same market, a row of sums for each.

Two ways through a market, with the same result as a whole run (`backtest.fused`):

* `backtest.grid_candles`: one trade a candle, candles of a minute or longer, instant fills and no limit that looks at
  results.
* `run_trades`: everything else, by trigger prices (`backtest.trigger_walk`) with a small book whose rows are added up
  and given up.

Plain functions, compiled by `backtest.compiled`; money by `core.money` and `trader.fills`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from backtest.grid_candles import Candles, run_candles
from backtest.grid_sums import begin, day_of, finish, forget_leg, take_equity, take_leg
from backtest.layout import ACTIVE, NONE, TERMS, Array, Book, Record
from backtest.result import ENTER, WORKING
from backtest.trigger_walk import WALK_ARRAYS, Market, walk
from core.money import notional_floor

# What one combination sets; the rest is the market's and the candle setting's.
COMBINATION = np.dtype(
    [
        ("rsi_buy", "<f8"),
        ("rsi_sell", "<f8"),
        ("rsi_crash", "<f8"),
        ("stddev", "<f8"),
        ("balance", "<i8"),
        ("fee", "<i8"),  # taker, parts
        ("costly", "<i8"),  # 1: COST_GATE takes no entry
        ("candles", "<i8"),  # 1: `run_candles` may run it
        ("kept", "<i8"),  # its row in Grid.profits; -1 where its profit by block is not wanted
        ("terms", TERMS),
    ]
)


class Grid(NamedTuple):
    """What one thread works on: of everything but combinations, summaries and profits it has its own, or only reads."""

    combinations: Array
    summaries: Array  # SUMMARY, one a combination
    profits: Array  # float64, by COMBINATION.kept and block of market time
    borders: Array  # int64: where blocks begin, the first before everything
    market: Market
    candles: Candles  # empty where no combination is run by candles
    params: Array  # indicators.layout.PARAMS, one
    cursor: Array  # trigger_walk.CURSOR, one
    terms: Array  # the book's TERMS, one
    book: Book


# Where compiled code finds the arrays of a Grid: addresses and lengths.
GRID_ARRAYS = (
    *("combinations", "summaries", "profits", "borders", "params", "cursor", *Candles._fields),
    *(name for name in WALK_ARRAYS if name not in ("params", "cursor")),
)
TABLE = np.dtype(
    [("ordered", "<i8")] + [(name, "<i8") for name in GRID_ARRAYS] + [(f"{name}_length", "<i8") for name in GRID_ARRAYS]
)


def runner(grid: Grid) -> Callable[[int, int], int]:
    """`run_some` of a grid."""
    return lambda first, last: run_some(grid, first, last)


def run_some(grid: Grid, first: int, last: int) -> int:
    """Run combinations `first` to before `last`; returns how many."""
    ns, blocks = grid.market.ns, grid.borders.size
    for place in range(first, last):
        chosen, summary = grid.combinations[place], grid.summaries[place]
        profits = grid.profits[max(chosen["kept"], 0) * blocks : (chosen["kept"] + 1) * blocks]
        begin(summary, chosen["balance"], day_of(ns[0], chosen["terms"]["day_offset_ns"]) if ns.size > 0 else 0)
        if ns.size == 0:
            continue
        if chosen["candles"] != 0:
            run_candles(chosen, grid.book.markets[0], grid.market, grid.candles, summary, profits, grid.borders)
        else:
            grid.terms[0] = chosen["terms"]
            run_trades(chosen, grid.book, grid.params[0], grid.market, grid.cursor[0], summary, profits, grid.borders)
    return last - first


def run_trades(
    chosen: Record, book: Book, params: Record, market: Market, cursor: Record, summary: Record, profits: Array,
    borders: Array,
) -> None:  # fmt: skip
    """One combination over any columns; book: one that is empty, whose terms are the combination's."""
    params["rsi_buy"] = chosen["rsi_buy"]
    params["rsi_sell"] = chosen["rsi_sell"]
    params["rsi_crash"] = chosen["rsi_crash"]
    params["stddev"] = chosen["stddev"]
    offset_ns = chosen["terms"]["day_offset_ns"]
    clear(book, chosen, cursor)
    over = False
    while not over:
        over = walk(book, params, market, cursor)
        add_up(book, summary, offset_ns, profits, borders)
    position, last = book.positions[0], market.price.size - 1
    value = 0
    if position["lots"] > 0:
        rule = book.markets[0]
        value = notional_floor(position["ticks"], position["lots"], rule["num"], rule["den"])
        summary["held_ns"] += market.ns[last] - summary["leg_entry_ns"]
    take_equity(summary, day_of(market.ns[last], offset_ns), book.account["wallet"] + value)
    summary["realized"] = book.account["realized"]
    summary["halted"] = 1 if book.account["halted"] != ACTIVE else 0
    summary["open_lots"] = position["lots"]
    finish(summary, day_of(market.ns[last], offset_ns))


def clear(book: Book, chosen: Record, cursor: Record) -> None:
    """The book and the cursor as they are before the first trade."""
    account, position = book.account, book.positions[0]
    account["wallet"] = chosen["balance"]
    account["peak"] = chosen["balance"]
    account["fee"] = chosen["fee"]
    account["costly"] = chosen["costly"]
    account["reserved"] = account["realized"] = account["market_ns"] = account["halted"] = 0
    account["day_realized"] = account["losses"] = account["cool_until_ns"] = account["entries"] = 0
    account["decisions"] = account["fills"] = account["equities"] = 0
    account["minute"] = account["day"] = NONE
    position["lots"] = position["cost"] = position["opened_ms"] = position["ticks"] = 0
    position["dust_lots"] = position["dust_cost"] = position["decided_ns"] = position["reserve"] = 0
    position["highest"] = 0.0
    position["order"] = position["unjudged"] = position["candle"] = NONE
    cursor["at"] = cursor["ends"] = cursor["minute"] = cursor["seen"] = 0
    cursor["candle"] = NONE


def add_up(book: Book, summary: Record, offset_ns: int, profits: Array, borders: Array) -> None:
    """Take the rows of the book into the sums and give them up; of an order that works, its row stays."""
    account, position = book.account, book.positions[0]
    for k in range(account["equities"]):
        row = book.equity[k]
        take_equity(summary, day_of(row["ns"], offset_ns), row["balance"] + row["position_value"])
    at = 0
    for index in range(account["decisions"]):
        order = book.orders[index]
        at = add_fills(book, summary, index, at, profits, borders)
        if order["purpose"] != ENTER and order["state"] != WORKING and order["filled"] > 0:
            summary["leg_profit"] += order["cash"] - order["share"]
            summary["leg_cost"] += order["share"]
    working = position["order"]
    if position["lots"] == 0 and summary["leg_entry_ns"] > 0:
        if summary["leg_exits"] > 0:
            take_leg(summary, profits, borders)
        forget_leg(summary)
    account["equities"] = account["fills"] = account["decisions"] = 0
    position["unjudged"] = NONE
    summary["leg_resumed"] = 0
    if working != NONE:
        summary["leg_resumed"] = 1 if book.orders[working]["filled"] > 0 else 0
        book.orders[0] = book.orders[working]
        book.decisions[0] = book.decisions[working]
        position["order"] = 0
        account["decisions"] = 1


def add_fills(book: Book, summary: Record, index: int, at: int, profits: Array, borders: Array) -> int:
    """The fills of one order, from row `at` on; returns the first row of another one."""
    entry = book.orders[index]["purpose"] == ENTER
    begins = entry and (index > 0 or summary["leg_resumed"] == 0)
    while at < book.account["fills"] and book.fills[at]["order"] == index:
        fill = book.fills[at]
        summary["fees"] += fill["fee"]
        summary["taxes"] += fill["tax"]
        if begins:
            if summary["leg_exits"] > 0:
                take_leg(summary, profits, borders)
            forget_leg(summary)
            summary["leg_entry_ns"] = fill["ns"]
            begins = False
        elif not entry:
            summary["leg_exits"] += 1
            summary["leg_exit_ns"] = fill["ns"]
        at += 1
    return at
