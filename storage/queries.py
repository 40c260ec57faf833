"""What may be read of a book's history while the bot runs: read-only, one short transaction each.

Every question has an answer before storage has made the file: an empty list, or zero. Rows are dicts whose keys are
the column names of `storage.schema`.
"""

from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, and_, case, func, literal_column, or_, select
from sqlalchemy.exc import DBAPIError

from bus.said import MAKE, PAGE, PROGRAM, said_by
from core.clock import iso_utc
from storage.schema import (
    candles,
    checks,
    cursors,
    equity,
    events,
    fills,
    gaps,
    ghosts,
    order_steps,
    orders,
    positions,
    reader_engine,
    reasons,
    shadow,
    signals,
    trades,
)

Row = dict[str, Any]
MINUTE_MS = 60_000
MOST = 10_000  # rows of a kind about a minute
MONEY_DIGITS = 8  # all amounts are whole units of 1e-8; what a sum of floats has beyond is noise
ROWID: ColumnElement[int] = literal_column("rowid")


class History:
    """The tables of one book; `database` need not exist yet."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self._engine = reader_engine(database)

    def candles(self, pair: str, limit: int = 500) -> list[Row]:
        """The newest `limit` candles of `pair`, the forming one included, oldest first."""
        newest = select(candles).where(candles.c.pair == pair).order_by(candles.c.time.desc())
        return self._rows(newest.limit(limit))[::-1]

    def trades(self, limit: int = 100, pair: str | None = None) -> list[Row]:
        """The newest `limit` trades of the book, or of one pair, newest first."""
        return self._newest(trades, trades.c.id, limit, trades.c.pair, pair)

    def orders(self, limit: int = 100, pair: str | None = None) -> list[Row]:
        """The newest `limit` orders, newest first."""
        return self._newest(orders, orders.c.created, limit, orders.c.pair, pair)

    def fills(self, limit: int = 100, pair: str | None = None) -> list[Row]:
        """The newest `limit` fills, newest first."""
        return self._newest(fills, fills.c.id, limit, fills.c.pair, pair)

    def shadow(self, limit: int = 100, pair: str | None = None) -> list[Row]:
        """The newest `limit` real orders beside the same orders on paper, newest first."""
        return self._newest(shadow, shadow.c.time, limit, shadow.c.pair, pair)

    def signals(self, limit: int = 100, pair: str | None = None) -> list[Row]:
        """The newest `limit` decisions and refusals, newest first."""
        return self._newest(signals, signals.c.id, limit, signals.c.pair, pair)

    def equity(self, limit: int = 1_000) -> list[Row]:
        """The newest `limit` rows of equity, oldest first."""
        return self._rows(select(equity).order_by(ROWID.desc()).limit(limit))[::-1]

    def events(self, limit: int = 50) -> list[Row]:
        """The latest `limit` events to arrive from all stages, in the order in which they happened."""
        rows = self._rows(select(events).order_by(events.c.id.desc()).limit(limit))
        return sorted(rows, key=lambda row: (row["time"], row["id"]))

    def commands(self, limit: int = 10) -> list[Row]:
        """The latest `limit` events that tell of an operator's command (`bus.said`), in the order of their times."""
        told = or_(*(events.c.message.contains(f" ({said_by(who)}") for who in (PAGE, PROGRAM, MAKE)))
        rows = self._rows(select(events).where(told).order_by(events.c.id.desc()).limit(limit))
        return sorted(rows, key=lambda row: (row["time"], row["id"]))

    def checks(self, limit: int = 100) -> list[Row]:
        """The newest `limit` comparisons of journal and venue, and what no order of ours explains, oldest first."""
        return self._rows(select(checks).order_by(checks.c.id.desc()).limit(limit))[::-1]

    def gaps(self, limit: int = 100) -> list[Row]:
        """The newest `limit` gaps, newest first."""
        return self._rows(select(gaps).order_by(ROWID.desc()).limit(limit))

    def realized(self, pair: str | None = None) -> float:
        """The sum of `trades.profit` of the book, or of one pair, in quote currency."""
        total = select(func.coalesce(func.sum(trades.c.profit), 0.0).label("total"))
        rows = self._rows(total if pair is None else total.where(trades.c.pair == pair))
        return round(float(rows[0]["total"]), MONEY_DIGITS) if rows else 0.0

    def totals(self) -> dict[str, float]:
        """Of all trades: `trades` (exits), `wins`, `losses`, `fees` of both sides, `realized`, `last_id`."""
        profit = trades.c.profit
        query = select(
            func.count(profit).label("trades"),
            func.coalesce(func.sum(case((profit > 0, 1), else_=0)), 0).label("wins"),
            func.coalesce(func.sum(case((profit < 0, 1), else_=0)), 0).label("losses"),
            func.coalesce(func.sum(trades.c.fee), 0.0).label("fees"),
            func.coalesce(func.sum(profit), 0.0).label("realized"),
            func.coalesce(func.max(trades.c.id), 0).label("last_id"),
        )
        rows = self._rows(query) or [dict.fromkeys(("trades", "wins", "losses", "fees", "realized", "last_id"), 0)]
        return {name: round(value, MONEY_DIGITS) for name, value in rows[0].items()}

    def ghosts(self, limit: int = 100) -> list[Row]:
        """The newest `limit` entries with the verdict of their closed candle (`storage.ghosts`), newest first.

        `profit`: of the pair's sells between its buy and the next one, null while nothing of it is sold.
        """
        return self._rows(_ghosts_with_profit().order_by(ghosts.c.id.desc()).limit(limit))

    def ghost_totals(self) -> dict[str, dict[str, float]]:
        """By verdict: `entries` decided, `legs` (those of which something was sold) and their `profit`."""
        legs = _ghosts_with_profit().subquery()
        query = select(
            legs.c.verdict,
            func.count().label("entries"),
            func.count(legs.c.profit).label("legs"),
            func.coalesce(func.sum(legs.c.profit), 0.0).label("profit"),
        ).group_by(legs.c.verdict)
        return {
            row.pop("verdict"): {name: round(value, MONEY_DIGITS) for name, value in row.items()}
            for row in self._rows(query)
        }

    def last_ids(self) -> dict[str, int]:
        """The highest id of `trades`, `fills` and `events`; 0 where there is none."""
        answer = {}
        for table in (trades, fills, events):
            rows = self._rows(select(func.coalesce(func.max(table.c.id), 0).label("id")))
            answer[table.name] = int(rows[0]["id"]) if rows else 0
        return answer

    def cursor(self, topic: str = "trader/0/") -> tuple[int, int] | None:
        """(epoch, number) of the last message of `topic` that is in the tables; None before the first."""
        rows = self._rows(select(cursors).where(cursors.c.topic == topic))
        return (rows[0]["epoch"], rows[0]["number"]) if rows else None

    def standing(self, pair: str, from_ms: int, to_ms: int) -> dict[str, list[Row]]:
        """Where the trader stood: rows of that time, and before them the last one that still holds; oldest first.

        `positions`, `order_steps` and `signals` (approved ones) of the pair, `reasons` of it and of all pairs; of these
        also the next of each afterwards, which tells how long it held.
        """
        found = {}
        for table in (positions, order_steps):
            own = select(table).where(table.c.pair == pair, table.c.time < to_ms)
            before = self._rows(own.where(table.c.time < from_ms).order_by(table.c.id.desc()).limit(1))
            found[table.name] = before + self._rows(own.where(table.c.time >= from_ms).order_by(table.c.id).limit(MOST))
        found["reasons"] = self._reasons(pair, from_ms, to_ms)
        approved = select(signals).where(signals.c.pair == pair, signals.c.client_order_id != "")
        within = approved.where(signals.c.time >= from_ms, signals.c.time < to_ms)
        found["signals"] = self._rows(within.order_by(signals.c.id).limit(MOST))
        return found

    def _reasons(self, pair: str, from_ms: int, to_ms: int) -> list[Row]:
        own = reasons.c.pair.in_(("", pair))
        subject = case((reasons.c.kind.in_(("state", "start")), ""), else_=reasons.c.reason)
        groups = (reasons.c.kind, reasons.c.pair, subject)
        before = select(func.max(reasons.c.id)).where(own, reasons.c.time < from_ms).group_by(*groups)
        after = select(func.min(reasons.c.id)).where(own, reasons.c.time >= to_ms).group_by(*groups)
        within = and_(own, reasons.c.time >= from_ms, reasons.c.time < to_ms)
        wanted = or_(within, reasons.c.id.in_(before), reasons.c.id.in_(after))
        return self._rows(select(reasons).where(wanted).order_by(reasons.c.id).limit(MOST))

    def booked(self, since_ms: int, from_ms: int, to_ms: int) -> dict[str, Any]:
        """What limits count, over all pairs and up to `to_ms`, oldest first.

        `exits` (timestamp, profit) since `since_ms`, `entries` (ms) since a minute before `from_ms`, and how many pairs
        were `held` at `from_ms`.
        """
        sold = select(trades.c.timestamp, trades.c.profit).where(
            trades.c.action == "sell", trades.c.profit.is_not(None)
        )
        within = sold.where(trades.c.timestamp >= iso_utc(since_ms), trades.c.timestamp < iso_utc(to_ms))
        times = select(ghosts.c.time).where(ghosts.c.time > from_ms - MINUTE_MS, ghosts.c.time < to_ms)
        latest = select(func.max(positions.c.id)).where(positions.c.time <= from_ms).group_by(positions.c.pair)
        held = select(func.count().label("held")).where(positions.c.id.in_(latest), positions.c.quantity > 0)
        rows = self._rows(held)
        return {
            "exits": self._rows(within.order_by(trades.c.id).limit(MOST)),
            "entries": [row["time"] for row in self._rows(times.order_by(ghosts.c.id).limit(MOST))],
            "held": rows[0]["held"] if rows else 0,
        }

    def candles_between(self, pair: str, from_ms: int, to_ms: int) -> list[Row]:
        """The candles that began in that time, oldest first."""
        own = select(candles).where(candles.c.pair == pair, candles.c.time >= from_ms, candles.c.time < to_ms)
        return self._rows(own.order_by(candles.c.time).limit(MOST))

    def close(self) -> None:
        """Forgets the file; nothing stays open between questions anyway."""
        self._engine.dispose()

    def _newest(
        self, table: Table, key: ColumnElement[Any], limit: int, pair_column: ColumnElement[str], pair: str | None
    ) -> list[Row]:
        query = select(table).order_by(key.desc()).limit(limit)
        return self._rows(query if pair is None else query.where(pair_column == pair))

    def _rows(self, query: Select[Any]) -> list[Row]:
        try:
            with self._engine.connect() as connection:
                return [dict(row) for row in connection.execute(query).mappings()]
        except DBAPIError as error:
            if self._not_there_yet(error):
                return []
            raise

    def _not_there_yet(self, error: DBAPIError) -> bool:
        """Whether the file, or its tables, have not been made yet; every other error is the caller's to know."""
        return not self.database.exists() or "no such table" in str(error.orig)


def _ghosts_with_profit() -> Select[Any]:
    """The rows of `ghosts` with what came of them; each sell belongs to the latest buy of its pair before it."""
    bought = func.max(case((trades.c.action == "buy", trades.c.id))).over(
        partition_by=trades.c.pair, order_by=trades.c.id
    )
    parts = select(trades.c.action, trades.c.profit, bought.label("entry")).subquery()
    sold = select(parts.c.entry, func.sum(parts.c.profit).label("profit")).where(parts.c.action == "sell")
    legs = sold.group_by(parts.c.entry).subquery()
    buys = select(trades.c.client_order_id, legs.c.profit).join(legs, legs.c.entry == trades.c.id).subquery()
    joined = ghosts.outerjoin(buys, buys.c.client_order_id == ghosts.c.client_order_id)
    return select(ghosts, buys.c.profit).select_from(joined)
