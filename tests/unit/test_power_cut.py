"""A power cut at any moment: the files open cleanly, what was acknowledged is there, the rest is caught up.

The real journal, writer, CSV and tape work in a process of their own, which is stopped (SIGSTOP) at random moments; its
files are copied as they are and then damaged as `tests.unit.power_cut` tells. Seeded.
"""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from bus.messages import Market, Start
from bus.records import RECORD, TRADE
from bus.tape import TapeReader, TapeWriter, boot_id
from core.clock import LiveClock
from core.paths import ROOT
from storage.backup import copy_book
from storage.batch import TRADER, Batch
from storage.csvlog import TradesCsv, as_line
from storage.migrations import migrate
from storage.rows import MADE
from storage.writer import Writer
from tests.unit import power_cut
from tests.unit import storage_samples as samples
from trader.journal import Committed, Journal, epoch_of
from trader.journal import _connect as journal_connection

PROGRAM = "import sys; from tests.unit import test_power_cut; test_power_cut.work_for_ever(*sys.argv[1:])"
MOMENTS = 10
CUTS = 3  # made of each moment
LEAST = 700  # entries between two moments: so many moments see checkpoints, however slow the machine
PACE_S = 0.002  # of the worker's rounds, so that it does not outgrow the test
TABLES = ("orders", "fills", "trades", "signals", "equity", "positions", "order_steps", "reasons")
MARKET = Market(samples.PAIR, "BTC", "USDT", "0.1", "0.00001", "0.00001", "1")


def an_episode(number: int, id: int) -> list:
    """Seven entries from `number` on: what one entry or exit says."""
    key = f"scalp-{id}"
    return [
        samples.signal(number, key),
        samples.order(number + 1, key),
        samples.fill(number + 2, id, key),
        samples.order(number + 3, key, "filled", "0.00120"),
        samples.trade(number + 4, id, None if id % 2 else "0.25", key),
        samples.equity(number + 5),
        samples.position(number + 6),
    ]


