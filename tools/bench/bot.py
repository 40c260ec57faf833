"""A whole bot for a bench: supervisord and all stages in a temporary VAR_DIR, on ports of its own.

`playing` gives it a market made for the bench: a file of trades for its sandbox with exactly so many a second, and an
hour of history before them, so that the indicators are warm from the start.
"""

import http.client
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np

from core.lock import holder
from core.paths import book_dir
from core.settings import Settings
from core.settings_load import apply, from_texts
from sandbox.world import FILE, Playing
from tools.bench import market
from tools.bench.folders import scratch
from tools.bench.line import bring_kernels
from tools.lifecycle import Bot, StartError

PER_MINUTE = 6  # trades of the history
FIRST_PORT, PORTS = 20_000, 12_000  # below those that the kernel hands out for outgoing connections


def free_port() -> int:
    """A port of this machine that nobody uses."""
    while True:
        port = FIRST_PORT + int.from_bytes(os.urandom(2), "big") % PORTS
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Running:
    """A healthy bot: its settings and its folder."""

    def __init__(self, settings: Settings, bot: Bot) -> None:
        self.settings = settings
        self.var = bot.var
        self.run_dir = bot.run_dir

    @property
    def supervisord(self) -> int:
        """supervisord's process."""
        return int((self.run_dir / "supervisord.pid").read_text())

    def tape_bytes(self) -> int:
        """Size of all segments of the tape."""
        return sum(path.stat().st_size for path in (book_dir(self.settings) / "tape").glob("*/*.tape"))

    def pid(self, stage: str) -> int:
        """The stage's process; raises OSError where it does not run."""
        pid = holder(self.run_dir, stage)
        if not pid:
            raise OSError(f"{stage} does not run: {self.var / 'log'} says why")
        return pid


@contextmanager
def running(
    texts: Mapping[str, str], folder: Path | None = None, *, must_be_on_disk: bool = False
) -> Iterator[Running]:
    """A bot with these settings, healthy inside and stopped in order at the end.

    Raises StartError; MisconfiguredError where its own folder must be on a disk and there is none for it.
    """
    with scratch(must_be_on_disk=must_be_on_disk) as made:
        var = folder or made
        settings = from_texts(
            {"VAR_DIR": str(var), "PORT": str(free_port()), "SANDBOX_PORT": str(free_port())} | dict(texts)
        )
        bring_kernels(var)
        bot = Bot(var)
        apply(settings)
        try:
            found = bot.start(settings)
            if not found.ok:
                raise StartError("\n".join([*found.failing, *map(bot.last_words, found.stages)]))
            yield Running(settings, bot)
        finally:
            bot.stop()


@contextmanager
def playing(rate: int, seconds: float, *, speed: int = 1, falls_every_s: int = 0) -> Iterator[Running]:
    """A bot whose sandbox plays `rate` trades a second of market time, for so many seconds of it.

    `falls_every_s`: the strategy buys at one fall and is stopped out at the next.
    """
    with scratch() as folder:
        tape = folder / f"{rate}-a-second.csv"
        texts = {"VAR_DIR": str(folder), "SANDBOX_TAPE": str(tape), "SANDBOX_SPEED": str(speed)}
        begins_ms = int(time.time()) // 60 * 60_000 - 60_000
        first_ms, count = write_tape(tape, begins_ms, rate, seconds, falls_every_s)
        book = book_dir(from_texts(texts))
        book.mkdir(parents=True)
        place = Playing(tape.name, count, first_ms, begins_ms, None, float(speed))
        (book / FILE).write_bytes(msgspec.json.encode(place))
        with running(texts, folder) as bot:
            yield bot


def write_tape(path: Path, begins_ms: int, rate: int, seconds: float, falls_every_s: int = 0) -> tuple[int, int]:
    """A file of trades: an hour of few, then `rate` a second from `begins_ms` on; its first time and their count."""
    history = begins_ms - market.HISTORY * 60_000 + np.arange(market.HISTORY * PER_MINUTE) * 60_000 // PER_MINUTE
    running_ms = begins_ms + np.arange(int(rate * seconds)) * 1000 // rate
    times = np.concatenate([history, running_ms])
    records = market.trades(times * 1_000_000)
    prices = records["price"]
    if falls_every_s:
        prices = prices - np.where(market.falling(times, begins_ms, falls_every_s), market.DIP, 0.0)
    lines = [
        f"{ms},{price:.2f},{quantity:.5f}\n"
        for ms, price, quantity in zip(times.tolist(), prices.tolist(), records["quantity"].tolist(), strict=True)
    ]
    path.write_text("ts_ms,price,qty\n" + "".join(lines))
    return int(times[0]), len(times)


@contextmanager
def page(bot: Running) -> Iterator[None]:
    """One page that follows the event stream meanwhile; raises OSError where the stream ended."""
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
