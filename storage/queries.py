"""What may be read of a book's history while the bot runs: read-only, one short transaction each.

Every question has an answer before storage has made the file: an empty list, or zero. Rows are dicts whose keys are
the column names of `storage.schema`.
"""

from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, case, func, literal_column, or_, select
from sqlalchemy.exc import DBAPIError

from bus.said import MAKE, PAGE, PROGRAM, said_by
from storage.schema import candles, cursors, equity, events, fills, gaps, orders, reader_engine, shadow, signals, trades

Row = dict[str, Any]
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
