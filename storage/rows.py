"""What becomes of a message: its table, its row, and the statements that write rows. Pure."""

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy import Insert, Table
from sqlalchemy.dialects import sqlite

from bus.messages import (
    At,
    Candle,
    CheckedEvent,
    EquityEvent,
    Event,
    ExternalEvent,
    FillEvent,
    Gap,
    OrderEvent,
    PositionEvent,
    ShadowEvent,
    SignalEvent,
    SpanEvent,
    StartedEvent,
    StateEvent,
    TradeEvent,
)
from storage.schema import (
    LEDGER,
    candle_ends,
    candles,
    checks,
    cursors,
    equity,
    events,
    fills,
    gaps,
    ghosts,
    order_steps,
    orders,
    positions,
    reasons,
    shadow,
    signals,
    trades,
)

Values = tuple[Any, ...]


def plain(table: Table) -> str:
    """INSERT of all columns, in the order of the table."""
    return _compiled(sqlite.insert(table))


def upsert(table: Table) -> str:
    """INSERT of all columns, or UPDATE where the primary key is there."""
    keys = [column.name for column in table.primary_key]
    statement = sqlite.insert(table)
    others = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    return _compiled(statement.on_conflict_do_update(index_elements=keys, set_=others))


def once(table: Table) -> str:
    """INSERT of all columns; a row with that primary key stays as it is."""
    return _compiled(sqlite.insert(table).on_conflict_do_nothing())


def _compiled(statement: Insert) -> str:
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark")))


STATEMENTS = {
    "candles": upsert(candles),
    "candle_ends": upsert(candle_ends),
    "orders": upsert(orders),
    "fills": plain(fills),  # a row that is there stays as it is: the table's trigger
    "trades": plain(trades),
    "signals": upsert(signals),
    "positions": upsert(positions),
    "order_steps": upsert(order_steps),
    "reasons": upsert(reasons),
    "ghosts": once(ghosts),  # its verdict comes later, and is kept when the entry is told once more
    "equity": plain(equity),
    "shadow": upsert(shadow),
    "checks": upsert(checks),
    "gaps": plain(gaps),
    "events": plain(events),
    "cursors": upsert(cursors),
}
STANDING = ("positions", "order_steps", "reasons")
BOOKED = (*(table.name for table in LEDGER), "signals", "equity", "shadow")  # worth a copy before they are emptied
OF_THE_JOURNAL = (*BOOKED, *STANDING, "ghosts", "checks")
# Beside candles; of signals those without an order.
ABOUT_THE_MARKET = ("signals", "equity", "gaps", "events", *STANDING)

REFUSED, ENDED = "refused:", " ended"  # how the outcome of a signal begins and ends
_CANDLE_COLUMNS = len(candles.columns)  # what a Candle has beyond them stands at its end
_SIGNAL_ORDER = [column.name for column in signals.columns].index("client_order_id")
_EVENT_TIME = [column.name for column in events.columns].index("time")
time_of_event: Callable[[Values], Any] = itemgetter(_EVENT_TIME)
time_of_candle: Callable[[Values], Any] = itemgetter([column.name for column in candles.columns].index("time"))


def candle_row(candle: Candle) -> Values:
    """The row of a candle; it begins with its key."""
    return msgspec.structs.astuple(candle)[:_CANDLE_COLUMNS]


def end_row(candle: Candle) -> Values:
    """A candle as it closed; it begins with its key, four long."""
    place = (candle.pair, candle.time, candle.epoch, candle.segment)
    return (*place, candle.number, candle.close, candle.rsi, candle.bb_lower)


def event_row(event: Event) -> Values:
    """The row of an event, its id left to the table; the pair is named once."""
    message = f"{event.pair}: {event.text}" if event.pair and event.pair not in event.text else event.text
    return (None, event.time_ms, event.stage, event.level, message)


def gap_row(gap: Gap) -> Values:
    """The row of a gap."""
    return (gap.topic, gap.epoch, gap.first, gap.last, gap.time_ms)


def of_an_order(signal: Values) -> bool:
    """Whether a row of `signals` led to an order: then it belongs to the ledger."""
    return bool(signal[_SIGNAL_ORDER])


def _order(number: int, event: OrderEvent) -> Values:
    return (
        event.client_order_id,
        event.venue_order_id,
        event.pair,
        event.side,
        event.type,
        None if event.price is None else float(event.price),
        float(event.quantity),
        float(event.filled),
        event.status,
        event.reason,
        event.created,
        event.updated,
    )


def _fill(number: int, event: FillEvent) -> Values:
    return (
        event.id,
        event.client_order_id,
        event.venue_fill_id,
        event.pair,
        event.side,
        float(event.price),
        float(event.quantity),
        float(event.fee),
        event.fee_currency,
        event.time,
        event.price,
        event.quantity,
        event.fee,
    )


