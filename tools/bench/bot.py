"""A whole bot for a bench: supervisord and all stages in a temporary VAR_DIR, on ports of its own."""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from core.lock import holder
from core.paths import book_dir
from core.settings import Settings
from core.settings_load import apply, from_texts
from tools.bench.line import bring_kernels, scratch
from tools.lifecycle import Bot

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
def running(texts: Mapping[str, str], folder: Path | None = None) -> Iterator[Running]:
    """A bot with these settings, healthy inside and stopped in order at the end; raises StartError."""
    with scratch() as made:
        var = folder or made
        settings = from_texts(
            {"VAR_DIR": str(var), "PORT": str(free_port()), "SANDBOX_PORT": str(free_port())} | dict(texts)
        )
        bring_kernels(var)
        bot = Bot(var)
        apply(settings)
        try:
            bot.start(settings)
            yield Running(settings, bot)
        finally:
            bot.stop()
