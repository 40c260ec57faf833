"""The live broker behind the broker's contract: nothing here waits, the courier's threads do.

* Intent first: `mark` says to which journal entry belongs what was submitted or cancelled since the last mark, and
  `committed` that it is on the disk; then it goes out (see `trader.tracking` for what the disk does not take in time).
* Whatever is submitted is approved by the risk gate, and no id twice.
* Adopted orders are looked up, never sent.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from decimal import Decimal

from core.clock import Clock
from trader.broker import BrokerEvent, Tick
from trader.courier import Courier, Deliver, Sent, Speak
from trader.executed import Before
from trader.risk import Approved
from trader.state import ENTRY, STOP, Order
from trader.steps import CancelAsked, OnDisk, Task
from trader.terms import NS_PER_MS, NS_PER_S, MarketTerms
from trader.tracking import Tracking
from venues.account import IOC, LIMIT, Account
from venues.rest import written_ns
from venues.venue import Rules


class LiveBroker:
    """Meets the broker contract; every method belongs to the stage's thread and returns at once.

    `deliver`, `say(level, text)`: called on a worker's thread. `may_send()`: '' or why nothing may be sent now; it must
    not block. `markets` asks the venue for its markets and may block.
    """

    def __init__(
        self,
        account: Account,
        markets: Callable[[], list[Rules]],
        clock: Clock,
        deliver: Deliver,
        may_send: Callable[[], str] = lambda: "",
        entry_timeout_ms: int = 5000,
        say: Speak = lambda level, text: None,
        *,
        start: bool = True,
    ) -> None:
        self.courier = Courier(account, markets, clock, deliver, may_send, say, written_ns)
        self._lives_ns = int(account.capabilities.request_lives_s * NS_PER_S)
        self._timeout_ns = entry_timeout_ms * NS_PER_MS
        self._unmarked: list[tuple[str, OnDisk]] = []
        self._marked: deque[tuple[int, str, OnDisk]] = deque()
        if start:
            self.courier.start()

    # --- the contract -----------------------------------------------------------------------------------

    def submit(self, approved: Approved, tick: Tick, market: MarketTerms, fee: int) -> None:
        """Takes an order; it goes out once its intent is on the disk. Raises BotError where a worker died."""
        if not isinstance(approved, Approved):
            raise TypeError(f"a broker takes only what the risk gate approved, not {approved!r}")
        self.courier.check()
        order = approved.order
        task = self._task(order, market)
        self.courier.add(Tracking(task, self.courier.now_ns(), self.courier.rules(order.pair)), [])
        self._unmarked.append((order.id, OnDisk()))

    def cancel(self, order_id: str) -> None:
        """Asks for a cancel; the order may still fill until it is told as over."""
        self.courier.check()
        self.courier.handle(order_id, CancelAsked())
        self._unmarked.append((order_id, OnDisk(cancel=True)))

    def match(self, tick: Tick, market: MarketTerms, fee: int, spendable: int) -> None:
        """Nothing: the venue matches."""

    def take(self) -> list[BrokerEvent]:
        """Nothing: results come through `deliver` and the journal."""
        return []

    # --- besides ----------------------------------------------------------------------------------------

    def mark(self, number: int) -> None:
        """What was submitted or cancelled since the last mark belongs to journal entry `number`."""
        self.courier.check()
        self._marked += [(number, order_id, event) for order_id, event in self._unmarked]
        self._unmarked = []

    def committed(self, number: int) -> None:
        """Entries up to `number` are on the disk: what waits for them goes out."""
        self.courier.check()
        while self._marked and self._marked[0][0] <= number:
            _, order_id, event = self._marked.popleft()
            self.courier.handle(order_id, event)

    def adopt(
        self,
        orders: Iterable[Order],
        markets: Mapping[str, MarketTerms] | None = None,
        fills: Mapping[str, Collection[str]] | None = None,
        since_ns: Mapping[str, int] | None = None,
    ) -> None:
        """Orders of the state that are not over, after a start.

        Lots count in the steps of `markets`, of the venue's rules where it is not there. `fills`: by order, the ids of
        the fills that the journal has; without them they are told apart by their totals. `since_ns`: by order, when it
        can have been sent at the latest (monotonic); where that is not known, now.
        """
        for order in orders:
            known = frozenset((fills or {}).get(order.id, ()))
            before = Before(order.filled, order.cash, known or None)
            task = self._task(order, (markets or {}).get(order.pair))
            now_ns = self.courier.now_ns()
            since = (since_ns or {}).get(order.id)
            self.courier.add(*Tracking.adopted(task, order.state, order.venue_order_id, before, now_ns, since))

    def nudge(self, order_id: str = "", *, surely: bool = True) -> None:
        """Looks at it (or at all) now; the id may be ours or the venue's."""
        self.courier.nudge(order_id, surely=surely)

    def drop(self, why: str) -> None:
        """Drops all that was not sent yet: it is told as refused."""
        self.courier.drop(why)

    def sent(self) -> list[Sent]:
        """Requests to create that were answered since the last call, oldest first."""
        stamps = self.courier.sent
        return [stamps.popleft() for _ in range(len(stamps))]

    @property
    def settled(self) -> bool:
        """Whether nothing is unsent, under way, unknown or working, and all is told."""
        return self.courier.settled

    def close(self, timeout_s: float) -> None:
        """Ends the threads; what is unsent stays unsent."""
        self.courier.close(timeout_s)

    def _task(self, order: Order, market: MarketTerms | None) -> Task:
        tick = Decimal(0) if market is None else market.scale.tick
        limited = order.kind in (LIMIT, IOC) and order.limit_ticks > 0
        return Task(
            order_id=order.id,
            pair=order.pair,
            base="" if market is None else market.base,
            quote="" if market is None else market.quote,
            entry=order.purpose == ENTRY,
            kind=order.kind,
            lots=order.lots,
            step=Decimal(0) if market is None else market.scale.step,
            price=order.limit_ticks * tick if limited else None,
            near=order.ticks * tick,
            decided_ms=order.created_ms,
            timeout_ns=self._timeout_ns,
            lives_ns=self._lives_ns,
            stop=order.stop_ticks * tick if order.kind == STOP else None,
        )
