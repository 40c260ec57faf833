"""The sandbox's exchange: its fill rules, one by one."""

import pytest

from sandbox.exchange.orders import (
    ATOMS,
    InForce,
    Reason,
    Refusal,
    Side,
    Status,
    Trigger,
)
from tests.exchange_tools import ME, D, Desk

# One print before the orders, at 10000.00; a gap is 10 ticks there.
BASE = [(900, 1_000_000, 30_000), (1_000, 1_000_000, 10_000)]
GAP = 10


def test_levels_are_the_last_prints_each_a_gap_further_away() -> None:
    desk = Desk(BASE)
    order = desk.buy(1_000, quantity="0.35")
    assert desk.fills(order) == [(1_000_000 + GAP, 10_000, False), (1_000_000 + 2 * GAP, 25_000, False)]
    assert order.status is Status.FILLED
    assert order.average_price == (D("10000.10") * 10 + D("10000.20") * 25) / 35
    sale = Desk(BASE)
    assert sale.fills(sale.sell(1_000, quantity="0.35")) == [
        (1_000_000 - GAP, 10_000, False),
        (1_000_000 - 2 * GAP, 25_000, False),
    ]


def test_the_rest_of_a_market_order_takes_the_next_prints_worsened_by_a_gap() -> None:
    desk = Desk([*BASE, (1_500, 1_100_000, 7_000), (1_600, 900_000, 90_000)])
    order = desk.buy(1_000, quantity="0.50")
    assert (order.status, order.filled) == (Status.PARTIAL, D("0.40"))
    assert desk.at(1_499, order).filled == D("0.40")
    assert desk.fills(desk.at(1_500, order))[2:] == [(1_100_011, 7_000, False)]
    assert desk.at(1_700, order).status is Status.FILLED
    assert desk.fills(order)[3:] == [(900_009, 3_000, False)]


def test_before_the_first_print_orders_wait_for_it() -> None:
    desk = Desk(BASE, now_ms=100)
    market = desk.buy(100, quantity="0.05")
    limit = desk.sell(100, price="9990", quantity="0.05")
    at_once = desk.buy(100, price="10010", quantity="0.05", in_force=InForce.IOC)
    assert [market.status, limit.status, at_once.status] == [Status.OPEN, Status.OPEN, Status.EXPIRED]
    assert desk.at(900, market).status is Status.FILLED and desk.fills(market) == [(1_000_000 + GAP, 5_000, False)]
    assert desk.fills(limit) == [(999_000, 5_000, True)]


def test_what_was_taken_from_the_levels_comes_back_with_the_next_print() -> None:
    desk = Desk([*BASE, (1_500, 1_000_000, 5_000)])
    desk.buy(1_000, quantity="0.30")
    again = desk.buy(1_001, quantity="0.30", in_force=InForce.IOC)
    assert (again.filled, again.status) == (D("0.10"), Status.EXPIRED)
    assert desk.buy(1_500, quantity="0.30", in_force=InForce.IOC).filled == D("0.30")
    # The two sides are two.
    assert Desk(BASE).sell(1_000, quantity="0.40").status is Status.FILLED


def test_a_resting_order_fills_when_a_print_reaches_or_crosses_it_at_its_limit_as_the_maker() -> None:
    prints = [*BASE, (1_100, 995_001, 9_000), (1_200, 995_000, 2_000), (1_300, 990_000, 90_000)]
    desk = Desk(prints)
    order = desk.buy(1_000, price="9950", quantity="0.05")
    assert desk.at(1_150, order).status is Status.OPEN
    assert desk.at(1_200, order).status is Status.PARTIAL
    assert desk.at(1_300, order).status is Status.FILLED
    assert desk.fills(order) == [(995_000, 2_000, True), (995_000, 3_000, True)]
    sale = Desk([*BASE, (1_100, 1_004_999, 9_000), (1_200, 1_005_000, 5_000)])
    assert sale.at(1_150, placed := sale.sell(1_000, price="10050", quantity="0.05")).status is Status.OPEN
    assert sale.at(1_200, placed).status is Status.FILLED


def test_an_order_is_not_filled_from_prints_before_it_or_in_its_own_millisecond() -> None:
    desk = Desk([*BASE, (1_400, 980_000, 9_000), (1_500, 1_000_000, 9_000), (1_501, 995_000, 1_000)])
    order = desk.buy(1_500, price="9950", quantity="0.02")
    assert desk.at(1_500, order).status is Status.OPEN
    assert desk.at(1_501, order).filled == D("0.01")


def test_time_does_not_go_back() -> None:
    desk = Desk([*BASE, (1_400, 980_000, 9_000)])
    desk.exchange.advance(1_600)
    assert desk.buy(1_300, price="9850", quantity="0.01").created_ms == 1_600


def test_one_print_is_shared_better_prices_first_then_older_orders() -> None:
    desk = Desk([*BASE, (1_100, 990_000, 10_000)])
    first = desk.buy(1_000, price="9950", quantity="0.06")
    better = desk.buy(1_000, price="9960", quantity="0.06")
    same = desk.buy(1_000, price="9950", quantity="0.06")
    desk.exchange.advance(1_100)
    assert [desk.at(1_100, order).filled for order in (better, first, same)] == [D("0.06"), D("0.04"), D(0)]


def test_a_limit_order_takes_what_is_within_its_limit_and_rests_with_the_rest() -> None:
    desk = Desk([*BASE, (1_100, 1_000_010, 90_000)])
    order = desk.buy(1_000, price="10000.10", quantity="0.15")
    assert desk.fills(order) == [(1_000_010, 10_000, False)] and order.status is Status.PARTIAL
    assert desk.at(1_100, order).status is Status.FILLED
    assert desk.fills(order)[1:] == [(1_000_010, 5_000, True)]


