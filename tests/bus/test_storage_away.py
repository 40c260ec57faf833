"""Storage away for an hour: dead, or stopped in the middle of everything. What it missed is there afterwards, once."""

import os
import signal
import subprocess
import sys
from itertools import pairwise

import msgspec

from bus.frames import CANDLE
from bus.layouts import layout_hash
from bus.messages import Candle
from bus.notices import LATEST, BeatSeen
from bus.publisher import Publisher
from bus.sockets import DATA_HIGH_WATER
from bus.subscriber import Subscriber
from core.paths import ROOT
from core.settings import shared_hash
from storage.csvlog import as_line
from tests.bus.storage_world import Others, trade_ids
from tests.unit import storage_samples as samples

PAIRS = [f"B-C{number:02d}_USDT" for number in range(26)]
MINUTES = 60
EPISODES = 5_000  # of six entries each: an hour in which each pair trades every twenty seconds
LONGEST_SILENCE_MS = 4_000  # a stage that is silent for 5 s is taken for dead


def an_hour(first_episode: int, episodes: int) -> list:
    """The journal of a busy hour, from the entry after the episodes before on."""
    said: list = []
    for id in range(first_episode, first_episode + episodes):
        number = (id - 1) * 6 + 1
        key = f"scalp-{id}"
        said += [
            samples.signal(number, key),
            samples.order(number + 1, key),
            samples.fill(number + 2, id, key),
            samples.order(number + 3, key, "filled", "0.00120"),
            samples.trade(number + 4, id, None if id % 2 else "0.25", key),
            samples.equity(number + 5),
        ]
    return said


class Market:
    """indicators, with its ring of closed candles and the forming ones."""

    def __init__(self, others: Others) -> None:
        self.candles: dict[tuple[str, int], Candle] = {}
        self.publisher = others.publisher("indicators")
        self.publisher.topic(
            CANDLE, 7, ring=4_096, snapshot=lambda: msgspec.msgpack.encode(list(self.candles.values()))
        )
        self.publisher.attach(others.loop)

    def an_hour(self, first_minute: int, states: int = 2) -> None:
        """Each minute of each pair in some states, the last of them closed."""
        for minute in range(first_minute, first_minute + MINUTES):
            for state in range(states):
                now = [samples.candle(minute, 100.0 + state, pair, closed=state == states - 1) for pair in PAIRS]
                self.candles |= {(candle.pair, candle.time): candle for candle in now}
                self.publisher.send_many(CANDLE, now)

    def is_in(self, others: Others) -> bool:
        """Whether the table has every candle as it is now."""
        rows = [row for pair in PAIRS for row in others.history.candles(pair, 1_000)]
        found = {(row["pair"], row["time"]): row["close"] for row in rows}
        return found == {key: candle.close for key, candle in self.candles.items()}


def everything_once(others: Others, episodes: int) -> None:
    """The ledger and trades.csv have each row of so many episodes once."""
    totals = others.history.totals()
    assert (totals["trades"], totals["realized"]) == (episodes // 2, episodes // 2 * 0.25)
    assert len(others.history.signals(10**6)) == len(others.history.equity(10**6)) == episodes
    orders = others.history.orders(10**6)
    assert len(orders) == episodes and {row["status"] for row in orders} == {"filled"}
    assert len(others.history.fills(10**6)) == episodes
    rows = others.history.trades(10**6)[::-1]
    lines = "".join(as_line(tuple(row.values())) for row in rows)
    assert (others.context.book_dir / "trades.csv").read_text().partition("\n")[2] == lines
    assert others.history.gaps() == []


def told_by(others: Others, stages: tuple[str, ...]) -> dict[str, Publisher]:
    """Publishers of the other stages, with 300 events of each while nobody listens."""
    publishers = {stage: others.publisher(stage) for stage in stages}
    for stage, publisher in publishers.items():
        publisher.attach(others.loop)
        for number in range(300):
            publisher.event("info", f"{stage} {number}")
    return publishers


def test_an_hour_is_caught_up_after_storage_was_dead_and_its_heart_beats_on(others):
    market = Market(others)
    others.journalling_trader()
    others.start_storage()
    others.journalled(an_hour(1, 20))
    market.an_hour(0)
    others.run_until(lambda: len(trade_ids(others)) == 20 and market.is_in(others))
    others.stop_storage()
    others.journalled(an_hour(21, EPISODES))
    market.an_hour(MINUTES)
    told_by(others, ("feeder", "dashboard"))
    beats: list[int] = []
    listener = Subscriber(
        "storage",
        {"event/0/": LATEST},
        others.context.run_dir,
        others.clock,
        layout_hash=layout_hash(),
        settings_hash=shared_hash(others.settings),
    )
    listener.attach(
        others.loop, lambda notices: beats.extend(one.beat.wall_ms for one in notices if isinstance(one, BeatSeen))
    )
    others.start_storage()
    others.run_until(lambda: (others.history.cursor() or (0, 0))[1] == (20 + EPISODES) * 6, seconds=60)
    others.run_until(lambda: market.is_in(others))
    others.run_until(lambda: len(beats) > 2)
    listener.close()
    everything_once(others, 20 + EPISODES)
    texts = [row["message"] for row in others.history.events(10**6)]
    for stage in ("feeder", "dashboard"):
        assert [text for text in texts if text.startswith(stage)] == [f"{stage} {number}" for number in range(300)]
    silences = [after - before for before, after in pairwise(beats)]
    assert max(silences) < LONGEST_SILENCE_MS


def test_an_hour_is_caught_up_after_storage_was_stopped(others):
    market = Market(others)
    others.journalling_trader()
    command = [sys.executable, "-m", "storage"]
    settings = {"VAR_DIR": str(others.context.var_dir), "PATH": os.environ["PATH"]}
    with subprocess.Popen(command, cwd=ROOT, env=settings, stdout=subprocess.DEVNULL) as process:
        try:
            others.journalled(an_hour(1, 20))
            others.run_until(lambda: len(trade_ids(others)) == 20, seconds=60)
            process.send_signal(signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            for part in range(10):
                others.journalled(an_hour(21 + part * EPISODES // 10, EPISODES // 10))
            market.an_hour(0, states=20)
            assert EPISODES * 6 > 1.2 * DATA_HIGH_WATER, "all of it may have waited in the sockets"
            process.send_signal(signal.SIGCONT)
            others.run_until(lambda: (others.history.cursor() or (0, 0))[1] == (20 + EPISODES) * 6, seconds=60)
            others.run_until(lambda: market.is_in(others), seconds=60)
            others.run_until(lambda: csv_lines(others) == 20 + EPISODES)
            assert process.poll() is None
        finally:
            process.terminate()
    assert process.returncode == 0
    everything_once(others, 20 + EPISODES)


def csv_lines(others: Others) -> int:
    return (others.context.book_dir / "trades.csv").read_text().count("\n") - 1
