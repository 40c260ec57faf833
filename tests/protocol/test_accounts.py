"""One contract for the three Accounts: orders from intent to books. What is right is what the sandbox's books say."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from sandbox import faults as kinds
from tests.protocol.account_house import BORN_MS, WAYS, House, house_of, order_told
from venues.account import (
    IOC,
    LIMIT,
    MARKET,
    POST_ONLY,
    STOP,
    UNIQUE_FOR_EVER,
    UNIQUE_WHILE_OPEN,
    KeyRights,
)
from venues.errors import OutcomeUnknown, Rejected, Retry

NATIVE = {"coindcx": set[str](), "binance": {IOC, POST_ONLY, STOP}, "kraken": {IOC, POST_ONLY, STOP}}


def having(kind: str) -> list[str]:
    return [name for name, kinds_of in NATIVE.items() if kind in kinds_of]


@pytest.fixture(params=WAYS)
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    with house_of(request.param) as made:
        made.deposit("BTC", "1")
        yield made


def test_the_capabilities_are_what_the_venue_has(house: House) -> None:
    can = house.account.capabilities
    told = {kind for kind, has in ((IOC, can.ioc), (POST_ONLY, can.post_only), (STOP, can.native_stop)) if has}
    assert told == NATIVE[house.protocol] and can.stream and can.client_id_lookup
    assert can.clock_step_ms == {"binance": 1}.get(house.protocol, 1_000)


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_market_order_moves_exactly_the_money_of_its_fills(house: House, side: str) -> None:
    before = house.balances_told()
    assert before == house.balances_booked()
    taken = house.account.create(house.order("m1", MARKET, "0.05", side=side))
    assert (taken.client_order_id, taken.side, taken.kind, taken.quantity) == ("m1", side, MARKET, Decimal("0.05"))
    house.until(lambda: not house.account.order(house.rules, "m1").live)
    house.agree()
    fills = house.account.fills(house.rules, BORN_MS)
    sign = 1 if side == "buy" else -1
    moved = {"BTC": Decimal(0), "USDT": Decimal(0)}
    for fill in fills:
        moved["BTC"] += sign * fill.quantity
        moved["USDT"] -= sign * fill.quantity * fill.price
        moved[fill.fee_currency] -= fill.fee
    after = house.balances_told()
    assert fills and moved == {name: after[name][0] - before[name][0] for name in moved}
    assert all(after[name][1] == 0 for name in moved)


def test_fills_in_the_answer_to_create_are_those_of_the_history(house: House) -> None:
    """Where the answer has them: Binance's. The others say so by having none."""
    taken = house.account.create(house.order("m1", MARKET, "0.05"))
    history = house.account.fills(house.rules, BORN_MS)
    if taken.fills:
        assert sorted(map(house.fill_told, taken.fills)) == sorted(map(house.fill_told, history))
    assert bool(taken.fills) == (house.protocol == "binance")


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_limit_order_rests_and_the_markets_prints_fill_it(house: House, side: str) -> None:
    price = house.price("0.998" if side == "buy" else "1.002")
    house.account.create(house.order("l1", LIMIT, "0.01", side=side, price=price))
    house.agree()
    resting = house.account.order(house.rules, "l1")
    assert (resting.live, resting.price, resting.kind, resting.filled) == (True, price, LIMIT, 0)
    assert house.balances_told()["USDT" if side == "buy" else "BTC"][1] > 0
    house.until(lambda: not house.account.order(house.rules, "l1").live, step_ms=10_000)
    house.agree()
    fills = house.account.fills(house.rules, BORN_MS)
    assert {fill.price for fill in fills} == {price} and sum(fill.quantity for fill in fills) == Decimal("0.01")
    assert house.account.order(house.rules, "l1").average_price == price
    assert all(locked == 0 for _, locked in house.balances_told().values())


def test_an_order_that_fills_in_parts_is_told_at_every_stage(house: House) -> None:
    house.served.fault(kinds.PARTIAL_FILLS, share=0.02)
    house.account.create(house.order("p1", LIMIT, "0.02", price=house.price("0.999")))
    seen = set()
    for _ in range(400):
        house.step(2_000)
        told = house.account.order(house.rules, "p1")
        seen.add(told.status)
        if len(seen) > 1 or not told.live:
            house.agree()
        if not told.live:
            break
    assert {"partially_filled", "filled"} <= seen
    assert len(house.account.fills(house.rules, BORN_MS)) > 2


