"""CoinDCX's public side behind the contract of `venues.venue`; also the sandbox when it speaks this protocol.

The market list comes from the host `api`, trades and candles from `public`; which those are stands in `hosts`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from core import pairs
from core.clock import NS_PER_MS, Clock
from core.settings import Settings
from venues import names
from venues.bans import bans_of
from venues.coindcx import wire_public as wire
from venues.coindcx.hosts import hosts
from venues.coindcx.stream import EventStream, Opener, Versions, connect, unknown_event
from venues.errors import Retry
from venues.fees import fees_bps
from venues.limits import Limit, Limits
from venues.offset import Offset
from venues.rest import Reply, RestClient
from venues.stream import Socket, open_socket
from venues.venue import Bar, Capabilities, Notice, Rules, Stream, Trade, TradesAnswer

REQUESTS_PER_S = 10.0
BURST = 20.0
MAX_WAIT_S = 300.0  # hundreds of pairs take their turns at the start
JOINS_AT_ONCE = 50
BOOKS = ("B", "I", "KC", "G")  # preferred in this order where BASE/QUOTE fits several


class CoinDcx:
    """The venue. `opener` opens a socket; tests hand in their own."""

    capabilities = Capabilities(
        recent_trades_max=wire.TRADES_MAX,
        intervals_ms=tuple(wire.INTERVALS),
        candles_max=wire.CANDLES_MAX,
        trade_ids=False,
    )

    def __init__(self, settings: Settings, clock: Clock, opener: Opener = open_socket) -> None:
        self.name = settings.venue
        self._clock = clock
        self._opener = opener
        self._offset = Offset()
        self._versions = Versions()
        self._unread: tuple[str, ...] = ()  # markets whose row could not be read the last time, and why
        self._problem = ""
        sandbox = settings.venue == "sandbox"
        self._sandbox = sandbox
        self.tape_clock = sandbox and (settings.sandbox_speed > 1 or bool(settings.sandbox_tape))
        self._hosts = hosts(settings)
        limits = Limits({wire.REQUESTS: Limit(REQUESTS_PER_S, BURST)})
        self._rest = RestClient(
            self.name,
            clock,
            wire.judge,
            limits,
            left=wire.left_of,
            bans=bans_of(settings, self._hosts.api),
            rate_pause_s=wire.RATE_PAUSE_S,
            max_wait_s=MAX_WAIT_S,
        )

    async def markets(self) -> list[Rules]:
        """Every market that can be read."""
        reply = await self._get(self._hosts.api + wire.markets_path())
        parsed = self._named(wire.parse_markets, reply.body)
        self._unread, self._problem = parsed.unread, parsed.problem
        return parsed.rows

    async def recent_trades(self, rules: Rules, since: Trade | None = None) -> TradesAnswer:
        """The last 500; there is no asking for older ones."""
        path, query = wire.trades_request(rules.pair)
        reply = await self._get(self._hosts.public + path, query)
        parsed = self._named(wire.parse_trades, reply.body, rules.pair, reply.received_ns)
        return TradesAnswer(parsed.rows, len(parsed.rows) + parsed.bad < wire.TRADES_MAX, parsed.bad)

    async def candles(self, rules: Rules, interval_ms: int, start_ms: int, end_ms: int) -> list[Bar]:
        """In as many requests as it takes, the newest part first (what is missing is then the oldest)."""
        bars: dict[int, Bar] = {}
        last_ms = end_ms - 1
        while last_ms >= start_ms:
            first_ms = max(start_ms, last_ms - (wire.CANDLES_MAX - 1) * interval_ms)
            path, query = wire.candles_request(rules.pair, interval_ms, first_ms, last_ms)
            reply = await self._get(self._hosts.public + path, query)
            rows: list[Bar] = self._named(wire.parse_candles, reply.body, rules.pair).rows
            rows = [bar for bar in rows if start_ms <= bar.open_ns // NS_PER_MS < end_ms]
            bars.update({bar.open_ns: bar for bar in rows})
            if not rows:
                break
            last_ms = first_ms - 1
        return [bars[start] for start in sorted(bars)]

    async def open_stream(self, rules: Sequence[Rules]) -> Stream:
        stream = await connect(
            self.name,
            lambda version: self._hosts.stream + wire.stream_path(version),
            self._versions,
            self._opener,
            lambda socket, version: CoinDcxStream(self.name, socket, self._clock, version, rules),
        )
        try:
            await stream.join()
        except BaseException:
            await stream.close()
            raise
        return stream

    def resolve(self, wanted: Sequence[str], markets: Sequence[Rules]) -> list[Rules]:
        broken = [name for name in wanted if name.strip().upper() in self._unread]
        if broken:
            what = f"markets_details: the row of {', '.join(broken)} cannot be read ({self._problem})"
            raise Retry(self.name, what)
        return names.resolve(self.name, [_in_its_book(name, markets) for name in wanted], markets, _rank)

    def fees_bps(self, quote: str) -> tuple[Decimal, Decimal]:
        return fees_bps("sandbox" if self._sandbox else "coindcx", quote)

    def clock_offset_ns(self) -> int:
        return 0 if self.tape_clock else self._offset.ns

    def close(self) -> None:
        self._rest.close()

    async def _get(self, url: str, query: Mapping[str, str] | None = None) -> Reply:
        reply = await self._rest.get(url, query, **{wire.REQUESTS: 1})
        if reply.date_s is not None:
            self._offset.add(reply.sent_ns, reply.received_ns, reply.date_s)
        return reply

    def _named(self, parse: Callable[..., wire.Parsed], *arguments: object) -> wire.Parsed:
        """Parses; a wrong shape is told under our venue's name (the sandbox is not coindcx)."""
        try:
            return parse(*arguments)
        except Retry as error:
            raise Retry(self.name, error.text, error.next_step, error.code) from error


