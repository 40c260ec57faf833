"""Many combinations of settings over the columns of one pair: a row of sums for each, on all cores.

    records = combinations_of(columns, [settings, ...])      # or product_of(columns, settings, axes)
    rows = summaries_of(columns, table, settings, records, functions, jobs=2)

All combinations share the candle setting that `table` was made of. Each row is what a whole run with these settings
comes to (`grid_loop.SUMMARY`).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Protocol

import msgspec
import numpy as np

from backtest import triggers
from backtest.columns import Columns
from backtest.grid_loop import COMBINATION, SUMMARY, Grid
from backtest.layout import TERMS, Array, Book, new_book, write_terms
from backtest.trigger_walk import Market, new_cursor
from indicators import layout
from indicators.layout import PARAMS, PARAMS_WORDS
from trader.terms import market_terms, start_fee, terms_of

MINUTE_MS = 60_000
ROOM = 256  # rows of a book before they are added up
AT_ONCE = 8  # combinations that a thread takes at a time
FEW_ENTRIES = 3  # a minute: candles that long are not more often at their ends within 60 s
RESULT_LIMITS = ("max_daily_loss", "max_drawdown", "max_consecutive_losses", "cooldown_ns")


class Kernels(Protocol):
    """The functions of `backtest.grid_loop`, compiled or plain."""

    @property
    def read_candles(self) -> Callable[..., Any]: ...

    @property
    def run_some(self) -> Callable[[Grid, int, int], int]: ...


def combinations_of(columns: Columns, chosen: Sequence[Any]) -> Array:
    """One COMBINATION for each settings. Raises MisconfiguredError for what does not fit 64-bit money."""
    records = np.zeros(len(chosen), COMBINATION)
    for place, settings in enumerate(chosen):
        records[place] = combination_of(columns, settings)
    return records


def product_of(columns: Columns, settings: Any, axes: Sequence[tuple[str, Sequence[Any]]]) -> Array:
    """The product of axes (attribute of the settings, its values) over settings; the last axis turns fastest.

    Each value is looked at once, not once a combination: what it changes in a COMBINATION is its own.
    """
    base = combination_of(columns, settings)
    shape = [len(values) for _, values in axes]
    records = np.full(shape, base, COMBINATION)
    for place, (attribute, values) in enumerate(axes):
        for at, value in enumerate(values):
            changed = combination_of(columns, msgspec.structs.replace(settings, **{attribute: value}))
            part = records[(slice(None),) * place + (at,)]
            put_differences(part, changed, base)
    flat = records.reshape(-1)
    flat["candles"] = runs_by_candles(columns, flat["terms"])
    return flat


def put_differences(part: Array, changed: Any, base: Any) -> None:
    """Set the fields in which a COMBINATION differs from the base."""
    for name in COMBINATION.names or ():
        if name != "terms" and changed[name] != base[name]:
            part[name] = changed[name]
    for name in TERMS.names or ():
        if changed["terms"][name] != base["terms"][name]:
            part["terms"][name] = changed["terms"][name]


def combination_of(columns: Columns, settings: Any) -> Any:
    """One COMBINATION record."""
    terms = terms_of(settings, 0)
    record = np.zeros(1, COMBINATION)[0]
    for name, attribute in (("rsi_buy",) * 2, ("rsi_sell",) * 2, ("rsi_crash",) * 2, ("stddev", "bb_stddev")):
        record[name] = float(getattr(settings, attribute))
    record["balance"] = terms.paper_balance
    record["fee"] = start_fee(columns.start) if terms.taker_fee is None else terms.taker_fee
    write_terms(record["terms"], terms)
    record["candles"] = runs_by_candles(columns, record["terms"])
    return record


def runs_by_candles(columns: Columns, terms: Any) -> Any:
    """Whether `grid_loop.run_candles` does what a run with these TERMS does, where each candle has one trade."""
    entries = terms["max_orders_per_minute"]
    limited = (entries > 0) & (entries <= FEW_ENTRIES)
    for name in RESULT_LIMITS:
        limited = limited | (terms[name] > 0)
    return (terms["instant"] != 0) & ~limited & columns.start.markets[0].active


def summaries_of(
    columns: Columns,
    table: Array,
    settings: Any,
    combinations: Array,
    kernels: Kernels,
    *,
    jobs: int = 1,
    borders: Array | None = None,
    progress: Callable[[int], object] | None = None,
) -> tuple[Array, Array]:
    """(SUMMARY rows, profits by block): what each combination came to.

    table: of `candles_of` for the candle setting of `settings`. MAX_ORDERS_PER_MINUTE is that of `settings` in all of
    them, else ValueError. borders: int64 ns at which blocks of market time begin,
    the first before everything; without it profits is empty, else of shape (combinations, blocks). progress: called
    with how many combinations are done.
    """
    if (combinations["terms"]["max_orders_per_minute"] != settings.max_orders_per_minute).any():
        raise ValueError("combinations differ in MAX_ORDERS_PER_MINUTE: run those with the same one together")
    by_candles = len(table) == len(columns) and settings.timeframe_ms >= MINUTE_MS
    combinations = combinations.copy()
    if not by_candles:
        combinations["candles"] = 0
    rows = np.zeros(len(combinations), SUMMARY)
    blocks = 0 if borders is None else len(borders)
    profits = np.zeros(len(combinations) * blocks)
    borders = np.zeros(1, np.int64) if borders is None else borders
    market = Market(columns.ns, columns.price, columns.ticks, columns.lots, columns.ordered, columns.minutes, table)
    params = params_for(columns, settings)
    wanted = len(table) if combinations["candles"].any() else 0
    readings = np.zeros(wanted), np.zeros(wanted), np.zeros(wanted)
    if wanted:
        kernels.read_candles(params[0], market, *readings)
    parts = iter([(at, min(at + AT_ONCE, len(rows))) for at in range(0, len(rows), AT_ONCE)])

    def work() -> None:
        book, terms = own_book(columns, settings)
        grid = Grid(combinations, rows, profits, borders, market, *readings, params.copy(), new_cursor(), terms, book)
        # One iterator for all threads: `islice` takes the next part under the interpreter's lock.
        while part := tuple(islice(parts, 1)):
            done = kernels.run_some(grid, *part[0])
            if progress is not None:
                progress(done)

    with ThreadPoolExecutor(jobs, thread_name_prefix="combinations") as pool:
        for running in [pool.submit(work) for _ in range(jobs)]:
            running.result()
    return rows, profits.reshape(len(rows), blocks)


def params_for(columns: Columns, settings: Any) -> Array:
    """The indicators' settings, an array of one PARAMS."""
    state = layout.new_state(triggers.parameters_for(columns, settings), 1)
    found: Array = state[:PARAMS_WORDS].view(PARAMS).copy()
    return found


def own_book(columns: Columns, settings: Any) -> tuple[Book, Array]:
    """A small book, and its terms as an array of one; every combination clears it."""
    terms = terms_of(settings, 0)
    book = new_book(terms, [market_terms(columns.start.markets[0])], 0, ROOM)
    return book, book.terms.base
