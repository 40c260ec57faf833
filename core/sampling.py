"""What the threads of this process do, looked at from inside: for machines that let nobody look from outside.

A timer's signal interrupts the main thread about LOOKS_PER_SECOND times a second; what it was doing then, and where the
other threads stand, is counted and in the end written as collapsed stacks (`thread;outermost;...;innermost COUNT`, a
line each), the form that py-spy's `raw` has too. Python alone is seen: time spent in C is the calling line's. Another
thread that used no processor since the last look waits; otherwise it is seen where it let go of the interpreter.

A thread that looks would not do: it gets the interpreter only when the main thread lets go of it, that is while it
waits, and so never sees the work of less than some milliseconds that a stage's work is.
"""

import contextlib
import logging
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import CodeType, FrameType

from core.clock import Clock, stamp_utc
from core.loop import Loop
from core.paths import ROOT, profile_dir

LOOKS_PER_SECOND = 100
MAX_SECONDS = 300
MAX_STACKS = 10_000  # different ones; what comes beyond is counted as OTHERS
MAX_DEPTH = 120
WAITS, OTHERS = "(waits)", "(others)"

# File and function of the loops' wait: whoever stands there has nothing to do.
_WAITING = {("loop.py", "_turn"), ("loop.py", "_more_comes"), ("selectors.py", "select")}

Stack = tuple[str, ...]


class Sampler:
    """Answers a stage's control action `profile`; one sampling at a time. For the main thread alone."""

    def __init__(self, stage: str, var: Path, loop: Loop, clock: Clock, log: logging.Logger) -> None:
        self._stage = stage
        self._var = var
        self._loop = loop
        self._clock = clock
        self._log = log
        self._looks: Looks | None = None

    def begin(self, arguments: Mapping[str, str]) -> tuple[bool, str]:
        """Begins to sample for `seconds` (1 to MAX_SECONDS) and returns at once.

        (True, the file that will hold the stacks once the time is over), or (False, why not).
        """
        text = arguments.get("seconds", "")
        if not text.isdecimal() or not 1 <= int(text) <= MAX_SECONDS:
            return False, f"seconds={text} is not allowed: a whole number, 1 to {MAX_SECONDS}"
        if self._looks is not None:
            return False, f"{self._stage} is being sampled already: ask again when that is over"
        path = profile_dir(self._var) / f"{self._stage}-{stamp_utc(self._clock.wall_ms())}.stacks"
        self._looks = Looks({thread.ident or 0: thread for thread in threading.enumerate()})
        signal.signal(signal.SIGALRM, self._looks.on_signal)
        signal.siginterrupt(signal.SIGALRM, False)  # a write that it interrupts goes on by itself
        signal.setitimer(signal.ITIMER_REAL, 1 / LOOKS_PER_SECOND)
        self._loop.call_later(int(text), lambda: self._end(path))
        return True, str(path)

    def _end(self, path: Path) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # not the default: one on its way would end the process
        signal.setitimer(signal.ITIMER_REAL, 0)
        looks, self._looks = self._looks, None
        assert looks is not None
        if looks.failure:
            self._log.error("the profile was broken off: %s", looks.failure)
            return
        try:
            aside = path.with_name(f"{path.name}.{os.getpid()}")
            aside.write_text(collapsed(looks.counts))
            aside.replace(path)
        except OSError as error:
            self._log.error("the profile could not be written to %s: %s", path, error.strerror)


class Looks:
    """What was seen so far. `threads`: those there are, by ident; one that begins later has no name."""

    def __init__(self, threads: Mapping[int, threading.Thread]) -> None:
        self.counts: Counter[Stack] = Counter()
        self.failure = ""
        self._number = 0
        self._threads = threads
        self._used: dict[int, int] = {}

    def on_signal(self, number: int, interrupted: FrameType | None) -> None:
        """Takes a look; one that fails is the last. It runs between any two steps of the main thread: it takes no lock
        and raises nothing."""
        try:
            frames = sys._current_frames()
            frames.pop(threading.get_ident())
            seen = [] if interrupted is None else [stack("MainThread", interrupted, False)]
            seen += [self._other(ident, frame) for ident, frame in frames.items()]
            count(self.counts, seen)
            # Uneven steps, the golden ratio's: even ones would keep in step with the stage's own timers.
            self._number += 1
            signal.setitimer(signal.ITIMER_REAL, (0.5 + self._number * 0.618034 % 1) / LOOKS_PER_SECOND)
        except Exception as error:  # noqa: BLE001 - it would end up in the midst of the stage's work
            self.failure = repr(error)

    def _other(self, ident: int, frame: FrameType) -> Stack:
        thread = self._threads.get(ident)
        if thread is None:
            return stack("thread", frame, False)
        used = _processor_ns(thread.native_id)
        waits = used is not None and self._used.get(ident) == used
        if used is not None:
            self._used[ident] = used
        return stack(thread.name, frame, waits)


def stack(thread: str, innermost: FrameType, waits: bool) -> Stack:
    """The thread's name and its functions, the outermost first; WAITS in their place where it has nothing to do."""
    code = innermost.f_code
    if waits or (code.co_filename.rpartition("/")[2], code.co_name) in _WAITING:
        return (thread, WAITS)
    found: list[str] = []
    frame: FrameType | None = innermost
    while frame is not None and len(found) < MAX_DEPTH:
        found.append(f"{frame.f_code.co_qualname} ({_place(frame.f_code)}:{frame.f_lineno})")
        frame = frame.f_back
    return (thread, *reversed(found))


def _processor_ns(thread: int | None) -> int | None:
    """The processor time that a thread of this process has used; None where the kernel does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[0])
    return None


def count(counts: Counter[Stack], stacks: Iterable[Stack]) -> None:
    """Adds one for each stack; where there are MAX_STACKS already, a new one is OTHERS."""
    for seen in stacks:
        counts[seen if seen in counts or len(counts) < MAX_STACKS else (seen[0], OTHERS)] += 1


def collapsed(counts: Mapping[Stack, int]) -> str:
    """The stacks as text, a line each."""
    lines = (f"{';'.join(part.replace(';', ',') for part in seen)} {number}" for seen, number in counts.items())
    return "".join(f"{line}\n" for line in sorted(lines))


def _place(code: CodeType) -> str:
    """A source's path as short as it is still plain: from our folder, from the packages, or the file's name."""
    path = code.co_filename
    if "/site-packages/" in path:
        return path.rpartition("/site-packages/")[2]
    own = f"{ROOT}/"
    return path.removeprefix(own) if path.startswith(own) else path.rpartition("/")[2]
