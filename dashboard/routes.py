"""The HTTP face: routes over a Page. Every error is one JSON object with one clear line."""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import msgspec
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from fastapi.sse import EventSourceResponse
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from core.errors import BotError
from dashboard import metrics
from dashboard.answers import STATIC, answer, failed, small_body
from dashboard.control import BadCommand, Desk, command_of
from dashboard.door import Door
from dashboard.headers import Guard
from dashboard.history import HistoryError
from dashboard.login import WHO, Login, goes_on, login_routes
from dashboard.page import Page, UnknownPair
from dashboard.why import BadMinute

CONTROL_REFUSED = (
    "control from the page needs DASHBOARD_PASSWORD: set it in .env, then `make restart`; "
    "on the machine itself use: make pause | make resume | make flatten | make halt"
)

Limit = Annotated[int, Query(ge=1, le=5000)]
At = Annotated[str | None, Query(max_length=40)]
Offset = Annotated[int, Query(ge=-1440, le=1440)]
PairName = Annotated[str | None, Query(max_length=60)]


class Operating(NamedTuple):
    """What the app needs beside the page to let people in and to take their commands."""

    door: Door
    desk: Desk
    tell: Callable[[str, str], object]  # level and text of what people should know
    end: Callable[[], object]  # ends the dashboard, for supervisord to start it again


def create_app(page: Page, machine: str, allowed_hosts: tuple[str, ...], operating: Operating) -> ASGIApp:
    """The app with its guard around it; `machine` is this computer's name."""
    # No schema and no docs pages: those would load scripts from elsewhere.
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    _errors(app)
    _reading(app, page, operating.door)
    _machines(app, page)
    login_routes(app, operating.door, operating.tell)
    _control(app, operating)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return Guard(Login(app, operating.door, operating.tell), machine, allowed_hosts)


def _errors(app: FastAPI) -> None:
    @app.exception_handler(UnknownPair)
    async def unknown(_: Request, error: Exception) -> Response:
        return failed(str(error), 404, pairs=error.known if isinstance(error, UnknownPair) else [])

    @app.exception_handler(HistoryError)
    async def unreadable(_: Request, error: Exception) -> Response:
        return failed(str(error), 503)

    @app.exception_handler(BadMinute)
    async def no_minute(_: Request, error: Exception) -> Response:
        return failed(str(error), 400)

    @app.exception_handler(BotError)
    async def not_now(_: Request, error: Exception) -> Response:
        return failed(str(error), 503)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: Exception) -> Response:
        return failed(_first_problem(error), 400)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        text = {404: f"there is nothing at {request.url.path[:100]}", 405: f"{request.method} is not answered here"}
        return failed(text.get(status, str(getattr(error, "detail", error))), status)


def _first_problem(error: Exception) -> str:
    if not isinstance(error, RequestValidationError):
        return str(error)
    first = error.errors()[0]
    given = str(first.get("input"))[:60]
    return f"{first['loc'][-1]}={given}: {first['msg'][0].lower()}{first['msg'][1:]}"


def _reading(app: FastAPI, page: Page, door: Door) -> None:
    @app.get("/")
    async def index() -> Response:
        return FileResponse(STATIC / "index.html", media_type="text/html")

    @app.get("/favicon.ico")
    async def icon() -> Response:
        return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")

    @app.get("/api/stats")
    async def stats(pair: PairName = None) -> Response:
        return answer(page.stats(page.pair(pair)))

    @app.get("/api/page")
    async def settings() -> Response:
        return answer(msgspec.structs.asdict(page.state.config) | {"login": door.locked})

    @app.get("/api/candles")
    async def candles(pair: PairName = None, limit: Limit = 500) -> Response:
        return answer(await page.candles(page.pair(pair), limit))

    @app.get("/api/trades")
    async def trades(limit: Limit = 100) -> Response:
        return answer(await page.trades(limit))

    @app.get("/api/equity")
    async def equity(limit: Limit = 1440) -> Response:
        return answer(await page.history.equity(limit))

    @app.get("/api/ghosts")
    async def ghosts(limit: Limit = 100) -> Response:
        return answer(await page.ghosts(limit))

    @app.get("/api/recovery")
    async def recovery() -> Response:
        return answer(page.recovery())

    @app.get("/api/why")
    async def why(pair: PairName = None, at: At = None, offset_minutes: Offset = 0) -> Response:
        return answer(await page.why(page.pair(pair), at, offset_minutes))

    @app.get("/api/stream")
    async def stream(request: Request, pair: PairName = None) -> Response:
        name = page.pair(pair)
        if page.broadcaster.full():
            return failed(f"{page.broadcaster.clients} pages listen already; close one and reload", 503)
        headers = {"x-accel-buffering": "no"}
        return EventSourceResponse(page.broadcaster.stream(name, goes_on(request.scope, door)), headers=headers)


def _machines(app: FastAPI, page: Page) -> None:
    @app.get("/healthz")
    async def healthz() -> Response:
        found = page.checks()
        failing = {check.name: check.text for check in found if not check.ok}
        body = {"ok": not failing, "failing": failing, "checks": {check.name: check.text for check in found}}
        return answer(body, 503 if failing else 200)

    @app.get("/metrics")
    async def exposition() -> Response:
        text = metrics.exposition(
            page.state, page.totals(), page.history.known_ghosts, page.broadcaster.clients, page.clock.monotonic_ns()
        )
        return Response(text, headers={"content-type": metrics.CONTENT_TYPE})


def _control(app: FastAPI, operating: Operating) -> None:
    desk = operating.desk

    @app.post("/api/control")
    async def control(request: Request) -> Response:
        if not operating.door.locked:
            return failed(CONTROL_REFUSED, 403, setting="DASHBOARD_PASSWORD")
        try:
            command = command_of(await small_body(request), desk.stages)
        except BadCommand as error:
            return failed(str(error), 400)
        found = await desk.carry_out(command, request.scope[WHO])
        made = answer(found.body, found.status)
        if found.ends_us:
            made.background = BackgroundTask(operating.end)
        return made
