"""One copy of a stage, its restarts and its waits after quick deaths."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.clock import ManualClock
from core.errors import MisconfiguredError
from core.lock import StageLock, holder, kill_holder, process_age_s, process_state, read_record
from core.paths import ROOT

HOLD = """
import sys, time
from pathlib import Path
from core.lock import StageLock
lock = StageLock(Path(sys.argv[1]), "trader")
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other_copy(tmp_path: Path) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None and process.stdin is not None
    assert process.stdout.readline() == b"held\n"
    yield process  # type: ignore[misc]
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_a_second_copy_is_refused_naming_the_holder(tmp_path: Path, other_copy: "subprocess.Popen[bytes]") -> None:
    with pytest.raises(MisconfiguredError, match=f"another copy of trader runs already .process {other_copy.pid}"):
        StageLock(tmp_path, "trader", wait_s=0.0).acquire()
    assert holder(tmp_path, "trader") == other_copy.pid
    StageLock(tmp_path, "feeder", wait_s=0.0).acquire()


def test_a_copy_that_is_refused_leaves_the_holders_record_alone(
    tmp_path: Path, other_copy: "subprocess.Popen[bytes]"
) -> None:
    before = (tmp_path / "trader.json").read_bytes()
    refused = StageLock(tmp_path, "trader", wait_s=0.0)
    with pytest.raises(MisconfiguredError) as error:
        refused.acquire()
    refused.failed(str(error.value), for_good=True)
    assert (tmp_path / "trader.json").read_bytes() == before


def test_only_the_holder_is_killed(tmp_path: Path, other_copy: "subprocess.Popen[bytes]") -> None:
    assert not kill_holder(tmp_path, "trader", os.getpid())
    assert not kill_holder(tmp_path, "feeder", other_copy.pid)
    assert other_copy.poll() is None
    assert kill_holder(tmp_path, "trader", other_copy.pid)
    assert other_copy.wait(timeout=30) == -signal.SIGKILL
    assert not kill_holder(tmp_path, "trader", other_copy.pid)


def test_a_name_that_is_left_from_an_earlier_holder_is_nobodys(
    tmp_path: Path, other_copy: "subprocess.Popen[bytes]"
) -> None:
    """On a read-only disk nobody writes his own, and the number may have gone to somebody else."""
    with subprocess.Popen(["sleep", "1000"]) as innocent:
        for pid in (innocent.pid, 2**22 + 1):
            (tmp_path / "trader.lock").write_text(f"{pid}\n")
            assert holder(tmp_path, "trader") != pid
            assert not kill_holder(tmp_path, "trader", pid)
        assert innocent.poll() is None
        innocent.kill()


def test_who_could_not_write_its_name_is_found_in_the_kernels_list(
    tmp_path: Path, other_copy: "subprocess.Popen[bytes]"
) -> None:
    """On a read-only disk as well whoever hangs is to be killed."""
    listed = Path("/proc/locks").read_text() if Path("/proc/locks").exists() else ""
    if f":{(tmp_path / 'trader.lock').stat().st_ino} " not in listed:
        pytest.skip("the kernel does not list the locks of this file system by their inodes")
    for left in ("", f"{2**22 + 1}\n"):
        (tmp_path / "trader.lock").write_text(left)
        assert holder(tmp_path, "trader") == other_copy.pid
    assert kill_holder(tmp_path, "trader", other_copy.pid)
    other_copy.wait(timeout=30)
    assert holder(tmp_path, "trader") is None


def test_the_age_of_a_process(other_copy: "subprocess.Popen[bytes]") -> None:
    ours = process_age_s(os.getpid())
    assert 0 <= process_age_s(other_copy.pid) <= ours < process_age_s(1) + 1
    other_copy.kill()
    other_copy.wait()
    assert process_age_s(other_copy.pid) == 0.0


def test_the_state_of_a_process(other_copy: "subprocess.Popen[bytes]") -> None:
    assert process_state(os.getpid()) == "R"
    other_copy.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, other_copy.pid, os.WSTOPPED)
    assert process_state(other_copy.pid) == "T"
    other_copy.kill()
    os.waitid(os.P_PID, other_copy.pid, os.WEXITED | os.WNOWAIT)
    assert process_state(other_copy.pid) == "Z"
    other_copy.wait()
    assert process_state(other_copy.pid) == ""


