"""Balances against the journal: base coin that no order of ours explains, and the quote of the wallet. Pure.

The rules are those under "Balances" in `trader.reconcile`.
"""

from decimal import Decimal

from core.clock import NS_PER_S
from core.money import plain, steps_down
from trader.findings import Findings
from trader.views import Balances, JournalView, VenueView

LAG_NS = 3 * NS_PER_S  # balances may lag behind fills by so much
UNIT = Decimal(1).scaleb(-8)  # of quote


def missing(journal: JournalView, venue: VenueView, found: Findings) -> list[tuple[str, Decimal]]:
    """(pair, base coin that is gone), of those pairs whose balance can be judged. Reads and adds to `found`."""
    coins: dict[str, list[str]] = {}
    for rules in venue.rules:
        coins.setdefault(rules.base, []).append(rules.pair)
    external = []
    for coin, pairs in sorted(coins.items()):
        held = {pair: found.held(journal, pair) for pair in sorted(pairs)}
        total = sum((amount for amount in held.values() if amount > 0), Decimal(0))
        if total <= 0:
            continue
        if any(pair in found.unresolved or not venue.whole(pair) for pair in _sharing(held, venue)):
            if venue.at_start and not found.reasons:
                found.refuse(f"{coin}: an order is on its way, its balance means nothing yet: asked again")
            continue
        if not venue.balances:
            if venue.at_start:
                found.refuse(f"{coin}: no balance without fills coming in meanwhile: asked again")
            continue
        gone = total - venue.balances[-1].of(coin)
        before = _earlier(venue)
        if gone > 0 and before is None:
            text = f"{coin}: the account has {plain(gone)} less than the {plain(total)} of the journal"
            found.refuse(f"{text}: balances may lag, asked again")
        elif gone > 0 and before is not None:
            external += _shared(held, min(gone, max(Decimal(0), total - before.of(coin))))
            if total - before.of(coin) < gone:
                found.refuse(f"{coin}: its balance is changing: asked again")
    return external


def _sharing(held: dict[str, Decimal], venue: VenueView) -> list[str]:
    """Of a coin's pairs those that have of it, or that were asked for."""
    return [pair for pair, amount in held.items() if amount or pair in venue.open_orders or pair in venue.fills]


def _shared(held: dict[str, Decimal], gone: Decimal) -> list[tuple[str, Decimal]]:
    """What is gone, taken from the pairs in the order of their names, from each at most what it has."""
    taken = []
    for pair, amount in held.items():
        part = min(gone, max(amount, Decimal(0)))
        if part > 0:
            taken.append((pair, part))
            gone -= part
    return taken


def _earlier(venue: VenueView) -> Balances | None:
    """The look before the last one, where it is old enough to confirm it."""
    if len(venue.balances) < 2 or venue.balances[-1].asked_ns - venue.balances[-2].asked_ns < LAG_NS:
        return None
    return venue.balances[-2]


def quote(journal: JournalView, venue: VenueView, found: Findings) -> int | None:
    """Units of quote at the venue; None where they cannot be told, or are not sure yet."""
    if found.reasons or found.unresolved or not venue.balances or not venue.rules:
        return None
    if any(not (known.over or known.resting) for known in journal.orders) or not all(
        venue.whole(one.pair) for one in venue.rules
    ):
        return None
    working = {order.client_order_id for orders in venue.open_orders.values() for order in orders} - {""}
    resting = {known.client_order_id for known in journal.orders if known.resting}
    if any(name in journal.adopted or journal.order(name) is not None for name in working - resting):
        return None
    units = _units(venue.balances[-1], venue.rules[0].quote)
    expected = journal.wallet + found.cash
    before = _earlier(venue)
    if units == expected or (before is not None and _units(before, venue.rules[0].quote) == units):
        return units
    if venue.at_start:
        found.refuse(
            f"the account has {plain(units * UNIT)} of quote, the journal {plain(expected * UNIT)}: asked again"
        )
    return None


def _units(balances: Balances, currency: str) -> int:
    return steps_down(balances.of(currency), UNIT)
