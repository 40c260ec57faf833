"""The seam by ids: whatever the stream repeats, loses, mixes up, whenever REST answers: each trade is taped once."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from bus.records import BACKFILL, HOLE, TRADE
from core.clock import NS_PER_MS, NS_PER_S
from feeder import history
from feeder.guard import Counts
from feeder.numbered import NumberedPair
from venues.venue import Rules, Trade, TradesAnswer

MINUTE = 60 * NS_PER_S
START = 1_700_000_000_003 * NS_PER_MS
RULES = Rules("P", "P", "BTC", "USDT", Decimal("0.01"), Decimal("0.00001"), Decimal("0.00001"), Decimal(5))


def new_pair():
    return NumberedPair(0, RULES, MINUTE, 30 * NS_PER_S, False, Counts())


class World:
    """A market, its stream, its REST, one pair, and what that taped."""

    def __init__(self, draw, jumps: bool = False) -> None:
        self.draw = draw
        self.jumps = jumps
        self.trades: list[Trade] = []
        self.tape: list[tuple] = []
        self.pair = new_pair()
        self.heard = 0  # the stream is here
        self.now = START
        self.next_id = draw(st.integers(1, 5))
        self.happen(draw(st.integers(1, 6)))

    def happen(self, count: int) -> None:
        """All alike and at one time, as ids alone must tell them apart; ids may jump with nothing between."""
        self.now += NS_PER_MS
        for _ in range(count):
            if self.jumps and self.draw(st.integers(0, 4)) == 0:
                self.next_id += self.draw(st.integers(1, 3))
            self.trades.append(Trade("P", self.now, 100.0, 1.0, 1, self.next_id, self.now))
            self.next_id += 1

    def settle(self, flags: int = BACKFILL, lag: int = 0, reach: int | None = None) -> None:
        """REST answers as it was `lag` trades ago, back to the tape's end or to `reach` trades."""
        pair = self.pair
        rows = self.trades[: max(0, len(self.trades) - lag)]
        since = pair.last_trade()
        if reach is not None:
            rows = rows[max(0, len(rows) - reach) :]
        elif since is not None:
            rows = [trade for trade in rows if trade.trade_id >= since.trade_id]
        answer = pair.read(TradesAnswer(rows, reach is None and since is None, 0))
        plan = pair.plan(answer)
        if not plan.sealed and not plan.places and not plan.ready:
            return
        bars = None
        if pair.wants_history(answer, plan):
            if not plan.sealed:
                return
            bars = history.bars_of(pair.read(TradesAnswer(rows, True, 0)).prints, MINUTE, 0, 2**62)
        if pair.live and bars is None:
            return
        self.tape += pair.settle(answer, plan, bars, flags, self.now, 0)

    def deliver(self, upto: int) -> None:
        """The stream brings trades, some twice, some never, neighbours in another order."""
        span = list(range(self.heard, upto))
        self.heard = max(self.heard, upto)
        for place in span:
            for _ in range(self.draw(st.sampled_from([1, 1, 1, 0, 2]))):
                back = self.draw(st.sampled_from([0, 0, 0, 1, 2]))
                self.tape += self.pair.stream(self.trades[max(0, place - back)], 0)

    def step(self) -> None:
        what = self.draw(st.sampled_from(["happen", "deliver", "settle", "cut", "join", "poll", "restart"]))
        pair = self.pair
        if what == "happen":
            self.happen(self.draw(st.integers(1, 5)))
        elif what == "deliver" and pair.streaming:
            self.deliver(self.draw(st.integers(self.heard, len(self.trades))))
        elif what == "settle" and pair.streaming:
            self.settle(lag=self.draw(st.integers(0, 3)))
        elif what == "cut" and pair.streaming:
            pair.part()
        elif what == "join" and not pair.streaming:
            self.heard = len(self.trades) - self.draw(st.integers(0, 2))
            pair.join()
        elif what == "poll" and not pair.streaming:
            self.settle(flags=0)
        elif what == "restart":
            self.pair = new_pair()
            candles = [record for record in self.tape if record[0] != TRADE and record[0] != HOLE]
            self.pair.restore([record for record in self.tape if record[0] == TRADE], candles[-3:])

    def taped(self) -> list[int]:
        return [record[10] for record in self.tape if record[0] == TRADE]

    def end(self) -> None:
        """Nothing happens any more, and REST says all."""
        if self.pair.streaming:
            self.pair.part()
        self.settle()


@given(data=st.data(), jumps=st.booleans(), steps=st.integers(1, 25))
@settings(max_examples=100, deadline=None)
def test_the_tape_has_every_trade_once_and_in_order(data, jumps, steps):
    world = World(data.draw, jumps)
    world.settle()  # a history: what lies before the first taped trade is in its candles
    for _ in range(steps):
        world.step()
    world.end()
    taped = world.taped()
    true = [trade.trade_id for trade in world.trades]
    assert not [record for record in world.tape if record[0] == HOLE]
    assert taped == true[len(true) - len(taped) :]
    assert len(taped) >= len(true) - 6 - 5 * steps


@given(data=st.data(), steps=st.integers(1, 25))
@settings(max_examples=80, deadline=None)
def test_out_of_reach_is_a_hole_and_never_a_repeat(data, steps):
    world = World(data.draw)
    world.settle()
    for _ in range(steps):
        world.step()
        if data.draw(st.integers(0, 3)) == 0:
            world.settle(reach=data.draw(st.integers(1, 4)))
        if data.draw(st.integers(0, 5)) == 0 and world.pair.streaming and not world.pair.live:
            world.tape += world.pair.abandon(0)
    taped = world.taped()
    assert taped == sorted(set(taped))
    last = None
    for record in world.tape:
        if record[0] == TRADE:
            assert last is None or record[10] == last + 1, "a break without a hole before it"
            last = record[10]
        elif record[0] == HOLE:
            last = None
