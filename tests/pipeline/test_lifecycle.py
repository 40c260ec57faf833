"""Start, stop, restart, status, second copies, exit codes, wrong settings.

With supervisord and real processes, and stand-ins for the stages.
"""

import os
import signal
import socket
import subprocess

import pytest

from core import paths
from core.paths import STOP_ORDER
from tests.pipeline.pipeline import Pipeline
from tests.pipeline.stand_ins import acts, assert_ended_in_order, words

# --- start, stop, status


def test_start_returns_when_healthy_and_stop_leaves_nothing(bot: Pipeline) -> None:
    assert bot.up("status").returncode == 3
    started = bot.up("start")
    assert started.returncode == 0, started.stderr
    assert f"http://127.0.0.1:{bot.settings['PORT']}/" in started.stdout
    assert bot.pids().keys() == set(paths.PROGRAMS)

    status = bot.up("status")
    assert status.returncode == 0
    for stage in paths.PROGRAMS:
        assert f"{stage:<11} running" in status.stdout
    assert "healthy" in status.stdout

    stopped = bot.stop()
    assert (stopped.returncode, stopped.stdout) == (0, "stopped\n")
    assert bot.processes() == {}
    assert_ended_in_order(words(bot, "ends"))
    assert bot.up("status").returncode == 3


def test_stop_of_what_does_not_run_is_fine(bot: Pipeline) -> None:
    assert bot.stop().returncode == 0


def test_a_second_start_says_so_and_changes_nothing(bot: Pipeline) -> None:
    bot.start()
    before = bot.pids()
    bot.settings["RSI_BUY"] = "25"
    second = bot.up("start")
    assert second.returncode == 0
    assert "runs already" in second.stdout
    assert "RSI_BUY" in second.stdout and "make restart" in second.stdout
    assert bot.pids() == before


