"""The rules of reconciliation, each by its name; `tests/properties/test_reconcile.py` shuffles and splits the views."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.reconcile_world import (
    ENTRY_ID,
    EXIT_ID,
    OTHER_ID,
    PAIR,
    PREFIX,
    T0,
    absent,
    balances,
    booked,
    fill,
    found,
    journal,
    known,
    nothing,
    order,
    rules,
    twice,
    venue,
)
from trader.ids import client_order_id, is_ours
from trader.orders import OrderNews, OrderState
from trader.reconcile import IN_HAND_MS, UNDER_WAY_MS, Reconciliation, judge, overdue, strays
from trader.views import MARGIN_MS, SKEW_MS, Held, JournalView, VenueView, since_ms

S, N, D = OrderState, OrderNews, Decimal


def news(result: Reconciliation) -> list[tuple[str, OrderNews, Decimal | None]]:
    return [(event.order_id, event.news, event.quantity) for event in result.told]


def settled(book: JournalView, view: VenueView) -> Reconciliation:
    """Judges; what is found must be possible, and found only once."""
    result = judge(book, view)
    assert judge(book, view) == result
    after = booked(book, result)
    again = judge(after, view)
    assert nothing(again), again
    settled_now = booked(after, again)
    assert judge(settled_now, view).quote in (None, settled_now.wallet)
    return result


# --- orders of the journal ----------------------------------------------------------------------------


@pytest.mark.parametrize("state", [S.SUBMITTING, S.UNKNOWN, S.CANCELLING])
def test_an_intent_without_an_answer_is_looked_up_by_its_id_found_it_is_adopted_with_its_fills(state: S) -> None:
    book = journal(known(state=state))
    view = venue(
        book,
        looked={ENTRY_ID: found(order(status="cancelled", filled="0.5"))},
        fills=[fill(1, "0.2"), fill(2, "0.3", fee="0.01")],
        balances=(balances("0.5"),),
    )
    result = settled(book, view)
    assert news(result) == [
        (ENTRY_ID, N.PART_FILLED, D("0.2")),
        (ENTRY_ID, N.PART_FILLED, D("0.3")),
        (ENTRY_ID, N.CANCEL_DONE, None),
    ]
    assert [(event.lots, event.cash, event.base) for event in result.told] == [
        (200, 2_000_000_000, D("0.2")),
        (300, 3_001_000_000, D("0.3")),
        (0, 0, None),
    ]
    assert {event.venue_order_id for event in result.told} == {f"v-{ENTRY_ID}"}


def test_an_intent_that_was_filled_whole_ends_with_its_last_fill() -> None:
    book = journal(known(state=S.UNKNOWN), held="0")
    view = venue(book, looked={ENTRY_ID: found(order(status="filled", filled="1"))}, fills=[fill(1, "1")])
    assert news(settled(book, view)) == [(ENTRY_ID, N.ALL_FILLED, D("1"))]


def test_an_intent_that_the_venue_refused_is_refused() -> None:
    book = journal(known(state=S.WORKING))
    view = venue(book, looked={ENTRY_ID: found(order(status="rejected"))}, balances=(balances("0"),))
    result = settled(book, view)
    assert news(result) == [(ENTRY_ID, N.REFUSED, None)] and result.agreed


@pytest.mark.parametrize("state", [S.SUBMITTING, S.UNKNOWN, S.CANCELLING])
def test_it_is_absent_once_it_was_asked_for_at_least_three_times_over_as_long_as_a_request_may_live(state: S) -> None:
    book = journal(known(state=state))
    result = settled(book, venue(book, looked={ENTRY_ID: absent()}, balances=(balances("0"),)))
    assert [event.news for event in result.told][-1] is N.ABSENT
    assert booked(book, result).orders[0].state is S.REJECTED
    assert result.agreed and "never reached the venue" in result.report[1]


NOT_SURE = {
    "twice": {"looked": {ENTRY_ID: absent(times=2)}},
    "too soon": {"looked": {ENTRY_ID: absent(over_s=9.9)}},
    "not asked": {"looked": {}},
    "open orders not told": {"looked": {ENTRY_ID: absent()}, "open_orders": {}},
    "fills not told": {"looked": {ENTRY_ID: absent()}, "fills": {}},
}


@pytest.mark.parametrize("fields", NOT_SURE.values(), ids=NOT_SURE)
def test_what_is_not_yet_sure_is_not_agreed_and_is_asked_for_again(fields: dict[str, Any]) -> None:
    book = journal(known(state=S.UNKNOWN), held="1")
    view = venue(book, **fields, balances=twice("0"))
    result = judge(book, view)
    assert not result.agreed and nothing(result) and result.quote is None
    assert any(line.startswith("not agreed: entry") and "asked" in line for line in result.report)


@pytest.mark.parametrize("state", [S.SUBMITTING, S.UNKNOWN])
def test_an_order_that_the_venue_still_has_working_is_accepted_and_left_to_the_broker(state: S) -> None:
    book = journal(known(state=state))
    result = settled(book, venue(book, opened=[order()], balances=(balances("0"),)))
    assert news(result) == [(ENTRY_ID, N.ACCEPTED, None)] and result.agreed and result.quote is None
    assert result.told[0].venue_order_id == f"v-{ENTRY_ID}"


def test_an_order_that_works_as_the_journal_has_it_is_nothing_to_tell() -> None:
    book = journal(known(venue_order_id=f"v-{ENTRY_ID}"))
    result = judge(book, venue(book, opened=[order()], balances=(balances("0"),), at_start=False))
    assert result == Reconciliation(at_start=False, agreed=True)


def test_an_order_that_works_and_was_filled_in_part_has_its_fills_and_works_on() -> None:
    book = journal(known(state=S.SUBMITTING))
    view = venue(
        book,
        opened=[order(status="partially_filled", filled="0.4")],
        fills=[fill(1, "0.4")],
        balances=(balances("0.4"),),
    )
    result = settled(book, view)
    assert [event.news for event in result.told] == [N.ACCEPTED, N.PART_FILLED] and result.agreed


def test_an_order_is_over_when_the_venue_calls_it_over_and_its_fills_add_up_to_what_it_filled() -> None:
    book = journal(known(venue_order_id=f"v-{ENTRY_ID}"))
    over = {ENTRY_ID: found(order(status="filled", filled="1"))}
    part = judge(book, venue(book, looked=over, fills=[fill(1, "0.6")], balances=twice("1")))
    assert news(part) == [(ENTRY_ID, N.PART_FILLED, D("0.6"))]
    assert not part.agreed and "the venue filled 1, its fills add up to 0.6: asked again" in part.report[-1]
    after = booked(book, part)
    whole = judge(after, venue(after, looked=over, fills=[fill(1, "0.6"), fill(2, "0.4")]))
    assert news(whole) == [(ENTRY_ID, N.ALL_FILLED, D("0.4"))]


@pytest.mark.parametrize("filled", ["0", "0.4"])
def test_an_order_the_venue_had_and_no_longer_knows_is_over_with_the_fills_there_are(filled: str) -> None:
    book = journal(known(state=S.WORKING, venue_order_id=f"v-{ENTRY_ID}"))
    fills = [fill(1, filled)] if D(filled) else []
    result = settled(book, venue(book, looked={ENTRY_ID: absent()}, fills=fills, balances=(balances(filled),)))
    assert news(result)[-1] == (ENTRY_ID, N.CANCEL_DONE, None) and len(result.told) == 1 + len(fills)


ENDED = {
    "cancelled": (S.CANCELLED, N.PART_FILLED, S.CANCELLED),
    "filled": (S.FILLED, N.ALL_FILLED, S.FILLED),
    "called absent": (S.REJECTED, N.PART_FILLED, S.CANCELLED),
}


@pytest.mark.parametrize(("state", "told", "after"), ENDED.values(), ids=ENDED)
def test_a_fill_that_nobody_recorded_is_told_once_by_its_id_for_an_order_that_is_over_too(
    state: S, told: N, after: S
) -> None:
    book = journal(known(state=state, venue_order_id=f"v-{ENTRY_ID}", lots=200, cash=2_000_000_000, fills=["1"]))
    view = venue(book, fills=[fill(1, "0.2"), fill(2, "0.1"), fill(2, "0.1")])
    result = settled(book, view)
    assert news(result) == [(ENTRY_ID, told, D("0.1"))] and result.told[0].venue_fill_id == "2"
    assert booked(book, result).orders[0].state is after


def test_fills_whose_ids_are_not_kept_count_as_known_as_far_as_the_journals_lots_go() -> None:
    book = journal(KEPT_LOTS)
    view = venue(book, opened=[order(filled="0.5")], fills=[fill(1, "0.1"), fill(2, "0.2"), fill(3, "0.2")])
    assert [(event.venue_fill_id, event.lots) for event in judge(book, view).told if event.quantity] == [("3", 200)]


KEPT_LOTS = msgspec.structs.replace(known(lots=300, cash=3_000_000_000), fills=None, venue_order_id=f"v-{ENTRY_ID}")


def test_digits_beyond_the_markets_step_are_kept() -> None:
    book = journal(known(state=S.UNKNOWN))
    fills = [fill(1, "0.5", fee="0.00050001", fee_currency="BTC"), fill(2, "0.4995", fee="0.1", fee_currency="BNB")]
    view = venue(book, looked={ENTRY_ID: found(order(status="cancelled", filled="0.9995"))}, fills=fills)
    told = settled(book, view).told
    assert [(event.lots, event.base, event.cash) for event in told[:2]] == [
        (500, D("0.49949999"), 5_000_000_000),
        (499, D("0.4995"), 4_995_000_000),
    ]


def test_an_order_that_the_live_broker_has_in_hand_is_left_to_it_but_for_fills_it_has_not_told_within_ten_seconds() -> (
    None
):
    book = journal(known(state=S.SUBMITTING, in_hand=True), market_ms=T0 + IN_HAND_MS + 15)
    fills = [fill(1, "0.2", told=True), fill(2, "0.3", told=True)]
    view = venue(book, fills=fills, balances=twice("0"), at_start=False)
    result = judge(book, view)
    assert news(result) == [(ENTRY_ID, N.PART_FILLED, D("0.2"))] and result.external == ()
    assert result.agreed, "it is on its way"
    unknown = journal(known(state=S.UNKNOWN, in_hand=True))
    assert not judge(unknown, venue(unknown, balances=twice("0"))).agreed


@pytest.mark.parametrize("state", [S.SUBMITTING, S.WORKING, S.CANCELLING, S.UNKNOWN])
def test_at_a_start_it_is_not_agreed_before_the_broker_has_told_what_became_of_each(state: S) -> None:
    book = journal(known(state=state, in_hand=True))
    gone = judge(book, venue(book, balances=(balances("0"),)))
    assert not gone.agreed and "the broker is still asking for it" in gone.report[-1]
    works = judge(book, venue(book, opened=[order()], balances=(balances("0"),)))
    assert works.agreed is (state in (S.WORKING, S.CANCELLING)) and nothing(works)
    told = msgspec.structs.replace(book, orders=(known(state=S.CANCELLED),))
    assert judge(told, venue(told, balances=(balances("0"),))).agreed


OVERDUE: dict[str, tuple[S, dict[str, Any], bool]] = {
    "not among those open": (S.WORKING, {}, True),
    "not open while its cancel is under way": (S.CANCELLING, {}, True),
    "told as over": (S.WORKING, {"looked": {ENTRY_ID: found(order(status="filled", filled="1"))}}, True),
    "open": (S.WORKING, {"opened": [order()]}, False),
    "those open could not be asked for": (S.WORKING, {"open_orders": {}}, False),
    "asked for by the broker already": (S.UNKNOWN, {}, False),
    "under way": (S.SUBMITTING, {}, False),
}


@pytest.mark.parametrize(("state", "fields", "expected"), OVERDUE.values(), ids=OVERDUE)
def test_one_that_it_has_as_working_and_that_is_not_open_any_more_is_overdue(
    state: S, fields: dict[str, Any], expected: bool
) -> None:
    book = journal(known(state=state, in_hand=True))
    for at_start in (False, True):
        assert overdue(book, venue(book, **fields, at_start=at_start)) == ((ENTRY_ID,) if expected else ())


def test_one_that_was_not_there_when_the_look_began_or_is_not_in_hand_is_not_overdue() -> None:
    sent_since = journal(known(state=S.WORKING, in_hand=True))
    assert overdue(sent_since, venue(journal())) == ()
    accepted_since = venue(journal(known(state=S.SUBMITTING, in_hand=True)))
    assert overdue(sent_since, accepted_since) == ()
    left = journal(known(state=S.WORKING))
    assert overdue(left, venue(left)) == ()


def test_an_order_that_the_journal_sent_after_the_look_began_is_not_judged() -> None:
    before = journal(held="1")
    now = journal(known(EXIT_ID, S.WORKING, side="sell", venue_order_id="v"), held="1")
    result = judge(now, venue(before, balances=twice("0"), at_start=False))
    assert result == Reconciliation(at_start=False, agreed=True), "neither the order nor the balance"
    works = judge(now, venue(before, opened=[order(EXIT_ID, side="sell")], balances=twice("1"), at_start=False))
    assert works.agreed and not works.orphans and not strays(now, venue(before, opened=[order(EXIT_ID)]))


def test_an_order_that_ended_in_the_journal_after_the_look_began_is_no_stray() -> None:
    before, now = journal(known()), journal(known(state=S.CANCELLED))
    assert not strays(now, venue(before, opened=[order()]))
    assert judge(now, venue(before, opened=[order()], balances=(balances("0"),))).agreed


def test_fills_that_the_journal_has_and_the_look_has_not_leave_the_balance_unjudged() -> None:
    before = journal(known(venue_order_id=f"v-{ENTRY_ID}"))
    now = journal(known(state=S.FILLED, lots=1000, cash=1, fills=["1"]), held="1")
    result = judge(now, venue(before, opened=[order()], balances=twice("0"), at_start=False))
    assert result == Reconciliation(at_start=False, agreed=True)
    denied = judge(now, venue(now, balances=twice("0")))
    assert not denied.agreed and "compare with the venue's list of trades" in denied.report[-1]


def test_fills_of_an_order_that_began_before_the_view_are_told_only_once_all_of_them_are_in_it() -> None:
    book = journal(known(created_ms=T0 - 90_000, venue_order_id=f"v-{ENTRY_ID}"))
    view = venue(book, opened=[order(filled="0.2")], fills=[fill(1, "0.2")])
    assert nothing(judge(book, view)) and not judge(book, view).agreed
    assert len(judge(book, msgspec.structs.replace(view, fills_from_ms=T0 - 90_000 - SKEW_MS)).told) == 1


def test_one_of_a_market_that_is_not_traded_any_more_is_not_agreed_coin_of_such_a_market_is_only_named() -> None:
    book = journal(known(state=S.WORKING, pair="B-OLD_USDT"), holds=[Held("B-OLD_USDT", D("2"))])
    result = judge(book, venue(book, balances=(balances("0"),)))
    assert not result.agreed and "put it into PAIRS again" in result.report[-1]
    coin = msgspec.structs.replace(book, orders=())
    named = judge(coin, venue(coin, balances=(balances("0"),)))
    assert named.agreed and "2 of B-OLD_USDT: its market is not among PAIRS" in named.report[1]


# --- orders that the journal does not know ---------------------------------------------------------------


def orphan_view(book: JournalView, **fields: Any) -> VenueView:
    exit_order = order(EXIT_ID, status="filled", filled="1", side="sell", **fields)
    fills = [fill(1, "0.4", EXIT_ID, side="sell"), fill(2, "0.6", EXIT_ID, side="sell", fee="0.1")]
    return venue(book, fills=fills, by_venue_id={f"v-{EXIT_ID}": found(exit_order)}, balances=(balances("0"),))


def test_one_of_our_own_ids_is_adopted_whole_once_it_is_over_and_all_its_fills_are_there() -> None:
    book = journal(held="1")
    result = settled(book, orphan_view(book))
    (orphan,) = result.orphans
    assert (orphan.pair, orphan.client_order_id, orphan.side, orphan.quantity) == (PAIR, EXIT_ID, "sell", D("1"))
    assert [(event.news, event.cash) for event in orphan.fills] == [
        (N.PART_FILLED, 4_000_000_000),
        (N.ALL_FILLED, 5_990_000_000),
    ]
    assert orphan.venue_order_id == f"v-{EXIT_ID}" and orphan.created_ms == T0 + 5
    assert "adopted" in result.report[1] and result.report[0] == f"held before: 1 of {PAIR}"
    assert result.report[2] == "held after: nothing"


def test_one_that_was_cancelled_with_fills_is_adopted_with_its_end() -> None:
    book = journal(held="1")
    view = venue(
        book,
        fills=[fill(1, "0.4", EXIT_ID, side="sell")],
        by_venue_id={f"v-{EXIT_ID}": found(order(EXIT_ID, "cancelled", "0.4", side="sell"))},
    )
    assert [event.news for event in settled(book, view).orphans[0].fills] == [N.PART_FILLED, N.CANCEL_DONE]


def test_one_whose_fills_are_not_all_there_yet_is_not_adopted_and_not_agreed() -> None:
    book = journal(held="1")
    view = msgspec.structs.replace(orphan_view(book), fills={PAIR: (fill(1, "0.4", EXIT_ID, side="sell"),)})
    result = judge(book, msgspec.structs.replace(view, balances=twice("0")))
    assert nothing(result) and not result.agreed and "not all its fills" in result.report[-1]


def test_one_that_still_works_is_cancelled_first() -> None:
    book = journal(held="1")
    view = venue(book, opened=[order(EXIT_ID, side="sell"), order(OTHER_ID)], balances=twice("0"))
    result = judge(book, view)
    assert [stray.client_order_id for stray in strays(book, view)] == [OTHER_ID, EXIT_ID]
    assert nothing(result) and not result.agreed and "being cancelled" in result.report[-1]


def test_one_that_began_to_work_during_the_look_is_not_agreed_and_no_balance_is_judged() -> None:
    book = journal(held="1")
    works = order(EXIT_ID, "partially_filled", "0.4", side="sell")
    view = venue(
        book,
        fills=[fill(1, "0.4", EXIT_ID, side="sell")],
        by_venue_id={f"v-{EXIT_ID}": found(works)},
        balances=twice("0.6"),
    )
    result = judge(book, view)
    assert nothing(result) and not result.agreed and "not known to this book" in result.report[-1]


def test_one_that_works_at_the_venue_and_was_over_here_before_the_look_is_cancelled_too() -> None:
    book = journal(known(state=S.REJECTED))
    view = venue(book, opened=[order()])
    assert [stray.client_order_id for stray in strays(book, view)] == [ENTRY_ID]
    assert not judge(book, view).agreed


def test_one_that_filled_nothing_is_nothing_to_adopt() -> None:
    book = journal(held="1")
    view = venue(book, looked={EXIT_ID: found(order(EXIT_ID, "rejected", side="sell"))}, balances=(balances("1"),))
    result = judge(book, view)
    assert nothing(result) and result.agreed


def test_one_of_a_time_from_which_the_journal_has_not_every_order_is_let_be() -> None:
    book = journal(held="1", known_from_ms=T0 + 6 - UNDER_WAY_MS)
    view = msgspec.structs.replace(orphan_view(book), balances=(balances("1"),))
    assert nothing(judge(book, view)) and judge(book, view).agreed


def test_the_next_exit_of_a_position_is_adopted_in_a_young_book_too() -> None:
    book = journal(held="1", known_from_ms=T0 + 6 - UNDER_WAY_MS)
    (only,) = book.held
    book = msgspec.structs.replace(book, held=(msgspec.structs.replace(only, next_exit_id=EXIT_ID),))
    assert [one.client_order_id for one in judge(book, orphan_view(book)).orphans] == [EXIT_ID]


def test_one_that_was_adopted_is_not_adopted_again() -> None:
    book = journal(held="0", adopted=frozenset({EXIT_ID}))
    assert nothing(judge(book, orphan_view(book)))


FOREIGN = ["", "by-hand", "other" + "a" * 11, PREFIX, PREFIX + "a" * 12, PREFIX + "A" * 11, PREFIX + "a" * 10 + "1"]


@pytest.mark.parametrize("client_id", FOREIGN)
def test_one_of_another_prefix_or_none_is_never_adopted(client_id: str) -> None:
    book = journal(held="1")
    sold = order(client_id, "filled", "1", side="sell", venue_order_id="x")
    view = venue(
        book,
        opened=[order(client_id, side="sell", venue_order_id="y")],
        fills=[msgspec.structs.replace(fill(1, "1", side="sell"), venue_order_id="x")],
        by_venue_id={"x": found(sold)},
        balances=(balances("1"),),
    )
    result = judge(book, view)
    assert nothing(result) and result.agreed and not strays(book, view)


def test_ids_of_another_name_that_begins_alike_are_not_ours() -> None:
    place = ("ab" * 16, PAIR, 5, 6, "exit", 1)
    assert is_ours("scalp", client_order_id("scalp", *place))
    for other in ("s", "sc", "scalpx", "Scalp", "bot"):
        assert not is_ours("scalp", client_order_id(other, *place))
        assert is_ours(other, client_order_id(other, *place))


def test_a_fill_whose_order_could_not_be_told_is_not_agreed() -> None:
    book = journal(held="1")
    view = venue(book, fills=[fill(1, "1", "unseen", side="sell")], balances=twice("0"))
    result = judge(book, view)
    assert nothing(result) and not result.agreed and "whose 1 filled orders are is not known yet" in result.report[-1]
    denied = judge(book, msgspec.structs.replace(view, by_venue_id={"v-unseen": absent()}))
    assert denied.external == ((PAIR, D("1")),), "the venue certainly knows no such order: none of ours"


# --- balances ----------------------------------------------------------------------------------------------


def test_coin_that_is_missing_twice_in_a_row_is_external_as_far_as_the_journal_holds_it() -> None:
    book = journal(held="0.7001")
    first = judge(book, venue(book, balances=(balances("0.2"),)))
    assert nothing(first) and not first.agreed
    assert (
        "the account has 0.5001 less than the 0.7001 of the journal: balances may lag, asked again" in first.report[-1]
    )
    result = settled(book, venue(book, balances=twice("0.2")))
    assert result.external == ((PAIR, D("0.5001")),) and result.agreed
    assert "booked as external" in result.report[1] and result.report[-1] == f"held after: 0.2 of {PAIR}"
    assert settled(book, venue(book, balances=twice("0"))).external == ((PAIR, D("0.7001")),)


BETWEEN = {
    "a little later": ((balances("0"), balances("0", at_s=2.9)), ()),
    "only now": ((balances("1"), balances("0", at_s=4)), ()),
    "only before": ((balances("0"), balances("1", at_s=4)), ()),
    "more now": ((balances("0.9"), balances("0", at_s=4)), ((PAIR, D("0.1")),)),
    "less now": ((balances("0"), balances("0.9", at_s=4)), ((PAIR, D("0.1")),)),
}


@pytest.mark.parametrize(("looks", "external"), BETWEEN.values(), ids=BETWEEN)
def test_only_what_both_looks_lack_is_external(looks: Any, external: Any) -> None:
    book = journal(held="1")
    assert judge(book, venue(book, balances=looks)).external == external


@pytest.mark.parametrize("held", ["0.3", "0"])
def test_more_than_the_journal_holds_is_somebodys_own_and_nothing_is_adopted(held: str) -> None:
    book = journal(held=held)
    result = settled(book, venue(book, balances=twice("50")))
    assert nothing(result) and result.agreed


def test_balances_are_judged_with_what_is_told_and_adopted() -> None:
    book = journal(known(state=S.UNKNOWN), held="2")
    view = venue(
        book,
        looked={ENTRY_ID: found(order(status="filled", filled="1"))},
        fills=[fill(1, "1"), fill(9, "0.5", EXIT_ID, side="sell")],
        by_venue_id={f"v-{EXIT_ID}": found(order(EXIT_ID, "cancelled", "0.5", side="sell"))},
        balances=twice("2.5"),
    )
    result = settled(book, view)
    assert result.agreed and not result.external and result.told and result.orphans
    short = settled(book, msgspec.structs.replace(view, balances=twice("2.4")))
    assert short.external == ((PAIR, D("0.1")),)


def test_they_count_only_with_every_order_of_ours_accounted_for() -> None:
    book = journal(known(EXIT_ID, S.UNKNOWN, side="sell"), held="1")
    assert not judge(book, venue(book, looked={EXIT_ID: absent(1)}, balances=twice("0"))).external
    lag = venue(book, looked={EXIT_ID: found(order(EXIT_ID, "filled", "1", side="sell"))}, balances=twice("0"))
    assert not judge(book, lag).external, "it is over, and its fills are not told yet"


def test_no_balance_is_no_agreement_at_a_start_and_none_is_needed_later() -> None:
    book = journal(held="1")
    assert not judge(book, venue(book)).agreed
    assert judge(book, venue(book, at_start=False)).agreed


def test_a_start_does_not_agree_while_an_order_on_its_way_hides_what_is_held() -> None:
    book = journal(known(venue_order_id=f"v-{ENTRY_ID}"), held="1")
    view = venue(book, opened=[order(filled="0.1")], fills=[fill(1, "0.2")], balances=(balances("1.2"),))
    assert not judge(book, view).agreed
    assert judge(book, msgspec.structs.replace(view, at_start=False)).agreed


def test_pairs_of_one_coin_share_its_balance() -> None:
    other = "I-BTC_USDT"
    book = journal(holds=[Held(PAIR, D("0.3")), Held(other, D("0.5"))])
    both: dict[str, Any] = {
        "rules": (rules(), rules(other)),
        "open_orders": {PAIR: (), other: ()},
        "fills": {PAIR: (), other: ()},
    }
    assert settled(book, venue(book, **both, balances=twice("0.8"))).external == ()
    assert settled(book, venue(book, **both, balances=twice("0.4"))).external == ((PAIR, D("0.3")), (other, D("0.1")))
    half = {**both, "fills": {PAIR: ()}}
    assert judge(book, venue(book, **half, balances=twice("0"))).external == ()


def test_quote_is_told_where_nothing_of_ours_works_or_is_unknown_and_a_change_was_seen_twice() -> None:
    book = journal(wallet=100 * 10**8)
    assert judge(book, venue(book, balances=(balances("0", "100"),))).quote == 100 * 10**8
    first = judge(book, venue(book, balances=(balances("0", "90.123456789"),)))
    assert first.quote is None and not first.agreed, "at a start trading waits for it"
    assert judge(book, venue(book, balances=(balances("0", "90"),), at_start=False)).agreed
    assert settled(book, venue(book, balances=twice("0", "90.123456789"))).quote == 9_012_345_678
    for state, opened in ((S.WORKING, [order()]), (S.SUBMITTING, [])):
        works = journal(known(state=state, in_hand=True), wallet=100 * 10**8)
        assert judge(works, venue(works, opened=opened, balances=twice("0", "90"))).quote is None


def test_quote_is_not_told_where_a_pair_was_not_asked_for() -> None:
    book = journal()
    two = (rules(), rules("B-ETH_USDT", "ETH"))
    assert judge(book, venue(book, rules=two, balances=twice("0", "5"), at_start=False)).quote is None


# --- agreement ----------------------------------------------------------------------------------------------


def test_a_question_that_failed_is_no_answer_and_what_else_was_found_stays_found() -> None:
    book = journal(known(state=S.UNKNOWN), held="1")
    over = {ENTRY_ID: found(order(status="filled", filled="1"))}
    view = venue(book, looked=over, fills=[fill(1, "1")], failures=("balances could not be asked: kraken: no answer",))
    result = judge(book, view)
    assert not result.agreed and news(result) == [(ENTRY_ID, N.ALL_FILLED, D("1"))]
    assert "not agreed: balances could not be asked: kraken: no answer" in result.report
    nothing_had = VenueView(book, (rules(),), failures=("no answer",))
    assert nothing_had.nothing and nothing(judge(book, nothing_had)) and not judge(book, nothing_had).agreed


def test_a_look_that_agrees_and_finds_nothing_has_nothing_to_report_but_at_a_start() -> None:
    book = journal(held="1", wallet=500)
    view = venue(book, balances=(balances("1", "0.000005"),))
    assert judge(book, view).report == (f"held before: 1 of {PAIR}", f"held after: 1 of {PAIR}")
    later = judge(book, msgspec.structs.replace(view, at_start=False))
    assert later == Reconciliation(at_start=False, agreed=True, quote=500)


def test_the_report_of_a_start_says_of_each_intent_that_it_found_how_it_was_resolved_by_whomever() -> None:
    other = known(OTHER_ID, S.WORKING, quantity="2", venue_order_id="w", created_ms=T0 + 1)
    start = journal(known(state=S.UNKNOWN), other, known(EXIT_ID, S.FILLED), held="1")
    # the broker has told of the one, the comparison finds the other
    ended = msgspec.structs.replace(other, state=S.CANCELLED, lots=500, cash=1, fills=frozenset({"9"}))
    now = journal(known(state=S.UNKNOWN), ended, held="1.5")
    view = venue(
        now,
        looked={ENTRY_ID: found(order(status="filled", filled="1"))},
        fills=[fill(1, "1"), fill(9, "0.5", OTHER_ID, told=True)],
        balances=(balances("2.5"),),
        start=start,
    )
    result = settled(now, view)
    assert result.agreed
    assert result.report[:3] == (
        f"held before: 1 of {PAIR}",
        f"entry {ENTRY_ID} of {PAIR}: unknown before, filled now, 1 of 1 filled",
        f"entry {OTHER_ID} of {PAIR}: working before, cancelled now, 0.5 of 2 filled",
    )
    assert result.report[-1] == f"held after: 2.5 of {PAIR}"


def test_fills_that_can_no_longer_be_had_are_said_and_trading_may_go_on() -> None:
    book = journal(held="1")
    result = judge(book, venue(book, reach_ms=T0, balances=(balances("1"),)))
    assert result.agreed and "older fills can no longer be had" in result.report[1]


def test_a_report_has_a_bound() -> None:
    ids = [PREFIX + "a" * 9 + x + y for x in "abcdefghij" for y in "abcdefghij"]
    book = journal(*(known(name, S.UNKNOWN) for name in ids))
    assert len(judge(book, venue(book, looked=dict.fromkeys(ids, absent()), balances=(balances("0"),))).report) == 60


def test_fills_are_asked_for_from_the_oldest_order_that_is_not_over_or_the_last_agreement_on() -> None:
    assert since_ms(journal(since_ms=T0)) == T0 - MARGIN_MS
    assert since_ms(journal(known(created_ms=T0 - 5), since_ms=T0)) == T0 - 5 - MARGIN_MS
    assert since_ms(journal(known(state=S.FILLED, created_ms=T0 - 5), since_ms=T0)) == T0 - MARGIN_MS
    assert since_ms(journal(since_ms=T0, market_ms=T0 - 7)) == T0 - 7 - MARGIN_MS, "no time beyond the market's"


def test_a_book_without_a_past_asks_for_no_fills_of_before() -> None:
    assert since_ms(journal(since_ms=0)) == T0 + 60_000
    assert since_ms(journal(since_ms=0, market_ms=0)) == 0
    assert since_ms(journal(known(state=S.FILLED, created_ms=T0 + 7), since_ms=0)) == T0 + 7 - MARGIN_MS


def test_findings_are_the_same_after_a_way_through_the_journal() -> None:
    book = journal(known(state=S.UNKNOWN), held="2")
    over = {ENTRY_ID: found(order(status="filled", filled="1"))}
    exit_order = order(EXIT_ID, "cancelled", "0.5", side="sell")
    view = venue(
        book,
        looked=over,
        fills=[fill(1, "1"), fill(2, "0.5", EXIT_ID, side="sell")],
        by_venue_id={f"v-{EXIT_ID}": found(exit_order)},
        balances=twice("1"),
    )
    result = judge(book, view)
    assert result.told and result.orphans and result.external
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(result), type=Reconciliation) == result
