"""The feeder's source where trades have ids: gaps, repeats, jumps and venues that count anew."""

import asyncio

import pytest

from bus.records import BACKFILL, HOLE_NO_OVERLAP, STALE
from core.clock import NS_PER_S
from feeder.guard import Counts
from feeder.numbered import NumberedPair
from tests.numbered_venue import MINUTE_NS, NumberedVenue, Scene, rules_of
from venues.errors import Retry
from venues.venue import Trade, TradesAnswer


@pytest.fixture(autouse=True)
def _stream_is_as_fast_as_rest(monkeypatch):
    monkeypatch.setattr("feeder.source.STREAM_LAG_S", 0.3)


@pytest.fixture
def scene():
    """Plays a coroutine function with a fresh scene."""

    def run(play, **venue_options):
        async def main() -> None:
            made = Scene(NumberedVenue(**venue_options))
            try:
                await play(made, made.venue)
            finally:
                await made.stop()

        asyncio.run(main())

    return run


def flags_of(scene, pair=0):
    return {record[10]: record[2] & BACKFILL for record in scene.taped(pair)}


def test_a_gap_on_the_stream_is_refilled_in_order_while_other_pairs_go_on(scene):
    async def play(scene, venue):
        scene.names = ["BTCUSD", "ETHUSD"]
        venue.trade(), venue.trade("ETHUSD")
        await scene.live()
        venue.trade()
        await scene.whole()
        last = venue.next_id["BTCUSD"] - 1
        venue.trade(lost=True), venue.trade(lost=True)
        venue.trade()
        await scene.until(lambda: scene.pair.gap)
        venue.trade("ETHUSD")
        await scene.whole(1)
        assert scene.ids()[-1] == last  # buffered, nothing lost, nothing in advance
        venue.trade()
        await scene.whole()
        flags = flags_of(scene)
        assert [flags[last + n] for n in range(1, 5)] == [BACKFILL, BACKFILL, 0, 0]
        assert scene.counts.gaps == 1 and not scene.holes() and scene.pair.live
        assert venue.asked[-1].trade_id == last

    scene(play)


def test_what_comes_late_on_the_stream_needs_no_rest(scene):
    async def play(scene, venue):
        venue.trade()
        await scene.live()
        venue.trade()
        asked = len(venue.asked)
        late, following = venue.trade(lost=True), venue.trade(lost=True)
        for trade in (following, late):
            venue.lines[0].put(trade)
        await scene.whole()
        await asyncio.sleep(0.1)
        assert len(venue.asked) == asked and set(flags_of(scene).values()) <= {0, BACKFILL}
        assert flags_of(scene)[late.trade_id] == 0 and scene.pair.live

    scene(play)


def test_repeats_are_dropped_and_counted(scene):
    async def play(scene, venue):
        venue.trade()
        await scene.live()
        for _ in range(5):
            venue.trade(times=3)
        venue.lines[0].put(venue.trades["BTCUSD"][-4])
        venue.trade()
        await scene.whole()
        assert scene.counts.repeats == 11 and scene.counts.gaps == 0

    scene(play)


def test_what_a_broken_stream_missed_is_refilled(scene):
    async def play(scene, venue):
        scene.options["steady_s"] = 0.0
        venue.trade()
        await scene.live()
        for _ in range(4):
            venue.trade()
            venue.cut()
            venue.trade(), venue.trade()
            await scene.until(lambda: venue.lines and scene.pair.live)
            venue.trade()
        await scene.whole()
        assert not scene.holes()

    scene(play)


def test_who_missed_nothing_in_a_cut_goes_on_without_rest(scene):
    async def play(scene, venue):
        venue.trade()
        await scene.live()
        venue.trade()
        await scene.whole()
        venue.rest_fails = [Retry("test", "503")] * 200
        venue.cut()
        await scene.until(lambda: venue.lines and scene.pair.streaming)
        assert not scene.pair.live
        venue.trade()
        await scene.whole()
        assert scene.pair.live and set(flags_of(scene).values()) == {0, BACKFILL} and not scene.holes()
        asked = len(venue.asked)
        await asyncio.sleep(0.6)
        assert len(venue.asked) == asked

    scene(play)


