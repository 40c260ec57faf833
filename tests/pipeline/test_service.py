"""The bot as a service: `serve` as a service manager starts it, and the commands beside it. With stand-in stages."""

import os
import signal
import socket
import subprocess

from core import paths
from tests.pipeline.pipeline import Pipeline
from tests.pipeline.stand_ins import acts, assert_ended_in_order, words

UNIT = "scalp.service"


def serving(bot: Pipeline) -> subprocess.Popen[str]:
    """The service's main process, once the bot is healthy."""
    child = bot.spawn("serve", UNIT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0)

    def serves() -> bool:
        assert child.poll() is None, child.communicate()[0]
        status = bot.up("status")
        said = f"supervisord {child.pid}, {UNIT}" in status.stdout
        return said and bot.pids().keys() == set(paths.PROGRAMS) and status.returncode == 0 and bot.healthy()

    bot.wait(serves, "it serves")
    return child


def test_it_is_supervisord_itself_and_ends_in_order_when_told(bot: Pipeline) -> None:
    child = serving(bot)
    assert bot.supervisord() == child.pid
    assert (bot.var / "log" / "trader.log").stat().st_mode & 0o077 == 0
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=60) == 0
    assert bot.processes() == {}
    assert_ended_in_order(words(bot, "ends"))


def test_stages_of_one_that_was_killed_end_in_order_before_it_is_started_again(bot: Pipeline) -> None:
    (bot.root / "patient").touch()
    child = serving(bot)
    acts(bot, "storage", "deaf")
    old = bot.kill("storage")
    bot.wait(lambda: (bot.root / "storage.up").read_text() != str(old), "storage is back, and deaf")
    (bot.root / "ends").unlink(missing_ok=True)
    child.kill()
    child.wait()
    swept = bot.up("sweep")
    assert swept.returncode == 0
    assert bot.processes() == {}, "the one that hears no TERM, too"
    assert words(bot, "ends")[:2] == [paths.WATCHDOG, "trader"]


def test_a_sweep_leaves_a_bot_that_runs_alone(bot: Pipeline) -> None:
    bot.start()
    before = bot.pids()
    assert bot.up("sweep").returncode == 0
    assert bot.pids() == before


def test_it_goes_on_with_the_settings_applied_last(bot: Pipeline) -> None:
    bot.settings["RSI_BUY"] = "25"
    bot.start()
    bot.stop()
    bot.settings["RSI_BUY"] = "20"
    serving(bot)
    bot.wait(lambda: bot.log("trader").count("RSI_BUY is 25") == 2, "the trader says so")
    started = bot.up("start")
    assert started.returncode == 0
    assert UNIT in started.stdout and "RSI_BUY" in started.stdout and "make restart" in started.stdout


def test_damaged_applied_settings_do_not_keep_it_down(bot: Pipeline) -> None:
    bot.start()
    bot.stop()
    (bot.var / "settings.json").write_text("{")
    serving(bot)


def test_wrong_settings_at_its_first_start_are_for_a_person(bot: Pipeline) -> None:
    bot.settings["RSI_BUY"] = "lots"
    done = bot.up("serve", UNIT)
    assert done.returncode == 2
    assert "RSI_BUY=lots" in done.stderr


def test_a_taken_port_is_told_and_tried_again_later(bot: Pipeline) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(bot.settings["PORT"])))
        taken.listen()
        done = bot.up("serve", UNIT)
    assert done.returncode == 1
    assert f"PORT={bot.settings['PORT']}" in done.stderr


def test_it_takes_over_what_was_started_by_hand(bot: Pipeline) -> None:
    bot.start()
    before = bot.pids()
    child = serving(bot)
    assert bot.supervisord() == child.pid
    assert not set(before.values()) & set(bot.pids().values())
    assert_ended_in_order(words(bot, "ends"))


def test_restart_takes_on_the_settings_and_the_service_goes_on(bot: Pipeline) -> None:
    child = serving(bot)
    before = bot.pids()
    acts(bot, "storage", "misconfigured")
    bot.kill("storage")
    bot.wait(lambda: "has given up" in bot.up("status").stdout, "storage has given up")
    (bot.root / "storage.acts").unlink()
    (bot.root / "ends").unlink()
    bot.settings["RSI_BUY"] = "25"
    done = bot.up("restart")
    assert done.returncode == 0, done.stdout + done.stderr
    assert child.poll() is None and bot.supervisord() == child.pid
    assert bot.pids().keys() == set(paths.PROGRAMS)
    assert not set(before.values()) & set(bot.pids().values())
    bot.wait(lambda: "RSI_BUY is 25" in bot.log("trader"), "the trader says so")
    assert words(bot, "ends")[:2] == [paths.WATCHDOG, "trader"]


def test_a_restart_reads_supervisords_file_anew(bot: Pipeline) -> None:
    serving(bot)
    conf = bot.root / "supervisord.conf"
    conf.write_text(conf.read_text().replace('OPENBLAS_NUM_THREADS="1"', 'OPENBLAS_NUM_THREADS="1",NEW="yes"'))
    assert bot.up("restart").returncode == 0
    pid = bot.pid("trader")
    with open(f"/proc/{pid}/environ", "rb") as environment:
        assert b"NEW=yes" in environment.read().split(b"\0")


def test_stop_ends_the_service_cleanly_and_says_how_it_comes_back(bot: Pipeline) -> None:
    child = serving(bot)
    stopped = bot.stop()
    assert stopped.stdout == f"stopped, until `sudo systemctl start {UNIT}` or the next boot\n"
    assert child.wait(timeout=20) == 0  # so that Restart=on-failure leaves it off
    assert bot.processes() == {}


def test_a_restart_that_fails_leaves_nothing_running(bot: Pipeline) -> None:
    child = serving(bot)
    acts(bot, "storage", "misconfigured")
    done = bot.up("restart")
    assert done.returncode == 1
    assert "storage has given up" in done.stderr and f"systemctl start {UNIT}" in done.stdout
    assert child.wait(timeout=20) == 0
    assert bot.processes() == {}


def test_stop_of_one_that_hangs_says_that_it_will_be_started_again(bot: Pipeline) -> None:
    child = serving(bot)
    os.kill(child.pid, signal.SIGSTOP)
    stopped = bot.stop()
    assert f"{UNIT} starts it again within seconds: sudo systemctl stop {UNIT}" in stopped.stdout
    assert child.wait(timeout=20) == -signal.SIGKILL
    bot.wait(lambda: bot.processes() == {}, "all are gone")
