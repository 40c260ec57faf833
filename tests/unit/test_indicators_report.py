"""Rows as candles of the bus: one by one, and many at a time."""

import numpy as np
import pytest

from bus.layouts import FORMING, PARTIAL
from bus.messages import encode
from indicators import report
from indicators.app import taken
from indicators.layout import ROW

PAIRS = ["A-B", "C-B"]


def some_rows() -> np.ndarray:
    rows = np.zeros(5, ROW)
    rows["pair"] = [0, 1, 2, 1, 0]  # 2 has no name
    rows["flags"] = [0, PARTIAL, 0, FORMING, FORMING | PARTIAL]
    rows["open_ns"] = np.arange(5) * 60_000_000_000 + 123_456_789
    rows["trades"] = [0, 1, 2, 3, 1 << 40]
    for at, name in enumerate(("open", "high", "low", "close", "volume", "rsi", "bb_lower", "bb_middle", "bb_upper")):
        rows[name] = np.arange(5) * 1.1 + at
    rows["rsi"][:2] = np.nan
    rows["bb_lower"][0] = np.nan
    return rows


@pytest.mark.parametrize("closed", [True, False])
def test_many_candles_at_a_time_are_the_same_bytes(closed: bool) -> None:
    rows = some_rows()
    assert encode(report.plain_candles(rows, PAIRS, closed)) == encode(report.candles_of(rows, PAIRS, closed))
    assert report.plain_candles(rows[:0], PAIRS, closed) == []


def test_pairs_that_wait_are_shown_in_turn() -> None:
    waiting = dict.fromkeys([5, 3, 9, 1, 7])
    assert taken(waiting, 2) == [3, 5]
    waiting |= dict.fromkeys([3, 1])  # 3 changed again: behind the others now
    assert taken(waiting, 3) == [1, 7, 9]
    assert taken(waiting, 3) == [3]
    assert waiting == {} and taken(waiting, 3) == []
