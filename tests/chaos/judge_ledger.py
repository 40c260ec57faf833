"""Do journal, database, CSV and page say the same to the last digit, and does the money add up?"""

import csv
import sqlite3
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

from bus.messages import (
    Entry,
    EquityEvent,
    FillEvent,
    OrderEvent,
    PositionEvent,
    SignalEvent,
    TradeEvent,
)
from tests.chaos.findings import Finding, differences, finding
from tests.pipeline.audit import cash_of, events_of
from tests.reference.slow_strategy import Candle, Hole, Result, Trade

ENDED = ("filled", "cancelled", "rejected")
WORKING = ("submitting", "working", "cancelling")
Get = Callable[[str], tuple[int, Any]]
Rows = list[tuple[Any, ...]]


def number(text: str | None) -> float | None:
    return None if text is None else float(text)


def query(book: Path, text: str) -> Rows:
    """Rows of bot_data.db, as any onlooker would read them."""
    with closing(sqlite3.connect(f"file:{book / 'bot_data.db'}?mode=ro", uri=True, timeout=10)) as file:
        return file.execute(text).fetchall()


def judge_database(book: Path, entries: list[Entry], upto: int | None = None) -> Finding:
    """Every ledger row of the database against the journal. `upto`: only what is there by then (the bot runs on)."""
    if upto is not None:
        entries = [entry for entry in entries if entry.number <= upto]
    wrong: list[str] = []
    counts = []
    for table, expected in expected_rows(entries).items():
        columns = ", ".join(row[1] for row in query(book, f"PRAGMA table_info({table})"))
        order = "rowid" if table == "equity" else columns.split(",")[0]
        found = query(book, f"SELECT {columns} FROM {table} ORDER BY {order}")
        if upto is not None and table != "orders":  # an order's row may be younger
            found = found[: len(expected)]
        if upto is None or table != "orders":
            wrong += differences(table, found, expected)
        counts.append(f"{len(expected)} {table}")
    return finding("database", f"{', '.join(counts)} as in the journal of {len(entries)} entries", wrong)


def expected_rows(entries: list[Entry]) -> dict[str, Rows]:
    """The rows that the journal's entries stand for, by table, in the order of its key."""
    orders = {event.client_order_id: order_row(event) for event in events_of(entries, OrderEvent)}
    fills: list[FillEvent] = events_of(entries, FillEvent)
    equities: list[EquityEvent] = events_of(entries, EquityEvent)
    return {
        "orders": sorted(orders.values()),
        "fills": [fill_row(fill) for fill in fills],
        "trades": [trade_row(trade) for trade in events_of(entries, TradeEvent)],
        "signals": [signal_row(entry.number, entry.event) for entry in entries if isinstance(entry.event, SignalEvent)],
        "equity": [
            (e.time, float(e.balance), float(e.position_value), float(e.unrealized), float(e.realized))
            for e in equities
        ],
    }


def order_row(o: OrderEvent) -> tuple[Any, ...]:
    row = (o.client_order_id, o.venue_order_id, o.pair, o.side, o.type, number(o.price), float(o.quantity))
    return (*row, float(o.filled), o.status, o.reason, o.created, o.updated)


def fill_row(f: FillEvent) -> tuple[Any, ...]:
    row = (f.id, f.client_order_id, f.venue_fill_id, f.pair, f.side, float(f.price), float(f.quantity))
    return (*row, float(f.fee), f.fee_currency, f.time, f.price, f.quantity, f.fee)


def csv_row(r: dict[str, str]) -> tuple[Any, ...]:
    row = (int(r["id"]), r["pair"], r["action"], float(r["price"]), float(r["quantity"]), float(r["fee"]))
    return (*row, number(r["profit"] or None), r["reason"], r["timestamp"], r["client_order_id"])


def trade_row(t: TradeEvent) -> tuple[Any, ...]:
    row = (t.id, t.pair, t.action, float(t.price), float(t.quantity), float(t.fee), number(t.profit))
    return (*row, t.reason, t.timestamp, t.client_order_id)


