"""Bans of this machine's address, known to all its processes and after a restart: a small file for each venue.

A venue that answers 418 or 429 means the address, and every further request of whatever process prolongs the ban: the
feeder's is the trader's as well. A lockout that a venue tells in words is of the key: it has a file of its own, which
the account alone obeys. A file holds a wall time in ns; it is read before each request, which costs microseconds. Where
it cannot be written, the ban holds in the process that met it.
"""

import contextlib
import os
import threading
from pathlib import Path
from urllib.parse import urlsplit

from core.clock import NS_PER_S
from core.paths import run_dir, var_dir
from core.settings import Settings

LONGEST_NS = 5 * 86_400 * NS_PER_S  # a time further ahead was written by a clock that was wrong


class Bans:
    """Until when nothing may be sent, by the file at `path`; those at `others` are obeyed too and written elsewhere."""

    def __init__(self, path: Path, *others: Path) -> None:
        self._path = path
        self._others = others

    def left_ns(self, now_ns: int) -> int:
        """Nanoseconds of the longest ban that are left; times are wall nanoseconds."""
        return max(_left_ns(path, now_ns) for path in (self._path, *self._others))

    def add(self, until_ns: int, now_ns: int) -> None:
        """Remembers a ban; one that ends later stays."""
        if until_ns - now_ns <= _left_ns(self._path, now_ns):
            return
        part = self._path.with_name(f"{self._path.name}.{os.getpid()}-{threading.get_ident()}")
        with contextlib.suppress(OSError):  # said above
            part.write_text(f"{until_ns}\n")
            part.replace(self._path)


def _left_ns(path: Path, now_ns: int) -> int:
    try:
        until_ns = int(path.read_bytes()[:40])
    except (OSError, ValueError):
        return 0
    left_ns = until_ns - now_ns
    return left_ns if 0 < left_ns <= LONGEST_NS else 0


def bans_of(settings: Settings, url: str, *others: Path | None) -> Bans | None:
    """The shared bans of the venue at that address, and those in `others`; None on loopback."""
    path = lasting_file(settings, url, "ban")
    return None if path is None else Bans(path, *(other for other in others if other is not None))


def lasting_file(settings: Settings, url: str, name: str) -> Path | None:
    """Where something about the venue at that address outlives the process; None on loopback.

    No address is banned there, and a local venue is a stranger each time that it is started.
    """
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return None
    return run_dir(var_dir(settings)) / f"{name}-{settings.venue}"
