"""Writes messages into `bot_data.db`: many in one transaction, each exactly once.

The cursors of the numbered streams stand in the same transaction as the rows they cover, so that after any kill the
two agree: a journal entry or event whose number is not beyond its cursor has been written and is dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Insert, Table, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DatabaseError, OperationalError

from bus.frames import EVENT, GAP, TRADER
from bus.messages import Candle, EquityEvent, Event, FillEvent, Gap, OrderEvent, SignalEvent, TradeEvent, TraderEvent
from storage.migrations import keep_copy
from storage.schema import LEDGER, candles, cursors, equity, events, fills, gaps, orders, signals, trades, writer_engine

Values = tuple[Any, ...]


def plain(table: Table) -> str:
    """INSERT of all columns, in the order of the table."""
    return _compiled(sqlite.insert(table))


def upsert(table: Table) -> str:
    """INSERT of all columns, or UPDATE where the primary key is there."""
    keys = [column.name for column in table.primary_key]
    statement = sqlite.insert(table)
    others = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    return _compiled(statement.on_conflict_do_update(index_elements=keys, set_=others))


def _compiled(statement: Insert) -> str:
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark")))


STATEMENTS = {
    "candles": upsert(candles),
    "orders": upsert(orders),
    "fills": plain(fills),  # a row that is there stays as it is: the table's trigger
    "trades": plain(trades),
    "signals": upsert(signals),
    "equity": plain(equity),
    "gaps": plain(gaps),
    "events": plain(events),
    "cursors": upsert(cursors),
}
OF_THE_JOURNAL = (*(table.name for table in LEDGER), "signals", "equity")


def ledger_row(number: int, event: TraderEvent) -> tuple[str, Values] | None:
    """The table and the row of a journal entry; None where it has none. Raises ValueError on a malformed amount."""
    match event:
        case OrderEvent():
            price = None if event.price is None else float(event.price)
            return "orders", (
                event.client_order_id,
                event.venue_order_id,
                event.pair,
                event.side,
                event.type,
                price,
                float(event.quantity),
                float(event.filled),
                event.status,
                event.reason,
                event.created,
                event.updated,
            )
        case FillEvent():
            return "fills", (
                event.id,
                event.client_order_id,
                event.venue_fill_id,
                event.pair,
                event.side,
                float(event.price),
                float(event.quantity),
                float(event.fee),
                event.fee_currency,
                event.time,
                event.price,
                event.quantity,
                event.fee,
            )
        case TradeEvent():
            return "trades", (
                event.id,
                event.pair,
                event.action,
                float(event.price),
                float(event.quantity),
                float(event.fee),
                None if event.profit is None else float(event.profit),
                event.reason,
                event.timestamp,
                event.client_order_id,
            )
        case SignalEvent():
            outcome = event.outcome if event.count <= 1 else f"{event.outcome}, {event.count} times"
            return "signals", (
                number,
                event.pair,
                event.at.time_ms,
                event.at.record,
                event.action,
                event.reason,
                event.price,
                event.rsi,
                event.bb_lower,
                outcome,
                event.client_order_id,
            )
        case EquityEvent():
            return "equity", (
                event.time,
                float(event.balance),
                float(event.position_value),
                float(event.unrealized),
                float(event.realized),
            )
    return None  # positions, states and spans: the trader's own, shown from its messages


@dataclass(slots=True)
class Batch:
    """What is to be written in one transaction; rows are made as messages are added, so that a bad one is told then."""

    candles: dict[tuple[str, int], Values] = field(default_factory=dict)
    numbered: list[tuple[str, int, int, str, Values]] = field(default_factory=list)  # topic, epoch, number, table, row
    reached: dict[str, tuple[int, int]] = field(default_factory=dict)  # topic: (epoch, last number added)
    gaps: list[Values] = field(default_factory=list)
    journal_begins: bool = False  # what the tables hold of the trader's journal is not, or no longer, in it

    def add_candle(self, candle: Candle) -> None:
        """The latest state of a candle; earlier ones of the same bucket are not written."""
        self.candles[candle.pair, candle.time] = (
            candle.pair,
            candle.time,
            candle.open,
            candle.high,
            candle.low,
            candle.close,
            candle.volume,
            candle.trades,
            candle.rsi,
            candle.bb_lower,
            candle.bb_middle,
            candle.bb_upper,
        )

    def add_entry(self, epoch: int, number: int, event: TraderEvent) -> None:
        """A journal entry; raises ValueError on a malformed amount and is then as before."""
        row = ledger_row(number, event)
        if row is not None:
            self.numbered.append((TRADER, epoch, number, *row))
        self.reached[TRADER] = (epoch, number)

    def add_event(self, stage: str, epoch: int, number: int, event: Event) -> None:
        """An event of any stage, numbered per stage."""
        topic = numbered_per_stage(EVENT, stage)
        message = f"{event.pair}: {event.text}" if event.pair and event.pair not in event.text else event.text
        row = (None, event.time_ms, event.stage, event.level, message)
        self.numbered.append((topic, epoch, number, "events", row))
        self.reached[topic] = (epoch, number)

    def add_gap(self, gap: Gap) -> None:
        """Numbers that we missed for good."""
        self.gaps.append((gap.topic, gap.epoch, gap.first, gap.last, gap.time_ms))

    def add_gap_of(self, stage: str, epoch: int, number: int, gap: Gap) -> None:
        """Numbers that another stage missed for good, as it tells."""
        topic = numbered_per_stage(GAP, stage)
        row = (gap.topic, gap.epoch, gap.first, gap.last, gap.time_ms)
        self.numbered.append((topic, epoch, number, "gaps", row))
        self.reached[topic] = (epoch, number)

    def begin_journal(self) -> None:
        """The journal is another one, or lost its end: what waits of it is void, what comes counts from its first."""
        self.numbered = [row for row in self.numbered if row[0] != TRADER]
        self.reached.pop(TRADER, None)
        self.journal_begins = True

    def skip_to(self, topic: str, epoch: int, number: int) -> None:
        """Nothing up to `number` will come any more."""
        self.reached[topic] = (epoch, number)

    def __len__(self) -> int:
        return len(self.candles) + len(self.numbered) + len(self.gaps)

    def __bool__(self) -> bool:
        return bool(self.candles or self.numbered or self.gaps or self.reached or self.journal_begins)


def numbered_per_stage(topic: str, stage: str) -> str:
    """The key in `cursors` of a topic that every stage has."""
    return f"{topic} {stage}"


@dataclass(slots=True, frozen=True)
class Written:
    """What a batch came to."""

    rows: int
    trades: int
    repeated: int  # dropped: written before
    told: tuple[str, ...] = ()  # what a person must know about it


class Writer:
    """The one writing connection to `bot_data.db`; `database` has been migrated."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.engine = writer_engine(database)
        driver: Any = self.engine.dialect.loaded_dbapi
        self.driver_errors: type[Exception] = driver.Error  # of all kinds: locked, full, damaged, refused by the schema
        self.passing_errors: tuple[type[Exception], ...] = (driver.OperationalError, OperationalError, OSError)
        self.damage: tuple[type[Exception], ...] = (driver.DatabaseError, DatabaseError)
        self._connection: Any = None

    def cursors(self) -> dict[str, tuple[int, int]]:
        """(epoch, number) of the last message written, by topic."""
        return {topic: (epoch, number) for topic, epoch, number in self._read("SELECT * FROM cursors")}

    def write(self, batch: Batch) -> Written:
        """Writes the batch in one transaction, or nothing of it and raises one of `driver_errors` or OSError."""
        told = self._make_room_for_another_journal(batch)
        connection = self._opened()
        cursor = connection.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE")
            rows, repeated = self._sorted(batch, {topic: at for topic, *at in cursor.execute("SELECT * FROM cursors")})
            for table, values in rows.items():
                cursor.executemany(STATEMENTS[table], values)
            cursor.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.rollback()
            raise
        finally:
            cursor.close()
        count = sum(len(values) for table, values in rows.items() if table != "cursors")
        return Written(count, len(rows.get("trades", ())), repeated, told)

    def trades_from(self, id: int) -> list[Values]:
        """The rows of `trades` with that id and above, in order."""
        return self._read("SELECT * FROM trades WHERE id >= ? ORDER BY id", (id,))

    def checkpoint(self) -> None:
        """Moves the write-ahead log into the database and cuts it, as far as readers let it."""
        self._read("PRAGMA wal_checkpoint(TRUNCATE)")

    def wal_bytes(self) -> int:
        """The size of the write-ahead log."""
        return _size(self.database.with_name(self.database.name + "-wal"))

    def total_bytes(self) -> int:
        """The size of the database with its log."""
        return _size(self.database) + self.wal_bytes()

    def close(self) -> None:
        """Closes the file; the last one to close moves the log into it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self.engine.dispose()

    def _opened(self) -> Any:
        if self._connection is None:
            self._connection = self.engine.raw_connection()
        return self._connection.driver_connection

    def _read(self, statement: str, values: Values = ()) -> list[Values]:
        cursor = self._opened().cursor()
        try:
            return list(cursor.execute(statement, values))
        finally:
            cursor.close()

    @staticmethod
    def _sorted(batch: Batch, stored: dict[str, Sequence[int]]) -> tuple[dict[str, list[Values]], int]:
        """The rows by table, without what is behind the stored cursors, and how many were left out."""
        rows: dict[str, list[Values]] = {}
        if batch.candles:
            rows["candles"] = list(batch.candles.values())
        repeated = 0
        for topic, epoch, number, table, row in batch.numbered:
            at = stored.get(topic)
            if at is not None and at[0] == epoch and number <= at[1]:
                repeated += 1
                continue
            rows.setdefault(table, []).append(row)
        if batch.gaps:
            rows.setdefault("gaps", []).extend(batch.gaps)
        moved = []
        for topic, (epoch, number) in batch.reached.items():
            at = stored.get(topic)
            if at is None or at[0] != epoch or number > at[1]:
                moved.append((topic, epoch, number))
        if moved:
            rows["cursors"] = moved
        return rows, repeated

    def _make_room_for_another_journal(self, batch: Batch) -> tuple[str, ...]:
        """Where the batch comes of another journal than the tables, keeps a copy of those and empties the ledger.

        Two journals number their trades alike; mixed in one table they would overwrite one another, and no sum over
        it would be anybody's profit.
        """
        stored = self.cursors().get(TRADER)
        another = stored is not None and batch.reached.get(TRADER, stored)[0] != stored[0]
        if stored is None or not (another or batch.journal_begins):
            return ()
        copy = None
        if any(self._read(f"SELECT 1 FROM {table} LIMIT 1") for table in OF_THE_JOURNAL):
            copy = keep_copy(self.engine, self.database, f"journal-{stored[0]}")
        with self.engine.begin() as connection:
            names = ", ".join(f"'{table.name}'" for table in LEDGER)
            query = f"SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ({names})"
            triggers = connection.execute(text(query)).all()
            for trigger in triggers:
                connection.exec_driver_sql(f"DROP TRIGGER {trigger.name}")
            for table in OF_THE_JOURNAL:
                connection.exec_driver_sql(f"DELETE FROM {table}")
            connection.exec_driver_sql("DELETE FROM cursors WHERE topic = ?", (TRADER,))
            for trigger in triggers:
                connection.exec_driver_sql(trigger.sql)
        if copy is None:
            return ()
        what = "another journal" if another else "a journal that lost its end"
        return (f"the trader has {what}: the ledger is made anew from it, as it was it is kept in {copy.name}",)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
