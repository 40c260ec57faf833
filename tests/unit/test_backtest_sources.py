"""Files of market data as records: exact numbers, what is told of them, and every kind of bad input by name."""

import gzip
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest import csv_source
from backtest.bad_data import BadFile, BadRow
from backtest.sources import Source, open_source
from bus.records import SIDE_BUY, SIDE_SELL, SIDE_UNKNOWN, TRADE
from core.settings_load import from_texts
from tests.reference import slow_strategy as slow
from tests.shared_data import shared_data

SETTINGS = from_texts({})
HEADER = "ts_ns,price,qty,side,trade_id\n"
NS = 1_700_000_000_000_000_000
TICKS = (
    "binance_spot_btcusdt_20240808T2354Z",
    "binance_spot_xrpeth_20191011",
    "btcperp_20220101-15.minutecloses",
    "bybit_inverse_btcusd_20191001",
    "coinbase_btcusd_20161007.secondbars",
    "kraken_bcheur_20230101",
    "kraken_xbtusdt_20251110",
    "mtgox_btcusd_20131211",
)


def written(folder: Path, text: str | bytes, name: str = "trades.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def everything(source: Source) -> np.ndarray:
    """All records; their numbers must be consecutive."""
    parts, number = [], None
    for chunk in source.chunks():
        assert number is None or chunk.first == number
        number = chunk.first + len(chunk.records)
        parts.append(chunk.records)
    return np.concatenate(parts)


def read(*paths: Path, texts: dict[str, str] | None = None, **options: Any) -> np.ndarray:
    return everything(open_source(paths, from_texts(texts or {}), **options))


@pytest.mark.parametrize("name", TICKS)
def test_recorded_trades_are_the_numbers_of_the_file_exactly(name: str):
    path = shared_data(f"ticks/{name}.ticks.csv.gz")
    trades = slow.read_ticks(path, "BTC/USDT")
    records = read(path)
    assert len(records) == len(trades)
    assert set(records["kind"].tolist()) == {TRADE} and not records["flags"].any() and not records["pair"].any()
    for record, trade in zip(records, trades, strict=True):
        assert (record["exchange_ns"], record["received_ns"]) == (trade.ts_ns, trade.ts_ns)
        assert record["price"] == float(trade.price) and record["quantity"] == float(trade.quantity)
        assert int(record["ticks"]) * Decimal("1e-8") == trade.price
        assert int(record["lots"]) == int(trade.quantity / Decimal("1e-8"))


# --- what is recognised -------------------------------------------------------------------------

MS = 1_700_000_000_000
ROW = {"ns": NS, "price": 37_000.5, "lots": 12_345_678, "side": SIDE_SELL, "id": 77}
RECOGNISED = {
    "ours": (f"{HEADER}{NS},37000.50,0.12345678,sell,77\n", ROW),
    "milliseconds, no side, no id": (f"ts_ms,price,qty\n{MS},37000.5,0.12345678\n", ROW | {"side": 0, "id": 0}),
    "other columns in another order": (f"qty,foo,price,side,ts_ms,trade_id\n.12345678,x,37000.5,S,{MS},77\n", ROW),
    "capitals and spaces": (f" TS_NS , Price,QTY ,Side,trade_ID\n{NS},37000.5,0.12345678,SELL,77\n", ROW),
    "an id that is no number": (f"{HEADER}{NS},37000.5,0.12345678,sell,x77\n", ROW | {"id": 0}),
    "quoted": (f'{HEADER}"{NS}","37000.5","0.12345678","sell","77"\n', ROW),
    "spaces": (f"{HEADER}{NS}, 37000.5 ,0.12345678, sell,77\n", ROW),
    "exponents": (f"{HEADER}{NS},3.70005E4,12345678e-8,sell,77\n", ROW),
    "a sign": (f"{HEADER}{NS},+37000.5,0.12345678,sell,77\n", ROW),
    "more zeros than the tick has": (f"{HEADER}{NS},37000.5000000000,0.12345678000000000000,sell,77\n", ROW),
    "a quantity finer than the step": (
        f"{HEADER}{NS},37000.5,0.123456789999,sell,77\n",
        ROW | {"quantity": 0.123456789999},
    ),
    "carriage returns": (f"{HEADER}{NS},37000.5,0.12345678,sell,77\n".replace("\n", "\r\n"), ROW),
    "no newline at the end": (f"{HEADER}{NS},37000.5,0.12345678,sell,77", ROW),
    "empty lines": (f"\n\r\n{HEADER}\n{NS},37000.5,0.12345678,sell,77\n\n", ROW),
    "a byte order mark": (f"\ufeff{HEADER}{NS},37000.5,0.12345678,sell,77\n", ROW),
    "a byte order mark and no header": (f"\ufeff{MS // 1000},37000.5,0.12345678\n", ROW | {"side": 0, "id": 0}),
    "Binance aggTrades": (f"77,37000.50000000,0.12345678,90,91,{MS},True,True\n", ROW),
    "Binance aggTrades in microseconds": (f"77,37000.50000000,0.12345678,90,91,{MS}000,True,True\n", ROW),
    "Binance aggTrades of futures": (
        "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"
        f"77,37000.5,0.12345678,90,91,{MS},true\n",
        ROW,
    ),
    "Binance aggTrades of futures without header": (f"77,37000.5,0.12345678,90,91,{MS},true\n", ROW),
    "Binance trades": (f"77,37000.50000000,0.12345678,4567.96,{MS},False,True\n", ROW | {"side": SIDE_BUY}),
    "Binance trades of futures": (
        f"id,price,qty,quote_qty,time,is_buyer_maker\n77,37000.5,0.12345678,4567.96,{MS},true\n",
        ROW,
    ),
    "Kraken trades": (f"{MS // 1000},37000.5,0.12345678\n", ROW | {"side": 0, "id": 0}),
    "Kraken trades to a ten thousandth of a second": (
        f"{MS // 1000}.1234,37000.5,0.12345678\n",
        ROW | {"ns": NS + 123_400_000, "side": 0, "id": 0},
    ),
}


@pytest.mark.parametrize(("text", "wanted"), RECOGNISED.values(), ids=RECOGNISED)
def test_a_row_of_a_known_kind_is_a_trade(tmp_path: Path, text: str, wanted: dict[str, Any]):
    (record,) = read(written(tmp_path, text))
    assert record["exchange_ns"] == wanted["ns"]
    assert (record["price"], record["ticks"]) == (wanted["price"], round(wanted["price"] * 10**8))
    assert (record["lots"], record["quantity"]) == (wanted["lots"], wanted.get("quantity", wanted["lots"] / 1e8))
    assert (record["side"], record["trade_id"]) == (wanted["side"], wanted["id"])


KLINE = f"{MS},1.5,3,1,2,4.25,{MS + 59_999},9,7,1,2,0\n{MS + 60_000},2,2,2,2,0,{MS + 119_999},0,0,0,0,0\n"
CANDLES = {
    "ours": f"open_time_ms,open,high,low,close,volume\n{MS},1.5,3,1,2,4.25\n{MS + 60_000},2,2,2,2,0\n",
    "ours with trades": f"open_time_ms,open,high,low,close,volume,trades\n{MS},1.5,3,1,2,4.25,7\n"
    f"{MS + 60_000},2,2,2,2,0,0\n",
    "Binance klines": KLINE,
    "Binance klines in microseconds": KLINE.replace("0000,1.5", "0000000,1.5").replace("60000,2,", "60000000,2,"),
    "Binance klines of futures": "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
    f"taker_buy_quote_volume,ignore\n{KLINE}",
    "Kraken OHLCVT": f"{MS // 1000},1.5,3,1,2,4.25,7\n{MS // 1000 + 60},2,2,2,2,0,0\n",
}


@pytest.mark.parametrize("text", CANDLES.values(), ids=CANDLES)
def test_a_candle_is_one_trade_at_its_close_and_the_notes_say_so(tmp_path: Path, text: str):
    source = open_source([written(tmp_path, text)], SETTINGS)
    first, second = everything(source)
    assert (first["exchange_ns"], second["exchange_ns"]) == (NS + 59_999_000_000, NS + 119_999_000_000)
    assert (first["price"], first["lots"], first["quantity"], first["side"]) == (2.0, 425_000_000, 4.25, SIDE_UNKNOWN)
    assert (second["price"], second["lots"], second["quantity"]) == (2.0, 0, 0.0)
    assert any("candles of 1m are read as one trade each" in note for note in source.notes)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, True),
        ({"PAPER_FILL": "instant"}, False),
        ({"ENTRY_TIMEOUT_MS": "59900"}, True),
        ({"ENTRY_TIMEOUT_MS": "59901"}, False),
    ],
)
def test_candles_too_far_apart_for_an_entry_to_wait_for_are_told_and_what_to_set(
    tmp_path: Path, changed: dict[str, str], told: bool
):
    source = open_source([written(tmp_path, CANDLES["Binance klines"])], from_texts(changed))
    assert any("--set PAPER_FILL=instant" in note for note in source.notes) is told


