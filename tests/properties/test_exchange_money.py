"""The sandbox's money under any orders and any prints: nothing is made, nothing vanishes, nobody is in debt."""

from dataclasses import dataclass, field
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.exchange.books import Books
from sandbox.exchange.ledger import HOUSE
from sandbox.exchange.orders import FeeIn, InForce, Kind, NewOrder, Order, Side, Trigger
from tests.exchange_tools import ME, PAIR, Desk, imbalance

ACCOUNTS = (ME, "other")
DIGITS = [(2, 5), (8, 0), (8, 8), (0, 3), (4, 10)]  # of prices and quantities; beyond eight together money is rounded


@dataclass
class Step:
    """One thing that happens: an order (`plain` fields), a cancel, or time that passes."""

    wait_ms: int
    account: str
    act: str
    side: Side = Side.BUY
    market: bool = False
    by_quote: bool = False
    steps: int = 1
    offset: int = 0  # of the limit from the last price, in ticks
    stop: int = 0
    in_force: InForce = InForce.GTC
    post_only: bool = False
    fee_in: FeeIn | None = None
    pick: int = 0
    late: bool = field(default=False)
    lasts_ms: int | None = None


STEPS = st.builds(
    Step,
    wait_ms=st.integers(0, 300),
    account=st.sampled_from(ACCOUNTS),
    act=st.sampled_from(["order", "order", "order", "order", "cancel", "wait", "restart", "share"]),
    side=st.sampled_from(Side),
    market=st.booleans(),
    by_quote=st.booleans(),
    steps=st.one_of(st.integers(1, 30), st.integers(1, 100_000)),
    offset=st.integers(-40, 40),
    stop=st.sampled_from([0, 0, 0, 5, -5, 30, -30]),
    in_force=st.sampled_from([InForce.GTC, InForce.GTC, InForce.IOC, InForce.FOK]),
    post_only=st.sampled_from([False, False, False, True]),
    fee_in=st.sampled_from([None, FeeIn.QUOTE, FeeIn.BASE]),
    pick=st.integers(0, 5),
    late=st.sampled_from([False, False, False, False, True]),
    lasts_ms=st.sampled_from([None, None, None, 0, 40, 400]),
)


@st.composite
def prints(draw: st.DrawFn, start: int) -> list[tuple[int, int, int]]:
    """A walk of prices around `start` ticks, several in one ms now and then."""
    at_ms, ticks, rows = 1_000, start, []
    for _ in range(draw(st.integers(1, 60))):
        at_ms += draw(st.sampled_from([0, 1, 10, 90]))
        ticks = max(1, ticks + draw(st.integers(-25, 25)))
        rows.append((at_ms, ticks, draw(st.sampled_from([1, 7, 100, 5_000, 10**7]))))
    return rows


def asked(step: Step, desk: Desk, last: int, now_ms: int, digits: tuple[int, int]) -> NewOrder:
    """The order of a step, whole ticks and steps around the last price; whether it is allowed is the exchange's."""
    tick, unit = Decimal(1).scaleb(-digits[0]), Decimal(1).scaleb(-digits[1])
    quantity = step.steps * desk.exchange.trading(PAIR).step_units * unit
    by_quote = step.by_quote and step.market
    return NewOrder(
        pair=PAIR,
        side=step.side,
        kind=Kind.MARKET if step.market else Kind.LIMIT,
        quantity=None if by_quote else quantity,
        quote_quantity=Decimal(step.steps).scaleb(-3) if by_quote else None,
        price=None if step.market else max(1, last + step.offset) * tick,
        in_force=step.in_force,
        post_only=step.post_only and not step.market,
        trigger=Trigger.STOP if step.stop else None,
        stop_price=max(1, last + step.stop) * tick if step.stop else None,
        fee_in=step.fee_in,
        expires_ms=None if step.lasts_ms is None else now_ms + step.lasts_ms,
    )


