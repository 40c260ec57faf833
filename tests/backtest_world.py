"""Market data in memory for the tests of the backtest, and what makes two results equal."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from backtest.result import Result
from backtest.sources import Chunk
from bus.messages import Start


class InMemory:
    """A source of records that are there already: stretches with the START that is in force for each.

    The START records themselves stand between the stretches and have a number each.
    """

    def __init__(
        self,
        stretches: Sequence[tuple[Start, np.ndarray]],
        *,
        connected: bool = True,
        first: int = 0,
        chunk: int = 262_144,
    ) -> None:
        self.start = stretches[0][0]
        self.connected = connected
        self.notes: list[str] = []
        self.total: int | None = sum(len(records) for _, records in stretches)
        self._stretches = stretches
        self._first = first
        self._chunk = chunk

    def chunks(self) -> Iterator[Chunk]:
        number = self._first
        for start, records in self._stretches:
            number += 1
            for at in range(0, len(records), self._chunk):
                part = records[at : at + self._chunk]
                yield Chunk(number, part, start)
                number += len(part)


def assert_same(one: Result, other: Result) -> None:
    """Both results are equal to the bit; the first field that differs is shown with both sides."""
    for field in dataclasses.fields(Result):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, np.ndarray):
            assert_same_rows(field.name, mine, theirs)
        else:
            assert mine == theirs, f"{field.name}: {mine} and {theirs}"


def assert_same_rows(what: str, mine: np.ndarray, theirs: Any) -> None:
    """Both arrays hold the same bytes."""
    assert mine.dtype == theirs.dtype
    for n, (row, other) in enumerate(zip(mine, theirs, strict=False)):
        assert row.tobytes() == other.tobytes(), f"{what} {n}: {row} and {other}"
    assert len(mine) == len(theirs), f"{what}: {len(mine)} and {len(theirs)} rows"
