"""What a broker is, simulated or live: submit and cancel never block, results come back as events through `take`."""

from decimal import Decimal
from typing import NamedTuple, Protocol

from trader.orders import OrderNews
from trader.risk import Approved
from trader.terms import MarketTerms

MAX_WAITING = 10_000  # results not yet taken; a broker that has more stops and says so


class Tick(NamedTuple):
    """One trade as the fold sees it, its fields in the order of a record's.

    Raw from the tape it has only the first seven: then `codes` is 0 and the floats are nan.
    """

    flags: int
    pair: int
    ns: int
    price: float
    ticks: int
    lots: int
    number: int
    rsi: float
    bb_lower: float
    closed: int  # -1: not known
    codes: int
    settings_hash: int

    @property
    def ms(self) -> int:
        """Exchange time in ms."""
        return self.ns // 1_000_000


class BrokerEvent(NamedTuple):
    """A result: what happened to which order. Fills carry lots, price text, fee and the units moved in the wallet."""

    order_id: str
    news: OrderNews
    lots: int = 0
    price: Decimal = Decimal(0)
    cash: int = 0  # a buy's cost or a sell's proceeds, fees and taxes included
    fee: Decimal = Decimal(0)  # in `fee_currency`; cash = price x quantity +/- fee, to the last digit
    fee_currency: str = ""
    venue_order_id: str = ""
    venue_fill_id: str = ""
    time_ns: int = 0
    note: str = ""
    quantity: Decimal | None = None  # live: executed, gross, as the venue told it; None: lots x step
    base: Decimal | None = (
        None  # live: base coin moved: a buy's receipt, a sell's cost, a fee in base counted; None: lots x step
    )
    lacks: bool = False  # live: an exit is refused, and what is free of its coin is too little for any
    unsent: bool = False  # live: refused by us, it never left


class Broker(Protocol):
    """The contract. A live broker works on its own thread; a simulated one inside `match`."""

    def submit(self, approved: Approved, tick: Tick, market: MarketTerms, fee: int) -> None:
        """Sends an approved order; at most one per pair works at a time. Returns at once."""

    def cancel(self, order_id: str) -> None:
        """Asks to cancel; the order may still fill until CANCEL_DONE comes. Returns at once."""

    def match(self, tick: Tick, market: MarketTerms, fee: int, spendable: int) -> None:
        """Shows the market's trade to a simulated venue; a live broker ignores it."""

    def take(self) -> list[BrokerEvent]:
        """Results since the last call, oldest first."""
