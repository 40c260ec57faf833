"""States of the indicators that are kept for who judges a session: in order, bounded, whole or passed over."""

from pathlib import Path

import pytest

from indicators import kept
from indicators.kept import Kept, KeptStates
from indicators.state import VERSION, Saved

HOUR = 3_600 * 10**9


def state(number: int, size: int = 8, epoch: int = 1) -> Kept:
    return Kept(number == 0, number, Saved(VERSION, epoch, number, 1, 2, 3, None, bytes(size)))


def numbers(book: Path) -> list[int]:
    return [one.saved.number for one in kept.read_all(book)]


def test_they_are_read_in_the_order_of_their_making(tmp_path: Path) -> None:
    states = KeptStates(tmp_path)
    for number in (5, 3, 12):
        states.keep(state(number), 0)
    KeptStates(tmp_path).keep(state(1), 0)  # after a restart
    assert numbers(tmp_path) == [5, 3, 12, 1]


def test_one_is_due_once_in_an_hour_of_market_time(tmp_path: Path) -> None:
    states = KeptStates(tmp_path)
    assert states.due(1, 5 * HOUR)
    states.keep(state(1), 5 * HOUR)
    assert not states.due(1, 6 * HOUR - 1)
    assert states.due(1, 6 * HOUR)
    assert states.due(2, 5 * HOUR)  # another tape


def test_the_oldest_go_first_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST", 3)
    states = KeptStates(tmp_path)
    for number in range(6):
        states.keep(state(number), 0)
    assert numbers(tmp_path) == [3, 4, 5]


def test_the_oldest_go_first_by_bytes_but_the_newest_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST_BYTES", 2_500)
    states = KeptStates(tmp_path)
    for number in range(4):
        states.keep(state(number, 1_000), 0)
    assert numbers(tmp_path) == [2, 3]
    states.keep(state(9, 4_000), 0)
    assert numbers(tmp_path) == [9]


def test_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    states = KeptStates(tmp_path)
    for number in range(3):
        states.keep(state(number), 0)
    files = kept.files_of(tmp_path / kept.FOLDER)
    files[1].write_bytes(files[1].read_bytes()[:-1])
    (tmp_path / kept.FOLDER / "0000000009.new").write_bytes(b"half")
    assert numbers(tmp_path) == [0, 2]


def test_a_book_of_an_earlier_release_has_none(tmp_path: Path) -> None:
    assert numbers(tmp_path) == []


def test_a_disk_that_refuses_is_not_asked_at_each_candle(tmp_path: Path) -> None:
    (tmp_path / kept.FOLDER).write_bytes(b"a file where the folder should be")
    states = KeptStates(tmp_path)
    with pytest.raises(OSError):
        states.keep(state(1), 5 * HOUR)
    assert not states.due(1, 5 * HOUR + 1)
