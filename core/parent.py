"""What a stage does whose supervisord was killed: nobody would start it again, so it stops by itself, in order.

* The stages of a killed supervisord stop in the order of `STOP_ORDER`: each waits until those of the layers before its
  own have let go of their locks.
* A stage that hangs holds the others up for LAYER_SECONDS a layer at most. (One that was stopped does not even do
  that: the kernel hangs up on a process group that nobody looks after any more, and continues it.)
* A stage that still waits after quick deaths stops as well.
* A supervisord that died while its stage was still starting is missed too.
* A stage that was started by hand has no supervisord to miss.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from core.clock import NS_PER_S
from core.lock import holder
from core.loop import Cancellable, Loop
from core.paths import STOP_ORDER
from core.settings_load import SUPERVISED, environment

if TYPE_CHECKING:
    from core.stage import Context

LOOK_SECONDS = 0.5
TURN_SECONDS = 0.05  # between looks at the others' locks
LAYER_SECONDS = 1.2  # three times it and a look: over before a successor gives up on the lock (core.lock.LOCK_WAIT_S)


def orphaned() -> bool:
    """Whether the process that started this one is gone.

    A child shares its parent's session; whoever it falls to when the parent dies (init, a service manager) has another.
    """
    try:
        return os.getsid(os.getppid()) != os.getsid(0)
    except OSError:  # it died between the two calls, or nobody may ask: then the next look tells
        return False


def its_turn(waits_s: float, layer: int, earlier_run: Callable[[], bool]) -> bool:
    """Whether a stage of `layer` (from 0) stops now, having waited for `waits_s` since it missed supervisord."""
    return waits_s >= layer * LAYER_SECONDS or not earlier_run()


class Orphan:
    """Watches the parent over the stage's loop; stops the loop when the stage's turn has come."""

    def __init__(self, context: "Context", loop: Loop) -> None:
        self._context = context
        self._loop = loop
        layer = next((at for at, names in enumerate(STOP_ORDER) if context.name in names), 0)
        self._layer = layer
        self._earlier = [name for names in STOP_ORDER[:layer] for name in names]
        self._missed_ns = 0
        self._timer: Cancellable = loop.every(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        if not orphaned():
            return
        self._timer.cancel()
        self._missed_ns = self._context.clock.monotonic_ns()
        text = "supervisord is gone: everybody stops by himself, in order; `make start` starts the bot again"
        if self._layer == len(STOP_ORDER) - 1:  # who stops last still records what he tells; once is enough
            self._context.event("warn", text)
        else:
            self._context.log.warning("%s", text)
        self._timer = self._loop.every(TURN_SECONDS, self._turn)

    def _turn(self) -> None:
        waited_s = (self._context.clock.monotonic_ns() - self._missed_ns) / NS_PER_S
        if its_turn(waited_s, self._layer, self._earlier_run):
            self._timer.cancel()
            self._loop.stop()

    def _earlier_run(self) -> bool:
        return any(holder(self._context.run_dir, name) is not None for name in self._earlier)


def stop_without_supervisord(context: "Context", loop: Loop) -> None:
    """Has the loop stop, in its turn, when supervisord is gone; nothing for a stage that was started by hand."""
    if environment(SUPERVISED) is not None:
        Orphan(context, loop)
