"""The fused engine: recorded market data through one compiled loop, from records to a Result.

The loop is `backtest.walk`; here stands what is around it: the arrays it works on and their growth, START records
between chunks, the Result at the end. Loads no numba where an earlier run has compiled the loop.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from backtest import compiled, layout
from backtest.compiled import Function
from backtest.layout import HALTS, NONE, REFUSALS, Array, Book, Record
from backtest.result import BAR, Held, Result, Span
from backtest.sources import Source
from backtest.walk import ADDRESSES, LENGTHS, SEEN, TABLE, WALK, Views, walk
from bus.messages import Start
from bus.records import CANDLE_RECORD, UPDATE
from core import paths
from core.errors import MisconfiguredError
from core.settings import indicator_hash
from indicators import layout as indicators
from indicators.engine import parameters_of
from indicators.layout import BLOCK, HEAD, HEAD_WORDS, MISSING_LIMIT, NO_LIMIT, PARAMS, PARAMS_WORDS, TRADE_WORDS
from trader.state import ACTIVE, HALTED
from trader.terms import MarketTerms, deciding_settings, fee_of, market_terms, rescaled, terms_of

GROWING = ("decisions", "orders", "fills", "equity")  # arrays of the book
ROOM = 4096  # first length of what grows
ROWS = 1024  # room for closed candles


def run(
    source: Source, settings: Any, *, bars: bool = False, progress: Callable[[int], object] | None = None
) -> Result:
    """A whole source through the fused loop; see `backtest.result` for what comes out.

    settings: core.settings.Settings. progress: called with the number of records done. Raises MisconfiguredError for
    settings or markets that do not fit.
    """
    function, complaint = compiled.load("walk_chunk", paths.cache_dir(paths.var_dir(settings)))
    found = Run(settings, function, connected=source.connected, bars=bars)
    start: Start | None = None
    for chunk in source.chunks():
        if chunk.start is not start:
            start = chunk.start
            found.start(start)
        found.chunk(chunk.first, chunk.records)
        if progress is not None:
            progress(len(chunk.records))
    if start is None:
        found.start(source.start)
    return found.result(source.notes + ([complaint] if complaint else []))


class Run:
    """One run: `start` and `chunk` in tape order, then `result`.

    settings: core.settings.Settings. function: the compiled loop; without it the loop runs as plain Python. room, rows:
    first length of what grows, and room for closed candles.
    """

    def __init__(
        self,
        settings: Any,
        function: Function | None,
        *,
        connected: bool,
        bars: bool = False,
        room: int = ROOM,
        rows: int = ROWS,
    ) -> None:
        settings_hash = indicator_hash(settings)
        self._settings = settings
        self._terms = terms_of(settings, settings_hash)
        self._parameters = replace(parameters_of(settings, settings_hash), connected_throughout=connected)
        self._function = function
        self._start: Start | None = None
        self._markets: list[MarketTerms] = []
        self._records = 0
        self._bars: list[Array] = []
        self._rows = np.zeros(rows, indicators.ROW)
        self._walk = np.zeros(1, WALK)
        self._walk["bars"] = bars
        self._work = np.zeros(1, indicators.WORK)
        self._seen = np.zeros(0, SEEN)
        self._state = indicators.new_state(self._parameters, 0)
        self._book = layout.new_book(self._terms, [], 0, max(room, BLOCK))
        self._settle(self._book)

    # --- START records --------------------------------------------------------------------------------

    def start(self, body: Start) -> None:
        """A START is in force from here on: rules, fee, new pairs.

        Raises MisconfiguredError where a pair number means another pair than before.
        """
        names, known = [market.pair for market in body.markets], [market.pair for market in self._markets]
        if names[: len(known)] != known:
            raise MisconfiguredError(
                f"a START record names the pairs {', '.join(names)}, before it were {', '.join(known)}: pairs must keep"
                " their places. These are not pieces of one tape: run them one by one."
            )
        before, self._markets = self._markets, [market_terms(market) for market in body.markets]
        if len(names) > len(known):
            self._grow_pairs(len(names))
        book = self._book
        for pair, new in enumerate(self._markets):
            if pair < len(before):
                rescale(book, pair, before[pair], new)
            layout.write_market(book.markets[pair], new)
        layout.write_fee(book.account, fee_of(body, self._terms), self._terms)
        limit = NO_LIMIT if body.tape_clock or self._parameters.connected_throughout else MISSING_LIMIT
        indicators.params_of(self._state)["missing_limit"] = limit
        self._walk["known"] = len(names)
        self._start = body

    def _grow_pairs(self, pairs: int) -> None:
        book, had = self._book, len(self._seen)
        self._state = indicators.grown(self._state, self._parameters, pairs)
        self._seen = longer(self._seen, pairs)
        positions = layout.new_positions(pairs)
        positions[:had] = book.positions
        self._settle(book._replace(markets=longer(book.markets, pairs), positions=positions))

    # --- records ----------------------------------------------------------------------------------------

    def chunk(self, first: int, records: Array) -> None:
        """Consecutive records (RECORD) other than START, numbered from `first`."""
        records = np.ascontiguousarray(records)
        count, at = len(records), 0
        self._records += count
        while at < count:
            if self._function is None:
                at = walk(self._views(records), first, at)
            else:
                at = self._function(self._table.ctypes.data, records.ctypes.data, count, first, at)
            self._take_rows()
            if at < count:
                self._grow()

    def _take_rows(self) -> None:
        count = int(self._work["rows"][0])
        if count:
            self._bars.append(bars_of(self._rows[:count]))
            self._work["rows"] = 0

    def _grow(self) -> None:
        """Make room in the account's arrays where the loop may have stopped for want of it."""
        account, book = self._book.account, self._book
        counts = [account[name] for name in ("decisions", "decisions", "fills", "equities")]
        arrays = {name: getattr(book, name) for name in GROWING}
        short = [name for name, count in zip(GROWING, counts, strict=True) if len(arrays[name]) - count < BLOCK]
        if short:
            self._settle(book._replace(**{name: longer(arrays[name], 2 * len(arrays[name])) for name in short}))

    # --- the arrays, and where compiled code finds them ---------------------------------------------------

    def _settle(self, book: Book) -> None:
        """The arrays have changed: note where they are."""
        self._book = book
        pairs = len(book.positions)
        heads_end = PARAMS_WORDS + pairs * HEAD_WORDS
        self._dirty = np.zeros(2 * pairs, np.int64)
        self._update = np.zeros(1, UPDATE)
        self._columns = np.zeros(indicators.COLUMNS_WORDS, np.int64)
        self._work["dirty"] = 0
        self._arrays: dict[str, Array] = {
            **{name: array for name, array in book._asdict().items() if name not in ("terms", "account")},
            "terms": book.terms.base,
            "account": book.account.base,
            "walk": self._walk,
            "seen": self._seen,
            "params": self._state[:PARAMS_WORDS].view(PARAMS),
            "heads": self._state[PARAMS_WORDS:heads_end].view(HEAD),
            "closes": self._state[heads_end:].view(np.float64),
            "work": self._work,
            "columns": self._columns,
            "rows": self._rows,
            "dirty": self._dirty,
            "update": self._update,
        }
        self._table = np.zeros(1, TABLE)
        self._table["pairs"] = pairs
        for name in (*ADDRESSES, "dirty", "update"):
            self._table[name] = self._arrays[name].ctypes.data
        for name in LENGTHS:
            self._table[f"{name}_length"] = len(self._arrays[name])

    def _views(self, records: Array) -> Views:
        """What the loop works on as plain Python."""
        arrays = self._arrays
        return Views(
            trades=records.view(TRADE_WORDS),
            records=records,
            candles=records.view(CANDLE_RECORD),
            walk=self._walk[0],
            seen=self._seen,
            params=arrays["params"][0],
            heads=arrays["heads"],
            closes=arrays["closes"],
            work=self._work[0],
            columns=self._columns,
            values=self._columns.view(np.float64),
            dirty=self._dirty,
            rows=self._rows,
            update=self._update,
            book=self._book,
        )

    # --- the end ------------------------------------------------------------------------------------------

    def result(self, notes: list[str]) -> Result:
        """All of it, after the last record."""
        if self._start is None:
            raise MisconfiguredError("there is no START: nothing says which market the records are of")
        book, account = self._book, self._book.account
        halted = HALTS[account["halted"]]
        return Result(
            start=self._start,
            settings=deciding_settings(self._settings),
            decisions=book.decisions[: account["decisions"]],
            orders=book.orders[: account["decisions"]],
            fills=book.fills[: account["fills"]],
            equity=book.equity[: account["equities"]],
            bars=np.concatenate([np.zeros(0, BAR), *self._bars]),
            trades=self._records - int(self._walk["others"][0]),
            late=int(self._arrays["heads"]["late"].sum()),
            unknown=int(self._work["unknown"][0]),
            wallet=int(account["wallet"]),
            realized=int(account["realized"]),
            fee=int(account["fee"]),
            held=[held_of(pair, position) for pair, position in enumerate(book.positions)],
            spans=[span_of(pair, seen) for pair, seen in enumerate(self._seen) if seen["trades"]],
            refusals={name: int(count) for name, count in sorted(zip(REFUSALS, book.refused, strict=True)) if count},
            trading=HALTED if halted else ACTIVE,
            trading_reason=halted,
            notes=notes,
        )


