"""The ladder to real money: each rule of `trader.ladder` has a test of its name."""

import msgspec
import pytest

from core.settings import Settings
from core.settings_load import from_texts
from trader.ladder import (
    DAY_MS,
    LONGEST_STEP_MS,
    MINUTE_MS,
    Ladder,
    LiveFacts,
    Mark,
    Rungs,
    agreed,
    closed,
    diverged,
    hours,
    may_go_live,
    overridden,
    rungs_of,
    simulated_ms,
    stake,
)

UNIT = 100_000_000


def rungs(venue: str = "binance", **texts: str) -> Rungs:
    return rungs_of(from_texts({"VENUE": venue, **texts}))


def traded(ladder: Ladder, of: Rungs, trips: int) -> Ladder:
    """So many round trips, each reconciled by itself."""
    for _ in range(trips):
        ladder = agreed(closed(ladder), of)
    return ladder


# --- the stake ---


@pytest.mark.parametrize(
    ("texts", "first"),
    [
        ({}, 1_000),
        ({"TRADE_CAPITAL": "500000"}, 50_000),
        ({"LIVE_START_CAPITAL": "50"}, 50),
        ({"LIVE_START_CAPITAL": "50000"}, 10_000),
        ({"VENUE": "sandbox"}, 10_000),
        ({"VENUE": "sandbox", "LIVE_START_CAPITAL": "300"}, 300),
    ],
    ids=["a tenth", "a tenth of more", "as set", "never more than TRADE_CAPITAL", "the sandbox", "the sandbox, as set"],
)
def test_first_rung(texts: dict[str, str], first: int) -> None:
    found = rungs(texts.pop("VENUE", "binance"), **texts)
    assert stake(Ladder(), found) == found.first == first * UNIT


def test_the_least_capital_has_a_first_rung() -> None:
    assert stake(Ladder(), rungs(TRADE_CAPITAL="0.00000001")) == 1


def test_a_trade_counts_once_it_is_reconciled() -> None:
    of = rungs(LIVE_GROW_TRADES="3")
    ladder = Ladder()
    for _ in range(50):
        ladder = closed(ladder)
    assert stake(ladder, of) == of.first, "nobody has looked at them yet"
    assert agreed(Ladder(closed=2), of) == Ladder(agreed=2)
    assert stake(agreed(Ladder(closed=3), of), of) == 2 * of.first
    for _ in range(50):
        assert agreed(Ladder(), of) == Ladder(), "a reconciliation without trades counts nothing"


