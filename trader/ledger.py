"""The books of the fold: what fills do to orders, positions, wallet and limits, and the events that say so."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
from msgspec import structs

from bus.messages import (
    At,
    CostsEvent,
    DayCostsEvent,
    EquityEvent,
    ExternalEvent,
    FillEvent,
    OrderEvent,
    PositionEvent,
    SignalEvent,
    StateEvent,
    TradeEvent,
    TraderEvent,
)
from core.errors import BotError
from core.money import (
    MAX_UNITS,
    UNIT,
    notional_floor,
    plain,
    scale_of,
    share_ceil,
    steps_down,
    steps_nearest,
    steps_text,
    units_text,
)
from trader import costs, ladder, risk
from trader.base import add_base, dust_text, held_text, lose_base
from trader.broker import BrokerEvent, Tick
from trader.fills import below_minimum, sell_proceeds
from trader.orders import TERMINAL, OrderState, advance
from trader.state import BUY, ENTRY, EXIT, SELL, STOP, LivePair, LiveState, Order, PairState, State
from trader.terms import MarketTerms, Terms

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COSTLY = f"refused:{costs.COSTS_EXCEED_STOP}"
_AVERAGE_DIGITS = 12  # decimals of an average price
EXTERNAL = "external"  # reason of a trade that was not ours
MAX_ENDED = 64  # orders that are over and may still get a fill, where orders are real


def iso_ms(ms: int) -> str:
    """ISO-8601 UTC text of a market time in ms."""
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def optional(value: float) -> float | None:
    """A float that may be unknown: nan becomes None."""
    return None if np.isnan(value) else value


def keep_ended(live: LiveState, order: Order) -> None:
    """Keeps an order that is over; the oldest is let go."""
    live.ended.append(order)
    for old in live.ended[:-MAX_ENDED]:
        live.known_from_ms = max(live.known_from_ms, old.created_ms + 1)
    del live.ended[:-MAX_ENDED]


def open_at(live: LivePair, epoch: int, record: int) -> None:
    """A position begins; one after another at the same record goes on counting exits: their ids are of the place."""
    if (live.opened_epoch, live.opened_record) != (epoch, record):
        live.opened_epoch, live.opened_record, live.exits = epoch, record, 0
    live.exiting = ""


def _lots_of(event: BrokerEvent, step: Decimal) -> int:
    """A fill's lots: whole ones of the step of now, though the broker may still count in the one that it sent by."""
    if event.quantity is None or event.quantity % step:
        return event.lots
    return steps_down(event.quantity, step)


