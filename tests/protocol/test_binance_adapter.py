"""Binance's market data over real sockets: rules, trades back to a known one, candles, streams and their answers."""

import asyncio
import json
from decimal import Decimal

import msgspec
import pytest

from core.clock import NS_PER_MS, LiveClock
from core.settings_load import from_texts
from tests.protocol import binance_peer as fake
from tests.protocol.binance_peer import Peer
from venues.binance import adapter as module
from venues.binance import wire_stream
from venues.choose import market_data
from venues.errors import Misconfigured, RateLimited, Rejected, Retry
from venues.venue import SHUTDOWN, Notice, Trade

NOW_MS = 1_767_225_600_000


def play(scenario):
    """Runs `scenario(peer, venue)` against a fresh peer."""

    async def main():
        async with Peer() as peer:
            texts = {"VENUE": "binance", "VENUE_REST_URL": peer.rest_url, "VENUE_STREAM_URL": peer.stream_url}
            venue = market_data(from_texts(texts), LiveClock())
            try:
                await asyncio.wait_for(scenario(peer, venue), 30)
            finally:
                venue.close()

    asyncio.run(main())


async def btc(venue):
    return venue.resolve(["BTC/USDT"], await venue.markets())[0]


@pytest.mark.parametrize("name", ["B-BTC_USDT", "BTC/USDT", "BTCUSDT", "btcusdt", " btc/usdt "])
def test_every_name_of_a_market_means_it(name):
    async def scenario(peer, venue):
        markets = await venue.markets()
        assert [market.pair for market in venue.resolve([name], markets)] == ["BTCUSDT"]
        settings = from_texts({"VENUE": "binance", "PAIRS": name.strip()})
        assert settings.pairs == ("BTCUSDT",)

    play(scenario)


def test_unknown_names_are_answered_with_the_nearest():
    async def scenario(peer, venue):
        peer.rows = [fake.ROW, {**fake.ROW, "symbol": "BTCFDUSD", "quoteAsset": "FDUSD"}]
        with pytest.raises(Misconfigured, match=r"BTCUSD is unknown \(nearest: .*BTCUSDT"):
            venue.resolve(["BTCUSD"], await venue.markets())

    play(scenario)


def test_a_market_whose_row_cannot_be_read_now_is_asked_for_again():
    async def scenario(peer, venue):
        peer.rows = [fake.ROW, {**fake.ROW, "symbol": "ETHUSDT", "filters": 7}]
        markets = await venue.markets()
        with pytest.raises(Retry, match="the row of ETHUSDT cannot be read"):
            venue.resolve(["ETHUSDT"], markets)
        with pytest.raises(Retry, match="ETH/USDT"):
            venue.resolve(["ETH/USDT"], markets)

    play(scenario)


def test_the_venues_clock_is_measured_to_the_millisecond():
    async def scenario(peer, venue):
        peer.ahead_ms = 7_300
        await venue.markets()
        assert venue.clock_offset_ns() / NS_PER_MS == pytest.approx(7_300, abs=60)

    play(scenario)


def many(peer, count, first=1):
    peer.trades = [(n, NOW_MS + n, 81_000.0 + n, 0.01, False) for n in range(first, first + count)]


def known(trade_id):
    return Trade("BTCUSDT", 0, 0.0, 0.0, 0, trade_id, 0)


REACHES = {
    # trades there, since, ids answered, complete, requests for older ones
    "newest only": (1500, None, (501, 1500), False, 0),
    "in the newest": (1500, 700, (501, 1500), False, 0),
    "one page back": (1500, 400, (400, 1500), False, 1),
    "several pages back": (5200, 1000, (1000, 5200), False, 4),
    "all there is": (900, 3, (1, 900), True, 0),
    "without an id": (1500, 0, (501, 1500), False, 0),
}


@pytest.mark.parametrize(("count", "since", "ids", "complete", "asked"), REACHES.values(), ids=REACHES)
def test_recent_trades_reach_back_to_a_known_one(count, since, ids, complete, asked):
    async def scenario(peer, venue):
        many(peer, count)
        rules = await btc(venue)
        answer = await venue.recent_trades(rules, None if since is None else known(since))
        assert [trade.trade_id for trade in answer.trades] == list(range(ids[0], ids[1] + 1))
        assert (answer.complete, answer.bad_rows) == (complete, 0)
        assert sum("historicalTrades" in target for target in peer.asked) == asked

    play(scenario)


