"""A consumer that stands still or does not keep up: nobody else notices, it recovers, and says where it stands."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bus import sockets
from bus.frames import EVENT, TRADE, TRADER, UPDATE, Frame, messages
from bus.layouts import layout_hash
from bus.messages import Entry, Event, Request, Start, TradeEvent
from bus.messages import encode as pack
from bus.notices import FIRST, GapFound, Joined, Notice
from bus.publisher import Publisher
from bus.records import CANDLE as CANDLE_KIND
from bus.records import CANDLE_RECORD, RECORD
from bus.records import TRADE as TRADE_KIND
from bus.subscriber import Subscriber
from bus.tape import TapeReader, TapeWriter, tape_replay
from core.clock import NS_PER_S, LiveClock
from core.loop import PollLoop
from core.paths import ROOT, book_dir, run_dir
from core.settings import shared_hash
from core.settings_load import KNOWN, load
from indicators import jit
from tests.bus.rig import LAYOUT, Rig
from tests.indicator_tools import kernels, market
from tests.up_helpers import short_folder

MB = 1024 * 1024
MINUTE_NS = 60 * NS_PER_S


def own_bytes(pid: int) -> int:
    """What a process holds that is in no file."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))


# --- one subscriber stands still -----------------------------------------------------------------------

CONSUMER = """
import sys
from pathlib import Path
from bus.frames import Frame
from bus.notices import FIRST, GapFound
from bus.subscriber import Subscriber
from core.clock import LiveClock
from core.loop import PollLoop
loop, expected = PollLoop(), [0]
def handle(notices):
    before = expected[0]
    for notice in notices:
        if isinstance(notice, Frame):
            if notice.first != expected[0] or len(notice.payload) != 64 * notice.count:
                print("wrong", notice.first, flush=True)
            expected[0] = notice.last + 1
        elif isinstance(notice, GapFound):
            print("gap", flush=True)
    if expected[0] != before and expected[0] in (1, int(sys.argv[2])):
        print("at", expected[0], flush=True)
subscriber = Subscriber("feeder", {"trade/0/": FIRST}, Path(sys.argv[1]), LiveClock(), layout_hash=11, settings_hash=22)
subscriber.attach(loop, handle)
loop.run()
"""


class Taped:
    """A publisher of `trade/0/` with a tape behind it."""

    def __init__(self, rig: Rig) -> None:
        self.writer = TapeWriter(rig.run_dir / "tape", LiveClock(), "boot")
        epoch, _ = self.writer.open()
        self.writer.start(Start("v", "b", [], "5", "5", False, 0))
        self.publisher = rig.publisher("feeder")
        self.publisher.topic(TRADE, epoch, 0, replay=tape_replay(TapeReader(self.writer.folder, epoch)))

    def send(self, count: int) -> None:
        records = np.zeros(count, RECORD)
        records["kind"] = TRADE_KIND
        self.publisher.send_records(TRADE, self.writer.append(records), records)


