"""A guard over real processes: who holds the lock and is silent is killed and told, nobody else."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bus.guard import WAITS_FOR_A_DEVICE, Guard
from bus.messages import Beat
from bus.notices import BeatSeen
from core.clock import NS_PER_S, ManualClock
from core.lock import StageRecord, holder, process_state
from core.loop import PollLoop
from core.paths import ROOT
from core.settings_load import from_texts
from core.stage import Context

# Takes the lock and stays; "device": held by the kernel as by a disk that does not answer (it waits for a vfork).
HOLD = """
import ctypes, sys, time
from pathlib import Path
from core.lock import StageLock
StageLock(Path(sys.argv[1]), "feeder").acquire()
print("held", flush=True)
if sys.argv[2] != "device" or ctypes.CDLL(None).vfork() == 0:
    time.sleep(1000)
"""


class Scene:
    """A guard over the feeder on a clock of the test's own; what it tells is in `told`."""

    def __init__(self, var: Path) -> None:
        self.clock = ManualClock()
        self.context = Context("watchdog", from_texts({"VAR_DIR": str(var)}), self.clock, logging.getLogger("test"))
        self.context.loop = self.loop = PollLoop(self.clock)
        self.told: list[tuple[str, str]] = []
        self.context.publish_event = lambda level, text, pair: self.told.append((level, text))
        self.guard = Guard(self.context, ["feeder"])
        self.process: subprocess.Popen[bytes] | None = None

    def hold(self, how: str = "sleeping") -> int:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(self.context.run_dir), how], stdout=subprocess.PIPE, cwd=ROOT
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"held\n"
        while how == "device" and process_state(self.process.pid) != WAITS_FOR_A_DEVICE:
            assert self.process.poll() is None
        return self.process.pid

    def beat(self, pid: int) -> None:
        beat = Beat("feeder", pid, 0, 0, 0, 0, 0, {}, (0.0, 0.0))
        self.guard.take([BeatSeen("feeder", beat)])

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(NS_PER_S)
            self.loop._run_due(self.clock.monotonic_ns())

    def close(self) -> None:
        self.loop.close()
        if self.process is None or self.process.stdout is None:
            return
        if self.process.poll() is None:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            for pid in (*children, self.process.pid):
                os.kill(int(pid), signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def scene(run_dir: Path) -> Iterator[Scene]:
    scene = Scene(run_dir)
    yield scene
    scene.close()


def test_who_is_silent_is_killed_and_told(scene: Scene) -> None:
    pid = scene.hold()
    scene.beat(pid)
    scene.run(4)
    assert scene.told == [] and scene.process is not None and scene.process.poll() is None
    scene.run(1)
    text = f"feeder (process {pid}) runs but was not heard for 5.0 s: killed, to be started again"
    assert scene.told == [("error", text)]
    assert scene.process.wait(timeout=30) == -signal.SIGKILL
    assert scene.guard.killed == 1


@pytest.mark.parametrize("beats", [True, False], ids=["it said that it beats", "it is still setting itself up"])
def test_who_was_never_heard_is_killed_once_it_should_beat(scene: Scene, beats: bool) -> None:
    pid = scene.hold()
    record = StageRecord(pid=pid, restarts=0, up_ms=0, quick_deaths=0, clean=False, beats=beats)
    (scene.context.run_dir / "feeder.json").write_bytes(msgspec.json.encode(record))
    scene.run(10)
    assert scene.guard.killed == beats


def test_who_is_heard_lives(scene: Scene) -> None:
    pid = scene.hold()
    for _ in range(30):
        scene.beat(pid)
        scene.run(1)
    assert scene.told == [] and holder(scene.context.run_dir, "feeder") == pid


def test_who_waits_for_the_disk_is_told_once_and_spared(scene: Scene) -> None:
    pid = scene.hold("device")
    scene.beat(pid)
    scene.run(20)
    assert [level for level, _ in scene.told] == ["warn"]
    assert "waits for the disk" in scene.told[0][1]
    assert scene.guard.killed == 0 and holder(scene.context.run_dir, "feeder") == pid
