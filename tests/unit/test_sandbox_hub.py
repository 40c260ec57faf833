"""Delivery: every trade once and in order to each client, never before its time; slow clients hold or are cut off."""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from sandbox.clock import TapeClock
from sandbox.hub import Client, Encode, Hub
from sandbox.trades import Bars, Rules, Trades, bars_of, no_trades


class Wall:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.ns = 1_000_000_000

    def wall_ns(self) -> int:
        return self.ns

    def wall_ms(self) -> int:
        return self.ns // 1_000_000

    def monotonic_ns(self) -> int:
        return self.ns


class Timers:
    """Keeps the last timer for the test to fire."""

    def __init__(self) -> None:
        self.callback: Callable[[], None] | None = None
        self.delay = 0.0

    def call_later(self, seconds: float, callback: Callable[[], None], /) -> "Timers":
        self.callback, self.delay = callback, seconds
        return self

    def cancel(self) -> None:
        self.callback = None

    def fire(self) -> None:
        callback, self.callback = self.callback, None
        assert callback is not None
        callback()


class Numbers:
    """A market whose n-th trade has n ticks; one trade every 10 ms from 1,000 on."""

    def __init__(self, count: int) -> None:
        number = np.arange(1, count + 1)
        self.trades = Trades(1_000 + number // 2 * 20, number, number, number % 2 == 0)  # two share each ms
        self.asked: list[tuple[int, int]] = []

    @property
    def rules(self) -> dict[str, Rules]:
        return {"A": Rules("A", "B", "B", 0, 0, 1, 0.0)}

    def span(self, pair: str, from_ms: int, to_ms: int) -> Trades:
        self.asked.append((from_ms, to_ms))
        start, stop = np.searchsorted(self.trades.ts_ms, (from_ms, to_ms))
        return self.trades.slice(int(start), int(stop))

    def last(self, pair: str, until_ms: int, limit: int) -> Trades:
        return no_trades()

    def bars(self, pair: str, interval_ms: int, from_ms: int, until_ms: int, limit: int) -> Bars:
        return bars_of(self.trades, interval_ms)

    def first_ticks(self, pair: str) -> int:
        return 1

    def reach(self, pair: str, until_ms: int) -> tuple[int, int] | None:
        return None


def encode(trades: Trades) -> list[str]:
    return [str(ticks) for ticks in trades.ticks.tolist()]


def opened(name: str, now_ms: int) -> tuple[str, Encode]:
    return name, encode


class Rig:
    """A hub over numbers, wall time and timers in the test's hands."""

    def __init__(self, count: int = 5000, speed: float = 1.0) -> None:
        self.wall, self.timers, self.market = Wall(), Timers(), Numbers(count)
        self.clock = TapeClock(self.wall, 900, int(self.market.trades.ts_ms[-1]), speed)
        self.heard: list[str] = []
        self.hub = Hub(
            self.market,
            self.clock,
            opened,
            self.timers,
            lambda: self.heard.append("start"),
            lambda: self.heard.append("on"),
        )

    def run(self, seconds: float, step: float = 0.01) -> None:
        for _ in range(round(seconds / step)):
            self.wall.ns += int(step * 1e9)
            self.timers.fire()


async def drained(client: Client) -> list[int]:
    taken = []
    while client.backlog:
        texts = await client.take_many(7)
        assert 1 <= len(texts) <= 7
        taken += map(int, texts)
    return taken


def test_each_client_gets_every_trade_once_and_in_order_from_its_join_on() -> None:
    async def scene() -> None:
        rig = Rig()
        one, two = Client(), Client()
        rig.hub.join("A", one)
        rig.hub.join("A", one)  # a second join changes nothing
        rig.run(2.0)
        rig.hub.join("A", two)
        rig.run(3.0)
        first, second = await drained(one), await drained(two)
        due = int(np.searchsorted(rig.market.trades.ts_ms, rig.clock.now_ms(), "right"))
        assert first == list(range(1, due + 1))
        assert second and second == first[-len(second) :] and len(second) < len(first)
        assert rig.heard == ["start"]

    asyncio.run(scene())


def test_no_trade_falls_into_the_time_that_starting_the_market_takes() -> None:
    async def scene() -> None:
        rig = Rig(speed=10.0)

        def written() -> None:
            rig.wall.ns += 50_000_000  # 500 ms of the market: a disk that takes its time over an fsync

        hub = Hub(rig.market, rig.clock, lambda name, now_ms: (name, encode), rig.timers, written)
        client = Client()
        hub.join("A", client)
        rig.run(0.1)
        assert (await drained(client))[:3] == [1, 2, 3]

    asyncio.run(scene())


@pytest.mark.parametrize("speed", [1.0, 600.0])
def test_nothing_is_told_before_its_time_and_the_end_is_silence(speed: float) -> None:
    async def scene() -> None:
        rig = Rig(4000, speed)
        client = Client()
        rig.hub.join("A", client)
        told = 0
        while not rig.clock.ended:
            rig.run(0.01)
            told += len(await drained(client))
            assert told == np.searchsorted(rig.market.trades.ts_ms, rig.clock.now_ms(), "right")
        rig.run(0.5)
        assert told == rig.hub.told == 4000
        assert await drained(client) == []

    asyncio.run(scene())


def test_a_leaver_hears_no_more_and_an_empty_channel_costs_nothing() -> None:
    async def scene() -> None:
        rig = Rig()
        one, two = Client(), Client()
        rig.hub.join("A", one)
        rig.hub.join("A", two)
        rig.run(0.5)
        rig.hub.leave("A", one)
        rig.hub.leave("A", one)
        before = len(await drained(one))
        rig.run(0.5)
        assert before and not one.backlog and two.backlog
        rig.hub.leave_all(two)
        rig.timers.fire()
        assert rig.timers.callback is None  # no timer runs without clients
        rig.wall.ns += 1_000_000_000
        rig.hub.join("A", two)  # from now on: what was missed is not told
        missed = await drained(two)
        rig.run(0.1)
        assert (await drained(two))[0] > missed[-1] + 1

    asyncio.run(scene())


def test_a_full_client_is_cut_off_in_real_time_and_the_others_go_on() -> None:
    async def scene() -> None:
        rig = Rig()
        slow, quick = Client(most=50), Client()
        rig.hub.join("A", slow)
        rig.hub.join("A", quick)
        rig.run(2.0)
        assert slow.cut_off and await slow.take_many(7) == []
        assert (await drained(quick))[-1] > 100

    asyncio.run(scene())


def test_recorded_time_waits_for_a_slow_client_and_loses_nothing() -> None:
    async def scene() -> None:
        rig = Rig(4000, 10.0)
        slow = Client(most=300)
        rig.hub.join("A", slow)
        rig.run(0.05)
        rig.run(1.0)  # far more than its queue would take
        assert not slow.cut_off and 0.5 <= slow.backlog <= 0.7
        stood = rig.clock.now_ms()
        rig.run(1.0)
        assert rig.clock.now_ms() == stood
        got: list[int] = []
        while not rig.clock.ended:
            got += await drained(slow)
            rig.run(0.02)
        rig.run(0.1)
        got += await drained(slow)
        assert got == list(range(1, 4001))
        assert "on" in rig.heard

    asyncio.run(scene())


def test_a_client_that_takes_nothing_does_not_hold_the_market_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        monkeypatch.setattr("sandbox.hub.PATIENCE_S", -1.0)
        rig = Rig(4000, 10.0)
        dead = Client(most=300)
        rig.hub.join("A", dead)
        rig.run(2.0)
        assert dead.cut_off

    asyncio.run(scene())


def test_the_timer_waits_for_the_next_trade() -> None:
    async def scene() -> None:
        rig = Rig()
        rig.hub.join("A", Client())
        rig.timers.fire()
        assert rig.timers.delay == pytest.approx(0.1)  # the first trade is at 1,000, the clock at 900
        assert len(rig.market.asked) == 1
        rig.run(5.0)
        assert len(rig.market.asked) == 1  # prepared some seconds at a time

    asyncio.run(scene())


def test_a_channel_that_is_left_and_joined_again_tells_each_trade_once() -> None:
    async def scene() -> None:
        rig = Rig()
        client = Client()
        for _ in range(5):
            rig.hub.join("A", client)
            rig.hub.leave("A", client)
            told = rig.hub.join("A", client)
            rig.hub.join("B", Client())
            rig.run(0.5)
            heard = await drained(client)
            after = int(np.searchsorted(rig.market.trades.ts_ms, told, "right"))
            due = int(np.searchsorted(rig.market.trades.ts_ms, rig.clock.now_ms(), "right"))
            assert heard == list(range(after + 1, due + 1))
            rig.hub.leave("A", client)

    asyncio.run(scene())


def test_a_newcomer_is_told_from_when_on_it_hears() -> None:
    async def scene() -> None:
        rig = Rig()
        one, two = Client(), Client()
        rig.hub.join("A", one)
        rig.run(1.0)
        rig.wall.ns += 400_000_000  # due, and not yet told
        told_ms = rig.hub.join("A", two)
        assert told_ms == rig.hub.told_ms("A") and rig.hub.told_ms("B") is None
        rig.run(0.1)
        first = (await drained(two))[0]
        assert rig.market.trades.ts_ms[first - 1] > told_ms >= rig.market.trades.ts_ms[first - 2]

    asyncio.run(scene())


def test_what_is_no_trade_goes_to_those_who_listen() -> None:
    async def scene() -> None:
        rig = Rig()
        one, two = Client(), Client()
        rig.hub.join("A", one)
        rig.hub.join("B", two)
        rig.hub.say("A", ["7"])
        rig.hub.say("C", ["8"])
        assert await drained(one) == [7] and not two.backlog

    asyncio.run(scene())
