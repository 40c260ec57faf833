"""What the indicators said at each trade of one pair in a stretch of market time, told once more from the tape.

A state that was kept (`indicators.kept`) before the stretch is carried forward by the live code, run as plain Python,
to the same bits. Only closes matter for what follows, so of each earlier bucket the last trade alone is folded: an hour
takes milliseconds, without numba or compiled code. Inside the stretch the rules are asked at every price.

* LATE trades, trades before the forming bucket and impossible prices are told to nobody: they are no trades.
* Where another warm-up took over (`kept.Life`), its own state tells from there on.
* `missing` says which records were not there; without any the stretch is whole.
* A trade that comes an hour of market time after the stretch's end is not looked for.
"""

from collections.abc import Iterator
from itertools import pairwise
from math import nan
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bus.layouts import BACKFILL, CANDLE, HOLE, LATE, TRADE
from bus.messages import Start
from bus.records import CANDLE_RECORD
from bus.tape_reader import TapeReader
from core.errors import BotError
from indicators import kept, layout, rules
from indicators.candles import TOO_HIGH, begin_segment, open_bucket, take_candle
from indicators.kept import Life
from indicators.layout import NEVER, Array
from indicators.state import Saved
from indicators.told import Thresholds, Told

AT_ONCE = 65_536  # records read in one go, 4 MB
QUIET_NS = 3_600 * 1_000_000_000
BEFORE_NS = 60 * 1_000_000_000  # a tape whose newest trade is so much older has none of the stretch yet
UNKNOWN = 1 << 62

_start_decoder = msgspec.msgpack.Decoder(Start)


class NotThere(BotError):
    """Records that are needed are not on the tape (any more)."""


class Sink:
    """Takes the rows of closed candles, which nobody wants here."""

    size = 1 << 62

    def __init__(self) -> None:
        self._row: dict[str, float] = {}

    def __getitem__(self, _: int) -> dict[str, float]:
        return self._row


class OnePair:
    """What the indicators know of a single pair, as plain numbers that `indicators.candles` works on."""

    def __init__(self, saved: Saved, pair: str) -> None:
        words = _words(saved)
        self._pair = pair
        self._pairs = _named(saved)
        self._parameters = kept.parameters_in(words, saved.settings_hash)
        self._rows: Any = Sink()
        self._work = {"rows": 0, "segments": 0, "unknown": 0}
        self._closes: Any = []
        self._forget()
        if self.place is not None and self.place < int(layout.params_of(words)["pairs"]):
            self.head = _plain(layout.heads_of(words)[self.place])
            self._closes = layout.closes_of(words)[self.place].tolist()
        self.params["missing_limit"] = int(layout.params_of(words)["missing_limit"])
        self.by = Thresholds(self._parameters.rsi_buy, self._parameters.rsi_sell, self._parameters.rsi_crash)

    def _forget(self) -> None:
        empty = layout.new_state(self._parameters, 1)
        self.params, self.head = _plain(layout.params_of(empty)), _plain(layout.heads_of(empty)[0])
        self._closes = layout.closes_of(empty)[0].tolist()

    @property
    def place(self) -> int | None:
        """The pair's number on the tape; None where no START named it yet."""
        return self._pairs.index(self._pair) if self._pair in self._pairs else None

    @property
    def timeframe_ns(self) -> int:
        return self._parameters.timeframe_ms * 1_000_000

    @property
    def open_ns(self) -> int:
        """The start of the bucket that forms, or of the first that may; NEVER before any."""
        return int(self.head["open_ns"])

    @property
    def warm(self) -> bool:
        """Whether there are closed candles enough for a decision."""
        return int(self.head["closed"]) >= self._parameters.needed

    def start(self, body: Start) -> None:
        """Goes by a START from now on, as the stage does."""
        pairs = [market.pair for market in body.markets]
        if pairs[: len(self._pairs)] != self._pairs:  # numbers mean other pairs now: nothing that is known holds
            self._forget()
        self._pairs = pairs
        self.params["missing_limit"] = layout.NO_LIMIT if body.tape_clock else layout.MISSING_LIMIT

    def trade(self, ns: int, price: float, number: int) -> None:
        """Folds a trade that is one, as `folding.take_trade` does; of a candle only its close is of use here."""
        if ns >= self.head["end_ns"]:
            open_bucket(self.params, self.head, self._closes, 0, ns, price, self._rows, self._work, number)
        self.head["close"] = price

    def other(self, record: Array, number: int) -> None:
        """Folds a record that is no TRADE."""
        candle = _plain(record.view(CANDLE_RECORD)[0])
        if candle["kind"] == HOLE:
            begin_segment(self.head, int(candle["side"]))  # the same byte as HOLE's reason
        elif candle["kind"] == CANDLE:
            take_candle(self.params, self.head, self._closes, candle, 0, self._rows, self._work, number)


