"""Is the tape what the sandbox traded? The synthetic market is made again from its seed and birth and compared.

Every trade of a pair from its first on the tape to its last stands there once, in the market's order, or between the
times of a HOLE that stands at that place. Nothing else does. Candles of the history are those of the market's trades.
A HOLE is right only where the exchange did not tell any more what happened: it tells its latest trades, however long it
was away, so that one needs an outage of half a minute at the least.
"""

import bisect
import json
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from sandbox.faces.coindcx_public import TRADES_MOST
from sandbox.market import Synthetic
from tests.chaos.findings import Finding, finding
from tests.reference.read_tape import CANDLE, HOLE, KIND_CANDLE, KIND_HOLE, KIND_TRADE, TRADE, Segment

MS = 1_000_000
FORMING, PARTIAL = 32, 16
SIDE_BUY, SIDE_SELL = 1, 2
HELD_MS = 10_000  # the feeder holds a stream back for the exchange's answer no longer than this

Row = tuple[int, int, int, int]  # ms, ticks, lots, side


@dataclass
class Story:
    """What the tape says of one pair: trades with their numbers, and HOLEs before a place among them."""

    trades: list[tuple[int, Row]] = field(default_factory=list)
    holes: dict[int, list[tuple[int, int]]] = field(default_factory=dict)  # place: (from_ms, to_ms)
    candles: list[tuple[int, int, tuple[float, float, float, float]]] = field(default_factory=list)  # number, ms, ohlc


