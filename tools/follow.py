"""The stages' logs as supervisord writes them: the last lines, and following them across rotations."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

_CHUNK = 65_536


def last_lines(path: Path, count: int = 20, since: int = 0) -> list[str]:
    """The last lines of a log after byte `since` (from its start where it was rotated), none where there is no log."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _CHUNK, since if since <= size else 0))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-count:]


class Follower:
    """Gives what is appended to some logs. A log that is rotated or not yet there is picked up when it comes."""

    def __init__(self, paths: Iterable[Path], *, from_end: bool) -> None:
        self._files: dict[Path, BinaryIO | None] = dict.fromkeys(paths)
        self._rest: dict[Path, bytes] = dict.fromkeys(self._files, b"")
        for path in self._files:
            self._open(path)
            file = self._files[path]
            if file is not None and from_end:
                file.seek(0, os.SEEK_END)

    def lines(self) -> list[str]:
        """The whole lines that came since the last call, log by log."""
        found: list[str] = []
        for path, file in self._files.items():
            if file is not None:
                found += self._read(path, file)
            if self._moved(path, self._files[path]):
                self._open(path)
                fresh = self._files[path]
                if fresh is not None:
                    found += self._read(path, fresh)
        return found

    def close(self) -> None:
        """Closes the logs."""
        for file in self._files.values():
            if file is not None:
                file.close()

    def _read(self, path: Path, file: BinaryIO) -> list[str]:
        data = self._rest[path] + file.read()
        *lines, self._rest[path] = data.split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def _open(self, path: Path) -> None:
        old = self._files[path]
        if old is not None:
            old.close()
        try:
            self._files[path] = path.open("rb")
        except FileNotFoundError:
            self._files[path] = None
        self._rest[path] = b""

    @staticmethod
    def _moved(path: Path, file: BinaryIO | None) -> bool:
        """Another file stands where this one was opened, or it was cut."""
        try:
            now = path.stat()
        except FileNotFoundError:
            return False
        if file is None:
            return True
        ours = os.fstat(file.fileno())
        return (now.st_ino, now.st_dev) != (ours.st_ino, ours.st_dev) or now.st_size < file.tell()
