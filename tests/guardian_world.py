"""A guardian's decisions over a venue of dictionaries, on a clock in the test's hands."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from core.clock import NS_PER_S
from core.lease import Lease, Position, Sale
from guardian import decide, messages
from guardian.messages import AskFree, AskPrice, LookUp, Release, Say, Send, WriteClaim
from venues.account import FILLED, MARKET, OPEN, REJECTED, SELL, Order
from venues.venue import Rules

PAIR = "B-BTC_USDT"
RULES = Rules(PAIR, "BTCUSDT", "BTC", "USDT", Decimal("0.1"), Decimal("0.001"), Decimal("0.001"), Decimal(5))
IDS = tuple(f"exit{n}" for n in range(1, 6))
LEASE_NS, LIVES_NS = 3 * NS_PER_S, 10 * NS_PER_S
TERMS = decide.Terms(LEASE_NS, LIVES_NS, ioc=True)
T0 = 1_000 * NS_PER_S
TURN_NS = NS_PER_S // 5
SEEN_NS = 500  # exchange time of the last trade that the trader saw


def held(quantity: str = "0.5", **changes: Any) -> Position:
    fields: dict[str, Any] = {
        "pair": PAIR,
        "key": IDS[0],
        "base": "BTC",
        "quantity": quantity,
        "step": "0.001",
        "highest": 100.0,
        "keep": 0.99,
        "price_ns": SEEN_NS,
        "exit_ids": IDS[:4],
    }
    return Position(**(fields | changes))


class World:
    """The venue answers at once unless `answer` says otherwise; `sent` are the orders that reached it."""

    def __init__(self, quantity: str = "0.5", free: str = "0.5", left: dict[str, Sale] | None = None) -> None:
        self.now_ns = T0
        self.position: Position | None = held(quantity)
        self.renewed_ns = T0
        self.fresh = True
        self.free = Decimal(free)
        self.price = 100.0
        self.orders: dict[str, Order] = {}
        self.sent: list[Send] = []
        self.claims: dict[str, Sale] = dict(left or {})
        self.said: list[Say] = []
        self.asked: list[str] = []
        self.guard = decide.Guard(TERMS, T0 - LEASE_NS, left)
        self.answer: Callable[[Any], messages.Event | None] = self.usual  # None: no answer yet

    # --- the clock and the lease ---

    def turn(self, seconds: float = 0.2) -> None:
        """Time passes; the guardian looks some times a second."""
        for _ in range(max(1, round(seconds * NS_PER_S / TURN_NS))):
            self.now_ns += TURN_NS
            if self.fresh:
                self.renewed_ns = self.now_ns
            self.look()

    def look(self) -> None:
        positions = () if self.position is None else (self.position,)
        lease = Lease("book", "boot", 1, 1, self.renewed_ns, positions)
        self.give(messages.Looked(lease, self.now_ns - self.renewed_ns))

    def dead(self, seconds: float = 3.2) -> None:
        """The trader stops renewing."""
        self.fresh = False
        self.turn(seconds)

    def give(self, event: messages.Event) -> None:
        waiting = [event]
        while waiting:
            for action in self.guard.handle(waiting.pop(0), self.now_ns):
                found = self.act(action)
                if found is not None:
                    waiting += found

    def act(self, action: messages.Action) -> list[messages.Event] | None:
        match action:
            case Say():
                self.said.append(action)
                return None
            case WriteClaim():
                self.claims[action.pair] = action.sale
                positions = () if self.position is None else (self.position,)
                lease = Lease("book", "boot", 1, 1, self.renewed_ns, positions)
                return [messages.Looked(lease, self.now_ns - self.renewed_ns), messages.Claimed(action.pair)]
            case Release():
                self.claims.pop(action.pair, None)
                return None
        self.asked.append(type(action).__name__)
        if isinstance(action, Send):
            assert action.pair in self.claims, "an order without a claim"
            self.claims[action.pair] = Sale(action.order_id, self.now_ns)
        event = self.answer(action)
        return None if event is None else [event]

    # --- the venue ---

    def usual(self, action: Any) -> messages.Event | None:
        match action:
            case AskPrice():
                return messages.Priced(PAIR, ((SEEN_NS + self.now_ns, self.price),))
            case LookUp():
                return messages.Found(PAIR, action.order_id, self.orders.get(action.order_id))
            case AskFree():
                return messages.Free(PAIR, self.free, RULES)
        self.sent.append(action)
        return messages.Found(PAIR, action.order_id, self.fill(action.order_id, action.quantity))

    def fill(self, order_id: str, quantity: Decimal, *, live: bool = False, filled: Decimal | None = None) -> Order:
        filled = quantity if filled is None else filled
        self.free -= filled
        self.orders[order_id] = order(order_id, quantity, filled, OPEN if live else FILLED)
        return self.orders[order_id]

    @property
    def sold(self) -> Decimal:
        return sum((one.filled for one in self.orders.values()), Decimal(0))

    def levels(self, level: str) -> list[str]:
        return [say.text for say in self.said if say.level == level]


def order(order_id: str, quantity: Decimal, filled: Decimal, status: str) -> Order:
    return Order(order_id, f"v{order_id}", "BTCUSDT", SELL, MARKET, quantity, filled, status)


def rejected(order_id: str) -> Order:
    return order(order_id, Decimal("0.5"), Decimal(0), REJECTED)
