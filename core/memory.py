"""What keeps a stage's memory from growing while it holds no more than before: garbage in cycles, heaps of threads.

Python looks through everything it made once there is a quarter more of it. What imports leave behind is tens of
thousands of objects for good, so that megabytes of garbage wait for hours, and the look then holds a stage up for 10 to
50 ms. Here what a settled stage holds is set aside, never to be looked at again, and what came since is looked through
each minute, in a pause where the loop knows of pauses; in a stage that has been up for hours that takes 0.2 ms.

glibc gives each thread a heap of its own, up to eight for each processor, and pages that one of them had need of once
stay with it. Our threads come and go and mostly wait, so they can share one.
"""

import ctypes
import functools
import gc

from core.loop import Loop

SETTLED_SECONDS = 15.0  # before huge pages are asked for: the look touches all of it
COLLECT_SECONDS = 60.0
HEAP_KEPT = 16 * 1024 * 1024  # bytes
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's mallopt; other C libraries have none


def collect_when_settled(loop: Loop) -> None:
    """Has the loop set aside what is there some seconds from now, and look through what came since each minute."""
    loop.call_later(SETTLED_SECONDS, lambda: loop.aside(lambda: _settle(loop)))


def share_one_heap() -> bool:
    """Has all threads to come share the first one's heap; whether this C library can."""
    return _set(M_ARENA_MAX, 1)


@functools.cache
def keep_freed_memory() -> bool:
    """Has the C library keep up to 16 MB of freed memory for what comes next; whether it can.

    By default glibc hands the memory of a big answer back to the system and fetches it again page by page for the next
    one: half of the time that a replay costs.
    """
    return _set(M_TRIM_THRESHOLD, HEAP_KEPT) and _set(M_MMAP_THRESHOLD, HEAP_KEPT)


def _set(parameter: int, value: int) -> bool:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(parameter, value))


def _settle(loop: Loop) -> None:
    gc.collect()  # else what is garbage now is set aside, too
    gc.freeze()
    loop.every(COLLECT_SECONDS, gc.collect)
