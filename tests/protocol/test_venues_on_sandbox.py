"""Every venue's adapter and account against the sandbox as it is run: a clock that goes, and the venue's own limits.

Everything else is asked of all three in `test_accounts`, `test_accounts_faults`, `test_accounts_stream` and
`test_adapters_faults`, where the clock stands and the sandbox counts no requests.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from core.clock import LiveClock
from core.settings_load import from_texts
from sandbox.app import FACES, World
from sandbox.clock import RealClock
from sandbox.listings import listings_of
from sandbox.market import Synthetic
from tests.protocol.sandbox_served import Served
from venues import account as contract
from venues.choose import account, market_data
from venues.venue import Rules

D = Decimal
QUANTITY = D("0.002")


class Bench(NamedTuple):
    """A venue's account before its sandbox."""

    account: contract.Account
    rules: Rules

    def order(self, client_id: str) -> contract.NewOrder:
        return contract.NewOrder(self.rules, client_id, contract.BUY, contract.MARKET, QUANTITY)

    def over(self, client_id: str) -> contract.Order:
        """The order once it is over."""
        return wait_for(lambda: (order := self.account.order(self.rules, client_id)) and not order.live and order)


def wait_for(attempt: Callable[[], Any], seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := attempt()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
    return found


@pytest.fixture(params=FACES)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    clock = LiveClock()
    busy = tuple(listing._replace(rate=40.0) for listing in listings_of(request.param)[:2])
    world = World(Synthetic(1, clock.wall_ms() - 3_600_000, busy), RealClock(clock), None)
    served = Served(world, clock, request.param)
    settings = from_texts({"SANDBOX_PROTOCOL": request.param, "SANDBOX_PORT": str(served.port)})
    market, side = market_data(settings, clock), account(settings, clock)
    try:
        (rules,) = market.resolve(["BTC/USDT"], asyncio.run(market.markets()))
        side.server_time_ms()
        yield Bench(side, rules)
    finally:
        market.close()
        side.close()
        served.close()


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
