"""For tests that start processes: folders short enough for sockets."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A temporary folder whose path leaves room for a socket's name (pytest's tmp_path may not)."""
    folder = Path(tempfile.mkdtemp(prefix="bot."))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
