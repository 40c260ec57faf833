"""Histograms: percentiles as numpy finds them, windows that move on with the clock, and spans by name."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import NS_PER_S, ManualClock
from core.histogram import EMPTY, FRESH_MAX, Histogram, Window, bucket_middle, bucket_of
from core.spans import Spans

SLICE_NS = 10 * NS_PER_S  # of the minute


def near(found: float, exact: float) -> bool:
    return abs(found - exact) <= exact * 0.011 + 0.03


@given(st.floats(0, 2.0**40))
def test_a_bucket_is_off_by_at_most_one_part_in_90(us: float) -> None:
    assert near(bucket_middle(bucket_of(us)), us)


@given(st.floats(-1e6, 2.0**40), st.floats(-1e6, 2.0**40))
def test_buckets_ascend(one: float, other: float) -> None:
    assert bucket_of(min(one, other)) <= bucket_of(max(one, other))


def test_nothing_was_recorded() -> None:
    histogram = Histogram(ManualClock())
    assert histogram.minute() == histogram.hour() == EMPTY


def test_a_negative_latency_counts_as_none() -> None:
    histogram = Histogram(ManualClock())
    histogram.record(-5_000)
    assert histogram.minute() == Window(1, *[bucket_middle(0)] * 3)
    assert bucket_middle(0) < 0.02


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1, 2, 99, 100, 101, 3 * FRESH_MAX + 1])
def test_percentiles_are_those_of_numpy(seed: int, count: int) -> None:
    random_ = random.Random(seed)
    values = [random_.lognormvariate(5, 2) for _ in range(count)]
    clock = ManualClock()
    histogram = Histogram(clock)
    for value in values:
        histogram.record(value)
    exact = [float(np.percentile(values, p, method="inverted_cdf")) for p in (50, 99, 100)]
    found = histogram.minute()
    assert found.samples == count
    assert all(map(near, found[1:], exact)), (found, exact)
    clock.advance(SLICE_NS)
    assert histogram.hour() == found
    clock.advance(5 * SLICE_NS)
    assert (histogram.minute(), histogram.hour()) == (EMPTY, found)


def test_the_minute_moves_on_by_ten_seconds() -> None:
    clock = ManualClock()
    histogram = Histogram(clock)
    for second in range(300):
        histogram.record(second)
        told = histogram.minute()
        assert min(second + 1, 50) <= told.samples <= 61, f"50 to 60 s, at second {second}"
        oldest = second + 1 - told.samples
        assert near(told.p50, (second + oldest) // 2) and near(told.max, second), "the newest of them"
        clock.advance(NS_PER_S)
    clock.advance(60 * NS_PER_S)
    assert histogram.minute() == EMPTY


def test_the_hour_takes_what_the_minute_closes_and_forgets_by_ten_minutes() -> None:
    clock = ManualClock()
    histogram = Histogram(clock)
    for _ in range(9):
        histogram.record(100)
        assert histogram.hour() == EMPTY, "up to ten seconds late"
        clock.advance(NS_PER_S)
    clock.advance(NS_PER_S)
    assert histogram.hour().samples == 9
    for _ in range(359):
        histogram.record(7_000)
        histogram.minute()
        clock.advance(SLICE_NS)
        told = histogram.hour()
    assert (told.samples, histogram.minute().samples) == (359 - 59, 5), "the first ten minutes are forgotten"
    assert near(told.p50, 7_000) and near(told.max, 7_000)
    clock.advance(3600 * NS_PER_S)
    assert histogram.hour() == EMPTY


@given(st.lists(st.tuples(st.integers(0, 900), st.floats(0, 1e9)), max_size=60))
def test_no_latency_is_lost_or_counted_twice(steps: list[tuple[int, float]]) -> None:
    """Whatever the pauses: both windows hold between what their shortest and their longest span brought."""
    clock = ManualClock(monotonic_ns=0)
    histogram = Histogram(clock)
    at: list[int] = []
    for pause_s, us in steps:
        clock.advance(pause_s * NS_PER_S)
        histogram.minute()
        histogram.record(us)
        at.append(clock.monotonic_ns() // NS_PER_S)
        now_s = at[-1]
        assert sum(s > now_s - 50 for s in at) <= histogram.minute().samples <= sum(s > now_s - 60 for s in at)
        hour = histogram.hour().samples
        assert sum(now_s - 3000 < s <= now_s - 10 for s in at) <= hour <= sum(s > now_s - 3610 for s in at)


def test_a_burst_is_sorted_in_before_it_fills_the_memory() -> None:
    histogram = Histogram(ManualClock())
    for _ in range(FRESH_MAX * 3):
        histogram.record(5)
    assert len(histogram.fresh) < FRESH_MAX
    assert histogram.minute().samples == FRESH_MAX * 3


def test_spans_are_told_by_name_with_minute_and_hour() -> None:
    clock = ManualClock()
    spans = Spans(clock)
    assert spans.told() == {}
    spans.of("a_to_b").record(10)
    spans.of("b_to_c")
    assert spans.of("a_to_b") is spans.of("a_to_b")
    assert {name: (minute.samples, hour.samples) for name, (minute, hour) in spans.told().items()} == {
        "a_to_b": (1, 0),
        "b_to_c": (0, 0),
    }
    clock.advance(SLICE_NS)
    assert spans.told()["a_to_b"] == (spans.of("a_to_b").minute(), spans.of("a_to_b").hour())
    assert spans.told()["a_to_b"][1].samples == 1


def test_spans_are_worked_out_one_by_one() -> None:
    spans = Spans(ManualClock())
    for name in ("a_to_b", "b_to_c"):
        spans.of(name).record(10)
    telling = spans.tell()
    assert next(telling)[0] == "a_to_b"
    spans.of("b_to_c").record(10)
    assert [(name, minute.samples) for name, (minute, _) in telling] == [("b_to_c", 2)]


def test_what_is_recorded_right_after_a_long_stop_counts() -> None:
    clock = ManualClock()
    histogram = Histogram(clock)
    histogram.record(5)
    histogram.minute()
    clock.advance(7200 * NS_PER_S)  # the process was stopped, no heartbeat asked
    histogram.record(90_000_000)
    assert (histogram.minute().samples, near(histogram.minute().max, 90_000_000)) == (1, True)
