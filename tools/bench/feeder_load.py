"""The feeder under load: the real stage fed over loopback by a venue made for it, one venue of each protocol.

Every trade that happens must come out of the feeder once and in order: what it publishes is compared with what the
venue says happened, by id, or where a venue has none by contents. Beside it, in the same run and at the same rate, a
bare loop of `websockets` and `msgspec` reads the same frames and does nothing with them. Then the real sandbox takes
that venue's place, and what is published is compared in full with what its market says happened.

Then frames that were recorded of Binance (where they are on this machine; else made ones in the same mixture) are
played as fast as they are taken: of five one is a trade, the others are streams that nobody asked for.
"""

import gzip
import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from bus.records import HOLE, TRADE
from core.paths import ROOT
from tools.bench import feeder_truth
from tools.bench.feeder_processes import feeding, reading, venue, wrong
from tools.bench.feeder_protocols import PROTOCOLS
from tools.bench.figure import Figure, Options, figure
from tools.bench.folders import scratch
from tools.bench.processes import cpu_ns

PAIRS, RATE, SECONDS = 300, 20_000, 10.0
SANDBOX_SECONDS = 4.0  # and some eight until every pair is live
QUICK_PAIRS, QUICK_RATE = 20, 2_000
MOST_CORE = 0.35
MOST_RATIO = 1.5
RECORDED = ROOT.parent / "shared/data/raw/binance_spot_btcusdt_20240808T2354Z.ws.jsonl.gz"
RECORDED_FRAMES = 99_574
RECORDED_PAIR = "BTCUSDT"


def figures(options: Options) -> list[Figure]:
    """Core share and what is missing, by protocol, of the bench's own venue and of the sandbox; the recorded frames."""
    seconds = options.seconds_or(SECONDS, 1.0)
    sandbox_seconds = options.seconds_or(SANDBOX_SECONDS, 0.5)
    pairs, rate = (QUICK_PAIRS, QUICK_RATE) if options.quick else (PAIRS, RATE)
    found = []
    for protocol in PROTOCOLS:
        looks = [load(protocol, pairs, rate, seconds) for _ in range(options.rounds_or(1))]
        found += told(protocol, pairs, rate, looks)
    for protocol in PROTOCOLS:
        runs = [feeder_truth.look(protocol, pairs, rate, sandbox_seconds) for _ in range(options.rounds_or(1))]
        found += feeder_truth.told(protocol, pairs, rate, runs)
    frames = options.records_or(RECORDED_FRAMES, 3_000)
    return found + replayed([replay(frames) for _ in range(options.rounds_or(3))])


class Look(NamedTuple):
    """Core shares of the feeder and the bare loop, trades that happened, and what was wrong with the published ones."""

    ours: float
    bare: float
    trades: int
    wrong: int
    frames: int  # of the bus


def load(protocol: str, pairs: int, rate: float, seconds: float) -> Look:
    """One round: the bare loop first, then the feeder, of venues of their own."""
    command = f"trade {rate} {seconds}"
    with venue(protocol, pairs) as made, reading(made) as bare:
        made.say("wait")
        share, _ = made.costs(bare, command)
    with venue(protocol, pairs) as made, feeding(made) as fed:
        made.say("wait")
        ours, counts = made.costs(fed.pid, command)
        records, frames = fed.published(sum(counts.values()))
    return Look(ours, share, sum(counts.values()), wrong(protocol, made.pairs, counts, records), frames)


def told(protocol: str, pairs: int, rate: float, looks: Sequence[Look]) -> list[Figure]:
    """The figures of one protocol."""
    happened = f"{looks[-1].trades:,} trades of {pairs} pairs in {looks[-1].frames:,} frames of the bus"
    return [
        figure(
            "feeder_load",
            f"{protocol}: feeder at {rate:,} trades/s",
            "core",
            [look.ours for look in looks],
            floor=[look.bare for look in looks],
            floor_of="bare websockets and msgspec",
            most=MOST_CORE,
            note=happened,
        ),
        figure(
            "feeder_load",
            f"{protocol}: trades lost, doubled or out of order",
            "trades",
            [look.wrong for look in looks],
            most=0,
        ),
    ]


# --- the recorded frames ----------------------------------------------------------------------------------


class Replay(NamedTuple):
    """Seconds and CPU seconds of ours and the bare loop for so many frames; trades that came out wrong."""

    frames: int
    ours_s: float
    ours_cpu_s: float
    bare_s: float
    bare_cpu_s: float
    wrong: int


