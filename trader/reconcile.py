"""What a comparison of the journal with the venue comes to: plain data that the fold applies."""

from decimal import Decimal

import msgspec

from trader.broker import BrokerEvent


class Orphan(msgspec.Struct, frozen=True):
    """An order of ours (by its id) that is over and that the journal does not know: the guardian's exit, for one."""

    pair: str
    client_order_id: str
    venue_order_id: str
    side: str  # buy, sell
    quantity: Decimal
    fills: tuple[BrokerEvent, ...]  # the last one says ALL_FILLED, or a CANCEL_DONE follows
    created_ms: int = 0


class Reconciliation(msgspec.Struct, frozen=True):
    """One comparison. Nothing in it depends on a clock: the same views give the same findings."""

    at_start: bool
    agreed: bool  # trading may go on
    told: tuple[BrokerEvent, ...] = ()  # for orders of the journal: fills that nobody recorded, ends, absences
    orphans: tuple[Orphan, ...] = ()
    external: tuple[tuple[str, Decimal], ...] = ()  # pair, base coin that is gone
    quote: int | None = None  # units of quote at the venue, where nothing of ours works or is unknown
    report: tuple[str, ...] = ()
