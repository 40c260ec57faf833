"""Kraken's WebSocket v2 face: acknowledged subscriptions, snapshots, several trades a frame, heartbeats, refusals.

`requests` says what a client may ask for; a socket serves public and private channels alike (the real venue has another
host for the private ones). Texts of refusals that no fact sheet names are ours.
"""

import asyncio
import itertools
import json
import secrets
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from core.clock import NS_PER_S
from sandbox.faces.kraken_channels import INTERVALS, PUBLIC, snapshot
from sandbox.faces.kraken_limits import Connects
from sandbox.faces.kraken_listing import Listing
from sandbox.faces.kraken_names import Pair, rfc3339
from sandbox.faces.kraken_orders import Refused
from sandbox.faces.kraken_user import CHANNELS, METHODS, User
from sandbox.hub import FRAMES_MOST, Client, Hub

HEARTBEAT_S = 1.0
IDLE_S = 60.0  # a socket that has no subscription and says nothing is closed after so long
SUBSCRIPTIONS_MOST = 5_000  # on one socket
SYMBOLS_MOST = 1_000  # in one request


def frame(**fields: Any) -> str:
    return json.dumps(fields, separators=(",", ":"))


class Stream:
    """All sockets of the face."""

    def __init__(self, listing: Listing, hub: Hub, user: User, connects: Connects) -> None:
        self.listing = listing
        self.hub = hub
        self.user = user
        self._connects = connects
        self.server_ms = listing.place.server_ms
        self._numbers = itertools.count(1)

    async def serve(self, websocket: WebSocket) -> None:
        """One socket, from its handshake to its end."""
        client = websocket.client.host if websocket.client else ""
        if not self._connects.take(client, self.listing.place.wall.monotonic_ns() / NS_PER_S):
            await websocket.send_denial_response(Response(status_code=429))
            return
        await websocket.accept()
        await Socket(self, websocket, next(self._numbers)).run()

    def status(self) -> str:
        """The frame that each socket begins with."""
        data = {
            "api_version": "v2",
            "connection_id": secrets.randbits(63),
            "system": self.listing.system(),
            "version": "2.0.0",
        }
        return frame(channel="status", type="update", data=[data])


