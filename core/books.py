"""Books: what one ledger is about. Position, wallet, limits and P&L know only their book."""

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from core.disk import refused
from core.paths import book_dir, book_name, tape_stem, var_dir

if TYPE_CHECKING:
    from core.settings import Settings

__all__ = ["book_name", "open_book", "tape_stem"]


def open_book(settings: "Settings") -> Path:
    """Makes the book's folders, points `var/current` to it and returns its folder."""
    folder = book_dir(settings)
    current = var_dir(settings) / "current"
    try:
        (folder / "tape").mkdir(mode=0o700, parents=True, exist_ok=True)
        target = Path("books") / folder.name
        # Five stages do this at once: each makes its own link and moves it into place.
        if not current.is_symlink() or current.readlink() != target:
            aside = current.with_name(f"current.{os.getpid()}")
            with contextlib.suppress(FileNotFoundError):
                aside.unlink()
            aside.symlink_to(target)
            aside.replace(current)
    except OSError as error:
        text = f"cannot make the book's folder {folder}: {error.strerror} ({error.filename}). Free it or set VAR_DIR."
        raise refused(text, error.errno) from error
    return folder
