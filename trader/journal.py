"""The journal: the truth of the money, an append-only SQLite file of its own.

    entries(number, epoch, record, kind, body)   what happened; body = msgpack of `bus.messages.Entry`
    state(id=1, number, body)                    the whole fold after entry `number`, replaced in the same transaction
    meta(name, value)                            journal_id, created_wall_ms
    checkpoints(number, body)                    some of the states that were, as `state` has the last: a session is
                                                 judged from one of them where its tape no longer reaches back further

WAL with synchronous=FULL; commits run on a thread of their own, and whatever waits goes into one transaction. A crash
loses only a suffix of what was not yet committed, and nothing is shown to anyone before its commit. The schema itself
refuses to change or delete entries. Where a commit fails (disk full, locked) everything is kept and tried again;
`failing` then says why, entries of the trader are blocked, and exits are still decided.
"""

import errno
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from bus.messages import Entry, TraderEvent
from core.disk import refusal, refused
from core.errors import BotError, MisconfiguredError

SCHEMA = 1
MAX_WAITING = 200_000  # entries kept in memory while the disk refuses them
RETRY_SECONDS = 1.0
BUSY_MS = 1_000
REPLAY_ROWS = 8_000
MOST_CHECKPOINTS = 1_000  # the oldest go first; those of many pairs are bounded by their bytes
CHECKPOINT_BYTES = 16 * 1024 * 1024
LOG_KEPT_BYTES = 8 * 1024 * 1024  # where SQLite begins its log anew it cuts the file to this; 4 MB are usual
_CACHE_KB = 512
STATE_STEP = 1_024
_END = b"\xc1"  # what msgpack never uses