class Readings(dict[float, tuple[float, float]]):
    """RSI and lower band of the forming candle by the price that it closes at, as `folding.write_update` has them."""

    def __init__(self, params: dict[str, float], head: dict[str, float]) -> None:
        super().__init__()
        names = ("last_close", "carry_gain", "carry_loss", "sum1", "sum2")
        self._last_close, self._carry_gain, self._carry_loss, self._sum1, self._sum2 = (head[n] for n in names)
        self._weight, self._inverse, self._stddev = (params[n] for n in ("weight", "inverse", "stddev"))
        self._has_rsi = head["closed"] >= params["rsi_period"]
        self._has_bands = head["closed"] >= params["bb_period"] - 1

    def __missing__(self, price: float) -> tuple[float, float]:
        change, rsi, lower = price - self._last_close, nan, nan
        if self._has_rsi:
            gain = rules.smoothed_total(self._carry_gain, rules.gain_of(change), self._weight)
            loss = rules.smoothed_total(self._carry_loss, rules.loss_of(change), self._weight)
            rsi = rules.rsi_value(gain, loss)
        if self._has_bands:
            mean = rules.band_offset(self._sum1, change, self._inverse)
            deviation = rules.band_deviation(self._sum2, change, mean, self._inverse)
            lower = rules.band_lower(self._last_close + mean, deviation, self._stddev)
        self[price] = rsi, lower
        return rsi, lower


class Lookback:
    """Tells of one book; `missing` says what was not there for the last stretch that was told."""

    def __init__(self, book: Path) -> None:
        self._book = book
        self.missing: list[str] = []

    def tell(self, pair: str, from_ns: int, to_ns: int, since_ns: int | None = None) -> Iterator[Told]:
        """The pair's trades with from_ns <= time < to_ns, in the order of the tape.

        since_ns: trades from there on are told, too, without indicators. Raises TapeError where a file is damaged.
        """
        since_ns = from_ns if since_ns is None else min(since_ns, from_ns)
        lives = kept.lives_of(list(kept.read_all(self._book)))
        self.missing = [] if lives else ["no state of the indicators is kept"]
        begins_ns = UNKNOWN
        for at, life in enumerate(lives):
            following = lives[at + 1] if at + 1 < len(lives) and lives[at + 1].epoch == life.epoch else None
            reader = TapeReader(self._book / "tape", life.epoch)
            try:
                begins_ns = min(begins_ns, _oldest_ns(reader))
                yield from self._of_life(reader, life, following, pair, (since_ns, from_ns, to_ns))
            except NotThere as error:
                self.missing.append(str(error))
            finally:
                reader.close()
        if lives and begins_ns > from_ns:
            self.missing.append("the tape begins later")

    def _of_life(
        self, reader: TapeReader, life: Life, following: Life | None, pair: str, times: tuple[int, int, int]
    ) -> Iterator[Told]:
        since_ns, _, to_ns = times
        last = reader.last if following is None else min(following.after, reader.last)
        if last < reader.first or _newest_ns(reader, last) < since_ns - BEFORE_NS:
            return
        saved = _start_of(life, pair, since_ns)
        indicators = OnePair(saved, pair)
        if indicators.open_ns >= to_ns:
            return
        number = saved.number + 1
        while number <= last:
            records, body = reader.read(number, min(AT_ONCE, last + 1 - number))
            if not len(records):
                after = reader.following(number)
                there = "none follows" if after is None else f"the next one that is there is {after}"
                raise NotThere(f"record {number} is not on the tape of epoch {life.epoch}: {there}")
            if body is not None:
                indicators.start(_start_decoder.decode(body))
            else:
                for trade in _told(indicators, records, number, times):
                    if trade.number > life.after:
                        yield Told(life.epoch, *trade[1:])
                if indicators.open_ns >= to_ns or _newest(records) >= to_ns + QUIET_NS:
                    return
            number += len(records)


def _told(indicators: OnePair, records: Array, first: int, times: tuple[int, int, int]) -> Iterator[Told]:
    """Folds consecutive records; tells of the pair's trades among them that are in the stretch."""
    if indicators.place is None:
        return
    own = np.flatnonzero((records["pair"] == indicators.place) & (records["kind"] != 0))
    others = own[records["kind"][own] != TRADE]
    at = 0
    for place in [*others.tolist(), len(records)]:
        until = int(np.searchsorted(own, place))
        if until > at:
            yield from _trades(indicators, records, own[at:until], first, times)
        if place < len(records):
            indicators.other(records[place : place + 1], first + place)
        at = until + 1


