"""The socket.io codec: frames in, actions out, for both versions of the protocol."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.coindcx.wire_public import WireError, parse_event
from venues.engineio import Arrived, Closed, Connected, Send, Session, Unknown, event_frame

S = 1_000_000_000
OPEN = '0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'


def opened(version=4):
    session = Session(version, 0)
    session.receive(OPEN, 0)
    return session


def test_version_4_from_the_opening_to_a_ping():
    session = Session(4, 0)
    assert session.receive(OPEN, 0) == [Send("40")]
    assert session.receive('40{"sid":"y"}', 0) == [Connected()]
    assert session.receive("2", 25 * S) == [Send("3")]
    assert session.receive("2probe", 25 * S) == [Send("3probe")]


def test_version_4_never_pings_by_itself():
    session = opened()
    session.receive('40{"sid":"y"}', 0)
    assert [session.tick(n * S) for n in range(44)] == [[]] * 44


def test_version_3_is_connected_unasked_and_pings():
    session = Session(3, 0)
    assert session.receive(OPEN, 0) == []
    assert session.receive("40", 0) == [Connected()]
    assert session.tick(24 * S) == []
    assert session.tick(25 * S) == [Send("2")]
    assert session.tick(26 * S) == []
    assert session.receive("3", 26 * S) == []
    assert session.tick(50 * S) == [Send("2")]


def test_an_older_server_behind_a_version_4_address_is_pinged():
    session = opened()
    assert session.receive("40", 0) == [Connected()]
    assert session.tick(25 * S) == [Send("2")]


def test_silence_beyond_interval_and_timeout_is_the_end():
    session = opened()
    session.receive('40{"sid":"y"}', 0)
    assert session.tick(45 * S) == []
    (closed,) = session.tick(46 * S)
    assert isinstance(closed, Closed) and "46 s" in closed.reason


def test_no_session_within_ten_seconds_is_the_end():
    session = Session(4, 0)
    assert session.tick(10 * S) == []
    assert isinstance(session.tick(11 * S)[0], Closed)


def test_a_server_that_only_talks_gets_no_longer_for_its_session():
    session = opened()
    for second in range(10):
        session.receive("2", second * S)
    assert session.tick(10 * S) == []
    assert isinstance(session.tick(11 * S)[0], Closed)


@pytest.mark.parametrize(("frame", "code"), [("41", "41"), ("1", "1"), ('44{"message":"no"}', "")])
def test_an_end_keeps_the_packet_that_brought_it(frame, code):
    (closed,) = opened().receive(frame, 0)
    assert closed.code == code


@pytest.mark.parametrize("frame", ["1", "41", '44{"message":"refused"}', "0nonsense", '0{"pingInterval":null}'])
def test_frames_that_end_a_connection(frame):
    assert isinstance(Session(4, 0).receive(frame, 0)[0], Closed)


@pytest.mark.parametrize("frame", ["", "9", "5", "43[]", "42", "42{}", "42[]", "42[1,2]", '42["x",{half', "x" * 5000])
def test_frames_that_nobody_knows_are_named_and_survived(frame):
    session = opened()
    (action,) = session.receive(frame, 0)
    assert isinstance(action, Unknown) and len(action.text) < 300


@pytest.mark.parametrize(
    ("frame", "name", "body"),
    [
        ('42["new-trade",{"data":"{}"}]', "new-trade", b'{"data":"{}"}'),
        ('42["bare"]', "bare", b"null"),
        ('42/name,7["x",1,2]', "x", b"1"),
    ],
)
def test_events(frame, name, body):
    assert opened().receive(frame, 0) == [Arrived(name, body)]


def test_a_join_as_the_venue_wants_it():
    assert event_frame("join", {"channelName": "B-BTC_USDT@trades"}) == '42["join",{"channelName":"B-BTC_USDT@trades"}]'


def test_absurd_ping_times_are_bounded():
    session = Session(3, 0)
    session.receive('0{"pingInterval":0,"pingTimeout":-5}', 0)
    session.receive("40", 0)
    assert session.interval_ns >= 100_000_000 and session.timeout_ns >= 100_000_000


PIECES = [
    "42",
    "[",
    "]",
    '"',
    "\\",
    "{",
    "}",
    "new-trade",
    "data",
    ":",
    ",",
    "1",
    "null",
    '"p"',
    "\ud800",
    "é",
    "0",
    "4",
    " ",
]


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=14).map("".join)))
def test_no_text_whatever_upsets_codec_or_parser(text):
    session = opened()
    for frame in (text, "42" + text, f'42["new-trade",{text}]'):
        for action in session.receive(frame, 0):
            if isinstance(action, Arrived):
                try:
                    parse_event("new-trade", action.body, 0, {}, "P")
                except WireError as error:
                    assert len(str(error)) < 1000
