"""Kraken's channels in the sandbox, cut anywhere: ids without a gap, candles and days equal to those made at once."""

import itertools
import json
from decimal import Decimal
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sandbox.faces.kraken_channels import CandleFrames, TickerFrames, TradeFrames
from sandbox.faces.kraken_market import Candles, ticker_day
from sandbox.faces.kraken_names import pair_of
from sandbox.tape_market import Recording, TapeMarket
from sandbox.trades import Trades, text_of

MINUTE_MS = 60_000
BASE_MS = 1_795_356_900_000
COUNT = 400
_number = np.arange(COUNT)
TRADES = Trades(
    BASE_MS + _number * 1_700 + _number % 3 * 100_000 // 100,
    8_000 + _number * 7919 % 113,
    1 + _number * 31 % 17,
    _number % 2 == 0,
)
TRADES = Trades(np.sort(TRADES.ts_ms), *TRADES[1:])
MARKET = TapeMarket(Recording(TRADES, 2, 5, 0), "B-BTC_USDT")
PAIR = pair_of(MARKET.rules["B-BTC_USDT"])
CANDLES = Candles(MARKET)

cuts = st.lists(st.integers(0, COUNT), max_size=8).map(sorted)


def slices(places: list[int]) -> list[Trades]:
    """The trades from the first of these places on, cut at the others at whole milliseconds."""
    times = TRADES.ts_ms
    edges = [*(int(np.searchsorted(times, times[place])) if place < COUNT else COUNT for place in places), COUNT]
    return [TRADES.slice(start, stop) for start, stop in itertools.pairwise(edges) if stop > start]


def data(frames: list[str]) -> list[dict[str, Any]]:
    return [row for frame in frames for row in json.loads(frame, parse_float=Decimal)["data"]]


@given(cuts, st.integers(1, 1 << 50))
def test_ids_go_on_from_slice_to_slice(places: list[int], first: int) -> None:
    made = TradeFrames(PAIR, first)
    rows = [row for part in slices(places) for row in data(made.frames(part))]
    assert [row["trade_id"] for row in rows] == list(range(first, first + len(rows)))
    told = [(str(row["price"]), str(row["qty"]), row["side"]) for row in rows]
    start = COUNT - len(rows)
    assert told == [
        (text_of(int(ticks), 2), text_of(int(units), 5, 8), "sell" if sell else "buy")
        for ticks, units, sell in zip(
            TRADES.ticks[start:].tolist(), TRADES.units[start:].tolist(), TRADES.sell[start:].tolist(), strict=True
        )
    ]


@given(cuts, st.sampled_from([1, 5]))
def test_a_candle_that_grew_is_the_one_made_at_once(places: list[int], interval: int) -> None:
    parts = slices(places)
    if not parts:
        return
    made = CandleFrames(CANDLES, PAIR, interval, int(parts[0].ts_ms[0]) - 1)
    last = {row["interval_begin"]: row for part in parts for row in data(made.frames(part))}
    interval_ms = interval * MINUTE_MS
    whole = CandleFrames(CANDLES, PAIR, interval, MARKET.first_ms - interval_ms)
    wanted = {row["interval_begin"]: row for row in data(whole.frames(TRADES))}
    assert last == {begin: wanted[begin] for begin in last} and max(last) == max(wanted)


@given(cuts)
def test_a_day_that_grew_is_the_one_made_at_once(places: list[int]) -> None:
    made = TickerFrames(MARKET, CANDLES, PAIR)
    for part in slices(places):
        (row,) = data(made.frames(part))
        now_ms = int(part.ts_ms[-1])
        day = ticker_day(MARKET, CANDLES, PAIR, now_ms)
        assert day is not None and row == json.loads(day.stream(now_ms), parse_float=Decimal)