def _trades(indicators: OnePair, records: Array, own: Array, first: int, times: tuple[int, int, int]) -> Iterator[Told]:
    """As `_told`, of trades only; `own`: their places among the records."""
    since_ns, from_ns, to_ns = times
    timeframe_ns = indicators.timeframe_ns
    trades = records[own]
    price, ns, flags = trades["price"], trades["exchange_ns"], trades["flags"]
    buckets = ns // timeframe_ns
    forming = NEVER if indicators.open_ns == NEVER else indicators.open_ns // timeframe_ns
    possible = ((flags & LATE) == 0) & (price > 0.0) & (price < TOO_HIGH)
    newest = np.maximum.accumulate(np.where(possible, buckets, forming))  # the bucket that forms only moves on
    good = np.flatnonzero(possible & (buckets >= np.maximum(newest, forming)))
    if not len(good):
        return
    edges = [0, *(np.flatnonzero(np.diff(buckets[good])) + 1).tolist(), len(good)]
    for begin, end in pairwise(edges):
        group = good[begin:end]
        open_ns = int(buckets[group[0]]) * timeframe_ns
        if open_ns + timeframe_ns > since_ns and open_ns < to_ns:
            indicators.trade(int(ns[group[0]]), float(price[group[0]]), first + int(own[group[0]]))
            warm, readings = indicators.warm, Readings(indicators.params, indicators.head)
            wanted = group[(ns[group] >= since_ns) & (ns[group] < to_ns)]
            columns = (own[wanted] + first, ns[wanted], price[wanted], flags[wanted])
            for number, at_ns, at_price, flag in zip(*(column.tolist() for column in columns), strict=True):
                rsi, lower = readings[at_price] if at_ns >= from_ns else (nan, nan)
                yield Told(0, number, at_ns, at_price, flag, rsi, lower, warm, indicators.by)
        indicators.trade(int(ns[group[-1]]), float(price[group[-1]]), first + int(own[group[-1]]))


def _words(saved: Saved) -> Array:
    """The state's buffer, to be read."""
    return np.frombuffer(saved.state, np.int64)


def _named(saved: Saved) -> list[str]:
    """The pairs by their numbers on the tape."""
    return [] if saved.start is None else [market.pair for market in saved.start.markets]


def _plain(record: layout.Record) -> dict[str, Any]:
    """One structured record as plain numbers by name."""
    return dict(zip(record.dtype.names, record.tolist(), strict=True))


def _start_of(life: Life, pair: str, since_ns: int) -> Saved:
    """The last state of a life in which the stretch's first bucket has not begun; else its first."""
    found = life.states[0]
    for saved in life.states[1:]:
        named = _named(saved)
        words = _words(saved)
        timeframe_ns = int(layout.params_of(words)["timeframe_ns"])
        bucket = since_ns - since_ns % timeframe_ns
        if pair in named and named.index(pair) < int(layout.params_of(words)["pairs"]):
            head = layout.heads_of(words)[named.index(pair)]
            if int(head["open_ns"]) >= bucket:
                break
        found = saved
    return found


def _newest(records: Array) -> int:
    """The newest exchange time of records that are trades of their own time; NEVER without."""
    now = records[(records["kind"] == TRADE) & ((records["flags"] & (LATE | BACKFILL)) == 0)]
    return int(now["exchange_ns"].max()) if len(now) else NEVER


def _newest_ns(reader: TapeReader, number: int) -> int:
    """The newest exchange time at about record `number`; UNKNOWN where it does not show."""
    following = reader.following(max(0, number - 999))
    if following is None or following > number:
        return UNKNOWN
    records, _ = reader.read(following, number + 1 - following)
    newest = _newest(records)
    return UNKNOWN if newest == NEVER else newest


def _oldest_ns(reader: TapeReader) -> int:
    """The exchange time of the first trade of its own time that the tape has; UNKNOWN where there is none soon."""
    number = reader.following(reader.first)
    for _ in range(4):
        if number is None:
            break
        records, _body = reader.read(number, AT_ONCE)
        now = records[(records["kind"] == TRADE) & ((records["flags"] & (LATE | BACKFILL)) == 0)]
        if len(now):
            return int(now["exchange_ns"][0])
        number = reader.following(number + len(records))
    return UNKNOWN
