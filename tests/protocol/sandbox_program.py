"""`python -m sandbox` in a process of its own, for tests that kill and restart it."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAIR = "B-BTC_USDT"


class Program:
    """The sandbox in a process of its own, in a folder of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.port = free_port()
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
