"""What the tape's end says of each pair, read once at start."""

from collections.abc import Callable, Sequence

import numpy as np

from bus.records import CANDLE, CANDLE_RECORD, TRADE
from bus.tape import TapeReader
from feeder.pair import TAIL, PairFeed

LEAST, PER_PAIR, MOST = 20_000, 2_000, 200_000  # records looked through


def restore(reader: TapeReader, pairs: Sequence[PairFeed], breathe: Callable[[], object] = lambda: None) -> None:
    """Hands each pair its last trades and candles; `breathe()` is called before each, as much may be read for it."""
    _, records = reader.read_back(min(MOST, max(LEAST, PER_PAIR * len(pairs))))
    kinds, numbers = records["kind"], records["pair"]
    for pair in pairs:
        breathe()
        mine = numbers == pair.number
        trades = records[mine & (kinds == TRADE)][-TAIL:].tolist()
        candles = records[mine & (kinds == CANDLE)].view(CANDLE_RECORD)[-3:].tolist()
        if trades and not candles:
            candles = _older_candles(reader, pair.number)
        pair.restore(trades, candles)


def _older_candles(reader: TapeReader, number: int) -> list[tuple[int, ...]]:
    """The last candles of a pair where they lie further back: they show which timeframe the tape was made with."""
    for _, _, records in reversed(list(reader.segments())):
        places = np.flatnonzero((records["kind"] == CANDLE) & (records["pair"] == number))[-3:]
        if len(places):
            found: list[tuple[int, ...]] = np.array(records[places]).view(CANDLE_RECORD).tolist()
            return found
    return []
