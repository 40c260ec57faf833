"""What the columns of a file of trades or candles are, told by its header or by the look of its first row.

Known are, with and without header where they exist so:

* trades with a header that names `ts_ns` or `ts_ms`, `price`, `qty` and perhaps `side`, `trade_id`, `pair`
* candles `open_time_ms,open,high,low,close,volume`
* Binance's archive: aggTrades (id, price, quantity, first id, last id, time, buyer was maker, best match), trades (id,
  price, quantity, quote quantity, time, buyer was maker, best match), klines (12 columns); the futures' files lack the
  best match. Times are in ms, of spot files from 2025 on in us
* Kraken's archive: trades (time in s, price, volume) and OHLCVT (time in s, open, high, low, close, volume, trades)

The unit of a time without `_ms` or `_ns` in its name is told by its size.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from backtest import csv_rows as rows
from backtest.bad_data import shown

TIMES = {"ts_ns": 1, "ts_ms": 1_000_000, "open_time_ms": 1_000_000}  # ns in a unit of these columns
ROLES = {
    **dict.fromkeys((*TIMES, "time", "timestamp", "transact_time", "open_time"), rows.TIME),
    "price": rows.PRICE,
    **dict.fromkeys(("qty", "quantity", "size", "volume"), rows.QUANTITY),
    "side": rows.SIDE,
    **dict.fromkeys(("is_buyer_maker", "isbuyermaker"), rows.BUYER_MAKER),
    **dict.fromkeys(("trade_id", "id", "agg_trade_id"), rows.TRADE_ID),
    **dict.fromkeys(("pair", "symbol"), rows.PAIR),
}
CANDLE_ROLES = {
    **dict.fromkeys(("open_time_ms", "open_time", "time", "timestamp", "ts_ms", "ts_ns"), rows.TIME),
    "open": rows.OPEN,
    "high": rows.HIGH,
    "low": rows.LOW,
    "close": rows.PRICE,
    "volume": rows.QUANTITY,
    **dict.fromkeys(("pair", "symbol"), rows.PAIR),
}
ONLY_OF_CANDLES = {"open", "high", "low"}
# Known, and of no use here.
OTHERS = (
    *("trades", "close_time", "count", "ignore", "vwap", "taker_buy_volume", "taker_buy_quote_volume", "quote_volume"),
    *("first_trade_id", "last_trade_id", "is_best_match", "isbestmatch", "quote_qty", "quoteqty", "base_qty"),
    *("quote_asset_volume", "number_of_trades", "taker_buy_base_asset_volume", "taker_buy_quote_asset_volume"),
)
TRADES_HEADER = "ts_ns (or ts_ms), price, qty"
CANDLES_HEADER = "open_time_ms,open,high,low,close,volume"

TRADES_NEED = {rows.TIME: "ts_ns (or ts_ms)", rows.PRICE: "price", rows.QUANTITY: "qty"}
CANDLES_NEED = {
    rows.TIME: "open_time_ms",
    rows.OPEN: "open",
    rows.HIGH: "high",
    rows.LOW: "low",
    rows.PRICE: "close",
    rows.QUANTITY: "volume",
}

_T, _P, _Q, _O, _H, _L = rows.TIME, rows.PRICE, rows.QUANTITY, rows.OPEN, rows.HIGH, rows.LOW
_ID, _M, _X = rows.TRADE_ID, rows.BUYER_MAKER, rows.IGNORED
# Without a header: numbers (n) and true or false (b) in a row, and what that is.
PATTERNS = {
    "nnn": ("Kraken trades", (_T, _P, _Q)),
    "nnnnnnbb": ("Binance aggTrades", (_ID, _P, _Q, _X, _X, _T, _M, _X)),
    "nnnnnnb": ("Binance aggTrades", (_ID, _P, _Q, _X, _X, _T, _M)),
    "nnnnnbb": ("Binance trades", (_ID, _P, _Q, _X, _T, _M, _X)),
    "nnnnnb": ("Binance trades", (_ID, _P, _Q, _X, _T, _M)),
    "nnnnnnnnnnnn": ("Binance klines", (_T, _O, _H, _L, _P, _Q, *[_X] * 6)),
    "nnnnnnn": ("Kraken OHLCVT", (_T, _O, _H, _L, _P, _Q, _X)),
    "nnnnnn": ("candles", (_T, _O, _H, _L, _P, _Q)),
}
# How a column without a header is called in messages.
LABELS = {
    _T: "time",
    _P: "price",
    _Q: "quantity",
    _O: "open",
    _H: "high",
    _L: "low",
    _ID: "trade id",
    _M: "buyer maker",
}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NO_NUMBER = re.compile(r"[+-]?(nan|inf(inity)?)", re.IGNORECASE)


class Layout(NamedTuple):
    """What the rows of a file are."""

    name: str
    roles: tuple[int, ...]  # a column each, see `csv_rows`
    names: tuple[str, ...]  # of the columns, for messages
    time_unit: int  # ns in a unit of the time column; 0: told by its size
    header: bool
    notes: tuple[str, ...] = ()

    @property
    def candles(self) -> bool:
        """Whether a row is a candle."""
        return rows.OPEN in self.roles

    def column(self, role: int) -> int:
        """Where the column of that role stands; -1 where there is none."""
        return self.roles.index(role) if role in self.roles else -1


def recognised(first_row: Sequence[str]) -> Layout:
    """The layout of a file whose first row is this. Raises ValueError saying what is wrong with it."""
    cells = [cell.strip() for cell in first_row]
    if len(cells) > rows.MOST_COLUMNS:
        raise ValueError(f"it has {len(cells)} columns, {rows.MOST_COLUMNS} can be read")
    marks = "".join(_mark(cell) for cell in cells)
    if "w" in marks or len(cells) == 1:
        return _by_header(cells)
    if marks not in PATTERNS:
        raise ValueError(
            f"it has no header, and its first row {shown(','.join(cells))} is of no archive known here."
            f" Give it a header: {TRADES_HEADER}, or {CANDLES_HEADER}"
        )
    name, roles = PATTERNS[marks]
    return Layout(name, roles, tuple(LABELS.get(role, "") for role in roles), 0, header=False)


def _mark(cell: str) -> str:
    """n: number, also a bad one; b: true or false; w: a word. An empty cell is a number that is missing."""
    if not cell or _NUMBER.fullmatch(cell) or _NO_NUMBER.fullmatch(cell):
        return "n"
    return "b" if cell.lower() in ("true", "false") else "w"


def _by_header(cells: Sequence[str]) -> Layout:
    names = [cell.lower() for cell in cells]
    candles = not ONLY_OF_CANDLES.isdisjoint(names)
    known = CANDLE_ROLES if candles else ROLES
    roles = [known.get(name, rows.IGNORED) for name in names]
    # Of several names for one thing the first counts, ours before all others.
    for role in set(roles) - {rows.IGNORED}:
        places = [place for place, found in enumerate(roles) if found == role]
        kept = min(places, key=lambda place: (names[place] not in TIMES, place))
        for place in places:
            if place != kept:
                if names[place] == names[kept]:
                    raise ValueError(f"its header names {shown(names[kept])} twice")
                roles[place] = rows.IGNORED
    needed = CANDLES_NEED if candles else TRADES_NEED
    unknown = [name for name in names if name not in known and name not in OTHERS]
    missing = [name for role, name in needed.items() if role not in roles]
    if missing:
        raise ValueError(_lacks(cells, unknown, missing, candles))
    notes = tuple(f"its column {shown(name)} is not known and not read{_nearest(name, known)}" for name in unknown)
    unit = TIMES.get(names[roles.index(rows.TIME)], 0)
    return Layout("candles" if candles else "trades", tuple(roles), tuple(names), unit, True, notes)


def _lacks(cells: Sequence[str], unknown: Sequence[str], missing: Sequence[str], candles: bool) -> str:
    """What to say of a header without a column that is needed."""
    text = f"its header {shown(','.join(cells))} has no column {', '.join(missing)}"
    known = CANDLE_ROLES if candles else ROLES
    near = [f"{shown(name)}{_nearest(name, known)}" for name in unknown if _nearest(name, known)]
    if near:
        text += f"; not known: {' '.join(near)}"
    for sign, what in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(cells) == 1 and sign in cells[0]:
            text += f"; its columns are parted by {what}, commas are needed"
    return text + f". Needed: {CANDLES_HEADER if candles else TRADES_HEADER}"


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f": did you mean {near[0]}?" if near else ""
