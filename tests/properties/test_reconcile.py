"""Reconciliation over random histories: however the venue's lists are cut, doubled and shuffled, the money is right."""

import random
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reconcile_world import PAIR, PREFIX, SYMBOL, T0, absent, booked, found, nothing, order, rules, twice
from trader.executed import Executed
from trader.orders import OrderState
from trader.reconcile import judge, strays
from trader.views import Held, JournalView, Known, VenueView
from venues.account import Fill, Order

D, S = Decimal, OrderState
STEP = D("0.001")
LETTERS = "abcdefghijklmnopqrstuvwxyz234567"

quantities = st.integers(1, 3_000).map(lambda units: units * D("0.0005"))  # half a step too
prices = st.integers(1, 500_000).map(lambda cents: cents * D("0.01"))
fees = st.sampled_from(["0", "0.0001", "0.00000001"]).map(D)


class History(msgspec.Struct):
    """What really happened: orders with their fills, and what the journal has of it."""

    orders: list[Order] = []
    fills: list[Fill] = []
    journal: list[Known] = []
    absent: list[str] = []
    real_base: Decimal = D(0)
    real_cash: int = 0
    base: Decimal = D(0)  # of the journal
    cash: int = 0


@st.composite
def histories(draw: st.DrawFn) -> History:
    history = History()
    for number in range(draw(st.integers(0, 5))):
        _add(draw, history, number)
    return history


def _add(draw: st.DrawFn, history: History, number: int) -> None:
    """An order of ours or somebody's, filled by some fills of which the journal has a few, or none."""
    letter = LETTERS[number]
    ours = draw(st.booleans())
    name = PREFIX + letter * 11 if ours else draw(st.sampled_from(["", f"hand-{letter}", "scalpx" + letter * 11]))
    side = draw(st.sampled_from(["buy", "sell"]))
    made = draw(st.lists(st.tuples(quantities, prices, fees, st.sampled_from(["BTC", "USDT", "BNB"])), max_size=4))
    venue_id = f"v{number}"
    fills = [
        Fill(
            f"{number}{place}",
            venue_id,
            name if draw(st.booleans()) else "",
            SYMBOL,
            side,
            price,
            quantity,
            fee,
            coin,
            T0 + 1000 * number + place,
        )
        for place, (quantity, price, fee, coin) in enumerate(made)
    ]
    filled = sum((one.quantity for one in fills), D(0))
    quantity = filled + draw(st.sampled_from([D(0), STEP]))
    known = ours and draw(st.booleans())
    if not fills and known and draw(st.booleans()):
        history.absent.append(name)
        history.journal.append(_known(name, side, D(1), number, draw(st.sampled_from([S.SUBMITTING, S.UNKNOWN]))))
        return
    status = "filled" if filled and filled == quantity else "cancelled"
    history.orders.append(
        order(
            name,
            status,
            str(filled),
            str(quantity or D(1)),
            side=side,
            venue_order_id=venue_id,
            created_ms=T0 + 1000 * number,
        )
    )
    history.fills += fills
    total = Executed(name, side, "BTC", "USDT", STEP)
    sign = 1 if side == "buy" else -1
    kept = draw(st.integers(0, len(fills))) if known else 0
    has = Executed(name, side, "BTC", "USDT", STEP)
    recorded = has.take(fills[:kept])
    if ours:
        for event in total.take(fills):
            history.real_base += sign * (event.base or D(0))
            history.real_cash -= sign * event.cash
    if known:
        history.base += sum((sign * (event.base or D(0)) for event in recorded), D(0))
        history.cash -= sum(sign * event.cash for event in recorded)
        states = [S.CANCELLED] if status == "cancelled" and draw(st.booleans()) else [S.WORKING, S.CANCELLING]
        if not kept:
            states.append(S.UNKNOWN)
        one = _known(name, side, quantity or D(1), number, draw(st.sampled_from(states)))
        history.journal.append(
            msgspec.structs.replace(
                one,
                venue_order_id=venue_id if kept or one.state is not S.UNKNOWN else "",
                lots=sum(event.lots for event in recorded),
                cash=sum(event.cash for event in recorded),
                fills=frozenset(event.venue_fill_id for event in recorded),
            )
        )


def _known(name: str, side: str, quantity: Decimal, number: int, state: OrderState) -> Known:
    return Known(name, PAIR, side, state, quantity, STEP, fills=frozenset(), created_ms=T0 + 1000 * number)


