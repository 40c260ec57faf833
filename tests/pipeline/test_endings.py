"""The real stages: a closed terminal, orphans, ON_SHUTDOWN, and the commands to a running trader."""

import os
import pty
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from bus.messages import StartedEvent
from core import paths
from tests.pipeline import audit
from tests.pipeline.pipeline import Pipeline

# Enters as soon as it may: the RSI is nearly always below 99 and the price often below the middle band.
EAGER = {"RSI_BUY": "99", "RSI_CRASH": "98", "RSI_SELL": "99.5", "TRAILING_STOP_PCT": "0.2"}


def in_position(bot: Pipeline) -> bool:
    status, stats = bot.get("/api/stats")
    return status == 200 and stats["status"] == "in_position"


def sells(bot: Pipeline) -> list[str]:
    """The reasons of all completed exits."""
    with closing(sqlite3.connect(f"file:{bot.book / 'bot_data.db'}?mode=ro", uri=True, timeout=10)) as file:
        return [reason for (reason,) in file.execute("SELECT reason FROM trades WHERE profit IS NOT NULL ORDER BY id")]


RUN = [".venv/bin/python", "-m", "tools.up", "run"]
# A session's leader that is told of the closed terminal and only waits, as `make` does in `ssh -t HOST make run`.
WAITS = ["/bin/sh", "-c", f"trap : HUP; {' '.join(RUN)}; true"]


@pytest.mark.parametrize("command", [RUN, WAITS], ids=["told", "behind a leader that only waits"])
def test_a_closed_terminal_and_the_next_start(pipeline: Pipeline, command: list[str]) -> None:
    pid, terminal = pty.fork()
    if pid == 0:  # in the child: nothing but exec
        os.chdir(pipeline.root)
        os.execve(command[0], command, pipeline.environment)
    said = b""
    while b"Ctrl-C stops it" not in said:
        said += os.read(terminal, 1000)
    before = time.monotonic()
    os.close(terminal)
    os.waitpid(pid, 0)
    print(f"closed terminal: {time.monotonic() - before:.1f} s")
    assert pipeline.processes() == {}
    for stage in paths.PROGRAMS:
        assert "Traceback" not in pipeline.log(stage)
    pipeline.start()
    before = time.monotonic()
    assert pipeline.stop().returncode == 0
    print(f"stop: {time.monotonic() - before:.1f} s")
    assert pipeline.processes() == {}


def test_the_stages_of_a_killed_supervisord_stop_and_the_next_start_takes_over(
    make_pipeline: Callable[..., Pipeline],
) -> None:
    bot = make_pipeline(**EAGER)
    bot.start()
    bot.wait(lambda: in_position(bot), "a position")
    killed = time.monotonic()
    os.kill(bot.supervisord(), signal.SIGKILL)
    bot.wait(lambda: bot.processes() == {}, "all are gone", seconds=30)
    print(f"stopped by themselves: {time.monotonic() - killed:.1f} s")
    assert bot.rows("SELECT stage FROM events WHERE message LIKE 'supervisord is gone%'") == [("storage",)]
    fills = bot.rows("SELECT count(*) FROM fills")
    started = bot.up("start")
    assert started.returncode == 0, started.stderr
    assert "ended what ran" not in started.stdout
    bot.wait(lambda: in_position(bot), "the position is still there")
    assert bot.rows("SELECT count(*) FROM trades WHERE action = 'buy'") == [(1,)], "it is no other one"
    assert audit.events_of(audit.journal(bot.book.resolve()), StartedEvent)[-1].found == "clean"
    assert bot.rows("SELECT count(*) FROM fills") >= fills
    assert bot.rows("SELECT * FROM gaps") == []


def test_stop_holds_and_stop_flattens_where_the_settings_say_so(make_pipeline: Callable[..., Pipeline]) -> None:
    bot = make_pipeline(**EAGER)
    bot.start()
    bot.wait(lambda: in_position(bot), "a position")
    bot.stop()
    assert sells(bot) == []

    bot.settings["ON_SHUTDOWN"] = "flatten"
    bot.start()
    bot.wait(lambda: in_position(bot), "the position is still there")
    assert bot.rows("SELECT count(*) FROM trades WHERE action = 'buy'") == [(1,)], "it is no other one"
    stopped = bot.stop()
    assert stopped.returncode == 0
    assert "ON_SHUTDOWN=flatten" in stopped.stdout and "still held" not in stopped.stdout
    assert bot.processes() == {}
    assert len(sells(bot)) == 1, "storage takes what the trader did last, and ends after it"

    bot.start()
    bot.wait(lambda: in_position(bot), "the next entry")


def test_ctrl_c_flattens_and_a_restart_holds(make_pipeline: Callable[..., Pipeline]) -> None:
    bot = make_pipeline(ON_SHUTDOWN="flatten", **EAGER)
    child = bot.spawn("run", stdout=subprocess.PIPE, text=True)
    bot.wait(lambda: in_position(bot), "a position")
    assert bot.up("restart").returncode == 0
    bot.wait(lambda: in_position(bot), "the position is still there")
    assert bot.rows("SELECT count(*) FROM trades WHERE action = 'buy'") == [(1,)], "it is no other one"
    assert sells(bot) == []
    child.send_signal(signal.SIGINT)
    said, _ = child.communicate(timeout=40)
    assert "ON_SHUTDOWN=flatten" in said and "still held" not in said
    assert bot.processes() == {}


def test_pause_resume_flatten_and_halt_need_no_page(make_pipeline: Callable[..., Pipeline]) -> None:
    bot = make_pipeline(**EAGER)
    bot.start()
    bot.wait(lambda: in_position(bot), "a position")
    dashboard = bot.kill("dashboard", signal.SIGSTOP)
    commands = (("pause", "paused"), ("resume", "active"), ("flatten", "reducing"), ("halt", "halted"))
    for action, word in commands:
        done = bot.tool("tools.control", action)
        assert done.returncode == 0, done.stderr
        assert word in done.stdout
    bot.wait(lambda: len(sells(bot)) == 1, "it is sold")
    told = "SELECT count(*) FROM events WHERE message LIKE '%(by make)'"
    bot.wait(lambda: bot.rows(told) == [(len(commands),)], "who gave them is on record")
    bot.wake(dashboard)


def test_a_command_to_a_trader_that_hangs_is_refused(pipeline: Pipeline) -> None:
    pipeline.start()
    trader = pipeline.kill("trader", signal.SIGSTOP)
    done = pipeline.tool("tools.control", "pause")
    assert done.returncode == 1
    assert "trader does not run, or hangs; nothing was asked of it" in done.stderr
    pipeline.wake(trader)
    pipeline.wait_healthy()
    assert pipeline.get("/api/stats")[1]["mode"] == "sim"
