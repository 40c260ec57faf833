"""When and how a simulated order fills: whole numbers in, whole numbers out, compiled unchanged by the backtest.

PAPER_FILL=tape:
* an order fills on trades after the deciding one (the engine matches before it decides)
* a trade fills it from decision time + PAPER_LATENCY_MS on, by exchange time; an earlier one does not
* either side of trade fills either side of order
* a trade gives up to PAPER_PARTICIPATION of its quantity, rounded down to the lot
* the price is the trade's, worsened by SLIPPAGE_BPS and rounded against us to the tick
* an entry's rest is cancelled at the first trade ENTRY_TIMEOUT_MS after it could fill, and does not fill on that trade
* an exit has no time-out
* a remainder of an exit below the market's minimum is dust: the order ends there
* no trade means no fill and no time-out (nothing here knows another clock)
* an entry never pays more than its reserve and the free balance hold; what they cannot pay stays unfilled
* LATE trades fill nothing, BACKFILL trades fill (the engine drops the first and passes the second)

PAPER_FILL=instant:
* the whole order fills at the deciding trade's price, worsened by SLIPPAGE_BPS and rounded against us to the tick

Where this is kind to us: a trade is shared with nobody, and its price stays after we took part of it.

Money of a fill, both modes:
* a buy pays its notional rounded up, plus fee and tax, each rounded up
* a sell gets its notional rounded down, less fee and tax, each rounded up
"""

from core.money import MAX_SCALE, PARTS, mul_div_floor, notional_ceil, notional_floor, parts_ceil, parts_floor

MAX_LOTS = 1 << 52


def can_fill(trade_ns: int, decided_ns: int, latency_ns: int) -> bool:
    """Whether a trade at `trade_ns` is late enough for an order decided at `decided_ns`."""
    return trade_ns >= decided_ns + latency_ns


def timed_out(trade_ns: int, decided_ns: int, latency_ns: int, timeout_ns: int) -> bool:
    """Whether a trade at `trade_ns` ends a working entry."""
    return trade_ns >= decided_ns + latency_ns + timeout_ns


def offered(trade_lots: int, participation: int) -> int:
    """Lots of a trade that we may take; participation in parts."""
    return parts_floor(trade_lots, participation)


def buy_cost(ticks: int, lots: int, num: int, den: int, fee: int, tax: int) -> int:
    """Units that a buy takes from the wallet; fee and tax in parts."""
    notional = notional_ceil(ticks, lots, num, den)
    return notional + parts_ceil(notional, fee) + parts_ceil(notional, tax)


def sell_proceeds(ticks: int, lots: int, num: int, den: int, fee: int, tax: int) -> int:
    """Units that a sell brings into the wallet; fee and tax in parts."""
    notional = notional_floor(ticks, lots, num, den)
    return notional - parts_ceil(notional, fee) - parts_ceil(notional, tax)


def below_minimum(ticks: int, lots: int, num: int, den: int, min_lots: int, min_notional: int) -> bool:
    """Whether the market would refuse an order of `lots` at `ticks`; min_notional in units."""
    return lots < 1 or lots < min_lots or notional_floor(ticks, lots, num, den) < min_notional


def affordable_lots(ticks: int, most: int, num: int, den: int, fee: int, tax: int, free: int) -> int:
    """The most lots, up to `most`, whose buy at `ticks` costs at most `free` units.

    The cost grows with the lots, so what they would cost without rounding says about how many; exact costs settle it.
    """
    if most <= 0 or free <= 0:
        return 0
    one = ticks * num / den * (1.0 + (fee + tax) / PARTS)
    if one * most <= free and buy_cost(ticks, most, num, den, fee, tax) <= free:
        return most
    if buy_cost(ticks, 1, num, den, fee, tax) > free:
        return 0
    low = most
    if one * most > free:
        low = max(1, min(most, int(free / one)))
    step = 1
    high = low + 1  # too many, where it is at most `most`
    if buy_cost(ticks, low, num, den, fee, tax) <= free:
        while high <= most and buy_cost(ticks, high, num, den, fee, tax) <= free:
            low = high
            step *= 2
            high = min(low + step, most + 1)
    else:
        high = low
        low = max(1, high - step)
        while low > 1 and buy_cost(ticks, low, num, den, fee, tax) > free:
            high = low
            step *= 2
            low = max(1, high - step)
    while high - low > 1:
        middle = low + (high - low) // 2
        if buy_cost(ticks, middle, num, den, fee, tax) <= free:
            low = middle
        else:
            high = middle
    return low


def lots_for(ticks: int, capital: int, num: int, den: int) -> int:
    """capital / price rounded down to the step: the most lots whose notional is at most `capital` units."""
    if ticks <= 0 or capital <= 0:
        return 0
    one = ticks * num  # units x den of a lot
    if one <= MAX_SCALE and capital // one < MAX_LOTS // den:
        return mul_div_floor(capital, den, one)
    return affordable_lots(ticks, MAX_LOTS, num, den, 0, 0, capital)
