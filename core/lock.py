"""One copy of each stage, and how often it was started: `run/STAGE.lock` and `run/STAGE.json`.

The lock is the kernel's and dies with its holder; the pid in the file only tells people who holds it.
"""

import contextlib
import errno
import fcntl
import os
import signal
from pathlib import Path

import msgspec

from core.clock import Clock, LiveClock, sleep
from core.disk import refused
from core.errors import MisconfiguredError

LOCK_WAIT_S = 5.0  # a predecessor that was told to stop gets this long
QUICK_DEATH_MS = 10_000
LONGEST_WAIT_S = 30.0
UNCOUNTED_WAIT_S = 5.0
_TRY_AGAIN_S = 0.05


class StageRecord(msgspec.Struct):
    """What is remembered of a stage from start to start; `make start` begins anew by removing the file."""

    pid: int
    restarts: int  # starts after the first
    up_ms: int  # wall time at which its work began, after any wait
    quick_deaths: int  # in a row, within 10 s of the start
    clean: bool  # it ended because it was told to
    failure: str = ""  # why it ended, where it could still say so
    beats: bool = False  # its set-up is so far that it can be heard
    gave_up: bool = False  # it ended for a reason that only a person can mend


class StageLock:
    """Holds the lock of one stage from `acquire` to `release`."""

    def __init__(self, run_dir: Path, stage: str, clock: Clock | None = None, wait_s: float = LOCK_WAIT_S) -> None:
        self._path = run_dir / f"{stage}.lock"
        self._record_path = run_dir / f"{stage}.json"
        self._stage = stage
        self._clock = clock or LiveClock()
        self._wait_s = wait_s
        self._fd = -1
        self.found = ""  # how the life before this one ended, where that was not on demand
        self.record = StageRecord(pid=os.getpid(), restarts=0, up_ms=0, quick_deaths=0, clean=False)

    @property
    def restarts(self) -> int:
        return self.record.restarts

    def acquire(self) -> float:
        """Takes the lock, counts the start and returns the seconds to wait before working (0.0 or 1, 2, 4 … 30).

        Raises MisconfiguredError naming the holder where it does not let go within the wait; BotError where the disk
        is full or read-only, after a wait of its own, as nobody can count such deaths.
        """
        try:
            self._fd = open_lock(self._path)
        except OSError as error:
            text = f"cannot open the lock {self._path}: {error.strerror}. Free the disk or set VAR_DIR."
            failure = refused(text, error.errno)
            if not isinstance(failure, MisconfiguredError):
                sleep(UNCOUNTED_WAIT_S)
            raise failure from error
        deadline = self._clock.monotonic_ns() + int(self._wait_s * 1e9)
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if self._clock.monotonic_ns() >= deadline:
                    pid = _pid_in(self._fd)
                    os.close(self._fd)
                    self._fd = -1
                    raise MisconfiguredError(
                        f"another copy of {self._stage} runs already (process {pid or 'unknown'}, lock {self._path}):"
                        " `make stop` ends it; to run both, give this one another VAR_DIR and other ports"
                    ) from None
            sleep(_TRY_AGAIN_S)
        with contextlib.suppress(OSError):  # a full disk: the lock itself holds, only its holder's name is missing
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        return self._count_start()

    def began(self) -> None:
        """The wait is over and the work begins."""
        self.record.up_ms = self._clock.wall_ms()
        self.record.failure = ""
        self._write()

    def begins_to_beat(self) -> None:
        """Who is silent from now on hangs."""
        self.record.beats = True
        self._write()

    def ended_clean(self) -> None:
        """The stage ends because it was told to: its next start does not wait."""
        self.record.clean = True
        self._write()

    def failed(self, why: str, *, for_good: bool = False) -> None:
        """The stage ends because of a failure: its next start tells people. `for_good`: nobody starts it by himself.

        A copy that did not get the lock leaves the record alone: it is the holder's.
        """
        if self._fd < 0:
            return
        self.record.failure, self.record.gave_up = why, for_good
        self._write()

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _count_start(self) -> float:
        before = read_record(self._record_path)
        if before is not None:
            lived_ms = self._clock.wall_ms() - before.up_ms
            quick = not before.clean and 0 <= lived_ms < QUICK_DEATH_MS
            self.record.restarts = before.restarts + 1
            if not before.clean:
                self.found = before.failure or "it was killed"
                self.record.failure = before.failure  # until the work begins: the page tells it meanwhile
            waited = -LONGEST_WAIT_S * 1000 <= lived_ms < 0  # killed while it waited: it is as far as before
            self.record.quick_deaths = before.quick_deaths + quick if quick or waited else 0
        wait_s = min(LONGEST_WAIT_S, 2.0 ** min(self.record.quick_deaths - 1, 10)) if self.record.quick_deaths else 0.0
        self.record.up_ms = self._clock.wall_ms() + int(wait_s * 1000)
        if not self._write():
            # Nobody can count the deaths of a stage that dies of a full disk: then it always waits.
            return max(wait_s, UNCOUNTED_WAIT_S)
        return wait_s

    def _write(self) -> bool:
        aside = self._record_path.with_name(f"{self._stage}.json.new")
        try:
            aside.write_bytes(msgspec.json.encode(self.record))
            aside.replace(self._record_path)
        except OSError:
            return False
        return True


