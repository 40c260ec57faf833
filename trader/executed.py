"""What was filled of one order: the venue's fills in, each once, and what each moves out. Pure.

* A fill counts once by its id, however often and in whatever order the venue tells it.
* Lots and cash are told as differences of totals: many small fills move what one large one would, to the last digit.
* A fee in base makes a buy receive less and a sell give more; a fee in quote is part of the cash; one in a third
  currency is told and moves neither.
* After a restart fills of the journal count in the totals and are not told again: by their ids where they are known,
  else the oldest ones, as many as make up the lots that the journal has.
* Where the venue does not tell all fills of the journal (yet), none is told: totals would fall short of what was told.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from core.money import steps_down, steps_up
from trader.broker import BrokerEvent
from trader.orders import OrderNews
from trader.terms import NS_PER_MS
from venues.account import BUY, Fill

UNIT = Decimal(1).scaleb(-8)  # of quote


class Before(NamedTuple):
    """What the journal has of an order: lots, cash in units, and the ids of its fills where they are known."""

    lots: int = 0
    cash: int = 0
    fills: frozenset[str] | None = None


class Executed:
    """The fills of one order so far. `step` is the lot in which the journal counts."""

    def __init__(
        self, order_id: str, side: str, base: str, quote: str, step: Decimal, before: Before | None = None
    ) -> None:
        self._order_id = order_id
        self._buying = side == BUY
        self._base = base
        self._quote = quote
        self._step = step
        self._before = before or Before()
        self._seen: set[str] = set()
        self._told_lots = self._before.lots
        self._told_cash = self._before.cash
        self._money = Decimal(0)  # of quote: price x quantity and fees in quote
        self.quantity = Decimal(0)

    @property
    def empty(self) -> bool:
        """Whether nothing was filled, as far as is known."""
        return not self._seen and not self._before.lots

    def take(self, fills: Iterable[Fill]) -> list[BrokerEvent]:
        """The fills among these that were not told yet, oldest first, as PART_FILLED."""
        new = {fill.venue_fill_id: fill for fill in fills if fill.venue_fill_id not in self._seen}
        oldest_first = sorted(
            new.values(), key=lambda fill: (fill.time_ms, len(fill.venue_fill_id), fill.venue_fill_id)
        )
        known = self._before.fills or frozenset()
        if not known <= self._seen | new.keys():
            return []
        told = []
        for fill in sorted(oldest_first, key=lambda fill: fill.venue_fill_id not in known):
            self._seen.add(fill.venue_fill_id)
            self.quantity += fill.quantity
            fee = fill.fee if fill.fee_currency == self._quote else Decimal(0)
            self._money += fill.price * fill.quantity + (fee if self._buying else -fee)
            if not self._is_known(fill):
                told.append(self._event(fill))
        return told

    def _is_known(self, fill: Fill) -> bool:
        """Whether the journal has this fill, which is counted in the totals already."""
        if self._before.fills is not None:
            return fill.venue_fill_id in self._before.fills
        return self._before.lots > 0 and steps_down(self.quantity, self._step) <= self._before.lots

    def _event(self, fill: Fill) -> BrokerEvent:
        lots = steps_down(self.quantity, self._step)
        cash = steps_up(self._money, UNIT) if self._buying else steps_down(self._money, UNIT)
        fee = fill.fee if fill.fee_currency == self._base else Decimal(0)
        event = BrokerEvent(
            self._order_id,
            OrderNews.PART_FILLED,
            lots=lots - self._told_lots,
            price=fill.price,
            cash=cash - self._told_cash,
            fee=fill.fee,
            fee_currency=fill.fee_currency,
            venue_order_id=fill.venue_order_id,
            venue_fill_id=fill.venue_fill_id,
            time_ns=fill.time_ms * NS_PER_MS,
            quantity=fill.quantity,
            base=fill.quantity - fee if self._buying else fill.quantity + fee,
        )
        self._told_lots, self._told_cash = lots, cash
        return event


def _age(fill: Fill) -> tuple[int, int, str]:
    return fill.time_ms, len(fill.venue_fill_id), fill.venue_fill_id
