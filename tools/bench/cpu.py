"""What a whole bot costs while little happens: CPU of each stage at 1 and at 50 trades a second.

The real bot under supervisord; its sandbox plays a file made for this, with exactly so many trades a second and an
hour of history before them, so that the indicators are warm. Measured with the page closed and with one open, which is
a client of its event stream. The sandbox and supervisord are told apart from the stages. The floor is five bare
processes that pass on, write and wake as often.
"""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np

from bus.layouts import RECORD_SIZE
from core.paths import STAGES, book_dir
from core.settings_load import from_texts
from sandbox.world import FILE, Playing
from tools.bench import bare_bot, market
from tools.bench.bot import Running, running
from tools.bench.figure import Figure, Options, figure
from tools.bench.line import scratch
from tools.bench.processes import cpu_ns

RATES = (1, 50)
SECONDS = 30.0
SETTLE_SECONDS = 8.0
MOST = {50: 6.0}  # per cent of a core
PER_MINUTE = 6  # trades of the history
UNIT = "% of a core"


def figures(options: Options) -> list[Figure]:
    """Per cent of a core, all stages and each."""
    seconds = options.seconds_or(SECONDS, 1.0)
    settle = 1.0 if options.quick else SETTLE_SECONDS
    found = []
    for rate in RATES:
        with bare_bot.running(rate) as pids:
            time.sleep(min(settle, 2.0))
            floors = used(pids, seconds)
        with playing(rate, seconds * 3 + 120) as bot:
            pids = {stage: bot.pid(stage) for stage in STAGES}
            others = {"sandbox": bot.pid("sandbox"), "supervisord": bot.supervisord}
            time.sleep(settle)
            measured = [("page closed", *with_trades(bot, pids | others, seconds))]
            with page(bot):
                measured.append(("one page open", *with_trades(bot, pids | others, seconds)))
        for label, cpu, trades in measured:
            what = f"{rate} trades/s, {label}"
            total = sum(cpu[stage] for stage in STAGES)
            found.append(
                figure(
                    "cpu",
                    f"{what}: all stages",
                    UNIT,
                    [total],
                    floor=[sum(floors.values())],
                    floor_of="bare processes that wake as often",
                    most=MOST.get(rate),
                    note=f"{trades:.1f} records/s came onto the tape meanwhile",
                )
            )
            found += [
                figure("cpu", f"{what}: {name}", UNIT, [value], floor=[floors[name]] if name in floors else ())
                for name, value in cpu.items()
            ]
    return found


def used(pids: dict[str, int], seconds: float) -> dict[str, float]:
    """Per cent of a core that each process used over so many seconds."""
    before = {name: (cpu_ns(pid), time.monotonic_ns()) for name, pid in pids.items()}
    time.sleep(seconds)
    return {
        name: (cpu_ns(pids[name]) - cpu) / (time.monotonic_ns() - since) * 100 for name, (cpu, since) in before.items()
    }


def with_trades(bot: Running, pids: dict[str, int], seconds: float) -> tuple[dict[str, float], float]:
    """What `used` says, and how many records a second the tape grew by meanwhile."""
    before, began = bot.tape_bytes(), time.monotonic()
    cpu = used(pids, seconds)
    return cpu, (bot.tape_bytes() - before) / RECORD_SIZE / (time.monotonic() - began)


@contextmanager
def playing(rate: int, seconds: float) -> Iterator[Running]:
    """A bot whose sandbox plays `rate` trades a second for so long, after an hour of history."""
    with scratch() as folder:
        tape = folder / f"{rate}-a-second.csv"
        texts = {"VAR_DIR": str(folder), "SANDBOX_TAPE": str(tape), "SANDBOX_SPEED": "1"}
        begins_ms = int(time.time()) // 60 * 60_000 - 60_000
        first_ms, count = write_tape(tape, begins_ms, rate, seconds)
        book = book_dir(from_texts(texts))
        book.mkdir(parents=True)
        place = Playing(tape.name, count, first_ms, begins_ms, None, 1.0)
        (book / FILE).write_bytes(msgspec.json.encode(place))
        with running(texts, folder) as bot:
            yield bot


def write_tape(path: Path, begins_ms: int, rate: int, seconds: float) -> tuple[int, int]:
    """A file of trades: an hour of few, then `rate` a second from `begins_ms` on; its first time and their count."""
    history = begins_ms - market.HISTORY * 60_000 + np.arange(market.HISTORY * PER_MINUTE) * 60_000 // PER_MINUTE
    running_ms = begins_ms + np.arange(int(rate * seconds)) * 1000 // rate
    times = np.concatenate([history, running_ms])
    records = market.trades(times * 1_000_000)
    lines = [
        f"{ms},{price:.2f},{quantity:.5f}\n"
        for ms, price, quantity in zip(
            times.tolist(), records["price"].tolist(), records["quantity"].tolist(), strict=True
        )
    ]
    path.write_text("ts_ms,price,qty\n" + "".join(lines))
    return int(times[0]), len(times)


@contextmanager
def page(bot: Running) -> Iterator[None]:
    """One page that follows the event stream meanwhile."""
    connection = http.client.HTTPConnection("127.0.0.1", bot.settings.port, timeout=10)
    connection.request("GET", "/api/stream")
    answer = connection.getresponse()
    if answer.status != 200:
        raise OSError(f"the page's stream answered {answer.status}")
    over = threading.Event()

    def read() -> None:
        while not over.is_set() and answer.readline():
            pass

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield
        if not reader.is_alive():
            raise OSError("the page's stream ended")
    finally:
        over.set()
        reader.join(10)
        connection.close()
