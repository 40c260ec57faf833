"""What REST adds to the tape, where connections come and go meanwhile."""

import asyncio
from collections.abc import Sequence

from core.clock import LiveClock
from feeder.backfill import Backfill, Complaints
from feeder.packing import Record
from tests.unit.test_feeder_pair import START, begun, trade
from venues.venue import TradesAnswer


class Venue:
    """Its answers wait until they are let go."""

    name = "venue"

    def __init__(self) -> None:
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    def clock_offset_ns(self) -> int:
        return START - LiveClock().wall_ns()

    async def recent_trades(self, rules: object, since: object = None) -> TradesAnswer:
        self.asked.set()
        await self.go.wait()
        return TradesAnswer([trade(START + 1), trade(START + 2)], False, 0)


def test_an_answer_that_was_asked_for_on_an_earlier_connection_settles_nothing():
    """It may end before the new stream's beginning."""

    async def play() -> None:
        written: list[Sequence[Record]] = []
        venue, pair = Venue(), begun()
        rest = Backfill(
            venue,
            LiveClock(),
            Complaints(lambda *said: None),
            poll_s=1.0,
            give_up_s=0.0,
            random=lambda: 0.0,
            write=lambda records, received_ns: written.append(records),
            dropped=lambda pair: None,
        )
        pair.part()
        pair.join()
        sewing = asyncio.create_task(rest.sew(pair, None))
        await venue.asked.wait()
        pair.part()
        pair.join()
        pair.stream(trade(START + 9), 0)
        venue.go.set()
        await asyncio.wait_for(sewing, 5)
        assert pair.streaming and not pair.live and len(pair.buffer) == 1 and not written

    asyncio.run(play())
