"""Trades for the benches: plausible in price and time, and such that the strategy sees nothing to do.

Prices swing by LEVEL around BASE from minute to minute and a little inside it: RSI stays near 50, no price leaves the
bands, candles close all the time. A fall of DIP is an entry by the usual settings.
"""

import numpy as np

from bus.layouts import CANDLE, SIDE_BUY, TRADE
from bus.messages import Market, Start
from bus.records import CANDLE_RECORD, RECORD

MINUTE_NS = 60_000_000_000
BASE, LEVEL, NOISE, DIP = 60_000.0, 15.0, 5.0, 500.0
TICK, STEP = 0.01, 0.00001
HISTORY = 60  # minutes
FALL_S = 20


def names(pairs: int) -> list[str]:
    """Market names as the venue writes them; the first is the default pair."""
    return ["B-BTC_USDT", *(f"B-C{number}_USDT" for number in range(1, pairs))]


def start(pairs: int, now_ns: int) -> Start:
    """Body of the START record."""
    markets = [Market(name, name[2:-5], "USDT", "0.01", "0.00001", "0.00001", "5") for name in names(pairs)]
    return Start("sandbox", "sim-sandbox", markets, "5", "5", False, now_ns)


def level(ns: "np.ndarray") -> "np.ndarray":
    """The price around which a time's minute trades."""
    return BASE + np.where(ns // MINUTE_NS % 2 == 1, LEVEL, -LEVEL)


def history(pairs: int, now_ns: int) -> np.ndarray:
    """CANDLE records of the closed minutes before `now_ns`, oldest first."""
    opens = (now_ns // MINUTE_NS - np.arange(HISTORY, 0, -1)) * MINUTE_NS
    records = np.zeros(HISTORY * pairs, CANDLE_RECORD)
    records["kind"] = CANDLE
    records["pair"] = np.tile(np.arange(pairs), HISTORY)
    records["open_ns"] = np.repeat(opens, pairs)
    records["open"] = records["close"] = level(records["open_ns"])
    records["high"], records["low"] = records["close"] + NOISE, records["close"] - NOISE
    records["volume"], records["trades"] = 10.0, 1_000
    return records.view(RECORD)


def trades(times_ns: np.ndarray, pairs: int = 1, seed: int = 1) -> np.ndarray:
    """One TRADE record a time, of pairs in turn."""
    rng = np.random.default_rng(seed)
    count = len(times_ns)
    records = np.zeros(count, RECORD)
    records["kind"], records["side"] = TRADE, SIDE_BUY
    records["pair"] = rng.integers(0, pairs, count) if pairs > 1 else 0
    records["exchange_ns"] = records["received_ns"] = times_ns
    records["ticks"] = np.round((level(times_ns) + rng.uniform(-NOISE, NOISE, count)) / TICK)
    records["price"] = records["ticks"] * TICK
    records["lots"] = 1_000 + np.arange(count) % 1_000
    records["quantity"] = records["lots"] * STEP
    records["trade_id"] = np.arange(count)
    return records


def falling(times_ms: np.ndarray, begins_ms: int, every_s: int) -> np.ndarray:
    """Marks the trades of a fall: FALL_S seconds in the middle of a minute, every `every_s` seconds."""
    since_s = (times_ms - begins_ms) // 1000 % every_s
    marked: np.ndarray = (times_ms > begins_ms) & (since_s >= every_s - 40) & (since_s < every_s - 40 + FALL_S)
    return marked


def dip(now_ns: int) -> np.ndarray:
    """A fall of the first pair that the strategy buys, and the trades that fill the order; then back to the level."""
    times = now_ns + np.arange(1, 31) * 200_000_000
    records = trades(times)
    falls = slice(5, 25)
    records["ticks"][falls] = round((BASE - DIP) / TICK)
    records["price"] = records["ticks"] * TICK
    records["lots"], records["quantity"] = round(1.0 / STEP), 1.0
    return records
