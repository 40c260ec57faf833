"""Our CoinDCX account against the sandbox's: two readings of one fact sheet, with every fault that applies."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from core.clock import LiveClock
from core.settings_load import from_texts
from sandbox import faults as kinds
from sandbox.app import World
from sandbox.clock import RealClock
from sandbox.listings import LISTINGS
from sandbox.market import Synthetic
from tests.protocol.sandbox_served import Served
from venues.account import (
    CANCELLED,
    FILLED,
    LIMIT,
    MARKET,
    OPEN,
    PARTIALLY_FILLED,
    REJECTED,
    Account,
    BalanceNews,
    NewOrder,
    Order,
    OrderNews,
)
from venues.choose import account as choose_account
from venues.choose import market_data
from venues.coindcx import wire_private as wire
from venues.errors import OutcomeUnknown, RateLimited, Rejected, Retry
from venues.venue import Notice, Rules

QUANTITY = Decimal("0.002")


class Desk:
    """The sandbox, our account at it, and ids that are used once."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.settings = from_texts({"SANDBOX_PORT": str(served.port)})
        self.rules, self.low = asyncio.run(self._market())
        self._ids = 0
        self.account: Account
        self.anew()

    async def _market(self) -> tuple[Rules, Decimal]:
        """The market, and a price well below."""
        venue = market_data(self.settings, LiveClock())
        try:
            rules = venue.resolve(["B-BTC_USDT"], await venue.markets())[0]
            last = (await venue.recent_trades(rules)).trades[-1]
            return rules, (Decimal(last.price) * Decimal("0.9")).quantize(rules.tick)
        finally:
            venue.close()

    def anew(self) -> None:
        """Another client, which knows of no ban and no offset."""
        self.account = choose_account(self.settings, LiveClock())

    def order(self, kind: str = MARKET, side: str = "buy", **fields: Any) -> NewOrder:
        self._ids += 1
        return NewOrder(self.rules, f"acc-{time.monotonic_ns()}-{self._ids}", side, kind, QUANTITY, **fields)

    def far(self) -> NewOrder:
        """A limit order that nothing fills."""
        return self.order(LIMIT, price=self.low)

    def found(self, order: NewOrder) -> Order | None:
        return self.account.order(self.rules, order.client_order_id)

    def until(self, order: NewOrder, *states: str) -> Order:
        """The order once it is in one of the states."""
        return until(lambda: (now := self.found(order)) is not None and now.status in states and now)

    def balance(self, currency: str) -> tuple[Decimal, Decimal]:
        for row in self.account.balances():
            if row.currency == currency:
                return row.free, row.locked
        return Decimal(0), Decimal(0)


def until(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)
    return result


@pytest.fixture(scope="module")
def shared() -> Iterator[Served]:
    clock = LiveClock()
    busy = (LISTINGS[0]._replace(rate=30.0), LISTINGS[1])
    made = Served(World(Synthetic(1, clock.wall_ms() - 3_600_000, busy), RealClock(clock), None), clock)
    made.deposit("USDT", "1000000")
    made.deposit("BTC", "10")
    yield made
    made.close()


@pytest.fixture
def desk(shared: Served) -> Iterator[Desk]:
    made = Desk(shared)
    yield made
    shared.no_faults()
    made.account.close()


# --- what works ------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_market_order_from_intent_to_balance(desk: Desk, side: str) -> None:
    since_ms = desk.account.server_time_ms() - 5000
    base, quote = desk.balance("BTC")[0], desk.balance("USDT")[0]
    sent = desk.order(side=side)
    taken = desk.account.create(sent)
    assert (taken.client_order_id, taken.side, taken.kind, taken.live) == (sent.client_order_id, side, MARKET, True)
    over = desk.until(sent, FILLED)
    fills = [f for f in desk.account.fills(desk.rules, since_ms) if f.venue_order_id == over.venue_order_id]
    assert sum(fill.quantity for fill in fills) == over.filled == QUANTITY
    assert {fill.side for fill in fills} == {side} and {fill.fee_currency for fill in fills} == {"USDT"}
    worth = sum((fill.price * fill.quantity for fill in fills), Decimal(0))
    fee = sum((fill.fee for fill in fills), Decimal(0))
    assert abs(worth - over.average_price * QUANTITY) < Decimal("0.01")  # type: ignore[operator]
    sign = 1 if side == "buy" else -1
    assert desk.balance("BTC")[0] == base + sign * QUANTITY
    assert abs(desk.balance("USDT")[0] - (quote - sign * worth - fee)) < Decimal("0.0001")
    assert desk.account.fees_bps(desk.rules) == (Decimal(5), Decimal(5))


