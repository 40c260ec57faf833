"""A long made-up run with candles, for the report's tests and for looking at the page.

`python -m tests.backtest_demo OUT.html [--days N] [--pairs N] [--seed N] [--hostile]` writes one.
"""

import argparse
from pathlib import Path

import numpy as np

from backtest.bootstrap import intervals_of
from backtest.legs import legs_table
from backtest.report import write
from backtest.report_sections import Section, Window, heat_map_section, table_section, walk_forward_section
from backtest.result import CONFIRMED, CRASH_CATCH, GHOST, MEAN_REVERSION, TAKE_PROFIT, TRAILING_STOP, Result
from backtest.sensitivity import sensitivity
from backtest.stats import statistics_of
from bus.messages import Market
from core.settings_load import from_texts
from tests.backtest_results import DAY, MINUTE, SECOND, T0, Account
from trader.terms import deciding_settings

MINUTES_A_DAY = 1_440
HOSTILE = "</script><script>alert(1)</script><!--&\"'\u2028"


def made_up(days: float = 30, pairs: int = 1, seed: int = 7, fee_bps: str = "5", hostile: bool = False) -> Result:
    """Pairs that wander; each is bought after a fall and sold at a gain, at a trailing stop or after a while."""
    names = ("B-BTC_USDT", "B-ETH_USDT", "B-SOL_USDT")[:pairs]
    markets = [
        Market(HOSTILE if hostile and not at else name, name[2:5], "USDT", "0.1", "0.0001", "0.0001", "5")
        for at, name in enumerate(names)
    ]
    settings = deciding_settings(from_texts({"PAIRS": ",".join(names)})) | {"PAPER_BALANCE": "10500"}
    account = Account(opening=10_500, fee_bps=fee_bps, markets=markets, settings=settings)
    rng = np.random.default_rng(seed)
    minutes = int(days * MINUTES_A_DAY)
    walks = []
    for at in range(pairs):
        # A slow walk, and around it falls that come back: what the strategy lives on.
        slow, around = np.cumsum(rng.normal(0, 2.5e-4, minutes)), np.zeros(minutes)
        shocks = rng.normal(0, 6e-4, minutes) - (rng.random(minutes) < 0.004) * rng.exponential(0.005, minutes)
        for minute in range(1, minutes):
            around[minute] = 0.988 * around[minute - 1] + shocks[minute]
        walks.append(np.round(670_000 / (at * 12 + 1) * np.exp(slow + around)))
    entered: list[tuple[int, float] | None] = [None] * pairs
    highest = [0.0] * pairs
    for minute in range(minutes):
        for pair in range(pairs):
            walk = walks[pair]
            _step(account, pair, minute, walk, entered, highest, rng)
    account.bars = [bar for pair in range(pairs) for bar in _bars(walks[pair], pair, rng)]
    notes = ["candles.csv: each candle was read as one trade at its close, 1 ms before its end"]
    return account.result(notes=notes, refusals={"cooldown": 12, "below_minimum": 3})


def _step(account, pair, minute, walk, entered, highest, rng) -> None:  # type: ignore[no-untyped-def]
    """One minute of one pair."""
    at, ticks = minute * MINUTE + 30 * SECOND, int(walk[minute])
    held = entered[pair]
    if held is None and minute > 60 and walk[minute] < walk[minute - 20 : minute].mean() * 0.995:
        lots = int(3_000 / (ticks * 0.1) / 0.0001)
        crash = bool(walk[minute] < walk[minute - 5] * 0.994)
        reason = CRASH_CATCH if crash else MEAN_REVERSION
        account.buy(at, ticks, lots, pair, reason=reason, ghost=GHOST if rng.random() < 0.3 else CONFIRMED)
        entered[pair], highest[pair] = (minute, float(ticks)), float(ticks)
    elif held is not None:
        highest[pair] = max(highest[pair], float(ticks))
        if ticks <= highest[pair] * 0.995:
            account.sell(at + SECOND, ticks, pair=pair, reason=TRAILING_STOP)
            entered[pair] = None
        elif ticks > held[1] * 1.004 or minute - held[0] > 300:
            account.sell(at + SECOND, ticks, pair=pair, reason=TAKE_PROFIT)
            entered[pair] = None
        else:
            account.quote(at, ticks, pair)
    else:
        account.quote(at, ticks, pair, row=pair == 0)


def _bars(walk, pair, rng):  # type: ignore[no-untyped-def]
    """Candles around the walk."""
    opens = np.append(walk[:1], walk[:-1])
    room = np.abs(rng.normal(0, 3e-4, (2, len(walk)))) * walk
    high, low = np.maximum(opens, walk) + room[0], np.minimum(opens, walk) - room[1]
    volume = rng.exponential(3.0, len(walk))
    for minute in range(len(walk)):
        ohlc = (opens[minute], high[minute], low[minute], walk[minute])
        yield (T0 + minute * MINUTE, *(round(float(value) * 0.1, 1) for value in ohlc), volume[minute], pair, 40)


def sections(result: Result) -> list[Section]:
    """A heat map and a walk-forward as a sweep would add them."""
    rng = np.random.default_rng(3)
    x, y = [str(value) for value in range(20, 40, 2)], [f"{value / 10:g}" for value in range(14, 30, 2)]
    values = [
        [None if column == 9 and row == 0 else 900 - 40 * ((column - 4) ** 2 + (row - 3) ** 2) + rng.normal(0, 90)
         for column in range(len(x))] for row in range(len(y))
    ]  # fmt: skip
    first = result.spans[0].first_ns // 1_000_000
    windows = [
        Window(first + at * DAY // 10**6, first + (at + 5) * DAY // 10**6, first + (at + 5) * DAY // 10**6,
               first + (at + 7) * DAY // 10**6, {"RSI_BUY": "28", "BB_STDDEV": "2"},
               rng.integers(50, 400) * 1, rng.integers(-150, 200) * 1, int(rng.integers(9, 40)))
        for at in range(0, 10, 2)
    ]  # fmt: skip
    return [
        heat_map_section(
            "Sweep: net profit", ("RSI_BUY", x), ("BB_STDDEV", y), values, note="80 combinations were tried."
        ),
        walk_forward_section(windows, note="Chosen by net profit."),
        table_section("Best combinations", (("RSI_BUY", "text"), ("net profit", "signed_money")), [("28", 900.5)]),
    ]


def write_demo(path: Path, result: Result, *, full: bool = True) -> int:
    """The report of a run with everything that it can have."""
    legs = legs_table(result)
    rows = sensitivity(lambda overrides: result, result) if full else []
    return write(
        path,
        result,
        statistics_of(result, legs),
        intervals=intervals_of(result, 1, legs),
        sensitivity=rows,
        sections=sections(result) if full else (),
        about="engine fused",
        legs=legs,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--hostile", action="store_true")
    asked = parser.parse_args()
    size = write_demo(asked.out, made_up(asked.days, asked.pairs, asked.seed, hostile=asked.hostile))
    print(f"{asked.out}: {size:,} bytes")
