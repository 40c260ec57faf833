"""A group of combinations that a sweep runs over one market, and the plain way to run them: each by itself."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import NamedTuple, Protocol, TypeVar

import msgspec
import numpy as np

from backtest.combinations import NOT_KEPT, Axis
from backtest.legs import legs_table
from backtest.result import Array, Result
from backtest.sweep_figures import FIGURES, block_profits, figures_of
from core.errors import MisconfiguredError
from core.settings import Settings

Item = TypeVar("Item")
Done = TypeVar("Done")


class Window(NamedTuple):
    """A part of market time in ns: from `first_ns` on, up to but without `end_ns`."""

    first_ns: int
    end_ns: int


class Group(NamedTuple):
    """Combinations of settings with the same candle settings."""

    settings: Settings  # of the first one
    axes: Sequence[Axis]  # in what they may differ
    at: Sequence[Array]  # for each axis the indices of its values, one a combination

    def __len__(self) -> int:
        return len(self.at[0])

    def settings_at(self, place: int) -> Settings:
        """The settings of one combination."""
        values = {axis.attribute: axis.values[int(at[place])] for axis, at in zip(self.axes, self.at, strict=True)}
        return msgspec.structs.replace(self.settings, **values)


class Blocks(NamedTuple):
    """Where the profits of a group by block of market time go."""

    profits: Array  # float64, shape (kept, blocks)
    kept: Array  # of each combination: its row, or NOT_KEPT


class Figured(NamedTuple):
    """What became of a group."""

    rows: Array  # FIGURES, one a combination; zeros where it was not run
    refused: dict[int, str]  # why, by place in the group

    @property
    def ran(self) -> Array:
        """Which of them were run."""
        ran = np.ones(len(self.rows), bool)
        ran[list(self.refused)] = False
        return ran


class Runs(Protocol):
    """A market that gives whole runs."""

    span: Window

    def run(self, settings: Settings, window: Window | None = None) -> Result: ...


def each_by_itself(
    market: Runs,
    group: Group,
    window: Window | None = None,
    *,
    jobs: int = 1,
    blocks: Blocks | None = None,
    progress: Callable[[int], object] | None = None,
) -> Figured:
    """`Market.run_all` by a whole run for each combination, on `jobs` threads."""
    found = Figured(np.zeros(len(group), FIGURES), {})
    span = market.span

    def run(place: int) -> int:
        try:
            result = market.run(group.settings_at(place), window)
        except MisconfiguredError as error:
            found.refused[place] = str(error)
            return 1
        legs = legs_table(result)
        found.rows[place] = figures_of(result, legs)[0]
        if blocks is not None and blocks.kept[place] != NOT_KEPT:
            made = block_profits(legs, span.first_ns, span.end_ns - 1, blocks.profits.shape[1])
            blocks.profits[blocks.kept[place]] = made
        return 1

    for done in threaded(run, range(len(group)), jobs):
        if progress is not None:
            progress(done)
    return found


def threaded(work: Callable[[Item], Done], items: Iterable[Item], jobs: int) -> Iterator[Done]:
    """What `work` says of each item, as they are done, on `jobs` threads; few wait at a time."""
    if jobs == 1:
        yield from map(work, items)
        return
    rest = iter(items)
    with ThreadPoolExecutor(jobs, thread_name_prefix="sweep") as pool:
        running: set[Future[Done]] = {pool.submit(work, item) for item in islice(rest, 2 * jobs)}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
                running |= {pool.submit(work, item) for item in islice(rest, len(done))}
        finally:
            for future in running:
                future.cancel()
