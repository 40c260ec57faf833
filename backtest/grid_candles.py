"""A combination over candles of one trade each, a minute or longer, with instant fills and no limit on results.

* What the indicators say at each trade is made once for a candle setting (`read_candles`).
* The candle at which an entry rule holds next is made once for its three settings (`find_entries`).
* The candle at which the trailing stop sells what was bought at another one is remembered as it is found.

What is left for a combination is to go from entry to exit, with the money of both. Plain functions, compiled by
`backtest.compiled`; money by `core.money` and `trader.fills`.
"""

from math import nan
from typing import NamedTuple

import numpy as np

from backtest.gather import BLOCK
from backtest.grid_sums import NS_PER_DAY, day_of, finish, forget_leg, reach_day, take_equity, take_fall, take_leg
from backtest.layout import Array, Record
from backtest.trigger_walk import Market
from core.money import notional_ceil, notional_floor, parts_ceil, worsened
from indicators import rules
from trader import fills

# The settings that a thread's `entries` and `stops` were made of.
MADE = np.dtype([("rsi_buy", "<f8"), ("rsi_crash", "<f8"), ("stddev", "<f8"), ("keep", "<f8")])


class Candles(NamedTuple):
    """What is known of each candle: the readings for all threads, the rest a thread's own."""

    rsi: Array
    middle: Array
    deviation: Array
    entries: Array  # int32: the first candle from each one on at which an entry rule holds; their number where none
    stops: Array  # int32: where the stop of a position bought there sells; -n: not before candle n; 0: not known
    made: Array  # MADE, one; nan at first


def new_scratch(count: int) -> tuple[Array, Array, Array]:
    """A thread's own part of Candles before its first combination."""
    made = np.zeros(1, MADE)
    made[0] = (nan, nan, nan, nan)
    return np.zeros(count + 1, np.int32), np.zeros(count, np.int32), made


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


def make_ready(chosen: Record, price: Array, candles: Candles) -> None:
    """Have `entries` and `stops` be of these settings."""
    made, keep = candles.made[0], chosen["terms"]["keep"]
    same = (made["rsi_buy"] == chosen["rsi_buy"]) & (made["rsi_crash"] == chosen["rsi_crash"])
    if not (same & (made["stddev"] == chosen["stddev"])):
        find_entries(chosen, price, candles.rsi, candles.middle, candles.deviation, candles.entries)
    if made["keep"] != keep:
        candles.stops[:] = 0
    made["rsi_buy"] = chosen["rsi_buy"]
    made["rsi_crash"] = chosen["rsi_crash"]
    made["stddev"] = chosen["stddev"]
    made["keep"] = keep


def find_entries(chosen: Record, price: Array, rsi: Array, middle: Array, deviation: Array, entries: Array) -> None:
    """Where `rules.entry_reason` names a reason, asked without a branch."""
    buy, crash, stddev = chosen["rsi_buy"], chosen["rsi_crash"], chosen["stddev"]
    count = price.size
    for k in range(count):
        lower = rules.band_lower(middle[k], deviation[k], stddev)
        entries[k] = (rsi[k] < crash) | ((rsi[k] < buy) & (price[k] < lower))
    following = count
    entries[count] = count
    for back in range(count):
        at = count - 1 - back
        following = at if entries[at] != 0 else following
        entries[at] = following


def exit_of(chosen: Record, price: Array, candles: Candles, entry: int) -> int:
    """The first candle behind an entry at which an exit rule holds, or the number of candles."""
    rsi, stops, sell = candles.rsi, candles.stops, chosen["rsi_sell"]
    count = int(price.size)
    stop = int(stops[entry])
    certain = abs(stop)  # no stop before it
    if certain > 0:
        found = first_above(rsi, sell, entry + 1, certain)
        if stop > 0 or found < certain or certain == count:
            return found
    keep = chosen["terms"]["keep"]
    highest = price[entry]
    for k in range(entry + 1, count):
        value = price[k]
        if value > highest:
            highest = value
        if rules.trailing_stop(value, highest, keep):
            stops[entry] = k
            return k
        if rules.take_profit(rsi[k], sell):
            stops[entry] = -k
            return k
    stops[entry] = -count
    return count


def first_above(rsi: Array, sell: float, at: int, end: int) -> int:
    """The first candle from `at` on at which RSI sells, or `end` where there is none before it."""
    while at < end:
        part = rsi[at : min(at + BLOCK, end)]
        first = size = part.size
        for k in range(size):
            first = min(first, k if rules.take_profit(part[k], sell) else size)
        at += first
        if first < size:
            break
    return at


