"""Kraken's public wire: what is asked, and what documented, recorded and broken answers mean."""

import contextlib
import csv
import gzip
import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import pairs
from core.clock import LiveClock
from core.settings_load import from_texts
from tests import kraken_data
from tests.shared_data import shared_data
from venues.choose import market_data
from venues.kraken import naming
from venues.kraken import wire_public as wire
from venues.kraken.frames import WireError
from venues.venue import SIDE_BUY, SIDE_SELL, SIDE_UNKNOWN

ROW = {
    "altname": "XBTUSDT",
    "wsname": "XBT/USDT",
    "base": "XXBT",
    "quote": "USDT",
    "cost_decimals": 5,
    "pair_decimals": 1,
    "lot_decimals": 8,
    "fees": [[0, 0.4], [10000, 0.35]],
    "ordermin": "0.00005",
    "costmin": "0.5",
    "tick_size": "0.1",
    "status": "online",
}


def rules(**changes):
    return wire.parse_markets(kraken_data.answer({"KEY": {**ROW, **changes}})).rows[0]


def test_rules_of_a_recorded_row():
    market = rules()
    assert (market.pair, market.symbol, market.base, market.quote) == ("BTC/USDT", "XBTUSDT", "BTC", "USDT")
    assert (market.tick, market.step) == (Decimal("0.1"), Decimal("1E-8"))
    assert (market.min_quantity, market.min_notional) == (Decimal("0.00005"), Decimal("0.5"))
    assert market.active and market.max_quantity is None


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        pytest.param({"tick_size": None}, "tick", Decimal("0.1"), id="tick by decimals"),
        pytest.param({"tick_size": "0.5"}, "tick", Decimal("0.5"), id="tick coarser than decimals"),
        pytest.param({"ordermin": "0"}, "min_quantity", Decimal("1E-8"), id="step counts"),
        pytest.param({"ordermin": 2}, "min_quantity", Decimal(2), id="number"),
        pytest.param({"status": "cancel_only"}, "active", False, id="cancel only"),
        pytest.param({"wsname": "XDG/USD"}, "pair", "DOGE/USD", id="doge"),
        pytest.param({"lot_decimals": 0}, "step", Decimal(1), id="whole lots"),
    ],
)
def test_rules_of_odd_rows(changes, field, value):
    assert getattr(rules(**changes), field) == value


def test_a_row_that_cannot_be_read_is_counted_and_named_and_the_others_stand():
    missing = {name: value for name, value in ROW.items() if name != "pair_decimals"}
    rows = {
        "GOOD": ROW,
        "MISSING": missing,
        "NAN": {**ROW, "ordermin": "nan"},
        "HUGE": {**ROW, "costmin": "1e999999"},
        "NOTICK": {**ROW, "tick_size": "0"},
        "ABSURD": {**ROW, "pair_decimals": 400},
        "NONAME": {**ROW, "wsname": "XBT"},
        "NOROW": 5,
        "DARK.d": {name: value for name, value in ROW.items() if name != "wsname"},
    }
    parsed = wire.parse_markets(kraken_data.answer(rows))
    assert len(parsed.rows) == 1 and parsed.bad == 7 and "pair_decimals" in parsed.problem
    assert parsed.unread == ("MISSING", "NAN", "HUGE", "NOTICK", "ABSURD", "NONAME", "NOROW")


def test_no_markets_at_all_are_an_error():
    with pytest.raises(WireError, match="empty list"):
        wire.parse_markets(kraken_data.answer({}))


def test_every_recorded_market_is_found_by_all_its_spellings_and_by_no_others():
    listed = kraken_data.listed()
    parsed = wire.parse_markets(kraken_data.answer(kraken_data.asset_pairs()))
    assert parsed.bad == 0 and len(parsed.rows) == len(listed) == 293
    by_symbol = {market.symbol: market for market in parsed.rows}
    for key, row in listed.items():
        market = by_symbol[row["altname"]]
        off_the_tape = msgspec.structs.replace(market, symbol=market.base + market.quote)
        assert naming.request_name(market) == naming.request_name(off_the_tape) == row["altname"]
        assert (naming.asset(row["base"]), naming.asset(row["quote"])) == (market.base, market.quote)
        for name in (key, row["altname"], row["wsname"], market.pair):
            assert [other.symbol for other in parsed.rows if naming.is_of(other, name)] == [market.symbol], name
            if "." not in name and (name != key or key == row["altname"] or key[-4:] in naming.LEGACY):
                assert pairs.own_name(name, "kraken") == market.pair, name


