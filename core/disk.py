"""How much room the book's file system has, and from where on it is too little; the one home of these limits.

With less than TAPE_FREE_BYTES the tape stops, with less than ROWS_FREE_BYTES the rows about the market; the ledger and
the journal never stop by themselves: what is left is theirs. What stopped goes on with a tenth more than its limit, so
that it does not come and go with each file that others write.
"""

import errno
import os
from pathlib import Path

from core.errors import BotError, MisconfiguredError

TAPE_FREE_BYTES = 300_000_000  # the feeder tapes with at least this much
ROWS_FREE_BYTES = 150_000_000  # storage writes candles and other rows about the market with at least this much
MB = 1_000_000
_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


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


def refusal(folder: Path) -> int | None:
    """The errno with which `folder` refuses a new file of a page; None where it takes it."""
    probe = folder / f".probe.{os.getpid()}"
    try:
        fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, bytes(4096))
        finally:
            os.close(fd)
            probe.unlink()
    except OSError as error:
        return error.errno
    return None


def refused(text: str, number: int | None) -> BotError:
    """What a stage raises that cannot begin because of what the disk said (`number` of errno).

    A full, read-only or failing disk may be well again soon, so the stage crashes and tries again; all else only a
    person can mend.
    """
    if number in _PASSING:
        return BotError(f"{text} It is tried again by itself.")
    return MisconfiguredError(text)