def test_the_width_of_candles_is_told_by_their_distance(tmp_path: Path):
    text = "open_time_ms,open,high,low,close,volume\n" + "".join(
        f"{at * 60_000},1,1,1,1,1\n" for at in (30, 40, 45, 60, 61 * 5)
    )
    source = open_source([written(tmp_path, text)], SETTINGS)
    assert everything(source)["exchange_ns"].tolist() == [
        (at + 5) * 60_000_000_000 - 1_000_000 for at in (30, 40, 45, 60, 305)
    ]
    assert any("candles of 5m" in note for note in source.notes)
    assert any("TIMEFRAME=1m is finer" in note for note in source.notes)


def test_a_single_candle_is_as_wide_as_timeframe(tmp_path: Path):
    path = written(tmp_path, "open_time_ms,open,high,low,close,volume\n60000,1,1,1,1,1\n")
    (record,) = read(path, texts={"TIMEFRAME": "5m"})
    assert record["exchange_ns"] == 360_000_000_000 - 1_000_000


def test_a_quantity_in_the_quote_currency_is_divided_by_the_price_and_rounded_down(tmp_path: Path):
    path = written(tmp_path, f"ts_ns,price,qty\n{NS},8297.5,3\n{NS},3,0.00000001\n{NS},0.5,7\n")
    records = read(path, qty_unit="quote")
    assert records["lots"].tolist() == [36155, 0, 1_400_000_000]
    assert records["quantity"].tolist() == [0.00036155, 0.0, 14.0]


