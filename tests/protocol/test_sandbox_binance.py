"""The Binance face over real sockets, public REST: shapes, order, ids, limits and refusals of the fact sheet."""

import itertools
import json
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from core.clock import LiveClock, ManualClock
from sandbox.app import World
from sandbox.faces.binance import add_binance
from sandbox.market import Synthetic
from sandbox.tape_market import TapeMarket, read_recording
from sandbox.trade_ids import FIRST
from sandbox.world import TapeWorld
from tests.protocol.binance_served import Served, synthetic

BORN_MS = 1_795_356_912_345
NOW_MS = BORN_MS + 4_000_017
MINUTE = 60_000
PAIR = "B-BTC_USDT"


@pytest.fixture(scope="module")
def still() -> Iterator[Served]:
    """A synthetic market whose time stands at NOW_MS."""
    served = synthetic(ManualClock(NOW_MS * 1_000_000), BORN_MS, partial(add_binance, weight_a_minute=10**6))
    yield served
    served.close()


def refused(served: Served, path: str, method: str = "GET") -> tuple[int, int, str]:
    status, _, body = served.call(method, path)
    error = json.loads(body)
    assert set(error) == {"code", "msg"}
    return status, error["code"], error["msg"]


# --- general ---------------------------------------------------------------------------------------------------------


def test_ping_and_time(still: Served) -> None:
    assert still.get("/api/v3/ping") == {}
    assert still.get("/api/v3/time") == {"serverTime": NOW_MS}


def test_what_is_listed(still: Served) -> None:
    info = still.get("/api/v3/exchangeInfo")
    assert (info["timezone"], info["serverTime"], info["exchangeFilters"]) == ("UTC", NOW_MS, [])
    limits = {(limit["rateLimitType"], limit["interval"]): limit["limit"] for limit in info["rateLimits"]}
    assert limits["REQUEST_WEIGHT", "MINUTE"] == 6000 and limits["ORDERS", "SECOND"] == 100
    names = [row["symbol"] for row in info["symbols"]]
    assert names[:2] == ["BTCUSDT", "ETHUSDT"] and len(set(names)) == len(names) == 30
    for row in info["symbols"]:
        assert row["symbol"] == row["baseAsset"] + row["quoteAsset"] and row["status"] == "TRADING"
        assert row["permissionSets"] == [["SPOT"]] and row["permissions"] == [] and row["isSpotTradingAllowed"]
        filters = {one["filterType"]: one for one in row["filters"]}
        tick, step = Decimal(filters["PRICE_FILTER"]["tickSize"]), Decimal(filters["LOT_SIZE"]["stepSize"])
        assert tick > 0 and step > 0 and Decimal(filters["LOT_SIZE"]["minQty"]) % step == 0
        assert Decimal(filters["NOTIONAL"]["minNotional"]) == (100 if row["quoteAsset"] == "INR" else 5)
        assert (
            filters["MARKET_LOT_SIZE"]["stepSize"] == "0.00000000" and filters["MAX_NUM_ORDERS"]["maxNumOrders"] == 200
        )
        assert {"PERCENT_PRICE_BY_SIDE", "MAX_NUM_ALGO_ORDERS", "ICEBERG_PARTS"} < set(filters)
    btc = {one["filterType"]: one for one in info["symbols"][0]["filters"]}
    assert (btc["PRICE_FILTER"]["tickSize"], btc["LOT_SIZE"]["stepSize"]) == ("0.01000000", "0.00001000")


def test_listings_are_chosen(still: Served) -> None:
    def symbols(query: str) -> list[str]:
        return [row["symbol"] for row in still.get(f"/api/v3/exchangeInfo?{query}")["symbols"]]

    assert symbols("symbol=ETHUSDT") == ["ETHUSDT"]
    assert symbols("symbols=%5B%22ETHUSDT%22%2C%22BTCUSDT%22%5D") == ["ETHUSDT", "BTCUSDT"]
    assert symbols("permissions=MARGIN") == symbols("symbolStatus=HALT") == []
    assert len(symbols("permissions=SPOT")) == 30
    plain = still.get("/api/v3/exchangeInfo?symbol=BTCUSDT&showPermissionSets=false")
    assert plain["symbols"][0]["permissionSets"] == []