def read_line(process: "subprocess.Popen[str]", rig: Rig) -> list[str]:
    """The lines of a process up to now, in the background of the loop."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    text = ""

    def more() -> bool:
        nonlocal text
        try:
            while data := os.read(process.stdout.fileno(), 65536):  # type: ignore[union-attr]
                text += data.decode()
        except BlockingIOError:
            pass
        return "\n" in text

    rig.run_until(more)
    return text.splitlines()


@pytest.mark.timeout(120)
def test_a_subscriber_that_stands_still_costs_little_misses_nothing_and_the_others_do_not_notice(rig: Rig) -> None:
    """256 MB are sent past it, in the biggest frames; it comes back and has them replayed from the tape."""
    taped = Taped(rig)
    frames = 4_000
    process = rig.peer(CONSUMER, frames * 1000 + 1)
    counted = [0]

    def count(notices: list[Notice]) -> None:
        for notice in notices:
            if isinstance(notice, Frame):
                assert notice.first == counted[0], "the other one got everything live, in order"
                counted[0] = notice.last + 1
            assert not isinstance(notice, GapFound)

    healthy = Subscriber("feeder", {TRADE: FIRST}, rig.run_dir, rig.clock, layout_hash=LAYOUT, settings_hash=22)
    healthy.attach(rig.loop, count)
    rig.closers.append(healthy.close)
    assert read_line(process, rig) == ["at 1"]
    rig.run_until(lambda: counted[0] == 1)

    process.send_signal(signal.SIGSTOP)
    before = own_bytes(os.getpid())
    sent = [0]

    def send() -> None:
        for _ in range(min(20, frames - sent[0])):
            taped.send(1000)
            sent[0] += 1

    sending = rig.loop.every(0.001, send)
    rig.run_until(lambda: counted[0] == frames * 1000 + 1, 60)
    sending.cancel()
    grown = own_bytes(os.getpid()) - before
    assert grown < 100 * MB, f"{grown / MB:.0f} MB for one subscriber that does not read"

    process.send_signal(signal.SIGCONT)
    taped.publisher.beat()
    assert read_line(process, rig) == [f"at {frames * 1000 + 1}"]


def test_between_two_big_answers_everybody_else_has_a_turn(rig: Rig) -> None:
    """Who catches up asks again at once; a publisher that answered as long as it is asked would do nothing else."""
    publisher = Publisher("feeder", rig.run_dir, rig.clock, layout_hash=LAYOUT, settings_hash=22, started_ms=1)
    rig.closers.append(publisher.close)
    block = bytes(64_000)
    publisher.topic(TRADE, 5, 10**9, replay=lambda n: [Frame(TRADE, 5, n + 1000 * i, 1000, 0, block) for i in range(8)])
    asker = sockets.requests_to(rig.run_dir, "feeder")
    try:
        assert sockets.wait_writable(asker, 10)
        for number in range(4):
            assert sockets.send(asker, [pack(Request(str(number), "replay", TRADE, 5, 0))])
        turns = answers = 0
        deadline = time.monotonic() + 30
        while answers < 4 and time.monotonic() < deadline:
            turns += publisher._answer_all()
            while answers < turns and sockets.wait_readable(asker, 20):
                assert sockets.receive(asker) is not None
                answers += 1
            assert not sockets.wait_readable(asker, 0.02), "one big answer a turn"
        assert (answers, turns) == (4, 4)
        for number in range(20):
            assert sockets.send(asker, [pack(Request(str(number), "snapshot", "no such/0/"))])
        small = 0
        while small < 20 and time.monotonic() < deadline:
            assert not publisher._answer_all(), "small ones are answered in one turn"
            while sockets.wait_readable(asker, 0.02):
                sockets.receive(asker)
                small += 1
        assert small == 20
    finally:
        sockets.close(asker)


# --- a stage that does not keep up ---------------------------------------------------------------------

SETTINGS = {
    "RSI_BUY": "98",
    "RSI_CRASH": "97",
    "RSI_SELL": "99.9",
    "PAPER_FILL": "instant",
    "COOLDOWN_SECONDS": "3600",
    "LOG_LEVEL": "warning",
}


class Bot:
    """Indicators and trader as processes; the feeder, and whoever listens to them, is the test."""

    def __init__(self, folder: Path) -> None:
        self.environ = {"VAR_DIR": str(folder), **SETTINGS}
        self.settings = load(self.environ, folder / "no.env")
        self.run_dir = run_dir(folder)
        self.clock, self.loop = LiveClock(), PollLoop()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        code = jit.code_file(folder / "cache")
        kernels()
        code.parent.mkdir(parents=True)
        code.write_bytes(jit.code_file(ROOT / "var" / "cache").read_bytes())
        body = Start("sandbox", book_dir(self.settings).name, [market()], "5", "5", False, self.clock.wall_ns())
        self.writer = TapeWriter(book_dir(self.settings) / "tape", self.clock, "boot")
        epoch, _ = self.writer.open()
        self.writer.start(body)
        self.feeder = Publisher("feeder", self.run_dir, self.clock, started_ms=1, **self._hashes())
        reader = TapeReader(self.writer.folder, epoch)
        self.feeder.topic(TRADE, epoch, 0, replay=tape_replay(reader), snapshot=lambda: pack(body))
        self.feeder.attach(self.loop)
        self.prices = 60_000.0
        self.sent = 0
        self.updated: list[tuple[int, int]] = []  # numbers covered by each frame of update/
        self.gaps: list[Notice] = []
        self.events: list[Event] = []
        self.sales: list[TradeEvent] = []
        self.subscribers = [
            self._listen("indicators", {UPDATE: FIRST, EVENT: FIRST}),
            self._listen("trader", {TRADER: FIRST, EVENT: FIRST}),
        ]

    def _hashes(self) -> dict[str, Any]:
        return {"layout_hash": layout_hash(), "settings_hash": shared_hash(self.settings)}

    def _listen(self, stage: str, topics: dict[str, Any]) -> Subscriber:
        subscriber = Subscriber(stage, topics, self.run_dir, self.clock, **self._hashes())
        subscriber.attach(self.loop, self._take)
        return subscriber

    def _take(self, notices: list[Notice]) -> None:
        for notice in notices:
            if isinstance(notice, GapFound):
                self.gaps.append(notice)
            elif isinstance(notice, Joined) and notice.topic == UPDATE:
                assert notice.next_number == 0
            elif isinstance(notice, Frame) and notice.topic == UPDATE:
                assert len(notice.payload) == 128 * notice.count or notice.first <= 60
                self.updated.append((notice.first, notice.last))
            elif isinstance(notice, Frame) and notice.topic == EVENT:
                self.events += messages(notice, msgspec.msgpack.Decoder(list[Event]))
            elif isinstance(notice, Frame) and notice.topic == TRADER:
                entries = messages(notice, msgspec.msgpack.Decoder(list[Entry]))
                found = [entry.event for entry in entries if isinstance(entry.event, TradeEvent)]
                self.sales += [event for event in found if event.action == "sell"]

    def start(self, stage: str) -> None:
        environ = {name: text for name, text in os.environ.items() if name not in KNOWN} | self.environ
        self.processes[stage] = subprocess.Popen([sys.executable, "-m", stage], cwd=ROOT, env=environ)

    def history(self) -> None:
        """Sixty closed candles."""
        now_ns = self.clock.wall_ns() // MINUTE_NS * MINUTE_NS
        rows = np.zeros(60, CANDLE_RECORD)
        rows["kind"] = CANDLE_KIND
        rows["open_ns"] = now_ns - (60 - np.arange(60)) * MINUTE_NS
        for name in ("open", "high", "low", "close"):
            rows[name] = self.prices + np.arange(60) % 7
        self._publish(rows.view(RECORD))

    def trades(self, count: int = 1000) -> None:
        """Trades at the price in force."""
        rows = np.zeros(count, RECORD)
        rows["kind"], rows["side"] = TRADE_KIND, 1
        rows["exchange_ns"] = rows["received_ns"] = self.clock.wall_ns()
        rows["price"], rows["quantity"] = self.prices, 1.0
        rows["ticks"], rows["lots"] = round(self.prices * 100), 100_000
        self._publish(rows)
        self.sent += count

    def _publish(self, rows: np.ndarray) -> None:
        self.feeder.send_records(TRADE, self.writer.append(rows), rows)

    @property
    def last(self) -> int:
        return self.writer.next_number - 1

    def facts(self, stage: str) -> dict[str, Any]:
        beat = next(s.beat for s in self.subscribers if s.peer == stage)
        return {} if beat is None else beat.facts

    def texts(self, stage: str) -> list[str]:
        return [event.text for event in self.events if event.stage == stage]

    def run_until(self, condition: Any, why: str, seconds: float = 60.0) -> None:
        """Runs the loop until the condition holds; the limit only ends a test that fails."""
        failed: list[bool] = []
        self.loop.stopped = False
        checking = self.loop.every(0.01, lambda: condition() and self.loop.stop())
        limit = self.loop.call_later(seconds, lambda: (failed.append(True), self.loop.stop()))
        self.loop.run()
        checking.cancel()
        limit.cancel()
        assert not failed, f"waited in vain: {why}"

    def signal(self, stage: str, number: int) -> None:
        self.processes[stage].send_signal(number)

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        for subscriber in self.subscribers:
            subscriber.close()
        self.feeder.close()
        self.writer.close()
        self.loop.close()


@pytest.fixture
def bot() -> Iterator[Bot]:
    with short_folder() as folder:
        made = Bot(folder)
        yield made
        made.close()


def ran_so_far_ns(pid: int) -> int:
    """How long the process's main thread has run."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


