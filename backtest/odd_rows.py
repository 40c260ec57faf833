"""Rows of CSV that are not written plainly, read exactly, slowly and with a reason where they are no trade.

The same rules as `backtest.csv_rows`, said once more in decimals: quoted fields, spaces, exponents and the like.
"""

import csv
import re
from decimal import ROUND_FLOOR, Context, Decimal
from typing import NamedTuple

from backtest import bad_data as bad
from backtest import csv_rows as rows
from backtest.archives import Layout
from backtest.bad_data import Odd, shown
from bus.layouts import SIDE_BUY, SIDE_SELL, SIDE_UNKNOWN
from core import pairs

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_ENDLESS = re.compile(r"[+-]?(nan|inf(inity)?)", re.IGNORECASE)
MOST_QUANTITY = 10**18
_LONGEST = 60  # letters of a number
_EXACTLY = Context(prec=400)  # of what 60 letters and an exponent of three digits can say
SIDES = {"": SIDE_UNKNOWN, "b": SIDE_BUY, "buy": SIDE_BUY, "s": SIDE_SELL, "sell": SIDE_SELL}
MAKERS = {"true": SIDE_SELL, "1": SIDE_SELL, "false": SIDE_BUY, "0": SIDE_BUY}


class Row(NamedTuple):
    """A trade as `csv_rows.append` takes it."""

    ns: int
    ticks: int
    price: float
    lots: int
    quantity: float
    side: int
    trade_id: int
    identity: int


class Terms(NamedTuple):
    """What the rows of a file are, beside their layout."""

    layout: Layout
    candle_ns: int  # 0 for trades
    in_quote: bool
    pair: str  # as the first row names it; empty where no column does


def cells_of(line: bytes, layout: Layout) -> list[str]:
    """The fields of a row. Raises Odd."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Odd(bad.TEXT, f"byte {error.start + 1} of {shown(str(line[:40])[2:-1])} is no UTF-8 text") from None
    try:
        cells = next(csv.reader([text.rstrip("\r\n")], strict=True), [])
    except csv.Error:
        raise Odd(bad.TEXT, f"a quote is not closed in {shown(text.strip())}") from None
    if len(cells) != len(layout.roles):
        raise Odd(bad.COLUMNS, f"{shown(text.strip())} has {_columns(len(cells))}, not {len(layout.roles)}")
    return [cell.strip() for cell in cells]


def read_row(line: bytes, terms: Terms) -> Row:
    """The trade that a line is. Raises Odd with the reason where it is none."""
    layout = terms.layout
    cells = cells_of(line, layout)
    if layout.column(rows.PAIR) >= 0:
        name = cells[layout.column(rows.PAIR)]
        if name != terms.pair and not same_pair(name, terms.pair):
            raise Odd(
                bad.PAIR, f"the pair is {shown(name)}, in the rows before {shown(terms.pair)}: one pair at a time"
            )
    ns = time_of(cells[layout.column(rows.TIME)], layout)
    price_text = cells[layout.column(rows.PRICE)]
    price = _price(price_text, _name(layout, rows.PRICE))
    quantity_text = cells[layout.column(rows.QUANTITY)]
    quantity = _quantity(quantity_text, _name(layout, rows.QUANTITY), layout.candles)
    if layout.candles:
        _check_candle(cells, layout, price)
        ns += terms.candle_ns - rows.NS_OF_MS
    if terms.in_quote:
        lots = _lots(_EXACTLY.divide_int(_EXACTLY.multiply(quantity, Decimal(rows.TICKS_OF_ONE)), price))
        amount = lots / rows.TICKS_OF_ONE
    else:
        lots = _lots(_EXACTLY.multiply(quantity, Decimal(rows.TICKS_OF_ONE)))
        amount = float(quantity)
    side = _side(cells, layout)
    trade_id, identity = _identity(cells, layout)
    ticks = int(_EXACTLY.multiply(price, Decimal(rows.TICKS_OF_ONE)))
    return Row(ns, ticks, float(price), lots, amount, side, trade_id, identity)


def same_pair(one: str, other: str) -> bool:
    """Whether two names are those of one pair."""
    try:
        return pairs.canonical(one) == pairs.canonical(other)
    except ValueError:
        return one.upper() == other.upper()


def _columns(count: int) -> str:
    return "1 column" if count == 1 else f"{count} columns"


def _name(layout: Layout, role: int) -> str:
    return layout.names[layout.column(role)]


def _decimal(text: str, kind: str, what: str) -> Decimal:
    """The number in a text. Raises Odd."""
    if _ENDLESS.fullmatch(text):
        raise Odd(kind, f"{what} is {shown(text)}, which is no number")
    if not _NUMBER.fullmatch(text) or len(text) > _LONGEST:
        raise Odd(kind, f"{what} is {shown(text)}: a decimal number is needed" if text else f"{what} is empty")
    return Decimal(text)


def time_of(text: str, layout: Layout) -> int:
    """Nanoseconds since 1970 of the time column's text. Raises Odd."""
    what = _name(layout, rows.TIME)
    time = _decimal(text, bad.TIME, what)
    if time < 0:
        raise Odd(bad.TIME, f"{what} is {shown(text)}: a time before 1970")
    unit = layout.time_unit or rows.unit_by_size(int(min(time, Decimal(rows.MOST_NS))))
    ns = _EXACTLY.multiply(time, Decimal(unit))
    if ns > rows.MOST_NS:
        raise Odd(bad.TIME, f"{what} is {shown(text)}: beyond the year 2116")
    if ns != int(ns):
        raise Odd(bad.TIME, f"{what} is {shown(text)}: finer than a nanosecond")
    return int(ns)


