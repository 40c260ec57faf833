"""Everything that can go wrong with numbered trades, at random and at once: never a trade twice, no break untold."""

import asyncio
import random
from itertools import pairwise

import pytest

from bus.records import HOLE, TRADE
from tests.numbered_venue import NumberedVenue, Scene
from venues.errors import RateLimited, Retry

STEPS = 300


@pytest.fixture(autouse=True)
def brisk(monkeypatch):
    monkeypatch.setattr("feeder.backfill.BACKOFF_FIRST_S", 0.02)
    monkeypatch.setattr("feeder.source.STREAM_LAG_S", 0.1)
    monkeypatch.setattr("feeder.relay.LATE_S", 0.1)


async def storm(scene: Scene, venue: NumberedVenue, chance: random.Random, reach: bool) -> None:
    for _ in range(STEPS):
        happens = chance.random()
        pair = chance.choice(scene.names)
        if happens < 0.02:
            venue.cut()
        elif happens < 0.03:
            venue.announce()
        elif happens < 0.05:
            venue.rest_fails.append(chance.choice([Retry("test", "503"), RateLimited("test", "slow down", 0.05)]))
        elif happens < 0.06:
            venue.open_fails.append(Retry("test", "no stream today"))
        elif happens < 0.08:
            venue.lag = chance.randrange(3)
        elif happens < 0.10:
            venue.page = chance.choice([2, 10, 10**9])
        elif happens < 0.11 and reach:
            venue.reach = chance.choice([3, 20, 10**9])
        elif happens < 0.13:
            venue.next_id[pair] += chance.randrange(1, 4)
        for _ in range(chance.randrange(4)):
            venue.trade(pair, lost=chance.random() < 0.1, times=chance.choice([1, 1, 1, 2]))
        if happens > 0.5:
            await asyncio.sleep(0.004)
    venue.lag, venue.page, venue.reach = 0, 10**9, 10**9
    venue.rest_fails.clear(), venue.open_fails.clear()


def breaks(records: list[tuple], true: list[int]) -> list[tuple[int, int]]:
    """Where one pair's ids go on otherwise than those that happened, without a hole between."""
    following = dict(pairwise(true))
    found, last = [], None
    for record in records:
        if record[0] == HOLE:
            last = None
        elif record[0] == TRADE:
            if last is not None and following.get(last) != record[10]:
                found.append((last, record[10]))
            last = record[10]
    return found


@pytest.mark.parametrize("reach", [False, True], ids=["rest reaches everything", "rest forgets"])
@pytest.mark.parametrize("seed", range(2))
def test_no_trade_comes_twice_and_none_is_missing_without_a_hole(seed, reach):
    async def main() -> None:
        venue = NumberedVenue(stream_life_s=0.8)
        scene = Scene(venue)
        scene.names = ["BTCUSD", "ETHUSD"]
        scene.options |= {"steady_s": 0.0, "silence_s": 0.3}
        try:
            for name in scene.names:
                venue.trade(name)
            await scene.live()
            await storm(scene, venue, random.Random(seed), reach)
            for place, name in enumerate(scene.names):
                await scene.until(lambda: venue.lines and all(pair.live for pair in scene.pairs))
                venue.trade(name)
                await scene.until(lambda place=place: scene.ids(place)[-1:] == scene.true(place)[-1:])
        finally:
            await scene.stop()
        for place in range(2):
            mine = [record for record in scene.records if record[3] == place]
            ids = scene.ids(place)
            assert len(ids) == len(set(ids))
            assert not breaks(mine, scene.true(place))
        assert reach or not scene.holes()

    asyncio.run(main())