class Socket:
    """One connection: a reader, a writer and a watch; the first of them to end ends all three."""

    def __init__(self, stream: Stream, websocket: WebSocket, number: int) -> None:
        self._stream = stream
        self._websocket = websocket
        self._number = number
        self._client = Client()
        self._subscribed: dict[str, str] = {}  # the hub's names of channels: what was acknowledged
        self._leave: dict[str, Callable[[], None]] = {}  # private channels: what ends them
        self._now = asyncio.get_running_loop().time
        self._sent_at = self._heard_at = self._now()
        self._reason = "the client went away"

    async def run(self) -> None:
        self._client.offer([self._stream.status()])
        tasks = [asyncio.ensure_future(work()) for work in (self._read, self._write, self._watch)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except WebSocketDisconnect:
            pass
        finally:
            self._stream.hub.leave_all(self._client)
            for leave in self._leave.values():
                leave()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close()
        self._stream.listing.place.log.info("client %d: closed, %s", self._number, self._reason)

    async def _read(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            self._heard_at = self._now()
            self._client.offer(self._answers(message.get("text") or ""))

    async def _write(self) -> None:
        while True:
            texts = await self._client.take_many(FRAMES_MOST)
            if not texts:
                self._reason = "it was too slow"
                return
            await self._websocket.send({"type": "websocket.send", "texts": texts})
            self._sent_at = self._now()

    async def _watch(self) -> None:
        """What changed at the venue, heartbeats when there was nothing to say, the end of a socket that nobody uses."""
        listing = self._stream.listing
        system, rules = listing.system(), listing.rules_in_force()
        while True:
            await asyncio.sleep(HEARTBEAT_S / 4)
            now = self._now()
            if listing.system() != system:
                system = listing.system()
                self._client.offer([self._stream.status()])
            if "instrument" in self._subscribed and listing.rules_in_force() != rules:
                self._client.offer([listing.changed_instruments(rules)])
            rules = listing.rules_in_force()
            if self._subscribed or self._leave:
                if now - self._sent_at >= HEARTBEAT_S and not self._client.backlog:
                    self._client.offer(['{"channel":"heartbeat"}'])
            elif now - max(self._heard_at, self._sent_at) >= IDLE_S:
                self._reason = "it had no subscription and said nothing"
                return

    def _answers(self, text: str) -> list[str]:
        """What a client's message is answered with."""
        time_in = rfc3339(self._stream.server_ms())
        try:
            message = json.loads(text, parse_float=Decimal)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict) or not isinstance(message.get("method"), str):
            return [self._stamped({"method": "error", "success": False, "error": "Malformed request"}, time_in)]
        method, params = message["method"], message.get("params")
        req_id = message.get("req_id")
        more = {"req_id": req_id} if isinstance(req_id, int) and not isinstance(req_id, bool) else {}
        if method == "ping":
            return [self._stamped({"method": "pong"} | more, time_in)]
        if method not in ("subscribe", "unsubscribe", *METHODS):
            error = f"Unsupported method {method}"
            return [self._stamped({"method": method, "success": False, "error": error} | more, time_in)]
        if not isinstance(params, dict):
            error = "Malformed request"
            return [self._stamped({"method": method, "success": False, "error": error} | more, time_in)]
        if method in METHODS:
            return [self._act(method, params, more, time_in)]
        return self._many(method, params, more, time_in)

    def _act(self, method: str, params: dict[str, Any], more: dict[str, Any], time_in: str) -> str:
        """The answer to an order or a cancel; what it does is told of on `executions`, and may be so before this."""
        try:
            answer = {"method": method, "success": True, "result": self._stream.user.act(method, params)}
        except Refused as refused:
            answer = {"method": method, "success": False, "error": str(refused)}
        return self._stamped(answer | more, time_in)

    def _many(self, method: str, params: dict[str, Any], more: dict[str, Any], time_in: str) -> list[str]:
        """The answers to a subscribe or unsubscribe, one a symbol, each followed by its snapshot."""
        answers: list[str] = []
        symbols = params.get("symbol") if params.get("channel") in PUBLIC else None
        asked = symbols if isinstance(symbols, list) else [symbols]
        for symbol in asked[:SYMBOLS_MOST]:
            head: dict[str, Any] = {"method": method}
            try:
                act = self._subscribe if method == "subscribe" else self._unsubscribe
                result, frames = act(params, symbol)
                head |= {"result": result, "success": True}
            except Refused as refused:
                frames = []
                head |= {"success": False, "error": str(refused)}
                if isinstance(symbol, str):
                    head["symbol"] = symbol
            answers += [self._stamped(head | more, time_in), *frames]
        return answers

    def _subscribe(self, params: dict[str, Any], symbol: object) -> tuple[dict[str, Any], list[str]]:
        """(what is acknowledged, snapshot frames). Raises Refused."""
        channel = params.get("channel")
        result: dict[str, Any] = {"channel": channel}
        wants = _flag(params, "snapshot", channel != "trade")
        result["snapshot"] = wants
        if channel == "instrument":
            self._note("instrument", "")
            return result, [self._stream.listing.instruments()] if wants else []
        if channel in CHANNELS:
            return self._subscribe_private(params)
        if channel not in PUBLIC:
            raise Refused("Channel not supported")
        pair = self._pair(symbol)
        name = self._name(params, pair)
        result["symbol"] = pair.symbol
        if channel == "ohlc":
            result["interval"] = _interval(params)
        self._note(name, pair.symbol)
        told_ms = self._stream.hub.join(name, self._client)
        if not wants:
            return result, []
        return result, snapshot(self._stream.listing, name, pair, told_ms)

    def _subscribe_private(self, params: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        channel = params["channel"]
        if channel in self._leave:
            raise Refused("Already subscribed")
        result, frames, self._leave[channel] = self._stream.user.subscribe(params, self._client)
        return result, frames

    def _unsubscribe(self, params: dict[str, Any], symbol: object) -> tuple[dict[str, Any], list[str]]:
        """(what is acknowledged, nothing). Raises Refused."""
        channel = params.get("channel")
        result: dict[str, Any] = {"channel": channel}
        if channel in CHANNELS:
            if channel not in self._leave:
                raise Refused("Subscription Not Found")
            self._leave.pop(channel)()
            return result, []
        if channel == "instrument":
            name = "instrument"
        elif channel in PUBLIC:
            pair = self._pair(symbol)
            name = self._name(params, pair)
            result["symbol"] = pair.symbol
            if channel == "ohlc":
                result["interval"] = _interval(params)
        else:
            raise Refused("Channel not supported")
        if name not in self._subscribed:
            raise Refused("Subscription Not Found")
        del self._subscribed[name]
        self._stream.hub.leave(name, self._client)
        return result, []

    def _note(self, name: str, symbol: str) -> None:
        if name in self._subscribed:
            raise Refused("Already subscribed")
        if len(self._subscribed) >= SUBSCRIPTIONS_MOST:
            raise Refused("Exceeded maximum number of subscriptions")
        self._subscribed[name] = symbol

    def _pair(self, symbol: object) -> Pair:
        if not isinstance(symbol, str):
            raise Refused("Symbol is missing or no text")
        pair = self._stream.listing.names.by_symbol.get(symbol)
        if pair is None:
            raise Refused(f"Currency pair not supported {symbol}")
        return pair

    @staticmethod
    def _name(params: dict[str, Any], pair: Pair) -> str:
        """The hub's name of a channel."""
        kind = f"ohlc {_interval(params)}" if params["channel"] == "ohlc" else params["channel"]
        return f"{kind} {pair.pair}"

    def _stamped(self, answer: dict[str, Any], time_in: str) -> str:
        return frame(**answer, time_in=time_in, time_out=rfc3339(self._stream.server_ms()))

    async def _close(self) -> None:
        try:
            await self._websocket.close()
        except (RuntimeError, WebSocketDisconnect):
            return  # it is closed already


def _flag(params: dict[str, Any], name: str, default: bool) -> bool:
    value = params.get(name, default)
    if not isinstance(value, bool):
        raise Refused(f"{name} must be true or false")
    return value


def _interval(params: dict[str, Any]) -> int:
    value = params.get("interval", 1)
    if value not in INTERVALS or isinstance(value, bool):
        raise Refused("Unsupported interval")
    return int(value)
