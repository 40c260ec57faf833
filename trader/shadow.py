"""The shadow: beside real orders the paper broker trades the same orders, and what comes out is compared. Pure.

* each real order that is sent is submitted on paper too, at the same record, with the same lots; real decisions lead,
  paper takes none
* paper fills by `trader.fills` on the trades after that record; where the real order is cancelled, paper cancels
* a leg is over when both orders are; an order of the pair that follows ends what still works on paper
* the difference is the real average price against the paper one, in basis points of it, above 0 where we did worse
* the profit on paper is that of the really sold quantity, bought and sold at the paper prices, fees and taxes included
* a stop that rests at the venue is sent on paper at the first trade at or below its price, whoever lives then; what
  the venue's sold is compared with that; one that is over without a fill leaves nothing
* where one of the two did not fill there is no difference, and the leg is recorded all the same
* limit: the latest 20 differences together, those not yet made counted as none, at SHADOW_LIMIT_BPS on average halt
  trading by a command; an operator's resume begins the count anew
* the state is part of the fold's state: a restart goes on with open legs and with the count
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from statistics import median

import numpy as np

from bus.messages import At, FillEvent, OrderEvent, ShadowEvent, StateEvent, TradeEvent, TraderEvent
from bus.records import LATE, TRADE, UPDATE
from core.money import MAX_UNITS, PARTS, UNIT, mul_div_ceil, mul_div_floor, plain, steps_nearest, units_text
from trader import inputs, risk
from trader.broker import Tick
from trader.engine import Engine
from trader.orders import TERMINAL, OrderState, advance
from trader.paper import PaperBroker
from trader.state import BUY, ENTRY, EXIT, HALTED, STOP, Leg, Order, ShadowState
from trader.terms import NS_PER_MS, MarketTerms, Terms

WINDOW = 20  # trades that the limit looks at
DIVERGES = "shadow_diverges"
_PRICE_DIGITS = Decimal("1e-12")  # of an average price
_HUNDREDTH = Decimal("0.01")
SUBMITTING = OrderState.SUBMITTING


class Shadow:
    """Beside a fold over real orders: `handle` gets each of its inputs with what the fold said to it, in order.

    terms: the paper broker's. The state is `engine.state.shadow`, made where there is none.
    """

    def __init__(self, engine: Engine, terms: Terms) -> None:
        self._engine = engine
        self._terms = terms
        if engine.state.shadow is None:
            engine.state.shadow = ShadowState()
        self._state = engine.state.shadow
        self._broker = PaperBroker(terms)
        self._broker.restore([leg.paper for leg in self._open() if leg.stop is None])
        self._out: list[TraderEvent] = []

    def handle(self, item: inputs.Input, events: Sequence[TraderEvent]) -> tuple[list[TraderEvent], list[inputs.Input]]:
        """Events to journal after the fold's own, and inputs to give the fold next."""
        sent = {event.pair for event in events if isinstance(event, OrderEvent) and event.status == SUBMITTING}
        ticks = self._ticks(item, sent | {leg.paper.pair for leg in self._open()})
        tick = next(ticks, None)
        for event in events:
            while tick is not None and tick.number <= event.at.record:
                self._match(tick)
                tick = next(ticks, None)
            self._event(item, event)
        while tick is not None:
            self._match(tick)
            tick = next(ticks, None)
        out, self._out = self._out, []
        looked = out or isinstance(item, inputs.Began)
        return out, self._halt() if looked and self.diverges() else []

    def diverges(self) -> bool:
        """Whether the latest trades were worse than on paper by the limit."""
        limit = self._terms.shadow_limit
        return limit > 0 and sum(self._state.recent) >= limit * WINDOW

    def _halt(self) -> list[inputs.Input]:
        """The same divergence, found again after a crash, is the same command: it is carried out once."""
        if self._engine.state.trading == HALTED:
            return []
        return [inputs.Command("halt", f"{DIVERGES}-{self._state.trades}", DIVERGES)]

    # --- the real side ----------------------------------------------------------------------------------

    def _event(self, item: inputs.Input, event: TraderEvent) -> None:
        if isinstance(event, StateEvent):
            if event.command == "resume":
                self._state.recent = []
            return
        if not isinstance(event, OrderEvent | FillEvent | TradeEvent):
            return
        if isinstance(event, OrderEvent) and event.status == SUBMITTING:
            if event.type == STOP:
                self._arm(event)
            else:
                self._send(item, event)
            return
        leg = self._leg(event.pair, event.client_order_id)
        if leg is None:
            return
        stop = leg is self._state.stops.get(event.pair)
        match event:
            case FillEvent():
                leg.live_quantity += Decimal(event.quantity)
                leg.live_gross += Decimal(event.quantity) * Decimal(event.price)
            case TradeEvent():  # comes once what an order filled is booked
                if event.profit is not None:
                    leg.live_profit = (leg.live_profit or Decimal(0)) + Decimal(event.profit)
                leg.live_over = True
            case OrderEvent(status=OrderState.CANCELLING):
                if not stop:  # one that is hit at last before its cancel is there has sold
                    self._end(leg)
            case OrderEvent():
                leg.live_over = leg.live_over or (event.status in TERMINAL and event.filled == "0")
                if stop and leg.live_over and not leg.live_quantity:
                    self._end(leg)
                    del self._state.stops[event.pair]
                    return
        self._finish(leg, event.at)

    def _open(self) -> list[Leg]:
        """Legs whose paper order is not over."""
        legs = [*self._state.legs.values(), *self._state.stops.values()]
        return [leg for leg in legs if not _over(leg)]

    def _leg(self, pair: str, order_id: str) -> Leg | None:
        legs = (self._state.legs.get(pair), self._state.stops.get(pair))
        return next((leg for leg in legs if leg is not None and leg.paper.id == order_id), None)

    def _end(self, leg: Leg) -> None:
        """Nothing more is filled on paper."""
        self._broker.cancel(leg.paper.id)
        self._take(leg)
        if leg.stop is not None:
            leg.stop, leg.paper.state = None, OrderState.CANCELLED

    def _end_of_pair(self, pair: str, at: At) -> None:
        """An order of the pair follows: what still works on paper has ended."""
        for before in (self._state.legs.get(pair), self._state.stops.get(pair)):
            if before is not None:
                self._end(before)
                before.live_over = True
                self._finish(before, at)

    def _arm(self, event: OrderEvent) -> None:
        """A stop that rests at the venue: on paper it waits until a trade hits it."""
        market, before = self._engine.market(event.pair), self._state.stops.get(event.pair)
        if before is not None:
            self._end(before)
            before.live_over = True
            self._finish(before, event.at)
        if market is None or event.price is None:
            return
        order = self._order(event, market.scale.step)
        leg = Leg(order, market.scale.step, event.at.epoch, event.at.record, stop=Decimal(event.price))
        self._state.stops[event.pair] = leg

    def _send(self, item: inputs.Input, event: OrderEvent) -> None:
        """The same order on paper."""
        market = self._engine.market(event.pair)
        self._end_of_pair(event.pair, event.at)
        if market is None:
            return
        step = market.scale.step
        leg = self._state.legs[event.pair] = Leg(self._order(event, step), step, event.at.epoch, event.at.record)
        self._submit(leg, self._deciding(item, event), market)

    def _order(self, event: OrderEvent, step: Decimal) -> Order:
        return Order(
            id=event.client_order_id,
            pair=event.pair,
            purpose=ENTRY if event.side == BUY else EXIT,
            reason=event.reason,
            lots=steps_nearest(event.quantity, step),
            ticks=0,
            decided_ns=0,
            created_ms=0,
            updated_ms=0,
            state=OrderState.SUBMITTING,
        )

    def _submit(self, leg: Leg, tick: Tick, market: MarketTerms) -> None:
        """On paper, decided at a trade."""
        order = leg.paper
        order.ticks, order.decided_ns, order.created_ms, order.updated_ms = tick.ticks, tick.ns, tick.ms, tick.ms
        approved = risk.judge(order, order.lots, "")
        if isinstance(approved, risk.Approved):
            self._broker.submit(approved, tick, market, self._engine.ledger.fee)
        self._take(leg)

    def _deciding(self, item: inputs.Input, event: OrderEvent) -> Tick:
        """The trade that the order was decided at; for one that a result of the venue led to, the latest trade."""
        for tick in self._ticks(item, {event.pair}):
            if tick.number == event.at.record:
                return tick
        self._engine.sync()
        pair = self._engine.state.pairs[event.pair]
        nan = float("nan")
        ns = event.created * NS_PER_MS
        return Tick(0, -1, ns, pair.price, pair.ticks, 0, event.at.record, nan, nan, -1, 0, 0)

    # --- the paper side ---------------------------------------------------------------------------------

    def _ticks(self, item: inputs.Input, pairs: set[str]) -> Iterator[Tick]:
        """The trades of some pairs in an input."""
        start = self._engine.state.start
        if not pairs or start is None or not isinstance(item, inputs.Updates | inputs.Raws):
            return
        wanted = [number for number, market in enumerate(start.markets) if market.pair in pairs]
        if isinstance(item, inputs.Updates):
            records = np.frombuffer(item.records, UPDATE)
            numbers = records["number"].astype(np.int64)
        else:
            records = item.records
            numbers = np.arange(item.first, item.first + len(records), dtype=np.int64)
        mine = (records["kind"] == TRADE) & np.isin(records["pair"], wanted) & ((records["flags"] & LATE) == 0)
        nan = float("nan")
        columns = (records[mine][name].tolist() for name in ("flags", "pair", "exchange_ns", "price", "ticks", "lots"))
        for flags, pair, ns, price, steps, lots, number in zip(*columns, numbers[mine].tolist(), strict=True):
            yield Tick(flags, pair, ns, price, steps, lots, number, nan, nan, -1, 0, 0)

    def _match(self, tick: Tick) -> None:
        engine = self._engine
        assert engine.state.start is not None
        market = engine.market(engine.state.start.markets[tick.pair].pair)
        if market is None:
            return
        for leg in (self._state.legs.get(market.pair), self._state.stops.get(market.pair)):
            if leg is not None and not _over(leg):
                self._match_leg(leg, tick, market)

    def _match_leg(self, leg: Leg, tick: Tick, market: MarketTerms) -> None:
        epoch = self._engine.state.epoch
        if leg.epoch == epoch and tick.number <= leg.seen:
            return
        leg.epoch, leg.seen = epoch, tick.number
        if leg.step != market.scale.step:  # the venue counts anew: what filled so far stands
            self._end(leg)
        elif leg.stop is None:
            self._broker.match(tick, market, self._engine.ledger.fee, MAX_UNITS)
            self._take(leg)
        elif tick.ticks * market.scale.tick <= leg.stop:
            before = self._state.legs.get(market.pair)
            if before is not None and not _over(before):  # one order of a pair works on paper
                self._end(before)
                self._finish(before, At(epoch, tick.number, tick.ms))
            leg.stop = None
            self._submit(leg, tick, market)
        self._finish(leg, At(epoch, tick.number, tick.ms))

    def _take(self, leg: Leg) -> None:
        """What the paper broker says."""
        order = leg.paper
        for event in self._broker.take():
            order.state = advance(order.state, event.news)
            order.filled += event.lots
            order.cash += event.cash
            order.gross += event.price * (event.lots * leg.step)

    # --- the comparison ---------------------------------------------------------------------------------

    def _finish(self, leg: Leg, at: At) -> None:
        """Compares the two where both are over."""
        if not (leg.live_over and _over(leg)):
            return
        state, order = self._state, leg.paper
        del (state.stops if leg is state.stops.get(order.pair) else state.legs)[order.pair]
        quantity = order.filled * leg.step
        live = leg.live_gross / leg.live_quantity if leg.live_quantity else None
        paper = order.gross / quantity if order.filled else None
        if order.purpose == ENTRY:
            state.bought.pop(order.pair, None)
            if order.filled:
                state.bought[order.pair] = order.cash, order.filled
        parts = lost = None
        if live is not None and paper is not None:
            worse = live - paper if order.purpose == ENTRY else paper - live
            parts = steps_nearest(worse / paper * PARTS, Decimal(1))
            lost = steps_nearest(worse * leg.live_quantity, Decimal(1) / UNIT)
            state.recent = [*state.recent, parts][-WINDOW:]
            state.trades += 1
            state.lost += lost
        profit = self._paper_profit(leg)
        self._out.append(
            ShadowEvent(
                at=at,
                client_order_id=order.id,
                pair=order.pair,
                action=order.side,
                live_price=_price_text(live),
                paper_price=_price_text(paper),
                live_quantity=plain(leg.live_quantity),
                paper_quantity=plain(quantity),
                difference_bps=None if parts is None else plain(parts * _HUNDREDTH),
                lost=None if lost is None else units_text(lost),
                live_profit=None if leg.live_profit is None else plain(leg.live_profit),
                paper_profit=None if profit is None else units_text(profit),
                time=at.time_ms,
            )
        )

    def _paper_profit(self, leg: Leg) -> int | None:
        """Units that the really sold quantity would have won on paper; None where a side of it did not fill there."""
        order, bought = leg.paper, self._state.bought.get(leg.paper.pair)
        if order.purpose == ENTRY or not order.filled or bought is None or not leg.live_quantity:
            return None
        lots = steps_nearest(leg.live_quantity, leg.step)
        cost, got = bought
        return mul_div_floor(order.cash, lots, order.filled) - mul_div_ceil(cost, lots, got)


def median_bps(state: ShadowState) -> float | None:
    """The median of the latest differences, in basis points."""
    return median(state.recent) / 100 if state.recent else None


def _over(leg: Leg) -> bool:
    return leg.paper.state in TERMINAL


def _price_text(price: Decimal | None) -> str | None:
    return None if price is None else plain(price.quantize(_PRICE_DIGITS))
