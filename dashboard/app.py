"""The dashboard as a stage: bus in, HTTP out, in one asyncio loop."""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anyio.to_thread
import uvicorn

from bus.control import ask
from bus.guard import Guard
from bus.layouts import layout_hash
from bus.messages import Event, Reply
from bus.notices import Notice
from bus.publisher import open_publisher
from bus.subscriber import look_seconds, open_subscriber
from core.aloop import AsyncLoop
from core.errors import BotError, MisconfiguredError
from core.failures import LOOK_SECONDS, Failures
from core.paths import WATCHDOG, programs
from core.settings import Settings, shared_hash
from core.settings_check import exposure
from core.stage import Context
from core.supervisor import Supervisor
from dashboard import why
from dashboard.books import DATABASE, left_open
from dashboard.control import Desk
from dashboard.door import Door
from dashboard.feed import Feed, topics_of
from dashboard.history import History, HistoryError
from dashboard.keyfile import new_key, read_key
from dashboard.listen import open_socket
from dashboard.page import Pace, Page
from dashboard.recovery import KEPT
from dashboard.routes import Operating, create_app
from dashboard.sessions import KEY_BYTES
from dashboard.state import COMMANDS, LOGS, Config, PageState
from dashboard.stream import GAP_SECONDS, SHOW_SECONDS
from dashboard.why import Lookback
from storage.queries import History as Database

GRACE_S = 1  # for answers under way when told to stop; open streams end at once
FILE_THREADS = 2  # for reading static files
HISTORY_SECONDS = 5.0
TICK_SECONDS = 1.0
PROXIES = ("127.0.0.1", "::1")  # whose word is believed on where a request came from, and that it came by https


class Server(uvicorn.Server):
    """uvicorn whose signals are the stage's business, and that wakes once a second in place of ten times."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ended = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        """Until `end`; the Date of answers is renewed each second."""
        while not await self.on_tick(0):  # at each multiple of ten it renews the Date
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._ended.wait()

    def end(self) -> None:
        """Stops serving: streams first, connections after."""
        self.should_exit = True
        self._ended.set()


def page_config(settings: Settings, book: str) -> Config:
    """What the settings say that the page shows."""
    return Config(
        bot=settings.bot_name,
        venue=settings.venue,
        book=book,
        live=not settings.simulation_mode,
        pairs=settings.pairs,
        timeframe=settings.timeframe,
        timeframe_ms=settings.timeframe_ms,
        stale_seconds=settings.stale_seconds,
        rsi_kind=settings.rsi_smoothing,
        rsi_period=settings.rsi_period,
        rsi_buy=settings.rsi_buy,
        rsi_sell=settings.rsi_sell,
        rsi_crash=settings.rsi_crash,
        bb_period=settings.bb_period,
        bb_stddev=settings.bb_stddev,
        trailing_stop_pct=settings.trailing_stop_pct,
        settings_hash=shared_hash(settings),
        layout_hash=layout_hash(),
    )


def lookback(book: Path) -> Lookback:
    """Reads the book's tape; loaded when somebody asks, as numpy takes 15 MB that the page does not need otherwise."""
    from indicators.lookback import Lookback as OfTape

    return OfTape(book)


async def main(context: Context) -> None:
    """Runs until told to stop."""
    settings = context.settings
    problems = [text for _, text in exposure(settings)]
    if problems:
        raise MisconfiguredError("\n".join(problems))
    sock = open_socket(settings.host, settings.port)
    context.on_stop(sock.close)
    database = Database(context.book_dir / DATABASE)
    history = History(database)
    context.on_stop(history.close)
    desk = why.Desk(database, lambda: lookback(context.book_dir))
    context.on_stop(desk.close)
    page = Page(PageState(page_config(settings, context.book_dir.name)), history, context.clock, desk)
    publisher = open_publisher(
        context,
        page.state.config.layout_hash,
        lambda: {"clients": page.broadcaster.clients, "port": settings.port},
        "change_to_page",
    )
    await _recall(context, page)
    await _other_books(context, page)
    show = partial(page.show, publisher.latency.record)
    pace = Pace(context.loop, context.clock, show, GAP_SECONDS, SHOW_SECONDS, lambda: page.broadcaster.clients)
    page.broadcaster.joined = pace.changed
    _follow(context, page, pace, await _trader_cursor(database))
    _watch_failures(context, page)
    await _serve(context, page, sock)


async def _recall(context: Context, page: Page) -> None:
    """Events and sums from before this start; a database that cannot be read is told, and the page goes on."""
    try:
        await page.history.refresh_totals()
        rows = await page.history.events(LOGS)
        page.state.fold_old_events(Event(r["stage"], r["level"], r["message"], r["time"]) for r in rows)
        for r in await page.history.commands(COMMANDS):
            page.state.fold_command(Event(r["stage"], r["level"], r["message"], r["time"]))
        for row in await page.history.checks(KEPT):
            page.state.recovery.fold_row(row)
        for row in await page.history.gaps(LOGS):
            page.state.fold_stored_gap(row)
    except HistoryError as error:
        context.event("warn", str(error))


