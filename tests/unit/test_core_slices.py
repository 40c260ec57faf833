"""The time at a stretch that stages on a trade's way ask the kernel for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.paths import HOT_PATH, ROOT, STAGES
from core.slices import SLICE_NS, ask_for_short_slice, slice_ns

ASK = """
import os, threading
from core.slices import ask_for_short_slice, slice_ns
os.nice(3)
usual = slice_ns()
print(ask_for_short_slice(), usual)
thread = threading.Thread(target=lambda: print(slice_ns(), os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))
thread.start()
thread.join()
print(os.sched_getscheduler(0) == os.SCHED_OTHER)
"""

STAGE = """
import sys
from core.slices import slice_ns
from core.stage import run
def build(context):
    print(slice_ns())
    context.loop.stop()
run(sys.argv[1], build)
"""


def lines(program: str, *arguments: str, **environ: str) -> list[list[str]]:
    """What a program of its own prints, in words."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env=os.environ | environ,
        check=True,
        capture_output=True,
        text=True,
    )
    return [line.split() for line in done.stdout.splitlines()]


def test_what_is_granted_holds_for_threads_started_later_and_nothing_else_changes() -> None:
    (granted, usual), (of_thread, nice), (still_other,) = lines(ASK)
    assert of_thread == (str(SLICE_NS) if granted == "True" else usual)
    assert (int(nice) - os.nice(0), still_other) == (3, "True")


def test_where_the_kernel_knows_slices_it_is_granted() -> None:
    if not slice_ns():
        pytest.skip("this kernel tells no slices")
    assert lines(ASK)[0][0] == "True"


def test_a_machine_of_unknown_calls_goes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    names = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*names[:4], "vax")))
    assert (ask_for_short_slice(), slice_ns()) == (False, 0)


@pytest.mark.parametrize("stage", STAGES)
def test_stages_on_a_trades_way_ask(stage: str, tmp_path: Path) -> None:
    usual = slice_ns()
    found = [int(words[0]) for words in lines(STAGE, stage, VAR_DIR=str(tmp_path)) if words[0].isdecimal()]
    assert found == [SLICE_NS if usual and stage in HOT_PATH else usual]
