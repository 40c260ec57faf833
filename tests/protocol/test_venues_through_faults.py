"""Every venue's own adapter and account against the sandbox in that venue's words, on good days and through its faults.

What is asked of all three is the same: an order goes out once, a lost answer is looked up and never sent anew, what
the venue thinks better of is told, and no trade of the market is lost, doubled or misread without a word.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from core.clock import LiveClock
from core.settings_load import from_texts
from sandbox import faults as kinds
from sandbox.app import World
from sandbox.clock import RealClock
from sandbox.listings import listings_of
from sandbox.market import Synthetic
from tests.protocol.sandbox_served import Served
from venues import account as contract
from venues.choose import account, market_data
from venues.errors import OutcomeUnknown, RateLimited, Rejected, Retry
from venues.venue import MarketData, Notice, Rules, Trade

D = Decimal
QUANTITY = D("0.002")
CREATE = {
    "coindcx": "/exchange/v1/orders/create",
    "binance": "/api/v3/order",
    "kraken": "/0/private/AddOrder",
}
STREAMS = {"coindcx": "/socket.io/", "binance": "/stream*", "kraken": "/v2"}


class Bench(NamedTuple):
    """A venue's adapter and account before their sandbox."""

    served: Served
    protocol: str
    market: MarketData
    account: contract.Account
    rules: Rules

    @property
    def create_path(self) -> str:
        return CREATE[self.protocol]

    def price(self, share: str) -> Decimal:
        """A limit at a share of the last price, on the tick."""
        (trade, *_) = reversed(asyncio.run(self.market.recent_trades(self.rules)).trades)
        return D(str(trade.price)) * D(share) // self.rules.tick * self.rules.tick

    def order(self, client_id: str, kind: str = contract.MARKET, **more: Any) -> contract.NewOrder:
        return contract.NewOrder(self.rules, client_id, contract.BUY, kind, more.pop("quantity", QUANTITY), **more)

    def found(self, client_id: str) -> contract.Order | None:
        return self.account.order(self.rules, client_id)

    def over(self, client_id: str) -> contract.Order:
        """The order once it is over."""
        return wait_for(lambda: (order := self.found(client_id)) and not order.live and order)


