"""The shadow over the fold of real orders: what a venue tells comes late, in pieces, with fees in base, or never."""

from decimal import Decimal
from typing import Any

import pytest

from bus.messages import OrderEvent, ShadowEvent, TraderEvent
from tests.live_world import Venue
from tests.trader_world import HASH, Tape, of, settings, start
from trader import inputs
from trader.orders import OrderNews
from trader.shadow import Shadow
from trader.state import pack, unpack
from trader.terms import terms_of

PAPER = {"paper_fill": "tape", "paper_latency_ms": "0", "wallet": "100000"}


class Shadowed(Venue):
    """The venue's fold with its shadow, wired as the stage does it."""

    shadow: Shadow | None = None

    def __init__(self, tape: Tape, **changed: Any) -> None:
        super().__init__(tape, **changed)
        changed.pop("wallet", None)
        self.shadow = Shadow(self.engine, terms_of(settings(**changed), HASH))

    def _shadowed(self, item: inputs.Input, found: list[TraderEvent]) -> list[TraderEvent]:
        if self.shadow is None:
            return found
        told, wanted = self.shadow.handle(item, found)
        self.events += told
        for more in wanted:
            told += self.give(more)
        return found + told

    def give(self, item: inputs.Input) -> list[TraderEvent]:
        return self._shadowed(item, super().give(item))

    def feed(self, batch: int = 1000) -> list[TraderEvent]:
        found: list[TraderEvent] = []
        while self.fed < len(self.tape.rows):
            row = self.tape.rows[self.fed]
            self.fed += 1
            found += self.give(inputs.Updates(1, self.fed, row.tobytes()))
        return found

    @property
    def compared(self) -> list[ShadowEvent]:
        return of(self.events, ShadowEvent)


def entered(**changed: Any) -> Shadowed:
    """An entry decided at 100, which paper fills at 100."""
    found = Shadowed(Tape(start(fee="10")).trade(100).trade(100, "mr").trade(100), **(PAPER | changed))
    found.feed()
    return found