def test_who_waits_too_long_for_a_turn_goes_on_behind_a_hole_unless_nothing_is_held_back(scene, monkeypatch):
    monkeypatch.setattr("feeder.backfill.REQUESTS_AT_ONCE", 1)
    monkeypatch.setattr("feeder.backfill.QUEUE_S", 0.3)

    async def play(scene, venue):
        scene.names = ["BTCUSD", "ETHUSD"]
        for name in scene.names:
            venue.trade(name)
        await scene.live()
        for name in scene.names:
            venue.trade(name)
        await scene.whole(0), await scene.whole(1)
        venue.rest_waits["BTCUSD"] = asyncio.Event()
        venue.cut()
        await scene.until(lambda: venue.lines and scene.pair.streaming)
        await asyncio.sleep(0.7)
        waiting = scene.pairs[1]
        assert not scene.holes() and not waiting.live  # quiet: nothing is held back
        venue.trade("ETHUSD", lost=True)
        venue.trade("ETHUSD")
        await scene.until(lambda: waiting.live)
        assert scene.ids(1)[-1:] == scene.true(1)[-1:] and [hole[3] for hole in scene.holes()] == [1]
        assert scene.told("too many pairs wait") == 1
        venue.rest_waits.pop("BTCUSD").set()
        venue.trade()
        await scene.whole()
        await scene.until(lambda: not waiting.needs_history)

    scene(play)


def test_a_long_way_back_is_gone_in_parts(scene):
    async def play(scene, venue):
        venue.trade()
        await scene.live()
        venue.page = 5
        for _ in range(30):
            venue.trade(lost=True)
        venue.trade()
        await scene.whole()
        assert not scene.holes() and len(venue.asked) > 6

    scene(play)


def test_rest_that_is_behind_is_asked_until_it_has_what_is_missing(scene):
    async def play(scene, venue):
        venue.trade()
        await scene.live()
        venue.lag = 3
        venue.trade(lost=True)
        venue.trade()
        await scene.until(lambda: len(venue.asked) > 4)
        assert scene.pair.gap and not scene.holes()
        venue.lag = 0
        await scene.whole()
        assert not scene.holes()

    scene(play)


def test_out_of_reach_is_a_hole_on_record_and_a_new_history(scene):
    async def play(scene, venue):
        venue.trade()
        await scene.live()
        first = venue.trade()
        await scene.whole()
        venue.reach = 3
        for _ in range(10):
            venue.trade(lost=True)
        venue.trade()
        await scene.until(lambda: scene.ids()[-1:] == scene.true()[-1:])
        holes = scene.holes()
        assert [hole[1] for hole in holes] == [HOLE_NO_OVERLAP] and holes[0][4] == first.time_ns
        assert scene.told("do not reach back") == 1
        ids = scene.ids()
        assert len(ids) == len(set(ids))
        venue.trade()
        await scene.until(lambda: scene.ids()[-1:] == scene.true()[-1:])
        assert len(scene.holes()) == 1

    scene(play)


def test_rest_that_does_not_answer_in_time_makes_a_hole_and_the_stream_goes_on(scene):
    async def play(scene, venue):
        scene.options["give_up_s"] = 0.3
        venue.trade()
        await scene.live()
        venue.trade()
        await scene.whole()
        venue.rest_fails = [Retry("test", "503")] * 200
        venue.trade(lost=True)
        venue.trade()
        await scene.until(lambda: scene.ids()[-1:] == scene.true()[-1:])
        assert len(scene.holes()) == 1 and scene.pair.live
        assert len(scene.ids()) == len(set(scene.ids()))

    scene(play)


def test_ids_that_jump_with_nothing_between_are_taken_once_and_told(scene):
    async def play(scene, venue):
        venue.trade()
        await scene.live()
        venue.trade()
        venue.next_id["BTCUSD"] += 7
        venue.trade()
        await scene.whole()
        asked = len(venue.asked)
        venue.trade(), venue.trade()
        await scene.whole()
        assert scene.told("nothing between them") == 1 and not scene.holes()
        assert len(venue.asked) == asked

    scene(play)


SET_BACK = {
    "while the stream lives": lambda venue: None,
    "with a cut": lambda venue: venue.cut(),
    "with a cut, and REST does not know": lambda venue: (venue.cut(), venue.rest_fails.append(Retry("test", "503"))),
}


