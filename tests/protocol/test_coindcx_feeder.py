"""The feeder's source against a hand-written CoinDCX: every trade on the tape exactly once, whatever breaks."""

import asyncio
from itertools import pairwise

import pytest

from bus.records import BACKFILL, CANDLE, FORMING, HOLE, PARTIAL, TRADE
from core.clock import NS_PER_MS
from core.settings_load import from_texts
from tests.protocol import coindcx_peer as fake
from tests.protocol.coindcx_feeder import MINUTE_MS, TRADES_PATH, brisk, old_candles, scene
from tests.protocol.coindcx_peer import PAIR
from venues.choose import market_data
from venues.errors import Misconfigured

__all__ = ["brisk", "scene"]


def test_a_start_brings_history_the_running_minute_and_the_stream(scene):
    async def play(peer, bench):
        now_ms = bench.amid_a_minute()
        peer.older = old_candles(now_ms, 700)
        minute_ms = now_ms - now_ms % MINUTE_MS
        for at_ms in (minute_ms - 61_000, minute_ms - 30_000, minute_ms, minute_ms):
            await peer.trade(min(at_ms, now_ms), 80_500.0)
        await bench.start()
        await bench.live()
        await bench.trades(6)
        await bench.until(lambda: len(bench.taped()) >= 8)
        candles = bench.of(CANDLE)
        assert len(candles) == 500 and not any(record[2] & FORMING for record in candles)
        assert {b[4] - a[4] for a, b in pairwise(candles)} == {MINUTE_MS * NS_PER_MS}
        assert bench.taped() == bench.truth(2)
        flags = [record[2] & BACKFILL for record in bench.of(TRADE)]
        assert flags == [BACKFILL] * 2 + [0] * 6

    scene(play)


