"""Did the bot decide and fill what the reference does on the same tape, with the recorded spans and commands?

The reference obeys the spans, however long they are: that they end is asked for by itself.
"""

from decimal import Decimal

from bus.messages import At, Entry, FillEvent, SpanEvent, StateEvent
from core.clock import iso_utc
from tests.chaos.findings import Finding, differences, finding
from tests.pipeline.audit import cash_of, decided, events_of, spans
from tests.reference.slow_strategy import Result


def judge_decisions(entries: list[Entry], result: Result) -> Finding:
    """Approved orders, fills, wallet and positions; rsi and band to a billionth, all else exactly."""
    ours, theirs = decided(entries), result.decisions
    wrong = differences(
        "decision",
        [(e.at.time_ms, e.pair, e.action, e.reason, e.price) for e in ours],
        [(d.ts_ns // 1_000_000, d.pair, d.action, d.reason, d.price) for d in theirs],
    )
    for event, decision in zip(ours, theirs, strict=False):
        for name, value, expected, scale in (
            ("rsi", event.rsi, decision.rsi, 1.0),
            ("band", event.bb_lower, decision.bb_lower, 0.0),
        ):
            if not wrong and value is not None and not abs(value - expected) <= 1e-9 * max(scale, abs(expected)):
                wrong.append(f"decision at {event.at.record}: {name} {value}, expected {expected}")
    wrong += result.far
    fills: list[FillEvent] = events_of(entries, FillEvent)
    wrong += differences(
        "fill",
        [(f.time, f.pair, f.side, Decimal(f.price), Decimal(f.quantity), cash_of(f)) for f in fills],
        [
            (f.ts_ns // 1_000_000, f.pair, f.side, f.price, f.quantity, f.cash if f.side == "sell" else -f.cash)
            for f in result.fills
        ],
    )
    count = ", ".join(f"{len(spans(entries, kind))} {kind}" for kind in ("blind", "degraded", "blocked"))
    commands = sum(1 for event in events_of(entries, StateEvent) if event.command)
    text = f"{len(ours)} orders and {len(fills)} fills are the reference's, over {count} spans and {commands} commands"
    text += f"; {len(result.near)} trades with an indicator at its threshold"
    return finding("decisions", text, wrong)


def judge_commands(entries: list[Entry], acknowledged: dict[str, int], asked: dict[str, int]) -> Finding:
    """Every command that was answered is in the journal, and none that nobody gave."""
    wrong = []
    for action in sorted(asked):
        written = sum(1 for event in events_of(entries, StateEvent) if event.command == action)
        if not acknowledged.get(action, 0) <= written <= asked[action]:
            wrong.append(f"{action}: {acknowledged.get(action, 0)} acknowledged, {written} in the journal")
    text = f"{sum(acknowledged.values())} of {sum(asked.values())} acknowledged, these are in the journal"
    return finding("commands", text, wrong)


def judge_trading_on(entries: list[Entry], after: int) -> Finding:
    """An order to enter was approved behind entry `after` of the journal, and nothing stands in the way of another."""
    found = {(span.kind, span.first, span.why): span for span in events_of(entries, SpanEvent)}
    still_open = [span for span in found.values() if span.last < 0]
    wrong = [f"{span.kind} since {when(span.at)}: {span.why}" for span in still_open]
    latest: list[StateEvent] = events_of(entries, StateEvent)[-1:]
    wrong += [f"{event.state} since {when(event.at)}: {event.reason}" for event in latest if event.state != "active"]
    entered = [event.at for event in decided(entries) if event.action == "enter"]
    behind = [event for event in decided([e for e in entries if e.number > after]) if event.action == "enter"]
    if not behind:
        last = when(entered[-1]) if entered else "never"
        wrong.append(f"no order to enter was approved behind entry {after}; the last one: {last}")
    text = f"{len(behind)} orders to enter after the last disturbance, {len(still_open)} spans still open"
    return finding("trades on", text, wrong)


def when(at: At) -> str:
    """Record and market time."""
    return f"record {at.record} ({iso_utc(at.time_ms)})"
