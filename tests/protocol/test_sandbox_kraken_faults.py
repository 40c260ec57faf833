"""Faults as Kraken's clients meet them, and a kill: what was accepted is found again under the same ids."""

import base64
import contextlib
import csv
import hashlib
import hmac
import http.client
import itertools
import json
import signal
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from core.clock import LiveClock, iso_utc
from core.sandbox_keys import API_KEY, SECRET_KEY
from tests.protocol.kraken_served import NO_LIMIT, Served, synthetic
from tests.protocol.sandbox_program import Program

_nonces = itertools.count(time.time_ns())


@pytest.fixture(scope="module")
def live() -> Iterator[Served]:
    """A market in real time, an hour old, without limits of REST."""
    clock = LiveClock()
    served = synthetic(clock, clock.wall_ms() - 3_600_000, NO_LIMIT, NO_LIMIT)
    yield served
    served.close()


@pytest.fixture
def sound(live: Served) -> Iterator[Served]:
    """The same, left as it was found."""
    yield live
    live.no_faults()
    call(live.port, "CancelAll")


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    made = Program(tmp_path, SANDBOX_PROTOCOL="kraken", PAIRS="BTC/USDT")
    yield made
    made.stop_if_running()


def answer(port: int, name: str, **fields: Any) -> tuple[int, bytes]:
    """(status, body) of a signed request."""
    nonce = str(next(_nonces))
    body = urlencode({"nonce": nonce, **fields})
    path = f"/0/private/{name}"
    digest = hashlib.sha256((nonce + body).encode()).digest()
    signed = hmac.new(base64.b64decode(SECRET_KEY), path.encode() + digest, hashlib.sha512).digest()
    headers = {"API-Key": API_KEY, "API-Sign": base64.b64encode(signed).decode()}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()


def call(port: int, name: str, **fields: Any) -> Any:
    body = json.loads(answer(port, name, **fields)[1])
    assert body["error"] == [], body
    return body["result"]


def errors(port: int, name: str, **fields: Any) -> list[str]:
    return list(json.loads(answer(port, name, **fields)[1])["error"])


def public(port: int, path: str) -> Any:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", f"/0/public/{path}")
        return json.loads(connection.getresponse().read())["result"]


def away(port: int) -> str:
    """A price that a purchase waits at."""
    return f"{Decimal(public(port, 'Ticker?pair=XBTUSDT')['XBTUSDT']['c'][0]) * Decimal('0.8'):.2f}"


def resting(port: int, **more: Any) -> dict[str, Any]:
    """The fields of an order that rests."""
    fields = {"pair": "XBTUSDT", "type": "buy", "ordertype": "limit", "volume": "0.001", "oflags": "fciq"}
    return fields | {"price": away(port)} | more


