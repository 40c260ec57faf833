"""Our CoinDCX market data against the sandbox, through every fault of answers and frames that applies."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from core.clock import LiveClock
from core.settings_load import from_texts
from sandbox import faults as kinds
from sandbox.app import World
from sandbox.clock import RealClock
from sandbox.listings import LISTINGS
from sandbox.market import Synthetic
from tests.protocol.sandbox_served import Served
from venues.choose import market_data
from venues.errors import Misconfigured, RateLimited, Retry
from venues.venue import MarketData, Notice, Rules, Stream, Trade

STREAM = "/socket.io/*"


@pytest.fixture(scope="module")
def shared() -> Iterator[Served]:
    clock = LiveClock()
    busy = (LISTINGS[0]._replace(rate=40.0), LISTINGS[1])
    made = Served(World(Synthetic(1, clock.wall_ms() - 3_600_000, busy), RealClock(clock), None), clock)
    yield made
    made.close()


@pytest.fixture
def served(shared: Served) -> Iterator[Served]:
    yield shared
    shared.no_faults()


def play(served: Served, act: Callable[[MarketData, Rules], Awaitable[Any]]) -> Any:
    """Runs something with a new adapter and its market."""

    async def main() -> Any:
        venue = market_data(from_texts({"SANDBOX_PORT": str(served.port)}), LiveClock())
        try:
            return await act(venue, venue.resolve(["B-BTC_USDT"], await venue.markets())[0])
        finally:
            venue.close()

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("LYX/USDT", "KC-LYX_USDT"),
        ("LYXUSDT", "KC-LYX_USDT"),
        ("KC-LYX_USDT", "KC-LYX_USDT"),
        ("BTC/USDT", "B-BTC_USDT"),
        ("KC-BTC_USDT", "KC-BTC_USDT"),
        ("BTC/INR", "I-BTC_INR"),
        ("LYX/INR", None),
        ("I-LYX_USDT", None),
    ],
)
def test_a_market_is_meant_by_base_and_quote_in_whatever_book_it_is(wanted: str, meant: str | None) -> None:
    """As PAIRS comes to the adapter: through the settings, which know no list of markets."""
    like = Rules("", "", "", "", Decimal("0.1"), Decimal("0.1"), Decimal("0.1"), Decimal(5))
    listed = [
        replace(like, pair=f"{book}-{base}_{quote}", symbol=symbol, base=base, quote=quote)
        for book, base, quote, symbol in (
            ("KC", "BTC", "USDT", "BTCUSDTKC"),
            ("B", "BTC", "USDT", "BTCUSDT"),
            ("KC", "LYX", "USDT", "LYXUSDT"),
            ("I", "BTC", "INR", "BTCINR"),
        )
    ]
    settings = from_texts({"VENUE": "coindcx", "PAIRS": wanted})
    venue = market_data(settings, LiveClock())
    try:
        if meant is None:
            with pytest.raises(Misconfigured, match="nearest: KC-LYX_USDT"):
                venue.resolve(settings.pairs, listed)
        else:
            assert [market.pair for market in venue.resolve(settings.pairs, listed)] == [meant]
    finally:
        venue.close()


async def some(stream: Stream, trades: int, notices: int = 0) -> tuple[list[Trade], list[Notice]]:
    """Reads until there are so many of each."""
    found: list[Trade] = []
    told: list[Notice] = []
    async with asyncio.timeout(20):
        while len(found) < trades or len(told) < notices:
            for item in await stream.read():
                (found if isinstance(item, Trade) else told).append(item)  # type: ignore[arg-type]
    return found, told


def key(trade: Trade) -> tuple[int, float, float, int]:
    return trade.time_ns, trade.price, trade.quantity, trade.side


# the fault of frames, the least notices that it leads to
BROKEN = {
    "garbage before": (kinds.GARBAGE, {"times": 3}, 3),
    "garbage instead": (kinds.GARBAGE, {"times": 3, "instead": True}, 3),
    "half a message": (kinds.HALF_FRAME, {"times": 3}, 3),
    "twice": (kinds.DUPLICATE, {"times": 3}, 0),
    "in another order": (kinds.REORDER, {"times": 3}, 0),
    "missing": (kinds.MISSING, {"times": 3}, 0),
    "late": (kinds.DELAY, {"times": 3, "ms": 200}, 0),
}


@pytest.mark.parametrize(("kind", "fields", "notices"), BROKEN.values(), ids=BROKEN)
def test_of_a_broken_stream_only_true_trades_come_and_the_rest_is_told(
    served: Served, kind: str, fields: dict[str, Any], notices: int
) -> None:
    async def act(venue: MarketData, rules: Rules) -> None:
        served_fault = await asyncio.to_thread(served.fault, kind, path=STREAM, match="new-trade", **fields)
        stream = await venue.open_stream([rules])
        try:
            trades, told = await some(stream, 30, notices)
        finally:
            await stream.close()
        truth = {key(trade) for trade in (await venue.recent_trades(rules)).trades}
        assert {key(trade) for trade in trades} <= truth
        assert len(told) == notices
        assert await asyncio.to_thread(served.struck, served_fault) == 3

    play(served, act)


@pytest.mark.parametrize("kind", [kinds.DISCONNECT, kinds.CUT_FRAME])
def test_a_stream_that_is_cut_says_so_after_what_came_before(served: Served, kind: str) -> None:
    async def act(venue: MarketData, rules: Rules) -> None:
        await asyncio.to_thread(served.fault, kind, path=STREAM, match="new-trade", after=5, times=1)
        stream = await venue.open_stream([rules])
        trades: list[Trade] = []
        with pytest.raises(Retry):
            while True:
                async with asyncio.timeout(20):
                    trades += [item for item in await stream.read() if isinstance(item, Trade)]
        await stream.close()
        assert len(trades) == 5
        stream = await venue.open_stream([rules])
        await some(stream, 1)
        await stream.close()

    play(served, act)


@pytest.mark.parametrize(("status", "error"), [(503, Retry), (403, Retry), (429, RateLimited)])
def test_a_refused_stream_is_one_clear_error(served: Served, status: int, error: type[Retry]) -> None:
    async def act(venue: MarketData, rules: Rules) -> None:
        await asyncio.to_thread(served.fault, kinds.REFUSED, path=STREAM, status=status)
        with pytest.raises(error) as caught:
            await venue.open_stream([rules])
        assert type(caught.value) is error

    play(served, act)


# --- REST ------------------------------------------------------------------------------------------

ANSWERS: dict[str, tuple[str, dict[str, Any], type[Retry]]] = {
    "dropped": (kinds.DROPPED_REPLY, {}, Retry),
    "cut": (kinds.CUT_REPLY, {}, Retry),
    "lost": (kinds.LOST_REQUEST, {}, Retry),
    "500": (kinds.STATUS, {"status": 500}, Retry),
    "503": (kinds.STATUS, {"status": 503}, Retry),
    "page 502": (kinds.HTML, {"status": 502}, Retry),
    "page 403": (kinds.HTML, {"status": 403}, Retry),
    "page 200": (kinds.HTML, {"status": 200}, Retry),
    "429": (kinds.STATUS, {"status": 429, "retry_after_s": 1}, RateLimited),
    "418": (kinds.STATUS, {"status": 418, "retry_after_s": 1}, RateLimited),
    "nonsense": (kinds.STATUS, {"status": 200, "body": '{"ok":'}, Retry),
    "another shape": (kinds.STATUS, {"status": 200, "body": '{"ok":true}'}, Retry),
    "too slow": (kinds.LATENCY, {"ms": 3300}, Retry),
}


@pytest.mark.parametrize(("kind", "fields", "error"), ANSWERS.values(), ids=ANSWERS)
def test_a_bad_answer_is_one_clear_error_and_the_next_one_is_read(
    served: Served, kind: str, fields: dict[str, Any], error: type[Retry]
) -> None:
    async def act(venue: MarketData, rules: Rules) -> None:
        path = "/market_data/trade_history"
        number = await asyncio.to_thread(served.fault, kind, path=path, times=1, **fields)
        with pytest.raises(error) as caught:
            await venue.recent_trades(rules)
        assert type(caught.value) is error and len(str(caught.value)) < 400
        assert await asyncio.to_thread(served.struck, number) == 1
        if isinstance(caught.value, RateLimited):
            assert caught.value.retry_after_s == 1.0
            await asyncio.sleep(1.0)
        assert (await venue.recent_trades(rules)).trades

    play(served, act)
