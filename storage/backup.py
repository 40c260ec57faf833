"""Copies of a book's files that are consistent in themselves, taken while the bot runs or not.

Databases are copied by SQLite's own backup (one read transaction, nobody waits for it) and checked; files that only
grow are copied up to their last whole line or record.

* trades.csv is copied first, then bot_data.db, then journal.db: what is derived is never ahead of what it is from.
"""

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path
from urllib.parse import quote

from bus.layouts import RECORD_SIZE
from bus.segment import ENDING, SegmentDamaged, read_header
from core.errors import BotError

DATABASES = ("bot_data.db", "journal.db")  # in the order in which they must be copied
CSV = "trades.csv"
_BUSY_SECONDS = 10.0
_CHUNK = 1024 * 1024


class BackupError(BotError):
    """A copy could not be made, or is not whole; the text names the file and the reason."""


def bytes_needed(book: Path, *, tape: bool) -> int:
    """What copies of the book's files take at most."""
    files = [book / name for name in (CSV, *DATABASES)]
    files += [path.with_name(path.name + "-wal") for path in files]
    if tape:
        files += [*segments(book), *kept_states(book)]
    return sum(_size(path) for path in files)


def segments(book: Path) -> list[Path]:
    """The tape's files, all epochs."""
    return sorted((book / "tape").glob(f"*/*{ENDING}"))


def kept_states(book: Path) -> list[Path]:
    """What the indicators kept beside the tape, so that a recorded session can be judged."""
    return sorted((book / "indicators").glob("*.state"))


def copy_book(book: Path, target: Path, *, tape: bool) -> dict[str, int]:
    """Copies a book into the new folder `target`; returns the bytes by name. Raises BackupError."""
    copied: dict[str, int] = {}
    try:
        target.mkdir(mode=0o700, parents=True)
        if (book / CSV).exists():
            copied[CSV] = copy_lines(book / CSV, target / CSV)
        for name in DATABASES:
            if (book / name).exists():
                copied[name] = copy_database(book / name, target / name)
        if tape:
            copied["tape"] = sum(copy_segment(path, target / path.relative_to(book)) for path in segments(book))
            for path in kept_states(book):
                (target / path.parent.name).mkdir(mode=0o700, exist_ok=True)
                with contextlib.suppress(FileNotFoundError):  # the oldest go as new ones come
                    copy_file(path, target / path.relative_to(book))
    except OSError as error:
        raise BackupError(f"cannot copy {book} to {target}: {error.strerror} ({error.filename})") from error
    return copied


def copy_database(source: Path, target: Path) -> int:
    """A checked copy of a database that others may be writing; returns its bytes. Raises BackupError.

    Opened for writing, though nothing is written: who only reads leaves an empty log behind when the bot is stopped.
    """
    try:
        with (
            contextlib.closing(_opened(f"file:{quote(str(source))}?mode=rw", uri=True)) as read,
            contextlib.closing(_opened(str(target))) as write,
        ):
            read.backup(write)
            found = write.execute("PRAGMA integrity_check").fetchall()
            write.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise BackupError(f"cannot copy {source} to {target}: {error}") from error
    if found != [("ok",)]:
        raise BackupError(f"the copy of {source} is damaged, and so is probably the file itself: {found[0][0]}")
    _synced(target)
    return _size(target)


def copy_lines(source: Path, target: Path) -> int:
    """A copy up to the last line break; returns its bytes."""
    content = source.read_bytes()
    target.write_bytes(content[: content.rfind(b"\n") + 1])
    _synced(target)
    return _size(target)


def copy_segment(source: Path, target: Path) -> int:
    """A copy of a tape's segment up to its last whole record; returns its bytes, 0 where it was pruned meanwhile."""
    try:
        size = source.stat().st_size
        head = read_header(source).size
        left = size - (size - head) % RECORD_SIZE
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with source.open("rb") as read, target.open("wb") as write:
            while left and (chunk := read.read(min(left, _CHUNK))):
                write.write(chunk)
                left -= len(chunk)
    except FileNotFoundError:
        return 0
    except SegmentDamaged as error:
        raise BackupError(f"{error}: move it aside, or make the backup without the tape") from error
    _synced(target)
    return _size(target)


def copy_file(source: Path, target: Path) -> None:
    """A copy of a small file that is replaced in one step whenever it changes."""
    shutil.copyfile(source, target)
    _synced(target)


def _opened(name: str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(name, uri=uri, isolation_level=None, timeout=_BUSY_SECONDS)


def _synced(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
