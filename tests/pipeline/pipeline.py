"""The real pipeline for a test: a copy of the project in a short temporary folder, with its own var, ports and no .env.

A copy, as a user's .env must not reach the tests, nor a test the user's var; .venv is the one that runs the tests.
"""

import contextlib
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from core import paths
from core.lock import holder
from core.settings_load import KNOWN
from tests.up_helpers import short_folder

ROOT = Path(__file__).resolve().parents[2]
_NOT_COPIED = (".git", ".venv*", ".env", "var", "tests", ".ci", "*.md", ".*_cache", ".hypothesis")
_HEALTHY_SECONDS = 90.0
_WORKERS = 8
_ports_given: set[int] = set()


def make_template(folder: Path) -> Path:
    """A copy of the project whose kernels are compiled, to make each test's own copy from."""
    template = folder / "project"
    shutil.copytree(ROOT, template, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    (template / ".venv").symlink_to(ROOT / ".venv")
    copy_kernels(template)
    subprocess.run(
        [".venv/bin/python", "-m", "tools.warm"], cwd=template, env=clean_environment(), check=True, timeout=300
    )
    return template


def copy_kernels(root: Path) -> None:
    """What is compiled here already, for a copy of the project at `root`."""
    for compiled in (ROOT / "var" / "cache").glob("kernels-*"):
        shutil.copytree(compiled, root / "var" / "cache" / compiled.name)


def clean_environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without any setting of the bot, and then `changes`."""
    return {name: text for name, text in os.environ.items() if name not in KNOWN} | dict(changes or {})


def free_port() -> int:
    """A port that nobody uses, below those that the kernel hands out for outgoing connections; never the same twice.

    Each worker of pytest-xdist has ports of its own: between the look and the bot's start nobody holds the port.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    while True:
        port = 20_000 + worker + secrets.randbelow(12_000 // _WORKERS) * _WORKERS
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _ports_given:
            _ports_given.add(port)
            return port


class Pipeline:
    """One bot: its folder, its settings, its processes."""

    def __init__(self, root: Path, settings: Mapping[str, object]) -> None:
        self.root = root
        self.settings = {"PORT": str(free_port()), "SANDBOX_PORT": str(free_port())}
        self.settings |= {name: str(value) for name, value in settings.items()}
        self._children: list[subprocess.Popen[Any]] = []

    # --- where things are

    @property
    def var(self) -> Path:
        return self.root / self.settings.get("VAR_DIR", "var")

    @property
    def run_dir(self) -> Path:
        return self.var / "run"

    @property
    def book(self) -> Path:
        return self.var / "current"

    @property
    def environment(self) -> dict[str, str]:
        return clean_environment(self.settings)

    def log(self, stage: str) -> str:
        """All that a stage wrote (and has not been rotated away)."""
        file = self.var / "log" / f"{stage}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    # --- commands

    def up(self, *arguments: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """`python -m tools.up ARGUMENTS`, to its end."""
        return self.tool("tools.up", *arguments, timeout=timeout)

    def tool(self, module: str, *arguments: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """`python -m MODULE ARGUMENTS` in the bot's folder, to its end."""
        return subprocess.run(
            [".venv/bin/python", "-m", module, *arguments],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def start(self) -> None:
        """Starts the bot; fails the test with all that was said where it does not get healthy."""
        done = self.up("start")
        assert done.returncode == 0, done.stdout + done.stderr

    def stop(self) -> subprocess.CompletedProcess[str]:
        return self.up("stop")

    def spawn(self, *arguments: str, **options: Any) -> subprocess.Popen[Any]:
        """`python -m tools.up ARGUMENTS` that goes on; ended with the test at the latest."""
        command = [".venv/bin/python", "-m", "tools.up", *arguments]
        child = subprocess.Popen(command, cwd=self.root, env=self.environment, **options)
        self._children.append(child)
        return child

    # --- processes

    def pid(self, stage: str) -> int | None:
        """The stage's process, None where it does not run."""
        return holder(self.run_dir, stage) or None

    def pids(self) -> dict[str, int]:
        """Every stage that runs, by name."""
        return {stage: pid for stage in paths.PROGRAMS if (pid := self.pid(stage))}

    def kill(self, stage: str, number: int = signal.SIGKILL) -> int:
        """Sends a signal to a stage and returns which process that was."""
        pid = self.pid(stage)
        assert pid is not None, f"{stage} does not run"
        os.kill(pid, number)
        return pid

    def wake(self, pid: int) -> None:
        """Lets a process that was stopped go on, if the watchdog has not ended it meanwhile."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def supervisord(self) -> int:
        return int((self.run_dir / "supervisord.pid").read_text())

    def processes(self) -> dict[int, str]:
        """Every process that works in this bot's folder, with its command."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):  # it ended meanwhile
                    if Path(os.readlink(entry / "cwd")) == self.root:
                        found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    # --- the page

    def get(self, path: str, timeout: float = 5.0) -> tuple[int, Any]:
        """Status and decoded body of a GET; (0, None) where nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", int(self.settings["PORT"]), timeout=timeout)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            return 0, None
        finally:
            connection.close()
        if "json" in answer.headers.get("content-type", ""):
            return answer.status, json.loads(body)
        return answer.status, body

    def healthy(self) -> bool:
        return self.get("/healthz")[0] == 200

    def stats(self) -> dict[str, Any]:
        """What /api/stats says; empty where nobody answers."""
        code, found = self.get("/api/stats")
        return found if code == 200 else {}

    def failing(self) -> dict[str, str]:
        """What /healthz names; empty where nobody answers, too."""
        _, found = self.get("/healthz")
        return found["failing"] if found else {}

    # --- the database

    def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Rows of bot_data.db, read as any onlooker would."""
        with contextlib.closing(
            sqlite3.connect(f"file:{self.book / 'bot_data.db'}?mode=ro", uri=True, timeout=10)
        ) as file:
            return file.execute(query, arguments).fetchall()

    # --- waiting

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = _HEALTHY_SECONDS) -> Any:
        """What `condition` returns once it is true; fails the test where it does not come true."""
        end = time.monotonic() + seconds
        while True:
            found = condition()
            if found:
                return found
            assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
            time.sleep(0.1)

    def wait_healthy(self, seconds: float = _HEALTHY_SECONDS) -> None:
        self.wait(self.healthy, "healthy", seconds)

    # --- the end

    def tell(self) -> None:
        """Prints the end of every log: pytest shows it where a test failed."""
        for stage in ("supervisord", *paths.PROGRAMS):
            lines = self.log(stage).splitlines()[-25:]
            print(f"--- {stage}.log", *lines, sep="\n")

    def close(self) -> None:
        """Stops the bot; fails where a process is left."""
        for child in self._children:
            if child.poll() is None:
                child.terminate()
        self.tell()
        if not (self.root / ".venv").exists():  # never set up
            return
        stopped = self.stop()
        for child in self._children:
            child.wait(timeout=30)
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    stream.close()
        left = self.processes()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert not left, f"left over after `stop` ({stopped.stdout + stopped.stderr}): {left}"


@contextlib.contextmanager
def running_from(template: Path, settings: Mapping[str, object]) -> Iterator[Pipeline]:
    """A pipeline in a copy of the template; not started yet, and stopped at the end."""
    with short_folder() as folder:
        root = folder / "p"
        shutil.copytree(template, root, symlinks=True)
        pipeline = Pipeline(root, settings)
        try:
            yield pipeline
        finally:
            pipeline.close()
