"""A journal read from outside: of one moment, while it is written, and with words where it cannot be read."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bus.messages import At, StateEvent
from core.errors import MisconfiguredError
from trader.journal import Journal
from trader.journal_reader import JournalReader
from trader.state import State, pack


def journal_of(path: Path, entries: int) -> Journal:
    journal = Journal(path, lambda committed: None, lambda why: None)
    journal.open(0)
    add(journal, entries)
    return journal


def add(journal: Journal, entries: int) -> None:
    for _ in range(entries):
        number = journal.number + 1
        event = StateEvent(At(7, number, 0), "active", "test", "", "")
        journal.append([event], pack(State(journal_id="j", wallet=number)), checkpoint=number % 2 == 0)
    assert journal.flush(20)


def test_what_is_read_is_of_one_moment(tmp_path: Path) -> None:
    journal = journal_of(tmp_path / "journal.db", 3)
    with JournalReader(journal.path) as reader:
        add(journal, 4)
        state = reader.state()
        assert state is not None and state.wallet == 3
        assert [entry.number for entry in reader.entries()] == [1, 2, 3]
        assert [(one.number, one.state.wallet) for one in reader.checkpoints()] == [(2, 2)]
        assert reader.last == 3
    with JournalReader(journal.path) as reader:
        assert [entry.number for entry in reader.entries(5)] == [5, 6, 7]
        assert [one.number for one in reader.checkpoints(above=2)] == [4, 6]
    assert journal.close()


def test_a_journal_without_entries_has_no_state(tmp_path: Path) -> None:
    assert journal_of(tmp_path / "journal.db", 0).close()
    with JournalReader(tmp_path / "journal.db") as reader:
        assert (reader.state(), list(reader.entries()), reader.last) == (None, [], 0)


def test_nothing_is_written(tmp_path: Path) -> None:
    assert journal_of(tmp_path / "journal.db", 2).close()
    before = (tmp_path / "journal.db").read_bytes()
    with JournalReader(tmp_path / "journal.db") as reader:
        assert len(list(reader.entries())) == 2
    assert (tmp_path / "journal.db").read_bytes() == before


def no_database(path: Path) -> None:
    path.write_bytes(b"no database at all, but long enough to be taken for one" * 100)


def of_a_later_release(path: Path) -> None:
    assert journal_of(path, 1).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version=99")


@pytest.mark.parametrize(
    ("make", "said"),
    [(lambda path: None, "name a book's folder"), (no_database, "cannot be read"), (of_a_later_release, "version 99")],
    ids=["missing", "no database", "of a later release"],
)
def test_what_cannot_be_read_is_said(make, said: str, tmp_path: Path) -> None:
    make(tmp_path / "journal.db")
    with pytest.raises(MisconfiguredError, match=said):
        JournalReader(tmp_path / "journal.db")


def test_a_state_of_another_version_is_said(tmp_path: Path) -> None:
    journal = journal_of(tmp_path / "journal.db", 1)
    journal.append([], b"\x93nonsense", checkpoint=True)
    assert journal.close()
    with (
        JournalReader(journal.path) as reader,
        pytest.raises(MisconfiguredError, match="use the release that wrote it"),
    ):
        reader.state()


def test_an_entry_of_another_release_is_said(tmp_path: Path) -> None:
    assert journal_of(tmp_path / "journal.db", 2).close()
    with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as database:
        database.execute("INSERT INTO entries VALUES (3, 7, 3, 'NewKindEvent', ?)", (b"\x92\x03\x91\xa3New",))
    with JournalReader(tmp_path / "journal.db") as reader, pytest.raises(MisconfiguredError, match="entry 3 of"):
        list(reader.entries())
