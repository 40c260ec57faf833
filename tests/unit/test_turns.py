"""Which worker gets which test, when several run."""

import pytest

from tests.turns import LANES, ONE_BY_ONE, ONE_UNIT, next_unit, place_of, unit_of

WATCHDOG = "tests/pipeline/test_watchdog.py::test_whoever_hangs"
NEWCOMER = "tests/pipeline/test_newcomer.py::test_it"
DAY = "tests/pipeline/test_recorded_day.py::test_a_day"
STAND_IN = "tests/pipeline/test_run.py::test_a_second_run_says_so"
SOCKETS = "tests/bus/test_bus.py::test_a_hole"
PURE = "tests/unit/test_money.py::test_rounding"
ROOT_TEST = "tests/test_boundaries.py::test_it"


@pytest.mark.parametrize(
    ("unit", "lane"),
    [
        (WATCHDOG, "bots"),
        (NEWCOMER, "patient"),
        (DAY, "patient"),
        (STAND_IN, "waits"),
        (SOCKETS, "waits"),
        (PURE, "works"),
        (ROOT_TEST, "works"),
    ],
)
def test_what_nobody_names_has_the_lane_of_its_folder(unit: str, lane: str) -> None:
    assert place_of(unit)[0] == lane


def test_every_name_is_one_of_this_folder(request: pytest.FixtureRequest) -> None:
    for name in (*ONE_UNIT, *ONE_BY_ONE, *(name for names in LANES.values() for name in names)):
        assert (request.config.rootpath / name).exists(), name


@pytest.mark.parametrize(
    ("worker", "order"),
    [
        (0, [WATCHDOG, DAY, NEWCOMER, STAND_IN, SOCKETS, PURE]),
        (1, [PURE, STAND_IN, SOCKETS, DAY, NEWCOMER, WATCHDOG]),
        (2, [STAND_IN, SOCKETS, PURE, DAY, NEWCOMER, WATCHDOG]),
        (3, [DAY, NEWCOMER, STAND_IN, SOCKETS, PURE, WATCHDOG]),
        (4, [DAY, NEWCOMER, STAND_IN, SOCKETS, PURE, WATCHDOG]),
    ],
)
def test_each_worker_has_a_lane_and_helps_with_the_others(worker: int, order: list[str]) -> None:
    waiting = [NEWCOMER, SOCKETS, WATCHDOG, PURE, STAND_IN, DAY]
    seen = []
    while waiting:
        seen.append(next_unit(waiting, worker))
        waiting.remove(seen[-1])
    assert seen == order


def test_tests_that_share_what_takes_long_are_one_unit() -> None:
    assert unit_of("tests/browser/test_page.py::test_it_moves") == "tests/browser/"
    assert unit_of("tests/pipeline/test_upgrade.py::test_it_goes_on") == "tests/pipeline/test_upgrade.py"
    assert unit_of(PURE) == "tests/unit/test_money.py"


def test_tests_that_take_long_are_units_by_themselves() -> None:
    assert unit_of(WATCHDOG) == WATCHDOG
    fused = "tests/unit/test_backtest_fused.py::test_recorded_markets[a::b]"
    assert unit_of(fused) == fused
