"""The parts of tools/up that need no bot: ports, health, logs, the supervisord file, the kernels' stamp, commands."""

import configparser
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backtest import compiled
from core import paths
from core.errors import BotError
from core.lease import LeaseWriter
from core.settings import Settings
from core.settings_load import from_texts
from indicators import jit
from tests.guardian_world import held
from tests.up_helpers import short_folder
from tools import control, follow, health, ports, up, warm
from tools.lifecycle import PID_FILE, Bot

# --- ports


def with_ports(page: int, sandbox: int, **texts: str) -> Settings:
    return from_texts({"PORT": str(page), "SANDBOX_PORT": str(sandbox), **texts})


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken


def test_free_ports_are_no_problem(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        sandbox = other.getsockname()[1]
    assert ports.taken(with_ports(port, sandbox)) == []


def test_a_port_in_use_names_setting_and_holder(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    [line] = ports.taken(with_ports(port, port + 1 if port < 65_000 else port - 1))[:1]
    assert line.startswith(f"PORT={port}: in use by `")
    assert f"(process {os.getpid()})" in line


def test_the_sandbox_port_is_asked_only_where_there_is_a_sandbox(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        page = other.getsockname()[1]
    assert ports.taken(with_ports(page, port))[0].startswith("SANDBOX_PORT=")
    assert ports.taken(with_ports(page, port, VENUE="coindcx")) == []


def test_nobody_holds_a_free_port(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    assert f"process {os.getpid()}" in str(ports.holder(port))
    listener.close()
    assert ports.holder(port) is None


# --- health


class Answer(http.server.BaseHTTPRequestHandler):
    status, body = 200, b""

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def page() -> Iterator[tuple[Settings, type[Answer]]]:
    handler = type("Handler", (Answer,), {})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield with_ports(server.server_address[1], 1025), handler
        server.shutdown()
        thread.join()


def test_healthy(page: tuple[Settings, type[Answer]]) -> None:
    assert health.ask(page[0]) == health.Health(True)


def test_failing_checks_are_named(page: tuple[Settings, type[Answer]]) -> None:
    settings, handler = page
    handler.status = 503
    handler.body = json.dumps({"failing": {"stage:feeder": "never heard", "market": "no trade"}}).encode()
    found = health.ask(settings)
    assert found == health.Health(False, ("stage:feeder: never heard", "market: no trade"))
    assert found.stages == ["feeder"]
    assert health.Health(False, ("market: not seen yet",)).stages == ["feeder"]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"failing": 3}'])
def test_an_answer_that_is_none_of_ours(page: tuple[Settings, type[Answer]], body: bytes) -> None:
    settings, handler = page
    handler.status, handler.body = 500, body
    assert health.ask(settings) == health.Health(False, ("/healthz answered 500",))


def test_nobody_answers(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    found = health.ask(with_ports(port, 1025))
    assert not found.ok and found.stages == ["dashboard"]


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]")])
def test_the_address_is_one_that_can_be_typed(host: str, shown: str) -> None:
    class Stub:
        port = 3000

    Stub.host = host  # type: ignore[attr-defined]
    assert health.address(Stub()) == f"http://{shown}:3000/"  # type: ignore[arg-type]


# --- logs


def test_last_lines_since(tmp_path: Path) -> None:
    log = tmp_path / "trader.log"
    assert follow.last_lines(log) == []
    log.write_text("one\ntwo\nthree\n")
    assert follow.last_lines(log, 2) == ["two", "three"]
    assert follow.last_lines(log, 5, since=4) == ["two", "three"]
    assert follow.last_lines(log, 5, since=1000) == ["one", "two", "three"]  # it was rotated since


def test_following_goes_over_rotation_truncation_and_half_lines(tmp_path: Path) -> None:
    log = tmp_path / "trader.log"
    log.write_text("old\n")
    follower = follow.Follower([log], from_end=True)
    assert follower.lines() == []
    with log.open("a") as file:
        file.write("whole\nha")
    assert follower.lines() == ["whole"]
    with log.open("a") as file:
        file.write("lf\n")
    assert follower.lines() == ["half"]
    with log.open("a") as file:
        file.write("before\n")
    log.rename(tmp_path / "trader.log.1")
    log.write_text("after\n")
    assert follower.lines() == ["before", "after"]
    log.write_text("")  # cut in place
    follower.lines()
    log.write_text("anew\n")
    assert follower.lines() == ["anew"]
    follower.close()


def test_a_log_that_comes_later_is_picked_up(tmp_path: Path) -> None:
    log = tmp_path / "late.log"
    follower = follow.Follower([log], from_end=True)
    assert follower.lines() == []
    log.write_text("here\n")
    assert follower.lines() == ["here"]
    follower.close()


# --- a supervisord that is gone


@pytest.mark.parametrize("in_order", [True, False], ids=["took its file along", "was killed"])
def test_how_supervisord_ended_is_told_by_the_file_that_it_leaves(in_order: bool) -> None:
    with short_folder() as folder, subprocess.Popen(["sleep", "1000"]) as process:
        bot = Bot(folder)
        assert not bot.killed()  # it never ran
        file = bot.run_dir / PID_FILE
        file.write_text(f"{process.pid}\n")
        ends = threading.Timer(0.2, file.unlink if in_order else process.kill)
        ends.start()
        assert bot.killed() is not in_order  # it does not answer any more and has not ended yet
        ends.join()
        process.kill()


# --- supervisord.conf


def stages_of(file: Path) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    parser.read(file)
    return {name[8:]: dict(parser[name]) for name in parser.sections() if name.startswith("program:")}


def test_every_stage_is_run_alike() -> None:
    stages = stages_of(paths.ROOT / "supervisord.conf")
    assert tuple(stages) == paths.PROGRAMS
    for name, options in stages.items():
        assert options["command"] == f'"%(here)s/.venv/bin/python" -m {name}'
        assert options["stdout_logfile"] == f"%(here)s/var/log/{name}.log"
        expected = {"startsecs": "0", "autorestart": "unexpected", "exitcodes": "2,3", "umask": "077"}
        assert {option: options[option] for option in expected} == expected


def test_a_supervisord_that_is_told_to_end_stops_the_watchdog_then_the_trader_and_storage_last() -> None:
    stages = stages_of(paths.ROOT / "supervisord.conf")
    falling = sorted(stages, key=lambda name: -int(stages[name]["priority"]))
    assert (falling[0], falling[1], falling[-1]) == ("watchdog", "trader", "storage")


def test_the_copy_for_another_var_has_its_paths_alone() -> None:
    with short_folder() as folder:
        var = folder / "100% own"
        bot = Bot(var)
        copy = bot.conf()
        assert copy == var / "run" / "supervisord.conf"
        text = copy.read_text()
        assert "%(here)s" not in "\n".join(line for line in text.splitlines() if not line.startswith(";"))
        assert str(folder / "100%% own" / "log" / "trader.log") in text
        for name, options in stages_of(copy).items():
            assert options["command"] == f'"{paths.ROOT}/.venv/bin/python" -m {name}'
            assert f'VAR_DIR="{folder}/100%% own"' in options["environment"]


def test_our_own_var_uses_the_file_itself() -> None:
    assert Bot(paths.ROOT / "var").conf() == paths.ROOT / "supervisord.conf"


# --- the kernels


def test_the_key_changes_with_any_compiled_source(tmp_path: Path) -> None:
    (tmp_path / "indicators").mkdir()
    source = tmp_path / "indicators" / "rules.py"
    source.write_text("a = 1\n")
    before = warm.sources_key(tmp_path)
    assert warm.sources_key(tmp_path) == before
    source.write_text("a = 2\n")
    assert warm.sources_key(tmp_path) != before


def test_the_key_covers_all_that_is_compiled() -> None:
    of_kernels = {
        *(paths.ROOT / "indicators").glob("*.py"),
        *(paths.ROOT / "bus" / f"{n}.py" for n in ("layouts", "records")),
    }
    assert set(jit.COMPILED_SOURCES) <= of_kernels
    of_backtest = {file for package in warm.BACKTEST for file in (paths.ROOT / package).glob("*.py")}
    assert set(compiled.SOURCES) <= of_kernels | of_backtest


def test_a_warm_cache_is_left_alone_without_loading_the_compiler(tmp_path: Path) -> None:
    (tmp_path / "kernels-x").mkdir()
    (tmp_path / warm.STAMP).write_text(f"{warm.sources_key(paths.ROOT)} kernels-x\n")
    code = (
        "import sys; from pathlib import Path; from tools import warm;"
        "done = warm.warm(Path(sys.argv[1])); sys.exit(done or 'llvmlite' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=paths.ROOT, check=True)


def test_kernels_that_cannot_be_kept_are_told_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "warm", lambda folder: "no place for them")
    for _ in range(2):
        with pytest.raises(BotError, match="no place"):
            warm.warm(tmp_path)


def test_a_backtest_that_cannot_be_kept_is_told_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VAR_DIR", str(tmp_path))
    monkeypatch.setattr(warm, "warm", lambda folder: True)
    monkeypatch.setattr(compiled, "warm", lambda *_: "no place for it")
    assert warm.main(["--all"]) == 0
    assert capsys.readouterr().err == "set-up: no place for it\n"


def test_a_start_compiles_no_backtest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAR_DIR", str(tmp_path))
    monkeypatch.setattr(warm, "warm", lambda folder: True)
    monkeypatch.setattr(compiled, "warm", lambda *_: pytest.fail("it was compiled"))
    assert warm.main([]) == 0


# --- commands


def test_a_command_to_nobody_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with short_folder() as folder:
        monkeypatch.setenv("VAR_DIR", str(folder))
        assert control.main(["pause"]) == 1
    said = capsys.readouterr()
    assert "trader" in said.err and "make start" in said.err


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0 s"), (59, "59 s"), (61, "1 m 01 s"), (3_660, "1 h 01 m"), (90_000, "1 d 1 h")]
)
def test_spans_are_readable(seconds: int, shown: str) -> None:
    assert up._span(seconds) == shown


# --- who stops the bot with a real position


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ({"SIMULATION_MODE": "false"}, True),
        ({"SIMULATION_MODE": "true"}, False),
        ({"SIMULATION_MODE": "false", "SANDBOX_SEED": "2"}, False),  # the lease is another book's
    ],
)
def test_who_stops_the_bot_with_a_position_is_told_that_nobody_holds_its_stop(
    texts: dict[str, str], told: bool
) -> None:
    with short_folder() as folder:
        bot = Bot(folder)
        lease = LeaseWriter(bot.run_dir, "live-sandbox-coindcx-seed1", 3.0, 1, "boot")
        lease.renew(1, (held(),), acts=True)
        lines = up.unguarded(bot, from_texts(texts))
        assert [("0.5 BTC" in line, "NOBODY" in line, "at 99 " in line) for line in lines] == [
            (True, True, True)
        ] * told
        lease.renew(2, (held(resting=True),), acts=True)
        lines = up.unguarded(bot, from_texts(texts))
        assert [("a stop rests there" in line, "NOBODY" in line) for line in lines] == [(True, False)] * told
        moved = up.unguarded(bot, from_texts(texts), another=True)  # it starts with these settings
        assert [("live-sandbox-coindcx-seed1 goes on" in line, "0.5 BTC" in line) for line in moved] == [
            (True, True)
        ] * (not told)
        lease.renew(3, (), acts=True)
        assert up.unguarded(bot, from_texts(texts)) == up.unguarded(bot, from_texts(texts), another=True) == []
        lease.close()