def open_lock(path: Path) -> int:
    """A descriptor of the file to lock; on a read-only disk that of an earlier start will do. Raises OSError."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def read_record(path: Path) -> StageRecord | None:
    """What is remembered in `run/STAGE.json`; None where there is nothing readable."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=StageRecord)
    except (OSError, msgspec.MsgspecError, ValueError):  # a ValueError: text that is no UTF-8
        return None


def holder(run_dir: Path, stage: str) -> int | None:
    """The process that holds the stage's lock; None where nobody does; 0 where it is not readable who."""
    try:
        fd = os.open(run_dir / f"{stage}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = _pid_in(fd)
        return pid if pid and _has_open(pid, fd, believed=True) else _listed_by_kernel(fd)
    else:
        return None
    finally:
        os.close(fd)


def process_state(pid: int) -> str:
    """The process's state as the kernel names it (R runs, S waits, D waits for a device, T stopped, Z dead and not yet
    collected); nothing where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def process_age_s(pid: int) -> float:
    """Seconds since the process was started; 0.0 where there is none."""
    try:
        started = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return float(Path("/proc/uptime").read_text().split()[0]) - started
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def kill_holder(run_dir: Path, stage: str, pid: int) -> bool:
    """Kills the process if it still holds the stage's lock; False where it does not, or has just ended."""
    if holder(run_dir, stage) != pid:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _has_open(pid: int, fd: int, *, believed: bool) -> bool:
    """Whether the process has the file of our descriptor open; `believed` where nobody may look. On a read-only disk
    the name in a lock is an earlier holder's, and its number may be another program's by now."""
    ours = os.fstat(fd)
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                theirs = os.stat(f"/proc/{pid}/fd/{name}")
                if (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino):
                    return True
    except (FileNotFoundError, ProcessLookupError):
        return False
    except PermissionError:
        return believed
    return False


def _listed_by_kernel(fd: int) -> int:
    """Who holds the lock by /proc/locks (proc_locks(5)); 0 where that does not say."""
    inode = os.fstat(fd).st_ino
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            _, kind, *_, mode, pid, place, _, _ = line.split()
            ours = (kind, mode) == ("FLOCK", "WRITE") and int(place.rpartition(":")[2]) == inode
            if ours and _has_open(int(pid), fd, believed=False):  # inodes of two file systems may be alike
                return int(pid)
    return 0


def _pid_in(fd: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):  # empty while a start writes it
        return int(os.pread(fd, 32, 0).split()[0])
    return 0