def test_a_cancel_keeps_what_was_filled_and_frees_the_rest(house: House) -> None:
    house.served.fault(kinds.PARTIAL_FILLS, share=0.02)
    house.account.create(house.order("c1", LIMIT, "0.05", price=house.price("0.999")))
    house.until(lambda: house.account.order(house.rules, "c1").status == "partially_filled")
    house.account.cancel(house.rules, "c1")
    over = house.account.order(house.rules, "c1")
    assert over.status == "cancelled" and 0 < over.filled < over.quantity
    house.agree()
    assert all(locked == 0 for _, locked in house.balances_told().values())


@pytest.mark.parametrize("by", ["client id", "venue id", "both"])
def test_an_order_is_found_and_cancelled_by_either_id(house: House, by: str) -> None:
    taken = house.account.create(house.order("c1", LIMIT, price=house.price("0.9")))
    names = {"client id": ("c1",), "venue id": ("", taken.venue_order_id), "both": ("c1", taken.venue_order_id)}[by]
    found = house.account.order(house.rules, *names)
    assert found is not None and (found.venue_order_id, found.client_order_id) == (taken.venue_order_id, "c1")
    house.account.cancel(house.rules, *names)
    assert house.account.order(house.rules, *names).status == "cancelled"
    house.agree()


def test_a_cancel_that_loses_the_race_is_rejected_and_the_order_tells(house: House) -> None:
    house.account.create(house.order("c1", LIMIT, price=house.price("0.9995")))
    house.until(lambda: not house.booked("c1").status.working)  # type: ignore[union-attr]
    with pytest.raises(Rejected):
        house.account.cancel(house.rules, "c1")
    assert house.account.order(house.rules, "c1").status == "filled"
    house.agree()


def test_what_was_never_sent_is_unknown_and_cannot_be_cancelled(house: House) -> None:
    assert house.account.order(house.rules, "never") is None
    with pytest.raises(Rejected):
        house.account.cancel(house.rules, "never")


def test_open_orders_are_those_of_the_market_that_are_live(house: House) -> None:
    for number in range(5):
        house.account.create(house.order(f"o{number}", LIMIT, price=house.price(f"0.9{number}")))
    house.account.create(house.order("o5", MARKET))
    house.account.cancel(house.rules, "o3")
    told = house.account.open_orders(house.rules)
    assert sorted(order.client_order_id for order in told) == ["o0", "o1", "o2", "o4"]
    for order in told:
        booked = house.booked(order.client_order_id)
        assert booked is not None and order_told(order) == house.row(booked) and order.price == booked.price


def test_fills_since_a_time_leave_older_ones_out(house: House) -> None:
    house.account.create(house.order("f1", MARKET))
    house.step(90_000)
    since_ms = house.venue_clock.wall_ms()
    house.account.create(house.order("f2", MARKET))
    house.step(60_000)
    wanted = [fill for fill in house.fills_booked() if fill.time_ms >= since_ms]
    told = house.account.fills(house.rules, since_ms)
    assert list(map(house.fill_told, told)) == list(map(house.fill_row, wanted)) and len(wanted) > 0
    assert len(house.account.fills(house.rules, BORN_MS)) > len(told)


def test_all_pages_of_fills_are_had_each_fill_once(house: House) -> None:
    """More than one answer of Kraken's 50 holds; the pages of the others are larger and have tests of their own."""
    house.served.fault(kinds.PARTIAL_FILLS, share=0.002)
    house.account.create(house.order("f1", LIMIT, "0.1", price=house.price("1.02")))
    house.until(lambda: len(house.fills_booked()) > 120)
    told = house.account.fills(house.rules, BORN_MS)
    assert sorted(map(house.fill_told, told)) == sorted(map(house.fill_row, house.fills_booked()))
    assert len({fill.venue_fill_id for fill in told}) == len(told)


# --- what not every venue has ------------------------------------------------------------------------


@pytest.mark.parametrize("house", having(IOC), indirect=True)
def test_an_ioc_takes_what_is_there_and_its_rest_is_over(house: House) -> None:
    house.served.fault(kinds.PARTIAL_FILLS, share=0.01)
    house.account.create(house.order("i1", IOC, "0.05", price=house.price("1.0001")))
    over = house.account.order(house.rules, "i1")
    assert not over.live and 0 < over.filled < over.quantity
    house.agree()
    house.account.create(house.order("i2", IOC, "0.05", price=house.price("0.95")))
    assert (house.account.order(house.rules, "i2").live, house.account.order(house.rules, "i2").filled) == (False, 0)
    house.agree()


