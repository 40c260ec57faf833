"""The strategy's rules as plain scalar functions: the one text that indicators, trader and backtest run.

Everything here takes and returns float64, works the same as Python and compiled by numba, and gives the same bits in
both: no `**`, no sums of iterables, no library sum, and every division and root stands behind a branch. Callers pass
what was prepared at the last candle close, so that the reading at a trade is O(1).

RSI. A close-to-close change adds to a *total* of gains or losses: `total = carry + change * weight`, where `carry` was
prepared at the last close. At a close the total becomes an average, `total / scale`, and the next carry is
`average * keep`. With RSI_PERIOD = n:

* wilder: keep = n - 1, weight = 1, scale = n. While fewer than n changes are known the carry is their plain sum, so the
  first average is the mean of the first n changes of the segment (as TA-Lib).
* ema: alpha = 2 / (n + 1); keep = 1 - alpha, weight = alpha, scale = 1. The first candle of the segment counts as a
  gain and a loss of 0.1 each (as the Rust `ta` crate 0.5).

RSI needs only the ratio of the totals, so the totals themselves go into `rsi_value` in place of the averages.

Bollinger. `sum1` and `sum2` are the sums of d and d * d over the BB_PERIOD - 1 latest closed closes, d = close - last
close, oldest first. Measured from a member of the window, the variance loses at most a factor of BB_PERIOD + 1 of
float64's accuracy, where running sums of squared prices would lose all of it.
"""

from math import sqrt

from bus.layouts import ENTER_CRASH_CATCH, ENTER_MEAN_REVERSION, EXIT_TAKE_PROFIT

EMA_SEED = 0.1  # gain and loss that the first candle of a segment counts as, with RSI_SMOOTHING=ema


# --- RSI ------------------------------------------------------------------------------------------


def smoothing_keep(period: int, ema: bool) -> float:
    """What an average is multiplied by to become the next carry."""
    if ema:
        return 1.0 - 2.0 / (period + 1.0)
    return period - 1.0


def smoothing_weight(period: int, ema: bool) -> float:
    """What a change is multiplied by before it is added to the carry."""
    if ema:
        return 2.0 / (period + 1.0)
    return 1.0


def smoothing_scale(period: int, ema: bool) -> float:
    """What a total is divided by to become an average."""
    if ema:
        return 1.0
    return 1.0 * period


def gain_of(change: float) -> float:
    """The gain in a change of price: the change where it is positive, else 0."""
    if change > 0.0:
        return change
    return 0.0


def loss_of(change: float) -> float:
    """The loss in a change of price, as a positive number: 0 where there is none."""
    if change < 0.0:
        return -change
    return 0.0


def smoothed_total(carry: float, change: float, weight: float) -> float:
    """Gains or losses up to and including `change`, not yet divided by the scale."""
    return carry + change * weight


def next_carry(total: float, keep: float, scale: float) -> float:
    """The carry after a candle closed with this total (once the average is seeded)."""
    if scale > 0.0:
        return total / scale * keep
    return 0.0


def rsi_value(gain: float, loss: float) -> float:
    """RSI, 0 to 100, from average gain and loss or from any equal multiple of both.

    No losses gives 100, no movement at all gives 50.
    """
    both = gain + loss
    if both == 0.0:
        return 50.0
    if loss == 0.0:
        return 100.0
    return 100.0 * gain / both


# --- Bollinger ------------------------------------------------------------------------------------


def band_offset(sum1: float, offset: float, inverse: float) -> float:
    """The mean of the window minus the last close; `offset` = price - last close, `inverse` = 1 / BB_PERIOD."""
    return (sum1 + offset) * inverse


def band_deviation(sum2: float, offset: float, mean_offset: float, inverse: float) -> float:
    """Population standard deviation of the window with the forming price in it."""
    variance = (sum2 + offset * offset) * inverse - mean_offset * mean_offset
    if variance > 0.0:
        return sqrt(variance)
    return 0.0


def band_lower(middle: float, deviation: float, stddev: float) -> float:
    """The lower band, `stddev` deviations under the middle."""
    return middle - deviation * stddev


def band_upper(middle: float, deviation: float, stddev: float) -> float:
    """The upper band, `stddev` deviations over the middle."""
    return middle + deviation * stddev


# --- decisions --------------------------------------------------------------------------------------


def candles_needed(warmup_candles: int, bb_period: int, rsi_period: int) -> int:
    """How many closed candles a segment needs before its first decision."""
    needed = warmup_candles
    if bb_period - 1 > needed:
        needed = bb_period - 1
    if rsi_period > needed:
        needed = rsi_period
    return needed


def entry_reason(rsi: float, price: float, bb_lower: float, rsi_buy: float, rsi_crash: float) -> int:
    """Why to enter when flat: ENTER_CRASH_CATCH (wins where both hold), ENTER_MEAN_REVERSION, or 0 for not at all."""
    if rsi < rsi_crash:
        return ENTER_CRASH_CATCH
    if rsi < rsi_buy and price < bb_lower:
        return ENTER_MEAN_REVERSION
    return 0


def take_profit(rsi: float, rsi_sell: float) -> bool:
    """Whether a long position is to be sold because RSI is high."""
    return rsi > rsi_sell


def exit_code(rsi: float, rsi_sell: float) -> int:
    """EXIT_TAKE_PROFIT or 0."""
    if take_profit(rsi, rsi_sell):
        return EXIT_TAKE_PROFIT
    return 0


def keep_factor(stop_pct: float) -> float:
    """The share of the highest price at which the trailing stop stands; computed once from TRAILING_STOP_PCT."""
    return 1.0 - stop_pct


def trailing_stop(price: float, highest: float, keep: float) -> bool:
    """Whether the price has fallen to the trailing stop under the highest price seen while long."""
    return price <= highest * keep
