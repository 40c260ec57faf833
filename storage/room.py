"""How much may be written: as far as the disk has room, and as far as readers let the database's log be cut.

* Disk low: below ROWS_FREE_BYTES what is about the market is not written: candles wait, refusals, equity, events and
  gaps are left out and counted; orders, fills, trades and the cursors go on.
* Reader without end: SQLite cannot reuse the log beyond what an open transaction may still read. From the soft limit on
  rows are written every 5 s; at the hard limit nothing is, until the reader lets go: the log has no other bound.
"""

from collections.abc import Callable
from dataclasses import dataclass

from core.clock import NS_PER_S
from core.disk import ROWS_FREE_BYTES, free_bytes, has_room
from storage.writer import Writer

FLOWS, SLOW, STOPPED = "flows", "slow", "stopped"


@dataclass(slots=True, frozen=True)
class Limits:
    """What storage keeps to; tests give smaller ones."""

    pending_rows: int = 50_000  # numbered rows that may wait for the database, some 50 MB
    commit_rows: int = 8_000  # in one commit while catching up: some 50 ms, on a small board some 300
    log_soft_bytes: int = 32 * 1024 * 1024  # beyond it somebody reads without end, and we write less often
    log_hard_bytes: int = 64 * 1024 * 1024  # beyond it we wait; what 0.1 s more writes is the most that it gets
    slow_ns: int = 5 * NS_PER_S
    free_bytes: int = ROWS_FREE_BYTES


class Room:
    """What the last look said: `market` may be written, the log `flows`, is to be written `slow`, or `stopped`."""

    def __init__(self, writer: Writer, limits: Limits, free: Callable[[], int] | None = None) -> None:
        """`free()`: bytes that the disk has; by default those of the database's folder."""
        self.market = True
        self.log = FLOWS
        self.free_bytes = 0
        self.log_bytes = 0
        self._writer = writer
        self._limits = limits
        folder = writer.database.parent
        self._free = free or (lambda: free_bytes(folder))

    def look_at_disk(self) -> None:
        """Sets `market`."""
        self.free_bytes = self._free()
        self.market = has_room(self.free_bytes, self._limits.free_bytes, self.market)

    def look_at_log(self, *, cut: bool) -> None:
        """Sets `log`; tries first to cut it where that is due, at the hard limit always. Raises as the writer does."""
        size = self._writer.wal_bytes()
        if size > (self._limits.log_soft_bytes if cut else self._limits.log_hard_bytes):
            self._writer.checkpoint()
            size = self._writer.wal_bytes()
        self.log_bytes = size
        if size > self._limits.log_hard_bytes:
            self.log = STOPPED
        elif size > self._limits.log_soft_bytes:
            self.log = SLOW
        else:
            self.log = FLOWS
