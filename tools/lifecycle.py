"""The bot of one VAR_DIR as a whole: start it until it is healthy, stop it in order, tell how it is.

supervisord runs in a session of its own, so that neither Ctrl-C nor a closed terminal reaches it: whoever started the
bot stops it in order. Two commands at once on one VAR_DIR wait for each other.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from core import paths
from core.clock import NS_PER_S, Clock, LiveClock, sleep
from core.errors import BotError
from core.lock import holder, open_lock, read_record
from core.settings import Settings
from core.supervisor import SOCKET_NAME, StageState, Supervisor, SupervisorError, lives
from tools import follow, health, orphans

HEALTHY_SECONDS = 60.0
PID_FILE = "supervisord.pid"
ENDING_SECONDS = 2.0
_POLL_SECONDS = 0.1
_LAST_LINES = 12
_CONF = paths.ROOT / "supervisord.conf"
_UNIT_FOLLOWS = b"--identifier"
_UMASK = 0o077


class StartError(BotError):
    """The bot did not become healthy; the text says why, with the last lines of the stage that failed."""


class Interrupted(BotError):
    """A person asked for a stop while we waited."""


@dataclass(frozen=True, slots=True)
class StageRow:
    """A line of `make status`."""

    name: str
    state: str
    pid: int
    up_s: int
    restarts: int
    failed: bool
    note: str


class Bot:
    """What runs, or could, for one VAR_DIR."""

    def __init__(self, var: Path, clock: Clock | None = None) -> None:
        self.var = var
        self.run_dir = paths.run_dir(var)
        self.log_dir = paths.log_dir(var)
        self.clock = clock or LiveClock()
        self.supervisor = Supervisor(self.run_dir, self.clock)
        self._child: subprocess.Popen[bytes] | None = None
        self._output = self.log_dir / "supervisord.out"
        self._log_sizes: dict[str, int] = {}

    def running(self) -> int | None:
        """supervisord's process, None where none answers."""
        pid = self.supervisor.pid()
        if pid is None and self._child is not None and self._child.poll() is not None:
            self._child = None  # collected: it leaves no zombie behind
        return pid

    def killed(self) -> bool:
        """supervisord ended without an orderly stop: the file with its process is still there, the process is not.

        It stops answering a moment before either is gone, which is waited for.
        """
        deadline = self.clock.monotonic_ns() + int(ENDING_SECONDS * NS_PER_S)
        while True:
            try:
                pid = int((self.run_dir / PID_FILE).read_text())
            except (OSError, ValueError):
                return False
            if not lives(pid):
                return True
            if self.clock.monotonic_ns() > deadline:
                return False
            sleep(_POLL_SECONDS)

    def log(self, stage: str) -> Path:
        """The stage's log."""
        return self.log_dir / f"{stage}.log"

    def service(self) -> str:
        """The unit of the service manager that runs supervisord, "" where it was started by hand or does not run."""
        _, command = self._supervisord()
        return os.fsdecode(command[command.index(_UNIT_FOLLOWS) + 1]) if _UNIT_FOLLOWS in command else ""

    @contextlib.contextmanager
    def alone(self, say: Callable[[str], None]) -> Iterator[None]:
        """One command at a time starts or stops this bot."""
        with os.fdopen(open_lock(self.run_dir / "up.lock"), "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another command starts or stops the bot, waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def start(self, settings: Settings, interrupted: Callable[[], bool] = lambda: False) -> health.Health:
        """Starts supervisord (or has a service's begin anew) and waits until the bot is healthy.

        Returns what is so after HEALTHY_SECONDS at the latest. Raises StartError when a stage gave up, Interrupted when
        `interrupted()` said so; what was started runs on then, for the caller to stop.
        """
        self._note_logs()
        self._forget_restarts()
        if self.running() is None:
            self._spawn()
        else:
            self.conf()
            self.supervisor.begin_anew()
        return self._wait_healthy(settings, interrupted)

    def become_supervisord(self, unit: str) -> NoReturn:
        """This process goes on as supervisord, in the foreground, for a service manager's unit of that name."""
        self._forget_restarts()
        os.umask(_UMASK)
        command = [*self._command(), os.fsdecode(_UNIT_FOLLOWS), unit]
        os.execv(command[0], command)

    def restart_stage(self, settings: Settings, stage: str) -> health.Health:
        """Restarts one stage and waits as `start` does."""
        self._note_logs()
        self.supervisor.restart(stage)
        return self._wait_healthy(settings, lambda: False)

    def last_words(self, stage: str) -> str:
        """The last lines that a stage wrote since the start."""
        lines = follow.last_lines(self.log(stage), _LAST_LINES, self._log_sizes.get(stage, 0))
        return _quote(f"the last lines of {self.log(stage)}:", lines)

    def _forget_restarts(self) -> None:
        """Restarts are counted from here."""
        for stage in paths.PROGRAMS:
            (self.run_dir / f"{stage}.json").unlink(missing_ok=True)

    def _note_logs(self) -> None:
        self._log_sizes = {stage: _size(self.log(stage)) for stage in paths.PROGRAMS}

    def _wait_healthy(self, settings: Settings, interrupted: Callable[[], bool]) -> health.Health:
        deadline = self.clock.monotonic_ns() + int(HEALTHY_SECONDS * NS_PER_S)
        while True:
            if interrupted():
                raise Interrupted("interrupted")
            found = self._look(settings)
            if found.ok or self.clock.monotonic_ns() > deadline:
                return found
            sleep(_POLL_SECONDS)

    def stop(self, *, keep_service: bool = False) -> list[str]:
        """Stops whatever runs for this VAR_DIR, in order. Returns what was not as it should be, one line each.

        `keep_service`: a service's supervisord goes on, without stages, for `start` to begin anew.
        """
        remarks = []
        service = self.service()
        try:
            if self.running() is not None:
                if keep_service and service:
                    self.supervisor.stop_all()
                else:
                    self.supervisor.shutdown()
        except SupervisorError as error:
            remarks.append(f"{error}; ending its stages one by one")
            self._kill_supervisord()
            if service:
                remarks.append(f"{service} starts it again within seconds: sudo systemctl stop {service}")
        ended = orphans.end(self.run_dir, self.clock)
        if ended and not remarks:
            names = ", ".join(f"{stage} (process {pid})" for stage, pid in ended.items())
            remarks.append(f"ended what ran without supervisord: {names}")
        if self._child is not None:
            self._child.wait()
            self._child = None
        return remarks

    def rows(self) -> list[StageRow]:
        """Each stage as it is now."""
        states = self.supervisor.states()
        return [self._row(states[name]) for name in paths.PROGRAMS if name in states]

    def _row(self, state: StageState) -> StageRow:
        record = read_record(self.run_dir / f"{state.name}.json")
        note = ""
        if state.state == "EXITED":
            why = record.failure.splitlines()[0] if record and record.failure else "see its log"
            note = {2: f"has given up: {why}", 3: "not called for"}.get(state.exit_status, "")
        return StageRow(
            name=state.name,
            state=state.state.lower(),
            pid=state.pid,
            up_s=state.now - state.started if state.pid else 0,
            restarts=record.restarts if record else 0,
            failed=state.failed,
            note=note,
        )

    def _look(self, settings: Settings) -> health.Health:
        """One look at supervisord, the stages and the page. Raises StartError where waiting is of no use."""
        if self._child is not None and self._child.poll() is not None:
            code = self._child.returncode
            self._child = None
            lines = follow.last_lines(self._output, _LAST_LINES)
            lines += follow.last_lines(self.log("supervisord"), _LAST_LINES)
            raise StartError(_quote(f"supervisord ended with exit code {code}; its last lines:", lines))
        if self.running() is None:
            return health.Health(False, ("supervisord does not answer yet",))
        states = list(self.supervisor.states().values())
        failed = [state.name for state in states if state.failed]
        if failed:
            raise StartError("\n".join(f"{stage} has given up; {self.last_words(stage)}" for stage in failed))
        # the page may still show a predecessor's sign of life
        silent = [s.name for s in states if s.alive and holder(self.run_dir, s.name) != s.pid]
        if silent:
            return health.Health(False, tuple(f"stage:{stage}: has not begun yet" for stage in silent))
        return health.ask(settings)

    def _spawn(self) -> None:
        with self._output.open("wb") as output:
            self._child = subprocess.Popen(
                self._command(),
                cwd=paths.ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                umask=_UMASK,  # its own umask= does nothing for the logs that it writes
            )

    def _command(self) -> list[str]:
        return [str(paths.ROOT / ".venv" / "bin" / "python"), "-m", "tools.supervise", "-c", str(self.conf())]

    def conf(self) -> Path:
        """supervisord.conf; for another VAR_DIR than var a copy with other paths."""
        file = self._conf_file()
        if file != _CONF:
            text = _CONF.read_text()
            text = text.replace("%(here)s/var", _escaped(self.var)).replace("%(here)s", _escaped(paths.ROOT))
            if not file.exists() or file.read_text() != text:
                file.write_text(text)
        return file

    def _conf_file(self) -> Path:
        return _CONF if self.var == paths.ROOT / "var" else self.run_dir / "supervisord.conf"

    def _kill_supervisord(self) -> None:
        """Ends a supervisord that hangs: the process of its pid file, if it is one that listens on our socket."""
        pid, _ = self._supervisord()
        if not pid:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        for name in (SOCKET_NAME, PID_FILE):
            (self.run_dir / name).unlink(missing_ok=True)

    def _supervisord(self) -> tuple[int, list[bytes]]:
        """Process and command line of the supervisord of the pid file; (0, []) where it is none of this VAR_DIR."""
        try:
            pid = int((self.run_dir / PID_FILE).read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return 0, []
        return (pid, command) if os.fsencode(self._conf_file()) in command else (0, [])


def _escaped(path: Path) -> str:
    """A path as supervisord's file wants it."""
    return str(path).replace("%", "%%")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _quote(title: str, lines: list[str]) -> str:
    return "\n".join([title, *(f"    {line}" for line in lines or ["(it wrote nothing)"])])
