"""Parity of a live session on the sandbox in which every stage is restarted once, judged as it runs and at its end."""

import time
from collections.abc import Callable

import pytest

from backtest import command_parity
from core.paths import STAGES
from tests.pipeline import audit
from tests.pipeline.lively import LIVELY
from tests.pipeline.pipeline import Pipeline


def exits(bot: Pipeline) -> int:
    return int(bot.rows("SELECT count(*) FROM trades WHERE action = 'sell'")[0][0])


def trades_on(bot: Pipeline, more: int = 1) -> None:
    done = exits(bot)
    bot.wait(lambda: exits(bot) >= done + more, f"it trades on: {more} exits", seconds=120)


@pytest.mark.timeout(600)
def test_a_live_session_with_every_stage_restarted_is_equal_to_its_replay(
    make_pipeline: Callable[..., Pipeline],
) -> None:
    bot = make_pipeline(**LIVELY)
    bot.start()
    bot.wait(lambda: bot.rows("SELECT * FROM trades"), "a first entry")
    for stage in ("sandbox", *STAGES, "watchdog"):
        restarted = bot.up("restart", stage)
        assert restarted.returncode == 0, restarted.stdout + restarted.stderr
        trades_on(bot)
    running = audit.assert_parity(bot.book.resolve())
    for command in ("pause", "resume", "flatten", "resume"):
        assert bot.tool("tools.control", command).returncode == 0
        time.sleep(1)
    # Other rules, another stop: everybody warms up anew with them.
    bot.settings |= {"RSI_BUY": "49.1", "TRAILING_STOP_PCT": "0.0009", "BB_PERIOD": "8"}
    restarted = bot.up("restart")
    assert restarted.returncode == 0, restarted.stdout + restarted.stderr
    trades_on(bot, 2)
    bot.stop()

    verdict = audit.assert_parity(bot.book.resolve())
    assert verdict.judged.starts >= 3
    assert verdict.judged.commands == 4
    assert verdict.judged.records > running.judged.records
    assert verdict.judged.decisions >= 10
    said = bot.tool("backtest", "parity")
    assert (said.returncode, said.stderr) == (0, ""), said.stdout + said.stderr
    assert said.stdout == command_parity.text(verdict) + "\n"