def check(desk: Desk) -> None:
    """What must hold at any moment."""
    exchange = desk.exchange
    assert imbalance(exchange) == {}
    for (account, asset), balance in exchange.everything().items():
        assert account in HOUSE or (balance.free >= 0 and balance.locked >= 0), (account, asset, balance)
    for account in ACCOUNTS:
        held: dict[str, int] = {}
        for order in exchange.open_orders(account):
            asset = order.quote if order.side is Side.BUY else order.base
            held[asset] = held.get(asset, 0) + order.reserved
        locked = {asset: balance.locked for asset, balance in exchange.balances(account).items() if balance.locked}
        assert locked == {asset: amount for asset, amount in held.items() if amount}


def settled(desk: Desk, order: Order) -> None:
    """An order's sums are those of its fills, and it pays no worse than its limit."""
    fills = desk.exchange.fills(order.account, order=order.number, limit=1_000)
    assert sum(fill.units for fill in fills) == order.filled_units <= (order.units or order.filled_units)
    assert sum(fill.cost for fill in fills) == order.cost and sum(fill.fee for fill in fills) == order.fee
    if order.kind is Kind.LIMIT:
        better = (lambda t: t <= order.ticks) if order.side is Side.BUY else (lambda t: t >= order.ticks)
        assert all(better(fill.ticks) for fill in fills)
    if order.quote_atoms:
        assert order.cost <= order.quote_atoms
    if not order.status.working:
        assert order.reserved == 0


@given(data=st.data(), digits=st.sampled_from(DIGITS), venue=st.sampled_from(["coindcx", "binance", "kraken"]))
@settings(max_examples=120, deadline=None)
def test_money_is_conserved_to_the_atom(data: st.DataObject, digits: tuple[int, int], venue: str) -> None:
    rows = data.draw(prints(start=data.draw(st.sampled_from([40, 3_000, 8_000_000]))))
    books = Books(None)
    desk = Desk(rows, venue, books, quote=data.draw(st.sampled_from([0, 1_000])), base=5, digits=digits)
    desk.exchange.change_rules(PAIR, min_units=1, max_open_orders=8)
    now_ms = 1_000
    for step in data.draw(st.lists(STEPS, max_size=25)):
        now_ms += step.wait_ms
        exchange = desk.exchange
        if step.act == "order":
            exchange.reject_after_ms = (lambda: 50) if step.late else (lambda: None)
            last = exchange.last_ticks(PAIR, now_ms)
            exchange.create(step.account, asked(step, desk, last, now_ms, digits), now_ms)
        elif step.act == "cancel":
            working = exchange.open_orders(step.account)
            if working:
                exchange.cancel(step.account, now_ms, number=working[step.pick % len(working)].number)
        elif step.act == "share":
            exchange.fill_share(step.steps % 1_000_000 + 1)
        elif step.act == "restart":
            kept = exchange.everything(), [exchange.open_orders(account) for account in ACCOUNTS]
            desk = Desk(rows, venue, books, now_ms=now_ms, digits=digits)
            assert kept == (desk.exchange.everything(), [desk.exchange.open_orders(account) for account in ACCOUNTS])
        else:
            exchange.advance(now_ms)
        check(desk)
    desk.exchange.advance(now_ms + 100_000)
    check(desk)
    for account in ACCOUNTS:
        for order in desk.exchange.orders(account, limit=1_000):
            settled(desk, order)


@given(data=st.data(), cuts=st.lists(st.integers(1_000, 4_000), max_size=12))
@settings(max_examples=60, deadline=None)
def test_when_time_is_looked_at_changes_nothing(data: st.DataObject, cuts: list[int]) -> None:
    """Steps of the clock may come at any moments, and a kill between any two of them: orders end the same."""
    rows = data.draw(prints(start=8_000_000))
    orders = data.draw(st.lists(STEPS, min_size=1, max_size=6))

    def run(looks: list[int], restarts: bool) -> object:
        books = Books(None)
        desk = Desk(rows, "binance", books)
        desk.exchange.change_rules(PAIR, max_open_orders=8)
        for step in orders:
            desk.exchange.create(step.account, asked(step, desk, rows[0][1], 1_000, (2, 5)), 1_000)
        for now_ms in sorted(looks):
            desk.exchange.advance(now_ms)
            if restarts:
                desk = Desk(rows, "binance", books, now_ms=now_ms)
        desk.exchange.advance(9_000)
        return [desk.exchange.orders(account) for account in ACCOUNTS], desk.exchange.everything()

    assert run([], False) == run(cuts, False) == run(cuts, True)
