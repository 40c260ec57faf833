"""Who may reach the page: refused settings, the Host table, the listening socket, the security headers."""

import base64
import hashlib
import os
import re
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from core.errors import MisconfiguredError
from core.ports import port_holder
from core.settings import Secret, Settings
from dashboard.access import host_allowed, refusal
from dashboard.headers import CHART_STYLE_HASH, CSP
from dashboard.listen import open_socket

STATIC = Path(__file__).resolve().parents[2] / "dashboard" / "static"
CHART = STATIC / "vendor" / "lightweight-charts" / "lightweight-charts.standalone.production.js"


def settings(**changes: Any) -> Settings:
    known = {"host": "127.0.0.1", "port": 3000, "dashboard_password": Secret("")} | changes
    return cast(Settings, SimpleNamespace(**known))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.9"])
def test_loopback_is_served(host: str) -> None:
    assert refusal(settings(host=host)) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "pi.local"])
@pytest.mark.parametrize("password", ["", "hunter2"])
def test_beyond_loopback_is_refused_with_the_way_in(host: str, password: str) -> None:
    text = refusal(settings(host=host, dashboard_password=Secret(password)))
    assert text is not None and f"HOST={host}" in text and "ssh -L 3000:127.0.0.1:3000" in text


def test_a_password_that_would_protect_nothing_is_refused_and_not_repeated() -> None:
    text = refusal(settings(dashboard_password=Secret("hunter2")))
    assert text is not None and "DASHBOARD_PASSWORD" in text and "hunter2" not in text


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
    for path in [*STATIC.glob("js/*.js"), STATIC / "index.html", STATIC / "app.css"]:
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
