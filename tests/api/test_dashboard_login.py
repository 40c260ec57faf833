"""Login, tokens and control over HTTP: what is open, what is not, and what a foreign page cannot do."""

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from bus.said import said_by
from dashboard.listen import open_socket
from dashboard.page import Page
from dashboard.routes import create_app
from dashboard.sessions import LIFE_S
from dashboard.throttle import FREE_TRIES
from tests.dashboard_world import healthy, page, view
from tests.operator_world import PASSWORD, TOKEN, House

PAUSE = {"action": "pause", "id": "page-0123456789"}
BEARER = {"authorization": f"Bearer {TOKEN}"}


def shown() -> Page:
    of = healthy(page())
    of.state.fold_view(view(), of.clock.monotonic_ns())
    return of


class Site:
    """A page behind a password, asked by a client that keeps cookies as a browser does."""

    def __init__(self, **house: str) -> None:
        self.page = shown()
        self.house = House(self.page.clock, **({"password": PASSWORD, "token": TOKEN} | house))  # type: ignore[arg-type]
        app = create_app(self.page, "testbox", ("bot.example.org",), self.house.operating)
        self.app = app
        self.web = TestClient(app, base_url="http://localhost:3000", follow_redirects=False)

    def log_in(self, password: str = PASSWORD, **headers: str) -> Any:
        return self.web.post("/login", json={"password": password}, headers=headers)

    def control(self, content: Any = PAUSE, **headers: str) -> Any:
        return self.web.post("/api/control", json=content, headers=headers)


@pytest.fixture
def site() -> Site:
    return Site()


CLOSED = [
    "/api/stats", "/api/page", "/api/candles", "/api/trades", "/api/equity", "/api/stream", "/metrics", "/nothing",
    "/favicon.ico", "/static/app.css", "/static/control.css", "/static/js/main.js", "/static/js/control.js",
    "/static/icon.svg", "/static/index.html", "/static/login.html", "/healthz/", "/login/", "/static/js/../js/main.js",
    "/static/login.css/../app.css", "//api/stats", "/%61pi/stats", "/healthz%2f..%2fapi%2fstats",
]  # fmt: skip


@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize("headers", [{}, {"cookie": "scalp_3000=1.2.3"}, {"authorization": "Bearer "}])
def test_with_a_password_nothing_is_shown_to_who_is_not_logged_in(
    site: Site, path: str, headers: dict[str, str]
) -> None:
    answer = site.web.get(path, headers=headers)
    assert answer.status_code == 401
    assert list(answer.json()) == ["error"] and answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/healthz", "/login", "/static/login.css", "/static/js/login.js"])
def test_health_and_the_login_page_are_open(site: Site, path: str) -> None:
    answer = site.web.get(path)
    assert answer.status_code == 200 and answer.headers["x-frame-options"] == "DENY"


def test_the_login_page_needs_no_file_that_is_behind_it(site: Site) -> None:
    text = site.web.get("/login").text
    named = [part.split('"')[0] for mark in ('src="', 'href="') for part in text.split(mark)[1:]]
    assert named
    for name in named:
        assert name == "data:," or site.web.get(f"/{name}").status_code == 200, name


def test_who_opens_the_page_is_led_to_the_login(site: Site) -> None:
    answer = site.web.get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "login")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", ["/api/control", "/logout", "/", "/api/stats"])
def test_no_other_method_goes_around_the_login(site: Site, method: str, path: str) -> None:
    answer = site.web.request(method, path, headers={"content-type": "application/json"})
    assert answer.status_code == 401
    assert site.house.trader.done == [] and site.house.keys == 0


def test_a_login_opens_the_page_with_a_cookie_that_scripts_and_foreign_pages_do_not_get(site: Site) -> None:
    answer = site.log_in()
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"]
    name, rest = cookie.split("=", 1)
    assert name == "scalp_3000"
    flags = {part.strip().lower() for part in rest.split(";")[1:]}
    assert flags == {"httponly", "samesite=strict", "path=/", f"max-age={LIFE_S}"}
    for path in ("/", "/api/stats", "/metrics", "/static/js/main.js"):
        assert site.web.get(path).status_code == 200, path
    assert site.web.get("/api/page").json()["login"] is True
    assert ("info", "login to the page from testclient") in site.house.told


def test_behind_https_the_cookie_is_for_https_alone() -> None:
    site = Site()
    web = TestClient(site.app, base_url="https://bot.example.org")
    cookie = web.post("/login", json={"password": PASSWORD}).headers["set-cookie"]
    assert "secure" in {part.strip().lower() for part in cookie.split(";")}


def test_a_wrong_password_is_told_and_noted_without_it(site: Site) -> None:
    answer = site.log_in("swordfish!")
    assert (answer.status_code, answer.json()) == (401, {"error": "this is not the password"})
    assert "set-cookie" not in answer.headers
    assert site.house.told == [("warn", "a wrong password for the page, from testclient")]


