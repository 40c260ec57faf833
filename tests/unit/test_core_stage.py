"""What a stage is, as real processes: exit codes, signals, waits, logs."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.lock import UNCOUNTED_WAIT_S, read_record
from core.paths import PROGRAMS, ROOT

PROGRAM = """
import asyncio, resource, sys
from core.errors import MisconfiguredError, NotCalledFor
from core.stage import run, run_async

async def forever(context):
    context.on_stop(lambda: context.log.info("closed"))
    if mode == "in order":
        context.event("start", "ready")
        await context.loop.wait_stopped()
        await asyncio.sleep(0.01)
        context.log.info("ended in order")
        return
    if mode == "crash":
        raise LookupError("no such order")
    if mode == "callback":
        def fail():
            raise LookupError("no such order")
        context.loop.call_later(0, fail)
    context.event("start", "ready")
    try:
        await asyncio.sleep(1000)
    finally:
        context.log.info("cancelled")

def build(context):
    def bad_close():
        raise OSError("bad close")
    context.on_stop(lambda: context.log.info("closed"))
    context.on_stop(bad_close)
    if mode == "crash":
        raise LookupError("no such order")
    if mode == "misconfigured":
        raise MisconfiguredError("PORT=3000 is taken: set another")
    if mode == "not called for":
        raise NotCalledFor("VENUE is not sandbox")
    if mode == "callback":
        def fail():
            raise LookupError("no such order")
        context.loop.call_later(0, fail)
    context.event("start", f"ready after {context.restarts} restarts")

hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
driver, mode = sys.argv[1:]
run("trader", build) if driver == "blocking" else run_async("trader", forever)
"""


class Stage:
    """A stage run by hand in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []

    def start(self, driver: str, mode: str, **environ: str) -> "subprocess.Popen[str]":
        return self.start_program(PROGRAM, driver, mode, **environ)

    def start_program(self, program: str, *arguments: str, **environ: str) -> "subprocess.Popen[str]":
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**inherited, "VAR_DIR": str(self.folder), **environ},
        )
        self.started.append(process)
        return process

    def finish(self, process: "subprocess.Popen[str]") -> tuple[int, str]:
        out, _ = process.communicate(timeout=30)
        return process.returncode, out


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    for process in stage.started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def line_of(process: "subprocess.Popen[str]", text: str) -> str:
    """Reads the log until a line holds `text`."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(f"{text!r} was not logged")


@pytest.mark.parametrize("driver", ["blocking", "asyncio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_it_cleanly(stage: Stage, driver: str, number: int) -> None:
    process = stage.start(driver, "run")
    line_of(process, "ready")
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    assert re.search(r"Max core file size +0 ", limits), "a core file would hold the venue's keys"
    process.send_signal(number)
    code, out = stage.finish(process)
    assert code == 0
    assert "closed" in out
    assert "Traceback" not in out.replace("bad close", "") or driver == "blocking"


def test_what_awaits_the_stop_ends_in_its_own_order(stage: Stage) -> None:
    process = stage.start("asyncio", "in order")
    line_of(process, "ready")
    process.terminate()
    code, out = stage.finish(process)
    assert code == 0
    assert out.index("ended in order") < out.index("closed")


@pytest.mark.parametrize("driver", ["blocking", "asyncio"])
@pytest.mark.parametrize("mode", ["crash", "callback"])
def test_a_crash_is_exit_1_with_its_traceback(stage: Stage, driver: str, mode: str) -> None:
    code, out = stage.finish(stage.start(driver, mode))
    assert code == 1
    assert "trader crashed: LookupError: no such order" in out and "Traceback" in out
    assert "closed" in out


def test_what_only_a_person_can_mend_is_exit_2_in_one_line(stage: Stage) -> None:
    code, out = stage.finish(stage.start("blocking", "misconfigured"))
    assert code == 2
    assert "ERROR trader  PORT=3000 is taken: set another" in out
    assert "LookupError" not in out


def test_bad_settings_are_exit_2(stage: Stage) -> None:
    code, out = stage.finish(stage.start("blocking", "run", RSI_BUY="x", PORT="0"))
    assert code == 2
    assert "RSI_BUY=x" in out and "PORT=0" in out and "Traceback" not in out


def test_what_the_settings_do_not_call_for_is_exit_3(stage: Stage) -> None:
    code, out = stage.finish(stage.start("blocking", "not called for"))
    assert code == 3 and "VENUE is not sandbox" in out


def test_after_a_quick_death_it_waits_and_still_answers_term(stage: Stage) -> None:
    assert stage.finish(stage.start("blocking", "crash"))[0] == 1
    assert stage.finish(stage.start("blocking", "crash"))[0] == 1
    process = stage.start("blocking", "run")
    assert "died 2 times within 10 s of its start: waits 2 s" in line_of(process, "waits")
    process.terminate()
    code, out = stage.finish(process)
    assert code == 0 and "ready" not in out


def test_a_failure_is_kept_for_the_next_start_without_secrets(stage: Stage) -> None:
    stage.finish(stage.start("blocking", "crash", DASHBOARD_PASSWORD="no such order"))
    record = (stage.folder / "run" / "trader.json").read_text()
    assert '"failure":"LookupError: ***"' in record


def test_a_killed_stage_counts_its_restarts(stage: Stage) -> None:
    process = stage.start("blocking", "run")
    line_of(process, "ready after 0 restarts")
    process.kill()
    process.communicate()
    process = stage.start("blocking", "run")
    line_of(process, "ready after 1 restarts")


def test_files_are_for_their_owner_alone(stage: Stage) -> None:
    process = stage.start("blocking", "run")
    line_of(process, "ready")
    modes = {path.stat().st_mode & 0o077 for path in stage.folder.rglob("*") if not path.is_symlink()}
    assert modes == {0}
    assert (stage.folder / "current").is_symlink()


BROKEN = """
import runpy, sys
sys.modules[sys.argv[1] + ".app"] = None
runpy.run_module(sys.argv[1], run_name="__main__")
"""


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_stage_that_cannot_be_imported_leaves_word_and_is_slowed_down(stage: Stage, name: str) -> None:
    code, out = stage.finish(stage.start_program(BROKEN, name))
    assert code == 1 and f"{name} crashed: ModuleNotFoundError" in out
    record = read_record(stage.folder / "run" / f"{name}.json")
    assert record is not None and f"{name}.app" in record.failure and not record.clean
    assert "died 1 times within 10 s of its start: waits 1 s" in line_of(stage.start_program(BROKEN, name), "waits")


SLOW = """
import sys, types
from core.stage import later, run
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "slow.app":
            import time
            print("imports", flush=True)
            time.sleep(1)
            sys.modules[name] = types.SimpleNamespace(build=lambda context: print("built"))
            import importlib.machinery
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec):
        return sys.modules[spec.name]
    def exec_module(self, module):
        pass
