"""What a real venue says, as the fold takes it: results of orders, what a comparison found, an exit tried again.

* A result belongs to a working order or to one that was over lately; a late fill moves position and wallet as well.
* An exit whose reason has come up is tried until the position is flat: at once where the order before it filled, was an
  entry or a stop that rested at the venue, else when `inputs.Again` says so (the stage gives it with a back-off).
* A stop that is hit while the entry is being cancelled, whatever for, is sold as soon as the entry is over.
* While a start has not been compared with the venue (`RECOVERING` among the blocks), nothing is sent; a stop that is
  hit meanwhile is remembered and sold as soon as journal and venue agree.
* An order of ours that the journal does not know is adopted whole, once by its id.
* The account's own taker fee counts as soon as it is told, for sizes and for what a round trip costs.
* What left the account without an order of ours is booked as external; quote follows the venue's balance.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from bus.messages import CheckedEvent
from core.money import plain, steps_down
from trader import base, inputs, ladder
from trader.ledger import keep_ended
from trader.orders import OrderState
from trader.reconcile import Orphan, Reconciliation
from trader.state import BLIND, BUY, ENTRY, EXIT, STOP, LiveState, Order, PairState

if TYPE_CHECKING:
    from trader.broker import BrokerEvent
    from trader.engine import Engine

RECOVERING = "recovering"  # block: a start that was not yet compared with the venue; nothing is sent
RECONCILING = "reconciling"  # block: the latest comparison did not agree; no entries
BIRTH_MARGIN_MS = 1_000  # by which the venue's time of an order may lie before the market's
MAX_ORPHANS = 64  # ids remembered, so that none is adopted twice
RECOVERED, GUARDIAN = "recovered", "guardian"  # reasons of adopted orders


def take(engine: "Engine", item: inputs.Told | inputs.Checked | inputs.Fee | inputs.Again) -> None:
    """Applies one of them."""
    live = engine.state.live
    if live is None:
        raise TypeError(f"a simulated book cannot take {type(item).__name__}")
    match item:
        case inputs.Told():
            pair = _told(engine, live, item.event)
            if pair is not None and _goes_on(pair, live):
                send_exit(engine, pair)
        case inputs.Checked():
            born = not live.known
            _checked(engine, live, item)
            if item.body.agreed:
                live.since_ms = max(live.since_ms, item.since_ms)
                if born:
                    live.known_from_ms = max(0, item.since_ms - BIRTH_MARGIN_MS)
        case inputs.Fee():
            _fee(engine, live, item.taker)
        case inputs.Again():
            found = engine.state.pairs.get(item.pair)
            if found is not None:
                send_exit(engine, found)


def exits_wanted(engine: "Engine") -> list[str]:
    """Pairs with a position that is to be sold and no order that works, but for a stop that rests at the venue."""
    return [pair.pair for pair in engine.state.pairs.values() if _wanted(pair) and may_send(engine)]


def may_send(engine: "Engine") -> bool:
    """Whether orders may be sent at all: not before a start was compared with the venue, not while blind."""
    return RECOVERING not in engine.state.blocks and engine.state.span != BLIND


def send_exit(engine: "Engine", pair: PairState) -> None:
    """Sends the exit that is wanted, if one is and nothing works."""
    market = engine.market(pair.pair)
    if _wanted(pair) and may_send(engine) and market is not None and pair.ticks > 0:
        engine.exit(pair, market, engine.last_tick(pair), _why(pair))


def _wanted(pair: PairState) -> bool:
    return (pair.order is None or pair.order.resting) and pair.lots > 0 and bool(_why(pair))


def _why(pair: PairState) -> str:
    exiting = "" if pair.live is None else pair.live.exiting
    return exiting or ("flatten" if pair.flatten else "")


def _goes_on(pair: PairState, live: LiveState) -> bool:
    """Whether the order that has just ended leaves the way free: it filled, or it was an entry or a stop."""
    if pair.order is not None or not live.ended:
        return False
    last = live.ended[-1]
    return last.pair == pair.pair and (last.purpose == ENTRY or last.kind == STOP or last.state == OrderState.FILLED)


def _told(engine: "Engine", live: LiveState, event: "BrokerEvent") -> PairState | None:
    """Applies a result; gives its pair, None where the order is no longer known."""
    state, ledger = engine.state, engine.ledger
    pair = next((p for p in state.pairs.values() if p.order is not None and p.order.id == event.order_id), None)
    if pair is None:
        order = ledger.ended_order(event.order_id)
        pair = None if order is None else state.pairs.get(order.pair)
    if pair is None:
        ledger.external_event(
            "", Decimal(0), 0, f"{event.news} for order {event.order_id}, which is not known any more"
        )
        return None
    engine.apply(event, pair)
    return pair


def _fee(engine: "Engine", live: LiveState, taker: int) -> None:
    live.fee = taker
    if engine.terms.taker_fee is None and engine.ledger.fee != taker:
        engine.ledger.fee = taker
        engine.ledger.costs_event()


# --- a comparison -----------------------------------------------------------------------------------


def _checked(engine: "Engine", live: LiveState, item: inputs.Checked) -> None:
    state, ledger, body = engine.state, engine.ledger, item.body
    before = holdings(state.pairs)
    for event in body.told:
        _told(engine, live, event)
    for orphan in body.orphans if live.known else ():  # a book that has sent nothing yet has none: they are another's
        _adopt(engine, live, orphan)
    for name, gone in body.external:
        pair = state.pairs[name]
        ledger.lose(pair, gone, engine.last_tick(pair))
        if pair.order is not None and pair.order.purpose == EXIT and pair.order.left > pair.lots:
            engine.cancel(pair, "external")
    differs = live.known and body.quote is not None and body.quote != state.wallet
    if body.quote is not None:
        ledger.wallet_is(body.quote, born=not live.known)
    _climb(engine, live, body, differs)
    was_agreed, live.agreed = live.agreed, body.agreed
    found = bool(body.told or body.orphans or body.external)
    if found or body.at_start or was_agreed != body.agreed:
        after = holdings(state.pairs)
        said = list(body.report)
        ledger.out.append(CheckedEvent(ledger.at(), body.at_start, body.agreed, said, before, after, item.wall_ms))
    engine.changed()


def _climb(engine: "Engine", live: LiveState, body: Reconciliation, differs: bool) -> None:
    """What a comparison does to the ladder of the stake; one that is not over yet does nothing."""
    if live.known and (differs or body.external):
        live.ladder = ladder.diverged()
    elif body.agreed and engine.terms.rungs is not None:
        live.ladder = ladder.agreed(live.ladder, engine.terms.rungs)
    live.known = live.known or body.agreed


def holdings(pairs: Mapping[str, PairState]) -> dict[str, str]:
    """Base coin held by pair, positions and dust, where there is any."""
    found = {pair.pair: base.held(pair) + base.dust(pair) for pair in pairs.values()}
    return {name: plain(amount) for name, amount in found.items() if amount}


def _adopt(engine: "Engine", live: LiveState, orphan: Orphan) -> None:
    pair = engine.state.pairs.get(orphan.pair)
    if pair is None or orphan.client_order_id in live.orphans or _known(engine, orphan.client_order_id):
        return
    live.orphans = [*live.orphans, orphan.client_order_id][-MAX_ORPHANS:]
    reason = RECOVERED
    if orphan.side != BUY and pair.live is not None and orphan.client_order_id == engine.exit_id(pair):
        reason = GUARDIAN
        pair.live.exits += 1
    tick = engine.last_tick(pair)
    order = Order(
        id=orphan.client_order_id,
        pair=pair.pair,
        purpose=ENTRY if orphan.side == BUY else EXIT,
        reason=reason,
        lots=steps_down(orphan.quantity, pair.step),
        ticks=tick.ticks,
        decided_ns=tick.ns,
        created_ms=orphan.created_ms or tick.ms,
        updated_ms=tick.ms,
        state=OrderState.SUBMITTING,
        venue_order_id=orphan.venue_order_id,
    )
    keep_ended(live, order)
    for fill in orphan.fills:
        engine.apply(fill, pair)


def _known(engine: "Engine", order_id: str) -> bool:
    working = (pair.order.id for pair in engine.state.pairs.values() if pair.order is not None)
    return order_id in working or engine.ledger.ended_order(order_id) is not None
