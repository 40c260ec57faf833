"""How long orders and fills took, from the trades that caused them until they are on the disk and published.

Nothing here is known to the fold: it is told what the fold said and what the journal has taken. An order or a fill
counts from its trade where an update brought it, not BACKFILL and not older than a minute when the fold decided.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bus.messages import Entry, FillEvent, OrderEvent, TraderEvent
from bus.passage import OLDEST_NS
from bus.records import BACKFILL, UPDATE
from core.clock import Clock
from core.spans import Spans
from trader import inputs
from trader.orders import TERMINAL, OrderState

MAX_ORDERS = 10_000  # sent and without a fill yet; beyond that the oldest are no longer timed


class _Cause(NamedTuple):
    """What an event that waits for the disk came from."""

    decided_ns: int  # monotonic
    received_ns: int  # wall time of the trade's arrival at the feeder; 0 where it is not timed


class OrderTimes:
    """From the decision to the order, and from order and trade to the fill."""

    def __init__(self, clock: Clock, spans: Spans) -> None:
        self._clock = clock
        self._waiting: dict[str | int, _Cause] = {}  # by order id and fill number; as many as the journal lets wait
        self._sent_ns: dict[str, int] = {}  # by order id: when its intent was published, until its first fill
        self._decision_to_order = spans.of("decision_to_order")
        self._trade_to_order = spans.of("trade_to_order")
        self._order_to_fill = spans.of("order_to_fill")
        self._trade_to_fill = spans.of("trade_to_fill")

    def decided(self, item: inputs.Input, events: Sequence[TraderEvent]) -> None:
        """The fold said `events` on an input; they go to the journal next."""
        now_ns = self._clock.monotonic_ns()
        for event in events:
            if isinstance(event, FillEvent):
                self._waiting[event.id] = _Cause(now_ns, self._received(item, event.at.record))
            elif isinstance(event, OrderEvent) and event.status == OrderState.SUBMITTING:
                self._waiting[event.client_order_id] = _Cause(now_ns, self._received(item, event.at.record))

    def published(self, entries: Sequence[Entry]) -> None:
        """The journal has these on the disk, and they have gone out."""
        now_ns, wall_ns = self._clock.monotonic_ns(), self._clock.wall_ns()
        for entry in entries:
            event = entry.event
            if isinstance(event, FillEvent):
                self._filled(event, now_ns, wall_ns)
            elif isinstance(event, OrderEvent):
                self._ordered(event, now_ns, wall_ns)

    def _ordered(self, event: OrderEvent, now_ns: int, wall_ns: int) -> None:
        cause = self._waiting.pop(event.client_order_id, None)
        if cause is not None:
            self._decision_to_order.record((now_ns - cause.decided_ns) / 1000)
            if cause.received_ns:
                self._trade_to_order.record((wall_ns - cause.received_ns) / 1000)
            self._sent_ns[event.client_order_id] = now_ns
            if len(self._sent_ns) > MAX_ORDERS:
                del self._sent_ns[next(iter(self._sent_ns))]
        elif event.status in TERMINAL:
            self._sent_ns.pop(event.client_order_id, None)

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
