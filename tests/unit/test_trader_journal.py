"""The journal: what is appended is on the disk before it is shown, in order, for ever; trouble loses nothing."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import trader.journal
from bus.messages import At, StateEvent, TraderEvent
from core.errors import BotError, MisconfiguredError
from core.paths import ROOT
from trader.journal import STATE_STEP, Committed, Journal, epoch_of, padded, unpadded


class Box:
    """Collects what the writer's thread says."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.trouble: list[str] = []
        self._changed = threading.Condition()

    def committed(self, committed: Committed) -> None:
        with self._changed:
            self.numbers += [entry.number for entry in committed.entries]
            self._changed.notify_all()

    def failed(self, why: str) -> None:
        with self._changed:
            self.trouble.append(why)
            self._changed.notify_all()

    def wait(self, until: Callable[["Box"], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: until(self), timeout=20)


def event(number: int) -> TraderEvent:
    return StateEvent(At(7, number, 1000 * number), "active", "test", "", f"c{number}")


def open_journal(path: Path) -> tuple[Journal, Box]:
    box = Box()
    journal = Journal(path, box.committed, box.failed)
    journal.open(0)
    return journal, box


def test_a_new_journal_has_an_id_and_no_state(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db", lambda c: None, lambda w: None)
    found = journal.open(5)
    journal.close()
    assert (found.number, found.state) == (0, None)
    assert 0 < epoch_of(found.journal_id) < 1 << 62
    again = Journal(tmp_path / "journal.db", lambda c: None, lambda w: None)
    assert again.open(6).journal_id == found.journal_id
    again.close()


def test_entries_come_back_in_order_with_the_latest_state(tmp_path: Path) -> None:
    journal, box = open_journal(tmp_path / "journal.db")
    for number in range(1, 51):
        journal.append([event(number)], f"state {number}".encode())
    journal.append([], b"a later state")
    assert journal.close()
    assert box.numbers == list(range(1, 51))
    journal = Journal(tmp_path / "journal.db", box.committed, box.failed)
    found = journal.open(0)
    assert (found.number, found.state) == (50, b"a later state")
    assert [entry.number for entry in journal.entries(48)] == [48, 49, 50]
    assert journal.entries(50)[0].event == event(50)
    journal.append([event(51)], b"x")
    journal.close()
    assert box.numbers[-1] == 51


def test_the_schema_refuses_to_change_or_delete_entries(tmp_path: Path) -> None:
    journal, _ = open_journal(tmp_path / "journal.db")
    journal.append([event(1)], b"s")
    journal.close()
    database = sqlite3.connect(tmp_path / "journal.db")
    for statement in ("DELETE FROM entries", "UPDATE entries SET record = 9"):
        with pytest.raises(sqlite3.IntegrityError, match="journal entries"):
            database.execute(statement)
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database.close()


def test_a_locked_journal_says_so_keeps_everything_and_goes_on(tmp_path: Path) -> None:
    journal, box = open_journal(tmp_path / "journal.db")
    journal.append([event(1)], b"1")
    box.wait(lambda b: b.numbers == [1])
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    journal.append([event(2)], b"2")
    box.wait(lambda b: bool(b.trouble))
    assert "locked" in box.trouble[0]
    journal.append([event(3)], b"3")
    other.execute("ROLLBACK")
    other.close()
    box.wait(lambda b: b.numbers == [1, 2, 3])
    box.wait(lambda b: b.trouble[-1] == "")
    assert journal.close()


def test_what_the_disk_does_not_give_is_told_and_read_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, box = open_journal(tmp_path / "journal.db")
    journal.append([event(1), event(2)], b"s")
    box.wait(lambda box: box.numbers == [1, 2])
    with monkeypatch.context() as patch:

        class Failing:
            def execute(self, *statement: object) -> None:
                raise sqlite3.OperationalError("disk I/O error")

            def close(self) -> None:
                pass

        patch.setattr(trader.journal, "_connect", lambda path: Failing())
        for _ in range(2):
            with pytest.raises(BotError, match=r"journal.db cannot be read: disk I/O error"):
                journal.read(1)
    assert [number for number, _ in journal.read(1)] == [1, 2]
    journal.close()


def test_flush_waits_for_the_disk_and_says_where_it_does_not_take_it(tmp_path: Path) -> None:
    journal, box = open_journal(tmp_path / "journal.db")
    assert journal.flush(0)
    journal.append([event(1)], b"1")
    assert journal.flush(20)
    assert len(journal.entries()) == 1
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    journal.append([event(2)], b"2")
    assert not journal.flush(0.01)
    box.wait(lambda b: bool(b.trouble))
    assert not journal.flush(20)  # it is refused: waiting on is of no use
    other.execute("ROLLBACK")
    other.close()
    box.wait(lambda b: b.numbers == [1, 2])
    assert journal.flush(20)
    assert journal.close()


def test_a_full_disk_says_so_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own limit on the number of pages stands for the full disk."""
    from trader import journal as module

    full = threading.Event()
    connections: list[sqlite3.Connection] = []
    connect = module._connect

    def limited(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute(f"PRAGMA max_page_count={'1' if full.is_set() else '100000'}")
        connections.append(connection)
        return connection

    monkeypatch.setattr(module, "_connect", limited)
    journal, box = open_journal(tmp_path / "journal.db")
    full.set()
    connections[0].execute("PRAGMA max_page_count=1")
    for number in range(1, 400):
        journal.append([event(number)], b"state" * 100)
    box.wait(lambda b: bool(b.trouble))
    assert "full" in box.trouble[0]
    full.clear()
    box.wait(lambda b: len(b.numbers) == 399)
    assert journal.close()
    assert box.numbers == list(range(1, 400))


class Stuck(sqlite3.Connection):
    """Does not roll back."""

    def rollback(self) -> None:
        raise sqlite3.OperationalError("disk I/O error")


@pytest.mark.parametrize(
    ("kind", "is_kept"), [(sqlite3.Connection, True), (Stuck, False)], ids=["rolls back", "stays in its transaction"]
)
def test_where_no_other_connection_can_be_had_the_one_in_use_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[sqlite3.Connection], is_kept: bool
) -> None:
    path = tmp_path / "journal.db"
    open_journal(path)[0].close()
    with closing(sqlite3.connect(path, isolation_level=None, factory=kind)) as used:
        used.execute("BEGIN IMMEDIATE")

        def refused(path: Path) -> sqlite3.Connection:
            raise sqlite3.OperationalError("disk I/O error")

        with monkeypatch.context() as patch:
            patch.setattr(trader.journal, "_connect", refused)
            assert trader.journal._another(path, used) is (used if is_kept else None)
        with closing(sqlite3.connect(path, timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")  # nobody holds the lock


@pytest.mark.parametrize("damage", ["garbage", "newer", "no state", "torn state", "folder"])
def test_a_journal_that_is_no_use_is_named_with_the_next_step(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "journal.db"
    if damage == "garbage":
        path.write_bytes(b"this is no database, but it is long enough to look like one" * 100)
    elif damage == "folder":
        path.mkdir()
    else:
        journal, _ = open_journal(path)
        journal.append([event(1)], b"s")
        journal.close()
        database = sqlite3.connect(path, isolation_level=None)
        if damage == "newer":
            database.execute("PRAGMA user_version=99")
        elif damage == "no state":
            database.execute("DELETE FROM state")
        else:
            database.execute("UPDATE state SET number = 7")
        database.close()
    with pytest.raises(MisconfiguredError) as refused:
        Journal(path, lambda c: None, lambda w: None).open(0)
    assert f"the journal {path}" in str(refused.value) or damage in ("no state", "torn state")


WRITER = """
import sys
from pathlib import Path
from bus.messages import At, StateEvent
from trader.journal import Journal

def said(committed):
    print(committed.entries[-1].number, flush=True)

journal = Journal(Path(sys.argv[1]), said, lambda why: None)
number = journal.open(0).number
while True:
    events = [StateEvent(At(7, n, n), "active", "test", "", "") for n in (number + 1, number + 2)]
    number += 2
    journal.append(events, str(number).encode())
    if number % 20 == 0:
        import time
        time.sleep(0.01)
"""


def test_a_kill_at_any_moment_loses_only_what_was_not_committed(tmp_path: Path) -> None:
    """Killed with -9 while it writes: entries 1..n are there, the state is that after n, what was said holds."""
    said = 0
    for kills in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "journal.db")], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert writer.stdout is not None
        for line in writer.stdout:
            said = int(line)
            if said > 60 * (kills + 1):
                break
        writer.kill()
        rest = writer.stdout.read().split()
        writer.stdout.close()
        writer.wait()
        said = int(rest[-1]) if rest else said
        journal = Journal(tmp_path / "journal.db", lambda c: None, lambda w: None)
        found = journal.open(0)
        assert found.number >= said
        assert found.state == str(found.number).encode()
        assert [entry.number for entry in journal.entries()] == list(range(1, found.number + 1))
        journal.close()


@pytest.mark.parametrize(
    "state",
    [b"", b"\x80", b"\x80\0\0", bytes(STATE_STEP), b"\xc1\0", b"\xc2" * (STATE_STEP - 1), b"\xc3" * (3 * STATE_STEP)],
    ids=["empty", "short", "zeros at the end", "zeros alone", "the mark itself", "just fits", "one more than fits"],
)
def test_a_state_comes_back_from_its_padding(state: bytes) -> None:
    body = padded(state)
    assert len(body) % STATE_STEP == 0 and len(state) < len(body) <= len(state) + STATE_STEP
    assert unpadded(body) == state


def test_a_state_that_an_earlier_release_wrote_is_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal, _ = open_journal(path)
    journal.append([event(1)], b"new")
    journal.close()
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE state SET body = ?", (b"\x81\xa1a\xcb\xc1\0\0\0\0\0\0\0\xc2",))
    again = Journal(path, lambda c: None, lambda w: None)
    assert again.open(0).state == b"\x81\xa1a\xcb\xc1\0\0\0\0\0\0\0\xc2"
    again.close()


def test_a_commit_writes_only_the_pages_of_the_state_that_differ(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal, _ = open_journal(path)
    state = bytearray(b"\x93" * 40_000)  # ten pages
    journal.append([], bytes(state))
    assert journal.flush(20)
    wal = path.with_name("journal.db-wal")
    before = wal.stat().st_size
    for round_number in range(20):
        state[100] = round_number
        journal.append([], bytes(state))
        assert journal.flush(20)
    assert wal.stat().st_size - before <= 20 * 3 * 4_120
    journal.close()


def checkpoints(path: Path) -> list[tuple[int, bytes]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT number, body FROM checkpoints ORDER BY number").fetchall()


def test_checkpoints_outlive_the_state(tmp_path: Path) -> None:
    journal, _ = open_journal(tmp_path / "journal.db")
    for number in range(1, 5):
        journal.append([event(number)], b"state %d" % number, checkpoint=number % 2 == 0)
    journal.append([], b"later", checkpoint=True)  # no entry since: it takes the place of the one there was
    assert journal.close()
    assert checkpoints(journal.path) == [(2, b"state 2"), (4, b"later")]


def test_checkpoints_are_bounded_by_number_and_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trader.journal, "MOST_CHECKPOINTS", 3)
    journal, _ = open_journal(tmp_path / "journal.db")
    for number in range(1, 8):
        journal.append([event(number)], b"state", checkpoint=True)
        assert journal.flush(20)
    assert [number for number, _ in checkpoints(journal.path)] == [5, 6, 7]
    monkeypatch.setattr(trader.journal, "CHECKPOINT_BYTES", 10)
    journal.append([event(8)], b"of many pairs", checkpoint=True)
    assert journal.close()
    assert [number for number, _ in checkpoints(journal.path)] == [8]


def test_a_journal_of_an_earlier_release_gets_checkpoints_and_can_go_back(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal, _ = open_journal(path)
    journal.append([event(1)], b"state")
    assert journal.close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE checkpoints")
        before = database.execute("PRAGMA user_version").fetchone()
    journal, _ = open_journal(path)
    journal.append([event(2)], b"state", checkpoint=True)
    assert journal.close()
    assert [number for number, _ in checkpoints(path)] == [2]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == before
