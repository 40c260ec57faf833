"""backup: a consistent copy of the book in force, or of all books, while the bot runs or not.

It goes to `backups/NAME-TIME/` beside VAR_DIR (no command removes it), shaped like VAR_DIR: settings.json, which
has no secrets, and `books/BOOK/` with journal.db, bot_data.db, trades.csv, and the tape where it was asked for. It is
written under another name and moved into place whole.

Exit codes: 0 done, 1 not possible now (no room, another backup runs, a file is damaged), 2 there is nothing to copy.
"""

import argparse
import contextlib
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from core.clock import Clock, LiveClock, iso_utc
from core.disk import MB, ROWS_FREE_BYTES, free_bytes
from core.errors import BotError, MisconfiguredError
from core.paths import settings_file
from core.settings_load import var_dir_only
from storage.backup import BackupError, bytes_needed, copy_book, copy_file

OK, FAILED, NOTHING = 0, 1, 2
FOLDER = "backups"
UNFINISHED = ".part"
ALL = "all"


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes one backup and says what is in it and how to put it back."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.backup", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--all", action="store_true", help="every book there is, not only the one in force")
    parser.add_argument("--tape", action="store_true", help="the tape of the market too: it is by far the largest part")
    parser.add_argument("--to", type=Path, help=f"another place than {FOLDER}/ beside VAR_DIR, as a disk of its own")
    given = parser.parse_args(arguments)
    os.umask(0o077)
    try:
        var = var_dir_only()
        books = books_of(var, everything=given.all)
        folder = (given.to or var.parent / FOLDER).absolute()
        made = back_up(var, books, folder, LiveClock(), tape=given.tape, name=ALL if given.all else books[0].name)
    except MisconfiguredError as error:
        print(error, file=sys.stderr)
        return NOTHING
    except (BotError, OSError) as error:
        print(f"no backup was made: {error}", file=sys.stderr)
        return FAILED
    print(how_to_restore(made, var, [book.name for book in books]))
    return OK


def books_of(var: Path, *, everything: bool) -> list[Path]:
    """The folders to copy. Raises MisconfiguredError where no book has a journal yet."""
    found = sorted((var / "books").glob("*/")) if everything else [var / "current"]
    books = [path.resolve() for path in found if (path / "journal.db").exists()]
    if not books:
        raise MisconfiguredError(f"there is no book with a journal in {var}: `make run` begins one; is VAR_DIR right?")
    return books


def back_up(var: Path, books: Sequence[Path], folder: Path, clock: Clock, *, tape: bool, name: str) -> Path:
    """Copies the books into a new folder below `folder` and returns it. Raises BackupError or OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stamp = iso_utc(clock.wall_ms())[:19].replace("-", "").replace(":", "")
    target = folder / f"{name}-{stamp}Z"
    with _alone(folder):
        for left in folder.glob(f"*{UNFINISHED}"):  # of a backup that was broken off
            shutil.rmtree(left)
        if target.exists():
            raise BackupError(f"{target} is there already: try again in a second")
        _check_room(books, folder, tape=tape)
        unfinished = target.with_name(target.name + UNFINISHED)
        try:
            for book in books:
                copied = copy_book(book, unfinished / "books" / book.name, tape=tape)
                sizes = ", ".join(f"{file} {size / MB:.1f} MB" for file, size in copied.items())
                print(f"{book.name}: {sizes}; checked")
            if settings_file(var).exists():
                copy_file(settings_file(var), unfinished / settings_file(var).name)
            unfinished.replace(target)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return target


def how_to_restore(made: Path, var: Path, books: Sequence[str]) -> str:
    """What to type to put a backup back; the files that are there are moved away, never mixed with the old ones."""
    moves = [f"  mv {var}/books/{book} {var}/{book}.before-restore" for book in books]
    return "\n".join(
        [
            f"backup: {made}",
            "to put it back (.env, which may hold secrets, is not in a backup):",
            "  make stop",
            *moves,
            f"  mkdir -p {var} && cp -a {made}/books {var}/",
            "  make start",
        ]
    )


def _check_room(books: Sequence[Path], folder: Path, *, tape: bool) -> None:
    needed = sum(bytes_needed(book, tape=tape) for book in books)
    free = free_bytes(folder)
    if free < needed + ROWS_FREE_BYTES:
        raise BackupError(
            f"{folder} has {free // MB} MB free; the copies take up to {needed // MB} MB, and the bot must be left"
            f" {ROWS_FREE_BYTES // MB} MB. Remove old backups, or name another disk: make backup TO=/mnt/disk"
        )


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; raises BackupError where another backup holds it."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BackupError(f"another backup is writing to {folder}: wait for it") from None
    finally:
        os.close(fd)


if __name__ == "__main__":
    sys.exit(main())
