"""Every fault of requests and orders through the three Accounts: the right error, one order at most, nothing lost.

Not here: faults of frames (`test_accounts_stream`, `test_feeder_faults`), and answers slower than a time-out, which
take real seconds: `test_coindcx_account` waits for one, `unit/test_venues_rest` for the others.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from core.clock import NS_PER_S
from sandbox import faults as kinds
from tests.protocol.account_house import BORN_MS, PAIR, WAYS, House, house_of
from venues.account import LIMIT, MARKET
from venues.errors import OutcomeUnknown, RateLimited, Rejected, Retry

AN_HOUR_NS = 3_600 * NS_PER_S


@pytest.fixture(params=WAYS)
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    with house_of(request.param) as made:
        made.deposit("BTC", "1")
        made.account.balances()  # the clock is measured before anything goes wrong
        yield made


@pytest.fixture(autouse=True)
def waits(house: House, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited for room in limits; the time passes at once."""
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        house.breathe(int(seconds * NS_PER_S) + 1)

    monkeypatch.setattr("venues.rest.sleep", wait)
    monkeypatch.setattr("venues.kraken.account.sleep", wait)
    return waited


# --- an order whose answer is lost -------------------------------------------------------------------

# the fault, and whether the order was taken all the same
LOST: dict[str, tuple[dict[str, Any], bool]] = {
    "the reply": ({"kind": kinds.DROPPED_REPLY}, True),
    "half the reply": ({"kind": kinds.CUT_REPLY}, True),
    "the request": ({"kind": kinds.LOST_REQUEST}, False),
    "in 500": ({"kind": kinds.STATUS, "status": 500}, False),
    "in 503": ({"kind": kinds.STATUS, "status": 503}, False),
    "in 500, taken": ({"kind": kinds.STATUS, "status": 500, "acted": True}, True),
    "in 504, taken": ({"kind": kinds.STATUS, "status": 504, "acted": True}, True),
    "in a page": ({"kind": kinds.HTML, "status": 502}, False),
    "in a page, taken": ({"kind": kinds.HTML, "status": 502, "acted": True}, True),
    "in a page that says 200, taken": ({"kind": kinds.HTML, "status": 200, "acted": True}, True),
    "in a redirect": ({"kind": kinds.STATUS, "status": 302, "body": "{}"}, False),
    "in half JSON, taken": ({"kind": kinds.STATUS, "status": 200, "body": '{"result":{"tx', "acted": True}, True),
    "in another shape, taken": ({"kind": kinds.STATUS, "status": 200, "body": "[1,2]", "acted": True}, True),
    "in nothing, taken": ({"kind": kinds.STATUS, "status": 200, "body": "", "acted": True}, True),
}


@pytest.mark.parametrize(("fields", "taken"), LOST.values(), ids=LOST)
def test_a_create_whose_answer_is_lost_is_unknown_sent_once_and_looked_up(
    house: House, fields: dict[str, Any], taken: bool
) -> None:
    went = house.calls()
    house.served.fault(path=house.ways.create, method="POST", **fields)
    with pytest.raises(OutcomeUnknown):
        house.account.create(house.order("x1", LIMIT, price=house.price("0.9")))
    assert went() == 1
    house.served.no_faults()
    house.breathe(AN_HOUR_NS)
    found = house.account.order(house.rules, "x1")
    assert (found is not None) is taken and len(house.all_booked()) == taken
    house.agree()
    if not taken:  # sent anew under the same id, it is the only one
        house.account.create(house.order("x1", LIMIT, price=house.price("0.9")))
        assert len(house.all_booked()) == 1
        house.agree()


# What says "asked too often", and whether that is proof that nothing was done: CoinDCX's is not known to be.
OFTEN: dict[str, dict[str, Any]] = {
    "429": {"kind": kinds.STATUS, "status": 429, "retry_after_s": 60},
    "418": {"kind": kinds.STATUS, "status": 418, "retry_after_s": 1_800},
    "429 in a page": {"kind": kinds.HTML, "status": 429, "retry_after_s": 120},
}


@pytest.mark.parametrize("fields", OFTEN.values(), ids=OFTEN)
def test_a_create_that_was_too_much_is_not_sent_again(house: House, fields: dict[str, Any]) -> None:
    proof = house.protocol != "coindcx" and fields["kind"] == kinds.STATUS
    went = house.calls()
    house.served.fault(path=house.ways.create, method="POST", **fields)
    with pytest.raises(RateLimited if proof else OutcomeUnknown):
        house.account.create(house.order("x1", MARKET))
    with pytest.raises(RateLimited, match="not sent"):
        house.hasty.create(house.order("x1", MARKET))
    assert went() == 1 and house.all_booked() == []


