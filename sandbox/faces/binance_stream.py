"""Binance's public streams: `/ws/...` bare, `/stream?streams=...` wrapped, and what a client may say on either.

* A name that is unknown, or not in lower case, is subscribed to without a word, and stays silent.
* Played are `@trade`, `@aggTrade`, `@kline_*` and `@bookTicker`; every other stream is silent.
* What is no request gets an error frame; who asks for too many streams or too fast is cut off.
"""

import json
from typing import Any

from starlette.websockets import WebSocket

from core.loop import Cancellable
from sandbox.faces.binance_feeds import Feed, Numbers, feed_of, parsed
from sandbox.faces.binance_socket import Attempts, Hurry, Link, Manners
from sandbox.hub import Encode, Hub
from sandbox.place import Place
from sandbox.trades import Trades

PULSE_S = 0.25
METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
WRAPPED, BARE = "wrapped:", "bare:"  # how the hub's channels begin


class Stream:
    """All sockets of the public face."""

    def __init__(self, place: Place, numbers: Numbers, manners: Manners) -> None:
        self._market = place.market
        self._clock = place.clock
        self._log = place.log
        self._numbers = numbers
        self._manners = manners
        self._attempts = Attempts(manners.attempts_most, place.wall)
        self._pairs = {rules.market.lower(): pair for pair, rules in place.market.rules.items()}
        self._feeds: dict[str, Feed] = {}
        self._hub: Hub
        self._timer: Cancellable | None = None

    def attach(self, hub: Hub) -> None:
        """To be called once the hub, which opens its channels with `open`, is there."""
        self._hub = hub

    def open(self, channel: str, now_ms: int) -> tuple[str, Encode]:
        """What the hub needs for a channel that somebody joined."""
        how, _, name = channel.partition(":")
        stream = parsed(name, self._pairs)
        assert stream is not None, channel
        feed = self._feeds[channel] = feed_of(stream, self._market, self._numbers, now_ms)
        if self._timer is None:
            self._timer = self._hub.call_later(PULSE_S, self._pulse)
        if how + ":" == BARE:
            return stream.pair, feed.trades
        return stream.pair, lambda trades: self._wrapped(name, feed, trades)

    async def serve(self, websocket: WebSocket, names: list[str], wrapped: bool) -> None:
        """One socket, from its handshake to its end."""
        link = Link(websocket, self._manners, self._log)
        if not self._attempts.allowed(link.address):
            await websocket.close()
            return
        await websocket.accept()
        session = _Session(self, link, wrapped)
        try:
            session.subscribe(names)
            await link.run(session.hear, session.shutdown)
        except Hurry as error:
            await websocket.close(1008, str(error))
        finally:
            self._hub.leave_all(link.client)

    def join(self, name: str, wrapped: bool, link: Link) -> None:
        if parsed(name, self._pairs) is not None:
            self._hub.join((WRAPPED if wrapped else BARE) + name, link.client)

    def leave(self, name: str, wrapped: bool, link: Link) -> None:
        self._hub.leave((WRAPPED if wrapped else BARE) + name, link.client)

    def now_ms(self) -> int:
        return self._clock.now_ms()

    @property
    def streams_most(self) -> int:
        return self._manners.streams_most

    def _wrapped(self, name: str, feed: Feed, trades: Trades) -> list[str]:
        return [wrap(name, frame) for frame in feed.trades(trades)]

    def _pulse(self) -> None:
        for channel, feed in list(self._feeds.items()):
            told_ms = self._hub.told_ms(channel)
            if told_ms is None:
                del self._feeds[channel]
                continue
            frames = feed.pulse(told_ms)
            if frames:
                how, _, name = channel.partition(":")
                self._hub.say(channel, frames if how + ":" == BARE else [wrap(name, frame) for frame in frames])
        self._timer = self._hub.call_later(PULSE_S, self._pulse) if self._feeds else None


def wrap(name: str, frame: str) -> str:
    """A frame as the combined stream tells it."""
    return f'{{"stream":"{name}","data":{frame}}}'


class Wrong(Exception):
    """A request that cannot be: the code and text of its error frame."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class _Session:
    """What one client is subscribed to."""

    def __init__(self, stream: Stream, link: Link, wrapped: bool) -> None:
        self._stream = stream
        self._link = link
        self._wrapped = wrapped
        self._names: dict[str, None] = {}

    def shutdown(self) -> str:
        frame = f'{{"e":"serverShutdown","E":{self._stream.now_ms()}}}'
        return wrap("!serverShutdown", frame) if self._wrapped else frame

    def subscribe(self, names: list[str]) -> None:
        """Raises Hurry where that would be too many streams."""
        if len(self._names.keys() | set(names)) > self._stream.streams_most:
            raise Hurry("Too many streams")
        for name in names:
            if name not in self._names:
                self._names[name] = None
                self._stream.join(name, self._wrapped, self._link)

    async def hear(self, text: str) -> None:
        number: object = None
        try:
            request = _request(text)
            number = _id_of(request)
            result = self._answer(request, text)
        except Wrong as error:
            self._link.send(json.dumps({"code": error.code, "msg": error.message, "id": number}))
        else:
            self._link.send(json.dumps({"result": result, "id": number}, separators=(",", ":")))

    def _answer(self, request: dict[str, Any], text: str) -> object:
        if "method" not in request:
            raise Wrong(2, f"Invalid request: missing field `method` at line 1 column {len(text)}")
        method = request["method"]
        if method not in METHODS:
            known = ", ".join(f"`{name}`" for name in METHODS)
            raise Wrong(2, f"Invalid request: unknown variant `{method}`, expected one of {known} at line 1 column 28")
        if method == "LIST_SUBSCRIPTIONS":
            return list(self._names)
        params = request.get("params")
        if method.endswith("_PROPERTY"):
            return self._property(method, params)
        if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
            raise Wrong(2, "Invalid request: params must be a list of strings")
        if method == "SUBSCRIBE":
            self.subscribe(params)
            return None
        for name in params:
            if name in self._names:
                del self._names[name]
                self._stream.leave(name, self._wrapped, self._link)
        return None

    def _property(self, method: str, params: object) -> object:
        if not isinstance(params, list) or not params or not isinstance(params[0], str):
            raise Wrong(2, "Invalid request: property name must be a string")
        if params[0] != "combined":
            raise Wrong(0, "Unknown property")
        if method == "GET_PROPERTY":
            return self._wrapped
        if len(params) != 2 or not isinstance(params[1], bool):
            raise Wrong(1, "Invalid value type: expected Boolean")
        if params[1] != self._wrapped:
            for name in self._names:
                self._stream.leave(name, self._wrapped, self._link)
                self._stream.join(name, params[1], self._link)
            self._wrapped = params[1]
        return None


def _request(text: str) -> dict[str, Any]:
    try:
        request = json.loads(text)
    except (ValueError, RecursionError):
        raise Wrong(3, "Invalid JSON: expected value at line 1 column 1") from None
    if not isinstance(request, dict):
        raise Wrong(2, "Invalid request: request must be an object")
    return request


def _id_of(request: dict[str, Any]) -> object:
    number = request.get("id")
    good = number is None or (isinstance(number, int) and not isinstance(number, bool) and -(2**63) <= number < 2**63)
    if not good and not (isinstance(number, str) and number.isalnum() and len(number) <= 36):
        raise Wrong(2, "Invalid request: request ID must be an unsigned integer")
    return number
