"""The sandbox's Kraken face over real sockets, the public side: shapes, order, quirks, refusals of the fact sheet."""

import calendar
import contextlib
import gzip
import json
import time
from collections.abc import Iterator
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from core.clock import LiveClock, ManualClock
from sandbox import app as sandbox_app
from sandbox.clock import TapeClock
from sandbox.exchange.profiles import Trading
from sandbox.faces import kraken_stream
from sandbox.faces.kraken_names import Names, pair_of
from sandbox.listings import KRAKEN_LISTINGS
from sandbox.market import Synthetic
from sandbox.tape_market import Recording, TapeMarket
from sandbox.trade_ids import TradeIds
from sandbox.trades import Rules, Trades, text_of
from tests.protocol.kraken_served import BORN_MS, NOW_MS, Served, synthetic
from tests.shared_data import shared_data

USDT, USD = "B-BTC_USDT", "B-BTC_USD"
MINUTE_MS = 60_000


def world() -> Synthetic:
    return Synthetic(1, BORN_MS, KRAKEN_LISTINGS)


@pytest.fixture(scope="module")
def still() -> Iterator[Served]:
    """A market whose time stands at NOW_MS."""
    served = synthetic(ManualClock(NOW_MS * 1_000_000))
    yield served
    served.close()


@pytest.fixture(scope="module")
def live() -> Iterator[Served]:
    """A market in real time, an hour old."""
    clock = LiveClock()
    served = synthetic(clock, clock.wall_ms() - 3_600_000)
    yield served
    served.close()


def body_of(served: Served, path: str) -> Any:
    served.let_limits_pass()
    return raw(served, path)


def raw(served: Served, path: str) -> Any:
    status, headers, body = served.call("GET", f"/0/public/{path}")
    assert status == 200 and headers["content-type"].startswith("application/json")
    return json.loads(body)


def result(served: Served, path: str) -> Any:
    body = body_of(served, path)
    assert body["error"] == [], body
    return body["result"]


def error(served: Served, path: str) -> str:
    body = body_of(served, path)
    assert set(body) == {"error"} and len(body["error"]) == 1
    return str(body["error"][0])


# --- REST ------------------------------------------------------------------------------------------------------------


def test_time_and_status(still: Served) -> None:
    told = result(still, "Time")
    assert told["unixtime"] == NOW_MS // 1000
    assert int(parsedate_to_datetime(told["rfc1123"]).timestamp()) == NOW_MS // 1000
    assert len(told["rfc1123"].split(" ")[3]) == 2  # the year
    assert result(still, "SystemStatus")["status"] == "online"


@pytest.mark.parametrize(
    ("name", "key", "altname", "wsname", "base", "quote"),
    [
        ("BTC/USD", "XXBTZUSD", "XBTUSD", "XBT/USD", "XXBT", "ZUSD"),
        ("BTC/USDT", "XBTUSDT", "XBTUSDT", "XBT/USDT", "XXBT", "USDT"),
        ("DOGE/USD", "XDGUSD", "XDGUSD", "XDG/USD", "XXDG", "ZUSD"),
        ("DOGE/USDT", "XDGUSDT", "XDGUSDT", "XDG/USDT", "XXDG", "USDT"),
        ("SOL/USDT", "SOLUSDT", "SOLUSDT", "SOL/USDT", "SOL", "USDT"),
        ("BTC/EUR", "XXBTZEUR", "XBTEUR", "XBT/EUR", "XXBT", "ZEUR"),
    ],
)
def test_each_spelling_finds_the_pair_and_the_answer_is_keyed_by_its_key(
    still: Served, name: str, key: str, altname: str, wsname: str, base: str, quote: str
) -> None:
    for asked in (name, key, altname, wsname):
        found = result(still, f"AssetPairs?pair={asked}")
        assert list(found) == [key]
    row = found[key]
    assert (row["altname"], row["wsname"], row["base"], row["quote"]) == (altname, wsname, base, quote)
    assert list(result(still, f"Trades?pair={wsname}&count=1")) == [key, "last"]


