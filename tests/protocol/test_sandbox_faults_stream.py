"""Faults of streams over real sockets: each kind does what it says to a client of CoinDCX's face."""

import http.client
import json
import socket as plain
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from core.clock import LiveClock
from sandbox import faults as kinds
from sandbox.app import World
from sandbox.clock import RealClock
from sandbox.listings import LISTINGS
from sandbox.market import Synthetic
from tests.protocol.sandbox_served import Served

PAIR = "B-BTC_USDT"
MARKETS = "/exchange/v1/markets"
CREATE = "/exchange/v1/orders/create"
TRADES = "/socket.io/?EIO=4&transport=websocket"
CUT = (ConnectionResetError, http.client.RemoteDisconnected, http.client.IncompleteRead)


@pytest.fixture(scope="module")
def shared() -> Iterator[Served]:
    clock = LiveClock()
    busy = (LISTINGS[0]._replace(rate=60.0), LISTINGS[1])
    market = Synthetic(1, clock.wall_ms() - 3_600_000, busy)
    made = Served(World(market, RealClock(clock), None), clock)
    yield made
    made.close()


@pytest.fixture
def served(shared: Served) -> Iterator[Served]:
    yield shared
    shared.no_faults()


class Listening:
    """A client that joined a trade channel."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        assert str(socket.recv(10))[0] == "0"
        socket.send("40")
        assert str(socket.recv(10)).startswith("40")
        socket.send(f'42["join",{{"channelName":"{PAIR}@trades"}}]')

    def frames(self, count: int) -> list[str]:
        return [str(self.socket.recv(20)) for _ in range(count)]


def trade(frame: str) -> tuple[int, str, str]:
    row = json.loads(json.loads(frame[2:])[1]["data"])
    return row["T"], row["p"], row["q"]


def printed(served: Served) -> list[tuple[int, float, float]]:
    rows = json.loads(served.call("GET", f"/market_data/trade_history?pair={PAIR}&limit=500")[2])
    return [(row["T"], row["p"], row["q"]) for row in reversed(rows)]


def numbers(frames: list[str]) -> list[tuple[int, float, float]]:
    return [(at, float(price), float(quantity)) for at, price, quantity in map(trade, frames)]


def places(served: Served, seen: list[tuple[int, float, float]]) -> tuple[list[tuple[int, float, float]], list[int]]:
    """The market's own trades, and where in them those are that were seen."""
    rows = printed(served)
    return rows, [rows.index(trade) for trade in seen]


def test_duplicates(served: Served) -> None:
    with served.socket(TRADES) as socket:
        served.fault(kinds.DUPLICATE, every=3)
        frames = Listening(socket).frames(16)
    assert frames[0] == frames[1] and frames[4] == frames[5] and len(set(frames)) <= 12


def test_reordered_trades(served: Served) -> None:
    with served.socket(TRADES) as socket:
        served.fault(kinds.REORDER, every=5)
        seen = numbers(Listening(socket).frames(20))
    assert seen != sorted(seen, key=lambda row: row[0])
    rows, found = places(served, seen)
    assert sorted(seen) == sorted(rows[min(found) : min(found) + len(seen)])  # each once


def test_missing_trades(served: Served) -> None:
    with served.socket(TRADES) as socket:
        number = served.fault(kinds.MISSING, every=4)
        seen = numbers(Listening(socket).frames(16))
    _, found = places(served, seen)
    gone = max(found) - min(found) + 1 - len(seen)
    assert served.struck(number) >= gone >= 3


def test_half_frames_and_garbage(served: Served) -> None:
    with served.socket(TRADES) as socket:
        served.fault(kinds.HALF_FRAME, times=1)
        served.fault(kinds.GARBAGE, text="42[oops", after=1, times=1)
        served.fault(kinds.GARBAGE, text="", after=2, times=1, instead=True)
        half, garbage, second, empty, fourth = Listening(socket).frames(5)
    with pytest.raises(json.JSONDecodeError):
        json.loads(half[2:])
    assert half.startswith("42[") and garbage == "42[oops" and empty == ""
    assert trade(second) and trade(fourth)