def _price(text: str, what: str) -> Decimal:
    price = _decimal(text, bad.PRICE, what)
    if price <= 0:
        raise Odd(bad.PRICE, f"{what} is {shown(text)}: a price is above 0")
    ticks = _EXACTLY.multiply(price, Decimal(rows.TICKS_OF_ONE))
    if ticks > rows.MOST_TICKS:
        raise Odd(bad.PRICE, f"{what} is {shown(text)}: beyond {rows.MOST_TICKS // rows.TICKS_OF_ONE}")
    if ticks != ticks.to_integral_value():
        raise Odd(bad.PRICE, f"{what} is {shown(text)}: finer than the tick of 0.00000001")
    return price


def _quantity(text: str, what: str, candle: bool) -> Decimal:
    quantity = _decimal(text, bad.QUANTITY, what)
    if quantity < 0 or (quantity == 0 and not candle):
        raise Odd(bad.QUANTITY, f"{what} is {shown(text)}: a quantity is above 0")
    if quantity > MOST_QUANTITY:
        raise Odd(bad.QUANTITY, f"{what} is {shown(text)}: beyond {MOST_QUANTITY}")
    return quantity


def _lots(steps: Decimal) -> int:
    return min(int(steps.to_integral_value(ROUND_FLOOR, _EXACTLY)), rows.MOST_LOTS)


def _check_candle(cells: list[str], layout: Layout, close: Decimal) -> None:
    opened, high, low = (
        _price(cells[layout.column(role)], _name(layout, role)) for role in (rows.OPEN, rows.HIGH, rows.LOW)
    )
    if not (low <= opened <= high and low <= close <= high):
        raise Odd(bad.CANDLE, f"open {opened} and close {close} are not between low {low} and high {high}")


def _side(cells: list[str], layout: Layout) -> int:
    for role, words in ((rows.SIDE, SIDES), (rows.BUYER_MAKER, MAKERS)):
        column = layout.column(role)
        if column >= 0:
            text = cells[column].lower()
            if text not in words:
                allowed = "buy, sell or nothing" if role == rows.SIDE else "true or false"
                raise Odd(bad.SIDE, f"{layout.names[column]} is {shown(cells[column])}: {allowed} is needed")
            return words[text]
    return SIDE_UNKNOWN


def _identity(cells: list[str], layout: Layout) -> tuple[int, int]:
    """(id where it is a number that fits, else 0; what tells it from others, 0 where there is none)."""
    column = layout.column(rows.TRADE_ID)
    text = cells[column] if column >= 0 else ""
    if len(text) <= rows.ID_DIGITS and text.isascii() and (text.isdigit() or not text):
        return int(text or 0), int(text or 0)
    hashed = 0
    for byte in text.encode():
        hashed = (hashed * 67 + byte) & rows.HASH_MASK
    return 0, -1 - hashed