class Ledger:
    """Applies broker events to the state and collects the events to journal in `out`."""

    def __init__(self, terms: Terms, state: State) -> None:
        self.terms = terms
        self.state = state
        self.out: list[TraderEvent] = []
        self.markets: dict[str, MarketTerms] = {}
        self.fee = 0  # taker fee in force, in parts
        self.equity_record = -1  # record of the latest equity row
        self.position_record = -1

    # --- where we are ---------------------------------------------------------------------------

    def at(self, ms: int | None = None) -> At:
        """The current place; market time of the record, or the newest known."""
        state = self.state
        return At(state.epoch, state.record, state.market_ns // 1_000_000 if ms is None else ms)

    def free(self) -> int:
        """Units of the wallet that no working entry has reserved."""
        reserved = sum(pair.order.reserve for pair in self.state.pairs.values() if pair.order is not None)
        return max(0, self.state.wallet - reserved)

    def stake(self) -> int:
        """Units that one entry may cost: TRADE_CAPITAL, or where orders are real what the ladder allows of it."""
        live, rungs = self.state.live, self.terms.rungs
        return self.terms.trade_capital if live is None or rungs is None else ladder.stake(live.ladder, rungs)

    def open_positions(self) -> int:
        """Pairs with a position or a working entry."""
        return sum(1 for p in self.state.pairs.values() if p.lots or (p.order is not None and p.order.purpose == ENTRY))

    def worth(self) -> tuple[int, int]:
        """Units: market value of all positions, and unrealized result net of the exit fee."""
        value = 0
        unrealized = 0
        for pair in self.state.pairs.values():
            market = self.markets.get(pair.pair)
            if pair.order is not None and pair.order.purpose != ENTRY:
                unrealized += pair.order.cash - pair.order.share
            if not pair.lots or market is None:
                continue
            value += notional_floor(pair.ticks, pair.lots, market.num, market.den)
            unrealized += self.proceeds(pair, market) - pair.cost
        return value, unrealized

    def proceeds(self, pair: PairState, market: MarketTerms) -> int:
        """Units that selling the position at the last price would bring."""
        return sell_proceeds(pair.ticks, pair.lots, market.num, market.den, self.fee, self.terms.tax_sell)

    def equity(self) -> int:
        """Units: wallet and positions at the last prices."""
        return self.state.wallet + self.worth()[0]

    # --- results of the broker ------------------------------------------------------------------

    def apply(self, event: BrokerEvent, pair: PairState, tick: Tick) -> bool:
        """Applies one result; True where it was a fill. Raises BotError for an order we do not have."""
        order = pair.order
        if order is None or order.id != event.order_id:
            return self._apply_late(event, pair, tick)
        self._moves(order, event, pair, tick)
        filled = bool(event.lots or event.quantity)
        ended = order.state in TERMINAL
        self.order_event(order)
        if ended:
            self._end(order, pair, tick)
        if filled or (ended and order.filled):
            self.position_event(pair)
        if filled:
            self.equity_event(tick.ms)
        return filled

    def _apply_late(self, event: BrokerEvent, pair: PairState, tick: Tick) -> bool:
        """A result for an order that is over: a fill that comes now is booked as a completed trade of its own."""
        order = self.ended_order(event.order_id)
        if order is None:
            raise BotError(f"{pair.pair}: {event.news} for order {event.order_id}, which is not working here")
        filled, cash, gross, fee, share = order.filled, order.cash, order.gross, order.fee, order.share
        self._moves(order, event, pair, tick)
        self.order_event(order)
        if not (event.lots or event.quantity):
            return False
        late = structs.replace(
            order,
            filled=order.filled - filled,
            cash=order.cash - cash,
            gross=order.gross - gross,
            fee=order.fee - fee,
            share=order.share - share,
        )
        self._complete(late, pair, tick)
        self.position_event(pair)
        self.equity_event(tick.ms)
        return True

    def ended_order(self, order_id: str) -> Order | None:
        """One of the latest orders that are over, where orders are real."""
        live = self.state.live
        return None if live is None else next((order for order in live.ended if order.id == order_id), None)

    def _moves(self, order: Order, event: BrokerEvent, pair: PairState, tick: Tick) -> None:
        """What a result changes in the order itself, and its fill in position and wallet."""
        order.state = advance(order.state, event.news)
        order.updated_ms = tick.ms
        order.venue_order_id = event.venue_order_id or order.venue_order_id
        if event.note:
            order.note = f"{order.note}, {event.note}" if order.note else event.note
        if (event.lots or event.quantity) and not self._booked(event, order):
            self._fill(event, order, pair, tick)

    def _booked(self, event: BrokerEvent, order: Order) -> bool:
        """Whether the venue's fill is in the books: what is told twice is booked once."""
        return bool(event.venue_fill_id) and event.venue_fill_id in order.fill_ids

    def _fill(self, event: BrokerEvent, order: Order, pair: PairState, tick: Tick) -> None:
        state = self.state
        quantity = event.lots * pair.step if event.quantity is None else event.quantity
        moved = event.lots * pair.step if event.base is None else event.base
        lots = _lots_of(event, pair.step)
        if order.purpose == ENTRY:
            if pair.lots == 0:
                pair.entry_gross = pair.entry_quantity = Decimal(0)
                pair.highest = tick.price
                pair.opened_ms = tick.ms
                if pair.live is not None:
                    open_at(pair.live, state.epoch, state.record)
            add_base(pair, lots, moved)
            pair.cost += event.cash
            pair.entry_gross += event.price * quantity
            pair.entry_quantity += quantity
            state.wallet -= event.cash
            order.reserve = max(0, order.reserve - event.cash)
        else:
            before, dust = pair.lots, pair.dust_lots
            lacking = add_base(pair, -lots, -moved)
            if lacking:
                self.external_event(pair.pair, lacking, 0, f"order {order.id} gave more than the journal holds")
            if order.kind == STOP and pair.live is not None:
                pair.live.exiting = pair.live.exiting or order.reason  # what it leaves is sold too
            share = share_ceil(pair.cost, before - pair.lots, before) if before else 0
            pair.cost -= share
            state.wallet += event.cash
            order.share += share + self._share_of_dust(pair, dust)
        if pair.live is not None:
            order.fill_ids.append(event.venue_fill_id)
        order.filled += lots
        order.cash += event.cash
        order.gross += event.price * quantity
        order.fee += self._fee_in_quote(event, pair)
        self.out.append(
            FillEvent(
                at=self.at(tick.ms),
                id=state.next_fill,
                client_order_id=order.id,
                venue_fill_id=event.venue_fill_id,
                pair=pair.pair,
                side=order.side,
                price=plain(event.price),
                quantity=plain(quantity),
                fee=plain(event.fee),
                fee_currency=event.fee_currency,
                time=event.time_ns // 1_000_000,
            )
        )
        state.next_fill += 1

    def _share_of_dust(self, pair: PairState, before: int) -> int:
        """The cost of what a sell took of the `before` lots of dust."""
        taken = before - pair.dust_lots
        share = share_ceil(pair.dust_cost, taken, before) if taken > 0 else 0
        pair.dust_cost -= share
        return share

    def _fee_in_quote(self, event: BrokerEvent, pair: PairState) -> Decimal:
        """A fill's fee as a row of `trades` counts it: one in the base coin at the fill's price, to the unit.

        One in a third currency has no price here: it counts nothing, and stands in its row of `fills`.
        """
        market = self._market(pair)
        if event.fee_currency == (market.base or event.fee_currency) != market.quote:
            return Decimal(steps_nearest(event.fee * event.price, Decimal(1) / UNIT)) / UNIT
        return event.fee if event.fee_currency in ("", market.quote) else Decimal(0)

    def _end(self, order: Order, pair: PairState, tick: Tick) -> None:
        """An order is over: the row of `trades`, what is left of the position, the limits."""
        state = self.state
        pair.order = None
        order.reserve = 0
        if state.live is not None:
            keep_ended(state.live, order)
        self._complete(order, pair, tick)

    def _complete(self, order: Order, pair: PairState, tick: Tick) -> None:
        """The row of `trades` for what an order filled, the limits, and what is too little to be sold."""
        state = self.state
        if order.purpose == ENTRY:
            if order.filled:
                self._trade(order, pair, None, tick)
            if pair.lots:
                self._close_dust(pair, tick)
            return
        if order.filled:
            profit = order.cash - order.share
            state.realized += profit
            self._count_costs(order, pair, profit)
            risk.exit_done(state.risk, profit, state.market_ns, self.terms)
            self._trade(order, pair, profit, tick)
        self._close_dust(pair, tick)
        live = self.state.live
        if live is not None and not pair.lots:
            live.ladder = ladder.closed(live.ladder)

    def _count_costs(self, order: Order, pair: PairState, profit: int) -> None:
        """What the exit made before fees and taxes, beside what it is booked with, to the day's sums."""
        if pair.entry_quantity:
            bought = pair.entry_gross * (order.filled * pair.step) / pair.entry_quantity
        else:  # sold after the position was closed: its entry price is not known any more, only what it cost
            bought = Decimal(order.share) / UNIT
        gross = steps_nearest(order.gross - bought, Decimal(1) / UNIT)
        self._end_day()
        costs.trip_done(self.state.day_costs, self._today(), gross, profit)

    def _today(self) -> int:
        return risk.day_of(self.state.market_ns, self.terms.day_offset_ns)

    def _end_day(self) -> None:
        """Tells what a day's round trips came to, once the next one has begun."""
        day = self.state.day_costs
        if day.trips and day.day != self._today():
            quote = next((market.quote for market in self.markets.values()), "")
            told = costs.day_level(day, self.terms), costs.day_text(day, quote)
            gross, paid = units_text(day.gross), units_text(day.costs)
            self.out.append(DayCostsEvent(self.at(), day.trips, gross, paid, *told))
            day.trips = day.gross = day.costs = 0

    def is_dust(self, pair: PairState, tick: Tick) -> bool:
        """Whether the market would refuse to buy the position off us; nothing at all counts as dust too."""
        market = self._market(pair)
        return below_minimum(tick.ticks, pair.lots, market.num, market.den, market.min_lots, market.min_notional)

    def _market(self, pair: PairState) -> MarketTerms:
        """Its rules; of a pair that no START names any more what the position itself tells."""
        known = self.markets.get(pair.pair)
        if known is not None:
            return known
        quote = next((market.quote for market in self.markets.values()), "")
        scale = scale_of(pair.tick, pair.step, pair.pair)
        return MarketTerms(pair.pair, "", quote, scale, 1, 0, MAX_UNITS, active=False)

    def _close_dust(self, pair: PairState, tick: Tick) -> None:
        """Closes a position that is too little to be sold; of one that a sell still works for, its end does that."""
        selling = pair.order is not None and pair.order.purpose == EXIT
        if self.is_dust(pair, tick) and not (selling and pair.lots):
            self.to_dust(pair)

    def to_dust(self, pair: PairState) -> None:
        """Closes the position; what is left of it is kept apart with its share of the cost, and not sold."""
        pair.dust_lots += pair.lots
        pair.dust_cost += pair.cost
        pair.lots = pair.cost = 0
        pair.entry_gross = pair.entry_quantity = Decimal(0)
        pair.highest = None
        pair.opened_ms = None
        pair.flatten = ""
        live = pair.live
        if live is not None:
            live.dust_spare += live.spare
            live.spare = Decimal(0)
            live.exiting = ""

    # --- what no order of ours explains ------------------------------------------------------------

    def lose(self, pair: PairState, gone: Decimal, tick: Tick) -> None:
        """Base coin left the account without an order of ours: the position follows, valued at the last price."""
        live = pair.live
        if live is None:
            raise BotError(f"{pair.pair}: a simulated position cannot be sold elsewhere")
        before, cost = pair.lots, pair.cost
        lost = lose_base(pair, live, gone)
        self.external_event(pair.pair, gone, 0, "sold or moved outside the bot")
        if lost:
            market = self._market(pair)
            pair.cost -= share_ceil(cost, lost, before)
            worth = notional_floor(tick.ticks, lost, market.num, market.den)
            profit = worth - (cost - pair.cost)
            self.state.realized += profit
            self.state.risk.peak -= worth  # what it was sold for comes back with `wallet_is`
            order = Order(
                id="",
                pair=pair.pair,
                purpose=EXIT,
                reason=EXTERNAL,
                lots=lost,
                ticks=tick.ticks,
                decided_ns=tick.ns,
                created_ms=tick.ms,
                updated_ms=tick.ms,
                state=OrderState.FILLED,
                filled=lost,
                gross=(tick.ticks * pair.tick) * (lost * pair.step),
            )
            self._trade(order, pair, profit, tick)
        self._close_dust(pair, tick)
        self.position_event(pair)

    def wallet_is(self, units: int, *, born: bool = False) -> None:
        """The venue's quote balance, at a moment when nothing of ours works: the wallet follows.

        What was put in or taken out is no profit and no loss: the peak of the drawdown limit moves with it. `born`: the
        book begins with it.
        """
        state = self.state
        difference = units - state.wallet
        if difference:
            state.wallet = units
            state.risk.peak += difference
            unexplained = "the venue's balance, which no order of ours explains"
            why = "a new book begins with what the account holds" if born else unexplained
            self.external_event("", Decimal(0), difference, why)
            self.equity_event(self.at().time_ms)

    # --- events -----------------------------------------------------------------------------------

    def external_event(self, pair: str, base: Decimal, units: int, why: str) -> None:
        """The account holds other than the journal says."""
        self.out.append(ExternalEvent(self.at(), pair, plain(base), units_text(units), why))

    def order_event(self, order: Order) -> None:
        """The order as it is now."""
        step = self.state.pairs[order.pair].step
        price_ticks = order.limit_ticks or order.stop_ticks
        self.out.append(
            OrderEvent(
                at=self.at(order.updated_ms),
                client_order_id=order.id,
                venue_order_id=order.venue_order_id,
                pair=order.pair,
                side=order.side,
                type=order.kind,
                price=None if not price_ticks else plain(price_ticks * self.state.pairs[order.pair].tick),
                quantity=steps_text(order.lots, step),
                filled=steps_text(order.filled, step),
                status=OrderState(order.state).value,
                reason=f"{order.reason}, {order.note}" if order.note else order.reason,
                created=order.created_ms,
                updated=order.updated_ms,
            )
        )

    def _trade(self, order: Order, pair: PairState, profit: int | None, tick: Tick) -> None:
        quantity = order.filled * pair.step
        average = (order.gross / quantity).quantize(Decimal(1).scaleb(-_AVERAGE_DIGITS))
        self.out.append(
            TradeEvent(
                at=self.at(tick.ms),
                id=self.state.next_trade,
                pair=pair.pair,
                action=BUY if order.purpose == ENTRY else SELL,
                price=plain(average),
                quantity=plain(quantity),
                fee=plain(order.fee),
                profit=None if profit is None else units_text(profit),
                reason=order.reason,
                timestamp=iso_ms(tick.ms),
                client_order_id=order.id,
            )
        )
        self.state.next_trade += 1

    def position_event(self, pair: PairState, ms: int | None = None) -> None:
        """The position as it is now."""
        self.position_record = self.state.record
        highest = pair.highest
        self.out.append(
            PositionEvent(
                at=self.at(ms),
                pair=pair.pair,
                quantity=held_text(pair),
                cost=units_text(pair.cost),
                entry_price=pair.entry_price,
                highest=highest,
                stop_price=None if highest is None else highest * self.terms.keep,
                opened_ms=pair.opened_ms,
                dust=dust_text(pair),
            )
        )

    def equity_event(self, ms: int) -> None:
        """One row of equity; with the first of a day, what the day before it came to."""
        self._end_day()
        self.equity_record = self.state.record
        value, unrealized = self.worth()
        self.out.append(
            EquityEvent(
                at=self.at(ms),
                time=ms,
                balance=units_text(self.state.wallet),
                position_value=units_text(value),
                unrealized=units_text(unrealized),
                realized=units_text(self.state.realized),
            )
        )

    def signal_event(
        self, tick: Tick, pair: str, action: str, reason: str, outcome: str, order_id: str, count: int
    ) -> None:
        """A decision, or the begin or end of a refusal."""
        self.out.append(
            SignalEvent(
                at=self.at(tick.ms),
                pair=pair,
                action=action,
                reason=reason,
                price=tick.price,
                rsi=optional(tick.rsi),
                bb_lower=optional(tick.bb_lower),
                outcome=outcome,
                client_order_id=order_id,
                count=count,
                note=costs.sentence(self.fee, self.terms) if outcome == _COSTLY else "",
            )
        )

    def costs_event(self) -> None:
        """What a round trip costs at the fee in force."""
        move = costs.break_even_move(costs.round_of(self.fee, self.terms))
        self.out.append(
            CostsEvent(
                at=self.at(),
                break_even_pct=None if move is None else costs.per_cent(move),
                stop_pct=plain(self.terms.stop * 100),
                level=costs.level(self.fee, self.terms),
                text=costs.sentence(self.fee, self.terms),
            )
        )

    def state_event(self, state: str, reason: str, command: str, command_id: str) -> None:
        """The trading state changes, or a command was carried out."""
        self.state.trading = state
        self.state.trading_reason = reason
        self.out.append(StateEvent(self.at(), state, reason, command, command_id))
