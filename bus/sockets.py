"""The only maker of zmq sockets. Every option that matters is set here.

zmq's descriptor (`fd`) tells of a change only once: whoever is woken by it must receive until there is nothing more,
and after a send on a socket that also receives, receive again.

zmq counts what waits in frames, not in bytes. The biggest frames have 64 kB on `trade/` and 128 kB on `update/`, so a
peer that does not read costs each side 32 and 64 MB at most; several such peers wait for the same bytes. In frames of
one record it is less than a megabyte. What is dropped beyond that is replayed.
"""

import contextlib
import threading
from collections.abc import Sequence
from pathlib import Path

import zmq

from bus.frames import HEAD_SIZE
from core.disk import refused
from core.errors import MisconfiguredError
from core.memory import keep_freed_memory
from core.paths import SOCKET_PATH_MAX

DATA_HIGH_WATER = 512  # frames a slow peer may lag behind on each side; a quarter second of the fastest burst
ANSWER_HIGH_WATER = 32  # answers of half a megabyte; a peer has one question a topic under way
REQUEST_HIGH_WATER = 1_000  # some hundred bytes each
RECONNECT_MS = 20
RECONNECT_MAX_MS = 500
BIGGEST_MESSAGE = 64 * 1024 * 1024
LET_OUT_S = 0.2

Socket = zmq.Socket[bytes]

# pyzmq's own layer over these turns flags into enums at each call, which costs more than the call.
_send, _recv, _get = zmq.backend.Socket.send, zmq.backend.Socket.recv, zmq.backend.Socket.get
_poll = zmq.backend.zmq_poll  # asks for what waits; to get EVENTS is an enum more, and a fifth slower on cold caches
_POLLIN, _RCVMORE = int(zmq.POLLIN), int(zmq.RCVMORE)
_NOBLOCK, _MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)


def data_out(run_dir: Path, stage: str) -> Socket:
    """The PUB socket of a stage, bound to STAGE.pub."""
    path = _path(run_dir, stage, "pub")
    socket = _make(zmq.PUB)
    socket.setsockopt(zmq.SNDHWM, DATA_HIGH_WATER)
    return _bound(socket, path)


def data_in(run_dir: Path, peer: str, topics: Sequence[str]) -> Socket:
    """A SUB socket that follows topics of a peer; the peer need not be there yet."""
    path = _path(run_dir, peer, "pub")
    socket = _make(zmq.SUB)
    socket.setsockopt(zmq.RCVHWM, DATA_HIGH_WATER)
    for topic in topics:
        socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
    return _connected(socket, path)


def answers_out(run_dir: Path, stage: str) -> Socket:
    """The ROUTER socket of a stage, bound to STAGE.ctl: snapshots, replays, control."""
    path = _path(run_dir, stage, "ctl")
    socket = _make(zmq.ROUTER)
    socket.setsockopt(zmq.SNDHWM, ANSWER_HIGH_WATER)
    socket.setsockopt(zmq.RCVHWM, REQUEST_HIGH_WATER)
    return _bound(socket, path)


def requests_to(run_dir: Path, peer: str) -> Socket:
    """A DEALER socket that asks a peer.

    It takes a request only while connected: one that waited for a restart would be answered long after it mattered.
    """
    path = _path(run_dir, peer, "ctl")
    socket = _make(zmq.DEALER)
    socket.setsockopt(zmq.SNDHWM, REQUEST_HIGH_WATER)
    socket.setsockopt(zmq.RCVHWM, ANSWER_HIGH_WATER)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    return _connected(socket, path)


def receive(socket: Socket) -> list[bytes] | None:
    """The next message without waiting, or None where there is none."""
    try:
        frame = _recv(socket, _NOBLOCK, False)
    except zmq.Again:
        return None
    parts = [frame.bytes]
    while frame.more:
        frame = _recv(socket, _NOBLOCK, False)
        parts.append(frame.bytes)
    return parts


def receive_frame(socket: Socket) -> list[bytes] | None:
    """As `receive`, for frames of ours (`bus.frames`): a head alone has more parts behind it, anything longer has not.

    So whether there are more need not be asked for short frames, which are nearly all.
    """
    try:
        head: bytes = _recv(socket, _NOBLOCK)
    except zmq.Again:
        return None
    parts = [head]
    if len(head) == HEAD_SIZE and _get(socket, _RCVMORE):
        while True:
            frame = _recv(socket, _NOBLOCK, False)
            parts.append(frame.bytes)
            if not frame.more:
                break
    return parts


def more(socket: Socket) -> bool:
    """Whether a message waits: cheaper than to be told by `receive` that there is none."""
    return bool(_poll([(socket, _POLLIN)], 0))


def send(socket: Socket, parts: Sequence[bytes]) -> bool:
    """Sends without waiting; False where the socket cannot take it now."""
    last = len(parts) - 1
    try:
        if last:
            for part in parts[:last]:
                _send(socket, part, _MORE)
        _send(socket, parts[last], _NOBLOCK)
    except (zmq.Again, OSError):
        # OSError: zmq's EHOSTUNREACH, a peer that went away between its question and our answer.
        return False
    return True


def wait_readable(socket: Socket, seconds: float) -> bool:
    """Waits for a message; for programs without a loop."""
    return bool(socket.poll(max(0, int(seconds * 1000)), zmq.POLLIN))


def wait_writable(socket: Socket, seconds: float) -> bool:
    """Waits for a connection that can take a message; for programs without a loop."""
    return bool(socket.poll(max(0, int(seconds * 1000)), zmq.POLLOUT))


def fd(socket: Socket) -> int:
    """The descriptor to watch."""
    return int(socket.getsockopt(zmq.FD))


def close(socket: Socket, linger_s: float = 0.0) -> None:
    """Closes at once; what its peers have not taken in another `linger_s` is dropped."""
    socket.close(linger=int(linger_s * 1000))


def let_out() -> None:
    """Waits until zmq has written what was sent on sockets that are closed by now, at most LET_OUT_S.

    For the end of a process: one that exits right after a send does so before zmq's own thread has come to it. No
    socket is made or used afterwards.
    """
    leaving = threading.Thread(target=zmq.Context.instance().term, name="let-out", daemon=True)
    with contextlib.suppress(RuntimeError):  # no thread is to be had: then nothing is waited for
        leaving.start()
        leaving.join(LET_OUT_S)  # a socket that was left open would hold up `term` for ever


def _make(kind: int) -> Socket:
    keep_freed_memory()
    socket: Socket = zmq.Context.instance().socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, BIGGEST_MESSAGE)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
    return socket


def _bound(socket: Socket, path: Path) -> Socket:
    try:
        # Left by a stage that was killed; the stage's lock says that nobody listens there any more.
        path.unlink(missing_ok=True)
        socket.bind(f"ipc://{path}")
    except (OSError, zmq.ZMQError) as error:
        socket.close()
        text = f"cannot listen at {path}: {error}. Free the folder {path.parent} or set VAR_DIR."
        raise refused(text, error.errno) from error
    return socket


def _connected(socket: Socket, path: Path) -> Socket:
    socket.connect(f"ipc://{path}")
    return socket


def _path(run_dir: Path, stage: str, ending: str) -> Path:
    path = run_dir / f"{stage}.{ending}"
    if len(bytes(path)) > SOCKET_PATH_MAX:
        raise MisconfiguredError(f"the path {path} is too long for a socket: set VAR_DIR to a shorter absolute path")
    return path
