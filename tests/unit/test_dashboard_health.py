"""/healthz as a table: what fails, and what is healthy though it looks idle."""

import pytest

from core.clock import ManualClock
from dashboard.health import checks
from dashboard.page import Page
from dashboard.state import STAGES
from tests.dashboard_world import SECOND_NS, beat, healthy, page, status


def failing(of: Page) -> list[str]:
    return [check.name for check in checks(of.state, of.clock.monotonic_ns()) if not check.ok]


def tell(of: Page, stage: str, **changes: object) -> None:
    of.state.fold_beat(beat(stage, **changes), of.clock.monotonic_ns(), of.clock.wall_ms())


def test_healthy_when_every_stage_was_heard() -> None:
    assert failing(healthy(page())) == []


def test_nothing_heard_yet_names_everything() -> None:
    assert failing(page()) == [*(f"stage:{name}" for name in STAGES), "market", "trader"]


@pytest.mark.parametrize("silent", STAGES)
def test_a_silent_stage_is_named(silent: str) -> None:
    clock = ManualClock()
    of = healthy(page(clock=clock))
    clock.advance(3 * SECOND_NS + 1)
    for stage in STAGES:
        if stage != silent:
            tell(of, stage)
    assert f"stage:{silent}" in failing(of)
    assert [name for name in failing(of) if name.startswith("stage:")] == [f"stage:{silent}"]


def test_any_message_is_a_sign_of_life() -> None:
    clock = ManualClock()
    of = healthy(page(clock=clock))
    clock.advance(2 * SECOND_NS)
    of.state.heard("storage", clock.monotonic_ns(), clock.wall_ms())
    clock.advance(2 * SECOND_NS)
    assert "stage:storage" not in failing(of)
    assert "stage:indicators" in failing(of)


@pytest.mark.parametrize(("age_ms", "ok"), [(0.0, True), (29_999.0, True), (30_000.0, False), (None, False)])
def test_the_market_needs_a_proof_of_life_within_stale_seconds(age_ms: float | None, ok: bool) -> None:
    of = healthy(page())
    tell(of, "feeder", facts={"market_age_ms": age_ms, "last_number": 50})
    assert ("market" not in failing(of)) is ok


def follow(clock: ManualClock, of: Page, feeder: list[int], trader: list[int | None]) -> None:
    """One heartbeat of both a second."""
    for last, record in zip(feeder, trader, strict=True):
        tell(of, "feeder", last={"trade/0/": (7, last)}, facts={"market_age_ms": 1.0, "last_number": last})
        tell(of, "trader", facts={"record": record})
        clock.advance(SECOND_NS)


@pytest.mark.parametrize(
    ("feeder", "trader", "ok"),
    [
        pytest.param([100, 100, 100, 100], [100, 100, 100, 100], True, id="a quiet market"),
        pytest.param([100, 200, 300, 400], [100, 200, 300, 400], True, id="keeps up"),
        pytest.param([100, 200, 300, 400], [40, 140, 240, 340], True, id="a heartbeat behind"),
        pytest.param([100, 200, 300, 400], [100, 100, 100, 199], False, id="more than two seconds behind"),
        pytest.param([100, 200, 300, 400], [100, 100, 100, 200], True, id="just two seconds behind"),
        pytest.param([-1, -1, -1, -1], [None, None, None, None], True, id="nothing on the tape yet"),
        pytest.param([100, 200, 300, 400], [None, None, None, None], False, id="the trader tells nothing"),
    ],
)
def test_the_trader_must_be_within_two_seconds_of_the_feeder(
    feeder: list[int], trader: list[int | None], ok: bool
) -> None:
    clock = ManualClock()
    of = page(clock=clock)
    follow(clock, of, feeder, trader)
    assert ("trader" not in failing(of)) is ok


def test_a_new_tape_begins_a_new_comparison() -> None:
    clock = ManualClock()
    of = page(clock=clock)
    follow(clock, of, [900, 1000, 1100], [900, 1000, 1100])
    tell(of, "feeder", last={"trade/0/": (8, 3)}, facts={"market_age_ms": 1.0, "last_number": 3})
    of.state.fold_status(status(record=3), clock.monotonic_ns())
    assert "trader" not in failing(of)


@pytest.mark.parametrize("changes", [{"mode": "halted"}, {"status": "warming_up"}, {"feed": "degraded"}])
def test_halted_and_warming_up_are_healthy(changes: dict[str, str]) -> None:
    of = healthy(page())
    of.state.fold_status(status(**changes), of.clock.monotonic_ns())
    assert failing(of) == []


def test_every_failing_check_says_what_was_found() -> None:
    clock = ManualClock()
    of = healthy(page(clock=clock))
    clock.advance(40 * SECOND_NS)
    texts = {check.name: check.text for check in checks(of.state, clock.monotonic_ns())}
    assert "40.0 s ago" in texts["stage:trader"] and "var/log/trader.log" in texts["stage:trader"]
    assert "STALE_SECONDS=30" in texts["market"] and "40.1 s" in texts["market"]
