"""The trader's end of the lease: what stands in it, and when it may not be renewed or the stops not be taken back."""

import logging
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from core.clock import NS_PER_S, ManualClock, boot_id
from core.lease import ClaimWriter, Lease, Sale, read_lease
from core.loop import PollLoop
from core.settings_load import from_texts
from core.stage import Context
from tests.live_world import Venue
from trader import inputs
from trader.broker import BrokerEvent
from trader.desk import Desk, dearest
from trader.ids import client_order_id
from trader.leased import ATTEMPTS, positions
from trader.orders import OrderNews
from trader.reconcile import Reconciliation
from trader.state import EXIT
from trader.venue_news import RECOVERING
from trader.venue_side import journal_view
from trader.views import VenueView


class At:
    """A desk over a fold in the test's hands; nothing is asked of any venue."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        settings = from_texts({"SIMULATION_MODE": "false", "VAR_DIR": str(folder)})
        context = Context("trader", settings, self.clock, logging.getLogger("test"))
        context.loop = PollLoop(self.clock)
        self.run_dir = context.run_dir
        self.given: list[inputs.Input] = []
        self.desk = Desk(context, self.give)
        self.venue = Venue()
        self.desk._engine = self.venue.engine
        self.desk._look.begin = lambda journal: None  # type: ignore[method-assign]
        self.claim = ClaimWriter(context.run_dir, boot_id())

    def give(self, item: inputs.Input) -> None:
        self.desk.awake()
        self.given.append(item)
        self.venue.engine.handle(item)

    def after(self, seconds: float) -> None:
        self.clock.advance(int(seconds * NS_PER_S))

    @property
    def age_s(self) -> float | None:
        lease = self.lease
        age_ns = lease.age_ns(self.clock.monotonic_ns(), boot_id())
        return None if age_ns is None else age_ns / NS_PER_S

    @property
    def lease(self) -> Lease:
        found = read_lease(self.run_dir)
        assert found is not None
        return found

    def close(self) -> None:
        self.desk.close()
        self.claim.close()


@pytest.fixture
def at(tmp_path: Path) -> Iterator[At]:
    made = At(tmp_path)
    yield made
    made.close()


def test_it_is_renewed_in_each_turn_and_with_each_journal_entry(at: At) -> None:
    at.desk.turn()
    assert at.age_s == 0
    at.after(1.4)
    at.desk.marked(1)
    assert at.age_s == 0


def test_the_first_input_after_a_pause_finds_the_trader_recovering(at: At) -> None:
    at.desk.turn()
    at.after(1.6)
    assert at.desk._may_send()
    at.desk.awake()
    at.desk.turn()
    assert at.given == [inputs.Block(RECOVERING, True)]
    assert at.age_s == 1.6, "it may not act, so it does not renew"
    assert not at.desk._may_send()


def test_a_pause_in_the_middle_of_an_input_is_not_renewed_over(at: At) -> None:
    at.desk.turn()
    at.after(1.6)
    at.desk.marked(1)
    assert at.age_s == 1.6
    assert at.desk._may_send()
    at.desk.turn()
    assert at.given == [inputs.Block(RECOVERING, True)]


def test_what_was_not_sent_before_a_pause_is_dropped_before_anything_may_be_sent_again(at: At) -> None:
    at.desk.turn()
    at.after(1.6)
    barred: list[str] = []
    at.desk.broker.drop = lambda why: barred.append(at.desk._may_send())  # type: ignore[method-assign]
    at.desk.awake()
    assert len(barred) == 1 and barred[0]
    assert not at.desk._may_send()


def test_the_stops_are_taken_back_only_where_the_guardian_has_nothing_in_hand(at: At) -> None:
    engine = at.venue.engine
    at.give(inputs.Block(RECOVERING, True))
    at.desk.turn()
    assert at.age_s is None

    at.claim.write({"B-BTC_USDT": Sale("id", at.clock.monotonic_ns())}, at.clock.monotonic_ns())
    at.desk._recovered(engine)
    assert RECOVERING in engine.state.blocks
    at.claim.write({}, at.clock.monotonic_ns())
    at.desk._recovered(engine)
    assert RECOVERING in engine.state.blocks, "it sold after that comparison began"
    at.desk._claim_seen = at.desk._lease.claim()
    at.desk._recovered(engine)
    assert RECOVERING not in engine.state.blocks
    assert at.age_s == 0


def test_after_a_pause_what_works_is_looked_up_at_once(at: At) -> None:
    """Nothing is agreed before the broker has told what became of it meanwhile."""
    nudged: list[str] = []
    at.desk.broker.nudge = lambda order_id="": nudged.append(order_id)  # type: ignore[method-assign]
    at.desk.turn()
    at.after(1.4)
    at.desk.turn()
    assert nudged == []
    at.after(1.6)
    at.desk.turn()
    assert nudged == [""]


def test_a_stream_that_is_there_again_is_no_news_of_any_order(at: At) -> None:
    asked: list[tuple[str, bool]] = []
    at.desk.broker.nudge = lambda order_id="", *, surely=True: asked.append((order_id, surely))  # type: ignore[method-assign]
    at.desk._nudged("")
    at.desk._nudged("scalp1")
    loop = at.desk._context.loop
    loop.call_threadsafe(loop.stop)
    loop.run()  # type: ignore[attr-defined]
    assert asked == [("", False), ("scalp1", True)]


def test_overdue(at: At) -> None:
    venue = at.venue = Venue()
    at.desk._engine = venue.engine
    venue.tape.trade(100_000.0, "mr")
    venue.feed()
    venue.tell(OrderNews.ACCEPTED, venue_order_id="v1")
    nudged: list[str] = []
    at.desk.broker.nudge = lambda order_id="": nudged.append(order_id)  # type: ignore[method-assign]
    at.desk._judge(VenueView(journal_view(venue.engine), (), open_orders={venue.pair.pair: ()}))
    assert nudged == [venue.last.id]


def exits(at: At) -> int:
    return sum(isinstance(item, inputs.Again) for item in at.given)


def refused_exit(at: At, *, lacks: bool) -> None:
    """The stop is hit, and the venue refuses the exit."""
    venue = at.venue = entered()
    at.desk._engine = venue.engine
    venue.tape.trade(90_000.0, "warm")
    venue.feed()
    at.desk._told([BrokerEvent(venue.last.id, OrderNews.REFUSED, lacks=lacks)])
    at.desk.turn()


def test_again(at: At) -> None:
    refused_exit(at, lacks=False)
    assert exits(at) == 1, "at once, the first time"


def test_compared_first(at: At) -> None:
    refused_exit(at, lacks=True)
    for _ in range(4):
        at.after(1)
        at.desk.turn()
        assert exits(at) == 0
    found = Reconciliation(at_start=False, agreed=False)
    at.desk._look.judge = lambda journal, view: found  # type: ignore[method-assign]
    at.desk._judge(VenueView(journal_view(at.venue.engine), (), at_start=False))
    at.desk.turn()
    assert exits(at) == 1, "agreed or not"


def test_compared_first_at_most_five_seconds(at: At) -> None:
    refused_exit(at, lacks=True)
    for _ in range(5):
        assert exits(at) == 0
        at.after(1)
        at.desk.turn()
    assert exits(at) == 1


@pytest.mark.parametrize("unsent", [True, False], ids=["not sent", "refused by the venue"])
def test_an_entry_that_was_not_sent_for_lack_of_room_asks_for_no_comparison(at: At, unsent: bool) -> None:
    """Which would use up the room that comes back, for ever."""
    venue = at.venue = Venue()
    at.desk._engine = venue.engine
    venue.tape.trade(100_000.0, "mr")
    venue.feed()
    asked: list[bool] = []
    at.desk._look.ask = lambda *, at_start=False: asked.append(at_start)  # type: ignore[method-assign]
    at.desk._told([BrokerEvent(venue.last.id, OrderNews.REFUSED, unsent=unsent)])
    assert len(asked) == (not unsent)


# --- what stands in it --------------------------------------------------------------------------------


def entered() -> Venue:
    """A position of 10 lots (0.010) at 100,000."""
    venue = Venue()
    venue.tape.trade(100_000.0, "mr")
    venue.feed()
    venue.tell(OrderNews.ACCEPTED, venue_order_id="v1")
    venue.fill(10, "100000")
    return venue


def ids(venue: Venue, first: int, count: int) -> list[str]:
    live, state = venue.pair.live, venue.engine.state
    assert live is not None
    root = (venue.engine.terms.bot_name, state.journal_id, venue.pair.pair, live.opened_epoch, live.opened_record)
    return [client_order_id(*root, EXIT, n) for n in range(first, first + count)]


def test_nothing_is_held() -> None:
    assert positions(Venue().engine) == ()


def test_a_position_with_its_stop_and_the_ids_of_its_next_exits() -> None:
    venue = entered()
    [one] = positions(venue.engine)
    assert (one.quantity, one.step, one.base) == ("0.01", "0.001", "BTC")
    assert (one.key, list(one.exit_ids)) == (ids(venue, 1, 1)[0], ids(venue, 1, ATTEMPTS))
    assert one.exit_ids[0] == venue.engine.exit_id(venue.pair)
    assert one.stop_price == 100_000.0 * venue.engine.terms.keep
    assert (one.working, one.exiting, one.counted, one.past) == ("", False, {}, 0)
    venue.tape.trade(100_100.0)
    venue.feed()
    [higher] = positions(venue.engine)
    assert (higher.highest, higher.price_ns > one.price_ns) == (100_100.0, True)


def test_an_exit_that_works_is_named_with_what_was_booked_of_it() -> None:
    venue = entered()
    venue.tape.trade(99_000.0)
    venue.feed()
    [one] = positions(venue.engine)
    assert (one.working, one.exiting, one.quantity, one.past) == (venue.last.id, True, "0.01", 1)
    assert (one.exit_ids[0], list(one.exit_ids)) == (venue.last.id, ids(venue, 1, ATTEMPTS + 1))
    venue.fill(4, "99000", whole=False)
    [one] = positions(venue.engine)
    assert (one.quantity, one.counted, one.key) == ("0.006", {venue.last.id: "0.004"}, ids(venue, 1, 1)[0])
    venue.fill(6, "99000")
    assert positions(venue.engine) == ()


def test_a_fee_in_the_coin_leaves_whole_steps() -> None:
    venue = Venue()
    venue.tape.trade(100_000.0, "mr")
    venue.feed()
    venue.fill(10, "100000", fee="0.00001", in_base=True)
    [one] = positions(venue.engine)
    assert Decimal(one.quantity) == Decimal("0.009")


def test_a_fee_finer_than_a_part_is_taken_against_us() -> None:
    told = [(Decimal("10"), Decimal("8")), (Decimal("11.8001"), Decimal("-1"))]  # a tax on the fee has its own digits
    assert dearest(told) == 1_181
    assert dearest(told[:1]) == 1_000
