"""Which combinations of settings a sweep tries: lists and ranges as they are written on the command line.

`NAME=A,B,C` is a list, `NAME=FROM:TO:STEP` a range with both ends (TO as far as STEP reaches it). Each value is
checked by the setting itself before anything runs. The last name turns fastest.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import product
from typing import NamedTuple

from core.errors import MisconfiguredError
from core.money import plain
from core.settings import Settings, as_texts
from core.settings_load import from_texts
from core.settings_table import SETTINGS

# What a sweep may vary: what decides on the same market.
CANDLE = ("TIMEFRAME", "WARMUP_CANDLES", "RSI_PERIOD", "RSI_SMOOTHING", "BB_PERIOD")
RULES = ("RSI_BUY", "RSI_SELL", "RSI_CRASH", "BB_STDDEV", "TRAILING_STOP_PCT")
COSTS = ("TAKER_FEE_BPS", "SLIPPAGE_BPS", "TAX_BUY_BPS", "TAX_SELL_BPS", "SPREAD_BPS", "COST_GATE")
PAPER = ("PAPER_FILL", "PAPER_LATENCY_MS", "PAPER_PARTICIPATION", "ENTRY_TIMEOUT_MS")
MONEY = ("TRADE_CAPITAL", "PAPER_BALANCE")
LIMITS = (
    *("MAX_DAILY_LOSS", "MAX_DRAWDOWN_PCT", "MAX_CONSECUTIVE_LOSSES", "COOLDOWN_SECONDS", "MAX_ORDERS_PER_MINUTE"),
    "MAX_OPEN_POSITIONS",
)
SWEPT = (*CANDLE, *RULES, *COSTS, *PAPER, *MONEY, *LIMITS)
MOST_VALUES = 100_000  # of one name: a slip in STEP is found before it fills the memory


class Axis(NamedTuple):
    """One setting and the texts it takes, in the order they were given."""

    name: str
    values: tuple[str, ...]


class Grid(NamedTuple):
    """All axes; their product is what is tried."""

    axes: tuple[Axis, ...]

    @property
    def size(self) -> int:
        """How many combinations there are."""
        count = 1
        for axis in self.axes:
            count *= len(axis.values)
        return count

    def __iter__(self) -> Iterator[dict[str, str]]:  # type: ignore[override]
        names = [axis.name for axis in self.axes]
        for values in product(*(axis.values for axis in self.axes)):
            yield dict(zip(names, values, strict=True))


def grid_of(texts: Sequence[str], settings: Settings) -> Grid:
    """The grid of `NAME=VALUES` texts over the settings in force.

    Raises MisconfiguredError naming every text that is wrong, with the nearest name or what is allowed.
    """
    problems: list[str] = []
    axes: dict[str, Axis] = {}
    base = as_texts(settings)
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().upper()
        if not equals:
            problems.append(f"--grid {text}: write NAME=A,B,C or NAME=FROM:TO:STEP")
        elif name not in SWEPT:
            problems.append(_unknown(name))
        elif name in axes:
            problems.append(f"--grid {name} is given twice")
        else:
            try:
                axes[name] = Axis(name, _checked(name, values, base))
            except MisconfiguredError as error:
                problems.append(str(error))
    if not texts:
        problems.append("a sweep needs at least one --grid NAME=A,B,C")
    if problems:
        raise MisconfiguredError("\n".join(problems))
    return Grid(tuple(axes.values()))


def settings_of(base: Mapping[str, str], combination: Mapping[str, str]) -> Settings:
    """The settings of one combination over the texts of those in force. Raises MisconfiguredError."""
    return from_texts({**base, **combination})


def _checked(name: str, text: str, base: Mapping[str, str]) -> tuple[str, ...]:
    """The values of one axis as the setting writes them."""
    found: list[str] = []
    for part in text.split(","):
        found += _range(name, part) if ":" in part else [part.strip()]
        if len(found) > MOST_VALUES:
            raise MisconfiguredError(f"--grid {name}: more than {MOST_VALUES} values")
    values: list[str] = []
    setting = SETTINGS[name]
    for value in found:
        if not value:
            raise MisconfiguredError(f"--grid {name}={text}: an empty value")
        try:
            setting.parse(value)
        except ValueError as error:
            raise MisconfiguredError(f"--grid {name}: {value} is not allowed ({error or setting.allowed})") from None
        if value in values:
            raise MisconfiguredError(f"--grid {name}: {value} is given twice")
        values.append(value)
    return tuple(values)


def _range(name: str, text: str) -> list[str]:
    """FROM:TO:STEP as exact decimal texts, both ends in."""
    try:
        first, last, step = (Decimal(part.strip()) for part in text.split(":"))
    except (ValueError, InvalidOperation):
        raise MisconfiguredError(f"--grid {name}: {text!r} is no range: write FROM:TO:STEP, as 20:40:5") from None
    if not (first.is_finite() and last.is_finite() and step.is_finite()) or step <= 0 or last < first:
        raise MisconfiguredError(f"--grid {name}: {text!r} is no range: FROM must not be above TO, STEP above 0")
    count = int((last - first) / step) + 1
    if count > MOST_VALUES:
        raise MisconfiguredError(f"--grid {name}: {text} are {count} values, at most {MOST_VALUES} are taken")
    return [plain(first + step * k) for k in range(count)]


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, SWEPT, 3, 0.5)
    if name in SETTINGS:
        return f"--grid {name}: this setting changes nothing in a backtest; swept are {', '.join(SWEPT)}"
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(SWEPT)}"
    return f"--grid {name}: there is no such setting; {hint}"