def watch_equity(
    rule: Record, market: Market, summary: Record, offset_ns: int, entry: int, end: int, lots: int, wallet: int
) -> None:
    """Take in the equity while a position is held: from its entry until the candle before `end`."""
    ticks, ns = market.ticks, market.ns
    num, den, count = rule["num"], rule["den"], int(ticks.size)
    high, low = highest_and_lowest(ticks[entry:end])
    same_day = ns[min(end, count - 1)] < (summary["day"] + 1) * NS_PER_DAY - offset_ns
    rough_high = wallet + high * (lots * 1.0 * num / den)
    if same_day and rough_high + slack_of(summary, rough_high) < summary["peak"]:
        # No new highest equity: the lowest price is the deepest fall.
        take_swing(summary, rule, lots, wallet, high, low)
    else:
        walk_equity(rule, market, summary, offset_ns, entry, end, lots, wallet)
    if end == count:
        summary["equity"] = wallet + notional_floor(ticks[count - 1], lots, num, den)


def highest_and_lowest(ticks: Array) -> tuple[int, int]:
    """Of at least one."""
    high = low = ticks[0]
    for k in range(ticks.size):
        high = max(high, ticks[k])
        low = min(low, ticks[k])
    return high, low


def walk_equity(
    rule: Record, market: Market, summary: Record, offset_ns: int, entry: int, end: int, lots: int, wallet: int
) -> None:
    """`watch_equity` candle by candle."""
    ticks, ns = market.ticks, market.ns
    num, den, count = rule["num"], rule["den"], int(ticks.size)
    day_ends_ns = (summary["day"] + 1) * NS_PER_DAY - offset_ns
    high = low = ticks[entry]  # the highest from the entry on, and the lowest since then
    for at in range(entry + 1, min(end + 1, count)):
        if ns[at] >= day_ends_ns:
            summary["equity"] = wallet + notional_floor(ticks[at - 1], lots, num, den)
            reach_day(summary, day_of(ns[at], offset_ns))
            day_ends_ns = (summary["day"] + 1) * NS_PER_DAY - offset_ns
        tick = ticks[at]
        if at < end and tick > high:
            if low < high:
                take_swing(summary, rule, lots, wallet, high, low)
            high = low = tick
        elif at < end and tick < low:
            low = tick
    take_swing(summary, rule, lots, wallet, high, low)


def take_swing(summary: Record, rule: Record, lots: int, wallet: int, high: int, low: int) -> None:
    """The price of what is held was `high`, then at the lowest `low`, in ticks.

    Most swings come near neither the highest equity nor the deepest fall: floats tell, whole numbers are for the rest.
    """
    num, den, peak = rule["num"], rule["den"], summary["peak"]
    a_tick = lots * 1.0 * num / den
    rough_high, rough_low = wallet + high * a_tick, wallet + low * a_tick
    slack = slack_of(summary, rough_high)
    fall = peak - rough_low + slack
    if rough_high + slack < peak and fall < summary["drawdown"] and fall < summary["drawdown_fraction"] * peak - slack:
        return
    take_fall(summary, wallet + notional_floor(high, lots, num, den), wallet + notional_floor(low, lots, num, den))


def slack_of(summary: Record, rough: float) -> float:
    """How far an equity worked out in floats may be from the exact one."""
    peak: int = summary["peak"]
    return 4.0 + 1e-12 * (peak + rough)


def bought(ticks: int, lots: int, num: int, den: int, fee: int, tax: int) -> tuple[int, int, int]:
    """What a buy costs in all, and of that fee and tax, as `fills.buy_cost` has it."""
    notional = notional_ceil(ticks, lots, num, den)
    paid, withheld = parts_ceil(notional, fee), parts_ceil(notional, tax)
    return notional + paid + withheld, paid, withheld


def run_candles(
    chosen: Record,
    rule: Record,
    market: Market,
    candles: Candles,
    summary: Record,
    profits: Array,
    borders: Array,
) -> None:
    """One combination over candles of one trade each. rule: `layout.MARKET`; profits: by block, empty if not wanted."""
    terms, fee, wallet = chosen["terms"], chosen["fee"], int(chosen["balance"])
    num, den, offset_ns = rule["num"], rule["den"], terms["day_offset_ns"]
    count = int(market.price.size)
    make_ready(chosen, market.price, candles)
    at = 0
    while True:
        at = int(candles.entries[at])
        if at == count:
            break
        ns, tick = market.ns[at], market.ticks[at]
        lots = min(fills.lots_for(tick, terms["trade_capital"], num, den), rule["max_lots"])
        worst = worsened(tick, terms["slippage"], True)
        cost, paid, tax = bought(worst, lots, num, den, fee, terms["tax_buy"])
        if cost > wallet:
            lots = fills.affordable_lots(worst, lots, num, den, fee, terms["tax_buy"], max(0, wallet))
            cost, paid, tax = bought(worst, lots, num, den, fee, terms["tax_buy"])
        if fills.below_minimum(tick, lots, num, den, rule["min_lots"], rule["min_notional"]):
            at += 1
            continue
        wallet -= cost
        summary["fees"] += paid
        summary["taxes"] += tax
        summary["leg_entry_ns"] = ns
        take_equity(summary, day_of(ns, offset_ns), wallet + notional_floor(tick, lots, num, den))
        end = exit_of(chosen, market.price, candles, at)
        watch_equity(rule, market, summary, offset_ns, at, end, lots, wallet)
        at = end
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