class CoinDcxStream(EventStream[Trade]):
    """One socket.io connection with the trades of all joined pairs."""

    def __init__(self, venue: str, socket: Socket, clock: Clock, version: int, rules: Sequence[Rules]) -> None:
        self._joined = [market.pair for market in rules]
        self._only = self._joined[0] if len(self._joined) == 1 else ""
        self._pairs = {name: market.pair for market in rules for name in (market.symbol, market.pair)}
        super().__init__(venue, socket, clock, version)

    async def join(self) -> None:
        """Asks for every channel."""
        for place, pair in enumerate(self._joined):
            await self.send(wire.join_frame(pair))
            if place % JOINS_AT_ONCE == JOINS_AT_ONCE - 1:
                await asyncio.sleep(0.05)  # hundreds at once look like an attack

    def _event(self, name: str, body: bytes) -> Sequence[Trade | Notice]:
        try:
            trade = wire.parse_event(name, body, self._clock.wall_ns(), self._pairs, self._only)
        except wire.WireError as error:
            return [Notice("unreadable trade", str(error))]
        return [unknown_event(name, body) if trade is None else trade]


def _in_its_book(name: str, markets: Sequence[Rules]) -> str:
    """BASE/QUOTE reaches us as a name of book B or I (`core.pairs`): where that book has no such market, another's."""
    text = name.strip().upper()
    if any(text in (market.pair.upper(), market.symbol.upper()) for market in markets):
        return name
    try:
        base, quote = pairs.split(text)
    except ValueError:
        return name
    if text != pairs.own_name(f"{base}/{quote}", "coindcx"):
        return name
    found = [market for market in markets if (market.base.upper(), market.quote.upper()) == (base, quote)]
    return min(found, key=_rank).pair if found else name


def _rank(rules: Rules) -> int:
    book = rules.pair.partition("-")[0]
    return (BOOKS.index(book) if book in BOOKS else len(BOOKS)) + (0 if rules.active else 100)