def test_every_recorded_market_is_meant_by_all_its_spellings_in_pairs():
    rows = wire.parse_markets(kraken_data.answer(kraken_data.asset_pairs())).rows
    by_symbol = {market.symbol: market for market in rows}
    venue = market_data(from_texts({"VENUE": "kraken"}), LiveClock())
    try:
        for key, row in kraken_data.listed().items():
            market = by_symbol[row["altname"]]
            for name in (key, row["altname"], row["wsname"], market.pair):
                wanted = from_texts({"VENUE": "kraken", "PAIRS": name}).pairs
                assert venue.resolve(wanted, rows) == [market], name
    finally:
        venue.close()


@pytest.mark.parametrize(
    ("code", "name", "balance"),
    [
        ("XXBT", "BTC", "BTC"),
        ("XBT", "BTC", "BTC"),
        ("XXDG", "DOGE", "DOGE"),
        ("ZUSD", "USD", "USD"),
        ("USDT", "USDT", "USDT"),
        ("ZEUS", "ZEUS", "ZEUS"),
        ("USDT.F", "USDT.F", "USDT"),
        ("XBT.F", "XBT.F", "BTC"),
        ("DOT.S", "DOT.S", ""),
        ("XBT.M", "XBT.M", ""),
        ("ETH2.B", "ETH2.B", ""),
    ],
)
def test_names_of_assets(code, name, balance):
    assert naming.balance_asset(code) == balance
    if "." not in code:
        assert naming.asset(code) == name


TRADE = ["30243.40000", "0.34507674", 1688669597.8277369, "b", "m", "", 61044952]


def trades(*rows, last="1688671969993150842"):
    return wire.parse_trades(kraken_data.answer({"XXBTZUSD": list(rows), "last": last}), "BTC/USD", 9)


def test_a_trade_of_rest_with_its_time_exact():
    page = trades(TRADE)
    assert page.rows == [("BTC/USD", 1688669597_827736900, 30243.4, 0.34507674, SIDE_BUY, 61044952, 9)]
    assert (page.size, page.bad, page.last_ns) == (1, 0, 1688671969993150842)


@pytest.mark.parametrize(
    ("last", "value"), [("17", 17), (17, 17), ("1688671969993150842", 1688671969993150842)], ids=str
)
def test_the_cursor_is_text_or_a_number(last, value):
    assert trades(TRADE, last=last).last_ns == value


def test_trades_leave_by_ascending_id_each_once():
    rows = [[*TRADE[:6], number] for number in (3, 1, 2, 3)]
    assert [trade.trade_id for trade in trades(*rows).rows] == [1, 2, 3]


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        pytest.param({3: "s"}, "side", SIDE_SELL, id="sold"),
        pytest.param({3: "x"}, "side", SIDE_UNKNOWN, id="neither"),
        pytest.param({2: 1688669597}, "time_ns", 1688669597_000000000, id="whole seconds"),
        pytest.param({2: "1688669597.5"}, "time_ns", 1688669597_500000000, id="time as text"),
        pytest.param({2: 1e300}, "time_ns", 0, id="no time"),
        pytest.param({2: -1}, "time_ns", 0, id="before 1970"),
        pytest.param({0: 30243.4}, "price", 30243.4, id="price as number"),
    ],
)
def test_odd_trades(change, field, value):
    row = [change.get(place, item) for place, item in enumerate(TRADE)]
    assert getattr(trades(row).rows[0], field) == value


def test_some_bad_rows_are_counted_all_bad_is_an_error():
    page = trades(TRADE, TRADE[:6], [*TRADE[:6], 0], [*TRADE[:6], 2**63], {"price": 1})
    assert (len(page.rows), page.bad, page.size) == (1, 4, 5)
    with pytest.raises(WireError, match="none of 1 rows"):
        trades(TRADE[:6])