@pytest.mark.parametrize("house", having(POST_ONLY), indirect=True)
def test_a_post_only_order_rests_or_is_not_taken(house: House) -> None:
    house.account.create(house.order("r1", POST_ONLY, price=house.price("0.99")))
    assert (house.account.order(house.rules, "r1").live, house.account.order(house.rules, "r1").kind) == (
        True,
        POST_ONLY,
    )
    with pytest.raises(Rejected):
        house.account.create(house.order("r2", POST_ONLY, price=house.price("1.05")))
    assert house.booked("r2") is None and house.account.order(house.rules, "r2") is None
    house.until(lambda: not house.booked("r1").status.working, step_ms=10_000)  # type: ignore[union-attr]
    house.agree()
    assert {fill.maker for fill in house.account.fills(house.rules, BORN_MS)} == {True}


@pytest.mark.parametrize("house", having(STOP), indirect=True)
def test_a_stop_waits_at_the_venue_and_sells_when_the_price_has_fallen(house: House) -> None:
    stop_price = house.price("0.998")
    house.account.create(house.order("s1", STOP, "0.01", side="sell", stop_price=stop_price))
    waiting = house.account.order(house.rules, "s1")
    assert (waiting.live, waiting.kind, waiting.filled) == (True, STOP, 0)
    assert [order.client_order_id for order in house.account.open_orders(house.rules)] == ["s1"]
    house.until(lambda: not house.booked("s1").status.working, step_ms=10_000)  # type: ignore[union-attr]
    house.agree()
    assert all(fill.price <= stop_price for fill in house.account.fills(house.rules, BORN_MS))


@pytest.mark.parametrize("house", having(STOP), indirect=True)
def test_a_stop_is_cancelled_like_any_order(house: House) -> None:
    house.account.create(house.order("s1", STOP, "0.01", side="sell", stop_price=house.price("0.9")))
    house.account.cancel(house.rules, "s1")
    assert house.account.order(house.rules, "s1").status == "cancelled"
    house.agree()


@pytest.mark.parametrize("kind", [IOC, POST_ONLY, STOP])
@pytest.mark.parametrize("house", ["coindcx"], indirect=True)
def test_what_the_venue_has_not_is_rejected_unsent(house: House, kind: str) -> None:
    went = house.calls()
    with pytest.raises(Rejected, match="not sent"):
        house.account.create(house.order("x1", kind, price=house.price("0.9"), stop_price=house.price("0.9")))
    assert went() == 0


# --- client ids --------------------------------------------------------------------------------------


def test_a_client_id_that_is_open_is_not_taken_twice(house: House) -> None:
    """The answer to the second is no proof that there is no order of that id: it is looked up."""
    house.account.create(house.order("d1", LIMIT, price=house.price("0.9")))
    with pytest.raises(OutcomeUnknown):
        house.account.create(house.order("d1", LIMIT, price=house.price("0.9")))
    assert len(house.all_booked()) == 1
    house.agree()


def test_a_client_id_that_is_over_is_free_where_the_venue_says_so(house: House) -> None:
    house.account.create(house.order("d1", MARKET))
    house.until(lambda: not house.booked("d1").status.working)  # type: ignore[union-attr]
    if house.account.capabilities.client_id_unique == UNIQUE_WHILE_OPEN:
        house.account.create(house.order("d1", LIMIT, "0.003", price=house.price("0.9")))
        assert len(house.all_booked()) == 2
        newest = house.account.order(house.rules, "d1")
        assert (newest.quantity, newest.live) == (Decimal("0.003"), True)
    else:
        assert house.account.capabilities.client_id_unique != UNIQUE_FOR_EVER  # nobody has promised that yet
        with pytest.raises(OutcomeUnknown):
            house.account.create(house.order("d1", LIMIT, price=house.price("0.9")))
        assert len(house.all_booked()) == 1
    house.agree()


def test_the_longest_client_id_is_taken_and_what_is_none_is_refused(house: House) -> None:
    longest = house.ways.long_id
    assert len(longest) == house.account.capabilities.client_id_max
    house.account.create(house.order(longest, LIMIT, price=house.price("0.9")))
    assert house.account.order(house.rules, longest).client_order_id == longest
    for bad in (house.ways.bad_id, ""):
        with pytest.raises(Rejected):
            house.account.create(house.order(bad, MARKET))
    assert len(house.all_booked()) == 1


# --- rejects -----------------------------------------------------------------------------------------

# what is wrong with the order, and its fields
REJECTS = {
    "below the minimum quantity": {"quantity": "0.000001", "kind": MARKET},
    "below the minimum value": {"quantity": "0.00005", "kind": LIMIT, "price": "1.00"},
    "off the step": {"quantity": "0.0012345678", "kind": MARKET},
    "off the tick": {"quantity": "0.002", "kind": LIMIT, "price": "70000.001"},
    "more quote than there is": {"quantity": "1", "kind": MARKET},
    "more base than there is": {"quantity": "1.5", "kind": MARKET, "side": "sell"},
    "more than is free for a limit": {"quantity": "0.5", "kind": LIMIT, "price": "70000.00"},
}