def test_a_limit_order_rests_locks_and_is_cancelled(desk: Desk) -> None:
    sent = desk.far()
    free, locked = desk.balance("USDT")
    order = desk.account.create(sent)
    assert (order.status, order.price, order.filled) == (OPEN, desk.low, 0)
    assert [o.client_order_id for o in desk.account.open_orders(desk.rules)] == [sent.client_order_id]
    assert desk.balance("USDT")[1] > locked and desk.balance("USDT")[0] < free
    desk.account.cancel(desk.rules, sent.client_order_id, order.venue_order_id)
    assert desk.until(sent, CANCELLED).filled == 0
    assert desk.balance("USDT") == (free, locked) and desk.account.open_orders(desk.rules) == []
    with pytest.raises(Rejected):
        desk.account.cancel(desk.rules, sent.client_order_id)


def test_an_order_is_found_by_the_venues_id_too(desk: Desk) -> None:
    order = desk.account.create(desk.order())
    found = desk.account.order(desk.rules, "", order.venue_order_id)
    assert found is not None and found.client_order_id == order.client_order_id
    assert desk.account.order(desk.rules, "never-sent") is None


def test_a_repeated_id_is_refused_changes_nothing_and_is_looked_up(desk: Desk) -> None:
    sent = desk.order()
    first = desk.account.create(sent)
    with pytest.raises(OutcomeUnknown, match="look up"):
        desk.account.create(sent)
    assert desk.until(sent, FILLED).venue_order_id == first.venue_order_id


# changes to an order that the venue refuses
REFUSED = {
    "too little": {"quantity": Decimal("0.00001")},
    "too much": {"quantity": Decimal(90)},
    "too fine": {"quantity": Decimal("0.000000123")},
}


@pytest.mark.parametrize("changes", REFUSED.values(), ids=REFUSED)
def test_what_the_venue_refuses_was_not_taken_and_keeps_its_words(desk: Desk, changes: dict[str, Decimal]) -> None:
    sent = desk.order()
    wrong = NewOrder(desk.rules, sent.client_order_id, "buy", MARKET, **changes)
    with pytest.raises(Rejected, match="refused") as caught:
        desk.account.create(wrong)
    assert caught.value.code and desk.found(sent) is None


# --- lost answers ----------------------------------------------------------------------------------

# the fault, and whether the order was taken all the same
LOST: dict[str, tuple[str, dict[str, Any], bool]] = {
    "the reply": (kinds.DROPPED_REPLY, {}, True),
    "half the reply": (kinds.CUT_REPLY, {}, True),
    "the request": (kinds.LOST_REQUEST, {}, False),
    "in 503": (kinds.STATUS, {"status": 503}, False),
    "in 503, taken": (kinds.STATUS, {"status": 503, "acted": True}, True),
    "in 500, taken": (kinds.STATUS, {"status": 500, "acted": True}, True),
    "in 429": (kinds.STATUS, {"status": 429, "retry_after_s": 1}, False),
    "in 429, taken": (kinds.STATUS, {"status": 429, "retry_after_s": 1, "acted": True}, True),
    "in a page": (kinds.HTML, {"status": 502}, False),
    "in a page, taken": (kinds.HTML, {"status": 502, "acted": True}, True),
    "in a challenge": (kinds.HTML, {"status": 403}, False),
    "in a page that says 200": (kinds.HTML, {"status": 200, "acted": True}, True),
    "in nonsense": (kinds.STATUS, {"status": 200, "body": '{"ok":', "acted": True}, True),
    "in a slow reply": (kinds.SLOW_REPLY, {"ms": 3500}, True),
}


@pytest.mark.parametrize(("kind", "fields", "taken"), LOST.values(), ids=LOST)
def test_a_create_whose_answer_is_lost_is_unknown_sent_once_and_can_be_looked_up(
    desk: Desk, kind: str, fields: dict[str, Any], taken: bool
) -> None:
    sent = desk.order()
    number = desk.served.fault(kind, path=wire.CREATE, **fields)
    with pytest.raises(OutcomeUnknown):
        desk.account.create(sent)
    assert desk.served.struck(number) == 1, "never sent twice"
    desk.served.no_faults()
    found = until(lambda: _answer(lambda: (desk.found(sent),)))[0]
    assert (found is not None) is taken
    if taken:
        assert desk.until(sent, FILLED).filled == QUANTITY


def _answer(ask: Callable[[], Any]) -> Any:
    """None while the venue wants rest."""
    try:
        return ask()
    except RateLimited:
        return None


@pytest.mark.parametrize(
    ("kind", "fields"),
    [(kinds.DROPPED_REPLY, {}), (kinds.STATUS, {"status": 500}), (kinds.HTML, {"status": 502}), (kinds.CUT_REPLY, {})],
)
def test_questions_and_cancels_may_be_asked_again(desk: Desk, kind: str, fields: dict[str, Any]) -> None:
    sent = desk.far()
    desk.account.create(sent)
    asked: dict[str, Callable[[], Any]] = {
        wire.STATUS: lambda: desk.found(sent),
        wire.ACTIVE: lambda: desk.account.open_orders(desk.rules),
        wire.BALANCES: lambda: desk.account.balances(),
        wire.TRADES: lambda: desk.account.fills(desk.rules, 0),
        wire.CANCEL: lambda: desk.account.cancel(desk.rules, sent.client_order_id),
    }
    for path, ask in asked.items():
        desk.served.fault(kind, path=path, times=1, **fields)
        with pytest.raises(Retry):
            ask()
        if path != wire.CANCEL:
            ask()
    with contextlib.suppress(Rejected):  # it was carried out the first time
        desk.account.cancel(desk.rules, sent.client_order_id)
    assert desk.until(sent, CANCELLED).filled == 0


