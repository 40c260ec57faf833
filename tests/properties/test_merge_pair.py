"""A pair through connections, cuts, polls and restarts: the tape has the true sequence exactly once, in order."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from bus.records import BACKFILL, CANDLE, HOLE, TRADE
from core.clock import NS_PER_MS, NS_PER_S
from feeder import history
from feeder.guard import Counts
from feeder.pair import PairFeed
from venues.venue import Rules, Trade, TradesAnswer

MINUTE = 60 * NS_PER_S
START = 1_700_000_000_003 * NS_PER_MS
RULES = Rules("P", "P", "BTC", "USDT", Decimal("0.01"), Decimal("0.00001"), Decimal("0.00001"), Decimal(5))
# ms between trades: equal times are common, minutes pass as well, and some fall on a whole second (NEXT_SECOND).
NEXT_SECOND = -1
STEPS = st.sampled_from([0, 0, 1, 3, 40_007, NEXT_SECOND])


def new_pair():
    return PairFeed(0, RULES, MINUTE, 30 * NS_PER_S, False, Counts())


class World:
    """The market's trades so far, one pair, and what it taped."""

    def __init__(self, draw) -> None:
        self.draw = draw
        self.trades: list[Trade] = []
        self.tape: list[tuple] = []
        self.pair = new_pair()
        self.heard = 0  # the stream has delivered trades up to here
        self.now = START
        self.happen(self.draw(st.integers(1, 6)))

    def happen(self, count: int) -> None:
        """Equal trades in one millisecond right across a seam nobody can tell apart: each burst begins in a new one."""
        self.now += NS_PER_MS
        for _ in range(count):
            step = self.draw(STEPS)
            self.now += -self.now % NS_PER_S if step == NEXT_SECOND else step * NS_PER_MS
            price = 100.0 + self.draw(st.integers(0, 1))
            self.trades.append(Trade("P", self.now, price, 1.0, self.draw(st.integers(1, 2)), 0, self.now))

    def answer(self) -> TradesAnswer:
        """As far back as it takes to be unmistakable: an older time than the tape's last trade."""
        taped = sum(1 for record in self.tape if record[0] == TRADE)
        last = max(0, self.first + taped - 1)
        reach = min(self.draw(st.integers(0, 30)), last)
        while reach > 0 and self.trades[reach].time_ns >= self.trades[last].time_ns:
            reach -= 1
        return TradesAnswer(self.trades[reach:], reach == 0, 0)

    first = 0  # the first trade that belongs on the tape

    def settle(self, flags: int) -> None:
        pair = self.pair
        answer = pair.read(self.answer())
        plan = pair.plan(answer)
        bars = None
        if pair.wants_history(answer, plan):
            bars = history.bars_of(pair.read(TradesAnswer(self.trades, True, 0)).prints, MINUTE, 0, 2**62)
        before = len(self.tape)
        self.tape += pair.settle(answer, plan, bars, flags, self.now, 0)
        if bars is not None and before == 0:
            first = next((record for record in self.tape if record[0] == TRADE), None)
            since = first[4] if first else pair.guard.bucket_ns
            self.first = next((n for n, t in enumerate(self.trades) if t.time_ns >= since), len(self.trades))

    def deliver(self, upto: int) -> None:
        while self.heard < upto:
            self.tape += self.pair.stream(self.trades[self.heard], 0)
            self.heard += 1

    def connect(self) -> None:
        """Joins; some trades arrive before REST answers, the answer may know more than the stream brought."""
        self.heard = len(self.trades)
        self.pair.join()
        self.happen(self.draw(st.integers(0, 4)))
        self.deliver(self.draw(st.integers(self.heard, len(self.trades))))
        self.settle(BACKFILL)
        self.deliver(len(self.trades))

    def live(self) -> None:
        self.happen(self.draw(st.integers(0, 6)))
        if self.pair.streaming:
            self.deliver(len(self.trades))

    def cut(self) -> None:
        self.pair.part()
        self.happen(self.draw(st.integers(0, 4)))

    def poll(self) -> None:
        if not self.pair.streaming:
            self.happen(self.draw(st.integers(0, 4)))
            self.settle(0)

    def restart(self) -> None:
        """kill -9: what was not taped is gone from memory."""
        self.pair = new_pair()
        trades = [record for record in self.tape if record[0] == TRADE]
        candles = [record for record in self.tape if record[0] == CANDLE]
        self.pair.restore(trades[-600:], candles[-3:])


def taped(world):
    return [(r[4], r[6], r[1]) for r in world.tape if r[0] == TRADE]


def truth(world):
    return [(t.time_ns, t.price, t.side) for t in world.trades[world.first :]]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_trade_once_through_whatever_happens(data):
    world = World(data.draw)
    world.connect()
    for action in data.draw(st.lists(st.sampled_from(["live", "cut", "poll", "restart", "connect"]), max_size=8)):
        if action == "connect":
            world.pair.part()
        getattr(world, action)()
    world.pair.part()
    world.settle(BACKFILL)
    assert not any(record[0] == HOLE for record in world.tape)
    assert taped(world) == truth(world)
