"""What arrives on the bus becomes rows, in batches; what cannot be written yet waits, and nothing recorded is lost.

While the database is locked or the disk is full the batch is kept and tried again. Where too much would wait, the
numbered messages are let go: their cursors have not moved, so the streams are joined again from there.
"""

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from bus.frames import CANDLE, EVENT, GAP, TRADER, Frame
from bus.messages import Candle, Entry, Event, Gap
from bus.notices import GapFound, Joined, PeerDiffers
from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.errors import BotError
from core.histogram import Histogram
from storage.csvlog import TradesCsv
from storage.pruner import prune
from storage.writer import Batch, Writer, numbered_per_stage

PENDING_MAX = 50_000  # rows that may wait for the database, some 50 MB
RETRY_NS = 1 * NS_PER_S
REMIND_NS = 60 * NS_PER_S
WAL_MAX_BYTES = 32 * 1024 * 1024  # beyond it somebody reads without end, and we write less often
SLOW_NS = 5 * NS_PER_S

_DECODERS: dict[str, msgspec.msgpack.Decoder[Any]] = {
    CANDLE: msgspec.msgpack.Decoder(list[Candle]),
    TRADER: msgspec.msgpack.Decoder(list[Entry]),
    EVENT: msgspec.msgpack.Decoder(list[Event]),
    GAP: msgspec.msgpack.Decoder(list[Gap]),
}
_ITEM_DECODERS: dict[str, msgspec.msgpack.Decoder[Any]] = {
    CANDLE: msgspec.msgpack.Decoder(Candle),
    TRADER: msgspec.msgpack.Decoder(Entry),
    EVENT: msgspec.msgpack.Decoder(Event),
    GAP: msgspec.msgpack.Decoder(Gap),
}
_RAW = msgspec.msgpack.Decoder(list[msgspec.Raw])

Tell = Callable[[str, str], None]


