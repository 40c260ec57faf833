"""Statistics of the equity: drawdown, daily returns and their ratios, and holding the pairs beside it.

Equity is the wallet plus the positions at their last prices, before the fee of selling them. It is known once a minute
and at each fill: what happens between two rows is not seen. Ratios are on simple returns with a risk-free rate of 0.
"""

import math
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import msgspec
import numpy as np

from backtest.moments import moments_of
from backtest.result import Array, Result
from backtest.stats_legs import NS_PER_DAY, amount, ratio
from core.money import PARTS, notional_floor, to_parts, to_units
from core.settings_table import TIMEFRAMES_MS
from trader.terms import market_terms

DAYS_A_YEAR = 365  # these markets never close
LEAST_DAYS = 30  # of daily returns, for a yearly ratio
CAGR_DAYS = 360  # a year, less what is missing at the ends of a year's file


class Drawdown(msgspec.Struct, frozen=True):
    """How far the equity fell below its highest so far, which begins with the opening balance.

    * amount: the deepest fall in quote currency; fraction: the deepest as a part of the peak before it (M. Magdon-
      Ismail and A. Atiya, Maximum Drawdown, Risk 17(10), 2004). The two may be different falls.
    * peak_ms, valley_ms, recovered_ms: of the deepest by fraction; recovered_ms is None where it never came back
    * longest_seconds: the longest time from a peak until the equity was there again, or until the end
    """

    amount: Decimal
    fraction: float
    peak_ms: int | None
    valley_ms: int | None
    recovered_ms: int | None
    longest_seconds: float


class Returns(msgspec.Struct, frozen=True):
    """Ratios of return and risk.

    A day's return is its last equity / the last equity of the day before - 1; the first day starts from the opening
    balance, and days without a row return 0. Days begin at UTC midnight less DAY_OFFSET_MINUTES; the first and the last
    may be parts of a day.

    * sharpe: mean / sample deviation (n - 1) of the daily returns, times sqrt(365) (W. Sharpe, The Sharpe Ratio,
      Journal of Portfolio Management 21(1), 1994); from 30 days on
    * sortino: mean / downside deviation of the daily returns, times sqrt(365); the downside deviation is the root of
      the mean over all days of min(0, return)^2 (F. Sortino and L. Price, Performance Measurement in a Downside Risk
      Framework, Journal of Investing 3(3), 1994); from 30 days on
    * sharpe_leg, sortino_leg: the same on the legs' returns, for one leg, not made yearly
    * cagr: (closing / opening)^(365 / days) - 1; from 360 days on, as the GIPS standards make no yearly return of a
      shorter time
    * calmar: cagr / deepest drawdown as a fraction (T. Young, Calmar Ratio: A Smoother Tool, Futures 20(1), 1991, there
      over three years)
    """

    days: int
    best_day: float | None
    worst_day: float | None
    daily_mean: float | None
    daily_deviation: float | None
    sharpe: float | None
    sortino: float | None
    sharpe_leg: float | None
    sortino_leg: float | None
    cagr: float | None
    calmar: float | None


class BuyAndHold(msgspec.Struct, frozen=True):
    """Each pair bought at its first trade and sold at its last, with the run's fee, taxes and slippage once a side.

    * stake: what is put in: TRADE_CAPITAL for each pair, or the opening balance in equal parts where that is less, as
      the strategy could have at most; the rest of the balance stays as it is
    * profit, and as return_fraction of the opening balance, to be read beside the run's
    * price_change: mean of the pairs' last price / first price - 1, without costs
    * drawdown_fraction: deepest fall of that equity, on the closes of the candles; None without them
    """

    stake: Decimal
    profit: Decimal
    return_fraction: float | None
    price_change: float | None
    drawdown_fraction: float | None


class Curve(NamedTuple):
    """Equity over time: ns that never go back, and units."""

    ns: Array
    units: Array


def opening_units(result: Result) -> int:
    """Units in the wallet before the first trade."""
    return to_units(result.settings["PAPER_BALANCE"], "PAPER_BALANCE")


def closing_units(result: Result) -> int:
    """Units at the end: the wallet and what is held at the last prices; dust is not counted."""
    return result.wallet + sum(held_value(result).values())


