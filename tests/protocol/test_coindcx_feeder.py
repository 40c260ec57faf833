"""The feeder's source against a hand-written CoinDCX: every trade on the tape exactly once, whatever breaks."""

import asyncio
import contextlib
from collections.abc import Callable
from itertools import pairwise

import pytest

from bus.records import BACKFILL, CANDLE, FORMING, HOLE, PARTIAL, TRADE
from core.clock import NS_PER_MS, NS_PER_S, LiveClock
from core.settings_load import from_texts
from feeder.guard import Counts
from feeder.pair import PairFeed
from feeder.source import Source
from tests.protocol import coindcx_peer as fake
from tests.protocol.coindcx_peer import PAIR, Peer
from venues.choose import market_data
from venues.errors import Misconfigured

TRADES_PATH = "/market_data/trade_history"
MINUTE_MS = 60_000


class SetClock(LiveClock):
    """The machine's clock, with a step that somebody made."""

    __slots__ = ("step_ns",)

    def __init__(self) -> None:
        self.step_ns = 0

    def wall_ns(self) -> int:
        return super().wall_ns() + self.step_ns


class Bench:
    """Peer, adapter and source, with the records that would be on the tape."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.clock = SetClock()
        self.records: list[tuple] = []
        self.said: list[tuple[str, str, str]] = []
        self.venue = None
        self.pair = None
        self.source = None
        self._task = None
        self.poll_s = 0.3
        self.silence_s = 30.0
        self.give_up_s = 10.0
        self.deaf_retry_s = 600.0
        self.stream = True

    async def start(self) -> None:
        texts = {"VENUE": "coindcx", "VENUE_REST_URL": self.peer.rest_url, "VENUE_STREAM_URL": self.peer.stream_url}
        self.venue = market_data(from_texts(texts), self.clock)
        rules = self.venue.resolve(["BTC/USDT"], await self.venue.markets())[0]
        self.counts = Counts()
        self.pair = PairFeed(0, rules, 60 * NS_PER_S, 30 * NS_PER_S, False, self.counts)
        self.source = Source(
            self.venue,
            [self.pair],
            self.clock,
            self.counts,
            stream=self.stream,
            poll_s=self.poll_s,
            silence_s=self.silence_s,
            give_up_s=self.give_up_s,
            deaf_retry_s=self.deaf_retry_s,
            random=lambda: 0.0,
            write=lambda records, received_ns: self.records.extend(records),
            say=lambda level, text, pair: self.said.append((level, text, pair)),
        )
        self._task = asyncio.create_task(self.source.run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self.venue is not None:
            self.venue.close()

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        for _ in range(2000):
            if condition():
                return
            if self._task is not None and self._task.done():
                self._task.result()
            await asyncio.sleep(0.01)
        raise AssertionError(f"never came about: {what or condition}; said {self.said}; {self.kinds()}")

    def of(self, kind: int) -> list[tuple]:
        return [record for record in self.records if record[0] == kind]

    def kinds(self) -> list[tuple[int, int]]:
        """Runs of (kind, flags), for messages."""
        runs: list[tuple[int, int]] = []
        for record in self.records:
            if not runs or runs[-1] != (record[0], record[2]):
                runs.append((record[0], record[2]))
        return runs

    def taped(self) -> list[tuple[int, float, float]]:
        return [(record[4] // NS_PER_MS, record[6], record[7]) for record in self.of(TRADE)]

    def truth(self, since: int = 0) -> list[tuple[int, float, float]]:
        return [(t, p, q) for t, p, q, _ in self.peer.trades[since:]]

    def now_ms(self) -> int:
        """By the venue's clock."""
        return int(self.peer.now_s() * 1000)

    def amid_a_minute(self) -> int:
        """Sets the venue's clock and ours: 20 s of the minute are over, and it is not over soon; the time in ms."""
        self.peer.ahead_s = 20.0 - self.now_ms() % MINUTE_MS / 1000
        self.clock.step_ns = int(self.peer.ahead_s * NS_PER_S)
        return self.now_ms()

    async def trades(self, count: int, price: float = 81_000.0) -> None:
        """Several happen now, half of them alike to the millisecond."""
        at_ms = self.now_ms()
        for n in range(count):
            await self.peer.trade(at_ms, price + (n // 2 % 3) * 0.5)

    async def live(self) -> None:
        await self.until(lambda: self.pair.live, "live")


@pytest.fixture(autouse=True)
def brisk(monkeypatch):
    """The peer answers within milliseconds: what takes a venue seconds at worst, takes it tenths."""
    monkeypatch.setattr("feeder.backfill.BACKOFF_FIRST_S", 0.05)
    monkeypatch.setattr("feeder.backfill.SETTLE_NS", NS_PER_S // 10)
    monkeypatch.setattr("feeder.source.BACKOFF_MAX_S", 0.5)  # between two looks at streams that were given up
    monkeypatch.setattr("feeder.source.STREAM_LAG_S", 0.3)


@pytest.fixture
def scene():
    """Runs a coroutine function against a fresh peer and bench."""

    def run(play, **peer_options):
        async def main() -> None:
            async with Peer(**peer_options) as peer:
                bench = Bench(peer)
                try:
                    await play(peer, bench)
                finally:
                    await bench.stop()

        asyncio.run(main())

    return run


def old_candles(now_ms: int, count: int) -> list[dict[str, float]]:
    start = now_ms - now_ms % MINUTE_MS
    return [
        {"time": start - n * MINUTE_MS, "open": 80_000, "high": 80_010, "low": 79_990, "close": 80_005, "volume": 1.5}
        for n in range(count, 1, -1)
    ]


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
        await bench.start()
        await bench.live()
        await bench.trades(2)
        await bench.until(lambda: len(bench.taped()) == 2)
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
        await bench.start()
        await bench.live()
        await bench.trades(2)
        await bench.until(lambda: len(bench.taped()) == 2)
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
        await bench.start()
        await bench.live()
        await bench.trades(2)
        await bench.until(lambda: len(bench.taped()) == 2)
        peer.faults[TRADES_PATH] = [fake.LATE]
        await peer.cut()
        await bench.until(lambda: bench.pair.streaming and bench.source.reconnects == 2, "again")
        await bench.trades(3)
        await bench.until(lambda: len(bench.pair.buffer) == 3, "they wait")
        bench.clock.step_ns = step_s * NS_PER_S
        await bench.trades(3)
        await bench.until(lambda: bench.pair.live and len(bench.taped()) >= 8, "all of them")
        await bench.trades(2)
        await bench.until(lambda: len(bench.taped()) >= 10, "all of them")
        assert bench.taped() == bench.truth() and not bench.of(HOLE)
        assert bench.source.reconnects == 2 and not bench.of(TRADE)[-1][2]

    scene(play)


def test_more_trades_than_may_wait_for_the_venues_time_are_taken_and_nothing_is_lost(scene, monkeypatch):
    monkeypatch.setattr("feeder.doubt.HELD_MOST", 20)

    async def play(peer, bench):
        await bench.start()
        await bench.live()
        await bench.trades(2)
        await bench.until(lambda: len(bench.taped()) == 2)
        peer.faults[TRADES_PATH] = [fake.LATE]
        bench.clock.step_ns = -90 * NS_PER_S
        await bench.trades(200)
        await bench.until(lambda: bench.counts.future > 20, "no more wait")
        await bench.until(lambda: bench.pair.live and bench.source.reconnects == 2, "opened anew")
        await bench.until(lambda: len(bench.taped()) >= 202)
        assert bench.taped() == bench.truth() and not bench.of(HOLE)

    scene(play)


def test_a_trade_that_was_dropped_soon_after_a_question_is_asked_about_when_the_next_may_be(scene, monkeypatch):
    monkeypatch.setattr("feeder.doubt.RECLOCK_NS", NS_PER_S)

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
        await bench.start()
        await bench.live()
        await bench.trades(2)
        await bench.until(lambda: len(bench.taped()) == 2)
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
        await bench.start()
        await bench.live()
        await bench.trades(2)
        await bench.until(lambda: len(bench.taped()) == 2)
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