def test_names_are_those_of_the_recorded_list() -> None:
    """Every pair of the venue's own list of 2021 (of fiat money among itself aside) is named as there."""
    with gzip.open(shared_data("raw/kraken_AssetPairs_20210417.http-capture.txt.gz"), "rt") as file:
        text = file.readline()
    rows = json.loads(text[text.index("{") :])["result"]
    own = {"XBT": "BTC", "XDG": "DOGE"}
    wrong, checked = [], 0
    for key, row in rows.items():
        base, _, quote = row.get("wsname", "").partition("/")
        if quote and base not in ("USD", "EUR", "GBP", "AUD"):
            named = pair_of(Rules(own.get(base, base), own.get(quote, quote), "B", 1, 8, 1, 5.0))
            checked += 1
            if (named.key, named.altname, named.wsname) != (key, row["altname"], row["wsname"]):
                wrong.append((named, key))
    assert not wrong and checked > 250


def test_asset_pairs_tell_the_rules_in_force(still: Served) -> None:
    rows = result(still, "AssetPairs")
    assert len(rows) == len(KRAKEN_LISTINGS)
    row = rows["XBTUSDT"]
    assert (row["pair_decimals"], row["lot_decimals"], row["tick_size"]) == (2, 5, "0.01")
    assert (row["ordermin"], row["costmin"], row["status"]) == ("0.00005", "0.5", "online")
    assert row["fees"] == row["fees_maker"] == [[0, 0.05]]
    still.within(lambda: still.exchange.change_rules(USDT, trading=Trading.CANCEL_ONLY, tick=10, step_units=100))
    try:
        row = result(still, "AssetPairs?pair=XBTUSDT")["XBTUSDT"]
        assert (row["status"], row["tick_size"], row["lot_decimals"]) == ("cancel_only", "0.10", 3)
    finally:
        still.within(still.exchange.reset_rules)


def test_assets(still: Served) -> None:
    rows = result(still, "Assets")
    assert rows["XXBT"]["altname"] == "XBT" and rows["XXBT"]["decimals"] == 10
    assert rows["ZUSD"] == {
        "aclass": "currency",
        "altname": "USD",
        "decimals": 4,
        "display_decimals": 2,
        "status": "enabled",
    }
    assert list(result(still, "Assets?asset=BTC,USDT")) == ["XXBT", "USDT"]
    assert error(still, "Assets?asset=NOPE") == "EQuery:Unknown asset"


def test_trades_ascending_with_ids_and_sides(still: Served) -> None:
    rows = result(still, "Trades?pair=XBTUSDT")["XBTUSDT"]
    trades = world().last(USDT, NOW_MS, 1000)
    assert len(rows) == 1000
    assert [row[0] for row in rows] == [text_of(ticks, 2, 5) for ticks in trades.ticks.tolist()]
    assert [row[1] for row in rows] == [text_of(units, 5, 8) for units in trades.units.tolist()]
    assert [round(row[2] * 1000) for row in rows] == trades.ts_ms.tolist()
    assert [row[3] == "s" for row in rows] == trades.sell.tolist()
    assert {row[4] for row in rows} == {"l", "m"} and {row[5] for row in rows} == {""}
    ids = [row[6] for row in rows]
    assert ids == list(range(ids[0], ids[0] + 1000))
    assert ids[-1] == TradeIds(world()).at(USDT, NOW_MS + 1) - 1


def test_trades_are_paged_by_time_and_none_is_lost_or_doubled(still: Served) -> None:
    start = NOW_MS - 120_000
    seen: list[int] = []
    since = str(start * 1_000_000)
    while True:
        page = result(still, f"Trades?pair=XBTUSDT&since={since}&count=97")
        rows, since = page["XBTUSDT"], page["last"]
        assert len(rows) <= 97
        if not rows:
            break
        assert rows[-1][2] == pytest.approx(int(since) / 1e9, abs=1e-6)
        seen += [row[6] for row in rows]
    ids = TradeIds(world())
    assert seen == list(range(ids.at(USDT, start + 1), ids.at(USDT, NOW_MS + 1)))
    assert result(still, f"Trades?pair=XBTUSDT&since={since}")["last"] == since  # nothing new: the same cursor


def test_since_of_trades_may_be_in_seconds(still: Served) -> None:
    at_s = NOW_MS // 1000 - 30
    assert result(still, f"Trades?pair=XBTUSDT&since={at_s}&count=5") == result(
        still, f"Trades?pair=XBTUSDT&since={at_s * 10**9}&count=5"
    )


