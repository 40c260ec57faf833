"""From where the page may be asked: the tables of Host and Origin, the listening socket, the security headers."""

import base64
import hashlib
import os
import re
import socket
from pathlib import Path

import pytest

from core.errors import MisconfiguredError
from core.ports import port_holder
from dashboard.access import host_allowed, origin_allowed
from dashboard.headers import CHART_STYLE_HASH, CSP
from dashboard.listen import open_socket

STATIC = Path(__file__).resolve().parents[2] / "dashboard" / "static"
CHART = STATIC / "vendor" / "lightweight-charts" / "lightweight-charts.standalone.production.js"


@pytest.mark.parametrize(
    ("header", "ok"),
    [
        ("localhost", True),
        ("LOCALHOST:3000", True),
        ("localhost.", True),
        ("127.0.0.1:3000", True),
        ("192.168.1.20", True),
        ("[::1]:3000", True),
        ("[fe80::1]", True),
        ("testbox", True),
        ("TestBox:3000", True),
        ("testbox.local", True),
        ("bot.example.org", True),
        ("BOT.example.org.:443", True),
        ("evil.example.org", False),
        ("localhost.evil.org", False),
        ("127.0.0.1.evil.org", False),
        ("testbox.evil.org", False),
        ("xbot.example.org", False),
        ("999.1.1.1", False),
        ("[nonsense]", False),
        ("::1", False),
        ("", False),
        ("localhost:", False),
        ("localhost:port", False),
        ("local host", False),
        ("localhost@evil.org", False),
        ("localhost/evil", False),
    ],
)
def test_the_host_header(header: str, ok: bool) -> None:
    assert host_allowed(header, "testbox", frozenset({"bot.example.org"})) is ok


@pytest.mark.parametrize(
    ("origin", "host", "ok"),
    [
        ("http://localhost:3000", "localhost:3000", True),
        ("http://127.0.0.1:3000", "127.0.0.1:3000", True),
        ("http://[::1]:3000", "[::1]:3000", True),
        ("https://bot.example.org", "bot.example.org", True),
        ("https://BOT.example.org", "bot.example.org", True),
        ("http://localhost:3001", "localhost:3000", False),
        ("http://localhost", "localhost:3000", False),
        ("https://evil.example.org", "bot.example.org", False),
        ("https://bot.example.org.evil.org", "bot.example.org", False),
        ("https://bot.example.org@evil.org", "bot.example.org", False),
        ("null", "localhost:3000", False),
        ("", "localhost:3000", False),
        ("file://localhost:3000", "localhost:3000", False),
        ("http://[", "localhost:3000", False),
        ("http://", "", False),
    ],
)
def test_the_origin_header(origin: str, host: str, ok: bool) -> None:
    assert origin_allowed(origin, host) is ok


def test_a_machine_known_by_its_full_name_answers_to_its_short_one() -> None:
    for name in ("pi", "pi.lan", "pi.local"):
        assert host_allowed(name, "pi.lan", frozenset())
    assert not host_allowed("", "", frozenset())
    assert not host_allowed(".local", "", frozenset())


def test_the_csp_allows_the_one_style_of_the_chart_library_and_nothing_foreign() -> None:
    found = re.search(r'createElement\("style"\),this\.\w+\.innerText="([^"]+)"', CHART.read_text(encoding="utf-8"))
    assert found is not None, "the chart library makes its style in another way now: look at it and at the CSP"
    digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
    assert f"sha256-{digest}" == CHART_STYLE_HASH
    assert "default-src 'self'" in CSP
    for word in ("unsafe", "http:", "https:", "*"):
        assert word not in CSP


def test_the_vendored_file_is_the_one_that_its_readme_names() -> None:
    readme = (STATIC / "vendor" / "README").read_text(encoding="utf-8")
    assert hashlib.sha256(CHART.read_bytes()).hexdigest() in readme
    assert "Apache" in (CHART.parent / "LICENSE").read_text(encoding="utf-8")
    notice = (CHART.parent / "NOTICE").read_text(encoding="utf-8").split("\n")[1]
    assert notice.removesuffix(" https://www.tradingview.com/") in (STATIC / "index.html").read_text(encoding="utf-8")


def test_our_own_files_make_no_html_from_text_and_ask_nobody_else() -> None:
    for path in [*STATIC.glob("js/*.js"), *STATIC.glob("*.html"), *STATIC.glob("*.css")]:
        text = path.read_text(encoding="utf-8")
        for word in ("innerHTML", "insertAdjacentHTML", "document.write", "eval(", "style=", "onclick=", "@import"):
            assert word not in text, f"{path.name}: {word}"
        foreign = set(re.findall(r"https?://[^\s\"'<)]+", text)) - {"https://www.tradingview.com/"}
        assert not foreign, f"{path.name}: {foreign}"


def test_a_port_in_use_names_the_setting_and_the_holder() -> None:
    with open_socket("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(MisconfiguredError, match=rf"PORT={port} is in use by .*\(pid {os.getpid()}\)"):
            open_socket("127.0.0.1", port)
        assert port_holder(port, Path("/nowhere")) is None


def test_an_address_of_another_machine_names_host() -> None:
    with pytest.raises(MisconfiguredError, match=r"HOST=203\.0\.113\.7"):
        open_socket("203.0.113.7", 3000)


def test_the_socket_listens_at_once() -> None:
    with open_socket("127.0.0.1", 0) as sock, socket.create_connection(sock.getsockname(), timeout=5):
        pass
