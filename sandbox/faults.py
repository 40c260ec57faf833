"""Faults on demand: which there are, and whether one strikes now. `sandbox.gate` carries them out.

A fault strikes requests (`path`, `method`), frames of a stream (`path`, `match`), orders, or it stands as long as it is
there. Of what it could strike it skips `after`, then takes each `every`-th, `times` at most, with `chance`; `at_s` and
`for_s` count in seconds of wall time since it was set (for the schedule in the book's folder: since the start). Chance
comes from the sandbox's seed and the fault's number alone, so the same calls meet the same faults.
"""

import fnmatch
import random
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Literal

import msgspec

from core.errors import MisconfiguredError

FILE = "faults.json"
FAULTS_MOST = 1_000

# --- requests ---
LATENCY = "latency"  # `ms` before the request is looked at
SLOW_REPLY = "slow_reply"  # `ms` between the deed and the answer
LOST_REQUEST = "lost_request"  # the connection is cut, nothing was done
DROPPED_REPLY = "dropped_reply"  # it was done, the connection is cut without an answer
CUT_REPLY = "cut_reply"  # it was done, the connection is cut half way through the answer
STATUS = "status"  # `status` in the venue's kind of body, or `body`; with `acted` after it was done
HTML = "html"  # the same as a page of a proxy
# --- streams ---
REFUSED = "refused"  # no handshake: `status`
HALF_FRAME = "half_frame"  # half the text of a message
GARBAGE = "garbage"  # `text` before the message; with `instead` in its place
DUPLICATE = "duplicate"  # the message twice
REORDER = "reorder"  # the message after the next one
MISSING = "missing"  # the message not at all
SILENT = "silent"  # no market or account data, while pings are answered
DELAY = "delay"  # `ms` before the message
DISCONNECT = "disconnect"  # closed before the message; with `every_s` all sockets, again and again
CUT_FRAME = "cut_frame"  # the connection is cut in the middle of a websocket frame
# --- orders ---
LATE_REJECTION = "late_rejection"  # accepted, and rejected `ms` later
# --- standing ---
CLOCK_SKEW = "clock_skew"  # the venue's clock is `ms` ahead of the market's
MAINTENANCE = "maintenance"  # 503 to everything, no sockets
HALT = "halt"  # `pair` or all: `trading` halted or cancel_only
PARTIAL_FILLS = "partial_fills"  # `share` of each print may be filled from
FEE_IN_BASE = "fee_in_base"
QUERY_LAG = "query_lag"  # for `ms` after its acceptance an order is unknown to queries and cancels
LOT_RULES = "lot_rules"  # `pair`: `step` and `min_quantity` from now on

