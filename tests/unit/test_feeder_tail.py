"""The tape's end is read in steps, so that a feeder of many pairs goes on beating while it starts."""

from pathlib import Path
from typing import Any

import numpy as np

from bus.records import RECORD, TRADE
from bus.tape import TapeReader, TapeWriter
from core.clock import ManualClock
from feeder import tail
from tests.trader_world import start


class Pair:
    """What `restore` hands over, kept."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.trades: list[Any] = []

    def restore(self, trades: list[Any], candles: list[Any]) -> None:
        self.trades = trades


def test_every_pair_is_a_breath(tmp_path: Path) -> None:
    writer = TapeWriter(tmp_path, ManualClock(), "boot")
    epoch, _ = writer.open()
    writer.start(start())
    records = np.zeros(6, RECORD)
    records["kind"], records["pair"] = TRADE, [0, 1, 2, 0, 1, 0]
    writer.append(records)
    reader = TapeReader(writer.folder, epoch)
    pairs = [Pair(number) for number in range(3)]
    breaths: list[int] = []
    tail.restore(reader, pairs, lambda: breaths.append(len(breaths)))  # type: ignore[arg-type]
    assert [len(pair.trades) for pair in pairs] == [3, 2, 1]
    assert len(breaths) == 3
    reader.close()
    writer.close()