def test_candles_ascend_and_end_with_the_forming_one(still: Served) -> None:
    told = result(still, "OHLC?pair=XBTUSDT")
    rows = told["XBTUSDT"]
    newest = NOW_MS // MINUTE_MS * 60
    assert [row[0] for row in rows] == [newest - 60 * age for age in range(719, -1, -1)]
    assert told["last"] == newest - 60
    trades = world().span(USDT, newest * 1000, NOW_MS + 1)
    row = rows[-1]
    assert row[4] == text_of(int(trades.ticks[-1]), 2) and row[7] == len(trades)
    assert row[2] == text_of(int(trades.ticks.max()), 2) and row[3] == text_of(int(trades.ticks.min()), 2)
    assert row[6] == text_of(int(trades.units.sum()), 5, 8)
    worth = sum(ticks * units for ticks, units in zip(trades.ticks.tolist(), trades.units.tolist(), strict=True))
    assert Decimal(row[5]) == (Decimal(worth) / int(trades.units.sum()) / 100).quantize(
        Decimal("0.00001"), rounding="ROUND_DOWN"
    )


@pytest.mark.parametrize("minutes", [1, 5, 15, 30, 60, 240, 1440, 10080, 21600])
def test_every_interval_ends_with_its_forming_candle_whatever_since_says(still: Served, minutes: int) -> None:
    rows = result(still, f"OHLC?pair=XBTUSDT&interval={minutes}")["XBTUSDT"]
    newest = NOW_MS // (minutes * MINUTE_MS) * minutes * 60
    times = [row[0] for row in rows]
    assert times == list(range(times[0], newest + 1, minutes * 60)) and len(rows) <= 720
    later = result(still, f"OHLC?pair=XBTUSDT&interval={minutes}&since={NOW_MS}")["XBTUSDT"]
    assert later == rows[-1:]
    assert result(still, f"OHLC?pair=XBTUSDT&interval={minutes}&since={times[-2:][0]}")["XBTUSDT"] == rows[-2:]


def test_candles_equal_those_of_the_venue() -> None:
    """The recorded trades of 2025 as a market: each whole minute of its OHLC is the venue's own, flat ones included."""
    told, theirs = (
        json.loads(gzip.decompress(shared_data(f"raw/kraken_xbtusdt_20251110.rest-{name}.json.gz").read_bytes()))
        for name in ("Trades", "OHLC-1m")
    )
    market = recorded([row[:4] for row in told["result"]["XBTUSDT"]])
    last_ms = int(told["result"]["XBTUSDT"][-1][2]) * 1000
    clock = ManualClock(1_000_000_000)
    tape = sandbox_app.World(market, TapeClock(clock, market.last_ms, market.last_ms, 1.0, 0), None)
    served = Served(tape, clock)
    try:
        ours = {row[0]: row for row in result(served, "OHLC?pair=XBTUSDT")["XBTUSDT"]}
    finally:
        served.close()
    first = market.first_ms // MINUTE_MS * 60 + 60
    compared = 0
    for row in theirs["result"]["XBTUSDT"]:
        if first <= row[0] < last_ms // MINUTE_MS * 60:
            mine = ours[row[0]]
            assert [Decimal(text) for text in (*mine[1:5], mine[6])] == [Decimal(text) for text in (*row[1:5], row[6])]
            assert mine[7] == row[7]
            if row[7]:
                assert abs(Decimal(mine[5]) - Decimal(row[5])) <= Decimal("0.1")
            else:
                assert mine[5:] == row[5:]
            compared += 1
    assert compared > 400


def recorded(rows: list[list[Any]]) -> TapeMarket:
    columns = list(zip(*rows, strict=True))
    trades = Trades(
        np.array([int(at * 1000) for at in columns[2]]),
        np.array([int(Decimal(price).scaleb(1)) for price in columns[0]]),
        np.array([int(Decimal(quantity).scaleb(8)) for quantity in columns[1]]),
        np.array([side == "s" for side in columns[3]]),
    )
    return TapeMarket(Recording(trades, 1, 8, 0), USDT)


def test_the_ticker_is_keyed_and_shaped_as_the_venues(still: Served) -> None:
    row = result(still, "Ticker?pair=XBTUSD")["XXBTZUSD"]
    assert set(row) == set("abcvptlho")
    bid, last, ask = (Decimal(row[name][0]) for name in "bca")
    assert bid < last < ask and [len(row[name]) for name in "abcvptlh"] == [3, 3, 2, 2, 2, 2, 2, 2]
    assert Decimal(row["l"][1]) <= Decimal(row["l"][0]) <= last <= Decimal(row["h"][0]) <= Decimal(row["h"][1])
    assert row["t"][0] <= row["t"][1] and Decimal(row["v"][0]) <= Decimal(row["v"][1])
    day = NOW_MS // MINUTE_MS * MINUTE_MS - 86_400_000
    ids = TradeIds(world())
    assert row["t"][1] == ids.at(USD, NOW_MS + 1) - ids.at(USD, day)
    assert set(result(still, "Ticker?pair=XBTUSD,XBTUSDT")) == {"XXBTZUSD", "XBTUSDT"}


