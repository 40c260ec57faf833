"""Every file that the stages cannot do without, and those that they can, on a disk that is full, then read-only."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import trader.journal
from bus import sockets
from bus.messages import At, Market, Start, StateEvent
from bus.records import RECORD, TRADE
from bus.tape import TapeError, TapeReader, TapeWriter
from core.books import open_book
from core.clock import ManualClock
from core.disk import free_bytes, refused
from core.errors import BotError, MisconfiguredError
from core.lock import UNCOUNTED_WAIT_S, StageLock
from core.settings_load import from_texts
from indicators import state
from indicators.layout import ROW
from indicators.ring import ClosedCandles
from storage.batch import Batch
from storage.migrations import migrate
from storage.writer import Writer
from tests.small_disk import SmallDisk, failing_disk, small_disk
from tests.unit import storage_samples as samples
from tests.unit.test_trader_journal import Box, open_journal
from trader.journal import Journal

BOOT = "11111111-2222-3333-4444-555555555555"
START = Start("v", "b", [Market("B-BTC_USDT", "BTC", "USDT", "0.1", "0.1", "0", "0")], "5", "5", False, 7)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 2) as small:
        yield small


def passing(failed: "pytest.ExceptionInfo[BotError]") -> bool:
    """Whether the stage ends with exit 1 and is started again."""
    return not isinstance(failed.value, MisconfiguredError) and "tried again by itself" in str(failed.value)


def test_a_disk_that_is_full_or_read_only_has_no_free_bytes(disk: SmallDisk) -> None:
    assert free_bytes(disk.path) > 1_000_000
    disk.fill()
    assert free_bytes(disk.path) == 0
    disk.empty()
    disk.read_only(True)
    assert free_bytes(disk.path) == 0
    disk.read_only(False)
    assert free_bytes(disk.path) > 1_000_000


def test_what_a_person_must_mend_is_no_full_disk() -> None:
    assert isinstance(refused("no rights.", 13), MisconfiguredError)
    assert not isinstance(refused("full.", 28), MisconfiguredError)


def test_a_stage_can_be_locked_on_a_read_only_disk_and_waits(disk: SmallDisk) -> None:
    first = StageLock(disk.path, "trader", ManualClock())
    first.acquire()
    first.release()
    disk.read_only(True)
    lock = StageLock(disk.path, "trader", ManualClock())
    assert lock.acquire() == UNCOUNTED_WAIT_S
    lock.release()
    disk.read_only(False)
    disk.fill()
    assert StageLock(disk.path, "trader", ManualClock()).acquire() == UNCOUNTED_WAIT_S


def test_a_book_that_is_there_is_opened_and_a_new_one_is_tried_again(disk: SmallDisk) -> None:
    old = from_texts({"VAR_DIR": str(disk.path)})
    folder = open_book(old)
    disk.read_only(True)
    assert open_book(old) == folder
    with pytest.raises(BotError) as failed:
        open_book(from_texts({"VAR_DIR": str(disk.path), "SANDBOX_SEED": "7"}))
    assert passing(failed)


def test_a_socket_that_cannot_be_made_is_tried_again(disk: SmallDisk) -> None:
    disk.read_only(True)
    with pytest.raises(BotError) as failed:
        sockets.data_out(disk.path, "trader")
    assert passing(failed)


def entry(number: int) -> StateEvent:
    return StateEvent(At(7, number, number), "active", "test", "", f"c{number}")


def test_a_journal_keeps_what_a_full_disk_refuses_and_what_was_written_is_read(disk: SmallDisk) -> None:
    journal, box = open_journal(disk.path / "journal.db")
    journal.append([entry(1)], b"1")
    assert journal.flush(20)
    disk.fill()
    for number in range(2, 200):
        journal.append([entry(number)], b"state" * 2000)
    box.wait(lambda b: bool(b.trouble))
    assert journal.read(1)[0][0] == 1
    disk.empty()
    box.wait(lambda b: len(b.numbers) == 199)
    assert box.trouble[-1] == "" and box.numbers == list(range(1, 200))
    assert journal.close()


READ = (
    "import sqlite3, sys\n"
    "file = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True)\n"
    "print(file.execute('PRAGMA integrity_check').fetchone()[0], file.execute(sys.argv[2]).fetchone()[0])"
)


def assert_another_program_reads(file: Path, query: str, found: int) -> None:
    done = subprocess.run([sys.executable, "-c", READ, str(file), query], capture_output=True, text=True)
    assert done.stdout.strip() == f"ok {found}", done.stderr


def checkpointed(file: Path) -> None:
    """Has nothing left in its log, which a connection that is the last to close would therefore take away."""
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)


def test_other_programs_read_a_journal_that_a_full_disk_refuses_again_and_again(
    disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = disk.path / "journal.db"
    journal, box = open_journal(path)
    checkpointed(path)
    disk.fill()
    opened = threading.Semaphore(0)
    connect = trader.journal._connect

    def counted(file: Path) -> sqlite3.Connection:
        opened.release()
        return connect(file)

    monkeypatch.setattr(trader.journal, "_connect", counted)
    monkeypatch.setattr(trader.journal, "RETRY_SECONDS", 0.05)
    journal.append([entry(1)], b"1")  # the writer's first
    for _ in range(3):
        for _ in range(2):  # the one before has seen its connection closed when the next is asked for
            assert opened.acquire(timeout=20)
        disk.fill()  # somebody takes what was given back
        assert_another_program_reads(path, "SELECT count(*) FROM entries", 0)
    disk.empty()
    box.wait(lambda b: b.numbers == [1])
    assert box.trouble[-1] == ""
    assert journal.close()
    assert not path.with_name("journal.db-wal").exists(), "every connection was closed"


def test_other_programs_read_a_database_that_a_full_disk_refuses_again_and_again(disk: SmallDisk) -> None:
    path = disk.path / "bot_data.db"
    writer = Writer(path)
    migrate(writer.engine, path, 1)
    batch = Batch()
    batch.add_entry(7, 1, samples.equity(1))
    writer.write(batch)
    batch.add_entry(7, 2, samples.equity(2))
    checkpointed(path)
    disk.fill()
    for _ in range(3):
        with pytest.raises(writer.driver_errors, match="full"):
            writer.write(batch)
        writer.reopen()
        disk.fill()
        assert_another_program_reads(path, "SELECT count(*) FROM equity", 1)
    disk.empty()
    assert writer.write(batch).rows == 1
    writer.close()
    assert not path.with_name("bot_data.db-wal").exists(), "every connection was closed"


def test_a_disk_that_fails_stops_journal_and_tape_and_leaves_them_readable(tmp_path: Path) -> None:
    image, place = tmp_path / "image", tmp_path / "disk"
    with failing_disk(place, image, 16) as disk:
        journal, box = open_journal(disk.path / "journal.db")
        journal.append([entry(1)], b"1")
        assert journal.flush(20)
        tape = TapeWriter(disk.path / "tape", ManualClock(), BOOT)
        tape.open()
        tape.start(START)
        tape.append(trades(1, 50))
        disk.fail()
        with pytest.raises(TapeError, match="Read-only file system"):
            tape.append(trades(51, 1))
        assert TapeReader(tape.folder).last == 50
        journal.append([entry(2)], b"2")
        box.wait(lambda b: bool(b.trouble))
        assert [number for number, _ in journal.read(1)] == [1]
        with pytest.raises(BotError) as failed:
            open_journal(disk.path / "other.db")
        assert passing(failed)
        assert not journal.close(1.0)
        tape.close()


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_journal_that_a_full_disk_does_not_let_open_is_tried_again(disk: SmallDisk, how: str) -> None:
    path = disk.path / "journal.db"
    journal, _ = open_journal(path)
    journal.append([entry(1)], b"1")
    assert journal.close()
    disk.fill() if how == "full" else disk.read_only(True)
    with pytest.raises(BotError, match="Free the disk") as failed:
        open_journal(path)
    assert passing(failed)
    disk.empty() if how == "full" else disk.read_only(False)
    box = Box()
    again = Journal(path, box.committed, box.failed)
    assert again.open(0).number == 1
    assert again.close()


def test_indicators_go_on_without_their_files_and_write_them_whole_later(disk: SmallDisk) -> None:
    ring = ClosedCandles(disk.path / "candles.rows", 60, 1)
    ring.begin(7)
    saved = state.Saved(state.VERSION, 7, 5, 1, 1, 1, START, bytes(9000))
    state.save(disk.path / "state", saved)
    content = (disk.path / "state").read_bytes()
    rows = np.zeros(40, ROW)
    for refuse, allow in ((disk.fill, disk.empty), (lambda: disk.read_only(True), lambda: disk.read_only(False))):
        refuse()
        for _ in range(20):
            rows["open_ns"] += 1
            ring.add(rows)
        assert "memory only" in ring.complaint
        with pytest.raises(OSError):
            state.save(disk.path / "state", saved)
        assert (disk.path / "state").read_bytes() == content
        allow()
        ring.add(rows)
        assert ring.complaint == ""
        again = ClosedCandles(disk.path / "candles.rows", 60, 1)
        again.load(7, 5)
        assert again.rows().tobytes() == ring.rows().tobytes()


def trades(first: int, count: int) -> np.ndarray:
    records = np.zeros(count, RECORD)
    records["kind"], records["ticks"] = TRADE, np.arange(first, first + count)
    return records


def test_a_full_disk_cuts_no_record_off_the_tape(disk: SmallDisk) -> None:
    tape = TapeWriter(disk.path / "tape", ManualClock(), BOOT)
    tape.open()
    tape.start(START)
    disk.fill(leave=8192)
    number = 1
    with pytest.raises(TapeError, match="No space left on device"):
        while True:
            number = tape.append(trades(number, 7)) + 7
    assert TapeReader(tape.folder).last == tape.next_number - 1 == number - 1
    assert TapeReader(tape.folder).read(1, 2000)[0]["ticks"].tolist()[:7] == list(range(1, 8))
    with pytest.raises(TapeError, match="cannot begin"):
        tape.go_on(number + 10, START)
    tape.marker.set(tape.epoch)  # it has its room from the start on
    disk.empty()
    assert tape.append(trades(number, 1)) == number
    assert TapeReader(tape.folder).last == number
    tape.close()


def test_a_tape_on_a_read_only_disk_is_none_and_begins_when_it_takes_it(disk: SmallDisk) -> None:
    clock = ManualClock()
    tape = TapeWriter(disk.path / "tape", clock, BOOT)
    tape.open()
    tape.start(START)
    tape.append(trades(1, 5))
    tape.close()
    disk.read_only(True)
    second = TapeWriter(disk.path / "tape", clock, BOOT)
    epoch, number = second.open()
    assert epoch > tape.epoch and number == 0 and "Read-only file system" in second.new_epoch_because
    with pytest.raises(TapeError, match="cannot begin"):
        second.start(START)
    disk.read_only(False)
    assert second.start(START) == 0
    assert TapeReader(tape.folder, tape.epoch).last == 5
    second.close()
