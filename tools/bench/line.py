"""The real line for a bench: tape and publisher here in the feeder's place, indicators and trader behind them.

The stages are the real ones in processes of their own, in a temporary VAR_DIR with settings of their own; of the trader
`tools.bench.probe` also writes down when it decided. As the feeder does, the sender keeps to their processor while it
has little to do.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np

from bus.frames import TRADE
from bus.layouts import MAX_BATCH, layout_hash
from bus.messages import Entry, Event, SpanEvent, TradeEvent
from bus.notices import FIRST, Notice
from bus.publisher import Publisher
from bus.subscriber import Subscriber
from bus.tape import TapeReader, TapeWriter, tape_replay
from core import paths
from core.books import open_book
from core.clock import LiveClock
from core.loop import PollLoop
from core.paths import ROOT
from core.placement import HELD_UP_S, keep_placed, possible, processors
from core.settings import shared_hash
from core.settings_load import KNOWN, SUPERVISED, apply, from_texts, full_environment, var_dir_only
from indicators import jit
from tools.bench import market
from tools.bench.stamps import LAST, NUMBER, Stamps

SETTLE_SECONDS = 60.0
STOP_SECONDS = 10.0
TROUBLE = ("warn", "error", "halt")

_entry = msgspec.msgpack.Decoder(Entry).decode
_events = msgspec.msgpack.Decoder(list[Event]).decode


def bring_kernels(var: Path) -> None:
    """Brings the compiled kernels of the user's own cache, made there where they are missing, to another VAR_DIR."""
    cache = paths.cache_dir(var_dir_only())
    jit.warm(cache)
    source = jit.code_file(cache)
    if source.exists():
        target = jit.code_file(paths.cache_dir(var))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


