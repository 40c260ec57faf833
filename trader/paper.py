"""The simulated broker: orders fill on the tape's trades by the rules of `fills`, inside the fold, without a clock."""

from decimal import Decimal

from core.money import MAX_UNITS, UNIT, worsened
from trader import fills
from trader.broker import BrokerEvent, Tick
from trader.orders import OrderNews
from trader.risk import Approved
from trader.state import ENTRY, Order
from trader.terms import MarketTerms, Terms


class PaperBroker:
    """Meets the broker contract; holds no state that the orders of the fold do not hold (see `restore`)."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._working: dict[str, Order] = {}  # by pair
        self._events: list[BrokerEvent] = []

    def restore(self, orders: list[Order]) -> None:
        """Takes up the working orders of a recovered state."""
        self._working = {order.pair: order for order in orders}

    def submit(self, approved: Approved, tick: Tick, market: MarketTerms, fee: int) -> None:
        """Accepts the order; with instant fills it is filled at once, at the deciding trade's price."""
        if not isinstance(approved, Approved):
            raise TypeError(f"a broker takes only what the risk gate approved, not {approved!r}")
        order = approved.order
        self._events.append(BrokerEvent(order.id, OrderNews.ACCEPTED, venue_order_id=f"paper-{order.id}"))
        if self._terms.instant:
            self._fill(order, order.lots, tick, market, fee)
        else:
            self._working[order.pair] = order

    def cancel(self, order_id: str) -> None:
        """Cancels at once: a simulated cancel is never too late."""
        for pair, order in list(self._working.items()):
            if order.id == order_id:
                del self._working[pair]
                self._events.append(BrokerEvent(order_id, OrderNews.CANCEL_DONE))

    def match(self, tick: Tick, market: MarketTerms, fee: int, spendable: int) -> None:
        """Lets a trade of a pair meet that pair's working order; `spendable` = its reserve and the free balance."""
        order = self._working.get(market.pair)
        if order is None:
            return
        terms = self._terms
        entry = order.purpose == ENTRY
        if entry and fills.timed_out(tick.ns, order.decided_ns, terms.latency_ns, terms.timeout_ns):
            self._end(order, tick, "entry_timeout")
            return
        if not fills.can_fill(tick.ns, order.decided_ns, terms.latency_ns):
            return
        lots = min(order.left, fills.offered(tick.lots, terms.participation))
        if entry:
            price = worsened(tick.ticks, terms.slippage, True)
            lots = fills.affordable_lots(price, lots, market.num, market.den, fee, terms.tax_buy, spendable)
        if lots <= 0:
            return
        left = order.left - lots
        self._fill(order, lots, tick, market, fee)
        if left == 0:
            del self._working[order.pair]
        elif not entry and fills.below_minimum(
            tick.ticks, left, market.num, market.den, market.min_lots, market.min_notional
        ):
            self._end(order, tick, "dust")

    def take(self) -> list[BrokerEvent]:
        """Results since the last call, oldest first."""
        events, self._events = self._events, []
        return events

    def _fill(self, order: Order, lots: int, tick: Tick, market: MarketTerms, fee: int) -> None:
        """One fill: the fee is what the wallet moves beyond price x quantity, so that the ledger adds up exactly."""
        terms = self._terms
        buying = order.purpose == ENTRY
        ticks = worsened(tick.ticks, terms.slippage, buying)
        gross = (ticks * market.scale.tick) * (lots * market.scale.step)
        if buying:
            cash = fills.buy_cost(ticks, lots, market.num, market.den, fee, terms.tax_buy)
            paid = Decimal(cash) / UNIT - gross
        else:
            cash = fills.sell_proceeds(ticks, lots, market.num, market.den, fee, terms.tax_sell)
            paid = gross - Decimal(cash) / UNIT
        self._events.append(
            BrokerEvent(
                order_id=order.id,
                news=OrderNews.ALL_FILLED if lots == order.left else OrderNews.PART_FILLED,
                lots=lots,
                price=ticks * market.scale.tick,
                cash=cash,
                fee=paid,
                fee_currency=market.quote,
                venue_fill_id=f"{order.id}-{tick.number}",
                time_ns=tick.ns,
            )
        )

    def _end(self, order: Order, tick: Tick, note: str) -> None:
        """The venue's own cancel."""
        del self._working[order.pair]
        self._events.append(BrokerEvent(order.id, OrderNews.CANCEL_DONE, time_ns=tick.ns, note=note))


assert MAX_UNITS < 1 << 62  # a spendable amount and a cost can be added in 64 bits
