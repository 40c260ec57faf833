"""Where market data comes from: arrays of `bus.records.RECORD` in chunks, consecutively numbered."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from backtest.result import Array
from bus.messages import Start

CHUNK = 262_144  # records at most


class Chunk(NamedTuple):
    """Consecutive records (TRADE, CANDLE, HOLE), the first of which is number `first`."""

    first: int
    records: Array
    start: Start  # in force for these records: a new object where a START record came


class Source(Protocol):
    """Market data that can be read once, in order."""

    start: Start  # the first one
    connected: bool  # files of trades count as connected throughout: no limit of missing candles
    notes: list[str]  # what the report must say; grows while it is read
    total: int | None  # for the progress bar, None where not known

    def chunks(self) -> Iterator[Chunk]:
        """All of it, in order."""
