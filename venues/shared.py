"""A limit that several processes of ours use up together: what is left of it, in a small file that they lock in turn.

Each call reads and writes some bytes under the lock, which costs microseconds; nobody holds it while waiting. Times
are monotonic nanoseconds, the same for all processes of a boot; a file of an earlier boot counts as of now. Where the
file cannot be had, each process counts for itself.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from core.clock import NS_PER_S

SIZE = 64
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
        """Waits until no other process looks; None where the file cannot be had."""
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            yield None
            return
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield Held(handle)
        finally:
            os.close(handle)


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
