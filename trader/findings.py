"""What a comparison of journal and venue has found so far, and the report that comes of it."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from core.money import plain
from trader.broker import BrokerEvent
from trader.orders import advance
from trader.views import JournalView, Known
from venues.account import BUY

LINES_MOST = 60  # of a report


def named(known: Known) -> str:
    """An order in words."""
    return f"{'entry' if known.side == BUY else 'exit'} {known.client_order_id} of {known.pair}"


class Findings:
    """Collects. `unresolved`: pairs whose balance cannot be judged; `reasons`: why it is not agreed."""

    def __init__(self, at_start: bool) -> None:
        self.at_start = at_start
        self.told: list[BrokerEvent] = []
        self.lines: list[str] = []
        self.reasons: list[str] = []
        self.unresolved: set[str] = set()
        self.moved: dict[str, Decimal] = {}  # base coin by pair, by what is told and adopted
        self.cash = 0  # units of quote, likewise

    def tell(self, known: Known, events: Sequence[BrokerEvent], line: str = "") -> None:
        """Results for an order of the journal."""
        self.told += events
        self.move(known.pair, known.side, events)
        new = [event for event in events if event.quantity is not None]
        if new:
            total = sum((event.quantity or Decimal(0) for event in new), Decimal(0))
            self.lines.append(f"{named(known)}: {plain(total)} filled in {len(new)} fills that were not recorded")
        if line:
            self.lines.append(f"{named(known)}: {line}")

    def move(self, pair: str, side: str, events: Iterable[BrokerEvent]) -> None:
        """Counts what fills move."""
        for event in events:
            self.cash += -event.cash if side == BUY else event.cash
            base = event.base or Decimal(0)
            self.moved[pair] = self.moved.get(pair, Decimal(0)) + (base if side == BUY else -base)

    def refuse(self, reason: str, pair: str = "") -> None:
        """Not agreed, and why; the balance of `pair` is not judged."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        if pair:
            self.unresolved.add(pair)

    def held(self, journal: JournalView, pair: str) -> Decimal:
        """Base coin of a pair in the journal once what was found is booked."""
        there = sum((one.base for one in journal.held if one.pair == pair), Decimal(0))
        return there + self.moved.get(pair, Decimal(0))

    def report(
        self, journal: JournalView, start: JournalView | None, external: Sequence[tuple[str, Decimal]]
    ) -> tuple[str, ...]:
        """Lines for a person: at a start positions and intents as it found them, what was found, why not agreed."""
        lines = list(self.lines)
        lines += [f"{pair}: {plain(gone)} is no longer in the account: booked as external" for pair, gone in external]
        if self.at_start or lines:
            gone = dict(external)
            pairs = sorted({one.pair for one in journal.held} | self.moved.keys())
            before = {one.pair: one.base for one in (journal if start is None else start).held}
            after = {pair: self.held(journal, pair) - gone.get(pair, Decimal(0)) for pair in pairs}
            intents = (
                [] if start is None else [self._resolved(known, journal) for known in start.orders if not known.over]
            )
            lines = [f"held before: {_amounts(before)}", *intents, *lines, f"held after: {_amounts(after)}"]
        if len(lines) > LINES_MOST:
            lines = [*lines[: LINES_MOST - 1], f"and {len(lines) - LINES_MOST + 1} more"]
        return (*lines, *(f"not agreed: {reason}" for reason in self.reasons[:LINES_MOST]))

    def _resolved(self, begun: Known, journal: JournalView) -> str:
        """What became of an order that a start found under way."""
        known = journal.order(begun.client_order_id)
        if known is None:
            return f"{named(begun)}: {begun.state} before, no longer in the journal"
        state, filled = known.state, known.lots * known.step
        for event in self.told:
            if event.order_id == known.client_order_id:
                state = advance(state, event.news)
                filled += event.lots * known.step
        return f"{named(begun)}: {begun.state} before, {state} now, {plain(filled)} of {plain(known.quantity)} filled"


def _amounts(held: dict[str, Decimal]) -> str:
    return ", ".join(f"{plain(amount)} of {pair}" for pair, amount in sorted(held.items()) if amount) or "nothing"
