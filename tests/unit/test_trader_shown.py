"""What is shown of the pairs: all of them each second, however often turns come."""

from collections import Counter

import pytest

from bus.messages import Status
from tests.trader_world import Live, Tape, market, start
from trader.follow import LIVE
from trader.shown import Shown

PAIRS = [f"B-C{number}_USDT" for number in range(7)]


def made() -> tuple[Live, Shown, list[Status]]:
    live = Live(Tape(start(*(market(pair=pair) for pair in PAIRS))))
    sent: list[Status] = []
    shown = Shown(live.engine, PAIRS, sent.append)
    shown.show(LIVE, everything=True)
    sent.clear()
    return live, shown, sent


@pytest.mark.parametrize("turns_a_second", [1, 2, 5])
def test_each_pair_is_shown_once_a_second_in_parts_of_about_one_size(turns_a_second: int) -> None:
    _, shown, sent = made()
    parts = []
    for _ in range(turns_a_second):
        before = len(sent)
        shown.turn(LIVE, turns_a_second)
        parts.append(len(sent) - before)
    assert Counter(status.pair for status in sent) == Counter(PAIRS)
    assert max(parts) - min(parts) <= 1


def test_a_pair_that_looks_other_than_before_is_shown_at_once() -> None:
    live, shown, sent = made()
    for turn in range(5):
        live.tape.trade(100.0 + turn, "warm", pair=3)
        live.feed()
        sent.clear()
        shown.turn(LIVE, 5)
        if turn == 0:
            assert PAIRS[3] in {status.pair for status in sent}, "it is warm from now on"
