"""A limit that several processes of ours use up together: what is left of it, in a small file that they lock in turn.

Each call reads and writes some bytes under the lock, which costs microseconds; nobody holds it while waiting. Times
are monotonic nanoseconds, the same for all processes of a boot; a file of an earlier boot counts as of now. Where the
file cannot be had, each process counts for itself, as it does while one that was stopped holds the lock: the guardian
must not wait for a trader that stands still.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from core.clock import NS_PER_S, sleep

SIZE = 64
TRIES, BETWEEN_S = 20, 0.001  # for the lock
AHEAD_NS = 3_600 * NS_PER_S  # the longest pause of our own; a time further ahead is of an earlier boot


class Used(NamedTuple):
    """So much of the limit was used at that time, and falls since then."""

    amount: float
    at_ns: int


class SharedUse:
    """The file at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def locked(self) -> Iterator["Held | None"]:
        """Waits for a moment until no other process looks; None where the file cannot be had."""
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            yield None
            return
        try:
            yield Held(handle) if _got(handle) else None
        finally:
            os.close(handle)


def _got(handle: int) -> bool:
    for _ in range(TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sleep(BETWEEN_S)
        except OSError:
            return False
        else:
            return True
    return False


class Held:
    """The file while it is locked."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def read(self, now_ns: int) -> Used | None:
        """None where nothing can be read."""
        try:
            amount, at_ns = os.pread(self._handle, SIZE, 0).split()
            used = Used(float(amount), int(at_ns))
        except (OSError, ValueError):
            return None
        if not 0 <= used.amount < 1e9:  # nan too
            return None
        return used if used.at_ns <= now_ns + AHEAD_NS else Used(used.amount, now_ns)

    def write(self, used: Used) -> None:
        """Where it cannot be written, it holds in this process."""
        with contextlib.suppress(OSError):
            os.pwrite(self._handle, f"{used.amount:.3f} {used.at_ns}".ljust(SIZE).encode(), 0)
