"""What a difference between a journal and its replay is, in words: both sides, the indicators, and why."""

from typing import Any

import msgspec

from backtest.result import Array
from bus.messages import (
    CheckedEvent,
    CostsEvent,
    DayCostsEvent,
    EquityEvent,
    ExternalEvent,
    FillEvent,
    OrderEvent,
    PositionEvent,
    ShadowEvent,
    SignalEvent,
    SpanEvent,
    StartedEvent,
    StateEvent,
    TradeEvent,
    TraderEvent,
)
from bus.records import ENTER_CRASH_CATCH, ENTER_MEAN_REVERSION, EXIT_TAKE_PROFIT, WARM
from core.clock import iso_utc
from trader.state import NO_SPAN, State
from trader.words import shadow_words

NOTHING = "nothing there"
CODES = {
    WARM: "warm",
    ENTER_MEAN_REVERSION: "mean_reversion",
    ENTER_CRASH_CATCH: "crash_catch",
    EXIT_TAKE_PROFIT: "take_profit",
}


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The first place where the journal and its replay part."""

    what: str
    epoch: int
    record: int
    time: str  # ISO-8601 UTC of market time
    pair: str
    journal: str
    replay: str
    entry: int  # number in the journal, 0 where there is none
    fields: dict[str, tuple[str, str]] = {}  # that differ: journal, replay
    indicators_journal: str = ""
    indicators_replay: str = ""
    why: str = ""  # what the replay went by


def said(event: TraderEvent) -> str:
    """One event in a line."""
    match event:
        case SignalEvent():
            return f"{event.action} for {event.reason} at {event.price!r}: {event.outcome}" + (
                f", {event.count} times" if event.count > 1 else ""
            )
        case OrderEvent():
            return f"order to {event.side} {event.quantity}, {event.filled} filled: {event.status} ({event.reason})"
        case FillEvent():
            return f"fill {event.id}: {event.side} {event.quantity} at {event.price}, fee {event.fee}"
        case TradeEvent():
            profit = "" if event.profit is None else f", profit {event.profit}"
            return f"trade {event.id}: {event.action} {event.quantity} at {event.price}{profit} ({event.reason})"
        case PositionEvent():
            return f"position {event.quantity}, cost {event.cost}, highest {event.highest!r}, stop {event.stop_price!r}"
        case EquityEvent():
            return f"equity: balance {event.balance}, position {event.position_value}, realized {event.realized}"
        case StateEvent():
            by = f" by {event.command}" if event.command else ""
            return f"trading is {event.state}{by} ({event.reason})"
        case SpanEvent():
            return f"{event.kind} span {event.first} to {event.last} ({event.why})"
        case StartedEvent():
            return f"started, {event.found}: {event.report}"
        case CostsEvent() | DayCostsEvent():
            return event.text
        case ExternalEvent():
            return f"external: {event.pair} {event.base}, quote {event.quote} ({event.why})"
        case CheckedEvent():
            return f"compared with the venue, {'agreed' if event.agreed else 'not agreed'}: {'; '.join(event.report)}"
        case ShadowEvent():
            return shadow_words(event)


def known(event: TraderEvent | None) -> str:
    """The indicators that an event carries."""
    if not isinstance(event, SignalEvent):
        return "not in the journal here"
    return f"price {event.price!r}, rsi {event.rsi!r}, bb_lower {event.bb_lower!r}"


def told(updates: Array, record: int, pair: str, pairs: list[str]) -> str:
    """The indicators of the replay at a record."""
    found = updates[updates["number"] == record]
    if not len(found):
        return "none: a raw record of a span, or no trade"
    update = found[0]
    name = pairs[int(update["pair"])] if int(update["pair"]) < len(pairs) else "an unknown pair"
    codes = [word for code, word in CODES.items() if int(update["codes"]) & code]
    of = "" if name == pair else f"of {name}: "
    return (
        f"{of}price {float(update['price'])!r}, rsi {float(update['rsi'])!r}, bb_lower {float(update['bb_lower'])!r},"
        f" bb_upper {float(update['bb_upper'])!r}, {int(update['closed'])} candles closed, codes"
        f" {' '.join(codes) or 'none'}"
    )


def standing(state: State, pair: str, settings: dict[str, str]) -> str:
    """What the replay's fold went by: position, order, span, state, the settings of the rules."""
    parts = []
    own = state.pairs.get(pair)
    if own is not None and own.lots:
        parts.append(f"holds {own.lots * own.step} since {iso_utc(own.opened_ms or 0)}, highest {own.highest!r}")
    elif own is not None:
        parts.append("holds nothing")
    if own is not None and own.order is not None:
        parts.append(f"{own.order.purpose} for {own.order.reason} is working, {own.order.left * own.step} left")
    if own is not None and own.refusal:
        parts.append(f"refuses entries: {own.refusal}")
    parts.append(f"{state.span} span" if state.span != NO_SPAN else "updates")
    parts.append(f"trading {state.trading}")
    parts += [f"blocked by {reason}" for reason in state.blocks]
    names = ("RSI_BUY", "RSI_CRASH", "RSI_SELL", "TRAILING_STOP_PCT")
    return ", ".join(parts + [f"{name} {settings.get(name, '-')}" for name in names])


