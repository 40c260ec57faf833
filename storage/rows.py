"""What becomes of a message: its table, its row, and the statements that write rows. Pure."""

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy import Insert, Table
from sqlalchemy.dialects import sqlite

from bus.messages import Candle, EquityEvent, Event, FillEvent, Gap, OrderEvent, ShadowEvent, SignalEvent, TradeEvent
from storage.schema import LEDGER, candles, cursors, equity, events, fills, gaps, orders, shadow, signals, trades

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


def _compiled(statement: Insert) -> str:
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark")))


STATEMENTS = {
    "candles": upsert(candles),
    "orders": upsert(orders),
    "fills": plain(fills),  # a row that is there stays as it is: the table's trigger
    "trades": plain(trades),
    "signals": upsert(signals),
    "equity": plain(equity),
    "shadow": upsert(shadow),
    "gaps": plain(gaps),
    "events": plain(events),
    "cursors": upsert(cursors),
}
OF_THE_JOURNAL = (*(table.name for table in LEDGER), "signals", "equity", "shadow")
ABOUT_THE_MARKET = ("signals", "equity", "gaps", "events")  # beside candles; of signals those without an order

_CANDLE_COLUMNS = len(candles.columns)  # what a Candle has beyond them stands at its end
_SIGNAL_ORDER = [column.name for column in signals.columns].index("client_order_id")
_EVENT_TIME = [column.name for column in events.columns].index("time")
time_of_event: Callable[[Values], Any] = itemgetter(_EVENT_TIME)
time_of_candle: Callable[[Values], Any] = itemgetter([column.name for column in candles.columns].index("time"))


def candle_row(candle: Candle) -> Values:
    """The row of a candle; it begins with its key."""
    return msgspec.structs.astuple(candle)[:_CANDLE_COLUMNS]


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


# What makes the row of an entry, and of which table; positions, states and spans are the trader's own.
MADE: dict[type, tuple[str, Callable[[int, Any], Values]]] = {
    OrderEvent: (orders.name, _order),
    FillEvent: (fills.name, _fill),
    TradeEvent: (trades.name, _trade),
    SignalEvent: (signals.name, _signal),
    EquityEvent: (equity.name, _equity),
    ShadowEvent: (shadow.name, _shadow),
}
