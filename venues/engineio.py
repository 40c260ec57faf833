"""Engine.IO 3 and 4 with socket.io on top: text frames in, actions out, no network in sight.

    < 0{"sid":"x","pingInterval":25000,"pingTimeout":20000}    the server opens
    > 40                                                       version 4 only: the client connects
    < 40{"sid":"y"}                                            connected (version 3: a bare 40, unasked)
    > 42["join",{...}]                                         an event
    < 42["new-trade",{...}]                                    an event
    < 2  > 3                                                   version 4: the server pings, the client answers
    > 2  < 3                                                   version 3: the client pings, the server answers

Who pings decides whether a connection lives: a version 3 server takes a version 4 client in without complaint and
cuts it at pingInterval + pingTimeout. A bare `40` (version 4 servers always send `40{"sid":...}`) therefore turns
this side's pings on. Times are monotonic nanoseconds.
"""

from typing import NamedTuple

import msgspec

from core.clock import NS_PER_MS, NS_PER_S

HANDSHAKE_NS = 10 * NS_PER_S  # from the open socket to a session
DISCONNECTED = "41"  # how a server refuses or ends a session


class Send(NamedTuple):
    """Put this text frame on the wire."""

    text: str


class Connected(NamedTuple):
    """The socket.io session stands: channels can be joined now."""


class Arrived(NamedTuple):
    """An event of the application; `body` is the JSON of its first argument, b"null" where it has none."""

    name: str
    body: bytes


class Closed(NamedTuple):
    """The connection is of no use any more; `code` is the packet with which the server ended it, or ""."""

    reason: str
    code: str = ""


class Unknown(NamedTuple):
    """A frame that this codec does not know; the connection goes on."""

    text: str


Action = Send | Connected | Arrived | Closed | Unknown


class _Opening(msgspec.Struct, rename="camel"):
    ping_interval: float = 25_000.0  # ms
    ping_timeout: float = 20_000.0


# Whatever a hostile or broken text can raise in decoding: bad JSON, wrong types, absurd nesting, lone surrogates.
UNREADABLE = (msgspec.MsgspecError, RecursionError, ValueError)

_opening = msgspec.json.Decoder(_Opening, strict=False)
_usual = msgspec.json.Decoder(tuple[str, msgspec.Raw])
_arguments = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_encode = msgspec.json.encode


def event_frame(name: str, body: object) -> str:
    """The text frame of an event with one argument."""
    return "42" + _encode([name, body]).decode()


class Session:
    """State of one connection: feed it every text frame and a tick now and then, and do what it says."""

    __slots__ = (
        "_begun_ns",
        "_heard_ns",
        "_next_ping_ns",
        "connected",
        "interval_ns",
        "pings",
        "timeout_ns",
        "version",
    )

    def __init__(self, version: int, now_ns: int) -> None:
        self.version = version
        self.connected = False
        self.interval_ns = 25 * NS_PER_S
        self.timeout_ns = 20 * NS_PER_S
        self.pings = version == 3  # this side does: the server is of version 3
        self._begun_ns = now_ns
        self._heard_ns = now_ns
        self._next_ping_ns = 0

    def receive(self, frame: str, now_ns: int) -> list[Action]:
        """What a text frame asks for, in order."""
        self._heard_ns = now_ns
        if frame.startswith("42["):
            return [_event(frame)]
        kind = frame[:1]
        if kind == "4":
            return self._message(frame, now_ns)
        if kind == "2":
            return [Send("3" + frame[1:])]
        if kind == "3" or kind == "6":  # an answer to our ping; noop
            return []
        if kind == "0":
            return self._open(frame, now_ns)
        if kind == "1":
            return [Closed("the server closed the session", "1")]
        return [Unknown(shorten(frame))]

    def tick(self, now_ns: int) -> list[Action]:
        """What the passing of time asks for: our pings, and the end of a connection on which nothing comes any more."""
        if not self.connected:
            if now_ns - self._begun_ns > HANDSHAKE_NS:  # whatever else it sends
                return [Closed("no socket.io session within 10 s")]
            return []
        if now_ns - self._heard_ns > self.interval_ns + self.timeout_ns:
            silent_s = (now_ns - self._heard_ns) // NS_PER_S
            return [Closed(f"nothing heard for {silent_s} s, not even a ping")]
        if self.pings and now_ns >= self._next_ping_ns:
            self._next_ping_ns = now_ns + self.interval_ns
            return [Send("2")]
        return []

    def _open(self, frame: str, now_ns: int) -> list[Action]:
        try:
            opening = _opening.decode(frame[1:])
        except UNREADABLE as error:
            return [Closed(f"unreadable opening {shorten(frame)!r}: {error}")]
        self.interval_ns = int(max(opening.ping_interval, 100.0)) * NS_PER_MS
        self.timeout_ns = int(max(opening.ping_timeout, 100.0)) * NS_PER_MS
        self._next_ping_ns = now_ns + self.interval_ns
        return [] if self.version == 3 else [Send("40")]

    def _message(self, frame: str, now_ns: int) -> list[Action]:
        kind = frame[1:2]
        if kind == "2":  # with a namespace, an acknowledgement, or none at all
            return [_event(frame)]
        if kind == "0":
            if frame == "40" and not self.pings:
                self.pings = True  # a version 3 server, whatever we asked for
                self._next_ping_ns = now_ns + self.interval_ns
            if self.connected:
                return []
            self.connected = True
            return [Connected()]
        if kind == "1":
            return [Closed("the server disconnected the session", DISCONNECTED)]
        if kind == "4":
            return [Closed(f"the server refused the session: {shorten(frame[2:])}")]
        return [Unknown(shorten(frame))]


def _event(frame: str) -> Action:
    start = 2 if frame.startswith("42[") else frame.find("[")
    if start < 0:
        return Unknown(shorten(frame))
    text = frame[start:]
    try:
        name, body = _usual.decode(text)
        return Arrived(name, bytes(body)) if name else Unknown(shorten(frame))
    except UNREADABLE:  # another number of arguments, or no event at all
        pass
    try:
        arguments = _arguments.decode(text)
        name = _text.decode(arguments[0]) if arguments else ""
    except UNREADABLE:
        return Unknown(shorten(frame))
    if not name:
        return Unknown(shorten(frame))
    return Arrived(name, bytes(arguments[1]) if len(arguments) > 1 else b"null")


def shorten(text: str, length: int = 200) -> str:
    """The beginning of a text, for a log line."""
    return text if len(text) <= length else f"{text[:length]}… ({len(text)} characters)"