def test_a_market_without_trades_has_none():
    assert trades().rows == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b'{"error":["EService:Unavailable"]}', "EService:Unavailable", id="refusal"),
        pytest.param(b'{"error":[]}', "no result", id="no result"),
        pytest.param(b'{"error":[],"result":{"last":"1"}}', "0 markets", id="no market"),
        pytest.param(b'{"error":[],"result":{"A":[],"B":[],"last":"1"}}', "2 markets", id="two markets"),
        pytest.param(b'{"error":[],"result":[1]}', "unknown shape", id="list"),
        pytest.param(b'{"error":[],"result":{"A":5,"last":"1"}}', "unknown shape", id="no rows"),
        pytest.param(b'{"error":[],"result":{"A":[],"last":{}}}', "unknown shape", id="odd cursor"),
        pytest.param(b'{"error":[],"result":{"A":[[', "no answer", id="half"),
        pytest.param(b"", "no answer", id="nothing"),
        pytest.param(b"<html>", "no answer", id="html"),
        pytest.param(b"[" * 100_000, "no answer", id="nested for ever"),
        pytest.param(b'{"error":[],"result":"\xff\xfe"}', "Trades", id="no text"),
    ],
)
def test_an_answer_of_the_wrong_shape_is_one_clear_error_with_the_raw_text(body, words):
    with pytest.raises(WireError, match=words) as told:
        wire.parse_trades(body, "BTC/USD", 0)
    assert told.value.raw[:10] == body[:10].decode(errors="replace")


def test_warnings_are_no_refusal():
    body = b'{"error":["WGeneral:Deprecated"],"result":{"A":[],"last":"1"}}'
    assert wire.parse_trades(body, "BTC/USD", 0).rows == []


CANDLE = [1688671200, "30306.1", "30306.2", "30305.7", "30305.7", "30306.1", "3.39243896", 23]


def candles(*rows):
    return wire.parse_candles(kraken_data.answer({"XXBTZUSD": list(rows), "last": 1688672160}), "BTC/USD")


def test_candles_leave_oldest_first_each_start_once():
    later = [CANDLE[0] + 60, *CANDLE[1:]]
    bars = candles(later, CANDLE, [*CANDLE[:7], 24]).rows
    assert [(bar.open_ns, bar.trades) for bar in bars] == [(1688671200_000000000, 24), (1688671260_000000000, 23)]
    assert bars[0][1:6] == (30306.1, 30306.2, 30305.7, 30305.7, 3.39243896)


def test_a_quiet_minute_is_a_flat_bar():
    flat = [1688671260, "30300.0", "30300.0", "30300.0", "30300.0", "0.0", "0.00000000", 0]
    assert candles(flat).rows[0] == (1688671260_000000000, 30300.0, 30300.0, 30300.0, 30300.0, 0.0, 0)


@pytest.mark.parametrize(
    "change", [{2: "0.5"}, {3: "-1"}, {4: "nan"}, {6: "-1"}, {0: 0}, {1: "9"}, {7: -1}, {4: "inf", 2: "inf"}], ids=str
)
def test_impossible_candles_are_counted(change):
    row = [change.get(place, item) for place, item in enumerate(CANDLE)]
    parsed = candles([CANDLE[0] + 60, *CANDLE[1:]], row)
    assert len(parsed.rows) == 1 and parsed.bad == 1


def test_the_servers_time():
    body = kraken_data.answer({"unixtime": 1688669448, "rfc1123": "Thu, 06 Jul 23 18:50:48 +0000"})
    assert wire.parse_time_s(body) == 1688669448
    with pytest.raises(WireError, match="unknown shape"):
        wire.parse_time_s(kraken_data.answer({"unixtime": "now"}))


def test_requests_name_the_market_and_where_to_begin():
    assert wire.trades_request("XBTUSDT") == ("/0/public/Trades", {"pair": "XBTUSDT", "count": "1000"})
    assert wire.trades_request("X", 1688669597827736900)[1]["since"] == "1688669597827736900"
    path, query = wire.candles_request("XBTUSDT", 60_000, 1688671200_000)
    assert path == "/0/public/OHLC"
    assert query == {"pair": "XBTUSDT", "interval": "1", "since": "1688671199"}