_TABLES = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entries(
    number INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, record INTEGER NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL
);
CREATE TABLE state(id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TRIGGER entries_stay BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'journal entries are kept'); END;
CREATE TRIGGER entries_hold BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'journal entries never change'); END;
"""

# An earlier release has none, and passes over it.
_CHECKPOINTS = "CREATE TABLE IF NOT EXISTS checkpoints(number INTEGER PRIMARY KEY, body BLOB NOT NULL)"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


class Found(NamedTuple):
    """What `open` found: state is None in a new journal; number is of the last entry, 0 before the first."""

    journal_id: str
    number: int
    state: bytes | None


class Committed(NamedTuple):
    """Entries that are on the disk now, oldest first."""

    entries: list[Entry]


class _Waiting(NamedTuple):
    entries: list[Entry]
    rows: list[tuple[int, int, int, str, bytes]]
    state: bytes
    checkpoints: list[tuple[int, bytes]]


def epoch_of(journal_id: str) -> int:
    """The first 62 bits of a journal id: the epoch of `trader/0/`."""
    return int(journal_id, 16) >> (len(journal_id) * 4 - 62)


class Journal:
    """One book's journal. All methods belong to the stage's thread; `on_commit` is called on the writer's."""

    def __init__(
        self, path: Path, on_commit: Callable[[Committed], object], on_trouble: Callable[[str], object]
    ) -> None:
        """`on_trouble` gets why commits fail, and '' when they work again; both callbacks must be thread-safe."""
        self.path = path
        self.number = 0  # of the last entry appended
        self._on_commit = on_commit
        self._on_trouble = on_trouble
        self._ready = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._waiting_entries = 0
        self._closing = False
        self._done = True  # nothing waits
        self._failing = False  # the last try to commit was refused
        self._crash: Exception | None = None
        self._thread: threading.Thread | None = None
        self._reader: sqlite3.Connection | None = None

    def open(self, wall_ms: int) -> Found:
        """Opens or makes the journal and starts the writer.

        Raises MisconfiguredError where the file is no use, BotError where the disk is full or read-only.
        """
        try:
            connection = _connect(self.path)
            try:
                found = _prepare(self.path, connection, wall_ms)
            except BaseException:
                connection.close()
                raise
        except sqlite3.OperationalError as error:
            text = f"the journal {self.path} cannot be opened: {error}. Free the disk, or mend its folder's rights."
            raise refused(text, _disk_error(error, self.path)) from error
        except sqlite3.DatabaseError as error:
            raise MisconfiguredError(
                f"the journal {self.path} is damaged: {error}. Move it and its -wal file aside (the book starts anew),"
                " or put a backup in its place."
            ) from error
        self.number = found.number
        self._thread = threading.Thread(target=self._write, args=(connection,), name="journal", daemon=True)
        self._thread.start()
        return found

    def append(self, events: list[TraderEvent], state: bytes, *, checkpoint: bool = False) -> None:
        """Queues events with the state after them, which is kept beyond the next one as a `checkpoint`.

        They get the next numbers. Raises BotError where too many wait.
        """
        if self._crash is not None:
            raise BotError(f"the journal's writer died: {self._crash!r}") from self._crash
        entries: list[Entry] = []
        rows: list[tuple[int, int, int, str, bytes]] = []
        for event in events:
            self.number += 1
            entry = Entry(self.number, event)
            entries.append(entry)
            rows.append((self.number, event.at.epoch, event.at.record, type(event).__name__, _encode(entry)))
        with self._ready:
            if self._waiting_entries + len(entries) > MAX_WAITING:
                raise BotError(f"the journal {self.path} has not taken {MAX_WAITING} entries: free the disk")
            self._waiting.append(_Waiting(entries, rows, state, [(self.number, state)] if checkpoint else []))
            self._waiting_entries += len(entries)
            self._done = False
            self._ready.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Waits until all that was appended is on the disk; False where it is not within the time."""
        with self._ready:
            self._ready.wait_for(lambda: self._done or self._failing, timeout_s)
            return self._done

    def read(self, first: int, limit: int = REPLAY_ROWS) -> list[tuple[int, bytes]]:
        """Committed entries from number `first` on, encoded as `Entry`.

        Raises BotError where the disk does not give them: the next call tries anew.
        """
        try:
            if self._reader is None:
                self._reader = _connect(self.path)
                self._reader.execute("PRAGMA query_only=ON")
            rows = self._reader.execute(
                "SELECT number, body FROM entries WHERE number >= ? ORDER BY number LIMIT ?", (first, limit)
            )
            return [(int(number), bytes(body)) for number, body in rows]
        except sqlite3.Error as error:
            _drop(self._reader)
            self._reader = None
            raise BotError(
                f"the journal {self.path} cannot be read: {error}. Look into the system's log: the disk may fail."
            ) from error

    def entries(self, first: int = 1) -> list[Entry]:
        """All committed entries from number `first` on."""
        found: list[Entry] = []
        while True:
            rows = self.read(first)
            if not rows:
                return found
            found += [_decode(body) for _, body in rows]
            first = rows[-1][0] + 1

    def close(self, timeout_s: float = 5.0) -> bool:
        """Commits what waits and ends the writer; False where it could not within the time."""
        with self._ready:
            self._closing = True
            self._ready.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        return self._done

    # --- the writer's thread ------------------------------------------------------------------------

    def _write(self, connection: sqlite3.Connection) -> None:
        try:
            self._write_until_closed(connection)
        except Exception as error:  # noqa: BLE001 (the stage's thread raises it)
            self._crash = error
            self._on_trouble(f"the journal's writer died: {error!r}")

    def _write_until_closed(self, first: sqlite3.Connection) -> None:
        connection: sqlite3.Connection | None = first  # kept from `open` on, so that there is always one
        failing = ""
        batch: list[_Waiting] = []
        while True:
            with self._ready:
                while not self._waiting and not batch and not self._closing:
                    self._ready.wait()
                batch += self._waiting
                self._waiting = []
                closing = self._closing
            if not batch:
                break
            try:
                if connection is None:
                    connection = _connect(self.path)
                _commit(connection, batch)
            except sqlite3.Error as error:
                batch = [_together(batch)]
                if str(error) != failing:
                    failing = str(error)
                    self._on_trouble(failing)
                if closing:
                    _drop(connection)
                    return
                connection = _another(self.path, connection)
                with self._ready:
                    self._failing = True
                    self._ready.notify_all()
                    self._ready.wait(RETRY_SECONDS)
                continue
            entries = [entry for one in batch for entry in one.entries]
            batch = []
            with self._ready:
                self._waiting_entries -= len(entries)
                self._done = not self._waiting
                self._failing = False
                self._ready.notify_all()
            if failing:
                failing = ""
                self._on_trouble("")
            if entries:
                self._on_commit(Committed(entries))
        if connection is not None:
            connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
    try:
        size_limit = f"journal_size_limit={LOG_KEPT_BYTES}"
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"cache_size=-{_CACHE_KB}", size_limit):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:  # the file is no database, or locked: nothing stays open
        connection.close()
        raise
    return connection


def _disk_error(error: sqlite3.Error, path: Path) -> int | None:
    """What the disk has to do with it: SQLite tells a full or read-only one in many ways."""
    if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return errno.ENOSPC
    return refusal(path.parent)


def _together(batch: list[_Waiting]) -> _Waiting:
    """What waits longer, as one: of the states only the last is of use."""
    entries = [entry for one in batch for entry in one.entries]
    checkpoints = [kept for one in batch for kept in one.checkpoints]
    return _Waiting(entries, [row for one in batch for row in one.rows], batch[-1].state, checkpoints)


def _drop(connection: sqlite3.Connection | None) -> None:
    """Closes a connection whose state is not known any more; closing rolls back."""
    if connection is not None:
        try:
            connection.close()
        except sqlite3.Error:
            return  # it was of no use any more: the next try opens a new one


def _another(path: Path, used: sqlite3.Connection | None) -> sqlite3.Connection | None:
    """The connection to go on with after an error of the one in use, whose state is not known any more.

    The other one is open before `used` is closed: with the last one the log's index goes, which nobody can make on a
    full disk, and without it not even readers open the file. Where no other can be had, `used` goes on.
    """
    try:
        another = _connect(path)
    except sqlite3.Error:
        if used is None or _rolled_back(used):
            return used
        another = None
    _drop(used)
    return another


def _rolled_back(connection: sqlite3.Connection) -> bool:
    try:
        connection.rollback()
    except sqlite3.Error:
        return False
    return True


def _prepare(path: Path, connection: sqlite3.Connection, wall_ms: int) -> Found:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA:
        raise MisconfiguredError(
            f"the journal {path} has schema version {version}, this release knows {SCHEMA}: it was written by a newer"
            " release. Run that release, or move the file aside (the book then starts anew)."
        )
    if version == 0:
        connection.execute("BEGIN IMMEDIATE")
        for statement in _TABLES.split(";\n"):
            if statement.strip():
                connection.execute(statement)
        connection.executemany(
            "INSERT INTO meta VALUES (?, ?)",
            [("journal_id", os.urandom(16).hex()), ("created_wall_ms", str(wall_ms))],
        )
        connection.execute(f"PRAGMA user_version={SCHEMA}")
        connection.execute("COMMIT")
    connection.execute(_CHECKPOINTS)
    journal_id = connection.execute("SELECT value FROM meta WHERE name = 'journal_id'").fetchone()[0]
    number = connection.execute("SELECT coalesce(max(number), 0) FROM entries").fetchone()[0]
    row = connection.execute("SELECT number, body FROM state WHERE id = 1").fetchone()
    if row is None and number:
        raise sqlite3.DatabaseError(f"it has {number} entries but no state")
    if row is not None and int(row[0]) != int(number):
        raise sqlite3.DatabaseError(f"its state is of entry {row[0]}, its last entry is {number}")
    return Found(str(journal_id), int(number), None if row is None else unpadded(bytes(row[1])))


def _commit(connection: sqlite3.Connection, batch: list[_Waiting]) -> None:
    """One transaction: all entries of the batch and the state after the last of them."""
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", [row for one in batch for row in one.rows])
    connection.execute(
        "INSERT INTO state VALUES (1, (SELECT coalesce(max(number), 0) FROM entries), ?)"
        " ON CONFLICT (id) DO UPDATE SET number = excluded.number, body = excluded.body",
        (padded(batch[-1].state),),
    )
    checkpoints = [kept for one in batch for kept in one.checkpoints]
    if checkpoints:
        connection.executemany("INSERT OR REPLACE INTO checkpoints VALUES (?, ?)", checkpoints)
        connection.execute(
            "DELETE FROM checkpoints WHERE number <"
            " (SELECT number FROM checkpoints ORDER BY number DESC LIMIT 1 OFFSET ? - 1)",
            (min(MOST_CHECKPOINTS, max(1, CHECKPOINT_BYTES // len(checkpoints[-1][1]))),),
        )
    connection.execute("COMMIT")


def padded(state: bytes) -> bytes:
    """The state at a length that seldom changes: SQLite then writes only the pages that differ from the old one."""
    return (state + _END).ljust(-(-(len(state) + 1) // STATE_STEP) * STATE_STEP, b"\0")


def unpadded(body: bytes) -> bytes:
    """The state that `padded` was given; an earlier release wrote it as it is, and it never ended with _END."""
    state = body.rstrip(b"\0")
    return state[: -len(_END)] if state.endswith(_END) else body
