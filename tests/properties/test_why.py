"""Why and why not: what /api/why says of a minute is what the slow reference makes of the tape."""

import random
from pathlib import Path

import pytest

from tests.indicator_tools import T0
from tests.why_world import MINUTE_NS, PAIR, Seen, client, database, judged, session

QUESTIONS = 1_000


@pytest.mark.timeout(300)
def test_the_answers_for_a_thousand_random_minutes_equal_a_recomputation_from_the_tape(tmp_path: Path) -> None:
    rec = session(tmp_path)
    asked = client(rec, database(rec))
    expected = judged(rec)
    rng = random.Random(5)
    minutes = range(T0 // MINUTE_NS + 1, rec.ns // MINUTE_NS)
    rules: dict[str, int] = {}
    for start_ns in {rng.choice(minutes) * MINUTE_NS for _ in range(QUESTIONS)}:  # each is asked for once
        found = asked.get("/api/why", params={"at": start_ns // 1_000_000, "pair": PAIR}).json()
        seen = expected[start_ns]
        where = f"{start_ns // 1_000_000}: {found}"
        assert (found["source"], found["missing"], found["journal"]) == ("tape", [], True), where
        assert (found["trades"], found["refilled"]) == (seen.trades, seen.refilled), where
        assert {rule["rule"] for rule in found["rules"]} == seen.asked, where
        for rule in found["rules"]:
            rules[rule["rule"]] = rules.get(rule["rule"], 0) + 1
            assert rule["held"] == seen.held[rule["rule"]], where
            for place, condition in enumerate(rule["conditions"]):
                compare(condition, seen, (rule["rule"], place), where)
        assert found["sentence"]
    assert min(rules.get(name, 0) for name in ("mean_reversion", "crash_catch", "trailing_stop", "take_profit")) > 50
    rec.close()


def compare(condition: dict, seen: Seen, key: tuple[str, int], where: str) -> None:
    """The margin is the least of all trades, and the trade that is named has it."""
    margins = seen.margins[key]
    assert condition["trades"] == len(margins), where
    if not margins:
        assert condition["margin"] is None
        return
    assert condition["margin"] == pytest.approx(min(margins.values()), rel=1e-9, abs=1e-7), where
    assert condition["margin"] == pytest.approx(margins[condition["number"]], rel=1e-9, abs=1e-7), where
