"""The indicators stage: folds the tape as it grows and publishes UPDATEs, candles and views.

Follows `trade/0/` from behind the saved state; where there is none that fits, from the first record that the tape still
has. What it missed for good is a hole of every pair. All that it knows comes from the tape, so it can be killed at any
moment: what was not yet published is folded and published again, under the same numbers.
"""

from itertools import islice
from pathlib import Path

import msgspec

from bus.frames import CANDLE, TRADE, UPDATE, VIEW, Frame
from bus.layouts import FORMING, MAX_BATCH, RECORD_SIZE, layout_hash
from bus.messages import Start
from bus.messages import encode as pack
from bus.passage import Passage
from bus.publisher import Facts, Publisher, open_publisher
from bus.subscriber import FIRST, BeatSeen, Cursor, GapFound, Joined, Notice, PeerDiffers, open_subscriber
from core import paths
from core.clock import NS_PER_MS
from core.settings import indicator_hash
from core.stage import Context
from indicators import jit, report, state
from indicators.behind import Behind
from indicators.engine import Indicators, Kernels, Segment, parameters_of
from indicators.kept import KeptStates
from indicators.ring import ClosedCandles, candles_kept

SHOW_SECONDS = 0.25  # as often as candles are told; a view goes with them
SAVE_CHECK_SECONDS = 1.0
BEHIND_CHECK_SECONDS = 1.0
UPDATE_RING = 8_192
CANDLE_RING = 4_096
PAIRS_AT_ONCE = 100  # described in one go, 1 ms; of more the others come next time, so that no update waits for them
FEW_PAIRS = 8  # views and candles of so many are one piece of work: each piece waits for a pause of its own
NAMED = 3  # pairs that an event names; of more it gives the number


def build(context: Context) -> None:
    """Wires the stage to its loop."""
    start(context)


def start(context: Context) -> "Stage":
    """The stage, wired to the context's loop."""
    cache_root = paths.cache_dir(context.var_dir)
    if not jit.is_warm(cache_root):
        context.log.warning("the kernels are compiled first: some seconds, on a small board up to a minute")
    machine, complaint = jit.load(cache_root)
    stage = Stage(context, machine)
    publisher = open_publisher(context, layout_hash(), stage.facts)
    stage.begin(publisher)
    if complaint:
        context.event("warn", complaint)
    open_subscriber(context, "feeder", {TRADE: stage.cursor()}, stage.take, layout_hash(), publisher)
    context.loop.every(SHOW_SECONDS, stage.show)
    context.loop.every(SAVE_CHECK_SECONDS, stage.save_if_due)
    context.loop.every(BEHIND_CHECK_SECONDS, stage.tell_if_behind)
    context.on_stop(stage.save)
    return stage


