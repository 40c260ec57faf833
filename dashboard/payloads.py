"""From the page's state to what goes over HTTP: plain structs and dicts, pure.

Amounts become JSON numbers here and nowhere earlier; they are for reading. What is not known is null, never 0.
"""

import math
from typing import Any

import msgspec

from bus.messages import Candle, Event, Gap, SpanEvent, TradeEvent
from bus.said import who_said
from dashboard import latency
from dashboard.health import Check
from dashboard.state import PageState, Pair, Stage


class Latency(msgspec.Struct, frozen=True):
    """Arrival of a message to its publication over the last minute, microseconds."""

    p50: float | None
    p99: float | None


class StageRow(msgspec.Struct, frozen=True):
    """One stage; `last_seen_ms` is the wall time at which it was last heard."""

    name: str
    alive: bool
    last_seen_ms: int | None
    restarts: int | None
    latency_us: Latency


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of /api/stats, field by field as the contract names them; the last seven are ours."""

    price: float | None
    rsi: float | None
    bb_lower: float | None
    bb_upper: float | None
    status: str
    mode: str
    venue: str
    book: str
    pair: str
    pairs: list[str]
    entry_price: float | None
    stop_price: float | None
    buy_below: float | None
    sell_above: float | None
    unrealized_pl: float | None
    realized_pl: float | None
    wallet_quote: float | None
    wallet_base: float | None
    logs: list[Event]
    stages: list[StageRow]
    latency: dict[str, dict[str, Any]]
    slowest: dict[str, Any] | None
    break_even_pct: float | None  # the rise of the price that pays for a round trip
    stop_pct: float | None  # the stop's distance
    shadow_trades: int | None  # real orders compared with the same on paper; null in simulation
    shadow_median_bps: float | None  # of the latest 20, more than 0 where the account did worse
    shadow_lost: float | None  # quote, over all of them
    stop_holder: str | None  # trader, guardian, venue or nobody; null where nothing is held
    stake: float | None  # quote that an entry may cost now, by the ladder; null in simulation


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over the book's trades, in quote currency."""

    trades: int = 0  # completed exits
    wins: int = 0
    losses: int = 0
    fees: float = 0.0
    realized: float = 0.0
    last_id: int = 0


class Ghosts(msgspec.Struct, frozen=True, kw_only=True):
    """Legs by what the candle of their entry said when it had closed; profits in quote currency.

    share: ghosts of the legs of which it is known, null without any.
    """

    legs: int = 0  # ghosts
    confirmed: int = 0
    unknown: int = 0
    waiting: int = 0  # entries whose candle still forms
    share: float | None = None
    profit: float = 0.0  # of the ghosts
    confirmed_profit: float = 0.0


def ghosts_of(by_verdict: dict[str, dict[str, float]]) -> Ghosts:
    """Out of storage's sums by verdict."""

    def of(verdict: str, name: str) -> float:
        return by_verdict.get(verdict, {}).get(name, 0)

    legs, confirmed = int(of("ghost", "legs")), int(of("confirmed", "legs"))
    return Ghosts(
        legs=legs,
        confirmed=confirmed,
        unknown=int(of("unknown", "legs")),
        waiting=int(of("waiting", "entries")),
        share=legs / (legs + confirmed) if legs + confirmed else None,
        profit=of("ghost", "profit"),
        confirmed_profit=of("confirmed", "profit"),
    )


def number(value: str | float | None) -> float | None:
    """Decimal text or a float as a JSON number; None for what is not finite or not a number."""
    if value is None:
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def log_row(event: Event) -> dict[str, Any]:
    """One event as an object."""
    return {
        "time_ms": event.time_ms,
        "stage": event.stage,
        "level": event.level,
        "text": event.text,
        "pair": event.pair,
    }


def log_rows(state: PageState) -> list[dict[str, Any]]:
    """The last events, oldest first."""
    return [log_row(event) for event in state.logs]


def stage_row(stage: Stage, now_ns: int) -> StageRow:
    """One stage as the page shows it."""
    beat = stage.beat
    p50, p99 = beat.latency_us if beat is not None else (None, None)
    return StageRow(
        name=stage.name,
        alive=stage.alive(now_ns),
        last_seen_ms=stage.heard_ms,
        restarts=None if beat is None else beat.restarts,
        latency_us=Latency(number(p50), number(p99)),
    )


def _mode(state: PageState, pair: Pair) -> str:
    if pair.status is not None:
        return pair.status.mode
    return "live" if state.config.live else "sim"


