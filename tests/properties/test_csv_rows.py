"""Compiled, plain and slow reading of CSV rows are one: the same records, and the same rows refused for one reason."""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest import csv_rows as rows
from backtest import odd_rows
from backtest.archives import recognised
from backtest.bad_data import Odd
from backtest.csv_files import unpacked
from backtest.csv_head import head_of
from backtest.csv_source import Reading, ReadRows, reader
from core.paths import ROOT

NS = 1_700_000_000_000_000_000


def uncompiled(data: Any, end: int, *others: Any) -> int:
    """`read_rows` as plain Python."""
    words = others[-1]
    return rows.read_rows(bytes(data[: end + 1]), end, *others, words.view(np.float64))


def slow(data: Any, end: int, plan: Any, pair: Any, state: Any, fields: Any, seen: Any, words: Any) -> int:
    """Every row is odd."""
    while state[rows.AT] < end and bytes(data[state[rows.AT] : state[rows.AT] + 2]).lstrip(b"\r")[:1] == b"\n":
        state[rows.AT] += 1 if data[state[rows.AT]] == rows.NEWLINE else 2
        state[rows.LINE] += 1
    if state[rows.AT] == end:
        return rows.BLOCK_READ
    return rows.FULL if state[rows.ROWS] * rows.WORDS_OF_RECORD == len(words) else rows.ODD_ROW


def read(path: Path, in_quote: bool, read_rows: ReadRows) -> tuple[bytes, list[str]]:
    """All records of a file, and what was left out."""
    head = head_of(path)
    reading = Reading(60_000_000_000 if head.layout.candles else 0, in_quote, True, read_rows)
    with unpacked(path) as file:
        parts = [records.tobytes() for records in reading.file(head, file)]
    return b"".join([*parts, reading.take().tobytes()]), reading.skipped.notes()


def spelled(number: Decimal, how: int) -> str:
    """A number as files spell it."""
    text = format(number, "f")
    if how == 1:
        return text + "000" if "." in text else text + ".000"
    if how == 2:
        return text.removeprefix("0") if "." in text and text.startswith("0") else f"0{text}"
    return {
        3: f" {text}",
        4: f'"{text}"',
        5: format(number, "E"),
        6: f"+{text}",
        7: text if "." in text else f"{text}.",
    }.get(how, text)


HOW = st.sampled_from([0] * 30 + [1, 1, 2, 2, 3, 4, 5, 6, 7])
PRICES = st.one_of(
    st.decimals("0.00000001", "99999999", places=8),
    st.decimals("0.01", "99999", places=2),
    st.decimals("90071992", "99999999", places=8),
    st.just(Decimal(2)),
    st.decimals(0, 10**11, places=10) | st.decimals(1, 2, places=2),
    st.integers(0, 10**10).map(Decimal),
)
QUANTITIES = st.one_of(
    st.decimals(0, 10**4, places=8),
    st.decimals(0, 10**9, places=3),
    st.decimals("90071992", "99999999", places=8),
    st.sampled_from([Decimal(3), Decimal(5)]),
    st.decimals(0, 10**17, places=12),
    st.integers(0, 10**20).map(Decimal),
)
NUMBERS = (PRICES, QUANTITIES)
BAD = st.sampled_from(["", "nan", "-1", "0", "1e5", "x", "1_0", "1,0", '"', "9" * 25, "0.123456789012345678901"])
SIDES = st.sampled_from(["buy", "sell", ""] * 6 + ["b", "S", "BUY", "Sell", "hold", " buy", '"sell"', "sellx", "t"])
LONG_IDS = ("9" * 18, "1" + "0" * 18, "4611686018427387905", "9" * 20)
IDS = st.sampled_from([*[""] * 3, *["7"] * 4, "0", "8", "007", "abc", "abd", " 7", '"7"', *LONG_IDS])
STEPS = st.sampled_from([0, 0, 0, 1, 5, 1000, 10**9, -1])
ENDS = st.sampled_from(["\n"] * 8 + ["\r\n", "\n\n", "\r\n\r\n"])


