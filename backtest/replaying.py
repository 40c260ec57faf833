"""The trader's fold over a recorded session, led by what was journalled: the same inputs in the same places.

Between two journalled inputs the fold takes UPDATEs, in a span the raw records of the tape. Which is which, restarts
with the settings in force, commands, blocks and spans all come out of the journal; nothing else decides.
"""

from collections import deque

import numpy as np

from backtest.result import Array
from backtest.retold import NotRecorded, Retold, Tape
from bus.messages import At, CostsEvent, SpanEvent, StartedEvent, StateEvent, TraderEvent
from bus.records import UPDATE
from core.clock import NS_PER_MS
from core.settings import Settings, indicator_hash
from core.settings_load import from_texts
from indicators.engine import parameters_of
from trader import inputs, replay
from trader.engine import Engine
from trader.state import BLIND, NO_SPAN, State, pack, unpack
from trader.terms import terms_of

OPERATOR = "operator"  # reason of a command that came without one


def settings_of(texts: dict[str, str]) -> Settings:
    """The settings that decide, as a start journalled them. Raises MisconfiguredError where they are of no use now."""
    return from_texts({name: text for name, text in texts.items() if text})


def is_input(event: TraderEvent) -> bool:
    """Whether the event stands for something that came to the fold from outside the tape."""
    return isinstance(event, StartedEvent | SpanEvent) or (isinstance(event, StateEvent) and bool(event.command))


class Replaying:
    """The fold, with what it has said and nobody has taken yet in `said`."""

    def __init__(
        self, tape: Tape, retold: Retold, state: State, texts: dict[str, str], blind: SpanEvent | None = None
    ) -> None:
        """`state` as recorded; `texts`: the settings then in force; blind: the begin of the span that it is in."""
        self.said: deque[TraderEvent] = deque()
        self.records = 0  # taken from the tape
        self.updates: Array = np.zeros(0, UPDATE)  # the latest UPDATEs
        self._tape = tape
        self._retold = retold
        self._blind_last = -1 if blind is None else blind.last
        self._blind_start: SpanEvent | None = blind  # whose START is to be looked up
        self._started = True  # and nothing was taken since
        self.engine = self._engine(state, texts)

    @property
    def state(self) -> State:
        """Of the fold; the latest prices are in it after `engine.sync`."""
        return self.engine.state

    def _engine(self, state: State, texts: dict[str, str]) -> Engine:
        settings = settings_of(texts)
        terms = terms_of(settings, indicator_hash(settings))
        self._retold.settings(parameters_of(settings, terms.indicator_hash), state.epoch, state.record)
        return replay.new_engine(terms, state)

    def _give(self, item: inputs.Input) -> None:
        self.said.extend(self.engine.handle(item))

    # --- inputs of the journal ----------------------------------------------------------------------

    def reach(self, event: TraderEvent) -> None:
        """Goes on until there is something in `said`, at most to the event's place; gives the input it stands for.

        Raises NotRecorded.
        """
        at = event.at
        if at.epoch != self.state.epoch:
            self._other_tape(event)
        else:
            self.advance(at.record)
        if not self.said and is_input(event):
            self._input(event)
        elif not self.said and isinstance(event, CostsEvent):
            self._start_of_blind()

    def _other_tape(self, event: TraderEvent) -> None:
        at = event.at
        if self.state.start is None:
            self._begin_book(at, at.record if is_input(event) or isinstance(event, CostsEvent) else at.record - 1)
            self.advance(at.record)
        elif not self._started or at.time_ms != self.state.market_ns // NS_PER_MS:
            # After a start too: records may have been taken that are on no tape.
            raise NotRecorded(
                f"how far tape {self.state.epoch} was followed after record {self.state.record}, before tape {at.epoch}"
                " began, is not recorded"
            )

    def _begin_book(self, at: At, number: int) -> None:
        """A book without a past joins the market after record `number`."""
        found = self._tape.start_before(at.epoch, number)
        if found is None:
            raise NotRecorded(f"tape {at.epoch} is not there any more")
        self._give(inputs.NewStart(at.epoch, number, found[1]))

    def _input(self, event: TraderEvent) -> None:
        match event:
            case StartedEvent():
                self.engine = self._engine(unpack(pack(self.engine.sync())), event.settings)
                self._give(inputs.Began(event.book, event.settings, event.found, event.report))
                self._started = True
            case StateEvent():
                reason = "" if event.reason == OPERATOR else event.reason
                self._give(inputs.Command(event.command, event.command_id, reason))
            case SpanEvent(kind="blocked"):
                self._give(inputs.Block(event.why, event.last < 0))
            case SpanEvent(kind="degraded") if event.last >= 0:
                self._give(inputs.SpanEnd())
            case SpanEvent():
                self._span_begin(event)

    def _span_begin(self, event: SpanEvent) -> None:
        self._give(inputs.SpanBegin(event.kind, event.at.epoch, event.first, event.last, event.why))
        if event.kind == BLIND:
            self._blind_last = event.last
            self._blind_start = event

    # --- the tape -----------------------------------------------------------------------------------

    def advance(self, record: int) -> None:
        """Takes records of the tape until the fold says something, at most to this one. Raises NotRecorded."""
        while not self.said and self.state.record < record:
            self.end_blind()
            before, span = self.state.record, self.state.span
            if span == NO_SPAN:
                self._tell(record)
            elif span == BLIND:
                self._blind_raws(record)
            else:
                self._raws(before + 1, record)
            if self.state.record == before and self.state.span == span:
                raise NotRecorded(f"record {record} is not where the {span} span from {self.state.span_first} on leads")
            self.records += self.state.record - before
            self._started = False

    def end_blind(self) -> None:
        """The end of a blind span is not journalled: it is over when its last record is taken."""
        state = self.state
        if state.span == BLIND and (state.record >= self._blind_last or self._blind_last < state.span_first):
            self._start_of_blind()
            self._give(inputs.SpanEnd())

    def _blind_raws(self, record: int) -> None:
        self._start_of_blind()
        self._raws(max(self.state.record + 1, self.state.span_first), min(record, self._blind_last))

    def _start_of_blind(self) -> None:
        """The START in force where a blind span begins, as the trader looks it up before it takes the first record."""
        begin, self._blind_start = self._blind_start, None
        if begin is not None and begin.first:
            found = self._tape.start_before(begin.at.epoch, begin.first)
            if found is not None and found[0] < begin.first:
                self._give(inputs.NewStart(begin.at.epoch, found[0], found[1]))

    def _tell(self, record: int) -> None:
        state = self.state
        self._retold.seek(state.epoch, state.record)
        piece, self.updates = self._retold.next(record)
        if piece.start is not None:
            self._give(inputs.NewStart(state.epoch, piece.first, piece.start))
        else:
            self._give(inputs.Updates(state.epoch, piece.last, self.updates.tobytes()))

    def _raws(self, first: int, last: int) -> None:
        if last < first:
            return
        piece = self._tape.piece(self.state.epoch, first, last)
        self.updates = self.updates[:0]
        if piece.start is not None:
            self._give(inputs.NewStart(self.state.epoch, piece.first, piece.start))
        else:
            self._give(inputs.Raws(self.state.epoch, piece.first, piece.records))
