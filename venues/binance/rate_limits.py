"""Binance's limits: what exchangeInfo says of them, our share of each, and what an answer says is left. Pure.

* REQUEST_WEIGHT and RAW_REQUESTS count for the whole address, ORDERS (those that are not filled yet) for the account.
* A window is the minute, the ten seconds or the day (UTC) that is running by the venue's clock.
* Before exchangeInfo was read, and where it lacks a limit, FIXED holds.
* Of what is left by the venue's word ordinary calls leave a tenth of the limit alone; exits may use all of it.
* A count beyond the limit says that the venue allows more than is known here: exits go on, ordinary calls stand back.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from venues.answers import date_s
from venues.engineio import UNREADABLE
from venues.limits import Left, Limit

# The names of the limits, as calls cost of them.
WEIGHT, REQUESTS, ORDERS, DAILY_ORDERS = "weight", "requests", "orders", "orders of a day"

UNITS_S = {"SECOND": 1, "MINUTE": 60, "HOUR": 3_600, "DAY": 86_400}
KEPT = 0.1  # of what the venue allows, for exits: other processes and people use the same limits
_LONG_S = 3_600  # orders counted over so long or longer are those of a day


class Window(NamedTuple):
    """A limit of the venue: so much in so many of a unit of time."""

    limit: int
    number: int
    unit: str  # SECOND MINUTE HOUR DAY

    @property
    def seconds(self) -> int:
        return self.number * UNITS_S[self.unit]


class Share(NamedTuple):
    """What one process may use of a limit, as fractions: at once, spread over a window, and of the first for exits."""

    at_once: float
    spread: float
    kept_for_exits: float = 0.0


Windows = Mapping[str, Window]

FIXED: Windows = {
    WEIGHT: Window(6_000, 1, "MINUTE"),
    REQUESTS: Window(61_000, 5, "MINUTE"),
    ORDERS: Window(50, 10, "SECOND"),
    DAILY_ORDERS: Window(160_000, 1, "DAY"),
}
_HEADERS = {
    WEIGHT: "x-mbx-used-weight-",
    ORDERS: "x-mbx-order-count-",
    DAILY_ORDERS: "x-mbx-order-count-",
}


class LimitRow(msgspec.Struct):
    """One row of exchangeInfo's `rateLimits`."""

    rateLimitType: str
    interval: str
    intervalNum: int
    limit: int


_rows = msgspec.json.Decoder(list[msgspec.Raw])
_row = msgspec.json.Decoder(LimitRow)


def parse_windows(raw: bytes) -> Windows:
    """The limits in force, by name; never raises: what cannot be read stays as in FIXED."""
    found: dict[str, Window] = {}
    try:
        rows = _rows.decode(raw)
    except UNREADABLE:
        return FIXED
    for row in rows:
        try:
            told = _row.decode(row)
        except UNREADABLE:
            continue
        if not (0 < told.limit < 2**31 and 0 < told.intervalNum < 10_000 and told.interval in UNITS_S):
            continue
        window = Window(told.limit, told.intervalNum, told.interval)
        name = _name_of(told.rateLimitType, window.seconds)
        if name and (name not in found or _a_second(window) < _a_second(found[name])):
            found[name] = window
    return {**FIXED, **found}


def _name_of(kind: str, seconds: int) -> str:
    if kind == "ORDERS":
        return DAILY_ORDERS if seconds >= _LONG_S else ORDERS
    return {"REQUEST_WEIGHT": WEIGHT, "RAW_REQUESTS": REQUESTS}.get(kind, "")


def _a_second(window: Window) -> float:
    return window.limit / window.seconds


def limits_of(windows: Windows, shares: Mapping[str, Share]) -> dict[str, Limit]:
    """Our shares of the limits in force."""
    return {
        name: Limit(
            rate_per_s=_a_second(windows[name]) * share.spread,
            burst=windows[name].limit * share.at_once,
            kept_for_exits=share.kept_for_exits,
        )
        for name, share in shares.items()
    }


def left_of(headers: Mapping[str, str], windows: Windows = FIXED) -> dict[str, Left]:
    """What is left of the limits after an answer, by their names; what others used is counted by the venue."""
    left: dict[str, Left] = {}
    stamp_s = date_s(headers.get("date", ""))
    for name, header in _HEADERS.items():
        limit, number, unit = windows[name]
        text = headers.get(f"{header}{number}{unit[0].lower()}", "")
        if text.isascii() and text.isdigit() and len(text) < 10:
            kept, used = limit * KEPT, int(text)
            left[name] = Left(limit - used if used <= limit else kept, kept, rest_s(windows[name].seconds, stamp_s))
    return left


def rest_s(window_s: int, stamp_s: int | None) -> float:
    """Seconds until the running window ends by the venue's clock, whose Date is `stamp_s` (None: not known)."""
    return window_s if stamp_s is None else window_s - stamp_s % window_s
