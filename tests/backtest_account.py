"""The backtest's account by itself, trade by trade, and its state beside that of the trader's engine."""

from collections.abc import Sequence

import numpy as np

from backtest.layout import Book, Trade
from backtest.result import ENTER
from bus.records import LATE
from trader.engine import Engine
from trader.state import ENTRY


def trades_of(updates: np.ndarray) -> list[Trade]:
    """The trades of UPDATE records, those flagged LATE left out."""
    names = ("pair", "flags", "number", "exchange_ns", "price", "ticks", "lots", "rsi", "bb_lower", "codes", "closed")
    columns = (updates[name].tolist() for name in names)
    return [Trade(*values) for values in zip(*columns, strict=True) if not values[1] & LATE]


def written(book: Book) -> dict[str, np.ndarray]:
    """What a book has written, by name."""
    account = book.account
    return {
        "decisions": book.decisions[: account["decisions"]],
        "orders": book.orders[: account["decisions"]],
        "fills": book.fills[: account["fills"]],
        "equity": book.equity[: account["equities"]],
    }


def assert_same_state(book: Book, engine: Engine, names: Sequence[str], refusals: dict[str, int]) -> None:
    """Wallet, positions, limits and refusals at the end are those of the engine."""
    account, state = book.account, engine.sync()
    assert (account["wallet"], account["realized"]) == (state.wallet, state.realized)
    assert (account["peak"], account["losses"]) == (state.risk.peak, state.risk.losses)
    assert bool(account["halted"]) == (state.trading == "halted")
    assert account["reserved"] == sum(pair.order.reserve for pair in state.pairs.values() if pair.order is not None)
    for position, pair in zip(book.positions, state.pairs.values(), strict=True):
        assert (position["lots"], position["cost"]) == (pair.lots, pair.cost)
        assert (position["dust_lots"], position["dust_cost"]) == (pair.dust_lots, pair.dust_cost)
        assert (position["highest"], position["opened_ms"]) == (pair.highest or 0.0, pair.opened_ms or 0)
        assert position["ticks"] == pair.ticks
        assert (position["order"] >= 0) == (pair.order is not None)
        if pair.order is not None:
            assert (book.orders[position["order"]]["purpose"] == ENTER) == (pair.order.purpose == ENTRY)
    assert {name: int(count) for name, count in zip(names, book.refused, strict=True) if count} == refusals
