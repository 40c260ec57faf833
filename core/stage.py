"""What a stage is: settings, log, lock, loop, and an exit code that supervisord understands.

0 stopped because it was told to · 1 crashed, starts again · 2 only a person can mend it · 3 the settings do not
call for it. `run` drives a blocking stage, `run_async` one over asyncio; both end the process.
"""

import asyncio
import contextlib
import importlib
import inspect
import logging
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn, cast

from core import logs, paths
from core.aloop import AsyncLoop
from core.books import open_book
from core.clock import Clock, LiveClock, sleep
from core.errors import BotError, MisconfiguredError, NotCalledFor
from core.huge_pages import gather_when_settled
from core.lock import UNCOUNTED_WAIT_S, StageLock
from core.loop import STOP_SIGNALS, Loop, PollLoop
from core.memory import collect_when_settled, share_one_heap
from core.parent import stop_without_supervisord
from core.placement import keep_placed
from core.settings import Settings
from core.settings_load import SUPERVISED, environment, for_stage, var_dir_only
from core.slices import ask_for_short_slice

EXIT_CLEAN, EXIT_CRASH, EXIT_MISCONFIGURED, EXIT_NOT_CALLED_FOR = 0, 1, 2, 3
CANCEL_GRACE_S = 1.0
STOP_GRACE_S = 3.0  # a main coroutine that awaits the stop gets this long to end in its own order
_EVENT_LEVELS = {"warn": logging.WARNING, "error": logging.ERROR, "halt": logging.ERROR}


class Context:
    """What a stage is given. `loop` is the driver; `publish_event` is set once the stage has a publisher."""

    def __init__(self, name: str, settings: Settings, clock: Clock, log: logging.Logger) -> None:
        self.name = name
        self.settings = settings
        self.clock = clock
        self.log = log
        self.var_dir = paths.var_dir(settings)
        self.run_dir = paths.run_dir(self.var_dir)
        self.book_dir: Path = paths.book_dir(settings)
        self.loop: Loop
        self.started_ms = clock.wall_ms()
        self.restarts = 0
        self.found = ""  # how the stage's last life ended, where that was not on demand
        self.begins_to_beat: Callable[[], object] = lambda: None  # called once the stage can be heard
        self.publish_event: Callable[[str, str, str], object] | None = None
        self.let_out: Callable[[], object] = lambda: None  # called last: what was sent leaves before the process ends
        self._on_stop: list[Callable[[], object]] = []

    def event(self, level: str, text: str, pair: str = "") -> None:
        """Tells people: in the log, and on the bus where the stage has a publisher.

        Levels: start, info, warn, error, entry, exit, refusal, halt.
        """
        self.log.log(_EVENT_LEVELS.get(level, logging.INFO), "%s", f"{pair}: {text}" if pair else text)
        if self.publish_event is not None:
            self.publish_event(level, text, pair)

    def on_stop(self, callback: Callable[[], object]) -> None:
        """Has `callback` (plain or async) called when the stage ends, the last one added first."""
        self._on_stop.append(callback)

    async def close_async(self) -> None:
        """Calls what was added by `on_stop`; one that fails does not keep the others from running."""
        while self._on_stop:
            try:
                result = self._on_stop.pop()()
                if inspect.isawaitable(result):
                    await result
            except Exception:
                self.log.exception("closing failed")

    def close(self) -> None:
        """As `close_async`, for stages without asyncio."""
        while self._on_stop:
            try:
                self._on_stop.pop()()
            except Exception:
                self.log.exception("closing failed")


def later(module: str, name: str) -> Callable[[Context], Any]:
    """A function of a module that is imported when it is called.

    A stage is imported once it holds its lock: one that cannot be imported is then slowed down and told of as any other
    that dies at once.
    """
    return lambda context: getattr(importlib.import_module(module), name)(context)


def run(
    name: str,
    build: Callable[[Context], None],
    settings: Settings | None = None,
    may_begin: Callable[[Context], object] = lambda context: None,
) -> NoReturn:
    """Runs a blocking stage: `build` wires it to `context.loop`, then the loop runs until TERM. Ends the process.

    `may_begin` is asked before a book is opened, and raises MisconfiguredError where the stage must not run.
    """
    _end(_guarded(name, lambda context, lock: _drive(context, lock, build), settings, may_begin))


def run_async(name: str, main: Callable[[Context], Awaitable[None]], settings: Settings | None = None) -> NoReturn:
    """Runs a stage over asyncio: at TERM `main` is cancelled, or ends by itself if it awaits `loop.wait_stopped()`."""
    _end(_guarded(name, lambda context, lock: _in_asyncio(_drive_async(context, lock, main)), settings, lambda _: None))


