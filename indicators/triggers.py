"""Trigger prices: where, on the venue's price grid, each rule begins to hold for the next trade of the forming candle.

The rules are asked themselves: for a given past an entry rule holds at every price up to some grid price, take-profit
at every price from some grid price on (BB_STDDEV squared is below BB_PERIOD - 1, the settings see to that). So
galloping from the last close and halving finds the neighbours between which the answer changes; it stands until the
next candle closes. Plain scalars over the packed state; compiled by kernels.
"""

from bus.layouts import ENTER_CRASH_CATCH, ENTER_MEAN_REVERSION
from indicators import rules
from indicators.layout import Record

NO_TICKS = -1  # there is no such grid price
FARTHEST = 1024  # times the last close: beyond this nobody looks


def price_at(head: Record, ticks: int) -> float:
    """The grid price as the venue's decimal text would be read: one division, rounded once."""
    if head["tick_scale"] > 0.0:
        return float(ticks * head["tick_units"] / head["tick_scale"])
    return 0.0


def rule_holds(params: Record, head: Record, price: float, rule: int) -> bool:
    """Whether a rule would hold at a trade of this price: ENTER_MEAN_REVERSION, ENTER_CRASH_CATCH, EXIT_TAKE_PROFIT."""
    change = price - head["last_close"]
    gain = rules.smoothed_total(head["carry_gain"], rules.gain_of(change), params["weight"])
    loss = rules.smoothed_total(head["carry_loss"], rules.loss_of(change), params["weight"])
    rsi = rules.rsi_value(gain, loss)
    if rule == ENTER_CRASH_CATCH:
        return rules.entry_reason(rsi, price, 0.0, -1.0, params["rsi_crash"]) != 0
    if rule == ENTER_MEAN_REVERSION:
        mean = rules.band_offset(head["sum1"], change, params["inverse"])
        deviation = rules.band_deviation(head["sum2"], change, mean, params["inverse"])
        lower = rules.band_lower(head["last_close"] + mean, deviation, params["stddev"])
        return rules.entry_reason(rsi, price, lower, params["rsi_buy"], -1.0) != 0
    return rules.take_profit(rsi, params["rsi_sell"])


def last_close_ticks(head: Record) -> int:
    """The grid price at or next to the last close."""
    if head["tick_units"] > 0.0:
        return int(head["last_close"] * head["tick_scale"] / head["tick_units"] + 0.5)
    return 0


def trigger_ticks(params: Record, head: Record, rule: int) -> int:
    """The grid price that a rule turns at: the highest at which an entry rule holds, the lowest for take-profit.

    In ticks; NO_TICKS before the warm-up is over, where the grid is unknown, and where there is none.
    """
    near = last_close_ticks(head)
    if head["closed"] < params["needed"] or near < 1:
        return NO_TICKS
    entry = rule in (ENTER_CRASH_CATCH, ENTER_MEAN_REVERSION)
    limit = near * FARTHEST
    # Of `low` and `high`, neighbours in the end, an entry rule holds at `low` only, take-profit at `high` only.
    low = near
    high = near
    step = 1
    if rule_holds(params, head, price_at(head, near), rule) == entry:
        while rule_holds(params, head, price_at(head, high), rule) == entry:
            low = high
            if high == limit:
                return high if entry else NO_TICKS
            high += step
            step *= 2
            if high > limit:
                high = limit
    else:
        while rule_holds(params, head, price_at(head, low), rule) != entry:
            high = low
            if low == 1:
                return NO_TICKS if entry else low
            low -= step
            step *= 2
            if low < 1:
                low = 1
    while high - low > 1:
        middle = (low + high) // 2
        if rule_holds(params, head, price_at(head, middle), rule) == entry:
            low = middle
        else:
            high = middle
    return low if entry else high


def buy_below_ticks(params: Record, head: Record) -> int:
    """The highest grid price at which any entry rule holds, or NO_TICKS."""
    reversion = trigger_ticks(params, head, ENTER_MEAN_REVERSION)
    crash = trigger_ticks(params, head, ENTER_CRASH_CATCH)
    if crash > reversion:
        return crash
    return reversion
