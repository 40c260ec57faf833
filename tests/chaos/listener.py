"""An outsider that listens to `update/` with a raw SUB socket and keeps what it heard, number by number.

Frames are read from their description, with nothing of the project: topic, then layout hash u64, epoch i64, first i64,
publish_ns i64, count u32; the payload of `update/` is 128 bytes a TRADE: its record of the tape, then its number there
(u64), rsi and lower band (f64). Heartbeats
(a msgpack array of one Beat: stage, pid, …) tell which process speaks. What was said while nobody was connected is
asked for once at the next process's ROUTER; what it does not have any more stays unheard.
"""

import struct
import threading
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import zmq

UPDATE, BEAT = b"update/0/", b"beat/0/"
HEAD = struct.Struct("<16sQqqqI")
SIZE, NUMBER_AT, INDICATORS_AT = 128, 64, 72
ANSWER_MS = 500
LOOK_MS = 100


@dataclass
class Jump:
    """Numbers do not follow on each other: `last`, then `first`. `pid` spoke before, `then` after it (0: unknown)."""

    last: int
    first: int
    pid: int
    then: int = 0


@dataclass
class Heard:
    """All that was heard. `bodies` are the updates by number, `covered` the numbers that frames spoke of."""

    bodies: dict[int, bytes] = field(default_factory=dict)
    covered: set[int] = field(default_factory=set)
    again: int = 0  # updates that were heard more than once
    replayed: int = 0
    jumps: list[Jump] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    epochs: set[int] = field(default_factory=set)
    pids: list[int] = field(default_factory=list)

    def indicators(self) -> dict[int, tuple[float, float]]:
        """rsi and lower band of each update."""
        return {number: struct.unpack_from("<dd", body, INDICATORS_AT) for number, body in self.bodies.items()}

    def frame(self, epoch: int, first: int, count: int, payload: bytes) -> None:
        """Takes a frame's updates."""
        self.epochs.add(epoch)
        self.covered.update(range(first, first + count))
        if len(payload) % SIZE:
            self.wrong.append(f"frame {first}: {len(payload)} bytes are no whole updates")
        before = first - 1
        for at in range(0, len(payload) // SIZE * SIZE, SIZE):
            body = payload[at : at + SIZE]
            (number,) = struct.unpack_from("<Q", body, NUMBER_AT)
            if not before < number < first + count:
                self.wrong.append(f"frame {first}: update {number} after {before}, {count} numbers")
            before = number
            known = self.bodies.setdefault(number, body)
            if known is not body:
                self.again += 1
                if known != body:
                    self.wrong.append(f"update {number} was published with two contents: {known.hex()}, {body.hex()}")


class Listener:
    """Listens on a thread of its own from `start` to `stop`."""

    def __init__(self, run_dir: Path) -> None:
        self.heard = Heard()
        self._run_dir = run_dir
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._pid = 0
        self._last = -1
        self._last_pid = 0  # who had spoken when the last frame came
        self._unsettled: list[Jump] = []  # jumps since the last heartbeat
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
        self._failure: Exception | None = None

    def start(self) -> None:
        self._context = zmq.Context(1)
        self._thread.start()

    def stop(self) -> Heard:
        """Ends; everything that was heard. What the listener itself stumbled over is raised here."""
        if self._context is not None:
            self._stopping.set()
            self._thread.join()
            self._context.destroy(linger=0)
            self._context = None
        if self._failure is not None:
            raise self._failure
        return self.heard

    def _run(self) -> None:
        try:
            with self._connected(zmq.SUB, "pub") as socket:
                while True:
                    ending = self._stopping.is_set()
                    if socket.poll(LOOK_MS):
                        self.take(socket.recv_multipart())
                    elif ending:
                        return  # all that had arrived is taken
        except Exception as error:  # noqa: BLE001 (`stop` raises it)
            self._failure = error

    def _connected(self, kind: int, ending: str) -> "zmq.Socket[bytes]":
        assert self._context is not None
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, 0)  # nothing is ever dropped here
        socket.setsockopt(zmq.RECONNECT_IVL, 5)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 20)
        if kind == zmq.SUB:
            socket.setsockopt(zmq.SUBSCRIBE, UPDATE)
            socket.setsockopt(zmq.SUBSCRIBE, BEAT)
        socket.connect(f"ipc://{self._run_dir / f'indicators.{ending}'}")
        return socket

    def take(self, parts: list[bytes]) -> None:
        """One message from the SUB socket."""
        head, payload = parts[0][: HEAD.size], parts[1] if len(parts) > 1 else parts[0][HEAD.size :]
        if head.startswith(BEAT):
            self.take_beat(int(msgspec.msgpack.decode(payload)[0][1]))
            return
        _, _, epoch, first, _, count = HEAD.unpack(head)
        if first != self._last + 1:
            jump = Jump(self._last, first, self._last_pid)
            self.heard.jumps.append(jump)
            if self._pid == self._last_pid:
                self._unsettled.append(jump)
            else:
                jump.then = self._pid
            if first > self._last + 1:
                self._ask_for(epoch, self._last + 1, first - 1)
        self.heard.frame(epoch, first, count, payload)
        self._last, self._last_pid = first + count - 1, self._pid

    def take_beat(self, pid: int) -> None:
        """A heartbeat of process `pid`."""
        self._pid = pid
        if self._pid not in self.heard.pids:
            self.heard.pids.append(self._pid)
        for jump in self._unsettled:
            jump.then = self._pid
        self._unsettled.clear()

    def _ask_for(self, epoch: int, first: int, last: int) -> None:
        """Asks who speaks now for what we did not hear; its ring may have it."""
        with self._connected(zmq.DEALER, "ctl") as socket:
            while first <= last:
                socket.send(msgspec.msgpack.encode(["chaos", "replay", UPDATE.decode(), epoch, first]))
                if not socket.poll(ANSWER_MS):
                    return
                _, *rest = socket.recv_multipart()
                frames = [rest[at : at + 3] for at in range(0, len(rest) // 3 * 3, 3)]
                reached = first
                for head, payload, _ in frames:
                    _, _, _, start, _, count = HEAD.unpack(head)
                    self.heard.frame(epoch, start, count, payload)
                    self.heard.replayed += len(payload) // SIZE
                    reached = start + count
                if reached == first:
                    return
                first = reached
