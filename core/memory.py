"""What keeps a stage's memory from growing while it holds no more than before: garbage in cycles, heaps of threads.

Python looks through everything it made once there is a quarter more of it. What imports leave behind is tens of
thousands of objects for good, so that megabytes of garbage wait for hours, and the look then holds a stage up for 10 to
50 ms. Here what a settled stage holds is set aside, never to be looked at again, and the rest is looked through each
minute, in a pause and in about a millisecond.

The C library gives each thread a heap of its own, up to eight for each processor, and pages that one of them had need
of once stay with it. Threads that wait for each other anyway can share one.
"""

import ctypes
import gc

from core.loop import Loop

SETTLED_SECONDS = 15.0  # before huge pages are asked for: the look touches all of it
COLLECT_SECONDS = 60.0
M_ARENA_MAX = -8  # mallopt(3), glibc


def collect_when_settled(loop: Loop) -> None:
    """Has the loop set aside what is there some seconds from now, and look through what came since each minute."""
    loop.call_later(SETTLED_SECONDS, lambda: loop.aside(lambda: _settle(loop)))


def share_one_heap() -> bool:
    """Has all threads to come share the first one's heap; whether this C library can."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_ARENA_MAX, 1))


def _settle(loop: Loop) -> None:
    gc.collect()  # else what is garbage now is set aside, too
    gc.freeze()
    loop.every(COLLECT_SECONDS, gc.collect)
