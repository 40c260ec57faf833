"""The storage stage: candles, the trader's journal and everybody's events go into the tables of the book.

* Database cannot be opened (disk full or read-only, locked): the stage stays up, says so and tries each second; what is
  published meanwhile is asked for once it is open.
* Damaged file, at the start or a page of it while it is in use: it is kept under another name, and a new one is filled
  from the trader's journal.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bus.frames import CANDLE, EVENT, GAP, TRADER
from bus.guard import Guard
from bus.layouts import layout_hash
from bus.notices import FIRST, WHOLE, Cursor, Join, Notice
from bus.publisher import Facts, open_publisher
from bus.subscriber import Subscriber, look_seconds
from core.errors import BotError
from core.loop import Cancellable
from core.paths import WATCHDOG, beating
from core.settings import shared_hash
from core.stage import Context
from storage.batch import numbered_per_stage
from storage.csvlog import TradesCsv
from storage.migrations import migrate
from storage.pruner import drop_candles_of_another, retention_ms
from storage.reasons import is_damage, reason
from storage.recorder import Recorder
from storage.room import Limits
from storage.writer import Writer

FLUSH_SECONDS = 0.25  # after each look at the bus
OPEN_RETRY_SECONDS = 1.0
TIDY_SECONDS = 5.0


def build(context: Context) -> None:
    """Wires the stage to its loop. Raises MisconfiguredError for a database that this release cannot use."""
    Storage(context)


class Storage:
    """The database, and a subscriber to every stage and the watchdog: to ourselves too, so that our events are kept
    like all others."""

    def __init__(self, context: Context, limits: Limits | None = None) -> None:
        self._context = context
        self._limits = limits or Limits()
        self._subscribers: list[Subscriber] = []
        self._recorder: Recorder | None = None
        self._told = False  # that the database cannot be opened
        self._flushing: Cancellable | None = None
        self._taking = False  # stays so where it failed
        self._publisher = open_publisher(context, layout_hash(), self._facts, "event_to_row")
        self._open()
        context.loop.every(TIDY_SECONDS, self._tidy)
        context.on_stop(self._close)

    def _open(self) -> None:
        """Opens the database and follows everybody; where that cannot be now, tries again in a second."""
        context = self._context
        settings = context.settings
        path = context.book_dir / "bot_data.db"
        try:
            self._writer, told = open_database(
                path, context.clock.wall_ms(), self._publisher.breathe, settings.timeframe
            )
        except NotNow as error:
            if not self._told:
                context.event("error", str(error))
            self._told = True
            context.loop.call_later(OPEN_RETRY_SECONDS, self._open)
            return
        keep_ms = retention_ms(settings.retention_minutes, settings.warmup_candles, settings.timeframe_ms)
        csv = TradesCsv(context.book_dir / "trades.csv", self._writer.trades_from)
        recorder = Recorder(self._writer, csv, keep_ms, context.clock, context.event, self._limits)
        recorder.rejoin = self._join
        recorder.latency = self._publisher.latency
        recorder.publish_gap = self._publisher.gap
        csv.breathe = self._publisher.breathe
        self._guard = Guard(context, (WATCHDOG,))
        for level, text in told:
            context.event(level, text)
        self._recorder = recorder
        with self._sound():
            recorder.flush()  # trades.csv may be behind since the last time
            self._join()
            entry = self._entry()
        context.event("start", f"storage keeps {context.book_dir.name}, from entry {entry} of the journal on")

    def _join(self) -> None:
        """Follows every stage from where the tables end."""
        cursors = self._writer.cursors()  # where they cannot be had, all stays as it is
        for subscriber in self._subscribers:
            subscriber.close()

        def after(topic: str) -> Cursor:
            at = cursors.get(topic)
            return FIRST if at is None else Cursor(at[0], at[1] + 1, else_first=True)

        self._subscribers = []
        for stage in (*beating(self._context.settings), WATCHDOG):
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
                look_s=look_seconds(stage),
            )
            subscriber.attach(self._context.loop, partial(self._take, stage))
            self._subscribers.append(subscriber)
        if self._flushing is not None:
            self._flushing.cancel()
        self._flushing = self._context.loop.every(FLUSH_SECONDS, self._flush)  # behind their looks, which come with it

    def _take(self, stage: str, notices: list[Notice]) -> None:
        if stage == WATCHDOG:
            self._guard.take(notices)
        if self._recorder is not None:
            self._taking = True
            with self._sound():
                self._recorder.take(stage, notices)
            self._taking = False

    @contextmanager
    def _sound(self) -> Iterator[None]:
        """Has the next start fill a new database where this one turns out to be damaged; then raises BotError."""
        try:
            yield
        except self._writer.damage as error:
            if not is_damage(error):
                raise
            self._recorder = None  # nothing more goes into it
            self._writer.close()
            try:
                text = _set_aside(self._writer.database, self._context.clock.wall_ms(), reason(error))
            except OSError as refusal:  # a disk that fails is often read-only from then on
                text = f"{self._writer.database} is damaged ({reason(error)}), and cannot be renamed: {reason(refusal)}"
            self._context.event("error", text)
            raise BotError(f"{text}: starting again") from error

    def _flush(self) -> None:
        if self._recorder is not None:
            with self._sound():
                self._recorder.flush()

    def _tidy(self) -> None:
        if self._recorder is not None:
            with self._sound():
                self._recorder.tidy()

    def _facts(self) -> Facts:
        facts: Facts = {}
        if self._recorder is not None:
            with self._sound():
                facts = self._recorder.facts()
        return facts

    def _entry(self) -> int:
        at = self._writer.cursors().get(TRADER)
        return 1 if at is None else at[1] + 1

    def _close(self) -> None:
        try:
            if not self._taking:  # else what comes now is behind something that was not taken
                for subscriber in self._subscribers:
                    subscriber.look()  # who stopped before us said why
            if self._recorder is not None:
                with self._sound():
                    self._recorder.flush(last_try=True)
        finally:
            if self._recorder is not None:
                self._writer.close()
            for subscriber in self._subscribers:
                subscriber.close()


class NotNow(BotError):
    """The database cannot be opened at the moment; the text says why and what to do."""


def open_database(
    database: Path, wall_ms: int, breathe: Callable[[], object] = lambda: None, timeframe: str = ""
) -> tuple[Writer, list[tuple[str, str]]]:
    """The writer on a file of this release's schema, and (level, text) that a person should know of how it came to be.

    A file that is damaged is kept under another name and a new one begun: the trader's journal refills the ledger.
    Candles of another `timeframe` go.
    Raises NotNow where it cannot be opened yet, MisconfiguredError where this release cannot use it.
    """
    writer = Writer(database, breathe)
    try:
        try:
            steps = migrate(writer.engine, database, wall_ms)
            if timeframe and (others := drop_candles_of_another(writer.engine, timeframe)):
                steps.append(f"{others} candles of another TIMEFRAME were removed, those of {timeframe} come anew")
            writer.cursors()  # what is asked next: better found out here
            return writer, _told_of(steps)
        except writer.damage as error:
            if not is_damage(error):
                raise
            writer.close()
            text = _set_aside(database, wall_ms, str(error.args[0]))
        writer = Writer(database, breathe)
        return writer, [("error", text), *_told_of(migrate(writer.engine, database, wall_ms))]
    except writer.passing_errors as error:
        writer.close()
        raise NotNow(f"cannot open {database}: {reason(error)}; it is tried again each second") from error


def _told_of(steps: list[str]) -> list[tuple[str, str]]:
    return [("info", step) for step in steps]


def _set_aside(database: Path, wall_ms: int, why: str) -> str:
    """Renames a damaged file with its log; returns what a person must know of it."""
    kept = database.with_name(f"{database.stem}.damaged-{wall_ms}{database.suffix}")
    for ending in ("-wal", "-shm"):
        aside = database.with_name(database.name + ending)
        if aside.exists():
            aside.replace(kept.with_name(kept.name + ending))
    database.replace(kept)
    return f"{database} is damaged ({why}): it is kept as {kept.name}; a new one is filled from the journal"
