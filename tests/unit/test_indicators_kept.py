"""States of the indicators that are kept for who judges a session: in order, bounded, whole or passed over."""

from pathlib import Path

import pytest

from indicators import kept
from indicators.kept import KeptStates
from indicators.state import VERSION, Saved

HOUR = 3_600 * 10**9


def keep(states: KeptStates, number: int, time_ns: int = 0, size: int = 8, *, began: bool = False) -> None:
    states.keep(Saved(VERSION, 1, number, 1, 2, 3, None, bytes(size)), time_ns, began=began, after=5)


def numbers(book: Path) -> list[int]:
    return [one.saved.number for one in kept.read_all(book)]


def test_they_are_read_in_the_order_of_their_making(tmp_path: Path) -> None:
    states = KeptStates(tmp_path)
    for number in (5, 3, 12):
        keep(states, number)
    keep(KeptStates(tmp_path), 1)  # after a restart
    assert numbers(tmp_path) == [5, 3, 12, 1]


def test_one_is_due_once_in_an_hour_of_market_time(tmp_path: Path) -> None:
    states = KeptStates(tmp_path)
    assert states.due(1, 5 * HOUR)
    keep(states, 1, 5 * HOUR)
    assert not states.due(1, 6 * HOUR - 1)
    assert states.due(1, 6 * HOUR)
    assert states.due(2, 5 * HOUR)  # another tape


def test_the_oldest_go_first_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST", 3)
    states = KeptStates(tmp_path)
    for number in range(6):
        keep(states, number)
    assert numbers(tmp_path) == [3, 4, 5]


def test_the_oldest_go_first_by_bytes_but_the_newest_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST_BYTES", 2_500)
    states = KeptStates(tmp_path)
    for number in range(4):
        keep(states, number, size=1_000)
    assert numbers(tmp_path) == [2, 3]
    keep(states, 9, size=4_000)
    assert numbers(tmp_path) == [9]


def test_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    states = KeptStates(tmp_path)
    for number in range(3):
        keep(states, number)
    files = kept.files_of(tmp_path / kept.FOLDER)
    files[1].write_bytes(files[1].read_bytes()[:-1])
    (tmp_path / kept.FOLDER / "0000000009.new").write_bytes(b"half")
    assert numbers(tmp_path) == [0, 2]


def test_a_book_of_an_earlier_release_has_none(tmp_path: Path) -> None:
    assert numbers(tmp_path) == []


def test_what_a_disk_refuses_is_tried_again_and_a_begin_stays_one(tmp_path: Path) -> None:
    """Nobody may take the state that is written at last for one that the life before leads to."""
    (tmp_path / kept.FOLDER).write_bytes(b"a file where the folder should be")
    states = KeptStates(tmp_path)
    with pytest.raises(OSError):
        keep(states, 1, 5 * HOUR, began=True)
    assert states.due(1, 5 * HOUR)
    with pytest.raises(OSError):
        keep(states, 2, 5 * HOUR)
    (tmp_path / kept.FOLDER).unlink()
    for number in (7, 8):
        keep(states, number, 5 * HOUR)
    assert [(one.began, one.after) for one in kept.read_all(tmp_path)] == [(True, 7), (False, 8)]


def test_a_begin_tells_from_where_on_it_speaks(tmp_path: Path) -> None:
    states = KeptStates(tmp_path)
    for number in (-1, 9):
        keep(states, number, began=True)
    assert [one.after for one in kept.read_all(tmp_path)] == [5, 9]
