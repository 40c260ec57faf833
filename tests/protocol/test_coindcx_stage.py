"""The feeder as a process, fed by the sandbox as a process, heard over the bus."""

import gzip
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from bus.frames import TRADE as TOPIC
from bus.frames import Frame
from bus.notices import FIRST, GapFound
from bus.records import BACKFILL, HOLE, RECORD, START, TRADE, layout_hash
from bus.subscriber import Subscriber
from bus.tape import TapeReader
from core.clock import LiveClock
from core.loop import PollLoop
from core.paths import ROOT
from core.settings import shared_hash
from core.settings_load import from_texts


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stages:
    """Sandbox and feeder in a folder of their own, and an ear on the bus."""

    def __init__(self, folder: Path, **texts: str) -> None:
        self.folder = folder
        self.texts = {"VAR_DIR": str(folder), "SANDBOX_PORT": str(free_port()), **texts}
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(folder), **self.texts}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.heard = b""
        self.numbers: list[int] = []
        self.gaps: list[GapFound] = []
        self.loop = PollLoop()
        settings = from_texts(self.texts)
        (folder / "run").mkdir(mode=0o700)
        self.ear = Subscriber(
            "feeder",
            {TOPIC: FIRST},
            folder / "run",
            LiveClock(),
            layout_hash=layout_hash(),
            settings_hash=shared_hash(settings),
        )
        self.ear.attach(self.loop, self._take)

    def _take(self, notices) -> None:
        for notice in notices:
            if isinstance(notice, Frame):
                self.heard += bytes(notice.payload)
                self.numbers += range(notice.first, notice.last + 1)
            elif isinstance(notice, GapFound):
                self.gaps.append(notice)

    def start(self, *names: str) -> None:
        for name in names:
            log = (self.folder / f"{name}.log").open("ab")
            with log:
                self.running[name] = subprocess.Popen(
                    [sys.executable, "-m", name], cwd=ROOT, env=self.environ, stdout=log, stderr=log
                )

    def kill(self, name: str, how: int = signal.SIGKILL) -> int:
        process = self.running.pop(name)
        process.send_signal(how)
        return process.wait(20)

    @property
    def records(self) -> np.ndarray:
        return np.frombuffer(self.heard, RECORD)

    @property
    def trades(self) -> np.ndarray:
        records = self.records
        return records[records["kind"] == TRADE]

    def until(self, condition, what: str, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"never came about: {what}\n{self.log('feeder')}\n{self.log('sandbox')}"
            self.loop.stopped = False
            self.loop.call_later(0.05, self.loop.stop)
            self.loop.run()

    def log(self, name: str) -> str:
        file = self.folder / f"{name}.log"
        return file.read_text() if file.exists() else ""

    def close(self) -> None:
        for name in list(self.running):
            self.kill(name, signal.SIGTERM)
        self.ear.close()
        self.loop.close()


@pytest.fixture
def stages():
    folder = Path(tempfile.mkdtemp(prefix="fd"))
    made = []

    def make(**texts: str) -> Stages:
        made.append(Stages(folder, **texts))
        return made[-1]

    yield make
    for item in made:
        item.close()
    shutil.rmtree(folder)


def test_a_kill_of_the_feeder_and_an_outage_of_the_venue_lose_nothing(stages):
    bot = stages()
    bot.start("sandbox", "feeder")
    bot.until(lambda: len(bot.trades) > 20 and bot.trades[-1]["flags"] & BACKFILL == 0, "live trades")
    bot.kill("feeder")
    bot.start("feeder")
    starts = lambda: int((bot.records["kind"] == START).sum())  # noqa: E731
    bot.until(lambda: starts() == 2 and bot.records[-1]["kind"] == TRADE, "trades after the kill")
    count = len(bot.trades)
    bot.until(lambda: len(bot.trades) > count + 10, "more trades")
    bot.kill("sandbox")
    bot.start("sandbox")
    count = len(bot.trades)
    bot.until(lambda: len(bot.trades) > count + 10, "trades after the outage")
    assert bot.kill("feeder", signal.SIGTERM) == 0
    assert bot.numbers == list(range(len(bot.numbers))) and not bot.gaps
    assert HOLE not in bot.records["kind"]
    reader = TapeReader(next(bot.folder.glob("books/*/tape")))
    _, taped = reader.read_back(10**6)
    reader.close()
    assert taped.tobytes().startswith(bot.heard)
    assert truth_of_the_sandbox(bot, taped)


def truth_of_the_sandbox(bot: Stages, taped: np.ndarray) -> bool:
    """The sandbox's market is a function of seed and time: its last 500 trades are what the tape must end with."""
    import requests

    url = f"http://127.0.0.1:{bot.texts['SANDBOX_PORT']}/market_data/trade_history?pair=B-BTC_USDT&limit=500"
    with requests.Session() as session:
        session.trust_env = False
        rows = session.get(url, timeout=5).json()[::-1]
    true = [(row["T"] * 10**6, row["p"], row["q"]) for row in rows]
    trades = taped[taped["kind"] == TRADE]
    mine = [(int(t["exchange_ns"]), float(t["price"]), float(t["quantity"])) for t in trades]
    first = next((n for n, row in enumerate(true) if row == mine[0]), None)
    assert first is not None or true[0] in mine, "the answer no longer reaches the tape"
    begin = 0 if first is not None else mine.index(true[0])
    expected = true[first or 0 :]
    return mine[begin:] == expected[: len(mine) - begin]


def test_recorded_trades_are_taped_exactly_once_in_order(stages):
    """Equal trades in one millisecond, minutes without any, at 1000 times the speed."""
    chance = random.Random(7)
    folder = Path(tempfile.mkdtemp(prefix="rec"))
    file = folder / "recorded.csv.gz"
    rows, at_ms, ticks = [], 1_569_888_000_000, 82_000
    for _ in range(6_000):
        at_ms += chance.choice([0, 0, 0, 1, 40, 900, 20_000 if chance.random() < 0.1 else 5])
        ticks = max(80_000, ticks + chance.choice([-5, 0, 0, 0, 5]))
        rows.append((at_ms, ticks / 10, chance.choice([1, 1, 5, 250])))
    with gzip.open(file, "wt") as out:
        out.write("ts_ms,price,qty\n")
        out.writelines(f"{t},{p},{q}\n" for t, p, q in rows)
    try:
        bot = stages(SANDBOX_TAPE=str(file), SANDBOX_SPEED="1000")
        bot.start("sandbox", "feeder")
        bot.until(lambda: len(bot.trades) >= len(rows), "the whole tape")
    finally:
        shutil.rmtree(folder)
    trades = bot.trades
    assert [(int(t["exchange_ns"]) // 10**6, float(t["price"]), float(t["quantity"])) for t in trades] == rows
    assert set(trades["flags"]) == {0}
    assert (np.diff(trades["received_ns"]) >= 0).all() and trades["received_ns"][0] > 1_700_000_000 * 10**9
    assert set(bot.records["kind"]) == {START, TRADE}
    assert bot.numbers == list(range(len(bot.numbers))) and not bot.gaps


def test_an_unknown_pair_ends_the_stage_with_the_nearest_names(stages):
    bot = stages(PAIRS="B-BTC_USDC")
    bot.start("sandbox", "feeder")
    bot.until(lambda: bot.running["feeder"].poll() is not None, "the end")
    assert bot.running.pop("feeder").wait() == 2
    assert "PAIRS: B-BTC_USDC is unknown (nearest: B-BTC_USDT" in bot.log("feeder")
