"""supervisord seen from outside: states, start and stop in order, over the XML-RPC of its unix socket.

supervisord itself starts programs and brings back those that die; it stops them one by one in no useful order. Whoever
stops the bot (tools, the page) comes here, as the order matters.
"""

import http.client
import socket
import xmlrpc.client
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from core.clock import NS_PER_S, Clock, sleep
from core.errors import BotError
from core.lock import process_state
from core.paths import STOP_ORDER

# supervisord adds ".PID" to it while it binds: with it no longer than the stages' own socket names.
SOCKET_NAME = "sv.ctl"

# supervisord notices a child's end on its next turn, which comes after a second or with a question: so ask often.
POLL_SECONDS = 0.03

TERM_SECONDS = 3.0  # as stopwaitsecs: who hangs is killed then
EXIT_MISCONFIGURED = 2

_NOT_RUNNING = 70
_BAD_NAME = 10
_ALREADY_STARTED = 60

_ALIVE = ("STARTING", "RUNNING", "BACKOFF", "STOPPING")


def lives(pid: int) -> bool:
    """The process is there, and not just its entry that nobody has collected."""
    return process_state(pid) not in ("", "Z")


class SupervisorError(BotError):
    """supervisord did not answer, or refused; the text says to what."""


@dataclass(frozen=True, slots=True)
class StageState:
    """One program as supervisord sees it. `pid` is 0 where none runs; times are seconds since 1970, 0 for never."""

    name: str
    state: str
    pid: int
    exit_status: int
    started: int
    stopped: int
    now: int

    @property
    def alive(self) -> bool:
        """Runs, or is about to by itself."""
        return self.state in _ALIVE

    @property
    def failed(self) -> bool:
        """Down, and only a person can mend it. (Exit 3 says that the settings do not call for it; whoever left with
        another code is back with supervisord's next turn.)"""
        return self.state in ("FATAL", "UNKNOWN") or (self.state == "EXITED" and self.exit_status == EXIT_MISCONFIGURED)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _UnixTransport(xmlrpc.client.Transport):
    """XML-RPC over a unix socket, one connection a call."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__()
        self._path = path
        self._timeout = timeout

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = _UnixConnection(self._path, self._timeout)
        self._connection = host, connection  # so that close() finds it
        return connection


class Supervisor:
    """The supervisord that listens in `run_dir`, alive or not. Every call may raise SupervisorError."""

    def __init__(self, run_dir: Path, clock: Clock, timeout_s: float = 5.0) -> None:
        self._path = run_dir / SOCKET_NAME
        self._clock = clock
        self._timeout_s = timeout_s

    def pid(self) -> int | None:
        """Its process, None where none listens."""
        if not self._path.exists():
            return None
        try:
            return int(self._call("getPID"))
        except SupervisorError as error:
            if isinstance(error.__cause__, ConnectionRefusedError | FileNotFoundError):
                return None
            raise

    def states(self) -> dict[str, StageState]:
        """Every program by its name."""
        return {
            row["name"]: StageState(
                name=row["name"],
                state=row["statename"],
                pid=row["pid"],
                exit_status=row["exitstatus"],
                started=row["start"],
                stopped=row["stop"],
                now=row["now"],
            )
            for row in self._call("getAllProcessInfo")
        }

    def runs(self, name: str, pid: int) -> bool:
        """Whether this process is the one that it runs under that name."""
        state = self.states().get(name)
        return state is not None and state.pid == pid

    def start(self, names: Iterable[str]) -> None:
        """Asks for a start of each; those that run already are left alone."""
        for name in names:
            self._call("startProcess", name, False, ignore=_ALREADY_STARTED)

    def stop(self, names: Iterable[str]) -> None:
        """Stops these together and returns when they are down: TERM, after their stopwaitsecs KILL."""
        names = tuple(names)
        known = self.states()
        for name in names:
            if name in known and known[name].alive:
                self._call("stopProcess", name, False, ignore=_NOT_RUNNING)
        self._wait_until(lambda states: not any(states[name].alive for name in names if name in states), "stop", names)

    def restart(self, name: str) -> None:
        """Stops and starts one program."""
        self.stop((name,))
        self.start((name,))

    def renew(self, name: str) -> int:
        """Has one program end and come back, or start where it was down; returns its new process.

        It is told to end and left to supervisord's own restart: who asks may die himself at any moment, and between a
        stop and a start of his the program would stay down.
        """
        before = self.states().get(name)
        if before is None:
            raise SupervisorError(f"supervisord knows no stage named {name}")
        if before.alive:
            self._signal(name, "TERM")
        else:
            self.start((name,))
        asked_ns, killed = self._clock.monotonic_ns(), False
        while True:
            now = self.states()[name]
            if now.pid not in (0, before.pid):
                return now.pid
            if not now.alive and now.failed:
                raise SupervisorError(f"{name} was told to restart and gave up: `make logs STAGE={name}` shows why")
            waited_s = (self._clock.monotonic_ns() - asked_ns) / NS_PER_S
            if waited_s > TERM_SECONDS and not killed and before.pid:
                self._signal(name, "KILL")
                killed = True
            if waited_s > 2 * self._timeout_s:
                raise SupervisorError(f"{name} did not come back in time: `make status` shows how it is")
            sleep(POLL_SECONDS)

    def _signal(self, name: str, which: str) -> None:
        """A signal; nothing where it has just ended."""
        self._call("signalProcess", name, which, ignore=_NOT_RUNNING)

    def stop_all(self) -> None:
        """Stops every program in order; supervisord goes on."""
        for layer in STOP_ORDER:
            self.stop(layer)
        ordered = {name for layer in STOP_ORDER for name in layer}
        self.stop(name for name in self.states() if name not in ordered)

    def begin_anew(self) -> None:
        """Has it read its file again and start what stands there; to be called when nothing runs."""
        self._call("restart")
        deadline = self._clock.monotonic_ns() + int(self._timeout_s * NS_PER_S)
        while True:
            try:
                self.states()
                return
            except SupervisorError:  # it refuses until it has closed its socket, and then has none for a moment
                if self._clock.monotonic_ns() > deadline:
                    raise
            sleep(POLL_SECONDS)

    def shutdown(self) -> None:
        """Stops every program in order, then supervisord, and returns when it is gone."""
        pid = self.pid() or 0
        self.stop_all()
        self._call("shutdown")
        deadline = self._clock.monotonic_ns() + int(self._timeout_s * NS_PER_S)
        while self._clock.monotonic_ns() < deadline:
            try:
                # it closes its socket a moment before it ends
                if self.pid() is None and not lives(pid):
                    return
            except SupervisorError:  # it hangs up in the middle of an answer: on its way out
                pass
            sleep(POLL_SECONDS)
        raise SupervisorError("supervisord did not end when asked to")

    def _wait_until(self, done: Callable[[dict[str, StageState]], bool], what: str, names: tuple[str, ...]) -> None:
        deadline = self._clock.monotonic_ns() + int(2 * self._timeout_s * NS_PER_S)
        while not done(self.states()):
            if self._clock.monotonic_ns() > deadline:
                raise SupervisorError(f"supervisord did not {what} {', '.join(names)} in time")
            sleep(POLL_SECONDS)

    def _call(self, method: str, *arguments: object, ignore: int = 0) -> Any:
        transport = _UnixTransport(self._path, self._timeout_s)
        try:
            with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == ignore:
                return None
            if fault.faultCode == _BAD_NAME:
                raise SupervisorError(f"supervisord knows no stage named {arguments[0]}") from fault
            raise SupervisorError(f"supervisord refused {method}{arguments}: {fault.faultString}") from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError) as error:
            raise SupervisorError(f"supervisord did not answer {method}: {error}") from error