class Line:
    """A context manager: warm and live inside; stages stopped in order at its end."""

    def __init__(
        self,
        folder: Path,
        *,
        pairs: int = 1,
        held: bool = False,
        settings: Mapping[str, str] | None = None,
        beside: Sequence[str] = (),
    ) -> None:
        """`beside`: other stages that listen meanwhile; `held`: the first pair is bought at the end of __enter__."""
        self.folder = folder
        self.pairs = pairs
        self.began_ns = self.market_ns = time.time_ns()  # market time: of the START, of the latest trade
        self.loop = PollLoop(LiveClock())
        self.troubles: list[str] = []
        self._held = held
        self._beside = beside
        texts = {"VAR_DIR": str(folder), "PAIRS": ",".join(market.names(pairs))} | dict(settings or {})
        self.settings = from_texts(texts)
        apply(self.settings)
        self.book = open_book(self.settings)
        bring_kernels(folder)
        self.stamps = Stamps(folder / "stamps", create=True)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._listeners: dict[str, Subscriber] = {}
        self._kept = processors(frozenset(os.sched_getaffinity(0)), together=True) if possible() else frozenset()
        self._let_go: Callable[[], object] = lambda: None

    def __enter__(self) -> "Line":
        self._open_tape()
        try:
            self._start("indicators", "-m", "indicators")
            self._start("trader", "-m", "tools.bench.probe", str(self.folder / "stamps"))
            for stage in self._beside:
                self._start(stage, "-m", stage)
            self._let_go = keep_placed(self.loop, LiveClock(), together=True)  # the stages are not to inherit it
            self._settle()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go()
        for child in reversed(self._children.values()):
            child.send_signal(signal.SIGTERM)
        for child in self._children.values():
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        for listener in self._listeners.values():
            listener.close()
        self.publisher.close()
        self.tape.close()
        self.reader.close()
        self.loop.close()
        self.stamps.close()

    @property
    def pids(self) -> dict[str, int]:
        return {name: child.pid for name, child in self._children.items()}

    # --- the feeder's part

    def write(self, data: bytes) -> int:
        """Tapes and publishes one frame of records; the number of the first."""
        first = self.tape.append(data)
        self.publisher.send_records(TRADE, first, data)
        return first

    def write_all(self, records: np.ndarray) -> None:
        """Tapes and publishes records in full frames, waiting for each turn's end."""
        for at in range(0, len(records), MAX_BATCH):
            self.write(records[at : at + MAX_BATCH].tobytes())
            self.service()

    def service(self) -> None:
        """Heartbeats and answers that are due; call it some times a second."""
        self.loop.stopped = False
        self.loop.call_later(0, self.loop.stop)
        self.loop.run()

    @property
    def last(self) -> int:
        """The number of the last record on the tape."""
        return self.tape.next_number - 1

    def _open_tape(self) -> None:
        clock = LiveClock()
        self.tape = TapeWriter(self.book / "tape", clock, "bench")
        epoch, number = self.tape.open()
        self.reader = TapeReader(self.tape.folder, epoch)
        run_dir = paths.run_dir(self.folder)
        self.publisher = Publisher(
            "feeder",
            run_dir,
            clock,
            layout_hash=layout_hash(),
            settings_hash=shared_hash(self.settings),
            started_ms=clock.wall_ms(),
        )
        body = market.start(self.pairs, self.market_ns)
        packed = msgspec.msgpack.encode(body)
        self.publisher.topic(TRADE, epoch, number - 1, replay=tape_replay(self.reader), snapshot=lambda: packed)
        self.publisher.attach(self.loop)
        first = self.tape.start(body)
        self.publisher.send_records(TRADE, first, self.reader.read(first)[0], packed)
        self.write_all(market.history(self.pairs, self.market_ns))

    # --- the stages

    def _start(self, stage: str, *arguments: str) -> None:
        environ = {name: text for name, text in full_environment().items() if name not in KNOWN}
        environ |= {"VAR_DIR": str(self.folder), SUPERVISED: "1"}
        with (self.folder / f"{stage}.log").open("wb") as log:
            self._children[stage] = subprocess.Popen(
                [sys.executable, *arguments], cwd=ROOT, env=environ, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        listener = Subscriber(
            stage,
            {"event/0/": FIRST},
            paths.run_dir(self.folder),
            LiveClock(),
            layout_hash=layout_hash(),
            settings_hash=shared_hash(self.settings),
        )
        self._listeners[stage] = listener
        listener.attach(self.loop, self._hear)

    def _hear(self, notices: list[Notice]) -> None:
        for notice in notices:
            payload = getattr(notice, "payload", b"")
            for event in _events(payload) if payload else ():
                if event.level in TROUBLE:
                    self.troubles.append(f"{event.stage}: {event.text}")

    def fact(self, stage: str, name: str) -> object:
        """A fact of a stage's last heartbeat; None before the first."""
        beat = self._listeners[stage].beat
        return None if beat is None else beat.facts.get(name)

    def wait(
        self, condition: Callable[[], object], what: str, seconds: float = SETTLE_SECONDS, *, look_s: float = 0.001
    ) -> None:
        """Does the feeder's part until `condition`; raises TimeoutError with the stages' logs, too where one ended."""
        deadline = time.monotonic() + seconds
        while not condition():
            gone = [name for name, child in self._children.items() if child.poll() is not None]
            if gone or time.monotonic() > deadline:
                logs = "\n".join((self.folder / f"{name}.log").read_text()[-2000:] for name in self._children)
                ended = f", {' and '.join(gone)} ended" if gone else ""
                raise TimeoutError(f"not within {seconds:g} s: {what}{ended}\n{logs}")
            self.service()
            time.sleep(look_s)

    def decided(self) -> bool:
        """Whether the trader has applied the tape's last record."""
        return self.stamps.words[NUMBER] >= self.last

    def placed(self) -> bool:
        """Whether who is on a trade's way, the sender too, has settled where it runs while little happens."""
        ways = (pid for stage, pid in self.pids.items() if stage in paths.HOT_PATH)
        return not self._kept or all(os.sched_getaffinity(pid) == self._kept for pid in (os.getpid(), *ways))

    def _settle(self) -> None:
        """Trades a little until each record comes as an update; then takes the position where one is wanted."""
        end = time.monotonic() + SETTLE_SECONDS
        live = 0
        while live < 20:
            self.market_ns += 1_000_000
            self.write(market.trades(np.array([self.market_ns]), self.pairs, seed=live).tobytes())
            before = self.last
            self.service()
            time.sleep(0.02)
            words = self.stamps.words
            live = live + 1 if words[LAST] >= before and words[NUMBER] >= before else 0
            if time.monotonic() > end:
                self.wait(lambda: False, "indicators and trader follow the tape", 0.0)
        where = "sender, indicators and trader are on the processor that they keep to"
        self.wait(self.placed, where, HELD_UP_S + 10, look_s=0.02)  # so calm that it is kept, as the feeder is
        if self._held:
            records = market.dip(self.market_ns)
            for at in range(len(records)):
                self.write(records[at : at + 1].tobytes())
                self.wait(self.decided, "the trader takes a position")
            self.market_ns = int(records["exchange_ns"][-1])
            self.wait(lambda: self.fact("trader", "open_positions") == 1, "the trader holds a position", 10.0)

    # --- what is left behind

    def journal(self) -> list[Entry]:
        """Every committed entry, in order."""
        file = f"file:{self.book / 'journal.db'}?mode=ro"
        with closing(sqlite3.connect(file, uri=True, timeout=10)) as journal:
            return [_entry(body) for (body,) in journal.execute("SELECT body FROM entries ORDER BY number")]

    def spans(self, after: int) -> list[SpanEvent]:
        """Spans of records that were applied otherwise than live, as far as they reach beyond record `after`."""
        spans: dict[tuple[str, str, int], SpanEvent] = {}  # one that ended is told twice: as it began, without its last
        for entry in self.journal():
            if isinstance(entry.event, SpanEvent):
                spans[entry.event.kind, entry.event.why, entry.event.first] = entry.event
        return [span for span in spans.values() if not 0 <= span.last <= after]

    def deals(self) -> list[str]:
        """What was bought and sold, in order."""
        return [entry.event.action for entry in self.journal() if isinstance(entry.event, TradeEvent)]

    def tape_records(self) -> int:
        """How many records the tape's files hold."""
        total = 0
        first = 0
        while True:
            records, _ = self.reader.read(first, 100_000)
            if not len(records):
                return total
            total += len(records)
            first += len(records)
