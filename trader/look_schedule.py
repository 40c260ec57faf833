"""When the venue is looked at: at once at a start, then every RECONCILE_SECONDS, sooner where something is open. Pure.

* The first look is due at once.
* After a look that agreed the next one is due RECONCILE_SECONDS later.
* After one that did not agree it is due 3 s later, the first six times; then each time twice as late.
* While nothing can be asked it is due 1, 2, 4, ... seconds later.
* Never later than RECONCILE_SECONDS.
* Who asks for a look gets it a second after the last one ended, at the soonest.
* One look at a time.
"""

from core.clock import NS_PER_S

AGAIN_S = 3.0  # balances and queries that lag have caught up by then, mostly
AGAIN_TIMES = 6
AWAY_S = 1.0
GAP_S = 1.0


class Schedule:
    """Times are monotonic nanoseconds."""

    def __init__(self, every_s: float, now_ns: int) -> None:
        self._every_s = every_s
        self._due_ns = now_ns
        self._ended_ns = now_ns - int(GAP_S * NS_PER_S)
        self._looking = False
        self._asked = False  # while one is under way
        self._again = 0  # looks in a row that did not agree
        self._away = 0  # looks in a row without one answer

    def due(self, now_ns: int) -> bool:
        """Whether a look is to begin."""
        return not self._looking and now_ns >= self._due_ns

    def begun(self) -> None:
        """A look is under way."""
        self._looking = True

    def ask(self, now_ns: int) -> None:
        """Somebody wants a look now."""
        if self._looking:
            self._asked = True
        else:
            self._due_ns = min(self._due_ns, max(now_ns, self._ended_ns + int(GAP_S * NS_PER_S)))

    def done(self, now_ns: int, *, agreed: bool, nothing: bool) -> None:
        """A look is over and judged; `nothing`: not one question was answered."""
        self._looking = False
        self._ended_ns = now_ns
        self._again = 0 if agreed else self._again + 1
        self._away = self._away + 1 if nothing else 0
        if nothing:
            delay_s = AWAY_S * 2.0 ** min(self._away - 1, 30)
        elif not agreed:
            delay_s = AGAIN_S * 2.0 ** min(max(0, self._again - AGAIN_TIMES), 30)
        else:
            delay_s = self._every_s
        self._due_ns = now_ns + int(min(delay_s, self._every_s) * NS_PER_S)
        if self._asked:
            self._asked = False
            self.ask(now_ns)
