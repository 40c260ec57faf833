"""The faults of requests and streams strike every face alike: they are the gate's, and no face knows of them."""

import http.client
import itertools
import json
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from core.clock import LiveClock
from sandbox import faults as kinds
from tests.protocol.sandbox_served import Served, synthetic

CUT = (ConnectionResetError, http.client.RemoteDisconnected, http.client.IncompleteRead)


class Ways(NamedTuple):
    """What a client of a protocol asks for, hears, and is told when it is refused."""

    public: str
    stream: str
    begin: Callable[[ClientConnection], None]
    refused: dict[int, Any]  # body by status


def coindcx(socket: ClientConnection) -> None:
    socket.recv(10)
    socket.send("40")
    socket.recv(10)
    for pair in ("BTC", "ETH", "SOL", "XRP"):
        socket.send(f'42["join",{{"channelName":"B-{pair}_USDT@trades"}}]')


def binance(socket: ClientConnection) -> None:
    """The streams are named in the address."""


def kraken(socket: ClientConnection) -> None:
    socket.recv(10)
    symbols = ["BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT"]
    params = {"channel": "trade", "symbol": symbols, "snapshot": False}
    socket.send(json.dumps({"method": "subscribe", "params": params}))
    for _ in symbols:
        socket.recv(10)


STREAMS = "/".join(f"{name}usdt@trade" for name in ("btc", "eth", "sol", "xrp"))
WAYS = {
    "coindcx": Ways(
        "/exchange/v1/markets",
        "/socket.io/?EIO=4&transport=websocket",
        coindcx,
        {
            429: {"code": 429, "message": "Too Many Requests", "status": "error"},
            503: {"code": 503, "message": "Service Unavailable", "status": "error"},
        },
    ),
    "binance": Ways(
        "/api/v3/time",
        f"/stream?streams={STREAMS}",
        binance,
        {429: {"code": -1003, "msg": "Too Many Requests"}, 503: {"code": -1000, "msg": "Service Unavailable"}},
    ),
    "kraken": Ways(
        "/0/public/Time",
        "/v2",
        kraken,
        {429: {"error": ["EGeneral:Too many requests"]}, 503: {"error": ["EService:Unavailable"]}},
    ),
}


@pytest.fixture(scope="module", params=WAYS)
def shared(request: pytest.FixtureRequest) -> Iterator[tuple[Served, Ways]]:
    clock = LiveClock()
    made = synthetic(clock, clock.wall_ms() - 3_600_000, request.param)
    yield made, WAYS[request.param]
    made.close()


@pytest.fixture
def peer(shared: tuple[Served, Ways]) -> Iterator[tuple[Served, Ways]]:
    yield shared
    shared[0].no_faults()


def data(socket: ClientConnection, count: int) -> list[str]:
    """The next messages of trades."""
    found: list[str] = []
    while len(found) < count:
        text = str(socket.recv(20))
        if "rade" in text and "heartbeat" not in text:
            found.append(text)
    return found


@pytest.mark.parametrize("status", [429, 503])
def test_a_status_is_in_the_venues_own_words(peer: tuple[Served, Ways], status: int) -> None:
    served, ways = peer
    served.fault(kinds.STATUS, path=ways.public, status=status, retry_after_s=3, times=1)
    answered, headers, body = served.call("GET", ways.public)
    assert (answered, json.loads(body), headers["retry-after"]) == (status, ways.refused[status], "3")
    assert served.call("GET", ways.public)[0] == 200


@pytest.mark.parametrize("kind", [kinds.DROPPED_REPLY, kinds.LOST_REQUEST, kinds.CUT_REPLY])
def test_a_connection_that_ends(peer: tuple[Served, Ways], kind: str) -> None:
    served, ways = peer
    served.fault(kind, path=ways.public, times=1)
    with pytest.raises(CUT):
        served.call("GET", ways.public)
    assert served.call("GET", ways.public)[0] == 200


def test_a_page_of_html_and_maintenance(peer: tuple[Served, Ways]) -> None:
    served, ways = peer
    served.fault(kinds.HTML, times=1, status=502)
    assert served.call("GET", ways.public)[0] == 502
    served.fault(kinds.MAINTENANCE)
    status, headers, body = served.call("GET", ways.public)
    assert (status, headers["content-type"]) == (503, "text/html") and body.startswith(b"<!DOCTYPE")
    with pytest.raises(InvalidStatus), served.socket(ways.stream):
        pass


def test_the_date_is_skewed(peer: tuple[Served, Ways]) -> None:
    served, ways = peer
    served.fault(kinds.CLOCK_SKEW, ms=-3_600_000)
    date = served.call("GET", ways.public)[1]["date"]
    assert date is not None
    assert -3_610 < parsedate_to_datetime(date).timestamp() - LiveClock().wall_ms() / 1000 < -3_590


def test_duplicates_silence_and_garbage(peer: tuple[Served, Ways]) -> None:
    served, ways = peer
    with served.socket(ways.stream) as socket:
        ways.begin(socket)
        served.fault(kinds.DUPLICATE, match="rade", times=1)
        found = data(socket, 12)
        assert any(one == other for one, other in itertools.pairwise(found))
        served.fault(kinds.GARBAGE, match="rade", text="}{", times=1)
        while socket.recv(20) != "}{":
            pass
        number = served.fault(kinds.SILENT)
        while served.struck(number) < 5:
            pass
        served.no_faults()
        assert data(socket, 1)


@pytest.mark.parametrize("kind", [kinds.DISCONNECT, kinds.CUT_FRAME])
def test_a_socket_that_ends(peer: tuple[Served, Ways], kind: str) -> None:
    served, ways = peer
    with served.socket(ways.stream) as socket:
        ways.begin(socket)
        served.fault(kind, match="rade", after=2, times=1)
        with pytest.raises(ConnectionClosed):
            data(socket, 1_000)
    with served.socket(ways.stream) as socket:
        ways.begin(socket)
        assert data(socket, 1)
