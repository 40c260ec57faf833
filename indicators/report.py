"""Rows of the kernels as messages of the bus: candles and views."""

from collections.abc import Sequence
from math import isnan

from bus.layouts import FORMING, PARTIAL
from bus.messages import Candle, View
from indicators.layout import Array

NS_PER_MS = 1_000_000


def known(value: float) -> float | None:
    """The value, or None where it is not known yet."""
    return None if isnan(value) else value


def candles_of(rows: Array, pairs: Sequence[str], closed: bool, epoch: int = 0) -> list[Candle]:
    """Rows of `layout.ROW` as candles; pair numbers without a name are left out. epoch: of the tape, of closed ones."""
    return [candle_of(row, pairs[row[0]], closed, epoch) for row in rows.tolist() if row[0] < len(pairs)]


def plain_candles(rows: Array, pairs: Sequence[str], closed: bool, epoch: int = 0) -> list[tuple[object, ...]]:
    """As `candles_of`, each candle as the plain array that it is on the bus: of many rows at half the cost."""
    rows = rows[rows["pair"] < len(pairs)]
    columns: list[list[object]] = [[pairs[pair] for pair in rows["pair"].tolist()]]
    columns.append((rows["open_ns"] // NS_PER_MS).tolist())
    columns += [rows[name].tolist() for name in ("open", "high", "low", "close", "volume", "trades")]
    for name in ("rsi", "bb_lower", "bb_middle", "bb_upper"):
        values: list[object] = rows[name].tolist()
        if isnan(rows[name].sum()):
            values = [None if value != value else value for value in values]
        columns.append(values)
    columns += [[closed] * len(rows), (rows["flags"] & PARTIAL != 0).tolist()]
    if closed:
        columns += [[epoch] * len(rows), rows["segment"].tolist(), rows["number"].tolist()]
    else:
        columns += [[0] * len(rows), [0] * len(rows), [-1] * len(rows)]
    return list(zip(*columns, strict=True))


def forming_of(rows: Array, pairs: Sequence[str]) -> list[Candle]:
    """The forming candles among rows of the latest state."""
    return candles_of(rows[rows["flags"] & FORMING != 0], pairs, closed=False)


def candle_of(row: tuple, pair: str, closed: bool, epoch: int = 0) -> Candle:  # type: ignore[type-arg]
    """One row, its fields in the order of `layout.ROW`."""
    _, flags, open_ns, open_, high, low, close, volume, trades, rsi, lower, middle, upper, *rest = row
    return Candle(
        pair=pair,
        time=open_ns // NS_PER_MS,
        open=open_,
        high=high,
        low=low,
        close=close,
        volume=volume,
        trades=trades,
        rsi=known(rsi),
        bb_lower=known(lower),
        bb_middle=known(middle),
        bb_upper=known(upper),
        closed=closed,
        partial=bool(flags & PARTIAL),
        epoch=epoch if closed else 0,
        segment=rest[1] if closed else 0,
        number=rest[2] if closed else -1,
    )


def views_of(rows: Array, pairs: Sequence[str], needed: int) -> list[View]:
    """Rows of the latest state as views; pairs that have seen no candle yet in their segment are left out."""
    views = []
    for row in rows.tolist():
        pair, flags, close = row[0], row[1], row[6]
        rsi, lower, middle, upper, closed, _, number, time_ns, buy_below, sell_above = row[9:]
        forming = bool(flags & FORMING)
        if pair >= len(pairs) or not (forming or closed):
            continue
        view = View(
            pair=pairs[pair],
            number=number,
            time_ms=time_ns // NS_PER_MS,
            price=close,
            rsi=known(rsi),
            bb_lower=known(lower),
            bb_middle=known(middle),
            bb_upper=known(upper),
            warm=closed >= needed,
            closed=closed,
            needed=needed,
            buy_below=known(buy_below),
            sell_above=known(sell_above),
            candle=candle_of(row, pairs[pair], False) if forming else None,
        )
        views.append(view)
    return views
