"""Walk-forward: choose settings on one window of market time, judge them on the next, roll on by the judged time.

* The first window begins with the minute of the first trade. The last judged window may be shorter than the others.
* Each window, chosen or judged on, begins flat with the whole balance; its indicators have seen what was before.
* What a window still holds at its end counts at its last price, before the cost of selling it.
* The best of a window is the best by the figure that was asked for; of equals the first in the grid. A window in which
  that figure is known of no combination is not judged: nothing is traded in its time.
* Joined, the judged windows are one run: each goes on from the equity that the one before it ended with.

Source of the method and of the efficiency: R. Pardo, The Evaluation and Optimization of Trading Strategies, 2nd ed.,
ch. 11.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from backtest.grid import RULES
from backtest.result import Array, Result, Span
from backtest.stats_equity import closing_units, opening_units
from backtest.sweep import AT_ONCE, Markets, Plan, leading
from backtest.sweep_figures import FIGURES, figures_of, ranked
from backtest.sweep_group import Window
from core.errors import MisconfiguredError

UNITS_NS = {"s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86_400 * 10**9}
NS_PER_MINUTE = UNITS_NS["m"]
MOST_STEPS = 1_000
BY_WINDOW = "by window"


class Step(NamedTuple):
    """Two windows: settings are chosen on the first and judged on the second."""

    fit: Window
    judge: Window


class Judged(NamedTuple):
    """What became of a step."""

    step: Step
    place: int | None  # of the chosen combination; None where none could be chosen
    fit: Array  # FIGURES of the chosen one, an array of one
    judged: Array  # likewise


@dataclass
class Walked:
    """A whole walk-forward."""

    steps: list[Judged]
    joined: Result | None  # the judged windows as one run; None where nothing was judged
    efficiency: float | None  # profit a day when judged / when chosen; None where choosing made no profit


def durations_of(text: str) -> tuple[int, int]:
    """TRAIN:TEST as ns, as `30d:7d`; units are s, m, h, d. Raises MisconfiguredError."""
    parts = text.split(":")
    found = []
    for part in parts:
        number, unit = part.strip()[:-1], part.strip()[-1:]
        if not (number.isascii() and number.isdigit()) or unit not in UNITS_NS:
            raise MisconfiguredError(f"--walk-forward {text}: write TRAIN:TEST, as 30d:7d (units are s, m, h, d)")
        found.append(int(number) * UNITS_NS[unit])
    if len(found) != 2 or min(found) < NS_PER_MINUTE:
        raise MisconfiguredError(f"--walk-forward {text}: write TRAIN:TEST, as 30d:7d, each at least one minute")
    return found[0], found[1]


def steps_of(span: Window, fit_ns: int, judge_ns: int) -> list[Step]:
    """The steps that fit into a span of market time.

    Raises MisconfiguredError where there is none, or more than MOST_STEPS.
    """
    begins = span.first_ns - span.first_ns % NS_PER_MINUTE
    count = -(-(span.end_ns - begins - fit_ns) // judge_ns)
    if count < 1:
        days, wanted = ((ns / UNITS_NS["d"]) for ns in (span.end_ns - span.first_ns, fit_ns))
        raise MisconfiguredError(
            f"--walk-forward: the market lasts {days:.3g} days, to choose takes {wanted:.3g} of them: train on less"
        )
    if count > MOST_STEPS:
        raise MisconfiguredError(
            f"--walk-forward: {count:,} windows, at most {MOST_STEPS:,} are run: test a longer time"
        )
    steps = []
    for k in range(count):
        border = begins + fit_ns + k * judge_ns
        steps.append(Step(Window(border - fit_ns, border), Window(border, min(border + judge_ns, span.end_ns))))
    return steps


def walk(
    plan: Plan,
    markets: Markets,
    steps: Sequence[Step],
    by: str,
    *,
    jobs: int = 1,
    progress: Callable[[int], object] | None = None,
) -> Walked:
    """Every combination on every first window, the best of each on the window behind it.

    by: one of `sweep_figures.JUDGED_BY`. progress: called with how many more runs are done.
    """
    chosen: list[tuple[float, int, Array] | None] = [None] * len(steps)
    left = plan.places
    while len(left):
        places = leading(plan.grid, left[:AT_ONCE])
        left = left[len(places) :]
        group = plan.group_of(places)
        market = markets.ready_for(group.settings)
        for k, step in enumerate(steps):
            figured = market.run_all(group, step.fit, jobs=jobs, progress=progress)
            ran = np.flatnonzero(figured.ran)  # what could not be run, the sweep has named
            best = int(ran[ranked(figured.rows[ran], by)[0]]) if len(ran) else 0
            row = figured.rows[best : best + 1] if len(ran) else None
            chosen[k] = better(chosen[k], int(places[best]), row, by)
    return judge(plan, markets, steps, chosen, progress)


def better(
    best: tuple[float, int, Array] | None, place: int, row: Array | None, by: str
) -> tuple[float, int, Array] | None:
    """The better of the best so far and another; of equals the one that stands first in the grid."""
    value = np.nan if row is None else float(row[by][0])
    if row is None or value != value:
        return best
    if best is None or (value, -place) > (best[0], -best[1]):
        return value, place, row
    return best


def judge(
    plan: Plan,
    markets: Markets,
    steps: Sequence[Step],
    chosen: Sequence[tuple[float, int, Array] | None],
    progress: Callable[[int], object] | None = None,
) -> Walked:
    """Run each chosen combination on the window behind the one that it was chosen on."""
    found, results = [], []
    for step, best in zip(steps, chosen, strict=True):
        if best is None:
            found.append(Judged(step, None, np.zeros(1, FIGURES), np.zeros(1, FIGURES)))
            continue
        _, place, row = best
        settings = plan.settings_at(place)
        result = markets.ready_for(settings).run(settings, step.judge)
        results.append(result)
        found.append(Judged(step, place, row, figures_of(result)))
        if progress is not None:
            progress(1)
    whole = joined(results, [axis.name for axis in plan.grid.axes]) if results else None
    return Walked(found, whole, efficiency(found))


def efficiency(steps: Sequence[Judged]) -> float | None:
    """Profit a day when judged over profit a day when chosen, of all steps that were judged."""
    ran = [step for step in steps if step.place is not None]
    fit_ns = sum(step.step.fit.end_ns - step.step.fit.first_ns for step in ran)
    judge_ns = sum(step.step.judge.end_ns - step.step.judge.first_ns for step in ran)
    won = sum(int(step.fit["net_profit"][0]) for step in ran)
    kept = sum(int(step.judged["net_profit"][0]) for step in ran)
    return (kept / judge_ns) / (won / fit_ns) if won > 0 else None


def joined(results: Sequence[Result], swept: Sequence[str]) -> Result:
    """Runs of consecutive windows as one: each account goes on from the equity of the one before."""
    first = results[0]
    settings = dict(first.settings)
    settings.update({name: BY_WINDOW for name in swept if name in RULES})
    equities, fills = [], []
    equity, realized, orders = opening_units(first), 0, 0
    for result in results:
        rows = result.equity.copy()
        moved = equity - opening_units(result)  # what the windows before have made
        rows["balance"] += moved
        rows["realized"] += realized
        equities.append(rows)
        own = result.fills.copy()
        own["order"] += orders
        fills.append(own)
        orders += len(result.orders)
        equity += closing_units(result) - opening_units(result)
        realized += result.realized
        wallet = result.wallet + moved
    refusals: dict[str, int] = {}
    for result in results:
        for reason, count in result.refusals.items():
            refusals[reason] = refusals.get(reason, 0) + count
    return replace(
        results[-1],
        settings=settings,
        decisions=np.concatenate([result.decisions for result in results]),
        orders=np.concatenate([result.orders for result in results]),
        fills=np.concatenate(fills),
        equity=np.concatenate(equities),
        trades=sum(result.trades for result in results),
        late=sum(result.late for result in results),
        unknown=sum(result.unknown for result in results),
        wallet=wallet,
        realized=realized,
        spans=spans_of(results),
        refusals=refusals,
        notes=list(dict.fromkeys(note for result in results for note in result.notes)),
    )


def spans_of(results: Sequence[Result]) -> list[Span]:
    """First and last trade of each pair over all windows."""
    found: dict[int, Span] = {}
    for result in results:
        for span in result.spans:
            before = found.get(span.pair, span)
            found[span.pair] = Span(span.pair, before.first_ns, span.last_ns, before.first_price, span.last_price)
    return [span for _, span in sorted(found.items())]
