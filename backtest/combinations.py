"""Many combinations of settings over the columns of one pair: a row of sums for each, on all cores.

    records = combinations_of(columns, [settings, ...])      # or product_of(columns, settings, axes)
    readings = readings_of(columns, table, settings, functions)
    rows = summaries_of(columns, table, readings, settings, records, functions, jobs=2)

All combinations share the candle setting that `table` was made of. Each row is what a whole run with these settings
comes to (`grid_sums.SUMMARY`).
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from threading import Lock
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np

from backtest import triggers
from backtest.columns import Columns
from backtest.grid_candles import Candles, new_scratch
from backtest.grid_loop import COMBINATION, Grid
from backtest.grid_sums import SUMMARY
from backtest.layout import TERMS, Array, Book, new_book
from backtest.trigger_walk import Market, new_cursor
from core.errors import MisconfiguredError
from indicators import layout
from indicators.layout import PARAMS, PARAMS_WORDS
from trader import costs
from trader.terms import fee_of, market_terms, terms_of

MINUTE_MS = 60_000
ROOM = 256  # rows of a book before they are added up
NOT_KEPT = -1
FEWEST_AT_ONCE, MOST_AT_ONCE = 8, 64  # combinations that a thread takes at a time
FEW_ENTRIES = 3  # a minute: candles that long are not more often at their ends within 60 s
TERM_NAMES = TERMS.names or ()
RESULT_LIMITS = ("max_daily_loss", "max_drawdown", "max_consecutive_losses", "cooldown_ns")


class Kernels(Protocol):
    """`grid_candles.read_candles` and `grid_loop.runner`, compiled or plain."""

    @property
    def read_candles(self) -> Callable[..., Any]: ...

    @property
    def runner(self) -> Callable[[Grid], Callable[[int, int], int]]: ...


def combinations_of(columns: Columns, chosen: Sequence[Any]) -> Array:
    """One COMBINATION for each settings. Raises MisconfiguredError for what does not fit 64-bit money."""
    records = np.zeros(len(chosen), COMBINATION)
    for place, settings in enumerate(chosen):
        records[place] = record_of(columns, values_of(columns, settings))
    return records


class Axis(NamedTuple):
    """One attribute of the settings, and the values it takes."""

    attribute: str
    values: Sequence[Any]


def product_of(columns: Columns, settings: Any, axes: Sequence[Axis]) -> Array:
    """The product of axes over settings, one COMBINATION each; the last axis turns fastest."""
    shape = [len(axis.values) for axis in axes]
    places = np.arange(math.prod(shape))
    records, refused = chosen_of(columns, settings, axes, np.unravel_index(places, shape))
    if refused:
        raise MisconfiguredError(next(iter(refused.values())))
    return records


def chosen_of(
    columns: Columns, settings: Any, axes: Sequence[Axis], at: Sequence[Array]
) -> tuple[Array, dict[int, str]]:
    """One COMBINATION for each choice of values over settings, and by place why some cannot be run.

    at: for each axis the indices of the values chosen. Each value is looked at once, not once a combination: what it
    changes in a COMBINATION is its own. Raises MisconfiguredError where the settings themselves cannot be run.
    """
    gates = [settings.cost_gate, *(gate for axis in axes if axis.attribute == "cost_gate" for gate in axis.values)]
    if costs.REFUSE in gates:  # whether it takes entries follows from all costs and the stop together
        return each_of(columns, settings, axes, at)
    base = values_of(columns, settings)
    records = np.full(len(at[0]) if at else 1, record_of(columns, base), COMBINATION)
    refused: dict[int, str] = {}
    for axis, chosen in zip(axes, at, strict=True):
        order = np.argsort(chosen, kind="stable")
        borders = np.flatnonzero(np.diff(chosen[order], prepend=-1))
        for places in np.split(order, borders[1:]):
            value = axis.values[int(chosen[places[0]])]
            try:
                changed = values_of(columns, msgspec.structs.replace(settings, **{axis.attribute: value}))
            except MisconfiguredError as error:
                for place in places.tolist():
                    refused.setdefault(place, str(error))
                continue
            for name, number in changed.items():
                if number != base[name]:
                    (records["terms"] if name in TERM_NAMES else records)[name][places] = number
    records["candles"] = runs_by_candles(columns, records["terms"])
    return records, refused


def each_of(columns: Columns, settings: Any, axes: Sequence[Axis], at: Sequence[Array]) -> tuple[Array, dict[int, str]]:
    """As `chosen_of`, with each choice looked at by itself."""
    records = np.full(len(at[0]) if at else 1, record_of(columns, values_of(columns, settings)), COMBINATION)
    refused: dict[int, str] = {}
    for place in range(len(records)):
        chosen = {axis.attribute: axis.values[int(k[place])] for axis, k in zip(axes, at, strict=True)}
        try:
            records[place] = record_of(columns, values_of(columns, msgspec.structs.replace(settings, **chosen)))
        except MisconfiguredError as error:
            refused[place] = str(error)
    return records, refused


def values_of(columns: Columns, settings: Any) -> dict[str, Any]:
    """What settings put into a COMBINATION and its TERMS, by name."""
    terms = terms_of(settings, 0)
    return {
        "rsi_buy": float(settings.rsi_buy),
        "rsi_sell": float(settings.rsi_sell),
        "rsi_crash": float(settings.rsi_crash),
        "stddev": float(settings.bb_stddev),
        "balance": terms.paper_balance,
        "fee": fee_of(columns.start, terms),
        "costly": 1 if costs.refusal(fee_of(columns.start, terms), terms) else 0,
        **{name: getattr(terms, name) for name in TERM_NAMES},
    }


def record_of(columns: Columns, values: dict[str, Any]) -> Any:
    """One COMBINATION record of `values_of`."""
    record = np.zeros(1, COMBINATION)[0]
    for name, number in values.items():
        (record["terms"] if name in TERM_NAMES else record)[name] = number
    record["candles"] = runs_by_candles(columns, record["terms"]) and not record["costly"]
    record["kept"] = NOT_KEPT
    return record


def runs_by_candles(columns: Columns, terms: Any) -> Any:
    """Whether `grid_candles.run_candles` does what a run with these TERMS does, where each candle has one trade."""
    entries = terms["max_orders_per_minute"]
    limited = (entries > 0) & (entries <= FEW_ENTRIES)
    for name in RESULT_LIMITS:
        limited = limited | (terms[name] > 0)
    return (terms["instant"] != 0) & ~limited & columns.start.markets[0].active


class Readings(NamedTuple):
    """What the indicators say at each trade, where each candle has one; else empty."""

    rsi: Array
    middle: Array
    deviation: Array

    def part(self, first: int, end: int) -> "Readings":
        """Those of trades `first` to before `end`."""
        return Readings(*(values[first:end] for values in self))


def readings_of(columns: Columns, table: Array, settings: Any, kernels: Kernels) -> Readings:
    """The readings of a candle setting; table: of `candles_of` for it."""
    by_candles = len(table) == len(columns) and settings.timeframe_ms >= MINUTE_MS
    found = Readings(*(np.zeros(len(columns) if by_candles else 0) for _ in Readings._fields))
    if by_candles and len(columns):
        kernels.read_candles(params_for(columns, settings)[0], market_of(columns, table), *found)
    return found


def summaries_of(
    columns: Columns,
    table: Array,
    readings: Readings,
    settings: Any,
    combinations: Array,
    kernels: Kernels,
    *,
    jobs: int = 1,
    borders: Array | None = None,
    profits: Array | None = None,
    progress: Callable[[int], object] | None = None,
) -> Array:
    """What each combination came to: SUMMARY rows.

    table: of `candles_of` for the candle setting of `settings`; readings: of `readings_of` for it. All combinations
    have the same MAX_ORDERS_PER_MINUTE, else ValueError. profits: float64 of shape (kept, blocks), written where a
    combination is `kept`; borders: int64 ns at which the blocks of market time begin, the first before everything.
    progress: called with how many more combinations are done, by one thread at a time.
    """
    entries = np.unique(combinations["terms"]["max_orders_per_minute"])
    if len(entries) > 1:
        raise ValueError("combinations differ in MAX_ORDERS_PER_MINUTE: run those with the same one together")
    if len(readings.rsi) != len(columns):
        combinations = combinations.copy()
        combinations["candles"] = 0
    order, parts = run_order(combinations)
    combinations = combinations[order]
    rows = np.zeros(len(combinations), SUMMARY)
    if profits is None or borders is None:
        profits, borders = np.zeros(0), np.zeros(0, np.int64)
    market, params = market_of(columns, table), params_for(columns, settings)
    left = iter(parts)
    telling = Lock()

    def work() -> None:
        book, terms = own_book(columns, settings, int(entries[0]))
        candles = Candles(*readings, *new_scratch(len(readings.rsi)))
        flat, cursor = profits.reshape(-1), new_cursor()
        grid = Grid(combinations, rows, flat, borders, market, candles, params.copy(), cursor, terms, book)
        run_some = kernels.runner(grid)
        # One iterator for all threads: `islice` takes the next part under the interpreter's lock.
        while part := tuple(islice(left, 1)):
            done = run_some(*part[0])
            if progress is not None:
                with telling:
                    progress(done)

    if jobs == 1 or len(parts) == 1:
        work()
    else:
        with ThreadPoolExecutor(jobs, thread_name_prefix="combinations") as pool:
            try:
                for running in [pool.submit(work) for _ in range(jobs)]:
                    running.result()
            finally:
                deque(left, 0)  # where one failed or was stopped, the others begin nothing more
    found = np.empty_like(rows)
    found[order] = rows
    return found


def run_order(combinations: Array) -> tuple[Array, list[tuple[int, int]]]:
    """In which order combinations are run, and in which parts: those that share work stand together.

    What the loop remembers of a stop is the more, the later RSI_SELL sells: the highest ones go first.
    """
    shared = [combinations["terms"]["keep"], *(combinations[name] for name in ("rsi_buy", "rsi_crash", "stddev"))]
    order = np.lexsort([-combinations["rsi_sell"], *reversed(shared)])
    differs = np.any([np.diff(values[order]) != 0 for values in shared], axis=0)
    parts, begins = [], 0
    for border in (*(np.flatnonzero(differs) + 1).tolist(), len(order)):
        if border - begins >= FEWEST_AT_ONCE or border == len(order):
            cuts = [*range(begins, border, MOST_AT_ONCE), border]
            parts += list(pairwise(cuts))
            begins = border
    return order, parts


def market_of(columns: Columns, table: Array) -> Market:
    """The columns and their candles as the loops read them."""
    return Market(columns.ns, columns.price, columns.ticks, columns.lots, columns.ordered, columns.minutes, table)


def params_for(columns: Columns, settings: Any) -> Array:
    """The indicators' settings, an array of one PARAMS."""
    state = layout.new_state(triggers.parameters_for(columns, settings), 1)
    found: Array = state[:PARAMS_WORDS].view(PARAMS).copy()
    return found


def own_book(columns: Columns, settings: Any, entries: int) -> tuple[Book, Array]:
    """A small book, and its terms as an array of one; every combination clears it. entries: MAX_ORDERS_PER_MINUTE."""
    terms = terms_of(settings, 0)._replace(max_orders_per_minute=entries)
    book = new_book(terms, [market_terms(columns.start.markets[0])], 0, ROOM)
    return book, book.terms.base
