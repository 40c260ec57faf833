"""One subscription that outlives its connections: where the venue ends them, another one takes over before.

* Some minutes before the end of a connection's life, or when the venue announces its end, a second one is opened and
  subscribed. Both are read until the new one has delivered and the old one is done with what it was late with.
* What both bring comes twice: only venues whose trades have ids can do this, the others are left to be cut.
* A new connection that cannot be had, or ends first, is tried again for as long as the old one lives.

Times are monotonic nanoseconds.
"""

import asyncio
from collections.abc import Callable, Sequence

from core.clock import NS_PER_S, Clock
from feeder.backfill import Say, backoff_s
from venues.errors import RateLimited, VenueError
from venues.venue import MarketData, Notice, Rules, Stream, Trade

LEAD_S = 300.0  # before the end of life, up to twice that; never more than half of a life
DELIVERS_S = 10.0  # so long the new one may take to bring something: it was acknowledged
LATE_S = 2.0  # the old one may bring a trade this much later than the new one

Take = Callable[[Sequence[Trade | Notice]], bool]


class Line:
    """One connection and who reads it."""

    def __init__(self, stream: Stream, opened_ns: int) -> None:
        self.stream = stream
        self.opened_ns = opened_ns
        self.ending = asyncio.Event()  # the venue announced its end
        self.delivers = asyncio.Event()
        self.reader: asyncio.Task[None] | None = None

    async def read(self, take: Take) -> None:
        """Hands over all that comes; ends with the connection's error."""

        def handed(items: Sequence[Trade | Notice]) -> None:
            if take(items):
                self.ending.set()
            self.delivers.set()

        await self.stream.hand_over(handed)

    async def close(self) -> None:
        """Closes it; raises what went wrong in reading it and was no fault of the venue's."""
        ended: BaseException | None = None
        if self.reader is not None:
            self.reader.cancel()
            (ended,) = await asyncio.gather(self.reader, return_exceptions=True)
        await self.stream.close()
        if isinstance(ended, Exception) and not isinstance(ended, VenueError):
            raise ended


class Relay:
    """Reads one line after the other. `take(items)` gets all that comes, and says whether an end was announced."""

    def __init__(
        self,
        venue: MarketData,
        rules: Sequence[Rules],
        clock: Clock,
        random: Callable[[], float],
        take: Take,
        say: Say,
    ) -> None:
        self._venue = venue
        self._rules = rules
        self._clock = clock
        self._random = random
        self._take = take
        self._say = say
        self._lines: list[Line] = []
        self._opening = False

    @property
    def overlapping(self) -> bool:
        """Are two connections read now?"""
        return len(self._lines) > 1

    async def open(self) -> None:
        """Opens the first connection."""
        await self._open()

    async def run(self) -> None:
        """Hands over all that comes until no connection is left; always ends with an error."""
        line = self._read(self._lines[0])
        while True:
            line = await self._succeeded(line)

    async def close(self) -> None:
        """Closes all connections."""
        lines, self._lines = self._lines, []
        await asyncio.gather(*(line.close() for line in lines))

    async def _open(self) -> Line:
        line = Line(await self._venue.open_stream(self._rules), self._clock.monotonic_ns())
        self._lines.append(line)
        return line

    def _read(self, line: Line) -> Line:
        line.reader = asyncio.create_task(line.read(self._take))
        return line

    async def _drop(self, line: Line) -> None:
        self._lines.remove(line)
        await line.close()

    async def _succeeded(self, line: Line) -> Line:
        """Serves until another line has taken over, and gives that one."""
        assert line.reader is not None
        successor = asyncio.create_task(self._successor(line))
        try:
            await asyncio.wait({line.reader, successor}, return_when=asyncio.FIRST_COMPLETED)
            if line.reader.done() and not successor.done():
                if not self._opening:
                    line.reader.result()
                # It is on its way: what is missed until then is found by id.
                await asyncio.wait({successor}, timeout=DELIVERS_S)
                if not successor.done() or successor.exception() is not None:
                    line.reader.result()
            following = successor.result()
        finally:
            successor.cancel()
            await asyncio.gather(successor, return_exceptions=True)
        await self._drop(line)
        self._say("info", f"another connection to {self._venue.name} took over before the last one ended", "")
        return following

    async def _successor(self, line: Line) -> Line:
        """Waits until it is time and gives a line that delivers."""
        await self._due(line)
        attempt = 0
        while True:
            wait_s = 0.0
            try:
                self._opening = True
                following = self._read(await self._open())
            except VenueError as error:  # if it is for good, the end of this one tells
                wait_s = error.retry_after_s if isinstance(error, RateLimited) else 0.0
                why = str(error)
            else:
                if await self._delivered(line, following):
                    return following
                why = "it ended at once"
                await self._drop(following)
            finally:
                self._opening = False
            delay_s = max(wait_s, backoff_s(attempt, self._random()))
            text = f"no second connection before the end of this one: {why}; next try in {delay_s:.1f} s"
            self._say("debug" if attempt else "warn", text, "")
            attempt += 1
            await asyncio.sleep(delay_s)

    async def _due(self, line: Line) -> None:
        """Returns when it is time for another connection."""
        capabilities = self._venue.capabilities
        if not capabilities.trade_ids:
            await asyncio.Event().wait()  # never: what came twice could not be told apart
        left_s = None
        if capabilities.stream_life_s is not None:
            life_s = capabilities.stream_life_s
            lead_s = min(LEAD_S, life_s / 4) * (1.0 + self._random())
            left_s = life_s - lead_s - (self._clock.monotonic_ns() - line.opened_ns) / NS_PER_S
        ending = asyncio.create_task(line.ending.wait())
        try:
            await asyncio.wait({ending}, timeout=left_s)
        finally:
            ending.cancel()

    async def _delivered(self, line: Line, following: Line) -> bool:
        """Waits until the new line has brought something, and the old one what it was late with."""
        assert line.reader is not None and following.reader is not None
        delivers = asyncio.create_task(following.delivers.wait())
        try:
            readers = {line.reader, following.reader}
            await asyncio.wait({delivers, *readers}, timeout=DELIVERS_S, return_when=asyncio.FIRST_COMPLETED)
            if not line.reader.done() and not following.reader.done():
                late_s = min(LATE_S, (self._venue.capabilities.stream_life_s or 60.0) / 10)
                await asyncio.wait(readers, timeout=late_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            delivers.cancel()
        return not following.reader.done()
