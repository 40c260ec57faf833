"""What all of Kraken's frames have in common: acknowledgements counted, states of the venue, exact times."""

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.kraken import frames
from venues.kraken.frames import Ack, Joining, Status, WireError

STAMPS = {"time_in": "2023-09-25T09:04:31.742599Z", "time_out": "2023-09-25T09:04:31.742648Z"}


def control(value):
    text = value if isinstance(value, str) else json.dumps(value)
    return frames.control(frames.read(text), text)


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        pytest.param(
            {
                "method": "subscribe",
                "result": {"channel": "trade", "snapshot": True, "symbol": "BTC/USD"},
                "success": True,
                **STAMPS,
                "req_id": 1,
            },
            Ack(1, "BTC/USD", ""),
            id="accepted",
        ),
        pytest.param(
            {
                "method": "subscribe",
                "success": False,
                "error": "Currency pair not supported XBT/USD",
                "symbol": "XBT/USD",
                "req_id": 1,
                **STAMPS,
            },
            Ack(1, "XBT/USD", "Currency pair not supported XBT/USD"),
            id="refused",
        ),
        pytest.param({"method": "subscribe", "success": False}, Ack(None, "", "refused without a reason"), id="bare"),
        pytest.param({"success": False, "error": "Malformed request"}, Ack(None, "", "Malformed request"), id="unread"),
        pytest.param(
            {"method": "subscribe", "result": {"channel": "balances"}, "success": True, "req_id": 3},
            Ack(3, "", ""),
            id="without a symbol",
        ),
        pytest.param(
            {"channel": "status", "type": "update", "data": [{"system": "maintenance", "version": "2.0.0"}]},
            Status("maintenance"),
            id="status",
        ),
        pytest.param({"channel": "status", "type": "update", "data": []}, None, id="empty status"),
        pytest.param(frames.HEARTBEAT, None, id="heartbeat"),
        pytest.param({"method": "pong", "req_id": 101, **STAMPS}, None, id="pong"),
        pytest.param({"channel": "instrument", "data": {"pairs": []}}, None, id="another channel"),
    ],
)
def test_frames_without_news(value, meaning):
    assert control(value) == meaning


@pytest.mark.parametrize(
    "value",
    [
        "",
        "[]",
        "{",
        '{"channel":1}',
        '{"channel":"status","data":{}}',
        '{"method":"subscribe","success":true,"result":[]}',
        "{" * 100_000,
        '"\ud800"',
    ],
    ids=lambda value: value[:20],
)
def test_what_cannot_be_read_is_one_error(value):
    with pytest.raises(WireError, match="unreadable frame"):
        control(value)


def test_requests():
    asked = json.loads(frames.subscribe(7, "trade", symbol=["A/B"], snapshot=False))
    expected = {"channel": "trade", "symbol": ["A/B"], "snapshot": False}
    assert asked == {"method": "subscribe", "params": expected, "req_id": 7}
    assert json.loads(frames.ping(9)) == {"method": "ping", "req_id": 9}


def test_acknowledgements_are_counted_by_symbol():
    joining = Joining({1: ["A", "B"], 2: ["C"]})
    joining.take(Ack(1, "A", ""))
    joining.take(Ack(2, "C", "not supported"))
    assert (joining.waiting, joining.done, joining.accepted) == (["B"], False, 1)
    joining.take(Ack(1, "B", ""))
    assert joining.done and joining.accepted == 2 and joining.refused == {"C": "not supported"}
    assert joining.asked == 3


@pytest.mark.parametrize(
    ("ack", "left"),
    [
        pytest.param(Ack(1, "", "malformed"), ["C"], id="a whole request"),
        pytest.param(Ack(None, "", "malformed"), [], id="everything"),
        pytest.param(Ack(None, "C", "no"), ["A", "B"], id="a symbol without its request"),
        pytest.param(Ack(1, "C", "no"), ["A", "B", "C"], id="a symbol of another request"),
        pytest.param(Ack(9, "A", ""), ["B", "C"], id="a number that nobody gave"),
        pytest.param(Ack(1, "Z", ""), ["A", "B", "C"], id="a symbol that nobody asked for"),
    ],
)
def test_what_an_acknowledgement_is_about(ack, left):
    joining = Joining({1: ["A", "B"], 2: ["C"]})
    joining.take(ack)
    assert joining.waiting == left


_moment = msgspec.json.Decoder(frames.Moment)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2023-10-06T17:35:55.440295Z", 1696613755_440295000),
        ("2023-10-04T16:25:00.000000000Z", 1696436700_000000000),
        ("2023-10-04T16:25:00.123456499Z", 1696436700_123456000),
        ("2023-10-04T16:25:00.5Z", 1696436700_500000000),
        ("2023-10-04T16:25:07Z", 1696436707_000000000),
        ("2023-10-04T18:25:07+02:00", 1696436707_000000000),
        ("1969-10-04T16:25:00.1Z", 0),
        ("9999-10-04T16:25:00.1Z", 0),
    ],
)
def test_times(text, ns):
    assert frames.ns_of(_moment.decode(json.dumps(text))) == ns


@pytest.mark.parametrize("text", ["", "2023-10-04T16:25:00", "2023-13-04T16:25:00.1Z", "2023-10-04T16:25:0x.1Z"])
def test_what_is_no_time(text):
    with pytest.raises(msgspec.ValidationError):
        _moment.decode(json.dumps(text))


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)))
def test_every_microsecond_is_exact(moment):
    whole = int(moment.replace(tzinfo=UTC, microsecond=0).timestamp())
    expected = whole * 10**9 + moment.microsecond * 1000
    assert frames.ns_of(_moment.decode(f'"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"')) == expected


@given(st.integers(0, 4_000_000_000_000))
def test_milliseconds_there_and_back(ms):
    assert frames.ns_of(_moment.decode(json.dumps(frames.rfc3339(ms)))) == ms * 10**6
