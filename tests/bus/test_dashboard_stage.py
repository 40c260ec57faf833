"""The stage as a process on real sockets: what the others publish is on the page, and it goes when it is told to."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bus import sockets
from bus.frames import STATUS, TRADE, TRADER, VIEW
from bus.layouts import layout_hash
from bus.messages import At, CheckedEvent, Entry, Request, encode
from bus.publisher import Publisher
from bus.said import said_by
from core.clock import LiveClock
from core.loop import PollLoop
from core.paths import ROOT, book_dir, run_dir
from core.settings import shared_hash
from core.settings_load import KNOWN, apply, load
from dashboard.listen import open_socket
from storage.batch import Batch
from storage.migrations import migrate
from storage.writer import Writer
from tests.dashboard_world import PAIR, status, trade, view
from tests.up_helpers import short_folder


def checked(number: int, line: str, *, at_start: bool = True) -> CheckedEvent:
    """A comparison of journal and venue that agreed."""
    return CheckedEvent(At(7, 1, 61_000), at_start, True, [line], {}, {}, 1_000 * number)


def free_port() -> int:
    with open_socket("127.0.0.1", 0) as sock:
        return int(sock.getsockname()[1])


class Scene:
    """The dashboard's process, and the other stages' publishers on the test's own loop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.settings = load({"VAR_DIR": str(folder), "PORT": str(self.port)}, folder / "no.env")
        self.clock = LiveClock()
        self.loop = PollLoop(self.clock)
        self.processes: list[subprocess.Popen[str]] = []
        self.publishers: dict[str, Publisher] = {}

    def dashboard(self, **settings: str) -> "subprocess.Popen[str]":
        environment = {name: text for name, text in os.environ.items() if name not in KNOWN}
        environment |= {"VAR_DIR": str(self.folder), "PORT": str(self.port)} | settings
        process = subprocess.Popen(
            [sys.executable, "-m", "dashboard"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )
        self.processes.append(process)
        return process

    def others(self) -> None:
        """Feeder, indicators, trader and storage, as they stand after a while."""
        facts: dict[str, dict[str, Any]] = {
            "feeder": {"market_age_ms": 5, "last_number": 50, "feed": "stream"},
            "trader": {"record": 50},
        }
        for stage in ("feeder", "indicators", "trader", "storage"):
            publisher = Publisher(
                stage,
                run_dir(self.folder),
                self.clock,
                layout_hash=layout_hash(),
                settings_hash=shared_hash(self.settings),
                started_ms=self.clock.wall_ms(),
                facts=lambda stage=stage: facts.get(stage, {}),  # type: ignore[misc]
            )
            self.publishers[stage] = publisher
        self.publishers["feeder"].topic(TRADE, 7, 50)
        self.publishers["indicators"].topic(VIEW, 1, 0, snapshot=lambda: encode([view(100.0)]))
        self.publishers["trader"].topic(STATUS, 1, 0, snapshot=lambda: encode([status(held=True)]))
        self.publishers["trader"].topic(TRADER, 9, 0, ring=100)
        self.publishers["trader"].send(TRADER, Entry(1, trade(1, "buy", None)))
        self.publishers["trader"].event("entry", "bought before the page was there")
        for publisher in self.publishers.values():
            publisher.attach(self.loop)

    def until(self, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Runs the loop until the condition holds; the limit only ends a test that fails."""
        found: list[Any] = []
        self.loop.stopped = False

        def check() -> None:
            answer = condition()
            if answer:
                found.append(answer)
                self.loop.stop()

        checking, limit = self.loop.every(0.05, check), self.loop.call_later(seconds, self.loop.stop)
        self.loop.run()
        checking.cancel()
        limit.cancel()
        assert found, "waited in vain"
        return found[0]

    def killed(self, process: "subprocess.Popen[str]") -> str:
        """Kills it; all that it said."""
        self.processes.remove(process)
        process.kill()
        return process.communicate()[0]

    def trader(self) -> "subprocess.Popen[str]":
        """The real one, with no market."""
        environment = {name: text for name, text in os.environ.items() if name not in KNOWN}
        environment |= {"VAR_DIR": str(self.folder), "PORT": str(self.port)}
        process = subprocess.Popen(
            [sys.executable, "-m", "trader"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )
        self.processes.append(process)
        return process

    def get(self, path: str, cookie: str = "") -> tuple[int, Any]:
        """Status and body; (0, None) where nobody answers."""
        return self._ask("GET", path, None, {"cookie": cookie})[:2]

    def post(self, path: str, content: Any, cookie: str = "") -> tuple[int, Any, str]:
        """Status, body and the cookie that was set."""
        return self._ask("POST", path, json.dumps(content), {"cookie": cookie, "content-type": "application/json"})

    def log_in(self, password: str) -> str:
        """The session's cookie, once the dashboard is there."""
        found: tuple[int, Any, str] = self.until(
            lambda: (answer := self.post("/login", {"password": password}))[0] and answer
        )
        assert found[0] == 200, found
        return found[2]

    def _ask(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> tuple[int, Any, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            cookie = (answer.getheader("set-cookie") or "").partition(";")[0]
            return answer.status, json.loads(answer.read()), cookie
        except OSError:
            return 0, None, ""
        finally:
            connection.close()

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()
        for publisher in self.publishers.values():
            publisher.close()
        self.loop.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    with short_folder() as folder:
        made = Scene(folder)
        yield made
        made.close()


def test_the_page_shows_what_the_stages_publish_whoever_was_first(scene: Scene) -> None:
    scene.others()
    scene.dashboard()
    assert scene.until(lambda: scene.get("/healthz")[0] == 200)
    stats = scene.until(lambda: (s := scene.get("/api/stats")[1]) and s["price"] and s["entry_price"] and s)
    assert (stats["price"], stats["entry_price"], stats["wallet_base"]) == (100.0, 98.0, 2.5)
    assert "bought before the page was there" in [line["text"] for line in stats["logs"]]
    assert [row["id"] for row in scene.get("/api/trades")[1]] == [1], "storage wrote nothing, the journal told it"
    scene.publishers["indicators"].send(VIEW, view(101.5, number=51))
    scene.publishers["trader"].send(TRADER, Entry(2, trade(2)))
    assert scene.until(lambda: scene.get("/api/stats")[1]["price"] == 101.5)
    assert scene.until(lambda: len(scene.get("/api/trades")[1]) == 2)


def test_the_last_starts_report_is_there_after_a_restart_of_the_dashboard_and_grows_live(scene: Scene) -> None:
    live = {"SIMULATION_MODE": "false"}
    book = book_dir(load(live | {"VAR_DIR": str(scene.folder)}, scene.folder / "no.env"))
    book.mkdir(parents=True)
    writer = Writer(book / "bot_data.db")
    migrate(writer.engine, writer.database, 1)
    batch = Batch()
    batch.add_entry(9, 1, checked(1, "exit x of B-BTC_USDT: unknown before, filled now"))
    writer.write(batch)
    writer.close()
    scene.others()
    for killed in (False, True):
        process = scene.dashboard(**live)
        start = scene.until(lambda: (found := scene.get("/api/recovery")[1]) and found["start"])
        assert start["report"] == ["exit x of B-BTC_USDT: unknown before, filled now"], killed
        scene.killed(process)
    scene.dashboard(**live)
    scene.until(lambda: scene.get("/healthz")[0])
    scene.publishers["trader"].send(TRADER, Entry(2, checked(2, "found later", at_start=False)))
    later = scene.until(lambda: (found := scene.get("/api/recovery")[1]) and found["later"])
    assert [one["report"] for one in later] == [["found later"]]


def test_a_stage_that_falls_silent_is_told_and_so_is_its_return(scene: Scene) -> None:
    scene.others()
    scene.dashboard()
    scene.until(lambda: scene.get("/healthz")[0] == 200)
    scene.publishers.pop("storage").close()
    failing = scene.until(lambda: (h := scene.get("/healthz"))[0] == 503 and h[1]["failing"])
    assert list(failing) == ["stage:storage"]
    kept = {name: publisher for name, publisher in scene.publishers.items() if name != "storage"}
    for publisher in kept.values():
        publisher.close()
    scene.others()
    assert scene.until(lambda: scene.get("/healthz")[0] == 200)


def test_latency_of_every_stage_is_told_the_own_one_included(scene: Scene) -> None:
    scene.others()
    scene.publishers["feeder"].spans.of("arrival_to_publish").record(250)
    scene.dashboard()
    scene.until(lambda: scene.get("/healthz")[0] == 200)
    with socket.create_connection(("127.0.0.1", scene.port), timeout=30) as listener:
        listener.sendall(f"GET /api/stream?pair={PAIR} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        said = b""
        while b"event: tick" not in said:
            said += listener.recv(65536)
        scene.publishers["indicators"].send(VIEW, view(101.5, number=51))  # shown only because somebody looks
        found = scene.until(
            lambda: (
                (s := scene.get("/api/stats")[1]["latency"]).get("dashboard")
                and s["dashboard"]["change_to_page"]["minute"]["count"]
                and s
            )
        )
    assert found["feeder"]["arrival_to_publish"]["minute"]["p50"] == pytest.approx(250, rel=0.011)
    assert found["feeder"]["arrival_to_publish"]["minute"]["count"] == 1


def test_an_open_stream_does_not_hold_up_the_end(scene: Scene) -> None:
    scene.others()
    process = scene.dashboard()
    scene.until(lambda: scene.get("/healthz")[0] == 200)
    with socket.create_connection(("127.0.0.1", scene.port), timeout=30) as listener:
        listener.sendall(f"GET /api/stream?pair={PAIR} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        said = b""
        while b"event: tick" not in said:
            chunk = listener.recv(65536)
            assert chunk, said
            said += chunk
        assert said.startswith(b"HTTP/1.1 200")
        process.send_signal(signal.SIGTERM)
        # The server's own limit for answers under way is a second; what hangs is killed by supervisord at ten.
        assert process.wait(timeout=8) == 0


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"HOST": "0.0.0.0"}, "HOST=0.0.0.0"), ({"DASHBOARD_PASSWORD": "hunter2"}, "DASHBOARD_PASSWORD is too short")],
)
def test_settings_that_would_open_the_page_unprotected_end_it(
    scene: Scene, settings: dict[str, str], named: str
) -> None:
    process = scene.dashboard(**settings)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2, "only a person can mend it"
    assert named in said and "hunter2" not in said


def test_a_password_that_was_removed_since_the_last_restart_ends_the_dashboard_and_not_the_page_open(
    scene: Scene,
) -> None:
    given = {"VAR_DIR": str(scene.folder), "PORT": str(scene.port), "HOST": "0.0.0.0", "DASHBOARD_PASSWORD": PASSWORD}
    apply(load(given, scene.folder / "no.env"))
    process = scene.dashboard(SUPERVISOR_ENABLED="1")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and "HOST=0.0.0.0 opens the page to other machines" in said


PASSWORD = "correct horse"
PAUSE = {"action": "pause", "id": "page-0123456789"}
RESUME = {"action": "resume", "id": "page-to-begin-with"}


def test_a_command_that_a_stopped_trader_gets_late_is_not_carried_out_and_that_is_the_answer(scene: Scene) -> None:
    trader = scene.trader()
    scene.dashboard(DASHBOARD_PASSWORD=PASSWORD)
    cookie = scene.log_in(PASSWORD)
    scene.until(lambda: scene.post("/api/control", RESUME, cookie)[0] == 200)
    asker = sockets.requests_to(run_dir(scene.folder), "trader")
    try:
        assert sockets.wait_writable(asker, 20)
        trader.send_signal(signal.SIGSTOP)
        # Whom it cannot reach it asks nothing; only a command that was under way already can be late.
        status, answer, _ = scene.post("/api/control", PAUSE | {"expires_ms": 300}, cookie)
        assert (status, answer["known"]) == (503, True) and "nothing was asked of it" in answer["error"]
        expires = scene.clock.wall_ms() + 100
        said = {"reason": said_by("the page")}
        request = Request(PAUSE["id"], "control", action="pause", arguments=said, expires_wall_ms=expires)
        assert sockets.send(asker, [encode(request)])
        while scene.clock.wall_ms() <= expires:
            assert not sockets.wait_readable(asker, 0.05)
        trader.send_signal(signal.SIGCONT)
        assert sockets.wait_readable(asker, 20)
    finally:
        sockets.close(asker)
    status, answer, _ = scene.post("/api/control", PAUSE, cookie)
    assert status == 409 and "too late and was not carried out" in answer["error"], "the id is spent"
    status, answer, _ = scene.post("/api/control", PAUSE | {"id": "page-another-one"}, cookie)
    assert (status, answer["text"]) == (200, "trading is paused")
    logs = scene.until(
        lambda: (
            (s := scene.get("/api/stats", cookie)[1])
            and (told := [line["text"] for line in s["logs"] if "(by the page)" in line["text"]])
            and len(told) > 1
            and told
        )
    )
    assert [text.partition(":")[0] for text in logs] == ["trading goes on (by the page)", "paused"]


def test_a_trader_that_says_nothing_in_time_is_called_unknown(scene: Scene) -> None:
    scene.others()  # their loop stands still while the test waits for the answer
    scene.dashboard(DASHBOARD_PASSWORD=PASSWORD)
    cookie = scene.log_in(PASSWORD)
    status, answer, _ = scene.post("/api/control", PAUSE | {"expires_ms": 1500}, cookie)
    assert (status, answer["known"]) == (504, False)
    assert "did not answer within" in answer["error"] and "look at the state" in answer["error"]


def test_a_session_outlives_the_dashboard_and_no_log_holds_a_secret(scene: Scene) -> None:
    token = "0123456789abcdef"
    said = ""
    process = scene.dashboard(DASHBOARD_PASSWORD=PASSWORD, DASHBOARD_TOKEN=token, LOG_LEVEL="debug")
    cookie = scene.log_in(PASSWORD)
    assert scene.post("/login", {"password": "swordfish!"})[0] == 401
    assert scene.get("/api/stats")[0] == 401 and scene.get("/healthz")[0] == 503
    arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode()
    said += scene.killed(process)
    process = scene.dashboard(DASHBOARD_PASSWORD=PASSWORD, DASHBOARD_TOKEN=token)
    assert scene.until(lambda: scene.get("/api/stats", cookie)[0]) == 200
    said += scene.killed(process)
    process = scene.dashboard(DASHBOARD_PASSWORD="another horse")
    assert scene.until(lambda: scene.get("/api/stats", cookie)[0]) == 401
    scene.killed(process)
    assert "a wrong password for the page, from 127.0.0.1" in said
    for secret in (PASSWORD, token, "swordfish!", cookie.partition("=")[2]):
        assert secret not in said + arguments


def test_a_proxy_on_this_machine_is_believed_on_address_and_https(scene: Scene) -> None:
    process = scene.dashboard(DASHBOARD_PASSWORD=PASSWORD)
    scene.log_in(PASSWORD)
    connection = http.client.HTTPConnection("127.0.0.1", scene.port, timeout=30)
    via = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https", "content-type": "application/json"}
    connection.request("POST", "/login", json.dumps({"password": PASSWORD}), via)
    answer = connection.getresponse()
    assert answer.read() and "; Secure" in (answer.getheader("set-cookie") or "")
    connection.close()
    said = scene.killed(process)
    assert "login to the page from 127.0.0.1" in said and "login to the page from 203.0.113.9" in said


def test_a_dashboard_that_nobody_would_start_again_does_not_end_itself(scene: Scene) -> None:
    scene.dashboard(DASHBOARD_PASSWORD=PASSWORD)
    cookie = scene.log_in(PASSWORD)
    restart = {"action": "restart", "stage": "dashboard", "id": "page-0123456789"}
    assert scene.post("/api/control", restart, cookie)[0] == 504, "there is no supervisord to ask"
    assert scene.get("/api/stats", cookie)[0] == 200


def test_a_port_in_use_ends_it_naming_the_setting(scene: Scene) -> None:
    with open_socket("127.0.0.1", scene.port):
        process = scene.dashboard()
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"PORT={scene.port} is in use by" in said
