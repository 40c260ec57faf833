"""History: closed candles, the running bucket, and every trade counted once."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.clock import NS_PER_S
from feeder import history
from feeder.backfill import backoff_s
from feeder.guard import Print
from venues.venue import Bar, Capabilities

MINUTE = 60 * NS_PER_S
START = 1_700_000_040 * NS_PER_S // MINUTE * MINUTE


def item(at_ns, price=100.0, quantity=1.0):
    return Print((at_ns, round(price * 100), round(quantity), 1, 0), price, quantity, at_ns)


def bar(minute, close=100.0, volume=1.0):
    return Bar(START + minute * MINUTE, close, close, close, close, volume)


def test_flat_candles_where_nothing_traded():
    filled = history.flat_filled([bar(0, 5.0), bar(3, 6.0)], MINUTE, START + 5 * MINUTE)
    assert [(b.open_ns - START) // MINUTE for b in filled] == [0, 1, 2, 3, 4]
    assert [b.close for b in filled] == [5.0, 5.0, 5.0, 6.0, 6.0] and [b.volume for b in filled] == [1, 0, 0, 1, 0]


def test_a_gap_of_years_is_no_years_of_candles():
    assert len(history.flat_filled([bar(0), bar(5_000_000)], MINUTE)) <= history.CANDLES + 2


def test_larger_candles_are_put_together():
    bars = [Bar(START + n * MINUTE, n, n + 2, n - 1, n + 1, 1.0, 2) for n in range(7)]
    made = history.aggregate(bars, 3 * MINUTE)
    shift = START % (3 * MINUTE) // MINUTE
    first = 3 - shift if shift else 3
    assert made[0].open == 0 and made[0].close == first and made[0].volume == first and made[0].trades == 2 * first
    assert made[0].high == first + 1 and made[0].low == -1
    assert sum(b.volume for b in made) == 7 and all(b.open_ns % (3 * MINUTE) == 0 for b in made)


@pytest.mark.parametrize(
    ("timeframe_ms", "size"),
    [(60_000, 60_000), (180_000, 60_000), (300_000, 60_000), (900_000, 900_000), (3_600_000, 3_600_000), (1_000, None)],
)
def test_which_candles_are_asked_for(timeframe_ms, size):
    assert history.interval_for(timeframe_ms, (60_000, 900_000, 3_600_000, 86_400_000)) == size


def test_trades_that_reach_take_the_place_of_the_forming_row():
    trades = [item(START - 1), item(START), item(START + 5)]
    made = history.compose(MINUTE, START, [bar(-2), bar(-1), bar(0, volume=2.0)], trades, False)
    assert made.forming is None and made.first == 1 and len(made.closed) == 2


def test_a_candle_that_lags_is_made_of_trades():
    """The venue's candles end two minutes ago, the trades reach further back: they bring what is missing."""
    trades = [item(START - 3 * MINUTE + 1), item(START - MINUTE), item(START)]
    made = history.compose(MINUTE, START, [bar(-4), bar(-3)], trades, False)
    assert len(made.closed) == 2 and made.first == 1


def test_the_forming_row_less_what_follows():
    trades = [item(START + 7, quantity=1.0), item(START + 8, quantity=2.0)]
    following = [item(START + 9, quantity=4.0), item(START + MINUTE, quantity=50.0)]
    made = history.compose(MINUTE, START, [bar(-1), bar(0, volume=10.0)], trades, False, following)
    assert made.forming is not None and made.forming.volume == 3.0 and made.first == 0


def test_without_a_forming_row_the_first_trade_opens_it():
    made = history.compose(MINUTE, START, [bar(-1)], [item(START + 7, 105.0)], False)
    assert made.forming == Bar(START, 105.0, 105.0, 105.0, 105.0, 0.0)


def test_nothing_known_is_nothing():
    assert history.compose(MINUTE, 0, [], [], True) == history.Composition([], None, 0)


def test_a_new_market_is_all_trades():
    trades = [item(START - MINUTE), item(START)]
    assert history.compose(MINUTE, START, [], trades, True) == history.Composition([], None, 0)


