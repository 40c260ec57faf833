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
    return _rollup_mb(pid, "Pss:")


def written_mb(pid: int) -> float:
    """What a process has written and shares with nobody, in MB: others that come and go do not move it.

    PSS they do: who maps the same libraries bears a part of them.
    """
    return _rollup_mb(pid, "Private_Dirty:")


def _rollup_mb(pid: int, name: str) -> float:
    lines = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    found = [int(words[1]) for words in lines if words[0] == name]
    if not found:
        raise OSError(f"no {name} in /proc/{pid}/smaps_rollup")
    return found[0] / 1024
