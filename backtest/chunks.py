"""What market data is for an engine: records in chunks, in order, numbered."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from backtest.result import Array
from bus.messages import Start

CHUNK = 262_144  # records at most
FIRST_NUMBER = 1  # of trades that are on no tape: the START that a tape of them would begin with is 0


class Chunk(NamedTuple):
    """Consecutive records (TRADE, CANDLE, HOLE), the first of which is number `first`.

    Numbers go on from chunk to chunk, but for START records and what is missing on a tape.
    """

    first: int
    records: Array
    start: Start  # in force for these records: a new object where a START record came


class Source(Protocol):
    """Market data that can be read from its beginning as often as it is asked for."""

    start: Start  # the first one
    connected: bool  # files of trades count as connected throughout: no limit of missing candles
    notes: list[str]  # what the report must say; whole when the chunks are at their end
    total: int | None  # how much there is, in whatever unit, for the progress bar; None where not known

    @property
    def done(self) -> int:
        """How much of the total was read."""

    def chunks(self) -> Iterator[Chunk]:
        """All of it, in order."""
