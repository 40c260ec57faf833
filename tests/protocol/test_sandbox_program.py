"""`python -m sandbox` as a program: its exit codes, its world across kill and restart, its stop with open sockets."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

ROOT = Path(__file__).resolve().parents[2]
PAIR = "B-BTC_USDT"


class Program:
    """The sandbox in a process of its own, in a folder of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.port = _free_port()
        self.log = folder / "out.log"
        self._folder = folder
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **more: str) -> subprocess.Popen[bytes]:
        values = {"VENUE": "sandbox", "VAR_DIR": str(self._folder / "v"), "SANDBOX_PORT": str(self.port)}
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        environment |= values | self._settings | more
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sandbox"], cwd=ROOT, env=environment, stdout=log, stderr=log
            )
        return self._process

    def up(self) -> None:
        self.wait_for(lambda: self.get("/exchange/v1/markets"))

    def wait_for(self, attempt: Callable[[], Any], seconds: float = 30.0) -> Any:
        """The first answer that is neither an OSError nor empty."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if answer := attempt():
                    return answer
            if time.monotonic() > deadline:
                pytest.fail(f"nothing came in {seconds} s: {self.log.read_text()}")
            time.sleep(0.05)

    def get(self, path: str) -> Any:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())

    def trades(self) -> list[dict[str, Any]]:
        """The last trades, oldest first."""
        return list(reversed(self.get(f"/market_data/trade_history?pair={PAIR}&limit=500")))

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(20)

    def stop_if_running(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(20)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    made = Program(tmp_path)
    yield made
    made.stop_if_running()


def test_a_kill_is_an_outage_and_not_a_new_world(program: Program) -> None:
    program.start()
    program.up()
    before = program.trades()
    assert len(before) == 500
    program.end(signal.SIGKILL)
    program.start()
    program.up()
    after = program.trades()
    start = after.index(before[-100])
    assert after[start : start + 100] == before[-100:]


def test_it_stops_in_order_with_open_sockets(program: Program) -> None:
    program.start()
    program.up()
    with connect(f"ws://127.0.0.1:{program.port}/socket.io/?EIO=4&transport=websocket", proxy=None) as client:
        client.recv(10)
        client.send("40")
        client.recv(10)
        client.send(f'42["join",{{"channelName":"{PAIR}@trades"}}]')
        client.recv(10)
        assert program.end() == 0
    assert "Traceback" not in program.log.read_text()


def test_a_port_in_use_is_named(program: Program) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert program.start(SANDBOX_PORT=port).wait(30) == 2
    assert f"SANDBOX_PORT={port}" in program.log.read_text()
    assert f"(pid {os.getpid()})" in program.log.read_text()


def test_it_is_not_called_for_with_a_real_venue(program: Program) -> None:
    assert program.start(VENUE="coindcx").wait(30) == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"SANDBOX_PROTOCOL": "nonsense"}, "SANDBOX_PROTOCOL"),
        ({"SANDBOX_TAPE": "no/such/file.csv.gz"}, "SANDBOX_TAPE"),
    ],
)
def test_settings_that_cannot_be_are_named(program: Program, settings: dict[str, str], said: str) -> None:
    assert program.start(**settings).wait(30) == 2
    text = program.log.read_text()
    assert said in text and "Traceback" not in text


def _tape(path: Path, seconds: int) -> list[int]:
    base = 1_570_000_000_000
    times = [base + number * 100 for number in range(seconds * 10)]
    path.write_text("ts_ms,price,qty\n" + "".join(f"{at},{8000 + at % 7},1\n" for at in times))
    return times


def _heard(program: Program, count: int) -> list[int]:
    """The times of the next `count` trades told on the stream."""
    with connect(f"ws://127.0.0.1:{program.port}/socket.io/?EIO=4&transport=websocket", proxy=None) as client:
        client.recv(10)
        client.send("40")
        client.recv(10)
        client.send(f'42["join",{{"channelName":"{PAIR}@trades"}}]')
        return [json.loads(json.loads(str(client.recv(20))[2:])[1]["data"])["T"] for _ in range(count)]


def test_a_stopped_tape_waits_and_a_killed_one_goes_on(program: Program, tmp_path: Path) -> None:
    times = _tape(tmp_path / "day.csv", 3600)
    settings = {"SANDBOX_TAPE": str(tmp_path / "day.csv"), "SANDBOX_SPEED": "10"}
    program.start(**settings)
    program.up()
    assert program.trades() == []
    assert _heard(program, 50) == times[:50]
    assert program.end() == 0
    program.start(**settings)
    program.up()
    stood = program.trades()[-1]["T"]
    time.sleep(0.3)
    assert program.trades()[-1]["T"] == stood  # nobody has joined yet
    assert _heard(program, 1) == [stood + 100]
    program.end(signal.SIGKILL)
    last = stood
    program.start(**settings)
    program.up()
    now = program.trades()[-1]["T"]
    assert now > last  # it went on meanwhile
    program.wait_for(lambda: program.trades()[-1]["T"] > now)


def test_the_end_of_a_tape_is_said(program: Program, tmp_path: Path) -> None:
    times = _tape(tmp_path / "day.csv", 20)
    program.start(SANDBOX_TAPE=str(tmp_path / "day.csv"), SANDBOX_SPEED="100")
    program.up()
    assert _heard(program, len(times)) == times
    program.wait_for(lambda: "the tape has ended" in program.log.read_text())
    assert program.trades()[-1]["T"] == times[-1]