class Stage:
    """The fold with its saved state, and what it publishes."""

    def __init__(self, context: Context, kernels: Kernels) -> None:
        settings = context.settings
        self._context = context
        self._kernels = kernels
        self._settings_hash = indicator_hash(settings)
        self._sources_hash = jit.sources_hash()
        self._parameters = parameters_of(settings, self._settings_hash)
        self._folder = paths.cache_dir(context.var_dir) / f"indicators-{paths.book_name(settings)}"
        self.indicators = Indicators(self._parameters, kernels)
        self.epoch = -1
        self.number = -1  # of the last record folded
        self._start: Start | None = None
        self._pairs: list[str] = []
        self._topic_open = False
        self._feeder_last = -1
        self._behind = Behind()
        self._dirty: dict[int, None] = {}  # pairs to be shown, the one that waits longest first
        self._warm: set[int] = set()
        self._unsaved = False
        self._saved_ns = 0
        self._save_every_ns = 0
        self._kept = KeptStates(context.book_dir)
        self._before: tuple[int, int] | None = None  # epoch and number up to which the life before this one told
        self._told = ""  # what went wrong with the files, so that it is told once
        keep = candles_kept(settings.retention_minutes, settings.timeframe_ms, settings.warmup_candles)
        self._ring = ClosedCandles(self._folder / "candles.rows", keep, self._sources_hash)

    def begin(self, publisher: Publisher) -> None:
        """Take up the saved state; from now on things are published."""
        self._publisher = publisher
        way, work, whole = "publish_to_arrival", "arrival_to_update", "trade_to_update"
        self._passage = Passage(self._context.clock, publisher.spans, way, work, whole)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            self._tell_once(f"no folder for the saved state, each start warms up anew: {error}")
        publisher.topic(CANDLE, self._context.started_ms, ring=CANDLE_RING, snapshot=self._candle_snapshot)
        publisher.topic(VIEW, self._context.started_ms, snapshot=self._view_snapshot)
        self._load()

    def _tell_once(self, text: str) -> None:
        if text and text != self._told:
            self._context.event("warn", text)
        self._told = text

    @property
    def _state_file(self) -> Path:
        return self._folder / "state"

    # --- where we stand -----------------------------------------------------------------------------

    def cursor(self) -> Cursor:
        """Where to go on on the tape."""
        return FIRST if self.epoch < 0 else Cursor(self.epoch, self.number + 1, else_first=True)

    def _load(self) -> None:
        saved = state.load(
            self._state_file,
            settings_hash=self._settings_hash,
            sources_hash=self._sources_hash,
            layout_hash=layout_hash(),
            bb_period=self._parameters.bb_period,
        )
        if isinstance(saved, str):
            self._before = state.place(self._state_file)
            self._context.event("start", f"indicators read the tape from its beginning: {saved}")
            return
        self.indicators.load(saved.words())
        self.epoch, self.number = saved.epoch, saved.number
        if saved.start is not None:
            self._take_start(saved.start)
        self._ring.load(saved.epoch, saved.number)
        self._note_warm()
        self._context.event("start", f"indicators go on after record {saved.number} with their saved state")

    def facts(self) -> Facts:
        """What the heartbeat says about us."""
        heads = self.indicators.heads
        return {
            "closed": self.indicators.closed_candles(),
            "needed": self._parameters.needed,
            "segment": int(heads["segment"].max()) if len(heads) else 0,
            "lag_records": max(0, self._feeder_last - self.number),
            "cursor": self.number,
            "late": int(heads["late"].sum()),
            "unknown": self.indicators.unknown,
        }

    # --- what comes in ------------------------------------------------------------------------------

    def take(self, notices: list[Notice]) -> None:
        """One drain of the bus: frames that follow on each other are folded as one batch."""
        arrived_ns = self._context.clock.monotonic_ns()
        payloads: list[bytes] = []
        first = count = 0
        for notice in notices:
            if type(notice) is Frame and notice.body is None:
                if count + notice.count > MAX_BATCH:
                    self._fold(payloads, first, count)
                    payloads, count = [], 0
                if not count:
                    first = notice.first
                payloads.append(notice.payload)
                count += notice.count
                self.epoch = notice.epoch
                continue
            if count:
                self._fold(payloads, first, count)
                payloads, count = [], 0
            self._take_other(notice)
        if count:
            self._fold(payloads, first, count)
        if type(notices[0]) is Frame:  # the oldest one speaks for its drain
            self._passage.done(notices[0], arrived_ns)
        if self.indicators.closed:
            self._publish_closed()
        if self.indicators.segments:
            self._tell_segments(self.indicators.take_segments())

    def _fold(self, payloads: list[bytes], first: int, count: int) -> None:
        frame = payloads[0] if len(payloads) == 1 else b"".join(payloads)
        if len(frame) != count * RECORD_SIZE or first != self.number + 1:
            raise ValueError(f"{len(frame)} bytes for the {count} records from {first} on, after record {self.number}")
        if not self._topic_open:
            self._open_topic()
        updates = self.indicators.fold(frame, first)
        self._publisher.send_records(UPDATE, first, updates, count=count)
        self.number += count

    def _take_other(self, notice: Notice) -> None:
        if isinstance(notice, Frame):
            self._take_start_frame(notice)
        elif isinstance(notice, Joined):
            self._begin_anew(notice)
        elif isinstance(notice, GapFound):
            self._take_gap(notice)
        elif isinstance(notice, BeatSeen):
            epoch, last = notice.beat.last.get(TRADE, (-1, -1))
            if epoch == self.epoch:
                self._feeder_last = last
                clock = self._context.clock
                late_ns = clock.wall_ns() - notice.beat.wall_ms * NS_PER_MS
                self._behind.heard(last, late_ns, clock.monotonic_ns())
                # A quiet market after a restart: who waits for updates learns where they stand.
                if not self._topic_open and last == self.number:
                    self._open_topic()
        elif isinstance(notice, PeerDiffers):
            self._context.event("error", differs_text(notice))

    def tell_if_behind(self) -> None:
        """Say when the fold does not keep up, and when it does again."""
        told = self._behind.check(self.number, self._context.clock.monotonic_ns())
        if told is not None:
            self._context.event(*told)

    def _take_start_frame(self, frame: Frame) -> None:
        assert frame.body is not None
        self.epoch = frame.epoch
        forgotten = self._take_start(_start_decoder.decode(frame.body))
        if not self._topic_open:
            self._open_topic()
        self._publisher.send_records(UPDATE, frame.first, b"", frame.body, frame.count)
        self.number = frame.last
        self._unsaved = True
        if forgotten:
            self._keep(began=True)

    def _take_start(self, start: Start) -> bool:
        """Goes by a START from now on; True where all that was known before is of no use any more."""
        pairs = [market.pair for market in start.markets]
        others = pairs[: len(self._pairs)] != self._pairs
        if others:
            # Numbers would now mean other pairs: nothing that is known holds any more.
            self._context.event("warn", "the pairs of the tape have other numbers than before: indicators warm up anew")
            self._forget()
        self._start = start
        self._pairs = pairs
        self.indicators.start(start.markets, start.tape_clock)
        return others

    def _begin_anew(self, notice: Joined) -> None:
        """Another tape, or no state that fits it: everything from its first record that is kept."""
        if self.epoch >= 0:
            self._context.event(
                "warn", f"the feeder began tape {notice.epoch}: indicators warm up anew from its first record"
            )
        self.epoch, self.number = notice.epoch, notice.next_number - 1
        self._behind.begin()
        self._forget()
        if notice.snapshot:
            self._take_start(_start_decoder.decode(notice.snapshot))
        self._open_topic()
        self._keep(began=True)

    def _forget(self) -> None:
        self.indicators = Indicators(self._parameters, self._kernels)
        self._pairs = []
        self._warm.clear()
        self._dirty.clear()
        self._ring.begin(self.epoch)

    def _take_gap(self, notice: GapFound) -> None:
        self._publisher.gap(notice.topic, notice.epoch, notice.first, notice.last)
        lost = notice.last - notice.first + 1
        self._context.event("warn", f"{lost} records of the tape are lost: indicators warm up anew after {notice.last}")
        self.epoch, self.number = notice.epoch, notice.last
        self.indicators.lose_all()
        self._warm.clear()
        self._open_topic()
        self._keep(began=True)

    def _open_topic(self) -> None:
        self._publisher.topic(UPDATE, self.epoch, self.number, ring=UPDATE_RING, snapshot=self._update_snapshot)
        self._topic_open = True

    # --- what goes out ------------------------------------------------------------------------------

    def _publish_closed(self) -> None:
        for rows in self.indicators.take_closed():
            kept = self._ring.add(rows)
            self._publisher.send_many(CANDLE, report.candles_of(kept, self._pairs, closed=True, epoch=self.epoch))
        self._unsaved = True
        self._note_warm(tell=True)
        self._tell_once(self._ring.complaint)

    def _note_warm(self, tell: bool = False) -> None:
        if len(self._warm) == len(self._pairs):
            return
        closed = self.indicators.heads["closed"][: len(self._pairs)]
        warm = set((closed >= self._parameters.needed).nonzero()[0].tolist())
        new = warm - self._warm
        self._warm = warm
        if new and tell:
            self._context.event("info", f"{self._named(new)}: {self._parameters.needed} candles are there, decides now")

    def _tell_segments(self, segments: list[Segment]) -> None:
        self._warm.difference_update(segment.pair for segment in segments)
        self._unsaved = True
        for why in dict.fromkeys(segment.why for segment in segments):
            named = self._named({segment.pair for segment in segments if segment.why == why})
            self._context.event("warn", f"{named}: warms up anew, because of {why}")

    def _named(self, pairs: set[int]) -> str:
        if len(pairs) > NAMED:
            return f"{len(pairs)} pairs"
        return ", ".join(self._pairs[pair] for pair in sorted(pairs) if pair < len(self._pairs))

    def show(self) -> None:
        """Publish view and forming candle of pairs that changed; of many the candles after what has come meanwhile."""
        self._dirty |= dict.fromkeys(self.indicators.take_dirty())
        if self._dirty:
            pairs = taken(self._dirty, PAIRS_AT_ONCE)
            rows = self.indicators.describe(pairs)
            self._publisher.send_many(VIEW, report.views_of(rows, self._pairs, self._parameters.needed))
            if len(pairs) <= FEW_PAIRS:
                self._publisher.send_many(CANDLE, report.forming_of(rows, self._pairs))
            else:
                self._context.loop.aside(lambda: self._show_candles(pairs))

    def _show_candles(self, pairs: list[int]) -> None:
        """The forming candles as they are by now: a candle that closed meanwhile must not be told as it was before."""
        known = [pair for pair in pairs if pair < self.indicators.pairs]
        self._publisher.send_many(CANDLE, report.forming_of(self.indicators.describe(known), self._pairs))

    def _candle_snapshot(self) -> bytes:
        candles = report.plain_candles(self._ring.rows(), self._pairs, closed=True, epoch=self.epoch)
        latest = self.indicators.describe(list(range(self.indicators.pairs)))
        return pack(candles + report.plain_candles(latest[latest["flags"] & FORMING != 0], self._pairs, closed=False))

    def _view_snapshot(self) -> bytes:
        rows = self.indicators.describe(list(range(self.indicators.pairs)))
        return pack(report.views_of(rows, self._pairs, self._parameters.needed))

    def _update_snapshot(self) -> bytes:
        return self.indicators.latest().tobytes()

    # --- the saved state ----------------------------------------------------------------------------

    def save_if_due(self) -> None:
        """Save after candles closed, not too often."""
        if self._unsaved and self._context.clock.monotonic_ns() - self._saved_ns >= self._save_every_ns:
            self.save()

    def save(self) -> None:
        """Save the state as it is; a disk that refuses is told of once and costs a longer catch-up, nothing else."""
        if self.epoch < 0:
            return
        saved = self._saved()
        self._unsaved = False
        self._saved_ns = self._context.clock.monotonic_ns()
        self._save_every_ns = int(state.seconds_between(len(saved.state)) * 1e9)
        try:
            state.save(self._state_file, saved)
        except OSError as error:
            self._tell_once(f"the state is not saved, a restart catches up longer: {error}")
        else:
            if self._kept.due(self.epoch, self._newest_ns()):
                self._keep(began=False)

    def _saved(self) -> state.Saved:
        return state.Saved(
            version=state.VERSION,
            epoch=self.epoch,
            number=self.number,
            settings_hash=self._settings_hash,
            sources_hash=self._sources_hash,
            layout_hash=layout_hash(),
            start=self._start,
            state=self.indicators.state.tobytes(),
        )

    def _newest_ns(self) -> int:
        """Exchange time of the newest record folded."""
        heads = self.indicators.heads
        return int(heads["time_ns"].max()) if len(heads) else 0

    def _keep(self, *, began: bool) -> None:
        """Keep the state for who judges the session; that it cannot be is told and harms nothing else."""
        before, self._before = self._before, None
        after = before[1] if before is not None and before[0] == self.epoch else -1
        try:
            self._kept.keep(self._saved(), self._newest_ns(), began=began, after=after)
        except OSError as error:
            self._tell_once(f"a state is not kept, `backtest parity` may not be able to judge this stretch: {error}")


def taken(waiting: dict[int, None], most: int) -> list[int]:
    """Takes the first `most` pairs out of those that wait; in the order of their numbers."""
    pairs = list(islice(waiting, most))
    for pair in pairs:
        del waiting[pair]
    return sorted(pairs)


def differs_text(notice: PeerDiffers) -> str:
    """What a person is told when a peer is of another mind."""
    if notice.what == "layout":
        return f"{notice.peer} sends records of another layout, not read: `make restart` brings all to one version"
    return f"{notice.peer} goes by other settings than indicators: `make restart` applies one set to all stages"


_start_decoder = msgspec.msgpack.Decoder(Start)
