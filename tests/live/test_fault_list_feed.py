"""The list of faults that bots are known to fail at, F10 to F16: the market's data, from the venue's wire to signals.

The scenarios are those of the feeder's own tests, in short: a hand-written venue that breaks, and the real source.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from bus.messages import SignalEvent
from bus.records import BACKFILL, HOLE, LATE, RECORD, STALE, TRADE
from core.clock import NS_PER_MS, NS_PER_S
from indicators.layout import Parameters
from sandbox import faults as kinds
from tests import indicator_tools as tools
from tests import trader_world
from tests.protocol import test_feeder_faults as numbered
from tests.protocol.account_house import house_of
from tests.protocol.coindcx_feeder import Bench, brisk, scene
from tests.protocol.test_feeder_faults import play, sandboxes
from tests.unit import test_feeder_guard as guards
from venues.account import MARKET

__all__ = ["brisk", "play", "sandboxes", "scene"]

Scene = Callable[[Callable[[Any, Bench], Any]], None]


def candles(rows: Sequence[Sequence[Any]], timeframe_ms: int = 60_000) -> list[tuple[Any, ...]]:
    """The closed candles of trades (time in ms, price, quantity), or of records as they are on the tape."""
    trades = [tools.trade(int(ms) * NS_PER_MS, price, quantity) for ms, price, quantity in rows]
    return of_records(np.concatenate(trades), timeframe_ms)


def of_records(records: Any, timeframe_ms: int = 60_000) -> list[tuple[Any, ...]]:
    indicators = tools.compiled(Parameters(timeframe_ms, warmup_candles=3, rsi_period=2, bb_period=3, bb_stddev=1.0), 1)
    tools.fold_all(indicators, records)
    names = ("open_ns", "open", "high", "low", "close", "volume", "trades")
    return [tuple(row[name].item() for name in names) for row in tools.closed_rows(indicators)]


def test_f10_the_socket_is_open_and_brings_nothing(scene: Scene) -> None:
    async def run(peer: Any, bench: Bench) -> None:
        bench.silence_s = 0.5
        await bench.start()
        await bench.live()
        await bench.trades(4)
        await bench.until(lambda: len(bench.taped()) == 4)
        peer.deaf = True
        await bench.trades(5)
        await bench.until(lambda: bench.source.reconnects == 2, "REST has what the stream lacks: opened anew")
        peer.deaf = False
        await bench.until(lambda: len(bench.taped()) == 9 and bench.pair.live)
        assert bench.taped() == bench.truth() and any("deaf" in text for _, text, _ in bench.said)

    scene(run)
    # what came too late to be trusted lets nobody in, and everybody out
    live = trader_world.Live(trader_world.Tape())
    live.tape.trade(100.0, "mr", flags=STALE)
    assert [event.outcome for event in trader_world.of(live.feed(), SignalEvent)] == ["refused:stale"]
    live.tape.trade(100.0, "mr").trade(99.0, "warm", flags=STALE)
    signals = trader_world.of(live.feed(), SignalEvent)
    assert [(event.action, event.reason) for event in signals if event.outcome == "approved"] == [
        ("enter", "mean_reversion"),
        ("exit", "trailing_stop"),
    ]


def test_f11_the_market_is_quiet(scene: Scene) -> None:
    async def run(peer: Any, bench: Bench) -> None:
        bench.silence_s = 0.2
        await bench.trades(3)
        await bench.start()
        await bench.live()
        proofs = set()

        def proven() -> int:
            proofs.add(bench.source.proof_ns)
            return len(proofs)

        await bench.until(lambda: proven() >= 5, "REST proves again and again that nothing was traded")
        assert bench.source.reconnects == 1 and peer.connections == 1

    scene(run)


def test_f12_the_stream_repeats_and_reorders_trades(play: numbered.Play) -> None:
    async def run(bench: numbered.Bench) -> None:
        for kind in (kinds.DUPLICATE, kinds.REORDER, kinds.DISCONNECT):
            fields = {"path": bench.ways.market_stream, "match": numbered.MATCH["binance"], "every": 5}
            number = await asyncio.to_thread(lambda kind=kind, fields=fields: bench.served.fault(kind, **fields))
            await bench.struck(number, 2)
        await asyncio.to_thread(bench.served.no_faults)
        await bench.all_taped()
        taped = bench.taped()
        first_ms, last_ms = taped[0][0] + 1, taped[-1][0] - 1
        inside = [row for row in taped if first_ms <= row[0] <= last_ms]
        assert candles(inside, 1_000) == candles(bench.happened(first_ms, last_ms), 1_000) != []

    play("binance", run)


def test_f13_an_outage_of_three_minutes_over_the_closes_of_candles(scene: Scene) -> None:
    async def run(peer: Any, bench: Bench) -> None:
        bench.poll_s = 600.0
        bench.amid_a_minute()
        await bench.start()
        await bench.live()
        await bench.trades(3)
        await bench.until(lambda: len(bench.taped()) == 3)
        peer.refuse_stream = True
        await peer.cut()
        for minute in range(4):
            peer.ahead_s += 60.0
            bench.clock.step_ns += 60 * NS_PER_S
            await bench.trades(3, 81_000.0 + 10.0 * minute)
        peer.refuse_stream = False
        await bench.until(lambda: bench.pair.live and len(bench.taped()) == 15, "refilled")
        await bench.trades(2)
        await bench.until(lambda: len(bench.taped()) == 17)
        assert bench.taped() == bench.truth() and not bench.of(HOLE)
        marked = [bool(record[2] & BACKFILL) for record in bench.of(TRADE)]
        assert all(marked[3:12]) and not any(marked[15:]), "what was missed decides nothing, what comes does"
        assert candles(bench.taped()) == candles(bench.truth()) != [], "as if there had been no outage"

    scene(run)


def test_f14_trades_out_of_order_late_and_of_the_future() -> None:
    guard = guards.make()
    now, minute = guards.NOW, guards.MINUTE
    trades = [
        guards.trade(100.0, now - minute),
        guards.trade(101.0, now - 1 * NS_PER_S),
        guards.trade(102.0, now - 5 * NS_PER_S),  # out of order in its minute
        guards.trade(150.0, now - minute),  # its minute is over
        guards.trade(103.0, now + 2 * NS_PER_S),
        guards.trade(160.0, now + 3 * NS_PER_S),  # of the future
    ]
    records = guards.judged(guard, *trades)
    assert guards.prices(records) == [100.0, 101.0, 102.0, 150.0, 103.0]
    assert [bool(record[2] & LATE) for record in records] == [False, False, False, True, False]
    assert (guard.counts.future, guard.counts.late) == (1, 1)
    rows = np.array([(*record[:3], 0, *record[4:]) for record in records], RECORD)
    closed = of_records(np.concatenate([rows, tools.trade(now + minute, 104.0)]))
    assert [(row[2], row[3], row[6]) for row in closed] == [(100.0, 100.0, 1), (103.0, 101.0, 3)]


@pytest.mark.parametrize("price", [float("nan"), 0.0, -100.0, float("inf"), 1_000.0, 10.0])
def test_f15_a_print_that_cannot_be(price: float) -> None:
    guard = guards.make()
    records = guards.judged(guard, guards.trade(100.0), guards.trade(price), guards.trade(101.0))
    assert guards.prices(records) == [100.0, 101.0] and guard.counts.dropped == 1
    rows = np.array([(*record[:3], 0, *record[4:]) for record in records], RECORD)
    closed = of_records(np.concatenate([rows, tools.trade(guards.NOW + guards.MINUTE, 101.0)]))
    assert [(row[2], row[3], row[6]) for row in closed] == [(101.0, 100.0, 2)]


@pytest.mark.parametrize("jump_s", [-90, 90])
def test_f16_the_clock_of_the_machine_jumps(scene: Scene, jump_s: int) -> None:
    async def run(peer: Any, bench: Bench) -> None:
        await bench.start()
        await bench.live()
        await bench.trades(3)
        await bench.until(lambda: len(bench.taped()) == 3)
        bench.clock.step_ns = jump_s * NS_PER_S
        await bench.trades(4)
        await bench.until(lambda: any("moved apart" in text for _, text, _ in bench.said), "told")
        await bench.until(lambda: bench.pair.live)
        await bench.trades(3)
        await bench.until(lambda: len(bench.taped()) == 10)
        assert bench.taped() == bench.truth(), "times are the venue's"

    scene(run)
    with house_of("binance") as house:
        house.account.balances()
        house.clock.set_wall_ns(house.clock.wall_ns() + jump_s * NS_PER_S)
        went = house.calls()
        house.hasty.create(house.order("x1", MARKET))
        assert went() == 2 and len(house.all_booked()) == 1, "the offset is measured anew, and the order sent once more"
