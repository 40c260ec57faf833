"""The sandbox's CoinDCX face over real sockets: shapes, order, quirks and refusals as the fact sheet has them."""

import asyncio
import contextlib
import http.client
import json
import logging
import threading
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from core.clock import Clock, LiveClock, ManualClock
from sandbox import app as sandbox_app
from sandbox.clock import RealClock
from sandbox.faces import coindcx_stream
from sandbox.market import Synthetic
from sandbox.tape_market import TapeMarket, read_recording
from sandbox.trades import text_of
from sandbox.world import TapeWorld

PAIR = "B-BTC_USDT"
BORN_MS = 1_795_356_912_345
NOW_MS = BORN_MS + 4_000_017
JOIN = '42["join",{"channelName":"%s@trades"}]'


class Served:
    """A face served from a thread of its own."""

    def __init__(self, world: sandbox_app.World, clock: Clock) -> None:
        self._listener = sandbox_app.listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._world, self._clock = world, clock
        self._server: sandbox_app.Server | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(20)

    async def _serve(self) -> None:
        app, hub = sandbox_app.build_app(self._world, self._clock, logging.getLogger("sandbox"))
        self._server = sandbox_app.Server(sandbox_app.config(app))
        self._ready.set()
        await self._server.serve(sockets=[self._listener])
        hub.close()

    def close(self) -> None:
        assert self._server is not None
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def call(self, path: str, method: str = "GET") -> tuple[int, http.client.HTTPMessage, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.headers, json.loads(answer.read())

    def get(self, path: str) -> Any:
        status, _, body = self.call(path)
        assert status == 200, body
        return body

    def refused(self, path: str) -> Any:
        status, _, body = self.call(path)
        assert status == 422, body
        return body

    def socket(self, eio: str = "4") -> ClientConnection:
        address = f"ws://127.0.0.1:{self.port}/socket.io/?EIO={eio}&transport=websocket"
        return connect(address, compression=None, max_queue=None, proxy=None)


def synthetic(clock: Clock, born_ms: int) -> Served:
    return Served(sandbox_app.World(Synthetic(1, born_ms), RealClock(clock), None), clock)


@pytest.fixture(scope="module")
def still() -> Iterator[Served]:
    """A synthetic market whose time stands at NOW_MS."""
    served = synthetic(ManualClock(NOW_MS * 1_000_000), BORN_MS)
    yield served
    served.close()


@pytest.fixture(scope="module")
def live() -> Iterator[Served]:
    """A synthetic market in real time, an hour old."""
    clock = LiveClock()
    served = synthetic(clock, clock.wall_ms() - 3_600_000)
    yield served
    served.close()


@pytest.fixture
def quick_pings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server that pings every second and waits one for the answer."""
    monkeypatch.setattr(coindcx_stream.Stream, "ping_s", lambda self: (1.0, 1.0))
    clock = LiveClock()
    served = synthetic(clock, clock.wall_ms() - 3_600_000)
    yield served
    served.close()


def world() -> Synthetic:
    return Synthetic(1, BORN_MS)


# --- REST ------------------------------------------------------------------------------------------------------------


def test_the_lists_of_markets(still: Served) -> None:
    names = still.get("/exchange/v1/markets")
    rows = still.get("/exchange/v1/markets_details?whatever=1")
    assert names[:2] == ["BTCUSDT", "ETHUSDT"] and [row["coindcx_name"] for row in rows] == names
    for row in rows:
        assert row["pair"] == f"{row['ecode']}-{row['target_currency_short_name']}_{row['base_currency_short_name']}"
        assert row["status"] == "active" and row["min_quantity"] >= row["step"] > 0
        assert row["min_notional"] == (100 if row["base_currency_short_name"] == "INR" else 5)
    btc = rows[0]
    assert (btc["target_currency_precision"], btc["base_currency_precision"], btc["step"]) == (5, 2, 0.00001)


def test_trade_history_newest_first_as_numbers_without_ids(still: Served) -> None:
    rows = still.get(f"/market_data/trade_history?pair={PAIR}&limit=500")
    trades = world().last(PAIR, NOW_MS, 500)
    assert len(rows) == 500 and set(rows[0]) == {"p", "q", "s", "T", "m"}
    assert [row["T"] for row in reversed(rows)] == trades.ts_ms.tolist()
    assert [row["m"] for row in reversed(rows)] == trades.sell.tolist()
    assert rows[0]["p"] == float(text_of(int(trades.ticks[-1]), 2)) and rows[0]["s"] == "BTCUSDT"
    assert all(isinstance(row["p"], int | float) and isinstance(row["m"], bool) for row in rows)


def test_trade_history_limits(still: Served) -> None:
    assert len(still.get(f"/market_data/trade_history?pair={PAIR}")) == 30
    for limit in ("501", "0", "-1", "x", "1.5"):
        assert still.refused(f"/market_data/trade_history?pair={PAIR}&limit={limit}")["status"] == "error"


def test_an_inr_market_tells_whole_seconds(still: Served) -> None:
    rows = still.get("/market_data/trade_history?pair=I-BTC_INR&limit=100")
    assert all(row["T"] % 1000 == 0 for row in rows) and rows[0]["s"] == "BTCINR"


def test_candles_newest_first_the_forming_one_included(still: Served) -> None:
    rows = still.get(f"/market_data/candles?pair={PAIR}&interval=1m&limit=1000")
    times = [row["time"] for row in rows]
    assert times == [NOW_MS // 60_000 * 60_000 - 60_000 * age for age in range(1000)]
    trades = world().span(PAIR, times[0], NOW_MS + 1)
    assert rows[0]["close"] == float(text_of(int(trades.ticks[-1]), 2))
    assert rows[0]["high"] == float(text_of(int(trades.ticks.max()), 2))
    assert rows[0]["volume"] == pytest.approx(int(trades.units.sum()) / 10**5, abs=1e-12)
    assert len(still.get(f"/market_data/candles?pair={PAIR}&interval=1m")) == 500


@pytest.mark.parametrize(("interval", "ms"), [("1m", 60_000), ("15m", 900_000), ("1h", 3_600_000), ("1d", 86_400_000)])
def test_the_four_intervals(still: Served, interval: str, ms: int) -> None:
    rows = still.get(f"/market_data/candles?pair={PAIR}&interval={interval}&limit=3")
    assert [row["time"] for row in rows] == [NOW_MS // ms * ms - age * ms for age in range(len(rows))]


def test_candles_within_start_and_end(still: Served) -> None:
    start, end = NOW_MS // 60_000 * 60_000 - 600_000, NOW_MS // 60_000 * 60_000 - 300_000
    rows = still.get(f"/market_data/candles?pair={PAIR}&interval=1m&startTime={start}&endTime={end}")
    assert [row["time"] for row in rows] == list(range(end, start - 1, -60_000))
    # endTime alone is not looked at; limit counts from the newest.
    rows = still.get(f"/market_data/candles?pair={PAIR}&interval=1m&endTime={end}&limit=2")
    assert rows[0]["time"] == NOW_MS // 60_000 * 60_000 and len(rows) == 2
    whole = still.get(f"/market_data/candles?pair={PAIR}&interval=1m&startTime={start}&endTime={start}")
    trades = world().span(PAIR, start, start + 60_000)
    assert whole[0]["close"] == float(text_of(int(trades.ticks[-1]), 2))


@pytest.mark.parametrize("query", ["interval=5m", "interval=", "interval=1m&limit=1001", "interval=1m&startTime=x"])
def test_candles_that_are_refused(still: Served, query: str) -> None:
    assert still.refused(f"/market_data/candles?pair={PAIR}&{query}")["message"] == "Invalid Request"


def test_candlesticks_are_ascending_and_asked_for_in_seconds(still: Served) -> None:
    to = NOW_MS // 1000
    body = still.get(f"/market_data/candlesticks?pair={PAIR}&from={to - 300}&to={to}&resolution=1&pcode=f")
    times = [row["time"] for row in body["data"]]
    assert body["s"] == "ok" and times == sorted(times) and len(times) == 5 and times[-1] % 60_000 == 0


@pytest.mark.parametrize("path", ["trade_history?", "candles?interval=1m&", "orderbook?", "candlesticks?"])
def test_an_unknown_pair_is_refused_as_the_venue_does(still: Served, path: str) -> None:
    body = still.refused(f"/market_data/{path}pair=NOPE")
    assert body == {"code": 422, "errorCode": "BFF-SO-004", "message": "Invalid pair NOPE", "status": "error"}
    still.refused("/market_data/trade_history?pair=BTCUSDT")  # the market's name is not the pair's


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/exchange/v1/orders/create"), ("POST", "/exchange/ticker"), ("GET", "/docs")],
)
def test_a_wrong_path_or_method_is_not_found(still: Served, method: str, path: str) -> None:
    status, _, body = still.call(path, method)
    assert (status, body) == (404, {"code": 404, "message": "not_found", "status": "error"})


def test_the_ticker_is_text_and_its_time_is_in_seconds(still: Served) -> None:
    rows = still.get("/exchange/ticker")
    btc = rows[0]
    assert btc["market"] == "BTCUSDT" and btc["timestamp"] == NOW_MS // 1000
    assert all(isinstance(value, str) for name, value in btc.items() if name != "timestamp")
    assert float(btc["low"]) <= float(btc["bid"]) <= float(btc["last_price"]) <= float(btc["ask"])
    assert float(btc["last_price"]) <= float(btc["high"])


def test_the_order_book_is_keyed_by_price(still: Served) -> None:
    book = still.get(f"/market_data/orderbook?pair={PAIR}&depth=20")
    assert len(book["bids"]) == len(book["asks"]) == 20
    assert max(map(float, book["bids"])) < min(map(float, book["asks"]))
    assert all(isinstance(quantity, str) and float(quantity) > 0 for quantity in book["bids"].values())
    still.refused(f"/market_data/orderbook?pair={PAIR}&depth=3")


def test_headers_tell_the_markets_time_and_the_allowance(still: Served) -> None:
    _, headers, _ = still.call("/exchange/v1/markets")
    assert int(parsedate_to_datetime(headers["date"]).timestamp()) == NOW_MS // 1000
    assert headers["ratelimit-policy"] == "5000;w=60" and headers["x-request-id"]
    assert headers["ratelimit"].startswith("limit=5000, remaining=")
    assert headers["content-type"].startswith("application/json")
    assert len(headers.get_all("date") or []) == 1 and "server" not in headers


def test_too_many_calls_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.faces.coindcx_public.Allowance.__init__.__defaults__", (2,))
    served = synthetic(ManualClock(NOW_MS * 1_000_000), BORN_MS)
    try:
        assert [served.call("/exchange/v1/markets")[0] for _ in range(4)] == [200, 200, 429, 429]
    finally:
        served.close()


# --- the stream ------------------------------------------------------------------------------------------------------


def connected(socket: ClientConnection) -> None:
    hello = str(socket.recv(10))
    assert hello[0] == "0" and json.loads(hello[1:])["pingInterval"] == 25000
    socket.send("40")
    assert str(socket.recv(10)).startswith('40{"sid":"')


def trade_of(frame: str | bytes) -> dict[str, Any]:
    """The trade in a frame: JSON inside JSON."""
    text = str(frame)
    assert text.startswith("42"), text
    name, outer = json.loads(text[2:])
    assert name == outer["event"] == "new-trade" and isinstance(outer["data"], str)
    return dict(json.loads(outer["data"]))


def test_the_script_of_the_stream(live: Served) -> None:
    with live.socket() as socket:
        connected(socket)
        socket.send(JOIN % PAIR)
        trades = [trade_of(socket.recv(10)) for _ in range(12)]
        assert set(trades[0]) == {"T", "p", "q", "m", "s", "pr"}
        assert all(trade["s"] == PAIR and trade["m"] in (0, 1) and trade["pr"] == "spot" for trade in trades)
        assert all(isinstance(trade["p"], str) and len(trade["p"].partition(".")[2]) == 8 for trade in trades)
        times = [trade["T"] for trade in trades]
        assert times == sorted(times)
        # What was streamed is what REST tells, in the same order.
        rows = list(reversed(live.get(f"/market_data/trade_history?pair={PAIR}&limit=500")))
        first = next(index for index, row in enumerate(rows) if row["T"] == times[0])
        told = [(row["T"], row["p"], row["q"], int(row["m"])) for row in rows[first : first + len(trades)]]
        assert told == [(trade["T"], float(trade["p"]), float(trade["q"]), trade["m"]) for trade in trades]


def silent(socket: ClientConnection, seconds: float = 0.7) -> bool:
    try:
        socket.recv(seconds)
    except TimeoutError:
        return True
    return False


@pytest.mark.parametrize(
    "packet",
    [
        JOIN % "B-NOPE_USDT",
        JOIN % "BTCUSDT",  # the market's name in place of the pair's
        '42["join",{"channelName":"B-BTC_USDT"}]',
        '42["join",{"channelName":7}]',
        '42["join"]',
        '42["ping",{"data":"Ping message"}]',
        '42["subscribe",{"channelName":"B-BTC_USDT@trades"}]',
    ],
)
def test_what_the_venue_meets_with_silence(live: Served, packet: str) -> None:
    with live.socket() as socket:
        connected(socket)
        socket.send(packet)
        assert silent(socket)


def test_many_channels_on_one_socket_double_joins_and_leaving(live: Served) -> None:
    pairs = [PAIR, "B-ETH_USDT", "B-SOL_USDT", "B-XRP_USDT", "I-BTC_INR"]
    with live.socket() as socket:
        connected(socket)
        for pair in [*pairs, PAIR]:
            socket.send(JOIN % pair)
        seen: set[str] = set()
        while seen != set(pairs):
            seen.add(trade_of(socket.recv(20))["s"])
        for pair in pairs:
            socket.send((JOIN % pair).replace('"join"', '"leave"'))
        with contextlib.suppress(TimeoutError):
            while True:
                socket.recv(0.7)
        assert silent(socket)


def closes(socket: ClientConnection) -> bool:
    try:
        while True:
            socket.recv(10)
    except ConnectionClosed:
        return True


@pytest.mark.parametrize("packet", ["2", "hello", '42["join"', '42{"a":1}', "", b"\x04"])
def test_malformed_packets_and_a_clients_ping_close_the_socket(live: Served, packet: str | bytes) -> None:
    with live.socket() as socket:
        connected(socket)
        socket.send(packet)
        assert closes(socket)


def test_a_join_before_the_connection_is_confirmed_closes_the_socket(live: Served) -> None:
    with live.socket() as socket:
        socket.recv(10)
        socket.send("40")
        socket.send(JOIN % PAIR)
        assert closes(socket)


def test_an_old_client_pings_by_itself_and_never_asks_for_the_connection(live: Served) -> None:
    with live.socket("3") as socket:
        assert str(socket.recv(10))[0] == "0"
        assert socket.recv(10) == "40"
        socket.send("2")
        assert socket.recv(10) == "3"
        socket.send(JOIN % PAIR)
        assert trade_of(socket.recv(10))["s"] == PAIR
        socket.send("40")
        assert closes(socket)


def test_a_client_that_answers_pings_stays_and_one_that_does_not_is_closed(quick_pings: Served) -> None:
    with quick_pings.socket() as socket:
        connected(socket)
        for _ in range(3):
            assert socket.recv(10) == "2"
            socket.send("3")
        assert closes(socket)


def test_long_polling_is_refused(still: Served) -> None:
    status, _, body = still.call("/socket.io/?EIO=4&transport=polling")
    assert (status, body) == (400, {"code": 1, "message": "Session ID unknown"})


# --- a tape ----------------------------------------------------------------------------------------------------------


def test_a_tape_is_played_from_the_join_to_its_end_in_order(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    base = 1_570_000_000_000
    rows = [(base + number // 3 * 40, 8000 + number % 7 / 2, 1 + number % 5) for number in range(9000)]
    path.write_text("ts_ms,price,qty,side\n" + "".join(f"{t},{p},{q},sell\n" for t, p, q in rows))
    clock = LiveClock()
    market = TapeMarket(read_recording(path, PAIR), PAIR)
    tape = TapeWorld(tmp_path, path.name, len(market), (market.first_ms, market.last_ms), 300.0, clock)
    served = Served(sandbox_app.World(market, tape.clock, tape), clock)
    try:
        assert served.get(f"/market_data/trade_history?pair={PAIR}") == []
        assert served.get(f"/market_data/candles?pair={PAIR}&interval=1m") == []
        assert served.get("/exchange/ticker") == []
        (details,) = served.get("/exchange/v1/markets_details")
        assert (details["pair"], details["base_currency_precision"], details["step"]) == (PAIR, 1, 1.0)
        with served.socket() as socket:
            connected(socket)
            socket.send(JOIN % PAIR)
            trades = [trade_of(socket.recv(20)) for _ in rows]
            assert [(trade["T"], float(trade["p"]), float(trade["q"])) for trade in trades] == rows
            assert {trade["m"] for trade in trades} == {1}
            assert silent(socket)
        _, headers, last = served.call(f"/market_data/trade_history?pair={PAIR}&limit=500")
        assert [row["T"] for row in reversed(last)] == [t for t, _, _ in rows[-500:]]
        assert int(parsedate_to_datetime(headers["date"]).timestamp()) == rows[-1][0] // 1000
        bars = served.get(f"/market_data/candles?pair={PAIR}&interval=1m")
        assert [row["time"] for row in bars] == sorted({t // 60_000 * 60_000 for t, _, _ in rows}, reverse=True)
        assert sum(row["volume"] for row in bars) == sum(q for _, _, q in rows)
    finally:
        served.close()
