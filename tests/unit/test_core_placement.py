"""On which processors a stage runs: when it is kept to its own, and when it may run everywhere again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core import placement
from core.clock import NS_PER_S
from core.paths import ROOT
from core.placement import CALM_LOOKS, HELD_UP, HELD_UP_S, LITTLE, MUCH, Placing, Share, possible, processors

CALM = Share(0.01, 0.01)
TWO = pytest.mark.skipif(not possible(), reason="one processor, or a kernel that does not tell how long was waited")

# Looks come ten times as fast as they would.
STAGE = """
import os, sys, threading, time
import zmq
from core import placement
from core.clock import LiveClock
from core.loop import PollLoop

placement.LOOK_S = 0.1
given = frozenset(os.sched_getaffinity(0))
context = zmq.Context()
context.socket(zmq.PUB).bind("tcp://127.0.0.1:*")  # from then on zmq has its threads
helper = threading.Thread(target=time.sleep, args=(60,), daemon=True)
helper.start()
late = threading.Thread(target=time.sleep, args=(60,), daemon=True)

def shown():
    mains = {frozenset(os.sched_getaffinity(thread)) for thread in placement.threads()}
    zmqs = len(placement.threads()) - 1
    return [sorted(*mains), zmqs > 0, sorted(os.sched_getaffinity(helper.native_id)) == sorted(given)]

loop, together = PollLoop(), sys.argv[1] == "together"
own = placement.processors(given, together=together)
end = placement.keep_placed(loop, LiveClock(), together=together)
wanted = [own, given]
def look():
    if not wanted or shown()[0] != sorted(wanted[0]):
        return
    print(shown())
    if wanted.pop(0) == given:
        print(sorted(os.sched_getaffinity(late.native_id)) == sorted(given))
        loop.call_later(0.5 if sys.argv[2] == "end" else 0.0, lambda: (print(shown()), loop.stop()))
        return
    late.start()
    if sys.argv[2] == "rush":
        loop.rush()
    elif sys.argv[2] == "end":
        end()
    else:
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            pass
loop.every(0.02, look)
loop.run()
"""


def after(*shares: Share, placing: Placing | None = None, from_s: float = 0.0) -> Placing:
    """What comes of one look a second."""
    made = Placing() if placing is None else placing
    for second, share in enumerate(shares):
        made.look(share, int((from_s + second) * NS_PER_S))
    return made


def kept() -> Placing:
    made = after(*[CALM] * CALM_LOOKS)
    assert made.kept
    return made


def test_together() -> None:
    assert processors(frozenset({0, 1, 2, 3}), together=True) == {3}
    assert processors(frozenset({2, 5}), together=True) == {5}
    assert not after(*[CALM] * (CALM_LOOKS - 1)).kept
    assert after(*[CALM] * CALM_LOOKS).kept
    broken = [CALM] * (CALM_LOOKS - 1) + [Share(LITTLE + 0.01, 0.0)]
    assert not after(*broken * 5).kept, "in a row"


def test_beside() -> None:
    assert processors(frozenset({0, 1, 2, 3}), together=False) == {0, 1, 2}
    assert processors(frozenset({2, 5}), together=False) == {2}


def test_rush() -> None:
    placing = kept()
    placing.rush()
    assert not placing.kept
    assert not after(*[CALM] * (CALM_LOOKS - 1), placing=placing, from_s=5).kept
    assert after(CALM, placing=placing, from_s=9).kept


BUSY = {
    "little": (Share(LITTLE - 0.01, 0.0), True),
    "more, and not much": (Share(MUCH - 0.01, 0.0), True),
    "much": (Share(MUCH + 0.01, 0.0), False),
}


@pytest.mark.parametrize(("share", "stays"), BUSY.values(), ids=BUSY)
def test_busy(share: Share, stays: bool) -> None:
    assert after(*[share] * 3, placing=kept(), from_s=5).kept is stays


def test_held_up() -> None:
    placing = kept()
    assert after(Share(0.01, HELD_UP - 0.01), placing=placing, from_s=5).kept
    assert not after(Share(0.01, HELD_UP + 0.01), placing=placing, from_s=6).kept
    assert not after(*[CALM] * int(HELD_UP_S), placing=placing, from_s=6).kept
    assert after(CALM, placing=placing, from_s=6 + HELD_UP_S).kept
    everywhere = after(*[Share(0.01, HELD_UP + 0.1)] * CALM_LOOKS)
    assert everywhere.kept, "who waits everywhere waits for no reason of ours"


def test_one_processor() -> None:
    for given in (frozenset({0}), frozenset({7}), frozenset[int]()):
        assert processors(given, together=True) == processors(given, together=False) == frozenset()


@pytest.mark.parametrize(("told", "expected"), [("12345 67 8\n", True), ("0 0 0\n", False), (None, False)])
def test_one_processor_or_a_kernel_that_does_not_count(
    told: str | None, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "_SCHEDSTAT", tmp_path / "schedstat")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    if told is not None:
        (tmp_path / "schedstat").write_text(told)
    assert possible() is expected
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1})
    assert not possible()


def lines(*arguments: str) -> list[str]:
    """What a program like a stage prints, in which so much happens."""
    command = [sys.executable, "-c", STAGE, *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()


@TWO
@pytest.mark.parametrize("what", ["rush", "busy", "end"])
@pytest.mark.parametrize("where", ["together", "beside"])
def test_helpers_stay_where_they_are_while_a_stage_and_its_zmq_are_kept_and_let_go(where: str, what: str) -> None:
    given = frozenset(os.sched_getaffinity(0))
    own = processors(given, together=where == "together")
    kept, everywhere = [str([sorted(cpus), True, True]) for cpus in (own, given)]
    assert lines(where, what) == [kept, everywhere, "True", everywhere], "a thread begun meanwhile is let go, too"


@TWO
def test_one_processor_that_it_was_given_is_all_it_uses() -> None:
    given = os.sched_getaffinity(0)
    command = [
        "taskset",
        "-c",
        str(min(given)),
        sys.executable,
        "-c",
        "from core.placement import possible as p; print(p())",
    ]
    assert subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout == "False\n"
