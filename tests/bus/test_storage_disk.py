"""Storage on a disk that is full or read-only, and beside a program that reads without end, on real files."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.frames import CANDLE
from storage.migrations import STEPS, migrate
from storage.room import Limits
from storage.schema import writer_engine
from tests.bus.storage_world import JOURNAL, Others, trade_ids
from tests.unit import storage_samples as samples
from tests.up_helpers import short_folder

NO_LIMIT = Limits(free_bytes=0)  # so that the disk itself is what refuses
READER = """
import sqlite3, sys
file = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, isolation_level=None)
file.execute("BEGIN")
file.execute("SELECT count(*) FROM trades").fetchall()
print("reads", flush=True)
sys.stdin.read()
"""


class Disk:
    """A small file system for the book."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no tmpfs can be mounted here (it takes root): {done.stderr.strip()}")

    def fill(self, leave: int = 0) -> None:
        """Takes all room but `leave` bytes."""
        with (self.folder / "filler").open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(65_536))
        with (self.folder / "filler").open("r+b") as file, contextlib.suppress(OSError):
            size = file.seek(0, 2)
            file.truncate(size - leave)

    def free(self) -> None:
        (self.folder / "filler").unlink()

    def remount(self, mode: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{mode}", str(self.folder)], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


@pytest.fixture
def world() -> Iterator[tuple[Others, Disk]]:
    """The other stages, and the disk that their book is on."""
    with short_folder() as folder, contextlib.ExitStack() as stack:
        others = Others(folder)
        stack.callback(others.close)
        disk = Disk(others.context.book_dir, 4)
        stack.callback(disk.unmount)
        yield others, disk
        others.context.close()


def complaints(others: Others) -> list[str]:
    return [row["message"] for row in others.history.events(1_000) if row["level"] == "error"]


def test_full_disk_what_is_recorded_is_readable_and_the_rest_comes_when_there_is_room(world, caplog):
    others, disk = world
    indicators = others.publisher("indicators")
    indicators.topic(CANDLE, 7, ring=100)
    indicators.attach(others.loop)
    others.trader()
    others.start_storage(NO_LIMIT)
    others.say(*(samples.trade(number, number) for number in range(1, 11)))
    others.run_until(lambda: trade_ids(others) == list(range(1, 11)))
    disk.fill()
    for first in range(11, 3_011, 500):
        others.say(*(samples.trade(number, number) for number in range(first, first + 500)))
    indicators.send(CANDLE, samples.candle(0))
    others.run_until(lambda: "cannot write" in caplog.text)
    held = trade_ids(others)
    assert held == list(range(1, len(held) + 1)) and 10 <= len(held) < 3_010
    lines = (others.context.book_dir / "trades.csv").read_bytes().split(b"\n")
    assert lines[1].startswith(b"1,") and b"".join(lines).isascii()
    assert others.storage._recorder.facts()["waiting"] > 0
    disk.free()
    others.run_until(
        lambda: trade_ids(others) == list(range(1, 3_011)) and len(others.history.candles(samples.PAIR)) == 1
    )
    others.run_until(lambda: not others.storage._recorder._csv_behind)
    lines = (others.context.book_dir / "trades.csv").read_text().splitlines()[1:]
    assert [int(line.partition(",")[0]) for line in lines] == list(range(1, 3_011))
    assert others.history.gaps() == []
    assert any("the disk is full: free some space" in text for text in complaints(others))


def test_disk_low_really_measured(world):
    others, disk = world
    others.trader()
    others.start_storage(Limits(free_bytes=2_000_000))
    others.run_until(lambda: others.history.cursor("event/0/ storage") is not None)
    disk.fill(leave=1_500_000)
    others.say(samples.trade(1, 1), samples.equity(2))
    others.run_until(lambda: others.history.cursor() == (JOURNAL, 2))
    assert trade_ids(others) == [1] and others.history.equity() == []
    disk.free()
    others.say(samples.equity(3))
    others.run_until(lambda: len(others.history.equity()) == 1)
    others.run_until(lambda: any("were left out" in row["message"] for row in others.history.events()))


def test_database_cannot_be_opened_the_stage_stays_up_and_tries_again(world, caplog):
    others, disk = world
    engine = writer_engine(others.database)
    migrate(engine, others.database, 1, STEPS[:1])
    rows = ", ".join(f"('P', {time}, 1, 2, 0.5, 1.5, 3, 4, 1, 1, 1, 1)" for time in range(10_000))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"INSERT INTO candles VALUES {rows}")
    engine.dispose()
    others.trader()
    others.say(samples.trade(1, 1))
    disk.fill(leave=100_000)  # no room for the copy that a migration keeps
    others.start_storage(NO_LIMIT)
    others.run_until(lambda: "cannot open" in caplog.text)
    assert "the disk is full" in caplog.text and others.storage._recorder is None
    assert len(others.history.candles("P", 10**6)) == 10_000
    disk.free()
    others.run_until(lambda: trade_ids(others) == [1])
    assert len(list(others.context.book_dir.glob("*.before-schema-1.db"))) == 1
    assert list(others.context.book_dir.glob("*.part")) == []


