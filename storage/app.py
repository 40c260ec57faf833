"""The storage stage: candles, the trader's journal and everybody's events go into the tables of the book."""

from functools import partial
from pathlib import Path

from bus.frames import CANDLE, EVENT, GAP, TRADER
from bus.layouts import layout_hash
from bus.notices import FIRST, WHOLE, Cursor, Join
from bus.publisher import open_publisher
from bus.subscriber import Subscriber
from core.paths import STAGES
from core.settings import shared_hash
from core.stage import Context
from storage.csvlog import TradesCsv
from storage.migrations import migrate
from storage.pruner import retention_ms
from storage.recorder import Recorder
from storage.writer import Writer, numbered_per_stage

FLUSH_SECONDS = 0.4
TIDY_SECONDS = 5.0


def build(context: Context) -> None:
    """Wires the stage to its loop. Raises MisconfiguredError for a database that this release cannot use."""
    Storage(context)


class Storage:
    """The database, and a subscriber to every stage: to ourselves too, so that our events are kept like all others."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._subscribers: list[Subscriber] = []
        self._writer, told = open_database(context.book_dir / "bot_data.db", context.clock.wall_ms())
        context.on_stop(self._writer.close)
        settings = context.settings
        keep_ms = retention_ms(settings.retention_minutes, settings.warmup_candles, settings.timeframe_ms)
        csv = TradesCsv(context.book_dir / "trades.csv", self._writer.trades_from)
        self._recorder = Recorder(self._writer, csv, keep_ms, context.clock, context.event)
        self._recorder.rejoin = self._join
        publisher = open_publisher(context, layout_hash(), self._recorder.facts)
        self._recorder.latency = publisher.latency
        self._recorder.publish_gap = publisher.gap
        for level, text in told:
            context.event(level, text)
        self._recorder.flush()  # trades.csv may be behind since the last time
        self._join()
        context.loop.every(FLUSH_SECONDS, self._flush)
        context.loop.every(TIDY_SECONDS, self._recorder.tidy)
        context.on_stop(self._close)
        context.event("start", f"storage keeps {context.book_dir.name}, from entry {self._entry()} of the journal on")

    def _join(self) -> None:
        """Follows every stage from where the tables end."""
        for subscriber in self._subscribers:
            subscriber.close()
        cursors = self._writer.cursors()

        def after(topic: str) -> Cursor:
            at = cursors.get(topic)
            return FIRST if at is None else Cursor(at[0], at[1] + 1, else_first=True)

        self._subscribers = []
        for stage in STAGES:
            topics: dict[str, Join] = {EVENT: after(numbered_per_stage(EVENT, stage))}
            if stage != self._context.name:  # our own gaps are written as they are found
                topics[GAP] = after(numbered_per_stage(GAP, stage))
            if stage == "indicators":
                topics[CANDLE] = WHOLE  # its snapshot holds all that is worth keeping
            elif stage == "trader":
                topics[TRADER] = after(TRADER)
            subscriber = Subscriber(
                stage,
                topics,
                self._context.run_dir,
                self._context.clock,
                layout_hash=layout_hash(),
                settings_hash=shared_hash(self._context.settings),
            )
            subscriber.attach(self._context.loop, partial(self._recorder.take, stage))
            self._subscribers.append(subscriber)

    def _flush(self) -> None:
        self._recorder.flush()

    def _entry(self) -> int:
        at = self._writer.cursors().get(TRADER)
        return 1 if at is None else at[1] + 1

    def _close(self) -> None:
        self._recorder.flush(last_try=True)
        for subscriber in self._subscribers:
            subscriber.close()


def open_database(database: Path, wall_ms: int) -> tuple[Writer, list[tuple[str, str]]]:
    """The writer on a file of this release's schema, and (level, text) that a person should know of how it came to be.

    A file that is damaged is kept under another name and a new one begun: the trader's journal refills the ledger.
    """
    writer = Writer(database)
    told: list[tuple[str, str]] = []
    try:
        steps = migrate(writer.engine, database, wall_ms)
    except writer.damage as error:
        if not any(sign in str(error) for sign in ("not a database", "malformed")):
            raise
        writer.close()
        kept = database.with_name(f"{database.stem}.damaged-{wall_ms}{database.suffix}")
        for ending in ("-wal", "-shm"):
            aside = database.with_name(database.name + ending)
            if aside.exists():
                aside.replace(kept.with_name(kept.name + ending))
        database.replace(kept)
        text = (
            f"{database} is damaged ({error.args[0]}): it is kept as {kept.name}; a new one is filled from the journal"
        )
        told.append(("error", text))
        writer = Writer(database)
        steps = migrate(writer.engine, database, wall_ms)
    return writer, [*told, *(("info", step) for step in steps)]