def replay(count: int) -> Replay:
    """Plays the frames to the bare loop, then to the feeder."""
    texts = recorded(count)
    with scratch() as folder:
        file = folder / "frames.jsonl"
        file.write_bytes(b"\n".join(texts))
        with venue("binance", [RECORDED_PAIR], file) as made, reading(made) as bare:
            made.say("wait")
            bare_s, bare_cpu_s = made.timed(bare, "play")
        with venue("binance", [RECORDED_PAIR], file) as made, feeding(made) as fed:
            made.say("wait")
            trades = [trade for text in texts if (trade := trade_of(text)) is not None]
            began, cpu = time.monotonic(), cpu_ns(fed.pid)
            made.say("play")
            records, _ = fed.published(len(trades))
            ours_s, ours_cpu_s = time.monotonic() - began, (cpu_ns(fed.pid) - cpu) / 1e9
    taken = records[records["kind"] == TRADE]
    rows = zip(*(taken[name].tolist() for name in ("trade_id", "price", "quantity", "exchange_ns")), strict=True)
    bad = (
        int((records["kind"] == HOLE).sum())
        + abs(len(taken) - len(trades))
        + sum(one != other for one, other in zip(rows, trades, strict=False))
    )
    return Replay(len(texts), ours_s, ours_cpu_s, bare_s, bare_cpu_s, bad)


def recorded(count: int) -> list[bytes]:
    """Frames as they came, their times moved so that the last one is now."""
    if RECORDED.exists():
        with gzip.open(RECORDED) as lines:
            frames = [json.loads(line)["frame"] for _, line in zip(range(count), lines, strict=False)]
    else:
        frames = made_up(count)
    moved_ms = (
        time.time_ns() // 1_000_000 - 1_000 - max(frame["data"].get("E", 0) for frame in frames if "data" in frame)
    )
    for frame in frames:
        data = frame.get("data", {})
        data.update({name: data[name] + moved_ms for name in ("E", "T") if name in data})
    return [json.dumps(frame, separators=(",", ":")).encode() for frame in frames]


def made_up(count: int) -> list[dict[str, Any]]:
    """Frames in the mixture of the recorded ones: one trade to four of a stream that nobody asked for."""
    book = {"u": 50093239212, "s": RECORDED_PAIR, "b": "61837.63", "B": "3.78826", "a": "61837.64", "A": "1.54698"}
    frames: list[dict[str, Any]] = []
    for n in range(count):
        trade = {"e": "trade", "E": n, "s": RECORDED_PAIR, "t": n // 5 + 1, "p": "61837.63000000", "q": "0.02000000"}
        trade |= {"T": n, "m": True, "M": True}
        kind, data = ("bookTicker", book) if n % 5 else ("trade", trade)
        frames.append({"stream": f"btcusdt@{kind}", "data": data})
    return frames


def trade_of(text: bytes) -> tuple[int, float, float, int] | None:
    """Id, price, quantity and time of a frame's trade."""
    data = json.loads(text).get("data", {})
    if data.get("e") != "trade":
        return None
    return data["t"], float(data["p"]), float(data["q"]), data["T"] * 1_000_000


def replayed(rounds: Sequence[Replay]) -> list[Figure]:
    """Cost and pace of a frame, beside the bare loop."""
    source = "recorded" if RECORDED.exists() else "made-up"
    what = f"{rounds[-1].frames:,} {source} frames"
    return [
        figure(
            "feeder_load",
            f"{what}: CPU of a frame",
            "µs",
            [one.ours_cpu_s / one.frames * 1e6 for one in rounds],
            floor=[one.bare_cpu_s / one.frames * 1e6 for one in rounds],
            floor_of="bare websockets and msgspec",
            most_ratio=MOST_RATIO,
        ),
        figure(
            "feeder_load",
            f"{what}: throughput",
            "frames/s",
            [one.frames / one.ours_s for one in rounds],
            floor=[one.frames / one.bare_s for one in rounds],
            floor_of="bare websockets and msgspec",
            more_is_better=True,
            most_ratio=MOST_RATIO,
        ),
        figure(
            "feeder_load",
            f"{what}: trades missing or different",
            "trades",
            [one.wrong for one in rounds],
            most=0,
        ),
    ]