def test_read_only_disk_is_waited_for(world, caplog):
    others, disk = world
    others.trader()
    others.start_storage(NO_LIMIT)
    others.say(samples.trade(1, 1))
    others.run_until(lambda: trade_ids(others) == [1])
    others.stop_storage()
    disk.remount("ro")
    others.say(samples.trade(2, 2))
    others.start_storage(NO_LIMIT)
    others.run_until(lambda: "cannot open" in caplog.text)
    assert "may be written" in caplog.text
    assert (others.context.book_dir / "trades.csv").read_text().count("\n") == 2
    disk.remount("rw")
    others.run_until(lambda: trade_ids(others) == [1, 2])


def test_another_journal_on_a_full_disk_waits_with_the_old_ledger_whole(world, caplog):
    others, disk = world
    others.trader()
    others.start_storage(NO_LIMIT)
    others.say(*(samples.trade(number, number, "5") for number in range(1, 2_001)))
    others.run_until(lambda: len(trade_ids(others)) == 2_000)
    disk.fill(leave=60_000)  # no room for the copy of the old ledger
    others.journal.clear()
    others.trader(epoch=JOURNAL + 1)
    others.say(samples.trade(1, 1, "-1"))
    others.run_until(lambda: "cannot write" in caplog.text)
    assert others.history.realized() == 10_000.0
    disk.free()
    others.run_until(lambda: others.history.realized() == -1.0)
    others.run_until(lambda: (others.context.book_dir / "trades.csv").read_text().count("\n") == 2)
    assert (others.context.book_dir / "trades.before-1.csv").read_text().count("\n") == 2_001


def test_reader_without_end_the_log_is_bounded_and_all_is_caught_up_when_it_goes(others):
    soft, hard, spare = 300_000, 600_000, 150_000
    indicators = others.publisher("indicators")
    indicators.topic(CANDLE, 7, ring=100)
    indicators.attach(others.loop)
    others.trader(keep=100_000)
    others.start_storage(
        Limits(log_soft_bytes=soft, log_hard_bytes=hard, slow_ns=0, commit_rows=100, pending_rows=1_000)
    )
    others.run_until(lambda: others.history.cursor("event/0/ storage") is not None)
    command = [sys.executable, "-c", READER, str(others.database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None and reader.stdout.readline() == "reads\n"
        recorder, biggest, number = others.storage._recorder, 0, 0
        while not recorder.behind:
            others.say(*(samples.trade(at, at) for at in range(number + 1, number + 51)))
            number += 50
            indicators.send(CANDLE, samples.candle(0, close=float(number), closed=False))
            turns = recorder._clock.monotonic_ns()
            others.run_until(lambda at=turns: recorder._clock.monotonic_ns() - at > 10_000_000)
            biggest = max(biggest, recorder._writer.wal_bytes())
            assert number < 100_000, "the log is not bounded"
        written = len(trade_ids(others))
        assert hard < biggest < hard + spare and written < number
        reader.stdin.close()
        reader.wait()
    others.run_until(lambda: trade_ids(others) == list(range(1, number + 1)))
    assert others.history.candles(samples.PAIR)[-1]["close"] == float(number)
    others.run_until(lambda: any("small again" in row["message"] for row in others.history.events(1_000)))
    named = [text for text in complaints(others) if f"(process {reader.pid})" in text]
    assert 1 <= len(named) <= 2 and all("close that program" in text for text in named)
    assert sum("wait, the page goes on" in text for text in named) == 1
    assert others.history.gaps() == []
    assert recorder._writer.wal_bytes() < hard
