"""The stop that rests at the venue while a position is held, so that it is protected when this program is not. Pure.

It is the pair's one order, of kind stop: what fills, adopts, reconciles and cancels orders does so with it too, and no
second sell of the pair can work beside it. When to look is the stage's (`trader.guards`); the fold decides at
`inputs.Protect`. The rules, each with a test of its name:

* placed: for all lots of a position that nothing else works for, that is not to be sold and not too little to be; at
  highest x keep, rounded down to the tick. Its id is that of the position's next exit.
* waits: not before a start was compared with the venue, not while blind, not for a market that is closed, not where the
  price is at the stop already.
* climbs: cancelled once the stop price has risen by CLIMB_BPS of the price; the next one is placed when the venue has
  told that the one before is over. Meanwhile the trader's own stop watches, as always.
* resized: cancelled where the position is no longer of its size, and placed anew.
* cancelled_first: whatever exit is decided, it is cancelled, and what is left is sold when it is over.
* race_lost: where it fills before the cancel does, it was the exit, and is booked as one, once.
* venue_sells: what it filled is an exit for trailing_stop; a rest that it leaves is sold at the market.
* refused: the trader's own stop and the guardian hold; it is tried again when the stage asks.
* one_sell: at most one sell of a pair works at any time.
* switched_off: with NATIVE_STOP=false, or at a venue without such stops, none is placed, and one that rests is
  cancelled.
"""

from typing import TYPE_CHECKING

from core.money import steps_down
from trader import venue_news
from trader.orders import OrderState
from trader.state import PairState, State

if TYPE_CHECKING:
    from trader.engine import Engine

CLIMB_BPS = 5
PLACE, RESIZE, CLIMB, REMOVE = "place", "resize", "climb", "remove"
_NOTES = {RESIZE: "position_changed", CLIMB: "stop_climbs", REMOVE: "native_stop_off"}


def wanted(engine: "Engine") -> dict[str, str]:
    """What is to be done, by pair: place, resize, climb, remove."""
    if not venue_news.may_send(engine):
        return {}
    engine.sync()
    steps = {pair.pair: _step(engine, pair) for pair in engine.state.pairs.values() if pair.lots or pair.order}
    return {name: step for name, step in steps.items() if step}


def take(engine: "Engine", name: str) -> None:
    """Does what is to be done for a pair; nothing where that is over by now."""
    pair = engine.state.pairs.get(name)
    if pair is None or pair.live is None or not venue_news.may_send(engine):
        return
    engine.sync()
    step, market = _step(engine, pair), engine.market(name)
    if step == PLACE and market is not None:
        engine.guard(pair, market, stop_ticks(engine, pair))
    elif step:
        engine.cancel(pair, _NOTES[step])


def resting(state: State) -> int:
    """How many stops rest at the venue, as far as it has told."""
    orders = (pair.order for pair in state.pairs.values())
    return sum(1 for order in orders if order is not None and order.resting and order.state == OrderState.WORKING)


def stop_ticks(engine: "Engine", pair: PairState) -> int:
    """The trailing stop, in ticks rounded down; 0 where there is none."""
    return 0 if pair.highest is None else steps_down(pair.highest * engine.terms.keep, pair.tick)


def _step(engine: "Engine", pair: PairState) -> str:
    market, order = engine.market(pair.pair), pair.order
    leaving = bool(pair.flatten or (pair.live is not None and pair.live.exiting))
    if order is not None:
        if not order.resting or (leaving and pair.lots):
            return ""
        if not engine.terms.native_stop:
            return REMOVE
        if market is not None and order.left != min(pair.lots, market.max_lots):
            return RESIZE
        risen = stop_ticks(engine, pair) - order.stop_ticks
        return CLIMB if order.state == OrderState.WORKING and risen * 10_000 >= CLIMB_BPS * pair.ticks > 0 else ""
    if not engine.terms.native_stop or leaving or market is None or not market.active:
        return ""
    price = stop_ticks(engine, pair)
    placed = 0 < price < pair.ticks and not engine.ledger.is_dust(pair, engine.last_tick(pair))
    return PLACE if placed else ""
