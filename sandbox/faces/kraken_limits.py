"""Kraken's counters: each call adds to one, which falls with time; what would lift it over the most is refused."""

from collections import deque
from typing import NamedTuple

CLIENTS_MOST = 5_000


class Counter(NamedTuple):
    """How high a counter may be, and by how much it falls in a second."""

    most: float
    decay: float


# No public numbers exist; one call a second is called safe. Trades and OHLC are counted for each pair by itself.
PUBLIC = Counter(20.0, 1.0)
PRIVATE = Counter(15.0, 0.33)  # of a Starter account, per key
ENGINE = Counter(60.0, 1.0)  # of a Starter account, per market
COSTS: dict[str, float] = {
    "AddOrder": 0,
    "CancelOrder": 0,
    "ClosedOrders": 2,
    "TradesHistory": 2,
    "QueryTrades": 2,
    "Ledgers": 2,
}


CANCEL_COSTS = ((5, 8), (10, 6), (15, 5), (45, 4), (90, 2), (300, 1))  # (younger than so many seconds, cost)


def cancel_cost(age_ms: int) -> float:
    """What cancelling an order of this age adds to the engine's counter."""
    return next((cost for younger_s, cost in CANCEL_COSTS if age_ms < younger_s * 1000), 0)


class Counters:
    """The counters of all clients."""

    def __init__(self, counter: Counter) -> None:
        self.counter = counter
        self._levels: dict[str, tuple[float, float]] = {}  # client: (level, when it was so high, s)

    def take(self, client: str, cost: float, now_s: float) -> bool:
        """Whether the client may make this call; one that may not costs nothing."""
        if self._level(client, now_s) + cost > self.counter.most:
            return False
        self.add(client, cost, now_s)
        return True

    def add(self, client: str, cost: float, now_s: float) -> None:
        """Counts what is not refused however high the counter is."""
        level = self._level(client, now_s)
        if len(self._levels) >= CLIENTS_MOST:
            self._levels.clear()
        self._levels[client] = (level + cost, now_s)

    def _level(self, client: str, now_s: float) -> float:
        level, since_s = self._levels.get(client, (0.0, now_s))
        return max(0.0, level - (now_s - since_s) * self.counter.decay)


CONNECTS, CONNECTS_S, BAN_S = 150, 600.0, 600.0


class Connects:
    """How often a client may open a socket: so many times in ten minutes; one more, and it may not for ten more."""

    def __init__(self, most: int = CONNECTS) -> None:
        self._most = most
        self._times: dict[str, deque[float]] = {}
        self._banned: dict[str, float] = {}  # client: until when, s

    def take(self, client: str, now_s: float) -> bool:
        """Counts an attempt; whether it may go on."""
        if self._banned.get(client, 0.0) > now_s:
            return False
        if len(self._times) >= CLIENTS_MOST:
            self._times.clear()
        times = self._times.setdefault(client, deque(maxlen=self._most))
        if len(times) == self._most and now_s - times[0] < CONNECTS_S:
            self._banned = {client: now_s + BAN_S} | {one: at for one, at in self._banned.items() if at > now_s}
            return False
        times.append(now_s)
        return True