def longer(array: Array, length: int) -> Array:
    """The same rows at the beginning of a longer array."""
    found: Array = np.zeros(length, array.dtype)
    found[: len(array)] = array
    return found


def bars_of(rows: Array) -> Array:
    """The chart's part of closed candles."""
    bars = np.zeros(len(rows), BAR)
    for name in BAR.names or ():
        bars[name] = rows[name]
    return bars


def held_of(pair: int, position: Record) -> Held:
    """What a pair holds at the end."""
    lots, cost, dust_lots, dust_cost = (int(position[name]) for name in ("lots", "cost", "dust_lots", "dust_cost"))
    return Held(pair, lots, cost, dust_lots, dust_cost, float(position["highest"]) or None, int(position["ticks"]))


def span_of(pair: int, seen: Record) -> Span:
    """First and last trade of a pair."""
    times = int(seen["first_ns"]), int(seen["last_ns"])
    return Span(pair, *times, float(seen["first_price"]), float(seen["last_price"]))


def rescale(book: Book, pair: int, old: MarketTerms, new: MarketTerms) -> None:
    """The venue changed tick or step: the same amounts in the new ones, rounded down, as `trader.board.rescale`."""
    (tick, step, *_), (new_tick, new_step, *_) = old.scale, new.scale
    if (tick, step) == (new_tick, new_step):
        return
    position = book.positions[pair]
    for name in ("lots", "dust_lots"):
        position[name] = rescaled(int(position[name]), step, new_step)
    if position["order"] != NONE:
        order, decision = book.orders[position["order"]], book.decisions[position["order"]]
        order["filled"] = rescaled(int(order["filled"]), step, new_step)
        order["lots"] = decision["lots"] = max(rescaled(int(order["lots"]), step, new_step), int(order["filled"]))
    position["ticks"] = rescaled(int(position["ticks"]), tick, new_tick)
