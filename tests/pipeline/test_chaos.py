"""A short kill round: a busy bot disturbed at random, then all that it left judged, as by `make chaos`."""

from collections.abc import Callable

import pytest

from tests.chaos.rounds import SETTINGS, Rounds
from tests.chaos.schedule import schedule
from tests.pipeline.pipeline import Pipeline

SEED, DISTURBANCES = 6, 12


@pytest.mark.timeout(400)
def test_a_short_round_of_kills_and_stops(make_pipeline: Callable[..., Pipeline]) -> None:
    rounds = Rounds(make_pipeline(**SETTINGS), print)
    try:
        rounds.play(schedule(SEED, DISTURBANCES))
        findings = rounds.judge()
    finally:
        rounds.close()
    print(rounds.summary())
    failed = [line for found in findings if not found.ok for line in found.lines()]
    assert not failed, "\n".join(failed)
    assert rounds.done.total() == DISTURBANCES
    assert rounds.done.keys() >= {"kill", "term", "stop", "supervisord"}, "the seed brings one of each"
