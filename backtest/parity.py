"""Whether a recorded simulated session, replayed, makes the same decisions, fills and balances, to the bit.

* The replay is the trader's own fold, led by the journal (`backtest.replaying`), over the tape and over UPDATEs told
  once more as the live indicators told them (`backtest.retold`).
* Every journal entry must come out of it, equal in every field, and nothing else; at each recorded checkpoint and at
  the end the whole state must be equal: wallet, positions, orders, limits.
* Blind and degraded spans, commands, blocks, restarts with other settings and HOLEs are replayed as they were.
* Where something needed is gone (a tape pruned or lost, a journal of an earlier release) the comparison goes on from
  the next recorded state; the stretch before it is named as not judged.

A running bot may be judged: what is read of the journal is of one moment, and the tape is ahead of it.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from backtest.parity_words import Difference, event_difference, state_difference
from backtest.replaying import Replaying, settings_of
from backtest.retold import IndicatorsDiffer, NotRecorded, Retold, Tape
from bus.messages import Entry, FillEvent, SignalEvent, SpanEvent, StartedEvent, StateEvent, TraderEvent
from bus.tape_reader import TapeError
from core.clock import iso_utc
from core.errors import BotError, MisconfiguredError
from core.settings import indicator_hash
from indicators import kept
from indicators.engine import Kernels
from trader import replay
from trader.journal_reader import Checkpoint, JournalReader
from trader.state import BLIND, DEGRADED, State
from trader.terms import terms_of

EQUAL, DIFFERENT, NOT_JUDGED = "equal", "different", "not judged"


class Judged(msgspec.Struct, kw_only=True):
    """What was compared, by kind."""

    records: int = 0
    entries: int = 0
    decisions: int = 0
    fills: int = 0
    commands: int = 0
    starts: int = 0
    spans: int = 0
    states: int = 0

    def count(self, event: TraderEvent) -> None:
        self.entries += 1
        self.decisions += isinstance(event, SignalEvent) and event.outcome == "approved"
        self.fills += isinstance(event, FillEvent)
        self.commands += isinstance(event, StateEvent) and bool(event.command)
        self.starts += isinstance(event, StartedEvent)
        self.spans += isinstance(event, SpanEvent) and (
            event.kind == BLIND or (event.kind == DEGRADED and event.last < 0)
        )


class Verdict(msgspec.Struct, kw_only=True):
    """What came out; `outcome` is EQUAL, DIFFERENT or NOT_JUDGED."""

    book: str
    outcome: str = EQUAL
    judged: Judged
    not_judged: list[str] = []  # stretches, each with why
    notes: list[str] = []
    difference: Difference | None = None


class Found(Exception):
    """The first difference."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(difference.what)
        self.difference = difference


def judge(book: Path, kernels: Kernels, sources_hash: int) -> Verdict:
    """Judges the session that is recorded in a book's folder; nothing in it is changed.

    Raises MisconfiguredError where there is no session of a kind that can be judged.
    """
    tape = Tape(book / "tape")
    try:
        with JournalReader(book / "journal.db") as journal:
            retold = Retold(tape, list(kept.read_all(book)), kernels, sources_hash)
            return Judge(book.name, journal, tape, retold).run()
    except MisconfiguredError:
        raise
    except BotError as error:  # the fold itself cannot take what is recorded
        raise MisconfiguredError(f"book {book.name} cannot be judged: {error}") from error
    finally:
        tape.close()


