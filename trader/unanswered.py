"""Since when the orders that a start takes up can no longer have been sent.

An order that is taken up is looked up and never sent: its request left before the process that first took it up began,
as the stage's lock is free only once the process before is dead. Later starts count from that moment, so that a trader
that is killed every few seconds still gets to know what never came to the venue. The rules, each with a test of its
name:

* carried: what the start before took up as well counts from where that one counted.
* new: what it did not take up counts from now; it may have sent it itself.
* another_boot: monotonic times are of one boot; of another one, or of none that the system tells, all count from now.
* ahead: a time that lies ahead counts from now.
* unreadable: a file that is not there, is cut or is another version's counts as none.
* full_disk: where it cannot be written it is removed: this start and the next count from now.

The lease is no such bound: a request may leave after any pause between the look at the lease and the write.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from core.disk import refused

FILE = "unanswered"


class Unanswered(msgspec.Struct, frozen=True):
    """What a start took up: by order id, since when (monotonic) it can no longer have been sent."""

    boot_id: str
    since_ns: dict[str, int] = {}


_decoder = msgspec.msgpack.Decoder(Unanswered)


def carried(before: Unanswered | None, orders: Iterable[str], boot_id: str, now_ns: int) -> Unanswered:
    """As of this start, with exactly its orders. Pure."""
    same = before is not None and boot_id and before.boot_id == boot_id
    since = before.since_ns if before is not None and same else {}
    return Unanswered(boot_id, {order_id: min(since.get(order_id, now_ns), now_ns) for order_id in orders})


def taken_up(run_dir: Path, orders: Iterable[str], boot_id: str, now_ns: int) -> dict[str, int]:
    """`carried` from the start before, written for the next one before anything is sent; empty where it cannot be.

    Raises BotError where the file can neither be written nor removed.
    """
    path = run_dir / FILE
    found = carried(_read(path), orders, boot_id, now_ns)
    beside = path.with_suffix(".new")
    try:
        beside.write_bytes(msgspec.msgpack.encode(found))
        os.replace(beside, path)
    except OSError:
        _remove(path)
        return {}
    return found.since_ns


def _remove(path: Path) -> None:
    """An old one would count for orders that were sent since."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise refused(f"cannot remove {path}: {error.strerror}. Free the disk or set VAR_DIR.", error.errno) from error


def _read(path: Path) -> Unanswered | None:
    try:
        return _decoder.decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError):
        return None