def held_value(result: Result) -> dict[int, int]:
    """Units that each pair's position is worth at its last price, by pair."""
    found = {}
    for held in result.held:
        if held.lots:
            terms = market_terms(result.start.markets[held.pair])
            found[held.pair] = notional_floor(held.ticks, held.lots, terms.num, terms.den)
    return found


def first_and_last_ns(result: Result) -> tuple[int, int]:
    """When the market began and ended; (0, 0) where no trade counted."""
    if not result.spans:
        return 0, 0
    return min(span.first_ns for span in result.spans), max(span.last_ns for span in result.spans)


def equity_curve(result: Result) -> Curve:
    """The opening balance, the rows of the run, and the end; one point where there was no market."""
    rows = result.equity
    first, last = first_and_last_ns(result)
    ns = np.concatenate(([first], rows["ns"], [last])).astype(np.int64)
    units = np.concatenate(([opening_units(result)], rows["balance"] + rows["position_value"], [closing_units(result)]))
    if not result.spans:
        return Curve(ns[:1], units[:1].astype(np.int64))
    return Curve(np.maximum.accumulate(ns), units.astype(np.int64))


def drawdown(curve: Curve) -> Drawdown:
    """The falls of an equity curve."""
    peaks = np.maximum.accumulate(curve.units)
    falls = peaks - curve.units
    fractions = falls / np.maximum(peaks, 1)
    valley = int(fractions.argmax())
    deepest = float(fractions[valley])
    if not deepest:
        return Drawdown(amount(0), 0.0, None, None, None, 0.0)
    tops = np.flatnonzero(falls == 0)
    peak = int(tops[np.searchsorted(tops, valley) - 1])
    after = tops[tops > valley]
    ends = np.append(tops, len(falls) - 1)
    under = np.diff(ends) > 1
    under[-1:] |= ends[-1] != ends[-2]  # still below at the end
    times = np.diff(curve.ns[ends])[under]
    return Drawdown(
        amount=amount(falls.max()),
        fraction=deepest,
        peak_ms=int(curve.ns[peak]) // 1_000_000,
        valley_ms=int(curve.ns[valley]) // 1_000_000,
        recovered_ms=int(curve.ns[after[0]]) // 1_000_000 if len(after) else None,
        longest_seconds=float(times.max()) / 1e9,
    )


def daily_returns(curve: Curve, offset_ns: int) -> Array:
    """Return of each day from the first to the last; empty where the equity ever was 0 at a day's end."""
    if len(curve.ns) < 2:
        return np.zeros(0)
    days = (curve.ns + offset_ns) // NS_PER_DAY
    wanted = np.arange(days[0], days[-1] + 1)
    closes = curve.units[np.searchsorted(days, wanted, side="right") - 1].astype(np.float64)
    before = np.concatenate(([float(curve.units[0])], closes[:-1]))
    if (before <= 0).any():
        return np.zeros(0)
    return closes / before - 1.0


def sharpe(returns: Array) -> float | None:
    """Mean over sample deviation, for one period; None for fewer than two or where all are equal."""
    mean, spread = moments_of(returns.tolist())
    if len(returns) < 2 or spread == 0.0:
        return None
    return mean / math.sqrt(spread / (len(returns) - 1))


def sortino(returns: Array) -> float | None:
    """Mean over downside deviation, for one period; None for fewer than two or where none is below 0."""
    mean, _ = moments_of(returns.tolist())
    downside = 0.0
    for value in returns[returns < 0].tolist():
        downside += value * value
    if len(returns) < 2 or downside == 0.0:
        return None
    return mean / math.sqrt(downside / len(returns))