def test_a_running_minute_out_of_reach_comes_from_the_forming_row(scene):
    async def play(peer, bench):
        now_ms = bench.amid_a_minute()
        peer.older = old_candles(now_ms, 50)
        minute_ms = now_ms - now_ms % MINUTE_MS
        for n in range(600):  # more than an answer holds
            peer.trades.append((minute_ms + n // 10, 80_500.0 + n % 7, 0.01, False))
        await bench.start()
        await bench.live()
        forming = [record for record in bench.of(CANDLE) if record[2] & FORMING]
        assert len(forming) == 1 and forming[0][2] == FORMING | PARTIAL
        assert forming[0][5] == 80_500.0
        volume = forming[0][9] + sum(record[7] for record in bench.of(TRADE))
        assert volume == pytest.approx(6.0)

    scene(play)


def test_what_a_broken_stream_missed_is_refilled_exactly_once(scene):
    async def play(peer, bench):
        await bench.start()
        await bench.live()
        await bench.trades(7)
        await bench.until(lambda: len(bench.taped()) == 7)
        peer.refuse_stream = True
        await peer.cut()
        await bench.trades(9)
        peer.refuse_stream = False
        await bench.until(lambda: bench.pair.live and bench.source.reconnects == 2, "again")
        await bench.trades(5)
        await bench.until(lambda: len(bench.taped()) >= 21)
        await asyncio.sleep(0.2)
        assert bench.taped() == bench.truth()
        assert not bench.of(HOLE)

    scene(play)


def test_polling_while_the_stream_is_down_decides_like_a_stream(scene):
    async def play(peer, bench):
        peer.refuse_stream = True
        await bench.start()
        await bench.until(lambda: bench.source.feed == "poll", "polling")
        for _ in range(4):
            await bench.trades(3)
            await asyncio.sleep(0.15)
        await bench.until(lambda: len(bench.taped()) == 12)
        assert bench.taped() == bench.truth()
        assert all(record[2] & BACKFILL == 0 for record in bench.of(TRADE)[3:])
        peer.refuse_stream = False
        await bench.until(lambda: bench.pair.live, "the stream again")
        await bench.trades(4)
        await bench.until(lambda: len(bench.taped()) >= 16)
        assert bench.taped() == bench.truth() and not bench.of(HOLE)

    scene(play)


def test_feed_poll_opens_no_stream(scene):
    async def play(peer, bench):
        bench.stream = False
        await bench.start()
        await bench.until(lambda: bench.source.feed == "poll")
        await bench.trades(5)
        await bench.until(lambda: len(bench.taped()) == 5)
        assert bench.taped() == bench.truth() and peer.connections == 0

    scene(play)


def test_an_outage_beyond_the_answer_is_a_hole_with_a_new_history(scene):
    async def play(peer, bench):
        peer.older = old_candles(bench.amid_a_minute(), 60)
        bench.poll_s = 600.0
        await bench.start()
        await bench.live()
        await bench.trades(5)
        await bench.until(lambda: len(bench.taped()) == 5)
        peer.refuse_stream = True
        await peer.cut()
        at_ms = bench.now_ms()
        for n in range(700):
            peer.trades.append((at_ms, 81_000 + n * 0.01, 0.01, False))
        peer.refuse_stream = False
        await bench.until(lambda: bench.of(HOLE) and bench.pair.live, "hole")
        place = next(n for n, record in enumerate(bench.records) if record[0] == HOLE)
        kinds = [record[0] for record in bench.records[place:]]
        assert kinds[1] == CANDLE and kinds.count(HOLE) == 1
        await bench.trades(3)
        await bench.until(lambda: bench.taped()[-3:] == bench.truth()[-3:])

    scene(play)


def test_a_deaf_stream_that_answers_pings_is_opened_anew(scene):
    async def play(peer, bench):
        bench.silence_s = 0.5
        await bench.start()
        await bench.live()
        await bench.trades(4)
        await bench.until(lambda: len(bench.taped()) == 4)
        peer.deaf = True
        await bench.trades(5)
        await bench.until(lambda: bench.source.reconnects == 2, "reconnect")
        peer.deaf = False
        await bench.until(lambda: len(bench.taped()) == 9 and bench.pair.live)
        await bench.trades(3)
        await bench.until(lambda: len(bench.taped()) == 12)
        assert bench.taped() == bench.truth()
        assert any("deaf" in text for _, text, _ in bench.said)

    scene(play)


def test_a_quiet_market_is_proven_and_causes_no_reconnect(scene):
    async def play(peer, bench):
        bench.silence_s = 0.3
        await bench.trades(3)
        await bench.start()
        await bench.live()
        proofs = set()

        def proven() -> int:
            proofs.add(bench.source.proof_ns)
            return len(proofs)

        await bench.until(lambda: proven() >= 8, "REST proves the market again and again")
        assert bench.source.reconnects == 1 and peer.connections == 1

    scene(play)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(fake.HTML, "web page", id="html"),
        pytest.param(fake.HALF_JSON, "broken JSON", id="half json"),
        pytest.param(fake.TOO_MANY, "too often", id="429"),
        pytest.param(fake.BROKEN, "503", id="5xx"),
        pytest.param(fake.NOTHING, "without an answer", id="nothing"),
        pytest.param(fake.WRONG_SHAPE, "expected a list", id="wrong shape"),
        pytest.param(fake.EMPTY_LIST, "empty list", id="empty list"),
    ],
)
def test_a_bad_answer_is_one_clear_line_and_nothing_is_lost(scene, answer, words):
    async def play(peer, bench):
        await bench.start()
        await bench.live()
        await bench.trades(4)
        await bench.until(lambda: len(bench.taped()) == 4)
        peer.refuse_stream = True
        await peer.cut()
        peer.faults[TRADES_PATH] = [answer, answer]
        await bench.trades(5)
        peer.refuse_stream = False
        await bench.until(lambda: not peer.faults[TRADES_PATH] and bench.pair.live, "settled")
        await bench.trades(2)
        await bench.until(lambda: len(bench.taped()) >= 11)
        assert bench.taped() == bench.truth()
        lines = [text for level, text, pair in bench.said if level == "warn" and pair == PAIR]
        assert len(lines) == 1 and words in lines[0], bench.said

    scene(play)


