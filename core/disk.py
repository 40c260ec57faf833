"""How much room the book's file system has, and from where on it is too little; the one home of these limits.

With less than TAPE_FREE_BYTES the tape stops, with less than ROWS_FREE_BYTES the rows about the market; the ledger and
the journal never stop by themselves: what is left is theirs. What stopped goes on with a tenth more than its limit, so
that it does not come and go with each file that others write.
"""

import os
from pathlib import Path

TAPE_FREE_BYTES = 300_000_000  # the feeder tapes with at least this much
ROWS_FREE_BYTES = 150_000_000  # storage writes candles and other rows about the market with at least this much
MB = 1_000_000


def free_bytes(path: Path) -> int:
    """Bytes that may still be written where `path` is; 0 where it is read-only or does not answer."""
    try:
        found = os.statvfs(path)
    except OSError:
        return 0
    return 0 if found.f_flag & os.ST_RDONLY else found.f_bavail * found.f_frsize


def has_room(free: int, limit: int, had_room: bool) -> bool:
    """Whether `free` bytes are enough for what stops below `limit` bytes; `had_room`: what the last look said."""
    return free >= (limit if had_room else limit + limit // 10)
