"""Garbage in cycles goes each minute, what a settled process holds is set aside, and threads share one heap."""

import gc
import os
import platform
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.memory import COLLECT_SECONDS, SETTLED_SECONDS, collect_when_settled, share_one_heap
from core.paths import ROOT

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")


class Pauses:
    """A loop that only notes what it is asked."""

    def __init__(self) -> None:
        self.later: list[tuple[float, Callable[[], object]]] = []
        self.in_pauses: list[Callable[[], object]] = []
        self.each: list[tuple[float, Callable[[], object]]] = []

    def call_later(self, seconds: float, callback: Callable[[], object]) -> None:
        self.later.append((seconds, callback))

    def aside(self, callback: Callable[[], object]) -> None:
        self.in_pauses.append(callback)

    def every(self, seconds: float, callback: Callable[[], object]) -> None:
        self.each.append((seconds, callback))


class Cycle:
    """It holds itself."""

    def __init__(self) -> None:
        self.itself = self


def gone() -> weakref.ref[Cycle]:
    """A cycle that nobody holds any more."""
    return weakref.ref(Cycle())


@pytest.fixture
def by_itself() -> Iterator[None]:
    """Nothing is collected but by who asks for it, and nothing stays set aside."""
    gc.disable()
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.usefixtures("by_itself")
def test_a_settled_stage_sets_aside_what_it_holds_and_looks_through_the_rest_each_minute() -> None:
    pauses, held, garbage = Pauses(), Cycle(), gone()
    collect_when_settled(pauses)  # type: ignore[arg-type]
    ((seconds, settled),) = pauses.later
    assert seconds == SETTLED_SECONDS and not pauses.each
    settled()
    assert garbage() is not None, "not before there is a pause"
    pauses.in_pauses.pop()()
    assert garbage() is None
    assert not any(one is held for one in gc.get_objects()), "set aside"
    ((seconds, collect),) = pauses.each
    assert seconds == COLLECT_SECONDS
    later, counted = gone(), len(gc.get_objects())
    assert later() is not None and counted < 1_000, "there is little left to look through"
    collect()
    assert later() is None
    assert held.itself is held


WHERE = """
import ctypes, threading
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
def of_a_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(libc.malloc(3_000)))
    thread.start(); thread.join()
    heaps = [line.split()[0].split("-") for line in open("/proc/self/maps") if line.rstrip().endswith("[heap]")]
    return any(int(begin, 16) <= found[0] < int(end, 16) for begin, end in heaps)
"""
ALONE = WHERE + "print(of_a_thread())"
SHARED = (
    WHERE
    + """
from core.memory import share_one_heap
print(share_one_heap(), of_a_thread())
"""
)
STAGE = (
    WHERE
    + """
import gc, sys
import core.memory
from core.stage import run, run_async
core.memory.SETTLED_SECONDS = 0.05
def build(context):
    def look():
        print("found", gc.get_freeze_count() > 1_000, of_a_thread())
        context.loop.stop()
    context.loop.call_later(3.0, look)
async def main(context):
    build(context)
    await context.loop.wait_stopped()
run("watchdog", build) if sys.argv[1] == "blocking" else run_async("dashboard", main)
"""
)


def told_by(program: str, *arguments: str, **environ: str) -> list[str]:
    """What a program of its own prints, with the C library's heaps as they are unless somebody sets them."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=inherited | environ, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@needs_glibc
def test_a_thread_takes_its_memory_from_the_heap_that_all_share() -> None:
    assert told_by(ALONE) == ["False"]
    assert told_by(SHARED) == ["True True"]


@needs_glibc
@pytest.mark.parametrize("driver", ["blocking", "asyncio"])
def test_every_stage_does_both(driver: str, tmp_path: Path) -> None:
    assert "found True True" in told_by(STAGE, driver, VAR_DIR=str(tmp_path))


def test_a_c_library_without_such_heaps_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.memory.ctypes.CDLL", lambda name: object())
    assert share_one_heap() is False
