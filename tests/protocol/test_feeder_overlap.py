"""Binance announces over a real socket that it ends the connection: another one takes over while trades go on."""

import asyncio
import contextlib

import pytest

from bus.records import HOLE, TRADE
from core.clock import NS_PER_S, LiveClock
from core.settings_load import from_texts
from feeder.guard import Counts
from feeder.numbered import NumberedPair
from feeder.source import Source
from tools.bench.feeder_protocols import Binance
from tools.bench.feeder_venue import Market, frame
from venues.choose import market_data

SHUTDOWN = b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}'


async def overlap(connections: int) -> None:
    market = Market(Binance(1), 5_000)
    server = await asyncio.start_server(market.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    texts = {"VENUE_REST_URL": f"http://127.0.0.1:{port}", "VENUE_STREAM_URL": f"ws://127.0.0.1:{port}"}
    venue = market_data(from_texts(texts | {"VENUE": "binance", "PAIRS": "C0USDT"}), LiveClock())
    rules = venue.resolve(["C0USDT"], await venue.markets())
    pair, records = NumberedPair(0, rules[0], 60 * NS_PER_S, 30 * NS_PER_S, False, counts := Counts()), []
    source = Source(
        venue,
        [pair],
        LiveClock(),
        counts,
        stream=True,
        poll_s=5.0,
        silence_s=30.0,
        random=lambda: 0.0,
        write=lambda new, received_ns: records.extend(new),
        say=lambda level, text, pair: None,
    )
    running = asyncio.create_task(source.run())
    trading = asyncio.create_task(market.trade(500.0, 30.0))
    try:
        await until(lambda: pair.live, running)
        for _ in range(connections):
            (old,) = market.joined
            old.write(frame(SHUTDOWN))
            while old in market.joined:
                assert pair.live
                await asyncio.sleep(0.001)
                check(running)
        trading.cancel()
        await until(lambda: records[-1][10] == market.counts["C0USDT"], running)
    finally:
        for task in (running, trading):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        venue.close()
        server.close()
        market.cut()
    numbers = [record[10] for record in records if record[0] == TRADE]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert not [record for record in records if record[0] == HOLE]
    assert source.reconnects == 1 and counts.repeats > 0 and counts.gaps == 0


def check(task: "asyncio.Task[None]") -> None:
    if task.done():
        task.result()


async def until(condition, running) -> None:
    for _ in range(2_000):
        if condition():
            return
        check(running)
        await asyncio.sleep(0.005)
    raise AssertionError("never came about")


def test_an_announced_end_loses_no_trade_and_lets_no_pair_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feeder.relay.LATE_S", 0.2)
    asyncio.run(overlap(2))
