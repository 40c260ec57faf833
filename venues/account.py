"""What every venue's account side offers to the trader: one contract, plain data in and out.

Calls block and are made from worker threads; each thread has its own Session in `venues.rest`. Amounts are Decimal from
the venue's text to the order's text. Orders are known by the client id that we give them: the venue's own id is kept,
but nothing relies on it. Times are milliseconds since 1970 UTC by the venue's clock.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol

import msgspec

from venues.venue import Notice, Rules

BUY, SELL = "buy", "sell"

# Kinds of order. `stop` rests at the venue and sells at the market once the price has fallen to `stop_price`.
MARKET, LIMIT, IOC, POST_ONLY, STOP = "market", "limit", "ioc", "post_only", "stop"

# States of an order. Live: pending (accepted, not yet on the book), open, partially_filled.
# Over: filled, cancelled (perhaps with fills), rejected (never filled), expired (perhaps with fills).
PENDING, OPEN, PARTIALLY_FILLED = "pending", "open", "partially_filled"
FILLED, CANCELLED, REJECTED, EXPIRED = "filled", "cancelled", "rejected", "expired"
LIVE_STATES = frozenset({PENDING, OPEN, PARTIALLY_FILLED})
OVER_STATES = frozenset({FILLED, CANCELLED, REJECTED, EXPIRED})

# How long a client id protects against a second order with the same id.
UNIQUE_WHILE_OPEN, UNIQUE_FOR_EVER, UNIQUE_UNKNOWN = "while_open", "for_ever", "unknown"


class NewOrder(msgspec.Struct, frozen=True):
    """An order to send; quantity and prices are on the market's steps already."""

    rules: Rules
    client_order_id: str
    side: str  # buy, sell
    kind: str  # market, limit, ioc, post_only, stop
    quantity: Decimal
    price: Decimal | None = None  # of limit, ioc and post_only
    stop_price: Decimal | None = None  # of stop
    urgent: bool = False  # an exit: it may use the share of the limits that is kept for exits


class Order(msgspec.Struct, frozen=True):
    """An order as the venue tells it."""

    client_order_id: str  # "" where it has none
    venue_order_id: str
    symbol: str  # the venue's own name for orders
    side: str
    kind: str  # "" where it is none of ours
    quantity: Decimal
    filled: Decimal
    status: str
    price: Decimal | None = None  # limit price
    average_price: Decimal | None = None  # of what was filled
    created_ms: int = 0  # 0 where the venue does not say
    updated_ms: int = 0
    reason: str = ""  # the venue's own words for how it ended
    fills: tuple["Fill", ...] = ()  # where the answer to `create` tells them

    @property
    def live(self) -> bool:
        return self.status in LIVE_STATES


class Fill(msgspec.Struct, frozen=True):
    """One execution of an own order; (symbol, venue_fill_id) tells it from every other."""

    venue_fill_id: str
    venue_order_id: str
    client_order_id: str  # "" where the venue does not repeat it
    symbol: str
    side: str
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_currency: str  # as in `Rules.base` and `Rules.quote`, or a third one
    time_ms: int
    maker: bool | None = None


class Balance(msgspec.Struct, frozen=True):
    """What the account has of one currency; `free` can be spent, `locked` is held by open orders besides."""

    currency: str  # as in `Rules.base` and `Rules.quote`
    free: Decimal
    locked: Decimal


class KeyRights(msgspec.Struct, frozen=True):
    """What the key in use may do; None where the venue does not tell."""

    trade: bool | None = None
    withdraw: bool | None = None
    bound_to_address: bool | None = None  # it works from named addresses alone


class OrderNews(NamedTuple):
    """The account stream: an order changed. A nudge to ask; what it lacks is empty. REST is the truth."""

    client_order_id: str
    venue_order_id: str
    symbol: str
    status: str


class FillNews(NamedTuple):
    """The account stream: an own order was filled in part or whole."""

    fill: Fill


class BalanceNews(NamedTuple):
    """The account stream: what changed, not the whole account; empty where the venue does not tell what orders hold."""

    balances: tuple[Balance, ...]


News = OrderNews | FillNews | BalanceNews | Notice


class AccountCapabilities(msgspec.Struct, frozen=True):
    """What a venue can do with orders; the trader asks this, never the venue's name."""

    native_stop: bool
    native_trailing: bool
    ioc: bool
    post_only: bool
    client_id_unique: str  # while_open, for_ever, unknown
    client_id_max: int  # characters
    client_id_lookup: bool  # an order can be asked for by its client id alone
    fills_reach_ms: int | None  # how far back own fills can be had; None: without limit
    stream: bool  # own orders and fills are told on a stream
    clock_step_ms: int  # the venue tells its time in steps of so much
    request_lives_s: float = 10.0  # how long a request that was lost on its way may still be taken


class AccountStream(Protocol):
    """One connection that tells of own orders, fills and balances."""

    async def read(self) -> Sequence[News]:
        """Waits until something arrived and hands over all of it; `Retry` when the connection is lost."""
        ...

    async def close(self) -> None: ...


class Account(Protocol):
    """The private side of a venue. Every method may raise the errors of `venues.errors`.

    `create` raises OutcomeUnknown where the order may have been taken; `cancel` and all that only asks raise Retry.
    """

    name: str
    capabilities: AccountCapabilities

    def server_time_ms(self) -> int:
        """The venue's clock; measures the offset that signed requests go by."""
        ...

    def balances(self, *, urgent: bool = False) -> list[Balance]:
        """Currencies of which there is something. `urgent`, here and below: an exit or the protection of a position
        waits for it, and it may use the share of the limits that is kept for exits."""
        ...

    def create(self, order: NewOrder) -> Order:
        """Sends an order, once. Raises Rejected where it was certainly not taken."""
        ...

    def order(
        self, rules: Rules, client_order_id: str, venue_order_id: str = "", *, urgent: bool = False
    ) -> Order | None:
        """The order of that client id, open or over, None where the venue knows none (now: it may lag behind).

        Without the venue's id it is an order whose answer was lost: the look-up is as urgent as an exit.
        """
        ...

    def cancel(self, rules: Rules, client_order_id: str, venue_order_id: str = "") -> None:
        """Asks to cancel; accepted is not yet cancelled (`order` tells). Raises Rejected where nothing is to cancel."""
        ...

    def open_orders(self, rules: Rules, *, urgent: bool = False) -> list[Order]: ...

    def fills(self, rules: Rules, since_ms: int, *, urgent: bool = False) -> list[Fill]:
        """Own fills of a market since a time, oldest first, each once, in as many requests as it takes."""
        ...

    def fees_bps(self, rules: Rules) -> tuple[Decimal, Decimal] | None:
        """(taker, maker) of this account in basis points; None where the venue does not tell."""
        ...

    def key_rights(self) -> KeyRights:
        """What this key may do, as far as the venue tells; asks, and changes nothing."""
        ...

    async def open_stream(self, rules: Sequence[Rules]) -> AccountStream:
        """Connects and subscribes; returns once the venue has acknowledged it where it does that."""
        ...

    def close(self) -> None: ...
