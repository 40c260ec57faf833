"""Every fault of requests and frames through the three market data adapters: the right error, and the next is answered.

What the feeder makes of the streams is in `test_feeder_faults`; half of the faults of frames need no feeder to be seen.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from core.clock import NS_PER_MS, NS_PER_S
from sandbox import faults as kinds
from tests.protocol.account_house import NOW_MS, WAYS, House, house_of
from venues.errors import RateLimited, Retry
from venues.venue import Notice, Trade

MINUTE_MS = 60_000


@pytest.fixture(params=WAYS)
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    with house_of(request.param) as made:
        yield made


ASKS: dict[str, Callable[[House], Awaitable[Any]]] = {
    "markets": lambda house: house.market.markets(),
    "trades": lambda house: house.market.recent_trades(house.rules),
    "candles": lambda house: house.market.candles(house.rules, MINUTE_MS, NOW_MS - 10 * MINUTE_MS, NOW_MS),
}
LOST: dict[str, dict[str, Any]] = {
    "the reply": {"kind": kinds.DROPPED_REPLY},
    "half the reply": {"kind": kinds.CUT_REPLY},
    "the request": {"kind": kinds.LOST_REQUEST},
    "in 500": {"kind": kinds.STATUS, "status": 500},
    "in 503": {"kind": kinds.STATUS, "status": 503},
    "in a page": {"kind": kinds.HTML, "status": 502},
    "in a page that says 200": {"kind": kinds.HTML, "status": 200},
    "in a redirect": {"kind": kinds.STATUS, "status": 302, "body": "{}"},
    "in half JSON": {"kind": kinds.STATUS, "status": 200, "body": '[{"a":'},
    "in another shape": {"kind": kinds.STATUS, "status": 200, "body": "7"},
    "in nothing": {"kind": kinds.STATUS, "status": 200, "body": ""},
}


def ask(house: House, name: str) -> Any:
    house.breathe()
    return asyncio.run(ASKS[name](house))  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", LOST.values(), ids=LOST)
def test_a_question_whose_answer_is_lost_is_a_retry_and_the_next_one_is_answered(
    house: House, fields: dict[str, Any]
) -> None:
    for name in ASKS:
        number = house.served.fault(path="*", times=1, **fields)
        with pytest.raises(Retry):
            ask(house, name)
        assert house.served.struck(number) == 1
        assert ask(house, name)


@pytest.mark.parametrize("status", [429, 418])
def test_a_retry_after_is_obeyed_to_the_letter(house: House, status: int) -> None:
    pause_s = 1_800
    number = house.served.fault(kinds.STATUS, path="*", status=status, retry_after_s=pause_s)
    with pytest.raises(RateLimited) as caught:
        ask(house, "trades")
    assert caught.value.retry_after_s == pytest.approx(pause_s, abs=1)
    house.breathe((pause_s - 3 * 60 - 1) * NS_PER_S)  # and a minute for each question
    for name in ASKS:
        with pytest.raises(RateLimited, match="not sent"):
            ask(house, name)
    assert house.served.struck(number) == 1
    house.served.no_faults()
    assert ask(house, "trades")


def test_maintenance_is_a_retry(house: House) -> None:
    house.served.fault(kinds.MAINTENANCE)
    for name in ASKS:
        with pytest.raises(Retry):
            ask(house, name)
    with pytest.raises(Retry):
        asyncio.run(house.market.open_stream([house.rules]))  # type: ignore[arg-type]
    house.served.no_faults()
    house.breathe(3_600 * NS_PER_S)
    assert ask(house, "markets")


@pytest.mark.parametrize("ms", [-120_000, 120_000])
def test_the_venues_clock_is_known_from_its_answers(house: House, ms: int) -> None:
    house.served.fault(kinds.CLOCK_SKEW, ms=ms)
    for name in ASKS:
        ask(house, name)
    assert abs(house.market.clock_offset_ns() - ms * NS_PER_MS) <= 1_100 * NS_PER_MS


# --- the stream --------------------------------------------------------------------------------------

# the fault, and whether a notice tells of it
FRAMES: dict[str, tuple[dict[str, Any], bool]] = {
    "garbage before a frame": ({"kind": kinds.GARBAGE}, True),
    "garbage in place of a frame": ({"kind": kinds.GARBAGE, "instead": True}, True),
    "half a frame": ({"kind": kinds.HALF_FRAME}, True),
    "a frame twice": ({"kind": kinds.DUPLICATE}, False),
    "a frame after the next": ({"kind": kinds.REORDER}, False),
    "a frame lost": ({"kind": kinds.MISSING}, False),
    "a late frame": ({"kind": kinds.DELAY, "ms": 20}, False),
}
MATCH = {"coindcx": "new-trade", "binance": "@trade", "kraken": '"trade","type":"update"'}


def heard(house: House, enough: int, fields: dict[str, Any] | None = None) -> list[Any]:
    """What the stream brings until the fault has struck and so many trades have come after it, the market going on."""

    async def main() -> list[Any]:
        stream = await house.market.open_stream([house.rules])
        items: list[Any] = []
        try:
            struck = await asyncio.to_thread(set_fault, house, fields) if fields else lambda: True
            more = reads = 0  # after the fault: a frame that it holds back comes behind the next one
            async with asyncio.timeout(10):
                while more < enough or reads < 3:
                    after = await asyncio.to_thread(struck)
                    reading = asyncio.ensure_future(stream.read())
                    while not reading.done():
                        house.step_clocks(300)
                        await asyncio.wait({reading}, timeout=0.01)
                    items += await reading
                    more += sum(isinstance(item, Trade) for item in await reading) if after else 0
                    reads += after
        finally:
            await stream.close()
        return items

    return asyncio.run(main())


def set_fault(house: House, fields: dict[str, Any]) -> Callable[[], bool]:
    """Sets it for frames with trades; answers whether it has struck."""
    path, match = house.ways.market_stream, MATCH[house.protocol]
    number = house.served.fault(path=path, match=match, after=2, times=1, **fields)
    return lambda: house.served.struck(number) > 0


@pytest.mark.parametrize(("fields", "noticed"), FRAMES.values(), ids=FRAMES)
def test_a_frame_that_breaks_costs_no_other(house: House, fields: dict[str, Any], noticed: bool) -> None:
    items = heard(house, 4, fields)
    assert any(isinstance(item, Notice) for item in items) is noticed
    told = {(item.time_ns, item.price, item.quantity) for item in items if isinstance(item, Trade)}
    true = {(trade.time_ns, trade.price, trade.quantity) for trade in house.happened()}
    missing = {row for row in true - told if min(told)[0] < row[0] < max(told)[0]}
    breaks = fields["kind"] in (kinds.HALF_FRAME, kinds.MISSING) or "instead" in fields
    assert told <= true and bool(missing) is breaks
    ids = [item.trade_id for item in items if isinstance(item, Trade)]
    if house.market.capabilities.trade_ids:
        assert (set(ids) == set(range(min(ids), max(ids) + 1))) is not breaks
        assert (len(set(ids)) < len(ids)) is (fields["kind"] == kinds.DUPLICATE)
        assert ids != sorted(ids) or fields["kind"] != kinds.REORDER
    else:
        assert set(ids) == {0}


@pytest.mark.parametrize("kind", [kinds.DISCONNECT, kinds.CUT_FRAME])
def test_a_stream_that_is_cut_is_a_retry_and_can_be_opened_anew(house: House, kind: str) -> None:
    with pytest.raises(Retry):
        heard(house, 1_000, {"kind": kind})
    assert heard(house, 3)


@pytest.mark.parametrize("status", [500, 503])
def test_a_stream_that_is_refused_is_a_retry(house: House, status: int) -> None:
    house.served.fault(kinds.REFUSED, path="*", status=status)
    with pytest.raises(Retry):
        heard(house, 1)
    house.served.no_faults()
    assert heard(house, 1)
