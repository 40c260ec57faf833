"""Who does not keep up says so once, and once that it does again."""

from core.clock import NS_PER_S
from indicators.behind import Behind, Told

S = NS_PER_S


def test_what_the_feeder_had_two_seconds_ago_must_be_folded() -> None:
    behind = Behind()
    told: list[Told | None] = []
    for second in range(10):  # the feeder is 1,000 records a second faster than we
        behind.heard(3_000 * second, 0, second * S)
        told.append(behind.check(2_000 * second, second * S))
    said = [(second, item) for second, item in enumerate(told) if item is not None]
    assert len(said) == 1 and said[0][0] == 7
    level, text = said[0][1]
    assert level == "warn" and "behind the feeder by 7000 records" in text
    behind.heard(30_000, 0, 11 * S)
    assert behind.check(29_999, 11 * S) is None
    assert behind.check(30_000, 12 * S) == ("info", "indicators have caught up with the feeder")
    assert behind.check(30_000, 20 * S) is None


def test_one_that_is_a_second_late_keeps_up() -> None:
    behind = Behind()
    for second in range(20):
        behind.heard(1_000 * second, NS_PER_S, second * S)
        assert behind.check(1_000 * (second - 1), second * S) is None


def test_heartbeats_that_wait_in_line_show_it_though_no_number_is_missing() -> None:
    behind = Behind()
    behind.heard(5, 3 * S, 0)
    assert behind.check(5, 0) is None
    behind.heard(6, 4 * S, S)
    told = behind.check(6, S)
    assert told is not None and "behind the feeder by 4.0 s" in told[1]
    behind.heard(9, 0, 2 * S)
    assert behind.check(9, 2 * S) == ("info", "indicators have caught up with the feeder")


def test_a_clock_that_is_set_is_no_delay() -> None:
    behind = Behind()
    behind.heard(5, 90 * S, 0)  # the clock was set between its sending and its arrival
    assert behind.check(5, 0) is None
    behind.heard(6, 0, S)
    assert behind.check(6, S) is None
    behind.heard(7, 90 * S, 2 * S)
    assert behind.check(7, 2 * S) is None


def test_another_tape_has_other_numbers() -> None:
    behind = Behind()
    behind.heard(1_000, 0, 0)
    behind.begin()
    assert behind.check(5, 9 * S) is None
