"""Which other processes have a file open: who is to be closed where one of them holds something up."""

import os
from pathlib import Path

_PROC = Path("/proc")


def users_of(file: Path) -> str:
    """Other processes that have the file open, as `sqlite3 (process 123), …`, as far as /proc lets us see them."""
    found = []
    name = os.path.realpath(file)  # as /proc has it
    for entry in sorted(_PROC.iterdir(), key=lambda path: path.name):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if any(os.readlink(fd) == name for fd in (entry / "fd").iterdir()):
                found.append(f"{(entry / 'comm').read_text().strip()} (process {entry.name})")
        except OSError:
            continue  # it ended, or is somebody else's
    return ", ".join(found) or "not to be seen from here: lsof names it"
