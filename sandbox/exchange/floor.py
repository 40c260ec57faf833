"""The trading floor: the working orders of all markets, and what the market's prints do to them.

It holds no file and tells nobody: what changed waits in `changed`, `fills`, `news` and `moved` until the exchange has
written and told it.
"""

import msgspec

from sandbox.exchange import charges, matching
from sandbox.exchange.books import Found
from sandbox.exchange.ledger import FEES, MARKET, Ledger
from sandbox.exchange.orders import FeeIn, Fill, InForce, Kind, News, Order, OrderNews, Side, Status, What
from sandbox.exchange.prints import CHUNK_MS, Prints
from sandbox.exchange.profiles import PARTS, TradingRules
from sandbox.trades import Market, Trades

FOREVER_MS = 1 << 60


class Floor:
    """All that works, and the money that moves with it."""

    def __init__(
        self, market: Market, found: Found, ledger: Ledger, trading: dict[str, TradingRules], speed: float
    ) -> None:
        self.working: dict[str, dict[int, Order]] = {}  # by pair and number; no empty pairs
        for order in found.working:
            self.working.setdefault(order.pair, {})[order.number] = order
        self.share_parts = PARTS  # of each print that may be filled from
        self.changed: dict[int, Order] = {}
        self.fills: list[Fill] = []
        self.news: list[News] = []
        self.moved: set[str] = set()  # pairs whose cursor is to be written
        self.cursors = found.cursors
        self._market = market
        self._ledger = ledger
        self._trading = trading
        self._prints = Prints(market, speed)
        self._taken: dict[tuple[str, Side], tuple[int, int]] = {}  # (time of the last print, units taken since)
        self._last_fill = found.last_fill

    def add(self, order: Order, now_ms: int) -> None:
        """A new order, its reserve locked and its pair advanced to now: fills what can be filled at once."""
        self.working.setdefault(order.pair, {})[order.number] = order
        self.cursors[order.pair] = now_ms
        self._tell(What.NEW, order, None, now_ms)
        if not order.waiting and order.rejected_from_ms is None:
            self._take(order, now_ms)

    def cancel(self, order: Order, now_ms: int) -> None:
        """Ends a working order whose pair is advanced to now."""
        self._end(order, Status.CANCELED, What.CANCELED, "", now_ms)

    def levels(self, order: Order, now_ms: int) -> list[tuple[int, int]]:
        """What the order can take at once."""
        last = self._market.last(order.pair, now_ms, matching.LEVELS)
        step = self._trading[order.pair].step_units
        return matching.levels(last, order.side, step, self.share_parts, self._taken_of(order, last))

    def _taken_of(self, order: Order, last: Trades) -> int:
        """Units taken from this side's levels since the last print."""
        at_ms, taken = self._taken.get((order.pair, order.side), (-1, 0))
        return taken if len(last) and at_ms == int(last.ts_ms[-1]) else 0

    def _take(self, order: Order, now_ms: int) -> None:
        """Fills a new order from the levels; then it rests, or its rest expires."""
        found = [level for level in self.levels(order, now_ms) if matching.within(order, level[0])]
        if order.in_force is InForce.FOK and sum(units for _, units in found) < order.units:
            self._end(order, Status.EXPIRED, What.EXPIRED, "it could not be filled whole", now_ms)
            return
        for ticks, units in found:
            filled = self._fill(order, ticks, units, False, now_ms)
            if filled:
                at_ms = int(self._market.last(order.pair, now_ms, 1).ts_ms[-1])
                before = self._taken.get((order.pair, order.side), (-1, 0))
                self._taken[order.pair, order.side] = (at_ms, filled + (before[1] if before[0] == at_ms else 0))
            if not order.status.working:
                return
        if order.in_force is not InForce.GTC:
            self._end(order, Status.EXPIRED, What.EXPIRED, "the rest was not to be had at once", now_ms)

    def advance(self, pair: str, now_ms: int) -> None:
        """Matches one pair up to now: prints, and what ends at a time, each in its turn."""
        while pair in self.working:
            orders = list(self.working[pair].values())
            until_ms = min(now_ms, self.cursors[pair] + CHUNK_MS)
            dues = [due for order in orders for due in (order.expires_ms, order.rejected_from_ms) if due is not None]
            due_ms = min(dues, default=FOREVER_MS)
            until_ms = max(self.cursors[pair], min(until_ms, due_ms - 1))
            self._match(pair, self._prints.between(pair, self.cursors[pair], until_ms))
            self.cursors[pair] = max(self.cursors[pair], until_ms)
            if due_ms <= now_ms and until_ms >= due_ms - 1:
                self._end_due(pair, due_ms)
            elif until_ms >= now_ms:
                return
        self._prints.forget(pair)

    def _end_due(self, pair: str, due_ms: int) -> None:
        for order in list(self.working.get(pair, {}).values()):
            if order.rejected_from_ms is not None and order.rejected_from_ms <= due_ms:
                self._end(order, Status.REJECTED, What.REJECTED, "rejected by the venue", due_ms)
            elif order.expires_ms is not None and order.expires_ms <= due_ms:
                self._end(order, Status.EXPIRED, What.EXPIRED, "its time was over", due_ms)

    def _match(self, pair: str, prints: Trades) -> None:
        """Lets prints, oldest first, fill and wake the working orders of their pair."""
        start = 0
        while start < len(prints) and pair in self.working:
            orders = [order for order in self.working[pair].values() if order.rejected_from_ms is None]
            rest = prints.slice(start, len(prints))
            places = matching.concerned(orders, rest)
            if not len(places):
                return
            place = int(places[0])
            self._print(orders, int(rest.ts_ms[place]), int(rest.ticks[place]), int(rest.units[place]))
            start += place + 1

    def _print(self, orders: list[Order], at_ms: int, ticks: int, units: int) -> None:
        """One print: fills in turn, then wakes."""
        step = self._trading[orders[0].pair].step_units
        left = units * self.share_parts // PARTS // step * step
        for order in matching.in_turn(order for order in orders if not order.waiting):
            price = matching.fill_ticks(order, ticks)
            if price is not None:
                left -= self._fill(order, price, left, not order.taking, at_ms)
            if order.taking and order.kind is Kind.LIMIT:
                order.taking = False
                self.changed[order.number] = order
                self.moved.add(order.pair)
        for order in orders:
            if order.waiting and matching.wakes(order, ticks):
                order.waiting, order.taking, order.updated_ms = False, True, at_ms
                self._tell(What.TRIGGERED, order, None, at_ms)

    def _fill(self, order: Order, ticks: int, most: int, maker: bool, at_ms: int) -> int:
        """Fills up to `most` units at a price; returns how many."""
        if most <= 0:
            return 0
        parts = order.maker_parts if maker else order.taker_parts
        step = self._trading[order.pair].step_units
        step = 1 if order.remaining_units % step else step  # the market's step was changed meanwhile
        possible = charges.room(order, ticks, parts, step)
        units = min(possible, most)
        if units <= 0:
            self._end(order, Status.EXPIRED, What.EXPIRED, "no money is left for the rest", at_ms)
            return 0
        fill = self._booked(order, ticks, units, maker, at_ms)
        possible = charges.room(order, ticks, parts, step)
        done = not order.remaining_units if order.units else not possible
        order.status, order.updated_ms = Status.FILLED if done else Status.PARTIAL, at_ms
        self._tell(What.FILL, order, fill, at_ms)
        if done:
            self._end(order, Status.FILLED, What.FILL, "", at_ms)
        elif not possible:
            self._end(order, Status.EXPIRED, What.EXPIRED, "no money is left for the rest", at_ms)
        return units

    def _booked(self, order: Order, ticks: int, units: int, maker: bool, at_ms: int) -> Fill:
        """Moves the money of a fill."""
        money = charges.charge(order, ticks, units, order.maker_parts if maker else order.taker_parts)
        spent = charges.spends(order, money, units)
        account, ledger = order.account, self._ledger
        if order.side is Side.BUY:
            ledger.pay_locked(account, MARKET, order.quote, spent)
            ledger.move(MARKET, account, order.base, charges.base_atoms(order, units))
        else:
            ledger.pay_locked(account, MARKET, order.base, spent)
            ledger.move(MARKET, account, order.quote, money.cost)
        # A fee is part of what was spent, and the market hands it on, or it comes out of what was received.
        in_spent = (order.side is Side.BUY) == (order.fee_in is FeeIn.QUOTE)
        ledger.move(MARKET if in_spent else account, FEES, order.fee_asset, money.fee)
        order.reserved -= spent
        order.cost_raw, order.fee_raw = money.cost_raw, money.fee_raw
        order.cost, order.fee = order.cost + money.cost, order.fee + money.fee
        order.filled_units += units
        if order.kind is Kind.LIMIT:
            self._release(order, charges.needed(order, order.ticks))
        self._last_fill += 1
        return Fill(
            number=self._last_fill,
            order=order.number,
            account=account,
            client_id=order.client_id,
            pair=order.pair,
            side=order.side,
            price_digits=order.price_digits,
            quantity_digits=order.quantity_digits,
            ticks=ticks,
            units=units,
            cost=money.cost,
            fee=money.fee,
            fee_asset=order.fee_asset,
            maker=maker,
            time_ms=at_ms,
        )

    def _end(self, order: Order, status: Status, what: What, why: str, at_ms: int) -> None:
        """Takes an order out of the market and gives back what it held; FILLED was told of with its last fill."""
        self._release(order, 0)
        order.status, order.ended, order.updated_ms = status, why, at_ms
        order.waiting = order.taking = False
        working = self.working[order.pair]
        del working[order.number]
        if not working:
            del self.working[order.pair]
        self.changed[order.number] = order
        if status is not Status.FILLED:
            self._tell(what, order, None, at_ms)

    def _release(self, order: Order, keep: int) -> None:
        """Gives back all but `keep` of what the order holds."""
        back = order.reserved - min(keep, order.reserved)
        self._ledger.lock(order.account, order.quote if order.side is Side.BUY else order.base, -back)
        order.reserved -= back

    def _tell(self, what: What, order: Order, fill: Fill | None, at_ms: int) -> None:
        self.changed[order.number] = order
        self.moved.add(order.pair)
        if fill is not None:
            self.fills.append(fill)
        self.news.append(OrderNews(what, copy_of(order), fill, at_ms))


def copy_of(order: Order) -> Order:
    return msgspec.structs.replace(order)
