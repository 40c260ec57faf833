"""`make backup`: what it copies, what it refuses, and that it can be put back as it says."""

import fcntl
import os
import shlex
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from backtest import parity
from core.clock import ManualClock
from indicators import jit
from storage import backup
from storage.batch import TRADER, Batch
from storage.csvlog import TradesCsv
from storage.migrations import migrate
from storage.writer import Writer
from tests.indicator_tools import kernels
from tests.recorded_session import Recording
from tests.unit import storage_samples as samples
from tools import backup as tool
from trader.journal import Journal, epoch_of


def make_book(var: Path, name: str, trades: int = 3) -> Path:
    """A book as a stopped bot leaves it."""
    book = var / "books" / name
    (book / "tape").mkdir(parents=True)
    journal = Journal(book / "journal.db", lambda done: None, lambda why: None)
    epoch = epoch_of(journal.open(1).journal_id)
    journal.append([samples.trade(number, number) for number in range(1, trades + 1)], b"state")
    assert journal.flush(20)
    writer = Writer(book / "bot_data.db")
    migrate(writer.engine, writer.database, 1)
    batch = Batch()
    for entry in journal.entries():
        batch.add_entry(epoch, entry.number, entry.event)
    writer.write(batch)
    TradesCsv(book / "trades.csv", writer.trades_from).sync()
    assert journal.close()
    writer.close()
    return book


@pytest.fixture
def var(tmp_path, monkeypatch):
    var = tmp_path / "v"
    make_book(var, "sim-a")
    (var / "current").symlink_to("books/sim-a")
    (var / "settings.json").write_text("{}")
    monkeypatch.setenv("VAR_DIR", str(var))
    return var


def made(var: Path) -> list[Path]:
    return sorted((var.parent / "backups").iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_book_in_force_is_copied_and_told(var, capsys):
    assert tool.main([]) == 0
    [copy] = made(var)
    assert (
        copy.name.startswith("sim-a-2") and copy.name.endswith("Z") and len(copy.name) == len("sim-a-20261126T110000Z")
    )
    assert set(contents(copy)) == {
        "settings.json",
        *(f"books/sim-a/{name}" for name in (*backup.DATABASES, backup.CSV)),
    }
    with closing(sqlite3.connect(copy / "books/sim-a/journal.db")) as file:
        assert file.execute("SELECT count(*) FROM entries").fetchone() == (3,)
    assert copy.stat().st_mode & 0o077 == 0
    said = capsys.readouterr().out
    assert "sim-a: trades.csv" in said and "checked" in said and str(copy) in said and "make stop" in said


def test_it_can_be_put_back_as_it_says(var, capsys):
    before = contents(var / "books")
    tool.main([])
    said = capsys.readouterr().out
    assert contents(var / "books") == before  # a backup changes nothing
    with closing(sqlite3.connect(var / "books/sim-a/bot_data.db")) as file:
        file.execute("INSERT INTO trades SELECT 99, pair, action, 1, 1, 0, 9, '', '', '' FROM trades LIMIT 1")
        file.commit()
    lines = [line.strip() for line in said.splitlines() if line.startswith("  ") and "make" not in line]
    for line in lines:
        for command in line.split("&&"):
            subprocess.run(shlex.split(command), check=True)
    after = contents(var / "books")
    assert set(after) == set(before)
    with closing(sqlite3.connect(var / "books/sim-a/bot_data.db")) as file:
        assert [id for (id,) in file.execute("SELECT id FROM trades ORDER BY id")] == [1, 2, 3]
        assert file.execute("SELECT number FROM cursors WHERE topic = ?", (TRADER,)).fetchone() == (3,)
    assert (var / "sim-a.before-restore" / "bot_data.db").exists()


def test_all_books_and_another_place(var, tmp_path):
    make_book(var, "sim-b", trades=1)
    (var / "books" / "never-began").mkdir()
    assert tool.main(["--all", "--to", str(tmp_path / "usb")]) == 0
    [copy] = (tmp_path / "usb").iterdir()
    assert copy.name.startswith("all-")
    assert sorted(path.name for path in (copy / "books").iterdir()) == ["sim-a", "sim-b"]


def test_without_a_book_there_is_nothing_to_copy(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VAR_DIR", str(tmp_path / "nowhere"))
    assert tool.main([]) == 2
    assert "no book with a journal" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_room_nothing_is_begun(var, monkeypatch, capsys):
    monkeypatch.setattr(tool, "free_bytes", lambda path: 1_000_000)
    assert tool.main([]) == 1
    assert made(var) == []
    said = capsys.readouterr().err
    assert "1 MB free" in said and "TO=/mnt/disk" in said


def test_a_damaged_file_is_told_and_leaves_no_backup(var, capsys):
    journal = var / "books/sim-a/journal.db"
    content = bytearray(journal.read_bytes())
    content[4096:8192] = os.urandom(4096)
    journal.write_bytes(content)
    assert tool.main([]) == 1
    assert made(var) == []
    assert "journal.db" in capsys.readouterr().err


def test_a_second_backup_at_the_same_time_is_refused_and_leftovers_of_a_killed_one_go(var, capsys):
    folder = var.parent / "backups"
    (folder / "sim-a-20200101T000000Z.part").mkdir(parents=True)
    fd = os.open(folder, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert tool.main([]) == 1
    assert "another backup" in capsys.readouterr().err
    os.close(fd)
    assert tool.main([]) == 0
    assert len(made(var)) == 1


def test_a_backup_of_the_same_second_is_not_overwritten(var):
    clock = ManualClock()
    book = var / "books/sim-a"
    copy = tool.back_up(var, [book], var.parent / "b", clock, tape=False, name="x")
    before = contents(copy)
    with pytest.raises(backup.BackupError, match="try again"):
        tool.back_up(var, [book], var.parent / "b", clock, tape=False, name="x")
    assert contents(copy) == before


def test_with_the_tape_go_the_states_that_parity_needs(tmp_path):
    bot = Recording(tmp_path)
    bot.trades(100)
    book = bot.close()
    backup.copy_book(book, tmp_path / "with", tape=True)
    backup.copy_book(book, tmp_path / "without", tape=False)
    verdict = parity.judge(tmp_path / "with", kernels().machine, jit.sources_hash())
    assert (verdict.outcome, verdict.not_judged) == (parity.EQUAL, [])
    assert not (tmp_path / "without" / "indicators").exists()
