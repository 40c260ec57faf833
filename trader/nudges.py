"""The account's stream as a nudge: what it tells of an order makes the broker ask over REST, and nothing more.

* Its own thread with an event loop of its own; the client of the stream is loaded when the first one is opened.
* News of an order nudges that order, a fill that names none of ours nudges all of them.
* After each (re)connection all are nudged: what happened meanwhile was told to nobody.
* A stream that cannot be had is tried again for ever, with a back-off that ends at LAST_S; it is told once, and told
  when it is there again. Orders are looked up by the courier all the same.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence

from trader.courier import Speak
from venues.account import Account, FillNews, News, OrderNews
from venues.errors import RateLimited, VenueError
from venues.venue import Notice, Rules

FIRST_S, LAST_S = 1.0, 60.0
CLOSE_S = 2.0  # for the last words on a stream


class Nudges:
    """`nudge(order id or '')` and `say(level, text)` are called on the thread of this stream."""

    def __init__(
        self,
        account: Account,
        rules: Callable[[], Sequence[Rules]],
        nudge: Callable[[str], object],
        say: Speak,
        first_s: float = FIRST_S,
    ) -> None:
        """`rules` gives the markets that are traded, and may block."""
        self._account = account
        self._rules = rules
        self._nudge = nudge
        self._say = say
        self._first_s = first_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._told = ""
        self.connected = False

    def start(self) -> None:
        """Starts the thread; nothing where the venue has no stream of the account."""
        if self._account.capabilities.stream:
            self._thread = threading.Thread(target=self._serve, name="nudges", daemon=True)
            self._thread.start()
            self._ready.wait()

    def close(self, timeout_s: float) -> None:
        """Ends the thread."""
        loop, task = self._loop, self._task
        if self._thread is None or loop is None or task is None:
            return
        if not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)
        self._thread.join(timeout_s)

    # --- its thread -------------------------------------------------------------------------------------

    def _serve(self) -> None:
        loop = self._loop = asyncio.new_event_loop()
        try:
            self._task = loop.create_task(self._listen())
            self._ready.set()
            loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            return
        except Exception as error:  # noqa: BLE001 (orders go on without it; a person is told)
            self._say("error", f"the account stream's reader died: {error!r}; orders are looked up without it")
        finally:
            self.connected = False
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def _listen(self) -> None:
        wait_s = self._first_s
        while True:
            try:
                await self._read()
            except VenueError as error:
                if self.connected:
                    wait_s = self._first_s
                self.connected = False
                if str(error) != self._told:
                    self._told = str(error)
                    self._say("warn", f"no account stream: {error}; orders are looked up without it")
                pause_s = max(wait_s, error.retry_after_s if isinstance(error, RateLimited) else 0.0)
                await asyncio.sleep(pause_s)
                wait_s = min(wait_s * 2, LAST_S)

    async def _read(self) -> None:
        """One connection until it is lost; always ends with an error."""
        rules = await asyncio.to_thread(self._rules)
        stream = await self._account.open_stream(rules)
        try:
            self.connected, self._told = True, ""
            self._say("info", "the account stream is there")
            self._nudge("")
            while True:
                for name in ids_in(await stream.read()):
                    self._nudge(name)
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await stream.close()


def ids_in(news: Sequence[News | Notice]) -> list[str]:
    """The orders that news tell of, each once, by our id or else by the venue's; '' for a fill of we know not which."""
    found: dict[str, None] = {}
    for item in news:
        if isinstance(item, OrderNews):
            found[item.client_order_id or item.venue_order_id] = None
        elif isinstance(item, FillNews):
            found[item.fill.client_order_id or item.fill.venue_order_id] = None
    return list(found)
