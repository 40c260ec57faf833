"""The exchange: accounts, orders and fills over one market source, under one venue's profile.

Everything is a function of the commands with their times and of the market's prints. A command or step is on the disk
before it returns and before anybody hears of it. All methods belong to the loop's thread. Times are ms of market time
and never go back.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal

from sandbox.exchange import charges, matching
from sandbox.exchange.books import Books, Changes
from sandbox.exchange.checks import Sized, sized
from sandbox.exchange.floor import FOREVER_MS, Floor, copy_of
from sandbox.exchange.ledger import DEPOSITS, Ledger
from sandbox.exchange.orders import (
    ATOMS,
    Balance,
    BalanceNews,
    FeeIn,
    Fill,
    Kind,
    NewOrder,
    News,
    Order,
    Reason,
    Refusal,
    Side,
)
from sandbox.exchange.profiles import PARTS, PROFILES, Profile, Scope, TradingRules, trading_rules
from sandbox.trades import Market

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
        self.on_busy: Callable[[], None] | None = None  # called when there is a working order
        # A fault: asked at each acceptance; an order with an answer never fills and is rejected so many ms later.
        self.query_lag_ms = 0  # a fault: queries and cancels do not know of an order for so long after its acceptance
        self.reject_after_ms: Callable[[], int | None] = lambda: None
        self._market = market
        self._books = books
        self._listings = market.rules
        self._trading = {pair: trading_rules(profile, rules) for pair, rules in market.rules.items()}
        self._listeners: dict[str, list[Listener]] = {}
        found = books.load()
        self._ledger = Ledger(found.balances)
        self._floor = Floor(market, found, self._ledger, self._trading, speed)
        self._last_order = found.last_order
        self._now_ms = now_ms
        self._broken: Exception | None = None
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
        return self._broken is not None or bool(self._floor.working)

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
            found = self._books.order(account, number) if 0 < number <= self._last_order else None
        elif client_id and self.profile.client_id.fullmatch(client_id):
            found = self._books.order_of_client(account, client_id)
        return found if found is not None and self._seen(found) else None

    def open_orders(self, account: str, pair: str | None = None) -> list[Order]:
        """The working orders, oldest first."""
        pairs = self._floor.working if pair is None else {pair: None} & self._floor.working.keys()
        mine = [o for name in pairs for o in self._floor.working[name].values() if o.account == account]
        return [copy_of(order) for order in sorted(mine, key=lambda order: order.number) if self._seen(order)]

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
        found = self._books.orders(account, pair, from_number, since_ms, until_ms, limit, newest)
        return [order for order in found if self._seen(order)]

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
        self._floor.advance(new.pair, now_ms)
        order = self._accepted(account, new, now_ms)
        if isinstance(order, Refusal):
            self._commit(now_ms)
            return order
        self._floor.add(order, now_ms)
        self._commit(now_ms)
        if self.on_busy is not None and self._floor.working:
            self.on_busy()
        return copy_of(order)

    def cancel(
        self, account: str, now_ms: int, *, number: int | None = None, client_id: str | None = None
    ) -> Order | Refusal:
        """Cancels a working order; what it has filled by now stays filled."""
        known = self.order(account, number=number, client_id=client_id)
        if known is None:
            return Refusal(Reason.UNKNOWN_ORDER, f"{number or client_id}")
        now_ms = self._at(now_ms)
        self._floor.advance(known.pair, now_ms)
        order = self._floor.working.get(known.pair, {}).get(known.number)
        if order is None:
            self._commit(now_ms)
            return Refusal(Reason.ORDER_FINISHED, f"{known.number} is {known.status.value}")
        self._floor.cancel(order, now_ms)
        self._commit(now_ms)
        return copy_of(order)

    def deposit(self, account: str, asset: str, amount: Decimal, now_ms: int) -> None:
        """Adds to an account, or takes away: for tests and for the control endpoint. ArithmeticError where it lacks."""
        now_ms = self._at(now_ms)
        self._ledger.move(DEPOSITS, account, asset, int(amount * ATOMS))
        self._commit(now_ms)

    def advance(self, now_ms: int) -> None:
        """Matches every pair that has working orders against the prints up to now."""
        now_ms = self._at(now_ms)
        for pair in sorted(self._floor.working):
            self._floor.advance(pair, now_ms)
        self._commit(now_ms)

    def close(self) -> None:
        """Closes the books; nothing can be asked afterwards."""
        self._books.close()

    # --- what a fault changes ---

    def change_rules(self, pair: str, **changes: object) -> None:
        """Replaces fields of a market's rules from now on; working orders stay as they are."""
        self._trading[pair] = self._trading[pair]._replace(**changes)  # type: ignore[arg-type]

    def reset_rules(self) -> None:
        """All markets as the profile has them."""
        self._trading.update({pair: trading_rules(self.profile, rules) for pair, rules in self._listings.items()})

    def take_fees_in(self, coin: FeeIn | None) -> None:
        """New orders that do not say otherwise pay their fees in this coin; None: as the venue's profile has it."""
        own = PROFILES[self.profile.name].fee_in
        self.profile = self.profile._replace(fee_in=own if coin is None else dict.fromkeys(Side, coin))

    def fill_share(self, parts: int) -> None:
        """From now on only so many millionths of each print are to be had."""
        self._floor.share_parts = parts

    # --- the inside ---

    def _at(self, now_ms: int) -> int:
        """The time of a command. Raises what the books raised once they refused one: nothing goes on without them."""
        if self._broken is not None:
            raise self._broken
        self._now_ms = max(self._now_ms, now_ms)
        return self._now_ms

    def _seen(self, order: Order) -> bool:
        return not self.query_lag_ms or self._now_ms - order.created_ms >= self.query_lag_ms

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
        if new.post_only and any(matching.within(order, ticks) for ticks, _ in self._floor.levels(order, now_ms)):
            return Refusal(Reason.WOULD_TAKE)
        if order.quote_atoms or (order.kind is Kind.MARKET and order.side is Side.BUY):
            needed = min(free, needed + needed * MARGIN_PARTS // PARTS)
        order.reserved = needed
        self._ledger.lock(account, asset, needed)
        self._last_order = order.number
        after_ms = self.reject_after_ms()
        order.rejected_from_ms = None if after_ms is None else now_ms + after_ms
        return order

    def _occupied(self, account: str, new: NewOrder, trading: TradingRules) -> Refusal | None:
        """A client id that is taken, or too many working orders."""
        working = [order for order in self._floor.working.get(new.pair, {}).values() if order.account == account]
        if new.client_id:
            if self.profile.client_id_scope is Scope.EVER:
                taken = self._books.order_of_client(account, new.client_id) is not None
            else:
                working_everywhere = (order for orders in self._floor.working.values() for order in orders.values())
                taken = any(o.account == account and o.client_id == new.client_id for o in working_everywhere)
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

    def _commit(self, now_ms: int) -> None:
        """Writes what changed, then tells those who listen."""
        balances, floor = self._ledger.taken(), self._floor
        if balances or floor.changed:
            moved = {pair: floor.cursors[pair] for pair in floor.moved}
            try:
                self._books.save(Changes(balances, list(floor.changed.values()), floor.fills, moved))
            except Exception as error:
                self._broken = error  # what is in memory is not on the disk: a restart has the truth
                if self.on_busy is not None:
                    self.on_busy()
                raise
        news = floor.news
        for account in sorted({account for account, _ in balances} & self.keys.keys()):
            mine = {asset: balance for (owner, asset), balance in balances.items() if owner == account}
            news.append(BalanceNews(account, mine, now_ms))
        floor.news, floor.changed, floor.fills = [], {}, []
        floor.moved.clear()
        for one in news:
            account = one.account if isinstance(one, BalanceNews) else one.order.account
            for listener in list(self._listeners.get(account, ())):
                listener(one)
