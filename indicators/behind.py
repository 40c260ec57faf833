"""Whether the fold keeps up with the feeder; said once when it does not, and once when it does again.

Behind is who has not folded what the feeder had published 2 s ago: its heartbeats say where it stood. A heartbeat that
waits in line behind frames arrives late itself; as a clock that is set looks the same, that must show twice in a row.
"""

from collections import deque

from core.clock import NS_PER_S

BEHIND_NS = 2 * NS_PER_S
BEATS_KEPT = 8

Told = tuple[str, str]  # level and text of an event


class Behind:
    """Fed with heartbeats, asked about once a second."""

    def __init__(self) -> None:
        self._beats: deque[tuple[int, int]] = deque(maxlen=BEATS_KEPT)  # last number published, arrival
        self._late_ns = 0
        self._late_before = False
        self._told = False

    def heard(self, last: int, late_ns: int, now_ns: int) -> None:
        """A heartbeat: the feeder stood at `last`, `late_ns` ago by the wall clock, and it arrived at `now_ns`."""
        self._beats.append((last, now_ns))
        self._late_ns = late_ns

    def begin(self) -> None:
        """Another tape: its numbers have nothing to do with those before."""
        self._beats.clear()

    def check(self, number: int, now_ns: int) -> Told | None:
        """What must be said now; `number` is the last record folded."""
        late = self._late_ns > BEHIND_NS
        late, self._late_before = late and self._late_before, late
        overdue = any(last > number and now_ns - arrived_ns >= BEHIND_NS for last, arrived_ns in self._beats)
        newest = self._beats[-1][0] if self._beats else number
        if (overdue or late) and not self._told:
            self._told = True
            lag = f"{newest - number} records" if overdue else f"{self._late_ns / NS_PER_S:.1f} s"
            return "warn", f"indicators are behind the feeder by {lag}: until they have caught up no entries are taken"
        if self._told and number >= newest and self._late_ns <= BEHIND_NS:
            self._told = False
            return "info", "indicators have caught up with the feeder"
        return None