def test_numbers_of_more_digits_than_a_float64_has_are_rounded_once(tmp_path: Path):
    price = "90782541.79105733"  # 9078254179105733 as a float64 over 1e8 is another number
    (record,) = read(written(tmp_path, f"ts_ns,price,qty\n{NS},{price},{price}\n"))
    assert (record["price"], record["ticks"]) == (float(price), 9078254179105733)
    assert (record["quantity"], record["lots"]) == (float(price), 9078254179105733)


def test_a_quantity_that_no_order_reaches_is_cut_and_keeps_its_volume(tmp_path: Path):
    (record,) = read(written(tmp_path, f"ts_ns,price,qty\n{NS},0.00000123,123456789012345.5\n"))
    assert (record["lots"], record["quantity"]) == (1 << 60, 123456789012345.5)


def test_the_market_is_the_first_pair_of_the_settings_without_minimum_and_with_the_fees_in_force(tmp_path: Path):
    path = written(tmp_path, f"{HEADER}{NS},1,1,,\n")
    start = open_source([path], SETTINGS).start
    (market,) = start.markets
    assert (market.pair, market.base, market.quote) == ("B-BTC_USDT", "BTC", "USDT")
    assert (market.tick, market.step) == ("0.00000001", "0.00000001")
    assert (market.min_quantity, market.min_notional, market.max_quantity) == ("0", "0", None)
    assert (start.taker_fee_bps, start.maker_fee_bps, start.time_ns) == ("5", "5", NS)
    kraken = open_source([path], from_texts({"VENUE": "kraken", "PAIRS": "ETH/EUR", "MAKER_FEE_BPS": "1.5"})).start
    assert (kraken.markets[0].pair, kraken.taker_fee_bps, kraken.maker_fee_bps) == ("ETH/EUR", "40", "1.5")


