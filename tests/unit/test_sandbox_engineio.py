"""The server's side of Engine.IO and Socket.IO, packet by packet."""

import json

import pytest

from sandbox.faces.engineio import Close, Connected, Event, Pong, Send, Session


def session(version: int = 4, connected: bool = False) -> Session:
    made = Session(version, "x", "y")
    if connected and version == 4:
        made.receive("40")
        made.was_connected()
    return made


def test_the_handshake_of_version_4() -> None:
    (hello,) = session().opening()
    assert hello == '0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
    assert session().receive("40") == [Connected('40{"sid":"y"}')]


def test_the_handshake_of_version_3_connects_unasked() -> None:
    hello, connected = session(3).opening()
    assert hello[0] == "0" and json.loads(hello[1:])["pingInterval"] == 25000
    assert connected == "40"


def test_events_of_both_versions() -> None:
    join = '42["join",{"channelName":"B-BTC_USDT@trades"}]'
    want = [Event("join", {"channelName": "B-BTC_USDT@trades"})]
    assert session(4, True).receive(join) == want
    assert session(3).receive(join) == want
    assert session(4, True).receive(join.replace("42", "4217")) == want  # asks for an acknowledgement: never given
    assert session(4, True).receive('42["ping"]') == [Event("ping", None)]


CLOSING = [
    ("2", "a client of version 4 never pings"),
    ("", "empty"),
    ("hello", "no packet"),
    ("4", "no message"),
    ("43[]", "an acknowledgement"),
    ("42", "no event"),
    ("42{}", "no array"),
    ("42[]", "no name"),
    ("42[1]", "no text as name"),
    ('42["join"', "half JSON"),
    ('45-["join",{}]', "binary event"),
    ("1", "leaves"),
    ("41", "leaves the namespace"),
    ("40", "connects twice"),
    ("5", "upgrade"),
]


@pytest.mark.parametrize(("packet", "why"), CLOSING, ids=[why for _, why in CLOSING])
def test_what_closes_a_connected_socket(packet: str, why: str) -> None:
    (action,) = session(4, True).receive(packet)
    assert isinstance(action, Close)


def test_an_event_before_the_connection_is_confirmed_closes() -> None:
    early = session()
    assert isinstance(early.receive('42["join",{}]')[0], Close)
    asked = session()
    asked.receive("40")
    assert isinstance(asked.receive('42["join",{}]')[0], Close)


def test_who_pings_whom() -> None:
    assert session(4, True).receive("3") == [Pong()]
    assert session(3).receive("2") == [Pong(), Send("3")]
    assert isinstance(session(3).receive("3")[0], Close)
    assert isinstance(session(3).receive("40")[0], Close)


def test_noop_and_unknown_namespaces_are_no_reason_to_close() -> None:
    assert session(4, True).receive("6") == []
    assert session().receive("40/private,{}") == [Send('44/private,{"message":"Invalid namespace"}')]
    assert isinstance(session().receive("40[1]")[0], Close)
    assert session().receive('40{"token":"1"}') == [Connected('40{"sid":"y"}')]
