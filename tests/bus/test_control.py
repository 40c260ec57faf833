"""Control: answered, carried out once, never late."""

import signal
from pathlib import Path

import msgspec
import pytest

from bus import sockets
from bus.control import ANSWERS_KEPT, Control, ask, ask_snapshot
from bus.messages import Reply, Request
from bus.messages import encode as pack
from core.clock import LiveClock, ManualClock
from core.errors import BotError, RemoteError, Unanswered
from tests.bus.rig import Rig
from tools import control as tool


class Counter:
    """A stage that counts what it was told."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.control = Control("trader", self.clock)
        self.done: list[str] = []
        self.control.on("pause", self.pause)
        self.control.on("fail", self.fail)

    def pause(self, request: Request) -> tuple[bool, str]:
        self.done.append(request.arguments.get("why", ""))
        return True, f"paused {len(self.done)}"

    def fail(self, request: Request) -> tuple[bool, str]:
        raise BotError("the journal is full")

    def ask(self, id: str, action: str = "pause", expires_in_ms: int = 1000) -> Reply:
        expires = self.clock.wall_ms() + expires_in_ms
        return self.control.answer(Request(id, "control", action=action, expires_wall_ms=expires))


def test_a_request_is_carried_out_and_answered() -> None:
    assert Counter().ask("a") == Reply("a", True, "paused 1")


def test_the_same_id_is_answered_again_but_not_carried_out_twice() -> None:
    counter = Counter()
    assert counter.ask("a") == counter.ask("a")
    assert counter.ask("b").text == "paused 2"
    assert len(counter.done) == 2


def test_past_its_expiry_nothing_is_carried_out() -> None:
    counter = Counter()
    counter.clock.advance(10**9)
    reply = counter.ask("a", expires_in_ms=-1500)
    assert not reply.ok and "1.5 s too late" in reply.text
    assert counter.ask("b", expires_in_ms=0).ok
    assert not counter.control.answer(Request("c", "control", action="pause")).ok  # without an expiry
    assert len(counter.done) == 1


def test_an_unknown_action_and_a_missing_id_are_told() -> None:
    counter = Counter()
    assert "it takes fail, pause" in counter.ask("a", "dance").text
    assert not counter.ask("").ok


def test_what_fails_is_told() -> None:
    assert Counter().ask("a", "fail") == Reply("a", False, "fail failed: the journal is full")


def test_the_memory_of_answers_is_bounded() -> None:
    counter = Counter()
    for number in range(ANSWERS_KEPT + 5):
        counter.ask(str(number))
    assert len(counter.control._answers) == ANSWERS_KEPT


STAGE = """
import sys
from pathlib import Path
from bus.publisher import Publisher
from core.clock import LiveClock
from core.loop import PollLoop
clock, loop = LiveClock(), PollLoop()
publisher = Publisher("trader", Path(sys.argv[1]), clock, layout_hash=11, settings_hash=22, started_ms=1)
publisher.topic("status/0/", 3, last=8, snapshot=lambda: b"all is well")
publisher.on_control("pause", lambda request: (True, "paused: " + request.arguments["why"]))
publisher.attach(loop)
loop.run()
"""


def test_a_program_asks_a_stage(rig: Rig) -> None:
    rig.peer(STAGE)
    asker = sockets.requests_to(rig.run_dir, "trader")
    try:
        assert sockets.wait_writable(asker, 20), "it is up; `ask` waits for that no longer than a program may"
    finally:
        sockets.close(asker)
    assert ask(rig.run_dir, "trader", "pause", {"why": "lunch"}, timeout_s=20).text == "paused: lunch"
    reply, snapshot = ask_snapshot(rig.run_dir, "trader", "status/0/", timeout_s=20)
    assert (reply.epoch, reply.last, snapshot) == (3, 8, b"all is well")


def test_a_command_that_waited_for_a_stopped_stage_is_not_carried_out(rig: Rig) -> None:
    """It was reported as unanswered: carried out later it would surprise whoever gave up on it."""
    process = rig.peer(STAGE)
    clock = LiveClock()
    asker = sockets.requests_to(rig.run_dir, "trader")

    def send(id: str, expires_wall_ms: int) -> None:
        request = Request(id, "control", action="pause", arguments={"why": id}, expires_wall_ms=expires_wall_ms)
        assert sockets.send(asker, [pack(request)])

    def answer() -> Reply:
        assert sockets.wait_readable(asker, 20)
        parts = sockets.receive(asker)
        assert parts is not None
        return msgspec.msgpack.decode(parts[0], type=Reply)

    try:
        assert sockets.wait_writable(asker, 20)
        send("in time", clock.wall_ms() + 60_000)
        assert answer().text == "paused: in time"
        process.send_signal(signal.SIGSTOP)
        expires = clock.wall_ms() + 50
        send("late", expires)
        while clock.wall_ms() <= expires:
            assert not sockets.wait_readable(asker, 0.05)
        process.send_signal(signal.SIGCONT)
        late = answer()
        assert not late.ok and "too late and was not carried out" in late.text
    finally:
        sockets.close(asker)


def test_a_stage_that_does_not_run_is_named(rig: Rig) -> None:
    with pytest.raises(RemoteError, match=r"trader does not run, or hangs; nothing was asked of it: `make status`"):
        ask(rig.run_dir, "trader", "pause", timeout_s=0.1)


def test_a_stage_that_does_not_answer_is_named(rig: Rig) -> None:
    rig.publisher()  # its loop does not run
    with pytest.raises(Unanswered, match=r"trader did not answer within 2 s"):
        ask(rig.run_dir, "trader", "pause", timeout_s=2.0)


def test_make_says_where_it_is_not_known_whether_a_command_was_carried_out(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").symlink_to(rig.run_dir)
    monkeypatch.setenv("VAR_DIR", str(tmp_path))
    monkeypatch.setattr(tool, "EXPIRY_SECONDS", 0.2)
    assert (tool.main(["halt"]), tool.NOT_KNOWN) == (tool.NOT_DONE, 3), "nobody listens: nothing was asked"
    rig.publisher()  # its loop does not run
    monkeypatch.setattr(tool, "EXPIRY_SECONDS", 2.0)
    assert tool.main(["halt"]) == tool.NOT_KNOWN
    assert "Whether halt was carried out is not known: look at the page" in capsys.readouterr().err
