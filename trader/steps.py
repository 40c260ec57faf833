"""Words of an order's life at a venue: what it waits for, and what can become known of it. Plain data."""

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from trader.broker import BrokerEvent
from venues.account import BUY, SELL, Fill, Order
from venues.errors import VenueError
from venues.venue import Rules


class Step(StrEnum):
    """What an order waits for."""

    WAKE = "wake"  # no call: a time is over
    RULES = "rules"  # the market's rules
    BALANCE = "balance"  # how much of the base coin is free
    SEND = "send"
    CANCEL = "cancel"
    LOOK = "look"
    OPEN = "open"  # all open orders
    FILLS = "fills"


class Urgency(StrEnum):
    """What goes first."""

    EXIT = "0_exit"
    CANCEL = "1_cancel"
    STOP = "2_stop"  # that rests at the venue: to be sent
    UNKNOWN = "3_unknown"
    PROTECTS = "4_protects"  # a question that an exit or a position's protection waits for
    ENTRY = "5_entry"
    WORKING = "6_working"


# What is asked with it may use the share of the venue's limits that ordinary calls leave alone.
URGENT = frozenset({Urgency.EXIT, Urgency.CANCEL, Urgency.STOP, Urgency.UNKNOWN, Urgency.PROTECTS})


class Due(NamedTuple):
    """A step and from when on it may be taken."""

    urgency: Urgency
    at_ns: int
    step: Step


class Task(NamedTuple):
    """What is to be done: an order of the fold. `price` is the limit of limit and ioc, `near` the deciding price.

    Of an adopted order whose market is not known yet, base and quote are empty and the step is 0.
    """

    order_id: str
    pair: str
    base: str
    quote: str
    entry: bool
    kind: str
    lots: int
    step: Decimal
    price: Decimal | None
    near: Decimal
    decided_ms: int
    timeout_ns: int  # of an entry: unsent, and its rest at the venue
    lives_ns: int  # how long a request that was lost on its way may still be taken
    stop: Decimal | None = None  # price of a stop that rests at the venue

    @property
    def side(self) -> str:
        """buy or sell."""
        return BUY if self.entry else SELL


class Say(NamedTuple):
    """Words for a person: level (warn, error) and text."""

    level: str
    text: str


class Phase(StrEnum):
    """Where the order is, as far as we know."""

    INTENT = "intent"  # not on the disk yet
    READY = "ready"
    SENDING = "sending"
    REFUSED = "refused"  # by the venue's words: asked what would make another order of it
    UNKNOWN = "unknown"
    WORKING = "working"
    ENDED = "ended"


UNSENT = frozenset({Phase.INTENT, Phase.READY})


# --- what became known ---


class OnDisk(NamedTuple):
    """The intent of the order (or of its cancel) is on the disk."""

    cancel: bool = False


class CancelAsked(NamedTuple):
    """The fold wants it cancelled."""


class Nudged(NamedTuple):
    """The stream has news of it, or, not `surely`, may have missed some."""

    surely: bool = True


class Woke(NamedTuple):
    """The time is there that a WAKE was due for."""


class Dropped(NamedTuple):
    """It may not be sent."""

    why: str


class RulesRead(NamedTuple):
    """The market's rules, None where the venue lists it no more."""

    rules: Rules | None


class FreeRead(NamedTuple):
    """How much of the base coin the account has free."""

    amount: Decimal


class Created(NamedTuple):
    """The answer to SEND."""

    order: Order


class Cancelled(NamedTuple):
    """The venue takes the cancel; the order may still fill until it is told as over."""


class Found(NamedTuple):
    """The answer to LOOK."""

    order: Order | None


class Listed(NamedTuple):
    """The answer to OPEN."""

    orders: Sequence[Order]


class Filled(NamedTuple):
    """The answer to FILLS."""

    fills: Sequence[Fill]


class Failed(NamedTuple):
    """A call ended in an error."""

    step: Step
    error: VenueError


Event = (
    OnDisk
    | CancelAsked
    | Nudged
    | Woke
    | Dropped
    | RulesRead
    | FreeRead
    | Created
    | Cancelled
    | Found
    | Listed
    | Filled
    | Failed
)
Out = BrokerEvent | Say