REQUESTS = (LATENCY, SLOW_REPLY, LOST_REQUEST, DROPPED_REPLY, CUT_REPLY, STATUS, HTML)
FRAMES = (HALF_FRAME, GARBAGE, DUPLICATE, REORDER, MISSING, SILENT, DELAY, DISCONNECT, CUT_FRAME)
STANDING = (CLOCK_SKEW, MAINTENANCE, HALT, PARTIAL_FILLS, FEE_IN_BASE, QUERY_LAG, LOT_RULES)
KINDS = (*REQUESTS, *FRAMES, REFUSED, LATE_REJECTION, *STANDING)


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault as asked for, in JSON: only `kind` is needed."""

    kind: str
    path: str = "*"  # with * and ?, as in file names
    method: str = "*"
    match: str = ""  # in the text of a frame; without it every frame with data
    after: int = 0
    every: int = 1
    times: int | None = None
    chance: float = 1.0
    at_s: float = 0.0
    for_s: float | None = None
    every_s: float = 0.0
    ms: int = 0
    status: int = 503
    body: str | None = None
    retry_after_s: int | None = None
    acted: bool = False
    text: str = "\x00{garbage"
    instead: bool = False
    pair: str = ""
    trading: Literal["halted", "cancel_only"] = "halted"
    share: float = 0.1
    step: str = ""
    min_quantity: str = ""


class Told(msgspec.Struct):
    """A fault as it stands: how much it could have struck, how much it has, whether its time has come."""

    id: int
    fault: Fault
    seen: int
    struck: int
    active: bool


class _Set:
    """A fault that was set, with its own chance."""

    def __init__(self, number: int, fault: Fault, since_s: float, seed: int) -> None:
        self.number = number
        self.fault = fault
        self.from_s = since_s + fault.at_s
        self.until_s = None if fault.for_s is None else self.from_s + fault.for_s
        self.seen = 0
        self.struck = 0
        self._random = random.Random(f"{seed}/{number}/{fault.kind}")

    def active(self, now_s: float) -> bool:
        return self.from_s <= now_s and (self.until_s is None or now_s < self.until_s)

    def strikes(self) -> bool:
        """Counts one thing that it could strike."""
        fault = self.fault
        self.seen += 1
        place = self.seen - 1 - fault.after
        if place < 0 or place % fault.every or (fault.times is not None and self.struck >= fault.times):
            return False
        if fault.chance < 1.0 and self._random.random() >= fault.chance:
            return False
        self.struck += 1
        return True


class Faults:
    """All faults that are set. Times are seconds of one monotonic clock."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._set: dict[int, _Set] = {}
        self._last = 0
        self.on_frames = False  # whether a fault of messages is set, active or not: asked for every message
        self.skew_ms = 0  # what the standing ones amount to, as the gate last settled them
        self.maintenance = False

    def add(self, fault: Fault, now_s: float) -> int:
        """Sets a fault; returns its number. Raises ValueError, saying what is allowed, where it cannot be."""
        check(fault)
        if len(self._set) >= FAULTS_MOST:
            raise ValueError(f"{FAULTS_MOST} faults are set already: remove some")
        self._last += 1
        self._set[self._last] = _Set(self._last, fault, now_s, self._seed)
        self._look()
        return self._last

    def remove(self, number: int | None = None) -> bool:
        """Takes one fault or all away; False where there was none."""
        if number is None:
            found = bool(self._set)
            self._set.clear()
        else:
            found = self._set.pop(number, None) is not None
        self._look()
        return found

    def told(self, now_s: float) -> list[Told]:
        return [Told(one.number, one.fault, one.seen, one.struck, one.active(now_s)) for one in self._set.values()]

    def of(self, kinds: tuple[str, ...], now_s: float) -> list[Fault]:
        """The active faults of these kinds, in the order in which they were set; nothing is counted."""
        return [one.fault for one in self._set.values() if one.fault.kind in kinds and one.active(now_s)]

    def turns(self, now_s: float) -> list[float]:
        """When, after now, a fault begins or ends by the clock."""
        ends = [at_s for one in self._set.values() for at_s in (one.from_s, one.until_s) if at_s is not None]
        return sorted({at_s for at_s in ends if at_s > now_s})

    def request(self, method: str, path: str, now_s: float) -> list[Fault]:
        """What strikes a request."""
        return [one.fault for one in self._meeting(REQUESTS, path, now_s, method) if one.strikes()]

    def handshake(self, path: str, now_s: float) -> Fault | None:
        """What refuses a new socket."""
        return next((one.fault for one in self._meeting((REFUSED,), path, now_s) if one.strikes()), None)

    def frame(self, path: str, text: str, now_s: float) -> list[Fault]:
        """What strikes a message of a stream."""
        found = []
        for one in self._meeting(FRAMES, path, now_s):
            match = one.fault.match
            if not one.fault.every_s and (match in text if match else is_data(text)) and one.strikes():
                found.append(one.fault)
        return found

    def order(self, now_s: float) -> int | None:
        """How long after its acceptance (ms) an order is rejected; None where it is not."""
        for one in self._meeting((LATE_REJECTION,), "", now_s):
            if one.strikes():
                return one.fault.ms
        return None

    def _look(self) -> None:
        self.on_frames = any(one.fault.kind in FRAMES for one in self._set.values())

    def _meeting(self, kinds: tuple[str, ...], path: str, now_s: float, method: str = "") -> list[_Set]:
        return [
            one
            for one in self._set.values()
            if one.fault.kind in kinds
            and one.active(now_s)
            and (not path or fnmatch.fnmatchcase(path, one.fault.path))
            and (not method or one.fault.method in ("*", method))
        ]


def is_data(text: str) -> bool:
    """Whether a message of any of the faces tells of the market or the account, and is not the protocol's own."""
    return text.startswith(("42", '{"stream"', '{"e"', '{"u"', '{"subscriptionId"', '{"channel"'))


def check(fault: Fault) -> None:
    """Raises ValueError naming what of a fault cannot be."""
    if fault.kind not in KINDS:
        raise ValueError(f"kind {fault.kind!r}: there are {', '.join(KINDS)}")
    if fault.after < 0 or fault.every < 1 or (fault.times is not None and fault.times < 1):
        raise ValueError("after must be at least 0, every and times at least 1")
    if not (0.0 <= fault.chance <= 1.0 and 0.0 < fault.share <= 1.0):
        raise ValueError("chance must be 0 to 1, share above 0 and at most 1")
    if fault.at_s < 0 or fault.every_s < 0 or (fault.for_s is not None and fault.for_s <= 0):
        raise ValueError("at_s and every_s must be at least 0, for_s above 0")
    if fault.kind != CLOCK_SKEW and fault.ms < 0:
        raise ValueError("ms must be at least 0; clock_skew alone may be negative")
    if not 200 <= fault.status <= 599:
        raise ValueError("status must be 200 to 599")
    if fault.every_s and fault.kind != DISCONNECT:
        raise ValueError("every_s is for disconnect")
    if fault.kind == LOT_RULES and not (fault.pair and (fault.step or fault.min_quantity)):
        raise ValueError("lot_rules needs a pair, and a step or a min_quantity or both")
    for text in (fault.step, fault.min_quantity):
        if text and not _positive(text):
            raise ValueError(f"step and min_quantity are decimal text above 0, not {text!r}")


def _positive(text: str) -> bool:
    try:
        value = Decimal(text)
    except InvalidOperation:
        return False
    return value.is_finite() and value > 0


def decoded(data: bytes) -> list[Fault]:
    """The faults in a JSON text: one or a list. Raises ValueError saying what is wrong."""
    try:
        found = msgspec.json.decode(data, type=list[Fault] | Fault)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
    faults = found if isinstance(found, list) else [found]
    for fault in faults:
        check(fault)
    return faults


def scheduled(folder: Path) -> list[Fault]:
    """The faults of the schedule in a book's folder; none where there is no such file.

    Raises MisconfiguredError naming the file where it holds no faults.
    """
    path = folder / FILE
    try:
        return decoded(path.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise MisconfiguredError(f"{path} is no schedule of faults: {error}. Mend it or remove it.") from error