def test_without_rest_the_stream_goes_on_and_the_history_follows(scene):
    async def play(peer, bench):
        peer.older = old_candles(bench.amid_a_minute(), 60)
        bench.give_up_s = 0.5
        peer.faults[TRADES_PATH] = [fake.BROKEN] * 6
        await bench.start()
        await bench.until(lambda: bench.pair.streaming)
        await bench.trades(4)
        await bench.until(lambda: len(bench.taped()) == 4, "live without REST")
        await bench.until(lambda: len(bench.of(CANDLE)) >= 59, "history")
        await bench.trades(2)
        await bench.until(lambda: len(bench.taped()) == 6)
        assert bench.taped() == bench.truth()

    scene(play)


def test_frames_with_missing_or_extra_fields_are_counted_and_the_rest_goes_on(scene):
    async def play(peer, bench):
        await bench.start()
        await bench.live()
        await bench.trades(2)
        for frame in (
            '42["new-trade",{"event":"new-trade","data":"{\\"T\\":1,\\"p\\":\\"1\\"}"}]',
            '42["new-trade",{"event":"new-trade","data":"{half"}]',
            '42["new-trade"]',
            '42["price-change",{"data":"{}"}]',
            "42{}",
            "9what",
            "451-[]",
        ):
            await peer.send(frame)
        peer.encode = lambda t, p, q, m: (
            "42"
            + f'["new-trade",{{"data":{{"T":"{t}","p":{p},"q":{q},"m":{str(m).lower()},"s":"BTCUSDT","new":[1]}}}}]'
        )
        await bench.trades(2)
        await bench.until(lambda: len(bench.taped()) == 4)
        assert bench.taped() == bench.truth()
        assert sum(bench.source.notices.counts.values()) == 7
        assert peer.connections == 1

    scene(play)


def test_an_older_server_is_pinged_by_us(scene):
    async def play(peer, bench):
        await bench.start()
        await bench.live()
        await bench.trades(3)
        await bench.until(lambda: len(bench.taped()) == 3)
        assert bench.source.feed == "stream"

    scene(play, version=3)


def test_a_server_that_refuses_version_4_is_asked_for_3(scene):
    async def play(peer, bench):
        peer.only_version = True
        await bench.under_way()
        assert bench.taped() == bench.truth() and "40" not in peer.frames

    scene(play, version=3)


def test_unknown_pairs_are_named_with_the_nearest(scene):
    async def play(peer, bench):
        texts = {"VENUE": "coindcx", "VENUE_REST_URL": peer.rest_url}
        bench.venue = market_data(from_texts(texts), bench.clock)
        markets = await bench.venue.markets()
        with pytest.raises(Misconfigured, match=r"B-BTC_USDC is unknown .*nearest: B-BTC_USDT"):
            bench.venue.resolve(["B-BTC_USDC"], markets)

    scene(play)


@pytest.mark.parametrize("wrong", ["price", "time", "quantity"])
def test_impossible_trades_on_the_stream_are_told_once_and_prove_no_market(scene, wrong):
    def impossible(at_ms: int, price: float, quantity: float, maker_bought: bool) -> str:
        at_ms = at_ms + 3_600_000 if wrong == "time" else at_ms
        return fake.frame_of(
            at_ms, -price if wrong == "price" else price, 1e300 if wrong == "quantity" else quantity, False
        )

    async def play(peer, bench):
        bench.silence_s = 0.5
        await bench.under_way()
        peer.encode = impossible
        proof_ns = bench.source.proof_ns
        await bench.trades(6)
        await bench.until(lambda: bench.source.notices.counts.get("impossible trade"), "counted")
        assert bench.source.proof_ns == proof_ns
        # REST has them as they were: the stream is opened anew, nothing is lost
        await bench.until(lambda: bench.source.reconnects >= 2 and len(bench.taped()) == 8, "recovered")
        peer.encode = fake.frame_of
        await bench.until(lambda: bench.pair.live)
        await bench.trades(3)
        await bench.until(lambda: len(bench.taped()) == 11)
        assert bench.taped() == bench.truth()
        assert sum("impossible trade" in text for _, text, _ in bench.said) == 1

    scene(play)


