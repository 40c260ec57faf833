"""core.supervisor against a real supervisord that runs small programs in the stages' places."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.clock import LiveClock
from core.paths import ROOT, STOP_ORDER
from core.supervisor import SOCKET_NAME, Supervisor, SupervisorError
from tests.up_helpers import short_folder

STAGES = [name for layer in STOP_ORDER for name in layer]

# notes its end in `order`; what it leaves with, and whether it minds TERM, comes as arguments
PROGRAM = """
import signal, sys, time
name, folder, code, deaf = sys.argv[1:5]
def end(*_):
    with open(folder + "/order", "a") as file:
        file.write(name + "\\n")
    if deaf == "no":
        sys.exit(0)
signal.signal(signal.SIGTERM, end)
open(folder + "/" + name + ".up", "a").write("x")
if code != "-":
    sys.exit(int(code))
while True:
    time.sleep(60)
"""


@contextlib.contextmanager
def supervised(folder: Path, codes: dict[str, str] | None = None, deaf: str = "") -> Iterator[Supervisor]:
    (folder / "program.py").write_text(PROGRAM)
    conf = [
        "[unix_http_server]",
        f"file={folder / SOCKET_NAME}",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        "[supervisord]",
        "nodaemon=true",
        "silent=true",
        f"logfile={folder / 'supervisord.log'}",
        f"pidfile={folder / 'supervisord.pid'}",
    ]
    for name in STAGES:
        arguments = f"{name} {folder} {(codes or {}).get(name, '-')} {'yes' if name == deaf else 'no'}"
        conf += [
            f"[program:{name}]",
            f'command="{sys.executable}" {folder / "program.py"} {arguments}',
            "startsecs=0",
            "autorestart=unexpected",
            "exitcodes=2,3",
            f"stopwaitsecs={1 if name == deaf else 5}",
        ]
    (folder / "conf").write_text("\n".join(conf))
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "supervisor.supervisord", "-c", str(folder / "conf")],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    supervisor = Supervisor(folder, LiveClock())
    try:
        expected = [name for name in STAGES if (codes or {}).get(name) in (None, "-")]
        while supervisor.pid() is None or not all(ups(folder, name) for name in expected):
            assert process.poll() is None
            time.sleep(0.02)
        yield supervisor
    finally:
        with contextlib.suppress(SupervisorError):
            if supervisor.pid() is not None:
                supervisor.shutdown()
        process.wait(timeout=20)


def order(folder: Path) -> list[str]:
    return (folder / "order").read_text().split()


def ups(folder: Path, name: str) -> int:
    """How often a program came up."""
    file = folder / f"{name}.up"
    return file.stat().st_size if file.exists() else 0


def test_nobody_listens() -> None:
    with short_folder() as folder:
        assert Supervisor(folder, LiveClock()).pid() is None
        with pytest.raises(SupervisorError, match="did not answer"):
            Supervisor(folder, LiveClock()).states()


def test_a_stale_socket_is_nobody() -> None:
    with short_folder() as folder:
        import socket

        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(folder / SOCKET_NAME))
        assert Supervisor(folder, LiveClock()).pid() is None


def test_shutdown_goes_in_order_and_leaves_nobody() -> None:
    with short_folder() as folder, supervised(folder) as supervisor:
        states = supervisor.states()
        assert {state.state for state in states.values()} == {"RUNNING"}
        supervisor.shutdown()
        assert supervisor.pid() is None
        said = order(folder)
        assert said[:2] == ["watchdog", "trader"] and said[-1] == "storage"
        assert sorted(said) == sorted(STAGES)
        assert not any(Path(f"/proc/{state.pid}").exists() for state in states.values())


def test_one_that_ignores_term_is_killed() -> None:
    with short_folder() as folder, supervised(folder, deaf="feeder") as supervisor:
        supervisor.stop(["feeder"])
        assert supervisor.states()["feeder"].pid == 0


def test_restart_gives_another_process() -> None:
    with short_folder() as folder, supervised(folder) as supervisor:
        before = supervisor.states()
        supervisor.restart("storage")
        after = supervisor.states()
        assert after["storage"].alive and after["storage"].pid != before["storage"].pid
        assert after["trader"].pid == before["trader"].pid


def test_one_is_renewed_by_supervisords_own_restart_and_the_others_go_on() -> None:
    with short_folder() as folder, supervised(folder) as supervisor:
        before = supervisor.states()
        pid = supervisor.renew("storage")
        after = supervisor.states()
        assert (after["storage"].state, after["storage"].pid) == ("RUNNING", pid)
        assert pid != before["storage"].pid and after["trader"].pid == before["trader"].pid
        assert order(folder) == ["storage"], "it could end in its own order"
        assert supervisor.runs("storage", pid) and not supervisor.runs("storage", before["storage"].pid)


def test_one_that_hangs_is_killed_and_renewed_all_the_same() -> None:
    with short_folder() as folder, supervised(folder) as supervisor:
        before = supervisor.states()["feeder"].pid
        os.kill(before, signal.SIGSTOP)
        assert supervisor.renew("feeder") not in (0, before)


def test_one_that_is_down_is_started_and_one_that_gives_up_is_told() -> None:
    with short_folder() as folder, supervised(folder, {"trader": "2"}) as supervisor:
        supervisor.stop(["storage"])
        assert supervisor.renew("storage") == supervisor.states()["storage"].pid != 0
        while not supervisor.states()["trader"].failed:
            time.sleep(0.02)
        with contextlib.suppress(SupervisorError):  # it lives for a moment
            assert supervisor.renew("trader")
        with pytest.raises(SupervisorError, match="no stage named x"):
            supervisor.renew("x")


def test_start_and_stop_of_what_is_there_already_do_nothing() -> None:
    with short_folder() as folder, supervised(folder) as supervisor:
        supervisor.start(["trader"])
        supervisor.stop(["trader"])
        supervisor.stop(["trader"])
        assert order(folder) == ["trader"]


def test_exit_codes_2_and_3_stay_down_and_0_and_1_and_a_kill_come_back() -> None:
    codes = {"trader": "2", "sandbox": "3", "storage": "1", "dashboard": "0"}
    with short_folder() as folder, supervised(folder, codes) as supervisor:
        feeder = supervisor.states()["feeder"].pid
        os.kill(feeder, signal.SIGKILL)
        while not all(ups(folder, name) >= 2 for name in ("storage", "dashboard", "feeder")):
            supervisor.states()
            time.sleep(0.05)
        while any((states := supervisor.states())[name].state != "EXITED" for name in ("trader", "sandbox")):
            time.sleep(0.05)
        assert (states["trader"].state, states["trader"].failed) == ("EXITED", True)
        assert (states["sandbox"].state, states["sandbox"].failed) == ("EXITED", False)
        assert not states["storage"].failed
        assert ups(folder, "trader") == 1
        assert ups(folder, "sandbox") == 1


def test_an_unknown_stage_is_told() -> None:
    with (
        short_folder() as folder,
        supervised(folder) as supervisor,
        pytest.raises(SupervisorError, match="no stage named x"),
    ):
        supervisor.start(["x"])


def test_every_stage_is_in_the_order_and_in_the_file() -> None:
    from core import paths

    text = (paths.ROOT / "supervisord.conf").read_text()
    assert sorted(STAGES) == sorted(paths.PROGRAMS)
    assert [line[9:-1] for line in text.splitlines() if line.startswith("[program:")] == list(paths.PROGRAMS)
    assert "[group:" not in text


def test_hup_is_no_reason_to_die() -> None:
    """A closed terminal reaches nobody but the one who follows the log: supervisord has a session of its own."""
    with short_folder() as folder, supervised(folder) as supervisor:
        pid = supervisor.pid()
        assert pid is not None
        assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3] == str(pid)


@pytest.mark.parametrize("module, lives", [("tools.supervise", True), ("supervisor.supervisord", False)])
def test_a_disk_that_takes_no_logs_does_not_end_supervisord(module: str, lives: bool) -> None:
    """Its log, the programs' and its error output are on a full disk; by itself it ends of that."""
    with short_folder() as folder, Path("/dev/full").open("w") as full:
        (folder / "full.log").symlink_to("/dev/full")
        program = "import itertools, time\nfor n in itertools.count(): print(n, flush=True); time.sleep(0.01)"
        (folder / "program.py").write_text(program)
        conf = [
            "[unix_http_server]",
            f"file={folder / SOCKET_NAME}",
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
            "[supervisord]",
            "nodaemon=true",
            "silent=true",
            f"logfile={folder / 'full.log'}",
            "logfile_maxbytes=0",
            f"pidfile={folder / 'supervisord.pid'}",
            "[program:trader]",
            f'command="{sys.executable}" {folder / "program.py"}',
            "startsecs=0",
            f"stdout_logfile={folder / 'full.log'}",
            "stdout_logfile_maxbytes=0",
        ]
        (folder / "conf").write_text("\n".join(conf))
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", module, "-c", str(folder / "conf")],
            cwd=ROOT,
            start_new_session=True,
            stdout=full,
            stderr=full,
        )
        supervisor = Supervisor(folder, LiveClock())
        try:
            end = time.monotonic() + 30
            seen: set[int] = set()  # programs that wrote and were killed: each is brought back
            while process.poll() is None and len(seen) < 3 and time.monotonic() < end:
                with contextlib.suppress(SupervisorError):
                    pid = supervisor.states()["trader"].pid
                    if pid and pid not in seen:
                        time.sleep(0.2)
                        seen.add(pid)
                        os.kill(pid, signal.SIGKILL)
                time.sleep(0.05)
            assert (process.poll() is None, len(seen) == 3) == (lives, lives)
        finally:
            process.terminate()
            process.wait(timeout=20)
