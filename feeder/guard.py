"""What may go on the tape, and with which flags: one guard per pair, pure.

* a price, quantity or time that is no positive finite number: dropped
* more than 2 s ahead of the venue's clock: dropped (not where the venue is a player with its own clock)
* more than a day behind it on the stream: dropped (the same)
* before the pair's forming bucket: LATE
* older than STALE_SECONDS against the venue's clock on arrival: STALE (never with a player's clock)
* outside half to double the last accepted price: held back; three prints in a row within 1 % of each other, or a
  confirmation over REST, set the new level and let them through; a print back at the old level drops what was held

Prices and quantities become whole numbers of tick and step, to the nearest; one off the grid is counted and taken.
"""

from collections.abc import Sequence
from typing import NamedTuple

from bus.records import LATE, SIDE_BUY, SIDE_SELL, SIDE_UNKNOWN, STALE, TRADE
from core.clock import NS_PER_S
from feeder.merge import Row
from feeder.packing import TradeRecord
from venues.venue import Rules, Trade

AHEAD_NS = 2 * NS_PER_S
ANCIENT_NS = 86_400 * NS_PER_S
PRINTS_FOR_A_LEVEL = 3
LARGEST = 2**53  # above it a float64 no longer tells neighbours apart


class Print(NamedTuple):
    """A trade that is a trade: converted, not yet judged."""

    row: Row
    price: float
    quantity: float
    received_ns: int


class Counts:
    """What happened to trades, for the heartbeat."""

    __slots__ = (
        "ancient",
        "future",
        "gaps",
        "held",
        "held_dropped",
        "late",
        "lost",
        "off_grid",
        "repeats",
        "stale",
        "trades",
        "unreadable",
    )

    def __init__(self) -> None:
        self.unreadable = self.future = self.ancient = self.held = self.held_dropped = 0
        self.late = self.stale = self.off_grid = self.trades = self.lost = 0
        self.repeats = self.gaps = 0  # by id: trades that came again, and how often some were missing

    @property
    def dropped(self) -> int:
        """All that never reached the tape."""
        return self.impossible + self.held_dropped

    @property
    def impossible(self) -> int:
        """No trades at all, or of an impossible time."""
        return self.unreadable + self.untimely

    @property
    def untimely(self) -> int:
        """Of an impossible time."""
        return self.future + self.ancient