@pytest.mark.parametrize("fields", REJECTS.values(), ids=REJECTS)
def test_what_is_refused_was_not_taken_and_keeps_the_venues_words(house: House, fields: dict[str, str]) -> None:
    before = house.balances_booked()
    more = {name: Decimal(text) if name == "price" else text for name, text in fields.items()}
    with pytest.raises(Rejected) as caught:
        house.account.create(house.order("x1", **more))  # type: ignore[arg-type]
    assert caught.value.code and not isinstance(caught.value, OutcomeUnknown)
    assert house.all_booked() == [] and house.balances_booked() == before
    assert house.account.order(house.rules, "x1") is None
    house.agree()


# --- the account itself ------------------------------------------------------------------------------


def test_fees_are_the_accounts_own(house: House) -> None:
    """CoinDCX tells them with an order alone."""
    house.account.create(house.order("m1", MARKET))
    assert house.account.fees_bps(house.rules) == (Decimal(5), Decimal(5))


# CoinDCX's history has no word for a fee's coin: there it is always that of the price.
@pytest.mark.parametrize("house", ["binance", "kraken"], indirect=True)
def test_fees_in_base_are_told_as_such(house: House) -> None:
    """Kraken's orders name the coin of their fee themselves: the fault does not reach them."""
    house.served.fault(kinds.FEE_IN_BASE)
    house.account.create(house.order("m1", MARKET, "0.01"))
    house.account.create(house.order("m2", MARKET, "0.01", side="sell"))
    house.step(60_000)
    house.agree()
    coins = {fill.fee_currency for fill in house.account.fills(house.rules, BORN_MS)}
    assert coins == ({"BTC"} if house.protocol == "binance" else {"USDT"})


RIGHTS = {"coindcx": KeyRights(), "binance": KeyRights(True, False, False), "kraken": KeyRights(True, False, False)}


def test_what_the_key_may_do_is_told_as_far_as_the_venue_tells(house: House) -> None:
    assert house.account.key_rights() == RIGHTS[house.protocol]


# What a venue says that does not know the question: a test exchange without the wallet's paths, an older Kraken.
UNKNOWN = {
    "binance": [
        {"path": "/sapi/*", "kind": kinds.HTML, "status": 404},
        {"path": "/sapi/*", "kind": kinds.STATUS, "status": 404, "body": "{}"},
    ],
    "kraken": [
        {
            "path": "*/GetApiKeyInfo",
            "kind": kinds.STATUS,
            "status": 200,
            "body": '{"error":["EGeneral:Unknown method"]}',
        }
    ],
}


@pytest.mark.parametrize(
    ("house", "fault"), [(name, fault) for name, faults in UNKNOWN.items() for fault in faults], indirect=["house"]
)
def test_a_venue_that_does_not_know_the_question_tells_nothing_of_the_key(house: House, fault: dict[str, Any]) -> None:
    number = house.served.fault(**fault)
    assert house.account.key_rights() == KeyRights() and house.served.struck(number) == 1


@pytest.mark.parametrize("house", ["binance"], indirect=True)
def test_an_account_that_may_not_trade_is_told_though_the_key_is_not(house: House) -> None:
    house.served.fault(kinds.STATUS, path="/api/v3/account", status=200, body='{"canTrade":false,"balances":[]}')
    assert house.account.key_rights() == KeyRights(False, False, False)
    house.served.fault(kinds.HTML, path="/sapi/*", status=404)
    assert house.account.key_rights() == KeyRights(trade=False)


@pytest.mark.parametrize("house", ["binance", "kraken"], indirect=True)
@pytest.mark.parametrize("body", ["{}", "[1,2]", '{"error":[],"result":{}}'])
def test_an_answer_about_the_key_that_cannot_be_read_is_a_retry(house: House, body: str) -> None:
    for path in ("/sapi/*", "*/GetApiKeyInfo"):
        house.served.fault(kinds.STATUS, path=path, status=200, body=body)
    with pytest.raises(Retry):
        house.account.key_rights()


@pytest.mark.parametrize("ahead_s", [-40_000, -90, 0, 90, 40_000])
def test_the_venues_clock_is_measured_to_its_resolution(house: House, ahead_s: int) -> None:
    house.served.fault(kinds.CLOCK_SKEW, ms=ahead_s * 1000)
    told_ms = house.account.server_time_ms()
    assert abs(told_ms - (house.venue_clock.wall_ms() + ahead_s * 1000)) <= 1_100
    assert house.account.create(house.order("m1", MARKET)).client_order_id == "m1"
    assert len(house.all_booked()) == 1
