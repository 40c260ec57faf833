"""A fetch that is killed at any record and begun again, by answers of any size, makes the same tape."""

import asyncio
import io
import os
from decimal import Decimal
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from backtest.fetch import NO_END, Judge, Numbered, Span
from backtest.fetching import Fetching, Wanted
from backtest.progress import Progress
from bus.layouts import HOLE
from bus.segment import read_header
from core.clock import NS_PER_MS, ManualClock
from core.settings_load import from_texts
from feeder.packing import Record
from venues.venue import Bar, Capabilities, PastAnswer, Rules, Trade, TradesAnswer

NS = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
RULES = Rules("BTCUSDT", "BTCUSDT", "BTC", "USDT", Decimal("0.1"), Decimal("0.001"), Decimal(0), Decimal(0))


class Venue:
    """Trades with ids; an answer ends before one that cannot be reached from the one before it (`torn`)."""

    def __init__(self, trades: list[Trade], torn: set[int]) -> None:
        self.trades = trades
        self.torn = torn

    def answer(self, from_ns: int, last: Trade | None, size: int) -> PastAnswer:
        if last is None:
            place = next((n for n, trade in enumerate(self.trades) if trade.time_ns >= from_ns), len(self.trades))
        else:
            place = next((n for n, trade in enumerate(self.trades) if trade.trade_id >= last.trade_id), 0)
            if place + 1 < len(self.trades) and self.trades[place + 1].trade_id in self.torn:
                place += 1
        rows = self.trades[place : place + size]
        end = next((n for n, trade in enumerate(rows) if n and trade.trade_id in self.torn), len(rows))
        return PastAnswer(rows[:end], 0)


def fetched(venue: Venue, span: Span, sizes: list[int], before: list[Record], most: int | None = None) -> list[Record]:
    """The tape after a fetch that is killed at `most` records."""
    tape = list(before)
    while tape and tape[-1][0] == HOLE:
        tape.pop()
    way = Numbered(Judge(RULES, 60 * SECOND), span, tape)
    turn = 0
    while not way.ended:
        tape += way.take(venue.answer(span.from_ns, way.last, sizes[turn % len(sizes)]), "venue", None)
        turn += 1
        if most is not None and len(tape) >= most:
            return tape[:most]
    return tape


STEPS = st.tuples(
    st.sampled_from([1, 1, 1, 1, 5]),  # of the id
    st.sampled_from([0, 1, SECOND, 50 * SECOND, -70 * SECOND]),  # of the time
    st.sampled_from([100.0, 100.1, 101.0, 250.0, 251.0, 30.0, -1.0]),  # price
    st.booleans(),  # not to be reached from the one before
)
SIZES = st.lists(st.integers(2, 7), min_size=1, max_size=4)


def market(steps: list[tuple[int, int, float, bool]]) -> Venue:
    trades: list[Trade] = []
    number, time_ns = 100, NS
    torn: set[int] = set()
    for jump, passed_ns, price, tears in steps:
        number += jump
        time_ns += passed_ns
        trades.append(Trade("BTCUSDT", time_ns, price, 0.001, 1, number, 7))
        if tears and jump > 1:
            torn.add(number)
    return Venue(trades, torn)


@given(st.lists(STEPS, max_size=40), SIZES, SIZES, st.lists(st.integers(0, 12), max_size=4))
@example([(1, 0, 100.0, False), (1, 0, -1.0, False), (5, 0, 250.0, True), (1, 0, 250.0, False)], [2], [3], [1, 1])
@example(
    [(1, 50 * SECOND, 100.0, False)] * 2 + [(1, -70 * SECOND, 250.0, False)] + [(1, 0, 250.0, False)] * 2, [2], [2], [3]
)
def test_kills_and_sizes_change_nothing(steps, sizes, other_sizes, kills):
    venue, span = market(steps), Span(NS, NO_END)
    whole = fetched(venue, span, sizes, [])
    tape: list[Record] = []
    for more in kills:
        tape = fetched(venue, span, other_sizes, tape, len(tape) + more)
    assert fetched(venue, span, other_sizes, tape) == whole
    ids = [record[10] for record in whole if record[0] != HOLE]
    assert ids == [trade.trade_id for trade in venue.trades if trade.price > 0 and trade.time_ns >= NS]


