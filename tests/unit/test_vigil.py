"""Who hangs, by the beats and the locks: the bullets of bus.vigil, and steps drawn at random."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.vigil import HANG_NS, Hung, Vigil
from core.clock import NS_PER_S

S = NS_PER_S


class World:
    """A vigil over one program, asked once a second; `pid` holds its lock (None: nobody), and beats while `beats`."""

    def __init__(self) -> None:
        self.now_ns = 100 * S
        self.vigil = Vigil(["trader"], self.now_ns)
        self.pid: int | None = 7
        self.set_up = True
        self.beats = True
        self.killed: list[Hung] = []

    def run(self, seconds: int) -> list[Hung]:
        """That many seconds pass; who was named meanwhile."""
        before = len(self.killed)
        for _ in range(seconds):
            self.now_ns += S
            if self.beats and self.pid:
                self.vigil.heard("trader", self.pid, self.now_ns)
            self.killed += self.vigil.look(
                self.now_ns, lambda name: self.pid, lambda name, pid: self.set_up and pid == self.pid
            )
        return self.killed[before:]

    def succeed(self) -> None:
        """The process died, another one is there and begins to set itself up."""
        self.pid, self.set_up, self.beats = 8, False, False

    def sleep(self, seconds: int) -> None:
        """We are stopped: nobody is heard, nothing is looked at."""
        self.now_ns += seconds * S


@pytest.fixture
def world() -> World:
    return World()


def test_a_process_that_was_heard_and_then_is_silent_for_5_s_hangs(world: World) -> None:
    assert world.run(60) == []
    world.beats = False
    assert world.run(4) == []
    assert world.run(1) == [Hung("trader", 7, HANG_NS)]


def test_who_is_named_gets_another_5_s(world: World) -> None:
    world.run(1)
    world.beats = False
    assert [hung.pid for hung in world.run(16)] == [7, 7, 7]


def test_a_process_that_was_never_heard_hangs_after_5_s_if_it_should_beat(world: World) -> None:
    world.beats, world.set_up = False, False
    assert world.run(60) == []
    world.set_up = True
    assert world.run(4) == []
    assert len(world.run(1)) == 1


def test_a_new_watchdog_finds_a_process_that_hangs_already(world: World) -> None:
    world.beats = False
    assert world.run(5) == []  # seen after a second, named five seconds later
    assert len(world.run(1)) == 1


def test_a_successor_is_not_judged_by_its_predecessors_beats(world: World) -> None:
    world.run(10)
    world.succeed()
    assert world.run(100) == []


def test_a_beat_of_the_dead_that_arrives_late_is_not_the_successors(world: World) -> None:
    world.run(10)
    world.succeed()
    world.run(6)
    world.vigil.heard("trader", 7, world.now_ns)
    assert world.run(100) == []


@pytest.mark.parametrize("nobody", [None, 0], ids=["nobody holds the lock", "its holder has not written its name yet"])
def test_a_program_that_does_not_run_does_not_hang(world: World, nobody: int | None) -> None:
    world.run(10)
    world.pid = nobody
    assert world.run(300) == []


def test_after_a_pause_of_our_own_everybodys_silence_counts_from_now(world: World) -> None:
    world.run(10)
    world.sleep(60)
    world.beats = False
    assert world.run(5) == []  # the first look after the pause, then four seconds
    assert len(world.run(1)) == 1


def test_stopped_for_less_than_5_s_and_continued_is_no_hang(world: World) -> None:
    world.run(10)
    for _ in range(20):
        world.beats = False
        assert world.run(4) == []
        world.beats = True
        assert world.run(1) == []


@given(st.lists(st.tuples(st.sampled_from(["beat", "look", "pause", "restart", "gone"]), st.integers(1, 2 * S))))
def test_nobody_who_beats_in_time_is_ever_named(steps: list[tuple[str, int]]) -> None:
    """Whatever else happens: who is named was heard, holds the lock, and neither beat nor we for 5 s."""
    now_ns, pid = 100 * S, 1
    vigil = Vigil(["feeder"], now_ns)
    alive, heard_ns, looked_ns, awake_ns, set_up_ns = True, -1, now_ns, now_ns, now_ns
    for what, ns in steps:
        now_ns += ns * (5 if what == "pause" else 1)
        if what == "restart":
            pid, alive, heard_ns, set_up_ns = pid + 1, True, -1, now_ns + 10 * S
        elif what == "gone":
            alive, heard_ns = False, -1
        elif what == "beat" and alive:
            vigil.heard("feeder", pid, now_ns)
            heard_ns = now_ns
        elif what in ("look", "pause"):
            if now_ns - looked_ns > int(2.5 * S):
                awake_ns = now_ns
            looked_ns = now_ns
            held, set_up = pid if alive else None, now_ns >= set_up_ns
            for hung in vigil.look(now_ns, lambda name, held=held: held, lambda name, pid, set_up=set_up: set_up):
                assert alive and hung.pid == pid
                assert now_ns - max(heard_ns, awake_ns) >= HANG_NS
                assert heard_ns >= 0 or set_up
