"""The synthetic market: trades as a pure function of (seed, pair, birth, time): a kill is an outage, not a new world.

Any span of time can be made again, at any moment and in any pieces, with the same trades. The unit of making is the
second: how many trades it has, when, at what price and size depends on hashes of that second alone.
"""

import threading
from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from sandbox.listings import LISTINGS, Listing
from sandbox.noise import Floats, bell, key_of, unit, wave, words
from sandbox.shape import Course
from sandbox.trades import Bars, Ints, Rules, Trades, bars_of, joined, joined_bars, merged_bars, no_trades

HISTORY_MS = 72 * 3_600_000  # before birth, where not told otherwise
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
BARS_KEPT = 1_000  # hours of finished one-minute candles kept, over all pairs

# Noise inside the minute, beside the course: (period in seconds, height).
RIPPLE = ((5, 0.00005), (17, 0.00012), (53, 0.00018))
TWINS = 0.012  # share of trades that repeat the one before them: same ms, price and size
HALF_SPREAD = 0.00001
JITTER = 0.00001


class _Pulse(NamedTuple):
    """Some seconds of a market: `seconds` and `mood` have one more than the rest, the end of the last one."""

    seconds: Ints
    mood: Floats
    pace: Floats  # move of the price within each second
    hurry: Floats
    counts: Ints  # trades in each second
    course: tuple[Floats, Floats]