def test_too_much_to_go_back_to_is_answered_with_its_oldest_part(monkeypatch):
    monkeypatch.setattr(module, "OLDER_PAGES_MAX", 2)

    async def scenario(peer, venue):
        many(peer, 5000)
        answer = await venue.recent_trades(await btc(venue), known(100))
        assert [trade.trade_id for trade in answer.trades] == list(range(100, 2100))

    play(scenario)


def test_older_trades_that_lag_behind_are_answered_as_far_as_they_go():
    async def scenario(peer, venue):
        many(peer, 3000)
        rules = await btc(venue)
        page = fake.json_answer(peer._rows(peer.trades[99:400]))
        peer.faults["/api/v3/historicalTrades"] = [page, fake.json_answer([])]
        answer = await venue.recent_trades(rules, known(100))
        assert [trade.trade_id for trade in answer.trades] == list(range(100, 401))

    play(scenario)


def test_a_page_that_fails_leaves_what_came_before_it():
    async def scenario(peer, venue):
        many(peer, 5000)
        rules = await btc(venue)
        page = fake.json_answer(peer._rows(peer.trades[99:1099]))
        peer.faults["/api/v3/historicalTrades"] = [page, fake.BROKEN]
        answer = await venue.recent_trades(rules, known(100))
        assert [trade.trade_id for trade in answer.trades] == list(range(100, 1100))
        peer.faults["/api/v3/historicalTrades"] = [fake.BROKEN]
        with pytest.raises(Retry, match="502"):
            await venue.recent_trades(rules, known(100))

    play(scenario)


FOR_ALL = {
    "no key": fake.refusal(-2014, "API-key format invalid.", 401),
    "no right": fake.refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401),
    "region": fake.refusal(0, "Service unavailable from a restricted location.", 451),
    "no such path": fake.refusal(0, "", 404),
    "no such path, as a page": (404, "text/html", b"<html><title>404 Not Found</title></html>", {}),
}


@pytest.mark.parametrize("refusal", FOR_ALL.values(), ids=FOR_ALL)
def test_a_host_without_older_trades_is_asked_for_them_once(refusal):
    async def scenario(peer, venue):
        many(peer, 3000)
        rules = await btc(venue)
        peer.faults["/api/v3/historicalTrades"] = [refusal]
        for _ in range(2):
            answer = await venue.recent_trades(rules, known(100))
            assert (answer.trades[0].trade_id, answer.trades[-1].trade_id) == (2001, 3000)
        assert sum("historicalTrades" in target for target in peer.asked) == 1

    play(scenario)


def test_past_trades_begin_at_a_time_and_go_on_from_a_known_one():
    async def scenario(peer, venue):
        many(peer, 2500)
        rules = await btc(venue)
        answer = await venue.past_trades(rules, (NOW_MS + 300) * NS_PER_MS - 1, None)
        assert [trade.trade_id for trade in answer.trades] == list(range(300, 1300)) and answer.bad_rows == 0
        answer = await venue.past_trades(rules, 0, answer.trades[-1])
        assert [trade.trade_id for trade in answer.trades] == list(range(1299, 2299))
        assert (await venue.past_trades(rules, (NOW_MS + 2501) * NS_PER_MS, None)).trades == []
        assert [target.partition("?")[0].rpartition("/")[2] for target in peer.asked if "rades" in target] == [
            *("aggTrades", "historicalTrades", "historicalTrades", "aggTrades")
        ]

    play(scenario)


@pytest.mark.parametrize("refusal", FOR_ALL.values(), ids=FOR_ALL)
def test_a_host_without_older_trades_has_no_past_and_says_where_it_is(refusal):
    async def scenario(peer, venue):
        many(peer, 10)
        rules = await btc(venue)
        peer.faults["/api/v3/historicalTrades"] = [refusal]
        with pytest.raises(Misconfigured, match=r"older trades are not served here: .*data\.binance\.vision are read"):
            await venue.past_trades(rules, 0, known(3))

    play(scenario)


OF_THIS_MARKET = {
    "unknown symbol": fake.refusal(-1121, "Invalid symbol."),
    "parameter": fake.refusal(-1130, "Data sent for parameter 'fromId' is not valid."),
}


@pytest.mark.parametrize("refusal", OF_THIS_MARKET.values(), ids=OF_THIS_MARKET)
def test_older_trades_refused_for_one_market_are_asked_for_again(refusal):
    async def scenario(peer, venue):
        many(peer, 3000)
        rules = await btc(venue)
        peer.faults["/api/v3/historicalTrades"] = [refusal]
        assert (await venue.recent_trades(rules, known(100))).trades[0].trade_id == 2001
        assert (await venue.recent_trades(rules, known(100))).trades[0].trade_id == 100

    play(scenario)


