"""Hands trades to the clients that joined their market, each at its time and in order.

One timer drives all markets and looks at those alone that have something to tell. A client has a bounded queue; while
one is half full the market's clock is held, which slows recorded time down to what the client takes and has no effect
on real time. A client whose queue is full is cut off.
"""

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable
from typing import Protocol

from core.loop import Cancellable
from sandbox.clock import MarketClock
from sandbox.trades import Market, Trades, no_trades

QUEUE_MOST = 20_000  # messages waiting for one client
FRAMES_MOST = 256  # written to a client in one piece
SLICE_S = 0.010  # shortest time between two deliveries at more than 1x
SLICE_REAL_S = 0.002
IDLE_S = 1.0
PATIENCE_S = 10.0  # a client that takes nothing for so long while the market waits for it is cut off
AHEAD_S = 8.0  # how much of the market is prepared at a time, in seconds of wall time

Encode = Callable[[Trades], list[str]]  # trades as the frames of a channel
# (name of a channel, now in market ms): the market whose trades it tells, and what makes its frames. That is handed
# every later trade, once and in order, whole milliseconds at a time; so it may count them.
Open = Callable[[str, int], tuple[str, Encode]]


class Timers(Protocol):
    """What calls us back; in a stage `core.aloop.AsyncLoop`, where a callback that fails ends the stage."""

    def call_later(self, seconds: float, callback: Callable[[], None], /) -> Cancellable: ...


class Client:
    """One connected socket: the messages that wait for it, and whether it was cut off."""

    def __init__(self, most: int = QUEUE_MOST) -> None:
        self._waiting: deque[str] = deque()
        self._most = most
        self._there = asyncio.Event()
        self.cut_off = False
        self.took_at = asyncio.get_running_loop().time()

    @property
    def backlog(self) -> float:
        """How full the queue is, 0 to 1."""
        return len(self._waiting) / self._most

    def offer(self, messages: list[str]) -> None:
        """Puts messages into the queue; a client whose queue has no room for them is cut off."""
        if len(self._waiting) + len(messages) > self._most:
            self.cut()
        elif not self.cut_off:
            self._waiting.extend(messages)
            self._there.set()

    def cut(self) -> None:
        self.cut_off = True
        self._waiting.clear()
        self._there.set()

    async def take_many(self, most: int) -> list[str]:
        """The next messages, as many as wait and at most so many; none once the client was cut off."""
        while not self._waiting:
            if self.cut_off:
                return []
            self._there.clear()
            await self._there.wait()
        self.took_at = asyncio.get_running_loop().time()
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]


class _Channel:
    """One market's trades on their way: prepared up to `until_ms`, told up to `place` of them.

    `from_ms` is when it was opened, `number` the how many-th it is.
    """

    def __init__(self, pair: str, encode: Encode, now_ms: int, number: int) -> None:
        self.pair = pair
        self.encode = encode
        self.from_ms = now_ms
        self.number = number
        self.clients: set[Client] = set()
        self.prepared = no_trades()
        self.place = 0
        self.until_ms = now_ms  # everything with a time <= this is prepared or told


