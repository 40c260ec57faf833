"""REST against a real local server that misbehaves in every way we have seen or feared."""

import asyncio
import contextlib
import socket
import threading

import pytest
import requests

from core.clock import LiveClock
from venues.coindcx.wire_public import parse_error
from venues.errors import Misconfigured, RateLimited, Rejected, Retry
from venues.rest import RestClient, new_session


class Server:
    """Answers each connection's requests with the given bytes, one after the other; counts the requests."""

    def __init__(self, *answers: bytes, hold: bool = False) -> None:
        self.answers = list(answers)
        self.hold = hold  # read, answer nothing, keep the connection
        self.requests: list[bytes] = []
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/x"
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._open.append(connection)
                self.connections += 1
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            buffer = b""
            while True:
                while b"\r\n\r\n" not in buffer:
                    data = connection.recv(65536)
                    if not data:
                        return
                    buffer += data
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                self.requests.append(head)
                if self.hold:
                    continue
                if not self.answers:
                    connection.close()
                    return
                answer = self.answers.pop(0)
                if not answer:
                    connection.close()
                    return
                connection.sendall(answer)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
        self._socket.close()
        for connection in self._open:
            connection.close()
        self._thread.join(1)


def http(status: int, body: bytes, kind: str = "application/json", length: int | None = None, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"Content-Type: {kind}"] if kind else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


@pytest.fixture
def ask():
    """Asks a server once over a client; both are closed at the end."""
    made = []

    def run(server: Server, client: RestClient | None = None, **options):
        client = client or RestClient("coindcx", LiveClock(), parse_error, timeout_s=(1.0, 0.3), **options)
        session = new_session()
        made.extend([server, client, session])
        return client.get_blocking(session, server.url, {"pair": "B-BTC_USDT"})

    yield run
    for item in made:
        item.close()


def test_an_answer_with_its_date(ask):
    reply = ask(Server(http(200, b"[]", Date="Sun, 22 Nov 2026 13:38:40 GMT")))
    assert reply.body == b"[]" and reply.date_s == 1795354720
    assert reply.sent_ns <= reply.received_ns


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "text/json", "application/problem+json"])
def test_kinds_of_json(ask, kind):
    assert ask(Server(http(200, b"{}", kind))).body == b"{}"


PAGE = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>"


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        pytest.param(http(200, PAGE, "text/html"), Retry, "a web page in place of JSON .*Just a moment", id="html 200"),
        pytest.param(http(403, PAGE, "text/html"), Retry, "HTTP 403.*region", id="html 403"),
        pytest.param(http(502, PAGE, "text/html"), Retry, "HTTP 502", id="html 502"),
        pytest.param(http(200, b"[]", ""), Retry, "no content type", id="no kind"),
        pytest.param(http(200, b""), Retry, "an empty answer", id="empty"),
        pytest.param(http(200, b"[1,", length=900), Retry, "broke off|in time", id="half"),
        pytest.param(http(500, b'{"message":"oops"}'), Retry, "has a problem .*oops", id="500"),
        pytest.param(http(503, b"{}"), Retry, "503", id="503"),
        pytest.param(http(422, b'{"code":422,"message":"Invalid pair NOPE"}'), Rejected, "Invalid pair NOPE", id="422"),
        pytest.param(http(404, b'{"message":"not_found"}'), Rejected, "not_found", id="404"),
        pytest.param(http(302, b"{}", Location="https://elsewhere/"), Retry, "moved to https://elsewhere", id="moved"),
        pytest.param(b"", Retry, "without an answer", id="nothing"),
        pytest.param(b"garbage\r\n\r\n", Retry, "GET http://127.0.0.1", id="no http"),
        pytest.param(http(200, b"x" * 5000), Retry, "longer than 4096 bytes", id="too long"),
        pytest.param(http(200, b"x", Content_Encoding="gzip"), Retry, "GET http", id="no gzip"),
    ],
)
def test_a_bad_answer_is_one_clear_error_and_asked_for_once(ask, answer, error, words):
    server = Server(answer, answer, answer)
    with pytest.raises(error, match=words) as caught:
        ask(server, max_bytes=4096)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert len(server.requests) == 1, "a GET that was read is not repeated"


def test_silence_is_asked_once(ask):
    server = Server(hold=True)
    with pytest.raises(Retry, match="no answer in time"):
        ask(server)
    assert len(server.requests) == 1


def test_nobody_there(ask):
    server = Server()
    server.close()
    with pytest.raises(Retry, match="refused"):
        ask(server)


@pytest.mark.parametrize(
    ("headers", "pause"),
    [({"Retry_After": "7"}, 7.0), ({"Retry_After": "0"}, 1.0), ({"Retry_After": "soon"}, 60.0), ({}, 60.0)],
)
def test_asked_too_often_means_no_request_until_it_is_over(ask, headers, pause):
    server = Server(http(429, b'{"message":"Too Many Requests"}', **headers), http(200, b"[]"))
    client = RestClient("coindcx", LiveClock(), parse_error)
    with pytest.raises(RateLimited, match="Too Many Requests") as caught:
        ask(server, client)
    assert caught.value.retry_after_s == pause
    with pytest.raises(RateLimited, match="not sent"):
        ask(server, client)
    assert len(server.requests) == 1


def test_a_ban_page_in_html_counts_as_asked_too_often(ask):
    with pytest.raises(RateLimited):
        ask(Server(http(429, PAGE, "text/html")))


@pytest.mark.parametrize("url", ["nonsense", "ftp://x/y", "http://"])
def test_an_address_that_is_none(url):
    client = RestClient("coindcx", LiveClock(), parse_error)
    with new_session() as session, pytest.raises(Misconfigured, match="VENUE_REST_URL"):
        client.get_blocking(session, url)


def test_five_questions_use_one_connection():
    server = Server(*[http(200, b"[]")] * 5)

    async def main() -> None:
        client = RestClient("coindcx", LiveClock(), parse_error)
        try:
            await client.get(server.url)
        finally:
            client.close()

    asyncio.run(main())
    with new_session() as session:
        client = RestClient("coindcx", LiveClock(), parse_error)
        for _ in range(4):
            client.get_blocking(session, server.url)
    server.close()
    assert len(server.requests) == 5 and server.connections == 2


def test_nothing_of_the_environment_is_used():
    with new_session() as session:
        assert session.trust_env is False
        retries = session.get_adapter("https://x").max_retries
        assert retries.read == 0 and retries.connect == 2 and retries.allowed_methods == {"GET"}
        assert isinstance(session, requests.Session)


def test_secrets_of_an_address_are_not_shown(ask):
    server = Server()
    server.close()
    server.url = server.url.replace("http://", "http://me:hidden@")
    with pytest.raises(Retry) as caught:
        ask(server)
    assert "hidden" not in str(caught.value)


def test_a_closed_client_asks_nothing():
    async def main() -> None:
        client = RestClient("coindcx", LiveClock(), parse_error)
        client.close()
        with pytest.raises(Retry, match="stopping"):
            await client.get("http://127.0.0.1:9/")

    asyncio.run(main())
