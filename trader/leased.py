"""What the lease says of the positions held, so that the guardian can sell them in the trader's place. Pure."""

from functools import lru_cache

from core.lease import Position
from core.money import plain
from trader.engine import Engine
from trader.ids import client_order_id
from trader.orders import OrderState
from trader.state import EXIT, LivePair, PairState

ATTEMPTS = 4  # ids of next exits
PAST = 4  # of the latest exits


def positions(engine: Engine) -> tuple[Position, ...]:
    """One for each pair of which whole lots are held."""
    held = [pair for pair in engine.state.pairs.values() if pair.lots and pair.live is not None]
    return tuple(_position(engine, pair, pair.live) for pair in held if pair.live is not None) if held else ()


def _position(engine: Engine, pair: PairState, live: LivePair) -> Position:
    market = engine.market(pair.pair)
    order = pair.order if pair.order is not None and pair.order.purpose == EXIT else None
    resting = order is not None and order.resting and order.state == OrderState.WORKING
    root = (engine.terms.bot_name, engine.state.journal_id, pair.pair, live.opened_epoch, live.opened_record)
    past = min(live.exits, PAST)
    ids = tuple(_exit_id(*root, live.exits + n) for n in range(1 - past, ATTEMPTS + 1))
    orders = [*(engine.state.live.ended if engine.state.live is not None else ()), *([order] if order else ())]
    tick = engine.last_tick(pair)
    return Position(
        pair=pair.pair,
        key=_exit_id(*root, 1),
        base="" if market is None else market.base,
        quantity=plain(pair.lots * pair.step),
        step=plain(pair.step),
        highest=pair.highest or tick.price,
        keep=engine.terms.keep,
        price_ns=pair.ns,
        exit_ids=ids,
        past=past,
        working="" if order is None or resting else order.id,
        counted={one.id: plain(one.filled * pair.step) for one in orders if one.filled and one.id in ids},
        exiting=bool(live.exiting or pair.flatten),
        resting=resting,
    )


@lru_cache(4096)
def _exit_id(bot_name: str, journal_id: str, pair: str, epoch: int, record: int, attempt: int) -> str:
    return client_order_id(bot_name, journal_id, pair, epoch, record, EXIT, attempt)
