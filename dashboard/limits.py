"""When the limits of the settings stood in the way of entries, worked out of what was booked. Pure.

The trader asks them only where a rule holds (`trader.risk.limit_reached`), so its journal has them only as refusals;
what they come to at other times follows from exits and entries, over all pairs:

* COOLDOWN_SECONDS: for so long after each exit
* MAX_ORDERS_PER_MINUTE: while that many entries were sent in the last 60 s
* MAX_DAILY_LOSS: while the exits of a day (UTC + DAY_OFFSET_MINUTES) have lost so much
* MAX_OPEN_POSITIONS: while that many pairs were held as the minute began; working entries are not counted
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

MINUTE_MS = 60_000
DAY_MS = 86_400_000


class Stretch(NamedTuple):
    """A limit in force, from and to in ms; None: since before the minute, or after it too."""

    reason: str
    from_ms: int | None
    to_ms: int | None


def in_force(
    settings: Mapping[str, str], exits: Sequence[tuple[int, float]], entries: Sequence[int], held: int, from_ms: int
) -> list[Stretch]:
    """The limits in force during the minute, by settings as the trader's start tells them.

    exits: ms and profit of completed exits, entries: ms of approved entries, both of all pairs, oldest first.
    """
    found: list[Stretch] = []
    cooldown_ms = int(float(settings.get("COOLDOWN_SECONDS") or 0) * 1000)
    if cooldown_ms:
        found += _joined("cooldown", ((ms, ms + cooldown_ms) for ms, _ in exits))
    most = int(settings.get("MAX_ORDERS_PER_MINUTE") or 0)
    if most:
        full = zip(entries[most - 1 :], entries, strict=False)
        found += _joined("max_orders_per_minute", ((last, first + MINUTE_MS) for last, first in full))
    loss = float(settings.get("MAX_DAILY_LOSS") or 0)
    if loss:
        offset_ms = int(settings.get("DAY_OFFSET_MINUTES") or 0) * MINUTE_MS
        found += _joined("max_daily_loss", _lost(exits, loss, offset_ms))
    pairs = int(settings.get("MAX_OPEN_POSITIONS") or 0)
    if pairs and held >= pairs:
        found.append(Stretch("max_open_positions", None, None))
    return [one for one in found if _meets(one, from_ms)]


def day_begins(ms: int, settings: Mapping[str, str]) -> int:
    """The start in ms of the trader's day that a time is of."""
    offset_ms = int(settings.get("DAY_OFFSET_MINUTES") or 0) * MINUTE_MS
    return (ms + offset_ms) // DAY_MS * DAY_MS - offset_ms


def _lost(exits: Sequence[tuple[int, float]], loss: float, offset_ms: int) -> Iterable[tuple[int, int]]:
    day, sum_ = -1, 0.0
    for at, (ms, profit) in enumerate(exits):
        if (ms + offset_ms) // DAY_MS != day:
            day, sum_ = (ms + offset_ms) // DAY_MS, 0.0
        sum_ = round(sum_ + profit, 8)
        ends = (day + 1) * DAY_MS - offset_ms
        following = exits[at + 1][0] if at + 1 < len(exits) else ends
        if -sum_ >= loss:
            yield ms, min(ends, following)


def _joined(reason: str, stretches: Iterable[tuple[int, int]]) -> list[Stretch]:
    """Rising stretches, those that meet put together."""
    found: list[Stretch] = []
    for begin, end in stretches:
        if end <= begin:
            continue
        last = found[-1] if found else None
        if last is not None and last.from_ms is not None and last.to_ms is not None and begin <= last.to_ms:
            found[-1] = Stretch(reason, last.from_ms, max(last.to_ms, end))
        else:
            found.append(Stretch(reason, begin, end))
    return found


def _meets(one: Stretch, from_ms: int) -> bool:
    return (one.from_ms is None or one.from_ms < from_ms + MINUTE_MS) and (one.to_ms is None or one.to_ms > from_ms)
