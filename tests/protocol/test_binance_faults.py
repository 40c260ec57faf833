"""Binance adapters through what goes wrong at a venue: the sandbox's faults, and the reaction that each calls for."""

import asyncio
import json
import urllib.request
from decimal import Decimal

import msgspec
import pytest

from core.clock import LiveClock
from core.settings_load import from_texts
from tests.protocol.sandbox_served import Served, synthetic
from venues.account import NewOrder
from venues.choose import account, market_data
from venues.errors import OutcomeUnknown, RateLimited, Rejected, Retry
from venues.venue import Notice, Trade

HOUR_MS = 3_600_000
ORDER_PATH = "/api/v3/order"


@pytest.fixture
def served():
    clock = LiveClock()
    sandbox = synthetic(clock, clock.wall_ms() - HOUR_MS, "binance")
    yield sandbox
    sandbox.close()


def control(served: Served, method: str, body: bytes = b"") -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{served.port}/sandbox/faults", body or None, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def fault(served: Served, **fields) -> None:
    control(served, "POST", json.dumps(fields).encode())


def no_faults(served: Served) -> None:
    control(served, "DELETE")


def play(served: Served, scenario) -> None:
    """Runs `scenario(venue, account, rules)` of BTC/USDT, whose clock was measured before."""

    async def main() -> None:
        settings = msgspec.structs.replace(from_texts({}), sandbox_protocol="binance", sandbox_port=served.port)
        venue, side = market_data(settings, LiveClock()), account(settings, LiveClock())
        try:
            rules = venue.resolve(["BTC/USDT"], await venue.markets())[0]
            await asyncio.to_thread(side.server_time_ms)
            await asyncio.wait_for(scenario(venue, side, rules), 60)
        finally:
            venue.close()
            side.close()

    asyncio.run(main())


def bought(rules, client_id="sb-1", quantity="0.001") -> NewOrder:
    return NewOrder(rules, client_id, "buy", "market", Decimal(quantity))


LOST = {
    # the fault, and whether the order was carried out all the same
    "the request is lost": ({"kind": "lost_request"}, False),
    "the reply is lost": ({"kind": "dropped_reply"}, True),
    "half a reply": ({"kind": "cut_reply"}, True),
    "5xx before the deed": ({"kind": "status", "status": 503}, False),
    "5xx after the deed": ({"kind": "status", "status": 502, "acted": True}, True),
    "a page of a proxy": ({"kind": "html", "status": 502}, False),
    "a page of a proxy after the deed": ({"kind": "html", "status": 504, "acted": True}, True),
    "an answer that is garbage": ({"kind": "status", "status": 200, "body": "{", "acted": True}, True),
}


@pytest.mark.parametrize(("fields", "done"), LOST.values(), ids=LOST)
def test_an_order_whose_answer_is_lost_is_looked_up(served, fields, done):
    async def scenario(venue, side, rules) -> None:
        fault(served, path=ORDER_PATH, method="POST", times=1, **fields)
        with pytest.raises(OutcomeUnknown):
            await asyncio.to_thread(side.create, bought(rules))
        found = await asyncio.to_thread(side.order, rules, "sb-1")
        assert (found is not None) == done
        assert found is None or (found.status, found.filled) == ("filled", Decimal("0.001"))

    play(served, scenario)


@pytest.mark.parametrize(
    "fields", [LOST[name][0] for name in ("the reply is lost", "a page of a proxy", "half a reply")]
)
def test_what_only_asks_may_be_asked_again(served, fields):
    async def scenario(venue, side, rules) -> None:
        fault(served, path="/api/v3/account", times=1, **fields)
        with pytest.raises(Retry):
            await asyncio.to_thread(side.balances)
        assert await asyncio.to_thread(side.balances)
        fault(served, path="/api/v3/trades", times=1, **fields)
        with pytest.raises(Retry):
            await venue.recent_trades(rules)
        assert (await venue.recent_trades(rules)).trades

    play(served, scenario)


@pytest.mark.parametrize("status", [429, 418])
def test_a_ban_is_obeyed_and_nothing_is_sent_while_it_lasts(served, status):
    async def scenario(venue, side, rules) -> None:
        fault(served, kind="status", path="/api/v3/trades", status=status, retry_after_s=30, times=1)
        with pytest.raises(RateLimited) as raised:
            await venue.recent_trades(rules)
        assert raised.value.retry_after_s == pytest.approx(30, abs=1)
        with pytest.raises(RateLimited, match="not sent"):
            await venue.recent_trades(rules)

    play(served, scenario)


def test_a_clock_that_was_set_costs_one_refusal_and_no_order(served):
    async def scenario(venue, side, rules) -> None:
        fault(served, kind="clock_skew", ms=30_000)
        assert (await asyncio.to_thread(side.create, bought(rules))).status == "filled"
        assert len(await asyncio.to_thread(side.fills, rules, 0)) == 1

    play(served, scenario)


def test_an_order_that_is_rejected_late_is_over_without_fills(served):
    async def scenario(venue, side, rules) -> None:
        fault(served, kind="late_rejection", ms=50)
        taken = await asyncio.to_thread(side.create, bought(rules))
        assert not taken.fills
        for _ in range(200):
            found = await asyncio.to_thread(side.order, rules, "sb-1")
            if not found.live:
                break
            await asyncio.sleep(0.02)
        assert (found.status, found.filled) == ("rejected", Decimal(0))

    play(served, scenario)