def stats(state: PageState, name: str, totals: Totals, now_ns: int) -> dict[str, Any]:
    """The answer of /api/stats for one known pair."""
    answer = Stats(
        **of_pair(state, name, totals, now_ns),
        pairs=state.pair_names(),
        logs=[],
        stages=[stage_row(s, now_ns) for s in state.stages.values()],
        latency=latency.by_stage(state, now_ns),
        slowest=latency.slowest(state, now_ns),
    )
    out: dict[str, Any] = msgspec.to_builtins(answer)
    out["logs"] = log_rows(state)
    return out


def of_pair(state: PageState, name: str, totals: Totals, now_ns: int) -> dict[str, Any]:
    """What /api/stats says of one known pair alone."""
    pair = state.pairs[name]
    view, status = pair.view, pair.status
    held = status is not None and status.entry_price is not None
    return {
        "price": number(view.price) if view else None,
        "rsi": number(view.rsi) if view else None,
        "bb_lower": number(view.bb_lower) if view else None,
        "bb_upper": number(view.bb_upper) if view else None,
        "status": status.status if status else "warming_up",
        "mode": _mode(state, pair),
        "venue": state.config.venue,
        "book": state.config.book,
        "pair": name,
        "entry_price": number(status.entry_price) if status else None,
        "stop_price": number(status.stop_price) if status else None,
        "buy_below": number(view.buy_below) if view else None,
        "sell_above": number(view.sell_above) if view else None,
        "unrealized_pl": number(status.unrealized) if status and held else None,
        "realized_pl": number(status.realized) if status else totals.realized,
        "wallet_quote": number(status.wallet_quote) if status else None,
        "wallet_base": number(status.wallet_base) if status else None,
        "break_even_pct": number(status.break_even_pct) if status else None,
        "stop_pct": number(status.stop_pct) if status else None,
        "shadow_trades": status.shadow_trades if status else None,
        "shadow_median_bps": number(status.shadow_median_bps) if status else None,
        "shadow_lost": number(status.shadow_lost) if status else None,
        "stop_holder": state.stop_holder(pair, now_ns),
        "stake": number(status.stake) if status else None,
    }


def candle_row(candle: Candle) -> dict[str, Any]:
    """One candle with the columns of the table."""
    row: dict[str, Any] = {
        name: getattr(candle, name) for name in ("pair", "time", "open", "high", "low", "close", "volume", "trades")
    }
    row |= {name: number(getattr(candle, name)) for name in ("rsi", "bb_lower", "bb_middle", "bb_upper")}
    return row


def tick(state: PageState, name: str, totals: Totals, now_ns: int) -> dict[str, Any]:
    """What moves with every price of one pair: the stream's `tick` event. Ages are ms at the moment of sending."""
    pair = state.pairs[name]
    view, status = pair.view, pair.status
    out = of_pair(state, name, totals, now_ns)
    quantity = number(status.quantity) if status else None
    entry, unrealized = out["entry_price"], out["unrealized_pl"]
    cost = entry * quantity if entry and quantity else None
    out |= {
        "time_ms": view.time_ms if view else None,
        "price_age_ms": (now_ns - pair.moved_ns) / 1e6 if pair.moved_ns is not None else None,
        "market_age_ms": state.market_age_ms(now_ns),
        "bb_middle": number(view.bb_middle) if view else None,
        "warm": view.warm if view else False,
        "closed": view.closed if view else 0,
        "needed": view.needed if view else None,
        "candle": candle_row(view.candle) if view and view.candle else None,
        "quantity": quantity,
        "highest": number(status.highest) if status else None,
        "unrealized_pct": 100 * unrealized / cost if cost and unrealized is not None else None,
        "opened_ms": pair.opened_ms,
        "blocked": list(status.blocked) if status else [],
        "feed": status.feed if status else None,
    }
    return out


