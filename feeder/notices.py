"""What came on the stream and is no trade: counted by kind, told when a spell begins and ever more rarely."""

from core.clock import NS_PER_S, Clock
from feeder.backfill import Say
from venues.venue import SHUTDOWN, Notice

SPELL_NS = 300 * NS_PER_S  # this long after the last one of its kind, one is news again
IMPOSSIBLE = "impossible trade"


class Notices:
    """Takes notices. `say(level, text, pair)` tells."""

    def __init__(self, clock: Clock, say: Say) -> None:
        self._clock = clock
        self._say = say
        self.counts: dict[str, int] = {}  # by kind
        self._last_ns: dict[str, int] = {}  # when the last of each kind came

    @property
    def unknown_frames(self) -> int:
        """Frames that could not be read so far."""
        return sum(count for kind, count in self.counts.items() if kind != IMPOSSIBLE)

    def take(self, notice: Notice) -> bool:
        """Counts and tells; does it announce the connection's end?"""
        if notice.kind == SHUTDOWN:
            self._say("info", f"the venue will end this connection: {notice.text}", "")
            return True
        now_ns = self._clock.monotonic_ns()
        count = self.counts[notice.kind] = self.counts.get(notice.kind, 0) + 1
        quiet = now_ns - self._last_ns.get(notice.kind, 0) > SPELL_NS
        self._last_ns[notice.kind] = now_ns
        if quiet or str(count).rstrip("0") == "1":  # 1, 10, 100 ...
            self._say("warn", f"{notice.kind} on the stream, {count} so far: {notice.text}", "")
        return False
