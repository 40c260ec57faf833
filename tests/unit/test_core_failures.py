"""Programs that keep dying or have given up are told once, with the reason that they left behind."""

from pathlib import Path

import pytest

from core.clock import ManualClock
from core.failures import CRASH_LOOP, GAVE_UP, Failures, News, failing
from core.lock import StageLock, StageRecord

WALL_MS = 1_700_000_000_000


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"quick_deaths": 2}, "", id="two quick deaths may be chance"),
        pytest.param({"quick_deaths": 3}, CRASH_LOOP, id="three in a row are none"),
        pytest.param({"quick_deaths": 9, "up_ms": WALL_MS + 30_000}, CRASH_LOOP, id="it waits before the next try"),
        pytest.param({"quick_deaths": 3, "up_ms": WALL_MS - 9_999}, CRASH_LOOP, id="its life is short yet"),
        pytest.param({"quick_deaths": 3, "up_ms": WALL_MS - 10_000}, "", id="it has lived for 10 s"),
        pytest.param({"quick_deaths": 3, "up_ms": WALL_MS + 10**7}, "", id="the clock was set back"),
        pytest.param({"quick_deaths": 3, "clean": True}, "", id="it was told to end"),
        pytest.param({"gave_up": True, "up_ms": 0}, GAVE_UP, id="only a person can mend it"),
    ],
)
def test_what_counts_as_failing(changes: dict[str, int | bool], expected: str) -> None:
    known = {"pid": 1, "restarts": 5, "up_ms": WALL_MS, "quick_deaths": 0, "clean": False}
    assert failing(StageRecord(**(known | changes)), WALL_MS) == expected  # type: ignore[arg-type]


class Program:
    """A program's lives, by its real lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock(wall_ns=10**18)
        self.failures = Failures(folder, ("sandbox", "storage"), self.clock)
        self.lock = StageLock(folder, "storage", self.clock)

    def start(self) -> None:
        self.lock = StageLock(self.folder, "storage", self.clock)
        wait_s = self.lock.acquire()
        self.clock.advance(int(wait_s * 1e9))
        self.lock.began()

    def pass_s(self, seconds: float) -> None:
        self.clock.advance(int(seconds * 1e9))

    def die(self, why: str = "", *, for_good: bool = False) -> None:
        if why:
            self.lock.failed(why, for_good=for_good)
        self.lock.release()


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def test_a_crash_loop_is_told_once_and_once_when_it_is_over(program: Program) -> None:
    for _ in range(3):
        program.start()
        program.pass_s(1)
        program.die("ValueError: it broke\nwith more about it")
        assert program.failures.look() == []
    program.lock = StageLock(program.folder, "storage", program.clock)
    wait_s = program.lock.acquire()
    (news,) = program.failures.look()
    assert (news.name, news.level) == ("storage", "error")
    assert "died 3 times in a row within 10 s of its start (ValueError: it broke)" in news.text
    assert "no entries" in news.text and "make logs STAGE=storage" in news.text
    assert program.failures.failing == {"storage": CRASH_LOOP}
    program.pass_s(wait_s)
    program.lock.began()
    program.pass_s(9)
    program.die()
    program.start()
    assert program.failures.look() == []  # the fourth death is no news
    program.pass_s(10)
    assert program.failures.look() == [News("storage", "info", "storage no longer fails")]
    assert program.failures.look() == [] and program.failures.failing == {}


def test_a_program_that_gave_up_is_told_once_with_its_reason_and_the_next_step(program: Program) -> None:
    program.start()
    program.pass_s(3600)
    program.die("the database is of a newer release", for_good=True)
    (news,) = program.failures.look()
    assert news.text.startswith("storage has given up (the database is of a newer release)")
    assert "make restart STAGE=storage" in news.text
    program.pass_s(3600)
    assert program.failures.look() == []
    assert program.failures.down == {"storage": "the database is of a newer release"}
    program.start()
    assert [news.level for news in program.failures.look()] == ["info"]
    assert program.failures.down == {} and program.failures.failing == {}


def test_killed_again_and_again_is_told_without_a_reason(program: Program) -> None:
    for _ in range(4):
        program.start()
        program.die()
    program.start()
    (news,) = program.failures.look()
    assert "died 4 times in a row within 10 s of its start (it was killed each time)" in news.text


def test_a_program_that_waits_before_its_next_try_is_down(program: Program) -> None:
    program.start()
    program.die("ValueError: it broke")
    second = StageLock(program.folder, "storage", program.clock)
    assert second.acquire() > 0
    assert program.failures.look() == []
    assert program.failures.down == {"storage": "ValueError: it broke"}
    second.began()
    assert program.failures.look() == [] and program.failures.down == {}
    second.release()


def test_a_restart_by_hand_after_a_long_life_is_no_failure(program: Program) -> None:
    for _ in range(5):
        program.start()
        program.pass_s(20)
        program.die("ValueError: it broke")
        assert program.failures.look() == []
    assert program.failures.failing == {}
