"""The server's side of one Engine.IO / Socket.IO session, without any I/O: text in, actions out.

Version 4 as CoinDCX speaks it, version 3 for old clients: who pings whom, whether the client asks for the connection
(`40`) or is given it, and what closes the socket. Only the default namespace exists, events are never acknowledged.
"""

import json
from typing import Any, NamedTuple

PING_INTERVAL_MS = 25_000
PING_TIMEOUT_MS = 20_000
MAX_PAYLOAD = 1_000_000


class Send(NamedTuple):
    text: str


class Connected(NamedTuple):
    """The client may now join; `text` is to be sent after a moment."""

    text: str


class Event(NamedTuple):
    name: str
    argument: Any


class Pong(NamedTuple):
    """The client lives."""


class Close(NamedTuple):
    reason: str


Action = Send | Connected | Event | Pong | Close


class Session:
    """One socket's protocol state."""

    def __init__(self, version: int, sid: str, socket_id: str) -> None:
        self.version = version
        self._sid = sid
        self._socket_id = socket_id
        self._asked = version == 3
        self.connected = version == 3

    def opening(self) -> list[str]:
        """What the server sends first."""
        hello = {
            "sid": self._sid,
            "upgrades": [],
            "pingInterval": PING_INTERVAL_MS,
            "pingTimeout": PING_TIMEOUT_MS,
            "maxPayload": MAX_PAYLOAD,
        }
        if self.version == 3:
            del hello["maxPayload"]
            return ["0" + _dumps(hello), "40"]
        return ["0" + _dumps(hello)]

    def receive(self, text: str) -> list[Action]:
        """What a packet of the client asks for."""
        kind, rest = text[:1], text[1:]
        if kind == "4":
            return self._message(rest)
        if kind == "3" and self.version == 4:
            return [Pong()]
        if kind == "2" and self.version == 3:
            return [Pong(), Send("3" + rest)]
        if kind == "6" and not rest:
            return []
        if kind == "1":
            return [Close("the client left")]
        return [Close(f"a packet that no client sends: {text[:40]!r}")]

    def was_connected(self) -> None:
        """The answer to the client's `40` is on its way."""
        self.connected = True

    def _message(self, text: str) -> list[Action]:
        kind, rest = text[:1], text[1:]
        if kind == "0":
            return self._connect(rest)
        if kind == "1":
            return [Close("the client left the namespace")]
        if kind == "2":
            if not self.connected:
                return [Close("an event before the connection was confirmed")]
            return self._event(rest)
        return [Close(f"a message that no client sends: {text[:40]!r}")]

    def _connect(self, rest: str) -> list[Action]:
        if self.version == 3:
            return [Close("an EIO=3 client asked for the connection")]
        if rest.startswith("/"):
            return [Send(f'44{rest.partition(",")[0]},{{"message":"Invalid namespace"}}')]
        if self._asked:
            return [Close("the client connected twice")]
        if rest and not isinstance(_loads(rest), dict):
            return [Close("a malformed connection request")]
        self._asked = True
        return [Connected("40" + _dumps({"sid": self._socket_id}))]

    def _event(self, rest: str) -> list[Action]:
        # An acknowledgement may be asked for by a number before the array: none is ever given.
        values = _loads(rest.lstrip("0123456789"))
        if not isinstance(values, list) or not values or not isinstance(values[0], str):
            return [Close("a malformed event")]
        return [Event(values[0], values[1] if len(values) > 1 else None)]


def _dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _loads(text: str) -> Any:
    """The JSON value, or None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