def test_a_first_trade_that_cannot_be_read_is_asked_for_again():
    async def scenario(peer, venue):
        many(peer, 10)
        rules = await btc(venue)
        for row in ({"a": 1}, {"f": -1}, {"f": "x"}, 7):
            peer.faults["/api/v3/aggTrades"] = [fake.json_answer([row])]
            with pytest.raises(Retry, match="aggTrades of BTCUSDT"):
                await venue.past_trades(rules, 0, None)

    play(scenario)


PASSING = {
    "gateway": fake.BROKEN,
    "5xx": fake.refusal(-1000, "An unknown error occurred.", 500),
    "overloaded": fake.refusal(-1008, "Server is currently overloaded.", 503),
    "nothing": fake.NOTHING,
    "too often": fake.refusal(-1003, "Too much request weight used.", 429, **{"Retry-After": "1"}),
}


@pytest.mark.parametrize("failure", PASSING.values(), ids=PASSING)
def test_older_trades_that_fail_for_the_moment_are_asked_for_again(failure):
    async def scenario(peer, venue):
        many(peer, 3000)
        rules = await btc(venue)
        peer.faults["/api/v3/historicalTrades"] = [failure]
        with pytest.raises(Retry) as raised:
            await venue.recent_trades(rules, known(100))
        await asyncio.sleep(getattr(raised.value, "retry_after_s", 0))
        assert (await venue.recent_trades(rules, known(100))).trades[0].trade_id == 100
        peer.faults["/api/v3/historicalTrades"] = [failure]
        with pytest.raises(Retry) as raised:
            await venue.past_trades(rules, 0, known(100))
        await asyncio.sleep(getattr(raised.value, "retry_after_s", 0))
        assert (await venue.past_trades(rules, 0, known(100))).trades[0].trade_id == 100

    play(scenario)


def test_a_candle_that_cannot_be_read_is_not_taken_for_the_last_one():
    async def scenario(peer, venue):
        start_ms = NOW_MS - NOW_MS % 60_000
        peer.trades = [(n + 1, start_ms + n * 60_000, 100.0 + n, 1.0, False) for n in range(1500)]
        rules = await btc(venue)
        rows = peer.candles()[:1000]
        rows[500][4] = "nan"
        peer.faults["/api/v3/klines"] = [fake.json_answer(rows)]
        bars = await venue.candles(rules, 60_000, start_ms, start_ms + 1500 * 60_000)
        wanted = [start_ms + n * 60_000 for n in range(1500) if n != 500]
        assert [bar.open_ns // NS_PER_MS for bar in bars] == wanted

    play(scenario)


def test_candles_come_in_pages_with_the_forming_one():
    async def scenario(peer, venue):
        start_ms = NOW_MS - NOW_MS % 60_000
        peer.trades = [(n + 1, start_ms + n * 60_000, 100.0 + n, 1.0, False) for n in range(2300)]
        rules = await btc(venue)
        bars = await venue.candles(rules, 60_000, start_ms, start_ms + 2300 * 60_000)
        assert [bar.open_ns // NS_PER_MS for bar in bars] == [start_ms + n * 60_000 for n in range(2300)]
        assert (bars[-1].close, bars[-1].trades) == (2399.0, 1)
        assert sum("klines" in target for target in peer.asked) == 3
        part = await venue.candles(rules, 60_000, start_ms + 60_000, start_ms + 120_000)
        assert [bar.open for bar in part] == [101.0]

    play(scenario)


FAULTS = {
    "html": (fake.BROKEN, Retry, "web page"),
    "half": (fake.HALF_JSON, Retry, "truncated"),
    "5xx": (fake.BROKEN, Retry, "502"),
    "nothing": (fake.NOTHING, Retry, "without an answer"),
    "too often": (fake.refusal(-1003, "Too much weight.", 429, **{"Retry-After": "7"}), RateLimited, "for 7 s"),
    "banned": (fake.refusal(-1003, "banned", 418, **{"Retry-After": "120"}), RateLimited, "for 120 s"),
    "refused": (fake.refusal(-1121, "Invalid symbol."), Rejected, "-1121 'Invalid symbol.'"),
    "region": (fake.refusal(0, "restricted location", 451), Misconfigured, "restricted location"),
}


@pytest.mark.parametrize(("answer", "kind", "words"), FAULTS.values(), ids=FAULTS)
def test_a_bad_answer_is_one_clear_error_with_the_venues_words(answer, kind, words):
    async def scenario(peer, venue):
        many(peer, 3)
        rules = await btc(venue)
        peer.faults["/api/v3/trades"] = [answer]
        with pytest.raises(kind, match=words) as raised:
            await venue.recent_trades(rules)
        assert raised.value.venue == "binance"

    play(scenario)


def test_weight_that_others_used_makes_us_wait_until_the_venues_minute_ends():
    async def scenario(peer, venue):
        peer.ahead_ms = 15_000 - peer.now_ms() % 60_000  # its minute does not end in this test
        many(peer, 3)
        rules = await btc(venue)
        peer.faults["/api/v3/trades"] = [fake.json_answer([], **{"X-MBX-USED-WEIGHT-1M": "6000"})]
        await venue.recent_trades(rules)
        asked = len(peer.asked)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(venue.recent_trades(rules), 0.3)
        assert len(peer.asked) == asked

    play(scenario)


def test_the_venues_limits_are_those_of_its_last_list_of_markets():
    async def scenario(peer, venue):
        peer.ahead_ms = 15_000 - peer.now_ms() % 60_000
        peer.limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1200}]
        many(peer, 3)
        rules = await btc(venue)
        peer.faults["/api/v3/trades"] = [fake.json_answer([], **{"X-MBX-USED-WEIGHT-1M": "1100"})]
        await venue.recent_trades(rules)
        asked = len(peer.asked)
        with pytest.raises(TimeoutError):  # the account's side may use what is left
            await asyncio.wait_for(venue.recent_trades(rules), 0.3)
        assert len(peer.asked) == asked

    play(scenario)


