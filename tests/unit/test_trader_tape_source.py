"""The tape as the trader reads it where part of it, or all, is only in the feeder's memory."""

from pathlib import Path
from typing import Any

import numpy as np

from bus.frames import Frame
from bus.messages import Market, Start
from bus.records import RECORD, START, TRADE
from bus.tape import TapeWriter
from bus.untaped import Untaped
from core.clock import ManualClock
from core.errors import RemoteError
from trader.tape_source import TapeSource, tape_sources

BOOT = "11111111-2222-3333-4444-555555555555"


def a_start(tick: str) -> Start:
    return Start("v", "b", [Market("B-BTC_USDT", "BTC", "USDT", tick, "0.1", "0", "0")], "5", "5", False, 7)


def records(kind: int, first: int, count: int) -> np.ndarray:
    found = np.zeros(count, RECORD)
    found["kind"], found["ticks"] = kind, np.arange(first, first + count)
    return found


class World:
    """A tape of START and 9 trades, and START and 2,500 trades that are not on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tape = TapeWriter(folder / "tape", ManualClock(), BOOT)
        self.epoch, _ = self.tape.open()
        self.memory = Untaped()
        self.asked: list[int] = []
        self.said: list[str] = []

    def fill_tape(self) -> None:
        self.tape.start(a_start("0.1"))
        self.tape.append(records(TRADE, 1, 9))
        self.memory.begin(10)

    def fill_memory(self) -> None:
        first = self.memory.next_number
        self.memory.add(records(START, first, 1).tobytes(), a_start("0.2"), begins=True)
        for at in range(first + 1, first + 2501, 100):
            self.memory.add(records(TRADE, at, 100).tobytes(), a_start("0.2"))

    def beyond(self, epoch: int, first: int) -> list[Frame]:
        self.asked.append(first)
        return self.memory.frames(self.epoch, first, 2)

    def source(self) -> TapeSource:
        found = tape_sources(self.folder / "tape", self.said.append, self.beyond)(self.epoch)
        assert found is not None
        return found


def given(source: TapeSource, first: int, last: int) -> list[Any]:
    return [number for part in source.stretches(first, last) for number in part.records["ticks"].tolist()]


def test_what_is_not_on_the_tape_comes_from_the_feeder(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fill_tape()
    world.fill_memory()
    source = world.source()
    assert given(source, 3, 2005) == list(range(3, 2006))
    assert [part.body is not None for part in source.stretches(10, 12)] == [True, False]
    assert source.start_before(9) == (0, a_start("0.1"))
    assert source.start_before(2000) == (10, a_start("0.2"))
    world.tape.close()


def test_what_is_on_the_tape_is_not_asked_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fill_tape()
    source = world.source()
    assert given(source, 1, 9) == list(range(1, 10))
    assert source.start_before(9) == (0, a_start("0.1")) and source.first == 0
    assert world.asked == []
    world.tape.close()


def test_a_tape_that_is_all_in_memory_is_read(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fill_memory()
    source = world.source()
    assert source.first == 0 and source.start_before(5) == (0, a_start("0.2"))
    assert len(given(source, 1, 2500)) == 2500


def test_how_far_the_disk_reaches_is_seen_as_it_grows_and_into_a_new_file_once_that_is_told_of(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.tape.next_number == 0
    world.fill_tape()
    source = world.source()
    assert source.reaches(-1) == 9
    world.tape.append(records(TRADE, 10, 5))
    assert source.reaches(9) == 14
    world.tape.start(a_start("0.2"))  # other rules: another file
    world.tape.append(records(TRADE, 16, 3))
    assert source.reaches(14) == 14
    assert source.reaches(17) == 18
    assert source.reaches(18) == 18
    world.tape.close()


def test_a_disk_that_cannot_be_seen_reaches_nowhere(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fill_tape()
    world.tape.close()
    for file in (tmp_path / "tape").glob("*/*.tape"):
        file.write_bytes(b"no tape")
    assert world.source().reaches(9) == -1
    assert world.said == [], "who has to read it is told"


def test_an_epoch_that_nobody_has_is_none(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fill_memory()
    assert tape_sources(tmp_path / "tape", world.said.append, world.beyond)(world.epoch + 1) is None


def test_a_feeder_that_does_not_answer_is_told_and_the_tape_is_read_all_the_same(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fill_tape()

    def silent(epoch: int, first: int) -> list[Frame]:
        raise RemoteError("feeder did not answer")

    source = tape_sources(tmp_path / "tape", world.said.append, silent)(world.epoch)
    assert source is not None and given(source, 5, 20) == [5, 6, 7, 8, 9]
    assert "feeder did not answer" in world.said[0]
    world.tape.close()
