"""The exchange: accounts, orders and fills over one market source, under one venue's profile.

Everything is a function of the commands with their times and of the market's prints. A command or step is on the disk
before it returns and before anybody hears of it. All methods belong to the loop's thread. Times are ms of market time
and never go back.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal

import msgspec

from sandbox.exchange import charges, matching
from sandbox.exchange.books import Books, Changes
from sandbox.exchange.checks import Sized, sized
from sandbox.exchange.ledger import DEPOSITS, FEES, MARKET, Ledger
from sandbox.exchange.orders import (
    ATOMS,
    Balance,
    BalanceNews,
    FeeIn,
    Fill,
    InForce,
    Kind,
    NewOrder,
    News,
    Order,
    OrderNews,
    Reason,
    Refusal,
    Side,
    Status,
    What,
)
from sandbox.exchange.prints import CHUNK_MS, Prints
from sandbox.exchange.profiles import PARTS, Profile, Scope, TradingRules, trading_rules
from sandbox.trades import Market, Trades

FOREVER_MS = 1 << 60
MARGIN_PARTS = 10_000  # a market order holds so much more than its cost at the last price, where there is that much

Listener = Callable[[News], None]


class Exchange:
    """One exchange. `keys`: secret by API key, each key an account; `start`: atoms by asset that a new account gets."""

    def __init__(
        self,
        market: Market,
        profile: Profile,
        books: Books,
        keys: Mapping[str, str],
        start: Mapping[str, int],
        now_ms: int,
        speed: float = 1.0,
    ) -> None:
        self.profile = profile
        self.keys = dict(keys)
        self.share_parts = PARTS  # of each print that may be filled from
        self.on_busy: Callable[[], None] | None = None  # called when there is a working order
        self._market = market
        self._books = books
        self._prints = Prints(market, speed)
        self._listings = market.rules
        self._trading = {pair: trading_rules(profile, rules) for pair, rules in market.rules.items()}
        self._listeners: dict[str, list[Listener]] = {}
        self._reject_from_ms: int | None = None
        self._taken: dict[tuple[str, Side], tuple[int, int]] = {}
        found = books.load()
        self._ledger = Ledger(found.balances)
        self._working: dict[str, dict[int, Order]] = {}
        for order in found.working:
            self._working.setdefault(order.pair, {})[order.number] = order
        self._cursors = found.cursors
        self._last_order, self._last_fill = found.last_order, found.last_fill
        self._news: list[News] = []
        self._changed: dict[int, Order] = {}
        self._fills: list[Fill] = []
        self._moved: set[str] = set()  # pairs whose cursor is to be written
        self._now_ms = now_ms
        known = {account for account, _ in found.balances}
        for account in self.keys:
            if account not in known:
                for asset, amount in start.items():
                    self._ledger.move(DEPOSITS, account, asset, amount)
        self._commit(now_ms)

    # --- what a face asks for ---

    @property
    def busy(self) -> bool:
        """Whether `advance` has anything to do."""
        return bool(self._working)

    def secret(self, api_key: str) -> str | None:
        """The secret of an account's key; None for an unknown key."""
        return self.keys.get(api_key)

    def trading(self, pair: str) -> TradingRules:
        """The market's rules in force; KeyError for an unknown pair."""
        return self._trading[pair]

    def last_ticks(self, pair: str, now_ms: int) -> int:
        """The last price; before the first print the one the market begins at."""
        last = self._market.last(pair, now_ms, 1)
        return int(last.ticks[0]) if len(last) else self._market.first_ticks(pair)

    def balances(self, account: str) -> dict[str, Balance]:
        """By asset, zeros included once there was anything."""
        return self._ledger.all_of(account)

    def order(self, account: str, *, number: int | None = None, client_id: str | None = None) -> Order | None:
        """By number, or the newest with a client id (the working one where ids are free again after an order ended)."""
        found = None
        if number is not None:
            found = self._books.order(account, number)
        elif client_id:
            found = self._books.order_of_client(account, client_id)
        return found

    def open_orders(self, account: str, pair: str | None = None) -> list[Order]:
        """The working orders, oldest first."""
        pairs = self._working if pair is None else {pair: None} & self._working.keys()
        mine = [o for name in pairs for o in self._working[name].values() if o.account == account]
        return [_copy(order) for order in sorted(mine, key=lambda order: order.number)]

    def orders(
        self,
        account: str,
        pair: str | None = None,
        *,
        from_number: int = 0,
        since_ms: int = 0,
        until_ms: int = FOREVER_MS,
        limit: int = 500,
        newest: bool = False,
    ) -> list[Order]:
        """Orders of any state created in that time, oldest first: the first `limit` of them, or the newest."""
        return self._books.orders(account, pair, from_number, since_ms, until_ms, limit, newest)

    def fills(
        self,
        account: str,
        pair: str | None = None,
        *,
        order: int | None = None,
        from_number: int = 0,
        since_ms: int = 0,
        until_ms: int = FOREVER_MS,
        limit: int = 500,
        newest: bool = False,
    ) -> list[Fill]:
        """Fills of that time, oldest first: the first `limit` of them, or the newest."""
        return self._books.fills(account, pair, order, from_number, since_ms, until_ms, limit, newest)

    def listen(self, account: str, listener: Listener) -> Callable[[], None]:
        """Has `listener` called with the account's news, in order, once they are on the disk; returns what ends it."""
        self._listeners.setdefault(account, []).append(listener)
        return lambda: self._listeners[account].remove(listener)

    def everything(self) -> dict[tuple[str, str], Balance]:
        """All balances of all accounts, the exchange's own included: each asset sums to 0."""
        return self._ledger.everything()

    # --- commands ---

    def create(self, account: str, new: NewOrder, now_ms: int) -> Order | Refusal:
        """Accepts an order and fills of it what can be filled at once, or says why not."""
        if new.pair not in self._listings:
            return Refusal(Reason.UNKNOWN_PAIR, new.pair[:60])
        now_ms = self._at(now_ms)
        self._advance_pair(new.pair, now_ms)
        order = self._accepted(account, new, now_ms)
        if isinstance(order, Refusal):
            self._commit(now_ms)
            return order
        self._working.setdefault(order.pair, {})[order.number] = order
        self._cursors[order.pair] = now_ms
        self._moved.add(order.pair)
        self._tell(What.NEW, order, None, now_ms)
        if not order.waiting and order.rejected_from_ms is None:
            self._take(order, now_ms)
        self._commit(now_ms)
        if self.on_busy is not None and self._working:
            self.on_busy()
        return _copy(order)

    def cancel(
        self, account: str, now_ms: int, *, number: int | None = None, client_id: str | None = None
    ) -> Order | Refusal:
        """Cancels a working order; what it has filled by now stays filled."""
        known = self.order(account, number=number, client_id=client_id)
        if known is None:
            return Refusal(Reason.UNKNOWN_ORDER, f"{number or client_id}")
        now_ms = self._at(now_ms)
        self._advance_pair(known.pair, now_ms)
        order = self._working.get(known.pair, {}).get(known.number)
        if order is None:
            self._commit(now_ms)
            return Refusal(Reason.ORDER_FINISHED, f"{known.number} is {known.status.value}")
        self._end(order, Status.CANCELED, What.CANCELED, "", now_ms)
        self._commit(now_ms)
        return _copy(order)

    def deposit(self, account: str, asset: str, amount: Decimal, now_ms: int) -> None:
        """Adds to an account, or takes away: for tests and for the control endpoint. ArithmeticError where it lacks."""
        now_ms = self._at(now_ms)
        self._ledger.move(DEPOSITS, account, asset, int(amount * ATOMS))
        self._commit(now_ms)

    def advance(self, now_ms: int) -> None:
        """Matches every pair that has working orders against the prints up to now."""
        now_ms = self._at(now_ms)
        for pair in sorted(self._working):
            self._advance_pair(pair, now_ms)
        self._commit(now_ms)

    # --- what a fault changes ---

    def change_rules(self, pair: str, **changes: object) -> None:
        """Replaces fields of a market's rules from now on; working orders stay as they are."""
        self._trading[pair] = self._trading[pair]._replace(**changes)  # type: ignore[arg-type]

    def reset_rules(self) -> None:
        """All markets as the profile has them."""
        self._trading = {pair: trading_rules(self.profile, rules) for pair, rules in self._listings.items()}

    def reject_next(self, after_ms: int) -> None:
        """The next order is accepted, never fills, and is thrown out so much later."""
        self._reject_from_ms = after_ms

    # --- the inside ---

    def _at(self, now_ms: int) -> int:
        self._now_ms = max(self._now_ms, now_ms)
        return self._now_ms

    def _accepted(self, account: str, new: NewOrder, now_ms: int) -> Order | Refusal:
        """The order with its reserve locked."""
        rules, trading = self._listings[new.pair], self._trading[new.pair]
        last = self.last_ticks(new.pair, now_ms)
        numbers = sized(new, rules, trading, self.profile, last)
        if isinstance(numbers, Refusal):
            return numbers
        refusal = self._occupied(account, new, trading)
        if refusal is not None:
            return refusal
        order = self._made(account, new, numbers, now_ms)
        at_ticks = order.ticks or last
        needed = charges.needed(order, at_ticks)
        asset = rules.quote if order.side is Side.BUY else rules.base
        free = self._ledger.of(account, asset).free
        if needed > free:
            return Refusal(Reason.INSUFFICIENT_FUNDS, f"{needed} atoms of {asset} needed, {free} free")
        if new.post_only and any(matching.within(order, ticks) for ticks, _ in self._levels(order, now_ms)):
            return Refusal(Reason.WOULD_TAKE)
        if order.quote_atoms or (order.kind is Kind.MARKET and order.side is Side.BUY):
            needed = min(free, needed + needed * MARGIN_PARTS // PARTS)
        order.reserved = needed
        self._ledger.lock(account, asset, needed)
        self._last_order = order.number
        if self._reject_from_ms is not None:
            order.rejected_from_ms, self._reject_from_ms = now_ms + self._reject_from_ms, None
        return order

    def _occupied(self, account: str, new: NewOrder, trading: TradingRules) -> Refusal | None:
        """A client id that is taken, or too many working orders."""
        working = [order for order in self._working.get(new.pair, {}).values() if order.account == account]
        if new.client_id:
            if self.profile.client_id_scope is Scope.EVER:
                taken = self._books.order_of_client(account, new.client_id) is not None
            else:
                taken = any(order.client_id == new.client_id for order in self.open_orders(account))
            if taken:
                return Refusal(Reason.DUPLICATE_CLIENT_ID, new.client_id)
        if len(working) >= trading.max_open_orders:
            return Refusal(Reason.TOO_MANY_ORDERS, f"{len(working)} on {new.pair}")
        if new.trigger is not None and sum(order.waiting for order in working) >= trading.max_stops:
            return Refusal(Reason.TOO_MANY_STOPS, new.pair)
        return None

    def _made(self, account: str, new: NewOrder, numbers: Sized, now_ms: int) -> Order:
        rules = self._listings[new.pair]
        return Order(
            number=self._last_order + 1,
            account=account,
            pair=new.pair,
            base=rules.base,
            quote=rules.quote,
            price_digits=rules.price_digits,
            quantity_digits=rules.quantity_digits,
            side=new.side,
            kind=new.kind,
            in_force=new.in_force,
            post_only=new.post_only,
            trigger=new.trigger,
            client_id=new.client_id,
            fee_in=new.fee_in or self.profile.fee_in[new.side],
            tag=new.tag,
            ticks=numbers.ticks,
            stop_ticks=numbers.stop_ticks,
            units=numbers.units,
            quote_atoms=numbers.quote_atoms,
            maker_parts=self.profile.maker_parts,
            taker_parts=self.profile.taker_parts,
            created_ms=now_ms,
            updated_ms=now_ms,
            expires_ms=new.expires_ms,
            waiting=new.trigger is not None,
            taking=new.kind is Kind.MARKET,
        )

    def _levels(self, order: Order, now_ms: int) -> list[tuple[int, int]]:
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
        found = [level for level in self._levels(order, now_ms) if matching.within(order, level[0])]
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

    def _advance_pair(self, pair: str, now_ms: int) -> None:
        """Matches one pair up to now: prints, and what ends at a time, each in its turn."""
        while pair in self._working:
            orders = list(self._working[pair].values())
            until_ms = min(now_ms, self._cursors[pair] + CHUNK_MS)
            dues = [due for order in orders for due in (order.expires_ms, order.rejected_from_ms) if due is not None]
            due_ms = min(dues, default=FOREVER_MS)
            until_ms = max(self._cursors[pair], min(until_ms, due_ms - 1))
            self._match(pair, self._prints.between(pair, self._cursors[pair], until_ms))
            self._cursors[pair] = max(self._cursors[pair], until_ms)
            if due_ms <= now_ms and until_ms >= due_ms - 1:
                self._end_due(pair, due_ms)
            elif until_ms >= now_ms:
                return
        self._prints.forget(pair)

    def _end_due(self, pair: str, due_ms: int) -> None:
        for order in list(self._working[pair].values()):
            if order.rejected_from_ms is not None and order.rejected_from_ms <= due_ms:
                self._end(order, Status.REJECTED, What.REJECTED, "rejected by the venue", due_ms)
            elif order.expires_ms is not None and order.expires_ms <= due_ms:
                self._end(order, Status.EXPIRED, What.EXPIRED, "its time was over", due_ms)

    def _match(self, pair: str, prints: Trades) -> None:
        """Lets prints, oldest first, fill and wake the working orders of their pair."""
        start = 0
        while start < len(prints) and pair in self._working:
            orders = [order for order in self._working[pair].values() if order.rejected_from_ms is None]
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
                self._changed[order.number] = order
                self._moved.add(order.pair)
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
        working = self._working[order.pair]
        del working[order.number]
        if not working:
            del self._working[order.pair]
        self._changed[order.number] = order
        if status is not Status.FILLED:
            self._tell(what, order, None, at_ms)

    def _release(self, order: Order, keep: int) -> None:
        """Gives back all but `keep` of what the order holds."""
        back = order.reserved - min(keep, order.reserved)
        self._ledger.lock(order.account, order.quote if order.side is Side.BUY else order.base, -back)
        order.reserved -= back

    def _tell(self, what: What, order: Order, fill: Fill | None, at_ms: int) -> None:
        self._changed[order.number] = order
        self._moved.add(order.pair)
        if fill is not None:
            self._fills.append(fill)
        self._news.append(OrderNews(what, _copy(order), fill, at_ms))

    def _commit(self, now_ms: int) -> None:
        """Writes what changed, then tells those who listen."""
        balances = self._ledger.taken()
        if balances or self._changed:
            moved = {pair: self._cursors[pair] for pair in self._moved}
            self._books.save(Changes(balances, list(self._changed.values()), self._fills, moved))
        for account in {account for account, _ in balances} & self.keys.keys():
            mine = {asset: balance for (owner, asset), balance in balances.items() if owner == account}
            self._news.append(BalanceNews(account, mine, now_ms))
        news, self._news, self._changed, self._fills = self._news, [], {}, []
        self._moved.clear()
        for one in news:
            account = one.account if isinstance(one, BalanceNews) else one.order.account
            for listener in list(self._listeners.get(account, ())):
                listener(one)


def _copy(order: Order) -> Order:
    return msgspec.structs.replace(order)