def test_subscriptions_are_split_and_always_say_whether_they_want_a_snapshot():
    asked = wire.subscriptions([f"C{n}/USD" for n in range(250)])
    assert [len(symbols) for _, symbols in asked.values()] == [100, 100, 50]
    first = json.loads(asked[1][0])
    assert first["method"] == "subscribe" and first["req_id"] == 1
    assert first["params"]["channel"] == "trade" and first["params"]["snapshot"] is False
    assert first["params"]["symbol"] == asked[1][1]


# --- recorded ---


def test_the_recorded_trades_equal_the_ticks_file():
    page = wire.parse_trades(kraken_data.recorded("kraken_xbtusdt_20251110.rest-Trades.json.gz"), "BTC/USDT", 0)
    with gzip.open(shared_data("ticks/kraken_xbtusdt_20251110.ticks.csv.gz"), "rt") as file:
        ticks = list(csv.DictReader(file))
    assert page.size == len(page.rows) == len(ticks) == wire.TRADES_MAX and page.bad == 0
    sides = {"buy": SIDE_BUY, "sell": SIDE_SELL}
    for trade, tick in zip(page.rows, ticks, strict=True):
        assert trade == (
            "BTC/USDT",
            int(tick["ts_ns"]),
            float(tick["price"]),
            float(tick["qty"]),
            sides[tick["side"]],
            int(tick["trade_id"]),
            0,
        )


def test_the_recorded_candles_are_all_read():
    parsed = wire.parse_candles(kraken_data.recorded("kraken_xbtusdt_20251110.rest-OHLC-1m.json.gz"), "BTC/USDT")
    assert len(parsed.rows) == 721 and parsed.bad == 0
    assert sum(bar.trades == 0 for bar in parsed.rows) > 100


# --- the stream ---


def frame(*rows, kind="update"):
    return json.dumps({"channel": "trade", "type": kind, "data": list(rows)}, separators=(",", ":"))


STREAMED = {
    "symbol": "BTC/USD",
    "side": "sell",
    "price": 105944.20,
    "qty": 0.00027625,
    "ord_type": "limit",
    "trade_id": 10218208,
    "timestamp": "2023-10-06T17:35:55.440295Z",
}
PAIRS = {"BTC/USD": "BTC/USD", "ETH/USD": "ETH/USD"}


def read(text):
    return wire.parse_trade_frame(text, 7, PAIRS)


def test_a_frame_with_several_trades_in_the_venues_order():
    text = frame(STREAMED, {**STREAMED, "symbol": "ETH/USD", "side": "buy", "trade_id": 5})
    assert text.startswith(wire.TRADE_FRAME)
    found, problem = read(text)
    assert found == [
        ("BTC/USD", 1696613755_440295000, 105944.2, 0.00027625, SIDE_SELL, 10218208, 7),
        ("ETH/USD", 1696613755_440295000, 105944.2, 0.00027625, SIDE_BUY, 5, 7),
    ]
    assert problem == ""


def test_fields_in_another_order_are_the_same_trade():
    assert read(json.dumps({"data": [STREAMED], "type": "update", "channel": "trade"})) == read(frame(STREAMED))


