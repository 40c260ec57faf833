"""The feeder at the real sandbox under load: what it published, pair by pair, against what the market says happened.

The sandbox's market is a function of market time, so another instance of it here tells the truth: after the first
millisecond of a pair that was published, to the end of the load, every trade once, equal in time, price, quantity, side
and id, in order. The feeder comes into a market that is under load already; its core share is measured once every pair
is live.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from bus.records import BACKFILL, HOLE, SIDE_BUY, SIDE_SELL, TRADE
from core.errors import BotError
from core.paths import ROOT
from sandbox.market import Synthetic
from sandbox.trade_ids import TradeIds
from tools.bench.feeder_processes import DRAIN_SECONDS, Fed, feeding
from tools.bench.feeder_sandbox import dense
from tools.bench.figure import Figure, figure
from tools.bench.processes import cpu_ns

MOST_CORE = 0.35
BEGIN_SECONDS = 60.0
LOOK_SECONDS = 0.1
NS_PER_MS = 1_000_000


class Look(NamedTuple):
    """Core shares of the feeder and of the sandbox, trades a second meanwhile; trades compared and wrong ones."""

    feeder: float
    sandbox: float
    rate: float
    trades: int
    wrong: int


class Served(NamedTuple):
    """The sandbox's process, and its market made once more."""

    protocol: str
    pairs: list[str]
    port: int
    pid: int
    market: Synthetic


def look(protocol: str, pairs: int, rate: float, seconds: float) -> Look:
    """One round."""
    with sandbox(protocol, pairs, rate) as served, feeding(served) as fed:
        _wait_live(fed, pairs)
        from_ms, began_ns = time.time_ns() // NS_PER_MS, time.monotonic_ns()
        before = cpu_ns(fed.pid), cpu_ns(served.pid)
        time.sleep(seconds)
        spent = cpu_ns(fed.pid) - before[0], cpu_ns(served.pid) - before[1]
        took_ns, until_ms = time.monotonic_ns() - began_ns, time.time_ns() // NS_PER_MS
        trades, bad = _judged(served, fed, from_ms, until_ms)
        happened = sum(len(served.market.span(pair, from_ms, until_ms)) for pair in served.market.rules)
    return Look(spent[0] / took_ns, spent[1] / took_ns, happened / (took_ns / 1e9), trades, bad)


def told(protocol: str, pairs: int, rate: float, looks: Sequence[Look]) -> list[Figure]:
    """The figures of one protocol."""
    last = looks[-1]
    return [
        figure(
            "feeder_load",
            f"{protocol}: feeder at {rate:,} trades/s of the sandbox",
            "core",
            [one.feeder for one in looks],
            most=MOST_CORE,
            note=f"{pairs} pairs, {last.rate:,.0f} trades/s came; the sandbox itself took {last.sandbox:.2f} core",
        ),
        figure(
            "feeder_load",
            f"{protocol}: trades of the sandbox lost, doubled, different or out of order",
            "trades",
            [one.wrong for one in looks],
            most=0,
            note=f"{last.trades:,} trades compared",
        ),
    ]


def wrong(protocol: str, market: Synthetic, records: np.ndarray, from_ms: int, until_ms: int) -> tuple[int, int]:
    """(trades that should be there, how many are not so); holes count as well.

    A pair of which nothing was published has lost all trades since from_ms.
    """
    ids = None if protocol == "coindcx" else TradeIds(market)
    trades = records[(records["kind"] == TRADE) & (records["exchange_ns"] <= until_ms * NS_PER_MS)]
    trades = trades[np.argsort(trades["pair"], kind="stable")]
    starts = np.searchsorted(trades["pair"], np.arange(len(market.rules) + 1))
    happened, bad = 0, int((records["kind"] == HOLE).sum())
    for place, pair in enumerate(market.rules):
        ours = _published(trades[starts[place] : starts[place + 1]])
        start_ms = from_ms
        if len(ours):  # REST's reach may have cut the first millisecond in two: judged is from the next one on
            start_ms = int(ours[0, 0]) + 1
            ours = ours[int((np.cumsum(ours[:, 0] != start_ms - 1) == 0).sum()) :]
        truth = _happened(market, ids, pair, start_ms, until_ms)
        happened += len(truth)
        bad += _differences(truth, ours)
    return happened, bad


def _published(trades: np.ndarray) -> np.ndarray:
    """Time in ms, ticks, lots, side and id of each."""
    names = ("exchange_ns", "ticks", "lots", "side", "trade_id")
    rows = np.stack([trades[name].astype(np.int64) for name in names], axis=1)
    rows[:, 0] //= NS_PER_MS
    return rows


def _happened(market: Synthetic, ids: TradeIds | None, pair: str, from_ms: int, until_ms: int) -> np.ndarray:
    """The same of what the market says."""
    trades = market.span(pair, from_ms, until_ms + 1)
    numbers = np.zeros(len(trades), np.int64) if ids is None else ids.at(pair, from_ms) + np.arange(len(trades))
    lots = trades.units // market.rules[pair].step_units
    return np.stack([trades.ts_ms, trades.ticks, lots, np.where(trades.sell, SIDE_SELL, SIDE_BUY), numbers], axis=1)


def _differences(truth: np.ndarray, ours: np.ndarray) -> int:
    """How many rows are missing or too many; where none is, how many are out of their place."""
    if np.array_equal(truth, ours):
        return 0
    there, have = Counter(map(tuple, truth.tolist())), Counter(map(tuple, ours.tolist()))
    uneven = (there - have).total() + (have - there).total()
    return uneven or int((truth != ours).any(axis=1).sum())


def _judged(served: Served, fed: Fed, from_ms: int, until_ms: int) -> tuple[int, int]:
    """Compares once everything came, or nothing more can be waited for."""
    deadline_s = time.monotonic() + DRAIN_SECONDS
    while True:
        over = time.monotonic() > deadline_s
        trades, bad = wrong(served.protocol, served.market, fed.so_far(), from_ms, until_ms)
        if not bad or over:
            return trades, bad
        time.sleep(LOOK_SECONDS)


def _wait_live(fed: Fed, pairs: int) -> None:
    """Until every pair's trades come from the stream. Raises BotError where they do not."""
    deadline_s = time.monotonic() + BEGIN_SECONDS
    while True:
        records = fed.so_far()
        live = np.unique(records["pair"][(records["kind"] == TRADE) & (records["flags"] & BACKFILL == 0)])
        if len(live) == pairs:
            return
        if time.monotonic() > deadline_s:
            raise BotError(f"only {len(live)} of {pairs} pairs are live after {BEGIN_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)


@contextmanager
def sandbox(protocol: str, pairs: int, rate: float) -> Iterator[Served]:
    """The sandbox in a process of its own."""
    command = [sys.executable, "-m", "tools.bench.feeder_sandbox", protocol, str(pairs), str(rate)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            line = child.stdout.readline()
            if not line:
                raise OSError(f"the bench's sandbox ended: {child.wait()}")
            started = json.loads(line)
            market = dense(protocol, pairs, rate, started["now_ms"])
            names = [f"{rules.base}/{rules.quote}" for rules in market.rules.values()]
            yield Served(protocol, names, started["port"], child.pid, market)
        finally:
            child.terminate()