def _end(code: int) -> NoReturn:
    """Ends the process without the interpreter's own tidying.

    Everything of ours is closed by now. What is left could only hold us up: a thread that waits for a venue's answer,
    or seconds of taking compiled kernels apart.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _in_asyncio(work: Coroutine[Any, Any, None]) -> None:
    """As asyncio.run, but without waiting for threads of the default executor."""
    loop = asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(work)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=CANCEL_GRACE_S))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()


def _guarded(
    name: str,
    drive: Callable[[Context, StageLock], None],
    settings: Settings | None,
    may_begin: Callable[[Context], object],
) -> int:
    """Everything around the loop; returns the exit code."""
    os.umask(0o077)
    # A core file would hold the venue's keys and the page's password.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if name in paths.HOT_PATH:
        ask_for_short_slice()  # before there are other threads: they inherit it
    share_one_heap()  # and so here: a thread keeps the heap it has
    clock = LiveClock()
    log = logs.setup(name, "info")
    lock: StageLock | None = None
    try:
        try:
            settings = settings or for_stage()
        except MisconfiguredError:
            lock = _lock_without_settings(name, clock)
            raise
        log = logs.setup(name, settings.log_level, settings.secrets)
        context = Context(name, settings, clock, log)
        lock = StageLock(context.run_dir, name, clock)
        wait_s = lock.acquire()
        context.restarts, context.found = lock.restarts, lock.found
        context.begins_to_beat = lock.begins_to_beat
        if wait_s and not _waited(context, lock, wait_s):
            return EXIT_CLEAN
        may_begin(context)
        lock.began()
        context.book_dir = open_book(settings)
        drive(context, lock)
    except MisconfiguredError as error:
        log.error("%s", error)
        _remember(lock, str(error), for_good=True)
        return EXIT_MISCONFIGURED
    except NotCalledFor as error:
        log.info("%s", error)
        return EXIT_NOT_CALLED_FOR
    except KeyboardInterrupt:
        return EXIT_CLEAN
    except Exception as error:
        log.exception("%s crashed: %s: %s", name, type(error).__name__, error)
        _remember(lock, f"{type(error).__name__}: {error}")
        if lock is None:
            sleep(UNCOUNTED_WAIT_S)  # nobody counts this death
        return EXIT_CRASH
    finally:
        if lock is not None:
            lock.release()
        for handler in logging.getLogger().handlers:
            handler.close()
    return EXIT_CLEAN


def _lock_without_settings(name: str, clock: Clock) -> StageLock | None:
    """The lock of a supervised stage without settings, to leave word of why; None where it cannot be had."""
    if environment(SUPERVISED) is None:
        return None
    with contextlib.suppress(BotError):
        lock = StageLock(paths.run_dir(var_dir_only()), name, clock)
        lock.acquire()
        return lock
    return None


def _remember(lock: StageLock | None, why: str, *, for_good: bool = False) -> None:
    if lock is not None:
        lock.failed(logs.masked(why), for_good=for_good)


def _waited(context: Context, lock: StageLock, wait_s: float) -> bool:
    """Waits after quick deaths while still answering TERM; False where it was told to stop."""
    loop = PollLoop(context.clock)
    over: list[bool] = []

    def done() -> None:
        over.append(True)
        loop.stop()

    loop.call_later(wait_s, done)
    stop_without_supervisord(context, loop)
    try:
        with _signals(loop.stop):
            deaths = lock.record.quick_deaths
            why = f"died {deaths} times within 10 s of its start" if deaths else f"cannot write to {context.run_dir}"
            context.log.warning("%s: waits %g s before it tries again", why, wait_s)
            loop.run()
    finally:
        loop.close()
    return bool(over)


def _drive(context: Context, lock: StageLock, build: Callable[[Context], None]) -> None:
    loop = PollLoop(context.clock, in_pauses=context.name in paths.HOT_PATH)
    context.loop = loop
    try:
        with _signals(loop.stop):
            try:
                build(context)
                loop.every(10.0, logs.flush_repeats)
                collect_when_settled(loop)
                gather_when_settled(loop)
                _place(context)
                stop_without_supervisord(context, loop)
                loop.run()
            finally:
                context.close()
                context.let_out()
    finally:
        loop.close()
    lock.ended_clean()


def _place(context: Context) -> None:
    if context.name not in ("sandbox", paths.GUARDIAN):  # the first is the venue, the other waits for nobody
        keep_placed(context.loop, context.clock, together=context.name in paths.HOT_PATH)


async def _drive_async(context: Context, lock: StageLock, main: Callable[[Context], Awaitable[None]]) -> None:
    loop = AsyncLoop()
    context.loop = loop
    for number in STOP_SIGNALS:
        loop.inner.add_signal_handler(number, loop.stop)
    loop.every(10.0, logs.flush_repeats)
    collect_when_settled(loop)
    gather_when_settled(loop)
    _place(context)
    stop_without_supervisord(context, loop)
    work = asyncio.ensure_future(cast("Coroutine[Any, Any, None]", main(context)))
    stop = asyncio.ensure_future(loop.until_stopped())
    try:
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done() and loop.waited_for:
            await asyncio.wait({work}, timeout=STOP_GRACE_S)
        if not work.done():
            work.cancel()
            await asyncio.wait({work}, timeout=CANCEL_GRACE_S)
        if work.done() and not work.cancelled():
            work.result()
        if not stop.done():
            stop.cancel()
        elif not stop.cancelled():
            stop.result()
    finally:
        await context.close_async()
        context.let_out()
    lock.ended_clean()


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Any:
    """TERM, INT and HUP call `stop` while inside."""
    before = {number: signal.signal(number, lambda *_: stop()) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
