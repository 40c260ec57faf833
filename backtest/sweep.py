"""Many runs over one market: every combination of a grid, on all cores, each as one row of figures.

* Combinations that the settings themselves forbid are not run; they are counted, and named by what forbids them.
* The candles of a market are made once for each candle setting: combinations are taken in that order, and their rows
  stand in the grid's.
* Threads run them: compiled code takes many at a time and frees the interpreter meanwhile.
* Memory: a row of figures for each combination, and profit by block of market time for at most MOST_SAMPLED of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np

from backtest.combinations import NOT_KEPT, Axis
from backtest.grid import CANDLE, Grid
from backtest.result import Array
from backtest.sweep_figures import FIGURES, ranked
from backtest.sweep_group import Blocks, Group
from backtest.sweep_market import Market
from core.errors import MisconfiguredError
from core.settings import Settings
from core.settings_check import strategy
from core.settings_table import SETTINGS

MOST_COMBINATIONS = 1_000_000
MOST_SAMPLED = 10_000  # combinations whose profit by block of time is kept
BLOCKS = 200
SEED = 1  # of what is drawn: the same sweep says the same
NAMED = 100  # forbidden combinations that are named
AT_ONCE = 20_000  # combinations that a market is given, some hundred bytes each


class Forbidden(NamedTuple):
    """A combination that the settings forbid."""

    place: int  # in the grid
    reason: str


@dataclass
class Plan:
    """What is to be run: the combinations that are allowed, in order of their candle settings."""

    grid: Grid
    base: Settings
    places: Array  # in the grid, of the allowed ones, in the order in which they are run
    forbidden: int = 0
    named: list[Forbidden] = field(default_factory=list)  # the first ones

    def settings_at(self, place: int) -> Settings:
        """The settings of a combination, by its place in the grid."""
        return combined(self.base, self.texts_at(place))

    def group_of(self, places: Array) -> Group:
        """Combinations with the same candle settings, by their places in the grid."""
        axes = [
            Axis(SETTINGS[axis.name].attribute, [SETTINGS[axis.name].parse(text) for text in axis.values])
            for axis in self.grid.axes
        ]
        return Group(self.settings_at(int(places[0])), axes, np.unravel_index(places, shape_of(self.grid)))

    def texts_at(self, place: int) -> dict[str, str]:
        """The swept settings of a combination as text, in the grid's order."""
        at = np.unravel_index(place, shape_of(self.grid))
        return {axis.name: axis.values[int(k)] for axis, k in zip(self.grid.axes, at, strict=True)}


@dataclass
class Swept:
    """What a sweep found."""

    plan: Plan
    rows: Array  # FIGURES, one a combination of the grid in its order; zeros where it was not run
    ran: Array  # bool, likewise
    sampled: Array  # places of which profits are kept
    profits: Array  # shape (sampled, blocks): profit by block of market time, in units

    @property
    def places(self) -> Array:
        """Places of the rows that there are, in the grid's order."""
        return np.flatnonzero(self.ran)

    def best(self, by: str, most: int) -> list[int]:
        """Places of the best combinations by a figure, the best first."""
        places = self.places
        found: list[int] = places[ranked(self.rows[places], by)][:most].tolist()
        return found


def shape_of(grid: Grid) -> tuple[int, ...]:
    """How many values each axis has."""
    return tuple(len(axis.values) for axis in grid.axes)


def combined(base: Settings, texts: dict[str, str]) -> Settings:
    """The settings with some values replaced, each of which its setting has taken before. Checks nothing."""
    return msgspec.structs.replace(base, **{SETTINGS[n].attribute: SETTINGS[n].parse(t) for n, t in texts.items()})


