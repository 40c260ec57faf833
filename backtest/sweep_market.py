"""The market of a sweep, held for many runs: plain columns where they fit, else records through the fused loop.

* Columns: one pair, no holes, no flags (`backtest.columns`). They are read once for each TIMEFRAME, and candles are
  made once for each candle setting; the combinations then run one after the other in compiled code
  (`backtest.combinations`), a single one by trigger prices (`backtest.triggers`).
* Records: everything else. Each combination is a whole fused run; the records stay in memory while they are few.

Both give the same run to the bit. A window is a run over a part of market time: it begins flat with the whole balance
and with indicators that have seen what was before.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from backtest import fused, triggers
from backtest.chunks import Chunk, Source
from backtest.columns import Columns, NoColumns, candles_of, columns_of
from backtest.combinations import Kernels as CombinationKernels
from backtest.combinations import Readings, chosen_of, readings_of, summaries_of
from backtest.result import Array, Result, Span
from backtest.sweep_figures import FIGURES, block_borders, figures_of_sums
from backtest.sweep_group import Blocks, Figured, Group, Window, each_by_itself
from bus.messages import Start
from bus.records import BACKFILL, TRADE
from core.errors import MisconfiguredError
from core.settings import Settings
from indicators.layout import Parameters

COLUMNS, RECORDS = "trigger prices over columns", "the fused loop over records"
MOST_KEPT = 256 << 20  # bytes of records that stay in memory
FADING = 40  # times RSI_PERIOD: after so many candles what was before is below the last bit of Wilder's mean

Open = Callable[[Settings], Source]


class Kernels(triggers.Kernels, CombinationKernels, Protocol):
    """All that columns are run with."""


class Market(Protocol):
    """What a sweep asks of the market it runs over."""

    form: str  # COLUMNS or RECORDS
    reason: str  # why not by columns; empty where it is
    notes: list[str]
    trades: int
    span: Window  # from the first trade to behind the last

    def prepare(self, settings: Settings) -> None:
        """Makes ready for runs with these candle settings, before threads begin."""

    def run(self, settings: Settings, window: Window | None = None) -> Result:
        """One run; may be called by several threads. Raises MisconfiguredError for settings that do not fit."""

    def run_all(
        self,
        group: Group,
        window: Window | None = None,
        *,
        jobs: int = 1,
        blocks: Blocks | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Figured:
        """A run for each combination of a group that `prepare` has seen the candle settings of.

        blocks: where profits by block of market time are wanted. progress: called with how many more are done.
        """


def market_of(
    open_source: Open,
    settings: Settings,
    kernels: Kernels | None,
    watched: Callable[[Source], Source] = lambda source: source,
) -> Market:
    """The market of these settings' TIMEFRAME.

    kernels: compiled, or None where there are none: then by records. watched: put around the source at its first
    reading, to show progress.
    """
    if kernels is None:
        return RecordMarket(open_source, settings, "there is no compiled code for columns", watched)
    try:
        columns = columns_of(watched(open_source(settings)), settings.timeframe_ms, kernels)
        found = ColumnMarket(columns, kernels)
        found.prepare(settings)
    except NoColumns as error:
        return RecordMarket(open_source, settings, str(error), watched)
    return found


class ColumnMarket:
    """One pair's trades as columns, with the candles of one candle setting at a time."""

    form, reason = COLUMNS, ""

    def __init__(self, columns: Columns, kernels: Kernels) -> None:
        self._columns = columns
        self._kernels = kernels
        self._made_of: Parameters | None = None  # the candle setting of the table and the readings
        self._table: Array = np.zeros(0)
        self._readings = Readings(*[np.zeros(0)] * 3)
        # The newest time so far, by which windows are cut: where times go back it is not the trade's own.
        self._times = columns.ns if columns.ordered else np.maximum.accumulate(columns.ns)
        self.notes = columns.notes
        self.trades = len(columns)
        ends = (int(self._times[0]), int(self._times[-1]) + 1) if len(columns) else (0, 0)
        self.span = Window(*ends)
        self.tables_made = 0

    def prepare(self, settings: Settings) -> None:
        parameters = triggers.parameters_for(self._columns, settings)
        wanted = candle_setting(parameters)
        if wanted != self._made_of:
            self._table = candles_of(self._columns, parameters, self._kernels)
            self._readings = readings_of(self._columns, self._table, settings, self._kernels)
            self._made_of = wanted
            self.tables_made += 1

    def run(self, settings: Settings, window: Window | None = None) -> Result:
        columns, table, _ = self._cut(settings, window)
        return triggers.run(columns, settings, self._kernels, table)

    def run_all(
        self,
        group: Group,
        window: Window | None = None,
        *,
        jobs: int = 1,
        blocks: Blocks | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Figured:
        columns, table, readings = self._cut(group.settings, window)
        try:
            chosen, refused = chosen_of(columns, group.settings, group.axes, group.at)
        except MisconfiguredError:
            return each_by_itself(self, group, window, jobs=jobs, blocks=blocks, progress=progress)
        borders = profits = None
        if blocks is not None:
            chosen["kept"] = blocks.kept
            profits = blocks.profits
            borders = block_borders(self.span.first_ns, self.span.end_ns - 1, profits.shape[1])
        found = Figured(np.zeros(len(group), FIGURES), refused)
        # A book has room for the latest entries of one MAX_ORDERS_PER_MINUTE.
        entries = np.where(found.ran, chosen["terms"]["max_orders_per_minute"], -1)
        for most in np.unique(entries[found.ran]):
            places = np.flatnonzero(entries == most)
            rows = summaries_of(
                columns,
                table,
                readings,
                group.settings,
                chosen[places],
                self._kernels,
                jobs=jobs,
                borders=borders,
                profits=profits,
                progress=progress,
            )
            found.rows[places] = figures_of_sums(rows, chosen["balance"][places])
        if refused and progress is not None:
            progress(len(refused))
        return found

    def _cut(self, settings: Settings, window: Window | None) -> tuple[Columns, Array, Readings]:
        """Columns, candles and readings of a window, or of the whole market."""
        if candle_setting(triggers.parameters_for(self._columns, settings)) != self._made_of:
            raise RuntimeError("prepare() must see the candle settings before anything is run")
        if window is None:
            return self._columns, self._table, self._readings
        first, end = np.searchsorted(self._times, window).tolist()
        columns, table = part_of(self._columns, self._table, first, end)
        return columns, table, self._readings.part(first, end)


def candle_setting(parameters: Parameters) -> Parameters:
    """The part of the parameters that makes the candles: the rest set to what it is by default."""
    return Parameters(
        parameters.timeframe_ms,
        warmup_candles=parameters.warmup_candles,
        rsi_period=parameters.rsi_period,
        rsi_smoothing=parameters.rsi_smoothing,
        bb_period=parameters.bb_period,
        connected_throughout=parameters.connected_throughout,
    )


def part_of(columns: Columns, table: Array, first: int, end: int) -> tuple[Columns, Array]:
    """Trades `first` to before `end`, with their candles: those know what was before."""
    inside = (columns.minutes > first) & (columns.minutes < end)
    beyond = (columns.jumps > first) & (columns.jumps < end)
    any_trade = np.zeros(1 if end > first else 0, np.int64)
    part = replace(
        columns,
        ns=columns.ns[first:end],
        price=columns.price[first:end],
        ticks=columns.ticks[first:end],
        lots=columns.lots[first:end],
        late=0,
        minutes=np.concatenate([any_trade, columns.minutes[inside] - first]),
        jumps=np.concatenate([any_trade, columns.jumps[beyond] - first]),
        numbers=np.concatenate([columns.number(any_trade + first), columns.numbers[beyond]]),
    )
    if first == end:
        return part, table[:0]
    begins = int(np.searchsorted(table["first"], first, side="right")) - 1
    candles = table[begins : np.searchsorted(table["first"], end)].copy()
    candles["first"] = np.maximum(candles["first"] - first, 0)
    return part, candles


class RecordMarket:
    """Records for the fused loop, kept in memory while they are few, else read again for each run."""

    form = RECORDS

    def __init__(
        self,
        open_source: Open,
        settings: Settings,
        reason: str,
        watched: Callable[[Source], Source] = lambda source: source,
    ) -> None:
        self.reason = reason
        self._open = open_source
        self._settings = settings
        self._kept: list[Chunk] | None = []
        self.trades = 0
        size = 0
        first_ns = newest_ns = None
        source = watched(open_source(settings))
        for chunk in source.chunks():
            times = chunk.records["exchange_ns"][chunk.records["kind"] == TRADE]
            self.trades += len(times)
            if len(times):
                first_ns = int(times[0]) if first_ns is None else first_ns
                newest_ns = max(int(times.max()), newest_ns or 0)
            size += chunk.records.nbytes
            if self._kept is not None:
                self._kept.append(chunk._replace(records=chunk.records.copy()))
                if size > MOST_KEPT:
                    self._kept = None
        self.notes = list(source.notes)
        self._start, self._connected = source.start, source.connected
        self.span = Window(first_ns or 0, (newest_ns or 0) + 1 if first_ns is not None else 0)

    def prepare(self, settings: Settings) -> None:
        """Nothing: the fused loop makes the candles of each run."""

    def run(self, settings: Settings, window: Window | None = None) -> Result:
        source = self._source()
        if window is None:
            return fused.run(source, settings)
        candles = max(settings.warmup_candles, settings.bb_period, FADING * settings.rsi_period)
        part = Part(source, window, window.first_ns - candles * settings.timeframe_ms * 1_000_000)
        return part.trimmed(fused.run(part, settings))

    def run_all(
        self,
        group: Group,
        window: Window | None = None,
        *,
        jobs: int = 1,
        blocks: Blocks | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Figured:
        return each_by_itself(self, group, window, jobs=jobs, blocks=blocks, progress=progress)

    def _source(self) -> Source:
        if self._kept is None:
            return self._open(self._settings)
        return Kept(self._kept, self._start, self._connected, self.notes)


class Kept:
    """Chunks in memory as a source."""

    def __init__(self, chunks: list[Chunk], start: Start, connected: bool, notes: list[str]) -> None:
        self._chunks = chunks
        self.start = start
        self.connected = connected
        self.notes = list(notes)
        self.total: int | None = sum(len(chunk.records) for chunk in chunks)
        self.done = 0

    def chunks(self) -> Iterator[Chunk]:
        """All of them."""
        return iter(self._chunks)


class Part:
    """A window of a source. What is before it, from `lead_ns` on, is told as BACKFILL: it moves candles, decides
    nothing."""

    def __init__(self, source: Source, window: Window, lead_ns: int) -> None:
        self.start = source.start
        self.connected = source.connected
        self.notes = source.notes
        self.total: int | None = None
        self.done = 0
        self._source = source
        self._window = window
        self._lead_ns = lead_ns
        self._spans: dict[int, Span] = {}

    def chunks(self) -> Iterator[Chunk]:
        """The records of the window behind those of the lead; a START that came before is the first one's."""
        newest_ns = 0
        for chunk in self._source.chunks():
            trades = chunk.records["kind"] == TRADE
            times = np.maximum.accumulate(np.where(trades, chunk.records["exchange_ns"], newest_ns))
            times = np.maximum(times, newest_ns)
            newest_ns = int(times[-1]) if len(times) else newest_ns
            lead, first, end = np.searchsorted(times, (self._lead_ns, *self._window)).tolist()
            if lead < end:
                records = chunk.records[lead:end].copy()
                before = slice(0, max(first - lead, 0))
                records["flags"][before] |= np.where(trades[lead:end][before], BACKFILL, 0).astype(
                    records["flags"].dtype
                )
                self._see(records[before.stop :])
                yield Chunk(chunk.first + lead, records, chunk.start)
            if end < len(times):
                return

    def _see(self, records: Any) -> None:
        """First and last trade of each pair in the window."""
        trades = records[records["kind"] == TRADE]
        for pair in np.unique(trades["pair"]).tolist():
            own = trades[trades["pair"] == pair]
            ns, price = own["exchange_ns"], own["price"]
            seen = self._spans.get(pair)
            first = (int(ns[0]), float(price[0])) if seen is None else (seen.first_ns, seen.first_price)
            self._spans[pair] = Span(pair, first[0], int(ns[-1]), first[1], float(price[-1]))

    def trimmed(self, result: Result) -> Result:
        """The run without its lead."""
        spans = [span for _, span in sorted(self._spans.items())]
        return replace(result, spans=spans, equity=result.equity[result.equity["ns"] >= self._window.first_ns])
