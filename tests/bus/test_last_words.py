"""What a stage says as the last thing before it ends is heard by who listens."""

import os
import signal
import subprocess
import sys

import pytest
import zmq

from core.paths import ROOT
from tests.up_helpers import short_folder

# More than a socket's buffer takes, and the process ends as soon as all is closed: zmq's own thread, on the same CPU,
# has written it only where the stage waits for that.
PROGRAM = """
import os, sys
import core.stage
from bus import sockets
from bus.publisher import open_publisher
from core.stage import run, run_async

def build(context):
    publisher = open_publisher(context, 1)

    def end():
        cpu = min(os.sched_getaffinity(0))
        for thread in map(int, os.listdir("/proc/self/task")):
            os.sched_setaffinity(thread, {cpu})
        for number in range(64):
            publisher.event("info", f"word {number} " + "." * 32_768)

    context.on_stop(end)
    if mode == "a socket stays open":
        context.left_open = sockets.requests_to(context.run_dir, "storage")

async def main(context):
    build(context)
    await context.loop.wait_stopped()

core.stage.StageLock.ended_clean = lambda lock: os._exit(0)
sockets.LET_OUT_S = 2.0  # a slow machine has enough of it, too
driver, mode = sys.argv[1:]
run("trader", build) if driver == "blocking" else run_async("trader", main)
"""


@pytest.mark.parametrize("mode", ["told to stop", "a socket stays open"])
@pytest.mark.parametrize("driver", ["blocking", "asyncio"])
def test_the_last_words_are_heard(driver: str, mode: str) -> None:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with short_folder() as folder, zmq.Context() as context, context.socket(zmq.SUB) as socket:
        (folder / "run").mkdir(mode=0o700)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, 5)
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.connect(f"ipc://{folder}/run/trader.pub")
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, driver, mode],
            cwd=ROOT,
            env={**inherited, "VAR_DIR": str(folder)},
            stdout=subprocess.DEVNULL,
        )
        try:
            assert socket.poll(30_000), "a heartbeat: from now on all is heard"
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
        heard = []
        while socket.poll(1_000):
            heard.append(b"".join(socket.recv_multipart()))
        words = [frame for frame in heard if frame.startswith(b"event/")]
        assert [b"word %d " % number in frame for number, frame in enumerate(words)] == [True] * 64
