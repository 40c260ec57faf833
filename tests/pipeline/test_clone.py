"""What a stranger does: clone, `make run`, watch a round trip, Ctrl-C, `make run` again."""

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.pipeline.pipeline import ROOT, Pipeline, clean_environment
from tests.up_helpers import short_folder


class Clone(Pipeline):
    """A fresh clone that is driven by make alone; its .venv is its own."""

    def make(self, *targets: str) -> subprocess.Popen[str]:
        """`make TARGETS` in a process group of its own, as a terminal gives it."""
        child = subprocess.Popen(
            ["make", *targets],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self._children.append(child)
        return child

    def make_and_wait(self, *targets: str) -> tuple[int, str]:
        child = self.make(*targets)
        said, _ = child.communicate(timeout=120)
        return child.returncode, said


@pytest.fixture
def clone() -> Iterator[Clone]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is nothing to clone")
    with short_folder() as folder:
        root = folder / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(root)], check=True, env=clean_environment())
        clone = Clone(root, {})
        try:
            yield clone
        finally:
            clone.close()


def follow(child: "subprocess.Popen[str]", until: str) -> str:
    """What it says up to a line that contains `until`."""
    assert child.stdout is not None
    said = ""
    for line in child.stdout:
        said += line
        if until in line:
            return said
    raise AssertionError(f"it ended with {child.wait()} and never said {until!r}:\n{said}")


def round_trips(clone: Clone) -> int:
    file = clone.book / "bot_data.db"
    if not file.exists():
        return 0
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as database:
        return int(database.execute("SELECT count(*) FROM trades WHERE profit IS NOT NULL").fetchone()[0])


def ctrl_c(child: "subprocess.Popen[str]") -> tuple[int, float]:
    """What a terminal does at Ctrl-C; the exit code and the seconds it took."""
    before = time.monotonic()
    os.killpg(child.pid, signal.SIGINT)
    child.communicate(timeout=30)
    return child.returncode, time.monotonic() - before


@pytest.mark.timeout(600)
def test_from_clone_to_round_trip_and_back(clone: Clone) -> None:
    code, said = clone.make_and_wait("status")
    assert code != 0 and "make run" in said  # not set up yet, and says so

    began = time.monotonic()
    child = clone.make("run")
    said = follow(child, "http://127.0.0.1:")
    healthy = time.monotonic()
    assert "downloads about" in said and "compiles the indicators" in said
    clone.wait_healthy(10)
    status, stats = clone.get("/api/stats")
    assert status == 200 and stats["mode"] == "sim" and stats["venue"] == "sandbox"
    follow(child, "Ctrl-C stops it")
    clone.wait(lambda: round_trips(clone) > 0, "a completed round trip", seconds=240)
    traded = time.monotonic()

    code, said = clone.make_and_wait("status")
    assert code == 0 and "healthy" in said
    _, stopped = ctrl_c(child)
    assert clone.processes() == {}

    again = time.monotonic()
    child = clone.make("run")
    said = follow(child, "http://127.0.0.1:")
    second = time.monotonic()
    assert "set-up" not in said
    clone.wait_healthy(10)
    ctrl_c(child)
    assert clone.processes() == {}
    assert (clone.root / "var" / "current" / "bot_data.db").exists()
    print(
        f"clone to healthy page {healthy - began:.1f} s, to the first round trip {traded - healthy:.1f} s more,"
        f" Ctrl-C {stopped:.1f} s, second start {second - again:.1f} s"
    )


def test_commands_before_set_up_say_what_to_type(clone: Clone) -> None:
    for target in ("stop", "logs", "pause", "flatten"):
        code, said = clone.make_and_wait(target)
        assert code != 0
        assert "make run" in said and "Traceback" not in said
    assert not (Path(clone.root) / ".venv").exists()


def test_make_alone_lists_the_commands(clone: Clone) -> None:
    code, said = clone.make_and_wait()
    assert code == 0
    for target in ("run", "test", "start", "stop", "restart", "status", "logs", "pause", "resume", "flatten", "lint"):
        assert f"make {target} " in said