@pytest.mark.parametrize("case", SET_BACK)
def test_a_venue_that_counts_anew_is_told_and_followed(scene, case):
    async def play(scene, venue):
        for _ in range(30):
            venue.trade()
        await scene.live()
        venue.trade()
        await scene.whole()
        before = len(scene.records)
        await asyncio.sleep(1.1)  # what is younger is so by more than clocks are apart
        venue.set_back()
        venue.trade()
        SET_BACK[case](venue)
        for _ in range(3):
            venue.trade()
        await scene.until(lambda: scene.ids()[-1:] == scene.true()[-1:] and scene.pair.live)
        venue.trade()
        await scene.until(lambda: scene.ids()[-1:] == scene.true()[-1:])
        assert scene.told("counts its trades anew") == 1 and len(scene.holes()) == 1
        after = [record[10] for record in scene.records[before:] if record in scene.taped()]
        assert after == sorted(set(after)) and after[-1] == scene.true()[-1]

    scene(play)


def test_younger_trades_with_lower_ids_that_rest_does_not_know_are_dropped_and_told_once(scene):
    async def play(scene, venue):
        for _ in range(5):
            venue.trade()
        await scene.live()
        venue.trade()
        await scene.whole()
        odd = venue.trades["BTCUSD"][1]._replace(time_ns=venue.trades["BTCUSD"][-1].time_ns + 2_000_000_000)
        for _ in range(3):
            venue.lines[0].put(odd._replace(time_ns=odd.time_ns - 500_000_000))
            await asyncio.sleep(0.05)
            venue.trade()
            await scene.whole()
        assert scene.told("REST does not know") == 1 and not scene.holes()

    scene(play)


def test_a_trade_that_waited_behind_a_gap_for_long_is_stale():
    pair = NumberedPair(0, rules_of("BTCUSD"), MINUTE_NS, 30 * NS_PER_S, False, Counts())
    now_ns = 1_700_000_000 * NS_PER_S
    pair.join()
    trades = [Trade("BTCUSD", now_ns + n * NS_PER_S, 100.0, 1.0, 1, n, now_ns + n * NS_PER_S) for n in (1, 2, 3, 40)]
    answer = pair.read(TradesAnswer(trades[:1], True, 0))
    pair.settle(answer, pair.plan(answer), [], BACKFILL, now_ns + NS_PER_S, 0)
    assert pair.stream(trades[2], 0) == [] and pair.stream(trades[3]._replace(trade_id=4), 0) == []
    answer = pair.read(TradesAnswer(trades[:3], False, 0))
    records = pair.settle(answer, pair.plan(answer), None, BACKFILL, now_ns + 45 * NS_PER_S, 0)
    assert [(record[10], record[2]) for record in records] == [(2, BACKFILL), (3, STALE), (4, 0)]


def test_a_market_without_a_trade_yet_begins_with_its_first(scene):
    async def play(scene, venue):
        await scene.live()
        venue.trade()
        venue.trade()
        await scene.whole()
        assert scene.ids() == [1, 2] and not scene.holes()

    scene(play)


def test_what_was_missed_at_the_join_of_a_quiet_pair_comes_without_a_new_connection(scene):
    async def play(scene, venue):
        scene.options["silence_s"] = 0.2
        for _ in range(5):
            venue.trade()
        venue.lag = 2
        await scene.live()
        assert scene.ids()[-1] == 3
        venue.lag = 0
        await scene.whole()
        assert venue.opened == 1 and not scene.holes()

    scene(play)


def test_a_stream_that_is_deaf_for_a_pair_is_opened_anew(scene):
    async def play(scene, venue):
        scene.options["silence_s"] = 0.2
        venue.trade()
        await scene.live()
        await asyncio.sleep(0.01)
        venue.trade(lost=True)
        await scene.until(lambda: venue.opened == 2)
        await scene.whole()

    scene(play)


def test_ten_disconnects_at_two_hundred_trades_a_second_leave_nothing_out(scene):
    async def play(scene, venue):
        scene.options["steady_s"] = 0.0
        venue.trade()
        await scene.live()
        for connection in range(1, 11):
            venue.cut()
            while not (venue.opened > connection and scene.pair.live):
                venue.trade()
                await asyncio.sleep(0.005)
            for _ in range(20):
                venue.trade()
                await asyncio.sleep(0.005)
        await scene.whole()
        assert not scene.holes() and venue.opened == 11

    scene(play)