def wait_for(attempt: Callable[[], Any], seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := attempt()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
    return found


@pytest.fixture(params=CREATE)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    clock = LiveClock()
    busy = tuple(listing._replace(rate=40.0) for listing in listings_of(request.param)[:2])
    world = World(Synthetic(1, clock.wall_ms() - 3_600_000, busy), RealClock(clock), None)
    served = Served(world, clock, request.param)
    texts = {"SANDBOX_PROTOCOL": request.param, "SANDBOX_PORT": str(served.port), "PAIRS": "B-BTC_USDT"}
    settings = from_texts(texts)
    market, side = market_data(settings, clock), account(settings, clock)
    try:
        (rules,) = market.resolve(["BTC/USDT"], asyncio.run(market.markets()))
        side.server_time_ms()
        yield Bench(served, request.param, market, side, rules)
    finally:
        market.close()
        side.close()
        served.close()


# --- good days ---


def test_the_life_of_a_market_order(bench: Bench) -> None:
    began_ms = bench.account.server_time_ms() - 1_000
    before = {balance.currency: balance for balance in bench.account.balances()}
    taken = bench.account.create(bench.order("m1"))
    assert taken.client_order_id == "m1" and taken.side == contract.BUY
    order = bench.over("m1")
    assert (order.status, order.filled, order.quantity) == (contract.FILLED, QUANTITY, QUANTITY)
    fills = [fill for fill in bench.account.fills(bench.rules, began_ms) if fill.venue_order_id == order.venue_order_id]
    assert sum(fill.quantity for fill in fills) == QUANTITY
    assert len({fill.venue_fill_id for fill in fills}) == len(fills)
    cost = sum((fill.quantity * fill.price for fill in fills), D(0))
    assert order.average_price is not None and abs(order.average_price * QUANTITY - cost) < D("0.001")
    fees = {bench.rules.base: D(0), bench.rules.quote: D(0)}
    for fill in fills:
        fees[fill.fee_currency] += fill.fee
    after = {balance.currency: balance for balance in bench.account.balances()}
    assert before[bench.rules.quote].free - after[bench.rules.quote].free == cost + fees[bench.rules.quote]
    assert after[bench.rules.base].free == QUANTITY - fees[bench.rules.base]
    assert sum(fees.values()) > 0 and all(balance.locked == 0 for balance in after.values())


def test_the_life_of_an_order_that_rests(bench: Bench) -> None:
    price = bench.price("0.8")
    bench.account.create(bench.order("r1", contract.LIMIT, price=price))
    order = bench.found("r1")
    assert order is not None and order.live and (order.price, order.filled) == (price, 0)
    assert [one.client_order_id for one in bench.account.open_orders(bench.rules)] == ["r1"]
    held = next(one for one in bench.account.balances() if one.currency == bench.rules.quote)
    assert held.locked >= price * QUANTITY
    bench.account.cancel(bench.rules, "r1")
    assert bench.over("r1").status == contract.CANCELLED
    assert bench.account.open_orders(bench.rules) == []
    with pytest.raises(Rejected):
        bench.account.cancel(bench.rules, "r1")
    assert bench.found("never-sent") is None


def test_a_client_id_that_is_taken_is_refused_while_its_order_lives(bench: Bench) -> None:
    price = bench.price("0.8")
    bench.account.create(bench.order("d1", contract.LIMIT, price=price))
    with pytest.raises((Rejected, OutcomeUnknown)):  # unknown: the first one of that id may be meant
        bench.account.create(bench.order("d1", contract.LIMIT, price=price))
    assert len(bench.account.open_orders(bench.rules)) == 1


def test_orders_that_cannot_be_are_rejected(bench: Bench) -> None:
    for name, more in {
        "too dear": {"quantity": D("1")},
        "too little": {"quantity": bench.rules.step / 10},
    }.items():
        with pytest.raises(Rejected):
            bench.account.create(bench.order(f"no {name}"[:18].replace(" ", "-"), **more))
    assert bench.account.open_orders(bench.rules) == [] == bench.account.fills(bench.rules, 0)


@pytest.mark.parametrize("kind", [contract.IOC, contract.POST_ONLY, contract.STOP])
def test_what_the_venue_has_besides(bench: Bench, kind: str) -> None:
    capabilities = bench.account.capabilities
    has = {
        contract.IOC: capabilities.ioc,
        contract.POST_ONLY: capabilities.post_only,
        contract.STOP: capabilities.native_stop,
    }
    bench.served.deposit("BTC", "1")
    order = {
        contract.IOC: bench.order("k1", kind, price=bench.price("0.9")),
        contract.POST_ONLY: bench.order("k1", kind, price=bench.price("1.1")),
        contract.STOP: contract.NewOrder(
            bench.rules, "k1", contract.SELL, kind, QUANTITY, stop_price=bench.price("0.9")
        ),
    }[kind]
    if not has[kind]:
        with pytest.raises(Rejected, match="not sent"):
            bench.account.create(order)
    elif kind == contract.IOC:
        bench.account.create(order)
        over = bench.over("k1")
        assert over.status in (contract.EXPIRED, contract.CANCELLED) and over.filled == 0
    elif kind == contract.POST_ONLY:
        # Some venues refuse at once what would take, others take it and end it.
        try:
            bench.account.create(order)
        except Rejected:
            assert bench.found("k1") is None
        else:
            assert bench.over("k1").filled == 0
    else:
        bench.account.create(order)
        rests = bench.found("k1")
        assert rests is not None and rests.live and rests.side == contract.SELL
        bench.account.cancel(bench.rules, "k1")


# --- an order's answer that is lost ---

LOST: dict[str, tuple[dict[str, Any], bool]] = {
    "the request is lost": ({"kind": kinds.LOST_REQUEST}, False),
    "the reply is lost": ({"kind": kinds.DROPPED_REPLY}, True),
    "half a reply": ({"kind": kinds.CUT_REPLY}, True),
    "5xx after the deed": ({"kind": kinds.STATUS, "status": 502, "acted": True}, True),
    "a page of a proxy": ({"kind": kinds.HTML, "status": 503}, False),
    "a page of a proxy after the deed": ({"kind": kinds.HTML, "status": 504, "acted": True}, True),
    "garbage after the deed": ({"kind": kinds.STATUS, "status": 200, "body": "{", "acted": True}, True),
}


@pytest.mark.parametrize(("fields", "done"), LOST.values(), ids=LOST)
def test_a_lost_answer_is_unknown_and_looked_up(bench: Bench, fields: dict[str, Any], done: bool) -> None:
    bench.served.fault(**fields, path=bench.create_path, method="POST", times=1)
    with pytest.raises(OutcomeUnknown):
        bench.account.create(bench.order("lost1"))
    if not done:
        assert bench.found("lost1") is None
        bench.account.create(bench.order("lost1"))  # the same id first, after a look
    assert bench.over("lost1").status == contract.FILLED
    assert sum(fill.quantity for fill in bench.account.fills(bench.rules, 0)) == QUANTITY  # once


def test_a_query_that_lags_says_none_and_then_the_order(bench: Bench) -> None:
    number = bench.served.fault(kinds.QUERY_LAG, ms=600_000)
    bench.account.create(bench.order("lag1"))
    assert bench.found("lag1") is None
    assert bench.served.call("DELETE", f"/sandbox/faults/{number}")[0] == 200
    assert bench.over("lag1").status == contract.FILLED


def test_an_order_that_is_rejected_late_has_no_fills(bench: Bench) -> None:
    bench.served.fault(kinds.LATE_REJECTION, ms=100, times=1)
    bench.account.create(bench.order("late1"))
    over = bench.over("late1")
    assert over.filled == 0 and over.status in (contract.REJECTED, contract.CANCELLED, contract.EXPIRED)
    assert bench.account.fills(bench.rules, 0) == []


def test_a_part_that_was_filled_stays_filled_after_the_cancel(bench: Bench) -> None:
    bench.served.fault(kinds.PARTIAL_FILLS, share=0.002)
    bench.account.create(bench.order("part1", contract.LIMIT, price=bench.price("1.01"), quantity=D("0.1")))
    wait_for(lambda: (order := bench.found("part1")) and order.filled > 0)
    bench.account.cancel(bench.rules, "part1")
    over = bench.over("part1")
    assert over.status == contract.CANCELLED and 0 < over.filled < D("0.1")
    assert sum(fill.quantity for fill in bench.account.fills(bench.rules, 0)) == over.filled


def test_changed_lot_rules_are_refused_and_read_anew(bench: Bench) -> None:
    bench.served.fault(kinds.LOT_RULES, pair="B-BTC_USDT", step="0.01", min_quantity="0.02")
    with pytest.raises(Rejected):
        bench.account.create(bench.order("lots1"))
    (rules,) = bench.market.resolve(["BTC/USDT"], asyncio.run(bench.market.markets()))
    assert (rules.step, rules.min_quantity) == (D("0.01"), D("0.02"))


def test_a_clock_that_was_set_is_measured_anew(bench: Bench) -> None:
    bench.served.fault(kinds.CLOCK_SKEW, ms=180_000)
    try:
        assert bench.account.create(bench.order("clock1")).client_order_id == "clock1"
    except OutcomeUnknown:  # its deadline was over by Kraken's clock: that costs one order at most
        assert bench.protocol == "kraken" and bench.found("clock1") is None
        assert bench.account.create(bench.order("clock2")).client_order_id == "clock2"
    assert sum(fill.quantity for fill in bench.account.fills(bench.rules, 0)) == QUANTITY


def test_a_halt_and_maintenance_pass(bench: Bench) -> None:
    bench.served.fault(kinds.HALT, pair="B-BTC_USDT")
    (halted,) = bench.market.resolve(["BTC/USDT"], asyncio.run(bench.market.markets()))
    assert bench.rules.active and not halted.active
    with pytest.raises((Rejected, Retry)):
        bench.account.create(bench.order("halt1"))
    bench.served.no_faults()
    bench.served.fault(kinds.MAINTENANCE)
    with pytest.raises(Retry):
        bench.account.balances()
    with pytest.raises(OutcomeUnknown):
        bench.account.create(bench.order("down1"))
    with pytest.raises(Retry):
        asyncio.run(bench.market.markets())
    bench.served.no_faults()
    assert bench.account.balances() and bench.found("halt1") is None is bench.found("down1")


def test_a_limit_is_kept_to_the_letter(bench: Bench) -> None:
    number = bench.served.fault(kinds.STATUS, method="GET", status=429, retry_after_s=600)
    with pytest.raises(Retry):
        asyncio.run(bench.market.recent_trades(bench.rules))
    struck = bench.served.struck(number)
    with pytest.raises(RateLimited):
        asyncio.run(bench.market.recent_trades(bench.rules))
    assert bench.served.struck(number) == struck  # nothing was sent


# --- streams ---


def listened(bench: Bench, until: Callable[[list[Trade | Notice]], object]) -> list[Trade | Notice]:
    """What a fresh stream brings until there is enough; a stream that breaks off is opened again."""

    async def run() -> list[Trade | Notice]:
        items: list[Trade | Notice] = []
        while not until(items):
            stream = await bench.market.open_stream([bench.rules])
            try:
                while not until(items):
                    items += await stream.read()
            except Retry:
                items.append(Notice("broken", ""))
            finally:
                await stream.close()
        return items

    async def bounded() -> list[Trade | Notice]:
        work: Awaitable[list[Trade | Notice]] = run()
        return await asyncio.wait_for(work, 60)

    return asyncio.run(bounded())


def trades(items: list[Trade | Notice]) -> list[Trade]:
    return [item for item in items if isinstance(item, Trade)]


FRAMES: dict[str, dict[str, Any]] = {
    "half a frame": {"kind": kinds.HALF_FRAME},
    "garbage before a frame": {"kind": kinds.GARBAGE},
    "garbage in place of a frame": {"kind": kinds.GARBAGE, "instead": True},
}


@pytest.mark.parametrize("fields", FRAMES.values(), ids=FRAMES)
def test_frames_that_cannot_be_read_are_told_or_end_the_stream(bench: Bench, fields: dict[str, Any]) -> None:
    bench.served.fault(**fields, path=STREAMS[bench.protocol], match="rade", after=2, times=2)
    items = listened(bench, lambda items: any(isinstance(i, Notice) for i in items) and len(trades(items)) >= 12)
    assert all(trade.price > 0 and trade.quantity > 0 for trade in trades(items))


@pytest.mark.parametrize("kind", [kinds.DISCONNECT, kinds.CUT_FRAME])
def test_a_broken_stream_is_told_and_the_next_one_goes_on(bench: Bench, kind: str) -> None:
    number = bench.served.fault(kind, path=STREAMS[bench.protocol], match="rade", after=3, every=6, times=2)
    items = listened(
        bench, lambda items: sum(isinstance(i, Notice) and i.kind == "broken" for i in items) == 2 and trades(items)
    )
    assert bench.served.struck(number) == 2 and trades(items)


def test_trades_twice_and_out_of_order_are_told_by_their_ids(bench: Bench) -> None:
    bench.served.fault(kinds.DUPLICATE, path=STREAMS[bench.protocol], match="rade", every=3)
    found = trades(listened(bench, lambda items: len(trades(items)) >= 16))
    ids = [trade.trade_id for trade in found]
    if bench.market.capabilities.trade_ids:
        assert len(set(ids)) < len(ids) and set(ids) == set(range(min(ids), max(ids) + 1))
    else:
        assert set(ids) == {0} and len(set(found)) <= len(found)


def test_a_refused_handshake_is_a_retry(bench: Bench) -> None:
    bench.served.fault(kinds.REFUSED, status=503)
    with pytest.raises(Retry):
        asyncio.run(bench.market.open_stream([bench.rules]))
    bench.served.no_faults()
    assert trades(listened(bench, trades))


def test_the_account_is_told_of_its_fill_on_its_stream(bench: Bench) -> None:
    async def run() -> set[str]:
        stream = await bench.account.open_stream([bench.rules])
        heard: set[str] = set()
        try:
            await asyncio.to_thread(bench.account.create, bench.order("news1"))
            while not {"OrderNews", "FillNews"} & heard or "BalanceNews" not in heard:
                heard |= {type(one).__name__ for one in await stream.read()}
        finally:
            await stream.close()
        return heard

    assert asyncio.run(asyncio.wait_for(run(), 30))