def test_a_column_that_names_the_pair_goes_before_the_settings(tmp_path: Path):
    path = written(tmp_path, f"ts_ns,symbol,price,qty\n{NS},ETHUSDT,1,1\n{NS},ETHUSDT,1,1\n{NS},eth/usdt,1,1\n")
    source = open_source([path], from_texts({"VENUE": "binance"}))
    assert source.start.markets[0].pair == "ETHUSDT" and len(everything(source)) == 3
    odd = open_source([written(tmp_path, f"ts_ns,pair,price,qty\n{NS},BTC-PERP,1,1\n")], SETTINGS)
    assert odd.start.markets[0].pair == "B-BTC_USDT" and "'BTC-PERP'" in odd.notes[0]


def test_a_source_is_read_as_often_as_it_is_asked_for(tmp_path: Path):
    path = written(tmp_path, f"{HEADER}{NS},1,1,,\n{NS},x,1,,\n{NS},2,1,,\n")
    source = open_source([path], SETTINGS, skip_bad=True)
    assert np.array_equal(everything(source), everything(source))
    assert len(source.notes) == 1 and source.done == source.total == path.stat().st_size


# --- packed ---------------------------------------------------------------------------------------


def zipped(folder: Path, **members: str) -> Path:
    path = folder / "packed.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def test_packed_files_are_told_by_their_content(tmp_path: Path):
    text = f"{HEADER}{NS},1,1,,\n{NS},2,1,,\n"
    wanted = read(written(tmp_path, text))
    for path in (
        written(tmp_path, gzip.compress(text.encode()), "gzipped.csv"),
        written(tmp_path, text, "plain.csv.gz"),
        written(tmp_path, gzip.compress(text[:40].encode()) + gzip.compress(text[40:].encode()), "two.gz"),
        zipped(tmp_path, trades=text),
    ):
        assert np.array_equal(read(path), wanted), path.name


# --- what is no market data -----------------------------------------------------------------------

NO_FILES = {
    "empty": (b"", "is empty"),
    "blank": (b"\n \r\n", "is empty"),
    "only a byte order mark": (b"\xef\xbb\xbf", "is empty"),
    "empty and gzipped": (gzip.compress(b""), "is empty"),
    "a header and no rows": (HEADER.encode(), "has a header and no rows"),
    "no text": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is no text"),
    "no UTF-8": (b"ts_ns,price,qty,\xff\n1,1,1,1\n", "line 1 is no UTF-8 text"),
    "UTF-16": (HEADER.encode("utf-16"), "save it as UTF-8"),
    "a zero byte": (HEADER.encode() + b"1,1\0,1,,\n", "is no text"),
    "xz": (b"\xfd7zXZ\x00rest", "unpack it first (xz -d)"),
    "damaged gzip": (gzip.compress(b"x" * 5000)[:30], "is damaged, or not all of it is there"),
    "damaged zip": (b"PK\x03\x04rubbish", "is a zip that cannot be read"),
    "misspelled columns": (b"ts_ns,prise,qyt\n1,1,1\n", "did you mean price? 'qyt': did you mean qty?"),
    "a column that is missing": (b"ts_ns,price\n1,1\n", "has no column qty"),
    "candles without a close": (b"open_time_ms,open,high,low,volume\n1,1,1,1,1\n", "has no column close"),
    "a column twice": (b"ts_ns,price,price,qty\n1,1,1,1\n", "names 'price' twice"),
    "semicolons": (b"ts_ns;price;qty\n1;1;1\n", "parted by semicolons, commas are needed"),
    "no header, no archive": (b"1700000000,1,2,3\n", "is of no archive known here"),
    "too many columns": (b",".join([b"a"] * 65) + b"\n", "has 65 columns"),
    "a line without end": (HEADER.encode() + b"1" * (csv_source.BLOCK + 1), "has no end within 4 MB"),
    "no row is a trade": (HEADER.encode() + b"\n\n\n", "has a header and no rows"),
}


