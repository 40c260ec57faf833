"""A small file system of its own for a test: filled to the last byte and emptied again, read-only, or failing."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.disk import free_bytes

PAGE, MB = 4096, 1024 * 1024


class SmallDisk:
    """A tmpfs at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self, leave: int = 0) -> None:
        """Leaves `leave` bytes free, whatever was free before; without them not a page, whoever writes meanwhile."""
        fd = os.open(self._ballast, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            size = max(0, os.fstat(fd).st_size + free_bytes(self.path) - leave)
            os.ftruncate(fd, size)
            if leave:
                os.posix_fallocate(fd, 0, max(1, size))
                return
            at = 0
            for step in (MB, PAGE):  # what does not fit is given back whole
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(fd, at, step)
                        at += step
        finally:
            os.close(fd)

    def empty(self) -> None:
        """Takes the ballast away."""
        self._ballast.unlink(missing_ok=True)

    def read_only(self, on: bool) -> None:
        """Remounts it; refused while a file on it is open for writing."""
        option = f"remount,{'ro' if on else 'rw'}"
        subprocess.run(["mount", "-o", option, str(self.path)], check=True, capture_output=True, text=True)

    def fail(self) -> None:
        """As after an error of the medium: from now on it is read-only, also for files that are open. ext4 alone."""
        device = os.stat(self.path).st_dev
        name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
        Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("1")


def _mounted(path: Path, *arguments: str) -> None:
    path.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *arguments, str(path)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")


def _unmount(path: Path) -> None:
    """At once; where a file of a test that failed is still open, as soon as that is closed."""
    if subprocess.run(["umount", str(path)], capture_output=True).returncode:
        subprocess.run(["umount", "--lazy", str(path)], check=True, capture_output=True)


@contextlib.contextmanager
def small_disk(path: Path, mb: int) -> Iterator[SmallDisk]:
    """A tmpfs of `mb` MB at `path`, which is made and taken away; skips the test where mounting is not allowed."""
    _mounted(path, "-t", "tmpfs", "-o", f"size={mb}000000,mode=0700", "tmpfs")
    try:
        yield SmallDisk(path)
    finally:
        _unmount(path)


@contextlib.contextmanager
def failing_disk(path: Path, image: Path, mb: int) -> Iterator[SmallDisk]:
    """An ext4 of `mb` MB in the file `image`, mounted at `path`: made where it is not there, else mended first."""
    if image.exists():
        mended = subprocess.run(["e2fsck", "-fp", str(image)], capture_output=True, text=True)
        assert mended.returncode in (0, 1), mended.stdout + mended.stderr
    else:
        with image.open("wb") as file:
            file.truncate(mb * 1_000_000)
        made = subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"no ext4 can be made here: {made.stderr.strip()}")
    _mounted(path, "-o", "loop,errors=remount-ro", str(image))
    try:
        yield SmallDisk(path)
    finally:
        _unmount(path)
