"""The sweep's inner loop: one combination of settings after the other over the same market, a row of sums for each.

Two ways through a market, with the same result as a whole run (`backtest.fused`):

* `run_candles`: one trade a candle, candles of a minute or longer, instant fills and no limit that looks at results.
  What the indicators say at each trade is made once for a candle setting (`read_candles`); a combination compares.
* `run_trades`: everything else, by trigger prices (`backtest.trigger_walk`) with a small book whose rows are added up
  and given up.

Plain functions, compiled by `backtest.compiled`; money by `core.money` and `trader.fills`.
"""

from collections.abc import Callable
from math import nan
from typing import NamedTuple

import numpy as np

from backtest.gather import BLOCK
from backtest.layout import ACTIVE, NONE, TERMS, Array, Book, Record
from backtest.moments import with_value
from backtest.result import ENTER, WORKING
from backtest.trigger_walk import WALK_ARRAYS, Market, walk
from core.money import notional_ceil, notional_floor, parts_ceil, worsened
from indicators import rules
from trader import fills

NS_PER_DAY = 86_400_000_000_000

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

# What a combination came to. Money in units, times in ns. A leg is a round trip as in `backtest.result.legs_of`; its
# return is its profit over the cost of what it sold. Equity is wallet and positions at the last price, known once a
# minute and at each fill; a day's return is as in `backtest.stats_equity.daily_returns`. A spread is the sum of squared
# distances from the mean (`backtest.moments`).
SUMMARY = np.dtype(
    [
        ("legs", "<i8"),
        ("wins", "<i8"),
        ("losses", "<i8"),
        ("won", "<i8"),
        ("lost", "<i8"),  # as a positive number
        ("leg_mean", "<f8"),  # of the legs' returns
        ("leg_spread", "<f8"),
        ("held_ns", "<i8"),  # between first entry fill and last exit fill
        ("fees", "<i8"),  # of all fills
        ("taxes", "<i8"),
        ("realized", "<i8"),
        ("closing", "<i8"),  # equity at the end
        ("open_lots", "<i8"),
        ("halted", "<i8"),
        ("drawdown", "<i8"),  # deepest fall below the highest equity so far
        ("drawdown_fraction", "<f8"),  # deepest as a part of that highest
        ("days", "<i8"),
        ("day_mean", "<f8"),  # of the days' returns
        ("day_spread", "<f8"),
        ("day_downside", "<f8"),  # sum of squares of those below 0
        ("broke", "<i8"),  # 1 where a day began with nothing: days have no returns then
        ("peak", "<i8"),  # working fields
        ("day", "<i8"),
        ("day_begins", "<i8"),
        ("equity", "<i8"),
        ("leg_entry_ns", "<i8"),
        ("leg_exit_ns", "<i8"),
        ("leg_exits", "<i8"),
        ("leg_profit", "<i8"),
        ("leg_cost", "<i8"),
        ("leg_resumed", "<i8"),  # 1: the first order of the book has filled before
    ]
)


class Grid(NamedTuple):
    """What one thread works on: of everything but combinations, summaries and profits it has its own, or only reads."""

    combinations: Array
    summaries: Array  # SUMMARY, one a combination
    profits: Array  # float64, by COMBINATION.kept and block of market time
    borders: Array  # int64: where blocks begin, the first before everything
    market: Market
    rsi: Array  # of `read_candles`; empty where no combination is run by candles
    middle: Array
    deviation: Array
    params: Array  # indicators.layout.PARAMS, one
    cursor: Array  # trigger_walk.CURSOR, one
    terms: Array  # the book's TERMS, one
    book: Book


