"""Who holds the stops: the trader's lease on them, and the guardian's claim while it sells in the trader's place.

The lease is a small file that the trader renews some times a second with what it holds; the guardian sells only where
it was not renewed for LEASE_SECONDS. Ages are of the machine's monotonic clock: the lease of another boot has run out.

* Readers never see half of one: there are two places in turn, each with a checksum.
* It outlives the trader: what was held is known as long as the file is there.
* A trader that may not send (it has not compared journal and venue yet) writes what it holds, and does not renew.
* Neither begins beside the other: the guardian writes its claim and then reads the lease, the trader renews the lease
  and then reads the claim. At least one of them sees the other, and leaves it.
* A claim is in force as long as the guardian that wrote it lives, and CLAIM_LIVES_S more: so long a request that a
  killed guardian had sent may still be under way.

In the trader: `paused` before anything else of a turn (then what was not sent is dropped and all is compared as after a
start), `renew` in each turn and with each journal entry, so that an exit stands in the lease before it is sent.
"""

import os
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from core.clock import NS_PER_S
from core.disk import refused
from core.errors import BotError
from core.lock import holder
from core.paths import GUARDIAN

LEASE_FILE, CLAIM_FILE = "lease", "claim"
CLAIM_LIVES_S = 15.0  # longer than a request to any venue may be under way
PLACE = 256 * 1024  # bytes of one of the two places

_MAGIC = b"scalpls1"
_HEAD = struct.Struct("<8sII")  # magic, checksum and length of what follows


class Position(msgspec.Struct, frozen=True):
    """What is held in a pair, as whoever sells it in the trader's place must know it."""

    pair: str
    key: str  # tells the position from every other
    base: str
    quantity: str  # base coin, whole steps
    step: str
    highest: float  # since the entry
    keep: float  # 1 - TRAILING_STOP_PCT
    price_ns: int  # exchange time of the last trade that the trader has seen
    exit_ids: tuple[str, ...]  # of the exits there were, and of the next attempts
    past: int = 0  # so many of them are of exits there were: looked up, not used again
    working: str = ""  # the one of an exit that is on its way or at the venue
    counted: dict[str, str] = {}  # by id, base coin that its fills sold as far as `quantity` is less already
    exiting: bool = False  # the trader has decided to sell it
    resting: bool = False  # one of the `past` ids is of a stop that rests at the venue, and locks the coins

    @property
    def stop_price(self) -> float:
        """Where it is sold."""
        return self.highest * self.keep


class Lease(msgspec.Struct, frozen=True):
    """The lease as it was written last; `renewed_ns` is monotonic, 0 for never."""

    book: str
    boot_id: str
    pid: int
    sequence: int
    renewed_ns: int
    positions: tuple[Position, ...] = ()

    def age_ns(self, now_ns: int, boot_id: str) -> int | None:
        """How old it is; None where that cannot be told, as it was never renewed in this boot."""
        if not self.renewed_ns or self.boot_id != boot_id or not boot_id:
            return None
        return max(0, now_ns - self.renewed_ns)


class Sale(msgspec.Struct, frozen=True):
    """One order that the guardian is about to send, has sent, or follows."""

    order_id: str
    since_ns: int  # monotonic


class Claim(msgspec.Struct, frozen=True):
    """What the guardian has in hand, by pair; nothing where it does not sell."""

    boot_id: str
    pid: int
    sequence: int
    changed_ns: int
    sales: dict[str, Sale] = {}

    def in_force(self, now_ns: int, boot_id: str, guardian: Callable[[], int | None]) -> bool:
        """Whether the trader has to wait for it; `guardian()` is the process that runs now."""
        if not self.sales or self.boot_id != boot_id:
            return False
        return now_ns - self.changed_ns < CLAIM_LIVES_S * NS_PER_S or guardian() == self.pid


_encode = msgspec.msgpack.Encoder().encode
_lease = msgspec.msgpack.Decoder(Lease)
_claim = msgspec.msgpack.Decoder(Claim)
_Noted = TypeVar("_Noted", Lease, Claim)


