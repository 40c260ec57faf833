"""The packed state on disk: bit for bit, with where on the tape it stands and what it was made by.

One file, replaced in one step. Not synced: after a power cut the tape begins a new epoch, and an older state is of no
use anyway. A state of another epoch, of other indicator settings or of other kernel sources is not taken up.
"""

import contextlib
import hashlib
from pathlib import Path

import msgspec
import numpy as np

from bus.frames import UNREADABLE
from bus.messages import Start
from indicators import layout
from indicators.layout import Array

VERSION = 1
DIGEST_BYTES = 16
LEAST_SECONDS = 5.0  # between two saves
BYTES_PER_SECOND = 10_000  # on average, so that many pairs do not wear out an SD card


class Saved(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A saved state: after record `number` of tape `epoch`."""

    version: int
    epoch: int
    number: int
    settings_hash: int  # of the indicator settings
    sources_hash: int  # of the kernels
    layout_hash: int  # of the records
    start: Start | None  # the last START: whose the pair numbers are
    state: bytes

    def words(self) -> Array:
        """The state buffer, ours to write."""
        return np.frombuffer(self.state, np.int64).copy()


def save(path: Path, saved: Saved) -> None:
    """Write a state in place of the one there was. Raises OSError."""
    packed = msgspec.msgpack.encode(saved)
    aside = path.with_suffix(".new")
    try:
        aside.write_bytes(digest(packed) + packed)
        aside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise


def load(path: Path, *, settings_hash: int, sources_hash: int, layout_hash: int, bb_period: int) -> Saved | str:
    """The saved state, or why there is none that can be gone on with."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return "there is no saved state"
    except OSError as error:
        return f"the saved state cannot be read: {error.strerror}"
    packed = content[DIGEST_BYTES:]
    if digest(packed) != content[:DIGEST_BYTES]:
        return "the saved state is damaged"
    try:
        saved = msgspec.msgpack.decode(packed, type=Saved)
    except UNREADABLE:
        return "the saved state is of another version"
    if (saved.version, saved.sources_hash, saved.layout_hash) != (VERSION, sources_hash, layout_hash):
        return "the saved state is of another version"
    if saved.settings_hash != settings_hash:
        return "the indicator settings have changed"
    if not fits(saved, bb_period):
        return "the saved state is damaged"
    return saved


def place(path: Path) -> tuple[int, int] | None:
    """Epoch and number that a saved state stands at, whatever else is wrong with it; None where that is not known."""
    try:
        content = path.read_bytes()
        saved = msgspec.msgpack.decode(content[DIGEST_BYTES:], type=Saved)
    except (OSError, *UNREADABLE):
        return None
    return saved.epoch, saved.number


def fits(saved: Saved, bb_period: int) -> bool:
    """Whether the buffer has the length that its own head says."""
    if len(saved.state) < layout.PARAMS.itemsize or len(saved.state) % 8:
        return False
    pairs = int(layout.params_of(np.frombuffer(saved.state, np.int64))["pairs"])
    return pairs >= 0 and len(saved.state) == 8 * layout.state_words(pairs, bb_period)


def seconds_between(size: int) -> float:
    """How long to wait after saving so many bytes before saving again."""
    return max(LEAST_SECONDS, size / BYTES_PER_SECOND)


def digest(packed: bytes) -> bytes:
    """What tells a whole file from a damaged one."""
    return hashlib.blake2b(packed, digest_size=DIGEST_BYTES).digest()
