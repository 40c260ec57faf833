"""The feeder's source and clocks that are wrong, ours or the venue's: no trade is lost, doubled or out of its order."""

import asyncio
from collections.abc import Callable

import pytest

from bus.records import HOLE, TRADE
from core.clock import NS_PER_S
from tests.protocol import coindcx_peer as fake
from tests.protocol.coindcx_feeder import TRADES_PATH, brisk, scene

__all__ = ["brisk", "scene"]

DAY_S = 86_400


@pytest.mark.parametrize(
    "step_s", [-90, 90, 2 * DAY_S], ids=["set back", "set ahead", "set ahead by days, as a board without a clock does"]
)
def test_a_clock_that_is_set_costs_no_trade(scene, step_s):
    async def play(peer, bench):
        await bench.trades(2)
        await bench.start()
        await bench.live()
        await bench.trades(3)
        await bench.until(lambda: len(bench.taped()) >= 3)
        bench.clock.step_ns = step_s * NS_PER_S
        await bench.trades(4)
        await bench.until(lambda: any("moved apart" in text for _, text, _ in bench.said), "noticed")
        connections = 1 if step_s == 90 else 2  # late trades are taken, others are dropped and come again
        await bench.until(lambda: bench.pair.live and bench.source.reconnects == connections)
        await bench.trades(3)
        await bench.until(lambda: bench.taped()[-10:] == bench.truth()[-10:], "all of them")
        assert not bench.of(TRADE)[-1][2]

    scene(play)


@pytest.mark.parametrize("step_s", [-90, 2 * DAY_S], ids=["set back", "set ahead by days"])
def test_trades_that_come_while_a_clock_is_corrected_are_not_taped_before_those_that_were_dropped(scene, step_s):
    async def play(peer, bench):
        await bench.trades(2)
        await bench.start()
        await bench.live()
        bench.clock.step_ns = step_s * NS_PER_S
        for n in range(450):  # an answer reaches back 500
            await peer.trade(bench.now_ms(), 81_000 + n * 0.01)
            await asyncio.sleep(0.001)
            if bench.source.reconnects == 2:
                break
        await bench.until(lambda: bench.pair.live and bench.source.reconnects == 2, "opened anew")
        await bench.until(lambda: bench.taped() == bench.truth(), "all of them, in order")
        assert not bench.of(HOLE)

    scene(play)


def of_the_future(frame: Callable[[int, float, float, bool], str], quantity: float):
    """Trades of that quantity are told with a time an hour ahead, by the stream alone."""

    def encode(at_ms: int, price: float, q: float, maker_bought: bool) -> str:
        return frame(at_ms + (3_600_000 if q == quantity else 0), price, q, maker_bought)

    return encode


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        pytest.param([], "", id="answered"),
        pytest.param([fake.BROKEN], "503", id="refused"),
        pytest.param([fake.LATE], "", id="late"),
    ],
)
def test_a_venue_that_tells_an_impossible_time_loses_and_delays_nothing_else(scene, monkeypatch, answers, words):
    monkeypatch.setattr("feeder.doubt.HOLD_S", 0.2)

    async def play(peer, bench):
        await bench.under_way()
        asked = len(peer.asked)
        peer.faults[TRADES_PATH] = list(answers)
        peer.encode = of_the_future(fake.frame_of, 0.07)
        for n in range(20):  # one in ten
            await peer.trade(bench.now_ms(), 81_000 + n * 0.5, 0.07 if n % 10 == 5 else 0.01)
        await bench.until(lambda: len(bench.taped()) == 20, "the others")
        assert bench.taped() == [row for row in bench.truth() if row[2] != 0.07]
        assert bench.source.reconnects == 1 and bench.counts.future == 2
        assert len(peer.asked) == asked + 1, "it is asked no more often than each five seconds"
        assert all(words in text for level, text, pair in bench.said if level == "warn" and pair)

    scene(play)


