"""What arrives on the bus becomes rows, in batches; what cannot be written yet waits, and nothing recorded is lost.

* Database locked, or the disk refuses: the batch is kept and tried again each second.
* Too much would wait: the numbered messages are let go; their cursors have not moved, so the streams are joined again
  from there once the database takes rows.
* Reader without end, disk low: see `storage.room`. Candles wait in either case, one row a bucket.
"""

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from bus.frames import CANDLE, EVENT, GAP, TRADER, Frame
from bus.messages import Candle, Entry, Event, Gap
from bus.notices import GapFound, Joined, PeerDiffers
from bus.passage import published_ns
from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.errors import BotError
from core.file_users import users_of
from core.histogram import Histogram
from storage.batch import Batch, numbered_per_stage
from storage.csvlog import TradesCsv
from storage.ghosts import judge
from storage.pruner import give_back, prune
from storage.reasons import reason
from storage.room import FLOWS, SLOW, STOPPED, Limits, Room
from storage.rows import time_of_candle
from storage.writer import Writer, Written

RETRY_NS = 1 * NS_PER_S
REMIND_NS = 600 * NS_PER_S
LOOK_NS = 100 * NS_PER_MS  # at disk and log: what is written between two looks is little beside what is kept free
PRUNE_NS = 30 * NS_PER_S  # a dozen statements that mostly find nothing
PRUNE_ROWS = 5_000  # sooner where so much was written
SLOW_NS = 10 * NS_PER_S  # rows that waited so long are told of: twice what a reader without end makes them wait
CANDLES_WAIT_NS = 600 * NS_PER_MS  # for each other: the forming ones come four times a second, a commit wears the disk

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

    def __init__(
        self,
        writer: Writer,
        csv: TradesCsv,
        keep_ms: int,
        clock: Clock,
        tell: Tell,
        limits: Limits | None = None,
        room: Room | None = None,
    ) -> None:
        self._writer = writer
        self._limits = limits or Limits()
        self._room = room or Room(writer, self._limits)
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
        self._oldest_ns = 0  # when the oldest message in the batch was published
        self._next_try_ns = 0
        self._written_ns = 0
        self._look_due_ns = 0
        self._prune_due_ns = 0
        self._rows_pruned = 0  # up to where
        self._left_out = 0  # rows about the market since the disk is low
        self._log_told = FLOWS
        self._held = False  # rows wait for a reason that was told
        self._csv_behind = True
        self._csv_anew = False  # the file is another ledger's
        self._told: dict[str, int] = {}  # what is wrong: when it was last told
        self._inode = writer.database.stat().st_ino

    # --- what arrives

    def take(self, stage: str, events: list[Any]) -> None:
        """Events of the subscriber to `stage`, in order."""
        first = events[0]
        if type(first) is not Frame:
            first = next((event for event in events if type(event) is Frame), None)
        since_ns = self._clock.monotonic_ns() if first is None else published_ns(first, self._clock)
        if since_ns < self._oldest_ns or not self.batch or (self.batch.only_candles and not self._room.market):
            self._oldest_ns = since_ns
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
            if len(self.batch.numbered) > self._limits.commit_rows:
                self._make_way()

    def _make_way(self) -> None:
        """Writes what is a commit's worth, and lets go what would be too much to wait."""
        self.flush(urgent=True)
        if len(self.batch.numbered) > self._limits.pending_rows and not self.behind:
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
        if frame.topic == CANDLE:
            for candle in messages:
                self.batch.add_candle(candle)
            return
        if not self.behind:
            self._numbered(stage, frame.topic, frame.epoch, frame.first, messages)

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
                continue
            if frame.topic == CANDLE:
                self.batch.add_candle(message)
            elif not self.behind:
                self._numbered(stage, frame.topic, frame.epoch, number, [message])

    def _numbered(self, stage: str, topic: str, epoch: int, first: int, messages: list[Any]) -> None:
        for number, message in enumerate(messages, first):
            if topic == TRADER:
                try:
                    self.batch.add_entry(epoch, number, message.event)
                except (ValueError, OverflowError) as error:
                    self._gap(stage, topic, epoch, number, number, f"malformed amount: {error}")
            elif topic == EVENT:
                self.batch.add_event(stage, epoch, number, message)
            else:
                self.batch.add_gap_of(stage, epoch, number, message)

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
        self.batch.let_go()
        self.behind = True

    # --- what is written

    def flush(self, urgent: bool = False, last_try: bool = False) -> None:
        """Writes what has come since the last time, unless it is too soon or there is no room."""
        now = self._clock.monotonic_ns()
        if not last_try and self._too_soon(now, urgent):
            return
        try:
            if self._may_write(now):
                self._wrote(self._writer.write(self.batch, market=self._room.market), now)
        except self._writer.passing_errors as error:
            self._failed(error)
            return
        if self._csv_behind:
            self._sync_csv()

    def _too_soon(self, now: int, urgent: bool) -> bool:
        if now < self._next_try_ns:
            return True
        if urgent or self.behind:
            return False
        if self._room.log == SLOW and now < self._written_ns + self._limits.slow_ns:
            return True
        return self.batch.only_candles and now < self._oldest_ns + CANDLES_WAIT_NS

    def _may_write(self, now: int) -> bool:
        """Whether something waits, and disk and log have room for it."""
        self._held = self._held or not self._room.market
        look = now >= self._look_due_ns
        if look:
            self._look_due_ns = now + LOOK_NS
            self._look_at_disk()
        waits = bool(self.batch) if self._room.market else not self.batch.only_candles
        if not (waits or self.behind):
            return False
        if look or self._room.log != FLOWS:
            self._room.look_at_log(cut=False)
            self._tell_of_log()
        self._held = self._held or self._room.log != FLOWS
        return self._room.log != STOPPED

    def _wrote(self, written: Written, now: int) -> None:
        if self.batch:
            self._measure()
        self.rows += written.rows
        self._left_out += written.left_out
        self._written_ns = now
        self._held = False
        if written.trades:
            self._csv_behind = True
        self.batch.written(market=self._room.market)
        if self._told:
            self._mended("database", "the database takes rows again, nothing was lost")
        for text in written.told:
            self._tell("warn", text)
            self._csv_anew = self._csv_behind = True
        if self.behind:
            self.behind = False
            try:
                self.rejoin()
            except BaseException:
                self.behind = True
                raise

    def _measure(self) -> None:
        """How long the oldest message of the batch waited for its commit."""
        waited_ns = self._clock.monotonic_ns() - self._oldest_ns
        self.lag_ms = waited_ns / NS_PER_MS
        if self.latency is not None:
            self.latency.record(waited_ns / 1000)
        if waited_ns > SLOW_NS and not self._held:
            what = f"rows waited {waited_ns / NS_PER_S:.0f} s for {self._writer.database}"
            self._complain(
                "slow", f"{what}: the disk or the machine does not keep up, look at what else is at work", "warn"
            )
        elif waited_ns < SLOW_NS // 2 and "slow" in self._told:
            self._mended("slow", "rows no longer wait for the database")

    def _failed(self, error: BaseException) -> None:
        self._held = True
        self._next_try_ns = self._clock.monotonic_ns() + RETRY_NS
        self._distrust(error)
        self._complain(
            "database", f"cannot write {self._writer.database}: {reason(error)}; {len(self.batch)} rows wait"
        )

    def _distrust(self, error: BaseException) -> None:
        """After an error of the disk a connection is not used any more."""
        if "locked" not in str(error):
            self._writer.reopen()

    def _sync_csv(self) -> None:
        try:
            if self._csv_anew:
                self._csv.set_aside()
                self._csv_anew = False
            self._csv.sync()
        except self._writer.passing_errors as error:  # its rows come out of the database
            if not isinstance(error, OSError):  # else it is the file's trouble alone
                self._distrust(error)
            self._complain("csv", f"cannot write {self._csv.path}: {reason(error)}; it will be brought up to date")
            return
        self._csv_behind = False
        if self._told:
            self._mended("csv", f"{self._csv.path.name} is up to date again")

    # --- what is kept in bounds

    def tidy(self) -> None:
        """Judges ghost entries, prunes old rows, watches the log's size, and notices when somebody removed the file."""
        self._check_that_the_file_is_there()
        try:
            self._room.look_at_log(cut=True)
            self._tell_of_log()
            if self._room.log != STOPPED:
                judge(self._writer.engine, self._keep_ms)
                self._prune_if_due()
        except self._writer.passing_errors as error:
            self._complain("database", f"cannot prune {self._writer.database}: {reason(error)}")
        if len(self.batch.candles) > self._limits.commit_rows:
            newest = max(map(time_of_candle, self.batch.candles.values()))
            self.batch.forget_candles(newest - self._keep_ms)

    def _prune_if_due(self) -> None:
        now = self._clock.monotonic_ns()
        if now >= self._prune_due_ns or self.rows - self._rows_pruned >= PRUNE_ROWS:
            prune(self._writer.engine, self._keep_ms)
            self._prune_due_ns, self._rows_pruned = now + PRUNE_NS, self.rows
        else:
            give_back(self._writer.engine)

    def _tell_of_log(self) -> None:
        """Names who keeps the log from being cut: once as it gets slow, once as it stops, and when it flows again."""
        log = self._room.log
        if log == FLOWS:
            if self._log_told != FLOWS:
                self._tell("info", "the database's log is small again: rows are written as they come")
            self._log_told = FLOWS
        elif log == STOPPED != self._log_told or self._log_told == FLOWS:
            self._log_told = log
            users = users_of(self._writer.database)
            self._tell(
                "error",
                f"a program has been reading {self._writer.database} without end, its log is"
                f" {self._room.log_bytes / 1024 / 1024:.1f} MB: close that program ({users}); until then rows"
                f" {'are written every 5 s' if log == SLOW else 'wait, the page goes on'}",
            )

    def _look_at_disk(self) -> None:
        had_room = self._room.market
        self._room.look_at_disk()
        free = f"{self._room.free_bytes // 1_000_000} MB are free where {self._writer.database} is"
        if had_room and not self._room.market:
            self._tell(
                "error",
                f"{free}, less than {self._limits.free_bytes // 1_000_000}: candles wait; refusals, equity, events and"
                " gaps are not written; orders, fills and trades are. Free some space",
            )
        elif self._room.market and not had_room:
            self._tell("info", f"{free}: all rows are written again; {self._left_out} were left out, candles are kept")
            self._left_out = 0

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
            "log_mb": round(self._writer.wal_bytes() / 1024 / 1024, 3),
            "waiting": len(self.batch),
            "left_out": self._left_out,
        }

    def _cursor(self) -> int | None:
        try:
            at = self._writer.cursors().get(TRADER)
        except self._writer.passing_errors:
            return None
        return None if at is None else at[1]

    # --- what is told, once and then each minute

    def _complain(self, what: str, text: str, level: str = "error") -> None:
        now = self._clock.monotonic_ns()
        if what not in self._told or now - self._told[what] >= REMIND_NS:
            self._told[what] = now
            self._tell(level, text)

    def _mended(self, what: str, text: str) -> None:
        if self._told.pop(what, None) is not None:
            self._tell("info", text)
