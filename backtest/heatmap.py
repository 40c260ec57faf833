"""Heat maps of a sweep: one figure over each pair of settings that were swept.

With more than two settings there are two maps of a pair: through the best combination (all others as it has them), and
the median over all others. A best one that stands alone in the first, or is pale in the second, is likely luck.
"""

from itertools import combinations
from typing import Any

import numpy as np

from backtest.report_sections import MOST_CELLS, Section, heat_map_section, table_section
from backtest.result import Array
from backtest.sweep import Swept, shape_of
from backtest.sweep_figures import KINDS, MONEY, NAMES, value_of

MOST_MAPS = 30
UNIT = 1e8


def sections_of(swept: Swept, by: str, best: int, most: int) -> list[Section]:
    """The maps of all pairs of settings, and a table of the best `most` combinations; best: place of the best one."""
    return [*maps_of(swept, by, best), table_of(swept, by, most)]


def maps_of(swept: Swept, by: str, best: int) -> list[Section]:
    """The maps; of a grid of many settings the first MOST_MAPS."""
    axes = swept.plan.grid.axes
    shape = shape_of(swept.plan.grid)
    values = swept.rows[by].astype(np.float64)
    if by in MONEY:
        values /= UNIT
    cube = np.where(swept.ran, values, np.nan).reshape(shape)
    at = np.unravel_index(best, shape)
    wide = [k for k, length in enumerate(shape) if length > 1]
    pairs: list[tuple[int | None, int]] = [(y, x) for y, x in combinations(wide, 2)] or [(None, x) for x in wide]
    found: list[Section] = []
    for y, x in pairs:
        rows, columns = 1 if y is None else shape[y], shape[x]
        if rows * columns > MOST_CELLS:
            continue
        others = [k for k in wide if k not in (x, y)]
        through = tuple(slice(None) if k in (x, y) else int(at[k]) for k in range(len(shape)))
        title = by if y is None else f"{by}: {axes[y].name} and {axes[x].name}"
        there = ", ".join(f"{axes[k].name}={axes[k].values[int(at[k])]}" for k in others)
        found.append(
            _map(title, axes, y, x, cube[through], by, f"With {there}, as the best has them." if there else "")
        )
        if others and y is not None:
            found.append(_map(f"{title}, median over the others", axes, y, x, _medians(cube, y, x), by, ""))
        if len(found) >= MOST_MAPS:
            break
    return found


def _medians(cube: Array, y: int, x: int) -> Array:
    """For each value of two axes the middle of what is known over all others."""
    cells = np.moveaxis(cube, (y, x), (0, 1)).reshape(cube.shape[y], cube.shape[x], -1)
    return np.array([[_median(cell) for cell in row] for row in cells])


def _median(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else np.nan


def _map(title: str, axes: Any, y: int | None, x: int, values: Array, by: str, note: str) -> Section:
    cells = [[None if value != value else float(value) for value in row] for row in np.atleast_2d(values)]
    rows = ("", [""]) if y is None else (axes[y].name, axes[y].values)
    return heat_map_section(title, (axes[x].name, axes[x].values), rows, cells, kind=KINDS[by], note=note)


def table_of(swept: Swept, by: str, most: int) -> Section:
    """The best combinations with all their figures."""
    axes = swept.plan.grid.axes
    columns = [*((axis.name, "text") for axis in axes), *((name, KINDS[name]) for name in NAMES)]
    rows = [
        [*swept.plan.texts_at(place).values(), *(value_of(swept.rows[place], name) for name in NAMES)]
        for place in swept.best(by, most)
    ]
    return table_section(f"The best by {by}", columns, rows)
