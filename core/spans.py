"""The latencies of one stage by name: how long what a trade sets off takes, step by step.

A span is recorded by the stage in which it ends, in microseconds. Those that stages record:

    feeder      arrival_to_publish    a trade's arrival at the socket, until it is on the tape and published
    indicators  publish_to_arrival    the way over the bus, waiting for this stage included
                arrival_to_update     own work, until the update is published
                trade_to_update       all of it since the trade's arrival at the feeder
    trader      update_to_arrival     the way over the bus, waiting for this stage included
                arrival_to_decision   own work, until the fold has decided, be it for an order or for nothing
                trade_to_decision     all of it since the trade's arrival at the feeder
                decision_to_disk      until the order's intent is on the disk: the journal's fsync
                decision_to_order     until the order's intent is on the disk and published
                trade_to_order        all of it since the deciding trade's arrival
                disk_to_wire          real orders: from the intent on the disk until the request's first byte leaves
                trade_to_wire         all of it since the deciding trade's arrival
                wire_to_answer        until the venue's whole answer is there, or known to be lost
                order_to_fill         from the published intent to the first fill, on the disk and published
                trade_to_fill         since the filling trade's arrival; on paper the fill needs nothing else
    storage     event_to_row          the oldest message of a batch since it was published, until its rows are committed
    dashboard   change_to_page        a change since it was published, until it is encoded for who looks at it
"""

from collections.abc import Iterator

from core.clock import Clock
from core.histogram import Histogram, Window

Windows = tuple[Window, Window]  # the last minute, the last hour
Told = dict[str, Windows]  # by span


class Spans:
    """A histogram by name; a name exists from when it is first asked for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._histograms: dict[str, Histogram] = {}

    def of(self, name: str) -> Histogram:
        """The histogram of a span, to be kept by who records it."""
        found = self._histograms.get(name)
        if found is None:
            found = self._histograms[name] = Histogram(self._clock)
        return found

    def told(self) -> Told:
        """All spans as the heartbeat carries them."""
        return dict(self.tell())

    def tell(self) -> Iterator[tuple[str, Windows]]:
        """As `told`, one by one: each is worked out when it is asked for."""
        for name, histogram in list(self._histograms.items()):
            yield name, (histogram.minute(), histogram.hour())
