"""Gathers what the venue says of our orders, fills and balances: one look, in as few requests as it takes.

Blocking: it runs on a thread of its own, never on the one that exits wait for. A quiet look asks each pair's open
orders, then all balances, then each pair's fills: what came since the look before is then told by the last question,
and the balances lie between two equal answers. Only where a fill came are both asked once more.

* A book without a past that has seen no price yet asks for fills from the venue's own time on.
* An order that is not over and not among the open ones is asked for by its id; what is over is not asked for again.
* A fill whose order nothing tells has its order asked for by the venue's id, once: LOOKUPS_MOST a look.
* Where coin is missing, the position's next exit id is asked for: the guardian may have sold.
* Where an order began before the fills that were asked for, they are asked for again from its begin on.
* Pairs with nothing held and nothing under way are looked at in turn, one a look; all at a start.
* After two questions in a row that failed the rest is not asked.
* At a start that finds a position or an order the questions are urgent: exits wait for the answers. At one that finds
  neither they leave the room kept for exits alone, or the first entry would have to wait for it. Questions about one
  order are always urgent.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from core.clock import NS_PER_S, Clock
from trader.reconcile import owners
from trader.views import SKEW_MS, Balances, JournalView, Looked, VenueView
from venues.account import Account, Fill, Order
from venues.errors import VenueError
from venues.venue import Rules

LOOKUPS_MOST = 12  # orders asked for in one look
ROUNDS_MOST = 3  # of asking for fills from an earlier time
FAILURES_MOST = 2  # in a row

T = TypeVar("T")
Keys = set[tuple[str, str]]


def look(
    account: Account,
    rules: Sequence[Rules],
    journal: JournalView,
    since_ms: int,
    clock: Clock,
    before: VenueView | None = None,
    *,
    at_start: bool = False,
    start: JournalView | None = None,
    turn: int = 0,
) -> VenueView:
    """What the venue says now. `before`: the look before this one, whose findings stay; `turn` counts looks."""
    view = _Look(account, rules, journal, since_ms, clock, before, at_start, turn).gather()
    return msgspec.structs.replace(view, start=start)


def pairs_to_ask(rules: Sequence[Rules], journal: JournalView, *, everything: bool, turn: int) -> list[Rules]:
    """Those of coins that we hold or trade just now, and one of the others."""
    busy = {one.pair for one in journal.held if one.base} | {known.pair for known in journal.orders if not known.over}
    coins = {one.base for one in rules if one.pair in busy}
    idle = [one.pair for one in rules if one.base not in coins]
    next_idle = idle[turn % len(idle)] if idle else ""
    return [one for one in rules if everything or one.base in coins or one.pair == next_idle]


def keys(fills: Sequence[Fill]) -> Keys:
    return {(fill.symbol, fill.venue_fill_id) for fill in fills}


class _Look:
    def __init__(
        self,
        account: Account,
        rules: Sequence[Rules],
        journal: JournalView,
        since_ms: int,
        clock: Clock,
        before: VenueView | None,
        at_start: bool,
        turn: int,
    ) -> None:
        self.account = account
        held = any(one.base for one in journal.held)
        self.urgent = at_start and (held or any(not known.over for known in journal.orders))
        self.clock = clock
        self.journal = journal
        self.before = before
        self.asked = pairs_to_ask(rules, journal, everything=at_start, turn=turn)
        self.failed = 0  # in a row
        self.lookups = 0
        reach_ms = account.capabilities.fills_reach_ms
        oldest_ms = 0 if reach_ms is None else journal.market_ms - reach_ms
        self.oldest_ms = oldest_ms
        self.view = VenueView(
            journal=journal,
            rules=tuple(rules),
            at_start=at_start,
            grace_ns=int(account.capabilities.request_lives_s * NS_PER_S),
            fills_from_ms=max(since_ms, oldest_ms),
            reach_ms=oldest_ms if since_ms < oldest_ms else None,
        )

    def gather(self) -> VenueView:
        if not self.view.fills_from_ms:
            self._set(fills_from_ms=self._ask("the venue's time", self.account.server_time_ms) or 0)
        self._open_orders()
        self._orders_by_id()
        balances = self._balances()
        self._fills(self.asked)
        self._whose_fills()
        known = self._known()
        new = self._fill_keys() - known
        if new and balances is not None:
            balances = self._balances()
            self._fills(self.asked)
            if self._fill_keys() - known - new:
                balances = None  # they keep coming: no balance of this look means anything
        if balances is not None:
            self._set(balances=(*self._earlier(), balances))
            self._next_exits(balances)
        return msgspec.structs.replace(self.view, ended_ns=self.clock.monotonic_ns())

    # --- questions ----------------------------------------------------------------------------------

    def _ask(self, what: str, question: Callable[[], T]) -> T | None:
        """The answer, None where there was none: then `failures` say so."""
        if self.failed >= FAILURES_MOST:
            return None
        try:
            answer = question()
        except VenueError as error:
            self.failed += 1
            rest = "; the rest was not asked" if self.failed >= FAILURES_MOST else ""
            self._set(failures=(*self.view.failures, f"{what} could not be asked: {error}{rest}"))
            return None
        self.failed = 0
        return answer

    def _set(self, **changes: object) -> None:
        self.view = msgspec.structs.replace(self.view, **changes)

    def _open_orders(self) -> None:
        for rules in self.asked:
            question = partial(self.account.open_orders, rules, urgent=self.urgent)
            orders = self._ask(f"{rules.pair}: open orders", question)
            if orders is not None:
                self._set(open_orders={**self.view.open_orders, rules.pair: tuple(orders)})

    def _orders_by_id(self) -> None:
        """Orders of the journal that are neither over nor open."""
        working = {order.client_order_id for orders in self.view.open_orders.values() for order in orders}
        markets = {rules.pair: rules for rules in self.view.rules}
        for known in self.journal.orders:
            if not known.over and not known.in_hand and known.client_order_id not in working and known.pair in markets:
                self._order(markets[known.pair], known.client_order_id, known.venue_order_id)

    def _order(self, rules: Rules, client_id: str, venue_id: str = "") -> None:
        earlier = None if self.before is None else self.before.orders.get(client_id)
        looked = self._look_up(client_id, earlier, lambda: self.account.order(rules, client_id, venue_id, urgent=True))
        if looked is not None:
            self._set(orders={**self.view.orders, client_id: looked})

    def _look_up(self, name: str, earlier: Looked | None, question: Callable[[], Order | None]) -> Looked | None:
        """Asks for an order, or repeats what is final. None where nothing is known."""
        if earlier is not None and earlier.order is not None and not earlier.order.live:
            return earlier
        if self.lookups >= LOOKUPS_MOST:
            return earlier
        self.lookups += 1
        now_ns = self.clock.monotonic_ns()
        failures = len(self.view.failures)
        order = self._ask(f"order {name}", question)
        if order is None and (len(self.view.failures) > failures or self.failed >= FAILURES_MOST):
            return earlier
        if order is not None or earlier is None or earlier.order is not None:
            return Looked(order, 1, now_ns, now_ns)
        return Looked(None, earlier.asked + 1, earlier.first_ns, now_ns)

    def _balances(self) -> Balances | None:
        asked_ns = self.clock.monotonic_ns()
        found = self._ask("balances", lambda: self.account.balances(urgent=self.urgent))
        return None if found is None else Balances(asked_ns, {one.currency: one.free + one.locked for one in found})

    def _fills(self, pairs: Sequence[Rules]) -> None:
        since_ms = self.view.fills_from_ms
        for rules in pairs if since_ms else ():
            question = partial(self.account.fills, rules, since_ms, urgent=self.urgent)
            fills = self._ask(f"{rules.pair}: fills", question)
            there = dict(self.view.fills)
            if fills is None:
                there.pop(rules.pair, None)
            else:
                there[rules.pair] = tuple(fills)
            self._set(fills=there)

    # --- whose fills they are, and how far back -----------------------------------------------------

    def _whose_fills(self) -> None:
        """Asks for the orders of fills that nothing tells, and for fills from the begin of each order of ours on."""
        for _ in range(ROUNDS_MOST):
            self._orders_of_fills()
            begun_ms = max(self._begun_ms(), self.oldest_ms)
            if begun_ms >= self.view.fills_from_ms:
                return
            self._set(fills_from_ms=begun_ms)
            self._fills(self.asked)
        self._orders_of_fills()

    def _orders_of_fills(self) -> None:
        names = owners(self.journal, self.view)
        looked_before = {} if self.before is None else self.before.by_venue_id
        for rules in self.asked:
            for fill in self.view.fills.get(rules.pair, ()):
                venue_id = fill.venue_order_id
                if fill.client_order_id or venue_id in names or venue_id in self.view.by_venue_id:
                    continue
                looked = self._look_up(
                    venue_id,
                    looked_before.get(venue_id),
                    lambda rules=rules, venue_id=venue_id: self.account.order(rules, "", venue_id, urgent=True),  # type: ignore[misc]
                )
                if looked is not None:
                    self._set(by_venue_id={**self.view.by_venue_id, venue_id: looked})

    def _begun_ms(self) -> int:
        """When the oldest order with fills that are not all in view began."""
        names = owners(self.journal, self.view)
        since_ms = self.view.fills_from_ms
        begun = [since_ms]
        for fills in self.view.fills.values():
            for fill in fills:
                name = fill.client_order_id or names.get(fill.venue_order_id) or ""
                known = self.journal.order(name)
                if known is not None:
                    if known.created_ms - SKEW_MS < since_ms and fill.venue_fill_id not in (known.fills or ()):
                        begun.append(known.created_ms - SKEW_MS)
                    continue
                order = self.view.order(name, fill.venue_order_id) if name.startswith(self.journal.prefix) else None
                if order is not None and 0 < order.created_ms - SKEW_MS < since_ms:
                    begun.append(order.created_ms - SKEW_MS)
        return min(begun)

    # --- balances --------------------------------------------------------------------------------------

    def _fill_keys(self) -> Keys:
        return keys([fill for fills in self.view.fills.values() for fill in fills])

    def _known(self) -> Keys:
        """Fills that were over before this look asked for balances."""
        return _recorded(self.view) | (_known_to(self.before) if self.before is not None else set())

    def _earlier(self) -> tuple[Balances, ...]:
        """The last balances of the look before, where no fill came since."""
        if self.before is None or self._fill_keys() - _known_to(self.before):
            return ()
        return self.before.balances[-1:]

    def _next_exits(self, balances: Balances) -> None:
        """The exit that somebody else may have sent for us, where coin is missing."""
        markets = {rules.pair: rules for rules in self.view.rules}
        for held in self.journal.held:
            rules = markets.get(held.pair)
            if rules is None or not held.next_exit_id:
                continue
            of_coin = [
                one.base for one in self.journal.held if one.pair in markets and markets[one.pair].base == rules.base
            ]
            if balances.of(rules.base) < sum(of_coin):
                self._order(rules, held.next_exit_id)


def _known_to(view: VenueView) -> Keys:
    """Fills that a look saw, and those that the journal had before it."""
    return keys([fill for fills in view.fills.values() for fill in fills]) | _recorded(view)


def _recorded(view: VenueView) -> Keys:
    """Fills that the journal had before a look."""
    symbols = {rules.pair: rules.symbol for rules in view.rules}
    return {(symbols.get(known.pair, ""), name) for known in view.journal.orders for name in known.fills or ()}
