"""The trader stage: the journal is taken up, the market joined, and every input goes through the one fold.

What the fold says is journalled first; only what is on the disk is published and told to people.
"""

from collections import deque
from functools import partial

import msgspec
import numpy as np

from bus.control import ask_replay
from bus.frames import STATUS, TRADE, TRADER, UNREADABLE, UPDATE, Frame, array_of
from bus.layouts import layout_hash
from bus.messages import Entry, Request, TraderEvent
from bus.notices import FIRST, LATEST, BeatSeen, GapFound, Join, Joined, Notice, PeerDiffers, PeerSilent, PeerUp
from bus.passage import Passage
from bus.publisher import Facts, open_publisher
from bus.records import UPDATE as RECORDS
from bus.records import WARM
from bus.subscriber import Subscriber, open_subscriber
from core.errors import MisconfiguredError
from core.money import units_text
from core.paths import WATCHDOG
from core.settings import indicator_hash
from core.stage import Context
from trader import inputs, protection
from trader.desk import Desk
from trader.engine import Engine
from trader.follow import JOINING, LAGGING, LIVE, Follow
from trader.journal import Committed, Journal, epoch_of
from trader.journal_log import LogLook
from trader.recovery import CLEAN, NEW, RECOVERED, report
from trader.replay import new_engine, new_live_state, new_state
from trader.shadow import Shadow
from trader.shown import Shown
from trader.state import State, pack, unpack
from trader.status import at_stake, feed_of, mode_of, unwatched
from trader.tape_source import tape_sources
from trader.terms import NS_PER_HOUR, NS_PER_S, deciding_settings, terms_of
from trader.timing import OrderTimes
from trader.words import words

TURN_SECONDS = 0.2  # status at most so often
IDLE_TURN_SECONDS = 0.5  # while nothing is at stake
IDLE_PAIRS = 50  # at most: of more too many were shown in one turn
SAVE_NS = 30 * NS_PER_S  # the state is saved so often where it moved without an entry: a start catches up with the rest
REPLAY_MESSAGES = 500  # in one frame
UNTAPED_SECONDS = 1.0  # how long the feeder is waited for, for records that are not on the tape
COMMAND_SECONDS = 1.0  # how long the answer to a command waits for the disk
JOURNAL_FAILING = "journal_failing"
COMMANDS = ("pause", "resume", "flatten", "halt")

_encode = msgspec.msgpack.Encoder().encode


def build(context: Context) -> None:
    """Wires the stage to its loop. Raises MisconfiguredError for settings or a journal that cannot be used."""
    Trader(context)


