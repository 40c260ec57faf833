"""Whatever happens in whatever order, nobody comes to the full stake but by reconciled trades."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from trader.ladder import Ladder, Rungs, agreed, closed, diverged, stake


class Climbing(RuleBasedStateMachine):
    """The ladder beside a plain count of what was reconciled since the last divergence."""

    @initialize(first=st.integers(1, 1_000), times=st.integers(1, 40), trades=st.integers(0, 5))
    def begin(self, first: int, times: int, trades: int) -> None:
        self.rungs = Rungs(first, first * times, trades)
        self.ladder = Ladder()
        self.waiting = 0
        self.reconciled = 0
        self.before = self.most = first

    @rule()
    def a_trade_closes(self) -> None:
        self.ladder = closed(self.ladder)
        self.waiting += 1
        assert stake(self.ladder, self.rungs) == self.before, "nothing is gained by trading alone"

    @rule()
    def books_and_venue_agree(self) -> None:
        self.ladder = agreed(self.ladder, self.rungs)
        self.reconciled += self.waiting
        self.waiting = 0
        now = stake(self.ladder, self.rungs)
        assert self.before <= now <= 2 * self.before, "one rung at a time, and never down"
        self.before = now
        self.most = max(self.most, now)

    @rule()
    def they_differ(self) -> None:
        self.ladder = diverged()
        self.waiting = self.reconciled = 0
        self.before = self.most = stake(self.ladder, self.rungs)
        assert self.before == self.rungs.first

    @rule(times=st.integers(1, 40))
    def another_capital(self, times: int) -> None:
        self.rungs = self.rungs._replace(top=self.rungs.first * times)
        now = stake(self.ladder, self.rungs)
        assert now <= self.most, "a higher capital alone leads no further than one has been"
        self.before = now

    @rule()
    def a_restart(self) -> None:
        self.ladder = Ladder(*self.ladder)

    @invariant()
    def no_more_than_was_earned(self) -> None:
        now = stake(self.ladder, self.rungs)
        rungs = self.reconciled // self.rungs.trades if self.rungs.trades else 0
        assert now <= self.rungs.top
        assert now <= self.rungs.first * 2**rungs


TestClimbing = Climbing.TestCase
TestClimbing.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
