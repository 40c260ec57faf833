"""What one message of the bus looks like on the wire.

Three pieces, the last only where there is a body:

1. head, 52 bytes: topic (ASCII, ends in a slash, filled up with zeros to 16 bytes), then little-endian: layout hash
   u64, epoch i64, first i64, publish_ns i64 (0 in the answer to a replay), count u32
2. payload: `trade/` count RECORDs; `update/` one UPDATE for each TRADE among the numbers covered; every other topic a
   msgpack array of count messages
3. body: the msgpack `Start` of a START record, which travels alone

Each is a zmq part of its own, except that a short payload without a body stands in one part with its head: each part
more costs a tenth of the way from one stage to the next. A head alone says that more parts follow, be they empty.

`first … first+count-1` are the numbers covered, counted per topic and epoch. Beats are not numbered (count 0).
"""

import struct
from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from bus.layouts import RECORD_SIZE, UPDATE_NUMBER_OFFSET, UPDATE_SIZE
from core.errors import BotError

HEAD = struct.Struct("<16sQqqqI")
HEAD_SIZE = HEAD.size
TOPIC_MOST = 16  # bytes
SHORT = 2_048  # bytes of a payload that is sent in one part; copying a longer one costs more than a part

TRADE = "trade/0/"
UPDATE = "update/0/"
CANDLE = "candle/0/"
VIEW = "view/0/"
TRADER = "trader/0/"
STATUS = "status/0/"
EVENT = "event/0/"
GAP = "gap/0/"
BEAT = "beat/0/"

T = TypeVar("T")


# Whatever broken bytes can raise in decoding: no msgpack, wrong types, text that is none, absurd nesting.
UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


class FrameError(BotError):
    """Bytes on the bus that are no frame of ours."""


class Frame(msgspec.Struct, gc=False):
    """One message of the bus; `publish_ns` is wall time, 0 where it is told again."""

    topic: str
    epoch: int
    first: int
    count: int
    publish_ns: int
    payload: bytes
    body: bytes | None = None
    layout: int = 0

    @property
    def last(self) -> int:
        """The last number covered."""
        return self.first + self.count - 1


_topics: dict[bytes, str] = {}  # by the head's first bytes
_TOPICS_KEPT = 256


def encode(frame: Frame) -> list[bytes]:
    """The pieces of a frame, each by itself."""
    head = HEAD.pack(topic_bytes(frame.topic), frame.layout, frame.epoch, frame.first, frame.publish_ns, frame.count)
    if frame.body is None:
        return [head, frame.payload]
    return [head, frame.payload, frame.body]


def topic_bytes(topic: str) -> bytes:
    """A topic as it stands in a head, not yet filled up. Raises ValueError where it is too long."""
    encoded = topic.encode()
    if len(encoded) > TOPIC_MOST:
        raise ValueError(f"the topic {topic} is longer than {TOPIC_MOST} bytes")
    return encoded


def parts_of(head: bytes, payload: bytes, body: bytes | None = None) -> tuple[bytes, ...]:
    """Pieces as the zmq parts in which they are published."""
    if body is not None:
        return head, payload, body
    return (head + payload,) if 0 < len(payload) <= SHORT else (head, payload)


def decode(parts: Sequence[bytes]) -> Frame:
    """The frame that zmq parts hold, a short payload joined to its head or not.

    Raises FrameError where they hold none.
    """
    if not 1 <= len(parts) <= 3 or len(parts[0]) < HEAD_SIZE:
        raise FrameError(f"a frame is a head and one to two more parts, not {[len(part) for part in parts]} bytes")
    head = parts[0]
    name, layout, epoch, first, publish_ns, count = HEAD.unpack_from(head)
    topic = _topics.get(name)
    if topic is None:
        topic = _new_topic(name)
    if len(parts) == 1:
        return Frame(topic, epoch, first, count, publish_ns, head[HEAD_SIZE:], None, layout)
    return Frame(topic, epoch, first, count, publish_ns, parts[1], parts[2] if len(parts) == 3 else None, layout)


def _new_topic(field: bytes) -> str:
    name = field.rstrip(b"\0")
    if not name.endswith(b"/") or not name.isascii():
        raise FrameError(f"a frame begins with a topic, not {field!r}")
    if len(_topics) >= _TOPICS_KEPT:
        _topics.clear()
    topic = name.decode("ascii")
    _topics[field] = topic
    return topic


def array_of(encoded: Iterable[bytes]) -> tuple[bytes, int]:
    """Messages that are msgpack already as one msgpack array; also their count."""
    items = list(encoded)
    return _array_head(len(items)) + b"".join(items), len(items)


def messages(frame: Frame, decoder: "msgspec.msgpack.Decoder[list[T]]") -> list[T]:
    """The messages of a frame; `decoder` is `msgspec.msgpack.Decoder(list[Kind])`.

    Raises FrameError where the payload is something else.
    """
    try:
        return decoder.decode(frame.payload)
    except UNREADABLE as error:
        raise FrameError(f"{frame.topic} {frame.first}: {error}") from error


def trimmed(frame: Frame, first: int) -> Frame:
    """The part of a frame from number `first` on; `first` must be one of its numbers."""
    skip = first - frame.first
    if skip <= 0:
        return frame
    payload: bytes
    if frame.topic.startswith("trade/"):
        payload = frame.payload[skip * RECORD_SIZE :]
    elif frame.topic.startswith("update/"):
        payload = _updates_from(frame.payload, first)
    else:
        payload = array_of(_items(frame.payload)[skip:])[0]
    return Frame(
        frame.topic, frame.epoch, first, frame.count - skip, frame.publish_ns, payload, frame.body, frame.layout
    )


def joined(frames: Sequence[Frame]) -> Frame:
    """Consecutive frames without a body as one: what a ring of small frames answers a replay with."""
    if len(frames) == 1:
        return frames[0]
    head = frames[0]
    if head.topic.startswith(("trade/", "update/")):
        payload, count = b"".join([frame.payload for frame in frames]), sum(frame.count for frame in frames)
    else:
        payload, count = array_of(item for frame in frames for item in _items(frame.payload))
    return Frame(head.topic, head.epoch, head.first, count, head.publish_ns, payload, None, head.layout)


def _updates_from(payload: bytes, first: int) -> bytes:
    for at in range(0, len(payload), UPDATE_SIZE):
        (number,) = struct.unpack_from("<Q", payload, at + UPDATE_NUMBER_OFFSET)
        if number >= first:
            return payload[at:]
    return b""


_raw_items = msgspec.msgpack.Decoder(list[msgspec.Raw])


def _items(payload: bytes) -> list[bytes]:
    return [bytes(raw) for raw in _raw_items.decode(payload)]


def _array_head(count: int) -> bytes:
    if count < 16:
        return bytes((0x90 | count,))
    return b"\xdc" + count.to_bytes(2, "big")