# Where compiled code finds the arrays of a Grid: addresses and lengths.
GRID_ARRAYS = (
    *("combinations", "summaries", "profits", "borders", "rsi", "middle", "deviation", "params", "cursor"),
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
            run_candles(
                chosen, grid.book.markets[0], grid.market, grid.rsi, grid.middle, grid.deviation, summary, profits,
                grid.borders,
            )  # fmt: skip
        else:
            grid.terms[0] = chosen["terms"]
            run_trades(chosen, grid.book, grid.params[0], grid.market, grid.cursor[0], summary, profits, grid.borders)
    return last - first


# --- sums -------------------------------------------------------------------------------------------


def begin(summary: Record, balance: int, first_day: int) -> None:
    """A row before the first trade: zeros but for what the equity begins with."""
    summary["peak"] = balance
    summary["day_begins"] = balance
    summary["equity"] = balance
    summary["closing"] = balance
    summary["day"] = first_day


def take_fall(summary: Record, high: int, low: int) -> None:
    """The equity was `high`, then at the lowest `low`."""
    if high > summary["peak"]:
        summary["peak"] = high
    fall = summary["peak"] - low
    if fall > summary["drawdown"]:
        summary["drawdown"] = fall
    fraction = fall / max(summary["peak"], 1)
    if fraction > summary["drawdown_fraction"]:
        summary["drawdown_fraction"] = fraction


def take_equity(summary: Record, day: int, equity: int) -> None:
    """The equity is known anew."""
    reach_day(summary, day)
    summary["equity"] = equity
    take_fall(summary, equity, equity)


def reach_day(summary: Record, day: int) -> None:
    """Days are over, one after the other, until `day` is reached; it never goes back."""
    while summary["day"] < day:
        end_day(summary)
        summary["day"] += 1


def end_day(summary: Record) -> None:
    """A day is over: its return."""
    begins, equity = summary["day_begins"], summary["equity"]
    summary["day_begins"] = equity
    summary["days"] += 1
    if begins <= 0:
        summary["broke"] = 1
        return
    gain = equity / begins - 1.0
    mean, spread = with_value(summary["days"], summary["day_mean"], summary["day_spread"], gain)
    summary["day_mean"] = mean
    summary["day_spread"] = spread
    if gain < 0.0:
        summary["day_downside"] += gain * gain


def take_leg(summary: Record, profits: Array, borders: Array) -> None:
    """A round trip is complete: its sums, and its profit in the block of market time in which it ended."""
    profit = summary["leg_profit"]
    gain = profit / max(summary["leg_cost"], 1)
    summary["legs"] += 1
    mean, spread = with_value(summary["legs"], summary["leg_mean"], summary["leg_spread"], gain)
    summary["leg_mean"] = mean
    summary["leg_spread"] = spread
    summary["held_ns"] += summary["leg_exit_ns"] - summary["leg_entry_ns"]
    if profit > 0:
        summary["wins"] += 1
        summary["won"] += profit
    elif profit < 0:
        summary["losses"] += 1
        summary["lost"] -= profit
    if profits.size > 0:
        profits[block_of(borders, summary["leg_exit_ns"])] += profit
    forget_leg(summary)


def forget_leg(summary: Record) -> None:
    """The next fill of an entry begins a leg."""
    summary["leg_entry_ns"] = 0
    summary["leg_exits"] = 0
    summary["leg_profit"] = 0
    summary["leg_cost"] = 0


def block_of(borders: Array, ns: int) -> int:
    """The block of a time: the last one whose border is not after it. The first border is before everything."""
    low, high = 0, int(borders.size)
    while high - low > 1:
        middle = (low + high) // 2
        if borders[middle] <= ns:
            low = middle
        else:
            high = middle
    return low


def day_of(ns: int, offset_ns: int) -> int:
    """The day of a time, counted from 1970."""
    return int((ns + offset_ns) // NS_PER_DAY)


# --- one trade a candle -----------------------------------------------------------------------------


def read_candles(params: Record, market: Market, rsi: Array, middle: Array, deviation: Array) -> None:
    """What the indicators say at the one trade of each candle; an RSI that decides nothing (nan) before the warm-up."""
    for k in range(market.table.size):
        row = market.table[k]
        if row["closed"] < params["needed"]:
            rsi[k] = middle[k] = deviation[k] = nan
            continue
        change = market.price[k] - row["last_close"]
        gain = rules.smoothed_total(row["carry_gain"], rules.gain_of(change), params["weight"])
        loss = rules.smoothed_total(row["carry_loss"], rules.loss_of(change), params["weight"])
        mean = rules.band_offset(row["sum1"], change, params["inverse"])
        rsi[k] = rules.rsi_value(gain, loss)
        middle[k] = row["last_close"] + mean
        deviation[k] = rules.band_deviation(row["sum2"], change, mean, params["inverse"])


def next_entry(chosen: Record, price: Array, rsi: Array, middle: Array, deviation: Array, at: int) -> int:
    """The first candle from `at` on at which an entry rule holds, or the number of candles."""
    buy, crash, stddev = chosen["rsi_buy"], chosen["rsi_crash"], chosen["stddev"]
    count = int(price.size)
    while at + BLOCK <= count:
        hits = 0
        for k in range(at, at + BLOCK):
            lower = rules.band_lower(middle[k], deviation[k], stddev)
            hits += (rsi[k] < crash) | ((rsi[k] < buy) & (price[k] < lower))
        if hits > 0:
            break
        at += BLOCK
    while at < count:
        lower = rules.band_lower(middle[at], deviation[at], stddev)
        if rules.entry_reason(rsi[at], price[at], lower, buy, crash) != 0:
            break
        at += 1
    return at


def hold(
    chosen: Record, rule: Record, market: Market, rsi: Array, summary: Record, at: int, lots: int, wallet: int
) -> int:
    """From the candle after an entry on: the first one at which an exit rule holds, or the number of candles."""
    price, ticks = market.price, market.ticks
    keep, sell = chosen["terms"]["keep"], chosen["rsi_sell"]
    num, den, offset_ns = rule["num"], rule["den"], chosen["terms"]["day_offset_ns"]
    count = int(price.size)
    highest = price[at - 1]
    day_ends_ns = (summary["day"] + 1) * NS_PER_DAY - offset_ns
    high = low = ticks[at - 1]  # the highest from the entry on, and the lowest since then
    while at < count:
        value = price[at]
        if market.ns[at] >= day_ends_ns:
            summary["equity"] = wallet + notional_floor(ticks[at - 1], lots, num, den)
            reach_day(summary, day_of(market.ns[at], offset_ns))
            day_ends_ns = (summary["day"] + 1) * NS_PER_DAY - offset_ns
        if value > highest:
            highest = value
        if rules.trailing_stop(value, highest, keep) or rules.take_profit(rsi[at], sell):
            break
        tick = ticks[at]
        if tick > high:
            if low < high:
                take_swing(summary, rule, lots, wallet, high, low)
            high = low = tick
        elif tick < low:
            low = tick
        at += 1
    take_swing(summary, rule, lots, wallet, high, low)
    if at == count:
        summary["equity"] = wallet + notional_floor(ticks[at - 1], lots, num, den)
    return at


def take_swing(summary: Record, rule: Record, lots: int, wallet: int, high: int, low: int) -> None:
    """The price of what is held was `high`, then at the lowest `low`, in ticks.

    Most swings come near neither the highest equity nor the deepest fall: floats tell, whole numbers are for the rest.
    """
    num, den, peak = rule["num"], rule["den"], summary["peak"]
    a_tick = lots * 1.0 * num / den
    rough_high, rough_low = wallet + high * a_tick, wallet + low * a_tick
    slack = 4.0 + 1e-12 * (peak + rough_high)
    fall = peak - rough_low + slack
    if rough_high + slack < peak and fall < summary["drawdown"] and fall < summary["drawdown_fraction"] * peak - slack:
        return
    take_fall(summary, wallet + notional_floor(high, lots, num, den), wallet + notional_floor(low, lots, num, den))


def run_candles(
    chosen: Record,
    rule: Record,
    market: Market,
    rsi: Array,
    middle: Array,
    deviation: Array,
    summary: Record,
    profits: Array,
    borders: Array,
) -> None:
    """One combination over candles of one trade each. rule: `layout.MARKET`; profits: by block, empty if not wanted."""
    terms, fee, wallet = chosen["terms"], chosen["fee"], int(chosen["balance"])
    num, den, offset_ns = rule["num"], rule["den"], terms["day_offset_ns"]
    count = int(market.price.size)
    at = 0
    while True:
        at = next_entry(chosen, market.price, rsi, middle, deviation, at)
        if at == count:
            break
        ns, tick = market.ns[at], market.ticks[at]
        wanted = min(fills.lots_for(tick, terms["trade_capital"], num, den), rule["max_lots"])
        worst = worsened(tick, terms["slippage"], True)
        lots = fills.affordable_lots(worst, wanted, num, den, fee, terms["tax_buy"], max(0, wallet))
        if fills.below_minimum(tick, lots, num, den, rule["min_lots"], rule["min_notional"]):
            at += 1
            continue
        notional = notional_ceil(worst, lots, num, den)
        paid, tax = parts_ceil(notional, fee), parts_ceil(notional, terms["tax_buy"])
        cost = notional + paid + tax
        wallet -= cost
        summary["fees"] += paid
        summary["taxes"] += tax
        summary["leg_entry_ns"] = ns
        take_equity(summary, day_of(ns, offset_ns), wallet + notional_floor(tick, lots, num, den))
        at = hold(chosen, rule, market, rsi, summary, at + 1, lots, wallet)
        if at == count:
            summary["open_lots"] = lots
            summary["held_ns"] += market.ns[count - 1] - ns
            break
        ns, tick = market.ns[at], market.ticks[at]
        if fills.below_minimum(tick, lots, num, den, rule["min_lots"], rule["min_notional"]):
            take_equity(summary, day_of(ns, offset_ns), wallet)  # dust: put aside, not sold
            forget_leg(summary)
            at += 1
            continue
        notional = notional_floor(worsened(tick, terms["slippage"], False), lots, num, den)
        paid, tax = parts_ceil(notional, fee), parts_ceil(notional, terms["tax_sell"])
        wallet += notional - paid - tax
        summary["fees"] += paid
        summary["taxes"] += tax
        summary["realized"] += notional - paid - tax - cost
        summary["leg_profit"] = notional - paid - tax - cost
        summary["leg_cost"] = cost
        summary["leg_exit_ns"] = ns
        take_leg(summary, profits, borders)
        take_equity(summary, day_of(ns, offset_ns), wallet)
        at += 1
    finish(summary, day_of(market.ns[count - 1], offset_ns))


def finish(summary: Record, last_day: int) -> None:
    """The market is over."""
    reach_day(summary, last_day)
    end_day(summary)
    summary["closing"] = summary["equity"]


# --- any market -------------------------------------------------------------------------------------


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