def test_depth(still: Served) -> None:
    book = result(still, "Depth?pair=XBTUSDT&count=5")["XBTUSDT"]
    asks, bids = ([Decimal(level[0]) for level in book[side]] for side in ("asks", "bids"))
    assert len(asks) == len(bids) == 5
    assert asks == sorted(asks) and bids == sorted(bids, reverse=True) and bids[0] < asks[0]
    assert all(level[2] == NOW_MS // 1000 and Decimal(level[1]) > 0 for side in book.values() for level in side)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("Trades?pair=NOPE", "EQuery:Unknown asset pair"),
        ("OHLC?pair=B-BTC_USDT", "EQuery:Unknown asset pair"),
        ("AssetPairs?pair=XBTUSD,NOPE", "EQuery:Unknown asset pair"),
        ("Ticker?pair=NOPE", "EQuery:Unknown asset pair"),
        ("Depth?pair=NOPE", "EQuery:Unknown asset pair"),
        ("Trades", "EGeneral:Invalid arguments"),
        ("Trades?pair=XBTUSD&count=1001", "EGeneral:Invalid arguments:count"),
        ("Trades?pair=XBTUSD&since=yesterday", "EGeneral:Invalid arguments:since"),
        ("OHLC?pair=XBTUSD&interval=2", "EGeneral:Invalid arguments:interval"),
        ("Depth?pair=XBTUSD&count=501", "EGeneral:Invalid arguments:count"),
        ("Nothing", "EGeneral:Unknown method"),
        ("../docs", "EGeneral:Unknown method"),
    ],
)
def test_refusals_come_with_http_200(still: Served, path: str, said: str) -> None:
    assert error(still, path) == said


def test_too_many_calls_are_refused_until_the_counter_has_fallen() -> None:
    served = synthetic(ManualClock(NOW_MS * 1_000_000))
    try:
        bodies = [raw(served, "Time") for _ in range(22)]
        assert [bool(body["error"]) for body in bodies] == 20 * [False] + 2 * [True]
        assert bodies[-1] == {"error": ["EGeneral:Too many requests"]}
        # Trades and OHLC are counted for each pair by itself.
        assert raw(served, "Trades?pair=XBTUSD&count=1")["error"] == []
        served.let_limits_pass(1)
        assert raw(served, "Time")["error"] == []
        assert raw(served, "Time")["error"] == ["EGeneral:Too many requests"]
    finally:
        served.close()


# --- the stream ------------------------------------------------------------------------------------------------------


def say(socket: ClientConnection, method: str, req_id: int | None = None, **params: Any) -> None:
    message: dict[str, Any] = {"method": method} | ({"params": params} if params else {})
    socket.send(json.dumps(message | ({"req_id": req_id} if req_id is not None else {})))


def heard(socket: ClientConnection, seconds: float = 10.0) -> dict[str, Any]:
    return dict(json.loads(str(socket.recv(seconds)), parse_float=Decimal))


def heard_of(socket: ClientConnection, **wanted: str) -> dict[str, Any]:
    """The next message with these fields."""
    while True:
        message = heard(socket)
        if all(message.get(name) == value for name, value in wanted.items()):
            return message


@contextlib.contextmanager
def connected(served: Served) -> Iterator[ClientConnection]:
    with served.socket("/v2") as socket:
        hello = heard(socket)
        assert (hello["channel"], hello["type"]) == ("status", "update")
        data = hello["data"][0]
        assert (data["api_version"], data["system"]) == ("v2", "online") and data["connection_id"] > 0
        yield socket


