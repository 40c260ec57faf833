"""The Binance face over real sockets, public streams: what is told, what may be asked, what costs the connection."""

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Opcode
from websockets.sync.client import ClientConnection

from core.clock import LiveClock
from sandbox.app import World
from sandbox.faces.binance import add_binance
from sandbox.faces.binance_socket import Manners
from sandbox.tape_market import TapeMarket, read_recording
from sandbox.world import TapeWorld
from tests.protocol.binance_served import Served, synthetic

PAIR = "B-BTC_USDT"
TRADE = {"e", "E", "s", "t", "p", "q", "T", "m", "M"}


def served_with(manners: Manners | None = None, pings: tuple[float, float] | None = None) -> Served:
    """A market in real time, an hour old."""
    clock = LiveClock()
    return synthetic(clock, clock.wall_ms() - 3_600_000, partial(add_binance, manners=manners), pings)


@pytest.fixture(scope="module")
def live() -> Iterator[Served]:
    served = served_with()
    yield served
    served.close()


@pytest.fixture
def served() -> Iterator[Callable[..., Served]]:
    """Makes markets with other manners."""
    with contextlib.ExitStack() as stack:

        def made(*arguments: Any) -> Served:
            one = served_with(*arguments)
            stack.callback(one.close)
            return one

        yield made


def heard(socket: ClientConnection, seconds: float = 20) -> Any:
    return json.loads(socket.recv(seconds))


def silent(socket: ClientConnection, seconds: float = 0.4) -> bool:
    try:
        socket.recv(seconds)
    except TimeoutError:
        return True
    return False


def closed(socket: ClientConnection) -> tuple[int | None, list[Any]]:
    """(close code, what was heard before)."""
    before = []
    try:
        while True:
            before.append(heard(socket))
    except ConnectionClosed as error:
        return error.rcvd.code if error.rcvd else None, before


def ask(socket: ClientConnection, method: str, params: Any = None, number: Any = 1) -> Any:
    """A request's answer; frames of streams meanwhile are passed over."""
    socket.send(json.dumps({"method": method, "id": number} | ({} if params is None else {"params": params})))
    while True:
        frame = heard(socket)
        if "result" in frame or "code" in frame:
            return frame


# --- what is told ----------------------------------------------------------------------------------------------------


def test_trades_bare_gapless_and_as_rest_has_them(live: Served) -> None:
    with live.socket("/ws/btcusdt@trade") as socket:
        trades = [heard(socket) for _ in range(12)]
    assert set(trades[0]) == TRADE and trades[0]["e"] == "trade" and trades[0]["s"] == "BTCUSDT"
    ids = [trade["t"] for trade in trades]
    assert ids == list(range(ids[0], ids[0] + 12))
    rows = live.get(f"/api/v3/historicalTrades?symbol=BTCUSDT&fromId={ids[0]}&limit=12")
    assert [(row["id"], row["price"], row["qty"], row["time"], row["isBuyerMaker"]) for row in rows] == [
        (trade["t"], trade["p"], trade["q"], trade["T"], trade["m"]) for trade in trades
    ]


def test_a_reconnect_goes_on_where_rest_fills_the_gap(live: Served) -> None:
    with live.socket("/ws/ethusdt@trade") as socket:
        last = heard(socket)["t"]
    with live.socket("/ws/ethusdt@trade") as socket:
        first = heard(socket)["t"]
    between = live.get(f"/api/v3/historicalTrades?symbol=ETHUSDT&fromId={last + 1}&limit=1000")
    assert first > last and [row["id"] for row in between][: first - last] == list(range(last + 1, first + 1))


def test_many_streams_on_one_wrapped_connection(live: Served) -> None:
    names = ["btcusdt@trade", "ethusdt@trade", "solusdt@aggTrade", "xrpusdt@trade"]
    with live.socket(f"/stream?streams={'/'.join(names)}") as socket:
        seen: dict[str, int] = {}
        while set(seen) != set(names) or min(seen.values()) < 1:
            frame = heard(socket)
            assert set(frame) == {"stream", "data"} and frame["data"]["s"].lower() == frame["stream"].split("@")[0]
            seen[frame["stream"]] = seen.get(frame["stream"], 0) + 1


