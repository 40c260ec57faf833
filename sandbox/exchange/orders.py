"""What the exchange speaks with its faces: an order as asked for and as it stands, fills, balances, news, refusals.

Prices are ticks (10^-price_digits), quantities units (10^-quantity_digits) as in `sandbox.trades`; amounts of money are
atoms: whole numbers of 10^-8 of any asset. The properties give the same as Decimals. Times are ms of market time.
"""

from decimal import Decimal
from enum import Enum
from typing import NamedTuple

import msgspec

ATOM_DIGITS = 8
ATOMS = 100_000_000  # in 1 of any asset


class Side(Enum):
    BUY = "buy"
    SELL = "sell"


class Kind(Enum):
    LIMIT = "limit"
    MARKET = "market"


class InForce(Enum):
    """How long an order works: until cancelled, for a moment (the rest expires), or filled whole at once or never."""

    GTC = "gtc"
    IOC = "ioc"
    FOK = "fok"


class Trigger(Enum):
    """What wakes an order that waits: a price against it (a sale below, a purchase above) or for it."""

    STOP = "stop"
    TAKE_PROFIT = "take_profit"


class Status(Enum):
    OPEN = "open"  # nothing filled yet; also before its trigger
    PARTIAL = "partial"
    FILLED = "filled"
    CANCELED = "canceled"  # by its owner; may have fills
    EXPIRED = "expired"  # by itself (IOC, FOK, its time, no money left for the rest); may have fills
    REJECTED = "rejected"  # accepted first, thrown out later

    @property
    def working(self) -> bool:
        return self in (Status.OPEN, Status.PARTIAL)


class FeeIn(Enum):
    """In which coin the fee of an order is taken."""

    QUOTE = "quote"
    BASE = "base"


class Reason(Enum):
    """Why an order or a cancel was refused; a face has the venue's own code and words for each."""

    UNKNOWN_PAIR = "unknown_pair"
    MARKET_HALTED = "market_halted"
    CANCEL_ONLY = "cancel_only"
    KIND_NOT_ALLOWED = "kind_not_allowed"  # a combination that no venue has, such as a market order post-only
    PRICE_MISSING = "price_missing"
    PRICE_TICK = "price_tick"  # finer than the tick
    PRICE_BAND = "price_band"  # too far from the market, or not above 0
    QUANTITY_MISSING = "quantity_missing"
    QUANTITY_STEP = "quantity_step"
    QUANTITY_TOO_SMALL = "quantity_too_small"
    QUANTITY_TOO_LARGE = "quantity_too_large"
    NOTIONAL_TOO_SMALL = "notional_too_small"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    BAD_CLIENT_ID = "bad_client_id"
    DUPLICATE_CLIENT_ID = "duplicate_client_id"
    TOO_MANY_ORDERS = "too_many_orders"
    TOO_MANY_STOPS = "too_many_stops"
    WOULD_TAKE = "would_take"  # post-only
    WOULD_TRIGGER = "would_trigger"  # a stop on the wrong side of the market
    UNKNOWN_ORDER = "unknown_order"
    ORDER_FINISHED = "order_finished"


class Refusal(NamedTuple):
    """An order or cancel that was not accepted; `detail` is for the sandbox's log."""

    reason: Reason
    detail: str = ""


class NewOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order as asked for. A market order has a quantity, or a quote quantity to spend (buy) or to receive (sell)."""

    pair: str
    side: Side
    kind: Kind
    quantity: Decimal | None = None
    quote_quantity: Decimal | None = None
    price: Decimal | None = None
    in_force: InForce = InForce.GTC
    post_only: bool = False
    trigger: Trigger | None = None
    stop_price: Decimal | None = None
    client_id: str = ""
    fee_in: FeeIn | None = None  # None: as the venue's profile has it
    expires_ms: int | None = None
    tag: str = ""  # the face's own, kept with the order and never looked at


class Order(msgspec.Struct, kw_only=True):
    """An order as it stands. Events and queries give copies."""

    number: int
    account: str
    pair: str
    base: str
    quote: str
    price_digits: int
    quantity_digits: int
    side: Side
    kind: Kind
    in_force: InForce
    post_only: bool
    trigger: Trigger | None
    client_id: str
    fee_in: FeeIn
    tag: str
    ticks: int  # the limit; 0 for a market order
    stop_ticks: int  # 0 without a trigger
    units: int  # asked for; 0 where quote_atoms is the measure
    quote_atoms: int  # quote quantity of a market order, else 0
    maker_parts: int  # fee rates in force when it was accepted
    taker_parts: int
    created_ms: int
    updated_ms: int
    expires_ms: int | None = None
    rejected_from_ms: int | None = None  # a fault: thrown out at the first step at or after this time
    status: Status = Status.OPEN
    waiting: bool = False  # for its trigger
    taking: bool = False  # takes from the next print at the market's price; else it rests at its own
    filled_units: int = 0
    cost_raw: int = 0  # sum of ticks x units of its fills
    fee_raw: int = 0  # the same times the rate in parts; of units alone where the fee is taken in base
    cost: int = 0  # atoms of quote paid (buy, without a quote fee) or received (sell, before a quote fee)
    fee: int = 0  # atoms of `fee_asset`
    reserved: int = 0  # atoms locked for it: of quote for a buy, of base for a sale
    ended: str = ""  # why it ended where that was not its last fill

    @property
    def fee_asset(self) -> str:
        return self.quote if self.fee_in is FeeIn.QUOTE else self.base

    @property
    def remaining_units(self) -> int:
        return max(0, self.units - self.filled_units)

    @property
    def price(self) -> Decimal:
        return decimal_of(self.ticks, self.price_digits)

    @property
    def stop_price(self) -> Decimal:
        return decimal_of(self.stop_ticks, self.price_digits)

    @property
    def quantity(self) -> Decimal:
        return decimal_of(self.units, self.quantity_digits)

    @property
    def filled(self) -> Decimal:
        return decimal_of(self.filled_units, self.quantity_digits)

    @property
    def quote_quantity(self) -> Decimal:
        return decimal_of(self.quote_atoms, ATOM_DIGITS)

    @property
    def cost_amount(self) -> Decimal:
        return decimal_of(self.cost, ATOM_DIGITS)

    @property
    def fee_amount(self) -> Decimal:
        return decimal_of(self.fee, ATOM_DIGITS)

    @property
    def average_price(self) -> Decimal:
        """Exact up to 28 digits; 0 before the first fill."""
        if not self.filled_units:
            return Decimal(0)
        return Decimal(self.cost_raw) / self.filled_units / tens(self.price_digits)


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One fill; numbers rise by 1 over the whole exchange."""

    number: int
    order: int
    account: str
    client_id: str
    pair: str
    side: Side
    price_digits: int
    quantity_digits: int
    ticks: int
    units: int
    cost: int
    fee: int
    fee_asset: str
    maker: bool
    time_ms: int

    @property
    def price(self) -> Decimal:
        return decimal_of(self.ticks, self.price_digits)

    @property
    def quantity(self) -> Decimal:
        return decimal_of(self.units, self.quantity_digits)

    @property
    def cost_amount(self) -> Decimal:
        return decimal_of(self.cost, ATOM_DIGITS)

    @property
    def fee_amount(self) -> Decimal:
        return decimal_of(self.fee, ATOM_DIGITS)


class Balance(NamedTuple):
    """Atoms of one asset: usable, and held by open orders besides."""

    free: int
    locked: int

    @property
    def free_amount(self) -> Decimal:
        return decimal_of(self.free, ATOM_DIGITS)

    @property
    def locked_amount(self) -> Decimal:
        return decimal_of(self.locked, ATOM_DIGITS)


class What(Enum):
    """What happened to an order."""

    NEW = "new"
    TRIGGERED = "triggered"
    FILL = "fill"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"


class OrderNews(NamedTuple):
    """An order right after something happened to it; `fill` where that was a fill."""

    what: What
    order: Order
    fill: Fill | None
    time_ms: int


class BalanceNews(NamedTuple):
    """The balances of an account that changed."""

    account: str
    balances: dict[str, Balance]
    time_ms: int


News = OrderNews | BalanceNews


def tens(digits: int) -> int:
    """10^digits, for digits >= 0."""
    return int(10**digits)


def decimal_of(value: int, digits: int) -> Decimal:
    """value x 10^-digits, exactly, with `digits` decimals."""
    return Decimal(value).scaleb(-digits)


def steps_of(value: Decimal, digits: int) -> int | None:
    """How many 10^-digits a finite value >= 0 is; None where it is not a whole number of them or absurdly large."""
    if not value.is_finite() or value < 0 or value.adjusted() > 20:
        return None
    _, figures, exponent = value.normalize().as_tuple()
    assert isinstance(exponent, int)
    if exponent < -digits:
        return None
    return int("".join(map(str, figures))) * tens(exponent + digits) if figures else 0
