"""Trigger prices in closed form: between which prices of the forming candle each rule turns.

RSI depends on the price by one of its totals alone, which is linear in it; `price < bb_lower` is a quadratic, since the
forming price is one of the BB_PERIOD in the window. An *edge* is where the rule turns in exact arithmetic. Float
arithmetic can turn it a little off, so each edge comes with a guard: 1e-9 of it, and more where the state makes the
rule itself inexact. Outside edge +- guard a comparison of prices says what the rule says; inside the rule is asked.

Let d = price - last close, n = BB_PERIOD - 1, m and v mean and variance of the n closed closes, measured from the last
one, k = BB_STDDEV:

* gains G = carry_gain + w * d for d > 0, losses L = carry_loss - w * d for d < 0; 100 * G / (G + L) = R at
  d = x / (R * w) where x = R * carry_loss - (100 - R) * carry_gain is negative, else at d = x / ((100 - R) * w)
* price < bb_lower exactly below d = m - k * sqrt(v * (n + 1) / (n - k * k)); it needs k * k < n, which the settings
  demand
"""

from math import sqrt
from typing import NamedTuple

from indicators import rules
from indicators.candles import NOT_YET
from indicators.layout import Record

GUARD = 1e-9  # of the edge
NOISE = 1e-13  # 450 roundings
LEAST_SLOPE = 1e-6  # (n - k * k) / (n + 1) below this: the band runs beside the price
LEAST_RSI = 1e-9  # a threshold nearer to 0 or 100 is lost in the rounding
NEVER = -1.0  # below any price
ALWAYS = 1e300  # above any price


class Edge(NamedTuple):
    """Where a rule turns, and from how far off a comparison is certain: a guard of ALWAYS leaves all to the rule."""

    price: float
    guard: float


def reading(row: Record, params: Record, price: float) -> tuple[float, float]:
    """RSI and lower band that a trade at this price makes, as an UPDATE has them; row: `gather.CANDLE_ROW`."""
    change = price - row["last_close"]
    rsi = lower = NOT_YET
    if row["closed"] >= params["rsi_period"]:
        gain = rules.smoothed_total(row["carry_gain"], rules.gain_of(change), params["weight"])
        loss = rules.smoothed_total(row["carry_loss"], rules.loss_of(change), params["weight"])
        rsi = rules.rsi_value(gain, loss)
    if row["closed"] >= params["bb_period"] - 1:
        mean = rules.band_offset(row["sum1"], change, params["inverse"])
        deviation = rules.band_deviation(row["sum2"], change, mean, params["inverse"])
        lower = rules.band_lower(row["last_close"] + mean, deviation, params["stddev"])
    return rsi, lower


def rsi_edge(row: Record, weight: float, threshold: float) -> Edge:
    """The price at which RSI is `threshold`: RSI grows with the price."""
    if not LEAST_RSI <= threshold <= 100.0 - LEAST_RSI:
        return Edge(0.0, ALWAYS)
    last_close, gain, loss = row["last_close"], row["carry_gain"], row["carry_loss"]
    rest = 100.0 - threshold
    side = threshold * loss - rest * gain
    if side < 0.0:
        offset = side / (threshold * weight)
        totals = (loss + gain * 100.0 / threshold) / weight
    else:
        offset = side / (rest * weight)
        totals = (gain + loss * 100.0 / rest) / weight * 100.0 / rest
    price = last_close + offset
    return Edge(price, GUARD * abs(price) + NOISE * (last_close + totals))


def band_edge(row: Record, bb_period: int, stddev: float) -> Edge:
    """The price below which a trade is under the lower band that it makes itself."""
    length = bb_period - 1.0
    slope = (length - stddev * stddev) / bb_period
    if slope < LEAST_SLOPE:
        return Edge(0.0, ALWAYS)
    mean = row["sum1"] / length
    variance = row["sum2"] / length - mean * mean
    if variance < 0.0:
        variance = 0.0
    spread = stddev * sqrt(variance / slope)
    price = row["last_close"] + mean - spread
    noise = NOISE * (row["last_close"] + abs(mean) + bb_period * spread) / slope
    return Edge(price, GUARD * abs(price) + noise)


def entry_edges(row: Record, params: Record) -> tuple[float, float]:
    """(low, high): below low an entry rule holds, above high none does, between them they must be asked."""
    weight, rsi_buy, rsi_crash = params["weight"], params["rsi_buy"], params["rsi_crash"]
    low = high = NEVER
    if rsi_buy > 0.0:
        rsi = rsi_edge(row, weight, rsi_buy)
        band = band_edge(row, params["bb_period"], params["stddev"])
        low = min(rsi.price - rsi.guard, band.price - band.guard)
        high = min(rsi.price + rsi.guard, band.price + band.guard)
    if rsi_crash > 0.0:
        crash = rsi_edge(row, weight, rsi_crash)
        low = max(low, crash.price - crash.guard)
        high = max(high, crash.price + crash.guard)
    return low, high


def exit_edges(row: Record, params: Record) -> tuple[float, float]:
    """(low, high): below low take_profit does not hold, above high it does.

    With RSI_SELL=100 the rule is asked everywhere: rounding can make an RSI of 100.00000000000001.
    """
    edge = rsi_edge(row, params["weight"], params["rsi_sell"])
    return edge.price - edge.guard, edge.price + edge.guard
