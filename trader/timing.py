"""How long orders and fills took, from the trades that caused them until they are on the disk and published.

Nothing here is known to the fold: it is told what the fold said, what the journal has taken, and when a real order's
request began to leave. An order or a fill counts from its trade where an update brought it, not BACKFILL and not older
than a minute when the fold decided. A request of which nothing left is not timed; it may leave later. A stop at
the venue is not timed: it is meant to wait.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from bus.messages import Entry, FillEvent, OrderEvent, TraderEvent
from bus.passage import OLDEST_NS
from bus.records import BACKFILL, UPDATE
from core.clock import Clock
from core.spans import Spans
from trader import inputs
from trader.courier import Sent
from trader.orders import TERMINAL, OrderState
from trader.state import STOP

T = TypeVar("T")

MAX_ORDERS = 10_000  # sent and without a fill yet; beyond that the oldest are no longer timed


class _Cause(NamedTuple):
    """What an event that waits for the disk came from."""

    decided_ns: int  # monotonic
    received_ns: int  # wall time of the trade's arrival at the feeder; 0 where it is not timed
    disk_ns: int = 0  # monotonic: when its intent was on the disk


class OrderTimes:
    """From the decision to the order, from order and trade to the fill, and to the wire where orders are `real`."""

    def __init__(self, clock: Clock, spans: Spans, *, real: bool = False) -> None:
        self._clock = clock
        self._real = real
        self._waiting: dict[str | int, _Cause] = {}  # by order id and fill number; as many as the journal lets wait
        self._sent_ns: dict[str, int] = {}  # by order id: when its intent was published, until its first fill
        self._unwritten: dict[str, _Cause] = {}  # by order id: real ones on the disk, until their request leaves
        self._decision_to_disk = spans.of("decision_to_disk")
        self._decision_to_order = spans.of("decision_to_order")
        self._trade_to_order = spans.of("trade_to_order")
        self._order_to_fill = spans.of("order_to_fill")
        self._trade_to_fill = spans.of("trade_to_fill")
        if real:
            self._disk_to_wire = spans.of("disk_to_wire")
            self._trade_to_wire = spans.of("trade_to_wire")
            self._wire_to_answer = spans.of("wire_to_answer")

    def decided(self, item: inputs.Input, events: Sequence[TraderEvent]) -> None:
        """The fold said `events` on an input; they go to the journal next."""
        now_ns = self._clock.monotonic_ns()
        for event in events:
            if isinstance(event, FillEvent):
                self._waiting[event.id] = _Cause(now_ns, self._received(item, event.at.record))
            elif isinstance(event, OrderEvent) and event.status == OrderState.SUBMITTING and event.type != STOP:
                self._waiting[event.client_order_id] = _Cause(now_ns, self._received(item, event.at.record))

    def published(self, entries: Sequence[Entry], disk_ns: int) -> None:
        """The journal has had these on the disk since `disk_ns` (monotonic), and they have gone out."""
        now_ns, wall_ns = self._clock.monotonic_ns(), self._clock.wall_ns()
        for entry in entries:
            event = entry.event
            if isinstance(event, FillEvent):
                self._filled(event, now_ns, wall_ns)
            elif isinstance(event, OrderEvent):
                self._ordered(event, now_ns, wall_ns, disk_ns)

    def sent(self, requests: Iterable[Sent]) -> None:
        """Requests to create that were answered, told before what came of them is published."""
        for one in requests:
            if not one.written_ns:
                continue
            # An exit that the disk does not take in time goes out while its intent still waits.
            cause = self._unwritten.pop(one.order_id, None) or self._waiting.get(one.order_id)
            if cause is None:
                continue
            if cause.disk_ns:
                self._disk_to_wire.record((one.written_ns - cause.disk_ns) / 1000)
            if cause.received_ns:
                since_ns = self._clock.monotonic_ns() - one.written_ns
                self._trade_to_wire.record((self._clock.wall_ns() - since_ns - cause.received_ns) / 1000)
            self._wire_to_answer.record((one.answered_ns - one.written_ns) / 1000)

    def _ordered(self, event: OrderEvent, now_ns: int, wall_ns: int, disk_ns: int) -> None:
        cause = self._waiting.pop(event.client_order_id, None)
        if cause is not None:
            self._decision_to_disk.record((disk_ns - cause.decided_ns) / 1000)
            if self._real:
                _remember(self._unwritten, event.client_order_id, cause._replace(disk_ns=disk_ns))
            self._decision_to_order.record((now_ns - cause.decided_ns) / 1000)
            if cause.received_ns:
                self._trade_to_order.record((wall_ns - cause.received_ns) / 1000)
            if event.type != STOP:  # which is not to fill at once
                _remember(self._sent_ns, event.client_order_id, now_ns)
        elif event.status in TERMINAL:
            self._sent_ns.pop(event.client_order_id, None)
            self._unwritten.pop(event.client_order_id, None)

    def _filled(self, event: FillEvent, now_ns: int, wall_ns: int) -> None:
        cause = self._waiting.pop(event.id, None)
        sent_ns = self._sent_ns.pop(event.client_order_id, None)
        if sent_ns is not None:
            self._order_to_fill.record((now_ns - sent_ns) / 1000)
        if cause is not None and cause.received_ns:
            self._trade_to_fill.record((wall_ns - cause.received_ns) / 1000)

    def _received(self, item: inputs.Input, record: int) -> int:
        """When the trade with that number arrived at the feeder, 0 where it is not to be timed."""
        if not isinstance(item, inputs.Updates):
            return 0
        records = np.frombuffer(item.records, UPDATE)
        place = int(np.searchsorted(records["number"], record))
        if place == len(records) or records["number"][place] != record or records["flags"][place] & BACKFILL:
            return 0
        received_ns = int(records["received_ns"][place])
        return received_ns if self._clock.wall_ns() - received_ns <= OLDEST_NS else 0


def _remember(known: dict[str, T], order_id: str, what: T) -> None:
    known[order_id] = what
    if len(known) > MAX_ORDERS:
        del known[next(iter(known))]
