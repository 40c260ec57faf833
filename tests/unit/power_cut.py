"""What a power cut leaves of SQLite's files, made from files as the page cache had them at that moment.

A process stopped with SIGSTOP has written whole system calls; copies of its files are what the page cache held. A power
cut keeps of that what was synced, and of the rest anything: missing, cut, zeros or old blocks, in any mixture.
What is synced follows from SQLite's protocol and from what was acknowledged:

* the log up to the last commit that was acknowledged (synchronous=FULL), or up to the last checkpoint that was tried
  (synchronous=NORMAL; the -shm file tells how far, and only what it covers is ever moved into the database);
* every page of the database that has no frame in that part of the log: the log is begun anew only after the database
  was synced. Pages that have one may be half written by a checkpoint, and the database may lack its end.

So `cut` damages the log behind that point and those pages of the database, and nothing else.
"""

import random
import shutil
import struct
from pathlib import Path
from typing import NamedTuple

HEAD, FRAME_HEAD = 32, 24
BACKFILL_ATTEMPTED = 128  # in the -shm file, u32 of the machine's order: frames that a checkpoint may have moved


class Log(NamedTuple):
    """The frames of a log that SQLite would take: of each the page, and the database's pages where it commits."""

    page_size: int
    frames: list[tuple[int, int]]

    def end_of(self, frames: int) -> int:
        """The byte after so many frames."""
        return HEAD + frames * (FRAME_HEAD + self.page_size) if self.page_size else 0

    def commits(self) -> list[int]:
        """The number of frames up to and with each commit."""
        return [place for place, (_, pages) in enumerate(self.frames, start=1) if pages]


def read_log(path: Path) -> Log:
    """The whole frames at the head of a -wal file that carry its salt and whose checksums fit."""
    data = path.read_bytes() if path.exists() else b""
    if len(data) < HEAD:
        return Log(0, [])
    magic, _, page_size, _, *salt = struct.unpack(">6I", data[:24])
    order = ">" if magic & 1 else "<"
    sums = _checksum(data[:24], order, (0, 0))
    if sums != struct.unpack(">2I", data[24:32]):
        return Log(page_size, [])
    frames = []
    at = HEAD
    while at + FRAME_HEAD + page_size <= len(data):
        page, pages, *rest = struct.unpack(">6I", data[at : at + FRAME_HEAD])
        sums = _checksum(data[at : at + 8], order, sums)
        sums = _checksum(data[at + FRAME_HEAD : at + FRAME_HEAD + page_size], order, sums)
        if rest[:2] != salt or tuple(rest[2:]) != sums:
            break
        frames.append((page, pages))
        at += FRAME_HEAD + page_size
    return Log(page_size, frames)


def _checksum(data: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    one, two = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & 0xFFFFFFFF
        two = (two + odd + one) & 0xFFFFFFFF
    return one, two


def checkpointed(database: Path) -> int:
    """Frames of the log that a checkpoint was begun for: they were synced before it began."""
    shm = database.with_name(database.name + "-shm").read_bytes()
    return int(struct.unpack_from("=I", shm, BACKFILL_ATTEMPTED)[0])


def cut(database: Path, target: Path, synced_frames: int, log: Log, rng: random.Random) -> None:
    """Copies a database with its log to `target` as a power cut might leave it; the -shm file is gone."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(database, target)
    _damage_pages(target, {page for page, _ in log.frames[:synced_frames]}, log.page_size, rng)
    wal = database.with_name(database.name + "-wal")
    if wal.exists():
        kept = log.end_of(synced_frames) if synced_frames else 0
        target.with_name(target.name + "-wal").write_bytes(torn(wal.read_bytes(), kept, rng))


def torn(data: bytes, kept: int, rng: random.Random) -> bytes:
    """The bytes with anything after the first `kept` of them cut, zeroed or replaced, in blocks as disks have them."""
    end = rng.randint(kept, len(data)) if rng.random() < 0.7 else len(data)
    out = bytearray(data[:end])
    for at in range(kept - kept % 512, end, 512):
        if rng.random() < rng.choice((0.0, 0.05, 0.5)):
            block = slice(max(at, kept), min(at + 512, end))
            size = block.stop - block.start
            out[block] = bytes(size) if rng.random() < 0.5 else rng.randbytes(size)
    return bytes(out)


def _damage_pages(database: Path, pages: set[int], page_size: int, rng: random.Random) -> None:
    """Tears pages that the log has whole, and cuts the file where all that follows is in the log."""
    data = bytearray(database.read_bytes())
    for page in pages:
        if rng.random() < 0.3 and page * page_size <= len(data):
            at = (page - 1) * page_size + 512 * rng.randrange(page_size // 512)
            data[at : page * page_size] = rng.randbytes(page * page_size - at)
    count = len(data) // page_size if page_size else 0
    while count > 1 and count in pages and rng.random() < 0.9:
        count -= 1
    database.write_bytes(data[: count * page_size] if page_size else data)
