"""Journal entries as a person reads them: level and text of the event, or nothing where nobody needs to be told."""

from bus.messages import OrderEvent, SignalEvent, SpanEvent, StartedEvent, StateEvent, TradeEvent, TraderEvent

Words = tuple[str, str, str]  # level, text, pair

_COMMANDS = {
    "pause": "paused: no new entries, exits go on; `make resume` lifts it",
    "resume": "trading goes on",
    "flatten": "flattening: positions are sold at their next trade, no new entries; `make resume` lifts it",
    "halt": "halted: no new entries, exits go on; resume lifts it",
}


def words(event: TraderEvent) -> Words | None:
    """Level (start, info, warn, entry, exit, refusal, halt), text and pair of an event."""
    match event:
        case TradeEvent(action="buy"):
            return "entry", f"bought {event.quantity} at {event.price} ({event.reason}), fee {event.fee}", event.pair
        case TradeEvent():
            text = f"sold {event.quantity} at {event.price} ({event.reason}), profit {event.profit}, fee {event.fee}"
            return "exit", text, event.pair
        case OrderEvent(status="cancelled", filled="0", side="buy"):
            return "info", f"entry not filled ({event.reason})", event.pair
        case OrderEvent(status="rejected"):
            return "error", f"{event.side} order {event.client_order_id} was rejected ({event.reason})", event.pair
        case SignalEvent():
            return _signal(event)
        case StateEvent():
            return _state(event)
        case SpanEvent():
            return _span(event)
        case StartedEvent():
            return "start", event.report, ""
    return None


def _signal(event: SignalEvent) -> Words | None:
    if event.outcome == "approved":
        return "info", f"{event.action} ({event.reason}) at {event.price:g}", event.pair
    reason = event.outcome.removeprefix("refused:")
    if reason.endswith(" ended"):
        return "info", f"refusal over: {reason.removesuffix(' ended')}, {event.count} entries were refused", event.pair
    return "refusal", f"entry ({event.reason}) at {event.price:g} refused: {reason}", event.pair


def _state(event: StateEvent) -> Words:
    if event.command:
        level = "halt" if event.command == "halt" else "info"
        return level, f"{_COMMANDS[event.command]} ({event.reason})", ""
    if event.state == "halted":
        return "halt", f"halted by {event.reason}: no new entries, exits go on; resume lifts it", ""
    return "info", f"trading is {event.state}: {event.reason}", ""


def _span(event: SpanEvent) -> Words:
    if event.kind == "blind":
        count = event.last - event.first + 1
        return "warn", f"{count} records taken without decisions, from {event.first}: {event.why}", ""
    if event.last < 0:
        what = "no entries" if event.kind == "blocked" else "only the trailing stop decides"
        return "warn", f"{event.kind} from record {event.first}: {what} ({event.why})", ""
    return "info", f"{event.kind} is over after record {event.last} ({event.why})", ""
