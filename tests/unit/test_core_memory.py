"""Garbage in cycles goes each minute, what a settled process holds is set aside, and threads share one heap."""

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator

import pytest

from core.memory import COLLECT_SECONDS, SETTLED_SECONDS, collect_when_settled, share_one_heap


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
import ctypes, sys, threading
from core.memory import share_one_heap
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
if sys.argv[1] == "shared":
    assert share_one_heap()
found = []
thread = threading.Thread(target=lambda: found.append(libc.malloc(3_000)))
thread.start(); thread.join()
heap = next(line.split()[0] for line in open("/proc/self/maps") if line.rstrip().endswith("[heap]"))
begin, end = (int(text, 16) for text in heap.split("-"))
print(begin <= found[0] < end)
"""


@pytest.mark.parametrize(("how", "in_it"), [("shared", "True"), ("alone", "False")])
def test_a_thread_takes_its_memory_from_the_heap_that_all_share(how: str, in_it: str) -> None:
    if subprocess.run(
        [sys.executable, "-c", "from core.memory import share_one_heap; assert share_one_heap()"]
    ).returncode:
        pytest.skip("the C library is not glibc")
    done = subprocess.run([sys.executable, "-c", WHERE, how], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == in_it


def test_a_c_library_without_such_heaps_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.memory.ctypes.CDLL", lambda name: object())
    assert share_one_heap() is False
