"""Real orders at the sandbox, judged from its own books: none doubled, no fill lost, the same money to the last digit.

What the exchange says is read out of its database, as JSON and numbers, with nothing of the bot's own code for venues.
"""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from bus.messages import Entry, FillEvent, OrderEvent, PositionEvent, StateEvent
from tests.chaos.findings import Finding, finding
from tests.pipeline.audit import events_of
from trader.journal_reader import JournalReader
from trader.state import State

ATOMS = Decimal(10) ** 8
ENDED = ("filled", "cancelled", "rejected")
ACCOUNT = "sandbox"


class Books(NamedTuple):
    """What the exchange holds of the bot's account. Balances in whole coins, free and locked together."""

    orders: list[dict[str, Any]]
    fills: list[dict[str, Any]]
    balances: dict[str, Decimal]


def books_of(book: Path) -> Books:
    """Reads the exchange's database."""
    with closing(sqlite3.connect(f"file:{book / 'exchange.db'}?mode=ro", uri=True, timeout=10)) as file:
        orders = [json.loads(body) for (body,) in file.execute("SELECT body FROM orders WHERE account = ?", [ACCOUNT])]
        fills = [json.loads(body) for (body,) in file.execute("SELECT body FROM fills WHERE account = ?", [ACCOUNT])]
        rows = file.execute("SELECT asset, free, locked FROM balances WHERE account = ?", [ACCOUNT]).fetchall()
    return Books(orders, fills, {asset: (int(free) + int(locked)) / ATOMS for asset, free, locked in rows})


def quantity_of(fill: dict[str, Any]) -> Decimal:
    """What a fill of the exchange traded."""
    return Decimal(fill["units"]).scaleb(-fill["quantity_digits"])


def judge_orders(books: Books, entries: list[Entry], prefix: str) -> Finding:
    """No order of ours is at the exchange twice, none is there that the journal did not intend, each has an end."""
    ours = Counter(order["client_id"] for order in books.orders if order["client_id"].startswith(prefix))
    last = {event.client_order_id: event for event in events_of(entries, OrderEvent)}
    wrong = [f"{name} is at the exchange {count} times" for name, count in ours.items() if count > 1]
    wrong += [f"{name} is at the exchange and not in the journal" for name in ours if name not in last]
    wrong += [f"{name} has no end: {event.status}" for name, event in last.items() if event.status not in ENDED]
    never = [name for name in last if name not in ours]
    wrong += [f"{name} filled and is not at the exchange" for name in never if Decimal(last[name].filled)]
    text = f"{len(last)} intents, {len(ours)} orders at the exchange, each once; {len(never)} never reached it"
    return finding("orders", text, wrong)


def judge_fills(books: Books, entries: list[Entry]) -> Finding:
    """Every fill of the exchange is in the journal once, with its quantity and fee, and no other."""
    there: dict[str, list[tuple[str, Decimal, Decimal]]] = {}
    for fill in books.fills:
        row = (fill["side"], quantity_of(fill), Decimal(fill["fee"]) / ATOMS)
        there.setdefault(fill["client_id"], []).append(row)
    here: dict[str, list[tuple[str, Decimal, Decimal]]] = {}
    ids: Counter[tuple[str, str]] = Counter()
    for event in events_of(entries, FillEvent):
        ids[event.pair, event.venue_fill_id] += 1
        here.setdefault(event.client_order_id, []).append((event.side, Decimal(event.quantity), Decimal(event.fee)))
    wrong = [f"fill {name} is booked {count} times" for name, count in ids.items() if count > 1]
    for name in sorted(there.keys() | here.keys()):
        if sorted(there.get(name, [])) != sorted(here.get(name, [])):
            wrong.append(f"{name}: the exchange has {there.get(name, [])}, the journal {here.get(name, [])}")
    return finding("fills", f"{len(books.fills)} at the exchange, each once in the journal", wrong)


def judge_money(books: Books, wallet: Decimal, held: dict[str, Decimal], quote: str) -> Finding:
    """Wallet and coins of the journal are what the exchange says, to the last digit. held: by coin."""
    wrong = []
    if books.balances.get(quote, Decimal(0)) != wallet:
        wrong.append(f"wallet: {wallet} in the journal, {books.balances.get(quote)} at the exchange")
    for coin, amount in sorted(held.items()):
        if books.balances.get(coin, Decimal(0)) != amount:
            wrong.append(f"{coin}: {amount} in the journal, {books.balances.get(coin)} at the exchange")
    return finding(
        "money", f"{wallet} {quote}, {', '.join(f'{a} {c}' for c, a in held.items())} as at the exchange", wrong
    )


def judge_sells(books: Books, entries: list[Entry]) -> Finding:
    """At no time was more sold than held: the running sum of the exchange's own fills never falls below nothing."""
    held: Counter[str] = Counter()
    wrong = []
    for fill in sorted(books.fills, key=lambda one: int(one["number"])):
        moved = quantity_of(fill)
        held[fill["pair"]] += moved if fill["side"] == "buy" else -moved  # type: ignore[assignment]
        if held[fill["pair"]] < 0:
            wrong.append(f"fill {fill['number']} sold {-held[fill['pair']]} more of {fill['pair']} than was held")
    halts = [event for event in events_of(entries, StateEvent) if event.state == "halted"]
    wrong += [f"halted: {event.reason}" for event in halts]
    moves = len(events_of(entries, PositionEvent))
    return finding("positions", f"never below nothing over {len(books.fills)} fills and {moves} moves", wrong)


def state_of(journal: Path) -> State:
    """The fold's state as the journal has it."""
    with JournalReader(journal) as reader:
        state = reader.state()
    assert state is not None, f"{journal} has no state"
    return state