def test_a_cut_while_trades_wait_for_the_venues_time_doubles_and_loses_nothing(scene):
    async def play(peer, bench):
        await bench.under_way()
        peer.faults[TRADES_PATH] = [fake.LATE]
        peer.encode = of_the_future(fake.frame_of, 0.07)
        for n in range(4):  # three wait behind the first
            await peer.trade(bench.now_ms(), 81_000 + n * 0.5, 0.01 if n else 0.07)
        await bench.until(lambda: bench.counts.future == 1, "dropped")
        peer.encode = fake.frame_of
        peer.refuse_stream = True
        await peer.cut()
        await bench.until(lambda: len(bench.taped()) == 6, "polled")
        await peer.trade(bench.now_ms(), 81_004)
        await asyncio.sleep(fake.LATE_S)  # the answer has come
        await bench.until(lambda: len(bench.taped()) == 7, "polled")
        peer.refuse_stream = False
        await bench.until(lambda: bench.pair.live and bench.source.reconnects == 2, "the stream again")
        await bench.trades(2)
        await bench.until(lambda: len(bench.taped()) >= 9)
        assert bench.taped() == bench.truth() and not bench.of(HOLE)

    scene(play)


@pytest.mark.parametrize("step_s", [-90, 90, -2 * DAY_S], ids=["back", "ahead", "back by days"])
def test_a_clock_that_is_set_while_trades_wait_for_rest_costs_no_trade(scene, step_s):
    async def play(peer, bench):
        await bench.under_way()
        peer.faults[TRADES_PATH], peer.hold = [fake.LATE], asyncio.Event()
        await peer.cut()
        await bench.until(lambda: bench.pair.streaming and bench.source.reconnects == 2, "again")
        await bench.trades(3)
        await bench.until(lambda: len(bench.pair.buffer) == 3, "they wait")
        bench.clock.step_ns = step_s * NS_PER_S
        await bench.trades(3)
        peer.hold.set()
        await bench.until(lambda: bench.pair.live and len(bench.taped()) >= 8, "all of them")
        await bench.trades(2)
        await bench.until(lambda: len(bench.taped()) >= 10, "all of them")
        assert bench.taped() == bench.truth() and not bench.of(HOLE)
        assert bench.source.reconnects == 2 and not bench.of(TRADE)[-1][2]

    scene(play)


def test_more_trades_than_may_wait_for_the_venues_time_are_taken_and_nothing_is_lost(scene, monkeypatch):
    monkeypatch.setattr("feeder.doubt.HELD_MOST", 20)

    async def play(peer, bench):
        await bench.under_way()
        peer.faults[TRADES_PATH] = [fake.LATE]
        bench.clock.step_ns = -90 * NS_PER_S
        await bench.trades(200)
        await bench.until(lambda: bench.counts.future > 20, "no more wait")
        await bench.until(lambda: bench.pair.live and bench.source.reconnects == 2, "opened anew")
        await bench.until(lambda: len(bench.taped()) >= 202)
        assert bench.taped() == bench.truth() and not bench.of(HOLE)

    scene(play)


def test_a_trade_that_was_dropped_soon_after_a_question_is_asked_about_when_the_next_may_be(scene, monkeypatch):
    monkeypatch.setattr("feeder.doubt.RECLOCK_NS", 3 * NS_PER_S)

    async def play(peer, bench):
        await bench.start()
        await bench.live()
        peer.encode = of_the_future(fake.frame_of, 0.07)
        await peer.trade(bench.now_ms(), 81_000, 0.07)
        peer.trades.clear()  # it was none
        await bench.until(lambda: bench.counts.future == 1 and not bench.source._doubt.holds, "asked")
        await bench.trades(2)
        await bench.until(lambda: len(bench.taped()) == 2)
        bench.clock.step_ns = -90 * NS_PER_S
        await bench.trades(4)
        await bench.until(lambda: bench.counts.future == 5, "dropped")
        await bench.until(lambda: len(bench.taped()) == 6, "opened anew, though nothing came any more")
        assert bench.taped() == bench.truth()

    scene(play)
