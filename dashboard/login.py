"""The layer of the app that lets in who may, as plain ASGI so that streams pass untouched; and the login itself.

* Open to all are `/healthz` and what the login page is made of; everything else, files and streams included, is not.
* What changes something (a POST) must be JSON, which no foreign form can send, and come from our own page where it
  names an Origin.
* A stream ends within a second of its session.
"""

import math
from collections.abc import Callable

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from bus.said import PAGE
from dashboard.access import origin_allowed
from dashboard.answers import STATIC, answer, failed, small_body
from dashboard.door import Door, Refused
from dashboard.sessions import LIFE_S

OPEN = frozenset({"/healthz", "/login", "/static/login.css", "/static/js/login.js"})
WHO = "operator"  # the scope's entry: PAGE or PROGRAM, where somebody came in
LONGEST_ADDRESS = 60

Tell = Callable[[str, str], object]  # level, text


class Password(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a login."""

    password: str


class Login:
    """Refuses who may not come in; of the others the scope says who they are."""

    def __init__(self, app: ASGIApp, door: Door, tell: Tell) -> None:
        self.app = app
        self.door = door
        self.tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        if scope["type"] != "http":  # there are no WebSockets, and nobody gets past by asking for one
            return
        problem = _foreign(scope)
        if problem is None and self.door.locked and scope["path"] not in OPEN:
            held = cookies(scope, self.door.cookie_name)
            found = self.door.who(held, _header(scope, b"authorization"), address(scope))
            if isinstance(found, Refused):
                problem = found
                if found.guessed:
                    self.tell("warn", f"a wrong token for the page, from {address(scope)}")
            else:
                scope[WHO] = found
        if problem is None:
            await self.app(scope, receive, send)
        elif problem.status == 401 and (scope["method"], scope["path"]) == ("GET", "/"):
            await RedirectResponse("login", 303)(scope, receive, send)
        else:
            await refusal(problem)(scope, receive, send)


def refusal(problem: Refused) -> Response:
    """A refusal as an answer."""
    made = failed(problem.text, problem.status)
    if problem.status == 401:
        made.headers["www-authenticate"] = "Bearer"
    if problem.wait_s:
        made.headers["retry-after"] = str(math.ceil(problem.wait_s))
    return made


def goes_on(scope: Scope, door: Door) -> Callable[[], bool]:
    """Whether who asked may still be answered, for answers without an end."""
    if scope.get(WHO) != PAGE:
        return lambda: True
    held = cookies(scope, door.cookie_name)
    return lambda: door.holds(held)


def login_routes(app: FastAPI, door: Door, tell: Tell) -> None:
    """The login page, login and logout."""

    @app.get("/login")
    async def login_page() -> Response:
        if not door.locked:
            return RedirectResponse(".", 303)
        return FileResponse(STATIC / "login.html", media_type="text/html")

    @app.post("/login")
    async def login(request: Request) -> Response:
        if not door.locked:
            return failed("there is nothing to log in to: DASHBOARD_PASSWORD is not set", 404)
        try:
            given = msgspec.json.decode(await small_body(request), type=Password)
        except (msgspec.MsgspecError, ValueError):
            return failed('send {"password": "…"}', 400)
        found = door.log_in(given.password, address(request.scope))
        if isinstance(found, Refused):
            if found.guessed:
                tell("warn", f"a wrong password for the page, from {address(request.scope)}")
            return refusal(found)
        tell("info", f"login to the page from {address(request.scope)}")
        return _with_cookie(request, door.cookie_name, found, LIFE_S)

    @app.post("/logout")
    async def logout(request: Request) -> Response:
        if not door.locked:
            return failed("nobody is logged in: DASHBOARD_PASSWORD is not set", 404)
        door.log_out_all()
        tell("info", f"logout from the page, of every session, from {address(request.scope)}")
        return _with_cookie(request, door.cookie_name, "", 0)


def _with_cookie(request: Request, name: str, value: str, life_s: int) -> Response:
    made = answer({"ok": True})
    secure = request.url.scheme == "https"  # a proxy on this machine says so
    made.set_cookie(name, value, max_age=life_s, path="/", httponly=True, samesite="strict", secure=secure)
    return made


def _foreign(scope: Scope) -> Refused | None:
    """Why a request that changes something is not from our page or a program, or None."""
    if scope["method"] in ("GET", "HEAD", "OPTIONS"):
        return None
    origin = _header(scope, b"origin").decode("latin-1")
    host = _header(scope, b"host").decode("latin-1")
    if origin and not origin_allowed(origin, host):
        text = f"a page of {origin[:80]} may not do this at {host[:80]}; a proxy between must pass the Host on"
        return Refused(403, text)
    kind = _header(scope, b"content-type").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        return Refused(415, "send JSON with Content-Type: application/json")
    return None


def address(scope: Scope) -> str:
    """Where a request came from: of a proxy on this machine what it says, else the other end of the connection."""
    client = scope.get("client")
    return str(client[0])[:LONGEST_ADDRESS] if client else "unknown"


def cookies(scope: Scope, name: str) -> list[str]:
    """The values of a cookie, of which browsers may send several."""
    pairs = [part.strip().partition("=") for text in _all(scope, b"cookie") for part in text.split(";")]
    return [value for key, _, value in pairs if key == name]


def _header(scope: Scope, name: bytes) -> bytes:
    """The first header of that name, or nothing."""
    return next((value for key, value in scope["headers"] if key == name), b"")


def _all(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]
