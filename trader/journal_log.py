"""A look at the journal's log now and then: who lets it grow is named, and nothing waits for them.

SQLite begins its log anew once all of it is in the database, and what an open transaction may still read cannot go
there: behind a forgotten `BEGIN; SELECT` it grows with each commit. The ledger goes on all the same. Once that
transaction is over the next commit moves the log into the database, and the one after it cuts the file.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path

from core.file_users import users_of
from core.loop import Loop

LOOK_SECONDS = 60.0
LONG_BYTES = 64 * 1024 * 1024


class LogLook:
    """`tell(level, text)` reaches people: once where somebody holds the log, and once it is over."""

    def __init__(self, loop: Loop, journal: Path, tell: Callable[[str, str], object]) -> None:
        self._loop = loop
        self._journal = journal
        self._tell = tell
        self._bytes = 0  # at the last look
        self._told = False
        loop.every(LOOK_SECONDS, self.look)

    def look(self) -> None:
        """Tells what has changed.

        The log of one great commit is long, too, but the next commit writes over it: one that is held grows on.
        """
        before, self._bytes = self._bytes, _size(f"{self._journal}-wal")
        if self._told and self._bytes <= LONG_BYTES:
            self._told = False
            self._tell("info", f"the log of {self._journal} is small again: nobody holds a transaction on it any more")
        elif not self._told and self._bytes > before > LONG_BYTES:
            self._told = True
            # Whoever is looked for among many processes takes longer to find than a decision may wait.
            threading.Thread(target=self._name_users, name="journal-users", daemon=True).start()

    def _name_users(self) -> None:
        text = (
            f"a program holds {self._journal} in a transaction, its log {self._journal.name}-wal is"
            f" {self._bytes / 1024 / 1024:.0f} MB and grows: close that program ({users_of(self._journal)});"
            " the journal goes on meanwhile"
        )
        self._loop.call_threadsafe(lambda: self._tell("warn", text))


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