class _File:
    """Two places that are written in turn, with room kept on the disk; another process reads them at any moment."""

    def __init__(self, path: Path) -> None:
        """Makes it where it is not there. Raises BotError where that cannot be."""
        self._path = path
        try:
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.posix_fallocate(self.fd, 0, 2 * PLACE)
        except OSError as error:
            raise refused(
                f"cannot make {path}: {error.strerror}. Free the disk or set VAR_DIR.", error.errno
            ) from error

    def write(self, note: Lease | Claim) -> None:
        """Raises BotError where it does not fit, or the disk refuses it."""
        body = _encode(note)
        if len(body) > PLACE - _HEAD.size:
            raise BotError(f"{len(body)} bytes are too many for {self._path}: hold fewer positions at a time")
        try:
            os.pwrite(self.fd, _HEAD.pack(_MAGIC, zlib.crc32(body), len(body)) + body, note.sequence % 2 * PLACE)
        except OSError as error:
            raise refused(f"cannot write {self._path}: {error.strerror}. Free the disk.", error.errno) from error


def _read(path: Path, decoder: "msgspec.msgpack.Decoder[_Noted]") -> _Noted | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        found = [note for place in (0, 1) if (note := _at(fd, place * PLACE, decoder)) is not None]
    finally:
        os.close(fd)
    return max(found, key=lambda note: note.sequence, default=None)


def _at(fd: int, offset: int, decoder: "msgspec.msgpack.Decoder[_Noted]") -> _Noted | None:
    """What stands in one place; None where that is nothing, half of something, or another version's."""
    head = os.pread(fd, _HEAD.size, offset)
    if len(head) < _HEAD.size:
        return None
    magic, checksum, length = _HEAD.unpack(head)
    if magic != _MAGIC or length > PLACE:
        return None
    body = os.pread(fd, length, offset + _HEAD.size)
    if len(body) != length or zlib.crc32(body) != checksum:
        return None
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError:
        return None


def read_lease(run_dir: Path) -> Lease | None:
    """The lease as it is now; None where there is none that can be read."""
    return _read(run_dir / LEASE_FILE, _lease)


def read_claim(run_dir: Path) -> Claim | None:
    """The claim as it is now; None where there is none that can be read."""
    return _read(run_dir / CLAIM_FILE, _claim)


class LeaseWriter:
    """The trader's side. `paused` may be called from any thread, all else belongs to the stage's."""

    def __init__(self, run_dir: Path, book: str, lease_s: float, now_ns: int, boot_id: str) -> None:
        """Takes up the lease of that book. Raises BotError where the file cannot be made."""
        before = read_lease(run_dir)
        self._file = _File(run_dir / LEASE_FILE)
        self._run_dir = run_dir
        self._book, self._boot_id = book, boot_id
        self._half_ns = int(lease_s * NS_PER_S / 2)
        self._sequence = 0 if before is None else before.sequence
        same = before is not None and before.book == book and before.boot_id == boot_id
        self._renewed_ns = before.renewed_ns if before is not None and same else 0
        self._turned_ns = now_ns

    def paused(self, now_ns: int) -> bool:
        """Whether this process stood still for more than half the lease since `renew` was last called."""
        return now_ns - self._turned_ns > self._half_ns

    def renew(self, now_ns: int, positions: tuple[Position, ...], *, acts: bool) -> None:
        """Writes what is held; `acts`: the trader can send exits, so the lease is new from now. Raises BotError."""
        self._turned_ns = now_ns
        self._renewed_ns = now_ns if acts else self._renewed_ns
        self._sequence += 1
        self._file.write(Lease(self._book, self._boot_id, os.getpid(), self._sequence, self._renewed_ns, positions))

    def claim(self) -> Claim | None:
        """The guardian's, as it is now."""
        return read_claim(self._run_dir)

    def claim_over(self, seen: Claim | None, now_ns: int) -> bool:
        """Whether nothing of the guardian's is in force, nor came about since `seen`."""
        claim = self.claim()
        if claim is None:
            return True
        return claim == seen and not claim.in_force(now_ns, self._boot_id, lambda: holder(self._run_dir, GUARDIAN))

    def close(self) -> None:
        os.close(self._file.fd)


class ClaimWriter:
    """The guardian's side."""

    def __init__(self, run_dir: Path, boot_id: str) -> None:
        """Raises BotError where the file cannot be made."""
        before = read_claim(run_dir)
        self._file = _File(run_dir / CLAIM_FILE)
        self._boot_id = boot_id
        self._sequence = 0 if before is None else before.sequence
        # What a life before this one had in hand: it may be under way.
        self.left: dict[str, Sale] = {} if before is None or before.boot_id != boot_id else dict(before.sales)

    def write(self, sales: Mapping[str, Sale], now_ns: int) -> None:
        """What is in hand from now on. Raises BotError where it cannot be written: then nothing may be sent."""
        self._sequence += 1
        self._file.write(Claim(self._boot_id, os.getpid(), self._sequence, now_ns, dict(sales)))

    def close(self) -> None:
        os.close(self._file.fd)
