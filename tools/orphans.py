"""Stages that outlived their supervisord, found by the locks they hold, and ended in the order of a stop.

A stage belongs to a VAR_DIR by its lock there. So nothing else is ever ended, whatever it is called.
"""

import contextlib
import os
import signal
from pathlib import Path

from core.clock import NS_PER_S, Clock, sleep
from core.lock import holder
from core.paths import STOP_ORDER
from core.supervisor import lives

_TERM_SECONDS = 2.0
_KILL_SECONDS = 2.0
_POLL_SECONDS = 0.02


def holders(run_dir: Path) -> dict[str, int]:
    """The process of each stage that runs for this VAR_DIR, by name."""
    found = {}
    for layer in STOP_ORDER:
        for stage in layer:
            pid = holder(run_dir, stage)
            if pid:  # 0: it has just taken the lock and not yet written who it is
                found[stage] = pid
    return found


def end(run_dir: Path, clock: Clock) -> dict[str, int]:
    """Ends every stage of this VAR_DIR, layer by layer, TERM first, then KILL. Returns whom it ended, by name."""
    ended: dict[str, int] = {}
    for layer in STOP_ORDER:
        left = {stage: pid for stage, pid in holders(run_dir).items() if stage in layer}
        ended |= left
        for number, seconds in ((signal.SIGTERM, _TERM_SECONDS), (signal.SIGKILL, _KILL_SECONDS)):
            for pid in left.values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            left = _still(left, clock, seconds)
    return ended


def _still(stages: dict[str, int], clock: Clock, seconds: float) -> dict[str, int]:
    """Those of `stages` whose processes are there after at most `seconds`; the lock is let go a little before."""
    deadline = clock.monotonic_ns() + int(seconds * NS_PER_S)
    left = stages
    while left and clock.monotonic_ns() < deadline:
        sleep(_POLL_SECONDS)
        left = {stage: pid for stage, pid in left.items() if lives(pid)}
    return left