def test_a_rung() -> None:
    of = rungs(LIVE_GROW_TRADES="20")
    steps = [stake(traded(Ladder(), of, trips), of) // UNIT for trips in (0, 19, 20, 39, 40, 59, 60, 79, 80, 500)]
    assert steps == [1_000, 1_000, 2_000, 2_000, 4_000, 4_000, 8_000, 8_000, 10_000, 10_000]


def test_many_trades_in_one_reconciliation_are_one_rung() -> None:
    of = rungs(LIVE_GROW_TRADES="2")
    assert agreed(Ladder(closed=100), of) == Ladder(reached=2 * of.first)


def test_no_growth() -> None:
    of = rungs(LIVE_GROW_TRADES="0")
    assert stake(traded(Ladder(), of, 1_000), of) == of.first


def test_a_divergence() -> None:
    of = rungs(LIVE_GROW_TRADES="2")
    high = closed(traded(Ladder(), of, 5))
    assert stake(high, of) == 4 * of.first and high.agreed == 1 and high.closed == 1
    assert diverged() == Ladder() and stake(diverged(), of) == of.first


def test_other_settings() -> None:
    of = rungs(LIVE_GROW_TRADES="1")
    full = traded(Ladder(), of, 4)
    assert stake(full, of) == of.top
    lower = of._replace(top=of.top // 5)
    assert stake(full, lower) == lower.top, "at once"
    assert stake(traded(full, lower, 1), of) == lower.top, "what was given up is climbed to again"
    higher = of._replace(top=of.top * 100)
    assert stake(full, higher) == of.top and stake(traded(full, higher, 1), higher) == 2 * of.top
    assert stake(Ladder(reached=of.first), of._replace(first=3 * of.first)) == 3 * of.first, "it is meant"


def test_the_ladder_is_journalled() -> None:
    ladder = Ladder(5, 6, 7)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(ladder), type=Ladder) == ladder


# --- a day of simulation ---


def minutes(first: int, count: int) -> list[Mark]:
    return [Mark((first + place) * MINUTE_MS) for place in range(count)]


SIMULATED = {
    "nothing": ([], 0),
    "one row": (minutes(0, 1), 0),
    "an hour": (minutes(0, 61), 60),
    "a day": (minutes(0, 1_441), 1_440),
    "two runs with a day between them": ([*minutes(0, 11), Mark(None), *minutes(1_440, 11)], 20),
    "a run that was away without a start on record": ([*minutes(0, 11), *minutes(1_440, 11)], 20),
    "a restart a minute later": ([*minutes(0, 11), Mark(None), *minutes(11, 11)], 20),
    "a quiet market": ([Mark(0), Mark(LONGEST_STEP_MS)], 5),
    "a market that stood": ([Mark(0), Mark(LONGEST_STEP_MS + 1)], 0),
    "rows for fills within a minute": ([Mark(0), Mark(1), Mark(1), Mark(MINUTE_MS)], 1),
    "time that went back": ([Mark(MINUTE_MS), Mark(0), Mark(MINUTE_MS)], 1),
}


@pytest.mark.parametrize(("marks", "told"), SIMULATED.values(), ids=SIMULATED)
def test_only_time_that_was_followed_is_simulated(marks: list[Mark], told: int) -> None:
    assert simulated_ms(marks) == told * MINUTE_MS


# --- who may go live ---

NOW_MS = 1_795_000_000_000


def live(**texts: str) -> Settings:
    """Settings for real orders, also such as are refused before anybody asks."""
    settings = from_texts({"VENUE": "binance", "LIVE_CONFIRM": "yes", **texts})
    return msgspec.structs.replace(settings, simulation_mode=False)


def facts(settings: Settings | None = None, **more: object) -> LiveFacts:
    """Everything in order but for what is given."""
    base = LiveFacts(settings or live(), "abc", NOW_MS, NOW_MS - 60_000, "abc", DAY_MS)
    return base._replace(**more)  # type: ignore[arg-type]


REASONS = {
    "the two keys: the first": (facts(from_texts({"VENUE": "binance"})), "SIMULATION_MODE=false"),
    "the two keys: the second": (facts(live(LIVE_CONFIRM="no")), "LIVE_CONFIRM=yes"),
    "the doctor: never": (facts(passed_ms=None), "has not passed yet"),
    "the doctor: other settings": (facts(passed_hash="abd"), "other settings or keys"),
    "the doctor: too long ago": (facts(passed_ms=NOW_MS - DAY_MS - 3_600_000), "passed 25.0 h ago"),
    "the doctor: tomorrow": (facts(passed_ms=NOW_MS + 1), "yet to come"),
    "the day: none": (facts(simulated_ms=0), "0.0 h of simulation with VENUE=binance"),
    "the day: nearly": (facts(simulated_ms=DAY_MS - 1), "23.9 h of simulation"),
}


@pytest.mark.parametrize(("found", "words"), REASONS.values(), ids=REASONS)
def test_each_thing_that_is_missing_is_named_with_the_next_step(found: LiveFacts, words: str) -> None:
    (reason,) = may_go_live(found)
    assert words in reason


def test_all_that_is_missing_is_named_at_once() -> None:
    found = facts(live(LIVE_CONFIRM="no"), passed_ms=None, simulated_ms=0)
    assert len(may_go_live(found)) == 3


def test_who_has_everything_may_go_live() -> None:
    assert may_go_live(facts()) == [] and overridden(facts()) == ""
    assert may_go_live(facts(passed_ms=NOW_MS - DAY_MS)) == []


def test_the_day_may_be_skipped_and_that_is_to_be_logged() -> None:
    found = facts(live(LIVE_SKIP_SIM_DAY="yes"), simulated_ms=5_400_000)
    assert may_go_live(found) == []
    assert "LIVE_SKIP_SIM_DAY=yes" in overridden(found) and "1.5 h" in overridden(found)
    assert overridden(found._replace(simulated_ms=DAY_MS)) == "", "nothing was skipped"
    assert may_go_live(found._replace(passed_ms=None)), "the doctor cannot be skipped"


def test_the_sandbox() -> None:
    sandbox = live(VENUE="sandbox", LIVE_CONFIRM="no")
    nothing = facts(sandbox, passed_ms=None, simulated_ms=0)
    assert may_go_live(nothing) == [] and overridden(nothing) == ""
    assert len(may_go_live(facts(from_texts({})))) == 1


def test_hours_are_rounded_down() -> None:
    assert [hours(ms) for ms in (0, DAY_MS - 1, DAY_MS)] == ["0.0 h", "23.9 h", "24.0 h"]
