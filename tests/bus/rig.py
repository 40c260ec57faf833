"""A publisher and subscribers on one loop with real sockets, and peers in processes of their own."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from bus.frames import Frame, messages
from bus.messages import Event
from bus.notices import Join, Notice
from bus.publisher import Publisher
from bus.subscriber import Subscriber
from core.clock import LiveClock
from core.loop import PollLoop
from core.paths import ROOT

LAYOUT, SETTINGS = 11, 22
events = msgspec.msgpack.Decoder(list[Event])


class Rig:
    """What a test needs; `close` ends everything."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.clock = LiveClock()
        self.loop = PollLoop()
        self.closers: list[Callable[[], None]] = []
        self.processes: list[subprocess.Popen[str]] = []

    def publisher(
        self, stage: str = "trader", layout: int = LAYOUT, settings: int = SETTINGS, started_ms: int = 1
    ) -> Publisher:
        publisher = Publisher(
            stage, self.run_dir, self.clock, layout_hash=layout, settings_hash=settings, started_ms=started_ms
        )
        publisher.attach(self.loop)
        self.closers.append(publisher.close)
        return publisher

    def subscriber(self, topics: Mapping[str, Join], peer: str = "trader") -> "Listener":
        subscriber = Subscriber(peer, topics, self.run_dir, self.clock, layout_hash=LAYOUT, settings_hash=SETTINGS)
        listener = Listener(subscriber)
        subscriber.attach(self.loop, listener.notices.extend)
        self.closers.append(subscriber.close)
        return listener

    def run_until(self, condition: Callable[[], object], seconds: float = 30.0) -> None:
        """Runs the loop until the condition holds; the limit only ends a test that fails."""
        self.loop.stopped = False
        failed: list[bool] = []

        def check() -> None:
            if condition():
                self.loop.stop()

        def give_up() -> None:
            failed.append(True)
            self.loop.stop()

        checking = self.loop.every(0.002, check)
        limit = self.loop.call_later(seconds, give_up)
        self.loop.run()
        checking.cancel()
        limit.cancel()
        assert not failed, "waited in vain"

    def peer(self, program: str, *arguments: object) -> "subprocess.Popen[str]":
        """A process that runs `program` with the run folder and the arguments as sys.argv[1:]."""
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(self.run_dir), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.processes.append(process)
        return process

    def close(self) -> None:
        for close in reversed(self.closers):
            close()
        self.loop.close()
        for process in self.processes:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()


class Listener:
    """A subscriber and what it heard."""

    def __init__(self, subscriber: Subscriber) -> None:
        self.subscriber = subscriber
        self.notices: list[Notice] = []

    def of(self, kind: type) -> list[Notice]:
        return [notice for notice in self.notices if isinstance(notice, kind)]

    @property
    def texts(self) -> list[str]:
        """The texts of all events heard, in order."""
        return [
            event.text for notice in self.notices if isinstance(notice, Frame) for event in messages(notice, events)
        ]

    @property
    def numbers(self) -> list[int]:
        """Every number heard, in order."""
        return [n for notice in self.notices if isinstance(notice, Frame) for n in range(notice.first, notice.last + 1)]