FLOOR = D(10)  # the position is never below 0


def views(history: History, gone: Decimal, **more: Any) -> tuple[JournalView, VenueView]:
    book = JournalView(
        PREFIX,
        tuple(history.journal),
        (Held(PAIR, history.base + FLOOR),),
        history.cash,
        market_ms=T0 + 60_000,
        since_ms=T0,
    )
    looked = {one.client_order_id: found(one) for one in history.orders if one.client_order_id}
    looked |= {name: absent() for name in history.absent}
    ours = {one.client_order_id for one in history.journal}
    fields: dict[str, Any] = {
        "rules": (rules(),),
        "at_start": True,
        "open_orders": {PAIR: ()},
        "fills": {PAIR: tuple(history.fills)},
        "fills_from_ms": T0 - 60_000,
        "balances": twice(str(history.real_base + FLOOR - gone), str(D(history.real_cash + 10**15) / 10**8)),
        "orders": {name: one for name, one in looked.items() if name in ours},
        "by_venue_id": {one.venue_order_id: found(one) for one in history.orders},
    }
    return book, VenueView(journal=book, **(fields | more))


@settings(max_examples=300)
@given(histories(), st.integers(0, 2_000), st.randoms(use_true_random=False))
def test_whatever_was_recorded_the_book_ends_with_every_fill_once_and_a_second_look_adds_nothing(
    history: History, gone: int, chance: random.Random
) -> None:
    if history.real_base + FLOOR < 0:
        return
    missing = min(gone * D("0.001"), max(D(0), history.real_base + FLOOR))
    book, view = views(history, missing)
    result = judge(book, view)
    assert result.agreed, result.report
    after = booked(book, result)
    assert after.held[0].base == history.real_base + FLOOR - missing
    assert sum((part for _, part in result.external), D(0)) == missing
    money = history.cash - sum(_cash(event.cash, event.order_id, book) for event in result.told)
    money -= sum((1 if one.side == "buy" else -1) * event.cash for one in result.orphans for event in one.fills)
    assert money == history.real_cash
    assert all(one.over for one in after.orders) and not strays(after, view)
    assert nothing(judge(after, msgspec.structs.replace(view, journal=after)))
    # in another order, doubled and said by another look
    doubled = history.fills + [one for one in history.fills if chance.random() < 0.5]
    chance.shuffle(doubled)
    _, other = views(history, missing, fills={PAIR: tuple(doubled)})
    assert judge(book, other) == result


def _owner(one: Fill, history: History) -> str:
    return next(o.client_order_id for o in history.orders if o.venue_order_id == one.venue_order_id)


def _cash(cash: int, order_id: str, book: JournalView) -> int:
    known = book.order(order_id)
    assert known is not None
    return cash if known.side == "buy" else -cash


@settings(max_examples=300)
@given(histories(), st.data())
def test_a_view_that_has_only_a_part_leads_to_the_same_book_in_the_end(history: History, data: st.DataObject) -> None:
    if history.real_base + FLOOR < 0:
        return
    book, whole = views(history, D(0))
    part = tuple(one for one in history.fills if data.draw(st.booleans()))
    told = {one: looked for one, looked in whole.by_venue_id.items() if data.draw(st.booleans())}
    fields: dict[str, Any] = {"fills": {PAIR: part}, "by_venue_id": told}
    if data.draw(st.booleans()):
        fields["orders"] = {}
    # Balances that lie between two equal lists of fills: what is not in them is at least told of by its order.
    names = fields.get("orders", whole.orders).keys() | {
        one.order.client_order_id for one in told.values() if one.order
    }
    names -= {one.client_order_id for one in history.journal if one.over}
    silent = [one for one in history.fills if one not in part and _owner(one, history) not in names]
    if any(_owner(one, history).startswith(PREFIX) for one in silent) or data.draw(st.booleans()):
        fields["balances"] = ()
    first = judge(book, msgspec.structs.replace(whole, **fields))
    assert not first.external, "what is missing in the lists is no coin that is gone"
    between = booked(book, first)
    second = booked(between, judge(between, msgspec.structs.replace(whole, journal=between)))
    direct = booked(book, judge(book, whole))
    assert second.held == direct.held and second.adopted == direct.adopted
    assert {(one.client_order_id, one.state, one.lots, one.cash, one.fills) for one in second.orders} == {
        (one.client_order_id, one.state, one.lots, one.cash, one.fills) for one in direct.orders
    }
