"""Binance adapters against the sandbox, which was written from the documents alone: two readings of one wire."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal

import msgspec
import pytest

from core import money
from core.clock import LiveClock
from core.settings_load import from_texts
from tests.protocol.sandbox_served import Served, synthetic
from venues.account import BalanceNews, FillNews, NewOrder, OrderNews
from venues.binance.account import BinanceAccount
from venues.binance.adapter import Binance
from venues.choose import account, market_data
from venues.errors import OutcomeUnknown, Rejected, Retry
from venues.venue import Rules, Trade

HOUR_MS = 3_600_000
Call = Callable[..., Awaitable[object]]


@pytest.fixture
def served():
    clock = LiveClock()
    sandbox = synthetic(clock, clock.wall_ms() - HOUR_MS, "binance")
    yield sandbox
    sandbox.close()


def play(served: Served, scenario) -> None:
    """Runs `scenario(venue, account, rules)` of BTC/USDT."""

    async def main() -> None:
        settings = msgspec.structs.replace(from_texts({}), sandbox_protocol="binance", sandbox_port=served.port)
        venue, side = market_data(settings, LiveClock()), account(settings, LiveClock())
        assert isinstance(venue, Binance) and isinstance(side, BinanceAccount)
        try:
            rules = venue.resolve(["B-BTC_USDT"], await venue.markets())[0]
            await asyncio.wait_for(scenario(venue, side, rules), 60)
        finally:
            venue.close()
            side.close()

    asyncio.run(main())


def test_trades_over_rest_and_on_the_stream_are_one_row_of_ids(served):
    async def scenario(venue, side, rules: Rules) -> None:
        stream = await venue.open_stream([rules])
        seen: list[Trade] = []
        while len(seen) < 20:
            seen += [item for item in await stream.read() if isinstance(item, Trade)]
        await stream.close()
        older = await venue.recent_trades(rules, seen[0]._replace(trade_id=seen[0].trade_id - 2300))
        ids = [trade.trade_id for trade in older.trades]
        assert ids == list(range(seen[0].trade_id - 2300, ids[-1] + 1)) and ids[-1] >= seen[0].trade_id
        by_id = {trade.trade_id: trade for trade in older.trades}
        for trade in seen:
            if trade.trade_id in by_id:
                assert by_id[trade.trade_id]._replace(received_ns=0) == trade._replace(received_ns=0)

    play(served, scenario)


def test_candles_are_made_of_the_same_trades(served):
    async def scenario(venue, side, rules: Rules) -> None:
        answer = await venue.recent_trades(rules)
        minute_ns = 60_000_000_000
        start_ns = (answer.trades[0].time_ns // minute_ns + 1) * minute_ns
        trades = [trade for trade in answer.trades if start_ns <= trade.time_ns < start_ns + minute_ns]
        (bar,) = await venue.candles(rules, 60_000, start_ns // 10**6, start_ns // 10**6 + 60_000)
        prices = [trade.price for trade in trades]
        assert (bar.open, bar.high, bar.low, bar.close) == (prices[0], max(prices), min(prices), prices[-1])
        assert bar.volume == pytest.approx(sum(trade.quantity for trade in trades)) and bar.trades == len(trades)

    play(served, scenario)


def order(rules: Rules, client_id: str, kind: str, quantity: str = "0.001", **more) -> NewOrder:
    return NewOrder(
        **{"side": "buy", **more}, rules=rules, client_order_id=client_id, kind=kind, quantity=Decimal(quantity)
    )


async def near(venue, rules: Rules, factor: str) -> Decimal:
    """A price on the tick, so far from the last one."""
    last = (await venue.recent_trades(rules)).trades[-1].price
    return money.price_on_tick(Decimal(repr(last)) * Decimal(factor), rules.tick, up=False)


def test_an_order_lives_through_every_call(served):
    async def scenario(venue, side, rules: Rules) -> None:
        call = asyncio.to_thread
        before_ms = await call(side.server_time_ms)
        bought = await call(side.create, order(rules, "sb-1", "market"))
        assert bought.status == "filled" and sum(fill.quantity for fill in bought.fills) == Decimal("0.001")
        low = await near(venue, rules, "0.9")
        resting = await call(side.create, order(rules, "sb-2", "limit", price=low))
        assert resting.live and [found.client_order_id for found in await call(side.open_orders, rules)] == ["sb-2"]
        with pytest.raises(OutcomeUnknown, match="Duplicate order sent"):
            await call(side.create, order(rules, "sb-2", "limit", price=low))
        await call(side.cancel, rules, "sb-2")
        found = await call(side.order, rules, "sb-2")
        assert (found.status, found.client_order_id, found.filled) == ("cancelled", "sb-2", Decimal(0))
        with pytest.raises(Rejected, match="-2011"):
            await call(side.cancel, rules, "sb-2")
        assert await call(side.order, rules, "sb-never") is None
        fills = await call(side.fills, rules, before_ms - 1000)
        assert [fill.venue_fill_id for fill in fills] == [fill.venue_fill_id for fill in bought.fills]
        held = {item.currency: item.free for item in await call(side.balances)}
        assert held["BTC"] == Decimal("0.001") - sum(fill.fee for fill in bought.fills)
        assert await call(side.fees_bps, rules) == (Decimal(5), Decimal(5))

    play(served, scenario)


def test_every_kind_of_order_is_understood(served):
    async def scenario(venue, side, rules: Rules) -> None:
        call = asyncio.to_thread
        low, high = await near(venue, rules, "0.9"), await near(venue, rules, "1.1")
        expired = await call(side.create, order(rules, "sb-1", "ioc", price=low))
        assert (expired.status, expired.filled, expired.kind) == ("expired", Decimal(0), "ioc")
        maker = await call(side.create, order(rules, "sb-2", "post_only", price=low))
        assert maker.live and maker.kind == "post_only"
        with pytest.raises(Rejected, match="immediately match and take"):
            await call(side.create, order(rules, "sb-3", "post_only", price=high))
        await call(side.create, order(rules, "sb-4", "market"))
        stop = await call(side.create, order(rules, "sb-5", "stop", "0.0009", side="sell", stop_price=low))
        assert stop.live and stop.kind == "stop"

    play(served, scenario)


def test_what_breaks_the_markets_rules_is_refused_with_its_filter(served):
    async def scenario(venue, side, rules: Rules) -> None:
        call = asyncio.to_thread
        low = await near(venue, rules, "0.9")
        for number, (bad, words) in enumerate(
            [
                (order(rules, "sb-1", "market", "0.000001"), "LOT_SIZE"),
                (order(rules, "sb-2", "limit", "0.00001", price=low), "NOTIONAL"),
                (order(rules, "sb-3", "limit", price=low + Decimal("0.001")), "PRICE_FILTER"),
                (order(rules, "sb-4", "market", "50"), "insufficient balance"),
            ]
        ):
            with pytest.raises(Rejected, match=words):
                await call(side.create, bad)
            assert await call(side.order, rules, f"sb-{number + 1}") is None

    play(served, scenario)


def test_the_accounts_stream_tells_what_the_answers_told(served):
    async def scenario(venue, side, rules: Rules) -> None:
        stream = await side.open_stream([rules])
        bought = await asyncio.to_thread(side.create, order(rules, "sb-1", "market"))
        news: list[object] = []
        while not any(isinstance(item, BalanceNews) for item in news):
            news += await stream.read()
        await stream.close()
        fills = [item.fill for item in news if isinstance(item, FillNews)]
        assert [(fill.venue_fill_id, fill.price, fill.quantity, fill.fee) for fill in fills] == [
            (fill.venue_fill_id, fill.price, fill.quantity, fill.fee) for fill in bought.fills
        ]
        changed = [item for item in news if isinstance(item, OrderNews)]
        assert {item.client_order_id for item in changed} == {"sb-1"} and changed[-1].status == "filled"

    play(served, scenario)


def test_a_name_that_the_venue_does_not_know_is_acknowledged_and_stays_silent(served):
    """As the real one does: the feeder's alarm is what notices."""

    async def scenario(venue, side, rules: Rules) -> None:
        stream = await venue.open_stream([msgspec.structs.replace(rules, symbol="NOSUCHUSDT", pair="NOSUCHUSDT")])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await stream.read()
        await stream.close()

    play(served, scenario)


def test_the_sandbox_gone_is_a_retry(served):
    async def scenario(venue, side, rules: Rules) -> None:
        stream = await venue.open_stream([rules])
        await asyncio.to_thread(served.close)
        with pytest.raises(Retry):
            while True:
                await stream.read()
        await stream.close()
        with pytest.raises(Retry):
            await venue.recent_trades(rules)

    play(served, scenario)