@pytest.mark.parametrize(
    ("stream", "trades", "bars", "venue", "minute"),
    [
        pytest.param(START + 5 * MINUTE + 1, [], [bar(6)], START + 9 * MINUTE, 5, id="the stream's first trade"),
        pytest.param(None, [item(START + MINUTE)], [bar(0)], None, 1, id="the last trade"),
        pytest.param(None, [item(START)], [bar(1)], None, 1, id="the forming row"),
        pytest.param(None, [item(START)], [bar(0)], START + MINUTE + NS_PER_S, 0, id="just over, not for certain"),
        pytest.param(None, [item(START)], [bar(0)], START + MINUTE + 3 * NS_PER_S, 1, id="over for certain"),
    ],
)
def test_which_bucket_runs(stream, trades, bars, venue, minute):
    assert history.running_bucket(MINUTE, stream, trades, bars, venue) == START + minute * MINUTE


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_trade_counts_once(data):
    """Whatever the answer reaches back to: volumes by bucket of candles, forming row and trades are the market's."""
    steps = data.draw(st.lists(st.integers(0, 70), min_size=2, max_size=60))
    truth, now = [], START
    for n, step in enumerate(steps):
        now += step * NS_PER_S
        truth.append(item(now, 100.0 + n % 3, 1.0 + n % 4))
    reach = data.draw(st.integers(0, len(truth)))
    cut = data.draw(st.integers(reach, len(truth)))  # the stream begins here
    stream = truth[cut:]
    bars = history.bars_of(truth, MINUTE, 0, 2**62)
    running = history.running_bucket(MINUTE, stream[0].row[0] if stream else None, truth[reach:cut], bars, None)
    made = history.compose(MINUTE, running, bars, truth[reach:cut], reach == 0, stream)
    volumes: dict[int, float] = {}
    for candle in [*made.closed, *([made.forming] if made.forming else [])]:
        volumes[candle.open_ns] = volumes.get(candle.open_ns, 0.0) + candle.volume
    for following in [*truth[reach:cut][made.first :], *stream]:
        start = history.bucket(following.row[0], MINUTE)
        volumes[start] = volumes.get(start, 0.0) + following.quantity
    expected = {candle.open_ns: candle.volume for candle in bars}
    assert {start: volume for start, volume in volumes.items() if volume} == pytest.approx(expected)
    opens = [candle.open_ns for candle in made.closed]
    assert opens == list(range(opens[0], opens[0] + len(opens) * MINUTE, MINUTE)) if opens else True


class Venue:
    """A venue with one-minute candles; remembers what it was asked."""

    capabilities = Capabilities(500, (60_000, 900_000), 1000, False)

    def __init__(self):
        self.asked = []

    async def candles(self, rules, interval_ms, start_ms, end_ms):
        self.asked.append((interval_ms, start_ms, end_ms))
        return [bar(-2), bar(-1)]


def fetch(timeframe_ns, trades=(), complete=False):
    venue = Venue()
    bars = asyncio.run(history.fetch_bars(venue, None, timeframe_ns, START + 5, list(trades), complete))
    return venue, bars


def test_five_hundred_candles_and_one_are_asked_for():
    venue, bars = fetch(MINUTE)
    assert venue.asked == [(60_000, (START - 501 * MINUTE) // 10**6, (START + MINUTE) // 10**6)] and len(bars) == 2


def test_below_a_minute_candles_are_made_of_trades():
    second = NS_PER_S
    trades = [item(START - 3 * second + n * second // 2) for n in range(6)]
    venue, bars = fetch(second, trades)
    assert venue.asked == []
    assert [(b.open_ns - START) // second for b in bars] == [-2, -1] and [b.volume for b in bars] == [2.0, 2.0]


def test_backing_off_doubles_is_capped_and_spread():
    assert [backoff_s(n, 0.0) for n in range(4)] == [0.25, 0.5, 1.0, 2.0]
    assert backoff_s(3, 0.999) == pytest.approx(4.0, rel=0.01)
    assert backoff_s(500, 0.999) <= 30.0 and backoff_s(500, 0.0) == 15.0