class Recorder:
    """Turns bus events into rows. `tell(level, text)` reaches people; `rejoin()` joins all streams from the cursors."""

    def __init__(self, writer: Writer, csv: TradesCsv, keep_ms: int, clock: Clock, tell: Tell) -> None:
        self._writer = writer
        self._csv = csv
        self._keep_ms = keep_ms
        self._clock = clock
        self._tell = tell
        self._log = logging.getLogger(__name__)
        self.rejoin: Callable[[], None] = lambda: None
        self.publish_gap: Callable[[str, int, int, int], object] = lambda *_: None
        self.batch = Batch()
        self.behind = False  # numbered messages were let go
        self.rows = 0
        self.lag_ms = 0.0
        self.latency: Histogram | None = None
        self._oldest_ns = 0  # arrival of the oldest message in the batch
        self._next_try_ns = 0
        self._written_ns = 0
        self._slow = False
        self._csv_behind = True
        self._told: dict[str, int] = {}  # what is wrong: when it was last told
        self._inode = writer.database.stat().st_ino

    # --- what arrives

    def take(self, stage: str, events: list[Any]) -> None:
        """Events of the subscriber to `stage`, in order."""
        if not self.batch:
            self._oldest_ns = self._clock.monotonic_ns()
        for event in events:
            match event:
                case Frame():
                    self._frame(stage, event)
                case Joined():
                    self._joined(stage, event)
                case GapFound():
                    self._gap(stage, event.topic, event.epoch, event.first, event.last)
                case PeerDiffers(what="layout"):
                    self._tell("error", f"{stage} is of another release and cannot be read: restart it")
        if len(self.batch) > PENDING_MAX:
            self.flush(urgent=True)
            if len(self.batch) > PENDING_MAX and not self.behind:
                self._let_go()

    def _frame(self, stage: str, frame: Frame) -> None:
        decoder = _DECODERS.get(frame.topic)
        if decoder is None:
            return
        try:
            messages = decoder.decode(frame.payload)
            if len(messages) != frame.count:
                raise msgspec.ValidationError(f"{len(messages)} messages under {frame.count} numbers")
        except msgspec.DecodeError as error:
            self._damaged(stage, frame, str(error))
            return
        for number, message in enumerate(messages, start=frame.first):
            self._message(stage, frame.topic, frame.epoch, number, message)

    def _damaged(self, stage: str, frame: Frame, why: str) -> None:
        """Takes the messages of a frame one by one; those that cannot be read are gaps."""
        try:
            raw = _RAW.decode(frame.payload)
        except msgspec.DecodeError:
            raw = []
        for place in range(frame.count):
            number = frame.first + place
            try:
                message = _ITEM_DECODERS[frame.topic].decode(raw[place])
            except (IndexError, msgspec.DecodeError):
                self._gap(stage, frame.topic, frame.epoch, number, number, f"unreadable: {why}")
            else:
                self._message(stage, frame.topic, frame.epoch, number, message)

    def _message(self, stage: str, topic: str, epoch: int, number: int, message: Any) -> None:
        if topic == CANDLE:
            self.batch.add_candle(message)
        elif self.behind:
            return
        elif topic == EVENT:
            self.batch.add_event(stage, epoch, number, message)
        elif topic == GAP:
            self.batch.add_gap_of(stage, epoch, number, message)
        else:
            try:
                self.batch.add_entry(epoch, number, message.event)
            except (ValueError, OverflowError) as error:
                self._gap(stage, topic, epoch, number, number, f"malformed amount: {error}")

    def _joined(self, stage: str, joined: Joined) -> None:
        self._log.debug("joined %s of %s at number %s", joined.topic, stage, joined.next_number)
        if joined.topic == CANDLE and joined.snapshot:
            try:
                for candle in _DECODERS[CANDLE].decode(joined.snapshot):
                    self.batch.add_candle(candle)
            except msgspec.DecodeError as error:
                self._tell("error", f"the candles that {stage} holds cannot be read ({error}): restart it")
        elif joined.topic == TRADER:
            self._joined_journal(stage, joined)

    def _joined_journal(self, stage: str, joined: Joined) -> None:
        """Our cursor was of no use: there was none, the journal is another one, or it ends before what we have."""
        self.flush(urgent=True)
        if self._writer.cursors().get(TRADER) is not None:
            self.batch.begin_journal()
        if joined.next_number > 1:
            self._gap(stage, TRADER, joined.epoch, 1, joined.next_number - 1)

    def _gap(self, stage: str, topic: str, epoch: int, first: int, last: int, why: str = "missed for good") -> None:
        self.batch.add_gap(Gap(stage, topic, epoch, first, last, self._clock.wall_ms()))
        if not self.behind:
            if topic == TRADER:
                self.batch.skip_to(TRADER, epoch, last)
            elif topic in (EVENT, GAP):
                self.batch.skip_to(numbered_per_stage(topic, stage), epoch, last)
        self.publish_gap(topic, epoch, first, last)
        self._tell("warn", f"{topic} of {stage}: numbers {first} to {last} {why}")

    def _let_go(self) -> None:
        """Drops the numbered messages that wait; candles stay, they are few and have no numbers."""
        self._tell(
            "error", f"{len(self.batch)} rows wait for the database: they will be asked for again once it is free"
        )
        self.batch.numbered.clear()
        self.batch.reached.clear()
        self.behind = True

    # --- what is written

    def flush(self, urgent: bool = False, last_try: bool = False) -> None:
        """Writes what has come since the last time, unless a failed try was a moment ago."""
        now = self._clock.monotonic_ns()
        too_soon = now < self._next_try_ns or (self._slow and not urgent and now < self._written_ns + SLOW_NS)
        if too_soon and not last_try:
            return
        if self.batch or self.behind:
            try:
                written = self._writer.write(self.batch)
            except self._writer.passing_errors as error:
                self._failed(error)
                return
            self._measure()
            self.rows += written.rows
            self._written_ns = now
            self._csv_behind = self._csv_behind or written.trades > 0
            self.batch = Batch()
            self._mended("database", "the database takes rows again, nothing was lost")
            for text in written.told:
                self._tell("warn", text)
                self._csv.set_aside()
                self._csv_behind = True
            if self.behind:
                self.behind = False
                self.rejoin()
        self._sync_csv()

    def _measure(self) -> None:
        """How long the oldest message of the batch waited for its commit."""
        if self.batch:
            waited_ns = self._clock.monotonic_ns() - self._oldest_ns
            self.lag_ms = waited_ns / NS_PER_MS
            if self.latency is not None:
                self.latency.record(waited_ns / 1000)

    def _failed(self, error: BaseException) -> None:
        self._next_try_ns = self._clock.monotonic_ns() + RETRY_NS
        self._complain(
            "database", f"cannot write {self._writer.database}: {_reason(error)}; {len(self.batch)} rows wait"
        )

    def _sync_csv(self) -> None:
        if not self._csv_behind:
            return
        try:
            self._csv.sync()
        except OSError as error:
            self._complain(
                "csv", f"cannot write {self._csv.path}: {error.strerror or error}; it will be brought up to date"
            )
            return
        self._csv_behind = False
        self._mended("csv", f"{self._csv.path.name} is up to date again")

    # --- what is kept in bounds

    def tidy(self) -> None:
        """Prunes old rows, watches the log's size, and notices when somebody removed the file."""
        self._check_that_the_file_is_there()
        try:
            prune(self._writer.engine, self._keep_ms)
            if self._writer.wal_bytes() > WAL_MAX_BYTES:
                self._writer.checkpoint()
        except self._writer.passing_errors as error:
            self._complain("database", f"cannot prune {self._writer.database}: {_reason(error)}")
            return
        self._slow = self._writer.wal_bytes() > WAL_MAX_BYTES
        if self._slow:
            size = self._writer.wal_bytes() // 1024 // 1024
            self._complain(
                "reader",
                f"a program has been reading {self._writer.database} without end, its log is {size} MB: "
                "close that program; until then rows are written every 5 s",
            )
        else:
            self._mended("reader", "the database's log is small again")

    def _check_that_the_file_is_there(self) -> None:
        try:
            same = self._writer.database.stat().st_ino == self._inode
        except FileNotFoundError:
            same = False
        if not same:
            raise BotError(
                f"{self._writer.database} was removed or replaced while it was in use: starting again, "
                "its ledger is rebuilt from the trader's journal"
            )

    def facts(self) -> dict[str, str | int | float | None]:
        """The stage's own facts for its heartbeat."""
        lag_ms = self.lag_ms
        if "database" in self._told and self.batch:
            lag_ms = (self._clock.monotonic_ns() - self._oldest_ns) / NS_PER_MS
        return {
            "cursor": self._cursor(),
            "rows": self.rows,
            "db_mb": round(self._writer.total_bytes() / 1024 / 1024, 3),
            "lag_ms": round(lag_ms, 1),
            "waiting": len(self.batch),
        }

    def _cursor(self) -> int | None:
        try:
            at = self._writer.cursors().get(TRADER)
        except self._writer.passing_errors:
            return None
        return None if at is None else at[1]

    # --- what is told, once and then each minute

    def _complain(self, what: str, text: str) -> None:
        now = self._clock.monotonic_ns()
        if what not in self._told or now - self._told[what] >= REMIND_NS:
            self._told[what] = now
            self._tell("error", text)

    def _mended(self, what: str, text: str) -> None:
        if self._told.pop(what, None) is not None:
            self._tell("info", text)


_NEXT_STEPS = {
    "locked": "another program holds it: end its transaction or close it",
    "full": "the disk is full: free some space",
    "readonly": "it is read-only: check the permissions of the file and its folder",
    "disk I/O error": "the disk fails: look into the system's log",
    "unable to open": "check that its folder is there and may be written",
}


def _reason(error: BaseException) -> str:
    """What went wrong with the next step, where the text of the error tells it."""
    text = str(getattr(error, "orig", None) or error)
    for sign, step in _NEXT_STEPS.items():
        if sign in text:
            return f"{text} ({step})"
    return text
