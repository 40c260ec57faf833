"""The page names programs that are down with the reason that they left behind."""

from pathlib import Path

from core.clock import ManualClock
from core.lock import StageLock
from dashboard.failures import Failures


def test_a_program_that_gave_up_is_told_once_with_its_reason_and_the_next_step(tmp_path: Path) -> None:
    clock = ManualClock(wall_ns=10**18)
    failures = Failures(tmp_path, ("storage", "trader"))
    assert failures.look() == []
    lock = StageLock(tmp_path, "storage", clock)
    lock.acquire()
    lock.began()
    clock.advance(20 * 10**9)
    lock.failed("the database is of a newer release")
    lock.release()
    assert failures.look() == []  # perhaps it is back at once
    (text,) = failures.look()
    assert text.startswith("storage is down: the database is of a newer release")
    assert "make restart STAGE=storage" in text
    assert failures.down == {"storage": "the database is of a newer release"}
    assert failures.look() == []

    lock = StageLock(tmp_path, "storage", clock)
    lock.acquire()
    lock.began()
    assert failures.look() == [] and failures.down == {}
    lock.release()


def test_a_program_that_waits_before_its_next_try_is_down(tmp_path: Path) -> None:
    clock = ManualClock(wall_ns=10**18)
    failures = Failures(tmp_path, ("feeder",))
    first = StageLock(tmp_path, "feeder", clock)
    first.acquire()
    first.began()
    first.failed("ValueError: it broke")
    first.release()
    second = StageLock(tmp_path, "feeder", clock)
    assert second.acquire() > 0  # a quick death: it waits
    assert second.found == "ValueError: it broke"
    failures.look()
    assert failures.look() == ["feeder is down: ValueError: it broke (it tries again by itself)"]
    second.began()
    assert failures.look() == [] and failures.down == {}
    second.release()
