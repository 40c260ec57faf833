"""The fused loop makes the same Result as the event engine, compiled and as plain Python, however records are cut."""

from typing import Any

import numpy as np
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from backtest import compiled, events, fused
from backtest.compiled import Function
from backtest.result import Result
from backtest.sources import Source
from core.paths import ROOT
from core.settings import Settings
from tests.backtest_world import InMemory, assert_same
from tests.properties.test_backtest_events import FEES, HISTORY, settings_of, world
from tests.properties.test_reference_equals_trader import MARKETS, STEPS, TEXTS
from tests.reference.pipeline_side import records_of, start_of

LIMITS = st.fixed_dictionaries(
    {
        "MAX_DAILY_LOSS": st.sampled_from(["0", "0", "0", "1", "20"]),
        "MAX_DRAWDOWN_PCT": st.sampled_from(["0", "0", "0", "0.001", "0.1"]),
        "MAX_CONSECUTIVE_LOSSES": st.sampled_from(["0", "0", "0", "1", "3"]),
        "COOLDOWN_SECONDS": st.sampled_from(["0", "0", "0", "0.5", "30"]),
        "DAY_OFFSET_MINUTES": st.sampled_from(["0", "330"]),
        "TAKER_FEE_BPS": st.sampled_from(["", "", "-1", "40"]),
        "COST_GATE": st.sampled_from(["warn", "warn", "refuse"]),
        "SPREAD_BPS": st.sampled_from(["0", "0", "30"]),
    }
)
WORLDS = {
    "changed": TEXTS,
    "limits": LIMITS,
    "markets": st.lists(MARKETS, min_size=1, max_size=2),
    "steps": STEPS,
    "history": HISTORY,
    "fee": FEES,
    "live": st.booleans(),
}
SLOW = [HealthCheck.too_slow, HealthCheck.large_base_example]


def compiled_loop() -> Function:
    function, complaint = compiled.load("walk_chunk", ROOT / "var" / "cache")
    assert not complaint, complaint
    return function


def walked(source: Source, chosen: Settings, function: Function | None, **more: Any) -> Result:
    """A source through the fused loop with little room, so that it stops often."""
    run = fused.Run(chosen, function, connected=source.connected, bars=True, room=1, **more)
    start = None
    for chunk in source.chunks():
        if chunk.start is not start:
            start = chunk.start
            run.start(start)
        run.chunk(chunk.first, chunk.records)
    if start is None:
        run.start(source.start)
    return run.result(source.notes)


def compare(function: Function | None, drawn: dict[str, Any], chunk: int, rows: int) -> None:
    """One generated market through the fused loop, cut into chunks, and through the event engine."""
    maker = world(drawn["changed"], drawn["markets"], drawn["steps"], drawn["history"])
    chosen = settings_of(drawn["changed"] | drawn["limits"])
    stretch = start_of(maker.markets, drawn["fee"]), records_of(maker.records, maker.markets)
    connected = not drawn["live"]
    theirs = events.run(InMemory([stretch], connected=connected), chosen, bars=True)
    source = InMemory([stretch], connected=connected, chunk=chunk)
    assert_same(walked(source, chosen, function, rows=rows), theirs)
    event(f"decisions {min(len(theirs.decisions), 5)}, fills {min(len(theirs.fills), 5)}")
    for ghost in np.unique(theirs.decisions["ghost"]):
        event(f"ghost {ghost}")
    for reason in {*theirs.refusals, theirs.trading_reason}:
        event(reason)


@settings(max_examples=80, suppress_health_check=SLOW)
@given(st.fixed_dictionaries(WORLDS), st.sampled_from([1, 3, 50, 10_000]), st.sampled_from([1, 7, 1024]))
def test_compiled_it_is_the_event_engine(drawn: dict[str, Any], chunk: int, rows: int) -> None:
    compare(compiled_loop(), drawn, chunk, rows)


@settings(max_examples=30, suppress_health_check=SLOW)
@given(st.fixed_dictionaries(WORLDS), st.sampled_from([3, 10_000]), st.sampled_from([1, 1024]))
def test_as_plain_python_it_is_the_event_engine(drawn: dict[str, Any], chunk: int, rows: int) -> None:
    compare(None, drawn, chunk, rows)
