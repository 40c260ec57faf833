"""Trade ids: one more from trade to trade, the same for whoever asks and whenever, and found again by number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.market import HISTORY_MS, Synthetic
from sandbox.tape_market import Recording, TapeMarket
from sandbox.trade_ids import FIRST, TradeIds
from sandbox.trades import Trades

PAIR = "B-BTC_USDT"
BORN_MS = 1_795_356_912_345
MINUTE_MS = 60_000
MARKET = Synthetic(1, BORN_MS)
IDS = TradeIds(MARKET)


def tape(seconds: int = 600) -> TapeMarket:
    times = BORN_MS + np.sort(np.arange(seconds) * 7919 % (seconds * 1000))
    number = np.arange(1, seconds + 1)
    return TapeMarket(Recording(Trades(times, number, number, number % 2 == 0), 2, 3, 0), PAIR)


@given(start=st.integers(-7_200_000, 7_200_000), length=st.integers(0, 300_000))
def test_the_id_at_a_time_is_that_at_an_earlier_one_and_the_trades_between(start: int, length: int) -> None:
    from_ms, to_ms = BORN_MS + start, BORN_MS + start + length
    assert IDS.at(PAIR, to_ms) == IDS.at(PAIR, from_ms) + len(MARKET.span(PAIR, from_ms, to_ms))


@given(age=st.integers(0, 14_400_000))
def test_another_start_of_the_same_world_counts_alike(age: int) -> None:
    assert TradeIds(Synthetic(1, BORN_MS)).at(PAIR, BORN_MS + age) == IDS.at(PAIR, BORN_MS + age)


def test_minutes_have_as_many_trades_as_their_spans() -> None:
    first = (BORN_MS - HISTORY_MS) // MINUTE_MS - 2  # two minutes before history, of which nothing is told
    counts = MARKET.counts("I-BTC_INR", first, first + 5)
    spans = [MARKET.span("I-BTC_INR", m * MINUTE_MS, (m + 1) * MINUTE_MS) for m in range(first, first + 5)]
    assert counts.tolist() == [len(span) for span in spans]
    assert counts[:2].tolist() == [0, 0] and counts[2:].all()


@given(
    back=st.integers(-40_000, 40_000),
    limit=st.integers(1, 1500),
    until=st.integers(BORN_MS, BORN_MS + 3_600_000),
)
def test_trades_are_found_by_their_id(back: int, limit: int, until: int) -> None:
    wanted = FIRST + back
    first, trades = IDS.since(PAIR, wanted, until, limit)
    assert first == wanted and len(trades) <= limit
    told = max(0, min(limit, IDS.at(PAIR, until + 1) - wanted))
    assert len(trades) == told
    if told:
        start = int(trades.ts_ms[0])
        same = MARKET.span(PAIR, start, start + 1)
        assert IDS.at(PAIR, start) <= wanted < IDS.at(PAIR, start) + len(same)


def test_before_the_oldest_trade_there_is_the_oldest_trade() -> None:
    first, trades = IDS.since(PAIR, 5, BORN_MS, 3)
    assert first == IDS.at(PAIR, BORN_MS - HISTORY_MS - 10_000_000) > 5
    assert trades.ts_ms[0] == MARKET.span(PAIR, 0, BORN_MS).ts_ms[0] and len(trades) == 3


@pytest.mark.parametrize("limit", [1, 7, 600, 1000])
def test_a_tape_counts_from_its_first_trade(limit: int) -> None:
    market = tape()
    ids = TradeIds(market)
    assert ids.at(PAIR, market.first_ms) == ids.at(PAIR, 1) == FIRST
    assert ids.at(PAIR, market.last_ms + 1) == FIRST + len(market)
    first, trades = ids.since(PAIR, FIRST + 250, market.last_ms, limit)
    assert first == FIRST + 250 and trades.ticks.tolist() == list(range(251, min(251 + limit, 601)))
    assert len(ids.since(PAIR, FIRST + 250, int(trades.ts_ms[0]), 1)[1]) == 1
    assert len(ids.since(PAIR, FIRST + 600, market.last_ms, limit)[1]) == 0
