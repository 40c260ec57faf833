"""Sampling from inside: what works is seen, what waits is not, bounded, one at a time.

With processes of their own: the timer and its signal are a process's only ones, and pytest has them.
"""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from core import sampling
from core.paths import ROOT
from core.sampling import MAX_SECONDS, MAX_STACKS, OTHERS, WAITS, collapsed, count, stack
from tools import flamegraph

PROGRAM = """
import logging, sys, threading
from pathlib import Path
from core.clock import LiveClock
from core.loop import PollLoop
from core.sampling import Sampler
var, clock, loop = Path(sys.argv[1]), LiveClock(), PollLoop()
logging.basicConfig(stream=sys.stdout, format="%(message)s")
sampler = Sampler("trader", var, loop, clock, logging.getLogger())
ended = threading.Event()
def short(): sum(range(10_000))
def busy():
    while not ended.is_set(): sum(range(1_000))
"""


def program(var: Path, text: str) -> list[str]:
    """Runs a program that has a sampler and a loop; the lines that it printed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + text, str(var)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_what_works_is_seen_and_what_waits_is_not(tmp_path: Path) -> None:
    """Work of a fraction of a millisecond at a time, too."""
    told = program(
        tmp_path,
        """
threading.Thread(target=ended.wait, name="waiter").start()
print(*sampler.begin({"seconds": "1"}))
print(*sampler.begin({"seconds": "1"}))
loop.every(0.0005, short)
loop.call_later(1.5, loop.stop)
loop.run()
ended.set()
""",
    )
    assert told[0].startswith("True ") and told[1].startswith("False ") and "already" in told[1]
    stacks = flamegraph.parse(Path(told[0].removeprefix("True ")).read_text())
    seen = {(one[0], one[-1].partition(" ")[0]) for one in stacks}
    assert {("MainThread", "short"), ("MainThread", WAITS)} <= seen
    waiter = {one[-1]: number for one, number in stacks.items() if one[0] == "waiter"}
    assert waiter[WAITS] >= sum(waiter.values()) - 1  # the first look knows of no time before it
    assert any("PollLoop._run_first (core/loop.py:" in frame for one in stacks for frame in one)
    assert [path.suffix for path in (tmp_path / "profile").iterdir()] == [".stacks"]


def test_other_threads_that_work_are_seen(tmp_path: Path) -> None:
    (told,) = program(
        tmp_path,
        """
threading.Thread(target=busy, name="worker").start()
print(sampler.begin({"seconds": "1"})[1])
loop.call_later(1.5, loop.stop)
loop.run()
ended.set()
""",
    )
    stacks = flamegraph.parse(Path(told).read_text())
    assert any(one[0] == "worker" and one[-1].startswith("busy (<string>:") for one in stacks)


@pytest.mark.parametrize("seconds", ["", "0", "-1", "1.5", "x", str(MAX_SECONDS + 1)])
def test_a_time_out_of_bounds_is_told(tmp_path: Path, seconds: str) -> None:
    (told,) = program(tmp_path, f"print(*sampler.begin({{'seconds': {seconds!r}}}))")
    assert told.startswith(f"False seconds={seconds} is not allowed") and str(MAX_SECONDS) in told
    assert not (tmp_path / "profile").exists()


def test_afterwards_nothing_interrupts_and_it_can_be_asked_again(tmp_path: Path) -> None:
    told = program(
        tmp_path,
        """
import os, signal
sampler.begin({"seconds": "1"})
loop.call_later(1.2, loop.stop)
loop.run()
print(signal.getitimer(signal.ITIMER_REAL), sampler.begin({"seconds": "1"})[0], flush=True)
os._exit(0)
""",
    )
    assert told == ["(0.0, 0.0) True"]


def test_what_cannot_be_written_is_logged_and_the_stage_goes_on(tmp_path: Path) -> None:
    told = program(
        tmp_path,
        """
sampler.begin({"seconds": "1"})
(var / "profile").rmdir()
loop.call_later(1.2, lambda: (print("alive"), loop.stop()))
loop.run()
""",
    )
    assert "the profile could not be written" in told[0] and told[1] == "alive"


def test_a_look_that_fails_raises_nothing_and_is_the_last(tmp_path: Path) -> None:
    told = program(
        tmp_path,
        """
import signal
sampler.begin({"seconds": "1"})
sampler._looks.counts = None
loop.call_later(0.5, lambda: print(signal.getitimer(signal.ITIMER_REAL)))
loop.call_later(1.2, loop.stop)
loop.run()
""",
    )
    assert told[0] == "(0.0, 0.0)"
    assert "the profile was broken off" in told[1] and "NoneType" in told[1]


def test_the_number_of_stacks_is_bounded() -> None:
    counts: Counter[sampling.Stack] = Counter()
    count(counts, (("main", f"f{n}") for n in range(MAX_STACKS + 5)))
    count(counts, [("main", "f0")])
    assert len(counts) == MAX_STACKS + 1
    assert (counts["main", OTHERS], counts["main", "f0"]) == (5, 2)


def test_a_deep_stack_keeps_its_innermost() -> None:
    def down(level: int) -> sampling.Stack:
        return down(level - 1) if level else stack("main", sys._getframe(), False)

    found = down(500)
    assert len(found) == sampling.MAX_DEPTH + 1
    assert "down" in found[-1] and found[0] == "main"


def test_collapsed_text_can_be_read_again() -> None:
    counts = Counter({("main", "a;b (x.py:1)"): 2, ("main", "c (y.py:2)"): 1})
    assert collapsed(counts) == "main;a,b (x.py:1) 2\nmain;c (y.py:2) 1\n"
    assert flamegraph.parse(collapsed(counts)) == {("main", "a,b (x.py:1)"): 2, ("main", "c (y.py:2)"): 1}
