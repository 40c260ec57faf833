"""The backtest for notebooks: arrays in, a result object out.

from backtest.api import run
outcome = run(ns, price, quantity, settings={"RSI_BUY": "25"})
outcome.statistics.money.net_profit, outcome.decisions, outcome.equity
outcome.report("out.html")
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest import events, fused
from backtest.arrays import ArraySource
from backtest.bootstrap import Intervals, intervals_of
from backtest.legs import legs_table
from backtest.result import Array, Result
from backtest.stats import Statistics, statistics_of
from backtest.summary import summary
from bus.messages import Market
from core import pairs
from core.errors import MisconfiguredError
from core.settings_load import from_texts
from venues.fees import fees_bps

ENGINES = {"fused": fused.run, "events": events.run}
UNIT = 1e8


@dataclass(frozen=True)
class Outcome:
    """One run; `result` has everything in exact whole numbers, the rest is for reading."""

    result: Result

    @cached_property
    def statistics(self) -> Statistics:
        """Every figure of the run, defined in `backtest.stats`."""
        return statistics_of(self.result)

    @cached_property
    def intervals(self) -> Intervals:
        """Bootstrap intervals, always of the same seed."""
        return intervals_of(self.result, seed=1)

    @property
    def decisions(self) -> Array:
        """Approved orders: a structured array, see `backtest.result.DECISION`."""
        return self.result.decisions

    @property
    def legs(self) -> Array:
        """Round trips: a structured array, see `backtest.legs`."""
        return legs_table(self.result)

    @property
    def equity(self) -> tuple[Array, Array]:
        """Times (datetime64[ns], UTC) and worth of wallet and position in the quote currency."""
        rows = self.result.equity
        return rows["ns"].view("datetime64[ns]"), (rows["balance"] + rows["position_value"]) / UNIT

    def report(self, path: str | Path) -> Path:
        """Writes the page of the run. Raises MisconfiguredError where it cannot be written."""
        from backtest.report import write

        write(Path(path), self.result, self.statistics, intervals=self.intervals)
        return Path(path)

    def __str__(self) -> str:
        return summary(self.result, self.statistics, intervals=self.intervals)


def run(
    ns: npt.ArrayLike,
    price: npt.ArrayLike,
    quantity: npt.ArrayLike,
    *,
    pair: str = "BTC/USDT",
    settings: Mapping[str, Any] | None = None,
    engine: str = "fused",
    tick: str = "0.00000001",
    step: str = "0.00000001",
    min_quantity: str = "0",
    min_notional: str = "0",
    bars: bool = True,
) -> Outcome:
    """One backtest over trades of one pair, oldest first.

    ns: exchange times, whole ns since 1970 or numpy datetimes. price, quantity: floats, quantity in the base currency.
    settings: by name, as in .env (values are turned into text); what is not given has its default, whatever the
    environment says. tick, step, minimums: the market's rules as decimal text. Raises MisconfiguredError naming the
    setting or the row that is wrong.
    """
    if engine not in ENGINES:
        raise MisconfiguredError(f"engine is {engine!r}: {' or '.join(ENGINES)} is needed")
    texts = {name.upper(): _text(value) for name, value in (settings or {}).items()}
    found = from_texts({"PAIRS": pair} | texts)
    try:
        base, quote = pairs.split(pair)
    except ValueError as error:
        raise MisconfiguredError(str(error)) from None
    market = Market(pair, base, quote, tick, step, min_quantity, min_notional)
    source = ArraySource(ns, price, quantity, market, str(fees_bps(found.venue, quote)[0]))
    return Outcome(ENGINES[engine](source, found, bars=bars))


def _text(value: Any) -> str:
    """A setting's value as .env has it."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ",".join(str(item) for item in value)
    return str(value)
