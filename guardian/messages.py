"""What the guardian's rules are told and what they want done; the rules themselves are in `guardian.decide`."""

from decimal import Decimal
from typing import NamedTuple

from core.lease import Lease, Sale
from venues.account import Order
from venues.venue import Rules

# --- events ----------------------------------------------------------------------------------------


class Looked(NamedTuple):
    """The lease was read; `age_ns` is None where it was never renewed in this boot."""

    lease: Lease | None
    age_ns: int | None


class Claimed(NamedTuple):
    """The claim is written, and a `Looked` after it was handed over."""

    pair: str


class Priced(NamedTuple):
    """Trades of a pair, oldest first: (exchange ns, price)."""

    pair: str
    trades: tuple[tuple[int, float], ...]


class Found(NamedTuple):
    """The order of that id, None where the venue knows none."""

    pair: str
    order_id: str
    order: Order | None


class Free(NamedTuple):
    """What is free of the pair's base coin, and the market's rules."""

    pair: str
    amount: Decimal
    rules: Rules


class Refused(NamedTuple):
    """The order was certainly not taken, and would not be."""

    pair: str
    order_id: str
    why: str


class Lost(NamedTuple):
    """Whether the order was taken is not known."""

    pair: str
    order_id: str
    why: str


class Failed(NamedTuple):
    """A question that brought no answer, or an order that was certainly not sent: later again."""

    pair: str
    action: str  # price, found, free, send
    why: str


Event = Looked | Claimed | Priced | Found | Free | Refused | Lost | Failed


# --- actions ---------------------------------------------------------------------------------------


class WriteClaim(NamedTuple):
    """Answered by a Looked and then Claimed."""

    pair: str
    sale: Sale


class Release(NamedTuple):
    """Nothing of the pair is in hand any more."""

    pair: str


class AskPrice(NamedTuple):
    """Answered by Priced or Failed."""

    pair: str


class LookUp(NamedTuple):
    """Answered by Found or Failed."""

    pair: str
    order_id: str
    venue_order_id: str


class AskFree(NamedTuple):
    """Answered by Free or Failed."""

    pair: str
    base: str


class Send(NamedTuple):
    """A sell; the claim names it before it goes out. Answered by Found, Refused, Lost or Failed."""

    pair: str
    order_id: str
    kind: str
    quantity: Decimal
    price: Decimal | None
    rules: Rules


class Say(NamedTuple):
    """What a person must know."""

    level: str
    text: str
    pair: str


Action = WriteClaim | Release | AskPrice | LookUp | AskFree | Send | Say
