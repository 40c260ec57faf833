"""A burst: millions of trades in full frames through tape, indicators and trader, every record counted at the end.

A PUB socket holds nothing back: what a subscriber leaves lying beyond the high-water mark is dropped, and then replayed
from the tape. No venue sends that much, but this bench would; so it keeps at most WINDOW frames ahead of the trader,
whose place it reads from shared memory. A sending socket learns what was read only at each half of its mark: what is
under way and that half stay below the mark together, wherever on the line the frames lie. The bare relays are held to
the same window.
Market time goes on by a millisecond a trade, so that a candle closes every 60,000 trades.
"""

import time
from collections.abc import Callable

import numpy as np
from numba import njit

from bus.layouts import MAX_BATCH, RECORD_SIZE
from bus.messages import Entry, OrderEvent
from bus.sockets import DATA_HIGH_WATER
from tools.bench import market
from tools.bench.bare import BareLine
from tools.bench.figure import Figure, Options, figure
from tools.bench.folders import scratch
from tools.bench.kernels import read_and_write
from tools.bench.line import Line
from tools.bench.pace import SERVICE_SECONDS, Sender
from tools.bench.stamps import GAPS, LAST, NUMBER, UPDATES

RECORDS = 20_000_000
WINDOW = DATA_HIGH_WATER // 4  # frames
STEP_NS = 1_000_000
BLOCK = 2 * market.MINUTE_NS // STEP_NS  # trades until the market's pattern comes again
STALL_SECONDS = 30.0
STILL_NS = 10_000_000  # where nothing moved for so long somebody may wait for an answer of ours
LEAST = {"flat": 2_000_000.0, "with a position": 1_000_000.0}


def figures(options: Options) -> list[Figure]:
    """Records a second, flat and with a position, beside bare relays of the same frames and a bare numba loop."""
    records = options.records_or(RECORDS, 50_000) // MAX_BATCH * MAX_BATCH
    ours: dict[str, list[float]] = {name: [] for name in LEAST}
    bare: list[float] = []
    loop: list[float] = []
    for _ in range(options.rounds_or(2)):
        bare.append(one_bare(records))
        loop.append(numba_loop(records))
        for name in LEAST:
            ours[name].append(one_of_ours(records, name != "flat"))
    found = [
        figure(
            "burst",
            f"{records:,} records, tape included, {name}",
            "records/s",
            rounds,
            floor=bare,
            floor_of="bare pyzmq relays of the same frames",
            more_is_better=True,
            least=LEAST[name],
            note=f"every record counted; sender at most {WINDOW} frames ahead",
        )
        for name, rounds in ours.items()
    ]
    return [*found, figure("burst", "bare numba loop that reads and writes as much", "records/s", loop)]


def one_of_ours(records: int, held: bool) -> float:
    """Records a second through the real stages; raises RuntimeError where one was not counted."""
    with scratch() as folder, Line(folder, held=held) as line:
        line.loop.rush()  # a feeder with so much to read runs everywhere at once
        before, seen, gaps = line.last, line.stamps.words[UPDATES], line.stamps.words[GAPS]
        began_ns = flood(line, line.market_ns, records, lambda: line.stamps.words[NUMBER])
        line.wait(line.decided, "the trader applies the last record")
        pairs = line.stamps.pairs()
        ended_ns = int(pairs[np.searchsorted(pairs[:, 0], line.last), 1])
        line.wait(lambda: line.fact("indicators", "cursor") == line.last, "indicators tell their place", 5.0)
        closed = (line.market_ns + records * STEP_NS) // market.MINUTE_NS - line.began_ns // market.MINUTE_NS
        counts = {
            "on the tape": (line.tape_records() - 1 - before, records),
            "folded by indicators": (line.fact("indicators", "cursor"), line.last),
            "candles closed": (line.fact("indicators", "closed"), market.HISTORY + closed),
            "updates at the trader": (line.stamps.words[UPDATES] - seen, records),
            "decided on by the trader": (line.stamps.words[NUMBER], line.last),
            "lost on the bus": (line.stamps.words[GAPS] - gaps, 0),
            "spans not live": (len(line.spans(before)), 0),
            "orders sent": (len(orders(line.journal())), int(held)),
        }
        wrong = {name: pair for name, pair in counts.items() if pair[0] != pair[1]}
        if wrong:
            raise RuntimeError(f"counted and expected: {wrong}; said: {line.troubles}")
    return records / (ended_ns - began_ns) * 1e9


def orders(entries: list[Entry]) -> set[str]:
    """Ids of the orders in a journal."""
    return {entry.event.client_order_id for entry in entries if isinstance(entry.event, OrderEvent)}


def one_bare(records: int) -> float:
    """Records a second through the bare relays."""
    with scratch() as folder, BareLine(folder) as line:
        began_ns = flood(line, time.time_ns(), records, lambda: line.stamps.words[LAST])
        deadline = time.monotonic() + STALL_SECONDS
        while line.stamps.words[LAST] < line.next_number - 1:
            if time.monotonic() > deadline:
                raise TimeoutError("the bare relays lost frames")
            time.sleep(0.001)
        return records / (int(line.stamps.pairs()[-1, 1]) - began_ns) * 1e9


def flood(line: Sender, market_ns: int, records: int, reached: Callable[[], int]) -> int:
    """Sends full frames as fast as the window lets it; the monotonic time of the first.

    `reached()` is the number of the last record that came out at the end.
    """
    block = market.trades(market_ns + STEP_NS * np.arange(1, BLOCK + 1))
    frames = block.reshape(-1, MAX_BATCH)
    began_ns = serviced_ns = moved_ns = time.monotonic_ns()
    ahead = WINDOW * MAX_BATCH
    last = where = -1
    for place in range(records // MAX_BATCH):
        turn = place % len(frames)
        if place and not turn:
            for name in ("exchange_ns", "received_ns"):
                block[name] += BLOCK * STEP_NS
            block["trade_id"] += BLOCK
        while place and last - reached() > ahead:
            time.sleep(0.0002)
            now_ns = time.monotonic_ns()
            if reached() != where:
                where, moved_ns = reached(), now_ns
            if now_ns - moved_ns > STALL_SECONDS * 1e9:
                raise TimeoutError(f"nothing moves after record {where} of {last}")
            if now_ns - max(serviced_ns, moved_ns) > STILL_NS or now_ns - serviced_ns > SERVICE_SECONDS * 1e9:
                line.service()
                serviced_ns = now_ns
        last = line.write(frames[turn].tobytes()) + MAX_BATCH - 1
        now_ns = time.monotonic_ns()
        if now_ns - serviced_ns > SERVICE_SECONDS * 1e9:
            line.service()
            serviced_ns = now_ns
    return began_ns


def numba_loop(records: int) -> float:
    """Records a second of a compiled loop that reads every word and writes an UPDATE's worth, a frame at a time."""
    frame = np.zeros(MAX_BATCH * RECORD_SIZE, np.uint8).tobytes()
    out = np.zeros(MAX_BATCH * 16, np.int64)
    copy = njit(read_and_write)
    copy(frame, out)
    began_ns = time.perf_counter_ns()
    for _ in range(records // MAX_BATCH):
        copy(frame, out)
    return records / (time.perf_counter_ns() - began_ns) * 1e9