def _trade(number: int, event: TradeEvent) -> Values:
    return (
        event.id,
        event.pair,
        event.action,
        float(event.price),
        float(event.quantity),
        float(event.fee),
        None if event.profit is None else float(event.profit),
        event.reason,
        event.timestamp,
        event.client_order_id,
    )


def _signal(number: int, event: SignalEvent) -> Values:
    return (
        number,
        event.pair,
        event.at.time_ms,
        event.at.record,
        event.action,
        event.reason,
        event.price,
        event.rsi,
        event.bb_lower,
        event.outcome if event.count <= 1 else f"{event.outcome}, {event.count} times",
        event.client_order_id,
    )


def _equity(number: int, event: EquityEvent) -> Values:
    return (
        event.time,
        float(event.balance),
        float(event.position_value),
        float(event.unrealized),
        float(event.realized),
    )


def _shadow(number: int, event: ShadowEvent) -> Values:
    return (
        event.client_order_id,
        event.pair,
        event.action,
        _optional(event.live_price),
        _optional(event.paper_price),
        float(event.live_quantity),
        float(event.paper_quantity),
        _optional(event.difference_bps),
        event.time,
        _optional(event.lost),
        _optional(event.live_profit),
        _optional(event.paper_profit),
    )


def _optional(text: str | None) -> float | None:
    return None if text is None else float(text)


def _position(number: int, event: PositionEvent) -> Values:
    at = event.at
    quantity = float(event.quantity)
    of_it = (event.entry_price, event.highest, event.stop_price, event.opened_ms)
    return (number, event.pair, at.time_ms, at.epoch, at.record, quantity, *of_it)


def _order_step(number: int, event: OrderEvent) -> Values:
    at = event.at
    place = (event.pair, at.time_ms, at.epoch, at.record)
    return (number, event.client_order_id, *place, event.side, event.status, float(event.filled))


def _reason(
    number: int, kind: str, at: At, reason: str, why: str, *, pair: str = "", first: int, last: int = -1, count: int = 0
) -> Values:
    return (number, kind, pair, at.time_ms, at.epoch, at.record, reason, first, last, count, why)


def _span(number: int, event: SpanEvent) -> Values:
    """Of a block the reason is its own word, of a blind or degraded span the kind."""
    reason, why = (event.why, "") if event.kind == "blocked" else (event.kind, event.why)
    return _reason(number, "span", event.at, reason, why, first=event.first, last=event.last)


def _state(number: int, event: StateEvent) -> Values:
    return _reason(number, "state", event.at, event.state, event.reason, first=event.at.record + 1)


def _started(number: int, event: StartedEvent) -> Values:
    return _reason(number, "start", event.at, event.found, _json(event.settings), first=event.at.record + 1)


def _refusal(number: int, event: SignalEvent) -> Values | None:
    """Begin and end of a refusal; an order that was approved is none."""
    word = event.outcome.removeprefix(REFUSED)
    if word == event.outcome:
        return None
    reason = word.removesuffix(ENDED)
    last = event.at.record if word != reason else -1
    at = event.at
    return _reason(
        number, "refusal", at, reason, event.reason, pair=event.pair, first=at.record, last=last, count=event.count
    )


def _ghost(number: int, event: SignalEvent) -> Values | None:
    """An approved entry waits for its candle to close."""
    if event.action != "enter" or not event.client_order_id:
        return None
    at = event.at
    place = (event.client_order_id, event.pair, at.time_ms, at.epoch, at.record, event.reason)
    return (number, *place, "waiting", None, None, None, None)


def _check(number: int, event: CheckedEvent) -> Values:
    kind = "start" if event.at_start else "later"
    texts = (_json(event.report), _json(event.before), _json(event.after))
    return (number, kind, event.wall_ms or event.at.time_ms, int(event.agreed), *texts, "", 0.0, 0.0)


def _external(number: int, event: ExternalEvent) -> Values:
    texts = (_json([event.why]), "{}", "{}")
    return (number, "external", event.at.time_ms, None, *texts, event.pair, float(event.base), float(event.quote))


def _json(what: object) -> str:
    return msgspec.json.encode(what).decode()


Maker = tuple[str, Callable[[int, Any], Any]]

# What rows an entry makes, by table; where there are several, some of them None.
MADE: dict[type, tuple[Maker, ...]] = {
    OrderEvent: ((orders.name, _order), (order_steps.name, _order_step)),
    FillEvent: ((fills.name, _fill),),
    TradeEvent: ((trades.name, _trade),),
    SignalEvent: ((signals.name, _signal), (reasons.name, _refusal), (ghosts.name, _ghost)),
    PositionEvent: ((positions.name, _position),),
    EquityEvent: ((equity.name, _equity),),
    ShadowEvent: ((shadow.name, _shadow),),
    CheckedEvent: ((checks.name, _check),),
    ExternalEvent: ((checks.name, _external),),
    StateEvent: ((reasons.name, _state),),
    SpanEvent: ((reasons.name, _span),),
    StartedEvent: ((reasons.name, _started),),
}
