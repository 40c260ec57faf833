"""What benches of the feeder run: a venue's process, the bare loop, the feeder itself and all that it publishes."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import zmq

from bus.frames import HEAD_SIZE
from bus.frames import TRADE as TRADE_TOPIC
from bus.records import HOLE, RECORD, TRADE
from core import paths
from core.books import open_book
from core.errors import BotError
from core.paths import ROOT
from core.settings_load import KNOWN, SUPERVISED, apply, from_texts, full_environment
from tools.bench.feeder_protocols import PROTOCOLS
from tools.bench.folders import scratch
from tools.bench.processes import cpu_ns

DRAIN_SECONDS = 5.0
IDLE_SECONDS = 0.3


class Peer(Protocol):
    """What the feeder is pointed at: a venue that speaks this protocol on a port of this machine."""

    @property
    def protocol(self) -> str: ...

    @property
    def pairs(self) -> list[str]: ...

    @property
    def port(self) -> int: ...


class Venue:
    """The venue's process."""

    def __init__(self, protocol: str, pairs: list[str], child: "subprocess.Popen[str]") -> None:
        self.protocol = protocol
        self.pairs = pairs
        self._child = child
        self.port = int(self._answer())

    def say(self, command: str) -> dict[str, int]:
        """Has it do something; the count of trades by pair when that is done. Raises OSError where it ended."""
        assert self._child.stdin is not None
        self._child.stdin.write(command + "\n")
        self._child.stdin.flush()
        counts: dict[str, int] = json.loads(self._answer())
        return counts

    def ask(self, command: str) -> dict[str, Any]:
        """The same for what is answered otherwise."""
        answer: dict[str, Any] = self.say(command)
        return answer

    def costs(self, pid: int, command: str) -> tuple[float, dict[str, int]]:
        """The core share of a process while the venue does something, and the trades."""
        began, cpu = time.monotonic(), cpu_ns(pid)
        counts = self.say(command)
        return (cpu_ns(pid) - cpu) / 1e9 / (time.monotonic() - began), counts

    def timed(self, pid: int, command: str) -> tuple[float, float]:
        """Seconds, and CPU seconds of a process, until the command is done and the process has nothing left to do."""
        began, cpu = time.monotonic(), cpu_ns(pid)
        self.say(command)
        ended, last = time.monotonic(), cpu_ns(pid)
        while time.monotonic() - ended < IDLE_SECONDS:
            if (now := cpu_ns(pid)) != last:
                ended, last = time.monotonic(), now
            time.sleep(0.005)
        return ended - began, (last - cpu) / 1e9

    def _answer(self) -> str:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise OSError(f"the bench's venue ended: {self._child.wait()}")
        return line


@contextmanager
def venue(protocol: str, pairs: int | list[str], frames: Path | None = None) -> Iterator[Venue]:
    """A venue with so many markets, or with these."""
    names = pairs if isinstance(pairs, list) else PROTOCOLS[protocol](pairs).pairs
    command = [sys.executable, "-m", "tools.bench.feeder_venue", protocol, ",".join(names)]
    command += [str(frames)] if frames is not None else []
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield Venue(protocol, names, child)
        finally:
            child.terminate()


@contextmanager
def reading(made: Venue) -> Iterator[int]:
    """The bare loop; its pid."""
    url = f"ws://127.0.0.1:{made.port}"
    command = [sys.executable, "-m", "tools.bench.bare_stream", made.protocol, url, *made.pairs]
    with subprocess.Popen(command, cwd=ROOT) as child:
        try:
            yield child.pid
        finally:
            child.kill()


class Fed:
    """The feeder's process, and all that it publishes."""

    def __init__(self, pid: int, subscriber: "zmq.Socket[bytes]") -> None:
        self.pid = pid
        self._subscriber = subscriber
        self._payloads: list[bytes] = []
        self._count = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._over.is_set():
            if not self._subscriber.poll(50):
                continue
            parts = self._subscriber.recv_multipart()
            payload = parts[1] if len(parts) > 1 else parts[0][HEAD_SIZE:]
            self._payloads.append(payload)
            self._count += len(payload) // RECORD.itemsize

    def published(self, expected: int) -> tuple[np.ndarray, int]:
        """All records so far, once as many as expected came or nothing more comes; and in how many frames."""
        changed, last = time.monotonic(), self._count
        while self._count < expected and time.monotonic() - changed < DRAIN_SECONDS:
            time.sleep(0.005)
            if self._count != last:
                changed, last = time.monotonic(), self._count
        payloads = list(self._payloads)
        return np.frombuffer(b"".join(payloads), RECORD), len(payloads)

    def so_far(self) -> np.ndarray:
        """All records so far."""
        return np.frombuffer(b"".join(list(self._payloads)), RECORD)

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._subscriber.close(0)


@contextmanager
def feeding(made: Peer) -> Iterator[Fed]:
    """The real feeder, of that venue."""
    with scratch() as folder:
        texts = {"VAR_DIR": str(folder), "VENUE": made.protocol, "PAIRS": ",".join(made.pairs)}
        texts |= {"VENUE_REST_URL": f"http://127.0.0.1:{made.port}", "VENUE_STREAM_URL": f"ws://127.0.0.1:{made.port}"}
        settings = from_texts(texts)
        apply(settings)
        open_book(settings)
        environ = {name: text for name, text in full_environment().items() if name not in KNOWN}
        environ |= {"VAR_DIR": str(folder), SUPERVISED: "1"}
        subscriber: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        subscriber.setsockopt(zmq.RCVHWM, 0)
        subscriber.setsockopt(zmq.SUBSCRIBE, TRADE_TOPIC.encode())
        subscriber.connect(f"ipc://{paths.run_dir(folder) / 'feeder.pub'}")
        with (folder / "feeder.log").open("w+") as log:
            command = [sys.executable, "-m", "tools.bench.feeder_stage"]
            child = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=subprocess.STDOUT)
            fed = Fed(child.pid, subscriber)
            try:
                yield fed
                if child.poll() is not None:
                    log.seek(0)
                    raise BotError(f"the feeder ended: {log.read()[-2_000:]}")
            finally:
                fed.close()
                child.terminate()
                child.wait(10)


def wrong(protocol: str, pairs: Sequence[str], counts: dict[str, int], records: np.ndarray) -> int:
    """How many trades are missing, there twice, or out of order; holes count as well."""
    trades = records[records["kind"] == TRADE]
    numbers = trades["lots" if protocol == "coindcx" else "trade_id"]
    bad = int((records["kind"] == HOLE).sum())
    for place, pair in enumerate(pairs):
        mine = numbers[trades["pair"] == place]
        there = np.unique(mine)
        bad += counts[pair] - len(there) + len(mine) - len(there) + int((np.diff(mine) < 0).sum())
    return bad
