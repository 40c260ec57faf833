"""The exchange's books on disk: `exchange.db` in the book's folder, an SQLite file of its own.

    balances(account, asset, free, locked)                        amounts in atoms, as text: they may pass 64 bits
    orders(number, account, client_id, pair, working, created_ms, body)
    fills(number, account, pair, order_number, time_ms, body)     bodies are JSON of the structs
    cursors(pair, until_ms)                                       matched against all prints up to this market time

One transaction per command or step, with synchronous=FULL: it is on the disk before anybody hears of it, so that a kill
is an outage and not a new world.
"""

import sqlite3
from pathlib import Path
from typing import NamedTuple

import msgspec

from core.disk import refused
from core.errors import MisconfiguredError
from sandbox.exchange.orders import Balance, Fill, Order

FILE = "exchange.db"
SCHEMA = 1
ROWS_MOST = 1_000  # of one query

_TABLES = """
CREATE TABLE balances(
    account TEXT NOT NULL, asset TEXT NOT NULL, free TEXT NOT NULL, locked TEXT NOT NULL, PRIMARY KEY (account, asset)
) WITHOUT ROWID;
CREATE TABLE orders(
    number INTEGER PRIMARY KEY, account TEXT NOT NULL, client_id TEXT NOT NULL, pair TEXT NOT NULL,
    working INTEGER NOT NULL, created_ms INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE INDEX orders_client ON orders(account, client_id, number) WHERE client_id <> '';
CREATE INDEX orders_working ON orders(working) WHERE working;
CREATE TABLE fills(
    number INTEGER PRIMARY KEY, account TEXT NOT NULL, pair TEXT NOT NULL, order_number INTEGER NOT NULL,
    time_ms INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE INDEX fills_order ON fills(order_number);
CREATE TABLE cursors(pair TEXT PRIMARY KEY, until_ms INTEGER NOT NULL) WITHOUT ROWID;
"""

_encode = msgspec.json.Encoder().encode
_order = msgspec.json.Decoder(Order).decode
_fill = msgspec.json.Decoder(Fill).decode


class Found(NamedTuple):
    """What the books hold; `fresh` where they were just made."""

    fresh: bool
    balances: dict[tuple[str, str], Balance]
    working: list[Order]
    cursors: dict[str, int]
    last_order: int
    last_fill: int


class Changes(NamedTuple):
    """What one command or step changed."""

    balances: dict[tuple[str, str], Balance]
    orders: list[Order]
    fills: list[Fill]
    cursors: dict[str, int]


class Books:
    """The file. Raises MisconfiguredError where it is no use, BotError where the disk refuses it."""

    def __init__(self, path: Path | None) -> None:
        """`path` None keeps the books in memory, for tests."""
        self._path = path
        try:
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            self._fresh = version == 0
            if self._fresh:
                self._db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version={SCHEMA}; COMMIT;")
            elif version != SCHEMA:
                raise MisconfiguredError(f"{path} is of another release (version {version}): move it aside")
        except sqlite3.DatabaseError as error:
            raise MisconfiguredError(
                f"the exchange's books {path} cannot be used: {error}. Free the disk, or move the file aside: all"
                " orders and balances of the sandbox then begin anew."
            ) from error

    def load(self) -> Found:
        rows = self._db.execute("SELECT account, asset, free, locked FROM balances")
        balances = {(account, asset): Balance(int(free), int(locked)) for account, asset, free, locked in rows}
        working = [
            _order(body) for (body,) in self._db.execute("SELECT body FROM orders WHERE working ORDER BY number")
        ]
        cursors = dict(self._db.execute("SELECT pair, until_ms FROM cursors").fetchall())
        (last_order,) = self._db.execute("SELECT ifnull(max(number), 0) FROM orders").fetchone()
        (last_fill,) = self._db.execute("SELECT ifnull(max(number), 0) FROM fills").fetchone()
        return Found(self._fresh, balances, working, cursors, last_order, last_fill)

    def save(self, changes: Changes) -> None:
        """Writes the changes as one transaction; when this returns they are on the disk."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(
                "INSERT OR REPLACE INTO balances VALUES (?, ?, ?, ?)",
                [(*key, str(free), str(locked)) for key, (free, locked) in changes.balances.items()],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (o.number, o.account, o.client_id, o.pair, o.status.working, o.created_ms, _encode(o))
                    for o in changes.orders
                ],
            )
            self._db.executemany(
                "INSERT INTO fills VALUES (?, ?, ?, ?, ?, ?)",
                [(f.number, f.account, f.pair, f.order, f.time_ms, _encode(f)) for f in changes.fills],
            )
            self._db.executemany("INSERT OR REPLACE INTO cursors VALUES (?, ?)", list(changes.cursors.items()))
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            number = 28 if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL else 5
            raise refused(f"the exchange's books {self._path} take nothing more: {error}.", number) from error

    def order(self, account: str, number: int) -> Order | None:
        row = self._db.execute("SELECT body FROM orders WHERE number = ? AND account = ?", (number, account)).fetchone()
        return None if row is None else _order(row[0])

    def order_of_client(self, account: str, client_id: str) -> Order | None:
        """The newest order with a client id."""
        row = self._db.execute(
            "SELECT body FROM orders WHERE account = ? AND client_id = ? AND client_id <> ''"
            " ORDER BY number DESC LIMIT 1",
            (account, client_id),
        ).fetchone()
        return None if row is None else _order(row[0])

    def orders(
        self, account: str, pair: str | None, from_number: int, since_ms: int, until_ms: int, limit: int, newest: bool
    ) -> list[Order]:
        """Orders created within [since_ms, until_ms], oldest first; the newest `limit` of them or the oldest."""
        rows = self._db.execute(
            "SELECT body FROM orders WHERE account = ? AND number >= ? AND (? IS NULL OR pair = ?)"
            " AND created_ms BETWEEN ? AND ?"
            f" ORDER BY number {'DESC' if newest else 'ASC'} LIMIT ?",
            (account, from_number, pair, pair, since_ms, until_ms, min(limit, ROWS_MOST)),
        )
        found = [_order(body) for (body,) in rows]
        return found[::-1] if newest else found

    def fills(
        self,
        account: str,
        pair: str | None,
        order: int | None,
        from_number: int,
        since_ms: int,
        until_ms: int,
        limit: int,
        newest: bool,
    ) -> list[Fill]:
        """Fills within [since_ms, until_ms], oldest first; the newest `limit` of them or the oldest."""
        rows = self._db.execute(
            "SELECT body FROM fills WHERE account = ? AND number >= ? AND (? IS NULL OR pair = ?)"
            " AND (? IS NULL OR order_number = ?) AND time_ms BETWEEN ? AND ?"
            f" ORDER BY number {'DESC' if newest else 'ASC'} LIMIT ?",
            (account, from_number, pair, pair, order, order, since_ms, until_ms, min(limit, ROWS_MOST)),
        )
        found = [_fill(body) for (body,) in rows]
        return found[::-1] if newest else found

    def close(self) -> None:
        self._db.close()
