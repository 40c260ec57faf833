"""A fetch that is killed at any record and begun again, by answers of any size, makes the same tape."""

from decimal import Decimal

from hypothesis import example, given
from hypothesis import strategies as st

from backtest.fetch import NO_END, Judge, Numbered, Span
from bus.layouts import HOLE
from feeder.packing import Record
from venues.venue import PastAnswer, Rules, Trade

NS = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
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
@example([(1, 0, 100.0, False), (1, 0, 250.0, False), (5, 0, 250.0, True), (1, 0, 250.0, False)], [2], [3], [1, 1])
def test_kills_and_sizes_change_nothing(steps, sizes, other_sizes, kills):
    venue, span = market(steps), Span(NS, NO_END)
    whole = fetched(venue, span, sizes, [])
    tape: list[Record] = []
    for more in kills:
        tape = fetched(venue, span, other_sizes, tape, len(tape) + more)
    assert fetched(venue, span, other_sizes, tape) == whole
    ids = [record[10] for record in whole if record[0] != HOLE]
    assert ids == sorted(set(ids)) and set(ids) <= {trade.trade_id for trade in venue.trades}


@given(st.lists(STEPS, max_size=40), SIZES, st.integers(0, 120))
def test_a_later_end_adds_what_an_earlier_one_left(steps, sizes, seconds):
    venue = market(steps)
    early = fetched(venue, Span(NS, NS + seconds * SECOND), sizes, [])
    assert fetched(venue, Span(NS, NO_END), sizes, early) == fetched(venue, Span(NS, NO_END), sizes, [])