@pytest.mark.parametrize("fields", OFTEN.values(), ids=OFTEN)
def test_a_retry_after_is_obeyed_to_the_letter_by_whatever_call(house: House, fields: dict[str, Any]) -> None:
    number = house.served.fault(path="*", **fields)
    with pytest.raises(RateLimited) as caught:
        house.hasty.balances()
    assert caught.value.retry_after_s == pytest.approx(fields["retry_after_s"], abs=1)
    asks: list[Callable[[], Any]] = [
        house.hasty.balances,
        house.hasty.server_time_ms,
        lambda: house.hasty.order(house.rules, "x1"),
        lambda: house.hasty.cancel(house.rules, "x1"),
        lambda: house.hasty.create(house.order("x1", MARKET, urgent=True)),
    ]
    for seconds in (0, fields["retry_after_s"] - 30):  # Kraken's waits 20 s itself before it says so
        house.breathe(seconds * NS_PER_S)
        for ask in asks:
            with pytest.raises(RateLimited, match="not sent"):
                ask()
    assert house.served.struck(number) == 1
    house.served.no_faults()
    house.breathe(31 * NS_PER_S)
    assert house.hasty.balances()


def test_an_exit_uses_the_share_that_is_kept_for_it(house: House, waits: list[float]) -> None:
    number = 0
    while not waits and number < 100:
        number += 1
        house.hasty.create(house.order(f"e{number}", MARKET, "0.0005"))
    assert waits, "ordinary orders wait in the end"
    waits.clear()
    house.hasty.create(house.order("exit", MARKET, "0.0005", side="sell", urgent=True))
    assert not waits
    house.breathe()
    house.agree()


# --- what only asks, and a cancel --------------------------------------------------------------------

TRANSIENT = {
    name: {key: value for key, value in fields.items() if key != "acted"}
    for name, (fields, _) in LOST.items()
    if "taken" not in name or name in ("half the reply", "the reply", "in half JSON, taken", "in another shape, taken")
}
ASKS: dict[str, Callable[[House], Any]] = {
    "balances": lambda house: house.hasty.balances(),
    "order": lambda house: house.hasty.order(house.rules, "x1"),
    "open orders": lambda house: house.hasty.open_orders(house.rules),
    "fills": lambda house: house.hasty.fills(house.rules, BORN_MS),
    "time": lambda house: house.hasty.server_time_ms(),
}


@pytest.mark.parametrize("fields", TRANSIENT.values(), ids=TRANSIENT)
def test_a_question_whose_answer_is_lost_is_a_retry_and_the_next_one_is_answered(
    house: House, fields: dict[str, Any]
) -> None:
    house.account.create(house.order("x1", LIMIT, price=house.price("0.9")))
    house.account.open_orders(house.rules)  # the first one asks for a venue's limits besides
    for name, ask in ASKS.items():
        if name == "time" and house.protocol == "coindcx" and fields.get("status") in (200, 302):
            continue  # its time is the Date of whatever answer
        house.account.server_time_ms()  # else a question may come first that the old answer serves for
        number = house.served.fault(path="*", times=1, **fields)
        with pytest.raises(Retry):
            ask(house)
        assert house.served.struck(number) == 1
        house.breathe(AN_HOUR_NS)
        ask(house)
    house.agree()


@pytest.mark.parametrize(("fields", "done"), LOST.values(), ids=LOST)
def test_a_cancel_whose_answer_is_lost_is_a_retry_and_may_be_asked_again(
    house: House, fields: dict[str, Any], done: bool
) -> None:
    house.account.create(house.order("x1", LIMIT, price=house.price("0.9")))
    method, path = house.ways.cancel
    house.served.fault(path=path, method=method, times=1, **fields)
    told = fields.get("body")
    if house.protocol == "binance" and told in ("[1,2]", '{"result":{"tx'):  # 200 is all that is read of it
        house.account.cancel(house.rules, "x1")
    else:
        with pytest.raises(Retry):
            house.account.cancel(house.rules, "x1")
    house.breathe(AN_HOUR_NS)
    if done:
        with pytest.raises(Rejected):
            house.account.cancel(house.rules, "x1")
    else:
        house.account.cancel(house.rules, "x1")
    assert house.account.order(house.rules, "x1").status == "cancelled"
    house.agree()


def test_latency_within_the_time_outs_changes_nothing(house: House) -> None:
    house.served.fault(kinds.LATENCY, ms=20)
    house.served.fault(kinds.SLOW_REPLY, ms=20)
    house.account.create(house.order("x1", MARKET))
    house.agree()


# --- what stands -------------------------------------------------------------------------------------


