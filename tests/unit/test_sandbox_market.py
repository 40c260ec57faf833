"""The synthetic market is a function of seed, pair, birth and time; it has a past, and it stays within bounds."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.listings import LISTINGS
from sandbox.market import HISTORY_MS, Synthetic
from sandbox.noise import bell, key_of, unit, wave, word, words
from sandbox.shape import BLOCK, CALM, SQUEEZE, Course, kind_of, knots_of
from sandbox.trades import Trades, bars_of, text_of

BORN_MS = 1_795_356_912_345
PAIR = "B-BTC_USDT"
MINUTE = 60_000


def same(one: Trades, other: Trades) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def joined(parts: list[Trades]) -> Trades:
    return Trades(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def test_the_same_span_twice_is_the_same_in_another_world_of_the_same_seed() -> None:
    one, other = Synthetic(7, BORN_MS), Synthetic(7, BORN_MS)
    other.span(PAIR, BORN_MS - 5_000_000, BORN_MS)  # what was asked before changes nothing
    assert same(one.span(PAIR, BORN_MS, BORN_MS + 90_000), other.span(PAIR, BORN_MS, BORN_MS + 90_000))


def test_another_seed_and_another_pair_are_other_markets() -> None:
    one, other = Synthetic(1, BORN_MS), Synthetic(2, BORN_MS)
    assert not same(one.span(PAIR, BORN_MS, BORN_MS + 10_000), other.span(PAIR, BORN_MS, BORN_MS + 10_000))
    times = one.span("B-ETH_USDT", BORN_MS, BORN_MS + 10_000).ts_ms
    assert not np.array_equal(one.span(PAIR, BORN_MS, BORN_MS + 10_000).ts_ms, times)


@settings(max_examples=40, deadline=None)
@given(
    start=st.integers(-3_600_000, 3_600_000),
    cuts=st.lists(st.integers(0, 200_000), min_size=1, max_size=8),
    pair=st.sampled_from([listing.rules.pair for listing in LISTINGS[:5]]),
)
def test_a_span_in_pieces_equals_the_whole(start: int, cuts: list[int], pair: str) -> None:
    market = Synthetic(3, BORN_MS)
    edges = sorted({0, *cuts, 200_000})
    parts = [market.span(pair, BORN_MS + start + a, BORN_MS + start + b) for a, b in itertools.pairwise(edges)]
    assert same(joined(parts), market.span(pair, BORN_MS + start, BORN_MS + start + 200_000))


def test_times_never_decrease_and_some_trades_are_twins() -> None:
    trades = Synthetic(1, BORN_MS).span(PAIR, BORN_MS, BORN_MS + 1_800_000)
    assert (np.diff(trades.ts_ms) >= 0).all()
    rows = np.stack([trades.ts_ms, trades.ticks, trades.units, trades.sell.astype(np.int64)])
    twins = int((rows[:, 1:] == rows[:, :-1]).all(axis=0).sum())
    assert 0.005 < twins / len(trades) < 0.03


def test_prices_and_sizes_fit_the_rules_of_each_market() -> None:
    market = Synthetic(5, BORN_MS)
    for pair, rules in market.rules.items():
        trades = market.span(pair, BORN_MS, BORN_MS + 120_000)
        assert len(trades) > 20, pair
        assert (trades.ticks > 0).all() and (trades.units > 0).all()
        assert (trades.units % rules.step_units == 0).all()
        assert trades.sell.any() and not trades.sell.all()


def test_markets_differ_in_their_rules() -> None:
    rules = [listing.rules for listing in LISTINGS]
    assert rules[0].pair == PAIR
    assert len({rule.pair for rule in rules}) == len({rule.market for rule in rules}) == len(rules) >= 12
    assert {rule.ecode for rule in rules} == {"B", "I", "KC"}
    assert any(rule.step_units != 1 for rule in rules)
    assert any(rule.quantity_digits == 0 for rule in rules)


@pytest.mark.parametrize("seed", range(1, 6))
def test_an_outage_of_half_a_minute_stays_within_500_trades(seed: int) -> None:
    trades = Synthetic(seed, BORN_MS).span(PAIR, BORN_MS, BORN_MS + 3_600_000)
    per_second = len(trades) / 3600
    assert 5 <= per_second <= 15
    busiest = np.searchsorted(trades.ts_ms, trades.ts_ms + 30_000) - np.arange(len(trades))
    assert busiest.max() < 500


def test_at_birth_there_are_500_minutes_and_500_trades_of_every_pair() -> None:
    market = Synthetic(1, BORN_MS)
    for pair in market.rules:
        bars = market.bars(pair, MINUTE, 0, BORN_MS, 501)
        assert bars.open_ms.shape[0] == 501, pair
        assert (np.diff(bars.open_ms) == MINUTE).all()
        last = market.last(pair, BORN_MS, 500)
        assert len(last) == 500 and last.ts_ms[-1] <= BORN_MS


def test_the_last_trades_are_the_end_of_the_span() -> None:
    market = Synthetic(1, BORN_MS)
    for limit in (1, 30, 500):
        span = market.span(PAIR, BORN_MS - 3_600_000, BORN_MS + 1)
        assert same(market.last(PAIR, BORN_MS, limit), span.slice(len(span) - limit, len(span)))


def test_nothing_is_told_of_the_time_before_history() -> None:
    market = Synthetic(1, BORN_MS)
    origin = BORN_MS // MINUTE * MINUTE
    assert len(market.span(PAIR, 0, origin - HISTORY_MS)) == 0
    assert market.bars(PAIR, MINUTE, 0, BORN_MS, 10_000).open_ms[0] == origin - HISTORY_MS
    assert len(market.last(PAIR, origin - HISTORY_MS + 100, 500)) < 10
    hours = market.bars(PAIR, 3_600_000, 0, BORN_MS, 1000).open_ms
    assert (hours % 3_600_000 == 0).all() and hours[0] >= origin - HISTORY_MS


@pytest.mark.parametrize("interval_ms", [MINUTE, 15 * MINUTE, 60 * MINUTE])
def test_candles_are_made_of_the_trades_up_to_now(interval_ms: int) -> None:
    market = Synthetic(2, BORN_MS)
    now_ms = BORN_MS + 4_567_890
    from_ms = now_ms // interval_ms * interval_ms - 3 * interval_ms
    want = bars_of(market.span(PAIR, from_ms, now_ms + 1), interval_ms)
    got = market.bars(PAIR, interval_ms, 0, now_ms, 4)
    assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))
    # Once an hour is over its candles are kept, and stay the same.
    later = market.bars(PAIR, interval_ms, from_ms, now_ms + 7_200_000, 1000)
    assert np.array_equal(later.open[:4], want.open) and np.array_equal(later.close[:3], want.close[:3])


def test_over_months_the_price_stays_near_its_start() -> None:
    course = Course(key_of(1, PAIR), 12_345)
    for month in (0, 1, 12, 120):
        _, moves = course.path(month * 43_200, month * 43_200 + 2_880)
        assert np.abs(moves).max() < 0.15


def test_the_days_reach_holds_its_trades() -> None:
    market = Synthetic(1, BORN_MS)
    reach = market.reach(PAIR, BORN_MS)
    assert reach is not None
    day = market.span(PAIR, BORN_MS - 3_600_000, BORN_MS)
    assert reach[0] * 0.999 < day.ticks.min() and day.ticks.max() < reach[1] * 1.001


def test_every_move_begins_and_ends_inside_its_minute() -> None:
    key = key_of("moves")
    for minute in range(-2000, 2000):
        kind = kind_of(key, minute, 20.0)
        seconds = [second for second, _ in knots_of(key, minute, kind)]
        assert seconds == sorted(seconds)
        assert all(1.0 <= second <= 59.5 for second in seconds), (minute, kind)


@pytest.mark.parametrize("born_second", [0.0, 3.0, 7.99, 8.01, 20.0, 34.9, 35.1, 59.9])
def test_the_first_moves_fit_into_their_minutes_whenever_it_is_born(born_second: float) -> None:
    for seed in range(50):
        seconds, moves = Course(key_of(seed, PAIR), int(born_second * 1000)).path(0, 3)
        assert (np.diff(seconds) > 0).all()
        assert moves.min() < moves[0] - 0.006


def test_falls_never_stay_away_for_long() -> None:
    key = key_of("waits")
    falls = [minute for minute in range(BLOCK, 5000) if kind_of(key, minute, 20.0) not in (CALM, SQUEEZE)]
    assert max(b - a for a, b in itertools.pairwise(falls)) <= 8
    assert len(falls) == pytest.approx(5000 * 3 / BLOCK, rel=0.01)


def test_hash_words_one_by_one_equal_those_in_rows() -> None:
    places = np.arange(-50, 50)
    assert [int(value) for value in words(key_of("x"), places)] == [word(key_of("x"), int(at)) for at in places]


def test_chance_is_spread_as_it_should_be() -> None:
    hashes = words(key_of("spread"), np.arange(100_000))
    assert abs(unit(hashes).mean() - 0.5) < 0.005
    assert abs(bell(hashes).mean()) < 0.02 and abs(bell(hashes).std() - 1.0) < 0.02
    smooth = wave(key_of("spread"), 1, 60, np.arange(-10_000, 10_000))
    assert np.abs(smooth).max() <= 1.0 and np.abs(np.diff(smooth)).max() < 3.0 / 60


@pytest.mark.parametrize(
    ("value", "digits", "least", "text"),
    [
        (8_109_088, 2, 8, "81090.88000000"),
        (9, 5, 8, "0.00009000"),
        (448, 8, 8, "0.00000448"),
        (7, 0, 0, "7"),
        (7, 0, 8, "7.00000000"),
        (123_456, 10, 8, "0.0000123456"),
        (100, 2, 0, "1.00"),
    ],
)
def test_whole_numbers_as_decimal_text(value: int, digits: int, least: int, text: str) -> None:
    assert text_of(value, digits, least) == text
