"""The floor of every hop: pyzmq alone, in the topology and sizes of the real stages.

`python -m tools.bench.bare relay SOURCE OUT` stands for indicators: SUB to PUB, 128 bytes for each 64.
`python -m tools.bench.bare sink SOURCE RELAY STAMPS [eager]` stands for the trader: SUB, stamps what the relay sent;
`eager`: SUB to the raw trades as well, and each of them wakes it.
`BareLine.write` stands for the feeder: head and payload in one part where that is cheaper, as ours, also written to a
file.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import zmq

from bus.frames import HEAD, HEAD_SIZE, SHORT
from bus.layouts import MAX_BATCH, RECORD_SIZE, UPDATE_SIZE
from bus.sockets import DATA_HIGH_WATER
from core.paths import ROOT
from tools.bench.stamps import FRAMES, LAST, RAWS, UPDATES, Stamps

TRADE, UPDATE = b"trade/0/", b"update/0/"
CONNECT_SECONDS = 10.0


def relay(source: str, out: str) -> None:
    context = zmq.Context()
    subscriber = _subscriber(context, source, TRADE)
    publisher = context.socket(zmq.PUB)
    publisher.setsockopt(zmq.SNDHWM, DATA_HIGH_WATER)
    publisher.bind(f"ipc://{out}")
    updates = memoryview(bytes(MAX_BATCH * UPDATE_SIZE))
    while True:
        parts = subscriber.recv_multipart()
        head = UPDATE + parts[0][len(UPDATE) : HEAD_SIZE]
        size = trades_in(parts) * UPDATE_SIZE
        if len(parts) == 1:
            publisher.send(head + updates[:size])
        else:
            publisher.send_multipart((head, updates[:size]))


def sink(source: str, relayed: str, stamps: Stamps, eager: bool) -> None:
    context = zmq.Context()
    updates = _subscriber(context, relayed, UPDATE)
    poller = zmq.Poller()
    poller.register(updates, zmq.POLLIN)
    if eager:
        poller.register(_subscriber(context, source, TRADE), zmq.POLLIN)
    while True:
        for socket, _ in poller.poll():
            parts = socket.recv_multipart()
            if socket is updates:
                take_update(parts, stamps)
            else:
                stamps.words[RAWS] += trades_in(parts)


def trades_in(parts: list[bytes]) -> int:
    """Records in a frame of one part or two."""
    return (len(parts[1]) if len(parts) > 1 else len(parts[0]) - HEAD_SIZE) // RECORD_SIZE


def take_update(parts: list[bytes], stamps: Stamps) -> None:
    """Stamps a frame from the relay."""
    now_ns = time.monotonic_ns()
    _, _, _, first, _, count = HEAD.unpack_from(parts[0])
    stamps.add(first + count - 1, now_ns)
    words = stamps.words
    words[UPDATES] += (len(parts[1]) if len(parts) > 1 else len(parts[0]) - HEAD_SIZE) // UPDATE_SIZE
    words[FRAMES] += 1
    words[LAST] = first + count - 1


def _subscriber(context: "zmq.Context[zmq.Socket[bytes]]", path: str, topic: bytes) -> "zmq.Socket[bytes]":
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.RCVHWM, DATA_HIGH_WATER)
    socket.setsockopt(zmq.SUBSCRIBE, topic)
    socket.connect(f"ipc://{path}")
    return socket


class BareLine:
    """Publisher here, relay and sink in processes of their own; a context manager."""

    def __init__(self, folder: Path, *, eager: bool = False) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._out = self._context.socket(zmq.PUB)
        self._out.setsockopt(zmq.SNDHWM, DATA_HIGH_WATER)
        self._out.setsockopt(zmq.LINGER, 0)
        source, relayed, stamps = folder / "a", folder / "b", folder / "stamps"
        self._out.bind(f"ipc://{source}")
        self._eager = eager
        self._file = os.open(folder / "tape", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self.stamps = Stamps(stamps, create=True)
        self.next_number = 0
        sink_role = ("sink", source, relayed, stamps, *(["eager"] if eager else []))
        roles: tuple[tuple[object, ...], ...] = (("relay", source, relayed), sink_role)
        self._children = [
            subprocess.Popen([sys.executable, "-m", "tools.bench.bare", *map(str, role)], cwd=ROOT) for role in roles
        ]

    def __enter__(self) -> "BareLine":
        try:
            self._join()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.kill()
            child.wait()
        self._out.close()
        self._context.term()
        os.close(self._file)
        self.stamps.close()

    @property
    def pids(self) -> dict[str, int]:
        return dict(zip(("relay", "sink"), (child.pid for child in self._children), strict=True))

    def _join(self) -> None:
        deadline = time.monotonic() + CONNECT_SECONDS
        while not (self.stamps.words[UPDATES] and (self.stamps.words[RAWS] or not self._eager)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the bare relays did not connect within {CONNECT_SECONDS:g} s")
            self.write(bytes(RECORD_SIZE))
            time.sleep(0.02)
        while self.stamps.words[LAST] < self.next_number - 1:
            time.sleep(0.02)

    def write(self, data: bytes) -> int:
        """Writes and sends one frame of records; the number of the first."""
        first, count = self.next_number, len(data) // RECORD_SIZE
        os.write(self._file, data)
        head = HEAD.pack(TRADE, 0, 0, first, time.time_ns(), count)
        if len(data) <= SHORT:
            self._out.send(head + data, zmq.NOBLOCK)
        else:
            self._out.send_multipart((head, data), zmq.NOBLOCK)
        self.next_number += count
        return first

    def service(self) -> None:
        """Nothing besides the frames has to be done."""


if __name__ == "__main__":
    if sys.argv[1] == "relay":
        relay(*sys.argv[2:4])
    else:
        sink(sys.argv[2], sys.argv[3], Stamps(Path(sys.argv[4])), "eager" in sys.argv[5:])
