"""The sandbox's exchange: refusals, client ids, fees, news, and its books."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.errors import BotError, MisconfiguredError
from sandbox.exchange.books import Books, Changes
from sandbox.exchange.orders import (
    ATOMS,
    Balance,
    BalanceNews,
    FeeIn,
    InForce,
    Order,
    OrderNews,
    Reason,
    Refusal,
    Side,
    Status,
    Trigger,
    steps_of,
)
from sandbox.exchange.profiles import Trading
from tests.exchange_tools import ME, PAIR, D, Desk, imbalance

# One print before the orders, at 10000.00; a gap is 10 ticks there.
BASE = [(900, 1_000_000, 30_000), (1_000, 1_000_000, 10_000)]
GAP = 10


REFUSED: list[tuple[str, dict[str, Any], Reason]] = [
    ("finer than the tick", {"price": "9950.001", "quantity": "0.01"}, Reason.PRICE_TICK),
    ("no price", {"price": "0", "quantity": "0.01"}, Reason.PRICE_BAND),
    ("not a number", {"price": "NaN", "quantity": "0.01"}, Reason.PRICE_BAND),
    ("an absurd price", {"price": "1e40", "quantity": "0.01"}, Reason.PRICE_BAND),
    ("far below the market", {"price": "1999.99", "quantity": "0.01"}, Reason.PRICE_BAND),
    ("far above the market", {"price": "50000.01", "quantity": "0.01"}, Reason.PRICE_BAND),
    ("finer than the step", {"price": "9950", "quantity": "0.000001"}, Reason.QUANTITY_STEP),
    ("nothing", {"price": "9950", "quantity": "0"}, Reason.QUANTITY_TOO_SMALL),
    ("an infinite quantity", {"price": "9950", "quantity": "Infinity"}, Reason.QUANTITY_TOO_SMALL),
    ("an absurd quantity", {"price": "9950", "quantity": "1e40"}, Reason.QUANTITY_TOO_LARGE),
    ("too much for one order", {"price": "9950", "quantity": "901"}, Reason.QUANTITY_TOO_LARGE),
    ("too much for one market order", {"quantity": "91"}, Reason.QUANTITY_TOO_LARGE),
    ("more than there is", {"price": "9950", "quantity": "11"}, Reason.INSUFFICIENT_FUNDS),
    ("no quantity", {"price": "9950"}, Reason.QUANTITY_MISSING),
    ("two quantities", {"quantity": "1", "quote_quantity": "1"}, Reason.QUANTITY_MISSING),
    ("a limit by quote quantity", {"price": "9950", "quote_quantity": "1"}, Reason.KIND_NOT_ALLOWED),
    ("a market order post-only", {"quantity": "0.01", "post_only": True}, Reason.KIND_NOT_ALLOWED),
    (
        "post-only at once",
        {"price": "9950", "quantity": "0.01", "post_only": True, "in_force": InForce.IOC},
        Reason.KIND_NOT_ALLOWED,
    ),
    ("a trigger without a price", {"quantity": "0.01", "trigger": Trigger.STOP}, Reason.PRICE_MISSING),
    ("a client id with a space", {"quantity": "0.01", "client_id": "a b"}, Reason.BAD_CLIENT_ID),
    ("a long client id", {"quantity": "0.01", "client_id": "a" * 37}, Reason.BAD_CLIENT_ID),
    ("a quote quantity finer than an atom", {"quote_quantity": "10.000000001"}, Reason.QUANTITY_STEP),
]


@pytest.mark.parametrize(("fields", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_refused_changes_nothing(fields: dict[str, Any], reason: Reason) -> None:
    desk = Desk(BASE, quote=100_000)
    desk.exchange.change_rules(PAIR, max_units=90_000_000, max_market_units=9_000_000)
    before = desk.exchange.everything()
    refusal = desk.ask(Side.BUY, 1_000, **fields)
    assert isinstance(refusal, Refusal) and refusal.reason is reason
    assert desk.exchange.everything() == before and not desk.exchange.open_orders(ME) and not desk.news


def test_minimum_notional_halts_and_changed_steps() -> None:
    desk = Desk(BASE)
    desk.exchange.change_rules(PAIR, min_notional=5 * ATOMS, step_units=100, min_units=200)

    def reason(**fields: Any) -> Reason | None:
        answer = desk.ask(Side.BUY, 1_000, **fields)
        return answer.reason if isinstance(answer, Refusal) else None

    assert reason(price="2000.01", quantity="0.00200") is Reason.NOTIONAL_TOO_SMALL
    assert reason(quote_quantity="4.99999999") is Reason.NOTIONAL_TOO_SMALL
    assert reason(price="9950", quantity="0.00150") is Reason.QUANTITY_STEP
    assert reason(price="9950", quantity="0.00100") is Reason.QUANTITY_TOO_SMALL
    assert reason(price="9950", quantity="0.00300") is None
    desk.exchange.change_rules(PAIR, trading=Trading.HALTED)
    assert reason(price="9950", quantity="0.00300") is Reason.MARKET_HALTED
    desk.exchange.change_rules(PAIR, trading=Trading.CANCEL_ONLY)
    assert reason(price="9950", quantity="0.00300") is Reason.CANCEL_ONLY
    desk.exchange.reset_rules()
    assert reason(price="9950", quantity="0.00001") is None


def test_an_order_goes_on_by_the_step_it_was_accepted_with() -> None:
    desk = Desk([*BASE, (1_100, 990_000, 90_000)])
    order = desk.buy(1_000, price="9950", quantity="0.00123")
    desk.exchange.change_rules(PAIR, step_units=100)
    assert desk.at(1_100, order).status is Status.FILLED


def test_too_many_orders_and_stops() -> None:
    desk = Desk(BASE)
    desk.exchange.change_rules(PAIR, max_open_orders=3, max_stops=1)
    stop = {"quantity": "0.01", "trigger": Trigger.STOP, "stop_price": "9900"}
    desk.sell(1_000, **stop)
    refusal = desk.ask(Side.SELL, 1_000, **stop)
    assert isinstance(refusal, Refusal) and refusal.reason is Reason.TOO_MANY_STOPS
    for _ in range(2):
        desk.buy(1_000, price="9900", quantity="0.01")
    refusal = desk.ask(Side.BUY, 1_000, price="9900", quantity="0.01")
    assert isinstance(refusal, Refusal) and refusal.reason is Reason.TOO_MANY_ORDERS
    # Another account has its own.
    assert isinstance(desk.ask(Side.BUY, 1_000, "other", price="9900", quantity="0.01"), Order)


@pytest.mark.parametrize(("venue", "free_again"), [("binance", True), ("kraken", True), ("coindcx", False)])
def test_client_ids_are_unique_among_open_orders_or_for_ever(venue: str, free_again: bool) -> None:
    desk = Desk(BASE, venue)
    first = desk.buy(1_000, price="9950", quantity="0.01", client_id="one")
    refusal = desk.ask(Side.BUY, 1_000, price="9950", quantity="0.01", client_id="one")
    assert isinstance(refusal, Refusal) and refusal.reason is Reason.DUPLICATE_CLIENT_ID
    assert isinstance(desk.ask(Side.BUY, 1_000, "other", price="9950", quantity="0.01", client_id="one"), Order)
    assert isinstance(desk.exchange.cancel(ME, 1_000, client_id="one"), Order)
    answer = desk.ask(Side.BUY, 1_000, price="9950", quantity="0.01", client_id="one")
    assert isinstance(answer, Order) is free_again
    found = desk.exchange.order(ME, client_id="one")
    assert found is not None and found.number == (answer.number if isinstance(answer, Order) else first.number)


@pytest.mark.parametrize(
    ("client_id", "taken"),
    [
        ("a" * 18, True),
        ("a" * 19, False),
        ("0123456789abcdef" * 2, True),
        ("01234567-89ab-cdef-0123-456789abcdef", True),
        ("01234567-89ab-cdef-0123-456789abcde", False),
        ("free text, 18 of i", True),
    ],
)
def test_kraken_takes_short_text_or_a_uuid(client_id: str, taken: bool) -> None:
    answer = Desk(BASE, "kraken").ask(Side.BUY, 1_000, price="9950", quantity="0.01", client_id=client_id)
    assert isinstance(answer, Order) is taken


@pytest.mark.parametrize(
    ("venue", "fee_in", "side", "asset"),
    [
        ("coindcx", None, Side.BUY, "USDT"),
        ("coindcx", None, Side.SELL, "USDT"),
        ("binance", None, Side.BUY, "BTC"),
        ("binance", None, Side.SELL, "USDT"),
        ("kraken", None, Side.BUY, "USDT"),
        ("kraken", None, Side.SELL, "BTC"),
        ("kraken", FeeIn.QUOTE, Side.SELL, "USDT"),
        ("kraken", FeeIn.BASE, Side.BUY, "BTC"),
    ],
)
def test_fees_are_five_basis_points_in_the_venues_coin(
    venue: str, fee_in: FeeIn | None, side: Side, asset: str
) -> None:
    desk = Desk(BASE, venue)
    before = desk.exchange.balances(ME)
    order = desk.placed(side, 1_000, price="10000", quantity="0.10000", fee_in=fee_in)
    if order.status is Status.OPEN:  # nobody is at the last price itself
        order = desk.placed(side, 1_000, quantity="0.10000", fee_in=fee_in)
    (fill,) = desk.exchange.fills(ME, order=order.number)
    assert fill.fee_asset == order.fee_asset == asset
    whole = fill.cost_amount if asset == "USDT" else fill.quantity
    assert fill.fee_amount == whole * D("0.0005")
    after = desk.exchange.balances(ME)
    sign = 1 if side is Side.BUY else -1
    moved = {"USDT": -sign * order.cost, "BTC": sign * 10_000 * 1_000}
    moved[asset] -= order.fee
    for coin, amount in moved.items():
        assert sum(after[coin]) - sum(before[coin]) == amount


def test_many_small_fills_cost_what_one_large_one_does() -> None:
    """Eight decimals of price and of quantity: one print is worth a fraction of an atom."""
    small = [(1_000, 3_000, 1_000)] + [(1_100 + number, 3_000, 7) for number in range(1_000)]
    orders = []
    for prints in (small, [small[0], (1_100, 3_000, 7_000)]):
        desk = Desk(prints, "coindcx", digits=(8, 8))
        order = desk.at(9_000, desk.buy(1_000, price="0.00003000", quantity="0.00007000"))
        assert order.status is Status.FILLED and desk.exchange.balances(ME)["USDT"].locked == 0
        orders.append(order)
    assert orders[0].cost == orders[1].cost == 1 and orders[0].fee == orders[1].fee == 1  # rounded up once
    assert len(desk.exchange.fills(ME)) == 1


def test_a_sale_of_dust_pays_no_more_than_it_receives() -> None:
    desk = Desk([(1_000, 3_000, 1_000), (1_100, 3_001, 7)], "coindcx", quote=0, digits=(8, 8))
    order = desk.at(1_100, desk.sell(1_000, price="0.00003001", quantity="0.00000007"))
    assert (order.status, order.cost, order.fee) == (Status.FILLED, 0, 0)


def test_what_a_better_price_saves_is_free_at_once() -> None:
    desk = Desk(BASE, "coindcx")
    order = desk.buy(1_000, price="10050", quantity="0.50000")
    rest = D("0.1") * D("10050")
    assert order.filled == D("0.4") and D(order.reserved) / ATOMS == rest + rest * D("0.0005")
    paid = order.cost_amount + order.fee_amount
    assert desk.exchange.balances(ME)["USDT"].free_amount == 100_000 - paid - D(order.reserved) / ATOMS


def test_a_late_rejection_gives_everything_back() -> None:
    desk = Desk([*BASE, (1_100, 990_000, 90_000)])
    desk.exchange.reject_after_ms = lambda: 250
    order = desk.buy(1_000, price="10100", quantity="0.01")
    desk.exchange.reject_after_ms = lambda: None
    assert order.status is Status.OPEN and desk.at(1_249, order).status is Status.OPEN
    assert desk.at(1_250, order).status is Status.REJECTED
    assert desk.exchange.balances(ME)["USDT"] == Balance(100_000 * ATOMS, 0)
    assert desk.told() == [("new", "open"), ("rejected", "rejected")]
    assert desk.buy(1_250, quantity="0.01").status is Status.FILLED


def test_an_order_expires_at_its_time_and_not_before_the_prints_that_came_first() -> None:
    desk = Desk([*BASE, (1_199, 995_000, 1_000), (1_200, 995_000, 1_000)])
    order = desk.at(9_000, desk.buy(1_000, price="9950", quantity="0.02", expires_ms=1_200))
    assert (order.status, order.filled, order.updated_ms) == (Status.EXPIRED, D("0.01"), 1_200)


def test_cancels() -> None:
    desk = Desk([*BASE, (1_100, 995_000, 1_000), (1_200, 995_000, 9_000)])
    order = desk.buy(1_000, price="9950", quantity="0.02", client_id="c")
    canceled = desk.exchange.cancel(ME, 1_150, client_id="c")  # what was printed before it counts
    assert isinstance(canceled, Order) and (canceled.status, canceled.filled) == (Status.CANCELED, D("0.01"))
    assert desk.at(1_300, order).filled == D("0.01")
    for again in (desk.exchange.cancel(ME, 1_300, number=order.number), desk.exchange.cancel(ME, 1_300, client_id="c")):
        assert isinstance(again, Refusal) and again.reason is Reason.ORDER_FINISHED
    foreign = desk.placed(Side.BUY, 1_300, "other", price="9900", quantity="0.02")
    for number in (foreign.number, 77):
        refusal = desk.exchange.cancel(ME, 1_300, number=number)
        assert isinstance(refusal, Refusal) and refusal.reason is Reason.UNKNOWN_ORDER


def test_news_come_in_order_with_the_balances_last_and_only_to_their_account() -> None:
    desk = Desk(BASE)
    desk.placed(Side.BUY, 1_000, "other", quantity="0.01")
    assert desk.news == []
    desk.buy(1_001, quantity="0.20", client_id="n")
    assert desk.told() == [("new", "open"), ("fill", "partial"), ("fill", "filled")]
    fills = [one.fill for one in desk.news if isinstance(one, OrderNews) and one.fill]
    assert [fill.number for fill in fills] == [2, 3] and {fill.client_id for fill in fills} == {"n"}
    last = desk.news[-1]
    assert isinstance(last, BalanceNews) and last.balances == desk.exchange.balances(ME)


def test_one_who_no_longer_listens_hears_nothing() -> None:
    desk = Desk(BASE)
    heard: list[Any] = []
    stop = desk.exchange.listen(ME, heard.append)
    desk.buy(1_000, quantity="0.01")
    count = len(heard)
    stop()
    desk.buy(1_000, quantity="0.01")
    assert count and len(heard) == count


def test_queries() -> None:
    desk = Desk(BASE)
    made = [desk.buy(1_000 + number, price="9900", quantity="0.01") for number in range(5)]
    assert [order.number for order in desk.exchange.open_orders(ME, PAIR)] == [order.number for order in made]
    assert desk.exchange.open_orders(ME, "B-ETH_USDT") == [] == desk.exchange.open_orders("other")
    assert [o.number for o in desk.exchange.orders(ME, since_ms=1_001, until_ms=1_003)] == [2, 3, 4]
    assert [o.number for o in desk.exchange.orders(ME, limit=2)] == [1, 2]
    assert [o.number for o in desk.exchange.orders(ME, limit=2, newest=True)] == [4, 5]
    assert [o.number for o in desk.exchange.orders(ME, from_number=4)] == [4, 5]
    desk.buy(1_010, quantity="0.40")
    assert [fill.number for fill in desk.exchange.fills(ME)] == [1, 2]
    assert [fill.number for fill in desk.exchange.fills(ME, from_number=2)] == [2]
    assert desk.exchange.fills(ME, "B-ETH_USDT") == [] == desk.exchange.fills(ME, since_ms=1_011)


def test_the_books_are_found_again_as_they_were(tmp_path: Path) -> None:
    prints = [*BASE, (1_100, 990_000, 2_000), (1_500, 990_000, 90_000)]
    desk = Desk(prints, path=tmp_path / "x.db")
    resting = desk.buy(1_000, price="9950", quantity="0.05", client_id="r", tag="t")
    stop = desk.sell(1_000, price="9800", quantity="0.05", trigger=Trigger.STOP, stop_price="9900")
    desk.exchange.advance(1_200)
    before = desk.exchange.everything(), desk.exchange.open_orders(ME), desk.exchange.fills(ME)
    again = Desk(prints, path=tmp_path / "x.db", now_ms=1_300)
    assert (again.exchange.everything(), again.exchange.open_orders(ME), again.exchange.fills(ME)) == before
    # The market went on meanwhile, and what it printed is matched.
    assert again.at(1_600, resting).status is Status.FILLED
    assert again.at(1_600, stop).status is Status.FILLED
    assert imbalance(again.exchange) == {}
    assert again.buy(1_600, quantity="0.01").number == 3


def test_a_clock_that_was_set_back_before_a_restart_hides_and_loses_nothing() -> None:
    books = Books(None)
    prints = [*BASE, (1_100, 995_000, 1_000), (2_000, 995_000, 9_000)]
    resting = Desk(prints, path=books).buy(1_050, price="9950", quantity="0.02")
    again = Desk(prints, path=books, now_ms=200)
    assert [order.number for order in again.exchange.open_orders(ME)] == [resting.number]
    assert again.at(1_000, resting).filled == 0  # nothing is matched twice
    assert again.at(1_100, resting).filled == D("0.01") and again.at(2_000, resting).status is Status.FILLED


def test_books_that_are_no_use_are_named(tmp_path: Path) -> None:
    path = tmp_path / "exchange.db"
    path.write_bytes(b"no database " * 100)
    with pytest.raises(MisconfiguredError, match=r"exchange\.db"):
        Books(path)


@pytest.mark.parametrize("number", [0, -1, 2, 10**30])
def test_numbers_of_no_order(number: int) -> None:
    desk = Desk(BASE)
    desk.buy(1_000, quantity="0.01")
    assert desk.exchange.order(ME, number=number) is None


@pytest.mark.parametrize("client_id", ["", "no such", "\ud800", "x" * 10_000])
def test_client_ids_of_no_order(client_id: str) -> None:
    assert Desk(BASE).exchange.order(ME, client_id=client_id) is None


class Full(Books):
    """Books on a disk that is full from some moment on."""

    full = False

    def save(self, changes: Changes) -> None:
        if self.full:
            raise BotError("the disk is full")
        super().save(changes)


def test_books_that_refuse_end_the_exchange_and_nobody_hears_of_what_they_lack() -> None:
    books = Full(None)
    desk = Desk([*BASE, (1_100, 990_000, 9_000)], path=books)
    resting = desk.buy(1_000, price="9950", quantity="0.01")
    heard, woken = len(desk.news), []
    desk.exchange.on_busy = lambda: woken.append(1)
    books.full = True
    with pytest.raises(BotError):
        desk.buy(1_000, quantity="0.01")
    assert len(desk.news) == heard and woken  # so that the timer's next step ends the stage
    books.full = False
    with pytest.raises(BotError):
        desk.exchange.advance(1_100)
    again = Desk([*BASE, (1_100, 990_000, 9_000)], path=books)
    assert [order.number for order in again.exchange.orders(ME)] == [resting.number]
    assert imbalance(again.exchange) == {} and again.at(1_100, resting).status is Status.FILLED


def test_a_deposit_and_a_withdrawal_are_told() -> None:
    desk = Desk(BASE)
    desk.exchange.deposit(ME, "ETH", D("1.5"), 1_000)
    desk.exchange.deposit(ME, "ETH", D("-0.5"), 1_000)
    assert desk.exchange.balances(ME)["ETH"].free_amount == 1
    assert [one.balances["ETH"].free for one in desk.news if isinstance(one, BalanceNews)] == [150_000_000, ATOMS]
    with pytest.raises(ArithmeticError):
        desk.exchange.deposit(ME, "ETH", D(-2), 1_000)
    assert imbalance(desk.exchange) == {}


@pytest.mark.parametrize(
    ("text", "digits", "steps"),
    [
        ("1", 0, 1),
        ("1.10", 1, 11),
        ("1e-5", 5, 1),
        ("1e3", 2, 100_000),
        ("0.00", 0, 0),
        ("0.01", 1, None),
        ("-1", 0, None),
    ],
)
def test_decimals_as_whole_numbers_of_steps(text: str, digits: int, steps: int | None) -> None:
    assert steps_of(Decimal(text), digits) == steps
