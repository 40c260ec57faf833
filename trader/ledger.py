"""The books of the fold: what fills do to orders, positions, wallet and limits, and the events that say so."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np

from bus.messages import (
    At,
    CostsEvent,
    DayCostsEvent,
    EquityEvent,
    FillEvent,
    OrderEvent,
    PositionEvent,
    SignalEvent,
    StateEvent,
    TradeEvent,
    TraderEvent,
)
from core.errors import BotError
from core.money import UNIT, notional_floor, plain, share_ceil, steps_nearest, steps_text, units_text
from trader import costs, risk
from trader.broker import BrokerEvent, Tick
from trader.fills import below_minimum, sell_proceeds
from trader.orders import TERMINAL, OrderState, advance
from trader.state import BUY, ENTRY, SELL, Order, PairState, State
from trader.terms import MarketTerms, Terms

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COSTLY = f"refused:{costs.COSTS_EXCEED_STOP}"
_AVERAGE_DIGITS = 12  # decimals of an average price


def iso_ms(ms: int) -> str:
    """ISO-8601 UTC text of a market time in ms."""
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def optional(value: float) -> float | None:
    """A float that may be unknown: nan becomes None."""
    return None if np.isnan(value) else value


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
            raise BotError(f"{pair.pair}: {event.news} for order {event.order_id}, which is not working here")
        order.state = advance(order.state, event.news)
        order.updated_ms = tick.ms
        order.venue_order_id = event.venue_order_id or order.venue_order_id
        if event.note:
            order.note = f"{order.note}, {event.note}" if order.note else event.note
        if event.lots:
            self._fill(event, order, pair, tick)
        ended = order.state in TERMINAL
        self.order_event(order)
        if ended:
            self._end(order, pair, tick)
        if event.lots or (ended and order.filled):
            self.position_event(pair)
        if event.lots:
            self.equity_event(tick.ms)
        return event.lots > 0

    def _fill(self, event: BrokerEvent, order: Order, pair: PairState, tick: Tick) -> None:
        state = self.state
        quantity = event.lots * pair.step
        if order.purpose == ENTRY:
            if pair.lots == 0:
                pair.entry_gross = pair.entry_quantity = Decimal(0)
                pair.highest = tick.price
                pair.opened_ms = tick.ms
            pair.lots += event.lots
            pair.cost += event.cash
            pair.entry_gross += event.price * quantity
            pair.entry_quantity += quantity
            state.wallet -= event.cash
            order.reserve = max(0, order.reserve - event.cash)
        else:
            share = share_ceil(pair.cost, event.lots, pair.lots)
            pair.lots -= event.lots
            pair.cost -= share
            state.wallet += event.cash
            order.share += share
        order.filled += event.lots
        order.cash += event.cash
        order.gross += event.price * quantity
        order.fee += event.fee
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

    def _end(self, order: Order, pair: PairState, tick: Tick) -> None:
        """An order is over: the row of `trades`, what is left of the position, the limits."""
        state = self.state
        pair.order = None
        order.reserve = 0
        if order.purpose == ENTRY:
            if order.filled:
                self._trade(order, pair, None, tick)
            if pair.lots and self.is_dust(pair, tick):
                self.to_dust(pair)
            return
        if order.filled:
            profit = order.cash - order.share
            state.realized += profit
            self._count_costs(order, pair, profit)
            risk.exit_done(state.risk, profit, state.market_ns, self.terms)
            self._trade(order, pair, profit, tick)
        if self.is_dust(pair, tick):
            self.to_dust(pair)

    def _count_costs(self, order: Order, pair: PairState, profit: int) -> None:
        """What the exit made before fees and taxes, beside what it is booked with, to the day's sums."""
        bought = pair.entry_gross * (order.filled * pair.step) / pair.entry_quantity
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
        market = self.markets[pair.pair]
        return below_minimum(tick.ticks, pair.lots, market.num, market.den, market.min_lots, market.min_notional)

    def to_dust(self, pair: PairState) -> None:
        """Closes the position; what is left of it is kept apart with its share of the cost, and not sold."""
        pair.dust_lots += pair.lots
        pair.dust_cost += pair.cost
        pair.lots = pair.cost = 0
        pair.entry_gross = pair.entry_quantity = Decimal(0)
        pair.highest = None
        pair.opened_ms = None
        pair.flatten = ""

    # --- events -----------------------------------------------------------------------------------

    def order_event(self, order: Order) -> None:
        """The order as it is now."""
        step = self.state.pairs[order.pair].step
        self.out.append(
            OrderEvent(
                at=self.at(order.updated_ms),
                client_order_id=order.id,
                venue_order_id=order.venue_order_id,
                pair=order.pair,
                side=order.side,
                type="market",
                price=None,
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
                quantity=steps_text(pair.lots, pair.step),
                cost=units_text(pair.cost),
                entry_price=pair.entry_price,
                highest=highest,
                stop_price=None if highest is None else highest * self.terms.keep,
                opened_ms=pair.opened_ms,
                dust=steps_text(pair.dust_lots, pair.step),
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