def event_difference(
    journal: TraderEvent | None, replay: TraderEvent | None, entry: int, updates: Array, state: State
) -> Difference:
    """What differs where the next event of one side is not that of the other; None: it has no more."""
    first = _earlier(journal, replay)
    record, pair = first.at.record, getattr(first, "pair", "")
    mine, theirs = NOTHING, NOTHING
    fields: dict[str, tuple[str, str]] = {}
    if journal is not None and (replay is None or journal.at.record <= record):
        mine = said(journal)
    if replay is not None and (journal is None or replay.at.record <= record):
        theirs = said(replay)
    if mine != NOTHING and theirs != NOTHING:
        assert journal is not None and replay is not None
        fields = _fields(journal, replay)
        what = "both sides have something else at this record"
    elif theirs == NOTHING:
        what = "the journal has what the replay has not"
    else:
        what = "the replay has what the journal has not"
    return Difference(
        what=what,
        epoch=first.at.epoch,
        record=record,
        time=iso_utc(first.at.time_ms),
        pair=pair,
        journal=mine,
        replay=theirs,
        entry=entry if mine != NOTHING else 0,
        fields=fields,
        indicators_journal=known(journal if mine != NOTHING else None),
        indicators_replay=told(updates, record, pair, [] if state.start is None else _pairs(state)),
        why=standing(state, pair, state.settings),
    )


def state_difference(journal: State, replay: State, entry: int, what: str) -> Difference | None:
    """What differs between a recorded state and the replay's, None where nothing does."""
    mine, theirs = flat(journal), flat(replay)
    fields = {
        name: (str(mine.get(name, "-")), str(theirs.get(name, "-")))
        for name in sorted(mine.keys() | theirs.keys())
        if mine.get(name) != theirs.get(name)
    }
    if not fields:
        return None
    name, (one, other) = next(iter(fields.items()))
    pair = name.split(".")[1] if name.startswith("pairs.") else ""
    return Difference(
        what=what,
        epoch=journal.epoch,
        record=journal.record,
        time=iso_utc(journal.market_ns // 1_000_000),
        pair=pair,
        journal=f"{name} {one}",
        replay=f"{name} {other}",
        entry=entry,
        fields=fields,
    )


def flat(state: State) -> dict[str, Any]:
    """A state's values by dotted name, but those that no decision, fill or balance depends on."""
    found: dict[str, Any] = {}

    def put(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                put(f"{name}.{key}" if name else str(key), inner)
        else:
            found[name] = value

    put("", msgspec.to_builtins(state))
    for name in ("stopped", "start.time_ns", "start"):
        found.pop(name, None)
    if state.start is not None:
        body = msgspec.structs.asdict(state.start)
        found["start"] = repr([value for name, value in body.items() if name != "time_ns"])
    return found


def _pairs(state: State) -> list[str]:
    assert state.start is not None
    return [market.pair for market in state.start.markets]


def _earlier(journal: TraderEvent | None, replay: TraderEvent | None) -> TraderEvent:
    """Of two events the one that comes first on the tape, the journal's where both are of one record."""
    if journal is None or replay is None:
        found = journal if replay is None else replay
        assert found is not None
        return found
    return replay if replay.at.epoch == journal.at.epoch and replay.at.record < journal.at.record else journal


def _fields(journal: TraderEvent, replay: TraderEvent) -> dict[str, tuple[str, str]]:
    """The fields that differ, where both events are of one kind."""
    if type(journal) is not type(replay):
        return {"event": (type(journal).__name__, type(replay).__name__)}
    return {
        name: (str(getattr(journal, name)), str(getattr(replay, name)))
        for name in journal.__struct_fields__
        if getattr(journal, name) != getattr(replay, name)
    }