async def _other_books(context: Context, page: Page) -> None:
    """Names, once at start, the books that still hold something."""
    page.state.left_open = await asyncio.to_thread(left_open, context.book_dir.parent, context.book_dir.name)
    for book in page.state.left_open:
        context.event("warn", f"another book was left with an open position: {book}")


def _watch_failures(context: Context, page: Page) -> None:
    """Shows which programs are down or keep dying; tells of the watchdog, which tells of all others."""
    failures = Failures(context.run_dir, programs(context.settings), context.clock)
    page.state.down, page.state.crash_loops = failures.down, failures.failing

    def look() -> None:
        for news in failures.look():
            if news.name == WATCHDOG:
                context.event(news.level, news.text)

    context.loop.every(LOOK_SECONDS, look)


async def _trader_cursor(database: Database) -> tuple[int, int] | None:
    try:
        return await asyncio.to_thread(database.cursor)
    except Exception:  # noqa: BLE001 - without a cursor the whole journal is replayed, which is right as well
        return None


def _follow(context: Context, page: Page, pace: Pace, trader_cursor: tuple[int, int] | None) -> None:
    feed = Feed(page.state, context.clock, lambda text: context.log.warning("%s", text), pace.changed)
    for stage in page.state.stages:
        topics = topics_of(stage, trader_cursor)
        handler, layout = feed.handler(stage), page.state.config.layout_hash
        open_subscriber(context, stage, topics, handler, layout, look_s=look_seconds(stage))
    guard = Guard(context, (WATCHDOG,))

    def take_watchdog(notices: list[Notice]) -> None:
        guard.take(notices)
        feed.take(WATCHDOG, notices)

    topics = topics_of(WATCHDOG, None)
    open_subscriber(
        context, WATCHDOG, topics, take_watchdog, page.state.config.layout_hash, look_s=look_seconds(WATCHDOG)
    )


def operating(context: Context) -> Operating:
    """The door with its key, and the desk before trader and supervisord."""
    settings, clock = context.settings, context.clock

    def tell_from_thread(level: str, text: str) -> None:
        context.loop.call_threadsafe(lambda: context.event(level, text))

    def another_key() -> bytes:
        key, problem = new_key(context.var_dir)
        if problem:
            context.event("warn", f"{problem}: sessions end, or come back, with a restart of the dashboard")
        return key

    def ask_trader(action: str, reason: str, *, id: str, expires_wall_ms: int, timeout_s: float) -> Reply:
        return ask(
            context.run_dir,
            "trader",
            action,
            {"reason": reason},
            timeout_s=timeout_s,
            request_id=id,
            expires_wall_ms=expires_wall_ms,
            clock=clock,
        )

    if settings.dashboard_password:
        key = read_key(context.var_dir) or another_key()
    else:
        key = secrets.token_bytes(KEY_BYTES)  # there are no sessions, and nothing is kept
    # Cookies know no ports: two bots of one machine would log each other out.
    name = f"scalp_{settings.port}"
    door = Door(settings.dashboard_password, settings.dashboard_token, key, another_key, clock, name)
    supervisor = Supervisor(context.run_dir, clock)
    desk = Desk(ask_trader, supervisor, programs(settings), clock, tell_from_thread, os.getpid())
    context.on_stop(desk.close)
    return Operating(door, desk, context.event, context.loop.stop)


async def _serve(context: Context, page: Page, sock: socket.socket) -> None:
    """HTTP until the stage is told to stop; then streams end first, so that nothing is waited for."""
    settings = context.settings
    anyio.to_thread.current_default_thread_limiter().total_tokens = FILE_THREADS
    app = create_app(page, socket.gethostname(), settings.allowed_hosts, operating(context))
    server = Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            forwarded_allow_ips=list(PROXIES),
            timeout_graceful_shutdown=GRACE_S,
            timeout_keep_alive=15,
            limit_concurrency=200,
        )
    )
    totals = asyncio.ensure_future(page.keep_totals_fresh(HISTORY_SECONDS, lambda e: context.log.warning("%s", e)))
    serving = asyncio.ensure_future(server.serve(sockets=[sock]))
    context.event("start", f"page at http://{_shown(settings.host)}:{settings.port}, book {page.state.config.book}")
    assert isinstance(context.loop, AsyncLoop)
    stopped = asyncio.ensure_future(context.loop.wait_stopped())
    try:
        await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        totals.cancel()
        page.broadcaster.close()
        server.end()
        await serving
    if not stopped.done():
        stopped.cancel()
        raise BotError("the web server ended by itself")
    stopped.result()


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
