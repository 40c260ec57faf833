"""Through a frame of records: those that matter one by one, what lies between in one go."""

from collections.abc import Callable, Iterable

import numpy as np

from bus.layouts import UPDATE_SIZE
from bus.records import LATE, TRADE, UPDATE
from trader import scan
from trader.board import Board
from trader.broker import Tick
from trader.state import State
from trader.terms import NS_PER_MINUTE

FEW_BYTES = scan.FEW * UPDATE_SIZE


class Walk:
    """Hands the records that matter to `tick(tick, minute)`; whoever changes what a pair waits for sets `changed`.

    keep: 1 - TRAILING_STOP_PCT. minute: market time enters a later minute with this record.
    """

    def __init__(self, board: Board, state: State, keep: float, tick: Callable[[Tick, bool], None]) -> None:
        self.changed = True
        self.unknown_pairs = 0  # records of pairs that no START has named
        self._board = board
        self._state = state
        self._keep = keep
        self._tick = tick

    def updates(self, data: bytes) -> None:
        """UPDATE records; those not newer than the state are passed over."""
        if len(data) <= FEW_BYTES:
            self._few(scan.few_updates(data))
        else:
            records = np.frombuffer(data, UPDATE)
            numbers = records["number"].astype(np.int64)
            self._many(records, numbers, self._board.known(records) & (numbers > self._state.record), True)

    def raws(self, records: np.ndarray, first: int) -> None:
        """Tape records of any kind, numbered from `first`."""
        if len(records) <= scan.FEW:
            self._few(scan.few_raws(records, first))
        else:
            numbers = np.arange(first, first + len(records), dtype=np.int64)
            known = (records["kind"] == TRADE) & self._board.known(records) & (numbers > self._state.record)
            self._many(records, numbers, known, False)

    def _few(self, found: Iterable[scan.Fields]) -> None:
        """As `_many`, for a frame so short that numpy would cost more than looking at each trade."""
        state, board = self._state, self._board
        for fields in found:
            flags, pair, ns, _, _, _, number, _, _, _, _, _ = fields
            if number <= state.record or flags & LATE:
                continue
            if pair >= len(board.pairs):
                self.unknown_pairs += 1
                continue
            if self.changed:
                board.refresh(state.span)
                self.changed = False
            market_ns = state.market_ns
            if ns > market_ns:
                market_ns = ns
            minute = market_ns // NS_PER_MINUTE > state.minute
            if minute or not board.passes(fields, self._keep):
                self._tick(Tick(*fields), minute)
            else:
                state.market_ns = market_ns

    def _many(self, records: np.ndarray, numbers: np.ndarray, known: np.ndarray, updates: bool) -> None:
        state, board = self._state, self._board
        known &= (records["flags"] & LATE) == 0
        if not known.all():
            self.unknown_pairs += int((~board.known(records) & (records["kind"] == TRADE)).sum())
            records, numbers = records[known], numbers[known]
        if not len(records):
            return
        columns = scan.Columns(records, numbers, updates)
        minutes = columns.minutes(state.market_ns, state.minute)
        found: np.ndarray | None = None
        place = index = 0
        while index < columns.count:
            if self.changed:
                board.refresh(state.span)
                self.changed, found = False, None
            if found is None:
                found = board.interesting(columns, index, self._keep, minutes)
                place = 0
            next_index = int(found[place]) if place < len(found) else columns.count
            if next_index > index:
                state.market_ns = max(state.market_ns, board.skip(columns, index, next_index))
            if next_index < columns.count:
                self._tick(columns.tick(next_index), bool(minutes[next_index]))
                place += 1
            index = next_index + 1
