"""Views of journal and venue by hand, and a book that applies what a comparison finds, for tests of reconciliation."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from trader.broker import BrokerEvent
from trader.orders import OrderState, advance
from trader.reconcile import Reconciliation
from trader.views import Balances, Held, JournalView, Known, Looked, VenueView
from venues.account import BUY, OVER_STATES, Fill, Order
from venues.venue import Rules

D = Decimal
S = OrderState
PAIR, SYMBOL = "B-BTC_USDT", "BTCUSDT"
T0 = 1_700_000_000_000
NS = 1_000_000_000
PREFIX = "scalp"
LEAVES = "abcdefghijk"  # eleven letters: with the prefix an id of ours
ENTRY_ID, EXIT_ID, OTHER_ID = PREFIX + LEAVES, PREFIX + LEAVES[::-1], PREFIX + "a" * 11


def rules(pair: str = PAIR, base: str = "BTC", step: str = "0.001") -> Rules:
    return Rules(
        pair=pair,
        symbol=pair.split("-")[-1].replace("_", ""),
        base=base,
        quote="USDT",
        tick=D("0.01"),
        step=D(step),
        min_quantity=D("0.001"),
        min_notional=D("5"),
    )


def known(client_id: str = ENTRY_ID, state: OrderState = S.WORKING, quantity: str = "1", **more: Any) -> Known:
    fields: dict[str, Any] = {"pair": PAIR, "side": "buy", "step": D("0.001"), "created_ms": T0} | more
    if "fills" in fields:
        fields["fills"] = frozenset(fields["fills"])
    elif not fields.get("lots"):
        fields["fills"] = frozenset()
    return Known(client_id, state=state, quantity=D(quantity), **fields)


def order(
    client_id: str = ENTRY_ID, status: str = "open", filled: str = "0", quantity: str = "1", **more: Any
) -> Order:
    fields: dict[str, Any] = {"venue_order_id": f"v-{client_id}", "side": "buy", "symbol": SYMBOL} | more
    fields.setdefault("created_ms", T0 + 5)
    return Order(client_id, kind="limit", quantity=D(quantity), filled=D(filled), status=status, **fields)


def fill(number: int, quantity: str, client_id: str = ENTRY_ID, *, told: bool = False, **more: Any) -> Fill:
    """A fill; `told`: the venue repeats the client id, as most do not."""
    fields: dict[str, Any] = {"side": "buy", "price": "100", "fee": "0", "fee_currency": "USDT", "symbol": SYMBOL}
    fields |= more
    return Fill(
        venue_fill_id=f"{number}",
        venue_order_id=f"v-{client_id}",
        client_order_id=client_id if told else "",
        symbol=fields["symbol"],
        side=fields["side"],
        price=D(fields["price"]),
        quantity=D(quantity),
        fee=D(fields["fee"]),
        fee_currency=fields["fee_currency"],
        time_ms=fields.get("time_ms", T0 + 10 * number),
    )


def journal(*orders: Known, held: str = "0", wallet: int = 0, **more: Any) -> JournalView:
    fields: dict[str, Any] = {"market_ms": T0 + 60_000, "since_ms": T0} | more
    holds = fields.pop("holds", (Held(PAIR, D(held)),))
    return JournalView(PREFIX, orders, tuple(holds), wallet, **fields)


def found(one: Order) -> Looked:
    return Looked(one, 1, 0, 0)


def absent(times: int = 3, over_s: float = 10.0) -> Looked:
    return Looked(None, times, 0, int(over_s * NS))


def balances(base: str, quote: str = "0", at_s: float = 0.0, **coins: str) -> Balances:
    amounts = {"BTC": base, "USDT": quote} | coins
    return Balances(int(at_s * NS), {coin: D(amount) for coin, amount in amounts.items()})


def twice(base: str, quote: str = "0", **coins: str) -> tuple[Balances, Balances]:
    """The same balances in two looks, far enough apart to be sure."""
    return balances(base, quote, 0.0, **coins), balances(base, quote, 4.0, **coins)


def venue(
    book: JournalView,
    *,
    opened: Iterable[Order] = (),
    fills: Iterable[Fill] | dict[str, tuple[Fill, ...]] = (),
    looked: dict[str, Looked] | None = None,
    **more: Any,
) -> VenueView:
    """What the venue says of PAIR, all of it asked for; orders that are over are found by their ids."""
    fields: dict[str, Any] = {"rules": (rules(),), "fills_from_ms": T0 - 60_000, "at_start": True} | more
    fields.setdefault("open_orders", {PAIR: tuple(opened)})
    by_pair = fills if isinstance(fills, dict) else {PAIR: tuple(fills)}
    return VenueView(journal=book, orders=looked or {}, fills=by_pair, **fields)


def booked(book: JournalView, result: Reconciliation) -> JournalView:
    """The journal once a comparison was applied: every result has to be possible for the order it is for."""
    orders = {one.client_order_id: one for one in book.orders}
    held = {one.pair: one for one in book.held}
    wallet, adopted = book.wallet, set(book.adopted)

    def move(pair: str, side: str, event: BrokerEvent) -> None:
        nonlocal wallet
        base = event.base or D(0)
        here = held.get(pair, Held(pair, D(0)))
        held[pair] = msgspec.structs.replace(here, base=here.base + (base if side == BUY else -base))
        wallet += -event.cash if side == BUY else event.cash

    for event in result.told:
        one = orders[event.order_id]
        ids = (one.fills or frozenset()) | ({event.venue_fill_id} - {""})
        orders[event.order_id] = msgspec.structs.replace(
            one,
            state=advance(one.state, event.news),
            lots=one.lots + event.lots,
            cash=one.cash + event.cash,
            fills=ids,
            venue_order_id=event.venue_order_id or one.venue_order_id,
        )
        move(one.pair, one.side, event)
    for orphan in result.orphans:
        assert orphan.client_order_id not in adopted
        adopted.add(orphan.client_order_id)
        state = S.SUBMITTING
        for event in orphan.fills:
            state = advance(state, event.news)
            move(orphan.pair, orphan.side, event)
        assert state in (S.FILLED, S.CANCELLED)
    for pair, gone in result.external:
        held[pair] = msgspec.structs.replace(held[pair], base=held[pair].base - gone)
        assert gone > 0 and held[pair].base >= 0
    if result.quote is not None:
        wallet = result.quote
    return msgspec.structs.replace(
        book, orders=tuple(orders.values()), held=tuple(held.values()), wallet=wallet, adopted=frozenset(adopted)
    )


def nothing(result: Reconciliation) -> bool:
    """Whether a comparison found nothing to book."""
    return not (result.told or result.orphans or result.external)


def is_over(one: Order) -> bool:
    return one.status in OVER_STATES