def plan_of(grid: Grid, base: Settings) -> Plan:
    """Which combinations are allowed, and in which order they are run.

    Raises MisconfiguredError where there are more than MOST_COMBINATIONS, or none is allowed.
    """
    if grid.size > MOST_COMBINATIONS:
        counts = " x ".join(f"{len(axis.values):,} {axis.name}" for axis in grid.axes)
        raise MisconfiguredError(
            f"the grid has {grid.size:,} combinations ({counts}): at most {MOST_COMBINATIONS:,} are run. Use wider"
            " steps, or sweep some of the settings at a time."
        )
    values = [
        [(SETTINGS[axis.name].attribute, SETTINGS[axis.name].parse(text)) for text in axis.values] for axis in grid.axes
    ]
    allowed = np.zeros(grid.size, bool)
    plan = Plan(grid, base, np.zeros(0, np.int64))
    for place, at in enumerate(np.ndindex(*shape_of(grid))):
        settings = msgspec.structs.replace(base, **dict(values[axis][k] for axis, k in enumerate(at)))
        problems = strategy(settings)
        allowed[place] = not problems
        if problems:
            forbid(plan, place, problems[0][1])
    if not allowed.any():
        raise MisconfiguredError(f"all {grid.size:,} combinations are forbidden: {plan.named[0].reason}")
    places = np.flatnonzero(allowed)
    at = np.unravel_index(places, shape_of(grid))
    keys = [k for axis, k in zip(grid.axes, at, strict=True) if axis.name in CANDLE]
    # TIMEFRAME is the slowest of them: with it the market itself is read anew.
    names = [axis.name for axis in grid.axes if axis.name in CANDLE]
    keys = [k for _, k in sorted(zip(names, keys, strict=True), key=lambda pair: pair[0] == "TIMEFRAME")]
    plan.places = places[np.lexsort([places, *keys])]
    return plan


def forbid(plan: Plan, place: int, reason: str) -> None:
    """Note a combination that is not run."""
    plan.forbidden += 1
    if len(plan.named) < NAMED:
        plan.named.append(Forbidden(place, reason))


class Markets:
    """The market of the settings that are asked for: one at a time in memory, with the candles of one setting."""

    def __init__(self, market_for: Callable[[Settings], Market]) -> None:
        self._market_for = market_for
        self._market: Market | None = None
        self._timeframe = ""

    def ready_for(self, settings: Settings) -> Market:
        """The market, ready for runs with the candle settings of these."""
        if self._market is None or settings.timeframe != self._timeframe:
            self._market = None
            self._market = self._market_for(settings)
            self._timeframe = settings.timeframe
        self._market.prepare(settings)
        return self._market


class Sweep:
    """A sweep on its way: `take` runs some of the combinations, as often as there are any left."""

    def __init__(self, plan: Plan, markets: Markets, *, jobs: int = 1) -> None:
        self._markets = markets
        self._jobs = jobs
        self._left = plan.places
        chosen = plan.places
        if len(chosen) > MOST_SAMPLED:
            chosen = np.random.default_rng(SEED).choice(chosen, MOST_SAMPLED, replace=False)
        sampled = np.sort(chosen)
        count = plan.grid.size
        self.found = Swept(
            plan, np.zeros(count, FIGURES), np.zeros(count, bool), sampled, np.zeros((len(sampled), BLOCKS))
        )
        self._kept = np.full(count, NOT_KEPT, np.int32)
        self._kept[sampled] = np.arange(len(sampled))

    @property
    def left(self) -> int:
        """How many combinations are still to be run."""
        return len(self._left)

    def take(self, most: int, progress: Callable[[int], object] | None = None) -> int:
        """Run at most so many combinations; returns how many. `progress` is called with how many more are done."""
        plan, found = self.found.plan, self.found
        done = 0
        while done < most and len(self._left):
            market = self._markets.ready_for(plan.settings_at(int(self._left[0])))
            places = leading(plan.grid, self._left[: min(most - done, AT_ONCE)])
            blocks = Blocks(found.profits, self._kept[places])
            figured = market.run_all(plan.group_of(places), jobs=self._jobs, blocks=blocks, progress=progress)
            found.rows[places] = figured.rows
            found.ran[places] = figured.ran
            for at, reason in sorted(figured.refused.items()):
                forbid(plan, int(places[at]), reason)
            done += len(places)
            self._left = self._left[len(places) :]
        return done


def leading(grid: Grid, places: Array) -> Array:
    """The first of these places that share their candle settings."""
    at = np.unravel_index(places, shape_of(grid))
    keys = [k for axis, k in zip(grid.axes, at, strict=True) if axis.name in CANDLE]
    if not keys:
        return places
    differs = np.flatnonzero(np.any([k != k[0] for k in keys], axis=0))
    return places[: int(differs[0])] if len(differs) else places
