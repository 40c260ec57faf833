"""What a bench reports: one figure, the floor that it is held against, and the bar that it must reach."""

import statistics
from collections.abc import Sequence

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How much a bench does; None is the bench's own default."""

    quick: bool = False  # the smallest size that still runs every part: for a test, not for numbers
    rounds: int | None = None
    seconds: float | None = None  # of one round
    records: int | None = None
    minutes: float | None = None

    def rounds_or(self, default: int) -> int:
        return self.rounds or (1 if self.quick else default)

    def seconds_or(self, default: float, quick: float) -> float:
        return self.seconds or (quick if self.quick else default)

    def records_or(self, default: int, quick: int) -> int:
        return self.records or (quick if self.quick else default)


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured value with its spread over the rounds; `floor` is the same measured of the bare parts, same run."""

    bench: str
    name: str
    unit: str
    value: float  # the median of the rounds; of what must never happen the most of them
    low: float
    high: float
    floor: float | None = None
    floor_of: str = ""  # what the floor is, in words
    ratio: float | None = None  # the cost over the floor: 1 is none, more is worse
    bar: str = ""  # empty where the figure has none
    reached: bool | None = None
    never: bool = False  # a count of what must not happen on any machine, however busy or small: lost, doubled, untold
    note: str = ""  # what a reader must know to read the number


def figure(
    bench: str,
    name: str,
    unit: str,
    rounds: Sequence[float],
    *,
    floor: Sequence[float] = (),
    floor_of: str = "",
    more_is_better: bool = False,
    most: float | None = None,
    least: float | None = None,
    most_ratio: float | None = None,
    note: str = "",
) -> Figure:
    """A figure out of one value a round; its bar is a value (`most`, `least`) or a ratio to the floor.

    A bar of at most 0 is one of what must never happen. Its worst round counts: a median forgets what one round lost.
    """
    never = most == 0
    value = max(rounds) if never else statistics.median(rounds)
    floor_value = statistics.median(floor) if floor else None
    ratio = None
    if floor_value and value:
        ratio = floor_value / value if more_is_better else value / floor_value
    bar, reached = "", None
    if most is not None:
        bar, reached = f"at most {number(most)} {unit}", value <= most
    elif least is not None:
        bar, reached = f"at least {number(least)} {unit}", value >= least
    elif most_ratio is not None and ratio is not None:
        bar, reached = f"within {most_ratio:g}x", ratio <= most_ratio
    return Figure(
        bench=bench,
        name=name,
        unit=unit,
        value=value,
        low=min(rounds),
        high=max(rounds),
        floor=floor_value,
        floor_of=floor_of,
        ratio=ratio,
        bar=bar,
        reached=reached,
        never=never,
        note=note,
    )


def number(value: float) -> str:
    """A number as people read it: three or four digits that say something."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100:
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.3g}" if size >= 0.005 else "0"
