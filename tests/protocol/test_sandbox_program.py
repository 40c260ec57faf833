"""`python -m sandbox` as a program: its exit codes, its world across kill and restart, its stop with open sockets."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.protocol.sandbox_program import PAIR, Program


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


def test_a_schedule_in_the_books_folder_is_kept_and_a_wrong_one_named(program: Program, tmp_path: Path) -> None:
    program.start()
    program.up()
    assert program.end() == 0
    (book,) = tmp_path.glob("v/books/*")
    schedule = book / "faults.json"
    schedule.write_text('[{"kind":"status","path":"/exchange/ticker","body":"[7]"}]')
    program.start()
    program.up()
    assert program.get("/exchange/ticker") == [7] and program.end() == 0
    schedule.write_text('[{"kind":"earthquake"}]')
    assert program.start().wait(30) == 2
    text = program.log.read_text()
    assert "faults.json is no schedule of faults" in text and "earthquake" in text and "Traceback" not in text


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