class Guard:
    """Judges the trades of one pair in their order; `level` and `bucket_ns` are taken from the tape at start."""

    __slots__ = (
        "_held",
        "_number",
        "_stale_ns",
        "_step",
        "_tick",
        "_timeframe_ns",
        "_wall_clock",
        "bucket_ns",
        "counts",
        "level",
    )

    def __init__(
        self, number: int, rules: Rules, timeframe_ns: int, stale_ns: int, tape_clock: bool, counts: Counts
    ) -> None:
        self._number = number
        self._tick = float(rules.tick)
        self._step = float(rules.step)
        self._timeframe_ns = timeframe_ns
        self._stale_ns = stale_ns
        self._wall_clock = not tape_clock
        self._held: list[tuple[Print, int]] = []
        self.counts = counts
        self.level = 0.0  # last accepted price; 0: none yet
        self.bucket_ns = 0  # start of the forming bucket; 0: none yet

    def convert(self, trade: Trade) -> Print | None:
        """The trade in ticks and lots, or None (counted) where it is none."""
        _, time_ns, price, quantity, side, trade_id, received_ns = trade
        tick, step = self._tick, self._step
        # False for nan as well; without a function call each, as this is done for every trade.
        if not (0.0 < price < tick * LARGEST and 0.0 < quantity < step * LARGEST and time_ns > 0):
            self.counts.unreadable += 1
            return None
        exact_ticks, exact_lots = price / tick, quantity / step
        ticks, lots = round(exact_ticks), round(exact_lots)
        if not ticks:
            self.counts.unreadable += 1
            return None
        if abs(exact_ticks - ticks) > 1e-6 + 1e-9 * ticks or abs(exact_lots - lots) > 1e-6 + 1e-9 * lots:
            self.counts.off_grid += 1
        if side != SIDE_BUY and side != SIDE_SELL:
            side = SIDE_UNKNOWN
        return Print((time_ns, ticks, lots, side, trade_id), price, quantity, received_ns)

    def judge(
        self, item: Print, flags: int, offset_ns: int, stream: bool, now_ns: int | None = None
    ) -> list[TradeRecord] | None:
        """Records for the tape: none (held back), one, or several where held ones are let through; None where its
        time is impossible and it was dropped.

        `offset_ns`: venue's clock less ours; `stream`: it came live, so a very old time is nonsense; `now_ns`: the
        venue's clock now, of a trade that waited: ours may have been set since it came.
        """
        time_ns = item.row[0]
        arrived_ns = item.received_ns + offset_ns
        venue_ns = arrived_ns if now_ns is None else now_ns
        if self._wall_clock:
            if time_ns > venue_ns + AHEAD_NS:
                self.counts.future += 1
                return None
            if stream and time_ns < venue_ns - ANCIENT_NS:
                self.counts.ancient += 1
                return None
            if time_ns < min(arrived_ns, venue_ns) - self._stale_ns:
                self.counts.stale += 1
                flags |= STALE
        if self.level and not self.level / 2 <= item.price <= self.level * 2:
            return self._hold(item, flags)
        if self._held:
            self._forget_held()
        return [self._accept(item, flags)]

    def _hold(self, item: Print, flags: int) -> list[TradeRecord]:
        if self._held and not _close(self._held[-1][0].price, item.price):
            self._forget_held()
        self._held.append((item, flags))
        self.counts.held += 1
        prices = [held.price for held, _ in self._held]
        if len(prices) >= PRINTS_FOR_A_LEVEL and _close(min(prices), max(prices)):
            return self.release()
        return []

    def held(self) -> Sequence[Print]:
        """What is held back now."""
        return [item for item, _ in self._held]

    def release(self) -> list[TradeRecord]:
        """The held prints are confirmed: their level is the new one."""
        held, self._held = self._held, []
        return [self._accept(item, flags) for item, flags in held]

    def confirmed_by(self, answer: Sequence[Print]) -> bool:
        """Does a REST answer hold another trade at the held level, no older than the held print?"""
        if not self._held:
            return False
        last = self._held[-1][0]
        known = {held.row for held, _ in self._held}
        newer = [item for item in answer if item.row[0] >= last.row[0] and item.row not in known]
        return bool(newer) and _close(newer[-1].price, last.price)

    def _forget_held(self) -> None:
        self.counts.held_dropped += len(self._held)
        self._held.clear()

    def _accept(self, item: Print, flags: int) -> TradeRecord:
        self.counts.trades += 1
        time_ns, ticks, lots, side, trade_id = item.row
        bucket = time_ns - time_ns % self._timeframe_ns
        if bucket < self.bucket_ns:
            flags |= LATE
            self.counts.late += 1
        else:
            self.bucket_ns = bucket
            self.level = item.price
        return (
            TRADE,
            side,
            flags,
            self._number,
            time_ns,
            item.received_ns,
            item.price,
            item.quantity,
            ticks,
            lots,
            trade_id,
        )

    def seen(self, time_ns: int, price: float) -> None:
        """A trade that is on the tape already."""
        bucket = time_ns - time_ns % self._timeframe_ns
        if bucket >= self.bucket_ns:
            self.bucket_ns = bucket
            self.level = price

    def with_rules(self, rules: Rules) -> "Guard":
        """The same guard for a market that moves in other steps from now on; what was held back is dropped."""
        self._forget_held()
        guard = Guard(self._number, rules, self._timeframe_ns, self._stale_ns, not self._wall_clock, self.counts)
        guard.level, guard.bucket_ns = self.level, self.bucket_ns
        return guard

    def forget(self) -> None:
        """A history follows: level and forming bucket begin anew."""
        self._forget_held()
        self.level = 0.0
        self.bucket_ns = 0

    def candle(self, open_ns: int, close: float, forming: bool) -> None:
        """A candle of the venue went on the tape: its close is the level, and trades go on in or after its bucket."""
        self._forget_held()
        self.level = close
        self.bucket_ns = open_ns if forming else open_ns + self._timeframe_ns


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= 0.01 * min(a, b)
