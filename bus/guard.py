"""Programs that hang are killed, so that supervisord starts them again.

The watchdog guards the stages; storage and dashboard guard the watchdog. As long as one of the three lives, everybody
comes back.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bus.notices import BeatSeen, Notice
from bus.vigil import LOOK_SECONDS, Hung, Vigil
from core.clock import NS_PER_S
from core.lock import holder, kill_holder, process_age_s, process_state, read_record

if TYPE_CHECKING:
    from core.stage import Context

WAITS_FOR_A_DEVICE = "D"
SET_UP_S = 120.0  # waits after quick deaths included


class Guard:
    """Looks once a second, over the loop of a stage; hears what the subscribers to the guarded programs pass on."""

    def __init__(self, context: "Context", names: Iterable[str]) -> None:
        self.killed = 0
        self._context = context
        self._vigil = Vigil(names, context.clock.monotonic_ns())
        self._spared: dict[str, int] = {}  # program: process that waits for a device, told once
        context.loop.every(LOOK_SECONDS, self._look)

    def take(self, notices: list[Notice]) -> None:
        """What a subscriber brings: beats are the signs of life."""
        for notice in notices:
            if isinstance(notice, BeatSeen):
                self._vigil.heard(notice.peer, notice.beat.pid, self._context.clock.monotonic_ns())

    def _look(self) -> None:
        run_dir = self._context.run_dir
        now_ns = self._context.clock.monotonic_ns()
        for hung in self._vigil.look(now_ns, lambda name: holder(run_dir, name), self._should_beat):
            if process_state(hung.pid) == WAITS_FOR_A_DEVICE:
                self._spare(hung)
            elif kill_holder(run_dir, hung.name, hung.pid):
                self.killed += 1
                self._context.event("error", f"{_silent(hung)}: killed, to be started again")

    def _should_beat(self, name: str, pid: int) -> bool:
        """It said so; or its set-up takes so long that something must be wrong with it."""
        record = read_record(self._context.run_dir / f"{name}.json")
        said = record is not None and record.pid == pid and record.beats
        return said or process_age_s(pid) >= SET_UP_S

    def _spare(self, hung: Hung) -> None:
        """The kernel holds it until a disk answers: a kill would not reach it sooner, and it may only be slow."""
        if self._spared.get(hung.name) != hung.pid:
            self._spared[hung.name] = hung.pid
            self._context.event("warn", f"{_silent(hung)}: it waits for the disk, which is slow or failing")


def _silent(hung: Hung) -> str:
    return f"{hung.name} (process {hung.pid}) runs but was not heard for {hung.silent_ns / NS_PER_S:.1f} s"