sys.modules["slow"] = types.ModuleType("slow")
sys.modules["slow"].__path__ = []
sys.meta_path.insert(0, Slow())
run("trader", later("slow.app", "build"))
"""


def test_a_stop_while_it_is_imported_is_a_clean_end(stage: Stage) -> None:
    process = stage.start_program(SLOW)
    line_of(process, "imports")
    process.terminate()
    code, out = stage.finish(process)
    assert (code, out.strip()) == (0, "built")
    record = read_record(stage.folder / "run" / "trader.json")
    assert record is not None and record.clean


def test_a_supervised_stage_whose_applied_settings_are_damaged_leaves_word_that_it_gave_up(stage: Stage) -> None:
    (stage.folder / "settings.json").write_text("{")
    code, out = stage.finish(stage.start("blocking", "run", SUPERVISOR_ENABLED="1"))
    assert code == 2 and "settings.json" in out
    record = read_record(stage.folder / "run" / "trader.json")
    assert record is not None and record.gave_up and "`make restart` writes it anew" in record.failure


def test_one_started_by_hand_with_bad_settings_leaves_nothing(stage: Stage) -> None:
    assert stage.finish(stage.start("blocking", "run", RSI_BUY="x"))[0] == 2
    assert not (stage.folder / "run").exists()


UNCOUNTED = """
import core.stage
from core.errors import BotError
def fails():
    raise BotError("the disk fails")
core.stage.for_stage = fails
core.stage.sleep = lambda seconds: print("waits", seconds)
core.stage.run("trader", lambda context: None)
"""


def test_a_death_that_nobody_can_count_is_slowed_down_all_the_same(stage: Stage) -> None:
    code, out = stage.finish(stage.start_program(UNCOUNTED))
    assert code == 1 and "BotError: the disk fails" in out
    assert f"waits {UNCOUNTED_WAIT_S}" in out