def test_rows_that_are_no_trades_are_left_out_and_told_once(scene):
    async def play(peer, bench):
        bench.stream = False
        await bench.trades(4)
        bad = [{"p": -1, "q": 1, "s": "BTCUSDT", "T": bench.now_ms(), "m": True}, {"q": 1}, 5]
        rows = [{"p": p, "q": q, "s": "BTCUSDT", "T": t, "m": m} for t, p, q, m in peer.trades[::-1]]
        peer.faults["/market_data/trade_history"] = [fake.json_answer([*bad, *rows])] * 5
        await bench.start()
        await bench.until(lambda: not peer.faults["/market_data/trade_history"], "asked five times")
        await bench.trades(2)
        await bench.until(lambda: bench.taped()[-2:] == bench.truth()[-2:])
        assert [text for level, text, _ in bench.said if "no trades" in text] == [
            "3 rows of the venue's recent trades are no trades: left out"
        ]

    scene(play)


def test_a_stream_that_stayed_deaf_is_tried_again_later(scene):
    async def play(peer, bench):
        bench.silence_s, bench.deaf_retry_s = 0.3, 1.0
        await bench.start()
        await bench.live()
        peer.deaf = True

        over = asyncio.Event()

        async def trading() -> None:
            while not over.is_set():
                await peer.trade(bench.now_ms(), 81_000.0)
                await asyncio.sleep(0.05)

        market = asyncio.create_task(trading())
        try:
            said = lambda words: [text for _, text, _ in bench.said if words in text]  # noqa: E731
            await bench.until(lambda: said("stays deaf"), "given up")
            before = bench.source.reconnects
            await bench.until(lambda: bench.source.reconnects > before, "another chance")
            peer.deaf = False
            await bench.until(lambda: said("brings trades again"), "heard again")
        finally:
            over.set()  # not amid a trade, which would have happened and be told to nobody
            await market
        assert len(said("stays deaf")) == 1
        await bench.until(lambda: bench.taped() == bench.truth())

    scene(play)


def test_a_stream_that_is_cut_at_every_join_is_told_once(scene):
    async def play(peer, bench):
        await bench.start()
        await bench.live()

        async def cutting() -> None:
            while True:
                await asyncio.sleep(0.01)
                if any(peer.joined.values()):
                    await peer.cut()

        cutter = asyncio.create_task(cutting())
        await bench.until(lambda: bench.source.reconnects >= 5, "many connections")
        cutter.cancel()
        stream = [text for level, text, pair in bench.said if not pair and level != "debug"]
        assert sum("connected" in text for text in stream) == 1
        assert sum("next try" in text for text in stream) == 1

        async def heard() -> bool:
            await peer.trade(bench.now_ms(), 81_000.0)
            return any("(connection" in text for _, text, _ in bench.said)

        for _ in range(400):
            if await heard():
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError(bench.said)
        await bench.until(lambda: bench.taped() == bench.truth())

    scene(play)


def test_a_price_that_three_prints_agree_on_is_taken_and_told(scene):
    async def play(peer, bench):
        await bench.start()
        await bench.live()
        await bench.trades(2)
        await bench.trades(5, price=810_000.0)
        await bench.until(lambda: len(bench.taped()) == 7)
        assert [text for level, text, _ in bench.said if level == "warn" and "the price went" in text] == [
            "the price went from 81000 to 810000: three prints in a row agree on it"
        ]

    scene(play)
