"""Reading a journal from outside, also while the trader writes it: all that is read is of one moment."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

from bus.frames import UNREADABLE
from bus.messages import Entry
from core.errors import MisconfiguredError
from trader.journal import BUSY_MS, SCHEMA, unpadded
from trader.state import State, unpack

READ_AT_ONCE = 1_000

_decode = msgspec.msgpack.Decoder(Entry).decode


class Checkpoint(NamedTuple):
    """The fold's state after entry `number`."""

    number: int
    state: State


class JournalReader:
    """One moment of a journal; to be closed, as SQLite cannot tidy up its log while somebody reads.

    Raises MisconfiguredError where the file is none of ours, or of a release that this one does not know.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            raise MisconfiguredError(f"there is no journal {path}: name a book's folder, var/books/BOOK")
        uri = f"{path.resolve().as_uri()}?mode=ro"
        try:
            self._connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_MS / 1000)
        except sqlite3.Error as error:
            raise MisconfiguredError(f"the journal {path} cannot be opened: {error}") from error
        try:
            self._rows("BEGIN")
            version = int(self._rows("PRAGMA user_version")[0][0])
            if version != SCHEMA:
                raise MisconfiguredError(
                    f"the journal {path} has schema version {version}, this release knows {SCHEMA}: use the release"
                    " that wrote it"
                )
            self.journal_id = str(self._rows("SELECT value FROM meta WHERE name = 'journal_id'")[0][0])
            self.last = int(self._rows("SELECT coalesce(max(number), 0) FROM entries")[0][0])
        except MisconfiguredError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def state(self) -> State | None:
        """The state after the last entry, None where there is none yet."""
        rows = self._rows("SELECT body FROM state WHERE id = 1")
        return self._state(unpadded(bytes(rows[0][0]))) if rows else None

    def checkpoints(self, above: int = -1) -> Iterator[Checkpoint]:
        """The states that were kept after entries beyond `above`, oldest first; none in an older release's journal."""
        if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'checkpoints'"):
            return
        while rows := self._rows(
            "SELECT number, body FROM checkpoints WHERE number > ? ORDER BY number LIMIT 1", (above,)
        ):
            above = int(rows[0][0])
            yield Checkpoint(above, self._state(bytes(rows[0][1])))

    def entries(self, first: int = 1, kinds: tuple[str, ...] = ()) -> Iterator[Entry]:
        """The entries from number `first` on; with `kinds` (names of events) those alone."""
        those = f" AND kind IN ({', '.join('?' * len(kinds))})" if kinds else ""
        query = f"SELECT number, body FROM entries WHERE number >= ?{those} ORDER BY number LIMIT ?"
        while rows := self._rows(query, (first, *kinds, READ_AT_ONCE)):
            for number, body in rows:
                try:
                    entry = _decode(body)
                except UNREADABLE as error:
                    raise MisconfiguredError(
                        f"entry {number} of {self.path} cannot be read ({error}): use the release that wrote it"
                    ) from error
                yield entry
            first = rows[-1][0] + 1

    def _rows(self, query: str, values: tuple[int | str, ...] = ()) -> list[Any]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise MisconfiguredError(
                f"the journal {self.path} cannot be read: {error}; is it whole? a backup can be judged as well"
            ) from error

    def _state(self, body: bytes) -> State:
        try:
            return unpack(body)
        except UNREADABLE as error:
            raise MisconfiguredError(
                f"a state in {self.path} cannot be read ({error}): use the release that wrote it"
            ) from error