def test_the_script_of_trades(live: Served) -> None:
    with connected(live) as socket:
        say(socket, "subscribe", 7, channel="trade", symbol=["BTC/USDT", "BTC/USD"], snapshot=True)
        last: dict[str, int] = {}
        for symbol in ("BTC/USDT", "BTC/USD"):
            answer = heard_of(socket, method="subscribe")
            assert answer["success"] is True and answer["req_id"] == 7 and answer["time_in"] <= answer["time_out"]
            assert answer["result"] == {"channel": "trade", "snapshot": True, "symbol": symbol}
            snapshot = heard_of(socket, channel="trade", type="snapshot")["data"]
            assert len(snapshot) == 50 and {trade["symbol"] for trade in snapshot} == {symbol}
            ids = [trade["trade_id"] for trade in snapshot]
            assert ids == list(range(ids[0], ids[0] + 50))
            last[symbol] = ids[-1]
        seen: dict[str, list[dict[str, Any]]] = {symbol: [] for symbol in last}
        while min(map(len, seen.values())) < 15:
            for trade in heard_of(socket, channel="trade", type="update")["data"]:
                seen[trade["symbol"]].append(trade)
        for symbol, trades in seen.items():
            ids = [trade["trade_id"] for trade in trades]
            assert ids == list(range(last[symbol] + 1, last[symbol] + 1 + len(trades)))  # on from the snapshot
        # What was streamed is what REST tells under the same ids.
        rows = {row[6]: row for row in result(live, "Trades?pair=BTC/USDT")["XBTUSDT"]}
        for trade in seen["BTC/USDT"]:
            row = rows[trade["trade_id"]]
            assert (trade["price"], trade["qty"]) == (Decimal(row[0]), Decimal(row[1]))
            assert (trade["side"][0], trade["ord_type"][0]) == (row[3], row[4])
            assert trade["timestamp"][-8:] == f".{round(row[2] * 1000) % 1000:03d}000Z"
            assert set(trade) == {"symbol", "side", "price", "qty", "ord_type", "trade_id", "timestamp"}


def test_numbers_are_written_exactly(live: Served) -> None:
    with connected(live) as socket:
        say(socket, "subscribe", channel="trade", symbol="BTC/USD", snapshot=True)
        text = ""
        while '"type":"snapshot"' not in text:
            text = str(socket.recv(10))
        first = json.loads(text, parse_float=str)["data"][0]
        assert len(first["price"].partition(".")[2]) == 1 and len(first["qty"].partition(".")[2]) == 8


def test_a_subscription_without_snapshot_goes_on_from_the_join(live: Served) -> None:
    with connected(live) as socket:
        say(socket, "subscribe", channel="trade", symbol="BTC/USD")
        assert heard(socket)["result"]["snapshot"] is False
        assert heard_of(socket, channel="trade")["type"] == "update"


def test_candles_of_the_stream_grow_into_those_of_rest(live: Served) -> None:
    with connected(live) as socket:
        say(socket, "subscribe", 1, channel="ohlc", symbol=["BTC/USDT"], interval=1)
        answer = heard(socket)
        assert answer["result"] == {"channel": "ohlc", "snapshot": True, "symbol": "BTC/USDT", "interval": 1}
        snapshot = heard_of(socket, channel="ohlc", type="snapshot")["data"]
        assert len(snapshot) == 60 and snapshot[0]["interval"] == 1
        begins = [bar["interval_begin"] for bar in snapshot]
        assert begins == sorted(begins) and begins[0].endswith(":00.000000000Z")
        bar = [heard_of(socket, channel="ohlc", type="update")["data"][-1] for _ in range(8)][-1]
        rows = result(live, "OHLC?pair=BTC/USDT")["XBTUSDT"]
        begin = calendar.timegm(time.strptime(bar["interval_begin"][:19], "%Y-%m-%dT%H:%M:%S"))
        row = next(row for row in rows if row[0] == begin)
        assert bar["open"] == Decimal(row[1]) and bar["trades"] <= row[7] and bar["volume"] <= Decimal(row[6])
        assert bar["high"] <= Decimal(row[2]) and bar["low"] >= Decimal(row[3])


