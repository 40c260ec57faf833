"""Operator commands from the page and from programs: carried out once, answered, never late.

* An id is carried out once: asked again it is answered alike, and with another command behind it refused. The trader
  keeps its answers and ids too, so that a restart of the dashboard between two asks carries nothing out twice.
* A command that is past its time is not carried out: here, at the trader, wherever it waited.
* No answer within the time is no failure: the answer says that it is not known, and asking again with the id finds out.
* A restart is told to supervisord, of stages that the settings call for and no others. The dashboard answers before it
  restarts itself.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, NamedTuple, Protocol

import msgspec

from bus.messages import Reply
from bus.said import LONGEST_WHY, said_by
from core.clock import Clock
from core.errors import BotError, RemoteError, Unanswered

EXPIRY_MS = 10_000
TRADERS = ("pause", "resume", "flatten", "halt")
RESTART = "restart"
ACTIONS = (*TRADERS, RESTART)
SELF = "dashboard"
MOST_UNDER_WAY = {False: 4, True: 2}  # by whether it is a restart: those take seconds, and no flatten waits for them
ANSWERS_KEPT = 1_000


class Command(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The body of POST /api/control. `expires_ms`: from its arrival until it must not be carried out any more."""

    action: str
    id: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{8,64}$")]
    expires_ms: Annotated[int, msgspec.Meta(ge=1, le=EXPIRY_MS)] = EXPIRY_MS
    stage: Annotated[str, msgspec.Meta(max_length=20)] = ""
    reason: Annotated[str, msgspec.Meta(max_length=LONGEST_WHY)] = ""


class Answer(NamedTuple):
    """HTTP status and body; `ends_us`: the dashboard itself is to end once this is sent."""

    status: int
    body: dict[str, Any]
    ends_us: bool = False


class Ask(Protocol):
    """Asks the trader, blocking. Raises RemoteError where it does not run, Unanswered where it says nothing in time."""

    def __call__(self, action: str, reason: str, *, id: str, expires_wall_ms: int, timeout_s: float) -> Reply: ...


class Stages(Protocol):
    """supervisord's side, blocking; raises BotError."""

    def renew(self, name: str) -> int: ...

    def runs(self, name: str, pid: int) -> bool: ...


class BadCommand(BotError):
    """What was posted is no command; the text says what is."""


def command_of(body: bytes, stages: tuple[str, ...]) -> Command:
    """The command in a body. Raises BadCommand."""
    try:
        command = msgspec.json.decode(body, type=Command)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadCommand(f"this is no command ({error}): send action, id and, for a restart, stage") from error
    if command.action not in ACTIONS:
        raise BadCommand(f"action {command.action[:40]!r} is unknown: {', '.join(ACTIONS)} are known")
    if not command.reason.isprintable():
        raise BadCommand("reason must be one line of text")
    if command.action == RESTART and command.stage not in stages:
        raise BadCommand(f"there is no stage {command.stage!r} to restart: {', '.join(stages)} are there")
    if command.action != RESTART and command.stage:
        raise BadCommand(f"{command.action} concerns the whole bot: leave out stage")
    return command


class Desk:
    """Takes commands for the trader and for supervisord."""

    def __init__(
        self,
        ask: Ask,
        supervised: Stages,
        stages: tuple[str, ...],
        clock: Clock,
        tell: Callable[[str, str], object],
        pid: int,
    ) -> None:
        """stages: those that may be restarted; tell, called in a thread: level and text of what people should know."""
        self.stages = stages
        self._ask, self._supervised, self._clock, self._tell, self._pid = ask, supervised, clock, tell, pid
        self._known: OrderedDict[str, tuple[Command, asyncio.Task[Answer]]] = OrderedDict()
        self._pool = ThreadPoolExecutor(sum(MOST_UNDER_WAY.values()), thread_name_prefix="control")

    async def carry_out(self, command: Command, who: str) -> Answer:
        """The answer to a command, the first or the same again."""
        known = self._known.get(command.id)
        if known is not None and not _may_ask_again(*known):
            before, task = known
            if (before.action, before.stage) != (command.action, command.stage):
                said = " ".join(part for part in (before.action, before.stage) if part)
                return _failed(command, 409, f"this id was used for {said}: make another for another command")
            return await asyncio.shield(task)
        restart = command.action == RESTART
        busy = sum(not task.done() and (one.action == RESTART) == restart for one, task in self._known.values())
        if busy >= MOST_UNDER_WAY[restart]:
            return _failed(command, 503, f"{busy} such commands wait for their answers: try again in a moment")
        task = asyncio.ensure_future(self._carry_out(command, who, self._clock.wall_ms() + command.expires_ms))
        self._known[command.id] = command, task
        while len(self._known) > ANSWERS_KEPT:
            self._known.popitem(last=False)
        return await asyncio.shield(task)  # who hangs up does not undo what is under way

    async def _carry_out(self, command: Command, who: str, expires_wall_ms: int) -> Answer:
        work = self._restart if command.action == RESTART else self._ask_trader
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, work, command, who, expires_wall_ms)

    def _ask_trader(self, command: Command, who: str, expires_wall_ms: int) -> Answer:
        """In a thread."""
        left_ms = expires_wall_ms - self._clock.wall_ms()
        if left_ms <= 0:
            return _late(command)
        reason = said_by(who, command.reason)
        try:
            reply = self._ask(
                command.action, reason, id=command.id, expires_wall_ms=expires_wall_ms, timeout_s=left_ms / 1000
            )
        except Unanswered as error:
            text = f"{error}. It is not known whether {command.action} was carried out; it will not be any more: look"
            return _failed(command, 504, f"{text} at the state", known=False)
        except RemoteError as error:
            return _failed(command, 503, str(error))
        return _done(command, reply.text) if reply.ok else _failed(command, 409, reply.text)

    def _restart(self, command: Command, who: str, expires_wall_ms: int) -> Answer:
        """In a thread."""
        if expires_wall_ms <= self._clock.wall_ms():
            return _late(command)
        stage, said = command.stage, said_by(who, command.reason)
        try:
            if stage == SELF:
                if not self._supervised.runs(SELF, self._pid):
                    text = "supervisord does not run this dashboard, nobody would start it again: `make restart` does"
                    return _failed(command, 503, text)
                self._tell("info", f"restart of {SELF} ({said})")
                return _done(command, f"{SELF} restarts now; the page comes back by itself", ends_us=True)
            self._tell("info", f"restart of {stage} ({said})")
            pid = self._supervised.renew(stage)
        except BotError as error:
            return _failed(command, 504, f"{error}. Look at its light", known=False)
        return _done(command, f"{stage} was restarted, it is process {pid} now")

    def close(self) -> None:
        """Waits for nothing."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _may_ask_again(command: Command, task: "asyncio.Task[Answer]") -> bool:
    """Whether asking again with the id may say more: nothing was asked, or the trader (who knows ids) was silent."""
    if not task.done() or task.cancelled() or task.exception() is not None:
        return task.done()
    return task.result().status == 503 or (task.result().status == 504 and command.action != RESTART)


def _done(command: Command, text: str, *, ends_us: bool = False) -> Answer:
    return Answer(200, {"id": command.id, "action": command.action, "ok": True, "text": text}, ends_us)


def _failed(command: Command, status: int, text: str, *, known: bool = True) -> Answer:
    """`known` false: whether it was carried out is not known."""
    return Answer(status, {"error": text, "id": command.id, "action": command.action, "ok": False, "known": known})


def _late(command: Command) -> Answer:
    return _failed(command, 409, f"{command.action} waited past its time and was not carried out: ask again")