def health(state: PageState, totals: Totals, found: list[Check], now_ns: int) -> dict[str, Any]:
    """What concerns every pair: the stream's `health` event."""
    return {
        "stages": msgspec.to_builtins([stage_row(s, now_ns) for s in state.stages.values()]),
        "path": latency.path(state, now_ns),
        "parts": latency.parts(state, now_ns),
        "slowest": latency.slowest(state, now_ns),
        "failing": [{"check": c.name, "text": c.text} for c in found if not c.ok],
        "crash_loops": [crash_loop_row(state, name) for name in state.crash_loops],
        "watchdog_silent_since_ms": None if state.watchdog.alive(now_ns) else state.watchdog.heard_ms,
        "differs": dict(state.differs),
        "feed": state.fact("feeder", "feed"),
        "pairs": [pair_row(p) for p in state.pairs.values()],
        "totals": msgspec.to_builtins(totals),
        "last_trade_id": max(totals.last_id, state.last_trade_id),
        "gaps": [gap_row(g) for g in state.gaps],
        "spans": [span_row(s) for s in state.spans],
        "trading_state": trading_state(state),
        "commands": [command_row(event) for event in state.commands],
        "left_open": list(state.left_open),
        "report": state.started.report if state.started else None,
        "recovery": state.recovery.now() if state.config.live else None,
    }


def crash_loop_row(state: PageState, name: str) -> dict[str, str]:
    """A program that keeps dying or has given up: which of the two, and why where it left a reason."""
    return {"stage": name, "what": state.crash_loops[name], "why": state.down.get(name, "")}


def trading_state(state: PageState) -> dict[str, str] | None:
    """Whether trading is active, paused, reducing or halted, and why where that was heard; None before the trader said.

    The trader's last change may lie before this dashboard's start; its heartbeat says the state each second.
    """
    told, fact = state.trading_state, state.fact("trader", "state")
    if told is not None:
        return {"state": told.state, "reason": told.reason, "command": told.command}
    return {"state": fact, "reason": "", "command": ""} if isinstance(fact, str) else None


def command_row(event: Event) -> dict[str, Any]:
    """One of the operator's commands as carried out: when, what, by whom (the page, a program, make) and why."""
    text, who, why = who_said(event.text) or (event.text, "", "")
    return {"time_ms": event.time_ms, "stage": event.stage, "text": text, "who": who, "why": why}


def pair_row(pair: Pair) -> dict[str, Any]:
    """One line of the pair selector."""
    status = pair.status
    held = status is not None and status.entry_price is not None
    return {
        "pair": pair.name,
        "status": status.status if status else "warming_up",
        "unrealized": number(status.unrealized) if status and held else None,
    }


def gap_row(gap: Gap) -> dict[str, Any]:
    """One hole that cannot be filled."""
    return {"stage": gap.stage, "topic": gap.topic, "first": gap.first, "last": gap.last, "time_ms": gap.time_ms}


def span_row(span: SpanEvent) -> dict[str, Any]:
    """One blind or degraded span."""
    return {"kind": span.kind, "first": span.first, "last": span.last, "why": span.why, "time_ms": span.at.time_ms}


def trade_row(trade: TradeEvent) -> dict[str, Any]:
    """A trade heard on the bus with the columns of the table."""
    return {
        "id": trade.id,
        "pair": trade.pair,
        "action": trade.action,
        "price": number(trade.price),
        "quantity": number(trade.quantity),
        "fee": number(trade.fee),
        "profit": number(trade.profit),
        "reason": trade.reason,
        "timestamp": trade.timestamp,
        "client_order_id": trade.client_order_id,
    }


def merge_trades(stored: list[dict[str, Any]], live: dict[int, TradeEvent], limit: int) -> list[dict[str, Any]]:
    """The newest `limit` trades, oldest first: what storage wrote, plus what it has not written yet."""
    rows = {row["id"]: row for row in stored}
    for trade in live.values():
        rows.setdefault(trade.id, trade_row(trade))
    return [rows[key] for key in sorted(rows)[-limit:]]


def add_live(totals: Totals, live: dict[int, TradeEvent]) -> Totals:
    """Storage's sums plus the trades it has not written yet."""
    fresh = [t for t in live.values() if t.id > totals.last_id]
    if not fresh:
        return totals
    profits = [p for p in (number(t.profit) for t in fresh) if p is not None]
    return Totals(
        trades=totals.trades + len(profits),
        wins=totals.wins + sum(1 for p in profits if p > 0),
        losses=totals.losses + sum(1 for p in profits if p < 0),
        fees=totals.fees + sum(number(t.fee) or 0.0 for t in fresh),
        realized=totals.realized + sum(profits),
        last_id=max(t.id for t in fresh),
    )


def merge_candles(stored: list[dict[str, Any]], forming: Candle | None, limit: int) -> list[dict[str, Any]]:
    """The newest `limit` candles, oldest first; the forming one as just seen replaces storage's older copy."""
    rows = [row for row in stored if forming is None or row["time"] < forming.time]
    if forming is not None:
        rows.append(candle_row(forming))
    return rows[-limit:]