def test_the_ticker_and_the_list_of_instruments(live: Served) -> None:
    with connected(live) as socket:
        say(socket, "subscribe", channel="ticker", symbol=["BTC/USD"])
        assert heard(socket)["success"] is True
        row = heard_of(socket, channel="ticker", type="snapshot")["data"][0]
        assert row["bid"] < row["last"] < row["ask"] and row["low"] <= row["last"] <= row["high"]
        row = heard_of(socket, channel="ticker", type="update")["data"][0]
        assert {"symbol", "bid_qty", "ask_qty", "volume", "vwap", "change", "change_pct"} <= set(row)
        say(socket, "subscribe", channel="instrument", snapshot=True)
        assert heard_of(socket, method="subscribe")["result"] == {"channel": "instrument", "snapshot": True}
        data = heard_of(socket, channel="instrument", type="snapshot")["data"]
        btc = next(pair for pair in data["pairs"] if pair["symbol"] == "BTC/USD")
        assert btc["price_increment"] == Decimal("0.1") and btc["qty_increment"] == Decimal("1E-8")
        assert btc["qty_min"] == Decimal("5E-8") and btc["cost_min"] == Decimal("0.5")
        assert "BTC" in {asset["id"] for asset in data["assets"]}


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"channel": "trade", "symbol": "XBT/USD"}, "Currency pair not supported XBT/USD"),
        ({"channel": "trade", "symbol": ["BTCUSD"]}, "Currency pair not supported BTCUSD"),
        ({"channel": "trade"}, "Symbol is missing or no text"),
        ({"channel": "trade", "symbol": "BTC/USD", "snapshot": 1}, "snapshot must be true or false"),
        ({"channel": "ohlc", "symbol": "BTC/USD", "interval": 2}, "Unsupported interval"),
        ({"channel": "nothing", "symbol": "BTC/USD"}, "Channel not supported"),
    ],
)
def test_refused_subscriptions(live: Served, params: dict[str, Any], said: str) -> None:
    with connected(live) as socket:
        say(socket, "subscribe", 3, **params)
        answer = heard(socket)
        assert (answer["method"], answer["success"], answer["error"], answer["req_id"]) == ("subscribe", False, said, 3)
        if isinstance(params.get("symbol"), str) and params["channel"] == "trade":
            assert answer["symbol"] == params["symbol"]


def test_a_second_subscription_is_refused_and_an_unsubscription_ends_it(live: Served) -> None:
    with connected(live) as socket:
        for said in (None, "Already subscribed"):
            say(socket, "subscribe", channel="trade", symbol="BTC/USD")
            assert heard_of(socket, method="subscribe").get("error") == said
        for said in (None, "Subscription Not Found"):
            say(socket, "unsubscribe", channel="trade", symbol="BTC/USD")
            assert heard_of(socket, method="unsubscribe").get("error") == said
        with pytest.raises(TimeoutError):
            heard(socket, 1.0)


@pytest.mark.parametrize("text", ["hello", "[1]", '{"method":5}', '{"params":{}}', "[" * 100_000])
def test_what_is_no_request_is_answered_and_the_socket_stays(live: Served, text: str) -> None:
    with connected(live) as socket:
        socket.send(text)
        answer = heard(socket)
        assert (answer["error"], answer["success"]) == ("Malformed request", False)
        say(socket, "ping", 101)
        assert heard(socket)["req_id"] == 101


def test_ping_is_answered_with_pong(live: Served) -> None:
    with connected(live) as socket:
        say(socket, "ping", 5)
        answer = heard(socket)
        assert (answer["method"], answer["req_id"]) == ("pong", 5) and {"time_in", "time_out"} <= set(answer)
        say(socket, "jump")
        assert heard(socket)["error"] == "Unsupported method jump"


def test_heartbeats_fill_the_silence_after_a_subscription_and_only_then(live: Served) -> None:
    with connected(live) as socket:
        with pytest.raises(TimeoutError):
            heard(socket, 1.6)  # longer than a heartbeat takes to come
        say(socket, "subscribe", channel="instrument", snapshot=False)
        heard(socket)
        assert heard(socket, 3.0) == {"channel": "heartbeat"}
        assert heard(socket, 3.0) == {"channel": "heartbeat"}


def test_a_socket_that_nobody_uses_is_closed_and_pings_keep_it(live: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kraken_stream, "IDLE_S", 4.0)
    with connected(live) as kept, connected(live) as idle:
        end = time.monotonic() + 30
        with pytest.raises(ConnectionClosed):
            while time.monotonic() < end:
                say(kept, "ping")
                assert heard(kept)["method"] == "pong"
                with contextlib.suppress(TimeoutError):
                    heard(idle, 0.2)
        say(kept, "ping")
        assert heard(kept)["method"] == "pong"


def test_who_connects_too_often_is_kept_out_for_a_while() -> None:
    served = synthetic(ManualClock(NOW_MS * 1_000_000), connects=3)
    try:
        for _ in range(3):
            with connected(served):
                pass
        for _ in range(2):
            with pytest.raises(InvalidStatus) as refused:
                served.socket("/v2")
            assert refused.value.response.status_code == 429
        served.let_limits_pass(601)
        with connected(served):
            pass
    finally:
        served.close()


def test_spellings_are_found_by_names_alone() -> None:
    names = Names(world().rules)
    found = names.find("xxbtzusd")
    assert found is not None and found.symbol == "BTC/USD" and names.find("") is None
