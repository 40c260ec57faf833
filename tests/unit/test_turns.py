"""Which worker gets which test, when several run."""

import pytest

from tests.turns import BOTS, LANES, ONE_UNIT, WAITS, WORKS, next_unit, place_of, unit_of

KILLS = "tests/pipeline/test_kills.py::test_each_stage"
WATCHDOG = "tests/pipeline/test_watchdog.py::test_whoever_hangs"
NEWCOMER = "tests/pipeline/test_newcomer.py::test_it"
STAND_IN = "tests/pipeline/test_run.py::test_a_second_run_says_so"
SOCKETS = "tests/bus/test_bus.py::test_a_hole"
PURE = "tests/unit/test_money.py::test_rounding"


@pytest.mark.parametrize(
    ("unit", "lane"),
    [(KILLS, "bots"), (NEWCOMER, "bots"), (STAND_IN, "waits"), (SOCKETS, "waits"), (PURE, "works")],
)
def test_what_nobody_names_has_the_lane_of_its_folder(unit: str, lane: str) -> None:
    assert place_of(unit)[0] == lane


def test_every_name_is_one_of_this_folder(request: pytest.FixtureRequest) -> None:
    for name in (*BOTS, *WAITS, *WORKS, *ONE_UNIT):
        assert (request.config.rootpath / name).exists(), name


@pytest.mark.parametrize(
    ("worker", "order"),
    [
        (0, [WATCHDOG, NEWCOMER, KILLS, PURE, STAND_IN, SOCKETS]),
        (1, [PURE, STAND_IN, SOCKETS, WATCHDOG, NEWCOMER, KILLS]),
        (2, [STAND_IN, SOCKETS, PURE, WATCHDOG, NEWCOMER, KILLS]),
    ],
)
def test_each_worker_has_a_lane_and_helps_with_bots_last(worker: int, order: list[str]) -> None:
    waiting = [KILLS, SOCKETS, WATCHDOG, PURE, STAND_IN, NEWCOMER]
    seen = []
    while waiting:
        seen.append(next_unit(waiting, worker))
        waiting.remove(seen[-1])
    assert seen == order


def test_tests_that_share_what_takes_long_are_one_unit() -> None:
    assert unit_of("tests/browser/test_page.py::test_it_moves") == "tests/browser/"
    assert unit_of(PURE) == PURE
    assert len(LANES) == 3