def test_a_changed_rule_is_listed(still: Served) -> None:
    exchange = still.exchange
    still.within(lambda: exchange.change_rules("B-SOL_USDT", step_units=250, min_units=250))
    filters = still.get("/api/v3/exchangeInfo?symbol=SOLUSDT")["symbols"][0]["filters"]
    assert {"filterType": "LOT_SIZE", "minQty": "0.25000000", "stepSize": "0.25000000"}.items() <= filters[1].items()
    still.within(exchange.reset_rules)


REFUSALS = {
    "an unknown market": ("trades?symbol=NOPE", 400, -1121),
    "a name in lower case": ("trades?symbol=btcusdt", 400, -1100),
    "no market": ("trades", 400, -1102),
    "an empty parameter": ("trades?symbol=", 400, -1105),
    "a parameter twice": ("trades?symbol=BTCUSDT&symbol=BTCUSDT", 400, -1101),
    "an unknown parameter": ("trades?symbol=BTCUSDT&since=1", 400, -1104),
    "a limit of none": ("trades?symbol=BTCUSDT&limit=0", 400, -1130),
    "a limit that is none": ("trades?symbol=BTCUSDT&limit=ten", 400, -1100),
    "an unknown interval": ("klines?symbol=BTCUSDT&interval=7m", 400, -1120),
    "an interval in the wrong case": ("klines?symbol=BTCUSDT&interval=1H", 400, -1120),
    "no interval": ("klines?symbol=BTCUSDT", 400, -1102),
    "ids and times together": ("aggTrades?symbol=BTCUSDT&fromId=1&startTime=1", 400, -1128),
    "an unknown market among several": ("ticker/price?symbols=%5B%22BTCUSDT%22,%22NOPE%22%5D", 400, -1121),
    "a market twice": ("ticker/price?symbols=%5B%22BTCUSDT%22,%22BTCUSDT%22%5D", 400, -1151),
    "no list": ("ticker/price?symbols=BTCUSDT", 400, -1100),
    "a signed call without a key": ("account", 401, -2014),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_refused(still: Served, name: str) -> None:
    path, status, code = REFUSALS[name]
    assert refused(still, f"/api/v3/{path}")[:2] == (status, code)


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/v3/nothing"), ("POST", "/api/v3/trades"), ("GET", "/docs")])
def test_paths_that_do_not_exist_are_html(still: Served, method: str, path: str) -> None:
    status, headers, body = still.call(method, path)
    assert status == 404 and headers["content-type"].startswith("text/html") and b"404" in body


# --- trades ----------------------------------------------------------------------------------------------------------


def test_recent_trades_ascend_with_ids_that_rise_by_one(still: Served) -> None:
    rows = still.get("/api/v3/trades?symbol=BTCUSDT&limit=1000")
    truth = Synthetic(1, BORN_MS).last(PAIR, NOW_MS, 1000)
    assert [row["time"] for row in rows] == truth.ts_ms.tolist()
    assert [row["isBuyerMaker"] for row in rows] == truth.sell.tolist()
    assert [Decimal(row["price"]) for row in rows] == [Decimal(ticks) / 100 for ticks in truth.ticks.tolist()]
    assert [row["id"] for row in rows] == list(range(rows[0]["id"], rows[0]["id"] + 1000))
    assert all(Decimal(row["quoteQty"]) == Decimal(row["price"]) * Decimal(row["qty"]) for row in rows)
    assert len(still.get("/api/v3/trades?symbol=BTCUSDT")) == 500
    assert len(still.get("/api/v3/trades?symbol=BTCUSDT&limit=5000")) == 1000


def test_old_trades_by_id_are_the_same_and_reach_back_to_the_first(still: Served) -> None:
    rows = still.get("/api/v3/trades?symbol=ETHUSDT&limit=1000")
    first = rows[0]["id"]
    assert still.get(f"/api/v3/historicalTrades?symbol=ETHUSDT&fromId={first + 10}&limit=5") == rows[10:15]
    assert still.get(f"/api/v3/historicalTrades?symbol=ETHUSDT&fromId={rows[-1]['id']}") == rows[-1:]
    assert still.get(f"/api/v3/historicalTrades?symbol=ETHUSDT&fromId={rows[-1]['id'] + 1}") == []
    assert still.get("/api/v3/historicalTrades?symbol=ETHUSDT&limit=1000") == rows
    born = still.get(f"/api/v3/historicalTrades?symbol=ETHUSDT&fromId={FIRST}&limit=1")
    assert born[0]["id"] == FIRST and born[0]["time"] >= BORN_MS // MINUTE * MINUTE
    oldest = still.get("/api/v3/historicalTrades?symbol=ETHUSDT&fromId=0&limit=2")
    assert oldest[0]["id"] < FIRST and oldest[0]["time"] < BORN_MS - 71 * 3_600_000


def test_aggregate_trades_by_id_and_by_time(still: Served) -> None:
    rows = still.get("/api/v3/aggTrades?symbol=BTCUSDT&limit=1000")
    assert len(rows) == 1000 and any(row["l"] > row["f"] for row in rows)
    assert set(rows[0]) == {"a", "p", "q", "f", "l", "T", "m", "M"}
    assert all(later["f"] == row["l"] + 1 and later["a"] == row["a"] + 1 for row, later in itertools.pairwise(rows))
    trades = still.get(f"/api/v3/historicalTrades?symbol=BTCUSDT&fromId={rows[-500]['f']}&limit=1000")
    for row in rows[-500:]:
        own = [trade for trade in trades if row["f"] <= trade["id"] <= row["l"]]
        assert {(trade["price"], trade["time"], trade["isBuyerMaker"]) for trade in own} == {
            (row["p"], row["T"], row["m"])
        }
        assert sum(Decimal(trade["qty"]) for trade in own) == Decimal(row["q"])
    start, end = rows[20]["T"], rows[60]["T"]
    within = still.get(f"/api/v3/aggTrades?symbol=BTCUSDT&startTime={start}&endTime={end}")
    assert within == [row for row in rows if start <= row["T"] <= end]
    assert still.get(f"/api/v3/aggTrades?symbol=BTCUSDT&startTime={start}&limit=3") == within[:3]
    assert still.get(f"/api/v3/aggTrades?symbol=BTCUSDT&endTime={end}&limit=3") == within[-3:]
    assert still.get(f"/api/v3/aggTrades?symbol=BTCUSDT&fromId={rows[5]['a']}&limit=2") == rows[5:7]


# --- candles ---------------------------------------------------------------------------------------------------------


def test_candles_with_all_their_columns_the_unclosed_one_last(still: Served) -> None:
    rows = still.get("/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1000")
    assert [row[0] for row in rows] == [NOW_MS // MINUTE * MINUTE - MINUTE * age for age in reversed(range(1000))]
    assert rows[-1][6] > NOW_MS > rows[-2][6] and all(row[6] == row[0] + MINUTE - 1 for row in rows)
    trades = Synthetic(1, BORN_MS).span(PAIR, rows[-2][0], rows[-1][0])
    buys = [(t, u) for t, u, sell in zip(*(c.tolist() for c in trades[1:]), strict=True) if not sell]
    assert rows[-2][8] == len(trades) and Decimal(rows[-2][5]) * 10**5 == int(trades.units.sum())
    assert Decimal(rows[-2][7]) * 10**7 == sum(
        t * u for t, u in zip(trades.ticks.tolist(), trades.units.tolist(), strict=True)
    )
    assert Decimal(rows[-2][9]) * 10**5 == sum(u for _, u in buys)
    assert Decimal(rows[-2][10]) * 10**7 == sum(t * u for t, u in buys)
    assert rows[-2][11] == "0" and len(rows[-2]) == 12
    assert len(still.get("/api/v3/klines?symbol=BTCUSDT&interval=1m")) == 500


@pytest.mark.parametrize("interval", ["3m", "15m", "1h", "4h", "1d", "3d", "1w", "1M"])
def test_long_candles_are_made_of_short_ones(still: Served, interval: str) -> None:
    (row,) = still.get(f"/api/v3/klines?symbol=BTCUSDT&interval={interval}&limit=1")
    small = "1m" if interval[-1] in "mh" else "1d"
    parts = still.get(f"/api/v3/klines?symbol=BTCUSDT&interval={small}&startTime={row[0]}&limit=1000")
    assert (row[4], row[2]) == (parts[-1][4], max((part[2] for part in parts), key=Decimal))
    assert row[8] == sum(part[8] for part in parts) and Decimal(row[7]) == sum(Decimal(part[7]) for part in parts)


def test_seconds_and_times(still: Served) -> None:
    rows = still.get("/api/v3/klines?symbol=MLKUSDT&interval=1s&limit=1000")
    assert [row[0] for row in rows] == [NOW_MS // 1000 * 1000 - 1000 * age for age in reversed(range(1000))]
    flat = [row for row in rows if row[8] == 0]
    assert flat and all(row[1] == row[2] == row[3] == row[4] and Decimal(row[5]) == 0 for row in flat)
    start, end = rows[100][0], rows[110][0]
    query = f"symbol=MLKUSDT&interval=1s&startTime={start}"
    assert still.get(f"/api/v3/klines?{query}&endTime={end}") == rows[100:111]
    assert still.get(f"/api/v3/klines?{query}&limit=5") == rows[100:105]


EDGES = [
    f"{path}&{name}={value}"
    for path, names in (
        ("trades?symbol=BTCUSDT", ("limit",)),
        ("historicalTrades?symbol=BTCUSDT", ("limit", "fromId")),
        ("aggTrades?symbol=BTCUSDT", ("fromId", "startTime", "endTime")),
        ("aggTrades?symbol=BTCUSDT&startTime=0", ("endTime",)),
        ("klines?symbol=BTCUSDT&interval=1M", ("startTime", "endTime")),
        ("klines?symbol=BTCUSDT&interval=1s", ("startTime", "endTime")),
        ("depth?symbol=BTCUSDT", ("limit",)),
    )
    for name in names
    for value in (1, 2**63 - 1, 2**63)
]


@pytest.mark.parametrize("path", EDGES)
def test_numbers_at_the_edge_of_what_there_is(still: Served, path: str) -> None:
    status, _, body = still.call("GET", f"/api/v3/{path}")
    answer = json.loads(body)
    assert status == 200 if not path.endswith("808") else (status, answer["code"]) == (400, -1108)


# --- tickers and the book --------------------------------------------------------------------------------------------


def test_book_and_tickers(still: Served) -> None:
    book = still.get("/api/v3/depth?symbol=BTCUSDT&limit=10")
    bids, asks = ([Decimal(price) for price, _ in book[side]] for side in ("bids", "asks"))
    assert bids == sorted(bids, reverse=True) and asks == sorted(asks) and bids[0] < asks[0] and len(bids) == 10
    quote = still.get("/api/v3/ticker/bookTicker?symbol=BTCUSDT")
    assert [quote["bidPrice"], quote["bidQty"]] == book["bids"][0] and [quote["askPrice"], quote["askQty"]] == book[
        "asks"
    ][0]
    price = still.get("/api/v3/ticker/price?symbol=BTCUSDT")
    assert price == {"symbol": "BTCUSDT", "price": still.get("/api/v3/trades?symbol=BTCUSDT&limit=1")[0]["price"]}
    assert len(still.get("/api/v3/ticker/price")) == len(still.get("/api/v3/ticker/bookTicker")) == 30
    assert still.get("/api/v3/ticker/price?symbols=%5B%22BTCUSDT%22%5D") == [price]
    average = still.get("/api/v3/avgPrice?symbol=BTCUSDT")
    assert average["mins"] == 5 and abs(Decimal(average["price"]) / Decimal(price["price"]) - 1) < Decimal("0.02")


def test_the_days_ticker(still: Served) -> None:
    day = still.get("/api/v3/ticker/24hr?symbol=BTCUSDT")
    newest = still.get("/api/v3/trades?symbol=BTCUSDT&limit=1")[0]
    assert (day["lastId"], day["lastPrice"], day["lastQty"]) == (newest["id"], newest["price"], newest["qty"])
    assert day["count"] == day["lastId"] - day["firstId"] + 1 and day["closeTime"] - day["openTime"] == 86_400_000
    assert Decimal(day["lowPrice"]) <= Decimal(day["weightedAvgPrice"]) <= Decimal(day["highPrice"])
    assert Decimal(day["priceChange"]) == Decimal(day["lastPrice"]) - Decimal(day["openPrice"])
    mini = still.get("/api/v3/ticker/24hr?symbol=BTCUSDT&type=MINI")
    assert mini.items() <= day.items() and "priceChange" not in mini


# --- limits ----------------------------------------------------------------------------------------------------------


def test_weight_is_told_and_beyond_it_comes_429_then_a_ban() -> None:
    clock = ManualClock(NOW_MS * 1_000_000)
    served = synthetic(clock, BORN_MS, partial(add_binance, weight_a_minute=60))
    try:
        used = [
            served.call("GET", f"/api/v3/{path}")[1]["X-MBX-USED-WEIGHT-1M"]
            for path in ("ping", "trades?symbol=NO", "order")
        ]
        assert used == ["1", "26", "30"]
        status, headers, body = served.call("GET", "/api/v3/trades?symbol=BTCUSDT&limit=1")
        assert status == 200 and headers["X-MBX-USED-WEIGHT"] == "55"
        status, headers, body = served.call("GET", "/api/v3/exchangeInfo")
        assert status == 429 and json.loads(body)["code"] == -1003 and 0 < int(headers["Retry-After"]) <= 60
        statuses = [served.call("GET", "/api/v3/exchangeInfo")[0] for _ in range(20)]
        assert statuses == [429] * 19 + [418]
        status, headers, body = served.call("GET", "/api/v3/ping")
        assert status == 418 and int(headers["Retry-After"]) == 120 and "IP banned until" in json.loads(body)["msg"]
        clock.advance(120 * 1_000_000_000)
        assert served.call("GET", "/api/v3/ping")[0] == 200
    finally:
        served.close()


# --- a restart and a tape --------------------------------------------------------------------------------------------


def test_ids_are_the_same_after_a_restart(still: Served) -> None:
    rows = still.get("/api/v3/trades?symbol=BTCUSDT&limit=100")
    again = synthetic(ManualClock((NOW_MS + 5_000) * 1_000_000), BORN_MS)
    try:
        later: list[dict[str, Any]] = again.get(f"/api/v3/historicalTrades?symbol=BTCUSDT&fromId={rows[0]['id']}")
        assert later[:100] == rows
    finally:
        again.close()


def test_a_tape_has_ids_and_no_candles_before_its_first_trade(tmp_path: Any) -> None:
    path = tmp_path / "day.csv"
    base = 1_570_000_020_000
    rows = [(base + number * 45_000, 8000 + number, 1) for number in range(9)]
    path.write_text("ts_ms,price,qty\n" + "".join(f"{t},{p},{q}\n" for t, p, q in rows))
    clock = LiveClock()
    market = TapeMarket(read_recording(path, PAIR), PAIR)
    tape = TapeWorld(tmp_path, path.name, len(market), (market.first_ms, market.last_ms), 3000.0, clock)
    served = Served(World(market, tape.clock, tape), clock)
    try:
        assert served.get("/api/v3/trades?symbol=BTCUSDT") == []
        assert served.get("/api/v3/klines?symbol=BTCUSDT&interval=1m") == []
        assert served.get("/api/v3/depth?symbol=BTCUSDT")["bids"] == []
        with served.socket("/ws/btcusdt@trade") as socket:
            heard = [json.loads(socket.recv(20)) for _ in rows]
        assert [(one["T"], Decimal(one["p"])) for one in heard] == [(t, p) for t, p, _ in rows]
        told = served.get("/api/v3/trades?symbol=BTCUSDT")
        assert [row["id"] for row in told] == [one["t"] for one in heard] == list(range(FIRST, FIRST + 9))
        bars = served.get("/api/v3/klines?symbol=BTCUSDT&interval=1m")
        assert [bar[0] for bar in bars] == list(range(base // MINUTE * MINUTE, rows[-1][0] + 1, MINUTE))
        assert sum(bar[8] for bar in bars) == 9
    finally:
        served.close()
