"""Journal against venue while a stop of ours rests there."""

from decimal import Decimal

import msgspec
import pytest

from trader.executed import Executed
from trader.orders import OrderState
from trader.reconcile import judge
from trader.views import Balances, Held, JournalView, Known, VenueView
from venues.account import OPEN, STOP, Fill, Order
from venues.venue import Rules

D = Decimal
PAIR, NAME = "B-BTC_USDT", "scalpabcdefghijk"
MS, S = 1_700_000_000_000, 1_000_000_000
RULES = Rules(
    pair=PAIR,
    symbol="BTCUSDT",
    base="BTC",
    quote="USDT",
    tick=D("0.01"),
    step=D("0.001"),
    min_quantity=D("0.001"),
    min_notional=D(5),
)


def known(state: OrderState = OrderState.WORKING, *, resting: bool = True) -> Known:
    return Known(
        client_order_id=NAME,
        pair=PAIR,
        side="sell",
        state=state,
        quantity=D("0.010"),
        step=D("0.001"),
        fills=frozenset(),
        venue_order_id="v1",
        created_ms=MS,
        resting=resting,
        in_hand=True,
    )


def book(order: Known, wallet: int = 900) -> JournalView:
    held = Held(PAIR, D("0.010"), "scalpnextnextnext")
    return JournalView("scalp", (order,), (held,), wallet * 10**8, MS + 60_000, MS, MS)


def look(journal: JournalView, quote: int = 900, fills: tuple[Fill, ...] = ()) -> VenueView:
    order = Order(NAME, "v1", "BTCUSDT", "sell", STOP, D("0.010"), D(0), OPEN)
    amounts = {"USDT": D(quote), "BTC": D("0.010")}
    return VenueView(
        journal,
        (RULES,),
        ended_ns=60 * S,
        open_orders={PAIR: (order,)},
        fills={PAIR: fills},
        fills_from_ms=MS - 1,
        balances=(Balances(50 * S, amounts), Balances(58 * S, amounts)),
    )


def test_a_stop_of_ours_that_rests_at_the_venue_moves_no_quote() -> None:
    journal = book(known())
    result = judge(journal, look(journal))
    assert (result.agreed, result.told, result.external, result.quote) == (True, (), (), 900 * 10**8)
    result = judge(journal, look(journal, quote=950))  # put in by hand, seen twice
    assert (result.agreed, result.quote) == (True, 950 * 10**8)


@pytest.mark.parametrize("state", [OrderState.CANCELLING, OrderState.UNKNOWN, OrderState.SUBMITTING])
def test_a_stop_that_may_be_selling_may_move_the_quote(state: OrderState) -> None:
    journal = book(known(state, resting=False))
    assert judge(journal, look(journal, quote=950)).quote is None


def test_a_stop_that_sold_since_the_look_is_not_judged_by_it() -> None:
    before = book(known())
    view = look(before)
    fill = Fill("f1", "v1", NAME, "BTCUSDT", "sell", D(99_000), D("0.010"), D(0), "USDT", MS + 59_000)
    (event,) = Executed(NAME, "sell", "BTC", "USDT", D("0.001")).take([fill])
    sold = msgspec.structs.replace(
        known(OrderState.FILLED, resting=False), lots=event.lots, cash=event.cash, fills=frozenset({"f1"})
    )
    after = msgspec.structs.replace(book(sold, 1890), held=())
    assert judge(after, view).quote is None
