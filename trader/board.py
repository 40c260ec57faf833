"""The pairs by their numbers on the tape: state, rules and latest prices in arrays, for whole frames at a time."""

import numpy as np

from bus.messages import Start
from bus.records import WARM
from core.money import steps_down
from trader import base, scan
from trader.broker import Tick
from trader.state import BLIND, PairState, State
from trader.terms import MarketTerms, market_terms, rescaled


class Board:
    """Pair numbers hold from one START to the next; `sync` writes the arrays back into the state."""

    def __init__(self) -> None:
        self.pairs: list[PairState] = []
        self.markets: list[MarketTerms] = []
        self._watch = np.zeros(0, np.uint16)
        self._watch_each: list[int] = []  # the same as plain numbers
        self._tracked: dict[int, PairState] = {}  # followed closely: their stop, their candles
        self._blind = False
        self._price = np.zeros(0, np.float64)
        self._ticks = np.zeros(0, np.int64)
        self._ns = np.zeros(0, np.int64)
        self._warm = np.zeros(0, bool)
        self._fresh: dict[int, tuple[float, int, int, int]] = {}  # price, ticks, ns, codes not yet in the arrays

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
        self._settle()
        columns = (self._price.tolist(), self._ticks.tolist(), self._ns.tolist(), self._warm.tolist())
        for pair, price, ticks, ns, warm in zip(self.pairs, *columns, strict=True):
            pair.price, pair.ticks, pair.ns, pair.warm = price, ticks, ns, warm

    def known(self, records: np.ndarray) -> np.ndarray:
        """Marks the records whose pair a START has named."""
        return records["pair"] < len(self.pairs)

    def put(self, tick: Tick) -> None:
        """The latest trade of a pair."""
        pair = self.pairs[tick.pair]
        pair.price, pair.ticks = tick.price, tick.ticks
        self._note(tick.pair, tick.price, tick.ticks, tick.ns, tick.closed, tick.codes)

    def _note(self, number: int, price: float, ticks: int, ns: int, closed: int, codes: int) -> None:
        if closed < 0:  # a raw record: it says nothing of warm
            self._settle()
            codes = WARM if self._warm[number] else 0
        self._fresh[number] = price, ticks, ns, codes

    def _settle(self) -> None:
        for number, (price, ticks, ns, codes) in self._fresh.items():
            self._price[number], self._ticks[number], self._ns[number] = price, ticks, ns
            self._warm[number] = bool(codes & WARM)
        self._fresh.clear()

    def refresh(self, span: str) -> None:
        """Works out anew what each pair waits for, and which pairs are to be followed closely."""
        blind = span == BLIND
        watch = np.full(len(self.pairs), scan.WATCH_NOTHING if blind else scan.WATCH_ENTRIES, np.uint16)
        self._tracked = {}
        for number, pair in enumerate(self.pairs):
            working = pair.order is not None and not pair.order.resting
            if working or (pair.flatten and not blind):
                watch[number] = scan.WATCH_ALL
            elif pair.lots and not blind:
                watch[number] = scan.WATCH_EXITS
            if pair.lots or pair.refusal:
                self._tracked[number] = pair
        self._watch = watch
        self._watch_each = watch.tolist()
        self._blind = blind

    def interesting(self, columns: scan.Columns, first: int, keep: float, minutes: np.ndarray) -> np.ndarray:
        """Indices, from `first` on, of the records to look at one by one."""
        tracked = [
            scan.Tracked(number, None if self._blind or not pair.lots else pair.highest, pair.closed)
            for number, pair in self._tracked.items()
        ]
        return scan.interesting(columns, first, self._watch, tracked, keep, minutes)

    def passes(self, fields: scan.Fields, keep: float) -> bool:
        """`interesting` and `skip` for a single record: False where it is one to look at, else it is done with."""
        flags, number, ns, price, ticks, _, _, _, _, closed, codes, _ = fields
        if (codes | scan.LOOK) & self._watch_each[number]:
            return False
        pair = self._tracked.get(number)
        if pair is not None:
            if closed >= 0 and pair.closed >= 0 and closed != pair.closed:
                return False
            if pair.lots:
                highest = pair.highest
                if highest is not None and price <= highest * keep and not self._blind:
                    return False
                pair.price, pair.ticks = price, ticks
                if not scan.told_again(flags, ns, pair.opened_ms or 0) and (highest is None or price > highest):
                    pair.highest = price
        if closed >= 0:
            self._fresh[number] = price, ticks, ns, codes
        else:
            self._note(number, price, ticks, ns, closed, codes)
        return True

    def skip(self, columns: scan.Columns, start: int, stop: int) -> int:
        """A stretch that decides nothing: prices and highest move. Gives its newest exchange time."""
        self._settle()
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
    live = pair.live
    if live is None:
        pair.lots = rescaled(pair.lots, pair.step, step)
        pair.dust_lots = rescaled(pair.dust_lots, pair.step, step)
    else:
        held, dust = base.held(pair), base.dust(pair)
        pair.lots, pair.dust_lots = steps_down(held, step), steps_down(dust, step)
        live.spare, live.dust_spare = held - pair.lots * step, dust - pair.dust_lots * step
    order = pair.order
    if order is not None:
        order.filled = rescaled(order.filled, pair.step, step)
        order.lots = max(rescaled(order.lots, pair.step, step), order.filled)
        order.ticks = rescaled(order.ticks, pair.tick, tick)
        order.stop_ticks = rescaled(order.stop_ticks, pair.tick, tick)
    pair.ticks = rescaled(pair.ticks, pair.tick, tick)
    pair.step, pair.tick = step, tick