def test_two_starts_at_once_start_one(bot: Pipeline) -> None:
    both = [bot.spawn("start", stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [child.communicate(timeout=60)[0] for child in both]
    assert [child.returncode for child in both] == [0, 0]
    assert sum("runs already" in text for text in said) == 1
    assert sorted(words(bot, "starts")) == sorted(paths.PROGRAMS)


def test_folders_are_for_their_owner_alone(bot: Pipeline) -> None:
    bot.start()
    for folder in (bot.run_dir, bot.var / "log"):
        assert folder.stat().st_mode & 0o077 == 0
    assert (bot.var / "log" / "trader.log").stat().st_mode & 0o077 == 0


def test_another_var_dir_has_a_supervisord_of_its_own(bot: Pipeline) -> None:
    bot.settings["VAR_DIR"] = str(bot.root / "other place")
    bot.start()
    assert bot.pids().keys() == set(paths.PROGRAMS)
    bot.wait(lambda: "is up" in bot.log("trader"), "its log is there")
    assert not (bot.root / "var").exists()
    assert bot.up("status").returncode == 0


def test_logs_of_one_stage_and_of_all(bot: Pipeline) -> None:
    bot.start()
    for arguments, expected in ((("logs", "storage"), {"storage"}), (("logs",), set(paths.PROGRAMS))):
        follower = bot.spawn(*arguments, stdout=subprocess.PIPE, text=True)
        assert follower.stdout is not None
        seen = {follower.stdout.readline().split()[2] for _ in expected}
        assert seen == expected
        follower.send_signal(signal.SIGINT)
        assert follower.wait(timeout=10) == 0
    assert bot.up("logs", "everything").returncode == 2


# --- what cannot start


def test_every_wrong_setting_is_named_at_once_and_nothing_is_started(bot: Pipeline) -> None:
    bot.settings |= {"RSI_BUY": "lots", "TIMEFRAME": "7m", "BB_PERIOD": "-1"}
    for command in ("start", "run", "restart"):
        done = bot.up(command)
        assert done.returncode == 2
        for name in ("RSI_BUY=lots", "TIMEFRAME=7m", "BB_PERIOD=-1"):
            assert name in done.stderr
        assert "Traceback" not in done.stderr
    assert bot.processes() == {}
    assert not (bot.var / "settings.json").exists()


def test_a_misspelled_setting_in_the_file_is_told_with_the_nearest_name(bot: Pipeline) -> None:
    (bot.root / ".env").write_text("RSI_BYU=30\n")
    done = bot.up("start")
    assert done.returncode == 2
    assert "RSI_BYU" in done.stderr and "RSI_BUY" in done.stderr


def test_money_beyond_the_traders_64_bits_is_told_before_anything_starts(bot: Pipeline) -> None:
    bot.settings |= {"TRADE_CAPITAL": "100000000000", "PAPER_BALANCE": "200000000000"}
    done = bot.up("start")
    assert done.returncode == 2
    assert "TRADE_CAPITAL" in done.stderr
    assert bot.processes() == {}


def test_wrong_settings_stop_nothing_and_do_not_hinder_a_stop(bot: Pipeline) -> None:
    bot.start()
    before = bot.pids()
    bot.settings["RSI_BUY"] = "lots"
    for arguments in (("restart",), ("restart", "trader"), ("start",)):
        assert bot.up(*arguments).returncode == 2
    assert bot.pids() == before
    assert bot.up("status").returncode == 0
    assert bot.stop().returncode == 0
    assert bot.processes() == {}


@pytest.mark.parametrize("name", ["PORT", "SANDBOX_PORT"])
def test_a_port_in_use_is_named_with_its_holder(bot: Pipeline, name: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(bot.settings[name])))
        taken.listen()
        done = bot.up("start")
    assert done.returncode == 2
    assert f"{name}={bot.settings[name]}" in done.stderr
    assert f"process {os.getpid()}" in done.stderr
    assert bot.processes() == {}


def test_one_port_for_both_is_told(bot: Pipeline) -> None:
    bot.settings["SANDBOX_PORT"] = bot.settings["PORT"]
    done = bot.up("start")
    assert done.returncode == 2
    assert "SANDBOX_PORT" in done.stderr


def test_a_stage_that_gives_up_is_shown_with_its_last_lines(bot: Pipeline) -> None:
    acts(bot, "storage", "misconfigured")
    done = bot.up("start")
    assert done.returncode == 1
    assert "storage has given up" in done.stderr
    assert "nobody can make sense of THIS=that" in done.stderr
    assert bot.processes() == {}


def test_what_the_settings_do_not_call_for_stays_down(bot: Pipeline) -> None:
    bot.settings["VENUE"] = "coindcx"
    bot.start()
    status = bot.up("status")
    assert status.returncode == 0
    assert "not called for" in status.stdout
    assert "sandbox" not in bot.pids()


# --- stages that die


def test_a_killed_stage_and_one_ended_by_hand_come_back(bot: Pipeline) -> None:
    bot.start()
    for stage, number in (("trader", signal.SIGKILL), ("storage", signal.SIGTERM)):
        old = bot.kill(stage, number)
        bot.wait(lambda stage=stage, old=old: bot.pid(stage) not in (None, old), f"{stage} is back")
    assert "1" in next(line for line in bot.up("status").stdout.splitlines() if line.startswith("trader"))


def test_a_crashing_stage_is_started_again_with_pauses(bot: Pipeline) -> None:
    bot.start()
    acts(bot, "feeder", "crash")
    bot.kill("feeder")
    bot.wait(lambda: "waits 2 s before it tries again" in bot.log("feeder"), "the second pause")
    (bot.root / "feeder.acts").unlink()
    bot.wait(
        lambda: words(bot, "starts").count("feeder") >= 3 and bot.up("status").returncode == 0, "feeder is well again"
    )


def test_not_healthy_is_told_by_status(bot: Pipeline) -> None:
    bot.start()
    acts(bot, "dashboard", "sick")
    status = bot.up("status")
    assert status.returncode == 1
    assert "market: no trade was heard" in status.stdout


def test_one_that_ignores_term_is_killed_and_the_stop_goes_on(bot: Pipeline) -> None:
    acts(bot, "feeder", "deaf")
    bot.start()
    assert bot.stop().returncode == 0
    assert bot.processes() == {}
    assert words(bot, "ends")[-1] == "storage"


def test_a_second_copy_waits_then_names_the_holder(bot: Pipeline) -> None:
    bot.start()
    holder = bot.pid("storage")
    done = bot.tool("storage")
    assert done.returncode == 2
    assert f"process {holder}" in done.stdout
    assert bot.pid("storage") == holder


# --- restart


def test_restart_takes_on_the_settings(bot: Pipeline) -> None:
    bot.start()
    before = bot.pids()
    bot.settings["RSI_BUY"] = "25"
    done = bot.up("restart")
    assert done.returncode == 0, done.stderr
    after = bot.pids()
    assert not set(before.values()) & set(after.values())
    bot.wait(lambda: "RSI_BUY is 25" in bot.log("trader"), "the trader says so")


def test_a_crash_takes_on_nothing(bot: Pipeline) -> None:
    bot.start()
    (bot.root / ".env").write_text("RSI_BUY=25\n")
    old = bot.kill("trader")
    bot.wait(lambda: bot.pid("trader") not in (None, old), "the trader is back")
    bot.wait(lambda: bot.log("trader").count("is up") == 2, "the trader is up")
    assert "RSI_BUY is 25" not in bot.log("trader")
    assert "RSI_BUY is 30" in bot.log("trader")


def test_restart_of_a_bot_that_does_not_run_starts_it(bot: Pipeline) -> None:
    assert bot.up("restart").returncode == 0
    assert bot.pids().keys() == set(paths.PROGRAMS)


def test_restart_of_one_stage(bot: Pipeline) -> None:
    bot.start()
    before = bot.pids()
    done = bot.up("restart", "storage")
    assert done.returncode == 0, done.stderr
    after = bot.pids()
    assert after["storage"] != before["storage"]
    assert {**after, "storage": 0} == {**before, "storage": 0}


def test_restart_of_one_stage_refuses_a_change_that_concerns_others(bot: Pipeline) -> None:
    bot.start()
    before = bot.pids()
    bot.settings["RSI_BUY"] = "25"
    done = bot.up("restart", "trader")
    assert done.returncode == 2
    assert "RSI_BUY" in done.stderr and "indicators" in done.stderr and "make restart" in done.stderr
    assert bot.pids() == before


def test_restart_of_no_stage_is_told(bot: Pipeline) -> None:
    bot.start()
    done = bot.up("restart", "tradr")
    assert done.returncode == 2
    assert "trader" in done.stderr


def test_restart_to_a_port_in_use_stops_nothing(bot: Pipeline) -> None:
    bot.start()
    before = bot.pids()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port, bot.settings["PORT"] = bot.settings["PORT"], str(taken.getsockname()[1])
        assert bot.up("restart").returncode == 2
    bot.settings["PORT"] = port
    assert bot.pids() == before


def test_every_stage_has_its_place_in_the_order() -> None:
    assert sorted(name for layer in STOP_ORDER for name in layer) == sorted(paths.PROGRAMS)
