"""The benches of storage measure what they say: the same rows on either side, and counters by the day."""

import os
import tempfile
from pathlib import Path

import pytest

from core.errors import BotError
from core.lock import StageLock
from core.paths import ROOT, programs
from core.settings_load import apply, from_texts
from tools.bench import rows, writes
from tools.mounts import filesystem_of

KEYS = {"name", "value", "unit", "floor", "ratio"}


def test_all_ways_bring_the_same_rows_into_their_files():
    with rows.all_ways() as ways:
        found = []
        for way in ways:
            for shape in rows.SHAPES:
                way.seconds(shape, rows_a_round=300)
            tables = ("candles", "orders", "fills", "trades", "signals", "equity", "events", "cursors")
            found.append({table: sorted(map(repr, way.writer._read(f"SELECT * FROM {table}"))) for table in tables})
        assert all(found[0].values())
        assert found[0] == found[1]
        for table in found[0]:
            assert len(found[2][table]) == len(found[0][table]), table
        assert {table for table in found[0] if found[2][table] != found[0][table]} <= {"cursors"}


def test_a_row_of_the_table_has_value_floor_and_ratio():
    measured = rows.measure(1, rows_a_round=200)
    assert len(measured) == 2 * len(rows.SHAPES)
    assert all(row.keys() >= KEYS and row["value"] > 0 and row["floor"] > 0 for row in measured)


def look_at(seconds, storage, supervisord, commits, laps):
    names = (writes.JOURNAL, writes.ROWS)
    written = {"storage": storage, "supervisord": supervisord}
    return writes.Look(seconds, written, dict.fromkeys(names, commits), dict.fromkeys(names, laps))


def test_what_lies_between_two_looks_is_told_by_the_day():
    found = writes.between(look_at(100, 5_000_000, 70, 7, 1), look_at(200, 6_000_000, 250_070, 17, 2))
    told = {row["name"]: row["value"] for row in found}
    assert told["written by storage"] == 864.0 and told["written by supervisord"] == 216.0
    assert told["written by all"] == 1_080.0
    assert told["commits to journal.db"] == 8_640 and told["checkpoints of bot_data.db"] == 864
    assert told["syncs"] == 8_640 + 3 * 2 * 864
    notes = {row["name"]: row["note"] for row in found if row["note"]}
    assert notes == {"written by all": "the sum of storage, supervisord"}


@pytest.mark.parametrize(
    ("name", "mb", "seconds", "reached"),
    [
        ("written by all", 2_200.0, 60.0, True),
        ("written by all", 2_200.1, 60.0, False),
        ("written by all", 9_999.0, 59.0, None),
        ("written by storage", 9_999.0, 60.0, None),
    ],
    ids=["at the bar", "beyond it", "too short a look", "a part"],
)
def test_what_all_have_written_in_a_minute_is_held_against_the_bar(name, mb, seconds, reached):
    assert writes.told({"name": name, "value": mb, "unit": "MB a day", "note": "n"}, seconds).reached is reached


def test_the_bar_is_what_the_notes_for_a_pi_promise():
    notes = (ROOT / "deploy" / "raspberry-pi.md").read_text()
    assert f"{writes.MOST_MB_A_DAY:,.0f} MB a day" in notes


def test_without_a_bot_it_says_what_to_do(tmp_path):
    with pytest.raises(BotError, match="make start"):
        writes.measure(tmp_path, 0)


class Played:
    """A var in which this process plays every program of a bot; a context manager."""

    def __init__(self, var, **texts):
        self.var = var
        self.settings = from_texts({"VAR_DIR": str(var)} | texts)
        apply(self.settings)
        (var / "run").mkdir()
        (var / "run" / "supervisord.pid").write_text(f"{os.getpid()}\n")
        (var / "current").mkdir()
        for name in (writes.JOURNAL, writes.ROWS):
            for ending in ("-shm", "-wal"):
                (var / "current" / (name + ending)).write_bytes(bytes(64))
        self.locks = {name: StageLock(var / "run", name) for name in programs(self.settings)}

    def __enter__(self):
        for lock in self.locks.values():
            lock.acquire()
        return self

    def __exit__(self, *_):
        for lock in self.locks.values():
            lock.release()


STAGES = ["feeder", "indicators", "trader", "storage", "dashboard"]


@pytest.mark.parametrize(
    ("venue", "names"),
    [("sandbox", ["sandbox", *STAGES, "watchdog", "supervisord"]), ("binance", [*STAGES, "watchdog", "supervisord"])],
)
def test_every_program_of_the_bot_is_counted(tmp_path, venue, names):
    with Played(tmp_path, VENUE=venue) as bot:
        assert writes.processes(tmp_path) == dict.fromkeys(names, os.getpid())
        bot.locks["watchdog"].release()
        with pytest.raises(BotError, match=r"watchdog does not run\. Start it first: make start"):
            writes.measure(tmp_path, 0)


def test_a_bot_in_memory_is_refused_and_not_told_as_one_that_writes_nothing():
    if not os.access("/dev/shm", os.W_OK) or filesystem_of(Path("/dev/shm")) != "tmpfs":
        pytest.skip("this machine has no /dev/shm")
    told = pytest.raises(BotError, match=r"current lies in memory \(tmpfs\).* Set VAR_DIR to a disk")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder, Played(Path(folder)), told:
        writes.measure(Path(folder), 0)


def test_no_byte_at_all_is_not_told_as_0_mb(tmp_path, monkeypatch):
    monkeypatch.setattr(writes, "filesystem_of", lambda folder: "overlay")
    with Played(tmp_path), pytest.raises(BotError, match="no byte within 0 s"):
        writes.measure(tmp_path, 0)
