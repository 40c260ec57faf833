"""One websocket of Binance's: who may connect, how long it lives, how fast its client may speak.

* A connection is cut `life_s` after it was made; `warning_s` before that it is told `serverShutdown`.
* More than `messages_per_s` messages in a second cut it off. (Here JSON alone counts: ping and pong frames are the
  server's own business. It sends a ping frame every 20 s and cuts off who has not answered within 60 s.)
* An address may connect `attempts_most` times in five minutes.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from starlette.websockets import WebSocket, WebSocketDisconnect

from core.clock import Clock
from sandbox.hub import FRAMES_MOST, Client

PING_S, PONG_S = 20.0, 60.0
ATTEMPTS_WINDOW_NS = 300 * 1_000_000_000
ADDRESSES_MOST = 1000
POLICY_VIOLATION, GOING_AWAY = 1008, 1001


class Manners(NamedTuple):
    """The times and bounds of a connection."""

    life_s: float = 86_400.0
    warning_s: float = 600.0
    messages_per_s: int = 5
    streams_most: int = 1024
    attempts_most: int = 300


class Attempts:
    """Counts connections by address."""

    def __init__(self, most: int, clock: Clock) -> None:
        self._most = most
        self._clock = clock
        self._made: dict[str, deque[int]] = {}

    def allowed(self, address: str) -> bool:
        now_ns = self._clock.monotonic_ns()
        if len(self._made) >= ADDRESSES_MOST:
            self._made.clear()
        made = self._made.setdefault(address, deque())
        while made and now_ns - made[0] > ATTEMPTS_WINDOW_NS:
            made.popleft()
        if len(made) >= self._most:
            return False
        made.append(now_ns)
        return True


class Hurry(Exception):
    """The client broke a rule that costs it the connection."""


class Link:
    """One connection: a reader, a writer and its age; the first of them to end ends all three."""

    numbers = itertools.count(1)

    def __init__(self, websocket: WebSocket, manners: Manners, log: logging.Logger) -> None:
        self._websocket = websocket
        self._manners = manners
        self._log = log
        self._heard: deque[float] = deque()
        self.client = Client()
        self.address = websocket.client.host if websocket.client else ""
        self.number = next(self.numbers)

    def send(self, text: str) -> None:
        self.client.offer([text])

    async def run(self, hear: Callable[[str], Awaitable[None]], shutdown: Callable[[], str]) -> None:
        """Until it ends. hear: takes what the client says, may raise Hurry; shutdown: the words of the warning."""
        code, reason = 1000, "the client went away"
        works = (self._read(hear), self._write(), self._age(shutdown))
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                code, reason = task.result()
        except Hurry as error:
            code, reason = POLICY_VIOLATION, str(error)
        except WebSocketDisconnect:
            pass
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close(code, reason)
        self._log.info("client %d: closed, %s", self.number, reason)

    async def _read(self, hear: Callable[[str], Awaitable[None]]) -> tuple[int, str]:
        now = asyncio.get_running_loop().time
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return 1000, "the client went away"
            while self._heard and now() - self._heard[0] >= 1.0:
                self._heard.popleft()
            self._heard.append(now())
            if len(self._heard) > self._manners.messages_per_s:
                raise Hurry("Too many requests")
            text = message.get("text")
            if text is None:
                raise Hurry("Unsupported data")
            await hear(text)

    async def _write(self) -> tuple[int, str]:
        while True:
            texts = await self.client.take_many(FRAMES_MOST)
            if not texts:
                return POLICY_VIOLATION, "it was too slow"
            await self._websocket.send({"type": "websocket.send", "texts": texts})

    async def _age(self, shutdown: Callable[[], str]) -> tuple[int, str]:
        warning_s = min(self._manners.warning_s, self._manners.life_s)
        await asyncio.sleep(self._manners.life_s - warning_s)
        self.send(shutdown())
        await asyncio.sleep(warning_s)
        return GOING_AWAY, "it had lived its time"

    async def _close(self, code: int, reason: str) -> None:
        try:
            await self._websocket.close(code, reason)
        except (RuntimeError, WebSocketDisconnect):
            return  # it is closed already
