"""What processes use, as the kernel counts it."""

import time
from pathlib import Path


def cpu_ns(pid: int) -> int:
    """User and system time of a process so far, all its threads together; raises OSError where it is gone.

    It is the process's own clock as the kernel numbers them: to the nanosecond, where /proc/PID/stat counts in 10 ms.
    """
    return time.clock_gettime_ns(~pid << 3 | 2)


def pss_mb(pid: int) -> float:
    """Proportional set size of a process in MB; raises OSError where it is gone or not ours to read."""
    return _rollup_mb(pid, ("Pss:",))


def private_mb(pid: int) -> float:
    """What a process shares with nobody, in MB: other processes that come and go do not move it."""
    return _rollup_mb(pid, ("Private_Clean:", "Private_Dirty:"))


def _rollup_mb(pid: int, names: tuple[str, ...]) -> float:
    lines = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    found = [int(words[1]) for words in lines if words[0] in names]
    if len(found) != len(names):
        raise OSError(f"no {' and '.join(names)} in /proc/{pid}/smaps_rollup")
    return sum(found) / 1024
