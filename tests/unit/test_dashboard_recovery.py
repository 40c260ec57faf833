"""What comparisons of journal and venue came to: a start's report, what came after it, whether they agree now."""

from typing import Any

import pytest

from bus.messages import At, CheckedEvent, ExternalEvent
from dashboard.recovery import KEPT, LATER, Recovery
from storage.batch import Batch
from storage.migrations import migrate
from storage.queries import History
from storage.writer import Writer

PAIR = "B-BTC_USDT"
AWAY = "not agreed: balances: no answer in time"
INTENT = "exit bot1 of B-BTC_USDT"


def checked(
    number: int, *lines: str, at_start: bool = True, agreed: bool = True, before: str = "0.01", after: str = "0.01"
) -> CheckedEvent:
    held = [{PAIR: amount} if amount != "0" else {} for amount in (before, after)]
    return CheckedEvent(At(1, number, 5), at_start, agreed, list(lines), *held, number * 1_000)


def external(number: int, base: str = "0", quote: str = "0", why: str = "sold or moved outside the bot") -> Any:
    return ExternalEvent(At(1, number, number * 1_000), PAIR if base != "0" else "", base, quote, why)


def told(*events: CheckedEvent | ExternalEvent) -> dict[str, Any]:
    """What is shown after these, heard live."""
    found = Recovery()
    for event in events:
        fold(found, event)
    return found.told()


def fold(found: Recovery, event: CheckedEvent | ExternalEvent) -> None:
    if isinstance(event, CheckedEvent):
        found.checked(event.at.record, event)
    else:
        found.unexplained(event.at.record, event)


def test_nothing_is_known_before_the_first_comparison() -> None:
    assert told() == {
        "agreed": None,
        "since_ms": None,
        "at_start": True,
        "why": "",
        "number": 0,
        "start": None,
        "later": [],
    }


def test_a_start_that_agrees_at_once() -> None:
    found = told(checked(1, "held before: 0.01 of X", f"{INTENT}: unknown before, filled now", after="0"))
    assert (found["agreed"], found["since_ms"], found["why"], found["later"]) == (True, 1_000, "", [])
    assert found["start"] == {
        "time_ms": 1_000,
        "ended_ms": 1_000,
        "comparisons": 1,
        "agreed": True,
        "report": [f"{INTENT}: unknown before, filled now"],
        "before": {PAIR: "0.01"},
        "after": {},
    }


def test_all_comparisons_of_a_start_are_one_report_with_the_newest_word_about_an_order() -> None:
    found = told(
        checked(1, f"{INTENT}: submitting before, unknown now", "exit bot1: 0.002 filled", AWAY, agreed=False),
        checked(2, f"{INTENT}: submitting before, filled now", before="0.008", after="0.007"),
    )
    start = found["start"]
    assert start["report"] == [f"{INTENT}: submitting before, filled now", "exit bot1: 0.002 filled"]
    assert (start["before"], start["after"]) == ({PAIR: "0.01"}, {PAIR: "0.007"})
    assert (start["time_ms"], start["ended_ms"], start["comparisons"], start["agreed"]) == (1_000, 2_000, 2, True)


def test_a_start_that_does_not_agree_says_why_and_since_when() -> None:
    found = told(checked(1), checked(2, AWAY, agreed=False), checked(3, AWAY, agreed=False))
    assert (found["agreed"], found["since_ms"], found["at_start"]) == (False, 2_000, True)
    assert found["why"] == "balances: no answer in time"
    assert found["start"]["report"] == [AWAY]


def test_another_start_is_another_report() -> None:
    found = told(checked(1, "first"), checked(2, "meanwhile", at_start=False), checked(3, "second"))
    assert (found["start"]["report"], found["later"]) == (["second"], [])
    assert found["since_ms"] == 3_000, "of what was before a start nobody knows"


def test_what_no_order_explains_stands_with_the_comparison_that_found_it() -> None:
    found = told(
        external(1, quote="-12.5", why="the venue's balance"),
        checked(2),
        external(3, base="0.004"),
        checked(4, f"{PAIR}: 0.004 gone", at_start=False),
        external(5, why="filled for order x, which is not known any more"),
    )
    assert found["start"]["report"] == [
        "the wallet is -12.5 off the journal and follows the venue: the venue's balance"
    ]
    assert found["later"] == [
        {
            "time_ms": 3_000,
            "agreed": None,
            "report": [f"{PAIR}: 0.004 of the base coin is gone: sold or moved outside the bot"],
        },
        {"time_ms": 4_000, "agreed": True, "report": [f"{PAIR}: 0.004 gone"]},
        {"time_ms": 5_000, "agreed": None, "report": ["filled for order x, which is not known any more"]},
    ]


def test_after_a_start_of_the_trader_nothing_is_known_to_agree() -> None:
    found = Recovery()
    fold(found, checked(1))
    found.began(5, new=False)
    assert (found.now()["agreed"], found.now()["number"]) == (None, 5)
    fold(found, checked(6))
    assert (found.now()["agreed"], found.now()["number"]) == (True, 6)


def test_another_journal_has_other_comparisons() -> None:
    found = Recovery()
    fold(found, checked(100, "of the old one"))
    found.began(1, new=True)
    fold(found, checked(2, "of the new one"))
    assert found.told()["start"]["report"] == ["of the new one"]


def test_it_is_bounded() -> None:
    found = Recovery()
    for number in range(1, KEPT + 50):
        fold(found, checked(number, AWAY, at_start=False, agreed=False))
    assert len(found._known) == KEPT
    assert found.told()["later"][0]["time_ms"] == (KEPT + 50 - LATER) * 1_000


EVENTS = (
    external(1, quote="-12.5", why="the venue's balance"),
    checked(2, f"{INTENT}: submitting before, unknown now", AWAY, agreed=False),
    checked(3, f"{INTENT}: submitting before, filled now", after="0"),
    external(4, base="0.004"),
    checked(5, "found", at_start=False, agreed=False),
)


@pytest.mark.parametrize("live_from", range(len(EVENTS) + 1))
def test_from_the_database_live_or_both_it_is_the_same(tmp_path: Any, live_from: int) -> None:
    writer = Writer(tmp_path / "bot_data.db")
    migrate(writer.engine, writer.database, 1)
    batch = Batch()
    for event in EVENTS:
        batch.add_entry(1, event.at.record, event)
    writer.write(batch)
    writer.close()
    found = Recovery()
    for row in History(writer.database).checks(1_000):
        found.fold_row(row)
    for event in EVENTS[live_from:]:
        fold(found, event)
    assert found.told() == told(*EVENTS)