@pytest.mark.timeout(300)
def test_indicators_that_cannot_keep_up_leave_the_stop_at_work_and_catch_up_when_they_can(bot: Bot) -> None:
    bot.history()
    for stage in ("indicators", "trader"):
        bot.start(stage)
    bot.run_until(lambda: bot.facts("trader").get("feed") == "normal", "the trader is live")
    pace = bot.loop.every(0.02, bot.trades)  # 50,000 a second
    bot.run_until(lambda: bot.facts("trader").get("open_positions") == 1, "it buys")
    before = {pid: own_bytes(pid) for pid in (os.getpid(), bot.processes["trader"].pid)}

    # Indicators run for some milliseconds, then stand still for two seconds and a half, again and again.
    awake = [False]
    ran_ns = [0]

    def toggle() -> None:
        ran, ran_ns[0] = ran_ns[0], ran_so_far_ns(bot.processes["indicators"].pid)
        if awake[0] and ran_ns[0] - ran < 3_000_000:  # others keep the processors
            ran_ns[0] = ran
            toggling[0] = bot.loop.call_later(0.005, toggle)
            return
        awake[0] = not awake[0]
        bot.signal("indicators", signal.SIGCONT if awake[0] else signal.SIGSTOP)
        toggling[0] = bot.loop.call_later(0.005 if awake[0] else 2.5, toggle)

    bot.signal("indicators", signal.SIGSTOP)
    toggling = [bot.loop.call_later(2.5, toggle)]
    bot.run_until(lambda: bot.facts("trader").get("feed") == "degraded", "the trader goes on from raw trades")
    for _ in range(3):
        reached = bot.last
        bot.run_until(lambda at=reached: bot.facts("trader")["record"] > at, "the trader's place moves on")  # type: ignore[misc]
    assert bot.sales == []
    bot.prices = 59_000.0
    fell_at = bot.last
    bot.run_until(lambda: bot.sales, "the stop sells")
    assert bot.sales[0].reason == "trailing_stop"
    assert bot.sales[0].at.record == fell_at + 1, "at the first trade below it"
    said = "indicators are behind the feeder by"
    bot.run_until(lambda: any(said in text for text in bot.texts("indicators")), "indicators say that they are behind")
    for pid, had in before.items():
        assert own_bytes(pid) - had < 100 * MB, "nobody hoards what indicators do not take"

    toggling[0].cancel()
    bot.signal("indicators", signal.SIGCONT)
    bot.run_until(lambda: bot.facts("trader")["feed"] == "normal", "updates have reached the trader")
    bot.run_until(lambda: "indicators have caught up" in bot.texts("indicators")[-1], "they say so")
    pace.cancel()
    bot.run_until(lambda: bot.updated[-1][1] == bot.last, "every update has come")
    expected = 0
    for first, last in bot.updated:
        assert first == expected, "one update for each trade, in order"
        expected = last + 1
    assert bot.gaps == []
    assert own_bytes(bot.processes["indicators"].pid) < 400 * MB
