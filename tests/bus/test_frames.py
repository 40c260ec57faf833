"""Frames: what goes on the wire comes off it, garbage is refused, parts of frames are exact."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.frames import (
    HEAD_SIZE,
    SHORT,
    TOPIC_MOST,
    Frame,
    FrameError,
    array_of,
    decode,
    encode,
    joined,
    messages,
    parts_of,
    topic_bytes,
    trimmed,
)
from bus.layouts import layout_hash
from bus.messages import Event
from bus.records import CANDLE_RECORD, HOLE_RECORD, RECORD, UPDATE

NUMBERS = st.integers(-(2**63), 2**63 - 1)
integers = msgspec.msgpack.Decoder(list[int])


def numbered(topic: str, first: int, count: int) -> Frame:
    """A frame of messages that are their own numbers."""
    payload, _ = array_of(msgspec.msgpack.encode(number) for number in range(first, first + count))
    return Frame(topic, 7, first, count, 0, payload)


@given(
    st.from_regex(r"[a-z]{1,10}/[0-9]{1,3}/", fullmatch=True),
    NUMBERS,
    NUMBERS,
    st.integers(0, 2**32 - 1),
    NUMBERS,
    st.binary(max_size=300),
    st.none() | st.binary(max_size=300),
    st.integers(0, 2**64 - 1),
)
def test_a_frame_survives_the_wire(
    topic: str, epoch: int, first: int, count: int, publish_ns: int, payload: bytes, body: bytes | None, layout: int
) -> None:
    frame = Frame(topic, epoch, first, count, publish_ns, payload, body, layout)
    assert decode(encode(frame)) == frame


@pytest.mark.parametrize(
    ("size", "body", "parts"), [(1, None, 1), (SHORT, None, 1), (0, None, 2), (SHORT + 1, None, 2), (8, b"", 3)]
)
def test_a_short_payload_travels_in_one_part_with_its_head(size: int, body: bytes | None, parts: int) -> None:
    frame = Frame("update/0/", 7, 5, 3, 11, bytes(size), body, 13)
    published = parts_of(*encode(frame))
    assert len(published) == parts
    assert decode(published) == frame
    assert published[0].startswith(b"update/0/")  # what subscriptions go by


def test_a_topic_too_long_for_a_head_is_refused() -> None:
    assert topic_bytes("trade/12345678/") == b"trade/12345678/"
    with pytest.raises(ValueError, match="trade/1234567890/"):
        topic_bytes("trade/1234567890/")


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_garbage_is_refused(parts: list[bytes]) -> None:
    whole = 1 <= len(parts) <= 3 and len(parts[0]) >= HEAD_SIZE and parts[0][:TOPIC_MOST].rstrip(b"\0").endswith(b"/")
    if not whole:
        with pytest.raises(FrameError):
            decode(parts)


def test_messages_of_another_kind_are_refused() -> None:
    with pytest.raises(FrameError, match=r"event/0/ 5"):
        messages(numbered("event/0/", 5, 2), msgspec.msgpack.Decoder(list[Event]))


@given(st.integers(1, 400), st.data())
def test_a_trimmed_frame_begins_at_its_number(count: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(10, 10 + count - 1))
    part = trimmed(numbered("trader/0/", 10, count), first)
    assert (part.first, part.last) == (first, 9 + count)
    assert messages(part, integers) == list(range(first, 10 + count))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_joined_frames_hold_all_messages(counts: list[int]) -> None:
    frames = []
    number = 3
    for count in counts:
        frames.append(numbered("trader/0/", number, count))
        number += count
    whole = joined(frames)
    assert (whole.first, whole.last) == (3, number - 1)
    assert messages(whole, integers) == list(range(3, number))


def test_trimmed_records_are_those_from_the_number_on() -> None:
    records = np.zeros(5, RECORD)
    records["ticks"] = range(5)
    part = trimmed(Frame("trade/0/", 1, 100, 5, 0, records.tobytes()), 103)
    assert np.frombuffer(part.payload, RECORD)["ticks"].tolist() == [3, 4]


def test_trimmed_updates_go_by_their_own_numbers() -> None:
    updates = np.zeros(3, UPDATE)
    updates["number"] = [101, 102, 106]  # the numbers between are candles and holes: no update
    frame = Frame("update/0/", 1, 100, 10, 0, updates.tobytes())
    assert np.frombuffer(trimmed(frame, 102).payload, UPDATE)["number"].tolist() == [102, 106]
    assert np.frombuffer(trimmed(frame, 103).payload, UPDATE)["number"].tolist() == [106]
    assert trimmed(frame, 107).payload == b""
    assert trimmed(frame, 107).count == 3


def test_the_layouts_are_those_of_numpy() -> None:
    assert [dtype.itemsize for dtype in (RECORD, CANDLE_RECORD, HOLE_RECORD, UPDATE)] == [64, 64, 64, 128]
    assert RECORD.fields is not None and UPDATE.fields is not None
    assert all(UPDATE.fields[name] == RECORD.fields[name] for name in RECORD.names or ())
    assert 0 <= layout_hash() < 2**63