def test_the_lock_dies_with_its_holder_and_a_successor_waits_for_it(
    tmp_path: Path, other_copy: "subprocess.Popen[bytes]"
) -> None:
    other_copy.kill()
    lock = StageLock(tmp_path, "trader", wait_s=5.0)
    lock.acquire()
    assert holder(tmp_path, "trader") == os.getpid()
    lock.release()
    assert holder(tmp_path, "trader") is None
    assert holder(tmp_path, "nobody") is None


def lives(folder: Path, clock: ManualClock, seconds: float, clean: bool = False) -> float:
    """One life of the stage; returns how long it had to wait first."""
    lock = StageLock(folder, "trader", clock)
    wait_s = lock.acquire()
    clock.advance(int(wait_s * 1e9))
    lock.began()
    clock.advance(int(seconds * 1e9))
    if clean:
        lock.ended_clean()
    lock.release()
    return wait_s


def test_quick_deaths_wait_longer_and_longer(tmp_path: Path) -> None:
    clock = ManualClock()
    assert [lives(tmp_path, clock, 1) for _ in range(8)] == [0, 1, 2, 4, 8, 16, 30, 30]
    record = read_record(tmp_path / "trader.json")
    assert record is not None and record.restarts == 7


def test_a_long_life_or_a_clean_end_forgives(tmp_path: Path) -> None:
    clock = ManualClock()
    assert [lives(tmp_path, clock, seconds) for seconds in (1, 1, 11, 1)] == [0, 1, 2, 0]
    lives(tmp_path, clock, 1, clean=True)
    assert lives(tmp_path, clock, 1) == 0


def test_that_it_begins_to_beat_is_noted_for_this_life_alone(tmp_path: Path) -> None:
    def noted() -> bool:
        record = read_record(tmp_path / "trader.json")
        return record is not None and record.beats

    lock = StageLock(tmp_path, "trader", ManualClock())
    lock.acquire()
    lock.began()
    assert not noted()
    lock.begins_to_beat()
    assert noted()
    lock.release()
    lock = StageLock(tmp_path, "trader", ManualClock())
    lock.acquire()
    assert not noted()
    lock.release()


def test_killed_while_it_waits_it_is_as_far_as_before(tmp_path: Path) -> None:
    clock = ManualClock()
    lives(tmp_path, clock, 1)
    lives(tmp_path, clock, 1)
    for _ in range(3):
        lock = StageLock(tmp_path, "trader", clock)
        assert lock.acquire() == 2
        clock.advance(10**9)
        lock.release()
    assert lives(tmp_path, clock, 1) == 2
    assert lives(tmp_path, clock, 1) == 4


def test_the_next_life_knows_how_the_last_one_ended(tmp_path: Path) -> None:
    found = []
    for ending in ("killed", "failed", "clean", "clean"):
        lock = StageLock(tmp_path, "trader", ManualClock())
        lock.acquire()
        found.append(lock.found)
        lock.began()
        if ending == "failed":
            lock.failed("LookupError: no such order")
        elif ending == "clean":
            lock.ended_clean()
        lock.release()
    assert found == ["", "it was killed", "LookupError: no such order", ""]


def test_a_full_disk_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    lock = StageLock(tmp_path, "trader", ManualClock())
    assert lock.acquire() == 5.0
    lock.failed("no space")
    lock.release()


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match="cannot open the lock"):
        StageLock(tmp_path / "missing", "trader").acquire()


def test_a_clock_that_was_set_back_is_no_quick_death(tmp_path: Path) -> None:
    clock = ManualClock()
    lives(tmp_path, clock, 1)
    clock.set_wall_ns(clock.wall_ns() - 10**15)
    assert lives(tmp_path, clock, 1) == 0


def test_restarts_are_counted_until_the_record_is_removed(tmp_path: Path) -> None:
    clock = ManualClock()
    for expected in (0, 1, 2):
        lock = StageLock(tmp_path, "trader", clock)
        lock.acquire()
        assert lock.restarts == expected
        lock.release()
    (tmp_path / "trader.json").write_text("{torn")
    lock = StageLock(tmp_path, "trader", clock)
    assert lock.acquire() == 0.0 and lock.restarts == 0
    lock.release()


def test_a_record_that_is_no_text_is_none(tmp_path: Path) -> None:
    path = tmp_path / "trader.json"
    path.write_bytes(b'{"stage":"\xfe"}')
    assert read_record(path) is None
