"""What the page knows: a fold of the bus's messages, without I/O and without a clock.

Every `fold_*` takes the message and, where it matters, its time: `now_ns` is monotonic (when it was published, of a
heartbeat when it arrived), `wall_ms` is wall time. Everything is bounded. `version` of a pair and of the common parts
grow with each change, so that a publisher of pages encodes only what moved.
"""

from collections import deque
from collections.abc import Container, Iterable
from typing import Any

import msgspec

from bus.messages import (
    Beat,
    Candle,
    CheckedEvent,
    Entry,
    Event,
    ExternalEvent,
    Gap,
    PositionEvent,
    SpanEvent,
    StartedEvent,
    StateEvent,
    Status,
    TradeEvent,
    View,
)
from bus.said import who_said
from core.paths import GUARDIAN, WATCHDOG
from dashboard.recovery import Recovery

STAGES = ("feeder", "indicators", "trader", "storage", "dashboard")
SILENT_NS = 3_000_000_000  # a stage not heard for this long counts as down (contract)
COMMANDS = 10  # of the operator, kept apart: they are few, and the events push them out
LOGS = 50  # events shown and answered (contract)
MAX_PAIRS = 1000
MAX_NOTES = 20  # gaps and spans kept
MAX_TRADES = 500  # trades kept that storage may not have written yet


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings say that the page shows; no secrets. Prices and amounts are in quote currency."""

    bot: str
    venue: str
    book: str
    live: bool
    pairs: tuple[str, ...]
    timeframe: str
    timeframe_ms: int
    stale_seconds: float
    rsi_kind: str
    rsi_period: int
    rsi_buy: float
    rsi_sell: float
    rsi_crash: float
    bb_period: int
    bb_stddev: float
    trailing_stop_pct: float
    settings_hash: int
    layout_hash: int


class Stage:
    """One stage as heard on the bus."""

    __slots__ = ("beat", "beat_ns", "heard_ms", "heard_ns", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard_ns: int | None = None  # monotonic, of the last message of any kind
        self.heard_ms: int | None = None  # the same, wall time
        self.beat: Beat | None = None
        self.beat_ns = 0

    def alive(self, now_ns: int) -> bool:
        """True while something was heard within the last three seconds."""
        return self.heard_ns is not None and now_ns - self.heard_ns <= SILENT_NS


class Pair:
    """One market as seen by indicators and trader."""

    __slots__ = ("arrived_ns", "moved_ns", "name", "opened_ms", "status", "version", "view")

    def __init__(self, name: str) -> None:
        self.name = name
        self.view: View | None = None
        self.moved_ns: int | None = None  # monotonic arrival of the last view with another trade in it
        self.status: Status | None = None
        self.opened_ms: int | None = None
        self.version = 0
        self.arrived_ns: int | None = None  # of the oldest change not yet taken by `take_arrival`


class PageState:
    """The fold; one writer, the event loop."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.pairs: dict[str, Pair] = {}
        shown = (*STAGES, GUARDIAN) if config.live else STAGES
        self.stages = {name: Stage(name) for name in shown}
        self.watchdog = Stage(WATCHDOG)
        self.logs: deque[Event] = deque(maxlen=LOGS)
        self.commands: deque[Event] = deque(maxlen=COMMANDS)
        self.gaps: deque[Gap] = deque(maxlen=MAX_NOTES)
        self.spans: deque[SpanEvent] = deque(maxlen=MAX_NOTES)
        self.trades: dict[int, TradeEvent] = {}
        self.trading_state: StateEvent | None = None
        self.started: StartedEvent | None = None
        self.recovery = Recovery()
        self.left_open: list[str] = []  # other books with a position, told once at start
        self.down: dict[str, str] = {}  # programs that are down, and why
        self.crash_loops: dict[str, str] = {}  # programs that keep dying or gave up, and which of the two
        self.differs: dict[str, str] = {}  # stage: what differs from ours (settings, layout)
        self.feeder_numbers: deque[tuple[int, int, int]] = deque(maxlen=16)  # arrival_ns, epoch, last number
        self.trader_number: tuple[int, int] | None = None  # arrival_ns, last number applied
        self.levels: dict[str, int] = {}  # events seen since this stage started, by level
        self.common_version = 0
        self.logs_version = 0
        self.last_trade_id = 0
        for name in config.pairs:
            self._pair(name)

    # --- who is there ---------------------------------------------------------------------------

    def heard(self, stage: str, now_ns: int, wall_ms: int) -> None:
        """Any message is a sign of life."""
        seen = self.watchdog if stage == WATCHDOG else self.stages.get(stage)
        if seen is None:
            return
        if not seen.alive(now_ns):
            self.common_version += 1
        seen.heard_ns, seen.heard_ms = now_ns, wall_ms

    def fold_beat(self, beat: Beat, now_ns: int, wall_ms: int) -> None:
        """A heartbeat: restarts, latency, the stage's own facts, and whether its settings are ours."""
        self.heard(beat.stage, now_ns, wall_ms)
        stage = self.stages.get(beat.stage)
        if stage is None:
            return
        stage.beat, stage.beat_ns = beat, now_ns
        self.common_version += 1
        if beat.layout_hash != self.config.layout_hash:
            self.differs[beat.stage] = "layout"
        elif beat.settings_hash != self.config.settings_hash:
            self.differs[beat.stage] = "settings"
        else:
            self.differs.pop(beat.stage, None)
        if beat.stage == "feeder":
            self._note_feeder(beat, now_ns)
        elif beat.stage == "trader":
            record = _whole(beat.facts.get("record"))
            if record is not None:
                self._note_trader(record, now_ns)

    def _note_feeder(self, beat: Beat, now_ns: int) -> None:
        epoch, number = beat.last.get("trade/0/", (0, -1))
        told = _whole(beat.facts.get("last_number"))
        number = number if told is None else max(number, told)
        if self.feeder_numbers and self.feeder_numbers[-1][1] != epoch:
            self.feeder_numbers.clear()
            self.trader_number = None
        self.feeder_numbers.append((now_ns, epoch, number))

    def _note_trader(self, number: int, now_ns: int) -> None:
        self.trader_number = (now_ns, number)

    # --- market and position --------------------------------------------------------------------

    def fold_view(self, view: View, now_ns: int) -> None:
        """The latest state of one pair from indicators."""
        pair = self._pair(view.pair)
        if pair is None:
            return
        if pair.view is None or pair.view.number != view.number:
            pair.moved_ns = now_ns
        pair.view = view
        self._changed(pair, now_ns)

    def fold_status(self, status: Status, now_ns: int) -> None:
        """The latest state of one pair from the trader."""
        pair = self._pair(status.pair)
        if pair is None:
            return
        pair.status = status
        if status.status in ("idle", "warming_up"):
            pair.opened_ms = None
        if status.record >= 0:
            self._note_trader(status.record, now_ns)
        self._changed(pair, now_ns)

    def fold_entry(self, entry: Entry, now_ns: int) -> None:
        """One journal entry of the trader; what the page does not show is passed over."""
        event = entry.event
        if isinstance(event, TradeEvent):
            self.trades[event.id] = event
            while len(self.trades) > MAX_TRADES:
                del self.trades[next(iter(self.trades))]
            self.last_trade_id = max(self.last_trade_id, event.id)
        elif isinstance(event, PositionEvent):
            pair = self._pair(event.pair)
            if pair is not None:
                pair.opened_ms = event.opened_ms
                self._changed(pair, now_ns)
        elif isinstance(event, SpanEvent):
            self._note_span(event)
        elif isinstance(event, StateEvent):
            self.trading_state = event
        elif isinstance(event, StartedEvent):
            self.started = event
            self.recovery.began(entry.number, new=event.found == "new")
        elif isinstance(event, CheckedEvent):
            self.recovery.checked(entry.number, event)
        elif isinstance(event, ExternalEvent):
            self.recovery.unexplained(entry.number, event)
        else:
            return
        self.common_version += 1

    def _note_span(self, span: SpanEvent) -> None:
        """Keep one row per span: its end replaces its begin."""
        for i, known in enumerate(self.spans):
            if known.kind == span.kind and known.first == span.first and known.at.epoch == span.at.epoch:
                self.spans[i] = span
                return
        self.spans.append(span)

    # --- what a person must know ----------------------------------------------------------------

    def fold_event(self, event: Event) -> None:
        """One event of a stage; the same event heard twice (live and from storage) is shown once."""
        if any(_identity(event) == _identity(known) for known in self.logs):
            return
        self.levels[event.level] = self.levels.get(event.level, 0) + 1
        self.fold_command(event)
        late = bool(self.logs) and event.time_ms < self.logs[-1].time_ms
        self.logs.append(event)
        if late:
            self.logs = deque(sorted(self.logs, key=lambda e: e.time_ms), maxlen=LOGS)
        self.logs_version += 1

    def fold_command(self, event: Event) -> None:
        """An event that tells of an operator's command, and no other, is kept among the last commands."""
        if who_said(event.text) is None or any(_identity(event) == _identity(known) for known in self.commands):
            return
        self.commands = deque(sorted([*self.commands, event], key=lambda e: e.time_ms), maxlen=COMMANDS)
        self.common_version += 1

    def fold_old_events(self, events: Iterable[Event]) -> None:
        """Events that storage kept from before this stage started; they count in no level."""
        known = {_identity(event) for event in self.logs}
        fresh = [event for event in events if _identity(event) not in known]
        self.logs = deque(sorted([*fresh, *self.logs], key=lambda e: e.time_ms), maxlen=LOGS)
        self.logs_version += 1

    def fold_gap(self, gap: Gap) -> None:
        """Something was missed and cannot be had."""
        numbers = (gap.topic, gap.epoch, gap.first, gap.last)
        if all((g.topic, g.epoch, g.first, g.last) != numbers for g in self.gaps):
            self.gaps.append(gap)
            self.common_version += 1

    def fold_stored_gap(self, row: dict[str, Any]) -> None:
        """A gap that storage kept; its table does not say which stage missed it."""
        self.fold_gap(Gap("", row["topic"], row["epoch"], row["first"], row["last"], row["time"]))

    # --- reading --------------------------------------------------------------------------------

    def pair_names(self) -> list[str]:
        """Known pairs, those of the settings first and in their order."""
        return list(self.pairs)

    def open_rows(self) -> list[Pair]:
        """Pairs that hold or work a position."""
        return [p for p in self.pairs.values() if p.status is not None and p.status.entry_price is not None]

    def take_arrival(self, name: str) -> int | None:
        """When the oldest change not yet shown arrived (monotonic ns); asks once, then counts anew."""
        pair = self.pairs[name]
        arrived, pair.arrived_ns = pair.arrived_ns, None
        return arrived

    def forget_arrivals(self, watched: Container[str]) -> None:
        """What nobody looks at is shown to nobody: its waiting counts as no latency."""
        for pair in self.pairs.values():
            if pair.name not in watched:
                pair.arrived_ns = None

    def forming(self, name: str) -> Candle | None:
        """The candle that still runs."""
        pair = self.pairs.get(name)
        return pair.view.candle if pair is not None and pair.view is not None else None

    def fact(self, stage: str, name: str) -> Any:
        """A stage's own fact from its last heartbeat, or None."""
        beat = self.stages[stage].beat
        return None if beat is None else beat.facts.get(name)

    def stop_holder(self, pair: Pair, now_ns: int) -> str | None:
        """Who holds the stop of a pair right now: trader, guardian, venue or nobody; None where nothing is held.

        The guardian says it, who reads the trader's lease; where it is not heard: the trader, as long as it may act.
        """
        if pair.status is None or pair.status.entry_price is None:
            return None
        guardian = self.stages.get(GUARDIAN)
        if guardian is not None and guardian.alive(now_ns) and guardian.beat is not None:
            told = guardian.beat.facts.get("stop")
            if isinstance(told, str) and told:
                return told
        acts = self.stages["trader"].alive(now_ns) and "recovering" not in pair.status.blocked
        return "trader" if acts else "nobody"

    def market_age_ms(self, now_ns: int) -> float | None:
        """Age of the feeder's last proof of the market, carried on since its heartbeat; None before the first."""
        age = self.fact("feeder", "market_age_ms")
        if not isinstance(age, int | float):
            return None
        return max(0.0, age + (now_ns - self.stages["feeder"].beat_ns) / 1e6)

    def _pair(self, name: str) -> Pair | None:
        pair = self.pairs.get(name)
        if pair is None and len(self.pairs) < MAX_PAIRS:
            pair = self.pairs[name] = Pair(name)
            self.common_version += 1
        return pair

    def _changed(self, pair: Pair, now_ns: int) -> None:
        pair.version += 1
        if pair.arrived_ns is None:
            pair.arrived_ns = now_ns


def _whole(value: Any) -> int | None:
    """`value` as an int where it is a number, else None."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _identity(event: Event) -> tuple[str, int, str]:
    """What makes an event the same: storage keeps the pair as the beginning of the text."""
    return event.stage, event.time_ms, f"{event.pair}: {event.text}" if event.pair else event.text
