"""The guard: each bullet of its docstring."""

from decimal import Decimal

import pytest

from bus.records import BACKFILL, LATE, STALE
from core.clock import NS_PER_S
from feeder.guard import Counts, Guard
from venues.venue import SIDE_BUY, Rules, Trade

MINUTE = 60 * NS_PER_S
NOW = 1_700_000_040 * NS_PER_S // MINUTE * MINUTE + 30 * NS_PER_S
RULES = Rules("P", "P", "BTC", "USDT", Decimal("0.01"), Decimal("0.00001"), Decimal("0.00001"), Decimal(5))


def make(tape_clock=False, rules=RULES):
    return Guard(3, rules, MINUTE, 30 * NS_PER_S, tape_clock, Counts())


def trade(price=100.0, at=NOW, quantity=1.0, received=NOW):
    return Trade("P", at, price, quantity, SIDE_BUY, 0, received)


def judged(guard, *trades, flags=0, offset=0, stream=True):
    out = []
    for item in trades:
        converted = guard.convert(item)
        if converted is not None:
            out += guard.judge(converted, flags, offset, stream) or []
    return out


def prices(records):
    return [record[6] for record in records]


def test_a_trade_in_ticks_and_lots():
    (record,) = judged(make(), trade(81090.88, quantity=0.00009))
    assert record == (3, SIDE_BUY, 0, 3, NOW, NOW, 81090.88, 0.00009, 8109088, 9, 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e300])
def test_no_positive_number_is_dropped_and_counted(value):
    guard = make()
    assert judged(guard, trade(price=value), trade(quantity=value)) == []
    assert guard.counts.unreadable == 2 and guard.counts.dropped == 2


def test_a_price_below_half_a_tick_is_none():
    guard = make()
    assert judged(guard, trade(price=0.001)) == []


@pytest.mark.parametrize("at", [0, -5])
def test_no_time_is_dropped(at):
    guard = make()
    assert judged(guard, trade(at=at)) == [] and guard.counts.unreadable == 1


def test_off_the_grid_is_counted_and_taken_to_the_nearest():
    guard = make()
    (record,) = judged(guard, trade(100.007, quantity=0.000014))
    assert (record[8], record[9]) == (10001, 1) and guard.counts.off_grid == 1
    judged(guard, *[trade(n / 100) for n in range(10_000, 10_500)])
    assert guard.counts.off_grid == 1


def test_prices_of_many_digits_are_on_their_grid():
    rules = Rules("P", "P", "X", "BTC", Decimal("1e-8"), Decimal(5), Decimal(5), Decimal(0))
    guard = make(rules=rules)
    (record,) = judged(guard, trade(0.00139676, quantity=115.0))
    assert (record[8], record[9], guard.counts.off_grid) == (139676, 23, 0)


def test_ahead_of_the_venues_clock_is_dropped():
    guard = make()
    assert len(judged(guard, trade(at=NOW + 2 * NS_PER_S))) == 1
    assert judged(guard, trade(at=NOW + 2 * NS_PER_S + 1)) == []
    assert guard.counts.future == 1


def test_the_venues_clock_is_ours_and_the_offset():
    guard = make()
    assert len(judged(guard, trade(at=NOW + 60 * NS_PER_S), offset=60 * NS_PER_S)) == 1
    assert judged(guard, trade(at=NOW), offset=-60 * NS_PER_S) == []


def test_a_players_clock_is_its_own():
    guard = make(tape_clock=True)
    records = judged(guard, trade(at=NOW - 10**18), trade(at=NOW + 10**18))
    assert [record[2] for record in records] == [0, 0]


def test_very_old_is_nonsense_on_the_stream_not_over_rest():
    guard = make()
    ancient = trade(at=NOW - 90_000 * NS_PER_S)
    assert judged(guard, ancient) == [] and guard.counts.ancient == 1
    assert len(judged(guard, ancient, stream=False)) == 1


def test_stale_against_the_venues_clock_on_arrival():
    guard = make()
    first, second = judged(guard, trade(at=NOW - 31 * NS_PER_S), trade(at=NOW - 30 * NS_PER_S))
    assert (first[2], second[2]) == (STALE, 0)


def test_late_is_before_the_forming_bucket():
    guard = make()
    records = judged(guard, trade(at=NOW), trade(at=NOW - 20 * NS_PER_S), trade(at=NOW - 31 * NS_PER_S))
    assert [record[2] & LATE for record in records] == [0, 0, LATE]
    assert guard.counts.late == 1


def test_flags_given_are_kept():
    (record,) = judged(make(), trade(), flags=BACKFILL)
    assert record[2] == BACKFILL


def test_late_follows_the_candles_of_the_tape():
    guard = make()
    guard.candle(NOW - 30 * NS_PER_S, 100.0, forming=False)
    assert judged(guard, trade())[0][2] & LATE
    guard.forget()
    guard.candle(NOW - 30 * NS_PER_S, 100.0, forming=True)
    assert not judged(guard, trade())[0][2] & LATE


@pytest.mark.parametrize("price", [50.0, 200.0])
def test_half_and_double_are_just_possible(price):
    assert prices(judged(make(), trade(100.0), trade(price))) == [100.0, price]


def test_an_impossible_print_is_held_back_and_dropped_when_the_market_goes_on():
    guard = make()
    assert prices(judged(guard, trade(100.0), trade(1000.0), trade(100.5))) == [100.0, 100.5]
    assert guard.counts.held == 1 and guard.counts.held_dropped == 1 and not guard.held()


def test_three_prints_within_a_per_cent_set_the_new_level():
    guard = make()
    assert prices(judged(guard, trade(100.0), trade(40.0), trade(40.2))) == [100.0]
    assert prices(judged(guard, trade(40.1))) == [40.0, 40.2, 40.1]
    assert prices(judged(guard, trade(39.0))) == [39.0]
    assert guard.counts.dropped == 0


def test_prints_that_disagree_set_no_level():
    guard = make()
    judged(guard, trade(100.0), trade(40.0), trade(41.0), trade(42.0), trade(44.0))
    assert guard.level == 100.0 and len(guard.held()) == 1


def test_prints_interrupted_by_the_old_level_begin_anew():
    guard = make()
    assert prices(judged(guard, trade(100.0), trade(40.0), trade(40.0), trade(99.0), trade(40.0))) == [100.0, 99.0]


def test_rest_confirms_by_another_trade_at_the_level():
    guard = make()
    judged(guard, trade(100.0), trade(40.0))
    held = guard.convert(trade(40.0))
    other = guard.convert(trade(40.2, at=NOW + 1))
    back = guard.convert(trade(100.2, at=NOW + 2))
    assert not guard.confirmed_by([held])
    assert not guard.confirmed_by([held, other, back])
    assert guard.confirmed_by([held, other])
    assert prices(guard.release()) == [40.0] and guard.level == 40.0


def test_a_late_trade_sets_no_level():
    guard = make()
    judged(guard, trade(100.0), trade(190.0, at=NOW - 31 * NS_PER_S))
    assert guard.level == 100.0


def test_other_rules_keep_level_and_bucket():
    guard = make()
    judged(guard, trade(100.0))
    finer = Rules("P", "P", "BTC", "USDT", Decimal("0.001"), Decimal("0.00001"), Decimal("0.00001"), Decimal(5))
    other = guard.with_rules(finer)
    assert (other.level, other.bucket_ns) == (guard.level, guard.bucket_ns)
    assert judged(other, trade(100.0))[0][8] == 100_000
