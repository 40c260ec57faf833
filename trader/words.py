"""Journal entries as a person reads them: level and text of the event, or nothing where nobody needs to be told."""

from decimal import Context, Decimal

from bus.messages import (
    CheckedEvent,
    CostsEvent,
    DayCostsEvent,
    ExternalEvent,
    OrderEvent,
    ShadowEvent,
    SignalEvent,
    SpanEvent,
    StartedEvent,
    StateEvent,
    TradeEvent,
    TraderEvent,
)
from core.money import plain, steps_nearest, steps_text

Words = tuple[str, str, str]  # level, text, pair

_COMMANDS = {
    "pause": "paused: no new entries, exits go on; `make resume` lifts it",
    "resume": "trading goes on",
    "flatten": "flattening: positions are sold at their next trade, no new entries; `make resume` lifts it",
    "halt": "halted: no new entries, exits go on; resume lifts it",
}


def words(event: TraderEvent, tick: Decimal | None = None) -> Words | None:
    """Level (start, info, warn, entry, exit, refusal, halt), text and pair of an event; tick: of its pair."""
    match event:
        case TradeEvent(action="buy"):
            text = f"bought {event.quantity} at {_price(event.price, tick)} ({event.reason}), fee {_amount(event.fee)}"
            return "entry", text, event.pair
        case TradeEvent():
            profit = "unknown" if event.profit is None else _amount(event.profit)
            text = f"sold {event.quantity} at {_price(event.price, tick)} ({event.reason}), profit {profit}"
            return "exit", f"{text}, fee {_amount(event.fee)}", event.pair
        case OrderEvent(status="cancelled", filled="0", side="buy"):
            return "info", f"entry not filled ({event.reason})", event.pair
        case OrderEvent(status="rejected", type="stop"):
            return None  # told once a position, and tried again: `trader.desk`
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
        case CostsEvent() | DayCostsEvent():
            return event.level, event.text, ""
        case ExternalEvent():
            return _external(event)
        case CheckedEvent():
            head = "journal and venue agree" if event.agreed else "journal and venue do not agree yet: no trading"
            return "info" if event.agreed else "warn", "; ".join([head, *event.report]), ""
        case ShadowEvent():
            return "info", shadow_words(event), event.pair
    return None


def shadow_words(event: ShadowEvent) -> str:
    """A real order beside the same one on paper."""
    sides = (("real", event.live_price), ("paper", event.paper_price))
    at = ", ".join(f"{name} {'not filled' if price is None else f'at {float(price):.8g}'}" for name, price in sides)
    if event.difference_bps is None:
        return f"shadow of the {event.action}: {at}"
    worse = Decimal(event.difference_bps)
    word = "worse" if worse > 0 else "better"
    profit = ""
    if event.live_profit is not None and event.paper_profit is not None:
        profit = f"; profit {_amount(event.live_profit)}, on paper {_amount(event.paper_profit)}"
    return f"shadow of the {event.action}: {at}: {plain(abs(worse))} bps {word}{profit}"


def _price(text: str, tick: Decimal | None) -> str:
    """An average price as people say it: to the tick."""
    return text if tick is None else steps_text(steps_nearest(text, tick), tick)


def _amount(text: str) -> str:
    """An amount of money to the cent; one below a cent to two digits."""
    value = Decimal(text)
    if value and abs(value) < Decimal("0.01"):
        return plain(value.normalize(Context(prec=2)))
    return format(value.quantize(Decimal("0.01")), "f")


def _signal(event: SignalEvent) -> Words | None:
    if event.outcome == "approved":
        return "info", f"{event.action} ({event.reason}) at {event.price:.8g}", event.pair
    reason = event.outcome.removeprefix("refused:")
    if reason.endswith(" ended"):
        return "info", f"refusal over: {reason.removesuffix(' ended')}, {event.count} entries were refused", event.pair
    note = f" ({event.note})" if event.note else ""
    return "refusal", f"entry ({event.reason}) at {event.price:.8g} refused: {reason}{note}", event.pair


def _state(event: StateEvent) -> Words:
    if event.command:
        level = "halt" if event.command == "halt" else "info"
        return level, f"{_COMMANDS[event.command]} ({event.reason})", ""
    if event.state == "halted":
        return "halt", f"halted by {event.reason}: no new entries, exits go on; resume lifts it", ""
    return "info", f"trading is {event.state}: {event.reason}", ""


def _external(event: ExternalEvent) -> Words:
    if event.pair:
        return "warn", f"{event.base} of the base coin is gone: {event.why}", event.pair
    if Decimal(event.quote):
        return "warn", f"the wallet is {event.quote} off the journal and follows the venue: {event.why}", ""
    return "warn", event.why, ""


def _span(event: SpanEvent) -> Words:
    if event.kind == "blind":
        count = event.last - event.first + 1
        return "warn", f"{count} records taken without decisions, from {event.first}: {event.why}", ""
    if event.last < 0:
        what = "no entries" if event.kind == "blocked" else "only the trailing stop decides"
        return "warn", f"{event.kind} from record {event.first}: {what} ({event.why})", ""
    return "info", f"{event.kind} is over after record {event.last} ({event.why})", ""
