"""What a comparison of journal and venue looks at: the two views, as plain data with the times that bound them.

A VenueView is gathered by `trader.venue_look` and holds the journal's view as it was when the look began; it is judged
by `trader.reconcile` against the journal as it is when the look is over. Whatever we send is in the journal before it
goes out: an order at the venue that the later view does not have is not one of ours under way.
"""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from core.clock import NS_PER_S
from trader.orders import TERMINAL, OrderState
from venues.account import Fill, Order
from venues.venue import Rules

MARGIN_MS = 120_000  # asked for once more: our times of orders are the market's, those of fills the account's
SKEW_MS = 5_000  # a fill may be told as so much older than our decision
ASKED_LEAST = 3  # times before an order counts as absent, over as long as a request may live


class Known(msgspec.Struct, frozen=True):
    """An order of the journal, working or over lately."""

    client_order_id: str
    pair: str
    side: str  # buy, sell
    state: OrderState
    quantity: Decimal
    step: Decimal  # the lot in which the journal counts it
    lots: int = 0  # filled
    cash: int = 0  # units, of its fills
    fills: frozenset[str] | None = None  # their venue ids; None: not kept
    venue_order_id: str = ""
    created_ms: int = 0
    resting: bool = False  # a stop that waits at the venue: it moves no quote
    in_hand: bool = False  # this process sent it or still may: its life is the live broker's to tell

    @property
    def over(self) -> bool:
        return self.state in TERMINAL


class Held(msgspec.Struct, frozen=True):
    """What the journal has of a pair's base coin: lots x step, what is left of a lot, and dust."""

    pair: str
    base: Decimal
    next_exit_id: str = ""  # which the guardian would use too; "" without a position


class JournalView(msgspec.Struct, frozen=True):
    """What the journal says."""

    prefix: str  # BOT_NAME
    orders: tuple[Known, ...] = ()
    held: tuple[Held, ...] = ()
    wallet: int = 0  # units of quote
    market_ms: int = 0  # newest exchange time that it has seen
    since_ms: int = 0  # fills before are recorded: time of the last check that agreed; 0: none has yet
    known_from_ms: int = 0  # every order of ours created from then on is in `orders` or `adopted`
    adopted: frozenset[str] = frozenset()  # ids of orders adopted whole

    def order(self, client_order_id: str) -> Known | None:
        return next((known for known in self.orders if known.client_order_id == client_order_id), None)


class Looked(msgspec.Struct, frozen=True):
    """An order that was asked for: None in each of `asked` answers since `first_ns`, or found by the last."""

    order: Order | None
    asked: int
    first_ns: int  # monotonic
    last_ns: int

    def certainly_absent(self, grace_ns: int) -> bool:
        """Whether it was asked for often enough, over as long as a request may still be taken."""
        return self.order is None and self.asked >= ASKED_LEAST and self.last_ns - self.first_ns >= grace_ns


class Balances(msgspec.Struct, frozen=True):
    """All balances, asked for when all fills known were over and before any other; free and locked together."""

    asked_ns: int  # monotonic
    amounts: Mapping[str, Decimal]

    def of(self, currency: str) -> Decimal:
        return self.amounts.get(currency, Decimal(0))


class VenueView(msgspec.Struct, frozen=True):
    """What the venue says. A pair that is missing in a mapping was not asked for, or `failures` say why."""

    journal: JournalView  # when the look began
    rules: tuple[Rules, ...]
    at_start: bool = False
    start: JournalView | None = None  # at a start: the journal as the first look found it
    ended_ns: int = 0  # monotonic
    grace_ns: int = 10 * NS_PER_S  # how long a request may still be taken
    open_orders: Mapping[str, tuple[Order, ...]] = {}  # by pair, others' too
    fills: Mapping[str, tuple[Fill, ...]] = {}  # by pair, others' too
    fills_from_ms: int = 0
    reach_ms: int | None = None  # fills before cannot be had, though they were wanted; None: all could
    balances: tuple[Balances, ...] = ()  # of at most two looks without a fill between them, oldest first
    orders: Mapping[str, Looked] = {}  # by client id
    by_venue_id: Mapping[str, Looked] = {}  # of fills whose order nothing else tells
    failures: tuple[str, ...] = ()  # what could not be asked, and why

    @property
    def nothing(self) -> bool:
        """Whether not one question was answered."""
        return not (self.open_orders or self.fills or self.balances)

    def whole(self, pair: str) -> bool:
        """Whether orders and fills of a pair were had."""
        return pair in self.open_orders and pair in self.fills

    def order(self, client_order_id: str, venue_order_id: str = "") -> Order | None:
        """What the venue says of an order of ours; that it is over is final."""
        looked = self.orders.get(client_order_id)
        found = [] if looked is None else [looked.order]
        for name, one in self.by_venue_id.items():
            if one.order is not None and (name == venue_order_id or one.order.client_order_id == client_order_id):
                found.append(one.order)
        found += [o for orders in self.open_orders.values() for o in orders if o.client_order_id == client_order_id]
        there = [order for order in found if order is not None]
        return next((order for order in there if not order.live), there[0] if there else None)


def since_ms(journal: JournalView) -> int:
    """From when on fills are asked for: the oldest order that is not over, or the last check that agreed.

    A book without a past begins now: what the account did before is not its own. 0: even now is not known.
    """
    begun = [known.created_ms for known in journal.orders if not known.over or not journal.since_ms]
    if journal.since_ms:  # beyond the market's time it is of another clock
        begun.append(min(journal.since_ms, journal.market_ms or journal.since_ms))
    return max(0, min(begun) - MARGIN_MS) if begun else journal.market_ms