def test_a_silent_socket_still_answers_pings(served: Served) -> None:
    with served.socket(TRADES.replace("4&", "3&")) as socket:
        assert str(socket.recv(10))[0] == "0" and socket.recv(10) == "40"
        served.fault(kinds.SILENT)
        socket.send(f'42["join",{{"channelName":"{PAIR}@trades"}}]')
        for _ in range(3):
            socket.send("2")
            assert socket.recv(10) == "3"
            with pytest.raises(TimeoutError):
                socket.recv(0.4)
        served.no_faults()
        assert trade(str(socket.recv(10)))


def test_a_delay_holds_messages_back_in_order(served: Served) -> None:
    with served.socket(TRADES) as socket:
        served.fault(kinds.DELAY, ms=300)
        listening = Listening(socket)
        for _ in range(3):
            at_ms, _, _ = trade(listening.frames(1)[0])
            assert LiveClock().wall_ms() - at_ms >= 300


def test_a_match_picks_its_messages(served: Served) -> None:
    with served.socket(TRADES) as socket:
        served.fault(kinds.MISSING, match=f"{PAIR}")
        listening = Listening(socket)
        socket.send('42["join",{"channelName":"B-ETH_USDT@trades"}]')
        assert all("B-ETH_USDT" in frame for frame in listening.frames(5))


def test_a_disconnect_at_a_message(served: Served) -> None:
    with served.socket(TRADES) as socket:
        served.fault(kinds.DISCONNECT, after=3, times=1)
        listening = Listening(socket)
        listening.frames(3)
        with pytest.raises(ConnectionClosed):
            listening.frames(1)


def test_a_connection_cut_in_the_middle_of_a_message(served: Served) -> None:
    """What arrives after the whole frames is the head of a frame and half of what it announces."""
    served.fault(kinds.CUT_FRAME, after=2, times=1)
    key = "GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    key += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    with plain.create_connection(("127.0.0.1", served.port), 20) as raw:
        raw.sendall((key % TRADES).encode())
        data = raw.recv(65_536)
        raw.sendall(_masked("40"))
        while b'40{"sid"' not in data:
            data += raw.recv(65_536)
        raw.sendall(_masked(f'42["join",{{"channelName":"{PAIR}@trades"}}]'))
        while more := raw.recv(65_536):
            data += more
    frames, rest = _unframed(data.partition(b"\r\n\r\n")[2])
    assert [frame[:2] for frame in frames] == ["0{", "40", "42", "42"]
    size = int.from_bytes(rest[2:4], "big")
    assert rest[:2] == b"\x81\x7e" and 0 < len(rest) - 4 == size // 2


def _masked(text: str) -> bytes:
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text.encode()


def _unframed(data: bytes) -> tuple[list[str], bytes]:
    """The whole text frames, and what is left."""
    frames = []
    while len(data) > 4:
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        if len(data) < start + size:
            break
        frames.append(data[start : start + size].decode())
        data = data[start + size :]
    return frames, data


def test_sockets_are_cut_again_and_again(served: Served) -> None:
    number = served.fault(kinds.DISCONNECT, every_s=0.5)
    for _ in range(3):
        with served.socket(TRADES) as socket, pytest.raises(ConnectionClosed):
            Listening(socket).frames(1_000)
    assert served.struck(number) == 0  # the clock cuts, no message


def test_a_refused_handshake(served: Served) -> None:
    served.fault(kinds.REFUSED, status=403, times=1)
    with pytest.raises(InvalidStatus) as caught, served.socket(TRADES):
        pass
    assert caught.value.response.status_code == 403
    with served.socket(TRADES) as socket:
        assert Listening(socket).frames(1)


def test_maintenance_ends_sockets_refuses_new_ones_and_answers_503(served: Served) -> None:
    with served.socket(TRADES) as socket:
        listening = Listening(socket)
        listening.frames(1)
        number = served.fault(kinds.MAINTENANCE)
        with pytest.raises(ConnectionClosed):
            listening.frames(1_000)
    status, headers, _ = served.call("GET", MARKETS)
    assert (status, headers["content-type"]) == (503, "text/html")
    with pytest.raises(InvalidStatus), served.socket(TRADES):
        pass
    assert served.call("DELETE", f"/sandbox/faults/{number}")[0] == 200
    assert served.call("GET", MARKETS)[0] == 200
