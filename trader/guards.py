"""When a stop at the venue is placed, moved or tried again: by a monotonic clock, which the fold does not have.

* first: the stop of a position is placed at once.
* moved: as the price climbs at most once in MOVED_S; the next stop follows the one before at once.
* again: one that the venue does not keep is placed again after FIRST_AGAIN_S, then twice as late each time, up to
  LAST_AGAIN_S; one that has lasted longer than that begins anew.
* told: that the venue refuses it is told once a position.
"""

from collections.abc import Collection, Mapping

from trader.protection import CLIMB, PLACE
from trader.terms import NS_PER_S

MOVED_S = 10.0
FIRST_AGAIN_S, LAST_AGAIN_S = 1.0, 60.0


class _Guard:
    """One position's."""

    def __init__(self, now_ns: int) -> None:
        self.due_ns = now_ns  # from when on one may be placed
        self.wait_s = FIRST_AGAIN_S
        self.climb_ns = now_ns + int(MOVED_S * NS_PER_S)  # from when on it may be moved
        self.told = False


class Guards:
    """By pair; times are monotonic ns."""

    def __init__(self) -> None:
        self._pairs: dict[str, _Guard] = {}

    def due(self, wanted: Mapping[str, str], held: Collection[str], now_ns: int) -> list[str]:
        """The pairs whose turn it is, of `trader.protection.wanted`; those not held any more are forgotten."""
        self._pairs = {pair: guard for pair, guard in self._pairs.items() if pair in held}
        return [pair for pair, step in wanted.items() if self._takes(pair, step, now_ns)]

    def refused(self, pair: str) -> bool:
        """Whether a refusal is to be told."""
        guard = self._pairs.get(pair)
        if guard is None or guard.told:
            return False
        guard.told = True
        return True

    def _takes(self, pair: str, step: str, now_ns: int) -> bool:
        guard = self._pairs.setdefault(pair, _Guard(now_ns))
        if step == PLACE:
            if now_ns < guard.due_ns:
                return False
            if now_ns - guard.due_ns > LAST_AGAIN_S * NS_PER_S:
                guard.wait_s = FIRST_AGAIN_S
            guard.due_ns = now_ns + int(guard.wait_s * NS_PER_S)
            guard.wait_s = min(2 * guard.wait_s, LAST_AGAIN_S)
            return True
        if step == CLIMB:
            if now_ns < guard.climb_ns:
                return False
            guard.climb_ns = now_ns + int(MOVED_S * NS_PER_S)
        guard.due_ns, guard.wait_s = now_ns, FIRST_AGAIN_S
        return True