class Synthetic:
    """All listed markets of one seeded world; safe to call from several threads.

    Nothing is told of times more than `history_ms` before its birth; below nothing, of the time that long after it.
    """

    def __init__(
        self, seed: int, born_ms: int, listings: tuple[Listing, ...] = LISTINGS, history_ms: int = HISTORY_MS
    ) -> None:
        self._born_ms = born_ms
        self._listings = {listing.rules.pair: listing for listing in listings}
        self._rules = {pair: listing.rules for pair, listing in self._listings.items()}
        self._keys = {pair: key_of(seed, pair) for pair in self._rules}
        self._origin_s = born_ms // MINUTE_MS * 60
        self._courses = {pair: Course(key, born_ms % MINUTE_MS) for pair, key in self._keys.items()}
        self._first_s = self._origin_s - history_ms // 1000
        self._bars: OrderedDict[tuple[str, int], Bars] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def rules(self) -> dict[str, Rules]:
        return self._rules

    def span(self, pair: str, from_ms: int, to_ms: int) -> Trades:
        first_s = max(from_ms // 1000, self._first_s)
        last_s = -(-to_ms // 1000)
        if last_s <= first_s or to_ms <= from_ms:
            return no_trades()
        trades = self._seconds(pair, first_s - self._origin_s, last_s - self._origin_s)
        start, stop = np.searchsorted(trades.ts_ms, (from_ms, to_ms))
        return trades.slice(int(start), int(stop))

    def last(self, pair: str, until_ms: int, limit: int) -> Trades:
        parts: list[Trades] = []
        have, end_ms = 0, until_ms + 1
        length_ms = int(1000 * (10 + limit / self._listings[pair].rate))
        while have < limit and end_ms > self._first_s * 1000:
            part = self.span(pair, end_ms - length_ms, end_ms)
            parts.insert(0, part)
            have += len(part)
            end_ms -= length_ms
        return joined(parts).slice(max(0, have - limit), have)

    def bars(self, pair: str, interval_ms: int, from_ms: int, until_ms: int, limit: int) -> Bars:
        from_ms = max(from_ms, until_ms // interval_ms * interval_ms - (limit - 1) * interval_ms)
        from_ms = -(-max(from_ms, self._first_s * 1000) // interval_ms) * interval_ms
        parts = [self._hour(pair, hour, until_ms) for hour in range(from_ms // HOUR_MS, until_ms // HOUR_MS + 1)]
        minutes = joined_bars(parts)
        minutes = minutes.where(minutes.open_ms >= from_ms)
        return merged_bars(minutes, interval_ms) if interval_ms > MINUTE_MS else minutes

    def first_ticks(self, pair: str) -> int:
        listing = self._listings[pair]
        return max(1, round(listing.price * float(10**listing.rules.price_digits)))

    def reach(self, pair: str, until_ms: int) -> tuple[int, int] | None:
        until = until_ms // MINUTE_MS - self._origin_s // 60
        _, moves = self._courses[pair].path(until - 1440, until - 1)
        listing = self._listings[pair]
        scale = listing.price * 10**listing.rules.price_digits
        return max(1, round(scale * float(np.exp(moves.min())))), max(1, round(scale * float(np.exp(moves.max()))))

    @property
    def oldest_ms(self) -> int:
        return self._first_s * 1000

    @property
    def origin_ms(self) -> int:
        return self._origin_s * 1000

    def counts(self, pair: str, first_minute: int, stop_minute: int) -> Ints:
        origin_minute = self._origin_s // 60
        first, stop = (first_minute - origin_minute) * 60, (stop_minute - origin_minute) * 60
        counts = self._pulse(pair, first, stop).counts
        counts[: max(0, self._first_s - self._origin_s - first)] = 0
        minutes: Ints = counts.reshape(-1, 60).sum(axis=1)
        return minutes

    def _hour(self, pair: str, hour: int, until_ms: int) -> Bars:
        """One-minute candles of a clock hour; kept once the hour is over."""
        end_ms = (hour + 1) * HOUR_MS
        if until_ms < end_ms:
            return bars_of(self.span(pair, hour * HOUR_MS, until_ms + 1), MINUTE_MS)
        with self._lock:
            if (pair, hour) in self._bars:
                self._bars.move_to_end((pair, hour))
                return self._bars[pair, hour]
        bars = bars_of(self.span(pair, hour * HOUR_MS, end_ms), MINUTE_MS)
        with self._lock:
            self._bars[pair, hour] = bars
            while len(self._bars) > BARS_KEPT:
                self._bars.popitem(last=False)
        return bars

    def _pulse(self, pair: str, first: int, stop: int) -> _Pulse:
        """How the market goes in the seconds first to stop - 1, counted from the minute of birth."""
        key = self._keys[pair]
        corners, moves = self._courses[pair].path(first // 60 - 1, stop // 60 + 1)
        seconds = np.arange(first, stop + 1)
        mood = np.exp(0.45 * wave(key, 40, 420, seconds) + 0.35 * wave(key, 41, 2_700, seconds))
        pace = np.diff(np.interp(seconds, corners, moves))  # move within each second
        hurry = np.minimum(np.abs(pace) / 0.0006, 1.5)
        counts = self._counts(key, self._listings[pair].rate, seconds[:-1], mood[:-1], hurry)
        return _Pulse(seconds, mood, pace, hurry, counts, (corners, moves))

    def _seconds(self, pair: str, first: int, stop: int) -> Trades:
        """All trades of the seconds first to stop - 1, counted from the minute of birth."""
        listing, key = self._listings[pair], self._keys[pair]
        pulse = self._pulse(pair, first, stop)
        ripple = np.zeros(pulse.seconds.shape[0])
        for octave, (period, height) in enumerate(RIPPLE):
            ripple += height * wave(key, 50 + octave, period, pulse.seconds)
        ripple *= pulse.mood
        return _trades(listing, key, self._origin_s, pulse, ripple)

    @staticmethod
    def _counts(key: int, rate: float, seconds: Ints, mood: Floats, hurry: Floats) -> Ints:
        """Trades in each second: busier in a nervous mood and in a fast move, never more than 2.2 times the usual."""
        busy = rate * np.minimum(np.sqrt(mood) * (1.0 + 0.6 * hurry), 2.2)
        chance = unit(words(key ^ 0xC0, seconds))
        counts: Ints = np.floor(busy * (0.55 + 0.9 * chance) + unit(words(key ^ 0xC1, seconds))).astype(np.int64)
        return counts


def _trades(
    listing: Listing,
    key: int,
    origin_s: int,
    pulse: _Pulse,
    ripple: Floats,
) -> Trades:
    """The trades themselves, `pulse.counts` to each second; ripple: of each of its seconds."""
    seconds, counts, pace, hurry = pulse.seconds[:-1], pulse.counts, pulse.pace, pulse.hurry
    row = np.repeat(np.arange(seconds.shape[0]), counts)
    number = np.arange(row.shape[0]) - np.repeat(np.cumsum(counts) - counts, counts)
    place = (seconds[row] << 12) + number
    offset_ms = (unit(words(key ^ 0xD0, place)) * 1000.0).astype(np.int64)
    since_ms = np.sort(seconds[row] * 1000 + offset_ms)
    at = since_ms / 1000.0
    sell = unit(words(key ^ 0xD1, place)) < np.clip(0.5 - pace[row] / 0.0012, 0.12, 0.88)
    level = np.interp(at, *pulse.course) + np.interp(at, pulse.seconds, ripple)
    level += np.where(sell, -HALF_SPREAD, HALF_SPREAD) + JITTER * bell(words(key ^ 0xD2, place))
    scale = listing.price * 10**listing.rules.price_digits
    ticks = np.maximum(np.rint(scale * np.exp(level)), 1.0).astype(np.int64)
    worth = listing.worth * np.exp(1.15 * bell(words(key ^ 0xD3, place))) * (1.0 + hurry[row])
    step = listing.rules.step_units
    lots = np.rint(worth / (ticks / 10**listing.rules.price_digits) * 10**listing.rules.quantity_digits / step)
    units = np.maximum(lots, 1.0).astype(np.int64) * step
    twin = (unit(words(key ^ 0xD4, place)) < TWINS) & (number > 0)
    source = np.maximum.accumulate(np.where(twin, 0, np.arange(row.shape[0])))
    return Trades(origin_s * 1000 + since_ms[source], ticks[source], units[source], sell[source])
