"""Binance spot's streams: what to send, and what frames mean. Pure.

One trade is one frame, `{"stream":"btcusdt@trade","data":{...}}`, and their number is what costs: a frame is decoded
once, straight from its text into typed fields, and frames of other streams pass with a look at their kind. Trade ids
count up by one within a market. An unknown stream name is acknowledged like any other and stays silent for ever.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from core.clock import NS_PER_MS
from venues.binance.wire_public import LARGEST, LATEST_MS
from venues.engineio import UNREADABLE, shorten
from venues.venue import SHUTDOWN, SIDE_BUY, SIDE_SELL, Notice, Trade

STREAMS_MAX = 1024  # of one connection
SUBSCRIBE_AT_ONCE = 200
MESSAGES_PER_S = 5  # from us, pongs included; beyond it the connection is cut
KINDS_TOLD = 20  # different frames that are none of ours, told of once each

PATH = "/stream"


class Payload(msgspec.Struct, gc=False):
    """What a frame carries; of other events than trades only the kind counts."""

    e: str = ""
    s: str = ""
    t: int = 0
    p: float = 0.0
    q: float = 0.0
    T: int = 0
    m: bool = False


class Frame(msgspec.Struct, gc=False):
    """Any frame of the combined stream: an event, an answer to a request of ours, or an error."""

    stream: str = ""
    data: Payload | None = None
    e: str = ""  # of events without a wrapper
    id: int | str | None = None
    code: int | None = None
    msg: str = ""
    error: msgspec.Raw = msgspec.Raw(b"")


class Ack(msgspec.Struct, frozen=True):
    """The answer to the request of that number; `refusal` is empty where it was granted."""

    id: int
    refusal: str = ""
    code: str = ""


_decode = msgspec.json.Decoder(Frame, strict=False).decode


def stream_name(symbol: str) -> str:
    """Of a market's trades."""
    return f"{symbol.lower()}@trade"


def subscriptions(symbols: Sequence[str]) -> Iterator[tuple[int, str]]:
    """(number, text) of the requests for the trades of these markets."""
    for number, place in enumerate(range(0, len(symbols), SUBSCRIBE_AT_ONCE), 1):
        names = [stream_name(symbol) for symbol in symbols[place : place + SUBSCRIBE_AT_ONCE]]
        yield number, msgspec.json.encode({"method": "SUBSCRIBE", "params": names, "id": number}).decode()


class Reader:
    """Reads the frames of one connection; `pairs` are our names of the markets asked for, by the venue's."""

    def __init__(self, pairs: Mapping[str, str]) -> None:
        self._pairs = pairs
        self._told: set[str] = set()
        self._passed: set[str] = set()  # names of streams that nobody asked for
        self.acks: list[Ack] = []  # answers that arrived; the owner takes them away
        self.ending = False  # the venue announced that it ends this connection

    def read(self, frames: Sequence[str | None], received_ns: int) -> list[Trade | Notice]:
        """What arrived, in order. Never raises: what cannot be read is a Notice with its text."""
        items: list[Trade | Notice] = []
        add, pair_of = items.append, self._pairs.get
        for text in frames:
            if text is None:
                add(Notice("unknown frame", "a binary frame"))
                continue
            try:
                frame = _decode(text)
            except UNREADABLE as error:
                add(Notice("unreadable frame", f"{error}: {shorten(text)}"))
                continue
            data = frame.data
            if data is not None and data.e == "trade":
                pair = pair_of(data.s)
                if pair is not None and 0 < data.t <= LARGEST and 0 < data.T < LATEST_MS:
                    side = SIDE_SELL if data.m else SIDE_BUY
                    add(Trade(pair, data.T * NS_PER_MS, data.p, data.q, side, data.t, received_ns))
                else:
                    add(Notice("unreadable trade", shorten(text)))
            elif frame.stream not in self._passed:
                notice = self._other(frame, text)
                if notice is not None:
                    add(notice)
        return items

    def _other(self, frame: Frame, text: str) -> Notice | None:
        kind = frame.e or (frame.data.e if frame.data is not None else "")
        if kind == "serverShutdown":
            self.ending = True
            return Notice(SHUTDOWN, "the venue announced that it ends this connection soon")
        number = frame.id if isinstance(frame.id, int) else 0
        refusal = frame.msg or bytes(frame.error).decode(errors="replace")
        if refusal or frame.code is not None:
            code = "" if frame.code is None else str(frame.code)
            self.acks.append(Ack(number, shorten(refusal) or "refused", code))
            return None
        if number:
            self.acks.append(Ack(number))
            return None
        # Streams that nobody asked for: of each kind once.
        if frame.stream and len(self._passed) < STREAMS_MAX:
            self._passed.add(frame.stream)
        kind = kind or frame.stream.partition("@")[2] or "frame"
        if kind in self._told or len(self._told) >= KINDS_TOLD:
            return None
        self._told.add(kind)
        return Notice("unknown event", f"{kind}: {shorten(text)}")