def work_for_ever(folder_name: str, seed: str) -> None:
    """Journals episodes; what is committed is told in the file `acknowledged` and goes to tables and CSV."""
    folder, rng = Path(folder_name), random.Random(seed)
    told = os.open(folder / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    committed: list[Committed] = []

    def on_commit(done: Committed) -> None:
        os.write(told, b"%d\n" % done.entries[-1].number)
        committed.append(done)

    journal = Journal(folder / "journal.db", on_commit, lambda why: sys.exit(why) if why else None)
    epoch = epoch_of(journal.open(1).journal_id)
    writer = Writer(folder / "bot_data.db")
    migrate(writer.engine, writer.database, 1)
    csv = TradesCsv(folder / "trades.csv", writer.trades_from)
    tape = TapeWriter(folder / "tape", LiveClock(), boot_id(), segment_bytes=400_000)
    tape.open()
    tape.start(Start("sandbox", "b", [MARKET], "5", "5", False, 1))
    print("started", flush=True)
    id = 0
    while True:
        for _ in range(rng.choice((1, 1, 2, 5, 20))):
            id += 1
            journal.append(an_episode(journal.number + 1, id), rng.randbytes(rng.choice((300, 3_000, 30_000))))
        records = tape_records(tape.next_number, rng.randint(1, 300))
        tape.append(records)
        journal.flush(1.0)
        batch = Batch()
        while committed:
            for entry in committed.pop(0).entries:
                batch.add_entry(epoch, entry.number, entry.event)
        for pair in range(rng.choice((0, 26))):
            batch.add_candle(samples.candle(id // 50, 100.0 + id, f"B-C{pair:02d}_USDT"))
        writer.write(batch)
        csv.sync()
        time.sleep(PACE_S)


def tape_records(first: int, count: int):
    import numpy as np

    records = np.zeros(count, RECORD)
    records["kind"] = TRADE
    records["price"] = np.arange(first, first + count)
    return records


@pytest.fixture
def worker(tmp_path):
    """The process at work and its folder."""
    folder = tmp_path / "book"
    folder.mkdir()
    command = [sys.executable, "-c", PROGRAM, str(folder), "seed 3"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        yield process, folder
        process.kill()


def stopped_copy(process: subprocess.Popen, folder: Path, target: Path) -> None:
    """The files as they are at this moment. The process stays stopped, so that its book does not outgrow the test."""
    os.kill(process.pid, signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    shutil.copytree(folder, target)


def work_on(process: subprocess.Popen, folder: Path, seconds: float) -> None:
    """Lets it acknowledge LEAST more entries, and then go on to a moment of its own: the moment is what is tried."""
    os.kill(process.pid, signal.SIGCONT)
    wanted = acknowledged(folder) + LEAST
    while acknowledged(folder) < wanted:
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(seconds)


def acknowledged(folder: Path) -> int:
    whole = (folder / "acknowledged").read_bytes().rpartition(b"\n")[0]
    return int(whole.rpartition(b"\n")[2] or 0)


def last_entry(journal: Path) -> int:
    with closing(sqlite3.connect(journal)) as file:
        return file.execute("SELECT coalesce(max(number), 0) FROM entries").fetchone()[0]


def frames_up_to(number: int, at_rest: Path, log: power_cut.Log, folder: Path) -> int:
    """How many frames of the journal's log hold everything up to entry `number`: so many were synced."""
    commits = [0, *log.commits()]
    for frames in reversed(commits):
        trial = folder / "trial.db"
        shutil.copyfile(at_rest, trial)
        wal = at_rest.with_name(at_rest.name + "-wal").read_bytes() if frames else b""
        trial.with_name("trial.db-wal").write_bytes(wal[: log.end_of(frames)] if frames else b"")
        if last_entry(trial) < number:
            return commits[commits.index(frames) + 1]
    return 0  # a checkpoint had moved all of it into the database


def tables_of(database: Path) -> dict[str, list]:
    with closing(sqlite3.connect(database)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {table: file.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in TABLES}


def entries_of(journal: Path) -> tuple[int, list]:
    """The journal's epoch and entries, opened as the trader opens it: whole, with the state after the last entry."""
    with closing(sqlite3.connect(journal)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    opened = Journal(journal, lambda done: None, lambda why: None)
    found = opened.open(1)
    entries = opened.entries()
    assert opened.close()
    assert [entry.number for entry in entries] == list(range(1, found.number + 1))
    return epoch_of(found.journal_id), entries


def reached_by(database: Path) -> int:
    """The last journal entry that is in the tables, opened as storage opens them."""
    writer = Writer(database)
    migrate(writer.engine, database, 1)
    reached = writer.cursors().get(TRADER, (0, 0))[1]
    writer.close()
    return reached


def built_from(entries: list) -> dict[str, list]:
    """The tables that these entries make."""
    tables: dict[str, dict] = {table: {} for table in TABLES}
    for entry in entries:
        for table, make in MADE.get(type(entry.event), ()):
            row = make(entry.number, entry.event)
            if table in tables and row is not None:
                tables[table][row[0]] = row  # the latest of its key
    return {table: sorted(rows.values()) for table, rows in tables.items()}


def bring_up(database: Path, epoch: int, entries: list) -> None:
    """What storage does at its start: the tables take what they lack of the journal, the CSV what it lacks of them."""
    writer = Writer(database)
    migrate(writer.engine, database, 1)
    reached = writer.cursors().get(TRADER, (epoch, 0))[1]
    batch = Batch()
    for entry in entries[reached:]:
        batch.add_entry(epoch, entry.number, entry.event)
    writer.write(batch)
    csv = TradesCsv(database.with_name("trades.csv"), writer.trades_from)
    csv.sync()
    lines = "".join(as_line(row) for row in writer.trades_from(0))
    assert csv.path.read_text().partition("\n")[2] == lines
    writer.close()


def test_what_was_acknowledged_survives_a_power_cut_at_any_moment(worker, tmp_path):
    process, folder = worker
    rng = random.Random(7)
    laps = set()
    for moment in range(MOMENTS):
        work_on(process, folder, rng.random() * 0.3)
        at_rest = tmp_path / f"moment{moment}"
        stopped_copy(process, folder, at_rest)
        number = acknowledged(at_rest)
        logs = {name: power_cut.read_log(at_rest / f"{name}-wal") for name in ("journal.db", "bot_data.db")}
        synced = {
            "journal.db": frames_up_to(number, at_rest / "journal.db", logs["journal.db"], tmp_path),
            "bot_data.db": power_cut.checkpointed(at_rest / "bot_data.db"),
        }
        synced["journal.db"] = max(synced["journal.db"], power_cut.checkpointed(at_rest / "journal.db"))
        laps.add((at_rest / "journal.db-wal").read_bytes()[16:24])
        for count in range(CUTS):
            left = tmp_path / f"cut{moment}-{count}"
            for name, log in logs.items():
                power_cut.cut(at_rest / name, left / name, synced[name], log, rng)
            (left / "trades.csv").write_bytes(power_cut.torn((at_rest / "trades.csv").read_bytes(), 0, rng))
            epoch, entries = entries_of(left / "journal.db")
            assert len(entries) >= number > 0
            reached = reached_by(left / "bot_data.db")
            assert reached <= len(entries)
            assert tables_of(left / "bot_data.db") == built_from(entries[:reached])
            bring_up(left / "bot_data.db", epoch, entries)
            assert tables_of(left / "bot_data.db") == built_from(entries)
            shutil.rmtree(left)
        shutil.rmtree(at_rest)
    print(len(laps), "laps", number, "entries")
    assert len(laps) > 1, "no checkpoint fell into the test: its moments show little"


def test_the_tape_reads_to_its_last_whole_record_after_a_power_cut(worker, tmp_path):
    process, folder = worker
    rng = random.Random(11)
    for moment in range(5):
        work_on(process, folder, rng.random() * 0.2)
        at_rest = tmp_path / f"moment{moment}"
        stopped_copy(process, folder, at_rest)
        [epoch] = (at_rest / "tape").iterdir()
        segments = sorted(epoch.glob("*.tape"))
        size = segments[-1].stat().st_size
        whole = TapeReader(at_rest / "tape").last
        header = size - (whole + 1 - int(segments[-1].stem)) * 64
        os.truncate(segments[-1], size - rng.randrange(0, max(1, size - header)))
        reader = TapeReader(at_rest / "tape")
        assert 0 <= reader.last <= whole
        _, records = reader.read_back(reader.last)  # without the START
        assert len(records) == reader.last
        assert records["price"].tolist() == [float(number) for number in range(1, len(records) + 1)]
        after = TapeWriter(at_rest / "tape", LiveClock(), "another boot")
        assert after.open()[1] == 0 and "restarted" in after.new_epoch_because
        after.close()


def test_a_backup_under_load_is_one_moment_of_the_book(worker, tmp_path):
    process, folder = worker
    while acknowledged(folder) < LEAST:  # several whole rounds: all files are there
        assert process.poll() is None
        time.sleep(0.01)
    for count in range(4):
        time.sleep(0.2)
        before = acknowledged(folder)
        copy = tmp_path / f"copy{count}"
        copied = copy_book(folder, copy, tape=True)
        assert set(copied) == {"trades.csv", "bot_data.db", "journal.db", "tape"} and min(copied.values()) > 0
        assert sorted(path.name for path in copy.iterdir()) == ["bot_data.db", "journal.db", "tape", "trades.csv"]
        epoch, entries = entries_of(copy / "journal.db")
        assert len(entries) >= before
        assert 0 < reached_by(copy / "bot_data.db") <= len(entries)
        bring_up(copy / "bot_data.db", epoch, entries)
        assert tables_of(copy / "bot_data.db") == built_from(entries)
        reader = TapeReader(copy / "tape")
        assert len(reader.read_back(reader.last + 1)[1]) == reader.last + 1
    assert process.poll() is None


def test_a_commit_of_the_journal_is_synced_before_it_is_acknowledged(tmp_path):
    with closing(journal_connection(tmp_path / "journal.db")) as connection:
        modes = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert modes == ["wal", 2]  # 2 is FULL: the log is synced within each commit
