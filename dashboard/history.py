"""What storage wrote, read in one worker thread so that a slow disk never stops the page.

Rows are dicts with the columns of the tables. A missing database is an empty history: storage may not have started yet.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import msgspec

from core.errors import BotError
from dashboard.payloads import Ghosts, Totals, ghosts_of

Rows = list[dict[str, Any]]
T = TypeVar("T")


class HistoryError(BotError):
    """The database cannot be read now; the live part of the page goes on without it."""


class Reader(Protocol):
    """The read-only queries of storage; trades and gaps come newest first, the others oldest first."""

    def candles(self, pair: str, limit: int) -> Rows: ...

    def trades(self, limit: int) -> Rows: ...

    def equity(self, limit: int) -> Rows: ...

    def events(self, limit: int) -> Rows: ...

    def commands(self, limit: int) -> Rows: ...

    def checks(self, limit: int) -> Rows: ...

    def gaps(self, limit: int) -> Rows: ...

    def totals(self) -> dict[str, Any]: ...

    def ghosts(self, limit: int) -> Rows: ...

    def ghost_totals(self) -> dict[str, dict[str, float]]: ...


class History:
    """The reader behind one thread; `totals` keeps the last answer for those who cannot wait."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.known_totals = Totals()
        self.known_ghosts = Ghosts()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="history")

    async def candles(self, pair: str, limit: int) -> Rows:
        """Closed candles and storage's copy of the forming one, oldest first."""
        return await self._run(lambda: self.reader.candles(pair, limit))

    async def trades(self, limit: int) -> Rows:
        """Completed entries and exits, oldest first."""
        return (await self._run(lambda: self.reader.trades(limit)))[::-1]

    async def equity(self, limit: int) -> Rows:
        """Equity points, oldest first."""
        return await self._run(lambda: self.reader.equity(limit))

    async def events(self, limit: int) -> Rows:
        """Events of all stages, oldest first."""
        return await self._run(lambda: self.reader.events(limit))

    async def commands(self, limit: int) -> Rows:
        """Events that tell of an operator's commands, oldest first."""
        return await self._run(lambda: self.reader.commands(limit))

    async def checks(self, limit: int) -> Rows:
        """Comparisons of journal and venue, oldest first."""
        return await self._run(lambda: self.reader.checks(limit))

    async def gaps(self, limit: int) -> Rows:
        """Recorded gaps, oldest first."""
        return (await self._run(lambda: self.reader.gaps(limit)))[::-1]

    async def refresh_totals(self) -> Totals:
        """Sums over the book's trades, anew."""
        found = await self._run(self.reader.totals)
        self.known_totals = msgspec.convert(found, Totals, strict=False)
        return self.known_totals

    async def ghosts(self, limit: int) -> Rows:
        """Entries with what their closed candle said, oldest first."""
        return (await self._run(lambda: self.reader.ghosts(limit)))[::-1]

    async def refresh_ghosts(self) -> Ghosts:
        """Share and results of ghost entries, anew."""
        self.known_ghosts = ghosts_of(await self._run(self.reader.ghost_totals))
        return self.known_ghosts

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except Exception as error:
            lines = str(error).strip().splitlines()
            raise HistoryError(f"the database cannot be read: {lines[0] if lines else type(error).__name__}") from error

    def close(self) -> None:
        """End the thread; a query that runs is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