@pytest.mark.parametrize(("content", "wanted"), NO_FILES.values(), ids=NO_FILES)
def test_a_file_that_is_no_market_data_says_why(tmp_path: Path, content: bytes, wanted: str):
    path = written(tmp_path, content)
    with pytest.raises(BadFile) as caught:
        read(path)
    assert wanted in str(caught.value) and str(path) in str(caught.value)


def test_a_file_that_is_not_there_or_named_twice_says_so(tmp_path: Path):
    path = written(tmp_path, f"{HEADER}{NS},1,1,,\n")
    with pytest.raises(BadFile, match="there is no file"):
        read(tmp_path / "none.csv")
    with pytest.raises(BadFile, match="is named twice"):
        read(path, tmp_path / "." / path.name)
    with pytest.raises(BadFile, match="no market data is named"):
        read()
    with pytest.raises(BadFile, match=r"holds 2 files \(a, b\)"):
        read(zipped(tmp_path, a="1", b="2"))


# --- bad rows -------------------------------------------------------------------------------------

GOOD = f"{NS},100.5,2,buy,1"
BAD_ROWS = {
    "a price of nan": (f"{NS},nan,1,,", "price", "price is 'nan', which is no number"),
    "an endless price": (f"{NS},Infinity,1,,", "price", "price is 'Infinity'"),
    "a negative price": (f"{NS},-5,1,,", "price", "price is '-5': a price is above 0"),
    "a price of zero": (f"{NS},0.00,1,,", "price", "price is '0.00': a price is above 0"),
    "no price": (f"{NS},,1,,", "price", "price is empty"),
    "a price that is a word": (f"{NS},abc,1,,", "price", "price is 'abc': a decimal number is needed"),
    "a price with a comma": (f'{NS},"1,000.5",1,,', "price", "price is '1,000.5'"),
    "a price with underscores": (f"{NS},1_000,1,,", "price", "price is '1_000'"),
    "a price finer than the tick": (f"{NS},1.123456789,1,,", "price", "finer than the tick"),
    "a price that is too high": (f"{NS},1e11,1,,", "price", "beyond 10000000000"),
    "a negative quantity": (f"{NS},1,-1,,", "quantity", "qty is '-1': a quantity is above 0"),
    "a quantity of zero": (f"{NS},1,0,,", "quantity", "qty is '0': a quantity is above 0"),
    "a quantity of nan": (f"{NS},1,NaN,,", "quantity", "qty is 'NaN'"),
    "an endless quantity": (f"{NS},1,1e400,,", "quantity", "qty is '1e400': beyond"),
    "no time": (",1,1,,", "time", "ts_ns is empty"),
    "a time before 1970": ("-1,1,1,,", "time", "ts_ns is '-1': a time before 1970"),
    "a time that is a date": ("2023-11-14,1,1,,", "time", "ts_ns is '2023-11-14'"),
    "a time far ahead": ("9223372036854775807,1,1,,", "time", "beyond the year 2116"),
    "half a nanosecond": (f"{NS}.5,1,1,,", "time", "finer than a nanosecond"),
    "a side that is none": (f"{NS},1,1,maybe,", "side", "side is 'maybe': buy, sell or nothing is needed"),
    "too few columns": (f"{NS},1", "columns", "has 2 columns, not 5"),
    "too many columns": (f"{NS},1,1,,,", "columns", "has 6 columns, not 5"),
    "a quote that is not closed": (f'{NS},"1,1,,', "text", "a quote is not closed"),
    "no UTF-8": (b"1,\xff,1,,", "text", "is no UTF-8 text"),
    "backwards": (f"{NS - 1},1,1,,", "order", "is before that of the row before it"),
    "the same trade again": (GOOD, "duplicate", "a trade with its id, time, price and quantity was there before"),
}


