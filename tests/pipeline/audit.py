"""What a bot left behind, read from outside and compared: tape, journal, database, CSV, reference."""

import csv
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from backtest import command_parity, parity
from bus.messages import (
    Entry,
    EquityEvent,
    FillEvent,
    SignalEvent,
    SpanEvent,
    StateEvent,
    TradeEvent,
    TraderEvent,
)
from core.settings_table import SETTINGS
from indicators import jit
from tests.indicator_tools import kernels
from tests.reference import slow_strategy as slow
from tests.reference.read_tape import read_tape

_decode = msgspec.msgpack.Decoder(Entry).decode
Row = slow.Trade | slow.Candle | slow.Hole


def journal(book: Path) -> list[Entry]:
    """Every committed entry, in order."""
    with closing(sqlite3.connect(f"file:{book / 'journal.db'}?mode=ro", uri=True, timeout=10)) as file:
        return [_decode(body) for (body,) in file.execute("SELECT body FROM entries ORDER BY number")]


def events_of(entries: Iterable[Entry], kind: type[TraderEvent]) -> list[Any]:
    return [entry.event for entry in entries if isinstance(entry.event, kind)]


def tape(book: Path) -> tuple[list[Row], dict[str, slow.Market], Decimal]:
    """Every record of the newest tape, the markets and the taker fee in bps, read without the project's code."""
    epochs = sorted((book / "tape").iterdir(), key=lambda folder: int(folder.name))
    assert len(epochs) == 1, f"the tape began anew: {epochs}"
    return read_tape(epochs[-1])


def spans(entries: list[Entry], kind: str) -> list[tuple[int, int]]:
    """The recorded spans of a kind; one that is still open goes on for ever."""
    found: dict[tuple[int, str], int] = {}
    for event in events_of(entries, SpanEvent):
        if event.kind == kind:
            found[event.first, event.why] = event.last if event.last >= 0 else 1 << 62
    return sorted((first, last) for (first, _), last in found.items())


def commands(entries: list[Entry]) -> list[tuple[int, str]]:
    """What an operator said, each with the record after which it counts."""
    return [(event.at.record, event.command) for event in events_of(entries, StateEvent) if event.command]


def settings_of(changes: dict[str, object]) -> dict[str, Any]:
    """Every setting's text by name: the defaults, and these."""
    return {setting.name: setting.default or "0" for setting in SETTINGS.values()} | changes


def reference(
    rows: list[Row],
    markets: dict[str, slow.Market],
    fee_bps: Decimal,
    entries: list[Entry],
    changes: dict[str, object],
    missing_limit: int | None = None,
    told: Mapping[int, tuple[float, float]] | None = None,
) -> slow.Result:
    """What the slow reading does on the same records with the recorded spans and commands."""
    strategy = slow.Strategy(
        settings_of(changes),
        markets,
        blind=spans(entries, "blind"),
        degraded=spans(entries, "degraded"),
        blocked=spans(entries, "blocked"),
        taker_fee_bps=fee_bps,
        missing_limit=missing_limit,
        commands=commands(entries),
        told=told,
    )
    return strategy.run(rows)


def decided(entries: list[Entry]) -> list[SignalEvent]:
    return [event for event in events_of(entries, SignalEvent) if event.outcome == "approved"]


def assert_same_decisions(entries: list[Entry], expected: slow.Result, upto_ns: int | None = None) -> None:
    """The journal's approved orders are the reference's, in order; rsi and band to 1e-9."""
    ours = decided(entries)
    theirs = [d for d in expected.decisions if upto_ns is None or d.ts_ns <= upto_ns]
    plain_ours = [(e.at.time_ms, e.pair, e.action, e.reason, e.price) for e in ours]
    plain_theirs = [(d.ts_ns // 1_000_000, d.pair, d.action, d.reason, d.price) for d in theirs]
    assert plain_ours == plain_theirs
    for event, decision in zip(ours, theirs, strict=True):
        if event.rsi is not None:
            assert abs(event.rsi - decision.rsi) <= 1e-9 * max(1.0, abs(decision.rsi))
        if event.bb_lower is not None:
            assert abs(event.bb_lower - decision.bb_lower) <= 1e-9 * abs(decision.bb_lower)


def assert_ledger_adds_up(book: Path, entries: list[Entry], balance: Decimal) -> None:
    """Journal, database and CSV hold the same rows exactly once, and the money is the sum of the fills."""
    fills, trades = events_of(entries, FillEvent), events_of(entries, TradeEvent)
    assert [fill.id for fill in fills] == list(range(1, len(fills) + 1))
    assert [trade.id for trade in trades] == list(range(1, len(trades) + 1))
    with closing(sqlite3.connect(f"file:{book / 'bot_data.db'}?mode=ro", uri=True, timeout=10)) as file:
        rows = file.execute("SELECT id, client_order_id, price_text, quantity_text, fee_text FROM fills ORDER BY id")
        assert rows.fetchall() == [(f.id, f.client_order_id, f.price, f.quantity, f.fee) for f in fills]
        rows = file.execute("SELECT id, pair, action, reason, timestamp, client_order_id FROM trades ORDER BY id")
        assert rows.fetchall() == [(t.id, t.pair, t.action, t.reason, t.timestamp, t.client_order_id) for t in trades]
        profits = file.execute("SELECT profit FROM trades ORDER BY id").fetchall()
        assert [p for (p,) in profits] == [None if t.profit is None else float(t.profit) for t in trades]
    with (book / "trades.csv").open(newline="") as lines:
        in_csv = list(csv.DictReader(lines))
    assert [int(row["id"]) for row in in_csv] == [trade.id for trade in trades]
    assert len({fill.venue_fill_id for fill in fills}) == len(fills)
    assert wallet_of(entries) == balance + sum(cash_of(fill) for fill in fills)


def cash_of(fill: FillEvent) -> Decimal:
    """What a fill brought into the wallet; negative where it took."""
    value, fee = Decimal(fill.price) * Decimal(fill.quantity), Decimal(fill.fee)
    return value - fee if fill.side == "sell" else -value - fee


def wallet_of(entries: list[Entry]) -> Decimal:
    """The balance of the newest equity row."""
    return Decimal(events_of(entries, EquityEvent)[-1].balance)


def assert_parity(book: Path, *, whole: bool = True) -> parity.Verdict:
    """The session, replayed, is equal to what was recorded; `whole`: all of it could be judged."""
    verdict = parity.judge(book, kernels().machine, jit.sources_hash())
    said = command_parity.text(verdict)
    print(said)
    assert verdict.outcome == parity.EQUAL, said
    assert not whole or not verdict.not_judged, said
    return verdict
