"""The folder of a bench's bot: on a disk where there is one for it, its path short enough for sockets.

Where /tmp lies in memory (tmpfs, as Debian 13 has it) the kernel counts no byte as written, and a sync costs nothing.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from core.errors import MisconfiguredError
from core.paths import LONGEST_SOCKET, SOCKET_PATH_MAX
from core.settings_load import var_dir_only
from tools.mounts import IN_MEMORY, filesystem_of, nearest

PREFIX = "bench"
_NAME = PREFIX + "x" * 8  # as tempfile makes them


class Place(NamedTuple):
    """Where a bench's folder could be made."""

    folder: Path
    filesystem: str  # as the kernel names it, "" where that is not known: a disk then
    writable: bool


def places(first: Path | None = None) -> list[Place]:
    """Where to look, in this order: `first`, the usual place of temporary files, the one that outlasts a boot, ours."""
    usual = (Path(tempfile.gettempdir()), Path("/var/tmp"), var_dir_only())
    folders = usual if first is None else (first, *usual)
    return [Place(one, filesystem_of(one), os.access(nearest(one), os.W_OK | os.X_OK)) for one in folders]


def unfit(place: Place) -> str:
    """Why a bot's folder there would be none on a disk, or none at all; "" where it is well."""
    if place.filesystem in IN_MEMORY:
        return f"{place.filesystem}: memory"
    if not place.writable:
        return "not ours to write"
    if len(bytes(place.folder / _NAME / "run" / LONGEST_SOCKET)) > SOCKET_PATH_MAX:
        return "too long for a socket's name"
    return ""


def on_disk(found: Sequence[Place]) -> Path:
    """The first place that is fit. Raises MisconfiguredError where none is."""
    for place in found:
        if not unfit(place):
            return place.folder
    why = ", ".join(f"{place.folder} ({unfit(place)})" for place in found)
    raise MisconfiguredError(
        f"what goes to a disk cannot be measured here: {why}. Name a folder on a disk, its path short: TMPDIR=/mnt/ssd"
    )


@contextmanager
def scratch(*, must_be_on_disk: bool = False, first: Path | None = None) -> Iterator[Path]:
    """A temporary folder, on a disk where there is one; raises MisconfiguredError where there must be and is none.

    `first`: a folder to look at before the usual ones.
    """
    found = places(first)
    try:
        place = on_disk(found)
    except MisconfiguredError:
        if must_be_on_disk:
            raise
        place = found[0].folder
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
