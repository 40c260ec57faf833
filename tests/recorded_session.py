"""A recorded session without processes: tape, journal and kept states of one book, written by the real writers.

What the stages do over the bus is done here by hand, in an order that a test chooses.
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bus.messages import Entry, Start, TraderEvent
from bus.records import CANDLE, CANDLE_RECORD, HOLE, HOLE_RECORD, RECORD, TRADE
from bus.segment import segment_number, segments_of
from bus.tape import TapeReader, TapeWriter
from core.clock import ManualClock
from core.settings import Settings, indicator_hash
from core.settings_load import from_texts
from indicators import jit, state
from indicators.engine import Indicators, parameters_of
from indicators.kept import KeptStates
from tests.indicator_tools import SECOND, T0, kernels
from tests.pipeline.lively import LIVELY
from tests.trader_world import market, start
from trader import inputs, replay
from trader.journal import Journal
from trader.journal_reader import JournalReader
from trader.state import pack, unpack
from trader.terms import NS_PER_HOUR, deciding_settings, terms_of

BOOK = "sim-sandbox-test"
TICK = 100  # in a price of 1


class Recording:
    """The bot and its book. `trades` is a live market; the rest is what a session suffers."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int = 1,
        history: int = 12,
        keep_states: bool = True,
        segment: int = 1 << 20,
        **changed: Any,
    ) -> None:
        """segment: records in a file of the tape. keep_states: False as an earlier release, which kept none."""
        self.book = folder / BOOK
        self.changed = {name: str(value) for name, value in (dict(LIVELY) | changed).items()}
        self.rng = np.random.default_rng(seed)
        self.ns, self.ticks = T0, 6_000_000
        self.tape = TapeWriter(self.book / "tape", ManualClock(), "boot", segment_bytes=64 * segment)
        self.tape.open()
        self.body = start(market(tick="0.01", step="0.00001", min_quantity="0.00001"), fee="5")
        self.kept = KeptStates(self.book) if keep_states else None
        self.events: list[TraderEvent] = []
        self.closed: list[tuple[int, np.ndarray]] = []  # tape and rows of closed candles, in their order
        self._start_trader()
        self.begin_indicators()
        self.start()
        if history:
            self.history(history)

    @property
    def settings(self) -> Settings:
        return from_texts(self.changed)

    # --- the tape -----------------------------------------------------------------------------------

    def start(self) -> None:
        """The feeder (re)starts: a START record, which everybody follows."""
        number = self.tape.start(self.body)
        self._follow_start(number)
        self.give(inputs.NewStart(self.tape.epoch, number, self.body))

    def another_tape(self, *, empty: bool = False) -> None:
        """The machine was restarted: a new tape, which the indicators follow from its first record on."""
        self.tape.close()
        self.tape = TapeWriter(self.book / "tape", ManualClock(), f"boot after {self.tape.epoch}")
        self.tape.open()
        assert self.tape.new_epoch_because
        if not empty:
            self.tape.start(self.body)
        self.begin_indicators()

    def history(self, count: int) -> None:
        records = np.zeros(count, CANDLE_RECORD)
        records["kind"] = CANDLE
        records["open_ns"] = self.ns - np.arange(count, 0, -1) * SECOND
        closes = (self.ticks + self.rng.integers(-300, 301, count)) / TICK
        for name in ("open", "high", "low", "close"):
            records[name] = closes
        self.live(records.view(RECORD))

    def hole(self) -> None:
        record = np.zeros(1, HOLE_RECORD)
        record["kind"], record["reason"], record["from_ns"], record["to_ns"] = HOLE, 1, self.ns, self.ns
        self.live(record.view(RECORD))

    def some(self, count: int) -> np.ndarray:
        """The next trades of the market, on no tape yet."""
        records = np.zeros(count, RECORD)
        records["kind"], records["side"] = TRADE, 1
        gaps = self.rng.integers(1, 400_000_000, count)
        records["exchange_ns"] = records["received_ns"] = self.ns + np.cumsum(gaps)
        records["ticks"] = self.ticks + np.cumsum(self.rng.integers(-250, 251, count))
        records["price"] = records["ticks"] / TICK
        records["lots"] = self.rng.integers(1, 20_000, count)
        records["quantity"] = records["lots"] / 100_000
        self.ns, self.ticks = int(records["exchange_ns"][-1]), int(records["ticks"][-1])
        return records

    def trades(self, count: int, batch: int = 50) -> "Recording":
        """A live market: each batch is taped, folded and decided on."""
        for at in range(0, count, batch):
            self.live(self.some(min(batch, count - at)))
        return self

    def live(self, records: np.ndarray) -> None:
        first = self.tape.append(records)
        updates = self._fold(records, first)
        last = first + len(records) - 1
        self.give(inputs.Updates(self.tape.epoch, last, updates.tobytes()))

    # --- the indicators -----------------------------------------------------------------------------

    def begin_indicators(self, after: int | None = None) -> None:
        """A warm-up begins anew, from the tape's first record that is kept; nothing of the old state was of use."""
        settings = self.settings
        own = indicator_hash(settings)
        self.indicators = Indicators(parameters_of(settings, own), kernels().machine)
        first = _first_of(self.tape)
        self.folded = first - 1
        self._start_body: Start | None = None
        if first < self.tape.next_number:
            self._start_body = self.body
            self.indicators.start(self.body.markets, self.body.tape_clock)
        self.keep(began=True, after=after)
        self.catch_up()

    def restart_indicators(self, *, unusable: bool = False) -> None:
        """The stage is killed and started again; its state is taken up, or it is of no use."""
        if unusable:
            self.begin_indicators(after=self.folded)
            return
        words = self.indicators.state.copy()
        own = indicator_hash(self.settings)
        self.indicators = Indicators(parameters_of(self.settings, own), kernels().machine)
        self.indicators.load(words)

    def lose_all(self) -> None:
        """Records were lost on the bus."""
        self.indicators.lose_all()
        self.keep(began=True)

    def keep(self, *, began: bool, after: int | None = None) -> None:
        if self.kept is None:
            return
        saved = state.Saved(
            version=state.VERSION,
            epoch=self.tape.epoch,
            number=self.folded,
            settings_hash=self.indicators.parameters.settings_hash,
            sources_hash=jit.sources_hash(),
            layout_hash=0,
            start=self._start_body,
            state=self.indicators.state.tobytes(),
        )
        self.kept.keep(saved, self.ns, began=began, after=-1 if after is None else after)

    def catch_up(self) -> None:
        """Folds what is on the tape."""
        reader = TapeReader(self.tape.folder, self.tape.epoch)
        while self.folded + 1 < self.tape.next_number:
            records, body = reader.read(self.folded + 1)
            if body is not None:
                self._follow_start(self.folded + 1)
            else:
                self._fold(records, self.folded + 1)
        reader.close()

    def _follow_start(self, number: int) -> None:
        self._start_body = self.body
        self.indicators.start(self.body.markets, self.body.tape_clock)
        self.folded = number

    def _fold(self, records: np.ndarray, first: int) -> np.ndarray:
        assert first == self.folded + 1
        parts = []
        for at in range(0, len(records), 1000):
            parts.append(self.indicators.fold(records[at : at + 1000].tobytes(), first + at).copy())
        self.folded = first + len(records) - 1
        closed = self.indicators.take_closed()
        self.closed += [(self.tape.epoch, rows) for rows in closed]
        if closed and self.kept is not None and self.kept.due(self.tape.epoch, self.ns):
            self.keep(began=False)
        self.indicators.take_segments()
        return np.concatenate(parts)

    # --- the trader ---------------------------------------------------------------------------------

    def _start_trader(self) -> None:
        settings = self.settings
        self.journal = Journal(self.book / "journal.db", lambda committed: None, lambda why: None)
        self.book.mkdir(parents=True, exist_ok=True)
        found = self.journal.open(0)
        terms = terms_of(settings, indicator_hash(settings))
        fold = replay.new_state(terms, found.journal_id) if found.state is None else unpack(found.state)
        self.engine = replay.new_engine(terms, fold)
        self._checkpoint: tuple[int, int] | None = None
        word = "new" if found.state is None else "clean" if fold.stopped else "recovered"
        self.give(inputs.Began(BOOK, deciding_settings(settings), word, "report"))

    def give(self, item: inputs.Input) -> None:
        events = self.engine.handle(item)
        self.events += events
        if events:
            self.save(events)

    def save(self, events: list[TraderEvent] | None = None) -> None:
        now = self.engine.sync()
        hour = now.epoch, now.market_ns // NS_PER_HOUR
        self.journal.append(events or [], pack(now), checkpoint=hour != self._checkpoint)
        self._checkpoint = hour

    def restart_trader(self, missed: int = 0, *, killed: bool = False, **changed: Any) -> None:
        """The trader goes and comes back; trades come meanwhile, which it takes blind.

        killed: nothing is said to the journal any more. changed: settings from the next start on.
        """
        if not killed:
            self.engine.state.stopped = True
            self.save()
        self.journal.close()
        if missed:
            records = self.some(missed)
            self._fold(records, self.tape.append(records))
        self.changed |= {name: str(value) for name, value in changed.items()}
        self._start_trader()
        self.bridge()

    def bridge(self) -> None:
        """Takes blind what the tape has beyond the fold."""
        reader = TapeReader(self.tape.folder, self.tape.epoch)
        now = self.engine.state
        first = now.record + 1 if now.epoch == self.tape.epoch else _first_of(self.tape)
        last = self.tape.next_number - 1
        if first <= last or now.epoch != self.tape.epoch:
            self.give(inputs.SpanBegin("blind", self.tape.epoch, first, last, "not followed while the trader was away"))
            self._raws(reader, first, last)
            self.give(inputs.SpanEnd())
        reader.close()

    def degraded(self, count: int) -> None:
        """Updates stay away for so many trades."""
        first = self.tape.append(self.some(count))
        self.give(inputs.SpanBegin("degraded", self.tape.epoch, first, -1, "updates are 2 s behind the trades"))
        reader = TapeReader(self.tape.folder, self.tape.epoch)
        self._raws(reader, first, first + count - 1)
        reader.close()
        self.catch_up()
        self.give(inputs.SpanEnd())

    def _raws(self, reader: TapeReader, first: int, last: int) -> None:
        while first <= last:
            records, body = reader.read(first, min(100, last - first + 1))
            if body is not None:
                self.give(inputs.NewStart(self.tape.epoch, first, self.body))
            else:
                self.give(inputs.Raws(self.tape.epoch, first, records))
            first += len(records)

    def command(self, action: str, reason: str = "") -> None:
        self.give(inputs.Command(action, f"c{len(self.events)}-{action}", reason))

    def block(self, reason: str, on: bool) -> None:
        self.give(inputs.Block(reason, on))

    # --- the end ------------------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """All that is in the journal by now."""
        assert self.journal.flush(10)
        with JournalReader(self.book / "journal.db") as reader:
            return list(reader.entries())

    def close(self) -> Path:
        """Says good-bye; the book's folder."""
        self.engine.state.stopped = True
        self.save()
        assert self.journal.close()
        self.tape.close()
        return self.book


def _first_of(tape: TapeWriter) -> int:
    """The first record that the tape still has, or its next where it has none."""
    files = segments_of(tape.folder / str(tape.epoch))
    return segment_number(files[0]) if files else tape.next_number


def tampered(book: Path, folder: Path, change: Callable[[list[Any]], list[Any]]) -> Path:
    """A copy of the book with other events in its journal, numbered anew."""
    copied = folder / book.name
    shutil.copytree(book, copied)
    with closing(sqlite3.connect(copied / "journal.db", isolation_level=None)) as file:
        decode = msgspec.msgpack.Decoder(Entry).decode
        events = [decode(row[0]).event for row in file.execute("SELECT body FROM entries ORDER BY number")]
        events = change(events)
        for trigger in ("entries_stay", "entries_hold"):
            file.execute(f"DROP TRIGGER {trigger}")
        for statement in ("DELETE FROM entries", "DELETE FROM checkpoints"):
            file.execute(statement)
        rows = [
            (n, e.at.epoch, e.at.record, type(e).__name__, msgspec.msgpack.encode(Entry(n, e)))
            for n, e in enumerate(events, 1)
        ]
        file.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", rows)
    return copied
