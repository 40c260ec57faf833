"""Which pieces of memory can be huge pages, and that asking for them leaves what lies there as it was."""

import mmap
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from core.huge_pages import SETTLED_SECONDS, collapse, gather_when_settled, pieces, whole_pieces

MB = 1024 * 1024
PAGE = 2 * MB


def mapping(begin: int, end: int, filled: float, rights: str = "rw-p", inode: int = 0, name: str = "") -> list[str]:
    """One mapping as /proc/self/smaps shows it, cut to what matters."""
    size = (end - begin) // 1024
    return [
        f"{begin:x}-{end:x} {rights} 00000000 00:00 {inode} {name}".rstrip(),
        f"Size: {size} kB",
        "KernelPageSize: 4 kB",
        f"Rss: {int(size * filled)} kB",
        "Pss: 12 kB",
        "VmFlags: rd wr mr mw me ac",
    ]


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        (mapping(4 * MB, 8 * MB, 1.0), [4 * MB, 6 * MB]),
        (mapping(4 * MB, 8 * MB, 0.9, name="[heap]"), [4 * MB, 6 * MB]),
        (mapping(3 * MB, 7 * MB, 1.0), [4 * MB]),
        (mapping(3 * MB, 5 * MB, 1.0), []),
        (mapping(4 * MB, 8 * MB, 0.7), []),
        (mapping(4 * MB, 8 * MB, 1.0, rights="r--p"), []),
        (mapping(4 * MB, 8 * MB, 1.0, rights="rw-s", inode=7, name="/dev/shm/x"), []),
        (mapping(4 * MB, 8 * MB, 1.0, inode=7, name="/usr/lib/a name with spaces"), []),
        (mapping(4 * MB, 8 * MB, 1.0, name="[stack]"), []),
        (mapping(4 * MB, 6 * MB, 1) + mapping(6 * MB, 9 * MB, 0.1) + mapping(10 * MB, 12 * MB, 1), [4 * MB, 10 * MB]),
        ([], []),
    ],
    ids=[
        "whole pages of a filled mapping", "the heap", "only whole ones", "too small for one", "mostly empty",
        "not writable", "shared", "of a file", "the stack", "each by its own filling", "nothing",
    ],
)  # fmt: skip
def test_pieces_that_are_worth_it(shown: list[str], found: list[int]) -> None:
    assert list(whole_pieces(shown, PAGE)) == [(at, PAGE) for at in found]


def test_a_page_larger_than_the_mappings_finds_nothing() -> None:
    assert list(whole_pieces(mapping(4 * MB, 24 * MB, 1.0), 32 * MB)) == []


def test_asking_for_huge_pages_changes_nothing_that_lies_there() -> None:
    content = random.Random(4).randbytes(8 * MB)
    with mmap.mmap(-1, 8 * MB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory[:] = content
        before = huge_kb()
        made = [collapse(*piece) for piece in pieces()]
        if not any(made):
            pytest.skip("this kernel makes no huge pages of memory that is there")
        assert huge_kb() > before
        assert memory[:] == content


def huge_kb() -> int:
    """Of this process's memory, what lies in huge pages."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages:"))


class Pauses:
    """A loop that only notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, Callable[[], object]]] = []

    def call_later(self, seconds: float, callback: Callable[[], object]) -> None:
        self.asked.append((seconds, callback))

    def aside(self, callback: Callable[[], object]) -> None:
        self.asked.append((0.0, callback))


def test_it_waits_until_the_stage_has_settled_and_takes_one_piece_in_a_pause() -> None:
    expected = len(list(pieces()))
    pauses = Pauses()
    gather_when_settled(pauses)  # type: ignore[arg-type]
    waited = []
    while pauses.asked:
        seconds, callback = pauses.asked.pop()
        waited.append(seconds)
        callback()
    assert waited[0] == SETTLED_SECONDS
    assert set(waited[1:]) <= {0.0}
    assert abs(len(waited) - 1 - expected) <= 4, "a turn for each piece, give or take what the test itself allocates"


def test_what_cannot_be_one_is_left_alone() -> None:
    assert collapse(3 * 4096, PAGE) is False, "nothing is mapped there"
