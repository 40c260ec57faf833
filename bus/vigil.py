"""Who runs but hangs: judged by the beats that are heard and the processes that hold the locks. Pure.

* A process that was heard and then is silent for 5 s hangs.
* A process that was never heard hangs after 5 s if it should beat by now: it may still wait after quick deaths, compile
  its kernels or migrate its database.
* A program that does not run does not hang.
* After a pause of our own (stopped, asleep, starved) everybody's silence counts from now: what they said meanwhile may
  be lost, and the machine may have slept as a whole.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from core.clock import NS_PER_S

LOOK_SECONDS = 1.0
HANG_NS = 5 * NS_PER_S
PAUSE_NS = int(2.5 * NS_PER_S)  # between two looks


class Hung(NamedTuple):
    """A process that holds its program's lock and is silent."""

    name: str
    pid: int
    silent_ns: int


class _Watched:
    """One program: the process heard or seen last, and since when it is silent."""

    __slots__ = ("heard", "pid", "since_ns")

    def __init__(self, now_ns: int) -> None:
        self.pid = 0
        self.heard = False
        self.since_ns = now_ns

    def begin(self, pid: int, now_ns: int, *, heard: bool = False) -> None:
        self.pid, self.heard, self.since_ns = pid, heard, now_ns


class Vigil:
    """Judges some programs by name; to be asked about once in LOOK_SECONDS. Times are monotonic."""

    def __init__(self, names: Iterable[str], now_ns: int) -> None:
        self._watched = {name: _Watched(now_ns) for name in names}
        self._looked_ns = now_ns

    def heard(self, name: str, pid: int, now_ns: int) -> None:
        """A beat of that process arrived."""
        self._watched[name].begin(pid, now_ns, heard=True)

    def look(
        self, now_ns: int, holder: Callable[[str], int | None], should_beat: Callable[[str, int], bool]
    ) -> list[Hung]:
        """Who hangs now. `holder(name)`: the process with the program's lock, 0 or None where that is nobody known;
        `should_beat(name, pid)`: whether a process that was never heard is past its set-up.

        Who is named gets another 5 s before he is named again.
        """
        paused = now_ns - self._looked_ns > PAUSE_NS
        self._looked_ns = now_ns
        hung = []
        for name, watched in self._watched.items():
            if paused:
                watched.since_ns = now_ns
            silent_ns = now_ns - watched.since_ns
            if watched.heard and silent_ns < HANG_NS:
                continue
            pid = holder(name) or 0
            if not pid or pid != watched.pid or not (watched.heard or should_beat(name, pid)):
                watched.begin(pid, now_ns)
            elif silent_ns >= HANG_NS:
                hung.append(Hung(name, pid, silent_ns))
                watched.since_ns = now_ns
        return hung