def test_a_clock_that_is_wrong_is_measured_anew_and_the_call_goes_out_once_more(desk: Desk) -> None:
    desk.account.balances()
    desk.served.fault(kinds.CLOCK_SKEW, ms=120_000)
    assert desk.account.balances()
    assert abs(desk.account.server_time_ms() - LiveClock().wall_ms() - 120_000) < 3000
    desk.served.no_faults()
    assert desk.account.balances()


def test_in_maintenance_questions_wait_and_a_create_is_unknown(desk: Desk) -> None:
    desk.account.balances()
    desk.served.fault(kinds.MAINTENANCE)
    with pytest.raises(Retry):
        desk.account.balances()
    with pytest.raises(OutcomeUnknown):
        desk.account.create(desk.order())


def test_an_order_that_is_rejected_later_is_seen_as_such(desk: Desk) -> None:
    desk.served.fault(kinds.LATE_REJECTION, ms=200, times=1)
    sent = desk.far()
    assert desk.account.create(sent).live
    assert desk.until(sent, REJECTED).filled == 0


def test_partial_fills_add_up(desk: Desk) -> None:
    desk.served.fault(kinds.PARTIAL_FILLS, share=0.01)
    sent = desk.order()
    desk.account.create(sent)
    desk.until(sent, PARTIALLY_FILLED, FILLED)
    desk.served.no_faults()
    over = desk.until(sent, FILLED)
    fills = [f for f in desk.account.fills(desk.rules, 0) if f.venue_order_id == over.venue_order_id]
    assert sum(fill.quantity for fill in fills) == QUANTITY
    assert len({fill.venue_fill_id for fill in fills}) == len(fills)


# --- the stream ------------------------------------------------------------------------------------


def listen(desk: Desk, act: Callable[[], Any], enough: Callable[[list[Any]], bool]) -> list[Any]:
    """What the account's stream brings while a thread acts."""

    async def main() -> list[Any]:
        stream = await desk.account.open_stream([desk.rules])
        items: list[Any] = []
        try:
            acting = asyncio.create_task(asyncio.to_thread(act))
            async with asyncio.timeout(15):
                while not enough(items):
                    items += await stream.read()
            await acting
        finally:
            await stream.close()
        return items

    return asyncio.run(main())


def test_the_stream_tells_of_orders_and_balances(desk: Desk) -> None:
    sent = desk.order()

    def enough(items: list[Any]) -> bool:
        over = any(isinstance(item, OrderNews) and item.status == FILLED for item in items)
        return over and any(isinstance(item, BalanceNews) for item in items)

    items = listen(desk, lambda: desk.account.create(sent), enough)
    orders = [item for item in items if isinstance(item, OrderNews)]
    assert {item.client_order_id for item in orders} == {sent.client_order_id}
    assert {item.symbol for item in orders} == {desk.rules.symbol}
    currencies = {row.currency for item in items if isinstance(item, BalanceNews) for row in item.balances}
    assert currencies == {"BTC", "USDT"}


@pytest.mark.parametrize("kind", [kinds.GARBAGE, kinds.HALF_FRAME, kinds.DUPLICATE, kinds.REORDER])
def test_what_is_broken_on_the_stream_is_told_and_the_rest_goes_on(desk: Desk, kind: str) -> None:
    desk.served.fault(kind, path="/socket.io/*", match="order-update", times=1)
    sent = [desk.order(), desk.order()]

    def enough(items: list[Any]) -> bool:
        return any(isinstance(i, OrderNews) and i.client_order_id == sent[1].client_order_id for i in items)

    def act() -> None:
        for order in sent:
            desk.account.create(order)

    items = listen(desk, act, enough)
    if kind in (kinds.GARBAGE, kinds.HALF_FRAME):
        assert any(isinstance(item, Notice) for item in items)


@pytest.mark.parametrize("kind", [kinds.DISCONNECT, kinds.CUT_FRAME])
def test_a_stream_that_is_cut_says_so_and_can_be_opened_anew(desk: Desk, kind: str) -> None:
    desk.served.fault(kind, path="/socket.io/*", match="order-update", times=1)
    with pytest.raises(Retry):
        listen(desk, lambda: desk.account.create(desk.order()), lambda items: False)
    items = listen(desk, lambda: desk.account.create(desk.order()), bool)
    assert isinstance(items[0], OrderNews)
