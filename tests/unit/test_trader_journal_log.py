"""The journal's log: who holds it is named once, the journal goes on, and the file is cut when it is over."""

import queue
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bus.messages import At, StateEvent
from trader.journal import LOG_KEPT_BYTES, Journal
from trader.journal_log import LOOK_SECONDS, LogLook

MB = 1024 * 1024
LONG_BYTES = LOG_KEPT_BYTES + MB
READER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN")
print(database.execute("SELECT count(*) FROM entries").fetchone()[0], flush=True)
sys.stdin.read()
database.close()
"""


class OwnLoop:
    """Keeps what is to be called; the test calls it."""

    def __init__(self) -> None:
        self.periods: list[float] = []
        self.from_threads: queue.Queue[Callable[[], object]] = queue.Queue()
        self.call_threadsafe = self.from_threads.put

    def every(self, seconds: float, callback: Callable[[], object]) -> None:
        self.periods.append(seconds)


class World:
    """A journal with a look at its log; `said` is what people were told."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder / "journal.db", lambda committed: None, lambda why: None)
        self.journal.open(0)
        self.loop = OwnLoop()
        self.said: list[tuple[str, str]] = []
        self.look = LogLook(self.loop, self.journal.path, lambda *told: self.said.append(told)).look

    def append(self, count: int = 1) -> None:
        """So many entries of about a page, in one commit."""
        first = self.journal.number + 1
        events = [StateEvent(At(7, n, n), "active", "x" * 3_900, "", "") for n in range(first, first + count)]
        self.journal.append(events, b"state")
        assert self.journal.flush(20)

    def bytes(self) -> int:
        return Path(f"{self.journal.path}-wal").stat().st_size

    def hears(self) -> tuple[str, str]:
        """What the thread that looks for names has told."""
        self.loop.from_threads.get(timeout=20)()
        return self.said[-1]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("trader.journal_log.LONG_BYTES", LONG_BYTES)
    made = World(tmp_path)
    made.append()
    yield made
    made.journal.close()


def test_who_holds_the_log_is_named_once_and_the_file_shrinks_when_it_is_over(world: World) -> None:
    assert world.loop.periods == [LOOK_SECONDS]
    path = world.journal.path
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdin is not None and reader.stdout is not None
        assert reader.stdout.readline() == "1\n"
        while world.bytes() <= LONG_BYTES:
            world.look()
            world.append(300)
        world.look()
        world.look()
        assert world.said == [] and world.loop.from_threads.empty()  # long, but it may be the last commit's
        world.append(300)
        world.look()
        level, text = world.hears()
        assert level == "warn" and f"{path} in a transaction, its log journal.db-wal is 1" in text
        assert f" (process {reader.pid})" in text
        for _ in range(3):
            world.append()
            world.look()
        assert len(world.said) == 1 and world.loop.from_threads.empty()
        held = world.bytes()
        reader.stdin.close()
        reader.wait(20)
    world.append()
    assert world.bytes() >= held  # all of it is in the database now, and the file is as it was
    world.append()
    assert world.bytes() == LOG_KEPT_BYTES
    world.look()
    world.look()
    assert [level for level, _ in world.said] == ["warn", "info"] and "small again" in world.said[1][1]
    assert [entry.number for entry in world.journal.entries()] == list(range(1, world.journal.number + 1))
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_second_reader_is_told_anew(world: World) -> None:
    for _ in range(2):
        with closing(sqlite3.connect(world.journal.path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM entries").fetchone()
            for _ in range(2):
                world.append(2_300)
                world.look()
            level, text = world.hears()
            assert level == "warn" and "not to be seen from here" in text  # it is in our process
        world.append()
        world.append()
        world.look()
    assert [level for level, _ in world.said] == ["warn", "info"] * 2


def test_the_log_of_one_great_commit_is_nobodys(world: World) -> None:
    world.append(5_000)
    assert world.bytes() > LONG_BYTES
    world.look()
    world.look()
    world.append()
    assert world.bytes() == LOG_KEPT_BYTES
    world.look()
    assert world.said == [] and world.loop.from_threads.empty()


def test_a_journal_without_a_log_is_fine(tmp_path: Path) -> None:
    said: list[tuple[str, str]] = []
    LogLook(OwnLoop(), tmp_path / "journal.db", lambda *told: said.append(told)).look()
    assert said == []
