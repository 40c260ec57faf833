"""CoinDCX's stream: Socket.IO over a websocket, JSON inside JSON, joins that nobody answers.

Of the market `{pair}@trades` is played; of the account the channel `coindcx`, joined with a signature: a wrong one is
answered with packet 41 and the end of the socket, a missing one with silence. Every other channel is silent for ever,
as an unknown one is at the venue.
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from sandbox.exchange.orders import BalanceNews, News
from sandbox.faces import coindcx_words as words
from sandbox.faces.coindcx_private import price_told, signed
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
from sandbox.hub import FRAMES_MOST, Client, Hub, Open
from sandbox.place import Place
from sandbox.trades import Market, Rules, Trades, text_of

CONNECT_DELAY_S = 0.3  # between the client's `40` and our answer
GOODBYE_S = 0.1  # between packet 41 and the end
ACCOUNT = "coindcx"
SIGNED = b'{"channel":"coindcx"}'
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

    def __init__(self, place: Place, hub: Hub) -> None:
        self._channels = {f"{pair}@trades": pair for pair in place.market.rules}
        self._place = place
        self._hub = hub
        self._log = place.log
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

    def join_account(self, argument: dict[str, Any], client: Client) -> Callable[[], None] | None:
        """Has the account's news told to the client; what ends that.

        None where nothing was signed. Raises PermissionError where the key or the signature is wrong.
        """
        key, signature = argument.get("apiKey"), argument.get("authSignature")
        if not isinstance(key, str) or not isinstance(signature, str):
            return None
        secret = self._place.exchange.secret(key)
        if secret is None or not signed(secret, SIGNED, signature):
            raise PermissionError(key[:60])
        return self._place.exchange.listen(key, lambda news: client.offer(self._frames(news)))

    def _frames(self, news: News) -> list[str]:
        if isinstance(news, BalanceNews):
            return [words.event_frame("balance-update", words.balance_news_rows(news.balances))]
        order, rules = news.order, self._place.market.rules[news.order.pair]
        row = words.order_news_row(order, rules, price_told(self._place, order))
        frames = [words.event_frame("order-update", [row])]
        if news.fill is not None:
            frames.append(words.event_frame("trade-update", [words.fill_news_row(news.fill, order, rules)]))
        return frames

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
        self._leave_account: Callable[[], None] | None = None
        self._refused = False
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
            self._no_account()
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
                if self._refused:
                    self._reason = "its signature was wrong"
                    await asyncio.sleep(GOODBYE_S)
                    return

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
        if channel == ACCOUNT and isinstance(argument, dict):
            self._account(event.name, argument)
        elif event.name == "join" and len(self._joined) < CHANNELS_MOST:
            if channel not in self._joined:
                self._joined.add(channel)
                self._stream.join(channel, self._client)
        elif event.name == "leave" and channel in self._joined:
            self._joined.discard(channel)
            self._stream.leave(channel, self._client)

    def _account(self, event: str, argument: dict[str, Any]) -> None:
        if event == "leave":
            self._no_account()
        elif event == "join" and self._leave_account is None:
            try:
                self._leave_account = self._stream.join_account(argument, self._client)
            except PermissionError:
                self._client.offer(["41"])
                self._refused = True

    def _no_account(self) -> None:
        if self._leave_account is not None:
            self._leave_account()
            self._leave_account = None

    async def _write(self) -> None:
        while True:
            texts = await self._client.take_many(FRAMES_MOST)
            if not texts:
                self._reason = "it was too slow"
                return
            await self._websocket.send({"type": "websocket.send", "texts": texts})

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
