"""Ghost entries: those decided inside a forming candle that would not have been decided at its close.

The definition is the backtest's (`backtest.book.judge_entries`): when the candle that an entry was decided in has
closed, the entry is confirmed where any entry rule holds at the closed candle's own RSI, close and lower band, else it
was a ghost. The rule is `indicators.rules.entry_reason`, the thresholds are those that the trader went by.

* An entry's candle is the first that a later record than the deciding one closed, unless its warm-up began with it:
  then history told it again after the entry's own was broken off.
* Where its candle was broken off (a HOLE, another tape, records lost), or had gone from the tables before the entry was
  told, it is `unknown`.
* Each entry is judged once; the verdict stays, also where the journal is told once more.
"""

from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, and_, func, or_, select, update

from indicators.rules import entry_reason
from storage.schema import candle_ends, candles, ghosts, reasons

WAITING, CONFIRMED, GHOST, UNKNOWN = "waiting", "confirmed", "ghost", "unknown"
AT_ONCE = 500  # entries judged in one go


class Thresholds(NamedTuple):
    """Of the entry rules."""

    rsi_buy: float
    rsi_crash: float


def judge(engine: Engine, keep_ms: int, most: int = AT_ONCE) -> int:
    """Judges the entries whose candles have closed, in one transaction; returns how many. keep_ms: of candles."""
    waiting = select(ghosts).where(ghosts.c.verdict == WAITING).order_by(ghosts.c.id).limit(most)
    with engine.connect() as connection:
        if not connection.execute(waiting.limit(1)).first():
            return 0
    with engine.begin() as connection:
        rows = [dict(row) for row in connection.execute(waiting).mappings()]
        return sum(_judged(connection, row, keep_ms) for row in rows)


def _judged(connection: Connection, entry: dict[str, Any], keep_ms: int) -> bool:
    found = _verdict(connection, entry, keep_ms)
    if found["verdict"] == WAITING:
        return False
    connection.execute(update(ghosts).where(ghosts.c.id == entry["id"]).values(**found))
    return True


def _verdict(connection: Connection, entry: dict[str, Any], keep_ms: int) -> dict[str, Any]:
    t = candle_ends.c
    of_pair = select(candle_ends).where(t.pair == entry["pair"])
    after = of_pair.where(t.epoch == entry["epoch"], t.number > entry["number"])
    inside = after.where(t.time <= entry["time"]).order_by(t.number).limit(1)
    end = connection.execute(inside).mappings().first()
    if end is not None:
        same = of_pair.where(t.epoch == end["epoch"], t.segment == end["segment"], t.time < end["time"])
        if connection.execute(same.limit(1)).first() is None:
            return {"verdict": UNKNOWN}  # the first of a later warm-up: history after a hole
        return _at_close(connection, entry, dict(end))
    later = or_(t.epoch > entry["epoch"], and_(t.epoch == entry["epoch"], t.number > entry["number"]))
    broken_off = connection.execute(of_pair.where(later).limit(1)).first() is not None
    newest = connection.execute(select(func.max(candles.c.time))).scalar()
    gone = newest is not None and newest - keep_ms > entry["time"]
    return {"verdict": UNKNOWN if broken_off or gone else WAITING}


def _at_close(connection: Connection, entry: dict[str, Any], end: dict[str, Any]) -> dict[str, Any]:
    by = _thresholds(connection, entry["id"])
    if by is None or end["rsi"] is None or end["bb_lower"] is None:
        return {"verdict": UNKNOWN}
    holds = entry_reason(end["rsi"], end["close"], end["bb_lower"], by.rsi_buy, by.rsi_crash) != 0
    told = {name: end[name] for name in ("close", "rsi", "bb_lower")}
    return {"verdict": CONFIRMED if holds else GHOST, "candle": end["time"], **told}


def _thresholds(connection: Connection, id: int) -> Thresholds | None:
    """Those of the trader's start before this journal entry."""
    starts = select(reasons.c.why).where(reasons.c.kind == "start", reasons.c.id < id).order_by(reasons.c.id.desc())
    text = connection.execute(starts.limit(1)).scalar()
    if text is None:
        return None
    settings = msgspec.json.decode(text)
    return Thresholds(float(settings["RSI_BUY"]), float(settings["RSI_CRASH"]))
