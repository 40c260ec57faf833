"""What stages do whose supervisord is killed, as real processes under a parent that is killed."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.clock import ManualClock
from core.lock import holder
from core.loop import PollLoop
from core.parent import LAYER_SECONDS, its_turn, stop_without_supervisord
from core.paths import ROOT
from core.settings_load import SUPERVISED, from_texts
from core.stage import Context
from core.supervisor import lives
from tests.up_helpers import short_folder

# Starts the stages named in its arguments, says their pids and waits, as supervisord would.
PARENT = """
import subprocess, sys
children = [subprocess.Popen([sys.executable, "-c", sys.argv[1], *word.split(":")]) for word in sys.argv[2:]]
print(*(child.pid for child in children), flush=True)
sys.stdin.read()
"""
STAGE = """
import asyncio, os, sys, time
import core.parent
from core.stage import run, run_async

core.parent.LAYER_SECONDS = float(os.environ["LAYER_SECONDS"])
name, mode = sys.argv[1:]

def build(context):
    def ended():
        with open(context.var_dir / "ends", "a") as file:
            file.write(name + "\\n")
    context.on_stop(ended)
    if mode == "crash":
        raise LookupError("it broke")

async def main(context):
    build(context)
    await asyncio.sleep(1000)

if mode == "late":
    while not os.path.exists(os.environ["VAR_DIR"] + "/go"):
        time.sleep(0.01)
run_async(name, main) if mode == "asyncio" else run(name, build)
"""


class Family:
    """A parent with its stages, in a folder of their own."""

    def __init__(self, var: Path) -> None:
        self.var = var
        self.run_dir = var / "run"
        self.pids: list[int] = []
        self.parents: list[subprocess.Popen[str]] = []

    def start(self, *stages: str, layer_s: float = LAYER_SECONDS) -> "subprocess.Popen[str]":
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, STAGE, *stages],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**inherited, "VAR_DIR": str(self.var), SUPERVISED: "1", "LAYER_SECONDS": str(layer_s)},
            start_new_session=True,
        )
        self.parents.append(parent)
        assert parent.stdout is not None
        self.pids += [int(word) for word in parent.stdout.readline().split()]
        return parent

    def running(self) -> list[int]:
        return [pid for pid in self.pids if lives(pid)]

    def holders(self) -> set[str]:
        return {path.stem for path in self.run_dir.glob("*.lock") if holder(self.run_dir, path.stem)}

    def ends(self) -> list[str]:
        file = self.var / "ends"
        return file.read_text().split() if file.exists() else []

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
            time.sleep(0.02)

    def close(self) -> None:
        for parent in self.parents:
            parent.kill()
        for pid in self.running():
            os.kill(pid, signal.SIGKILL)
        for parent in self.parents:  # after the children, which hold its output open
            parent.communicate(timeout=30)
        self.wait(lambda: not self.running(), "nothing is left over")


@pytest.fixture
def family() -> Iterator[Family]:
    with short_folder() as folder:
        family = Family(folder)
        yield family
        family.close()


def test_the_stages_of_a_killed_supervisord_stop_in_the_order_of_a_stop(family: Family) -> None:
    names = ["storage", "feeder", "dashboard", "trader", "watchdog"]
    started = [f"{name}:{'asyncio' if name == 'feeder' else 'run'}" for name in names]
    parent = family.start(*started, layer_s=20.0)  # no machine is that slow; the limit itself is the next test's
    family.wait(lambda: family.holders() == set(names), "all run")
    parent.kill()
    family.wait(lambda: not family.running(), "all have stopped")
    ends = family.ends()
    assert ends[:2] == ["watchdog", "trader"] and ends[-1] == "storage"
    assert sorted(ends) == sorted(names)
    assert all('"clean":true' in (family.run_dir / f"{name}.json").read_text() for name in names)


def test_a_stage_that_hangs_holds_the_others_up_for_layer_seconds_at_most(family: Family) -> None:
    parent = family.start("storage:run", "trader:run")
    family.wait(lambda: family.holders() == {"storage", "trader"}, "both run")
    trader = holder(family.run_dir, "trader")
    assert trader
    os.kill(trader, signal.SIGSTOP)
    parent.kill()
    family.wait(lambda: family.ends() == ["storage"], "storage does not wait for ever")
    family.wait(lambda: family.holders() == {"trader"}, "it is gone, and the trader hangs")


def test_a_stage_that_still_waits_after_quick_deaths_stops_as_well(family: Family) -> None:
    for death in range(3):
        family.start("feeder:crash")
        family.wait(lambda death=death: len(family.ends()) > death and not family.holders(), "it crashed")
    parent = family.start("feeder:run")  # waits for four seconds
    family.wait(lambda: family.holders() == {"feeder"}, "it waits")
    parent.kill()
    family.wait(lambda: not family.holders(), "it has stopped")
    assert len(family.ends()) == 3  # it never began


def test_a_supervisord_that_died_while_its_stage_was_still_starting_is_missed_too(family: Family) -> None:
    parent = family.start("trader:late")
    parent.kill()
    parent.wait()
    (family.var / "go").touch()
    family.wait(lambda: family.ends() == ["trader"], "it has stopped")


def test_a_stage_that_was_started_by_hand_has_no_supervisord_to_miss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SUPERVISED, raising=False)
    loop = PollLoop(ManualClock())
    context = Context("trader", from_texts({"VAR_DIR": str(tmp_path)}), ManualClock(), logging.getLogger("test"))
    stop_without_supervisord(context, loop)
    assert loop._timers == loop._patient == []
    loop.close()


@pytest.mark.parametrize(
    ("waits_s", "layer", "earlier_run", "expected"),
    [
        pytest.param(0.0, 0, True, True, id="the first layer waits for nobody"),
        pytest.param(0.0, 3, False, True, id="those before are gone"),
        pytest.param(0.0, 3, True, False, id="those before still run"),
        pytest.param(3 * LAYER_SECONDS - 0.01, 3, True, False, id="three layers before it get three times as long"),
        pytest.param(3 * LAYER_SECONDS, 3, True, True, id="and no longer"),
    ],
)
def test_whose_turn_it_is(waits_s: float, layer: int, earlier_run: bool, expected: bool) -> None:
    assert its_turn(waits_s, layer, lambda: earlier_run) is expected
