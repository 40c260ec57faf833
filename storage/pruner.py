"""Keeps `bot_data.db` bounded: market rows by age in market time, notes by number; the ledger is never touched."""

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, delete, func, literal_column, select
from sqlalchemy.sql.elements import ColumnElement

from storage.schema import (
    candle_ends,
    candles,
    checks,
    equity,
    events,
    gaps,
    order_steps,
    positions,
    reasons,
    signals,
)

ROWS_KEPT = 100_000  # of equity, events and gaps each; of what stood at a record, those of so many journal entries
OTHERS_KEPT = 10  # times as long for reasons that are no refusals: what holds for weeks was told once
CHECKS_KEPT = 1_000  # a venue that is away is compared with again and again
PAGES_AT_ONCE = 2_000  # given back to the file system in one go: 8 MB, a few ms

ROWID: ColumnElement[int] = literal_column("rowid")


@dataclass(slots=True, frozen=True)
class Pruned:
    """How many rows went."""

    candles: int
    signals: int
    notes: int  # of equity, events and gaps


def retention_ms(retention_minutes: int, warmup_candles: int, timeframe_ms: int) -> int:
    """How far behind the newest market time rows are kept, in ms."""
    return max(retention_minutes * 60_000, warmup_candles * timeframe_ms)


def prune(engine: Engine, keep_ms: int, rows_kept: int = ROWS_KEPT) -> Pruned:
    """Deletes what is too old or too much, in one transaction, and gives free pages back to the file system."""
    with engine.begin() as connection:
        pruned = _prune(connection, keep_ms, rows_kept)
    give_back(engine)
    return pruned


def give_back(engine: Engine) -> None:
    """Gives free pages back to the file system, PAGES_AT_ONCE at most."""
    pooled = engine.raw_connection()
    try:
        # Each step of this statement frees one page, and only a script is stepped to its end by the driver.
        driver: Any = pooled.driver_connection
        driver.executescript(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})")
    finally:
        pooled.close()


def drop_candles_of_another(engine: Engine, timeframe: str) -> int:
    """Deletes all candles where the trader last started with another TIMEFRAME; returns how many.

    Together they would be no series. Indicators tell the whole of the one in force to who joins.
    """
    starts = select(reasons.c.why).where(reasons.c.kind == "start").order_by(reasons.c.id.desc()).limit(1)
    with engine.begin() as connection:
        why = connection.execute(starts).scalar()
        if why is None or msgspec.json.decode(why, type=dict[str, str]).get("TIMEFRAME", timeframe) == timeframe:
            return 0
        return connection.execute(delete(candles)).rowcount


def _prune(connection: Connection, keep_ms: int, rows_kept: int) -> Pruned:
    newest = connection.execute(select(func.max(candles.c.time))).scalar()
    old_candles = old_signals = 0
    if newest is not None:
        oldest_kept = newest - keep_ms
        old_candles = connection.execute(delete(candles).where(candles.c.time < oldest_kept)).rowcount
        connection.execute(delete(candle_ends).where(candle_ends.c.time < oldest_kept))
        without_order = signals.c.client_order_id == ""
        old_signals = connection.execute(delete(signals).where(without_order, signals.c.time < oldest_kept)).rowcount
    notes = 0
    for table in (equity, events, gaps, positions, order_steps):
        last = connection.execute(select(func.max(ROWID)).select_from(table)).scalar()
        if last is not None and last > rows_kept:
            notes += connection.execute(delete(table).where(last - rows_kept >= ROWID)).rowcount
    kept = min(rows_kept, CHECKS_KEPT)
    oldest = connection.execute(select(checks.c.id).order_by(checks.c.id.desc()).offset(kept - 1).limit(1)).scalar()
    if oldest is not None:
        notes += connection.execute(delete(checks).where(checks.c.id < oldest)).rowcount
    last = connection.execute(select(func.max(reasons.c.id))).scalar()
    if last is not None and last > rows_kept:
        refusal = (reasons.c.kind == "refusal") & (reasons.c.id <= last - rows_kept)
        old = refusal | (reasons.c.id <= last - OTHERS_KEPT * rows_kept)
        notes += connection.execute(delete(reasons).where(old)).rowcount
    return Pruned(old_candles, old_signals, notes)
