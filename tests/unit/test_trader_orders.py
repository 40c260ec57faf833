"""The order table's full cross product, and ids that follow from the decision."""

import re

import pytest

from trader.ids import MAX_LENGTH, client_order_id
from trader.orders import TABLE, TERMINAL, IllegalTransitionError, OrderNews, OrderState, advance

S, N = OrderState, OrderNews

# What must not be: state -> news that raise. Everything else must be in the table.
ILLEGAL = {
    S.SUBMITTING: {N.CANCEL_REFUSED, N.ABSENT},
    S.WORKING: {N.ABSENT},
    S.CANCELLING: set(),
    S.UNKNOWN: {N.CANCEL_REFUSED},
    S.CANCELLED: {N.CANCEL_SENT, N.REFUSED, N.NO_ANSWER, N.ABSENT},
    S.FILLED: {N.PART_FILLED, N.CANCEL_SENT, N.REFUSED, N.NO_ANSWER, N.ABSENT},
    S.REJECTED: {N.ACCEPTED, N.CANCEL_SENT, N.CANCEL_DONE, N.CANCEL_REFUSED, N.NO_ANSWER},
}


@pytest.mark.parametrize("news", list(N))
@pytest.mark.parametrize("state", list(S))
def test_every_pair_is_either_in_the_table_or_raises(state: OrderState, news: OrderNews) -> None:
    if news in ILLEGAL[state]:
        assert (state, news) not in TABLE
        with pytest.raises(IllegalTransitionError, match=f"{state} cannot be {news}"):
            advance(state, news)
    else:
        assert advance(state, news) in S


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_an_ended_order_never_works_again(state: OrderState) -> None:
    after = {TABLE[state, news] for news in N if (state, news) in TABLE}
    assert after <= TERMINAL


def test_an_order_that_is_complete_is_filled_from_any_live_state() -> None:
    for state in set(S) - TERMINAL:
        assert advance(state, N.ALL_FILLED) is S.FILLED


def test_an_order_that_was_called_absent_and_filled_all_the_same_has_its_fill() -> None:
    assert advance(S.REJECTED, N.PART_FILLED) is S.CANCELLED
    assert advance(S.REJECTED, N.ALL_FILLED) is S.FILLED


def test_a_lost_answer_is_unknown_not_failed() -> None:
    assert advance(S.SUBMITTING, N.NO_ANSWER) is S.UNKNOWN
    assert advance(S.UNKNOWN, N.ACCEPTED) is S.WORKING
    assert advance(S.UNKNOWN, N.ABSENT) is S.REJECTED


def test_ids_are_short_and_follow_from_the_decision() -> None:
    place = ("sixsix", "ab" * 16, "B-BTC_USDT", 1_700_000_000_000, 123_456, "entry", 1)
    first = client_order_id(*place)
    assert first == client_order_id(*place)
    assert len(first) <= MAX_LENGTH
    assert re.fullmatch(r"sixsix[a-z2-7]{11}", first)
    others = {first}
    for index, value in enumerate(["other", "cd" * 16, "B-ETH_USDT", 5, 6, "exit", 2]):
        changed = list(place)
        changed[index] = value
        others.add(client_order_id(*changed))  # type: ignore[arg-type]
    assert len(others) == 8
