"""What all frames of Kraken's WebSocket v2 have in common: requests, acknowledgements, status, times. Pure.

> {"method":"subscribe","params":{"channel":"trade","symbol":["BTC/USD"],"snapshot":false},"req_id":1}
< {"method":"subscribe","result":{"channel":"trade","symbol":"BTC/USD"},"success":true,"req_id":1,...}
< {"method":"subscribe","success":false,"error":"Currency pair not supported X/Y","symbol":"X/Y","req_id":1,...}
< {"channel":"status","type":"update","data":[{"system":"online",...}]}
< {"channel":"heartbeat"}                                                      once a second where nothing else comes
> {"method":"ping","req_id":9}        < {"method":"pong","req_id":9,...}

Each symbol is acknowledged by itself; a heartbeat comes once a second where nothing else does.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple

import msgspec

from venues.engineio import UNREADABLE, shorten

HEARTBEAT = '{"channel":"heartbeat"}'
SYMBOLS_A_REQUEST = 100

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST_NS = 2**63 - 1  # what a record can hold

_MICROSECOND = timedelta(microseconds=1)
_MILLISECOND = timedelta(milliseconds=1)

# `2023-10-06T17:35:55.440295Z`; what is finer than a microsecond is rounded to it.
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class WireError(ValueError):
    """A frame or answer that cannot be read; `raw` is its beginning as it came."""

    def __init__(self, text: str, raw: str | bytes | memoryview = "") -> None:
        if not isinstance(raw, str):
            raw = bytes(raw[:1000]).decode(errors="replace")
        self.raw = shorten(raw)
        super().__init__(f"{text}: {self.raw!r}" if self.raw else text)


class Frame(msgspec.Struct):
    """Any frame; `data` and `result` are read by those who know the channel."""

    channel: str = ""
    type: str = ""
    method: str = ""
    success: bool | None = None
    error: str | None = None
    symbol: str | None = None
    req_id: int | None = None
    sequence: int | None = None
    result: msgspec.Raw = msgspec.Raw(b"")
    data: msgspec.Raw = msgspec.Raw(b"")


class Ack(NamedTuple):
    """The venue's answer to a subscription; `error` is empty where it is accepted, `symbol` where it names none."""

    req_id: int | None
    symbol: str
    error: str


class Status(NamedTuple):
    """The state of the trading engine: online, maintenance, cancel_only, post_only."""

    system: str


class _Result(msgspec.Struct):
    symbol: str | None = None


class _System(msgspec.Struct):
    system: str = ""


_frame = msgspec.json.Decoder(Frame)
_result = msgspec.json.Decoder(_Result)
_systems = msgspec.json.Decoder(list[_System])
_encode = msgspec.json.encode


# --- what to send ------------------------------------------------------------------------------------


def subscribe(req_id: int, channel: str, **params: Any) -> str:
    """Asks for a channel; `snapshot` has to be among the parameters: its default was changed more than once."""
    request = {"method": "subscribe", "params": {"channel": channel, **params}, "req_id": req_id}
    return _encode(request).decode()


def ping(req_id: int) -> str:
    return _encode({"method": "ping", "req_id": req_id}).decode()


# --- what came ---------------------------------------------------------------------------------------


def read(text: str) -> Frame:
    """Any frame. Raises WireError where it is no JSON object of known types."""
    try:
        return _frame.decode(text)
    except UNREADABLE as error:
        raise WireError(f"unreadable frame ({error})", text) from error


def control(frame: Frame, text: str) -> Ack | Status | None:
    """What a frame without news says; None for heartbeats, pongs and channels that are none of ours.

    Raises WireError.
    """
    try:
        if frame.method == "subscribe" or (not frame.method and frame.success is False):
            named = _result.decode(frame.result).symbol if bytes(frame.result) not in (b"", b"null") else None
            refused = "" if frame.success else frame.error or "refused without a reason"
            return Ack(frame.req_id, frame.symbol or named or "", refused)
        if frame.channel == "status":
            systems = _systems.decode(frame.data)
            return Status(systems[-1].system) if systems else None
    except UNREADABLE as error:
        raise WireError(f"unreadable frame ({error})", text) from error
    return None


class Joining:
    """Which subscriptions still wait for their acknowledgement. `asked`: symbols by request, "" where it names none."""

    def __init__(self, asked: Mapping[int, Sequence[str]]) -> None:
        self._waiting = {req_id: set(symbols) for req_id, symbols in asked.items()}
        self.asked = sum(len(symbols) for symbols in self._waiting.values())
        self.accepted = 0
        self.refused: dict[str, str] = {}  # by symbol, with the venue's words

    @property
    def waiting(self) -> list[str]:
        """Symbols of which the venue has not said anything."""
        return sorted(symbol for symbols in self._waiting.values() for symbol in symbols)

    @property
    def done(self) -> bool:
        return not any(self._waiting.values())

    def take(self, ack: Ack) -> None:
        """Books one acknowledgement. A refusal that names no symbol is about everything that its request asked for."""
        requests = [self._waiting[ack.req_id]] if ack.req_id in self._waiting else list(self._waiting.values())
        for symbols in requests:
            meant = {ack.symbol} & symbols if ack.symbol else set(symbols)
            symbols -= meant
            if ack.error:
                self.refused.update(dict.fromkeys(meant, ack.error))
            else:
                self.accepted += len(meant)


# --- times -------------------------------------------------------------------------------------------


def ns_of(moment: datetime) -> int:
    """Nanoseconds since 1970 of a time of the venue; 0 where they are none that 64 bits hold."""
    ns = (moment - EPOCH) // _MICROSECOND * 1000
    return ns if 0 < ns < LATEST_NS else 0


def rfc3339(ms: int) -> str:
    """Milliseconds since 1970 as `2023-10-06T17:35:55.440Z`."""
    return f"{(EPOCH + ms * _MILLISECOND).isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"