def test_in_maintenance_questions_are_retries_and_an_order_is_unknown(house: House) -> None:
    house.account.create(house.order("x1", LIMIT, price=house.price("0.9")))
    house.served.fault(kinds.MAINTENANCE)
    for ask in ASKS.values():
        with pytest.raises(Retry):
            ask(house)
    with pytest.raises(Retry):
        house.account.cancel(house.rules, "x1")
    with pytest.raises(OutcomeUnknown):
        house.account.create(house.order("x2", MARKET))
    house.served.no_faults()
    house.breathe(AN_HOUR_NS)
    assert house.account.order(house.rules, "x2") is None
    house.account.create(house.order("x2", MARKET))
    house.agree()


# Kraken's ahead is a test of its own: it says that a deadline is over, which is no proof that nothing was done.
SKEWS = [(name, ms) for name in WAYS for ms in (-7_200_000, -120_000, 120_000, 7_200_000) if name != "kraken" or ms < 0]


@pytest.mark.parametrize(("house", "ms"), SKEWS, indirect=["house"])
def test_a_venues_clock_that_moved_is_measured_anew_and_the_order_goes_through(house: House, ms: int) -> None:
    went = house.calls()
    house.served.fault(kinds.CLOCK_SKEW, ms=ms)
    house.hasty.create(house.order("x1", MARKET))
    assert went() == 2 and len(house.all_booked()) == 1, "one was refused for its stamp, the next one was taken"
    house.hasty.create(house.order("x2", MARKET))
    assert went() == 3 and len(house.all_booked()) == 2


@pytest.mark.parametrize("house", ["kraken"], indirect=True)
def test_an_elapsed_deadline_is_unknown_and_costs_no_second_order(house: House) -> None:
    house.served.fault(kinds.CLOCK_SKEW, ms=120_000)
    with pytest.raises(OutcomeUnknown, match="look up"):
        house.account.create(house.order("x1", MARKET))
    assert house.account.order(house.rules, "x1") is None and house.all_booked() == []
    house.account.create(house.order("x1", MARKET))
    assert len(house.all_booked()) == 1


def test_an_order_that_is_rejected_late_is_over_without_a_trace_in_the_money(house: House) -> None:
    before = house.balances_booked()
    house.served.fault(kinds.LATE_REJECTION, ms=300)
    assert house.account.create(house.order("x1", MARKET)).live
    assert house.account.order(house.rules, "x1").live
    house.step(1_000)
    over = house.account.order(house.rules, "x1")
    assert (over.status, over.filled) == (house.ways.rejected, 0)
    assert house.balances_booked() == before
    house.agree()


def test_an_order_that_the_venue_does_not_find_yet_is_none_and_then_there(house: House) -> None:
    house.served.fault(kinds.QUERY_LAG, ms=2_000)
    house.account.create(house.order("x1", LIMIT, price=house.price("0.9")))
    assert house.account.order(house.rules, "x1") is None
    with pytest.raises(Rejected):
        house.account.cancel(house.rules, "x1")
    with pytest.raises(OutcomeUnknown):  # who took None for an answer is not let into a second order
        house.account.create(house.order("x1", LIMIT, price=house.price("0.9")))
    house.step(2_500)
    assert house.account.order(house.rules, "x1").live and len(house.all_booked()) == 1
    house.agree()


def test_changed_lot_rules_refuse_the_old_step_and_are_had_anew(house: House) -> None:
    house.served.fault(kinds.LOT_RULES, pair=PAIR, step="0.01", min_quantity="0.02")
    for quantity in ("0.005", "0.025", "0.01"):
        with pytest.raises(Rejected):
            house.account.create(house.order("x1", MARKET, quantity))
    assert house.all_booked() == []
    rules = house.resolved()
    assert rules.min_quantity == Decimal("0.02")
    # Kraken lists digits: a step of one hundredth is two of them.
    assert rules.step == Decimal("0.01")
    house.account.create(house.order("x1", MARKET, "0.02"))
    house.agree()


@pytest.mark.parametrize("trading", ["halted", "cancel_only"])
def test_a_market_that_stands_takes_no_order_and_says_so(house: House, trading: str) -> None:
    house.account.create(house.order("x1", LIMIT, price=house.price("0.9")))
    house.served.fault(kinds.HALT, pair=PAIR, trading=trading)
    with pytest.raises((Rejected, Retry)):
        house.account.create(house.order("x2", MARKET))
    assert not house.resolved().active and len(house.all_booked()) == 1
    house.account.cancel(house.rules, "x1")
    house.served.no_faults()
    assert house.resolved().active
    house.account.create(house.order("x2", MARKET))
    house.agree()
