"""A short round of kills with real orders at the sandbox, under a venue with bad days (longer: `make chaos LIVE=1`)."""

from collections.abc import Callable

import pytest

from tests.chaos.live_rounds import SETTINGS, LiveRounds
from tests.pipeline.pipeline import Pipeline

KILLS = 8


@pytest.mark.timeout(600)
@pytest.mark.parametrize("protocol", ["coindcx", "binance"])
def test_a_trader_killed_amid_real_orders_doubles_none_and_loses_none(
    make_pipeline: Callable[..., Pipeline], protocol: str
) -> None:
    rounds = LiveRounds(make_pipeline(**SETTINGS, SANDBOX_PROTOCOL=protocol), print, seed=7)
    rounds.play(KILLS)
    findings = rounds.judge()
    print(rounds.summary())
    for found in findings:
        print("\n".join(found.lines()))
    assert all(found.ok for found in findings)
