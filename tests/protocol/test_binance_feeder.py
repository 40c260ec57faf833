"""The feeder's source on Binance's wire: what was recorded, and what a cut leaves out, is on the tape exactly once."""

import asyncio
import contextlib
import csv
import gzip

from bus.records import HOLE, SIDE_BUY, SIDE_SELL, TRADE
from core.clock import NS_PER_S, LiveClock
from core.settings_load import from_texts
from feeder.guard import Counts
from feeder.pair import PairFeed
from feeder.source import Source
from tests.protocol.binance_peer import Peer
from tests.protocol.set_clock import SetClock
from tests.shared_data import shared_data
from venues.choose import market_data


class Bench:
    """Adapter and source against a peer, with the records that would be on the tape."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.records: list[tuple] = []
        self.said: list[tuple[str, str, str]] = []

    async def __aenter__(self) -> "Bench":
        peer = self.peer
        texts = {"VENUE": "binance", "VENUE_REST_URL": peer.rest_url, "VENUE_STREAM_URL": peer.stream_url}
        clock = SetClock(peer.ahead_ms * 1_000_000)
        self.venue = market_data(from_texts(texts), clock)
        rules = self.venue.resolve(["BTC/USDT"], await self.venue.markets())[0]
        self.counts = Counts()
        self.pair = PairFeed(0, rules, 60 * NS_PER_S, 30 * NS_PER_S, False, self.counts)
        self.source = Source(
            self.venue,
            [self.pair],
            clock,
            self.counts,
            stream=True,
            poll_s=0.3,
            silence_s=60.0,
            random=lambda: 0.0,
            write=lambda records, received_ns: self.records.extend(records),
            say=lambda level, text, pair: self.said.append((level, text, pair)),
        )
        self._task = asyncio.create_task(self.source.run())
        await self.until(lambda: self.pair.live)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self.venue.close()

    async def until(self, condition) -> None:
        for _ in range(3000):
            if condition():
                return
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0.01)
        raise AssertionError(f"never came about; {len(self.records)} records; said {self.said[-5:]}")

    def taped(self) -> list[tuple]:
        """(time, price, quantity, side, id) of every trade."""
        return [(r[4], r[6], r[7], r[1], r[10]) for r in self.records if r[0] == TRADE]


def test_recorded_frames_through_a_real_socket_are_every_trade_once_and_in_order():
    raw = gzip.decompress(shared_data("raw/binance_spot_btcusdt_20240808T2354Z.ws.jsonl.gz").read_bytes())
    frames = [line.split(b',"frame":', 1)[1][:-1].decode() for line in raw.splitlines()]
    ticks = gzip.decompress(shared_data("ticks/binance_spot_btcusdt_20240808T2354Z.ticks.csv.gz").read_bytes())
    sides = {"buy": SIDE_BUY, "sell": SIDE_SELL}
    wanted = [
        (int(row["ts_ns"]), float(row["price"]), float(row["qty"]), sides[row["side"]], int(row["trade_id"]))
        for row in csv.DictReader(ticks.decode().splitlines())
    ]

    async def main() -> None:
        async with Peer() as peer:
            peer.ahead_ms = wanted[-1][0] // 1_000_000 - LiveClock().wall_ms()
            async with Bench(peer) as bench:
                for frame in frames:
                    await peer.send(frame)
                await bench.until(lambda: len(bench.taped()) >= len(wanted))
                assert bench.taped() == wanted
                assert bench.counts.dropped == 0 and peer.connections == 1

    asyncio.run(main())


def test_what_a_cut_left_out_is_refilled_exactly_once():
    async def main() -> None:
        async with Peer() as peer, Bench(peer) as bench:
            for n in range(7):
                await peer.trade(peer.now_ms(), 81_000.0 + n % 2)
            await bench.until(lambda: len(bench.taped()) == 7)
            await peer.cut()
            for n in range(900):
                peer.happened(peer.now_ms(), 81_000.0 + n % 3)
            await bench.until(lambda: bench.source.reconnects == 2 and bench.pair.live)
            for n in range(5):
                await peer.trade(peer.now_ms(), 81_000.0 + n % 2)
            await bench.until(lambda: len(bench.taped()) >= 912)
            assert [row[4] for row in bench.taped()] == [n for n, *_ in peer.trades]
            assert not any(record[0] == HOLE for record in bench.records)

    asyncio.run(main())
