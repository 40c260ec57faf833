"""A fold whose orders are real, with a broker that only notes what it is asked: the test says what the venue says."""

from decimal import Decimal
from typing import Any

from bus.messages import TraderEvent
from tests import trader_world as world
from trader import inputs
from trader.broker import BrokerEvent, Tick
from trader.engine import Engine
from trader.orders import OrderNews
from trader.reconcile import Reconciliation
from trader.replay import new_live_state
from trader.risk import Approved
from trader.state import Order, PairState
from trader.terms import MarketTerms, terms_of


class NotingBroker:
    """Keeps what was sent and cancelled, oldest first."""

    def __init__(self) -> None:
        self.sent: list[Order] = []
        self.cancelled: list[str] = []

    def submit(self, approved: Approved, tick: Tick, market: MarketTerms, fee: int) -> None:
        self.sent.append(approved.order)

    def cancel(self, order_id: str) -> None:
        self.cancelled.append(order_id)

    def match(self, tick: Tick, market: MarketTerms, fee: int, spendable: int) -> None:
        pass

    def take(self) -> list[BrokerEvent]:
        return []


class Venue(world.Live):
    """An engine with real orders: `tell` is the venue's word about the latest order sent."""

    def __init__(
        self, tape: world.Tape | None = None, wallet: str = "10000", *, agrees: bool = True, **changed: Any
    ) -> None:
        changed.setdefault("simulation_mode", "false")
        terms = terms_of(world.settings(**changed), world.HASH)
        state = new_live_state("j" * 32)
        self.broker = NotingBroker()
        engine = Engine(terms, state, self.broker)
        tape = tape or world.Tape()
        super().__init__(tape, engine, **changed)
        self.give(inputs.NewStart(1, 0, tape.start))
        if agrees:
            self.give(inputs.Checked(world_agrees(int(Decimal(wallet) * 10**8))))

    @property
    def pair(self) -> PairState:
        return next(iter(self.engine.sync().pairs.values()))

    @property
    def last(self) -> Order:
        return self.broker.sent[-1]

    def tell(self, news: OrderNews, order_id: str = "", **more: Any) -> list[TraderEvent]:
        """One result; fields of BrokerEvent by name."""
        return self.give(inputs.Told(BrokerEvent(order_id or self.last.id, news, **more)))

    def fill(
        self, lots: int, price: str, *, fee: str = "0", in_base: bool = False, order_id: str = "", whole: bool = True
    ) -> list[TraderEvent]:
        """A fill of the latest order: the fee in quote, or in the base coin."""
        order = self.last
        quantity, paid = lots * self.pair.step, Decimal(fee)
        buying = order.purpose == "entry"
        quote_fee = Decimal(0) if in_base else paid
        cash = Decimal(price) * quantity + (quote_fee if buying else -quote_fee)
        base = quantity if not in_base else quantity - paid if buying else quantity + paid
        return self.tell(
            OrderNews.ALL_FILLED if whole else OrderNews.PART_FILLED,
            order_id,
            lots=lots,
            price=Decimal(price),
            cash=int(cash * 10**8),
            fee=paid,
            fee_currency="BTC" if in_base else "USDT",
            quantity=quantity,
            base=base,
            venue_fill_id=f"f{len(self.events)}",
        )


def world_agrees(quote: int | None = None, **more: Any) -> Any:
    """A comparison that agrees."""
    return Reconciliation(at_start=more.pop("at_start", False), agreed=more.pop("agreed", True), quote=quote, **more)
