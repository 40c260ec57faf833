"""Who may come in: with DASHBOARD_PASSWORD whoever has a session's cookie or the token, without it everybody, to read.

* Guesses wait (`dashboard.throttle`), at passwords and at tokens apart: a program with an old token locks out nobody.
* Logging out ends every session there is, open streams included; so does another password.
"""

import secrets
from collections.abc import Callable, Iterable
from typing import NamedTuple

from bus.said import PAGE, PROGRAM
from core.clock import Clock
from core.settings_parse import Secret
from dashboard.sessions import NONCE_BYTES, Sessions, same_secret
from dashboard.throttle import Throttle


class Refused(NamedTuple):
    """Why somebody may not come in, for the answer."""

    status: int
    text: str
    wait_s: float = 0.0
    guessed: bool = False  # a password or token was wrong


class Door:
    """The password, the token and the sessions of one dashboard."""

    def __init__(
        self, password: Secret, token: Secret, key: bytes, new_key: Callable[[], bytes], clock: Clock, cookie_name: str
    ) -> None:
        """`key` signs the sessions; `new_key` puts another in its place and gives it."""
        self._password, self._token, self._clock = password, token, clock
        self._new_key = new_key
        self._use(key)
        self._passwords, self._tokens = Throttle(), Throttle()
        self.cookie_name = cookie_name

    @property
    def locked(self) -> bool:
        """Whether one must log in: DASHBOARD_PASSWORD is set."""
        return bool(self._password)

    def log_in(self, password: str, address: str) -> str | Refused:
        """The new session's cookie, where the password is right."""
        given = password.encode(errors="replace")
        problem = self._wrong(self._passwords, given, self._password, address, "this is not the password")
        return problem or self._sessions.issue(self._now_s(), secrets.token_bytes(NONCE_BYTES))

    def log_out_all(self) -> None:
        """Ends every session."""
        self._use(self._new_key())

    def holds(self, cookies: Iterable[str]) -> bool:
        """Whether one of the cookies is that of a session that goes on."""
        now_s = self._now_s()
        return any(self._sessions.valid(cookie, now_s) for cookie in cookies)

    def who(self, cookies: Iterable[str], authorization: bytes, address: str) -> str | Refused:
        """PAGE for a session's cookie, PROGRAM for the token in the Authorization header."""
        if self.holds(cookies):
            return PAGE
        scheme, _, given = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            return Refused(401, "log in at /login, or send Authorization: Bearer DASHBOARD_TOKEN")
        if not self._token:
            return Refused(401, "DASHBOARD_TOKEN is not set: set it in .env, then `make restart STAGE=dashboard`")
        return self._wrong(self._tokens, given.strip(), self._token, address, "this is not DASHBOARD_TOKEN") or PROGRAM

    def _wrong(self, throttle: Throttle, given: bytes, known: Secret, address: str, text: str) -> Refused | None:
        """None where it is right; in a pause it is not looked at."""
        now_ns = self._clock.monotonic_ns()
        wait_s = throttle.wait_s(address, now_ns)
        if wait_s > 0:
            return Refused(429, f"too many wrong tries: the next is looked at in {wait_s:.0f} s", wait_s)
        if same_secret(self._key, given, known.reveal()):
            throttle.succeeded(address)
            return None
        throttle.failed(address, now_ns)
        return Refused(401, text, guessed=True)

    def _use(self, key: bytes) -> None:
        self._key = key
        self._sessions = Sessions(key, self._password.reveal())

    def _now_s(self) -> int:
        return self._clock.wall_ms() // 1000
