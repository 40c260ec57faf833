"""What the fold takes in, one after another. All but the tape records are journalled at their place."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import numpy as np

from bus.messages import Start
from trader.broker import BrokerEvent
from trader.reconcile import Reconciliation


class Updates(msgspec.Struct, frozen=True, gc=False):  # one a frame: a NamedTuple takes three times as long
    """UPDATE records in tape order, as they travel; the cursor moves to `last`, the last tape number they cover."""

    epoch: int
    last: int
    records: bytes


class Raws(NamedTuple):
    """Raw tape records of a span, numbered from `first`; other kinds than TRADE only move the cursor."""

    epoch: int
    first: int
    records: np.ndarray


class NewStart(NamedTuple):
    """A START record of the tape with its body: markets, pair numbers, fees."""

    epoch: int
    record: int
    body: Start


class Began(NamedTuple):
    """This process took up the journal."""

    book: str
    settings: dict[str, str]
    found: str  # new, clean, recovered
    report: str


class SpanBegin(NamedTuple):
    """The following Raws are blind (decide nothing) or degraded (trailing stop only). last: -1 while not known."""

    kind: str
    epoch: int
    first: int
    last: int
    why: str


class SpanEnd(NamedTuple):
    """Updates go on."""


class Command(NamedTuple):
    """An operator's word: pause, resume, flatten, halt. Carried out once per id, at the current record."""

    action: str
    id: str
    reason: str = ""


class Block(NamedTuple):
    """A reason outside the tape for which no entry is taken begins or ends (journal failing, settings differ,
    a stage that keeps dying)."""

    reason: str
    on: bool


class Told(NamedTuple):
    """A result from a live broker, for an order of the journal that works or was over lately."""

    event: BrokerEvent


class Checked(NamedTuple):
    """What a comparison of the journal with the venue found; applied at one place."""

    body: Reconciliation
    since_ms: int = 0  # when the look began
    wall_ms: int = 0  # when it was judged


class Protect(NamedTuple):
    """The stop that rests at the venue is placed, moved or taken away; where orders are real, given by the stage."""

    pair: str


class Fee(NamedTuple):
    """The account's own taker fee, in parts; it counts instead of the venue's list where TAKER_FEE_BPS is not set."""

    taker: int


class Again(NamedTuple):
    """An exit that is wanted and not working is tried again; where orders are real, and with a back-off."""

    pair: str


CRASH_LOOP = "crash_loop_"


def crash_loops(failing: str, blocks: Iterable[str]) -> list[Block]:
    """What changes where the watchdog names `failing` stages (`feeder, storage`) and `blocks` are in force."""
    wanted = [CRASH_LOOP + name for name in failing.split(", ") if name]
    known = [reason for reason in blocks if reason.startswith(CRASH_LOOP)]
    begins = [Block(reason, True) for reason in wanted if reason not in known]
    return begins + [Block(reason, False) for reason in known if reason not in wanted]


Input = (
    Updates | Raws | NewStart | Began | SpanBegin | SpanEnd | Command | Block | Told | Checked | Fee | Again | Protect
)