@pytest.mark.parametrize(("row", "kind", "wanted"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_is_named_with_its_line_and_skipped_where_asked_for(
    tmp_path: Path, row: str | bytes, kind: str, wanted: str
):
    row = row.encode() if isinstance(row, str) else row
    path = written(tmp_path, HEADER.encode() + GOOD.encode() + b"\n\n" + row + b"\n" + f"{NS},7,1,,\n".encode())
    with pytest.raises(BadRow) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path} line 4: ") and wanted in str(caught.value)
    assert "--skip-bad" in str(caught.value) and "\n" not in str(caught.value)
    source = open_source([path], SETTINGS, skip_bad=True)
    assert everything(source)["price"].tolist() == [100.5, 7.0]
    (note,) = source.notes
    assert note.startswith(f"1 bad row left out ({kind}); the first is trades.csv line 4: ")


def test_bad_rows_are_counted_by_kind(tmp_path: Path):
    rows = [f"{NS},{price},1,," for price in ("1", "x", "2", "0", "-1")] + [f"{NS - 9},1,1,,", f"{NS},3,1,,"]
    source = open_source([written(tmp_path, HEADER + "\n".join(rows))], SETTINGS, skip_bad=True)
    assert everything(source)["price"].tolist() == [1.0, 2.0, 3.0]
    assert [note.partition(";")[0] for note in source.notes] == [
        "3 bad rows left out (price)",
        "1 bad row left out (order)",
    ]


def test_equal_rows_are_two_trades_unless_their_id_is_the_same(tmp_path: Path):
    rows = [
        f"{NS},1,1,,",
        f"{NS},1,1,,",
        f"{NS},1,1,,b",
        f"{NS},1,1,,a",
        f"{NS},1,2,,a",
        f"{NS},1,1,,8",
        f"{NS + 1},1,1,,8",
    ]
    assert len(read(written(tmp_path, HEADER + "\n".join(rows)))) == len(rows)
    for again in (rows[3], rows[5].replace(",8", ",8")):
        path = written(tmp_path, HEADER + "\n".join([*rows[:6], again]))
        with pytest.raises(BadRow, match="line 8: a trade with its id"):
            read(path)


def test_mixed_pairs_are_named(tmp_path: Path):
    path = written(tmp_path, f"ts_ns,pair,price,qty\n{NS},BTC/USDT,1,1\n{NS},B-BTC_USDT,1,1\n{NS},ETH/USDT,1,1\n")
    with pytest.raises(BadRow, match="line 4: the pair is 'ETH/USDT', in the rows before 'BTC/USDT'"):
        read(path)
    assert len(read(path, skip_bad=True)) == 2


BAD_CANDLES = {
    "a close above the high": ("120000,1,2,1,3,1", "candle", "open 1 and close 3 are not between low 1 and high 2"),
    "a low of nan": ("120000,1,2,nan,1,1", "price", "low is 'nan'"),
    "the same candle again": ("60000,1,1,1,1,1", "duplicate", "its candle was there before"),
    "off the grid": ("150000,1,1,1,1,1", "candle", "which is no multiple of 60000 ms"),
    "backwards": ("0,1,1,1,1,1", "order", "is before that of the row before it"),
    "a negative volume": ("120000,1,1,1,1,-1", "quantity", "volume is '-1'"),
}


@pytest.mark.parametrize(("row", "kind", "wanted"), BAD_CANDLES.values(), ids=BAD_CANDLES)
def test_a_bad_candle_is_named(tmp_path: Path, row: str, kind: str, wanted: str):
    head = "open_time_ms,open,high,low,close,volume\n" + "".join(f"{at * 60_000},1,1,1,1,1\n" for at in (0, 1))
    path = written(tmp_path, head + row + "\n")
    with pytest.raises(BadRow) as caught:
        read(path)
    assert caught.value.kind == kind and caught.value.line == 4 and wanted in str(caught.value)


# --- many files -----------------------------------------------------------------------------------


def test_files_are_read_in_the_order_given(tmp_path: Path):
    first = written(tmp_path, f"{HEADER}{NS},1,1,,\n{NS + 5},2,1,,\n", "b.csv")
    second = written(tmp_path, gzip.compress(f"ts_ms,price,qty\n{MS + 1},3,1\n".encode()), "a.csv")
    assert read(first, second)["price"].tolist() == [1.0, 2.0, 3.0]


def test_files_that_overlap_or_go_backwards_are_named(tmp_path: Path):
    first = written(tmp_path, f"{HEADER}{NS},1,1,,1\n{NS + 5},2,1,,2\n", "first.csv")
    second = written(tmp_path, f"{HEADER}{NS + 3},3,1,,3\n{NS + 9},4,1,,4\n", "second.csv")
    with pytest.raises(BadFile, match=r"second\.csv begins at .*, before .*first\.csv ends at .*must not overlap"):
        read(first, second)
    with pytest.raises(BadFile, match=r"first\.csv begins at .*, before .*second\.csv begins at"):
        read(second, first)
    assert read(first, second, skip_bad=True)["price"].tolist() == [1.0, 2.0, 4.0]


def test_a_row_at_the_border_of_two_files_is_not_read_twice(tmp_path: Path):
    first = written(tmp_path, f"{HEADER}{NS},1,1,,1\n", "first.csv")
    second = written(tmp_path, f"{HEADER}{NS},1,1,,1\n{NS},1,1,,2\n", "second.csv")
    with pytest.raises(BadRow, match=r"second\.csv line 2: a trade with its id"):
        read(first, second)
    assert read(first, second, skip_bad=True)["trade_id"].tolist() == [1, 2]


def test_files_of_several_pairs_or_kinds_are_named(tmp_path: Path):
    trades = written(tmp_path, f"ts_ns,pair,price,qty\n{NS},BTC/USDT,1,1\n", "trades.csv")
    other = written(tmp_path, f"ts_ns,pair,price,qty\n{NS},ETH/USDT,1,1\n", "other.csv")
    minutes = written(tmp_path, CANDLES["ours"], "minutes.csv")
    with pytest.raises(BadFile, match=r"other\.csv is about ETH/USDT, .*trades\.csv about BTC/USDT"):
        read(trades, other)
    with pytest.raises(BadFile, match=r"minutes\.csv holds candles and .*trades\.csv trades"):
        read(trades, minutes)


def test_candles_of_several_widths_are_named(tmp_path: Path):
    def file(name: str, width_ms: int, count: int) -> Path:
        rows = "".join(f"{MS + at * width_ms},1,1,1,1,1\n" for at in range(count))
        return written(tmp_path, "open_time_ms,open,high,low,close,volume\n" + rows, name)

    with pytest.raises(BadFile, match=r"hours\.csv are 3600000 ms wide, those of .*minutes\.csv 60000 ms"):
        read(file("minutes.csv", 60_000, 3), file("hours.csv", 3_600_000, 60))


@pytest.mark.parametrize("count", [csv_source.PIECE - 1, csv_source.PIECE, csv_source.PIECE + 1, 200_000])
def test_blocks_and_chunks_change_nothing(tmp_path: Path, count: int):
    path = written(tmp_path, HEADER + "".join(f"{NS + n},{1 + n % 9}.25,0.5,buy,{n + 1}\n" for n in range(count)))
    records = read(path)
    assert records["trade_id"].tolist() == list(range(1, count + 1))
    assert records["price"].tolist() == [1.25 + n % 9 for n in range(count)]
