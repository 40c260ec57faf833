"""The stage `storage` on real sockets, with the other stages' publishers on the loop of the test."""

import logging
from collections.abc import Callable
from pathlib import Path

from bus.frames import TRADER, Frame, array_of
from bus.layouts import layout_hash
from bus.messages import Entry
from bus.publisher import Publisher
from core.clock import LiveClock
from core.loop import PollLoop
from core.settings import shared_hash
from core.settings_load import load
from core.stage import Context
from storage.app import Storage
from storage.queries import History
from storage.room import Limits
from trader.journal import Journal, epoch_of

REPLAY_MESSAGES = 500
JOURNAL = 4242


class Others:
    """The other stages' publishers, on the loop of the test."""

    def __init__(self, folder: Path) -> None:
        self.clock = LiveClock()
        self.settings = load({"VAR_DIR": str(folder)}, folder / "no.env")
        self.loop = PollLoop(self.clock)
        self.publishers: dict[str, Publisher] = {}
        self.context = self._context()
        self.starts = 0
        self._closers: list[Callable[[], object]] = []
        self.journal: list[Entry] = []
        self.storage: Storage | None = None
        self.database = self.context.book_dir / "bot_data.db"
        self.history = History(self.database)

    def _context(self) -> Context:
        context = Context("storage", self.settings, self.clock, logging.getLogger("storage"))
        context.loop = self.loop
        context.book_dir.mkdir(parents=True, exist_ok=True)
        return context

    def start_storage(self, limits: Limits | None = None) -> None:
        self.context = self._context()
        self.storage = Storage(self.context, limits)

    def stop_storage(self) -> None:
        self.context.close()

    def publisher(self, stage: str) -> Publisher:
        """A new process of `stage`."""
        if stage in self.publishers:
            self.publishers.pop(stage).close()
        self.starts += 1
        publisher = Publisher(
            stage,
            self.context.run_dir,
            self.clock,
            layout_hash=layout_hash(),
            settings_hash=shared_hash(self.settings),
            started_ms=self.clock.wall_ms() + self.starts,
        )
        self.publishers[stage] = publisher
        return publisher

    def trader(self, epoch: int = JOURNAL, keep: int = 10_000) -> Publisher:
        """A trader whose journal holds what `say` put into it."""
        publisher = self.publisher("trader")
        publisher.topic(TRADER, epoch, last=0, ring=keep)
        publisher.attach(self.loop)
        for entry in self.journal:
            publisher.send(TRADER, entry)
        return publisher

    def journalling_trader(self) -> Publisher:
        """A trader with a real journal file: who asks gets its entries from there, as from the stage."""
        journal = Journal(self.context.book_dir / "journal.db", lambda done: None, lambda why: None)
        epoch = epoch_of(journal.open(1).journal_id)
        publisher = self.publisher("trader")

        def replay(first: int) -> list[Frame]:
            rows = journal.read(first)
            frames = []
            for at in range(0, len(rows), REPLAY_MESSAGES):
                payload, count = array_of(body for _, body in rows[at : at + REPLAY_MESSAGES])
                frames.append(Frame(TRADER, epoch, rows[at][0], count, 0, payload))
            return frames

        self._closers.append(journal.close)
        self.real_journal = journal
        publisher.topic(TRADER, epoch, last=journal.number, replay=replay)
        publisher.attach(self.loop)
        return publisher

    def journalled(self, events: list) -> None:
        """Writes events to the real journal and publishes them."""
        first = self.real_journal.number + 1
        for at in range(0, len(events), 1_000):
            self.real_journal.append(events[at : at + 1_000], b"state")
        assert self.real_journal.flush(60)
        entries = [Entry(number, event) for number, event in enumerate(events, start=first)]
        for entry in entries:
            self.publishers["trader"].send(TRADER, entry)

    def say(self, *events) -> None:
        for event in events:
            entry = Entry(len(self.journal) + 1, event)
            self.journal.append(entry)
            if "trader" in self.publishers:
                self.publishers["trader"].send(TRADER, entry)

    def run_until(self, done: Callable[[], bool], seconds: float = 20.0) -> None:
        """Turns the loop until something is so; fails after a long time."""
        over: list[bool] = []
        timer = self.loop.call_later(seconds, lambda: over.append(True))
        poll = self.loop.every(0.02, lambda: None)
        while not done():
            assert not over, "it did not come to pass"
            self.loop._turn()
        timer.cancel()
        poll.cancel()

    def close(self) -> None:
        self.context.close()
        for publisher in self.publishers.values():
            publisher.close()
        for close in self._closers:
            close()
        self.loop.close()


def trade_ids(others: Others) -> list[int]:
    """Ids of all rows of `trades`, in order."""
    return [row["id"] for row in others.history.trades(1_000_000)][::-1]