def test_a_snapshot_has_nothing_new():
    assert read(frame(STREAMED, kind="snapshot")) == ([], "")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"symbol": "XRP/USD"}, "not joined", id="another market"),
        pytest.param({"timestamp": "yesterday"}, "RFC3339", id="no time"),
        pytest.param({"timestamp": "2023-10-06T17:35:55"}, "timezone", id="no zone"),
        pytest.param({"timestamp": "9023-10-06T17:35:55Z"}, "no time", id="beyond 64 bits"),
        pytest.param({"price": None}, "float", id="no price"),
        pytest.param({"price": "1"}, "float", id="price as text"),
        pytest.param({"trade_id": 0}, ">= 1", id="no id"),
        pytest.param({"trade_id": 2**63}, "64|9223372036854775808|<", id="an id beyond 64 bits"),
        pytest.param({"trade_id": 1.5}, "int", id="half an id"),
    ],
)
def test_of_a_frame_with_one_bad_trade_the_others_count(change, words):
    found, problem = read(frame({**STREAMED, **change}, STREAMED))
    assert len(found) == 1 and found[0].trade_id == 10218208
    assert problem and any(word in problem for word in words.split("|"))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"channel":"trade","type":"update","data":[{"symbol"', id="half"),
        pytest.param('{"channel":"trade","type":"update","data":{}}', id="object"),
        pytest.param('{"channel":"trade","type":"update"}', id="no data"),
        pytest.param(frame({"symbol": 1}), id="no trade in it"),
        pytest.param('{"channel":"trade","data":' + "[" * 100_000, id="nested for ever"),
        pytest.param('{"channel":"trade","data":["\ud800"]}', id="lone surrogate"),
    ],
)
def test_a_frame_that_cannot_be_read_is_one_error_with_its_text(text):
    with pytest.raises(WireError) as told:
        read(text)
    assert told.value.raw.startswith('{"channel":"trade"')


@given(st.decimals(Decimal("1e-10"), Decimal("1e9"), places=10), st.decimals(Decimal("1e-8"), Decimal("1e9"), places=8))
def test_numbers_become_the_nearest_float_on_both_ways(price, quantity):
    """As Python reads the same text, on the stream (numbers) as over REST (text)."""
    text = frame(STREAMED).replace("105944.2", f"{price:f}").replace("0.00027625", f"{quantity:f}")
    streamed = read(text)[0][0]
    asked = trades([f"{price:f}", f"{quantity:f}", *TRADE[2:]]).rows[0]
    assert (streamed.price, streamed.quantity) == (float(price), float(quantity)) == (asked.price, asked.quantity)


# --- anything ---

PARSERS = {
    "time": wire.parse_time_s,
    "markets": wire.parse_markets,
    "trades": lambda body: wire.parse_trades(body, "BTC/USD", 0),
    "candles": lambda body: wire.parse_candles(body, "BTC/USD"),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["nan", "1e999"]),
    lambda inner: (
        st.lists(inner, max_size=9) | st.dictionaries(st.sampled_from(["last", "A", *ROW]), inner, max_size=4)
    ),
    max_leaves=20,
)


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@given(value=JSON)
def test_any_json_is_read_or_refused(parse, value):
    with contextlib.suppress(WireError):
        parse(kraken_data.answer(value))


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@given(body=st.binary(max_size=80))
def test_any_bytes_are_refused_with_the_raw_text(parse, body):
    with pytest.raises(WireError) as told:
        parse(body)
    assert told.value.raw == body.decode(errors="replace")


VALUES = (
    st.none()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["nan", "1e999", "-1", "1"])
)


@given(st.lists(VALUES, max_size=9), st.lists(VALUES, max_size=9))
def test_rows_of_anything_are_read_or_refused(one, other):
    body = kraken_data.answer({"A": [one, other, TRADE], "last": "5"})
    assert wire.parse_trades(body, "BTC/USD", 0).rows[-1].trade_id >= 1
    wire.parse_candles(kraken_data.answer({"A": [one, other, CANDLE]}), "BTC/USD")


@given(st.dictionaries(st.sampled_from([*ROW]), VALUES, max_size=4))
def test_a_market_with_any_fields_changed_is_read_or_refused(changes):
    parsed = wire.parse_markets(kraken_data.answer({"A": ROW, "B": ROW | changes}))
    assert 1 <= len(parsed.rows) + parsed.bad <= 2
    for market in parsed.rows:
        assert market.tick > 0 and market.step > 0 and market.min_quantity >= market.step


@given(st.dictionaries(st.sampled_from([*STREAMED]), VALUES, max_size=3), st.text(max_size=20))
def test_a_frame_of_anything_is_read_or_refused(changes, tail):
    with contextlib.suppress(WireError):
        found, _ = read(frame(STREAMED | changes))
        assert all(0 < trade.time_ns < 2**63 and 0 < trade.trade_id < 2**63 for trade in found)
    with contextlib.suppress(WireError):
        read(wire.TRADE_FRAME + tail)
