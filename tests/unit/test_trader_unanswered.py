"""Since when an order that a start takes up can no longer have been sent."""

from pathlib import Path

import pytest

from trader.unanswered import FILE, Unanswered, carried, taken_up

NOW = 1_000
CASES: dict[str, tuple[Unanswered | None, str, dict[str, int]]] = {  # the start before, this boot, found of a and b
    "carried": (Unanswered("boot", {"a": 100, "b": 200}), "boot", {"a": 100, "b": 200}),
    "carried, and what is over is forgotten": (Unanswered("boot", {"z": 1, "a": 2, "b": 3}), "boot", {"a": 2, "b": 3}),
    "new": (Unanswered("boot", {"b": 200}), "boot", {"a": NOW, "b": 200}),
    "another_boot": (Unanswered("other", {"a": 100, "b": 200}), "boot", {"a": NOW, "b": NOW}),
    "another_boot, or none that is told": (Unanswered("", {"a": 100, "b": 200}), "", {"a": NOW, "b": NOW}),
    "ahead": (Unanswered("boot", {"a": NOW + 1, "b": NOW}), "boot", {"a": NOW, "b": NOW}),
    "no start before": (None, "boot", {"a": NOW, "b": NOW}),
}


@pytest.mark.parametrize(("before", "boot", "since"), CASES.values(), ids=CASES)
def test_carried(before: Unanswered | None, boot: str, since: dict[str, int]) -> None:
    assert carried(before, ["a", "b"], boot, NOW) == Unanswered(boot, since)


def test_carried_over_several_kills_in_a_row(tmp_path: Path) -> None:
    for now_ns, orders, since in (
        (10, ["a"], {"a": 10}),
        (20, ["a"], {"a": 10}),
        (30, ["a", "b"], {"a": 10, "b": 30}),
        (40, ["b"], {"b": 30}),
        (50, ["a", "b"], {"a": 50, "b": 30}),  # a was over in between: it may have been sent since
    ):
        assert taken_up(tmp_path, orders, "boot", now_ns) == since


@pytest.mark.parametrize("content", [b"", b"\x92\xa4boot", b"\x91\xa4boot", b"nonsense"])
def test_unreadable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert taken_up(tmp_path, ["a"], "boot", NOW) == {"a": NOW}


def test_full_disk(tmp_path: Path) -> None:
    assert taken_up(tmp_path, ["a"], "boot", 10) == {"a": 10}
    beside = (tmp_path / FILE).with_suffix(".new")
    beside.mkdir()  # nothing can be written there
    assert taken_up(tmp_path, ["a"], "boot", 20) == {}
    beside.rmdir()
    assert taken_up(tmp_path, ["a"], "boot", 30) == {"a": 30}
