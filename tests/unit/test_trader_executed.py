"""What fills of a real order move: once each, by totals, with the coin of their fee."""

from decimal import Decimal
from itertools import permutations

import pytest

from trader.broker import BrokerEvent
from trader.executed import Before, Executed
from venues.account import Fill

STEP = Decimal("0.001")


def fill(id_: str, quantity: str, price: str = "100", fee: str = "0", currency: str = "USDT", time_ms: int = 0) -> Fill:
    return Fill(id_, "v1", "", "S", "?", Decimal(price), Decimal(quantity), Decimal(fee), currency, time_ms or int(id_))


def executed(side: str = "buy", before: Before | None = None) -> Executed:
    return Executed("o1", side, "BTC", "USDT", STEP, before)


def rows(events: list[BrokerEvent]) -> list[tuple[str, int, int]]:
    return [(event.venue_fill_id, event.lots, event.cash) for event in events]


def test_a_fill_counts_once_however_often_and_in_whatever_order_it_is_told() -> None:
    fills = [fill("1", "0.002"), fill("2", "0.003"), fill("3", "0.005")]
    expected = [("1", 2, 20_000_000), ("2", 3, 30_000_000), ("3", 5, 50_000_000)]
    for order in permutations(fills):
        found = executed()
        assert rows(found.take(order)) == expected and found.take(fills) == []
        assert found.quantity == Decimal("0.010") and not found.empty


@pytest.mark.parametrize(("side", "cash"), [("buy", 34), ("sell", 33)])
def test_many_small_fills_move_what_one_large_one_would(side: str, cash: int) -> None:
    """A third of a unit each: rounded one by one it would be 100 units for a buy, and nothing for a sell."""
    found = executed(side)
    events = [event for number in range(100) for event in found.take([fill(str(number), "0.00025", "0.0000133333")])]
    assert len(events) == 100
    assert sum(event.lots for event in events) == 25
    assert sum(event.cash for event in events) == cash
    assert sum(event.quantity or 0 for event in events) == Decimal("0.025")


FEES = {
    "a buy, in quote": ("buy", "USDT", 10_000_000 + 1_000, "0.001"),
    "a sell, in quote": ("sell", "USDT", 10_000_000 - 1_000, "0.001"),
    "a buy, in base": ("buy", "BTC", 10_000_000, "0.00099"),
    "a sell, in base": ("sell", "BTC", 10_000_000, "0.00101"),
    "a buy, in a third coin": ("buy", "BNB", 10_000_000, "0.001"),
    "a sell, in a third coin": ("sell", "BNB", 10_000_000, "0.001"),
}


@pytest.mark.parametrize(("side", "currency", "cash", "base"), FEES.values(), ids=FEES)
def test_a_fee_moves_the_coin_that_it_is_taken_in(side: str, currency: str, cash: int, base: str) -> None:
    (event,) = executed(side).take([fill("1", "0.001", fee="0.00001", currency=currency)])
    assert (event.lots, event.cash, event.base, event.quantity) == (1, cash, Decimal(base), STEP)
    assert (event.fee, event.fee_currency) == (Decimal("0.00001"), currency)


def test_a_rebate_makes_a_buy_cheaper() -> None:
    (event,) = executed().take([fill("1", "0.001", fee="-0.00001")])
    assert event.cash == 10_000_000 - 1_000


FILLS = [fill("1", "0.002"), fill("2", "0.003"), fill("3", "0.005")]
KNOWN = {
    "nothing": (Before(), ["1", "2", "3"]),
    "the oldest, by id": (Before(2, 20_000_000, frozenset({"1"})), ["2", "3"]),
    "a later one, by id": (Before(3, 30_000_000, frozenset({"2"})), ["1", "3"]),
    "the oldest, by totals": (Before(5, 50_000_000), ["3"]),
    "all of it": (Before(10, 100_000_000), []),
}


@pytest.mark.parametrize(("before", "told"), KNOWN.values(), ids=KNOWN)
def test_fills_of_the_journal_are_not_told_again(before: Before, told: list[str]) -> None:
    found = executed(before=before)
    events = found.take(FILLS)
    assert [event.venue_fill_id for event in events] == told
    assert before.lots + sum(event.lots for event in events) == 10
    assert before.cash + sum(event.cash for event in events) == 100_000_000
    assert found.quantity == Decimal("0.010")


def test_nothing_is_told_while_the_venue_does_not_tell_all_fills_of_the_journal() -> None:
    found = executed(before=Before(2, 20_000_000, frozenset({"1"})))
    assert found.take(FILLS[1:]) == [] and found.quantity == 0 and not found.empty
    assert rows(found.take(FILLS)) == [("2", 3, 30_000_000), ("3", 5, 50_000_000)]
