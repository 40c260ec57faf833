"""The events of a run, folded into a Result: what the trader's fold said, as whole numbers again.

Nothing is decided here. Amounts come out of the events' exact texts; a fill whose parts do not add up to what it moved
raises. A ghost is judged where its candle closes, by the entry rule at the closed candle's own values; where the candle
never closes (the records end, a hole) nobody knows.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import numpy as np

from backtest import result
from backtest.result import Array, Held, Result, Span
from bus.messages import (
    EquityEvent,
    FillEvent,
    OrderEvent,
    PositionEvent,
    SignalEvent,
    Start,
    TradeEvent,
    TraderEvent,
)
from bus.records import LATE, UPDATE
from core.errors import BotError
from core.money import UNIT, notional_ceil, notional_floor, parts_ceil, steps_nearest
from indicators import rules
from trader.orders import TERMINAL, OrderState
from trader.state import BUY, State
from trader.terms import MarketTerms, Terms, deciding_settings, market_terms, start_fee

ENDED = {state.value: result.FILLED if state is OrderState.FILLED else result.CANCELLED for state in TERMINAL}
NOTE_BITS = {
    "capped_by_wallet": result.CAPPED_BY_WALLET,
    "entry_timeout": result.ENTRY_TIMEOUT,
    "dust": result.DUST,
    "trailing_stop": result.CANCELLED_BY_STOP,
    "max_drawdown_pct": result.CANCELLED_BY_HALT,
    "max_consecutive_losses": result.CANCELLED_BY_HALT,
    "flatten": result.CANCELLED_BY_OPERATOR,
    "halt": result.CANCELLED_BY_OPERATOR,
}


class Collector:
    """Takes START, events and closed candles in tape order; `result` gives what they come to.

    terms, settings: of the run. bars: whether closed candles are kept for the chart.
    """

    def __init__(self, terms: Terms, settings: Any, *, bars: bool = False) -> None:
        self._terms = terms
        self._settings = settings
        self._markets: dict[str, tuple[int, MarketTerms]] = {}  # by pair: number, rules
        self._fee = 0
        self._decisions: list[list[Any]] = []
        self._orders: list[Any] = []  # np.void, one an order, written in place
        self._fills: list[tuple[int, ...]] = []
        self._equity: list[tuple[int, ...]] = []
        self._bars: list[Array] | None = [] if bars else None
        self._order_of: dict[str, int] = {}  # by client order id
        self._cost: dict[str, int] = {}  # of what a pair holds, by its last PositionEvent
        self._selling: dict[str, int] = {}  # order that sells a pair, while it works
        self._unjudged: dict[int, list[tuple[int, int, int]]] = {}  # by pair: decision, segment, closed candles
        self._refused: dict[str, int] = {}
        self._updates: Array = np.zeros(0, UPDATE)
        self._first: dict[int, tuple[int, float]] = {}

    def start(self, body: Start) -> None:
        """A START is in force from here on."""
        self._markets = {market.pair: (n, market_terms(market)) for n, market in enumerate(body.markets)}
        fee = self._terms.taker_fee
        self._fee = start_fee(body) if fee is None else fee

    # --- events -------------------------------------------------------------------------------------

    def take(self, events: Iterable[TraderEvent], updates: Array) -> None:
        """Events of these UPDATE records, all that the events can be of."""
        self._updates = updates
        for event in events:
            match event:
                case SignalEvent():
                    self._signal(event)
                case OrderEvent():
                    self._order(event)
                case FillEvent():
                    self._fill(event)
                case TradeEvent():
                    self._trade(event)
                case PositionEvent():
                    self._position(event)
                case EquityEvent():
                    self._equity_row(event)

    def _record(self, number: int) -> Any:
        """The record of this number among those at hand."""
        place = int(np.searchsorted(self._updates["number"], number))
        if place == len(self._updates) or self._updates["number"][place] != number:
            raise BotError(f"an event is of record {number}, which is not among those that were folded with it")
        return self._updates[place]

    def _signal(self, event: SignalEvent) -> None:
        if event.outcome != "approved":
            self._refusal(event)
            return
        record = self._record(event.at.record)
        number, _ = self._markets[event.pair]
        index = len(self._decisions)
        nan = float("nan")
        rsi = nan if event.rsi is None else event.rsi
        lower = nan if event.bb_lower is None else event.bb_lower
        action, reason = result.ACTIONS.index(event.action), result.REASONS.index(event.reason)
        self._decisions.append(
            [int(record["exchange_ns"]), event.at.record, event.price, rsi, lower, 0, number, action, reason, 0, 0]
        )
        order = np.zeros(1, result.ORDER)[0]
        order["end_number"], order["ticks"], order["pair"], order["purpose"] = -1, record["ticks"], number, action
        self._orders.append(order)
        self._order_of[event.client_order_id] = index
        if action == result.ENTER:
            self._unjudged.setdefault(number, []).append((index, int(record["segment"]), int(record["closed"])))
        else:
            self._selling[event.pair] = index

    def _refusal(self, event: SignalEvent) -> None:
        """A refusal is counted at its end; those still open at the end of the run are counted in the state."""
        reason = event.outcome.removeprefix("refused:")
        if reason.endswith(" ended"):
            reason = reason.removesuffix(" ended")
            self._refused[reason] = self._refused.get(reason, 0) + event.count

    def _order(self, event: OrderEvent) -> None:
        index = self._order_of[event.client_order_id]
        order = self._orders[index]
        scale = self._markets[event.pair][1].scale
        order["lots"] = self._decisions[index][5] = steps_nearest(event.quantity, scale.step)
        order["filled"] = steps_nearest(event.filled, scale.step)
        for note in event.reason.split(", ")[1:]:
            order["notes"] |= NOTE_BITS[note]
        if event.status in ENDED:
            order["state"] = ENDED[event.status]
            order["end_number"] = event.at.record
            order["end_ns"] = self._record(event.at.record)["exchange_ns"]
            self._selling.pop(event.pair, None)

    def _fill(self, event: FillEvent) -> None:
        index = self._order_of[event.client_order_id]
        market = self._markets[event.pair][1]
        ticks = steps_nearest(event.price, market.scale.tick)
        lots = steps_nearest(event.quantity, market.scale.step)
        buying = event.side == BUY
        notional = (notional_ceil if buying else notional_floor)(ticks, lots, market.num, market.den)
        fee = parts_ceil(notional, self._fee)
        tax = parts_ceil(notional, self._terms.tax_buy if buying else self._terms.tax_sell)
        cash = notional + fee + tax if buying else notional - fee - tax
        gross, paid = Decimal(event.price) * Decimal(event.quantity), Decimal(event.fee)
        moved = (gross + paid if buying else gross - paid) * UNIT
        if moved != cash:
            raise BotError(f"fill {event.id} of {event.pair} moved {moved} units, its parts come to {cash}")
        ns = int(self._record(event.at.record)["exchange_ns"])
        self._fills.append((ns, event.at.record, index, ticks, lots, cash, fee, tax))
        self._orders[index]["cash"] += cash

    def _trade(self, event: TradeEvent) -> None:
        if event.profit is not None:
            order = self._orders[self._order_of[event.client_order_id]]
            order["share"] = order["cash"] - _units(event.profit)

    def _position(self, event: PositionEvent) -> None:
        """While a sale works, the cost of what it has sold so far is what the position's cost has lost."""
        cost = _units(event.cost)
        selling = self._selling.get(event.pair)
        if selling is not None:
            self._orders[selling]["share"] += self._cost.get(event.pair, cost) - cost
        self._cost[event.pair] = cost

    def _equity_row(self, event: EquityEvent) -> None:
        ns = int(self._record(event.at.record)["exchange_ns"])
        amounts = (event.balance, event.position_value, event.unrealized, event.realized)
        self._equity.append((ns, event.at.record, *(_units(amount) for amount in amounts)))

    # --- candles --------------------------------------------------------------------------------------

    def rows(self, closed: list[Array]) -> None:
        """Candles that closed (arrays of ROW), after the events of the records that closed them."""
        if self._bars is not None:
            self._bars += [_bars_of(rows) for rows in closed]
        if not self._unjudged:
            return
        for rows in closed:
            for row in rows[np.isin(rows["pair"], list(self._unjudged))]:
                self._judge(row)

    def _judge(self, row: Any) -> None:
        """Entries decided inside this candle are confirmed by it, or they were ghosts."""
        pair, place = int(row["pair"]), (int(row["segment"]), int(row["closed"]))
        waiting = self._unjudged.get(pair, [])
        rsi, price, lower = float(row["rsi"]), float(row["close"]), float(row["bb_lower"])
        holds = rules.entry_reason(rsi, price, lower, float(self._settings.rsi_buy), float(self._settings.rsi_crash))
        for index, *decided in waiting:
            if tuple(decided) == place:
                self._decisions[index][9] = result.CONFIRMED if holds else result.GHOST
        left = [one for one in waiting if one[1:] > place]
        if left:
            self._unjudged[pair] = left
        else:
            self._unjudged.pop(pair, None)

    def spans(self, trades: Array) -> None:
        """Notes each pair's first trade that counts, out of consecutive TRADE records."""
        if len(self._first) == len(self._markets):
            return
        counts = trades[((trades["flags"] & LATE) == 0) & (trades["pair"] < len(self._markets))]
        pairs, places = np.unique(counts["pair"], return_index=True)
        for pair, place in zip(pairs.tolist(), places.tolist(), strict=True):
            self._first.setdefault(pair, (int(counts["exchange_ns"][place]), float(counts["price"][place])))

    # --- the end ----------------------------------------------------------------------------------------

    def result(self, state: State, *, trades: int, late: int, unknown: int, notes: list[str]) -> Result:
        """All of it; `state` is the fold's, synced, after the last record."""
        if state.start is None:
            raise BotError("nothing was folded: there is no START")
        pairs = [state.pairs[market.pair] for market in state.start.markets]
        refused = dict(self._refused)
        for pair in pairs:
            if pair.refusal:
                refused[pair.refusal] = refused.get(pair.refusal, 0) + pair.refusal_count
        return Result(
            start=state.start,
            settings=deciding_settings(self._settings),
            decisions=np.array([tuple(row) for row in self._decisions], result.DECISION),
            orders=np.array(self._orders, result.ORDER),
            fills=np.array(self._fills, result.FILL),
            equity=np.array(self._equity, result.EQUITY),
            bars=np.concatenate([np.zeros(0, result.BAR), *(self._bars or [])]),
            trades=trades,
            late=late,
            unknown=unknown,
            wallet=state.wallet,
            realized=state.realized,
            fee=self._fee,
            held=[
                Held(n, pair.lots, pair.cost, pair.dust_lots, pair.dust_cost, pair.highest, pair.ticks)
                for n, pair in enumerate(pairs)
            ],
            spans=[
                Span(n, self._first[n][0], pair.ns, self._first[n][1], pair.price)
                for n, pair in enumerate(pairs)
                if n in self._first
            ],
            refusals=dict(sorted(refused.items())),
            trading=state.trading,
            trading_reason=state.trading_reason,
            notes=notes,
        )


def _units(text: str) -> int:
    """Units of the exact text of an amount."""
    return int(Decimal(text) * UNIT)


def _bars_of(rows: Array) -> Array:
    """The chart's part of closed candles."""
    bars = np.zeros(len(rows), result.BAR)
    for name in ("open_ns", "open", "high", "low", "close", "volume", "pair", "trades"):
        bars[name] = rows[name]
    return bars
