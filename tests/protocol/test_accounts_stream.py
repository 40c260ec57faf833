"""One contract for the three account streams: what they tell is what the sandbox's books say, and faults are told."""

import asyncio
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from sandbox import faults as kinds
from tests.protocol.account_house import WAYS, House, house_of
from venues.account import LIMIT, MARKET, BalanceNews, FillNews, OrderNews
from venues.errors import Retry
from venues.venue import Notice

NUDGES = ("kraken",)  # tells totals, and not what orders hold of them
FILLS_TOLD = ("binance", "kraken")  # CoinDCX tells of a fill without its side: as news of the order


@pytest.fixture(params=WAYS)
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    with house_of(request.param) as made:
        made.deposit("BTC", "1")
        yield made


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox refuses a session within milliseconds, for which the account waits a second.

    Each call of the account moves the house's clock by a minute: a stream that looked at it then would have heard
    nothing for so long. So it looks in the test of silence alone.
    """
    monkeypatch.setattr("venues.coindcx.account.REFUSED_S", 0.05)
    monkeypatch.setattr("venues.coindcx.stream.TICK_S", 3_600.0)


def heard(house: House, act: Callable[[], Any], enough: Callable[[list[Any]], bool]) -> list[Any]:
    """What the stream brings of what a thread did meanwhile; raises what the stream raises."""

    async def main() -> list[Any]:
        stream = await house.account.open_stream([house.rules])
        items: list[Any] = []
        try:
            await asyncio.to_thread(act)
            async with asyncio.timeout(10):
                while not enough(items):
                    items += await stream.read()
        finally:
            await stream.close()
        return items

    return asyncio.run(main())


def settled(house: House) -> Callable[[list[Any]], bool]:
    """Whether the news say of every order and balance what the books say now."""

    def enough(items: list[Any]) -> bool:
        return (
            orders_of(items) == {order.client_id: house.status(order) for order in house.all_booked()}
            and balances_of(items) == {name: house.balances_booked()[name] for name in balances_of(items)}
            and (house.protocol in NUDGES or {"BTC", "USDT"} <= balances_of(items).keys())
            and any(isinstance(item, BalanceNews) for item in items)
        )

    return enough


def orders_of(items: list[Any]) -> dict[str, str]:
    """The last state told of every order."""
    return {item.client_order_id: item.status for item in items if isinstance(item, OrderNews)}


def balances_of(items: list[Any]) -> dict[str, tuple[Decimal, Decimal]]:
    """The last balance told of every currency."""
    rows = [row for item in items if isinstance(item, BalanceNews) for row in item.balances]
    return {row.currency: (row.free, row.locked) for row in rows}


def test_orders_fills_and_balances_are_told_to_the_last_digit(house: House) -> None:
    def act() -> None:
        house.account.create(house.order("n1", MARKET, "0.05"))
        house.account.create(house.order("n2", LIMIT, "0.01", price=house.price("0.9")))
        house.account.create(house.order("n3", LIMIT, "0.01", side="sell", price=house.price("1.001")))
        house.account.cancel(house.rules, "n2")
        house.until(lambda: not any(order.status.working for order in house.all_booked()))

    items = heard(house, act, settled(house))
    assert orders_of(items) == {"n1": "filled", "n2": "cancelled", "n3": "filled"}
    assert {item.symbol for item in items if isinstance(item, OrderNews)} == {house.rules.symbol}
    fills = [item.fill for item in items if isinstance(item, FillNews)]
    if house.protocol in FILLS_TOLD:
        assert sorted(map(house.fill_told, fills)) == sorted(map(house.fill_row, house.fills_booked()))
        assert {fill.client_order_id for fill in fills} == {"n1", "n3"}
        history = {fill.venue_fill_id for fill in house.account.fills(house.rules, 0)}
        assert {fill.venue_fill_id for fill in fills} == history
    else:
        assert not fills


def test_what_an_order_holds_is_never_told_as_free(house: House) -> None:
    def act() -> None:
        house.account.create(house.order("n1", LIMIT, "0.01", price=house.price("0.9")))
        house.account.create(house.order("n2", LIMIT, "0.01", side="sell", price=house.price("1.1")))
        house.account.create(house.order("n3", MARKET, "0.01"))
        house.until(lambda: not house.booked("n3").status.working)  # type: ignore[union-attr]

    heard(house, act, settled(house))


def test_parts_are_told_as_they_come(house: House) -> None:
    house.served.fault(kinds.PARTIAL_FILLS, share=0.02)

    def act() -> None:
        house.account.create(house.order("n1", LIMIT, "0.02", price=house.price("0.9995")))
        house.until(lambda: not house.all_booked()[0].status.working)

    items = heard(house, act, settled(house))
    states = [item.status for item in items if isinstance(item, OrderNews)]
    assert states[0] in ("pending", "open") and states[-1] == "filled" and "partially_filled" in states


def test_a_late_rejection_is_told(house: House) -> None:
    house.served.fault(kinds.LATE_REJECTION, ms=500)

    def act() -> None:
        house.account.create(house.order("n1", LIMIT, "0.02", price=house.price("0.9")))
        house.step(1_000)

    items = heard(
        house, act, lambda items: "n1" in orders_of(items) and orders_of(items)["n1"] not in ("open", "pending")
    )
    assert orders_of(items)["n1"] == house.ways.rejected
    assert not [item for item in items if isinstance(item, FillNews)]


# --- what breaks -------------------------------------------------------------------------------------


def trade(house: House, *names: str) -> Callable[[], None]:
    def act() -> None:
        for name in names:
            house.account.create(house.order(name, MARKET, "0.001"))
            house.step(1_000)

    return act


def told_of(name: str) -> Callable[[list[Any]], bool]:
    return lambda items: name in orders_of(items)


# the fault, and whether a notice tells of it. CoinDCX and Binance number nothing: a notice, and the rest goes on.
BROKEN = {
    "garbage before a frame": ({"kind": kinds.GARBAGE}, True),
    "garbage in place of a frame": ({"kind": kinds.GARBAGE, "instead": True}, True),
    "half a frame": ({"kind": kinds.HALF_FRAME}, True),
    "a frame twice": ({"kind": kinds.DUPLICATE}, False),
    "a frame after the next": ({"kind": kinds.REORDER}, False),
    "a frame lost": ({"kind": kinds.MISSING}, False),
}


@pytest.mark.parametrize(("fields", "noticed"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("house", ["coindcx", "binance"], indirect=True)
def test_a_frame_that_breaks_costs_no_other(house: House, fields: dict[str, Any], noticed: bool) -> None:
    house.served.fault(path=house.ways.stream, match=MATCH[house.protocol], times=1, **fields)
    items = heard(house, trade(house, "b1", "b2"), told_of("b2"))
    assert any(isinstance(item, Notice) for item in items) is noticed
    house.agree()


MATCH = {"coindcx": "-update", "binance": "executionReport", "kraken": '"executions","type":"update"'}

# What Kraken numbers: a frame that is not the next one ends the stream, and REST has the truth.
GAPS = {name: BROKEN[name][0] for name in BROKEN if name != "garbage before a frame"}


@pytest.mark.parametrize("fields", GAPS.values(), ids=GAPS)
@pytest.mark.parametrize("house", ["kraken"], indirect=True)
def test_a_gap_in_numbered_news_ends_the_stream_and_a_new_one_goes_on(house: House, fields: dict[str, Any]) -> None:
    house.served.fault(path=house.ways.stream, match=MATCH[house.protocol], after=1, times=1, **fields)
    with pytest.raises(Retry):
        heard(house, trade(house, "b1", "b2", "b3"), lambda items: False)
    house.agree()
    assert told_of("b4")(heard(house, trade(house, "b4"), told_of("b4")))


@pytest.mark.parametrize("house", ["kraken"], indirect=True)
def test_garbage_between_numbered_news_is_told_and_costs_none(house: House) -> None:
    house.served.fault(kinds.GARBAGE, path=house.ways.stream, match=MATCH[house.protocol], times=1)
    items = heard(house, trade(house, "b1", "b2"), told_of("b2"))
    assert any(isinstance(item, Notice) for item in items)


@pytest.mark.parametrize("kind", [kinds.DISCONNECT, kinds.CUT_FRAME])
def test_a_stream_that_is_cut_says_so_and_can_be_opened_anew(house: House, kind: str) -> None:
    house.served.fault(kind, path=house.ways.stream, match=MATCH[house.protocol], times=1)
    with pytest.raises(Retry):
        heard(house, trade(house, "b1"), lambda items: False)
    assert told_of("b2")(heard(house, trade(house, "b2"), told_of("b2")))
    house.agree()


@pytest.mark.parametrize("fields", [{"kind": kinds.REFUSED, "status": 503, "path": "*"}, {"kind": kinds.MAINTENANCE}])
def test_a_stream_that_is_refused_is_a_retry(house: House, fields: dict[str, Any]) -> None:
    house.served.fault(**fields)
    with pytest.raises(Retry):
        heard(house, lambda: None, bool)
    house.served.no_faults()
    house.breathe()
    assert heard(house, trade(house, "b1"), told_of("b1"))


def test_maintenance_cuts_the_stream(house: House) -> None:
    with pytest.raises(Retry):
        heard(house, lambda: house.served.fault(kinds.MAINTENANCE), lambda items: False)


@pytest.mark.parametrize("house", ["coindcx"], indirect=True)
def test_a_silent_connection_is_lost(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("venues.coindcx.stream.TICK_S", 0.02)

    def act() -> None:
        for _ in range(5):  # a frame may come between the minute and the look
            house.breathe()
            time.sleep(0.1)

    with pytest.raises(Retry, match="nothing heard for"):
        heard(house, act, lambda items: False)


@pytest.mark.parametrize("ms", [-120_000, 120_000])
def test_a_skewed_clock_does_not_keep_the_stream_from_opening(house: House, ms: int) -> None:
    house.account.balances()
    house.served.fault(kinds.CLOCK_SKEW, ms=ms)

    def act() -> None:
        house.served.no_faults()  # what a skew does to an order is another test's
        trade(house, "b1")()

    assert heard(house, act, told_of("b1"))