@pytest.mark.parametrize(
    ("in_force", "quantity", "filled", "status"),
    [
        (InForce.IOC, "0.15", "0.10", Status.EXPIRED),
        (InForce.IOC, "0.05", "0.05", Status.FILLED),
        (InForce.FOK, "0.15", "0", Status.EXPIRED),
        (InForce.FOK, "0.10", "0.10", Status.FILLED),
    ],
    ids=["ioc in part", "ioc whole", "fok that is too much", "fok whole"],
)
def test_at_once_or_never(in_force: InForce, quantity: str, filled: str, status: Status) -> None:
    desk = Desk(BASE)
    order = desk.buy(1_000, price="10000.10", quantity=quantity, in_force=in_force)
    assert (order.filled, order.status, order.reserved) == (D(filled), status, 0)
    assert desk.exchange.balances(ME)["USDT"].locked == 0


def test_post_only_rests_or_is_refused() -> None:
    desk = Desk(BASE)
    assert desk.buy(1_000, price="10000.09", quantity="0.01", post_only=True).status is Status.OPEN
    refusal = desk.ask(Side.BUY, 1_000, price="10000.10", quantity="0.01", post_only=True)
    assert isinstance(refusal, Refusal) and refusal.reason is Reason.WOULD_TAKE
    refusal = desk.ask(Side.SELL, 1_000, price="9999.90", quantity="0.01", post_only=True)
    assert isinstance(refusal, Refusal) and refusal.reason is Reason.WOULD_TAKE


def test_a_stop_wakes_at_its_price_and_works_from_the_next_print() -> None:
    desk = Desk([*BASE, (1_100, 990_001, 9_000), (1_200, 990_000, 9_000), (1_300, 980_000, 9_000)])
    order = desk.sell(1_000, quantity="0.05", trigger=Trigger.STOP, stop_price="9900")
    assert order.waiting and desk.at(1_100, order).waiting
    assert not desk.at(1_200, order).waiting and desk.fills(order) == []
    assert desk.at(1_300, order).status is Status.FILLED and desk.fills(order) == [(980_000 - 9, 5_000, False)]
    assert [what for what, _ in desk.told()] == ["new", "triggered", "fill"]


@pytest.mark.parametrize(
    ("side", "trigger", "stop_price", "wakes_at"),
    [
        (Side.SELL, Trigger.STOP, "9900", 990_000),
        (Side.SELL, Trigger.TAKE_PROFIT, "10100", 1_010_000),
        (Side.BUY, Trigger.STOP, "10100", 1_010_000),
        (Side.BUY, Trigger.TAKE_PROFIT, "9900", 990_000),
    ],
    ids=["stop sale", "take-profit sale", "stop purchase", "take-profit purchase"],
)
def test_triggers_by_side(side: Side, trigger: Trigger, stop_price: str, wakes_at: int) -> None:
    other_way = 2_000_000 - wakes_at
    desk = Desk([*BASE, (1_100, other_way, 9_000), (1_200, wakes_at, 9_000)])
    order = desk.placed(side, 1_000, quantity="0.01", trigger=trigger, stop_price=stop_price)
    assert desk.at(1_100, order).waiting and not desk.at(1_200, order).waiting
    # On the wrong side of the market it would wake at once.
    refusal = desk.ask(side, 1_000, quantity="0.01", trigger=trigger, stop_price=str((2_000_000 - wakes_at) // 100))
    assert isinstance(refusal, Refusal) and refusal.reason is Reason.WOULD_TRIGGER


def test_a_stop_limit_takes_within_its_limit_from_the_next_print_and_then_rests() -> None:
    prints = [*BASE, (1_100, 990_000, 1), (1_200, 989_000, 2_000), (1_300, 985_100, 1_000), (1_400, 986_000, 9_000)]
    desk = Desk(prints)
    order = desk.sell(1_000, price="9855", quantity="0.05", trigger=Trigger.STOP, stop_price="9900")
    desk.at(1_200, order)
    assert desk.fills(order) == [(989_000 - 9, 2_000, False)]
    assert desk.at(1_300, order).filled == D("0.02")  # 9851 is below the limit
    assert desk.at(1_400, order).status is Status.FILLED and desk.fills(order)[1:] == [(985_500, 3_000, True)]


def test_a_quote_quantity_is_spent_to_the_last_step_or_received() -> None:
    desk = Desk(BASE)
    order = desk.buy(1_000, quote_quantity="1000")
    assert order.status is Status.FILLED and order.filled_units == 9_999 and order.cost_amount <= 1000
    sale = desk.sell(1_000, quote_quantity="500")
    assert sale.status is Status.FILLED and D(499) < sale.cost_amount <= D(500)
    assert all(balance.locked == 0 for balance in desk.exchange.balances(ME).values())


def test_a_market_purchase_of_all_the_money_ends_when_the_money_does() -> None:
    desk = Desk([*BASE, (1_100, 1_500_000, 9_000_000)], quote=10_000, base=0)
    order = desk.buy(1_000, quantity="0.99")
    assert order.status is Status.PARTIAL
    order = desk.at(1_100, order)
    assert order.status is Status.EXPIRED and order.ended and D("0.7") < order.filled < D("0.99")
    assert desk.exchange.balances(ME)["USDT"].free < 16 * ATOMS and order.reserved == 0
