"""Whatever comes in whatever order: the guardian never sells more than is held or free, and never an order twice.

Drawn are lost, late, refused and partial orders, answers that wait, kills of the guardian at any point, and a trader
that dies and comes back by the rules of `core.lease`. The venue takes an id twice, as some do once an order is over.
"""

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.clock import NS_PER_S
from guardian import decide, messages
from guardian.messages import AskFree, AskPrice, LookUp, Send
from tests.guardian_world import IDS, LIVES_NS, PAIR, RULES, SEEN_NS, TERMS, World, held, order
from venues.account import CANCELLED, FILLED

HELD = Decimal("0.5")
FATES = ("taken", "partial", "lost_taken", "lost", "lost_late", "refused", "refused_there", "not_sent", "late_reject")

turns = st.tuples(st.just("turn"), st.integers(1, 60))
steps = st.one_of(
    turns,
    turns,
    st.tuples(st.just("price"), st.sampled_from([90.0, 98.9, 99.5, 100.0, 120.0])),
    st.tuples(st.just("trader"), st.booleans()),
    st.tuples(st.just("fate"), st.sampled_from(FATES)),
    st.tuples(st.just("slow"), st.booleans()),
    st.tuples(st.just("silent"), st.booleans()),
    st.tuples(st.just("kill"), st.integers(0, 2)),
    st.tuples(st.just("deposit"), st.sampled_from(["0.1", "5"])),
    st.tuples(st.just("moved_away"), st.sampled_from(["0.1", "0.5"])),
)


class Restless(World):
    """The world with fates, delays, kills and a trader."""

    def __init__(self) -> None:
        super().__init__()
        self.fate = "taken"
        self.slow = self.silent = False
        self.waiting: list[messages.Event] = []
        self.arrivals: list[tuple[int, Send]] = []
        self.taken: list[str] = []  # ids as the venue took them
        self.back = True  # the trader runs
        self.seen = 0
        self.writes = 0
        self.looked = False

    def do(self, kind: str, value: Any) -> None:
        match kind:
            case "turn":
                for _ in range(value):
                    self.turn()
            case "price":
                self.price = value
            case "trader":
                self.back = value
                self.fresh = self.fresh and value
                self.looked = False
            case "fate":
                self.fate = value
            case "slow":
                self.slow = value
            case "silent":
                self.silent = value
            case "kill":
                self.waiting = []
                self.guard = decide.Guard(TERMS, self.now_ns, dict(self.claims))
            case "deposit":
                self.free += Decimal(value)
            case "moved_away":
                self.free = max(Decimal(0), self.free - Decimal(value))

    def turn(self, seconds: float = 0.2) -> None:
        due = [send for at_ns, send in self.arrivals if at_ns <= self.now_ns]
        self.arrivals = [row for row in self.arrivals if row[0] > self.now_ns]
        for send in due:
            self.take(send)
        self._trader()
        super().turn(seconds)
        if self.waiting and not self.silent:
            waiting, self.waiting = self.waiting, []
            for event in waiting:
                self.give(event)

    def _trader(self) -> None:
        """It compares, and acts again where the guardian has nothing in hand and had nothing since."""
        if not self.back or self.fresh:
            return
        if self.looked and self.seen == self.writes and not self.claims:
            left = HELD - self.sold
            self.position = (
                held(str(left), exit_ids=tuple(x for x in MANY if x not in self.orders)[:4]) if left else None
            )
            self.fresh = True
            return
        self.seen, self.looked = self.writes, True

    def act(self, action: messages.Action) -> list[messages.Event] | None:
        if isinstance(action, messages.WriteClaim | messages.Release | Send):
            self.writes += 1
        if isinstance(action, Send):
            assert not self.fresh
            self.sent.append(action)
        return super().act(action)

    def usual(self, action: Any) -> messages.Event | None:
        event = self.event(action)
        if self.slow or self.silent:
            self.waiting.append(event)
            return None
        return event

    def event(self, action: Any) -> messages.Event:
        match action:
            case AskPrice():
                return messages.Priced(PAIR, ((SEEN_NS + self.now_ns, self.price),))
            case LookUp():
                return messages.Found(PAIR, action.order_id, self.orders.get(action.order_id))
            case AskFree():
                return messages.Free(PAIR, self.free, RULES)
        return self.sending(action)

    def sending(self, send: Send) -> messages.Event:
        name = send.order_id
        match self.fate:
            case "taken" | "partial":
                self.take(send)
            case "lost_taken":
                self.take(send)
                return messages.Lost(PAIR, name, "no answer")
            case "lost_late":
                self.arrivals.append((self.now_ns + LIVES_NS - NS_PER_S, send))
                return messages.Lost(PAIR, name, "no answer")
            case "lost":
                return messages.Lost(PAIR, name, "no answer")
            case "refused":
                return messages.Refused(PAIR, name, "no")
            case "refused_there":
                self.take(send)
                return messages.Refused(PAIR, name, "this id is known")
            case "not_sent":
                return messages.Failed(PAIR, "send", "no room")
            case _:
                self.orders[name] = order(name, send.quantity, Decimal(0), "rejected")
        return (
            messages.Found(PAIR, name, self.orders[name])
            if name in self.orders
            else messages.Refused(PAIR, name, "funds")
        )

    def take(self, send: Send) -> None:
        """The venue's side of an order: refused where the coin is not there."""
        if send.quantity > self.free:
            return
        self.taken.append(send.order_id)
        filled = send.quantity if self.fate != "partial" else RULES.min_quantity
        self.free -= filled
        status = FILLED if filled == send.quantity else CANCELLED
        self.orders[send.order_id] = order(send.order_id, send.quantity, filled, status)


MANY = (*IDS, *(f"more{n}" for n in range(40)))


@given(st.sampled_from(FATES), st.booleans(), st.lists(steps, min_size=5, max_size=60))
def test_nothing_is_ever_sold_twice_or_beyond_what_is_held(
    fate: str, killed: bool, drawn: list[tuple[str, Any]]
) -> None:
    world = Restless()
    begin = [("deposit", "5"), ("price", 98.9), ("fate", fate), ("trader", False), ("turn", 17)]
    kill = [("kill", 0), ("turn", 20)] if killed else []
    for kind, value in [*begin, *kill, *drawn]:
        world.do(kind, value)
        assert len(world.taken) == len(set(world.taken)), world.taken
        assert world.sold <= HELD
        assert world.free >= 0


@given(st.lists(steps, max_size=30))
def test_once_all_is_quiet_it_is_flat_and_nothing_is_claimed(drawn: list[tuple[str, Any]]) -> None:
    world = Restless()
    for kind, value in drawn:
        world.do(kind, value)
    world.slow = world.silent = False
    world.fate, world.price, world.free = "taken", 90.0, Decimal(9)
    world.do("trader", True)
    for _ in range(300):  # the trader comes back, and takes up what was sold
        world.turn()
    assert world.fresh
    assert world.claims == {}
    world.do("trader", False)
    for _ in range(150):
        world.turn()
    left = HELD - world.sold
    assert left * 90 < RULES.min_notional
    assert world.claims == {}