def test_a_round_trip_that_the_venue_tells_late_and_in_pieces() -> None:
    found = entered()
    lots = found.last.lots
    found.tell(OrderNews.ACCEPTED, venue_order_id="v1")
    found.fill(lots // 2, "100.10", fee="0.5", whole=False)
    assert found.compared == []
    found.fill(lots - lots // 2, "100.30", fee="0.5")
    (entry,) = found.compared
    assert (entry.live_price, entry.paper_price, entry.difference_bps) == ("100.2", "100", "20")
    assert entry.live_quantity == entry.paper_quantity
    found.tape.trade(102, "tp").trade(102)
    found.feed()
    found.tell(OrderNews.ACCEPTED, venue_order_id="v2")
    found.fill(lots, "101.90", fee="1")
    sale = found.compared[1]
    assert (sale.live_price, sale.paper_price, sale.difference_bps) == ("101.9", "102", "9.8")
    quantity = Decimal(sale.live_quantity)
    assert Decimal(sale.paper_profit or "") == quantity * (102 - 100) - quantity * 202 / 1000
    assert Decimal(sale.live_profit or "") < Decimal(sale.paper_profit or "")


def test_a_fee_in_base_leaves_the_lots_of_the_sale_to_the_fold() -> None:
    """What is sold is what is left after the fee; paper sells the same."""
    found = entered()
    found.fill(found.last.lots, "100", fee="0.01", in_base=True)
    found.tape.trade(102, "tp").trade(102)
    found.feed()
    assert found.last.purpose == "exit"
    found.fill(found.last.lots, "102", fee="1")
    entry, sale = found.compared
    assert Decimal(sale.live_quantity) < Decimal(entry.live_quantity)
    assert (sale.paper_quantity, sale.difference_bps) == (sale.live_quantity, "0")
    assert sale.paper_profit is not None


def test_an_outcome_that_is_unknown_is_compared_once_it_is_known() -> None:
    found = entered()
    found.tell(OrderNews.NO_ANSWER)
    found.tape.trade(100)
    found.feed()
    assert found.compared == []
    found.fill(found.last.lots, "100.05")
    assert [one.difference_bps for one in found.compared] == ["5"]


def test_an_entry_that_never_arrived_is_recorded_without_a_difference() -> None:
    found = entered()
    found.tell(OrderNews.NO_ANSWER)
    found.tell(OrderNews.ABSENT)
    assert [(one.live_price, one.paper_price, one.difference_bps) for one in found.compared] == [(None, "100", None)]


def test_each_attempt_of_an_exit_is_a_leg_of_its_own() -> None:
    found = entered()
    found.fill(found.last.lots, "100")
    found.tape.trade(99, "warm").trade(99)
    found.feed()
    first = found.last.id
    found.tell(OrderNews.REFUSED)
    found.give(inputs.Again(found.pair.pair))
    assert found.last.id != first
    found.tape.trade(98.5)
    found.feed()
    found.fill(found.last.lots, "98.30")
    refused, sold = found.compared[1:]
    assert (refused.client_order_id, refused.live_price, refused.paper_price) == (first, None, "99")
    assert (sold.live_price, sold.paper_price, sold.difference_bps) == ("98.3", "98.5", "20.3")
    assert sold.paper_profit is not None


def test_what_diverges_halts_entries_and_the_position_is_sold_all_the_same() -> None:
    found = entered(shadow_limit_bps="2")
    found.fill(found.last.lots, "100.50")
    assert found.engine.state.trading == "halted"
    assert found.engine.state.trading_reason == "shadow_diverges"
    found.tape.trade(99)
    found.feed()
    assert found.last.purpose == "exit"
    assert [order.status for order in of(found.events, OrderEvent)][-1] == "submitting"


# --- a stop that rests at the venue: bought at 100, the stop at 99.5 ---


def guarded(**changed: Any) -> Shadowed:
    """A position with a stop that the venue has taken."""
    found = entered(trailing_stop_pct="0.005", **changed)
    found.engine.terms = found.engine.terms._replace(native_stop=True)
    found.tell(OrderNews.ACCEPTED, venue_order_id="v1")
    found.fill(found.last.lots, "100")
    found.give(inputs.Protect(found.pair.pair))
    found.tell(OrderNews.ACCEPTED, venue_order_id="v2")
    assert found.last.kind == "stop"
    return found


def falls(found: Shadowed, *prices: float) -> None:
    for price in prices:
        found.tape.trade(price)
        found.feed()


def test_what_a_stop_at_the_venue_sold_is_compared_with_paper_that_sells_as_it_is_hit() -> None:
    found = guarded()
    stop = found.last
    falls(found, 99.6)
    assert found.engine.state.shadow is not None and found.engine.state.shadow.stops
    falls(found, 99.4, 99.3)  # the fold cancels it as it is hit: the venue was first
    found.fill(stop.lots, "99.20", order_id=stop.id)
    (sale,) = found.compared[1:]
    assert (sale.client_order_id, sale.live_price, sale.paper_price) == (stop.id, "99.2", "99.3")
    assert sale.difference_bps == "10.07" and sale.paper_profit is not None and sale.live_profit is not None
    assert not found.engine.state.shadow.stops


def test_the_venue_may_tell_of_its_sale_before_the_trade_comes() -> None:
    found = guarded()
    found.fill(found.last.lots, "99.20")
    assert len(found.compared) == 1
    falls(found, 99.2, 99.1)
    assert [(one.live_price, one.paper_price) for one in found.compared[1:]] == [("99.2", "99.1")]


def test_a_stop_that_no_trade_of_ours_hit_is_recorded_without_a_difference_once_another_order_follows() -> None:
    found = guarded()
    found.fill(found.last.lots, "99.20")
    found.tape.trade(100, "mr")
    found.feed()
    assert found.last.purpose == "entry"
    assert [(one.live_price, one.paper_price, one.difference_bps) for one in found.compared[1:]] == [
        ("99.2", None, None)
    ]


def test_a_stop_that_is_over_without_a_fill_leaves_nothing_and_the_sale_is_compared() -> None:
    found = guarded()
    stop = found.last
    falls(found, 99.4)  # the fold's own stop: it is cancelled, and the market order follows
    found.tell(OrderNews.CANCEL_DONE, stop.id)
    sale = found.last
    assert sale.id != stop.id and sale.kind == "market"
    falls(found, 99.3)
    found.fill(sale.lots, "99.30")
    assert [(one.client_order_id, one.paper_price) for one in found.compared[1:]] == [(sale.id, "99.3")]


def test_a_stop_that_climbs_is_one_stop_on_paper() -> None:
    found = guarded()
    falls(found, 102)
    found.give(inputs.Protect(found.pair.pair))
    found.tell(OrderNews.CANCEL_DONE)
    found.give(inputs.Protect(found.pair.pair))
    found.tell(OrderNews.ACCEPTED, venue_order_id="v3")
    stop = found.last
    falls(found, 101.4, 101.3)
    found.fill(stop.lots, "101.30", order_id=stop.id)
    assert [(one.client_order_id, one.paper_price) for one in found.compared[1:]] == [(stop.id, "101.3")]


def test_a_stop_that_sold_in_part_is_compared_for_that_part() -> None:
    found = guarded()
    stop = found.last
    falls(found, 99.4, 99.3)
    found.fill(stop.lots // 2, "99.20", order_id=stop.id, whole=False)
    found.tell(OrderNews.CANCEL_DONE, stop.id)
    first = found.compared[1]
    assert (first.live_price, first.paper_price, first.live_profit is not None) == ("99.2", "99.3", True)
    assert Decimal(first.live_quantity) * 2 == Decimal(first.paper_quantity)
    falls(found, 99.1)
    found.fill(found.last.lots, "99.00")
    assert [(one.live_price, one.paper_price) for one in found.compared[2:]] == [("99", "99.1")]


def test_stops_of_the_venue_that_slip_halt_entries_too() -> None:
    found = guarded(shadow_limit_bps="3")
    stop = found.last
    falls(found, 99.4, 99.3)
    found.fill(stop.lots, "98.60", order_id=stop.id)
    assert (found.engine.state.trading, found.engine.state.trading_reason) == ("halted", "shadow_diverges")


@pytest.mark.parametrize("before", [(), (99.4,)], ids=["waits", "was hit"])
def test_a_restart_goes_on_with_a_stop(before: tuple[float, ...]) -> None:
    found = guarded()
    falls(found, *before)
    found.engine.state.shadow = unpack(pack(found.engine.sync())).shadow
    texts = {name: value for name, value in PAPER.items() if name != "wallet"}
    found.shadow = Shadow(found.engine, terms_of(settings(**texts), HASH))
    falls(found, 99.4, 99.3)
    assert found.engine.state.shadow is not None
    (leg,) = found.engine.state.shadow.stops.values()
    assert leg.paper.filled == leg.paper.lots and leg.stop is None
