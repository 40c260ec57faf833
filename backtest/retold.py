"""A recorded session's tape, and the UPDATEs of it told once more, to the bit as the live indicators told them.

What the indicators know follows from where they began (`indicators.kept`) and from the tape. Of a book from before
states were kept, they began at the tape's first record, and again where their settings changed; that can be told as
long as the tape still has it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from backtest.result import Array
from bus.layouts import MAX_BATCH
from bus.messages import Start
from bus.tape_reader import TapeReader
from core.errors import BotError
from indicators import layout
from indicators.engine import Indicators, Kernels
from indicators.kept import Kept, Life, lives_of, parameters_in
from indicators.layout import Parameters
from indicators.state import VERSION, Saved

_start_decoder = msgspec.msgpack.Decoder(Start)


class NotRecorded(BotError):
    """What is needed to go on is not there (any more): the text says what."""


class IndicatorsDiffer(BotError):
    """A state that was kept is not the one that the tape leads to."""

    def __init__(self, text: str, record: int) -> None:
        super().__init__(text)
        self.record = record


class Piece(NamedTuple):
    """Consecutive records of the tape, at most MAX_BATCH; a START stands alone with its body."""

    first: int
    records: Array
    start: Start | None

    @property
    def last(self) -> int:
        return self.first + len(self.records) - 1


class Tape:
    """The tape of a book, all epochs, read by number while it may grow."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reader: TapeReader | None = None

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _of(self, epoch: int) -> TapeReader:
        if self._reader is None or self._reader.epoch != epoch:
            self.close()
            self._reader = TapeReader(self._folder, epoch)
        return self._reader

    def piece(self, epoch: int, first: int, last: int) -> Piece:
        """The records from number `first` on, not beyond `last`. Raises NotRecorded where `first` is not there."""
        reader = self._of(epoch)
        records, body = reader.read(first, min(MAX_BATCH, last - first + 1))
        if not len(records):
            following = reader.following(first)
            upto = f"the next one that is there is {following}" if following is not None else "none follows"
            raise NotRecorded(f"record {first} is not on the tape of epoch {epoch}: {upto}")
        return Piece(first, records, None if body is None else _start_decoder.decode(body))

    def start_before(self, epoch: int, number: int) -> tuple[int, Start] | None:
        """The START in force at record `number`, with the number that it stands since; else the first there is."""
        found: tuple[int, Start] | None = None
        for first, body in self._of(epoch).bodies():
            if first > number and found is not None:
                break
            found = (first, body)
        return found

    def first(self, epoch: int) -> int:
        """The first number that is still there."""
        return self._of(epoch).first


class Retold:
    """Where the indicators stand (`epoch`, `number`), and the UPDATEs from there on."""

    def __init__(self, tape: Tape, kept: Sequence[Kept], kernels: Kernels, sources_hash: int) -> None:
        self.epoch = -1
        self.number = -1
        self.notes: list[str] = []
        self.recorded = bool(kept)
        self._tape = tape
        self._kernels = kernels
        self._sources_hash = sources_hash
        self._lives = lives_of(kept)
        self._life = -1  # which of them tells
        self._indicators: Indicators | None = None
        self._pairs: list[str] = []
        self._parameters: Parameters | None = None  # of a book that kept no states

    @property
    def state(self) -> Array:
        """The packed state of the indicators where they stand."""
        assert self._indicators is not None
        return self._indicators.state

    def settings(self, parameters: Parameters, epoch: int, number: int) -> None:
        """Of a book that kept no states: the settings in force after record `number` of tape `epoch`."""
        before, self._parameters = self._parameters, parameters
        if not self.recorded and parameters != before and any(life.epoch == epoch for life in self._lives):
            self._lives.append(self._from_first(epoch, number))

    def _from_first(self, epoch: int, after: int) -> Life:
        """A life of the settings in force that began with the tape."""
        assert self._parameters is not None
        empty = layout.new_state(self._parameters, 0).tobytes()
        hashes = self._parameters.settings_hash, self._sources_hash
        return Life(epoch, after, [Saved(VERSION, epoch, -1, *hashes, 0, None, empty)])

    def seek(self, epoch: int, number: int) -> None:
        """Stands after record `number`, as who told the next one stood. Raises NotRecorded."""
        if not self.recorded and all(one.epoch != epoch for one in self._lives):
            self._lives.append(self._from_first(epoch, -1))
        life = max((n for n, one in enumerate(self._lives) if one.epoch == epoch and one.after <= number), default=-1)
        if life < 0:
            raise NotRecorded(f"no state of the indicators at record {number} of tape {epoch} was kept")
        if life != self._life or epoch != self.epoch or number < self.number:
            states = [saved for saved in self._lives[life].states if saved.number <= number]
            if not states:
                raise NotRecorded(f"no state of the indicators before record {number} of tape {epoch} is kept any more")
            self._life = life
            self._load(states[-1])
        while self.number < number:
            self._fold(number)

    def next(self, last: int) -> tuple[Piece, Array]:
        """The next records, not beyond `last`, and their UPDATEs (a view until the next call). Raises NotRecorded."""
        piece, updates = self._fold(last)
        self.seek(self.epoch, self.number)  # from here on it may be another life that told
        return piece, updates

    def _fold(self, last: int) -> tuple[Piece, Array]:
        assert self._indicators is not None
        stops = [saved.number for saved in self._lives[self._life].states]
        stops += [one.after for one in self._lives[self._life + 1 :] if one.epoch == self.epoch]
        last = min([last, *(stop for stop in stops if stop > self.number)])
        try:
            piece = self._tape.piece(self.epoch, self.number + 1, last)
        except BotError:
            self._life = -1  # the next to ask may find a later state
            raise
        if piece.start is not None:
            self._start(piece.start)
            updates = self._indicators.fold(b"", piece.first)
        else:
            updates = self._indicators.fold(piece.records.tobytes(), piece.first)
        self._indicators.take_closed()
        self._indicators.take_segments()
        self.number = piece.last
        self._check()
        return piece, updates

    def _check(self) -> None:
        """Where a state was kept, it must be the one that the records lead to."""
        assert self._indicators is not None
        for saved in self._lives[self._life].states:
            if saved.number != self.number or saved.state == self._indicators.state.tobytes():
                continue
            if saved.sources_hash == self._sources_hash:
                text = f"the indicators' state after record {self.number} is not the one that was kept"
                raise IndicatorsDiffer(text, self.number)
            self.notes.append(f"after record {self.number} the kept state is taken: another release's indicators")
            self._load(saved)

    def _load(self, saved: Saved) -> None:
        words = saved.words()
        self._indicators = Indicators(parameters_in(words, saved.settings_hash), self._kernels)
        self._indicators.load(words)
        self.epoch, self.number = saved.epoch, saved.number
        self._pairs = []
        if saved.start is not None:
            self._start(saved.start)

    def _start(self, start: Start) -> None:
        assert self._indicators is not None
        pairs = [market.pair for market in start.markets]
        if pairs[: len(self._pairs)] != self._pairs:  # other pairs have these numbers now: as the stage does
            self._indicators = Indicators(self._indicators.parameters, self._kernels)
        self._pairs = pairs
        self._indicators.start(start.markets, start.tape_clock)