@given(st.lists(STEPS, max_size=40), SIZES, st.integers(0, 120))
def test_a_later_end_adds_what_an_earlier_one_left(steps, sizes, seconds):
    venue = market(steps)
    early = fetched(venue, Span(NS, NS + seconds * SECOND), sizes, [])
    assert fetched(venue, Span(NS, NO_END), sizes, early) == fetched(venue, Span(NS, NO_END), sizes, [])


class Latest:
    """A venue without ids that serves its latest trades and candles of minutes."""

    name = "sandbox"
    tape_clock = False
    capabilities = Capabilities(recent_trades_max=30, intervals_ms=(60_000,), candles_max=2, trade_ids=False)

    def __init__(self, trades: list[Trade], most: int) -> None:
        self.trades = trades
        self.most = most

    async def markets(self) -> list[Rules]:
        return [RULES]

    def resolve(self, wanted: object, markets: list[Rules]) -> list[Rules]:
        return markets

    def fees_bps(self, quote: str) -> tuple[Decimal, Decimal]:
        return Decimal(5), Decimal(5)

    def clock_offset_ns(self) -> int:
        return 0

    async def recent_trades(self, rules: Rules, since: Trade | None = None) -> TradesAnswer:
        return TradesAnswer(self.trades[-self.most :], len(self.trades) <= self.most, 0)

    async def candles(self, rules: Rules, interval_ms: int, start_ms: int, end_ms: int) -> list[Bar]:
        opens = sorted({trade.time_ns // MINUTE * MINUTE for trade in self.trades})
        return [Bar(ns, 1.0, 1.0, 1.0, 1.0, 1.0) for ns in opens if start_ms <= ns // NS_PER_MS < end_ms]


def fetch_latest(venue: Latest, out: Path, clock: ManualClock) -> bytes:
    """The records after a fetch."""
    fetching = Fetching(
        venue,  # type: ignore[arg-type]
        from_texts({}),
        clock,
        lambda total, begun: Progress("fetches", total, clock, io.StringIO(), begun),
        lambda text: None,
    )
    asyncio.run(fetching.run(Wanted(out, NS, None)))
    return out.read_bytes()[read_header(out).size :]


CONTENTS = st.tuples(st.sampled_from([0, 0, 1, 7, 40, 200]), st.sampled_from([100.0, 100.0, 100.1]))


@given(
    st.lists(CONTENTS, min_size=1, max_size=40),
    st.integers(0, 40),
    st.integers(1, 30),
    st.lists(st.floats(0, 1), max_size=3),
)
def test_a_tape_without_ids_that_is_cut_anywhere_becomes_the_same(tmp_path_factory, contents, early, most, cuts):
    """`early`: how many of the trades an earlier fetch knew; what that one wrote is not cut."""
    folder = tmp_path_factory.mktemp("latest")
    trades, time_ns = [], NS
    for passed_s, price in contents:
        time_ns += passed_s * SECOND
        trades.append(Trade("BTCUSDT", time_ns, price, 0.001, 1, 0, 7))
    out, clock = folder / "a.tape", ManualClock(NS + SECOND)
    if trades[:early]:
        clock.set_wall_ns(trades[:early][-1].time_ns + SECOND)
    fetch_latest(Latest(trades[:early], most), out, clock)
    head = out.stat().st_size
    clock.set_wall_ns(time_ns + SECOND)
    whole = fetch_latest(Latest(trades, most), out, clock)
    for cut in cuts:
        os.truncate(out, head + int(cut * (out.stat().st_size - head)))
        assert fetch_latest(Latest(trades, most), out, clock) == whole
