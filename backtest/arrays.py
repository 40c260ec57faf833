"""Market data that is in memory already: numpy arrays of one pair as a source of records."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest.chunks import CHUNK, FIRST_NUMBER, Chunk
from bus.messages import Market, Start
from bus.records import RECORD, SIDE_UNKNOWN, TRADE
from core.errors import MisconfiguredError
from core.money import plain, scale_of

Array = np.ndarray[Any, Any]
LARGEST = 1 << 53  # whole numbers that float64 holds exactly


class ArraySource:
    """Trades of one pair out of arrays of equal length, oldest first.

    ns: exchange times in ns, never going back. price, quantity: float64 above 0, of the base currency. market: its
    rules. Raises MisconfiguredError naming the first row that is no trade. The arrays are read while it runs, and not
    changed.
    """

    def __init__(
        self, ns: npt.ArrayLike, price: npt.ArrayLike, quantity: npt.ArrayLike, market: Market, fee_bps: str
    ) -> None:
        self._ns = _whole(ns)
        self._price = _floats(price, "price")
        self._quantity = _floats(quantity, "quantity")
        if not len(self._ns) == len(self._price) == len(self._quantity):
            lengths = f"{len(self._ns)}, {len(self._price)} and {len(self._quantity)}"
            raise MisconfiguredError(f"times, prices and quantities must be equally many, not {lengths}")
        scale_of(market.tick, market.step, market.pair)  # refuses rules that do not fit
        self._tick, self._step = Decimal(market.tick), Decimal(market.step)
        self._check()
        self.start = Start("arrays", "backtest", [market], fee_bps, fee_bps, False, 0)
        self.connected = True
        self.notes: list[str] = []
        self.total: int | None = len(self._ns)
        self._done = 0

    @property
    def done(self) -> int:
        """Trades read so far."""
        return self._done

    def chunks(self) -> Iterator[Chunk]:
        """The trades as records."""
        for first in range(0, len(self._ns), CHUNK):
            part = slice(first, first + CHUNK)
            self._done = min(first + CHUNK, len(self._ns))
            records = np.zeros(len(self._ns[part]), RECORD)
            records["kind"], records["side"] = TRADE, SIDE_UNKNOWN
            records["exchange_ns"] = records["received_ns"] = self._ns[part]
            records["price"], records["quantity"] = self._price[part], self._quantity[part]
            records["ticks"] = np.rint(_steps(self._price[part], self._tick))
            # A quantity that is on the step is a hair beside it as a float: it must not lose a lot.
            lots = _steps(self._quantity[part], self._step)
            nearest = np.rint(lots)
            records["lots"] = np.where(np.abs(lots - nearest) <= 1e-9 * nearest, nearest, np.floor(lots))
            yield Chunk(FIRST_NUMBER + first, records, self.start)

    def _check(self) -> None:
        back = np.flatnonzero(self._ns[1:] < self._ns[:-1])
        if len(back):
            row = int(back[0]) + 1
            raise MisconfiguredError(
                f"row {row}: time {self._ns[row]} is before the row above it ({self._ns[row - 1]}): sort the arrays"
            )
        for name, values, step in (("price", self._price, self._tick), ("quantity", self._quantity, self._step)):
            wrong = np.flatnonzero(~((values > 0.0) & (values < LARGEST * float(step))))
            if len(wrong):
                row = int(wrong[0])
                most = plain(LARGEST * step)
                raise MisconfiguredError(f"row {row}: {name} is {values[row]}: above 0 and below {most} is needed")


def _steps(values: Array, step: Decimal) -> Array:
    """How many steps each value is, as float64."""
    over, under = step.as_integer_ratio()
    found: Array = values * float(under) / float(over)
    return found


def _whole(values: npt.ArrayLike) -> Array:
    """Times in ns as int64; numpy's own datetimes are taken too."""
    found = np.asarray(values)
    if not found.size:
        return np.zeros(0, np.int64)
    if found.dtype.kind == "M":
        found = found.astype("datetime64[ns]")
    elif found.dtype.kind not in "iu":
        raise MisconfiguredError(f"times are {found.dtype}: whole ns since 1970 or numpy datetimes are needed")
    return np.ascontiguousarray(found).view(np.int64) if found.dtype.itemsize == 8 else found.astype(np.int64)


def _floats(values: npt.ArrayLike, name: str) -> Array:
    try:
        return np.ascontiguousarray(values, np.float64)
    except (TypeError, ValueError):
        raise MisconfiguredError(f"{name} is no array of numbers") from None
