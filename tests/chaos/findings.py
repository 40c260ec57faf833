"""What a judge says: one line a question, with numbers, and what differs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

SHOWN = 5  # differences that are told one by one


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question; `wrong` is empty where all is as it must be."""

    about: str
    text: str
    wrong: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.wrong

    def lines(self) -> list[str]:
        """For a terminal."""
        shown = [f"       {text}" for text in self.wrong[:SHOWN]]
        if len(self.wrong) > SHOWN:
            shown.append(f"       … {len(self.wrong) - SHOWN} more")
        return [f"{'ok  ' if self.ok else 'FAIL'}   {self.about}: {self.text}", *shown]


def finding(about: str, text: str, wrong: Iterable[str] = ()) -> Finding:
    """A Finding of any iterable of differences."""
    return Finding(about, text, tuple(wrong))


def differences(name: str, found: Sequence[Any], expected: Sequence[Any]) -> list[str]:
    """Where two lists are not the same, place by place; the first few, and how many there are in all."""
    wrong = [
        f"{name} {place}: found {one}, expected {other}"
        for place, (one, other) in enumerate(zip_longest(found, expected))
        if one != other
    ]
    if len(found) != len(expected):
        wrong.insert(0, f"{name}: {len(found)} found, {len(expected)} expected")
    return wrong
