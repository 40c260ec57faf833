"""Binance's public wire: what is asked, and what documented, recorded and broken answers and frames mean."""

import csv
import gzip
import json
from decimal import Decimal

import pytest

from tests.shared_data import shared_data
from venues.binance import wire_public as wire
from venues.binance import wire_stream
from venues.binance.wire_stream import Ack, Reader
from venues.errors import Retry
from venues.venue import SHUTDOWN, SIDE_BUY, SIDE_SELL, Notice, Trade

HOST = "https://x"
FILTERS = [
    {"filterType": "PRICE_FILTER", "minPrice": "0.01000000", "maxPrice": "1000000.00", "tickSize": "0.01000000"},
    {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.00000000", "stepSize": "0.00001000"},
    {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "97.09521512", "stepSize": "0.00000000"},
    {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True, "maxNotional": "9000000.00"},
    {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
]
ROW = {
    "symbol": "BTCUSDT",
    "status": "TRADING",
    "baseAsset": "BTC",
    "baseAssetPrecision": 8,
    "quoteAsset": "USDT",
    "quoteAssetPrecision": 8,
    "isSpotTradingAllowed": True,
    "filters": FILTERS,
}


def info(*rows, **more):
    return json.dumps({"timezone": "UTC", "symbols": list(rows), **more}).encode()


def rules(changes=None, **filters):
    """The rules of ROW with some fields of it and of its filters changed."""
    changed = [{**item, **filters.pop(item["filterType"], {})} for item in FILTERS]
    changed += [{"filterType": name, **fields} for name, fields in filters.items()]
    return wire.parse_markets(info({**ROW, "filters": changed, **(changes or {})})).rows[0]


def test_rules_of_a_recorded_row():
    market = rules()
    assert (market.pair, market.symbol, market.base, market.quote) == ("BTCUSDT", "BTCUSDT", "BTC", "USDT")
    assert (market.tick, market.step) == (Decimal("0.01"), Decimal("0.00001"))
    assert (market.min_quantity, market.min_notional) == (Decimal("0.00001"), Decimal(5))
    assert (market.max_quantity, market.active) == (Decimal("97.09521512"), True)


RULES = {
    "no tick": ({}, {"PRICE_FILTER": {"tickSize": "0.0"}}, "tick", Decimal("1E-8")),
    "no tick, coarse quote": ({"quoteAssetPrecision": 2}, {"PRICE_FILTER": {"tickSize": "0"}}, "tick", Decimal("0.01")),
    "no step": ({"baseAssetPrecision": 6}, {"LOT_SIZE": {"stepSize": "0.00000000"}}, "step", Decimal("1E-6")),
    "step of market orders": ({}, {"MARKET_LOT_SIZE": {"stepSize": "0.001"}}, "step", Decimal("0.001")),
    "steps that do not divide": (
        {},
        {"LOT_SIZE": {"stepSize": "0.4"}, "MARKET_LOT_SIZE": {"stepSize": "0.6"}},
        "step",
        Decimal("1.2"),
    ),
    "least of market orders": ({}, {"MARKET_LOT_SIZE": {"minQty": "0.1"}}, "min_quantity", Decimal("0.1")),
    "least is a step": ({}, {"LOT_SIZE": {"minQty": "0"}}, "min_quantity", Decimal("0.00001")),
    "most of limit orders": ({}, {"LOT_SIZE": {"maxQty": "5"}}, "max_quantity", Decimal(5)),
    "no most": ({}, {"LOT_SIZE": {"maxQty": "0"}, "MARKET_LOT_SIZE": {"maxQty": "0"}}, "max_quantity", None),
    "MIN_NOTIONAL of old": (
        {},
        {"NOTIONAL": {"minNotional": "0"}, "MIN_NOTIONAL": {"minNotional": "10"}},
        "min_notional",
        Decimal(10),
    ),
    "no filters": ({"filters": []}, {}, "min_notional", Decimal(0)),
    "break": ({"status": "BREAK"}, {}, "active", False),
    "cancel only": ({"status": "CANCEL_ONLY"}, {}, "active", False),
    "not for spot": ({"isSpotTradingAllowed": False}, {}, "active", False),
    "unknown fields": ({"new": [{}]}, {"NEW_FILTER": {"x": {"y": 1}}}, "active", True),
}


@pytest.mark.parametrize(("changes", "filters", "field", "value"), RULES.values(), ids=RULES)
def test_rules_of_odd_rows(changes, filters, field, value):
    assert getattr(rules(changes, **filters), field) == value


def test_base_and_quote_are_what_the_row_says_and_not_cut_out_of_the_name():
    market = rules({"symbol": "USDTBTC", "baseAsset": "U", "quoteAsset": "SDTBTC"})
    assert (market.base, market.quote) == ("U", "SDTBTC")


def test_a_row_that_cannot_be_read_is_named_and_the_others_stand():
    bad_filter = {**ROW, "symbol": "A", "filters": [{"filterType": "LOT_SIZE", "stepSize": "nan"}]}
    below = {**ROW, "symbol": "B", "filters": [{"filterType": "LOT_SIZE", "stepSize": "-1"}]}
    absurd = {**ROW, "symbol": "C", "baseAssetPrecision": 40}
    parsed = wire.parse_markets(info(bad_filter, ROW, below, absurd, {"symbol": "D"}, 7))
    assert [market.pair for market in parsed.rows] == ["BTCUSDT"]
    assert parsed.unread == ("A", "B", "C", "D") and "LOT_SIZE of A" in parsed.problem


def test_the_recorded_lists_of_markets():
    new = gzip.decompress(shared_data("raw/binance_spot_exchangeInfo_25symbols.rest.json.gz").read_bytes())
    old = shared_data("raw/binance_spot_exchangeInfo_20211012.http-capture.txt.gz")
    body = gzip.decompress(old.read_bytes()).split(b"\n")[0].split(b": ", 1)[1]
    for text, count, weight in ((new, 25, 6000), (body, 1695, 1200)):
        parsed = wire.parse_markets(text)
        assert (len(parsed.rows), parsed.unread, parsed.windows["weight"].limit) == (count, (), weight)
        symbols = {row["symbol"]: row for row in json.loads(text)["symbols"]}
        for market in parsed.rows:
            row = symbols[market.symbol]
            filters = {item["filterType"]: item for item in row["filters"]}
            assert (market.base, market.quote) == (row["baseAsset"], row["quoteAsset"])
            assert market.tick == Decimal(filters["PRICE_FILTER"]["tickSize"])
            assert market.step == Decimal(filters["LOT_SIZE"]["stepSize"])


TRADE = {"id": 28457, "price": "4.00000100", "qty": "12.0", "quoteQty": "48.0", "time": 1499865549590}


def trades(*rows):
    return wire.parse_trades(json.dumps(rows).encode(), "P", 9)


def test_trades_leave_oldest_first_with_their_ids():
    parsed = trades({**TRADE, "id": 2, "isBuyerMaker": False}, {**TRADE, "id": 1, "isBuyerMaker": True})
    assert parsed.rows == [
        Trade("P", 1499865549590_000_000, 4.000001, 12.0, SIDE_SELL, 1, 9),
        Trade("P", 1499865549590_000_000, 4.000001, 12.0, SIDE_BUY, 2, 9),
    ]


def test_rows_that_are_no_trades_are_counted_and_all_bad_is_an_error():
    good = {**TRADE, "isBuyerMaker": True}
    bad = [{**good, "id": 0}, {**good, "id": 2**63}, {**good, "time": 0}, {**good, "time": 10**15}, TRADE, 5]
    parsed = trades(good, *bad)
    assert len(parsed.rows) == 1 and parsed.bad == len(bad)
    with pytest.raises(Retry, match="none of 6 rows"):
        trades(*bad)
    assert trades().rows == []


CANDLE = [1499040000000, "2", "3", "1", "2.5", "148.5", 1499040059999, "297.0", 308, "1", "2", "0"]


def test_candles_of_the_documents():
    bars = wire.parse_candles(json.dumps([CANDLE]).encode(), "P").rows
    assert bars == [(1499040000000_000_000, 2.0, 3.0, 1.0, 2.5, 148.5, 308)]


@pytest.mark.parametrize(
    ("place", "value"), [(0, 0), (1, "9"), (2, "0.5"), (3, "-1"), (4, "nan"), (5, "-1"), (5, "inf"), (8, -1), (0, "x")]
)
def test_impossible_candles_are_counted(place, value):
    row = [*CANDLE]
    row[place] = value
    parsed = wire.parse_candles(json.dumps([[CANDLE[0] + 60_000, *CANDLE[1:]], row]).encode(), "P")
    assert len(parsed.rows) == 1 and parsed.bad == 1


def test_the_recorded_candles():
    body = gzip.decompress(shared_data("raw/binance_spot_btcusdt_20200506.rest-klines-1m.json.gz").read_bytes())
    bars = wire.parse_candles(body, "BTCUSDT").rows
    rows = json.loads(body)
    assert [bar.open_ns for bar in bars] == [row[0] * 10**6 for row in rows]
    assert [(bar.close, bar.volume, bar.trades) for bar in bars] == [(float(r[4]), float(r[5]), r[8]) for r in rows]


PARSERS = {
    "time": wire.parse_time,
    "markets": wire.parse_markets,
    "trades": lambda body: wire.parse_trades(body, "P", 0),
    "candles": lambda body: wire.parse_candles(body, "P"),
}
BROKEN = {
    "object": b'{"status":"ok"}',
    "half": b'[{"id":1,',
    "nothing": b"",
    "html": b"<html>Oops",
    "nested for ever": b"[" * 100_000,
    "no text": b'["\xff\xfe"]',
    "number": b"7",
}


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_an_answer_of_the_wrong_shape_is_one_clear_error_with_its_text(parse, body):
    with pytest.raises(Retry) as raised:
        parse(body)
    assert f"({len(body)} bytes)" in raised.value.text and body[:3].decode(errors="replace") in raised.value.text


def test_what_is_asked():
    call = wire.candles_call(HOST, "BTCUSDT", 60_000, 0, 120_000)
    assert (call.method, call.url) == ("GET", "https://x/api/v3/klines")
    assert call.query == "symbol=BTCUSDT&interval=1m&startTime=0&endTime=119999&limit=1000"
    assert call.costs == {"weight": 2, "requests": 1} and not call.changes and call.what == "GET /api/v3/klines BTCUSDT"
    assert wire.older_trades_call(HOST, "币", 7).query == "symbol=%E5%B8%81&fromId=7&limit=1000"
    assert wire.markets_call(HOST).query == "showPermissionSets=false"
    assert wire.limits_call(HOST, "A").query == "symbol=A&showPermissionSets=false"
    assert [wire.trades_call(HOST, "A").costs["weight"], wire.time_call(HOST).costs["weight"]] == [25, 1]
    assert wire.time_call(HOST, urgent=True).urgent and not wire.time_call(HOST).urgent


# --- frames ----------------------------------------------------------------------------------------

DATA = {
    "e": "trade",
    "E": 1723161255343,
    "s": "BTCUSDT",
    "t": 3735683259,
    "p": "61837.63000000",
    "q": "0.02000000",
    "T": 1723161255342,
    "m": True,
    "M": True,
}


def read(*frames, pairs=("BTCUSDT",)):
    reader = Reader({name: name for name in pairs})
    items = reader.read([frame if isinstance(frame, str | None) else json.dumps(frame) for frame in frames], 7)
    return items, reader.acks


def combined(**changes):
    return {"stream": "btcusdt@trade", "data": {**DATA, **changes}}


def test_a_recorded_trade():
    items, acks = read(combined(), combined(t=3735683260, m=False))
    assert items[0] == Trade("BTCUSDT", 1723161255342_000_000, 61837.63, 0.02, SIDE_SELL, 3735683259, 7)
    assert (items[1].side, items[1].trade_id, acks) == (SIDE_BUY, 3735683260, [])


BAD_TRADES = {
    "another market": combined(s="ETHUSDT"),
    "no id": combined(t=0),
    "id too large": combined(t=2**63),
    "no time": combined(T=0),
    "a time beyond all": combined(T=10**18),
}


@pytest.mark.parametrize("frame", BAD_TRADES.values(), ids=BAD_TRADES)
def test_a_trade_that_is_none_is_told_with_its_text(frame):
    items, _ = read(frame)
    assert items == [Notice("unreadable trade", json.dumps(frame))]


UNREADABLE = {
    "half": '{"stream":"btcusdt@trade","data":{"e":"tr',
    "price is a list": json.dumps(combined(p=[])),
    "m is 2": json.dumps(combined(m=2)),
    "list": "[1]",
    "nested": '{"data":' + "[" * 100_000,
    "surrogate": '{"e":"\ud800"}',
    "nothing": "",
}


@pytest.mark.parametrize("frame", UNREADABLE.values(), ids=UNREADABLE)
def test_a_frame_that_cannot_be_read_is_told_and_the_next_one_is_read(frame):
    items, _ = read(frame, combined())
    assert items[0].kind == "unreadable frame" and frame[:20] in items[0].text
    assert isinstance(items[1], Trade) and len(items) == 2


def test_a_binary_frame_is_told():
    assert read(None)[0] == [Notice("unknown frame", "a binary frame")]


def test_frames_that_nobody_asked_for_are_told_once_of_a_kind():
    depth = {"stream": "btcusdt@depth@100ms", "data": {"e": "depthUpdate", "b": [["1", "2"]], "a": []}}
    book = {"stream": "btcusdt@bookTicker", "data": {"u": 1, "s": "BTCUSDT", "b": "1", "B": "2", "a": "3", "A": "4"}}
    kline = {"stream": "btcusdt@kline_1m", "data": {"e": "kline", "s": "BTCUSDT", "k": {"t": 1, "q": "1", "x": False}}}
    items, _ = read(depth, book, depth, combined(), book, kline, {"lastUpdateId": 1}, {"lastUpdateId": 2})
    assert [item.text.partition(":")[0] for item in items if isinstance(item, Notice)] == [
        "depthUpdate",
        "bookTicker",
        "kline",
        "frame",
    ]
    many = [{"stream": f"x@kind{n}", "data": {}} for n in range(100)]
    assert len(read(*many)[0]) == wire_stream.KINDS_TOLD


@pytest.mark.parametrize(
    "frame",
    [
        {"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1770123456789}},
        {"e": "serverShutdown", "E": 1770123456789},
    ],
    ids=["wrapped", "bare"],
)
def test_an_announced_end_is_told_in_its_place(frame):
    items, _ = read(combined(), frame, combined(t=3735683260))
    assert [getattr(item, "kind", "trade") for item in items] == ["trade", SHUTDOWN, "trade"]


ACKS = {
    "granted": ({"result": None, "id": 3}, Ack(3)),
    "error of today": ({"code": 2, "msg": "Invalid request: x", "id": 3}, Ack(3, "Invalid request: x", "2")),
    "error without a number": ({"code": 3, "msg": "Invalid JSON: x"}, Ack(0, "Invalid JSON: x", "3")),
    "code 0": ({"code": 0, "msg": "Unknown property", "id": 1}, Ack(1, "Unknown property", "0")),
    "wrapped error": ({"error": {"code": 2}, "id": 1}, Ack(1, '{"code": 2}')),
}


@pytest.mark.parametrize(("frame", "ack"), ACKS.values(), ids=ACKS)
def test_answers_to_our_requests(frame, ack):
    items, acks = read(frame)
    assert (items, acks) == ([], [ack])


def test_subscriptions_are_lower_case_and_in_parts():
    symbols = [f"A{n}USDT" for n in range(450)]
    requests = list(wire_stream.subscriptions(symbols))
    assert [number for number, _ in requests] == [1, 2, 3]
    bodies = [json.loads(text) for _, text in requests]
    assert {body["method"] for body in bodies} == {"SUBSCRIBE"} and [body["id"] for body in bodies] == [1, 2, 3]
    assert [name for body in bodies for name in body["params"]] == [f"a{n}usdt@trade" for n in range(450)]


def test_recorded_frames_bring_every_trade_once_and_in_order():
    frames = gzip.decompress(shared_data("raw/binance_spot_btcusdt_20240808T2354Z.ws.jsonl.gz").read_bytes())
    texts = [line.split(b',"frame":', 1)[1][:-1].decode() for line in frames.splitlines()]
    reader = Reader({"BTCUSDT": "BTCUSDT"})
    items = [item for start in range(0, len(texts), 256) for item in reader.read(texts[start : start + 256], 1)]
    found = [
        (item.time_ns, item.price, item.quantity, item.side, item.trade_id) for item in items if isinstance(item, Trade)
    ]
    ticks = gzip.decompress(shared_data("ticks/binance_spot_btcusdt_20240808T2354Z.ticks.csv.gz").read_bytes())
    sides = {"buy": SIDE_BUY, "sell": SIDE_SELL}
    wanted = [
        (int(row["ts_ns"]), float(row["price"]), float(row["qty"]), sides[row["side"]], int(row["trade_id"]))
        for row in csv.DictReader(ticks.decode().splitlines())
    ]
    assert len(texts) == 99_574 and len(wanted) == 19_904
    assert found == wanted
    told = [item.text.partition(":")[0] for item in items if isinstance(item, Notice)]
    assert sorted(told) == ["bookTicker", "depthUpdate", "frame"]


@pytest.mark.parametrize("day", ["20210417", "20211012"])
def test_other_recorded_streams_hold_nothing_that_cannot_be_read(day):
    lines = gzip.decompress(shared_data(f"raw/binance_spot_combined_{day}.ws-capture.txt.gz").read_bytes()).decode()
    texts = [line.split(": ", 1)[1] for line in lines.splitlines() if line[:1].isdigit()]
    items = Reader({}).read(texts, 1)
    assert len(texts) > 200 and {item.kind for item in items} == {"unknown event"}
