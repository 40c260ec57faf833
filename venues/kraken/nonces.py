"""The numbers of a key's calls: they rise with every call, and calls go out in the order of their numbers.

Kraken looks at a number when the request arrives, and refuses one that is not above the last it has seen. It is looked
at before anything is done: a call that is refused for its number was certainly not carried out.

* One call is under way at a time: two at once may arrive the other way round, and refusals lead to a lockout.
* An urgent call waits for one that is under way as long as a request takes to arrive and no longer: a query whose
  answer hangs, for 12 s at worst, holds up no exit. What it overtakes has nearly always arrived; where it has not, it
  is refused for its number and goes out once more.
* Nobody overtakes an urgent call that waits.
* Numbers rise whatever the clock does, over restarts too: the file at `path` holds one that none has reached yet.

A second key would do without the waiting, but people would have to make two and keep both; a nonce window would too,
but it is set by a person at the venue, and its default is none.
"""

import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from core.clock import NS_PER_S, Clock

ARRIVES_S = 0.5  # a new connection over half the world, and the request on it
AHEAD_NS = NS_PER_S  # the file is written when the numbers reach it, at most once a second
NONCE_MAX = 2**64 - 1


class Nonce:
    """Numbers from a clock in nanoseconds; safe to use from several threads.

    Who uses a key elsewhere too has to give this program one of its own.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._kept = self._last = _read(path)
        self._lock = threading.Lock()

    def next(self, now_ns: int) -> int:
        with self._lock:
            self._last = max(self._last + 1, now_ns)
            if self._path is not None and self._last >= self._kept:
                self._kept = self._last + AHEAD_NS
                _write(self._path, self._kept)
            return self._last


class Turns:
    """Whose call may go out; safe to use from several threads."""

    def __init__(self, clock: Clock, arrives_s: float = ARRIVES_S) -> None:
        self._clock = clock
        self._arrives_s = arrives_s
        self._changed = threading.Condition()
        self._under_way: dict[int, int] = {}  # turns, and since when
        self._given = 0  # turns
        self._urgent = 0  # calls that wait

    @contextlib.contextmanager
    def taken(self, urgent: bool) -> Iterator[None]:
        """Waits for the turn; it is over when the block is left."""
        with self._changed:
            if urgent:
                self._wait_urgently()
            else:
                self._changed.wait_for(lambda: not self._under_way and not self._urgent)
            self._given += 1
            turn = self._given
            self._under_way[turn] = self._clock.monotonic_ns()
        try:
            yield
        finally:
            with self._changed:
                del self._under_way[turn]
                self._changed.notify_all()

    def _wait_urgently(self) -> None:
        self._urgent += 1
        try:
            while self._under_way:
                newest = max(self._under_way)
                left_s = self._arrives_s - (self._clock.monotonic_ns() - self._under_way[newest]) / NS_PER_S
                if left_s <= 0 or not self._changed.wait_for(partial(self._is_other, newest), left_s):
                    return
        finally:
            self._urgent -= 1

    def _is_other(self, newest: int) -> bool:
        """Whether the newest call under way is another one, or there is none."""
        return max(self._under_way, default=0) != newest


def _read(path: Path | None) -> int:
    """What the file holds; 0 where there is none or it holds no number."""
    try:
        number = int(path.read_bytes()[:40]) if path is not None else 0
    except (OSError, ValueError):
        return 0
    return number if 0 <= number <= NONCE_MAX else 0


def _write(path: Path, number: int) -> None:
    """Where it cannot be written, the numbers hold in this process."""
    part = path.with_name(f"{path.name}.part")
    with contextlib.suppress(OSError):
        part.write_text(f"{number}\n")
        part.replace(path)
