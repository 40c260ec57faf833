"""The indicators of all pairs: the packed state with the buffers around it, one kernel call a frame.

No I/O and no clock: frames of records in, UPDATEs, closed candles and new segments out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

import numpy as np

from bus.layouts import HOLE_NO_OVERLAP, HOLE_TAIL_LOST, HOLE_TOO_LONG, MAX_BATCH, RECORD_SIZE, TRADE
from bus.messages import Market
from bus.records import UPDATE
from indicators import layout
from indicators.candles import begin_segment
from indicators.layout import Array, Parameters

MOST_BYTES = MAX_BATCH * RECORD_SIZE

REASONS = {
    layout.WHY_START: "the start",
    HOLE_NO_OVERLAP: "a hole: the venue's recent trades no longer reach back to the last one known",
    HOLE_TOO_LONG: "a hole: more than 500 candles are missing",
    HOLE_TAIL_LOST: "a hole: the end of the tape was lost",
    layout.WHY_MISSING: f"more than {layout.MISSING_LIMIT} candles without a trade",
    layout.WHY_BUS: "records lost on the bus",
}


@dataclass(frozen=True)
class Segment:
    """A warm-up that began anew: which pair, its number, and why in words."""

    pair: int
    number: int
    why: str


def price_grid(tick: str) -> tuple[int, int]:
    """(units, scale) of a tick given as decimal text: price = ticks * units / scale, exact until the one division."""
    value = Decimal(tick)
    if not value.is_finite() or value <= 0:
        return 0, 0
    exponent = value.normalize().as_tuple().exponent
    places = max(0, -int(exponent))
    return int(value.scaleb(places)), int(10**places)


class Kernels(Protocol):
    """The kernels, compiled (`machine.Machine`) or plain: each bound to the arena that it works on."""

    def fold(self, arena: Array) -> Callable[[bytes, int, int], int]: ...

    def describe(self, arena: Array) -> Callable[[Array, int, Array], None]: ...


class Indicators:
    """Folds frames of tape records."""

    def __init__(self, parameters: Parameters, kernels: Kernels, pairs: int = 0) -> None:
        self.parameters = parameters
        self.closed: list[Array] = []  # arrays of ROW, since `take_closed`
        self.segments: list[Segment] = []  # since `take_segments`
        self._kernels = kernels
        self.load(layout.new_state(parameters, pairs))

    @property
    def pairs(self) -> int:
        """How many pairs there is room for."""
        return int(layout.params_of(self.state)["pairs"])

    @property
    def heads(self) -> Array:
        """The HEAD records, one a pair, as a view of the state."""
        return layout.heads_of(self.state)

    @property
    def unknown(self) -> int:
        """Records so far whose pair no START named, or whose price is impossible."""
        return int(self._work["unknown"])

    def load(self, state: Array) -> None:
        """Go on from a copy of this state (int64 words)."""
        self._use(layout.new_arena(state, MAX_BATCH))

    def _use(self, arena: Array) -> None:
        self.state, out, scratch = layout.parts_of(arena)
        self._updates = out.view(UPDATE)
        pairs = self.pairs
        self._work = scratch[: layout.WORK_WORDS].view(layout.WORK)[0]
        first = layout.WORK_WORDS + pairs
        self._dirty = scratch[layout.WORK_WORDS : first]
        self._dirty_list = scratch[first : first + pairs]
        self._rows = scratch[first + pairs :].view(layout.ROW)
        self._fold = self._kernels.fold(arena)
        self._describe = self._kernels.describe(arena)
        self._rows_wanted = np.zeros(pairs * layout.ROW_WORDS, np.int64)
        self._known_segments = self.heads["segment"].copy()

    def start(self, markets: list[Market], tape_clock: bool) -> None:
        """Take a START: room for its pairs, their price grids, and whether missing candles have a limit."""
        if len(markets) > self.pairs:
            self.load(layout.grown(self.state, self.parameters, len(markets)))
        heads = self.heads
        for pair, market in enumerate(markets):
            heads[pair]["tick_units"], heads[pair]["tick_scale"] = price_grid(market.tick)
        limit = layout.NO_LIMIT if tape_clock or self.parameters.connected_throughout else layout.MISSING_LIMIT
        layout.params_of(self.state)["missing_limit"] = limit

    def fold(self, frame: bytes, first: int) -> Array:
        """Fold a frame of at most MAX_BATCH records, the first of which is number `first` of the tape.

        Returns the UPDATEs, one a TRADE: a view that the next call overwrites. Closed candles and new segments wait in
        `take_closed` and `take_segments`.
        """
        size = len(frame)
        if size > MOST_BYTES or size % RECORD_SIZE:
            raise ValueError(f"a frame of {size} bytes")  # compiled code does not look
        written = self._fold(frame, first, 0)
        if written < 0:
            written = self._take_rest(frame, first)
        return self._updates[:written]

    def _take_rest(self, frame: bytes, first: int) -> int:
        """Take rows and segments after a call, and call again until the frame is folded; returns how many UPDATEs."""
        written = -1
        while True:
            rows = int(self._work["rows"])
            if rows:
                self.closed.append(self._rows[:rows].copy())
            if self._work["segments"]:
                self._note_segments()
            if written >= 0 or self._work["next"] * 64 >= len(frame):
                return int(self._work["updates"])
            written = self._fold(frame, first, int(self._work["next"]))

    def _note_segments(self) -> None:
        heads = self.heads
        for pair in np.flatnonzero(heads["segment"] != self._known_segments):
            why = int(heads[pair]["why"])
            self.segments.append(Segment(int(pair), int(heads[pair]["segment"]), REASONS.get(why, f"reason {why}")))
        self._known_segments = heads["segment"].copy()

    def lose_all(self) -> None:
        """Records were lost on the bus: every pair begins a new segment."""
        for head in self.heads:
            begin_segment(head, layout.WHY_BUS)
        self._note_segments()

    def take_closed(self) -> list[Array]:
        """The candles closed since the last call, oldest first, as arrays of ROW."""
        closed, self.closed = self.closed, []
        return closed

    def take_segments(self) -> list[Segment]:
        """The segments begun since the last call."""
        segments, self.segments = self.segments, []
        return segments

    def take_dirty(self) -> list[int]:
        """The pairs that changed since the last call."""
        count = int(self._work["dirty"])
        if not count:
            return []
        pairs: list[int] = self._dirty_list[:count].tolist()
        self._dirty[pairs] = 0
        self._work["dirty"] = 0
        return pairs

    def describe(self, pairs: list[int]) -> Array:
        """The latest state of these pairs as ROWs, in this order: a view that the next call overwrites."""
        if pairs and not 0 <= min(pairs) <= max(pairs) < self.pairs:
            raise IndexError(f"of {self.pairs} pairs these were asked for: {pairs}")  # compiled code does not look
        self._describe(np.array(pairs, np.int64), len(pairs), self._rows_wanted)
        return self._rows_wanted.view(layout.ROW)[: len(pairs)]

    def latest(self) -> Array:
        """The latest state of every pair as an UPDATE without codes, and without what is the trade's own."""
        rows = self.describe(list(range(self.pairs)))
        updates = np.zeros(len(rows), UPDATE)
        updates["kind"] = TRADE
        for name in ("pair", "number", "rsi", "bb_lower", "bb_middle", "bb_upper", "closed", "segment"):
            updates[name] = rows[name]
        updates["price"] = rows["close"]
        updates["exchange_ns"] = rows["time_ns"]
        updates["settings_hash"] = self.parameters.settings_hash
        return updates[rows["number"] >= 0]

    def closed_candles(self) -> int:
        """Closed candles of the pair that has fewest in its segment; 0 without pairs."""
        return int(self.heads["closed"].min()) if self.pairs else 0


def parameters_of(settings: Any, settings_hash: int) -> Parameters:
    """The indicators' part of the settings (`core.settings.Settings`)."""
    return Parameters(
        timeframe_ms=settings.timeframe_ms,
        warmup_candles=settings.warmup_candles,
        rsi_period=settings.rsi_period,
        rsi_smoothing=settings.rsi_smoothing,
        rsi_buy=float(settings.rsi_buy),
        rsi_sell=float(settings.rsi_sell),
        rsi_crash=float(settings.rsi_crash),
        bb_period=settings.bb_period,
        bb_stddev=float(settings.bb_stddev),
        settings_hash=settings_hash,
    )
