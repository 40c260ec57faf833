"""What the venue knows of the time before the stream: closed candles, the running bucket, and how they go on the tape.

A fresh history is, in this order: a HOLE where the pair was on the tape before, up to 500 closed CANDLEs without
gaps, and then the trades of the running bucket (BACKFILL); where these do not reach its start, a FORMING|PARTIAL
candle from the venue's own row comes before them, less the volume of the trades that follow. A HOLE begins a new
segment, so it always brings a history.

`compose` and the helpers are pure; `fetch_bars` asks the venue.
"""

from collections.abc import Sequence
from typing import NamedTuple

from core.clock import NS_PER_MS, NS_PER_S
from feeder.guard import Print
from venues.venue import Bar, MarketData, Rules

CANDLES = 500  # closed ones at start; more missing buckets than that are not filled
SETTLED_NS = 2 * NS_PER_S  # a bucket is over for certain this long after its end by the venue's clock


class Composition(NamedTuple):
    """`closed`: oldest first, one a bucket; then `forming`, if any; then the answer's trades from place `first` on."""

    closed: list[Bar]
    forming: Bar | None
    first: int


def bucket(time_ns: int, timeframe_ns: int) -> int:
    """Start of the bucket that a time lies in."""
    return time_ns - time_ns % timeframe_ns


def running_bucket(
    timeframe_ns: int, stream_ns: int | None, trades: Sequence[Print], bars: Sequence[Bar], venue_ns: int | None
) -> int:
    """The bucket that is not over yet, as far as anything tells; 0 where nothing does.

    With a stream it is that of its first trade: everything later comes from there. `venue_ns` is None for a player's
    clock.
    """
    if stream_ns is not None:
        return bucket(stream_ns, timeframe_ns)
    known = [bar.open_ns for bar in bars[-1:]]
    known += [bucket(item.row[0], timeframe_ns) for item in trades[-1:]]
    if venue_ns is not None:
        known.append(bucket(venue_ns - SETTLED_NS, timeframe_ns))
    return max(known, default=0)


def compose(
    timeframe_ns: int,
    running_ns: int,
    bars: Sequence[Bar],
    trades: Sequence[Print],
    complete: bool,
    following: Sequence[Print] = (),
) -> Composition:
    """Puts candles and trades together so that every trade counts once.

    `bars` are of the timeframe, oldest first; `trades` end where the stream begins; `complete`: the venue has none
    before them; `following` are trades of the stream that the venue's forming row may hold already.
    """
    closed = flat_filled([bar for bar in bars if bar.open_ns < running_ns], timeframe_ns)
    whole_from = whole_bucket(trades, complete, timeframe_ns)
    after = closed[-1].open_ns + timeframe_ns if closed else running_ns
    if whole_from <= after:
        return Composition(closed[-CANDLES:], None, place_of(trades, after if closed else whole_from))
    if closed:
        closed = flat_filled(closed, timeframe_ns, running_ns)
    first = place_of(trades, running_ns)
    row = next((bar for bar in bars if bar.open_ns == running_ns), None)
    forming = None
    if row is not None:
        held = [item for item in (*trades[first:], *following) if bucket(item.row[0], timeframe_ns) == running_ns]
        forming = row._replace(volume=max(0.0, row.volume - sum(item.quantity for item in held)), trades=0)
    elif first < len(trades):
        price = trades[first].price
        forming = Bar(running_ns, price, price, price, price, 0.0)
    return Composition(closed[-CANDLES:], forming, first)


def place_of(trades: Sequence[Print], from_ns: int) -> int:
    """Place of the first trade that is not older than `from_ns`."""
    return next((place for place, item in enumerate(trades) if item.row[0] >= from_ns), len(trades))


def whole_bucket(trades: Sequence[Print], complete: bool, timeframe_ns: int) -> int:
    """Start of the first bucket of which every trade is known."""
    if complete:
        return 0
    if not trades:
        return 2**62
    return bucket(trades[0].row[0], timeframe_ns) + timeframe_ns


def flat_filled(bars: Sequence[Bar], timeframe_ns: int, until_ns: int | None = None) -> list[Bar]:
    """The bars with a flat one in each bucket that had no trade, up to `until_ns` (exclusive); 500 at most."""
    filled: list[Bar] = []
    for bar in bars:
        _fill(filled, bar.open_ns, timeframe_ns)
        filled.append(bar)
    if until_ns is not None:
        _fill(filled, until_ns, timeframe_ns)
    return filled


def _fill(filled: list[Bar], until_ns: int, timeframe_ns: int) -> None:
    if not filled:
        return
    close = filled[-1].close
    start = max(filled[-1].open_ns + timeframe_ns, until_ns - CANDLES * timeframe_ns)
    filled.extend(Bar(open_ns, close, close, close, close, 0.0) for open_ns in range(start, until_ns, timeframe_ns))


def aggregate(bars: Sequence[Bar], timeframe_ns: int) -> list[Bar]:
    """Smaller candles, oldest first, put together to larger ones."""
    result: list[Bar] = []
    for bar in bars:
        open_ns = bucket(bar.open_ns, timeframe_ns)
        if result and result[-1].open_ns == open_ns:
            last = result[-1]
            high, low = max(last.high, bar.high), min(last.low, bar.low)
            volume, trades = last.volume + bar.volume, last.trades + bar.trades
            result[-1] = Bar(open_ns, last.open, high, low, bar.close, volume, trades)
        else:
            result.append(bar._replace(open_ns=open_ns))
    return result


def bars_of(trades: Sequence[Print], timeframe_ns: int, from_ns: int, until_ns: int) -> list[Bar]:
    """Candles made of trades, for buckets that the venue serves none of."""
    single = [
        Bar(item.row[0], item.price, item.price, item.price, item.price, item.quantity, 1)
        for item in sorted(trades, key=lambda item: item.row[0])
        if from_ns <= item.row[0] < until_ns
    ]
    return aggregate(single, timeframe_ns)


def interval_for(timeframe_ms: int, intervals_ms: Sequence[int]) -> int | None:
    """The venue's candle size to ask for: the timeframe itself, else the largest one that divides it, else None."""
    return max((size for size in intervals_ms if timeframe_ms % size == 0), default=None)


async def fetch_bars(
    venue: MarketData, rules: Rules, timeframe_ns: int, newest_ns: int, trades: Sequence[Print], complete: bool
) -> list[Bar]:
    """Candles of the timeframe up to the bucket of `newest_ns`, the forming one included; oldest first.

    Below the venue's smallest size they are made of the trades, as far as these reach.
    """
    interval_ms = interval_for(timeframe_ns // NS_PER_MS, venue.capabilities.intervals_ms)
    last_ns = bucket(newest_ns, timeframe_ns)
    if interval_ms is None:
        return bars_of(trades, timeframe_ns, whole_bucket(trades, complete, timeframe_ns), last_ns)
    start_ms = (
        last_ns - (CANDLES + 1) * timeframe_ns
    ) // NS_PER_MS  # the one before the last may still count as running
    end_ms = (last_ns + timeframe_ns) // NS_PER_MS
    bars = await venue.candles(rules, interval_ms, max(0, start_ms), end_ms)
    return aggregate(bars, timeframe_ns)
