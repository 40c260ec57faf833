"""CoinDCX's public stream: Socket.IO over a websocket, JSON inside JSON, joins that nobody answers.

Only `{pair}@trades` is played; every other channel is silent for ever, as an unknown one is at the venue.
"""

import asyncio
import itertools
import logging
import secrets
from functools import partial

from starlette.websockets import WebSocket, WebSocketDisconnect

from sandbox.faces.engineio import (
    PING_INTERVAL_MS,
    PING_TIMEOUT_MS,
    Action,
    Close,
    Connected,
    Event,
    Pong,
    Send,
    Session,
)
from sandbox.hub import Client, Hub, Open
from sandbox.trades import Market, Rules, Trades, text_of

CONNECT_DELAY_S = 0.3  # between the client's `40` and our answer
EIO3_GOODBYE_S = 0.5  # an EIO=3 client that sends `40` is cut so much later
DECIMALS = 8  # prices and quantities are told with at least so many decimals
CHANNELS_MOST = 2_000  # on one socket

_FRAME = (
    '42["new-trade",{"event":"new-trade","data":"{\\"T\\":%d,\\"p\\":\\"%s\\",\\"q\\":\\"%s\\",\\"m\\":%d,'
    '\\"s\\":\\"%s\\",\\"pr\\":\\"spot\\"}"}]'
)


def trade_frames(rules: Rules, trades: Trades) -> list[str]:
    """One frame a trade; `m` says that the buyer was the maker, so 1 for a sale by the taker."""
    pair, p_digits, q_digits = rules.pair, rules.price_digits, rules.quantity_digits
    return [
        _FRAME % (ts_ms, text_of(ticks, p_digits, DECIMALS), text_of(units, q_digits, DECIMALS), sell, pair)
        for ts_ms, ticks, units, sell in zip(
            trades.ts_ms.tolist(), trades.ticks.tolist(), trades.units.tolist(), trades.sell.tolist(), strict=True
        )
    ]


class Stream:
    """All sockets of the face."""

    def __init__(self, market: Market, hub: Hub, log: logging.Logger) -> None:
        self._channels = {f"{pair}@trades": pair for pair in market.rules}
        self._hub = hub
        self._log = log
        self._numbers = itertools.count(1)

    async def serve(self, websocket: WebSocket) -> None:
        """One socket, from its handshake to its end."""
        await websocket.accept()
        version = 3 if websocket.query_params.get("EIO") == "3" else 4
        session = Session(version, secrets.token_urlsafe(15), secrets.token_urlsafe(15))
        await _Socket(self, websocket, session, next(self._numbers)).run()

    def ping_s(self) -> tuple[float, float]:
        """(ping interval, ping time-out) in seconds."""
        return PING_INTERVAL_MS / 1000.0, PING_TIMEOUT_MS / 1000.0

    def join(self, channel: str, client: Client) -> None:
        if channel in self._channels:
            self._hub.join(self._channels[channel], client)

    def leave(self, channel: str, client: Client) -> None:
        if channel in self._channels:
            self._hub.leave(self._channels[channel], client)

    def gone(self, client: Client) -> None:
        self._hub.leave_all(client)

    def say(self, number: int, text: str) -> None:
        self._log.info("client %d: %s", number, text)


class _Socket:
    """One connection: a reader, a writer and a pinger; the first of them to end ends all three."""

    def __init__(self, stream: Stream, websocket: WebSocket, session: Session, number: int) -> None:
        self._stream = stream
        self._websocket = websocket
        self._session = session
        self._number = number
        self._client = Client()
        self._joined: set[str] = set()
        self._alive = asyncio.Event()
        self._reason = "the client went away"

    async def run(self) -> None:
        for text in self._session.opening():
            await self._websocket.send_text(text)
        tasks = [asyncio.ensure_future(work()) for work in (self._read, self._write, self._ping)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except WebSocketDisconnect:
            pass
        finally:
            self._stream.gone(self._client)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close()
        self._stream.say(self._number, f"closed, {self._reason}")

    async def _read(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            for action in self._session.receive(text) if text else [Close("a binary or empty packet")]:
                if isinstance(action, Close):
                    self._reason = action.reason
                    if self._session.version == 3:
                        await asyncio.sleep(EIO3_GOODBYE_S)
                    return
                await self._act(action)

    async def _act(self, action: Action) -> None:
        if isinstance(action, Send):
            self._client.offer([action.text])
        elif isinstance(action, Pong):
            self._alive.set()
        elif isinstance(action, Connected):
            asyncio.get_running_loop().call_later(CONNECT_DELAY_S, self._connected, action.text)
        elif isinstance(action, Event):
            self._event(action)

    def _connected(self, text: str) -> None:
        self._session.was_connected()
        self._client.offer([text])

    def _event(self, event: Event) -> None:
        """Joins and leaves; every other event, the venue's own `ping` among them, is taken without a word."""
        argument = event.argument
        channel = argument.get("channelName") if isinstance(argument, dict) else None
        if not isinstance(channel, str):
            return
        if event.name == "join" and len(self._joined) < CHANNELS_MOST:
            if channel not in self._joined:
                self._joined.add(channel)
                self._stream.join(channel, self._client)
        elif event.name == "leave" and channel in self._joined:
            self._joined.discard(channel)
            self._stream.leave(channel, self._client)

    async def _write(self) -> None:
        while True:
            text = await self._client.take()
            if text is None:
                self._reason = "it was too slow"
                return
            await self._websocket.send_text(text)

    async def _ping(self) -> None:
        """Version 4: pings and waits for the answer. Version 3: waits for the client's ping."""
        interval_s, timeout_s = self._stream.ping_s()
        while True:
            if self._session.version == 3:
                await self._heard(interval_s + timeout_s)
            else:
                await asyncio.sleep(interval_s)
                self._alive.clear()
                self._client.offer(["2"])
                await self._heard(timeout_s)
            if not self._alive.is_set():
                self._reason = "it answered no ping"
                return
            self._alive.clear()

    async def _heard(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._alive.wait(), seconds)
        except TimeoutError:
            return

    async def _close(self) -> None:
        try:
            await self._websocket.close()
        except (RuntimeError, WebSocketDisconnect):
            return  # it is closed already


def opener(market: Market) -> Open:
    """How the hub turns trades into this face's frames; a channel is named as its pair."""
    rules = market.rules
    return lambda pair, now_ms: (pair, partial(trade_frames, rules[pair]))