def wait_for(attempt: Callable[[], Any], seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := attempt()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
    return found


def test_an_order_whose_answer_was_lost_is_found_by_its_client_id(sound: Served) -> None:
    number = sound.fault("dropped_reply", path="/0/private/AddOrder", times=1)
    with pytest.raises((http.client.HTTPException, OSError)):
        answer(sound.port, "AddOrder", **resting(sound.port, cl_ord_id="lost"))
    assert sound.struck(number) == 1
    assert len(call(sound.port, "OpenOrders", cl_ord_id="lost")["open"]) == 1
    assert errors(sound.port, "AddOrder", **resting(sound.port, cl_ord_id="lost")) == ["EOrder:Duplicate cl_ord_id"]


def test_a_request_that_arrives_after_its_deadline_is_not_executed(sound: Served) -> None:
    fields = resting(sound.port, cl_ord_id="late", deadline=iso_utc(time.time_ns() // 1_000_000 + 600))
    sound.fault("latency", path="/0/private/AddOrder", times=1, ms=900)
    assert errors(sound.port, "AddOrder", **fields) == ["EService:Deadline elapsed"]
    assert call(sound.port, "OpenOrders", cl_ord_id="late")["open"] == {}


def test_a_skewed_clock_is_told_and_judges_deadlines_and_nothing_else(sound: Served) -> None:
    sound.fault("clock_skew", ms=30_000)
    ahead_s = public(sound.port, "Time")["unixtime"] - time.time()
    assert 27 < ahead_s < 32
    now_ms = time.time_ns() // 1_000_000
    assert errors(sound.port, "AddOrder", **resting(sound.port, deadline=iso_utc(now_ms + 10_000))) == [
        "EService:Deadline elapsed"
    ]
    assert call(sound.port, "AddOrder", **resting(sound.port, deadline=iso_utc(now_ms + 50_000)))["txid"]
    assert abs(public(sound.port, "Trades?pair=XBTUSDT&count=1")["XBTUSDT"][0][2] - time.time()) < 20


def test_a_late_rejection_ends_an_order_that_was_accepted(sound: Served) -> None:
    sound.fault("late_rejection", ms=300, times=1)
    (txid,) = call(sound.port, "AddOrder", **resting(sound.port))["txid"]
    row = wait_for(
        lambda: (one := call(sound.port, "QueryOrders", txid=txid)[txid]) and one["status"] != "open" and one
    )
    assert row["status"] == "canceled" and row["reason"] and Decimal(row["vol_exec"]) == 0


def test_a_halted_market_says_so_and_takes_cancels_alone(sound: Served) -> None:
    (txid,) = call(sound.port, "AddOrder", **resting(sound.port))["txid"]
    sound.fault("halt", pair="B-BTC_USDT", trading="cancel_only")
    assert public(sound.port, "AssetPairs?pair=XBTUSDT")["XBTUSDT"]["status"] == "cancel_only"
    assert errors(sound.port, "AddOrder", **resting(sound.port)) == ["EService:Market in cancel_only mode"]
    assert call(sound.port, "CancelOrder", txid=txid) == {"count": 1}


def test_streams_tell_when_the_venue_or_a_market_is_halted(sound: Served) -> None:
    with sound.socket("/v2") as socket:
        assert json.loads(str(socket.recv(10)))["data"][0]["system"] == "online"
        params = {"channel": "instrument", "snapshot": False}
        socket.send(json.dumps({"method": "subscribe", "params": params}))
        assert json.loads(str(socket.recv(10)))["success"]
        sound.fault("halt", pair="B-BTC_USDT", trading="cancel_only")
        update = heard(socket, "instrument")
        assert [(pair["symbol"], pair["status"]) for pair in update["data"]["pairs"]] == [("BTC/USDT", "cancel_only")]
        sound.fault("halt")
        assert heard(socket, "status")["data"][0]["system"] == "maintenance"
        sound.no_faults()
        assert heard(socket, "status")["data"][0]["system"] == "online"


def test_changed_lot_rules_are_listed_and_in_force(sound: Served) -> None:
    sound.fault("lot_rules", pair="B-BTC_USDT", step="0.001", min_quantity="0.002")
    row = public(sound.port, "AssetPairs?pair=XBTUSDT")["XBTUSDT"]
    assert (row["lot_decimals"], row["ordermin"]) == (3, "0.002")
    fields = resting(sound.port)
    assert errors(sound.port, "AddOrder", **fields) == ["EOrder:Order minimum not met"]
    assert errors(sound.port, "AddOrder", **(fields | {"volume": "0.0025"})) == ["EGeneral:Invalid arguments:volume"]


@pytest.mark.parametrize(
    ("status", "said"),
    [(429, "EGeneral:Too many requests"), (418, "EGeneral:Temporary lockout"), (503, "EService:Unavailable")],
)
def test_a_status_comes_in_the_venues_words(sound: Served, status: int, said: str) -> None:
    sound.fault("status", path="/0/private/Balance", times=1, status=status)
    found, body = answer(sound.port, "Balance")
    assert (found, json.loads(body)) == (status, {"error": [said]})
    assert call(sound.port, "Balance")


def heard(socket: ClientConnection, channel: str) -> Any:
    """The next message of a channel."""
    while True:
        message = json.loads(str(socket.recv(10)))
        if message.get("channel") == channel:
            return message


def subscribed(socket: ClientConnection) -> None:
    json.loads(str(socket.recv(10)))
    params = {"channel": "trade", "symbol": ["BTC/USDT"], "snapshot": True}
    socket.send(json.dumps({"method": "subscribe", "params": params}))


def test_a_missing_frame_leaves_a_gap_in_the_ids_that_rest_fills(sound: Served) -> None:
    with sound.socket("/v2") as socket:
        subscribed(socket)
        ids: list[int] = []
        number = 0
        while len(ids) < 80:
            message = json.loads(str(socket.recv(10)))
            if message.get("channel") == "trade":
                ids += [trade["trade_id"] for trade in message["data"]]
                number = number or sound.fault("missing", path="/v2", match='"channel":"trade"', times=1)
        assert sound.struck(number) == 1
    gaps = {later - trade for trade, later in itertools.pairwise(ids)} - {1}
    assert len(gaps) == 1
    rest = {row[6] for row in public(sound.port, "Trades?pair=XBTUSDT")["XBTUSDT"]}
    assert set(range(ids[50], ids[-1] + 1)) <= rest


def test_a_cut_socket_is_cut_and_the_next_one_goes_on(sound: Served) -> None:
    with sound.socket("/v2") as socket:
        subscribed(socket)
        sound.fault("cut_frame", path="/v2", match='"type":"update"', times=1)
        with pytest.raises(ConnectionClosed):
            for _ in range(50):
                socket.recv(10)
    with sound.socket("/v2") as socket:
        subscribed(socket)
        assert json.loads(str(socket.recv(10)))["success"] is True


def test_a_kill_changes_no_id_and_loses_no_order(program: Program) -> None:
    program.start()
    program.wait_for(lambda: public(program.port, "SystemStatus"))
    (txid,) = call(program.port, "AddOrder", **resting(program.port, cl_ord_id="before the kill"))["txid"]
    (bought,) = call(program.port, "AddOrder", **resting(program.port, ordertype="market"))["txid"]
    before = public(program.port, "Trades?pair=XBTUSDT")["XBTUSDT"]
    history = call(program.port, "TradesHistory", consolidate_taker="false")["trades"]
    program.end(signal.SIGKILL)
    program.start()
    program.wait_for(lambda: public(program.port, "SystemStatus"))
    assert list(call(program.port, "OpenOrders", cl_ord_id="before the kill")["open"]) == [txid]
    again = call(program.port, "TradesHistory", consolidate_taker="false")["trades"]
    assert history and history.items() <= again.items()
    assert call(program.port, "QueryOrders", txid=bought)[bought]["status"] in ("open", "closed")
    after = {row[6]: row for row in public(program.port, "Trades?pair=XBTUSDT")["XBTUSDT"]}
    assert [after[row[6]] for row in before[200:]] == before[200:]


def test_a_tape_is_played_in_krakens_words(program: Program, tmp_path: Path) -> None:
    base = 1_570_000_000_000
    with (tmp_path / "day.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("ts_ms", "price", "qty"))
        rows.writerows((base + number * 100, 8000 + number % 7, "0.5") for number in range(2000))
    program.start(SANDBOX_TAPE=str(tmp_path / "day.csv"), SANDBOX_SPEED="100")
    program.wait_for(lambda: public(program.port, "SystemStatus"))
    with connect(f"ws://127.0.0.1:{program.port}/v2", proxy=None) as socket:
        subscribed(socket)
        seen: list[dict[str, Any]] = []
        while len(seen) < 2000:
            message = json.loads(str(socket.recv(20)))
            seen += message["data"] if message.get("channel") == "trade" else []
    ids = [trade["trade_id"] for trade in seen]
    assert ids == list(range(ids[0], ids[0] + 2000))
    assert [trade["price"] for trade in seen] == [8000 + number % 7 for number in range(2000)]
    assert seen[0]["timestamp"] == f"{iso_utc(base)[:-1]}000Z"