class Hub:
    """The channels of one market source; each is named as its face likes and tells the trades of one market.

    `on_start` is called when a join starts the market, `on_held` when it goes on after it was held.
    """

    def __init__(
        self,
        market: Market,
        clock: MarketClock,
        open_channel: Open,
        timers: Timers | None = None,
        on_start: Callable[[], None] | None = None,
        on_held: Callable[[], None] | None = None,
    ) -> None:
        self._market = market
        self._clock = clock
        self._open = open_channel
        self._timers: Timers = timers or asyncio.get_running_loop()
        self._on_start = on_start
        self._on_held = on_held
        self._channels: dict[str, _Channel] = {}
        self._due: list[tuple[int, int, str]] = []  # (when, number, name) of each channel, the next first
        self._numbers = itertools.count()
        self._told_ms = 0  # whatever no channel is due for before now has been told
        self._timer: Cancellable | None = None
        self._held = False
        self.told = 0  # trades told so far

    def join(self, name: str, client: Client) -> int:
        """Every trade with a time after the returned one (ms) goes to the client; a second join changes nothing.

        The face's `open_channel` must know the name.
        """
        now_ms = self._clock.now_ms()  # before the start: `on_start` may write to a disk, and time runs meanwhile
        if self._clock.join() and self._on_start is not None:
            self._on_start()
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel(*self._open(name, now_ms), now_ms, next(self._numbers))
            heapq.heappush(self._due, (now_ms, channel.number, name))
        channel.clients.add(client)
        self._again(0.0)
        return max(channel.from_ms, self._told_ms)

    def leave(self, name: str, client: Client) -> None:
        channel = self._channels.get(name)
        if channel is not None:
            channel.clients.discard(client)
            if not channel.clients:
                del self._channels[name]

    def leave_all(self, client: Client) -> None:
        for name in list(self._channels):
            self.leave(name, client)

    def told_ms(self, name: str) -> int | None:
        """Up to when the channel's trades have been told; None where nobody listens."""
        channel = self._channels.get(name)
        return None if channel is None else max(channel.from_ms, self._told_ms)

    def say(self, name: str, messages: list[str]) -> None:
        """Something on a channel that is no trade."""
        channel = self._channels.get(name)
        for client in channel.clients if channel is not None else ():
            client.offer(messages)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Cancellable:
        """A timer as the hub's own are."""
        return self._timers.call_later(seconds, callback)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._channels.clear()
        self._due.clear()

    def _again(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timers.call_later(delay, self._tell)

    def _tell(self) -> None:
        """Tells what is due and sets the timer for what comes next."""
        self._timer = None
        if not self._channels:
            self._due.clear()
            return
        if self._waits_for_clients():
            self._again(SLICE_S)
            return
        now_ms = self._clock.now_ms()
        while self._due and self._due[0][0] <= now_ms:
            _, number, name = heapq.heappop(self._due)
            channel = self._channels.get(name)
            if channel is not None and channel.number == number:
                self._tell_channel(channel, now_ms)
                heapq.heappush(self._due, (self._due_of(channel), number, name))
        self._told_ms = max(self._told_ms, now_ms)
        speed = self._clock.speed
        delay = (self._due[0][0] - self._clock.now_ms()) / 1000.0 / speed if self._due else IDLE_S
        self._again(min(IDLE_S, max(delay, SLICE_REAL_S if speed == 1.0 else SLICE_S)))

    def _waits_for_clients(self) -> bool:
        """Whether the market has to stand still for a slow client; only recorded time can."""
        if self._clock.speed == 1.0:
            return False
        clients = {client for channel in self._channels.values() for client in channel.clients}
        full = max((client.backlog for client in clients), default=0.0)
        if full >= 0.5 and not self._held:
            self._clock.hold()
            self._held = True
        elif self._held and full < 0.1:
            self._clock.release()
            self._held = False
            if self._on_held is not None:
                self._on_held()
        if self._held:
            too_old = asyncio.get_running_loop().time() - PATIENCE_S
            for client in clients:
                if client.backlog >= 0.1 and client.took_at < too_old:
                    client.cut()
        return self._held

    def _tell_channel(self, channel: _Channel, now_ms: int) -> None:
        while True:
            due = channel.prepared.ts_ms[channel.place :].searchsorted(now_ms, "right")
            stop = channel.place + int(due)
            if stop > channel.place:
                messages = channel.encode(channel.prepared.slice(channel.place, stop))
                self.told += stop - channel.place
                for client in channel.clients:
                    client.offer(messages)
                channel.place = stop
            if channel.place < len(channel.prepared) or channel.until_ms > now_ms:
                return
            # Not all channels prepare in the same moment: their spans differ in length.
            ahead_ms = int((AHEAD_S + 0.37 * (channel.number % 11)) * 1000.0 * self._clock.speed)
            until_ms = now_ms + ahead_ms
            channel.prepared = self._market.span(channel.pair, channel.until_ms + 1, until_ms + 1)
            channel.place = 0
            channel.until_ms = until_ms

    @staticmethod
    def _due_of(channel: _Channel) -> int:
        """When the channel has to be looked at again."""
        if channel.place < len(channel.prepared):
            return int(channel.prepared.ts_ms[channel.place])
        return channel.until_ms + 1