def stories(segments: list[Segment]) -> dict[str, Story]:
    """The tape pair by pair."""
    found: dict[str, Story] = {}
    for segment in segments:
        for number, raw in enumerate(segment.records, segment.first):
            kind, flags = raw[0], int.from_bytes(raw[2:4], "little")
            if kind not in (KIND_TRADE, KIND_HOLE, KIND_CANDLE):
                continue
            story = found.setdefault(segment.pairs[int.from_bytes(raw[4:8], "little")], Story())
            if kind == KIND_TRADE:
                _, side, _, _, ts_ns, _, _, _, ticks, lots, _ = TRADE.unpack(raw)
                story.trades.append((number, (ts_ns // MS, ticks, lots, side)))
            elif kind == KIND_HOLE:
                _, _, _, _, from_ns, to_ns = HOLE.unpack_from(raw)
                story.holes.setdefault(len(story.trades), []).append((from_ns // MS, to_ns // MS))
            elif not flags & (FORMING | PARTIAL):
                _, _, _, _, open_ns, *values, _, _ = CANDLE.unpack(raw)
                story.candles.append((number, open_ns // MS, (values[0], values[1], values[2], values[3])))
    return found


def market_of(book: Path) -> Synthetic:
    """The market of this book's sandbox."""
    born = json.loads((book / "sandbox.json").read_text())
    return Synthetic(born["seed"], born["born_ms"])


def rows_of(market: Synthetic, pair: str, from_ms: int, to_ms: int) -> list[Row]:
    """What the market traded from `from_ms` to before `to_ms`."""
    trades, rules = market.span(pair, from_ms, to_ms), market.rules[pair]
    columns = (trades.ts_ms.tolist(), trades.ticks.tolist(), trades.units.tolist(), trades.sell.tolist())
    return [
        (ms, ticks, units // rules.step_units, SIDE_SELL if sell else SIDE_BUY)
        for ms, ticks, units, sell in zip(*columns, strict=True)
    ]


def judge_tape(segments: list[Segment], market: Synthetic, pairs: list[str], until_ms: int, frame_ms: int) -> Finding:
    """Compares all pairs. `until_ms`: the feeder was well until then, so that the tape must reach that far."""
    wrong: list[str] = []
    found = stories(segments)
    trades = holes = left_out = candles = 0
    for pair in pairs:
        story = found.get(pair, Story())
        rules, terms = market.rules[pair], segments[-1].markets[pair]
        tick, step = Decimal(1).scaleb(-rules.price_digits), Decimal(rules.step_units).scaleb(-rules.quantity_digits)
        if (terms.tick, terms.step) != (tick, step):
            wrong.append(f"{pair}: the tape counts in {terms.tick} and {terms.step}")
            continue
        faults, missing = compare(pair, story, market, until_ms)
        wrong += faults + needless(pair, story, market) + compare_candles(pair, story, market, frame_ms)
        trades, left_out, candles = trades + len(story.trades), left_out + missing, candles + len(story.candles)
        holes += sum(len(some) for some in story.holes.values())
    text = f"{trades} trades of {len(pairs)} pairs and {candles} candles of history as the sandbox made them"
    return finding("tape", f"{text}; {holes} holes with {left_out} trades", wrong)


def compare(pair: str, story: Story, market: Synthetic, until_ms: int) -> tuple[list[str], int]:
    """What is wrong with one pair's trades, and how many lie in its holes."""
    if not story.trades:
        return [f"{pair}: no trade on the tape"], 0
    first_ms, last_ms = story.trades[0][1][0], story.trades[-1][1][0]
    sent = rows_of(market, pair, first_ms, max(last_ms, until_ms) + 1)
    times = [row[0] for row in sent]
    wrong: list[str] = []
    in_holes = 0
    at = beginning(story, sent)
    for place, (number, row) in enumerate(story.trades):
        spans = story.holes.get(place, []) if place else []
        after = at
        if spans:  # what follows a hole may begin anywhere behind it
            after = next((n for n in range(at, len(sent)) if sent[n] == row), at)
            outside = [one for one in sent[at:after] if not any(low <= one[0] <= high for low, high in spans)]
            wrong += [f"{pair}: {one} is missing before record {number} and not in its hole {spans}" for one in outside]
            in_holes += after - at
        if after >= len(sent) or sent[after] != row:
            wrong.append(misplaced(pair, number, row, sent, times, after))
            break
        at = after + 1
    else:
        missing = [row for row in sent[at:] if row[0] <= until_ms]
        if missing:
            wrong.append(f"{pair}: the tape ends at {last_ms}, {len(missing)} trades until {until_ms} are not on it")
    return wrong, in_holes


def needless(pair: str, story: Story, market: Synthetic) -> list[str]:
    """HOLEs although the exchange could tell all that happened since the trade before them."""
    wrong = []
    for low, high in (span for place in sorted(story.holes) for span in story.holes[place]):
        traded = len(market.span(pair, low + 1, high + HELD_MS))
        if traded < TRADES_MOST:
            wrong.append(f"{pair}: a hole from {low} to {high}, where all {traded} trades could be had")
    return wrong


def beginning(story: Story, sent: list[Row]) -> int:
    """Where the tape begins among the trades of its first moment."""
    first = [row for _, row in story.trades[:20]]
    same = [n for n in range(len(sent)) if sent[n][0] == first[0][0]]
    return next((n for n in same if sent[n : n + len(first)] == first), 0)


def misplaced(pair: str, number: int, row: Row, sent: list[Row], times: list[int], at: int) -> str:
    """In words, what stands where another trade should."""
    expected = sent[at] if at < len(sent) else None
    text = f"{pair}: record {number} is {row}, expected {expected}"
    low = bisect.bisect_left(times, row[0])
    places = [n for n in range(low, min(low + 50, len(sent))) if sent[n] == row]
    if not places:
        return f"{text}; the market never traded it"
    if places[-1] < at:
        return f"{text}; it is told again, {at - places[-1]} trades late"
    return f"{text}; {places[0] - at} trades are missing before it"


def compare_candles(pair: str, story: Story, market: Synthetic, frame_ms: int) -> list[str]:
    """Candles of the history against the market's trades; one without trades stands at the close before it."""
    wrong = []
    scale = 10.0 ** market.rules[pair].price_digits
    for number, open_ms, found in story.candles:
        ticks = market.span(pair, open_ms, open_ms + frame_ms).ticks
        if not len(ticks):
            ticks = market.last(pair, open_ms - 1, 1).ticks
        expected = tuple(int(value) / scale for value in (ticks[0], ticks.max(), ticks.min(), ticks[-1]))
        if any(abs(one - other) > 1e-9 * other for one, other in zip(found, expected, strict=True)):
            wrong.append(f"{pair}: candle {number} of {open_ms} is {found}, of the trades {expected}")
    return wrong
