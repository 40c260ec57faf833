"""Stages that hang and stages that keep dying, in the real pipeline: brought back, told, and no entries meanwhile."""

import os
import signal
from collections.abc import Callable

import pytest

from bus.messages import SpanEvent
from core.clock import LiveClock
from core.lock import read_record
from tests.pipeline import audit
from tests.pipeline.pipeline import Pipeline

BACK_SECONDS = 60.0  # 5 to 6 s of silence, the start, and a busy machine


def stop_and_await(bot: Pipeline, *stages: str, healthy: bool = True) -> dict[str, int]:
    """Stops these with SIGSTOP until others have taken their places; which processes those were."""
    stopped = {stage: bot.kill(stage, signal.SIGSTOP) for stage in stages}
    for stage, old in stopped.items():
        bot.wait(lambda stage=stage, old=old: bot.pid(stage) not in (None, old), f"{stage} is back", BACK_SECONDS)
    if healthy:
        bot.wait_healthy(BACK_SECONDS)
    return stopped


def told(bot: Pipeline, stage: str, pid: int) -> list[tuple[str, str]]:
    """Who recorded that this process hung, and at which level."""
    text = f"{stage} (process {pid}) runs but was not heard for %: killed%"
    return bot.rows("SELECT stage, level FROM events WHERE message LIKE ?", text)


@pytest.mark.timeout(300)
def test_whoever_hangs_is_killed_and_comes_back(pipeline: Pipeline) -> None:
    bot = pipeline
    bot.start()
    bot.wait(lambda: bot.rows("SELECT * FROM events WHERE stage = 'watchdog' AND level = 'start'"), "it watches")
    before = bot.pids()
    hung = stop_and_await(bot, "feeder", "indicators", "trader", "storage")
    hung |= stop_and_await(bot, "dashboard")
    for stage in hung:
        bot.wait(lambda stage=stage: told(bot, stage, hung[stage]), f"the end of {stage} is recorded")
        assert told(bot, stage, hung[stage]) == [("watchdog", "error")]

    # either of two sees to the watchdog, the other one goes on where it was stopped
    for one, other in (("storage", "dashboard"), ("dashboard", "storage")):
        paused = bot.kill(one, signal.SIGSTOP)
        old = stop_and_await(bot, "watchdog", healthy=False)["watchdog"]
        os.kill(paused, signal.SIGCONT)
        bot.wait(lambda old=old: told(bot, "watchdog", old), "the end of the watchdog is recorded")
        assert told(bot, "watchdog", old) == [(other, "error")]
        bot.wait_healthy(BACK_SECONDS)
        assert bot.pid(one) == paused
    assert bot.pid("sandbox") == before["sandbox"]
    assert bot.rows("SELECT * FROM gaps") == []

    # one of us is enough
    watchdog = bot.pid("watchdog")
    second = bot.tool("watchdog")
    assert second.returncode == 2
    assert f"process {watchdog}" in second.stdout
    assert bot.pid("watchdog") == watchdog


@pytest.mark.timeout(300)
def test_a_stage_that_keeps_dying_is_slowed_and_told_and_entries_wait(make_pipeline: Callable[..., Pipeline]) -> None:
    bot = make_pipeline()
    bot.start()
    while quick_deaths(bot, "storage") < 3:  # the first life is no short one where the start of all took 10 s
        killed = bot.kill("storage")
        bot.wait(lambda killed=killed: comes(bot, "storage", killed), "storage has begun, or waits")
    bot.wait(lambda: "died 3 times within 10 s of its start: waits 4 s" in bot.log("storage"), "it is slowed")

    def spans() -> list[SpanEvent]:
        found = audit.events_of(audit.journal(bot.book.resolve()), SpanEvent)
        return [span for span in found if span.why == "crash_loop_storage"]

    bot.wait(lambda: [span.last for span in spans()] == [-1], "no entries", BACK_SECONDS)
    assert "storage died 3 times in a row within 10 s of its start (it was killed each time)" in bot.log("watchdog")
    bot.wait(lambda: len(spans()) == 2, "entries again", BACK_SECONDS)
    begin, end = spans()
    assert (begin.kind, end.kind) == ("blocked", "blocked")
    assert end.first == begin.first and end.last >= end.first
    bot.wait(lambda: len(alarms(bot)) == 2, "both are recorded")
    assert alarms(bot) == ["error", "info"]


def quick_deaths(bot: Pipeline, stage: str) -> int:
    """Times in a row that it died within 10 s of its start."""
    record = read_record(bot.run_dir / f"{stage}.json")
    return 0 if record is None else record.quick_deaths


def comes(bot: Pipeline, stage: str, killed: int) -> bool:
    """Another process than the one that was killed has begun, or waits after quick deaths."""
    return bot.pid(stage) != killed and (works(bot, stage) or quick_deaths(bot, stage) >= 3)


def works(bot: Pipeline, stage: str) -> bool:
    """It has begun, and does not wait after quick deaths any more."""
    record = read_record(bot.run_dir / f"{stage}.json")
    return record is not None and record.pid == bot.pid(stage) and record.up_ms <= LiveClock().wall_ms()


def alarms(bot: Pipeline) -> list[str]:
    query = "SELECT level FROM events WHERE stage = 'watchdog' AND message LIKE 'storage %' ORDER BY id"
    return [level for (level,) in bot.rows(query)]
