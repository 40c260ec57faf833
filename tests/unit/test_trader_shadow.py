"""The shadow beside real orders: every rule of `trader.shadow` by its name; the venue is a broker that answers late."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from bus.messages import OrderEvent, ShadowEvent, StateEvent, TradeEvent, TraderEvent
from bus.records import LATE
from core.money import UNIT, worsened
from tests.trader_world import HASH, Live, Tape, market, of, settings, start
from trader import fills, inputs, replay
from trader.broker import BrokerEvent, Tick
from trader.engine import Engine
from trader.orders import OrderNews
from trader.paper import PaperBroker
from trader.risk import Approved
from trader.shadow import DIVERGES, Shadow, median_bps
from trader.state import ENTRY, HALTED, NO_SPAN, Order, ShadowState, State, pack, unpack
from trader.status import status_of
from trader.terms import MarketTerms, Terms, terms_of
from trader.words import words

PAPER = {"paper_fill": "tape", "paper_latency_ms": "0", "trade_capital": "1000", "paper_balance": "1000000"}


class Venue:
    """A real venue's broker: fills `after` trades later, `worse` parts worse, in `pieces`; or what `answers` says."""

    def __init__(self, *, worse: int = 0, after: int = 1, pieces: int = 1) -> None:
        self.worse, self.after, self.pieces = worse, after, pieces
        self.answers: dict[str, OrderNews] = {}  # by purpose: an end without a fill
        self._order: Order | None = None
        self._waited = 0
        self._told: list[BrokerEvent] = []

    def submit(self, approved: Approved, tick: Tick, market: MarketTerms, fee: int) -> None:
        self._order, self._waited = approved.order, 0

    def cancel(self, order_id: str) -> None:
        self._order = None
        self._told.append(BrokerEvent(order_id, OrderNews.CANCEL_DONE))

    def match(self, tick: Tick, market: MarketTerms, fee: int, spendable: int) -> None:
        order = self._order
        if order is None or order.pair != market.pair:
            return
        self._waited += 1
        if self._waited < self.after:
            return
        if order.purpose in self.answers:
            self._order = None
            self._told.append(BrokerEvent(order.id, self.answers[order.purpose]))
            return
        buying = order.purpose == ENTRY
        left = order.left
        part = -(-left // max(1, self.pieces - (self._waited - self.after)))
        ticks = worsened(tick.ticks, self.worse, buying)
        cost = fills.buy_cost(ticks, part, market.num, market.den, fee, 0)
        cash = cost if buying else fills.sell_proceeds(ticks, part, market.num, market.den, fee, 0)
        gross = ticks * market.scale.tick * part * market.scale.step
        paid = (Decimal(cash) / UNIT - gross) * (1 if buying else -1)
        news = OrderNews.ALL_FILLED if part == left else OrderNews.PART_FILLED
        price = ticks * market.scale.tick
        self._told.append(BrokerEvent(order.id, news, part, price, cash, paid, "USDT", time_ns=tick.ns))
        if part == left:
            self._order = None

    def take(self) -> list[BrokerEvent]:
        told, self._told = self._told, []
        return told


class Real(Live):
    """A fold over real orders with its shadow, wired as a stage would: events journalled, commands given back."""

    def __init__(self, tape: Tape, broker: Any, state: State | None = None, **changed: Any) -> None:
        self.terms = terms_of(settings(**(PAPER | changed)), HASH)
        fresh = state is None
        state = replay.new_state(self.terms, "j" * 32) if state is None else state
        self.tape, self.fed, self.events = tape, 0, []
        self.engine = Engine(self.terms, state, broker)
        self.shadow = Shadow(self.engine, self.terms)
        if fresh:
            self.give(inputs.NewStart(1, 0, tape.start))

    def give(self, item: inputs.Input) -> list[TraderEvent]:
        found = self.engine.handle(item)
        told, wanted = self.shadow.handle(item, found)
        found = [*found, *told]
        self.events += found
        for more in wanted:
            found += self.give(more)
        return found

    def feed(self, batch: int = 1000) -> list[TraderEvent]:
        found: list[TraderEvent] = []
        while self.fed < len(self.tape.rows):
            rows = self.tape.rows[self.fed : self.fed + batch]
            self.fed += len(rows)
            found += self.give(inputs.Updates(1, self.fed, b"".join(row.tobytes() for row in rows)))
        return found

    @property
    def compared(self) -> list[ShadowEvent]:
        return of(self.events, ShadowEvent)

    @property
    def kept(self) -> ShadowState:
        assert self.engine.state.shadow is not None
        return self.engine.state.shadow


def trip(tape: Tape, bought: float = 100, sold: float = 101) -> Tape:
    """A round trip: decided at one trade, filled by those that follow."""
    tape.trade(bought, "mr").trades([bought] * 3).trade(sold, "tp")
    return tape.trades([sold] * 3)


def real(tape: Tape, *, batch: int = 1000, broker: Any = None, worse: int = 0, pieces: int = 1, **changed: Any) -> Real:
    found = Real(tape, broker or Venue(worse=worse, pieces=pieces), **changed)
    found.feed(batch)
    return found


# --- the comparison -----------------------------------------------------------------------------------


def test_each_real_order_is_submitted_on_paper_with_the_same_lots_and_compared() -> None:
    found = real(trip(Tape(start(fee="10"))), worse=2_000)
    entry, exit_ = found.compared
    orders = {order.client_order_id: order for order in of(found.events, OrderEvent)}
    assert [one.action for one in found.compared] == ["buy", "sell"]
    assert [orders[one.client_order_id].status for one in found.compared] == ["filled"] * 2
    assert (entry.live_price, entry.paper_price, entry.live_quantity, entry.paper_quantity) == (
        *("100.2", "100"),
        *("10", "10"),
    )
    assert (exit_.live_price, exit_.paper_price) == ("100.79", "101")  # 101 less 20 bps is 100.798: to the tick


def test_the_difference_is_above_zero_where_we_did_worse_on_either_side() -> None:
    worse = real(trip(Tape()), worse=2_000).compared
    assert [one.difference_bps for one in worse] == ["20", "20.79"]
    assert [one.lost for one in worse] == ["2", "2.1"]
    better = real(trip(Tape()), worse=-2_000).compared
    assert [one.difference_bps for one in better] == ["-20", "-19.8"]
    assert [one.lost for one in better] == ["-2", "-2"]


def test_the_profit_on_paper_is_that_of_the_really_sold_quantity() -> None:
    found = real(trip(Tape(start(fee="10"))), worse=2_000)
    sale = found.compared[1]
    sold = of(found.events, TradeEvent)[-1]
    assert sale.live_profit == sold.profit
    # 10 x (101 - 100) less 0.1 % of 1,010 and of 1,000
    assert Decimal(sale.paper_profit or "") == Decimal(10) - Decimal("2.01")
    assert found.compared[0].paper_profit is None


def test_a_venue_like_paper_differs_in_nothing() -> None:
    tape = trip(trip(Tape(start(fee="10"))), 100, 99)
    found = real(tape, broker=PaperBroker(terms_of(settings(**PAPER), HASH)))
    assert [one.difference_bps for one in found.compared] == ["0"] * 4
    assert [one.live_profit == one.paper_profit for one in found.compared] == [True] * 4
    assert (found.kept.trades, found.kept.lost, median_bps(found.kept), found.kept.legs) == (4, 0, 0.0, {})


def test_a_leg_is_over_when_both_orders_are() -> None:
    """The venue needs three trades, paper one; and the other way round: paper gets a part of each trade."""
    tape = Tape().trade(100, "mr").trade(100).trade(100).trade(100)
    found = Real(tape, Venue(after=3))
    found.feed(1)
    assert [one.at.record for one in found.compared] == [4]
    rules = start(market(step="1", min_quantity="1", min_notional="0"))
    tape = Tape(rules).trade(100, "mr").trades([100] * 4, lots=3)
    found = real(tape, batch=1)
    assert [(one.at.record, one.paper_quantity) for one in found.compared] == [(5, "10")]


def test_partial_fills_count_by_their_quantity() -> None:
    tape = Tape().trade(100, "mr").trade(100).trade(101).trade(102)
    found = real(tape, pieces=3)
    assert [(one.live_price, one.paper_price) for one in found.compared] == [("100.9999", "100")]


def test_an_order_of_the_pair_that_follows_ends_what_still_works_on_paper() -> None:
    """No trade is large enough to fill paper before the real position is sold again."""
    rules = start(market(step="1", min_quantity="1", min_notional="0"))
    tape = Tape(rules).trade(100, "mr").trade(100, lots=4).trade(101, "tp", lots=3).trade(101).trade(101)
    found = real(tape)
    entry, exit_ = found.compared
    assert (entry.live_quantity, entry.paper_quantity) == ("10", "7")
    assert (exit_.live_quantity, exit_.paper_quantity) == ("10", "10")
    # paper bought 7 at (4 x 100 + 3 x 101) / 7: of the 10 sold, so much a piece
    assert Decimal(exit_.paper_profit or "") == pytest.approx(Decimal(1010) - Decimal(7030) / 7)


@pytest.mark.parametrize("answer", [OrderNews.REFUSED, OrderNews.CANCEL_DONE, OrderNews.NO_ANSWER])
def test_where_one_of_the_two_did_not_fill_there_is_no_difference_and_it_is_recorded(answer: OrderNews) -> None:
    venue = Venue()
    venue.answers[ENTRY] = answer
    tape = Tape().trade(100, "mr").trades([100] * 3)
    found = Real(tape, venue)
    found.feed()
    if answer == OrderNews.NO_ANSWER:
        assert found.compared == []  # it may have filled: nothing is over
        return
    (one,) = found.compared
    assert (one.live_price, one.paper_price, one.live_quantity, one.paper_quantity) == (None, "100", "0", "10")
    assert (one.difference_bps, one.lost) == (None, None)
    assert (found.kept.trades, found.kept.recent) == (0, [])


def test_where_the_real_order_is_cancelled_paper_cancels() -> None:
    tape = Tape().trade(100, "mr")
    found = Real(tape, Venue(after=9))
    found.feed()
    found.give(inputs.Command("halt", "h1"))
    tape.trades([100] * 3)
    found.feed()
    (one,) = found.compared
    assert (one.live_price, one.paper_price) == (None, None)


def test_late_trades_fill_nothing_on_paper_and_other_pairs_neither() -> None:
    two = start(market(), market("B-ETH_USDT"))
    tape = Tape(two).trade(100, "mr").trade(50, flags=LATE).trade(70, pair=1).trade(100)
    found = Real(tape, Venue())
    found.feed()
    assert [(one.paper_price, one.at.record) for one in found.compared] == [("100", 4)]


def test_raw_records_of_a_span_fill_paper_too() -> None:
    tape = Tape().trade(100, "mr")
    found = Real(tape, Venue())
    found.feed()
    found.give(inputs.SpanBegin("blind", 1, 2, -1, "test"))
    tape.trade(100).trade(100)
    raws = tape.raws[1:]
    found.give(inputs.Raws(1, 2, raws))
    found.give(inputs.SpanEnd())
    assert [(one.paper_price, one.difference_bps) for one in found.compared] == [("100", "0")]


def test_a_venue_that_counts_anew_ends_the_paper_order_as_it_is() -> None:
    tape = Tape().trade(100, "mr")
    found = Real(tape, Venue())
    found.feed()
    finer = start(market(step="0.0001"))
    found.give(inputs.NewStart(1, 1, finer))
    tape.trade(100)
    found.feed()
    (one,) = found.compared
    assert (one.live_quantity, one.paper_quantity, one.paper_price) == ("10", "0", None)


# --- the limit ----------------------------------------------------------------------------------------


def trips(count: int) -> Tape:
    tape = Tape(start(market(tick="0.0001")))
    for _ in range(count):
        trip(tape)
    return tape


def halts(found: Real) -> list[StateEvent]:
    return [event for event in of(found.events, StateEvent) if event.state == HALTED]


@pytest.mark.parametrize(
    ("limit", "halted_after"),
    [("20", 20), ("10", 10), ("19.99", 20), ("5", 5), ("20.01", None), ("0", None)],
)
def test_twenty_bps_of_extra_slippage_halt_after_so_many_trades(limit: str, halted_after: int | None) -> None:
    """The account pays 20 bps more than paper each time: 20 x the limit is reached after limit trades of 20 bps."""
    found = real(trips(13), worse=2_000, shadow_limit_bps=limit, batch=1)
    told = halts(found)
    if halted_after is None:
        assert told == []
        assert found.kept.trades == 26
        return
    assert [(event.reason, event.command) for event in told] == [(DIVERGES, "halt")]
    before = found.events[: found.events.index(told[0])]
    assert [one.difference_bps for one in of(before, ShadowEvent)] == ["20"] * halted_after
    assert len(found.compared) <= halted_after + 1, "what was held is sold, and no entry follows"


def test_the_default_limit_is_fifty_and_better_than_paper_never_halts() -> None:
    assert settings().shadow_limit_bps == 50
    assert halts(real(trips(13), worse=2_000)) == []
    assert halts(real(trips(13), worse=-20_000, shadow_limit_bps="1")) == []


def test_a_halt_for_divergence_sells_what_is_held_by_the_stop() -> None:
    """The entry's difference halts; the position is not left alone."""
    tape = Tape().trade(100, "mr").trades([100] * 2).trade(99.4).trade(99.4)
    found = real(tape, worse=2_000, shadow_limit_bps="1", batch=1)
    assert len(halts(found)) == 1
    assert [trade.reason for trade in of(found.events, TradeEvent)] == ["mean_reversion", "trailing_stop"]


def test_resume_begins_the_count_anew() -> None:
    found = real(trips(4), worse=2_000, shadow_limit_bps="4", batch=1)
    assert len(halts(found)) == 1
    assert found.kept.trades == 4
    found.give(inputs.Command("resume", "r1"))
    assert found.kept.recent == []
    for _ in range(3):
        trip(found.tape)
    found.feed(1)
    assert len(halts(found)) == 2
    assert found.kept.trades == 8


# --- the state ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(1, 17))
def test_a_restart_goes_on_with_open_legs_and_with_the_count(cut: int) -> None:
    """Three trades fill an order, on paper and at the venue (a paper broker, too): legs are open at most cuts."""
    tape = trip(trip(Tape(start(market(step="1", min_quantity="1", min_notional="0"), fee="10"))))  # 16 trades
    for row in tape.rows:
        row["lots"] = 4
    worse = terms_of(settings(**PAPER, slippage_bps="20"), HASH)
    whole = Real(tape, PaperBroker(worse), shadow_limit_bps="3")
    whole.feed(1)
    first = Real(tape, PaperBroker(worse), shadow_limit_bps="3")
    first.tape = Tape(tape.start)
    first.tape.rows = tape.rows[:cut]
    first.feed(1)
    state = unpack(pack(first.engine.sync()))
    broker = PaperBroker(worse)
    broker.restore([pair.order for pair in state.pairs.values() if pair.order is not None])
    second = Real(tape, broker, state, shadow_limit_bps="3")
    second.fed = cut
    second.give(inputs.Began("book", {}, "recovered", "report"))
    second.feed(1)
    assert len(whole.compared) > 2
    assert first.compared + second.compared == whole.compared
    assert second.kept == whole.kept
    assert halts(first) + halts(second) == halts(whole) != []


def test_a_crash_between_the_finding_and_the_halt_halts_at_the_next_start() -> None:
    found = Real(trip(Tape()), Venue(worse=2_000), shadow_limit_bps="1")
    found.feed()
    assert len(halts(found)) == 1
    state = unpack(pack(found.engine.sync()))
    state.trading, state.commands = "active", []  # as it was before the command was journalled
    again = Real(found.tape, Venue(), state, shadow_limit_bps="1")
    again.give(inputs.Began("book", {}, "recovered", "report"))
    assert [event.reason for event in halts(again)] == [DIVERGES]


PRICES = st.lists(
    st.tuples(st.integers(9_800, 10_200), st.sampled_from(["warm", "mr", "mr", "tp"]), st.sampled_from([1, 4, 900])),
    min_size=5,
    max_size=60,
)


@profile(max_examples=80, deadline=None)
@given(PRICES, st.integers(1, 7), st.sampled_from(["tape", "instant"]), st.sampled_from(["0", "900"]))
def test_a_venue_like_paper_differs_in_nothing_on_any_market_however_it_is_cut(
    script: Sequence[tuple[int, str, int]], batch: int, mode: str, latency_ms: str
) -> None:
    def build(size: int) -> Real:
        tape = Tape(start(market(step="1", min_quantity="1", min_notional="0"), fee="10"))
        for price, codes, lots in script:
            tape.trade(price / 100, codes, lots=lots)
        chosen = {"paper_fill": mode, "paper_latency_ms": latency_ms}
        venue = PaperBroker(terms_of(settings(**(PAPER | chosen)), HASH))
        return real(tape, batch=size, broker=venue, **chosen)

    whole, cut = build(1_000), build(batch)
    assert whole.compared == cut.compared
    for one in whole.compared:
        assert (one.live_price, one.live_quantity) == (one.paper_price, one.paper_quantity)
        assert one.difference_bps in ("0", None)
        if one.paper_profit is not None and one.live_profit is not None:
            assert abs(Decimal(one.paper_profit) - Decimal(one.live_profit)) <= Decimal("1e-8") * 2
    assert whole.kept.lost == 0
    assert whole.engine.state.span == NO_SPAN


# --- shown --------------------------------------------------------------------------------------------


def test_people_are_told_and_the_page_gets_median_and_sum() -> None:
    found = real(trip(Tape(start(fee="10"))), worse=2_000)
    said = words(found.compared[1])
    assert said is not None
    assert said[:2] == (
        "info",
        "shadow of the sell: real at 100.79, paper at 101: 20.79 bps worse; profit 3.89, on paper 7.99",
    )
    status = status_of(found.engine, found.engine.state.pairs["B-BTC_USDT"], "normal")
    assert (status.shadow_trades, status.shadow_median_bps, status.shadow_lost) == (2, 20.395, "4.1")


def test_what_did_not_fill_is_said() -> None:
    venue = Venue()
    venue.answers[ENTRY] = OrderNews.REFUSED
    found = Real(Tape().trade(100, "mr").trades([100] * 3), venue)
    found.feed()
    said = words(found.compared[0])
    assert said is not None
    assert said[1] == "shadow of the buy: real not filled, paper at 100"


def test_in_simulation_there_is_no_shadow() -> None:
    live = Live(trip(Tape()))
    live.feed()
    assert live.engine.state.shadow is None
    status = status_of(live.engine, live.engine.state.pairs["B-BTC_USDT"], "normal")
    assert (status.shadow_trades, status.shadow_median_bps, status.shadow_lost) == (None, None, None)


BROKERS: dict[str, Callable[[Terms], Any]] = {"venue": lambda terms: Venue(), "paper": PaperBroker}


@pytest.mark.parametrize("broker", BROKERS)
def test_the_shadow_changes_nothing_in_the_fold(broker: str) -> None:
    terms = terms_of(settings(**PAPER), HASH)
    alone = Live(trip(Tape()), engine=Engine(terms, replay.new_state(terms, "j" * 32), BROKERS[broker](terms)))
    alone.give(inputs.NewStart(1, 0, alone.tape.start))
    alone.feed()
    with_shadow = real(trip(Tape()), broker=BROKERS[broker](terms))
    assert alone.events == [event for event in with_shadow.events if not isinstance(event, ShadowEvent)]
