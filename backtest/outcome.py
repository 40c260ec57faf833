"""What a book came to, as a Result: for every engine that runs on `backtest.book`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from backtest.fused import held_of, longer
from backtest.layout import HALTS, REFUSALS, Array, Book
from backtest.result import BAR, Result, Span
from bus.messages import Start
from trader.state import ACTIVE, HALTED
from trader.terms import deciding_settings


def result_of(
    book: Book,
    start: Start,
    settings: Any,
    *,
    spans: Sequence[Span],
    trades: int,
    late: int,
    unknown: int = 0,
    bars: Array | None = None,
    notes: Sequence[str] = (),
) -> Result:
    """The whole run; start: the last one in force, settings: core.settings.Settings, the rest as in Result."""
    account = book.account
    refusals = {name: int(count) for name, count in zip(REFUSALS, book.refused, strict=True) if count}
    halted = int(account["halted"])
    return Result(
        start=start,
        settings=deciding_settings(settings),
        decisions=book.decisions[: account["decisions"]].copy(),
        orders=book.orders[: account["decisions"]].copy(),
        fills=book.fills[: account["fills"]].copy(),
        equity=book.equity[: account["equities"]].copy(),
        bars=np.zeros(0, BAR) if bars is None else bars,
        trades=trades,
        late=late,
        unknown=unknown,
        wallet=int(account["wallet"]),
        realized=int(account["realized"]),
        fee=int(account["fee"]),
        held=[held_of(pair, position) for pair, position in enumerate(book.positions)],
        spans=list(spans),
        refusals=dict(sorted(refusals.items())),
        trading=HALTED if halted else ACTIVE,
        trading_reason=HALTS[halted],
        notes=list(notes),
    )


def with_more_room(book: Book) -> Book:
    """The same book with twice the room in each array that is at least half full."""
    account = book.account
    used = {
        "decisions": account["decisions"],
        "orders": account["decisions"],
        "fills": account["fills"],
        "equity": account["equities"],
    }
    grown = {}
    for name, count in used.items():
        rows = getattr(book, name)
        if 2 * count >= len(rows):
            grown[name] = longer(rows, 2 * len(rows))
    return book._replace(**grown)
