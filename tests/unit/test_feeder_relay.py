"""Connections that a venue ends ahead of time: another one takes over, no trade is lost, no pair waits."""

import asyncio

import pytest

from tests.numbered_venue import NumberedVenue, Scene
from venues.errors import Rejected, Retry
from venues.venue import SHUTDOWN


@pytest.fixture(autouse=True)
def _connections_are_as_fast(monkeypatch):
    monkeypatch.setattr("feeder.relay.LATE_S", 0.3)


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


async def trading(scene, venue, until):
    """Trades go on, and the pair is live all the while."""
    while not until():
        venue.trade()
        await asyncio.sleep(0.002)
        assert scene.pair.live
        if scene._task.done():
            scene._task.result()


def test_before_a_connections_life_is_over_another_one_takes_over(scene):
    async def play(scene, venue):
        venue.trade()
        await scene.live()
        first = venue.lines[0]

        async def watch():
            while not first.closed:
                assert scene.pair.live
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        await trading(scene, venue, lambda: first.closed)
        await watching
        assert venue.opened == 2 and len(venue.lines) == 1
        await trading(scene, venue, lambda: venue.opened == 3)
        await scene.whole()
        assert scene.counts.gaps == 0 and not scene.holes() and scene.source.reconnects == 1
        assert scene.told("took over") >= 1 and scene.counts.repeats > 0

    scene(play, stream_life_s=1.0)


def test_an_announced_end_has_another_connection_take_over(scene):
    async def play(scene, venue):
        venue.trade()
        await scene.live()
        first = venue.lines[0]
        venue.announce()
        await trading(scene, venue, lambda: first.closed)
        await scene.whole()
        assert venue.opened == 2 and scene.counts.gaps == 0 and scene.source.reconnects == 1
        assert scene.source.notices.unknown_frames == 0

    scene(play)


def test_an_end_that_was_announced_as_it_came_is_followed_at_once(scene):
    async def play(scene, venue):
        scene.random = 1.0
        venue.trade()
        await scene.live()
        venue.cut(SHUTDOWN)
        venue.trade()
        await scene.until(lambda: venue.opened == 2)
        await scene.whole()
        assert scene.told("next try in 0.0 s") == 1

    scene(play)


def test_an_old_connection_that_ends_early_is_no_interruption(scene):
    async def play(scene, venue):
        venue.trade()
        await scene.live()
        venue.open_waits = asyncio.Event()
        venue.announce()
        await asyncio.sleep(0.05)
        venue.cut()
        venue.trade(), venue.trade()
        venue.open_waits.set()
        await scene.until(lambda: venue.opened == 2)
        venue.trade()
        await scene.whole()
        assert scene.source.reconnects == 1 and not scene.holes()

    scene(play)


def test_a_second_connection_that_is_refused_is_tried_again_while_the_first_lives(scene):
    async def play(scene, venue):
        venue.trade()
        await scene.live()
        venue.open_fails = [Retry("test", "refused"), Retry("test", "refused")]
        first = venue.lines[0]
        venue.announce()
        await trading(scene, venue, lambda: first.closed)
        await scene.whole()
        assert scene.told("no second connection") == 2 and scene.source.reconnects == 1

    scene(play)


def test_a_mistake_of_ours_in_reading_the_second_connection_is_not_taken_for_its_end(scene):
    async def play(scene, venue):
        venue.trade()
        await scene.live()
        venue.announce()
        await scene.until(lambda: len(venue.lines) == 2)
        venue.lines[1].failure = ZeroDivisionError()
        venue.lines[1].items.clear()
        venue.lines[1].put(venue.trade(lost=True))
        await scene.until(scene.ended)
        with pytest.raises(ZeroDivisionError):
            await scene.stop()

    scene(play)


def test_both_connections_gone_is_an_ordinary_cut(scene):
    async def play(scene, venue):
        venue.trade()
        await scene.live()
        venue.open_fails = [Retry("test", "refused")]
        venue.announce()
        await scene.until(lambda: scene.told("no second connection"))
        venue.cut()
        venue.trade()
        await scene.until(lambda: scene.source.reconnects == 2)
        await scene.whole()
        assert not scene.holes()

    scene(play)


def test_a_refusal_of_the_second_connection_leaves_the_first_alone(scene):
    async def play(scene, venue):
        venue.trade()
        await scene.live()
        venue.open_fails = [Rejected("test", "no such stream")]
        venue.announce()
        await scene.until(lambda: scene.told("no second connection"))
        venue.trade()
        await scene.whole()
        assert scene.source.reconnects == 1

    scene(play)