class Trader:
    """The stage: one journal, one fold, one publisher, subscribers to indicators and feeder."""

    def __init__(self, context: Context) -> None:
        settings = context.settings
        self._context = context
        self._clock = context.clock
        terms = terms_of(settings, indicator_hash(settings))
        self._committed: deque[tuple[Committed, int]] = deque()  # with when it was on the disk (monotonic ns)
        self._journal = Journal(context.book_dir / "journal.db", self._on_commit, self._on_trouble)
        found = self._journal.open(context.clock.wall_ms())
        self._desk = None if settings.simulation_mode else Desk(context, self._give)
        if found.state is not None:
            state = _restored(found.state, found.journal_id)
        elif self._desk is None:
            state = new_state(terms, found.journal_id)
        else:
            state = new_live_state(found.journal_id)
        self._shadow: Shadow | None = None
        if self._desk is None:
            self._engine = new_engine(terms, state)
        else:
            self._engine = Engine(self._desk.terms(terms), state, self._desk.broker)
            self._shadow = Shadow(self._engine, terms)
        self._saved_record = state.record
        self._save_due_ns = self._clock.monotonic_ns() + SAVE_NS
        self._checkpoint: tuple[int, int] | None = None  # epoch and hour of market time of the latest one
        self._arrived_ns = 0
        self._unknown_told = 0
        self._unwatched: set[str] = set()

        sources = tape_sources(context.book_dir / "tape", self._warn, self._untaped)
        self._follow = Follow(state, self._give, sources, lambda: self._publisher.breathe())
        self._publisher = open_publisher(context, layout_hash(), self._facts)
        spans = self._publisher.spans
        self._passage = Passage(self._clock, spans, "update_to_arrival", "arrival_to_decision", "trade_to_decision")
        self._times = OrderTimes(self._clock, spans, real=self._desk is not None)
        self._publisher.topic(TRADER, epoch_of(found.journal_id), found.number, replay=self._replay)
        self._shown = Shown(self._engine, settings.pairs, partial(self._publisher.send, STATUS))
        self._publisher.topic(STATUS, context.started_ms, snapshot=lambda: self._shown.snapshot(self._follow.mode))
        for action in COMMANDS:
            self._publisher.on_control(action, self._command)
        self._turn_seconds = TURN_SECONDS
        self._timer = context.loop.every(TURN_SECONDS, self._turn)
        LogLook(context.loop, self._journal.path, context.event)
        context.on_stop(self._close)

        self._begin(found.state is not None)
        self._from_start = state.start is None
        self._trial: Joined | None = None
        self._updates = self._follow_updates(FIRST if self._from_start else None)
        open_subscriber(context, "feeder", {}, self._take, layout_hash())
        self._raws: Subscriber | None = None  # raw trades, while the fold lives by them
        open_subscriber(context, WATCHDOG, {}, self._take_watchdog, layout_hash())

    def _begin(self, known: bool) -> None:
        state = self._engine.state
        settings = deciding_settings(self._context.settings)
        book = self._context.book_dir.name
        found = NEW if not known else CLEAN if state.stopped else RECOVERED
        self._give(inputs.Began(book, settings, found, report(state, found, book, settings)))
        if self._desk is not None:
            self._desk.begin(self._engine)

    # --- inputs ---------------------------------------------------------------------------------------

    def _give(self, item: inputs.Input) -> None:
        """One input through the fold; what it says goes to the journal with the state after it."""
        if self._desk is not None:
            self._desk.awake()
        events = self._engine.handle(item)
        wanted: list[inputs.Input] = []
        if self._shadow is not None:
            told, wanted = self._shadow.handle(item, events)
            events += told
        if events:
            self._times.decided(item, events)
            self._append(events)
            if self._turn_seconds != TURN_SECONDS:
                self._pace()
        for more in wanted:
            self._give(more)

    def _append(self, events: list[TraderEvent]) -> None:
        """To the journal with the state after it; once in an hour of market time the state is one that is kept."""
        state = self._engine.sync()
        hour = state.epoch, state.market_ns // NS_PER_HOUR
        self._journal.append(events, pack(state), checkpoint=hour != self._checkpoint)
        self._checkpoint = hour
        self._saved_record = state.record
        self._save_due_ns = self._clock.monotonic_ns() + SAVE_NS
        if self._desk is not None:
            self._desk.marked(self._journal.number)

    def _untaped(self, epoch: int, first: int) -> list[Frame]:
        """Records that the feeder published and could not tape."""
        return ask_replay(self._context.run_dir, "feeder", TRADE, epoch, first, timeout_s=UNTAPED_SECONDS)

    def _follow_updates(self, join: Join) -> Subscriber:
        return open_subscriber(self._context, "indicators", {UPDATE: join}, self._take, layout_hash())

    def _new_book_waits(self, notice: Joined | Frame, now_ns: int) -> bool:
        """Whether a new book must join again, at the latest update; it begins with the warm-up where that is there.

        update/ was joined at the first number it still has: is no pair warm yet where the first frame from then begins
        with it, then nothing could have been decided before, and the book misses nothing.
        """
        if isinstance(notice, Joined):
            self._trial = notice if self._from_start and notice.next_number > 0 else None
            if self._trial is None:
                self._follow.updates_joined(notice.epoch, notice.next_number, now_ns)
            return False
        trial, self._trial = self._trial, None
        if trial is None:
            return False
        self._from_start = False
        updates = np.frombuffer(notice.payload, RECORDS)
        firsts = np.unique(updates["pair"], return_index=True)[1]
        if (updates["codes"][firsts] & WARM).any():
            self._updates.close()
            self._updates = self._follow_updates(None)
            return True
        self._follow.updates_joined(trial.epoch, trial.next_number, now_ns)
        return False

    def _take(self, notices: list[Notice]) -> None:
        """What the bus brings."""
        now_ns = self._clock.monotonic_ns()
        self._arrived_ns = now_ns
        worked = False
        for notice in notices:
            match notice:
                case Frame(topic="update/0/"):
                    worked = True
                    if self._trial is not None and self._new_book_waits(notice, now_ns):
                        return
                    self._follow.update_frame(notice, now_ns)
                    self._passage.done(notice, now_ns)
                case Frame(topic="trade/0/"):
                    worked = True
                    self._follow.raw_frame(notice, now_ns)
                case Joined(topic="update/0/"):
                    self._new_book_waits(notice, now_ns)
                case Joined(topic="trade/0/"):
                    self._follow.raw_reached(notice.epoch, notice.next_number - 1, now_ns)
                case GapFound(topic="update/0/"):
                    self._follow.updates_lost(notice.epoch, notice.last, now_ns)
                case GapFound():
                    pass  # raw trades are read from the tape where they are needed
                case PeerUp():
                    self._give(inputs.Block(f"settings_differ_{notice.peer}", False))
                    self._give(inputs.Block(f"layout_differs_{notice.peer}", False))
                case PeerDiffers():
                    self._differs(notice)
                case PeerSilent():
                    self._warn(f"nothing was heard of {notice.peer} for 3 s")
                case BeatSeen(beat=beat):
                    if TRADE in beat.last and beat.layout_hash == layout_hash():  # else its tape cannot be read either
                        self._follow.raw_reached(*beat.last[TRADE], now_ns)
        if worked:
            self._publisher.latency.record((self._clock.monotonic_ns() - now_ns) / 1000)

    def _take_watchdog(self, notices: list[Notice]) -> None:
        """No entries while a stage keeps dying or has given up; a watchdog that is not heard changes nothing."""
        for notice in notices:
            if isinstance(notice, BeatSeen):
                failing = str(notice.beat.facts.get("failing") or "")
                for change in inputs.crash_loops(failing, self._engine.state.blocks):
                    self._give(change)

    def _differs(self, notice: PeerDiffers) -> None:
        if notice.what == "layout":
            self._give(inputs.Block(f"layout_differs_{notice.peer}", True))
            text = f"{notice.peer} is of another version: its records are not read; `make restart` brings all to one"
        else:
            self._give(inputs.Block(f"settings_differ_{notice.peer}", True))
            text = f"{notice.peer} runs with other settings: no entries; `make restart STAGE={notice.peer}`"
        self._context.event("warn", text)

    def _command(self, request: Request) -> tuple[bool, str]:
        """A control request: an input at its place in the fold, answered with what follows from it."""
        self._give(inputs.Command(request.action, request.id, request.arguments.get("reason", "")))
        state = self._engine.state
        held = [pair.pair for pair in state.pairs.values() if pair.lots]
        text = f"trading is {state.trading}"
        if request.action == "flatten":
            text += f"; {', '.join(held)} sold at the next trade" if held else "; nothing is held"
        elif held:
            text += f"; holding {', '.join(held)}, exits go on"
        self._shown.show(self._follow.mode, everything=True)
        # Who is told that trading is paused must find it paused after a crash in this very moment too.
        if not self._journal.flush(COMMAND_SECONDS):
            text += "; the journal has not taken it yet, a crash now would forget it: free the disk"
        return True, text

    # --- the journal's answers --------------------------------------------------------------------------

    def _on_commit(self, committed: Committed) -> None:
        """On the writer's thread."""
        self._committed.append((committed, self._clock.monotonic_ns()))
        self._context.loop.call_threadsafe(self._publish)

    def _on_trouble(self, why: str) -> None:
        """On the writer's thread."""
        self._context.loop.call_threadsafe(lambda: self._trouble(why))

    def _trouble(self, why: str) -> None:
        path = self._context.book_dir / "journal.db"
        if why:
            self._context.event(
                "error", f"the journal {path} cannot be written: {why}. Entries wait, exits go on; free the disk."
            )
        else:
            self._context.event("info", f"the journal {path} is written again")
        self._give(inputs.Block(JOURNAL_FAILING, bool(why)))

    def _publish(self) -> None:
        """What is on the disk by now goes out, in order."""
        if self._desk is not None:
            self._times.sent(self._desk.broker.sent())
        while self._committed:
            (entries,), disk_ns = self._committed.popleft()
            if self._desk is not None:
                self._desk.committed(entries[-1].number)
            self._publisher.send_many(TRADER, entries)
            self._times.published(entries, disk_ns)
            if self._arrived_ns:
                self._publisher.latency.record((self._clock.monotonic_ns() - self._arrived_ns) / 1000)
            for entry in entries:
                self._tell(entry)

    def _tell(self, entry: Entry) -> None:
        market = self._engine.market(getattr(entry.event, "pair", ""))
        said = words(entry.event, None if market is None else market.scale.tick)
        if said is not None:
            self._context.event(*said)

    def _replay(self, first: int) -> list[Frame]:
        """Journal entries from number `first` on, for the publisher."""
        rows = self._journal.read(first)
        frames: list[Frame] = []
        epoch = epoch_of(self._engine.state.journal_id)
        for at in range(0, len(rows), REPLAY_MESSAGES):
            part = rows[at : at + REPLAY_MESSAGES]
            payload, count = array_of(body for _, body in part)
            frames.append(Frame(TRADER, epoch, part[0][0], count, 0, payload))
        return frames

    # --- what is shown ------------------------------------------------------------------------------------

    def _follow_raws(self) -> None:
        """Takes raw trades while the fold lives by them, and only then: each would wake this process for nothing."""
        if (self._raws is not None) == (self._follow.mode == LAGGING):
            return
        if self._raws is None:
            self._raws = open_subscriber(
                self._context, "feeder", {TRADE: LATEST}, self._take_raws, layout_hash(), passing=True
            )
        else:
            self._raws.close()
            self._raws = None

    def _take_raws(self, notices: list[Notice]) -> None:
        """Raw trades alone; what else there is to say of the feeder is heard all the time."""
        self._take([notice for notice in notices if isinstance(notice, Frame | Joined | GapFound)])

    def _turn(self) -> None:
        self._follow.check(self._clock.monotonic_ns())
        self._follow_raws()
        if self._desk is not None:
            self._desk.turn()
        self._shown.turn(self._follow.mode, round(1 / self._turn_seconds))
        self._name_unwatched()
        if self._engine.unknown_pairs > self._unknown_told:
            self._unknown_told = self._engine.unknown_pairs
            self._warn(f"{self._unknown_told} trades of pairs that no START record names were left out")
        if self._engine.state.record != self._saved_record and self._clock.monotonic_ns() >= self._save_due_ns:
            self._append([])
        self._pace()

    def _pace(self) -> None:
        """Turns come seldom while updates come, orders are simulated and no pair has a position or an order."""
        state = self._engine.state
        live = self._desk is None and self._follow.mode == LIVE and len(state.pairs) <= IDLE_PAIRS
        idle = live and not at_stake(state)
        wanted = IDLE_TURN_SECONDS if idle else TURN_SECONDS
        if wanted != self._turn_seconds:
            self._timer.cancel()
            self._turn_seconds = wanted
            self._timer = self._context.loop.every(wanted, self._turn)

    def _name_unwatched(self) -> None:
        """PAIRS was changed under a position: its trailing stop sees no trades any more, and that is never silent."""
        if self._follow.mode == JOINING:  # the START in force may not be known yet
            return
        found = unwatched(self._engine)
        for pair in found.keys() - self._unwatched:
            text = f"{found[pair]}, but it is not among PAIRS: nothing watches its stop; add it and `make restart`"
            self._context.event("warn", text, pair)
        self._unwatched = set(found)

    def _facts(self) -> Facts:
        state = self._engine.state
        return {
            "record": state.record,
            "mode": mode_of(state),
            "state": state.trading,
            "feed": feed_of(self._follow.mode),
            "open_positions": self._engine.ledger.open_positions(),
            "realized": units_text(state.realized),
            "native_stops": protection.resting(state),
        }

    def _warn(self, text: str) -> None:
        self._context.event("warn", text)

    def _close(self) -> None:
        """Says good-bye in the journal, so that the next start knows; then what waits goes to the disk and out."""
        self._timer.cancel()
        if self._raws is not None:
            self._raws.close()
        if self._desk is not None:
            self._desk.close()
        state = self._engine.sync()
        state.stopped = True
        self._journal.append([], pack(state))
        if not self._journal.close():
            self._context.log.error("the journal could not take everything before the stop: the rest is lost")
        self._publish()


def _restored(body: bytes, journal_id: str) -> State:
    """The state of the journal. Raises MisconfiguredError where it is another program's."""
    try:
        state = unpack(body)
    except UNREADABLE as error:
        raise MisconfiguredError(
            f"the journal's state cannot be read ({error}): it is of another version; use that version, or move"
            " journal.db aside and begin a new book"
        ) from error
    if state.journal_id != journal_id:
        raise MisconfiguredError("the journal's state belongs to another journal: put a backup in its place")
    return state