def test_the_firewalls_page_is_left_alone_for_minutes():
    async def scenario(peer, venue):
        many(peer, 3)
        rules = await btc(venue)
        peer.faults["/api/v3/trades"] = [fake.HTML]
        with pytest.raises(RateLimited, match="web page") as raised:
            await venue.recent_trades(rules)
        assert raised.value.retry_after_s == 120
        with pytest.raises(RateLimited, match="not sent"):
            await venue.recent_trades(rules)

    play(scenario)


# --- streams ---------------------------------------------------------------------------------------


async def collect(stream, count):
    """That many items, in order."""
    items = []
    while len(items) < count:
        items += await stream.read()
    return items


def test_trades_of_the_stream_are_those_that_happened():
    async def scenario(peer, venue):
        stream = await venue.open_stream([await btc(venue)])
        assert peer.requests == [{"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1}]
        for n in range(200):
            await peer.trade(NOW_MS + n, 81_000.0 + n)
        items = await collect(stream, 200)
        assert [(item.trade_id, item.price, item.time_ns // NS_PER_MS) for item in items] == [
            (n + 1, 81_000.0 + n, NOW_MS + n) for n in range(200)
        ]
        await stream.close()

    play(scenario)


def test_what_arrives_before_the_acknowledgement_is_kept():
    async def scenario(peer, venue):
        rules = await btc(venue)
        frame = peer.happened(NOW_MS, 81_000.0)
        answer = peer.acknowledge

        def early(request):
            for connection in peer.subscribed:
                asyncio.ensure_future(send_both(connection, request))  # noqa: RUF006 - it ends with the test

        async def send_both(connection, request):
            await connection.send(frame)
            await connection.send(json.dumps(answer(request)))

        peer.acknowledge = early
        stream = await venue.open_stream([rules])
        assert [item.trade_id for item in await collect(stream, 1)] == [1]
        await stream.close()

    play(scenario)


def test_a_subscription_that_is_refused_is_told_with_the_venues_words():
    async def scenario(peer, venue):
        rules = await btc(venue)
        peer.acknowledge = lambda request: {
            "code": 2,
            "msg": "Invalid request: too many parameters",
            "id": request["id"],
        }
        with pytest.raises(Retry, match="too many parameters") as raised:
            await venue.open_stream([rules])
        assert raised.value.code == "2"

    play(scenario)


def test_a_subscription_that_is_not_acknowledged_in_time_is_told(monkeypatch):
    monkeypatch.setattr(module, "ACK_S", 0.1)

    async def scenario(peer, venue):
        rules = await btc(venue)
        peer.acknowledge = lambda request: None
        with pytest.raises(Retry, match="no acknowledgement"):
            await venue.open_stream([rules])

    play(scenario)


def test_a_connection_that_breaks_off_ends_the_stream_after_what_it_brought():
    async def scenario(peer, venue):
        stream = await venue.open_stream([await btc(venue)])
        await peer.trade(NOW_MS, 81_000.0)
        assert len(await collect(stream, 1)) == 1
        await peer.cut()
        with pytest.raises(Retry, match="the stream was cut"):
            await stream.read()
        await stream.close()

    play(scenario)


def test_an_announced_end_is_handed_on_and_the_stream_goes_on():
    async def scenario(peer, venue):
        stream = await venue.open_stream([await btc(venue)])
        await peer.send('{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}')
        await peer.trade(NOW_MS, 81_000.0)
        notice, trade = await collect(stream, 2)
        assert (notice.kind, trade.trade_id) == (SHUTDOWN, 1)
        await peer.cut()
        with pytest.raises(Retry, match="the stream was cut") as raised:
            await stream.read()
        assert raised.value.code == SHUTDOWN
        await stream.close()

    play(scenario)


def test_an_answer_that_nobody_waits_for_is_told():
    async def scenario(peer, venue):
        stream = await venue.open_stream([await btc(venue)])
        await peer.send('{"code":3,"msg":"Invalid JSON: x"}')
        assert await collect(stream, 1) == [Notice("unexpected answer", "0: Invalid JSON: x")]
        await stream.close()

    play(scenario)


def listed(count):
    return [{**fake.ROW, "symbol": f"A{n}USDT", "baseAsset": f"A{n}"} for n in range(count)]


def test_subscriptions_go_out_in_parts_no_faster_than_the_venue_takes_them():
    async def scenario(peer, venue):
        peer.rows = listed(450)
        begun = asyncio.get_running_loop().time()
        stream = await venue.open_stream(await venue.markets())
        took = asyncio.get_running_loop().time() - begun
        assert [len(request["params"]) for request in peer.requests] == [200, 200, 50]
        assert (len(peer.requests) - 1) / took <= wire_stream.MESSAGES_PER_S - 1
        assert peer.connections == 1
        await stream.close()

    play(scenario)


def test_more_pairs_than_a_connection_takes_share_several(monkeypatch):
    monkeypatch.setattr(wire_stream, "STREAMS_MAX", 2)

    async def scenario(peer, venue):
        peer.rows = [*listed(4), fake.ROW]
        stream = await venue.open_stream(await venue.markets())
        assert peer.connections == 3
        frames = [(connection, sorted(names)) for connection, names in peer.subscribed.items()]
        assert [len(names) for _, names in frames] == [2, 2, 1]
        data = {"e": "trade", "t": 1, "p": "1", "q": "1", "T": NOW_MS, "m": True}
        for connection, names in frames:
            for name in names:
                symbol = name.partition("@")[0].upper()
                await connection.send(json.dumps({"stream": name, "data": {**data, "s": symbol}}))
        items = await collect(stream, 5)
        assert sorted(item.pair for item in items) == ["A0USDT", "A1USDT", "A2USDT", "A3USDT", "BTCUSDT"]
        await frames[1][0].close()
        with pytest.raises(Retry, match="the stream was cut"):
            while True:
                await stream.read()
        await stream.close()

    play(scenario)


def test_the_sandbox_is_spoken_to_at_its_port_and_with_its_fee():
    settings = msgspec.structs.replace(from_texts({}), sandbox_protocol="binance", sandbox_port=3999)
    venue = market_data(settings, LiveClock())
    assert isinstance(venue, module.Binance) and venue.fees_bps("USDT") == (Decimal(5), Decimal(5))
    assert (venue._data, venue._api, venue._stream) == (*["http://127.0.0.1:3999"] * 2, "ws://127.0.0.1:3999")
    assert market_data(from_texts({"VENUE": "binance"}), LiveClock()).fees_bps("USDT") == (Decimal(10), Decimal(10))


def test_a_wrong_shape_is_told_under_the_venues_own_name():
    async def main():
        async with Peer() as peer:
            texts = {"VENUE_REST_URL": peer.rest_url, "VENUE_STREAM_URL": peer.stream_url}
            venue = market_data(msgspec.structs.replace(from_texts(texts), sandbox_protocol="binance"), LiveClock())
            peer.faults["/api/v3/exchangeInfo"] = [fake.json_answer({"status": "ok"})]
            with pytest.raises(Retry, match="exchangeInfo") as raised:
                await venue.markets()
            assert raised.value.venue == "sandbox"
            venue.close()

    asyncio.run(main())
