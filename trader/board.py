"""The pairs by their numbers on the tape: state, rules and latest prices in arrays, for whole frames at a time."""

import numpy as np

from bus.messages import Start
from bus.records import WARM
from trader import scan
from trader.broker import Tick
from trader.state import BLIND, PairState, State
from trader.terms import MarketTerms, market_terms, rescaled


class Board:
    """Pair numbers hold from one START to the next; `sync` writes the arrays back into the state."""

    def __init__(self) -> None:
        self.pairs: list[PairState] = []
        self.markets: list[MarketTerms] = []
        self._watch = np.zeros(0, np.uint16)
        self._tracked: dict[int, PairState] = {}  # followed closely: their stop, their candles
        self._blind = False
        self._price = np.zeros(0, np.float64)
        self._ticks = np.zeros(0, np.int64)
        self._ns = np.zeros(0, np.int64)
        self._warm = np.zeros(0, bool)

    def take_start(self, state: State, body: Start) -> list[PairState]:
        """Takes over a START's markets; gives the pairs with a position whose tick or step changed."""
        self.sync()
        self.markets = [market_terms(market) for market in body.markets]
        self.pairs = []
        rescaled_pairs = []
        for market in self.markets:
            pair = state.pairs.get(market.pair)
            if pair is None:
                pair = PairState(market.pair, market.scale.step, market.scale.tick)
                state.pairs[market.pair] = pair
            elif (pair.step, pair.tick) != (market.scale.step, market.scale.tick):
                held = pair.lots > 0
                rescale(pair, market)
                if held:
                    rescaled_pairs.append(pair)
            self.pairs.append(pair)
        self._price = np.array([pair.price for pair in self.pairs], np.float64)
        self._ticks = np.array([pair.ticks for pair in self.pairs], np.int64)
        self._ns = np.array([pair.ns for pair in self.pairs], np.int64)
        self._warm = np.array([pair.warm for pair in self.pairs], bool)
        return rescaled_pairs

    def sync(self) -> None:
        """Writes the latest prices into the pairs' states."""
        columns = (self._price.tolist(), self._ticks.tolist(), self._ns.tolist(), self._warm.tolist())
        for pair, price, ticks, ns, warm in zip(self.pairs, *columns, strict=True):
            pair.price, pair.ticks, pair.ns, pair.warm = price, ticks, ns, warm

    def known(self, records: np.ndarray) -> np.ndarray:
        """Marks the records whose pair a START has named."""
        return records["pair"] < len(self.pairs)

    def put(self, tick: Tick) -> None:
        """The latest trade of a pair."""
        number = tick.pair
        pair = self.pairs[number]
        self._price[number] = pair.price = tick.price
        self._ticks[number] = pair.ticks = tick.ticks
        self._ns[number] = tick.ns
        if tick.closed >= 0:
            self._warm[number] = bool(tick.codes & WARM)

    def refresh(self, span: str) -> None:
        """Works out anew what each pair waits for, and which pairs are to be followed closely."""
        blind = span == BLIND
        watch = np.full(len(self.pairs), scan.WATCH_NOTHING if blind else scan.WATCH_ENTRIES, np.uint16)
        self._tracked = {}
        for number, pair in enumerate(self.pairs):
            if pair.order is not None or (pair.flatten and not blind):
                watch[number] = scan.WATCH_ALL
            elif pair.lots and not blind:
                watch[number] = scan.WATCH_EXITS
            if pair.lots or pair.refusal:
                self._tracked[number] = pair
        self._watch = watch
        self._blind = blind

    def interesting(self, columns: scan.Columns, first: int, keep: float, minutes: np.ndarray) -> np.ndarray:
        """Indices, from `first` on, of the records to look at one by one."""
        tracked = [
            scan.Tracked(number, None if self._blind or not pair.lots else pair.highest, pair.closed)
            for number, pair in self._tracked.items()
        ]
        return scan.interesting(columns, first, self._watch, tracked, keep, minutes)

    def wants(self, tick: Tick, keep: float) -> bool:
        """Whether a record is one to look at: `interesting` for a single one."""
        if (tick.codes | scan.LOOK) & int(self._watch[tick.pair]):
            return True
        pair = self._tracked.get(tick.pair)
        if pair is None:
            return False
        if pair.lots and not self._blind and pair.highest is not None and tick.price <= pair.highest * keep:
            return True
        return tick.closed >= 0 and pair.closed >= 0 and tick.closed != pair.closed

    def pass_by(self, tick: Tick) -> None:
        """A record that decides nothing: `skip` for a single one."""
        number = tick.pair
        self._price[number] = tick.price
        self._ticks[number] = tick.ticks
        self._ns[number] = tick.ns
        if tick.closed >= 0:
            self._warm[number] = bool(tick.codes & WARM)
        pair = self._tracked.get(number)
        if pair is None or not pair.lots:
            return
        pair.price, pair.ticks = tick.price, tick.ticks
        if not scan.told_again(tick, pair.opened_ms or 0):
            pair.highest = max(pair.highest or 0.0, tick.price)

    def skip(self, columns: scan.Columns, start: int, stop: int) -> int:
        """A stretch that decides nothing: prices and highest move. Gives its newest exchange time."""
        part = slice(start, stop)
        pair = columns.pair[part]
        self._price[pair] = columns.price[part]  # where a pair comes twice, the last counts
        self._ticks[pair] = columns.ticks[part]
        self._ns[pair] = columns.ns[part]
        if columns.updates:
            self._warm[pair] = (columns.codes[part] & WARM) != 0
        for number, state in self._tracked.items():
            if not state.lots:
                continue
            mine = columns.price[part][pair == number]
            if len(mine):
                state.price = float(mine[-1])
                state.ticks = int(self._ticks[number])
                mine = mine[~columns.before(part, state.opened_ms or 0)[pair == number]]
            if len(mine):
                state.highest = max(state.highest or 0.0, float(mine.max()))
        return int(columns.ns[part].max())


def rescale(pair: PairState, market: MarketTerms) -> None:
    """The venue changed tick or step: the same quantities in the new steps, rounded down."""
    step, tick = market.scale.step, market.scale.tick
    pair.lots = rescaled(pair.lots, pair.step, step)
    pair.dust_lots = rescaled(pair.dust_lots, pair.step, step)
    order = pair.order
    if order is not None:
        order.filled = rescaled(order.filled, pair.step, step)
        order.lots = max(rescaled(order.lots, pair.step, step), order.filled)
        order.ticks = rescaled(order.ticks, pair.tick, tick)
    pair.ticks = rescaled(pair.ticks, pair.tick, tick)
    pair.step, pair.tick = step, tick
