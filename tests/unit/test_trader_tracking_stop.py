"""A stop that rests at the venue, as the courier's machine tracks it: the rule stop_rests of `trader.tracking`."""

from decimal import Decimal

from trader.broker import BrokerEvent
from trader.executed import Before
from trader.looking import REST_LOOK_S
from trader.orders import OrderNews, OrderState
from trader.steps import CancelAsked, Created, Dropped, Found, Nudged, OnDisk, RulesRead, Step, Task, Urgency
from trader.tracking import Tracking
from venues.account import CANCELLED, OPEN, STOP, Order
from venues.venue import Rules

S = 1_000_000_000
RULES = Rules(
    pair="B-BTC_USDT",
    symbol="BTCUSDT",
    base="BTC",
    quote="USDT",
    tick=Decimal("0.05"),
    step=Decimal("0.001"),
    min_quantity=Decimal("0.001"),
    min_notional=Decimal(5),
)
TASK = Task(
    order_id="bot-stop",
    pair="B-BTC_USDT",
    base="BTC",
    quote="USDT",
    entry=False,
    kind=STOP,
    lots=10,
    step=Decimal("0.001"),
    price=None,
    near=Decimal(100_000),
    decided_ms=1_700_000_000_000,
    timeout_ns=5 * S,
    lives_ns=10 * S,
    stop=Decimal("99509.97"),
)


def venue_order(status: str = OPEN) -> Order:
    return Order("bot-stop", "v1", "BTCUSDT", "sell", STOP, Decimal("0.010"), Decimal(0), status)


def ready() -> Tracking:
    tracking = Tracking(TASK, 0)
    tracking.begin(Step.RULES, 0)
    tracking.handle(RulesRead(RULES), 0)
    return tracking


def resting() -> Tracking:
    tracking = ready()
    tracking.handle(OnDisk(), 0)
    tracking.begin(Step.SEND, 0)
    told = tracking.handle(Created(venue_order()), 0)
    assert [event.news for event in told if isinstance(event, BrokerEvent)] == [OrderNews.ACCEPTED]
    return tracking


def test_stop_rests_goes_out_behind_exits_and_only_from_the_disk() -> None:
    tracking = ready()
    assert tracking.due() == []  # however late it is
    tracking.handle(OnDisk(), 60 * S)
    assert [(due.urgency, due.step) for due in tracking.due()] == [(Urgency.STOP, Step.SEND)]


def test_stop_rests_is_asked_for_urgently_once_an_exit_waits_for_its_end() -> None:
    tracking = resting()
    assert [(due.urgency, due.step) for due in tracking.due()] == [(Urgency.WORKING, Step.LOOK)]
    tracking.handle(CancelAsked(), 0)
    looks = [due.urgency for due in tracking.due() if due.step == Step.LOOK]
    assert looks == [Urgency.PROTECTS]


def test_stop_rests_at_its_price_on_the_tick_of_the_markets_rules() -> None:
    order = ready().new_order()
    assert (order.kind, order.quantity, order.price, order.stop_price) == (
        STOP,
        Decimal("0.010"),
        None,
        Decimal("99509.95"),
    )
    assert order.urgent  # it may use the limits' share for exits: an exit may wait for its answer


def test_stop_rests_and_is_looked_at_seldom_until_there_is_news() -> None:
    tracking, now_ns, looks = resting(), 0, []
    for _ in range(4):
        due = next(due for due in tracking.due() if due.step == Step.LOOK)
        looks.append((due.at_ns - now_ns) / S)
        now_ns = due.at_ns
        tracking.begin(Step.LOOK, now_ns)
        assert tracking.handle(Found(venue_order()), now_ns) == []
    assert looks == [2.0, REST_LOOK_S, REST_LOOK_S, REST_LOOK_S]
    assert all(due.step == Step.LOOK for due in tracking.due())  # never cancelled by itself
    tracking.handle(Nudged(), now_ns)
    assert (tracking.due()[0].at_ns, tracking.due()[0].urgency) == (now_ns, Urgency.PROTECTS)
    tracking.begin(Step.LOOK, now_ns)
    tracking.handle(Found(venue_order()), now_ns)
    assert (tracking.due()[0].at_ns, tracking.due()[0].urgency) == (now_ns + 2 * S, Urgency.WORKING)


def test_stop_rests_and_is_asked_for_as_routine_where_the_stream_is_only_there_again() -> None:
    """Each connection would else take what Kraken lets us ask from those that an exit waits for."""
    tracking = resting()
    tracking.handle(Nudged(surely=False), S)
    assert [(due.at_ns, due.urgency) for due in tracking.due()] == [(S, Urgency.WORKING)]
    tracking.begin(Step.LOOK, S)
    tracking.handle(Nudged(surely=False), S)
    tracking.handle(Found(venue_order()), S)
    assert [(due.at_ns, due.urgency) for due in tracking.due()] == [(S, Urgency.WORKING)]
    tracking.begin(Step.LOOK, S)
    tracking.handle(Nudged(), S)
    tracking.handle(Nudged(surely=False), S)
    tracking.handle(Found(venue_order()), S)
    assert [(due.at_ns, due.urgency) for due in tracking.due()] == [(S, Urgency.PROTECTS)]


def test_stop_rests_until_the_fold_cancels_it() -> None:
    tracking = resting()
    tracking.handle(CancelAsked(), S)
    tracking.handle(OnDisk(cancel=True), S)
    change = tracking.due()[0]
    assert (change.urgency, change.step, change.at_ns) == (Urgency.CANCEL, Step.CANCEL, S)
    tracking.begin(Step.LOOK, S)
    told = tracking.handle(Found(venue_order(CANCELLED)), S)
    assert [event.news for event in told if isinstance(event, BrokerEvent)] == [OrderNews.CANCEL_DONE]


def test_stop_rests_dropped_before_it_was_sent_is_refused() -> None:
    told = ready().handle(Dropped("stood still"), 0)
    assert [event.news for event in told if isinstance(event, BrokerEvent)] == [OrderNews.REFUSED]


def test_stop_rests_over_a_start_and_is_looked_up_never_sent() -> None:
    tracking, told = Tracking.adopted(TASK, OrderState.WORKING, "v1", Before(0, 0, frozenset()), 0)
    assert told == []
    tracking.begin(Step.RULES, 0)
    tracking.handle(RulesRead(RULES), 0)
    assert [(due.urgency, due.step) for due in tracking.due()] == [(Urgency.PROTECTS, Step.LOOK)]
    tracking.begin(Step.LOOK, 0)
    assert tracking.handle(Found(venue_order()), 0) == []
    assert [(due.urgency, due.step) for due in tracking.due()] == [(Urgency.WORKING, Step.LOOK)]


def test_a_cancel_taken_up_after_a_start_waits_for_the_markets_rules() -> None:
    tracking, _ = Tracking.adopted(TASK, OrderState.CANCELLING, "v1", Before(0, 0, frozenset()), 0)
    assert [due.step for due in tracking.due()] == [Step.RULES]
    tracking.begin(Step.RULES, 0)
    tracking.handle(RulesRead(RULES), 0)
    assert {due.step for due in tracking.due()} == {Step.CANCEL, Step.LOOK}