def returns_of(curve: Curve, leg_returns: Array, offset_ns: int, deepest: float) -> Returns:
    """The ratios of a curve and of the legs on it."""
    daily = daily_returns(curve, offset_ns)
    enough = len(daily) >= LEAST_DAYS
    year = math.sqrt(DAYS_A_YEAR)
    days = int(curve.ns[-1] - curve.ns[0]) / NS_PER_DAY
    grown = curve.units[-1] / curve.units[0] if curve.units[0] > 0 else 0.0
    cagr = float(grown ** (DAYS_A_YEAR / days)) - 1.0 if days >= CAGR_DAYS and grown > 0 else None
    daily_sharpe, daily_sortino = (sharpe(daily), sortino(daily)) if enough else (None, None)
    return Returns(
        days=len(daily),
        best_day=float(daily.max()) if len(daily) else None,
        worst_day=float(daily.min()) if len(daily) else None,
        daily_mean=float(daily.mean()) if len(daily) else None,
        daily_deviation=float(daily.std(ddof=1)) if len(daily) > 1 else None,
        sharpe=None if daily_sharpe is None else daily_sharpe * year,
        sortino=None if daily_sortino is None else daily_sortino * year,
        sharpe_leg=sharpe(leg_returns),
        sortino_leg=sortino(leg_returns),
        cagr=cagr,
        calmar=ratio(cagr, deepest) if cagr is not None else None,
    )


def buy_and_hold(result: Result) -> BuyAndHold:
    """Holding the pairs over the same time."""
    opening = opening_units(result)
    stake = _stake(result)
    profit = Fraction(0)
    changes = []
    for span in result.spans:
        first, last = Fraction(span.first_price), Fraction(span.last_price)
        bought = _bought(result, stake, first)
        profit += bought * last * _kept(result) - stake
        changes.append(span.last_price / span.first_price - 1.0)
    held = hold_curve(result)
    return BuyAndHold(
        stake=amount(stake * len(result.spans)),
        profit=amount(math.floor(profit)),
        return_fraction=ratio(math.floor(profit), opening),
        price_change=ratio(sum(changes), len(changes)),
        drawdown_fraction=drawdown(held).fraction if held is not None else None,
    )


def hold_curve(result: Result) -> Curve | None:
    """Equity of holding the pairs, at each close of a candle, before the costs of selling; None without candles."""
    if not len(result.bars) or not result.spans:
        return None
    opening, stake = opening_units(result), _stake(result)
    first, last = first_and_last_ns(result)
    width = TIMEFRAMES_MS[result.settings["TIMEFRAME"]] * 1_000_000
    bar_ends = result.bars["open_ns"] + width
    ends = np.sort(bar_ends[(bar_ends > first) & (bar_ends < last)])  # the candles before the first trade are history
    ends = np.append(ends[np.append(True, ends[1:] != ends[:-1])] if len(ends) else ends, last)
    units = np.full(len(ends), float(opening - stake * len(result.spans)))
    for span in result.spans:
        own = np.flatnonzero((result.bars["pair"] == span.pair) & (bar_ends > span.first_ns))
        own = own[np.argsort(bar_ends[own], kind="stable")]
        at = np.searchsorted(bar_ends[own], ends, side="right")
        closes = np.concatenate(([span.first_price], result.bars["close"][own]))[at]
        closes[-1] = span.last_price
        units += float(_bought(result, stake, Fraction(span.first_price))) * closes
    return Curve(np.append(first, ends), np.floor(np.append(float(opening), units)).astype(np.int64))


def _stake(result: Result) -> int:
    """Units put into each pair."""
    most = opening_units(result) // max(1, len(result.spans))
    return min(most, to_units(result.settings["TRADE_CAPITAL"], "TRADE_CAPITAL"))


def _bought(result: Result, stake: int, price: Fraction) -> Fraction:
    """Units at a price of 1 that a stake buys: base currency times the units of one."""
    slippage, tax = _parts(result, "SLIPPAGE_BPS"), _parts(result, "TAX_BUY_BPS")
    charged = Fraction(PARTS + slippage, PARTS) * Fraction(PARTS + result.fee + tax, PARTS)
    return stake / charged / price


def _kept(result: Result) -> Fraction:
    """What is kept of the value when it is sold."""
    slippage, tax = _parts(result, "SLIPPAGE_BPS"), _parts(result, "TAX_SELL_BPS")
    return Fraction(PARTS - slippage, PARTS) * Fraction(PARTS - result.fee - tax, PARTS)


def _parts(result: Result, name: str) -> int:
    return to_parts(result.settings[name], name)