def test_guesses_wait(site: Site) -> None:
    for _ in range(FREE_TRIES):
        assert site.log_in("wrong").status_code == 401
    answer = site.log_in()
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert "too many wrong tries" in answer.json()["error"]
    assert len(site.house.told) == FREE_TRIES, "what is not looked at is not noted either"
    site.page.clock.advance(1_000_000_000)  # type: ignore[attr-defined]
    assert site.log_in().status_code == 200


@pytest.mark.parametrize("body", ["", "{}", "[]", '"x"', '{"password": 5}', '{"password": "a", "more": 1}', "\xff"])
def test_a_login_without_a_password_is_told(site: Site, body: str) -> None:
    headers = {"content-type": "application/json"}
    answer = site.web.post("/login", content=body.encode("latin-1"), headers=headers)
    assert answer.status_code == 400 and "password" in answer.json()["error"]


def test_a_body_without_end_is_cut_off(site: Site) -> None:
    answer = site.log_in("x" * 5000)
    assert answer.status_code == 413 and "4096 bytes" in answer.json()["error"]
    assert site.log_in().status_code == 200
    assert site.control({**PAUSE, "reason": "x" * 5000}).status_code == 413


def test_logging_out_ends_every_session(site: Site) -> None:
    site.log_in()
    other = TestClient(site.app, base_url="http://localhost:3000")
    assert other.post("/login", json={"password": PASSWORD}).status_code == 200
    answer = site.web.post("/logout", json={})
    assert answer.status_code == 200 and "max-age=0" in answer.headers["set-cookie"].lower()
    assert site.web.get("/api/stats").status_code == other.get("/api/stats").status_code == 401
    assert site.log_in().status_code == 200


def test_a_session_ends_with_its_time(site: Site) -> None:
    site.log_in()
    site.page.clock.advance((LIFE_S - 1) * 1_000_000_000)  # type: ignore[attr-defined]
    cookie = site.web.cookies["scalp_3000"]
    assert site.web.get("/api/page", headers={"cookie": f"scalp_3000={cookie}"}).status_code == 200
    site.page.clock.advance(1_000_000_000)  # type: ignore[attr-defined]
    assert site.web.get("/api/page", headers={"cookie": f"scalp_3000={cookie}"}).status_code == 401


def test_a_program_comes_in_by_the_token_and_is_named_as_one(site: Site) -> None:
    assert site.web.get("/api/stats", headers=BEARER).status_code == 200
    answer = site.control(**BEARER)
    assert answer.status_code == 200 and answer.json()["text"] == "trading is paused, 1 done"
    assert site.house.trader.done[0].arguments == {"reason": "by a program"}
    assert site.house.told == []
    assert site.web.get("/api/stats", headers={"authorization": f"Bearer {TOKEN}x"}).status_code == 401
    assert site.house.told == [("warn", "a wrong token for the page, from testclient")]


# --- control ---


def test_control_answers_what_the_trader_said_and_an_id_counts_once(site: Site) -> None:
    site.log_in()
    first, again = site.control(), site.control()
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert first.json() == {
        "id": PAUSE["id"], "action": "pause", "ok": True, "text": "trading is paused, 1 done"
    }  # fmt: skip
    assert [request.arguments for request in site.house.trader.done] == [{"reason": "by the page"}]


def test_control_says_when_it_is_not_known(site: Site) -> None:
    site.log_in()
    site.house.trader.silent = True
    answer = site.control()
    assert answer.status_code == 504 and answer.json()["known"] is False
    assert "It is not known whether pause was carried out" in answer.json()["error"]


def test_what_is_no_command_is_400_and_names_what_is(site: Site) -> None:
    site.log_in()
    answer = site.control({"action": "dance", "id": PAUSE["id"]})
    assert answer.status_code == 400 and "pause, resume, flatten, halt, restart are known" in answer.json()["error"]
    answer = site.control({"action": "restart", "id": PAUSE["id"], "stage": "sshd"})
    assert answer.status_code == 400 and "feeder, indicators, trader" in answer.json()["error"]


def test_the_dashboard_ends_after_it_has_answered(site: Site) -> None:
    site.log_in()
    answer = site.control({"action": "restart", "id": PAUSE["id"], "stage": "dashboard"})
    assert answer.status_code == 200 and site.house.ended == 1
    answer = site.control({"action": "restart", "id": "page-another-one", "stage": "feeder"})
    assert answer.status_code == 200 and site.house.ended == 1 and site.house.supervised.renewed == ["feeder"]


@pytest.mark.parametrize("action", ["pause", "resume", "flatten", "halt", "restart"])
def test_without_a_password_reading_is_open_and_control_is_refused_naming_the_setting(action: str) -> None:
    site = Site(password="", token="")
    assert site.web.get("/api/page").json()["login"] is False
    answer = site.control({"action": action, "id": PAUSE["id"], "stage": "trader"}, **BEARER)
    assert (answer.status_code, answer.json()["setting"]) == (403, "DASHBOARD_PASSWORD")
    assert "make pause" in answer.json()["error"]
    assert (site.house.trader.done, site.house.supervised.renewed) == ([], [])
    assert site.web.get("/login").headers["location"] == "."
    assert site.log_in("").status_code == site.web.post("/logout", json={}).status_code == 404


