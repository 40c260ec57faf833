"""Writes messages into `bot_data.db`: many in one transaction, each exactly once.

The cursors of the numbered streams stand in the same transaction as the rows they cover, so that after any kill the
two agree: a journal entry or event whose number is not beyond its cursor has been written and is dropped.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError, OperationalError

from bus.frames import TRADER
from storage.batch import Batch, Cursors
from storage.migrations import keep_copy
from storage.rows import BOOKED, OF_THE_JOURNAL, STATEMENTS, Values
from storage.schema import BUSY_TIMEOUT_MS, LEDGER, writer_engine

NO_VERSION = -1
_CURSORS = "SELECT topic, epoch, number FROM cursors"
BRIEFLY_MS = 20  # how long a checkpoint waits for readers: it is tried again, and the heartbeat must not wait


class Written(msgspec.Struct, frozen=True):
    """What a batch came to."""

    rows: int
    trades: int
    repeated: int  # dropped: written before
    left_out: int = 0  # about the market, which was not wanted
    told: tuple[str, ...] = ()  # what a person must know about it


class Writer:
    """The one writing connection to `bot_data.db`; `database` has been migrated."""

    def __init__(self, database: Path, breathe: Callable[[], object] = lambda: None) -> None:
        """`breathe()` is called now and then while a statement runs long."""
        self.database = database
        self.engine = writer_engine(database, breathe)
        driver: Any = self.engine.dialect.loaded_dbapi
        self.driver_errors: type[Exception] = driver.Error  # of all kinds: locked, full, damaged, refused by the schema
        self.passing_errors: tuple[type[Exception], ...] = (driver.OperationalError, OperationalError, OSError)
        self.damage: tuple[type[Exception], ...] = (driver.DatabaseError, DatabaseError)
        self._connection: Any = None  # of the pool
        self._driver: Any = None  # the same as the driver has it
        self._cursor: Any = None  # of that, for what is written: to make one costs a hundredth of a commit
        self._stored: dict[str, tuple[int, int]] = {}  # the cursors in the file, as long as nobody else writes there
        self._version = NO_VERSION  # of the file, by that
        self._log = f"{database}-wal"

    def cursors(self) -> dict[str, tuple[int, int]]:
        """(epoch, number) of the last message written, by topic."""
        return {topic: (epoch, number) for topic, epoch, number in self._read(_CURSORS)}

    def write(self, batch: Batch, *, market: bool = True) -> Written:
        """Writes the batch in one transaction, or nothing of it and raises one of `driver_errors` or OSError.

        Without `market` only the ledger's rows and the cursors are written; the batch keeps its candles.
        """
        told: tuple[str, ...] = ()
        count = 0
        connection = self._opened()
        cursor = self._cursor
        try:
            stored = self._begin(cursor, batch)
            if _is_another_journal(batch, stored):
                cursor.execute("ROLLBACK")
                told = self._make_room_for_another_journal(batch, stored[TRADER])
                stored = self._begin(cursor, batch)
            found = batch.sorted(stored, market=market)
            rows = found.rows
            for table, values in rows.items():
                count += len(values)
                if len(values) == 1:
                    cursor.execute(STATEMENTS[table], values[0])
                else:
                    cursor.executemany(STATEMENTS[table], values)
            cursor.execute("COMMIT")
        except BaseException:
            self._version = NO_VERSION
            if connection.in_transaction:
                connection.rollback()
            raise
        moved = rows.get("cursors", ())
        for topic, epoch, number in moved:
            self._stored[topic] = epoch, number
        return Written(count - len(moved), len(rows.get("trades", ())), found.repeated, found.left_out, told)

    def trades_from(self, id: int) -> list[Values]:
        """The rows of `trades` with that id and above, in order."""
        return self._read("SELECT * FROM trades WHERE id >= ? ORDER BY id", (id,))

    def checkpoint(self) -> None:
        """Moves the write-ahead log into the database and cuts it, as far as readers let it at once."""
        _, in_log, moved = self._read("PRAGMA wal_checkpoint(PASSIVE)")[0]
        if moved < in_log:
            return  # somebody reads what the rest would overwrite
        self._read(f"PRAGMA busy_timeout={BRIEFLY_MS}")
        try:
            self._read("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._read(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")

    def reopen(self) -> None:
        """Has the next use work on another connection: after an error of the disk a connection's state is not known.

        The other one is open before this one is closed: with the last one the log's index goes, which nobody can make
        on a full disk, and without it not even readers open the file. Where no other can be had, this one goes on.
        """
        used = self._connection
        if used is None:
            return
        try:
            self._open()
        except self.passing_errors:
            if not self._driver.in_transaction:
                return
            self._connection = self._driver = self._cursor = None  # it could not be rolled back, and holds the lock
        used.invalidate()

    def wal_bytes(self) -> int:
        """The size of the write-ahead log."""
        return _size(self._log)

    def total_bytes(self) -> int:
        """The size of the database with its log."""
        return _size(self.database) + self.wal_bytes()

    def close(self) -> None:
        """Closes the file; the last one to close moves the log into it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = self._driver = self._cursor = None
        self.engine.dispose()

    def _begin(self, cursor: Any, batch: Batch) -> dict[str, tuple[int, int]]:
        """Begins a transaction; returns the cursors that stand in it, where the batch has anything to do with them.

        They are read where another connection has written since (sqlite.org/pragma.html#pragma_data_version).
        """
        cursor.execute("BEGIN IMMEDIATE")
        if batch.only_candles:
            return {}
        (version,) = cursor.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._stored = {topic: (epoch, number) for topic, epoch, number in cursor.execute(_CURSORS)}
            self._version = version
        return self._stored

    def _opened(self) -> Any:
        if self._driver is None:
            self._open()
        return self._driver

    def _open(self) -> None:
        connection = self.engine.raw_connection()
        driver: Any = connection.driver_connection
        try:
            driver.execute("SELECT 1 FROM sqlite_master").fetchone()  # from here on it has the log's index
        except BaseException:
            connection.invalidate()
            raise
        self._connection, self._driver, self._cursor = connection, driver, driver.cursor()
        self._version = NO_VERSION  # what one connection says of it is nothing to another

    def _read(self, statement: str, values: Values = ()) -> list[Values]:
        cursor = self._opened().cursor()
        try:
            return list(cursor.execute(statement, values))
        finally:
            cursor.close()

    def _make_room_for_another_journal(self, batch: Batch, stored: tuple[int, int]) -> tuple[str, ...]:
        """Keeps a copy of the tables, which are of another journal than the batch, and empties the ledger.

        Two journals number their trades alike; mixed in one table they would overwrite one another, and no sum over
        it would be anybody's profit.
        """
        copy = None
        if any(self._read(f"SELECT 1 FROM {table} LIMIT 1") for table in BOOKED):
            copy = keep_copy(self.engine, self.database, f"journal-{stored[0]}")
        self._version = NO_VERSION
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
        another = batch.reached.get(TRADER, stored)[0] != stored[0]
        what = "another journal" if another else "a journal that lost its end"
        return (f"the trader has {what}: the ledger is made anew from it, as it was it is kept in {copy.name}",)


def _is_another_journal(batch: Batch, stored: Cursors) -> bool:
    at = stored.get(TRADER)
    return at is not None and (batch.journal_begins or batch.reached.get(TRADER, at)[0] != at[0])


def _size(path: Path | str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
