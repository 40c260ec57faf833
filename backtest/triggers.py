"""The trigger-price form of the backtest: the same run as the fused loop, over the columns of one pair.

    columns = columns_of(source, settings.timeframe_ms, kernels)
    result = run(columns, settings, kernels)

The columns serve any number of runs. What does not fit them raises `columns.NoColumns`; closed candles for a chart are
the fused loop's (`bars`).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from backtest import columns as market_columns
from backtest.columns import Columns, candles_of
from backtest.layout import new_book
from backtest.outcome import result_of, with_more_room
from backtest.result import Result, Span
from backtest.trigger_walk import Market, new_cursor
from core.settings import indicator_hash
from indicators import layout
from indicators.engine import parameters_of
from indicators.layout import Array, Parameters
from trader.terms import market_terms, start_fee, terms_of

ROOM = 4_096  # rows of decisions, fills and equity at first


class Kernels(market_columns.Kernels, Protocol):
    """Those of the columns, and `trigger_walk.walk`."""

    @property
    def walk(self) -> Callable[..., bool]: ...


def run(columns: Columns, settings: Any, kernels: Kernels, table: Array | None = None) -> Result:
    """A whole run over columns; settings: core.settings.Settings; see `backtest.result` for what comes out.

    table: of `candles_of` for these settings, where it is there already. Raises NoColumns, and MisconfiguredError for
    settings or markets that do not fit.
    """
    parameters = parameters_for(columns, settings)
    if table is None:
        table = candles_of(columns, parameters, kernels)
    terms, rules = terms_of(settings, parameters.settings_hash), market_terms(columns.start.markets[0])
    fee = start_fee(columns.start) if terms.taker_fee is None else terms.taker_fee
    book = new_book(terms, [rules], fee, ROOM)
    market = Market(columns.ns, columns.price, columns.ticks, columns.lots, columns.ordered, columns.minutes, table)
    params = layout.params_of(layout.new_state(parameters, 1))
    cursor = new_cursor()
    while not kernels.walk(book, params, market, cursor[0]):
        book = with_more_room(book)
    result = result_of(
        book,
        columns.start,
        settings,
        spans=spans_of(columns),
        trades=len(columns) + columns.late,
        late=columns.late,
        notes=columns.notes,
    )
    for rows, name in ((result.decisions, "number"), (result.orders, "end_number"), (result.fills, "number")):
        rows[name] = columns.number(rows[name])
    result.equity["number"] = columns.number(result.equity["number"])
    return result


def parameters_for(columns: Columns, settings: Any) -> Parameters:
    """The indicators' part of the settings for this market."""
    return replace(parameters_of(settings, indicator_hash(settings)), connected_throughout=columns.connected)


def spans_of(columns: Columns) -> list[Span]:
    """First and last trade."""
    if not len(columns):
        return []
    ns, price = columns.ns, columns.price
    return [Span(0, int(ns[0]), int(ns[-1]), float(price[0]), float(price[-1]))]
