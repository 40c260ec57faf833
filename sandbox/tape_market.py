"""Recorded trades as a market: a file, one pair, played once from its beginning to its end at its own times.

`.csv` or `.csv.gz` with a header naming a time (`ts_ms` or `ts_ns`), `price`, `qty` and perhaps `side`; the order of
the file counts, also inside one millisecond. The tick is the smallest decimal of any price of the file, the step that
of any quantity. Or a tape of ours (`tape_file`). Of the time before the first trade there is no history.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from core.errors import MisconfiguredError
from sandbox.tape_file import read_tape
from sandbox.trades import Bars, Bools, Ints, Rules, Trades, bars_of

TIMES = {"ts_ms": 1, "ts_ns": 1_000_000}  # how many of the unit are one ms
DIGITS_MOST = 12
DAY_MS = 86_400_000
MINUTE_MS = 60_000
LATEST_MS = 7_258_118_400_000  # the year 2200: beyond it the unit is another


class Recording(NamedTuple):
    """What a file holds."""

    trades: Trades
    price_digits: int
    quantity_digits: int
    unsorted: int  # trades that stood after a younger one; they were put in their place


class TapeMarket:
    """One market made of recorded trades."""

    def __init__(self, recording: Recording, pair: str) -> None:
        ecode, _, names = pair.partition("-")
        base, _, quote = names.partition("_")
        rules = Rules(base, quote, ecode, recording.price_digits, recording.quantity_digits, 1, 0.0)
        self._rules = {pair: rules}
        self._trades = recording.trades

    @property
    def rules(self) -> dict[str, Rules]:
        return self._rules

    @property
    def first_ms(self) -> int:
        return int(self._trades.ts_ms[0])

    @property
    def last_ms(self) -> int:
        return int(self._trades.ts_ms[-1])

    def __len__(self) -> int:
        return len(self._trades)

    def span(self, pair: str, from_ms: int, to_ms: int) -> Trades:
        start, stop = np.searchsorted(self._trades.ts_ms, (from_ms, to_ms))
        return self._trades.slice(int(start), max(int(start), int(stop)))

    def last(self, pair: str, until_ms: int, limit: int) -> Trades:
        stop = int(np.searchsorted(self._trades.ts_ms, until_ms + 1))
        return self._trades.slice(max(0, stop - limit), stop)

    def bars(self, pair: str, interval_ms: int, from_ms: int, until_ms: int, limit: int) -> Bars:
        from_ms = -(-from_ms // interval_ms) * interval_ms
        bars = bars_of(self.span(pair, from_ms, until_ms + 1), interval_ms)
        return Bars(*(column[-limit:] for column in bars))

    def first_ticks(self, pair: str) -> int:
        return int(self._trades.ticks[0])

    def reach(self, pair: str, until_ms: int) -> tuple[int, int] | None:
        day = self.span(pair, until_ms - DAY_MS, until_ms + 1)
        return (int(day.ticks.min()), int(day.ticks.max())) if len(day) else None

    @property
    def oldest_ms(self) -> int:
        return self.first_ms

    @property
    def origin_ms(self) -> int:
        return self.first_ms // MINUTE_MS * MINUTE_MS

    def counts(self, pair: str, first_minute: int, stop_minute: int) -> Ints:
        edges = np.arange(first_minute, stop_minute + 1) * MINUTE_MS
        counts: Ints = np.diff(np.searchsorted(self._trades.ts_ms, edges)).astype(np.int64)
        return counts


def read_recording(path: Path, pair: str) -> Recording:
    """The trades of a file.

    Raises MisconfiguredError naming file, line and value where it cannot be read.
    """
    try:
        if path.is_dir() or path.suffix == ".tape":
            ts_ms, prices, quantities, sides = read_tape(path, pair)
        else:
            with _opened(path) as file:
                ts_ms, prices, quantities, sides = _columns(path, file)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise MisconfiguredError(
            f"SANDBOX_TAPE={path} cannot be read: {error}. Give a .csv, a whole .csv.gz or a tape, or set none."
        ) from error
    if not ts_ms:
        raise MisconfiguredError(f"SANDBOX_TAPE={path} holds no trades: give a file that does, or set none")
    ticks, price_digits = _whole(path, "price", prices)
    units, quantity_digits = _whole(path, "qty", quantities)
    times = np.array(ts_ms, np.int64)
    sell = _sellers(sides, ticks)
    unsorted = int(np.count_nonzero(times < np.maximum.accumulate(times)))
    if unsorted:
        order = np.argsort(times, kind="stable")
        times, ticks, units, sell = times[order], ticks[order], units[order], sell[order]
    return Recording(Trades(times, ticks, units, sell), price_digits, quantity_digits, unsorted)


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _columns(path: Path, file: IO[str]) -> tuple[list[int], list[str], list[str], list[str]]:
    rows = csv.reader(file)
    header = [name.strip() for name in next(rows, [])]
    time = next((name for name in TIMES if name in header), None)
    missing = [name for name in ("price", "qty") if name not in header]
    if time is None or missing:
        raise MisconfiguredError(
            f"SANDBOX_TAPE={path} begins {','.join(header)[:80]!r}: the first line must name ts_ms or ts_ns, price, qty"
        )
    per_ms, side_at = TIMES[time], header.index("side") if "side" in header else None
    time_at, price_at, quantity_at = header.index(time), header.index("price"), header.index("qty")
    ts_ms: list[int] = []
    prices: list[str] = []
    quantities: list[str] = []
    sides: list[str] = []
    row: list[str] = []
    try:
        for row in _filled(rows):
            at_ms = int(row[time_at]) // per_ms
            if not 0 < at_ms < LATEST_MS:
                raise ValueError(row)
            ts_ms.append(at_ms)
            prices.append(row[price_at])
            quantities.append(row[quantity_at])
            sides.append(row[side_at] if side_at is not None else "")
    except (ValueError, IndexError, csv.Error) as error:
        raise MisconfiguredError(
            f"SANDBOX_TAPE={path}, line {rows.line_num}: {','.join(row)[:80]!r} is no trade: {time} must be a whole"
            f" number since 1970, and price and qty be there. Mend or remove the line."
        ) from error
    return ts_ms, prices, quantities, sides


def _filled(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    return (row for row in rows if row)


def _whole(path: Path, name: str, texts: list[str]) -> tuple[Ints, int]:
    """Decimal texts as whole numbers of their smallest decimal, and how many digits after the point that is.

    Raises MisconfiguredError where a text is no positive number.
    """
    plain = [text if text.isascii() and "e" not in text and "E" not in text else _plain(text) for text in texts]
    digits = min(DIGITS_MOST, max(len(text.partition(".")[2]) for text in plain))
    values = np.empty(len(plain), np.int64)
    for index, text in enumerate(plain):
        whole, _, part = text.partition(".")
        try:
            value = int(whole + part[:digits].ljust(digits, "0"))
        except (ValueError, OverflowError):
            value = 0
        if value <= 0 or value >= 1 << 63:
            raise MisconfiguredError(f"SANDBOX_TAPE={path}, trade {index + 1}: {name} {texts[index]!r} is not positive")
        values[index] = value
    return values, digits


def _plain(text: str) -> str:
    """`1e-8` as `0.00000001`; other texts as they are."""
    try:
        return f"{Decimal(text):f}"
    except InvalidOperation:
        return text


def _sellers(sides: list[str], ticks: Ints) -> Bools:
    """Who took: as the file says; where it does not, a lower price than before is a sale, an equal one is as before."""
    sell = np.empty(len(sides), np.bool_)
    before, selling = int(ticks[0]), False
    for index, side in enumerate(sides):
        tick = int(ticks[index])
        if side in ("buy", "sell"):
            selling = side == "sell"
        elif tick != before:
            selling = tick < before
        before = tick
        sell[index] = selling
    return sell
