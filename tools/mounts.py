"""What kind of file system a folder lies on, as the kernel tells it."""

import os
from pathlib import Path

IN_MEMORY = ("tmpfs", "ramfs")  # nothing that is written there goes to a disk
_MOUNTS = Path("/proc/self/mountinfo")


def nearest(folder: Path) -> Path:
    """The folder, or of those above it the first that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def device(folder: Path) -> str:
    """The number of the device that a folder lies on, or will, as "8:1"."""
    found = nearest(folder).stat().st_dev
    return f"{os.major(found)}:{os.minor(found)}"


def filesystem(mounts: str, number: str) -> str:
    """The file system of a device, by the text of mountinfo; "" where it is not there, as with btrfs."""
    rows = [line.split() for line in mounts.splitlines()]
    return next((row[row.index("-") + 1] for row in rows if row[2:3] == [number] and "-" in row), "")


def filesystem_of(folder: Path) -> str:
    """The file system that a folder lies on, or will; "" where that is not known."""
    try:
        return filesystem(_MOUNTS.read_text(), device(folder))
    except OSError:
        return ""