# --- foreign pages ---


@pytest.mark.parametrize("path", ["/api/control", "/login", "/logout"])
@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain;x/json"],
)
def test_what_a_form_can_send_is_refused(site: Site, path: str, kind: str) -> None:
    """A form of another page is sent with our cookie where SameSite is not kept, and never as JSON."""
    site.log_in()
    answer = site.web.post(path, content=json.dumps(PAUSE), headers={"content-type": kind})
    assert answer.status_code == 415
    assert site.house.trader.done == [] and site.house.keys == 0


@pytest.mark.parametrize("path", ["/api/control", "/login", "/logout"])
@pytest.mark.parametrize("origin", ["https://evil.example.org", "http://localhost:8080", "null", "http://localhost"])
def test_another_pages_origin_is_refused(site: Site, path: str, origin: str) -> None:
    site.log_in()
    answer = site.web.post(path, json=PAUSE, headers={"origin": origin})
    assert answer.status_code == 403 and "may not do this" in answer.json()["error"]
    assert site.house.trader.done == [] and site.house.keys == 0


def test_our_own_origin_is_taken(site: Site) -> None:
    assert site.log_in(origin="http://localhost:3000").status_code == 200
    assert site.control(origin="http://localhost:3000").status_code == 200


def test_no_answer_lets_another_origin_read(site: Site) -> None:
    site.log_in()
    for method, path in (("GET", "/api/stats"), ("OPTIONS", "/api/control"), ("POST", "/login")):
        headers = {"origin": "https://evil.example.org", "access-control-request-method": "POST"}
        answer = site.web.request(method, path, headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control-")]


# --- what never gets out ---


def test_neither_password_nor_token_is_in_any_answer_or_told_to_people(site: Site) -> None:
    site.log_in("swordfish!")
    site.log_in()
    said = [site.control(**BEARER).text]
    said += [site.web.get(path).text for path in ("/api/stats", "/api/page", "/metrics", "/login", "/", "/healthz")]
    said += [repr(site.house.told), repr(site.house.operating), repr(site.house.door), repr(vars(site.house.door))]
    for secret in (PASSWORD, TOKEN, "swordfish!"):
        assert not [text for text in said if secret in text]


# --- on a real socket ---


class Quiet(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        pass


@pytest.fixture
def served() -> Iterator[tuple[Site, int]]:
    """A site on a port of its own, its page shown ten times a second."""
    made = Site()
    sock = open_socket("127.0.0.1", 0)
    config = uvicorn.Config(made.app, log_config=None, lifespan="off", timeout_graceful_shutdown=1, ws="none")
    server = Quiet(config)

    async def run() -> None:
        serving = asyncio.ensure_future(server.serve(sockets=[sock]))
        while not serving.done():
            made.page.clock.advance(1_000_000)  # type: ignore[attr-defined]
            made.page.show(lambda us: None)
            made.page.broadcaster.wake()
            await asyncio.sleep(0.05)
        await serving

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    yield made, int(sock.getsockname()[1])
    made.page.broadcaster.close()
    server.should_exit = True
    thread.join(timeout=20)
    sock.close()


def ask(port: int, method: str, path: str, content: Any = None, **headers: str) -> tuple[int, Any, str]:
    """Status, body and cookie."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        body = None if content is None else json.dumps(content)
        kind = {"content-type": "application/json"} if body else {}
        connection.request(method, path, body, kind | headers)
        answer = connection.getresponse()
        cookie = (answer.getheader("set-cookie") or "").split(";")[0]
        return answer.status, json.loads(answer.read() or b"null"), cookie
    finally:
        connection.close()


def stream(port: int, cookie: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=20)
    sock.sendall(f"GET /api/stream HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n".encode())
    said = b""
    while b"event: health" not in said:
        said += sock.recv(65536)
    assert said.startswith(b"HTTP/1.1 200")
    return sock


def test_an_open_stream_ends_with_its_session(served: tuple[Site, int]) -> None:
    site, port = served
    status, _, cookie = ask(port, "POST", "/login", {"password": PASSWORD})
    assert status == 200
    with stream(port, cookie) as open_stream:
        assert ask(port, "POST", "/logout", {}, cookie=cookie)[0] == 200
        end = time.monotonic() + 20
        while open_stream.recv(65536) not in (b"", b"0\r\n\r\n"):
            assert time.monotonic() < end, "the stream goes on for who was logged out"
    assert ask(port, "GET", "/api/stats", cookie=cookie)[0] == 401
    assert site.page.broadcaster.clients == 0


def test_login_and_control_over_a_real_socket(served: tuple[Site, int]) -> None:
    site, port = served
    assert ask(port, "POST", "/api/control", PAUSE)[0] == 401
    assert ask(port, "POST", "/login", {"password": "wrong"})[0] == 401
    _, _, cookie = ask(port, "POST", "/login", {"password": PASSWORD})
    status, body, _ = ask(port, "POST", "/api/control", PAUSE, cookie=cookie)
    assert (status, body["text"]) == (200, "trading is paused, 1 done")
    assert site.house.trader.done[0].arguments["reason"] == said_by("the page")
