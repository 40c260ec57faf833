"""What stands behind the page's control in tests: the trader's side in this process, and a supervisord of words."""

import os
from collections.abc import Callable

from bus.control import Control, Handler
from bus.messages import Reply, Request
from core.clock import Clock
from core.errors import RemoteError, Unanswered
from core.paths import PROGRAMS
from core.settings_parse import Secret
from core.supervisor import SupervisorError
from dashboard.control import TRADERS, Desk
from dashboard.door import Door
from dashboard.routes import Operating

PASSWORD = "correct horse battery"
TOKEN = "0123456789abcdef-token"
KEY = bytes(range(32))


class TradersSide:
    """Answers as the trader does, by its own `Control`; `away` and `silent` are how it fails."""

    def __init__(self, clock: Clock, handler: Handler | None = None) -> None:
        self.control = Control("trader", clock)
        self.done: list[Request] = []
        self.away = self.silent = False
        self.before: Callable[[], object] = lambda: None  # called as a request arrives
        for action in TRADERS:
            self.control.on(action, handler or self._note)

    def _note(self, request: Request) -> tuple[bool, str]:
        self.done.append(request)
        return True, f"trading is {request.action}d, {len(self.done)} done"

    def __call__(self, action: str, reason: str, *, id: str, expires_wall_ms: int, timeout_s: float) -> Reply:
        if self.away:
            raise RemoteError("trader does not run, or hangs; nothing was asked of it: `make start` starts it")
        self.before()
        request = Request(id, "control", action=action, arguments={"reason": reason}, expires_wall_ms=expires_wall_ms)
        reply = self.control.answer(request)
        if self.silent:
            raise Unanswered(f"trader did not answer within {timeout_s:g} s and the request has expired")
        return reply


class Supervised:
    """Restarts what it is told to."""

    def __init__(self) -> None:
        self.renewed: list[str] = []
        self.down = False
        self.ours = True
        self.before: Callable[[], object] = lambda: None  # called before it restarts

    def renew(self, name: str) -> int:
        if self.down:
            raise SupervisorError("supervisord did not answer getAllProcessInfo: no such file")
        self.before()
        self.renewed.append(name)
        return 4000 + len(self.renewed)

    def runs(self, name: str, pid: int) -> bool:
        return self.ours and pid == os.getpid()


class House:
    """Everything beside the page, with what was told and how often the dashboard was to end."""

    def __init__(
        self, clock: Clock, *, password: str = "", token: str = "", handler: Handler | None = None, key: bytes = KEY
    ) -> None:
        self.trader = TradersSide(clock, handler)
        self.supervised = Supervised()
        self.told: list[tuple[str, str]] = []
        self.ended = 0
        self.keys = 0
        self.door = Door(Secret(password), Secret(token), key, self._another_key, clock, "scalp_3000")
        self.desk = Desk(self.trader, self.supervised, PROGRAMS, clock, self._tell, os.getpid())
        self.operating = Operating(self.door, self.desk, self._tell, self._end)

    def _tell(self, level: str, text: str) -> None:
        self.told.append((level, text))

    def _another_key(self) -> bytes:
        self.keys += 1
        return bytes([self.keys]) * 32

    def _end(self) -> None:
        self.ended += 1
