"""The floor of an idle bot: six bare processes that pass on, write and wake as often as the stages do.

`python -m tools.bench.bare_bot FOLDER STAGE RATE` is one of them: it takes what the stage takes, says what it says in
bytes of about that size, at the stage's own intervals, and computes nothing.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import zmq

from core.paths import ROOT, STAGES, WATCHDOG
from tools.bench.folders import scratch

TRADE, UPDATE, CANDLE, VIEW, TRADER, STATUS, BEAT = (
    b"trade/0/", b"update/0/", b"candle/0/", b"view/0/", b"trader/0/", b"status/0/", b"beat/0/",
)  # fmt: skip
HEADER = bytes(36)
SMALL = bytes(200)
BEAT_BYTES = bytes(600)


class Node(NamedTuple):
    """What a stage takes (of whom, which topics), what it says after each trade, and what every so many seconds."""

    takes: dict[str, tuple[bytes, ...]]
    echo: tuple[bytes, bytes] | None = None
    says: tuple[tuple[float, bytes, bytes], ...] = ()


NODES = {
    "feeder": Node({}),
    "indicators": Node(
        {"feeder": (TRADE, BEAT)}, (UPDATE, bytes(128)), ((0.25, VIEW, SMALL), (0.25, CANDLE, SMALL))
    ),
    "trader": Node(
        {"feeder": (BEAT,), "indicators": (UPDATE, BEAT)}, None, ((1.0, STATUS, SMALL),)
    ),
    "storage": Node({"feeder": (BEAT,), "indicators": (CANDLE, BEAT), "trader": (TRADER, BEAT)}),
    "dashboard": Node(
        {"feeder": (BEAT,), "indicators": (VIEW, BEAT), "trader": (TRADER, STATUS, BEAT), "storage": (BEAT,)}
    ),
    WATCHDOG: Node(dict.fromkeys(STAGES, (BEAT,))),
}  # fmt: skip


def be(folder: Path, stage: str, rate: float) -> None:
    """Runs one node for ever."""
    node = NODES[stage]
    context = zmq.Context()
    out = context.socket(zmq.PUB)
    out.bind(f"ipc://{folder / stage}")
    poller = zmq.Poller()
    for peer, topics in node.takes.items():
        socket = context.socket(zmq.SUB)
        for topic in topics:
            socket.setsockopt(zmq.SUBSCRIBE, topic)
        socket.connect(f"ipc://{folder / peer}")
        poller.register(socket, zmq.POLLIN)
    says = [*node.says, (1.0, BEAT, BEAT_BYTES)]
    if stage == "feeder":
        says.append((1.0 / rate, TRADE, bytes(64)))
    due = [time.monotonic() + seconds for seconds, _, _ in says]
    tape = os.open(folder / "tape", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    while True:
        wait_s = max(0.0, min(due) - time.monotonic())
        if not node.takes:  # a poller without sockets does not wait
            time.sleep(wait_s)
        for socket, _ in poller.poll(int(wait_s * 1000) + 1) if node.takes else ():
            head, _ = socket.recv_multipart()
            if node.echo is not None and head.startswith(TRADE):
                out.send_multipart((node.echo[0] + HEADER, node.echo[1]))
        now = time.monotonic()
        for place, (seconds, topic, payload) in enumerate(says):
            if now >= due[place]:
                due[place] += seconds
                if topic == TRADE:
                    os.write(tape, payload)
                out.send_multipart((topic + HEADER, payload))


@contextlib.contextmanager
def running(rate: float) -> Iterator[dict[str, int]]:
    """The processes, connected: pids by stage."""
    with scratch() as folder:
        children: dict[str, subprocess.Popen[bytes]] = {}
        try:
            for stage in NODES:
                command = [sys.executable, "-m", "tools.bench.bare_bot", str(folder), stage, str(rate)]
                children[stage] = subprocess.Popen(command, cwd=ROOT)
            deadline = time.monotonic() + 10
            while not all((folder / stage).exists() for stage in NODES) and time.monotonic() < deadline:
                time.sleep(0.05)
            yield {stage: child.pid for stage, child in children.items()}
        finally:
            for child in children.values():
                child.kill()
                child.wait()


if __name__ == "__main__":
    be(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
