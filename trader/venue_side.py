"""What the fold's state says to those who compare it with the venue; pure."""

from decimal import Decimal

from trader import base
from trader.engine import Engine
from trader.orders import OrderState
from trader.state import LiveState, Order, State
from trader.views import Held, JournalView, Known


def working(state: State) -> list[Order]:
    """Orders that are not over."""
    return [pair.order for pair in state.pairs.values() if pair.order is not None]


def journal_view(engine: Engine) -> JournalView:
    """The journal as a comparison sees it."""
    state = engine.state
    live = state.live or LiveState()
    current = {order.id for order in working(state)}
    orders = [known_of(state, order, in_hand=order.id in current) for order in [*live.ended, *working(state)]]
    held = [
        Held(pair.pair, base.held(pair) + base.dust(pair), engine.exit_id(pair) if pair.lots else "")
        for pair in state.pairs.values()
        if pair.lots or base.held(pair) or base.dust(pair)
    ]
    return JournalView(
        prefix=engine.terms.bot_name,
        orders=tuple(orders),
        held=tuple(held),
        wallet=state.wallet,
        market_ms=state.market_ns // 1_000_000,
        since_ms=live.since_ms,
        known_from_ms=live.known_from_ms,
        adopted=frozenset(live.orphans),
    )


def known_of(state: State, order: Order, *, in_hand: bool) -> Known:
    """One order."""
    step = state.pairs[order.pair].step if order.pair in state.pairs else Decimal(1)
    return Known(
        client_order_id=order.id,
        pair=order.pair,
        side=order.side,
        state=order.state,
        quantity=order.lots * step,
        step=step,
        lots=order.filled,
        cash=order.cash,
        fills=frozenset(order.fill_ids),
        venue_order_id=order.venue_order_id,
        created_ms=order.created_ms,
        resting=order.resting and order.state == OrderState.WORKING,
        in_hand=in_hand,
    )
