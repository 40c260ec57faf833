"""Control requests: carried out once, never after their time, always answered. `Control` answers, `ask` asks."""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import msgspec

from bus import sockets
from bus.frames import UNREADABLE, Frame, decode
from bus.messages import Reply, Request
from bus.messages import encode as pack
from core.clock import Clock, LiveClock
from core.errors import BotError, RemoteError, Unanswered

ANSWERS_KEPT = 1_000
ANSWER_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 2.0  # a running stage takes milliseconds

Handler = Callable[[Request], tuple[bool, str]]


class Control:
    """Carries out a stage's control requests and remembers the answers by id."""

    def __init__(self, stage: str, clock: Clock) -> None:
        self._stage = stage
        self._clock = clock
        self._handlers: dict[str, Handler] = {}
        self._answers: OrderedDict[str, Reply] = OrderedDict()

    def on(self, action: str, handler: Handler) -> None:
        self._handlers[action] = handler

    def answer(self, request: Request) -> Reply:
        """The answer to a request; one that was answered before gets the same again and is not carried out twice."""
        if not request.id:
            return Reply("", False, "a control request needs an id")
        known = self._answers.get(request.id)
        if known is not None:
            return known
        ok, text = self._carry_out(request)
        reply = Reply(request.id, ok, text)
        self._answers[request.id] = reply
        if len(self._answers) > ANSWERS_KEPT:
            self._answers.popitem(last=False)
        return reply

    def _carry_out(self, request: Request) -> tuple[bool, str]:
        late_ms = self._clock.wall_ms() - request.expires_wall_ms
        if late_ms > 0:
            return False, f"{request.action} came {late_ms / 1000:.1f} s too late and was not carried out: ask again"
        handler = self._handlers.get(request.action)
        if handler is None:
            known = ", ".join(sorted(self._handlers)) or "nothing"
            return False, f"{self._stage} cannot {request.action!r}: it takes {known}"
        try:
            return handler(request)
        except BotError as error:
            return False, f"{request.action} failed: {error}"


def ask(
    run_dir: Path,
    stage: str,
    action: str,
    arguments: dict[str, str] | None = None,
    *,
    timeout_s: float = ANSWER_TIMEOUT_S,
    request_id: str | None = None,
    expires_wall_ms: int | None = None,
    clock: Clock | None = None,
) -> Reply:
    """Asks a stage to do something and waits for its answer; for programs without a loop.

    The request expires with the wait, so that what was reported as unanswered is not carried out later.
    Raises RemoteError where the stage does not run and nothing was asked, Unanswered where it did not answer.
    """
    clock = clock or LiveClock()
    request = Request(
        id=request_id or secrets.token_hex(8),
        kind="control",
        action=action,
        arguments=arguments or {},
        expires_wall_ms=expires_wall_ms or clock.wall_ms() + int(timeout_s * 1000),
    )
    return _exchange(run_dir, stage, request, timeout_s, clock)[0]


def ask_snapshot(
    run_dir: Path, stage: str, topic: str, *, timeout_s: float = ANSWER_TIMEOUT_S, clock: Clock | None = None
) -> tuple[Reply, bytes | None]:
    """The snapshot of a topic (None where it has none) and where it stands; for programs without a loop."""
    request = Request(id=secrets.token_hex(8), kind="snapshot", topic=topic)
    reply, rest = _exchange(run_dir, stage, request, timeout_s, clock or LiveClock())
    return reply, rest[0] if rest else None


def ask_replay(
    run_dir: Path, stage: str, topic: str, epoch: int, first: int, *, timeout_s: float, clock: Clock | None = None
) -> list[Frame]:
    """Frames of a topic from number `first` on, or from the first kept; none of another epoch than `epoch`.

    For who cannot wait for its subscriber. Raises RemoteError where the stage does not run or does not answer.
    """
    request = Request(id=secrets.token_hex(8), kind="replay", topic=topic, epoch=epoch, first=first)
    _, rest = _exchange(run_dir, stage, request, timeout_s, clock or LiveClock())
    parts = [rest[at : at + 3] for at in range(0, len(rest) - 2, 3)]
    return [decode([head, payload, body] if body else [head, payload]) for head, payload, body in parts]


def _exchange(run_dir: Path, stage: str, request: Request, timeout_s: float, clock: Clock) -> tuple[Reply, list[bytes]]:
    deadline = clock.monotonic_ns() + int(timeout_s * 1e9)

    def left() -> float:
        return (deadline - clock.monotonic_ns()) / 1e9

    socket = sockets.requests_to(run_dir, stage)
    try:
        if not sockets.wait_writable(socket, min(left(), CONNECT_TIMEOUT_S)) or not sockets.send(
            socket, [pack(request)]
        ):
            raise RemoteError(
                f"{stage} does not run, or hangs; nothing was asked of it: `make status` shows the stages,"
                " `make start` starts them"
            )
        while sockets.wait_readable(socket, left()):
            parts = sockets.receive(socket)
            if parts is None:
                continue
            try:
                reply = _reply_decoder.decode(parts[0])
            except UNREADABLE as error:
                raise Unanswered(
                    f"{stage} answers in another form ({error}): `make restart` brings all stages to one version"
                ) from error
            if reply.id == request.id:
                return reply, parts[1:]
        raise Unanswered(
            f"{stage} did not answer within {round(timeout_s, 1):g} s and the request has expired:"
            f" `make logs STAGE={stage}` shows why"
        )
    finally:
        sockets.close(socket)


_reply_decoder = msgspec.msgpack.Decoder(Reply)
