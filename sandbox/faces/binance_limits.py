"""What a client may do at Binance: calls by weight, address and clock minute, then 429, then 418; unfilled orders.

* A call that would go beyond the minute's weight is refused with 429 and Retry-After, and counts no weight.
* A client that goes on all the same, PATIENCE calls, is banned with 418: two minutes, twice as long each time, three
  days at most; calls during a ban make it no longer.
* What counts is the clock minute of the machine, which recorded time does not hurry.
"""

from typing import NamedTuple

WINDOW_S = 60
PATIENCE = 20  # calls after a 429 before the ban
BAN_S, BAN_MOST_S = 120, 3 * 86_400
CLIENTS_MOST = 1000
DAY_MS = 86_400_000


class Verdict(NamedTuple):
    """What a call gets: `status` 200, 429 or 418; `used` weight in this minute; seconds to wait where refused."""

    status: int
    used: int
    retry_s: int


class _Client:
    def __init__(self, minute: int) -> None:
        self.minute = minute
        self.used = 0
        self.refused = 0
        self.bans = 0
        self.banned_until_s = 0


class Weights:
    """Counts weight by client."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._clients: dict[str, _Client] = {}

    def take(self, client: str, weight: int, now_s: int) -> Verdict:
        """Counts a call of this weight at a second since 1970."""
        minute = now_s // WINDOW_S
        if client not in self._clients and len(self._clients) >= CLIENTS_MOST:
            self._clients.clear()
        state = self._clients.setdefault(client, _Client(minute))
        if state.minute != minute:
            state.minute, state.used, state.refused = minute, 0, 0
        if now_s < state.banned_until_s:
            return Verdict(418, state.used, state.banned_until_s - now_s)
        if state.used + weight <= self.most:
            state.used += weight
            return Verdict(200, state.used, 0)
        state.refused += 1
        if state.refused <= PATIENCE:
            return Verdict(429, state.used, (minute + 1) * WINDOW_S - now_s)
        ban_s = min(BAN_S << min(state.bans, 20), BAN_MOST_S)
        state.bans += 1
        state.banned_until_s, state.refused = now_s + ban_s, 0
        return Verdict(418, state.used, ban_s)

    def give_back(self, client: str, weight: int) -> int:
        """Takes a call's weight off again; the weight used in the minute."""
        state = self._clients.get(client)
        if state is None:
            return 0
        state.used = max(0, state.used - weight)
        return state.used


class OrderCounts:
    """Unfilled orders of the account in the running clock windows of 10 s and of a day; a fill takes its order off."""

    def __init__(self, in_10_s: int, in_a_day: int) -> None:
        self._limits = ((10_000, in_10_s, "10 SECOND"), (DAY_MS, in_a_day, "1 DAY"))
        self._placed: dict[int, int] = {}  # when, by order

    def check(self, now_ms: int) -> tuple[str, int] | None:
        """(the limit that another order would break, in the venue's words; seconds until it begins anew)."""
        for count, (window_ms, limit, words) in zip(self.counts(now_ms), self._limits, strict=True):
            if count >= limit:
                wait_s = -(-(window_ms - now_ms % window_ms) // 1000)
                return f"Too many new orders; current limit is {limit} orders per {words}.", wait_s
        return None

    def placed(self, order: int, now_ms: int) -> None:
        self._placed[order] = now_ms

    def filled(self, order: int) -> None:
        self._placed.pop(order, None)

    def counts(self, now_ms: int) -> tuple[int, int]:
        """(in 10 s, in a day)."""
        day = now_ms // DAY_MS * DAY_MS
        if self._placed and next(iter(self._placed.values())) < day:
            self._placed = {order: at_ms for order, at_ms in self._placed.items() if at_ms >= day}
        start = now_ms // 10_000 * 10_000
        recent = 0
        for at_ms in reversed(self._placed.values()):
            if at_ms < start:
                break
            recent += 1
        return recent, len(self._placed)
