"""Tick to order on the wire: from a trade's arrival until the first byte of the order that it caused leaves.

The real bot with real orders (VENUE=sandbox, SIMULATION_MODE=false), a few markets, settings under which it trades all
the time. The figures are the trader's own spans, as the page shows them. The floor is measured beside it, in the
same round and at a steady pace: one row as large as an intent, committed by bare sqlite3 with a full fsync in the same
folder's file system, then an HMAC and a POST of the same size by bare `requests` to a bare peer on loopback, until its
first byte leaves. What the venue needs for its answer is the sandbox's own doing, and has no floor.
"""

import hashlib
import hmac
import http.client
import json
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection

from core.paths import ROOT
from tools.bench.bot import Running, running
from tools.bench.figure import Figure, Options, figure

COINS = ("BTC", "ETH", "SOL")  # no more than leave room in the limits of REST: waiting for it is no speed of ours
PAIRS = tuple(f"{coin}/USDT" for coin in COINS)
SETTINGS: Mapping[str, str] = {
    "VENUE": "sandbox",
    "SANDBOX_PROTOCOL": "binance",
    "SIMULATION_MODE": "false",
    "NATIVE_STOP": "false",  # at this pace its requests use up the limits of REST; see COINS
    "PAIRS": ",".join(PAIRS),
    "TRADE_CAPITAL": "200",
    "MAX_OPEN_POSITIONS": str(len(PAIRS)),
    "MAX_ORDERS_PER_MINUTE": "0",
    "SHADOW_LIMIT_BPS": "0",
    "TIMEFRAME": "1s",
    "WARMUP_CANDLES": "10",
    "RSI_PERIOD": "5",
    "RSI_BUY": "47.3",
    "RSI_SELL": "52.7",
    "RSI_CRASH": "11.3",
    "BB_PERIOD": "10",
    "BB_STDDEV": "0.7",
    "TRAILING_STOP_PCT": "0.0007",
}
SECONDS = 45.0  # the spans' minute is forgotten after 50
FIRST_SECONDS = 60.0  # until the first order
STEP_SECONDS = 0.05  # of the floor
INTENT = bytes(700)  # an intent as journalled, with the state after it
BODY = json.dumps(
    {"side": "buy", "order_type": "limit_order", "market": "BTCUSDT", "price_per_unit": 81_000.12,
     "total_quantity": 0.00246, "client_order_id": "bot0123456789a", "timestamp": 1_800_000_000_000}
).encode()  # fmt: skip
ANSWER = b'{"orders":[{"id":"%s","status":"open"}]}' % (b"0" * 200)


class Bare(NamedTuple):
    """Microseconds, one an order: row committed, first byte gone since then, both together."""

    disk: list[float]
    wire: list[float]
    both: list[float]


def figures(options: Options) -> list[Figure]:
    """p50 and p99 of the whole way and of its parts, beside the bare ones."""
    seconds = min(SECONDS, options.seconds_or(SECONDS, 6.0))
    ours: list[dict[str, Any]] = []
    bare: list[Bare] = []
    for _ in range(options.rounds_or(3)):
        with running(SETTINGS, must_be_on_disk=True) as bot, peer() as port:
            wait_for_orders(bot)
            bare.append(floor(bot.var, port, seconds))
            ours.append(measured(bot))
    found = []
    for name, span, part in (
        ("trade received to request written", "trade_to_wire", "both"),
        ("decision to intent on the disk, the journal's fsync", "decision_to_disk", "disk"),
        ("intent on the disk to request written", "disk_to_wire", "wire"),
        ("request written to the sandbox's answer", "wire_to_answer", ""),
    ):
        for label, percent in (("p50", 50), ("p99", 99)):
            floors = [float(np.percentile(getattr(one, part), percent)) for one in bare] if part else []
            found.append(
                figure(
                    "orders",
                    f"{name}: {label}",
                    "µs",
                    [one[span]["minute"][label] for one in ours],
                    floor=floors,
                    floor_of=FLOORS.get(part, ""),
                )
            )
    counts = [float(one["trade_to_wire"]["minute"]["count"]) for one in ours]
    found.append(figure("orders", "orders that a trade caused, a round", "orders", counts, least=1))
    return found


FLOORS = {
    "both": "bare sqlite3 commit and bare requests",
    "disk": "bare sqlite3 commit",
    "wire": "bare HMAC and requests",
}


def wait_for_orders(bot: Running) -> None:
    """Until an order that a trade caused has left. Raises TimeoutError."""
    deadline = time.monotonic() + FIRST_SECONDS
    while not spans(bot).get("trade_to_wire", {}).get("minute", {}).get("count"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no order left within {FIRST_SECONDS:g} s: {bot.var / 'log'} says why")
        time.sleep(0.5)


def measured(bot: Running) -> dict[str, Any]:
    """The spans of a round. Raises RuntimeError where one has seen nothing in the last minute."""
    found = spans(bot)
    for name in ("trade_to_wire", "decision_to_disk", "disk_to_wire", "wire_to_answer"):
        if not found[name]["minute"]["count"]:
            raise RuntimeError(f"{name}: nothing in the last minute")
    return found


def spans(bot: Running) -> dict[str, Any]:
    """The trader's spans, as /api/stats has them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{bot.settings.port}/api/stats", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)["latency"].get("trader", {})
    return found


# --- the floor ----------------------------------------------------------------------------------------


def floor(folder: Path, port: int, seconds: float) -> Bare:
    """Row and request again and again at a steady pace."""
    found = Bare([], [], [])
    sent = [0]
    with (
        closing(requests.Session()) as session,
        closing(sqlite3.connect(folder / "bare.db", isolation_level=None)) as db,
    ):
        session.trust_env = False
        adapter = HTTPAdapter()
        adapter.poolmanager.pool_classes_by_scheme = {"http": stamping(sent)}
        session.mount("http://", adapter)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("CREATE TABLE entries (number INTEGER PRIMARY KEY, body BLOB)")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            began_ns = time.monotonic_ns()
            db.execute("INSERT INTO entries (body) VALUES (?)", (INTENT,))
            disk_ns = time.monotonic_ns()
            sent[0] = 0
            headers = {
                "X-AUTH-APIKEY": "key",
                "X-AUTH-SIGNATURE": hmac.new(b"secret", BODY, hashlib.sha256).hexdigest(),
            }
            session.post(f"http://127.0.0.1:{port}/exchange/v1/orders/create", data=BODY, headers=headers, timeout=5)
            found.disk.append((disk_ns - began_ns) / 1000)
            found.wire.append((sent[0] - disk_ns) / 1000)
            found.both.append((sent[0] - began_ns) / 1000)
            time.sleep(STEP_SECONDS)
    return found


def stamping(sent: list[int]) -> type[HTTPConnectionPool]:
    """A pool whose connections note when the first byte of a request leaves (monotonic ns)."""

    class Connection(HTTPConnection):
        def send(self, data: Any) -> None:
            sent[0] = sent[0] or time.monotonic_ns()
            super().send(data)

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    return Pool


@contextmanager
def peer() -> Iterator[int]:
    """The port of a process that answers every POST with the same words."""
    child = subprocess.Popen([sys.executable, "-m", "tools.bench.orders"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield int(child.stdout.readline())
    finally:
        child.terminate()
        child.wait()


def serve() -> None:
    """Answers until it is ended; one connection at a time."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            taken, _ = listener.accept()
            with taken, taken.makefile("rb") as lines:
                taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while lines.readline():
                    length = int(http.client.parse_headers(lines)["Content-Length"])
                    lines.read(length)
                    taken.sendall(head + ANSWER)


if __name__ == "__main__":
    serve()