def test_candles_of_a_second_close_once_each_and_equal_rest(live: Served) -> None:
    with live.socket("/ws/btcusdt@kline_1s") as socket:
        frames = [heard(socket) for _ in range(10)]
    bars = [frame["k"] for frame in frames if frame["k"]["x"]]
    starts = [bar["t"] for bar in bars]
    assert len(bars) >= 3 and starts == list(range(starts[0], starts[-1] + 1, 1000))
    rows = live.get(f"/api/v3/klines?symbol=BTCUSDT&interval=1s&startTime={starts[0]}&endTime={starts[-1]}")
    for bar, row in zip(bars, rows, strict=True):
        told = [bar[name] for name in ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B")]
        assert told == row and (bar["n"] == 0 or bar["L"] - bar["f"] + 1 == bar["n"])


def test_a_running_candle_begins_with_what_was_traded_before(live: Served) -> None:
    with live.socket("/stream?streams=btcusdt@kline_1d") as socket:
        bar = heard(socket)["data"]["k"]
    (row,) = live.get(f"/api/v3/klines?symbol=BTCUSDT&interval=1d&startTime={bar['t']}&limit=1")
    assert (bar["o"], bar["i"], bar["x"]) == (row[1], "1d", False) and 0 < bar["n"] <= row[8]


def test_a_tape_played_fast_loses_neither_trade_nor_candle(tmp_path: Path) -> None:
    base = 1_570_000_020_000
    times = [base + minute * 60_000 + number * 97 for minute in range(60) if minute % 7 for number in range(50)]
    path = tmp_path / "hour.csv"
    path.write_text("ts_ms,price,qty\n" + "".join(f"{at},{8000 + at % 13},{1 + at % 3}\n" for at in times))
    clock = LiveClock()
    market = TapeMarket(read_recording(path, PAIR), PAIR)
    tape = TapeWorld(tmp_path, path.name, len(market), (market.first_ms, market.last_ms), 3000.0, clock)
    fast = Served(World(market, tape.clock, tape), clock)
    try:
        bars, told = [], []
        with fast.socket("/stream?streams=btcusdt@trade/btcusdt@kline_1m") as socket:
            while len(told) < len(times) or bars[-1]["t"] < times[-1] // 60_000 * 60_000 - 60_000:
                frame = heard(socket)["data"]
                if frame["e"] == "trade":
                    told.append((frame["t"], frame["T"]))
                elif frame["k"]["x"]:
                    bars.append(frame["k"])
        assert told == list(enumerate(times, told[0][0]))
        rows = fast.get(f"/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={bars[0]['t']}")
        names = ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B")
        assert [[bar[name] for name in names] for bar in bars] == rows[: len(bars)] and len(bars) >= 58
    finally:
        fast.close()


def test_book_tickers_rise(live: Served) -> None:
    with live.socket("/ws/mlkusdt@bookTicker") as socket:
        frames = [heard(socket) for _ in range(3)]
    assert set(frames[0]) == {"u", "s", "b", "B", "a", "A"}
    assert all(float(frame["b"]) < float(frame["a"]) for frame in frames)
    updates = [frame["u"] for frame in frames]
    assert updates == sorted(set(updates))


# --- what may be asked -----------------------------------------------------------------------------------------------


def test_subscriptions_come_and_go(live: Served) -> None:
    with live.socket("/ws") as socket:
        assert ask(socket, "LIST_SUBSCRIPTIONS") == {"result": [], "id": 1}
        assert ask(socket, "SUBSCRIBE", ["btcusdt@trade", "ethusdt@aggTrade"], "mine") == {"result": None, "id": "mine"}
        seen: set[str] = set()
        while seen != {"trade", "aggTrade"}:
            seen.add(heard(socket)["e"])
        assert ask(socket, "UNSUBSCRIBE", ["btcusdt@trade", "never@there"], None) == {"result": None, "id": None}
        assert ask(socket, "LIST_SUBSCRIPTIONS", None, 7) == {"result": ["ethusdt@aggTrade"], "id": 7}
        assert {heard(socket)["e"] for _ in range(4)} == {"aggTrade"}
    with live.socket("/stream") as socket:
        assert ask(socket, "GET_PROPERTY", ["combined"])["result"] is True
        ask(socket, "SUBSCRIBE", ["btcusdt@trade"])
        assert heard(socket)["stream"] == "btcusdt@trade"
        ask(socket, "SET_PROPERTY", ["combined", False])
        frame = heard(socket)
        while "data" in frame or "result" in frame:  # what was under way
            frame = heard(socket)
        assert set(frame) == TRADE


@pytest.mark.parametrize(
    "name", ["BTCUSDT@trade", "btcusdt@TRADE", "nope@trade", "btcusdt@kline_7m", "btcusdt", "btcusdt@depth", ""]
)
def test_what_is_subscribed_to_without_a_word_and_stays_silent(live: Served, name: str) -> None:
    with live.socket("/ws") as socket:
        assert ask(socket, "SUBSCRIBE", [name]) == {"result": None, "id": 1}
        assert ask(socket, "LIST_SUBSCRIPTIONS")["result"] == [name]
        assert silent(socket)


@pytest.mark.parametrize(
    ("text", "code", "begins"),
    [
        ("hello", 3, "Invalid JSON"),
        ("[1]", 2, "Invalid request"),
        ('{"id":1}', 2, "Invalid request: missing field `method`"),
        (
            '{"method":"subscribe","params":[],"id":1}',
            2,
            "Invalid request: unknown variant `subscribe`, expected one of",
        ),
        ('{"method":["SUBSCRIBE"],"params":[],"id":1}', 2, "Invalid request"),
        ('{"method":"SUBSCRIBE","params":"btcusdt@trade","id":1}', 2, "Invalid request"),
        ('{"method":"SUBSCRIBE","params":[1],"id":1}', 2, "Invalid request"),
        ('{"method":"LIST_SUBSCRIPTIONS","id":1.5}', 2, "Invalid request: request ID"),
        ('{"method":"LIST_SUBSCRIPTIONS","id":"with space"}', 2, "Invalid request: request ID"),
        ('{"method":"GET_PROPERTY","params":["other"],"id":1}', 0, "Unknown property"),
        ('{"method":"SET_PROPERTY","params":["combined",1],"id":1}', 1, "Invalid value type"),
        ('{"method":"SET_PROPERTY","id":1}', 2, "Invalid request: property name"),
        ("[" * 100_000, 3, "Invalid JSON"),
    ],
)
def test_error_frames(live: Served, text: str, code: int, begins: str) -> None:
    with live.socket("/ws") as socket:
        socket.send(text)
        frame = heard(socket)
        assert frame["code"] == code and frame["msg"].startswith(begins) and "id" in frame
        assert ask(socket, "LIST_SUBSCRIPTIONS")["result"] == []  # it lives on


# --- what costs the connection ---------------------------------------------------------------------------------------


def test_more_than_five_messages_in_a_second(live: Served) -> None:
    with live.socket("/ws") as socket:
        for _ in range(6):
            socket.send('{"method":"LIST_SUBSCRIPTIONS","id":1}')
        code, before = closed(socket)
    assert code == 1008 and len(before) <= 5


def test_a_binary_message(live: Served) -> None:
    with live.socket("/ws") as socket:
        socket.send(b"\x01")
        assert closed(socket)[0] == 1008


def test_too_many_streams(served: Callable[..., Served]) -> None:
    few = served(Manners(streams_most=3))
    with few.socket("/ws/a@trade/b@trade") as socket:
        assert ask(socket, "SUBSCRIBE", ["a@trade", "c@trade"])["result"] is None
        socket.send('{"method":"SUBSCRIBE","params":["d@trade"],"id":2}')
        assert closed(socket)[0] == 1008
    with few.socket("/stream?streams=a/b/c/d") as socket:
        assert closed(socket)[0] == 1008


def test_too_many_connections_of_one_address(served: Callable[..., Served]) -> None:
    few = served(Manners(attempts_most=2))
    for _ in range(2):
        with few.socket("/ws/btcusdt@trade") as socket:
            heard(socket)
    with pytest.raises(InvalidStatus, match="403"), few.socket("/ws/btcusdt@trade"):
        pass


@pytest.mark.parametrize("path", ["/ws/btcusdt@trade", "/stream?streams=btcusdt@trade", "/ws-api/v3"])
def test_a_connection_is_warned_and_then_cut_at_the_end_of_its_life(served: Callable[..., Served], path: str) -> None:
    short = served(Manners(life_s=1.2, warning_s=0.6))
    with short.socket(path) as socket:
        code, frames = closed(socket)
    assert code == 1001
    unwrapped = [frame.get("data", frame.get("event", frame)) for frame in frames]
    (place,) = [number for number, frame in enumerate(unwrapped) if frame["e"] == "serverShutdown"]
    assert frames[place].get("stream", "!serverShutdown") == "!serverShutdown" and unwrapped[place]["E"] > 0
    others = {frame["e"] for frame in unwrapped} - {"serverShutdown"}
    assert others <= ({"trade"} if "btcusdt" in path else set())  # as many as come until then


def test_ping_frames_want_an_answer(served: Callable[..., Served]) -> None:
    quick = served(None, (0.2, 0.4))
    with quick.socket("/ws/nope@trade") as socket:
        assert silent(socket, 1.2)  # the library answers pings
    with quick.socket("/ws/nope@trade") as deaf:
        receive = deaf.protocol.recv_frame
        deaf.protocol.recv_frame = lambda frame: None if frame.opcode is Opcode.PING else receive(frame)  # type: ignore
        assert closed(deaf)[0] == 1011


# --- faults strike each frame, also where many are written in one piece ----------------------------------------------


def ids_under(served: Served, kind: str, count: int, **fields: Any) -> list[int]:
    served.fault(kind, **fields)
    try:
        with served.socket("/stream?streams=btcusdt@trade") as socket:
            return [heard(socket)["data"]["t"] for _ in range(count)]
    finally:
        served.no_faults()


def test_frames_twice_missing_and_in_the_wrong_order(live: Served) -> None:
    twice = ids_under(live, "duplicate", 8)
    assert twice[::2] == twice[1::2] == list(range(twice[0], twice[0] + 4))
    gone = ids_under(live, "missing", 4, every=2)
    assert gone == list(range(gone[0], gone[0] + 8, 2))
    swapped = ids_under(live, "reorder", 6)
    assert swapped != sorted(swapped) and sorted(swapped) == list(range(min(swapped), min(swapped) + 6))