@st.composite
def trade_rows(draw: st.DrawFn) -> str:
    """A file with our header."""
    unit = draw(st.sampled_from([1, 1_000_000]))
    ns, text = NS, f"ts_{'ns' if unit == 1 else 'ms'},price,qty,side,trade_id\n"
    for _ in range(draw(st.integers(1, 12))):
        ns += draw(STEPS) * unit
        time = spelled(Decimal(ns) / unit, draw(HOW))
        price, quantity = (
            draw(BAD) if draw(st.integers(0, 15)) == 0 else spelled(draw(numbers), draw(HOW)) for numbers in NUMBERS
        )
        text += f"{time},{price},{quantity},{draw(SIDES)},{draw(IDS)}{draw(ENDS)}"
    return text


@st.composite
def aggregate_rows(draw: st.DrawFn) -> str:
    """A file of Binance's aggTrades."""
    text = f"1,1.00,1.00,1,1,{NS // 10**6},True,True\n"
    unit = draw(st.sampled_from([1_000, 1_000_000]))
    ns = NS
    for number in range(draw(st.integers(0, 10))):
        ns += draw(STEPS) * unit
        maker = draw(st.sampled_from(["True", "False", "true", "1", "0", "", "Truer", "no"]))
        price, quantity = (spelled(draw(numbers), draw(HOW)) for numbers in NUMBERS)
        text += f"{number},{price},{quantity},5,{draw(IDS)},{ns // unit},{maker},True{draw(ENDS)}"
    return text


@st.composite
def candle_rows(draw: st.DrawFn) -> str:
    """A file of candles."""
    text = "open_time_ms,open,high,low,close,volume,trades\n0,1,1,1,1,1,1\n60000,1,1,1,1,1,1\n"
    time = 60_000
    for _ in range(draw(st.integers(0, 10))):
        time += draw(st.sampled_from([60_000] * 6 + [120_000, 0, 30_000, -60_000]))
        values = sorted(draw(st.lists(PRICES, min_size=4, max_size=4)))
        low, opened, close, high = draw(st.sampled_from([values] * 5 + [values[::-1]]))
        cells = (opened, high, low, close, draw(QUANTITIES))
        text += ",".join([str(time), *(spelled(cell, draw(HOW)) for cell in cells), "1"]) + draw(ENDS)
    return text


@st.composite
def pair_rows(draw: st.DrawFn) -> str:
    """A file whose rows name their pair."""
    names = st.sampled_from(["BTC/USDT"] * 6 + ["B-BTC_USDT", "btc/usdt", "ETH/USDT", "", '"BTC/USDT"', "BTC/USDTX"])
    lines = [f"{NS},{draw(names)},{draw(PRICES)},1{draw(ENDS)}" for _ in range(draw(st.integers(1, 6)))]
    return f"ts_ns,pair,price,qty\n{NS},BTC/USDT,1,1\n" + "".join(lines)


@given(st.one_of(trade_rows(), aggregate_rows(), candle_rows(), pair_rows()), st.booleans())
@settings(max_examples=300, deadline=None)
def test_three_ways_of_reading_are_one(tmp_path_factory, text: str, in_quote: bool):
    path = tmp_path_factory.getbasetemp() / "rows.csv"
    path.write_bytes(text.encode())
    wanted = read(path, in_quote, slow)
    assert read(path, in_quote, uncompiled) == wanted
    assert read(path, in_quote, reader(ROOT / "var" / "cache")[0]) == wanted


@given(PRICES, QUANTITIES, HOW, HOW, st.booleans())
@settings(max_examples=300, deadline=None)
def test_what_is_read_is_the_exact_number(
    price: Decimal, quantity: Decimal, how_price: int, how_quantity: int, in_quote: bool
):
    layout = recognised(["ts_ns", "price", "qty"])
    line = f"{NS},{spelled(price, how_price)},{spelled(quantity, how_quantity)}\n".encode()
    ticks = price * 10**8
    try:
        row = odd_rows.read_row(line, odd_rows.Terms(layout, 0, in_quote, ""))
    except Odd as odd:
        bad_price = not 0 < ticks <= rows.MOST_TICKS or ticks != int(ticks)
        assert bad_price if odd.kind == "price" else not 0 < quantity <= odd_rows.MOST_QUANTITY
        return
    lots = Fraction(quantity) * 10**8
    if in_quote:
        lots /= Fraction(price)
    assert (row.ticks, row.price) == (ticks, float(price))
    assert row.lots == min(lots.numerator // lots.denominator, rows.MOST_LOTS)
    assert row.quantity == (row.lots / 10**8 if in_quote else float(quantity))
