"""`make run` and killed supervisords: Ctrl-C, TERM, a closed terminal, orphans. With stand-ins for the stages."""

import os
import pty
import signal
import subprocess

import pytest

from core import paths
from tests.pipeline.pipeline import Pipeline
from tests.pipeline.stand_ins import acts, assert_ended_in_order, words

# --- run: Ctrl-C, TERM, a closed terminal


def running(bot: Pipeline) -> subprocess.Popen[str]:
    """`run`, when it follows the trader's log; what it says from then on is in its stdout."""
    child = bot.spawn("run", text=True, stdout=subprocess.PIPE)
    assert child.stdout is not None
    while "Ctrl-C stops it" not in (line := child.stdout.readline()):
        assert line, "it ended"
        if "http" in line:
            assert f"http://127.0.0.1:{bot.settings['PORT']}/" in line
    return child


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["ctrl-c", "term", "hang-up"])
def test_run_stops_in_order(bot: Pipeline, number: int) -> None:
    child = running(bot)
    assert child.stdout is not None
    seen = ""
    while "is up" not in seen:
        seen += child.stdout.readline()
    child.send_signal(number)
    rest, _ = child.communicate(timeout=20)
    assert child.returncode == 0
    assert rest.endswith("stopped\n")
    assert bot.processes() == {}
    assert_ended_in_order(words(bot, "ends"))


def test_ctrl_c_while_it_starts_stops_it(bot: Pipeline) -> None:
    acts(bot, "dashboard", "sick")
    child = bot.spawn("run", stdout=subprocess.PIPE, text=True)
    bot.wait(lambda: len(words(bot, "starts")) == len(paths.PROGRAMS), "all were started")
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=20)
    assert child.returncode == 130
    assert bot.processes() == {}


def test_a_closed_terminal_stops_it(bot: Pipeline) -> None:
    """The kernel hangs up on the whole foreground, and what is written from then on fails."""
    command = [".venv/bin/python", "-m", "tools.up", "run"]
    pid, terminal = pty.fork()
    if pid == 0:  # in the child: nothing but exec
        os.chdir(bot.root)
        os.execve(command[0], command, bot.environment)
    said = b""
    while b"Ctrl-C stops it" not in said:
        said += os.read(terminal, 1000)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert bot.processes() == {}
    assert_ended_in_order(words(bot, "ends"))


def test_a_second_run_says_so(bot: Pipeline) -> None:
    bot.start()
    before = bot.pids()
    done = bot.up("run")
    assert done.returncode == 1
    assert "runs already" in done.stdout
    assert bot.pids() == before


def test_run_ends_when_the_bot_is_stopped_from_elsewhere(bot: Pipeline) -> None:
    child = running(bot)
    bot.stop()
    rest, _ = child.communicate(timeout=20)
    assert child.returncode == 0
    assert "the bot was stopped" in rest


def test_run_goes_on_over_a_restart_from_elsewhere(bot: Pipeline) -> None:
    child = running(bot)
    assert bot.up("restart").returncode == 0
    assert child.poll() is None
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=20) == 0
    assert bot.processes() == {}


def test_run_tells_which_stage_gave_up(bot: Pipeline) -> None:
    child = running(bot)
    assert child.stdout is not None
    acts(bot, "storage", "misconfigured")
    bot.kill("storage")
    seen = ""
    while "storage has given up" not in seen:
        seen += child.stdout.readline()
    assert bot.pid("trader") is not None


# --- a killed supervisord


def test_a_supervisord_that_is_told_to_end_stops_in_order(bot: Pipeline) -> None:
    bot.start()
    os.kill(bot.supervisord(), signal.SIGTERM)
    bot.wait(lambda: bot.processes() == {}, "all are gone")
    assert_ended_in_order(words(bot, "ends"))


def test_the_stages_of_a_killed_supervisord_stop_by_themselves_in_order(bot: Pipeline) -> None:
    (bot.root / "patient").touch()
    bot.start()
    os.kill(bot.supervisord(), signal.SIGKILL)
    bot.wait(lambda: bot.processes() == {}, "all are gone", seconds=30)
    assert_ended_in_order(words(bot, "ends"))
    assert bot.up("status").stdout == "not running\n"


def test_orphans_that_hang_are_ended_before_a_start(bot: Pipeline) -> None:
    for stage in ("trader", "feeder"):
        acts(bot, stage, "stuck")
    bot.start()
    hung = {stage: pid for stage, pid in bot.pids().items() if stage in ("trader", "feeder")}
    os.kill(bot.supervisord(), signal.SIGKILL)
    bot.wait(lambda: bot.pids() == hung, "the others have stopped", seconds=30)
    status = bot.up("status")
    assert status.returncode == 3
    assert f"these are stopping: trader (process {hung['trader']})" in status.stdout
    for stage in hung:
        (bot.root / f"{stage}.acts").unlink()
    started = bot.up("start")
    assert started.returncode == 0, started.stderr
    assert f"trader (process {hung['trader']})" in started.stdout
    assert not set(hung.values()) & set(bot.pids().values())


def test_stop_ends_orphans(bot: Pipeline) -> None:
    (bot.root / "patient").touch()
    bot.start()
    os.kill(bot.supervisord(), signal.SIGKILL)
    assert bot.stop().returncode == 0
    assert bot.processes() == {}
    assert_ended_in_order(words(bot, "ends"))


def test_run_notices_that_supervisord_was_killed(bot: Pipeline) -> None:
    child = running(bot)
    os.kill(bot.supervisord(), signal.SIGKILL)
    rest, _ = child.communicate(timeout=30)
    assert child.returncode == 1
    assert "supervisord was killed" in rest
    assert bot.processes() == {}


def test_a_supervisord_that_hangs_is_killed(bot: Pipeline) -> None:
    bot.start()
    os.kill(bot.supervisord(), signal.SIGSTOP)
    stopped = bot.stop()
    assert stopped.returncode == 0
    assert bot.processes() == {}


def test_nothing_of_another_var_dir_is_ended(bot: Pipeline) -> None:
    bot.start()
    before = bot.pids()
    other = dict(bot.settings)
    bot.settings["VAR_DIR"] = str(bot.root / "other")
    assert bot.stop().returncode == 0
    bot.settings.clear()
    bot.settings.update(other)
    assert bot.pids() == before