class Judge:
    """One comparison."""

    def __init__(self, book: str, journal: JournalReader, tape: Tape, retold: Retold) -> None:
        self._journal = journal
        self._tape = tape
        self._retold = retold
        self._final = journal.state()
        self._verdict = Verdict(book=book, judged=Judged())
        self._done = 0  # number of the last entry that was judged, or given up

    def run(self) -> Verdict:
        """From the book's begin, or from the first recorded state that the tape still leads on from."""
        verdict = self._verdict
        final = self._final
        if final is None:
            raise MisconfiguredError(f"the journal {self._journal.path} is empty: run the bot first")
        if final.settings.get("SIMULATION_MODE") == "false":
            raise MisconfiguredError(f"book {verdict.book} is of real orders: only a simulated session can be replayed")
        try:
            self._judge(final)
        except Found as found:
            verdict.outcome, verdict.difference = DIFFERENT, found.difference
        else:
            if not verdict.judged.records:
                verdict.outcome = NOT_JUDGED
                if not verdict.not_judged:
                    verdict.not_judged.append("the session has taken no record of the tape yet: let the bot run")
        verdict.notes += self._retold.notes
        return verdict

    def _judge(self, final: State) -> None:
        gap = ""  # which stretch is not judged, up to where is not known yet, and why
        for begin in self._beginnings():
            place = _place(begin.state)
            replaying: Replaying | None = None
            try:
                replaying = self._replaying(begin)
                self._entries(replaying, begin.number)
                self._state(replaying, final, self._journal.last, "the states at the end differ")
            except (NotRecorded, TapeError) as error:
                self._done = max(self._done, begin.number)
                if replaying is not None and replaying.records:
                    self._name(gap, place)
                    gap, place = "", _place(replaying.state)
                gap = gap or f"from {place} to %s: {error}"
            except IndicatorsDiffer as error:
                raise Found(self._indicators_difference(error, replaying)) from error
            else:
                self._name(gap, place)
                return
            finally:
                if replaying is not None:
                    self._verdict.judged.records += replaying.records
        self._name(gap, "the end")

    def _name(self, gap: str, upto: str) -> None:
        if gap:
            self._verdict.not_judged.append(gap.replace("%s", upto, 1))

    def _beginnings(self) -> Iterator[Checkpoint]:
        """The book's begin, then the recorded states beyond what was judged or given up."""
        first = next(self._journal.entries(), None)
        if first is not None and isinstance(first.event, StartedEvent) and first.event.found == "new":
            settings = settings_of(first.event.settings)
            terms = terms_of(settings, indicator_hash(settings))
            state = replay.new_state(terms, self._journal.journal_id)
            state.settings = first.event.settings
            yield Checkpoint(0, state)
        for checkpoint in self._journal.checkpoints():
            if checkpoint.number > self._done:
                yield checkpoint

    def _replaying(self, begin: Checkpoint) -> Replaying:
        state = begin.state
        blind: SpanEvent | None = None
        if state.span == BLIND:
            entry = next(self._journal.entries(begin.number), None)
            if entry is None or not isinstance(entry.event, SpanEvent) or entry.event.kind != BLIND:
                raise NotRecorded("the state is of the middle of a blind span")
            blind = entry.event
        return Replaying(self._tape, self._retold, state, dict(state.settings), blind)

    def _entries(self, replaying: Replaying, above: int) -> None:
        checkpoints = self._journal.checkpoints(above)
        checkpoint = next(checkpoints, None)
        for entry in self._journal.entries(above + 1):
            self._entry(replaying, entry)
            self._done = entry.number
            if checkpoint is not None and entry.number == checkpoint.number:
                self._state(replaying, checkpoint.state, entry.number, "the recorded states differ")
                checkpoint = next(checkpoints, None)

    def _entry(self, replaying: Replaying, entry: Entry) -> None:
        event = entry.event
        if not replaying.said:
            replaying.reach(event)
        mine = replaying.said.popleft() if replaying.said else None
        if mine != event:
            state = replaying.engine.sync()
            raise Found(event_difference(event, mine, entry.number, replaying.updates, state))
        self._verdict.judged.count(event)

    def _state(self, replaying: Replaying, recorded: State, number: int, what: str) -> None:
        """A recorded state is compared where it was recorded: after the last record of its batch."""
        if recorded.start is not None and replaying.state.start is None:
            return  # a new book that has joined the market and has seen no trade of it
        if recorded.epoch == replaying.state.epoch:
            replaying.advance(recorded.record)
            if recorded.span != BLIND:
                replaying.end_blind()
        if replaying.said:
            state = replaying.engine.sync()
            raise Found(event_difference(None, replaying.said[0], 0, replaying.updates, state))
        difference = state_difference(recorded, replaying.engine.sync(), number, what)
        if difference is not None:
            raise Found(difference)
        self._verdict.judged.states += 1

    def _indicators_difference(self, error: IndicatorsDiffer, replaying: Replaying | None) -> Difference:
        assert replaying is not None
        state = replaying.engine.sync()
        return Difference(
            what=str(error),
            epoch=state.epoch,
            record=error.record,
            time=iso_utc(state.market_ns // 1_000_000),
            pair="",
            journal="the state that the indicators kept",
            replay="the state that the tape leads to",
            entry=0,
        )


def _place(state: State) -> str:
    if state.start is None:
        return "the begin"
    return f"record {state.record} of tape {state.epoch}" if state.record >= 0 else f"the begin of tape {state.epoch}"
