"""Sections that other programs add to a report: a heat map of a sweep, a table of a walk-forward, any table."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from backtest.figures import FORMATS, shown

MOST_CELLS = 10_000
MOST_ROWS = 2_000


class Section(msgspec.Struct, frozen=True):
    """What the page draws: `kind` is heat_map or table, `body` what that kind needs. Made by the functions here."""

    kind: str
    title: str
    note: str
    body: dict[str, Any]


def heat_map_section(
    title: str,
    x: tuple[str, Sequence[str]],
    y: tuple[str, Sequence[str]],
    values: Sequence[Sequence[float | Decimal | None]],
    *,
    kind: str = "signed_money",
    digits: int = 2,
    note: str = "",
) -> Section:
    """A map of one figure over two settings: `x` and `y` are (setting, its values as text).

    `values[row][column]` belongs to y's and x's value of that place; None is drawn empty. The sign picks the colour,
    the size its strength, and the highest is framed. `kind` is one of `backtest.figures.FORMATS`, `digits` the
    decimals of money. With more than two settings give one map for each value of the others, named in `title`.

    Raises ValueError where the shape does not fit or there are more than 10,000 cells.
    """
    if len(values) != len(y[1]) or any(len(row) != len(x[1]) for row in values):
        raise ValueError(f"heat map {title!r}: {len(y[1])} rows of {len(x[1])} values are needed")
    if len(x[1]) * len(y[1]) > MOST_CELLS:
        raise ValueError(f"heat map {title!r}: {len(x[1])} x {len(y[1])} cells, at most {MOST_CELLS} are drawn")
    body = {
        "x_name": x[0],
        "x_values": list(x[1]),
        "y_name": y[0],
        "y_values": list(y[1]),
        "values": [[None if value is None else float(value) for value in row] for row in values],
        "texts": [[shown(value, kind, digits) for value in row] for row in values],
    }
    return Section("heat_map", title, note, body)


def table_section(
    title: str,
    columns: Sequence[tuple[str, str]],
    rows: Sequence[Sequence[Any]],
    *,
    digits: int = 2,
    note: str = "",
) -> Section:
    """A sortable table. `columns` are (label, kind): kind is text or one of `backtest.figures.FORMATS`.

    Of more than 2,000 rows the first are shown and the page says how many there are. Raises ValueError where a row has
    not as many values as there are columns.
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"table {title!r}: a row has {len(row)} values, there are {len(columns)} columns")
    kinds = [kind for _, kind in columns]
    body = {
        "columns": [
            {"label": label, "text": kind == "text", "sign": kind.startswith("signed")} for label, kind in columns
        ],
        "rows": [
            [_cell(value, kind, digits) for value, kind in zip(row, kinds, strict=True)] for row in rows[:MOST_ROWS]
        ],
        "total": len(rows),
    }
    return Section("table", title, note, body)


class Window(msgspec.Struct, frozen=True):
    """One step of a walk-forward: chosen on the first time, judged on the second. Amounts in quote currency."""

    fit_first_ms: int
    fit_last_ms: int
    judge_first_ms: int
    judge_last_ms: int
    chosen: Mapping[str, str]  # settings that were best
    fit_profit: Decimal
    judge_profit: Decimal
    judge_legs: int


def walk_forward_section(windows: Sequence[Window], *, digits: int = 2, note: str = "") -> Section:
    """A row for each window of a walk-forward and one for all of them."""
    columns = (
        ("chosen from", "moment"),
        ("to", "moment"),
        ("judged to", "moment"),
        ("chosen", "text"),
        ("profit when chosen", "signed_money"),
        ("profit when judged", "signed_money"),
        ("legs judged", "count"),
    )
    rows = [
        (
            window.fit_first_ms,
            window.fit_last_ms,
            window.judge_last_ms,
            ", ".join(f"{name}={value}" for name, value in window.chosen.items()),
            window.fit_profit,
            window.judge_profit,
            window.judge_legs,
        )
        for window in windows
    ]
    total = sum((window.judge_profit for window in windows), Decimal(0))
    legs = sum(window.judge_legs for window in windows)
    told = f"All windows judged: {shown(total, 'signed_money', digits)} in {legs:,} legs. {note}".strip()
    return table_section("Walk-forward", columns, rows, digits=digits, note=told)


def _cell(value: Any, kind: str, digits: int) -> list[Any]:
    """What a cell sorts by, and its text."""
    if kind == "text":
        return [str(value), str(value)]
    if kind not in FORMATS:
        raise ValueError(f"{kind!r} is no kind of figure: {', '.join(FORMATS)}")
    return [None if value is None else float(value), shown(value, kind, digits)]
