"""The event engine: the trader's own fold with the paper broker over recorded market data, by the replay clock.

Records go through the same compiled indicators and the same engine as in the running bot, frame by frame; time is the
records' own. No socket, no journal. How the records are cut into frames changes nothing.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from backtest.collect import Collector
from backtest.result import Array, Result
from backtest.sources import Source
from bus.layouts import RECORD_SIZE
from bus.messages import Start
from bus.records import MAX_BATCH, TRADE
from core import paths
from core.settings import indicator_hash
from indicators import jit
from indicators.engine import Indicators, Kernels, parameters_of
from trader import inputs, replay
from trader.terms import terms_of

EPOCH = 1


class Run:
    """One run of the event engine: `start` and `chunk` in tape order, then `result`."""

    def __init__(self, settings: Any, kernels: Kernels, *, connected: bool, bars: bool = False) -> None:
        settings_hash = indicator_hash(settings)
        terms = terms_of(settings, settings_hash)
        parameters = replace(parameters_of(settings, settings_hash), connected_throughout=connected)
        self.indicators = Indicators(parameters, kernels)
        self.engine = replay.new_engine(terms, replay.new_state(terms, replay.OFFLINE_JOURNAL))
        self.trades = 0
        self._collector = Collector(terms, settings, bars=bars)

    def start(self, number: int, body: Start) -> None:
        """A START is in force after record `number`."""
        self.indicators.start(body.markets, body.tape_clock)
        self.engine.handle(inputs.NewStart(EPOCH, number, body))
        self._collector.start(body)

    def chunk(self, first: int, records: Array, batch: int) -> None:
        """Consecutive records, numbered from `first`, in frames of `batch`, at most MAX_BATCH."""
        trades = records[records["kind"] == TRADE]
        self.trades += len(trades)
        self._collector.spans(trades)
        data = records.tobytes()
        step = batch * RECORD_SIZE
        for at in range(0, len(data), step):
            self._frame(data[at : at + step], first + at // RECORD_SIZE)

    def _frame(self, frame: bytes, first: int) -> None:
        updates = self.indicators.fold(frame, first)
        last = first + len(frame) // RECORD_SIZE - 1
        events = self.engine.handle(inputs.Updates(EPOCH, last, updates.tobytes()))
        if events:
            self._collector.take(events, updates)
        if self.indicators.closed:
            self._collector.rows(self.indicators.take_closed())

    def result(self, notes: list[str]) -> Result:
        """All of it."""
        late = int(self.indicators.heads["late"].sum())
        state = self.engine.sync()
        return self._collector.result(
            state, trades=self.trades, late=late, unknown=self.indicators.unknown, notes=notes
        )


def run(
    source: Source,
    settings: Any,
    *,
    bars: bool = False,
    progress: Callable[[int], object] | None = None,
    batch: int = MAX_BATCH,
) -> Result:
    """A whole source through the event engine; see `backtest.result` for what comes out.

    settings: core.settings.Settings. progress: called with the number of records done. batch: records in a frame, 1 to
    MAX_BATCH. Raises MisconfiguredError for settings or markets that do not fit.
    """
    machine, complaint = jit.load(paths.cache_dir(paths.var_dir(settings)))
    found = Run(settings, machine, connected=source.connected, bars=bars)
    start: Start | None = None
    for chunk in source.chunks():
        if chunk.start is not start:
            start = chunk.start
            found.start(chunk.first - 1, start)
        found.chunk(chunk.first, chunk.records, batch)
        if progress is not None:
            progress(len(chunk.records))
    if start is None:
        found.start(-1, source.start)
    return found.result(source.notes + ([complaint] if complaint else []))