def test_new_lot_rules_refuse_the_old_step_and_are_read_anew(served):
    async def scenario(venue, side, rules) -> None:
        fault(served, kind="lot_rules", pair="B-BTC_USDT", step="0.01", min_quantity="0.01")
        with pytest.raises(Rejected, match="LOT_SIZE"):
            await asyncio.to_thread(side.create, bought(rules))
        (changed,) = venue.resolve(["BTC/USDT"], await venue.markets())
        assert (changed.step, changed.min_quantity) == (Decimal("0.01"), Decimal("0.01"))
        assert (await asyncio.to_thread(side.create, bought(changed, quantity="0.01"))).status == "filled"

    play(served, scenario)


def test_a_market_that_stands_still_is_inactive_and_takes_no_orders(served):
    async def scenario(venue, side, rules) -> None:
        fault(served, kind="halt", pair="B-BTC_USDT")
        (halted,) = venue.resolve(["BTC/USDT"], await venue.markets())
        assert rules.active and not halted.active
        with pytest.raises((Retry, Rejected), match="closed"):
            await asyncio.to_thread(side.create, bought(rules))

    play(served, scenario)


def test_maintenance_is_asked_about_again(served):
    async def scenario(venue, side, rules) -> None:
        fault(served, kind="maintenance")
        for work in (venue.markets(), venue.recent_trades(rules), venue.open_stream([rules])):
            with pytest.raises(Retry):
                await work
        with pytest.raises(Retry):
            await asyncio.to_thread(side.balances)
        no_faults(served)
        assert (await venue.recent_trades(rules)).trades

    play(served, scenario)


async def collect(stream, enough) -> list[Trade | Notice]:
    items: list[Trade | Notice] = []
    while not enough(items):
        items += await stream.read()
    return items


def ids(items) -> list[int]:
    return [item.trade_id for item in items if isinstance(item, Trade)]


FRAMES = {
    "half a frame": ({"kind": "half_frame", "every": 3}, "unreadable frame"),
    "garbage before a frame": ({"kind": "garbage", "every": 3}, "unreadable frame"),
    "garbage in place of a frame": ({"kind": "garbage", "every": 3, "instead": True}, "unreadable frame"),
}


@pytest.mark.parametrize(("fields", "kind"), FRAMES.values(), ids=FRAMES)
def test_frames_that_cannot_be_read_are_told_and_the_others_count(served, fields, kind):
    async def scenario(venue, side, rules) -> None:
        fault(served, path="/stream*", **fields)
        stream = await venue.open_stream([rules])
        items = await collect(stream, lambda items: len(ids(items)) >= 8 and len(items) > len(ids(items)) + 1)
        assert {item.kind for item in items if isinstance(item, Notice)} == {kind}
        assert ids(items) == sorted(set(ids(items)))
        await stream.close()

    play(served, scenario)


def test_frames_twice_and_out_of_order_carry_the_ids_that_tell(served):
    async def scenario(venue, side, rules) -> None:
        fault(served, path="/stream*", kind="duplicate", every=2)
        stream = await venue.open_stream([rules])
        items = await collect(stream, lambda items: len(ids(items)) >= 9)
        assert len(set(ids(items))) < len(ids(items))
        assert sorted(set(ids(items))) == list(range(min(ids(items)), max(ids(items)) + 1))
        await stream.close()

    play(served, scenario)


@pytest.mark.parametrize("kind", ["disconnect", "cut_frame"])
def test_a_stream_that_breaks_off_is_a_retry_after_what_it_brought(served, kind):
    async def scenario(venue, side, rules) -> None:
        fault(served, path="/stream*", kind=kind, after=5, times=1)
        stream = await venue.open_stream([rules])
        items: list[Trade | Notice] = []
        with pytest.raises(Retry):
            while True:
                items += await stream.read()
        assert len(ids(items)) >= 4
        await stream.close()
        again = await venue.open_stream([rules])
        assert ids(await collect(again, lambda found: len(found) > 0))
        await again.close()

    play(served, scenario)


def test_a_stream_that_is_refused_is_a_retry(served):
    async def scenario(venue, side, rules) -> None:
        fault(served, path="/stream*", kind="refused", status=503, times=1)
        with pytest.raises(Retry, match="503"):
            await venue.open_stream([rules])
        await (await venue.open_stream([rules])).close()

    play(served, scenario)


def test_an_account_stream_that_breaks_off_is_a_retry_and_can_be_opened_again(served):
    async def scenario(venue, side, rules) -> None:
        stream = await side.open_stream([rules])
        fault(served, path="/ws-api*", kind="disconnect", times=1)
        await asyncio.to_thread(side.create, bought(rules))
        with pytest.raises(Retry):
            while True:
                await stream.read()
        await stream.close()
        again = await side.open_stream([rules])
        await asyncio.to_thread(side.create, bought(rules, "sb-2"))
        assert await again.read()
        await again.close()

    play(served, scenario)