def signal_row(n: int, s: SignalEvent) -> tuple[Any, ...]:
    outcome = s.outcome if s.count == 1 else f"{s.outcome}, {s.count} times"
    row = (n, s.pair, s.at.time_ms, s.at.record, s.action, s.reason, s.price, s.rsi, s.bb_lower)
    return (*row, outcome, s.client_order_id)


def judge_csv(book: Path, entries: list[Entry]) -> Finding:
    """trades.csv against the journal: the same rows, once each, exact."""
    with (book / "trades.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    found = [csv_row(row) for row in rows]
    expected = [trade_row(trade) for trade in events_of(entries, TradeEvent)]
    others = sorted(path.name for path in book.glob("trades.before*"))
    wrong = differences("trades.csv", found, expected) + [f"{name}: the file was set aside" for name in others]
    return finding("trades.csv", f"{len(found)} rows as in the journal", wrong)


def judge_money(entries: list[Entry], balance: Decimal) -> Finding:
    """The journal against itself: ids without a break, money the sum of the fills, orders at an end or at work."""
    fills: list[FillEvent] = events_of(entries, FillEvent)
    trades: list[TradeEvent] = events_of(entries, TradeEvent)
    wrong = differences("entry", [entry.number for entry in entries], list(range(1, len(entries) + 1)))
    wrong += differences("fill id", [fill.id for fill in fills], list(range(1, len(fills) + 1)))
    wrong += differences("trade id", [trade.id for trade in trades], list(range(1, len(trades) + 1)))
    if len({fill.venue_fill_id for fill in fills}) != len(fills):
        wrong.append("a fill was taken twice")
    wallet = balance + sum(cash_of(fill) for fill in fills)
    realized = sum((Decimal(trade.profit) for trade in trades if trade.profit is not None), Decimal(0))
    wrong += equities_beside_sums(entries, balance)
    wrong += held_and_working(entries)
    text = f"{len(fills)} fills and {len(trades)} trades make a wallet of {wallet}, realized {realized}"
    return finding("money", text, wrong)


def equities_beside_sums(entries: list[Entry], wallet: Decimal) -> list[str]:
    """Rows of equity that are not what fills and trades before them make.

    Each at its place: an exit whose remainder is dust is booked behind the row of its last fill, and the next row comes
    with the next fill or minute.
    """
    wrong = []
    realized = Decimal(0)
    for entry in entries:
        event = entry.event
        if isinstance(event, FillEvent):
            wallet += cash_of(event)
        elif isinstance(event, TradeEvent) and event.profit is not None:
            realized += Decimal(event.profit)
        elif isinstance(event, EquityEvent):
            told = Decimal(event.balance), Decimal(event.realized)
            if told != (wallet, realized):
                wrong.append(f"entry {entry.number}: equity says {told}, fills and trades before it {wallet, realized}")
    return wrong


def held_and_working(entries: list[Entry]) -> list[str]:
    """Positions that are not the sum of their fills, and orders that are neither ended nor the pair's working one."""
    wrong = []
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for fill in events_of(entries, FillEvent):
        sums[fill.pair] += Decimal(fill.quantity) * (1 if fill.side == "buy" else -1)
    for pair, position in positions(entries).items():
        told = Decimal(position.quantity) + Decimal(position.dust)
        if told != sums[pair]:
            wrong.append(f"{pair}: holds {told}, its fills make {sums[pair]}")
    orders: dict[str, OrderEvent] = {order.client_order_id: order for order in events_of(entries, OrderEvent)}
    newest = {order.pair: order.client_order_id for order in orders.values()}
    for order in orders.values():
        last = newest[order.pair] == order.client_order_id
        if order.status not in (*ENDED, *(WORKING if last else ())):
            wrong.append(
                f"order {order.client_order_id} of {order.pair} is {order.status}, and not the last of its pair"
            )
    return wrong


def positions(entries: list[Entry]) -> dict[str, PositionEvent]:
    """The newest word about each pair's position."""
    return {position.pair: position for position in events_of(entries, PositionEvent)}


def judge_page(get: Get, entries: list[Entry], pairs: list[str], balance: Decimal) -> Finding:
    """The page against the journal, digit by digit; entries must stand still meanwhile."""
    trades: list[TradeEvent] = events_of(entries, TradeEvent)
    held = positions(entries)
    wallet = float(balance + sum(cash_of(fill) for fill in events_of(entries, FillEvent)))
    realized = float(sum((Decimal(t.profit) for t in trades if t.profit is not None), Decimal(0)))
    wrong = []
    for pair in pairs:
        code, stats = get(f"/api/stats?pair={pair}")
        if code != 200:
            wrong.append(f"{pair}: /api/stats answered {code}")
            continue
        at = held.get(pair)
        quantity = Decimal(at.quantity) if at else Decimal(0)
        dust = Decimal(at.dust) if at else Decimal(0)
        shown = [stats[name] for name in ("realized_pl", "wallet_quote", "wallet_base", "entry_price")]
        expected = [realized, wallet, float(quantity + dust), at.entry_price if at and quantity else None]
        if shown != expected:
            wrong.append(f"{pair}: the page shows {shown}, the journal has {expected}")
    code, rows = get("/api/trades?limit=5000")
    columns = TRADES.split(", ")
    found = [tuple(row[name] for name in columns) for row in rows] if code == 200 else []
    wrong += differences("/api/trades", found, [trade_row(trade) for trade in trades][-5000:])
    open_now = sum(1 for position in held.values() if Decimal(position.quantity))
    return finding(
        "page", f"wallet {wallet}, realized {realized}, {open_now} open positions, {len(found)} trades", wrong
    )


def judge_candles(book: Path, result: Result, rows: list[Trade | Candle | Hole]) -> Finding:
    """The table of candles against those that the reference makes of the tape.

    A candle that a HOLE broke off stays in the table as it was last told, up to a quarter of a second before.
    """
    pairs = {row.pair for row in rows}
    wrong = []
    count = broken_off = 0
    for pair in sorted(pairs):
        found = {row[0]: row[1:] for row in query(book, f"{CANDLES} WHERE pair = '{pair}'")}
        newest = max(found, default=0)
        expected = {candle[0] // 1_000_000: candle[1:] for candle in result.closed_candles[pair]}
        count += len(expected)
        for ms, candle in expected.items():
            row = found.pop(ms, None)
            if row is None:
                wrong.append(f"{pair}: the candle of {ms} is not in the table")
                continue
            prices, trades = [float(value) for value in candle[:4]], candle[5]
            near = abs(row[4] - float(candle[4])) <= 1e-9 * max(1.0, float(candle[4]))
            if list(row[:4]) != prices or row[5] != trades or not near:
                wrong.append(f"{pair}: the candle of {ms} is {row}, of the tape {candle}")
        for candle in result.broken_off[pair]:
            row = found.pop(candle[0] // 1_000_000, None)
            broken_off += row is not None
            if row is not None and not is_part(row, candle):
                wrong.append(f"{pair}: the candle of {candle[0]}, broken off, is {row}, of the tape {candle}")
        wrong += [f"{pair}: a candle of {ms} that the tape does not have" for ms in found if ms != newest]
    text = f"{count} closed candles of {len(pairs)} pairs as made of the tape, {broken_off} broken off by holes"
    return finding("candles", text, wrong)


def is_part(row: tuple[Any, ...], candle: list[Any]) -> bool:
    """Whether a row is a candle before its last trades."""
    opened, high, low = (float(value) for value in candle[1:4])
    return bool(row[0] == opened and row[1] <= high and row[2] >= low and row[5] <= candle[6])


TRADES = "id, pair, action, price, quantity, fee, profit, reason, timestamp, client_order_id"
CANDLES = "SELECT time, open, high, low, close, volume, trades FROM candles"


def judge_gaps(book: Path) -> Finding:
    """Nothing on the bus was missed for good."""
    rows = query(book, "SELECT topic, epoch, first, last FROM gaps")
    return finding("gaps", f"{len(rows)} on record", [f"{row}" for row in rows])
