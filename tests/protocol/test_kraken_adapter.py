"""Kraken's public adapter against a hand-written venue over real sockets."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import pytest

from core.clock import LiveClock
from core.settings_load import from_texts
from tests.protocol.kraken_peer import EMPTY, HALF, HTML, NOTHING, ROW, Peer, bad, trade_frame
from venues.errors import Misconfigured, RateLimited, Rejected, Retry
from venues.kraken.adapter import Kraken
from venues.kraken.connection import Pace
from venues.limits import Limit
from venues.venue import Notice, Trade


@contextlib.asynccontextmanager
async def world(**options: Any) -> AsyncIterator[tuple[Peer, Kraken]]:
    """A venue, and the adapter that talks to it; `options` are its own."""
    async with Peer() as peer:
        texts = {"VENUE": "kraken", "VENUE_REST_URL": peer.rest_url + "/", "VENUE_STREAM_URL": peer.stream_url}
        venue = Kraken(from_texts(texts), LiveClock(), **{"a_market": Limit(1000.0, 1000.0)} | options)
        try:
            yield peer, venue
        finally:
            venue.close()


async def until(condition: Callable[[], object]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("never came about")


async def market(venue: Kraken):
    return venue.resolve(["BTC/USD"], await venue.markets())[0]


def test_every_spelling_of_a_market_resolves_and_unknown_ones_get_the_nearest() -> None:
    async def run() -> None:
        async with world() as (peer, venue):
            peer.rows["XBTUSDT"] = ROW | {"altname": "XBTUSDT", "wsname": "XBT/USDT", "quote": "USDT"}
            peer.rows["XETHXXBT"] = ROW | {
                "altname": "ETHXBT",
                "wsname": "ETH/XBT",
                "base": "XETH",
                "quote": "XXBT",
            }
            markets = await venue.markets()
            assert [m.pair for m in markets] == ["BTC/USD", "BTC/USDT", "ETH/BTC"]
            for name in ("B-BTC_USDT", "BTC/USDT", "btc/usdt", "XBTUSDT", "XBT/USDT", "BTCUSDT"):
                assert venue.resolve([name], markets)[0].symbol == "XBTUSDT", name
            for name in ("XXBTZUSD", "XBTUSD", "BTC/USD", "XBT/USD", "BTCUSD"):
                assert venue.resolve([name], markets)[0].pair == "BTC/USD", name
            for name in ("XETHXXBT", "ETHXBT", "ETH/BTC", "ETHBTC"):
                assert venue.resolve([name], markets)[0].pair == "ETH/BTC", name
            with pytest.raises(Misconfigured, match=r"BTC/USDX is unknown \(nearest: BTC/USD"):
                venue.resolve(["BTC/USDX"], markets)
            with pytest.raises(Misconfigured, match="BTC/EUR is unknown"):
                venue.resolve(["XXBTZEUR"], markets)

    asyncio.run(run())


def test_a_market_whose_row_cannot_be_read_is_asked_for_again() -> None:
    async def run() -> None:
        async with world() as (peer, venue):
            peer.rows["XETHZUSD"] = ROW | {"altname": "ETHUSD", "wsname": "ETH/USD", "pair_decimals": None}
            markets = await venue.markets()
            for name in ("ETH/USD", "ETHUSD", "XETHZUSD"):
                with pytest.raises(Retry, match="ETH/USD cannot be read"):
                    venue.resolve([name], markets)

    asyncio.run(run())


def test_recent_trades_are_the_newest() -> None:
    async def run() -> None:
        async with world() as (peer, venue):
            rules = await market(venue)
            peer.happened(1, 2, 3)
            answer = await venue.recent_trades(rules)
            assert [trade.trade_id for trade in answer.trades] == [1, 2, 3]
            assert answer.complete and answer.bad_rows == 0
            assert {trade.pair for trade in answer.trades} == {"BTC/USD"}
            assert peer.asked[-1] == ("Trades", {"pair": "XBTUSD", "count": "1000"})
            peer.happened(*range(4, 1100))
            answer = await venue.recent_trades(rules)
            assert [trade.trade_id for trade in answer.trades] == list(range(100, 1100))
            assert not answer.complete

    asyncio.run(run())


def known(peer: Peer, number: int) -> Trade:
    at_s = next(row[0] for row in peer.trades if row[4] == number)
    return Trade("BTC/USD", int(at_s * 10**9), 1.0, 1.0, 0, number, 0)


def test_trades_are_had_back_to_a_known_one_in_as_many_pages_as_it_takes() -> None:
    async def run() -> None:
        async with world() as (peer, venue):
            rules = await market(venue)
            peer.happened(*range(1, 3501))
            answer = await venue.recent_trades(rules, known(peer, 700))
            assert [trade.trade_id for trade in answer.trades] == list(range(700, 3501))
            assert len([1 for method, _ in peer.asked if method == "Trades"]) == 3
            answer = await venue.recent_trades(rules, known(peer, 3500))
            assert [trade.trade_id for trade in answer.trades] == [3500]

    asyncio.run(run())


def test_past_trades_begin_at_a_time_and_go_on_from_a_known_one() -> None:
    async def run() -> None:
        async with world() as (peer, venue):
            rules = await market(venue)
            peer.happened(*range(1, 2501))
            answer = await venue.past_trades(rules, known(peer, 300).time_ns, None)
            assert [trade.trade_id for trade in answer.trades] == list(range(300, 1300)) and answer.bad_rows == 0
            answer = await venue.past_trades(rules, 0, known(peer, 1299))
            ids = [trade.trade_id for trade in answer.trades]
            assert ids == list(range(1299, 1299 + len(ids))) and len(ids) > 990
            answer = await venue.past_trades(rules, 0, known(peer, 2500))
            assert [trade.trade_id for trade in answer.trades] == [2500]

    asyncio.run(run())


def test_past_trades_pass_a_moment_that_holds_more_than_an_answer() -> None:
    """Those beyond a thousand of one time cannot be had: the answer goes on behind them, without the known one."""

    async def run() -> None:
        async with world() as (peer, venue):
            rules = await market(venue)
            peer.happened(1)
            peer.trades += [(1_700_000_002.0, "30000.1", "0.01", "s", number) for number in range(2, 1300)]
            peer.happened(1300)
            answer = await venue.past_trades(rules, 0, known(peer, 1))
            assert [trade.trade_id for trade in answer.trades] == list(range(1, 1001))
            answer = await venue.past_trades(rules, 0, answer.trades[-1])
            assert [trade.trade_id for trade in answer.trades] == [1000, 1001]
            answer = await venue.past_trades(rules, 0, answer.trades[-1])
            assert [trade.trade_id for trade in answer.trades] == [1300]

    asyncio.run(run())


def test_trades_of_one_moment_are_not_lost_between_pages() -> None:
    async def run() -> None:
        async with world() as (peer, venue):
            rules = await market(venue)
            peer.happened(1)
            for number in range(2, 1300):  # the first page ends amid six trades of one time
                peer.trades.append((1_700_000_001.0 + (number // 6) * 0.5, "30000.1", "0.01", "s", number))
            answer = await venue.recent_trades(rules, known(peer, 1))
            assert [trade.trade_id for trade in answer.trades] == list(range(1, 1300))

    asyncio.run(run())


def test_too_many_pages_give_the_oldest_part_without_a_break() -> None:
    async def run() -> None:
        async with world(pages_max=2) as (peer, venue):
            rules = await market(venue)
            peer.happened(*range(1, 5001))
            answer = await venue.recent_trades(rules, known(peer, 10))
            numbers = [trade.trade_id for trade in answer.trades]
            assert numbers == list(range(10, numbers[-1] + 1)) and 1900 < len(numbers) < 2100

    asyncio.run(run())


def test_a_venue_that_goes_round_in_circles_is_left() -> None:
    async def run() -> None:
        async with world() as (peer, venue):
            rules = await market(venue)
            peer.trades = [(1_700_000_000.0, "30000.1", "0.01", "s", number) for number in range(1, 1500)]
            answer = await venue.recent_trades(rules, known(peer, 1))
            assert len(answer.trades) == 1000
            assert len([1 for method, _ in peer.asked if method == "Trades"]) <= 3

    asyncio.run(run())


def test_candles_of_a_stretch_of_time() -> None:
    async def run() -> None:
        async with world() as (peer, venue):
            rules = await market(venue)
            start_s = 1_700_000_040
            peer.happened(40, 41, 100, 230, 290)  # 220 s begin a minute; the one from 160 on is quiet
            bars = await venue.candles(rules, 60_000, (start_s + 60) * 1000, (start_s + 240) * 1000)
            assert [bar.open_ns // 10**9 for bar in bars] == [start_s + 60, start_s + 120, start_s + 180]
            assert bars[0][1:] == (30_000.1, 30_000.1, 30_000.1, 30_000.1, 0.01, 1)
            assert bars[1][1:] == (30_000.1, 30_000.1, 30_000.1, 30_000.1, 0.0, 0)
            assert peer.asked[-1][1] == {"pair": "XBTUSD", "interval": "1", "since": str(start_s + 59)}
            assert len(await venue.candles(rules, 60_000, start_s * 1000, 2 * start_s * 1000)) == 5

    asyncio.run(run())


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        pytest.param(bad("EService:Unavailable"), Retry, "EService:Unavailable", id="unavailable"),
        pytest.param(bad("EGeneral:Too many requests"), RateLimited, "no request for 5 s", id="too often"),
        pytest.param(bad("EService: Throttled: 99"), RateLimited, "no request for 1 s", id="throttled until"),
        pytest.param(bad("EGeneral:Temporary lockout"), RateLimited, "no request for 900 s", id="lockout"),
        pytest.param(bad("EQuery:Unknown asset pair"), Rejected, "EQuery:Unknown asset pair", id="unknown pair"),
        pytest.param(HTML, Retry, "web page .*520", id="HTML"),
        pytest.param(NOTHING, Retry, "without an answer", id="nothing"),
        pytest.param(HALF, Retry, "no answer of this venue", id="half"),
        pytest.param(EMPTY, Retry, "no result", id="no result"),
    ],
)
def test_refusals_and_broken_answers_are_one_clear_error(fault, error, words) -> None:
    async def run() -> None:
        async with world() as (peer, venue):
            rules = await market(venue)
            peer.happened(1)
            peer.faults["Trades"] = [fault]
            with pytest.raises(error, match=words):
                await venue.recent_trades(rules)

    asyncio.run(run())


def test_a_market_is_asked_no_more_often_than_is_safe() -> None:
    async def run() -> None:
        async with world(a_market=Limit(0.02, 2.0)) as (peer, venue):
            rules = await market(venue)
            peer.happened(1)
            for _ in range(2):
                await venue.recent_trades(rules)
            with pytest.raises(RateLimited, match="too often before") as told:
                await venue.recent_trades(rules)
            assert 30 < told.value.retry_after_s <= 50

    asyncio.run(run())


# --- the stream ---


def test_a_stream_brings_the_trades_of_all_pairs_on_one_connection() -> None:
    async def run() -> None:
        async with world() as (peer, venue):
            peer.rows["XETHZUSD"] = ROW | {"altname": "ETHUSD", "wsname": "ETH/USD", "base": "XETH"}
            stream = await venue.open_stream(venue.resolve(["BTC/USD", "ETH/USD"], await venue.markets()))
            assert peer.paths == ["/v2"]
            assert peer.requests[0]["params"] == {
                "channel": "trade",
                "symbol": ["BTC/USD", "ETH/USD"],
                "snapshot": False,
            }
            frame = trade_frame(5, 6)
            frame["data"] += trade_frame(9, symbol="ETH/USD")["data"]
            await peer.send(frame)
            found = await stream.read()
            assert [(trade.pair, trade.trade_id) for trade in found] == [("BTC/USD", 5), ("BTC/USD", 6), ("ETH/USD", 9)]
            assert found[0][1:5] == (1_700_000_000_000000000, 30000.1, 0.01, 1)
            await stream.close()

    asyncio.run(run())


def test_frames_that_bring_nothing_are_not_told_and_odd_ones_are() -> None:
    async def run() -> None:
        async with world() as (peer, venue):
            stream = await venue.open_stream([await market(venue)])
            for value in (
                trade_frame(1, kind="snapshot"),
                {"channel": "ticker", "data": [{}]},
                {"method": "pong", "req_id": 1},
                "{half",
                trade_frame(2, symbol="XRP/USD"),
                json.dumps(trade_frame(3), sort_keys=True),  # its fields in another order, with spaces
                {"channel": "status", "type": "update", "data": [{"system": "maintenance"}]},
                {"channel": "status", "type": "update", "data": [{"system": "maintenance"}]},
                {"channel": "status", "type": "update", "data": [{"system": "online"}]},
            ):
                await peer.send(value)
            found: list[Trade | Notice] = []
            while len(found) < 5:
                found += await stream.read()
            kinds = [item.kind if isinstance(item, Notice) else item.trade_id for item in found]
            assert kinds == ["unreadable frame", "unreadable trade", 3, "venue status", "venue status"]
            assert "{half" in found[0].text and "XRP/USD" in found[1].text
            assert found[3].text == "the venue says maintenance (before: online)"
            await stream.close()

    asyncio.run(run())


def test_a_refused_symbol_is_told_with_the_venues_words_and_the_others_go_on() -> None:
    async def run() -> None:
        async with world() as (peer, venue):
            peer.rows["XETHZUSD"] = ROW | {"altname": "ETHUSD", "wsname": "ETH/USD", "base": "XETH"}
            peer.refused["ETH/USD"] = "Currency pair not supported ETH/USD"
            stream = await venue.open_stream(venue.resolve(["BTC/USD", "ETH/USD"], await venue.markets()))
            assert await stream.read() == [
                Notice("subscription refused", "ETH/USD: Currency pair not supported ETH/USD")
            ]
            await peer.send(trade_frame(1))
            assert (await stream.read())[0].trade_id == 1
            await stream.close()

    asyncio.run(run())


def test_a_connection_on_which_all_is_refused_is_none() -> None:
    async def run() -> None:
        async with world() as (peer, venue):
            peer.refused["BTC/USD"] = "Currency pair not supported BTC/USD"
            with pytest.raises(Retry, match="every subscription was refused: BTC/USD Currency pair not supported"):
                await venue.open_stream([await market(venue)])

    asyncio.run(run())


def test_subscriptions_are_acknowledged_in_time_or_not_at_all() -> None:
    async def run() -> None:
        async with world(pace=Pace(ack_s=0.3)) as (peer, venue):
            peer.mute = True
            with pytest.raises(Retry, match=r"1 of 1 subscriptions not acknowledged within 0\.3 s: BTC/USD"):
                await venue.open_stream([await market(venue)])
            await until(lambda: not peer.joined)  # it was closed

    asyncio.run(run())


def test_trades_that_come_before_the_last_acknowledgement_are_kept() -> None:
    async def run() -> None:
        async with world() as (peer, venue):
            rules = await market(venue)
            peer.early = [trade_frame(1)]
            stream = await venue.open_stream([rules])
            assert (await stream.read())[0].trade_id == 1
            await stream.close()

    asyncio.run(run())


def test_a_silent_connection_is_lost_and_one_with_heartbeats_is_not() -> None:
    async def run() -> None:
        async with world(pace=Pace(silent_s=4.0, tick_s=0.1)) as (peer, venue):
            stream = await venue.open_stream([await market(venue)])
            reading = asyncio.create_task(stream.read())
            done, _ = await asyncio.wait([reading], timeout=6.0)
            assert not done  # heartbeats: quiet, not silent
            peer.beats = False
            with pytest.raises(Retry, match="silent: no frame for 4 s, not even a heartbeat"):
                await asyncio.wait_for(reading, 10)
            await stream.close()

    asyncio.run(run())


def test_frames_that_wait_to_be_read_are_no_silence() -> None:
    async def run() -> None:
        async with world(pace=Pace(silent_s=0.3, tick_s=0.05)) as (peer, venue):
            stream = await venue.open_stream([await market(venue)])
            await peer.send(trade_frame(1))
            peer.beats = False
            await asyncio.sleep(0.8)  # the reader has other things to do
            assert (await stream.read())[0].trade_id == 1
            await stream.close()

    asyncio.run(run())


def test_pings_go_out_while_nothing_else_does() -> None:
    async def run() -> None:
        async with world(pace=Pace(ping_s=0.1, tick_s=0.05)) as (peer, venue):
            stream = await venue.open_stream([await market(venue)])
            reading = asyncio.create_task(stream.read())
            await until(lambda: [request for request in peer.requests if request["method"] == "ping"][1:])
            numbers = [request["req_id"] for request in peer.requests if request["method"] == "ping"]
            assert len(numbers) >= 2 and len(set(numbers)) == len(numbers)
            assert not reading.done()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await stream.close()

    asyncio.run(run())


def test_a_cut_is_told() -> None:
    async def run() -> None:
        async with world() as (peer, venue):
            stream = await venue.open_stream([await market(venue)])
            await peer.send(trade_frame(1))
            assert (await stream.read())[0].trade_id == 1
            await peer.cut()
            with pytest.raises(Retry, match="the stream was cut"):
                await asyncio.wait_for(stream.read(), 10)
            await stream.close()

    asyncio.run(run())


def test_what_the_venue_can_do_and_takes() -> None:
    venue = Kraken(from_texts({"VENUE": "kraken"}), LiveClock())
    assert venue.capabilities.trade_ids and 60_000 in venue.capabilities.intervals_ms
    assert venue.fees_bps("USDT") == (Decimal(40), Decimal(25))
    assert not venue.tape_clock
    sandbox = Kraken(from_texts({"SANDBOX_SPEED": "60", "SANDBOX_TAPE": __file__}), LiveClock())
    assert sandbox.fees_bps("USDT") == (Decimal(5), Decimal(5)) and sandbox.tape_clock
    assert sandbox.clock_offset_ns() == 0
    venue.close()
    sandbox.close()
